//! Machines' clocks differ; the fleet has one.

use std::{fs, time::Duration};

use holdfast_tests::{Order, SkewedClock, TestFleet, eventually, guide::is_in_the_guide};

/// By how many whole seconds the clock of a worker's machine is ahead, as the worker sees it.
async fn skew(fleet: &TestFleet, worker: &str) -> Option<i64> {
    let metrics = fleet.get(worker, "/metrics").await.ok()?;
    let line = metrics.lines().find(|line| line.starts_with("holdfast_clock_skew_seconds"))?;
    line.rsplit_once(' ')?.1.split('.').next()?.parse().ok()
}

/// One of two replicas is 90 s ahead, and then 90 s behind: it closed orders whose buyers had a minute left, and placed others that were
/// overdue at birth.
#[tokio::test]
async fn an_order_lives_as_long_as_its_buyer_was_told_whatever_the_clock_of_a_replica_says() {
    let fleet = TestFleet::with(2, &[]).await.unwrap();
    let clock = SkewedClock::build(fleet.dir()).unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    for (first, seconds) in [(0, 90), (100, -90)] {
        {
            let mut processes = fleet.processes().await;
            processes.stop_worker("orders", 1).await.unwrap();
            processes.start_worker_with("orders", 1, &clock.settings(seconds)).unwrap();
            processes.ready().await.unwrap();
        }
        let is_known = |skew: Option<i64>| skew.is_some_and(|skew| (skew - seconds).abs() <= 2);
        eventually("its clock is known to be wrong", || async { Ok(is_known(skew(&fleet, "orders-1").await)) })
            .await
            .unwrap();
        let which = if seconds > 0 { "ahead of" } else { "behind" };
        let status = || async {
            let (code, status) = fleet.command(&["status"]).await?;
            let says = |said: &serde_json::Value| said.as_str().is_some_and(|said| said.contains(which));
            Ok(code == Some(1) && status["stands"].as_array().is_some_and(|stands| stands.iter().any(says)))
        };
        eventually("the status says so", status).await.unwrap();
        let (exit, diagnosis) = fleet.command(&["diagnose"]).await.unwrap();
        let findings = diagnosis["findings"].as_array().unwrap();
        assert_eq!(exit, Some(1), "{diagnosis:#}");
        // That of the worker before may be told for half a minute.
        assert!(findings.iter().all(|finding| finding["code"] == "CLOCK_SKEW"), "{diagnosis:#}");
        let mut skewed =
            findings.iter().find(|found| found["cause"].as_str().unwrap().contains(which)).unwrap().clone();
        let said = skewed["cause"].as_str().unwrap().split_once(" says: ").unwrap().1.to_owned();
        // Whose machine that is, is another each time.
        skewed["cause"] = format!("orders says: {said}").into();
        is_in_the_guide(&format!("the clock of a worker set {which} Postgres's, by 90 seconds"), &skewed).unwrap();
        let orders: Vec<Order> = (first..first + 40)
            .map(|number| {
                let pays = if number % 4 == 0 { "sandbox:never" } else { "sandbox:succeed,after=3s" };
                Order::new(number).line("MUG", 1).pays(pays).expires_after(Duration::from_secs(10))
            })
            .collect();
        fleet.place_all(&orders).await.unwrap();
        // Whoever placed it.
        let amiss = "select count(*) from orders.orders where status in ('pending', 'reserved')
            and (abs(extract(epoch from placed_at - now())) > 15 or abs(extract(epoch from expires_at - placed_at) - 10) > 1)";
        assert_eq!(fleet.number(amiss).await.unwrap(), 0, "{seconds}");
        for (number, order) in orders.iter().enumerate() {
            fleet.until_status(order, if number % 4 == 0 { "expired" } else { "paid" }).await.unwrap();
        }
    }
    fleet.settle_and_verify().await.unwrap();
    let early = "select count(*) from log.events e join orders.orders o on e.stream = 'order-' || o.order_id
        where e.type like '%.OrderExpired' and e.recorded_at < o.expires_at";
    assert_eq!(fleet.number(early).await.unwrap(), 0);
}

/// The clock of the only replica is set back by ten minutes while orders are open: nothing was due for ten minutes, and a worker that hung
/// counted as ready for as long.
#[tokio::test]
async fn a_clock_that_is_set_back_under_a_worker_changes_nothing() {
    let fleet = TestFleet::start().await.unwrap();
    let clock = SkewedClock::build(fleet.dir()).unwrap();
    let file = fleet.dir().join("off_by");
    fs::write(&file, "0").unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        processes.stop_worker("orders", 0).await.unwrap();
        processes.start_worker_with("orders", 0, &clock.settings_of_file(&file)).unwrap();
        processes.ready().await.unwrap();
    }
    let order = |number| Order::new(number).line("MUG", 1).pays("sandbox:never").expires_after(Duration::from_secs(8));
    let before: Vec<Order> = (0..10).map(order).collect();
    fleet.place_all(&before).await.unwrap();
    fs::write(&file, "-600").unwrap();
    let after: Vec<Order> = (10..20).map(order).collect();
    fleet.place_all(&after).await.unwrap();
    let amiss = "select count(*) from orders.orders where abs(extract(epoch from placed_at - now())) > 60";
    assert_eq!(fleet.number(amiss).await.unwrap(), 0);
    for order in before.iter().chain(&after) {
        fleet.until_status(order, "expired").await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    let late = "select count(*) from log.events e join orders.orders o on e.stream = 'order-' || o.order_id
        where e.type like '%.OrderExpired' and e.recorded_at - o.expires_at not between '0 s' and '30 s'";
    assert_eq!(fleet.number(late).await.unwrap(), 0);

    // A database that says nothing is noticed as soon as ever.
    fleet.processes().await.postgres.pause().unwrap();
    fleet.until_unready("orders-0", &[]).await.unwrap();
    fleet.processes().await.postgres.resume().unwrap();
    fleet.until_ready("orders-0").await.unwrap();
}
