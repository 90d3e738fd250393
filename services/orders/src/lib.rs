//! Orders owns the life of every order, from placed to paid, expired, cancelled, rejected or refunded, and its attempts.
//!
//! In: `StockHeld`, `StockRejected` and `StockReleased` of inventory, the same of shares and `RoundRefundsRequested`
//! of rounds, the same of coupon uses, `PaymentAuthorised`, `PaymentVoided`, `PaymentSucceeded`, `PaymentFailed`, `PaymentRefunded`, `PaymentRefundedElsewhere`, `RefundRejected` and all that is said of disputes of payments,
//! and a timer.
//! Out: `OrderPlaced`, `OrderHoldConfirmed`, `OrderReserved`, then one of `OrderPaid`, `OrderExpired`, `OrderCancelled`
//! and `OrderRejected`; after the last three `OrderReleaseConfirmed`, `OrderReleased` and perhaps `OrderReinstated`;
//! and of every refund `RefundRequested`, then `OrderRefunded`, `OrderPartiallyRefunded` or `RefundAbandoned`;
//! of money that is set aside `CaptureRequested` or `VoidRequested`; of orders with a coupon `CouponRequested` and `RedemptionRequested`; `ShareRefundDeferred` if one has to wait for another, `LatePaymentDeferred` if late money has to wait for the receipt, `OrderDisputed` if a payment is, and
//! `PaidOrderCancelled`, which is remembered until all is back. Beside all that, and in none of it: where the buyer is reached by mail. Always:
//! an attempt is paid or closed once, and released once; what is refunded and on its way back is no more than what was
//! paid, of every payment; what is asked for and paid is the total without the discount, never below 0; late money is used or sent back, once; no piece and no share comes back twice.

use std::collections::BTreeMap;

use domain::{DecideError, Decider, HoldKey, Memory, OrderId, Rejection, StreamVersion, Timer, Timestamp};
use platform::statement::Statement;
use providers::Enabled;
use runtime::service::{Differing, Locks, RowTable, Service};
use sqlx::PgConnection;
use uuid::Uuid;

pub mod command;
pub mod event;
pub mod order;
pub mod policy;
#[cfg(test)]
mod properties;
pub mod store;
pub mod wire;

use command::Command;
use event::{Event, Reinstated};
use order::{Order, State};

/// The service, with the providers that take new payments.
#[derive(Debug, Clone)]
pub struct Orders {
    enabled: Enabled,
}

impl Orders {
    /// Orders that are paid with these providers.
    #[must_use]
    pub const fn new(enabled: Enabled) -> Self {
        Self { enabled }
    }
}

impl Decider for Orders {
    const NAME: &'static str = "orders";

    const STREAMS: &'static [&'static str] = &["order"];

    const COMMANDS: &'static [&'static str] = &[
        "holdfast.orders.v1.PlaceOrder",
        "holdfast.orders.v1.CancelOrder",
        "holdfast.orders.v1.ExpireOrder",
        "holdfast.orders.v1.RequestRefund",
        "holdfast.orders.v1.ReinstateOrder",
    ];

    const REACTS_TO: &'static [&'static str] = &[
        "holdfast.inventory.v1.StockHeld",
        "holdfast.inventory.v1.StockRejected",
        "holdfast.inventory.v1.StockReleased",
        "holdfast.rounds.v1.SharesHeld",
        "holdfast.rounds.v1.SharesRejected",
        "holdfast.rounds.v1.SharesReleased",
        "holdfast.rounds.v1.RoundRefundsRequested",
        "holdfast.payments.v1.CouponHeld",
        "holdfast.payments.v1.CouponRejected",
        "holdfast.payments.v1.CouponReleased",
        "holdfast.payments.v1.PaymentSucceeded",
        "holdfast.payments.v1.PaymentAuthorised",
        "holdfast.payments.v1.PaymentVoided",
        "holdfast.payments.v1.PaymentFailed",
        "holdfast.payments.v1.PaymentRefunded",
        "holdfast.payments.v1.PaymentRefundedElsewhere",
        "holdfast.payments.v1.RefundRejected",
        "holdfast.payments.v1.PaymentDisputed",
        "holdfast.payments.v1.DisputeFundsWithdrawn",
        "holdfast.payments.v1.DisputeFundsReinstated",
        "holdfast.payments.v1.DisputeClosed",
    ];

    type Command = Command;
    type Event = Event;
    type State = State;
    type Row = Order;

    fn decode_command(message_type: &str, data: &[u8], id: Uuid) -> Result<Command, Rejection> {
        wire::decode_command(message_type, data, id)
    }

    fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
        policy::react(message_type, data)
    }

    fn joined_by(command: &Command) -> Option<HoldKey> {
        policy::joined_by(command)
    }

    fn join(first: &Command, then: &Command) -> Option<Command> {
        policy::join(first, then)
    }

    fn on_timer(stream: &str) -> Option<Command> {
        let order_id = OrderId::parse(stream.strip_prefix("order-")?).ok()?;
        Some(Command::Expire { order_id })
    }

    fn decide(state: &State, command: &Command, at: Timestamp) -> Result<Vec<Event>, DecideError> {
        order::decide(state, command, at)
    }

    fn evolve(state: &mut State, event: &Event) {
        order::evolve(state, event);
    }

    fn keep(state: &mut State, command: &Command) {
        if let Command::PlaceOrder { order_id, contact: Some(contact), .. } = command {
            state.contacts.insert(*order_id, contact.clone());
        }
    }

    fn place(state: &State, event: &Event) -> (String, StreamVersion) {
        // 0 without the row, which the log refuses.
        let version = state.orders.get(&event.order_id()).map(|order| order.version).unwrap_or_default();
        (event.stream(), version)
    }

    fn encode_event(event: &Event) -> (&'static str, Vec<u8>) {
        wire::encode(event)
    }

    fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
        wire::decode_event(message_type, data)
    }

    fn timer(event: &Event) -> Option<Timer> {
        match event {
            Event::OrderPlaced { terms, placed_at, .. } => Some(Timer::Set(*placed_at + terms.time_to_pay)),
            Event::OrderReinstated(Reinstated { expires_at: Some(expires_at), .. }) => Some(Timer::Set(*expires_at)),
            Event::OrderReinstated(Reinstated { expires_at: None, .. })
            | Event::CaptureRequested { .. }
            | Event::OrderPaid { .. }
            | Event::OrderExpired { .. }
            | Event::OrderCancelled { .. }
            | Event::OrderRejected { .. } => Some(Timer::Clear),
            Event::CouponRequested { .. }
            | Event::RedemptionRequested { .. }
            | Event::VoidRequested { .. }
            | Event::OrderDisputed { .. }
            | Event::OrderHoldConfirmed { .. }
            | Event::OrderReserved { .. }
            | Event::OrderReleaseConfirmed { .. }
            | Event::OrderReleased { .. }
            | Event::PaidOrderCancelled { .. }
            | Event::LatePaymentDeferred { .. }
            | Event::RefundRequested { .. }
            | Event::OrderRefunded { .. }
            | Event::OrderPartiallyRefunded { .. }
            | Event::ShareRefundDeferred { .. }
            | Event::RefundAbandoned { .. } => None,
        }
    }

    fn rows(state: &State) -> BTreeMap<String, Order> {
        state.orders.iter().map(|(order_id, order)| (event::stream(*order_id), order.clone())).collect()
    }

    fn row(state: &State, name: &str) -> Option<Order> {
        let order_id = OrderId::parse(name.strip_prefix("order-")?).ok()?;
        state.orders.get(&order_id).cloned()
    }

    fn put(state: &mut State, name: &str, order: Order) -> Option<()> {
        state.orders.create(OrderId::parse(name.strip_prefix("order-")?).ok()?, order);
        Some(())
    }

    fn take_out(state: &mut State, name: &str) -> Option<Order> {
        let order = state.orders.take(&OrderId::parse(name.strip_prefix("order-")?).ok()?)?;
        if let Some(reference) = &order.terms.reference {
            state.references.take(reference);
        }
        Some(order)
    }

    fn rows_of(event: &Event) -> Vec<String> {
        vec![event.stream()]
    }
}

impl Service for Orders {
    const TABLES: &'static [RowTable] = &store::TABLES;

    fn admit(&self, command: Command) -> Result<Command, Rejection> {
        wire::payable(command, &self.enabled)
    }

    async fn waiting(connection: &mut PgConnection) -> Result<Vec<(&'static str, i64)>, sqlx::Error> {
        Ok(vec![("orders_owing_money", store::owing(connection).await?)])
    }

    fn can_wait(memory: &Memory<State>, command: &Command) -> bool {
        policy::can_wait(memory, command)
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

    async fn check_derived(connection: &mut PgConnection, rows: &State) -> Result<Differing, sqlx::Error> {
        store::derived::differing(connection, rows).await
    }
}
