//! The sandbox lies in the database of those who use it, so it forgets with it when that is restored from a backup. No provider does that: it
//! is told again what it did.

use domain::Money;
use runtime::log::event_store::StoredEvent;
use sqlx::PgConnection;

use super::{REFUND, REFUND_THAT_FAILS_LATER};
use crate::{
    event::{Event, RefundOf},
    wire,
};

/// Enters refunds that it paid out, and whether they came back, unless it knows of them.
///
/// # Errors
/// Postgres failed.
pub async fn remember(connection: &mut PgConnection, events: &[&StoredEvent]) -> Result<(), sqlx::Error> {
    for event in events.iter().filter_map(|event| wire::decode_event(&event.message_type, &event.data).ok()) {
        let Some((of, amount, key, status)) = paid_out(&event) else { continue };
        sqlx::query(
            "insert into payments.sandbox_refunds (key, payment_id, refund_id, amount_minor, currency, status, calls)
             values ($1, $2, $3, $4, $5, $6, 1)
             on conflict (key) do update set status = excluded.status where sandbox_refunds.status <> 'failed'",
        )
        .bind(key)
        .bind(of.payment_id.0)
        .bind(of.refund_id.0)
        .bind(amount.minor_units)
        .bind(amount.currency.as_str())
        .bind(status)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// What an event says that the sandbox did, by its own reference.
fn paid_out(event: &Event) -> Option<(RefundOf, Money, &str, &'static str)> {
    let (of, amount, reference, status) = match event {
        Event::PaymentRefunded { of, amount, provider_reference, .. } => (of, amount, provider_reference, "refunded"),
        Event::RefundReversed { of, amount, provider_reference, .. } => (of, amount, provider_reference, "failed"),
        Event::PaymentRequested { .. }
        | Event::PaymentSucceeded { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentCancelled { .. }
        | Event::ProviderReportUnmatched { .. }
        | Event::ProviderReportResolved { .. }
        | Event::RefundDeferred { .. }
        | Event::RefundSubmitted { .. }
        | Event::PaymentRefundedElsewhere { .. }
        | Event::RefundAnswered { .. }
        | Event::RefundRejected { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundResolved { .. } => return None,
    };
    let key = reference.strip_prefix(REFUND_THAT_FAILS_LATER).or_else(|| reference.strip_prefix(REFUND))?;
    key.starts_with(&of.payment_id.to_string()).then_some((*of, *amount, key, status))
}
