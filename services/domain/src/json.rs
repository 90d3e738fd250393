//! Ids, currencies and times in JSON: as people read them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Currency, HoldKey, OrderId, PaymentId, RefundId, RoundId, Sku, Timestamp, WalletId};

macro_rules! as_text {
    ($($name:ty),+ $(,)?) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

as_text!(OrderId, RoundId, PaymentId, RefundId, WalletId, HoldKey, Currency, Sku, Timestamp);

macro_rules! from_text {
    ($($name:ty: $read:expr),+ $(,)?) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $read(text.as_str()).ok_or_else(|| D::Error::custom(format!("{text:?} cannot be read")))
            }
        }
    )+};
}

from_text!(
    OrderId: |text: &str| Self::parse(text).ok(),
    RoundId: |text: &str| Self::parse(text).ok(),
    PaymentId: |text: &str| Self::parse(text).ok(),
    RefundId: |text: &str| Self::parse(text).ok(),
    WalletId: |text: &str| Self::parse(text).ok(),
    HoldKey: Self::from_text,
    Sku: |text: &str| Self::parse(text).ok(),
    Currency: |text: &str| Self::parse(text).ok(),
    Timestamp: |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok().map(Self::from),
);
