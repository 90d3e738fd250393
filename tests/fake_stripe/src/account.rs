//! The account: every object it has, and the rules by which they change. It knows no IO and no clock but what it is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{chance::Chance, problem::Problem, render};

mod checkout;
mod coupon;
mod delayed;
mod dispute;
mod intent;
mod objects;
mod refund;
#[cfg(test)]
mod tests;

pub(crate) use intent::Bank;
pub(crate) use objects::{
    Charge, ChargeStatus, Coupon, Dispute, DisputeStatus, Intent, IntentStatus, Method, Move, Refund, Session,
    SessionStatus,
};
pub use objects::{RefundOrigin, RefundStatus};
pub(crate) use refund::RefundCourse;

/// Who or what wants a change, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    pub(crate) now: i64,
    /// The call's, if it was one.
    pub(crate) request_id: Option<String>,
    pub(crate) key: Option<String>,
}

/// A change that webhooks tell of.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) kind: &'static str,
    pub(crate) object: Value,
    pub(crate) previous: Option<Value>,
    pub(crate) cause: Cause,
}

/// What happens when its time comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    SessionEnds(String),
    AuthorisationEnds(String),
    RefundSettles(String, RefundStatus),
}

/// All objects, each kind by id.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) is_live: bool,
    /// Whether new pages offer debits, whatever they allow.
    pub(crate) offers_debit: bool,
    /// Where buyers find the fake's pages.
    pub(crate) base_url: String,
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) intents: BTreeMap<String, Intent>,
    pub(crate) charges: BTreeMap<String, Charge>,
    pub(crate) refunds: BTreeMap<String, Refund>,
    /// Refunds as they were made.
    pub(crate) refund_order: Vec<String>,
    pub(crate) disputes: BTreeMap<String, Dispute>,
    pub(crate) coupons: BTreeMap<String, Coupon>,
    pub(crate) moves: BTreeMap<String, Move>,
    ids: Chance,
    due: BTreeSet<(i64, Due)>,
    emitted: Vec<Emitted>,
}

impl Account {
    pub(crate) fn new(is_live: bool, base_url: String, ids: Chance) -> Self {
        Self {
            is_live,
            offers_debit: false,
            base_url,
            sessions: BTreeMap::new(),
            intents: BTreeMap::new(),
            charges: BTreeMap::new(),
            refunds: BTreeMap::new(),
            refund_order: Vec::new(),
            disputes: BTreeMap::new(),
            coupons: BTreeMap::new(),
            moves: BTreeMap::new(),
            ids,
            due: BTreeSet::new(),
            emitted: Vec::new(),
        }
    }

    /// Does what has come due.
    pub(crate) fn turn(&mut self, now: i64) {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, due)) = self.due.pop_first() else { return };
            let cause = Cause { now, ..Cause::default() };
            // What is due no more, because it was paid or captured meanwhile, is refused.
            let done = match due {
                Due::SessionEnds(id) => self.expire_session(&cause, &id).map(drop),
                Due::AuthorisationEnds(id) => self.end_authorisation(&cause, &id),
                Due::RefundSettles(id, status) => self.settle_refund(&cause, &id, status),
            };
            drop(done);
        }
    }

    /// Changes since it was last asked, oldest first.
    pub(crate) fn take_emitted(&mut self) -> Vec<Emitted> {
        std::mem::take(&mut self.emitted)
    }

    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        self.ids.id(prefix, 24)
    }

    fn emit(&mut self, cause: &Cause, kind: &'static str, object: Value, previous: Option<Value>) {
        self.emitted.push(Emitted { kind, object, previous, cause: cause.clone() });
    }

    /// Books money that comes to the balance, or leaves it.
    fn book(
        &mut self,
        cause: &Cause,
        kind: &'static str,
        source: &str,
        amount: i64,
        fee: i64,
        currency: &str,
    ) -> String {
        let id = self.new_id("txn_");
        let entry = Move {
            id: id.clone(),
            kind,
            amount,
            fee,
            currency: currency.to_owned(),
            source: source.to_owned(),
            created: cause.now,
        };
        self.moves.insert(id.clone(), entry);
        id
    }

    /// An object as it is shown, by its id alone.
    pub(crate) fn show(&self, id: &str) -> Option<Value> {
        let prefix = id.split('_').next().unwrap_or_default();
        match prefix {
            "cs" => self.sessions.get(id).map(|session| render::session(self, session)),
            "pi" => self.intents.get(id).map(|intent| render::intent(self, intent)),
            "ch" => self.charges.get(id).map(|charge| render::charge(self, charge)),
            "re" => self.refunds.get(id).map(render::refund),
            "du" => self.disputes.get(id).map(|dispute| render::dispute(self, dispute)),
            "txn" => self.moves.get(id).map(render::balance_transaction),
            _other => None,
        }
    }

    pub(crate) fn find_session(&self, id: &str) -> Result<&Session, Problem> {
        self.sessions.get(id).ok_or_else(|| Problem::missing("checkout.session", id))
    }

    pub(crate) fn find_intent(&self, id: &str) -> Result<&Intent, Problem> {
        self.intents.get(id).ok_or_else(|| Problem::missing("payment_intent", id))
    }

    pub(crate) fn find_charge(&self, id: &str) -> Result<&Charge, Problem> {
        self.charges.get(id).ok_or_else(|| Problem::missing("charge", id))
    }

    fn update_session(&mut self, id: &str, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(id) {
            change(session);
        }
    }

    fn update_intent(&mut self, id: &str, change: impl FnOnce(&mut Intent)) {
        if let Some(intent) = self.intents.get_mut(id) {
            change(intent);
        }
    }

    fn update_charge(&mut self, id: &str, change: impl FnOnce(&mut Charge)) {
        if let Some(charge) = self.charges.get_mut(id) {
            change(charge);
        }
    }

    /// Tells of an object as it is now.
    fn tell(&mut self, cause: &Cause, kind: &'static str, id: &str, previous: Option<Value>) {
        if let Some(object) = self.show(id) {
            self.emit(cause, kind, object, previous);
        }
    }
}
