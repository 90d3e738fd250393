//! Reconciliation: the lines of a provider's payout report, each with the event of the log that is about the same money, to the minor unit.
//!
//! Read it in this order: [`reconcile`] is the whole of it; `report` reads the files, `books` has what the log says of that provider's money,
//! `compare` matches one with the other.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use domain::{GlobalPosition, Timestamp, words};
use serde::Serialize;
use sha2::{Digest, Sha256};

mod books;
mod compare;
mod report;

use crate::{
    archive::LogAt,
    questions::{Answer, Evidence},
    replay::{At, Progress, prefix::Log, quoted},
};

/// Which files, and against what.
#[derive(Debug, Clone)]
pub struct Question {
    /// Stripe's itemised payout reconciliation reports, as it writes them.
    pub files: Vec<PathBuf>,
    /// The log as it was then. `None`: all of it.
    pub at: Option<At>,
    /// Lines that agree, too.
    pub all: bool,
}

words!(
    /// How a line and the log stand to each other.
    Outcome {
        /// Both say the same.
        Matched = "matched",
        /// The log has it between the first and the last line of the files, and none of them does.
        OnlyHere = "only_here",
        /// The file has it, and the log knows of no such money.
        OnlyThere = "only_there",
        /// Both have it, and not the same amount.
        AmountDiffers = "amount_differs",
        /// Gross without fee is not the net that the line says.
        NetDiffers = "net_differs",
        /// The balance transaction was in a line before. It counts once.
        Twice = "twice",
        /// What was paid out is not what its lines come to.
        PayoutDiffers = "payout_differs",
    }
);

/// A line of a file or an event of the log, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// How they stand to each other.
    pub outcome: Outcome,
    /// Stripe's word for what it is.
    pub category: String,
    /// What the provider knows it by: a payment intent, a refund, a dispute, a payout.
    pub reference: String,
    /// The file and the line, if one has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// The balance transaction of that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance_transaction_id: Option<String>,
    /// What the log says, in minor units: negative is what left the shop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours_minor: Option<i64>,
    /// What the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theirs_minor: Option<i64>,
    /// Of both, or of the file, if they differ.
    pub currency: String,
    /// The payment that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<String>,
    /// The refund.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<String>,
    /// The order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// The event of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<GlobalPosition>,
    /// When it was: by the file, or, of what the file lacks, by the event.
    pub at: Timestamp,
    /// What there is to say besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What stands above a reconciliation besides.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Payouts {
    /// The files.
    pub files: Vec<Listed>,
    /// When their first line was,
    pub from: Timestamp,
    /// and their last.
    pub to: Timestamp,
    /// Rows by outcome, those that are not told too.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// Sums by currency and Stripe's category.
    pub totals: Vec<Total>,
    /// What each payout comes to: what the bank statement should say.
    pub payouts: Vec<Payout>,
}

/// A file that was read.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// As it was named.
    pub file: String,
    /// Lines below its heading.
    pub lines: usize,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}

/// Sums of lines, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Stripe's names")]
pub struct Total {
    pub currency: String,
    pub category: String,
    pub lines: usize,
    pub gross_minor: i64,
    pub fee_minor: i64,
    pub net_minor: i64,
}

/// What a payout comes to, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payout {
    /// Stripe's id of it. Empty: of lines that are in none.
    pub payout_id: String,
    /// Of this currency.
    pub currency: String,
    /// Of so many lines.
    pub lines: usize,
    /// Their net.
    pub net_minor: i64,
}

/// Compares Stripe's payout reports with the log. Traffic may run.
///
/// # Errors
/// A file is no such report, or of another account; the database is away, or the moment is beyond the log or before it.
pub async fn reconcile(
    at: impl Into<LogAt<'_>>,
    question: &Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Answer<Row>> {
    let (mut lines, mut files) = (Vec::new(), Vec::new());
    for path in &question.files {
        let (read, listed) = read_file(path)?;
        lines.extend(read);
        files.push(listed);
    }
    let Some(span) = report::span(&lines) else { bail!("no line is below the heading: there is nothing to compare") };

    let mut log = Log::open(at, None).await?;
    let database = log.database().await?;
    let end = log.end(question.at.as_ref(), &progress).await?;
    let books = books::read(&mut log, &end, &lines, span, &progress).await?;
    log.close().await?;

    let mut compared = compare::compare(&lines, books, span);
    if compared.asked > 0 && compared.known == 0 {
        bail!(
            "none of the {} charges, refunds and disputes in it is known to this log (installation {}): it is the report of another \
             account, or of another shop on this one",
            compared.asked,
            database.installation
        );
    }
    let mut outcomes = BTreeMap::new();
    for row in &compared.rows {
        *outcomes.entry(row.outcome.as_str()).or_insert(0) += 1;
    }
    compared.rows.retain(|row| question.all || row.outcome != Outcome::Matched);
    let rows = compared.rows;
    let (totals, payouts) = compare::totals(&lines);
    let payouts = Payouts { files, from: span.0, to: span.1, outcomes, totals, payouts };
    let payouts = Some(payouts);
    let evidence = Evidence { payouts, ..Evidence::new(command(question), database, end.cut(), rows.len()) };
    Ok(Answer { evidence, rows })
}

fn read_file(path: &Path) -> Result<(Vec<report::Line>, Listed)> {
    let file = path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("reading {file}"))?;
    let lines = report::read(&file, &bytes)?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let listed = Listed { file, lines: lines.len(), sha256 };
    Ok((lines, listed))
}

fn command(question: &Question) -> String {
    let Question { files, at, all } = question;
    let files: String = files.iter().map(|file| format!(" {}", quoted(&file.display().to_string()))).collect();
    let at = at.as_ref().map(|at| format!(" --at {at}")).unwrap_or_default();
    format!("holdfast reconcile stripe{files}{at}{}", if *all { " --all" } else { "" })
}
