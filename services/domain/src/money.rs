//! Money: whole minor units of one currency, checked at every step.

use std::fmt;

use proto::common::v1 as wire;

use crate::Rejection;

/// The largest amount accepted, in minor units. Sums of a thousand such amounts still fit an `i64`.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// An ISO 4217 alphabetic code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads the code.
    ///
    /// # Errors
    /// Not three upper-case letters.
    pub fn parse(code: &str) -> Result<Self, Rejection> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            Ok(_) | Err(_) => Err(Rejection::new(
                "INVALID_CURRENCY",
                format!("currency must be an ISO 4217 code such as EUR, not {:?}", crate::text::excerpt(code)),
            )),
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Whole minor units: cents, pence, yen.
    pub minor_units: i64,
    /// Of this currency.
    pub currency: Currency,
}

impl Money {
    /// Reads an amount from a message field.
    ///
    /// # Errors
    /// Absent, negative, above [`AMOUNT_MAX`], or without a currency.
    pub fn from_wire(field: &str, value: Option<&wire::Money>) -> Result<Self, Rejection> {
        let value = value.ok_or_else(|| Rejection::new("INVALID_AMOUNT", format!("{field} is missing")))?;
        if !(0..=AMOUNT_MAX).contains(&value.minor_units) {
            return Err(Rejection::new(
                "INVALID_AMOUNT",
                format!("{field} must be 0 to {AMOUNT_MAX} minor units, not {}", value.minor_units),
            ));
        }
        Ok(Self { minor_units: value.minor_units, currency: Currency::parse(&value.currency)? })
    }

    /// As a message field.
    #[must_use]
    pub fn to_wire(self) -> wire::Money {
        wire::Money { minor_units: self.minor_units, currency: self.currency.as_str().to_owned() }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (minor units)", self.minor_units, self.currency)
    }
}
