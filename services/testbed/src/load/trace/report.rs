//! What came of a trace: the account of its rows, and the closing stock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::{
    super::figures::{grouped, lasting, seconds},
    book::{Book, Refused, Return, RowNumber},
    refusal::{Reason, Refusal},
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
    pub refusals: Vec<Refused>,
    /// Every refused row.
    pub refused: BTreeMap<RowNumber, Refusal>,
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
            refused: book.refused.clone(),
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
        let rows = self.closing.iter().map(|(code, on_hand)| [code.clone(), on_hand.to_string()]);
        write(file, ["stock_code", "on_hand"].map(str::to_owned), rows)
            .with_context(|| format!("writing {}", file.display()))
    }

    /// Writes the refused rows as CSV, each with the number of its first line. The header of the trace is its line 1.
    pub fn write_refused(&self, file: &Path) -> Result<()> {
        let rows = self.refused.iter().map(|(row, Refusal { reason, column, value, expected })| {
            [row.to_string(), reason.to_string(), (*column).to_owned(), value.clone(), expected.to_string()]
        });
        let header = ["line", "reason", "column", "value", "expected"].map(str::to_owned);
        write(file, header, rows).with_context(|| format!("writing {}", file.display()))
    }

    /// Why the trace was not loaded as it should be, if more than so many percent of its rows may not be refused. Rows that only
    /// tell of nothing that could be sold or come back do not count: every such file has them.
    #[must_use]
    pub fn problems(&self, refused_percent_max: u8) -> Vec<String> {
        let mut problems = Vec::new();
        if self.rows_in > 0 && self.accepted() == 0 {
            problems.push(format!("nothing was accepted of {} rows", grouped(self.rows_in)));
        }
        let unusual: u64 = self.refusals.iter().filter(|by| !by.refusal.reason.is_usual()).map(|by| by.rows).sum();
        if unusual.saturating_mul(100) > self.rows_in.saturating_mul(refused_percent_max.into()) {
            problems.push(format!(
                "{} of {} rows were refused though they may be sales or cancellations: more than {refused_percent_max} % \
                 (--refused-max)",
                grouped(unusual),
                grouped(self.rows_in)
            ));
        }
        let broken = self.refused.iter().find(|(_, refusal)| refusal.reason == Reason::BrokenQuotation);
        if let Some((row, refusal)) = broken {
            problems.push(format!("from line {row} on nothing could be read: {}", refusal.value));
        }
        problems
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
        for Refused { rows, first, refusal } in &self.refusals {
            lines.push(format!("{:>11}{:>9} {}", "", grouped(*rows), refusal.reason));
            lines.push(format!("{:>20} line {first}: {refusal}", ""));
        }
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
    pub fn json(&self, refused_percent_max: u8) -> Value {
        let refused: Map<String, Value> =
            self.refusals.iter().map(|by| (by.refusal.reason.to_string(), json!(by.rows))).collect();
        let first = |Refused { rows, first, refusal }: &Refused| {
            json!({
                "reason": refusal.reason.to_string(),
                "rows": rows,
                "first": {
                    "line": first,
                    "column": refusal.column,
                    "value": refusal.value,
                    "expected": refusal.expected,
                },
            })
        };
        let problems = self.problems(refused_percent_max);
        json!({
            "ok": problems.is_empty(),
            "problems": problems,
            "rows_in": self.rows_in,
            "rows_accepted": self.accepted(),
            "rows_refused": self.refused.len(),
            "refused": refused,
            "refusals": self.refusals.iter().map(first).collect::<Vec<_>>(),
            "orders": self.orders,
            "refunds": self.refunds,
            "products": self.closing.len(),
            "seconds": seconds(self.lasted),
        })
    }
}

fn write<const N: usize>(file: &Path, header: [String; N], rows: impl Iterator<Item = [String; N]>) -> Result<()> {
    let mut writer = csv::Writer::from_writer(BufWriter::new(File::create(file)?));
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)?.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::{super::row::COLUMNS, Book, Report};

    /// What comes of a trace when all orders are paid.
    fn report(rows: &[&str]) -> Report {
        let text = format!("{}\n{}", COLUMNS.join(","), rows.join("\n"));
        let mut book = Book::read(text.as_bytes()).unwrap();
        let paid: BTreeSet<usize> = (0..book.invoices.len()).collect();
        let returns = book.returns(&paid);
        Report::new(&book, &paid, &returns.iter().collect::<Vec<_>>(), Vec::new(), Duration::ZERO).unwrap()
    }

    const SALE: &str = "1,11111,A,1,2010-12-01T10:00:00,1,7,UK";
    const PANDAS: &str = "1,11111,A,1,2010-12-01 10:00:00,1,7,UK";
    const FEE: &str = "1,POST,POSTAGE,1,2010-12-01T10:00:00,1,7,UK";

    #[test]
    fn a_trace_of_which_nothing_is_accepted_is_not_well() {
        assert_eq!(report(&[]).problems(100), [""; 0]);
        for row in [PANDAS, FEE, "0,"] {
            assert_eq!(report(&[row, row]).problems(100), ["nothing was accepted of 2 rows"], "{row}");
        }
        assert_eq!(report(&[SALE, FEE, FEE, FEE]).problems(0), [""; 0]);
    }

    #[test]
    fn a_trace_of_which_more_than_the_stated_part_is_refused_is_not_well() {
        let mixed = report(&[SALE, SALE, FEE, PANDAS]);
        assert_eq!(mixed.problems(25), [""; 0]);
        assert_eq!(
            mixed.problems(24),
            ["1 of 4 rows were refused though they may be sales or cancellations: more than 24 % (--refused-max)"]
        );
        let json = mixed.json(24);
        assert_eq!((&json["ok"], &json["problems"][0]), (&false.into(), &mixed.problems(24)[0].clone().into()));
    }

    #[test]
    fn a_trace_with_a_quotation_mark_out_of_place_is_not_well_however_many_rows_came_before() {
        let open = "1,11111,\"A,1,2010-12-01T10:00:00,1,7,UK";
        let report = report(&[SALE, SALE, SALE, SALE, open, SALE]);
        assert_eq!(report.rows_in, 5);
        assert_eq!(
            report.problems(100),
            ["from line 6 on nothing could be read: a quotation mark never closes (a record of 2 lines)"]
        );
    }

    #[test]
    fn each_reason_is_told_with_its_first_row_column_value_and_what_was_expected() {
        let report = report(&[SALE, PANDAS, FEE, PANDAS]);
        let text = report.text();
        let told = "2 unreadable_invoice_date\n                     line 3: invoice_date is \"2010-12-01 10:00:00\"; \
                    expected: a time like 2010-12-01T08:26:00\n";
        assert!(text.contains(told), "{text}");
        let json = report.json(100);
        assert_eq!(json["refused"]["unreadable_invoice_date"], 2);
        let first = &json["refusals"][0];
        assert_eq!((&first["reason"], &first["rows"]), (&"unreadable_invoice_date".into(), &2.into()));
        assert_eq!((&first["first"]["line"], &first["first"]["column"]), (&3.into(), &"invoice_date".into()));
        assert_eq!(first["first"]["value"], "\"2010-12-01 10:00:00\"");
        assert_eq!(first["first"]["expected"], "a time like 2010-12-01T08:26:00");

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("refused.csv");
        report.write_refused(&file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], "line,reason,column,value,expected");
        assert_eq!(
            lines[1],
            "3,unreadable_invoice_date,invoice_date,\"\"\"2010-12-01 10:00:00\"\"\",a time like 2010-12-01T08:26:00"
        );
    }
}
