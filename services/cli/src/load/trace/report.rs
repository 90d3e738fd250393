//! What came of a trace: the account of its rows, and the closing stock.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::{
    super::figures::{grouped, lasting, seconds},
    book::{Book, Return, RowNumber},
};

/// The account of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// All rows, good or bad.
    pub rows_in: u64,
    /// Rows that are part of a paid order.
    pub sold: u64,
    /// Rows that came back with a refund.
    pub returned: u64,
    /// Refused rows by reason, the most frequent first.
    pub refusals: Vec<(String, u64)>,
    /// Every refused row.
    pub refused: Vec<(RowNumber, String)>,
    /// Paid orders.
    pub orders: u64,
    /// Refunds.
    pub refunds: u64,
    /// Pieces in stock at the end, by stock code.
    pub closing: Vec<(String, i64)>,
    /// From the first command to the last refund.
    pub lasted: Duration,
}

impl Report {
    pub(super) fn new(
        book: &Book,
        paid: &BTreeSet<usize>,
        returned: &[&Return],
        closing: Vec<(String, i64)>,
        lasted: Duration,
    ) -> Result<Self> {
        let sold = book.invoices.iter().enumerate().filter(|(index, _)| paid.contains(index));
        let report = Self {
            rows_in: book.rows,
            sold: u64::try_from(sold.map(|(_, invoice)| invoice.lines.len()).sum::<usize>())?,
            returned: u64::try_from(returned.iter().map(|back| back.rows.len()).sum::<usize>())?,
            refusals: book.refusals(),
            refused: book.refused.iter().map(|(row, reason)| (*row, reason.to_string())).collect(),
            orders: u64::try_from(paid.len())?,
            refunds: u64::try_from(returned.len())?,
            closing,
            lasted,
        };
        let refused = u64::try_from(report.refused.len())?;
        ensure!(
            report.accepted() + refused == report.rows_in,
            "{} rows went in, but {} were accepted and {refused} refused: rows were lost or counted twice",
            report.rows_in,
            report.accepted()
        );
        Ok(report)
    }

    /// Rows that did something.
    #[must_use]
    pub const fn accepted(&self) -> u64 {
        self.sold + self.returned
    }

    /// Writes the closing stock as CSV.
    pub fn write_stock(&self, file: &Path) -> Result<()> {
        let rows = self.closing.iter().map(|(code, on_hand)| (code.as_str(), on_hand.to_string()));
        write(file, ["stock_code", "on_hand"], rows).with_context(|| format!("writing {}", file.display()))
    }

    /// Writes the refused rows as CSV. The header of the trace is its line 1.
    pub fn write_refused(&self, file: &Path) -> Result<()> {
        let rows = self.refused.iter().map(|(row, reason)| (row.to_string(), reason));
        write(file, ["line", "reason"], rows).with_context(|| format!("writing {}", file.display()))
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let refused = self.refused.len();
        let mut lines = vec![
            format!("{:>9} rows in", grouped(self.rows_in)),
            format!(
                "{:>9} accepted: {} lines of {} paid orders, {} lines of {} refunds, their pieces back in stock",
                grouped(self.accepted()),
                grouped(self.sold),
                grouped(self.orders),
                grouped(self.returned),
                grouped(self.refunds)
            ),
            format!("{:>9} refused{}", grouped(refused), if refused == 0 { "" } else { ":" }),
        ];
        lines.extend(self.refusals.iter().map(|(reason, count)| format!("{:>11}{:>9} {reason}", "", grouped(*count))));
        let pieces: i64 = self.closing.iter().map(|(_, on_hand)| on_hand).sum();
        lines.push(format!(
            "{:>9} products, {} pieces in stock at the end, after {}",
            grouped(self.closing.len()),
            grouped(pieces),
            lasting(self.lasted)
        ));
        lines.join("\n")
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let reasons: Map<String, Value> =
            self.refusals.iter().map(|(reason, count)| (reason.clone(), json!(count))).collect();
        json!({
            "rows_in": self.rows_in,
            "rows_accepted": self.accepted(),
            "rows_refused": self.refused.len(),
            "refused": reasons,
            "orders": self.orders,
            "refunds": self.refunds,
            "products": self.closing.len(),
            "seconds": seconds(self.lasted),
        })
    }
}

fn write<S: AsRef<str>>(
    file: &Path,
    header: [&str; 2],
    rows: impl Iterator<Item = (S, impl AsRef<str>)>,
) -> Result<()> {
    let mut writer = csv::Writer::from_writer(BufWriter::new(File::create(file)?));
    writer.write_record(header)?;
    for (first, second) in rows {
        writer.write_record([first.as_ref(), second.as_ref()])?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)?.flush()?;
    Ok(())
}
