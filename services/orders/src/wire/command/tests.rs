//! Malformed commands are refused, each with its code, and well-formed ones are read to the last digit.

use std::time::Duration;

use domain::{AMOUNT_MAX, Decider, QUANTITY_MAX, RefundId, StreamVersion};
use proto::{Message, Name, common::v1 as common, orders::v1 as wire, well_known};
use providers::{Enabled, ProviderName};
use uuid::Uuid;

use super::{LINES_MAX, SHARES_MAX, decode_command, payable};
use crate::{
    Orders,
    command::{Command, RefundRequest},
    order::{
        LatePaymentPolicy, OrderTerms,
        spec::{ORDER, both, euros, goods, line, pieces, refund, round},
    },
};

const ID: Uuid = Uuid::from_u128(77);

fn read<M: Message + Name>(message: &M) -> Result<Command, String> {
    decode_command(&M::full_name(), &message.encode_to_vec(), ID).map_err(|rejection| rejection.code.into_owned())
}

fn code(code: &str) -> Result<Command, String> {
    Err(code.to_owned())
}

fn money(minor_units: i64, currency: &str) -> Option<common::Money> {
    Some(common::Money { minor_units, currency: currency.to_owned() })
}

fn order_line(sku: &str, quantity: i64, unit_price: Option<common::Money>) -> wire::OrderLine {
    wire::OrderLine { sku: sku.to_owned(), quantity, unit_price }
}

fn purchase(count: i64, unit_price: Option<common::Money>) -> Option<wire::SharePurchase> {
    Some(wire::SharePurchase { round_id: round().to_string(), count, unit_price })
}

fn seconds(seconds: i64, nanos: i32) -> Option<well_known::Duration> {
    Some(well_known::Duration { seconds, nanos })
}

/// The goods and shares of the specs.
fn place() -> wire::PlaceOrder {
    wire::PlaceOrder {
        order_id: ORDER.to_string(),
        customer_id: "customer-1".to_owned(),
        lines: vec![order_line("mug", 2, money(450, "EUR")), order_line("cup", 1, money(100, "EUR"))],
        shares: purchase(3, money(500, "EUR")),
        time_to_pay: None,
        late_payment_policy: 0,
        payment_method: "card".to_owned(),
        reference: String::new(),
        coupon_code: String::new(),
        contact_email: String::new(),
        actor: String::new(),
    }
}

/// An order of these lines alone.
fn place_lines(lines: Vec<wire::OrderLine>) -> wire::PlaceOrder {
    wire::PlaceOrder { lines, shares: None, ..place() }
}

/// An order of these shares alone.
fn place_shares(count: i64, unit_price: Option<common::Money>) -> wire::PlaceOrder {
    wire::PlaceOrder { lines: vec![], shares: purchase(count, unit_price), ..place() }
}

fn terms(message: &wire::PlaceOrder) -> OrderTerms {
    match read(message) {
        Ok(Command::PlaceOrder { order_id: ORDER, terms, contact: _, .. }) => terms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_an_order_and_adds_up_its_price() {
    assert_eq!(terms(&place()), both());
    assert_eq!(terms(&wire::PlaceOrder { shares: None, ..place() }), goods());
    assert_eq!(terms(&place_shares(3, money(500, "EUR"))).total, euros(1_500));
    assert!(terms(&place_shares(3, money(500, "EUR"))).lines.is_empty());
}

#[test]
fn keeps_the_lines_of_one_product_apart_for_they_may_differ_in_price() {
    let lines = vec![order_line("mug", 2, money(450, "EUR")), order_line("mug", 1, money(0, "EUR"))];
    let terms = terms(&place_lines(lines));
    assert_eq!(terms.lines, vec![line("mug", 2, 450), line("mug", 1, 0)]);
    assert_eq!(terms.pieces(None).values().sum::<i64>(), 3);
}

#[test]
fn reads_the_late_payment_policy() {
    let policy = |number: i32| read(&wire::PlaceOrder { late_payment_policy: number, ..place() });
    for (number, expected) in
        [(0, LatePaymentPolicy::Refund), (1, LatePaymentPolicy::Refund), (2, LatePaymentPolicy::Rehold)]
    {
        assert!(
            matches!(policy(number), Ok(Command::PlaceOrder { terms, .. }) if terms.late_payment_policy == expected)
        );
    }
    for number in [-1, 3, i32::MAX] {
        assert_eq!(policy(number), code("INVALID_LATE_PAYMENT_POLICY"));
    }
}

#[test]
fn refuses_a_malformed_order_id_in_every_command() {
    for bad in ["", "7", "not-a-uuid", "00000000-0000-0000-0000-000000000000"] {
        let order_id = bad.to_owned();
        assert_eq!(read(&wire::PlaceOrder { order_id: order_id.clone(), ..place() }), code("INVALID_ID"));
        assert_eq!(read(&wire::CancelOrder { order_id: order_id.clone(), ..cancel() }), code("INVALID_ID"));
        assert_eq!(read(&wire::RequestRefund { order_id: order_id.clone(), ..want_back() }), code("INVALID_ID"));
        assert_eq!(read(&wire::ExpireOrder { order_id: order_id.clone(), ..expire() }), code("INVALID_ID"));
        assert_eq!(read(&wire::ReinstateOrder { order_id, ..reinstate() }), code("INVALID_ID"));
    }
}

#[test]
fn reads_a_reference_and_refuses_one_that_is_too_long_or_unprintable() {
    let with = |reference: &str| wire::PlaceOrder { reference: reference.to_owned(), ..place() };
    assert_eq!(terms(&with("")).reference, None);
    for good in ["7", "Bestellung 7/2026 \u{2116}1", &"\u{fc}".repeat(64)] {
        assert_eq!(terms(&with(good)).reference.as_deref(), Some(good));
    }
    for bad in ["a\tb", "a\0", &"x".repeat(65)] {
        assert_eq!(read(&with(bad)), code("INVALID_TEXT"), "{bad:?}");
    }
}

#[test]
fn an_order_is_paid_from_the_wallet_of_its_own_customer() {
    let with = |payment_method: &str| {
        let payment_method = payment_method.to_owned();
        read(&wire::PlaceOrder { payment_method, ..place() })
    };
    for payment_method in ["wallet", "wallet:customer-1"] {
        let Ok(Command::PlaceOrder { terms, .. }) = with(payment_method) else { panic!("{payment_method}") };
        assert_eq!(terms.payment_method, "wallet:customer-1");
    }
    for payment_method in ["wallet:", "wallet:customer-2", "wallet:wallet:customer-1", "wallet: customer-1"] {
        assert_eq!(with(payment_method), code("WRONG_WALLET"), "{payment_method}");
    }
    let nobody = wire::PlaceOrder { customer_id: String::new(), payment_method: "wallet".to_owned(), ..place() };
    assert_eq!(read(&nobody), code("INVALID_TEXT"));
}

#[test]
fn refuses_a_malformed_customer_or_payment_method() {
    for customer_id in ["", "a\0b", &"x".repeat(129)] {
        assert_eq!(read(&wire::PlaceOrder { customer_id: customer_id.to_owned(), ..place() }), code("INVALID_TEXT"));
    }
    for actor in ["a\nb", &"x".repeat(129)] {
        assert_eq!(read(&wire::PlaceOrder { actor: actor.to_owned(), ..place() }), code("INVALID_TEXT"));
    }
    for payment_method in ["a\nb", &"x".repeat(257)] {
        let payment_method = payment_method.to_owned();
        assert_eq!(read(&wire::PlaceOrder { payment_method, ..place() }), code("INVALID_TEXT"));
    }
    assert!(read(&wire::PlaceOrder { payment_method: String::new(), ..place() }).is_ok());
}

/// How an order is paid that says this, where these providers take payments.
fn paid_by(message: &wire::PlaceOrder, enabled: &Enabled) -> Result<String, String> {
    match payable(read(message)?, enabled) {
        Ok(Command::PlaceOrder { terms, .. }) => Ok(terms.payment_method),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(rejection.code.into_owned()),
    }
}

#[test]
fn an_order_that_does_not_say_how_it_is_paid_is_paid_as_it_is_done_here() {
    let silent = wire::PlaceOrder { payment_method: String::new(), ..place() };
    let by = |default| paid_by(&silent, &Enabled::new(default, vec![]));
    assert_eq!(by(ProviderName::Stripe), Ok("stripe".to_owned()));
    assert_eq!(by(ProviderName::Wallet), Ok("wallet:customer-1".to_owned()));
    assert_eq!(by(ProviderName::Sandbox), Ok(String::new()), "as orders have always had it");
    // The amount was read before it was known who takes it.
    let line = order_line("mug", 1, money(1, "EUR"));
    let cent = wire::PlaceOrder { payment_method: String::new(), ..place_lines(vec![line]) };
    let stripe = Enabled::new(ProviderName::Stripe, vec![]);
    assert_eq!(paid_by(&cent, &stripe), Err("AMOUNT_TOO_SMALL".to_owned()));
    assert_eq!(paid_by(&wire::PlaceOrder { coupon_code: "TEN".to_owned(), ..cent }, &stripe), Ok("stripe".to_owned()));
}

#[test]
fn refuses_to_be_paid_by_a_provider_that_takes_no_payments_here() {
    let real = Enabled::new(ProviderName::Stripe, vec![ProviderName::Wallet]);
    let by = |payment_method: &str| {
        paid_by(&wire::PlaceOrder { payment_method: payment_method.to_owned(), ..place() }, &real)
    };
    for payment_method in ["sandbox:succeed", "card", "Stripe"] {
        assert_eq!(by(payment_method), Err("PAYMENT_METHOD_NOT_TAKEN".to_owned()), "{payment_method}");
    }
    assert_eq!(by("stripe"), Ok("stripe".to_owned()));
    assert_eq!(by("wallet"), Ok("wallet:customer-1".to_owned()));
}

#[test]
fn refuses_an_order_of_nothing_and_one_of_too_much() {
    assert_eq!(read(&place_lines(vec![])), code("EMPTY_ORDER"));
    let lines = |count: usize| (0..count).map(|id| order_line(&format!("sku-{id}"), 1, money(1, "EUR"))).collect();
    assert!(read(&place_lines(lines(LINES_MAX))).is_ok());
    assert_eq!(read(&place_lines(lines(LINES_MAX + 1))), code("TOO_MANY_LINES"));
}

#[test]
fn refuses_a_malformed_product() {
    for sku in ["", " a", "a\u{200b}b", &"x".repeat(129)] {
        assert_eq!(read(&place_lines(vec![order_line(sku, 1, money(1, "EUR"))])), code("INVALID_SKU"));
    }
}

#[test]
fn refuses_a_quantity_outside_its_limits_also_of_several_lines_together() {
    for quantity in [0, -1, QUANTITY_MAX + 1, i64::MAX, i64::MIN] {
        assert_eq!(read(&place_lines(vec![order_line("mug", quantity, money(1, "EUR"))])), code("INVALID_QUANTITY"));
    }
    let half = order_line("mug", QUANTITY_MAX / 2, money(1, "EUR"));
    assert!(read(&place_lines(vec![half.clone(), half.clone()])).is_ok());
    let more = order_line("mug", 1, money(1, "EUR"));
    assert_eq!(read(&place_lines(vec![half.clone(), half, more])), code("INVALID_QUANTITY"));
}

#[test]
fn refuses_shares_outside_their_limits() {
    for count in [0, -1, SHARES_MAX + 1, i64::MAX] {
        assert_eq!(read(&place_shares(count, money(1, "EUR"))), code("INVALID_QUANTITY"));
    }
    assert!(read(&place_shares(SHARES_MAX, money(1, "EUR"))).is_ok());
    assert_eq!(read(&place_shares(1, money(0, "EUR"))), code("INVALID_AMOUNT"));
    assert_eq!(read(&place_shares(1, None)), code("INVALID_AMOUNT"));
    let nowhere = wire::SharePurchase { round_id: "round".to_owned(), count: 1, unit_price: money(1, "EUR") };
    assert_eq!(read(&wire::PlaceOrder { shares: Some(nowhere), ..place() }), code("INVALID_ID"));
}

#[test]
fn refuses_a_malformed_price() {
    for price in [None, money(-1, "EUR"), money(AMOUNT_MAX + 1, "EUR"), money(i64::MIN, "EUR")] {
        assert_eq!(read(&place_lines(vec![order_line("mug", 1, price)])), code("INVALID_AMOUNT"));
    }
    for currency in ["", "eur", "EURO", "€", "ABC", "XXX"] {
        assert_eq!(read(&place_lines(vec![order_line("mug", 1, money(1, currency))])), code("INVALID_CURRENCY"));
    }
}

#[test]
fn refuses_two_currencies_in_one_order() {
    let lines = vec![order_line("mug", 1, money(1, "EUR")), order_line("cup", 1, money(0, "USD"))];
    assert_eq!(read(&place_lines(lines)), code("MIXED_CURRENCY"));
    assert_eq!(read(&wire::PlaceOrder { shares: purchase(1, money(1, "USD")), ..place() }), code("MIXED_CURRENCY"));
}

#[test]
fn refuses_an_order_that_costs_nothing_or_more_than_can_be_counted() {
    assert_eq!(read(&place_lines(vec![order_line("mug", 3, money(0, "EUR"))])), code("NOTHING_TO_PAY"));
    assert!(read(&place_lines(vec![order_line("mug", 1, money(AMOUNT_MAX, "EUR"))])).is_ok());
    let one_more = vec![order_line("mug", 1, money(AMOUNT_MAX, "EUR")), order_line("cup", 1, money(1, "EUR"))];
    assert_eq!(read(&place_lines(one_more)), code("AMOUNT_TOO_LARGE"));
    let overflow = vec![order_line("mug", QUANTITY_MAX, money(AMOUNT_MAX, "EUR"))];
    assert_eq!(read(&place_lines(overflow)), code("AMOUNT_TOO_LARGE"));
    assert_eq!(read(&place_shares(SHARES_MAX, money(AMOUNT_MAX, "EUR"))), code("AMOUNT_TOO_LARGE"));
}

#[test]
fn refuses_what_the_provider_cannot_take() {
    let by_stripe = |minor_units, currency| {
        let lines = vec![order_line("mug", 1, money(minor_units, currency))];
        read(&wire::PlaceOrder { payment_method: "stripe".to_owned(), ..place_lines(lines) })
    };
    assert!(by_stripe(50, "EUR").is_ok() && by_stripe(50, "JPY").is_ok());
    assert_eq!(by_stripe(49, "EUR"), code("AMOUNT_TOO_SMALL"));
    assert_eq!(by_stripe(100_000_000, "EUR"), code("AMOUNT_TOO_LARGE"));
    assert_eq!(by_stripe(1_234, "KWD"), code("AMOUNT_NOT_DIVISIBLE"));
}

#[test]
fn reads_a_time_to_pay_within_its_limits() {
    let read_time = |time_to_pay| terms(&wire::PlaceOrder { time_to_pay, ..place() }).time_to_pay;
    assert_eq!(read_time(None), Duration::from_mins(30));
    assert_eq!(read_time(seconds(5, 0)), Duration::from_secs(5));
    assert_eq!(read_time(seconds(5, 1_999)), Duration::from_micros(5_000_001));
    assert_eq!(read_time(seconds(604_800, 0)), Duration::from_hours(168));
}

#[test]
fn refuses_a_time_to_pay_outside_its_limits() {
    for bad in [
        seconds(0, 0),
        seconds(4, 999_999_999),
        seconds(604_800, 1_000),
        seconds(604_801, 0),
        seconds(-5, 0),
        seconds(10, -1),
        seconds(10, 1_000_000_000),
        seconds(i64::MAX, i32::MAX),
        seconds(i64::MIN, i32::MIN),
    ] {
        assert_eq!(read(&wire::PlaceOrder { time_to_pay: bad, ..place() }), code("INVALID_TIME_TO_PAY"), "{bad:?}");
        assert_eq!(read(&wire::ReinstateOrder { time_to_pay: bad, ..reinstate() }), code("INVALID_TIME_TO_PAY"));
    }
}

#[test]
fn a_version_that_is_expected_goes_with_whatever_is_wanted() {
    let cases = [
        (read(&cancel()), read(&wire::CancelOrder { expected_version: 7, ..cancel() })),
        (read(&expire()), read(&wire::ExpireOrder { expected_version: 7, ..expire() })),
        (read(&reinstate()), read(&wire::ReinstateOrder { expected_version: 7, ..reinstate() })),
        (read(&want_back()), read(&wire::RequestRefund { expected_version: 7, ..want_back() })),
    ];
    for (whatever, at_seven) in cases {
        let command = Box::new(whatever.unwrap());
        assert_eq!(at_seven, Ok(Command::AtVersion { version: StreamVersion::new(7), command }));
    }
}

fn cancel() -> wire::CancelOrder {
    wire::CancelOrder { order_id: ORDER.to_string(), actor: "ann".to_owned(), ..Default::default() }
}

fn expire() -> wire::ExpireOrder {
    wire::ExpireOrder {
        order_id: ORDER.to_string(),
        actor: "ann".to_owned(),
        note: "the sale is over".to_owned(),
        expected_version: 0,
    }
}

fn reinstate() -> wire::ReinstateOrder {
    let (actor, note) = ("ann".to_owned(), "she called".to_owned());
    wire::ReinstateOrder { order_id: ORDER.to_string(), actor, note, ..Default::default() }
}

fn want_back() -> wire::RequestRefund {
    wire::RequestRefund { order_id: ORDER.to_string(), actor: "ann".to_owned(), ..Default::default() }
}

#[test]
fn refuses_to_act_for_nobody_or_with_too_many_words() {
    for bad in ["", "a\tb", &"x".repeat(513)] {
        let word = bad.to_owned();
        assert_eq!(read(&wire::CancelOrder { actor: word.clone(), ..cancel() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ReinstateOrder { actor: word.clone(), ..reinstate() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ExpireOrder { actor: word.clone(), ..expire() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ExpireOrder { note: word.clone(), ..expire() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::RequestRefund { actor: word.clone(), ..want_back() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ReinstateOrder { note: word.clone(), ..reinstate() }), code("INVALID_TEXT"));
        if !word.is_empty() {
            assert_eq!(read(&wire::CancelOrder { note: word.clone(), ..cancel() }), code("INVALID_TEXT"));
            assert_eq!(read(&wire::RequestRefund { note: word, ..want_back() }), code("INVALID_TEXT"));
        }
    }
}

#[test]
fn a_cancellation_names_its_refund_after_the_command() {
    let refund_id = |id| match decode_command(&wire::CancelOrder::full_name(), &cancel().encode_to_vec(), id) {
        Ok(Command::CancelOrder { refund_id, .. }) => refund_id,
        other => panic!("{other:?}"),
    };
    assert_eq!(refund_id(ID), refund_id(ID));
    assert_ne!(refund_id(ID), refund_id(Uuid::from_u128(78)));
    assert_ne!(refund_id(ID), RefundId(ID));
}

#[test]
fn reads_a_reinstatement() {
    let (actor, note) = ("ann".to_owned(), "she called".to_owned());
    let time_to_pay = Duration::from_mins(30);
    assert_eq!(read(&reinstate()), Ok(Command::ReinstateOrder { order_id: ORDER, time_to_pay, actor, note }));
}

#[test]
fn reads_a_request_for_a_refund() {
    let quantity = |sku: &str, quantity| common::ProductQuantity { sku: sku.to_owned(), quantity };
    let message = wire::RequestRefund {
        refund_id: refund(9).to_string(),
        lines: vec![quantity("mug", 1), quantity("mug", 2)],
        return_shares: true,
        amount: money(7, "EUR"),
        ..want_back()
    };
    let request = RefundRequest {
        order_id: ORDER,
        refund_id: refund(9),
        lines: pieces(&[("mug", 3)]),
        return_shares: true,
        amount: Some(euros(7)),
        actor: "ann".to_owned(),
        note: String::new(),
    };
    assert_eq!(read(&message), Ok(Command::RequestRefund(request.clone())));
    let unnamed = wire::RequestRefund { refund_id: String::new(), ..message };
    assert_eq!(read(&unnamed), Ok(Command::RequestRefund(RefundRequest { refund_id: RefundId(ID), ..request })));
}

#[test]
fn refuses_a_malformed_request_for_a_refund() {
    let with_line = |sku: &str, quantity| {
        let sku = sku.to_owned();
        read(&wire::RequestRefund { lines: vec![common::ProductQuantity { sku, quantity }], ..want_back() })
    };
    assert_eq!(with_line("mug", 0), code("INVALID_QUANTITY"));
    assert_eq!(with_line("mug", -1), code("INVALID_QUANTITY"));
    assert_eq!(with_line("", 1), code("INVALID_SKU"));
    for amount in [money(0, "EUR"), money(-1, "EUR"), money(AMOUNT_MAX + 1, "EUR")] {
        assert_eq!(read(&wire::RequestRefund { amount, ..want_back() }), code("INVALID_AMOUNT"));
    }
    assert_eq!(read(&wire::RequestRefund { amount: money(1, ""), ..want_back() }), code("INVALID_CURRENCY"));
    assert_eq!(read(&wire::RequestRefund { refund_id: "9".to_owned(), ..want_back() }), code("INVALID_ID"));
    let lines = vec![common::ProductQuantity { sku: "mug".to_owned(), quantity: 1 }; LINES_MAX + 1];
    assert_eq!(read(&wire::RequestRefund { lines, ..want_back() }), code("TOO_MANY_LINES"));
}

#[test]
fn refuses_bytes_that_are_no_message() {
    for message_type in Orders::COMMANDS {
        assert_eq!(decode_command(message_type, b"\x0a\xffmug", ID).unwrap_err().code, "UNDECODABLE", "{message_type}");
    }
}

#[test]
fn refuses_a_type_that_it_does_not_know() {
    for other in ["", "PlaceOrder", "holdfast.inventory.v1.ReceiveStock", "holdfast.orders.v1.OrderPlaced"] {
        assert_eq!(decode_command(other, b"", ID).unwrap_err().code, "UNKNOWN_TYPE", "{other}");
    }
}

#[test]
fn takes_exactly_the_commands_that_it_names() {
    for message_type in proto::message_types() {
        let taken =
            decode_command(&message_type, b"", ID).err().is_none_or(|rejection| rejection.code != "UNKNOWN_TYPE");
        assert_eq!(taken, Orders::COMMANDS.contains(&&*message_type), "{message_type}");
    }
}
