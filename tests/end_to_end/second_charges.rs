//! A buyer who pays twice has one of the two charges back, by itself and once, and the order stays as it is.

use fake_stripe::{Faults, RefundStatus};
use holdfast_tests::{
    eventually,
    stripe::{StripeShop, order_id, session},
};
use serde_json::{Value, json};

/// Stripe's sessions for the payment of an order, in which a buyer may pay.
fn sessions(shop: &StripeShop) -> Vec<String> {
    let ledger = shop.stripe.ledger();
    ledger.payments.values().flat_map(|payment| &payment.sessions).map(|session| session.id.clone()).collect()
}

/// An order with two sessions that can be paid: of the one that it knows, and of one whose opening was never answered.
async fn with_two_sessions(shop: &StripeShop) -> (String, [String; 2]) {
    let only = "/v1/checkout/sessions".to_owned();
    shop.stripe.set_faults(Faults { only, lost_answer: 100, ..Faults::default() });
    let order = shop.place("one", 1).await.unwrap();
    eventually("there is a session", || async { Ok(!sessions(shop).is_empty()) }).await.unwrap();
    shop.stripe.set_faults(Faults::default());
    let known = shop.page(&order).await.unwrap();
    let lost = sessions(shop).into_iter().find(|session| *session != known).unwrap();
    (order, [known, lost])
}

/// Refunds that Stripe has made.
fn refunds(shop: &StripeShop) -> Vec<(String, i64)> {
    let ledger = shop.stripe.ledger();
    let all = ledger.payments.values().flat_map(|payment| {
        let intent = |charge: &str| {
            let of_it = payment.charges.iter().find(|known| known.id == charge);
            of_it.map(|charge| charge.payment_intent.clone()).unwrap_or_default()
        };
        payment.refunds.iter().map(move |refund| (intent(&refund.charge), refund.amount))
    });
    all.collect()
}

const GONE: &str = "select count(*) from payments.refunds where second_charge is not null and status = 'refunded'";

#[tokio::test]
async fn of_two_sessions_that_were_both_paid_the_second_goes_back_by_itself() {
    let shop = StripeShop::open(1, 1_000, &[]).await.unwrap();
    let (order, [known, lost]) = with_two_sessions(&shop).await;
    shop.stripe.pay(&known).unwrap();
    shop.until(&order, "paid").await.unwrap();
    let second = shop.stripe.pay(&lost).unwrap();
    shop.fleet.until(GONE, 1).await.unwrap();
    assert_eq!(refunds(&shop).len(), 1, "{:?}", shop.stripe.ledger());
    let (intent, amount) = refunds(&shop).remove(0);
    assert_eq!((Some(intent), amount), (second, 1_250));

    // It is there as data, and the order is as paid as before.
    let shown = shop.gateway.get(&order).await.unwrap().json;
    assert_eq!((&shown["status"], &shown["money"]["gone_back"]["minor_units"]), (&json!("paid"), &json!("0")));
    let refund = shown.pointer("/refunds/0").unwrap();
    assert_eq!((&refund["reason"], &refund["step"]), (&json!("REFUND_REASON_SECOND_CHARGE"), &json!("refunded")));
    let path = format!("{order}/refunds/{}", refund["refund_id"].as_str().unwrap());
    assert_eq!(shop.gateway.get(&path).await.unwrap().json["amount"]["minor_units"], "1250");
    let waits = "select count(*) from payments.reports where standing in ('open', 'returning')";
    assert_eq!(shop.fleet.number(waits).await.unwrap(), 0, "nobody has to decide anything");

    // What is refunded of the order is money of the charge that paid it.
    let back = shop.gateway.post(&format!("{order}/refunds"), "back", &json!({ "note": "broken" })).await.unwrap();
    assert_eq!(back.status, 201, "{back:?}");
    shop.until(&order, "refunded").await.unwrap();
    assert_eq!(refunds(&shop).len(), 2);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_first_card_that_is_declined_is_no_second_charge_and_a_later_one_on_its_page_is() {
    let shop = StripeShop::open(1, 1_000, &[]).await.unwrap();
    let (order, [known, lost]) = with_two_sessions(&shop).await;
    shop.stripe.decline(&known).unwrap();
    let declined = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentDeclined'";
    shop.fleet.until(declined, 1).await.unwrap();
    let paid = shop.stripe.pay(&lost).unwrap();
    shop.until(&order, "paid").await.unwrap();
    assert_eq!(refunds(&shop), []);
    let second = shop.stripe.pay(&known).unwrap();
    assert_ne!(second, paid);
    shop.fleet.until(GONE, 1).await.unwrap();
    assert_eq!(refunds(&shop).into_iter().map(|(intent, _)| Some(intent)).collect::<Vec<_>>(), [second]);
    assert_eq!(shop.gateway.get(&order).await.unwrap().json["status"], "paid");
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_second_charge_goes_back_once_whatever_is_lost_on_the_way() {
    let shop = StripeShop::open(2, 1_000, &[]).await.unwrap();
    let (order, [known, lost]) = with_two_sessions(&shop).await;
    shop.stripe.pay(&known).unwrap();
    shop.until(&order, "paid").await.unwrap();
    let only = "/v1/refunds".to_owned();
    let faults = Faults { only, lost_answer: 100, event_twice: 100, event_copied: 50, ..Faults::default() };
    shop.stripe.set_faults(faults);
    shop.stripe.pay(&lost).unwrap();
    eventually("it is sent", || async { Ok(!refunds(&shop).is_empty()) }).await.unwrap();
    shop.fleet.processes().await.kill_worker("payments", 0).await.unwrap();
    shop.stripe.set_faults(Faults::default());
    shop.fleet.until(GONE, 1).await.unwrap();
    assert_eq!(refunds(&shop).len(), 1, "{:?}", shop.stripe.ledger());
    let shown: Value = shop.gateway.get(&order).await.unwrap().json;
    assert_eq!((shown["status"].as_str(), session(&shown)), (Some("paid"), ""), "{}", order_id(&order).unwrap());
    shop.fleet.processes().await.start_worker("payments", 0).unwrap();
    shop.close().await.unwrap();
}

/// Second charges of which the provider gave nothing back.
const REFUSED: &str = "select count(*) from payments.refunds where second_charge is not null and status = 'rejected'";

/// Payments of which another charge than their own is disputed.
const DISPUTED: &str =
    "select count(*) from payments.payments where jsonb_path_exists(disputes, '$.* ? (@.of_second_charge == true)')";

#[tokio::test]
async fn what_is_given_back_of_a_second_charge_by_hand_and_by_its_bank_is_none_of_the_payments() {
    let shop = StripeShop::open(1, 1_000, &[]).await.unwrap();
    let (order, [known, lost]) = with_two_sessions(&shop).await;
    shop.stripe.pay(&known).unwrap();
    shop.until(&order, "paid").await.unwrap();
    // Stripe gives nothing back of it by itself, so it is with a person.
    shop.stripe.set_refunds_begin(RefundStatus::Pending);
    let second = shop.stripe.pay(&lost).unwrap().unwrap();
    eventually("it is sent", || async { Ok(!refunds(&shop).is_empty()) }).await.unwrap();
    let ledger = shop.stripe.ledger();
    let sent = ledger.payments.values().flat_map(|payment| &payment.refunds).next().unwrap();
    shop.stripe.settle_refund(&sent.id, RefundStatus::Failed).unwrap();
    shop.fleet.until(REFUSED, 1).await.unwrap();
    shop.stripe.set_refunds_begin(RefundStatus::Succeeded);
    shop.stripe.refund_in_dashboard(&second, 500).unwrap();
    shop.fleet.until(GONE, 1).await.unwrap();
    let gone_back = |order: &Value| order["money"]["gone_back"]["minor_units"].clone();
    let shown = shop.gateway.get(&order).await.unwrap().json;
    assert_eq!((&shown["status"], gone_back(&shown)), (&json!("paid"), json!("0")));

    // The bank has what is left of it.
    let dispute = shop.stripe.dispute(&second, 750).unwrap();
    shop.fleet.until(DISPUTED, 1).await.unwrap();
    shop.fleet.until("select count(*) from orders.orders where disputes is not null", 1).await.unwrap();
    let shown = shop.gateway.get(&order).await.unwrap().json;
    assert_eq!(shown["money"]["charged_back"]["minor_units"], "0", "of {dispute}");

    // And the order's own money goes back as ever.
    let back = shop.gateway.post(&format!("{order}/refunds"), "back", &json!({ "note": "broken" })).await.unwrap();
    assert_eq!(back.status, 201, "{back:?}");
    let shown = shop.until(&order, "refunded").await.unwrap();
    assert_eq!(gone_back(&shown), json!("1250"));
    shop.close().await.unwrap();
}
