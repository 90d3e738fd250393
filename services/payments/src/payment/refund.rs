//! A refund of a payment: sent once under a key, and over only when it is known how it ended.
//!
//! | heard or asked    | nothing yet          | refunding | unknown             | refunded | reversed  | rejected |
//! |-------------------|----------------------|-----------|---------------------|----------|-----------|----------|
//! | begin             | refunding / rejected | -         | -                   | -        | -         | -        |
//! | outcome refunded  | broken               | refunded  | -                   | -        | -         | -        |
//! | outcome rejected  | broken               | rejected* | -                   | -        | -         | -        |
//! | outcome unknown   | broken               | unknown   | -                   | -        | -         | -        |
//! | provider refunded | refused              | refunded  | refunded            | -        | -         | refused  |
//! | provider failed   | refused              | rejected* | rejected*           | reversed | -         | -        |
//! | operator RETRY    | refused              | refused   | refunding           | refused  | refunding | refused  |
//! | operator REFUNDED | refused              | refused   | refunded            | -        | refunded  | refused  |
//! | operator ABANDON  | refused              | refused   | rejected / refused* | refused  | refused   | -        |
//!
//! `-`: it is as it should be already, or the news is of an earlier sending. `*`: once it was refunded, the order
//! counts as refunded for good, so from then on a failure is `reversed` and giving up is refused.

use std::time::Duration;

use domain::{Money, PaymentId, RefundId, Refusal, Rejection, Timestamp};

use super::{Payment, Terms, broken, same_money};
use crate::{
    command::{Outcome, RefundReport},
    event::{Event, RefundOf, Resolution},
};

#[cfg(test)]
mod spec;

/// How long after sending begins the outcome counts as unknown.
pub const DEADLINE: Duration = Duration::from_mins(5);

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Where it stands.
    pub status: Status,
    /// How much.
    pub amount: Money,
    /// How many keys it was sent under: 0 when it was refused at once, above 1 after an operator's RETRY.
    pub send: i32,
    /// The key of the latest.
    pub key: String,
    /// Whether it counted as refunded once: the order then stays refunded, so it may be reversed but not given up.
    pub refunded_once: bool,
    /// What the provider knows the latest one that it accepted by.
    pub provider_reference: String,
    /// Why it is where it is: a rejection, evidence, or an operator's note, whatever came last.
    pub reason: String,
    /// While it is under way: after this its outcome counts as unknown.
    pub deadline: Option<Timestamp>,
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Under way to the provider.
    Refunding,
    /// The buyer has the money.
    Refunded,
    /// The money was not given back and will not be.
    Rejected,
    /// Nobody knows: an operator decides.
    Unknown,
    /// The provider took it back after it had been refunded: an operator decides.
    Reversed,
}

impl Status {
    /// The word for it in tables and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Reversed => "reversed",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Refunding, Self::Refunded, Self::Rejected, Self::Unknown, Self::Reversed]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

impl Refund {
    /// A refund for which no money is promised yet.
    #[must_use]
    pub const fn new(amount: Money) -> Self {
        Self {
            status: Status::Rejected,
            amount,
            send: 0,
            key: String::new(),
            refunded_once: false,
            provider_reference: String::new(),
            reason: String::new(),
            deadline: None,
        }
    }

    /// Its part of the payment's `refunded` and `refunding`, in minor units.
    #[must_use]
    pub const fn money(&self) -> (i64, i64) {
        match self.status {
            Status::Refunded => (self.amount.minor_units, 0),
            // Money of a reversed refund stays promised: the order counts as refunded, so it can only go to the buyer.
            Status::Refunding | Status::Unknown | Status::Reversed => (0, self.amount.minor_units),
            Status::Rejected => (0, 0),
        }
    }

    /// What an operator may decide.
    #[must_use]
    pub const fn verbs(&self) -> &'static [Resolution] {
        match (self.status, self.refunded_once) {
            (Status::Unknown, false) => &[Resolution::Retry, Resolution::Refunded, Resolution::Abandon],
            (Status::Unknown, true) | (Status::Reversed, _) => &[Resolution::Retry, Resolution::Refunded],
            (Status::Refunding | Status::Refunded | Status::Rejected, _) => &[],
        }
    }

    /// Whether a report names an earlier sending than the one that counts now.
    fn is_outdated(&self, report: &RefundReport) -> bool {
        if report.provider_reference.is_empty() || self.provider_reference.is_empty() {
            return false;
        }
        match self.status {
            // The reference that is known belongs to the one that was reversed; the one under way has another.
            Status::Refunding | Status::Unknown => report.provider_reference == self.provider_reference,
            Status::Refunded | Status::Rejected | Status::Reversed => {
                report.provider_reference != self.provider_reference
            }
        }
    }
}

/// The key that the provider recognises a repetition by: payment and refund, with a number from the second sending on.
///
/// The refund's id alone would not do: whoever asks for a refund may choose it, and a provider that sees the key of
/// another payment's refund answers that it is paid out already.
#[must_use]
pub fn idempotency_key(payment_id: PaymentId, refund_id: RefundId, send: i32) -> String {
    if send <= 1 { format!("{payment_id}.{refund_id}") } else { format!("{payment_id}.{refund_id}.{send}") }
}

pub(super) fn begin(
    payment_id: PaymentId,
    payment: &Payment,
    refund_id: RefundId,
    amount: Money,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if let Some(refund) = payment.refunds.get(&refund_id) {
        if refund.amount == amount {
            return Ok(vec![]);
        }
        let what = format!("refund {refund_id} is over {} and is asked for again over {amount}", refund.amount);
        return Err(broken(payment_id, what));
    }
    let of = RefundOf { payment_id, order_id: payment.key.order_id, refund_id };
    Ok(vec![match payment.terms.as_ref().map(|terms| affordable(payment, terms, amount).map(|()| terms)) {
        // Nothing to send. Free gifts come back this way.
        Some(Ok(_)) if amount.minor_units == 0 => {
            Event::PaymentRefunded { of, amount, provider_reference: String::new() }
        }
        Some(Ok(terms)) => send(of, terms, amount, 1, at),
        Some(Err(rejection)) => Event::RefundRejected { of, amount, rejection },
        None => Event::RefundRejected { of, amount, rejection: not_paid(payment_id) },
    }])
}

fn affordable(payment: &Payment, terms: &Terms, amount: Money) -> Result<(), Rejection> {
    if payment.status != super::Status::Succeeded {
        return Err(not_paid(payment.key.payment_id()));
    }
    if amount.currency != terms.amount.currency {
        return Err(Rejection::new(
            "WRONG_CURRENCY",
            format!("the payment is in {}, so {amount} of it cannot be given back", terms.amount.currency),
        ));
    }
    let left = payment.left_minor();
    if amount.minor_units > left {
        return Err(Rejection::new(
            "EXCEEDS_PAYMENT",
            format!(
                "{amount} cannot be given back: of {} minor units {} are refunded and {} promised to other refunds, so \
                 {left} are left",
                payment.captured_minor, payment.refunded_minor, payment.refunding_minor
            ),
        ));
    }
    Ok(())
}

fn not_paid(payment_id: PaymentId) -> Rejection {
    Rejection::new("NOT_PAID", format!("payment {payment_id} has brought no money, so none can be given back"))
}

fn send(of: RefundOf, terms: &Terms, amount: Money, send: i32, at: Timestamp) -> Event {
    Event::PaymentRefunding {
        of,
        amount,
        idempotency_key: idempotency_key(of.payment_id, of.refund_id, send),
        deadline: at + DEADLINE,
        provider: terms.provider.clone(),
        payment_reference: terms.reference.clone(),
    }
}

/// The refund failed for sure, and the order must be told according to what it believes.
fn failed(of: RefundOf, refund: &Refund, rejection: &Rejection) -> Event {
    if refund.refunded_once {
        return Event::RefundReversed { of, amount: refund.amount, reason: rejection.to_string() };
    }
    Event::RefundRejected { of, amount: refund.amount, rejection: rejection.clone() }
}

pub(super) fn ended(
    payment_id: PaymentId,
    payment: &Payment,
    refund_id: RefundId,
    key: &str,
    outcome: &Outcome,
) -> Result<Vec<Event>, Refusal> {
    let Some(refund) = payment.refunds.get(&refund_id) else {
        return Err(broken(payment_id, format!("refund {refund_id} of it was sent, but there is no such refund")));
    };
    if refund.status != Status::Refunding || refund.key != key {
        return Ok(vec![]);
    }
    let of = RefundOf { payment_id, order_id: payment.key.order_id, refund_id };
    Ok(vec![match outcome {
        Outcome::Refunded { provider_reference } => {
            Event::PaymentRefunded { of, amount: refund.amount, provider_reference: provider_reference.clone() }
        }
        Outcome::Rejected(rejection) => failed(of, refund, rejection),
        Outcome::Unknown { evidence } => Event::RefundOutcomeUnknown { of, evidence: evidence.clone() },
    }])
}

pub(super) fn reported_refunded(
    payment_id: PaymentId,
    payment: &Payment,
    report: &RefundReport,
) -> Result<Vec<Event>, Refusal> {
    let refund = reported(payment_id, payment, report)?;
    let of = RefundOf { payment_id, order_id: payment.key.order_id, refund_id: report.refund_id };
    match refund.status {
        Status::Refunding | Status::Unknown if !refund.is_outdated(report) => Ok(vec![Event::PaymentRefunded {
            of,
            amount: refund.amount,
            provider_reference: report.provider_reference.clone(),
        }]),
        // A reversed refund was reported as refunded before: that report has come again, or late.
        Status::Refunding | Status::Unknown | Status::Refunded | Status::Reversed => Ok(vec![]),
        Status::Rejected => Err(Rejection::new(
            "REFUND_IS_OVER",
            format!(
                "the provider reports refund {} of payment {payment_id} as paid out, but it is over ({}): find out at \
                 the provider whether the buyer has the money",
                report.refund_id, refund.reason
            ),
        ))?,
    }
}

pub(super) fn reported_failed(
    payment_id: PaymentId,
    payment: &Payment,
    report: &RefundReport,
) -> Result<Vec<Event>, Refusal> {
    let refund = reported(payment_id, payment, report)?;
    let of = RefundOf { payment_id, order_id: payment.key.order_id, refund_id: report.refund_id };
    if refund.is_outdated(report) {
        return Ok(vec![]);
    }
    Ok(match refund.status {
        Status::Refunding | Status::Unknown => {
            vec![failed(of, refund, &Rejection::new("REFUND_FAILED", report.reason.clone()))]
        }
        Status::Refunded => {
            vec![Event::RefundReversed { of, amount: refund.amount, reason: report.reason.clone() }]
        }
        Status::Rejected | Status::Reversed => vec![],
    })
}

fn reported<'a>(payment_id: PaymentId, payment: &'a Payment, report: &RefundReport) -> Result<&'a Refund, Rejection> {
    let refund = known(payment_id, payment, report.refund_id)?;
    same_money(&format!("refund {} of payment {payment_id}", report.refund_id), refund.amount, report.amount)?;
    Ok(refund)
}

fn known(payment_id: PaymentId, payment: &Payment, refund_id: RefundId) -> Result<&Refund, Rejection> {
    payment.refunds.get(&refund_id).ok_or_else(|| {
        Rejection::new(
            "UNKNOWN_REFUND",
            format!("payment {payment_id} has no refund {refund_id}: give the id from PaymentRefunding, once that event has come"),
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
) -> Result<Vec<Event>, Refusal> {
    let refund = known(payment_id, payment, refund_id)?;
    let Decided { resolution, actor, note } = *decided;
    if !refund.verbs().contains(&resolution) {
        return match (refund.status, resolution) {
            (Status::Refunded, Resolution::Refunded) | (Status::Rejected, Resolution::Abandon) => Ok(vec![]),
            (Status::Refunding | Status::Refunded | Status::Rejected | Status::Unknown | Status::Reversed, _) => {
                Err(wrong_state(payment_id, refund_id, refund, resolution))?
            }
        };
    }
    let Some(terms) = &payment.terms else {
        return Err(broken(payment_id, format!("it was never requested, but has refund {refund_id}")));
    };
    let of = RefundOf { payment_id, order_id: payment.key.order_id, refund_id };
    let follows = match resolution {
        Resolution::Retry => send(of, terms, refund.amount, refund.send + 1, at),
        Resolution::Refunded => Event::PaymentRefunded { of, amount: refund.amount, provider_reference: String::new() },
        Resolution::Abandon => {
            let rejection = Rejection::new("ABANDONED", format!("given up by {actor}: {note}"));
            Event::RefundRejected { of, amount: refund.amount, rejection }
        }
    };
    Ok(vec![Event::RefundResolved { of, resolution, actor: actor.to_owned(), note: note.to_owned() }, follows])
}

fn wrong_state(payment_id: PaymentId, refund_id: RefundId, refund: &Refund, resolution: Resolution) -> Rejection {
    let verbs: Vec<&str> = refund.verbs().iter().map(|verb| verb.as_str()).collect();
    let allowed = if verbs.is_empty() {
        "there is nothing to decide".to_owned()
    } else {
        format!("it allows {}", verbs.join(", "))
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
