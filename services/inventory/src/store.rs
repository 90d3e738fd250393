//! Inventory's rows in Postgres: the only SQL.

use std::collections::{BTreeMap, BTreeSet};

use domain::{HoldKey, Lines, OrderId, RefundId, Rejection, Sku, StreamVersion, hold::Status};
use platform::database::{Query, column};
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use crate::{
    command::Command,
    hold::Hold,
    stock::{State, Stock},
};

/// Pieces by product, as the table shows them.
type Pieces<S> = BTreeMap<S, i64>;

/// Locks and loads what these commands touch, each table in key order: their holds, then the products of both.
pub(crate) async fn load(connection: &mut PgConnection, commands: &[&Command]) -> Result<State, sqlx::Error> {
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
    let (orders, attempts): (Vec<Uuid>, Vec<i32>) = keys.iter().map(|key| (key.order_id.0, key.attempt)).unzip();
    // One probe of the primary key after the other, in the order of the arrays: of its own accord, the planner would
    // rather read a table of thousands of rows through.
    let query = "select h.order_id, h.attempt, h.status, h.lines, h.returns, h.version
        from unnest($1::uuid[], $2::int4[]) as k (order_id, attempt) cross join lateral (
            select * from inventory.holds where holds.order_id = k.order_id and holds.attempt = k.attempt for update
        ) as h";
    let holds = sqlx::query(query).bind(orders).bind(attempts).try_map(hold).fetch_all(&mut *connection).await?;

    skus.extend(holds.iter().flat_map(|(_, hold)| hold.lines.keys()));
    let skus: Vec<&str> = skus.into_iter().map(Sku::as_str).collect();
    let query = "select sku, name, received, adjusted, committed, returned, held, version from inventory.stock
        where sku = any($1) order by sku for update";
    let products = sqlx::query(query).bind(skus).try_map(stock).fetch_all(connection).await?;
    Ok(state(products, holds))
}

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

/// Writes what is new and what changed: but for new products, in one statement. A product's name and a hold's lines never
/// change, so they stay as they are.
pub(crate) async fn save(connection: &mut PgConnection, state: &State) -> Result<(), sqlx::Error> {
    insert_stock(&mut *connection, &state.stock.created().collect::<Vec<_>>()).await?;
    let stock: Vec<(&Sku, &Stock)> = state.stock.changed().collect();
    let created: Vec<(&HoldKey, &Hold)> = state.holds.created().collect();
    let changed: Vec<(&HoldKey, &Hold)> = state.holds.changed().collect();
    if stock.is_empty() && created.is_empty() && changed.is_empty() {
        return Ok(());
    }
    let query = bind_stock(sqlx::query(SAVE), &stock);
    bind_changed_holds(bind_new_holds(query, &created), &changed).execute(connection).await?;
    Ok(())
}

async fn insert_stock(connection: &mut PgConnection, rows: &[(&Sku, &Stock)]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let query = "insert into inventory.stock (sku, name, received, adjusted, committed, returned, held, version)
        select * from unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[],
            $8::int8[])";
    sqlx::query(query)
        .bind(column(rows, |(sku, _)| sku.as_str()))
        .bind(column(rows, |(_, stock)| stock.name.as_str()))
        .bind(column(rows, |(_, stock)| stock.received))
        .bind(column(rows, |(_, stock)| stock.adjusted))
        .bind(column(rows, |(_, stock)| stock.committed))
        .bind(column(rows, |(_, stock)| stock.returned))
        .bind(column(rows, |(_, stock)| stock.held))
        .bind(column(rows, |(_, stock)| stock.version.get()))
        .execute(connection)
        .await?;
    Ok(())
}

fn bind_stock<'q>(query: Query<'q>, rows: &[(&'q Sku, &'q Stock)]) -> Query<'q> {
    query
        .bind(column(rows, |(sku, _)| sku.as_str()))
        .bind(column(rows, |(_, stock)| stock.received))
        .bind(column(rows, |(_, stock)| stock.adjusted))
        .bind(column(rows, |(_, stock)| stock.committed))
        .bind(column(rows, |(_, stock)| stock.returned))
        .bind(column(rows, |(_, stock)| stock.held))
        .bind(column(rows, |(_, stock)| stock.version.get()))
}

fn bind_new_holds<'q>(query: Query<'q>, rows: &[(&'q HoldKey, &'q Hold)]) -> Query<'q> {
    query
        .bind(column(rows, |(key, _)| key.order_id.0))
        .bind(column(rows, |(key, _)| key.attempt))
        .bind(column(rows, |(_, hold)| hold.status.as_str()))
        .bind(column(rows, |(_, hold)| Json(pieces(&hold.lines))))
        .bind(column(rows, |(_, hold)| Json(by_refund(&hold.returns))))
        .bind(column(rows, |(_, hold)| hold.version.get()))
}

fn bind_changed_holds<'q>(query: Query<'q>, rows: &[(&'q HoldKey, &'q Hold)]) -> Query<'q> {
    query
        .bind(column(rows, |(key, _)| key.order_id.0))
        .bind(column(rows, |(key, _)| key.attempt))
        .bind(column(rows, |(_, hold)| hold.status.as_str()))
        .bind(column(rows, |(_, hold)| Json(by_refund(&hold.returns))))
        .bind(column(rows, |(_, hold)| hold.version.get()))
}

const SAVE: &str = "with stock_saved as (
        update inventory.stock set received = new.received, adjusted = new.adjusted,
                committed = new.committed, returned = new.returned, held = new.held, version = new.version
            from unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[])
                as new (sku, received, adjusted, committed, returned, held, version)
            where stock.sku = new.sku
    ),
    holds_added as (
        insert into inventory.holds (order_id, attempt, status, lines, returns, version)
            select * from unnest($8::uuid[], $9::int4[], $10::text[], $11::jsonb[], $12::jsonb[], $13::int8[])
    )
    update inventory.holds set status = new.status, returns = new.returns, version = new.version
        from unnest($14::uuid[], $15::int4[], $16::text[], $17::jsonb[], $18::int8[])
            as new (order_id, attempt, status, returns, version)
        where holds.order_id = new.order_id and holds.attempt = new.attempt";
