//! Who may do what to the log.

use platform::migrations::migrate;
use sqlx::{Connection, PgConnection};
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
    let refused = [
        "update log.events set stream = 'y'",
        "delete from log.events",
        "truncate log.events",
        "select * from inventory.stock",
        "update payments.payments set version = 1",
        "insert into rounds.timers values ('round-x', now())",
        "delete from orders.orders",
        "create table orders.mine (x int)",
    ];
    for statement in refused {
        let error = sqlx::query(statement).execute(&mut orders).await.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
    }

    let mut admin = PgConnection::connect(&admin).await.unwrap();
    for statement in ["update log.events set stream = 'y'", "delete from log.events", "truncate log.events"] {
        let error = sqlx::query(statement).execute(&mut admin).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
}
