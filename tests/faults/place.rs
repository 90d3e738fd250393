//! A defect of the place that is written to is none of the messages that meet it: whoever works there waits and says why, nothing is given up
//! that is not its own fault, and whatever somebody is owed comes again.

use std::time::{Duration, Instant};

use futures::future::join_all;
use holdfast_tests::{Order, TestFleet, is_accepted};
use sqlx::Executor;

use crate::refused::DEAD_LETTERS;

async fn does(fleet: &TestFleet, statement: &'static str) {
    fleet.database().await.unwrap().execute(statement).await.unwrap();
}

/// Orders of every kind whose fate is decided while the log takes nothing in: to be placed, to be paid, to expire, to be refunded.
struct Town {
    placed: Vec<Order>,
    paid: Vec<Order>,
    expired: Vec<Order>,
    refunded: Order,
}

impl Town {
    async fn open(fleet: &TestFleet) -> Self {
        fleet.stock("MUG", 1_000).await.unwrap();
        let many = |first: u64, pays: &str, time: Duration| -> Vec<Order> {
            (first..first + 10).map(|number| Order::new(number).line("MUG", 1).pays(pays).expires_after(time)).collect()
        };
        let placed = many(100, "sandbox:succeed", Duration::from_secs(600));
        let paid = many(200, "sandbox:succeed,after=5s", Duration::from_secs(600));
        let expired = many(300, "sandbox:never", Duration::from_secs(6));
        let refunded = Order::new(400).line("MUG", 1).pays("sandbox:succeed,refund=succeed,refund_after=4s");
        let refunded = fleet.paid(refunded).await.unwrap();
        fleet.place_all(&paid).await.unwrap();
        fleet.place_all(&expired).await.unwrap();
        fleet.until("select count(*) from orders.orders where status = 'reserved'", 20).await.unwrap();
        assert!(is_accepted(&fleet.send_new(&refunded.refund()).await.unwrap()));
        fleet.until("select count(*) from payments.refunds where status = 'refunding'", 1).await.unwrap();
        Self { placed, paid, expired, refunded }
    }

    /// Once the place is mended, everything is as it would have been.
    async fn is_well(&self, fleet: &TestFleet) {
        for (orders, status) in [(&self.placed, "paid"), (&self.paid, "paid"), (&self.expired, "expired")] {
            for order in orders {
                fleet.until_status(order, status).await.unwrap();
            }
        }
        fleet.until_status(&self.refunded, "refunded").await.unwrap();
        fleet.settle_and_verify().await.unwrap();
        assert_eq!(fleet.number(DEAD_LETTERS).await.unwrap(), 0);
    }
}

/// The log takes nothing in, for everybody, from now on until it is mended; and meanwhile more orders are placed.
async fn a_log_that_takes_nothing_in(plant: &'static str, why: &str, mend: &'static str) {
    let fleet = TestFleet::start().await.unwrap();
    let town = Town::open(&fleet).await;
    does(&fleet, plant).await;
    let mending = async {
        for worker in ["orders-0", "payments-0"] {
            fleet.until_unready(worker, &[why]).await.unwrap();
        }
        does(&fleet, mend).await;
    };
    let placing = join_all(town.placed.iter().map(|order| fleet.place(order)));
    let (placed, ()) = tokio::join!(placing, mending);
    // A refusal is final, and nobody was refused.
    assert!(placed.into_iter().all(|reply| is_accepted(&reply.unwrap())));
    for worker in ["orders-0", "inventory-0", "rounds-0", "payments-0"] {
        fleet.until_ready(worker).await.unwrap();
    }
    town.is_well(&fleet).await;
}

#[tokio::test]
async fn a_sequence_behind_its_table_costs_nothing_but_time() {
    // So that no try gets past what is there.
    a_log_that_takes_nothing_in(
        "alter sequence log.events_position_seq maxvalue 20 cycle restart with 1",
        "events_1_pkey",
        "alter sequence log.events_position_seq no maxvalue no cycle restart with 100000",
    )
    .await;
}

#[tokio::test]
async fn a_log_without_a_partition_for_what_comes_costs_nothing_but_time() {
    a_log_that_takes_nothing_in(
        "alter table log.events add constraint planted check (position < 0) not valid",
        "planted",
        "alter table log.events drop constraint planted",
    )
    .await;
}

/// The money has moved, and nobody would have known: the outcome was buried, and the call with it.
#[tokio::test]
async fn a_refund_whose_outcome_cannot_be_recorded_keeps_its_call() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let order = Order::new(1).line("MUG", 1).pays("sandbox:succeed,refund=succeed");
    let order = fleet.paid(order).await.unwrap();
    // What the deciders let through and the database does not.
    does(&fleet, "alter table payments.refunds add constraint planted check (status <> 'refunded') not valid").await;
    assert!(is_accepted(&fleet.send_new(&order.refund()).await.unwrap()));
    fleet.until("select count(*) from payments.dead_letters where subject like 'effect.%'", 1).await.unwrap();
    assert_eq!(fleet.number("select count(*) from payments.effects where due_at > now()").await.unwrap(), 1);
    does(&fleet, "alter table payments.refunds drop constraint planted").await;
    does(&fleet, "update payments.effects set due_at = now()").await;
    fleet.until_status(&order, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// Rows that take nothing in at all: the first to meet it may be given up, and nobody after it; and no timer is lost.
#[tokio::test]
async fn of_rows_that_take_nothing_in_one_message_pays_at_most() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    let expiring: Vec<Order> = (0..10)
        .map(|number| Order::new(number).line("MUG", 1).pays("sandbox:never").expires_after(Duration::from_secs(5)))
        .collect();
    fleet.place_all(&expiring).await.unwrap();
    fleet.until("select count(*) from orders.orders where status = 'reserved'", 10).await.unwrap();
    does(&fleet, "alter table orders.orders add constraint planted check (version < 0) not valid").await;
    let placed: Vec<Order> = (100..120).map(|number| Order::new(number).line("MUG", 1)).collect();
    let mending = async {
        fleet.until_unready("orders-0", &["planted"]).await.unwrap();
        does(&fleet, "alter table orders.orders drop constraint planted").await;
    };
    let placing = join_all(placed.iter().map(|order| fleet.place(order)));
    let (replies, ()) = tokio::join!(placing, mending);
    let refused = replies.iter().filter(|reply| !is_accepted(reply.as_ref().unwrap())).count();
    assert!(refused <= 1, "{replies:?}");
    fleet.until_ready("orders-0").await.unwrap();
    does(
        &fleet,
        "update orders.timers set due_at = now() where stream in (select 'order-' || order_id from orders.orders
        where status = 'reserved' and expires_at < now())",
    )
    .await;
    for order in &expiring {
        fleet.until_status(order, "expired").await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert!(fleet.number(DEAD_LETTERS).await.unwrap() <= 1);
}

/// Sessions that were told to read only, by a setting that is gone since: they went on reading for half an hour.
#[tokio::test]
async fn a_database_that_was_made_read_only_for_a_while_is_written_to_soon_after() {
    let fleet = TestFleet::start().await.unwrap();
    let town = Town::open(&fleet).await;
    does(&fleet, "alter database holdfast set default_transaction_read_only = on").await;
    does(&fleet, "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()").await;
    let mending = async {
        // Also those that have nothing to do.
        for worker in ["orders-0", "inventory-0", "rounds-0", "payments-0"] {
            fleet.until_unready(worker, &["read"]).await.unwrap();
        }
        let mut operator = fleet.database().await.unwrap();
        operator.execute("set default_transaction_read_only = off").await.unwrap();
        operator.execute("alter database holdfast reset default_transaction_read_only").await.unwrap();
        let since = Instant::now();
        for worker in ["orders-0", "inventory-0", "rounds-0", "payments-0"] {
            fleet.until_ready(worker).await.unwrap();
        }
        since.elapsed()
    };
    let placing = join_all(town.placed.iter().map(|order| fleet.place(order)));
    let (placed, took) = tokio::join!(placing, mending);
    assert!(placed.into_iter().all(|reply| is_accepted(&reply.unwrap())));
    assert!(took < Duration::from_secs(10), "{took:?}");
    town.is_well(&fleet).await;
}

/// A statement may take so long and no longer. The same batch was tried again and again, and always took too long.
#[tokio::test]
async fn what_takes_longer_than_a_statement_may_is_done_in_smaller_parts() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    // Each row costs 10 ms, and a batch has hundreds.
    let slow = "create function orders.slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.01); return new; end';
        create trigger slow before insert on orders.orders for each row execute function orders.slow();
        alter role holdfast_orders set statement_timeout = '300ms'";
    sqlx::raw_sql(slow).execute(&mut fleet.database().await.unwrap()).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        processes.stop_worker("orders", 0).await.unwrap();
        processes.start_worker("orders", 0).unwrap();
    }
    let orders: Vec<Order> = (0..300).map(|number| Order::new(number).line("MUG", 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 300);
    assert_eq!(fleet.number(DEAD_LETTERS).await.unwrap(), 0);
}

/// Connections that suffice for the batch and for nothing else: orders were paid, no refund ever went out, and every probe said "ready".
#[tokio::test]
async fn a_worker_without_connections_enough_says_so() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.until_ready("payments-0").await.unwrap();
    does(&fleet, "alter role holdfast_payments connection limit 1").await;
    does(&fleet, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'holdfast_payments'").await;
    fleet.until_unready("payments-0", &["too many connections"]).await.unwrap();
    does(&fleet, "alter role holdfast_payments connection limit -1").await;
    fleet.until_ready("payments-0").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// Positions of the log that were never used, as after a rollback, are given out again: nobody would publish what stands there.
#[tokio::test]
async fn a_log_that_has_gone_back_is_not_written_to() {
    let fleet = TestFleet::start().await.unwrap();
    does(&fleet, "select setval('log.events_position_seq', 1000)").await;
    fleet.stock("MUG", 100).await.unwrap();
    fleet.paid(Order::new(0).line("MUG", 1)).await.unwrap();
    fleet.settle().await.unwrap();
    does(&fleet, "alter sequence log.events_position_seq maxvalue 900 cycle restart with 500").await;
    let order = Order::new(1).line("MUG", 1);
    let mending = async {
        fleet.until_unready("orders-0", &["the log has gone back"]).await.unwrap();
        does(&fleet, "alter sequence log.events_position_seq no maxvalue no cycle restart with 2000").await;
    };
    let (placed, ()) = tokio::join!(fleet.place(&order), mending);
    assert!(is_accepted(&placed.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from log.events where position between 500 and 900").await.unwrap(), 0);
}
