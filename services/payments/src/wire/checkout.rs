//! Events of asking for a payment, and of the page on which it is paid, in both directions.

use domain::{Rejection, Timestamp, decode};
use proto::{Message, Name, payments::v1 as wire};
use providers::{Checkout, OpenCheckout};

use super::{money, payment, payment_to_wire};
use crate::event::{CheckoutEnd, CheckoutEvent, CheckoutStep, Event};

/// An event of this kind; of no other.
pub(super) fn encode(event: Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::PaymentRequested {
            payment_id,
            key,
            amount,
            checkout,
            payment_method,
            order_reference,
            expires_at,
            checkout_ends_at,
        } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::PaymentRequested {
                payment_id,
                order_id,
                attempt,
                amount: Some(amount.to_wire()),
                provider: checkout.provider,
                provider_reference: checkout.reference,
                checkout_url: checkout.url,
                payment_method,
                expires_at: Some(expires_at.to_wire()),
                checkout_ends_at: checkout_ends_at.map(Timestamp::to_wire),
                reference: order_reference.unwrap_or_default(),
            };
            ("holdfast.payments.v1.PaymentRequested", message.encode_to_vec())
        }
        Event::Checkout(event) => encode_page(event),
        Event::PaymentSucceeded { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentCancelled { .. }
        | Event::ProviderReportUnmatched { .. }
        | Event::ProviderReportResolved { .. }
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

fn encode_page(event: CheckoutEvent) -> (&'static str, Vec<u8>) {
    let (payment_id, order_id, attempt) = payment_to_wire(event.payment_id, event.key);
    match event.step {
        CheckoutStep::Opened { page, look_at } => {
            let message = wire::CheckoutOpened {
                payment_id,
                order_id,
                attempt,
                provider_reference: page.reference,
                checkout_url: page.url,
                look_at: look_at.map(Timestamp::to_wire),
            };
            ("holdfast.payments.v1.CheckoutOpened", message.encode_to_vec())
        }
        CheckoutStep::LookSubmitted { provider, reference, deadline, page, look_at } => {
            let message = wire::CheckoutLookSubmitted {
                payment_id,
                order_id,
                attempt,
                provider,
                provider_reference: reference,
                deadline: Some(deadline.to_wire()),
                page,
                look_at: look_at.map(Timestamp::to_wire),
            };
            ("holdfast.payments.v1.CheckoutLookSubmitted", message.encode_to_vec())
        }
        CheckoutStep::Failed(rejection) => {
            let rejection = Some(rejection.to_wire());
            let message = wire::CheckoutFailed { payment_id, order_id, attempt, rejection };
            ("holdfast.payments.v1.CheckoutFailed", message.encode_to_vec())
        }
        CheckoutStep::Abandoned { provider, reference, deadline, page, is_replaced, actor } => {
            let message = wire::CheckoutAbandoned {
                payment_id,
                order_id,
                attempt,
                provider,
                provider_reference: reference,
                deadline: Some(deadline.to_wire()),
                page,
                is_replaced,
                actor,
            };
            ("holdfast.payments.v1.CheckoutAbandoned", message.encode_to_vec())
        }
        CheckoutStep::Closed(end) => {
            let message = wire::CheckoutClosed { payment_id, order_id, attempt, end: end_to_wire(end).into() };
            ("holdfast.payments.v1.CheckoutClosed", message.encode_to_vec())
        }
        CheckoutStep::Requested { page, amount, provider, payment_method, order_reference, expires_at, ends_at } => {
            let message = wire::CheckoutRequested {
                payment_id,
                order_id,
                attempt,
                page,
                amount: Some(amount.to_wire()),
                provider,
                payment_method,
                expires_at: Some(expires_at.to_wire()),
                checkout_ends_at: Some(ends_at.to_wire()),
                reference: order_reference.unwrap_or_default(),
            };
            ("holdfast.payments.v1.CheckoutRequested", message.encode_to_vec())
        }
    }
}

/// Reads an event of this kind. `None`: it is of another.
pub(super) fn decode_event(event: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    Ok(Some(match event {
        wire::PaymentRequested::NAME => requested(decode(data)?)?,
        wire::CheckoutOpened::NAME => {
            let message: wire::CheckoutOpened = decode(data)?;
            let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
            let page = OpenCheckout { reference: message.provider_reference, url: message.checkout_url };
            Event::checkout(payment_id, key, CheckoutStep::Opened { page, look_at: look_at(message.look_at)? })
        }
        wire::CheckoutLookSubmitted::NAME => {
            let message: wire::CheckoutLookSubmitted = decode(data)?;
            let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
            let step = CheckoutStep::LookSubmitted {
                provider: message.provider,
                reference: message.provider_reference,
                deadline: Timestamp::from_wire("deadline", message.deadline)?,
                page: message.page,
                look_at: look_at(message.look_at)?,
            };
            Event::checkout(payment_id, key, step)
        }
        wire::CheckoutFailed::NAME => {
            let message: wire::CheckoutFailed = decode(data)?;
            let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
            Event::checkout(payment_id, key, CheckoutStep::Failed(Rejection::from_wire(message.rejection)))
        }
        wire::CheckoutAbandoned::NAME => {
            let message: wire::CheckoutAbandoned = decode(data)?;
            let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
            let step = CheckoutStep::Abandoned {
                provider: message.provider,
                reference: message.provider_reference,
                deadline: Timestamp::from_wire("deadline", message.deadline)?,
                // There was one at most before they were counted.
                page: message.page.max(1),
                is_replaced: message.is_replaced,
                actor: message.actor,
            };
            Event::checkout(payment_id, key, step)
        }
        wire::CheckoutClosed::NAME => {
            let message: wire::CheckoutClosed = decode(data)?;
            let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
            Event::checkout(payment_id, key, CheckoutStep::Closed(known_end(message.end)?))
        }
        wire::CheckoutRequested::NAME => {
            let message: wire::CheckoutRequested = decode(data)?;
            let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
            let step = CheckoutStep::Requested {
                page: message.page,
                amount: money(message.amount)?,
                provider: message.provider,
                payment_method: message.payment_method,
                order_reference: order_reference(message.reference),
                expires_at: Timestamp::from_wire("expires_at", message.expires_at)?,
                ends_at: Timestamp::from_wire("checkout_ends_at", message.checkout_ends_at)?,
            };
            Event::checkout(payment_id, key, step)
        }
        _ => return Ok(None),
    }))
}

fn requested(message: wire::PaymentRequested) -> Result<Event, Rejection> {
    let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
    let ends_at = |ends_at| Timestamp::from_wire("checkout_ends_at", Some(ends_at));
    Ok(Event::PaymentRequested {
        payment_id,
        key,
        amount: money(message.amount)?,
        checkout: Checkout {
            provider: message.provider,
            reference: message.provider_reference,
            url: message.checkout_url,
        },
        payment_method: message.payment_method,
        order_reference: order_reference(message.reference),
        expires_at: Timestamp::from_wire("expires_at", message.expires_at)?,
        checkout_ends_at: message.checkout_ends_at.map(ends_at).transpose()?,
    })
}

/// An order without a number of the shop's own has an empty one in messages, and so has one from before messages had them.
fn order_reference(reference: String) -> Option<String> {
    Some(reference).filter(|reference| !reference.is_empty())
}

/// When the provider is asked what has become of a page, if it is.
fn look_at(value: Option<proto::well_known::Timestamp>) -> Result<Option<Timestamp>, Rejection> {
    value.map(|value| Timestamp::from_wire("look_at", Some(value))).transpose()
}

const fn end_to_wire(end: CheckoutEnd) -> wire::CheckoutEnd {
    match end {
        CheckoutEnd::Unpaid => wire::CheckoutEnd::Unpaid,
        CheckoutEnd::Paid => wire::CheckoutEnd::Paid,
        CheckoutEnd::Authorised => wire::CheckoutEnd::Authorised,
        CheckoutEnd::UnderWay => wire::CheckoutEnd::UnderWay,
    }
}

fn known_end(value: i32) -> Result<CheckoutEnd, Rejection> {
    use wire::CheckoutEnd as Wire;
    match Wire::try_from(value).unwrap_or(Wire::Unspecified) {
        Wire::Unpaid => Ok(CheckoutEnd::Unpaid),
        Wire::Paid => Ok(CheckoutEnd::Paid),
        Wire::Authorised => Ok(CheckoutEnd::Authorised),
        Wire::UnderWay => Ok(CheckoutEnd::UnderWay),
        Wire::Unspecified => {
            Err(Rejection::new("INVALID_END", format!("{value} is nothing that a provider can find of a page")))
        }
    }
}
