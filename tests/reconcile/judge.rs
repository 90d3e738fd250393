//! What was sent to Stripe, judged by Stripe's own schema: one call of each kind is made at the end, so that none is missing.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use fake_stripe::Faults;
use holdfast_tests::{eventually, python, stripe::StripeShop};
use serde_json::{Value, json};

use crate::insist;

/// Orders that need every kind of call to Stripe there is. Nothing goes wrong any more but the answer to one refund.
pub(crate) async fn tour(shop: &StripeShop) -> Result<()> {
    shop.stripe.set_faults(Faults::default());
    let on_paid = BTreeMap::from([("HOLDFAST_STRIPE_CAPTURE".to_owned(), "on_paid".to_owned())]);
    for replica in 0..2 {
        let mut processes = shop.fleet.processes().await;
        processes.stop_worker("payments", replica).await?;
        processes.start_worker_with("payments", replica, &on_paid)?;
    }
    // Opened, captured, refunded, and looked for, for the answer is lost.
    let paid = place(shop, "tour: paid").await?;
    shop.stripe.pay(&shop.page(&paid).await?)?;
    shop.until(&paid, "paid").await?;
    let heard = shop.stripe.journal().len();
    shop.stripe.set_faults(Faults { only: "/v1/refunds".to_owned(), lost_answer: 100, ..Faults::default() });
    insist(shop, &format!("{paid}/refunds"), "tour", &json!({})).await?;
    let is_sent = || async {
        let journal = shop.stripe.journal();
        Ok(journal.iter().skip(heard).any(|call| call.method == "POST" && call.path == "/v1/refunds"))
    };
    eventually("the refund is sent", is_sent).await?;
    shop.stripe.set_faults(Faults::default());
    shop.until(&paid, "refunded").await?;
    // Cancelled when it is paid already, and nobody has heard of that: its page cannot be closed, is looked at, and so is its charge, which is
    // let go.
    shop.keep_webhooks_away();
    let cancelled = place(shop, "tour: cancelled").await?;
    shop.stripe.pay(&shop.page(&cancelled).await?)?;
    insist(shop, &format!("{cancelled}/cancel"), "tour", &json!({})).await?;
    shop.until(&cancelled, "cancelled").await?;
    shop.fleet.until("select count(*) from payments.effects", 0).await?;
    shop.let_webhooks_come();
    eventually("all is told", || async { Ok(shop.stripe.to_deliver() == 0) }).await
}

async fn place(shop: &StripeShop, key: &str) -> Result<String> {
    let placed = insist(shop, "/v1/orders", key, &StripeShop::order(1)).await?;
    let order_id = placed.get("order_id").and_then(Value::as_str).context("an order has an id")?;
    Ok(format!("/v1/orders/{order_id}"))
}

/// Has this script judge all that the fake remembers, and fails if it finds anything.
pub(crate) async fn judge(shop: &StripeShop, script: &Path) -> Result<()> {
    let judging = tokio::process::Command::new(python())
        .arg(script)
        .args(["--url", shop.stripe.url(), "--wire", "--all-kinds"])
        .stdin(Stdio::null())
        .status();
    let status = judging.await.context("starting the judge")?;
    ensure!(status.success(), "what was sent to Stripe is not as Stripe's schema has it");
    Ok(())
}
