//! `holdfast replay`: stock, shares, orders, payments, coupons or wallets as they were, with the evidence above.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use audit::replay::{Answer, At, Choice, Chosen, Kind, Question, Sample, Shard, replay, replay_export};
use clap::{
    ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

use crate::{
    archived::Archived,
    bar::Bar,
    global_args::GlobalArgs,
    listing::{Format, To},
    new_file::NewFile,
};

mod columns;
mod parquet;
mod spool;
mod write;

pub(crate) use spool::Spool;

const EXAMPLES: &str = "\
Examples:
  holdfast replay stock --at 2026-12-31T23:59:59+01:00
  holdfast replay stock --key MUG-01 --at 4711 --movements
  holdfast replay wallets --format csv > wallets.csv
  holdfast replay orders --at 4711 --shard 0/16 --out orders-0.jsonl
  holdfast replay orders --at 2026-12-31T23:59:59+01:00 --status paid --sample 60 --seed 2027-03-01
  holdfast replay stock --from-export export-2026

Exit codes: 0 all is told; 1 a key has no row then; 2 wrong usage; 3 it could not be replayed.";

/// Options of `holdfast replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to replay.
    #[arg(value_name = "KIND", value_parser = kinds())]
    kind: Kind,
    /// As it was with the event at this position, or at this time: RFC 3339 with its zone. Without it: at the end of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    at: Option<At>,
    /// Only what has this key: a sku, the id of a round, order, payment or wallet, the code of a coupon. May be said again; memory
    /// is then that of the rows asked for.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Tell every change as well: when, by which event, for which order, how much, and what it came to.
    #[arg(long)]
    movements: bool,
    /// Only what stands here: the word that is shown as status.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// So many of them, which follow from the seed: those whose keys have the lowest SHA-256 of the seed, a line feed and the key.
    #[arg(long, value_name = "ROWS", requires = "seed", conflicts_with = "movements")]
    sample: Option<NonZeroUsize>,
    /// Any text, said before anybody knows what it chooses: the same text always chooses the same rows.
    #[arg(long, value_name = "TEXT", requires = "sample")]
    seed: Option<String>,
    /// Only a part of all rows, as jsonl: the first of sixteen is 0/16, the last 15/16. `holdfast merge` makes one answer of all parts.
    /// Memory is then that of the part.
    #[arg(long, value_name = "I/N", requires = "at", conflicts_with_all = ["keys", "status", "sample"])]
    shard: Option<Shard>,
    /// How to print. csv and parquet have one table: the movements, if they are asked for, else the rows.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Form>,
    /// Into this file, which is not there yet, and appears when it is whole.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Read no more than so many events of the log in a second. Without it, reading pauses while the fleet writes.
    #[arg(long, value_name = "EVENTS")]
    max_rate: Option<NonZeroU32>,
    /// From an export alone, by its directory or its zip file, and without a database. It is proved first, as `holdfast check` does.
    #[arg(long, value_name = "EXPORT", conflicts_with_all = ["directories", "max_rate"])]
    from_export: Option<PathBuf>,
    #[command(flatten)]
    archived: Archived,
}

pub(crate) fn kinds() -> impl TypedValueParser<Value = Kind> {
    let words = Kind::ALL.iter().map(|kind| kind.as_str());
    PossibleValuesParser::new(words).try_map(|word| Kind::parse(&word).ok_or("no such kind"))
}

/// How a replay is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text(Format),
    Parquet,
}

impl ValueEnum for Form {
    fn value_variants<'a>() -> &'a [Self] {
        const TEXTS: &[Form] = &[
            Form::Text(Format::Table),
            Form::Text(Format::Csv),
            Form::Text(Format::Json),
            Form::Text(Format::Jsonl),
            Form::Parquet,
        ];
        TEXTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Text(format) => format.to_possible_value(),
            Self::Parquet => Some(PossibleValue::new("parquet").help("A table for other programs, not for a terminal")),
        }
    }
}

impl Form {
    /// The one that is asked for: `--json` is one of them. `None`: two are.
    pub(crate) fn asked(form: Option<Self>, global: &GlobalArgs) -> Option<Self> {
        match form {
            Some(Self::Parquet) if global.output() != crate::output::Output::Table => {
                eprintln!("holdfast: --json is --format json: say one of them");
                None
            }
            Some(Self::Parquet) => form,
            Some(Self::Text(format)) => Format::asked(Some(format), global).map(Self::Text),
            None => Format::asked(None, global).map(Self::Text),
        }
    }
}

/// Where an answer goes, and how.
pub(crate) struct Output {
    form: Form,
    file: Option<NewFile>,
}

impl Output {
    /// Begins it, before anything is read for it. `None`: nobody could read it.
    pub(crate) fn begin(form: Form, file: Option<&Path>) -> Result<Option<Self>> {
        let file = file.map(NewFile::begin).transpose()?;
        if form == Form::Parquet && parquet::is_for_nobody(file.as_ref()) {
            eprintln!("holdfast: Parquet is no text for a terminal: write it to a file with --out FILE, or to a pipe");
            return Ok(None);
        }
        Ok(Some(Self { form, file }))
    }

    pub(crate) fn write(self, question: &Question, answer: &mut Answer<Spool>) -> Result<()> {
        match self.form {
            Form::Text(format) => write::write(question, answer, format, self.file.map_or(To::Stdout, To::File)),
            Form::Parquet => parquet::write(question, answer, self.file),
        }
    }
}

/// The answer of the log itself.
async fn of_database(question: &Question, archived: &Archived, global: &GlobalArgs) -> Result<Answer<Spool>> {
    let bar = Bar::new();
    let url = global.database_url()?;
    let answer = replay(archived.with(&url), question, Spool::default(), |progress| bar.show(progress)).await;
    bar.end();
    answer
}

/// Replays: exit code 0; 1 if a key has no row; 2 if it cannot have one.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { kind, at, keys, movements, status, sample, seed, shard, format, out, max_rate, from_export, archived } =
        args;
    let lines = Form::Text(Format::Jsonl);
    if shard.is_some() && (global.json || format.is_some_and(|form| form != lines)) {
        eprintln!("holdfast: a shard is written as jsonl, and `holdfast merge` says all of them in any format");
        return Ok(ExitCode::from(2));
    }
    let Some(form) = Form::asked(format.or(shard.map(|_| lines)), global) else { return Ok(ExitCode::from(2)) };
    let keys = match keys.iter().map(|key| kind.read_key(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => keys,
        Err(rejection) => {
            eprintln!("holdfast: --key: {}", rejection.reason);
            return Ok(ExitCode::from(2));
        }
    };
    let sample = sample.zip(seed).map(|(size, seed)| Sample { size, seed });
    let choice = (status.is_some() || sample.is_some()).then_some(Choice { status, sample });
    let question = Question { kind, at, keys, movements, choice, shard, max_rate };
    let Some(output) = Output::begin(form, out.as_deref())? else { return Ok(ExitCode::from(2)) };
    let mut answer = match from_export {
        Some(export) => replay_export(&export, &question, Spool::default())?,
        None => of_database(&question, &archived, global).await?,
    };
    output.write(&question, &mut answer)?;
    for key in &answer.unknown {
        let cut = answer.evidence.cut.position;
        eprintln!("holdfast: there is no {} {key} up to position {cut}", kind.key_name());
    }
    let none = answer.evidence.chosen.as_ref().filter(|chosen| chosen.population == 0);
    if let Some(Chosen { status: Some(status), statuses, .. }) = none {
        let there = statuses.iter().map(|(status, rows)| format!("{rows} {status}")).collect::<Vec<_>>().join(", ");
        eprintln!("holdfast: of the {} none has the status {status:?}; there are: {there}", kind.as_str());
    }
    Ok(if answer.unknown.is_empty() && none.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
