//! Outside calls: what a dead process may have sent is not forgotten, and a call that nobody can make is not made for ever.

use holdfast_tests::{Order, TestFleet, is_accepted};
use sqlx::{Connection, PgConnection};

/// Settings with which no try follows another before this test says so.
const ONE_BY_ONE: [(&str, &str); 3] = [
    ("HOLDFAST_EFFECTS_BACKOFF_MS", "3600000"),
    ("HOLDFAST_EFFECTS_BACKOFF_MAX_MS", "3600000"),
    ("HOLDFAST_EFFECTS_POLL_MS", "50"),
];

/// How many tries the call has had that waits for its next one, and is not being made.
const TRIES: &str = "select coalesce(max(attempts), 0)::int8 from payments.effects
    where due_at > now() + interval '1 minute' and due_at < 'infinity'";

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

/// A paid order whose refund fails for sure twice, and then succeeds, one try at a time.
async fn refunding() -> (TestFleet, Order) {
    let fleet = TestFleet::with(1, &ONE_BY_ONE).await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let order = Order::new(1).line("MUG", 1).pays("sandbox:succeed,refund=fail_then_succeed");
    fleet.place_all(std::slice::from_ref(&order)).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    assert!(is_accepted(&fleet.send_new(&order.refund()).await.unwrap()));
    (fleet, order)
}

/// Two tries fail for sure, and between them one whose process was killed: what it sent may reach the provider yet, so the third is no
/// reason to give the refund up.
#[tokio::test]
async fn a_try_that_ended_without_a_word_keeps_a_refund_from_being_given_up() {
    let (fleet, order) = refunding().await;
    fleet.until(TRIES, 1).await.unwrap();
    assert_eq!(fleet.number("select settled_attempts::int8 from payments.effects").await.unwrap(), 1);

    // As a process leaves it that is killed while it calls: counted, and nothing noted.
    let mut database = fleet.database().await.unwrap();
    run(&mut database, "update payments.effects set attempts = 2, due_at = now()").await;
    fleet.until(TRIES, 3).await.unwrap();
    assert_eq!(fleet.number("select settled_attempts::int8 from payments.effects").await.unwrap(), 1);
    assert_eq!(fleet.number("select count(*) from payments.refunds where status = 'refunding'").await.unwrap(), 1);
    run(&mut database, "update payments.effects set due_at = now()").await;
    fleet.until_status(&order, "refunded").await.unwrap();
    database.close().await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// A call whose event no program can read: it is a dead letter at once, is not tried again, and whoever mends it has it made.
#[tokio::test]
async fn a_call_that_can_never_be_read_is_a_dead_letter_and_is_not_made_for_ever() {
    let (fleet, order) = refunding().await;
    fleet.until("select count(*) from payments.effects where attempts = 1 and settled_attempts = 1", 1).await.unwrap();

    let mut database = fleet.database().await.unwrap();
    run(
        &mut database,
        "create table public.kept as select data from payments.effects;
         update payments.effects set data = '\\xffff', due_at = now()",
    )
    .await;
    fleet.until("select count(*) from payments.dead_letters where subject like 'effect.%'", 1).await.unwrap();
    assert_eq!(fleet.number("select count(*) from payments.effects where due_at = 'infinity'").await.unwrap(), 1);
    run(&mut database, "update payments.effects set data = (select data from public.kept), due_at = now()").await;
    fleet.until(TRIES, 3).await.unwrap();
    run(&mut database, "update payments.effects set due_at = now()").await;
    fleet.until_status(&order, "refunded").await.unwrap();
    database.close().await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}
