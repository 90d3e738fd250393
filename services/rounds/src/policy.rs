//! What rounds does about events of orders: its part of the saga.

use domain::{HoldKey, Money, RefundId, Rejection, RoundId, decode, unknown_type};
use proto::{Name, common::v1::Resource, orders::v1 as orders};

use crate::{
    command::{Command, Purchase},
    wire::share_count,
};

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
            let orders::OrderPlaced { order_id, attempt, shares, .. } = decode(data)?;
            hold(HoldKey::parse(&order_id, attempt)?, shares)
        }
        Some(orders::OrderReinstated::NAME) => {
            let orders::OrderReinstated { order_id, attempt, shares, .. } = decode(data)?;
            hold(HoldKey::parse(&order_id, attempt)?, shares)
        }
        Some(orders::OrderPaid::NAME) => {
            let orders::OrderPaid { order_id, attempt, holds, .. } = decode(data)?;
            let key = HoldKey::parse(&order_id, attempt)?;
            Ok(if has_shares(&holds) { vec![Command::Commit { key }] } else { vec![] })
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
            let orders::OrderRefunded { order_id, attempt, refund_id, return_shares, .. } = decode(data)?;
            give_back(HoldKey::parse(&order_id, attempt)?, &refund_id, return_shares)
        }
        Some(orders::OrderPartiallyRefunded::NAME) => {
            let orders::OrderPartiallyRefunded { order_id, attempt, refund_id, return_shares, .. } = decode(data)?;
            give_back(HoldKey::parse(&order_id, attempt)?, &refund_id, return_shares)
        }
        Some(_) | None => Err(unknown_type("rounds", message_type)),
    }
}

fn hold(key: HoldKey, shares: Option<orders::SharePurchase>) -> Result<Vec<Command>, Rejection> {
    let Some(orders::SharePurchase { round_id, count, unit_price }) = shares else {
        return Ok(vec![]);
    };
    let purchase = Purchase {
        round_id: RoundId::parse(&round_id)?,
        count: share_count("shares.count", count)?,
        unit_price: Money::from_wire("shares.unit_price", unit_price.as_ref())?,
    };
    Ok(vec![Command::Hold { key, purchase }])
}

fn release(key: HoldKey, holds: &[i32]) -> Result<Vec<Command>, Rejection> {
    Ok(if has_shares(holds) { vec![Command::Release { key }] } else { vec![] })
}

fn give_back(key: HoldKey, refund_id: &str, return_shares: bool) -> Result<Vec<Command>, Rejection> {
    let refund_id = RefundId::parse(refund_id)?;
    Ok(if return_shares { vec![Command::Return { key, refund_id }] } else { vec![] })
}

/// A close names what the order held, for it may overtake the event that asked for the hold.
fn has_shares(holds: &[i32]) -> bool {
    holds.contains(&i32::from(Resource::Shares))
}

#[cfg(test)]
mod tests {
    use domain::{Decider, Rejection};
    use proto::{Message, Name, common::v1::Resource, orders::v1 as orders};

    use super::react;
    use crate::{
        Rounds,
        command::{Command, Purchase},
        round::spec::{money, order, refund, round},
    };

    const BOTH: [Resource; 2] = [Resource::Stock, Resource::Shares];
    const STOCK: [Resource; 1] = [Resource::Stock];

    fn on<M: Message + Name>(event: &M) -> Result<Vec<Command>, Rejection> {
        react(&M::full_name(), &event.encode_to_vec())
    }

    fn order_id() -> String {
        order(1).order_id.to_string()
    }

    fn wanted(count: i64) -> Option<orders::SharePurchase> {
        let unit_price = Some(money(500, "EUR").to_wire());
        Some(orders::SharePurchase { round_id: round(1).to_string(), count, unit_price })
    }

    fn holds(resources: &[Resource]) -> Vec<i32> {
        resources.iter().copied().map(i32::from).collect()
    }

    fn purchase(count: i64) -> Purchase {
        Purchase { round_id: round(1), count, unit_price: money(500, "EUR") }
    }

    #[test]
    fn a_placed_order_holds_its_shares() {
        let placed = orders::OrderPlaced { order_id: order_id(), attempt: 1, shares: wanted(3), ..Default::default() };
        assert_eq!(on(&placed), Ok(vec![Command::Hold { key: order(1), purchase: purchase(3) }]));
    }

    #[test]
    fn a_reinstated_order_holds_its_shares_for_the_new_attempt() {
        let reinstated =
            orders::OrderReinstated { order_id: order_id(), attempt: 2, shares: wanted(1), ..Default::default() };
        let key = domain::HoldKey { attempt: 2, ..order(1) };
        assert_eq!(on(&reinstated), Ok(vec![Command::Hold { key, purchase: purchase(1) }]));
    }

    #[test]
    fn an_order_without_shares_is_none_of_its_business() {
        assert_eq!(on(&orders::OrderPlaced { order_id: order_id(), attempt: 1, ..Default::default() }), Ok(vec![]));
        assert_eq!(on(&orders::OrderReinstated { order_id: order_id(), attempt: 2, ..Default::default() }), Ok(vec![]));
    }

    #[test]
    fn a_paid_order_commits_if_it_holds_shares() {
        let paid = |resources: &[Resource]| orders::OrderPaid {
            order_id: order_id(),
            attempt: 1,
            holds: holds(resources),
            ..Default::default()
        };
        assert_eq!(on(&paid(&BOTH)), Ok(vec![Command::Commit { key: order(1) }]));
        assert_eq!(on(&paid(&STOCK)), Ok(vec![]));
    }

    #[test]
    fn an_expired_order_releases_if_it_asked_for_shares() {
        let expired = |resources: &[Resource]| orders::OrderExpired {
            order_id: order_id(),
            attempt: 1,
            holds: holds(resources),
            ..Default::default()
        };
        assert_eq!(on(&expired(&BOTH)), Ok(vec![Command::Release { key: order(1) }]));
        assert_eq!(on(&expired(&STOCK)), Ok(vec![]));
    }

    #[test]
    fn a_cancelled_order_releases_if_it_asked_for_shares() {
        let cancelled = |resources: &[Resource]| orders::OrderCancelled {
            order_id: order_id(),
            attempt: 1,
            holds: holds(resources),
            ..Default::default()
        };
        assert_eq!(on(&cancelled(&BOTH)), Ok(vec![Command::Release { key: order(1) }]));
        assert_eq!(on(&cancelled(&STOCK)), Ok(vec![]));
    }

    #[test]
    fn a_rejected_order_releases_if_it_asked_for_shares() {
        let rejected = |resources: &[Resource]| orders::OrderRejected {
            order_id: order_id(),
            attempt: 1,
            holds: holds(resources),
            ..Default::default()
        };
        assert_eq!(on(&rejected(&BOTH)), Ok(vec![Command::Release { key: order(1) }]));
        assert_eq!(on(&rejected(&STOCK)), Ok(vec![]));
    }

    #[test]
    fn a_refund_returns_the_shares_if_they_come_back_with_it() {
        let all = |return_shares| orders::OrderRefunded {
            order_id: order_id(),
            attempt: 1,
            refund_id: refund(9).to_string(),
            return_shares,
            ..Default::default()
        };
        let part = |return_shares| orders::OrderPartiallyRefunded {
            order_id: order_id(),
            attempt: 1,
            refund_id: refund(9).to_string(),
            return_shares,
            ..Default::default()
        };
        let give_back = Command::Return { key: order(1), refund_id: refund(9) };
        assert_eq!(on(&all(true)), Ok(vec![give_back.clone()]));
        assert_eq!(on(&part(true)), Ok(vec![give_back]));
        assert_eq!(on(&all(false)), Ok(vec![]));
        assert_eq!(on(&part(false)), Ok(vec![]));
    }

    #[test]
    fn refuses_every_event_that_is_malformed() {
        for message_type in Rounds::REACTS_TO {
            assert_eq!(react(message_type, b"\x0a\xff").unwrap_err().code, "UNDECODABLE", "{message_type}");
            assert_eq!(react(message_type, b"").unwrap_err().code, "INVALID_ATTEMPT", "{message_type}");
        }
        let code = |shares| {
            let placed = orders::OrderPlaced { order_id: order_id(), attempt: 1, shares, ..Default::default() };
            on(&placed).unwrap_err().code
        };
        let unpriced = orders::SharePurchase { unit_price: None, ..wanted(1).unwrap_or_default() };
        assert_eq!(code(Some(unpriced)), "INVALID_AMOUNT");
        assert_eq!(code(Some(orders::SharePurchase::default())), "INVALID_ID");
        for count in [0, -1, i64::MAX] {
            assert_eq!(code(wanted(count)), "INVALID_QUANTITY");
        }
    }

    #[test]
    fn refuses_an_event_that_it_does_not_know() {
        assert_eq!(on(&orders::OrderReleased::default()).unwrap_err().code, "UNKNOWN_TYPE");
        assert_eq!(react("holdfast.rounds.v1.OrderPlaced", b"").unwrap_err().code, "UNKNOWN_TYPE");
    }
}
