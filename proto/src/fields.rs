//! Fields of protobuf bytes that the contract does not have: a decoder steps over them in silence, as it must with events.
//!
//! Why it is so: proto/README.md#unknown-fields-of-commands-are-refused

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{DescriptorPool, Kind};

use crate::json::POOL;

/// A field that a sender believes in and the contract does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// Full name of the message, or part of a message, that it is in.
    pub message_type: String,
    /// Its number.
    pub number: u64,
}

/// What a message is made of: its fields by number, with the place of their shape if they are messages themselves.
struct Shape {
    message_type: String,
    fields: Vec<(u64, Option<usize>)>,
}

/// All shapes, and where each is.
static SHAPES: LazyLock<(Vec<Shape>, HashMap<String, usize>)> = LazyLock::new(|| {
    let messages: Vec<_> = POOL.iter().flat_map(DescriptorPool::all_messages).collect();
    let places: HashMap<String, usize> =
        messages.iter().enumerate().map(|(place, message)| (message.full_name().to_owned(), place)).collect();
    let shape = |message: &prost_reflect::MessageDescriptor| {
        let part = |kind| if let Kind::Message(part) = kind { places.get(part.full_name()).copied() } else { None };
        let mut fields: Vec<_> =
            message.fields().map(|field| (u64::from(field.number()), part(field.kind()))).collect();
        fields.sort_unstable();
        Shape { message_type: message.full_name().to_owned(), fields }
    };
    (messages.iter().map(shape).collect(), places)
});

/// As deep as the decoder goes.
const DEPTH_MAX: usize = 100;

/// The first field of a message of this type, or of its parts, that the contract does not have. Bytes that are no message have none:
/// that is for the decoder to say.
#[must_use]
pub fn unknown_field(message_type: &str, bytes: &[u8]) -> Option<UnknownField> {
    let (shapes, places) = &*SHAPES;
    look(shapes, *places.get(message_type)?, bytes, DEPTH_MAX).flatten()
}

/// `None`: the bytes are no message.
fn look(shapes: &[Shape], place: usize, mut bytes: &[u8], depth: usize) -> Option<Option<UnknownField>> {
    let shape = shapes.get(place)?;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = key >> 3;
        let Ok(field) = shape.fields.binary_search_by_key(&number, |(number, _)| *number) else {
            return Some(Some(UnknownField { message_type: shape.message_type.clone(), number }));
        };
        match key & 7 {
            0 => {
                varint(&mut bytes)?;
            }
            1 => bytes = bytes.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (content, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                if let Some((_, Some(part))) = shape.fields.get(field)
                    && let Some(unknown) = look(shapes, *part, content, depth.checked_sub(1)?)?
                {
                    return Some(Some(unknown));
                }
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(None)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::Duration;

    use super::{UnknownField, unknown_field};
    use crate::{
        common::v1::Money,
        orders::v1::{OrderLine, PlaceOrder, SharePurchase},
    };

    const PLACE: &str = "holdfast.orders.v1.PlaceOrder";

    fn order() -> PlaceOrder {
        let price = || Some(Money { minor_units: i64::MAX, currency: "EUR".to_owned() });
        let line = |sku: &str| OrderLine { sku: sku.to_owned(), quantity: -1, unit_price: price() };
        PlaceOrder {
            order_id: "o".to_owned(),
            customer_id: "c".repeat(300),
            lines: vec![line("mug"), line("")],
            shares: Some(SharePurchase { round_id: "r".to_owned(), count: 2, unit_price: price() }),
            time_to_pay: Some(Duration { seconds: -1, nanos: -1 }),
            ..PlaceOrder::default()
        }
    }

    fn unknown(message_type: &str, number: u64) -> Option<UnknownField> {
        Some(UnknownField { message_type: message_type.to_owned(), number })
    }

    /// A text field of this number.
    fn field(number: u8, text: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(text.len()).unwrap()], text].concat()
    }

    #[test]
    fn a_message_of_the_contract_has_none() {
        assert_eq!(unknown_field(PLACE, &order().encode_to_vec()), None);
        assert_eq!(unknown_field(PLACE, b""), None);
    }

    #[test]
    fn a_field_of_tomorrow_is_found_at_every_depth() {
        let whole = [order().encode_to_vec(), field(15, b"SUMMER")].concat();
        assert_eq!(unknown_field(PLACE, &whole), unknown(PLACE, 15));
        let price = [Money { minor_units: 1, currency: "EUR".to_owned() }.encode_to_vec(), field(9, b"x")].concat();
        let line = field(3, &price);
        let whole = [order().encode_to_vec(), field(3, &line)].concat();
        assert_eq!(unknown_field(PLACE, &whole), unknown("holdfast.common.v1.Money", 9));
        // As a number, and as groups.
        assert_eq!(unknown_field(PLACE, &[15 << 3, 1]), unknown(PLACE, 15));
        assert_eq!(unknown_field(PLACE, b"{\"orderId\": 7}"), unknown(PLACE, 15));
    }

    #[test]
    fn bytes_that_are_no_message_are_left_to_the_decoder() {
        for bad in [&[0xff_u8, 0xff, 0xff][..], &[10, 200, 1], &[10], &[11], &[9, 1], &[13, 1], &[0xff; 11]] {
            assert!(PlaceOrder::decode(bad).is_err());
            assert_eq!(unknown_field(PLACE, bad), None, "{bad:?}");
        }
        assert_eq!(unknown_field("no.such.Type", b"\x78\x01"), None);
    }
}
