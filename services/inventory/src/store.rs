//! Inventory's rows in Postgres: the only SQL.

use std::collections::{BTreeMap, BTreeSet};

use domain::{HoldKey, Lines, Memory, OrderId, RefundId, Rejection, Sku, StreamVersion, hold::Status};
use platform::{
    database::column,
    statement::{Statement, Values},
};
use runtime::service::{Locks, RowTable};
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use crate::{
    command::Command,
    hold::Hold,
    stock::{State, Stock, StockRevision},
};

/// Pieces by product, as the table shows them.
type Pieces<S> = BTreeMap<S, i64>;

/// The key of what an attempt of an order holds.
const HOLD: &[(&str, &str)] = &[("order_id", "uuid"), ("attempt", "int4")];

pub(crate) const TABLES: [RowTable; 2] = [
    RowTable { name: "inventory.holds", category: "stock", key: HOLD, part_of: None },
    RowTable { name: "inventory.stock", category: "product", key: &[("sku", "text")], part_of: None },
];

/// Loads what these commands touch: their holds, and the products of both. Locks them in this order, each table in key order.
pub(crate) async fn load(
    connection: &mut PgConnection,
    commands: &[&Command],
    locks: Locks,
) -> Result<State, sqlx::Error> {
    let mut keys = BTreeSet::new();
    let mut skus = BTreeSet::new();
    for command in commands {
        match command {
            Command::RegisterProduct { sku, .. }
            | Command::ReceiveStock { sku, .. }
            | Command::AdjustStock { sku, .. } => {
                skus.insert(sku);
            }
            Command::Hold { key, lines } => {
                keys.insert(*key);
                skus.extend(lines.keys());
            }
            Command::Commit { key } | Command::Release { key } | Command::Return { key, .. } => {
                keys.insert(*key);
            }
        }
    }
    let skus: Vec<&str> = skus.into_iter().map(Sku::as_str).collect();
    let load = match locks {
        Locks::None => LOAD,
        Locks::Rows => LOAD_LOCKED,
    };
    load_by(connection, load, keys, skus).await
}

/// Loads the rows of these names, without locks.
pub(crate) async fn load_rows(connection: &mut PgConnection, names: &[String]) -> Result<State, sqlx::Error> {
    let keys = names.iter().filter_map(|name| HoldKey::from_text(name.strip_prefix("stock-")?)).collect();
    let skus = names.iter().filter_map(|name| name.strip_prefix("product-")).collect();
    load_by(connection, LOAD, keys, skus).await
}

async fn load_by(
    connection: &mut PgConnection,
    load: &'static str,
    keys: BTreeSet<HoldKey>,
    skus: Vec<&str>,
) -> Result<State, sqlx::Error> {
    let (orders, attempts): (Vec<Uuid>, Vec<i32>) = keys.iter().map(|key| (key.order_id.0, key.attempt)).unzip();
    let rows = sqlx::query(load).bind(&orders).bind(&attempts).bind(&skus).fetch_all(connection).await?;
    let mut state = State::default();
    for row in rows {
        if row.try_get::<Option<&str>, _>("sku")?.is_some() {
            let (sku, stock) = stock(row)?;
            state.stock.load(sku, stock);
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
        Command::RegisterProduct { sku, .. } | Command::ReceiveStock { sku, .. } | Command::AdjustStock { sku, .. } => {
            memory.move_to(state, sku, |rows| &mut rows.stock)
        }
        Command::Hold { key, lines } => {
            asked.insert(*key);
            memory.move_to(state, key, |rows| &mut rows.holds);
            lines.keys().all(|sku| memory.move_to(state, sku, |rows| &mut rows.stock))
                && recall_held(memory, key, state)
        }
        Command::Commit { key } | Command::Release { key } | Command::Return { key, .. } => {
            let is_known = memory.move_to(state, key, |rows| &mut rows.holds) || asked.contains(key);
            is_known && recall_held(memory, key, state)
        }
    })
}

/// The products of a hold.
fn recall_held(memory: &mut Memory<State>, key: &HoldKey, state: &mut State) -> bool {
    let held: Vec<Sku> = state.holds.get(key).into_iter().flat_map(|hold| hold.lines.keys().cloned()).collect();
    held.iter().all(|sku| memory.move_to(state, sku, |rows| &mut rows.stock))
}

/// One probe of the primary key of the holds after the other, in the order of the arrays: of its own accord, the planner would rather
/// read a table of thousands of rows through.
macro_rules! load {
    ($holds_locked:literal, $stock_locked:literal) => {
        concat!(
            "with h as materialized (
                 select found.* from unnest($1::uuid[], $2::int4[]) as k (order_id, attempt) cross join lateral (
                     select * from inventory.holds
                     where holds.order_id = k.order_id and holds.attempt = k.attempt",
            $holds_locked,
            ") as found
             ),
             wanted as materialized (
                 select array(select unnest($3::text[]) union select jsonb_object_keys(lines) from h) as skus
             )
             select order_id, attempt, status, lines, returns, version, null::text as sku, null::text as name,
                 null::int8 as received, null::int8 as adjusted, null::int8 as committed, null::int8 as returned,
                 null::int8 as held
             from h
             union all
             select null, null, null, null, null, stock.version, stock.sku, stock.name, stock.received, stock.adjusted,
                 stock.committed, stock.returned, stock.held
             from wanted cross join lateral (
                 select * from inventory.stock where sku = any(wanted.skus)",
            $stock_locked,
            ") as stock"
        )
    };
}

const LOAD: &str = load!("", "");
const LOAD_LOCKED: &str = load!(" for update", " order by sku for update");

/// Loads every row, without locks.
pub(crate) async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
    let query = "select order_id, attempt, status, lines, returns, version from inventory.holds";
    let holds = sqlx::query(query).try_map(hold).fetch_all(&mut *connection).await?;
    let query = "select sku, name, received, adjusted, committed, returned, held, version from inventory.stock";
    let products = sqlx::query(query).try_map(stock).fetch_all(connection).await?;
    Ok(state(products, holds))
}

fn state(products: Vec<(Sku, Stock)>, holds: Vec<(HoldKey, Hold)>) -> State {
    let mut state = State::default();
    for (sku, stock) in products {
        state.stock.load(sku, stock);
    }
    for (key, hold) in holds {
        state.holds.load(key, hold);
    }
    state
}

fn stock(row: PgRow) -> Result<(Sku, Stock), sqlx::Error> {
    let stock = Stock {
        name: row.try_get("name")?,
        received: row.try_get("received")?,
        adjusted: row.try_get("adjusted")?,
        committed: row.try_get("committed")?,
        returned: row.try_get("returned")?,
        held: row.try_get("held")?,
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((Sku::parse(row.try_get("sku")?).map_err(malformed)?, stock))
}

fn hold(row: PgRow) -> Result<(HoldKey, Hold), sqlx::Error> {
    let key = HoldKey { order_id: OrderId(row.try_get("order_id")?), attempt: row.try_get("attempt")? };
    let word: &str = row.try_get("status")?;
    let status = Status::parse(word)
        .ok_or_else(|| malformed(Rejection::new("UNKNOWN_STATUS", format!("hold {key} is {word:?}"))))?;
    let Json(pieces) = row.try_get("lines")?;
    let Json(by_refund): Json<BTreeMap<Uuid, Pieces<String>>> = row.try_get("returns")?;
    let mut returns = BTreeMap::new();
    for (refund, pieces) in by_refund {
        returns.insert(RefundId(refund), lines(pieces)?);
    }
    let version = StreamVersion::new(row.try_get("version")?);
    Ok((key, Hold { status, lines: lines(pieces)?, returns, version }))
}

fn lines(pieces: Pieces<String>) -> Result<Lines, sqlx::Error> {
    pieces.into_iter().map(|(sku, quantity)| Ok((Sku::parse(&sku).map_err(malformed)?, quantity))).collect()
}

fn pieces(lines: &Lines) -> Pieces<&str> {
    lines.iter().map(|(sku, quantity)| (sku.as_str(), *quantity)).collect()
}

fn by_refund(returns: &BTreeMap<RefundId, Lines>) -> BTreeMap<Uuid, Pieces<&str>> {
    returns.iter().map(|(refund, lines)| (refund.0, pieces(lines))).collect()
}

fn malformed(rejection: Rejection) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(rejection))
}

/// Saves what is new and what changed. A product's name and a hold's lines never change, so they stay as they are.
pub(crate) fn save(statement: &mut Statement, state: &State) {
    let holds: Vec<(&HoldKey, &Hold, StreamVersion)> = state.holds.changed().collect();
    if !holds.is_empty() {
        bind_changed_holds(&mut statement.counted("inventory_holds_changed", holds.len(), CHANGE_HOLDS), &holds);
    }
    let stock: Vec<(&Sku, &Stock, StockRevision)> = state.stock.changed().collect();
    if !stock.is_empty() {
        bind_changed_stock(&mut statement.counted("stock_changed", stock.len(), CHANGE_STOCK), &stock);
    }
    let holds: Vec<(&HoldKey, &Hold)> = state.holds.created().collect();
    if !holds.is_empty() {
        bind_new_holds(&mut statement.counted("inventory_holds_created", holds.len(), CREATE_HOLDS), &holds);
    }
    let stock: Vec<(&Sku, &Stock)> = state.stock.created().collect();
    if !stock.is_empty() {
        bind_new_stock(&mut statement.counted("stock_created", stock.len(), CREATE_STOCK), &stock);
    }
}

fn bind_new_stock(values: &mut Values<'_>, rows: &[(&Sku, &Stock)]) {
    values
        .bind(column(rows, |(sku, _)| sku.as_str()))
        .bind(column(rows, |(_, stock)| stock.name.as_str()))
        .bind(column(rows, |(_, stock)| stock.received))
        .bind(column(rows, |(_, stock)| stock.adjusted))
        .bind(column(rows, |(_, stock)| stock.committed))
        .bind(column(rows, |(_, stock)| stock.returned))
        .bind(column(rows, |(_, stock)| stock.held))
        .bind(column(rows, |(_, stock)| stock.version.get()));
}

const CREATE_STOCK: &str = "insert into inventory.stock
        (sku, name, received, adjusted, committed, returned, held, version)
    select * from unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[])
    returning 1";

fn bind_changed_stock(values: &mut Values<'_>, rows: &[(&Sku, &Stock, StockRevision)]) {
    values
        .bind(column(rows, |(sku, _, _)| sku.as_str()))
        .bind(column(rows, |(_, stock, _)| stock.received))
        .bind(column(rows, |(_, stock, _)| stock.adjusted))
        .bind(column(rows, |(_, stock, _)| stock.committed))
        .bind(column(rows, |(_, stock, _)| stock.returned))
        .bind(column(rows, |(_, stock, _)| stock.held))
        .bind(column(rows, |(_, stock, _)| stock.version.get()))
        .bind(column(rows, |(_, _, before)| before.version.get()))
        .bind(column(rows, |(_, _, before)| before.committed))
        .bind(column(rows, |(_, _, before)| before.returned))
        .bind(column(rows, |(_, _, before)| before.held));
}

const CHANGE_STOCK: &str = "update inventory.stock set received = new.received, adjusted = new.adjusted,
        committed = new.committed, returned = new.returned, held = new.held, version = new.version
    from unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[],
            $10::int8[], $11::int8[])
        as new (sku, received, adjusted, committed, returned, held, version, version_before, committed_before,
            returned_before, held_before)
    where stock.sku = new.sku and stock.version = new.version_before and stock.committed = new.committed_before
        and stock.returned = new.returned_before and stock.held = new.held_before
    returning 1";

fn bind_new_holds(values: &mut Values<'_>, rows: &[(&HoldKey, &Hold)]) {
    values
        .bind(column(rows, |(key, _)| key.order_id.0))
        .bind(column(rows, |(key, _)| key.attempt))
        .bind(column(rows, |(_, hold)| hold.status.as_str()))
        .bind(column(rows, |(_, hold)| Json(pieces(&hold.lines))))
        .bind(column(rows, |(_, hold)| Json(by_refund(&hold.returns))))
        .bind(column(rows, |(_, hold)| hold.version.get()));
}

const CREATE_HOLDS: &str = "insert into inventory.holds (order_id, attempt, status, lines, returns, version)
    select * from unnest($1::uuid[], $2::int4[], $3::text[], $4::jsonb[], $5::jsonb[], $6::int8[])
    returning 1";

fn bind_changed_holds(values: &mut Values<'_>, rows: &[(&HoldKey, &Hold, StreamVersion)]) {
    values
        .bind(column(rows, |(key, _, _)| key.order_id.0))
        .bind(column(rows, |(key, _, _)| key.attempt))
        .bind(column(rows, |(_, hold, _)| hold.status.as_str()))
        .bind(column(rows, |(_, hold, _)| Json(by_refund(&hold.returns))))
        .bind(column(rows, |(_, hold, _)| hold.version.get()))
        .bind(column(rows, |(_, _, before)| before.get()));
}

const CHANGE_HOLDS: &str =
    "update inventory.holds set status = new.status, returns = new.returns, version = new.version
    from unnest($1::uuid[], $2::int4[], $3::text[], $4::jsonb[], $5::int8[], $6::int8[])
        as new (order_id, attempt, status, returns, version, before)
    where holds.order_id = new.order_id and holds.attempt = new.attempt and holds.version = new.before
    returning 1";
