//! One payment of one attempt of an order: what was asked, what came, and what went back.
//!
//! | reported or asked  | nothing yet | requested | succeeded | failed    | cancelled             |
//! |--------------------|-------------|-----------|-----------|-----------|-----------------------|
//! | request            | requested   | -         | -         | -         | -                     |
//! | cancel             | cancelled   | cancelled | -         | -         | -                     |
//! | provider succeeded | refused     | succeeded | -         | succeeded | succeeded, or refused |
//! | provider failed    | refused     | failed    | -         | -         | -, or refused         |
//!
//! `-`: it is as it should be already. Refused: nobody was ever asked to pay. Late money is never lost: whatever the
//! payment was before, it has succeeded. What becomes of refunds is in [`refund`].

use std::collections::BTreeMap;

use domain::{HoldKey, Money, PaymentId, RefundId, Refusal, Rejection, Timestamp};
use runtime::rows::Rows;

use crate::{
    command::{Command, Report},
    event::{Checkout, Event, stream},
};

pub mod refund;

#[cfg(test)]
pub(crate) mod spec;

use refund::Refund;

/// The rows of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Payments, each with its refunds: who locks the payment has locked them.
    pub payments: Rows<PaymentId, Payment>,
}

/// A payment and its refunds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The attempt that it pays.
    pub key: HoldKey,
    /// Where it stands.
    pub status: Status,
    /// What the buyer was asked. `None`: a tombstone, cancelled before it was requested.
    pub terms: Option<Terms>,
    /// Money that came, in minor units.
    pub captured_minor: i64,
    /// Money that went back.
    pub refunded_minor: i64,
    /// Money that is promised to refunds which are not over: under way, unknown or reversed.
    pub refunding_minor: i64,
    /// By id.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// Events of its stream.
    pub version: i64,
}

/// What the buyer was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How much.
    pub amount: Money,
    /// The provider's name.
    pub provider: String,
    /// What the provider knows the payment by.
    pub reference: String,
    /// How the buyer pays.
    pub payment_method: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The buyer is asked to pay.
    Requested,
    /// The money is there.
    Succeeded,
    /// The provider could not get the money.
    Failed,
    /// The buyer is not asked any more, or never will be.
    Cancelled,
}

impl Status {
    /// The word for it in tables and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Requested, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

impl World {
    /// How many events the payment's stream has. 0 without its row, which the log refuses.
    #[must_use]
    pub fn version(&self, payment_id: PaymentId) -> i64 {
        self.payments.get(&payment_id).map_or(0, |payment| payment.version)
    }
}

/// What a command causes.
///
/// # Errors
/// Business says no, or an invariant is broken.
pub fn decide(world: &World, command: &Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
    match command {
        Command::RequestPayment { key, amount, checkout, payment_method, expires_at } => {
            let asked = Asked { amount: *amount, checkout, payment_method, expires_at: *expires_at };
            request(world, *key, &asked)
        }
        Command::CancelPayment { key } => Ok(cancel(world, *key)),
        Command::RecordProviderEvent { payment_id, report } => {
            let payment = known(world, *payment_id)?;
            let Some(terms) = &payment.terms else { Err(never_requested(*payment_id))? };
            match report {
                Report::PaymentSucceeded { amount, provider_event_id } => {
                    succeeded(*payment_id, payment, terms, *amount, provider_event_id)
                }
                Report::PaymentFailed { reason, provider_event_id } => {
                    Ok(failed(*payment_id, payment, reason, provider_event_id))
                }
                Report::RefundSucceeded(report) => refund::reported_refunded(*payment_id, payment, report),
                Report::RefundFailed(report) => refund::reported_failed(*payment_id, payment, report),
            }
        }
        Command::BeginRefund { payment_id, order_id, refund_id, amount } => match world.payments.get(payment_id) {
            Some(payment) if payment.key.order_id == *order_id => {
                refund::begin(*payment_id, payment, *refund_id, *amount, at)
            }
            Some(_) | None => {
                Err(broken(*payment_id, format!("order {order_id} never had it, but wants refund {refund_id} of it")))
            }
        },
        Command::RecordRefundOutcome { payment_id, refund_id, key, outcome } => match world.payments.get(payment_id) {
            Some(payment) => refund::ended(*payment_id, payment, *refund_id, key, outcome),
            None => {
                Err(broken(*payment_id, format!("refund {refund_id} of it was sent, but there is no such payment")))
            }
        },
        Command::ResolveRefund { payment_id, refund_id, resolution, actor, note } => {
            let decided = refund::Decided { resolution: *resolution, actor, note };
            refund::resolve(*payment_id, known(world, *payment_id)?, *refund_id, &decided, at)
        }
    }
}

struct Asked<'a> {
    amount: Money,
    checkout: &'a Checkout,
    payment_method: &'a str,
    expires_at: Timestamp,
}

fn request(world: &World, key: HoldKey, asked: &Asked<'_>) -> Result<Vec<Event>, Refusal> {
    let payment_id = key.payment_id();
    match world.payments.get(&payment_id).map(|payment| payment.terms.as_ref()) {
        None => Ok(vec![Event::PaymentRequested {
            payment_id,
            key,
            amount: asked.amount,
            checkout: asked.checkout.clone(),
            payment_method: asked.payment_method.to_owned(),
            expires_at: asked.expires_at,
        }]),
        // Cancelled before it came: the buyer is never asked.
        Some(None) => Ok(vec![]),
        Some(Some(terms)) if terms.amount == asked.amount => Ok(vec![]),
        Some(Some(terms)) => {
            let what = format!("it was requested over {} and is requested again over {}", terms.amount, asked.amount);
            Err(broken(payment_id, what))
        }
    }
}

fn cancel(world: &World, key: HoldKey) -> Vec<Event> {
    let payment_id = key.payment_id();
    match world.payments.get(&payment_id).map(|payment| payment.status) {
        None | Some(Status::Requested) => vec![Event::PaymentCancelled { payment_id, key }],
        Some(Status::Succeeded | Status::Failed | Status::Cancelled) => vec![],
    }
}

fn succeeded(
    payment_id: PaymentId,
    payment: &Payment,
    terms: &Terms,
    amount: Money,
    provider_event_id: &str,
) -> Result<Vec<Event>, Refusal> {
    same_money(&format!("payment {payment_id}"), terms.amount, amount)?;
    match payment.status {
        Status::Succeeded => Ok(vec![]),
        Status::Requested | Status::Failed | Status::Cancelled => Ok(vec![Event::PaymentSucceeded {
            payment_id,
            key: payment.key,
            amount,
            provider_event_id: provider_event_id.to_owned(),
        }]),
    }
}

fn failed(payment_id: PaymentId, payment: &Payment, reason: &str, provider_event_id: &str) -> Vec<Event> {
    match payment.status {
        Status::Requested => vec![Event::PaymentFailed {
            payment_id,
            key: payment.key,
            reason: reason.to_owned(),
            provider_event_id: provider_event_id.to_owned(),
        }],
        // A provider's reports may overtake each other: the money that came stays.
        Status::Succeeded | Status::Failed | Status::Cancelled => vec![],
    }
}

/// The money that the provider names must be the money we know of.
fn same_money(what: &str, known: Money, reported: Money) -> Result<(), Rejection> {
    if reported.currency != known.currency {
        return Err(Rejection::new(
            "WRONG_CURRENCY",
            format!(
                "{what} is in {}, but the provider reports {reported}: compare both at the provider",
                known.currency
            ),
        ));
    }
    if reported.minor_units != known.minor_units {
        return Err(Rejection::new(
            "AMOUNT_MISMATCH",
            format!("{what} is over {known}, but the provider reports {reported}: compare both at the provider"),
        ));
    }
    Ok(())
}

fn known(world: &World, payment_id: PaymentId) -> Result<&Payment, Rejection> {
    world.payments.get(&payment_id).ok_or_else(|| {
        Rejection::new(
            "UNKNOWN_PAYMENT",
            format!(
                "no payment {payment_id} is known here: give the id from PaymentRequested, once that event has come"
            ),
        )
    })
}

fn never_requested(payment_id: PaymentId) -> Rejection {
    Rejection::new(
        "NEVER_REQUESTED",
        format!(
            "payment {payment_id} was cancelled before anybody was asked to pay it: find out at the provider whose money \
             this is"
        ),
    )
}

fn broken(payment_id: PaymentId, what: String) -> Refusal {
    Refusal::Broken { stream: stream(payment_id), what }
}

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub fn evolve(world: &mut World, event: &Event) {
    let payment_id = event.payment_id();
    if world.payments.get(&payment_id).is_none()
        && let Some(key) = opens(event)
    {
        world.payments.create(payment_id, Payment::new(key));
    }
    if let Some(payment) = world.payments.change(&payment_id) {
        payment.version += 1;
        payment.take_in(event);
    }
}

/// The attempt, if this event can be the first of a payment.
const fn opens(event: &Event) -> Option<HoldKey> {
    match event {
        Event::PaymentRequested { key, .. } | Event::PaymentCancelled { key, .. } => Some(*key),
        Event::PaymentSucceeded { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentRefunding { .. }
        | Event::PaymentRefunded { .. }
        | Event::RefundRejected { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundReversed { .. }
        | Event::RefundResolved { .. } => None,
    }
}

impl Payment {
    const fn new(key: HoldKey) -> Self {
        Self {
            key,
            status: Status::Requested,
            terms: None,
            captured_minor: 0,
            refunded_minor: 0,
            refunding_minor: 0,
            refunds: BTreeMap::new(),
            version: 0,
        }
    }

    fn take_in(&mut self, event: &Event) {
        match event {
            Event::PaymentRequested { amount, checkout, payment_method, expires_at, .. } => {
                self.status = Status::Requested;
                self.terms = Some(Terms {
                    amount: *amount,
                    provider: checkout.provider.clone(),
                    reference: checkout.reference.clone(),
                    payment_method: payment_method.clone(),
                    expires_at: *expires_at,
                });
            }
            Event::PaymentSucceeded { amount, .. } => {
                self.status = Status::Succeeded;
                self.captured_minor = amount.minor_units;
            }
            Event::PaymentFailed { .. } => self.status = Status::Failed,
            Event::PaymentCancelled { .. } => self.status = Status::Cancelled,
            Event::PaymentRefunding { of, amount, idempotency_key, deadline, .. } => {
                let refund = self.book(of.refund_id, *amount, refund::Status::Refunding);
                refund.send += 1;
                refund.key.clone_from(idempotency_key);
                refund.deadline = Some(*deadline);
            }
            Event::PaymentRefunded { of, amount, provider_reference } => {
                let refund = self.book(of.refund_id, *amount, refund::Status::Refunded);
                refund.refunded_once = true;
                refund.provider_reference.clone_from(provider_reference);
            }
            Event::RefundRejected { of, amount, rejection } => {
                self.book(of.refund_id, *amount, refund::Status::Rejected).reason = rejection.to_string();
            }
            Event::RefundOutcomeUnknown { of, evidence } => {
                if let Some(amount) = self.refunds.get(&of.refund_id).map(|refund| refund.amount) {
                    self.book(of.refund_id, amount, refund::Status::Unknown).reason.clone_from(evidence);
                }
            }
            Event::RefundReversed { of, amount, reason } => {
                self.book(of.refund_id, *amount, refund::Status::Reversed).reason.clone_from(reason);
            }
            Event::RefundResolved { of, actor, note, .. } => {
                if let Some(refund) = self.refunds.get_mut(&of.refund_id) {
                    refund.reason = format!("{actor}: {note}");
                }
            }
        }
    }

    /// Moves a refund, and its money, to another status.
    fn book(&mut self, refund_id: RefundId, amount: Money, status: refund::Status) -> &mut Refund {
        let refund = self.refunds.entry(refund_id).or_insert_with(|| Refund::new(amount));
        let (refunded, refunding) = refund.money();
        self.refunded_minor -= refunded;
        self.refunding_minor -= refunding;
        refund.status = status;
        refund.deadline = None;
        let (refunded, refunding) = refund.money();
        self.refunded_minor += refunded;
        self.refunding_minor += refunding;
        refund
    }

    /// Captured money that is neither given back nor promised, in minor units.
    #[must_use]
    pub const fn left_minor(&self) -> i64 {
        self.captured_minor - self.refunded_minor - self.refunding_minor
    }
}
