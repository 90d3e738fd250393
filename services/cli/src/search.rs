//! `holdfast search`: what a text is that was copied from somewhere.

use std::{
    fmt::{self, Display, Formatter},
    process::ExitCode,
};

use anyhow::{Context, Result};
use domain::legible;
use platform::print::{self, Cell, Look, Paint, Table};
use serde::{Deserialize, Serialize};

use crate::{
    gateway::{Gateway, encoded},
    global_args::GlobalArgs,
    output::Output,
};

const EXAMPLES: &str = "\
Examples:
  holdfast search 0199a1c2
  holdfast search R-1001
  holdfast search customer-42 -o name | xargs -n 1 holdfast get order

Found are ids of orders, rounds and payments by their first 8 digits or more, and those of commands in full; the shop's own number of an
order and the name of a customer in full; SKUs and codes of coupons by how they begin. Nothing else is: no refund, no note, no amount, and
not what a provider calls a payment.

Exit codes: 0 something is found; 1 nothing is; 2 wrong usage, or no context; 3 the gateway is away; 4 the token is not good for it.";

/// The most letters of what stands in a line.
const CHARS_MAX: usize = 400;

/// Options of `holdfast search`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The text.
    #[arg(value_name = "TEXT")]
    text: String,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) hits: Vec<Hit>,
    pub(crate) has_more: bool,
    looked_at: Vec<String>,
}

/// Something that the text may be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hit {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) by: String,
    order_id: Option<String>,
    says: String,
}

impl Display for Hit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", legible(&self.id, CHARS_MAX), legible(&self.says, CHARS_MAX))
    }
}

/// Asks the gateway.
pub(crate) async fn search(gateway: &Gateway, text: &str) -> Result<Found> {
    let found = gateway.get(&format!("/v1/search?text={}", encoded(text))).await?;
    serde_json::from_value(found).context("reading what the gateway has found")
}

/// Tells what it may be: exit code 0, or 1 if it is nothing.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let gateway = Gateway::in_use(global)?;
    let found = search(&gateway, &args.text).await?;
    match global.output() {
        Output::Json => print::json(&found)?,
        Output::Jsonl => found.hits.iter().try_for_each(print::json)?,
        Output::Name => {
            print::out(&found.hits.iter().map(|hit| format!("{}\n", legible(&hit.id, CHARS_MAX))).collect::<String>())?;
        }
        Output::Table => {
            let mut table = Table::default();
            for hit in &found.hits {
                let [kind, id, by, says] =
                    [&hit.kind, &hit.id, &hit.by, &hit.says].map(|text| legible(text, CHARS_MAX));
                table.row([Cell::new(kind, Look::Bold), id.into(), format!("by its {by}").into(), says.into()]);
            }
            print::out(&table.text(Paint::for_stdout()))?;
        }
    }
    if found.has_more {
        eprintln!("holdfast: there are more than these: give more of it");
    }
    if found.hits.is_empty() {
        let looked: String = found.looked_at.iter().map(|at| format!("\n  {}", legible(at, CHARS_MAX))).collect();
        eprintln!("holdfast: nothing is called {:?}; it was looked for among{looked}", args.text);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
