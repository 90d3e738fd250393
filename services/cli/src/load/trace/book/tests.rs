//! Which order a cancellation is matched with, and how much of it.

use std::collections::BTreeSet;

use super::{Book, LINES_MAX, Reason};

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
    let refused: Vec<(u64, &Reason)> = book.refused.iter().map(|(row, reason)| (*row, reason)).collect();
    assert_eq!(
        refused,
        [
            (3, &Reason::FeeOrDiscountIsNotAProduct),
            (4, &Reason::CustomerDiffersWithinInvoice),
            (5, &Reason::QuantityBelow1),
            (6, &Reason::UnreadableRow),
            (7, &Reason::UnreadableRow),
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
    assert_eq!(book.refusals(), [("too_many_lines_on_invoice".to_owned(), 2)]);
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
    assert_eq!(book.refusals(), [("no_matching_order".to_owned(), 1)]);
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
    book.refuse_order(1, &Reason::OrderRejected("INSUFFICIENT_STOCK".to_owned()));
    let returns = book.returns(&BTreeSet::from([0]));
    assert_eq!(returns[0].invoice, 0);
    assert_eq!(book.refusals(), [("order_rejected:INSUFFICIENT_STOCK".to_owned(), 1)]);
}

#[test]
fn a_file_of_another_layout_is_not_read_at_all() {
    for input in ["", "\n", "a,b\n1,2", "536365,85123A,X,6,2010-12-01T08:26:00,2.55,17850,UK\n"] {
        assert!(Book::read(input.as_bytes()).unwrap_err().to_string().contains("invoice_no"), "{input}");
    }
}

#[test]
fn no_bytes_whatever_crash_it_or_lose_a_row() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let mut chance = StdRng::seed_from_u64(11);
    let good = "1,11111,A,5,2010-12-01T10:00:00,1,7,UK\nC1,11111,A,-1,2010-12-02T10:00:00,1,7,UK\n";
    for _ in 0..500 {
        let mut bytes = good.repeat(5).into_bytes();
        for _ in 0..chance.random_range(1..20) {
            let at = chance.random_range(0..bytes.len());
            bytes[at] = *[b'"', b',', b'\n', b'\r', 0, 0xff, b'-', b'9', b'\t'].get(chance.random_range(0..9)).unwrap();
        }
        let lines = bytes.split(|byte| *byte == b'\n').count() - usize::from(bytes.ends_with(b"\n"));
        let mut book = Book::read([HEADER.as_bytes(), &bytes].concat().as_slice()).unwrap();
        let returned: usize = all_paid(&mut book).iter().map(|back| back.rows.len()).sum();
        let sold: usize = book.invoices.iter().map(|invoice| invoice.lines.len()).sum();
        assert_eq!(book.rows, u64::try_from(lines).unwrap());
        assert_eq!(lines, returned + sold + book.refused.len());
    }
}
