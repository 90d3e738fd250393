//! A shop that takes its money through a fake of Stripe: a fleet, its gateway, and what buyers and operators do.

use anyhow::{Context, Result, ensure};
use fake_stripe::{FakeStripe, Settings, Told};
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::fleet::stripe::{self, WEBHOOK_SECRET};

use crate::{TestFleet, gateway::Gateway};

/// The shop.
#[derive(Debug)]
pub struct StripeShop {
    /// Its fleet.
    pub fleet: TestFleet,
    /// Where it is asked.
    pub gateway: Gateway,
    /// Where its buyers pay.
    pub stripe: FakeStripe,
    _keys: TempDir,
}

impl StripeShop {
    /// Opens one with so many replicas of each worker and so many mugs, and with these settings besides.
    pub async fn open(replicas: usize, mugs: u32, settings: &[(&str, &str)]) -> Result<Self> {
        let fake = FakeStripe::start(Settings::default()).await?;
        let keys = tempfile::tempdir()?;
        let own = stripe::settings(keys.path(), fake.url(), fake.key())?;
        let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: Vec<_> = own.chain(settings.iter().copied()).collect();
        let fleet = TestFleet::with(replicas, &settings).await?;
        let gateway = Gateway::start(&fleet, &settings).await?;
        let shop = Self { fleet, gateway, stripe: fake, _keys: keys };
        shop.let_webhooks_come();
        let registered = shop.gateway.post("/v1/products", "mug", &json!({ "sku": "MUG", "name": "Mug" })).await?;
        ensure!(registered.status == 200, "{registered:?}");
        let quantity = json!({ "quantity": mugs.to_string() });
        let received = shop.gateway.post("/v1/products/MUG/receive", "mugs", &quantity).await?;
        ensure!(received.status == 200, "{received:?}");
        Ok(shop)
    }

    /// From now on webhooks reach the gateway.
    pub fn let_webhooks_come(&self) {
        self.stripe.set_webhook(stripe::webhook_url(&self.gateway.address), vec![WEBHOOK_SECRET.to_owned()]);
    }

    /// From now on none does.
    pub fn keep_webhooks_away(&self) {
        self.stripe.set_webhook("http://127.0.0.1:1/", vec![WEBHOOK_SECRET.to_owned()]);
    }

    /// An event is delivered now, whatever the fake does: what the gateway answers.
    pub async fn arrives(&self, event: &Told) -> Result<u16> {
        let signature = self.stripe.signature(&event.body);
        let headers = [("stripe-signature", signature.as_str()), ("content-type", "application/json")];
        Ok(self.gateway.request("POST", "/webhooks/stripe", &headers, &event.body).await?.status)
    }

    /// An order of so many mugs, 12.50 EUR each.
    #[must_use]
    pub fn order(quantity: u32) -> Value {
        json!({
            "customer_id": "customer-42",
            "lines": [{ "sku": "MUG", "quantity": quantity, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
            "payment_method": "stripe",
        })
    }

    /// Places such an order: its path.
    pub async fn place(&self, key: &str, quantity: u32) -> Result<String> {
        let placed = self.gateway.post("/v1/orders", key, &Self::order(quantity)).await?;
        ensure!(placed.status == 201, "{placed:?}");
        Ok(placed.header("location").to_owned())
    }

    /// Waits until the buyer has a page to pay on: what Stripe knows it by.
    pub async fn page(&self, order: &str) -> Result<String> {
        let has_page = |order: &Value| !session(order).is_empty();
        let order = self.gateway.until(order, "there is a page to pay on", has_page).await?;
        Ok(session(&order).to_owned())
    }

    /// Waits until an order has this status.
    pub async fn until(&self, order: &str, status: &str) -> Result<Value> {
        self.gateway.until(order, status, |order| order["status"] == status).await
    }

    /// At the end: everything is settled, the log and the rows agree, and Stripe's books say the same as ours.
    pub async fn close(&self) -> Result<()> {
        self.fleet.settle_and_verify().await?;
        // Second charges that go back are beside the money of their payments.
        let came = "select (select coalesce(sum(captured_minor), 0) from payments.payments)::bigint
            + (select coalesce(sum(amount_minor), 0) from (select distinct r.payment_id, r.provider_reference, r.amount_minor
                from payments.reports r join payments.refunds f
                    on f.payment_id = r.payment_id and f.second_charge = r.provider_reference
                where r.kind = 'payment_succeeded') as second)::bigint";
        let went = "select (select coalesce(sum(refunded_minor), 0) from payments.payments)::bigint
            + (select coalesce(sum(amount_minor), 0) from payments.refunds
                where second_charge is not null and status = 'refunded')::bigint";
        let charged_back = "select (select coalesce(sum(charged_back_minor), 0) from payments.payments)::bigint
            + (select coalesce(sum(coalesce((dispute -> 'withdrawn' ->> 'minor_units')::bigint, 0)
                    - coalesce((dispute -> 'reinstated' ->> 'minor_units')::bigint, 0)), 0)
                from payments.payments, jsonb_path_query(disputes, '$.* ? (@.of_second_charge == true)') as dispute)::bigint";
        let [came, went, charged_back] =
            [self.fleet.number(came).await?, self.fleet.number(went).await?, self.fleet.number(charged_back).await?];
        let ledger = self.stripe.ledger();
        let theirs = ledger.totals.get("eur").copied().unwrap_or_default();
        let ours = (came, went, charged_back);
        let same = ours == (theirs.captured, theirs.refunded, theirs.charged_back);
        ensure!(same, "ours {ours:?}, and Stripe's {theirs:?}: {ledger:?}");
        Ok(())
    }
}

/// The session in which an order can be paid now; empty: none.
#[must_use]
pub fn session(order: &Value) -> &str {
    stripe::checkout_url(order).and_then(|url| url.rsplit('/').next()).unwrap_or_default()
}

/// The order's id in its path.
pub fn order_id(path: &str) -> Result<&str> {
    path.rsplit('/').next().context("a path ends with an id")
}
