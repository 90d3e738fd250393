//! Money that goes back: never more than came in, counting what is on its way, and never more pieces than were bought.

use domain::{HoldKey, Lines, Money, OrderId, PaymentId, RefundId, Refusal, Rejection, RoundId, derived, may_derive};

use super::{
    decide::{ATTEMPTS_MAX, broken, is_stale},
    payment::late_refund_id,
    state::{Claim, Left, Order, Refund, Shares},
    status::{Phase, RefundReason, RefundStatus},
};
use crate::{command::RefundRequest, event::Event};

/// The most refunds of one order that may be asked for.
pub const REFUNDS_MAX: usize = 1_000;

/// The refund of an order whose round failed. Derived, so that it is given back once however often it is asked for.
#[must_use]
pub fn round_refund_id(order_id: OrderId) -> RefundId {
    RefundId(derived(order_id.0, "round"))
}

/// Somebody wants money back.
pub(super) fn request(order: &Order, request: &RefundRequest) -> Result<Vec<Event>, Rejection> {
    let refund_id = request.refund_id;
    if is_derived(order.order_id, refund_id) {
        let reason =
            format!("{refund_id} is the id of a refund that follows from others' events: give the new refund its own");
        return Err(Rejection::new("RESERVED_REFUND_ID", reason));
    }
    let payment_id = refundable(order, refund_id).ok_or_else(|| not_paid(order))?;
    let left = order.left(payment_id, Some(refund_id));
    let claim = claim(order, request, payment_id, &left)?;
    if let Some(refund) = order.refunds.get(&refund_id) {
        return if refund.payment_id == payment_id && refund.claim == claim {
            Ok(vec![])
        } else {
            Err(exists(refund_id, refund))
        };
    }
    within(order, &claim, &left)?;
    if order.refunds.len() >= REFUNDS_MAX {
        let reason = format!("order {} has {REFUNDS_MAX} refunds already: give back the rest by hand", order.order_id);
        return Err(Rejection::new("TOO_MANY_REFUNDS", reason));
    }
    let (actor, note) = (request.actor.clone(), request.note.clone());
    Ok(vec![Event::RefundRequested { order_id: order.order_id, refund_id, payment_id, claim, actor, note }])
}

/// Whether it is an id by which this service will know, or knows, that it has sent money back already.
fn is_derived(order_id: OrderId, refund_id: RefundId) -> bool {
    let late = |attempt| late_refund_id(HoldKey { order_id, attempt }.payment_id());
    may_derive(order_id.0, refund_id.0)
        && (refund_id == round_refund_id(order_id) || (1..=ATTEMPTS_MAX).any(|attempt| refund_id == late(attempt)))
}

/// The payment to take a refund from: the one that paid the order. Of an unpaid order, late money that could not be
/// given back: it must not stay here only because the provider refused it once.
fn refundable(order: &Order, aside: RefundId) -> Option<PaymentId> {
    match order.status.phase() {
        Phase::Paid => order.payment_id,
        Phase::Open | Phase::Closed => {
            let mut payments = order.refunds.values().map(|refund| refund.payment_id);
            payments.find(|payment_id| order.left(*payment_id, Some(aside)).minor > 0)
        }
    }
}

/// What a request comes to, if everything but this refund is `left`. Whether there is as much is another question.
fn claim(order: &Order, request: &RefundRequest, payment_id: PaymentId, left: &Left) -> Result<Claim, Rejection> {
    let currency = order.terms.total.currency;
    if let Some(amount) = request.amount.filter(|amount| amount.currency != currency) {
        return Err(Rejection::new(
            "WRONG_CURRENCY",
            format!(
                "order {} is in {currency}, so no {amount} can be given back: give an amount in {currency}",
                order.order_id
            ),
        ));
    }
    if request.lines.is_empty() && !request.return_shares && request.amount.is_none() {
        return Ok(all(order, payment_id, left, RefundReason::Requested));
    }
    let of_shares = order.terms.shares.filter(|_| request.return_shares).map_or(0, |shares| shares.price());
    let price = || Money { minor_units: order.terms.price(&request.lines, &left.pieces) + of_shares, currency };
    Ok(Claim {
        amount: request.amount.unwrap_or_else(price),
        lines: request.lines.clone(),
        return_shares: request.return_shares,
        ..all(order, payment_id, left, RefundReason::Requested)
    })
}

/// Everything that is left.
fn all(order: &Order, payment_id: PaymentId, left: &Left, reason: RefundReason) -> Claim {
    // Late money that stayed here keeps its reason and its attempt.
    let late = order.refunds.get(&late_refund_id(payment_id));
    Claim {
        attempt: late.map_or(order.attempt, |refund| refund.claim.attempt),
        amount: Money { minor_units: left.minor, currency: order.terms.total.currency },
        reason: late.map_or(reason, |refund| refund.claim.reason),
        lines: left.pieces.clone(),
        return_shares: left.shares,
    }
}

fn within(order: &Order, claim: &Claim, left: &Left) -> Result<(), Rejection> {
    let (order_id, asked) = (order.order_id, claim.amount);
    let money_left = Money { minor_units: left.minor, currency: asked.currency };
    let beyond = |lines: &Lines| {
        lines.iter().find_map(|(sku, wanted)| {
            let pieces = left.pieces.get(sku).copied().unwrap_or(0);
            (*wanted > pieces)
                .then(|| format!("{wanted} of product {sku} cannot come back from order {order_id}: {pieces} are left"))
        })
    };
    if let Some(reason) = beyond(&claim.lines) {
        return Err(Rejection::new("REFUND_EXCEEDS_LINES", reason));
    }
    if claim.return_shares && !left.shares {
        let reason = format!("order {order_id} has no shares left to give back: ask without return_shares");
        return Err(Rejection::new("REFUND_EXCEEDS_SHARES", reason));
    }
    if asked.minor_units < 1 {
        return Err(Rejection::new(
            "NOTHING_TO_REFUND",
            format!(
                "the refund of order {order_id} comes to nothing, with {money_left} left: name an amount, or what is worth one"
            ),
        ));
    }
    if asked.minor_units > left.minor {
        return Err(Rejection::new(
            "REFUND_EXCEEDS_PAYMENT",
            format!(
                "{asked} of order {order_id} cannot be given back: {money_left} is left, counting refunds under way"
            ),
        ));
    }
    Ok(())
}

/// The refund that cancelling a paid order comes to. Nothing, once all its money is on its way back.
pub(super) fn everything(order: &Order, refund_id: RefundId, actor: &str, note: &str) -> Vec<Event> {
    let Some(payment_id) = order.payment_id else { return vec![] };
    let left = order.left(payment_id, None);
    if left.minor < 1 || order.refunds.contains_key(&refund_id) {
        return vec![];
    }
    let claim = all(order, payment_id, &left, RefundReason::OrderCancelled);
    let (actor, note) = (actor.to_owned(), note.to_owned());
    vec![Event::RefundRequested { order_id: order.order_id, refund_id, payment_id, claim, actor, note }]
}

/// The round failed, so the shares are to be refunded.
pub(super) fn refund_shares(order: &Order, key: HoldKey, round_id: RoundId, note: &str) -> Result<Vec<Event>, Refusal> {
    if is_stale(order, key)? {
        return Ok(vec![]);
    }
    let bought = order.terms.shares.filter(|shares| shares.round_id == round_id && order.status.phase() == Phase::Paid);
    match (bought, order.payment_id) {
        (Some(shares), Some(payment_id)) => Ok(share_refund(order, &shares, payment_id, note).into_iter().collect()),
        (None | Some(_), None) | (None, Some(_)) => {
            Err(broken(order.order_id, format!("round {round_id} names it a participant, and it is none")))
        }
    }
}

/// The shares' price goes back, or what is left of it. A refund under way that leaves too little may still be given up,
/// so it is waited for. Nothing, if the shares came back before.
fn share_refund(order: &Order, shares: &Shares, payment_id: PaymentId, note: &str) -> Option<Event> {
    let (order_id, refund_id, left) = (order.order_id, round_refund_id(order.order_id), order.left(payment_id, None));
    if order.refunds.contains_key(&refund_id) {
        return None;
    }
    let enough = left.shares && left.minor >= shares.price();
    if !enough && order.in_flight(payment_id) > 0 {
        let deferred =
            Event::ShareRefundDeferred { key: order.key(), round_id: shares.round_id, note: note.to_owned() };
        return order.deferred_share_refund.is_none().then_some(deferred);
    }
    if !left.shares || left.minor < 1 {
        return None;
    }
    let claim = Claim {
        attempt: order.attempt,
        amount: Money { minor_units: shares.price().min(left.minor), ..order.terms.total },
        reason: RefundReason::RoundFailed,
        lines: Lines::new(),
        return_shares: true,
    };
    let (actor, note) = ("rounds".to_owned(), note.to_owned());
    Some(Event::RefundRequested { order_id, refund_id, payment_id, claim, actor, note })
}

/// A refund has ended like this. The refund of the shares may have waited for it.
fn ended(order: &Order, end: Event) -> Vec<Event> {
    let mut after = order.clone();
    after.take(&end);
    let waiting = after.deferred_share_refund.as_deref().zip(after.terms.shares).zip(after.payment_id);
    let next = waiting.and_then(|((note, shares), payment_id)| share_refund(&after, &shares, payment_id, note));
    std::iter::once(end).chain(next).collect()
}

/// The provider has given a refund back. That is so even if the refund had been given up.
pub(super) fn record(order: &Order, refund_id: RefundId, amount: Money) -> Result<Vec<Event>, Refusal> {
    let refund = known(order, refund_id)?;
    if refund.claim.amount != amount {
        let what = format!("refund {refund_id} was of {}, and {amount} were given back", refund.claim.amount);
        return Err(broken(order.order_id, what));
    }
    match refund.status {
        RefundStatus::Refunded => return Ok(vec![]),
        RefundStatus::Requested => {}
        RefundStatus::Abandoned => within(order, &refund.claim, &order.left(refund.payment_id, Some(refund_id)))
            .map_err(|left| {
                broken(order.order_id, format!("refund {refund_id} was given up, and went back too: {left}"))
            })?,
    }
    let (order_id, claim) = (order.order_id, refund.claim.clone());
    let back = order.refunded(refund.payment_id) + amount.minor_units;
    let is_all = back == order.received(refund.payment_id);
    let whole = |claim| Event::OrderRefunded { order_id, refund_id, claim };
    let part = |claim| Event::OrderPartiallyRefunded { order_id, refund_id, claim };
    Ok(ended(order, if is_all { whole(claim) } else { part(claim) }))
}

/// The provider gave nothing back, and will not.
pub(super) fn abandon(order: &Order, refund_id: RefundId, rejection: &Rejection) -> Result<Vec<Event>, Refusal> {
    let refund = known(order, refund_id)?;
    match refund.status {
        RefundStatus::Requested => {
            let key = HoldKey { order_id: order.order_id, attempt: refund.claim.attempt };
            Ok(ended(order, Event::RefundAbandoned { key, refund_id, rejection: rejection.clone() }))
        }
        // What is given back stays so, whatever was said before or after.
        RefundStatus::Refunded | RefundStatus::Abandoned => Ok(vec![]),
    }
}

fn known(order: &Order, refund_id: RefundId) -> Result<&Refund, Refusal> {
    let never_asked = || broken(order.order_id, format!("refund {refund_id} was answered, and never asked for"));
    order.refunds.get(&refund_id).ok_or_else(never_asked)
}

fn not_paid(order: &Order) -> Rejection {
    let (order_id, status) = (order.order_id, order.status.as_str());
    Rejection::new(
        "ORDER_NOT_PAID",
        format!(
            "order {order_id} is {status}, so there is no money to give back: if it was paid just now, wait for OrderPaid"
        ),
    )
}

fn exists(refund_id: RefundId, refund: &Refund) -> Rejection {
    let (amount, status) = (refund.claim.amount, refund.status.as_str());
    Rejection::new(
        "REFUND_EXISTS",
        format!(
            "refund {refund_id} was asked for with other content, comes to {amount} and is {status}: give the new refund another id"
        ),
    )
}

#[cfg(test)]
mod specs;
