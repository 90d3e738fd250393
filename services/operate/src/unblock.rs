//! A session of Postgres that keeps the log from being read to its end is ended.

use anyhow::{Context, anyhow};
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{Outcome, Result, Why};

/// What is noted of it.
const VERB: &str = "Unblock";

/// Whether the role sees what others' sessions do: without that, none of them holds anything up.
const SEES_ALL: &str = "select pg_has_role(current_user, 'pg_read_all_stats', 'usage')";

/// Sessions of the fleet's own roles and programs are ended by whoever runs them.
const SESSION: &str = "select format('app \"%s\", user %s, database %s, %s', application_name, usename, datname,
            coalesce(host(client_addr), 'this machine')) as whose,
        coalesce(state, '') as state, xact_start, backend_start, backend_xid is not null as has_written,
        pid = pg_backend_pid() or application_name like 'holdfast%' or usename in ('holdfast_orders', 'holdfast_inventory',
            'holdfast_rounds', 'holdfast_payments', 'holdfast_all_in_one', 'holdfast_gateway', 'holdfast_mail', 'holdfast_traces') as is_ours
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

/// What became of a session.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SessionEnded)]
pub struct Report {
    /// Whether nothing was done.
    dry_run: bool,
    /// Its process id.
    session: i32,
    /// What it is: its program, its user, where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    whose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Since when its transaction is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// due (in a dry run), ended, or refused.
    outcome: Outcome,
    /// Why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
}

/// Ends a session, if it is one that may be ended.
///
/// # Errors
/// The role of this connection cannot see it, or Postgres failed.
pub async fn unblock(connection: &mut PgConnection, session: i32, why: &Why) -> Result<Report> {
    if !sqlx::query_scalar::<_, bool>(SEES_ALL).fetch_one(&mut *connection).await? {
        let words =
            "this role does not see what others' sessions do: grant pg_read_all_stats and pg_signal_backend to it";
        return Err(anyhow!(words).into());
    }
    let found: Option<Session> = sqlx::query_as(SESSION)
        .bind(session)
        .fetch_optional(&mut *connection)
        .await
        .context("looking at the session")?;
    let target = format!("session {session}");
    let report = |outcome, says: Option<&str>| Report {
        dry_run: why.reason.is_none(),
        session,
        whose: found.as_ref().map(|found| found.whose.clone()),
        state: found.as_ref().map(|found| found.state.clone()),
        since: found.as_ref().and_then(|found| found.xact_start).map(|since| Timestamp::from(since).to_string()),
        outcome,
        says: says.map(str::to_owned),
    };
    // Another one may have its number by now.
    if why.has_done(connection, VERB, &target).await? {
        return Ok(Report { whose: None, ..report(Outcome::Ended, None) });
    }
    let Some(found) = &found else {
        return Ok(report(Outcome::Refused, Some("there is no such session, or it has ended")));
    };
    let refused = match found {
        Session { is_ours: true, .. } => Some("it is Holdfast's own: see what its process does, and restart that"),
        Session { has_written: false, .. } => Some("it has written nothing, so nothing waits for it"),
        Session { .. } => None,
    };
    if refused.is_some() {
        return Ok(report(Outcome::Refused, refused));
    }
    let Some(reason) = &why.reason else { return Ok(report(Outcome::Due, None)) };
    let mut transaction = connection.begin().await?;
    let said = json!({ "whose": found.whose, "state": found.state, "since": report(Outcome::Due, None).since });
    why.note(&mut transaction, VERB, (&target, None), (reason, said)).await?;
    let ended: Option<bool> =
        sqlx::query_scalar(END).bind(session).bind(found.backend_start).fetch_optional(&mut *transaction).await?;
    if ended != Some(true) {
        return Ok(report(Outcome::Refused, Some("it has come to its end meanwhile")));
    }
    transaction.commit().await.context("noting that a session was ended: it was")?;
    Ok(report(Outcome::Ended, None))
}

impl Report {
    /// Whether it is over, or would be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.outcome != Outcome::Refused
    }

    /// The same in words.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { session, whose, state, since, outcome, says, .. } = self;
        let told = |text: &Option<String>| text.clone().unwrap_or_default();
        let who = match whose {
            Some(whose) => format!("session {session} ({whose}) is {} since {}", told(state), told(since)),
            None => format!("session {session}"),
        };
        if *outcome == Outcome::Due {
            format!("{who}: it would be ended, and what it has not committed undone; nothing was done\n")
        } else if *outcome == Outcome::Ended {
            format!("{who}: it is ended, and what it had not committed is undone\n")
        } else {
            format!("{who}: nothing was done: {}\n", told(says))
        }
    }
}
