//! The page on which a payment is paid, where the provider must be called to open it, and to close it once it is of no use.
//!
//! | heard or asked       | opening                  | open                       | closing | replacing                     | closed, failed |
//! |----------------------|--------------------------|----------------------------|---------|-------------------------------|----------------|
//! | opened               | open; closing if nobody is to pay | -                 | -       | -                             | -              |
//! | not opened           | failed; so is the payment, if it is still asked for | - | -     | -                             | -              |
//! | the payment's cancel | -                        | closing                    | -       | -                             | -              |
//! | another page         | -                        | replacing, if it runs out  | refused | -                             | refused        |
//! | closed               | -                        | -                          | closed  | opening if unpaid; else closed | -             |
//! | its time is nearly over | -                     | looked at, if it is asked for | -    | -                             | -              |
//!
//! Reports can get lost for ever, and a page is closed when its payment's time is over: money that nobody has heard of until then is late. So
//! the provider is asked twice before, and what it says is taken as if it had been reported: it has the same name, so a report that comes
//! after all is known already.
//!
//! `-`: nothing changes. What is opened with its money set aside is no page: it is closed at once, and there is nothing to abandon. A page that
//! was paid on before it could be closed brings late money, which is taken in as every report is. A page that nobody has heard of cannot be
//! paid on, for only its link leads there; so one whose opening was not answered is opened again. Another page is opened only once the
//! provider has said that nobody has paid on the one before, and nobody can: so no two can be paid on.

use std::time::Duration;

use domain::{HoldKey, PaymentId, Rejection, Timestamp, words};
use providers::{
    OpenCheckout,
    registry::{checkout_ends, is_looked_at, provider_of},
};
use serde::Serialize;

use super::{Payment, PaymentTerms, Status, reports};
use crate::{
    event::{CheckoutEnd, CheckoutStep, Event},
    report::Report,
};

#[cfg(test)]
mod spec;

/// How long after a page is to be closed it is worth a look if it is not.
pub const CLOSED_WITHIN: Duration = Duration::from_mins(5);

/// A page on which the buyer has no longer than this runs out: another is opened when it is asked for.
pub const TIME_TO_PAY: Duration = Duration::from_mins(10);

/// How long before its payment's time is over a page is looked at that nothing was heard of; of a payment that has less time, at half of it.
pub const LOOKS_BEFORE: Duration = Duration::from_mins(2);

/// A look with at least so much time left is followed by another, once three quarters of that are over.
pub const LOOKS_AGAIN: Duration = Duration::from_mins(1);

/// A payment's page: the latest of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Which one it is, from 1.
    pub number: i32,
    /// Where it stands.
    pub status: PageStatus,
    /// Until when the provider was asked to keep it open.
    pub ends_at: Option<Timestamp>,
    /// Where the buyer pays; empty before it was opened.
    pub url: String,
    /// When the provider is asked next what has become of it. `None`: not any more, or never.
    pub look_at: Option<Timestamp>,
}

words!(
    /// Where a page stands.
    PageStatus {
        /// The provider is called to open it.
        Opening = "opening",
        /// The buyer can pay on it.
        Open = "open",
        /// The provider is called to close it.
        Closing = "closing",
        /// The same, and another is opened in its place if nobody has paid on it.
        Replacing = "replacing",
        /// Nothing more can be paid on it.
        Closed = "closed",
        /// The provider opens none.
        Failed = "failed",
    }
);

/// How a call about a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is open.
    Opened {
        /// The page.
        page: OpenCheckout,
        /// What the provider says of the buyer's money, if it is set aside already.
        authorised: Option<Report>,
    },
    /// It is not opened, and will not be.
    Failed(Rejection),
    /// It is closed; with the report of the money, if it was paid on before.
    Closed {
        /// What the provider found.
        end: CheckoutEnd,
        /// What it says of the money that came.
        report: Option<Report>,
    },
    /// It was only looked at; with the report of the money, if there is some.
    Seen {
        /// What the provider says of it.
        report: Option<Report>,
    },
}

/// What the answer to a call causes.
pub(super) fn answered(payment_id: PaymentId, payment: &Payment, answer: &Answer, at: Timestamp) -> Vec<Event> {
    let (Some(key), Some(page)) = (payment.key, payment.page.as_ref()) else { return vec![] };
    match (page.status, answer) {
        (PageStatus::Opening, Answer::Opened { page: opened, authorised: None }) => {
            let is_of_use = matches!(payment.status, Status::Requested | Status::Succeeded);
            let look_at = payment.first_look(at);
            let opened = Event::checkout(payment_id, key, CheckoutStep::Opened { page: opened.clone(), look_at });
            let abandoned = if is_of_use { None } else { abandon(payment_id, key, &payment.after(&opened), None, at) };
            std::iter::once(opened).chain(abandoned).collect()
        }
        // Also if nobody is to pay any more: what becomes of the money orders decides, as of any.
        (PageStatus::Opening, Answer::Opened { page: opened, authorised: Some(report) }) => {
            let opened = Event::checkout(payment_id, key, CheckoutStep::Opened { page: opened.clone(), look_at: None });
            followed_by(payment_id, payment, opened, Some(report))
        }
        (PageStatus::Opening, Answer::Failed(rejection)) => {
            let failed = Event::checkout(payment_id, key, CheckoutStep::Failed(rejection.clone()));
            let payment_failed = (payment.status == Status::Requested).then(|| Event::PaymentFailed {
                payment_id,
                key,
                reason: rejection.to_string(),
                provider_event_id: NOT_OPENED.to_owned(),
            });
            std::iter::once(failed).chain(payment_failed).collect()
        }
        (PageStatus::Closing | PageStatus::Replacing, Answer::Closed { end, report }) => {
            let closed = Event::checkout(payment_id, key, CheckoutStep::Closed(*end));
            let is_replaced = page.status == PageStatus::Replacing && *end == CheckoutEnd::Unpaid;
            let terms = payment.terms.as_ref().filter(|terms| is_replaced && payment.is_to_be_paid(terms, at));
            let next = terms.map(|terms| next_page(payment_id, key, terms, page, at));
            followed_by(payment_id, payment, closed, report.as_ref()).into_iter().chain(next).collect()
        }
        // Whatever has become of the page meanwhile, money is a fact.
        (_, Answer::Seen { report }) => {
            report.as_ref().map(|report| reports::take(payment_id, Some(payment), report)).unwrap_or_default()
        }
        // It was answered before.
        (
            PageStatus::Opening
            | PageStatus::Open
            | PageStatus::Closing
            | PageStatus::Replacing
            | PageStatus::Closed
            | PageStatus::Failed,
            Answer::Opened { .. } | Answer::Failed(_) | Answer::Closed { .. },
        ) => vec![],
    }
}

/// What happened to the page, and then what is reported with it.
fn followed_by(payment_id: PaymentId, payment: &Payment, event: Event, report: Option<&Report>) -> Vec<Event> {
    let follows = report.map(|report| reports::take(payment_id, Some(&payment.after(&event)), report));
    std::iter::once(event).chain(follows.into_iter().flatten()).collect()
}

/// What names the failure of a payment whose page was never opened, among the provider's reports.
const NOT_OPENED: &str = "checkout not opened";

/// The buyer wants to pay, and needs a page for it; perhaps another than the one that there is.
pub(super) fn requested(
    payment_id: PaymentId,
    payment: &Payment,
    is_anew: bool,
    actor: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    let no = |why: String| Rejection::new("NOT_PAYABLE", format!("nothing can be paid of payment {payment_id}: {why}"));
    let (Some(key), Some(terms)) = (payment.key, payment.terms.as_ref()) else {
        return Err(no("nobody was asked for it".to_owned()));
    };
    if payment.status != Status::Requested {
        return Err(no(format!("it is {}", payment.status.as_str())));
    }
    if at >= terms.expires_at {
        return Err(no(format!("its time was over at {}", terms.expires_at)));
    }
    let Some(page) = &payment.page else { return Ok(vec![]) };
    match page.status {
        PageStatus::Opening | PageStatus::Replacing => Ok(vec![]),
        PageStatus::Open if payment.is_to_be_paid(terms, at) => {
            let is_replaced = is_anew || page.runs_out(terms, at);
            let abandoned = if is_replaced { abandon(payment_id, key, payment, Some(actor), at) } else { None };
            Ok(abandoned.into_iter().collect())
        }
        PageStatus::Open | PageStatus::Closing | PageStatus::Closed | PageStatus::Failed => {
            let reason = format!(
                "the buyer has done their part for payment {payment_id}, and the money is under way: wait for what becomes of it"
            );
            Err(Rejection::new("PAYMENT_UNDER_WAY", reason))
        }
    }
}

/// Nothing was heard of the page, and the payment's time is nearly over: the provider is asked. `None`: there is nothing to ask.
pub(super) fn looked_at(payment_id: PaymentId, payment: &Payment, at: Timestamp) -> Option<Event> {
    let (key, terms, page) = (payment.key?, payment.terms.as_ref()?, payment.page.as_ref()?);
    // A timer may come twice, and one of an earlier page late.
    let is_due = page.look_at.is_some_and(|look_at| look_at <= at);
    if page.status != PageStatus::Open || !is_due || !payment.is_to_be_paid(terms, at) {
        return None;
    }
    let left = terms.expires_at.since(at);
    let step = CheckoutStep::LookSubmitted {
        provider: terms.provider.clone(),
        reference: terms.reference.clone(),
        deadline: terms.expires_at,
        page: page.number,
        look_at: (left >= LOOKS_AGAIN).then(|| terms.expires_at - left / 4),
    };
    Some(Event::checkout(payment_id, key, step))
}

/// The page after this one, on which nobody has paid.
fn next_page(payment_id: PaymentId, key: HoldKey, terms: &PaymentTerms, page: &Page, at: Timestamp) -> Event {
    let step = CheckoutStep::Requested {
        page: page.number.saturating_add(1),
        amount: terms.amount,
        provider: terms.provider.clone(),
        payment_method: terms.payment_method.clone(),
        order_reference: terms.order_reference.clone(),
        expires_at: terms.expires_at,
        ends_at: terms.checkout_ends(at),
    };
    Event::checkout(payment_id, key, step)
}

impl PaymentTerms {
    /// Until when a page can be open that is asked for now.
    fn checkout_ends(&self, at: Timestamp) -> Timestamp {
        checkout_ends(provider_of(&self.payment_method), at, self.expires_at)
    }
}

impl Page {
    /// One that the provider is called to open.
    pub(super) const fn opening(number: i32, ends_at: Timestamp) -> Self {
        Self { number, status: PageStatus::Opening, ends_at: Some(ends_at), url: String::new(), look_at: None }
    }

    /// Whether a buyer has no time left on it, and would have more on another.
    fn runs_out(&self, terms: &PaymentTerms, at: Timestamp) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at < at + TIME_TO_PAY && ends_at < terms.checkout_ends(at))
    }
}

impl Payment {
    /// When a page is looked at that is opened now. `None`: never, for nobody is to pay on it, or what its provider reports does not get lost.
    fn first_look(&self, at: Timestamp) -> Option<Timestamp> {
        let terms = self.terms.as_ref().filter(|terms| self.is_to_be_paid(terms, at))?;
        let half = at + terms.expires_at.since(at) / 2;
        is_looked_at(provider_of(&terms.payment_method)).then(|| half.max(terms.expires_at - LOOKS_BEFORE))
    }

    /// Whether the buyer is asked for it still, and has set no money aside.
    fn is_to_be_paid(&self, terms: &PaymentTerms, at: Timestamp) -> bool {
        self.status == Status::Requested && at < terms.expires_at && !self.has_live_authorisation()
    }
}

/// The payment is cancelled: its page is to be closed, if it is open.
pub(super) fn cancelled(payment_id: PaymentId, key: HoldKey, payment: &Payment, at: Timestamp) -> Option<Event> {
    abandon(payment_id, key, payment, None, at)
}

/// The page is of no use any more; or this one has asked for another in its place.
fn abandon(
    payment_id: PaymentId,
    key: HoldKey,
    payment: &Payment,
    asked_by: Option<&str>,
    at: Timestamp,
) -> Option<Event> {
    let page = payment.page.as_ref().filter(|page| page.status == PageStatus::Open)?;
    let PaymentTerms { provider, reference, .. } = payment.terms.clone()?;
    let (page, deadline) = (page.number, at + CLOSED_WITHIN);
    let (is_replaced, actor) = (asked_by.is_some(), asked_by.unwrap_or_default().to_owned());
    let step = CheckoutStep::Abandoned { provider, reference, deadline, page, is_replaced, actor };
    Some(Event::checkout(payment_id, key, step))
}
