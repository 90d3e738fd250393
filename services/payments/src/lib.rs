//! Payments owns what buyers are asked to pay, what the provider says of it, and the refunds.
//!
//! In: `OrderReserved` asks the buyer to pay, `OrderExpired`, `OrderCancelled` and `OrderRejected` stop asking,
//! `CaptureRequested` and `VoidRequested` take money that is set aside, or let it go, `RefundRequested` gives money back; `CouponRequested` holds a use of a coupon, `RedemptionRequested` uses it up, and the close of
//! its order frees it; `OpenCoupon` and `CloseCoupon` are what a shop decides, `RecordProviderEvent` is what the provider reports, `ResolveRefund` and
//! `ResolveProviderReport` what an operator decides. Out: `PaymentRequested`, then `CheckoutOpened` or
//! `CheckoutFailed` where the provider must be called for a page, and `CheckoutAbandoned` and `CheckoutClosed` once it is of no use, with
//! `CheckoutRequested` of another in its place, for which `RequestCheckout` asks; `CheckoutLookSubmitted` by a timer, where nothing is heard of it;
//! `PaymentAuthorised` of money that the provider sets aside, `CaptureSubmitted` or `VoidSubmitted`, and `PaymentVoided` of what was let go;
//! `PaymentDeclined` for each try that fails, and
//! `PaymentSucceeded`, `PaymentFailed` or `PaymentCancelled`; `RefundSubmitted`, which is sent to the provider after its commit, or
//! `RefundDeferred` before it, then `PaymentRefunded`, `RefundRejected` or `RefundOutcomeUnknown`; `RefundAnswered`, `RefundReversed`
//! and `RefundResolved`; `PaymentDisputed`, `DisputeFundsWithdrawn`, `DisputeFundsReinstated` and `DisputeClosed` of a charge that its buyer's bank disputes; `PaymentRefundedElsewhere`; `ProviderReportUnmatched` and `ProviderReportResolved`;
//! `CouponOpened` and `CouponClosed` of a coupon; `CouponHeld` or `CouponRejected`, then `CouponRedeemed` or `CouponReleased` of a use.
//!
//! Of wallets: in, `TopUpWallet` and `WithdrawFromWallet`, and what the adapter to wallets sends, `HoldFunds`, `CommitFunds`, `ReleaseFunds`
//! and `CreditWallet`; out, `WalletToppedUp` and `WalletWithdrawnFrom`, `FundsHeld` or `FundsRejected`, then `FundsCommitted` or
//! `FundsReleased`, and `WalletCredited` for each refund.
//!
//! Always: a report is a fact, kept whole and never refused; late money is taken in and never lost; a second charge goes back by itself, once, and
//! moves none of the payment's own money; `refunded + refunding <= captured`, and what disputes take is beside that; a refund's money
//! moves once under a key, which is sent again only after looking up what became of it; while something is in doubt, no other refund
//! of the payment is sent; what is not known stays unknown until somebody knows; `held + redeemed` of a coupon, and of each
//! of its customers, is never above its limit, and what is held stays good until its order ends; neither `available` nor `held` of a wallet
//! is ever below 0, and no refund of a payment is credited twice, nor more than the payment took.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    CouponCode, DecideError, Decider, Effect, HoldKey, Memory, PaymentId, Rejection, StreamVersion, Timer, Timestamp,
    WalletId,
};
use platform::{metric::Metric, statement::Statement};
use providers::{Adapter, Provider, ProviderContext, Registry};
use runtime::service::{Differing, EffectOutcome, LeasedEffect, Locks, RowTable, Service};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

pub mod checkout_protocol;
pub mod command;
mod configured;
pub mod coupon;
mod effect;
pub mod event;
mod missed;
pub mod payment;
pub mod policy;
pub mod refund_protocol;
pub mod report;
mod store;
pub mod wallet;
pub mod wire;

pub use configured::with_providers;

use command::Command;
use coupon::{Coupon, Customer, Use};
use event::{CheckoutEvent, CheckoutStep, Event, StreamId};
use payment::{Payment, State};
use wallet::{Funds, Wallet};

/// The service, with the providers that it uses.
#[derive(Debug, Clone)]
pub struct Payments<P = Adapter> {
    providers: Registry<P>,
    try_time_max: Duration,
}

impl<P> Payments<P> {
    /// Payments through these providers. One try at a call, look-up and sending together, takes no longer than `try_time_max`, or than its
    /// provider says of itself.
    pub const fn new(providers: Registry<P>, try_time_max: Duration) -> Self {
        Self { providers, try_time_max }
    }
}

/// A row of one of its tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// A payment.
    Payment(Box<Payment>),
    /// A coupon.
    Coupon(Coupon),
    /// What one attempt of an order holds of a coupon.
    Use(Use),
    /// What a customer has used of a coupon.
    Customer(Customer),
    /// A wallet.
    Wallet(Wallet),
    /// What is set aside of a wallet for a payment.
    Funds(Funds),
}

impl<P> Decider for Payments<P> {
    const NAME: &'static str = "payments";

    const STREAMS: &'static [&'static str] = &["payment", "coupon", "use", "wallet", "funds"];

    const COMMANDS: &'static [&'static str] = &[
        "holdfast.payments.v1.RecordProviderEvent",
        "holdfast.payments.v1.RequestCheckout",
        "holdfast.payments.v1.ResolveProviderReport",
        "holdfast.payments.v1.ResolveRefund",
        "holdfast.payments.v1.OpenCoupon",
        "holdfast.payments.v1.CloseCoupon",
        "holdfast.payments.v1.TopUpWallet",
        "holdfast.payments.v1.WithdrawFromWallet",
        "holdfast.payments.v1.HoldFunds",
        "holdfast.payments.v1.CommitFunds",
        "holdfast.payments.v1.ReleaseFunds",
        "holdfast.payments.v1.CreditWallet",
    ];

    const REACTS_TO: &'static [&'static str] = &[
        "holdfast.orders.v1.OrderReserved",
        "holdfast.orders.v1.OrderExpired",
        "holdfast.orders.v1.OrderCancelled",
        "holdfast.orders.v1.OrderRejected",
        "holdfast.orders.v1.CaptureRequested",
        "holdfast.orders.v1.VoidRequested",
        "holdfast.orders.v1.RefundRequested",
        "holdfast.orders.v1.CouponRequested",
        "holdfast.orders.v1.RedemptionRequested",
    ];

    type Command = Command;
    type Event = Event;
    type State = State;
    type Row = Row;

    fn decode_command(message_type: &str, data: &[u8], id: Uuid) -> Result<Command, Rejection> {
        wire::decode_command(message_type, data, id)
    }

    fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
        policy::react(message_type, data)
    }

    fn on_timer(stream: &str) -> Option<Command> {
        let payment_id = PaymentId::parse(stream.strip_prefix("payment-")?).ok()?;
        Some(Command::LookAtPage { payment_id })
    }

    fn decide(state: &State, command: &Command, at: Timestamp) -> Result<Vec<Event>, DecideError> {
        payment::decide(state, command, at)
    }

    fn evolve(state: &mut State, event: &Event) {
        payment::evolve(state, event);
    }

    fn place(state: &State, event: &Event) -> (String, StreamVersion) {
        let owner = event.owner();
        (owner.to_string(), state.version(&owner))
    }

    fn encode_event(event: &Event) -> (&'static str, Vec<u8>) {
        wire::encode(event)
    }

    fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
        wire::decode_event(message_type, data)
    }

    /// Set by few, and cleared by none: of what is settled meanwhile nothing is asked.
    fn timer(event: &Event) -> Option<Timer> {
        let Event::Checkout(CheckoutEvent { step, .. }) = event else { return None };
        match step {
            CheckoutStep::Opened { look_at, .. } | CheckoutStep::LookSubmitted { look_at, .. } => {
                look_at.map(Timer::Set)
            }
            CheckoutStep::Failed(_)
            | CheckoutStep::Abandoned { .. }
            | CheckoutStep::Closed(_)
            | CheckoutStep::Requested { .. } => None,
        }
    }

    fn effect(event: &Event) -> Option<Effect> {
        effect::of(event)
    }

    fn is_call_open(state: &State, key: &str) -> bool {
        effect::is_open(state, key)
    }

    fn rows(state: &State) -> BTreeMap<String, Row> {
        let payments = state.payments.iter();
        let payments = payments.map(|(id, payment)| (event::stream(*id), Row::Payment(Box::new(payment.clone()))));
        let coupons = state.coupons.iter();
        let coupons =
            coupons.map(|(code, coupon)| (StreamId::Coupon(code.clone()).to_string(), Row::Coupon(coupon.clone())));
        let uses = state.uses.iter().map(|(key, held)| (StreamId::Use(*key).to_string(), Row::Use(held.clone())));
        let customers = state.customers.iter();
        let customers =
            customers.map(|((code, customer), uses)| (event::customer_row(code, customer), Row::Customer(*uses)));
        let wallets = state.wallets.iter();
        let wallets = wallets.map(|(id, wallet)| (StreamId::Wallet(*id).to_string(), Row::Wallet(wallet.clone())));
        let funds = state.funds.iter();
        let funds = funds.map(|(id, funds)| (StreamId::Funds(*id).to_string(), Row::Funds(funds.clone())));
        payments.chain(coupons).chain(uses).chain(customers).chain(wallets).chain(funds).collect()
    }

    fn row(state: &State, name: &str) -> Option<Row> {
        let (kind, name) = name.split_once('-')?;
        match kind {
            "payment" => {
                let payment = state.payments.get(&PaymentId::parse(name).ok()?)?;
                Some(Row::Payment(Box::new(payment.clone())))
            }
            "coupon" => state.coupons.get(&CouponCode::parse(name).ok()?).cloned().map(Row::Coupon),
            "use" => state.uses.get(&HoldKey::from_text(name)?).cloned().map(Row::Use),
            "customer" => {
                let (code, customer) = name.split_once('.')?;
                let customer = (CouponCode::parse(code).ok()?, customer.to_owned());
                state.customers.get(&customer).copied().map(Row::Customer)
            }
            "wallet" => state.wallets.get(&WalletId::parse(name).ok()?).cloned().map(Row::Wallet),
            "funds" => state.funds.get(&PaymentId::parse(name).ok()?).cloned().map(Row::Funds),
            _ => None,
        }
    }

    fn put(state: &mut State, name: &str, row: Row) -> Option<()> {
        let (_kind, name) = name.split_once('-')?;
        match row {
            Row::Payment(payment) => state.payments.create(PaymentId::parse(name).ok()?, *payment),
            Row::Coupon(coupon) => state.coupons.create(CouponCode::parse(name).ok()?, coupon),
            Row::Use(held) => state.uses.create(HoldKey::from_text(name)?, held),
            Row::Customer(uses) => {
                let (code, customer) = name.split_once('.')?;
                state.customers.create((CouponCode::parse(code).ok()?, customer.to_owned()), uses);
            }
            Row::Wallet(wallet) => state.wallets.create(WalletId::parse(name).ok()?, wallet),
            Row::Funds(funds) => state.funds.create(PaymentId::parse(name).ok()?, funds),
        }
        Some(())
    }

    fn take_out(state: &mut State, name: &str) -> Option<Row> {
        let (kind, name) = name.split_once('-')?;
        match kind {
            "payment" => state.payments.take(&PaymentId::parse(name).ok()?).map(Box::new).map(Row::Payment),
            "coupon" => state.coupons.take(&CouponCode::parse(name).ok()?).map(Row::Coupon),
            "use" => state.uses.take(&HoldKey::from_text(name)?).map(Row::Use),
            "customer" => {
                let (code, customer) = name.split_once('.')?;
                state.customers.take(&(CouponCode::parse(code).ok()?, customer.to_owned())).map(Row::Customer)
            }
            "wallet" => state.wallets.take(&WalletId::parse(name).ok()?).map(Row::Wallet),
            "funds" => state.funds.take(&PaymentId::parse(name).ok()?).map(Row::Funds),
            _ => None,
        }
    }

    fn rows_of(event: &Event) -> Vec<String> {
        let of = if let Event::Coupon(event) = event { event.moves() } else { None };
        let moved = of.into_iter().flat_map(|of| {
            let coupon = StreamId::Coupon(of.code.clone()).to_string();
            [coupon, event::customer_row(&of.code, &of.customer_id)]
        });
        let wallet = if let Event::Wallet(event) = event { event.moves() } else { None };
        let wallet = wallet.map(|(of, _)| StreamId::Wallet(of.wallet_id));
        // A top-up moves the money of its own stream's row.
        let wallet = wallet.filter(|wallet| *wallet != event.owner()).map(|wallet| wallet.to_string());
        std::iter::once(event.owner().to_string()).chain(moved).chain(wallet).collect()
    }
}

impl<P: Provider> Service for Payments<P> {
    const METRICS: &'static [Metric] = missed::METRICS;

    const TABLES: &'static [RowTable] = &store::TABLES;

    /// The provider's reports end what was begun.
    const EVENTS_FIRST: bool = false;

    const CALLEES: &'static [&'static str] = &effect::CALLEES;

    /// A little more than a try takes, so that payments decides what a silence means.
    fn call_time_max(&self, effect: &LeasedEffect, usual: Duration) -> Duration {
        effect::time_max(&self.providers, effect).map_or(usual, |time_max| time_max + usual)
    }

    async fn perform(&self, effect: LeasedEffect) -> EffectOutcome<Command> {
        effect::perform(&self.providers, self.try_time_max, effect).await
    }

    async fn background(&self, context: runtime::Context) {
        let runtime::Context { config, lineage, shutdown, .. } = &context;
        let of_providers = ProviderContext {
            broker: config.broker.clone(),
            consumer: config.consumer.clone(),
            installation: lineage.installation,
            shutdown: shutdown.clone(),
        };
        tokio::join!(self.providers.background(of_providers), missed::run(&self.providers, &context));
    }

    async fn waiting(connection: &mut PgConnection) -> Result<Vec<(&'static str, i64)>, sqlx::Error> {
        Ok(vec![
            ("unmatched_reports", store::open_reports(connection).await?),
            ("open_disputes", store::disputes::open(connection).await?),
        ])
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

    async fn load_rows(connection: &mut PgConnection, names: &[String]) -> Result<State, sqlx::Error> {
        store::load_rows(connection, names).await
    }

    async fn check_derived(connection: &mut PgConnection, rows: &State) -> Result<Differing, sqlx::Error> {
        store::derived::differing(connection, rows).await
    }

    async fn check_derived_tables(connection: &mut PgConnection) -> Result<Differing, sqlx::Error> {
        store::derived::charges(connection).await
    }
}
