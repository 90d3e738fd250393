//! Webhooks of one payment in every order in which they can arrive, each twice, also before the worker knows the page that was paid on.

use std::collections::{BTreeMap, BTreeSet};

use fake_stripe::{Faults, RefundStatus, Told};
use futures::future::join_all;
use holdfast_tests::{eventually, stripe::StripeShop};
use serde_json::{Value, json};

/// One that is tried again does not come into the way of a test.
const NO_SECOND_TRY: [(&str, &str); 3] = [
    ("HOLDFAST_EFFECTS_BACKOFF_MS", "3600000"),
    ("HOLDFAST_EFFECTS_BACKOFF_MAX_MS", "3600000"),
    ("HOLDFAST_STRIPE_MISSED_MS", "0"),
];

/// All orders of four.
fn permutations() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for number in 0..4_usize.pow(4) {
        let order = [number % 4, number / 4 % 4, number / 16 % 4, number / 64];
        if order.iter().collect::<BTreeSet<_>>().len() == 4 {
            all.push(order);
        }
    }
    all
}

/// An order that is paid at Stripe, and the four events of it that are delivered in this order.
struct Arrival {
    path: String,
    payment_id: String,
    permutation: [usize; 4],
    /// Each is in the body of an event, or the event is none of it.
    names: Vec<String>,
}

impl Arrival {
    /// The events of these kinds, each the only one of its kind that names this payment.
    fn events(&self, all: &[Told], kinds: &[&str; 4]) -> Vec<Told> {
        let is_of_it = |event: &&Told| self.names.iter().any(|name| event.body.contains(name));
        let found = kinds.iter().map(|kind| {
            let mut found = all.iter().filter(|event| event.kind == *kind).filter(is_of_it);
            let event = found.next().unwrap_or_else(|| panic!("no {kind} of {:?}", self.names)).clone();
            assert!(found.next().is_none(), "more than one {kind}");
            event
        });
        found.collect()
    }

    /// Delivers them in its order, each twice. What is refused comes again after the others, as Stripe does it.
    async fn deliver(&self, shop: &StripeShop, events: &[Told]) {
        let mut left: Vec<&Told> = self.permutation.iter().filter_map(|number| events.get(*number)).collect();
        for round in 0.. {
            assert!(round < 4, "{:?} is never taken: {left:?}", self.permutation);
            let mut refused = Vec::new();
            for event in left {
                let statuses = [shop.arrives(event).await.unwrap(), shop.arrives(event).await.unwrap()];
                assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?} for {event:?}");
                if statuses.contains(&503) {
                    refused.push(event);
                }
            }
            left = refused;
            if left.is_empty() {
                break;
            }
        }
    }
}

/// What of an order must not depend on the order of arrival: where it stands, what it holds, and its money.
fn state(order: &Value) -> Value {
    let disputes = order["disputes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let disputes: Vec<_> =
        disputes.iter().map(|one| (&one["standing"], &one["amount"], &one["charged_back"])).collect();
    json!({
        "status": order["status"],
        "payment_status": order["payment_status"],
        "fulfillment_status": order["fulfillment_status"],
        "holds": order["holds"],
        "money": order["money"],
        "disputes": disputes,
        "disputed": order["disputed"],
    })
}

/// The rows of its payment that must not depend on it either.
async fn rows(shop: &StripeShop, payment_id: &str) -> Vec<String> {
    let query = "select concat_ws(' ', status, page, captured_minor, refunded_minor, refunding_minor, charged_back_minor)
            from payments.payments where payment_id = $1::uuid
        union all select concat_ws(' ', 'refund', status, amount_minor) from payments.refunds where payment_id = $1::uuid
        union all select concat_ws(' ', 'waits', kind, mismatch) from payments.reports
            where payment_id = $1::uuid and standing = 'open'
        order by 1";
    let mut connection = shop.fleet.database().await.unwrap();
    sqlx::query_scalar(query).bind(payment_id).fetch_all(&mut connection).await.unwrap()
}

/// Whatever the fake has to tell comes once more; then all orders of this set stand alike, and so as this says.
async fn all_stand_alike(shop: &StripeShop, arrivals: &[Arrival], expected: &Value) {
    shop.fleet.settle().await.unwrap();
    let mut found: BTreeMap<String, Vec<[usize; 4]>> = BTreeMap::new();
    for arrival in arrivals {
        let order = shop.gateway.get(&arrival.path).await.unwrap().json;
        let stands = format!("{} {:?}", state(&order), rows(shop, &arrival.payment_id).await);
        found.entry(stands).or_default().push(arrival.permutation);
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(order.pointer(field), Some(value), "{:?}: {field} of {order:#}", arrival.permutation);
        }
    }
    assert_eq!(found.len(), 1, "{found:#?}");
}

/// Places an order for each permutation. The page of each is at Stripe; whether the worker knows it is another thing.
async fn place(shop: &StripeShop, name: &str) -> Vec<Arrival> {
    let placing = permutations().into_iter().map(|permutation| async move {
        let path = shop.place(&format!("{name} {permutation:?}"), 2).await.unwrap();
        let is_asked = |order: &Value| order.pointer("/payments/0/payment_id").is_some_and(Value::is_string);
        let order = shop.gateway.until(&path, "the buyer is asked", is_asked).await.unwrap();
        let payment_id = order.pointer("/payments/0/payment_id").and_then(Value::as_str).unwrap().to_owned();
        let is_open = || async { Ok(shop.stripe.ledger().payments.contains_key(&payment_id)) };
        eventually("the page is open", is_open).await.unwrap();
        Arrival { path, payment_id, permutation, names: Vec::new() }
    });
    join_all(placing).await
}

fn session_of(shop: &StripeShop, payment_id: &str) -> String {
    shop.stripe.ledger().payments.get(payment_id).unwrap().sessions.first().unwrap().id.clone()
}

/// Told of one charge: that it was paid, twice; that some of it went back at the dashboard; and that the bank has taken the rest.
const OF_A_CHARGE: [&str; 4] =
    ["checkout.session.completed", "payment_intent.succeeded", "refund.created", "charge.dispute.funds_withdrawn"];

async fn of_a_charge(shop: &StripeShop, arrivals: &mut [Arrival]) {
    for arrival in &mut *arrivals {
        let intent = shop.stripe.pay(&session_of(shop, &arrival.payment_id)).unwrap().unwrap();
        shop.stripe.refund_in_dashboard(&intent, 1_000).unwrap();
        shop.stripe.dispute(&intent, 700).unwrap();
        arrival.names = vec![intent];
    }
    let all = shop.stripe.events();
    let arrivals: &[Arrival] = arrivals;
    join_all(arrivals.iter().map(|arrival| {
        let events = arrival.events(&all, &OF_A_CHARGE);
        async move { arrival.deliver(shop, &events).await }
    }))
    .await;
}

fn paid_and_partly_gone() -> Value {
    json!({
        "/status": "partially_refunded",
        "/money/captured/minor_units": "2500",
        "/money/gone_back/minor_units": "1000",
        "/money/charged_back/minor_units": "700",
        "/holds/stock": "committed",
        "/disputed": true,
    })
}

/// Told of a refund of ours that Stripe took, and whose money came back from the bank.
const OF_A_REFUND: [&str; 4] = ["refund.created", "refund.updated", "refund.failed", "payment_intent.succeeded"];

/// An order for each permutation that is paid, and of which the worker has heard no more than that.
async fn paid(shop: &StripeShop, name: &str) -> Vec<Arrival> {
    let mut arrivals = place(shop, name).await;
    for arrival in &mut arrivals {
        let intent = shop.stripe.pay(&session_of(shop, &arrival.payment_id)).unwrap().unwrap();
        arrival.names = vec![intent];
    }
    let all = shop.stripe.events();
    for arrival in &arrivals {
        let paid = arrival.events(&all, &["checkout.session.completed"; 4]);
        assert_eq!(shop.arrives(paid.first().unwrap()).await.unwrap(), 200);
        shop.until(&arrival.path, "paid").await.unwrap();
    }
    arrivals
}

/// The answer to the call says how the refund begins; what became of it, the webhooks say.
async fn of_a_failed_refund(shop: &StripeShop, begins: RefundStatus) {
    shop.stripe.set_refunds_begin(begins);
    let mut refunds = paid(shop, &format!("refund {begins:?}")).await;
    for arrival in &mut refunds {
        let key = format!("back {begins:?} {:?}", arrival.permutation);
        let asked = shop.gateway.post(&format!("{}/refunds", arrival.path), &key, &json!({})).await.unwrap();
        assert_eq!(asked.status, 201, "{asked:?}");
        // Of one that is pending, only Stripe can tell what it is known by.
        let sent = || {
            let ledger = shop.stripe.ledger();
            let refund = ledger.payments.get(&arrival.payment_id)?.refunds.first()?;
            Some(refund.id.clone())
        };
        eventually("it is sent", || async { Ok(sent().is_some()) }).await.unwrap();
        let name = sent().unwrap();
        if begins == RefundStatus::Succeeded {
            shop.until(&arrival.path, "refunded").await.unwrap();
        }
        shop.stripe.settle_refund(&name, RefundStatus::Failed).unwrap();
        arrival.names.push(name);
    }
    let all = shop.stripe.events();
    join_all(refunds.iter().map(|arrival| {
        let events = arrival.events(&all, &OF_A_REFUND);
        async move { arrival.deliver(shop, &events).await }
    }))
    .await;
    let kept = json!({ "/money/captured/minor_units": "2500", "/money/gone_back/minor_units": "0" });
    all_stand_alike(shop, &refunds, &kept).await;
}

#[tokio::test]
async fn webhooks_of_one_payment_end_alike_in_all_orders_of_arrival() {
    let shop = StripeShop::open(1, 1_000, &NO_SECOND_TRY).await.unwrap();
    shop.keep_webhooks_away();

    // The page is known.
    let mut charges = place(&shop, "known").await;
    for arrival in &charges {
        shop.page(&arrival.path).await.unwrap();
    }
    of_a_charge(&shop, &mut charges).await;
    all_stand_alike(&shop, &charges, &paid_and_partly_gone()).await;

    // It is open at Stripe, and the answer that says so is lost: all is told and paid before the worker knows of a page.
    shop.stripe.set_faults(Faults { only: "/v1/checkout/sessions".to_owned(), lost_answer: 100, ..Faults::default() });
    let mut unknown = place(&shop, "unknown").await;
    shop.fleet
        .until("select count(*) from payments.effects where due_at > now() + interval '1 minute'", 24)
        .await
        .unwrap();
    of_a_charge(&shop, &mut unknown).await;
    shop.stripe.set_faults(Faults::default());
    let mut database = shop.fleet.database().await.unwrap();
    sqlx::query("update payments.effects set due_at = now()").execute(&mut database).await.unwrap();
    all_stand_alike(&shop, &unknown, &paid_and_partly_gone()).await;

    for begins in [RefundStatus::Pending, RefundStatus::Succeeded] {
        of_a_failed_refund(&shop, begins).await;
    }

    shop.let_webhooks_come();
    eventually("all is told", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    shop.close().await.unwrap();
}
