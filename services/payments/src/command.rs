//! What payments can be asked: from outside, by the policy, and by the effect that talks to the provider.

use domain::{CouponCode, HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Timestamp, WalletId};
use providers::Checkout;

use crate::{
    coupon::{Offer, Purchase},
    event::{ReportResolution, Resolution},
    payment::{
        authorisation::{self, Decision},
        checkout::Answer,
    },
    report::Report,
};

/// An intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take in what the provider reports.
    RecordProviderEvent {
        /// The payment that it is about.
        payment_id: PaymentId,
        /// What it says.
        report: Report,
    },
    /// Decide about a report that fits nothing.
    ResolveReport {
        /// The payment that it names.
        payment_id: PaymentId,
        /// The provider's own id of the report.
        provider_event_id: String,
        /// What is decided.
        resolution: ReportResolution,
        /// Who decides.
        actor: String,
        /// On what evidence.
        note: String,
    },
    /// Decide a refund that needs an operator.
    ResolveRefund {
        /// The payment.
        payment_id: PaymentId,
        /// Its refund.
        refund_id: RefundId,
        /// What is to become of it.
        resolution: Resolution,
        /// Who decides.
        actor: String,
        /// On what evidence.
        note: String,
    },
    /// See to it that the buyer has a page to pay on.
    RequestCheckout {
        /// The payment.
        payment_id: PaymentId,
        /// Another even if the one that there is could be paid on.
        is_anew: bool,
        /// Who asks. Empty: it is not said.
        actor: String,
    },
    /// Timer: nothing was heard of the payment's page, so ask the provider what has become of it.
    LookAtPage {
        /// The payment.
        payment_id: PaymentId,
    },
    /// Policy: the order holds all it needs, so ask the buyer to pay.
    RequestPayment {
        /// The attempt that is to be paid.
        key: HoldKey,
        /// How much.
        amount: Money,
        /// Where, and with which provider.
        checkout: Checkout,
        /// How the buyer pays, passed on to the provider.
        payment_method: String,
        /// The shop's own number of the order, passed on too.
        order_reference: Option<String>,
        /// Until when.
        expires_at: Timestamp,
    },
    /// Policy: the order is closed unpaid, so stop asking.
    CancelPayment {
        /// The attempt that was closed.
        key: HoldKey,
    },
    /// Policy: orders has decided what becomes of money that is set aside.
    DecideAuthorisation {
        /// The payment.
        payment_id: PaymentId,
        /// What is decided.
        decision: Decision,
    },
    /// Policy: give money back.
    BeginRefund {
        /// Of this payment.
        payment_id: PaymentId,
        /// For this order.
        order_id: OrderId,
        /// What makes it happen once.
        refund_id: RefundId,
        /// How much.
        amount: Money,
    },
    /// Effect: how a call about the payment's page ended.
    RecordCheckout {
        /// The payment.
        payment_id: PaymentId,
        /// How it ended.
        answer: Answer,
    },
    /// Effect: how a call about money that is set aside ended.
    RecordAuthorisation {
        /// The payment.
        payment_id: PaymentId,
        /// What the provider knows the authorisation by.
        reference: String,
        /// How it ended.
        answer: authorisation::Answer,
    },
    /// Effect: how the call to the provider ended.
    RecordRefundOutcome {
        /// The payment.
        payment_id: PaymentId,
        /// Its refund.
        refund_id: RefundId,
        /// The key that it was sent under: an outcome of an older one is out of date.
        key: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// About coupons, and what orders hold of them.
    Coupon(CouponCommand),
    /// About wallets, and what is set aside of them.
    Wallet(WalletCommand),
}

/// An intent about a coupon. The first two come from outside, the rest from the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CouponCommand {
    /// Open a coupon.
    Open {
        /// Its code.
        code: CouponCode,
        /// What it is good for.
        offer: Offer,
        /// Who asks. Empty: it is not said.
        actor: String,
    },
    /// Hold nothing more of it.
    Close {
        /// Its code.
        code: CouponCode,
        /// Who asks.
        actor: String,
        /// Why.
        note: String,
    },
    /// Hold a use of it for an order.
    Hold {
        /// The order and its attempt.
        key: HoldKey,
        /// What it wants a discount on.
        purchase: Purchase,
    },
    /// Use up what an order holds: it is paid.
    Redeem {
        /// The order and its attempt.
        key: HoldKey,
    },
    /// Free what an order holds: it is closed unpaid.
    Release {
        /// The order and its attempt.
        key: HoldKey,
    },
}

/// An intent about a wallet. All come from outside: the adapter to wallets sends the last four as any client would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalletCommand {
    /// Put money in.
    TopUp(Movement),
    /// Take money out.
    Withdraw(Movement),
    /// Set money aside for a payment.
    Hold {
        /// The payment.
        payment_id: PaymentId,
        /// Whose money.
        customer_id: String,
        /// How much.
        amount: Money,
    },
    /// Take what is set aside.
    Commit {
        /// For this payment.
        payment_id: PaymentId,
    },
    /// Let go what is set aside.
    Release {
        /// For this payment.
        payment_id: PaymentId,
    },
    /// Give back what was taken.
    Credit {
        /// For this payment.
        payment_id: PaymentId,
        /// By this refund.
        refund_id: RefundId,
        /// So much.
        amount: Money,
    },
}

/// Money that somebody puts into a wallet, or takes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The sender's own name for the customer.
    pub customer_id: String,
    /// How much.
    pub amount: Money,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub note: String,
}

impl Movement {
    /// The wallet that it is about.
    #[must_use]
    pub fn wallet_id(&self) -> WalletId {
        WalletId::of(&self.customer_id, self.amount.currency)
    }
}

impl Command {
    /// The payment whose row it is about, if it is about one.
    #[must_use]
    pub fn payment_id(&self) -> Option<PaymentId> {
        match self {
            Self::Coupon(_) | Self::Wallet(_) => None,
            Self::RequestPayment { key, .. } | Self::CancelPayment { key } => Some(key.payment_id()),
            Self::RequestCheckout { payment_id, .. }
            | Self::LookAtPage { payment_id }
            | Self::RecordProviderEvent { payment_id, .. }
            | Self::ResolveReport { payment_id, .. }
            | Self::ResolveRefund { payment_id, .. }
            | Self::BeginRefund { payment_id, .. }
            | Self::RecordCheckout { payment_id, .. }
            | Self::DecideAuthorisation { payment_id, .. }
            | Self::RecordAuthorisation { payment_id, .. }
            | Self::RecordRefundOutcome { payment_id, .. } => Some(*payment_id),
        }
    }
}

/// How sending a refund ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The money went back.
    Refunded {
        /// What the provider knows the refund by.
        provider_reference: String,
    },
    /// The money did not go back, for sure.
    Rejected(Rejection),
    /// Nobody knows.
    Unknown {
        /// What was tried and what was heard.
        evidence: String,
    },
}
