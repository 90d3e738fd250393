//! What each event makes of a payment: total, and without a second thought.

use domain::{HoldKey, Money, StreamVersion};

use super::{
    Charge, Payment, PaymentTerms, State, Status,
    checkout::{Page, PageStatus},
    refund::{self, Refund},
};
use crate::{
    coupon,
    event::{CheckoutStep, Event, RefundOf, ReportResolution, Reported, Resolution, StreamId},
    report::{Kept, Kind, Report, ReportedMoney, Standing},
    wallet,
};

/// Reports that change nothing are remembered up to so many a payment: beyond, one that comes again is noted again.
pub const NOTES_MAX: usize = 100;

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub fn evolve(state: &mut State, event: &Event) {
    let payment_id = match event.owner() {
        StreamId::Payment(payment_id) => payment_id,
        StreamId::Coupon(_) | StreamId::Use(_) | StreamId::Wallet(_) | StreamId::Funds(_) => {
            return evolve_others(state, event);
        }
    };
    if state.payments.get(&payment_id).is_none()
        && let Some(payment) = opened(event)
    {
        state.payments.create(payment_id, payment);
    }
    if let Some(payment) = state.payments.change(&payment_id) {
        payment.version = payment.version.next();
        payment.apply(event);
    }
}

/// What is of no payment's stream.
fn evolve_others(state: &mut State, event: &Event) {
    if let Event::Coupon(event) = event {
        coupon::evolve(state, event);
    }
    if let Event::Wallet(event) = event {
        wallet::evolve(state, event);
    }
}

/// The payment, if this event can be the first of one.
fn opened(event: &Event) -> Option<Payment> {
    match event {
        Event::PaymentRequested { key, .. } | Event::PaymentCancelled { key, .. } => Some(Payment::new(Some(*key))),
        Event::ProviderReportUnmatched { key, .. } => Some(Payment::new(*key)),
        Event::PaymentSucceeded { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentFailed { .. }
        | Event::Checkout(_)
        | Event::ProviderReportResolved { .. }
        | Event::RefundDeferred { .. }
        | Event::RefundSubmitted { .. }
        | Event::PaymentRefunded { .. }
        | Event::PaymentRefundedElsewhere { .. }
        | Event::RefundAnswered { .. }
        | Event::RefundRejected { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundReversed { .. }
        | Event::RefundResolved { .. }
        | Event::Authorisation(_)
        | Event::Dispute(_)
        | Event::Coupon(_)
        | Event::Wallet(_) => None,
    }
}

impl Payment {
    pub(super) const fn new(key: Option<HoldKey>) -> Self {
        Self {
            key,
            status: Status::Unasked,
            terms: None,
            page: None,
            authorisations: std::collections::BTreeMap::new(),
            disputes: std::collections::BTreeMap::new(),
            charge: None,
            captured_minor: 0,
            refunded_minor: 0,
            refunding_minor: 0,
            refunds: std::collections::BTreeMap::new(),
            reports: std::collections::BTreeMap::new(),
            version: StreamVersion::new(0),
        }
    }

    /// It, as it is after this event.
    pub(super) fn after(&self, event: &Event) -> Self {
        let mut after = self.clone();
        after.apply(event);
        after
    }

    /// What an event changes, but for the count of events.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::PaymentRequested { .. } | Event::Checkout(_) => self.take_in_page(event),
            Event::PaymentSucceeded { amount, provider_event_id, provider_reference, occurred_at, .. } => {
                self.status = Status::Succeeded;
                self.captured_minor = amount.minor_units;
                self.charge = Some(Charge {
                    provider_event_id: provider_event_id.clone(),
                    reference: provider_reference.clone(),
                    occurred_at: *occurred_at,
                });
                self.note(provider_event_id);
                self.capture(provider_reference);
            }
            Event::Authorisation(event) => self.take_in_authorisation(event),
            Event::Dispute(event) => self.take_in_dispute(event),
            Event::PaymentDeclined { report, .. } => self.keep_note(report),
            Event::PaymentFailed { reason, provider_event_id, .. } => {
                self.status = Status::Failed;
                self.note_or_keep(Report {
                    kind: Kind::PaymentClosed,
                    provider_event_id: provider_event_id.clone(),
                    provider_reference: String::new(),
                    refund_id: String::new(),
                    amount: None,
                    reason: reason.clone(),
                    occurred_at: None,
                    dispute: None,
                    charge_reference: String::new(),
                });
            }
            Event::PaymentCancelled { key, .. } => {
                self.key = Some(*key);
                self.status = Status::Cancelled;
            }
            Event::ProviderReportUnmatched { report, mismatch, .. } => {
                let kept = Kept {
                    report: report.clone(),
                    mismatch: Some(*mismatch),
                    standing: Standing::Open,
                    settled_by: String::new(),
                };
                self.reports.insert(report.provider_event_id.clone(), kept);
                self.settle_charge(&report.provider_reference);
            }
            Event::ProviderReportResolved { provider_event_id, resolution, settled_by, .. } => {
                if let Some(kept) = self.reports.get_mut(provider_event_id) {
                    kept.standing = match resolution {
                        ReportResolution::Accepted => Standing::Accepted,
                        ReportResolution::Undone => Standing::Undone,
                    };
                    kept.settled_by.clone_from(settled_by);
                }
            }
            Event::RefundDeferred { .. }
            | Event::RefundSubmitted { .. }
            | Event::PaymentRefunded { .. }
            | Event::PaymentRefundedElsewhere { .. }
            | Event::RefundAnswered { .. }
            | Event::RefundRejected { .. }
            | Event::RefundOutcomeUnknown { .. }
            | Event::RefundReversed { .. }
            | Event::RefundResolved { .. } => {
                self.take_in_refund(event);
                self.settle_charge_of(event);
            }
            // It is of no payment.
            Event::Coupon(_) | Event::Wallet(_) => {}
        }
    }

    /// Who is asked, and on which page.
    fn take_in_page(&mut self, event: &Event) {
        match event {
            Event::PaymentRequested {
                payment_id: _,
                key,
                amount,
                checkout,
                payment_method,
                order_reference,
                expires_at,
                checkout_ends_at,
            } => {
                self.page = checkout_ends_at.map(|ends_at| Page::opening(1, ends_at));
                self.key = Some(*key);
                self.status = Status::Requested;
                self.terms = Some(PaymentTerms {
                    amount: *amount,
                    provider: checkout.provider.clone(),
                    reference: checkout.reference.clone(),
                    payment_method: payment_method.clone(),
                    order_reference: order_reference.clone(),
                    expires_at: *expires_at,
                });
            }
            Event::Checkout(event) => self.turn_page(&event.step),
            Event::PaymentSucceeded { .. }
            | Event::PaymentDeclined { .. }
            | Event::PaymentFailed { .. }
            | Event::PaymentCancelled { .. }
            | Event::ProviderReportUnmatched { .. }
            | Event::ProviderReportResolved { .. }
            | Event::RefundDeferred { .. }
            | Event::RefundSubmitted { .. }
            | Event::PaymentRefunded { .. }
            | Event::PaymentRefundedElsewhere { .. }
            | Event::RefundAnswered { .. }
            | Event::RefundRejected { .. }
            | Event::RefundOutcomeUnknown { .. }
            | Event::RefundReversed { .. }
            | Event::RefundResolved { .. }
            | Event::Authorisation(_)
            | Event::Dispute(_)
            | Event::Coupon(_)
            | Event::Wallet(_) => {}
        }
    }

    fn take_in_refund(&mut self, event: &Event) {
        match event {
            Event::RefundDeferred { of, amount, reason } => {
                self.move_refund(*of, *amount, refund::Status::Deferred).reason.clone_from(reason);
            }
            Event::RefundSubmitted { of, amount, idempotency_key, deadline, charge_reference, .. } => {
                let refund = self.move_refund(*of, *amount, refund::Status::Refunding);
                refund.send_count += 1;
                refund.key.clone_from(idempotency_key);
                refund.deadline = Some(*deadline);
                refund.call_open = true;
                refund.second_charge = of.is_of_second_charge.then(|| charge_reference.clone());
                // What was known is of an earlier sending: this one gets a reference of its own.
                refund.know("");
            }
            Event::PaymentRefunded { of, amount, provider_reference, reported } => {
                let refund = self.move_refund(*of, *amount, refund::Status::Refunded);
                refund.refunded_once = true;
                refund.hear(provider_reference, reported.as_ref());
                self.note_reported(Kind::RefundSucceeded, of, *amount, provider_reference, reported.as_ref());
            }
            Event::PaymentRefundedElsewhere { of, amount, provider_reference, charge_reference, reported, .. } => {
                let refund = self.move_refund(*of, *amount, refund::Status::Refunded);
                refund.refunded_once = true;
                refund.second_charge = of.is_of_second_charge.then(|| charge_reference.clone());
                refund.hear(provider_reference, Some(reported));
                self.note_reported(Kind::RefundSucceeded, of, *amount, provider_reference, Some(reported));
            }
            Event::RefundAnswered { of, provider_reference, .. } => {
                if let Some(refund) = self.refunds.get_mut(&of.refund_id) {
                    refund.call_open = false;
                    if refund.provider_reference.is_empty() {
                        refund.know(provider_reference);
                    }
                }
            }
            Event::RefundRejected { of, amount, rejection, provider_reference, reported } => {
                let refund = self.move_refund(*of, *amount, refund::Status::Rejected);
                refund.reason = rejection.to_string();
                refund.hear(provider_reference, reported.as_ref());
                self.note_reported(Kind::RefundFailed, of, *amount, provider_reference, reported.as_ref());
            }
            Event::RefundOutcomeUnknown { of, evidence } => {
                if let Some(amount) = self.refunds.get(&of.refund_id).map(|refund| refund.amount) {
                    let refund = self.move_refund(*of, amount, refund::Status::Unknown);
                    refund.reason.clone_from(evidence);
                    refund.call_open = false;
                }
            }
            Event::RefundReversed { of, amount, reason, provider_reference, reported } => {
                let refund = self.move_refund(*of, *amount, refund::Status::Reversed);
                refund.reason.clone_from(reason);
                refund.hear(provider_reference, reported.as_ref());
                self.note_reported(Kind::RefundFailed, of, *amount, provider_reference, reported.as_ref());
            }
            Event::RefundResolved { of, resolution, actor, note } => {
                self.resolve_refund(of, *resolution, format!("{actor}: {note}"));
            }
            Event::PaymentRequested { .. }
            | Event::PaymentSucceeded { .. }
            | Event::PaymentDeclined { .. }
            | Event::PaymentFailed { .. }
            | Event::PaymentCancelled { .. }
            | Event::Checkout(_)
            | Event::ProviderReportUnmatched { .. }
            | Event::ProviderReportResolved { .. }
            | Event::Authorisation(_)
            | Event::Dispute(_)
            | Event::Coupon(_)
            | Event::Wallet(_) => {}
        }
    }

    fn resolve_refund(&mut self, of: &RefundOf, resolution: Resolution, reason: String) {
        if let Some(refund) = self.refunds.get_mut(&of.refund_id) {
            refund.reason = reason;
            if resolution == Resolution::Refunded {
                // The buyer has the money whatever became of the payout that was known.
                refund.know("");
            }
        }
    }

    /// A report said so of a refund. It is remembered, or the same one would be news when it comes again after the refund went on.
    fn note_reported(
        &mut self,
        kind: Kind,
        of: &RefundOf,
        amount: Money,
        provider_reference: &str,
        reported: Option<&Reported>,
    ) {
        let Some(Reported { provider_event_id, occurred_at }) = reported else { return };
        self.note_or_keep(Report {
            kind,
            provider_event_id: provider_event_id.clone(),
            provider_reference: provider_reference.to_owned(),
            refund_id: of.refund_id.to_string(),
            amount: Some(ReportedMoney { minor_units: amount.minor_units, currency: amount.currency.to_string() }),
            reason: String::new(),
            occurred_at: *occurred_at,
            dispute: None,
            charge_reference: String::new(),
        });
    }

    fn note_or_keep(&mut self, report: Report) {
        if self.reports.contains_key(&report.provider_event_id) {
            self.note(&report.provider_event_id);
        } else {
            self.keep_note(&report);
        }
    }

    /// A report that had fitted nothing does fit, now that more is known.
    pub(super) fn note(&mut self, provider_event_id: &str) {
        if let Some(kept) = self.reports.get_mut(provider_event_id) {
            kept.standing = Standing::Noted;
            kept.mismatch = None;
        }
    }

    fn turn_page(&mut self, step: &CheckoutStep) {
        let status = match step {
            // Without a link there is no page: the money is set aside already.
            CheckoutStep::Opened { page, .. } if page.url.is_empty() => PageStatus::Closed,
            CheckoutStep::Opened { .. } => PageStatus::Open,
            // What is found is told by what follows.
            CheckoutStep::LookSubmitted { .. } => PageStatus::Open,
            CheckoutStep::Failed(_) => PageStatus::Failed,
            CheckoutStep::Abandoned { is_replaced: false, .. } => PageStatus::Closing,
            CheckoutStep::Abandoned { is_replaced: true, .. } => PageStatus::Replacing,
            CheckoutStep::Closed(_) => PageStatus::Closed,
            CheckoutStep::Requested { page, ends_at, .. } => {
                self.page = Some(Page::opening(*page, *ends_at));
                PageStatus::Opening
            }
        };
        if let Some(page) = &mut self.page {
            page.status = status;
        }
        if let (Some(page), CheckoutStep::Opened { look_at, .. } | CheckoutStep::LookSubmitted { look_at, .. }) =
            (&mut self.page, step)
        {
            page.look_at = *look_at;
        }
        let CheckoutStep::Opened { page: opened, .. } = step else { return };
        if let Some(page) = &mut self.page {
            page.url.clone_from(&opened.url);
        }
        if let Some(terms) = &mut self.terms {
            terms.reference.clone_from(&opened.reference);
        }
    }

    fn keep_note(&mut self, report: &Report) {
        let id = &report.provider_event_id;
        if self.reports.contains_key(id) || self.reports.len() < NOTES_MAX {
            let kept =
                Kept { report: report.clone(), mismatch: None, standing: Standing::Noted, settled_by: String::new() };
            self.reports.insert(id.clone(), kept);
        }
    }

    /// Moves a refund, and its money, to another status. That of a second charge is none of the payment's own.
    fn move_refund(&mut self, of: RefundOf, amount: Money, status: refund::Status) -> &mut Refund {
        let refund = self.refunds.entry(of.refund_id).or_insert_with(|| Refund::new(amount));
        let own = |refund: &Refund| if of.is_of_second_charge { (0, 0) } else { refund.money() };
        let (refunded, refunding) = own(refund);
        self.refunded_minor -= refunded;
        self.refunding_minor -= refunding;
        refund.status = status;
        refund.deadline = None;
        let (refunded, refunding) = own(refund);
        self.refunded_minor += refunded;
        self.refunding_minor += refunding;
        refund
    }
}
