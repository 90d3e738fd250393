//! What the provider reports, as it came, and why it may fit nothing that was asked for. A report is a fact: it is never refused for
//! what it says.

use domain::{AMOUNT_MAX, Currency, DisputeStanding, Money, RefundId, Timestamp, words};
use serde::{Deserialize, Serialize};

/// A report of the provider. Its texts are legible, and otherwise as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it is about.
    pub kind: Kind,
    /// The provider's own id of it: under the same one, it is the same report.
    pub provider_event_id: String,
    /// What the provider knows the charge or the refund by; may be empty.
    pub provider_reference: String,
    /// The refund, as the provider names it; may be empty, or none of ours.
    pub refund_id: String,
    /// The money, if it names any.
    pub amount: Option<ReportedMoney>,
    /// Why, in its own words.
    pub reason: String,
    /// When it happened, by the provider's clock, if it said so.
    pub occurred_at: Option<Timestamp>,
    /// The dispute that it is about. `None`: it is about none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispute: Option<Box<ReportedDispute>>,
    /// What the provider knows the charge by that a refund is of. Empty: it did not say, or it is about something else.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub charge_reference: String,
}

/// A dispute, as the provider reports it. Its texts are legible, and otherwise as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedDispute {
    /// The provider's own id of it; never empty.
    pub dispute_id: String,
    /// The provider's word for where it stands.
    pub status: String,
    /// What that comes to.
    pub standing: DisputeStanding,
    /// The reason that the buyer gave.
    pub reason: String,
    /// How much is disputed, if it says so.
    pub amount: Option<ReportedMoney>,
    /// Until when the shop can answer.
    pub due_by: Option<Timestamp>,
    /// Whether the provider gives back money of the charge meanwhile.
    pub is_refundable: bool,
}

/// Money as the provider names it, which need be none that we count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedMoney {
    /// Of any size.
    pub minor_units: i64,
    /// In upper case.
    pub currency: String,
}

words!(
    /// What a report is about.
    Kind {
        /// The provider has the buyer's money.
        PaymentSucceeded = "payment_succeeded",
        /// One try at paying failed; or money that had come was taken back.
        PaymentFailed = "payment_failed",
        /// No further try at paying can succeed.
        PaymentClosed = "payment_closed",
        /// The buyer's money is set aside.
        PaymentAuthorised = "payment_authorised",
        /// Money that was set aside was let go.
        PaymentVoided = "payment_voided",
        /// The buyer has the money of a refund.
        RefundSucceeded = "refund_succeeded",
        /// The buyer does not have it, even if the provider said so before.
        RefundFailed = "refund_failed",
        /// A charge is disputed, or there is news of that dispute.
        PaymentDisputed = "payment_disputed",
        /// A dispute has taken money from the shop.
        DisputeFundsWithdrawn = "dispute_funds_withdrawn",
        /// What a dispute had taken is with the shop again.
        DisputeFundsReinstated = "dispute_funds_reinstated",
        /// A dispute is over.
        DisputeClosed = "dispute_closed",
    }
);

words!(
    /// Why a report fits nothing that was asked for.
    Mismatch {
        /// Nobody was asked for this payment: not yet, or its order was closed before.
        NotAsked = "not_asked",
        /// The payment's money is there already, and more has come.
        SecondCharge = "second_charge",
        /// Another amount or currency than was asked for, or one that cannot be read.
        OtherAmount = "other_amount",
        /// Money that had come was taken back.
        TakenBack = "taken_back",
        /// A refund that is not ours, and of more than is left, or of as much as an operator gave back who settled another report.
        RefundNotAsked = "refund_not_asked",
        /// A refund that was paid out already is reported under another reference.
        RefundedTwice = "refunded_twice",
        /// A refund that had failed is reported as paid out, and its money has gone back otherwise.
        RefundContradicted = "refund_contradicted",
        /// A failure of a refund that is not known.
        RefundUnknown = "refund_unknown",
        /// A charge of which an operator said that its money went back is reported again.
        GivenBack = "given_back",
    }
);

words!(
    /// Where a report stands.
    Standing {
        /// It is taken in, and nothing is to be decided about it.
        Noted = "noted",
        /// It fits nothing, and waits for an operator or for a later report.
        Open = "open",
        /// It fits nothing, and its money is on its way back.
        Returning = "returning",
        /// It fits nothing, and is so for good.
        Accepted = "accepted",
        /// It is not so any more, or never was.
        Undone = "undone",
    }
);

impl Kind {
    /// Whether it is about a refund.
    #[must_use]
    pub const fn is_of_refund(self) -> bool {
        matches!(self, Self::RefundSucceeded | Self::RefundFailed)
    }

    /// Whether it is about a dispute.
    #[must_use]
    pub const fn is_of_dispute(self) -> bool {
        matches!(
            self,
            Self::PaymentDisputed | Self::DisputeFundsWithdrawn | Self::DisputeFundsReinstated | Self::DisputeClosed
        )
    }
}

/// Which way money went by a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the shop.
    In,
    /// From the shop.
    Out,
    /// Nowhere.
    None,
}

/// A report that is kept beside its payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// As it came.
    pub report: Report,
    /// Why it fits nothing. `None`: it does.
    pub mismatch: Option<Mismatch>,
    /// Where it stands.
    pub standing: Standing,
    /// The later report that settled it; empty if none did.
    pub settled_by: String,
}

impl ReportedMoney {
    /// The same, if it can be read.
    #[must_use]
    pub fn money(&self) -> Option<Money> {
        let currency = Currency::parse(&self.currency).ok()?;
        (0..=AMOUNT_MAX).contains(&self.minor_units).then_some(Money { minor_units: self.minor_units, currency })
    }
}

impl Report {
    /// Its money, if that can be read.
    #[must_use]
    pub fn money(&self) -> Option<Money> {
        self.amount.as_ref()?.money()
    }

    /// The refund that it is about, if it names one of ours.
    #[must_use]
    pub fn refund(&self) -> Option<RefundId> {
        RefundId::parse(&self.refund_id).ok()
    }

    /// What the provider knows the charge by whose money came, went or is disputed, if the report names one. What failed or was set aside
    /// is known by names that need not be a charge's.
    #[must_use]
    pub fn charge(&self) -> &str {
        match self.kind {
            Kind::RefundSucceeded | Kind::RefundFailed => &self.charge_reference,
            Kind::PaymentSucceeded
            | Kind::PaymentDisputed
            | Kind::DisputeFundsWithdrawn
            | Kind::DisputeFundsReinstated
            | Kind::DisputeClosed => &self.provider_reference,
            Kind::PaymentFailed | Kind::PaymentClosed | Kind::PaymentAuthorised | Kind::PaymentVoided => "",
        }
    }

    /// Whether the refund that it is about can be of this charge: one of the two is not known, or both are the same.
    #[must_use]
    pub fn may_be_refund_of(&self, charge: &str) -> bool {
        self.charge_reference.is_empty() || charge.is_empty() || self.charge_reference == charge
    }

    /// Whether it can be about the same charge or payout: one of the two references is not known, or both are the same.
    #[must_use]
    pub fn may_be_of(&self, reference: &str) -> bool {
        self.provider_reference.is_empty() || reference.is_empty() || self.provider_reference == reference
    }

    /// Whether it is, for sure.
    #[must_use]
    pub fn is_of(&self, reference: &str) -> bool {
        !reference.is_empty() && self.provider_reference == reference
    }

    /// Whether both times are known, and this one is later.
    #[must_use]
    pub fn is_later_than(&self, other: Option<Timestamp>) -> bool {
        self.occurred_at.zip(other).is_some_and(|(this, other)| this > other)
    }

    /// Whether both times are known, and this one is earlier.
    #[must_use]
    pub fn is_earlier_than(&self, other: Option<Timestamp>) -> bool {
        self.occurred_at.zip(other).is_some_and(|(this, other)| this < other)
    }
}

impl Kept {
    /// Which way its money went.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match (self.report.kind, self.mismatch) {
            (_, None) | (Kind::PaymentAuthorised | Kind::PaymentVoided | Kind::RefundFailed, _) => Direction::None,
            // What disputes move is in an account of its own, as far as it can be counted.
            (
                Kind::PaymentDisputed
                | Kind::DisputeFundsWithdrawn
                | Kind::DisputeFundsReinstated
                | Kind::DisputeClosed,
                Some(_),
            ) => Direction::None,
            (Kind::PaymentSucceeded, Some(_)) => Direction::In,
            (Kind::PaymentFailed | Kind::PaymentClosed, Some(Mismatch::TakenBack))
            | (Kind::RefundSucceeded, Some(_)) => Direction::Out,
            (Kind::PaymentFailed | Kind::PaymentClosed, Some(_)) => Direction::None,
        }
    }

    /// Whether it says that a charge failed.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self.report.kind, Kind::PaymentFailed | Kind::PaymentClosed)
    }

    /// Whether nothing says that it is not so.
    #[must_use]
    pub const fn may_be_so(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Returning | Standing::Accepted)
    }

    /// Whether an operator said that it is not so any more, not another report.
    #[must_use]
    pub fn is_undone_by_hand(&self) -> bool {
        self.standing == Standing::Undone && self.settled_by.is_empty()
    }

    /// Whether it waits for somebody to decide.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.standing == Standing::Open
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Mismatch, Standing};

    #[test]
    fn every_word_reads_back() {
        assert!(Kind::ALL.iter().all(|word| Kind::parse(word.as_str()) == Some(*word)));
        assert!(Mismatch::ALL.iter().all(|word| Mismatch::parse(word.as_str()) == Some(*word)));
        assert!(Standing::ALL.iter().all(|word| Standing::parse(word.as_str()) == Some(*word)));
    }
}
