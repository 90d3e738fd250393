//! A way to Postgres that says nothing any more, as when the machine at its end is frozen or gone: what is sent over it is taken, and nothing
//! ever comes back. Only a new connection finds the Postgres that is there.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use futures::FutureExt;
use holdfast_tests::{Order, TestFleet, eventually};
use platform::database::Pool;
use sqlx::postgres::PgPoolOptions;
use tokio::{
    io::{copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A way to this port, and what makes all connections that it carries by then fall silent. One ends when its client ends it.
async fn way(upstream: u16) -> (SocketAddr, watch::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (silence, silenced) = watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut silenced = silenced.clone();
            silenced.mark_unchanged();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
                tokio::select! {
                    ended = copy_bidirectional(&mut client, &mut server) => ended.map(drop),
                    _silent = silenced.changed() => copy(&mut client, &mut sink()).await.map(drop),
                }
            });
        }
    });
    (address, silence)
}

/// A worker waited for as long as the way was silent: its kernel asks again for a quarter of an hour, and a frozen one answers for its dead.
#[tokio::test]
async fn a_session_that_is_never_answered_is_let_go_and_work_goes_on_over_another() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let silence = {
        let mut processes = fleet.processes().await;
        let (way, silence) = way(processes.postgres.port()).await;
        for service in proto::SERVICES {
            let url = format!("postgres://holdfast_{service}@{way}/holdfast?sslmode=disable");
            processes.stop_worker(service, 0).await.unwrap();
            let settings = BTreeMap::from([("HOLDFAST_DATABASE_URL".to_owned(), url)]);
            processes.start_worker_with(service, 0, &settings).unwrap();
        }
        silence
    };
    // Each has sessions of all its kinds by then, and one of them is the relay.
    let before = Order::new(1).line("MUG", 1);
    fleet.place(&before).await.unwrap();
    fleet.until_status(&before, "paid").await.unwrap();
    silence.send_replace(());
    let order = Order::new(2).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    assert!(fleet.processes().await.ended_workers().is_empty());
    fleet.settle_and_verify().await.unwrap();
}

/// The place of one that was let go would be kept by it for as long.
#[tokio::test]
async fn its_place_in_the_pool_is_free_again() {
    let fleet = TestFleet::start().await.unwrap();
    let (way, silence) = way(fleet.processes().await.postgres.port()).await;
    let url = format!("postgres://holdfast_orders@{way}/holdfast?sslmode=disable");
    let sessions = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let pool = Pool::new(sessions).answered_within(Duration::from_secs(1));
    let ask = || async { sqlx::query_scalar::<_, i32>("select 1").fetch_one(&pool).await };
    assert_eq!(ask().await.unwrap(), 1);
    silence.send_replace(());
    let unanswered = ask().await.unwrap_err().to_string();
    assert!(unanswered.contains("has not answered for 1 s"), "{unanswered}");
    eventually("a session that is answered", || async { Ok(ask().await.is_ok()) }).await.unwrap();
}

/// Postgres had begun a transaction that nobody waited for, and others wrote in it, and were told that it was done.
#[tokio::test]
async fn a_session_whose_transaction_was_left_is_not_given_to_others() {
    let fleet = TestFleet::start().await.unwrap();
    let sessions = PgPoolOptions::new().max_connections(1).connect(&fleet.address.database_url).await.unwrap();
    let pool = Pool::new(sessions);
    let asked = || async { sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&pool).await.unwrap() };
    let first = asked().await;
    let mut session = pool.session().await.unwrap();
    assert!(session.begin().now_or_never().is_none(), "it was answered at once");
    drop(session);
    assert_ne!(asked().await, first);
}
