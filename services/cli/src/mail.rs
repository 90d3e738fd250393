//! `holdfast mail`: what became of mail to buyers, and sending one again. Addresses are not shown.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use domain::Timestamp;
use platform::print::{self, Paint, Table};
use serde::Serialize;
use sqlx::{Connection, PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
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

#[derive(Debug, clap::Args)]
struct List {
    /// Only those that stand so.
    #[arg(long, value_parser = ["queued", "sending", "sent", "refused", "unknown", "forgotten"])]
    state: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

#[derive(Debug, clap::Args)]
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

/// A mail.
#[derive(Debug, Serialize)]
struct Mail {
    mail_id: Uuid,
    order_id: Uuid,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<Uuid>,
    state: String,
    attempts: i32,
    changed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    reply: String,
}

const LIST: &str =
    "select * from mail.mails where $1::text is null or state = $1 order by queued_at desc, mail_id limit $2";

/// Lists, or has one sent again: exit code 0, or 1 if it cannot be sent again.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    match args.verb {
        Verb::List(List { state, limit }) => {
            let mails = sqlx::query(LIST).bind(state).bind(i64::from(limit)).try_map(mail);
            let mails = mails.fetch_all(&mut connection).await.context("reading mail.mails")?;
            if global.json {
                print::json(&serde_json::json!({ "mails": mails }))?;
            } else {
                print::out(&text(&mails))?;
            }
        }
        Verb::Resend(resend) => {
            send_again(&mut connection, &resend).await?;
            if global.json {
                print::json(&serde_json::json!({ "mail_id": resend.mail, "state": "queued" }))?;
            } else {
                print::out(&format!("{} is queued\n", resend.mail))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn mail(row: PgRow) -> Result<Mail, sqlx::Error> {
    let written = |time: OffsetDateTime| Timestamp::from(time).to_string();
    Ok(Mail {
        mail_id: row.try_get("mail_id")?,
        order_id: row.try_get("order_id")?,
        kind: row.try_get("kind")?,
        refund_id: row.try_get("refund_id")?,
        state: row.try_get("state")?,
        attempts: row.try_get("attempt")?,
        changed_at: written(row.try_get("changed_at")?),
        due_at: row.try_get::<Option<OffsetDateTime>, _>("due_at")?.map(written),
        reply: row.try_get("reply")?,
    })
}

/// In one transaction: the note of who asked and why, and the mail back in its queue. Its words are kept if they still are.
async fn send_again(connection: &mut PgConnection, resend: &Resend) -> Result<()> {
    let mut transaction = connection.begin().await?;
    let state: Option<String> = sqlx::query_scalar("select state from mail.mails where mail_id = $1 for update")
        .bind(resend.mail)
        .fetch_optional(&mut *transaction)
        .await
        .context("reading mail.mails")?;
    let state = state.with_context(|| format!("there is no mail {}: `holdfast mail list` names them", resend.mail))?;
    if !["sent", "refused", "unknown"].contains(&state.as_str()) {
        bail!("mail {} is {state}: only one that is sent, refused or unknown can be sent again", resend.mail);
    }
    sqlx::query("insert into mail.resent (mail_id, reason, state_before) values ($1, $2, $3)")
        .bind(resend.mail)
        .bind(&resend.reason)
        .bind(&state)
        .execute(&mut *transaction)
        .await?;
    // A day to try it in, as one that is new.
    let again = "update mail.mails set state = 'queued', due_at = clock_timestamp(), unknowns = 0,
            give_up_at = clock_timestamp() + interval '1 day', changed_at = clock_timestamp() where mail_id = $1";
    sqlx::query(again).bind(resend.mail).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
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
