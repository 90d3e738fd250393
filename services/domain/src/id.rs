//! Ids: one type per thing, so that none can be taken for another.
//!
//! Why it is so: services/domain/README.md#what-is-derived-keeps-the-time-of-what-it-is-derived-from

use std::fmt;

use uuid::{Builder, Uuid, Version};

use crate::{Currency, Rejection};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads the id from the text of a message field.
            ///
            /// # Errors
            /// The text is not a UUID, or it is the nil UUID.
            pub fn parse(text: &str) -> Result<Self, Rejection> {
                match Uuid::try_parse(text) {
                    Ok(id) if !id.is_nil() => Ok(Self(id)),
                    Ok(_) => Err(Rejection::new("INVALID_ID", concat!($field, " is the nil UUID; give every one its own"))),
                    Err(_) => Err(Rejection::new(
                        "INVALID_ID",
                        format!(concat!($field, " must be a UUID, not {:?}"), crate::text::excerpt(text)),
                    )),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// An order, named by its publisher.
    OrderId, "order_id"
);
uuid_id!(
    /// A round, named by who opened it.
    RoundId, "round_id"
);
uuid_id!(
    /// One attempt's payment of an order.
    PaymentId, "payment_id"
);
uuid_id!(
    /// A refund; it names the refund for ever, so it is also what makes a repeated request harmless.
    RefundId, "refund_id"
);

uuid_id!(
    /// A customer's wallet in one currency.
    WalletId, "wallet_id"
);

/// Ids of wallets derive from this one.
const WALLETS: Uuid = Uuid::from_u128(0x2b61_90c7_7d0e_4c0a_8a55_3c1f_7e86_24d9);

impl WalletId {
    /// The wallet of a customer in a currency. Derived, so that a customer has one of each, whoever asks first.
    #[must_use]
    pub fn of(customer_id: &str, currency: Currency) -> Self {
        // The currency has always three letters, so no two names are the same.
        Self(Uuid::new_v5(&WALLETS, format!("{currency}.{customer_id}").as_bytes()))
    }
}

/// An id that follows from another and a name. It begins with the same 48 bits, which is where ids of version 7 have their
/// time: ids derived from ids that are ordered by time are so, too, and their rows lie together. (RFC 9562, version 8.)
#[must_use]
pub fn derived(from: Uuid, name: &str) -> Uuid {
    let mut bytes = Uuid::new_v5(&from, name.as_bytes()).into_bytes();
    for (byte, time) in bytes.iter_mut().zip(from.as_bytes()).take(6) {
        *byte = *time;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// Whether an id looks as one derived from another does: a cheap look before one that is dear.
#[must_use]
pub fn may_derive(from: Uuid, id: Uuid) -> bool {
    id.get_version() == Some(Version::Custom) && id.as_bytes().iter().zip(from.as_bytes()).take(6).all(|(a, b)| a == b)
}

/// Which try at holding this is: 1 when the order is placed, one more at each reinstatement.
pub type Attempt = i32;

/// What names a hold, and a payment, of one attempt of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldKey {
    /// The order that holds.
    pub order_id: OrderId,
    /// Its attempt: messages of an older one can never touch a newer one's hold.
    pub attempt: Attempt,
}

impl OrderId {
    /// Every event stream that may tell of an order with so many attempts: its own, and its holds and payments, one of each kind an attempt.
    #[must_use]
    pub fn streams(self, attempts: usize) -> Vec<String> {
        let of_attempts = (1..).take(attempts).flat_map(|attempt| {
            let key = HoldKey { order_id: self, attempt };
            let (payment, funds) = (format!("payment-{}", key.payment_id()), format!("funds-{}", key.payment_id()));
            [format!("stock-{key}"), format!("shares-{key}"), payment, format!("use-{key}"), funds]
        });
        std::iter::once(format!("order-{self}")).chain(of_attempts).collect()
    }
}

impl HoldKey {
    /// Reads the key from the fields of an event.
    ///
    /// # Errors
    /// The order id is not a UUID, or the attempt is below 1.
    pub fn parse(order_id: &str, attempt: Attempt) -> Result<Self, Rejection> {
        if attempt < 1 {
            return Err(Rejection::new("INVALID_ATTEMPT", format!("attempt must be at least 1, not {attempt}")));
        }
        Ok(Self { order_id: OrderId::parse(order_id)?, attempt })
    }

    /// Reads the key back from its own text, as it stands in the names of streams.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (order_id, attempt) = text.rsplit_once('.')?;
        Self::parse(order_id, attempt.parse().ok()?).ok()
    }

    /// The payment of this attempt. Derived, so that every service names the same one without asking.
    #[must_use]
    pub fn payment_id(self) -> PaymentId {
        PaymentId(derived(self.order_id.0, &format!("payment.{}", self.attempt)))
    }
}

impl fmt::Display for HoldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.order_id, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{OrderId, derived, may_derive};

    #[test]
    fn every_attempt_has_its_holds_and_its_payment() {
        let order = Uuid::from_u128(7);
        let names = OrderId(order).streams(2);
        assert_eq!(names.len(), 11);
        assert_eq!(names[0], format!("order-{order}"));
        assert_eq!(names[1], format!("stock-{order}.1"));
        assert_eq!((&names[4], &names[7]), (&format!("use-{order}.1"), &format!("shares-{order}.2")));
        assert!(names[3].starts_with("payment-") && names[3] != names[8]);
        assert_eq!(names[5], names[3].replace("payment-", "funds-"));
    }

    #[test]
    fn what_is_derived_begins_as_what_it_is_derived_from() {
        let from = Uuid::from_u128(0x0199_0c3e_5b7a_7000_8000_0000_0000_0001);
        let (one, other) = (derived(from, "one"), derived(from, "other"));
        assert_eq!(one, derived(from, "one"));
        assert_ne!(one, other);
        for id in [one, other] {
            assert_eq!(id.as_bytes()[..6], from.as_bytes()[..6]);
            assert_eq!(id.get_version_num(), 8);
            assert!(may_derive(from, id), "{id}");
        }
        assert!(!may_derive(from, from));
        assert!(!may_derive(Uuid::from_u128(7), one));
    }
}
