//! What holds whatever comes, in whatever order, how often so ever: invariants after every step, and a fold that is equal.

mod neighbours;

use std::collections::BTreeMap;

use domain::{
    DecideError, Decider, Dispute, DisputeStanding, HoldKey, Lines, Money, OrderId, PaymentId, RefundId, StreamVersion,
    Timer, Timestamp,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{
    Orders,
    command::{Command, RefundRequest},
    event::Event,
    order::{
        LatePaymentPolicy, OrderTerms, Phase, RefundItems, RefundReason, Resource, State, evolve, late_refund_id,
        round_refund_id,
        spec::{NOW, TIME_TO_PAY, both, coupon, discount_of, euros, goods, none_left, pieces, refund, round},
    },
};

/// The service as the runtime drives it, but in memory: it numbers events, keeps timers, and checks after every command.
#[derive(Default)]
struct Fleet {
    state: State,
    /// Every event, as it reads back from its bytes.
    log: Vec<Event>,
    timers: BTreeMap<OrderId, Timestamp>,
    /// Money that was told of and taken in, by the order it was for.
    came_in: BTreeMap<PaymentId, (OrderId, i64)>,
    at: Timestamp,
}

impl Fleet {
    fn new() -> Self {
        Self { at: NOW, ..Self::default() }
    }

    fn handle(&mut self, command: &Command) -> Result<Vec<Event>, DecideError> {
        let events = Orders::decide(&self.state, command, self.at)?;
        for event in &events {
            let before = self.state.orders.get(&event.order_id()).map(|order| order.version).unwrap_or_default();
            Orders::evolve(&mut self.state, event);
            let record = Orders::encode(&self.state, event);
            assert_eq!((record.version, record.stream), (before.next(), event.stream()), "{event:?}");
            assert_eq!(Orders::decode_event(record.message_type, &record.data).as_ref(), Ok(event));
            match Orders::timer(event) {
                Some(Timer::Set(at)) => drop(self.timers.insert(event.order_id(), at)),
                Some(Timer::Clear) => drop(self.timers.remove(&event.order_id())),
                None => {}
            }
            self.log.push(event.clone());
        }
        if let Command::RecordPayment { key, payment_id, amount } = command {
            self.came_in.entry(*payment_id).or_insert((key.order_id, amount.minor_units));
        }
        self.check();
        Ok(events)
    }

    /// The order's timer rings, if it is due or if nothing else happens until then.
    fn ring(&mut self, order_id: OrderId) -> Vec<Event> {
        let Some(due_at) = self.timers.remove(&order_id) else { return vec![] };
        self.at = self.at.max(due_at);
        let command = Orders::on_timer(&format!("order-{order_id}")).unwrap();
        let events = self.handle(&command).unwrap();
        assert!(matches!(events.first(), Some(Event::OrderExpired { .. })), "a timer that rings for nothing");
        events
    }

    fn check(&self) {
        for (_, order) in self.state.orders.iter() {
            let phase = order.status.phase();
            let paid = if phase == Phase::Paid { order.to_pay().minor_units } else { 0 };
            assert_eq!(order.captured_minor, paid, "{order:?}");
            assert!(order.to_pay().minor_units >= 0, "{order:?}");
            assert!(!order.released || phase == Phase::Closed, "{order:?}");
            assert_eq!(order.released, phase == Phase::Closed && !order.has_open_holds_except(None), "{order:?}");
            let timed = phase == Phase::Open && order.expires_at.is_some();
            assert_eq!(self.timers.get(&order.order_id), order.expires_at.filter(|_| timed).as_ref(), "{order:?}");
            let Some(payment_id) = order.payment_id.filter(|payment_id| order.is_paid_by(*payment_id)) else {
                continue;
            };
            assert_eq!(order.captured_minor, order.received(payment_id));
            assert_eq!(order.refunded_minor, order.refunded(payment_id));
            assert!(order.refunded_minor <= order.captured_minor, "{order:?}");
        }
    }

    /// What the log alone says: it folds to the same rows, and nothing in it happens twice.
    fn audit(&self) {
        let mut fold = State::default();
        self.log.iter().for_each(|event| evolve(&mut fold, event));
        assert_eq!(Orders::rows(&fold), Orders::rows(&self.state));
        let mut ledgers: BTreeMap<OrderId, Ledger> = BTreeMap::new();
        for event in &self.log {
            ledgers.entry(event.order_id()).or_default().enter(event, &self.came_in);
        }
        for (payment_id, (order_id, minor_units)) in &self.came_in {
            let (ledger, order) = (&ledgers[order_id], self.state.orders.get(order_id).unwrap());
            let paid = ledger.paid_by == Some(*payment_id);
            let late = ledger.refunds.contains_key(&late_refund_id(*payment_id));
            let waiting = order.status.phase() == Phase::Open && order.payment_id == Some(*payment_id);
            let deferred = order.waiting_payment.is_some_and(|(waiting, _)| waiting == *payment_id);
            let uses = [paid, late, waiting, deferred].into_iter().filter(|used| *used).count();
            assert_eq!(uses, 1, "{minor_units} of payment {payment_id} are not used or sent back once");
        }
    }
}

/// One order's history, kept by other means than the order itself.
#[derive(Default)]
struct Ledger {
    bought: Lines,
    paid_by: Option<PaymentId>,
    /// Attempts that were paid or closed, and of those the closed ones, and of those the ones with a receipt.
    ended: Vec<HoldKey>,
    closed: Vec<HoldKey>,
    receipts: Vec<HoldKey>,
    refunds: BTreeMap<RefundId, Asked>,
}

/// What a refund takes, and from which payment.
struct Asked {
    payment_id: PaymentId,
    claim: RefundItems,
    /// One that was given up takes nothing.
    is_live: bool,
    is_back: bool,
}

impl Ledger {
    fn enter(&mut self, event: &Event, came_in: &BTreeMap<PaymentId, (OrderId, i64)>) {
        match event {
            Event::OrderPlaced { terms, .. } => {
                for ((sku, _), count) in terms.pieces(None) {
                    *self.bought.entry(sku).or_default() += count;
                }
            }
            Event::OrderPaid { key, payment_id, .. } => {
                once(&mut self.ended, *key);
                assert_eq!(self.paid_by.replace(*payment_id), None);
            }
            Event::OrderRejected { key, .. } | Event::OrderExpired { key, .. } | Event::OrderCancelled { key, .. } => {
                once(&mut self.ended, *key);
                self.closed.push(*key);
            }
            Event::OrderReleased { key } => {
                assert!(self.closed.contains(key));
                once(&mut self.receipts, *key);
            }
            Event::OrderReinstated(reinstated) => {
                let before = HoldKey { attempt: reinstated.key.attempt - 1, ..reinstated.key };
                assert!(self.receipts.contains(&before), "opened before all was released");
            }
            Event::RefundRequested { refund_id, payment_id, claim, .. } => {
                let of_goods = claim.return_shares || !claim.lines.is_empty();
                assert!(claim.amount.minor_units > 0 || of_goods, "a refund of nothing");
                let asked = Asked { payment_id: *payment_id, claim: claim.clone(), is_live: true, is_back: false };
                assert!(self.refunds.insert(*refund_id, asked).is_none());
                // Late money goes back as it came in, even if some of it is heard to have gone back elsewhere: payments refuses that.
                let as_it_came = matches!(claim.reason, RefundReason::Elsewhere | RefundReason::LatePayment);
                if !as_it_came && claim.amount.minor_units > 0 {
                    let live = self.refunds.values().filter(|asked| asked.is_live && asked.payment_id == *payment_id);
                    let sum: i64 = live.map(|asked| asked.claim.amount.minor_units).sum();
                    assert!(sum <= came_in[payment_id].1, "more is asked for than came");
                }
            }
            // It may have been given up before, and then less may come back than was asked for.
            Event::OrderRefunded { refund_id, claim, .. } | Event::OrderPartiallyRefunded { refund_id, claim, .. } => {
                let asked = self.refunds.get_mut(refund_id).unwrap();
                assert!(!asked.is_live || asked.claim == *claim);
                assert_eq!(asked.claim.amount, claim.amount);
                (asked.is_live, asked.is_back) = (true, true);
                asked.claim = claim.clone();
            }
            Event::RefundAbandoned { refund_id, .. } => {
                assert!(std::mem::replace(&mut self.refunds.get_mut(refund_id).unwrap().is_live, false));
            }
            Event::CouponRequested { .. }
            | Event::RedemptionRequested { .. }
            | Event::CaptureRequested { .. }
            | Event::VoidRequested { .. }
            | Event::OrderHoldConfirmed { .. }
            | Event::OrderReserved { .. }
            | Event::OrderReleaseConfirmed { .. }
            | Event::PaidOrderCancelled { .. }
            | Event::LatePaymentDeferred { .. }
            | Event::OrderDisputed { .. }
            | Event::ShareRefundDeferred { .. } => {}
        }
        self.balance(came_in);
    }

    fn balance(&self, came_in: &BTreeMap<PaymentId, (OrderId, i64)>) {
        let (mut money, mut pieces, mut shares) = (BTreeMap::<PaymentId, i64>::new(), Lines::new(), 0);
        for Asked { payment_id, claim, is_back, .. } in self.refunds.values().filter(|asked| asked.is_live) {
            // Of an order that was paid with nothing, no money goes back.
            if *is_back && claim.amount.minor_units > 0 {
                *money.entry(*payment_id).or_default() += claim.amount.minor_units;
            }
            shares += i32::from(claim.return_shares);
            for (sku, quantity) in &claim.lines {
                *pieces.entry(sku.clone()).or_default() += quantity;
            }
        }
        assert!(money.iter().all(|(payment_id, back)| *back <= came_in[payment_id].1), "{money:?} of {came_in:?}");
        assert!(pieces.iter().all(|(sku, back)| *back <= self.bought[sku]), "{pieces:?} of {:?}", self.bought);
        assert!(shares <= 1);
    }
}

fn once(keys: &mut Vec<HoldKey>, key: HoldKey) {
    assert!(!keys.contains(&key), "{key} twice");
    keys.push(key);
}

fn order_id(id: u8) -> OrderId {
    OrderId(Uuid::from_u128(u128::from(id) + 7))
}

fn any_key() -> impl Strategy<Value = HoldKey> {
    (0..2_u8, 1..4_i32).prop_map(|(id, attempt)| HoldKey { order_id: order_id(id), attempt })
}

fn any_terms() -> impl Strategy<Value = OrderTerms> {
    let coupons = prop_oneof![2 => Just(None), 1 => Just(Some("FREE")), 1 => Just(Some("THIRD"))];
    (any::<bool>(), any::<bool>(), any::<bool>(), coupons).prop_map(|(with_goods, with_shares, rehold_terms, code)| {
        let terms = if with_shares || !with_goods { both() } else { goods() };
        let terms = OrderTerms { coupon: code.map(coupon), ..terms };
        let late_payment_policy = if rehold_terms { LatePaymentPolicy::Rehold } else { LatePaymentPolicy::Refund };
        if with_goods {
            return OrderTerms { late_payment_policy, ..terms };
        }
        OrderTerms { late_payment_policy, lines: vec![], total: euros(1_500), ..terms }
    })
}

fn any_amount() -> impl Strategy<Value = Money> {
    prop_oneof![Just(1_000), Just(2_500), Just(1_500), 1..1_000_i64].prop_map(euros)
}

fn any_refund_id() -> impl Strategy<Value = RefundId> {
    prop_oneof![
        3 => (1..6_u128).prop_map(refund),
        1 => any_key().prop_map(|key| late_refund_id(key.payment_id())),
        1 => any_key().prop_map(|key| round_refund_id(key.order_id)),
    ]
}

prop_compose! {
    fn any_request()(
        id in 0..2_u8,
        refund_id in any_refund_id(),
        mugs in 0..3_i64,
        cups in 0..2_i64,
        return_shares in any::<bool>(),
        amount in proptest::option::of(any_amount()),
    ) -> RefundRequest {
        let mut lines = pieces(&[("mug", mugs), ("cup", cups)]);
        lines.retain(|_, quantity| *quantity > 0);
        let (actor, note) = ("ann".to_owned(), String::new());
        RefundRequest { order_id: order_id(id), refund_id, lines, return_shares, amount, actor, note }
    }
}

fn any_resource() -> impl Strategy<Value = Resource> {
    prop_oneof![Just(Resource::Stock), Just(Resource::Shares), Just(Resource::Coupon)]
}

fn any_resources() -> impl Strategy<Value = Vec<Resource>> {
    prop_oneof![
        3 => any_resource().prop_map(|resource| vec![resource]),
        1 => Just(vec![Resource::Shares, Resource::Stock]),
        1 => Just(vec![Resource::Coupon, Resource::Stock]),
    ]
}

/// A dispute at some point of its life; its money is of another size than anything else here.
fn any_dispute() -> impl Strategy<Value = Dispute> {
    (1..6_i32, prop::sample::select(DisputeStanding::ALL), any::<bool>()).prop_map(
        |(revision, standing, refundable)| Dispute {
            revision,
            status: standing.as_str().to_owned(),
            standing,
            reason: "fraudulent".to_owned(),
            amount: Some(euros(77)),
            due_by: None,
            refundable,
            withdrawn: (revision > 2).then(|| euros(77)),
            reinstated: (standing == DisputeStanding::Won).then(|| euros(77)),
            as_of: None,
            of_second_charge: false,
        },
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    let id = || (0..2_u8).prop_map(order_id);
    let words = || ("ann".to_owned(), "why".to_owned());
    prop_oneof![
        2 => (id(), any_terms(), any::<bool>()).prop_map(|(order_id, terms, is_referenced)| {
            let terms = OrderTerms { reference: is_referenced.then(|| "R-1".to_owned()), ..terms };
            Command::PlaceOrder { order_id, terms, contact: None, actor: String::new() }
        }),
        1 => (id(), 6..9_u128, 0..8_i64).prop_map(move |(order_id, id, expected)| {
            let (actor, note) = words();
            let command = Command::CancelOrder { order_id, refund_id: refund(id), actor, note };
            match expected {
                0..4 => command,
                version => Command::AtVersion { version: StreamVersion::new(version), command: Box::new(command) },
            }
        }),
        3 => any_request().prop_map(Command::RequestRefund),
        3 => id().prop_map(move |order_id| {
            let (actor, note) = words();
            Command::ReinstateOrder { order_id, time_to_pay: TIME_TO_PAY, actor, note }
        }),
        1 => id().prop_map(|order_id| Command::Expire { order_id }),
        1 => id().prop_map(|order_id| {
            Command::ExpireOrder { order_id, actor: "ann".to_owned(), note: "a test".to_owned() }
        }),
        6 => (any_key(), any_resources()).prop_map(|(key, resources)| Command::ConfirmHolds { key, resources, discount: None }),
        2 => (any_key(), any_resource()).prop_map(|(key, resource)| Command::RefuseHold { key, resource, rejection: none_left() }),
        5 => (any_key(), any_resources()).prop_map(|(key, resources)| Command::ConfirmReleases { key, resources }),
        5 => (any_key(), any_amount()).prop_map(|(key, amount)| {
            Command::RecordPayment { key, payment_id: key.payment_id(), amount }
        }),
        3 => (any_key(), any_amount()).prop_map(|(key, amount)| {
            Command::RecordAuthorisation { key, payment_id: key.payment_id(), amount }
        }),
        1 => any_key().prop_map(|key| {
            Command::RecordVoid { key, payment_id: key.payment_id(), reason: "it has lapsed".to_owned() }
        }),
        1 => any_key().prop_map(|key| Command::RecordPaymentFailure { key, reason: "declined".to_owned() }),
        4 => (id(), any_refund_id(), any_amount()).prop_map(|(order_id, refund_id, amount)| {
            Command::RecordRefund { order_id, refund_id, amount }
        }),
        3 => (id(), any_refund_id()).prop_map(|(order_id, refund_id)| {
            Command::AbandonRefund { order_id, refund_id, rejection: none_left() }
        }),
        2 => (any_key(), 20..23_u128, any_amount()).prop_map(|(key, id, amount)| {
            let (payment_id, refund_id, note) = (key.payment_id(), refund(id), String::new());
            Command::RecordRefundElsewhere { key, payment_id, refund_id, amount, note }
        }),
        2 => (any_key(), any_dispute()).prop_map(|(key, dispute)| {
            Command::RecordDispute { key, payment_id: key.payment_id(), dispute_id: "du_1".to_owned(), dispute }
        }),
        2 => any_key().prop_map(|key| Command::RefundShares { key, round_id: round(), note: String::new() }),
    ]
}

/// A command that fits where the order stands more often than chance does: it speaks of the latest attempt, of the price,
/// and of the amounts of its refunds.
fn to_the_point(state: &State, command: Command) -> Command {
    let order = state.orders.get(&command.order_id());
    match (command, order) {
        (Command::ConfirmHolds { resources, .. }, Some(order)) => {
            let discount = discount_of(&order.terms).filter(|_| resources.contains(&Resource::Coupon));
            Command::ConfirmHolds { key: order.key(), resources, discount }
        }
        (Command::ConfirmReleases { resources, .. }, Some(order)) => {
            Command::ConfirmReleases { key: order.key(), resources }
        }
        (Command::RecordPayment { key, payment_id, .. }, Some(order)) => {
            Command::RecordPayment { key, payment_id, amount: order.to_pay() }
        }
        (Command::RecordAuthorisation { key, payment_id, .. }, Some(order)) => {
            Command::RecordAuthorisation { key, payment_id, amount: order.to_pay() }
        }
        (Command::RecordRefund { order_id, refund_id, amount }, Some(order)) => {
            let amount = order.refunds.get(&refund_id).map_or(amount, |refund| refund.claim.amount);
            Command::RecordRefund { order_id, refund_id, amount }
        }
        (other, _) => other,
    }
}

/// Payments never says that more went back elsewhere than came.
fn is_true(state: &State, command: &Command) -> bool {
    let Command::RecordRefundElsewhere { payment_id, amount, .. } = command else { return true };
    state
        .orders
        .get(&command.order_id())
        .is_none_or(|order| order.refunded(*payment_id) + amount.minor_units <= order.received(*payment_id))
}

proptest! {
    /// Whatever anybody says, even what cannot be.
    #[test]
    fn any_sequence_of_commands_and_foreign_events_keeps_the_invariants(
        commands in proptest::collection::vec((any_command(), 0..4_u8), 0..120),
    ) {
        let mut fleet = Fleet::new();
        for (command, how) in commands {
            // Every fourth time it is far from the point; every fourth time a timer rings first.
            let command = if how == 0 { command } else { to_the_point(&fleet.state, command) };
            if !is_true(&fleet.state, &command) {
                continue;
            }
            if how == 1 {
                fleet.ring(command.order_id());
            }
            let first = fleet.handle(&command);
            // Said twice, it changes nothing more, whatever it changed; what is to be let go is let go once however often that is said.
            if first.is_ok() {
                let mut second = fleet.handle(&command).unwrap_or_default();
                second.retain(|event| !matches!(event, Event::VoidRequested { .. }));
                prop_assert_eq!(second, vec![]);
            }
        }
        fleet.audit();
    }
}
