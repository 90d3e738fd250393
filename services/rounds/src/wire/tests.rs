//! What messages must be, and that every event reads back.

use domain::{AMOUNT_MAX, Decider, Rejection, Timestamp};
use proto::{Message, Name, common::v1::Money, rounds::v1 as wire};

use super::{SHARES_MAX, decode_command, decode_event, encode};
use crate::{
    Rounds,
    command::Command,
    draw::Drawn,
    event::{Event, Failure, Offer},
    round::spec::{
        NOW, cancelled, closed, held, listed, money, offer, opened, opened_with_a_draw, order, proof, refunds,
        reopened, returned, round, sold, sold_out, sold_out_to_be_drawn,
    },
};

fn read<M: Message + Name>(message: &M) -> Result<Command, String> {
    decode_command(&M::full_name(), &message.encode_to_vec()).map_err(|rejection| rejection.code.into_owned())
}

fn code(code: &str) -> Result<Command, String> {
    Err(code.to_owned())
}

fn open() -> wire::OpenRound {
    wire::OpenRound {
        round_id: round(1).to_string(),
        prize: "car".to_owned(),
        total_shares: 10,
        share_price: Some(money(500, "EUR").to_wire()),
        closes_at: Some(offer().closes_at.to_wire()),
        actor: "ann".to_owned(),
    }
}

fn close(round_id: &str, actor: &str, note: &str) -> Result<Command, String> {
    read(&wire::CloseRound { round_id: round_id.to_owned(), actor: actor.to_owned(), note: note.to_owned() })
}

fn cancel(round_id: &str, actor: &str, note: &str) -> Result<Command, String> {
    read(&wire::CancelRound { round_id: round_id.to_owned(), actor: actor.to_owned(), note: note.to_owned() })
}

#[test]
fn reads_every_command() {
    let round_id = round(1);
    assert_eq!(read(&open()), Ok(Command::OpenRound { round_id, offer: offer(), actor: "ann".to_owned(), draw: None }));
    let (id, actor, note) = (round_id.to_string(), "a".repeat(128), "n".repeat(512));
    let closing = Command::CloseRound { round_id, actor: actor.clone(), note: note.clone() };
    assert_eq!(close(&id, &actor, &note), Ok(closing));
    assert_eq!(cancel(&id, &actor, &note), Ok(Command::CancelRound { round_id, actor, note }));
}

#[test]
fn a_round_may_have_the_most_shares_at_the_highest_price() {
    let most = wire::OpenRound {
        total_shares: SHARES_MAX,
        share_price: Some(money(AMOUNT_MAX, "EUR").to_wire()),
        prize: "p".repeat(256),
        ..open()
    };
    assert!(read(&most).is_ok());
}

#[test]
fn refuses_a_malformed_round_id() {
    for bad in ["", "1", "00000000-0000-0000-0000-000000000000", "round-00000000-0000-0000-0000-000000000001"] {
        assert_eq!(read(&wire::OpenRound { round_id: bad.to_owned(), ..open() }), code("INVALID_ID"), "{bad:?}");
        assert_eq!(close(bad, "ann", "slow"), code("INVALID_ID"), "{bad:?}");
        assert_eq!(cancel(bad, "ann", "slow"), code("INVALID_ID"), "{bad:?}");
    }
}

#[test]
fn refuses_a_text_that_is_missing_too_long_or_has_control_characters() {
    let id = round(1).to_string();
    for bad in ["", "a\nb", &"x".repeat(513)] {
        assert_eq!(read(&wire::OpenRound { prize: bad.to_owned(), ..open() }), code("INVALID_TEXT"), "{bad:?}");
        let nobody = read(&wire::OpenRound { actor: bad.to_owned(), ..open() });
        assert!(bad.is_empty() && nobody.is_ok() || nobody == code("INVALID_TEXT"), "{bad:?}");
        for ask in [close, cancel] {
            assert_eq!(ask(&id, bad, "slow"), code("INVALID_TEXT"), "{bad:?}");
            assert_eq!(ask(&id, "ann", bad), code("INVALID_TEXT"), "{bad:?}");
        }
    }
}

#[test]
fn refuses_a_number_of_shares_outside_its_limits() {
    for bad in [0, -1, SHARES_MAX + 1, i64::MIN, i64::MAX] {
        assert_eq!(read(&wire::OpenRound { total_shares: bad, ..open() }), code("INVALID_QUANTITY"), "{bad}");
    }
}

#[test]
fn refuses_a_price_that_is_missing_free_or_outside_its_limits() {
    let priced = |minor_units| Some(Money { minor_units, currency: "EUR".to_owned() });
    for bad in [None, priced(0), priced(-1), priced(AMOUNT_MAX + 1), priced(i64::MAX)] {
        assert_eq!(read(&wire::OpenRound { share_price: bad.clone(), ..open() }), code("INVALID_AMOUNT"), "{bad:?}");
    }
    for bad in ["", "eur", "EURO", "E1R", "ABC"] {
        let share_price = Some(Money { minor_units: 1, currency: bad.to_owned() });
        assert_eq!(read(&wire::OpenRound { share_price, ..open() }), code("INVALID_CURRENCY"), "{bad:?}");
    }
}

#[test]
fn refuses_a_closing_time_that_is_missing_or_no_time() {
    let time = |seconds, nanos| Some(proto::well_known::Timestamp { seconds, nanos });
    for bad in [None, time(-1, 0), time(i64::MAX, 0), time(0, -1), time(0, 1_000_000_000)] {
        assert_eq!(read(&wire::OpenRound { closes_at: bad, ..open() }), code("INVALID_TIME"), "{bad:?}");
    }
}

#[test]
fn refuses_bytes_that_are_no_message() {
    for message_type in Rounds::COMMANDS {
        assert_eq!(decode_command(message_type, b"\x0a\xffcar").unwrap_err().code, "UNDECODABLE", "{message_type}");
    }
}

#[test]
fn refuses_a_type_that_it_does_not_know() {
    for other in ["", "OpenRound", "holdfast.orders.v1.PlaceOrder", "holdfast.rounds.v1.RoundOpened"] {
        assert_eq!(decode_command(other, b"").unwrap_err().code, "UNKNOWN_TYPE", "{other}");
    }
    assert_eq!(decode_event("holdfast.rounds.v1.OpenRound", b"").unwrap_err().code, "UNKNOWN_TYPE");
}

fn events() -> Vec<Event> {
    let key = order(2);
    let precise = Timestamp::from_micros(NOW.as_micros() + 123_457);
    vec![
        opened(),
        Event::RoundOpened {
            round_id: round(2),
            offer: Offer { closes_at: precise, ..offer() },
            actor: String::new(),
            draw: None,
        },
        opened_with_a_draw(),
        sold_out(),
        sold_out_to_be_drawn(),
        listed(&[(1, 10)]),
        Event::RoundDrawn { round_id: round(1), drawn: Drawn { proof: proof(), ticket: 4, order: order(1) } },
        reopened(),
        closed(),
        cancelled(),
        refunds(Failure::NotSoldOut, &[1, 2, 3], Some(precise)),
        refunds(Failure::Cancelled, &[], None),
        held(2, 3),
        Event::SharesRejected { key, round_id: round(7), rejection: Rejection::new("OUT_OF_SHARES", "none left") },
        sold(2, 3),
        Event::SharesReleased { key, shares: Some(crate::round::spec::shares(3)) },
        Event::SharesReleased { key, shares: None },
        returned(2, 3),
    ]
}

#[test]
fn every_event_reads_back_as_it_was_written() {
    for fact in events() {
        let (message_type, data) = encode(&fact);
        assert!(proto::message_types().iter().any(|known| known == message_type), "{message_type}");
        assert_eq!(decode_event(message_type, &data), Ok(fact));
    }
}

#[test]
fn an_event_of_looser_times_still_reads() {
    let old = wire::RoundOpened {
        round_id: round(1).to_string(),
        prize: "\n".to_owned(),
        total_shares: 5 * SHARES_MAX,
        share_price: Some(money(0, "EUR").to_wire()),
        closes_at: Some(NOW.to_wire()),
        actor: String::new(),
        draw: None,
    };
    assert!(decode_event(&wire::RoundOpened::full_name(), &old.encode_to_vec()).is_ok());
}

#[test]
fn an_event_without_its_id_is_refused() {
    for fact in events() {
        let refusal = decode_event(encode(&fact).0, b"").unwrap_err().code;
        assert!(matches!(&*refusal, "INVALID_ATTEMPT" | "INVALID_ID"), "{refusal}");
    }
}
