//! Money that goes back: never more than came in, counting what is on its way, and never more pieces than were bought.
//!
//! Why it is so: services/orders/README.md#what-was-asked-for-is-compared

use domain::{
    DecideError, HoldKey, Lines, Money, OrderId, PaymentId, RefundId, Rejection, RoundId, derived, may_derive,
};

use super::{
    decide::{ATTEMPTS_MAX, broken, is_stale},
    payment::late_refund_id,
    state::{Everything, Order, Refund, RefundItems, Refundable, Shares, price},
    status::{Extent, Phase, RefundReason, RefundStatus},
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
    if let Some(refund) = order.refunds.get(&refund_id) {
        return if refund.was_asked_by(request) { Ok(vec![]) } else { Err(exists(refund_id, refund)) };
    }
    let payment_id = refundable(order).ok_or_else(|| not_paid(order))?;
    let left = order.left(payment_id, None);
    let (claim, extent) = claim(order, request, payment_id, &left)?;
    within(order, &claim, &left)?;
    can_go_back(order, payment_id, &claim)?;
    if order.refunds.len() >= REFUNDS_MAX {
        let reason = format!("order {} has {REFUNDS_MAX} refunds already: give back the rest by hand", order.order_id);
        return Err(Rejection::new("TOO_MANY_REFUNDS", reason));
    }
    let (order_id, extent) = (order.order_id, Some(extent));
    let (actor, note) = (request.actor.clone(), request.note.clone());
    let requested = Event::RefundRequested { order_id, refund_id, payment_id, claim, extent, actor, note };
    Ok(begun(order, vec![requested]))
}

/// Refunds are asked for. Of an order that was paid with nothing, goods are all that comes back: nobody is asked, and they have ended.
fn begun(order: &Order, events: Vec<Event>) -> Vec<Event> {
    if !order.is_free() {
        return events;
    }
    let (mut after, mut all) = (order.clone(), Vec::new());
    for event in events {
        after.apply(&event);
        let end = if let Event::RefundRequested { refund_id, payment_id, claim, .. } = &event {
            Some(given_back(&after, *refund_id, *payment_id, claim.clone()))
        } else {
            None
        };
        all.push(event);
        if let Some(end) = end {
            for event in ended(&after, end) {
                after.apply(&event);
                all.push(event);
            }
        }
    }
    all
}

impl RefundRequest {
    /// Whether it names nothing, and so means everything that is left.
    fn is_for_everything(&self) -> bool {
        self.lines.is_empty() && !self.return_shares && self.amount.is_none()
    }
}

impl Refund {
    /// Whether this is what was asked for then, whatever it would come to now.
    fn was_asked_by(&self, request: &RefundRequest) -> bool {
        let same_goods = self.claim.lines == request.lines && self.claim.return_shares == request.return_shares;
        let by_somebody = matches!(self.claim.reason, RefundReason::Requested | RefundReason::LatePayment);
        by_somebody
            && match self.extent {
                Some(Extent::Everything) => request.is_for_everything(),
                Some(Extent::Price) => same_goods && request.amount.is_none(),
                Some(Extent::Amount) => same_goods && request.amount == Some(self.claim.amount),
                None => {
                    request.is_for_everything()
                        || (same_goods && request.amount.is_none_or(|amount| amount == self.claim.amount))
                }
            }
    }
}

/// Whether it is an id by which this service will know, or knows, that it has sent money back already.
fn is_derived(order_id: OrderId, refund_id: RefundId) -> bool {
    let late = |attempt| late_refund_id(HoldKey { order_id, attempt }.payment_id());
    may_derive(order_id.0, refund_id.0)
        && (refund_id == round_refund_id(order_id) || (1..=ATTEMPTS_MAX).any(|attempt| refund_id == late(attempt)))
}

/// The payment to take a refund from: the one that paid the order. Of an unpaid order, late money that could not be
/// given back: it must not stay here only because the provider refused it once.
fn refundable(order: &Order) -> Option<PaymentId> {
    match order.status.phase() {
        Phase::Paid => order.payment_id,
        Phase::Open | Phase::Closed => {
            let mut payments = order.refunds.values().map(|refund| refund.payment_id);
            payments.find(|payment_id| order.left(*payment_id, None).minor > 0)
        }
    }
}

/// What a request comes to, if so much is `left`. Whether there is as much is another question.
fn claim(
    order: &Order,
    request: &RefundRequest,
    payment_id: PaymentId,
    left: &Refundable,
) -> Result<(RefundItems, Extent), Rejection> {
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
    let all = all(order, payment_id, left, RefundReason::Requested);
    if request.is_for_everything() {
        return Ok((all, Extent::Everything));
    }
    let of_shares = order.terms.shares.filter(|_| request.return_shares).map_or(0, |shares| order.share_price(&shares));
    let price = price(&left.take(&request.lines)) + of_shares;
    // What was given back before without goods is not given back again with them. What is still under way may fail, and is waited for.
    let under_way = order.in_flight(payment_id) > 0;
    let minor_units = if under_way { price } else { price.min(left.minor.max(0)) };
    let (amount, extent) = match request.amount {
        Some(amount) => (amount, Extent::Amount),
        None => (Money { minor_units, currency }, Extent::Price),
    };
    Ok((RefundItems { amount, lines: request.lines.clone(), return_shares: request.return_shares, ..all }, extent))
}

/// Everything that is left.
fn all(order: &Order, payment_id: PaymentId, left: &Refundable, reason: RefundReason) -> RefundItems {
    // Late money that stayed here keeps its reason and its attempt.
    let late = order.refunds.get(&late_refund_id(payment_id));
    RefundItems {
        attempt: late.map_or(order.attempt, |refund| refund.claim.attempt),
        amount: Money { minor_units: left.minor.max(0), currency: order.terms.total.currency },
        reason: late.map_or(reason, |refund| refund.claim.reason),
        lines: left.lines(),
        return_shares: left.shares,
    }
}

fn within(order: &Order, claim: &RefundItems, left: &Refundable) -> Result<(), Rejection> {
    let (order_id, asked) = (order.order_id, claim.amount);
    let money_left = Money { minor_units: left.minor, currency: asked.currency };
    let beyond = |lines: &Lines| {
        lines.iter().find_map(|(sku, wanted)| {
            let pieces = left.count(sku);
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
    if asked.minor_units < 1 && claim.lines.is_empty() && !claim.return_shares {
        return Err(Rejection::new(
            "NOTHING_TO_REFUND",
            format!(
                "the refund of order {order_id} comes to nothing, with {money_left} left: name an amount, or what is worth one"
            ),
        ));
    }
    if asked.minor_units > left.minor.max(0) {
        return Err(Rejection::new(
            "REFUND_EXCEEDS_PAYMENT",
            format!(
                "{asked} of order {order_id} cannot be given back: {money_left} is left, counting refunds under way"
            ),
        ));
    }
    Ok(())
}

/// While a bank disputes the payment, its provider refunds nothing. Goods come back without money all the same; and what others ask for, such
/// as a round that failed, waits at payments for the end of the dispute.
fn can_go_back(order: &Order, payment_id: PaymentId, claim: &RefundItems) -> Result<(), Rejection> {
    let dispute = order.stops_refunds(payment_id).filter(|_| claim.amount.minor_units > 0);
    dispute.map_or(Ok(()), |reason| Err(Rejection::new("PAYMENT_DISPUTED", reason)))
}

/// A paid order is cancelled: that is remembered, and what is left goes back. Asked again, so does what did not go back before.
pub(super) fn cancel(order: &Order, refund_id: RefundId, actor: &str, note: &str) -> Vec<Event> {
    let is_asked = order.refunds.contains_key(&refund_id)
        || order.everything.as_ref().is_some_and(|all| all.refund_id == refund_id);
    if is_asked || order.is_all_gone_back() {
        return vec![];
    }
    let by =
        Everything { refund_id, reason: RefundReason::OrderCancelled, actor: actor.to_owned(), note: note.to_owned() };
    let is_cancelled = order.everything.as_ref().is_some_and(|all| all.reason == RefundReason::OrderCancelled);
    let cancelled = (!is_cancelled).then(|| Event::PaidOrderCancelled {
        key: order.key(),
        refund_id,
        actor: by.actor.clone(),
        note: by.note.clone(),
    });
    begun(order, cancelled.into_iter().chain(everything(order, &by)).collect())
}

/// The refund of everything that is left. `None`: nothing is, or all of it is on its way.
fn everything(order: &Order, by: &Everything) -> Option<Event> {
    let payment_id = order.payment_id.filter(|_| order.status.phase() == Phase::Paid)?;
    let left = order.left(payment_id, None);
    if left.is_nothing() || order.refunds.contains_key(&by.refund_id) || order.refunds.len() >= REFUNDS_MAX {
        return None;
    }
    Some(Event::RefundRequested {
        order_id: order.order_id,
        refund_id: by.refund_id,
        payment_id,
        claim: all(order, payment_id, &left, by.reason),
        extent: Some(Extent::Everything),
        actor: by.actor.clone(),
        note: by.note.clone(),
    })
}

/// The round failed, so the shares are to be refunded.
pub(super) fn refund_shares(
    order: &Order,
    key: HoldKey,
    round_id: RoundId,
    note: &str,
) -> Result<Vec<Event>, DecideError> {
    if is_stale(order, key)? {
        return Ok(vec![]);
    }
    let bought = order.terms.shares.filter(|shares| shares.round_id == round_id && order.status.phase() == Phase::Paid);
    match (bought, order.payment_id) {
        (Some(shares), Some(payment_id)) => {
            Ok(begun(order, share_refund(order, &shares, payment_id, note).into_iter().collect()))
        }
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
    let price = order.share_price(shares);
    let enough = left.shares && left.minor >= price;
    if !enough && order.in_flight(payment_id) > 0 {
        let deferred =
            Event::ShareRefundDeferred { key: order.key(), round_id: shares.round_id, note: note.to_owned() };
        return order.deferred_share_refund.is_none().then_some(deferred);
    }
    // Shares that a coupon has made free come back without money.
    if !left.shares || (left.minor < 1 && price > 0) {
        return None;
    }
    let claim = RefundItems {
        attempt: order.attempt,
        amount: Money { minor_units: price.min(left.minor), ..order.terms.total },
        reason: RefundReason::RoundFailed,
        lines: Lines::new(),
        return_shares: true,
    };
    let (actor, note) = ("rounds".to_owned(), note.to_owned());
    Some(Event::RefundRequested { order_id, refund_id, payment_id, claim, extent: Some(Extent::Amount), actor, note })
}

/// A refund has ended like this. The refund of the shares may have waited for it; and if it failed while everything was to go back, what
/// it leaves is asked for.
fn ended(order: &Order, end: Event) -> Vec<Event> {
    let mut after = order.clone();
    let mut events = vec![];
    let mut follow = |after: &mut Order, event: Event| {
        after.apply(&event);
        events.push(event);
    };
    let failed = if let Event::RefundAbandoned { refund_id, .. } = &end { Some(*refund_id) } else { None };
    follow(&mut after, end);
    let waiting = after.deferred_share_refund.clone().zip(after.terms.shares).zip(after.payment_id);
    if let Some(event) =
        waiting.and_then(|((note, shares), payment_id)| share_refund(&after, &shares, payment_id, &note))
    {
        follow(&mut after, event);
    }
    if let Some(event) = failed.and_then(|refund_id| rest_of_everything(&after, refund_id)) {
        follow(&mut after, event);
    }
    events
}

/// A refund that was under way when everything was asked for has failed: what it leaves is part of everything. Not if it was asked for as
/// everything itself, and for the same reason: it would be refused again.
fn rest_of_everything(order: &Order, failed: RefundId) -> Option<Event> {
    let all = order.everything.as_ref()?;
    let refund = order.refunds.get(&failed)?;
    if refund.extent == Some(Extent::Everything) && refund.claim.reason == all.reason {
        return None;
    }
    let refund_id = RefundId(derived(all.refund_id.0, &format!("rest of {failed}")));
    everything(order, &Everything { refund_id, ..all.clone() })
}

/// The provider has given a refund back. That is so even if the refund had been given up.
pub(super) fn record(order: &Order, refund_id: RefundId, amount: Money) -> Result<Vec<Event>, DecideError> {
    let Some(refund) = known(order, refund_id)? else { return Ok(vec![]) };
    if refund.claim.amount != amount {
        let what = format!("refund {refund_id} was of {}, and {amount} were given back", refund.claim.amount);
        return Err(broken(order.order_id, what));
    }
    let back = order.refunded(refund.payment_id) + amount.minor_units;
    if refund.status != RefundStatus::Refunded && back > order.received(refund.payment_id) {
        let back = Money { minor_units: back, ..amount };
        let what = format!(
            "with refund {refund_id}, {back} of payment {} went back, which is more than came",
            refund.payment_id
        );
        return Err(broken(order.order_id, what));
    }
    let claim = match refund.status {
        RefundStatus::Refunded => return Ok(vec![]),
        RefundStatus::Requested => refund.claim.clone(),
        RefundStatus::Abandoned => still_to_come(order, refund),
    };
    Ok(ended(order, given_back(order, refund_id, refund.payment_id, claim)))
}

/// What comes back with a refund that had been given up: its money, and of its goods what has not come back with others since.
fn still_to_come(order: &Order, refund: &Refund) -> RefundItems {
    let left = order.left(refund.payment_id, None);
    let mut claim = refund.claim.clone();
    for (sku, quantity) in &mut claim.lines {
        *quantity = (*quantity).min(left.count(sku));
    }
    claim.lines.retain(|_, quantity| *quantity > 0);
    claim.return_shares &= left.shares;
    claim
}

fn given_back(order: &Order, refund_id: RefundId, payment_id: PaymentId, claim: RefundItems) -> Event {
    let order_id = order.order_id;
    let back = order.refunded(payment_id) + claim.amount.minor_units;
    let is_all =
        if order.is_free() { order.left(payment_id, None).is_nothing() } else { back == order.received(payment_id) };
    if is_all {
        Event::OrderRefunded { order_id, refund_id, claim }
    } else {
        Event::OrderPartiallyRefunded { order_id, refund_id, claim }
    }
}

/// A refund that nobody asked for here.
pub(super) struct Elsewhere {
    pub(super) key: HoldKey,
    pub(super) payment_id: PaymentId,
    pub(super) refund_id: RefundId,
    pub(super) amount: Money,
}

/// Money went back elsewhere. It is booked as if it had been asked for, even if the payment is not heard of yet.
pub(super) fn record_elsewhere(order: &Order, elsewhere: &Elsewhere, note: &str) -> Vec<Event> {
    let Elsewhere { key, payment_id, refund_id, amount } = *elsewhere;
    if order.refunds.contains_key(&refund_id) {
        return vec![];
    }
    let claim = RefundItems {
        attempt: key.attempt,
        amount,
        reason: RefundReason::Elsewhere,
        lines: Lines::new(),
        return_shares: false,
    };
    let requested = Event::RefundRequested {
        order_id: order.order_id,
        refund_id,
        payment_id,
        claim: claim.clone(),
        extent: Some(Extent::Amount),
        actor: "payments".to_owned(),
        note: note.to_owned(),
    };
    let mut after = order.clone();
    after.apply(&requested);
    let mut events = vec![requested];
    events.extend(ended(&after, given_back(&after, refund_id, payment_id, claim)));
    events
}

/// The provider gave nothing back, and will not.
pub(super) fn abandon(order: &Order, refund_id: RefundId, rejection: &Rejection) -> Result<Vec<Event>, DecideError> {
    let Some(refund) = known(order, refund_id)? else { return Ok(vec![]) };
    match refund.status {
        RefundStatus::Requested => {
            let key = HoldKey { order_id: order.order_id, attempt: refund.claim.attempt };
            Ok(ended(order, Event::RefundAbandoned { key, refund_id, rejection: rejection.clone() }))
        }
        // What is given back stays so, whatever was said before or after.
        RefundStatus::Refunded | RefundStatus::Abandoned => Ok(vec![]),
    }
}

/// The refund that payments speaks of. `None`: one that was made elsewhere, of which orders has yet to hear. It is booked then, and stays so
/// whatever was said of it before.
fn known(order: &Order, refund_id: RefundId) -> Result<Option<&Refund>, DecideError> {
    let refund = order.refunds.get(&refund_id);
    if refund.is_none() && !is_made_elsewhere(order.order_id, refund_id) {
        return Err(broken(order.order_id, format!("refund {refund_id} was answered, and never asked for")));
    }
    Ok(refund)
}

/// Whether it is an id by which payments may know what was given back elsewhere. Orders asks for none by such an id.
fn is_made_elsewhere(order_id: OrderId, refund_id: RefundId) -> bool {
    may_derive(order_id.0, refund_id.0) && !is_derived(order_id, refund_id)
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
            "refund {refund_id} was asked for otherwise, comes to {amount} and is {status}: give the new refund another id"
        ),
    )
}

#[cfg(test)]
mod specs;
