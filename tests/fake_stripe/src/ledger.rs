//! The ledger: what money moved, by the shop's payment, for whoever compares the shop's books with it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::account::{
    Account, Charge, ChargeStatus, Dispute, Intent, IntentStatus, Refund, RefundOrigin, RefundStatus, Session,
};

/// All money there was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// By `metadata[payment_id]` of the session; by the session's id where it has none.
    pub payments: BTreeMap<String, PaymentEntry>,
    /// By currency.
    pub totals: BTreeMap<String, Totals>,
}

/// Everything that belongs to one payment of the shop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PaymentEntry {
    pub sessions: Vec<SessionEntry>,
    pub intents: Vec<IntentEntry>,
    pub charges: Vec<ChargeEntry>,
    pub refunds: Vec<RefundEntry>,
    pub disputes: Vec<DisputeEntry>,
}

/// A checkout session; amounts in Stripe's minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Stripe's names")]
pub struct SessionEntry {
    pub id: String,
    pub status: &'static str,
    pub amount_total: i64,
    pub currency: String,
    pub created: i64,
    pub expires_at: i64,
    /// What is bought, line by line, as the buyer reads it.
    pub names: Vec<String>,
    pub metadata: BTreeMap<String, String>,
}

/// A PaymentIntent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Stripe's names")]
pub struct IntentEntry {
    pub id: String,
    pub status: &'static str,
    pub amount: i64,
    pub amount_received: i64,
    pub metadata: BTreeMap<String, String>,
}

/// A charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Stripe's names")]
pub struct ChargeEntry {
    pub id: String,
    pub payment_intent: String,
    pub amount: i64,
    pub amount_captured: i64,
    /// Authorised and given up.
    pub amount_released: i64,
    /// Given back, or about to be.
    pub amount_refunded: i64,
    pub failed: bool,
}

/// A refund; what was released instead of captured has one, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Stripe's names")]
pub struct RefundEntry {
    pub id: String,
    pub charge: String,
    pub amount: i64,
    pub status: RefundStatus,
    pub origin: RefundOrigin,
    pub metadata: BTreeMap<String, String>,
}

/// A dispute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "Stripe's names")]
pub struct DisputeEntry {
    pub id: String,
    pub charge: String,
    pub amount: i64,
    pub status: &'static str,
    /// What is gone of it: nothing once it is won.
    pub charged_back: i64,
}

/// Sums of one currency, in Stripe's minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Authorised, and neither captured nor released yet.
    pub authorised: i64,
    /// Captured, whatever became of it.
    pub captured: i64,
    /// Authorised and given up.
    pub released: i64,
    /// Given back for sure, as far as anything is.
    pub refunded: i64,
    /// Refunds that are pending, or wait for the buyer.
    pub refunding: i64,
    /// Taken back by banks and not returned.
    pub charged_back: i64,
}

impl Ledger {
    pub(crate) fn of(account: &Account) -> Self {
        let mut ledger = Self::default();
        for session in account.sessions.values() {
            let payment = session.metadata.get("payment_id").unwrap_or(&session.id);
            let entry = ledger.payments.entry(payment.clone()).or_default();
            let totals = ledger.totals.entry(session.currency.clone()).or_default();
            entry.sessions.push(session_entry(session));
            let Some(intent) = session.intent.as_ref().and_then(|intent| account.intents.get(intent)) else { continue };
            entry.intents.push(intent_entry(intent));
            if intent.status == IntentStatus::RequiresCapture {
                totals.authorised = totals.authorised.saturating_add(intent.amount);
            }
            for charge in intent.charges.iter().filter_map(|charge| account.charges.get(charge)) {
                entry.add(account, charge, totals);
            }
        }
        ledger
    }
}

impl PaymentEntry {
    fn add(&mut self, account: &Account, charge: &Charge, totals: &mut Totals) {
        totals.captured = totals.captured.saturating_add(charge.captured);
        totals.released = totals.released.saturating_add(charge.released);
        self.charges.push(ChargeEntry {
            id: charge.id.clone(),
            payment_intent: charge.intent.clone(),
            amount: charge.amount,
            amount_captured: charge.captured,
            amount_released: charge.released,
            amount_refunded: account.amount_refunded(charge).saturating_sub(charge.released),
            failed: charge.status == ChargeStatus::Failed,
        });
        for refund in charge.refunds.iter().filter_map(|refund| account.refunds.get(refund)) {
            self.refunds.push(refund_entry(refund));
            match (refund.origin, refund.status) {
                (RefundOrigin::Release, _) | (_, RefundStatus::Failed | RefundStatus::Canceled) => {}
                (_, RefundStatus::Succeeded) => totals.refunded = totals.refunded.saturating_add(refund.amount),
                (_, RefundStatus::Pending | RefundStatus::RequiresAction) => {
                    totals.refunding = totals.refunding.saturating_add(refund.amount);
                }
            }
        }
        for dispute in charge.disputes.iter().filter_map(|dispute| account.disputes.get(dispute)) {
            let entry = dispute_entry(account, dispute);
            totals.charged_back = totals.charged_back.saturating_add(entry.charged_back);
            self.disputes.push(entry);
        }
    }
}

fn session_entry(session: &Session) -> SessionEntry {
    SessionEntry {
        id: session.id.clone(),
        status: session.status.word(),
        amount_total: session.total(),
        currency: session.currency.clone(),
        created: session.created,
        expires_at: session.expires_at,
        names: session.lines.iter().map(|line| line.name.clone()).collect(),
        metadata: session.metadata.clone(),
    }
}

fn intent_entry(intent: &Intent) -> IntentEntry {
    IntentEntry {
        id: intent.id.clone(),
        status: intent.status.word(),
        amount: intent.amount,
        amount_received: intent.received,
        metadata: intent.metadata.clone(),
    }
}

fn refund_entry(refund: &Refund) -> RefundEntry {
    RefundEntry {
        id: refund.id.clone(),
        charge: refund.charge.clone(),
        amount: refund.amount,
        status: refund.status,
        origin: refund.origin,
        metadata: refund.metadata.clone(),
    }
}

fn dispute_entry(account: &Account, dispute: &Dispute) -> DisputeEntry {
    let moved: i64 = dispute.moves.iter().filter_map(|id| account.moves.get(id)).map(|entry| entry.amount).sum();
    DisputeEntry {
        id: dispute.id.clone(),
        charge: dispute.charge.clone(),
        amount: dispute.amount,
        status: dispute.status.word(),
        charged_back: moved.saturating_neg(),
    }
}
