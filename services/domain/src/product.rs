//! Products and how many of them.

use std::{collections::BTreeMap, fmt};

use proto::common::v1 as wire;

use crate::{Rejection, text::is_invisible};

/// The most pieces a message may name at once.
pub const QUANTITY_MAX: i64 = 1_000_000_000;

/// The longest stock keeping unit, in characters.
const SKU_CHARS_MAX: usize = 128;

/// A stock keeping unit, as shops write them: `M6x20 / galv. #4`, `Größe L`, `тарелка+блюдце`. It is compared byte by byte: case
/// counts, and so does the Unicode normal form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sku(String);

impl Sku {
    /// Reads a stock keeping unit.
    ///
    /// # Errors
    /// Empty, longer than 128 characters, or with what one cannot see: control and format characters, spaces at its ends, and spaces
    /// other than U+0020.
    pub fn parse(sku: &str) -> Result<Self, Rejection> {
        let is_plain = |letter: char| letter == ' ' || !(letter.is_whitespace() || is_invisible(letter));
        let is_short = sku.len() <= SKU_CHARS_MAX || sku.chars().count() <= SKU_CHARS_MAX;
        if sku.is_empty() || !is_short || sku.starts_with(' ') || sku.ends_with(' ') || !sku.chars().all(is_plain) {
            let reason = format!(
                "sku must be 1 to {SKU_CHARS_MAX} characters that can be seen, with plain spaces inside only, not {:?}",
                crate::text::excerpt(sku)
            );
            return Err(Rejection::new("INVALID_SKU", reason));
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

#[cfg(test)]
mod tests {
    use super::Sku;

    #[test]
    fn takes_the_codes_of_real_shops() {
        let longest = "ß".repeat(128);
        for good in [
            "MUG-01",
            "a.B_9-",
            "M6x20 / galv. #4",
            "A+B",
            "10%",
            "\"quoted\"",
            "it's",
            "a,b;c",
            "Größe L",
            "тарелка",
            "茶碗",
            "قهوة",
            "कप",
            "☕",
            &longest,
        ] {
            assert_eq!(Sku::parse(good).map(|sku| sku.as_str().to_owned()).as_deref(), Ok(good));
        }
    }

    #[test]
    fn refuses_what_cannot_be_seen() {
        let too_long = "ß".repeat(129);
        for bad in [
            "",
            " ",
            " MUG",
            "MUG ",
            "a\tb",
            "a\nb",
            "a\0",
            "a\u{7f}b",
            "a\u{85}b",
            "a\u{a0}b",
            "a\u{2003}b",
            "a\u{2028}b",
            "a\u{3000}b",
            "a\u{ad}b",
            "a\u{200b}b",
            "a\u{200d}b",
            "\u{202e}gum",
            "a\u{2066}b",
            "\u{feff}MUG",
            "a\u{fe0f}",
            "a\u{3164}b",
            "a\u{fffd}b",
            "a\u{e0041}",
            &too_long,
        ] {
            assert_eq!(Sku::parse(bad).unwrap_err().code, "INVALID_SKU", "{bad:?}");
        }
    }

    #[test]
    fn two_normal_forms_of_one_text_are_two_products() {
        let (composed, decomposed) = (Sku::parse("caf\u{e9}").unwrap(), Sku::parse("cafe\u{301}").unwrap());
        assert_ne!(composed, decomposed);
    }
}
