//! Which parts of the log may go, and why the next one may not: what anybody at work would still read in the table stays in it.

use anyhow::{Context, Result};
use domain::{GlobalPosition, Timestamp};
use runtime::log::archive::{Part, Place, parts};
use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::replay::At;

/// What may go.
#[derive(Debug, Clone)]
pub struct Plan {
    /// These parts, in order.
    pub parts: Vec<Part>,
    /// The first that may not.
    pub stays: Option<Stays>,
}

/// A part that may not go.
#[derive(Debug, Clone, Serialize)]
pub struct Stays {
    /// Its first position,
    pub first: GlobalPosition,
    /// and its last.
    pub last: GlobalPosition,
    /// Why it stays.
    pub why: String,
}

/// Looks which parts may go that are wholly before this moment. What was begun and broken off goes on in any case.
///
/// # Errors
/// Postgres failed.
pub async fn plan(connection: &mut PgConnection, before: &At) -> Result<Plan> {
    let mut plan = Plan { parts: Vec::new(), stays: None };
    let parts = parts(connection).await.context("reading the partitions of the log")?;
    for (part, place) in parts {
        let why = match place {
            Place::Aside | Place::Gone => continue,
            Place::Detaching | Place::Beside => None,
            Place::Log => why_it_stays(connection, part, before).await.context("looking what may go")?,
        };
        if let Some(why) = why {
            plan.stays = Some(Stays { first: part.first, last: part.last, why });
            break;
        }
        plan.parts.push(part);
    }
    Ok(plan)
}

async fn why_it_stays(connection: &mut PgConnection, part: Part, before: &At) -> Result<Option<String>, sqlx::Error> {
    let query = "select (select max(position) from log.events), published, least(handled, coalesce(copied, handled)) from log.relay";
    let (head, published, handled): (Option<i64>, i64, i64) = sqlx::query_as(query).fetch_one(&mut *connection).await?;
    // Workers know the last event, and take a log without it for another.
    if head.is_none_or(|head| head <= part.last.get()) {
        return Ok(Some("the last event of the log is in it, or before it".to_owned()));
    }
    // Nothing comes any more below what the relay has passed.
    if published < part.last.get() {
        return Ok(Some(format!("the relay has published up to position {published}")));
    }
    if handled < part.last.get() {
        return Ok(Some(format!("consumers have handled what is published up to position {handled}")));
    }
    let is_before = match before {
        At::Position(position) => part.last < *position,
        At::Time(time) => recorded_at_last(connection, part).await?.is_none_or(|last| last < *time),
    };
    if !is_before {
        return Ok(Some(format!("it is not wholly before {before}")));
    }
    for (query, why) in READERS {
        let found: Option<String> = sqlx::query_scalar(*query)
            .bind(part.first.get())
            .bind(part.last.get())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(found) = found {
            return Ok(Some(format!("{why} {found}")));
        }
    }
    Ok(None)
}

/// Who would still read an event of a part, and what to say of one such.
const READERS: &[(&str, &str)] = &[
    (
        "select 'order ' || order_id from (
            select order_id from orders.orders where status in ('pending', 'reserved', 'refunding')
                or (status in ('expired', 'cancelled', 'rejected') and not released)
            union all select order_id from payments.refunds join payments.payments using (payment_id)
            where refunds.status in ('refunding', 'unknown')
        ) as open
        where exists (
            select from log.events where stream = 'order-' || order_id and position between $1 and $2
        ) limit 1",
        "an order is not over that has events in it:",
    ),
    (
        "select 'letter ' || service || '-' || id from (
            select 'orders' as service, id, headers, settled_at from orders.dead_letters
            union all select 'inventory', id, headers, settled_at from inventory.dead_letters
            union all select 'rounds', id, headers, settled_at from rounds.dead_letters
            union all select 'payments', id, headers, settled_at from payments.dead_letters
        ) as letters
        where settled_at is null and headers ->> 'ce-position' ~ '^[0-9]{1,18}$'
            and (headers ->> 'ce-position')::bigint between $1 and $2 limit 1",
        "a dead letter is not settled that is about an event in it:",
    ),
    (
        "select 'position ' || position from log.asked_again where position between $1 and $2 limit 1",
        "the relay is to publish an event of it again:",
    ),
    (
        "select 'mail ' || mail_id from mail.mails
        where state not in ('sent', 'refused', 'forgotten') and (position between $1 and $2 or exists (
            select from log.events where stream = 'order-' || order_id and version = 1 and position between $1 and $2
        )) limit 1",
        "a mail is not sent that tells of an event in it:",
    ),
];

async fn recorded_at_last(connection: &mut PgConnection, part: Part) -> Result<Option<Timestamp>, sqlx::Error> {
    let query = "select max(recorded_at) from log.events where position between $1 and $2";
    let latest: Option<OffsetDateTime> =
        sqlx::query_scalar(query).bind(part.first.get()).bind(part.last.get()).fetch_one(connection).await?;
    Ok(latest.map(Timestamp::from))
}
