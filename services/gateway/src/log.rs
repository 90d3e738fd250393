//! The log: events of all orders and services, as a list or as a stream that goes on while the caller listens.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use domain::GlobalPosition;
use platform::database::Pool;
use runtime::log::event_store::{StoredEvent, read_page, read_page_before};

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    events::{self, EventList, Heard},
    problem::Problem,
    request::Query,
};

pub(crate) const PATH: &str = "/v1/events";

/// The parameters.
pub(crate) const PARAMETERS: [&str; 2] = ["after", "limit"];

const LIMIT_DEFAULT: i64 = 100;

/// The most events of a list, and of what a listener has waiting for him here.
const LIMIT_MAX: i64 = 500;

/// The last position that is in files instead of the log's table.
const ARCHIVED: &str = "select coalesce(max(last), 0) from log.archived_parts()";

/// `GET /v1/events`
pub(crate) async fn log(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::AuditRead)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), &PARAMETERS)?;
    let limit = query.number("limit", 1, LIMIT_MAX)?;
    let after = events::after(&headers, &query)?;
    if events::wants_stream(&headers) {
        if limit.is_some() {
            let detail = "a stream has no end that a limit could set: leave it out";
            return Err(Problem::own("INVALID_PARAMETER", detail).of("limit"));
        }
        // Whoever does not say what he has heard hears what comes.
        let after = match after {
            Some(after) => after,
            None => published(&gateway.pool).await?,
        };
        begins_here(&gateway.pool, after).await?;
        return events::listen(&gateway, Heard::All, after, VecDeque::new());
    }
    let (after, limit) = (after.unwrap_or_default(), limit.unwrap_or(LIMIT_DEFAULT));
    let rows = next(&gateway.pool, after, limit + 1).await?;
    begins_here(&gateway.pool, after).await?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let has_more = rows.len() > limit;
    Ok(json_response(StatusCode::OK, &EventList::of(rows.iter().take(limit), has_more)))
}

/// The last events before a position, or of what is published, in order.
///
/// # Errors
/// The log cannot be read.
pub(crate) async fn last_before(pool: &Pool, before: Option<i64>, limit: i64) -> Result<Vec<StoredEvent>, Problem> {
    let read = async {
        let mut connection = pool.session().await?;
        let end = match before {
            Some(before) => before,
            None => sqlx::query_scalar("select published + 1 from log.relay").fetch_one(&mut *connection).await?,
        };
        read_page_before(&mut connection, GlobalPosition::new(end), limit).await
    };
    Ok(pool.answered(read).await?)
}

/// That what follows a position is in the log's table, and not in files. Asked after it was read: it may be archived meanwhile.
async fn begins_here(pool: &Pool, after: GlobalPosition) -> Result<(), Problem> {
    let archived: i64 = sqlx::query_scalar(ARCHIVED).fetch_one(pool).await?;
    if archived <= after.get() {
        return Ok(());
    }
    let detail = format!(
        "events up to position {archived} are archived: `holdfast timeline` and `holdfast export` with --archive have them"
    );
    Err(Problem::own("EVENTS_ARCHIVED", detail).of("after"))
}

async fn published(pool: &Pool) -> Result<GlobalPosition, sqlx::Error> {
    let published: i64 = sqlx::query_scalar("select published from log.relay").fetch_one(pool).await?;
    Ok(GlobalPosition::new(published))
}

/// The next events after a position, as far as nothing can come between them any more: each look is short, and reads no more than fits.
async fn next(pool: &Pool, after: GlobalPosition, limit: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let up_to = published(pool).await?;
    let page = async { read_page(&mut *pool.session().await?, after, up_to, limit).await };
    Ok(pool.answered(page).await?.0)
}

/// What a listener to all events hears next. If that was archived meanwhile, it is an error: he comes again, and is told so.
pub(crate) async fn heard(pool: &Pool, after: GlobalPosition) -> Result<VecDeque<StoredEvent>, sqlx::Error> {
    let events = next(pool, after, LIMIT_MAX).await?;
    match begins_here(pool, after).await {
        Ok(()) => Ok(events.into()),
        Err(problem) => Err(sqlx::Error::Protocol(problem.detail)),
    }
}
