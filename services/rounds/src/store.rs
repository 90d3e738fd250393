//! Rounds' rows in Postgres: the only SQL.

use std::collections::BTreeSet;

use domain::{Currency, HoldKey, Money, OrderId, RefundId, Rejection, RoundId, StreamVersion, Timestamp, hold::Status};
use platform::database::{Query, column};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    command::Command,
    event::Offer,
    hold::Hold,
    round::{BATCH_MAX, Round, RoundStatus, State},
};

/// Locks and loads what these commands touch, each table in key order: their holds, then the next buyers to be refunded,
/// then the rounds of all.
///
/// The buyers' rows come out of order, so they are never waited for, only taken where nobody has them: no deadlock. A row
/// left out is in a batch that locks the round too, and the round's figures say afterwards whether it is still to be named.
pub(crate) async fn load(connection: &mut PgConnection, commands: &[&Command]) -> Result<State, sqlx::Error> {
    let (mut keys, mut rounds, mut advancing) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for command in commands {
        match command {
            Command::OpenRound { round_id, .. }
            | Command::CloseRound { round_id, .. }
            | Command::CancelRound { round_id, .. } => {
                rounds.insert(round_id.0);
            }
            Command::Advance { round_id } => {
                rounds.insert(round_id.0);
                advancing.insert(round_id.0);
            }
            Command::Hold { key, purchase } => {
                keys.insert(*key);
                rounds.insert(purchase.round_id.0);
            }
            Command::Commit { key } | Command::Release { key } | Command::Return { key, .. } => {
                keys.insert(*key);
            }
        }
    }
    let (orders, attempts): (Vec<Uuid>, Vec<i32>) = keys.iter().map(|key| (key.order_id.0, key.attempt)).unzip();
    // One probe of the primary key after the other, in the order of the arrays: of its own accord, the planner would
    // rather read a table of thousands of rows through.
    let query =
        "select h.order_id, h.attempt, h.round_id, h.count, h.status, h.refund_requested, h.returned_by, h.version
        from unnest($1::uuid[], $2::int4[]) as k (order_id, attempt) cross join lateral (
            select * from rounds.holds where holds.order_id = k.order_id and holds.attempt = k.attempt for update
        ) as h";
    let mut holds = sqlx::query(query).bind(orders).bind(attempts).try_map(hold).fetch_all(&mut *connection).await?;
    if !advancing.is_empty() {
        holds.extend(next_buyers(connection, advancing.into_iter().collect()).await?);
    }

    rounds.extend(holds.iter().filter_map(|(_, hold)| Some(hold.round_id?.0)));
    let query = "select round_id, prize, total_shares, share_price_minor, currency, closes_at, status, sold, held,
        refunding, version from rounds.rounds where round_id = any($1) order by round_id for update";
    let rounds: Vec<Uuid> = rounds.into_iter().collect();
    let rounds = sqlx::query(query).bind(rounds).try_map(round).fetch_all(connection).await?;
    Ok(state(rounds, holds))
}

/// What the next batch of each of these rounds may name. The index `holds_to_refund` has its order.
async fn next_buyers(connection: &mut PgConnection, rounds: Vec<Uuid>) -> Result<Vec<(HoldKey, Hold)>, sqlx::Error> {
    let query =
        "select h.order_id, h.attempt, h.round_id, h.count, h.status, h.refund_requested, h.returned_by, h.version
        from unnest($1::uuid[]) as r (round_id) cross join lateral (
            select * from rounds.holds where holds.round_id = r.round_id
            and status = 'committed' and not refund_requested and returned_by is null
            order by order_id, attempt limit $2 for update skip locked
        ) as h";
    let limit = i64::try_from(BATCH_MAX).unwrap_or(i64::MAX);
    sqlx::query(query).bind(rounds).bind(limit).try_map(hold).fetch_all(connection).await
}

/// Loads every row, without locks.
pub(crate) async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
    let query = "select order_id, attempt, round_id, count, status, refund_requested, returned_by, version
        from rounds.holds";
    let holds = sqlx::query(query).try_map(hold).fetch_all(&mut *connection).await?;
    let query = "select round_id, prize, total_shares, share_price_minor, currency, closes_at, status, sold, held,
        refunding, version from rounds.rounds";
    let rounds = sqlx::query(query).try_map(round).fetch_all(connection).await?;
    Ok(state(rounds, holds))
}

fn state(rounds: Vec<(RoundId, Round)>, holds: Vec<(HoldKey, Hold)>) -> State {
    let mut state = State::default();
    for (round_id, round) in rounds {
        state.rounds.load(round_id, round);
    }
    for (key, hold) in holds {
        state.holds.load(key, hold);
    }
    state
}

fn round(row: PgRow) -> Result<(RoundId, Round), sqlx::Error> {
    let round_id = RoundId(row.try_get("round_id")?);
    let currency = Currency::parse(row.try_get("currency")?).map_err(malformed)?;
    let offer = Offer {
        prize: row.try_get("prize")?,
        total_shares: row.try_get("total_shares")?,
        share_price: Money { minor_units: row.try_get("share_price_minor")?, currency },
        closes_at: Timestamp::from(row.try_get::<OffsetDateTime, _>("closes_at")?),
    };
    let word: &str = row.try_get("status")?;
    let status = RoundStatus::parse(word)
        .ok_or_else(|| malformed(Rejection::new("UNKNOWN_STATUS", format!("round {round_id} is {word:?}"))))?;
    let (sold, held) = (row.try_get("sold")?, row.try_get("held")?);
    let (refunding, version) = (row.try_get("refunding")?, StreamVersion::new(row.try_get("version")?));
    Ok((round_id, Round { offer, status, sold, held, refunding, version }))
}

fn hold(row: PgRow) -> Result<(HoldKey, Hold), sqlx::Error> {
    let key = HoldKey { order_id: OrderId(row.try_get("order_id")?), attempt: row.try_get("attempt")? };
    let word: &str = row.try_get("status")?;
    let status = Status::parse(word)
        .ok_or_else(|| malformed(Rejection::new("UNKNOWN_STATUS", format!("hold {key} is {word:?}"))))?;
    let hold = Hold {
        status,
        round_id: row.try_get::<Option<Uuid>, _>("round_id")?.map(RoundId),
        count: row.try_get("count")?,
        refund_requested: row.try_get("refund_requested")?,
        returned_by: row.try_get::<Option<Uuid>, _>("returned_by")?.map(RefundId),
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((key, hold))
}

fn malformed(rejection: Rejection) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(rejection))
}

/// Writes what is new and what changed: but for new rounds, in one statement. A round's offer and a hold's shares never
/// change, so they stay as they are.
pub(crate) async fn save(connection: &mut PgConnection, state: &State) -> Result<(), sqlx::Error> {
    insert_rounds(&mut *connection, &state.rounds.created().collect::<Vec<_>>()).await?;
    let rounds: Vec<(&RoundId, &Round)> = state.rounds.changed().collect();
    let created: Vec<(&HoldKey, &Hold)> = state.holds.created().collect();
    let changed: Vec<(&HoldKey, &Hold)> = state.holds.changed().collect();
    if rounds.is_empty() && created.is_empty() && changed.is_empty() {
        return Ok(());
    }
    let query = bind_rounds(sqlx::query(SAVE), &rounds);
    bind_changed_holds(bind_new_holds(query, &created), &changed).execute(connection).await?;
    Ok(())
}

async fn insert_rounds(connection: &mut PgConnection, rows: &[(&RoundId, &Round)]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let query =
        "insert into rounds.rounds (round_id, prize, total_shares, share_price_minor, currency, closes_at, status,
            sold, held, refunding, version)
        select * from unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[], $5::text[], $6::timestamptz[], $7::text[],
            $8::int8[], $9::int8[], $10::int8[], $11::int8[])";
    sqlx::query(query)
        .bind(column(rows, |(round_id, _)| round_id.0))
        .bind(column(rows, |(_, round)| round.offer.prize.as_str()))
        .bind(column(rows, |(_, round)| round.offer.total_shares))
        .bind(column(rows, |(_, round)| round.offer.share_price.minor_units))
        .bind(column(rows, |(_, round)| round.offer.share_price.currency.as_str()))
        .bind(column(rows, |(_, round)| OffsetDateTime::from(round.offer.closes_at)))
        .bind(column(rows, |(_, round)| round.status.as_str()))
        .bind(column(rows, |(_, round)| round.sold))
        .bind(column(rows, |(_, round)| round.held))
        .bind(column(rows, |(_, round)| round.refunding))
        .bind(column(rows, |(_, round)| round.version.get()))
        .execute(connection)
        .await?;
    Ok(())
}

fn bind_rounds<'q>(query: Query<'q>, rows: &[(&'q RoundId, &'q Round)]) -> Query<'q> {
    query
        .bind(column(rows, |(round_id, _)| round_id.0))
        .bind(column(rows, |(_, round)| round.status.as_str()))
        .bind(column(rows, |(_, round)| round.sold))
        .bind(column(rows, |(_, round)| round.held))
        .bind(column(rows, |(_, round)| round.refunding))
        .bind(column(rows, |(_, round)| round.version.get()))
}

fn bind_new_holds<'q>(query: Query<'q>, rows: &[(&'q HoldKey, &'q Hold)]) -> Query<'q> {
    query
        .bind(column(rows, |(key, _)| key.order_id.0))
        .bind(column(rows, |(key, _)| key.attempt))
        .bind(column(rows, |(_, hold)| hold.round_id.map(|round_id| round_id.0)))
        .bind(column(rows, |(_, hold)| hold.count))
        .bind(column(rows, |(_, hold)| hold.status.as_str()))
        .bind(column(rows, |(_, hold)| hold.refund_requested))
        .bind(column(rows, |(_, hold)| hold.returned_by.map(|refund_id| refund_id.0)))
        .bind(column(rows, |(_, hold)| hold.version.get()))
}

fn bind_changed_holds<'q>(query: Query<'q>, rows: &[(&'q HoldKey, &'q Hold)]) -> Query<'q> {
    query
        .bind(column(rows, |(key, _)| key.order_id.0))
        .bind(column(rows, |(key, _)| key.attempt))
        .bind(column(rows, |(_, hold)| hold.status.as_str()))
        .bind(column(rows, |(_, hold)| hold.refund_requested))
        .bind(column(rows, |(_, hold)| hold.returned_by.map(|refund_id| refund_id.0)))
        .bind(column(rows, |(_, hold)| hold.version.get()))
}

const SAVE: &str = "with rounds_saved as (
        update rounds.rounds set status = new.status, sold = new.sold, held = new.held,
                refunding = new.refunding, version = new.version
            from unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[])
                as new (round_id, status, sold, held, refunding, version)
            where rounds.round_id = new.round_id
    ),
    holds_added as (
        insert into rounds.holds (order_id, attempt, round_id, count, status, refund_requested, returned_by,
                version)
            select * from unnest($7::uuid[], $8::int4[], $9::uuid[], $10::int8[], $11::text[], $12::bool[], $13::uuid[],
                $14::int8[])
    )
    update rounds.holds set status = new.status, refund_requested = new.refund_requested,
            returned_by = new.returned_by, version = new.version
        from unnest($15::uuid[], $16::int4[], $17::text[], $18::bool[], $19::uuid[], $20::int8[])
            as new (order_id, attempt, status, refund_requested, returned_by, version)
        where holds.order_id = new.order_id and holds.attempt = new.attempt";
