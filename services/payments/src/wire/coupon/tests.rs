//! What is refused of a coupon at the door, and that every event of coupons reads back as it was written.

use domain::{CouponCode, Currency, Discount, HoldKey, Money, OrderId, Rejection, Sku, Timestamp};
use proto::{Message, Name, common::v1 as common, payments::v1 as wire};
use uuid::Uuid;

use super::{Command, CouponCommand, CouponEvent, Event, Off, Offer, UseOf};
use crate::wire::{decode_command, decode_event, encode};

fn eur(minor_units: i64) -> Option<common::Money> {
    Some(common::Money { minor_units, currency: "EUR".to_owned() })
}

fn offer() -> wire::CouponOffer {
    wire::CouponOffer {
        basis_points: 1_250,
        currency: "EUR".to_owned(),
        discount_max: eur(5_000),
        spend_min: eur(1_000),
        valid_until: Some(Timestamp::from_micros(9).to_wire()),
        uses_max: 50,
        skus: vec!["mug".to_owned(), "cup".to_owned(), "mug".to_owned()],
        ..wire::CouponOffer::default()
    }
}

fn read<M: Message + Name>(message: &M) -> Result<Command, String> {
    decode_command(&M::full_name(), &message.encode_to_vec(), Uuid::nil())
        .map_err(|rejection| rejection.code.into_owned())
}

fn open(offer: wire::CouponOffer) -> Result<Command, String> {
    read(&wire::OpenCoupon { coupon_code: " spring ".to_owned(), offer: Some(offer), actor: "ann".to_owned() })
}

fn code() -> CouponCode {
    CouponCode::parse("SPRING").unwrap()
}

fn read_offer() -> Offer {
    Offer {
        off: Off::BasisPoints(1_250),
        currency: Currency::parse("EUR").unwrap(),
        discount_max: Some(5_000),
        spend_min: Some(1_000),
        valid_from: None,
        valid_until: Some(Timestamp::from_micros(9)),
        uses_max: Some(50),
        uses_per_customer_max: None,
        skus: ["cup", "mug"].map(|sku| Sku::parse(sku).unwrap()).to_vec(),
    }
}

#[test]
fn a_coupon_is_read_with_its_products_in_order_and_each_once() {
    let command = CouponCommand::Open { code: code(), offer: read_offer(), actor: "ann".to_owned() };
    assert_eq!(open(offer()), Ok(Command::Coupon(command)));
}

#[test]
fn refuses_a_coupon_that_takes_off_neither_a_percentage_nor_an_amount_or_both() {
    for (basis_points, fixed) in [(0, None), (-1, None), (10_001, None), (1, eur(1)), (-1, eur(1))] {
        assert_eq!(open(wire::CouponOffer { basis_points, fixed, ..offer() }).unwrap_err(), "INVALID_DISCOUNT");
    }
    for (basis_points, fixed) in [(1, None), (10_000, None), (0, eur(1))] {
        assert!(open(wire::CouponOffer { basis_points, fixed, ..offer() }).is_ok());
    }
}

#[test]
fn refuses_amounts_in_another_currency_and_of_nothing() {
    let dollars = Some(common::Money { minor_units: 1, currency: "USD".to_owned() });
    for (amount, refusal) in [(dollars, "WRONG_CURRENCY"), (eur(0), "INVALID_AMOUNT"), (eur(-1), "INVALID_AMOUNT")] {
        let fixed = wire::CouponOffer { basis_points: 0, fixed: amount.clone(), ..offer() };
        let capped = wire::CouponOffer { discount_max: amount.clone(), ..offer() };
        let from = wire::CouponOffer { spend_min: amount, ..offer() };
        assert!([fixed, capped, from].into_iter().all(|wrong| open(wrong).as_ref() == Err(&refusal.to_owned())));
    }
    assert_eq!(open(wire::CouponOffer { currency: "eur".to_owned(), ..offer() }).unwrap_err(), "INVALID_CURRENCY");
}

#[test]
fn refuses_limits_that_are_none_too_many_products_and_other_codes() {
    for uses in [-1, 1_000_000_001] {
        assert_eq!(open(wire::CouponOffer { uses_max: uses, ..offer() }).unwrap_err(), "INVALID_QUANTITY");
        let wrong = wire::CouponOffer { uses_per_customer_max: uses, ..offer() };
        assert_eq!(open(wrong).unwrap_err(), "INVALID_QUANTITY");
    }
    let skus = vec!["mug".to_owned(); 101];
    assert_eq!(open(wire::CouponOffer { skus, ..offer() }).unwrap_err(), "TOO_MANY_LINES");
    assert_eq!(open(wire::CouponOffer { skus: vec![String::new()], ..offer() }).unwrap_err(), "INVALID_SKU");
    let wrong =
        wire::OpenCoupon { coupon_code: "10 %".to_owned(), offer: Some(offer()), ..wire::OpenCoupon::default() };
    assert_eq!(read(&wrong).unwrap_err(), "INVALID_COUPON_CODE");
    assert_eq!(read(&wire::OpenCoupon::default()).unwrap_err(), "INVALID_CURRENCY");
}

#[test]
fn whoever_closes_a_coupon_says_who_and_why() {
    let close = |actor: &str, note: &str| wire::CloseCoupon {
        coupon_code: "Spring".to_owned(),
        actor: actor.to_owned(),
        note: note.to_owned(),
    };
    let (actor, note) = ("ann".to_owned(), "enough".to_owned());
    let closed = Command::Coupon(CouponCommand::Close { code: code(), actor, note });
    assert_eq!(read(&close("ann", "enough")), Ok(closed));
    assert_eq!(read(&close("", "enough")).unwrap_err(), "INVALID_TEXT");
    assert_eq!(read(&close("ann", "")).unwrap_err(), "INVALID_TEXT");
}

#[test]
fn every_event_reads_back_as_it_was_written() {
    let key = HoldKey { order_id: OrderId(Uuid::from_u128(7)), attempt: 2 };
    let of = || UseOf { code: code(), customer_id: "ada".to_owned() };
    let amount = Money { minor_units: 7, currency: Currency::parse("EUR").unwrap() };
    let fixed = Offer { off: Off::Fixed(5), skus: vec![], valid_from: Some(Timestamp::from_micros(1)), ..read_offer() };
    for event in [
        CouponEvent::Opened { code: code(), offer: read_offer(), actor: "ann".to_owned() },
        CouponEvent::Opened { code: code(), offer: fixed, actor: String::new() },
        CouponEvent::Closed {
            code: code(),
            actor: "ann".to_owned(),
            note: "enough".to_owned(),
            closed_at: Timestamp::from_micros(5),
        },
        CouponEvent::Held { key, of: of(), discount: Discount { amount, lines: vec![4, 0, 1], shares: 2 } },
        CouponEvent::Rejected { key, code: code(), rejection: Rejection::new("COUPON_USED_UP", "none is left") },
        CouponEvent::Redeemed { key, of: of() },
        CouponEvent::Released { key, of: Some(of()) },
        CouponEvent::Released { key, of: None },
    ] {
        let event = Event::Coupon(event);
        let (message_type, data) = encode(&event);
        assert!(proto::message_types().iter().any(|known| known == message_type), "{message_type}");
        assert_eq!(decode_event(message_type, &data), Ok(event));
        assert!(decode_event(message_type, b"").is_err(), "{message_type}");
    }
}

#[test]
fn a_discount_whose_parts_do_not_add_up_is_none() {
    let held = wire::CouponHeld {
        order_id: Uuid::from_u128(7).to_string(),
        attempt: 1,
        coupon_code: "SPRING".to_owned(),
        discount: Some(common::Discount { amount: eur(7), lines_minor: vec![4, 4], shares_minor: 0 }),
        customer_id: "ada".to_owned(),
    };
    let refusal = decode_event(&wire::CouponHeld::full_name(), &held.encode_to_vec()).unwrap_err();
    assert_eq!(refusal.code, "INVALID_AMOUNT");
}
