//! Products and how many of them.

use std::{collections::BTreeMap, fmt};

use proto::common::v1 as wire;

use crate::Rejection;

/// The most pieces a message may name at once.
pub const QUANTITY_MAX: i64 = 1_000_000_000;

/// A stock keeping unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(String);

impl Sku {
    /// Reads a stock keeping unit.
    ///
    /// # Errors
    /// Empty, longer than 64 characters, or with characters other than `A-Z a-z 0-9 . _ -`.
    pub fn parse(sku: &str) -> Result<Self, Rejection> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if sku.is_empty() || sku.len() > 64 || !sku.bytes().all(known) {
            return Err(Rejection::new(
                "INVALID_SKU",
                format!("sku must be 1 to 64 characters of A-Z a-z 0-9 . _ -, not {:?}", crate::text::excerpt(sku)),
            ));
        }
        Ok(Self(sku.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Pieces by product: each product once, each quantity at least 1.
pub type Lines = BTreeMap<Sku, i64>;

/// Reads lines, summing the same product.
///
/// # Errors
/// A malformed product, a quantity outside 1 to [`QUANTITY_MAX`], or a sum above it.
pub fn lines_from_wire(lines: &[wire::ProductQuantity]) -> Result<Lines, Rejection> {
    let mut sums = Lines::new();
    for line in lines {
        let sum = sums.entry(Sku::parse(&line.sku)?).or_insert(0);
        *sum = add_quantity(&line.sku, *sum, line.quantity)?;
    }
    Ok(sums)
}

pub(crate) fn add_quantity(sku: &str, sum: i64, quantity: i64) -> Result<i64, Rejection> {
    let refuse = |what: String| Rejection::new("INVALID_QUANTITY", format!("quantity of {sku} {what}"));
    if !(1..=QUANTITY_MAX).contains(&quantity) {
        return Err(refuse(format!("must be 1 to {QUANTITY_MAX}, not {quantity}")));
    }
    match sum.checked_add(quantity) {
        Some(total) if total <= QUANTITY_MAX => Ok(total),
        Some(_) | None => Err(refuse(format!("adds up to more than {QUANTITY_MAX}"))),
    }
}

/// As a message field, in order of product.
#[must_use]
pub fn lines_to_wire(lines: &Lines) -> Vec<wire::ProductQuantity> {
    lines
        .iter()
        .map(|(sku, quantity)| wire::ProductQuantity { sku: sku.as_str().to_owned(), quantity: *quantity })
        .collect()
}
