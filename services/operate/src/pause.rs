//! A consumer stands still for a while, and its service hears of nothing that it is owed by it.

use anyhow::Context;
use audit::status::broker::consumers;
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{Outcome, Result, Why};

/// For how long at most, in minutes, and for how long unless it is said.
pub const MINUTES_MAX: u16 = 1_440;
/// See [`MINUTES_MAX`].
pub const MINUTES: u16 = 15;

/// What is noted of it.
const PAUSE: &str = "Pause";
const RESUME: &str = "Resume";

/// Reads the name of a durable consumer of the fleet.
///
/// # Errors
/// It is none.
pub fn consumer(name: &str) -> Result<String, String> {
    let known = consumers();
    if known.contains_key(name) {
        return Ok(name.to_owned());
    }
    let known: Vec<String> = known.into_keys().collect();
    Err(format!("{name:?} is no consumer of the fleet: there are {}", known.join(", ")))
}

/// What became of a consumer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ConsumerPaused)]
pub struct Report {
    /// Whether nothing was done.
    dry_run: bool,
    consumer: String,
    /// Until when it stands still, or stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// due (in a dry run), paused, resumed, or refused.
    outcome: Outcome,
    says: String,
}

impl Report {
    /// Whether it is as it was asked for, or would be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.outcome != Outcome::Refused
    }

    /// The same in words.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n", self.says)
    }
}

/// Until when a consumer is to stand still.
const UNTIL: &str = "select until from log.pauses where consumer = $1 and until > clock_timestamp()";

/// Has a consumer stand still for so many minutes.
///
/// # Errors
/// Postgres failed.
pub async fn pause(connection: &mut PgConnection, consumer: &str, minutes: u16, why: &Why) -> Result<Report> {
    let mut transaction = connection.begin().await?;
    let known = until(&mut transaction, consumer).await?;
    let report = |outcome, until: Timestamp, says: &str| {
        let (dry_run, until) = (why.reason.is_none(), until.to_string());
        let says = says.replace("{consumer}", consumer).replace("{until}", &until);
        Report { dry_run, consumer: consumer.to_owned(), until: Some(until), outcome, says }
    };
    let is_paused = "{consumer} is paused until {until}: its workers see to it within seconds";
    if why.has_done(&mut transaction, PAUSE, consumer).await? {
        let says = format!("{consumer} was paused by this very request, and goes on since");
        let over =
            Report { dry_run: false, consumer: consumer.to_owned(), until: None, outcome: Outcome::Paused, says };
        return Ok(known.map_or(over, |known| report(Outcome::Paused, known, is_paused)));
    }
    if let Some(known) = known {
        return Ok(report(Outcome::Refused, known, "{consumer} is paused already, until {until}: resume it first"));
    }
    let Some(reason) = &why.reason else {
        let until: OffsetDateTime = sqlx::query_scalar("select clock_timestamp() + $1 * interval '1 minute'")
            .bind(i32::from(minutes))
            .fetch_one(&mut *transaction)
            .await?;
        let says = "{consumer} would be paused until {until}, and its service hear of nothing by it; nothing was done";
        return Ok(report(Outcome::Due, until.into(), says));
    };
    let said = json!({ "minutes": minutes });
    let act_id = why.note(&mut transaction, PAUSE, (consumer, None), (reason, said)).await?;
    sqlx::query("delete from log.pauses where consumer = $1").bind(consumer).execute(&mut *transaction).await?;
    let insert = "insert into log.pauses (consumer, until, act_id)
        values ($1, clock_timestamp() + $2 * interval '1 minute', $3) returning until";
    let until: OffsetDateTime = sqlx::query_scalar(insert)
        .bind(consumer)
        .bind(i32::from(minutes))
        .bind(act_id)
        .fetch_one(&mut *transaction)
        .await
        .context("noting the pause")?;
    transaction.commit().await?;
    Ok(report(Outcome::Paused, until.into(), is_paused))
}

/// Lets a consumer go on.
///
/// # Errors
/// Postgres failed.
pub async fn resume(connection: &mut PgConnection, consumer: &str, why: &Why) -> Result<Report> {
    let mut transaction = connection.begin().await?;
    let known = until(&mut transaction, consumer).await?;
    let report = |outcome, says: String| {
        let until = known.map(|until| until.to_string());
        Report { dry_run: why.reason.is_none(), consumer: consumer.to_owned(), until, outcome, says }
    };
    let goes_on = || format!("{consumer} goes on: its workers see to it within seconds");
    if why.has_done(&mut transaction, RESUME, consumer).await? {
        return Ok(report(Outcome::Resumed, goes_on()));
    }
    if known.is_none() {
        let says = format!("{consumer} is not to stand still: if it is paused, its workers let it go on by themselves");
        return Ok(report(Outcome::Refused, says));
    }
    let Some(reason) = &why.reason else {
        return Ok(report(Outcome::Due, format!("{consumer} would go on at once; nothing was done")));
    };
    why.note(&mut transaction, RESUME, (consumer, None), (reason, json!({}))).await?;
    sqlx::query("delete from log.pauses where consumer = $1").bind(consumer).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(report(Outcome::Resumed, goes_on()))
}

async fn until(connection: &mut PgConnection, consumer: &str) -> Result<Option<Timestamp>> {
    let until: Option<OffsetDateTime> =
        sqlx::query_scalar(UNTIL).bind(consumer).fetch_optional(connection).await.context("looking for pauses")?;
    Ok(until.map(Timestamp::from))
}
