//! The book of money: what was asked, what came, what is promised to refunds, and what went back.

use std::collections::{BTreeMap, BTreeSet};

use domain::{HoldKey, PaymentId, decode, written};
use proto::{Name, common::v1::Money, payments::v1 as wire};

use super::{
    Moment, Unbooked,
    authorisations::Authorisations,
    disputes::{Disputes, Told},
    keys::{Keys, move_each, move_parts},
    second_charges::SecondCharges,
};
use crate::report::{Check, Findings};

/// What becomes of refunds is in their own book.
const OF_NO_CONCERN: [&str; 9] = [
    wire::RefundDeferred::NAME,
    wire::RefundSubmitted::NAME,
    wire::PaymentRefunded::NAME,
    wire::PaymentRefundedElsewhere::NAME,
    wire::RefundAnswered::NAME,
    wire::RefundRejected::NAME,
    wire::RefundOutcomeUnknown::NAME,
    wire::RefundReversed::NAME,
    wire::RefundResolved::NAME,
];

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Payments {
    pub(crate) payments: BTreeMap<PaymentId, Payment>,
    /// Reports that fit nothing and wait for a person, by payment and by the provider's own id.
    pub(crate) open_reports: BTreeMap<(PaymentId, String), Moment>,
    /// The charges that reports are of which fitted nothing, as far as they name them.
    charges_of_reports: BTreeMap<(PaymentId, String), String>,
    /// Those of which an operator has said that they are so.
    accepted_reports: BTreeSet<(PaymentId, String)>,
    pub(crate) disputes: Disputes,
    second_charges: SecondCharges,
}

/// A payment. Sums are wide enough that no sum of wrong events overflows.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub(crate) key: HoldKey,
    asked: Option<Money>,
    /// Who is to take the money.
    provider: String,
    /// Whether the buyer can still pay.
    pub(crate) is_asking: bool,
    /// The page that the provider is called for, if it must be.
    page: Option<Page>,
    pub(crate) captured: Option<Money>,
    /// What the provider knows the charge by that brought it; empty if it never said.
    charge: String,
    /// Under way, unknown or reversed: not with the shop for long, one way or the other.
    pub(crate) promised: i128,
    /// With the buyer again.
    pub(crate) refunded: i128,
    /// What orders counts as given back.
    pub(crate) given_back: i128,
    /// When it was last asked, paid, failed or cancelled.
    pub(crate) since: Moment,
    /// Whether a breach was told already.
    breached: bool,
}

/// How far a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Opening,
    Open,
    Closing,
    /// Another is to be opened, if nobody has paid on it.
    Replacing,
    /// Nobody has, so another may be opened.
    Unpaid,
    Closed,
}

impl Payment {
    const fn new(key: HoldKey, since: Moment) -> Self {
        Self {
            key,
            asked: None,
            provider: String::new(),
            is_asking: false,
            page: None,
            captured: None,
            charge: String::new(),
            promised: 0,
            refunded: 0,
            given_back: 0,
            since,
            breached: false,
        }
    }

    pub(crate) fn captured_minor(&self) -> i128 {
        self.captured.as_ref().map_or(0, |captured| captured.minor_units.into())
    }

    /// So many minor units of its currency, for people.
    pub(crate) fn written(&self, minor_units: i128) -> String {
        let money = self.captured.as_ref().or(self.asked.as_ref());
        written(minor_units, money.map_or("", |money| money.currency.as_str()))
    }
}

/// Name of a payment's stream.
pub(crate) fn payment_name(payment_id: PaymentId) -> String {
    format!("payment-{payment_id}")
}

impl Payments {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_each(&mut self.payments, &mut other.payments, &keys.payments);
        move_parts(&mut self.open_reports, &mut other.open_reports, keys);
        move_parts(&mut self.charges_of_reports, &mut other.charges_of_reports, keys);
        let accepted = self.accepted_reports.extract_if(.., |(payment_id, _)| keys.payments.contains(payment_id));
        other.accepted_reports.extend(accepted);
        self.disputes.move_to(&mut other.disputes, keys);
        self.second_charges.move_to(&mut other.second_charges, keys);
    }

    /// What came in with a payment.
    pub(super) fn captured(&self, payment_id: PaymentId) -> Option<&Money> {
        self.payments.get(&payment_id)?.captured.as_ref()
    }

    /// The money that a buyer had set aside is gone: nobody is asked any more.
    pub(super) fn is_given_up(&mut self, payment_id: PaymentId, at: Moment) {
        if let Some(payment) = self.payments.get_mut(&payment_id).filter(|payment| payment.is_asking) {
            (payment.is_asking, payment.since) = (false, at);
        }
    }

    /// Whether the buyer was asked for so much.
    pub(super) fn is_asked_for(&self, payment_id: PaymentId, amount: Option<&Money>) -> bool {
        self.payments.get(&payment_id).is_some_and(|payment| payment.asked.as_ref() == amount && amount.is_some())
    }

    /// Whether the buyer was asked for so much, to be paid so.
    pub(super) fn is_asked_of(&self, provider: &str, payment_id: PaymentId, amount: &Money) -> bool {
        let payment = self.payments.get(&payment_id).filter(|payment| payment.provider == provider);
        payment.is_some_and(|payment| payment.asked.as_ref() == Some(amount))
    }

    /// Payments that this provider is to take.
    pub(super) fn of(&self, provider: &str) -> impl Iterator<Item = (&PaymentId, &Payment)> {
        self.payments.iter().filter(move |(_, payment)| payment.provider == provider)
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        authorisations: &mut Authorisations,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            wire::PaymentSucceeded::NAME => {
                let wire::PaymentSucceeded { payment_id, amount, provider_event_id, provider_reference, .. } =
                    decode(data)?;
                let payment_id = PaymentId::parse(&payment_id)?;
                authorisations.came(payment_id, &provider_reference);
                self.fits(payment_id, &provider_event_id);
                let Some(payment) = self.payments.get_mut(&payment_id).filter(|payment| payment.asked.is_some()) else {
                    wrong(payment_id, "it was paid although nobody was asked", at, findings);
                    return Ok(());
                };
                if payment.asked != amount {
                    wrong(payment_id, "another amount came than was asked for", at, findings);
                }
                payment.is_asking = false;
                payment.since = at;
                payment.charge = provider_reference;
                if std::mem::replace(&mut payment.captured, amount).is_some() {
                    wrong(payment_id, "its money came twice", at, findings);
                }
            }
            wire::PaymentFailed::NAME => {
                let wire::PaymentFailed { payment_id, provider_event_id, .. } = decode(data)?;
                let payment_id = PaymentId::parse(&payment_id)?;
                self.fits(payment_id, &provider_event_id);
                match self.payments.get_mut(&payment_id).filter(|payment| payment.is_asking) {
                    Some(payment) => (payment.is_asking, payment.since) = (false, at),
                    None => wrong(payment_id, "it failed although nobody was being asked", at, findings),
                }
            }
            wire::PaymentCancelled::NAME => {
                let wire::PaymentCancelled { payment_id, order_id, attempt } = decode(data)?;
                let (payment_id, key) = (PaymentId::parse(&payment_id)?, HoldKey::parse(&order_id, attempt)?);
                match self.payments.get_mut(&payment_id) {
                    Some(payment) if payment.is_asking => (payment.is_asking, payment.since) = (false, at),
                    Some(_) => wrong(payment_id, "it was cancelled although nobody was being asked", at, findings),
                    None => drop(self.payments.insert(payment_id, Payment::new(key, at))),
                }
            }
            wire::PaymentDeclined::NAME => {
                let wire::PaymentDeclined { payment_id, report, .. } = decode(data)?;
                self.fits(PaymentId::parse(&payment_id)?, &report.unwrap_or_default().provider_event_id);
            }
            wire::ProviderReportUnmatched::NAME => {
                let event: wire::ProviderReportUnmatched = decode(data)?;
                let payment_id = PaymentId::parse(&event.payment_id)?;
                let report = event.report.unwrap_or_default();
                let key = (payment_id, report.provider_event_id.clone());
                self.accepted_reports.remove(&key);
                self.charges_of_reports.insert(key.clone(), charge_of(&report).to_owned());
                self.open_reports.insert(key, at);
                if report.kind() == wire::ProviderEventKind::PaymentSucceeded {
                    let charge = report.provider_reference.clone();
                    self.second_charges.come(payment_id, report);
                    self.second_charges.settle(payment_id, &charge, &mut self.open_reports, at);
                }
            }
            wire::ProviderReportResolved::NAME => {
                let resolved: wire::ProviderReportResolved = decode(data)?;
                let payment_id = PaymentId::parse(&resolved.payment_id)?;
                if !self.settles(payment_id, &resolved) {
                    wrong(payment_id, "a report was settled that waited for nobody", at, findings);
                }
            }
            name if OF_NO_CONCERN.contains(&name) => {}
            name => self.take_page(name, data, at, findings)?,
        }
        Ok(())
    }

    /// Who is asked, and on which page.
    fn take_page(&mut self, name: &str, data: &[u8], at: Moment, findings: &mut Findings) -> Result<(), Unbooked> {
        match name {
            wire::PaymentRequested::NAME => {
                let event: wire::PaymentRequested = decode(data)?;
                let wire::PaymentRequested { payment_id, order_id, attempt, amount, checkout_ends_at, .. } = event;
                let payment_id = PaymentId::parse(&payment_id)?;
                let key = HoldKey::parse(&order_id, attempt)?;
                let page = checkout_ends_at.map(|_| Page::Opening);
                let provider = event.provider;
                let asked = Payment { asked: amount, provider, is_asking: true, page, ..Payment::new(key, at) };
                if asked.asked.as_ref().is_some_and(|asked| asked.minor_units < 1) {
                    wrong(payment_id, "the buyer is asked for nothing", at, findings);
                }
                if key.payment_id() != payment_id {
                    wrong(payment_id, "it has the id of another attempt's payment", at, findings);
                }
                if self.payments.insert(payment_id, asked).is_some() {
                    wrong(payment_id, "it was asked for although there was one already", at, findings);
                }
            }
            wire::CheckoutOpened::NAME => {
                let wire::CheckoutOpened { payment_id, checkout_url, .. } = decode(data)?;
                // Without a link there is no page: the money is set aside already.
                let after = if checkout_url.is_empty() { Page::Closed } else { Page::Open };
                self.turn_page(&payment_id, &[(Page::Opening, after)], at, findings)?;
            }
            wire::CheckoutLookSubmitted::NAME => {
                let wire::CheckoutLookSubmitted { payment_id, .. } = decode(data)?;
                self.turn_page(&payment_id, &[(Page::Open, Page::Open)], at, findings)?;
                let payment = self.payments.get(&PaymentId::parse(&payment_id)?);
                if !payment.is_some_and(|payment| payment.is_asking) {
                    wrong(PaymentId::parse(&payment_id)?, "its page is looked at, and nobody is asked", at, findings);
                }
            }
            wire::CheckoutFailed::NAME => {
                let wire::CheckoutFailed { payment_id, .. } = decode(data)?;
                self.turn_page(&payment_id, &[(Page::Opening, Page::Closed)], at, findings)?;
            }
            wire::CheckoutAbandoned::NAME => {
                let wire::CheckoutAbandoned { payment_id, is_replaced, .. } = decode(data)?;
                let after = if is_replaced { Page::Replacing } else { Page::Closing };
                self.turn_page(&payment_id, &[(Page::Open, after)], at, findings)?;
            }
            wire::CheckoutClosed::NAME => {
                let event: wire::CheckoutClosed = decode(data)?;
                let is_unpaid = event.end() == wire::CheckoutEnd::Unpaid;
                let after = if is_unpaid { Page::Unpaid } else { Page::Closed };
                let steps = [(Page::Closing, Page::Closed), (Page::Replacing, after)];
                self.turn_page(&event.payment_id, &steps, at, findings)?;
            }
            wire::CheckoutRequested::NAME => {
                let wire::CheckoutRequested { payment_id, amount, .. } = decode(data)?;
                self.turn_page(&payment_id, &[(Page::Unpaid, Page::Opening)], at, findings)?;
                let payment_id = PaymentId::parse(&payment_id)?;
                let payment = self.payments.get(&payment_id);
                if !payment.is_some_and(|payment| payment.is_asking && payment.asked == amount) {
                    wrong(payment_id, "a page is opened for what nobody is asked for", at, findings);
                }
            }
            _ => return Err(Unbooked::Unknown { book: "money" }),
        }
        Ok(())
    }

    /// A page goes one step on, which begins where it stands.
    fn turn_page(
        &mut self,
        payment_id: &str,
        steps: &[(Page, Page)],
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        let payment_id = PaymentId::parse(payment_id)?;
        let payment = self.payments.get_mut(&payment_id);
        let page = payment.and_then(|payment| payment.page.as_mut());
        match page.and_then(|page| Some((steps.iter().find(|(before, _)| before == page)?.1, page))) {
            Some((after, page)) => *page = after,
            None => wrong(payment_id, "its page took a step that it could not take", at, findings),
        }
        Ok(())
    }

    /// A report that may have fitted nothing does fit.
    pub(super) fn fits(&mut self, payment_id: PaymentId, provider_event_id: &str) {
        let key = (payment_id, provider_event_id.to_owned());
        self.open_reports.remove(&key);
        self.accepted_reports.remove(&key);
        self.second_charges.forget(&key);
    }

    /// A report is settled. Whether it had waited; a later report settles also what an operator had accepted.
    fn settles(&mut self, payment_id: PaymentId, resolved: &wire::ProviderReportResolved) -> bool {
        let key = (payment_id, resolved.provider_event_id.clone());
        let was_returning = self.second_charges.forget(&key) && !resolved.settled_by.is_empty();
        let was_open = self.open_reports.remove(&key).is_some() || was_returning;
        let was_accepted = self.accepted_reports.remove(&key);
        if resolved.resolution() == wire::ReportResolution::Accepted {
            self.accepted_reports.insert(key);
        }
        was_open || (was_accepted && !resolved.settled_by.is_empty())
    }

    /// Whether some report about this payment waits for a person that is not for sure of another charge, or its bank disputes it so that
    /// nothing can go back.
    pub(super) fn is_in_doubt(&self, payment_id: PaymentId) -> bool {
        let own = self.payments.get(&payment_id).map_or("", |payment| payment.charge.as_str());
        let is_of_another = |key: &(PaymentId, String)| {
            let charge = self.charges_of_reports.get(key).map_or("", String::as_str);
            !own.is_empty() && !charge.is_empty() && charge != own
        };
        let mut open = self.open_reports.keys().filter(|(of, _)| *of == payment_id);
        open.any(|key| !is_of_another(key)) || self.disputes.stop_refunds(payment_id)
    }

    /// Whether a second charge of so much has come.
    pub(super) fn has_second_charge(&self, payment_id: PaymentId, charge: &str, amount: Option<&Money>) -> bool {
        self.second_charges.has(payment_id, charge, amount)
    }

    /// Moves money of a second charge: to the buyer, and to what is promised.
    pub(super) fn move_second_charge(
        &mut self,
        payment_id: PaymentId,
        charge: &str,
        moved: (i128, i128),
        at: Moment,
        findings: &mut Findings,
    ) {
        if !self.second_charges.give_back(payment_id, charge, moved) {
            wrong(payment_id, "more of a second charge went back than came", at, findings);
        }
        self.second_charges.settle(payment_id, charge, &mut self.open_reports, at);
    }

    /// Something of a dispute: what it moves is in a book of its own.
    pub(super) fn take_dispute(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        let told = Told::read(name, data)?;
        self.fits(told.payment_id, &told.provider_event_id);
        let asked = self.payments.get(&told.payment_id).and_then(|payment| payment.asked.as_ref());
        let currency = asked.map(|asked| asked.currency.clone());
        if currency.is_none() {
            wrong(told.payment_id, "it is disputed although nobody was asked", at, findings);
        }
        self.disputes.take(told, currency.as_deref(), at, findings);
        Ok(())
    }

    /// Moves money of a refund between the shop, the promised and the buyer.
    pub(super) fn change(
        &mut self,
        payment_id: PaymentId,
        at: Moment,
        findings: &mut Findings,
        change: impl FnOnce(&mut Payment),
    ) {
        let Some(payment) = self.payments.get_mut(&payment_id) else {
            return wrong(payment_id, "money goes back of a payment that there is not", at, findings);
        };
        change(payment);
        let (back, captured) = (payment.refunded + payment.promised, payment.captured_minor());
        if (back > captured || payment.given_back > captured) && !payment.breached {
            payment.breached = true;
            let [refunded, promised, given_back, captured] =
                [payment.refunded, payment.promised, payment.given_back, captured].map(|minor| payment.written(minor));
            let what = format!(
                "{refunded} went back, {promised} more is promised and {given_back} counts as given back, of {captured} that came"
            );
            wrong(payment_id, &what, at, findings);
        }
    }
}

/// The charge whose money a report says came, went or is disputed, if it names one.
fn charge_of(report: &wire::ProviderReport) -> &str {
    use wire::ProviderEventKind as Kind;
    match report.kind() {
        Kind::RefundSucceeded | Kind::RefundFailed => &report.charge_reference,
        Kind::PaymentSucceeded
        | Kind::PaymentDisputed
        | Kind::DisputeFundsWithdrawn
        | Kind::DisputeFundsReinstated
        | Kind::DisputeClosed => &report.provider_reference,
        Kind::Unspecified
        | Kind::PaymentFailed
        | Kind::PaymentClosed
        | Kind::PaymentAuthorised
        | Kind::PaymentVoided => "",
    }
}

fn wrong(payment_id: PaymentId, what: &str, at: Moment, findings: &mut Findings) {
    findings.add(Check::Money, payment_name(payment_id), what.to_owned(), Some(at.position));
}
