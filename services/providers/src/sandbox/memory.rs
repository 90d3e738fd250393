//! The sandbox lies in the database of those who use it, so it forgets with it when that is restored from a backup. No provider does that: it
//! is told again what it did.

use domain::{Money, PaymentId, RefundId, decode};
use proto::{
    Name,
    common::v1 as common,
    payments::v1::{PaymentRefunded, RefundReversed},
};
use sqlx::PgConnection;

use super::{REFUND, REFUND_THAT_FAILS_LATER};

/// Enters refunds that it paid out, and whether they came back, unless it knows of them. Of each event the full type name and the bytes;
/// those that are not of refunds are none of its business.
///
/// # Errors
/// Postgres failed.
pub async fn remember(connection: &mut PgConnection, events: &[(&str, &[u8])]) -> Result<(), sqlx::Error> {
    for PaidOut { key, payment_id, refund_id, amount, status } in events.iter().filter_map(|event| paid_out(*event)) {
        sqlx::query(
            "insert into payments.sandbox_refunds (key, payment_id, refund_id, amount_minor, currency, status, calls)
             values ($1, $2, $3, $4, $5, $6, 1)
             on conflict (key) do update set status = excluded.status where sandbox_refunds.status <> 'failed'",
        )
        .bind(key)
        .bind(payment_id.0)
        .bind(refund_id.0)
        .bind(amount.minor_units)
        .bind(amount.currency.as_str())
        .bind(status)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A refund that the sandbox paid out, and where it stands by the log.
#[derive(Debug, PartialEq, Eq)]
struct PaidOut {
    key: String,
    payment_id: PaymentId,
    refund_id: RefundId,
    amount: Money,
    status: &'static str,
}

/// What an event says that the sandbox did.
fn paid_out((message_type, data): (&str, &[u8])) -> Option<PaidOut> {
    if message_type == PaymentRefunded::full_name() {
        let PaymentRefunded { payment_id, refund_id, amount, provider_reference, .. } = decode(data).ok()?;
        entry(&payment_id, &refund_id, amount.as_ref(), &provider_reference, "refunded")
    } else if message_type == RefundReversed::full_name() {
        let RefundReversed { payment_id, refund_id, amount, provider_reference, .. } = decode(data).ok()?;
        entry(&payment_id, &refund_id, amount.as_ref(), &provider_reference, "failed")
    } else {
        None
    }
}

/// The entry of a refund, if its reference is one of the sandbox's own.
fn entry(
    payment_id: &str,
    refund_id: &str,
    amount: Option<&common::Money>,
    reference: &str,
    status: &'static str,
) -> Option<PaidOut> {
    let payment_id = PaymentId::parse(payment_id).ok()?;
    let refund_id = RefundId::parse(refund_id).ok()?;
    let amount = Money::from_wire("amount", amount).ok()?;
    let key = reference.strip_prefix(REFUND_THAT_FAILS_LATER).or_else(|| reference.strip_prefix(REFUND))?;
    key.starts_with(&payment_id.to_string()).then(|| PaidOut {
        key: key.to_owned(),
        payment_id,
        refund_id,
        amount,
        status,
    })
}

#[cfg(test)]
mod tests {
    use domain::{Currency, Money, PaymentId, RefundId};
    use proto::{Message, Name, common::v1 as common, payments::v1::RefundOutcomeUnknown};
    use uuid::Uuid;

    use super::{PaidOut, PaymentRefunded, RefundReversed, paid_out};
    use crate::idempotency_key;

    const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(5));
    const REFUND: RefundId = RefundId(Uuid::from_u128(6));

    fn told<M: Message + Name>(event: &M) -> Option<PaidOut> {
        paid_out((&M::full_name(), &event.encode_to_vec()))
    }

    fn refunded(provider_reference: String) -> PaymentRefunded {
        PaymentRefunded {
            payment_id: PAYMENT.to_string(),
            refund_id: REFUND.to_string(),
            amount: Some(common::Money { minor_units: 500, currency: "EUR".to_owned() }),
            provider_reference,
            ..Default::default()
        }
    }

    fn entry(key: String, status: &'static str) -> PaidOut {
        let amount = Money { minor_units: 500, currency: Currency::parse("EUR").unwrap() };
        PaidOut { key, payment_id: PAYMENT, refund_id: REFUND, amount, status }
    }

    #[test]
    fn it_is_told_what_it_paid_out_and_what_came_back() {
        let key = idempotency_key(PAYMENT, REFUND, 1);
        let again = idempotency_key(PAYMENT, REFUND, 2);
        assert_eq!(told(&refunded(format!("sandbox-{again}"))), Some(entry(again, "refunded")));
        assert_eq!(told(&refunded(format!("sandbox-fails-{key}"))), Some(entry(key.clone(), "refunded")));
        let PaymentRefunded { payment_id, refund_id, amount, provider_reference, .. } =
            refunded(format!("sandbox-fails-{key}"));
        let back = RefundReversed { payment_id, refund_id, amount, provider_reference, ..Default::default() };
        assert_eq!(told(&back), Some(entry(key, "failed")));
    }

    #[test]
    fn what_others_did_is_none_of_its_business() {
        for reference in ["", "re_1", "sandbox-", "sandbox-00000000-0000-0000-0000-000000000007.1"] {
            assert_eq!(told(&refunded(reference.to_owned())), None, "{reference:?}");
        }
        assert_eq!(told(&RefundOutcomeUnknown::default()), None);
        assert_eq!(paid_out((&PaymentRefunded::full_name(), b"\xff")), None);
    }
}
