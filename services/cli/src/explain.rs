//! `holdfast explain`: the page of a code, of a finding or of a rejection.

use std::process::ExitCode;

use anyhow::Result;
use audit::diagnosis::{Code, Page};
use domain::code::{CODES, Code as Rejection, Remedy};
use platform::print;
use serde::Serialize;

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast explain
  holdfast explain RELAY_LAGS
  holdfast explain OUT_OF_STOCK

Exit codes: 0 it is explained; 2 there is no such code.";

/// Options of `holdfast explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The code, as `holdfast diagnose`, an answer or a dead letter has it. Without it, all are listed.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// What is known of a code.
#[derive(Debug, Serialize)]
struct Explained {
    code: &'static str,
    /// `finding` or `rejection`.
    kind: &'static str,
    means: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_stake: Option<&'static str>,
    #[serde(rename = "do")]
    act: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    clears: Option<&'static str>,
}

/// Explains: exit code 0; 2 if there is no such code.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Some(word) = args.code else {
        let all: Vec<Explained> = all().collect();
        if global.json {
            print::json(&all)?;
        } else {
            let line = |of: &Explained| format!("{:<26}  {:<9}  {}\n", of.code, of.kind, of.means);
            print::out(&all.iter().map(line).collect::<String>())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(explained) = all().find(|known| known.code == word.to_uppercase()) else {
        eprintln!(
            "holdfast: there is no code {word}: `holdfast explain` lists all of them. Providers have codes of their own"
        );
        return Ok(ExitCode::from(2));
    };
    if global.json {
        print::json(&explained)?;
    } else {
        print::out(&page(&explained))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn all() -> impl Iterator<Item = Explained> {
    Code::ALL.iter().map(|code| finding(code.page())).chain(CODES.iter().map(rejection))
}

fn finding(page: &Page) -> Explained {
    Explained {
        code: page.word,
        kind: "finding",
        means: page.means,
        severity: Some(page.severity.word()),
        at_stake: Some(page.stake),
        act: page.act,
        clears: Some(page.clears),
    }
}

fn rejection(code: &Rejection) -> Explained {
    let act = match code.remedy {
        Remedy::SameId => "send the same command again, under the same id",
        Remedy::NewId => "mend what it says, and send it as a command of its own, under a new id",
        Remedy::None | Remedy::Unspecified => "nothing helps: it is answered for ever, or is no command's",
    };
    Explained {
        code: code.word,
        kind: "rejection",
        means: code.meaning,
        severity: None,
        at_stake: None,
        act,
        clears: None,
    }
}

fn page(of: &Explained) -> String {
    let mut text = format!("{}  {}", of.code, of.kind);
    if let Some(severity) = of.severity {
        text.push_str(&format!(", {severity} is at stake"));
    }
    let lines = [("means", Some(of.means)), ("at stake", of.at_stake), ("do", Some(of.act)), ("clears", of.clears)];
    for (name, words) in lines {
        if let Some(words) = words {
            text.push_str(&format!("\n  {name:<8}  {words}"));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use audit::diagnosis::Code;
    use domain::code::CODES;

    use super::{all, page};

    /// A word that is both would be explained as one of them.
    #[test]
    fn every_code_has_a_page_of_its_own() {
        let words: BTreeSet<&str> = all().map(|known| known.code).collect();
        assert_eq!(words.len(), Code::ALL.len() + CODES.len());
        for known in all() {
            let page = page(&known);
            assert!(page.starts_with(known.code) && page.contains(known.means) && page.contains(known.act), "{page}");
        }
    }
}
