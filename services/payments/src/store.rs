//! Payments' rows in Postgres: the only SQL of the service. (The sandbox, an outside system, has its own ledger.)

use std::collections::{BTreeMap, BTreeSet};

use domain::{Currency, HoldKey, Money, OrderId, PaymentId, RefundId, Rejection};
use runtime::rows::{Query, column};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    command::Command,
    payment::{
        Payment, Status, Terms, World,
        refund::{self, Refund},
    },
};

/// Locks the payments that these commands touch, in key order, and loads them with their refunds.
pub(crate) async fn load(connection: &mut PgConnection, commands: &[&Command]) -> Result<World, sqlx::Error> {
    let ids: BTreeSet<PaymentId> = commands.iter().map(|command| command.payment_id()).collect();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let query = "select payment_id, order_id, attempt, status, amount_minor, currency, provider, provider_reference,
            payment_method, expires_at, captured_minor, refunded_minor, refunding_minor, version
        from payments.payments where payment_id = any($1) order by payment_id for update";
    let payments = sqlx::query(query).bind(&ids).try_map(payment).fetch_all(&mut *connection).await?;
    if payments.is_empty() {
        return Ok(World::default());
    }
    let query = "select payment_id, refund_id, status, amount_minor, currency, send, key, refunded_once,
            provider_reference, reason, deadline
        from payments.refunds where payment_id = any($1)";
    let refunds = sqlx::query(query).bind(&ids).try_map(refund).fetch_all(connection).await?;
    world(payments, refunds)
}

/// Loads every row, without locks.
pub(crate) async fn load_all(connection: &mut PgConnection) -> Result<World, sqlx::Error> {
    let query = "select payment_id, order_id, attempt, status, amount_minor, currency, provider, provider_reference,
            payment_method, expires_at, captured_minor, refunded_minor, refunding_minor, version
        from payments.payments";
    let payments = sqlx::query(query).try_map(payment).fetch_all(&mut *connection).await?;
    let query = "select payment_id, refund_id, status, amount_minor, currency, send, key, refunded_once,
            provider_reference, reason, deadline
        from payments.refunds";
    let refunds = sqlx::query(query).try_map(refund).fetch_all(connection).await?;
    world(payments, refunds)
}

fn world(
    payments: Vec<(PaymentId, Payment)>,
    refunds: Vec<(PaymentId, RefundId, Refund)>,
) -> Result<World, sqlx::Error> {
    let mut payments: BTreeMap<_, _> = payments.into_iter().collect();
    for (payment_id, refund_id, refund) in refunds {
        let payment = payments.get_mut(&payment_id).ok_or_else(|| {
            let reason = format!("refund {refund_id} is of payment {payment_id}, and there is no such payment");
            malformed(Rejection::new("UNKNOWN_PAYMENT", reason))
        })?;
        payment.refunds.insert(refund_id, refund);
    }
    let mut world = World::default();
    for (payment_id, payment) in payments {
        world.payments.load(payment_id, payment);
    }
    Ok(world)
}

fn payment(row: PgRow) -> Result<(PaymentId, Payment), sqlx::Error> {
    let payment_id = PaymentId(row.try_get("payment_id")?);
    let word: &str = row.try_get("status")?;
    let status = Status::parse(word).ok_or_else(|| unknown_status(&format!("payment {payment_id}"), word))?;
    let payment = Payment {
        key: HoldKey { order_id: OrderId(row.try_get("order_id")?), attempt: row.try_get("attempt")? },
        status,
        terms: terms(&row)?,
        captured_minor: row.try_get("captured_minor")?,
        refunded_minor: row.try_get("refunded_minor")?,
        refunding_minor: row.try_get("refunding_minor")?,
        refunds: BTreeMap::new(),
        version: row.try_get("version")?,
    };
    Ok((payment_id, payment))
}

fn terms(row: &PgRow) -> Result<Option<Terms>, sqlx::Error> {
    if row.try_get::<Option<i64>, _>("amount_minor")?.is_none() {
        return Ok(None);
    }
    let expires_at: OffsetDateTime = row.try_get("expires_at")?;
    Ok(Some(Terms {
        amount: money(row)?,
        provider: row.try_get("provider")?,
        reference: row.try_get("provider_reference")?,
        payment_method: row.try_get("payment_method")?,
        expires_at: expires_at.into(),
    }))
}

fn refund(row: PgRow) -> Result<(PaymentId, RefundId, Refund), sqlx::Error> {
    let refund_id = RefundId(row.try_get("refund_id")?);
    let word: &str = row.try_get("status")?;
    let status = refund::Status::parse(word).ok_or_else(|| unknown_status(&format!("refund {refund_id}"), word))?;
    let deadline: Option<OffsetDateTime> = row.try_get("deadline")?;
    let refund = Refund {
        status,
        amount: money(&row)?,
        send: row.try_get("send")?,
        key: row.try_get("key")?,
        refunded_once: row.try_get("refunded_once")?,
        provider_reference: row.try_get("provider_reference")?,
        reason: row.try_get("reason")?,
        deadline: deadline.map(Into::into),
    };
    Ok((PaymentId(row.try_get("payment_id")?), refund_id, refund))
}

fn money(row: &PgRow) -> Result<Money, sqlx::Error> {
    let currency = Currency::parse(row.try_get("currency")?).map_err(malformed)?;
    Ok(Money { minor_units: row.try_get("amount_minor")?, currency })
}

fn unknown_status(what: &str, word: &str) -> sqlx::Error {
    malformed(Rejection::new("UNKNOWN_STATUS", format!("{what} is {word:?}")))
}

fn malformed(rejection: Rejection) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(rejection))
}

/// Writes what is new and what changed, and the refunds of both. What was asked never changes, so it stays as it is.
pub(crate) async fn save(connection: &mut PgConnection, world: &World) -> Result<(), sqlx::Error> {
    let created: Vec<(&PaymentId, &Payment)> = world.payments.created().collect();
    let changed: Vec<(&PaymentId, &Payment)> = world.payments.changed().collect();
    if created.is_empty() && changed.is_empty() {
        return Ok(());
    }
    bind_changed(bind_created(sqlx::query(SAVE), &created), &changed).execute(&mut *connection).await?;
    let refunds: Vec<(PaymentId, RefundId, &Refund)> = created
        .iter()
        .chain(&changed)
        .flat_map(|(payment_id, payment)| payment.refunds.iter().map(|(id, refund)| (**payment_id, *id, refund)))
        .collect();
    save_refunds(connection, &refunds).await
}

fn bind_created<'q>(query: Query<'q>, rows: &[(&'q PaymentId, &'q Payment)]) -> Query<'q> {
    let terms: Vec<Option<&Terms>> = column(rows, |(_, payment)| payment.terms.as_ref());
    query
        .bind(column(rows, |(payment_id, _)| payment_id.0))
        .bind(column(rows, |(_, payment)| payment.key.order_id.0))
        .bind(column(rows, |(_, payment)| payment.key.attempt))
        .bind(column(rows, |(_, payment)| payment.status.as_str()))
        .bind(column(&terms, |terms| terms.map(|terms| terms.amount.minor_units)))
        .bind(column(&terms, |terms| terms.map(|terms| terms.amount.currency.to_string())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.provider.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.reference.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.payment_method.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| OffsetDateTime::from(terms.expires_at))))
        .bind(column(rows, |(_, payment)| payment.captured_minor))
        .bind(column(rows, |(_, payment)| payment.refunded_minor))
        .bind(column(rows, |(_, payment)| payment.refunding_minor))
        .bind(column(rows, |(_, payment)| payment.version))
}

fn bind_changed<'q>(query: Query<'q>, rows: &[(&'q PaymentId, &'q Payment)]) -> Query<'q> {
    query
        .bind(column(rows, |(payment_id, _)| payment_id.0))
        .bind(column(rows, |(_, payment)| payment.status.as_str()))
        .bind(column(rows, |(_, payment)| payment.captured_minor))
        .bind(column(rows, |(_, payment)| payment.refunded_minor))
        .bind(column(rows, |(_, payment)| payment.refunding_minor))
        .bind(column(rows, |(_, payment)| payment.version))
}

const SAVE: &str = "with created as (
        insert into payments.payments (payment_id, order_id, attempt, status, amount_minor, currency, provider,
                provider_reference, payment_method, expires_at, captured_minor, refunded_minor, refunding_minor, version)
            select * from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::text[], $5::int8[], $6::text[], $7::text[],
                $8::text[], $9::text[], $10::timestamptz[], $11::int8[], $12::int8[], $13::int8[], $14::int8[])
    )
    update payments.payments set status = new.status, captured_minor = new.captured_minor,
            refunded_minor = new.refunded_minor, refunding_minor = new.refunding_minor, version = new.version
        from unnest($15::uuid[], $16::text[], $17::int8[], $18::int8[], $19::int8[], $20::int8[])
            as new (payment_id, status, captured_minor, refunded_minor, refunding_minor, version)
        where payments.payment_id = new.payment_id";

async fn save_refunds(
    connection: &mut PgConnection,
    rows: &[(PaymentId, RefundId, &Refund)],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let query = "insert into payments.refunds (payment_id, refund_id, status, amount_minor, currency, send, key,
            refunded_once, provider_reference, reason, deadline)
        select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int8[], $5::text[], $6::int4[], $7::text[],
            $8::bool[], $9::text[], $10::text[], $11::timestamptz[])
        on conflict (payment_id, refund_id) do update set status = excluded.status, send = excluded.send,
            key = excluded.key, refunded_once = excluded.refunded_once,
            provider_reference = excluded.provider_reference, reason = excluded.reason, deadline = excluded.deadline";
    sqlx::query(query)
        .bind(column(rows, |(payment_id, _, _)| payment_id.0))
        .bind(column(rows, |(_, refund_id, _)| refund_id.0))
        .bind(column(rows, |(_, _, refund)| refund.status.as_str()))
        .bind(column(rows, |(_, _, refund)| refund.amount.minor_units))
        .bind(column(rows, |(_, _, refund)| refund.amount.currency.to_string()))
        .bind(column(rows, |(_, _, refund)| refund.send))
        .bind(column(rows, |(_, _, refund)| refund.key.as_str()))
        .bind(column(rows, |(_, _, refund)| refund.refunded_once))
        .bind(column(rows, |(_, _, refund)| refund.provider_reference.as_str()))
        .bind(column(rows, |(_, _, refund)| refund.reason.as_str()))
        .bind(column(rows, |(_, _, refund)| refund.deadline.map(OffsetDateTime::from)))
        .execute(connection)
        .await?;
    Ok(())
}
