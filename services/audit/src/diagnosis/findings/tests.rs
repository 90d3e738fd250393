//! What follows from what was looked at.

use std::time::Duration;

use domain::Timestamp;
use time::OffsetDateTime;

use super::{
    super::database::{Facts as DatabaseFacts, Orphan, Pause, Transaction, Work},
    Code, Diagnosis, Facts, judge,
};
use crate::{
    status::{
        broker::{Broker, Consumer},
        database::{Due, Log, Stopped},
    },
    waiting::{Item, Kind, Waiting},
};

const LATE: Duration = Duration::from_secs(30);
const NOW: Timestamp = Timestamp::from_micros(1_000_000_000_000);

/// A fleet in which nothing is wrong, and much is under way.
fn healthy() -> Facts {
    let work = |service, what| Work { service, what, due: Due { waiting: 9, overdue: 3, oldest_ms: 30_000 } };
    let log = Log { head: 90, published: 80, handled: 70, lag: 9, lag_ms: 30_000, gap_at: None, partitions_ahead: 2 };
    let broker = Broker { consumers: vec![consumer(30_000)], ..Broker::default() };
    Facts {
        database: DatabaseFacts {
            now: NOW,
            waiting: Ok(Waiting::default()),
            stopped: Ok(vec![]),
            orphans: Ok(vec![]),
            due: Ok(vec![work("orders", "timers"), work("payments", "outside calls")]),
            log: Ok(log),
            transactions: Ok(vec![]),
            letters: Ok(vec![]),
            notices: Ok(vec![]),
            pauses: Ok(vec![]),
        },
        lineage: Ok(None),
        broker: Ok(broker),
    }
}

fn consumer(oldest_ms: u64) -> Consumer {
    Consumer {
        stream: "EVENTS".to_owned(),
        durable: "rounds-events".to_owned(),
        pending: 4,
        ack_pending: 5,
        redelivered: 0,
        paused: false,
        ours: true,
        edited: false,
        oldest_ms: Some(oldest_ms),
    }
}

fn changed(change: impl FnOnce(&mut Facts)) -> Diagnosis {
    let mut facts = healthy();
    change(&mut facts);
    judge(&facts, LATE)
}

fn codes(change: impl FnOnce(&mut Facts)) -> Vec<Code> {
    let diagnosis = changed(change);
    assert!(diagnosis.unknown.is_empty());
    diagnosis.findings.iter().map(|finding| finding.code).collect()
}

fn log(facts: &mut Facts) -> &mut Log {
    facts.database.log.as_mut().unwrap()
}

fn consumers(facts: &mut Facts) -> &mut Vec<Consumer> {
    &mut facts.broker.as_mut().unwrap().consumers
}

fn orphan() -> Orphan {
    let (status, since) = ("expired".to_owned(), OffsetDateTime::UNIX_EPOCH);
    Orphan { count: 1, order_id: uuid::Uuid::nil(), status, stock_held: true, shares_held: false, since }
}

fn transaction(id: &str, is_prepared: bool) -> Transaction {
    let (id, whose, state) = (id.to_owned(), "user etl".to_owned(), "idle in transaction".to_owned());
    Transaction { is_prepared, id, whose, state, since: OffsetDateTime::UNIX_EPOCH, is_ours: false }
}

#[test]
fn what_is_under_way_for_less_than_the_limit_is_not_wrong() {
    assert_eq!(codes(|_| ()), []);
    assert_eq!(codes(|facts| log(facts).lag_ms += 1), [Code::RelayLags]);
    assert_eq!(codes(|facts| *consumers(facts) = vec![consumer(30_001)]), [Code::ConsumerLags]);
    assert_eq!(codes(|facts| log(facts).partitions_ahead = 1), [Code::PartitionsRunOut]);
    let late = |at: usize| move |facts: &mut Facts| facts.database.due.as_mut().unwrap()[at].due.oldest_ms += 1;
    assert_eq!((codes(late(0)), codes(late(1))), (vec![Code::OrdersOverdue], vec![Code::WorkOverdue]));
}

/// Who reads along from the broker is as late as they like.
#[test]
fn a_consumer_of_others_is_no_finding() {
    assert_eq!(codes(|facts| *consumers(facts) = vec![Consumer { ours: false, paused: true, ..consumer(99_000) }]), []);
}

#[test]
fn before_the_first_start_nothing_is_missing() {
    let missing = |facts: &mut Facts| {
        let broker = facts.broker.as_mut().unwrap();
        broker.missing.push("EVENTS".to_owned());
        broker.consumers_missing.push("orders-commands".to_owned());
    };
    assert_eq!(codes(missing), [Code::StreamMissing, Code::ConsumerMissing]);
    let new = |facts: &mut Facts| {
        missing(facts);
        log(facts).head = 0;
    };
    assert_eq!(codes(new), []);
}

#[test]
fn what_follows_from_another_finding_is_not_told_by_itself() {
    let paused = |facts: &mut Facts| *consumers(facts) = vec![Consumer { paused: true, ..consumer(99_000) }];
    assert_eq!(codes(paused), [Code::ConsumerPaused]);
    let held = |facts: &mut Facts| {
        log(facts).lag_ms = 99_000;
        log(facts).gap_at = Some(81);
        facts.database.transactions = Ok(vec![transaction("812", false)]);
    };
    assert_eq!(codes(held), [Code::HorizonHeld]);
    // Not where the relay waits for nobody.
    let lags = |facts: &mut Facts| {
        held(facts);
        log(facts).gap_at = None;
    };
    assert_eq!(codes(lags), [Code::HorizonHeld, Code::RelayLags]);
    assert_eq!(codes(|facts| facts.database.orphans = Ok(vec![orphan()])), [Code::HoldOrphaned]);
    let waits = |facts: &mut Facts| {
        paused(facts);
        facts.database.orphans = Ok(vec![orphan()]);
    };
    assert_eq!(codes(waits), [Code::ConsumerPaused]);
    let stopped = |facts: &mut Facts| {
        let (by, says) = ("stripe".to_owned(), "403".to_owned());
        facts.database.stopped = Ok(vec![Stopped { service: "payments", by, calls: 3, for_ms: 1, says }]);
        facts.database.due.as_mut().unwrap()[1].due.oldest_ms = 99_000;
    };
    assert_eq!(codes(stopped), [Code::ProviderMisconfigured]);
    let gone_back = |facts: &mut Facts| {
        lags(facts);
        *consumers(facts) = vec![consumer(99_000)];
        facts.lineage = Ok(Some("comparing: DATABASE_BEHIND_BROKER: the log has gone back".to_owned()));
    };
    assert_eq!(codes(gone_back), [Code::DatabaseBehindBroker, Code::HorizonHeld]);
}

#[test]
fn who_holds_the_horizon_is_named_and_how_to_end_it() {
    let found = changed(|facts| {
        let ours = Transaction { is_ours: true, ..transaction("911", false) };
        facts.database.transactions = Ok(vec![transaction("it's", true), transaction("812", false), ours]);
    });
    let acts: Vec<(&str, &str)> =
        found.findings.iter().map(|finding| (finding.subject.as_str(), finding.act.as_str())).collect();
    assert_eq!(acts[0], ("prepared transaction it's", "rollback prepared 'it''s'"));
    assert!(acts[1].0 == "session 812" && acts[1].1.starts_with("holdfast unblock 812 --dry-run "), "{acts:?}");
    assert_eq!(acts[2], ("session 911", "see what its process does, and restart that"));
}

#[test]
fn who_has_paused_a_consumer_and_why_is_told_if_it_is_known() {
    let paused = |pauses| {
        changed(|facts| {
            *consumers(facts) = vec![Consumer { paused: true, ..consumer(99_000) }];
            facts.database.pauses = pauses;
        })
    };
    let pause = Pause {
        consumer: "rounds-events".to_owned(),
        until: OffsetDateTime::UNIX_EPOCH,
        by: "mira".to_owned(),
        reason: "a new index".to_owned(),
    };
    let told = paused(Ok(vec![pause]));
    let finding = told.findings.first().unwrap();
    assert!(
        finding.cause.contains("by mira: a new index") && finding.act.starts_with("holdfast resume rounds-events "),
        "{finding:?}"
    );
    let untold = paused(Err("no answer".to_owned()));
    assert_eq!((untold.findings.len(), untold.unknown.len()), (1, 0));
    assert_eq!(untold.findings.first().unwrap().act, Code::ConsumerPaused.page().act);
}

#[test]
fn what_could_not_be_looked_at_is_unknown_and_the_rest_is_told() {
    let found = changed(|facts| {
        facts.broker = Err("no broker".to_owned());
        facts.lineage = Err("no broker".to_owned());
        facts.database.letters = Err("no answer".to_owned());
        log(facts).lag_ms = 99_000;
    });
    let unknown: Vec<(&str, &[Code])> =
        found.unknown.iter().map(|unknown| (unknown.why.as_str(), unknown.codes.as_slice())).collect();
    assert_eq!(unknown[0], ("no answer", [Code::DeadLetters].as_slice()));
    assert_eq!((unknown[1].0, unknown[1].1[0], unknown[1].1.len()), ("no broker", Code::DatabaseBehindBroker, 7));
    assert_eq!(found.findings[0].code, Code::RelayLags);
    // Every code hangs on something that can fail to be looked at.
    let all = || Err("away".to_owned());
    let found = judge(
        &Facts { database: DatabaseFacts::unknown("away"), lineage: all(), broker: Err("away".to_owned()) },
        LATE,
    );
    assert_eq!((found.unknown.len(), found.unknown[0].codes.as_slice()), (1, Code::ALL));
}

#[test]
fn what_waits_for_a_person_is_told_by_kind_with_its_money_and_since_the_first() {
    let item = |kind, what: &str, minor: i64, since: i64| Item {
        kind,
        what: what.to_owned(),
        subject: "payment-7".to_owned(),
        reference: None,
        id: "re_1".to_owned(),
        amount_minor: Some(minor),
        currency: "EUR".to_owned(),
        reason: "why".to_owned(),
        since: Some(NOW - Duration::from_secs(since.unsigned_abs())),
    };
    let found = changed(|facts| {
        let waiting = facts.database.waiting.as_mut().unwrap();
        waiting.counts = [(Kind::Report, 1), (Kind::RefundUnknown, 2)].into();
        waiting.items = vec![
            item(Kind::Report, "report second_charge", 999, 5),
            item(Kind::RefundUnknown, "refund unknown", 100, 60),
            item(Kind::RefundUnknown, "refund unknown", 50, 600),
        ];
    });
    let codes: Vec<Code> = found.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::RefundUnknown, Code::MoneyUnmatched]);
    let unknown = &found.findings[0];
    assert_eq!((unknown.for_ms, unknown.numbers["count"], unknown.items.len()), (Some(600_000), 2, 2));
    assert!(unknown.at_stake.starts_with("1.50 EUR: "), "{}", unknown.at_stake);
    assert!(unknown.act.starts_with("holdfast resolve refund 7 re_1 refunded --dry-run"), "{}", unknown.act);
}
