//! One row of a trace: what it says, or why it is refused. Pure; it knows nothing of other rows.

use domain::{AMOUNT_MAX, QUANTITY_MAX, Sku};
use time::PrimitiveDateTime;

use super::{
    cell::{self, Invoice},
    records::{Fault, Record},
    refusal::{Reason, Refusal, told},
};

/// The columns, in this order.
pub const COLUMNS: [&str; 8] =
    ["invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price", "customer_id", "country"];

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Pieces were sold.
    Sale(Sale),
    /// Pieces came back.
    Cancellation(Cancellation),
}

/// A line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    /// The invoice's number.
    pub invoice: String,
    /// The product.
    pub sku: Sku,
    /// The product's name, fit to be one.
    pub name: String,
    /// Pieces, at least 1.
    pub quantity: i64,
    /// When.
    pub at: PrimitiveDateTime,
    /// Price of a piece in pence, at least 1.
    pub price_minor: i64,
    /// Who bought. `None`: nobody knows.
    pub customer: Option<String>,
}

/// A line of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// The cancellation's number.
    pub invoice: String,
    /// The product.
    pub sku: Sku,
    /// Pieces that come back, at least 1.
    pub quantity: i64,
    /// When.
    pub at: PrimitiveDateTime,
    /// Who gives back.
    pub customer: String,
}

/// Reads a record. The first of these reasons that applies is given: no row, an adjustment, unreadable columns
/// from left to right, too large, no product, then quantity, price and customer.
///
/// # Errors
/// Why it is refused.
pub(super) fn read(record: Record) -> Result<Row, Refusal> {
    let [invoice, code, description, quantity, at, price, customer, _country] = &columns(record)?;
    let number = cell::invoice(invoice)?;
    let sku = cell::product(code)?;
    let pieces = cell::quantity(quantity)?;
    let at = cell::date(at)?;
    let pence = cell::pence(price)?;
    let customer_id = cell::customer(customer)?;
    if pieces.abs() > i128::from(QUANTITY_MAX) {
        return Err(Refusal::of(Reason::NumberTooLarge, "quantity", quantity, "at most 1000000000 pieces"));
    }
    if pence.whole > i128::from(AMOUNT_MAX) {
        return Err(Refusal::of(Reason::NumberTooLarge, "unit_price", price, "at most 10000000000.00"));
    }
    let pieces = i64::try_from(pieces).unwrap_or_default();
    let Some(sku) = sku else {
        let expected = "a product: five digits, then perhaps letters";
        return Err(Refusal::of(Reason::FeeOrDiscountIsNotAProduct, "stock_code", code, expected));
    };
    let number = match number {
        Invoice::Sale(number) => number,
        Invoice::Cancellation(invoice) => {
            if pieces >= 0 {
                let reason = Reason::QuantityNotNegativeOnCancellation;
                return Err(Refusal::of(reason, "quantity", quantity, "below 0: pieces come back"));
            }
            let Some(customer) = customer_id else {
                let expected = "the customer whose order it was";
                return Err(Refusal::of(Reason::NoCustomerOnCancellation, "customer_id", customer, expected));
            };
            return Ok(Row::Cancellation(Cancellation { invoice, sku, quantity: -pieces, at, customer }));
        }
    };
    if pieces < 1 {
        return Err(Refusal::of(Reason::QuantityBelow1, "quantity", quantity, "at least 1"));
    }
    let price_minor = cell::sold_for(&pence, price)?;
    let name = product_name(description, &sku);
    Ok(Row::Sale(Sale { invoice: number, sku, name, quantity: pieces, at, price_minor, customer: customer_id }))
}

fn columns(Record { fields, lines, .. }: Record) -> Result<[Vec<u8>; 8], Refusal> {
    let fields = fields.map_err(|fault| {
        let reason = match fault {
            Fault::TooLong => Reason::RecordTooLong,
            Fault::CarriageReturn => Reason::UnreadableRow,
            Fault::OpenQuote | Fault::StrayQuote => Reason::BrokenQuotation,
        };
        let size = if lines > 1 { format!(" (a record of {lines} lines)") } else { String::new() };
        Refusal::of_row(reason, format!("{fault}{size}"), fault.expected())
    })?;
    <[Vec<u8>; 8]>::try_from(fields).map_err(|fields| match fields.as_slice() {
        [only] if only.is_empty() => Refusal::of_row(Reason::EmptyLine, "\"\"", "8 columns"),
        [only] => Refusal::of_row(Reason::UnreadableRow, format!("1 column: {}", told(only)), "8 columns"),
        fields => Refusal::of_row(Reason::UnreadableRow, format!("{} columns", fields.len()), "8 columns"),
    })
}

/// A name that inventory takes: the description, whatever bytes it is made of, or else the stock code.
fn product_name(description: &[u8], sku: &Sku) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let text: String = String::from_utf8_lossy(description).chars().map(plain).collect();
    let text: String = text.trim().chars().take(256).collect();
    let text = text.trim_end();
    if text.is_empty() { sku.as_str().to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
