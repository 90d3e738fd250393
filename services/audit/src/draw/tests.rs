//! A draw that is right, and what each lie about it is told apart by.

use domain::{HoldKey, OrderId, RoundId, Timestamp};
use rounds::draw::{Beacon, Bytes32, Draw, Drawn, Proof, Terms, Tickets, seed, winning_ticket};
use uuid::Uuid;

use super::{Record, Step};

fn order(id: u128) -> HoldKey {
    HoldKey { order_id: OrderId(Uuid::from_u128(id)), attempt: 1 }
}

fn round() -> RoundId {
    RoundId(Uuid::from_u128(1))
}

fn tickets() -> Tickets {
    Tickets::of(round(), [(order(1), 3), (order(2), 1), (order(3), 6)])
}

fn record() -> Record {
    let seed = seed("a secret of more than thirty-two characters", round());
    let terms = Terms { commitment: seed.commitment(), beacon: Beacon::Sandbox, delay_ms: 60_000 };
    let listed = terms.list(&tickets(), Timestamp::from_micros(1_800_000_000_000_000));
    let beacon_value = Beacon::sandbox_value(listed.beacon_round);
    let proof = Proof { seed, beacon_value, beacon_signature: String::new() };
    let ticket = winning_ticket(&proof, &listed.digest, 10);
    let drawn = Drawn { proof, ticket, order: tickets().holder(ticket).unwrap() };
    Record::of(round(), &Draw { terms, listed: Some(listed), drawn: Some(drawn) })
}

fn failed(record: &Record, tickets: &str) -> Vec<&'static str> {
    let steps: Vec<Step> = record.check(tickets);
    assert_eq!(steps.len(), 8, "{steps:?}");
    steps.iter().filter(|step| !step.is_so).map(|step| step.claim).collect()
}

const LIST: &str = "the list is the one that was told of";
const NUMBERS: &str = "every ticket has one number, from 1 on, without a gap";
const TIME: &str = "the time is the one at which the beacon publishes the value that was named";
const SEED: &str = "the seed is the one that was chosen when the round was opened";
const VALUE: &str = "the value is what the beacon's signature makes it";
const TICKET: &str = "the ticket follows from the seed, the value and the list";
const CODE: &str = "the code is the one that the list has for the ticket";

#[test]
fn a_draw_that_is_right_is_found_so_and_reads_back_from_what_everybody_may_have() {
    assert_eq!(failed(&record(), &tickets().text()), Vec::<&str>::new());
    let text = serde_json::to_string(&record()).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record());
    let begun = Record { list: None, winner: None, ..record() };
    let text = serde_json::to_string(&begun).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), begun);
    assert_eq!(begun.check(""), []);
}

#[test]
fn each_lie_about_a_draw_is_found() {
    let list = tickets().text();
    let with = |change: &dyn Fn(&mut Record)| {
        let mut changed = record();
        change(&mut changed);
        failed(&changed, &list)
    };
    let other = Bytes32::hash(&[b"another"]);
    assert_eq!(with(&|told| told.terms.commitment = other), [SEED]);
    let list = with(&|told| told.list.as_mut().unwrap().tickets_sha256 = other);
    assert!(list.contains(&LIST), "{list:?}");
    assert_eq!(with(&|told| told.list.as_mut().unwrap().draws_at = Timestamp::from_micros(0)), [TIME]);
    assert_eq!(with(&|told| told.list.as_mut().unwrap().beacon_round += 1), [TIME, VALUE]);
    assert_eq!(with(&|told| told.winner.as_mut().unwrap().winning_code.clear()), [CODE]);
    let seed = with(&|told| told.winner.as_mut().unwrap().proof.seed = other);
    assert!(seed.contains(&SEED), "{seed:?}");
    let value = with(&|told| told.winner.as_mut().unwrap().proof.beacon_value = other);
    assert!(value.contains(&VALUE), "{value:?}");
    let ticket = with(&|told| {
        let winner = told.winner.as_mut().unwrap();
        winner.winning_ticket = winner.winning_ticket % 10 + 1;
    });
    assert!(ticket.contains(&TICKET), "{ticket:?}");
}

const SIGNED: &str = "the signature is the beacon's own, for the value that was named";

#[test]
fn a_value_that_drand_has_published_is_told_from_one_that_somebody_made_up() {
    // Value 1,000, as it is published.
    let signature = "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39";
    let drawn_by = |signature: &str, value_of: i64| {
        let mut told = record();
        told.terms.beacon = Beacon::DrandQuicknet;
        let (list, winner) = (told.list.as_mut().unwrap(), told.winner.as_mut().unwrap());
        (list.beacon_round, list.draws_at) = (value_of, Beacon::DrandQuicknet.published_at(value_of));
        let value = Bytes32::hash(&[&rounds::draw::from_hex(signature).unwrap()]);
        winner.proof.beacon_signature = signature.to_owned();
        winner.proof.beacon_value = value;
        winner.winning_ticket = winning_ticket(&winner.proof, &list.tickets_sha256, 10);
        winner.winning_code = rounds::draw::ticket_code(round(), tickets().holder(winner.winning_ticket).unwrap());
        failed(&told, &tickets().text())
    };
    assert_eq!(drawn_by(signature, 1_000), Vec::<&str>::new());
    assert_eq!(drawn_by(signature, 1_001), [SIGNED]);
    assert_eq!(drawn_by("aabb", 1_000), [SIGNED]);
    assert_eq!(drawn_by("", 1_000), [SIGNED]);
}

#[test]
fn a_list_that_was_changed_is_found() {
    let list = tickets().text();
    let lines: Vec<&str> = list.lines().collect();
    let without = failed(&record(), &lines[1..].join("\n"));
    assert!(without.starts_with(&[LIST, NUMBERS]), "{without:?}");
    let more = failed(&record(), &format!("{list}11 1 more\n"));
    assert_eq!(more, [LIST, NUMBERS]);
    for wrong in ["", "1 10", "1 x y", "1 10 code more", "1 0 code"] {
        assert!(failed(&record(), wrong).contains(&NUMBERS), "{wrong:?}");
    }
}
