//! The columns of each kind of rows, where a table has no place for all that a row has. JSON has it.

use anyhow::{Context, Result};
use audit::{
    export::columnar::{self, Holds},
    replay::Kind,
};
use domain::{Timestamp, written};
use serde::Deserialize;
use serde_json::Value;

/// A column of a table.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Where a row has it, as a JSON pointer.
    path: &'static str,
    /// Where it has the currency of what is money in minor units.
    currency: Option<&'static str>,
    /// What it is in Parquet.
    holds: Holds,
}

const fn text(name: &'static str, path: &'static str) -> Column {
    Column { name, path, currency: None, holds: Holds::MaybeText }
}

const fn number(name: &'static str, path: &'static str) -> Column {
    Column { name, path, currency: None, holds: Holds::MaybeInteger }
}

const fn time(name: &'static str, path: &'static str) -> Column {
    Column { name, path, currency: None, holds: Holds::MaybeTime }
}

const fn minor(name: &'static str, path: &'static str, currency: &'static str) -> Column {
    Column { name, path, currency: Some(currency), holds: Holds::MaybeInteger }
}

const STOCK: &[Column] = &[
    text("sku", "/sku"),
    text("name", "/name"),
    number("on_hand", "/on_hand"),
    number("available", "/available"),
    number("held", "/held"),
    number("received", "/received"),
    number("adjusted", "/adjusted"),
    number("committed", "/committed"),
    number("returned", "/returned"),
    number("version", "/version"),
];

const SHARES: &[Column] = &[
    text("round_id", "/round_id"),
    text("prize", "/offer/prize"),
    text("status", "/status"),
    number("total_shares", "/offer/total_shares"),
    number("available", "/available"),
    number("held", "/held"),
    number("sold", "/sold"),
    number("refunding", "/refunding"),
    minor("share_price_minor", "/offer/share_price/minor_units", "/offer/share_price/currency"),
    text("currency", "/offer/share_price/currency"),
    time("closes_at", "/offer/closes_at"),
    number("version", "/version"),
];

const ORDERS: &[Column] = &[
    text("order_id", "/order_id"),
    text("reference", "/terms/reference"),
    text("customer_id", "/terms/customer_id"),
    text("status", "/status"),
    text("payment_status", "/payment_status"),
    text("fulfillment_status", "/fulfillment_status"),
    number("attempt", "/attempt"),
    minor("total_minor", "/terms/total/minor_units", "/terms/total/currency"),
    minor("discount_minor", "/discount/amount/minor_units", "/terms/total/currency"),
    minor("captured_minor", "/captured_minor", "/terms/total/currency"),
    minor("refunded_minor", "/refunded_minor", "/terms/total/currency"),
    text("currency", "/terms/total/currency"),
    time("placed_at", "/placed_at"),
    number("version", "/version"),
];

const PAYMENTS: &[Column] = &[
    text("payment_id", "/payment_id"),
    text("attempt_of", "/key"),
    text("status", "/status"),
    text("provider", "/terms/provider"),
    text("reference", "/terms/reference"),
    minor("amount_minor", "/terms/amount/minor_units", "/terms/amount/currency"),
    minor("captured_minor", "/captured_minor", "/terms/amount/currency"),
    minor("refunded_minor", "/refunded_minor", "/terms/amount/currency"),
    minor("refunding_minor", "/refunding_minor", "/terms/amount/currency"),
    text("currency", "/terms/amount/currency"),
    number("version", "/version"),
];

const COUPONS: &[Column] = &[
    text("coupon_code", "/coupon_code"),
    text("status", "/status"),
    number("held", "/held"),
    number("redeemed", "/redeemed"),
    number("uses_max", "/offer/uses_max"),
    text("currency", "/offer/currency"),
    time("valid_until", "/offer/valid_until"),
    number("version", "/version"),
];

const WALLETS: &[Column] = &[
    text("wallet_id", "/wallet_id"),
    text("customer_id", "/customer_id"),
    minor("available_minor", "/available", "/currency"),
    minor("held_minor", "/held", "/currency"),
    text("currency", "/currency"),
    number("version", "/version"),
];

/// The columns of a kind.
pub(super) const fn of(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Stock => STOCK,
        Kind::Shares => SHARES,
        Kind::Orders => ORDERS,
        Kind::Payments => PAYMENTS,
        Kind::Coupons => COUPONS,
        Kind::Wallets => WALLETS,
    }
}

impl Column {
    /// What a row has there, for a program: amounts in minor units.
    pub(super) fn plain(&self, row: &Value) -> String {
        match row.pointer(self.path) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// As a column of Parquet.
    pub(super) const fn of_parquet(&self) -> columnar::Column {
        columnar::Column::new(self.name, self.holds)
    }

    /// What a row has there, for Parquet.
    pub(super) fn cell<'a>(&self, row: &'a Value) -> Result<columnar::Cell<'a>> {
        let Some(value) = row.pointer(self.path).filter(|value| !value.is_null()) else {
            return Ok(columnar::Cell::Nothing);
        };
        let read = match self.holds {
            Holds::MaybeInteger | Holds::Integer => value.as_i64().map(columnar::Cell::Integer),
            Holds::MaybeTime | Holds::Time => Timestamp::deserialize(value).ok().map(columnar::Cell::Time),
            Holds::MaybeText | Holds::Text | Holds::Json | Holds::Bytes => value.as_str().map(columnar::Cell::from),
        };
        read.with_context(|| format!("{} is {value}, which no column has a place for", self.name))
    }

    /// What a row has there, for people: amounts as they write them.
    pub(super) fn readable(&self, row: &Value) -> String {
        let amount = row.pointer(self.path).and_then(Value::as_i64);
        let currency = self.currency.and_then(|path| row.pointer(path)?.as_str());
        match (amount, currency) {
            (Some(amount), Some(currency)) => written(amount, currency),
            (_, _) => self.plain(row),
        }
    }

    /// Its name for people.
    pub(super) fn heading(&self) -> &'static str {
        self.name.strip_suffix("_minor").unwrap_or(self.name)
    }

    /// Whether people see it elsewhere: a currency stands with its amounts.
    pub(super) fn is_told_with_others(&self, kind: Kind) -> bool {
        self.name == "currency" && kind != Kind::Coupons
    }
}
