//! What the fake of Stripe says of the money, beside what the fleet says.

use crate::{
    fleet::stripe::{FakeStripe, Sums},
    load::workload::CURRENCY,
};
use anyhow::{Context, Result};
use domain::written;
use serde_json::{Value, json};
use sqlx::PgPool;

/// Both.
#[derive(Debug, Clone, Copy)]
pub struct Books {
    stripe: Sums,
    fleet: Sums,
}

impl Books {
    /// Reads both.
    pub async fn read(stripe: &FakeStripe, pool: &PgPool) -> Result<Self> {
        let (captured, refunded) = sqlx::query_as(
            "select coalesce(sum(captured_minor), 0)::bigint, coalesce(sum(refunded_minor), 0)::bigint
             from payments.payments where currency = $1",
        )
        .bind(CURRENCY)
        .fetch_one(pool)
        .await
        .context("adding up the fleet's money")?;
        Ok(Self { stripe: stripe.sums(CURRENCY).await?, fleet: Sums { captured, refunded } })
    }

    /// Where they differ, in words.
    pub fn differences(&self) -> Vec<String> {
        let differs = self.stripe != self.fleet;
        differs
            .then(|| format!("Holdfast: {}; Stripe: {}", words(self.fleet), words(self.stripe)))
            .into_iter()
            .collect()
    }

    /// What both should say, for people.
    pub fn text(&self) -> String {
        words(self.stripe)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let sums = |Sums { captured, refunded }| json!({ "captured_minor": captured, "refunded_minor": refunded });
        json!({ "currency": CURRENCY, "stripe": sums(self.stripe), "holdfast": sums(self.fleet) })
    }
}

fn words(Sums { captured, refunded }: Sums) -> String {
    format!("{} came, {} went back", written(captured, CURRENCY), written(refunded, CURRENCY))
}

#[cfg(test)]
mod tests {
    use crate::fleet::stripe::Sums;

    use super::Books;

    #[test]
    fn books_that_differ_say_what_each_of_them_has() {
        let (stripe, fleet) = (Sums { captured: 123_456, refunded: 50 }, Sums { captured: 123_456, refunded: 0 });
        assert!(Books { stripe, fleet: stripe }.differences().is_empty());
        let text = "Holdfast: 1,234.56 EUR came, 0.00 EUR went back; Stripe: 1,234.56 EUR came, 0.50 EUR went back";
        assert_eq!(Books { stripe, fleet }.differences(), [text]);
    }
}
