//! What the owners of stock, shares and coupons answer: held, rejected, released.

use domain::{DecideError, Discount, HoldKey, PaymentId, Rejection};

use super::{
    decide::{broken, close, is_stale},
    payment,
    state::Order,
    status::{HoldStatus, Phase, Resource},
};
use crate::event::Event;

/// The owners of resources hold them.
pub(super) fn confirm(
    order: &Order,
    key: HoldKey,
    resources: &[Resource],
    discount: Option<&Discount>,
) -> Result<Vec<Event>, DecideError> {
    if is_stale(order, key)? {
        return Ok(vec![]);
    }
    if let Some(what) = discount.and_then(|discount| contradicts(order, discount)) {
        return Err(broken(order.order_id, what));
    }
    in_one(order, resources, |order, resource| {
        confirm_one(order, resource, discount.filter(|_| resource == Resource::Coupon))
    })
}

/// What is wrong with this discount.
fn contradicts(order: &Order, discount: &Discount) -> Option<String> {
    let (total, known) = (order.terms.total, order.discount.as_ref());
    let is_of_lines = discount.lines.len() == order.terms.lines.len();
    let is_within = discount.amount.currency == total.currency && discount.amount.minor_units <= total.minor_units;
    let is_as_before = known.is_none_or(|known| known == discount);
    (!is_of_lines || !is_within || !is_as_before)
        .then(|| format!("{} are taken off an order of {total}: no discount that it can have", discount.amount))
}

/// One after the other. What says it of all makes the words about each superfluous.
fn in_one(
    order: &Order,
    resources: &[Resource],
    one: impl Fn(&Order, Resource) -> Result<Vec<Event>, DecideError>,
) -> Result<Vec<Event>, DecideError> {
    let Some((last, before)) = resources.split_last() else { return Ok(vec![]) };
    if before.is_empty() {
        return one(order, *last);
    }
    let (mut after, mut events) = (order.clone(), Vec::new());
    for resource in resources {
        for event in one(&after, *resource)? {
            after.apply(&event);
            events.push(event);
        }
    }
    let is_of_one =
        |event: &Event| matches!(event, Event::OrderHoldConfirmed { .. } | Event::OrderReleaseConfirmed { .. });
    if !events.iter().all(is_of_one) {
        events.retain(|event| !is_of_one(event));
    }
    Ok(events)
}

fn confirm_one(order: &Order, resource: Resource, discount: Option<&Discount>) -> Result<Vec<Event>, DecideError> {
    match (order.status.phase(), hold(order, resource)?) {
        (Phase::Open, HoldStatus::Asked) => Ok(confirmed(order, resource, discount)),
        // Closed meanwhile: its release is on the way. Or told twice.
        (Phase::Closed, _) | (Phase::Open | Phase::Paid, HoldStatus::Held) => Ok(vec![]),
        (Phase::Open, HoldStatus::Rejected | HoldStatus::Released)
        | (Phase::Paid, HoldStatus::Asked | HoldStatus::Rejected | HoldStatus::Released) => {
            Err(contradiction(order, resource, "held"))
        }
    }
}

/// With the last hold the buyer can pay, or, if late money is there already or nothing is left to pay, has paid.
fn confirmed(order: &Order, resource: Resource, discount: Option<&Discount>) -> Vec<Event> {
    let key = order.key();
    let confirmed = Event::OrderHoldConfirmed { key, resource, discount: discount.cloned() };
    if order.holds.iter().any(|(other, hold)| *other != resource && *hold == HoldStatus::Asked) {
        return vec![confirmed];
    }
    let with_discount = discount.map(|_| {
        let mut after = order.clone();
        after.apply(&confirmed);
        after
    });
    let order = with_discount.as_ref().unwrap_or(order);
    match order.payment_id {
        Some(payment_id) if order.waits_with(payment_id) => vec![payment::capture(order, payment_id)],
        Some(payment_id) => paid(order, payment_id),
        None if order.to_pay().minor_units == 0 => paid(order, key.payment_id()),
        None => vec![Event::OrderReserved {
            key,
            amount: order.to_pay(),
            expires_at: order.expires_at,
            payment_method: order.terms.payment_method.clone(),
            discount: order.discount.clone(),
            reference: order.terms.reference.clone(),
        }],
    }
}

/// The order is paid, and with it the use of its coupon.
pub(super) fn paid(order: &Order, payment_id: PaymentId) -> Vec<Event> {
    let (key, amount, discount) = (order.key(), order.to_pay(), order.discount.clone());
    let redeem = order.terms.coupon.clone().map(|coupon| Event::RedemptionRequested { key, coupon });
    let paid = Event::OrderPaid { key, payment_id, amount, holds: order.requested(), discount };
    std::iter::once(paid).chain(redeem).collect()
}

/// The owner of a resource cannot hold it. That closes the order, or, if it is closed, there is nothing to release.
pub(super) fn refuse(
    order: &Order,
    key: HoldKey,
    resource: Resource,
    rejection: &Rejection,
) -> Result<Vec<Event>, DecideError> {
    if is_stale(order, key)? {
        return Ok(vec![]);
    }
    match (order.status.phase(), hold(order, resource)?) {
        (Phase::Open, HoldStatus::Asked) => {
            let (rejection, holds) = (rejection.clone(), order.requested());
            Ok(close(order, Event::OrderRejected { key, resource, rejection, holds }, Some(resource)))
        }
        (Phase::Closed, HoldStatus::Asked) => Ok(settled(order, resource)),
        (Phase::Closed, HoldStatus::Rejected | HoldStatus::Released) => Ok(vec![]),
        (Phase::Open, HoldStatus::Held | HoldStatus::Rejected | HoldStatus::Released)
        | (Phase::Closed, HoldStatus::Held)
        | (Phase::Paid, _) => Err(contradiction(order, resource, "rejected")),
    }
}

/// The owners of resources hold them no more.
pub(super) fn confirm_releases(order: &Order, key: HoldKey, resources: &[Resource]) -> Result<Vec<Event>, DecideError> {
    if is_stale(order, key)? {
        return Ok(vec![]);
    }
    in_one(order, resources, confirm_release)
}

fn confirm_release(order: &Order, resource: Resource) -> Result<Vec<Event>, DecideError> {
    match (order.status.phase(), hold(order, resource)?) {
        (Phase::Closed, HoldStatus::Asked | HoldStatus::Held) => Ok(settled(order, resource)),
        (Phase::Closed, HoldStatus::Rejected | HoldStatus::Released) => Ok(vec![]),
        // Only a closed order asks for a release.
        (Phase::Open | Phase::Paid, _) => Err(contradiction(order, resource, "released")),
    }
}

/// With the last release comes the receipt, and with the receipt what has waited for it.
fn settled(order: &Order, resource: Resource) -> Vec<Event> {
    let key = order.key();
    if order.has_open_holds_except(Some(resource)) {
        return vec![Event::OrderReleaseConfirmed { key, resource }];
    }
    let receipt = Event::OrderReleased { key };
    let waiting = order.waiting_payment.map(|(payment_id, amount)| {
        let mut after = order.clone();
        after.apply(&receipt);
        payment::late_money(&after, key, payment_id, amount)
    });
    std::iter::once(receipt).chain(waiting.into_iter().flatten()).collect()
}

fn hold(order: &Order, resource: Resource) -> Result<HoldStatus, DecideError> {
    let never_asked = || broken(order.order_id, format!("{} was answered, and never asked for", resource.as_str()));
    order.holds.get(&resource).copied().ok_or_else(never_asked)
}

fn contradiction(order: &Order, resource: Resource, told: &str) -> DecideError {
    let known = order.holds.get(&resource).map_or("not asked for", |hold| hold.as_str());
    let (resource, status) = (resource.as_str(), order.status.as_str());
    broken(order.order_id, format!("{resource} is said to be {told}, but is {known} and the order {status}"))
}

#[cfg(test)]
mod specs;
