//! Disputes: as they are reported, and their events, in both directions.

use domain::{Dispute, DisputeStanding, Money, Rejection, Timestamp, decode, legible};
use proto::{Message, Name, payments::v1 as wire};

use super::{
    payment, payment_to_wire,
    report::{money_from_wire, money_to_wire, name, reported_money},
    time,
};
use crate::{
    event::{DisputeEvent, DisputeStep, Event, Reported},
    report::ReportedDispute,
};

/// The longest of a provider's words for a status or a reason.
const WORD_CHARS_MAX: usize = 64;

/// Reads what is reported of a dispute, in a report of this id. What cannot be read is no reason to refuse it.
pub(super) fn reported(message: wire::ReportedDispute, provider_event_id: &str) -> ReportedDispute {
    let dispute_id = match message.dispute_id.trim() {
        "" => provider_event_id.to_owned(),
        given => name(given),
    };
    ReportedDispute {
        dispute_id,
        status: legible(&message.status, WORD_CHARS_MAX),
        standing: DisputeStanding::from_wire(message.standing),
        reason: legible(&message.reason, WORD_CHARS_MAX),
        amount: message.amount.map(reported_money),
        due_by: time(message.due_by).unwrap_or_default(),
        is_refundable: message.refundable,
    }
}

pub(super) fn reported_to_wire(dispute: ReportedDispute) -> wire::ReportedDispute {
    let ReportedDispute { dispute_id, status, standing, reason, amount, due_by, is_refundable } = dispute;
    wire::ReportedDispute {
        dispute_id,
        status,
        standing: standing.to_wire(),
        reason,
        amount: amount.map(money_to_wire),
        due_by: due_by.map(Timestamp::to_wire),
        refundable: is_refundable,
    }
}

pub(super) fn reported_from_wire(message: wire::ReportedDispute) -> Result<ReportedDispute, Rejection> {
    Ok(ReportedDispute {
        dispute_id: message.dispute_id,
        status: message.status,
        standing: DisputeStanding::from_wire(message.standing),
        reason: message.reason,
        amount: message.amount.map(money_from_wire),
        due_by: time(message.due_by)?,
        is_refundable: message.refundable,
    })
}

pub(super) fn encode(event: DisputeEvent) -> (&'static str, Vec<u8>) {
    let DisputeEvent { payment_id, key, dispute_id, step, dispute, reported } = event;
    let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
    let moved = match step {
        DisputeStep::FundsReinstated => dispute.reinstated,
        DisputeStep::FundsWithdrawn | DisputeStep::Disputed | DisputeStep::Closed => dispute.withdrawn,
    };
    let (provider_event_id, occurred_at) = (reported.provider_event_id, reported.occurred_at.map(Timestamp::to_wire));
    // All four have the same fields, but for the amount.
    let whole = wire::DisputeFundsWithdrawn {
        payment_id,
        order_id,
        attempt,
        dispute: Some(dispute.to_wire(&dispute_id)),
        provider_event_id,
        occurred_at,
        amount: moved.map(Money::to_wire),
    };
    match step {
        DisputeStep::Disputed => {
            let message = without_amount(whole);
            ("holdfast.payments.v1.PaymentDisputed", message.encode_to_vec())
        }
        DisputeStep::FundsWithdrawn => ("holdfast.payments.v1.DisputeFundsWithdrawn", whole.encode_to_vec()),
        DisputeStep::FundsReinstated => {
            // The same bytes under another name.
            ("holdfast.payments.v1.DisputeFundsReinstated", whole.encode_to_vec())
        }
        DisputeStep::Closed => ("holdfast.payments.v1.DisputeClosed", without_amount(whole).encode_to_vec()),
    }
}

fn without_amount(whole: wire::DisputeFundsWithdrawn) -> wire::PaymentDisputed {
    let wire::DisputeFundsWithdrawn { payment_id, order_id, attempt, dispute, provider_event_id, occurred_at, .. } =
        whole;
    wire::PaymentDisputed { payment_id, order_id, attempt, dispute, provider_event_id, occurred_at }
}

/// Reads an event of this kind. `None`: it is of another.
pub(super) fn decode_event(event: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    let step = match event {
        wire::PaymentDisputed::NAME => DisputeStep::Disputed,
        wire::DisputeFundsWithdrawn::NAME => DisputeStep::FundsWithdrawn,
        wire::DisputeFundsReinstated::NAME => DisputeStep::FundsReinstated,
        wire::DisputeClosed::NAME => DisputeStep::Closed,
        _ => return Ok(None),
    };
    // The fields of all four, and of two the amount, which the dispute has too.
    let message: wire::DisputeFundsWithdrawn = decode(data)?;
    let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
    let (dispute_id, dispute) = Dispute::from_wire(message.dispute)?;
    let reported = Reported { provider_event_id: message.provider_event_id, occurred_at: time(message.occurred_at)? };
    Ok(Some(Event::Dispute(DisputeEvent { payment_id, key, dispute_id, step, dispute, reported })))
}
