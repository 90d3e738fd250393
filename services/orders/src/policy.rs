//! What orders do about the answers of inventory, rounds and payments: their part of the saga.

use domain::{
    Discount, Dispute, HoldKey, Memory, Money, OrderId, PaymentId, RefundId, Rejection, RoundId, decode, legible,
    unknown_type,
};
use proto::{Name, common::v1 as common, inventory::v1 as inventory, payments::v1 as payments, rounds::v1 as rounds};

use crate::{
    command::Command,
    order::{HoldStatus, Resource, State},
    wire::words,
};

/// The commands that an event causes.
///
/// # Errors
/// The event is of an unknown type or malformed.
pub fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
    if let Some(name) = message_type.strip_prefix("holdfast.inventory.v1.") {
        of_inventory(name, data)?
    } else if let Some(name) = message_type.strip_prefix("holdfast.rounds.v1.") {
        of_rounds(name, data)?
    } else if let Some(name) = message_type.strip_prefix("holdfast.payments.v1.") {
        of_payments(name, data)?
    } else {
        None
    }
    .ok_or_else(|| unknown_type("orders", message_type))
}

/// Whether nobody is kept waiting if this is done a moment later: what is free again, and the first of two holds. It is known to be the first
/// if the order is remembered.
pub(crate) fn can_wait(memory: &Memory<State>, command: &Command) -> bool {
    let Command::ConfirmHolds { key, resources, .. } = command else {
        return matches!(command, Command::ConfirmReleases { .. });
    };
    memory.get(&key.order_id, |rows| &rows.orders).is_some_and(|order| {
        let mut asked = order.holds.iter().filter(|(_, hold)| **hold == HoldStatus::Asked);
        order.attempt == key.attempt && asked.any(|(resource, _)| !resources.contains(resource))
    })
}

/// The attempt that answers are about which can be taken in as one.
pub(crate) const fn joined_by(command: &Command) -> Option<HoldKey> {
    if let Command::ConfirmHolds { key, .. } | Command::ConfirmReleases { key, .. } = command {
        Some(*key)
    } else {
        None
    }
}

/// Two answers about one attempt as one: nobody needs to hear of the first hold, or the first release, when the last is there too.
pub(crate) fn join(first: &Command, then: &Command) -> Option<Command> {
    let both = |first: &[Resource], then: &[Resource]| {
        then.iter().all(|resource| !first.contains(resource)).then(|| [first, then].concat())
    };
    if let (
        Command::ConfirmHolds { key, resources: first, discount: of_first },
        Command::ConfirmHolds { resources: then, discount: of_then, .. },
    ) = (first, then)
    {
        let discount = || of_first.clone().or_else(|| of_then.clone());
        return both(first, then).map(|resources| Command::ConfirmHolds { key: *key, resources, discount: discount() });
    }
    if let (Command::ConfirmReleases { key, resources: first }, Command::ConfirmReleases { resources: then, .. }) =
        (first, then)
    {
        return both(first, then).map(|resources| Command::ConfirmReleases { key: *key, resources });
    }
    None
}

fn of_inventory(name: &str, data: &[u8]) -> Result<Option<Vec<Command>>, Rejection> {
    let resource = Resource::Stock;
    Ok(Some(match name {
        inventory::StockHeld::NAME => {
            let inventory::StockHeld { order_id, attempt, .. } = decode(data)?;
            confirm(&order_id, attempt, resource)?
        }
        inventory::StockRejected::NAME => {
            let inventory::StockRejected { order_id, attempt, rejection } = decode(data)?;
            refuse(&order_id, attempt, resource, rejection)?
        }
        inventory::StockReleased::NAME => {
            let inventory::StockReleased { order_id, attempt, .. } = decode(data)?;
            vec![Command::ConfirmReleases { key: HoldKey::parse(&order_id, attempt)?, resources: vec![resource] }]
        }
        _ => return Ok(None),
    }))
}

fn of_rounds(name: &str, data: &[u8]) -> Result<Option<Vec<Command>>, Rejection> {
    let resource = Resource::Shares;
    Ok(Some(match name {
        rounds::SharesHeld::NAME => {
            let rounds::SharesHeld { order_id, attempt, .. } = decode(data)?;
            confirm(&order_id, attempt, resource)?
        }
        rounds::SharesRejected::NAME => {
            let rounds::SharesRejected { order_id, attempt, rejection, .. } = decode(data)?;
            refuse(&order_id, attempt, resource, rejection)?
        }
        rounds::SharesReleased::NAME => {
            let rounds::SharesReleased { order_id, attempt, .. } = decode(data)?;
            vec![Command::ConfirmReleases { key: HoldKey::parse(&order_id, attempt)?, resources: vec![resource] }]
        }
        rounds::RoundRefundsRequested::NAME => refund_participants(&decode(data)?)?,
        _ => return Ok(None),
    }))
}

fn of_coupons(name: &str, data: &[u8]) -> Result<Option<Vec<Command>>, Rejection> {
    let resource = Resource::Coupon;
    Ok(Some(match name {
        payments::CouponHeld::NAME => {
            let payments::CouponHeld { order_id, attempt, discount, .. } = decode(data)?;
            let key = HoldKey::parse(&order_id, attempt)?;
            vec![Command::ConfirmHolds {
                key,
                resources: vec![resource],
                discount: Some(Discount::from_wire(discount)?),
            }]
        }
        payments::CouponRejected::NAME => {
            let payments::CouponRejected { order_id, attempt, rejection, .. } = decode(data)?;
            refuse(&order_id, attempt, resource, rejection)?
        }
        payments::CouponReleased::NAME => {
            let payments::CouponReleased { order_id, attempt, .. } = decode(data)?;
            vec![Command::ConfirmReleases { key: HoldKey::parse(&order_id, attempt)?, resources: vec![resource] }]
        }
        _ => return Ok(None),
    }))
}

fn of_payments(name: &str, data: &[u8]) -> Result<Option<Vec<Command>>, Rejection> {
    Ok(Some(vec![match name {
        payments::PaymentSucceeded::NAME => {
            let payments::PaymentSucceeded { payment_id, order_id, attempt, amount, .. } = decode(data)?;
            Command::RecordPayment {
                key: HoldKey::parse(&order_id, attempt)?,
                payment_id: PaymentId::parse(&payment_id)?,
                amount: Money::from_wire("amount", amount.as_ref())?,
            }
        }
        payments::PaymentAuthorised::NAME => {
            let payments::PaymentAuthorised { payment_id, order_id, attempt, amount, .. } = decode(data)?;
            Command::RecordAuthorisation {
                key: HoldKey::parse(&order_id, attempt)?,
                payment_id: PaymentId::parse(&payment_id)?,
                amount: Money::from_wire("amount", amount.as_ref())?,
            }
        }
        payments::PaymentVoided::NAME => {
            let payments::PaymentVoided { payment_id, order_id, attempt, reason, awaited, .. } = decode(data)?;
            let command = Command::RecordVoid {
                key: HoldKey::parse(&order_id, attempt)?,
                payment_id: PaymentId::parse(&payment_id)?,
                reason: words(&reason),
            };
            return Ok(Some(if awaited { vec![command] } else { vec![] }));
        }
        payments::PaymentFailed::NAME => {
            let payments::PaymentFailed { order_id, attempt, reason, .. } = decode(data)?;
            Command::RecordPaymentFailure { key: HoldKey::parse(&order_id, attempt)?, reason: words(&reason) }
        }
        payments::PaymentRefunded::NAME => {
            let payments::PaymentRefunded { order_id, refund_id, amount, of_second_charge, .. } = decode(data)?;
            // That paid no order, and none has asked for it.
            if of_second_charge {
                return Ok(Some(vec![]));
            }
            Command::RecordRefund {
                order_id: OrderId::parse(&order_id)?,
                refund_id: RefundId::parse(&refund_id)?,
                amount: Money::from_wire("amount", amount.as_ref())?,
            }
        }
        payments::PaymentRefundedElsewhere::NAME => {
            let event: payments::PaymentRefundedElsewhere = decode(data)?;
            if event.of_second_charge {
                return Ok(Some(vec![]));
            }
            refunded_elsewhere(&event)?
        }
        payments::RefundRejected::NAME => {
            let payments::RefundRejected { order_id, refund_id, rejection, of_second_charge, .. } = decode(data)?;
            if of_second_charge {
                return Ok(Some(vec![]));
            }
            Command::AbandonRefund {
                order_id: OrderId::parse(&order_id)?,
                refund_id: RefundId::parse(&refund_id)?,
                rejection: told(rejection),
            }
        }
        // All four have the same fields, and two of them an amount, which the dispute has too.
        payments::PaymentDisputed::NAME
        | payments::DisputeFundsWithdrawn::NAME
        | payments::DisputeFundsReinstated::NAME
        | payments::DisputeClosed::NAME => of_dispute(decode(data)?)?,
        _ => return of_coupons(name, data),
    }]))
}

/// A refund that nobody asked for here, of money that paid the order.
fn refunded_elsewhere(event: &payments::PaymentRefundedElsewhere) -> Result<Command, Rejection> {
    let reference = legible(&event.provider_reference, 128);
    Ok(Command::RecordRefundElsewhere {
        key: HoldKey::parse(&event.order_id, event.attempt)?,
        payment_id: PaymentId::parse(&event.payment_id)?,
        refund_id: RefundId::parse(&event.refund_id)?,
        amount: Money::from_wire("amount", event.amount.as_ref())?,
        note: format!("the provider reports it as {reference:?}, and nobody asked for it here"),
    })
}

fn of_dispute(event: payments::PaymentDisputed) -> Result<Command, Rejection> {
    let (dispute_id, dispute) = Dispute::from_wire(event.dispute)?;
    Ok(Command::RecordDispute {
        key: HoldKey::parse(&event.order_id, event.attempt)?,
        payment_id: PaymentId::parse(&event.payment_id)?,
        dispute_id,
        dispute,
    })
}

fn confirm(order_id: &str, attempt: i32, resource: Resource) -> Result<Vec<Command>, Rejection> {
    let key = HoldKey::parse(order_id, attempt)?;
    Ok(vec![Command::ConfirmHolds { key, resources: vec![resource], discount: None }])
}

fn refuse(
    order_id: &str,
    attempt: i32,
    resource: Resource,
    rejection: Option<common::Rejection>,
) -> Result<Vec<Command>, Rejection> {
    Ok(vec![Command::RefuseHold { key: HoldKey::parse(order_id, attempt)?, resource, rejection: told(rejection) }])
}

/// The other service's reason, fit for a table.
fn told(rejection: Option<common::Rejection>) -> Rejection {
    let Rejection { code, reason } = Rejection::from_wire(rejection);
    Rejection { code: words(&code).into(), reason: words(&reason) }
}

fn refund_participants(event: &rounds::RoundRefundsRequested) -> Result<Vec<Command>, Rejection> {
    let round_id = RoundId::parse(&event.round_id)?;
    let note = match rounds::RoundFailure::try_from(event.failure) {
        Ok(rounds::RoundFailure::Cancelled) => format!("round {round_id} was called off"),
        Ok(rounds::RoundFailure::NotSoldOut) => format!("round {round_id} closed with shares unsold"),
        Ok(rounds::RoundFailure::Unspecified) | Err(_) => format!("round {round_id} failed"),
    };
    let refund = |participant: &rounds::RoundParticipant| {
        let key = HoldKey::parse(&participant.order_id, participant.attempt)?;
        Ok(Command::RefundShares { key, round_id, note: note.clone() })
    };
    event.participants.iter().map(refund).collect()
}

#[cfg(test)]
mod tests;
