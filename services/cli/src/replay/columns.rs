//! The columns of each kind of rows, where a table has no place for all that a row has. JSON has it.

use audit::replay::Kind;
use domain::written;
use serde_json::Value;

/// A column of a table.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Where a row has it, as a JSON pointer.
    path: &'static str,
    /// Where it has the currency of what is money in minor units.
    currency: Option<&'static str>,
}

const fn plain(name: &'static str, path: &'static str) -> Column {
    Column { name, path, currency: None }
}

const fn minor(name: &'static str, path: &'static str, currency: &'static str) -> Column {
    Column { name, path, currency: Some(currency) }
}

const STOCK: &[Column] = &[
    plain("sku", "/sku"),
    plain("name", "/name"),
    plain("on_hand", "/on_hand"),
    plain("available", "/available"),
    plain("held", "/held"),
    plain("received", "/received"),
    plain("adjusted", "/adjusted"),
    plain("committed", "/committed"),
    plain("returned", "/returned"),
    plain("version", "/version"),
];

const SHARES: &[Column] = &[
    plain("round_id", "/round_id"),
    plain("prize", "/offer/prize"),
    plain("status", "/status"),
    plain("total_shares", "/offer/total_shares"),
    plain("available", "/available"),
    plain("held", "/held"),
    plain("sold", "/sold"),
    plain("refunding", "/refunding"),
    minor("share_price_minor", "/offer/share_price/minor_units", "/offer/share_price/currency"),
    plain("currency", "/offer/share_price/currency"),
    plain("closes_at", "/offer/closes_at"),
    plain("version", "/version"),
];

const ORDERS: &[Column] = &[
    plain("order_id", "/order_id"),
    plain("reference", "/terms/reference"),
    plain("customer_id", "/terms/customer_id"),
    plain("status", "/status"),
    plain("payment_status", "/payment_status"),
    plain("fulfillment_status", "/fulfillment_status"),
    plain("attempt", "/attempt"),
    minor("total_minor", "/terms/total/minor_units", "/terms/total/currency"),
    minor("discount_minor", "/discount/amount/minor_units", "/terms/total/currency"),
    minor("captured_minor", "/captured_minor", "/terms/total/currency"),
    minor("refunded_minor", "/refunded_minor", "/terms/total/currency"),
    plain("currency", "/terms/total/currency"),
    plain("placed_at", "/placed_at"),
    plain("version", "/version"),
];

const PAYMENTS: &[Column] = &[
    plain("payment_id", "/payment_id"),
    plain("attempt_of", "/key"),
    plain("status", "/status"),
    plain("provider", "/terms/provider"),
    plain("reference", "/terms/reference"),
    minor("amount_minor", "/terms/amount/minor_units", "/terms/amount/currency"),
    minor("captured_minor", "/captured_minor", "/terms/amount/currency"),
    minor("refunded_minor", "/refunded_minor", "/terms/amount/currency"),
    minor("refunding_minor", "/refunding_minor", "/terms/amount/currency"),
    plain("currency", "/terms/amount/currency"),
    plain("version", "/version"),
];

const COUPONS: &[Column] = &[
    plain("coupon_code", "/coupon_code"),
    plain("status", "/status"),
    plain("held", "/held"),
    plain("redeemed", "/redeemed"),
    plain("uses_max", "/offer/uses_max"),
    plain("currency", "/offer/currency"),
    plain("valid_until", "/offer/valid_until"),
    plain("version", "/version"),
];

const WALLETS: &[Column] = &[
    plain("wallet_id", "/wallet_id"),
    plain("customer_id", "/customer_id"),
    minor("available_minor", "/available", "/currency"),
    minor("held_minor", "/held", "/currency"),
    plain("currency", "/currency"),
    plain("version", "/version"),
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
