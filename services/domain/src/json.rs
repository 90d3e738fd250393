//! Ids, currencies and times in JSON: as people read them.

use serde::{Serialize, Serializer};

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
