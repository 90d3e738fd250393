//! What a team would write without Holdfast: one process, six SQL transactions an order, no messages, no log, and nothing that is made up
//! for when it dies between two of them.

use std::time::Instant;

use anyhow::{Result, ensure};
use sqlx::{PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::procedures::prepare;
use crate::{
    catalog::{Catalog, OrderGenerator, round_id, sku},
    latency::until_due,
    numbers::Times,
    usage::machine_us,
};

/// Connections at once.
const CONNECTIONS: u32 = 8;

/// Orders of its first so many seconds warm it up.
const WARM_UP_SECONDS: u64 = 2;

/// How it does at a steady rate.
pub(crate) struct Done {
    /// From the moment an order was due to its being paid.
    pub(crate) times: Times,
    /// Orders that were measured.
    pub(crate) orders: u64,
    /// CPU time of the whole machine meanwhile, in microseconds.
    pub(crate) machine_us: u64,
}

/// Orders at this rate, for so many seconds, each from the moment that it is due.
pub(crate) async fn steadily(database_url: &str, catalog: Catalog, rate: u64, seconds: u64) -> Result<Done> {
    prepare(database_url, catalog).await?;
    // The pool may ask each connection whether it is well: that would cost the app a round trip a transaction.
    let pool =
        PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false).connect(database_url).await?;
    let mut buyers = OrderGenerator::new(catalog, 3_000, "");
    drop(place_all(&pool, &mut buyers, rate, rate * WARM_UP_SECONDS).await?);
    let (orders, before) = (rate * seconds, machine_us());
    let times = place_all(&pool, &mut buyers, rate, orders).await?;
    let machine_us = machine_us().saturating_sub(before);
    pool.close().await;
    Ok(Done { times, orders, machine_us })
}

async fn place_all(pool: &PgPool, buyers: &mut OrderGenerator, rate: u64, count: u64) -> Result<Times> {
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for number in 0..count {
        let due = until_due(begun, number, rate).await;
        let (pool, choice) = (pool.clone(), buyers.choice());
        tasks.spawn(async move {
            let paid = place(&pool, choice).await?;
            Ok::<_, anyhow::Error>(paid.saturating_duration_since(due))
        });
    }
    let mut times = Times::new()?;
    while let Some(ended) = tasks.join_next().await {
        times.add(ended??);
    }
    Ok(times)
}

/// From placing an order to its pieces and shares sold; when it was paid.
async fn place(pool: &PgPool, (order_id, product, round): (Uuid, u32, u32)) -> Result<Instant> {
    let (sku, round_id) = (sku(product), round_id(round));
    let mut step = pool.begin().await?;
    sqlx::query(
        "insert into bench.orders
         values ($1, $2, 'pending', $3, 1, $4, 1, 1750, now(), now() + interval '30 minutes', null)",
    )
    .bind(order_id)
    .bind(format!("customer-{product}"))
    .bind(&sku)
    .bind(round_id)
    .execute(&mut *step)
    .await?;
    step.commit().await?;

    let mut step = pool.begin().await?;
    let held = sqlx::query("update bench.products set held = held + 1 where sku = $1 and on_hand - held >= 1");
    ensure!(held.bind(&sku).execute(&mut *step).await?.rows_affected() == 1, "no piece of {sku} is left");
    hold(&mut step, order_id, "stock").await?;
    step.commit().await?;

    let mut step = pool.begin().await?;
    let held = sqlx::query("update bench.rounds set held = held + 1 where round_id = $1 and total - sold - held >= 1");
    ensure!(held.bind(round_id).execute(&mut *step).await?.rows_affected() == 1, "no share of {round_id} is left");
    hold(&mut step, order_id, "shares").await?;
    become_status(&mut step, order_id, "reserved").await?;
    step.commit().await?;

    let mut step = pool.begin().await?;
    sqlx::query("insert into bench.payments (order_id, amount_minor, status) values ($1, 1750, 'requested')")
        .bind(order_id)
        .execute(&mut *step)
        .await?;
    step.commit().await?;

    let mut step = pool.begin().await?;
    sqlx::query("update bench.payments set status = 'succeeded' where order_id = $1 and status = 'requested'")
        .bind(order_id)
        .execute(&mut *step)
        .await?;
    become_status(&mut step, order_id, "paid").await?;
    step.commit().await?;
    let paid = Instant::now();

    let mut step = pool.begin().await?;
    for sold in [
        sqlx::query("update bench.holds set status = 'committed' where order_id = $1").bind(order_id),
        sqlx::query("update bench.products set held = held - 1, on_hand = on_hand - 1 where sku = $1").bind(&sku),
        sqlx::query("update bench.rounds set held = held - 1, sold = sold + 1 where round_id = $1").bind(round_id),
    ] {
        sold.execute(&mut *step).await?;
    }
    step.commit().await?;
    Ok(paid)
}

async fn hold(step: &mut PgConnection, order_id: Uuid, resource: &str) -> Result<()> {
    let held = sqlx::query("insert into bench.holds (order_id, resource, status) values ($1, $2, 'held')");
    held.bind(order_id).bind(resource).execute(step).await?;
    Ok(())
}

async fn become_status(step: &mut PgConnection, order_id: Uuid, status: &str) -> Result<()> {
    let changed = sqlx::query("update bench.orders set status = $2 where order_id = $1");
    changed.bind(order_id).bind(status).execute(step).await?;
    Ok(())
}
