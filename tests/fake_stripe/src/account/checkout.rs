//! Checkout sessions: opened, paid, declined, expired.

use serde_json::{Value, json};

use super::{
    Account, Cause, Due,
    objects::{Charge, ChargeStatus, Intent, IntentStatus, Method, Session, SessionStatus},
};
use crate::{
    money::{check_charge, check_step},
    problem::Problem,
    render,
    requests::{Capture, NewSession},
};

const EXPIRES_AFTER_MIN: i64 = 30 * 60;
const EXPIRES_AFTER_MAX: i64 = 24 * 60 * 60;

/// For how long a card stays authorised.
const AUTHORISED_FOR: i64 = 7 * 24 * 60 * 60;

impl Account {
    pub(crate) fn create_session(&mut self, cause: &Cause, new: NewSession) -> Result<Value, Problem> {
        let expires_at = expiry(cause.now, new.expires_at)?;
        let discount = match &new.coupon {
            Some(coupon) => self.discount(cause, coupon, &new.currency, new.subtotal)?,
            None => 0,
        };
        let total = new.subtotal.saturating_sub(discount);
        // Free orders are possible; what is too small to be charged is not.
        if total != 0 {
            check_charge(&new.currency, total)?;
            check_step(&new.currency, total, "line_items")?;
        }
        let id = self.new_id(if self.is_live { "cs_live_" } else { "cs_test_" });
        let session = Session {
            id: id.clone(),
            created: cause.now,
            expires_at,
            status: SessionStatus::Open,
            is_paid: false,
            lines: new.lines,
            currency: new.currency,
            subtotal: new.subtotal,
            discount,
            coupon: new.coupon,
            client_reference_id: new.client_reference_id,
            metadata: new.metadata,
            intent_metadata: new.intent_metadata,
            intent_description: new.intent_description,
            capture: new.capture,
            success_url: new.success_url,
            cancel_url: new.cancel_url,
            adaptive_pricing: new.adaptive_pricing,
            allowed_methods: new.allowed_methods,
            offers_debit: self.offers_debit,
            customer_email: new.customer_email,
            locale: new.locale,
            submit_type: new.submit_type,
            intent: None,
        };
        if session.methods().is_empty() {
            let text = "No valid payment method types for this Checkout Session.";
            return Err(Problem::invalid(text).param("allowed_payment_method_types"));
        }
        let shown = render::session(self, &session);
        self.due.insert((expires_at, Due::SessionEnds(id.clone())));
        self.sessions.insert(id, session);
        Ok(shown)
    }

    pub(crate) fn expire_session(&mut self, cause: &Cause, id: &str) -> Result<Value, Problem> {
        let status = self.find_session(id)?.status;
        if status != SessionStatus::Open {
            return Err(Problem::forbidden_now(format!(
                "Only Checkout Sessions with a status in [\"open\"] can be expired. \
                 This Checkout Session has a status of `{}`.",
                status.word()
            )));
        }
        self.update_session(id, |session| session.status = SessionStatus::Expired);
        let shown = render::session(self, self.find_session(id)?);
        self.emit(cause, "checkout.session.expired", shown.clone(), None);
        Ok(shown)
    }

    /// The session if a buyer may still pay through it.
    pub(super) fn payable(&self, cause: &Cause, id: &str) -> Result<Session, Problem> {
        let session = self.find_session(id)?;
        match session.status {
            SessionStatus::Open if cause.now < session.expires_at => Ok(session.clone()),
            SessionStatus::Open | SessionStatus::Complete | SessionStatus::Expired => {
                let text = "This Checkout Session is complete or has timed out.";
                Err(Problem::forbidden_now(text).code("payment_intent_unexpected_state"))
            }
        }
    }

    /// A buyer pays with a good card. Nothing comes back if nothing was to pay, else the intent's id.
    pub(crate) fn pay(&mut self, cause: &Cause, id: &str) -> Result<Option<String>, Problem> {
        let session = self.payable(cause, id)?;
        if session.total() == 0 {
            self.complete(cause, id, true);
            return Ok(None);
        }
        let intent_id = self.confirmed_intent(cause, &session);
        let charge_id = self.new_charge(cause, &session, &intent_id, (Method::Card, ChargeStatus::Succeeded));
        match session.capture {
            Capture::Manual => {
                let capture_before = cause.now.saturating_add(AUTHORISED_FOR);
                self.update_charge(&charge_id, |charge| charge.capture_before = Some(capture_before));
                self.update_intent(&intent_id, |intent| {
                    intent.status = IntentStatus::RequiresCapture;
                    intent.is_declined = false;
                });
                self.due.insert((capture_before, Due::AuthorisationEnds(intent_id.clone())));
                self.tell(cause, "payment_intent.amount_capturable_updated", &intent_id, None);
            }
            Capture::Automatic | Capture::AutomaticAsync => {
                self.receive(cause, &intent_id, &charge_id, session.total());
                self.tell(cause, "payment_intent.succeeded", &intent_id, None);
            }
        }
        self.complete(cause, id, session.capture != Capture::Manual);
        Ok(Some(intent_id))
    }

    /// A buyer tries a card that the bank declines; the session stays open. The intent's id.
    pub(crate) fn decline(&mut self, cause: &Cause, id: &str) -> Result<String, Problem> {
        let session = self.payable(cause, id)?;
        if session.total() == 0 {
            return Err(Problem::forbidden_now("There is nothing to pay, so no card is asked for."));
        }
        let intent_id = self.confirmed_intent(cause, &session);
        self.new_charge(cause, &session, &intent_id, (Method::Card, ChargeStatus::Failed));
        self.update_intent(&intent_id, |intent| intent.is_declined = true);
        self.tell(cause, "payment_intent.payment_failed", &intent_id, None);
        Ok(intent_id)
    }

    pub(super) fn complete(&mut self, cause: &Cause, id: &str, is_paid: bool) {
        let coupon = self.sessions.get(id).and_then(|session| session.coupon.as_ref());
        if let Some(coupon) = coupon.and_then(|coupon| self.coupons.get_mut(coupon)) {
            coupon.times_redeemed = coupon.times_redeemed.saturating_add(1);
        }
        self.update_session(id, |session| {
            session.status = SessionStatus::Complete;
            session.is_paid = is_paid;
        });
        self.tell(cause, "checkout.session.completed", id, None);
    }

    /// The session's intent, made when a buyer first confirms.
    pub(super) fn confirmed_intent(&mut self, cause: &Cause, session: &Session) -> String {
        if let Some(intent) = &session.intent {
            return intent.clone();
        }
        let id = self.new_id("pi_");
        let intent = Intent {
            id: id.clone(),
            created: cause.now,
            session: session.id.clone(),
            status: IntentStatus::RequiresPaymentMethod,
            amount: session.total(),
            received: 0,
            currency: session.currency.clone(),
            capture: session.capture,
            metadata: session.intent_metadata.clone(),
            description: session.intent_description.clone(),
            methods: session.methods(),
            charges: Vec::new(),
            canceled_at: None,
            cancellation_reason: None,
            is_declined: false,
        };
        self.intents.insert(id.clone(), intent);
        self.update_session(&session.id, |session| session.intent = Some(id.clone()));
        id
    }

    pub(super) fn new_charge(
        &mut self,
        cause: &Cause,
        session: &Session,
        intent: &str,
        (method, status): (Method, ChargeStatus),
    ) -> String {
        let id = self.new_id("ch_");
        let charge = Charge {
            id: id.clone(),
            created: cause.now,
            intent: intent.to_owned(),
            amount: session.total(),
            currency: session.currency.clone(),
            metadata: session.intent_metadata.clone(),
            description: session.intent_description.clone(),
            method,
            status,
            is_captured: false,
            captured: 0,
            released: 0,
            capture_before: None,
            balance_transaction: None,
            refunds: Vec::new(),
            disputes: Vec::new(),
        };
        self.charges.insert(id.clone(), charge);
        self.update_intent(intent, |intent| intent.charges.push(id.clone()));
        id
    }

    /// The money of a charge arrives.
    pub(super) fn receive(&mut self, cause: &Cause, intent_id: &str, charge_id: &str, amount: i64) {
        let currency = self.charges.get(charge_id).map(|charge| charge.currency.clone()).unwrap_or_default();
        let fee = amount.saturating_mul(15) / 1_000 + 25;
        let transaction = self.book(cause, "charge", charge_id, amount, fee, &currency);
        self.update_charge(charge_id, |charge| {
            charge.is_captured = true;
            charge.captured = amount;
            charge.balance_transaction = Some(transaction);
        });
        self.update_intent(intent_id, |intent| {
            intent.status = IntentStatus::Succeeded;
            intent.received = amount;
            intent.is_declined = false;
        });
    }
}

fn expiry(now: i64, asked: Option<i64>) -> Result<i64, Problem> {
    let Some(asked) = asked else { return Ok(now.saturating_add(EXPIRES_AFTER_MAX)) };
    let after = asked.saturating_sub(now);
    if after < EXPIRES_AFTER_MIN {
        let text = "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.";
        return Err(Problem::invalid(text).param("expires_at"));
    }
    if after > EXPIRES_AFTER_MAX {
        let text = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.";
        return Err(Problem::invalid(text).param("expires_at"));
    }
    Ok(asked)
}

impl Account {
    /// The session's lines as a list object of Stripe's.
    pub(crate) fn session_lines(&self, id: &str) -> Result<Value, Problem> {
        let session = self.find_session(id)?;
        let lines: Vec<Value> = session.lines.iter().enumerate().map(|line| render::line(session, line)).collect();
        let url = format!("/v1/checkout/sessions/{id}/line_items");
        Ok(json!({ "object": "list", "data": lines, "has_more": false, "url": url }))
    }
}
