//! What happened to wallets, and to the money of them that is set aside for payments.

use domain::{Money, PaymentId, RefundId, Rejection, WalletId};

use super::StreamId;

/// A fact about a wallet, or about what is set aside of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalletEvent {
    /// Money was put in.
    ToppedUp {
        /// Into this wallet.
        of: WalletOf,
        /// By whom.
        actor: String,
        /// Why.
        note: String,
    },
    /// Money was taken out, for no payment.
    WithdrawnFrom {
        /// Out of this wallet.
        of: WalletOf,
        /// By whom.
        actor: String,
        /// Why.
        note: String,
    },
    /// Money is set aside for a payment.
    Held {
        /// The payment.
        payment_id: PaymentId,
        /// Of this wallet.
        of: WalletOf,
    },
    /// There was too little.
    Rejected {
        /// The payment.
        payment_id: PaymentId,
        /// What was asked for, of a wallet that need not exist.
        of: WalletOf,
        /// Why not.
        rejection: Rejection,
    },
    /// What was set aside is taken.
    Committed {
        /// For this payment.
        payment_id: PaymentId,
        /// Of this wallet.
        of: WalletOf,
    },
    /// What was set aside is in the wallet again.
    Released {
        /// For this payment.
        payment_id: PaymentId,
        /// Of this wallet. `None`: the release came before the hold.
        of: Option<WalletOf>,
    },
    /// What was taken is in the wallet again.
    Credited {
        /// For this payment.
        payment_id: PaymentId,
        /// By this refund.
        refund_id: RefundId,
        /// Of this wallet.
        of: WalletOf,
    },
}

/// Money of a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletOf {
    /// The wallet.
    pub wallet_id: WalletId,
    /// Whose it is.
    pub customer_id: String,
    /// How much.
    pub amount: Money,
}

/// What an event adds to a wallet, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// To what can be spent.
    pub available: i64,
    /// To what is set aside.
    pub held: i64,
}

impl WalletEvent {
    /// Whose stream it belongs to.
    #[must_use]
    pub const fn owner(&self) -> StreamId {
        match self {
            Self::ToppedUp { of, .. } | Self::WithdrawnFrom { of, .. } => StreamId::Wallet(of.wallet_id),
            Self::Held { payment_id, .. }
            | Self::Rejected { payment_id, .. }
            | Self::Committed { payment_id, .. }
            | Self::Released { payment_id, .. }
            | Self::Credited { payment_id, .. } => StreamId::Funds(*payment_id),
        }
    }

    /// The wallet whose money it moves, and how. `None`: it moves none.
    #[must_use]
    pub fn moves(&self) -> Option<(&WalletOf, Moved)> {
        let (of, available, held) = match self {
            Self::ToppedUp { of, .. } | Self::Credited { of, .. } => (of, 1, 0),
            Self::WithdrawnFrom { of, .. } => (of, -1, 0),
            Self::Held { of, .. } => (of, -1, 1),
            Self::Committed { of, .. } => (of, 0, -1),
            Self::Released { of, .. } => (of.as_ref()?, 1, -1),
            Self::Rejected { .. } => return None,
        };
        let amount = of.amount.minor_units;
        Some((of, Moved { available: available * amount, held: held * amount }))
    }
}
