//! What each webhook is to us, row by row.

use domain::DisputeStanding;
use proto::{
    common::v1::Money,
    payments::v1::{ProviderEventKind, RecordProviderEvent, ReportedDispute},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{KINDS, Reading, Unreadable, read};
use crate::{ProviderName, Told, report_command_id};

const PAYMENT: &str = "00000000-0000-0000-0000-000000000001";
const REFUND: &str = "00000000-0000-0000-0000-000000000003";
const CREATED: i64 = 1_790_000_000;

fn event(kind: &str, object: &Value) -> Value {
    json!({
        "id": "evt_1", "object": "event", "api_version": "2026-10-28.endive", "created": CREATED, "livemode": false,
        "pending_webhooks": 1, "request": { "id": null, "idempotency_key": null }, "type": kind, "data": { "object": object },
    })
}

fn taken(event: &Value) -> Result<Reading, Unreadable> {
    read(event.to_string().as_bytes(), "fleet-1", false)
}

fn told(kind: &str, object: &Value) -> Reading {
    taken(&event(kind, object)).unwrap()
}

fn ours() -> Value {
    json!({ "holdfast_fleet": "fleet-1", "payment_id": PAYMENT, "order_id": "2" })
}

fn with(mut object: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

fn session(change: &Value) -> Value {
    let session = json!({
        "id": "cs_1", "object": "checkout.session", "status": "complete", "payment_status": "paid", "amount_total": 1_250,
        "currency": "eur", "payment_intent": "pi_1", "url": null, "metadata": ours(),
    });
    with(session, change)
}

fn intent(change: &Value) -> Value {
    let intent = json!({
        "id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 1_250, "amount_received": 1_250,
        "currency": "eur", "latest_charge": "ch_1", "last_payment_error": null, "metadata": ours(),
    });
    with(intent, change)
}

fn refund(change: &Value) -> Value {
    let metadata = with(ours(), &json!({ "refund_id": REFUND, "key": "key-1" }));
    let refund = json!({
        "id": "re_1", "object": "refund", "status": "succeeded", "amount": 500, "currency": "eur", "payment_intent": "pi_1",
        "metadata": metadata,
    });
    with(refund, change)
}

fn dispute(change: &Value) -> Value {
    let dispute = json!({
        "id": "du_1", "object": "dispute", "status": "needs_response", "amount": 1_250, "currency": "eur",
        "reason": "fraudulent", "charge": "ch_1", "payment_intent": "pi_1", "metadata": {}, "is_charge_refundable": false,
        "evidence_details": { "due_by": CREATED + 60, "has_evidence": false }, "balance_transactions": [],
    });
    with(dispute, change)
}

fn report(kind: ProviderEventKind, id: &str, reference: &str) -> RecordProviderEvent {
    RecordProviderEvent {
        kind: kind.into(),
        payment_id: PAYMENT.to_owned(),
        refund_id: String::new(),
        amount: Some(Money { minor_units: 1_250, currency: "EUR".to_owned() }),
        provider_event_id: id.to_owned(),
        provider_reference: reference.to_owned(),
        reason: String::new(),
        occurred_at: Some(domain::Timestamp::from_micros(CREATED * 1_000_000).to_wire()),
        dispute: None,
        charge_reference: String::new(),
    }
}

fn reported(reading: Reading) -> RecordProviderEvent {
    let Reading::Told(Told::OfPayment(report)) = reading else { panic!("{reading:?}") };
    *report
}

fn id_of(report: &RecordProviderEvent) -> Uuid {
    report_command_id(ProviderName::Stripe, report)
}

fn of_intent(reading: Reading) -> RecordProviderEvent {
    let Reading::Told(Told::OfCharge { reference, report }) = reading else { panic!("{reading:?}") };
    assert_eq!((reference.as_str(), report.payment_id.as_str()), ("pi_1", ""));
    *report
}

#[test]
fn a_payment_that_succeeded_is_one_fact_however_it_is_told() {
    let expected = report(ProviderEventKind::PaymentSucceeded, "pi_1 succeeded", "pi_1");
    for (kind, object) in [
        ("checkout.session.completed", session(&json!({}))),
        ("checkout.session.async_payment_succeeded", session(&json!({}))),
        ("payment_intent.succeeded", intent(&json!({}))),
    ] {
        assert_eq!(reported(told(kind, &object)), expected, "{kind}");
    }
}

#[test]
fn what_came_counts_and_not_what_was_asked_for() {
    let came = reported(told("payment_intent.succeeded", &intent(&json!({ "amount_received": 1_000 }))));
    assert_eq!(came.amount, Some(Money { minor_units: 1_000, currency: "EUR".to_owned() }));
}

#[test]
fn a_payment_of_nothing_is_known_by_its_page() {
    let change = json!({ "payment_status": "no_payment_required", "amount_total": 0, "payment_intent": null });
    let free = reported(told("checkout.session.completed", &session(&change)));
    assert_eq!((free.kind(), free.provider_event_id.as_str()), (ProviderEventKind::PaymentSucceeded, "cs_1 succeeded"));
    assert_eq!(free.provider_reference, "cs_1");
}

#[test]
fn amounts_are_told_in_our_digits() {
    let change = json!({ "amount_total": 500, "currency": "isk" });
    let amount = reported(told("checkout.session.completed", &session(&change))).amount;
    assert_eq!(amount, Some(Money { minor_units: 5, currency: "ISK".to_owned() }));
    for (units, currency) in [(550, "isk"), (1, "clf"), (1, "")] {
        let change = json!({ "amount_total": units, "currency": currency });
        let unreadable = reported(told("checkout.session.completed", &session(&change)));
        assert_eq!(unreadable.amount, None);
        assert!(unreadable.reason.contains(&format!("over {units} {currency}")), "{}", unreadable.reason);
    }
}

#[test]
fn money_that_is_set_aside_is_told_by_its_intent_and_so_is_its_end() {
    let change = json!({ "status": "requires_capture", "amount_received": 0, "amount_capturable": 1_250 });
    let authorised = reported(told("payment_intent.amount_capturable_updated", &intent(&change)));
    assert_eq!(authorised, report(ProviderEventKind::PaymentAuthorised, "pi_1 authorised", "pi_1"));
    let change = json!({ "status": "canceled", "cancellation_reason": "automatic" });
    let ended = reported(told("payment_intent.canceled", &intent(&change)));
    let reason = "Stripe's pi_1 is canceled: automatic".to_owned();
    let expected = report(ProviderEventKind::PaymentVoided, "pi_1 canceled", "pi_1");
    assert_eq!(ended, RecordProviderEvent { reason, amount: None, ..expected });
}

#[test]
fn a_try_that_failed_is_of_a_charge_of_its_own() {
    let error =
        json!({ "code": "card_declined", "decline_code": "do_not_honor", "message": "Your card was declined." });
    let change = json!({ "status": "requires_payment_method", "amount_received": 0, "last_payment_error": error });
    let failed = reported(told("payment_intent.payment_failed", &intent(&change)));
    let reason = "do_not_honor: card_declined: Your card was declined.".to_owned();
    let expected = report(ProviderEventKind::PaymentFailed, "pi_1 ch_1 failed", "ch_1");
    assert_eq!(failed, RecordProviderEvent { reason, ..expected });
    let without = reported(told("payment_intent.payment_failed", &intent(&json!({ "latest_charge": null }))));
    assert_eq!(without.provider_event_id, "pi_1 failed");
    assert!(!["", "pi_1"].contains(&without.provider_reference.as_str()), "{}", without.provider_reference);
}

#[test]
fn a_debit_that_failed_closes_the_payment() {
    let closed =
        reported(told("checkout.session.async_payment_failed", &session(&json!({ "payment_status": "unpaid" }))));
    let expected = report(ProviderEventKind::PaymentClosed, "cs_1 async_payment_failed", "pi_1");
    assert_eq!(closed, RecordProviderEvent { reason: "the buyer's bank did not pay".to_owned(), ..expected });
}

#[test]
fn a_refund_of_ours_is_reported_by_its_status() {
    let amount = Some(Money { minor_units: 500, currency: "EUR".to_owned() });
    let of = |kind, id: &str, reason: &str| RecordProviderEvent {
        refund_id: REFUND.to_owned(),
        amount: amount.clone(),
        reason: reason.to_owned(),
        charge_reference: "pi_1".to_owned(),
        ..report(kind, id, "re_1")
    };
    for kind in ["refund.created", "refund.updated", "refund.failed"] {
        let told = |change: Value| told(kind, &refund(&change));
        let succeeded = of(ProviderEventKind::RefundSucceeded, "re_1 succeeded", "");
        assert_eq!(reported(told(json!({}))), succeeded);
        let failed = told(json!({ "status": "failed", "failure_reason": "declined" }));
        let why = "Stripe's refund re_1 is failed: declined";
        assert_eq!(reported(failed), of(ProviderEventKind::RefundFailed, "re_1 failed", why));
        let canceled = told(json!({ "status": "canceled" }));
        let why = "Stripe's refund re_1 is canceled";
        assert_eq!(reported(canceled), of(ProviderEventKind::RefundFailed, "re_1 canceled", why));
        for status in ["pending", "requires_action", "a new word"] {
            assert_eq!(told(json!({ "status": status })), Reading::Note("pending"));
        }
    }
}

#[test]
fn a_refund_that_was_made_elsewhere_is_of_its_charge() {
    for metadata in [json!({}), json!(null), json!({ "colour": "red" })] {
        let succeeded = of_intent(told("refund.created", &refund(&json!({ "metadata": metadata }))));
        assert_eq!((succeeded.kind(), succeeded.refund_id.as_str()), (ProviderEventKind::RefundSucceeded, ""));
        assert_eq!(succeeded.charge_reference, "pi_1");
        assert_eq!(
            (succeeded.provider_event_id.as_str(), succeeded.provider_reference.as_str()),
            ("re_1 succeeded", "re_1")
        );
    }
    let change = json!({ "metadata": {}, "status": "failed" });
    assert_eq!(of_intent(told("refund.failed", &refund(&change))).kind(), ProviderEventKind::RefundFailed);
    let change = json!({ "metadata": {}, "payment_intent": null });
    assert_eq!(told("refund.created", &refund(&change)), Reading::Note("foreign"));
}

fn disputed(status: &str, standing: DisputeStanding) -> Option<ReportedDispute> {
    let seconds = |seconds: i64| domain::Timestamp::from_micros(seconds * 1_000_000).to_wire();
    Some(ReportedDispute {
        dispute_id: "du_1".to_owned(),
        status: status.to_owned(),
        standing: standing.to_wire(),
        reason: "fraudulent".to_owned(),
        amount: Some(Money { minor_units: 1_250, currency: "EUR".to_owned() }),
        due_by: Some(seconds(CREATED + 60)),
        refundable: false,
    })
}

#[test]
fn a_dispute_is_told_as_what_it_is_with_where_it_stands() {
    use ProviderEventKind::{DisputeClosed, DisputeFundsReinstated, DisputeFundsWithdrawn, PaymentDisputed};
    for (kind, status, of, id, standing) in [
        ("created", "needs_response", PaymentDisputed, "du_1 needs_response", DisputeStanding::Open),
        ("updated", "under_review", PaymentDisputed, "du_1 under_review", DisputeStanding::Open),
        ("updated", "a_word_of_next_year", PaymentDisputed, "du_1 a_word_of_next_year", DisputeStanding::Open),
        ("updated", "appeal_under_review", PaymentDisputed, "du_1 appeal_under_review", DisputeStanding::Open),
        ("funds_withdrawn", "needs_response", DisputeFundsWithdrawn, "du_1 funds_withdrawn", DisputeStanding::Open),
        ("funds_reinstated", "won", DisputeFundsReinstated, "du_1 funds_reinstated", DisputeStanding::Won),
        ("closed", "won", DisputeClosed, "du_1 won", DisputeStanding::Won),
        ("closed", "lost", DisputeClosed, "du_1 lost", DisputeStanding::Lost),
        ("closed", "warning_closed", DisputeClosed, "du_1 warning_closed", DisputeStanding::Ended),
        ("closed", "prevented", DisputeClosed, "du_1 prevented", DisputeStanding::Ended),
        ("closed", "a_word_of_next_year", DisputeClosed, "du_1 a_word_of_next_year", DisputeStanding::Ended),
    ] {
        let told = of_intent(told(&format!("charge.dispute.{kind}"), &dispute(&json!({ "status": status }))));
        let has_moved = matches!(of, DisputeFundsWithdrawn | DisputeFundsReinstated);
        let whole = report(of, id, "pi_1");
        let expected = RecordProviderEvent {
            payment_id: String::new(),
            reason: "disputed: fraudulent".to_owned(),
            amount: whole.amount.clone().filter(|_| has_moved),
            dispute: disputed(status, standing),
            ..whole
        };
        assert_eq!(told, expected, "{kind} {status}");
    }
    let of_none = dispute(&json!({ "payment_intent": null }));
    assert_eq!(told("charge.dispute.funds_withdrawn", &of_none), Reading::Note("foreign"));
}

#[test]
fn a_dispute_moves_what_stripes_own_books_say() {
    let moved = |kind, transactions: Value| {
        let object = dispute(&json!({ "balance_transactions": transactions }));
        of_intent(told(kind, &object)).amount.unwrap().minor_units
    };
    let both = json!([{ "amount": -1_300, "currency": "eur", "fee": 1_500 }, { "amount": 1_200, "currency": "eur" }]);
    assert_eq!(moved("charge.dispute.funds_withdrawn", both.clone()), 1_300);
    assert_eq!(moved("charge.dispute.funds_reinstated", both), 1_200);
    // The shop's account is in another currency than the charge.
    let other = json!([{ "amount": -1_300, "currency": "usd" }]);
    assert_eq!(moved("charge.dispute.funds_withdrawn", other), 1_250);
    assert_eq!(moved("charge.dispute.funds_withdrawn", json!([])), 1_250);
}

#[test]
fn what_changes_nothing_is_noted_under_a_word() {
    for (kind, object, word) in [
        ("checkout.session.completed", session(&json!({ "payment_status": "unpaid" })), "under way"),
        ("checkout.session.completed", session(&json!({ "payment_status": "a new word" })), "under way"),
        ("checkout.session.async_payment_succeeded", session(&json!({ "payment_status": "unpaid" })), "under way"),
        ("checkout.session.expired", session(&json!({ "status": "expired", "payment_status": "unpaid" })), "expired"),
        ("payment_intent.canceled", intent(&json!({ "status": "canceled", "latest_charge": null })), "cancelled"),
        ("payment_intent.amount_capturable_updated", intent(&json!({ "amount_capturable": 0 })), "nothing set aside"),
        ("charge.dispute.created.of.next.year", dispute(&json!({})), "not needed"),
        ("charge.refunded", json!({ "id": "ch_1" }), "not needed"),
        ("payment_intent.created", intent(&json!({})), "not needed"),
        ("an.event.of.next.year", json!({}), "not needed"),
    ] {
        assert_eq!(told(kind, &object), Reading::Note(word), "{kind}");
    }
}

#[test]
fn what_is_another_shops_is_foreign() {
    for metadata in [json!({}), json!(null), json!({ "holdfast_fleet": "fleet-2", "payment_id": PAYMENT })] {
        let change = json!({ "metadata": metadata });
        for (kind, object) in [
            ("checkout.session.completed", session(&change)),
            ("checkout.session.expired", session(&change)),
            ("checkout.session.async_payment_failed", session(&change)),
            ("payment_intent.succeeded", intent(&change)),
            ("payment_intent.payment_failed", intent(&change)),
            ("payment_intent.canceled", intent(&change)),
            ("payment_intent.amount_capturable_updated", intent(&change)),
        ] {
            assert_eq!(told(kind, &object), Reading::Note("foreign"), "{kind}");
        }
    }
    // Whatever shape it has: it is none of our concern.
    for kind in ["checkout.session.completed", "payment_intent.succeeded"] {
        assert_eq!(told(kind, &json!({ "amount_total": "much" })), Reading::Note("foreign"), "{kind}");
    }
    let change = json!({ "metadata": { "holdfast_fleet": "fleet-2" } });
    assert_eq!(told("refund.created", &refund(&change)), Reading::Note("foreign"));
    assert_eq!(told("charge.dispute.funds_withdrawn", &dispute(&change)), Reading::Note("foreign"));
}

#[test]
fn other_accounts_and_the_other_world_are_noted() {
    let event = event("payment_intent.succeeded", &intent(&json!({})));
    assert_eq!(taken(&with(event.clone(), &json!({ "account": "acct_1" }))), Ok(Reading::Note("other account")));
    assert_eq!(taken(&with(event.clone(), &json!({ "livemode": true }))), Ok(Reading::Note("wrong mode")));
    assert_eq!(read(event.to_string().as_bytes(), "fleet-1", true), Ok(Reading::Note("wrong mode")));
    let live = with(event, &json!({ "livemode": true })).to_string();
    assert!(matches!(read(live.as_bytes(), "fleet-1", true), Ok(Reading::Told(Told::OfPayment(_)))));
}

#[test]
fn what_cannot_be_read_says_why() {
    let thin = json!({
        "id": "evt_1", "object": "v2.core.event", "type": "v1.refund.failed", "created": "2026-11-27T15:00:00.000Z",
        "livemode": false, "related_object": { "id": "re_1", "type": "refund", "url": "/v1/refunds/re_1" },
    });
    let error = taken(&thin).unwrap_err();
    assert_eq!(error, Unreadable::Thin);
    assert!(error.to_string().contains("snapshot"), "{error}");
    for body in ["", "{", "[]", "7", "{}", "{\"object\":\"refund\"}", "{\"object\":\"event\"}", "\u{0}"] {
        assert!(matches!(read(body.as_bytes(), "fleet-1", false), Err(Unreadable::NoEvent(_))), "{body}");
    }
    assert!(matches!(read(b"\xff", "fleet-1", false), Err(Unreadable::NoEvent(_))));
    for (kind, object) in [
        ("payment_intent.succeeded", json!({ "metadata": { "holdfast_fleet": "fleet-1", "payment_id": PAYMENT } })),
        ("checkout.session.completed", session(&json!({ "amount_total": "much" }))),
        ("refund.created", json!(null)),
        // Ours, and nobody knows whose: not to be confirmed.
        ("payment_intent.succeeded", intent(&json!({ "metadata": { "holdfast_fleet": "fleet-1" } }))),
        ("refund.created", refund(&json!({ "metadata": { "holdfast_fleet": "fleet-1" } }))),
    ] {
        let error = taken(&event(kind, &object)).unwrap_err();
        assert!(matches!(&error, Unreadable::Object { kind: of, .. } if of == kind), "{error}");
    }
}

#[test]
fn the_same_report_is_the_same_command_and_another_is_another() {
    let payment_id = Uuid::try_parse(PAYMENT).unwrap();
    let one = reported(told("payment_intent.succeeded", &intent(&json!({}))));
    assert_eq!(id_of(&one), id_of(&one.clone()));
    assert!(domain::may_derive(payment_id, id_of(&one)));
    // The same fact, told a second later: under one id it would be refused as another command's.
    let later = with(event("payment_intent.succeeded", &intent(&json!({}))), &json!({ "created": CREATED + 1 }));
    let later = reported(taken(&later).unwrap());
    assert_eq!(later.provider_event_id, one.provider_event_id);
    assert_ne!(id_of(&later), id_of(&one));
    let refunded = reported(told("refund.created", &refund(&json!({}))));
    assert_ne!(id_of(&refunded), id_of(&one));
}

#[test]
fn whatever_may_change_something_is_asked_for_where_no_webhook_came() {
    let set_aside = intent(&json!({ "amount_capturable": 1_250 }));
    let told_of: Vec<Value> =
        vec![session(&json!({})), intent(&json!({})), set_aside, refund(&json!({})), dispute(&json!({}))];
    for kind in KINDS {
        let may_change = |object: &Value| matches!(taken(&event(kind, object)), Ok(Reading::Told(_)));
        assert!(told_of.iter().any(may_change), "{kind}");
    }
    for kind in ["checkout.session.expired", "payment_intent.processing", "charge.updated"] {
        assert!(!KINDS.contains(&kind), "{kind}");
    }
}
