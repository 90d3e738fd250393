//! `holdfast unblock`: ends a session of Postgres that keeps the log from being read to its end.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use domain::Timestamp;
use platform::print;
use runtime::log::acts::Act;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, FromRow, PgConnection};
use time::OffsetDateTime;

use crate::{
    global_args::GlobalArgs,
    verb::{Why, explained},
};

const EXAMPLES: &str = "\
Examples:
  holdfast unblock 812 --dry-run
  holdfast unblock 812 --reason 'a report that was left open'

Exit codes: 0 it has ended; 1 it is not one to end; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast unblock`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The session, as HORIZON_HELD names it: its process id.
    #[arg(value_name = "SESSION", value_parser = clap::value_parser!(i32).range(1..))]
    session: i32,
    #[command(flatten)]
    why: Why,
}

/// Whether the role sees what others' sessions do: without that, none of them holds anything up.
const SEES_ALL: &str = "select pg_has_role(current_user, 'pg_read_all_stats', 'usage')";

/// Sessions of the fleet's own roles and programs are ended by whoever runs them.
const SESSION: &str = "select format('app \"%s\", user %s, database %s, %s', application_name, usename, datname,
            coalesce(host(client_addr), 'this machine')) as whose,
        coalesce(state, '') as state, xact_start, backend_start, backend_xid is not null as has_written,
        pid = pg_backend_pid() or application_name like 'holdfast%' or usename in ('holdfast_orders', 'holdfast_inventory',
            'holdfast_rounds', 'holdfast_payments', 'holdfast_all_in_one', 'holdfast_gateway', 'holdfast_mail') as is_ours
    from pg_stat_activity where pid = $1 and backend_type = 'client backend'";

/// The very session that was looked at: another one may have its number by now.
const END: &str = "select pg_terminate_backend(pid) from pg_stat_activity
    where pid = $1 and backend_start = $2 and backend_xid is not null";

/// A session of Postgres.
#[derive(Debug, FromRow)]
struct Session {
    whose: String,
    state: String,
    xact_start: Option<OffsetDateTime>,
    backend_start: OffsetDateTime,
    has_written: bool,
    is_ours: bool,
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    session: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    whose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Since when its transaction is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// due (in a dry run), ended, or refused.
    outcome: &'static str,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
}

/// Ends a session: exit code 0; 1 if it is not one to end.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    let report = unblock(&mut connection, &args).await.map_err(explained)?;
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text())?;
    }
    Ok(if report.outcome == "refused" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn unblock(connection: &mut PgConnection, args: &Args) -> Result<Report> {
    let Args { session, why } = args;
    if !sqlx::query_scalar::<_, bool>(SEES_ALL).fetch_one(&mut *connection).await? {
        bail!("this role does not see what others' sessions do: grant pg_read_all_stats and pg_signal_backend to it");
    }
    let found: Option<Session> = sqlx::query_as(SESSION)
        .bind(session)
        .fetch_optional(&mut *connection)
        .await
        .context("looking at the session")?;
    let report = |outcome, says: Option<&str>| Report {
        dry_run: why.dry_run,
        session: *session,
        whose: found.as_ref().map(|found| found.whose.clone()),
        state: found.as_ref().map(|found| found.state.clone()),
        since: found.as_ref().and_then(|found| found.xact_start).map(|since| Timestamp::from(since).to_string()),
        outcome,
        says: says.map(str::to_owned),
    };
    let Some(found) = &found else { return Ok(report("refused", Some("there is no such session, or it has ended"))) };
    let refused = match found {
        Session { is_ours: true, .. } => Some("it is Holdfast's own: see what its process does, and restart that"),
        Session { has_written: false, .. } => Some("it has written nothing, so nothing waits for it"),
        Session { .. } => None,
    };
    if refused.is_some() {
        return Ok(report("refused", refused));
    }
    let Some(reason) = why.reason() else { return Ok(report("due", None)) };
    let mut transaction = connection.begin().await?;
    let act = Act {
        verb: "Unblock",
        target: &format!("session {session}"),
        stream: None,
        reason,
        actor: why.actor.as_deref(),
        said: json!({ "whose": found.whose, "state": found.state, "since": report("due", None).since }),
    };
    act.note(&mut transaction).await?;
    let ended: Option<bool> =
        sqlx::query_scalar(END).bind(session).bind(found.backend_start).fetch_optional(&mut *transaction).await?;
    if ended != Some(true) {
        return Ok(report("refused", Some("it has come to its end meanwhile")));
    }
    transaction.commit().await.context("noting that a session was ended: it was")?;
    Ok(report("ended", None))
}

impl Report {
    fn text(&self) -> String {
        let Self { session, whose, state, since, outcome, says, .. } = self;
        let told = |text: &Option<String>| text.clone().unwrap_or_default();
        let who = match whose {
            Some(whose) => format!("session {session} ({whose}) is {} since {}", told(state), told(since)),
            None => format!("session {session}"),
        };
        match *outcome {
            "due" => format!("{who}: it would be ended, and what it has not committed undone; nothing was done\n"),
            "ended" => format!("{who}: it is ended, and what it had not committed is undone\n"),
            _ => format!("{who}: nothing was done: {}\n", told(says)),
        }
    }
}
