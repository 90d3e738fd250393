//! What commands print: aligned tables, colours on a terminal only, one JSON object a line, and no panic when a pipe closes.

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
};

use anyhow::{Context, Result};
use serde::Serialize;

/// Prints to standard output. Whoever reads it may stop reading.
pub fn out(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        ended => ended.context("writing to standard output"),
    }
}

/// Prints one JSON object on one line.
pub fn json(value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_string(value).context("writing JSON")?;
    line.push('\n');
    out(&line)
}

/// How a text looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Of less interest.
    Dim,
    /// All is well.
    Good,
    /// Somebody must act.
    Bad,
}

/// Whether to use colours.
#[derive(Debug, Clone, Copy)]
pub enum Paint {
    /// Never.
    Off,
    /// With ANSI codes.
    On,
}

impl Paint {
    /// Colours if standard output is a terminal and nobody has said `NO_COLOR`.
    pub fn for_stdout() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && io::stdout().is_terminal() { Self::On } else { Self::Off }
    }

    /// The text with the codes of its look.
    #[must_use]
    pub fn text(self, text: &str, look: Look) -> String {
        let code = match (self, look) {
            (Self::Off, _) | (Self::On, Look::Plain) => return text.to_owned(),
            (Self::On, Look::Bold) => "1",
            (Self::On, Look::Dim) => "2",
            (Self::On, Look::Good) => "32",
            (Self::On, Look::Bad) => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    /// A cell that looks like this.
    pub fn new(text: impl ToString, look: Look) -> Self {
        Self { text: text.to_string(), look }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// Numbers are compared by their last digit, words by their first letter. `12 ms` is a number, and so is `1,250.00 EUR`.
    fn is_number(&self) -> bool {
        let (number, unit) = self.text.split_once(' ').unwrap_or((&self.text, "s"));
        let is_currency = unit.len() == 3 && unit.bytes().all(|letter| letter.is_ascii_uppercase());
        (is_currency || matches!(unit, "ms" | "s" | "min" | "h" | "days"))
            && number.contains(|letter: char| letter.is_ascii_digit())
            && number.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, '-' | '+' | '.' | ','))
    }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Look::Plain)
    }
}

/// Rows of cells, aligned: numbers to the right, words to the left.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Adds a row of as many cells as there are.
    pub fn cells(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Each row on a line of its own, two spaces in.
    pub fn text(&self, paint: Paint) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> =
            (0..columns).map(|column| self.column(column).map(Cell::width).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let space = " ".repeat(width.saturating_sub(cell.width()));
                let painted = paint.text(&cell.text, cell.look);
                line.push_str("  ");
                line.push_str(&if cell.is_number() {
                    format!("{space}{painted}")
                } else {
                    format!("{painted}{space}")
                });
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn column(&self, column: usize) -> impl Iterator<Item = &Cell> {
        self.rows.iter().filter_map(move |row| row.get(column))
    }
}

/// A duration in words that a person takes in at a glance: `12 ms`, `3.4 s`, `5 min`, `2 h`.
pub fn short(duration: std::time::Duration) -> String {
    let (ms, seconds) = (duration.as_millis(), duration.as_secs());
    match seconds {
        0 => format!("{ms} ms"),
        1..=59 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        172_800.. => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cell, Look, Paint, Table, short};

    #[test]
    fn numbers_line_up_by_their_last_digit() {
        let mut table = Table::default();
        table.row(["held".into(), 7.into(), "ok".into()]);
        table.row(["committed".into(), 1_200.into(), "".into()]);
        assert_eq!(table.text(Paint::Off), "  held          7  ok\n  committed  1200\n");
    }

    #[test]
    fn colours_take_no_width() {
        let mut table = Table::default();
        table.row([Cell::new("ok", Look::Good), "x".into()]);
        table.row(["drift".into(), "y".into()]);
        assert_eq!(table.text(Paint::On), "  \x1b[32mok\x1b[0m     x\n  drift  y\n");
    }

    #[test]
    fn durations_are_short() {
        let words = [12, 3_456, 300_000, 7_200_000, 864_000_000].map(|ms| short(Duration::from_millis(ms)));
        assert_eq!(words, ["12 ms", "3.4 s", "5 min", "2 h", "10 days"]);
    }
}
