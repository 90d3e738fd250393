//! The document is committed, so that others can read it without a build, and says what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{
    commands::{Field, SHAPES, Shape, decode, fields, schemas, shape},
    document, text,
};

#[test]
fn the_committed_document_is_what_the_code_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/asyncapi.json");
    let made = text().unwrap();
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == made,
        "make it again: HOLDFAST_BLESS=1 cargo test -p cli the_committed_document"
    );
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    found.extend(value.get("$ref").and_then(Value::as_str));
    value.as_object().into_iter().flatten().for_each(|(_, part)| references(part, found));
    value.as_array().into_iter().flatten().for_each(|part| references(part, found));
}

#[test]
fn whatever_it_refers_to_is_in_it_and_all_that_is_in_it_is_referred_to() {
    let document = document().unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
    }
    for kind in ["messages", "schemas"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(found.contains(format!("#/components/{kind}/{name}").as_str()), "{name}");
        }
    }
}

#[test]
fn it_has_every_command_and_every_event() {
    let document = document().unwrap();
    for command in operate::letters::commands() {
        let subject = &document["channels"][proto::short_name(command)]["address"];
        let (service, name) = (proto::owner(command).unwrap(), proto::short_name(command));
        assert_eq!(*subject, json!(format!("cmd.{service}.{name}")), "give proto/src/examples.rs one of {command}");
    }
    for event in audit::catalogue::event_types() {
        let service = proto::owner(&event).filter(|owner| proto::SERVICES.contains(owner)).unwrap_or("rounds");
        let channel = &document["channels"][format!("{service}.json")];
        assert!(channel["messages"][proto::short_name(&event)].is_object(), "{event}");
        assert_eq!(channel["address"], format!("json.{service}.{{event}}"));
    }
}

#[test]
fn a_sender_learns_what_must_be_given_and_what_may_be() {
    let schemas = schemas().unwrap();
    let place = &schemas["sent.holdfast.orders.v1.PlaceOrder"];
    assert_eq!(place["required"], json!(["customerId", "orderId"]));
    assert_eq!(place["properties"]["customerId"]["minLength"], 1);
    assert_eq!(place["properties"]["lines"]["maxItems"], 1_000);
    assert_eq!(place["additionalProperties"], false);
    let line = &schemas["sent.holdfast.orders.v1.OrderLine"];
    assert_eq!(line["required"], json!(["quantity", "sku", "unitPrice"]));
    assert_eq!(line["properties"]["quantity"]["type"], json!(["string", "integer"]));
    // A provider's report is a fact, whatever it says.
    assert!(schemas["reported.holdfast.common.v1.Money"]["properties"]["currency"].get("pattern").is_none());
    let document = document().unwrap();
    let placed = &document["components"]["schemas"]["read.holdfast.orders.v1.OrderPlaced"];
    assert_eq!(placed["additionalProperties"], true, "a reader must go on past new fields");
}

/// Values just within and just beyond a shape.
fn probes(shape: Shape, there: &Value) -> (Vec<Value>, Vec<Value>) {
    let texts = |all: &[String]| all.iter().map(|text| json!(text)).collect();
    let entries = |count: usize| Value::from(vec![there[0].clone(); count]);
    match shape {
        Shape::Id => (vec![there.clone()], vec![json!("seven")]),
        Shape::Chars(most) => (texts(&["x".repeat(most)]), texts(&["x".repeat(most + 1)])),
        Shape::Entries(most) => (vec![entries(most)], vec![entries(most + 1)]),
        Shape::Whole(least, most) => {
            let whole = |number: i64| json!(number.to_string());
            (vec![whole(least), whole(most)], vec![whole(least - 1), whole(most + 1)])
        }
        Shape::Currency => (vec![json!("USD")], vec![json!("usd"), json!("EURO"), json!("E1R")]),
        Shape::Email => {
            let address = |last: usize| {
                let labels = ["b".repeat(63), "c".repeat(63), "d".repeat(last)];
                format!("{}@{}", "a".repeat(64), labels.join("."))
            };
            (texts(&[address(61)]), texts(&[address(62), "ann".to_owned()]))
        }
    }
}

fn with(example: &Value, field: &Field, value: Value) -> Value {
    let mut changed = example.clone();
    changed.pointer_mut(&field.within).unwrap()[&field.name] = value;
    changed
}

/// A limit that the document has and the worker has not, or the other way round, would let a sender down.
#[test]
fn every_limit_is_that_of_the_decoder() {
    let schemas = schemas().unwrap();
    let mut seen = BTreeSet::new();
    for (message_type, example) in proto::EXAMPLES {
        let example: Value = serde_json::from_str(example).unwrap();
        decode(message_type, &example).unwrap();
        if schemas.contains_key(&format!("reported.{message_type}")) {
            continue;
        }
        for field in fields(message_type, &example, &schemas) {
            let Some(shape) = shape(&field.message_type, &field.name) else { continue };
            let there = &example.pointer(&field.within).unwrap()[&field.name];
            let (within, beyond) = probes(shape, there);
            let codes: Vec<String> = beyond
                .iter()
                .map(|value| match decode(message_type, &with(&example, &field, value.clone())) {
                    Err(rejection) => rejection.code.to_string(),
                    Ok(()) => panic!("{field:?} takes {value}"),
                })
                .collect();
            for (place, value) in within.iter().enumerate() {
                let taken = decode(message_type, &with(&example, &field, value.clone()));
                // What is the most of one field may be too much of another: an order's total.
                if taken.is_ok() || taken.is_err_and(|rejection| !codes.contains(&rejection.code.to_string())) {
                    seen.insert((field.message_type.clone(), field.name.clone(), place));
                }
            }
        }
    }
    for (of, name, shape) in SHAPES {
        let is_taken = |place: usize| {
            seen.iter()
                .any(|(message_type, field, at)| field == name && *at == place && (of.is_empty() || message_type == of))
        };
        let places = if matches!(shape, Shape::Whole(..)) { 2 } else { 1 };
        assert!((0..places).all(is_taken), "{of} {name}: {shape:?} is never taken, or no example has it");
    }
}
