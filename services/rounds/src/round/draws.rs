//! The rules of draws, one test each.

use std::time::Duration;

use domain::{DecideError, Decider, Timer, spec::Spec as _};

use super::{
    RoundStatus, State, decide,
    spec::{
        HOUR, NOW, bought, cancelled, given, held, listed, opened_with_a_draw, order, proof, refund, reopened,
        returned, round, sold, sold_out_to_be_drawn, terms,
    },
};
use crate::{
    Rounds,
    command::{Command, Purchase},
    draw::{Bytes32, Draw, Drawn, Proof, Tickets, winning_ticket},
    event::Event,
    round::spec::money,
};

const BOUGHT: [(u128, i64); 2] = [(1, 7), (2, 3)];

fn advance() -> Command {
    Command::Advance { round_id: round(1) }
}

fn draw() -> Command {
    Command::Draw { round_id: round(1), proof: proof() }
}

fn give_back(id: u128) -> Command {
    Command::Return { key: order(id), refund_id: refund(id) }
}

/// Round 1 is sold to two orders, and then this.
fn all_sold(events: &[Event]) -> State {
    given(&[&[opened_with_a_draw()], &bought(1, 7)[..], &bought(2, 3), &[sold_out_to_be_drawn()], events].concat())
}

fn tickets() -> Tickets {
    Tickets::of(round(1), BOUGHT.map(|(id, count)| (order(id), count)))
}

fn drawn() -> Event {
    let ticket = winning_ticket(&proof(), &tickets().digest(), 10);
    let order = tickets().holder(ticket).unwrap();
    Event::RoundDrawn { round_id: round(1), drawn: Drawn { proof: proof(), ticket, order } }
}

fn the_draw(state: &State) -> &Draw {
    state.rounds.get(&round(1)).unwrap().draw.as_ref().unwrap()
}

#[test]
fn a_round_is_opened_with_what_was_fixed_before_the_first_sale() {
    let state = given(&[opened_with_a_draw()]);
    assert_eq!(*the_draw(&state), Draw::new(terms()));
    let again = Command::OpenRound {
        round_id: round(1),
        offer: super::spec::offer(),
        actor: "ann".to_owned(),
        draw: Some(terms()),
    };
    assert_eq!(given(&[]).when(&again), Ok(vec![opened_with_a_draw()]));
    // Whatever the settings say by now.
    assert_eq!(state.when(&again), Ok(vec![]));
    assert_eq!(given(&[super::spec::opened()]).when(&again), Ok(vec![]));
}

#[test]
fn the_last_sale_of_a_round_with_a_draw_sets_the_time_of_its_list() {
    let state = given(&[&[opened_with_a_draw()], &bought(1, 7)[..], &[held(2, 3)]].concat());
    let commit = Command::Commit { key: order(2) };
    assert_eq!(state.when(&commit), Ok(vec![sold(2, 3), sold_out_to_be_drawn()]));
    assert_eq!(Rounds::timer(&sold_out_to_be_drawn()), Some(Timer::Set(NOW + super::BATCH_PAUSE)));
    assert_eq!(Rounds::timer(&listed(&BOUGHT)), Some(Timer::Clear));
    assert_eq!(Rounds::timer(&drawn()), None);
}

#[test]
fn the_tickets_of_a_round_that_is_sold_out_are_listed_once() {
    assert_eq!(all_sold(&[]).when(&advance()), Ok(vec![listed(&BOUGHT)]));
    assert_eq!(all_sold(&[listed(&BOUGHT)]).when(&advance()), Ok(vec![]));
}

#[test]
fn a_share_that_comes_back_before_the_list_opens_the_round_again() {
    assert_eq!(all_sold(&[]).when(&give_back(2)), Ok(vec![returned(2, 3), reopened()]));
    let again = [&[returned(2, 3), reopened()], &bought(3, 3)[..], &[sold_out_to_be_drawn()]].concat();
    assert_eq!(all_sold(&again).when(&advance()), Ok(vec![listed(&[(1, 7), (3, 3)])]));
}

#[test]
fn the_time_of_a_list_that_was_overtaken_by_a_share_which_came_back_closes_no_round() {
    let state = all_sold(&[returned(2, 3), reopened()]);
    assert_eq!(state.when(&advance()), Ok(vec![]));
    // Its closing time does, by a clock that is a little behind, too.
    for at in [NOW + HOUR, NOW + HOUR - Duration::from_secs(5)] {
        let events = decide(&state, &advance(), at).unwrap();
        assert!(matches!(&*events, [Event::RoundClosed { .. }]), "{events:?}");
    }
}

#[test]
fn a_share_that_comes_back_once_the_tickets_are_listed_is_not_sold_again_and_stays_in_the_draw() {
    let state = all_sold(&[listed(&BOUGHT)]);
    assert_eq!(state.when(&give_back(2)), Ok(vec![returned(2, 3)]));
    let state = all_sold(&[listed(&BOUGHT), returned(2, 3)]);
    assert_eq!(state.rounds.get(&round(1)).unwrap().status, RoundStatus::SoldOut);
    assert_eq!(state.when(&draw()), Ok(vec![drawn()]));
    let buy = Command::Hold {
        key: order(3),
        purchase: Purchase { round_id: round(1), count: 3, unit_price: money(500, "EUR") },
    };
    let events = state.when(&buy).unwrap();
    let [Event::SharesRejected { rejection, .. }] = &*events else { panic!("not refused: {events:?}") };
    assert!(rejection.reason.contains("its tickets are listed"), "{rejection}");
}

#[test]
fn what_came_back_before_the_list_has_no_ticket() {
    let (late, give_back) = (NOW + HOUR, give_back(2));
    let mut state = all_sold(&[]);
    // After its closing time it stays sold out, and what is left is drawn.
    let events = decide(&state, &give_back, late).unwrap();
    assert_eq!(events, [returned(2, 3)]);
    events.iter().for_each(|event| Rounds::evolve(&mut state, event));
    let events = decide(&state, &advance(), late).unwrap();
    let [Event::RoundTicketsListed { listed, .. }] = &*events else { panic!("no list: {events:?}") };
    assert_eq!(listed.digest, Tickets::of(round(1), [(order(1), 7)]).digest());
}

#[test]
fn with_no_ticket_left_there_is_nothing_to_draw() {
    let state = all_sold(&[returned(1, 7), returned(2, 3)]);
    assert_eq!(decide(&state, &advance(), NOW + HOUR), Ok(vec![]));
}

#[test]
fn the_winner_follows_from_what_is_known_and_is_drawn_once() {
    assert_eq!(all_sold(&[listed(&BOUGHT)]).when(&draw()), Ok(vec![drawn()]));
    let state = all_sold(&[listed(&BOUGHT), drawn()]);
    assert_eq!(state.when(&draw()), Ok(vec![]));
    assert!(the_draw(&state).drawn.is_some());
}

#[test]
fn nothing_is_drawn_before_the_list_or_once_the_round_is_called_off() {
    assert_eq!(all_sold(&[]).when(&draw()), Ok(vec![]));
    assert_eq!(all_sold(&[cancelled()]).when(&draw()), Ok(vec![]));
    assert_eq!(all_sold(&[listed(&BOUGHT), cancelled()]).when(&draw()), Ok(vec![]));
}

#[test]
fn nothing_is_drawn_by_another_seed_or_of_other_tickets() {
    let broken = |state: &State, command: &Command, word: &str| match state.when(command) {
        Err(DecideError::Broken { stream, what }) => {
            assert!(stream == format!("round-{}", round(1)) && what.contains(word), "{stream}: {what}");
        }
        other => panic!("not broken: {other:?}"),
    };
    let other = Proof { seed: Bytes32::hash(&[b"another"]), ..proof() };
    broken(&all_sold(&[listed(&BOUGHT)]), &Command::Draw { round_id: round(1), proof: other }, "the seed");
    broken(&all_sold(&[listed(&[(1, 7), (3, 3)])]), &draw(), "its tickets are others");
    broken(&given(&[]), &draw(), "no round");
    let mut without_holds = State::default();
    without_holds.rounds.load(round(1), all_sold(&[]).rounds.get(&round(1)).unwrap().clone());
    broken(&without_holds, &advance(), "10 shares are sold, and it has 0 tickets");
}
