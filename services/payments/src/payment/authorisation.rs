//! Money that the provider has set aside for a payment, to be taken or let go. Orders decides which, and each is called for once.
//!
//! | heard or asked        | nothing              | held              | capturing | voiding | captured | lapsed | voided |
//! |-----------------------|----------------------|-------------------|-----------|---------|----------|--------|--------|
//! | authorised            | held; voiding if it cannot pay the payment | - | - | -   | -        | -      | -      |
//! | orders: capture       | -                    | capturing         | -         | -       | -        | voided | -      |
//! | orders: void          | -                    | voiding           | -         | -       | -        | -      | -      |
//! | other money is there  | -                    | voiding           | -         | -       | -        | -      | -      |
//! | its money is there    | -                    | captured          | captured  | captured | -       | captured | captured |
//! | let go, or run out    | noted                | lapsed            | voided    | voided  | -        | -      | -      |
//!
//! `-`: nothing changes. Money that is there is [`PaymentSucceeded`](crate::event::Event::PaymentSucceeded), as any other: what orders does
//! about late money it does about this too. A payment that waited for money which was let go has failed. Orders may ask for money after it has
//! lapsed, also if it has heard of that before it heard that there was any: then it is told once more.

use std::time::Duration;

use domain::{Money, PaymentId, Timestamp, words};
use serde::Serialize;

use super::{Payment, PaymentTerms, Status, reports};
use crate::{
    event::{AuthorisationCall, AuthorisationEvent, AuthorisationOf, Event},
    report::{Kind, Report, Standing},
};

#[cfg(test)]
mod spec;

/// How long after money is to be taken or let go it is worth a look if it is not.
pub const ENDED_WITHIN: Duration = Duration::from_mins(5);

/// Money that is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Authorisation {
    /// Where it stands.
    pub status: AuthorisationStatus,
    /// How much, in minor units of the payment's currency, or of another if it cannot pay the payment.
    pub minor_units: i64,
}

words!(
    /// Where money stands that is set aside.
    AuthorisationStatus {
        /// Orders has not decided yet.
        Held = "held",
        /// The provider is called to take it.
        Capturing = "capturing",
        /// The provider is called to let it go.
        Voiding = "voiding",
        /// It was taken.
        Captured = "captured",
        /// It has ended before orders has decided.
        Lapsed = "lapsed",
        /// It was let go.
        Voided = "voided",
    }
);

impl AuthorisationStatus {
    /// Whether the money may still be taken.
    #[must_use]
    pub const fn is_live(self) -> bool {
        match self {
            Self::Held | Self::Capturing | Self::Voiding => true,
            Self::Captured | Self::Lapsed | Self::Voided => false,
        }
    }

    /// Whether the order may wait for it: orders has heard of it, and has not given it up.
    const fn is_awaited(self) -> bool {
        match self {
            Self::Held | Self::Capturing | Self::Lapsed => true,
            Self::Voiding | Self::Captured | Self::Voided => false,
        }
    }
}

/// How a call about an authorisation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its money was taken, as this report says.
    Captured(Report),
    /// Nothing of it was taken, and nothing will be.
    Voided {
        /// Why.
        reason: String,
    },
}

/// What orders decides about money that is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Take it.
    Capture,
    /// Let it go.
    Void,
}

/// The provider reports that money is set aside. What cannot pay the payment is let go without asking orders, who never hears of it.
pub(super) fn authorised(about: &reports::About<'_>, report: &Report) -> Vec<Event> {
    let of =
        AuthorisationOf { payment_id: about.payment_id, key: about.key, reference: report.provider_reference.clone() };
    let payment = about.payment;
    if payment.authorisations.contains_key(&of.reference) || payment.has_ended(&of.reference) {
        return vec![];
    }
    // Without a name it can neither be taken nor be let go.
    if of.reference.is_empty() {
        return reports::declined(of.payment_id, Some(payment), of.key, report);
    }
    let Some(amount) = report.money() else {
        return vec![reports::unmatched(of.payment_id, Some(of.key), report, crate::report::Mismatch::OtherAmount)];
    };
    let is_of_use = amount == about.terms.amount && payment.charge.is_none() && !payment.has_live_authorisation();
    if is_of_use {
        let (provider_event_id, occurred_at) = (report.provider_event_id.clone(), report.occurred_at);
        return vec![Event::Authorisation(AuthorisationEvent::Authorised {
            of,
            amount,
            provider_event_id,
            occurred_at,
        })];
    }
    // When it is heard the provider's clock may not have been asked; five minutes from then do as well.
    let at = report.occurred_at.unwrap_or_default();
    vec![Event::Authorisation(AuthorisationEvent::VoidSubmitted(call(of, amount, about.terms, at)))]
}

/// The payment's money came by this charge: what is set aside besides is let go, whatever orders says of it.
pub(super) fn of_no_use(about: &reports::About<'_>, report: &Report) -> Vec<Event> {
    let at = report.occurred_at.unwrap_or_default();
    let held = about.payment.authorisations.iter().filter(|(reference, held)| {
        held.status == AuthorisationStatus::Held && **reference != report.provider_reference
    });
    held.map(|(reference, held)| {
        let of = AuthorisationOf { payment_id: about.payment_id, key: about.key, reference: reference.clone() };
        let amount = Money { minor_units: held.minor_units, ..about.terms.amount };
        Event::Authorisation(AuthorisationEvent::VoidSubmitted(call(of, amount, about.terms, at)))
    })
    .collect()
}

/// The provider reports that an authorisation was let go, or has lapsed. What is not known is noted: it may be heard of later.
pub(super) fn let_go(about: &reports::About<'_>, report: &Report) -> Option<Vec<Event>> {
    let of = about.payment.authorisations.get(&report.provider_reference)?;
    let of_it =
        AuthorisationOf { payment_id: about.payment_id, key: about.key, reference: report.provider_reference.clone() };
    Some(match of.status.is_live() {
        true => vec![voided(of_it, of, report.provider_event_id.clone(), report.reason.clone())],
        false => vec![],
    })
}

/// Orders has decided.
pub(super) fn decided(payment_id: PaymentId, payment: &Payment, decision: Decision, at: Timestamp) -> Vec<Event> {
    let (Some(key), Some(terms)) = (payment.key, payment.terms.as_ref()) else { return vec![] };
    let decided = |(reference, held): (&String, &Authorisation)| {
        let of = AuthorisationOf { payment_id, key, reference: reference.clone() };
        let amount = Money { minor_units: held.minor_units, ..terms.amount };
        let event = match (held.status, decision) {
            (AuthorisationStatus::Held, Decision::Capture) => {
                AuthorisationEvent::CaptureSubmitted(call(of, amount, terms, at))
            }
            (AuthorisationStatus::Held, Decision::Void) => {
                AuthorisationEvent::VoidSubmitted(call(of, amount, terms, at))
            }
            (AuthorisationStatus::Lapsed, Decision::Capture) => {
                let reason = "it had ended before it was to be taken".to_owned();
                return Some(voided(of, held, String::new(), reason));
            }
            (AuthorisationStatus::Lapsed, Decision::Void)
            | (
                AuthorisationStatus::Capturing
                | AuthorisationStatus::Voiding
                | AuthorisationStatus::Captured
                | AuthorisationStatus::Voided,
                _,
            ) => return None,
        };
        Some(Event::Authorisation(event))
    };
    payment.authorisations.iter().filter_map(decided).collect()
}

/// What the answer to a call causes.
pub(super) fn answered(payment_id: PaymentId, payment: &Payment, reference: &str, answer: &Answer) -> Vec<Event> {
    let known = payment.authorisations.get(reference).filter(|held| held.status.is_live());
    let (Some(key), Some(held)) = (payment.key, known) else { return vec![] };
    match answer {
        Answer::Captured(report) => reports::take(payment_id, Some(payment), report),
        Answer::Voided { reason } => {
            let of = AuthorisationOf { payment_id, key, reference: reference.to_owned() };
            vec![voided(of, held, String::new(), reason.clone())]
        }
    }
}

fn voided(of: AuthorisationOf, held: &Authorisation, provider_event_id: String, reason: String) -> Event {
    let is_awaited = held.status.is_awaited();
    Event::Authorisation(AuthorisationEvent::Voided { of, provider_event_id, reason, is_awaited })
}

fn call(of: AuthorisationOf, amount: Money, terms: &PaymentTerms, at: Timestamp) -> AuthorisationCall {
    AuthorisationCall {
        of,
        amount,
        provider: terms.provider.clone(),
        payment_reference: terms.reference.clone(),
        deadline: at + ENDED_WITHIN,
    }
}

impl Payment {
    /// Authorisations whose money may still be taken.
    fn live(&self) -> impl Iterator<Item = &Authorisation> {
        self.authorisations.values().filter(|held| held.status.is_live())
    }

    /// Whether money is set aside that may still be taken.
    pub(super) fn has_live_authorisation(&self) -> bool {
        self.live().next().is_some()
    }

    /// Whether it was heard that an authorisation has ended before it was heard that there is one.
    fn has_ended(&self, reference: &str) -> bool {
        let ended = |report: &Report| report.kind == Kind::PaymentVoided && report.is_of(reference);
        self.reports.values().any(|kept| kept.standing == Standing::Noted && ended(&kept.report))
    }

    /// What an event of an authorisation changes.
    pub(super) fn take_in_authorisation(&mut self, event: &AuthorisationEvent) {
        let reference = &event.of().reference;
        let (status, minor_units) = match event {
            AuthorisationEvent::Authorised { amount, provider_event_id, .. } => {
                self.note(provider_event_id);
                (AuthorisationStatus::Held, amount.minor_units)
            }
            AuthorisationEvent::CaptureSubmitted(call) => (AuthorisationStatus::Capturing, call.amount.minor_units),
            AuthorisationEvent::VoidSubmitted(call) => (AuthorisationStatus::Voiding, call.amount.minor_units),
            AuthorisationEvent::Voided { provider_event_id, .. } => {
                self.note(provider_event_id);
                return self.void(reference);
            }
        };
        self.authorisations.insert(reference.clone(), Authorisation { status, minor_units });
    }

    fn void(&mut self, reference: &str) {
        let Some(held) = self.authorisations.get_mut(reference) else { return };
        let was_to_pay = held.status.is_awaited();
        held.status = match held.status {
            AuthorisationStatus::Held => AuthorisationStatus::Lapsed,
            AuthorisationStatus::Capturing
            | AuthorisationStatus::Voiding
            | AuthorisationStatus::Captured
            | AuthorisationStatus::Lapsed
            | AuthorisationStatus::Voided => AuthorisationStatus::Voided,
        };
        if was_to_pay && self.status == Status::Requested {
            self.status = Status::Failed;
        }
    }

    /// Money of this charge is there. If it was set aside before, it was taken.
    pub(super) fn capture(&mut self, reference: &str) {
        if let Some(held) = self.authorisations.get_mut(reference) {
            held.status = AuthorisationStatus::Captured;
        }
    }
}
