//! Disputes: banks take money that came, below, at or above what was charged, and perhaps give it back; told in any order, and twice.

use std::time::Duration;

use domain::{PaymentId, Timestamp};
use proto::{
    common::v1::DisputeStanding,
    payments::v1::{ProviderEventKind, RecordProviderEvent, ReportedDispute},
};
use rand::Rng;

use super::{Books, Move, opinions::SECOND};

use ProviderEventKind::{DisputeClosed, DisputeFundsReinstated, DisputeFundsWithdrawn, PaymentDisputed};

const MOVED: &str = "dispute ";

/// Whether a dispute has moved it.
pub(super) fn is_of_dispute(reference: &str) -> bool {
    reference.starts_with(MOVED)
}

/// While nothing of a charge is given back; for ever, if the dispute is lost.
#[derive(Debug)]
pub(super) struct Stopped {
    /// The charge; empty: it is not named.
    charge: String,
    from: Timestamp,
    until: Option<Timestamp>,
}

/// One dispute, and what is told of it.
struct Case<'a> {
    payment_id: PaymentId,
    /// What the provider knows the charge by; may be empty.
    charge: &'a str,
    id: &'a str,
    minor: i64,
    refundable: bool,
}

/// What a dispute stands at.
type Word = (&'static str, DisputeStanding);

const ANSWER: Word = ("needs_response", DisputeStanding::Open);
const REVIEW: Word = ("under_review", DisputeStanding::Open);
const APPEAL: Word = ("appeal_under_review", DisputeStanding::Open);
const WON: Word = ("won", DisputeStanding::Won);
const LOST: Word = ("lost", DisputeStanding::Lost);

impl Books {
    /// Money that came at this time is disputed, now and then by more than one.
    pub(super) fn perhaps_dispute(&mut self, (payment_id, charge): (PaymentId, &str), minor: i64, at: Timestamp) {
        if minor < 1 || !self.thinks() {
            return;
        }
        for _ in 0..self.rng.random_range(1..=2) {
            let opens_at = at + Duration::from_secs(self.rng.random_range(1..300));
            self.count += 1;
            let id = format!("du-{}", self.count);
            let minor = match self.rng.random_range(0..3) {
                0 => minor,
                1 => minor.div_euclid(2).max(1),
                _ => minor + 300,
            };
            if self.rng.random_ratio(1, 6) {
                self.ask(&Case { payment_id, charge, id: &id, minor, refundable: true }, opens_at);
            } else {
                self.charge_back(&Case { payment_id, charge, id: &id, minor, refundable: false }, opens_at);
            }
        }
    }

    /// Whether nothing of a charge is given back just now; of one that is not named, it may be any of the payment.
    pub(super) fn is_disputed(&self, payment_id: PaymentId, charge: &str) -> bool {
        let stopped = self.disputes.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        let is_it = |stopped: &&Stopped| stopped.charge.is_empty() || charge.is_empty() || stopped.charge == charge;
        let mut stopped = stopped.iter().filter(is_it);
        stopped.any(|stopped| stopped.from <= self.now && stopped.until.is_none_or(|until| self.now < until))
    }

    /// An inquiry: nothing moves, and nothing is stopped.
    fn ask(&mut self, case: &Case<'_>, opens_at: Timestamp) {
        let closes_at = opens_at + self.some_time();
        self.tell_dispute(case, PaymentDisputed, ("warning_needs_response", DisputeStanding::Open), opens_at);
        self.tell_dispute(case, DisputeClosed, ("warning_closed", DisputeStanding::Ended), closes_at);
    }

    /// The bank takes the money at once, and the shop has it again if it wins, not always all of it.
    fn charge_back(&mut self, case: &Case<'_>, opens_at: Timestamp) {
        self.move_disputed(case, "out", -case.minor);
        if self.rng.random_bool(0.7) {
            self.tell_dispute(case, PaymentDisputed, ANSWER, opens_at);
        }
        self.tell_dispute(case, DisputeFundsWithdrawn, ANSWER, opens_at);
        if self.rng.random_bool(0.3) {
            self.tell_dispute(case, PaymentDisputed, REVIEW, opens_at + SECOND);
        }
        let mut closes_at = opens_at + self.some_time();
        let mut is_won = self.rng.random_bool(0.5);
        if !is_won {
            self.tell_dispute(case, DisputeClosed, LOST, closes_at);
        }
        if !is_won && self.rng.random_ratio(1, 4) {
            self.tell_dispute(case, PaymentDisputed, APPEAL, closes_at + SECOND);
            closes_at = closes_at + self.some_time();
            is_won = self.rng.random_bool(0.5);
            let end = if is_won { WON } else { LOST };
            self.tell_dispute(case, DisputeClosed, end, closes_at);
        } else if is_won {
            self.tell_dispute(case, DisputeClosed, WON, closes_at);
        }
        if is_won {
            let minor = if self.rng.random_bool(0.8) { case.minor } else { (case.minor - 1).max(1) };
            self.move_disputed(case, "back", minor);
            self.tell_dispute(&Case { minor, ..*case }, DisputeFundsReinstated, WON, closes_at);
        }
        let charge = case.charge.to_owned();
        let stopped = Stopped { charge, from: opens_at, until: is_won.then_some(closes_at) };
        self.disputes.entry(case.payment_id).or_default().push(stopped);
    }

    fn some_time(&mut self) -> Duration {
        Duration::from_secs(self.rng.random_range(10..900))
    }

    fn move_disputed(&mut self, case: &Case<'_>, way: &str, minor: i64) {
        let reference = format!("{MOVED}{} {way}", case.id);
        self.note(case.payment_id, Move { reference, refund_id: None, minor, stands: true });
    }

    fn tell_dispute(&mut self, case: &Case<'_>, kind: ProviderEventKind, (status, standing): Word, at: Timestamp) {
        let moved = [(DisputeFundsWithdrawn, "funds_withdrawn"), (DisputeFundsReinstated, "funds_reinstated")];
        let fact = moved.into_iter().find(|(of, _)| *of == kind).map_or(status, |(_, fact)| fact);
        let amount = self.money(case.payment_id, case.minor);
        let report = RecordProviderEvent {
            kind: kind.into(),
            payment_id: case.payment_id.to_string(),
            refund_id: String::new(),
            amount: amount.clone(),
            provider_event_id: format!("{} {fact}", case.id),
            provider_reference: case.charge.to_owned(),
            charge_reference: String::new(),
            reason: String::new(),
            occurred_at: Some(at.to_wire()),
            dispute: Some(ReportedDispute {
                dispute_id: case.id.to_owned(),
                status: status.to_owned(),
                standing: standing.into(),
                reason: "fraudulent".to_owned(),
                amount,
                due_by: None,
                refundable: case.refundable,
            }),
        };
        self.send(report, Some(at));
    }
}
