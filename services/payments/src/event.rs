//! What happened in payments. All events of a payment and of its refunds belong to the payment's stream; coupons, wallets, and
//! what is held of either, have streams of their own.

use std::fmt;

use domain::{CouponCode, HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Timestamp, WalletId};
use providers::Checkout;

use crate::report::{Mismatch, Report};

mod checkout;
mod coupon;
mod dispute;
mod wallet;

pub use checkout::{CheckoutEnd, CheckoutEvent, CheckoutStep};
pub use coupon::{CouponEvent, UseOf, customer_row};
pub use dispute::{DisputeEvent, DisputeStep};
pub use wallet::{Moved, WalletEvent, WalletOf};

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The buyer is asked to pay.
    PaymentRequested {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that it pays.
        key: HoldKey,
        /// How much.
        amount: Money,
        /// Where, and with which provider.
        checkout: Checkout,
        /// How the buyer pays.
        payment_method: String,
        /// The shop's own number of the order.
        order_reference: Option<String>,
        /// Until when.
        expires_at: Timestamp,
        /// Until when the provider is asked to keep the page open, if it must be called to open one.
        checkout_ends_at: Option<Timestamp>,
    },
    /// Something of the page on which it is paid.
    Checkout(CheckoutEvent),
    /// The provider has the money, in time or late.
    PaymentSucceeded {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that it pays.
        key: HoldKey,
        /// How much: what was asked for.
        amount: Money,
        /// The provider's own id of its report.
        provider_event_id: String,
        /// What the provider knows the charge by; may be empty.
        provider_reference: String,
        /// When it happened, by the provider's clock, if it said so.
        occurred_at: Option<Timestamp>,
    },
    /// Something of money that the provider has set aside.
    Authorisation(AuthorisationEvent),
    /// One try at paying failed. The buyer may try again.
    PaymentDeclined {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that it was to pay.
        key: HoldKey,
        /// What the provider reports.
        report: Report,
    },
    /// The provider has closed the payment without getting the money.
    PaymentFailed {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that it was to pay.
        key: HoldKey,
        /// Why.
        reason: String,
        /// The provider's own id of its report.
        provider_event_id: String,
    },
    /// The buyer is not asked any more, or never will be.
    PaymentCancelled {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that is closed.
        key: HoldKey,
    },
    /// The provider reports what fits nothing that was asked for.
    ProviderReportUnmatched {
        /// The payment that it names.
        payment_id: PaymentId,
        /// The attempt that the payment is of, if anybody was asked for it.
        key: Option<HoldKey>,
        /// The report, whole.
        report: Report,
        /// What does not fit.
        mismatch: Mismatch,
    },
    /// It is known what becomes of a report that fitted nothing.
    ProviderReportResolved {
        /// The payment.
        payment_id: PaymentId,
        /// The report.
        provider_event_id: String,
        /// What was decided.
        resolution: ReportResolution,
        /// By whom.
        actor: String,
        /// On what evidence.
        note: String,
        /// By which later report; empty if a person decided.
        settled_by: String,
    },
    /// A refund waits before it is sent.
    RefundDeferred {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// What it waits for.
        reason: String,
    },
    /// A refund is to be sent to the provider.
    RefundSubmitted {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// What the provider recognises a repetition by.
        idempotency_key: String,
        /// After this its outcome counts as unknown.
        deadline: Timestamp,
        /// The provider that took the money.
        provider: String,
        /// What the provider knows the payment by.
        payment_reference: String,
        /// What it knows the charge by that brought the money; may be empty.
        charge_reference: String,
    },
    /// The buyer has the money back.
    PaymentRefunded {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// What the provider knows the refund by; empty if nobody said.
        provider_reference: String,
        /// The report that says so. `None`: the answer to our call, or an operator.
        reported: Option<Reported>,
    },
    /// A refund that nobody asked for here: it is one of the payment's from now on.
    PaymentRefundedElsewhere {
        /// The attempt that the payment is of.
        key: HoldKey,
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// What the provider knows the refund by; may be empty.
        provider_reference: String,
        /// What it knows the charge by whose money went back; may be empty.
        charge_reference: String,
        /// The report that says so.
        reported: Reported,
    },
    /// Our call for a refund was answered after a report had settled the refund, and changes nothing.
    RefundAnswered {
        /// The refund.
        of: RefundOf,
        /// The key of the call.
        idempotency_key: String,
        /// The answer, in words.
        answer: String,
        /// What the provider knows the refund by; may be empty.
        provider_reference: String,
    },
    /// The money was not given back and will not be.
    RefundRejected {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// Why.
        rejection: Rejection,
        /// What the provider knows the refund by; may be empty.
        provider_reference: String,
        /// The report that says so. `None`: the answer to our call, our own decision, or an operator.
        reported: Option<Reported>,
    },
    /// Nobody knows whether the money went back: an operator decides.
    RefundOutcomeUnknown {
        /// The refund.
        of: RefundOf,
        /// What was tried and what was heard.
        evidence: String,
    },
    /// The order counts as refunded, but the buyer does not have the money: an operator decides.
    RefundReversed {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// Why.
        reason: String,
        /// What the provider knows the refund by; may be empty.
        provider_reference: String,
        /// The report that says so. `None`: the answer to our call.
        reported: Option<Reported>,
    },
    /// An operator decided; the next event is what follows from it.
    RefundResolved {
        /// The refund.
        of: RefundOf,
        /// What was decided.
        resolution: Resolution,
        /// By whom.
        actor: String,
        /// On what evidence.
        note: String,
    },
    /// Something of a dispute.
    Dispute(DisputeEvent),
    /// Something of a coupon.
    Coupon(CouponEvent),
    /// Something of a wallet.
    Wallet(WalletEvent),
}

/// A fact about money that the provider has set aside for a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorisationEvent {
    /// It is set aside: orders decides what becomes of it.
    Authorised {
        /// What it is known by.
        of: AuthorisationOf,
        /// How much: what was asked for.
        amount: Money,
        /// The provider's own id of its report.
        provider_event_id: String,
        /// When it happened, by the provider's clock, if it said so.
        occurred_at: Option<Timestamp>,
    },
    /// It is to be taken.
    CaptureSubmitted(AuthorisationCall),
    /// It is of no use, and to be let go.
    VoidSubmitted(AuthorisationCall),
    /// It has ended, and nothing of it was taken.
    Voided {
        /// What it is known by.
        of: AuthorisationOf,
        /// The provider's own id of the report that says so. Empty: the answer to our call.
        provider_event_id: String,
        /// Why.
        reason: String,
        /// Whether the order was, or may have been, to be paid with it.
        is_awaited: bool,
    },
}

/// What names an authorisation in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorisationOf {
    /// The payment that it is for.
    pub payment_id: PaymentId,
    /// The attempt that the payment pays.
    pub key: HoldKey,
    /// What the provider knows it by, and the charge that it becomes when it is taken.
    pub reference: String,
}

/// A call about an authorisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorisationCall {
    /// What it is known by.
    pub of: AuthorisationOf,
    /// How much is set aside.
    pub amount: Money,
    /// The provider that has set it aside.
    pub provider: String,
    /// What that provider knows the payment by.
    pub payment_reference: String,
    /// After this, a call that is not answered is worth a look.
    pub deadline: Timestamp,
}

impl AuthorisationEvent {
    /// What it is about.
    #[must_use]
    pub const fn of(&self) -> &AuthorisationOf {
        match self {
            Self::Authorised { of, .. } | Self::Voided { of, .. } => of,
            Self::CaptureSubmitted(call) | Self::VoidSubmitted(call) => &call.of,
        }
    }
}

/// What has a stream: a payment, a coupon or what an order holds of one, a wallet or what is set aside of one for a payment. Its text is the name of the stream, and of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamId {
    /// A payment.
    Payment(PaymentId),
    /// A coupon.
    Coupon(CouponCode),
    /// What one attempt of an order holds of a coupon.
    Use(HoldKey),
    /// A wallet.
    Wallet(WalletId),
    /// Money that is set aside for a payment.
    Funds(PaymentId),
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payment(payment_id) => write!(f, "payment-{payment_id}"),
            Self::Coupon(code) => write!(f, "coupon-{code}"),
            Self::Use(key) => write!(f, "use-{key}"),
            Self::Wallet(wallet_id) => write!(f, "wallet-{wallet_id}"),
            Self::Funds(payment_id) => write!(f, "funds-{payment_id}"),
        }
    }
}

/// What names a refund in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundOf {
    /// The payment whose money goes back.
    pub payment_id: PaymentId,
    /// The order that it had paid.
    pub order_id: OrderId,
    /// The refund.
    pub refund_id: RefundId,
    /// Whether it gives back a second charge, which paid no order: no order has asked for it, and none of the payment's own money goes.
    pub is_of_second_charge: bool,
}

/// Which of the provider's reports says so, and when it happened by the provider's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The provider's own id of the report.
    pub provider_event_id: String,
    /// `None`: it did not say.
    pub occurred_at: Option<Timestamp>,
}

/// What an operator can decide about a report that fits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportResolution {
    /// It is so, and stays so.
    Accepted,
    /// It is not so any more, or never was.
    Undone,
}

/// What an operator can decide about a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Send it again, under a new key.
    Retry,
    /// The buyer has the money.
    Refunded,
    /// The buyer does not have the money, and it is not given back.
    Abandon,
}

impl Resolution {
    /// The verb, as in the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "RETRY",
            Self::Refunded => "REFUNDED",
            Self::Abandon => "ABANDON",
        }
    }
}

impl Event {
    /// The refund that it is about, if it is about one.
    #[must_use]
    pub const fn refund(&self) -> Option<RefundOf> {
        match self {
            Self::RefundDeferred { of, .. }
            | Self::RefundSubmitted { of, .. }
            | Self::PaymentRefunded { of, .. }
            | Self::PaymentRefundedElsewhere { of, .. }
            | Self::RefundAnswered { of, .. }
            | Self::RefundRejected { of, .. }
            | Self::RefundOutcomeUnknown { of, .. }
            | Self::RefundReversed { of, .. }
            | Self::RefundResolved { of, .. } => Some(*of),
            Self::PaymentRequested { .. }
            | Self::PaymentSucceeded { .. }
            | Self::PaymentDeclined { .. }
            | Self::PaymentFailed { .. }
            | Self::PaymentCancelled { .. }
            | Self::Checkout(_)
            | Self::ProviderReportUnmatched { .. }
            | Self::ProviderReportResolved { .. }
            | Self::Authorisation(_)
            | Self::Dispute(_)
            | Self::Coupon(_)
            | Self::Wallet(_) => None,
        }
    }

    /// Whose stream it belongs to.
    #[must_use]
    pub fn owner(&self) -> StreamId {
        match self {
            Self::Coupon(event) => event.owner(),
            Self::Wallet(event) => event.owner(),
            Self::Authorisation(event) => StreamId::Payment(event.of().payment_id),
            Self::Dispute(event) => StreamId::Payment(event.payment_id),
            Self::PaymentRequested { payment_id, .. }
            | Self::PaymentSucceeded { payment_id, .. }
            | Self::PaymentDeclined { payment_id, .. }
            | Self::ProviderReportUnmatched { payment_id, .. }
            | Self::ProviderReportResolved { payment_id, .. }
            | Self::PaymentFailed { payment_id, .. }
            | Self::PaymentCancelled { payment_id, .. } => StreamId::Payment(*payment_id),
            Self::Checkout(event) => StreamId::Payment(event.payment_id),
            Self::RefundDeferred { of, .. }
            | Self::RefundSubmitted { of, .. }
            | Self::PaymentRefunded { of, .. }
            | Self::PaymentRefundedElsewhere { of, .. }
            | Self::RefundAnswered { of, .. }
            | Self::RefundRejected { of, .. }
            | Self::RefundOutcomeUnknown { of, .. }
            | Self::RefundReversed { of, .. }
            | Self::RefundResolved { of, .. } => StreamId::Payment(of.payment_id),
        }
    }
}

/// Name of a payment's stream, and of its row.
#[must_use]
pub fn stream(payment_id: PaymentId) -> String {
    StreamId::Payment(payment_id).to_string()
}
