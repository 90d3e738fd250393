//! What inventory does about events of orders: its part of the saga.

use domain::{HoldKey, Lines, RefundId, Rejection, decode, lines_from_wire, unknown_type};
use proto::{
    Name,
    common::v1::{ProductQuantity, Resource},
    orders::v1 as orders,
};

use crate::command::Command;

/// Whether nobody is kept waiting if this is done a moment later: what is sold, and what is free again.
pub(crate) const fn can_wait(command: &Command) -> bool {
    matches!(command, Command::Commit { .. } | Command::Release { .. } | Command::Return { .. })
}

/// The commands that an event causes. None: the order has nothing here.
///
/// # Errors
/// The event is of an unknown type or malformed.
pub fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
    match message_type.strip_prefix("holdfast.orders.v1.") {
        Some(orders::OrderPlaced::NAME) => {
            let orders::OrderPlaced { order_id, attempt, lines, .. } = decode(data)?;
            hold(HoldKey::parse(&order_id, attempt)?, lines)
        }
        Some(orders::OrderReinstated::NAME) => {
            let orders::OrderReinstated { order_id, attempt, lines, .. } = decode(data)?;
            hold(HoldKey::parse(&order_id, attempt)?, lines)
        }
        Some(orders::OrderPaid::NAME) => {
            let orders::OrderPaid { order_id, attempt, holds, .. } = decode(data)?;
            let key = HoldKey::parse(&order_id, attempt)?;
            Ok(if has_stock(&holds) { vec![Command::Commit { key }] } else { vec![] })
        }
        Some(orders::OrderExpired::NAME) => {
            let orders::OrderExpired { order_id, attempt, holds, .. } = decode(data)?;
            release(HoldKey::parse(&order_id, attempt)?, &holds)
        }
        Some(orders::OrderCancelled::NAME) => {
            let orders::OrderCancelled { order_id, attempt, holds, .. } = decode(data)?;
            release(HoldKey::parse(&order_id, attempt)?, &holds)
        }
        Some(orders::OrderRejected::NAME) => {
            let orders::OrderRejected { order_id, attempt, holds, .. } = decode(data)?;
            release(HoldKey::parse(&order_id, attempt)?, &holds)
        }
        Some(orders::OrderRefunded::NAME) => {
            let orders::OrderRefunded { order_id, attempt, refund_id, lines, .. } = decode(data)?;
            give_back(HoldKey::parse(&order_id, attempt)?, &refund_id, &lines)
        }
        Some(orders::OrderPartiallyRefunded::NAME) => {
            let orders::OrderPartiallyRefunded { order_id, attempt, refund_id, lines, .. } = decode(data)?;
            give_back(HoldKey::parse(&order_id, attempt)?, &refund_id, &lines)
        }
        Some(_) | None => Err(unknown_type("inventory", message_type)),
    }
}

fn hold(key: HoldKey, lines: Vec<orders::OrderLine>) -> Result<Vec<Command>, Rejection> {
    let pieces = |line: orders::OrderLine| ProductQuantity { sku: line.sku, quantity: line.quantity };
    let lines = lines_from_wire(&lines.into_iter().map(pieces).collect::<Vec<_>>())?;
    Ok(unless_empty(lines, |lines| Command::Hold { key, lines }))
}

fn release(key: HoldKey, holds: &[i32]) -> Result<Vec<Command>, Rejection> {
    Ok(if has_stock(holds) { vec![Command::Release { key }] } else { vec![] })
}

fn give_back(key: HoldKey, refund_id: &str, lines: &[ProductQuantity]) -> Result<Vec<Command>, Rejection> {
    let refund_id = RefundId::parse(refund_id)?;
    Ok(unless_empty(lines_from_wire(lines)?, |lines| Command::Return { key, refund_id, lines }))
}

/// A close names what the order held, for it may overtake the event that asked for the hold.
fn has_stock(holds: &[i32]) -> bool {
    holds.contains(&i32::from(Resource::Stock))
}

fn unless_empty(lines: Lines, command: impl FnOnce(Lines) -> Command) -> Vec<Command> {
    if lines.is_empty() { vec![] } else { vec![command(lines)] }
}

#[cfg(test)]
mod tests {
    use domain::{Decider, Rejection};
    use proto::{
        Message, Name,
        common::v1::{ProductQuantity, Resource},
        orders::v1 as orders,
    };

    use super::react;
    use crate::{
        Inventory,
        command::Command,
        stock::spec::{lines, order, refund},
    };

    /// What an order asked for: stock and shares, and shares only.
    fn holds() -> (Vec<i32>, Vec<i32>) {
        let (stock, shares) = (Resource::Stock.into(), Resource::Shares.into());
        (vec![shares, stock], vec![shares])
    }

    fn on<M: Message + Name>(event: &M) -> Result<Vec<Command>, Rejection> {
        react(&M::full_name(), &event.encode_to_vec())
    }

    fn order_id() -> String {
        order(1).order_id.to_string()
    }

    fn bought(pieces: &[(&str, i64)]) -> Vec<orders::OrderLine> {
        let line = |(sku, quantity): &(&str, i64)| orders::OrderLine {
            sku: (*sku).to_owned(),
            quantity: *quantity,
            unit_price: None,
        };
        pieces.iter().map(line).collect()
    }

    #[test]
    fn a_placed_order_holds_its_lines_summed_by_product() {
        let placed = orders::OrderPlaced {
            order_id: order_id(),
            attempt: 1,
            lines: bought(&[("mug", 1), ("cup", 2), ("mug", 3)]),
            ..Default::default()
        };
        let hold = Command::Hold { key: order(1), lines: lines(&[("cup", 2), ("mug", 4)]) };
        assert_eq!(on(&placed), Ok(vec![hold]));
    }

    #[test]
    fn a_reinstated_order_holds_its_lines_for_the_new_attempt() {
        let reinstated = orders::OrderReinstated {
            order_id: order_id(),
            attempt: 2,
            lines: bought(&[("mug", 1)]),
            ..Default::default()
        };
        assert_eq!(on(&reinstated), Ok(vec![Command::Hold { key: order(2), lines: lines(&[("mug", 1)]) }]));
    }

    #[test]
    fn an_order_without_lines_is_none_of_its_business() {
        assert_eq!(on(&orders::OrderPlaced { order_id: order_id(), attempt: 1, ..Default::default() }), Ok(vec![]));
        assert_eq!(on(&orders::OrderReinstated { order_id: order_id(), attempt: 2, ..Default::default() }), Ok(vec![]));
    }

    #[test]
    fn a_paid_order_commits_if_it_holds_stock() {
        let (with_stock, without) = holds();
        let paid = orders::OrderPaid { order_id: order_id(), attempt: 1, holds: with_stock, ..Default::default() };
        assert_eq!(on(&paid), Ok(vec![Command::Commit { key: order(1) }]));
        assert_eq!(on(&orders::OrderPaid { holds: without, ..paid }), Ok(vec![]));
    }

    #[test]
    fn an_expired_order_releases_if_it_asked_for_stock() {
        let (with_stock, without) = holds();
        let expired =
            orders::OrderExpired { order_id: order_id(), attempt: 1, holds: with_stock, ..Default::default() };
        assert_eq!(on(&expired), Ok(vec![Command::Release { key: order(1) }]));
        assert_eq!(on(&orders::OrderExpired { holds: without, ..expired }), Ok(vec![]));
    }

    #[test]
    fn a_cancelled_order_releases_if_it_asked_for_stock() {
        let (with_stock, without) = holds();
        let cancelled =
            orders::OrderCancelled { order_id: order_id(), attempt: 1, holds: with_stock, ..Default::default() };
        assert_eq!(on(&cancelled), Ok(vec![Command::Release { key: order(1) }]));
        assert_eq!(on(&orders::OrderCancelled { holds: without, ..cancelled }), Ok(vec![]));
    }

    #[test]
    fn a_rejected_order_releases_if_it_asked_for_stock() {
        let (with_stock, without) = holds();
        let rejected =
            orders::OrderRejected { order_id: order_id(), attempt: 1, holds: with_stock, ..Default::default() };
        assert_eq!(on(&rejected), Ok(vec![Command::Release { key: order(1) }]));
        assert_eq!(on(&orders::OrderRejected { holds: without, ..rejected }), Ok(vec![]));
    }

    #[test]
    fn a_refund_returns_the_products_that_come_back_with_it() {
        let (refund_id, back) = (refund(9).to_string(), vec![ProductQuantity { sku: "mug".to_owned(), quantity: 2 }]);
        let give_back = Command::Return { key: order(1), refund_id: refund(9), lines: lines(&[("mug", 2)]) };
        let all = orders::OrderRefunded {
            order_id: order_id(),
            attempt: 1,
            refund_id: refund_id.clone(),
            lines: back.clone(),
            ..Default::default()
        };
        let part = orders::OrderPartiallyRefunded {
            order_id: order_id(),
            attempt: 1,
            refund_id: refund_id.clone(),
            lines: back,
            ..Default::default()
        };
        assert_eq!(on(&all), Ok(vec![give_back.clone()]));
        assert_eq!(on(&part), Ok(vec![give_back]));
        assert_eq!(on(&orders::OrderRefunded { lines: vec![], ..all }), Ok(vec![]));
    }

    #[test]
    fn refuses_every_event_that_is_malformed() {
        for message_type in Inventory::REACTS_TO {
            assert_eq!(react(message_type, b"\x0a\xff").unwrap_err().code, "UNDECODABLE", "{message_type}");
            assert_eq!(react(message_type, b"").unwrap_err().code, "INVALID_ATTEMPT", "{message_type}");
        }
        let no_sku =
            orders::OrderPlaced { order_id: order_id(), attempt: 1, lines: bought(&[("", 1)]), ..Default::default() };
        assert_eq!(on(&no_sku).unwrap_err().code, "INVALID_SKU");
        let no_pieces = orders::OrderPlaced {
            order_id: order_id(),
            attempt: 1,
            lines: bought(&[("mug", 0)]),
            ..Default::default()
        };
        assert_eq!(on(&no_pieces).unwrap_err().code, "INVALID_QUANTITY");
    }

    #[test]
    fn refuses_an_event_that_it_does_not_know() {
        assert_eq!(on(&orders::OrderReleased::default()).unwrap_err().code, "UNKNOWN_TYPE");
    }
}
