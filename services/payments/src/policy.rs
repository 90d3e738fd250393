//! What payments does about events of orders: its part of the saga.

use domain::{HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Timestamp, decode, unknown_type};
use proto::{Name, orders::v1 as orders};
use providers::registry::checkout;

use crate::command::Command;

/// Whether nobody is kept waiting if this is done a moment later: nobody is to pay any more.
pub(crate) const fn can_wait(command: &Command) -> bool {
    matches!(command, Command::CancelPayment { .. })
}

/// The commands that an event causes.
///
/// # Errors
/// The event is of an unknown type or malformed.
pub fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
    match message_type.strip_prefix("holdfast.orders.v1.") {
        Some(orders::OrderReserved::NAME) => {
            let orders::OrderReserved { order_id, attempt, amount, expires_at, payment_method } = decode(data)?;
            let key = HoldKey::parse(&order_id, attempt)?;
            Ok(vec![Command::RequestPayment {
                key,
                amount: Money::from_wire("amount", amount.as_ref())?,
                checkout: checkout(key.payment_id(), &payment_method),
                payment_method,
                expires_at: Timestamp::from_wire("expires_at", expires_at)?,
            }])
        }
        Some(orders::OrderExpired::NAME) => {
            let orders::OrderExpired { order_id, attempt, .. } = decode(data)?;
            cancel(&order_id, attempt)
        }
        Some(orders::OrderCancelled::NAME) => {
            let orders::OrderCancelled { order_id, attempt, .. } = decode(data)?;
            cancel(&order_id, attempt)
        }
        Some(orders::OrderRejected::NAME) => {
            let orders::OrderRejected { order_id, attempt, .. } = decode(data)?;
            cancel(&order_id, attempt)
        }
        Some(orders::RefundRequested::NAME) => {
            let orders::RefundRequested { order_id, refund_id, payment_id, amount, .. } = decode(data)?;
            Ok(vec![Command::BeginRefund {
                payment_id: PaymentId::parse(&payment_id)?,
                order_id: OrderId::parse(&order_id)?,
                refund_id: RefundId::parse(&refund_id)?,
                amount: Money::from_wire("amount", amount.as_ref())?,
            }])
        }
        Some(_) | None => Err(unknown_type("payments", message_type)),
    }
}

fn cancel(order_id: &str, attempt: i32) -> Result<Vec<Command>, Rejection> {
    Ok(vec![Command::CancelPayment { key: HoldKey::parse(order_id, attempt)? }])
}

#[cfg(test)]
mod tests {
    use domain::{Currency, HoldKey, Money, OrderId, RefundId, Timestamp};
    use proto::{Message, Name, common::v1::Money as WireMoney, orders::v1 as orders};
    use uuid::Uuid;

    use super::{checkout, react};
    use crate::command::Command;

    const ORDER: OrderId = OrderId(Uuid::from_u128(7));
    const KEY: HoldKey = HoldKey { order_id: ORDER, attempt: 2 };

    fn reaction<M: Message + Name>(event: &M) -> Vec<Command> {
        react(&M::full_name(), &event.encode_to_vec()).unwrap()
    }

    fn twelve_euros() -> Money {
        Money { minor_units: 1_200, currency: Currency::parse("EUR").unwrap() }
    }

    fn wire_money() -> Option<WireMoney> {
        Some(twelve_euros().to_wire())
    }

    #[test]
    fn a_reserved_order_is_asked_to_pay() {
        let expires_at = Timestamp::from_micros(5_000_000);
        let event = orders::OrderReserved {
            order_id: ORDER.to_string(),
            attempt: 2,
            amount: wire_money(),
            expires_at: Some(expires_at.to_wire()),
            payment_method: "card".to_owned(),
        };
        let asked = Command::RequestPayment {
            key: KEY,
            amount: twelve_euros(),
            checkout: checkout(KEY.payment_id(), "card"),
            payment_method: "card".to_owned(),
            expires_at,
        };
        assert_eq!(reaction(&event), vec![asked]);
    }

    #[test]
    fn a_closed_order_is_not_asked_any_more() {
        let order_id = ORDER.to_string();
        let cancelled = vec![Command::CancelPayment { key: KEY }];
        let expired = orders::OrderExpired { order_id: order_id.clone(), attempt: 2, ..Default::default() };
        assert_eq!(reaction(&expired), cancelled);
        let closed = orders::OrderCancelled { order_id: order_id.clone(), attempt: 2, ..Default::default() };
        assert_eq!(reaction(&closed), cancelled);
        let rejected = orders::OrderRejected { order_id, attempt: 2, ..Default::default() };
        assert_eq!(reaction(&rejected), cancelled);
    }

    #[test]
    fn a_requested_refund_is_begun() {
        let event = orders::RefundRequested {
            order_id: ORDER.to_string(),
            payment_id: KEY.payment_id().to_string(),
            refund_id: Uuid::from_u128(9).to_string(),
            amount: wire_money(),
            ..Default::default()
        };
        let refund_id = RefundId(Uuid::from_u128(9));
        let begun =
            Command::BeginRefund { payment_id: KEY.payment_id(), order_id: ORDER, refund_id, amount: twelve_euros() };
        assert_eq!(reaction(&event), vec![begun]);
    }

    #[test]
    fn refuses_an_event_that_it_does_not_know() {
        for message_type in ["holdfast.orders.v1.OrderPlaced", "holdfast.rounds.v1.RoundOpened", ""] {
            assert_eq!(react(message_type, &[]).unwrap_err().code, "UNKNOWN_TYPE");
        }
    }

    #[test]
    fn refuses_an_event_without_its_ids() {
        let event = orders::RefundRequested::default().encode_to_vec();
        assert_eq!(react("holdfast.orders.v1.RefundRequested", &event).unwrap_err().code, "INVALID_ID");
    }
}
