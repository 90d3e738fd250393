//! The use of a coupon that an order holds: held within the coupon's limits, and closed once.

use domain::{
    CouponCode, Currency, DecideError, HoldKey, Money, Rejection, Revised, Sku, StreamVersion, Timestamp,
    hold::{Request, Status, Step, step},
};
use providers::registry::accepts;
use serde::Serialize;

use super::{Coupon, CouponStatus, Customer, discount::discount, known};
use crate::{
    event::{CouponEvent, StreamId, UseOf},
    payment::State,
};

/// What one attempt of an order holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Where it stands.
    pub status: Status,
    /// Of this coupon. None: it was released before it was asked for, so nobody has said which.
    pub code: Option<CouponCode>,
    /// Whose use it is; empty if it never was one.
    pub customer_id: String,
    /// Events of its stream.
    pub version: StreamVersion,
}

impl Revised for Use {
    type Revision = StreamVersion;

    fn revision(&self) -> StreamVersion {
        self.version
    }
}

impl Use {
    pub(crate) const fn new(status: Status, code: Option<CouponCode>, customer_id: String) -> Self {
        Self { status, code, customer_id, version: StreamVersion::FIRST }
    }
}

/// What an order wants a discount on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// By this coupon.
    pub code: CouponCode,
    /// The sender's own name for the customer.
    pub customer_id: String,
    /// All prices are in this currency.
    pub currency: Currency,
    /// In the order of the order's lines.
    pub lines: Vec<Item>,
    /// The price of all shares, in minor units; 0 without any.
    pub shares: i64,
    /// How the buyer pays what is left.
    pub payment_method: String,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The product.
    pub sku: Sku,
    /// The price of all pieces, in minor units.
    pub price: i64,
}

/// Holds a use if there is one, or refuses it.
pub(super) fn hold(
    state: &State,
    key: HoldKey,
    wanted: &Purchase,
    at: Timestamp,
) -> Result<Vec<CouponEvent>, DecideError> {
    let Purchase { code, customer_id, .. } = wanted.clone();
    match step(status(state, key), Request::Hold) {
        Step::Try => Ok(vec![match check(state, wanted, at) {
            Ok(discount) => CouponEvent::Held { key, of: UseOf { code, customer_id }, discount },
            Err(rejection) => CouponEvent::Rejected { key, code, rejection },
        }]),
        Step::Nothing => Ok(vec![]),
        Step::Become(_) | Step::Broken => Err(out_of_step(state, key, Request::Hold)),
    }
}

/// The decisive check, on locked rows: what the coupon takes off.
fn check(state: &State, wanted: &Purchase, at: Timestamp) -> Result<domain::Discount, Rejection> {
    let code = &wanted.code;
    let coupon = known(state, code)?;
    check_open(code, coupon, at)?;
    let used = state.customers.get(&(code.clone(), wanted.customer_id.clone())).copied().unwrap_or_default();
    check_limits(code, coupon, (&wanted.customer_id, used))?;
    let discount = discount(code, &coupon.offer, wanted)?;
    let total: i64 = wanted.lines.iter().map(|line| line.price).sum::<i64>() + wanted.shares;
    let rest = Money { minor_units: total - discount.amount.minor_units, currency: wanted.currency };
    if rest.minor_units > 0 {
        // What the provider cannot take would be held for nothing.
        accepts(&wanted.payment_method, rest).map_err(|Rejection { code: refusal, reason }| {
            let reason = format!("coupon {code} leaves {rest} to pay: {reason}");
            Rejection { code: refusal, reason }
        })?;
    }
    Ok(discount)
}

fn check_open(code: &CouponCode, coupon: &Coupon, at: Timestamp) -> Result<(), Rejection> {
    let offer = &coupon.offer;
    let why = match (coupon.status, offer.valid_from, offer.valid_until) {
        (CouponStatus::Closed, _, _) => "is closed".to_owned(),
        (CouponStatus::Open, Some(from), _) if at < from => format!("is valid from {from} on, and now is {at}"),
        (CouponStatus::Open, _, Some(until)) if until <= at => format!("was valid until {until}, and now is {at}"),
        (CouponStatus::Open, _, _) => return Ok(()),
    };
    Err(Rejection::new("COUPON_NOT_OPEN", format!("coupon {code} {why}: order without it")))
}

fn check_limits(code: &CouponCode, coupon: &Coupon, (customer, used): (&str, Customer)) -> Result<(), Rejection> {
    let Coupon { offer, held, redeemed, .. } = coupon;
    if let Some(most) = offer.uses_max.filter(|most| held + redeemed >= *most) {
        let reason =
            format!("coupon {code} is for {most} uses: {redeemed} are redeemed and {held} held; order without it");
        return Err(Rejection::new("COUPON_USED_UP", reason));
    }
    if let Some(most) = offer.uses_per_customer_max.filter(|most| used.held + used.redeemed >= *most) {
        let Customer { held, redeemed } = used;
        let reason = format!(
            "coupon {code} is for {most} uses of one customer: {customer:?} has redeemed {redeemed} and holds {held}; order without it"
        );
        return Err(Rejection::new("COUPON_USED_BY_CUSTOMER", reason));
    }
    Ok(())
}

/// Uses up what is held.
pub(super) fn redeem(state: &State, key: HoldKey) -> Result<Vec<CouponEvent>, DecideError> {
    match step(status(state, key), Request::Commit) {
        Step::Become(Status::Committed) => Ok(vec![CouponEvent::Redeemed { key, of: held(state, key)? }]),
        Step::Nothing => Ok(vec![]),
        Step::Try | Step::Become(Status::Held | Status::Released | Status::Rejected) | Step::Broken => {
            Err(out_of_step(state, key, Request::Commit))
        }
    }
}

/// Frees what is held.
pub(super) fn release(state: &State, key: HoldKey) -> Result<Vec<CouponEvent>, DecideError> {
    match (step(status(state, key), Request::Release), status(state, key)) {
        (Step::Become(Status::Released), None) => Ok(vec![CouponEvent::Released { key, of: None }]),
        (Step::Become(Status::Released), Some(_)) => {
            Ok(vec![CouponEvent::Released { key, of: Some(held(state, key)?) }])
        }
        (Step::Nothing, _) => Ok(vec![]),
        (Step::Try | Step::Become(Status::Held | Status::Committed | Status::Rejected) | Step::Broken, _) => {
            Err(out_of_step(state, key, Request::Release))
        }
    }
}

fn status(state: &State, key: HoldKey) -> Option<Status> {
    state.uses.get(&key).map(|held| held.status)
}

/// What is held, of a coupon and a customer that are there.
fn held(state: &State, key: HoldKey) -> Result<UseOf, DecideError> {
    let found = state.uses.get(&key).and_then(|held| {
        let (code, customer_id) = (held.code.clone()?, held.customer_id.clone());
        state.coupons.get(&code)?;
        state.customers.get(&(code.clone(), customer_id.clone()))?;
        Some(UseOf { code, customer_id })
    });
    found.ok_or_else(|| broken(key, "a hold without its coupon or its customer".to_owned()))
}

fn out_of_step(state: &State, key: HoldKey, request: Request) -> DecideError {
    let status = status(state, key).map_or("unknown", Status::as_str);
    broken(key, format!("{request:?} was asked of a hold that is {status}"))
}

fn broken(key: HoldKey, what: String) -> DecideError {
    DecideError::Broken { stream: StreamId::Use(key).to_string(), what }
}
