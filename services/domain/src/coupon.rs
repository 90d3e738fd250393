//! Codes of coupons, and what a coupon takes off an order.

use std::fmt;

use proto::common::v1 as wire;
use serde::{Deserialize, Serialize};

use crate::{Money, Rejection, text::excerpt, written};

/// The longest code, in characters.
const CODE_CHARS_MAX: usize = 64;

/// The code of a coupon: 1 to 64 of `A`-`Z`, `0`-`9`, `-` and `_`. Two codes that differ in case, or in the blanks around them, are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CouponCode(String);

impl CouponCode {
    /// Reads a code as people write it.
    ///
    /// # Errors
    /// Empty, too long, or with another character in it.
    pub fn parse(code: &str) -> Result<Self, Rejection> {
        let trimmed = code.trim_matches(|letter: char| letter.is_ascii_whitespace());
        let is_of_code = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
        if trimmed.is_empty() || trimmed.len() > CODE_CHARS_MAX || !trimmed.bytes().all(is_of_code) {
            let reason = format!("coupon_code must be 1 to {CODE_CHARS_MAX} of A-Z 0-9 - _, not {:?}", excerpt(code));
            return Err(Rejection::new("INVALID_COUPON_CODE", reason));
        }
        Ok(Self(trimmed.to_ascii_uppercase()))
    }

    /// Reads a code that may be absent: an empty field.
    ///
    /// # Errors
    /// As of [`Self::parse`].
    pub fn parse_optional(code: &str) -> Result<Option<Self>, Rejection> {
        if code.is_empty() { Ok(None) } else { Self::parse(code).map(Some) }
    }

    /// The text, in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CouponCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a coupon takes off an order, by what it is taken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Discount {
    /// In all.
    pub amount: Money,
    /// Of each line, in minor units, in the order of the lines.
    pub lines: Vec<i64>,
    /// Of the share purchase, in minor units.
    pub shares: i64,
}

impl Discount {
    /// Reads a discount that is on record.
    ///
    /// # Errors
    /// Without an amount, or its parts do not add up to it.
    pub fn from_wire(discount: Option<wire::Discount>) -> Result<Self, Rejection> {
        let wire::Discount { amount, lines_minor: lines, shares_minor: shares } = discount.unwrap_or_default();
        let discount = Self { amount: Money::from_wire("discount", amount.as_ref())?, lines, shares };
        if discount.parts() != i128::from(discount.amount.minor_units) {
            let parts = written(discount.parts(), discount.amount.currency.as_str());
            let reason = format!("the parts of a discount of {} add up to {parts}", discount.amount);
            return Err(Rejection::new("INVALID_AMOUNT", reason));
        }
        Ok(discount)
    }

    /// As a message field.
    #[must_use]
    pub fn to_wire(&self) -> wire::Discount {
        let (amount, lines_minor) = (Some(self.amount.to_wire()), self.lines.clone());
        wire::Discount { amount, lines_minor, shares_minor: self.shares }
    }

    /// What its parts add up to.
    fn parts(&self) -> i128 {
        self.lines.iter().copied().map(i128::from).sum::<i128>() + i128::from(self.shares)
    }
}

#[cfg(test)]
mod tests {
    use super::CouponCode;

    #[test]
    fn a_code_is_the_same_in_any_case_and_with_blanks_around_it() {
        for text in ["SPRING-10_A", "spring-10_a", " Spring-10_a\t"] {
            assert_eq!(CouponCode::parse(text).unwrap().as_str(), "SPRING-10_A");
        }
        assert_eq!(CouponCode::parse_optional("").unwrap(), None);
    }

    #[test]
    fn refuses_a_code_of_other_letters() {
        let longest = "A".repeat(64);
        assert_eq!(CouponCode::parse(&longest).unwrap().as_str(), longest);
        for bad in ["", " ", "A B", "A.B", "10%", "ß", "Ａ", "a\u{200b}", "\u{a0}A", &"A".repeat(65)] {
            assert_eq!(CouponCode::parse(bad).unwrap_err().code, "INVALID_COUPON_CODE", "{bad:?}");
        }
        assert!(CouponCode::parse_optional(" ").is_err());
    }
}
