//! What Stripe says of each payment, and what the fleet says of it.

use std::fmt;

use anyhow::Result;
use domain::written;
use fake_stripe::{Ledger, RefundOrigin, RefundStatus};
use holdfast_tests::stripe::StripeShop;
use sqlx::Row;

use crate::{Books, Sums};

/// Of all orders here.
const CURRENCY: &str = "EUR";

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [captured, refunded, charged_back] =
            [self.captured, self.refunded, self.charged_back].map(|minor| written(minor, CURRENCY));
        write!(f, "{captured} captured, {refunded} refunded, {charged_back} charged back")
    }
}

/// What the fleet's rows say.
async fn ours(shop: &StripeShop) -> Result<Books> {
    let query = "select payment_id::text, captured_minor, refunded_minor, charged_back_minor from payments.payments";
    let mut connection = shop.fleet.database().await?;
    let rows = sqlx::query(query).fetch_all(&mut connection).await?;
    rows.iter()
        .map(|row| {
            let sums = Sums { captured: row.try_get(1)?, refunded: row.try_get(2)?, charged_back: row.try_get(3)? };
            Ok((row.try_get(0)?, sums))
        })
        .collect()
}

/// What the fake's ledger says.
fn theirs(ledger: &Ledger) -> Books {
    let sums = |(payment_id, entry): (&String, &fake_stripe::PaymentEntry)| {
        let is_paid_out = |refund: &&fake_stripe::RefundEntry| {
            refund.status == RefundStatus::Succeeded && refund.origin != RefundOrigin::Release
        };
        let sums = Sums {
            captured: entry.charges.iter().map(|charge| charge.amount_captured).sum(),
            refunded: entry.refunds.iter().filter(is_paid_out).map(|refund| refund.amount).sum(),
            charged_back: entry.disputes.iter().map(|dispute| dispute.charged_back).sum(),
        };
        (payment_id.clone(), sums)
    };
    ledger.payments.iter().map(sums).collect()
}

/// What is counted, and how much of it a payment has.
type Kind = (&'static str, fn(&Sums) -> i64);

/// Prints both, and says where they differ.
pub(crate) async fn compare(shop: &StripeShop) -> Result<Vec<String>> {
    let ledger = shop.stripe.ledger();
    let (ours, theirs) = (ours(shop).await?, theirs(&ledger));
    let sum = |books: &Books, of: fn(&Sums) -> i64| books.values().map(of).sum::<i64>();
    let count = |books: &Books, of: fn(&Sums) -> i64| books.values().filter(|sums| of(sums) != 0).count();
    println!("{:<24}{:>12}{:>20}{:>12}{:>20}", "", "payments", "in all", "payments", "in all");
    println!("{:<24}{:>32}{:>32}", "", "Stripe", "Holdfast");
    let kinds: [Kind; 3] = [
        ("captured", |sums| sums.captured),
        ("refunded", |sums| sums.refunded),
        ("charged back", |sums| sums.charged_back),
    ];
    for (name, of) in kinds {
        let (stripe, holdfast) = ((count(&theirs, of), sum(&theirs, of)), (count(&ours, of), sum(&ours, of)));
        let (came, ours) = (written(stripe.1, CURRENCY), written(holdfast.1, CURRENCY));
        println!("{name:<24}{:>12}{came:>20}{:>12}{ours:>20}", stripe.0, holdfast.0);
    }
    let all = ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>();
    let differs = all.into_iter().filter_map(|payment_id| {
        let at = |books: &Books| books.get(payment_id).copied().unwrap_or_default();
        let (ours, theirs) = (at(&ours), at(&theirs));
        (ours != theirs).then(|| format!("payment {payment_id}: Stripe says {theirs}, Holdfast {ours}"))
    });
    let set_aside = ledger.totals.iter().filter(|(_, totals)| totals.authorised != 0);
    let set_aside = set_aside.map(|(currency, totals)| format!("{} {currency} stay set aside", totals.authorised));
    Ok(differs.chain(set_aside).collect())
}
