//! CSV traces: every row is accounted for, what is taken is fit for Holdfast, and reads the same when it is written down again.

use std::collections::{BTreeMap, BTreeSet};

use domain::{AMOUNT_MAX, QUANTITY_MAX, text};
use testbed::load::trace::book::{Book, LINES_MAX};

use super::{Checked, Shape, Target, because, ensure, headless, same};
use crate::attempt::{about, outline};

pub(super) const TARGET: Target = Target {
    name: "trace",
    shape: Shape::Text,
    heads: headless,
    tokens: &[
        HEADER,
        "\n",
        "\r\n",
        ",",
        "\"",
        "\"\"",
        ",\"",
        "\",",
        "\"\n",
        " \"",
        "\u{feff}",
        "C536379",
        "536365,85123A,MUG,6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n",
        "C536379,85123A,MUG,-1,2010-12-01T09:41:00,2.55,17850,United Kingdom\n",
        "22222",
        "POST",
        "2213",
        "8.5123E+4",
        "85123.0",
        "'85123A",
        "17850.0",
        "A563185",
        "nan",
        "2010-12-01T08:26:00",
        "2010-W48-3T08:26:00",
        "20101201T082600.123",
        "2010-12-01T08:26.5Z",
        "2010-12-01T24:00:00",
        "0000-02-29T23:59:60",
        "9999-12-31T23:59:59",
        "-1",
        "0.001",
        ".5",
        "1e3",
        "NaN",
        "\0",
        "\x1a",
        "\u{a0}",
    ],
    seeds,
    check,
};

const HEADER: &str = "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country\n";

fn seeds() -> Vec<Vec<u8>> {
    let rows = "536365,85123A,WHITE HEART,6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n\
                536365,71053,\"LANTERN, \"\"OLD\"\"\",6,2010-12-01T08:26:00,3.39,17850,United Kingdom\n\
                536366,22633,,1,2010-12-01T08:28:00,1,,France\n\
                536370,POST,POSTAGE,3,2010-12-01T08:45:00,18.00,12583,France\n\
                C536379,85123A,WHITE HEART,-1,2010-12-01T09:41:00,2.55,17850,United Kingdom\n\
                536380,22633,\"OLD\n536381,22633,X,1,2010-12-01T08:28:00,1,,UK\nHAT\",1,2010-12-01T08:28:00,1,,\"UK\n\"\n";
    vec![format!("{HEADER}{rows}").into_bytes(), HEADER.as_bytes().to_vec(), rows.as_bytes().to_vec()]
}

fn check(input: &[u8]) -> Checked {
    let mut book = match Book::read(input) {
        Ok(book) => book,
        Err(error) => {
            because(&error.to_string())?;
            return Ok(outline(&error.to_string()));
        }
    };
    accounted(&book, input)?;
    fit(&book)?;
    let again = Book::read(written(&book).as_bytes()).map_err(|error| format!("written down again: {error}"))?;
    same("invoices", &format!("{:?}", again.invoices), &format!("{:?}", book.invoices))?;
    same("cancellations", &format!("{:?}", again.cancellations), &format!("{:?}", book.cancellations))?;
    same("products", &format!("{:?}", again.products), &format!("{:?}", book.products))?;
    same("refused rows", &format!("{:?}", again.refused.keys()), &format!("{:?}", book.refused.keys()))?;
    for refusal in book.refused.values() {
        because(&refusal.expected)?;
        ensure(!refusal.to_string().contains(char::is_control), || format!("told as it is: {refusal}"))?;
    }
    let returns = returned(&mut book)?;
    let reasons: Vec<String> = book.refusals().into_iter().map(|by| by.refusal.reason.to_string()).collect();
    let (invoices, back) = (about(book.invoices.len()), about(book.cancellations.len()));
    Ok(format!("{invoices} invoices {back} cancellations {returns} returns {}", reasons.join(" ")))
}

/// Rows in = rows accepted + rows refused, each of them once, by a line that there is.
fn accounted(book: &Book, input: &[u8]) -> Result<(), String> {
    let lines = input.split(|byte| *byte == b'\n').count() - usize::from(input.ends_with(b"\n"));
    let sold = book.invoices.iter().flat_map(|invoice| &invoice.lines).map(|line| line.row);
    let mut rows: Vec<u64> = sold.chain(book.cancellations.iter().map(|(row, _)| *row)).collect();
    rows.extend(book.refused.keys());
    rows.sort_unstable();
    ensure(usize::try_from(book.rows) == Ok(rows.len()), || format!("of {} rows there are {}", book.rows, rows.len()))?;
    let first = if book.rows == 0 { 2 } else { rows[0] };
    let is_there = first == 2 && rows.iter().all(|row| *row <= u64::try_from(lines).unwrap());
    ensure(is_there && rows.is_sorted_by(|one, next| one < next), || format!("rows {rows:?} in {lines} lines"))?;
    ensure(input.contains(&b'"') || rows.len() + 1 == lines, || format!("{} rows in {lines} lines", rows.len()))
}

/// What is taken is what a command takes.
fn fit(book: &Book) -> Result<(), String> {
    for invoice in &book.invoices {
        ensure((1..=LINES_MAX).contains(&invoice.lines.len()), || "an invoice of too many lines, or none".to_owned())?;
        text("customer", invoice.customer.as_deref().unwrap_or("guest"), 1, 128).map_err(|error| error.to_string())?;
        for line in &invoice.lines {
            let is_fit = (1..=QUANTITY_MAX).contains(&line.quantity) && (1..=AMOUNT_MAX).contains(&line.price_minor);
            ensure(is_fit && book.products.contains_key(&line.sku), || format!("nobody sells this: {line:?}"))?;
        }
    }
    for name in book.products.values() {
        text("name", name, 1, 256).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The same trace as it would have been written by someone who knows only what was taken. A row takes as many lines as it took.
fn written(book: &Book) -> String {
    let mut lines: BTreeMap<u64, String> = book.refused.keys().map(|row| (*row, "refused,".to_owned())).collect();
    for invoice in &book.invoices {
        let (number, customer, at) = (&invoice.number, invoice.customer.as_deref().unwrap_or(""), iso(invoice.at));
        for line in &invoice.lines {
            let name = book.products[&line.sku].replace('"', "\"\"");
            let (sku, pieces, pounds, pence) =
                (quoted(line.sku.as_str()), line.quantity, line.price_minor / 100, line.price_minor % 100);
            let row =
                format!("{},{sku},\"{name}\",{pieces},{at},{pounds}.{pence:02},{},", quoted(number), quoted(customer));
            lines.insert(line.row, row);
        }
    }
    for (row, back) in &book.cancellations {
        let (number, customer) = (quoted(&back.invoice), quoted(&back.customer));
        let text = format!("{number},{},,-{},{},0,{customer},", quoted(back.sku.as_str()), back.quantity, iso(back.at));
        lines.insert(*row, text);
    }
    let mut written = HEADER.to_owned();
    let next = lines.keys().copied().skip(1).chain([0]).collect::<Vec<_>>();
    for ((line, text), next) in lines.into_iter().zip(next) {
        let breaks = usize::try_from(next.saturating_sub(line + 1)).unwrap();
        written.push_str(&format!("{text}{}\n", quoted(&"\n".repeat(breaks))));
    }
    written
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn iso(at: time::PrimitiveDateTime) -> String {
    let (month, day) = (u8::from(at.month()), at.day());
    format!("{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", at.year(), at.hour(), at.minute(), at.second())
}

/// No more comes back than was bought, and every cancellation comes back once or is refused.
fn returned(book: &mut Book) -> Result<u32, String> {
    let paid: BTreeSet<usize> = (0..book.invoices.len()).collect();
    let refused = book.refused.len();
    let returns = book.returns(&paid);
    let rows: BTreeSet<u64> = returns.iter().flat_map(|back| &back.rows).copied().collect();
    let all = rows.len() + book.refused.len() - refused;
    ensure(all == book.cancellations.len(), || format!("{all} of {} cancellations", book.cancellations.len()))?;
    let mut left: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    for (index, invoice) in book.invoices.iter().enumerate() {
        for line in &invoice.lines {
            *left.entry((index, line.sku.as_str())).or_default() += line.quantity;
        }
    }
    for back in &returns {
        for (sku, quantity) in &back.lines {
            let left = left.entry((back.invoice, sku.as_str())).or_default();
            *left -= quantity;
            ensure(*left >= 0, || format!("more comes back than was bought: {back:?}"))?;
        }
    }
    Ok(about(returns.len()))
}
