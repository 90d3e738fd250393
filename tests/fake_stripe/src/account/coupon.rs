//! Coupons, and what they take off a session.

use serde_json::Value;

use super::{Account, Cause, objects::Coupon};
use crate::{
    problem::Problem,
    render,
    requests::{NewCoupon, Off},
};

impl Account {
    pub(crate) fn create_coupon(&mut self, cause: &Cause, new: NewCoupon) -> Result<Value, Problem> {
        let id = new.id.unwrap_or_else(|| self.new_id(""));
        if self.coupons.contains_key(&id) {
            let text = "Coupon already exists.";
            return Err(Problem::forbidden_now(text).code("resource_already_exists"));
        }
        let coupon = Coupon {
            id: id.clone(),
            created: cause.now,
            off: new.off,
            name: new.name,
            metadata: new.metadata,
            max_redemptions: new.max_redemptions,
            redeem_by: new.redeem_by,
            times_redeemed: 0,
        };
        let shown = render::coupon(self, &coupon, cause.now);
        self.coupons.insert(id, coupon);
        Ok(shown)
    }

    /// How much a coupon takes off.
    pub(super) fn discount(&self, cause: &Cause, id: &str, currency: &str, of: i64) -> Result<i64, Problem> {
        let param = "discounts[0][coupon]";
        let missing = || Problem::missing("coupon", id).status(400).param(param);
        let coupon = self.coupons.get(id).ok_or_else(missing)?;
        if !coupon.is_valid(cause.now) {
            let text = format!("Coupon {id} is used up or expired.");
            return Err(Problem::forbidden_now(text).code("coupon_expired").param(param));
        }
        match &coupon.off {
            Off::Amount { minor, currency: own } if own == currency => Ok((*minor).min(of)),
            Off::Amount { currency: own, .. } => {
                let text = format!("The coupon's currency is {own}, the session's {currency}.");
                Err(Problem::forbidden_now(text).param(param))
            }
            Off::Percent { hundredths, .. } => Ok(of.saturating_mul(*hundredths).saturating_add(5_000) / 10_000),
        }
    }
}
