//! The contract: every command and event as a protobuf type, and proto3 JSON for people and other systems.

mod examples;
mod fields;
mod json;

#[expect(missing_docs, unreachable_pub, reason = "generated; the .proto files carry the documentation")]
mod contract {
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

pub use contract::holdfast::{common, inventory, orders, payments, rounds};
pub use examples::EXAMPLES;
pub use fields::{UnknownField, unknown_field};
pub use json::{
    JsonError, JsonMessage, SchemaOf, description, from_json, json_schemas, message_types, part_types, to_json,
    to_json_as_spelled,
};
/// Google's well-known types that the contract uses.
pub mod well_known {
    pub use prost_types::{Duration, Timestamp};
}
pub use prost::{Message, Name};

/// The services, each of which owns one package, one schema and one prefix of subjects.
pub const SERVICES: [&str; 4] = ["orders", "inventory", "rounds", "payments"];

/// Commands that do not wait behind the others of their service: thousands of orders may be placed while somebody asks for money back. None of the
/// others must have been handled before. One for each service at most, for a stream gives one subject another name.
pub const URGENT: [&str; 1] = ["holdfast.orders.v1.RequestRefund"];

/// Short name of a full type name: `OrderPlaced` of `holdfast.orders.v1.OrderPlaced`.
#[must_use]
pub fn short_name(message_type: &str) -> &str {
    message_type.rsplit('.').next().unwrap_or(message_type)
}

/// Service that owns a type: `orders` of `holdfast.orders.v1.OrderPlaced`. `None` for types outside the contract.
#[must_use]
pub fn owner(message_type: &str) -> Option<&str> {
    let mut parts = message_type.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("holdfast"), Some(service), Some("v1"), Some(_)) => Some(service),
        _ => None,
    }
}
