//! Events of refunds, in both directions.

use domain::{HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Timestamp, decode};
use proto::{Message, Name, payments::v1 as wire, well_known};

use super::{PAYMENT_REFUNDING, known_resolution, money, payment, payment_to_wire, reported};
use crate::event::{Event, RefundOf, Reported, Resolution};

/// An event of a refund; of nothing else.
pub(super) fn encode(event: Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::RefundDeferred { of, amount, reason } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let amount = Some(amount.to_wire());
            let message = wire::RefundDeferred { payment_id, order_id, refund_id, amount, reason };
            ("holdfast.payments.v1.RefundDeferred", message.encode_to_vec())
        }
        Event::RefundSubmitted {
            of,
            amount,
            idempotency_key,
            deadline,
            provider,
            payment_reference,
            charge_reference,
        } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let message = wire::RefundSubmitted {
                payment_id,
                order_id,
                refund_id,
                amount: Some(amount.to_wire()),
                idempotency_key,
                deadline: Some(deadline.to_wire()),
                provider,
                payment_reference,
                charge_reference,
                of_second_charge: of.is_of_second_charge,
            };
            (PAYMENT_REFUNDING, message.encode_to_vec())
        }
        Event::RefundAnswered { of, idempotency_key, answer, provider_reference } => {
            let message = answered_to_wire(of, idempotency_key, answer, provider_reference);
            ("holdfast.payments.v1.RefundAnswered", message.encode_to_vec())
        }
        Event::RefundOutcomeUnknown { of, evidence } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let of_second_charge = of.is_of_second_charge;
            let message = wire::RefundOutcomeUnknown { payment_id, order_id, refund_id, evidence, of_second_charge };
            ("holdfast.payments.v1.RefundOutcomeUnknown", message.encode_to_vec())
        }
        Event::RefundResolved { of, resolution, actor, note } => {
            let message = resolved_to_wire(of, resolution, actor, note);
            ("holdfast.payments.v1.RefundResolved", message.encode_to_vec())
        }
        ended @ (Event::PaymentRefunded { .. }
        | Event::PaymentRefundedElsewhere { .. }
        | Event::RefundRejected { .. }
        | Event::RefundReversed { .. }) => encode_ended(ended),
        other @ (Event::PaymentRequested { .. }
        | Event::PaymentSucceeded { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentCancelled { .. }
        | Event::Checkout(_)
        | Event::ProviderReportUnmatched { .. }
        | Event::ProviderReportResolved { .. }
        | Event::Authorisation(_)
        | Event::Dispute(_)
        | Event::Coupon(_)
        | Event::Wallet(_)) => super::encode(&other),
    }
}

/// How a refund ended, with the report that says so.
fn encode_ended(event: Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::PaymentRefundedElsewhere { key, of, amount, provider_reference, charge_reference, reported } => {
            let message = elsewhere_to_wire((key, of), amount, provider_reference, charge_reference, reported);
            ("holdfast.payments.v1.PaymentRefundedElsewhere", message.encode_to_vec())
        }
        Event::PaymentRefunded { of, amount, provider_reference, reported } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let (provider_event_id, occurred_at) = reported_to_wire(reported);
            let message = wire::PaymentRefunded {
                payment_id,
                order_id,
                refund_id,
                amount: Some(amount.to_wire()),
                provider_reference,
                provider_event_id,
                occurred_at,
                of_second_charge: of.is_of_second_charge,
            };
            ("holdfast.payments.v1.PaymentRefunded", message.encode_to_vec())
        }
        Event::RefundRejected { of, amount, rejection, provider_reference, reported } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let (provider_event_id, occurred_at) = reported_to_wire(reported);
            let message = wire::RefundRejected {
                payment_id,
                order_id,
                refund_id,
                rejection: Some(rejection.to_wire()),
                amount: Some(amount.to_wire()),
                provider_reference,
                provider_event_id,
                occurred_at,
                of_second_charge: of.is_of_second_charge,
            };
            ("holdfast.payments.v1.RefundRejected", message.encode_to_vec())
        }
        Event::RefundReversed { of, amount, reason, provider_reference, reported } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let (provider_event_id, occurred_at) = reported_to_wire(reported);
            let message = wire::RefundReversed {
                payment_id,
                order_id,
                refund_id,
                amount: Some(amount.to_wire()),
                reason,
                provider_reference,
                provider_event_id,
                occurred_at,
                of_second_charge: of.is_of_second_charge,
            };
            ("holdfast.payments.v1.RefundReversed", message.encode_to_vec())
        }
        Event::PaymentRequested { .. }
        | Event::PaymentSucceeded { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentCancelled { .. }
        | Event::Checkout(_)
        | Event::ProviderReportUnmatched { .. }
        | Event::ProviderReportResolved { .. }
        | Event::RefundDeferred { .. }
        | Event::RefundSubmitted { .. }
        | Event::RefundAnswered { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundResolved { .. }
        | Event::Authorisation(_)
        | Event::Dispute(_)
        | Event::Coupon(_)
        | Event::Wallet(_) => super::encode(&event),
    }
}

fn elsewhere_to_wire(
    (key, of): (HoldKey, RefundOf),
    amount: Money,
    provider_reference: String,
    charge_reference: String,
    reported: Reported,
) -> wire::PaymentRefundedElsewhere {
    let (payment_id, order_id, attempt) = payment_to_wire(of.payment_id, key);
    let (provider_event_id, occurred_at) = reported_to_wire(Some(reported));
    wire::PaymentRefundedElsewhere {
        payment_id,
        order_id,
        attempt,
        refund_id: of.refund_id.to_string(),
        amount: Some(amount.to_wire()),
        provider_reference,
        provider_event_id,
        occurred_at,
        of_second_charge: of.is_of_second_charge,
        charge_reference,
    }
}

fn answered_to_wire(
    of: RefundOf,
    idempotency_key: String,
    answer: String,
    provider_reference: String,
) -> wire::RefundAnswered {
    let (payment_id, order_id, refund_id) = refund_to_wire(of);
    wire::RefundAnswered {
        payment_id,
        order_id,
        refund_id,
        idempotency_key,
        answer,
        provider_reference,
        of_second_charge: of.is_of_second_charge,
    }
}

fn resolved_to_wire(of: RefundOf, resolution: Resolution, actor: String, note: String) -> wire::RefundResolved {
    let (payment_id, order_id, refund_id) = refund_to_wire(of);
    wire::RefundResolved {
        payment_id,
        order_id,
        refund_id,
        resolution: resolution_to_wire(resolution).into(),
        actor,
        note,
        of_second_charge: of.is_of_second_charge,
    }
}

fn refund_to_wire(of: RefundOf) -> (String, String, String) {
    (of.payment_id.to_string(), of.order_id.to_string(), of.refund_id.to_string())
}

fn reported_to_wire(reported: Option<Reported>) -> (String, Option<well_known::Timestamp>) {
    let Some(reported) = reported else { return (String::new(), None) };
    (reported.provider_event_id, reported.occurred_at.map(Timestamp::to_wire))
}

const fn resolution_to_wire(resolution: Resolution) -> wire::RefundResolution {
    match resolution {
        Resolution::Retry => wire::RefundResolution::Retry,
        Resolution::Refunded => wire::RefundResolution::Refunded,
        Resolution::Abandon => wire::RefundResolution::Abandon,
    }
}

/// Reads an event of a refund. `None`: it is of something else.
pub(super) fn decode_event(name: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    Ok(Some(match name {
        wire::RefundDeferred::NAME => {
            let wire::RefundDeferred { payment_id, order_id, refund_id, amount, reason } = decode(data)?;
            let of = refund((&payment_id, &order_id, &refund_id), false)?;
            Event::RefundDeferred { of, amount: money(amount)?, reason }
        }
        wire::RefundSubmitted::NAME => refunding(decode(data)?)?,
        wire::RefundAnswered::NAME => {
            let message: wire::RefundAnswered = decode(data)?;
            Event::RefundAnswered {
                of: refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?,
                idempotency_key: message.idempotency_key,
                answer: message.answer,
                provider_reference: message.provider_reference,
            }
        }
        wire::RefundOutcomeUnknown::NAME => {
            let message: wire::RefundOutcomeUnknown = decode(data)?;
            let of = refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?;
            Event::RefundOutcomeUnknown { of, evidence: message.evidence }
        }
        wire::RefundResolved::NAME => {
            let message: wire::RefundResolved = decode(data)?;
            let of = refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?;
            let (resolution, actor, note) = (known_resolution(message.resolution)?, message.actor, message.note);
            Event::RefundResolved { of, resolution, actor, note }
        }
        wire::PaymentRefundedElsewhere::NAME => refunded_elsewhere(decode(data)?)?,
        wire::PaymentRefunded::NAME => {
            let message: wire::PaymentRefunded = decode(data)?;
            Event::PaymentRefunded {
                of: refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?,
                amount: money(message.amount)?,
                provider_reference: message.provider_reference,
                reported: reported(message.provider_event_id, message.occurred_at)?,
            }
        }
        wire::RefundRejected::NAME => {
            let message: wire::RefundRejected = decode(data)?;
            Event::RefundRejected {
                of: refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?,
                amount: money(message.amount)?,
                rejection: Rejection::from_wire(message.rejection),
                provider_reference: message.provider_reference,
                reported: reported(message.provider_event_id, message.occurred_at)?,
            }
        }
        wire::RefundReversed::NAME => {
            let message: wire::RefundReversed = decode(data)?;
            Event::RefundReversed {
                of: refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?,
                amount: money(message.amount)?,
                reason: message.reason,
                provider_reference: message.provider_reference,
                reported: reported(message.provider_event_id, message.occurred_at)?,
            }
        }
        _ => return Ok(None),
    }))
}

fn refunding(message: wire::RefundSubmitted) -> Result<Event, Rejection> {
    Ok(Event::RefundSubmitted {
        of: refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?,
        amount: money(message.amount)?,
        idempotency_key: message.idempotency_key,
        deadline: Timestamp::from_wire("deadline", message.deadline)?,
        provider: message.provider,
        payment_reference: message.payment_reference,
        charge_reference: message.charge_reference,
    })
}

fn refunded_elsewhere(message: wire::PaymentRefundedElsewhere) -> Result<Event, Rejection> {
    let (_, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
    Ok(Event::PaymentRefundedElsewhere {
        key,
        of: refund((&message.payment_id, &message.order_id, &message.refund_id), message.of_second_charge)?,
        amount: money(message.amount)?,
        provider_reference: message.provider_reference,
        charge_reference: message.charge_reference,
        reported: Reported {
            provider_event_id: message.provider_event_id,
            occurred_at: super::time(message.occurred_at)?,
        },
    })
}

fn refund(
    (payment_id, order_id, refund_id): (&str, &str, &str),
    is_of_second_charge: bool,
) -> Result<RefundOf, Rejection> {
    Ok(RefundOf {
        payment_id: PaymentId::parse(payment_id)?,
        order_id: OrderId::parse(order_id)?,
        refund_id: RefundId::parse(refund_id)?,
        is_of_second_charge,
    })
}
