//! The engine: a clock that jumps, a log with transactions under way, and whoever works on it. One thread, and every choice from one
//! seed.

mod checks;
mod coupons;
mod disputes;
mod money;
mod past;
mod people;
mod relay;
mod transport;
mod wallets;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use audit::Auditor;
use domain::{GlobalPosition, Timestamp};
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use providers::{Enabled, ProviderName, Registry, wallet::Wallet};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rounds::Rounds;
use runtime::{log::event_store::StoredEvent, simulation::PublishReport};
use uuid::Uuid;

use crate::{
    provider::{FakeProvider, SimulatedProvider, SimulatedWallets},
    simulated_service::{Begun, Message, Node, SimulatedService, Tried},
    workload::{DAY, Intent, Till, day},
};
use coupons::Coupons;
use money::Money;
use relay::Relay;
use transport::{Pending, Stream};
use wallets::Wallets;

/// How often a process looks for timers that are due.
const POLL: Duration = Duration::from_millis(100);

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
    /// Of a commit, that the broker loses it soon, with all that came after it or somewhat more.
    pub(crate) loses_last: u32,
    /// Of payments and refunds, that the provider has an opinion of its own.
    pub(crate) opinions: u32,
    /// Of a commit, that an administrator takes a message away soon.
    pub(crate) holes: u32,
    /// How often a day the store is restored from a backup.
    pub(crate) goes_back: u32,
    /// By how many milliseconds the clocks of processes are off, at most.
    pub(crate) clocks_differ: u32,
}

impl Faults {
    /// Each by its name.
    fn chances(&mut self) -> [(&'static str, &mut u32); 17] {
        [
            ("crash", &mut self.crash),
            ("unpublished", &mut self.unpublished),
            ("report_lost", &mut self.report_lost),
            ("ack_lost", &mut self.ack_lost),
            ("reply_lost", &mut self.reply_lost),
            ("twice", &mut self.twice),
            ("late", &mut self.late),
            ("long_transaction", &mut self.long_transaction),
            ("relay_dies", &mut self.relay_dies),
            ("call_dies", &mut self.call_dies),
            ("wrong_calls", &mut self.wrong_calls),
            ("wipes", &mut self.wipes),
            ("loses_last", &mut self.loses_last),
            ("opinions", &mut self.opinions),
            ("holes", &mut self.holes),
            ("goes_back", &mut self.goes_back),
            ("clocks_differ", &mut self.clocks_differ),
        ]
    }

    pub(crate) fn names() -> [&'static str; 17] {
        Self::default().chances().map(|(name, _)| name)
    }

    fn without(mut self, names: &[String]) -> Self {
        for (_, chance) in self.chances().into_iter().filter(|(name, _)| names.iter().any(|other| other == name)) {
            *chance = 0;
        }
        self
    }

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
            loses_last: chance(10),
            opinions: chance(400),
            holes: chance(10),
            goes_back: chance(4),
            clocks_differ: chance(40),
        }
    }
}

/// One simulation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) orders: usize,
    /// Faults that never strike, by name.
    pub(crate) without: Vec<String>,
    /// Whether to tell what happens.
    pub(crate) tells: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) log: Vec<StoredEvent>,
    pub(crate) steps: u64,
    /// What must not be.
    pub(crate) violation: Option<String>,
    pub(crate) story: Vec<String>,
}

/// A replica of a service: which desk, and which of its processes.
type Process = (usize, usize);

/// Something that is going to happen.
#[derive(Debug)]
enum Next {
    Send(usize),
    Arrive(u64),
    Work(Process),
    Wake(usize),
    Write(Process),
    Commit(Process),
    Call(usize, String),
    /// What was published on which connection.
    Report(u32, PublishReport),
    Relay,
    Operate,
    Wipe,
    Lose,
    TakeAway,
    BackUp,
    /// How often it has been tried in vain.
    GoBack(u32),
    Heal,
}

/// A transaction under way.
#[derive(Debug)]
struct Open {
    xid: i64,
    events: Vec<StoredEvent>,
    /// Other services that are a part of it.
    with: Vec<usize>,
}

pub(crate) struct Engine {
    rng: StdRng,
    faults: Faults,
    begin: Timestamp,
    now: Timestamp,
    count: u64,
    agenda: BTreeMap<(Timestamp, u64), Next>,
    desks: [Box<dyn Node>; 4],
    open: BTreeMap<Process, Open>,
    /// When each looks for timers next.
    wakes: [Option<Timestamp>; 4],
    bank: FakeProvider,
    till: Till,
    /// What the adapter to wallets sends and hears.
    letters: SimulatedWallets,
    wallets: Wallets,
    log: BTreeMap<GlobalPosition, StoredEvent>,
    backup: Option<past::Backup>,
    /// By how many microseconds the clock of each process is off.
    clocks: BTreeMap<Process, i64>,
    /// Positions that were drawn by transactions under way.
    drawn: BTreeSet<GlobalPosition>,
    position: GlobalPosition,
    xid: i64,
    xids: BTreeSet<i64>,
    unacknowledged: BTreeMap<u64, Pending>,
    stream: Stream,
    /// How often everybody had to connect to the broker again.
    connection: u32,
    relay: Relay,
    /// With whom they are sent to.
    intents: Vec<(Intent, Option<usize>)>,
    /// By command and service.
    answered: BTreeSet<(Uuid, usize)>,
    /// Whether the services are in one process each, or all in each.
    is_all_in_one: bool,
    is_healed: bool,
    audited: GlobalPosition,
    auditor: Auditor,
    money: Money,
    coupons: Coupons,
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
    Ended { log: engine.log.into_values().collect(), steps, violation, story: engine.story.into_iter().collect() }
}

/// The services, each in so many processes, with these providers.
fn services(bank: &FakeProvider, letters: &SimulatedWallets, replicas: usize) -> [Box<dyn Node>; 4] {
    let providers = vec![
        SimulatedProvider::Bank(bank.clone()),
        SimulatedProvider::Stripe(bank.clone()),
        SimulatedProvider::Wallet(Wallet::new(letters.clone())),
    ];
    let payments = Payments::new(Registry::new(providers), Duration::from_secs(5));
    let orders = Orders::new(Enabled::new(ProviderName::Sandbox, vec![ProviderName::Wallet, ProviderName::Stripe]));
    [
        Box::new(SimulatedService::new(orders, replicas)),
        Box::new(SimulatedService::new(Inventory, replicas)),
        Box::new(SimulatedService::new(Rounds::default(), replicas)),
        Box::new(SimulatedService::new(payments, replicas)),
    ]
}

impl Engine {
    fn new(setup: &Setup) -> Self {
        let mut rng = StdRng::seed_from_u64(setup.seed);
        let faults = Faults::any(&mut rng).without(&setup.without);
        let replicas = rng.random_range(1..=3);
        let begin = Timestamp::from_micros(1_700_000_000_000_000);
        let bank = FakeProvider::new(setup.seed, faults.wrong_calls, faults.opinions);
        let till = if setup.seed.is_multiple_of(2) { Till::Mixed } else { Till::Euros };
        let intents = day(&mut rng, begin, setup.orders, till);
        let letters = SimulatedWallets::default();
        let mut engine = Self {
            rng,
            begin,
            now: begin,
            count: 0,
            agenda: BTreeMap::new(),
            desks: services(&bank, &letters, replicas),
            open: BTreeMap::new(),
            wakes: [None; 4],
            bank,
            till,
            letters,
            wallets: Wallets::default(),
            log: BTreeMap::new(),
            backup: None,
            clocks: BTreeMap::new(),
            drawn: BTreeSet::new(),
            position: GlobalPosition::default(),
            xid: 100,
            xids: BTreeSet::new(),
            unacknowledged: BTreeMap::new(),
            stream: Stream::made(begin, setup.seed.is_multiple_of(2)),
            connection: 0,
            relay: Relay::default(),
            intents: Vec::new(),
            answered: BTreeSet::new(),
            is_all_in_one: setup.seed.is_multiple_of(3),
            is_healed: false,
            audited: GlobalPosition::default(),
            auditor: Auditor::default(),
            money: Money::default(),
            coupons: Coupons::default(),
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
        for _ in 0..engine.faults.goes_back {
            let at = begin + DAY.mul_f64(engine.rng.random_range(0.0..1.0));
            engine.plan(at, Next::BackUp);
        }
        engine.plan(begin, Next::Relay);
        engine.plan(begin, Next::Operate);
        engine.plan(begin + DAY + Duration::from_secs(60), Next::Heal);
        engine
    }

    fn intend(&mut self, intent: Intent) {
        let at = intent.at;
        let to = self.desks.iter().position(|desk| Some(desk.name()) == intent.to());
        self.intents.push((intent, to));
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
            Next::Work(process) => self.work(process)?,
            Next::Wake(desk) => {
                self.wakes[desk] = None;
                let replica = self.replica(desk);
                self.work((desk, replica))?;
                self.set_alarm(desk);
            }
            Next::Write(process) => self.write(process)?,
            Next::Commit(process) => self.commit(process)?,
            Next::Call(desk, key) => self.call(desk, key),
            Next::Relay => return self.look(),
            Next::Operate => self.operate(),
            // What waits to be sent on a connection is lost with it.
            Next::Report(connection, publication) if connection == self.connection => {
                let is_alone = self.stream.is_of_a_server_alone;
                self.relay.progress.on_report(self.now.since(self.begin), publication, is_alone);
            }
            Next::Report(..) => {}
            Next::Wipe => self.wipe(),
            Next::Lose => self.lose(),
            Next::TakeAway => self.take_away(),
            Next::BackUp => self.back_up(),
            Next::GoBack(tries) => self.go_back(tries)?,
            Next::Heal => {
                self.tell(|| "nothing goes wrong any more".to_owned());
                self.is_healed = true;
                self.bank.heal();
            }
        }
        Ok(true)
    }

    fn send(&mut self, number: usize) {
        let (intent, to) = &self.intents[number];
        if self.is_answered(intent.id, *to) {
            return;
        }
        let message = Rc::new(Message {
            id: intent.id,
            correlation_id: intent.id,
            message_type: intent.message_type.clone(),
            data: intent.data.clone(),
            position: None,
            is_handled: false,
        });
        if let Some(to) = *to {
            self.post(to, &message, None);
        }
        let again = self.between(5_000_000, 10_000_000);
        self.soon(again, Next::Send(number));
    }

    /// One of a service's replicas.
    fn replica(&mut self, desk: usize) -> usize {
        match self.desks[desk].replicas() {
            1 => 0,
            replicas => self.rng.random_range(0..replicas),
        }
    }

    /// What time it is for a process.
    fn clock(&mut self, process: Process) -> Timestamp {
        let most = i64::from(self.faults.clocks_differ) * 1_000;
        let rng = &mut self.rng;
        let off_by =
            *self.clocks.entry(process).or_insert_with(|| if most == 0 { 0 } else { rng.random_range(-most..=most) });
        Timestamp::from_micros(self.now.as_micros() + off_by)
    }

    fn work(&mut self, (desk, replica): Process) -> Result<(), String> {
        let at = self.clock((desk, replica));
        if !self.desks[desk].has_work(replica, at) {
            return Ok(());
        }
        if self.strikes(self.faults.crash) {
            // Its positions are never filled.
            self.position = GlobalPosition::new(self.position.get() + self.rng.random_range(0..4));
            self.desks[desk].crash(replica);
            let name = self.desks[desk].name();
            self.tell(|| format!("{name}-{replica} dies in a transaction"));
            self.soon(Duration::from_secs(1), Next::Work((desk, replica)));
            return Ok(());
        }
        let begun = self.desks[desk].begin(replica, &mut self.rng, at)?;
        self.begun((desk, replica), begun, at)
    }

    /// What was read without locks is written, if it is as it was.
    fn write(&mut self, (desk, replica): Process) -> Result<(), String> {
        let at = self.clock((desk, replica));
        let begun = self.desks[desk].write(replica);
        self.begun((desk, replica), begun, at)
    }

    fn begun(&mut self, (desk, replica): Process, begun: Begun, at: Timestamp) -> Result<(), String> {
        let name = self.desks[desk].name();
        match begun {
            Begun::Nothing => {}
            Begun::Waits => self.tell(|| format!("{name}-{replica} waits for rows that another has locked")),
            Begun::Read => {
                let takes = self.time_of_a_transaction();
                self.soon(takes, Next::Write((desk, replica)));
            }
            Begun::InVain => {
                self.tell(|| format!("{name}-{replica} begins again: others have changed what it had read"));
                self.soon(Duration::ZERO, Next::Work((desk, replica)));
            }
            Begun::Open(mut events) => {
                let with = self.follow((desk, replica), &mut events, at)?;
                self.xid += 1;
                self.xids.insert(self.xid);
                for event in &mut events {
                    self.position = self.position.next();
                    event.position = self.position;
                    self.drawn.insert(self.position);
                }
                self.open.insert((desk, replica), Open { xid: self.xid, events, with });
                let takes = self.time_of_a_transaction();
                self.soon(takes, Next::Commit((desk, replica)));
            }
        }
        Ok(())
    }

    /// Adds what other services of the same process do about a transaction's events, if they are in one process: which of them are a part
    /// of the transaction.
    fn follow(
        &mut self,
        (desk, replica): Process,
        events: &mut Vec<StoredEvent>,
        at: Timestamp,
    ) -> Result<Vec<usize>, String> {
        let (mut with, mut followed) = (Vec::new(), 0);
        if !self.is_all_in_one || self.rng.random_ratio(1, 4) {
            return Ok(with);
        }
        while followed < events.len() {
            let news = events[followed..].to_vec();
            let (mut reactions, mut is_handled) = (Vec::new(), true);
            for other in 0..self.desks.len() {
                let is_part = other == desk || with.contains(&other);
                match self.desks[other].react(replica, is_part, &news, at)? {
                    None => is_handled = false,
                    Some(added) if added.is_empty() => {}
                    Some(added) => {
                        reactions.extend(added);
                        if !is_part {
                            with.push(other);
                        }
                    }
                }
            }
            for event in &mut events[followed..] {
                event.is_handled = is_handled;
            }
            followed = events.len();
            events.extend(reactions);
        }
        Ok(with)
    }

    fn time_of_a_transaction(&mut self) -> Duration {
        let long = self.strikes(self.faults.long_transaction);
        if long { self.between(10_000, 3_000_000) } else { self.between(300, 3_000) }
    }

    fn commit(&mut self, (desk, replica): Process) -> Result<(), String> {
        let Some(Open { xid, events, with }) = self.open.remove(&(desk, replica)) else { return Ok(()) };
        let committed = self.desks[desk].commit(replica)?;
        self.xids.remove(&xid);
        for event in &events {
            self.drawn.remove(&event.position);
            self.log.insert(event.position, StoredEvent { is_handled: false, ..event.clone() });
            self.tell(|| {
                let StoredEvent { position, message_type, stream, data, .. } = event;
                let says = proto::to_json(message_type, data).unwrap_or_default();
                format!("#{position} {} of {stream}: {says}", proto::short_name(message_type))
            });
        }
        let mut answered = BTreeSet::new();
        for (delivery, message) in committed.handled {
            if message.position.is_none() && !self.strikes(self.faults.reply_lost) {
                self.answered.insert((message.id, desk));
                answered.insert(message.id);
            }
            if !self.strikes(self.faults.ack_lost) {
                self.unacknowledged.remove(&delivery);
            }
        }
        self.answer_letters(desk, &answered, &events);
        self.publish_own(&events);
        for event in &events {
            self.money.take(event)?;
            self.wallets.take(event)?;
            self.coupons.take(event)?;
            self.hear(event);
        }
        for key in committed.calls {
            self.soon(Duration::ZERO, Next::Call(desk, key));
        }
        for other in &with {
            for key in self.desks[*other].commit(replica)?.calls {
                self.soon(Duration::ZERO, Next::Call(*other, key));
            }
        }
        for desk in with.into_iter().chain([desk]) {
            self.set_alarm(desk);
            // Others may have waited for what it had locked.
            for replica in 0..self.desks[desk].replicas() {
                self.soon(Duration::ZERO, Next::Work((desk, replica)));
            }
        }
        self.audit()
    }

    fn set_alarm(&mut self, desk: usize) {
        let Some(due_at) = self.desks[desk].next_timer() else { return };
        // One that is due is left to whoever is at work, or by whose clock it is not due yet.
        let due_at = if due_at > self.now { due_at } else { self.now + POLL };
        if self.wakes[desk].is_none_or(|wake| due_at < wake) {
            self.wakes[desk] = Some(due_at);
            self.plan(due_at, Next::Wake(desk));
        }
    }

    fn call(&mut self, desk: usize, key: String) {
        let dies = self.strikes(self.faults.call_dies);
        let replica = self.replica(desk);
        self.bank.set_clock(self.now);
        let tried = self.desks[desk].call(replica, &key, self.now, dies);
        self.hear_bank();
        self.carry_letters();
        match tried {
            Tried::Gone => {}
            Tried::Over => {
                self.soon(Duration::ZERO, Next::Work((desk, replica)));
                // Unless its outcome is recorded by then: whoever was to do it has died.
                self.soon(Duration::from_secs(30), Next::Call(desk, key));
            }
            Tried::Again(after_ms) => {
                self.tell(|| format!("the call {key} is to be made again"));
                self.soon(Duration::from_millis(after_ms), Next::Call(desk, key));
            }
        }
    }
}
