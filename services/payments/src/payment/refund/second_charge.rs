//! A second charge of a payment: the buyer has paid twice, and the order needs it once. It is money held that nothing needs, so it goes back by itself,
//! as a refund of its own.
//!
//! | the refund of it             | the report of the charge                  |
//! |------------------------------|-------------------------------------------|
//! | under way, unknown, reversed | returning: nothing is to be done about it |
//! | refunded                     | undone                                    |
//! | rejected                     | open: it waits for an operator            |
//! | made elsewhere, of a part    | open: the rest waits for an operator      |
//!
//! Whatever becomes of it is of that charge alone: it moves none of the payment's own money, and no refund of the payment waits for it.
//!
//! Why it is so: services/payments/README.md#a-second-charge-goes-back-by-itself

use domain::{Money, PaymentId, RefundId, Timestamp, derived};

use super::{Status, submit};
use crate::{
    event::{Event, RefundOf},
    payment::{Payment, PaymentTerms},
    report::{Direction, Kept, Mismatch, Report, Standing},
};

#[cfg(test)]
mod spec;

/// What the refund of a second charge is known by: there is one at most.
fn refund_id(payment_id: PaymentId, charge: &str) -> RefundId {
    RefundId(derived(payment_id.0, &format!("second charge {charge}")))
}

/// These events, and the refunds of second charges that come with them.
pub(in crate::payment) fn give_back(
    payment_id: PaymentId,
    payment: Option<&Payment>,
    events: Vec<Event>,
    at: Timestamp,
) -> Vec<Event> {
    if !events.iter().any(|event| second_charge(event).is_some()) {
        return events;
    }
    let mut after = payment.cloned().unwrap_or_else(|| Payment::new(None));
    events.iter().for_each(|event| after.apply(event));
    let mut submitted = vec![];
    for report in events.iter().filter_map(second_charge) {
        let is_with_a_person =
            payment.is_some_and(|before| before.charge_reports(&report.provider_reference).any(is_decided_by_hand));
        if let Some(event) = submission(payment_id, &after, report, at).filter(|_| !is_with_a_person) {
            after.apply(&event);
            submitted.push(event);
        }
    }
    events.into_iter().chain(submitted).collect()
}

fn second_charge(event: &Event) -> Option<&Report> {
    if let Event::ProviderReportUnmatched { report, mismatch: Mismatch::SecondCharge, .. } = event {
        Some(report)
    } else {
        None
    }
}

/// Whether it is for a person to say, or was, what becomes of the charge that this is reported of: from before such charges went back by themselves, or
/// because the provider gave nothing back.
fn is_decided_by_hand(kept: &Kept) -> bool {
    let waits = matches!(kept.standing, Standing::Open | Standing::Accepted);
    kept.is_undone_by_hand() || (waits && kept.mismatch == Some(Mismatch::SecondCharge))
}

/// The refund of a second charge, if it can be sent without asking anybody: the provider names the charge, it is over what was asked
/// for, by all that is told of it, and none was sent before.
fn submission(payment_id: PaymentId, payment: &Payment, report: &Report, at: Timestamp) -> Option<Event> {
    let charge = report.provider_reference.as_str();
    let terms: &PaymentTerms = payment.terms.as_ref()?;
    let key = payment.key?;
    let amount = report.money().filter(|amount| *amount == terms.amount)?;
    let refund_id = refund_id(payment_id, charge);
    // Of one that is told otherwise as well, only a person can say how much it is.
    // Nor if some of it has gone by another hand.
    let is_told = payment.reports.values().any(|kept| {
        let is_payout = kept.direction() == Direction::Out && kept.may_be_so();
        is_payout && kept.report.charge() == charge
    });
    let is_touched = is_told || payment.moved_of_charge(charge) != (0, 0);
    let is_certain = !is_touched && payment.charge_reports(charge).all(|kept| kept.report.money() == Some(amount));
    let is_open = payment.reports.get(&report.provider_event_id).is_some_and(Kept::is_open);
    if charge.is_empty() || !is_open || !is_certain || payment.refunds.contains_key(&refund_id) {
        return None;
    }
    let of = RefundOf { payment_id, order_id: key.order_id, refund_id, is_of_second_charge: true };
    Some(submit(of, (terms, charge), amount, 1, at))
}

impl Payment {
    /// What is reported of a charge that fitted nothing.
    fn charge_reports<'a>(&'a self, charge: &'a str) -> impl Iterator<Item = &'a Kept> {
        let reports = self.reports.values().filter(|kept| kept.direction() == Direction::In);
        reports.filter(move |kept| kept.report.is_of(charge))
    }

    /// What refunds have given back of a second charge, and what they are to, in minor units.
    fn moved_of_charge(&self, charge: &str) -> (i64, i64) {
        let of_it = self.refunds.values().filter(|refund| refund.second_charge.as_deref() == Some(charge));
        let add = |sum: (i64, i64), more: (i64, i64)| (sum.0.saturating_add(more.0), sum.1.saturating_add(more.1));
        of_it.map(super::Refund::money).fold((0, 0), add)
    }

    /// What of a second charge is neither gone nor promised, in minor units.
    pub(super) fn left_of_charge(&self, charge: &str) -> i64 {
        let is_there = |kept: &&Kept| kept.may_be_so();
        let came = self.charge_reports(charge).filter(is_there).filter_map(|kept| kept.report.money()).max();
        let (gone, promised) = self.moved_of_charge(charge);
        let otherwise = self.reports.values().filter(|kept| {
            let is_gone = kept.direction() == Direction::Out && kept.standing == Standing::Accepted;
            is_gone && kept.report.charge() == charge
        });
        let otherwise = otherwise.filter_map(|kept| kept.report.money()).map(|money| money.minor_units);
        let left = came.map_or(0, |came: Money| came.minor_units).saturating_sub(gone).saturating_sub(promised);
        otherwise.fold(left, i64::saturating_sub)
    }

    /// Whether so much of a second charge can have been given back by others than us: it is there, and in this currency.
    pub(in crate::payment) fn has_of_charge(&self, charge: &str, amount: Money) -> bool {
        let mut came = self.charge_reports(charge).filter_map(|kept| kept.report.money());
        came.all(|came| came.currency == amount.currency) && amount.minor_units <= self.left_of_charge(charge)
    }

    /// What is reported of a second charge stands as its refunds do.
    pub(in crate::payment) fn settle_charge(&mut self, charge: &str) {
        let of_it = |refund: &super::Refund| refund.second_charge.as_deref() == Some(charge);
        if charge.is_empty() || !self.refunds.values().any(of_it) {
            return;
        }
        let (gone, promised) = self.moved_of_charge(charge);
        let last = self.refunds.iter().filter(|(_, refund)| of_it(refund) && refund.status == Status::Refunded);
        let last = last.map(|(refund_id, _)| refund_id.to_string()).next_back().unwrap_or_default();
        let refunds: Vec<String> =
            self.refunds.iter().filter(|(_, refund)| of_it(refund)).map(|(id, _)| id.to_string()).collect();
        for kept in self.reports.values_mut() {
            let is_it = kept.direction() == Direction::In && kept.report.is_of(charge);
            let was_by_refund = kept.standing == Standing::Undone && refunds.contains(&kept.settled_by);
            let is_theirs = matches!(kept.standing, Standing::Open | Standing::Returning) || was_by_refund;
            if !is_it || !is_theirs {
                continue;
            }
            let is_back = kept.report.money().is_some_and(|came| gone >= came.minor_units);
            (kept.standing, kept.settled_by) = match (is_back, promised > 0) {
                (true, _) => (Standing::Undone, last.clone()),
                (false, true) => (Standing::Returning, String::new()),
                (false, false) => (Standing::Open, String::new()),
            };
        }
    }

    /// The same, after an event of a refund.
    pub(in crate::payment) fn settle_charge_of(&mut self, event: &Event) {
        let charge = event.refund().and_then(|of| self.refunds.get(&of.refund_id)?.second_charge.clone());
        if let Some(charge) = charge {
            self.settle_charge(&charge);
        }
    }
}
