//! SIGKILL of payments while every kind of call to Stripe is under way, and of the gateway between a webhook and its 200: by Stripe's own
//! books nothing is doubled, and nothing is missing.

use async_nats::jetstream;
use fake_stripe::Faults;
use holdfast_tests::{eventually, stripe::StripeShop};
use serde_json::{Value, json};
use testbed::servers::Signal;

/// How long a call may take here, and how long after a crash it is made again.
const CALLS: [(&str, &str); 4] = [
    ("HOLDFAST_EFFECTS_CALL_MS", "3500"),
    ("HOLDFAST_EFFECTS_LEASE_MS", "4600"),
    ("HOLDFAST_STRIPE_CAPTURE", "on_paid"),
    ("HOLDFAST_STRIPE_MISSED_MS", "0"),
];

/// The calls that payments makes, by how their paths end.
const KINDS: [&str; 5] = ["/sessions", "/expire", "/capture", "/cancel", "/refunds"];

/// The orders of one crash: each has another call under way when payments is killed.
struct Orders {
    /// The buyer's money is set aside, and Stripe has told nobody yet: it is about to be taken.
    to_take: String,
    /// The same, but the order is about to be cancelled: it is to be let go.
    to_let_go: String,
    /// It is paid, and about to be refunded.
    to_refund: String,
    /// Its page is open, and the order is about to be cancelled.
    to_close: String,
    /// Webhooks that were kept away.
    told: Vec<fake_stripe::Told>,
}

async fn cancel(shop: &StripeShop, order: &str) {
    let answer = shop.gateway.post(&format!("{order}/cancel"), &format!("no {order}"), &json!({})).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

impl Orders {
    async fn prepare(shop: &StripeShop, name: &str) -> Self {
        let [to_refund, to_take, to_let_go, to_close] = ["refund", "take", "let go", "close"];
        let place = async |what: &str| shop.place(&format!("{name} {what}"), 1).await.unwrap();
        shop.let_webhooks_come();
        let to_refund = place(to_refund).await;
        shop.stripe.pay(&shop.page(&to_refund).await.unwrap()).unwrap();
        shop.until(&to_refund, "paid").await.unwrap();
        eventually("all is told", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();

        shop.keep_webhooks_away();
        let (to_take, to_let_go, to_close) = (place(to_take).await, place(to_let_go).await, place(to_close).await);
        let mut intents = Vec::new();
        for order in [&to_take, &to_let_go] {
            intents.extend(shop.stripe.pay(&shop.page(order).await.unwrap()).unwrap());
        }
        shop.page(&to_close).await.unwrap();
        let is_wanted = |told: &fake_stripe::Told| {
            told.kind == "payment_intent.amount_capturable_updated"
                && intents.iter().any(|intent| told.body.contains(intent))
        };
        let told = shop.stripe.events().into_iter().filter(is_wanted).collect();
        Self { to_take, to_let_go, to_refund, to_close, told }
    }

    /// Asks for everything, and waits until Stripe has heard of all of it. The order whose page is being opened.
    async fn ask(&self, shop: &StripeShop, name: &str) -> String {
        let heard = shop.stripe.journal().len();
        let to_open = shop.place(&format!("{name} open"), 1).await.unwrap();
        let path = format!("{}/refunds", self.to_refund);
        let back = shop.gateway.post(&path, &format!("{name} back"), &json!({})).await.unwrap();
        assert_eq!(back.status, 201, "{back:?}");
        cancel(shop, &self.to_close).await;
        cancel(shop, &self.to_let_go).await;
        for event in &self.told {
            assert_eq!(shop.arrives(event).await.unwrap(), 200, "{event:?}");
        }
        eventually("all calls are under way", || async {
            let journal = shop.stripe.journal();
            let posts = journal.iter().skip(heard).filter(|exchange| exchange.method == "POST");
            let paths: Vec<_> = posts.map(|exchange| exchange.path.as_str()).collect();
            Ok(KINDS.iter().all(|kind| paths.iter().any(|path| path.ends_with(kind))))
        })
        .await
        .unwrap();
        to_open
    }

    /// Each has become what it was to become.
    async fn end(&self, shop: &StripeShop, to_open: &str) {
        shop.stripe.pay(&shop.page(to_open).await.unwrap()).unwrap();
        shop.let_webhooks_come();
        for (order, status) in [
            (to_open, "paid"),
            (self.to_take.as_str(), "paid"),
            (self.to_let_go.as_str(), "cancelled"),
            (self.to_close.as_str(), "cancelled"),
            (self.to_refund.as_str(), "refunded"),
        ] {
            shop.until(order, status).await.unwrap();
        }
        shop.fleet.until("select count(*) from payments.effects", 0).await.unwrap();
        let closed = shop.gateway.get(&self.to_close).await.unwrap().json;
        assert_eq!(closed.pointer("/payments/0/checkout_url"), Some(&Value::Null), "{closed}");
    }
}

async fn crash(shop: &StripeShop) {
    let mut processes = shop.fleet.processes().await;
    processes.kill_worker("payments", 0).await.unwrap();
    shop.stripe.set_faults(Faults::default());
    processes.start_worker("payments", 0).unwrap();
}

#[tokio::test]
async fn payments_that_is_killed_with_calls_of_every_kind_under_way_doubles_nothing_and_forgets_nothing() {
    let shop = StripeShop::open(1, 1_000, &CALLS).await.unwrap();
    let busy = Faults { busy: 100, ..Faults::default() };
    let slow = Faults { slow: 100, slow_ms: 3_000, ..Faults::default() };
    // Killed after a call that Stripe did nothing about, and after one that it did and has not answered.
    let crashes = [("nothing is done", busy), ("all is done", slow)];
    for (name, faults) in &crashes {
        let orders = Orders::prepare(&shop, name).await;
        shop.stripe.set_faults(faults.clone());
        let to_open = orders.ask(&shop, name).await;
        crash(&shop).await;
        orders.end(&shop, &to_open).await;
    }
    eventually("all is told", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    shop.close().await.unwrap();

    // Each time: three were paid, one of which went back, and one was let go.
    let times = i64::try_from(crashes.len()).unwrap();
    let theirs = shop.stripe.ledger().totals["eur"];
    let moved = (theirs.captured, theirs.refunded, theirs.released, theirs.authorised, theirs.refunding);
    assert_eq!(moved, (times * 3 * 1_250, times * 1_250, times * 1_250, 0, 0), "{:#?}", shop.stripe.ledger());
    assert_eq!(shop.fleet.number("select on_hand from inventory.stock").await.unwrap(), 1_000 - 2 * times);
    assert_eq!(shop.fleet.number("select held from inventory.stock").await.unwrap(), 0);
}

/// Commands that payments has not taken yet.
async fn waiting(shop: &StripeShop) -> anyhow::Result<u64> {
    let jetstream = jetstream::new(shop.fleet.client.client().clone());
    Ok(jetstream.get_stream("COMMANDS_PAYMENTS").await?.cached_info().state.messages)
}

/// Stops payments, has Stripe tell something, and waits until the gateway has sent it on and waits for payments.
async fn is_told_while_payments_is_away(shop: &StripeShop, tell: impl FnOnce()) {
    eventually("payments has nothing to do", || async { Ok(waiting(shop).await? == 0) }).await.unwrap();
    shop.keep_webhooks_away();
    shop.fleet.processes().await.stop_worker("payments", 0).await.unwrap();
    shop.let_webhooks_come();
    tell();
    eventually("the gateway waits", || async { Ok(waiting(shop).await? > 0) }).await.unwrap();
}

#[tokio::test]
async fn a_webhook_whose_gateway_is_killed_before_it_confirms_it_is_taken_in_once() {
    let settings = [("HOLDFAST_STRIPE_MISSED_MS", "0")];
    let mut shop = StripeShop::open(1, 1_000, &settings).await.unwrap();
    let order = shop.place("one", 2).await.unwrap();
    let session = shop.page(&order).await.unwrap();

    // Killed before payments has committed it.
    is_told_while_payments_is_away(&shop, || drop(shop.stripe.pay(&session).unwrap())).await;
    shop.gateway = shop.gateway.kill_and_start(&shop.fleet).await.unwrap();
    shop.fleet.processes().await.start_worker("payments", 0).unwrap();
    shop.let_webhooks_come();
    shop.until(&order, "paid").await.unwrap();
    eventually("all is told", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();

    // Killed after that: it stands still while payments commits.
    let intent = shop.stripe.ledger().payments.values().next().unwrap().intents[0].id.clone();
    is_told_while_payments_is_away(&shop, || drop(shop.stripe.refund_in_dashboard(&intent, 1_000).unwrap())).await;
    shop.fleet.processes().await.worker("gateway", 0).unwrap().signal(Signal::STOP).unwrap();
    shop.fleet.processes().await.start_worker("payments", 0).unwrap();
    let booked = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentRefundedElsewhere'";
    shop.fleet.until(booked, 1).await.unwrap();
    shop.gateway = shop.gateway.kill_and_start(&shop.fleet).await.unwrap();
    assert!(shop.stripe.to_deliver() > 0, "nobody has confirmed it");
    shop.let_webhooks_come();
    eventually("all is told", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    let order = shop.gateway.get(&order).await.unwrap().json;
    assert_eq!(order.pointer("/money/gone_back/minor_units"), Some(&json!("1000")), "{order}");
    shop.close().await.unwrap();
    assert_eq!(shop.fleet.number(booked).await.unwrap(), 1);
    let taken = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentSucceeded'";
    assert_eq!(shop.fleet.number(taken).await.unwrap(), 1);
}
