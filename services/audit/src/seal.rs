//! The hash that stands in an answer's evidence: of all of the answer but itself, so that a file shows whether it is as it was printed.
//!
//! Without this program: `grep -v '^# sha256' FILE | sha256sum`, and of JSON `sed '1s/,"answer_sha256":"[0-9a-f]*"//' FILE | sha256sum`.
//!
//! Why it is so: services/audit/README.md#an-answer-carries-its-own-hash

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What the line of the hash begins with, in tables, csv and pages.
const LINE: &str = "# sha256        ";

/// What the member of the hash begins with, in the evidence of JSON.
const MEMBER: &str = ",\"answer_sha256\":\"";

/// Digits of a hash.
const DIGITS: usize = 64;

/// A hash that is being made.
#[derive(Debug, Clone, Default)]
pub struct Seal(Sha256);

impl Seal {
    /// Takes the next part of the answer in.
    pub fn update(&mut self, text: &str) {
        self.0.update(text);
    }

    /// The line that goes behind the other lines of evidence, without its end.
    #[must_use]
    pub fn line(self) -> String {
        format!("{LINE}{}", self.hex())
    }

    /// What goes into the evidence as its last member: before the brace that ends it.
    #[must_use]
    pub fn member(self) -> String {
        format!("{MEMBER}{}\"", self.hex())
    }

    pub(crate) fn hex(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What was found out about an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sealed {
    /// Whether it is as it was printed.
    pub ok: bool,
    /// The hash that it has,
    pub sha256: String,
    /// and the one that it says.
    pub said: String,
    /// The command that gives the same again, as its evidence says.
    pub command: String,
}

/// Checks an answer: a table, csv, JSON, jsonl or a page.
///
/// # Errors
/// It has no evidence with a hash.
pub fn check(answer: &[u8]) -> Result<Sealed> {
    let Ok(text) = std::str::from_utf8(answer) else { bail!("it is no text") };
    let is_json = text.starts_with("{\"evidence\":");
    let found = if is_json { member(text) } else { line(text) };
    let (before, said, behind) = found.context(
        "it has no evidence with a SHA-256: it is no answer of an audit, only a part of one, or was written by an earlier release",
    )?;
    let mut seal = Seal::default();
    seal.update(before);
    seal.update(behind);
    let sha256 = seal.hex();
    let command = if is_json { command_of_json(text) } else { command_of_text(text) };
    Ok(Sealed { ok: sha256 == said, sha256, said: said.to_owned(), command: command.unwrap_or_default() })
}

/// What stands before the line of the hash, the hash, and what stands behind it.
fn line(text: &str) -> Option<(&str, &str, &str)> {
    let at = if text.starts_with(LINE) { 0 } else { text.find(&format!("\n{LINE}"))? + 1 };
    let (before, rest) = text.split_at_checked(at)?;
    let (line, behind) = rest.split_once('\n')?;
    Some((before, line.strip_prefix(LINE)?, behind))
}

/// The same of the member in JSON or its first line, which is the first that is called so: within a text its quotes would be escaped.
pub(crate) fn member(text: &str) -> Option<(&str, &str, &str)> {
    let first = text.lines().next()?;
    let (before, rest) = text.split_at_checked(first.find(MEMBER)?)?;
    let (said, behind) = rest.strip_prefix(MEMBER)?.split_at_checked(DIGITS)?;
    Some((before, said, behind.strip_prefix('"')?))
}

fn command_of_text(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("# asked         "))?;
    Some(line.to_owned())
}

fn command_of_json(text: &str) -> Option<String> {
    let first: Value = serde_json::from_str(text.lines().next()?).ok()?;
    let evidence = first.get("evidence")?;
    let command = evidence.get("command").or_else(|| evidence.get("asked")?.get("command"))?;
    command.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Seal, check};

    fn of(text: &str) -> Seal {
        let mut seal = Seal::default();
        seal.update(text);
        seal
    }

    #[test]
    fn an_answer_is_as_it_was_printed_until_a_byte_of_it_changes() {
        let (head, rows) = ("# asked         holdfast actions\n", "position\n1\n");
        let text = format!("{head}{}\n{rows}", of(&format!("{head}{rows}")).line());
        let (evidence, rest) = ("{\"evidence\":{\"command\":\"holdfast actions\"", "},\"rows\":[1]}\n");
        let json = format!("{evidence}{}{rest}", of(&format!("{evidence}{rest}")).member());
        for answer in [text, json] {
            let checked = check(answer.as_bytes()).unwrap();
            assert!(checked.ok && checked.command == "holdfast actions", "{answer}: {checked:?}");
            for (from, to) in [("1\n", "2\n"), ("[1]", "[2]"), ("actions", "action"), ("1\n", "")] {
                if answer.contains(from) {
                    let changed = answer.replacen(from, to, 1);
                    assert!(!check(changed.as_bytes()).unwrap().ok, "{changed}");
                }
            }
        }
    }

    #[test]
    fn what_carries_no_hash_cannot_be_checked() {
        for text in ["", "position\n1\n", "{\"evidence\":{}}\n", "{}", "a # sha256        00\n", "# sha256        00"] {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        assert!(check(&[255]).is_err());
    }
}
