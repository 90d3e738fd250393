//! What a report of the provider does. Which of two that contradict each other holds follows from the provider's time and from what
//! they are, not from which came first; what cannot be settled so is kept, and waits for an operator.
//!
//! Why it is so: services/payments/README.md#a-report-is-a-fact

use domain::{DecideError, HoldKey, Money, PaymentId, RefundId, Rejection, derived};

use super::{Payment, PaymentTerms, Status, authorisation, disputes, refund};
use crate::{
    event::{Event, RefundOf, ReportResolution, Reported},
    report::{Direction, Kept, Kind, Mismatch, Report, Standing},
};

/// A report comes in.
pub(super) fn take(payment_id: PaymentId, payment: Option<&Payment>, report: &Report) -> Vec<Event> {
    if payment.is_some_and(|payment| payment.has_heard(report)) {
        return vec![];
    }
    judge(payment_id, payment, report)
}

/// What was reported before anybody was asked, once this event has said what it is about: in the provider's order. What an operator
/// said is so is no less a fact than what nobody has looked at.
pub(super) fn judge_again(payment_id: PaymentId, payment: &Payment, requested: Event) -> Vec<Event> {
    let mut after = payment.after(&requested);
    let mut waiting: Vec<&Report> =
        payment.reports.values().filter(|kept| kept.may_be_so()).map(|kept| &kept.report).collect();
    waiting.sort_by_key(|report| report.occurred_at);
    let mut events = vec![requested];
    for report in waiting {
        let is_settled = |kept: &Kept| !kept.may_be_so();
        if after.reports.get(&report.provider_event_id).is_some_and(is_settled) {
            continue;
        }
        // It is no witness of itself: money that it says is gone would be gone twice.
        let kept = after.reports.remove(&report.provider_event_id);
        let mut follows = judge(payment_id, Some(&after), report);
        after.reports.extend(kept.map(|kept| (report.provider_event_id.clone(), kept)));
        let is_kept_on = follows
            .iter()
            .any(|event| matches!(event, Event::ProviderReportUnmatched { report: kept, .. } if kept.provider_event_id == report.provider_event_id));
        follows.iter().for_each(|event| after.apply(event));
        // It said what is known, or settled another.
        if !is_kept_on && after.reports.get(&report.provider_event_id).is_some_and(Kept::may_be_so) {
            let note = "it says what is known already";
            let settled = settled(payment_id, &report.provider_event_id, &report.provider_event_id, note);
            after.apply(&settled);
            follows.push(settled);
        }
        events.extend(follows);
    }
    events
}

fn judge(payment_id: PaymentId, payment: Option<&Payment>, report: &Report) -> Vec<Event> {
    let Some(about) = About::of(payment_id, payment) else {
        return match (report.kind, payment.and_then(|payment| payment.key)) {
            (Kind::PaymentFailed | Kind::PaymentClosed | Kind::PaymentVoided, Some(key)) => {
                declined(payment_id, payment, key, report)
            }
            (_, key) => vec![unmatched(payment_id, key, report, Mismatch::NotAsked)],
        };
    };
    match report.kind {
        Kind::PaymentSucceeded => about.paid(report),
        Kind::PaymentFailed => about.failed(report),
        Kind::PaymentClosed => about.closed(report),
        Kind::PaymentAuthorised => authorisation::authorised(&about, report),
        Kind::PaymentVoided => {
            authorisation::let_go(&about, report).unwrap_or_else(|| declined(payment_id, payment, about.key, report))
        }
        Kind::RefundSucceeded | Kind::RefundFailed => about.refund(report),
        Kind::PaymentDisputed | Kind::DisputeFundsWithdrawn | Kind::DisputeFundsReinstated | Kind::DisputeClosed => {
            disputes::told(&about, report)
        }
    }
}

/// A payment for which somebody was asked.
pub(super) struct About<'a> {
    pub(super) payment_id: PaymentId,
    pub(super) payment: &'a Payment,
    pub(super) key: HoldKey,
    pub(super) terms: &'a PaymentTerms,
}

impl<'a> About<'a> {
    fn of(payment_id: PaymentId, payment: Option<&'a Payment>) -> Option<Self> {
        let payment = payment?;
        Some(Self { payment_id, payment, key: payment.key?, terms: payment.terms.as_ref()? })
    }

    pub(super) fn unmatched(&self, report: &Report, mismatch: Mismatch) -> Vec<Event> {
        vec![unmatched(self.payment_id, Some(self.key), report, mismatch)]
    }

    /// Money that fits nothing. Its failure may have come first, and was noted, or taken for one of the charge that counts.
    fn unmatched_charge(&self, report: &Report, mismatch: Mismatch) -> Vec<Event> {
        let mut events = self.unmatched(report, mismatch);
        let is_failure = |kept: &&Kept| {
            kept.is_failure() && is_failure_of(&kept.report, report) && is_last_word(self.payment, &kept.report)
        };
        if let Some(failure) = self.payment.reports.values().find(is_failure) {
            events.push(taken_back(self.payment_id, report, &failure.report));
            if failure.may_be_so() {
                events.extend(self.settles(report, failure, "it is of another charge"));
            }
        }
        events
    }

    fn settles(&self, report: &Report, kept: &Kept, note: &str) -> Vec<Event> {
        vec![settled(self.payment_id, &kept.report.provider_event_id, &report.provider_event_id, note)]
    }

    fn open(&self, is_it: impl Fn(&Kept) -> bool) -> Option<&Kept> {
        self.payment.reports.values().find(|kept| kept.is_open() && is_it(kept))
    }

    fn paid(&self, report: &Report) -> Vec<Event> {
        if let Some(charge) = &self.payment.charge {
            if !report.is_of(&charge.reference) {
                return self.unmatched_charge(report, Mismatch::SecondCharge);
            }
            let is_whole = report.money() == Some(self.terms.amount);
            // A part of it may be taken back, as in a dispute, and come again.
            let taken_back = self.open(|kept| {
                kept.mismatch == Some(Mismatch::TakenBack)
                    && report.is_later_than(kept.report.occurred_at)
                    && (is_whole || report.money() == kept.report.money())
            });
            return match taken_back {
                Some(kept) => self.settles(report, kept, "the money is there again"),
                None if is_whole => vec![],
                None => self.unmatched_charge(report, Mismatch::OtherAmount),
            };
        }
        if report.money() != Some(self.terms.amount) {
            return self.unmatched_charge(report, Mismatch::OtherAmount);
        }
        if self.is_given_back(report) {
            return self.unmatched_charge(report, Mismatch::GivenBack);
        }
        let succeeded = Event::PaymentSucceeded {
            payment_id: self.payment_id,
            key: self.key,
            amount: self.terms.amount,
            provider_event_id: report.provider_event_id.clone(),
            provider_reference: report.provider_reference.clone(),
            occurred_at: report.occurred_at,
        };
        let taken_back = self.taken_back_before(&succeeded);
        let of_no_use = authorisation::of_no_use(self, report);
        std::iter::once(succeeded).chain(taken_back).chain(of_no_use).collect()
    }

    /// Whether an operator said of another report of this charge that the money went back.
    fn is_given_back(&self, report: &Report) -> bool {
        unmatched_charges(Some(self.payment), report).any(Kept::is_undone_by_hand)
    }

    /// Failures that came before the success that they are of: the money was taken back after all.
    fn taken_back_before(&self, succeeded: &Event) -> Vec<Event> {
        let mut after = self.payment.clone();
        after.apply(succeeded);
        let about = About { payment: &after, ..*self };
        let noted = after.reports.values().filter(|kept| kept.is_failure() && kept.standing == Standing::Noted);
        let taken_back = noted.filter(|kept| about.is_taken_back(&kept.report));
        taken_back.flat_map(|kept| self.unmatched(&kept.report, Mismatch::TakenBack)).collect()
    }

    fn failed(&self, report: &Report) -> Vec<Event> {
        if self.is_taken_back(report) || self.is_gone_twice(report) {
            return self.unmatched(report, Mismatch::TakenBack);
        }
        declined(self.payment_id, Some(self.payment), self.key, report)
    }

    fn closed(&self, report: &Report) -> Vec<Event> {
        match self.payment.status {
            Status::Requested if self.payment.has_live_authorisation() => self.failed(report),
            Status::Requested => vec![Event::PaymentFailed {
                payment_id: self.payment_id,
                key: self.key,
                reason: report.reason.clone(),
                provider_event_id: report.provider_event_id.clone(),
            }],
            Status::Failed => vec![],
            Status::Succeeded | Status::Cancelled | Status::Unasked => self.failed(report),
        }
    }

    /// Whether a failure is of the charge that brought the money, and after it: of the same charge for sure and not earlier, or of
    /// perhaps the same, of no other that is known, and surely later. All else is a try that failed before another succeeded.
    fn is_taken_back(&self, report: &Report) -> bool {
        self.payment.charge.as_ref().is_some_and(|charge| {
            (report.is_of(&charge.reference) && !report.is_earlier_than(charge.occurred_at))
                || (report.may_be_of(&charge.reference)
                    && report.is_later_than(charge.occurred_at)
                    && unmatched_charges(Some(self.payment), report).next().is_none())
        })
    }

    /// Whether a payout was taken for the way back of money that was taken back by the provider itself: then it was of the payment's own.
    fn is_gone_twice(&self, report: &Report) -> bool {
        let by_payout = |kept: &Kept| {
            kept.standing == Standing::Undone
                && !kept.settled_by.is_empty()
                && !self.payment.reports.contains_key(&kept.settled_by)
        };
        lost(Some(self.payment), report).into_iter().any(by_payout)
    }

    fn refund(&self, report: &Report) -> Vec<Event> {
        if self.payouts(report).any(|kept| kept.may_be_so() && kept.report.money() == report.money()) {
            // That one counts already, or waits for an operator.
            return vec![];
        }
        let named = report.refund().and_then(|id| self.payment.refunds.get_key_value(&id));
        let by_reference = || self.payment.refunds.iter().find(|(_, known)| report.is_of(&known.provider_reference));
        let elsewhere = || self.payment.refunds.get_key_value(&self.elsewhere_id(report));
        let known = named.or_else(by_reference).or_else(elsewhere);
        // A refund of a second charge is of that charge, also if the report of it does not say so.
        let unsaid = known.filter(|_| report.charge_reference.is_empty());
        let charge = unsaid.and_then(|(_, known)| known.second_charge.clone());
        let whole = charge.map(|charge_reference| Report { charge_reference, ..report.clone() });
        let report = whole.as_ref().unwrap_or(report);
        match known {
            Some((_, known)) if report.money() != Some(known.amount) => self.unmatched(report, Mismatch::OtherAmount),
            Some((refund_id, known)) => match refund::consequence(self.payment, known, report) {
                refund::Consequence::Nothing => vec![],
                refund::Consequence::Refunded => vec![refund::refunded_by(self.refund_of(*refund_id), known, report)],
                refund::Consequence::Failed => vec![refund::failed_by(self.refund_of(*refund_id), known, report)],
                refund::Consequence::Unmatched(mismatch) => self.unmatched_refund(report, mismatch),
            },
            None if report.kind == Kind::RefundFailed => self.unmatched_refund(report, Mismatch::RefundUnknown),
            None => self.refunded_elsewhere(report),
        }
    }

    /// What else is kept of the same payout.
    fn payouts<'r>(&'r self, report: &'r Report) -> impl Iterator<Item = &'r Kept> {
        self.payment.reports.values().filter(|kept| is_of_same_payout(&kept.report, report))
    }

    /// What a refund that was made elsewhere is known by here.
    fn elsewhere_id(&self, report: &Report) -> RefundId {
        let name = match report.provider_reference.as_str() {
            "" => report.provider_event_id.as_str(),
            reference => reference,
        };
        RefundId(derived(self.payment_id.0, &format!("elsewhere {name}")))
    }

    fn refund_of(&self, refund_id: RefundId) -> RefundOf {
        let is_of_second_charge =
            self.payment.refunds.get(&refund_id).is_some_and(|refund| refund.second_charge.is_some());
        RefundOf { payment_id: self.payment_id, order_id: self.key.order_id, refund_id, is_of_second_charge }
    }

    /// A refund that nobody asked for here. It gives back money that fitted nothing, or what is left of the payment.
    fn refunded_elsewhere(&self, report: &Report) -> Vec<Event> {
        let Some(amount) = report.money().filter(|amount| amount.minor_units > 0) else {
            return self.unmatched(report, Mismatch::OtherAmount);
        };
        let failed = |kept: &&Kept| {
            kept.mismatch == Some(Mismatch::RefundUnknown)
                && report.is_of(&kept.report.provider_reference)
                && !report.is_later_than(kept.report.occurred_at)
        };
        // Its failure came first.
        match self.payment.reports.values().find(failed).map(|kept| (kept, kept.standing)) {
            Some((_, Standing::Open)) if self.may_be_by_hand(report) => {
                return self.unmatched(report, Mismatch::RefundNotAsked);
            }
            Some((kept, Standing::Open)) => return self.settles(report, kept, "it is the payout that failed"),
            Some((_, Standing::Accepted)) => return vec![],
            Some((_, Standing::Noted | Standing::Returning | Standing::Undone)) | None => {}
        }
        if self.payment.is_of_second_charge(report) {
            return self.second_charge_refunded_elsewhere(report, amount);
        }
        let same = |kept: &Kept| {
            let is_as_much = kept.direction() == Direction::In && kept.report.amount == report.amount;
            is_as_much && report.may_be_refund_of(&kept.report.provider_reference)
        };
        if let Some(kept) = self.open(same) {
            return self.settles(report, kept, "the money went back at the provider");
        }
        if self.may_be_by_hand(report) {
            return self.unmatched(report, Mismatch::RefundNotAsked);
        }
        let is_too_much =
            amount.currency != self.terms.amount.currency || amount.minor_units > self.payment.left_minor();
        if is_too_much || self.payouts(report).any(Kept::is_undone_by_hand) {
            return self.unmatched(report, Mismatch::RefundNotAsked);
        }
        vec![self.elsewhere(report, amount)]
    }

    /// The same of a second charge, whole or in part: it changes what is left of that charge, and nothing of the payment.
    fn second_charge_refunded_elsewhere(&self, report: &Report, amount: Money) -> Vec<Event> {
        let is_in_doubt = self.may_be_by_hand(report) || self.payouts(report).any(Kept::is_undone_by_hand);
        if is_in_doubt || !self.payment.has_of_charge(&report.charge_reference, amount) {
            return self.unmatched(report, Mismatch::RefundNotAsked);
        }
        vec![self.elsewhere(report, amount)]
    }

    fn elsewhere(&self, report: &Report, amount: Money) -> Event {
        let is_of_second_charge = self.payment.is_of_second_charge(report);
        Event::PaymentRefundedElsewhere {
            key: self.key,
            of: RefundOf { is_of_second_charge, ..self.refund_of(self.elsewhere_id(report)) },
            amount,
            provider_reference: report.provider_reference.clone(),
            charge_reference: report.charge_reference.clone(),
            reported: report.into(),
        }
    }

    /// Whether an operator said of as much money that it went back: he was quicker than the report of what he did, or it is of another
    /// payout. Only a person can tell.
    fn may_be_by_hand(&self, report: &Report) -> bool {
        self.payment.reports.values().any(|kept| {
            let is_by_hand = kept.is_undone_by_hand() && kept.direction() == Direction::In;
            let may_be_it = report.may_be_refund_of(&kept.report.provider_reference);
            is_by_hand && may_be_it && kept.report.amount == report.amount
        })
    }

    /// A failure may be that of a payout that fitted nothing, and so settle it.
    fn unmatched_refund(&self, report: &Report, mismatch: Mismatch) -> Vec<Event> {
        let failed = |kept: &Kept| {
            report.kind == Kind::RefundFailed
                && kept.direction() == Direction::Out
                && report.is_of(&kept.report.provider_reference)
        };
        match self.open(failed) {
            // What an operator gave back by hand has come back.
            Some(_) if self.may_be_by_hand(report) => self.unmatched(report, mismatch),
            Some(kept) => self.settles(report, kept, "that payout has failed"),
            None => self.unmatched(report, mismatch),
        }
    }
}

impl Payment {
    /// Whether this report was taken in before, under the provider's own id of it. What is told of a dispute again may be news, if it is
    /// told of a later time: the dispute knows what it has heard.
    fn has_heard(&self, report: &Report) -> bool {
        let id = &report.provider_event_id;
        if report.kind.is_of_dispute() {
            return self.reports.get(id).is_some_and(|kept| kept.mismatch.is_some());
        }
        self.reports.contains_key(id)
            || self.charge.as_ref().is_some_and(|charge| charge.provider_event_id == *id)
            || self.reports.values().any(|kept| kept.settled_by == *id)
    }
}

impl From<&Report> for Reported {
    fn from(report: &Report) -> Self {
        Self { provider_event_id: report.provider_event_id.clone(), occurred_at: report.occurred_at }
    }
}

pub(super) fn unmatched(payment_id: PaymentId, key: Option<HoldKey>, report: &Report, mismatch: Mismatch) -> Event {
    Event::ProviderReportUnmatched { payment_id, key, report: report.clone(), mismatch }
}

/// A failure that changes nothing but this: money of the same charge that fitted nothing was taken back, whatever an operator said of it.
pub(super) fn declined(payment_id: PaymentId, payment: Option<&Payment>, key: HoldKey, report: &Report) -> Vec<Event> {
    let lost = lost(payment, report).into_iter().filter(|kept| kept.may_be_so());
    let settled = lost.map(|kept| taken_back(payment_id, &kept.report, report));
    [Event::PaymentDeclined { payment_id, key, report: report.clone() }].into_iter().chain(settled).collect()
}

/// Money that fitted nothing, of the same charge as this report for sure.
fn unmatched_charges<'a>(payment: Option<&'a Payment>, report: &'a Report) -> impl Iterator<Item = &'a Kept> {
    let reports = payment.into_iter().flat_map(|payment| payment.reports.values());
    let charges = reports.filter(|kept| kept.direction() == Direction::In);
    charges.filter(|kept| report.is_of(&kept.report.provider_reference))
}

/// Money that fitted nothing and was taken back by this failure. Not if it has come again since.
fn lost<'a>(payment: Option<&'a Payment>, failure: &'a Report) -> Vec<&'a Kept> {
    let charges: Vec<&Kept> = unmatched_charges(payment, failure).collect();
    if payment.is_some_and(|payment| is_last_word(payment, failure)) { charges } else { vec![] }
}

/// Whether no report says that the charge of this failure came again after it.
fn is_last_word(payment: &Payment, failure: &Report) -> bool {
    unmatched_charges(Some(payment), failure).all(|kept| is_failure_of(failure, &kept.report))
}

/// Whether the failure is of this charge for sure, and not from before it.
fn is_failure_of(failure: &Report, charge: &Report) -> bool {
    failure.is_of(&charge.provider_reference) && !failure.is_earlier_than(charge.occurred_at)
}

/// Whether both say for sure that the same charge brought money.
fn is_of_same_charge(one: &Kept, other: &Kept) -> bool {
    (one.direction(), other.direction()) == (Direction::In, Direction::In)
        && one.report.is_of(&other.report.provider_reference)
}

/// Whether both say for sure that the same payout was made.
fn is_of_same_payout(one: &Report, other: &Report) -> bool {
    (one.kind, other.kind) == (Kind::RefundSucceeded, Kind::RefundSucceeded) && one.is_of(&other.provider_reference)
}

fn taken_back(payment_id: PaymentId, charge: &Report, failure: &Report) -> Event {
    settled(payment_id, &charge.provider_event_id, &failure.provider_event_id, "the money was taken back")
}

/// A later report settles this one.
pub(super) fn settled(payment_id: PaymentId, provider_event_id: &str, settled_by: &str, note: &str) -> Event {
    Event::ProviderReportResolved {
        payment_id,
        provider_event_id: provider_event_id.to_owned(),
        resolution: ReportResolution::Undone,
        actor: "payments".to_owned(),
        note: note.to_owned(),
        settled_by: settled_by.to_owned(),
    }
}

/// What an operator decided, on what evidence.
pub(super) struct Decided<'a> {
    pub(super) resolution: ReportResolution,
    pub(super) actor: &'a str,
    pub(super) note: &'a str,
}

pub(super) fn resolve(
    payment_id: PaymentId,
    payment: &Payment,
    provider_event_id: &str,
    decided: &Decided<'_>,
) -> Result<Vec<Event>, DecideError> {
    let kept = payment.reports.get(provider_event_id).ok_or_else(|| {
        let reason = format!(
            "no report {provider_event_id:?} is kept of payment {payment_id}: give the id from ProviderReportUnmatched"
        );
        Rejection::new("UNKNOWN_REPORT", reason)
    })?;
    match (kept.standing, decided.resolution) {
        (Standing::Open, _) => {
            let resolved = Event::ProviderReportResolved {
                payment_id,
                provider_event_id: provider_event_id.to_owned(),
                resolution: decided.resolution,
                actor: decided.actor.to_owned(),
                note: decided.note.to_owned(),
                settled_by: String::new(),
            };
            // What was said of a charge or a payout was said of all reports of it.
            let is_same = |other: &&Kept| {
                let is_other = other.report.provider_event_id != provider_event_id && other.is_open();
                is_other && (is_of_same_charge(kept, other) || is_of_same_payout(&kept.report, &other.report))
            };
            let same = payment.reports.values().filter(is_same);
            let settled = same.map(|other| {
                settled(payment_id, &other.report.provider_event_id, provider_event_id, "it is of the same money")
            });
            Ok(std::iter::once(resolved).chain(settled).collect())
        }
        (Standing::Accepted, ReportResolution::Accepted) | (Standing::Undone, ReportResolution::Undone) => Ok(vec![]),
        (Standing::Noted | Standing::Returning | Standing::Accepted | Standing::Undone, _) => Err(Rejection::new(
            "WRONG_STATE",
            format!(
                "report {provider_event_id:?} of payment {payment_id} is {}: there is nothing to decide",
                kept.standing.as_str()
            ),
        ))?,
    }
}

#[cfg(test)]
mod spec;
