//! A checkout session and its lines.

use serde_json::{Value, json};

use super::{merged, nulls};
use crate::{
    account::{Account, Session, SessionStatus},
    requests::Line,
};

pub(crate) fn session(account: &Account, session: &Session) -> Value {
    merged([own(account, session), given(session), nulls(NOTHING)])
}

/// What the account and the buyers make of it.
fn own(account: &Account, session: &Session) -> Value {
    let is_open = session.status == SessionStatus::Open;
    let payment_status = match (session.total(), session.is_paid) {
        (0, true) => "no_payment_required",
        (_, true) => "paid",
        (_, false) => "unpaid",
    };
    let customer_email = session.customer_email.as_deref().unwrap_or("buyer@example.com");
    let customer_details = (session.status == SessionStatus::Complete).then(|| {
        let address =
            json!({ "city": null, "country": "DE", "line1": null, "line2": null, "postal_code": null, "state": null });
        json!({
            "address": address,
            "business_name": null,
            "email": customer_email,
            "individual_name": null,
            "name": "Erika Mustermann",
            "phone": null,
            "tax_exempt": "none",
            "tax_ids": [],
        })
    });
    json!({
        "id": session.id,
        "object": "checkout.session",
        "amount_subtotal": session.subtotal,
        "amount_total": session.total(),
        "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
        "created": session.created,
        "currency": session.currency,
        "customer_details": customer_details,
        "discounts": session.coupon.iter().map(|coupon| json!({ "coupon": coupon, "promotion_code": null }))
            .collect::<Vec<_>>(),
        "expires_at": session.expires_at,
        "livemode": account.is_live,
        "mode": "payment",
        "payment_intent": session.intent,
        "payment_method_types": session.methods(),
        "payment_status": payment_status,
        "status": session.status.word(),
        "total_details": { "amount_discount": session.discount, "amount_shipping": 0, "amount_tax": 0 },
        "url": is_open.then(|| format!("{}/pay/{}", account.base_url, session.id)),
    })
}

const NOTHING: &[&str] = &[
    "after_expiration",
    "allow_promotion_codes",
    "billing_address_collection",
    "client_secret",
    "collected_information",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer",
    "customer_account",
    "integration_identifier",
    "invoice",
    "invoice_creation",
    "managed_payments",
    "optional_items",
    "origin_context",
    "payment_link",
    "payment_method_configuration_details",
    "payment_method_options",
    "permissions",
    "recovered_from",
    "saved_payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "subscription",
    "wallet_options",
];

/// What the shop gave, and what is always the same.
fn given(session: &Session) -> Value {
    let allowed = (!session.allowed_methods.is_empty()).then_some(&session.allowed_methods);
    json!({
        "adaptive_pricing": { "enabled": session.adaptive_pricing },
        "allowed_payment_method_types": allowed,
        "cancel_url": session.cancel_url,
        "client_reference_id": session.client_reference_id,
        "custom_fields": [],
        "custom_text": {
            "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null,
        },
        "customer_creation": "if_required",
        "customer_email": session.customer_email,
        "locale": session.locale,
        "metadata": session.metadata,
        "payment_method_collection": "if_required",
        "phone_number_collection": { "enabled": false },
        "shipping_options": [],
        "submit_type": session.submit_type,
        "success_url": session.success_url,
        "ui_mode": "hosted_page",
    })
}

pub(crate) fn line(session: &Session, (number, line): (usize, &Line)) -> Value {
    let amount = line.unit_amount.saturating_mul(line.quantity);
    let id = session.id.split('_').next_back().unwrap_or_default();
    json!({
        "id": format!("li_{id}{number}"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": session.currency,
        "description": line.name,
        "metadata": {},
        "price": null,
        "quantity": line.quantity,
    })
}
