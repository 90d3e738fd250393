//! What a command causes: placing, cancelling, expiring and reinstating here, the rest in the files beside.

use std::time::Duration;

use domain::{Attempt, DecideError, HoldKey, OrderId, RefundId, Rejection, StreamVersion, Timestamp};

use super::{
    disputes, holds, payment, refund,
    state::{Order, OrderTerms, State},
    status::{CancelReason, Phase, ReinstateReason, Status},
};
use crate::{
    command::Command,
    event::{self, Event, Reinstated},
};

/// The most attempts of one order: no loop of closing and reinstating goes on for ever.
pub const ATTEMPTS_MAX: Attempt = 100;

/// What a command causes in this state, at this time. Nothing: it is as it should be already.
///
/// # Errors
/// Business says no, or an invariant is broken. The policy's commands are never said no to.
pub fn decide(state: &State, command: &Command, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    let order = state.orders.get(&command.order_id());
    let known = || order.ok_or_else(|| unknown(command.order_id()));
    // What others answer about an order, this service has asked for: the order must be there.
    let ours = || order.ok_or_else(|| broken(command.order_id(), "others speak of it, and it was never placed"));
    match command {
        Command::PlaceOrder { order_id, terms, contact, actor } => {
            let placed = Event::OrderPlaced {
                order_id: *order_id,
                terms: terms.clone(),
                placed_at: at,
                has_contact: contact.is_some(),
                actor: actor.clone(),
            };
            Ok(place(state, *order_id, terms, placed)?)
        }
        Command::CancelOrder { order_id: _, refund_id, actor, note } => Ok(cancel(known()?, *refund_id, actor, note)?),
        Command::ExpireOrder { order_id: _, actor, note } => Ok(expire_now(known()?, at, actor, note)?),
        Command::RequestRefund(request) => Ok(refund::request(known()?, request)?),
        Command::ReinstateOrder { order_id: _, time_to_pay, actor, note } => {
            Ok(reinstate(known()?, at, *time_to_pay, actor, note)?)
        }
        Command::AtVersion { version, command } => {
            is_at(known()?, *version)?;
            decide(state, command, at)
        }
        Command::Expire { order_id: _ } => Ok(expire(ours()?, at)),
        Command::ConfirmHolds { key, resources, discount } => {
            holds::confirm(ours()?, *key, resources, discount.as_ref())
        }
        Command::RefuseHold { key, resource, rejection } => holds::refuse(ours()?, *key, *resource, rejection),
        Command::ConfirmReleases { key, resources } => holds::confirm_releases(ours()?, *key, resources),
        Command::RecordPayment { key, payment_id, amount } => payment::record(ours()?, *key, *payment_id, *amount),
        Command::RecordAuthorisation { key, payment_id, amount } => {
            payment::authorised(ours()?, *key, *payment_id, *amount)
        }
        Command::RecordVoid { key, payment_id, reason } => payment::voided(ours()?, *key, *payment_id, reason),
        Command::RecordPaymentFailure { key, reason } => payment::record_failure(ours()?, *key, reason),
        Command::RecordRefund { order_id: _, refund_id, amount } => refund::record(ours()?, *refund_id, *amount),
        Command::RecordRefundElsewhere { key, payment_id, refund_id, amount, note } => {
            let elsewhere =
                refund::Elsewhere { key: *key, payment_id: *payment_id, refund_id: *refund_id, amount: *amount };
            Ok(refund::record_elsewhere(ours()?, &elsewhere, note))
        }
        Command::RecordDispute { key, payment_id, dispute_id, dispute } => {
            disputes::record(ours()?, *key, *payment_id, dispute_id, dispute)
        }
        Command::AbandonRefund { order_id: _, refund_id, rejection } => refund::abandon(ours()?, *refund_id, rejection),
        Command::RefundShares { key, round_id, note } => refund::refund_shares(ours()?, *key, *round_id, note),
    }
}

fn unknown(order_id: OrderId) -> Rejection {
    Rejection::new(
        "UNKNOWN_ORDER",
        format!(
            "no order {order_id} is known here: check the id; if it was placed a moment ago, wait for the answer to that"
        ),
    )
}

/// Whether an order is as somebody has seen it. The row is saved only where it still is.
fn is_at(order: &Order, version: StreamVersion) -> Result<(), Rejection> {
    if order.version == version {
        return Ok(());
    }
    let (order_id, now, status) = (order.order_id, order.version, order.status.as_str());
    let reason = format!("order {order_id} is {status} and at version {now}, not {version}: look at it again");
    Err(Rejection::new("WRONG_VERSION", reason))
}

/// The refusal of what cannot be.
pub(super) fn broken(order_id: OrderId, what: impl Into<String>) -> DecideError {
    DecideError::Broken { stream: event::stream(order_id), what: what.into() }
}

/// Whether a message is about an older attempt, and so about nothing any more.
pub(super) fn is_stale(order: &Order, key: HoldKey) -> Result<bool, DecideError> {
    if key.attempt > order.attempt {
        let what = format!("attempt {} is spoken of, and the latest is {}", key.attempt, order.attempt);
        return Err(broken(order.order_id, what));
    }
    Ok(key.attempt < order.attempt)
}

fn place(state: &State, order_id: OrderId, terms: &OrderTerms, placed: Event) -> Result<Vec<Event>, Rejection> {
    match state.orders.get(&order_id) {
        None => {
            is_free(state, order_id, terms.reference.as_ref())?;
            Ok(std::iter::once(placed).chain(coupon_requested(terms, HoldKey { order_id, attempt: 1 })).collect())
        }
        Some(order) if order.terms == *terms => Ok(vec![]),
        Some(order) => Err(Rejection::new(
            "ORDER_EXISTS",
            format!(
                "order {order_id} was placed at {} with other content, for customer {:?} and {}: give the new order another id",
                order.placed_at, order.terms.customer_id, order.terms.total,
            ),
        )),
    }
}

/// A reference names one order for ever, also one that is closed. An order that was placed while its rows were read has its own.
fn is_free(state: &State, order_id: OrderId, reference: Option<&String>) -> Result<(), Rejection> {
    let taken = reference.and_then(|reference| Some((reference, state.references.get(reference)?.0)));
    match taken {
        Some((reference, other)) if other != order_id => Err(Rejection::new(
            "REFERENCE_TAKEN",
            format!("reference {reference:?} is that of order {other}: give the new order another, or none"),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Asks payments for what the order's coupon takes off.
fn coupon_requested(terms: &OrderTerms, key: HoldKey) -> Option<Event> {
    let coupon = terms.coupon.clone()?;
    Some(Event::CouponRequested {
        key,
        coupon,
        customer_id: terms.customer_id.clone(),
        lines: terms.lines.clone(),
        shares: terms.shares,
        payment_method: terms.payment_method.clone(),
    })
}

fn cancel(order: &Order, refund_id: RefundId, actor: &str, note: &str) -> Result<Vec<Event>, Rejection> {
    match (order.status.phase(), order.status) {
        (Phase::Open, _) => {
            let (actor, note) = (actor.to_owned(), note.to_owned());
            Ok(close(order, cancelled(order, CancelReason::Requested, actor, note), None))
        }
        (Phase::Paid, _) => Ok(refund::cancel(order, refund_id, actor, note)),
        (Phase::Closed, Status::Cancelled) => Ok(vec![]),
        (Phase::Closed, status) => Err(Rejection::new(
            "WRONG_STATE",
            format!("order {} is {} already: there is nothing to cancel", order.order_id, status.as_str()),
        )),
    }
}

pub(super) fn cancelled(order: &Order, reason: CancelReason, actor: String, note: String) -> Event {
    Event::OrderCancelled { key: order.key(), reason, actor, note, holds: order.requested() }
}

/// Closes an open order with this event. The receipt comes with it if nothing but `settled` was asked for, and late
/// money that waited for the holds goes back.
pub(super) fn close(order: &Order, event: Event, settled: Option<super::Resource>) -> Vec<Event> {
    let mut events = vec![event];
    if !order.has_open_holds_except(settled) {
        events.push(Event::OrderReleased { key: order.key() });
    }
    events.extend(order.payment_id.and_then(|payment_id| payment::of_no_use(order, payment_id)));
    events
}

/// The runtime takes a timer no sooner than it is due and asks with the time by which it took it, so an order that is
/// not due has been reinstated meanwhile, and has a later timer of its own: nothing is lost by doing nothing.
fn expire(order: &Order, at: Timestamp) -> Vec<Event> {
    match (order.status.phase(), order.expires_at) {
        (Phase::Open, Some(due_at)) if due_at <= at => {
            let note = format!("expired by its timer at {at}, due at {due_at}");
            close(order, expired(order, due_at, note, ""), None)
        }
        (Phase::Open | Phase::Closed | Phase::Paid, _) => vec![],
    }
}

fn expired(order: &Order, due_at: Timestamp, note: String, actor: &str) -> Event {
    Event::OrderExpired { key: order.key(), due_at, note, holds: order.requested(), actor: actor.to_owned() }
}

/// What an operator asks for, whether it is due or not. An order that waits for its holds with the money there is not theirs to expire.
fn expire_now(order: &Order, at: Timestamp, actor: &str, note: &str) -> Result<Vec<Event>, Rejection> {
    match (order.status.phase(), order.expires_at) {
        (Phase::Open, Some(due_at)) => {
            let note = format!("expired by {actor} at {at}, due at {due_at}: {note}");
            Ok(close(order, expired(order, due_at, note, actor), None))
        }
        (Phase::Closed, _) if order.status == Status::Expired => Ok(vec![]),
        (Phase::Open | Phase::Closed | Phase::Paid, _) => Err(Rejection::new(
            "WRONG_STATE",
            format!(
                "order {} is {}: only an order that waits for its money can be expired",
                order.order_id,
                order.status.as_str()
            ),
        )),
    }
}

fn reinstate(
    order: &Order,
    at: Timestamp,
    time_to_pay: Duration,
    actor: &str,
    note: &str,
) -> Result<Vec<Event>, Rejection> {
    let (order_id, status) = (order.order_id, order.status);
    if !matches!(status, Status::Expired | Status::Cancelled) {
        return Err(Rejection::new(
            "WRONG_STATE",
            format!("order {order_id} is {}: only an expired or a cancelled one can be reinstated", status.as_str()),
        ));
    }
    if !order.released {
        let owed: Vec<_> =
            order.holds.iter().filter(|(_, hold)| hold.is_open()).map(|(held, _)| held.as_str()).collect();
        return Err(Rejection::new(
            "ORDER_NOT_RELEASED",
            format!(
                "order {order_id} is {}, but its {} is not released yet: wait for OrderReleased",
                status.as_str(),
                owed.join(" and ")
            ),
        ));
    }
    if order.attempt >= ATTEMPTS_MAX {
        return Err(Rejection::new(
            "TOO_MANY_ATTEMPTS",
            format!("order {order_id} was tried {} times: place a new one", order.attempt),
        ));
    }
    let expires_at = Some(at + time_to_pay);
    Ok(reinstated(order, Reinstated { expires_at, ..next_attempt(order, actor, note) }))
}

/// A closed order is opened again, and asks for its coupon again.
pub(super) fn reinstated(order: &Order, reinstated: Reinstated) -> Vec<Event> {
    let coupon = coupon_requested(&order.terms, reinstated.key);
    std::iter::once(Event::OrderReinstated(reinstated)).chain(coupon).collect()
}

/// Asks again for everything that the order needs.
pub(super) fn next_attempt(order: &Order, actor: &str, note: &str) -> Reinstated {
    Reinstated {
        key: HoldKey { order_id: order.order_id, attempt: order.attempt + 1 },
        lines: order.terms.lines.clone(),
        shares: order.terms.shares,
        coupon: order.terms.coupon.clone(),
        expires_at: None,
        reason: ReinstateReason::Requested,
        actor: actor.to_owned(),
        note: note.to_owned(),
        payment_id: None,
        is_authorised: false,
    }
}

#[cfg(test)]
mod specs;
