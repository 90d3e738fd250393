//! Payments' rows in Postgres: the only SQL of the service. (The sandbox, an outside system, has its own ledger.)

use std::collections::{BTreeMap, BTreeSet};

use domain::{Currency, HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, StreamVersion, Timestamp};
use platform::database::{Query, column};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    command::Command,
    payment::{
        Charge, Payment, PaymentTerms, State, Status,
        refund::{self, Refund},
    },
    report::{Kept, Kind, Mismatch, Report, ReportedMoney, Standing},
};

macro_rules! reports {
    () => {
        "payment_id, provider_event_id, kind, mismatch, standing, settled_by, amount_minor, currency, provider_reference,
            refund_id, reason, occurred_at"
    };
}

/// Locks the payments that these commands touch, in key order, and loads them with their refunds.
pub(crate) async fn load(connection: &mut PgConnection, commands: &[&Command]) -> Result<State, sqlx::Error> {
    let ids: BTreeSet<PaymentId> = commands.iter().map(|command| command.payment_id()).collect();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let query = "select payment_id, order_id, attempt, status, amount_minor, currency, provider, provider_reference,
            payment_method, expires_at, charge_event_id, charge_reference, charged_at, captured_minor, refunded_minor,
            refunding_minor, reports, version
        from payments.payments where payment_id = any($1) order by payment_id for update";
    let payments = sqlx::query(query).bind(&ids).try_map(payment).fetch_all(&mut *connection).await?;
    if payments.is_empty() {
        return Ok(State::default());
    }
    let query = "select payment_id, refund_id, status, amount_minor, currency, send_count, key, refunded_once,
            call_open, provider_reference, old_references, said_at, reason, deadline
        from payments.refunds where payment_id = any($1)";
    let refunds = sqlx::query(query).bind(&ids).try_map(refund).fetch_all(&mut *connection).await?;
    let reported: Vec<Uuid> =
        payments.iter().filter(|(_, (_, reports))| *reports > 0).map(|(payment_id, _)| payment_id.0).collect();
    let reports = match reported.is_empty() {
        true => Vec::new(),
        false => {
            let query = concat!("select ", reports!(), " from payments.reports where payment_id = any($1)");
            sqlx::query(query).bind(&reported).try_map(report).fetch_all(connection).await?
        }
    };
    state(payments, refunds, reports)
}

/// How many reports fit nothing and wait for a person.
pub(crate) async fn open_reports(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from payments.reports where standing = 'open'").fetch_one(connection).await
}

/// Loads every row, without locks.
pub(crate) async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
    let query = "select payment_id, order_id, attempt, status, amount_minor, currency, provider, provider_reference,
            payment_method, expires_at, charge_event_id, charge_reference, charged_at, captured_minor, refunded_minor,
            refunding_minor, reports, version
        from payments.payments";
    let payments = sqlx::query(query).try_map(payment).fetch_all(&mut *connection).await?;
    let query = "select payment_id, refund_id, status, amount_minor, currency, send_count, key, refunded_once,
            call_open, provider_reference, old_references, said_at, reason, deadline
        from payments.refunds";
    let refunds = sqlx::query(query).try_map(refund).fetch_all(&mut *connection).await?;
    let query = concat!("select ", reports!(), " from payments.reports");
    let reports = sqlx::query(query).try_map(report).fetch_all(connection).await?;
    state(payments, refunds, reports)
}

/// A payment without what is in other tables, and how many reports are kept of it.
type PaymentRow = (PaymentId, (Payment, i32));

fn state(
    payments: Vec<PaymentRow>,
    refunds: Vec<(PaymentId, RefundId, Refund)>,
    reports: Vec<(PaymentId, Kept)>,
) -> Result<State, sqlx::Error> {
    let mut payments: BTreeMap<_, _> =
        payments.into_iter().map(|(payment_id, (payment, _))| (payment_id, payment)).collect();
    for (payment_id, kept) in reports {
        if let Some(payment) = payments.get_mut(&payment_id) {
            payment.reports.insert(kept.report.provider_event_id.clone(), kept);
        }
    }
    for (payment_id, refund_id, refund) in refunds {
        let payment = payments.get_mut(&payment_id).ok_or_else(|| {
            let reason = format!("refund {refund_id} is of payment {payment_id}, and there is no such payment");
            malformed(Rejection::new("UNKNOWN_PAYMENT", reason))
        })?;
        payment.refunds.insert(refund_id, refund);
    }
    let mut state = State::default();
    for (payment_id, payment) in payments {
        state.payments.load(payment_id, payment);
    }
    Ok(state)
}

fn payment(row: PgRow) -> Result<PaymentRow, sqlx::Error> {
    let payment_id = PaymentId(row.try_get("payment_id")?);
    let word: &str = row.try_get("status")?;
    let status = Status::parse(word).ok_or_else(|| unknown_word(&format!("payment {payment_id}"), word))?;
    let order_id: Option<Uuid> = row.try_get("order_id")?;
    let attempt: Option<i32> = row.try_get("attempt")?;
    let payment = Payment {
        key: order_id.zip(attempt).map(|(order_id, attempt)| HoldKey { order_id: OrderId(order_id), attempt }),
        status,
        terms: terms(&row)?,
        charge: charge(&row)?,
        captured_minor: row.try_get("captured_minor")?,
        refunded_minor: row.try_get("refunded_minor")?,
        refunding_minor: row.try_get("refunding_minor")?,
        refunds: BTreeMap::new(),
        reports: BTreeMap::new(),
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((payment_id, (payment, row.try_get("reports")?)))
}

fn charge(row: &PgRow) -> Result<Option<Charge>, sqlx::Error> {
    let Some(provider_event_id) = row.try_get::<Option<String>, _>("charge_event_id")? else { return Ok(None) };
    Ok(Some(Charge {
        provider_event_id,
        reference: row.try_get("charge_reference")?,
        occurred_at: time(row, "charged_at")?,
    }))
}

fn time(row: &PgRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<OffsetDateTime>, _>(column)?.map(Into::into))
}

fn report(row: PgRow) -> Result<(PaymentId, Kept), sqlx::Error> {
    let unknown = |what: &str, word: &str| unknown_word(&format!("a report's {what}"), word);
    let (kind, standing): (&str, &str) = (row.try_get("kind")?, row.try_get("standing")?);
    let mismatch: Option<&str> = row.try_get("mismatch")?;
    let mismatch = mismatch.map(|word| Mismatch::parse(word).ok_or_else(|| unknown("mismatch", word))).transpose()?;
    let amount: Option<i64> = row.try_get("amount_minor")?;
    let currency: Option<String> = row.try_get("currency")?;
    let report = Report {
        kind: Kind::parse(kind).ok_or_else(|| unknown("kind", kind))?,
        provider_event_id: row.try_get("provider_event_id")?,
        provider_reference: row.try_get("provider_reference")?,
        refund_id: row.try_get("refund_id")?,
        amount: amount.zip(currency).map(|(minor_units, currency)| ReportedMoney { minor_units, currency }),
        reason: row.try_get("reason")?,
        occurred_at: time(&row, "occurred_at")?,
    };
    let standing = Standing::parse(standing).ok_or_else(|| unknown("standing", standing))?;
    let kept = Kept { report, mismatch, standing, settled_by: row.try_get("settled_by")? };
    Ok((PaymentId(row.try_get("payment_id")?), kept))
}

fn terms(row: &PgRow) -> Result<Option<PaymentTerms>, sqlx::Error> {
    if row.try_get::<Option<i64>, _>("amount_minor")?.is_none() {
        return Ok(None);
    }
    let expires_at: OffsetDateTime = row.try_get("expires_at")?;
    Ok(Some(PaymentTerms {
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
    let status = refund::Status::parse(word).ok_or_else(|| unknown_word(&format!("refund {refund_id}"), word))?;
    let refund = Refund {
        status,
        amount: money(&row)?,
        send_count: row.try_get("send_count")?,
        key: row.try_get("key")?,
        refunded_once: row.try_get("refunded_once")?,
        call_open: row.try_get("call_open")?,
        provider_reference: row.try_get("provider_reference")?,
        old_references: row.try_get("old_references")?,
        said_at: time(&row, "said_at")?,
        reason: row.try_get("reason")?,
        deadline: time(&row, "deadline")?,
    };
    Ok((PaymentId(row.try_get("payment_id")?), refund_id, refund))
}

fn money(row: &PgRow) -> Result<Money, sqlx::Error> {
    let currency = Currency::parse(row.try_get("currency")?).map_err(malformed)?;
    Ok(Money { minor_units: row.try_get("amount_minor")?, currency })
}

fn unknown_word(what: &str, word: &str) -> sqlx::Error {
    malformed(Rejection::new("UNKNOWN_WORD", format!("{what} is {word:?}")))
}

fn malformed(rejection: Rejection) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(rejection))
}

/// Writes what is new and what changed, with the refunds and reports of both. What was asked stays as it is, once it was asked.
pub(crate) async fn save(connection: &mut PgConnection, state: &State) -> Result<(), sqlx::Error> {
    let created: Vec<(&PaymentId, &Payment)> = state.payments.created().collect();
    let changed: Vec<(&PaymentId, &Payment)> = state.payments.changed().collect();
    if created.is_empty() && changed.is_empty() {
        return Ok(());
    }
    // Rarely, an order turns up for a payment of which only reports were known.
    let turned_up: Vec<(&PaymentId, &Payment)> =
        changed.iter().filter(|(_, payment)| !payment.reports.is_empty() && payment.key.is_some()).copied().collect();
    if !turned_up.is_empty() {
        bind(sqlx::query(TURNED_UP), &turned_up).execute(&mut *connection).await?;
    }
    bind_changed(bind(sqlx::query(SAVE), &created), &changed).execute(&mut *connection).await?;
    let all = || created.iter().chain(&changed);
    let refunds: Vec<(PaymentId, RefundId, &Refund)> = all()
        .flat_map(|(payment_id, payment)| payment.refunds.iter().map(|(id, refund)| (**payment_id, *id, refund)))
        .collect();
    save_refunds(connection, &refunds).await?;
    let reports: Vec<(PaymentId, &Kept)> =
        all().flat_map(|(payment_id, payment)| payment.reports.values().map(|kept| (**payment_id, kept))).collect();
    save_reports(connection, &reports).await
}

fn bind<'q>(query: Query<'q>, rows: &[(&'q PaymentId, &'q Payment)]) -> Query<'q> {
    let terms: Vec<Option<&PaymentTerms>> = column(rows, |(_, payment)| payment.terms.as_ref());
    let query = query
        .bind(column(rows, |(payment_id, _)| payment_id.0))
        .bind(column(rows, |(_, payment)| payment.key.map(|key| key.order_id.0)))
        .bind(column(rows, |(_, payment)| payment.key.map(|key| key.attempt)))
        .bind(column(&terms, |terms| terms.map(|terms| terms.amount.minor_units)))
        .bind(column(&terms, |terms| terms.map(|terms| terms.amount.currency.to_string())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.provider.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.reference.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.payment_method.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| OffsetDateTime::from(terms.expires_at))));
    bind_what_changes(query, rows)
}

fn bind_changed<'q>(query: Query<'q>, rows: &[(&'q PaymentId, &'q Payment)]) -> Query<'q> {
    bind_what_changes(query.bind(column(rows, |(payment_id, _)| payment_id.0)), rows)
}

fn bind_what_changes<'q>(query: Query<'q>, rows: &[(&'q PaymentId, &'q Payment)]) -> Query<'q> {
    let charges: Vec<Option<&Charge>> = column(rows, |(_, payment)| payment.charge.as_ref());
    query
        .bind(column(rows, |(_, payment)| payment.status.as_str()))
        .bind(column(&charges, |charge| charge.map(|charge| charge.provider_event_id.as_str())))
        .bind(column(&charges, |charge| charge.map(|charge| charge.reference.as_str())))
        .bind(column(&charges, |charge| charge.and_then(|charge| charge.occurred_at).map(OffsetDateTime::from)))
        .bind(column(rows, |(_, payment)| payment.captured_minor))
        .bind(column(rows, |(_, payment)| payment.refunded_minor))
        .bind(column(rows, |(_, payment)| payment.refunding_minor))
        .bind(column(rows, |(_, payment)| i32::try_from(payment.reports.len()).unwrap_or(i32::MAX)))
        .bind(column(rows, |(_, payment)| payment.version.get()))
}

/// What was asked of payments that had no order: all at once, for a row must be whole.
const TURNED_UP: &str = "update payments.payments set order_id = new.order_id, attempt = new.attempt,
            amount_minor = new.amount_minor, currency = new.currency, provider = new.provider,
            provider_reference = new.provider_reference, payment_method = new.payment_method,
            expires_at = new.expires_at, status = new.status
        from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::int8[], $15::int8[],
                $16::int8[], $17::int4[], $18::int8[])
            as new (payment_id, order_id, attempt, amount_minor, currency, provider, provider_reference, payment_method,
                expires_at, status, charge_event_id, charge_reference, charged_at, captured_minor, refunded_minor,
                refunding_minor, reports, version)
        where payments.payment_id = new.payment_id and payments.order_id is null";

const SAVE: &str = "with created as (
        insert into payments.payments (payment_id, order_id, attempt, amount_minor, currency, provider, provider_reference,
                payment_method, expires_at, status, charge_event_id, charge_reference, charged_at, captured_minor,
                refunded_minor, refunding_minor, reports, version)
            select * from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::text[],
                $8::text[], $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::int8[],
                $15::int8[], $16::int8[], $17::int4[], $18::int8[])
    )
    update payments.payments set status = new.status, charge_event_id = new.charge_event_id,
            charge_reference = new.charge_reference, charged_at = new.charged_at, captured_minor = new.captured_minor,
            refunded_minor = new.refunded_minor, refunding_minor = new.refunding_minor, reports = new.reports,
            version = new.version
        from unnest($19::uuid[], $20::text[], $21::text[], $22::text[], $23::timestamptz[], $24::int8[], $25::int8[],
                $26::int8[], $27::int4[], $28::int8[])
            as new (payment_id, status, charge_event_id, charge_reference, charged_at, captured_minor, refunded_minor,
                refunding_minor, reports, version)
        where payments.payment_id = new.payment_id";

async fn save_refunds(
    connection: &mut PgConnection,
    rows: &[(PaymentId, RefundId, &Refund)],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let query = "insert into payments.refunds (payment_id, refund_id, status, amount_minor, currency, send_count, key,
            refunded_once, call_open, provider_reference, old_references, said_at, reason, deadline)
        select payment_id, refund_id, status, amount_minor, currency, send_count, key, refunded_once, call_open,
            provider_reference, coalesce(string_to_array(nullif(old_references, ''), E'\\n'), '{}'), said_at, reason, deadline
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int8[], $5::text[], $6::int4[], $7::text[],
                $8::bool[], $9::bool[], $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::timestamptz[])
            as new (payment_id, refund_id, status, amount_minor, currency, send_count, key, refunded_once, call_open,
                provider_reference, old_references, said_at, reason, deadline)
        on conflict (payment_id, refund_id) do update set status = excluded.status, send_count = excluded.send_count,
            key = excluded.key, refunded_once = excluded.refunded_once, call_open = excluded.call_open,
            provider_reference = excluded.provider_reference, old_references = excluded.old_references,
            said_at = excluded.said_at, reason = excluded.reason, deadline = excluded.deadline";
    sqlx::query(query)
        .bind(column(rows, |(payment_id, _, _)| payment_id.0))
        .bind(column(rows, |(_, refund_id, _)| refund_id.0))
        .bind(column(rows, |(_, _, refund)| refund.status.as_str()))
        .bind(column(rows, |(_, _, refund)| refund.amount.minor_units))
        .bind(column(rows, |(_, _, refund)| refund.amount.currency.to_string()))
        .bind(column(rows, |(_, _, refund)| refund.send_count))
        .bind(column(rows, |(_, _, refund)| refund.key.as_str()))
        .bind(column(rows, |(_, _, refund)| refund.refunded_once))
        .bind(column(rows, |(_, _, refund)| refund.call_open))
        .bind(column(rows, |(_, _, refund)| refund.provider_reference.as_str()))
        // References are legible, so none has a line break.
        .bind(column(rows, |(_, _, refund)| refund.old_references.join("\n")))
        .bind(column(rows, |(_, _, refund)| refund.said_at.map(OffsetDateTime::from)))
        .bind(column(rows, |(_, _, refund)| refund.reason.as_str()))
        .bind(column(rows, |(_, _, refund)| refund.deadline.map(OffsetDateTime::from)))
        .execute(connection)
        .await?;
    Ok(())
}

async fn save_reports(connection: &mut PgConnection, rows: &[(PaymentId, &Kept)]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let query = concat!(
        "insert into payments.reports (",
        reports!(),
        ")
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[])
        on conflict (payment_id, provider_event_id) do update set mismatch = excluded.mismatch,
            standing = excluded.standing, settled_by = excluded.settled_by"
    );
    let amounts = column(rows, |(_, kept)| kept.report.amount.as_ref());
    sqlx::query(query)
        .bind(column(rows, |(payment_id, _)| payment_id.0))
        .bind(column(rows, |(_, kept)| kept.report.provider_event_id.as_str()))
        .bind(column(rows, |(_, kept)| kept.report.kind.as_str()))
        .bind(column(rows, |(_, kept)| kept.mismatch.map(Mismatch::as_str)))
        .bind(column(rows, |(_, kept)| kept.standing.as_str()))
        .bind(column(rows, |(_, kept)| kept.settled_by.as_str()))
        .bind(column(&amounts, |amount| amount.map(|amount| amount.minor_units)))
        .bind(column(&amounts, |amount| amount.map(|amount| amount.currency.as_str())))
        .bind(column(rows, |(_, kept)| kept.report.provider_reference.as_str()))
        .bind(column(rows, |(_, kept)| kept.report.refund_id.as_str()))
        .bind(column(rows, |(_, kept)| kept.report.reason.as_str()))
        .bind(column(rows, |(_, kept)| kept.report.occurred_at.map(OffsetDateTime::from)))
        .execute(connection)
        .await?;
    Ok(())
}
