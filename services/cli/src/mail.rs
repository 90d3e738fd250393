//! `holdfast mail`: what became of mail to buyers, and sending one again. Addresses are not shown.

use std::process::ExitCode;

use ::mail::{
    State,
    operators::{self, Mail, Resent},
};
use anyhow::{Result, bail};
use platform::print::{self, Paint, Table};
use uuid::Uuid;

use crate::global_args::GlobalArgs;

/// Options of `holdfast mail`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List mails, the latest first.
    List(List),
    /// Send one again that is refused, unknown or sent: the same mail, under the same Message-ID.
    Resend(Resend),
}

const EXAMPLES: &str = "\
Examples:
  holdfast mail list --state refused
  holdfast mail list --json

Exit codes: 0 they are told; 2 wrong usage; 3 the database is away.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct List {
    /// Only those that stand so.
    #[arg(long, value_parser = State::ALL.map(State::as_str))]
    state: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

const EXAMPLES_OF_RESEND: &str = "\
Examples:
  holdfast mail resend 0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f --reason 'the address was mended'

Exit codes: 0 it is sent again; 1 it cannot be; 2 wrong usage; 3 the database is away.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES_OF_RESEND)]
struct Resend {
    /// The mail, as `holdfast mail list` names it.
    mail: Uuid,
    /// Why, in words.
    #[arg(long, value_name = "WORDS", value_parser = reason)]
    reason: String,
}

fn reason(text: &str) -> Result<String, &'static str> {
    let text = Some(text.trim().to_owned()).filter(|text| (1..=512).contains(&text.chars().count()));
    text.ok_or("it must have 1 to 512 characters")
}

/// Lists, or has one sent again: exit code 0, or 1 if it cannot be sent again.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    match args.verb {
        Verb::List(List { state, limit }) => {
            let mails = operators::list(&mut connection, state.as_deref(), limit).await?;
            if global.json {
                print::json(&serde_json::json!({ "mails": mails }))?;
            } else {
                print::out(&text(&mails))?;
            }
        }
        Verb::Resend(Resend { mail, reason }) => {
            match operators::send_again(&mut connection, mail, &reason).await? {
                Resent::Queued => {}
                Resent::Unheard => bail!("there is no mail {mail}: `holdfast mail list` names them"),
                Resent::Stands(state) => {
                    bail!("mail {mail} is {state}: only one that is sent, refused or unknown can be sent again")
                }
            }
            if global.json {
                print::json(&serde_json::json!({ "mail_id": mail, "state": "queued" }))?;
            } else {
                print::out(&format!("{mail} is queued\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(mails: &[Mail]) -> String {
    let mut table = Table::default();
    for mail in mails {
        let what = mail.refund_id.map_or_else(|| mail.kind.clone(), |refund_id| format!("{} {refund_id}", mail.kind));
        table.row([
            mail.mail_id.to_string().into(),
            mail.state.as_str().into(),
            format!("order {}, {what}", mail.order_id).into(),
            mail.changed_at.as_str().into(),
            mail.reply.as_str().into(),
        ]);
    }
    if mails.is_empty() { "no mail\n".to_owned() } else { table.text(Paint::for_stdout()) }
}
