//! Where a buyer is reached: kept beside the log with the order that it comes with, and in no event.

#![expect(clippy::unwrap_used, reason = "a test whose order is refused fails")]

use domain::{Decider, Timestamp};
use orders::{Orders, event::Event, order::State};
use proto::{
    Message, Name,
    common::v1::Money,
    orders::v1::{OrderLine, OrderPlaced, PlaceOrder},
};
use uuid::Uuid;

fn place(email: &str) -> PlaceOrder {
    let unit_price = Some(Money { minor_units: 100, currency: "EUR".to_owned() });
    PlaceOrder {
        order_id: Uuid::from_u128(7).to_string(),
        customer_id: "customer-1".to_owned(),
        lines: vec![OrderLine { sku: "MUG".to_owned(), quantity: 1, unit_price }],
        payment_method: "sandbox:succeed".to_owned(),
        contact_email: email.to_owned(),
        ..PlaceOrder::default()
    }
}

/// The bytes of what an order that is placed so causes, and what is kept beside it.
fn placed(state: &mut State, email: &str) -> (Vec<(Event, Vec<u8>)>, Vec<String>) {
    let name = PlaceOrder::full_name();
    let command = Orders::decode_command(&name, &place(email).encode_to_vec(), Uuid::from_u128(1)).unwrap();
    assert!(!format!("{command:?}").contains("ann@"), "{command:?}");
    let events = Orders::advance(state, &command, Timestamp::from_micros(5)).unwrap();
    let kept = std::mem::take(&mut state.contacts).into_values().map(|contact| contact.as_str().to_owned()).collect();
    (events.into_iter().map(|(event, encoded)| (event, encoded.data)).collect(), kept)
}

#[test]
fn an_order_says_whether_its_buyer_can_be_reached_and_not_where() {
    for (email, has_contact) in [("ann@mail.example", true), ("", false)] {
        let mut state = State::default();
        let (events, kept) = placed(&mut state, email);
        let [(event, data)] = events.as_slice() else { panic!("{events:?}") };
        assert!(matches!(event, Event::OrderPlaced { has_contact: says, .. } if *says == has_contact));
        assert_eq!(OrderPlaced::decode(data.as_slice()).unwrap().has_contact, has_contact);
        assert!(!String::from_utf8_lossy(data).contains("ann@"));
        assert_eq!(kept, if has_contact { vec![email] } else { vec![] });
        assert_eq!(Orders::decode_event(&OrderPlaced::full_name(), data).as_ref(), Ok(event));
    }
}

#[test]
fn an_order_that_is_placed_again_is_there_and_gets_no_other_address() {
    let mut state = State::default();
    placed(&mut state, "ann@mail.example");
    for email in ["ann@mail.example", "ann@other.example", ""] {
        let (events, kept) = placed(&mut state, email);
        assert!(events.is_empty() && kept.is_empty(), "{email}: {events:?}");
    }
}

#[test]
fn refuses_an_address_that_is_none_and_does_not_repeat_it() {
    let command = place("ann@mail@shop.example").encode_to_vec();
    let refused = Orders::decode_command(&PlaceOrder::full_name(), &command, Uuid::from_u128(1)).unwrap_err();
    assert_eq!(refused.code, "INVALID_CONTACT_EMAIL");
    assert!(!refused.reason.contains("mail@"), "{}", refused.reason);
}
