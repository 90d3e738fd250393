//! Gaps: many writers that lock rows before they append, some that roll back, and two readers. The one without gap
//! detection loses events, so this test can fail; the one with it loses none and keeps every stream in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{GlobalPosition, StreamVersion};
use platform::migrations::migrate;
use rand::{Rng, SeedableRng, rngs::StdRng};
use runtime::log::event_store::{Follower, read_page};
use sqlx::{Connection, PgConnection};
use testbed::{
    fleet::DATABASE,
    servers::{Postgres, SUPERUSER, scratch_dir},
};

const WRITERS: u64 = 4;
const STREAMS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_without_gap_detection_loses_events_and_ours_does_not() {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let postgres = Postgres::start(&dir.path().join("pg")).await.unwrap();
    let url = postgres.url(SUPERUSER, DATABASE);
    migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await.unwrap();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    sqlx::query("create table versions (stream text primary key, version bigint not null)")
        .execute(&mut admin)
        .await
        .unwrap();
    sqlx::query("insert into versions select 's-' || n, 0 from generate_series(0, $1) as n")
        .bind(i32::try_from(STREAMS - 1).unwrap())
        .execute(&mut admin)
        .await
        .unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS).map(|seed| tokio::spawn(write(url.clone(), seed, Arc::clone(&stop)))).collect();
    let written_all = Arc::new(AtomicBool::new(false));
    let naive = tokio::spawn(read(url.clone(), false, Arc::clone(&written_all)));
    let ours = tokio::spawn(read(url.clone(), true, Arc::clone(&written_all)));
    // Writes until the naive reader is bound to have met a gap: counted in events, not in time.
    let enough = testbed::servers::wait_until(Duration::from_secs(60), || async {
        let mut connection = PgConnection::connect(&url).await?;
        let events: i64 = sqlx::query_scalar("select count(*) from log.events").fetch_one(&mut connection).await?;
        Ok((events > 30_000).then_some(()))
    });
    assert!(enough.await.unwrap().is_some(), "the writers wrote too little");
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    written_all.store(true, Ordering::SeqCst);
    let (naive, ours) = (naive.await.unwrap(), ours.await.unwrap());

    let written: i64 = sqlx::query_scalar("select count(*) from log.events").fetch_one(&mut admin).await.unwrap();
    let lost = |seen: &Seen| written - i64::try_from(seen.positions.len()).unwrap();
    println!("written {written}, lost without gap detection {}, with it {}", lost(&naive), lost(&ours));
    assert!(lost(&naive) > 0, "the reader without gap detection lost nothing, so this test proves nothing");
    assert_eq!(lost(&ours), 0);
    assert_eq!(ours.out_of_order, 0, "events of one stream came out of order");
}

/// Locks rows first, as a batch does; appends a few events to each of them; sometimes rolls back.
async fn write(url: String, seed: u64, stop: Arc<AtomicBool>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    while !stop.load(Ordering::SeqCst) {
        let streams: BTreeSet<String> = (0..5).map(|_| format!("s-{}", rng.random_range(0..STREAMS))).collect();
        let streams: Vec<String> = streams.into_iter().collect();
        let mut transaction = connection.begin_with("begin; select pg_current_xact_id()").await.unwrap();
        sqlx::query("select version from versions where stream = any($1) order by stream for update")
            .bind(&streams)
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query(
            "insert into log.events
                 (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
             select stream, version + n, gen_random_uuid(), 'orders', 'x', '', gen_random_uuid(), gen_random_uuid(), now()
             from versions, generate_series(1, 4) as n where stream = any($1) order by stream, n",
        )
        .bind(&streams)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query("update versions set version = version + 4 where stream = any($1)")
            .bind(&streams)
            .execute(&mut *transaction)
            .await
            .unwrap();
        if rng.random_ratio(1, 50) {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
        }
    }
}

#[derive(Default)]
struct Seen {
    positions: BTreeSet<GlobalPosition>,
    versions: BTreeMap<String, StreamVersion>,
    out_of_order: usize,
}

/// Follows the log until all is written and nothing is left.
async fn read(url: String, detect: bool, written_all: Arc<AtomicBool>) -> Seen {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut follower = Follower::after(GlobalPosition::default());
    let mut seen = Seen::default();
    let (mut checkpoint, mut deadline) = (GlobalPosition::default(), None);
    loop {
        let written_all = written_all.load(Ordering::SeqCst);
        let events = if detect {
            follower.next(&mut connection, GlobalPosition::MAX, 1_000).await.unwrap().0
        } else {
            read_page(&mut connection, checkpoint, GlobalPosition::MAX, 1_000).await.unwrap().0
        };
        for event in &events {
            checkpoint = event.position;
            seen.positions.insert(event.position);
            let before = seen.versions.insert(event.stream.clone(), event.version).unwrap_or_default();
            seen.out_of_order += usize::from(event.version <= before);
        }
        if written_all && events.is_empty() && !follower.is_waiting() {
            return seen;
        }
        if written_all {
            let limit = *deadline.get_or_insert_with(|| Instant::now() + Duration::from_secs(20));
            assert!(Instant::now() < limit, "the reader hangs at position {checkpoint}");
        }
    }
}
