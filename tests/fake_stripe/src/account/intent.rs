//! PaymentIntents whose money is only authorised: captured, cancelled, or ended by time.

use serde_json::Value;

use super::{
    Account, Cause,
    objects::{Intent, IntentStatus, Refund, RefundOrigin, RefundStatus},
};
use crate::{
    money::check_step,
    params::Metadata,
    problem::Problem,
    render,
    requests::{NewCancel, NewCapture},
};

/// What a buyer's bank says when money that is set aside is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bank {
    Gives,
    /// No, and the money stays set aside.
    Keeps,
    /// No, and nothing is set aside any more.
    Withdraws,
}

impl Account {
    /// Whether the bank lets an intent be captured.
    pub(crate) fn ask_bank(&mut self, cause: &Cause, id: &str, bank: Bank) -> Result<&mut Self, Problem> {
        if bank == Bank::Gives || self.capturable(id, "captured").is_err() {
            return Ok(self);
        }
        if bank == Bank::Withdraws {
            self.update_intent(id, |intent| {
                intent.status = IntentStatus::RequiresPaymentMethod;
                intent.is_declined = true;
            });
            self.tell(cause, "payment_intent.payment_failed", id, None);
        }
        Err(Problem::card_declined().about(render::intent(self, self.find_intent(id)?)))
    }

    pub(crate) fn capture(&mut self, cause: &Cause, id: &str, new: NewCapture) -> Result<Value, Problem> {
        let intent = self.capturable(id, "captured")?;
        let amount = new.amount.unwrap_or(intent.amount);
        if amount > intent.amount {
            let text = format!("The amount to capture ({amount}) is above the amount capturable ({}).", intent.amount);
            return Err(Problem::forbidden_now(text).code("amount_too_large").param("amount_to_capture"));
        }
        check_step(&intent.currency, amount, "amount_to_capture")?;
        let charge_id = intent.charges.last().cloned().unwrap_or_default();
        self.update_intent(id, |intent| intent.metadata.extend(new.metadata));
        self.receive(cause, id, &charge_id, amount);
        self.update_session(&intent.session, |session| session.is_paid = true);
        self.tell(cause, "payment_intent.succeeded", id, None);
        self.release(cause, &intent, &charge_id, intent.amount.saturating_sub(amount));
        Ok(render::intent(self, self.find_intent(id)?))
    }

    pub(crate) fn cancel(&mut self, cause: &Cause, id: &str, new: &NewCancel) -> Result<Value, Problem> {
        let intent = self.capturable(id, "canceled")?;
        self.end(cause, &intent, new.reason);
        Ok(render::intent(self, self.find_intent(id)?))
    }

    /// Nobody captured it in time.
    pub(super) fn end_authorisation(&mut self, cause: &Cause, id: &str) -> Result<(), Problem> {
        let intent = self.capturable(id, "canceled")?;
        self.end(cause, &intent, Some("automatic"));
        Ok(())
    }

    fn capturable(&self, id: &str, verb: &str) -> Result<Intent, Problem> {
        let intent = self.find_intent(id)?;
        if intent.status == IntentStatus::RequiresCapture {
            return Ok(intent.clone());
        }
        let text = format!(
            "This PaymentIntent could not be {verb} because it has a status of {}. \
             Only a PaymentIntent with one of the following statuses may be {verb}: requires_capture.",
            intent.status.word()
        );
        let problem = Problem::forbidden_now(text).code("payment_intent_unexpected_state");
        Err(problem.about(render::intent(self, intent)))
    }

    fn end(&mut self, cause: &Cause, intent: &Intent, reason: Option<&'static str>) {
        self.update_intent(&intent.id, |intent| {
            intent.status = IntentStatus::Canceled;
            intent.canceled_at = Some(cause.now);
            intent.cancellation_reason = reason;
        });
        self.tell(cause, "payment_intent.canceled", &intent.id, None);
        let charge_id = intent.charges.last().cloned().unwrap_or_default();
        self.release(cause, intent, &charge_id, intent.amount);
    }

    /// What was not captured goes back to the card; Stripe makes a refund object of it.
    fn release(&mut self, cause: &Cause, intent: &Intent, charge_id: &str, amount: i64) {
        if amount == 0 {
            return;
        }
        let id = self.new_id("re_");
        let refund = Refund {
            id: id.clone(),
            created: cause.now,
            origin: RefundOrigin::Release,
            status: RefundStatus::Succeeded,
            amount,
            currency: intent.currency.clone(),
            intent: intent.id.clone(),
            charge: charge_id.to_owned(),
            metadata: Metadata::new(),
            reason: (intent.status == IntentStatus::Canceled).then_some("expired_uncaptured_charge"),
            balance_transaction: None,
            failure_balance_transaction: None,
        };
        self.refunds.insert(id.clone(), refund);
        self.refund_order.push(id.clone());
        self.update_charge(charge_id, |charge| {
            charge.released = amount;
            charge.refunds.push(id);
        });
        self.tell(cause, "charge.refunded", charge_id, None);
    }
}
