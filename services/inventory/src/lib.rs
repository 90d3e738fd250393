//! Inventory owns products, their stock, and the stock that orders hold.
//!
//! In: `OrderPlaced` and `OrderReinstated` ask for a hold, `OrderPaid` commits it, `OrderExpired`, `OrderCancelled` and
//! `OrderRejected` release it, `OrderRefunded` and `OrderPartiallyRefunded` return what it had sold. Out:
//! `ProductRegistered`, `StockReceived` and `StockAdjusted` of a product; `StockReserved` or `StockRejected`, then
//! `StockCommitted` or `StockReleased`, then `StockReturned` of a hold. Always: `on_hand = received + adjusted -
//! committed + returned`; `0 <= held <= on_hand`; `held` is the sum of all open holds; a hold closes once; a refund
//! returns once, and never more than was committed.

use std::{collections::BTreeMap, iter::once};

use domain::{HoldKey, Refusal, Rejection, Sku, Timestamp};
use runtime::service::{Record, Service};
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
use event::{Event, Owner};
use stock::World;

/// The service.
#[derive(Debug, Clone, Copy)]
pub struct Inventory;

impl Service for Inventory {
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
    type World = World;

    fn command(message_type: &str, data: &[u8], _id: Uuid) -> Result<Command, Rejection> {
        wire::command(message_type, data)
    }

    fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
        policy::react(message_type, data)
    }

    fn on_timer(_stream: &str) -> Option<Command> {
        None
    }

    fn decide(world: &World, command: &Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        stock::decide(world, command)
    }

    fn evolve(world: &mut World, event: &Event) {
        stock::evolve(world, event);
    }

    fn record(world: &World, event: &Event) -> Record {
        let (message_type, data) = wire::encode(event);
        Record { stream: event.owner().to_string(), version: world.version(event.owner()), message_type, data }
    }

    fn event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
        wire::event(message_type, data)
    }

    async fn load(connection: &mut PgConnection, commands: &[&Command]) -> Result<World, sqlx::Error> {
        store::load(connection, commands).await
    }

    async fn save(connection: &mut PgConnection, world: &World) -> Result<(), sqlx::Error> {
        store::save(connection, world).await
    }

    async fn load_all(connection: &mut PgConnection) -> Result<World, sqlx::Error> {
        store::load_all(connection).await
    }

    fn describe(world: &World) -> BTreeMap<String, String> {
        let products = world.stock.iter().map(|(sku, stock)| (Owner::Product(sku).to_string(), format!("{stock:?}")));
        let holds = world.holds.iter().map(|(key, hold)| (Owner::Hold(*key).to_string(), format!("{hold:?}")));
        products.chain(holds).collect()
    }

    fn describe_row(world: &World, name: &str) -> Option<String> {
        if let Some(sku) = name.strip_prefix("product-") {
            return world.stock.get(&Sku::parse(sku).ok()?).map(|stock| format!("{stock:?}"));
        }
        world.holds.get(&HoldKey::from_text(name.strip_prefix("stock-")?)?).map(|hold| format!("{hold:?}"))
    }

    fn rows_of(event: &Event) -> Vec<String> {
        let products = event.lines().into_iter().flat_map(|lines| lines.keys()).map(Owner::Product);
        once(event.owner()).chain(products).map(|owner| owner.to_string()).collect()
    }
}
