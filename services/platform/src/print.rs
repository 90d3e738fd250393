//! What commands print: aligned tables, colours on a terminal only, one JSON object a line, and no panic when a pipe closes.

use std::{
    env,
    ffi::OsString,
    io::{self, ErrorKind, IsTerminal, Write},
};

use anyhow::{Context, Result};
use serde::Serialize;

mod pager;

pub use pager::Paged;

/// Prints to standard output, or through the pager. Whoever reads it may stop reading.
pub fn out(text: &str) -> Result<()> {
    let printed = pager::take(text).unwrap_or_else(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    });
    match printed {
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
    /// Colours if standard output is a terminal that has them, unless somebody has said `NO_COLOR`, or `CLICOLOR_FORCE`.
    pub fn for_stdout() -> Self {
        Self::wanted(|name| env::var_os(name), io::stdout().is_terminal())
    }

    fn wanted(variable: impl Fn(&str) -> Option<OsString>, is_terminal: bool) -> Self {
        let is_said = |name: &str| variable(name).is_some_and(|value| !value.is_empty() && value != "0");
        let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
        // NO_COLOR counts whatever its value is.
        match variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            true => Self::Off,
            false if is_said("CLICOLOR_FORCE") || (is_terminal && !is_dumb) => Self::On,
            false => Self::Off,
        }
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
    use std::{ffi::OsString, time::Duration};

    use super::{Cell, Look, Paint, Table, short};

    #[test]
    fn colours_are_for_terminals_that_have_them_unless_somebody_says_otherwise() {
        let is_on = |said: &[(&str, &str)], is_terminal| {
            let variable =
                |name: &str| said.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            matches!(Paint::wanted(variable, is_terminal), Paint::On)
        };
        let (terminal, pipe) = (true, false);
        assert!(is_on(&[("TERM", "xterm")], terminal) && !is_on(&[("TERM", "xterm")], pipe));
        assert!(!is_on(&[("TERM", "dumb")], terminal));
        assert!(is_on(&[("NO_COLOR", "")], terminal) && !is_on(&[("NO_COLOR", "0")], terminal));
        assert!(is_on(&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], pipe) && !is_on(&[("CLICOLOR_FORCE", "0")], pipe));
        assert!(!is_on(&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], terminal));
    }

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
