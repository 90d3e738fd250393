//! Which order a cancellation is matched with, and how much of it.

use std::collections::BTreeSet;

use super::{Book, LINES_MAX, Reason};

/// Refused rows by reason, the most frequent first.
fn refusals(book: &Book) -> Vec<(String, u64)> {
    book.refusals().into_iter().map(|by| (by.refusal.reason.to_string(), by.rows)).collect()
}

const HEADER: &str = "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country\n";

fn book(rows: &[&str]) -> Book {
    Book::read(format!("{HEADER}{}", rows.join("\n")).as_bytes()).unwrap()
}

fn all_paid(book: &mut Book) -> Vec<super::Return> {
    let paid: BTreeSet<usize> = (0..book.invoices.len()).collect();
    book.returns(&paid)
}

/// (cancellation, order, product, pieces) of each return's lines.
fn told(book: &mut Book) -> Vec<(String, String, String, i64)> {
    let returns = all_paid(book);
    let line = |back: &super::Return| {
        let order = book.invoices[back.invoice].number.clone();
        let lines = back.lines.iter();
        lines
            .map(|(sku, pieces)| (back.cancellation.clone(), order.clone(), sku.to_string(), *pieces))
            .collect::<Vec<_>>()
    };
    returns.iter().flat_map(line).collect()
}

fn back(cancellation: &str, order: &str, sku: &str, pieces: i64) -> (String, String, String, i64) {
    (cancellation.to_owned(), order.to_owned(), sku.to_owned(), pieces)
}

#[test]
fn one_invoice_is_one_order_wherever_its_rows_are() {
    let book = book(&[
        "1,11111,A,1,2010-12-01T10:01:00,1,7,UK",
        "2,22222,B,1,2010-12-01T09:00:00,1,,UK",
        "1,22222,B SECOND NAME,2,2010-12-01T10:00:00,1,7,UK",
        "1,11111,A,3,2010-12-01T10:02:00,0.5,7,UK",
    ]);
    assert_eq!(book.rows, 4);
    assert_eq!(
        book.invoices.iter().map(|invoice| (invoice.number.as_str(), invoice.lines.len())).collect::<Vec<_>>(),
        [("1", 3), ("2", 1)]
    );
    assert_eq!(book.invoices[0].at.to_string(), "2010-12-01 10:00:00.0");
    assert_eq!(book.products.values().collect::<Vec<_>>(), ["A", "B"]);
    assert!(book.refused.is_empty());
}

#[test]
fn a_refused_row_does_not_refuse_its_invoice() {
    let book = book(&[
        "1,11111,A,1,2010-12-01T10:00:00,1,7,UK",
        "1,POST,POSTAGE,1,2010-12-01T10:00:00,18,7,UK",
        "1,22222,B,1,2010-12-01T10:00:00,1,8,UK",
        "1,33333,C,0,2010-12-01T10:00:00,1,7,UK",
        "nonsense",
        "",
        "1,44444,D,1,2010-12-01T10:00:00,1,7,UK",
    ]);
    let lines: Vec<u64> = book.invoices[0].lines.iter().map(|line| line.row).collect();
    assert_eq!(lines, [2, 8]);
    let refused: Vec<(u64, &Reason)> = book.refused.iter().map(|(row, refusal)| (*row, &refusal.reason)).collect();
    assert_eq!(
        refused,
        [
            (3, &Reason::FeeOrDiscountIsNotAProduct),
            (4, &Reason::CustomerDiffersWithinInvoice),
            (5, &Reason::QuantityBelow1),
            (6, &Reason::UnreadableRow),
            (7, &Reason::EmptyLine),
        ]
    );
    assert_eq!(book.rows, 7);
    assert_eq!(book.products.len(), 2, "a product that is only in refused rows is not sold");
}

#[test]
fn an_order_has_a_thousand_lines_and_no_more() {
    let row = "1,11111,A,1,2010-12-01T10:00:00,1,7,UK";
    let book = book(&vec![row; LINES_MAX + 2]);
    assert_eq!(book.invoices[0].lines.len(), LINES_MAX);
    assert_eq!(refusals(&book), [("too_many_lines_on_invoice".to_owned(), 2)]);
}

#[test]
fn a_cancellation_belongs_to_the_most_recent_order_with_enough_left() {
    let mut book = book(&[
        "1,11111,A,5,2010-12-01T10:00:00,1,7,UK",
        "2,11111,A,2,2010-12-01T12:00:00,1,7,UK",
        "3,11111,A,9,2010-12-01T11:00:00,1,8,UK",
        "4,11111,A,9,2010-12-03T10:00:00,1,7,UK",
        "C1,11111,A,-2,2010-12-02T10:00:00,1,7,UK",
        "C2,11111,A,-1,2010-12-02T10:00:00,1,7,UK",
        "C3,11111,A,-4,2010-12-02T10:00:00,1,7,UK",
        "C4,11111,A,-5,2010-12-02T10:00:00,1,7,UK",
    ]);
    // 2 is later than 1, then used up; 3 is another customer's; 4 came after; 4 of the 5 pieces of 1 are left after C2.
    assert_eq!(
        told(&mut book),
        [back("C1", "2", "11111", 2), back("C2", "1", "11111", 1), back("C3", "1", "11111", 4)]
    );
    assert_eq!(refusals(&book), [("no_matching_order".to_owned(), 1)]);
}

#[test]
fn of_orders_at_the_same_time_the_last_in_the_file_is_the_most_recent() {
    let mut book = book(&[
        "9,11111,A,1,2010-12-01T10:00:00,1,7,UK",
        "2,11111,A,1,2010-12-01T10:00:00,1,7,UK",
        "C1,11111,A,-1,2010-12-01T10:00:00,1,7,UK",
    ]);
    assert_eq!(told(&mut book), [back("C1", "2", "11111", 1)]);
}

#[test]
fn the_rows_of_a_cancellation_make_one_return_per_order() {
    let mut book = book(&[
        "1,11111,A,5,2010-12-01T10:00:00,1,7,UK",
        "1,22222,B,5,2010-12-01T10:00:00,1,7,UK",
        "2,33333,C,5,2010-12-01T10:00:00,1,7,UK",
        "C1,11111,A,-1,2010-12-02T10:00:00,1,7,UK",
        "C1,33333,C,-1,2010-12-02T10:00:00,1,7,UK",
        "C1,22222,B,-2,2010-12-02T10:00:00,1,7,UK",
        "C1,11111,A,-3,2010-12-02T10:00:00,1,7,UK",
    ]);
    let returns = all_paid(&mut book);
    assert_eq!(returns.len(), 2);
    assert_eq!((returns[0].invoice, returns[0].rows.as_slice()), (0, [5, 7, 8].as_slice()));
    let lines: Vec<i64> = returns[0].lines.values().copied().collect();
    assert_eq!(lines, [4, 2]);
    assert_eq!((returns[1].invoice, returns[1].rows.as_slice()), (1, [6].as_slice()));
}

#[test]
fn what_was_not_paid_cannot_come_back() {
    let mut book = book(&[
        "1,11111,A,5,2010-12-01T10:00:00,1,7,UK",
        "2,11111,A,5,2010-12-01T11:00:00,1,7,UK",
        "C1,11111,A,-1,2010-12-02T10:00:00,1,7,UK",
    ]);
    book.refuse_order(1, "INSUFFICIENT_STOCK");
    let returns = book.returns(&BTreeSet::from([0]));
    assert_eq!(returns[0].invoice, 0);
    assert_eq!(refusals(&book), [("order_rejected:INSUFFICIENT_STOCK".to_owned(), 1)]);
}

#[test]
fn a_file_of_another_layout_is_not_read_at_all() {
    for input in ["", "\n", "a,b\n1,2", "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK\n"] {
        assert!(Book::read(input.as_bytes()).unwrap_err().to_string().contains("invoice_no"), "{input}");
    }
    let semicolons = format!("{}\n1;2", HEADER.trim().replace(',', ";"));
    assert!(Book::read(semicolons.as_bytes()).unwrap_err().to_string().contains("separated by \";\""));
}

/// A line break inside quotes: the line within is a good row, if it is read as one.
#[test]
fn a_line_within_quotes_is_never_an_order() {
    let smuggled = "900011,85124A,SMUGGLED,6,2010-12-01T10:00:00,2.55,17850,UK";
    let record = |description: &str| format!("1,11111,{description},1,2010-12-01T10:00:00,1,7,UK");
    for end in ["\n", "\r\n"] {
        let lines = format!("RED{end}{smuggled}{end}MUG");
        // As RFC 4180 has it, it is one row, whatever its description holds; the next has the number of its own line.
        let rows = [record(&format!("\"{lines}\"")), record("NEXT")];
        let read = book(&rows.each_ref().map(String::as_str));
        assert_eq!((read.rows, read.invoices.len(), read.refused.len()), (2, 1, 0));
        assert_eq!(read.invoices[0].lines.iter().map(|line| line.row).collect::<Vec<_>>(), [2, 5]);
        // If its row is refused, it is refused as one, by its first line.
        let rows = [record(&format!("\"{lines}\"")).replace(",7,UK", ",nan,UK"), record("NEXT")];
        let read = book(&rows.each_ref().map(String::as_str));
        assert_eq!(read.refused.keys().collect::<Vec<_>>(), [&2]);
        assert_eq!((read.rows, read.invoices.len(), refusals(&read)[0].0.as_str()), (2, 1, "unreadable_customer_id"));
        // Where quotation marks do not say what is inside them, nothing after them is read.
        for description in [format!("\"{lines}"), format!("\"RED \"{lines}\""), format!(" \"{lines}\"")] {
            let rows = [record("FIRST"), record(&description), record("NEXT")];
            let read = book(&rows.each_ref().map(String::as_str));
            assert_eq!((read.rows, read.invoices.len(), read.invoices[0].lines.len()), (2, 1, 1), "{description}");
            assert_eq!(refusals(&read), [("broken_quotation".to_owned(), 1)]);
            assert_eq!(read.refused.keys().collect::<Vec<_>>(), [&3]);
        }
    }
}

/// Customers, invoices and codes that a program has made numbers of: the credit note of 17850 finds the order of 17850 and no
/// other, and nothing that is not an order line vanishes.
#[test]
fn no_two_spellings_of_one_customer_or_invoice_are_taken() {
    let mut book = book(&[
        "1,85123A,A,5,2010-12-01T10:00:00,1,17850,UK",
        "1.0,85123A,A,5,2010-12-01T10:00:00,1,17850,UK",
        "2,85123A,A,5,2010-12-01T11:00:00,1,17850.0,UK",
        "C3,85123A,A,-1,2010-12-02T10:00:00,1,17850.0,UK",
        "C4,85123A,A,-1,2010-12-02T10:00:00,1,17850,UK",
        "c5,85123A,A,-1,2010-12-02T10:00:00,1,17850,UK",
        "c6,85123A,A,1,2010-12-02T10:00:00,1,17850,UK",
        "A563185,85123A,A,1,2010-12-02T10:00:00,1,17850,UK",
        "7,85123.0,A,1,2010-12-02T10:00:00,1,17850,UK",
    ]);
    assert_eq!(told(&mut book), [back("C4", "1", "85123A", 1)]);
    let counts: Vec<(String, u64)> = [
        ("unreadable_invoice_no", 3),
        ("unreadable_customer_id", 2),
        ("adjustment_is_not_a_sale", 1),
        ("mangled_stock_code", 1),
    ]
    .map(|(reason, rows)| (reason.to_owned(), rows))
    .to_vec();
    assert_eq!(refusals(&book), counts);
    assert_eq!((book.invoices.len(), book.invoices[0].lines.len()), (1, 1));
}

#[test]
fn refusals_of_the_book_name_what_was_expected() {
    let row = "1,11111,A,1,2010-12-01T10:00:00,1,7,UK";
    let mut rows = vec![row; LINES_MAX + 1];
    rows.extend(["1,11111,A,1,2010-12-01T10:00:00,1,,UK", "C1,22222,A,-1,2010-12-01T10:00:00,1,7,UK"]);
    let mut book = book(&rows);
    assert!(all_paid(&mut book).is_empty());
    book.refuse_order(0, "TOO_DEAR");
    let told: Vec<String> =
        book.refusals().into_iter().map(|by| format!("{} {}: {}", by.first, by.refusal.reason, by.refusal)).collect();
    assert_eq!(
        told,
        [
            "2 order_rejected:TOO_DEAR: invoice_no is \"1\"; expected: an order that is accepted and paid",
            "1003 customer_differs_within_invoice: customer_id is \"\"; expected: \"7\", as in the invoice's first accepted row",
            "1004 no_matching_order: stock_code is \"22222\"; expected: an earlier paid order of 7 that has 1 pieces of it left",
            "1002 too_many_lines_on_invoice: invoice_no is \"1\"; expected: an invoice of at most 1000 lines",
        ]
    );
}

#[test]
fn no_bytes_whatever_crash_it_or_lose_a_row() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let mut chance = StdRng::seed_from_u64(11);
    let good = "1,11111,A,5,2010-12-01T10:00:00,1,7,UK\nC1,11111,A,-1,2010-12-02T10:00:00,1,7,UK\n";
    let spanning = "2,22222,\"A\n1,11111,A,5,2010-12-01T10:00:00,1,7,UK\n\"\"B\"\"\",5,2010-12-01T10:00:00,1,7,UK\r\n";
    let mut taken = 0;
    for round in 0..1_000 {
        let mut bytes = format!("{good}{}", if round % 2 == 0 { "" } else { spanning }).repeat(5).into_bytes();
        for _ in 0..chance.random_range(1..20) {
            let at = chance.random_range(0..bytes.len());
            bytes[at] = *[b'"', b',', b'\n', b'\r', 0, 0xff, b'-', b'9', b'\t'].get(chance.random_range(0..9)).unwrap();
        }
        let lines = bytes.split(|byte| *byte == b'\n').count() - usize::from(bytes.ends_with(b"\n"));
        let mut book = Book::read([HEADER.as_bytes(), &bytes].concat().as_slice()).unwrap();
        let mut rows: Vec<u64> = all_paid(&mut book).into_iter().flat_map(|back| back.rows).collect();
        rows.extend(book.invoices.iter().flat_map(|invoice| &invoice.lines).map(|line| line.row));
        taken += rows.len();
        rows.extend(book.refused.keys());
        rows.sort_unstable();
        // Each row once, and each by a line that there is.
        assert_eq!(book.rows, u64::try_from(rows.len()).unwrap());
        assert!(rows.is_sorted_by(|one, next| one < next));
        assert!(rows.iter().all(|row| (2..lines + 2).contains(&usize::try_from(*row).unwrap())));
        if !bytes.contains(&b'"') {
            assert_eq!(rows.len(), lines);
        }
    }
    assert!(taken > 1_000, "{taken}");
}
