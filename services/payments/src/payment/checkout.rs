//! The page on which a payment is paid, where the provider must be called to open it, and to close it once it is of no use.
//!
//! | heard or asked       | opening                  | open                  | closing            | closed, failed |
//! |----------------------|--------------------------|-----------------------|--------------------|----------------|
//! | opened               | open; closing if nobody is to pay | -            | -                  | -              |
//! | not opened           | failed; so is the payment, if it is still asked for | - | -           | -              |
//! | the payment's cancel | -                        | closing               | -                  | -              |
//! | closed               | -                        | -                     | closed             | -              |
//!
//! `-`: nothing changes. What is opened with its money set aside is no page: it is closed at once, and there is nothing to abandon. A page that was paid on before it could be closed brings late money, which is taken in as every report is. A page
//! that nobody has heard of cannot be paid on, for only its link leads there; so one whose opening was not answered is opened again.

use std::time::Duration;

use domain::{HoldKey, PaymentId, Rejection, Timestamp, words};
use providers::OpenCheckout;

use serde::Serialize;

use super::{Payment, Status, reports};
use crate::{
    event::{CheckoutEnd, Event},
    report::Report,
};

#[cfg(test)]
mod spec;

/// How long after a page is to be closed it is worth a look if it is not.
pub const CLOSED_WITHIN: Duration = Duration::from_mins(5);

/// A payment's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Where it stands.
    pub status: PageStatus,
    /// Where the buyer pays; empty before it was opened.
    pub url: String,
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
}

/// What the answer to a call causes.
pub(super) fn answered(payment_id: PaymentId, payment: &Payment, answer: &Answer, at: Timestamp) -> Vec<Event> {
    let (Some(key), Some(page)) = (payment.key, payment.page.as_ref()) else { return vec![] };
    match (page.status, answer) {
        (PageStatus::Opening, Answer::Opened { page: opened, authorised: None }) => {
            let is_of_use = matches!(payment.status, Status::Requested | Status::Succeeded);
            let opened_event = Event::CheckoutOpened { payment_id, key, checkout: opened.clone() };
            let abandoned = (!is_of_use).then(|| abandon(payment_id, key, payment, &opened.reference, at));
            std::iter::once(opened_event).chain(abandoned.flatten()).collect()
        }
        // Also if nobody is to pay any more: what becomes of the money orders decides, as of any.
        (PageStatus::Opening, Answer::Opened { page: opened, authorised: Some(report) }) => {
            let opened = Event::CheckoutOpened { payment_id, key, checkout: opened.clone() };
            followed_by(payment_id, payment, opened, Some(report))
        }
        (PageStatus::Opening, Answer::Failed(rejection)) => {
            let failed = Event::CheckoutFailed { payment_id, key, rejection: rejection.clone() };
            let payment_failed = (payment.status == Status::Requested).then(|| Event::PaymentFailed {
                payment_id,
                key,
                reason: rejection.to_string(),
                provider_event_id: NOT_OPENED.to_owned(),
            });
            std::iter::once(failed).chain(payment_failed).collect()
        }
        (PageStatus::Closing, Answer::Closed { end, report }) => {
            let closed = Event::CheckoutClosed { payment_id, key, end: *end };
            followed_by(payment_id, payment, closed, report.as_ref())
        }
        // It was answered before.
        (
            PageStatus::Opening | PageStatus::Open | PageStatus::Closing | PageStatus::Closed | PageStatus::Failed,
            Answer::Opened { .. } | Answer::Failed(_) | Answer::Closed { .. },
        ) => vec![],
    }
}

/// What happened to the page, and then what is reported with it.
fn followed_by(payment_id: PaymentId, payment: &Payment, event: Event, report: Option<&Report>) -> Vec<Event> {
    let mut after = payment.clone();
    after.apply(&event);
    let follows = report.into_iter().flat_map(|report| reports::take(payment_id, Some(&after), report));
    std::iter::once(event).chain(follows).collect()
}

/// What names the failure of a payment whose page was never opened, among the provider's reports.
const NOT_OPENED: &str = "checkout not opened";

/// The payment is cancelled: its page is to be closed, if it is open.
pub(super) fn cancelled(payment_id: PaymentId, key: HoldKey, payment: &Payment, at: Timestamp) -> Option<Event> {
    let is_open = payment.page.as_ref().is_some_and(|page| page.status == PageStatus::Open);
    let reference = payment.terms.as_ref().map(|terms| terms.reference.as_str()).filter(|_| is_open)?;
    abandon(payment_id, key, payment, reference, at)
}

fn abandon(payment_id: PaymentId, key: HoldKey, payment: &Payment, reference: &str, at: Timestamp) -> Option<Event> {
    let provider = payment.terms.as_ref()?.provider.clone();
    let (reference, deadline) = (reference.to_owned(), at + CLOSED_WITHIN);
    Some(Event::CheckoutAbandoned { payment_id, key, provider, reference, deadline })
}
