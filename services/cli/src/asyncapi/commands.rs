//! What a command may be, as schemas: its fields from the contract; which of them must be given, by asking the services' own decoders; and
//! the limits of their values, which a test holds against those decoders.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use domain::{AMOUNT_MAX, Decider, QUANTITY_MAX, Rejection};
use proto::SchemaOf;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Schemas of what others send.
const SENT: &str = "sent.";

/// Schemas of what providers report: facts, which have no limits.
const REPORTED: &str = "reported.";

/// The command that takes them in.
const REPORT: &str = "holdfast.payments.v1.RecordProviderEvent";

/// Below what every schema is.
const AT: &str = "#/components/schemas/";

/// What is given or left out with another field.
const EITHER_OR: [(&str, &str); 1] = [("holdfast.payments.v1.CouponOffer", "basisPoints")];

/// What the value of a field may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// A UUID.
    Id,
    /// At most so many characters.
    Chars(usize),
    /// At most so many entries.
    Entries(usize),
    /// A whole number, from and to.
    Whole(i64, i64),
    /// Three capitals.
    Currency,
    /// An address for mail.
    Email,
}

/// By the message, or of all of them, and the field. What is said of one message holds before what is said of all.
pub(super) const SHAPES: [(&str, &str, Shape); 27] = [
    ("", "orderId", Shape::Id),
    ("", "roundId", Shape::Id),
    ("", "paymentId", Shape::Id),
    ("", "refundId", Shape::Id),
    ("", "sku", Shape::Chars(128)),
    ("", "customerId", Shape::Chars(128)),
    ("", "actor", Shape::Chars(128)),
    ("", "note", Shape::Chars(512)),
    ("", "quantity", Shape::Whole(1, QUANTITY_MAX)),
    ("holdfast.common.v1.Money", "minorUnits", Shape::Whole(0, AMOUNT_MAX)),
    ("", "currency", Shape::Currency),
    ("holdfast.orders.v1.PlaceOrder", "lines", Shape::Entries(1_000)),
    ("holdfast.orders.v1.PlaceOrder", "paymentMethod", Shape::Chars(256)),
    ("holdfast.orders.v1.PlaceOrder", "reference", Shape::Chars(64)),
    ("holdfast.orders.v1.PlaceOrder", "contactEmail", Shape::Email),
    ("holdfast.orders.v1.SharePurchase", "count", Shape::Whole(1, 1_000_000)),
    ("holdfast.orders.v1.RequestRefund", "lines", Shape::Entries(1_000)),
    ("holdfast.inventory.v1.RegisterProduct", "name", Shape::Chars(256)),
    ("holdfast.inventory.v1.ReceiveStock", "reference", Shape::Chars(128)),
    ("holdfast.inventory.v1.AdjustStock", "delta", Shape::Whole(-QUANTITY_MAX, QUANTITY_MAX)),
    ("holdfast.inventory.v1.AdjustStock", "reason", Shape::Chars(512)),
    ("holdfast.rounds.v1.OpenRound", "prize", Shape::Chars(256)),
    ("holdfast.rounds.v1.OpenRound", "totalShares", Shape::Whole(1, 1_000_000)),
    ("holdfast.payments.v1.CouponOffer", "basisPoints", Shape::Whole(1, 10_000)),
    ("holdfast.payments.v1.CouponOffer", "usesMax", Shape::Whole(0, QUANTITY_MAX)),
    ("holdfast.payments.v1.CouponOffer", "usesPerCustomerMax", Shape::Whole(0, QUANTITY_MAX)),
    ("holdfast.payments.v1.CouponOffer", "skus", Shape::Entries(100)),
];

/// Reads a command as its service does.
///
/// # Errors
/// What the sender did wrong.
pub(super) fn decode(message_type: &str, json: &Value) -> Result<(), Rejection> {
    let refused = |error: proto::JsonError| Rejection::new("INVALID_JSON", error.to_string());
    let data = proto::from_json(message_type, json.to_string().as_bytes()).map_err(refused)?;
    let id = Uuid::from_u128(1);
    match proto::owner(message_type) {
        Some("orders") => orders::Orders::decode_command(message_type, &data, id).map(drop),
        Some("inventory") => inventory::Inventory::decode_command(message_type, &data, id).map(drop),
        Some("rounds") => rounds::Rounds::decode_command(message_type, &data, id).map(drop),
        _ => <payments::Payments>::decode_command(message_type, &data, id).map(drop),
    }
}

/// Where a command's schema begins its name.
fn prefix(message_type: &str) -> &'static str {
    if message_type == REPORT { REPORTED } else { SENT }
}

/// Where a command's schema is.
pub(super) fn reference(message_type: &str) -> String {
    format!("{AT}{}{message_type}", prefix(message_type))
}

/// A field in an example.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Field {
    /// The full name of the message that it is of.
    pub(super) message_type: String,
    pub(super) name: String,
    /// Where that message is, as a JSON pointer.
    pub(super) within: String,
}

/// All schemas of commands, by their names below `#/components/schemas/`.
///
/// # Errors
/// An example is none.
pub(super) fn schemas() -> Result<BTreeMap<String, Value>> {
    let mut schemas = BTreeMap::new();
    for (message_type, _) in proto::EXAMPLES {
        let prefix = prefix(message_type);
        let of = proto::json_schemas(message_type, SchemaOf::Command, &format!("{AT}{prefix}"))?;
        schemas.extend(of.into_iter().map(|(name, schema)| (format!("{prefix}{name}"), schema)));
    }
    for (message_type, name) in required(&schemas)? {
        let required = schemas.get_mut(&message_type).and_then(Value::as_object_mut).context("it has a schema")?;
        required.entry("required").or_insert_with(|| json!([])).as_array_mut().context("a list")?.push(name.into());
    }
    for (message_type, schema) in &mut schemas {
        let Some(message_type) = message_type.strip_prefix(SENT) else { continue };
        limit(message_type, schema);
    }
    Ok(schemas)
}

/// Fields without which a command is refused, wherever its message comes: the schema's name, and the field's.
fn required(schemas: &BTreeMap<String, Value>) -> Result<BTreeSet<(String, String)>> {
    let (mut refused, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for (message_type, example) in proto::EXAMPLES {
        let example: Value = serde_json::from_str(example).context("reading an example")?;
        for field in fields(message_type, &example, schemas) {
            let mut without = example.clone();
            if let Some(message) = without.pointer_mut(&field.within).and_then(Value::as_object_mut) {
                message.remove(&field.name);
            }
            let key = (format!("{}{}", prefix(message_type), field.message_type), field.name.clone());
            let is_alone = !EITHER_OR.contains(&(field.message_type.as_str(), field.name.as_str()));
            match decode(message_type, &without) {
                Err(_) if is_alone => refused.insert(key),
                Ok(()) | Err(_) => taken.insert(key),
            };
        }
    }
    Ok(refused.difference(&taken).cloned().collect())
}

/// All fields of an example, those of its parts too.
pub(super) fn fields(message_type: &str, example: &Value, schemas: &BTreeMap<String, Value>) -> Vec<Field> {
    let mut found = Vec::new();
    collect(message_type, prefix(message_type), String::new(), example, schemas, &mut found);
    found
}

fn collect(
    message_type: &str,
    prefix: &str,
    within: String,
    value: &Value,
    schemas: &BTreeMap<String, Value>,
    found: &mut Vec<Field>,
) {
    let schema = schemas.get(&format!("{prefix}{message_type}"));
    for (name, value) in value.as_object().into_iter().flatten() {
        let property = schema.and_then(|schema| schema.get("properties")?.get(name));
        let part = property.and_then(|property| {
            let reference = property.get("$ref").or_else(|| property.get("items")?.get("$ref"))?;
            reference.as_str()?.strip_prefix(AT)?.strip_prefix(prefix)
        });
        if let Some(part) = part {
            let at = format!("{within}/{name}");
            match value.as_array() {
                None => collect(part, prefix, at, value, schemas, found),
                Some(entries) => entries.iter().enumerate().for_each(|(number, entry)| {
                    collect(part, prefix, format!("{at}/{number}"), entry, schemas, found);
                }),
            }
        }
        found.push(Field { message_type: message_type.to_owned(), name: name.clone(), within: within.clone() });
    }
}

/// The shape of a field, if it has one.
pub(super) fn shape(message_type: &str, name: &str) -> Option<Shape> {
    let fits = |(of, field, _): &&(&str, &str, Shape)| *field == name && (of.is_empty() || *of == message_type);
    let shapes = SHAPES.iter().filter(fits);
    shapes.max_by_key(|(of, _, _)| !of.is_empty()).map(|(_, _, shape)| *shape)
}

fn limit(message_type: &str, schema: &mut Value) {
    let required: Vec<Value> = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        let (Some(shape), Some(property)) = (shape(message_type, name), property.as_object_mut()) else { continue };
        property.extend(keywords(shape));
        if required.contains(&json!(name)) && matches!(shape, Shape::Chars(_)) {
            property.insert("minLength".to_owned(), 1.into());
        }
    }
}

/// Limits of numbers hold for those that are written as texts too, which JSON Schema has no word for.
fn keywords(shape: Shape) -> Map<String, Value> {
    let keywords = match shape {
        Shape::Id => vec![("format", json!("uuid"))],
        Shape::Chars(most) => vec![("maxLength", json!(most))],
        Shape::Entries(most) => vec![("maxItems", json!(most))],
        Shape::Whole(least, most) => vec![("minimum", json!(least)), ("maximum", json!(most))],
        Shape::Currency => vec![("pattern", json!("^[A-Z]{3}$"))],
        Shape::Email => vec![("format", json!("email")), ("maxLength", json!(254))],
    };
    keywords.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
