//! What a rebuild finds in tables and logs that were written by hand, on a real Postgres, and what stops it.

use std::time::Duration;

use anyhow::Result;
use audit::{
    rebuild::{Drift, Found, Question, look},
    replay::Kind,
};
use inventory::Inventory;
use platform::migrations;
use proto::{
    Message, Name,
    inventory::v1::{ProductRegistered, StockReceived},
};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use testbed::servers::{Postgres, SUPERUSER, scratch_dir};
use uuid::Uuid;

const DATABASE: &str = "holdfast";

/// A database with a log and rows, and nobody at work.
struct Shop {
    connection: PgConnection,
    url: String,
    _servers: (Postgres, TempDir),
}

impl Shop {
    async fn start() -> Result<Self> {
        let dir = scratch_dir("holdfast-rebuild-")?;
        let postgres = Postgres::start(dir.path()).await?;
        let url = postgres.url(SUPERUSER, DATABASE);
        migrations::migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await?;
        let connection = PgConnection::connect(&url).await?;
        Ok(Self { connection, url, _servers: (postgres, dir) })
    }

    async fn append(&mut self, version: i64, kind: &str, data: Vec<u8>) -> Result<i64> {
        let query = "insert into log.events
                (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
            values ('product-mug', $1, gen_random_uuid(), 'inventory', $2, $3, $4, $4, now()) returning position";
        let query = sqlx::query_scalar(query).bind(version).bind(kind).bind(data).bind(Uuid::NAMESPACE_URL);
        Ok(query.fetch_one(&mut self.connection).await?)
    }

    /// A mug, of which ten came.
    async fn stock(&mut self) -> Result<()> {
        let (sku, name, text) = ("mug".to_owned(), "Mug".to_owned(), String::new);
        let registered = ProductRegistered { sku: sku.clone(), name, actor: text() };
        let received = StockReceived { sku, quantity: 10, reference: text(), actor: text() };
        self.append(1, &ProductRegistered::full_name(), registered.encode_to_vec()).await?;
        self.append(2, &StockReceived::full_name(), received.encode_to_vec()).await?;
        let row = "insert into inventory.stock (sku, name, received, adjusted, committed, returned, held, version)
            values ('mug', 'Mug', 10, 0, 0, 0, 0, 2)";
        self.connection.execute(row).await?;
        Ok(())
    }

    async fn look(&self) -> Result<Found<Inventory>> {
        look(&self.url, question(Duration::from_secs(30)), |_progress| ()).await
    }

    async fn found(&self) -> Result<Vec<(String, Drift)>> {
        let found = self.look().await?;
        Ok(found.differences.into_iter().map(|difference| (difference.name, difference.drift)).collect())
    }

    async fn refusal(&self, stall_max: Duration) -> String {
        let looked = look::<Inventory>(&self.url, question(stall_max), |_progress| ()).await;
        looked.map_or_else(|error| format!("{error:#}"), |found| format!("it found {:?}", found.differences))
    }
}

fn question(stall_max: Duration) -> Question {
    Question { kind: Kind::Stock, max_rate: None, stall_max }
}

#[tokio::test]
async fn a_row_that_differs_is_missing_or_has_no_events_is_named() -> Result<()> {
    let mut shop = Shop::start().await?;
    shop.stock().await?;
    assert_eq!(shop.found().await?, []);
    let found = shop.look().await?;
    assert_eq!((found.rows, found.events(), found.position().get()), (1, 2, 2));
    let mug = |drift| ("product-mug".to_owned(), drift);
    shop.connection.execute("update inventory.stock set name = 'Cup'").await?;
    assert_eq!(shop.found().await?, [mug(Drift::Differs)]);
    assert_eq!(shop.look().await?.differences[0].what, "name: the row says Cup, its events say Mug");
    shop.connection.execute("update inventory.stock set name = 'Mug', sku = 'cup'").await?;
    assert_eq!(shop.found().await?, [("product-cup".to_owned(), Drift::Orphan), mug(Drift::Missing)]);
    Ok(())
}

#[tokio::test]
async fn an_empty_log_makes_no_rows_and_so_takes_none_away() -> Result<()> {
    let mut shop = Shop::start().await?;
    let row = "insert into inventory.holds values (gen_random_uuid(), 1, 'released', '{}', '{}', 1)";
    shop.connection.execute(row).await?;
    let refusal = shop.refusal(Duration::from_secs(30)).await;
    assert!(refusal.contains("the log is empty"), "{refusal}");
    Ok(())
}

#[tokio::test]
async fn an_event_that_cannot_be_read_or_is_missing_stops_it_by_name() -> Result<()> {
    let mut shop = Shop::start().await?;
    shop.stock().await?;
    let far = shop.append(4, &StockReceived::full_name(), StockReceived::default().encode_to_vec()).await?;
    let refusal = shop.refusal(Duration::from_secs(30)).await;
    assert!(refusal.contains(&format!("stopped at position {far}, at the event holdfast.inventory.v1.StockReceived, version 4 of product-mug; no row was changed")), "{refusal}");
    let mut shop = Shop::start().await?;
    shop.stock().await?;
    let poison = shop.append(3, &StockReceived::full_name(), vec![255]).await?;
    let refusal = shop.refusal(Duration::from_secs(30)).await;
    for words in [
        &format!("stopped at position {poison}"),
        "StockReceived",
        "version 3 of product-mug",
        "cannot be read by this release",
    ] {
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    Ok(())
}

#[tokio::test]
async fn a_fold_that_stands_still_is_given_up_with_its_position() -> Result<()> {
    let mut shop = Shop::start().await?;
    shop.stock().await?;
    shop.connection.execute("begin; lock table log.events in access exclusive mode").await?;
    let refusal = shop.refusal(Duration::from_millis(300)).await;
    assert!(refusal.contains("has stood still behind position 0"), "{refusal}");
    Ok(())
}
