//! What is heard of refunds: the answer to our call, and what the provider reports, which may contradict it.

use domain::{DecideError, PaymentId, RefundId, Rejection};

use super::{Refund, Status, has_room, own_charge, went_back};
use crate::{
    command::Outcome,
    event::{Event, RefundOf, Reported},
    payment::{Payment, broken, reports::unmatched},
    report::{Kind, Mismatch, Report, ReportedMoney},
};

/// A report says that the refund failed.
pub(in crate::payment) fn failed_by(of: RefundOf, refund: &Refund, report: &Report) -> Event {
    let reported = Some(Reported::from(report));
    if refund.status == Status::Refunded {
        let (reason, provider_reference) = (report.reason.clone(), report.provider_reference.clone());
        return Event::RefundReversed { of, amount: refund.amount, reason, provider_reference, reported };
    }
    let rejection = Rejection::new("REFUND_FAILED", report.reason.clone());
    failed(of, refund, rejection, &report.provider_reference, reported)
}

/// A report says that the buyer has the money.
pub(in crate::payment) fn refunded_by(of: RefundOf, refund: &Refund, report: &Report) -> Event {
    Event::PaymentRefunded {
        of,
        amount: refund.amount,
        provider_reference: report.provider_reference.clone(),
        reported: Some(report.into()),
    }
}

/// Our call came to an end.
pub(in crate::payment) fn ended(
    payment_id: PaymentId,
    payment: &Payment,
    refund_id: RefundId,
    key: &str,
    outcome: &Outcome,
) -> Result<Vec<Event>, DecideError> {
    let Some((refund, attempt)) = payment.refunds.get(&refund_id).zip(payment.key) else {
        return Err(broken(payment_id, format!("refund {refund_id} of it was sent, but there is no such refund")));
    };
    if !refund.call_open || refund.key != key {
        return Ok(vec![]);
    }
    let of = refund.of(payment_id, attempt, refund_id);
    if refund.status != Status::Refunding {
        return Ok(answered(of, payment, refund, outcome));
    }
    Ok(vec![match outcome {
        Outcome::Refunded { provider_reference } => went_back(of, refund, provider_reference),
        Outcome::Rejected(rejection) => failed(of, refund, rejection.clone(), "", None),
        Outcome::Unknown { evidence } => Event::RefundOutcomeUnknown { of, evidence: evidence.clone() },
    }])
}

/// The answer comes after a report. Money that the answer says is paid out is, unless the same payout was reported as failed.
fn answered(of: RefundOf, payment: &Payment, refund: &Refund, outcome: &Outcome) -> Vec<Event> {
    let (answer, reference) = match outcome {
        Outcome::Refunded { provider_reference } => ("refunded".to_owned(), provider_reference.as_str()),
        Outcome::Rejected(rejection) => (rejection.to_string(), ""),
        Outcome::Unknown { evidence } => (evidence.clone(), ""),
    };
    let heard = Event::RefundAnswered {
        of,
        idempotency_key: refund.key.clone(),
        answer,
        provider_reference: reference.to_owned(),
    };
    let is_paid_out = matches!(outcome, Outcome::Refunded { .. });
    let is_same = !reference.is_empty() && reference == refund.provider_reference;
    let contradicts = |mismatch| {
        let charge = refund.second_charge.as_deref().unwrap_or_else(|| own_charge(payment));
        let report = answer_as_report(of, refund, charge, reference);
        vec![heard.clone(), unmatched(of.payment_id, payment.key, &report, mismatch)]
    };
    match refund.status {
        Status::Reversed if is_paid_out && !is_same => vec![went_back(of, refund, reference)],
        Status::Rejected if is_paid_out && !is_same && has_room(payment, refund) => {
            vec![went_back(of, refund, reference)]
        }
        Status::Rejected if is_paid_out && !is_same => contradicts(Mismatch::RefundContradicted),
        Status::Refunded
            if is_paid_out && !is_same && !reference.is_empty() && !refund.provider_reference.is_empty() =>
        {
            contradicts(Mismatch::RefundedTwice)
        }
        Status::Deferred
        | Status::Refunding
        | Status::Refunded
        | Status::Rejected
        | Status::Unknown
        | Status::Reversed => vec![heard],
    }
}

fn answer_as_report(of: RefundOf, refund: &Refund, charge: &str, reference: &str) -> Report {
    let amount = refund.amount;
    Report {
        kind: Kind::RefundSucceeded,
        provider_event_id: format!("answer {}", refund.key),
        provider_reference: reference.to_owned(),
        refund_id: of.refund_id.to_string(),
        amount: Some(ReportedMoney { minor_units: amount.minor_units, currency: amount.currency.to_string() }),
        reason: "the answer to our call".to_owned(),
        occurred_at: None,
        dispute: None,
        charge_reference: charge.to_owned(),
    }
}

/// What a report about a refund comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::payment) enum Consequence {
    /// It is known, or out of date.
    Nothing,
    /// The buyer has the money.
    Refunded,
    /// The buyer does not have it.
    Failed,
    /// It fits nothing.
    Unmatched(Mismatch),
}

/// A report about this refund, of its amount.
pub(in crate::payment) fn consequence(payment: &Payment, refund: &Refund, report: &Report) -> Consequence {
    if refund.old_references.contains(&report.provider_reference) {
        return Consequence::Nothing;
    }
    let reference = refund.provider_reference.as_str();
    if report.kind == Kind::RefundFailed {
        return match refund.status {
            Status::Deferred | Status::Refunding | Status::Unknown => Consequence::Failed,
            Status::Refunded if !report.may_be_of(reference) => Consequence::Unmatched(Mismatch::RefundUnknown),
            Status::Refunded if report.is_earlier_than(refund.said_at) => Consequence::Nothing,
            Status::Refunded => Consequence::Failed,
            // From now on it is known when it failed, and a success from before that does not count.
            Status::Rejected | Status::Reversed if refund.said_at.is_none() && report.occurred_at.is_some() => {
                Consequence::Failed
            }
            Status::Rejected | Status::Reversed => Consequence::Nothing,
        };
    }
    // A payout that failed has not succeeded since, unless the provider's time says so.
    let is_past = report.is_of(reference) || (reference.is_empty() && report.provider_reference.is_empty());
    let is_past = is_past && !report.is_later_than(refund.said_at);
    match refund.status {
        Status::Deferred | Status::Refunding | Status::Unknown => Consequence::Refunded,
        Status::Refunded if report.may_be_of(reference) => Consequence::Nothing,
        Status::Refunded => Consequence::Unmatched(Mismatch::RefundedTwice),
        Status::Reversed if is_past || report.provider_reference.is_empty() => Consequence::Nothing,
        Status::Reversed => Consequence::Refunded,
        // Of one that was refused, by a word that was no report, nothing had been paid out by then.
        Status::Rejected if is_past && refund.said_at.is_some() => Consequence::Nothing,
        Status::Rejected if report.may_be_of(reference) && report.is_earlier_than(refund.said_at) => {
            Consequence::Nothing
        }
        Status::Rejected if report.is_of(reference) && !report.is_later_than(refund.said_at) => Consequence::Nothing,
        Status::Rejected if has_room(payment, refund) => Consequence::Refunded,
        Status::Rejected => Consequence::Unmatched(Mismatch::RefundContradicted),
    }
}

/// The refund failed, and the order must be told according to what it believes.
fn failed(of: RefundOf, refund: &Refund, rejection: Rejection, reference: &str, reported: Option<Reported>) -> Event {
    let (amount, provider_reference) = (refund.amount, reference.to_owned());
    if refund.refunded_once {
        return Event::RefundReversed { of, amount, reason: rejection.to_string(), provider_reference, reported };
    }
    Event::RefundRejected { of, amount, rejection, provider_reference, reported }
}
