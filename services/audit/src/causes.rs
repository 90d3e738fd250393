//! Ids and causes: every event has an id of its own that follows from its cause and its place, and a cause that can have caused it.
//!
//! What causes an event is an event before it to which its service reacts, a command that its service has answered, a timer of its stream,
//! or the end of an outside call that its stream has asked for. The first is looked up in the log and the second in the inbox, if there is
//! one to look into: an answer also tells when its events were recorded, and how many they are. The others are computed from the events that set the timer and asked for the call.
//!
//! One cause cannot be known: a timer that met a defect or an outage is put off, to a time that no event tells.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::LazyLock,
};

use domain::{Decider, Timer, Timestamp};
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use proto::{Message, Name, orders::v1::OrderExpired};
use rounds::Rounds;
use runtime::{
    log::{
        event_store::StoredEvent,
        identity::{call_id, event_id, timer_id, timer_story},
    },
    service::{is_rejection, refusal_stream},
};
use uuid::{Uuid, Version};

use super::report::{Check, Findings};

pub(crate) mod answers;

use answers::Answered;

/// What can cause an event of some type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// A command from outside.
    Command,
    /// An event of another service.
    Event,
    /// A timer.
    Timer,
    /// The end of an outside call.
    Call,
}

/// What causes each event, by none of the services' own rules.
const CAUSES: [(&str, &[By]); 87] = [
    ("holdfast.common.v1.CommandRejected", &[By::Command]),
    ("holdfast.orders.v1.OrderPlaced", &[By::Command]),
    ("holdfast.orders.v1.CouponRequested", &[By::Command, By::Event]),
    ("holdfast.orders.v1.OrderHoldConfirmed", &[By::Event]),
    ("holdfast.orders.v1.OrderReserved", &[By::Event]),
    ("holdfast.orders.v1.OrderRejected", &[By::Event]),
    ("holdfast.orders.v1.OrderPaid", &[By::Event]),
    ("holdfast.orders.v1.CaptureRequested", &[By::Event]),
    // By whatever closes an order that has late money set aside.
    ("holdfast.orders.v1.VoidRequested", &[By::Event, By::Command]),
    ("holdfast.orders.v1.RedemptionRequested", &[By::Event]),
    ("holdfast.orders.v1.OrderExpired", &[By::Timer, By::Command]),
    ("holdfast.orders.v1.OrderCancelled", &[By::Command, By::Event]),
    ("holdfast.orders.v1.OrderReleaseConfirmed", &[By::Event]),
    // At once, where nothing was held.
    ("holdfast.orders.v1.OrderReleased", &[By::Command, By::Event, By::Timer]),
    ("holdfast.orders.v1.OrderReinstated", &[By::Command, By::Event]),
    ("holdfast.orders.v1.PaidOrderCancelled", &[By::Command]),
    ("holdfast.orders.v1.LatePaymentDeferred", &[By::Event]),
    ("holdfast.orders.v1.RefundRequested", &[By::Command, By::Event, By::Timer]),
    // At once, where nothing was paid.
    ("holdfast.orders.v1.OrderRefunded", &[By::Event, By::Command]),
    ("holdfast.orders.v1.OrderPartiallyRefunded", &[By::Event, By::Command]),
    ("holdfast.orders.v1.ShareRefundDeferred", &[By::Event]),
    ("holdfast.orders.v1.RefundAbandoned", &[By::Event]),
    ("holdfast.orders.v1.OrderDisputed", &[By::Event]),
    ("holdfast.inventory.v1.ProductRegistered", &[By::Command]),
    ("holdfast.inventory.v1.StockReceived", &[By::Command]),
    ("holdfast.inventory.v1.StockAdjusted", &[By::Command]),
    ("holdfast.inventory.v1.StockHeld", &[By::Event]),
    ("holdfast.inventory.v1.StockRejected", &[By::Event]),
    ("holdfast.inventory.v1.StockCommitted", &[By::Event]),
    ("holdfast.inventory.v1.StockReleased", &[By::Event]),
    ("holdfast.inventory.v1.StockReturned", &[By::Event]),
    ("holdfast.rounds.v1.RoundOpened", &[By::Command]),
    ("holdfast.rounds.v1.RoundSoldOut", &[By::Event]),
    ("holdfast.rounds.v1.RoundTicketsListed", &[By::Timer]),
    ("holdfast.rounds.v1.RoundDrawn", &[By::Call]),
    ("holdfast.rounds.v1.RoundReopened", &[By::Command, By::Event]),
    ("holdfast.rounds.v1.RoundClosed", &[By::Command, By::Timer]),
    ("holdfast.rounds.v1.RoundCancelled", &[By::Command]),
    ("holdfast.rounds.v1.RoundRefundsRequested", &[By::Event, By::Timer]),
    ("holdfast.rounds.v1.SharesHeld", &[By::Event]),
    ("holdfast.rounds.v1.SharesRejected", &[By::Event]),
    ("holdfast.rounds.v1.SharesSold", &[By::Event]),
    ("holdfast.rounds.v1.SharesReleased", &[By::Event]),
    ("holdfast.rounds.v1.SharesReturned", &[By::Event]),
    ("holdfast.payments.v1.PaymentRequested", &[By::Event]),
    ("holdfast.payments.v1.PaymentCancelled", &[By::Event]),
    ("holdfast.payments.v1.CheckoutOpened", &[By::Call]),
    ("holdfast.payments.v1.CheckoutLookSubmitted", &[By::Timer]),
    ("holdfast.payments.v1.CheckoutFailed", &[By::Call]),
    ("holdfast.payments.v1.CheckoutAbandoned", &[By::Event, By::Call, By::Command]),
    ("holdfast.payments.v1.CheckoutRequested", &[By::Call]),
    ("holdfast.payments.v1.CheckoutClosed", &[By::Call]),
    // What is reported before the payment is asked for is judged when it is.
    // What was paid on a page before it could be closed is found by the call that closes it.
    ("holdfast.payments.v1.PaymentSucceeded", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.PaymentAuthorised", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.CaptureSubmitted", &[By::Event]),
    // At once, of what cannot pay its payment.
    ("holdfast.payments.v1.VoidSubmitted", &[By::Event, By::Command, By::Call]),
    ("holdfast.payments.v1.PaymentVoided", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.PaymentDeclined", &[By::Command, By::Event, By::Call]),
    // By the call that was to open its page.
    ("holdfast.payments.v1.PaymentFailed", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.PaymentRefundedElsewhere", &[By::Command, By::Event]),
    ("holdfast.payments.v1.ProviderReportUnmatched", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.ProviderReportResolved", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.RefundDeferred", &[By::Event]),
    // One that was deferred is sent with whatever ends the doubt.
    ("holdfast.payments.v1.RefundSubmitted", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.PaymentRefunded", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.RefundAnswered", &[By::Call]),
    ("holdfast.payments.v1.RefundRejected", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.RefundOutcomeUnknown", &[By::Call]),
    ("holdfast.payments.v1.RefundReversed", &[By::Command, By::Event, By::Call]),
    ("holdfast.payments.v1.RefundResolved", &[By::Command]),
    // What is told of a dispute before the payment is asked for is judged when it is.
    ("holdfast.payments.v1.PaymentDisputed", &[By::Command, By::Event]),
    ("holdfast.payments.v1.DisputeFundsWithdrawn", &[By::Command, By::Event]),
    ("holdfast.payments.v1.DisputeFundsReinstated", &[By::Command, By::Event]),
    ("holdfast.payments.v1.DisputeClosed", &[By::Command, By::Event]),
    ("holdfast.payments.v1.CouponOpened", &[By::Command]),
    ("holdfast.payments.v1.CouponClosed", &[By::Command]),
    ("holdfast.payments.v1.CouponHeld", &[By::Event]),
    ("holdfast.payments.v1.CouponRejected", &[By::Event]),
    ("holdfast.payments.v1.CouponRedeemed", &[By::Event]),
    ("holdfast.payments.v1.CouponReleased", &[By::Event]),
    ("holdfast.payments.v1.WalletToppedUp", &[By::Command]),
    ("holdfast.payments.v1.WalletWithdrawnFrom", &[By::Command]),
    // The adapter to wallets sends commands as any client does.
    ("holdfast.payments.v1.FundsHeld", &[By::Command]),
    ("holdfast.payments.v1.FundsRejected", &[By::Command]),
    ("holdfast.payments.v1.FundsCommitted", &[By::Command]),
    ("holdfast.payments.v1.FundsReleased", &[By::Command]),
    ("holdfast.payments.v1.WalletCredited", &[By::Command]),
];

/// Tries of one call that are looked for: a day of them, at the pace that they come down to.
const TRIES_MAX: u32 = 10_000;

/// Tries after which most calls have ended: each more that is looked for is a hash, and for millions of events that is too dear.
const TRIES_USUAL: u32 = 5;

/// What was seen of ids and causes so far.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// By id: the story of an event, and the place of its type in [`CAUSES`].
    events: HashMap<Uuid, (Uuid, usize), BuildHasherDefault<OfIds>>,
    /// By stream: what its events have asked for.
    asked: BTreeMap<String, Asked>,
    /// `None`: there is no inbox to look into.
    answered: Option<Answered>,
}

/// What an event asks for: when the timer is due that it sets, and the key of the outside call.
#[derive(Debug, Default)]
pub(super) struct Asks {
    timer: Option<Timestamp>,
    call: Option<String>,
}

/// The hash of an event's id, which is one already. Nobody chooses it.
#[derive(Debug, Default)]
struct OfIds(u64);

impl Hasher for OfIds {
    fn write(&mut self, bytes: &[u8]) {
        // How long it is comes first.
        if let Some(last) = bytes.last_chunk().filter(|_| bytes.len() > size_of::<usize>()) {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What events of a stream have asked for.
#[derive(Debug, Default)]
struct Asked {
    /// When timers of the stream are due. One that another replica has at work just then outlives being set anew.
    timers: Vec<Timestamp>,
    /// Keys of outside calls, each with its story.
    calls: Vec<(String, Uuid)>,
}

impl Causes {
    /// With what each service has answered.
    pub(super) fn of_answered(answered: Answered) -> Self {
        Self { answered: Some(answered), ..Self::default() }
    }

    /// With what was answered since.
    pub(super) fn answered_too(&mut self, answered: Answered) {
        for (service, answers) in answered {
            self.answered.get_or_insert_default().entry(service).or_default().add(answers);
        }
    }

    /// Looks at the next event, whatever it asks for.
    pub(super) fn take(&mut self, event: &StoredEvent, findings: &mut Findings) {
        self.look_at(event, findings);
        self.remember(event, asks(event));
    }

    /// Looks at the next event.
    pub(super) fn look_at(&mut self, event: &StoredEvent, findings: &mut Findings) {
        let mut wrong = |what: String| findings.add(Check::Log, &event.stream, what, Some(event.position));
        let place = place(&event.message_type);
        if event.event_id.is_nil() || event.correlation_id.is_nil() || event.causation_id.is_nil() {
            wrong("its event, correlation or causation id is nil".to_owned());
        } else if event.causation_id == event.event_id {
            wrong("it is said to have caused itself".to_owned());
        } else if event_id(event.causation_id, &event.stream, event.version) != event.event_id {
            wrong(format!(
                "its id {} does not follow from its cause {} and its place",
                event.event_id, event.causation_id
            ));
        } else if let Some(what) = place.and_then(|place| self.contradicts(event, place)) {
            wrong(what);
        }
        // A refusal causes nothing.
        if !is_rejection(&event.message_type) && self.insert(event, place) {
            wrong(format!("two events have the id {}", event.event_id));
        }
    }

    /// Whether there is one of its id already.
    fn insert(&mut self, event: &StoredEvent, place: Option<usize>) -> bool {
        let known = (event.correlation_id, place.unwrap_or(usize::MAX));
        self.events.insert(event.event_id, known).is_some()
    }

    /// Lets go of what these streams have asked for.
    pub(super) fn let_go(&mut self, streams: &[String]) {
        for stream in streams {
            self.asked.remove(stream);
        }
    }

    /// Forgets events that cause nothing any more.
    pub(super) fn forget(&mut self, ids: &[Uuid]) {
        for id in ids {
            self.events.remove(id);
        }
    }

    /// Takes an event back that was looked at once.
    pub(super) fn take_back(&mut self, event: &StoredEvent, asks: Asks) {
        self.insert(event, place(&event.message_type));
        self.remember(event, asks);
    }

    /// Tells of every command that was answered with more events than the log has.
    pub(super) fn check_answers(&self, findings: &mut Findings) {
        for (service, answers) in self.answered.iter().flatten() {
            for (command_id, what) in answers.lacking() {
                findings.add(Check::Log, refusal_stream(service, &command_id.to_string()), what, None);
            }
        }
    }

    /// What is wrong with the cause of an event whose type has this place.
    fn contradicts(&mut self, event: &StoredEvent, place: usize) -> Option<String> {
        let causes = CAUSES.get(place).map(|(_, causes)| *causes).unwrap_or_default();
        let can = |by: By| causes.contains(&by) && (by != By::Command || names_who_commands(event));
        if let Some((story, place)) = self.events.get(&event.causation_id) {
            let cause = CAUSES.get(*place).map_or("an event of no known type", |(message_type, _)| message_type);
            return if !can(By::Event) || !reacts_to(&event.service).contains(&cause) {
                Some(format!("it is said to follow from {cause} {}, and cannot", event.causation_id))
            } else {
                of_story(event, *story)
            };
        }
        // Without an inbox, what can be a command is taken for one, unless it shows soon that it is something else.
        let may_be_command = can(By::Command) && self.answered.is_none();
        if can(By::Command)
            && let Some(answers) = self.answered.as_mut().and_then(|answered| answered.get_mut(event.service.as_str()))
            && let Some(answer) = answers.get_mut(event.causation_id)
        {
            return answer.contradicts(event.recorded_at);
        }
        let (asked, story) = (self.asked.get(&event.stream), timer_story(&event.stream, event.causation_id));
        if can(By::Timer) && asked.is_some_and(|asked| asked.has_timer(event)) {
            return of_story(event, story);
        }
        let tries = if may_be_command { TRIES_USUAL } else { TRIES_MAX };
        if can(By::Call)
            && let Some(story) = asked.and_then(|asked| asked.call(event.causation_id, tries))
        {
            return of_story(event, story);
        }
        let is_put_off = || self.answered.is_some() && asked.is_some_and(|asked| asked.may_have_put_off(event));
        if can(By::Timer) && is_put_off() {
            return of_story(event, story);
        }
        if may_be_command {
            return None;
        }
        let unknown = [
            (By::Event, "no event before it"),
            (By::Command, "no command that its service has answered"),
            (By::Timer, "no timer of its stream"),
            (By::Call, "no outside call of its stream"),
        ];
        let unknown: Vec<&str> = unknown.into_iter().filter(|(by, _)| can(*by)).map(|(_, words)| words).collect();
        Some(format!("its cause {} is {}", event.causation_id, unknown.join(" and ")))
    }

    /// Keeps in mind what an event asks for.
    pub(super) fn remember(&mut self, event: &StoredEvent, asks: Asks) {
        let Asks { timer, call } = asks;
        if timer.is_some() || call.is_some() {
            let asked = self.asked.entry(event.stream.clone()).or_default();
            asked.timers.extend(timer);
            asked.calls.extend(call.map(|key| (key, event.correlation_id)));
        }
    }
}

impl Asks {
    /// What an event of a service asks for.
    pub(super) fn of<S: Decider>(event: &S::Event) -> Self {
        Self { timer: S::timer(event).and_then(Timer::due_at), call: S::effect(event).map(|effect| effect.key) }
    }
}

impl Asked {
    /// Whether the cause of an event is a timer of its stream. The latest is the likeliest.
    fn has_timer(&self, event: &StoredEvent) -> bool {
        let is_it = |due_at: &Timestamp| timer_id(&event.service, &event.stream, *due_at) == event.causation_id;
        self.timers.iter().rev().any(is_it)
    }

    /// Whether the cause of an event may be a timer that was put off: of the form of one, and some timer was due before.
    fn may_have_put_off(&self, event: &StoredEvent) -> bool {
        event.causation_id.get_version() == Some(Version::Sha1)
            && self.timers.iter().any(|due_at| *due_at < event.recorded_at)
    }

    /// The story of the call that has this id, if it ended with one of so many tries.
    fn call(&self, id: Uuid, tries: u32) -> Option<Uuid> {
        let of_try = |attempt| self.calls.iter().rev().find(|(key, _)| call_id(key, attempt) == id);
        (1..=tries).find_map(of_try).map(|(_, story)| *story)
    }
}

/// The place of a type in [`CAUSES`].
fn place(message_type: &str) -> Option<usize> {
    static PLACES: LazyLock<HashMap<&str, usize>> =
        LazyLock::new(|| CAUSES.iter().enumerate().map(|(place, (message_type, _))| (*message_type, place)).collect());
    PLACES.get(message_type).copied()
}

/// Of an event that a timer causes, too: whether it says who asked for it.
fn names_who_commands(event: &StoredEvent) -> bool {
    event.message_type != OrderExpired::full_name()
        || OrderExpired::decode(event.data.as_slice()).is_ok_and(|expired| !expired.actor.is_empty())
}

fn of_story(event: &StoredEvent, story: Uuid) -> Option<String> {
    (event.correlation_id != story)
        .then(|| format!("it is of story {}, and its cause {} of {story}", event.correlation_id, event.causation_id))
}

/// To what a service reacts, and has ever reacted.
fn reacts_to(service: &str) -> &'static [&'static str] {
    match service {
        Orders::NAME => Orders::REACTS_TO,
        Inventory::NAME => Inventory::REACTS_TO,
        Rounds::NAME => Rounds::REACTS_TO,
        <Payments>::NAME => <Payments>::REACTS_TO,
        _ => &[],
    }
}

/// What an event asks for. Nothing, if it cannot be read: the fold tells of it.
pub(super) fn asks(event: &StoredEvent) -> Asks {
    fn of<S: Decider>(event: &StoredEvent) -> Asks {
        S::decode_event(&event.message_type, &event.data).map(|read| Asks::of::<S>(&read)).unwrap_or_default()
    }
    match event.service.as_str() {
        Orders::NAME => of::<Orders>(event),
        Rounds::NAME => of::<Rounds>(event),
        Inventory::NAME => of::<Inventory>(event),
        <Payments>::NAME => of::<Payments>(event),
        _ => Asks::default(),
    }
}

#[cfg(test)]
mod tests;
