//! Payments owns what buyers are asked to pay, what the provider says of it, and the refunds.
//!
//! In: `OrderReserved` asks the buyer to pay, `OrderExpired`, `OrderCancelled` and `OrderRejected` stop asking,
//! `RefundRequested` gives money back; `RecordProviderEvent` is what the provider reports, `ResolveRefund` and
//! `ResolveProviderReport` what an operator decides. Out: `PaymentRequested`, then `CheckoutOpened` or
//! `CheckoutFailed` where the provider must be called for a page, and `CheckoutAbandoned` and `CheckoutClosed` once it is of no use;
//! `PaymentDeclined` for each try that fails, and
//! `PaymentSucceeded`, `PaymentFailed` or `PaymentCancelled`; `RefundSubmitted`, which is sent to the provider after its commit, or
//! `RefundDeferred` before it, then `PaymentRefunded`, `RefundRejected` or `RefundOutcomeUnknown`; `RefundAnswered`, `RefundReversed`
//! and `RefundResolved`; `PaymentRefundedElsewhere`; `ProviderReportUnmatched` and `ProviderReportResolved`. Always: a report is a
//! fact, kept whole and never refused; late money is taken in and never lost; `refunded + refunding <= captured`; a refund's money
//! moves once under a key, which is sent again only after looking up what became of it; while something is in doubt, no other refund
//! of the payment is sent; what is not known stays unknown until somebody knows.

use std::{collections::BTreeMap, time::Duration};

use domain::{DecideError, Decider, Effect, EncodedEvent, Memory, PaymentId, Rejection, Timestamp};
use platform::statement::Statement;
use providers::{Adapter, Provider, ProviderContext, Registry};
use runtime::service::{EffectOutcome, LeasedEffect, Locks, Service};
use sqlx::PgConnection;
use uuid::Uuid;

pub mod checkout_protocol;
pub mod command;
mod effect;
pub mod event;
mod missed;
pub mod payment;
pub mod policy;
pub mod refund_protocol;
pub mod report;
mod store;
pub mod wire;

use command::Command;
use event::Event;
use payment::{Payment, State};

/// The service, with the providers that it uses.
#[derive(Debug, Clone)]
pub struct Payments<P = Adapter> {
    providers: Registry<P>,
    try_time_max: Duration,
}

impl<P> Payments<P> {
    /// Payments through these providers. One try at a refund, look-up and sending together, takes no longer than
    /// `try_time_max`: 30 seconds with a provider on the Internet, and always less than the lease of an effect.
    pub const fn new(providers: Registry<P>, try_time_max: Duration) -> Self {
        Self { providers, try_time_max }
    }
}

impl<P> Decider for Payments<P> {
    const NAME: &'static str = "payments";

    const STREAMS: &'static [&'static str] = &["payment"];

    const COMMANDS: &'static [&'static str] = &[
        "holdfast.payments.v1.RecordProviderEvent",
        "holdfast.payments.v1.ResolveProviderReport",
        "holdfast.payments.v1.ResolveRefund",
    ];

    const REACTS_TO: &'static [&'static str] = &[
        "holdfast.orders.v1.OrderReserved",
        "holdfast.orders.v1.OrderExpired",
        "holdfast.orders.v1.OrderCancelled",
        "holdfast.orders.v1.OrderRejected",
        "holdfast.orders.v1.RefundRequested",
    ];

    type Command = Command;
    type Event = Event;
    type State = State;
    type Row = Payment;

    fn decode_command(message_type: &str, data: &[u8], id: Uuid) -> Result<Command, Rejection> {
        wire::decode_command(message_type, data, id)
    }

    fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
        policy::react(message_type, data)
    }

    fn on_timer(_stream: &str) -> Option<Command> {
        None
    }

    fn decide(state: &State, command: &Command, at: Timestamp) -> Result<Vec<Event>, DecideError> {
        payment::decide(state, command, at)
    }

    fn evolve(state: &mut State, event: &Event) {
        payment::evolve(state, event);
    }

    fn encode(state: &State, event: &Event) -> EncodedEvent {
        let (message_type, data) = wire::encode(event);
        let payment_id = event.payment_id();
        EncodedEvent { stream: event::stream(payment_id), version: state.version(payment_id), message_type, data }
    }

    fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
        wire::decode_event(message_type, data)
    }

    fn effect(event: &Event) -> Option<Effect> {
        effect::of(event)
    }

    fn is_call_open(state: &State, key: &str) -> bool {
        effect::is_open(state, key)
    }

    fn rows(state: &State) -> BTreeMap<String, Payment> {
        state.payments.iter().map(|(id, payment)| (event::stream(*id), payment.clone())).collect()
    }

    fn row(state: &State, name: &str) -> Option<Payment> {
        let payment_id = PaymentId::parse(name.strip_prefix("payment-")?).ok()?;
        state.payments.get(&payment_id).cloned()
    }

    fn rows_of(event: &Event) -> Vec<String> {
        vec![event::stream(event.payment_id())]
    }
}

impl<P: Provider> Service for Payments<P> {
    /// The provider's reports end what was begun.
    const EVENTS_FIRST: bool = false;

    async fn perform(&self, effect: LeasedEffect) -> EffectOutcome<Command> {
        effect::perform(&self.providers, self.try_time_max, effect).await
    }

    async fn background(&self, context: runtime::Context) {
        let runtime::Context { config, lineage, shutdown, .. } = context.clone();
        let (broker, consumer, installation) = (config.broker, config.consumer, lineage.installation);
        let providers = self.providers.background(ProviderContext { broker, consumer, installation, shutdown });
        tokio::join!(providers, missed::run(&self.providers, &context));
    }

    async fn waiting(connection: &mut PgConnection) -> Result<Vec<(&'static str, i64)>, sqlx::Error> {
        Ok(vec![("unmatched_reports", store::open_reports(connection).await?)])
    }

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
}
