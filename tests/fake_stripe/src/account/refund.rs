//! Refunds: how much may go back, and what becomes of it.

use serde_json::{Value, json};

use super::{
    Account, Cause, Due,
    objects::{Charge, DisputeStatus, IntentStatus, Refund, RefundOrigin, RefundStatus},
};
use crate::{money::check_step, problem::Problem, render, requests::NewRefund};

/// How a new refund begins, and how it goes on by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefundCourse {
    pub(crate) begins: RefundStatus,
    /// After so many seconds it becomes this.
    pub(crate) becomes: Option<(i64, RefundStatus)>,
}

impl Account {
    pub(crate) fn create_refund(
        &mut self,
        cause: &Cause,
        new: NewRefund,
        origin: RefundOrigin,
        course: RefundCourse,
    ) -> Result<Value, Problem> {
        let charge = self.refundable(&new)?;
        let left = self.refundable_amount(&charge);
        if left == 0 {
            let text = format!("Charge {} has already been refunded.", charge.id);
            return Err(Problem::forbidden_now(text).code("charge_already_refunded"));
        }
        let amount = new.amount.unwrap_or(left);
        if amount > left {
            let text = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
            return Err(Problem::forbidden_now(text).param("amount"));
        }
        check_step(&charge.currency, amount, "amount")?;
        let id = self.new_id("re_");
        let transaction = self.book(cause, "refund", &id, amount.saturating_neg(), 0, &charge.currency);
        let refund = Refund {
            id: id.clone(),
            created: cause.now,
            origin,
            status: course.begins,
            amount,
            currency: charge.currency.clone(),
            intent: charge.intent.clone(),
            charge: charge.id.clone(),
            metadata: new.metadata,
            reason: new.reason,
            balance_transaction: Some(transaction),
            failure_balance_transaction: None,
        };
        let shown = render::refund(&refund);
        self.refunds.insert(id.clone(), refund);
        self.refund_order.push(id.clone());
        self.update_charge(&charge.id, |charge| charge.refunds.push(id.clone()));
        if let Some((after, status)) = course.becomes {
            self.due.insert((cause.now.saturating_add(after), Due::RefundSettles(id, status)));
        }
        self.emit(cause, "refund.created", shown.clone(), None);
        self.tell(cause, "charge.refunded", &charge.id, None);
        Ok(shown)
    }

    /// The charge that is to be refunded, if it may be.
    fn refundable(&self, new: &NewRefund) -> Result<Charge, Problem> {
        let charge = match (&new.charge, &new.payment_intent) {
            (Some(charge), _) => self.find_charge(charge).map_err(|problem| problem.param("charge"))?,
            (None, intent) => {
                let intent = self.find_intent(intent.as_deref().unwrap_or_default());
                let intent = intent.map_err(|problem| problem.param("payment_intent"))?;
                if intent.status != IntentStatus::Succeeded {
                    let text =
                        format!("This PaymentIntent ({}) does not have a successful charge to refund.", intent.id);
                    let problem = Problem::forbidden_now(text).code("payment_intent_unexpected_state");
                    return Err(problem.about(render::intent(self, intent)));
                }
                self.find_charge(intent.charges.last().map_or("", String::as_str))?
            }
        };
        if !charge.is_captured {
            let text = format!("Charge {} has not been captured; cancel its PaymentIntent instead.", charge.id);
            return Err(Problem::forbidden_now(text).code("charge_not_refundable"));
        }
        let of_charge = charge.disputes.iter().filter_map(|dispute| self.disputes.get(dispute));
        if of_charge.into_iter().any(|dispute| dispute.status != DisputeStatus::Won) {
            let text = format!("Charge {} has been charged back; cannot issue a refund.", charge.id);
            return Err(Problem::forbidden_now(text).code("charge_disputed"));
        }
        Ok(charge.clone())
    }

    /// Refunds of a charge that gave money back, or are about to.
    fn refunded_amount(&self, charge: &Charge) -> i64 {
        let refunds = charge.refunds.iter().filter_map(|refund| self.refunds.get(refund));
        let holding = refunds.filter(|refund| refund.origin != RefundOrigin::Release && refund.status.holds());
        holding.map(|refund| refund.amount).sum()
    }

    /// As Stripe shows it: what was released, too.
    pub(crate) fn amount_refunded(&self, charge: &Charge) -> i64 {
        self.refunded_amount(charge).saturating_add(charge.released)
    }

    fn refundable_amount(&self, charge: &Charge) -> i64 {
        charge.captured.saturating_sub(self.refunded_amount(charge))
    }

    pub(crate) fn settle_refund(&mut self, cause: &Cause, id: &str, status: RefundStatus) -> Result<(), Problem> {
        let refund = self.refunds.get(id).ok_or_else(|| Problem::missing("refund", id))?.clone();
        if !refund.status.may_become(status) {
            let text = format!("A refund that is {} cannot become {}.", refund.status.word(), status.word());
            return Err(Problem::forbidden_now(text));
        }
        let returned = if status.holds() {
            None
        } else {
            Some(self.book(cause, "refund_failure", id, refund.amount, 0, &refund.currency))
        };
        if let Some(refund) = self.refunds.get_mut(id) {
            refund.status = status;
            refund.failure_balance_transaction = returned;
        }
        let previous = json!({ "status": refund.status.word() });
        self.tell(cause, "refund.updated", id, Some(previous));
        if status == RefundStatus::Failed {
            self.tell(cause, "refund.failed", id, None);
        }
        Ok(())
    }
}
