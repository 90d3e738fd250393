//! The book of second charges: money that came beside what a payment was asked for, and goes back by itself, as a refund of its own.

use std::collections::BTreeMap;

use domain::PaymentId;
use proto::{common::v1::Money, payments::v1 as wire};

use super::{
    Moment,
    keys::{Keys, move_parts},
};

/// The book, by payment and by what the provider knows the charge by.
#[derive(Debug, Default)]
pub(super) struct SecondCharges(BTreeMap<(PaymentId, String), SecondCharge>);

#[derive(Debug, Default)]
struct SecondCharge {
    /// As it is reported, each amount once.
    came: Vec<Money>,
    /// The reports of it that nothing else has settled, and how much each names.
    reports: BTreeMap<String, i128>,
    /// With the buyer again.
    refunded: i128,
    /// On its way.
    promised: i128,
}

impl SecondCharges {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_parts(&mut self.0, &mut other.0, keys);
    }

    /// Money is reported that fits nothing. Without a name it cannot be told from another, and nothing is done about it here.
    pub(super) fn come(&mut self, payment_id: PaymentId, report: wire::ProviderReport) {
        if !report.provider_reference.is_empty() {
            let charge = self.0.entry((payment_id, report.provider_reference)).or_default();
            let minor = report.amount.as_ref().map_or(0, |amount| amount.minor_units.into());
            let news = report.amount.filter(|amount| !charge.came.contains(amount));
            charge.came.extend(news);
            charge.reports.insert(report.provider_event_id, minor);
        }
    }

    /// A report was settled by another, or by a person, or fits. Whether it was of a second charge.
    pub(super) fn forget(&mut self, (payment_id, report): &(PaymentId, String)) -> bool {
        let of_payment = self.0.range_mut((*payment_id, String::new())..).take_while(|((of, _), _)| of == payment_id);
        of_payment.fold(false, |known, (_, charge)| charge.reports.remove(report).is_some() || known)
    }

    /// Whether so much of it came.
    pub(super) fn has(&self, payment_id: PaymentId, charge: &str, amount: Option<&Money>) -> bool {
        let charge = self.0.get(&(payment_id, charge.to_owned()));
        charge.zip(amount).is_some_and(|(charge, amount)| charge.came.contains(amount))
    }

    /// Moves money of it. Whether as much had come.
    pub(super) fn give_back(&mut self, payment_id: PaymentId, charge: &str, moved: (i128, i128)) -> bool {
        let charge = self.0.entry((payment_id, charge.to_owned())).or_default();
        charge.refunded += moved.0;
        charge.promised += moved.1;
        let came = charge.came.iter().map(|came| i128::from(came.minor_units)).max().unwrap_or(0);
        charge.refunded + charge.promised <= came
    }

    /// While its money is on its way, or gone, no person is asked about it.
    pub(super) fn settle(
        &self,
        payment_id: PaymentId,
        charge: &str,
        open: &mut BTreeMap<(PaymentId, String), Moment>,
        at: Moment,
    ) {
        let Some(charge) = self.0.get(&(payment_id, charge.to_owned())) else { return };
        for (report, minor) in &charge.reports {
            let key = (payment_id, report.clone());
            if charge.promised > 0 || (charge.refunded > 0 && charge.refunded >= *minor) {
                open.remove(&key);
            } else {
                open.entry(key).or_insert(at);
            }
        }
    }
}
