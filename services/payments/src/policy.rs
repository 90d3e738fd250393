//! What payments does about events of orders: its part of the saga.

use domain::{
    CouponCode, HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Sku, Timestamp, decode, unknown_type,
};
use proto::{Name, common::v1 as common, orders::v1 as orders};
use providers::registry::checkout;

use crate::{
    command::{Command, CouponCommand},
    coupon::{Item, Purchase},
    payment::authorisation::Decision,
};

/// Whether nobody is kept waiting if this is done a moment later: nobody is to pay any more, or the use of a coupon is used up or free.
pub(crate) const fn can_wait(command: &Command) -> bool {
    matches!(
        command,
        Command::CancelPayment { .. } | Command::Coupon(CouponCommand::Redeem { .. } | CouponCommand::Release { .. })
    )
}

/// The commands that an event causes.
///
/// # Errors
/// The event is of an unknown type or malformed.
pub fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
    match message_type.strip_prefix("holdfast.orders.v1.") {
        Some(orders::OrderReserved::NAME) => {
            let event: orders::OrderReserved = decode(data)?;
            let key = HoldKey::parse(&event.order_id, event.attempt)?;
            Ok(vec![Command::RequestPayment {
                key,
                amount: Money::from_wire("amount", event.amount.as_ref())?,
                checkout: checkout(key.payment_id(), &event.payment_method),
                payment_method: event.payment_method,
                order_reference: Some(event.reference).filter(|reference| !reference.is_empty()),
                expires_at: Timestamp::from_wire("expires_at", event.expires_at)?,
            }])
        }
        Some(orders::OrderExpired::NAME) => {
            let orders::OrderExpired { order_id, attempt, holds, .. } = decode(data)?;
            cancel(&order_id, attempt, &holds)
        }
        Some(orders::OrderCancelled::NAME) => {
            let orders::OrderCancelled { order_id, attempt, holds, .. } = decode(data)?;
            cancel(&order_id, attempt, &holds)
        }
        Some(orders::OrderRejected::NAME) => {
            let orders::OrderRejected { order_id, attempt, holds, .. } = decode(data)?;
            cancel(&order_id, attempt, &holds)
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
        Some(orders::CaptureRequested::NAME) => {
            let orders::CaptureRequested { payment_id, .. } = decode(data)?;
            decided(&payment_id, Decision::Capture)
        }
        Some(orders::VoidRequested::NAME) => {
            let orders::VoidRequested { payment_id, .. } = decode(data)?;
            decided(&payment_id, Decision::Void)
        }
        Some(orders::CouponRequested::NAME) => {
            let event: orders::CouponRequested = decode(data)?;
            let key = HoldKey::parse(&event.order_id, event.attempt)?;
            Ok(vec![Command::Coupon(CouponCommand::Hold { key, purchase: purchase(event)? })])
        }
        Some(orders::RedemptionRequested::NAME) => {
            let orders::RedemptionRequested { order_id, attempt, .. } = decode(data)?;
            let key = HoldKey::parse(&order_id, attempt)?;
            Ok(vec![Command::Coupon(CouponCommand::Redeem { key })])
        }
        Some(_) | None => Err(unknown_type("payments", message_type)),
    }
}

fn decided(payment_id: &str, decision: Decision) -> Result<Vec<Command>, Rejection> {
    Ok(vec![Command::DecideAuthorisation { payment_id: PaymentId::parse(payment_id)?, decision }])
}

/// A close names what the order held, for it may overtake the event that asked for the hold.
fn cancel(order_id: &str, attempt: i32, holds: &[i32]) -> Result<Vec<Command>, Rejection> {
    let key = HoldKey::parse(order_id, attempt)?;
    let has_coupon = holds.contains(&i32::from(common::Resource::Coupon));
    let release = has_coupon.then_some(Command::Coupon(CouponCommand::Release { key }));
    Ok(std::iter::once(Command::CancelPayment { key }).chain(release).collect())
}

fn purchase(event: orders::CouponRequested) -> Result<Purchase, Rejection> {
    let mut currency = None;
    let mut price = |field: &str, unit_price: Option<&common::Money>, count: i64| {
        let unit = Money::from_wire(field, unit_price)?;
        currency = Some(unit.currency);
        let price = unit.minor_units.checked_mul(count).filter(|price| (0..=domain::AMOUNT_MAX).contains(price));
        price.ok_or_else(|| Rejection::new("INVALID_AMOUNT", format!("{count} for {unit} each cost too much")))
    };
    let line = |line: &orders::OrderLine| {
        let price = price("lines.unit_price", line.unit_price.as_ref(), line.quantity)?;
        Ok(Item { sku: Sku::parse(&line.sku)?, price })
    };
    let lines = event.lines.iter().map(line).collect::<Result<Vec<Item>, Rejection>>()?;
    let shares = match &event.shares {
        Some(shares) => price("shares.unit_price", shares.unit_price.as_ref(), shares.count)?,
        None => 0,
    };
    let nothing = || Rejection::new("INVALID_AMOUNT", "a discount on nothing was asked for");
    Ok(Purchase {
        code: CouponCode::parse(&event.coupon_code)?,
        customer_id: event.customer_id,
        currency: currency.ok_or_else(nothing)?,
        lines,
        shares,
        payment_method: event.payment_method,
    })
}

#[cfg(test)]
mod tests {
    use domain::{Currency, HoldKey, Money, OrderId, RefundId, Timestamp};
    use proto::{Message, Name, common::v1::Money as WireMoney, orders::v1 as orders};
    use uuid::Uuid;

    use super::{CouponCode, CouponCommand, Decision, Item, Purchase, Sku, checkout, common, react};
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
            discount: None,
            reference: "R-1001".to_owned(),
        };
        let asked = |order_reference| Command::RequestPayment {
            key: KEY,
            amount: twelve_euros(),
            checkout: checkout(KEY.payment_id(), "card"),
            payment_method: "card".to_owned(),
            order_reference,
            expires_at,
        };
        assert_eq!(reaction(&event), vec![asked(Some("R-1001".to_owned()))]);
        let without = orders::OrderReserved { reference: String::new(), ..event };
        assert_eq!(reaction(&without), vec![asked(None)], "one without, and one of an older release");
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
    fn a_closed_order_frees_its_coupon_if_it_asked_for_one() {
        let closed = orders::OrderCancelled {
            order_id: ORDER.to_string(),
            attempt: 2,
            holds: vec![common::Resource::Stock.into(), common::Resource::Coupon.into()],
            ..Default::default()
        };
        let release = Command::Coupon(CouponCommand::Release { key: KEY });
        assert_eq!(reaction(&closed), vec![Command::CancelPayment { key: KEY }, release]);
    }

    #[test]
    fn an_order_that_asks_for_a_coupon_has_it_held_and_redeemed() {
        let price = |minor_units| Some(WireMoney { minor_units, currency: "EUR".to_owned() });
        let line = orders::OrderLine { sku: "mug".to_owned(), quantity: 3, unit_price: price(450) };
        let requested = orders::CouponRequested {
            order_id: ORDER.to_string(),
            attempt: 2,
            coupon_code: "SPRING".to_owned(),
            customer_id: "ada".to_owned(),
            lines: vec![line],
            shares: Some(orders::SharePurchase { count: 2, unit_price: price(500), ..Default::default() }),
            payment_method: "card".to_owned(),
        };
        let purchase = Purchase {
            code: CouponCode::parse("SPRING").unwrap(),
            customer_id: "ada".to_owned(),
            currency: Currency::parse("EUR").unwrap(),
            lines: vec![Item { sku: Sku::parse("mug").unwrap(), price: 1_350 }],
            shares: 1_000,
            payment_method: "card".to_owned(),
        };
        assert_eq!(reaction(&requested), vec![Command::Coupon(CouponCommand::Hold { key: KEY, purchase })]);
        let event =
            orders::RedemptionRequested { order_id: ORDER.to_string(), attempt: 2, coupon_code: "SPRING".to_owned() };
        assert_eq!(reaction(&event), vec![Command::Coupon(CouponCommand::Redeem { key: KEY })]);
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
    fn what_orders_decides_about_money_that_is_set_aside_is_done() {
        let (order_id, payment_id) = (ORDER.to_string(), KEY.payment_id().to_string());
        let capture = orders::CaptureRequested {
            order_id: order_id.clone(),
            attempt: 2,
            payment_id: payment_id.clone(),
            amount: wire_money(),
        };
        let decided = |decision| vec![Command::DecideAuthorisation { payment_id: KEY.payment_id(), decision }];
        assert_eq!(reaction(&capture), decided(Decision::Capture));
        let void = orders::VoidRequested { order_id, attempt: 2, payment_id, note: "late".to_owned() };
        assert_eq!(reaction(&void), decided(Decision::Void));
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
