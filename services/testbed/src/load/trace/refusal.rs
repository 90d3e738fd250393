//! Why a row of a trace is refused: a code that programs may rely on, and what people need to find and mend the row. Pure.

use std::{borrow::Cow, fmt};

/// More of a value is not told.
const VALUE_CHARS_MAX: usize = 40;

/// Why, for programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is nothing on the line.
    EmptyLine,
    /// It has not the columns.
    UnreadableRow,
    /// It is longer than a record may be.
    RecordTooLong,
    /// A quotation mark never closes, or is where none may be: all the rest of the file is one record.
    BrokenQuotation,
    /// This column is not what it should be.
    Unreadable(&'static str),
    /// What a spreadsheet has made of a stock code.
    MangledStockCode,
    /// More pieces or money than Holdfast counts.
    NumberTooLarge,
    /// An invoice that sells nothing: it corrects a debt.
    AdjustmentIsNotASale,
    /// No product.
    FeeOrDiscountIsNotAProduct,
    /// Nothing is sold, or it is a correction of the stock.
    QuantityBelow1,
    /// Given away, lost, or a correction.
    PriceNotPositive,
    /// Money is whole pence.
    PriceInFractionsOfAPenny,
    /// Another row of the same invoice names another customer.
    CustomerDiffersWithinInvoice,
    /// The invoice has as many lines as an order may have.
    TooManyLinesOnInvoice,
    /// Nothing comes back.
    QuantityNotNegativeOnCancellation,
    /// Nobody knows whose order it was.
    NoCustomerOnCancellation,
    /// The customer has no earlier order with so many pieces left.
    NoMatchingOrder,
    /// Holdfast refused the order, with this code.
    OrderRejected(String),
    /// Holdfast refused the refund, with this code.
    RefundRejected(String),
}

impl Reason {
    /// Whether the row is well, and only tells of nothing that could be sold or come back. Every such file has some of these.
    #[must_use]
    pub const fn is_usual(&self) -> bool {
        match self {
            Self::AdjustmentIsNotASale
            | Self::FeeOrDiscountIsNotAProduct
            | Self::QuantityBelow1
            | Self::PriceNotPositive
            | Self::QuantityNotNegativeOnCancellation
            | Self::NoCustomerOnCancellation
            | Self::NoMatchingOrder => true,
            Self::EmptyLine
            | Self::UnreadableRow
            | Self::RecordTooLong
            | Self::BrokenQuotation
            | Self::Unreadable(_)
            | Self::MangledStockCode
            | Self::NumberTooLarge
            | Self::PriceInFractionsOfAPenny
            | Self::CustomerDiffersWithinInvoice
            | Self::TooManyLinesOnInvoice
            | Self::OrderRejected(_)
            | Self::RefundRejected(_) => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLine => "empty_line",
            Self::UnreadableRow => "unreadable_row",
            Self::RecordTooLong => "record_too_long",
            Self::BrokenQuotation => "broken_quotation",
            Self::Unreadable(column) => return write!(f, "unreadable_{column}"),
            Self::MangledStockCode => "mangled_stock_code",
            Self::NumberTooLarge => "number_too_large",
            Self::AdjustmentIsNotASale => "adjustment_is_not_a_sale",
            Self::FeeOrDiscountIsNotAProduct => "fee_or_discount_is_not_a_product",
            Self::QuantityBelow1 => "quantity_below_1",
            Self::PriceNotPositive => "price_not_positive",
            Self::PriceInFractionsOfAPenny => "price_in_fractions_of_a_penny",
            Self::CustomerDiffersWithinInvoice => "customer_differs_within_invoice",
            Self::TooManyLinesOnInvoice => "too_many_lines_on_invoice",
            Self::QuantityNotNegativeOnCancellation => "quantity_not_negative_on_cancellation",
            Self::NoCustomerOnCancellation => "no_customer_on_cancellation",
            Self::NoMatchingOrder => "no_matching_order",
            Self::OrderRejected(code) => return write!(f, "order_rejected:{code}"),
            Self::RefundRejected(code) => return write!(f, "refund_rejected:{code}"),
        })
    }
}

/// Why, for people too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub reason: Reason,
    /// The column; empty if it is the row as a whole.
    pub column: &'static str,
    /// What is there: shortened, in quotes, and with whatever cannot be seen escaped.
    pub value: String,
    /// What was expected.
    pub expected: Cow<'static, str>,
}

impl Refusal {
    /// This value of this column is not what was expected.
    pub(super) fn of(
        reason: Reason,
        column: &'static str,
        value: impl AsRef<[u8]>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { reason, column, value: told(value.as_ref()), expected: expected.into() }
    }

    /// The row as a whole is not what was expected.
    pub(super) fn of_row(reason: Reason, value: impl Into<String>, expected: &'static str) -> Self {
        Self { reason, column: "", value: value.into(), expected: expected.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason: _, column, value, expected } = self;
        let is = if column.is_empty() { "" } else { " is " };
        write!(f, "{column}{is}{value}; expected: {expected}")
    }
}

/// What a field says, fit to be shown anywhere: to a terminal it is no command, and to a spreadsheet no formula.
pub(super) fn told(value: &[u8]) -> String {
    let mut letters: Vec<char> = match std::str::from_utf8(value) {
        Ok(text) => text.escape_debug().take(VALUE_CHARS_MAX + 1).collect(),
        Err(_not_utf8) => value.escape_ascii().take(VALUE_CHARS_MAX + 1).map(char::from).collect(),
    };
    let is_long = letters.len() > VALUE_CHARS_MAX;
    letters.truncate(VALUE_CHARS_MAX);
    let short = String::from_iter(letters);
    format!("\"{short}{}\"", if is_long { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::{Reason, Refusal, told};

    #[test]
    fn a_value_is_told_shortly_and_without_anything_that_acts() {
        assert_eq!(told(b"2010-12-01 08:26:00"), "\"2010-12-01 08:26:00\"");
        assert_eq!(told("£2\u{1b}[31m\n\"".as_bytes()), "\"£2\\u{1b}[31m\\n\\\"\"");
        assert_eq!(told(b"22\xff469\0"), "\"22\\xff469\\x00\"");
        assert_eq!(told(&[b'x'; 1_000]).chars().count(), 43);
        assert_eq!(told(&[0; 1_000_000]).chars().count(), 43);
        assert!(told(b"=SUM(A1)").starts_with('"'));
    }

    #[test]
    fn it_names_column_value_and_what_was_expected() {
        let refusal = Refusal::of(Reason::Unreadable("quantity"), "quantity", "six", "a whole number");
        assert_eq!(refusal.to_string(), "quantity is \"six\"; expected: a whole number");
        assert_eq!(refusal.reason.to_string(), "unreadable_quantity");
        let refusal = Refusal::of_row(Reason::UnreadableRow, "7 columns", "8 columns");
        assert_eq!(refusal.to_string(), "7 columns; expected: 8 columns");
    }
}
