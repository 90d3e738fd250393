//! `holdfast load`: orders for a fleet, made up from a seed or read from a trace.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use platform::{clock, print};
use testbed::load::{
    figures::{grouped, lasting},
    progress::ProgressBars,
    synthetic::{self, Until},
    target_fleet::{KeepDir, TargetFleet},
    trace,
    workload::Workload,
};

use crate::global_args::GlobalArgs;

const AFTER_HELP: &str = "\
Examples:
  holdfast load --orders 5000 --rate 200
  holdfast load --trace invoices.csv --stock-out closing.csv --refused-out refused.csv

The fleet is the one that `holdfast up` runs, or that is named by --database-url and --broker-url. If there is none, a private
one runs for as long as this takes.

A trace: one record is one row, as RFC 4180 has it: what is in quotes may hold commas, doubled quotes and line breaks, and a record
may have 65,536 bytes. All accepted rows of an invoice are one order of one customer; it is paid. A row of an invoice
whose number begins with C brings its pieces back, and their price with them: of the customer's most recent paid order, placed
no later, that has so many pieces of the product left (of several at the same time, the last in the file). The rows of one
cancellation that come back to the same order are one refund. Rows in = rows accepted + rows refused, with these reasons, each with
the number of the record's first line, column, value and what was expected:
  empty_line, unreadable_row             not eight columns, or a CR without LF
  record_too_long                        above 65,536 bytes
  broken_quotation                       a quotation mark never closes, or stands where RFC 4180 has none: from here on nobody can
                                         tell what is inside quotes, so all the rest of the file is this one row
  unreadable_COLUMN                      not what the shop writes there: 17850.0, nan, c536379, 2010-12-01 08:26:00, 2,55 ...
  mangled_stock_code                     what a spreadsheet makes of one: 2213, 8.5123E+4, '85123A, 85123.0, 00085123
  number_too_large                       above 1,000,000,000 pieces or 1,000,000,000,000 pence
  adjustment_is_not_a_sale               an invoice whose number begins with A adjusts a debt
  fee_or_discount_is_not_a_product       the stock code is a name: POST, DOT, M, D, C2, BANK CHARGES, ...
  quantity_below_1, price_not_positive   given away, or a correction of the stock
  price_in_fractions_of_a_penny          money is whole pence
  customer_differs_within_invoice        the invoice's first accepted row names another customer
  too_many_lines_on_invoice              an order has at most 1,000
  quantity_not_negative_on_cancellation, no_customer_on_cancellation, no_matching_order
  order_rejected:CODE, refund_rejected:CODE   Holdfast refused it
Exit codes: 1 says that nothing was accepted of a trace that has rows; or that more than --refused-max percent of them were refused,
those not counted that tell of nothing to be sold or brought back (adjustments, fees, quantity_..., price_not_positive,
no_customer_..., no_matching_order); or that there is a broken quotation.
Playing a trace again on the same fleet changes nothing.";

/// Options of `holdfast load`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Orders to place: about 60 % are paid, 15 % expire, 10 % are cancelled, 10 % declined, 5 % refunded.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    orders: u64,
    /// Everything about the orders follows from it; the same seed again changes nothing. Made up if not given.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Products that are sold.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    products: u64,
    /// Rounds whose shares are sold.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    rounds: u64,
    /// Orders a second; as many as are answered if not given.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// Play the orders and cancellations of a CSV file instead, with the columns invoice_no, stock_code, description,
    /// quantity, invoice_date, unit_price (GBP), customer_id, country. Rows that cannot be played are refused, with a reason
    /// each.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["orders", "seed", "products", "rounds", "rate"])]
    trace: Option<PathBuf>,
    /// With --trace: pieces of each product that arrive before the first order.
    #[arg(long, value_name = "PIECES", requires = "trace", default_value_t = trace::OPENING,
        value_parser = clap::value_parser!(i64).range(1..=1_000_000_000))]
    opening: i64,
    /// With --trace: write the closing stock of each product as CSV.
    #[arg(long, value_name = "FILE", requires = "trace")]
    stock_out: Option<PathBuf>,
    /// With --trace: write the first line's number of each refused row and the reason, column, value and what was expected as CSV.
    #[arg(long, value_name = "FILE", requires = "trace")]
    refused_out: Option<PathBuf>,
    /// With --trace: end with exit code 1 if more of the rows are refused that might be sales or cancellations.
    #[arg(long, value_name = "PERCENT", requires = "trace", default_value_t = 33,
        value_parser = clap::value_parser!(u8).range(0..=100))]
    refused_max: u8,
}

/// Loads a fleet.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    match args.trace.clone() {
        Some(file) => play(file, args, global).await,
        None => synthetic(args, global).await,
    }
}

async fn synthetic(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let json = global.json;
    let made_up = || clock::now().as_micros().unsigned_abs() % 1_000_000_000;
    let seed = args.seed.unwrap_or_else(made_up);
    let workload = Workload::new(seed, args.orders, args.products, args.rounds);
    let target = find(global).await?;
    eprintln!(
        "Placing {} orders of {} products and {} rounds; seed {seed}.",
        grouped(workload.orders),
        grouped(workload.products),
        grouped(workload.rounds)
    );
    let until = if target.private.is_some() { Until::AllIsSettled } else { Until::OrdersEnd };
    let run = synthetic::run(
        &target,
        &workload,
        &synthetic::Options { rate: args.rate, until, progress: ProgressBars::new(json) },
        |_| (),
    )
    .await;
    let is_well = run.as_ref().is_ok_and(synthetic::Run::is_as_told);
    leave(target, is_well).await?;
    let run = run?;
    if json {
        let mut report = run.json();
        report.insert("seed".to_owned(), seed.into());
        print::json(&report)?;
    } else {
        let (placing, settled, text) = (lasting(run.placing), lasting(run.settled), run.text());
        print::out(&format!("All orders were placed after {placing}, and settled after {settled}.\n\n{text}\n"))?;
        for example in &run.outcomes.examples {
            print::out(&format!("unexpected: {example}\n"))?;
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(file: PathBuf, args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let book = trace::read(&file)?;
    let target = find(global).await?;
    let options = trace::Options { file, opening: args.opening, progress: ProgressBars::new(global.json) };
    let report = trace::play(book, &options, &target).await;
    leave(target, report.is_ok()).await?;
    let report = report?;
    let problems = report.problems(args.refused_max);
    if let Some(file) = &args.stock_out {
        report.write_stock(file)?;
    }
    if let Some(file) = &args.refused_out {
        report.write_refused(file)?;
    }
    if global.json {
        print::json(&report.json(args.refused_max))?;
    } else {
        print::out(&format!("{}\n{}\n", options.file.display(), report.text()))?;
        for problem in &problems {
            print::out(&format!("not well: {problem}\n"))?;
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The fleet that is up, or, if none was named and none is noted, a private one. Says which.
async fn find(global: &GlobalArgs) -> Result<TargetFleet> {
    let named = global.database_url.is_some() || global.broker_url.is_some();
    if named || GlobalArgs::note(&global.dir).exists() {
        let address = global.address()?;
        eprintln!("Using the fleet at {}.", address.database_url);
        return TargetFleet::of(address).await;
    }
    eprintln!("No fleet is up in {}: starting a private one for as long as this takes.", global.dir.display());
    TargetFleet::private(None).await
}

/// Leaves the fleet. What went wrong in a private one can be read in its logs, which then stay.
async fn leave(target: TargetFleet, is_well: bool) -> Result<()> {
    let left = target.leave(if is_well { KeepDir::No } else { KeepDir::Yes }).await?;
    if let Some(dir) = left {
        eprintln!("The logs are in {}.", dir.join("log").display());
    }
    Ok(())
}
