//! What rounds can be asked to do.

use domain::{HoldKey, Money, RefundId, RoundId};

use crate::{
    draw::{Proof, Terms},
    event::Offer,
};

/// An intent. The first three come from outside, the rest from the policy, from timers and from outside calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Put shares up for sale.
    OpenRound {
        /// The new round.
        round_id: RoundId,
        /// What is for sale.
        offer: Offer,
        /// Who asks. Empty: it is not said.
        actor: String,
        /// How its winner will be drawn, which the settings say and nobody who asks.
        draw: Option<Terms>,
    },
    /// Close an open round now, as if its closing time had come.
    CloseRound {
        /// The round.
        round_id: RoundId,
        /// Who asks.
        actor: String,
        /// Why.
        note: String,
    },
    /// Call a round off.
    CancelRound {
        /// The round.
        round_id: RoundId,
        /// Who asks.
        actor: String,
        /// Why.
        note: String,
    },
    /// Take the step of a round that is due: close it, list its tickets, or have the next batch of its participants refunded.
    Advance {
        /// The round.
        round_id: RoundId,
    },
    /// Draw the winner of a round: all that he is drawn by is known.
    Draw {
        /// The round.
        round_id: RoundId,
        /// What is known now.
        proof: Proof,
    },
    /// Hold shares for an order.
    Hold {
        /// The order and its attempt.
        key: HoldKey,
        /// What it wants.
        purchase: Purchase,
    },
    /// Sell what an order holds: it is paid.
    Commit {
        /// The order and its attempt.
        key: HoldKey,
    },
    /// Free what an order holds: it is closed unpaid.
    Release {
        /// The order and its attempt.
        key: HoldKey,
    },
    /// Take back what an order bought: it is refunded.
    Return {
        /// The order and its attempt.
        key: HoldKey,
        /// The refund that the shares come back with.
        refund_id: RefundId,
    },
}

/// Shares that an order wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purchase {
    /// Of this round.
    pub round_id: RoundId,
    /// How many, at least 1.
    pub count: i64,
    /// What the order would pay for one.
    pub unit_price: Money,
}
