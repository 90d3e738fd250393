//! Disputes of an order's payments. They change nothing of the order: it stays paid, and what it bought stays bought. It only knows of them, so
//! that nobody asks for a refund that the provider would refuse.

use domain::{DecideError, Dispute, DisputeStanding, HoldKey, PaymentId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    decide::{broken, is_stale},
    state::Order,
    status::Phase,
};
use crate::event::Event;

#[cfg(test)]
mod specs;

/// A dispute of one of the order's payments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disputed {
    /// The payment.
    pub payment_id: Uuid,
    /// As payments tells it.
    #[serde(flatten)]
    pub dispute: Dispute,
}

/// Payments tells of a dispute. What is told late is known better.
pub(super) fn record(
    order: &Order,
    key: HoldKey,
    payment_id: PaymentId,
    dispute_id: &str,
    dispute: &Dispute,
) -> Result<Vec<Event>, DecideError> {
    is_stale(order, key)?;
    if payment_id != key.payment_id() {
        let what = format!("payment {payment_id} is disputed, and it is none that was asked for");
        return Err(broken(order.order_id, what));
    }
    if order.disputes.get(dispute_id).is_some_and(|known| known.dispute.revision >= dispute.revision) {
        return Ok(vec![]);
    }
    let (dispute_id, dispute) = (dispute_id.to_owned(), dispute.clone());
    Ok(vec![Event::OrderDisputed { key, payment_id, dispute_id, dispute }])
}

impl Order {
    /// What is known of a dispute from now on.
    pub(super) fn dispute(&mut self, payment_id: PaymentId, dispute_id: &str, dispute: &Dispute) {
        // On a closed order the note goes on saying why it was closed.
        if self.status.phase() == Phase::Paid {
            self.note = format!("dispute {dispute_id} of its payment is {} ({})", dispute.status, dispute.reason);
        }
        let disputed = Disputed { payment_id: payment_id.0, dispute: dispute.clone() };
        self.disputes.insert(dispute_id.to_owned(), disputed);
    }

    fn disputes_of(&self, payment_id: PaymentId) -> impl Iterator<Item = (&String, &Dispute)> {
        let of_it = self.disputes.iter().filter(move |(_, disputed)| disputed.payment_id == payment_id.0);
        of_it.map(|(dispute_id, disputed)| (dispute_id, &disputed.dispute))
    }

    /// What disputes have taken of a payment and not given back, in minor units.
    #[must_use]
    pub fn charged_back_minor(&self, payment_id: PaymentId) -> i64 {
        let own = self.disputes_of(payment_id).filter(|(_, dispute)| !dispute.of_second_charge);
        own.map(|(_, dispute)| dispute.charged_back_minor()).sum()
    }

    /// Why no refund of a payment can succeed now, if so.
    pub(super) fn stops_refunds(&self, payment_id: PaymentId) -> Option<String> {
        let (dispute_id, dispute) = self.disputes_of(payment_id).find(|(_, dispute)| dispute.stops_refunds())?;
        let order_id = self.order_id;
        Some(match dispute.standing {
            DisputeStanding::Lost => format!(
                "dispute {dispute_id} of order {order_id} is lost: the buyer has that money from the bank, and the provider refunds \
                 nothing more of this payment"
            ),
            DisputeStanding::Open | DisputeStanding::Ended | DisputeStanding::Won => format!(
                "the buyer's bank disputes the payment of order {order_id} (dispute {dispute_id}, {}), and the provider refunds \
                 nothing of it meanwhile: answer the dispute at the provider, and ask again once it is over",
                dispute.status
            ),
        })
    }
}
