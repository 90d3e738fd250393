//! What can have caused an event, and what cannot.

use std::collections::BTreeMap;

use domain::{GlobalPosition, HoldKey, OrderId, StreamVersion, Timestamp};
use proto::{
    Message, Name,
    common::v1::{Accepted, CommandReply, Money, Rejection, command_reply::Outcome},
    inventory::v1 as inventory,
    orders::v1 as orders,
    payments::v1 as payments,
    rounds::v1 as rounds,
};
use runtime::log::{
    event_store::StoredEvent,
    identity::{call_id, event_id, timer_id},
};
use uuid::Uuid;

use super::{
    CAUSES, Causes, Findings, TRIES_MAX,
    answers::{Answer, Answers},
    reacts_to,
};
use crate::catalogue::{PROMISED, event_types};

const SECOND: i64 = 1_000_000;
const STORY: Uuid = Uuid::from_u128(1);
const ORDER: Uuid = Uuid::from_u128(7);
const ROUND: Uuid = Uuid::from_u128(8);
const REFUND: Uuid = Uuid::from_u128(9);
const COMMAND: Uuid = Uuid::from_u128(0xc0);

/// A log, each event with the id that it must have.
#[derive(Default)]
struct Log {
    events: Vec<StoredEvent>,
    versions: BTreeMap<String, StreamVersion>,
}

impl Log {
    /// Writes an event with this cause and of this story, a second after the one before. Its id.
    fn write<M: Message + Name>(&mut self, stream: &str, cause: Uuid, story: Uuid, message: &M) -> Uuid {
        let position = i64::try_from(self.events.len()).unwrap() + 1;
        let version = self.versions.entry(stream.to_owned()).or_default();
        *version = version.next();
        let event_id = event_id(cause, stream, *version);
        self.events.push(StoredEvent {
            position: GlobalPosition::new(position),
            stream: stream.to_owned(),
            version: *version,
            event_id,
            service: proto::owner(&M::full_name()).unwrap().to_owned(),
            message_type: M::full_name(),
            data: message.encode_to_vec(),
            correlation_id: story,
            causation_id: cause,
            traceparent: None,
            recorded_at: Timestamp::from_micros(position * SECOND),
            is_handled: false,
        });
        event_id
    }

    /// An order that is placed by [`COMMAND`], and is to be paid within ten seconds.
    fn placed() -> (Self, Uuid) {
        let mut log = Self::default();
        let line = orders::OrderLine { sku: "mug".to_owned(), quantity: 1, unit_price: eur() };
        let placed = orders::OrderPlaced {
            order_id: ORDER.to_string(),
            customer_id: "ann".to_owned(),
            lines: vec![line],
            total: eur(),
            placed_at: Some(Timestamp::from_micros(0).to_wire()),
            expires_at: Some(due_at().to_wire()),
            attempt: 1,
            ..Default::default()
        };
        let placed = log.write(&order(), COMMAND, STORY, &placed);
        (log, placed)
    }

    /// A refund of the order's payment that is sent under this key.
    fn refunding(key: &str) -> Self {
        let mut log = Self::default();
        let asked = orders::RefundRequested { order_id: ORDER.to_string(), ..Default::default() };
        let asked = log.write(&order(), COMMAND, STORY, &asked);
        let refunding = payments::RefundSubmitted {
            payment_id: payment_id(),
            order_id: ORDER.to_string(),
            refund_id: REFUND.to_string(),
            amount: eur(),
            idempotency_key: key.to_owned(),
            deadline: Some(due_at().to_wire()),
            ..Default::default()
        };
        log.write(&payment(), asked, STORY, &refunding);
        log
    }

    /// What is found without an inbox.
    fn found(&self) -> Vec<String> {
        self.found_by(Causes::default())
    }

    /// What is found where these commands were answered by this service, each with what it has caused.
    fn found_with(&self, service: &'static str, commands: &[Uuid]) -> Vec<String> {
        let answer = |command_id: &Uuid| {
            let caused = |event: &&StoredEvent| event.service == service && event.causation_id == *command_id;
            let at = self.events.iter().find(caused).map(|event| event.recorded_at).unwrap_or_default();
            Answer::read(*command_id, &[7], &accepted(self.events.iter().filter(caused).count()), at)
        };
        self.found_where(service, commands.iter().map(answer).collect())
    }

    /// What is found where this service has answered so.
    fn found_where(&self, service: &'static str, answers: Vec<Answer>) -> Vec<String> {
        self.found_by(Causes::of_answered(BTreeMap::from([(service, Answers::of(answers))])))
    }

    fn found_by(&self, mut causes: Causes) -> Vec<String> {
        let mut findings = Findings::default();
        self.events.iter().for_each(|event| causes.take(event, &mut findings));
        causes.check_answers(&mut findings);
        let place = |position: Option<GlobalPosition>| position.map_or("-".to_owned(), |position| position.to_string());
        findings.kept().iter().map(|found| format!("#{} {}", place(found.position), found.what)).collect()
    }

    /// One finding, with these words.
    fn finds(&self, words: &str) {
        finds(&self.found(), words);
    }
}

fn finds(found: &[String], words: &str) {
    assert!(found.len() == 1 && found[0].contains(words), "not {words:?} but {found:?}");
}

/// The answer to a command that has caused so many events.
fn accepted(events: usize) -> Vec<u8> {
    let accepted = Accepted { events: vec![orders::OrderPlaced::full_name(); events], ..Default::default() };
    CommandReply { command_id: COMMAND.to_string(), outcome: Some(Outcome::Accepted(accepted)) }.encode_to_vec()
}

/// The answer to a command that was refused with this code.
fn refused(code: &str) -> Vec<u8> {
    let rejection = Rejection { code: code.to_owned(), ..Default::default() };
    CommandReply { command_id: COMMAND.to_string(), outcome: Some(Outcome::Rejected(rejection)) }.encode_to_vec()
}

fn eur() -> Option<Money> {
    Some(Money { minor_units: 100, currency: "EUR".to_owned() })
}

fn due_at() -> Timestamp {
    Timestamp::from_micros(10 * SECOND)
}

fn order() -> String {
    format!("order-{ORDER}")
}

fn stock() -> String {
    format!("stock-{ORDER}.1")
}

fn payment_id() -> String {
    HoldKey { order_id: OrderId(ORDER), attempt: 1 }.payment_id().to_string()
}

fn payment() -> String {
    format!("payment-{}", payment_id())
}

fn held() -> inventory::StockHeld {
    inventory::StockHeld { order_id: ORDER.to_string(), attempt: 1, ..Default::default() }
}

fn expired() -> orders::OrderExpired {
    orders::OrderExpired { order_id: ORDER.to_string(), attempt: 1, ..Default::default() }
}

#[test]
fn every_event_of_the_contract_has_its_causes() {
    let known: Vec<&str> = CAUSES.iter().map(|(message_type, _)| *message_type).collect();
    for message_type in event_types() {
        let times = known.iter().filter(|known| **known == message_type).count();
        assert_eq!(times, usize::from(!PROMISED.contains(&message_type.as_str())), "{message_type}");
    }
    assert!(known.iter().all(|known| event_types().contains(*known)));
    assert!(CAUSES.iter().all(|(_, causes)| !causes.is_empty()));
    assert!(proto::SERVICES.iter().all(|service| !reacts_to(service).is_empty()));
}

#[test]
fn an_event_follows_from_a_command_and_others_from_it() {
    let (mut log, placed) = Log::placed();
    log.write(&stock(), placed, STORY, &held());
    assert_eq!(log.found(), Vec::<String>::new());
    assert_eq!(log.found_with("orders", &[COMMAND]), Vec::<String>::new());
}

#[test]
fn finds_an_id_that_is_doubled_nil_its_own_cause_or_of_another_place() {
    let (mut log, _) = Log::placed();
    log.events.push(log.events[0].clone());
    log.finds("two events have the id");
    let changed = |change: fn(&mut StoredEvent)| {
        let (mut log, _) = Log::placed();
        change(&mut log.events[0]);
        log
    };
    changed(|event| event.correlation_id = Uuid::nil()).finds("is nil");
    changed(|event| event.causation_id = event.event_id).finds("caused itself");
    changed(|event| event.version = StreamVersion::new(2)).finds("does not follow from its cause");
    changed(|event| event.stream = order().replace('7', "8")).finds("does not follow from its cause");
    changed(|event| event.causation_id = event.correlation_id).finds("does not follow from its cause");
}

/// The ids fit: it is as if the worker took the one for the other.
#[test]
fn finds_a_story_that_is_taken_for_a_cause() {
    let (mut log, _) = Log::placed();
    log.write(&stock(), STORY, STORY, &held());
    log.finds("is no event before it");
    let (mut log, placed) = Log::placed();
    log.write(&stock(), placed, STORY, &held());
    log.events.remove(0);
    log.finds("is no event before it");
}

#[test]
fn finds_a_command_that_its_service_has_not_answered() {
    let (log, _) = Log::placed();
    for found in [log.found_with("orders", &[]), log.found_with("inventory", &[COMMAND])] {
        finds(&found, "is no command that its service has answered");
    }
}

#[test]
fn finds_a_cause_to_which_nobody_reacts() {
    let mut log = Log::default();
    let adjusted = inventory::StockAdjusted { sku: "mug".to_owned(), ..Default::default() };
    let adjusted = log.write("product-mug", COMMAND, STORY, &adjusted);
    log.write(&order(), adjusted, STORY, &orders::OrderPaid { order_id: ORDER.to_string(), ..Default::default() });
    log.finds("it is said to follow from holdfast.inventory.v1.StockAdjusted");
    // What only a command causes follows from no event, even from one to which its service reacts.
    let (mut log, placed) = Log::placed();
    log.write("product-mug", placed, STORY, &inventory::StockAdjusted::default());
    log.finds("it is said to follow from holdfast.orders.v1.OrderPlaced");
}

#[test]
fn finds_an_event_that_tells_another_story_than_its_cause() {
    let (mut log, placed) = Log::placed();
    log.write(&stock(), placed, COMMAND, &held());
    log.finds("it is of story");
}

#[test]
fn a_timer_is_known_by_the_event_that_set_it() {
    let expired_by = |timer: Uuid, story: Uuid| {
        let (mut log, _) = Log::placed();
        log.write(&order(), timer, story, &expired());
        // With the same cause, and the timer is over.
        log.write(&order(), timer, story, &orders::OrderReleased { order_id: ORDER.to_string(), attempt: 1 });
        log
    };
    let timer = timer_id("orders", &order(), due_at());
    assert_eq!(expired_by(timer, ORDER).found(), Vec::<String>::new());
    finds(&expired_by(timer, STORY).found()[..1], "it is of story");
    let other = timer_id("orders", &order(), Timestamp::from_micros(11 * SECOND));
    finds(&expired_by(other, ORDER).found()[..1], "is no timer of its stream");
    finds(&expired_by(ORDER, ORDER).found()[..1], "is no timer of its stream");
}

/// A replica may be at work on the timer that another one sets anew.
#[test]
fn a_timer_that_was_set_anew_may_still_be_at_work() {
    let mut log = Log::default();
    let stream = format!("round-{ROUND}");
    let opened = rounds::RoundOpened {
        round_id: ROUND.to_string(),
        total_shares: 10,
        share_price: eur(),
        closes_at: Some(due_at().to_wire()),
        ..Default::default()
    };
    log.write(&stream, COMMAND, STORY, &opened);
    let cancelled = rounds::RoundCancelled {
        round_id: ROUND.to_string(),
        cancelled_at: Some(due_at().to_wire()),
        ..Default::default()
    };
    log.write(&stream, COMMAND, STORY, &cancelled);
    let named = rounds::RoundRefundsRequested { round_id: ROUND.to_string(), ..Default::default() };
    log.write(&stream, timer_id("rounds", &stream, due_at()), ROUND, &named);
    assert_eq!(log.found(), Vec::<String>::new());
}

/// Nothing says to which time, so only where there were defects and outages is it taken for granted.
#[test]
fn a_timer_that_was_put_off_has_the_form_of_one_and_comes_after_its_time() {
    let put_off = timer_id("orders", &order(), Timestamp::from_micros(15 * SECOND));
    let expired_by = |timer: Uuid, at: i64| {
        let (mut log, _) = Log::placed();
        log.write(&order(), timer, ORDER, &expired());
        log.events[1].recorded_at = Timestamp::from_micros(at * SECOND);
        log
    };
    assert_eq!(expired_by(put_off, 16).found_with("orders", &[COMMAND]), Vec::<String>::new());
    for (timer, at) in [(put_off, 9), (ORDER, 16)] {
        finds(&expired_by(timer, at).found_with("orders", &[COMMAND]), "is no timer of its stream");
    }
    expired_by(put_off, 16).finds("is no timer of its stream");
}

#[test]
fn the_end_of_a_call_is_known_by_the_event_that_asked_for_it() {
    let ended_by = |call: Uuid, story: Uuid| {
        let mut log = Log::refunding("key");
        log.write(&payment(), call, story, &payments::RefundAnswered::default());
        log
    };
    for attempt in [1, 2, 60, TRIES_MAX] {
        assert_eq!(ended_by(call_id("key", attempt), STORY).found(), Vec::<String>::new(), "{attempt}");
    }
    ended_by(call_id("key", 1), ORDER).finds("it is of story");
    ended_by(call_id("another key", 1), STORY).finds("is no outside call of its stream");
    ended_by(STORY, STORY).finds("is no outside call of its stream");
}

#[test]
fn what_was_answered_is_in_the_log_as_often_and_at_the_time_that_it_was() {
    let (log, _) = Log::placed();
    let at = |micros| Timestamp::from_micros(micros);
    let found = |body_hash: &[u8], reply: &[u8], at: Timestamp| {
        log.found_where("orders", vec![Answer::read(COMMAND, body_hash, reply, at)])
    };
    let there = at(SECOND);
    assert_eq!(found(&[7], &accepted(1), there), Vec::<String>::new());
    finds(&found(&[7], &accepted(3), there), "#- it was answered with 2 more events than the log has");
    finds(&found(&[7], &accepted(0), there), "#1 its command");
    finds(&found(&[7], &accepted(1), at(SECOND + 1)), "#1 it is recorded at");
    finds(&found(&[7], &[0xff], there), "#- its answer cannot be read");
    // What was made from the log proves nothing of it.
    assert_eq!(found(&[], &accepted(3), at(0)), Vec::<String>::new());
}

#[test]
fn a_refusal_is_in_the_log_unless_the_command_met_a_defect() {
    let found = |code: &str| {
        let answer = Answer::read(COMMAND, &[7], &refused(code), Timestamp::default());
        Log::default().found_where("orders", vec![answer])
    };
    finds(&found("ORDER_CLOSED"), "#- it was answered with 1 more events than the log has");
    assert_eq!(found("NOT_HANDLED"), Vec::<String>::new());
}
