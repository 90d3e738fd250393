//! What happened to the page on which a payment is paid, where the provider must be called to open it.

use domain::{HoldKey, Money, PaymentId, Rejection, Timestamp};
use providers::OpenCheckout;

use super::Event;

/// A fact about a payment's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutEvent {
    /// The payment.
    pub payment_id: PaymentId,
    /// The attempt that it pays.
    pub key: HoldKey,
    /// What happened.
    pub step: CheckoutStep,
}

/// What happened to a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckoutStep {
    /// The provider has opened it.
    Opened {
        /// The page.
        page: OpenCheckout,
        /// When the provider is asked what has become of it, if nothing is heard until then. `None`: never.
        look_at: Option<Timestamp>,
    },
    /// Its time is nearly over and nothing was heard of it: the provider is asked what has become of it.
    LookSubmitted {
        /// The provider that opened it.
        provider: String,
        /// What the provider knows the payment by.
        reference: String,
        /// Until when the payment is asked for: after that nobody looks.
        deadline: Timestamp,
        /// Which page of the payment it is, from 1.
        page: i32,
        /// When it is asked once more. `None`: this is the last time.
        look_at: Option<Timestamp>,
    },
    /// The provider opens none.
    Failed(Rejection),
    /// It is of no use any more, and is to be closed.
    Abandoned {
        /// The provider that opened it.
        provider: String,
        /// What the provider knows the payment by.
        reference: String,
        /// After this, a page that is not closed is worth a look.
        deadline: Timestamp,
        /// Which page of the payment it is, from 1.
        page: i32,
        /// Whether another is opened in its place, if nobody has paid on it.
        is_replaced: bool,
        /// Who asked for another. Empty: nobody did, or it was not said who.
        actor: String,
    },
    /// Nothing more can be paid on it.
    Closed(CheckoutEnd),
    /// Another is to be opened: nobody has paid on the one before.
    Requested {
        /// Which page of the payment it is, from 2.
        page: i32,
        /// How much.
        amount: Money,
        /// The provider that is called.
        provider: String,
        /// How the buyer pays.
        payment_method: String,
        /// The shop's own number of the order.
        order_reference: Option<String>,
        /// Until when the payment is asked for.
        expires_at: Timestamp,
        /// Until when the provider is asked to keep the page open.
        ends_at: Timestamp,
    },
}

/// What a provider found when it was to close a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutEnd {
    /// Nobody has paid on it.
    Unpaid,
    /// It was paid on before.
    Paid,
    /// Its money was set aside before.
    Authorised,
    /// The money is under way.
    UnderWay,
}

impl Event {
    /// Something of a payment's page.
    #[must_use]
    pub const fn checkout(payment_id: PaymentId, key: HoldKey, step: CheckoutStep) -> Self {
        Self::Checkout(CheckoutEvent { payment_id, key, step })
    }
}
