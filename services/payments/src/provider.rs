//! The adapter to a payment provider: what payments needs of it, in words that every provider can be made to fit.
//!
//! Calls are made outside any transaction, with a time-out around them, and may be repeated after a crash. So a
//! provider must recognise a repetition by its key, and must be able to tell what it knows of a key.

use std::future::Future;

use domain::{Money, PaymentId, RefundId};

use crate::event::Checkout;

pub mod contract;
pub(crate) mod effect;

/// A payment provider.
pub trait Provider: Send + Sync + 'static {
    /// Where a payment is paid. Pure, for it becomes part of an event: the same payment always gets the same answer.
    fn checkout(payment_id: PaymentId, payment_method: &str) -> Checkout;

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
    fn background(&self, _context: runtime::Context) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A refund as the provider is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// What the provider recognises a repetition by.
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
    /// The request may have reached it, but no answer came back: [`crate::refund_protocol`] knows this error by its words.
    #[error("the provider gave no answer: {0}")]
    OutcomeUnknown(String),
}
