//! What holds whatever comes, in whatever order, how often so ever: invariants after every step, and a fold that is equal.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use domain::{Attempt, DecideError, Decider, HoldKey, RoundId, StreamVersion, Timer, Timestamp, hold::Status};
use proptest::prelude::*;

use crate::{
    Rounds,
    command::{Command, Purchase},
    draw::Draw,
    event::{Event, Offer, StreamId},
    round::{
        BATCH_MAX, RoundStatus, State,
        spec::{NOW, given, money, offer, order, proof, refund, round, terms},
    },
};

/// The service as the runtime drives it, but in memory: it numbers events, keeps timers, and checks after every command.
#[derive(Default)]
struct Fleet {
    state: State,
    log: Vec<Event>,
    versions: BTreeMap<String, StreamVersion>,
    timers: BTreeMap<String, Timestamp>,
    at: Timestamp,
}

impl Fleet {
    fn new() -> Self {
        Self { at: NOW, ..Self::default() }
    }

    fn handle(&mut self, command: &Command) -> Result<Vec<Event>, DecideError> {
        let mut events = Vec::new();
        for (event, record) in Rounds::advance(&mut self.state, command, self.at)? {
            let version = self.versions.entry(record.stream).or_default();
            *version = version.next();
            assert_eq!(record.version, *version, "{event:?}");
            match (Rounds::timer(&event), event.owner().to_string()) {
                (Some(Timer::Set(at)), stream) => drop(self.timers.insert(stream, at)),
                (Some(Timer::Clear), stream) => drop(self.timers.remove(&stream)),
                (None, _) => {}
            }
            self.log.push(Rounds::decode_event(record.message_type, &record.data).unwrap());
            events.push(event);
        }
        self.check();
        Ok(events)
    }

    /// Lets time pass until no timer is left. Returns what that caused.
    fn settle(&mut self) -> Vec<Event> {
        let mut caused = vec![];
        while let Some((stream, due_at)) =
            self.timers.iter().map(|(stream, at)| (stream.clone(), *at)).min_by_key(|timer| timer.1)
        {
            self.timers.remove(&stream);
            self.at = self.at.max(due_at);
            caused.extend(self.handle(&Rounds::on_timer(&stream).unwrap()).unwrap());
            assert_ne!(self.timers.get(&stream), Some(&due_at), "the same timer again has the same id");
        }
        caused
    }

    fn check(&self) {
        for (round_id, round) in self.state.rounds.iter() {
            let sum = |counts: &dyn Fn(&crate::hold::Hold) -> bool| -> i64 {
                let holds = self.state.holds.iter().map(|(_, hold)| hold);
                holds.filter(|hold| hold.round_id == Some(*round_id) && counts(hold)).map(|hold| hold.count).sum()
            };
            let is_sold = |hold: &crate::hold::Hold| hold.status == Status::Committed && hold.returned_by.is_none();
            assert!(
                round.held >= 0 && round.sold >= 0 && round.sold + round.held <= round.offer.total_shares,
                "{round:?}"
            );
            let is_all_sold = round.sold == round.offer.total_shares;
            match round.status {
                RoundStatus::Open => assert!(!is_all_sold, "{round:?}"),
                RoundStatus::SoldOut => {
                    assert!(is_all_sold || round.is_listed() || self.at >= round.offer.closes_at, "{round:?}");
                }
                RoundStatus::Failed(_) => {}
            }
            let has_timer = self.timers.contains_key(&StreamId::Round(*round_id).to_string());
            assert!(has_timer || round.status != RoundStatus::Open, "{round:?} would never close");
            let awaits_list = round.status == RoundStatus::SoldOut && round.draw.is_some() && !round.is_listed();
            assert!(has_timer || !awaits_list || round.sold == 0, "{round:?} would never be drawn");
            if let Some(Draw { listed: Some(listed), .. }) = &round.draw {
                let tickets = sum(&crate::hold::Hold::has_ticket);
                assert_eq!(tickets, listed.tickets, "{round:?}");
            }
            assert_eq!(round.held, sum(&|hold| hold.status == Status::Held), "{round:?}");
            assert_eq!(round.sold, sum(&is_sold), "{round:?}");
            assert_eq!(round.refunding, sum(&|hold| is_sold(hold) && hold.refund_requested), "{round:?}");
        }
    }

    /// What the log alone says: it folds to the same rows, and nothing in it happens twice.
    fn audit(&self) {
        assert_eq!(Rounds::rows(&given(&self.log)), Rounds::rows(&self.state));
        let (mut closings, mut returns) = (BTreeMap::<HoldKey, u32>::new(), BTreeMap::<HoldKey, u32>::new());
        let mut named = BTreeMap::<HoldKey, u32>::new();
        let mut sold_out = BTreeSet::<RoundId>::new();
        let (mut listed, mut drawn) = (BTreeSet::<RoundId>::new(), BTreeSet::<RoundId>::new());
        for event in &self.log {
            match event {
                Event::SharesSold { key, .. } | Event::SharesReleased { key, .. } => {
                    *closings.entry(*key).or_default() += 1
                }
                Event::SharesReturned { key, .. } => *returns.entry(*key).or_default() += 1,
                Event::RoundSoldOut { round_id, .. } => assert!(sold_out.insert(*round_id), "{round_id} twice"),
                Event::RoundReopened { round_id, .. } => {
                    assert!(!listed.contains(round_id), "{round_id} was listed");
                    assert!(sold_out.remove(round_id), "{round_id} was not sold out")
                }
                Event::RoundRefundsRequested { participants, .. } => {
                    assert!(participants.len() <= BATCH_MAX);
                    participants.iter().for_each(|key| *named.entry(*key).or_default() += 1);
                }
                Event::RoundTicketsListed { round_id, .. } => {
                    assert!(sold_out.contains(round_id), "{round_id} was not sold out");
                    assert!(listed.insert(*round_id), "{round_id} was listed twice");
                }
                Event::RoundDrawn { round_id, .. } => {
                    assert!(listed.contains(round_id), "{round_id} has no list");
                    assert!(drawn.insert(*round_id), "{round_id} was drawn twice");
                }
                Event::RoundOpened { .. }
                | Event::RoundClosed { .. }
                | Event::RoundCancelled { .. }
                | Event::SharesHeld { .. }
                | Event::SharesRejected { .. } => {}
            }
        }
        for counts in [&closings, &returns, &named] {
            assert!(counts.values().all(|count| *count == 1), "{counts:?}");
        }
        for (round_id, round) in self.state.rounds.iter() {
            assert!(sold_out.contains(round_id) || round.status != RoundStatus::SoldOut, "{round:?}");
        }
        for (key, hold) in self.state.holds.iter() {
            assert_eq!(named.contains_key(key), hold.refund_requested, "{key}");
        }
    }

    /// Time is over: no round is open, and of a failed one no buyer is left out.
    fn audit_end(&self) {
        self.audit();
        for (key, hold) in self.state.holds.iter() {
            let round = hold.round_id.and_then(|round_id| self.state.rounds.get(&round_id));
            match round.map(|round| round.status) {
                Some(RoundStatus::Open) => panic!("{key} is of a round that never closed"),
                Some(RoundStatus::Failed(_)) => assert!(!hold.is_refundable(), "{key} was left out: {hold:?}"),
                Some(RoundStatus::SoldOut) | None => {}
            }
        }
    }
}

fn key(id: u128, attempt: Attempt) -> HoldKey {
    HoldKey { attempt, ..order(id) }
}

fn purchase(round_id: u128, count: i64, price: i64) -> Purchase {
    Purchase { round_id: round(round_id), count, unit_price: money(price, "EUR") }
}

fn hold(id: u128, attempt: Attempt, round_id: u128, count: i64, price: i64) -> Command {
    Command::Hold { key: key(id, attempt), purchase: purchase(round_id, count, price) }
}

fn open(id: u128, total_shares: i64) -> Command {
    // Every other round has a draw.
    let draw = (id % 2 == 1).then(terms);
    let actor = "ann".to_owned();
    Command::OpenRound { round_id: round(id), offer: Offer { total_shares, ..offer() }, actor, draw }
}

fn close(id: u128) -> Command {
    Command::CloseRound { round_id: round(id), actor: "ann".to_owned(), note: "slow".to_owned() }
}

fn cancel(id: u128) -> Command {
    Command::CancelRound { round_id: round(id), actor: "ann".to_owned(), note: "no prize".to_owned() }
}

/// A few rounds and orders, so that commands meet.
fn any_command() -> impl Strategy<Value = Command> {
    let (rounds, orders, attempts) = (1..=2_u128, 1..=6_u128, 1..=2);
    let keys = (orders.clone(), attempts.clone()).prop_map(|(id, attempt)| key(id, attempt));
    let price = prop_oneof![9 => Just(500_i64), 1 => Just(499)];
    prop_oneof![
        3 => (rounds.clone(), prop_oneof![9 => Just(8_i64), 1 => Just(9)]).prop_map(|(id, total)| open(id, total)),
        1 => rounds.clone().prop_map(close),
        1 => rounds.clone().prop_map(cancel),
        1 => rounds.clone().prop_map(|id| Command::Advance { round_id: round(id) }),
        1 => rounds.clone().prop_map(|id| Command::Draw { round_id: round(id), proof: proof() }),
        8 => (orders, attempts, rounds, 1..=4_i64, price)
            .prop_map(|(id, attempt, round_id, count, price)| hold(id, attempt, round_id, count, price)),
        6 => keys.clone().prop_map(|key| Command::Commit { key }),
        3 => keys.clone().prop_map(|key| Command::Release { key }),
        3 => (keys, 1..=2_u128).prop_map(|(key, id)| Command::Return { key, refund_id: refund(id) }),
    ]
}

/// Every command twice, in any order.
fn twice_and_shuffled() -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(any_command(), 0..60)
        .prop_flat_map(|commands| Just([commands.clone(), commands].concat()).prop_shuffle())
}

proptest! {
    #[test]
    fn any_commands_in_any_order_keep_the_invariants(commands in twice_and_shuffled(), pauses in prop::collection::vec(0..400_u64, 120)) {
        let mut fleet = Fleet::new();
        for (command, pause) in commands.iter().zip(pauses) {
            fleet.at = fleet.at + Duration::from_secs(pause);
            // Many make no sense and are refused, which is right; but a second time must then change nothing either.
            let first = fleet.handle(command);
            let logged = fleet.log.len();
            let second = fleet.handle(command);
            match command {
                Command::Advance { .. } => {}
                Command::OpenRound { .. } | Command::CloseRound { .. } | Command::CancelRound { .. } | Command::Hold { .. }
                | Command::Draw { .. } | Command::Commit { .. } | Command::Release { .. } | Command::Return { .. } => {
                    prop_assert_eq!(fleet.log.len(), logged, "{:?}, once more: {:?}", command, second);
                    prop_assert_eq!(second.is_ok(), first.is_ok());
                }
            }
        }
        fleet.settle();
        fleet.audit_end();
    }

    #[test]
    fn a_sweep_names_every_buyer_once_while_others_return_and_come_late(
        counts in prop::collection::vec(1..=3_i64, 0..350),
        fates in prop::collection::vec(0..4_u8, 350),
        by_closing in any::<bool>(),
    ) {
        let mut fleet = Fleet::new();
        fleet.handle(&open(1, 2_000)).unwrap();
        let buyers: Vec<(u128, u8)> = (1_u128..).zip(&counts).zip(&fates).map(|((id, _), fate)| (id, *fate)).collect();
        for ((id, fate), count) in buyers.iter().zip(&counts) {
            fleet.handle(&hold(*id, 1, 1, *count, 500)).unwrap();
            if *fate != 0 {
                fleet.handle(&Command::Commit { key: order(*id) }).unwrap();
            }
        }
        fleet.handle(&if by_closing { close(1) } else { cancel(1) }).unwrap();
        // Batches and what comes late take turns.
        for (id, fate) in &buyers {
            match fate {
                0 => drop(fleet.handle(&Command::Commit { key: order(*id) }).unwrap()),
                1 => drop(fleet.handle(&Command::Return { key: order(*id), refund_id: refund(*id) }).unwrap()),
                2 if id % 60 == 0 => drop(fleet.handle(&Command::Advance { round_id: round(1) }).unwrap()),
                _ => {}
            }
        }
        fleet.settle();
        fleet.audit_end();
        let swept = fleet.state.rounds.get(&round(1)).unwrap();
        prop_assert_eq!(swept.sold, swept.refunding);
        prop_assert_eq!(swept.held, 0);
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    Reserved,
    Paid,
    Refunded,
    Closed,
}

/// Orders as rounds knows them: where each stands, and the messages about it that are on their way.
#[derive(Default)]
struct Orders {
    stages: BTreeMap<HoldKey, Stage>,
    on_the_way: Vec<Command>,
}

impl Orders {
    fn place(&mut self, key: HoldKey, purchase: Purchase) {
        if let Entry::Vacant(stage) = self.stages.entry(key) {
            stage.insert(Stage::Pending);
            self.on_the_way.push(Command::Hold { key, purchase });
        }
    }

    fn pay(&mut self, key: HoldKey) {
        if let Some(stage @ Stage::Reserved) = self.stages.get_mut(&key) {
            *stage = Stage::Paid;
            self.on_the_way.push(Command::Commit { key });
        }
    }

    fn close(&mut self, key: HoldKey) {
        if let Some(stage @ (Stage::Pending | Stage::Reserved)) = self.stages.get_mut(&key) {
            *stage = Stage::Closed;
            self.on_the_way.push(Command::Release { key });
        }
    }

    fn refund(&mut self, key: HoldKey) {
        if let Some(stage @ Stage::Paid) = self.stages.get_mut(&key) {
            *stage = Stage::Refunded;
            self.on_the_way.push(Command::Return { key, refund_id: refund(9) });
        }
    }

    /// What orders do about events of rounds.
    fn hear(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::SharesHeld { key, .. } => {
                    if let Some(stage @ Stage::Pending) = self.stages.get_mut(key) {
                        *stage = Stage::Reserved;
                    }
                }
                Event::SharesRejected { key, .. } => self.close(*key),
                Event::RoundRefundsRequested { participants, .. } => {
                    participants.iter().for_each(|key| self.refund(*key));
                }
                Event::RoundOpened { .. }
                | Event::RoundSoldOut { .. }
                | Event::RoundTicketsListed { .. }
                | Event::RoundDrawn { .. }
                | Event::RoundReopened { .. }
                | Event::RoundClosed { .. }
                | Event::RoundCancelled { .. }
                | Event::SharesSold { .. }
                | Event::SharesReleased { .. }
                | Event::SharesReturned { .. } => {}
            }
        }
    }
}

/// What happens next: an order does something, or a message on the way arrives, to be redelivered or not.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Place { id: u128, round_id: u128, count: i64 },
    Pay { id: u128 },
    Close { id: u128 },
    Refund { id: u128 },
    Arrive { which: prop::sample::Index, is_repeated: bool },
    CloseRound { round_id: u128 },
    CancelRound { round_id: u128 },
    Wait { minutes: u64 },
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let (orders, rounds) = (1..=8_u128, 1..=2_u128);
    prop_oneof![
        6 => (orders.clone(), rounds.clone(), 1..=4_i64)
            .prop_map(|(id, round_id, count)| Happening::Place { id, round_id, count }),
        6 => orders.clone().prop_map(|id| Happening::Pay { id }),
        2 => orders.clone().prop_map(|id| Happening::Close { id }),
        2 => orders.prop_map(|id| Happening::Refund { id }),
        12 => any::<(prop::sample::Index, bool)>()
            .prop_map(|(which, is_repeated)| Happening::Arrive { which, is_repeated }),
        1 => rounds.clone().prop_map(|round_id| Happening::CloseRound { round_id }),
        1 => rounds.prop_map(|round_id| Happening::CancelRound { round_id }),
        1 => (0..10_u64).prop_map(|minutes| Happening::Wait { minutes }),
    ]
}

fn happen(fleet: &mut Fleet, orders: &mut Orders, happening: Happening) {
    match happening {
        Happening::Place { id, round_id, count } => orders.place(order(id), purchase(round_id, count, 500)),
        Happening::Pay { id } => orders.pay(order(id)),
        Happening::Close { id } => orders.close(order(id)),
        Happening::Refund { id } => orders.refund(order(id)),
        Happening::Arrive { which, is_repeated } => {
            if !orders.on_the_way.is_empty() {
                let index = which.index(orders.on_the_way.len());
                let command = orders.on_the_way.swap_remove(index);
                orders.hear(&fleet.handle(&command).unwrap());
                if is_repeated {
                    orders.on_the_way.push(command);
                }
            }
        }
        // An operator may be refused.
        Happening::CloseRound { round_id } => orders.hear(&fleet.handle(&close(round_id)).unwrap_or_default()),
        Happening::CancelRound { round_id } => orders.hear(&fleet.handle(&cancel(round_id)).unwrap_or_default()),
        Happening::Wait { minutes } => fleet.at = fleet.at + Duration::from_secs(60 * minutes),
    }
}

proptest! {
    /// Orders keep to the saga; the broker delays, repeats and reorders. Nothing is refused, and nothing is left over.
    #[test]
    fn no_message_of_the_saga_is_refused_however_late_or_often_it_comes(
        happenings in prop::collection::vec(any_happening(), 0..150),
    ) {
        let (mut fleet, mut orders) = (Fleet::new(), Orders::default());
        for id in 1..=2 {
            fleet.handle(&open(id, 8)).unwrap();
        }
        for happening in happenings {
            happen(&mut fleet, &mut orders, happening);
        }
        // All unpaid orders are closed, all that is on the way arrives, and time goes on until nothing happens any more.
        let all: Vec<HoldKey> = orders.stages.keys().copied().collect();
        all.into_iter().for_each(|key| orders.close(key));
        loop {
            let caused = fleet.settle();
            orders.hear(&caused);
            let arriving = std::mem::take(&mut orders.on_the_way);
            if caused.is_empty() && arriving.is_empty() {
                break;
            }
            for command in arriving {
                orders.hear(&fleet.handle(&command).unwrap());
            }
        }
        fleet.audit_end();
        for (round_id, round) in fleet.state.rounds.iter() {
            prop_assert_eq!(round.held, 0, "{} {:?}", StreamId::Round(*round_id), round);
            if matches!(round.status, RoundStatus::Failed(_)) {
                prop_assert_eq!(round.sold, 0, "{} {:?}", StreamId::Round(*round_id), round);
            }
        }
        for (key, stage) in &orders.stages {
            let hold = fleet.state.holds.get(key).unwrap();
            let is_closed = matches!(hold.status, Status::Released | Status::Rejected);
            prop_assert_eq!((is_closed, hold.returned_by.is_some()), (*stage == Stage::Closed, *stage == Stage::Refunded));
            // Whoever paid ends with a share of a round that was sold out, or with the money.
            let status = hold.round_id.and_then(|round_id| fleet.state.rounds.get(&round_id)).map(|round| round.status);
            prop_assert!(*stage != Stage::Paid || status == Some(RoundStatus::SoldOut), "{} {:?}", key, status);
        }
    }
}
