//! What must hold: after every commit, and once everything has come to rest.

use std::{fmt::Display, time::Duration};

use domain::GlobalPosition;
use uuid::Uuid;

use super::Engine;

impl Engine {
    pub(super) fn is_at_rest(&self) -> bool {
        self.desks.iter().all(|desk| desk.is_at_rest() && desk.next_timer().is_none())
            && self.unacknowledged.is_empty()
            && self.drawn.is_empty()
            && self.log.last_key_value().is_none_or(|(last, _)| *last <= self.relay.progress.published())
            && self.money.is_decided()
            && self.intents.iter().all(|(intent, to)| self.is_answered(intent.id, *to))
    }

    /// Of one id, every service answers by itself.
    pub(super) fn is_answered(&self, id: Uuid, to: Option<usize>) -> bool {
        to.is_some_and(|to| self.answered.contains(&(id, to)))
    }

    pub(super) fn unsettled(&self) -> String {
        let desks = self.desks.iter().filter(|desk| !desk.is_at_rest() || desk.next_timer().is_some());
        let desks: Vec<&str> = desks.map(|desk| desk.name()).collect();
        let unanswered = self.intents.iter().filter(|(intent, to)| !self.is_answered(intent.id, *to)).count();
        format!(
            "busy {desks:?}, {} messages unacknowledged, {unanswered} commands unanswered, relay at {} of {}",
            self.unacknowledged.len(),
            self.relay.progress.published(),
            self.position
        )
    }

    /// Gives the auditor what nothing can come before any more.
    pub(super) fn audit(&mut self) -> Result<(), String> {
        let until = self.drawn.first().copied().unwrap_or(GlobalPosition::MAX);
        for (position, event) in self.log.range(self.audited.next()..until) {
            self.auditor.take(event);
            self.audited = *position;
        }
        first(self.auditor.findings())
    }

    pub(super) fn final_check(&mut self) -> Result<(), String> {
        self.audit()?;
        self.auditor.promises(self.now + Duration::from_hours(48));
        first(self.auditor.findings())?;
        for desk in &self.desks {
            desk.differs(&self.log).map_or(Ok(()), Err)?;
        }
        if let Some(payment_id) = self.bank.set_aside().first() {
            return Err(format!("the money of payment {payment_id} is set aside for ever"));
        }
        if let Some(asked) = self.bank.wrong_currency() {
            return Err(format!("the provider is asked for {asked}"));
        }
        let (twice, mut moved) = self.bank.audit();
        if let Some(refund_id) = twice.first() {
            return Err(format!("the money of refund {refund_id} went out more than once"));
        }
        self.wallets.check(&mut moved)?;
        self.coupons.check()?;
        self.money.check(&moved)
    }
}

fn first(findings: Vec<impl Display>) -> Result<(), String> {
    findings.first().map_or(Ok(()), |finding| Err(finding.to_string()))
}
