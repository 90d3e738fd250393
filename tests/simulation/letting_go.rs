//! An auditor that lets go of what is over finds what one finds that forgets nothing: in logs that are in order, and in logs that are not.

use std::time::Duration;

use audit::in_memory::LettingGo;
use runtime::log::event_store::StoredEvent;

use super::{ORDERS, Setup, simulate};

/// Days whose logs are audited.
const DAYS: u64 = 6;

/// Ways in which each of them is spoiled, one after the other.
const SPOILED: usize = 8;

fn log(seed: u64) -> Vec<StoredEvent> {
    simulate(&Setup { seed, orders: ORDERS, ..Setup::default() }).log
}

/// What is found by an auditor that lets go so many events after the last of an order, how much was looked at, and how often an order went.
fn audited(log: &[StoredEvent], lately: u64) -> (Vec<String>, Vec<u64>, usize) {
    let mut auditor = LettingGo::after(lately);
    log.iter().for_each(|event| auditor.take(event));
    auditor.promises(log.last().unwrap().recorded_at + Duration::from_hours(48));
    (auditor.findings(), auditor.checked(), auditor.went())
}

fn is_as_if_nothing_was_forgotten(log: &[StoredEvent], what: &str) -> usize {
    let (findings, checked, _) = audited(log, u64::MAX);
    let mut all = 0;
    for lately in [0, 40] {
        let (same, as_much, went) = audited(log, lately);
        assert_eq!(same, findings, "{what}, letting go after {lately}");
        assert_eq!(as_much, checked, "{what}, letting go after {lately}");
        all += went;
    }
    all
}

/// A log of which one event is missing, told twice, told late, or said to have another cause.
fn spoiled(mut log: Vec<StoredEvent>, nth: usize) -> Vec<StoredEvent> {
    let at = (nth * 7_919 + 13) % log.len();
    let last = log.last().unwrap().position;
    let event = log[at].clone();
    match nth % 4 {
        0 => drop(log.remove(at)),
        1 => log.push(StoredEvent { position: last.next(), ..event }),
        2 => {
            log.remove(at);
            log.push(StoredEvent { position: last.next(), ..event });
        }
        _ => log[at].causation_id = log[0].event_id,
    }
    log
}

#[test]
fn what_was_let_go_is_found_again_in_the_log() {
    for seed in 0..DAYS {
        let went = is_as_if_nothing_was_forgotten(&log(seed), &format!("day {seed}"));
        assert!(went > ORDERS, "day {seed}: only {went} orders went");
    }
}

#[test]
fn what_is_wrong_is_found_in_what_was_let_go_as_in_all_else() {
    let mut found = 0;
    for seed in 0..DAYS {
        let log = log(seed);
        for nth in (0..SPOILED).map(|nth| nth + usize::try_from(seed).unwrap()) {
            let spoiled = spoiled(log.clone(), nth);
            found += usize::from(!audited(&spoiled, 0).0.is_empty());
            is_as_if_nothing_was_forgotten(&spoiled, &format!("day {seed}, spoiled {nth}"));
        }
    }
    assert!(found > 30, "only {found} were found");
}
