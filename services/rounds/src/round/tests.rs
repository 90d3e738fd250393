//! The rules of rounds, one test each.

use std::time::Duration;

use domain::{DecideError, Decider, Timer, spec::Spec as _};

use super::{
    BATCH_MAX, OPEN_DAYS_MAX, Round, RoundStatus, State, decide, evolve,
    spec::{
        HOUR, NOW, bought, cancelled, closed, given, held, money, offer, opened, order, refunds, reopened, returned,
        round, sold, sold_out,
    },
};
use crate::{
    Rounds,
    command::Command,
    event::{BATCH_PAUSE, Event, Failure, Offer},
};

fn open(offer: Offer) -> Command {
    Command::OpenRound { round_id: round(1), offer, actor: "ann".to_owned(), draw: None }
}

fn close() -> Command {
    Command::CloseRound { round_id: round(1), actor: "ann".to_owned(), note: "slow".to_owned() }
}

fn cancel() -> Command {
    Command::CancelRound { round_id: round(1), actor: "ann".to_owned(), note: "no prize".to_owned() }
}

fn advance() -> Command {
    Command::Advance { round_id: round(1) }
}

fn after(events: &[&[Event]]) -> State {
    given(&events.concat())
}

fn first(state: &State) -> &Round {
    state.rounds.get(&round(1)).unwrap()
}

#[test]
fn opens_a_round_for_sale() {
    assert_eq!(given(&[]).when(&open(offer())), Ok(vec![opened()]));
    assert_eq!(first(&given(&[opened()])).status, RoundStatus::Open);
}

#[test]
fn opening_again_with_the_same_offer_changes_nothing_even_when_it_is_over() {
    assert_eq!(given(&[opened()]).when(&open(offer())), Ok(vec![]));
    assert_eq!(decide(&given(&[opened(), closed()]), &open(offer()), NOW + 2 * HOUR), Ok(vec![]));
}

#[test]
fn refuses_another_offer_for_a_round() {
    let others = [
        Offer { prize: "boat".to_owned(), ..offer() },
        Offer { total_shares: 11, ..offer() },
        Offer { share_price: money(501, "EUR"), ..offer() },
        Offer { closes_at: NOW + 2 * HOUR, ..offer() },
    ];
    for other in others {
        assert_eq!(given(&[opened()]).refuses(&open(other), &["\"car\"", "10 shares", "round_id"]), "ROUND_EXISTS");
    }
}

#[test]
fn refuses_a_closing_time_that_is_past_or_too_far_ahead() {
    let latest = NOW + Duration::from_hours(24 * OPEN_DAYS_MAX);
    for closes_at in [NOW, latest + Duration::from_micros(1)] {
        let asked = closes_at.to_string();
        let state = given(&[]);
        assert_eq!(state.refuses(&open(Offer { closes_at, ..offer() }), &["366 days", &asked]), "INVALID_TIME");
    }
    for closes_at in [NOW + Duration::from_micros(1), latest] {
        assert!(given(&[]).when(&open(Offer { closes_at, ..offer() })).is_ok());
    }
}

#[test]
fn closes_an_open_round_once() {
    assert_eq!(given(&[opened()]).when(&close()), Ok(vec![closed()]));
    assert_eq!(given(&[opened(), closed()]).when(&close()), Ok(vec![]));
}

#[test]
fn refuses_to_close_a_round_that_is_sold_out_or_cancelled() {
    let all = bought(1, 10);
    assert_eq!(
        after(&[&[opened()], &all, &[sold_out()]]).refuses(&close(), &["is sold out", "cancel it"]),
        "ROUND_NOT_OPEN"
    );
    assert_eq!(given(&[opened(), cancelled()]).refuses(&close(), &["is cancelled"]), "ROUND_NOT_OPEN");
}

#[test]
fn closes_a_round_that_was_sold_out_until_a_share_came_back() {
    let sales = [&[opened()], &bought(1, 4)[..], &bought(2, 6), &[sold_out(), returned(2, 6), reopened()]].concat();
    assert_eq!(given(&sales).when(&close()), Ok(vec![closed()]));
    let closed = [&sales[..], &[closed()]].concat();
    assert_eq!(given(&closed).when(&advance()), Ok(vec![refunds(Failure::NotSoldOut, &[1], None)]));
}

#[test]
fn a_round_that_was_sold_out_until_a_share_came_back_closes_when_the_closing_time_comes() {
    let sales = [&[opened()], &bought(1, 4)[..], &bought(2, 6), &[sold_out(), returned(2, 6), reopened()]].concat();
    let events = decide(&given(&sales), &advance(), NOW + HOUR).unwrap();
    assert!(matches!(&*events, [Event::RoundClosed { note, .. }] if note.contains("4 of 10")), "{events:?}");
}

#[test]
fn a_sold_out_round_whose_closing_time_is_past_refuses_to_close_and_says_what_holds() {
    let late = after(&[&[opened()], &bought(1, 4), &bought(2, 6), &[sold_out(), returned(2, 6)]]);
    match decide(&late, &close(), NOW + HOUR) {
        Err(DecideError::Rejected(rejection)) => {
            assert_eq!(rejection.code, "ROUND_NOT_OPEN");
            assert!(rejection.reason.contains("was sold out at its closing time"), "{rejection}");
            assert!(rejection.reason.contains("cancel it"), "{rejection}");
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(late.when(&cancel()), Ok(vec![cancelled()]));
}

#[test]
fn a_round_that_an_older_worker_left_sold_out_without_all_shares_sold_can_be_closed() {
    let left = after(&[&[opened()], &bought(1, 4), &bought(2, 6), &[sold_out(), returned(2, 6)]]);
    assert_eq!(left.when(&close()), Ok(vec![reopened(), closed()]));
}

#[test]
fn cancels_a_round_that_is_open_or_sold_out_once() {
    assert_eq!(given(&[opened()]).when(&cancel()), Ok(vec![cancelled()]));
    assert_eq!(after(&[&[opened()], &bought(1, 10), &[sold_out()]]).when(&cancel()), Ok(vec![cancelled()]));
    assert_eq!(given(&[opened(), cancelled()]).when(&cancel()), Ok(vec![]));
}

#[test]
fn refuses_to_cancel_a_closed_round() {
    assert_eq!(given(&[opened(), closed()]).refuses(&cancel(), &["is closed", "refunded"]), "ROUND_NOT_OPEN");
}

#[test]
fn refuses_to_close_or_cancel_an_unknown_round() {
    for command in [close(), cancel()] {
        assert_eq!(given(&[]).refuses(&command, &[&round(1).to_string()]), "UNKNOWN_ROUND");
    }
}

#[test]
fn closes_when_the_closing_time_comes() {
    let state = after(&[&[opened()], &bought(1, 3), &[held(2, 4)]]);
    let at = NOW + HOUR + Duration::from_millis(7);
    let note = format!("closing time {} came with 3 of 10 shares sold", NOW + HOUR);
    let closed = Event::RoundClosed { round_id: round(1), actor: "timer".to_owned(), note, closed_at: at };
    assert_eq!(decide(&state, &advance(), at), Ok(vec![closed]));
}

#[test]
fn a_timer_that_comes_early_by_this_clock_is_not_lost() {
    let events = given(&[opened()]).when(&advance()).unwrap();
    assert!(matches!(*events, [Event::RoundClosed { closed_at, .. }] if closed_at == NOW + HOUR), "{events:?}");
}

#[test]
fn a_timer_of_a_sold_out_round_changes_nothing() {
    assert_eq!(after(&[&[opened()], &bought(1, 10), &[sold_out()]]).when(&advance()), Ok(vec![]));
}

#[test]
fn a_timer_of_no_round_is_broken() {
    let refusal = given(&[]).when(&advance());
    assert!(matches!(&refusal, Err(DecideError::Broken { stream, .. }) if *stream == format!("round-{}", round(1))));
}

#[test]
fn a_failed_round_has_all_refunded_who_bought_and_nobody_else() {
    let others = [held(3, 1), Event::SharesReleased { key: order(4), shares: None }];
    let sales = [&[opened()], &bought(1, 2)[..], &bought(2, 3), &others].concat();
    let by_closing = after(&[&sales, &[closed()]]).when(&advance());
    assert_eq!(by_closing, Ok(vec![refunds(Failure::NotSoldOut, &[1, 2], None)]));
    let by_cancelling = after(&[&sales, &[cancelled()]]).when(&advance());
    assert_eq!(by_cancelling, Ok(vec![refunds(Failure::Cancelled, &[1, 2], None)]));
}

#[test]
fn a_cancelled_round_that_was_sold_out_has_its_buyers_refunded() {
    let state = after(&[&[opened()], &bought(1, 10), &[sold_out(), cancelled()]]);
    assert_eq!(state.when(&advance()), Ok(vec![refunds(Failure::Cancelled, &[1], None)]));
}

#[test]
fn nobody_is_named_who_was_named_or_refunded_before() {
    let sales = [&[opened()], &bought(1, 2)[..], &bought(2, 3), &[returned(2, 3), closed()]].concat();
    assert_eq!(given(&sales).when(&advance()), Ok(vec![refunds(Failure::NotSoldOut, &[1], None)]));
    let named = refunds(Failure::NotSoldOut, &[1], None);
    assert_eq!(given(&[&*sales, std::slice::from_ref(&named)].concat()).when(&advance()), Ok(vec![]));
    assert_eq!(after(&[&sales, &[named, returned(1, 2)]]).when(&advance()), Ok(vec![]));
}

#[test]
fn a_round_without_buyers_has_nobody_refunded() {
    assert_eq!(given(&[opened(), held(1, 2), cancelled()]).when(&advance()), Ok(vec![]));
}

#[test]
fn refunds_go_in_batches_that_follow_each_other() {
    let buyers = 2 * BATCH_MAX + 1;
    let offer = Offer { total_shares: 1_000, ..offer() };
    let mut state = given(&[Event::RoundOpened { round_id: round(1), offer, actor: "ann".to_owned(), draw: None }]);
    (1..=buyers).flat_map(|id| bought(u128::try_from(id).unwrap(), 1)).for_each(|event| evolve(&mut state, &event));
    evolve(&mut state, &cancelled());
    let mut sizes = vec![];
    for batch in 1..=3 {
        let events = state.when(&advance()).unwrap();
        let [event @ Event::RoundRefundsRequested { participants, next_batch_at, .. }] = &*events else {
            panic!("no batch: {events:?}");
        };
        assert_eq!(next_batch_at.is_some(), batch < 3);
        sizes.push(participants.len());
        evolve(&mut state, event);
    }
    assert_eq!(sizes, [BATCH_MAX, BATCH_MAX, 1]);
    assert_eq!(state.when(&advance()), Ok(vec![]));
}

#[test]
fn a_batch_whose_buyers_are_all_in_use_elsewhere_is_followed_by_another() {
    let whole = after(&[&[opened()], &bought(1, 2), &[closed()]]);
    let mut without_holds = State::default();
    without_holds.rounds.load(round(1), first(&whole).clone());
    let nobody_yet = refunds(Failure::NotSoldOut, &[], Some(NOW + BATCH_PAUSE));
    assert_eq!(without_holds.when(&advance()), Ok(vec![nobody_yet]));
}

#[test]
fn an_event_sets_or_clears_the_timer_of_its_round() {
    let next = NOW + HOUR;
    let cases = [
        (opened(), Some(Timer::Set(NOW + HOUR))),
        (sold_out(), Some(Timer::Clear)),
        (reopened(), Some(Timer::Set(NOW + HOUR))),
        (closed(), Some(Timer::Set(NOW + BATCH_PAUSE))),
        (cancelled(), Some(Timer::Set(NOW + BATCH_PAUSE))),
        (refunds(Failure::Cancelled, &[1], Some(next)), Some(Timer::Set(next))),
        (refunds(Failure::Cancelled, &[1], None), None),
        (sold(1, 1), None),
    ];
    for (event, timer) in cases {
        assert_eq!(Rounds::timer(&event), timer, "{event:?}");
    }
}

#[test]
fn a_timer_is_read_by_the_name_of_its_stream() {
    assert_eq!(Rounds::on_timer(&format!("round-{}", round(1))), Some(advance()));
    for other in ["round-", "round-x", "order-00000000-0000-0000-0000-000000000001", ""] {
        assert_eq!(Rounds::on_timer(other), None, "{other}");
    }
}

#[test]
fn an_event_is_numbered_in_its_own_stream() {
    let mut state = State::default();
    let name = |id: u128| format!("shares-{}", order(id));
    let round = format!("round-{}", round(1));
    let history = [
        (opened(), &round, 1),
        (held(1, 4), &name(1), 1),
        (sold(1, 4), &name(1), 2),
        (cancelled(), &round, 2),
        (refunds(Failure::Cancelled, &[1], None), &round, 3),
        (returned(1, 4), &name(1), 3),
    ];
    for (event, stream, version) in history {
        evolve(&mut state, &event);
        let record = Rounds::encode(&state, &event);
        assert_eq!((&record.stream, record.version.get()), (stream, version), "{event:?}");
        assert!(Rounds::rows_of(&event).contains(&record.stream));
    }
    assert_eq!(first(&state).sold, 0);
    assert_eq!(first(&state).refunding, 0);
}
