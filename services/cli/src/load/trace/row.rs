//! One row of a trace: what it says, or why it is refused. Pure; it knows nothing of other rows.

use std::{
    cell::RefCell,
    fmt,
    io::{Cursor, SeekFrom},
};

use domain::{AMOUNT_MAX, QUANTITY_MAX, Sku};
use time::{PrimitiveDateTime, format_description::well_known::Iso8601};

/// The columns, in this order.
pub const COLUMNS: [&str; 8] =
    ["invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price", "customer_id", "country"];

/// A product's stock code begins with so many digits. Whatever does not is a fee, a discount, postage or a correction: in
/// this shop `POST`, `DOT`, `M`, `D`, `C2`, `BANK CHARGES`, `AMAZONFEE`, `CRUK`, gift vouchers (`gift_0001_20`), …
const PRODUCT_DIGITS: usize = 5;

/// The longest invoice number or customer that is taken over.
const NAME_CHARS_MAX: usize = 64;

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

/// Why a row is refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It has not the columns, or one of them is not what it should be.
    UnreadableRow,
    /// More pieces or money than Holdfast counts.
    NumberTooLarge,
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnreadableRow => "unreadable_row",
            Self::NumberTooLarge => "number_too_large",
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

/// Reads one line of a trace, without its line feed. The first of these reasons that applies is given: unreadable, too
/// large, no product, then quantity, price and customer.
///
/// # Errors
/// Why it is refused.
pub fn read(line: &[u8]) -> Result<Row, Reason> {
    let [invoice, code, description, quantity, at, price, customer, _country] = fields(line)?;
    let invoice = name(&invoice).filter(|invoice| !invoice.is_empty()).ok_or(Reason::UnreadableRow)?;
    let customer = name(&customer).ok_or(Reason::UnreadableRow)?;
    let at = date(&at).ok_or(Reason::UnreadableRow)?;
    let quantity = quantity_of(&quantity).ok_or(Reason::UnreadableRow)?;
    let price = pence(&price).ok_or(Reason::UnreadableRow)?;
    let sku = product(&code)?;
    let limits = -i128::from(QUANTITY_MAX)..=i128::from(QUANTITY_MAX);
    if !limits.contains(&quantity) || price.whole > i128::from(AMOUNT_MAX) {
        return Err(Reason::NumberTooLarge);
    }
    let sku = sku.ok_or(Reason::FeeOrDiscountIsNotAProduct)?;
    let quantity = i64::try_from(quantity).unwrap_or_default();
    let customer = Some(customer).filter(|customer| !customer.is_empty());
    if invoice.starts_with('C') {
        if quantity >= 0 {
            return Err(Reason::QuantityNotNegativeOnCancellation);
        }
        let customer = customer.ok_or(Reason::NoCustomerOnCancellation)?;
        return Ok(Row::Cancellation(Cancellation { invoice, sku, quantity: -quantity, at, customer }));
    }
    if quantity < 1 {
        return Err(Reason::QuantityBelow1);
    }
    if price.is_negative || price.whole == 0 && !price.has_fraction {
        return Err(Reason::PriceNotPositive);
    }
    if price.has_fraction {
        return Err(Reason::PriceInFractionsOfAPenny);
    }
    let price_minor = i64::try_from(price.whole).unwrap_or_default();
    let name = product_name(&description, &sku);
    Ok(Row::Sale(Sale { invoice, sku, name, quantity, at, price_minor, customer }))
}

thread_local! {
    /// A reader costs forty times as much to make as to read a line with.
    static READER: RefCell<csv::Reader<Cursor<Vec<u8>>>> = RefCell::new(
        csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(1_024)
            .from_reader(Cursor::default()),
    );
}

/// The eight fields of a line. One line is one row: a quotation mark left open spoils its own line and no other.
fn fields(line: &[u8]) -> Result<[Vec<u8>; 8], Reason> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    READER.with_borrow_mut(|reader| {
        let source = reader.get_mut().get_mut();
        source.clear();
        source.extend_from_slice(line);
        // Forgets all that it has read before.
        reader.seek_raw(SeekFrom::Start(0), csv::Position::new()).map_err(|_unreadable| Reason::UnreadableRow)?;
        let mut records = reader.byte_records();
        let record = records.next().and_then(Result::ok).ok_or(Reason::UnreadableRow)?;
        if records.next().is_some() {
            return Err(Reason::UnreadableRow);
        }
        let fields: Vec<Vec<u8>> = record.iter().map(<[u8]>::to_vec).collect();
        <[Vec<u8>; 8]>::try_from(fields).map_err(|_other_count| Reason::UnreadableRow)
    })
}

/// Whether this line names the columns.
#[must_use]
pub fn is_header(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    fields(line).is_ok_and(|fields| {
        fields.iter().zip(COLUMNS).all(|(field, column)| field.trim_ascii().eq_ignore_ascii_case(column.as_bytes()))
    })
}

/// An invoice number or a customer: printable ASCII, or nothing.
fn name(field: &[u8]) -> Option<String> {
    let field = field.trim_ascii();
    let plain = field.len() <= NAME_CHARS_MAX && field.iter().all(u8::is_ascii_graphic);
    plain.then(|| String::from_utf8_lossy(field).into_owned())
}

fn date(field: &[u8]) -> Option<PrimitiveDateTime> {
    let text = std::str::from_utf8(field.trim_ascii()).ok()?;
    // To the second, without a zone. ISO 8601 has other ways to write as many characters, with zones, fractions and weeks.
    let shape = b"2010-12-01T08:26:00";
    let is_like = |(byte, like): (u8, &u8)| if like.is_ascii_digit() { byte.is_ascii_digit() } else { byte == *like };
    let is_plain = text.len() == shape.len() && text.bytes().zip(shape).all(is_like);
    is_plain.then(|| PrimitiveDateTime::parse(text, &Iso8601::PARSING).ok()).flatten()
}

/// A whole number. More digits than any counter has are cut to a number that is too large.
fn quantity_of(field: &[u8]) -> Option<i128> {
    let field = field.trim_ascii();
    let digits = field.strip_prefix(b"-").unwrap_or(field);
    let number = whole(digits)?;
    Some(if digits.len() < field.len() { -number } else { number })
}

fn whole(digits: &[u8]) -> Option<i128> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(i128::MAX))
}

/// A price, exactly: no floating point comes near it.
struct Pence {
    is_negative: bool,
    /// Whole pence, without the sign.
    whole: i128,
    /// Whether there is more than whole pence.
    has_fraction: bool,
}

fn pence(field: &[u8]) -> Option<Pence> {
    let field = field.trim_ascii();
    let unsigned = field.strip_prefix(b"-").unwrap_or(field);
    let mut parts = unsigned.splitn(2, |byte| *byte == b'.');
    let pounds = whole(parts.next()?)?;
    let decimals = parts.next();
    if decimals.is_some_and(|decimals| whole(decimals).is_none()) {
        return None;
    }
    let decimals = decimals.unwrap_or_default();
    let digit = |at: usize| decimals.get(at).map_or(0, |digit| i128::from(digit - b'0'));
    Some(Pence {
        is_negative: unsigned.len() < field.len(),
        whole: pounds.saturating_mul(100).saturating_add(digit(0) * 10 + digit(1)),
        has_fraction: decimals.iter().skip(2).any(|digit| *digit != b'0'),
    })
}

/// The product of a stock code; `None` if it is none. Codes are told apart by case, as the shop's own do.
fn product(code: &[u8]) -> Result<Option<Sku>, Reason> {
    let code = std::str::from_utf8(code.trim_ascii()).map_err(|_no_text| Reason::UnreadableRow)?;
    let digits = code.bytes().take(PRODUCT_DIGITS).filter(u8::is_ascii_digit).count();
    if digits < PRODUCT_DIGITS {
        return if code.is_empty() { Err(Reason::UnreadableRow) } else { Ok(None) };
    }
    Sku::parse(code).map(Some).map_err(|_malformed| Reason::UnreadableRow)
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
mod tests {
    use super::{Reason, Row, is_header, read};

    fn refused(line: &str) -> Reason {
        read(line.as_bytes()).unwrap_err()
    }

    fn sale(line: &str) -> super::Sale {
        match read(line.as_bytes()) {
            Ok(Row::Sale(sale)) => sale,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn reads_a_sale_to_the_penny() {
        let read = sale("536365,85123A,WHITE HANGING HEART,6,2010-12-01T08:26:00,2.55,17850,United Kingdom");
        assert_eq!(
            (read.invoice.as_str(), read.sku.as_str(), read.quantity, read.price_minor),
            ("536365", "85123A", 6, 255)
        );
        assert_eq!((read.name.as_str(), read.customer.as_deref()), ("WHITE HANGING HEART", Some("17850")));
        for (price, pence) in [("3", 300), ("1.9", 190), ("0.01", 1), ("2.5500", 255), ("649.50", 64_950)] {
            assert_eq!(sale(&format!("1,22222,X,1,2010-12-01T08:26:00,{price},,UK")).price_minor, pence, "{price}");
        }
    }

    #[test]
    fn reads_a_cancellation() {
        let Ok(Row::Cancellation(read)) =
            read(b"C536383,35004C,SET OF 3,-1,2010-12-01T09:49:00,4.65,15311,United Kingdom")
        else {
            panic!("not a cancellation");
        };
        assert_eq!((read.invoice.as_str(), read.quantity, read.customer.as_str()), ("C536383", 1, "15311"));
    }

    #[test]
    fn a_description_may_be_anything() {
        let line = |description: &[u8]| [b"1,22222,", description, b",1,2010-12-01T08:26:00,1,,UK"].concat();
        let name = |description: &[u8]| match read(&line(description)) {
            Ok(Row::Sale(sale)) => sale.name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(b"\"SIGN, \"\"OPEN\"\"\""), "SIGN, \"OPEN\"");
        assert_eq!(name(b"\xa3 SIGN"), "\u{fffd} SIGN");
        assert_eq!(name(b"A\tB"), "A B");
        // Without spaces around it, whatever they were made of.
        assert_eq!(name(b"\x01A\x02"), "A");
        assert_eq!(name(&[&[b'x'; 255][..], b" y"].concat()).len(), 255);
        assert_eq!(name(b"  "), "22222");
        assert_eq!(name(&[b'x'; 1_000]).len(), 256);
        assert!(proto_takes(&name(b"\x00\x01")));
    }

    fn proto_takes(name: &str) -> bool {
        domain::text("name", name, 1, 256).is_ok()
    }

    #[test]
    fn refuses_what_cannot_be_read() {
        for line in [
            "",
            "536365",
            "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850",
            "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK,more",
            "536365,85123A,\"X,6,2010-12-01T08:26:00,2.55,17850,UK",
            "536365,85123A,X,six,2010-12-01T08:26:00,2.55,17850,UK",
            "536365,85123A,X,6.0,2010-12-01T08:26:00,2.55,17850,UK",
            "536365,85123A,X,,2010-12-01T08:26:00,2.55,17850,UK",
            "536365,85123A,X,6,01/12/2010 08:26,2.55,17850,UK",
            "536365,85123A,X,6,2010-13-01T08:26:00,2.55,17850,UK",
            "536365,85123A,X,6,20101201T082600.123,2.55,17850,UK",
            "536365,85123A,X,6,20101201T082600.50Z,2.55,17850,UK",
            "536365,85123A,X,6,2010-12-01T08:26.5Z,2.55,17850,UK",
            "536365,85123A,X,6,2010-W48-3T08:26:00,2.55,17850,UK",
            "536365,85123A,X,6,-002010-12-01T08:26,2.55,17850,UK",
            "536365,85123A,X,6,2010-12-01T08:26:00,2.5.5,17850,UK",
            "536365,85123A,X,6,2010-12-01T08:26:00,.5,17850,UK",
            "536365,85123A,X,6,2010-12-01T08:26:00,1e3,17850,UK",
            "536365,85123A,X,6,2010-12-01T08:26:00,NaN,17850,UK",
            "536365,85123A,X,6,2010-12-01T08:26:00,,17850,UK",
            ",85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK",
            "536365,,X,6,2010-12-01T08:26:00,2.55,17850,UK",
            "536365,85123\u{a0}A,X,6,2010-12-01T08:26:00,2.55,17850,UK",
            "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17\u{e9}50,UK",
            "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK\r1,2,3",
        ] {
            assert_eq!(refused(line), Reason::UnreadableRow, "{line}");
        }
        assert_eq!(read(b"536365,\xff\xfe123,X,6,2010-12-01T08:26:00,2.55,17850,UK"), Err(Reason::UnreadableRow));
    }

    #[test]
    fn refuses_huge_numbers() {
        for numbers in [
            "1000000001,2010-12-01T08:26:00,1",
            "99999999999999999999999999999999999999999999,2010-12-01T08:26:00,1",
            "1,2010-12-01T08:26:00,10000000000.01",
            "1,2010-12-01T08:26:00,99999999999999999999999999999999999999999999",
            "-1000000001,2010-12-01T08:26:00,1",
        ] {
            assert_eq!(refused(&format!("1,22222,X,{numbers},,UK")), Reason::NumberTooLarge, "{numbers}");
        }
    }

    #[test]
    fn refuses_what_is_no_product() {
        for code in ["POST", "DOT", "M", "D", "C2", "BANK CHARGES", "AMAZONFEE", "gift_0001_20", "1234", "B"] {
            let line = format!("536370,{code},POSTAGE,3,2010-12-01T08:45:00,18,12583,France");
            assert_eq!(refused(&line), Reason::FeeOrDiscountIsNotAProduct);
            assert_eq!(refused(&format!("C{line}")), Reason::FeeOrDiscountIsNotAProduct);
        }
    }

    #[test]
    fn refuses_what_is_not_sold() {
        let row =
            |quantity: &str, price: &str| refused(&format!("1,22222,X,{quantity},2010-12-01T08:26:00,{price},,UK"));
        assert_eq!(row("0", "1"), Reason::QuantityBelow1);
        assert_eq!(row("-10", "0"), Reason::QuantityBelow1);
        assert_eq!(row("10", "0"), Reason::PriceNotPositive);
        assert_eq!(row("10", "0.00"), Reason::PriceNotPositive);
        assert_eq!(row("10", "-1.50"), Reason::PriceNotPositive);
        assert_eq!(row("10", "0.001"), Reason::PriceInFractionsOfAPenny);
        assert_eq!(row("10", "1.255"), Reason::PriceInFractionsOfAPenny);
    }

    #[test]
    fn refuses_a_cancellation_of_nothing_or_of_nobodys() {
        let row = |quantity: &str, customer: &str| {
            refused(&format!("C1,22222,X,{quantity},2010-12-01T08:26:00,0,{customer},UK"))
        };
        assert_eq!(row("1", "17850"), Reason::QuantityNotNegativeOnCancellation);
        assert_eq!(row("0", "17850"), Reason::QuantityNotNegativeOnCancellation);
        assert_eq!(row("-1", ""), Reason::NoCustomerOnCancellation);
    }

    #[test]
    fn knows_the_header() {
        assert!(is_header(b"invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country\r"));
        assert!(is_header(
            "\u{feff}Invoice_No,stock_code,description,quantity,invoice_date,unit_price,customer_id,country".as_bytes()
        ));
        assert!(!is_header(b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"));
        assert!(!is_header(b"536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK"));
    }
}
