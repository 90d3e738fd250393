//! Rounds that are sold out, open again or over: what the ledger finds, and that it finds nothing where all is right.

use domain::Timestamp;
use proto::{Message, rounds::v1 as rounds};
use runtime::log::event_store::StoredEvent;
use uuid::Uuid;

use super::{LogBuilder, SECOND, round, time};
use crate::report::Check;

/// A round of three shares that closes in the hundredth second, all of them sold to the order.
fn sold_out() -> LogBuilder {
    let mut story = LogBuilder::placed();
    let other = |event: &StoredEvent| event.message_type.ends_with(".RoundOpened");
    let opened = rounds::RoundOpened { round_id: round(), total_shares: 3, closes_at: time(100), ..Default::default() };
    story.events.iter_mut().filter(|event| other(event)).for_each(|event| event.data = opened.encode_to_vec());
    story.all_held().paid().then(&rounds::RoundSoldOut { round_id: round(), total_shares: 3, lists_at: None })
}

fn reopened() -> rounds::RoundReopened {
    rounds::RoundReopened { round_id: round(), closes_at: time(100) }
}

#[test]
fn nothing_is_wrong_with_a_round_that_is_sold_out_or_open_again_or_got_a_share_back_after_its_closing_time() {
    assert_eq!(sold_out().found_after(3_600), []);
    assert_eq!(sold_out().refunded().then(&reopened()).found_after(11), []);
    let closed = rounds::RoundClosed { round_id: round(), ..Default::default() };
    assert_eq!(sold_out().refunded().then(&reopened()).then(&closed).found_after(3_600), []);
    let cancelled = rounds::RoundCancelled { round_id: round(), ..Default::default() };
    assert_eq!(sold_out().refunded().then(&cancelled).found_after(3_600), []);
    let mut late = sold_out().refunded();
    let last = late.events.last_mut().unwrap();
    last.recorded_at = Timestamp::from_micros(100 * SECOND);
    assert_eq!(late.found_after(3_600), []);
}

#[test]
fn finds_a_round_that_counts_as_sold_out_although_a_share_came_back() {
    assert_eq!(sold_out().refunded().found_after(9), []);
    sold_out().refunded().finds_after(11, Check::Shares, "round-", "it counts as sold out: 0 of 3 are sold");
}

#[test]
fn finds_a_round_that_stands_otherwise_than_its_shares_say() {
    let soon = || LogBuilder::placed().all_held().paid();
    let is_sold_out = rounds::RoundSoldOut { round_id: round(), total_shares: 10, lists_at: None };
    soon().then(&is_sold_out).finds(Check::Shares, "round-", "sold out with 3 sold of 10");
    sold_out().then(&is_sold_out).finds(Check::Shares, "round-", "sold_out although it is sold_out");
    sold_out().then(&reopened()).finds(Check::Shares, "round-", "open again with every share sold");
    soon().then(&reopened()).finds(Check::Shares, "round-", "open although it is open");
    let closed = rounds::RoundClosed { round_id: round(), ..Default::default() };
    sold_out().then(&closed).finds(Check::Shares, "round-", "closed although it is sold_out");
    let mut unsaid = sold_out();
    unsaid.events.pop();
    unsaid.finds_after(11, Check::Shares, "round-", "does not count as sold out");
    sold_out().refunded().then(&reopened()).finds_after(3_600, Check::Shares, "round-", "was to close");
    let mut late = sold_out().refunded().then(&reopened());
    late.events.last_mut().unwrap().recorded_at = Timestamp::from_micros(100 * SECOND);
    late.finds(Check::Shares, "round-", "was sold out at its closing time");
}

#[test]
fn finds_shares_held_of_a_round_that_is_not_open() {
    let order_id = Uuid::from_u128(20).to_string();
    let held = rounds::SharesHeld { order_id, attempt: 1, round_id: round(), count: 1 };
    let closed = rounds::RoundClosed { round_id: round(), ..Default::default() };
    LogBuilder::placed().then(&closed).then(&held).finds(Check::Shares, "shares-", "held of a round that is closed");
    let back = sold_out().refunded();
    back.then(&held).finds(Check::Shares, "shares-", "held of a round that is sold_out");
}

/// All tickets of that round, drawn by what is published in the thirtieth second.
fn listed(tickets: i64) -> rounds::RoundTicketsListed {
    rounds::RoundTicketsListed { round_id: round(), tickets, draws_at: time(30), ..Default::default() }
}

fn drawn() -> rounds::RoundDrawn {
    rounds::RoundDrawn { round_id: round(), ticket: 1, ..Default::default() }
}

/// The last event was in this second.
fn in_second(mut story: LogBuilder, second: i64) -> LogBuilder {
    story.events.last_mut().unwrap().recorded_at = Timestamp::from_micros(second * SECOND);
    story
}

#[test]
fn nothing_is_wrong_with_a_round_that_is_drawn_even_if_a_share_comes_back_between() {
    assert_eq!(in_second(sold_out().then(&listed(3)).then(&drawn()), 30).found_after(3_600), []);
    assert_eq!(sold_out().then(&listed(3)).refunded().found_after(3_600), []);
}

#[test]
fn finds_a_draw_that_does_not_follow_the_rules() {
    sold_out().then(&listed(2)).finds(Check::Shares, "round-", "2 tickets are listed, and 3 shares are sold");
    sold_out().then(&listed(3)).then(&listed(3)).finds(Check::Shares, "round-", "listed twice");
    LogBuilder::placed().all_held().paid().then(&listed(3)).finds(
        Check::Shares,
        "round-",
        "listed although it is open",
    );
    sold_out().then(&listed(3)).refunded().then(&reopened()).finds(Check::Shares, "round-", "its tickets were listed");
    sold_out().then(&drawn()).finds(Check::Shares, "round-", "without a list");
    sold_out().then(&listed(3)).then(&drawn()).finds(Check::Shares, "round-", "when nobody can know");
    let twice = in_second(in_second(sold_out().then(&listed(3)).then(&drawn()), 30).then(&drawn()), 31);
    twice.finds(Check::Shares, "round-", "drawn twice");
}
