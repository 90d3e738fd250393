//! What money moves through: intents, charges, refunds, disputes, and the balance.

use serde_json::{Value, json};

use super::{merged, nulls};
use crate::{
    account::{Account, Charge, ChargeStatus, Dispute, Intent, IntentStatus, Method, Move, Refund, RefundStatus},
    requests::Capture,
};

pub(crate) fn intent(account: &Account, intent: &Intent) -> Value {
    let capturable = if intent.status == IntentStatus::RequiresCapture { intent.amount } else { 0 };
    let capture_method = match intent.capture {
        Capture::Automatic => "automatic",
        Capture::AutomaticAsync => "automatic_async",
        Capture::Manual => "manual",
    };
    let last_charge = intent.charges.last();
    let failed = last_charge.and_then(|charge| account.charges.get(charge)).filter(|_charge| intent.is_declined);
    let last_payment_error = failed.map(|charge| {
        let (kind, code, message) = failure(charge.method);
        json!({
            "type": kind,
            "code": code,
            "message": message,
            "charge": charge.id,
            "doc_url": format!("https://stripe.com/docs/error-codes/{code}"),
        })
    });
    let own = json!({
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": capturable,
        "amount_details": { "tip": {} },
        "amount_received": intent.received,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": capture_method,
        "client_secret": format!("{}_secret_fake", intent.id),
        "confirmation_method": "automatic",
        "created": intent.created,
        "currency": intent.currency,
        "description": intent.description,
        "last_payment_error": last_payment_error,
        "latest_charge": last_charge,
        "livemode": account.is_live,
        "metadata": intent.metadata,
        "payment_method": (!intent.is_declined).then(|| format!("pm_{}", intent.id)),
        "payment_method_options": {},
        "payment_method_types": intent.methods,
        "status": intent.status.word(),
    });
    merged([own, nulls(NOTHING_IN_INTENTS)])
}

const NOTHING_IN_INTENTS: &[&str] = &[
    "allowed_payment_method_types",
    "application",
    "application_fee_amount",
    "automatic_payment_methods",
    "customer",
    "customer_account",
    "excluded_payment_method_types",
    "managed_payments",
    "next_action",
    "on_behalf_of",
    "payment_method_configuration_details",
    "payment_record",
    "processing",
    "receipt_email",
    "review",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
];

/// How the failure of a method is told.
fn failure(method: Method) -> (&'static str, &'static str, &'static str) {
    match method {
        Method::Card => ("card_error", "card_declined", "Your card was declined."),
        Method::SepaDebit => (
            "invalid_request_error",
            "debit_not_authorized",
            "The buyer's bank says that this debit was not authorised.",
        ),
    }
}

pub(crate) fn charge(account: &Account, charge: &Charge) -> Value {
    let refunded = account.amount_refunded(charge);
    let has_failed = charge.status == ChargeStatus::Failed;
    let (_, code, message) = failure(charge.method);
    let details = match charge.method {
        Method::Card => json!({ "type": "card", "card": card(charge) }),
        Method::SepaDebit => json!({ "type": "sepa_debit", "sepa_debit": sepa_debit() }),
    };
    let own = json!({
        "id": charge.id,
        "object": "charge",
        "amount": charge.amount,
        "amount_captured": charge.captured,
        "amount_refunded": refunded,
        "balance_transaction": charge.balance_transaction,
        "captured": charge.is_captured,
        "created": charge.created,
        "currency": charge.currency,
        "description": charge.description,
        "disputed": !charge.disputes.is_empty(),
        "failure_code": has_failed.then_some(code),
        "failure_message": has_failed.then_some(message),
        "livemode": account.is_live,
        "metadata": charge.metadata,
        "outcome": outcome(charge),
        "paid": charge.status == ChargeStatus::Succeeded,
        "payment_intent": charge.intent,
        "payment_method": format!("pm_{}", charge.intent),
        "payment_method_details": details,
        "refunded": refunded == charge.amount,
        "status": charge.status.word(),
    });
    merged([own, charge_always(), nulls(NOTHING_IN_CHARGES)])
}

fn outcome(charge: &Charge) -> Value {
    let has_failed = charge.status == ChargeStatus::Failed;
    let (network_status, message, kind) = if has_failed {
        ("declined_by_network", "The bank did not return any further details with this decline.", "issuer_declined")
    } else {
        ("approved_by_network", "Payment complete.", "authorized")
    };
    json!({
        "advice_code": null,
        "network_advice_code": null,
        "network_decline_code": null,
        "network_status": network_status,
        "reason": has_failed.then_some("generic_decline"),
        "risk_level": "normal",
        "seller_message": message,
        "type": kind,
    })
}

fn sepa_debit() -> Value {
    json!({
        "bank_code": "37040044",
        "branch_code": null,
        "country": "DE",
        "fingerprint": "fakeFingerprint",
        "last4": "3000",
        "mandate": null,
    })
}

fn card(charge: &Charge) -> Value {
    let mut card = json!({
        "amount_authorized": charge.amount,
        "authorization_code": null,
        "brand": "visa",
        "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
        "country": "DE",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": "fakeFingerprint",
        "funding": "credit",
        "installments": null,
        "last4": if charge.status == ChargeStatus::Failed { "0002" } else { "4242" },
        "mandate": null,
        "network": "visa",
        "network_token": { "used": false },
        "network_transaction_id": null,
        "regulated_status": "unregulated",
        "three_d_secure": null,
        "wallet": null,
    });
    if let (Some(before), Some(fields)) = (charge.capture_before, card.as_object_mut()) {
        fields.insert("capture_before".to_owned(), json!(before));
    }
    card
}

/// What is the same in every charge.
fn charge_always() -> Value {
    let address =
        json!({ "city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null });
    json!({
        "billing_details": { "address": address, "email": null, "name": null, "phone": null, "tax_id": null },
        "calculated_statement_descriptor": "FAKE",
        "fraud_details": {},
        "radar_options": {},
    })
}

const NOTHING_IN_CHARGES: &[&str] = &[
    "application",
    "application_fee",
    "application_fee_amount",
    "customer",
    "failure_balance_transaction",
    "on_behalf_of",
    "receipt_email",
    "receipt_number",
    "receipt_url",
    "review",
    "shipping",
    "source_transfer",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
];

pub(crate) fn refund(refund: &Refund) -> Value {
    let mut shown = json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": refund.balance_transaction,
        "charge": refund.charge,
        "created": refund.created,
        "currency": refund.currency,
        "customer": null,
        "customer_account": null,
        "destination_details": { "type": "card", "card": { "type": "refund" } },
        "metadata": refund.metadata,
        "payment_intent": refund.intent,
        "payment_method": format!("pm_{}", refund.intent),
        "reason": refund.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": refund.status.word(),
        "transfer_reversal": null,
    });
    let by_status = match refund.status {
        RefundStatus::Pending => json!({ "pending_reason": "processing" }),
        RefundStatus::Failed => json!({
            "failure_reason": "expired_or_canceled_card",
            "failure_balance_transaction": refund.failure_balance_transaction,
        }),
        RefundStatus::Canceled => json!({
            "failure_reason": "merchant_request",
            "failure_balance_transaction": refund.failure_balance_transaction,
        }),
        RefundStatus::RequiresAction | RefundStatus::Succeeded => json!({}),
    };
    if let (Some(fields), Value::Object(more)) = (shown.as_object_mut(), by_status) {
        fields.extend(more);
    }
    shown
}

const EVIDENCE: [&str; 27] = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
];

pub(crate) fn dispute(account: &Account, dispute: &Dispute) -> Value {
    const TO_ANSWER: i64 = 9 * 24 * 60 * 60;
    let moves = dispute.moves.iter().filter_map(|id| account.moves.get(id));
    json!({
        "id": dispute.id,
        "object": "dispute",
        "amount": dispute.amount,
        "balance_transactions": moves.map(balance_transaction).collect::<Vec<_>>(),
        "charge": dispute.charge,
        "created": dispute.created,
        "currency": dispute.currency,
        "enhanced_eligibility_types": [],
        "evidence": merged([nulls(&EVIDENCE), json!({ "enhanced_evidence": {} })]),
        "evidence_details": {
            "due_by": dispute.created.saturating_add(TO_ANSWER),
            "enhanced_eligibility": {},
            "has_evidence": false,
            "past_due": false,
            "submission_count": 0,
        },
        "intended_submission_method": null,
        "is_charge_refundable": false,
        "livemode": account.is_live,
        "metadata": {},
        "network_reason_code": "10.4",
        "payment_intent": dispute.intent,
        "payment_method_details": {
            "type": "card",
            "card": { "brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4" },
        },
        "reason": "fraudulent",
        "status": dispute.status.word(),
    })
}

/// What Stripe's reports call it.
pub(crate) fn category(entry: &Move) -> &'static str {
    match entry.kind {
        "adjustment" if entry.amount < 0 => "dispute",
        "adjustment" => "dispute_reversal",
        kind => kind,
    }
}

pub(crate) fn balance_transaction(entry: &Move) -> Value {
    let fees = if entry.fee == 0 {
        json!([])
    } else {
        json!([{
            "amount": entry.fee, "application": null, "currency": entry.currency,
            "description": "Stripe processing fees", "type": "stripe_fee",
        }])
    };
    json!({
        "id": entry.id,
        "object": "balance_transaction",
        "amount": entry.amount,
        "available_on": entry.created,
        "balance_type": "payments",
        "created": entry.created,
        "currency": entry.currency,
        "description": null,
        "exchange_rate": null,
        "fee": entry.fee,
        "fee_details": fees,
        "net": entry.amount.saturating_sub(entry.fee),
        "reporting_category": category(entry),
        "source": entry.source,
        "status": "available",
        "type": entry.kind,
    })
}
