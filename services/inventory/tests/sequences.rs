//! Properties of any sequence of messages, duplicated and shuffled: stock is conserved, and the log folds to the rows.
//! The auditor reads the bytes of the log on its own; it shares no arithmetic with what it checks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use domain::{
    DecideError, Decider, EncodedEvent, HoldKey, Lines, OrderId, RefundId, Sku, StreamVersion, Timestamp, hold::Status,
    lines_from_wire,
};
use inventory::{Inventory, Row, command::Command, event::Event, stock::State};
use proptest::{collection::vec, prelude::*, sample::subsequence};
use proto::{
    Message, Name,
    common::v1::{ProductQuantity, Resource},
    inventory::v1 as wire,
    orders::v1 as orders,
};
use uuid::Uuid;

/// A message: its type, its bytes, and whether it is a command from outside.
#[derive(Clone)]
struct Input {
    message_type: String,
    data: Vec<u8>,
    outside: bool,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = proto::to_json(&self.message_type, &self.data).unwrap();
        write!(f, "{} {json}", proto::short_name(&self.message_type))
    }
}

fn command<M: Message + Name>(message: &M) -> Input {
    Input { message_type: M::full_name(), data: message.encode_to_vec(), outside: true }
}

fn foreign<M: Message + Name>(message: &M) -> Input {
    Input { message_type: M::full_name(), data: message.encode_to_vec(), outside: false }
}

/// The service without its shell.
#[derive(Default)]
struct Shell {
    state: State,
    log: Vec<EncodedEvent>,
}

impl Shell {
    /// Handles a message and says how many events it caused.
    fn handle(&mut self, input: &Input) -> Result<usize, DecideError> {
        let commands = if input.outside {
            vec![Inventory::decode_command(&input.message_type, &input.data, Uuid::nil())?]
        } else {
            Inventory::react(&input.message_type, &input.data)?
        };
        let before = self.log.len();
        for command in &commands {
            self.decide(command)?;
        }
        Ok(self.log.len() - before)
    }

    fn decide(&mut self, command: &Command) -> Result<(), DecideError> {
        let caused = Inventory::advance(&mut self.state, command, Timestamp::default())?;
        self.log.extend(caused.into_iter().map(|(_, record)| record));
        Ok(())
    }

    fn rows(&self) -> BTreeMap<String, Row> {
        Inventory::rows(&self.state)
    }
}

/// What must be true, from the log alone.
#[derive(Default)]
struct Auditor {
    versions: BTreeMap<String, StreamVersion>,
    on_hand: BTreeMap<Sku, i64>,
    held: BTreeMap<Sku, i64>,
    open: BTreeMap<HoldKey, Lines>,
    closed: BTreeSet<HoldKey>,
    sold: BTreeMap<(HoldKey, Sku), i64>,
    refunds: BTreeSet<(HoldKey, RefundId)>,
}

impl Auditor {
    fn hear(&mut self, record: &EncodedEvent) {
        let version = self.versions.entry(record.stream.clone()).or_default();
        *version = version.next();
        assert_eq!(record.version, *version, "{} has a hole or a double", record.stream);
        match Inventory::decode_event(record.message_type, &record.data).unwrap() {
            Event::ProductRegistered { sku, .. } => assert_eq!(self.on_hand.insert(sku, 0), None),
            Event::StockReceived { sku, quantity, .. } => *self.on_hand.get_mut(&sku).unwrap() += quantity,
            Event::StockAdjusted { sku, delta, .. } => *self.on_hand.get_mut(&sku).unwrap() += delta,
            Event::StockHeld { key, lines } => {
                for (sku, quantity) in &lines {
                    *self.held.entry(sku.clone()).or_default() += quantity;
                }
                assert!(!self.closed.contains(&key), "{key} is held after it was closed");
                assert_eq!(self.open.insert(key, lines), None, "{key} is held twice");
            }
            Event::StockRejected { key, .. } => assert!(self.closed.insert(key), "{key} is closed twice"),
            Event::StockCommitted { key, lines } => {
                self.close(key, &lines);
                for (sku, quantity) in lines {
                    *self.on_hand.get_mut(&sku).unwrap() -= quantity;
                    self.sold.insert((key, sku), quantity);
                }
            }
            Event::StockReleased { key, lines } => self.close(key, &lines),
            Event::StockReturned { key, refund_id, lines } => {
                assert!(self.refunds.insert((key, refund_id)), "{refund_id} returns twice to {key}");
                for (sku, quantity) in lines {
                    *self.on_hand.get_mut(&sku).unwrap() += quantity;
                    let sold = self.sold.get_mut(&(key, sku)).unwrap();
                    *sold -= quantity;
                    assert!(*sold >= 0, "{key} returns more than it bought");
                }
            }
        }
    }

    fn close(&mut self, key: HoldKey, lines: &Lines) {
        assert!(self.closed.insert(key), "{key} is closed twice");
        assert_eq!(&self.open.remove(&key).unwrap_or_default(), lines, "{key} gives back what it never held");
        for (sku, quantity) in lines {
            *self.held.get_mut(sku).unwrap() -= quantity;
        }
    }

    fn check(&self, state: &State) {
        let mut held_by_orders: BTreeMap<&Sku, i64> = BTreeMap::new();
        for (_, hold) in state.holds.iter().filter(|(_, hold)| hold.status == Status::Held) {
            for (sku, quantity) in &hold.lines {
                *held_by_orders.entry(sku).or_default() += quantity;
            }
        }
        assert_eq!(state.stock.len(), self.on_hand.len());
        for (sku, stock) in state.stock.iter() {
            assert_eq!(stock.on_hand(), stock.received + stock.adjusted - stock.committed + stock.returned);
            assert_eq!(Some(&stock.on_hand()), self.on_hand.get(sku), "{sku}");
            assert_eq!(stock.held, self.held.get(sku).copied().unwrap_or(0), "{sku}");
            assert_eq!(stock.held, held_by_orders.get(sku).copied().unwrap_or(0), "{sku}");
            assert!(0 <= stock.held && stock.held <= stock.on_hand(), "{sku}: {stock:?}");
        }
    }
}

const SKUS: [&str; 3] = ["cup", "jug", "mug"];

fn order_id(order: u128) -> OrderId {
    OrderId(Uuid::from_u128(1 + order))
}

fn register(sku: &str) -> Input {
    command(&wire::RegisterProduct { sku: sku.to_owned(), name: sku.to_owned(), actor: String::new() })
}

fn receive(sku: &str, quantity: i64) -> Input {
    command(&wire::ReceiveStock { sku: sku.to_owned(), quantity, reference: String::new(), actor: String::new() })
}

fn placed(order: u128, attempt: i32, lines: &[ProductQuantity]) -> Input {
    let bought =
        |line: &ProductQuantity| orders::OrderLine { sku: line.sku.clone(), quantity: line.quantity, unit_price: None };
    let (order_id, lines) = (order_id(order).to_string(), lines.iter().map(bought).collect());
    if attempt == 1 {
        return foreign(&orders::OrderPlaced { order_id, attempt, lines, ..Default::default() });
    }
    foreign(&orders::OrderReinstated { order_id, attempt, lines, ..Default::default() })
}

fn paid(order: u128, attempt: i32) -> Input {
    let (order_id, holds) = (order_id(order).to_string(), vec![Resource::Stock.into()]);
    foreign(&orders::OrderPaid { order_id, attempt, holds, ..Default::default() })
}

fn closed(order: u128, attempt: i32, how: u8) -> Input {
    let (order_id, holds) = (order_id(order).to_string(), vec![Resource::Stock.into()]);
    match how {
        0 => foreign(&orders::OrderExpired { order_id, attempt, holds, ..Default::default() }),
        1 => foreign(&orders::OrderCancelled { order_id, attempt, holds, ..Default::default() }),
        _ => foreign(&orders::OrderRejected { order_id, attempt, holds, ..Default::default() }),
    }
}

fn refunded(order: u128, attempt: i32, refund: u128, lines: Vec<ProductQuantity>) -> Input {
    let (order_id, refund_id) = (order_id(order).to_string(), Uuid::from_u128(1 + refund).to_string());
    if refund == 0 {
        return foreign(&orders::OrderRefunded { order_id, attempt, refund_id, lines, ..Default::default() });
    }
    foreign(&orders::OrderPartiallyRefunded { order_id, attempt, refund_id, lines, ..Default::default() })
}

fn lines(most: i64) -> impl Strategy<Value = Vec<ProductQuantity>> {
    let line = (prop::sample::select(&SKUS[..]), 1..=most)
        .prop_map(|(sku, quantity)| ProductQuantity { sku: sku.to_owned(), quantity });
    vec(line, 0..4)
}

/// Any message, possible in this place or not.
fn any_input() -> impl Strategy<Value = Input> {
    let sku = || prop::sample::select(&SKUS[..]);
    let hold = || (0..3_u128, 1..3_i32);
    prop_oneof![
        1 => sku().prop_map(register),
        2 => (sku(), 1..20_i64).prop_map(|(sku, quantity)| receive(sku, quantity)),
        2 => (sku(), -9..9_i64).prop_map(|(sku, delta)| {
            let (actor, reason) = ("ann".to_owned(), "count".to_owned());
            command(&wire::AdjustStock { sku: sku.to_owned(), delta, actor, reason })
        }),
        6 => (hold(), lines(6)).prop_map(|((order, attempt), lines)| placed(order, attempt, &lines)),
        4 => hold().prop_map(|(order, attempt)| paid(order, attempt)),
        2 => (hold(), 0..3_u8).prop_map(|((order, attempt), how)| closed(order, attempt, how)),
        4 => (hold(), 0..6_u128, lines(3))
            .prop_map(|((order, attempt), refund, lines)| refunded(order, attempt, refund, lines)),
    ]
}

/// Once all of them, some of them again, in any order.
fn shuffled(inputs: Vec<Input>) -> impl Strategy<Value = Vec<Input>> {
    let count = inputs.len();
    subsequence(inputs.clone(), 0..=count)
        .prop_flat_map(move |again| Just([inputs.clone(), again].concat()).prop_shuffle())
}

fn stocked() -> Shell {
    let mut shell = Shell::default();
    for sku in SKUS {
        shell.handle(&register(sku)).unwrap();
        shell.handle(&receive(sku, 30)).unwrap();
    }
    shell
}

/// A hold's lines, and a split of them into refunds.
fn sale() -> impl Strategy<Value = (Vec<ProductQuantity>, Vec<Vec<ProductQuantity>>)> {
    (lines(6).prop_filter("a sale has lines", |lines| !lines.is_empty()), 1..4_i64).prop_map(|(lines, parts)| {
        let sums = lines_from_wire(&lines).unwrap();
        let part = |part: i64| {
            let share = |(sku, quantity): (&Sku, &i64)| ProductQuantity {
                sku: sku.to_string(),
                quantity: (quantity * (part + 1)) / parts - (quantity * part) / parts,
            };
            sums.iter().map(share).filter(|line| line.quantity > 0).collect::<Vec<_>>()
        };
        (lines, (0..parts).map(part).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_conserves_stock_and_folds_to_the_rows(
        stock_first in any::<bool>(),
        inputs in vec(any_input(), 0..60).prop_flat_map(shuffled),
    ) {
        let mut shell = if stock_first { stocked() } else { Shell::default() };
        let mut auditor = Auditor::default();
        let mut heard = 0;
        for input in &inputs {
            let before = shell.rows();
            let outcome = shell.handle(input);
            for record in &shell.log[heard..] {
                auditor.hear(record);
            }
            heard = shell.log.len();
            auditor.check(&shell.state);
            match outcome {
                Err(_) => prop_assert_eq!(before, shell.rows()),
                Ok(_) if input.outside => {}
                Ok(_) => prop_assert_eq!(shell.handle(input), Ok(0)),
            }
        }
        let mut fold = State::default();
        for record in &shell.log {
            let event = Inventory::decode_event(record.message_type, &record.data).unwrap();
            Inventory::evolve(&mut fold, &event);
            let rows = Inventory::rows(&fold);
            prop_assert!(Inventory::rows_of(&event).iter().all(|row| rows.contains_key(row)));
            prop_assert_eq!(Inventory::encode(&fold, &event), record.clone());
        }
        prop_assert_eq!(Inventory::rows(&fold), shell.rows());
    }

    #[test]
    fn a_paid_order_ends_the_same_in_whatever_order_its_messages_come(
        (lines, late) in sale().prop_flat_map(|(lines, refunds)| {
            let refunds = refunds.into_iter().zip(1..).map(|(lines, refund)| refunded(0, 1, refund, lines));
            let inputs = [placed(0, 1, &lines), paid(0, 1)].into_iter().chain(refunds).collect();
            (Just(lines), shuffled(inputs))
        }),
    ) {
        let mut shell = stocked();
        shell.handle(&placed(0, 1, &lines)).unwrap();
        for input in &late {
            shell.handle(input).unwrap();
        }
        prop_assert!(shell.state.stock.iter().all(|(_, stock)| (stock.on_hand(), stock.held) == (30, 0)));
        for (sku, quantity) in lines_from_wire(&lines).unwrap() {
            let stock = shell.state.stock.get(&sku).unwrap();
            prop_assert_eq!((stock.committed, stock.returned), (quantity, quantity));
        }
    }

    #[test]
    fn a_closed_order_holds_nothing_in_whatever_order_its_messages_come(
        inputs in (sale(), 0..3_u8)
            .prop_flat_map(|((lines, _), how)| shuffled(vec![placed(0, 1, &lines), closed(0, 1, how)])),
    ) {
        let mut shell = stocked();
        for input in &inputs {
            shell.handle(input).unwrap();
        }
        prop_assert!(shell.state.stock.iter().all(|(_, stock)| (stock.on_hand(), stock.held) == (30, 0)));
        let (_, hold) = shell.state.holds.iter().next().unwrap();
        prop_assert_eq!(hold.status, Status::Released);
    }
}
