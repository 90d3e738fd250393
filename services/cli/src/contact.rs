//! `holdfast contact`: forgets where buyers are reached. The log never knew it, so nothing else has to change.

use std::process::ExitCode;

use anyhow::{Context, Result};
use platform::print;
use serde::Serialize;
use sqlx::Connection;
use uuid::Uuid;

use crate::global_args::GlobalArgs;

/// Options of `holdfast contact`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Forget the addresses of an order, or of all orders of a customer. Mail that was not sent yet is not sent any more.
    Forget(Forget),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
struct Forget {
    /// Of this order.
    #[arg(long, group = "whose", value_name = "UUID")]
    order: Option<Uuid>,
    /// Of all orders of this customer.
    #[arg(long, group = "whose", value_name = "NAME")]
    customer: Option<String>,
}

/// What was forgotten.
#[derive(Debug, Serialize)]
struct Report {
    /// Addresses.
    forgotten: u64,
    /// Mails that will not be sent, or not again, because of it.
    mails: u64,
}

const ADDRESSES: &str = "delete from orders.contacts where order_id = $1 or order_id in
    (select order_id from orders.orders where customer_id = $2)";

/// A mail's bytes have the address in them, so they go too. What is being sent just now ends as it ends, and is not sent again.
const MAILS: &str = "update mail.mails set message = null, changed_at = clock_timestamp(),
        due_at = case when state = 'sending' then due_at end,
        reply = case when state = 'sending' then reply else 'the address was forgotten' end,
        state = case when state = 'sending' then state else 'forgotten' end
    where state in ('queued', 'sending', 'unknown') and (order_id = $1 or order_id in
        (select order_id from orders.orders where customer_id = $2))";

/// Forgets: exit code 0, also if there was nothing.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Verb::Forget(Forget { order, customer }) = args.verb;
    let mut connection = global.database().await?;
    let mut transaction = connection.begin().await?;
    let mut done = [0, 0];
    for (count, statement) in done.iter_mut().zip([ADDRESSES, MAILS]) {
        let ended = sqlx::query(statement).bind(order).bind(&customer).execute(&mut *transaction).await;
        *count = ended.context("forgetting; may this role write to orders.contacts and mail.mails?")?.rows_affected();
    }
    transaction.commit().await?;
    let [forgotten, mails] = done;
    let report = Report { forgotten, mails };
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&format!("{forgotten} addresses forgotten, {mails} mails will not be sent\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
