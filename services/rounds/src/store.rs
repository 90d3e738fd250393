//! Rounds' rows in Postgres: the only SQL.

use std::collections::BTreeSet;

use domain::{
    Currency, HoldKey, Memory, Money, OrderId, RefundId, Rejection, RoundId, StreamVersion, Timestamp, hold::Status,
};
use platform::{
    database::column,
    statement::{Statement, Values},
};
use runtime::service::{Locks, RowTable};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    command::Command,
    event::Offer,
    hold::Hold,
    round::{BATCH_MAX, Round, RoundRevision, RoundStatus, State},
};

/// The key of what an attempt of an order holds.
const HOLD: &[(&str, &str)] = &[("order_id", "uuid"), ("attempt", "int4")];

pub(crate) const TABLES: [RowTable; 2] = [
    RowTable { name: "rounds.holds", category: "shares", key: HOLD, part_of: None },
    RowTable { name: "rounds.rounds", category: "round", key: &[("round_id", "uuid")], part_of: None },
];

/// Loads what these commands touch: their holds, the next buyers to be refunded, and the rounds of all. Locks them in this order, each
/// table in key order.
///
/// The buyers' rows come out of order, so they are never waited for, only locked where nobody has them: no deadlock. A row
/// left out is in a batch that locks the round too, and the round's figures say afterwards whether it is still to be named.
pub(crate) async fn load(
    connection: &mut PgConnection,
    commands: &[&Command],
    locks: Locks,
) -> Result<State, sqlx::Error> {
    let (mut keys, mut rounds, mut advancing) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for command in commands {
        match command {
            Command::OpenRound { round_id, .. }
            | Command::CloseRound { round_id, .. }
            | Command::CancelRound { round_id, .. } => {
                rounds.insert(round_id.0);
            }
            Command::Advance { round_id } | Command::Draw { round_id, .. } => {
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
    let (rounds, advancing): (Vec<Uuid>, Vec<Uuid>) = (rounds.into_iter().collect(), advancing.into_iter().collect());
    let load = match locks {
        Locks::None => LOAD,
        Locks::Rows => LOAD_LOCKED,
    };
    load_by(connection, load, keys, rounds, advancing).await
}

/// Loads the rows of these names, without locks.
pub(crate) async fn load_rows(connection: &mut PgConnection, names: &[String]) -> Result<State, sqlx::Error> {
    let keys = names.iter().filter_map(|name| HoldKey::from_text(name.strip_prefix("shares-")?)).collect();
    let rounds = names.iter().filter_map(|name| RoundId::parse(name.strip_prefix("round-")?).ok());
    load_by(connection, LOAD, keys, rounds.map(|id| id.0).collect(), Vec::new()).await
}

/// Loads these holds and rounds, and the next buyers, or all tickets, of rounds that are advancing.
async fn load_by(
    connection: &mut PgConnection,
    load: &'static str,
    keys: BTreeSet<HoldKey>,
    rounds: Vec<Uuid>,
    advancing: Vec<Uuid>,
) -> Result<State, sqlx::Error> {
    let (orders, attempts): (Vec<Uuid>, Vec<i32>) = keys.iter().map(|key| (key.order_id.0, key.attempt)).unzip();
    let limit = i64::try_from(BATCH_MAX).unwrap_or(i64::MAX);
    let query = sqlx::query(load).bind(&orders).bind(&attempts).bind(&rounds).bind(&advancing).bind(limit);
    let mut state = State::default();
    for row in query.fetch_all(connection).await? {
        if row.try_get::<Option<&str>, _>("prize")?.is_some() {
            let (round_id, round) = round(row)?;
            state.rounds.load(round_id, round);
        } else {
            let (key, hold) = hold(row)?;
            state.holds.load(key, hold);
        }
    }
    Ok(state)
}

/// Moves what these commands touch from what is remembered to a state of its own. False: some of it may be there and is not remembered.
pub(crate) fn recall(memory: &mut Memory<State>, commands: &[&Command], state: &mut State) -> bool {
    let mut asked = BTreeSet::new();
    commands.iter().all(|command| match command {
        // Which buyers are next, or have tickets, is only known by a look.
        Command::OpenRound { .. }
        | Command::CloseRound { .. }
        | Command::CancelRound { .. }
        | Command::Advance { .. }
        | Command::Draw { .. } => false,
        Command::Hold { key, purchase } => {
            asked.insert(*key);
            memory.move_to(state, key, |rows| &mut rows.holds);
            memory.move_to(state, &purchase.round_id, |rows| &mut rows.rounds) && recall_round(memory, key, state)
        }
        Command::Commit { key } | Command::Release { key } | Command::Return { key, .. } => {
            let is_known = memory.move_to(state, key, |rows| &mut rows.holds) || asked.contains(key);
            is_known && recall_round(memory, key, state)
        }
    })
}

/// The round of a hold, if that has one.
fn recall_round(memory: &mut Memory<State>, key: &HoldKey, state: &mut State) -> bool {
    let round_id = state.holds.get(key).and_then(|hold| hold.round_id);
    round_id.is_none_or(|round_id| memory.move_to(state, &round_id, |rows| &mut rows.rounds))
}

/// One probe of the primary key of the holds after the other, in the order of the arrays: of its own accord, the planner would rather
/// read a table of thousands of rows through. What the next batch of each round may name is in the order of the index `holds_to_refund`.
macro_rules! load {
    ($holds_locked:literal, $buyers_locked:literal, $tickets_locked:literal, $rounds_locked:literal) => {
        concat!(
            "with h as materialized (
                 select found.* from unnest($1::uuid[], $2::int4[]) as k (order_id, attempt) cross join lateral (
                     select * from rounds.holds where holds.order_id = k.order_id and holds.attempt = k.attempt",
            $holds_locked,
            ") as found
             ),
             buyers as materialized (
                 select found.* from unnest($4::uuid[]) as r (round_id) cross join lateral (
                     select * from rounds.holds where holds.round_id = r.round_id
                     and status = 'committed' and not refund_requested and returned_by is null
                     order by order_id, attempt limit $5",
            $buyers_locked,
            ") as found
             ),
             drawing as materialized (
                 select round_id from rounds.rounds where round_id = any($4) and status = 'sold_out' and draw is not null
             ),
             tickets as materialized (
                 select found.* from drawing cross join lateral (
                     select * from rounds.holds where holds.round_id = drawing.round_id
                     and status = 'committed' and not refund_requested and returned_by is null
                     order by order_id, attempt",
            $tickets_locked,
            ") as found
                 union all
                 select found.* from drawing cross join lateral (
                     select * from rounds.holds where holds.round_id = drawing.round_id and keeps_ticket
                     order by order_id, attempt",
            $tickets_locked,
            ") as found
             ),
             wanted as materialized (
                 select array(select unnest($3::uuid[]) union select round_id from h) as rounds
             )
             select order_id, attempt, round_id, count, status, refund_requested, returned_by, keeps_ticket, version,
                 null::text as prize, null::int8 as total_shares, null::int8 as share_price_minor, null::text as currency,
                 null::timestamptz as closes_at, null::int8 as sold, null::int8 as held, null::int8 as refunding,
                 null::text as draw
             from (select * from h union all select * from buyers union all select * from tickets) as holds
             union all
             select null, null, round.round_id, null, round.status, null, null, null, round.version, round.prize,
                 round.total_shares, round.share_price_minor, round.currency, round.closes_at, round.sold, round.held,
                 round.refunding, round.draw::text
             from wanted cross join lateral (
                 select * from rounds.rounds where round_id = any(wanted.rounds)",
            $rounds_locked,
            ") as round"
        )
    };
}

const LOAD: &str = load!("", "", "", "");
const LOAD_LOCKED: &str =
    load!(" for update", " for update skip locked", " for update", " order by round_id for update");

/// Loads every row, without locks.
pub(crate) async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
    let query =
        "select order_id, attempt, round_id, count, status, refund_requested, returned_by, keeps_ticket, version
        from rounds.holds";
    let holds = sqlx::query(query).try_map(hold).fetch_all(&mut *connection).await?;
    let query = "select round_id, prize, total_shares, share_price_minor, currency, closes_at, status, sold, held,
        refunding, draw::text, version from rounds.rounds";
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
    let draw = row.try_get::<Option<&str>, _>("draw")?.map(serde_json::from_str).transpose();
    let draw = draw.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok((round_id, Round { offer, status, sold, held, refunding, draw, version }))
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
        keeps_ticket: row.try_get("keeps_ticket")?,
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((key, hold))
}

fn malformed(rejection: Rejection) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(rejection))
}

/// Saves what is new and what changed. A round's offer and a hold's shares never change, so they stay as they are.
pub(crate) fn save(statement: &mut Statement, state: &State) {
    let holds: Vec<(&HoldKey, &Hold, (StreamVersion, bool))> = state.holds.changed().collect();
    if !holds.is_empty() {
        bind_changed_holds(&mut statement.counted("rounds_holds_changed", holds.len(), CHANGE_HOLDS), &holds);
    }
    let rounds: Vec<(&RoundId, &Round, RoundRevision)> = state.rounds.changed().collect();
    if !rounds.is_empty() {
        bind_changed_rounds(&mut statement.counted("rounds_changed", rounds.len(), CHANGE_ROUNDS), &rounds);
    }
    let holds: Vec<(&HoldKey, &Hold)> = state.holds.created().collect();
    if !holds.is_empty() {
        bind_new_holds(&mut statement.counted("rounds_holds_created", holds.len(), CREATE_HOLDS), &holds);
    }
    let rounds: Vec<(&RoundId, &Round)> = state.rounds.created().collect();
    if !rounds.is_empty() {
        bind_new_rounds(&mut statement.counted("rounds_created", rounds.len(), CREATE_ROUNDS), &rounds);
    }
}

fn bind_new_rounds(values: &mut Values<'_>, rows: &[(&RoundId, &Round)]) {
    values
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
        .bind(column(rows, |(_, round)| draw_text(round)));
}

/// As the table has it.
fn draw_text(round: &Round) -> Option<String> {
    round.draw.as_ref().map(|draw| serde_json::json!(draw).to_string())
}

const CREATE_ROUNDS: &str = "insert into rounds.rounds (round_id, prize, total_shares, share_price_minor, currency,
        closes_at, status, sold, held, refunding, version, draw)
    select round_id, prize, total_shares, share_price_minor, currency, closes_at, status, sold, held, refunding, version,
        draw::jsonb
    from unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[], $5::text[], $6::timestamptz[], $7::text[],
        $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::text[])
        as new (round_id, prize, total_shares, share_price_minor, currency, closes_at, status, sold, held, refunding,
            version, draw)
    returning 1";

fn bind_changed_rounds(values: &mut Values<'_>, rows: &[(&RoundId, &Round, RoundRevision)]) {
    values
        .bind(column(rows, |(round_id, _, _)| round_id.0))
        .bind(column(rows, |(_, round, _)| round.status.as_str()))
        .bind(column(rows, |(_, round, _)| round.sold))
        .bind(column(rows, |(_, round, _)| round.held))
        .bind(column(rows, |(_, round, _)| round.refunding))
        .bind(column(rows, |(_, round, _)| round.version.get()))
        .bind(column(rows, |(_, _, before)| before.version.get()))
        .bind(column(rows, |(_, _, before)| before.sold))
        .bind(column(rows, |(_, _, before)| before.held))
        .bind(column(rows, |(_, _, before)| before.refunding))
        .bind(column(rows, |(_, round, _)| draw_text(round)));
}

const CHANGE_ROUNDS: &str = "update rounds.rounds set status = new.status, sold = new.sold, held = new.held,
        refunding = new.refunding, version = new.version, draw = new.draw::jsonb
    from unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[],
            $10::int8[], $11::text[])
        as new (round_id, status, sold, held, refunding, version, version_before, sold_before, held_before,
            refunding_before, draw)
    where rounds.round_id = new.round_id and rounds.version = new.version_before and rounds.sold = new.sold_before
        and rounds.held = new.held_before and rounds.refunding = new.refunding_before
    returning 1";

fn bind_new_holds(values: &mut Values<'_>, rows: &[(&HoldKey, &Hold)]) {
    values
        .bind(column(rows, |(key, _)| key.order_id.0))
        .bind(column(rows, |(key, _)| key.attempt))
        .bind(column(rows, |(_, hold)| hold.round_id.map(|round_id| round_id.0)))
        .bind(column(rows, |(_, hold)| hold.count))
        .bind(column(rows, |(_, hold)| hold.status.as_str()))
        .bind(column(rows, |(_, hold)| hold.refund_requested))
        .bind(column(rows, |(_, hold)| hold.returned_by.map(|refund_id| refund_id.0)))
        .bind(column(rows, |(_, hold)| hold.version.get()))
        .bind(column(rows, |(_, hold)| hold.keeps_ticket));
}

const CREATE_HOLDS: &str = "insert into rounds.holds (order_id, attempt, round_id, count, status, refund_requested,
        returned_by, version, keeps_ticket)
    select * from unnest($1::uuid[], $2::int4[], $3::uuid[], $4::int8[], $5::text[], $6::bool[], $7::uuid[], $8::int8[],
        $9::bool[])
    returning 1";

fn bind_changed_holds(values: &mut Values<'_>, rows: &[(&HoldKey, &Hold, (StreamVersion, bool))]) {
    values
        .bind(column(rows, |(key, _, _)| key.order_id.0))
        .bind(column(rows, |(key, _, _)| key.attempt))
        .bind(column(rows, |(_, hold, _)| hold.status.as_str()))
        .bind(column(rows, |(_, hold, _)| hold.refund_requested))
        .bind(column(rows, |(_, hold, _)| hold.returned_by.map(|refund_id| refund_id.0)))
        .bind(column(rows, |(_, hold, _)| hold.version.get()))
        .bind(column(rows, |(_, _, (before, _))| before.get()))
        .bind(column(rows, |(_, _, (_, was_named))| was_named))
        .bind(column(rows, |(_, hold, _)| hold.keeps_ticket));
}

const CHANGE_HOLDS: &str = "update rounds.holds set status = new.status, refund_requested = new.refund_requested,
        returned_by = new.returned_by, keeps_ticket = new.keeps_ticket, version = new.version
    from unnest($1::uuid[], $2::int4[], $3::text[], $4::bool[], $5::uuid[], $6::int8[], $7::int8[], $8::bool[], $9::bool[])
        as new (order_id, attempt, status, refund_requested, returned_by, version, version_before,
            refund_requested_before, keeps_ticket)
    where holds.order_id = new.order_id and holds.attempt = new.attempt and holds.version = new.version_before
        and holds.refund_requested = new.refund_requested_before
    returning 1";
