//! Disputes of a payment's charge: what a buyer's bank takes, what of that comes back, and whether anything can be refunded meanwhile.
//!
//! | heard                 | a dispute that is not known                     | one that is known                                    |
//! |-----------------------|-------------------------------------------------|------------------------------------------------------|
//! | disputed, or closed   | disputed, or closed                             | the same, if it is later by the provider's time; else - |
//! | funds withdrawn       | disputed or closed, and funds withdrawn         | funds withdrawn, once                                |
//! | funds reinstated      | disputed or closed, and funds reinstated        | funds reinstated, once                               |
//! | another amount, again |                                                 | unmatched                                            |
//!
//! A dispute of a second charge is told in the same words, and marked: nothing of the payment waits for it, and what it takes is not counted here.
//!
//! `-`: nothing changes. So it makes no difference in which order they come, nor how often. What moves is counted in `charged_back`, beside what
//! came and what was refunded: a refund is money of ours that we give back, and this is not. Unmatched: money that cannot be counted, or
//! another amount than was told of the same dispute before, is kept whole, and waits for an operator.
//!
//! Why it is so: services/payments/README.md#a-dispute-is-a-fact-of-its-payment

use domain::{Dispute, DisputeStanding, Money, Rejection, Timestamp};

use super::{
    Payment,
    reports::{About, settled},
};
use crate::{
    event::{DisputeEvent, DisputeStep, Event, Reported},
    report::{Kept, Kind, Mismatch, Report, ReportedDispute, ReportedMoney},
};

#[cfg(test)]
mod spec;

/// One of which nothing is known yet.
const UNHEARD: Dispute = Dispute {
    revision: 0,
    status: String::new(),
    standing: DisputeStanding::Open,
    reason: String::new(),
    amount: None,
    due_by: None,
    refundable: true,
    withdrawn: None,
    reinstated: None,
    as_of: None,
    of_second_charge: false,
};

/// The dispute, as a report of this time has it.
fn as_reported(dispute: &Dispute, news: &ReportedDispute, as_of: Option<Timestamp>) -> Dispute {
    Dispute {
        status: news.status.clone(),
        standing: news.standing,
        reason: news.reason.clone(),
        amount: news.amount.as_ref().and_then(ReportedMoney::money),
        due_by: news.due_by,
        refundable: news.is_refundable,
        as_of,
        ..dispute.clone()
    }
}

/// Whether the first is what holds of the two, and not just the same. What is later holds, and what is told of no time is earlier than all
/// else; of what is told of one second, or of no time, what comes later in the life of a dispute. Of all the rest it only matters that it is
/// the same whichever comes first.
fn overtakes(this: &Dispute, other: &Dispute) -> bool {
    (this.as_of, place(this)) > (other.as_of, place(other))
}

/// Where it stands. Providers' words happen to follow each other as the alphabet has them: `needs_response`, `under_review`.
fn place(dispute: &Dispute) -> impl Ord + '_ {
    let Dispute { status, standing, reason, amount, due_by, refundable, .. } = dispute;
    (*standing, status, !refundable, *due_by, *amount, reason)
}

impl Payment {
    /// What disputes of its charge have taken and not given back, in minor units: beside what was refunded, and perhaps more than came.
    #[must_use]
    pub fn charged_back_minor(&self) -> i64 {
        let own = self.disputes.values().filter(|dispute| !dispute.of_second_charge);
        own.map(Dispute::charged_back_minor).fold(0, i64::saturating_add)
    }

    /// What its refunds wait for, if that is an open dispute.
    pub(super) fn waits_for_dispute(&self) -> Option<String> {
        let open = |dispute: &Dispute| dispute.standing == DisputeStanding::Open;
        let (id, dispute) = self.disputes.iter().find(|(_, dispute)| dispute.stops_refunds() && open(dispute))?;
        Some(format!("dispute {id} of the payment is open ({}), and nothing is refunded meanwhile", dispute.status))
    }

    /// Why no refund of it can ever succeed, if so: a dispute is lost, and the provider gives nothing back.
    pub(super) fn is_lost(&self) -> Option<Rejection> {
        let lost = |dispute: &Dispute| dispute.standing == DisputeStanding::Lost;
        let (id, _) = self.disputes.iter().find(|(_, dispute)| dispute.stops_refunds() && lost(dispute))?;
        let reason = format!(
            "dispute {id} of the payment is lost: the buyer has that money from the bank, and the provider refunds nothing more of the charge"
        );
        Some(Rejection::new("PAYMENT_DISPUTED", reason))
    }

    /// What an event of a dispute changes.
    pub(super) fn take_in_dispute(&mut self, event: &DisputeEvent) {
        self.disputes.insert(event.dispute_id.clone(), event.dispute.clone());
        self.note(&event.reported.provider_event_id);
    }
}

/// There is news of a dispute.
pub(super) fn told(about: &About<'_>, report: &Report) -> Vec<Event> {
    let Some(news) = &report.dispute else { return about.unmatched(report, Mismatch::OtherAmount) };
    let mut story = Story::of(about, &news.dispute_id, report);
    let known = story.dispute.revision;
    // The payment's charge never changes once it has one, and a report need not name its own.
    let is_second_charge = about.payment.is_of_second_charge(report);
    let learns_charge = is_second_charge && !story.dispute.of_second_charge;
    story.dispute.of_second_charge |= is_second_charge;
    let heard = as_reported(&story.dispute, news, report.occurred_at);
    let is_new = known == 0;
    let says_more = is_new || place(&heard) != place(&story.dispute);
    let holds = is_new || overtakes(&heard, &story.dispute);
    if holds {
        story.dispute = heard;
    }
    if holds && says_more || learns_charge {
        story.stands();
    }
    story.count_what_was_told_otherwise();
    let unmatched = match report.kind {
        Kind::DisputeFundsWithdrawn => story.moves(DisputeStep::FundsWithdrawn),
        Kind::DisputeFundsReinstated => story.moves(DisputeStep::FundsReinstated),
        Kind::PaymentDisputed
        | Kind::DisputeClosed
        | Kind::PaymentSucceeded
        | Kind::PaymentFailed
        | Kind::PaymentClosed
        | Kind::PaymentAuthorised
        | Kind::PaymentVoided
        | Kind::RefundSucceeded
        | Kind::RefundFailed => vec![],
    };
    // It stands as before, and at a later time: what is told of the time between does not hold any more.
    if holds && story.dispute.revision == known {
        story.stands();
    }
    // Last, for an event of the dispute takes its report for settled, and this one waits.
    story.events.extend(unmatched);
    story.events
}

/// What follows from one report of one dispute.
struct Story<'a> {
    about: &'a About<'a>,
    report: &'a Report,
    dispute_id: &'a str,
    dispute: Dispute,
    events: Vec<Event>,
}

impl<'a> Story<'a> {
    fn of(about: &'a About<'a>, dispute_id: &'a str, report: &'a Report) -> Self {
        let dispute = about.payment.disputes.get(dispute_id).cloned().unwrap_or(UNHEARD);
        Self { about, report, dispute_id, dispute, events: vec![] }
    }

    fn step(&mut self, step: DisputeStep) {
        self.dispute.revision += 1;
        self.events.push(Event::Dispute(DisputeEvent {
            payment_id: self.about.payment_id,
            key: self.about.key,
            dispute_id: self.dispute_id.to_owned(),
            step,
            dispute: self.dispute.clone(),
            reported: Reported::from(self.report),
        }));
    }

    /// Where it stands now.
    fn stands(&mut self) {
        let is_open = self.dispute.standing == DisputeStanding::Open;
        self.step(if is_open { DisputeStep::Disputed } else { DisputeStep::Closed });
    }

    /// A dispute takes money once and gives it back once. What does not fit is for an operator.
    fn moves(&mut self, step: DisputeStep) -> Vec<Event> {
        let currency = self.about.terms.amount.currency;
        let amount = self.report.money().filter(|amount| amount.currency == currency && amount.minor_units > 0);
        let account = match step {
            DisputeStep::FundsReinstated => &mut self.dispute.reinstated,
            DisputeStep::FundsWithdrawn | DisputeStep::Disputed | DisputeStep::Closed => &mut self.dispute.withdrawn,
        };
        match amount {
            Some(amount) if account.is_none() => {
                *account = Some(amount);
                self.step(step);
                vec![]
            }
            Some(amount) if *account == Some(amount) => vec![],
            Some(_) | None => self.about.unmatched(self.report, Mismatch::OtherAmount),
        }
    }

    /// Before disputes were facts of their own, what one took was told as money taken back, and waited for an operator or was accepted. From
    /// the first word of the dispute itself it is counted here, so that it can come back.
    fn count_what_was_told_otherwise(&mut self) {
        let id = format!("{} funds_withdrawn", self.dispute_id);
        let is_it = |kept: &&Kept| kept.mismatch == Some(Mismatch::TakenBack) && kept.may_be_so();
        let currency = self.about.terms.amount.currency;
        let taken = self.about.payment.reports.get(&id).filter(is_it).and_then(|kept| kept.report.money());
        let is_counted = |taken: &Money| taken.currency == currency && taken.minor_units > 0;
        let Some(taken) = taken.filter(is_counted) else { return };
        let note = "it is counted as what the dispute took";
        let (payment_id, settled_by) = (self.about.payment_id, &self.report.provider_event_id);
        self.events.push(settled(payment_id, &id, settled_by, note));
        if self.dispute.withdrawn.is_none() {
            self.dispute.withdrawn = Some(taken);
            self.step(DisputeStep::FundsWithdrawn);
        }
    }
}
