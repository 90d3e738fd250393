//! The rules of holds, one test each.

use domain::{DecideError, HoldKey, Money, spec::Spec as _};

use crate::{
    command::{Command, Purchase},
    event::{Event, Failure},
    round::{
        State, decide,
        spec::{
            HOUR, NOW, bought, cancelled, closed, given, held, money, opened, order, refund, refunds, reopened,
            returned, round, shares, sold, sold_out,
        },
    },
};

fn hold_at(count: i64, unit_price: Money) -> Command {
    Command::Hold { key: order(1), purchase: Purchase { round_id: round(1), count, unit_price } }
}

fn hold(count: i64) -> Command {
    hold_at(count, money(500, "EUR"))
}

fn commit() -> Command {
    Command::Commit { key: order(1) }
}

fn release() -> Command {
    Command::Release { key: order(1) }
}

fn give_back(id: u128) -> Command {
    Command::Return { key: order(1), refund_id: refund(id) }
}

fn released(count: i64) -> Event {
    Event::SharesReleased { key: order(1), shares: Some(shares(count)) }
}

fn tombstone() -> Event {
    Event::SharesReleased { key: order(1), shares: None }
}

/// Round 1 is open, and then this.
fn sale(events: &[Event]) -> State {
    given(&[&[opened()], events].concat())
}

fn refused(state: &State, command: &Command, words: &[&str]) -> String {
    match state.when(command).as_deref() {
        Ok([Event::SharesRejected { key, round_id, rejection }]) if (*key, *round_id) == (order(1), round(1)) => {
            for word in words {
                assert!(rejection.reason.contains(word), "{word:?} is not in {:?}", rejection.reason);
            }
            rejection.code.clone().into_owned()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn breaks(state: &State, command: &Command, word: &str) {
    match state.when(command) {
        Err(DecideError::Broken { stream, what }) => {
            assert_eq!(stream, format!("shares-{}", order(1)));
            assert!(what.contains(word), "{word:?} is not in {what:?}");
        }
        other => panic!("not broken: {other:?}"),
    }
}

/// Sold, held.
fn figures(state: &State) -> (i64, i64) {
    let round = state.rounds.get(&round(1)).unwrap();
    (round.sold, round.held)
}

#[test]
fn holds_shares_that_are_left() {
    assert_eq!(sale(&[]).when(&hold(10)), Ok(vec![held(1, 10)]));
    assert_eq!(figures(&sale(&[held(1, 10)])), (0, 10));
}

#[test]
fn refuses_shares_of_an_unknown_round() {
    assert_eq!(refused(&given(&[]), &hold(1), &[&round(1).to_string()]), "UNKNOWN_ROUND");
}

#[test]
fn refuses_shares_of_a_round_that_is_not_open() {
    let all = bought(2, 10);
    let not_open = [
        (sale(&[&all[..], &[sold_out()]].concat()), "is sold out"),
        (sale(&[closed()]), "is closed"),
        (sale(&[cancelled()]), "is cancelled"),
    ];
    for (state, words) in not_open {
        assert_eq!(refused(&state, &hold(1), &[words]), "ROUND_NOT_OPEN");
    }
}

#[test]
fn refuses_shares_of_a_round_past_its_closing_time() {
    let events = decide(&sale(&[]), &hold(1), NOW + HOUR).unwrap();
    let [Event::SharesRejected { rejection, .. }] = &*events else { panic!("not refused: {events:?}") };
    assert_eq!(rejection.code, "ROUND_NOT_OPEN");
    assert!(rejection.reason.contains("past its closing time"));
}

#[test]
fn refuses_another_currency_than_the_rounds() {
    assert_eq!(refused(&sale(&[]), &hold_at(1, money(500, "USD")), &["5.00 EUR", "5.00 USD"]), "WRONG_CURRENCY");
}

#[test]
fn refuses_another_price_than_the_rounds() {
    for wrong in [499, 501] {
        let asked = money(wrong, "EUR").to_string();
        assert_eq!(refused(&sale(&[]), &hold_at(1, money(wrong, "EUR")), &["5.00 EUR", &asked]), "WRONG_PRICE");
    }
}

#[test]
fn refuses_more_shares_than_are_left() {
    let state = sale(&[&bought(2, 3)[..], &[held(3, 4)]].concat());
    let words = ["4 shares", "3 of 10 are left", "3 sold", "4 held"];
    assert_eq!(refused(&state, &hold(4), &words), "OUT_OF_SHARES");
    assert_eq!(state.when(&hold(3)), Ok(vec![held(1, 3)]));
}

#[test]
fn a_refused_hold_stays_refused_when_shares_are_free_again() {
    let rejection = domain::Rejection::new("OUT_OF_SHARES", "none");
    let state = sale(&[Event::SharesRejected { key: order(1), round_id: round(1), rejection }]);
    assert_eq!(state.when(&hold(1)), Ok(vec![]));
    assert_eq!(state.when(&release()), Ok(vec![]));
    breaks(&state, &commit(), "rejected");
    breaks(&state, &give_back(1), "rejected");
}

#[test]
fn a_hold_asked_again_changes_nothing() {
    assert_eq!(sale(&[held(1, 3)]).when(&hold(3)), Ok(vec![]));
}

#[test]
fn each_attempt_has_its_own_hold() {
    let key = HoldKey { attempt: 2, ..order(1) };
    let purchase = Purchase { round_id: round(1), count: 3, unit_price: money(500, "EUR") };
    let state = sale(&[held(1, 3), released(3)]);
    assert_eq!(state.when(&Command::Hold { key, purchase }), Ok(vec![Event::SharesHeld { key, shares: shares(3) }]));
}

#[test]
fn a_paid_order_buys_what_it_held() {
    assert_eq!(sale(&[held(1, 3)]).when(&commit()), Ok(vec![sold(1, 3)]));
    let state = sale(&bought(1, 3));
    assert_eq!(figures(&state), (3, 0));
    assert_eq!(state.when(&commit()), Ok(vec![]));
}

#[test]
fn the_last_share_sells_the_round_out() {
    let state = sale(&[&bought(2, 7)[..], &[held(1, 3)]].concat());
    assert_eq!(state.when(&commit()), Ok(vec![sold(1, 3), sold_out()]));
}

#[test]
fn a_share_that_came_back_must_be_sold_again_before_the_round_is_sold_out() {
    let state = sale(&[&bought(2, 7)[..], &[returned(2, 7), held(1, 3)]].concat());
    assert_eq!(state.when(&commit()), Ok(vec![sold(1, 3)]));
}

#[test]
fn a_share_of_a_failed_round_is_refunded_as_soon_as_it_is_sold() {
    let closed = sale(&[held(1, 3), closed()]);
    assert_eq!(closed.when(&commit()), Ok(vec![sold(1, 3), refunds(Failure::NotSoldOut, &[1], None)]));
    let cancelled = sale(&[held(1, 3), cancelled()]);
    assert_eq!(cancelled.when(&commit()), Ok(vec![sold(1, 3), refunds(Failure::Cancelled, &[1], None)]));
}

#[test]
fn an_order_closed_unpaid_frees_what_it_held() {
    assert_eq!(sale(&[held(1, 3)]).when(&release()), Ok(vec![released(3)]));
    let state = sale(&[held(1, 3), released(3)]);
    assert_eq!(figures(&state), (0, 0));
    assert_eq!(state.when(&release()), Ok(vec![]));
    assert_eq!(state.when(&hold(3)), Ok(vec![]));
}

#[test]
fn a_release_is_possible_when_the_round_has_failed() {
    assert_eq!(sale(&[held(1, 3), cancelled()]).when(&release()), Ok(vec![released(3)]));
}

#[test]
fn a_release_that_comes_before_its_hold_leaves_a_tombstone() {
    assert_eq!(given(&[]).when(&release()), Ok(vec![tombstone()]));
    let state = sale(&[tombstone()]);
    assert_eq!(state.when(&release()), Ok(vec![]));
    assert_eq!(state.when(&hold(3)), Ok(vec![]));
}

#[test]
fn a_refunded_order_gives_its_shares_back_once() {
    assert_eq!(sale(&bought(1, 3)).when(&give_back(1)), Ok(vec![returned(1, 3)]));
    let state = sale(&[&bought(1, 3)[..], &[returned(1, 3)]].concat());
    assert_eq!(figures(&state), (0, 0));
    assert_eq!(state.when(&give_back(1)), Ok(vec![]));
    breaks(&state, &give_back(2), "returned");
}

#[test]
fn a_refund_that_overtakes_the_payment_ends_the_same() {
    let events = sale(&[held(1, 3)]).when(&give_back(1)).unwrap();
    assert_eq!(events, [sold(1, 3), returned(1, 3)]);
    let state = sale(&[&[held(1, 3)], &*events].concat());
    assert_eq!(state.when(&commit()), Ok(vec![]));
    assert_eq!(figures(&state), (0, 0));
}

#[test]
fn a_share_that_comes_back_to_a_sold_out_round_reopens_it_once() {
    let all = [&bought(1, 3)[..], &bought(2, 3), &bought(3, 4), &[sold_out()]].concat();
    assert_eq!(sale(&all).when(&give_back(1)), Ok(vec![returned(1, 3), reopened()]));
    let open = [&all[..], &[returned(1, 3), reopened()]].concat();
    assert_eq!(sale(&open).when(&give_back(1)), Ok(vec![]));
    let second = Command::Return { key: order(2), refund_id: refund(2) };
    assert_eq!(sale(&open).when(&second), Ok(vec![returned(2, 3)]));
}

#[test]
fn a_share_that_came_back_to_a_sold_out_round_is_bought_by_the_next_and_sells_it_out_again() {
    let open = [&bought(2, 7)[..], &bought(3, 3), &[sold_out(), returned(3, 3), reopened()]].concat();
    assert_eq!(sale(&open).when(&hold(3)), Ok(vec![held(1, 3)]));
    assert_eq!(refused(&sale(&open), &hold(4), &["3 of 10 are left"]), "OUT_OF_SHARES");
    assert_eq!(sale(&[&open[..], &[held(1, 3)]].concat()).when(&commit()), Ok(vec![sold(1, 3), sold_out()]));
}

#[test]
fn a_refund_that_overtakes_the_payment_of_the_last_share_leaves_the_round_open() {
    let state = sale(&[&bought(2, 7)[..], &[held(1, 3)]].concat());
    let events = vec![sold(1, 3), sold_out(), returned(1, 3), reopened()];
    assert_eq!(state.when(&give_back(1)), Ok(events.clone()));
    // Also when the timer of the closing time is late: it closes the round then.
    assert_eq!(decide(&state, &give_back(1), NOW + HOUR), Ok(events));
}

#[test]
fn a_share_that_comes_back_to_a_sold_out_round_after_its_closing_time_is_not_sold_again() {
    let all = [&bought(2, 7)[..], &bought(1, 3), &[sold_out()]].concat();
    assert_eq!(decide(&sale(&all), &give_back(1), NOW + HOUR), Ok(vec![returned(1, 3)]));
    let state = sale(&[&all[..], &[returned(1, 3)]].concat());
    let purchase = Purchase { round_id: round(1), count: 1, unit_price: money(500, "EUR") };
    let events = decide(&state, &Command::Hold { key: order(4), purchase }, NOW + HOUR).unwrap();
    let [Event::SharesRejected { rejection, .. }] = &*events else { panic!("not refused: {events:?}") };
    assert_eq!(rejection.code, "ROUND_NOT_OPEN");
    assert!(rejection.reason.contains("was sold out at its closing time"), "{rejection}");
}

#[test]
fn a_share_that_comes_back_to_a_failed_round_reopens_nothing() {
    let all = [&bought(1, 3)[..], &bought(2, 7), &[sold_out(), cancelled()]].concat();
    assert_eq!(sale(&all).when(&give_back(1)), Ok(vec![returned(1, 3)]));
}

#[test]
fn a_round_that_an_older_worker_left_sold_out_without_all_shares_sold_is_reopened_by_the_next_buyer() {
    let left = sale(&[&bought(2, 7)[..], &bought(3, 3), &[sold_out(), returned(3, 3)]].concat());
    assert_eq!(left.when(&hold(3)), Ok(vec![reopened(), held(1, 3)]));
    assert_eq!(refused(&left, &hold(4), &["3 of 10 are left"]), "OUT_OF_SHARES");
}

#[test]
fn to_commit_or_return_what_was_never_held_is_broken() {
    breaks(&sale(&[]), &commit(), "unknown");
    breaks(&sale(&[]), &give_back(1), "unknown");
    breaks(&sale(&[tombstone()]), &commit(), "released");
    breaks(&sale(&[tombstone()]), &give_back(1), "released");
}

#[test]
fn to_release_what_is_sold_is_broken() {
    breaks(&sale(&bought(1, 3)), &release(), "committed");
}
