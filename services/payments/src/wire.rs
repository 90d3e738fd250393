//! Domain to protobuf and back, and what can be said of a command without looking at any state.

use domain::{HoldKey, Money, PaymentId, RefundId, Rejection, Timestamp, decode, text, unknown_type};
use proto::{Message, Name, common::v1 as common, payments::v1 as wire};
use uuid::Uuid;

use crate::{
    command::Command,
    event::{Event, ReportResolution, Reported, Resolution},
};

mod authorisation;
mod checkout;
mod coupon;
mod dispute;
mod refund;
mod report;
#[cfg(test)]
mod tests;
mod wallet;

/// The effect: what to send to the provider.
pub const PAYMENT_REFUNDING: &str = "holdfast.payments.v1.RefundSubmitted";

const PACKAGE: &str = "holdfast.payments.v1.";

/// Reads a command from outside, which has this id.
///
/// # Errors
/// What the sender did wrong.
pub fn decode_command(message_type: &str, data: &[u8], id: Uuid) -> Result<Command, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::RecordProviderEvent::NAME) => report::record(decode(data)?, id),
        Some(wire::RequestCheckout::NAME) => {
            let wire::RequestCheckout { payment_id, anew, actor } = decode(data)?;
            let (payment_id, actor) = (PaymentId::parse(&payment_id)?, text("actor", &actor, 0, 128)?);
            Ok(Command::RequestCheckout { payment_id, is_anew: anew, actor })
        }
        Some(wire::ResolveProviderReport::NAME) => resolve_report(decode(data)?),
        Some(wire::ResolveRefund::NAME) => resolve_refund(decode(data)?),
        Some(wire::OpenCoupon::NAME) => coupon::open(decode(data)?),
        Some(wire::CloseCoupon::NAME) => coupon::close(&decode(data)?),
        Some(name) => wallet::decode_command(name, data)?.ok_or_else(|| unknown_type("payments", message_type)),
        None => Err(unknown_type("payments", message_type)),
    }
}

fn resolve_report(message: wire::ResolveProviderReport) -> Result<Command, Rejection> {
    Ok(Command::ResolveReport {
        payment_id: PaymentId::parse(&message.payment_id)?,
        resolution: known_report_resolution(message.resolution)?,
        // Also as the provider writes it, should that have been too long for us.
        provider_event_id: report::name(&message.provider_event_id),
        actor: text("actor", &message.actor, 1, 128)?,
        note: text("note", &message.note, 1, 512)?,
    })
}

fn resolve_refund(message: wire::ResolveRefund) -> Result<Command, Rejection> {
    Ok(Command::ResolveRefund {
        payment_id: PaymentId::parse(&message.payment_id)?,
        refund_id: RefundId::parse(&message.refund_id)?,
        resolution: known_resolution(message.resolution)?,
        actor: text("actor", &message.actor, 1, 128)?,
        note: text("note", &message.note, 1, 512)?,
    })
}

/// An event's full type name and bytes.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, Vec<u8>) {
    match event.clone() {
        Event::PaymentSucceeded { payment_id, key, amount, provider_event_id, provider_reference, occurred_at } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let (amount, occurred_at) = (Some(amount.to_wire()), occurred_at.map(Timestamp::to_wire));
            let message = wire::PaymentSucceeded {
                payment_id,
                order_id,
                attempt,
                amount,
                provider_event_id,
                provider_reference,
                occurred_at,
            };
            ("holdfast.payments.v1.PaymentSucceeded", message.encode_to_vec())
        }
        Event::PaymentFailed { payment_id, key, reason, provider_event_id } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::PaymentFailed { payment_id, order_id, attempt, reason, provider_event_id };
            ("holdfast.payments.v1.PaymentFailed", message.encode_to_vec())
        }
        Event::PaymentCancelled { payment_id, key } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::PaymentCancelled { payment_id, order_id, attempt };
            ("holdfast.payments.v1.PaymentCancelled", message.encode_to_vec())
        }
        Event::Coupon(event) => coupon::encode(event),
        Event::Wallet(event) => wallet::encode(event),
        Event::Authorisation(event) => authorisation::encode(event),
        Event::Dispute(event) => dispute::encode(event),
        event @ (Event::PaymentRequested { .. } | Event::Checkout(_)) => checkout::encode(event),
        event @ (Event::PaymentDeclined { .. }
        | Event::ProviderReportUnmatched { .. }
        | Event::ProviderReportResolved { .. }) => report::encode(event),
        event @ (Event::RefundDeferred { .. }
        | Event::RefundSubmitted { .. }
        | Event::PaymentRefunded { .. }
        | Event::PaymentRefundedElsewhere { .. }
        | Event::RefundAnswered { .. }
        | Event::RefundRejected { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundReversed { .. }
        | Event::RefundResolved { .. }) => refund::encode(event),
    }
}

fn payment_to_wire(payment_id: PaymentId, key: HoldKey) -> (String, String, i32) {
    (payment_id.to_string(), key.order_id.to_string(), key.attempt)
}

/// Reads an event back from the log. Takes texts as they are: what was once a fact stays one, whatever is refused
/// today.
///
/// # Errors
/// An unknown type, bytes that do not decode, or a malformed id, amount or time.
pub fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
    let Some(name) = message_type.strip_prefix(PACKAGE) else { return Err(unknown_type("payments", message_type)) };
    match name {
        wire::PaymentSucceeded::NAME => succeeded(decode(data)?),
        wire::PaymentFailed::NAME => {
            let wire::PaymentFailed { payment_id, order_id, attempt, reason, provider_event_id } = decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            Ok(Event::PaymentFailed { payment_id, key, reason, provider_event_id })
        }
        wire::PaymentCancelled::NAME => {
            let wire::PaymentCancelled { payment_id, order_id, attempt } = decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            Ok(Event::PaymentCancelled { payment_id, key })
        }
        _ => {
            let of_others = [
                checkout::decode_event,
                authorisation::decode_event,
                report::decode_event,
                refund::decode_event,
                dispute::decode_event,
                coupon::decode_event,
                wallet::decode_event,
            ];
            let read = of_others.iter().find_map(|decode_event| decode_event(name, data).transpose());
            read.unwrap_or_else(|| Err(unknown_type("payments", message_type)))
        }
    }
}

fn succeeded(message: wire::PaymentSucceeded) -> Result<Event, Rejection> {
    let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
    Ok(Event::PaymentSucceeded {
        payment_id,
        key,
        amount: money(message.amount)?,
        provider_event_id: message.provider_event_id,
        provider_reference: message.provider_reference,
        occurred_at: time(message.occurred_at)?,
    })
}

fn payment(payment_id: &str, order_id: &str, attempt: i32) -> Result<(PaymentId, HoldKey), Rejection> {
    Ok((PaymentId::parse(payment_id)?, HoldKey::parse(order_id, attempt)?))
}

fn money(amount: Option<common::Money>) -> Result<Money, Rejection> {
    Money::from_wire("amount", amount.as_ref())
}

fn time(time: Option<proto::well_known::Timestamp>) -> Result<Option<Timestamp>, Rejection> {
    time.map(|time| Timestamp::from_wire("occurred_at", Some(time))).transpose()
}

fn reported(
    provider_event_id: String,
    occurred_at: Option<proto::well_known::Timestamp>,
) -> Result<Option<Reported>, Rejection> {
    let occurred_at = time(occurred_at)?;
    Ok((!provider_event_id.is_empty()).then_some(Reported { provider_event_id, occurred_at }))
}

fn known_report_resolution(value: i32) -> Result<ReportResolution, Rejection> {
    use wire::ReportResolution as Wire;
    match Wire::try_from(value).unwrap_or(Wire::Unspecified) {
        Wire::Accepted => Ok(ReportResolution::Accepted),
        Wire::Undone => Ok(ReportResolution::Undone),
        Wire::Unspecified => {
            Err(Rejection::new("INVALID_RESOLUTION", format!("resolution must be ACCEPTED or UNDONE, not {value}")))
        }
    }
}

fn known_resolution(value: i32) -> Result<Resolution, Rejection> {
    use wire::RefundResolution as Wire;
    match Wire::try_from(value).unwrap_or(Wire::Unspecified) {
        Wire::Retry => Ok(Resolution::Retry),
        Wire::Refunded => Ok(Resolution::Refunded),
        Wire::Abandon => Ok(Resolution::Abandon),
        Wire::Unspecified => Err(Rejection::new(
            "INVALID_RESOLUTION",
            format!("resolution must be RETRY, REFUNDED or ABANDON, not {value}"),
        )),
    }
}
