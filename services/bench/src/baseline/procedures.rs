//! The limit of a plain application: one stored procedure for each step of an order, a commit each, over some connections.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use sqlx::{Connection, PgConnection, postgres::PgPoolOptions};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{TRIES, fresh};
use crate::{
    catalog::{Catalog, OrderGenerator, round_id, sku},
    latency::until_due,
    numbers::{Times, median, per_second},
};

/// What the limit of a lifecycle is.
pub(crate) const LIFECYCLE: &str = "two stored procedures an order (place and hold, pay and commit), 8 connections";

/// What the limit of a refund is.
pub(crate) const REFUND: &str = "one stored procedure a refund, 8 connections";

/// What the limit of an expiry is.
pub(crate) const EXPIRY: &str = "one SQL statement that expires and releases them all";

/// Connections at once: more are no faster on two cores.
const CONNECTIONS: u64 = 8;

/// How long it is measured, after a moment to warm up.
const MEASURED: Duration = Duration::from_secs(6);

const WARM_UP: Duration = Duration::from_secs(1);

/// Lifecycles a second: placed and held in one commit, paid and committed in another.
pub(crate) async fn lifecycles_per_second(database_url: &str, catalog: Catalog) -> Result<u64> {
    prepare(database_url, catalog).await?;
    let (done, until) = (AtomicU64::new(0), Instant::now() + WARM_UP + MEASURED);
    let buyers =
        (0..CONNECTIONS).map(|seed| buy(database_url, OrderGenerator::new(catalog, 1_000 + seed, ""), until, &done));
    let counted = async {
        platform::clock::sleep(WARM_UP).await;
        let (begun, before) = (Instant::now(), done.load(Ordering::Relaxed));
        platform::clock::sleep(MEASURED.saturating_sub(Duration::from_millis(100))).await;
        Ok(per_second(done.load(Ordering::Relaxed).saturating_sub(before), begun.elapsed()))
    };
    let (_, speed) = tokio::try_join!(try_join_all(buyers), counted)?;
    Ok(speed)
}

/// Fresh tables with products and rounds in them.
pub(super) async fn prepare(database_url: &str, catalog: Catalog) -> Result<()> {
    let mut connection = fresh(database_url).await?;
    sqlx::query("insert into bench.products select sku, 1000000000, 0 from unnest($1::text[]) as new (sku)")
        .bind((0..catalog.products).map(sku).collect::<Vec<_>>())
        .execute(&mut connection)
        .await?;
    sqlx::query("insert into bench.rounds select round_id, 1000000000, 0, 0 from unnest($1::uuid[]) as new (round_id)")
        .bind((0..catalog.rounds).map(round_id).collect::<Vec<_>>())
        .execute(&mut connection)
        .await?;
    sqlx::raw_sql("analyze bench.products; analyze bench.rounds; checkpoint").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn buy(database_url: &str, mut buyers: OrderGenerator, until: Instant, done: &AtomicU64) -> Result<()> {
    let mut connection = PgConnection::connect(database_url).await.context("connecting to measure a limit")?;
    while Instant::now() < until {
        place_and_pay(&mut connection, buyers.choice()).await?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(connection.close().await?)
}

async fn place_and_pay(connection: &mut PgConnection, choice: (Uuid, u32, u32)) -> Result<()> {
    let (order_id, product, round) = choice;
    sqlx::query("select bench.place($1, $2, $3, $4)")
        .bind(order_id)
        .bind(format!("customer-{product}"))
        .bind(sku(product))
        .bind(round_id(round))
        .execute(&mut *connection)
        .await
        .context("placing an order by a stored procedure")?;
    let paid = sqlx::query("select bench.pay($1)").bind(order_id).execute(connection).await;
    paid.context("paying an order by a stored procedure")?;
    Ok(())
}

/// How long lifecycles take at this rate, each from the moment it was due.
pub(crate) async fn times(database_url: &str, catalog: Catalog, rate: u64, seconds: u64) -> Result<Times> {
    prepare(database_url, catalog).await?;
    let pool = PgPoolOptions::new().max_connections(u32::try_from(CONNECTIONS)?).connect(database_url).await?;
    let mut buyers = OrderGenerator::new(catalog, 2_000, "");
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for number in 0..rate * seconds {
        let due = until_due(begun, number, rate).await;
        let (pool, choice) = (pool.clone(), buyers.choice());
        tasks.spawn(async move {
            let mut connection = pool.acquire().await?;
            place_and_pay(&mut connection, choice).await?;
            Ok::<_, anyhow::Error>((due, Instant::now()))
        });
    }
    let mut times = Times::new()?;
    while let Some(ended) = tasks.join_next().await {
        let (due, paid) = ended??;
        // The first second warms up.
        if due.duration_since(begun) >= WARM_UP {
            times.add(paid.duration_since(due));
        }
    }
    pool.close().await;
    Ok(times)
}

/// Refunds a second, of so many paid orders.
pub(crate) async fn refunds_per_second(database_url: &str, catalog: Catalog, count: u64) -> Result<u64> {
    prepare(database_url, catalog).await?;
    let mut connection = PgConnection::connect(database_url).await?;
    let ids = fill(&mut connection, catalog, count, "paid").await?;
    connection.close().await?;
    let begun = Instant::now();
    let share = ids.len().div_ceil(usize::try_from(CONNECTIONS)?).max(1);
    try_join_all(ids.chunks(share).map(|ids| refund(database_url, ids))).await?;
    Ok(per_second(count, begun.elapsed()))
}

async fn refund(database_url: &str, ids: &[Uuid]) -> Result<()> {
    let mut connection = PgConnection::connect(database_url).await.context("connecting to measure a limit")?;
    for id in ids {
        let refunded = sqlx::query("select bench.refund($1)").bind(id).execute(&mut connection).await;
        refunded.context("refunding an order by a stored procedure")?;
    }
    Ok(connection.close().await?)
}

/// Orders a second that one statement expires, of so many.
pub(crate) async fn expiries_per_second(database_url: &str, catalog: Catalog, count: u64) -> Result<u64> {
    let mut speeds = Vec::new();
    for _try in 0..TRIES {
        prepare(database_url, catalog).await?;
        let mut connection = PgConnection::connect(database_url).await?;
        fill(&mut connection, catalog, count, "reserved").await?;
        let begun = Instant::now();
        let expired: i64 = sqlx::query_scalar("select bench.expire()").fetch_one(&mut connection).await?;
        speeds.push(per_second(u64::try_from(expired)?, begun.elapsed()));
        connection.close().await?;
    }
    Ok(median(speeds).unwrap_or(0))
}

/// Puts in orders that are due, and what they hold or got.
async fn fill(connection: &mut PgConnection, catalog: Catalog, count: u64, status: &'static str) -> Result<Vec<Uuid>> {
    let mut buyers = OrderGenerator::new(catalog, 3, "");
    let choices: Vec<(Uuid, u32, u32)> = (0..count).map(|_order| buyers.choice()).collect();
    let ids: Vec<Uuid> = choices.iter().map(|(id, ..)| *id).collect();
    sqlx::query("select bench.fill($1, $2, $3, $4)")
        .bind(&ids)
        .bind(choices.iter().map(|(_, product, _)| sku(*product)).collect::<Vec<_>>())
        .bind(choices.iter().map(|(.., round)| round_id(*round)).collect::<Vec<_>>())
        .bind(status)
        .execute(&mut *connection)
        .await
        .context("filling the tables of the limits")?;
    sqlx::raw_sql("analyze bench.orders; checkpoint").execute(connection).await?;
    Ok(ids)
}
