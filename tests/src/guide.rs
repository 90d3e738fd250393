//! The table of the auditor's guide that says what was done to a fleet and what `holdfast diagnose` found: each row is made by the test that did it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::repo_root;

const HEADING: &str = "| what was done | finding | its cause | what to do |\n|---|---|---|---|\n";

/// Letters of a cell.
const SHOWN_MAX: usize = 180;

/// What was done has brought about this finding: so the guide says. With `HOLDFAST_BLESS` in the environment it becomes that.
///
/// # Errors
/// The guide says otherwise.
pub fn is_in_the_guide(done: &str, finding: &Value) -> Result<()> {
    let path = repo_root().join("services/audit/README.md");
    let text = |field: &str| finding.get(field).and_then(Value::as_str).unwrap_or_default();
    // What comes behind depends on how far it has come.
    let cause = text("cause").split(';').next().unwrap_or_default();
    let act = text("do").split("    (").next().unwrap_or_default();
    let row = format!("| {done} | `{}` | {} | {} |", text("code"), shown(cause), shown(act));
    let page = fs::read_to_string(&path)?;
    let (before, rest) = page.split_once(HEADING).context("the guide has no table of findings")?;
    let (rows, behind) = rest.split_once("\n\n").context("nothing follows the table of findings")?;
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        let first = format!("| {done} |");
        let mut made: Vec<&str> = rows.lines().filter(|line| !line.starts_with(&first)).collect();
        let place = rows.lines().position(|line| line.starts_with(&first)).unwrap_or(made.len());
        made.insert(place, &row);
        fs::write(&path, format!("{before}{HEADING}{}\n\n{behind}", made.join("\n")))?;
        return Ok(());
    }
    ensure!(rows.lines().any(|line| line == row), "the guide lacks this row; bless it with HOLDFAST_BLESS=1:\n{row}");
    Ok(())
}

/// Of what a figure is that follows it, where it is a time that something took.
const UNITS: [&str; 5] = ["ms", "s", "min", "h", "d"];

/// A text as the guide has it: without what is another each time, and no longer than a cell.
fn shown(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for next in text.split(' ') {
        let unit = next.trim_end_matches([',', ';', ':', '.']);
        match words.last_mut() {
            Some(figure) if figure == "…" && UNITS.contains(&unit) => {
                figure.push_str(next.get(unit.len()..).unwrap_or_default())
            }
            _ => words.push(word(next)),
        }
    }
    let mut shown = words.join(" ").replace('|', "\\|");
    if let Some((end, _)) = shown.char_indices().nth(SHOWN_MAX) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// A word without its figures: times, ids, counts and positions.
fn word(word: &str) -> String {
    let bare = word.trim_end_matches([',', ':', ';']);
    if OffsetDateTime::parse(bare, &Rfc3339).is_ok() {
        return format!("…{}", word.get(bare.len()..).unwrap_or_default());
    }
    let mut left = word;
    let mut told = String::new();
    while let Some(letter) = left.chars().next() {
        let id = left.get(..36).filter(|id| Uuid::try_parse(id).is_ok()).map(str::len);
        let is_figure = |letter: &char| letter.is_ascii_digit();
        let digits = left.chars().take_while(is_figure).count();
        let fraction = left
            .get(digits..)
            .and_then(|rest| rest.strip_prefix('.'))
            .map_or(0, |rest| rest.chars().take_while(is_figure).count());
        let digits = if digits > 0 && fraction > 0 { digits + 1 + fraction } else { digits };
        let (shown, length) = match (id, digits) {
            (Some(length), _) => ("…", length),
            (None, 0) => ("", letter.len_utf8()),
            (None, length) => ("…", length),
        };
        told.push_str(if shown.is_empty() { left.get(..length).unwrap_or_default() } else { shown });
        left = left.get(length..).unwrap_or_default();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_is_another_each_time_is_not_shown() {
        let cause = "session 812 (app \"x\") holds stock-0fe1c9b2-4d0e-4b0a-9d51-3f3f0c7d9a10.1 since 2026-11-29T10:02:11.204118Z, for 1.5 s; the relay waits at 48";
        assert_eq!(shown(cause), "session … (app \"x\") holds stock-….… since …, for …; the relay waits at …");
        assert!(shown(&"x".repeat(1_000)).chars().count() <= 181);
    }
}
