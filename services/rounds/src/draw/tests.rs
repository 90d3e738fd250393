//! The same ticket for everybody, and one for each share.

use std::collections::BTreeMap;

use domain::{HoldKey, Timestamp};

use super::{Beacon, Bytes32, Proof, Terms, Tickets, from_hex, hex, seed, ticket_code, winning_ticket};
use crate::round::spec::{order, round};

const SECRET: &str = "a secret of more than thirty-two characters";

fn proof(value: u8) -> Proof {
    let beacon_value = Bytes32::of(&[value; 32]).unwrap();
    Proof { seed: seed(SECRET, round(1)), beacon_value, beacon_signature: String::new() }
}

fn tickets(bought: &[(u128, i64)]) -> Tickets {
    Tickets::of(round(1), bought.iter().map(|(id, count)| (order(*id), *count)))
}

#[test]
fn hexadecimal_digits_are_read_back() {
    assert_eq!(from_hex(&hex(b"\x00\xff\x10")).unwrap(), b"\x00\xff\x10");
    for text in ["0", "0g", "+0", "000", "é0"] {
        assert_eq!(from_hex(text), None, "{text}");
    }
    let bytes = Bytes32::hash(&[b"a", b"b"]);
    assert_eq!(bytes, Bytes32::hash(&[b"ab"]));
    assert_eq!(Bytes32::parse(&bytes.to_string()), Some(bytes));
    assert_eq!(Bytes32::parse("00"), None);
}

#[test]
fn every_share_has_a_ticket_and_every_ticket_one_holder() {
    let tickets = tickets(&[(1, 3), (2, 1), (3, 6)]);
    assert_eq!(tickets.count(), 10);
    let mut held: BTreeMap<HoldKey, i64> = BTreeMap::new();
    for ticket in 1..=10 {
        *held.entry(tickets.holder(ticket).unwrap()).or_default() += 1;
    }
    assert_eq!(held, BTreeMap::from([(order(1), 3), (order(2), 1), (order(3), 6)]));
    for none in [i64::MIN, -1, 0, 11, i64::MAX] {
        assert_eq!(tickets.holder(none), None, "{none}");
    }
}

#[test]
fn the_list_is_the_same_whoever_makes_it_and_another_with_any_other_share() {
    let list = tickets(&[(1, 3), (2, 1), (3, 6)]);
    assert_eq!(list, tickets(&[(3, 6), (1, 3), (2, 1)]));
    for other in [vec![(1, 3), (2, 1)], vec![(1, 3), (2, 2), (3, 5)], vec![(1, 3), (2, 1), (4, 6)]] {
        assert_ne!(list.digest(), tickets(&other).digest(), "{other:?}");
    }
    assert_eq!(list.digest(), Bytes32::hash(&[list.text().as_bytes()]));
    assert_eq!(tickets(&[]).text(), "");
}

#[test]
fn the_list_names_no_order_and_lets_its_buyer_find_it() {
    let list = tickets(&[(1, 3), (2, 1)]);
    assert!(!list.text().contains(&order(1).order_id.to_string()));
    let code = ticket_code(round(1), order(1));
    assert_eq!(list.text().lines().filter(|line| line.ends_with(&format!(" 3 {code}"))).count(), 1);
    assert_ne!(code, ticket_code(round(2), order(1)));
    assert_ne!(code, ticket_code(round(1), HoldKey { attempt: 2, ..order(1) }));
}

#[test]
fn what_wins_follows_from_seed_value_and_list_and_is_one_of_the_tickets() {
    let digest = tickets(&[(1, 3), (2, 1)]).digest();
    let won: BTreeMap<i64, usize> = (0..=255).fold(BTreeMap::new(), |mut won, value| {
        *won.entry(winning_ticket(&proof(value), &digest, 4)).or_default() += 1;
        won
    });
    assert_eq!(won.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(won.values().all(|times| *times > 32), "{won:?}");
    let ticket = |proof: &Proof, digest: &Bytes32| winning_ticket(proof, digest, 1_000_000);
    let before = ticket(&proof(1), &digest);
    assert_ne!(before, ticket(&proof(2), &digest));
    assert_ne!(before, ticket(&proof(1), &tickets(&[(1, 4)]).digest()));
    assert_ne!(before, ticket(&Proof { seed: seed(SECRET, round(2)), ..proof(1) }, &digest));
    assert_eq!(winning_ticket(&proof(1), &digest, 1), 1);
}

/// As any program for large numbers computes it: `python3 -c 'print(1 + int("…", 16) % 1000000)'`.
#[test]
fn what_wins_is_what_other_programs_compute() {
    let zeros = Bytes32::of(&[0; 32]).unwrap();
    let proof = Proof { seed: zeros, beacon_value: zeros, beacon_signature: String::new() };
    assert_eq!(
        Bytes32::hash(&[zeros.bytes(), zeros.bytes(), zeros.bytes()]).to_string(),
        "2ea9ab9198d1638007400cd2c3bef1cc745b864b76011a0e1bc52180ac6452d4"
    );
    assert_eq!(winning_ticket(&proof, &zeros, 1_000_000), 1 + WINNER_OF_ZEROS);
}

const WINNER_OF_ZEROS: i64 = 196_308;

#[test]
fn a_beacon_publishes_every_three_seconds_and_the_next_value_is_named() {
    for beacon in [Beacon::DrandQuicknet, Beacon::Sandbox] {
        let at = |micros: i64| Timestamp::from_micros(beacon.published_at(1_000).as_micros() + micros);
        assert_eq!(beacon.round_at(at(0)), 1_000);
        assert_eq!(beacon.round_at(at(1)), 1_001);
        assert_eq!(beacon.round_at(at(3_000_000)), 1_001);
        assert_eq!(beacon.round_at(at(-1)), 1_000);
        assert_eq!(Beacon::parse(beacon.as_str()), Ok(beacon));
    }
    assert_eq!(Beacon::DrandQuicknet.published_at(1).to_string(), "2023-08-23T15:09:27Z");
    assert_eq!(Beacon::parse("dice").unwrap_err().code, "UNDECODABLE");
}

#[test]
fn the_value_that_is_named_is_published_no_sooner_than_the_delay_says() {
    let commitment = seed(SECRET, round(1)).commitment();
    let terms = Terms { commitment, beacon: Beacon::Sandbox, delay_ms: 60_000 };
    let list = tickets(&[(1, 10)]);
    for late in [0, 1, 1_500_000, 2_999_999] {
        let at = Timestamp::from_micros(1_800_000_000_000_000 + late);
        let listed = terms.list(&list, at);
        let waits = listed.draws_at.since(at).as_millis();
        assert!((60_000..63_000).contains(&waits), "{waits}");
        assert_eq!(Beacon::Sandbox.published_at(listed.beacon_round), listed.draws_at);
        assert_eq!((listed.tickets, listed.digest), (10, list.digest()));
    }
}
