//! Orders, each with all that belongs to it: which of them are in memory, since when nothing was heard of them, and which were let go.
//!
//! An order that is over is let go, with its holds, payments and refunds. Whatever is told of it later brings it back: it is folded again
//! from its own streams, which the log finds by their names. So memory holds what is open and what was touched lately, and of all else not
//! more than a number by which it is known that there was such an order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    hash::{BuildHasher, Hash, RandomState},
};

use domain::{Attempt, HoldKey, OrderId, PaymentId};
use proto::{Message, Name, orders::v1 as orders, payments::v1 as payments, rounds::v1 as rounds};
use runtime::{log::event_store::StoredEvent, service::is_rejection};
use uuid::Uuid;

use super::ledger::keys::Keys;

/// Attempts of an order with which it can be let go.
const ATTEMPTS_MAX: Attempt = 100;

/// Events after which the ids of an order that was let go are forgotten: its event may have caused one of a round, in the same
/// transaction.
const IDS_KEPT: u64 = 50_000;

/// Whose a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Order(OrderId, Attempt),
    /// Of the attempt that this is the payment of.
    Payment(PaymentId),
}

fn owner(stream: &str) -> Option<Owner> {
    let (category, name) = stream.split_once('-')?;
    match category {
        "order" => OrderId::parse(name).ok().map(|order_id| Owner::Order(order_id, 1)),
        "stock" | "shares" | "use" => {
            HoldKey::from_text(name).map(|HoldKey { order_id, attempt }| Owner::Order(order_id, attempt))
        }
        "payment" | "funds" => PaymentId::parse(name).ok().map(Owner::Payment),
        _ => None,
    }
}

/// The payment that a stream is of.
pub(super) fn payment_of(stream: &str) -> Option<PaymentId> {
    if let Owner::Payment(payment_id) = owner(stream)? { Some(payment_id) } else { None }
}

/// The attempt that an event asks a buyer to pay, or says that nobody is to be asked for.
fn key_of_payment(event: &StoredEvent) -> Option<HoldKey> {
    let data = event.data.as_slice();
    if event.message_type == payments::PaymentRequested::full_name() {
        let event = payments::PaymentRequested::decode(data).ok()?;
        return HoldKey::parse(&event.order_id, event.attempt).ok();
    }
    if event.message_type == payments::PaymentCancelled::full_name() {
        let event = payments::PaymentCancelled::decode(data).ok()?;
        return HoldKey::parse(&event.order_id, event.attempt).ok();
    }
    None
}

/// The attempt that an order is in from this event on.
fn reinstated(event: &StoredEvent) -> Option<Attempt> {
    let is_it = event.message_type == orders::OrderReinstated::full_name();
    is_it.then(|| orders::OrderReinstated::decode(event.data.as_slice()).unwrap_or_default().attempt)
}

/// Orders that an event is about beside the one that its stream is of.
fn named(event: &StoredEvent) -> Vec<OrderId> {
    if event.message_type != rounds::RoundRefundsRequested::full_name() {
        return Vec::new();
    }
    let participants = rounds::RoundRefundsRequested::decode(event.data.as_slice()).unwrap_or_default().participants;
    participants.iter().filter_map(|participant| OrderId::parse(&participant.order_id).ok()).collect()
}

/// An order in memory.
#[derive(Debug)]
struct Case {
    attempts: Attempt,
    /// How many events there were when one touched it last.
    touched: u64,
    /// With how many events it is to be looked at, whether it can be let go.
    due: u64,
    /// Of its events that may cause others.
    ids: Vec<Uuid>,
}

/// Which orders are in memory.
#[derive(Debug)]
pub(super) struct Cases {
    live: BTreeMap<OrderId, Case>,
    payments: HashMap<PaymentId, OrderId>,
    /// Hashes of the ids of those that were let go, and of their payments. One too many costs a look and no more.
    gone: HashSet<u64>,
    hasher: RandomState,
    /// Ids of events of those that were let go, and with how many events they are forgotten.
    leaving: VecDeque<(u64, OrderId, Vec<Uuid>)>,
    /// Events after the last of an order before it is let go.
    lately: u64,
    /// Whether an earlier audit has read what may be about any order.
    has_past: bool,
}

impl Cases {
    pub(super) fn keeping(lately: u64) -> Self {
        Self {
            live: BTreeMap::new(),
            payments: HashMap::new(),
            gone: HashSet::new(),
            hasher: RandomState::new(),
            leaving: VecDeque::new(),
            lately,
            has_past: false,
        }
    }

    /// As an earlier audit has left them: whatever is told of is looked up.
    pub(super) fn with_past(lately: u64) -> Self {
        Self { has_past: true, ..Self::keeping(lately) }
    }

    /// Those in memory.
    pub(super) fn live(&self) -> BTreeMap<OrderId, Attempt> {
        self.live.iter().map(|(order_id, case)| (*order_id, case.attempts)).collect()
    }

    fn hash(&self, id: impl Hash) -> u64 {
        self.hasher.hash_one(id)
    }

    /// Whether this order was let go, and is not in memory again.
    fn is_gone(&self, order_id: OrderId) -> bool {
        !self.live.contains_key(&order_id) && (self.has_past || self.gone.contains(&self.hash(order_id)))
    }

    /// Whether the order of this payment was let go, and is not in memory again.
    fn is_payment_gone(&self, payment_id: PaymentId) -> bool {
        !self.payments.contains_key(&payment_id) && (self.has_past || self.gone.contains(&self.hash(payment_id)))
    }

    /// The order in memory that a stream is of.
    pub(super) fn order_of(&self, stream: &str) -> Option<OrderId> {
        match owner(stream)? {
            Owner::Order(order_id, _) => Some(order_id),
            Owner::Payment(payment_id) => self.payments.get(&payment_id).copied(),
        }
    }

    /// What of these rows was let go.
    pub(super) fn wanted_by_name<'a>(&self, names: impl Iterator<Item = &'a str>) -> Wanted {
        let mut wanted = Wanted::default();
        names.for_each(|name| self.want(name, &mut wanted));
        wanted
    }

    fn want(&self, name: &str, wanted: &mut Wanted) {
        match owner(name) {
            Some(Owner::Order(order_id, _)) if self.is_gone(order_id) => {
                wanted.orders.insert(order_id, 0);
            }
            Some(Owner::Payment(payment_id)) if self.is_payment_gone(payment_id) => {
                wanted.payments.insert(payment_id);
            }
            Some(_) | None => {}
        }
    }

    /// What the next events are about that was let go.
    pub(super) fn wanted(&self, events: &[StoredEvent]) -> Wanted {
        let mut wanted = Wanted::default();
        if self.gone.is_empty() && !self.has_past {
            return wanted;
        }
        for event in events {
            self.want(&event.stream, &mut wanted);
            if self.has_past && is_rejection(&event.message_type) {
                wanted.refusals.insert(event.stream.clone());
            }
            // Of a payment this may be the first event.
            let of_payment = key_of_payment(event).map(|key| key.order_id);
            let named = named(event).into_iter().chain(of_payment).filter(|order_id| self.is_gone(*order_id));
            wanted.orders.extend(named.map(|order_id| (order_id, 0)));
        }
        wanted
    }

    /// The event with which there are so many was of this order, if it is of any. `id`: it may cause others.
    pub(super) fn touch(&mut self, event: &StoredEvent, id: Option<Uuid>, events: u64) {
        let owned = match owner(&event.stream) {
            Some(Owner::Order(order_id, attempt)) => Some((order_id, reinstated(event).unwrap_or(attempt))),
            Some(Owner::Payment(payment_id)) => {
                let known = self.payments.get(&payment_id).map(|order_id| (*order_id, 1));
                known.or_else(|| {
                    let key = key_of_payment(event).filter(|key| key.payment_id() == payment_id)?;
                    Some((key.order_id, key.attempt))
                })
            }
            None => None,
        };
        let due = events.saturating_add(self.lately);
        if let Some((order_id, attempt)) = owned {
            let attempts = attempt.clamp(1, ATTEMPTS_MAX);
            let case = self.live.entry(order_id).or_insert(Case { attempts: 0, touched: 0, due, ids: Vec::new() });
            for attempt in case.attempts + 1..=attempts {
                self.payments.insert(HoldKey { order_id, attempt }.payment_id(), order_id);
            }
            (case.attempts, case.touched, case.due) = (case.attempts.max(attempts), events, due);
            case.ids.extend(id);
        }
        for order_id in named(event) {
            if let Some(case) = self.live.get_mut(&order_id) {
                (case.touched, case.due) = (events, due);
            }
        }
    }

    /// Orders of which nothing was heard lately.
    pub(super) fn due(&self, events: u64) -> BTreeMap<OrderId, Attempt> {
        let due = self.live.iter().filter(|(_, case)| case.due <= events);
        due.map(|(order_id, case)| (*order_id, case.attempts)).collect()
    }

    /// Something may yet have to follow of these: they are looked at again after as long as nothing was heard of them so far.
    pub(super) fn put_off(&mut self, open: &BTreeSet<OrderId>, events: u64) {
        for order_id in open {
            if let Some(case) = self.live.get_mut(order_id) {
                case.due = events + (events - case.touched).max(1);
            }
        }
    }

    /// Lets go of an order.
    pub(super) fn let_go(&mut self, order_id: OrderId, events: u64) {
        let Some(case) = self.live.remove(&order_id) else { return };
        self.gone.insert(self.hash(order_id));
        for attempt in 1..=case.attempts {
            let payment_id = HoldKey { order_id, attempt }.payment_id();
            self.payments.remove(&payment_id);
            self.gone.insert(self.hash(payment_id));
        }
        self.leaving.push_back((events + IDS_KEPT, order_id, case.ids));
    }

    /// Ids of events that can cause nothing any more.
    pub(super) fn forgotten(&mut self, events: u64) -> Vec<Uuid> {
        let mut forgotten = Vec::new();
        while self.leaving.front().is_some_and(|(when, _, _)| *when <= events) {
            let Some((_, order_id, ids)) = self.leaving.pop_front() else { break };
            // It came back meanwhile, with them.
            if !self.live.contains_key(&order_id) {
                forgotten.extend(ids);
            }
        }
        forgotten
    }
}

/// What is to be read of what was let go: streams, then streams that those have told of.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Each with how many attempts of it are read.
    orders: BTreeMap<OrderId, Attempt>,
    payments: BTreeSet<PaymentId>,
    /// Streams of commands that were refused.
    refusals: BTreeSet<String>,
    refused: Vec<Uuid>,
    /// Whether the events that are read next only say of which orders payments are.
    asks: bool,
    attempts: BTreeMap<OrderId, Attempt>,
    events: Vec<StoredEvent>,
}

impl Wanted {
    /// These orders.
    pub(super) fn of(orders: impl IntoIterator<Item = OrderId>) -> Self {
        Self { orders: orders.into_iter().map(|order_id| (order_id, 0)).collect(), ..Self::default() }
    }

    /// Refusals that were read before.
    pub(super) fn refused(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.refused)
    }

    /// The streams to be read next, up to the event that is to be taken next.
    pub(super) fn streams(&mut self) -> Vec<String> {
        self.asks = !self.payments.is_empty() || !self.refusals.is_empty();
        if self.asks {
            let payments = std::mem::take(&mut self.payments).into_iter().map(|id| format!("payment-{id}"));
            return payments.chain(std::mem::take(&mut self.refusals)).collect();
        }
        let mut streams = Vec::new();
        for (order_id, read) in &mut self.orders {
            let attempts = self.attempts.get(order_id).copied().unwrap_or(1).clamp(1, ATTEMPTS_MAX);
            if *read < attempts {
                let known = if *read > 0 { order_id.streams(usize::try_from(*read).unwrap_or(0)).len() } else { 0 };
                streams.extend(order_id.streams(usize::try_from(attempts).unwrap_or(0)).into_iter().skip(known));
                *read = attempts;
            }
        }
        streams
    }

    /// Takes in what they are.
    pub(super) fn take(&mut self, events: Vec<StoredEvent>) {
        if self.asks {
            let keys = events.iter().filter_map(key_of_payment);
            self.orders.extend(keys.map(|key| (key.order_id, 0)));
            let refused = events.iter().filter(|event| is_rejection(&event.message_type));
            self.refused.extend(refused.map(|event| event.event_id));
            return;
        }
        for event in events {
            if let (Some(Owner::Order(order_id, _)), Some(attempt)) = (owner(&event.stream), reinstated(&event)) {
                let attempts = self.attempts.entry(order_id).or_insert(1);
                *attempts = attempt.max(*attempts);
            }
            self.events.push(event);
        }
    }

    /// The orders, and all their events in the order of the log.
    pub(super) fn end(mut self) -> (Keys, Vec<StoredEvent>) {
        self.events.sort_by_key(|event| event.position);
        (Keys::of(self.orders.iter().map(|(order_id, read)| (*order_id, *read))), self.events)
    }
}
