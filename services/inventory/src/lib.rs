//! Inventory owns products, their stock, and the stock that orders hold.
//!
//! In: `OrderPlaced` and `OrderReinstated` ask for a hold, `OrderPaid` commits it, `OrderExpired`, `OrderCancelled` and
//! `OrderRejected` release it, `OrderRefunded` and `OrderPartiallyRefunded` return what it had sold. Out:
//! `ProductRegistered`, `StockReceived` and `StockAdjusted` of a product; `StockHeld` or `StockRejected`, then
//! `StockCommitted` or `StockReleased`, then `StockReturned` of a hold. Always: `on_hand = received + adjusted -
//! committed + returned`; `0 <= held <= on_hand`; `held` is the sum of all open holds; a hold closes once; a refund
//! returns once, and never more than was committed.

use std::{collections::BTreeMap, iter::once};

use domain::{DecideError, Decider, HoldKey, Memory, Rejection, Sku, StreamVersion, Timestamp};
use platform::statement::Statement;
use runtime::service::{Locks, RowTable, Service};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

pub mod command;
pub mod event;
pub mod hold;
pub mod policy;
pub mod stock;
pub mod store;
pub mod wire;

use command::Command;
use event::{Event, StreamId};
use hold::Hold;
use stock::{State, Stock};

/// The service.
#[derive(Debug, Clone, Copy)]
pub struct Inventory;

/// A row of one of its tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// A product.
    Stock(Stock),
    /// What one attempt of an order holds.
    Hold(Hold),
}

impl Decider for Inventory {
    const NAME: &'static str = "inventory";

    const STREAMS: &'static [&'static str] = &["product", "stock"];

    const COMMANDS: &'static [&'static str] = &[
        "holdfast.inventory.v1.RegisterProduct",
        "holdfast.inventory.v1.ReceiveStock",
        "holdfast.inventory.v1.AdjustStock",
    ];

    const REACTS_TO: &'static [&'static str] = &[
        "holdfast.orders.v1.OrderPlaced",
        "holdfast.orders.v1.OrderReinstated",
        "holdfast.orders.v1.OrderPaid",
        "holdfast.orders.v1.OrderExpired",
        "holdfast.orders.v1.OrderCancelled",
        "holdfast.orders.v1.OrderRejected",
        "holdfast.orders.v1.OrderRefunded",
        "holdfast.orders.v1.OrderPartiallyRefunded",
    ];

    type Command = Command;
    type Event = Event;
    type State = State;
    type Row = Row;

    fn decode_command(message_type: &str, data: &[u8], _id: Uuid) -> Result<Command, Rejection> {
        wire::decode_command(message_type, data)
    }

    fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
        policy::react(message_type, data)
    }

    fn on_timer(_stream: &str) -> Option<Command> {
        None
    }

    fn decide(state: &State, command: &Command, _at: Timestamp) -> Result<Vec<Event>, DecideError> {
        stock::decide(state, command)
    }

    fn evolve(state: &mut State, event: &Event) {
        stock::evolve(state, event);
    }

    fn place(state: &State, event: &Event) -> (String, StreamVersion) {
        (event.owner().to_string(), state.version(event.owner()))
    }

    fn encode_event(event: &Event) -> (&'static str, Vec<u8>) {
        wire::encode(event)
    }

    fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
        wire::decode_event(message_type, data)
    }

    fn rows(state: &State) -> BTreeMap<String, Row> {
        let products =
            state.stock.iter().map(|(sku, stock)| (StreamId::Product(sku).to_string(), Row::Stock(stock.clone())));
        let holds = state.holds.iter().map(|(key, hold)| (StreamId::Hold(*key).to_string(), Row::Hold(hold.clone())));
        products.chain(holds).collect()
    }

    fn row(state: &State, name: &str) -> Option<Row> {
        if let Some(sku) = name.strip_prefix("product-") {
            return state.stock.get(&Sku::parse(sku).ok()?).cloned().map(Row::Stock);
        }
        state.holds.get(&HoldKey::from_text(name.strip_prefix("stock-")?)?).cloned().map(Row::Hold)
    }

    fn put(state: &mut State, name: &str, row: Row) -> Option<()> {
        match row {
            Row::Stock(stock) => state.stock.create(Sku::parse(name.strip_prefix("product-")?).ok()?, stock),
            Row::Hold(hold) => state.holds.create(HoldKey::from_text(name.strip_prefix("stock-")?)?, hold),
        }
        Some(())
    }

    fn take_out(state: &mut State, name: &str) -> Option<Row> {
        if let Some(sku) = name.strip_prefix("product-") {
            return state.stock.take(&Sku::parse(sku).ok()?).map(Row::Stock);
        }
        state.holds.take(&HoldKey::from_text(name.strip_prefix("stock-")?)?).map(Row::Hold)
    }

    fn rows_of(event: &Event) -> Vec<String> {
        let products = event.lines().into_iter().flat_map(|lines| lines.keys()).map(StreamId::Product);
        once(event.owner()).chain(products).map(|owner| owner.to_string()).collect()
    }
}

impl Service for Inventory {
    const TABLES: &'static [RowTable] = &store::TABLES;

    fn can_wait(_memory: &Memory<State>, command: &Command) -> bool {
        policy::can_wait(command)
    }

    fn recall(memory: &mut Memory<State>, commands: &[&Command], state: &mut State) -> bool {
        store::recall(memory, commands, state)
    }

    async fn load(connection: &mut PgConnection, commands: &[&Command], locks: Locks) -> Result<State, sqlx::Error> {
        store::load(connection, commands, locks).await
    }

    fn save(statement: &mut Statement, state: &State) {
        store::save(statement, state);
    }

    async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
        store::load_all(connection).await
    }

    async fn load_rows(connection: &mut PgConnection, names: &[String]) -> Result<State, sqlx::Error> {
        store::load_rows(connection, names).await
    }
}
