//! Words for the specs of this crate: round 1 has ten shares, and is open for an hour from now.

use std::time::Duration;

use domain::{Currency, HoldKey, Money, OrderId, RefundId, RoundId, Timestamp, spec::Spec};
use uuid::Uuid;

use super::State;
use crate::{
    Rounds,
    command::Command,
    draw::{Beacon, Bytes32, Proof, Terms, Tickets, seed},
    event::{BATCH_PAUSE, Event, Failure, Offer, Shares},
};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

impl Spec for State {
    type Rules = Rounds;

    fn time_of(&self, _command: &Command) -> Timestamp {
        NOW
    }
}

pub(crate) fn given(events: &[Event]) -> State {
    State::given(events)
}

pub(crate) fn round(id: u128) -> RoundId {
    RoundId(Uuid::from_u128(id))
}

pub(crate) fn order(id: u128) -> HoldKey {
    HoldKey { order_id: OrderId(Uuid::from_u128(id)), attempt: 1 }
}

pub(crate) fn refund(id: u128) -> RefundId {
    RefundId(Uuid::from_u128(id))
}

pub(crate) fn money(minor_units: i64, currency: &str) -> Money {
    Money { minor_units, currency: Currency::parse(currency).unwrap() }
}

pub(crate) fn offer() -> Offer {
    Offer { prize: "car".to_owned(), total_shares: 10, share_price: money(500, "EUR"), closes_at: NOW + HOUR }
}

pub(crate) fn shares(count: i64) -> Shares {
    Shares { round_id: round(1), count }
}

pub(crate) fn opened() -> Event {
    Event::RoundOpened { round_id: round(1), offer: offer(), actor: "ann".to_owned(), draw: None }
}

/// A round with a draw.
pub(crate) fn opened_with_a_draw() -> Event {
    Event::RoundOpened { round_id: round(1), offer: offer(), actor: "ann".to_owned(), draw: Some(terms()) }
}

pub(crate) fn the_seed() -> Bytes32 {
    seed("a secret of more than thirty-two characters", round(1))
}

/// What round 1 is drawn by.
pub(crate) fn proof() -> Proof {
    let beacon_value = Beacon::sandbox_value(1);
    Proof { seed: the_seed(), beacon_value, beacon_signature: String::new() }
}

pub(crate) fn terms() -> Terms {
    Terms { commitment: the_seed().commitment(), beacon: Beacon::Sandbox, delay_ms: 60_000 }
}

pub(crate) fn sold_out() -> Event {
    Event::RoundSoldOut { round_id: round(1), total_shares: 10, lists_at: None }
}

pub(crate) fn sold_out_to_be_drawn() -> Event {
    Event::RoundSoldOut { round_id: round(1), total_shares: 10, lists_at: Some(NOW + BATCH_PAUSE) }
}

/// The tickets of these orders.
pub(crate) fn listed(bought: &[(u128, i64)]) -> Event {
    let tickets = Tickets::of(round(1), bought.iter().map(|(id, count)| (order(*id), *count)));
    Event::RoundTicketsListed { round_id: round(1), listed: terms().list(&tickets, NOW), terms: terms() }
}

pub(crate) fn reopened() -> Event {
    Event::RoundReopened { round_id: round(1), closes_at: NOW + HOUR }
}

pub(crate) fn closed() -> Event {
    Event::RoundClosed { round_id: round(1), actor: "ann".to_owned(), note: "slow".to_owned(), closed_at: NOW }
}

pub(crate) fn cancelled() -> Event {
    let (actor, note) = ("ann".to_owned(), "no prize".to_owned());
    Event::RoundCancelled { round_id: round(1), actor, note, cancelled_at: NOW }
}

pub(crate) fn refunds(failure: Failure, orders: &[u128], next_batch_at: Option<Timestamp>) -> Event {
    let participants = orders.iter().copied().map(order).collect();
    Event::RoundRefundsRequested { round_id: round(1), failure, participants, next_batch_at }
}

pub(crate) fn held(id: u128, count: i64) -> Event {
    Event::SharesHeld { key: order(id), shares: shares(count) }
}

pub(crate) fn sold(id: u128, count: i64) -> Event {
    Event::SharesSold { key: order(id), shares: shares(count) }
}

pub(crate) fn returned(id: u128, count: i64) -> Event {
    Event::SharesReturned { key: order(id), shares: shares(count), refund_id: refund(id) }
}

/// An order that has paid for its shares.
pub(crate) fn bought(id: u128, count: i64) -> [Event; 2] {
    [held(id, count), sold(id, count)]
}
