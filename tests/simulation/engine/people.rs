//! What the provider, the buyers and the operators make of what happens.

use std::{collections::BTreeSet, time::Duration};

use domain::{HoldKey, PaymentId, RefundId, Timestamp};
use proto::{
    Message as _, Name,
    inventory::v1::StockRejected,
    orders::v1::{OrderPaid, OrderReserved},
    payments::v1::{
        CheckoutOpened, PaymentRequested, PaymentSucceeded, ProviderEventKind, ProviderReport, RefundResolution,
        RefundResolved, RefundSubmitted, ReportResolution,
    },
    rounds::v1::{RoundReopened, RoundSoldOut, SharesSold},
};
use providers::{registry::checkout, stripe, wallet};
use rand::{Rng, rngs::StdRng};
use runtime::log::event_store::StoredEvent;

use super::{
    Engine, Next,
    money::{Fate, Kept, Payment, Standing, Way},
};
use crate::{
    provider::FakeProvider,
    workload::{
        Intent, buys_again, gives_back, has_second_thoughts, insists, looks_for_page, resolve_refund, resolve_report,
        uuid,
    },
};

/// How often operators look for what waits for them.
const LOOKS_EVERY: Duration = Duration::from_secs(30);

/// How long they let it wait, at least.
const WAITS: Duration = Duration::from_secs(20);

/// So long they wait until the order has heard of a refund that was made elsewhere: decided before that, it could hear of the decision
/// first.
const HEARS_WITHIN: Duration = Duration::from_secs(180);

impl Engine {
    pub(super) fn hear(&mut self, event: &StoredEvent) {
        self.bank.set_clock(self.now);
        let data = event.data.as_slice();
        match proto::short_name(&event.message_type) {
            OrderReserved::NAME => {
                if let Ok(held) = OrderReserved::decode(data)
                    && self.bank.is_early()
                    && let Some(payment) = before_it_is_asked(held)
                    // Money is set aside on a page, which there is once it is asked for; and of a wallet the bank knows nothing.
                    && !payment.payment_method.contains("hold=")
                    && ![wallet::NAME, stripe::NAME].contains(&payment.provider.as_str())
                {
                    self.bank.asked(&payment);
                }
            }
            PaymentRequested::NAME => {
                if let Ok(payment) = PaymentRequested::decode(data)
                    && payment.provider != wallet::NAME
                {
                    self.bank.asked(&payment);
                }
            }
            CheckoutOpened::NAME => {
                let opened = CheckoutOpened::decode(data).unwrap_or_default();
                self.bank.opened(&opened.payment_id);
                let thoughts = looks_for_page(&mut self.rng, self.now, &opened.payment_id);
                thoughts.into_iter().for_each(|intent| self.intend(intent));
            }
            PaymentSucceeded::NAME => {
                let payment = PaymentSucceeded::decode(data).map(|payment| PaymentId::parse(&payment.payment_id));
                if let Ok(Ok(payment_id)) = payment {
                    self.bank.visit_dashboard(payment_id);
                }
            }
            RefundSubmitted::NAME => {
                let refund = RefundSubmitted::decode(data).unwrap_or_default();
                let currency = refund.amount.unwrap_or_default().currency;
                let thoughts = has_second_thoughts(&mut self.rng, self.now, &refund.order_id, &currency);
                thoughts.into_iter().for_each(|intent| self.intend(intent));
            }
            OrderPaid::NAME => {
                let paid = OrderPaid::decode(data).unwrap_or_default();
                let currency = paid.amount.unwrap_or_default().currency;
                let thoughts = has_second_thoughts(&mut self.rng, self.now, &paid.order_id, &currency);
                thoughts.into_iter().for_each(|intent| self.intend(intent));
            }
            StockRejected::NAME => {
                let rejected = StockRejected::decode(data).unwrap_or_default();
                insists(&mut self.rng, self.now, rejected.order_id).into_iter().for_each(|intent| self.intend(intent));
            }
            RefundResolved::NAME => self.pay_by_hand(&RefundResolved::decode(data).unwrap_or_default()),
            RoundSoldOut::NAME => {
                let buyers = self.buyers(&RoundSoldOut::decode(data).unwrap_or_default().round_id);
                gives_back(&mut self.rng, self.now, buyers).into_iter().for_each(|intent| self.intend(intent));
            }
            RoundReopened::NAME => {
                let round = RoundReopened::decode(data).unwrap_or_default();
                let again = buys_again(&mut self.rng, self.now, &round.round_id, self.till);
                again.into_iter().for_each(|intent| self.intend(intent));
            }
            _ => {}
        }
        self.hear_bank();
    }

    /// What the provider reports is sent like any command.
    pub(super) fn hear_bank(&mut self) {
        for (due, report) in self.bank.take_reports() {
            let id = uuid(&mut self.rng);
            let begin = self.begin;
            let references = &mut self.money.references;
            let is_payout = report.kind() == ProviderEventKind::RefundSucceeded;
            references.insert(report.provider_event_id.clone(), (report.provider_reference.clone(), is_payout));
            self.tell(|| {
                let report = report.clone();
                let occurred_at = report.occurred_at.and_then(|at| Timestamp::from_wire("at", Some(at)).ok());
                format!(
                    "at {:.3} s the provider will report {}: {} {} {:?} of payment {} refund {:?}, as of {:.3} s",
                    due.since(begin).as_secs_f64(),
                    report.provider_event_id,
                    report.kind().as_str_name(),
                    report.amount.unwrap_or_default().minor_units,
                    report.provider_reference,
                    report.payment_id,
                    report.refund_id,
                    occurred_at.map_or(0.0, |at| at.since(begin).as_secs_f64())
                )
            });
            self.intend(Intent::new(due, id, &report));
        }
    }

    /// An operator who says that the buyer has the money sees to it.
    fn pay_by_hand(&mut self, resolved: &RefundResolved) {
        let ids = PaymentId::parse(&resolved.payment_id).ok().zip(RefundId::parse(&resolved.refund_id).ok());
        let Some((payment_id, refund_id)) = ids.filter(|_| resolved.resolution() == RefundResolution::Refunded) else {
            return;
        };
        let refund = self.money.payments.get(&payment_id).and_then(|payment| payment.refunds.get(&refund_id));
        if let Some(refund) = refund
            && !self.wallets.has_credited(payment_id, refund_id)
        {
            self.bank.pay_by_hand(payment_id, refund_id, refund.minor);
        }
    }

    /// Orders that have bought shares of a round.
    fn buyers(&self, round_id: &str) -> Vec<String> {
        let sales = self.log.values().filter(|event| event.message_type == SharesSold::full_name());
        let sales = sales.filter_map(|event| SharesSold::decode(event.data.as_slice()).ok());
        sales.filter(|sold| sold.round_id == round_id).map(|sold| sold.order_id).collect()
    }

    /// Operators decide what has waited for them for a while, after asking the provider.
    pub(super) fn operate(&mut self) {
        self.bank.set_clock(self.now);
        let mut intents = Vec::new();
        let due = self.now;
        for (payment_id, payment) in &mut self.money.payments {
            intents.extend(decide_reports(&mut self.rng, &self.bank, due, *payment_id, payment));
            for (refund_id, refund) in payment.refunds.iter().filter(|(_, refund)| refund.is_undecided()) {
                // Two ways at once could both move money.
                let waits = if refund.is_elsewhere { HEARS_WITHIN } else { WAITS };
                if refund.call_open || due.since(refund.since) < waits {
                    continue;
                }
                let has_moved =
                    self.bank.has_moved(*payment_id, *refund_id) || self.wallets.has_credited(*payment_id, *refund_id);
                // What is disputed is not sent again, and perhaps never can be.
                let by_hand =
                    payment.disputes.stop() || refund.standing == Standing::Reversed && self.rng.random_bool(0.5);
                // Now and then nobody asks what became of the first sending, and has it sent again.
                let is_careless = refund.standing == Standing::Unknown
                    && self.bank.finds(*payment_id, *refund_id)
                    && self.rng.random_bool(0.3);
                // The buyer has the whole charge by now.
                let is_paid_beside =
                    payment.payout_beside(refund).is_some_and(|payout| self.bank.stands(*payment_id, payout));
                let resolution = if is_paid_beside {
                    RefundResolution::Abandon
                } else if !is_careless && (has_moved || by_hand) {
                    RefundResolution::Refunded
                } else {
                    RefundResolution::Retry
                };
                let id = uuid(&mut self.rng);
                intents.push(resolve_refund(due, id, *payment_id, *refund_id, resolution));
            }
        }
        intents.into_iter().for_each(|intent| self.intend(intent));
        self.hear_bank();
        self.soon(LOOKS_EVERY, Next::Operate);
    }
}

/// What operators do about the reports that have waited for them for a while.
fn decide_reports(
    rng: &mut StdRng,
    bank: &FakeProvider,
    now: Timestamp,
    payment_id: PaymentId,
    payment: &mut Payment,
) -> Vec<Intent> {
    let mut intents = Vec::new();
    // A payout by hand that has failed leaves the money where it was, and is forgotten for the next one.
    for kept in payment.kept.values_mut().filter(|kept| kept.fate == Fate::Open) {
        kept.given_back = kept.given_back.take().filter(|reference| bank.stands(payment_id, reference));
    }
    let has_gone = |kept: &Kept| kept.given_back.as_ref().is_some_and(|reference| bank.stands(payment_id, reference));
    let counts = |kept: &Kept| matches!(kept.fate, Fate::Accepted | Fate::Balanced | Fate::Returning) || has_gone(kept);
    let counted = |(id, kept): (&String, &Kept)| counts(kept).then(|| (id.clone(), kept.name()));
    let mut counted: Vec<(String, String)> = payment.kept.iter().filter_map(counted).collect();
    let mut looked_at = BTreeSet::new();
    // What they did themselves goes with the money that it gave back, whose report may have been accepted, or have found its payment, by
    // the time they are heard: so that one first.
    let gave_back = |fits: fn(&Kept) -> bool| -> BTreeSet<String> {
        payment.kept.values().filter(|kept| fits(kept)).filter_map(|kept| kept.given_back.clone()).collect()
    };
    let not_settled = gave_back(|kept| kept.fate == Fate::Open);
    // Money that another payout has settled, which may have failed, is not what theirs gave back.
    let by_hand = gave_back(|kept| kept.fate != Fate::Accepted && !kept.is_settled_beside);
    let open = |kept: &Kept| kept.fate == Fate::Open && now.since(kept.since) >= WAITS;
    for (id, kept) in payment.kept.iter_mut().filter(|(_, kept)| open(kept)) {
        let name = kept.name();
        if kept.way == Way::Out && not_settled.contains(&kept.report.provider_reference) {
            continue;
        }
        // What they say of a charge they say of all reports of it.
        if kept.way == Way::In && !kept.report.provider_reference.is_empty() && !looked_at.insert(name.clone()) {
            continue;
        }
        // The same money, reported twice, counts once.
        let is_so = bank.is_so(payment_id, &kept.report)
            && !counted.iter().any(|(other, counted)| other != id && *counted == name)
            && !(kept.way == Way::Out && by_hand.contains(&kept.report.provider_reference));
        if is_so && kept.given_back.is_none() && kept.way == Way::In && rng.random_bool(0.5) {
            kept.given_back = bank.give_back(payment_id, &kept.report.provider_reference, kept.minor());
            if counts(kept) {
                counted.push((id.clone(), name.clone()));
            }
            // Either they say so at once, if nothing went wrong, or they wait for the report of it.
            if !has_gone(kept) || rng.random_bool(0.5) {
                continue;
            }
        }
        let resolution = if is_so && !has_gone(kept) { ReportResolution::Accepted } else { ReportResolution::Undone };
        if is_so {
            counted.push((id.clone(), name));
        }
        intents.push(resolve_report(now, uuid(rng), payment_id, &kept.report.provider_event_id, resolution));
    }
    intents
}

impl Kept {
    /// What its money is known by at the provider.
    fn name(&self) -> String {
        let ProviderReport { kind, provider_reference, refund_id, dispute, .. } = &self.report;
        // Two disputes of one charge are two.
        let dispute_id = dispute.as_ref().map_or("", |dispute| &dispute.dispute_id);
        format!("{kind} {provider_reference} {refund_id} {dispute_id}")
    }

    fn minor(&self) -> i64 {
        self.report.amount.as_ref().map_or(0, |amount| amount.minor_units)
    }
}

/// The payment that is going to be asked for, as a provider sees it who is quicker than the word of it.
fn before_it_is_asked(held: OrderReserved) -> Option<PaymentRequested> {
    let payment_id = HoldKey::parse(&held.order_id, held.attempt).ok()?.payment_id();
    let checkout = checkout(payment_id, &held.payment_method);
    Some(PaymentRequested {
        payment_id: payment_id.to_string(),
        order_id: held.order_id,
        attempt: held.attempt,
        amount: held.amount,
        provider: checkout.provider,
        provider_reference: checkout.reference,
        checkout_url: checkout.url,
        payment_method: held.payment_method,
        expires_at: held.expires_at,
        checkout_ends_at: None,
        reference: held.reference,
    })
}
