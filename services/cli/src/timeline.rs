//! `holdfast timeline` and `holdfast order`: everything that happened to one thing, across all services, in causal order.

use std::{fs, num::NonZeroUsize, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use audit::{
    questions::Answer,
    replay::At,
    timeline::{Entry, Question, Subject, readable, timeline},
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use platform::print::{self, Cell, Look, Paint};

use crate::{
    archived::Archived,
    bar::Bar,
    evidence,
    global_args::GlobalArgs,
    listing::{self, Blocks, Format},
};

mod page;

const EXAMPLES: &str = "\
Examples:
  holdfast timeline order R-1001
  holdfast timeline refund 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --html refund.html
  holdfast timeline product MUG-01 --at 2026-12-31T23:59:59+01:00 --format csv

Exit codes: 0 all is told; 1 the log has no such thing; 2 wrong usage; 3 it could not be read.";

const ORDER_EXAMPLES: &str = "\
Examples:
  holdfast order R-1001
  holdfast order 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --html order.html

It is short for `holdfast timeline order`. Exit codes: 0 all is told; 1 the log has no such order; 2 wrong usage; 3 it could not be read.";

const HEADING: [&str; 12] = [
    "position",
    "recorded_at",
    "ms",
    "service",
    "event",
    "stream",
    "version",
    "event_id",
    "causation_id",
    "waited",
    "waits_for",
    "data",
];

/// Options of `holdfast timeline`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What it is.
    #[arg(value_name = "KIND", value_parser = subjects())]
    subject: Subject,
    #[command(flatten)]
    which: Which,
}

/// Options of `holdfast order`.
#[derive(Debug, clap::Args)]
#[command(after_help = ORDER_EXAMPLES)]
pub struct OrderArgs {
    #[command(flatten)]
    which: Which,
}

/// Which one, and how to tell of it.
#[derive(Debug, clap::Args)]
struct Which {
    /// Its id; of an order also the shop's own number of it, of a product its sku.
    #[arg(value_name = "KEY")]
    key: String,
    /// As the log was with the event at this position, or at this time: RFC 3339 with its zone. Without it: up to the end of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    at: Option<At>,
    /// The most events to tell: the last of them.
    #[arg(long, value_name = "EVENTS", default_value = "1000")]
    limit: NonZeroUsize,
    /// How to print.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write it as one file for a browser instead, with a picture of who did what when. It needs nothing else and runs nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "json"])]
    html: Option<PathBuf>,
    #[command(flatten)]
    archived: Archived,
}

fn subjects() -> impl TypedValueParser<Value = Subject> {
    let words = Subject::ALL.iter().map(|subject| subject.as_str());
    PossibleValuesParser::new(words).try_map(|word| Subject::parse(&word).ok_or("no such kind"))
}

/// Tells of anything: exit code 0, or 1 if there is none.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    tell(args.subject, args.which, global).await
}

/// Tells of an order.
pub async fn order(args: OrderArgs, global: &GlobalArgs) -> Result<ExitCode> {
    tell(Subject::Order, args.which, global).await
}

async fn tell(subject: Subject, which: Which, global: &GlobalArgs) -> Result<ExitCode> {
    let Which { key, at, limit, format, html, archived } = which;
    let Some(format) = Format::asked(format, global) else { return Ok(ExitCode::from(2)) };
    let key = match subject.read_key(&key) {
        Ok(key) => key,
        Err(rejection) => {
            eprintln!("holdfast: {}", rejection.reason);
            return Ok(ExitCode::from(2));
        }
    };
    let question = Question { subject, key, at, limit };
    let bar = Bar::new();
    let url = global.database_url()?;
    let answer = timeline(archived.with(&url), &question, |progress| bar.show(progress)).await;
    bar.end();
    let answer = answer?;
    let is_there = !answer.rows.is_empty();
    match html {
        Some(path) if is_there => {
            let page = page::page(&question, &answer)?;
            fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
            print::out(&format!("{} events are in {}\n", answer.rows.len(), path.display()))?;
        }
        Some(_) => {}
        None if format == Format::Table => table(&answer, Paint::for_stdout())?,
        None => listing::write(&answer, &HEADING, format, values)?,
    }
    if is_there {
        return Ok(ExitCode::SUCCESS);
    }
    let (key, cut) = (&question.key, answer.evidence.cut.position);
    eprintln!(
        "holdfast: no event up to position {cut} is about the {} {key:?}; was what should have made it accepted?",
        subject.as_str()
    );
    Ok(ExitCode::FAILURE)
}

fn values(entry: &Entry) -> Vec<String> {
    vec![
        entry.position.to_string(),
        entry.recorded_at.clone(),
        entry.ms.to_string(),
        entry.service.clone(),
        entry.name().to_owned(),
        entry.stream.clone(),
        entry.version.to_string(),
        entry.event_id.to_string(),
        entry.causation_id.to_string(),
        readable::waited(entry),
        entry.waits_for.unwrap_or_default().to_owned(),
        entry.data.to_string(),
    ]
}

/// For people: each event below its cause, its amounts as people write them.
fn table(answer: &Answer<Entry>, paint: Paint) -> Result<()> {
    let heading = ["position", "recorded_at", "since", "service", "event", "waited", "data"];
    listing::sealed(listing::To::Stdout, &evidence::of_question(&answer.evidence), paint, |out, paint| {
        let mut blocks = Blocks::new(heading.map(str::to_owned), paint, out);
        for entry in &answer.rows {
            blocks.row(vec![
                Cell::new(entry.position, Look::Dim),
                Cell::new(&entry.recorded_at, Look::Dim),
                Cell::new(format!("+{} ms", entry.ms), Look::Dim),
                Cell::new(&entry.service, Look::Plain),
                Cell::new(format!("{}{}", "  ".repeat(entry.depth), entry.name()), Look::Bold),
                Cell::new(readable::waits(entry), Look::Plain),
                Cell::new(readable::data(&entry.data), Look::Plain),
            ])?;
        }
        blocks.flush()
    })
}
