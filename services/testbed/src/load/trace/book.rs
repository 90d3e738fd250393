//! The book of a trace: its rows as orders, and its cancellations matched to them. Pure.
//!
//! One invoice is one order: its customer is that of its first accepted row, its time that of its earliest. A cancellation
//! belongs to the most recent order of the same customer that was placed no later, was paid, and has as many pieces of the
//! product left as come back; of orders placed at the same time, to the one that comes last in the file.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, BufRead},
};

use domain::{Lines, Sku};
use time::PrimitiveDateTime;

use super::{
    header,
    records::Records,
    refusal::{Reason, Refusal, told},
    row::{self, Cancellation, Row, Sale},
};

/// The most lines of one order.
pub const LINES_MAX: usize = 1_000;

/// A row's number: that of its first line. The header is line 1, so the first row is 2.
pub type RowNumber = u64;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its number.
    pub number: String,
    /// Who bought.
    pub customer: Option<String>,
    /// When.
    pub at: PrimitiveDateTime,
    /// What, as written: a product may be there twice, at two prices.
    pub lines: Vec<InvoiceLine>,
}

/// A line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceLine {
    /// The row it is from.
    pub row: RowNumber,
    /// The product.
    pub sku: Sku,
    /// Pieces.
    pub quantity: i64,
    /// Price of a piece, in pence.
    pub price_minor: i64,
}

/// What comes back of one order with one cancellation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The cancellation's number.
    pub cancellation: String,
    /// The order, as an index of [`Book::invoices`].
    pub invoice: usize,
    /// The rows it is from.
    pub rows: Vec<RowNumber>,
    /// What comes back.
    pub lines: Lines,
}

/// All rows that are refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How many.
    pub rows: u64,
    /// The first of them.
    pub first: RowNumber,
    /// Why it is.
    pub refusal: Refusal,
}

/// A whole trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// How many rows there are, good or bad.
    pub rows: u64,
    /// Its orders, in the order of their first accepted rows.
    pub invoices: Vec<Invoice>,
    /// Its cancellations, in the order of the file.
    pub cancellations: Vec<(RowNumber, Cancellation)>,
    /// Every product that was sold, by its name when it was first sold.
    pub products: BTreeMap<Sku, String>,
    /// Rows that were refused.
    pub refused: BTreeMap<RowNumber, Refusal>,
    by_number: HashMap<String, usize>,
}

impl Book {
    /// Reads a trace. Bad rows are refused, each for itself.
    ///
    /// # Errors
    /// The file cannot be read, or its first line does not name the columns.
    pub fn read(input: impl BufRead) -> io::Result<Self> {
        let mut records = Records::new(input);
        header::check(records.next()?.as_ref())
            .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?;
        let mut book = Self::default();
        while let Some(record) = records.next()? {
            book.rows += 1;
            let line = record.line;
            let taken = match row::read(record) {
                Ok(Row::Sale(sale)) => book.sell(line, sale),
                Ok(Row::Cancellation(cancellation)) => {
                    book.cancellations.push((line, cancellation));
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = taken {
                book.refused.insert(line, refusal);
            }
        }
        Ok(book)
    }

    fn sell(&mut self, row: RowNumber, sale: Sale) -> Result<(), Refusal> {
        let Sale { invoice: number, sku, name, quantity, at, price_minor, customer } = sale;
        let line = InvoiceLine { row, sku: sku.clone(), quantity, price_minor };
        let known = self.by_number.get(&number).and_then(|index| self.invoices.get_mut(*index));
        if let Some(invoice) = known {
            if invoice.customer != customer {
                let first = told(invoice.customer.as_deref().unwrap_or_default().as_bytes());
                let expected = format!("{first}, as in the invoice's first accepted row");
                let customer = customer.unwrap_or_default();
                return Err(Refusal::of(Reason::CustomerDiffersWithinInvoice, "customer_id", customer, expected));
            }
            if invoice.lines.len() >= LINES_MAX {
                let expected = format!("an invoice of at most {LINES_MAX} lines");
                return Err(Refusal::of(Reason::TooManyLinesOnInvoice, "invoice_no", number, expected));
            }
            invoice.at = invoice.at.min(at);
            invoice.lines.push(line);
        } else {
            self.by_number.insert(number.clone(), self.invoices.len());
            self.invoices.push(Invoice { number, customer, at, lines: vec![line] });
        }
        self.products.entry(sku).or_insert(name);
        Ok(())
    }

    /// Refuses all rows of an order that Holdfast refused with this code.
    pub fn refuse_order(&mut self, invoice: usize, code: &str) {
        let Some(Invoice { number, lines, .. }) = self.invoices.get(invoice) else { return };
        let reason = Reason::OrderRejected(code.to_owned());
        let refusal = Refusal::of(reason, "invoice_no", number, "an order that is accepted and paid");
        self.refused.extend(lines.iter().map(|line| (line.row, refusal.clone())));
    }

    /// Refuses all rows of a return that Holdfast refused with this code.
    pub fn refuse_return(&mut self, back: &Return, code: &str) {
        let reason = Reason::RefundRejected(code.to_owned());
        let refusal = Refusal::of(reason, "invoice_no", &back.cancellation, "a refund that is accepted");
        self.refused.extend(back.rows.iter().map(|row| (*row, refusal.clone())));
    }

    /// Matches the cancellations to the orders that were paid; what matches none is refused. The rows of one cancellation
    /// that match the same order make one return.
    pub fn returns(&mut self, paid: &BTreeSet<usize>) -> Vec<Return> {
        let mut of_customer: HashMap<&str, Vec<usize>> = HashMap::new();
        for index in paid {
            let customer = self.invoices.get(*index).and_then(|invoice| invoice.customer.as_deref());
            if let Some(customer) = customer {
                of_customer.entry(customer).or_default().push(*index);
            }
        }
        let mut left: HashMap<usize, Lines> = HashMap::new();
        let mut returns: Vec<Return> = Vec::new();
        let mut by_order: HashMap<(String, usize), usize> = HashMap::new();
        for (row, cancellation) in &self.cancellations {
            let Cancellation { invoice: number, sku, quantity, at, customer } = cancellation;
            let candidates = of_customer.get(customer.as_str()).map(Vec::as_slice).unwrap_or_default();
            let mut enough = |index: &usize| {
                let invoice = self.invoices.get(*index)?;
                let pieces = left.entry(*index).or_insert_with(|| pieces(&invoice.lines));
                let is_match = invoice.at <= *at && pieces.get(sku).is_some_and(|pieces| pieces >= quantity);
                is_match.then_some((invoice.at, *index))
            };
            let Some((_, order)) = candidates.iter().filter_map(&mut enough).max() else {
                let expected = format!("an earlier paid order of {customer} that has {quantity} pieces of it left");
                self.refused.insert(*row, Refusal::of(Reason::NoMatchingOrder, "stock_code", sku.as_str(), expected));
                continue;
            };
            if let Some(pieces) = left.get_mut(&order).and_then(|pieces| pieces.get_mut(sku)) {
                *pieces -= quantity;
            }
            let place = *by_order.entry((number.clone(), order)).or_insert_with(|| {
                let (cancellation, rows, lines) = (number.clone(), Vec::new(), Lines::new());
                returns.push(Return { cancellation, invoice: order, rows, lines });
                returns.len() - 1
            });
            if let Some(back) = returns.get_mut(place) {
                back.rows.push(*row);
                *back.lines.entry(sku.clone()).or_insert(0) += quantity;
            }
        }
        returns
    }

    /// Refused rows by reason, the most frequent first.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refused> {
        let mut by_reason: BTreeMap<&Reason, Refused> = BTreeMap::new();
        for (row, refusal) in &self.refused {
            let first = || Refused { rows: 0, first: *row, refusal: refusal.clone() };
            by_reason.entry(&refusal.reason).or_insert_with(first).rows += 1;
        }
        let mut refusals: Vec<Refused> = by_reason.into_values().collect();
        refusals.sort_by_cached_key(|refused| (Reverse(refused.rows), refused.refusal.reason.to_string()));
        refusals
    }
}

fn pieces(lines: &[InvoiceLine]) -> Lines {
    let mut pieces = Lines::new();
    for line in lines {
        let sum = pieces.entry(line.sku.clone()).or_insert(0);
        *sum = line.quantity.saturating_add(*sum);
    }
    pieces
}

#[cfg(test)]
mod tests;
