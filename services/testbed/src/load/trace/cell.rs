//! The cells of a row, each read in the one way that it can be meant, or refused. Pure.
//!
//! A spreadsheet makes numbers and dates of what looks like one: zeros in front go, `85123E4` becomes `8.5123E+8`, `17850`
//! comes back as `17850.0` and an empty cell as `nan`. What the shop wrote before cannot be known, so every column takes what the
//! shop's own files have in it, and nothing else: no two spellings of the same thing.

use domain::Sku;
use time::{PrimitiveDateTime, format_description::well_known::Iso8601};

use super::refusal::{Reason, Refusal};

/// A product's stock code begins with so many digits.
const PRODUCT_DIGITS: usize = 5;

/// The longest invoice number or customer that is taken over.
const NUMBER_DIGITS_MAX: usize = 63;

/// What an invoice is, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Invoice {
    /// Digits.
    Sale(String),
    /// `C` and digits; the whole number, with its letter.
    Cancellation(String),
}

pub(super) fn invoice(field: &[u8]) -> Result<Invoice, Refusal> {
    let expected = "a number like 536365, or C536365 for a cancellation";
    let refused = || unreadable("invoice_no", field, expected);
    let text = text(field).ok_or_else(refused)?;
    let digits = text.strip_prefix(['A', 'C']).unwrap_or(text);
    if !is_number(digits) {
        return Err(refused());
    }
    // A debt that is written off, or the other way round.
    if text.starts_with('A') {
        let expected = "a sale, or a cancellation (C); A adjusts a debt";
        return Err(Refusal::of(Reason::AdjustmentIsNotASale, "invoice_no", field, expected));
    }
    let is_cancellation = text.starts_with('C');
    Ok(if is_cancellation { Invoice::Cancellation(text.to_owned()) } else { Invoice::Sale(text.to_owned()) })
}

/// Who bought; `None` if nobody knows.
pub(super) fn customer(field: &[u8]) -> Result<Option<String>, Refusal> {
    let refused = || unreadable("customer_id", field, "a number like 17850, or nothing");
    let text = text(field).ok_or_else(refused)?;
    if text.is_empty() {
        return Ok(None);
    }
    if is_number(text) { Ok(Some(text.to_owned())) } else { Err(refused()) }
}

/// The longest stock code.
const CODE_BYTES_MAX: usize = 64;

/// The product of a stock code; `None` if it is none: a fee, a discount, postage or a correction, in this shop `POST`, `DOT`, `M`,
/// `D`, `C2`, `BANK CHARGES`, `AMAZONFEE`, `CRUK`, gift vouchers (`gift_0001_20`), … Codes are told apart by case, as the shop's
/// own do.
pub(super) fn product(field: &[u8]) -> Result<Option<Sku>, Refusal> {
    let expected = "five digits, then perhaps letters, like 85123A; or the name of a fee, like POST";
    let refused = |reason| Refusal::of(reason, "stock_code", field, expected);
    let code = text(field).filter(|code| !code.is_empty()).ok_or_else(|| refused(Reason::Unreadable("stock_code")))?;
    if is_fee(code) {
        return Ok(None);
    }
    let digits = code.bytes().take(PRODUCT_DIGITS).filter(u8::is_ascii_digit).count();
    let is_number = code.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let has_zeros_in_front = is_number && code.len() > PRODUCT_DIGITS && code.starts_with('0');
    if digits < PRODUCT_DIGITS || is_number && code.contains('.') || has_zeros_in_front {
        return Err(refused(Reason::MangledStockCode));
    }
    // Stricter than a SKU may be: in this shop, what has anything else in it was written by no till.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if code.len() > CODE_BYTES_MAX || !code.bytes().all(is_plain) {
        return Err(refused(Reason::Unreadable("stock_code")));
    }
    Sku::parse(code).map(Some).map_err(|_malformed| refused(Reason::Unreadable("stock_code")))
}

/// Begins with a letter and is a name. What programs write for a cell without a value, or for a date, is none.
fn is_fee(code: &str) -> bool {
    let is_name = code.starts_with(|first: char| first.is_ascii_alphabetic())
        && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'_'));
    let no_value = ["nan", "nat", "null", "none", "na", "inf", "infinity", "true", "false", "undefined"];
    is_name && !no_value.iter().any(|word| code.eq_ignore_ascii_case(word))
}

pub(super) fn date(field: &[u8]) -> Result<PrimitiveDateTime, Refusal> {
    let refused = || unreadable("invoice_date", field, "a time like 2010-12-01T08:26:00");
    let text = text(field).ok_or_else(refused)?;
    // To the second, without a zone. ISO 8601 has other ways to write as many characters, with zones, fractions and weeks.
    let shape = b"2010-12-01T08:26:00";
    let is_like = |(byte, like): (u8, &u8)| if like.is_ascii_digit() { byte.is_ascii_digit() } else { byte == *like };
    if text.len() != shape.len() || !text.bytes().zip(shape).all(is_like) {
        return Err(refused());
    }
    PrimitiveDateTime::parse(text, &Iso8601::PARSING).map_err(|_no_such_time| refused())
}

/// A whole number. More digits than any counter has are cut to a number that is too large.
pub(super) fn quantity(field: &[u8]) -> Result<i128, Refusal> {
    let digits = field.trim_ascii();
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let number = whole(unsigned).ok_or_else(|| unreadable("quantity", field, "a whole number like 6 or -6"))?;
    Ok(if unsigned.len() < digits.len() { -number } else { number })
}

/// A price, exactly: no floating point comes near it.
pub(super) struct Pence {
    is_negative: bool,
    /// Whole pence, without the sign.
    pub(super) whole: i128,
    /// Whether there is more than whole pence.
    has_fraction: bool,
}

pub(super) fn pence(field: &[u8]) -> Result<Pence, Refusal> {
    let refused =
        || unreadable("unit_price", field, "pounds like 2.55, with a point and without a sign of their currency");
    let digits = field.trim_ascii();
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let mut parts = unsigned.splitn(2, |byte| *byte == b'.');
    let pounds = parts.next().and_then(whole).ok_or_else(refused)?;
    let decimals = parts.next();
    if decimals.is_some_and(|decimals| whole(decimals).is_none()) {
        return Err(refused());
    }
    let decimals = decimals.unwrap_or_default();
    let digit = |at: usize| decimals.get(at).map_or(0, |digit| i128::from(digit - b'0'));
    Ok(Pence {
        is_negative: unsigned.len() < digits.len(),
        whole: pounds.saturating_mul(100).saturating_add(digit(0) * 10 + digit(1)),
        has_fraction: decimals.iter().skip(2).any(|digit| *digit != b'0'),
    })
}

/// The price of something that is sold, in pence.
pub(super) fn sold_for(pence: &Pence, field: &[u8]) -> Result<i64, Refusal> {
    if pence.is_negative || pence.whole == 0 && !pence.has_fraction {
        return Err(Refusal::of(Reason::PriceNotPositive, "unit_price", field, "above 0"));
    }
    if pence.has_fraction {
        return Err(Refusal::of(Reason::PriceInFractionsOfAPenny, "unit_price", field, "whole pence"));
    }
    Ok(i64::try_from(pence.whole).unwrap_or_default())
}

fn unreadable(column: &'static str, field: &[u8], expected: &'static str) -> Refusal {
    Refusal::of(Reason::Unreadable(column), column, field, expected)
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field.trim_ascii()).ok()
}

/// Digits, without a zero in front: as many spellings as numbers.
fn is_number(text: &str) -> bool {
    (1..=NUMBER_DIGITS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('0')
}

fn whole(digits: &[u8]) -> Option<i128> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(i128::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Invoice, customer, date, invoice, pence, product, quantity};

    fn codes<T>(read: fn(&[u8]) -> Result<T, super::Refusal>, values: &[&str]) -> Vec<String> {
        let code =
            |value: &&str| read(value.as_bytes()).err().map_or("read".to_owned(), |refusal| refusal.reason.to_string());
        values.iter().map(code).collect()
    }

    /// Everything that a spreadsheet makes of `85123`, `85123A`, `02213` and `85123E4`: never a product of its own, never a fee.
    #[test]
    fn a_stock_code_that_a_spreadsheet_has_touched_is_called_mangled_and_no_fee() {
        for code in [
            "2213",
            "1",
            "8.5123E+4",
            "8.5123E+04",
            "8,5123E+4",
            "1E+05",
            "85.123",
            "85,123",
            "'85123A",
            "'85123",
            "=\"85123\"",
            "=85123",
            "85123.0",
            "85123.",
            "85123.00",
            "00085123",
            "085123",
            "-85123",
            "+85123",
            "\"85123\"",
            "#REF!",
            "#N/A",
            "nan",
            "NaN",
            "NULL",
            "None",
            "TRUE",
            "-",
            "?",
            "Sep-47",
            "22-Jan",
            "01/12/2010",
            "(85123)",
            "2213A",
            "£85123",
        ] {
            assert_eq!(codes(product, &[code]), ["mangled_stock_code"], "{code}");
        }
        let malformed = ["", " ", "85123 A", "85123E+4", "85123,A", "85123\u{e9}", "85123A'"];
        assert_eq!(codes(product, &malformed), vec!["unreadable_stock_code"; malformed.len()]);
    }

    #[test]
    fn a_stock_code_as_the_shop_writes_it_is_a_product_or_a_fee() {
        for code in ["85123", "85123A", "85123a", "02213", "15056BL", "85123A ", "79323_1"] {
            assert_eq!(product(code.as_bytes()).unwrap().unwrap().as_str(), code.trim(), "{code}");
        }
        for fee in ["POST", "DOT", "M", "m", "D", "C2", "BANK CHARGES", "AMAZONFEE", "gift_0001_20", "DCGS0003", "B"] {
            assert_eq!(product(fee.as_bytes()).unwrap(), None, "{fee}");
        }
    }

    #[test]
    fn a_customer_has_one_spelling_or_none() {
        assert_eq!(customer(b" 17850").unwrap().as_deref(), Some("17850"));
        assert_eq!(customer(b" ").unwrap(), None);
        let others = [
            "17850.0", "1.785E+4", "017850", "0", "'17850", "17,850", "=17850", "nan", "NaN", "NULL", "None", "-",
            "N/A", "17850\0",
        ];
        assert_eq!(codes(customer, &others), vec!["unreadable_customer_id"; others.len()]);
        assert!(customer(&[b'1'; 100]).is_err());
    }

    #[test]
    fn an_invoice_is_a_sale_a_cancellation_or_an_adjustment_and_has_one_spelling() {
        assert_eq!(invoice(b"536379 ").unwrap(), Invoice::Sale("536379".to_owned()));
        assert_eq!(invoice(b"C536379").unwrap(), Invoice::Cancellation("C536379".to_owned()));
        assert_eq!(codes(invoice, &["A563185"]), ["adjustment_is_not_a_sale"]);
        let others = [
            "c536379",
            "a563185",
            "900506.0",
            "9.00506E+5",
            "0536379",
            "",
            "C",
            "A",
            "CC1",
            "C-1",
            "-536379",
            "'536379",
            "nan",
            "5 6",
        ];
        assert_eq!(codes(invoice, &others), vec!["unreadable_invoice_no"; others.len()]);
    }

    #[test]
    fn numbers_are_plain() {
        assert_eq!((quantity(b"-0").unwrap(), quantity(b"-6").unwrap(), quantity(b" 6 ").unwrap()), (0, -6, 6));
        let others = ["1,000", "6.0", "6.", "1e3", "+6", "", "- 6", "--6", "six", "nan", "6-"];
        assert_eq!(codes(quantity, &others), vec!["unreadable_quantity"; others.len()]);
        let others = ["2,55", "£2.55", "$2", ".5", "2.", "1e3", "NaN", "", "2.5.5", "+2", "(2.55)", "2 .55"];
        assert_eq!(codes(pence, &others), vec!["unreadable_unit_price"; others.len()]);
    }

    #[test]
    fn a_date_that_can_mean_two_days_is_not_guessed() {
        let others = [
            "01/12/2010 08:26",
            "12/1/2010 8:26",
            "2010-12-01 08:26:00",
            "2010-12-01T08:26:00Z",
            "2010-12-01",
            "2010-13-01T08:26:00",
            "20101201T082600.123",
            "20101201T082600.50Z",
            "2010-12-01T08:26.5Z",
            "2010-W48-3T08:26:00",
            "-002010-12-01T08:26",
            "40513.35",
        ];
        assert_eq!(codes(date, &others), vec!["unreadable_invoice_date"; others.len()]);
    }
}
