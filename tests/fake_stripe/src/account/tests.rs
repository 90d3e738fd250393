//! The account's rules, one for each test.

use serde_json::Value;

use super::{
    Account, Cause,
    objects::{ChargeStatus, DisputeStatus, RefundOrigin, RefundStatus},
    refund::RefundCourse,
};
use crate::{
    chance::Chance,
    form,
    ledger::Ledger,
    params::Params,
    problem::Problem,
    requests::{NewCancel, NewCapture, NewCoupon, NewRefund, NewSession},
};

const NOW: i64 = 1_800_000_000;

const SUCCEEDS: RefundCourse = RefundCourse { begins: RefundStatus::Succeeded, becomes: None };

fn account() -> Account {
    Account::new(false, "http://fake".to_owned(), Chance::new(1))
}

fn at(now: i64) -> Cause {
    Cause { now, ..Cause::default() }
}

fn params(form: &str) -> Params {
    Params::new(form::parse(form.as_bytes()).unwrap())
}

/// One line of 20.00 EUR, and whatever else.
fn form(more: &str) -> String {
    format!(
        "mode=payment&success_url=https://shop/ok&line_items[0][quantity]=2&line_items[0][price_data][currency]=eur\
         &line_items[0][price_data][unit_amount]=1000&line_items[0][price_data][product_data][name]=Tea\
         &metadata[payment_id]=pay-1&payment_intent_data[metadata][payment_id]=pay-1&{more}"
    )
}

fn create(account: &mut Account, form: &str) -> Result<Value, Problem> {
    account.create_session(&at(NOW), NewSession::read(params(form))?)
}

fn session(account: &mut Account, more: &str) -> String {
    create(account, &form(more)).unwrap()["id"].as_str().unwrap().to_owned()
}

fn paid(account: &mut Account, more: &str) -> String {
    let session = session(account, more);
    account.pay(&at(NOW), &session).unwrap().unwrap()
}

fn refund(account: &mut Account, form: &str, course: RefundCourse) -> Result<Value, Problem> {
    account.create_refund(&at(NOW), NewRefund::read(params(form))?, RefundOrigin::Api, course)
}

fn kinds(account: &mut Account) -> Vec<&'static str> {
    account.take_emitted().into_iter().map(|emitted| emitted.kind).collect()
}

fn charge(account: &Account, intent: &str) -> Value {
    account.show(account.intents[intent].charges.last().unwrap()).unwrap()
}

#[test]
fn a_session_has_no_intent_before_it_is_paid() {
    let mut account = account();
    let shown = create(&mut account, &form("client_reference_id=pay-1")).unwrap();
    assert!(shown["payment_intent"].is_null());
    assert_eq!((&shown["amount_total"], &shown["status"]), (&2_000.into(), &"open".into()));
    let id = shown["id"].as_str().unwrap();
    assert_eq!(shown["url"], format!("http://fake/pay/{id}"));
    let intent = account.pay(&at(NOW), id).unwrap().unwrap();
    let paid = account.show(id).unwrap();
    assert_eq!((&paid["payment_intent"], &paid["payment_status"]), (&intent.clone().into(), &"paid".into()));
    assert!(paid["url"].is_null());
    let intent = account.show(&intent).unwrap();
    assert_eq!((&intent["status"], &intent["metadata"]["payment_id"]), (&"succeeded".into(), &"pay-1".into()));
    assert_eq!(kinds(&mut account), ["payment_intent.succeeded", "checkout.session.completed"]);
}

#[test]
fn a_session_ends_between_half_an_hour_and_a_day_after_its_creation() {
    for (after, is_refused) in [(1_799, true), (1_800, false), (86_400, false), (86_401, true)] {
        let created = create(&mut account(), &form(&format!("expires_at={}", NOW + after)));
        assert_eq!(created.is_err(), is_refused, "{after}");
        assert!(created.is_ok_and(|session| session["expires_at"] == NOW + after) != is_refused);
    }
    assert_eq!(create(&mut account(), &form("")).unwrap()["expires_at"], NOW + 86_400);
}

#[test]
fn a_session_has_at_most_a_hundred_lines() {
    let lines = |count: usize| -> String {
        let line = |number| {
            format!(
                "line_items[{number}][quantity]=1&line_items[{number}][price_data][currency]=eur\
                 &line_items[{number}][price_data][unit_amount]=100\
                 &line_items[{number}][price_data][product_data][name]=Tea&"
            )
        };
        (0..count).map(line).collect::<String>() + "mode=payment&success_url=https://shop/ok"
    };
    assert_eq!(create(&mut account(), &lines(100)).unwrap()["amount_total"], 10_000);
    assert!(create(&mut account(), &lines(101)).is_err());
}

#[test]
fn what_must_be_there_must_be_there() {
    let whole = form("");
    for (missing, code) in [
        ("mode=payment", "parameter_missing"),
        ("success_url=https://shop/ok", "parameter_missing"),
        ("line_items[0][quantity]=2", "parameter_missing"),
        ("line_items[0][price_data][currency]=eur", "parameter_missing"),
        ("line_items[0][price_data][unit_amount]=1000", "parameter_missing"),
        ("line_items[0][price_data][product_data][name]=Tea", "parameter_missing"),
    ] {
        let without: Vec<&str> = whole.split('&').filter(|pair| *pair != missing).collect();
        assert_eq!(create(&mut account(), &without.join("&")).unwrap_err().code, Some(code), "{missing}");
    }
    for unknown in ["payment_method_types[0]=card", "after_expiration[recovery][enabled]=true", "foo=1"] {
        assert_eq!(create(&mut account(), &form(unknown)).unwrap_err().code, Some("parameter_unknown"), "{unknown}");
    }
    let long = "r".repeat(201);
    for wrong in [
        "mode=setup",
        "ui_mode=hosted",
        "line_items[0][quantity]=0",
        "line_items[0][price_data][unit_amount]=-1",
        "line_items[0][price_data][currency]=EUR",
        "discounts[0][coupon]=a&discounts[1][coupon]=b",
        "allowed_payment_method_types[0]=barter",
        "allowed_payment_method_types[0]=sepa_debit&payment_intent_data[capture_method]=manual",
        "payment_intent_data[capture_method]=later",
        &format!("client_reference_id={long}"),
    ] {
        assert!(create(&mut account(), &form(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn amounts_have_limits() {
    let of = |minor: i64| {
        let form = form("").replace("[unit_amount]=1000", &format!("[unit_amount]={minor}"));
        create(&mut account(), &form.replace("[quantity]=2", "[quantity]=1"))
    };
    assert_eq!(of(49).unwrap_err().code, Some("amount_too_small"));
    assert_eq!(of(50).unwrap()["amount_total"], 50);
    assert_eq!(of(99_999_999).unwrap()["amount_total"], 99_999_999);
    assert_eq!(of(100_000_000).unwrap_err().code, Some("amount_too_large"));
    let in_currency = |minor: i64, currency: &str| {
        let form = form("").replace("[unit_amount]=1000", &format!("[unit_amount]={minor}"));
        create(&mut account(), &form.replace("=eur", &format!("={currency}")))
    };
    assert!(in_currency(150, "isk").is_err() && in_currency(200, "isk").is_ok());
    assert!(in_currency(1_005, "kwd").is_err() && in_currency(1_010, "kwd").is_ok());
}

#[test]
fn only_an_open_session_expires_and_only_an_open_one_is_paid() {
    let mut account = account();
    let (first, second) = (session(&mut account, ""), session(&mut account, ""));
    account.pay(&at(NOW), &first).unwrap();
    let refused = account.expire_session(&at(NOW), &first).unwrap_err();
    assert_eq!((refused.status, refused.code), (400, None));
    assert!(refused.message.starts_with("Only Checkout Sessions with a status in [\"open\"] can be expired."));
    assert!(refused.message.contains("complete"), "{}", refused.message);
    assert_eq!(account.expire_session(&at(NOW), &second).unwrap()["status"], "expired");
    assert!(account.expire_session(&at(NOW), &second).unwrap_err().message.contains("expired"));
    assert!(account.pay(&at(NOW), &second).is_err());
    assert!(account.pay(&at(NOW), &first).is_err(), "nobody pays twice");
}

#[test]
fn a_session_ends_by_itself() {
    let mut account = account();
    let id = session(&mut account, &format!("expires_at={}", NOW + 1_800));
    assert!(account.pay(&at(NOW + 1_800), &id).is_err(), "also before anybody has looked");
    account.turn(NOW + 1_799);
    assert_eq!(account.show(&id).unwrap()["status"], "open");
    account.turn(NOW + 1_800);
    assert_eq!(account.show(&id).unwrap()["status"], "expired");
    assert_eq!(kinds(&mut account), ["checkout.session.expired"]);
    let paid = session(&mut account, &format!("expires_at={}", NOW + 1_800));
    account.pay(&at(NOW + 1), &paid).unwrap();
    account.turn(NOW + 100_000);
    assert_eq!(account.show(&paid).unwrap()["status"], "complete");
}

#[test]
fn a_declined_card_is_not_the_end() {
    let mut account = account();
    let id = session(&mut account, "");
    let intent = account.decline(&at(NOW), &id).unwrap();
    let shown = account.show(&intent).unwrap();
    assert_eq!(shown["status"], "requires_payment_method");
    assert_eq!(shown["last_payment_error"]["code"], "card_declined");
    assert_eq!(account.show(&id).unwrap()["status"], "open");
    assert_eq!(account.pay(&at(NOW), &id).unwrap(), Some(intent.clone()));
    let shown = account.show(&intent).unwrap();
    assert!(shown["last_payment_error"].is_null());
    let expected = ["payment_intent.payment_failed", "payment_intent.succeeded", "checkout.session.completed"];
    assert_eq!(kinds(&mut account), expected);
    assert_eq!(charge(&account, &intent)["amount_captured"], 2_000);
}

#[test]
fn the_money_of_a_delayed_method_comes_later_or_never() {
    let mut account = account();
    let card_only = session(&mut account, "");
    assert!(account.pay_delayed(&at(NOW), &card_only).is_err());
    account.offers_debit = true;
    assert!(account.pay_delayed(&at(NOW), &card_only).is_err(), "it was opened before");
    let for_cards = session(&mut account, "allowed_payment_method_types[0]=card");
    let held = session(&mut account, "allowed_payment_method_types[0]=card&payment_intent_data[capture_method]=manual");
    account.offers_debit = false;
    assert!(account.pay_delayed(&at(NOW), &held).is_err(), "it cannot be held");
    account.pay_delayed(&at(NOW), &for_cards).unwrap();
    for (status, intent_status, payment_status, kind) in [
        (ChargeStatus::Succeeded, "succeeded", "paid", "checkout.session.async_payment_succeeded"),
        (ChargeStatus::Failed, "requires_payment_method", "unpaid", "checkout.session.async_payment_failed"),
    ] {
        let id = session(&mut account, "allowed_payment_method_types[0]=sepa_debit");
        let intent = account.pay_delayed(&at(NOW), &id).unwrap();
        let shown = account.show(&id).unwrap();
        assert_eq!((&shown["status"], &shown["payment_status"]), (&"complete".into(), &"unpaid".into()));
        assert_eq!(account.show(&intent).unwrap()["status"], "processing");
        assert!(refund(&mut account, &format!("payment_intent={intent}"), SUCCEEDS).is_err());
        kinds(&mut account);
        account.settle_payment(&at(NOW), &id, status).unwrap();
        assert!(account.settle_payment(&at(NOW), &id, status).is_err());
        assert_eq!(account.show(&id).unwrap()["payment_status"], payment_status);
        assert_eq!(account.show(&intent).unwrap()["status"], intent_status);
        assert_eq!(kinds(&mut account).last(), Some(&kind));
    }
    assert_eq!(Ledger::of(&account).totals["eur"].captured, 2_000);
}

#[test]
fn no_more_is_refunded_than_came() {
    let mut account = account();
    let intent = paid(&mut account, "");
    kinds(&mut account);
    let part = refund(&mut account, &format!("payment_intent={intent}&amount=500&metadata[refund_id]=r1"), SUCCEEDS);
    assert_eq!(part.unwrap()["metadata"]["refund_id"], "r1");
    assert_eq!(kinds(&mut account), ["refund.created", "charge.refunded"]);
    let over = refund(&mut account, &format!("payment_intent={intent}&amount=1501"), SUCCEEDS).unwrap_err();
    assert_eq!((over.status, over.code), (400, None));
    assert!(over.has_begun && over.body("req")["error"]["param"] == "amount");
    let rest = refund(&mut account, &format!("payment_intent={intent}"), SUCCEEDS).unwrap();
    assert_eq!(rest["amount"], 1_500);
    let again = refund(&mut account, &format!("payment_intent={intent}&amount=1"), SUCCEEDS).unwrap_err();
    assert_eq!(again.code, Some("charge_already_refunded"));
    let charge = charge(&account, &intent);
    assert_eq!((&charge["amount_refunded"], &charge["refunded"]), (&2_000.into(), &true.into()));
}

#[test]
fn what_was_not_charged_is_not_refunded() {
    let mut account = account();
    let unknown = refund(&mut account, "payment_intent=pi_x", SUCCEEDS).unwrap_err();
    assert_eq!((unknown.status, unknown.code), (404, Some("resource_missing")));
    assert_eq!(refund(&mut account, "amount=1", SUCCEEDS).unwrap_err().code, Some("parameter_missing"));
    let id = session(&mut account, "");
    let intent = account.decline(&at(NOW), &id).unwrap();
    let declined = refund(&mut account, &format!("payment_intent={intent}"), SUCCEEDS).unwrap_err();
    assert_eq!(declined.code, Some("payment_intent_unexpected_state"));
    let authorised = paid(&mut account, "payment_intent_data[capture_method]=manual");
    assert!(refund(&mut account, &format!("payment_intent={authorised}"), SUCCEEDS).is_err());
}

#[test]
fn a_refund_goes_on_and_a_failed_one_gives_the_money_back() {
    let mut account = account();
    let intent = paid(&mut account, "");
    let course = RefundCourse { begins: RefundStatus::Pending, becomes: None };
    let made = refund(&mut account, &format!("payment_intent={intent}"), course).unwrap();
    assert_eq!((&made["status"], &made["pending_reason"]), (&"pending".into(), &"processing".into()));
    let id = made["id"].as_str().unwrap();
    let full = refund(&mut account, &format!("payment_intent={intent}"), course).unwrap_err();
    assert_eq!(full.code, Some("charge_already_refunded"), "what is pending counts");
    kinds(&mut account);
    account.settle_refund(&at(NOW), id, RefundStatus::Succeeded).unwrap();
    assert!(account.settle_refund(&at(NOW), id, RefundStatus::Pending).is_err());
    account.settle_refund(&at(NOW), id, RefundStatus::Failed).unwrap();
    assert!(account.settle_refund(&at(NOW), id, RefundStatus::Succeeded).is_err());
    assert_eq!(kinds(&mut account), ["refund.updated", "refund.updated", "refund.failed"]);
    let shown = account.show(id).unwrap();
    assert_eq!((&shown["status"], shown["failure_reason"].is_string()), (&"failed".into(), true));
    refund(&mut account, &format!("payment_intent={intent}&amount=2000"), SUCCEEDS).unwrap();
    let totals = Ledger::of(&account).totals["eur"];
    assert_eq!((totals.captured, totals.refunded, totals.refunding), (2_000, 2_000, 0));
}

#[test]
fn a_refund_settles_when_its_time_has_come() {
    let mut account = account();
    let intent = paid(&mut account, "");
    let becomes = Some((60, RefundStatus::Succeeded));
    let course = RefundCourse { begins: RefundStatus::Pending, becomes };
    let id =
        refund(&mut account, &format!("payment_intent={intent}"), course).unwrap()["id"].as_str().unwrap().to_owned();
    account.turn(NOW + 59);
    assert_eq!(account.refunds[&id].status, RefundStatus::Pending);
    account.turn(NOW + 60);
    assert_eq!(account.refunds[&id].status, RefundStatus::Succeeded);
}

#[test]
fn an_authorisation_is_captured_once_and_the_rest_is_released() {
    let mut account = account();
    let id = session(&mut account, "payment_intent_data[capture_method]=manual");
    let intent = account.pay(&at(NOW), &id).unwrap().unwrap();
    assert_eq!(kinds(&mut account), ["payment_intent.amount_capturable_updated", "checkout.session.completed"]);
    let shown = account.show(&id).unwrap();
    assert_eq!((&shown["status"], &shown["payment_status"]), (&"complete".into(), &"unpaid".into()));
    let shown = account.show(&intent).unwrap();
    assert_eq!((&shown["status"], &shown["amount_capturable"]), (&"requires_capture".into(), &2_000.into()));
    let card = &charge(&account, &intent)["payment_method_details"]["card"];
    assert_eq!(card["capture_before"], NOW + 7 * 86_400);
    let too_much = NewCapture::read(params("amount_to_capture=2001")).unwrap();
    assert!(account.capture(&at(NOW), &intent, too_much).is_err());
    let part = NewCapture::read(params("amount_to_capture=1500")).unwrap();
    let shown = account.capture(&at(NOW), &intent, part).unwrap();
    assert_eq!((&shown["status"], &shown["amount_received"]), (&"succeeded".into(), &1_500.into()));
    let again = account.capture(&at(NOW), &intent, NewCapture::read(params("")).unwrap()).unwrap_err();
    assert_eq!(again.code, Some("payment_intent_unexpected_state"));
    assert_eq!(again.body("req")["error"]["payment_intent"]["id"], intent);
    let charge = charge(&account, &intent);
    assert_eq!((&charge["amount_captured"], &charge["amount_refunded"]), (&1_500.into(), &500.into()));
    let over = refund(&mut account, &format!("payment_intent={intent}&amount=1501"), SUCCEEDS);
    assert!(over.is_err(), "what was released cannot be refunded");
    let totals = Ledger::of(&account).totals["eur"];
    assert_eq!((totals.captured, totals.released, totals.authorised, totals.refunded), (1_500, 500, 0, 0));
}

#[test]
fn an_authorisation_is_cancelled_or_lapses() {
    let mut account = account();
    let manual = "payment_intent_data[capture_method]=manual";
    let (first, second) = (paid(&mut account, manual), paid(&mut account, manual));
    kinds(&mut account);
    let reason = NewCancel::read(params("cancellation_reason=requested_by_customer")).unwrap();
    let shown = account.cancel(&at(NOW + 5), &first, &reason).unwrap();
    assert_eq!((&shown["status"], &shown["canceled_at"]), (&"canceled".into(), &(NOW + 5).into()));
    assert!(account.cancel(&at(NOW), &first, &reason).is_err());
    assert_eq!(kinds(&mut account), ["payment_intent.canceled", "charge.refunded"]);
    account.turn(NOW + 7 * 86_400);
    assert_eq!(account.show(&second).unwrap()["cancellation_reason"], "automatic");
    let automatic = paid(&mut account, "");
    assert!(account.cancel(&at(NOW), &automatic, &reason).is_err());
    let totals = Ledger::of(&account).totals["eur"];
    assert_eq!((totals.captured, totals.released, totals.authorised), (2_000, 4_000, 0));
}

#[test]
fn what_is_disputed_is_not_refunded() {
    let mut account = account();
    let intent = paid(&mut account, "");
    kinds(&mut account);
    let dispute = account.dispute(&at(NOW), &intent, 2_500).unwrap();
    assert_eq!(kinds(&mut account), ["charge.dispute.created", "charge.dispute.funds_withdrawn"]);
    let refused = refund(&mut account, &format!("payment_intent={intent}"), SUCCEEDS).unwrap_err();
    assert_eq!(refused.code, Some("charge_disputed"));
    assert_eq!(Ledger::of(&account).totals["eur"].charged_back, 2_500);
    account.close_dispute(&at(NOW), &dispute, DisputeStatus::Won).unwrap();
    assert!(account.close_dispute(&at(NOW), &dispute, DisputeStatus::Lost).is_err());
    assert_eq!(kinds(&mut account), ["charge.dispute.funds_reinstated", "charge.dispute.closed"]);
    assert_eq!(Ledger::of(&account).totals["eur"].charged_back, 0);
    let lost = account.dispute(&at(NOW), &intent, 100).unwrap();
    account.close_dispute(&at(NOW), &lost, DisputeStatus::Lost).unwrap();
    assert_eq!(Ledger::of(&account).payments["pay-1"].disputes.len(), 2);
    assert_eq!(Ledger::of(&account).totals["eur"].charged_back, 100);
}

#[test]
fn a_coupon_takes_its_amount_off_and_may_make_it_free() {
    let mut account = account();
    let make = |account: &mut Account, form: &str| account.create_coupon(&at(NOW), NewCoupon::read(params(form), NOW)?);
    make(&mut account, "id=five&amount_off=500&currency=eur&duration=once&name=Five").unwrap();
    let twice = make(&mut account, "id=five&amount_off=500&currency=eur").unwrap_err();
    assert_eq!(twice.code, Some("resource_already_exists"));
    let shown = create(&mut account, &form("discounts[0][coupon]=five")).unwrap();
    assert_eq!((&shown["amount_total"], &shown["amount_subtotal"]), (&1_500.into(), &2_000.into()));
    assert_eq!(shown["total_details"]["amount_discount"], 500);
    make(&mut account, "id=most&amount_off=1960&currency=eur").unwrap();
    let tiny = create(&mut account, &form("discounts[0][coupon]=most")).unwrap_err();
    assert_eq!(tiny.code, Some("amount_too_small"));
    make(&mut account, "id=all&amount_off=99999&currency=eur").unwrap();
    let free = session(&mut account, "discounts[0][coupon]=all");
    assert_eq!(account.pay(&at(NOW), &free).unwrap(), None);
    assert_eq!(account.show(&free).unwrap()["payment_status"], "no_payment_required");
    assert!(create(&mut account, &form("discounts[0][coupon]=none")).is_err());
    make(&mut account, "id=third&percent_off=33.33").unwrap();
    let third = create(&mut account, &form("discounts[0][coupon]=third")).unwrap();
    assert_eq!(third["amount_total"], 2_000 - 667);
    for wrong in [
        "amount_off=5",
        "amount_off=0&currency=eur",
        "percent_off=0",
        "percent_off=100.01",
        "percent_off=1e1",
        "percent_off=5&amount_off=5&currency=eur",
        "id=x",
        &format!("percent_off=5&name={}", "n".repeat(41)),
        &format!("percent_off=5&redeem_by={}", NOW - 1),
    ] {
        assert!(make(&mut account, wrong).is_err(), "{wrong}");
    }
}
