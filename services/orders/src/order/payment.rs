//! Money that comes in: in time it pays the order, and late it goes back, or, if that is agreed, holds everything again.

use std::collections::BTreeMap;

use domain::{DecideError, HoldKey, Money, PaymentId, RefundId, derived};

use super::{
    decide::{ATTEMPTS_MAX, broken, cancelled, close, is_stale, next_attempt, reinstated},
    holds,
    state::{Order, RefundItems},
    status::{CancelReason, Extent, LatePaymentPolicy, Phase, RefundReason, ReinstateReason, Status},
};
use crate::event::{Event, Reinstated};

/// The refund of a late payment. Derived, so that the payment is given back once however often it is told of.
#[must_use]
pub fn late_refund_id(payment_id: PaymentId) -> RefundId {
    RefundId(derived(payment_id.0, "late"))
}

/// The buyer's money is there.
pub(super) fn record(
    order: &Order,
    key: HoldKey,
    payment_id: PaymentId,
    amount: Money,
) -> Result<Vec<Event>, DecideError> {
    let stale = is_stale(order, key)?;
    is_ours(order, key, payment_id, amount)?;
    let (is_capturing, waits) = (order.is_capturing(payment_id), order.waits_with(payment_id));
    if (is_capturing || waits) && amount != order.to_pay() {
        let what = format!("payment {payment_id} of {amount} came, and {} of it were set aside", order.to_pay());
        return Err(broken(order.order_id, what));
    }
    // Set aside before, and now taken; perhaps for an older attempt, or before it was to be.
    if is_capturing {
        return Ok(holds::paid(order, payment_id));
    }
    // It waits with the money as before, which need not be taken any more.
    if waits {
        return Ok(vec![Event::LatePaymentDeferred { key: order.key(), payment_id, amount, is_authorised: false }]);
    }
    if order.has_seen(payment_id) {
        return Ok(vec![]);
    }
    match order.status {
        _ if stale => Ok(vec![late(order, key, payment_id, amount)]),
        Status::Reserved if amount == order.to_pay() => Ok(holds::paid(order, payment_id)),
        Status::Pending | Status::Reserved => Err(broken(
            order.order_id,
            format!(
                "payment {payment_id} of {amount} came, and the order is {} and costs {}",
                order.status.as_str(),
                order.to_pay()
            ),
        )),
        Status::Expired if waits_for_receipt(order, amount) => {
            Ok(vec![Event::LatePaymentDeferred { key, payment_id, amount, is_authorised: false }])
        }
        Status::Expired => Ok(late_money(order, key, payment_id, amount)),
        Status::Cancelled
        | Status::Rejected
        | Status::Paid
        | Status::Refunding
        | Status::PartiallyRefunded
        | Status::Refunded => Ok(vec![late(order, key, payment_id, amount)]),
    }
}

fn is_ours(order: &Order, key: HoldKey, payment_id: PaymentId, amount: Money) -> Result<(), DecideError> {
    if payment_id == key.payment_id() && amount.currency == order.terms.total.currency && amount.minor_units > 0 {
        return Ok(());
    }
    Err(broken(order.order_id, format!("payment {payment_id} of {amount} is none that was asked for")))
}

/// The buyer's money is set aside. It is taken if the order can be paid with it, and else let go, unless it is to hold everything again.
pub(super) fn authorised(
    order: &Order,
    key: HoldKey,
    payment_id: PaymentId,
    amount: Money,
) -> Result<Vec<Event>, DecideError> {
    let stale = is_stale(order, key)?;
    is_ours(order, key, payment_id, amount)?;
    if order.has_seen(payment_id) {
        return Ok(vec![]);
    }
    match order.status {
        _ if stale || order.has_let_go(payment_id) => Ok(vec![void(order, payment_id)]),
        Status::Reserved if amount == order.to_pay() => Ok(vec![capture(order, payment_id)]),
        Status::Pending | Status::Reserved => Err(broken(
            order.order_id,
            format!(
                "payment {payment_id} of {amount} is set aside, and the order is {} and costs {}",
                order.status.as_str(),
                order.to_pay()
            ),
        )),
        Status::Expired if waits_for_receipt(order, amount) => {
            Ok(vec![Event::LatePaymentDeferred { key, payment_id, amount, is_authorised: true }])
        }
        Status::Expired if holds_again(order, amount) => Ok(hold_again(order, payment_id, true)),
        Status::Expired
        | Status::Cancelled
        | Status::Rejected
        | Status::Paid
        | Status::Refunding
        | Status::PartiallyRefunded
        | Status::Refunded => Ok(vec![void(order, payment_id)]),
    }
}

/// Everything is held, so the money that is set aside is taken.
pub(super) fn capture(order: &Order, payment_id: PaymentId) -> Event {
    Event::CaptureRequested { key: order.key(), payment_id, amount: order.to_pay() }
}

/// Lets money go that was set aside for nothing.
fn void(order: &Order, payment_id: PaymentId) -> Event {
    let note = format!("the order is {}, and cannot be paid with it", order.status.as_str());
    Event::VoidRequested { key: order.key(), payment_id, note }
}

/// What becomes of money that was there for an order which is closed now. What is being taken is late money once it is there, and is not
/// there yet.
pub(super) fn of_no_use(order: &Order, payment_id: PaymentId) -> Option<Event> {
    if order.is_capturing(payment_id) {
        return None;
    }
    Some(match order.waits_with(payment_id) {
        true => {
            let note = "the order was closed before it could be paid with it".to_owned();
            Event::VoidRequested { key: order.key(), payment_id, note }
        }
        false => late(order, order.key(), payment_id, order.to_pay()),
    })
}

/// Money that was set aside was let go, or has lapsed. An order that was to be paid with it is closed.
pub(super) fn voided(
    order: &Order,
    key: HoldKey,
    payment_id: PaymentId,
    reason: &str,
) -> Result<Vec<Event>, DecideError> {
    is_stale(order, key)?;
    if !order.waits_with(payment_id) && !order.is_capturing(payment_id) {
        return Ok(vec![]);
    }
    match order.status.phase() {
        Phase::Open => {
            let event = cancelled(order, CancelReason::PaymentFailed, "payments".to_owned(), reason.to_owned());
            Ok(close(&Order { payment_id: None, ..order.clone() }, event, None))
        }
        Phase::Closed => Ok(vec![void(order, payment_id)]),
        Phase::Paid => Ok(vec![]),
    }
}

/// What becomes of money that comes when the order has expired and has its receipt: the policy decides. Without a policy to hold again,
/// nothing is waited for.
pub(super) fn late_money(order: &Order, key: HoldKey, payment_id: PaymentId, amount: Money) -> Vec<Event> {
    let is_authorised = order.waits_with(payment_id);
    if holds_again(order, amount) {
        return hold_again(order, payment_id, is_authorised);
    }
    vec![if is_authorised { void(order, payment_id) } else { late(order, key, payment_id, amount) }]
}

/// Whether late money is to hold again what the order held. Not while a coupon may still change what there is to pay.
fn holds_again(order: &Order, amount: Money) -> bool {
    order.terms.late_payment_policy == LatePaymentPolicy::Rehold
        && order.is_price_known()
        && amount == order.to_pay()
        && order.attempt < ATTEMPTS_MAX
}

/// No two attempts of an order ever hold at the same time: money that comes a moment too early for that waits.
fn waits_for_receipt(order: &Order, amount: Money) -> bool {
    holds_again(order, amount) && !order.released
}

fn hold_again(order: &Order, payment_id: PaymentId, is_authorised: bool) -> Vec<Event> {
    let note = format!("payment {payment_id} came after the order had expired");
    reinstated(
        order,
        Reinstated {
            reason: ReinstateReason::LatePayment,
            payment_id: Some(payment_id),
            is_authorised,
            ..next_attempt(order, "orders", &note)
        },
    )
}

/// Sends money back that came too late, or that waited for holds in vain.
pub(super) fn late(order: &Order, key: HoldKey, payment_id: PaymentId, amount: Money) -> Event {
    Event::RefundRequested {
        order_id: order.order_id,
        refund_id: late_refund_id(payment_id),
        payment_id,
        claim: RefundItems {
            attempt: key.attempt,
            amount,
            reason: RefundReason::LatePayment,
            lines: BTreeMap::new(),
            return_shares: false,
        },
        extent: Some(Extent::Amount),
        actor: "orders".to_owned(),
        note: "the money came when the order was closed".to_owned(),
    }
}

/// The provider could not get the buyer's money. If it gets it after all, that money is late.
pub(super) fn record_failure(order: &Order, key: HoldKey, reason: &str) -> Result<Vec<Event>, DecideError> {
    if is_stale(order, key)? {
        return Ok(vec![]);
    }
    match order.status.phase() {
        Phase::Open => {
            let event = cancelled(order, CancelReason::PaymentFailed, "payments".to_owned(), reason.to_owned());
            Ok(close(order, event, None))
        }
        Phase::Closed | Phase::Paid => Ok(vec![]),
    }
}

#[cfg(test)]
mod authorised;
#[cfg(test)]
mod specs;
