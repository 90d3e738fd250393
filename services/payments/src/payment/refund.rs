//! A refund of a payment: sent once under a key, and over only when it is known how it ended. What is heard of it is in `heard`.
//!
//! | heard or asked    | nothing yet                     | deferred  | refunding   | unknown             | refunded       | reversed    | rejected               |
//! |-------------------|---------------------------------|-----------|-------------|---------------------|----------------|-------------|------------------------|
//! | begin             | refunding / deferred / rejected | -         | -           | -                   | -              | -           | -                      |
//! | outcome refunded  | broken                          | -         | refunded    | -                   | answered       | refunded °  | refunded ° / unmatched |
//! | outcome rejected  | broken                          | -         | rejected *  | -                   | answered       | answered    | answered               |
//! | outcome unknown   | broken                          | -         | unknown     | -                   | answered       | answered    | answered               |
//! | provider refunded | elsewhere / unmatched           | refunded  | refunded    | refunded            | - / unmatched  | refunded °  | refunded ° / unmatched |
//! | provider failed   | unmatched                       | rejected  | rejected *  | rejected *          | reversed °     | - / dated   | - / dated              |
//! | operator RETRY    | refused                         | refused   | refused     | refunding           | refused        | refunding   | refused                |
//! | operator REFUNDED | refused                         | refused   | refused     | refunded            | -              | refunded    | refunded / refused     |
//! | operator ABANDON  | refused                         | rejected  | refused     | rejected / refused* | refused        | refused     | -                      |
//!
//! `-`: it is as it should be already, or the news is of an earlier sending. Dated: nobody had said when it failed, and this report does,
//! so it is told once more. `*`: once it was refunded, the order counts as refunded for
//! good, so from then on a failure is `reversed` and giving up is refused. `°`: unless the report is the older of the two by the
//! provider's time, or, of one payout, both have the same or no time: a payout may fail after it succeeded, and never succeeds after it
//! failed.
//!
//! A report may settle a refund while the call for it is still under way. Then the answer is heard too; and while a refund counts as
//! failed and may yet succeed, no other of the payment is sent, or the money could go out twice for one wish.

use std::time::Duration;

use domain::{DecideError, HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Timestamp, words};
use providers::idempotency_key;

use serde::Serialize;

use super::{Payment, PaymentTerms, broken};
use crate::event::{Event, RefundOf, Reported, Resolution};

mod reports;
mod second_charge;

#[cfg(test)]
mod spec;

pub(super) use reports::{Consequence, consequence, ended, failed_by, refunded_by};
pub(super) use second_charge::give_back;

/// How long after it was sent first the outcome counts as unknown. An event that has a refund sent says when that is if it is sent at once.
pub const DEADLINE: Duration = Duration::from_mins(5);

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refund {
    /// Where it stands.
    pub status: Status,
    /// How much.
    pub amount: Money,
    /// How many keys it was sent under: 0 when it was refused at once, above 1 after an operator's RETRY.
    pub send_count: i32,
    /// The key of the latest.
    pub key: String,
    /// Whether it counted as refunded once: the order then stays refunded, so it may be reversed but not given up.
    pub refunded_once: bool,
    /// Whether the call under the latest key was not answered yet: it may move money until then, whatever the status says.
    pub call_open: bool,
    /// What the provider knows the latest one that it accepted by.
    pub provider_reference: String,
    /// What it knew earlier sendings by.
    pub old_references: Vec<String>,
    /// When what counts now happened by the provider's clock. `None`: it did not say, or our call was answered.
    pub said_at: Option<Timestamp>,
    /// Why it is where it is: a rejection, evidence, or an operator's note, whatever came last.
    pub reason: String,
    /// While it is under way: after this its outcome counts as unknown.
    pub deadline: Option<Timestamp>,
    /// What the provider knows the second charge by that it gives back. `None`: it gives back money of the payment's own.
    pub second_charge: Option<String>,
}

words!(
    /// Where a refund stands.
    Status {
        /// It waits before it is sent.
        Deferred = "deferred",
        /// Under way to the provider.
        Refunding = "refunding",
        /// The buyer has the money.
        Refunded = "refunded",
        /// The money was not given back and will not be.
        Rejected = "rejected",
        /// Nobody knows: an operator decides.
        Unknown = "unknown",
        /// The provider took it back after it had been refunded: an operator decides.
        Reversed = "reversed",
    }
);

impl Refund {
    /// A refund for which no money is promised yet.
    #[must_use]
    pub const fn new(amount: Money) -> Self {
        Self {
            status: Status::Rejected,
            amount,
            send_count: 0,
            key: String::new(),
            refunded_once: false,
            call_open: false,
            provider_reference: String::new(),
            old_references: Vec::new(),
            said_at: None,
            reason: String::new(),
            deadline: None,
            second_charge: None,
        }
    }

    /// Its part of the payment's `refunded` and `refunding`, in minor units.
    #[must_use]
    pub const fn money(&self) -> (i64, i64) {
        match self.status {
            Status::Refunded => (self.amount.minor_units, 0),
            // Money of a reversed refund stays promised: the order counts as refunded, so it can only go to the buyer.
            Status::Deferred | Status::Refunding | Status::Unknown | Status::Reversed => (0, self.amount.minor_units),
            Status::Rejected => (0, 0),
        }
    }

    /// What an operator may decide.
    #[must_use]
    pub const fn allowed_resolutions(&self) -> &'static [Resolution] {
        match (self.status, self.refunded_once) {
            (Status::Deferred, _) => &[Resolution::Abandon],
            (Status::Unknown, false) => &[Resolution::Retry, Resolution::Refunded, Resolution::Abandon],
            // Two calls at once could both move money.
            (Status::Reversed, _) if self.call_open => &[Resolution::Refunded],
            // No order counts on it. Given back in another way, it is its charge that a person says so of.
            (Status::Unknown | Status::Reversed, _) if self.second_charge.is_some() => {
                &[Resolution::Retry, Resolution::Refunded, Resolution::Abandon]
            }
            (Status::Unknown, true) | (Status::Reversed, _) => &[Resolution::Retry, Resolution::Refunded],
            // Nobody can ask for it anew.
            (Status::Rejected, _) if self.second_charge.is_some() && !self.call_open => {
                &[Resolution::Retry, Resolution::Refunded]
            }
            (Status::Rejected, _) => &[Resolution::Refunded],
            (Status::Refunding | Status::Refunded, _) => &[],
        }
    }

    /// What names it in an event.
    pub(super) fn of(&self, payment_id: PaymentId, key: HoldKey, refund_id: RefundId) -> RefundOf {
        let is_of_second_charge = self.second_charge.is_some();
        RefundOf { payment_id, order_id: key.order_id, refund_id, is_of_second_charge }
    }

    /// Whether it counts as failed, and its call may move the money all the same.
    #[must_use]
    pub fn may_yet_succeed(&self) -> bool {
        self.call_open && self.status == Status::Rejected
    }

    /// The provider, or an operator, says where it stands.
    pub(super) fn hear(&mut self, reference: &str, reported: Option<&Reported>) {
        // Who is told by a report still waits for the answer.
        self.call_open &= reported.is_some();
        self.said_at = reported.and_then(|reported| reported.occurred_at);
        if !reference.is_empty() {
            self.know(reference);
        }
    }

    /// From now on the provider knows it by this reference; by none, until it says so.
    pub(super) fn know(&mut self, reference: &str) {
        if self.provider_reference == reference {
            return;
        }
        let old = std::mem::replace(&mut self.provider_reference, reference.to_owned());
        self.old_references.retain(|known| known != reference);
        if !old.is_empty() {
            self.old_references.push(old);
        }
    }
}

pub(super) fn begin(
    payment_id: PaymentId,
    order_id: OrderId,
    payment: &Payment,
    refund_id: RefundId,
    amount: Money,
    at: Timestamp,
) -> Result<Vec<Event>, DecideError> {
    if let Some(refund) = payment.refunds.get(&refund_id) {
        if refund.amount == amount {
            return Ok(vec![]);
        }
        let what = format!("refund {refund_id} is over {} and is asked for again over {amount}", refund.amount);
        return Err(broken(payment_id, what));
    }
    let of = RefundOf { payment_id, order_id, refund_id, is_of_second_charge: false };
    let Some(terms) = &payment.terms else { return Ok(vec![refused(of, amount, not_paid(payment_id))]) };
    let possible = affordable(payment_id, payment, terms, amount).and_then(|()| not_lost(payment, amount));
    Ok(vec![match (possible, payment.is_blocked()) {
        (Err(rejection), _) => refused(of, amount, rejection),
        // Nothing to send. Free gifts come back this way, and goods whose money went back before.
        (Ok(()), _) if amount.minor_units == 0 => {
            Event::PaymentRefunded { of, amount, provider_reference: String::new(), reported: None }
        }
        (Ok(()), Some(reason)) => Event::RefundDeferred { of, amount, reason },
        (Ok(()), None) => submit(of, (terms, own_charge(payment)), amount, 1, at),
    }])
}

fn refused(of: RefundOf, amount: Money, rejection: Rejection) -> Event {
    Event::RefundRejected { of, amount, rejection, provider_reference: String::new(), reported: None }
}

/// These events, and what deferred refunds have waited for: before them, those whose money goes otherwise are refused; after them all are,
/// if the payment is lost to its buyer's bank, or, as soon as nothing is in doubt, the others are sent.
pub(super) fn send_deferred(
    payment_id: PaymentId,
    payment: Option<&Payment>,
    events: Vec<Event>,
    at: Timestamp,
) -> Vec<Event> {
    let Some(before) = payment.filter(|payment| !payment.deferred().is_empty()) else { return events };
    let Some((terms, key)) = before.terms.as_ref().zip(before.key) else { return events };
    let of = |refund_id| RefundOf { payment_id, order_id: key.order_id, refund_id, is_of_second_charge: false };
    let mut after = before.clone();
    events.iter().for_each(|event| after.apply(event));
    let mut refusals = vec![];
    while let Some((refund_id, amount)) = after.deferred().last().copied().filter(|_| after.left_minor() < 0) {
        // What it is promised itself would be left without it.
        let rejection = exceeds(&after, amount, after.left_minor() + amount.minor_units);
        let event = refused(of(refund_id), amount, rejection);
        after.apply(&event);
        refusals.push(event);
    }
    let mut sent = vec![];
    while let Some(((refund_id, amount), rejection)) = after.deferred().first().copied().zip(after.is_lost()) {
        let event = refused(of(refund_id), amount, rejection);
        after.apply(&event);
        sent.push(event);
    }
    while let Some((refund_id, amount)) = after.deferred().first().copied().filter(|_| after.is_blocked().is_none()) {
        let event = submit(of(refund_id), (terms, own_charge(&after)), amount, 1, at);
        after.apply(&event);
        sent.push(event);
    }
    refusals.into_iter().chain(events).chain(sent).collect()
}

fn affordable(payment_id: PaymentId, payment: &Payment, terms: &PaymentTerms, amount: Money) -> Result<(), Rejection> {
    if payment.status != super::Status::Succeeded {
        return Err(not_paid(payment_id));
    }
    if amount.currency != terms.amount.currency {
        return Err(Rejection::new(
            "WRONG_CURRENCY",
            format!("the payment is in {}, so {amount} of it cannot be given back", terms.amount.currency),
        ));
    }
    let left = payment.left_minor();
    if amount.minor_units > left.max(0) {
        return Err(exceeds(payment, amount, left));
    }
    Ok(())
}

fn exceeds(payment: &Payment, amount: Money, left: i64) -> Rejection {
    let money = |minor_units| Money { minor_units, ..amount };
    Rejection::new(
        "EXCEEDS_PAYMENT",
        format!(
            "{amount} cannot be given back: of {} {} are refunded, {} promised to refunds and {} gone otherwise, so {} are left",
            money(payment.captured_minor),
            money(payment.refunded_minor),
            money(payment.refunding_minor),
            money(payment.gone_minor()),
            money(left)
        ),
    )
}

/// Whether its charge can be refunded at all. Goods come back without money whatever the bank does.
fn not_lost(payment: &Payment, amount: Money) -> Result<(), Rejection> {
    payment.is_lost().filter(|_| amount.minor_units > 0).map_or(Ok(()), Err)
}

/// Whether a refund that promises nothing may still count as refunded: deferred ones give way to it.
fn has_room(payment: &Payment, refund: &Refund) -> bool {
    let amount = refund.amount;
    if let Some(charge) = &refund.second_charge {
        return payment.left_of_charge(charge) >= amount.minor_units;
    }
    let promised: i64 = payment.deferred().iter().map(|(_, amount)| amount.minor_units).sum();
    payment.status == super::Status::Succeeded && payment.left_minor() + promised >= amount.minor_units
}

fn not_paid(payment_id: PaymentId) -> Rejection {
    Rejection::new("NOT_PAID", format!("payment {payment_id} has brought no money, so none can be given back"))
}

fn submit(of: RefundOf, (terms, charge): (&PaymentTerms, &str), amount: Money, number: i32, at: Timestamp) -> Event {
    Event::RefundSubmitted {
        of,
        amount,
        idempotency_key: idempotency_key(of.payment_id, of.refund_id, number),
        deadline: at + DEADLINE,
        provider: terms.provider.clone(),
        payment_reference: terms.reference.clone(),
        charge_reference: charge.to_owned(),
    }
}

/// What the provider knows the charge by that brought the payment's money; empty if it never said.
fn own_charge(payment: &Payment) -> &str {
    payment.charge.as_ref().map_or("", |charge| charge.reference.as_str())
}

fn went_back(of: RefundOf, refund: &Refund, reference: &str) -> Event {
    let (amount, provider_reference) = (refund.amount, reference.to_owned());
    Event::PaymentRefunded { of, amount, provider_reference, reported: None }
}

fn known(payment_id: PaymentId, payment: &Payment, refund_id: RefundId) -> Result<&Refund, Rejection> {
    payment.refunds.get(&refund_id).ok_or_else(|| {
        Rejection::new(
            "UNKNOWN_REFUND",
            format!("payment {payment_id} has no refund {refund_id}: give the id from RefundRequested, once that event has come"),
        )
    })
}

/// What an operator decided, on what evidence.
pub(super) struct Decided<'a> {
    pub(super) resolution: Resolution,
    pub(super) actor: &'a str,
    pub(super) note: &'a str,
}

pub(super) fn resolve(
    payment_id: PaymentId,
    payment: &Payment,
    refund_id: RefundId,
    decided: &Decided<'_>,
    at: Timestamp,
) -> Result<Vec<Event>, DecideError> {
    let refund = known(payment_id, payment, refund_id)?;
    let Decided { resolution, actor, note } = *decided;
    if !refund.allowed_resolutions().contains(&resolution) {
        return match (refund.status, resolution) {
            (Status::Refunded, Resolution::Refunded) | (Status::Rejected, Resolution::Abandon) => Ok(vec![]),
            (_, Resolution::Retry | Resolution::Refunded | Resolution::Abandon) => {
                Err(wrong_state(payment_id, refund_id, refund, resolution))?
            }
        };
    }
    let Some((terms, key)) = payment.terms.as_ref().zip(payment.key) else {
        return Err(broken(payment_id, format!("it was never requested, but has refund {refund_id}")));
    };
    if refund.status == Status::Rejected && !has_room(payment, refund) {
        let left = refund.second_charge.as_ref().map_or_else(|| payment.left_minor(), |of| payment.left_of_charge(of));
        let left = Money { minor_units: left, ..refund.amount };
        let reason = format!(
            "refund {refund_id} of {} cannot count as paid out: {left} are left of payment {payment_id}; decide about what else \
             took its money",
            refund.amount
        );
        Err(Rejection::new("EXCEEDS_PAYMENT", reason))?;
    }
    let is_own = refund.second_charge.is_none();
    if resolution == Resolution::Retry && is_own {
        not_lost(payment, refund.amount)?;
    }
    if let Some(doubt) = payment.is_blocked().filter(|_| resolution == Resolution::Retry && is_own) {
        let reason =
            format!("refund {refund_id} of payment {payment_id} cannot be sent again now: {doubt}; settle that first");
        Err(Rejection::new("PAYMENT_IN_DOUBT", reason))?;
    }
    let of = refund.of(payment_id, key, refund_id);
    let follows = match resolution {
        Resolution::Retry => {
            let charge = refund.second_charge.as_deref().unwrap_or_else(|| own_charge(payment));
            submit(of, (terms, charge), refund.amount, refund.send_count + 1, at)
        }
        Resolution::Refunded => went_back(of, refund, ""),
        Resolution::Abandon => {
            let rejection = Rejection::new("ABANDONED", format!("given up by {actor}: {note}"));
            refused(of, refund.amount, rejection)
        }
    };
    Ok(vec![Event::RefundResolved { of, resolution, actor: actor.to_owned(), note: note.to_owned() }, follows])
}

fn wrong_state(payment_id: PaymentId, refund_id: RefundId, refund: &Refund, resolution: Resolution) -> Rejection {
    let allowed_resolutions: Vec<&str> = refund.allowed_resolutions().iter().map(|verb| verb.as_str()).collect();
    let allowed = if allowed_resolutions.is_empty() {
        "there is nothing to decide".to_owned()
    } else {
        format!("it allows {}", allowed_resolutions.join(", "))
    };
    Rejection::new(
        "WRONG_STATE",
        format!(
            "{} of refund {refund_id} of payment {payment_id} is not possible, for it is {}: {allowed}",
            resolution.as_str(),
            refund.status.as_str()
        ),
    )
}
