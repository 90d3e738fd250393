//! Money that the provider sets aside: it is taken once, or let go, or lapses, and what became of it is told in any order.

use std::time::Duration;

use domain::{PaymentId, Timestamp};
use proto::payments::v1::{ProviderEventKind, RecordProviderEvent};
use providers::{AuthorisationRef, Charge, EndedAuthorisation, ProviderError};
use rand::Rng;

use super::{
    Books, Move,
    opinions::{SECOND, Told},
};

use ProviderEventKind::{PaymentAuthorised, PaymentSucceeded, PaymentVoided};

/// How long money stays set aside.
const LAPSES_AFTER: Duration = Duration::from_hours(7 * 24);

#[derive(Debug)]
pub(super) struct Hold {
    pub(super) payment_id: PaymentId,
    minor: i64,
    state: State,
    lapses_at: Timestamp,
    /// Whether its bank says no, however often it is to be taken.
    is_kept: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Taken,
    LetGo,
}

impl Hold {
    pub(super) fn is_open(&self, now: Timestamp) -> bool {
        self.state == State::Open && now < self.lapses_at
    }
}

impl Books {
    /// The buyer's money is set aside; with an opinion also more than once, or it is withdrawn at once, which is told soon or late.
    pub(super) fn set_aside(
        &mut self,
        payment_id: PaymentId,
        due: Timestamp,
        report: RecordProviderEvent,
        thinks: bool,
    ) {
        let minor = report.amount.as_ref().map_or(0, |amount| amount.minor_units);
        let reference = report.provider_reference.clone();
        let mut state = State::Open;
        if thinks {
            match self.rng.random_range(0..4) {
                0 => self.set_aside_again(payment_id, minor, due),
                1 => {
                    state = State::LetGo;
                    let at = due + Duration::from_secs(self.rng.random_range(0..60));
                    let told = Told { kind: PaymentVoided, reference: &reference, minor, at: Some(at) };
                    self.tell(payment_id, "", &told);
                }
                2 => self.tell(
                    payment_id,
                    "",
                    &Told { kind: PaymentAuthorised, reference: &reference, minor, at: Some(due) },
                ),
                _ => {
                    let told = Told { kind: PaymentAuthorised, reference: &reference, minor, at: Some(due + SECOND) };
                    self.tell(payment_id, "", &told);
                }
            }
        }
        let lapses_at = due + LAPSES_AFTER;
        let is_kept = thinks && self.rng.random_bool(0.3);
        self.holds.insert(reference, Hold { payment_id, minor, state, lapses_at, is_kept });
        self.charges.insert(payment_id, (due, report.clone()));
        self.report(payment_id, due, report, thinks);
    }

    /// The buyer pays once more, or over another amount.
    fn set_aside_again(&mut self, payment_id: PaymentId, minor: i64, due: Timestamp) {
        let minor = if self.rng.random_bool(0.5) { minor } else { minor + 100 };
        let (reference, at) = (format!("hold-2-{payment_id}"), due + SECOND);
        self.tell(payment_id, "", &Told { kind: PaymentAuthorised, reference: &reference, minor, at: Some(at) });
        let lapses_at = at + LAPSES_AFTER;
        self.holds.insert(reference, Hold { payment_id, minor, state: State::Open, lapses_at, is_kept: false });
    }

    /// Somebody asks for money that is set aside to be taken, or to be let go. What was done is done, also if nobody hears of it.
    pub(super) fn end(
        &mut self,
        authorisation: &AuthorisationRef,
        takes: bool,
    ) -> Result<EndedAuthorisation, ProviderError> {
        self.heard_of(authorisation.payment_id, authorisation.amount);
        self.fail()?;
        let (now, reference) = (self.now, authorisation.reference.as_str());
        let Some(hold) = self.holds.get_mut(reference) else {
            return Err(ProviderError::Misconfigured(format!("nothing is known of {reference}")));
        };
        let (payment_id, minor) = (hold.payment_id, hold.minor);
        let has_changed = hold.state == State::Open;
        if takes && hold.is_kept && hold.is_open(now) {
            return Err(ProviderError::Declined("its bank says no".to_owned()));
        }
        if has_changed {
            hold.state = if takes && now < hold.lapses_at { State::Taken } else { State::LetGo };
        }
        let is_taken = hold.state == State::Taken;
        if has_changed {
            self.ended(payment_id, reference, minor, is_taken);
        }
        // The answer may be lost.
        self.fail()?;
        Ok(match is_taken {
            true => EndedAuthorisation::Captured(Charge {
                event_id: format!("{reference} captured"),
                reference: reference.to_owned(),
                minor_units: minor,
                currency: authorisation.amount.currency.to_string(),
                occurred_at: Some(now),
            }),
            false => EndedAuthorisation::Voided { reason: "it is gone".to_owned() },
        })
    }

    /// It tells of what was done, soon or late.
    fn ended(&mut self, payment_id: PaymentId, reference: &str, minor: i64, is_taken: bool) {
        if is_taken {
            self.note(payment_id, Move { reference: reference.to_owned(), refund_id: None, minor, stands: true });
            self.perhaps_dispute((payment_id, reference), minor, self.now);
        }
        let kind = if is_taken { PaymentSucceeded } else { PaymentVoided };
        let at = Some(self.now);
        if self.rng.random_bool(0.5) {
            self.tell(payment_id, "", &Told { kind, reference, minor, at });
        }
    }
}
