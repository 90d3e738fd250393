//! What follows from what was looked at: pure. What is the consequence of another finding is not told by itself.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use domain::Timestamp;
use platform::print::short;
use runtime::notices::Topic;

use super::{
    Code, Diagnosis, Facts, Finding, Known, Unknown,
    code::Part,
    database::{Orphan, Pause, Transaction, Work},
};
use crate::{
    status::{
        PARTITIONS_AHEAD_MIN,
        broker::{Broker, Consumer},
        database::{LettersOf, Log, Notice, Stopped},
    },
    waiting::{Item, Kind, Waiting},
};

/// Letters of a reason that are told.
const REASON_CHARS_MAX: usize = 200;

/// What is wrong, and what is unknown.
pub(super) fn judge(facts: &Facts, late: Duration) -> Diagnosis {
    let mut judge = Judge { now: facts.database.now, late, findings: Vec::new(), unknown: BTreeMap::new() };
    let database = &facts.database;
    if let Some(another) = judge.known(Part::Lineage, &facts.lineage).and_then(Option::as_ref) {
        judge.lineage(another);
    }
    let log = judge.known(Part::Log, &database.log);
    if let Some(transactions) = judge.known(Part::Transactions, &database.transactions) {
        judge.transactions(transactions, log);
    }
    if let Some(log) = log {
        judge.log(log);
    }
    if let Some(broker) = judge.known(Part::Broker, &facts.broker) {
        let pauses = database.pauses.as_deref().unwrap_or_default();
        judge.broker(broker, pauses, log.is_some_and(|log| log.head == 0));
    }
    if let Some(waiting) = judge.known(Part::Waiting, &database.waiting) {
        judge.waiting(waiting);
    }
    let stopped = judge.known(Part::Stopped, &database.stopped).map(Vec::as_slice).unwrap_or_default();
    stopped.iter().for_each(|stopped| judge.stopped(stopped));
    for work in judge.known(Part::Due, &database.due).into_iter().flatten() {
        judge.due(work, stopped);
    }
    for letters in judge.known(Part::Letters, &database.letters).into_iter().flatten() {
        judge.letters(letters);
    }
    for notice in judge.known(Part::Notices, &database.notices).into_iter().flatten() {
        judge.notice(notice);
    }
    if let Some(orphans) = judge.known(Part::Holds, &database.orphans) {
        judge.orphans(orphans);
    }
    judge.end(log)
}

struct Judge {
    now: Timestamp,
    late: Duration,
    findings: Vec<Finding>,
    unknown: BTreeMap<String, Vec<Code>>,
}

impl Judge {
    /// What was looked at. If it could not be, that is noted.
    fn known<'a, T>(&mut self, part: Part, looked: &'a Known<T>) -> Option<&'a T> {
        match looked {
            Ok(facts) => Some(facts),
            Err(why) => {
                let codes = Code::ALL.iter().copied().filter(|code| code.page().part == part);
                self.unknown.entry(why.clone()).or_default().extend(codes);
                None
            }
        }
    }

    fn end(mut self, log: Option<&Log>) -> Diagnosis {
        // All workers wait for that, so everything is late, and it is told once.
        if self.has(&[Code::DatabaseBehindBroker, Code::WrongBroker]) {
            let late =
                [Code::RelayLags, Code::ConsumerLags, Code::OrdersOverdue, Code::WorkOverdue, Code::HoldOrphaned];
            self.findings.retain(|finding| !late.contains(&finding.code));
        }
        self.findings.sort_by(|one, other| {
            (one.code, &one.since, &one.subject).cmp(&(other.code, &other.since, &other.subject))
        });
        let unknown = self.unknown.into_iter().map(|(why, mut codes)| {
            codes.sort_unstable();
            Unknown { codes, why }
        });
        Diagnosis {
            at: self.now.to_string(),
            position: log.map(|log| log.head),
            findings: self.findings,
            unknown: unknown.collect(),
        }
    }

    fn has(&self, codes: &[Code]) -> bool {
        self.findings.iter().any(|finding| codes.contains(&finding.code))
    }

    /// A finding that began so long ago.
    fn finding(&self, code: Code, subject: impl Into<String>, for_ms: Option<u64>) -> Finding {
        let since = for_ms.map(|ms| self.now - Duration::from_millis(ms));
        Finding::of(code, subject, since, self.now)
    }

    fn is_late(&self, for_ms: u64) -> bool {
        Duration::from_millis(for_ms) > self.late
    }

    fn lineage(&mut self, another: &str) {
        let code = match another.contains(Code::DatabaseBehindBroker.page().word) {
            true => Code::DatabaseBehindBroker,
            false => Code::WrongBroker,
        };
        let mut finding = self.finding(code, "the log", None);
        finding.cause = another.to_owned();
        finding.evidence = "holdfast recover --dry-run".to_owned();
        if code == Code::DatabaseBehindBroker {
            finding.act =
                "holdfast recover --dry-run    (says how much, of how many orders; changes nothing)".to_owned();
        } else {
            finding.evidence = "nats stream info EVENTS    (its metadata names the installation)".to_owned();
        }
        self.findings.push(finding);
    }

    fn transactions(&mut self, transactions: &[Transaction], log: Option<&Log>) {
        for transaction in transactions {
            let Transaction { is_prepared, id, whose, state, since, is_ours } = transaction;
            let since = Timestamp::from(*since);
            let what = if *is_prepared { format!("prepared transaction {id}") } else { format!("session {id}") };
            let mut finding = Finding::of(Code::HorizonHeld, what.clone(), Some(since), self.now);
            let waits = match log.and_then(|log| log.gap_at.map(|gap| (gap, log))) {
                Some((gap, log)) => {
                    let seconds = i64::try_from(log.lag_ms / 1_000).unwrap_or(i64::MAX);
                    finding = finding.number("events", log.lag).number("gap_at", gap).number("seconds", seconds);
                    let waited = short(Duration::from_millis(log.lag_ms));
                    format!("; the relay waits at position {gap}, with {} events, the first for {waited}", log.lag)
                }
                None => String::new(),
            };
            finding.cause = format!("{what} ({whose}) has written, and is {state} since {since}{waits}");
            (finding.evidence, finding.act) = match is_prepared {
                true => (
                    format!("select * from pg_prepared_xacts where gid = '{}'", id.replace('\'', "''")),
                    format!("rollback prepared '{}'", id.replace('\'', "''")),
                ),
                false => (
                    format!("select pid, usename, state, xact_start, query from pg_stat_activity where pid = {id}"),
                    match is_ours {
                        true => "see what its process does, and restart that".to_owned(),
                        false => format!(
                            "holdfast unblock {id} --dry-run    (ends that session, and undoes what it has not committed)"
                        ),
                    },
                ),
            };
            self.findings.push(finding);
        }
    }

    fn log(&mut self, log: &Log) {
        if log.partitions_ahead < PARTITIONS_AHEAD_MIN {
            let mut finding =
                self.finding(Code::PartitionsRunOut, "the log", None).number("empty", log.partitions_ahead);
            finding.cause = format!(
                "{} partitions are empty, and {PARTITIONS_AHEAD_MIN} should be; the log ends at position {}",
                log.partitions_ahead, log.head
            );
            finding.evidence = "select * from log.partitions order by number desc limit 5".to_owned();
            finding.act = "select log.make_partitions()    (as the role that migrates)".to_owned();
            self.findings.push(finding);
        }
        // Whoever holds the horizon is told of, and what waits for them there.
        let is_held = log.gap_at.is_some() && self.has(&[Code::HorizonHeld]);
        if log.lag > 0 && self.is_late(log.lag_ms) && !is_held {
            let seconds = i64::try_from(log.lag_ms / 1_000).unwrap_or(i64::MAX);
            let finding = self.finding(Code::RelayLags, "the relay", Some(log.lag_ms));
            let mut finding = finding.number("events", log.lag).number("seconds", seconds);
            finding.cause = format!(
                "{} events are not published, the first for {seconds} s; the relay is at position {} of {}",
                log.lag, log.published, log.head
            );
            finding.evidence =
                "select count(*), min(recorded_at) from log.events where position > (select published from log.relay)"
                    .to_owned();
            self.findings.push(finding);
        }
    }

    fn broker(&mut self, broker: &Broker, pauses: &[Pause], is_new: bool) {
        // Before a fleet's first start nothing is missing.
        if is_new {
            return;
        }
        for name in &broker.missing {
            let mut finding = self.finding(Code::StreamMissing, name.clone(), None);
            finding.cause = format!("the broker has no stream {name}");
            finding.evidence = format!("nats stream info {name}");
            self.findings.push(finding);
        }
        for name in &broker.consumers_missing {
            let mut finding = self.finding(Code::ConsumerMissing, name.clone(), None);
            finding.cause = format!("the broker has no consumer {name}");
            self.findings.push(finding);
        }
        for consumer in broker.consumers.iter().filter(|consumer| consumer.ours) {
            self.consumer(consumer, pauses.iter().find(|pause| pause.consumer == consumer.durable));
        }
    }

    /// One that is paused or changed lags because of that.
    fn consumer(&mut self, consumer: &Consumer, pause: Option<&Pause>) {
        let Consumer { stream, durable, pending, ack_pending, .. } = consumer;
        let waiting =
            i64::try_from(*pending).unwrap_or(i64::MAX).saturating_add(i64::try_from(*ack_pending).unwrap_or(0));
        let waits = match consumer.oldest_ms {
            Some(ms) => format!("{waiting} messages wait, the first for {}", short(Duration::from_millis(ms))),
            None => format!("{waiting} messages wait"),
        };
        let (code, cause) = match consumer {
            Consumer { paused: true, .. } => {
                let by = pause.map_or_else(String::new, |Pause { until, by, reason, .. }| {
                    format!(" until {}, by {by}: {}", Timestamp::from(*until), cut(reason))
                });
                (Code::ConsumerPaused, format!("the consumer {durable} of {stream} is paused{by}; {waits}"))
            }
            Consumer { edited: true, .. } => (
                Code::ConsumerEdited,
                format!("the consumer {durable} of {stream} is not what its service made; {waits}"),
            ),
            Consumer { oldest_ms: Some(ms), .. } if self.is_late(*ms) => {
                (Code::ConsumerLags, format!("{waits}, for {durable} of {stream}"))
            }
            Consumer { .. } => return,
        };
        let for_ms = consumer.oldest_ms.filter(|_| code == Code::ConsumerLags);
        let mut finding = self.finding(code, durable.clone(), for_ms).number("messages", waiting);
        if let Some(ms) = consumer.oldest_ms {
            finding = finding.number("seconds", i64::try_from(ms / 1_000).unwrap_or(i64::MAX));
        }
        finding.cause = cause;
        if code == Code::ConsumerPaused && pause.is_some() {
            finding.act =
                format!("holdfast resume {durable} --dry-run    (it goes on by itself when that time is over)");
        }
        finding.evidence = format!("nats consumer info {stream} {durable}");
        self.findings.push(finding);
    }

    fn waiting(&mut self, waiting: &Waiting) {
        for (kind, count) in &waiting.counts {
            let items: Vec<Item> = waiting.items.iter().filter(|item| item.kind == *kind).cloned().collect();
            let Some(first) = items.first() else { continue };
            let (code, what, evidence) = words_of(*kind);
            let since = items.iter().filter_map(|item| item.since).min();
            let mut finding = Finding::of(code, first.subject.clone(), since, self.now).number("count", *count);
            let Item { what: item, subject, reason, .. } = first;
            finding.cause = format!("{count} {what}; the first: {item} of {subject}: {}", cut(reason));
            finding.evidence = evidence.to_owned();
            if let Some(act) = act_on(*kind, first) {
                finding.act = act;
            }
            self.findings.push(finding.about(items));
        }
    }

    fn stopped(&mut self, stopped: &Stopped) {
        let Stopped { service, by, calls, for_ms, says } = stopped;
        // The one call of rounds is about a draw.
        let code = if *service == "rounds" { Code::DrawStuck } else { Code::ProviderMisconfigured };
        let mut finding = self.finding(code, by.clone(), Some(*for_ms)).number("calls", *calls);
        finding.cause =
            format!("{by} refuses how {service} asks; {calls} calls wait until that is mended: {}", cut(says));
        finding.evidence =
            format!("select key, type, stopped_since, last_error from {service}.effects where stopped_by is not null");
        self.findings.push(finding);
    }

    fn due(&mut self, work: &Work, stopped: &[Stopped]) {
        let Work { service, what, due } = work;
        let is_told = *what != "timers" && stopped.iter().any(|stopped| stopped.service == *service);
        if due.overdue == 0 || !self.is_late(due.oldest_ms) || is_told {
            return;
        }
        let code = if (*service, *what) == ("orders", "timers") { Code::OrdersOverdue } else { Code::WorkOverdue };
        let finding = self.finding(code, format!("{what} of {service}"), Some(due.oldest_ms));
        let seconds = i64::try_from(due.oldest_ms / 1_000).unwrap_or(i64::MAX);
        let mut finding = finding.number("overdue", due.overdue).number("seconds", seconds);
        finding.cause = format!("{} {what} of {service} are overdue, the first for {seconds} s", due.overdue);
        let table = if *what == "timers" { "timers" } else { "effects" };
        finding.evidence = format!("select * from {service}.{table} where due_at <= now() order by due_at limit 20");
        if code == Code::OrdersOverdue {
            finding.act = "holdfast expire --dry-run --actor NAME --note WHY    (names them; without --dry-run it expires them now)".to_owned();
        }
        self.findings.push(finding);
    }

    fn letters(&mut self, letters: &LettersOf) {
        let LettersOf { service, code, count, since, reason } = letters;
        let since = Timestamp::from(*since);
        let finding = Finding::of(Code::DeadLetters, format!("{service} {code}"), Some(since), self.now);
        let mut finding = finding.number("count", *count);
        finding.cause = format!("{count} messages for {service} could not be handled: {code}: {}", cut(reason));
        finding.evidence = format!(
            "select * from {service}.dead_letters where settled_at is null and code = '{code}' order by id limit 20"
        );
        finding.act = format!(
            "holdfast redrive --service {service} --code {code} --dry-run    (says what each would do now; holdfast explain {code})"
        );
        self.findings.push(finding);
    }

    fn notice(&mut self, notice: &Notice) {
        let code = Topic::parse(&notice.topic).and_then(|topic| Code::parse(topic.code())).unwrap_or(Code::WorkerSays);
        let mut finding = self.finding(code, notice.said_by.clone(), Some(notice.for_ms));
        // What a provider does not, a worker of payments says of it.
        let verb = if code == Code::WebhooksSilent { "brings no reports" } else { "says" };
        finding.cause = format!("{} {verb}: {}", notice.said_by, notice.says);
        finding.evidence = format!("select * from log.notices where topic = '{}'", notice.topic);
        self.findings.push(finding);
    }

    /// While messages wait, what is to be given back waits with them.
    fn orphans(&mut self, orphans: &[Orphan]) {
        use Code::{ConsumerEdited, ConsumerLags, ConsumerMissing, ConsumerPaused, HorizonHeld, RelayLags};
        let waits = [RelayLags, HorizonHeld, ConsumerMissing, ConsumerPaused, ConsumerEdited, ConsumerLags];
        let Some(first) = orphans.first().filter(|_| !self.has(&waits)) else { return };
        let Orphan { count, order_id, status, stock_held, shares_held, since } = first;
        let since = Timestamp::from(*since);
        let finding = Finding::of(Code::HoldOrphaned, format!("order-{order_id}"), Some(since), self.now);
        let mut finding = finding.number("orders", *count);
        let holds = match (stock_held, shares_held) {
            (true, true) => "holds stock and shares",
            (true, false) => "holds stock",
            (false, true) => "holds shares",
            (false, false) => "has no receipt",
        };
        finding.cause =
            format!("{count} closed orders hold something; the first is {status} since {since}, and {holds}");
        finding.evidence = format!("holdfast order {order_id}");
        finding.act = "holdfast verify".to_owned();
        self.findings.push(finding);
    }
}

fn cut(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

/// The code of what waits for a person, how several are called, and what shows them again.
const fn words_of(kind: Kind) -> (Code, &'static str, &'static str) {
    match kind {
        Kind::RefundUnknown => (
            Code::RefundUnknown,
            "refunds have an outcome that nobody knows",
            "select * from payments.refunds where status = 'unknown'",
        ),
        Kind::RefundUndecided => (
            Code::RefundUndecided,
            "refunds wait, or were reversed",
            "select * from payments.refunds where status in ('deferred', 'reversed')",
        ),
        Kind::Report => (
            Code::MoneyUnmatched,
            "reports fit nothing that was asked for",
            "select * from payments.reports where standing = 'open'",
        ),
        Kind::Owed => (
            Code::MoneyOwed,
            "orders are owed money that did not go back",
            "select order_id, owed_minor, currency, note from orders.orders where owed_minor > 0",
        ),
        Kind::Call => (
            Code::MoneyCallStuck,
            "calls about money do not come to their end",
            "select key, type, attempts, deadline, last_error from payments.effects where deadline < now() order by deadline",
        ),
        Kind::Draw => (
            Code::DrawStuck,
            "draws are late",
            "select key, attempts, deadline, last_error from rounds.effects where deadline < now() order by deadline",
        ),
        Kind::Dispute => (
            Code::DisputeOpen,
            "disputes are not over",
            "select payment_id, disputes from payments.payments where disputes is not null",
        ),
    }
}

/// The command for the first of them, if one decides it.
fn act_on(kind: Kind, item: &Item) -> Option<String> {
    let id = item.subject.split_once('-').map(|(_, id)| id)?;
    match kind {
        Kind::RefundUnknown | Kind::RefundUndecided => Some(format!(
            "holdfast resolve refund {id} {} refunded --dry-run    (if the provider says so; or retry, or abandon)",
            item.id
        )),
        Kind::Report => Some(format!(
            "holdfast resolve report {id} {} accepted --dry-run    (if the provider says so; or undone)",
            quoted(&item.id)
        )),
        Kind::Owed => {
            Some(format!("holdfast order {id}    (says why it did not go back; then holdfast send RequestRefund)"))
        }
        Kind::Call | Kind::Draw | Kind::Dispute => None,
    }
}

/// As a word of shell: a provider's id is what the provider likes.
fn quoted(id: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    match !id.is_empty() && id.chars().all(is_plain) {
        true => Cow::Borrowed(id),
        false => Cow::Owned(format!("'{}'", id.replace('\'', "'\\''"))),
    }
}

#[cfg(test)]
mod tests;
