//! Reports of the provider, in both directions. What only decorates is made legible, and is no reason to refuse a fact.

use domain::{HoldKey, PaymentId, Rejection, Timestamp, decode, derived, legible};
use proto::{Message, Name, common::v1 as common, payments::v1 as wire};
use uuid::Uuid;

use super::{dispute, known_report_resolution, payment_to_wire, time};
use crate::{
    command::Command,
    event::{Event, ReportResolution},
    report::{Kind, Mismatch, Report, ReportedMoney},
};

/// The longest id or reference of a provider that is taken over as it is.
const NAME_CHARS_MAX: usize = 256;

/// The longest reason.
const REASON_CHARS_MAX: usize = 512;

/// The longest currency: a code has three letters, and what has more is none.
const CURRENCY_CHARS_MAX: usize = 16;

/// Reads a report, which came with a command of this id.
pub(super) fn record(message: wire::RecordProviderEvent, id: Uuid) -> Result<Command, Rejection> {
    let payment_id = PaymentId::parse(&message.payment_id)?;
    let kind = kind(message.kind).ok_or_else(|| {
        let reason =
            format!("kind must be one of the PROVIDER_EVENT_KIND values that name something, not {}", message.kind);
        Rejection::new("INVALID_KIND", reason)
    })?;
    let provider_event_id = match message.provider_event_id.trim() {
        "" => format!("command {id}"),
        given => name(given),
    };
    let report = Report {
        kind,
        provider_reference: name(&message.provider_reference),
        refund_id: name(&message.refund_id),
        amount: message.amount.map(reported_money),
        reason: legible(&message.reason, REASON_CHARS_MAX),
        // A time that is none does not make the fact less true.
        occurred_at: time(message.occurred_at).unwrap_or_default(),
        dispute: kind
            .is_of_dispute()
            .then(|| Box::new(dispute::reported(message.dispute.unwrap_or_default(), &provider_event_id))),
        provider_event_id,
        charge_reference: if kind.is_of_refund() { name(&message.charge_reference) } else { String::new() },
    };
    Ok(Command::RecordProviderEvent { payment_id, report })
}

/// Money as the provider names it.
pub(super) fn reported_money(amount: common::Money) -> ReportedMoney {
    let currency = legible(&amount.currency, CURRENCY_CHARS_MAX).to_uppercase();
    ReportedMoney { minor_units: amount.minor_units, currency }
}

/// An id or a reference: two that differ stay different however long they are. What it makes of one, it leaves as it is.
pub(super) fn name(given: &str) -> String {
    let whole = legible(given, usize::MAX);
    if whole.chars().count() <= NAME_CHARS_MAX {
        return whole;
    }
    let begins: String = whole.chars().take(NAME_CHARS_MAX - 40).collect();
    format!("{begins}… {}", derived(Uuid::nil(), &whole))
}

pub(super) fn encode(event: Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::PaymentDeclined { payment_id, key, report } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::PaymentDeclined { payment_id, order_id, attempt, report: Some(report_to_wire(report)) };
            ("holdfast.payments.v1.PaymentDeclined", message.encode_to_vec())
        }
        Event::ProviderReportUnmatched { payment_id, key, report, mismatch } => {
            let message = wire::ProviderReportUnmatched {
                payment_id: payment_id.to_string(),
                order_id: key.map(|key| key.order_id.to_string()).unwrap_or_default(),
                attempt: key.map(|key| key.attempt).unwrap_or_default(),
                report: Some(report_to_wire(report)),
                mismatch: mismatch_to_wire(mismatch).into(),
            };
            ("holdfast.payments.v1.ProviderReportUnmatched", message.encode_to_vec())
        }
        Event::ProviderReportResolved { payment_id, provider_event_id, resolution, actor, note, settled_by } => {
            let message = wire::ProviderReportResolved {
                payment_id: payment_id.to_string(),
                provider_event_id,
                resolution: resolution_to_wire(resolution).into(),
                actor,
                note,
                settled_by,
            };
            ("holdfast.payments.v1.ProviderReportResolved", message.encode_to_vec())
        }
        Event::PaymentRequested { .. }
        | Event::PaymentSucceeded { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentCancelled { .. }
        | Event::Checkout(_)
        | Event::RefundDeferred { .. }
        | Event::RefundSubmitted { .. }
        | Event::PaymentRefunded { .. }
        | Event::PaymentRefundedElsewhere { .. }
        | Event::RefundAnswered { .. }
        | Event::RefundRejected { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundReversed { .. }
        | Event::RefundResolved { .. }
        | Event::Authorisation(_)
        | Event::Dispute(_)
        | Event::Coupon(_)
        | Event::Wallet(_) => super::encode(&event),
    }
}

/// Reads an event about a report. `None`: it is about something else.
pub(super) fn decode_event(event: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    Ok(Some(match event {
        wire::PaymentDeclined::NAME => {
            let wire::PaymentDeclined { payment_id, order_id, attempt, report } = decode(data)?;
            let (payment_id, key) = super::payment(&payment_id, &order_id, attempt)?;
            Event::PaymentDeclined { payment_id, key, report: report_from_wire(report)? }
        }
        wire::ProviderReportUnmatched::NAME => {
            let wire::ProviderReportUnmatched { payment_id, order_id, attempt, report, mismatch } = decode(data)?;
            Event::ProviderReportUnmatched {
                payment_id: PaymentId::parse(&payment_id)?,
                key: (!order_id.is_empty()).then(|| HoldKey::parse(&order_id, attempt)).transpose()?,
                report: report_from_wire(report)?,
                mismatch: known_mismatch(mismatch)?,
            }
        }
        wire::ProviderReportResolved::NAME => {
            let message: wire::ProviderReportResolved = decode(data)?;
            Event::ProviderReportResolved {
                payment_id: PaymentId::parse(&message.payment_id)?,
                provider_event_id: message.provider_event_id,
                resolution: known_report_resolution(message.resolution)?,
                actor: message.actor,
                note: message.note,
                settled_by: message.settled_by,
            }
        }
        _ => return Ok(None),
    }))
}

fn report_to_wire(report: Report) -> wire::ProviderReport {
    let Report {
        kind,
        provider_event_id,
        provider_reference,
        refund_id,
        amount,
        reason,
        occurred_at,
        dispute,
        charge_reference,
    } = report;
    let amount = amount.map(money_to_wire);
    wire::ProviderReport {
        kind: kind_to_wire(kind).into(),
        provider_event_id,
        provider_reference,
        refund_id,
        amount,
        reason,
        occurred_at: occurred_at.map(Timestamp::to_wire),
        dispute: dispute.map(|dispute| dispute::reported_to_wire(*dispute)),
        charge_reference,
    }
}

/// Money as the provider named it.
pub(super) fn money_to_wire(amount: ReportedMoney) -> common::Money {
    common::Money { minor_units: amount.minor_units, currency: amount.currency }
}

/// The same, from the log.
pub(super) fn money_from_wire(amount: common::Money) -> ReportedMoney {
    ReportedMoney { minor_units: amount.minor_units, currency: amount.currency }
}

fn report_from_wire(report: Option<wire::ProviderReport>) -> Result<Report, Rejection> {
    let report = report.ok_or_else(|| Rejection::new("INVALID_REPORT", "the event has no report"))?;
    Ok(Report {
        kind: kind(report.kind)
            .ok_or_else(|| Rejection::new("INVALID_KIND", format!("{} is no kind of a report", report.kind)))?,
        provider_event_id: report.provider_event_id,
        provider_reference: report.provider_reference,
        refund_id: report.refund_id,
        amount: report.amount.map(money_from_wire),
        reason: report.reason,
        occurred_at: time(report.occurred_at)?,
        dispute: report.dispute.map(dispute::reported_from_wire).transpose()?.map(Box::new),
        charge_reference: report.charge_reference,
    })
}

fn kind(value: i32) -> Option<Kind> {
    use wire::ProviderEventKind as Wire;
    match Wire::try_from(value).unwrap_or(Wire::Unspecified) {
        Wire::PaymentSucceeded => Some(Kind::PaymentSucceeded),
        Wire::PaymentFailed => Some(Kind::PaymentFailed),
        Wire::PaymentClosed => Some(Kind::PaymentClosed),
        Wire::PaymentAuthorised => Some(Kind::PaymentAuthorised),
        Wire::PaymentVoided => Some(Kind::PaymentVoided),
        Wire::RefundSucceeded => Some(Kind::RefundSucceeded),
        Wire::RefundFailed => Some(Kind::RefundFailed),
        Wire::PaymentDisputed => Some(Kind::PaymentDisputed),
        Wire::DisputeFundsWithdrawn => Some(Kind::DisputeFundsWithdrawn),
        Wire::DisputeFundsReinstated => Some(Kind::DisputeFundsReinstated),
        Wire::DisputeClosed => Some(Kind::DisputeClosed),
        Wire::Unspecified => None,
    }
}

const fn kind_to_wire(kind: Kind) -> wire::ProviderEventKind {
    match kind {
        Kind::PaymentSucceeded => wire::ProviderEventKind::PaymentSucceeded,
        Kind::PaymentFailed => wire::ProviderEventKind::PaymentFailed,
        Kind::PaymentClosed => wire::ProviderEventKind::PaymentClosed,
        Kind::PaymentAuthorised => wire::ProviderEventKind::PaymentAuthorised,
        Kind::PaymentVoided => wire::ProviderEventKind::PaymentVoided,
        Kind::RefundSucceeded => wire::ProviderEventKind::RefundSucceeded,
        Kind::RefundFailed => wire::ProviderEventKind::RefundFailed,
        Kind::PaymentDisputed => wire::ProviderEventKind::PaymentDisputed,
        Kind::DisputeFundsWithdrawn => wire::ProviderEventKind::DisputeFundsWithdrawn,
        Kind::DisputeFundsReinstated => wire::ProviderEventKind::DisputeFundsReinstated,
        Kind::DisputeClosed => wire::ProviderEventKind::DisputeClosed,
    }
}

const fn mismatch_to_wire(mismatch: Mismatch) -> wire::ReportMismatch {
    match mismatch {
        Mismatch::NotAsked => wire::ReportMismatch::NotAsked,
        Mismatch::SecondCharge => wire::ReportMismatch::SecondCharge,
        Mismatch::OtherAmount => wire::ReportMismatch::OtherAmount,
        Mismatch::TakenBack => wire::ReportMismatch::TakenBack,
        Mismatch::RefundNotAsked => wire::ReportMismatch::RefundNotAsked,
        Mismatch::RefundedTwice => wire::ReportMismatch::RefundedTwice,
        Mismatch::RefundContradicted => wire::ReportMismatch::RefundContradicted,
        Mismatch::RefundUnknown => wire::ReportMismatch::RefundUnknown,
        Mismatch::GivenBack => wire::ReportMismatch::GivenBack,
    }
}

fn known_mismatch(value: i32) -> Result<Mismatch, Rejection> {
    let of = |known: &&Mismatch| i32::from(mismatch_to_wire(**known)) == value;
    let known = Mismatch::ALL.iter().find(of).copied();
    known.ok_or_else(|| Rejection::new("INVALID_MISMATCH", format!("{value} is no way in which a report fits nothing")))
}

const fn resolution_to_wire(resolution: ReportResolution) -> wire::ReportResolution {
    match resolution {
        ReportResolution::Accepted => wire::ReportResolution::Accepted,
        ReportResolution::Undone => wire::ReportResolution::Undone,
    }
}
