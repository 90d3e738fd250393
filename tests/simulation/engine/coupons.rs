//! What the log says of coupons, counted once more and by none of the rules of services and ledger: who holds a use, who has used one up,
//! what it takes off, and what is left to pay.

use std::collections::BTreeMap;

use proto::{
    Message, Name,
    common::v1::Money,
    orders::v1 as orders,
    payments::v1::{self as payments, CouponOffer},
};
use runtime::log::event_store::StoredEvent;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Coupons {
    offers: BTreeMap<String, CouponOffer>,
    orders: BTreeMap<String, Order>,
    /// By the order and its attempt.
    uses: BTreeMap<(String, i32), Use>,
}

#[derive(Debug, Default)]
struct Order {
    total: Money,
    /// Of whichever coupon; empty: of none.
    code: String,
    paid_at: Option<i32>,
}

#[derive(Debug)]
struct Use {
    code: String,
    customer_id: String,
    off: i64,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Held,
    Refused,
    UsedUp,
    LetGo,
}

fn read<M: Message + Name + Default>(event: &StoredEvent) -> Result<M, String> {
    M::decode(event.data.as_slice()).map_err(|error| error.to_string())
}

impl Coupons {
    /// Takes an event in, if it is about coupons, or about what they leave to pay.
    pub(super) fn take(&mut self, event: &StoredEvent) -> Result<(), String> {
        match proto::short_name(&event.message_type) {
            orders::OrderPlaced::NAME => {
                let orders::OrderPlaced { order_id, total, coupon_code: code, .. } = read(event)?;
                self.orders.insert(order_id, Order { total: total.unwrap_or_default(), code, paid_at: None });
            }
            payments::CouponOpened::NAME => {
                let payments::CouponOpened { coupon_code, offer, .. } = read(event)?;
                self.offers.insert(coupon_code, offer.unwrap_or_default());
            }
            payments::CouponHeld::NAME => self.hold(read(event)?)?,
            payments::CouponRejected::NAME => {
                let payments::CouponRejected { order_id, attempt, coupon_code: code, .. } = read(event)?;
                let of = Use { code, customer_id: String::new(), off: 0, standing: Standing::Refused };
                self.begin((order_id, attempt), of)?;
            }
            payments::CouponRedeemed::NAME => {
                let payments::CouponRedeemed { order_id, attempt, .. } = read(event)?;
                self.end((order_id, attempt), Standing::UsedUp)?;
            }
            payments::CouponReleased::NAME => {
                let payments::CouponReleased { order_id, attempt, coupon_code, .. } = read(event)?;
                if coupon_code.is_empty() {
                    // It comes before the hold, which does nothing from now on.
                    let of = Use { code: String::new(), customer_id: String::new(), off: 0, standing: Standing::LetGo };
                    return self.begin((order_id, attempt), of);
                }
                self.end((order_id, attempt), Standing::LetGo)?;
            }
            payments::PaymentRequested::NAME => {
                let payments::PaymentRequested { order_id, attempt, amount, .. } = read(event)?;
                self.is_left(&order_id, attempt, amount.as_ref(), "asked for")?;
            }
            orders::OrderPaid::NAME => {
                let orders::OrderPaid { order_id, attempt, amount, .. } = read(event)?;
                self.is_left(&order_id, attempt, amount.as_ref(), "paid")?;
                if let Some(order) = self.orders.get_mut(&order_id) {
                    order.paid_at = Some(attempt);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn hold(&mut self, held: payments::CouponHeld) -> Result<(), String> {
        let payments::CouponHeld { order_id, attempt, coupon_code: code, discount, customer_id } = held;
        let discount = discount.unwrap_or_default();
        let amount = discount.amount.unwrap_or_default();
        let offer = self.offers.get(&code).cloned().unwrap_or_default();
        let order = self.orders.get(&order_id).ok_or_else(|| format!("nobody has placed order {order_id}"))?;
        let is_its = order.code == code && order.total.currency == amount.currency && offer.currency == amount.currency;
        if !is_its || !(1..=order.total.minor_units).contains(&amount.minor_units) {
            return Err(format!("{amount:?} is taken off order {order_id} of {:?} by {code}", order.total));
        }
        let off = amount.minor_units;
        let parts = discount.lines_minor.iter().sum::<i64>() + discount.shares_minor;
        let most = [&offer.discount_max, &offer.fixed].into_iter().flatten().map(|most| most.minor_units).min();
        if parts != off || most.is_some_and(|most| off > most) {
            return Err(format!(
                "{off} is taken off order {order_id}, in parts of {parts}, by {code} that takes {most:?}"
            ));
        }
        self.begin(
            (order_id, attempt),
            Use { code: code.clone(), customer_id: customer_id.clone(), off, standing: Standing::Held },
        )?;
        let is_used = |of: &&Use| of.code == code && matches!(of.standing, Standing::Held | Standing::UsedUp);
        let in_all = self.uses.values().filter(is_used).count();
        let of_customer = self.uses.values().filter(is_used).filter(|of| of.customer_id == customer_id).count();
        for (used, most) in [(in_all, offer.uses_max), (of_customer, offer.uses_per_customer_max)] {
            if most > 0 && i64::try_from(used).is_ok_and(|used| used > most) {
                return Err(format!("coupon {code} is used {used} times, by {customer_id:?} too, of {most}"));
            }
        }
        Ok(())
    }

    fn begin(&mut self, key: (String, i32), of: Use) -> Result<(), String> {
        match self.uses.insert(key.clone(), of) {
            None => Ok(()),
            Some(before) => Err(format!("a use of a coupon for {key:?} begins again, after {before:?}")),
        }
    }

    fn end(&mut self, key: (String, i32), standing: Standing) -> Result<(), String> {
        match self.uses.get_mut(&key) {
            Some(of) if of.standing == Standing::Held => of.standing = standing,
            of => return Err(format!("a use of a coupon for {key:?} ends as {standing:?}, and was {of:?}")),
        }
        Ok(())
    }

    /// Whether this is what the order costs, without what its coupon takes off.
    fn is_left(&self, order_id: &str, attempt: i32, amount: Option<&Money>, what: &str) -> Result<(), String> {
        let order = self.orders.get(order_id).ok_or_else(|| format!("nobody has placed order {order_id}"))?;
        let of = self.uses.get(&(order_id.to_owned(), attempt));
        let held = of.filter(|of| matches!(of.standing, Standing::Held | Standing::UsedUp));
        if !order.code.is_empty() && held.is_none() {
            return Err(format!("order {order_id} is {what} without its coupon {}, which is {of:?}", order.code));
        }
        let minor_units = order.total.minor_units - held.map_or(0, |of| of.off);
        if amount != Some(&Money { minor_units, ..order.total.clone() }) {
            return Err(format!(
                "of order {order_id} {amount:?} is {what}, and {minor_units} are left of {:?}",
                order.total
            ));
        }
        Ok(())
    }

    /// What is wrong, once everything has come to rest: a use is used up if its order was paid by that attempt, and let go if not.
    pub(super) fn check(&self) -> Result<(), String> {
        for ((order_id, attempt), of) in &self.uses {
            let paid_at = self.orders.get(order_id).and_then(|order| order.paid_at);
            let is_as_it_should_be = match of.standing {
                Standing::Held => false,
                Standing::Refused | Standing::LetGo => paid_at != Some(*attempt),
                Standing::UsedUp => paid_at == Some(*attempt),
            };
            if !is_as_it_should_be {
                return Err(format!(
                    "attempt {attempt} of order {order_id}, paid by attempt {paid_at:?}, leaves {of:?}"
                ));
            }
        }
        Ok(())
    }
}
