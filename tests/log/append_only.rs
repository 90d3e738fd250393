//! Who may do what to the log.

use platform::migrations::migrate;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testbed::{
    fleet::DATABASE,
    servers::{Postgres, SUPERUSER, scratch_dir},
};

#[tokio::test]
async fn a_service_reaches_its_own_schema_and_can_only_append_to_the_log() {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let postgres = Postgres::start(&dir.path().join("pg")).await.unwrap();
    let (server, admin) = (postgres.url(SUPERUSER, "postgres"), postgres.url(SUPERUSER, DATABASE));
    migrate(&server, &admin, DATABASE).await.unwrap();
    // Twice is harmless.
    migrate(&server, &admin, DATABASE).await.unwrap();

    let mut orders = PgConnection::connect(&postgres.url("holdfast_orders", DATABASE)).await.unwrap();
    let allowed = [
        "select count(*) from orders.orders",
        "select count(*) from orders.inbox",
        "select count(*) from log.events",
        "insert into log.events (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
         values ('order-x', 1, gen_random_uuid(), 'orders', 'x', '', gen_random_uuid(), gen_random_uuid(), now())",
    ];
    for statement in allowed {
        sqlx::query(statement).execute(&mut orders).await.unwrap();
    }
    let partitions = partitions(&mut orders).await;
    for partition in &partitions {
        let insert = format!("insert into {partition} select * from log.events");
        for statement in changes(partition).iter().chain([&insert]) {
            assert_eq!(refused(&mut orders, statement).await, "42501", "{statement}");
        }
    }
    let forbidden = [
        "insert into log.events (position, stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
         overriding system value values (7, 'order-y', 1, gen_random_uuid(), 'orders', 'x', '', gen_random_uuid(), gen_random_uuid(), now())",
        "select setval('log.events_position_seq', 7)",
        "select nextval('log.events_position_seq')",
        "update log.partitions set last = 1",
        "update log.events set stream = 'y'",
        "delete from log.events",
        "truncate log.events",
        "select * from inventory.stock",
        "update payments.payments set version = 1",
        "insert into rounds.timers values ('round-x', now())",
        "delete from orders.orders",
        "create table orders.mine (x int)",
    ];
    for statement in forbidden {
        assert_eq!(refused(&mut orders, statement).await, "42501", "{statement}");
    }

    let mut admin = PgConnection::connect(&admin).await.unwrap();
    for table in partitions.iter().map(String::as_str).chain(["log.events"]) {
        for statement in changes(table) {
            let error =
                sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut admin).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{statement}: {error}");
        }
    }
}

fn changes(table: &str) -> [String; 3] {
    [format!("update {table} set stream = 'y'"), format!("delete from {table}"), format!("truncate {table}")]
}

async fn partitions(connection: &mut PgConnection) -> Vec<String> {
    let query = "select relid::regclass::text from pg_partition_tree('log.events') where isleaf";
    let partitions: Vec<String> = sqlx::query_scalar(query).fetch_all(connection).await.unwrap();
    assert!(partitions.len() >= 4, "{partitions:?}");
    partitions
}

/// SQLSTATE of a refusal.
async fn refused(connection: &mut PgConnection, statement: &str) -> String {
    let error = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(connection).await.unwrap_err();
    error.as_database_error().and_then(|error| error.code()).unwrap().into_owned()
}
