//! The person who decides what no rule can: he looks at Stripe, and says what he finds there.

use std::time::Duration;

use anyhow::{Result, bail};
use fake_stripe::RefundStatus;
use holdfast_tests::stripe::StripeShop;
use platform::clock;
use serde_json::json;
use sqlx::Row;
use tokio::time::Instant;

use crate::insist;

const UNSETTLED: &str =
    "select (select count(*) from payments.refunds where status in ('deferred', 'refunding', 'unknown', 'reversed'))
    + (select count(*) from payments.reports where standing = 'open')
    + (select count(*) from payments.effects)
    + (select count(*) from orders.orders where status in ('pending', 'reserved', 'refunding'))";

/// Decides until nothing waits any more: how often he had to.
pub(crate) async fn until_settled(shop: &StripeShop, patience: Duration) -> Result<u32> {
    let deadline = Instant::now() + patience;
    let mut decided = 0;
    loop {
        decided += refunds(shop, decided).await? + reports(shop, decided).await?;
        let left = shop.fleet.number(UNSETTLED).await?;
        if left == 0 && shop.stripe.to_deliver() == 0 {
            return Ok(decided);
        }
        if Instant::now() > deadline {
            bail!("after {} s {left} things are under way", patience.as_secs());
        }
        clock::sleep(Duration::from_millis(500)).await;
    }
}

/// Refunds of which nobody knows how they ended, or which came back.
async fn refunds(shop: &StripeShop, decided: u32) -> Result<u32> {
    let query = "select payment_id::text, refund_id::text, send_count from payments.refunds where status in ('unknown', 'reversed')";
    let mut connection = shop.fleet.database().await?;
    let ledger = shop.stripe.ledger();
    let mut count = 0;
    for row in sqlx::query(query).fetch_all(&mut connection).await? {
        let (payment_id, refund_id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let is_there = ledger.payments.get(&payment_id).is_some_and(|entry| {
            let is_it = |refund: &&fake_stripe::RefundEntry| refund.metadata.get("refund_id") == Some(&refund_id);
            entry.refunds.iter().filter(is_it).any(|refund| refund.status == RefundStatus::Succeeded)
        });
        let word = if is_there { "REFUND_RESOLUTION_REFUNDED" } else { "REFUND_RESOLUTION_RETRY" };
        let path = format!("/v1/payments/{payment_id}/refunds/{refund_id}/resolve");
        let sent: i32 = row.try_get(2)?;
        let key = format!("{word} {sent} {decided}");
        insist(shop, &path, &key, &json!({ "resolution": word, "note": "looked at the dashboard" })).await?;
        count += 1;
    }
    Ok(count)
}

/// Reports that fit nothing: what he finds is so.
async fn reports(shop: &StripeShop, decided: u32) -> Result<u32> {
    let query = "select payment_id::text, provider_event_id from payments.reports where standing = 'open'";
    let mut connection = shop.fleet.database().await?;
    let mut count = 0;
    for row in sqlx::query(query).fetch_all(&mut connection).await? {
        let (payment_id, event_id): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let path = format!("/v1/payments/{payment_id}/reports/{}/resolve", event_id.replace(' ', "%20"));
        let body = json!({ "resolution": "REPORT_RESOLUTION_ACCEPTED", "note": "it is so in the dashboard" });
        insist(shop, &path, &format!("accepted {decided}"), &body).await?;
        count += 1;
    }
    Ok(count)
}
