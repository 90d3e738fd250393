//! Stripe's webhooks: whether one is Stripe's, and what it reports.
//!
//! | event                                                        | what it is to us                                         |
//! |--------------------------------------------------------------|----------------------------------------------------------|
//! | `checkout.session.completed`, paid or with nothing to pay    | the payment succeeded                                    |
//! | … with anything else                                         | noted: the money is under way                            |
//! | `checkout.session.async_payment_succeeded`                   | the payment succeeded                                    |
//! | `checkout.session.async_payment_failed`                      | the payment is closed                                    |
//! | `checkout.session.expired`                                   | noted: the order's own time decides                      |
//! | `payment_intent.succeeded`                                   | the same fact as the session's                           |
//! | `payment_intent.payment_failed`                              | one try failed, and the buyer may make another           |
//! | `payment_intent.amount_capturable_updated`                   | the money is set aside; noted if none is                 |
//! | `payment_intent.canceled`                                    | money that was set aside is let go; noted if none was    |
//! | `refund.created`, `refund.updated`, `refund.failed`          | by the refund's status: it succeeded, failed, or is noted |
//! | `charge.dispute.created`, `charge.dispute.updated`           | a charge is disputed, or there is news of that           |
//! | `charge.dispute.funds_withdrawn`                             | a dispute has taken money                                |
//! | `charge.dispute.funds_reinstated`                            | it is there again                                        |
//! | `charge.dispute.closed`                                      | a dispute is over: won, lost, or ended otherwise         |
//! | all others                                                   | noted                                                    |
//!
//! What is told twice, as two events or in two ways, has the same id: the object's, with what became of it. Stripe's ids of events tell
//! nothing, nor does their order. Of objects without our metadata, such as a refund made in Stripe's dashboard, only the charge says whose
//! they are, and whoever asks must look that up. Stripe's table is at <https://docs.stripe.com/api/events/types>.

use domain::{DisputeStanding, Money, Timestamp};
use proto::payments::v1::{ProviderEventKind, RecordProviderEvent, ReportedDispute};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    amount::from_stripe,
    form,
    object::{Dispute, Intent, Metadata, Refund, RefundStanding, Session, authorised, field, fleet, paid},
};
use crate::Told;

mod signature;
#[cfg(test)]
mod spec;

pub use signature::{BadSignature, Secrets, SecretsError, verify};

/// The kinds of events that may change something: all that are asked for where none was sent.
pub(super) const KINDS: [&str; 15] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
];

/// The word for what is of others on the same account.
const FOREIGN: &str = "foreign";

/// What a webhook is to us.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A report that may change something.
    Told(Told),
    /// Nothing that changes anything. It is counted under this word, and confirmed.
    Note(&'static str),
}

/// Why a webhook says nothing, though Stripe has signed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no event.
    #[error("the body is no event of Stripe's: {0}")]
    NoEvent(String),
    /// It is one of the new kind, which only names what has changed.
    #[error("this is a thin event: let the webhook's endpoint at Stripe send snapshot events")]
    Thin,
    /// Its object is not as it must be.
    #[error("the object of this {kind} cannot be read: {what}")]
    Object {
        /// The event's type.
        kind: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    created: i64,
    livemode: bool,
    account: Option<String>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// Reads a webhook that [`verify`] has found to be Stripe's. Whose payments are ours is said by `fleet`, and whether real money is, by `live`.
///
/// # Errors
/// See [`Unreadable`].
pub fn read(body: &[u8], fleet: &str, live: bool) -> Result<Reading, Unreadable> {
    read_event(serde_json::from_slice(body).map_err(no_event)?, fleet, live)
}

fn no_event(error: serde_json::Error) -> Unreadable {
    Unreadable::NoEvent(error.to_string())
}

/// Reads an event that Stripe has answered, or that [`verify`] has found to be Stripe's.
pub(super) fn read_event(value: Value, fleet: &str, live: bool) -> Result<Reading, Unreadable> {
    match value.get("object").and_then(Value::as_str) {
        Some("event") => {}
        Some("v2.core.event") => return Err(Unreadable::Thin),
        Some(_) | None => return Err(Unreadable::NoEvent("it has no field object that says so".to_owned())),
    }
    let event: Event = serde_json::from_value(value).map_err(no_event)?;
    if event.account.is_some() {
        return Ok(Reading::Note("other account"));
    }
    if event.livemode != live {
        return Ok(Reading::Note("wrong mode"));
    }
    event.reading(fleet)
}

impl Event {
    fn reading(&self, ours: &str) -> Result<Reading, Unreadable> {
        let told = Teller { event: self, ours };
        match self.kind.as_str() {
            "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
                told.session(|session| if session.is_paid() { Ok(told.paid_by(session)) } else { Err("under way") })
            }
            "checkout.session.async_payment_failed" => told.session(|session| Ok(told.closed(session))),
            "checkout.session.expired" => told.session(|_| Err("expired")),
            "payment_intent.succeeded" => told.intent(|intent| Ok(told.received(intent))),
            "payment_intent.payment_failed" => told.intent(|intent| Ok(told.declined(intent))),
            "payment_intent.amount_capturable_updated" => told.intent(|intent| told.set_aside(intent)),
            "payment_intent.canceled" => told.intent(|intent| told.let_go(intent)),
            "refund.created" | "refund.updated" | "refund.failed" => told.refund(),
            "charge.dispute.created" | "charge.dispute.updated" => told.dispute(ProviderEventKind::PaymentDisputed),
            "charge.dispute.funds_withdrawn" => told.dispute(ProviderEventKind::DisputeFundsWithdrawn),
            "charge.dispute.funds_reinstated" => told.dispute(ProviderEventKind::DisputeFundsReinstated),
            "charge.dispute.closed" => told.dispute(ProviderEventKind::DisputeClosed),
            _ => Ok(Reading::Note("not needed")),
        }
    }

    fn object<T: DeserializeOwned>(&self) -> Result<T, Unreadable> {
        T::deserialize(&self.data.object).map_err(|error| self.unreadable(error.to_string()))
    }

    fn unreadable(&self, what: String) -> Unreadable {
        Unreadable::Object { kind: self.kind.chars().take(64).collect(), what }
    }

    /// What all reports have in common.
    fn report(&self, kind: ProviderEventKind, id: String, reference: &str) -> RecordProviderEvent {
        RecordProviderEvent {
            kind: kind.into(),
            payment_id: String::new(),
            refund_id: String::new(),
            amount: None,
            provider_event_id: id,
            provider_reference: reference.to_owned(),
            reason: String::new(),
            occurred_at: Some(Timestamp::from_micros(self.created.saturating_mul(1_000_000)).to_wire()),
            dispute: None,
            charge_reference: String::new(),
        }
    }
}

/// What an event tells a shop.
struct Teller<'a> {
    event: &'a Event,
    ours: &'a str,
}

impl Teller<'_> {
    /// About a page. `Err` of what is done with it: the word it is noted under.
    fn session(
        &self,
        of_ours: impl FnOnce(&Session) -> Result<RecordProviderEvent, &'static str>,
    ) -> Result<Reading, Unreadable> {
        if self.is_foreign() {
            return Ok(Reading::Note(FOREIGN));
        }
        let session: Session = self.event.object()?;
        self.of_payment(&session.metadata, || of_ours(&session))
    }

    /// About a charge.
    fn intent(
        &self,
        of_ours: impl FnOnce(&Intent) -> Result<RecordProviderEvent, &'static str>,
    ) -> Result<Reading, Unreadable> {
        if self.is_foreign() {
            return Ok(Reading::Note(FOREIGN));
        }
        let intent: Intent = self.event.object()?;
        self.of_payment(&intent.metadata, || of_ours(&intent))
    }

    /// Whether it is not ours, which its metadata says: the objects of others may be of any shape, and are none of our concern.
    fn is_foreign(&self) -> bool {
        self.said_fleet() != Some(self.ours)
    }

    /// Whether its metadata names another fleet. It may name none.
    fn is_of_another_fleet(&self) -> bool {
        self.said_fleet().is_some_and(|fleet| !fleet.is_empty() && fleet != self.ours)
    }

    /// The fleet that its metadata names.
    fn said_fleet(&self) -> Option<&str> {
        self.event.data.object.get("metadata")?.get(form::FLEET)?.as_str()
    }

    fn of_payment(
        &self,
        metadata: &Option<Metadata>,
        of_ours: impl FnOnce() -> Result<RecordProviderEvent, &'static str>,
    ) -> Result<Reading, Unreadable> {
        match of_ours() {
            Ok(report) => {
                let payment_id = self.payment(metadata)?;
                Ok(of_payment(RecordProviderEvent { payment_id, ..report }))
            }
            Err(word) => Ok(Reading::Note(word)),
        }
    }

    /// The payment that metadata of ours names, which it always does.
    fn payment(&self, metadata: &Option<Metadata>) -> Result<String, Unreadable> {
        let payment_id = field(metadata, form::PAYMENT);
        if payment_id.is_empty() {
            return Err(self.event.unreadable("its metadata is ours and names no payment".to_owned()));
        }
        Ok(payment_id.to_owned())
    }

    fn paid_by(&self, session: &Session) -> RecordProviderEvent {
        let charge = session.charge();
        let report = self.event.report(ProviderEventKind::PaymentSucceeded, paid(charge), charge);
        match session.amount_total {
            Some(units) => with_amount(report, units, session.currency.as_deref().unwrap_or_default()),
            None => report,
        }
    }

    fn received(&self, intent: &Intent) -> RecordProviderEvent {
        let report = self.event.report(ProviderEventKind::PaymentSucceeded, paid(&intent.id), &intent.id);
        with_amount(report, intent.amount_received, &intent.currency)
    }

    fn set_aside(&self, intent: &Intent) -> Result<RecordProviderEvent, &'static str> {
        if intent.amount_capturable < 1 {
            return Err("nothing set aside");
        }
        let report = self.event.report(ProviderEventKind::PaymentAuthorised, authorised(&intent.id), &intent.id);
        Ok(with_amount(report, intent.amount_capturable, &intent.currency))
    }

    /// Stripe says so also of a page that was closed unpaid. There never was a charge then, or only tries that failed, which payments knows of.
    fn let_go(&self, intent: &Intent) -> Result<RecordProviderEvent, &'static str> {
        if intent.latest_charge.is_none() {
            return Err("cancelled");
        }
        let id = format!("{} canceled", intent.id);
        let report = self.event.report(ProviderEventKind::PaymentVoided, id, &intent.id);
        Ok(RecordProviderEvent { reason: intent.cancellation(), ..report })
    }

    fn closed(&self, session: &Session) -> RecordProviderEvent {
        let (id, charge) = (format!("{} async_payment_failed", session.id), session.charge());
        let reason = "the buyer's bank did not pay".to_owned();
        let report = RecordProviderEvent { reason, ..self.event.report(ProviderEventKind::PaymentClosed, id, charge) };
        match session.amount_total {
            Some(units) => with_amount(report, units, session.currency.as_deref().unwrap_or_default()),
            None => report,
        }
    }

    /// One try failed. It is of a charge of its own, and never of the one that brings the money: what failed in the same second in which
    /// another try succeeded would else look like that money being taken back.
    fn declined(&self, intent: &Intent) -> RecordProviderEvent {
        let (id, charge) = match &intent.latest_charge {
            Some(charge) => (format!("{} {charge} failed", intent.id), charge.clone()),
            None => (format!("{} failed", intent.id), format!("{} without a charge", intent.id)),
        };
        let failure = intent.last_payment_error.iter();
        let said = failure.flat_map(|failure| [&failure.decline_code, &failure.code, &failure.message]).flatten();
        let reason = said.map(String::as_str).collect::<Vec<_>>().join(": ");
        let report = RecordProviderEvent { reason, ..self.event.report(ProviderEventKind::PaymentFailed, id, &charge) };
        with_amount(report, intent.amount, &intent.currency)
    }

    fn refund(&self) -> Result<Reading, Unreadable> {
        if self.is_of_another_fleet() {
            return Ok(Reading::Note(FOREIGN));
        }
        let refund: Refund = self.event.object()?;
        let (kind, reason) = match refund.standing() {
            RefundStanding::Succeeded => (ProviderEventKind::RefundSucceeded, String::new()),
            RefundStanding::Failed => (ProviderEventKind::RefundFailed, refund.failure()),
            RefundStanding::UnderWay => return Ok(Reading::Note("pending")),
        };
        let id = format!("{} {}", refund.id, refund.status());
        let report = RecordProviderEvent { reason, ..self.event.report(kind, id, &refund.id) };
        // Ours are known by the charge that brought their money, which Stripe calls an intent.
        let charge_reference = refund.payment_intent.clone().unwrap_or_default();
        let report = RecordProviderEvent { charge_reference, ..with_amount(report, refund.amount, &refund.currency) };
        if fleet(&refund.metadata).is_empty() {
            return Ok(of_intent(refund.payment_intent, report));
        }
        let refund_id = field(&refund.metadata, form::REFUND).to_owned();
        let payment_id = self.payment(&refund.metadata)?;
        Ok(of_payment(RecordProviderEvent { payment_id, refund_id, ..report }))
    }

    /// A charge that a bank disputes, as it stands, and perhaps money that it has moved. Withdrawn and reinstated are once for each dispute,
    /// and named as they ever were: payments knows what it has heard by it. Else the status is the fact, however often it is told.
    fn dispute(&self, kind: ProviderEventKind) -> Result<Reading, Unreadable> {
        if self.is_of_another_fleet() {
            return Ok(Reading::Note(FOREIGN));
        }
        let dispute: Dispute = self.event.object()?;
        let (fact, moved) = if kind == ProviderEventKind::DisputeFundsWithdrawn {
            ("funds_withdrawn", Some(dispute.moved(-1)))
        } else if kind == ProviderEventKind::DisputeFundsReinstated {
            ("funds_reinstated", Some(dispute.moved(1)))
        } else {
            (dispute.status.as_str(), None)
        };
        let id = format!("{} {fact}", dispute.id);
        let charge = dispute.payment_intent.as_deref().unwrap_or_default();
        let reason = format!("disputed: {}", dispute.reason);
        let report = RecordProviderEvent { reason, ..self.event.report(kind, id, charge) };
        let report = match moved {
            Some(units) => with_amount(report, units, &dispute.currency),
            None => report,
        };
        let report = RecordProviderEvent { dispute: Some(reported(&dispute, kind)), ..report };
        Ok(of_intent(dispute.payment_intent, report))
    }
}

/// A dispute, as it stands.
fn reported(dispute: &Dispute, kind: ProviderEventKind) -> ReportedDispute {
    // It may be over in a way that is new.
    let is_new_end = kind == ProviderEventKind::DisputeClosed && dispute.standing() == DisputeStanding::Open;
    let standing = if is_new_end { DisputeStanding::Ended } else { dispute.standing() };
    let due_by = dispute.evidence_details.as_ref().and_then(|evidence| evidence.due_by);
    ReportedDispute {
        dispute_id: dispute.id.clone(),
        status: dispute.status.clone(),
        standing: standing.to_wire(),
        reason: dispute.reason.clone(),
        amount: from_stripe(dispute.amount, &dispute.currency).ok().map(Money::to_wire),
        due_by: due_by.map(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000)).to_wire()),
        refundable: dispute.is_charge_refundable,
    }
}

fn of_payment(report: RecordProviderEvent) -> Reading {
    Reading::Told(Told::OfPayment(Box::new(report)))
}

/// A report of whatever payment the charge was for. What is of no such charge is of another shop: all of ours are.
fn of_intent(payment_intent: Option<String>, report: RecordProviderEvent) -> Reading {
    match payment_intent {
        Some(reference) => Reading::Told(Told::OfCharge { reference, report: Box::new(report) }),
        None => Reading::Note(FOREIGN),
    }
}

/// The money that a report is about. What cannot be written in our units is told in words: the report is no less true.
fn with_amount(report: RecordProviderEvent, units: i64, currency: &str) -> RecordProviderEvent {
    match from_stripe(units, currency) {
        Ok(amount) => RecordProviderEvent { amount: Some(amount.to_wire()), ..report },
        Err(refused) => {
            let said = format!("over {units} {currency}, which cannot be read: {refused}");
            let reason = if report.reason.is_empty() { said } else { format!("{}; {said}", report.reason) };
            RecordProviderEvent { reason, ..report }
        }
    }
}
