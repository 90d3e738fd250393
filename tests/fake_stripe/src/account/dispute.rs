//! Disputes: money that the bank takes back.

use serde_json::json;

use super::{
    Account, Cause,
    objects::{Dispute, DisputeStatus, IntentStatus},
};
use crate::problem::Problem;

/// What Stripe charges for each.
const FEE: i64 = 1_500;

impl Account {
    /// A buyer goes to the bank. The dispute's id; its amount may be above or below the charge.
    pub(crate) fn dispute(&mut self, cause: &Cause, intent: &str, amount: i64) -> Result<String, Problem> {
        let intent = self.find_intent(intent)?;
        if intent.status != IntentStatus::Succeeded || amount < 1 {
            return Err(Problem::forbidden_now("Only what was charged can be disputed, and by an amount above zero."));
        }
        let (intent_id, currency) = (intent.id.clone(), intent.currency.clone());
        let charge_id = intent.charges.last().cloned().unwrap_or_default();
        let id = self.new_id("du_");
        let withdrawal = self.book(cause, "adjustment", &id, amount.saturating_neg(), FEE, &currency);
        let dispute = Dispute {
            id: id.clone(),
            created: cause.now,
            status: DisputeStatus::NeedsResponse,
            amount,
            currency,
            intent: intent_id,
            charge: charge_id.clone(),
            moves: vec![withdrawal],
        };
        self.disputes.insert(id.clone(), dispute);
        self.update_charge(&charge_id, |charge| charge.disputes.push(id.clone()));
        self.tell(cause, "charge.dispute.created", &id, None);
        self.tell(cause, "charge.dispute.funds_withdrawn", &id, None);
        Ok(id)
    }

    pub(crate) fn close_dispute(&mut self, cause: &Cause, id: &str, status: DisputeStatus) -> Result<(), Problem> {
        let dispute = self.disputes.get(id).ok_or_else(|| Problem::missing("dispute", id))?.clone();
        if dispute.status != DisputeStatus::NeedsResponse || status == DisputeStatus::NeedsResponse {
            let text = format!("A dispute that is {} cannot become {}.", dispute.status.word(), status.word());
            return Err(Problem::forbidden_now(text));
        }
        let back = (status == DisputeStatus::Won)
            .then(|| self.book(cause, "adjustment", id, dispute.amount, 0, &dispute.currency));
        if let Some(dispute) = self.disputes.get_mut(id) {
            dispute.status = status;
            dispute.moves.extend(back);
        }
        if status == DisputeStatus::Won {
            self.tell(cause, "charge.dispute.funds_reinstated", id, None);
        }
        let previous = json!({ "status": dispute.status.word() });
        self.tell(cause, "charge.dispute.closed", id, Some(previous));
        Ok(())
    }
}
