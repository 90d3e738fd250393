//! Inventory's commands and events as messages of the contract, and back.

use std::ops::RangeInclusive;

use domain::{HoldKey, Lines, QUANTITY_MAX, RefundId, Rejection, Sku, decode, lines_to_wire, text, unknown_type};
use proto::{Message, Name, common::v1::ProductQuantity, inventory::v1 as wire};

use crate::{command::Command, event::Event};

const PACKAGE: &str = "holdfast.inventory.v1.";

/// Reads a command from outside.
///
/// # Errors
/// What the sender did wrong.
pub fn decode_command(message_type: &str, data: &[u8]) -> Result<Command, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::RegisterProduct::NAME) => {
            let wire::RegisterProduct { sku, name, actor } = decode(data)?;
            Ok(Command::RegisterProduct {
                sku: Sku::parse(&sku)?,
                name: text("name", &name, 1, 256)?,
                actor: text("actor", &actor, 0, 128)?,
            })
        }
        Some(wire::ReceiveStock::NAME) => {
            let wire::ReceiveStock { sku, quantity, reference, actor } = decode(data)?;
            Ok(Command::ReceiveStock {
                sku: Sku::parse(&sku)?,
                quantity: pieces("quantity", quantity, 1..=QUANTITY_MAX)?,
                reference: text("reference", &reference, 0, 128)?,
                actor: text("actor", &actor, 0, 128)?,
            })
        }
        Some(wire::AdjustStock::NAME) => {
            let wire::AdjustStock { sku, delta, actor, reason } = decode(data)?;
            Ok(Command::AdjustStock {
                sku: Sku::parse(&sku)?,
                delta: pieces("delta", delta, -QUANTITY_MAX..=QUANTITY_MAX)?,
                actor: text("actor", &actor, 1, 128)?,
                reason: text("reason", &reason, 1, 512)?,
            })
        }
        Some(_) | None => Err(unknown_type("inventory", message_type)),
    }
}

fn pieces(field: &str, value: i64, limits: RangeInclusive<i64>) -> Result<i64, Rejection> {
    if value == 0 || !limits.contains(&value) {
        let (min, max) = (limits.start(), limits.end());
        let reason = format!("{field} must be {min} to {max} pieces and not 0, but it is {value}");
        return Err(Rejection::new("INVALID_QUANTITY", reason));
    }
    Ok(value)
}

/// An event's full type name and bytes.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, Vec<u8>) {
    match event.clone() {
        Event::ProductRegistered { sku, name, actor } => (
            "holdfast.inventory.v1.ProductRegistered",
            wire::ProductRegistered { sku: sku.to_string(), name, actor }.encode_to_vec(),
        ),
        Event::StockReceived { sku, quantity, reference, actor } => (
            "holdfast.inventory.v1.StockReceived",
            wire::StockReceived { sku: sku.to_string(), quantity, reference, actor }.encode_to_vec(),
        ),
        Event::StockAdjusted { sku, delta, actor, reason } => (
            "holdfast.inventory.v1.StockAdjusted",
            wire::StockAdjusted { sku: sku.to_string(), delta, actor, reason }.encode_to_vec(),
        ),
        Event::StockHeld { key: HoldKey { order_id, attempt }, lines } => (
            "holdfast.inventory.v1.StockHeld",
            wire::StockHeld { order_id: order_id.to_string(), attempt, lines: lines_to_wire(&lines) }.encode_to_vec(),
        ),
        Event::StockRejected { key: HoldKey { order_id, attempt }, rejection } => (
            "holdfast.inventory.v1.StockRejected",
            wire::StockRejected { order_id: order_id.to_string(), attempt, rejection: Some(rejection.to_wire()) }
                .encode_to_vec(),
        ),
        Event::StockCommitted { key: HoldKey { order_id, attempt }, lines } => (
            "holdfast.inventory.v1.StockCommitted",
            wire::StockCommitted { order_id: order_id.to_string(), attempt, lines: lines_to_wire(&lines) }
                .encode_to_vec(),
        ),
        Event::StockReleased { key: HoldKey { order_id, attempt }, lines } => (
            "holdfast.inventory.v1.StockReleased",
            wire::StockReleased { order_id: order_id.to_string(), attempt, lines: lines_to_wire(&lines) }
                .encode_to_vec(),
        ),
        Event::StockReturned { key: HoldKey { order_id, attempt }, refund_id, lines } => (
            "holdfast.inventory.v1.StockReturned",
            wire::StockReturned {
                order_id: order_id.to_string(),
                attempt,
                refund_id: refund_id.to_string(),
                lines: lines_to_wire(&lines),
            }
            .encode_to_vec(),
        ),
    }
}

/// Reads an event back from the log. Checks ids only: what was once a fact stays one, whatever is refused today.
///
/// # Errors
/// An unknown type, bytes that do not decode, or a malformed id.
pub fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::ProductRegistered::NAME) => {
            let wire::ProductRegistered { sku, name, actor } = decode(data)?;
            Ok(Event::ProductRegistered { sku: Sku::parse(&sku)?, name, actor })
        }
        Some(wire::StockReceived::NAME) => {
            let wire::StockReceived { sku, quantity, reference, actor } = decode(data)?;
            Ok(Event::StockReceived { sku: Sku::parse(&sku)?, quantity, reference, actor })
        }
        Some(wire::StockAdjusted::NAME) => {
            let wire::StockAdjusted { sku, delta, actor, reason } = decode(data)?;
            Ok(Event::StockAdjusted { sku: Sku::parse(&sku)?, delta, actor, reason })
        }
        Some(wire::StockHeld::NAME) => {
            let wire::StockHeld { order_id, attempt, lines } = decode(data)?;
            Ok(Event::StockHeld { key: HoldKey::parse(&order_id, attempt)?, lines: known_lines(lines)? })
        }
        Some(wire::StockRejected::NAME) => {
            let wire::StockRejected { order_id, attempt, rejection } = decode(data)?;
            let rejection = Rejection::from_wire(rejection);
            Ok(Event::StockRejected { key: HoldKey::parse(&order_id, attempt)?, rejection })
        }
        Some(wire::StockCommitted::NAME) => {
            let wire::StockCommitted { order_id, attempt, lines } = decode(data)?;
            Ok(Event::StockCommitted { key: HoldKey::parse(&order_id, attempt)?, lines: known_lines(lines)? })
        }
        Some(wire::StockReleased::NAME) => {
            let wire::StockReleased { order_id, attempt, lines } = decode(data)?;
            Ok(Event::StockReleased { key: HoldKey::parse(&order_id, attempt)?, lines: known_lines(lines)? })
        }
        Some(wire::StockReturned::NAME) => {
            let wire::StockReturned { order_id, attempt, refund_id, lines } = decode(data)?;
            let refund_id = RefundId::parse(&refund_id)?;
            let key = HoldKey::parse(&order_id, attempt)?;
            Ok(Event::StockReturned { key, refund_id, lines: known_lines(lines)? })
        }
        Some(_) | None => Err(unknown_type("inventory", message_type)),
    }
}

fn known_lines(lines: Vec<ProductQuantity>) -> Result<Lines, Rejection> {
    lines.into_iter().map(|line| Ok((Sku::parse(&line.sku)?, line.quantity))).collect()
}

#[cfg(test)]
mod tests {
    use domain::{Decider, QUANTITY_MAX, Rejection};
    use proto::{Message, Name, inventory::v1 as wire};

    use super::{decode_command, decode_event, encode};
    use crate::{
        Inventory,
        command::Command,
        event::Event,
        stock::spec::{held, lines, order, received, refund, registered, sku},
    };

    fn read<M: Message + Name>(message: &M) -> Result<Command, String> {
        decode_command(&M::full_name(), &message.encode_to_vec()).map_err(|rejection| rejection.code.into_owned())
    }

    fn register(sku: &str, name: &str) -> Result<Command, String> {
        read(&wire::RegisterProduct { sku: sku.to_owned(), name: name.to_owned(), actor: "ann".to_owned() })
    }

    fn receive(sku: &str, quantity: i64, reference: &str) -> Result<Command, String> {
        read(&wire::ReceiveStock {
            sku: sku.to_owned(),
            quantity,
            reference: reference.to_owned(),
            actor: "ann".to_owned(),
        })
    }

    fn adjust(sku: &str, delta: i64, actor: &str, reason: &str) -> Result<Command, String> {
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        read(&wire::AdjustStock { sku: sku.to_owned(), delta, actor, reason })
    }

    fn code(code: &str) -> Result<Command, String> {
        Err(code.to_owned())
    }

    #[test]
    fn who_asks_need_not_be_said_and_is_no_story() {
        let registered =
            |actor: String| read(&wire::RegisterProduct { sku: "mug".to_owned(), name: "Mug".to_owned(), actor });
        let received = |actor: String| {
            read(&wire::ReceiveStock { sku: "mug".to_owned(), quantity: 1, reference: String::new(), actor })
        };
        for taken in [String::new(), "a".repeat(128)] {
            assert!(registered(taken.clone()).is_ok() && received(taken).is_ok());
        }
        for wrong in ["a".repeat(129), "a\nb".to_owned()] {
            assert_eq!((registered(wrong.clone()), received(wrong)), (code("INVALID_TEXT"), code("INVALID_TEXT")));
        }
    }

    #[test]
    fn reads_every_command() {
        let (name, reference) = ("n".repeat(256), "r".repeat(128));
        assert_eq!(
            register("a.B_9-", &name),
            Ok(Command::RegisterProduct { sku: sku("a.B_9-"), name, actor: "ann".to_owned() })
        );
        let quantity = QUANTITY_MAX;
        assert_eq!(
            receive("mug", quantity, &reference),
            Ok(Command::ReceiveStock { sku: sku("mug"), quantity, reference, actor: "ann".to_owned() })
        );
        assert_eq!(
            adjust("mug", -QUANTITY_MAX, "ann", "count"),
            Ok(Command::AdjustStock {
                sku: sku("mug"),
                delta: -QUANTITY_MAX,
                actor: "ann".to_owned(),
                reason: "count".to_owned()
            })
        );
    }

    #[test]
    fn refuses_a_malformed_sku() {
        for bad in ["", "a ", "a\u{200b}b", "a\0", &"x".repeat(129)] {
            assert_eq!(register(bad, "Mug"), code("INVALID_SKU"), "{bad:?}");
            assert_eq!(receive(bad, 1, ""), code("INVALID_SKU"), "{bad:?}");
            assert_eq!(adjust(bad, 1, "ann", "count"), code("INVALID_SKU"), "{bad:?}");
        }
    }

    #[test]
    fn refuses_a_quantity_outside_its_limits() {
        for bad in [0, -1, QUANTITY_MAX + 1, i64::MIN, i64::MAX] {
            assert_eq!(receive("mug", bad, ""), code("INVALID_QUANTITY"), "{bad}");
        }
        for bad in [0, QUANTITY_MAX + 1, -QUANTITY_MAX - 1, i64::MIN, i64::MAX] {
            assert_eq!(adjust("mug", bad, "ann", "count"), code("INVALID_QUANTITY"), "{bad}");
        }
    }

    #[test]
    fn refuses_a_text_that_is_missing_too_long_or_has_control_characters() {
        for bad in ["", "a\nb", &"x".repeat(513)] {
            assert_eq!(register("mug", bad), code("INVALID_TEXT"), "{bad:?}");
            assert_eq!(adjust("mug", 1, bad, "count"), code("INVALID_TEXT"), "{bad:?}");
            assert_eq!(adjust("mug", 1, "ann", bad), code("INVALID_TEXT"), "{bad:?}");
        }
        assert_eq!(receive("mug", 1, &"x".repeat(129)), code("INVALID_TEXT"));
    }

    #[test]
    fn refuses_bytes_that_are_no_message() {
        for message_type in Inventory::COMMANDS {
            assert_eq!(decode_command(message_type, b"\x0a\xffmug").unwrap_err().code, "UNDECODABLE", "{message_type}");
        }
    }

    #[test]
    fn refuses_a_type_that_it_does_not_know() {
        for other in ["", "RegisterProduct", "holdfast.orders.v1.PlaceOrder", "holdfast.inventory.v1.StockHeld"] {
            assert_eq!(decode_command(other, b"").unwrap_err().code, "UNKNOWN_TYPE", "{other}");
        }
        assert_eq!(decode_event("holdfast.inventory.v1.AdjustStock", b"").unwrap_err().code, "UNKNOWN_TYPE");
    }

    fn events() -> Vec<Event> {
        let (key, pieces) = (order(2), lines(&[("cup", 1), ("mug", 3)]));
        vec![
            registered("mug"),
            received("mug", 5),
            Event::StockAdjusted { sku: sku("mug"), delta: -5, actor: "ann".to_owned(), reason: "count".to_owned() },
            held(&[("mug", 5)]),
            Event::StockRejected { key, rejection: Rejection::new("OUT_OF_STOCK", "none left") },
            Event::StockCommitted { key, lines: pieces.clone() },
            Event::StockReleased { key, lines: lines(&[]) },
            Event::StockReturned { key, refund_id: refund(9), lines: pieces },
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
        let old = wire::StockReceived {
            sku: "mug".to_owned(),
            quantity: 5 * QUANTITY_MAX,
            reference: "\n".to_owned(),
            actor: String::new(),
        };
        assert!(decode_event(&wire::StockReceived::full_name(), &old.encode_to_vec()).is_ok());
    }

    #[test]
    fn an_event_without_its_id_is_refused() {
        for fact in events() {
            let refusal = decode_event(encode(&fact).0, b"").unwrap_err().code;
            assert!(matches!(&*refusal, "INVALID_SKU" | "INVALID_ATTEMPT" | "INVALID_ID"), "{refusal}");
        }
    }
}
