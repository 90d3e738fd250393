//! The book of money that is set aside: all of it is taken or let go, and taken only if its order asked for that.

use std::collections::{BTreeMap, BTreeSet};

use domain::{PaymentId, decode};
use proto::{Name, orders::v1 as orders, payments::v1 as payments};

use super::{
    Moment, Unbooked,
    keys::{Keys, move_parts, move_set},
    money::{Payments, payment_name},
};
use crate::report::{Check, Findings};

/// What this book hears of.
const OF_PAYMENTS: [&str; 4] = [
    payments::PaymentAuthorised::NAME,
    payments::CaptureSubmitted::NAME,
    payments::VoidSubmitted::NAME,
    payments::PaymentVoided::NAME,
];

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Authorisations {
    /// By payment, and by what the provider knows the authorisation by.
    held: BTreeMap<(PaymentId, String), Held>,
    /// Payments whose money orders wants to be taken.
    wanted: BTreeSet<PaymentId>,
    /// Payments whose money orders wants to be let go.
    unwanted: BTreeSet<PaymentId>,
}

#[derive(Debug)]
struct Held {
    standing: Standing,
    since: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    SetAside,
    ToBeTaken,
    ToBeLetGo,
    Taken,
    LetGo,
}

impl Authorisations {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_parts(&mut self.held, &mut other.held, keys);
        move_set(&mut self.wanted, &mut other.wanted, &keys.payments);
        move_set(&mut self.unwanted, &mut other.unwanted, &keys.payments);
    }

    /// Whether an event of payments is booked here and nowhere else.
    pub(super) fn takes(name: &str) -> bool {
        OF_PAYMENTS.contains(&name)
    }

    /// Orders has decided about a payment's money.
    pub(super) fn take_order(&mut self, name: &str, data: &[u8]) -> Result<(), Unbooked> {
        match name {
            orders::CaptureRequested::NAME => {
                let orders::CaptureRequested { payment_id, .. } = decode(data)?;
                self.wanted.insert(PaymentId::parse(&payment_id)?);
            }
            orders::VoidRequested::NAME => {
                let orders::VoidRequested { payment_id, .. } = decode(data)?;
                self.unwanted.insert(PaymentId::parse(&payment_id)?);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        paid: &mut Payments,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            payments::PaymentAuthorised::NAME => {
                let event: payments::PaymentAuthorised = decode(data)?;
                let payment_id = PaymentId::parse(&event.payment_id)?;
                if !paid.is_asked_for(payment_id, event.amount.as_ref()) {
                    wrong(payment_id, "another amount is set aside than was asked for", at, findings);
                }
                let reference = event.provider_reference;
                self.step((payment_id, reference), None, Standing::SetAside, at, findings);
            }
            payments::CaptureSubmitted::NAME => {
                let event: payments::CaptureSubmitted = decode(data)?;
                let payment_id = PaymentId::parse(&event.payment_id)?;
                if !self.wanted.contains(&payment_id) {
                    wrong(payment_id, "its money is to be taken, and its order never asked for that", at, findings);
                }
                let of = (payment_id, event.provider_reference);
                self.step(of, Some(Standing::SetAside), Standing::ToBeTaken, at, findings);
            }
            payments::VoidSubmitted::NAME => {
                let event: payments::VoidSubmitted = decode(data)?;
                let of = (PaymentId::parse(&event.payment_id)?, event.provider_reference);
                // What cannot pay its payment is let go before orders hears of it, and so is what is there besides money that came.
                let before = self.held.get(&of).map(|held| held.standing);
                let is_paid = paid.captured(of.0).is_some();
                if before.is_some() && !self.unwanted.contains(&of.0) && !is_paid {
                    wrong(of.0, "its money is to be let go, and its order never asked for that", at, findings);
                }
                self.step(of, before.map(|_| Standing::SetAside), Standing::ToBeLetGo, at, findings);
            }
            payments::PaymentVoided::NAME => {
                let event: payments::PaymentVoided = decode(data)?;
                if event.awaited {
                    paid.is_given_up(PaymentId::parse(&event.payment_id)?, at);
                }
                let of = (PaymentId::parse(&event.payment_id)?, event.provider_reference);
                // Orders has asked for what had ended, and is told once more.
                let is_told_again = self.wanted.contains(&of.0);
                let may_end = |standing| match standing {
                    Standing::SetAside | Standing::ToBeTaken | Standing::ToBeLetGo => true,
                    Standing::LetGo => is_told_again,
                    Standing::Taken => false,
                };
                match self.held.get_mut(&of).filter(|held| may_end(held.standing)) {
                    Some(held) => held.standing = Standing::LetGo,
                    None => wrong(of.0, "money was let go that was not set aside", at, findings),
                }
            }
            _ => return Err(Unbooked::Unknown { book: "money that is set aside" }),
        }
        Ok(())
    }

    /// Money came by this charge: if it was set aside before, it was taken.
    pub(super) fn came(&mut self, payment_id: PaymentId, reference: &str) {
        if let Some(held) = self.held.get_mut(&(payment_id, reference.to_owned())) {
            held.standing = Standing::Taken;
        }
    }

    /// Whether money that was set aside for a payment counts as let go.
    pub(super) fn is_let_go(&self, payment_id: PaymentId, reference: &str) -> bool {
        let held = self.held.get(&(payment_id, reference.to_owned()));
        held.is_some_and(|held| held.standing == Standing::LetGo)
    }

    fn step(
        &mut self,
        of: (PaymentId, String),
        before: Option<Standing>,
        standing: Standing,
        at: Moment,
        findings: &mut Findings,
    ) {
        let payment_id = of.0;
        let was = self.held.insert(of, Held { standing, since: at }).map(|held| held.standing);
        if was != before {
            wrong(payment_id, "money that is set aside took a step that it could not take", at, findings);
        }
    }

    /// What is neither taken nor let go, and since when.
    pub(super) fn open(&self) -> impl Iterator<Item = (PaymentId, Moment)> {
        let is_over = |held: &Held| matches!(held.standing, Standing::Taken | Standing::LetGo);
        let open = self.held.iter().filter(move |(_, held)| !is_over(held));
        open.map(|((payment_id, _), held)| (*payment_id, held.since))
    }
}

fn wrong(payment_id: PaymentId, what: &str, at: Moment, findings: &mut Findings) {
    findings.add(Check::Money, payment_name(payment_id), what.to_owned(), Some(at.position));
}
