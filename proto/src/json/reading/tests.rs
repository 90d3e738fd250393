//! What proto3 JSON is taken for, and how a refusal names the place.

use prost_reflect::{DescriptorPool, Kind};

use crate::{from_json, json::POOL, message_types, to_json};

const PLACE: &str = "holdfast.orders.v1.PlaceOrder";
const OPEN: &str = "holdfast.rounds.v1.OpenRound";
const RECEIVE: &str = "holdfast.inventory.v1.ReceiveStock";

fn refusal(message_type: &str, json: &str) -> String {
    let error = from_json(message_type, json.as_bytes()).unwrap_err().to_string();
    error.strip_prefix(&format!("the JSON does not fit `{message_type}`: ")).unwrap().to_owned()
}

fn quantity(number: &str) -> Result<serde_json::Value, String> {
    let json = format!(r#"{{"sku": "X", "quantity": {number}}}"#);
    let bytes = from_json(RECEIVE, json.as_bytes()).map_err(|_refusal| refusal(RECEIVE, &json))?;
    Ok(to_json(RECEIVE, &bytes).unwrap().get("quantity").cloned().unwrap_or_default())
}

#[test]
fn a_whole_number_is_exact_however_it_is_written() {
    for (written, read) in [
        ("9007199254740993", "9007199254740993"),
        ("\"9007199254740993\"", "9007199254740993"),
        ("9.007199254740993e15", "9007199254740993"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1e3", "1000"),
        ("1.0", "1"),
        ("10e-1", "1"),
        ("\"01\"", "1"),
    ] {
        assert_eq!(quantity(written), Ok(read.into()), "{written}");
    }
    for nothing in ["0", "-0", "null"] {
        assert_eq!(quantity(nothing), Ok(serde_json::Value::Null), "{nothing}");
    }
}

#[test]
fn a_number_that_is_not_whole_or_too_large_is_refused_and_quoted_as_it_was_written() {
    for written in [
        "1.5",
        "999.99999999999999999",
        "999999999999.99999",
        "0.99999999999999999999",
        "999999999.9999999999999999999",
        "-9223372036854775809",
        "9223372036854775808",
        "1e19",
        "1e400",
        "\"1.0\"",
        "\"1e3\"",
        "\" 1\"",
        "\"01 \"",
        "\"\"",
        "true",
        "[1]",
        "{}",
    ] {
        let range = "a whole number from -9223372036854775808 to 9223372036854775807";
        assert_eq!(quantity(written), Err(format!("quantity: expected {range}, not {written}")));
    }
    assert!(quantity("NaN").is_err());
}

#[test]
fn a_key_that_comes_twice_is_refused_in_both_of_its_spellings_and_at_every_depth() {
    let said = refusal(RECEIVE, r#"{"sku": "X", "quantity": 1, "quantity": 2}"#);
    assert_eq!(said, "quantity: it is there twice, and only one of them can be meant");
    let said = refusal(PLACE, r#"{"orderId": "a", "order_id": "a"}"#);
    assert!(said.starts_with("orderId: it is there twice"), "{said}");
    let said = refusal(PLACE, r#"{"lines": [{}, {"unitPrice": {"currency": "EUR", "currency": "USD"}}]}"#);
    assert!(said.starts_with("lines[1].unitPrice.currency: it is there twice"), "{said}");
    let said = refusal(PLACE, r#"{"orderId": null, "orderId": "a"}"#);
    assert!(said.starts_with("orderId: it is there twice"), "{said}");
}

#[test]
fn a_field_that_is_not_in_the_contract_is_refused_by_name() {
    assert_eq!(refusal(PLACE, r#"{"voucherCode": "SUMMER"}"#), "PlaceOrder has no field 'voucherCode'");
    assert_eq!(refusal(PLACE, r#"{"lines": [{"qty": 1}]}"#), "lines[0]: OrderLine has no field 'qty'");
}

#[test]
fn a_time_names_its_field_and_what_is_expected() {
    for bad in
        ["\"2027-10-31T02:30:00\"", "\"2027-10-31\"", "\"2027-10-31T23:59:60Z\"", "\"2027-10-31t02:30:00z\"", "7"]
    {
        assert_eq!(
            refusal(OPEN, &format!(r#"{{"closesAt": {bad}}}"#)),
            format!(
                "closesAt: expected an RFC 3339 time with its offset, such as 2027-10-31T02:30:00+02:00, not {bad}"
            )
        );
    }
    let bytes = from_json(OPEN, br#"{"closesAt": "2027-10-31T02:30:00+02:00"}"#).unwrap();
    assert_eq!(to_json(OPEN, &bytes).unwrap()["closesAt"], "2027-10-31T00:30:00Z");
    let said = refusal(PLACE, r#"{"timeToPay": "5.0000000001s"}"#);
    assert!(said.starts_with("timeToPay: expected seconds with at most 9 digits"), "{said}");
}

#[test]
fn every_kind_says_what_it_expects() {
    for (json, reason) in [
        (r#"{"orderId": 7}"#, "orderId: expected text in quotes, not 7"),
        (r#"{"orderId": "\ud800"}"#, r#"orderId: expected text in quotes, not "\ud800""#),
        (r#"{"lines": {}}"#, "lines: expected a list, not {}"),
        (r#"{"lines": [null]}"#, "lines[0]: expected an object, not null"),
        (r#"{"shares": [1]}"#, "shares: expected an object, not [1]"),
        (r#"{"latePaymentPolicy": "MAYBE"}"#, "latePaymentPolicy: expected one of LATE_PAYMENT_POLICY_UNSPECIFIED, "),
        (r#"{"latePaymentPolicy": 1.5}"#, "latePaymentPolicy: expected one of LATE_PAYMENT_POLICY_UNSPECIFIED, "),
    ] {
        let said = refusal(PLACE, json);
        assert!(said.starts_with(reason), "{said}");
    }
    let said = refusal("holdfast.orders.v1.RequestRefund", r#"{"returnShares": "true"}"#);
    assert_eq!(said, r#"returnShares: expected true or false, not "true""#);
    let said = refusal("holdfast.common.v1.CommandReply", r#"{"accepted": {}, "rejected": {}}"#);
    assert_eq!(said, "rejected: it excludes accepted, which is there too");
}

#[test]
fn what_is_no_json_is_told_with_its_place() {
    for bad in ["", "{", "{} {}", "{\"orderId\": \"a\",}", "{\"lines\": [{]}", "{\"lines\": [01]}", "\u{feff}{}"] {
        let said = refusal(PLACE, bad);
        assert!(said.contains(" at line 1 column "), "{bad}: {said}");
    }
    assert_eq!(refusal(PLACE, "[]"), "expected an object, not []");
    assert!(from_json(PLACE, b"{\"orderId\": \"\xff\"}").unwrap_err().to_string().contains("it is not UTF-8"));
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let said = refusal(RECEIVE, &format!(r#"{{"quantity": "{}"}}"#, "x".repeat(100_000)));
    assert!(said.len() < 200 && said.ends_with("x ..."), "{said}");
}

#[test]
fn the_contract_has_no_field_that_cannot_be_read() {
    let pool: &DescriptorPool = POOL.as_ref().unwrap();
    for message in message_types() {
        for field in pool.get_message_by_name(&message).unwrap().fields() {
            let is_read = !field.is_map() && !matches!(field.kind(), Kind::Float | Kind::Double | Kind::Bytes);
            assert!(is_read, "{}", field.full_name());
        }
    }
}
