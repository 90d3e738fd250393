//! The adapters to payment providers: what payments needs of a provider, in words that every provider can be made to fit, and the
//! providers that this program has, by name.
//!
//! Calls are made outside any transaction, with a time-out around them, and may be repeated after a crash. So a
//! provider must recognise a repetition by its key, and must be able to tell what it knows of a key.

use std::{future::Future, time::Duration};

use domain::{Money, OrderId, PaymentId, RefundId, Timestamp, derived};
use platform::{config, shutdown::Shutdown};
use proto::{Message, payments::v1::RecordProviderEvent};
use uuid::Uuid;

mod enabled;
pub mod provider_suite;
pub mod registry;
pub mod sandbox;
pub mod stripe;
pub mod wallet;

pub use enabled::Enabled;
pub use registry::{Adapter, ProviderName, Registry};

/// A payment provider.
pub trait Provider: Send + Sync + 'static {
    /// Which one it is.
    fn name(&self) -> ProviderName;

    /// How long all requests of one try may take together. `None`: no longer than is usual for outside calls.
    fn try_time_max(&self) -> Option<Duration> {
        None
    }

    /// Opens the page on which a payment is paid. The same key again opens no second one, and answers what the first was answered.
    ///
    /// # Errors
    /// See [`ProviderError`].
    fn open_checkout(
        &self,
        request: &CheckoutRequest,
    ) -> impl Future<Output = Result<OpenedCheckout, ProviderError>> + Send;

    /// Whether what it opens has its money set aside already. Then a call whose answer is lost may have set money aside, so before a
    /// payment fails for it, [`Provider::close_checkout`] must have let that go.
    fn opens_with_money(&self) -> bool {
        false
    }

    /// Sees to it that nothing more is paid on a page, which is of no use any more. Asked again it answers the same.
    ///
    /// # Errors
    /// See [`ProviderError`]; while it fails, the page may still be paid on.
    fn close_checkout(
        &self,
        checkout: &CheckoutRef,
    ) -> impl Future<Output = Result<ClosedCheckout, ProviderError>> + Send;

    /// What has become of a page, which stays as it is. `None`: it can be paid on still. Asked only of a provider whose reports can get lost, see
    /// [`registry::is_looked_at`].
    ///
    /// # Errors
    /// See [`ProviderError`]; nothing is known then.
    fn look_at_checkout(
        &self,
        _checkout: &CheckoutRef,
    ) -> impl Future<Output = Result<Option<ClosedCheckout>, ProviderError>> + Send {
        async { Ok(None) }
    }

    /// Takes the money of an authorisation, all of it. Asked again it answers the same.
    ///
    /// # Errors
    /// See [`ProviderError`]; while it fails, the money is still set aside, or was taken. Declined: it is still set aside, and who keeps it says no.
    fn capture(
        &self,
        authorisation: &AuthorisationRef,
    ) -> impl Future<Output = Result<EndedAuthorisation, ProviderError>> + Send;

    /// Lets the money of an authorisation go. Asked again it answers the same.
    ///
    /// # Errors
    /// See [`ProviderError`]; while it fails, the money may still be set aside.
    fn void(
        &self,
        authorisation: &AuthorisationRef,
    ) -> impl Future<Output = Result<EndedAuthorisation, ProviderError>> + Send;

    /// Asks for a refund. The same key again asks for nothing more and answers what became of the first.
    ///
    /// # Errors
    /// See [`ProviderError`]; a key that was used for another amount is [`ProviderError::Declined`] or [`ProviderError::Stuck`].
    fn refund(&self, request: &RefundRequest) -> impl Future<Output = Result<RefundState, ProviderError>> + Send;

    /// What the provider knows of this refund: what it was asked for under this key, and what of it has gone out, or is on its way, under an
    /// earlier one, for an operator may have it sent again. What has failed under an earlier key is nothing. `None`: nothing, so no money has
    /// moved. Takes the whole request because some providers can only list the refunds of a payment and compare.
    ///
    /// # Errors
    /// It could not be asked; whatever the error, nothing is known.
    fn find_refund(
        &self,
        request: &RefundRequest,
    ) -> impl Future<Output = Result<Option<RefundState>, ProviderError>> + Send;

    /// How often to ask for what the provider has told and nobody heard, see [`Provider::missed`]. `None`: what it tells does not get lost.
    fn missed_every(&self) -> Option<Duration> {
        None
    }

    /// What the provider has told since then and what, as far as it knows, nobody heard, the oldest first. Some of it may have been heard.
    ///
    /// # Errors
    /// It could not be asked.
    fn missed(&self, _since: Timestamp) -> impl Future<Output = Result<Vec<Told>, ProviderError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// What the provider has told since then and what has been heard, the latest first, and not all of it: whether it brings anything at all.
    ///
    /// # Errors
    /// It could not be asked.
    fn brought(&self, _since: Timestamp) -> impl Future<Output = Result<Vec<Told>, ProviderError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Whatever must run beside the worker for this provider, until the context's shutdown is pulled.
    fn background(&self, _context: ProviderContext) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What a provider has told, on its own account.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// A report of a payment of ours.
    OfPayment(Box<RecordProviderEvent>),
    /// A report of whatever payment this charge brought money for, if that is one of ours.
    OfCharge {
        /// What the provider knows the charge by.
        reference: String,
        /// The report, without the payment.
        report: Box<RecordProviderEvent>,
    },
}

/// The id of the command that takes a report in: the same for the same report in every byte, whichever way it came. Two reports of one fact
/// may differ in when it happened, so they are two commands; which fact it is, payments sees by `provider_event_id`.
#[must_use]
pub fn report_command_id(provider: ProviderName, report: &RecordProviderEvent) -> Uuid {
    let payment_id = Uuid::try_parse(&report.payment_id).unwrap_or_default();
    let body = Uuid::new_v5(&payment_id, &report.encode_to_vec());
    derived(payment_id, &format!("{}.{}.{body}", provider.as_str(), report.provider_event_id))
}

/// What a provider may use of the process that it runs in.
#[derive(Debug, Clone)]
pub struct ProviderContext {
    /// How to connect to the broker.
    pub broker: config::Broker,
    /// How consumers of the broker's streams are made.
    pub consumer: config::Consumer,
    /// Whose streams they are.
    pub installation: Uuid,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Where the buyer pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The provider's name.
    pub provider: String,
    /// What the provider knows the payment by. Empty: the provider must be called for it.
    pub reference: String,
    /// The page for the buyer. Empty as well then.
    pub url: String,
}

impl Checkout {
    /// Whether the provider must be called before anybody can pay.
    #[must_use]
    pub fn needs_call(&self) -> bool {
        self.reference.is_empty()
    }
}

/// A page as the provider is asked to open it: all that the call depends on, for a repetition under the same key must be equal in every
/// byte, whichever release sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRequest {
    /// What the provider recognises a repetition by.
    pub key: String,
    /// The payment.
    pub payment_id: PaymentId,
    /// The order that it pays.
    pub order_id: OrderId,
    /// The shop's own number of that order: any text of up to 64 characters. `None`: it has none.
    pub order_reference: Option<String>,
    /// How much.
    pub amount: Money,
    /// How the buyer pays.
    pub payment_method: String,
    /// Until when the page can be paid on, by the order's terms and the provider's limits: see [`registry::checkout_ends`].
    pub ends_at: Timestamp,
}

/// A page that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCheckout {
    /// What the provider knows the payment by.
    pub reference: String,
    /// The page for the buyer. Empty: there is none, see [`OpenedCheckout`].
    pub url: String,
}

/// What came of opening a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedCheckout {
    /// The page. Without a link there is none, and nothing to close: the money is set aside already.
    pub page: OpenCheckout,
    /// The buyer's money, if it is set aside already. The charge is the one that it becomes when it is taken.
    pub authorised: Option<Charge>,
}

impl OpenedCheckout {
    /// A page that the buyer has still to pay on.
    #[must_use]
    pub const fn unpaid(page: OpenCheckout) -> Self {
        Self { page, authorised: None }
    }
}

/// A page that is to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRef {
    /// The payment.
    pub payment_id: PaymentId,
    /// What the provider knows the payment by.
    pub reference: String,
}

/// What a provider says of a page that cannot be paid on, for one because it was to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClosedCheckout {
    /// Nobody has paid on it, and nobody will.
    Unpaid,
    /// It was paid on before it could be closed.
    Paid(Charge),
    /// The buyer's money was set aside before it could be closed. The charge is the one that it becomes when it is taken.
    Authorised(Charge),
    /// The buyer has done all that is theirs, and the money is still under way: a report will tell.
    UnderWay,
}

/// Money of a buyer that the provider has set aside, and that is to be taken or let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorisationRef {
    /// What the provider recognises a repetition by: of each try another, for what can be done with an authorisation can be done once.
    pub key: String,
    /// The payment.
    pub payment_id: PaymentId,
    /// What the provider knows that payment by.
    pub payment_reference: String,
    /// What the provider knows the authorisation by.
    pub reference: String,
    /// How much.
    pub amount: Money,
}

/// What an authorisation has come to. A provider can always tell, so there is nothing to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndedAuthorisation {
    /// The money was taken, whoever asked for it.
    Captured(Charge),
    /// Nothing was taken, and nothing is set aside any more.
    Voided {
        /// Why, in the provider's words.
        reason: String,
    },
}

/// Money that came, as the provider tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// What names this fact, however often and in whatever way it is told.
    pub event_id: String,
    /// What the provider knows the charge by.
    pub reference: String,
    /// How much, in minor units as ours are.
    pub minor_units: i64,
    /// In which currency, in capitals.
    pub currency: String,
    /// When, by the provider's clock, if it said so.
    pub occurred_at: Option<Timestamp>,
}

/// A refund as the provider is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// What the provider recognises a repetition by, see [`idempotency_key`].
    pub key: String,
    /// The payment whose money goes back.
    pub payment_id: PaymentId,
    /// What the provider knows that payment by.
    pub payment_reference: String,
    /// What the provider knows the charge by that brought the money; may be empty.
    pub charge_reference: String,
    /// The refund, which the provider's reports will name.
    pub refund_id: RefundId,
    /// How much, in minor units.
    pub amount: Money,
}

/// The key that the provider recognises a repetition by: payment and refund, with a number from the second sending on.
///
/// The refund's id alone would not do: whoever asks for a refund may choose it, and a provider that sees the key of
/// another payment's refund answers that it is paid out already.
#[must_use]
pub fn idempotency_key(payment_id: PaymentId, refund_id: RefundId, number: i32) -> String {
    if number <= 1 { format!("{payment_id}.{refund_id}") } else { format!("{payment_id}.{refund_id}.{number}") }
}

/// What a provider says of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundState {
    /// The money went back.
    Refunded {
        /// What the provider knows the refund by.
        reference: String,
    },
    /// It accepted the refund and has not paid it out yet.
    Pending {
        /// What the provider knows the refund by.
        reference: String,
    },
    /// It accepted the refund and then could not pay it out.
    Failed {
        /// Why, in the provider's words.
        reason: String,
    },
}

/// Why a call to a provider gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It said no, and will say so again.
    #[error("the provider declined: {0}")]
    Declined(String),
    /// It did nothing, for sure: no connection, or it said that it is busy.
    #[error("the provider is not available: {0}")]
    Unavailable(String),
    /// It did nothing, for sure, and will do it once it has room: too many requests at once. Never a failure, however often.
    #[error("the provider is busy: {0}")]
    Busy(String),
    /// It did nothing, for sure, and will not before a person has mended what is wrong: a key that is not valid, a right that is
    /// missing, a request that it does not understand. Never a failure of what was asked for.
    #[error("the provider refuses how it is asked, which somebody must mend: {0}")]
    Misconfigured(String),
    /// It has met a defect, its own or ours, and answers this key so for ever: sending again is of no use, and what became of the first
    /// sending is not known.
    #[error("the provider answers this key with an error for ever: {0}")]
    Stuck(String),
    /// The request may have reached it, but no answer came back.
    #[error("the provider gave no answer: {0}")]
    OutcomeUnknown(String),
}
