//! `holdfast resolve`: what became of a refund, or of money that fits nothing, once its provider was asked.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use proto::payments::v1::{RefundResolution, ReportResolution, ResolveProviderReport, ResolveRefund};
use uuid::Uuid;

use crate::{
    global_args::GlobalArgs,
    send::deliver,
    verb::{Meant, Said, Way, Why},
};

const EXAMPLES: &str = "\
Examples:
  holdfast resolve refund 0f8a… e4d3… refunded --dry-run
  holdfast resolve refund 0f8a… e4d3… refunded --actor mira --reason 'its dashboard says so'
  holdfast resolve report 0f8a… evt_1 accepted --actor mira --reason 'a gift'
  holdfast resolve report 0f8a… evt_1 undone --context shop --reason 'given back by hand'

Exit codes: 0 it is accepted; 1 it is refused; 2 wrong usage; 3 nobody has answered; through a context 4 the token is not good for it, and 5\nit does not go with how things stand.";

/// Options of `holdfast resolve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A refund of which nobody knows how it ended, that waits, or that was reversed.
    Refund(Refund),
    /// A report of money that fits nothing that was asked for.
    Report(Report),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Refund {
    /// The payment.
    #[arg(value_name = "PAYMENT")]
    payment: Uuid,
    /// The refund.
    #[arg(value_name = "REFUND")]
    refund: Uuid,
    /// What became of it, or is to.
    #[arg(value_enum)]
    resolution: OfRefund,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Report {
    /// The payment.
    #[arg(value_name = "PAYMENT")]
    payment: Uuid,
    /// The provider's own id of the report.
    #[arg(value_name = "REPORT")]
    report: String,
    /// What is to become of the money.
    #[arg(value_enum)]
    resolution: OfReport,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OfRefund {
    /// The provider has paid it.
    Refunded,
    /// It has not, and is to be asked again.
    Retry,
    /// It has not, and shall not.
    Abandon,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OfReport {
    /// The money counts.
    Accepted,
    /// It was given back by hand, or never came.
    Undone,
}

/// Decides it, by the command that anybody else sends for it.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let way = Way::of(global)?;
    match args.what {
        What::Refund(Refund { payment, refund, resolution, why, meant }) => {
            let Some(Said { actor, note }) = why.said(&way, "decide this refund", meant)? else {
                return Ok(ExitCode::from(2));
            };
            let resolution = match resolution {
                OfRefund::Refunded => RefundResolution::Refunded,
                OfRefund::Retry => RefundResolution::Retry,
                OfRefund::Abandon => RefundResolution::Abandon,
            };
            let (payment_id, refund_id) = (payment.to_string(), refund.to_string());
            let command = ResolveRefund { payment_id, refund_id, resolution: resolution.into(), actor, note };
            deliver(&command, (&way, why.dry_run), global).await
        }
        What::Report(Report { payment, report, resolution, why, meant }) => {
            let Some(Said { actor, note }) = why.said(&way, "decide this report", meant)? else {
                return Ok(ExitCode::from(2));
            };
            let resolution = match resolution {
                OfReport::Accepted => ReportResolution::Accepted,
                OfReport::Undone => ReportResolution::Undone,
            };
            let (payment_id, resolution) = (payment.to_string(), resolution.into());
            let command = ResolveProviderReport { payment_id, provider_event_id: report, resolution, actor, note };
            deliver(&command, (&way, why.dry_run), global).await
        }
    }
}
