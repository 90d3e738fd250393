//! The engine: a clock that jumps, a log with transactions under way, a broker that delivers late, twice, in any order or never,
//! and a relay that makes up for it. One thread, and every choice from one seed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Display,
    rc::Rc,
    time::Duration,
};

use cli::verify::Auditor;
use domain::{PaymentId, RefundId, Timestamp};
use inventory::Inventory;
use orders::Orders;
use payments::{Payments, sandbox::report};
use proto::{
    Message as _, Name,
    payments::v1::{PaymentRefunded, PaymentRequested, RefundOutcomeUnknown},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rounds::Rounds;
use runtime::{event_store::Recorded, simulation::GapTracker};
use uuid::Uuid;

use crate::{
    desk::{Desk, Message, Place, Tried},
    provider::Bank,
    workload::{DAY, Intent, day, resolve},
};

/// How often the relay looks, and how long it leaves an event to the worker that wrote it.
const RELAY_EVERY: Duration = Duration::from_millis(500);

/// How long the broker waits for an acknowledgement.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Once nothing goes wrong any more, everything must have come to its end within this.
const SETTLES_WITHIN: Duration = Duration::from_secs(3_600);

/// Events that the relay reads at once.
const PAGE: usize = 50;

/// The chance of each fault, in 1,000.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) crash: u32,
    pub(crate) unpublished: u32,
    pub(crate) report_lost: u32,
    pub(crate) ack_lost: u32,
    pub(crate) reply_lost: u32,
    pub(crate) twice: u32,
    pub(crate) late: u32,
    pub(crate) long_transaction: u32,
    pub(crate) relay_dies: u32,
    pub(crate) call_dies: u32,
    pub(crate) wrong_calls: u32,
    /// How often a day the broker loses all it has.
    pub(crate) wipes: u32,
}

impl Faults {
    /// Another mixture each time: some faults often, some never.
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        let mut chance = |most: u32| if rng.random_bool(0.4) { 0 } else { rng.random_range(1..=most) };
        Self {
            crash: chance(150),
            unpublished: chance(200),
            report_lost: chance(300),
            ack_lost: chance(200),
            reply_lost: chance(300),
            twice: chance(300),
            late: chance(300),
            long_transaction: chance(200),
            relay_dies: chance(200),
            call_dies: chance(300),
            wrong_calls: chance(500),
            wipes: chance(5),
        }
    }
}

/// One simulation.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) orders: usize,
    /// Whether to tell what happens.
    pub(crate) tells: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) events: usize,
    pub(crate) steps: u64,
    /// What must not be.
    pub(crate) violation: Option<String>,
    pub(crate) story: Vec<String>,
}

/// Something that is going to happen.
#[derive(Debug)]
enum Next {
    Send(usize),
    Arrive(u64),
    Work(usize),
    Wake(usize),
    Commit(usize),
    Call(usize, String),
    Relay,
    Wipe,
    Heal,
}

/// A transaction under way.
#[derive(Debug)]
struct Open {
    xid: i64,
    events: Vec<Recorded>,
}

#[derive(Debug, Default)]
struct Relay {
    checkpoint: i64,
    handled: i64,
    gaps: GapTracker,
    /// Positions that workers have published.
    reported: BTreeSet<i64>,
    /// Whether the broker lost all it had, and the relay has not gone back yet.
    is_behind: bool,
}

pub(crate) struct Engine {
    rng: StdRng,
    faults: Faults,
    begin: Timestamp,
    now: Timestamp,
    count: u64,
    agenda: BTreeMap<(Timestamp, u64), Next>,
    desks: [Box<dyn Place>; 4],
    open: [Option<Open>; 4],
    /// When each looks for timers next.
    wakes: [Option<Timestamp>; 4],
    bank: Bank,
    log: BTreeMap<i64, Recorded>,
    /// Positions that were drawn by transactions under way.
    drawn: BTreeSet<i64>,
    position: i64,
    xid: i64,
    xids: BTreeSet<i64>,
    unacknowledged: BTreeMap<u64, (usize, Rc<Message>)>,
    /// Which services have not handled an event that was published, by its position.
    owed: BTreeMap<i64, BTreeSet<usize>>,
    relay: Relay,
    intents: Vec<Intent>,
    answered: BTreeSet<Uuid>,
    is_healed: bool,
    audited: i64,
    auditor: Auditor,
    tells: bool,
    story: VecDeque<String>,
}

/// Runs one simulation to its end, or to the first violation.
pub(crate) fn simulate(setup: &Setup) -> Ended {
    let mut engine = Engine::new(setup);
    let (mut steps, mut violation) = (0, None);
    while violation.is_none() {
        steps += 1;
        match engine.step() {
            Ok(true) => {}
            Ok(false) => {
                violation = engine.final_check().err();
                break;
            }
            Err(wrong) => violation = Some(wrong),
        }
    }
    Ended { events: engine.log.len(), steps, violation, story: engine.story.into_iter().collect() }
}

impl Engine {
    fn new(setup: &Setup) -> Self {
        let mut rng = StdRng::seed_from_u64(setup.seed);
        let faults = Faults::any(&mut rng);
        let begin = Timestamp::from_micros(1_700_000_000_000_000);
        let bank = Bank::new(setup.seed, faults.wrong_calls);
        let intents = day(&mut rng, begin, setup.orders);
        let payments = Payments::new(bank.clone(), Duration::from_secs(5));
        let mut engine = Self {
            rng,
            begin,
            now: begin,
            count: 0,
            agenda: BTreeMap::new(),
            desks: [
                Box::new(Desk::new(Orders)),
                Box::new(Desk::new(Inventory)),
                Box::new(Desk::new(Rounds)),
                Box::new(Desk::new(payments)),
            ],
            open: [const { None }; 4],
            wakes: [None; 4],
            bank,
            log: BTreeMap::new(),
            drawn: BTreeSet::new(),
            position: 0,
            xid: 100,
            xids: BTreeSet::new(),
            unacknowledged: BTreeMap::new(),
            owed: BTreeMap::new(),
            relay: Relay::default(),
            intents: Vec::new(),
            answered: BTreeSet::new(),
            is_healed: false,
            audited: 0,
            auditor: Auditor::default(),
            tells: setup.tells,
            story: VecDeque::new(),
            faults,
        };
        for intent in intents {
            engine.intend(intent);
        }
        for _ in 0..engine.faults.wipes {
            let at = begin + DAY.mul_f64(engine.rng.random_range(0.0..1.0));
            engine.plan(at, Next::Wipe);
        }
        engine.plan(begin, Next::Relay);
        engine.plan(begin + DAY + Duration::from_secs(60), Next::Heal);
        engine
    }

    fn intend(&mut self, intent: Intent) {
        let at = intent.at;
        self.intents.push(intent);
        self.plan(at, Next::Send(self.intents.len() - 1));
    }

    fn plan(&mut self, at: Timestamp, next: Next) {
        self.count += 1;
        self.agenda.insert((at.max(self.now), self.count), next);
    }

    fn soon(&mut self, after: Duration, next: Next) {
        self.plan(self.now + after, next);
    }

    /// Between these many microseconds.
    fn between(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_micros(self.rng.random_range(least..=most))
    }

    fn strikes(&mut self, chance: u32) -> bool {
        chance > 0 && !self.is_healed && self.rng.random_ratio(chance.min(1_000), 1_000)
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.tells {
            let since = self.now.since(self.begin);
            self.story.push_back(format!("{:>9.3} s  {}", since.as_secs_f64(), what()));
        }
    }

    /// Lets the next thing happen. False: nothing is left to do.
    fn step(&mut self) -> Result<bool, String> {
        let Some(((at, _), next)) = self.agenda.pop_first() else { return Ok(false) };
        self.now = at;
        match next {
            Next::Send(intent) => self.send(intent),
            Next::Arrive(delivery) => self.arrive(delivery),
            Next::Work(desk) => self.work(desk)?,
            Next::Wake(desk) => {
                self.wakes[desk] = None;
                self.work(desk)?;
                self.set_alarm(desk);
            }
            Next::Commit(desk) => self.commit(desk)?,
            Next::Call(desk, key) => self.call(desk, key),
            Next::Relay => return self.look(),
            Next::Wipe => self.wipe(),
            Next::Heal => {
                self.tell(|| "nothing goes wrong any more".to_owned());
                self.is_healed = true;
                self.bank.heal();
            }
        }
        Ok(true)
    }

    fn send(&mut self, number: usize) {
        let intent = &self.intents[number];
        if self.answered.contains(&intent.id) {
            return;
        }
        let to = self.desks.iter().position(|desk| Some(desk.name()) == intent.to());
        let message = Rc::new(Message {
            id: intent.id,
            correlation_id: intent.id,
            message_type: intent.message_type.clone(),
            data: intent.data.clone(),
            position: None,
        });
        if let Some(to) = to {
            self.post(to, &message);
        }
        let again = self.between(5_000_000, 10_000_000);
        self.soon(again, Next::Send(number));
    }

    /// Hands a message to the broker for a service.
    fn post(&mut self, to: usize, message: &Rc<Message>) {
        let times = if self.strikes(self.faults.twice) { 2 } else { 1 };
        for _ in 0..times {
            self.count += 1;
            let delivery = self.count;
            self.unacknowledged.insert(delivery, (to, Rc::clone(message)));
            let late = self.strikes(self.faults.late);
            let after = if late { self.between(1_000, 20_000_000) } else { self.between(100, 3_000) };
            self.soon(after, Next::Arrive(delivery));
        }
    }

    fn arrive(&mut self, delivery: u64) {
        let Some((to, message)) = self.unacknowledged.get(&delivery) else { return };
        let (to, message) = (*to, Rc::clone(message));
        self.desks[to].receive((delivery, message));
        self.soon(ACK_WAIT, Next::Arrive(delivery));
        let after = self.between(0, 500);
        self.soon(after, Next::Work(to));
    }

    fn work(&mut self, desk: usize) -> Result<(), String> {
        if self.desks[desk].is_open() || !self.desks[desk].has_work(self.now) {
            return Ok(());
        }
        if self.strikes(self.faults.crash) {
            // Its positions are never filled.
            self.position += self.rng.random_range(0..4);
            self.desks[desk].crash();
            let name = self.desks[desk].name();
            self.tell(|| format!("{name} dies in a transaction"));
            self.soon(Duration::from_secs(1), Next::Work(desk));
            return Ok(());
        }
        self.xid += 1;
        self.xids.insert(self.xid);
        let mut events = self.desks[desk].begin(&mut self.rng, self.now)?;
        for event in &mut events {
            self.position += 1;
            event.position = self.position;
            self.drawn.insert(self.position);
        }
        self.open[desk] = Some(Open { xid: self.xid, events });
        let long = self.strikes(self.faults.long_transaction);
        let takes = if long { self.between(10_000, 3_000_000) } else { self.between(300, 3_000) };
        self.soon(takes, Next::Commit(desk));
        Ok(())
    }

    fn commit(&mut self, desk: usize) -> Result<(), String> {
        let Some(Open { xid, events }) = self.open[desk].take() else { return Ok(()) };
        let committed = self.desks[desk].commit()?;
        self.xids.remove(&xid);
        for event in &events {
            self.drawn.remove(&event.position);
            self.log.insert(event.position, event.clone());
            let told = (event.position, event.message_type.clone(), event.stream.clone());
            self.tell(|| format!("#{} {} of {}", told.0, proto::short_name(&told.1), told.2));
        }
        for (delivery, message) in committed.handled {
            if message.position.is_none() && !self.strikes(self.faults.reply_lost) {
                self.answered.insert(message.id);
            }
            if !self.strikes(self.faults.ack_lost) {
                self.unacknowledged.remove(&delivery);
                if let Some(owed) = message.position.and_then(|position| self.owed.get_mut(&position)) {
                    owed.remove(&desk);
                }
            }
        }
        self.owed.retain(|_, owed| !owed.is_empty());
        self.publish_own(&events);
        for event in &events {
            self.hear(event);
        }
        for key in committed.calls {
            self.soon(Duration::ZERO, Next::Call(desk, key));
        }
        self.set_alarm(desk);
        self.soon(Duration::ZERO, Next::Work(desk));
        self.audit()
    }

    fn set_alarm(&mut self, desk: usize) {
        let Some(due_at) = self.desks[desk].next_timer().filter(|due_at| *due_at > self.now) else { return };
        if self.wakes[desk].is_none_or(|wake| due_at < wake) {
            self.wakes[desk] = Some(due_at);
            self.plan(due_at, Next::Wake(desk));
        }
    }

    /// The worker publishes what it has committed, unless it dies on the way, and tells the relay, unless that is lost.
    fn publish_own(&mut self, events: &[Recorded]) {
        let mut published = events;
        if self.strikes(self.faults.unpublished) {
            published = &events[..self.rng.random_range(0..=events.len())];
        }
        for event in published {
            self.publish(event);
        }
        if !self.strikes(self.faults.report_lost) && !self.relay.is_behind {
            self.relay.reported.extend(published.iter().map(|event| event.position));
        }
    }

    fn publish(&mut self, event: &Recorded) {
        let interested: Vec<usize> =
            (0..self.desks.len()).filter(|desk| self.desks[*desk].reacts_to(&event.message_type)).collect();
        if interested.is_empty() {
            return;
        }
        let message = Rc::new(Message {
            id: event.event_id,
            correlation_id: event.correlation_id,
            message_type: event.message_type.clone(),
            data: event.data.clone(),
            position: Some(event.position),
        });
        self.owed.entry(event.position).or_default().extend(&interested);
        for to in interested {
            self.post(to, &message);
        }
    }

    /// What the provider and the operators make of an event.
    fn hear(&mut self, event: &Recorded) {
        if event.message_type == PaymentRequested::full_name()
            && let Ok(payment) = PaymentRequested::decode(event.data.as_slice())
            && let Some(report) = report::of_payment(&payment, self.now)
        {
            self.intend(Intent::new(report.due, report.id, &report.command));
        }
        if event.message_type == RefundOutcomeUnknown::full_name()
            && let Ok(refund) = RefundOutcomeUnknown::decode(event.data.as_slice())
            && let (Ok(payment_id), Ok(refund_id)) =
                (PaymentId::parse(&refund.payment_id), RefundId::parse(&refund.refund_id))
        {
            let has_moved = self.bank.has_moved(payment_id, refund_id);
            let intent = resolve(&mut self.rng, self.now + Duration::from_secs(60), refund, has_moved);
            self.intend(intent);
        }
    }

    fn call(&mut self, desk: usize, key: String) {
        let dies = self.strikes(self.faults.call_dies);
        match self.desks[desk].call(&key, self.now, dies) {
            Tried::Gone => {}
            Tried::Over => {
                self.soon(Duration::ZERO, Next::Work(desk));
                // Unless its outcome is recorded by then: whoever was to do it has died.
                self.soon(Duration::from_secs(30), Next::Call(desk, key));
            }
            Tried::Again(after_ms) => {
                self.tell(|| format!("the call {key} is to be made again"));
                self.soon(Duration::from_millis(after_ms), Next::Call(desk, key));
            }
        }
    }

    /// The broker loses all it has.
    fn wipe(&mut self) {
        self.tell(|| "the broker loses its disk".to_owned());
        self.unacknowledged.clear();
        self.owed.clear();
        self.relay.is_behind = true;
    }

    /// The relay looks at the log. False: nothing is left to do for anybody.
    fn look(&mut self) -> Result<bool, String> {
        if self.relay.is_behind || self.strikes(self.faults.relay_dies) {
            // Another one begins where the last one is known to have been; what it had heard is forgotten.
            let Relay { checkpoint, handled, is_behind, .. } = std::mem::take(&mut self.relay);
            let checkpoint = if is_behind { handled } else { checkpoint };
            self.relay = Relay { checkpoint, handled, ..Relay::default() };
        }
        let page: Vec<Recorded> =
            self.log.range(self.relay.checkpoint + 1..).take(PAGE).map(|(_, event)| event.clone()).collect();
        let positions: Vec<i64> = page.iter().map(|event| event.position).collect();
        let xmin = self.xids.first().copied().unwrap_or(self.xid + 1);
        let taken = self.relay.gaps.admit(self.relay.checkpoint, &positions, xmin);
        if self.relay.gaps.wants_bound() {
            self.xid += 1;
            self.relay.gaps.bind(self.xid);
        }
        for event in page.into_iter().take(taken) {
            if !self.relay.reported.remove(&event.position) {
                if self.now.since(event.recorded_at) < RELAY_EVERY {
                    break;
                }
                self.tell(|| format!("the relay publishes #{}", event.position));
                self.publish(&event);
            }
            self.relay.checkpoint = event.position;
        }
        let handled = self.owed.keys().next().map_or(self.relay.checkpoint, |first| first - 1);
        self.relay.handled = self.relay.handled.max(handled.min(self.relay.checkpoint));
        if self.is_healed && self.is_at_rest() {
            return Ok(false);
        }
        if self.now.since(self.begin) > DAY + SETTLES_WITHIN {
            return Err(format!("it never comes to rest: {}", self.unsettled()));
        }
        self.soon(RELAY_EVERY, Next::Relay);
        Ok(true)
    }

    fn is_at_rest(&self) -> bool {
        self.desks.iter().all(|desk| desk.is_at_rest() && desk.next_timer().is_none())
            && self.unacknowledged.is_empty()
            && self.drawn.is_empty()
            && self.log.last_key_value().is_none_or(|(last, _)| *last <= self.relay.checkpoint)
            && self.intents.iter().all(|intent| self.answered.contains(&intent.id))
    }

    fn unsettled(&self) -> String {
        let desks = self.desks.iter().filter(|desk| !desk.is_at_rest() || desk.next_timer().is_some());
        let desks: Vec<&str> = desks.map(|desk| desk.name()).collect();
        let unanswered = self.intents.iter().filter(|intent| !self.answered.contains(&intent.id)).count();
        format!(
            "busy {desks:?}, {} messages unacknowledged, {unanswered} commands unanswered, relay at {} of {}",
            self.unacknowledged.len(),
            self.relay.checkpoint,
            self.position
        )
    }

    /// Gives the auditor what nothing can come before any more.
    fn audit(&mut self) -> Result<(), String> {
        let until = self.drawn.first().copied().unwrap_or(i64::MAX);
        for (position, event) in self.log.range(self.audited + 1..until) {
            self.auditor.take(event);
            self.audited = *position;
        }
        first(self.auditor.findings())
    }

    fn final_check(&mut self) -> Result<(), String> {
        self.audit()?;
        self.auditor.promises(self.now + Duration::from_hours(48));
        first(self.auditor.findings())?;
        for desk in &self.desks {
            desk.differs(&self.log).map_or(Ok(()), Err)?;
        }
        let (twice, moved) = self.bank.audit();
        if let Some(refund_id) = twice.first() {
            return Err(format!("the provider moved the money of refund {refund_id} more than once"));
        }
        let mut counted: BTreeMap<PaymentId, i64> = BTreeMap::new();
        for event in self.log.values().filter(|event| event.message_type == PaymentRefunded::full_name()) {
            let refunded = PaymentRefunded::decode(event.data.as_slice()).map_err(|error| error.to_string())?;
            let payment_id = PaymentId::parse(&refunded.payment_id).map_err(|rejection| rejection.to_string())?;
            *counted.entry(payment_id).or_insert(0) += refunded.amount.map_or(0, |amount| amount.minor_units);
        }
        if counted != moved {
            return Err(format!("the provider moved {moved:?}, and the log counts {counted:?}"));
        }
        Ok(())
    }
}

fn first(findings: Vec<impl Display>) -> Result<(), String> {
    findings.first().map_or(Ok(()), |finding| Err(finding.to_string()))
}
