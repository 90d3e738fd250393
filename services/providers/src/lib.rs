//! The adapters to payment providers: what payments needs of a provider, in words that every provider can be made to fit, and the
//! providers that this program has, by name.
//!
//! Calls are made outside any transaction, with a time-out around them, and may be repeated after a crash. So a
//! provider must recognise a repetition by its key, and must be able to tell what it knows of a key.

use std::future::Future;

use domain::{Money, PaymentId, RefundId};
use platform::{config, shutdown::Shutdown};
use uuid::Uuid;

pub mod provider_suite;
pub mod registry;
pub mod sandbox;

pub use registry::{Adapter, ProviderName, Registry};

/// A payment provider.
pub trait Provider: Send + Sync + 'static {
    /// Which one it is.
    fn name(&self) -> ProviderName;

    /// Asks for a refund. The same key again asks for nothing more and answers what became of the first.
    ///
    /// # Errors
    /// See [`ProviderError`]; a key that was used for another amount is [`ProviderError::Declined`].
    fn refund(&self, request: &RefundRequest) -> impl Future<Output = Result<RefundState, ProviderError>> + Send;

    /// What the provider knows of the refund with this request's key. `None`: nothing, so no money has moved under it.
    /// Takes the whole request because some providers can only list the refunds of a payment and compare the key.
    ///
    /// # Errors
    /// It could not be asked; whatever the error, nothing is known.
    fn find_refund(
        &self,
        request: &RefundRequest,
    ) -> impl Future<Output = Result<Option<RefundState>, ProviderError>> + Send;

    /// Whatever must run beside the worker for this provider, until the context's shutdown is pulled.
    fn background(&self, _context: ProviderContext) -> impl Future<Output = ()> + Send {
        async {}
    }
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
    /// What the provider knows the payment by.
    pub reference: String,
    /// The page for the buyer.
    pub url: String,
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
    /// The request may have reached it, but no answer came back.
    #[error("the provider gave no answer: {0}")]
    OutcomeUnknown(String),
}
