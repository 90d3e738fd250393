//! A town: all four services at their desks, buyers, a provider and operators, and a post that delivers late, twice and in any order.

use std::{collections::BTreeMap, time::Duration};

use domain::{Effect, PaymentId, Timestamp};
use holdfast_tests::second_thought;
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use platform::{clock, database::Pool};
use proto::{
    Message, Name,
    common::v1::Money,
    inventory::v1::{AdjustStock, ReceiveStock, RegisterProduct},
    orders::v1::{LatePaymentPolicy, OrderLine, PlaceOrder, SharePurchase},
    payments::v1::{PaymentRequested, RefundOutcomeUnknown, RefundResolution, ResolveRefund},
    rounds::v1::{CancelRound, CloseRound, OpenRound},
    well_known,
};
use providers::{
    Adapter, Registry,
    sandbox::{Sandbox, report},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use rounds::Rounds;
use runtime::service::{EffectOutcome, LeasedEffect, Service};
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::service_runner::{Happened, ServiceRunner, Task};

const ORDERS: usize = 60;
const PRODUCTS: usize = 5;
const ROUNDS: usize = 3;

/// Turns of a desk, in which a town must have come to rest.
const TURNS_MAX: usize = 20_000;

/// Long ago, so that whatever was owed is overdue when the audit looks.
const LONG_AGO: Duration = Duration::from_hours(48);

/// A call to the provider that is to be made.
struct Call {
    effect: Effect,
    story: Uuid,
    attempt: u32,
    last_error: Option<String>,
    in_flight: bool,
    accepted: bool,
    begun: Option<Timestamp>,
    key_spent: Option<Timestamp>,
}

/// All desks, and what is on its way.
pub(crate) struct InProcessFleet {
    connection: PgConnection,
    provider: Payments,
    orders: ServiceRunner<Orders>,
    inventory: ServiceRunner<Inventory>,
    rounds: ServiceRunner<Rounds>,
    payments: ServiceRunner<Payments>,
    /// What the provider will report, and what people will do, when.
    agenda: Vec<(Timestamp, Act)>,
    calls: Vec<(Timestamp, Call)>,
    now: Timestamp,
    seen: BTreeMap<String, u64>,
}

/// A command on its way to a desk.
struct Act {
    to: &'static str,
    id: Uuid,
    message_type: String,
    data: Vec<u8>,
}

fn act<M: Message + Name>(id: Uuid, command: &M) -> Act {
    sent(id, M::full_name(), command.encode_to_vec())
}

fn sent(id: Uuid, message_type: String, data: Vec<u8>) -> Act {
    let to = proto::SERVICES.into_iter().find(|service| proto::owner(&message_type) == Some(service)).unwrap();
    Act { to, id, message_type, data }
}

fn euros(cents: i64) -> Option<Money> {
    Some(Money { minor_units: cents, currency: "EUR".to_owned() })
}

fn seconds(seconds: i64) -> Option<well_known::Duration> {
    Some(well_known::Duration { seconds, nanos: 0 })
}

fn uuid(rng: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

impl InProcessFleet {
    pub(crate) async fn new(url: &str) -> Self {
        let sandbox = Sandbox::new(&Pool::new(PgPool::connect(url).await.unwrap()));
        let now = clock::now().as_micros() - i64::try_from(LONG_AGO.as_micros()).unwrap();
        Self {
            connection: PgConnection::connect(url).await.unwrap(),
            provider: Payments::new(Registry::new(vec![Adapter::Sandbox(sandbox)]), Duration::from_secs(5)),
            orders: ServiceRunner::new(),
            inventory: ServiceRunner::new(),
            rounds: ServiceRunner::new(),
            payments: ServiceRunner::new(),
            agenda: Vec::new(),
            calls: Vec::new(),
            now: Timestamp::from_micros(now),
            seen: BTreeMap::new(),
        }
    }

    /// How often each kind of event happened.
    pub(crate) fn seen(&self) -> &BTreeMap<String, u64> {
        &self.seen
    }

    /// Every desk's rows against its fold.
    pub(crate) async fn compare(&mut self) {
        self.orders.compare(&mut self.connection).await;
        self.inventory.compare(&mut self.connection).await;
        self.rounds.compare(&mut self.connection).await;
        self.payments.compare(&mut self.connection).await;
    }

    /// Some days in the life of a town, until nothing is left to do.
    pub(crate) async fn live(&mut self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        self.plan(&mut rng, seed);
        for _ in 0..TURNS_MAX {
            self.now = self.now + Duration::from_millis(rng.random_range(0..800));
            self.post(&mut rng);
            self.call(&mut rng).await;
            let busy: Vec<&str> = proto::SERVICES.into_iter().filter(|desk| self.tasks_of(desk) > 0).collect();
            let Some(desk) = busy.choose(&mut rng) else {
                match self.next_due() {
                    Some(due) => self.now = self.now.max(due),
                    None => return,
                }
                continue;
            };
            let (connection, now) = (&mut self.connection, self.now);
            let happened = match *desk {
                "orders" => self.orders.work(connection, &mut rng, now).await,
                "inventory" => self.inventory.work(connection, &mut rng, now).await,
                "rounds" => self.rounds.work(connection, &mut rng, now).await,
                _ => self.payments.work(connection, &mut rng, now).await,
            };
            for event in happened {
                self.hear(&event, &mut rng);
            }
        }
        panic!("town {seed} never comes to rest");
    }

    fn tasks_of(&self, desk: &str) -> usize {
        match desk {
            "orders" => self.orders.tasks.len(),
            "inventory" => self.inventory.tasks.len(),
            "rounds" => self.rounds.tasks.len(),
            _ => self.payments.tasks.len(),
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let agenda = self.agenda.iter().map(|(due, _)| *due);
        let calls = self.calls.iter().map(|(due, _)| *due);
        let timers = self.orders.timers.values().chain(self.rounds.timers.values()).copied();
        agenda.chain(calls).chain(timers).min()
    }

    /// Brings what is due to its desk.
    fn post(&mut self, rng: &mut StdRng) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.agenda).into_iter().partition(|(due, _)| *due <= now);
        self.agenda = later;
        let due: Vec<(Timestamp, Act)> = due;
        for (_, Act { to, id, message_type, data }) in due {
            let again = usize::from(rng.random_ratio(1, 6));
            for _ in 0..=again {
                let (message_type, data) = (message_type.clone(), data.clone());
                match to {
                    "orders" => self.orders.tasks.push(Task::Command { id, message_type, data }),
                    "inventory" => self.inventory.tasks.push(Task::Command { id, message_type, data }),
                    "rounds" => self.rounds.tasks.push(Task::Command { id, message_type, data }),
                    _ => self.payments.tasks.push(Task::Command { id, message_type, data }),
                }
            }
        }
        self.orders.wake(now);
        self.rounds.wake(now);
    }

    /// Makes the calls that are due, as the effects loop would.
    async fn call(&mut self, rng: &mut StdRng) {
        for (effect, story) in std::mem::take(&mut self.payments.effects) {
            let (last_error, in_flight, accepted, begun, key_spent) = (None, false, false, None, None);
            let call = Call { effect, story, attempt: 0, last_error, in_flight, accepted, begun, key_spent };
            self.calls.push((self.now, call));
        }
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.calls).into_iter().partition(|(due, _)| *due <= now);
        self.calls = later;
        let due: Vec<(Timestamp, Call)> = due;
        for (_, mut call) in due {
            call.attempt += 1;
            let claimed = LeasedEffect {
                key: call.effect.key.clone(),
                message_type: call.effect.message_type.to_owned(),
                data: call.effect.data.clone(),
                attempt: call.attempt,
                deadline: call.effect.deadline,
                begun_at: *call.begun.get_or_insert(now),
                now,
                last_error: call.last_error.clone(),
                in_flight: call.in_flight,
                accepted: call.accepted,
                key_spent: call.key_spent,
            };
            let verdict = self.provider.perform(claimed).await;
            // Now and then the process dies after the call and before anybody notes how it ended.
            let dies = rng.random_ratio(1, 8);
            match verdict {
                _ if dies => {
                    call.in_flight = true;
                    self.calls.push((now + Duration::from_secs(20), call));
                }
                EffectOutcome::Unreadable(rejection) => panic!("a call that can never be made: {rejection}"),
                EffectOutcome::Done(command) => {
                    let Call { effect: Effect { key, .. }, story, attempt, .. } = call;
                    self.payments.tasks.push(Task::Outcome { key, attempt, story, command });
                }
                EffectOutcome::Retry { error, in_flight } => {
                    call.in_flight = in_flight;
                    call.last_error = Some(error);
                    self.calls.push((now + Duration::from_secs(1), call));
                }
                EffectOutcome::Wait { after, error, in_flight }
                | EffectOutcome::Stopped { by: _, after, error, in_flight } => {
                    call.in_flight = in_flight;
                    call.begun = call.begun.filter(|_| in_flight);
                    call.last_error = Some(error);
                    self.calls.push((now + after, call));
                }
                EffectOutcome::Accepted { after, error } => {
                    (call.in_flight, call.accepted, call.last_error) = (true, true, Some(error));
                    self.calls.push((now + after, call));
                }
                EffectOutcome::Spent { after, error } => {
                    (call.in_flight, call.last_error) = (true, Some(error));
                    call.key_spent.get_or_insert(now);
                    self.calls.push((now + after, call));
                }
            }
        }
    }

    /// Tells every desk, the provider and the operators what happened.
    fn hear(&mut self, event: &Happened, rng: &mut StdRng) {
        *self.seen.entry(proto::short_name(&event.message_type).to_owned()).or_default() += 1;
        self.orders.hear(event);
        self.inventory.hear(event);
        self.rounds.hear(event);
        self.payments.hear(event);
        if event.message_type == PaymentRequested::full_name() {
            let payment = PaymentRequested::decode(event.data.as_slice()).unwrap();
            if let Some(report) = report::of_payment(&payment, self.now) {
                self.agenda.push((report.due, act(report.id, &report.command)));
            }
        }
        if event.message_type == RefundOutcomeUnknown::full_name() {
            let refund = RefundOutcomeUnknown::decode(event.data.as_slice()).unwrap();
            let resolution =
                [RefundResolution::Retry, RefundResolution::Refunded, RefundResolution::Abandon].choose(rng).unwrap();
            let resolve = ResolveRefund {
                payment_id: PaymentId::parse(&refund.payment_id).unwrap().to_string(),
                refund_id: refund.refund_id,
                resolution: (*resolution).into(),
                actor: "operator".to_owned(),
                note: "asked the provider".to_owned(),
            };
            self.agenda.push((self.now + Duration::from_mins(1), act(uuid(rng), &resolve)));
        }
    }

    /// What people will do.
    fn plan(&mut self, rng: &mut StdRng, seed: u64) {
        let begin = self.now;
        let at = |rng: &mut StdRng, within: u64| begin + Duration::from_secs(rng.random_range(0..=within));
        let mut agenda = Vec::new();
        for product in 0..PRODUCTS {
            let sku = format!("P-{seed}-{product}");
            let register =
                RegisterProduct { sku: sku.clone(), name: format!("Product {product}"), actor: String::new() };
            agenda.push((begin, act(uuid(rng), &register)));
            for quantity in [15, rng.random_range(1..40)] {
                let receive =
                    ReceiveStock { sku: sku.clone(), quantity, reference: String::new(), actor: String::new() };
                agenda.push((at(rng, 60), act(uuid(rng), &receive)));
            }
            let delta = if rng.random_bool(0.5) { 3 } else { -2 };
            let adjust = AdjustStock { sku, delta, actor: "ops".to_owned(), reason: "counted".to_owned() };
            agenda.push((at(rng, 120), act(uuid(rng), &adjust)));
        }
        let rounds: Vec<Uuid> = (0..ROUNDS).map(|_| uuid(rng)).collect();
        for (number, round) in rounds.iter().enumerate() {
            let open = OpenRound {
                round_id: round.to_string(),
                prize: "bicycle".to_owned(),
                // The first sells out, the others end before.
                total_shares: if number == 0 { 6 } else { 500 },
                share_price: euros(500),
                closes_at: Some((begin + Duration::from_secs(300)).to_wire()),
                actor: String::new(),
            };
            agenda.push((begin, act(uuid(rng), &open)));
            let (round_id, actor, note) = (round.to_string(), "ops".to_owned(), "enough".to_owned());
            let end = at(rng, 200) + Duration::from_secs(60);
            match number {
                1 => agenda.push((end, act(uuid(rng), &CancelRound { round_id, actor, note }))),
                2 if rng.random_bool(0.5) => agenda.push((end, act(uuid(rng), &CloseRound { round_id, actor, note }))),
                _ => {}
            }
        }
        for _ in 0..ORDERS {
            let order = order(rng, seed, &rounds);
            let placed = at(rng, 120);
            agenda.push((placed, act(uuid(rng), &order)));
            for _ in 0..rng.random_range(0..3) {
                let later = placed + Duration::from_secs(rng.random_range(0..150));
                let id = uuid(rng);
                let (message_type, data) = second_thought(rng, &order);
                agenda.push((later, sent(id, message_type, data)));
            }
        }
        self.agenda.extend(agenda);
    }
}

fn order(rng: &mut StdRng, seed: u64, rounds: &[Uuid]) -> PlaceOrder {
    let line = |rng: &mut StdRng| {
        // One product in a while is not known to anybody.
        let product = rng.random_range(0..=PRODUCTS * 4) % (PRODUCTS + usize::from(rng.random_ratio(1, 30)));
        let unit_price = euros(rng.random_range(1..2_000));
        OrderLine { sku: format!("P-{seed}-{product}"), quantity: rng.random_range(1..4), unit_price }
    };
    let lines: Vec<OrderLine> = (0..rng.random_range(0..4)).map(|_| line(rng)).collect();
    let wants_shares = lines.is_empty() || rng.random_bool(0.4);
    let shares = wants_shares.then(|| SharePurchase {
        round_id: rounds.choose(rng).unwrap().to_string(),
        count: rng.random_range(1..3),
        unit_price: euros(500),
    });
    let scripts = [
        "sandbox:succeed",
        "sandbox:succeed,after=4s",
        "sandbox:succeed,refund=decline",
        "sandbox:succeed,refund=lose_response",
        "sandbox:succeed,refund=fail_then_succeed",
        "sandbox:decline,after=1s",
        "sandbox:never",
        "sandbox:late,after=2s",
    ];
    PlaceOrder {
        order_id: uuid(rng).to_string(),
        customer_id: "customer".to_owned(),
        lines,
        shares,
        time_to_pay: seconds(rng.random_range(5..120)),
        late_payment_policy: if rng.random_bool(0.5) { LatePaymentPolicy::Rehold.into() } else { 0 },
        payment_method: (*scripts.choose(rng).unwrap()).to_owned(),
        reference: if rng.random_ratio(1, 3) { format!("R-{}", rng.random_range(0..1_000)) } else { String::new() },
        coupon_code: String::new(),
        contact_email: String::new(),
        actor: String::new(),
    }
}
