//! Payments by a delayed method: accepted now, and the money comes days later, or does not.

use super::{
    Account, Cause,
    objects::{ChargeStatus, IntentStatus, Method},
};
use crate::problem::Problem;

impl Account {
    /// A buyer lets the bank debit an account. The intent's id.
    pub(crate) fn pay_delayed(&mut self, cause: &Cause, id: &str) -> Result<String, Problem> {
        let session = self.payable(cause, id)?;
        if session.total() == 0 || !session.methods().contains(&"sepa_debit") {
            return Err(Problem::forbidden_now("This Checkout Session does not offer sepa_debit."));
        }
        let intent_id = self.confirmed_intent(cause, &session);
        self.new_charge(cause, &session, &intent_id, (Method::SepaDebit, ChargeStatus::Pending));
        self.update_intent(&intent_id, |intent| {
            intent.status = IntentStatus::Processing;
            intent.is_declined = false;
        });
        self.complete(cause, id, false);
        Ok(intent_id)
    }

    /// The money of a delayed method is there, or it is known that it will never be.
    pub(crate) fn settle_payment(&mut self, cause: &Cause, id: &str, status: ChargeStatus) -> Result<(), Problem> {
        let session = self.find_session(id)?;
        let under_way = session.intent.as_ref().and_then(|intent| self.intents.get(intent));
        let under_way = under_way.filter(|intent| intent.status == IntentStatus::Processing).cloned();
        let (Some(intent), true) = (under_way, status != ChargeStatus::Pending) else {
            return Err(Problem::forbidden_now("No payment of this Checkout Session is under way."));
        };
        let charge_id = intent.charges.last().cloned().unwrap_or_default();
        self.update_charge(&charge_id, |charge| charge.status = status);
        if status == ChargeStatus::Succeeded {
            self.receive(cause, &intent.id, &charge_id, intent.amount);
            self.update_session(id, |session| session.is_paid = true);
            self.tell(cause, "payment_intent.succeeded", &intent.id, None);
            self.tell(cause, "checkout.session.async_payment_succeeded", id, None);
        } else {
            self.update_intent(&intent.id, |intent| {
                intent.status = IntentStatus::RequiresPaymentMethod;
                intent.is_declined = true;
            });
            self.tell(cause, "payment_intent.payment_failed", &intent.id, None);
            self.tell(cause, "checkout.session.async_payment_failed", id, None);
        }
        Ok(())
    }
}
