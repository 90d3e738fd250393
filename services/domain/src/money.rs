//! Money: whole minor units of one currency, checked at every step.

use std::fmt;

use proto::common::v1 as wire;

use serde::{Deserialize, Serialize};

use crate::{Rejection, currency};

/// The largest amount accepted, in minor units. Sums of a thousand such amounts still fit an `i64`.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// An ISO 4217 alphabetic code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads a code that is on record. It need not be in use any more: what was once a fact stays one.
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

    /// Reads a code that a sender names for what is to be paid from now on.
    ///
    /// # Errors
    /// Not three upper-case letters, or no currency in use of ISO 4217.
    pub fn in_use(code: &str) -> Result<Self, Rejection> {
        let known = Self::parse(code)?;
        if currency::is_in_use(known.as_str()) {
            return Ok(known);
        }
        let reason = format!("{known} is no currency in use that ISO 4217 knows minor units of; give one such as EUR");
        Err(Rejection::new("INVALID_CURRENCY", reason))
    }

    /// How many digits of minor units stand behind the point.
    #[must_use]
    pub fn digits(&self) -> usize {
        currency::digits(self.as_str())
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Whole minor units: cents, pence, yen.
    pub minor_units: i64,
    /// Of this currency.
    pub currency: Currency,
}

impl Money {
    /// Reads an amount that is on record, from a message field.
    ///
    /// # Errors
    /// Absent, negative, above [`AMOUNT_MAX`], or without a currency.
    pub fn from_wire(field: &str, value: Option<&wire::Money>) -> Result<Self, Rejection> {
        Self::read(field, value, Currency::parse)
    }

    /// Reads an amount that a sender asks for, from a field of a command.
    ///
    /// # Errors
    /// Absent, negative, above [`AMOUNT_MAX`], or without a currency that is in use.
    pub fn asked(field: &str, value: Option<&wire::Money>) -> Result<Self, Rejection> {
        Self::read(field, value, Currency::in_use)
    }

    fn read(
        field: &str,
        value: Option<&wire::Money>,
        currency: impl FnOnce(&str) -> Result<Currency, Rejection>,
    ) -> Result<Self, Rejection> {
        let value = value.ok_or_else(|| Rejection::new("INVALID_AMOUNT", format!("{field} is missing")))?;
        let currency = currency(&value.currency)
            .map_err(|Rejection { code, reason }| Rejection { code, reason: format!("{field}: {reason}") })?;
        let amount = Self { minor_units: value.minor_units, currency };
        if !(0..=AMOUNT_MAX).contains(&amount.minor_units) {
            let (least, most) = (Self { minor_units: 0, currency }, Self { minor_units: AMOUNT_MAX, currency });
            let reason = format!("{field} must be {least} to {most}, not {amount}");
            return Err(Rejection::new("INVALID_AMOUNT", reason));
        }
        Ok(amount)
    }

    /// As a message field.
    #[must_use]
    pub fn to_wire(self) -> wire::Money {
        wire::Money { minor_units: self.minor_units, currency: self.currency.as_str().to_owned() }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.minor_units, self.currency.as_str()))
    }
}

/// An amount as people write it: `1,250.00 EUR`, `1,250 JPY`, `-0.05 EUR`. Of a currency that is none, as if it had cents.
#[must_use]
pub fn written(minor_units: impl Into<i128>, currency: &str) -> String {
    let (minor_units, digits) = (minor_units.into(), currency::digits(currency));
    let all = format!("{:0>width$}", minor_units.unsigned_abs(), width = digits + 1);
    let (whole, part) = all.split_at(all.len() - digits);
    let mut text = String::from(if minor_units < 0 { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if digits > 0 {
        text.push('.');
        text.push_str(part);
    }
    format!("{text} {currency}")
}

/// The minor units of an amount as people write it, with or without commas: what [`written`] writes comes back. `None`: it is no amount of
/// this currency, or has more digits behind the point than that.
#[must_use]
pub fn minor_units(text: &str, currency: &str) -> Option<i64> {
    let digits = currency::digits(currency);
    let amount = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
    let plain = whole.replace(',', "");
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = !plain.is_empty() && is_digits(&plain) && is_digits(part) && part.len() <= digits;
    let is_whole = is_number && !(amount.ends_with('.') || digits == 0 && amount.contains('.'));
    let sign = if text.starts_with('-') { "-" } else { "" };
    let minor = format!("{sign}{plain}{part:0<digits$}").parse().ok().filter(|_| is_whole)?;
    // A comma stands where it belongs, or it is a comma for a point.
    let is_grouped = !whole.contains(',') || written(minor, currency).trim_start_matches('-').starts_with(whole);
    is_grouped.then_some(minor)
}

#[cfg(test)]
mod tests {
    use proto::common::v1 as wire;

    use super::{Currency, Money, minor_units, written};

    #[test]
    fn money_is_written_as_people_write_it() {
        let cases: [(i128, &str, &str); 14] = [
            (1_250, "EUR", "12.50 EUR"),
            (5, "EUR", "0.05 EUR"),
            (0, "EUR", "0.00 EUR"),
            (-5, "EUR", "-0.05 EUR"),
            (-123_456, "USD", "-1,234.56 USD"),
            (100_000_000_000_000, "EUR", "1,000,000,000,000.00 EUR"),
            (1_250, "JPY", "1,250 JPY"),
            (125, "JPY", "125 JPY"),
            (0, "JPY", "0 JPY"),
            (1_250, "KWD", "1.250 KWD"),
            (12, "CLF", "0.0012 CLF"),
            (i64::MIN.into(), "EUR", "-92,233,720,368,547,758.08 EUR"),
            (-1_234_567_890_123_456_789_012, "KWD", "-1,234,567,890,123,456,789.012 KWD"),
            (7, "", "0.07 "),
        ];
        for (minor_units, currency, text) in cases {
            assert_eq!(written(minor_units, currency), text);
        }
        for (minor, currency, text) in cases {
            if let (Ok(minor), Some((amount, _))) = (i64::try_from(minor), text.split_once(' ')) {
                assert_eq!(minor_units(amount, currency), Some(minor), "{text}");
                assert_eq!(minor_units(&amount.replace(',', ""), currency), Some(minor), "{text}");
            }
        }
        let money = Money { minor_units: 1_999, currency: Currency::parse("EUR").unwrap() };
        assert_eq!(money.to_string(), "19.99 EUR");
    }

    #[test]
    fn what_is_no_amount_of_a_currency_is_not_taken_for_one() {
        assert_eq!((minor_units("12.5", "EUR"), minor_units("12", "EUR")), (Some(1_250), Some(1_200)));
        for wrong in [
            "",
            "-",
            ".",
            "12.",
            ".5.",
            "12.505",
            "12,50",
            "1,2",
            "12,3456",
            "1e3",
            "+5",
            " 5",
            "５",
            "--5",
            "92233720368547758.08",
        ] {
            assert_eq!(minor_units(wrong, "EUR"), None, "{wrong:?}");
        }
        assert_eq!((minor_units("1.0", "JPY"), minor_units("1.", "JPY")), (None, None));
    }

    #[test]
    fn an_amount_beyond_its_limits_is_refused_in_the_words_of_its_currency() {
        for (minor_units, currency, text) in [
            (-5, "EUR", "price must be 0.00 EUR to 10,000,000,000.00 EUR, not -0.05 EUR"),
            (-5, "JPY", "price must be 0 JPY to 1,000,000,000,000 JPY, not -5 JPY"),
            (1_000_000_000_001, "KWD", "price must be 0.000 KWD to 1,000,000,000.000 KWD, not 1,000,000,000.001 KWD"),
        ] {
            let refusal = Money::asked("price", Some(&wire::Money { minor_units, currency: currency.to_owned() }));
            let refusal = refusal.unwrap_err();
            assert_eq!((&*refusal.code, refusal.reason.as_str()), ("INVALID_AMOUNT", text));
        }
    }

    #[test]
    fn a_currency_that_nobody_uses_can_be_read_but_not_asked_for() {
        for code in ["ABC", "ZZZ", "HRK", "BGN", "XXX", "XTS", "XAU"] {
            assert!(Currency::parse(code).is_ok(), "{code}");
            assert_eq!(Currency::in_use(code).unwrap_err().code, "INVALID_CURRENCY", "{code}");
            let amount = wire::Money { minor_units: 1, currency: code.to_owned() };
            assert!(Money::from_wire("amount", Some(&amount)).is_ok(), "{code}");
            let refusal = Money::asked("amount", Some(&amount)).unwrap_err();
            assert!(refusal.reason.starts_with(&format!("amount: {code}")), "{refusal}");
        }
        for code in ["EUR", "USD", "JPY", "KWD", "CLF", "XCG", "ZWG"] {
            assert!(Currency::in_use(code).is_ok(), "{code}");
        }
        for code in ["", "eur", "EURO", "€"] {
            assert_eq!(Currency::in_use(code).unwrap_err().code, "INVALID_CURRENCY", "{code}");
        }
    }
}
