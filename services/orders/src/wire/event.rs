//! Events of orders, to bytes and back. What was once written must read for ever.

use domain::{
    CouponCode, Discount, HoldKey, Lines, Money, OrderId, PaymentId, RefundId, Rejection, RoundId, Sku, Timestamp,
    decode, lines_to_wire, unknown_type,
};
use proto::{Message, Name, common::v1::ProductQuantity, orders::v1 as wire};

use super::{PACKAGE, parts};
use crate::{
    event::{Event, Reinstated},
    order::{CancelReason, LatePaymentPolicy, OrderTerms, RefundItems, Resource},
};

/// An event's full type name and bytes.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::OrderPlaced { order_id, terms, placed_at, has_contact, actor } => {
            let (said, has_contact, actor) = (placed(*order_id, terms, *placed_at), *has_contact, actor.clone());
            ("holdfast.orders.v1.OrderPlaced", wire::OrderPlaced { has_contact, actor, ..said }.encode_to_vec())
        }
        coupons @ (Event::CouponRequested { .. } | Event::RedemptionRequested { .. }) => of_coupons(coupons),
        Event::OrderHoldConfirmed { key, resource, discount } => {
            let message = hold_confirmed(*key, *resource, discount.as_ref());
            ("holdfast.orders.v1.OrderHoldConfirmed", message.encode_to_vec())
        }
        Event::OrderReserved { key, amount, expires_at, payment_method, discount, reference } => {
            let mut message = held(*key, *amount, *expires_at, payment_method);
            message.discount = discount.as_ref().map(Discount::to_wire);
            message.reference = reference.clone().unwrap_or_default();
            ("holdfast.orders.v1.OrderReserved", message.encode_to_vec())
        }
        Event::OrderRejected { key, resource, rejection, holds } => {
            ("holdfast.orders.v1.OrderRejected", rejected(*key, *resource, rejection, holds).encode_to_vec())
        }
        Event::OrderPaid { key, payment_id, amount, holds, discount } => {
            let mut message = paid(*key, *payment_id, *amount, holds);
            message.discount = discount.as_ref().map(Discount::to_wire);
            ("holdfast.orders.v1.OrderPaid", message.encode_to_vec())
        }
        Event::OrderExpired { key, due_at, note, holds, actor } => (
            "holdfast.orders.v1.OrderExpired",
            expired(*key, *due_at, (note.as_str(), actor.as_str()), holds).encode_to_vec(),
        ),
        Event::OrderCancelled { key, reason, actor, note, holds } => {
            let message = cancelled(*key, *reason, actor, note, holds);
            ("holdfast.orders.v1.OrderCancelled", message.encode_to_vec())
        }
        Event::OrderReleaseConfirmed { key, resource } => {
            ("holdfast.orders.v1.OrderReleaseConfirmed", release_confirmed(*key, *resource).encode_to_vec())
        }
        Event::OrderReleased { key } => ("holdfast.orders.v1.OrderReleased", released(*key).encode_to_vec()),
        Event::OrderReinstated(fact) => ("holdfast.orders.v1.OrderReinstated", reinstated(fact).encode_to_vec()),
        Event::PaidOrderCancelled { key, refund_id, actor, note } => {
            ("holdfast.orders.v1.PaidOrderCancelled", paid_cancelled(*key, *refund_id, actor, note).encode_to_vec())
        }
        authorised @ (Event::CaptureRequested { .. } | Event::VoidRequested { .. }) => of_authorised(authorised),
        Event::LatePaymentDeferred { key, payment_id, amount, is_authorised } => {
            let mut message = late_payment_deferred(*key, *payment_id, *amount);
            message.authorised = *is_authorised;
            ("holdfast.orders.v1.LatePaymentDeferred", message.encode_to_vec())
        }
        Event::RefundRequested { order_id, refund_id, payment_id, claim, extent, actor, note } => {
            let mut message = refund_requested(*order_id, *refund_id, *payment_id, claim, actor, note);
            message.extent = parts::extent_number(*extent);
            ("holdfast.orders.v1.RefundRequested", message.encode_to_vec())
        }
        Event::OrderRefunded { order_id, refund_id, claim } => {
            ("holdfast.orders.v1.OrderRefunded", refunded(*order_id, *refund_id, claim).encode_to_vec())
        }
        Event::OrderPartiallyRefunded { order_id, refund_id, claim } => {
            let message = partially_refunded(refunded(*order_id, *refund_id, claim));
            ("holdfast.orders.v1.OrderPartiallyRefunded", message.encode_to_vec())
        }
        Event::ShareRefundDeferred { key, round_id, note } => {
            ("holdfast.orders.v1.ShareRefundDeferred", share_refund_deferred(*key, *round_id, note).encode_to_vec())
        }
        Event::OrderDisputed { key, payment_id, dispute_id, dispute } => {
            let message = parts::disputed(*key, *payment_id, dispute_id, dispute);
            ("holdfast.orders.v1.OrderDisputed", message.encode_to_vec())
        }
        Event::RefundAbandoned { key, refund_id, rejection } => {
            ("holdfast.orders.v1.RefundAbandoned", refund_abandoned(*key, *refund_id, rejection).encode_to_vec())
        }
    }
}

fn placed(order_id: OrderId, terms: &OrderTerms, placed_at: Timestamp) -> wire::OrderPlaced {
    wire::OrderPlaced {
        order_id: order_id.to_string(),
        customer_id: terms.customer_id.clone(),
        lines: parts::lines_to_wire(&terms.lines),
        shares: terms.shares.as_ref().map(parts::shares_to_wire),
        total: Some(terms.total.to_wire()),
        placed_at: Some(placed_at.to_wire()),
        expires_at: Some((placed_at + terms.time_to_pay).to_wire()),
        late_payment_policy: parts::policy_number(terms.late_payment_policy),
        payment_method: terms.payment_method.clone(),
        attempt: 1,
        reference: terms.reference.clone().unwrap_or_default(),
        coupon_code: parts::coupon_to_wire(terms.coupon.as_ref()),
        has_contact: false,
        actor: String::new(),
    }
}

/// Its own events, for payments to do something about. Of no other event.
fn of_coupons(event: &Event) -> (&'static str, Vec<u8>) {
    if let Event::CouponRequested { key, coupon, customer_id, lines, shares, payment_method } = event {
        let message = wire::CouponRequested {
            order_id: key.order_id.to_string(),
            attempt: key.attempt,
            coupon_code: coupon.to_string(),
            customer_id: customer_id.clone(),
            lines: parts::lines_to_wire(lines),
            shares: shares.as_ref().map(parts::shares_to_wire),
            payment_method: payment_method.clone(),
        };
        return ("holdfast.orders.v1.CouponRequested", message.encode_to_vec());
    }
    if let Event::RedemptionRequested { key, coupon } = event {
        let (order_id, coupon_code) = (key.order_id.to_string(), coupon.to_string());
        let message = wire::RedemptionRequested { order_id, attempt: key.attempt, coupon_code };
        return ("holdfast.orders.v1.RedemptionRequested", message.encode_to_vec());
    }
    encode(event)
}

/// What becomes of money that is set aside, for payments to do. Of no other event.
fn of_authorised(event: &Event) -> (&'static str, Vec<u8>) {
    if let Event::CaptureRequested { key, payment_id, amount } = event {
        let message = wire::CaptureRequested {
            order_id: key.order_id.to_string(),
            attempt: key.attempt,
            payment_id: payment_id.to_string(),
            amount: Some(amount.to_wire()),
        };
        return ("holdfast.orders.v1.CaptureRequested", message.encode_to_vec());
    }
    if let Event::VoidRequested { key, payment_id, note } = event {
        let message = wire::VoidRequested {
            order_id: key.order_id.to_string(),
            attempt: key.attempt,
            payment_id: payment_id.to_string(),
            note: note.clone(),
        };
        return ("holdfast.orders.v1.VoidRequested", message.encode_to_vec());
    }
    encode(event)
}

fn hold_confirmed(key: HoldKey, resource: Resource, discount: Option<&Discount>) -> wire::OrderHoldConfirmed {
    let (resource, discount) = (parts::resource_number(resource), discount.map(Discount::to_wire));
    wire::OrderHoldConfirmed { order_id: key.order_id.to_string(), attempt: key.attempt, resource, discount }
}

fn held(key: HoldKey, amount: Money, expires_at: Option<Timestamp>, payment_method: &str) -> wire::OrderReserved {
    wire::OrderReserved {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        amount: Some(amount.to_wire()),
        expires_at: expires_at.map(Timestamp::to_wire),
        payment_method: payment_method.to_owned(),
        discount: None,
        reference: String::new(),
    }
}

fn rejected(key: HoldKey, resource: Resource, rejection: &Rejection, holds: &[Resource]) -> wire::OrderRejected {
    wire::OrderRejected {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        resource: parts::resource_number(resource),
        rejection: Some(rejection.to_wire()),
        holds: parts::resource_numbers(holds),
    }
}

fn paid(key: HoldKey, payment_id: PaymentId, amount: Money, holds: &[Resource]) -> wire::OrderPaid {
    wire::OrderPaid {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        payment_id: payment_id.to_string(),
        amount: Some(amount.to_wire()),
        holds: parts::resource_numbers(holds),
        discount: None,
    }
}

fn expired(key: HoldKey, due_at: Timestamp, (note, actor): (&str, &str), holds: &[Resource]) -> wire::OrderExpired {
    wire::OrderExpired {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        due_at: Some(due_at.to_wire()),
        note: note.to_owned(),
        holds: parts::resource_numbers(holds),
        actor: actor.to_owned(),
    }
}

fn cancelled(key: HoldKey, reason: CancelReason, actor: &str, note: &str, holds: &[Resource]) -> wire::OrderCancelled {
    wire::OrderCancelled {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        reason: parts::cancel_reason_number(reason),
        actor: actor.to_owned(),
        note: note.to_owned(),
        holds: parts::resource_numbers(holds),
    }
}

fn release_confirmed(key: HoldKey, resource: Resource) -> wire::OrderReleaseConfirmed {
    let resource = parts::resource_number(resource);
    wire::OrderReleaseConfirmed { order_id: key.order_id.to_string(), attempt: key.attempt, resource }
}

fn released(key: HoldKey) -> wire::OrderReleased {
    wire::OrderReleased { order_id: key.order_id.to_string(), attempt: key.attempt }
}

fn reinstated(fact: &Reinstated) -> wire::OrderReinstated {
    wire::OrderReinstated {
        order_id: fact.key.order_id.to_string(),
        attempt: fact.key.attempt,
        lines: parts::lines_to_wire(&fact.lines),
        shares: fact.shares.as_ref().map(parts::shares_to_wire),
        expires_at: fact.expires_at.map(Timestamp::to_wire),
        reason: parts::reinstate_reason_number(fact.reason),
        actor: fact.actor.clone(),
        note: fact.note.clone(),
        payment_id: fact.payment_id.map(|payment_id| payment_id.to_string()).unwrap_or_default(),
        coupon_code: parts::coupon_to_wire(fact.coupon.as_ref()),
        authorised: fact.is_authorised,
    }
}

fn paid_cancelled(key: HoldKey, refund_id: RefundId, actor: &str, note: &str) -> wire::PaidOrderCancelled {
    wire::PaidOrderCancelled {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        refund_id: refund_id.to_string(),
        actor: actor.to_owned(),
        note: note.to_owned(),
    }
}

fn late_payment_deferred(key: HoldKey, payment_id: PaymentId, amount: Money) -> wire::LatePaymentDeferred {
    wire::LatePaymentDeferred {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        payment_id: payment_id.to_string(),
        amount: Some(amount.to_wire()),
        authorised: false,
    }
}

fn refund_requested(
    order_id: OrderId,
    refund_id: RefundId,
    payment_id: PaymentId,
    claim: &RefundItems,
    actor: &str,
    note: &str,
) -> wire::RefundRequested {
    wire::RefundRequested {
        order_id: order_id.to_string(),
        attempt: claim.attempt,
        refund_id: refund_id.to_string(),
        payment_id: payment_id.to_string(),
        amount: Some(claim.amount.to_wire()),
        reason: parts::refund_reason_number(claim.reason),
        lines: lines_to_wire(&claim.lines),
        return_shares: claim.return_shares,
        actor: actor.to_owned(),
        note: note.to_owned(),
        extent: 0,
    }
}

fn refunded(order_id: OrderId, refund_id: RefundId, claim: &RefundItems) -> wire::OrderRefunded {
    wire::OrderRefunded {
        order_id: order_id.to_string(),
        attempt: claim.attempt,
        refund_id: refund_id.to_string(),
        amount: Some(claim.amount.to_wire()),
        reason: parts::refund_reason_number(claim.reason),
        lines: lines_to_wire(&claim.lines),
        return_shares: claim.return_shares,
    }
}

fn partially_refunded(same: wire::OrderRefunded) -> wire::OrderPartiallyRefunded {
    let wire::OrderRefunded { order_id, attempt, refund_id, amount, reason, lines, return_shares } = same;
    wire::OrderPartiallyRefunded { order_id, attempt, refund_id, amount, reason, lines, return_shares }
}

fn wholly_refunded(same: wire::OrderPartiallyRefunded) -> wire::OrderRefunded {
    let wire::OrderPartiallyRefunded { order_id, attempt, refund_id, amount, reason, lines, return_shares } = same;
    wire::OrderRefunded { order_id, attempt, refund_id, amount, reason, lines, return_shares }
}

fn share_refund_deferred(key: HoldKey, round_id: RoundId, note: &str) -> wire::ShareRefundDeferred {
    wire::ShareRefundDeferred {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        round_id: round_id.to_string(),
        note: note.to_owned(),
    }
}

fn refund_abandoned(key: HoldKey, refund_id: RefundId, rejection: &Rejection) -> wire::RefundAbandoned {
    wire::RefundAbandoned {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        refund_id: refund_id.to_string(),
        rejection: Some(rejection.to_wire()),
    }
}

/// Reads an event back from the log. Checks no limits: what was once a fact stays one, whatever is refused today.
///
/// # Errors
/// An unknown type, bytes that do not decode, or a part without which it means nothing.
pub fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::OrderPlaced::NAME) => read_placed(&decode(data)?),
        Some(wire::CouponRequested::NAME) => read_coupon_requested(decode(data)?),
        Some(wire::OrderHoldConfirmed::NAME) => read_hold_confirmed(decode(data)?),
        Some(wire::OrderReserved::NAME) => read_reserved(decode(data)?),
        Some(wire::OrderRejected::NAME) => read_rejected(decode(data)?),
        Some(wire::OrderPaid::NAME) => read_paid(decode(data)?),
        Some(wire::CaptureRequested::NAME) => {
            let wire::CaptureRequested { order_id, attempt, payment_id, amount } = decode(data)?;
            let (key, payment_id) = (HoldKey::parse(&order_id, attempt)?, PaymentId::parse(&payment_id)?);
            Ok(Event::CaptureRequested { key, payment_id, amount: Money::from_wire("amount", amount.as_ref())? })
        }
        Some(wire::VoidRequested::NAME) => {
            let wire::VoidRequested { order_id, attempt, payment_id, note } = decode(data)?;
            let (key, payment_id) = (HoldKey::parse(&order_id, attempt)?, PaymentId::parse(&payment_id)?);
            Ok(Event::VoidRequested { key, payment_id, note })
        }
        Some(wire::RedemptionRequested::NAME) => read_redemption_requested(&decode(data)?),
        Some(wire::OrderExpired::NAME) => read_expired(decode(data)?),
        Some(wire::OrderCancelled::NAME) => read_cancelled(decode(data)?),
        Some(wire::OrderReleaseConfirmed::NAME) => {
            let wire::OrderReleaseConfirmed { order_id, attempt, resource } = decode(data)?;
            let (key, resource) = (HoldKey::parse(&order_id, attempt)?, parts::resource(resource)?);
            Ok(Event::OrderReleaseConfirmed { key, resource })
        }
        Some(wire::OrderReleased::NAME) => {
            let wire::OrderReleased { order_id, attempt } = decode(data)?;
            Ok(Event::OrderReleased { key: HoldKey::parse(&order_id, attempt)? })
        }
        Some(wire::OrderReinstated::NAME) => read_reinstated(decode(data)?),
        Some(wire::PaidOrderCancelled::NAME) => {
            let wire::PaidOrderCancelled { order_id, attempt, refund_id, actor, note } = decode(data)?;
            let (key, refund_id) = (HoldKey::parse(&order_id, attempt)?, RefundId::parse(&refund_id)?);
            Ok(Event::PaidOrderCancelled { key, refund_id, actor, note })
        }
        Some(wire::LatePaymentDeferred::NAME) => {
            let wire::LatePaymentDeferred { order_id, attempt, payment_id, amount, authorised } = decode(data)?;
            let (key, payment_id) = (HoldKey::parse(&order_id, attempt)?, PaymentId::parse(&payment_id)?);
            let amount = Money::from_wire("amount", amount.as_ref())?;
            Ok(Event::LatePaymentDeferred { key, payment_id, amount, is_authorised: authorised })
        }
        Some(wire::RefundRequested::NAME) => read_refund_requested(decode(data)?),
        Some(wire::OrderRefunded::NAME) => {
            let (order_id, refund_id, claim) = read_refunded(decode(data)?)?;
            Ok(Event::OrderRefunded { order_id, refund_id, claim })
        }
        Some(wire::OrderPartiallyRefunded::NAME) => {
            let (order_id, refund_id, claim) = read_refunded(wholly_refunded(decode(data)?))?;
            Ok(Event::OrderPartiallyRefunded { order_id, refund_id, claim })
        }
        Some(wire::ShareRefundDeferred::NAME) => {
            let wire::ShareRefundDeferred { order_id, attempt, round_id, note } = decode(data)?;
            let (key, round_id) = (HoldKey::parse(&order_id, attempt)?, RoundId::parse(&round_id)?);
            Ok(Event::ShareRefundDeferred { key, round_id, note })
        }
        Some(wire::OrderDisputed::NAME) => {
            let (key, payment_id, dispute_id, dispute) = parts::read_disputed(decode(data)?)?;
            Ok(Event::OrderDisputed { key, payment_id, dispute_id, dispute })
        }
        Some(wire::RefundAbandoned::NAME) => {
            let wire::RefundAbandoned { order_id, attempt, refund_id, rejection } = decode(data)?;
            let (key, refund_id) = (HoldKey::parse(&order_id, attempt)?, RefundId::parse(&refund_id)?);
            Ok(Event::RefundAbandoned { key, refund_id, rejection: Rejection::from_wire(rejection) })
        }
        Some(_) | None => Err(unknown_type("orders", message_type)),
    }
}

fn read_placed(message: &wire::OrderPlaced) -> Result<Event, Rejection> {
    let placed_at = Timestamp::from_wire("placed_at", message.placed_at)?;
    let terms = OrderTerms {
        customer_id: message.customer_id.clone(),
        lines: parts::lines(&message.lines, Money::from_wire)?,
        shares: message.shares.as_ref().map(|shares| parts::shares(shares, Money::from_wire)).transpose()?,
        total: Money::from_wire("total", message.total.as_ref())?,
        time_to_pay: Timestamp::from_wire("expires_at", message.expires_at)?.since(placed_at),
        late_payment_policy: parts::policy(message.late_payment_policy).unwrap_or(LatePaymentPolicy::Refund),
        payment_method: message.payment_method.clone(),
        reference: parts::reference(&message.reference),
        coupon: CouponCode::parse_optional(&message.coupon_code)?,
    };
    let order_id = OrderId::parse(&message.order_id)?;
    let (has_contact, actor) = (message.has_contact, message.actor.clone());
    Ok(Event::OrderPlaced { order_id, terms, placed_at, has_contact, actor })
}

fn read_hold_confirmed(message: wire::OrderHoldConfirmed) -> Result<Event, Rejection> {
    let wire::OrderHoldConfirmed { order_id, attempt, resource, discount } = message;
    let (key, resource) = (HoldKey::parse(&order_id, attempt)?, parts::resource(resource)?);
    Ok(Event::OrderHoldConfirmed { key, resource, discount: parts::discount(discount)? })
}

fn read_redemption_requested(message: &wire::RedemptionRequested) -> Result<Event, Rejection> {
    let key = HoldKey::parse(&message.order_id, message.attempt)?;
    Ok(Event::RedemptionRequested { key, coupon: CouponCode::parse(&message.coupon_code)? })
}

fn read_reserved(message: wire::OrderReserved) -> Result<Event, Rejection> {
    Ok(Event::OrderReserved {
        key: HoldKey::parse(&message.order_id, message.attempt)?,
        amount: Money::from_wire("amount", message.amount.as_ref())?,
        expires_at: read_time("expires_at", message.expires_at)?,
        payment_method: message.payment_method,
        discount: parts::discount(message.discount)?,
        reference: parts::reference(&message.reference),
    })
}

fn read_time(field: &str, time: Option<proto::well_known::Timestamp>) -> Result<Option<Timestamp>, Rejection> {
    time.map(|time| Timestamp::from_wire(field, Some(time))).transpose()
}

fn read_rejected(message: wire::OrderRejected) -> Result<Event, Rejection> {
    Ok(Event::OrderRejected {
        key: HoldKey::parse(&message.order_id, message.attempt)?,
        resource: parts::resource(message.resource)?,
        rejection: Rejection::from_wire(message.rejection),
        holds: parts::resources(&message.holds)?,
    })
}

fn read_paid(message: wire::OrderPaid) -> Result<Event, Rejection> {
    Ok(Event::OrderPaid {
        key: HoldKey::parse(&message.order_id, message.attempt)?,
        payment_id: PaymentId::parse(&message.payment_id)?,
        amount: Money::from_wire("amount", message.amount.as_ref())?,
        holds: parts::resources(&message.holds)?,
        discount: parts::discount(message.discount)?,
    })
}

fn read_coupon_requested(message: wire::CouponRequested) -> Result<Event, Rejection> {
    Ok(Event::CouponRequested {
        key: HoldKey::parse(&message.order_id, message.attempt)?,
        coupon: CouponCode::parse(&message.coupon_code)?,
        customer_id: message.customer_id,
        lines: parts::lines(&message.lines, Money::from_wire)?,
        shares: message.shares.as_ref().map(|shares| parts::shares(shares, Money::from_wire)).transpose()?,
        payment_method: message.payment_method,
    })
}

fn read_expired(message: wire::OrderExpired) -> Result<Event, Rejection> {
    Ok(Event::OrderExpired {
        key: HoldKey::parse(&message.order_id, message.attempt)?,
        due_at: Timestamp::from_wire("due_at", message.due_at)?,
        note: message.note,
        holds: parts::resources(&message.holds)?,
        actor: message.actor,
    })
}

fn read_cancelled(message: wire::OrderCancelled) -> Result<Event, Rejection> {
    Ok(Event::OrderCancelled {
        key: HoldKey::parse(&message.order_id, message.attempt)?,
        reason: parts::cancel_reason(message.reason),
        actor: message.actor,
        note: message.note,
        holds: parts::resources(&message.holds)?,
    })
}

fn read_reinstated(message: wire::OrderReinstated) -> Result<Event, Rejection> {
    let paid = !message.payment_id.is_empty();
    Ok(Event::OrderReinstated(Reinstated {
        key: HoldKey::parse(&message.order_id, message.attempt)?,
        lines: parts::lines(&message.lines, Money::from_wire)?,
        shares: message.shares.as_ref().map(|shares| parts::shares(shares, Money::from_wire)).transpose()?,
        expires_at: read_time("expires_at", message.expires_at)?,
        reason: parts::reinstate_reason(message.reason),
        actor: message.actor,
        note: message.note,
        payment_id: paid.then(|| PaymentId::parse(&message.payment_id)).transpose()?,
        coupon: CouponCode::parse_optional(&message.coupon_code)?,
        is_authorised: message.authorised,
    }))
}

fn read_refund_requested(message: wire::RefundRequested) -> Result<Event, Rejection> {
    Ok(Event::RefundRequested {
        order_id: OrderId::parse(&message.order_id)?,
        refund_id: RefundId::parse(&message.refund_id)?,
        payment_id: PaymentId::parse(&message.payment_id)?,
        claim: RefundItems {
            attempt: HoldKey::parse(&message.order_id, message.attempt)?.attempt,
            amount: Money::from_wire("amount", message.amount.as_ref())?,
            reason: parts::refund_reason(message.reason),
            lines: read_pieces(message.lines)?,
            return_shares: message.return_shares,
        },
        extent: parts::extent(message.extent),
        actor: message.actor,
        note: message.note,
    })
}

fn read_refunded(message: wire::OrderRefunded) -> Result<(OrderId, RefundId, RefundItems), Rejection> {
    let HoldKey { order_id, attempt } = HoldKey::parse(&message.order_id, message.attempt)?;
    let claim = RefundItems {
        attempt,
        amount: Money::from_wire("amount", message.amount.as_ref())?,
        reason: parts::refund_reason(message.reason),
        lines: read_pieces(message.lines)?,
        return_shares: message.return_shares,
    };
    Ok((order_id, RefundId::parse(&message.refund_id)?, claim))
}

fn read_pieces(lines: Vec<ProductQuantity>) -> Result<Lines, Rejection> {
    lines.into_iter().map(|line| Ok((Sku::parse(&line.sku)?, line.quantity))).collect()
}

#[cfg(test)]
mod tests;
