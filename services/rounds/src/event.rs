//! What happened to rounds and to the shares that orders hold, to which stream it belongs, and when it has a sequel.

use std::{fmt, time::Duration};

use domain::{HoldKey, Money, RefundId, Rejection, RoundId, Timer, Timestamp};
use serde::{Deserialize, Serialize};

use crate::draw::{Drawn, Listed, Terms};

/// Wait before a batch of refunds, or a list of tickets: lets other work in between, and tells its timer from the one that fired just now.
pub const BATCH_PAUSE: Duration = Duration::from_millis(10);

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Shares are for sale.
    RoundOpened {
        /// The round.
        round_id: RoundId,
        /// What is for sale.
        offer: Offer,
        /// Who asked. Empty: it was not said.
        actor: String,
        /// How its winner will be drawn, if there will be one.
        draw: Option<Terms>,
    },
    /// Every share is sold.
    RoundSoldOut {
        /// The round.
        round_id: RoundId,
        /// All of its shares.
        total_shares: i64,
        /// When its tickets are listed, if there will be a winner.
        lists_at: Option<Timestamp>,
    },
    /// The tickets of a round that is sold out are numbered: whatever comes back later, they take part.
    RoundTicketsListed {
        /// The round.
        round_id: RoundId,
        /// What is fixed by it.
        listed: Listed,
        /// What was fixed before.
        terms: Terms,
    },
    /// The round has a winner.
    RoundDrawn {
        /// The round.
        round_id: RoundId,
        /// Who it is, and why.
        drawn: Drawn,
    },
    /// A share came back to a round that was sold out, before its closing time: it is for sale again.
    RoundReopened {
        /// The round.
        round_id: RoundId,
        /// When it closes unless it is sold out then.
        closes_at: Timestamp,
    },
    /// The round closed with shares unsold.
    RoundClosed {
        /// The round.
        round_id: RoundId,
        /// Who closed it.
        actor: String,
        /// Why.
        note: String,
        /// When.
        closed_at: Timestamp,
    },
    /// The round was called off.
    RoundCancelled {
        /// The round.
        round_id: RoundId,
        /// Who called it off.
        actor: String,
        /// Why.
        note: String,
        /// When.
        cancelled_at: Timestamp,
    },
    /// A bounded batch of the participants of a failed round is to be refunded.
    RoundRefundsRequested {
        /// The round.
        round_id: RoundId,
        /// Why.
        failure: Failure,
        /// Orders that bought shares, each named once in the life of the round.
        participants: Vec<HoldKey>,
        /// When the next batch is due, if there is one.
        next_batch_at: Option<Timestamp>,
    },
    /// An order's shares are held.
    SharesHeld {
        /// The order and its attempt.
        key: HoldKey,
        /// The shares.
        shares: Shares,
    },
    /// An order's shares could not be held.
    SharesRejected {
        /// The order and its attempt.
        key: HoldKey,
        /// The round it asked for, which need not exist.
        round_id: RoundId,
        /// Why not.
        rejection: Rejection,
    },
    /// Held shares are sold.
    SharesSold {
        /// The order and its attempt.
        key: HoldKey,
        /// The shares.
        shares: Shares,
    },
    /// Held shares are free again.
    SharesReleased {
        /// The order and its attempt.
        key: HoldKey,
        /// The shares. `None`: the release came before the hold.
        shares: Option<Shares>,
    },
    /// Sold shares came back with a refund.
    SharesReturned {
        /// The order and its attempt.
        key: HoldKey,
        /// The shares.
        shares: Shares,
        /// The refund.
        refund_id: RefundId,
    },
}

/// What a round offers for sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What there is to win.
    pub prize: String,
    /// Shares for sale.
    pub total_shares: i64,
    /// What one costs.
    pub share_price: Money,
    /// When it closes unless it is sold out then.
    pub closes_at: Timestamp,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prize, total_shares, share_price, closes_at } = self;
        write!(f, "{total_shares} shares of {prize:?} for {share_price} each until {closes_at}")
    }
}

/// Some shares of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Of this round.
    pub round_id: RoundId,
    /// How many.
    pub count: i64,
}

/// Why a round's participants get their money back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// It was called off.
    Cancelled,
    /// It was closed with shares unsold.
    NotSoldOut,
}

/// What has a stream, and a row: a round or a hold. Its text is the name of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamId {
    /// A round.
    Round(RoundId),
    /// What one attempt of an order holds.
    Hold(HoldKey),
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Round(round_id) => write!(f, "round-{round_id}"),
            Self::Hold(key) => write!(f, "shares-{key}"),
        }
    }
}

impl Event {
    /// Whose stream it belongs to.
    #[must_use]
    pub const fn owner(&self) -> StreamId {
        match self {
            Self::RoundOpened { round_id, .. }
            | Self::RoundSoldOut { round_id, .. }
            | Self::RoundTicketsListed { round_id, .. }
            | Self::RoundDrawn { round_id, .. }
            | Self::RoundReopened { round_id, .. }
            | Self::RoundClosed { round_id, .. }
            | Self::RoundCancelled { round_id, .. }
            | Self::RoundRefundsRequested { round_id, .. } => StreamId::Round(*round_id),
            Self::SharesHeld { key, .. }
            | Self::SharesRejected { key, .. }
            | Self::SharesSold { key, .. }
            | Self::SharesReleased { key, .. }
            | Self::SharesReturned { key, .. } => StreamId::Hold(*key),
        }
    }

    /// Whose rows it changes: its owner's first.
    #[must_use]
    pub fn touches(&self) -> Vec<StreamId> {
        let mut touched = vec![self.owner()];
        match self {
            Self::SharesHeld { shares, .. }
            | Self::SharesSold { shares, .. }
            | Self::SharesReleased { shares: Some(shares), .. }
            | Self::SharesReturned { shares, .. } => touched.push(StreamId::Round(shares.round_id)),
            Self::RoundRefundsRequested { participants, .. } => {
                touched.extend(participants.iter().copied().map(StreamId::Hold));
            }
            Self::RoundOpened { .. }
            | Self::RoundSoldOut { .. }
            | Self::RoundTicketsListed { .. }
            | Self::RoundDrawn { .. }
            | Self::RoundReopened { .. }
            | Self::RoundClosed { .. }
            | Self::RoundCancelled { .. }
            | Self::SharesRejected { .. }
            | Self::SharesReleased { shares: None, .. } => {}
        }
        touched
    }

    /// What it does to the timer of its round: closing time while shares are unsold, then the list of its tickets, or one batch
    /// of refunds after the other.
    #[must_use]
    pub fn timer(&self) -> Option<Timer> {
        match self {
            Self::RoundOpened { offer, .. } => Some(Timer::Set(offer.closes_at)),
            Self::RoundSoldOut { lists_at, .. } => Some(lists_at.map_or(Timer::Clear, Timer::Set)),
            Self::RoundTicketsListed { .. } => Some(Timer::Clear),
            Self::RoundReopened { closes_at, .. } => Some(Timer::Set(*closes_at)),
            Self::RoundClosed { closed_at: at, .. } | Self::RoundCancelled { cancelled_at: at, .. } => {
                Some(Timer::Set(*at + BATCH_PAUSE))
            }
            // None after the last batch, and after one for a late buyer, which must not touch a timer that is set.
            Self::RoundRefundsRequested { next_batch_at, .. } => next_batch_at.map(Timer::Set),
            Self::RoundDrawn { .. }
            | Self::SharesHeld { .. }
            | Self::SharesRejected { .. }
            | Self::SharesSold { .. }
            | Self::SharesReleased { .. }
            | Self::SharesReturned { .. } => None,
        }
    }
}
