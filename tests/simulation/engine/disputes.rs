//! What the log says of disputes, counted once more: what each took and gave back, and whether its order knows.

use std::collections::BTreeMap;

use domain::PaymentId;
use proto::{
    Name,
    common::v1::{Dispute, DisputeStanding},
    orders::v1 as orders,
    payments::v1::{self as payments, ProviderEventKind, ProviderReport},
};
use runtime::log::event_store::StoredEvent;

use super::money::{Fate, Money, Payment, minor, payment, read};

/// Disputes of one payment, by the provider's own id of each.
#[derive(Debug, Default)]
pub(super) struct Disputes {
    cases: BTreeMap<String, Case>,
}

#[derive(Debug, Default)]
struct Case {
    revision: i32,
    stops: bool,
    charged_back: i64,
    /// The last word that orders has heard.
    heard: i32,
}

impl Case {
    /// An event after which it stands so, and which has moved so much.
    fn take(&mut self, dispute: &Dispute, moved: i64) -> Result<(), String> {
        if dispute.revision != self.revision + 1 {
            return Err(format!("dispute {} goes from {} to {}", dispute.dispute_id, self.revision, dispute.revision));
        }
        self.revision = dispute.revision;
        self.charged_back += moved;
        let whole = minor(dispute.withdrawn.as_ref()) - minor(dispute.reinstated.as_ref());
        if whole != self.charged_back {
            let (id, counted) = (&dispute.dispute_id, self.charged_back);
            return Err(format!("dispute {id} has taken {whole}, and its events tell of {counted}"));
        }
        let is_over = matches!(dispute.standing(), DisputeStanding::Won | DisputeStanding::Ended);
        self.stops = !is_over && !dispute.refundable && !dispute.of_second_charge;
        Ok(())
    }
}

impl Disputes {
    /// Whether no refund may be sent.
    pub(super) fn stop(&self) -> bool {
        self.cases.values().any(|case| case.stops)
    }

    /// A dispute whose last word its order has not heard.
    fn unheard(&self) -> Option<&str> {
        self.cases.iter().find(|(_, case)| case.heard != case.revision).map(|(id, _)| id.as_str())
    }
}

impl Money {
    /// Something of a dispute. False: the event is about something else.
    pub(super) fn take_dispute(&mut self, name: &str, event: &StoredEvent) -> Result<bool, String> {
        let direction = match name {
            payments::PaymentDisputed::NAME | payments::DisputeClosed::NAME => 0,
            payments::DisputeFundsWithdrawn::NAME => 1,
            payments::DisputeFundsReinstated::NAME => -1,
            _ => return Ok(false),
        };
        // All four have the same fields, but for the amount.
        let told = read::<payments::DisputeFundsWithdrawn>(event)?;
        let moved = direction * minor(told.amount.as_ref());
        let payment = self.of(&told.payment_id)?;
        payment.fits(&told.provider_event_id);
        let dispute = told.dispute.unwrap_or_default();
        payment.disputes.cases.entry(dispute.dispute_id.clone()).or_default().take(&dispute, moved)?;
        Ok(true)
    }

    /// An order hears of one.
    pub(super) fn order_hears_of_dispute(&mut self, event: &StoredEvent) -> Result<(), String> {
        let orders::OrderDisputed { payment_id, dispute, .. } = read(event)?;
        let dispute = dispute.unwrap_or_default();
        let of = payment(&payment_id)?;
        let case = self.payments.get_mut(&of).and_then(|payment| payment.disputes.cases.get_mut(&dispute.dispute_id));
        match case {
            Some(case) if (case.heard + 1..=case.revision).contains(&dispute.revision) => case.heard = dispute.revision,
            Some(_) | None => return Err(format!("an order hears what is not new of {dispute:?} of {payment_id}")),
        }
        Ok(())
    }
}

impl Payment {
    /// What disputes took and did not give back, as the log has it: also of what was never asked for, if that is so.
    fn charged_back(&self) -> i64 {
        let told: i64 = self.disputes.cases.values().map(|case| case.charged_back).sum();
        let kept = self.kept.values().filter(|kept| matches!(kept.fate, Fate::Open | Fate::Accepted));
        told + kept.map(|kept| moved(&kept.report)).sum::<i64>()
    }

    /// What does not agree with what the provider's disputes have moved.
    pub(super) fn check_disputes(&self, payment_id: PaymentId, moved: i64) -> Result<(), String> {
        let counted = self.charged_back();
        if counted != moved {
            let what = "were charged back at the provider, and the log counts";
            return Err(format!("of payment {payment_id} {moved} {what} {counted}"));
        }
        match self.disputes.unheard() {
            Some(id) => Err(format!("the order of payment {payment_id} does not know of dispute {id}")),
            None => Ok(()),
        }
    }
}

/// What a report about a dispute that fits nothing says that it took.
fn moved(report: &ProviderReport) -> i64 {
    let direction = if report.kind() == ProviderEventKind::DisputeFundsWithdrawn {
        1
    } else if report.kind() == ProviderEventKind::DisputeFundsReinstated {
        -1
    } else {
        0
    };
    direction * minor(report.amount.as_ref())
}
