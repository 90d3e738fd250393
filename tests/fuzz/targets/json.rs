//! Commands in proto3 JSON: what is taken decodes, and says the same in protobuf, in JSON again, and to its service.

use std::sync::LazyLock;

use domain::Decider;
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use rounds::Rounds;
use uuid::Uuid;

use super::{
    Checked, Shape, Target, because, ensure, headed, refused, same,
    samples::{COMMANDS, types},
};
use crate::attempt::{about, outline};

pub(super) const TARGET: Target = Target {
    name: "json",
    shape: Shape::Text,
    heads,
    tokens: &[
        "{}",
        "[]",
        "[{}]",
        "null",
        "true",
        "\"\"",
        ",",
        ":",
        "\"orderId\":",
        "\"order_id\":",
        "\"lines\":[{\"sku\":\"CUP\",\"quantity\":1}]",
        "\"unitPrice\":{\"minorUnits\":\"1\",\"currency\":\"EUR\"}",
        "\"timeToPay\":\"-0.000000001s\"",
        "\"315576000000.999999999s\"",
        "\"9999-12-31T23:59:59.999999999Z\"",
        "\"0001-01-01T00:00:00Z\"",
        "\"1972-06-30T23:59:60+23:59\"",
        "\"latePaymentPolicy\":77",
        "1e2",
        "1.0",
        "999.99999999999999999",
        "-9223372036854775809",
        "\"quantity\":1,\"quantity\":2",
        "\"5.0000000001s\"",
        "\"2027-10-31T02:30:00+02:00\"",
        "\"voucherCode\":\"SUMMER\"",
        "9.223372036854775807e18",
        "-0.0",
        "\\u0000",
        "\\ud83e\\udd80",
        "\\ud800",
        "[[[[[[[[",
        "\"6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81\"",
    ],
    seeds,
    check,
};

fn heads() -> &'static [String] {
    types()
}

fn seeds() -> Vec<Vec<u8>> {
    COMMANDS.iter().map(|(message_type, json)| format!("{message_type}\n{json}").into_bytes()).collect()
}

fn check(input: &[u8]) -> Checked {
    static TYPES: LazyLock<&[String]> = LazyLock::new(types);
    let (message_type, json) = headed(input);
    let bytes = match proto::from_json(&message_type, json) {
        Ok(bytes) => bytes,
        Err(error) => {
            let error = error.to_string();
            because(&error)?;
            let name = if TYPES.contains(&message_type) { proto::short_name(&message_type) } else { "no type" };
            // From the first apostrophe on, and after the last words, it repeats what was sent.
            let told = error.split('\'').next().unwrap_or_default();
            return Ok(format!("{name} {}", outline(told.split(", not ").next().unwrap_or_default())));
        }
    };
    ensure(TYPES.contains(&message_type), || format!("nobody knows a type {message_type}"))?;
    ensure(proto::unknown_field(&message_type, &bytes).is_none(), || "a field that nobody knows".to_owned())?;
    let told = proto::to_json(&message_type, &bytes).map_err(|error| format!("read, but not told again: {error}"))?;
    let again = proto::from_json(&message_type, told.to_string().as_bytes())
        .map_err(|error| format!("told, but not read again: {error}"))?;
    same("told again", &format!("{again:?}"), &format!("{bytes:?}"))?;
    let heard = match proto::owner(&message_type) {
        Some("orders") => asked::<Orders>(&message_type, &bytes)?,
        Some("inventory") => asked::<Inventory>(&message_type, &bytes)?,
        Some("rounds") => asked::<Rounds>(&message_type, &bytes)?,
        Some("payments") => asked::<Payments>(&message_type, &bytes)?,
        Some(_) | None => "a part".to_owned(),
    };
    Ok(format!("{} of {} fields: {heard}", proto::short_name(&message_type), about(fields(&told))))
}

/// What fits the contract decodes, whatever the service thinks of what it says.
fn asked<S: Decider>(message_type: &str, bytes: &[u8]) -> Checked {
    match S::decode_command(message_type, bytes, Uuid::from_u128(7)) {
        Ok(_command) => Ok("taken".to_owned()),
        Err(rejection) => {
            ensure(rejection.code != "UNDECODABLE", || format!("fits the contract, and yet: {rejection}"))?;
            refused(&rejection)
        }
    }
}

/// How many values there are.
fn fields(told: &serde_json::Value) -> usize {
    match told {
        serde_json::Value::Array(values) => values.iter().map(fields).sum(),
        serde_json::Value::Object(values) => values.values().map(fields).sum(),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => 1,
    }
}
