//! What a row says, and every reason to refuse it.

use super::{
    super::{records::Records, refusal::Refusal},
    Reason, Row,
};

fn read(line: &[u8]) -> Result<Row, Refusal> {
    super::read(Records::new([line, b"\n"].concat().as_slice()).next().unwrap().unwrap())
}

fn refusal(line: &[u8]) -> Refusal {
    read(line).unwrap_err()
}

fn refused(line: &str) -> Reason {
    refusal(line.as_bytes()).reason
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
    let Ok(Row::Cancellation(read)) = read(b"C536383,35004C,SET OF 3,-1,2010-12-01T09:49:00,4.65,15311,United Kingdom")
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
fn what_cannot_be_read_is_refused_with_the_column_the_value_and_what_was_expected() {
    let told = |line: &str| {
        let refusal = refusal(line.as_bytes());
        format!("{}: {refusal}", refusal.reason)
    };
    for (line, expected) in [
        ("", "empty_line: \"\"; expected: 8 columns"),
        ("536365", "unreadable_row: 1 column: \"536365\"; expected: 8 columns"),
        ("536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850", "unreadable_row: 7 columns; expected: 8 columns"),
        ("536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK,more", "unreadable_row: 9 columns; expected: 8 columns"),
        (
            "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK\r1,2,3",
            "unreadable_row: there is a carriage return without a line feed; expected: lines that end in LF or CR LF, and no \
             other CR outside quotes",
        ),
        (
            "536365,85123A,\"X,6,2010-12-01T08:26:00,2.55,17850,UK",
            "broken_quotation: a quotation mark never closes; expected: a quotation mark that closes; from this line on all is \
             inside quotes",
        ),
        (
            "c536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK",
            "unreadable_invoice_no: invoice_no is \"c536365\"; expected: a number like 536365, or C536365 for a cancellation",
        ),
        (
            "536365,8.5123E+4,X,6,2010-12-01T08:26:00,2.55,17850,UK",
            "mangled_stock_code: stock_code is \"8.5123E+4\"; expected: five digits, then perhaps letters, like 85123A; or the \
             name of a fee, like POST",
        ),
        (
            "536365,85123A,X,six,2010-12-01T08:26:00,2.55,17850,UK",
            "unreadable_quantity: quantity is \"six\"; expected: a whole number like 6 or -6",
        ),
        (
            "536365,85123A,X,6,2010-12-01 08:26:00,2.55,17850,UK",
            "unreadable_invoice_date: invoice_date is \"2010-12-01 08:26:00\"; expected: a time like 2010-12-01T08:26:00",
        ),
        (
            "536365,85123A,X,6,2010-12-01T08:26:00,£2.55,17850,UK",
            "unreadable_unit_price: unit_price is \"£2.55\"; expected: pounds like 2.55, with a point and without a sign of \
             their currency",
        ),
        (
            "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850.0,UK",
            "unreadable_customer_id: customer_id is \"17850.0\"; expected: a number like 17850, or nothing",
        ),
        (
            "A563185,B,Adjust bad debt,1,2011-08-12T14:50:00,11062.06,,UK",
            "adjustment_is_not_a_sale: invoice_no is \"A563185\"; expected: a sale, or a cancellation (C); A adjusts a debt",
        ),
    ] {
        assert_eq!(told(line), expected);
    }
    let bytes = refusal(b"536365,22\xff469,X,6,2010-12-01T08:26:00,2.55,17850,UK");
    assert_eq!((bytes.reason.to_string().as_str(), bytes.value.as_str()), ("unreadable_stock_code", "\"22\\xff469\""));
    let long = refusal(&[b'x'; 100_000]);
    assert_eq!(long.to_string(), "it is too long; expected: a record of at most 65536 bytes");
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
    for code in ["POST", "DOT", "M", "D", "C2", "BANK CHARGES", "AMAZONFEE", "gift_0001_20", "B"] {
        let line = format!("536370,{code},POSTAGE,3,2010-12-01T08:45:00,18,12583,France");
        assert_eq!(refused(&line), Reason::FeeOrDiscountIsNotAProduct);
        assert_eq!(refused(&format!("C{line}")), Reason::FeeOrDiscountIsNotAProduct);
    }
}

#[test]
fn refuses_what_is_not_sold() {
    let row = |quantity: &str, price: &str| refused(&format!("1,22222,X,{quantity},2010-12-01T08:26:00,{price},,UK"));
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
    let row =
        |quantity: &str, customer: &str| refused(&format!("C1,22222,X,{quantity},2010-12-01T08:26:00,0,{customer},UK"));
    assert_eq!(row("1", "17850"), Reason::QuantityNotNegativeOnCancellation);
    assert_eq!(row("0", "17850"), Reason::QuantityNotNegativeOnCancellation);
    assert_eq!(row("-1", ""), Reason::NoCustomerOnCancellation);
}
