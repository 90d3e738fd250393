//! `holdfast set-aside`: dead letters that nobody is to send again. They are kept, and are no finding any more.

use std::process::ExitCode;

use anyhow::Result;
use platform::print;
use runtime::letters;
use serde::Serialize;
use sqlx::{Connection, PgConnection};

use crate::{
    global_args::GlobalArgs,
    letters::{Amount, Opened, Selection, chosen, note},
    verb::{Why, explained},
};

const EXAMPLES: &str = "\
Examples:
  holdfast set-aside orders-7 --dry-run
  holdfast set-aside orders-7 --reason 'a test of the shop, its sender knows'

Exit codes: 0 all of them are set aside; 1 some are not; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast set-aside`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    amount: Amount,
    #[command(flatten)]
    why: Why,
}

/// What became of the letters.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    set_aside: usize,
    refused: usize,
    letters: Vec<SetAside>,
}

#[derive(Debug, Serialize)]
struct SetAside {
    letter: String,
    code: String,
    subject: String,
    key: Option<String>,
    reason: String,
    /// due (in a dry run), `set_aside`, or refused: it is settled already.
    outcome: &'static str,
}

/// Sets letters aside: exit code 0; 1 if one is settled already.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    let Some(chosen) = chosen(&mut connection, &args.selection, args.amount).await? else {
        return Ok(ExitCode::from(2));
    };
    let mut letters = Vec::new();
    for opened in &chosen {
        letters.push(set_aside(&mut connection, opened, &args.why).await.map_err(explained)?);
    }
    let count = |outcome: &str| letters.iter().filter(|letter| letter.outcome == outcome).count();
    let (set_aside, refused) = (count("set_aside"), count("refused"));
    let report = Report { dry_run: args.why.dry_run, set_aside, refused, letters };
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text())?;
    }
    Ok(if report.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn set_aside(connection: &mut PgConnection, opened: &Opened, why: &Why) -> Result<SetAside> {
    let Opened { letter, key, .. } = opened;
    let mut transaction = connection.begin().await?;
    let locked = letters::lock(&mut transaction, letter.service, letter.id).await?;
    let is_open = locked.is_some_and(|locked| locked.settled_at.is_none());
    let outcome = match why.reason() {
        _ if !is_open => "refused",
        None => "due",
        Some(reason) => {
            note(&mut transaction, "SetAside", (letter, key.as_deref()), (reason, why)).await?;
            letter.is_settled(&mut transaction).await?;
            "set_aside"
        }
    };
    transaction.commit().await?;
    Ok(SetAside {
        letter: letter.name(),
        code: letter.code.clone(),
        subject: letter.subject.clone(),
        key: key.clone(),
        reason: letter.reason.clone(),
        outcome,
    })
}

impl Report {
    fn text(&self) -> String {
        let line = |of: &SetAside| {
            let SetAside { letter, code, subject, key, reason, outcome } = of;
            let about = key.as_ref().map(|key| format!(", about {key}")).unwrap_or_default();
            let outcome = match *outcome {
                "refused" => "is settled already",
                "due" => "would be set aside",
                _ => "is set aside",
            };
            format!("{letter} {outcome}: {code}  {subject}{about}\n  failed   {reason}\n")
        };
        let letters: String = self.letters.iter().map(line).collect();
        match self.dry_run {
            true => format!("{letters}{} letters; nothing was done\n", self.letters.len()),
            false => format!("{letters}{} set aside, {} settled already\n", self.set_aside, self.refused),
        }
    }
}
