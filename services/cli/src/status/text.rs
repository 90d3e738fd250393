//! The status as aligned tables: what is in order plain, what somebody must look at in red.

use std::time::Duration;

use audit::status::{
    Status,
    broker::Broker,
    database::{Counts, Database, Due, Log},
};
use domain::written;
use platform::print::{Cell, Look, Paint, Table, short};

use crate::waiting;

/// Words of a dead letter's reason that fit on a line.
const REASON_CHARS_MAX: usize = 100;

/// All of it.
pub(super) fn text(status: &Status, paint: Paint) -> String {
    let Status { database, broker, stands } = status;
    let mut text = format!("{}\n", paint.text(&format!("Holdfast at {}", database.at), Look::Dim));
    for what in stands {
        text.push_str(&format!("{}\n", paint.text(&format!("Does not go on: {what}"), Look::Bad)));
    }
    let mut section = |title: &str, body: &Table| {
        text.push_str(&format!("{}\n{}", paint.text(title, Look::Bold), body.text(paint)));
    };
    section("Orders and holds", &orders(database));
    section("Money", &money(database));
    section("Due work", &due_work(database));
    section("Log", &log(&database.log));
    section("Broker", &messages(broker));
    section("Dead letters", &dead_letters(database));
    text + &paint.text("Waiting for a person", Look::Bold) + "\n" + &waiting::text(&database.waiting, paint)
}

fn orders(database: &Database) -> Table {
    let mut table = Table::default();
    table.row(["orders".into(), by_status(&database.orders, &[])]);
    table.row(["stock holds".into(), by_status(&database.stock_holds, &[])]);
    table.row(["share holds".into(), by_status(&database.share_holds, &[])]);
    table.row(["rounds".into(), by_status(&database.rounds, &[])]);
    table.row(["coupon uses".into(), by_status(&database.coupon_uses, &[])]);
    table.row(["wallet funds".into(), by_status(&database.funds, &[])]);
    table.row(["coupons".into(), by_status(&database.coupons, &[])]);
    table.row(["refunds".into(), by_status(&database.refunds, &["unknown", "reversed"])]);
    // Many fleets send none.
    if !database.mails.is_empty() {
        table.row(["mails".into(), by_status(&database.mails, &["refused", "unknown"])]);
    }
    table
}

/// `12 held · 3 released`, red if there is one of `bad`.
fn by_status(counts: &Counts, bad: &[&str]) -> Cell {
    let words: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {status}")).collect();
    let is_bad = bad.iter().any(|status| counts.get(*status).is_some_and(|count| *count > 0));
    let look = if is_bad { Look::Bad } else { Look::Plain };
    if words.is_empty() { Cell::new("none", Look::Dim) } else { Cell::new(words.join(" · "), look) }
}

fn head<const N: usize>(words: [&str; N]) -> [Cell; N] {
    words.map(|word| Cell::new(word, Look::Dim))
}

fn money(database: &Database) -> Table {
    let mut table = Table::default();
    if database.payments.is_empty() {
        table.row([Cell::new("none", Look::Dim)]);
        return table;
    }
    table.row(head(["payments", "count", "asked", "captured", "going back", "gone back", "charged back"]));
    for of in &database.payments {
        table.row([
            of.status.as_str().into(),
            of.payments.into(),
            written(of.asked_minor, &of.currency).into(),
            written(of.captured_minor, &of.currency).into(),
            written(of.refunding_minor, &of.currency).into(),
            written(of.refunded_minor, &of.currency).into(),
            written(of.charged_back_minor, &of.currency).into(),
        ]);
    }
    table
}

fn due_work(database: &Database) -> Table {
    let mut table = Table::default();
    table.row(head(["", "waiting", "overdue", "oldest"]));
    let timers = database.timers.iter().map(|(service, due)| (service, "timers", due));
    let effects = database.effects.iter().map(|(service, due)| (service, "outside calls", due));
    for (service, what, Due { waiting, overdue, oldest_ms }) in timers.chain(effects) {
        // Most services have neither timers nor outside calls.
        if *waiting > 0 {
            let look = if *oldest_ms > 10_000 { Look::Bad } else { Look::Plain };
            let oldest = if *overdue > 0 { short(Duration::from_millis(*oldest_ms)) } else { String::new() };
            table.row([
                format!("{service} {what}").into(),
                (*waiting).into(),
                Cell::new(overdue, look),
                Cell::new(oldest, look),
            ]);
        }
    }
    table
}

fn log(log: &Log) -> Table {
    let mut table = Table::default();
    table.row(["head".into(), log.head.into()]);
    let behind = match log.lag {
        0 => Cell::new("nothing waits", Look::Dim),
        lag => format!("{lag} behind, the first for {}", short(Duration::from_millis(log.lag_ms))).into(),
    };
    table.row(["published".into(), log.published.into(), behind]);
    table.row(["handled".into(), log.handled.into(), Cell::new("by every consumer, at least", Look::Dim)]);
    if let Some(position) = log.gap_at {
        let what = "the relay waits for the transaction that drew this position";
        table.row([Cell::new("gap", Look::Bad), Cell::new(position, Look::Bad), Cell::new(what, Look::Bad)]);
    }
    table
}

fn messages(broker: &Broker) -> Table {
    let mut table = Table::default();
    if let Some(problem) = &broker.problem {
        table.row([Cell::new(problem, Look::Bad)]);
        return table;
    }
    table.row(head(["", "", "pending", "unacked", "again"]));
    for of in &broker.consumers {
        table.row([
            of.stream.as_str().into(),
            of.durable.as_str().into(),
            of.pending.into(),
            of.ack_pending.into(),
            of.redelivered.into(),
        ]);
    }
    table
}

fn dead_letters(database: &Database) -> Table {
    let mut table = Table::default();
    for (service, letters) in &database.dead_letters {
        let Some(latest) = &letters.latest else { continue };
        let reason: String = latest.reason.chars().take(REASON_CHARS_MAX).collect();
        table.row([
            Cell::new(service, Look::Bad),
            Cell::new(letters.count, Look::Bad),
            Cell::new(
                format!("latest {} on {}: {}: {reason}", latest.received_at, latest.subject, latest.code),
                Look::Plain,
            ),
        ]);
    }
    if database.dead_letters.values().all(|letters| letters.count == 0) {
        table.row([Cell::new("none", Look::Dim)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use audit::status::{
        Status,
        broker::{Broker, Consumer},
        database::{Database, Due, Latest, Letters, Log, Money},
    };
    use platform::print::Paint;

    use super::text;

    fn status() -> Status {
        let one = |status: &str, count| BTreeMap::from([(status.to_owned(), count)]);
        let latest = Latest {
            received_at: "2026-01-02T03:04:05Z".to_owned(),
            subject: "evt.orders.OrderPaid".to_owned(),
            code: "BROKEN_INVARIANT".to_owned(),
            reason: "x".repeat(500),
        };
        let database = Database {
            at: "2026-01-02T03:04:06Z".to_owned(),
            orders: BTreeMap::from([("paid".to_owned(), 12), ("pending".to_owned(), 3)]),
            stock_holds: one("held", 3),
            share_holds: BTreeMap::new(),
            rounds: one("open", 1),
            coupon_uses: one("held", 2),
            funds: one("held", 1),
            coupons: one("open", 1),
            payments: vec![Money {
                status: "succeeded".to_owned(),
                currency: "EUR".to_owned(),
                payments: 12,
                asked_minor: 1_200,
                captured_minor: 1_200,
                refunding_minor: 0,
                refunded_minor: 100,
                charged_back_minor: 0,
            }],
            refunds: one("unknown", 1),
            timers: BTreeMap::from([("orders", Due { waiting: 3, overdue: 2, oldest_ms: 12_000 })]),
            effects: BTreeMap::from([("payments", Due { waiting: 0, overdue: 0, oldest_ms: 0 })]),
            waiting: audit::waiting::Waiting::default(),
            notices: vec![],
            stopped: vec![],
            mails: one("refused", 4),
            dead_letters: BTreeMap::from([("inventory", Letters { count: 1, latest: Some(latest) })]),
            log: Log {
                head: 90,
                published: 80,
                handled: 70,
                lag: 9,
                lag_ms: 40,
                gap_at: Some(81),
                partitions_ahead: 4,
            },
        };
        let consumer = Consumer {
            stream: "EVENTS".to_owned(),
            durable: "orders-events".to_owned(),
            pending: 4,
            ack_pending: 5,
            redelivered: 0,
            paused: false,
            ours: true,
            edited: false,
            oldest_ms: None,
        };
        let broker = Broker { consumers: vec![consumer], ..Broker::default() };
        Status { database, broker, stands: vec!["nobody is there".to_owned()] }
    }

    #[test]
    fn says_what_there_is_and_what_is_late() {
        let text = text(&status(), Paint::Off);
        for part in [
            "Does not go on: nobody is there",
            "12 paid · 3 pending",
            "orders timers        3        2  12.0 s",
            "9 behind, the first for 40 ms",
            "gap        81  the relay waits",
            "12.00 EUR  12.00 EUR    0.00 EUR   1.00 EUR",
            "EVENTS  orders-events        4        5      0",
            "BROKEN_INVARIANT",
            "4 refused",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() < 220), "{text}");
    }

    #[test]
    fn a_broker_that_is_away_does_not_hide_the_rest() {
        let mut status = status();
        status.broker = Broker { problem: Some("no broker".to_owned()), ..Broker::default() };
        let text = text(&status, Paint::Off);
        assert!(text.contains("no broker") && text.contains("12 paid"), "{text}");
    }

    #[test]
    fn the_json_is_one_object_with_everything() {
        let json = serde_json::to_value(status()).unwrap();
        assert_eq!(json["orders"]["paid"], 12);
        assert_eq!(json["log"]["gap_at"], 81);
        assert_eq!(json["broker"]["consumers"][0]["durable"], "orders-events");
    }
}
