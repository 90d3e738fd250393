//! Bytes to messages: how a message is refused that cannot be read at all.

use proto::{Message, Name};

use crate::Rejection;

/// Reads a message of the contract.
///
/// # Errors
/// The bytes are not such a message.
pub fn decode<M: Message + Name + Default>(data: &[u8]) -> Result<M, Rejection> {
    M::decode(data).map_err(|error| {
        Rejection::new("UNDECODABLE", format!("these {} bytes are no {}: {error}", data.len(), M::full_name()))
    })
}

const UNKNOWN_TYPE: &str = "UNKNOWN_TYPE";

/// The refusal of a type of message that this service knows nothing of.
#[must_use]
pub fn unknown_type(service: &str, message_type: &str) -> Rejection {
    Rejection::new(UNKNOWN_TYPE, format!("{service} does not take {:?}", crate::text::excerpt(message_type)))
}

/// Whether that is what it says: a newer release may know the type.
#[must_use]
pub fn is_unknown_type(rejection: &Rejection) -> bool {
    rejection.code == UNKNOWN_TYPE
}
