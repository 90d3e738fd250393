//! A fake of Stripe's HTTP API, as far as a shop needs it: it imports nothing of the shop, and keeps books of its own to judge it by.
//!
//! Every rule is of `Stripe-Version: 2026-10-28.endive`. What it does and what it does not is in the package's README.

use std::{io, sync::Arc, time::Duration};

use tokio::task::JoinSet;

mod account;
mod call;
mod chance;
mod clock;
mod control;
mod dashboard;
mod events;
mod faults;
mod form;
mod journal;
mod keys;
mod ledger;
mod money;
mod page;
mod params;
mod payout;
mod problem;
mod render;
mod requests;
mod route;
mod server;
mod signature;
mod state;
#[cfg(test)]
mod tests;
mod webhook;

pub use account::{RefundOrigin, RefundStatus};
pub use events::{Told, Webhook};
pub use faults::Faults;
pub use journal::Exchange;
pub use ledger::{ChargeEntry, DisputeEntry, IntentEntry, Ledger, PaymentEntry, RefundEntry, SessionEntry, Totals};
pub use problem::Refused;
pub use signature::header as signature;
pub use state::Foreign;

use account::{ChargeStatus, DisputeStatus};
use state::{Shared, State};

/// The version of Stripe's API that objects and events have.
pub const API_VERSION: &str = "2026-10-28.endive";

/// How the fake begins.
#[derive(Debug, Clone)]
pub struct Settings {
    /// 0 is any that is free.
    pub port: u16,
    /// What callers must show; the mode is live if it says `_live_`.
    pub key: String,
    /// Where events go; nowhere at first if there is none.
    pub webhook: Option<Webhook>,
    /// What goes wrong from the beginning.
    pub faults: Faults,
    /// What faults follow from.
    pub seed: u64,
    /// How many exchanges the journal keeps.
    pub journal_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            key: "sk_test_fake".to_owned(),
            webhook: None,
            faults: Faults::default(),
            seed: 0,
            journal_max: 10_000,
        }
    }
}

/// A fake that runs until it is dropped.
#[derive(Debug)]
pub struct FakeStripe {
    url: String,
    key: String,
    shared: Arc<Shared>,
    /// The server and the deliveries, which end with this.
    tasks: JoinSet<()>,
}

impl FakeStripe {
    /// Listens on 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = server::bind(settings.port).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut state = State::new(settings.key.clone(), url.clone(), settings.seed, settings.journal_max);
        state.events.webhook = settings.webhook;
        state.faults = settings.faults;
        let shared = Arc::new(Shared::new(state));
        let mut tasks = JoinSet::new();
        tasks.spawn(server::listen(listener, server::router(Arc::clone(&shared))));
        tasks.spawn(webhook::deliver(Arc::clone(&shared)));
        Ok(Self { url, key: settings.key, shared, tasks })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What callers must show.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Waits until it ends, which it does not by itself.
    pub async fn run(mut self) {
        self.tasks.join_next().await;
    }

    /// From now on events go there, signed with each of the secrets.
    pub fn set_webhook(&self, url: impl Into<String>, secrets: Vec<String>) {
        self.shared.with(|state| state.events.webhook = Some(Webhook { url: url.into(), secrets }));
    }

    /// From now on this goes wrong, and nothing else.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.with(|state| state.faults = faults);
    }

    /// New refunds begin with this status: pending, `requires_action` or succeeded.
    pub fn set_refunds_begin(&self, status: RefundStatus) {
        self.shared.with(|state| dashboard::refunds_begin(state, status));
    }

    /// The fake's clock, in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.shared.with(|state| state.clock.now())
    }

    /// Lets time pass for the fake: sessions end, authorisations lapse, keys are forgotten.
    pub fn advance(&self, by: Duration) {
        self.shared.with(|state| state.clock.advance(by));
    }

    /// A buyer pays. The intent's id, or nothing if there was nothing to pay.
    ///
    /// # Errors
    /// There is no such session, or it is not open any more.
    pub fn pay(&self, session: &str) -> Result<Option<String>, Refused> {
        self.shared.with(|state| state.act(|account, cause| account.pay(cause, session)))
    }

    /// A buyer tries a card that is declined; the session stays open. The intent's id.
    ///
    /// # Errors
    /// There is no such session, it is not open any more, or there is nothing to pay.
    pub fn decline(&self, session: &str) -> Result<String, Refused> {
        self.shared.with(|state| state.act(|account, cause| account.decline(cause, session)))
    }

    /// From now on pages that are opened offer `sepa_debit`, whatever they allow, or no more than they allow. Stripe has no such switch: it is for
    /// shops that are to be ready for money that is under way, and open pages for cards alone.
    pub fn set_offers_debit(&self, offers_debit: bool) {
        self.shared.with(|state| state.account.offers_debit = offers_debit);
    }

    /// A buyer pays by a method whose money comes days later; the session must offer `sepa_debit`. The intent's id.
    ///
    /// # Errors
    /// There is no such session, it is not open any more, or does not offer this.
    pub fn pay_delayed(&self, session: &str) -> Result<String, Refused> {
        self.shared.with(|state| state.act(|account, cause| account.pay_delayed(cause, session)))
    }

    /// The money of a delayed method is there, or will never be.
    ///
    /// # Errors
    /// There is no such session, or none of its payments is under way.
    pub fn settle_payment(&self, session: &str, succeeded: bool) -> Result<(), Refused> {
        let status = if succeeded { ChargeStatus::Succeeded } else { ChargeStatus::Failed };
        self.shared.with(|state| state.act(|account, cause| account.settle_payment(cause, session, status)))
    }

    /// Somebody gives money back at the dashboard: a refund without metadata. Its id.
    ///
    /// # Errors
    /// What the API would refuse.
    pub fn refund_in_dashboard(&self, payment_intent: &str, amount: i64) -> Result<String, Refused> {
        self.shared.with(|state| dashboard::refund(state, payment_intent, amount))
    }

    /// A refund goes on: `pending` or `requires_action` become anything else, `succeeded` fails or needs the buyer.
    ///
    /// # Errors
    /// There is no such refund, or it cannot become this.
    pub fn settle_refund(&self, refund: &str, status: RefundStatus) -> Result<(), Refused> {
        self.shared.with(|state| state.act(|account, cause| account.settle_refund(cause, refund, status)))
    }

    /// A buyer's bank takes money back, more or less than was charged. The dispute's id.
    ///
    /// # Errors
    /// Nothing was charged, or the amount is not above zero.
    pub fn dispute(&self, payment_intent: &str, amount: i64) -> Result<String, Refused> {
        self.shared.with(|state| state.act(|account, cause| account.dispute(cause, payment_intent, amount)))
    }

    /// A dispute is decided; the money comes back if it is won.
    ///
    /// # Errors
    /// There is no such dispute, or it is decided.
    pub fn close_dispute(&self, dispute: &str, won: bool) -> Result<(), Refused> {
        let status = if won { DisputeStatus::Won } else { DisputeStatus::Lost };
        self.shared.with(|state| state.act(|account, cause| account.close_dispute(cause, dispute, status)))
    }

    /// Sends an event that is none of the shop's business. Its id.
    pub fn send_foreign(&self, foreign: Foreign) -> String {
        self.shared.with(|state| state.send_foreign(foreign))
    }

    /// Delivers an event again. Whether there is one by this id.
    pub fn resend(&self, event: &str) -> bool {
        self.shared.with(|state| state.events.resend(event))
    }

    /// Events that there still are, the oldest first, for a test that delivers them itself.
    #[must_use]
    pub fn events(&self) -> Vec<Told> {
        self.shared.with(|state| state.events.told())
    }

    /// What Stripe would sign a body with now. Empty: there are no webhooks.
    #[must_use]
    pub fn signature(&self, body: &str) -> String {
        let webhook = self.shared.with(|state| state.events.webhook.clone());
        let secrets = webhook.map(|webhook| webhook.secrets).unwrap_or_default();
        signature::header(clock::seconds(clock::real()), body.as_bytes(), &secrets)
    }

    /// Deliveries that are still to be made or under way.
    #[must_use]
    pub fn to_deliver(&self) -> usize {
        self.shared.with(|state| state.events.to_deliver())
    }

    /// All money there was.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.with(|state| Ledger::of(&state.account))
    }

    /// The payout reconciliation report of everything there is, as the dashboard lets it be downloaded.
    #[must_use]
    pub fn payout_report(&self) -> String {
        self.shared.with(|state| payout::report(&mut state.account))
    }

    /// The newest calls with their answers, the oldest first.
    #[must_use]
    pub fn journal(&self) -> Vec<Exchange> {
        self.shared.with(|state| state.journal.all())
    }
}
