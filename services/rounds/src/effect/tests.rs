//! What a beacon answers, and what is made of it.

use std::time::Duration;

use super::{CALLEES, LATE_AFTER, left, of, read, secrets};
use crate::{
    draw::{Beacon, Bytes32, Terms, Tickets},
    event::Event,
    round::spec::{NOW, order, round, sold_out},
    wire,
};

/// Value 1,000 of drand's chain `quicknet`, as it is published.
const ANSWER: &str = r#"{"round":1000,
    "randomness":"fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd",
    "signature":"b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"}"#;

#[test]
fn a_value_of_drand_is_read_and_is_the_hash_of_its_signature() {
    let (value, signature) = read(ANSWER.as_bytes(), 1_000).unwrap();
    assert!(value.to_string().starts_with("fe290beca108") && signature.starts_with("b44679b9"), "{value} {signature}");
}

#[test]
fn what_is_no_value_or_another_is_refused() {
    let reason = |answer: &str, round| read(answer.as_bytes(), round).unwrap_err();
    assert_eq!(reason(ANSWER, 1_001), "it is value 1000 and not 1001");
    // A signature of another value, or of somebody else, with the right hash.
    let forged = ANSWER.replace("\"round\":1000", "\"round\":1001");
    assert_eq!(reason(&forged, 1_001), "the signature is not the beacon's own for this value");
    let made_up = format!(r#"{{"round":1000,"randomness":"{}","signature":"aabb"}}"#, Bytes32::hash(&[b"\xaa\xbb"]));
    assert_eq!(reason(&made_up, 1_000), "the signature is not the beacon's own for this value");
    assert_eq!(reason(&ANSWER.replace("fe290b", "fe290c"), 1_000), "the value is not the SHA-256 of its signature");
    assert!(reason(&ANSWER.replace("fe290b", ""), 1_000).contains("64 hexadecimal digits"));
    assert_eq!(reason(&ANSWER.replace("b446", "b44"), 1_000), "its signature is not hexadecimal");
    assert!(reason("<h1>502</h1>", 1_000).contains("expected value"));
}

#[test]
fn a_file_of_secrets_has_one_a_line_and_none_that_can_be_guessed() {
    let (one, other) = ("1".repeat(32), "2".repeat(40));
    assert_eq!(secrets(&format!("{one}\n\n {other} \n")).unwrap(), [one.clone(), other]);
    assert!(secrets("").unwrap_err().contains("no secret"));
    assert!(secrets(&format!("{one}\nshort")).unwrap_err().contains("secret 2 has fewer than 32"));
}

#[test]
fn only_a_list_of_tickets_asks_the_beacon_and_says_all_that_is_needed() {
    let terms = Terms { commitment: Bytes32::hash(&[]), beacon: Beacon::Sandbox, delay_ms: 1_000 };
    let listed = terms.list(&Tickets::of(round(1), [(order(1), 10)]), NOW);
    let event = Event::RoundTicketsListed { round_id: round(1), listed, terms };
    let effect = of(&event).unwrap();
    assert_eq!(effect.key, format!("draw-{}", round(1)));
    assert_eq!((effect.deadline, effect.callee), (listed.draws_at + LATE_AFTER, CALLEES[0]));
    assert_eq!(wire::decode_event(effect.message_type, &effect.data).unwrap(), event);
    assert_eq!(of(&sold_out()), None);
}

#[test]
fn nobody_is_asked_before_the_value_is_published() {
    assert_eq!(left(NOW, NOW + Duration::from_secs(3)), Some(Duration::from_secs(3)));
    assert_eq!(left(NOW, NOW), None);
    assert_eq!(left(NOW + Duration::from_secs(1), NOW), None);
}
