//! A dispute between a buyer's bank and the shop: what payments knows of it, and tells orders whole.

use proto::common::v1 as wire;
use serde::{Deserialize, Serialize};

use crate::{Money, Rejection, Timestamp};

/// A dispute of a charge, as it stands after an event. As JSON it is what the tables show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// Its events so far: of two tellings, the one with more holds.
    pub revision: i32,
    /// The provider's word for where it stands.
    pub status: String,
    /// What that comes to.
    pub standing: DisputeStanding,
    /// The reason that the buyer gave, in the provider's word.
    pub reason: String,
    /// How much is disputed, if the provider says so: it need not be what was charged.
    pub amount: Option<Money>,
    /// Until when the shop can answer.
    pub due_by: Option<Timestamp>,
    /// Whether the provider gives back money of the charge meanwhile.
    pub refundable: bool,
    /// What it has taken from the shop. `None`: nothing yet.
    pub withdrawn: Option<Money>,
    /// What came back of that. It may be told first.
    pub reinstated: Option<Money>,
    /// When it stood so, by the provider's clock, if it said so.
    pub as_of: Option<Timestamp>,
    /// Whether it is of another charge than the one that brought the payment's money. What was written before this was known does not say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_second_charge: bool,
}

impl Dispute {
    /// Whether no refund of the payment can succeed now: it is of the charge that brought the money, of which the provider gives nothing back.
    #[must_use]
    pub const fn stops_refunds(&self) -> bool {
        self.standing.stops_refunds() && !self.refundable && !self.of_second_charge
    }

    /// What it has taken and not given back, in minor units. Below 0: only what came back is known yet.
    #[must_use]
    pub fn charged_back_minor(&self) -> i64 {
        let minor = |moved: Option<Money>| moved.map_or(0, |moved| moved.minor_units);
        minor(self.withdrawn) - minor(self.reinstated)
    }

    /// As a message field, under the provider's own id of it.
    #[must_use]
    pub fn to_wire(&self, dispute_id: &str) -> wire::Dispute {
        wire::Dispute {
            dispute_id: dispute_id.to_owned(),
            revision: self.revision,
            status: self.status.clone(),
            standing: self.standing.to_wire(),
            reason: self.reason.clone(),
            amount: self.amount.map(Money::to_wire),
            due_by: self.due_by.map(Timestamp::to_wire),
            refundable: self.refundable,
            withdrawn: self.withdrawn.map(Money::to_wire),
            reinstated: self.reinstated.map(Money::to_wire),
            as_of: self.as_of.map(Timestamp::to_wire),
            of_second_charge: self.of_second_charge,
        }
    }

    /// Reads a dispute that is on record, and the provider's own id of it.
    ///
    /// # Errors
    /// Without one, or with an amount or a time that is none.
    pub fn from_wire(dispute: Option<wire::Dispute>) -> Result<(String, Self), Rejection> {
        let dispute = dispute.ok_or_else(|| Rejection::new("INVALID_ID", "the event names no dispute"))?;
        let money = |field, amount: Option<wire::Money>| {
            amount.map(|amount| Money::from_wire(field, Some(&amount))).transpose()
        };
        let time = |field, time: Option<_>| time.map(|time| Timestamp::from_wire(field, Some(time))).transpose();
        let read = Self {
            revision: dispute.revision,
            status: dispute.status,
            standing: DisputeStanding::from_wire(dispute.standing),
            reason: dispute.reason,
            amount: money("amount", dispute.amount)?,
            due_by: time("due_by", dispute.due_by)?,
            refundable: dispute.refundable,
            withdrawn: money("withdrawn", dispute.withdrawn)?,
            reinstated: money("reinstated", dispute.reinstated)?,
            as_of: time("as_of", dispute.as_of)?,
            of_second_charge: dispute.of_second_charge,
        };
        Ok((dispute.dispute_id, read))
    }
}

crate::words!(
    /// What has come of a dispute. The order of these says which holds of two that were told at the same time.
    DisputeStanding {
        /// It is not over.
        Open = "open",
        /// It ended otherwise: an inquiry that came to nothing, or a dispute that was prevented.
        Ended = "ended",
        /// The buyer keeps the money.
        Lost = "lost",
        /// The shop keeps the money, or has it again.
        Won = "won",
    }
);

impl DisputeStanding {
    /// Whether no refund of its charge can succeed, if the provider says that it gives nothing back. After all other ends it may say what it
    /// likes: there is no dispute any more.
    #[must_use]
    pub const fn stops_refunds(self) -> bool {
        match self {
            Self::Open | Self::Lost => true,
            Self::Ended | Self::Won => false,
        }
    }

    /// To the contract.
    #[must_use]
    pub fn to_wire(self) -> i32 {
        match self {
            Self::Open => wire::DisputeStanding::Open,
            Self::Ended => wire::DisputeStanding::Ended,
            Self::Lost => wire::DisputeStanding::Lost,
            Self::Won => wire::DisputeStanding::Won,
        }
        .into()
    }

    /// From the contract. What nobody knows is not over.
    #[must_use]
    pub fn from_wire(value: i32) -> Self {
        use wire::DisputeStanding as Wire;
        match Wire::try_from(value).unwrap_or(Wire::Unspecified) {
            Wire::Unspecified | Wire::Open => Self::Open,
            Wire::Ended => Self::Ended,
            Wire::Lost => Self::Lost,
            Wire::Won => Self::Won,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DisputeStanding;

    #[test]
    fn every_word_reads_back() {
        for standing in DisputeStanding::ALL {
            assert_eq!(DisputeStanding::parse(standing.as_str()), Some(*standing));
            assert_eq!(DisputeStanding::from_wire(standing.to_wire()), *standing);
        }
        assert_eq!(DisputeStanding::from_wire(99), DisputeStanding::Open);
    }
}
