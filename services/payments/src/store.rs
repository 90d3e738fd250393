//! Payments' rows in Postgres: the only SQL of the service. (The sandbox, an outside system, has its own ledger.)

use std::collections::{BTreeMap, BTreeSet};

use domain::{Currency, HoldKey, Memory, Money, OrderId, PaymentId, RefundId, Rejection, StreamVersion, Timestamp};
use platform::{
    database::column,
    statement::{Statement, Values},
};
use runtime::service::{Locks, RowTable};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    command::Command,
    payment::{
        Charge, Payment, PaymentTerms, State, Status,
        authorisation::{Authorisation, AuthorisationStatus},
        checkout::{Page, PageStatus},
        refund::{self, Refund},
    },
    report::{Kept, Kind, Mismatch, Report, ReportedMoney, Standing},
};

mod coupons;
pub(crate) mod derived;
pub(crate) mod disputes;
mod wallets;

/// Money that is set aside, as the table shows it.
#[derive(Debug, Serialize, Deserialize)]
struct AuthorisationRow {
    status: String,
    amount_minor: i64,
}

/// The columns of a payment, of a refund and of a report: each under the names that are its own, all others null.
macro_rules! payments {
    () => {
        "select 'payment' as what, payment_id, order_id, attempt, status, amount_minor, currency, provider,
             provider_reference, payment_method, expires_at, charge_event_id, charge_reference, charged_at, captured_minor,
             refunded_minor, refunding_minor, reports, version,
             null::uuid as refund_id, null::int4 as send_count, null::text as key, null::bool as refunded_once,
             null::bool as call_open, null::text[] as old_references, null::timestamptz as said_at, null::text as reason,
             null::timestamptz as deadline,
             null::text as provider_event_id, null::text as kind, null::text as mismatch, null::text as settled_by,
             null::text as reported_refund_id, null::timestamptz as occurred_at, page, page_url,
             page_number, page_ends_at, page_look_at, authorisations, disputes, null::jsonb as dispute, null::text as second_charge,
             order_reference
         from payments.payments"
    };
}

macro_rules! refunds {
    () => {
        "select 'refund', payment_id, null, null, status, amount_minor, currency, null, provider_reference, null, null, null, null,
             null, null, null, null, null, null,
             refund_id, send_count, key, refunded_once, call_open, old_references, said_at, reason, deadline,
             null, null, null, null, null, null, null, null, null, null, null, null, null, null, second_charge, null
         from payments.refunds"
    };
}

/// A report's standing is its status.
macro_rules! reports {
    () => {
        "select 'report', payment_id, null, null, standing, amount_minor, currency, null, provider_reference, null, null, null,
             charge_reference, null, null, null, null, null, null,
             null, null, null, null, null, null, null, reason, null,
             provider_event_id, kind, mismatch, settled_by, refund_id, occurred_at, null, null, null, null, null, null, null, dispute, null,
             null
         from payments.reports"
    };
}

const LOCK: &str = "select from payments.payments where payment_id = any($1) order by payment_id for update";

const LOAD: &str = concat!(
    payments!(),
    " where payment_id = any($1) union all ",
    refunds!(),
    " where payment_id = any($1) union all ",
    reports!(),
    " where payment_id = any(array(select payment_id from payments.payments where payment_id = any($1) and reports > 0))"
);

const LOAD_ALL: &str = concat!(payments!(), " union all ", refunds!(), " union all ", reports!());

/// The key of what an attempt of an order holds.
const HOLD: &[(&str, &str)] = &[("order_id", "uuid"), ("attempt", "int4")];

/// The key of a payment, and of what is part of one.
const PAYMENT: &[(&str, &str)] = &[("payment_id", "uuid")];

pub(crate) const TABLES: [RowTable; 9] = [
    RowTable { name: "payments.payments", category: "payment", key: PAYMENT, part_of: None },
    RowTable { name: "payments.refunds", category: "payment", key: PAYMENT, part_of: Some("payments.payments") },
    RowTable { name: "payments.reports", category: "payment", key: PAYMENT, part_of: Some("payments.payments") },
    RowTable { name: "payments.charges", category: "payment", key: PAYMENT, part_of: Some("payments.payments") },
    RowTable { name: "payments.coupon_uses", category: "use", key: HOLD, part_of: None },
    RowTable { name: "payments.coupons", category: "coupon", key: &[("code", "text")], part_of: None },
    RowTable {
        name: "payments.coupon_customers",
        category: "customer",
        key: &[("code", "text"), ("customer_id", "text")],
        part_of: None,
    },
    RowTable { name: "payments.funds", category: "funds", key: PAYMENT, part_of: None },
    RowTable { name: "payments.wallets", category: "wallet", key: &[("wallet_id", "uuid")], part_of: None },
];

/// Loads the payments that these commands touch, with their refunds and reports. Locks the payments, in key order.
pub(crate) async fn load(
    connection: &mut PgConnection,
    commands: &[&Command],
    locks: Locks,
) -> Result<State, sqlx::Error> {
    let ids: BTreeSet<PaymentId> = commands.iter().filter_map(|command| command.payment_id()).collect();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut state = State::default();
    if !ids.is_empty() {
        if locks == Locks::Rows {
            sqlx::query(LOCK).bind(&ids).execute(&mut *connection).await?;
        }
        let strays = take_in(&mut state, sqlx::query(LOAD).bind(&ids).fetch_all(&mut *connection).await?)?;
        if let Some((payment_id, refund_id)) = strays.first() {
            let reason = format!("refund {refund_id} is of payment {payment_id}, and there is no such payment");
            return Err(malformed(Rejection::new("UNKNOWN_PAYMENT", reason)));
        }
    }
    coupons::load(connection, commands, locks, &mut state).await?;
    wallets::load(connection, commands, locks, &mut state).await?;
    Ok(state)
}

/// Moves what these commands touch from what is remembered to a state of its own. False: some of it may be there and is not remembered.
pub(crate) fn recall(memory: &mut Memory<State>, commands: &[&Command], state: &mut State) -> bool {
    let makes = |command: &Command| matches!(command, Command::RequestPayment { .. });
    let keys = commands.iter().filter_map(|command| Some((command.payment_id()?, makes(command))));
    let (mut asked, mut asked_of_wallets) = (BTreeSet::new(), BTreeSet::new());
    memory.move_all_to(state, keys, |rows| &mut rows.payments)
        && commands.iter().all(|command| {
            if let Command::Wallet(command) = command {
                return wallets::recall(memory, command, &mut asked_of_wallets, state);
            }
            let Command::Coupon(command) = command else { return true };
            coupons::recall(memory, command, &mut asked, state)
        })
}

/// How many reports fit nothing and wait for a person.
pub(crate) async fn open_reports(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from payments.reports where standing = 'open'").fetch_one(connection).await
}

/// Loads every row, without locks. Refunds of a payment that has no row are left out.
pub(crate) async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
    let mut state = State::default();
    take_in(&mut state, sqlx::query(LOAD_ALL).fetch_all(&mut *connection).await?)?;
    coupons::load_all(connection, &mut state).await?;
    wallets::load_all(connection, &mut state).await?;
    Ok(state)
}

/// Loads the rows of these names, without locks. Refunds of a payment that has no row are left out.
pub(crate) async fn load_rows(connection: &mut PgConnection, names: &[String]) -> Result<State, sqlx::Error> {
    let ids = names.iter().filter_map(|name| PaymentId::parse(name.strip_prefix("payment-")?).ok());
    let ids: Vec<Uuid> = ids.map(|id| id.0).collect();
    let mut state = State::default();
    if !ids.is_empty() {
        take_in(&mut state, sqlx::query(LOAD).bind(&ids).fetch_all(&mut *connection).await?)?;
    }
    coupons::load_rows(connection, names, &mut state).await?;
    wallets::load_rows(connection, names, &mut state).await?;
    Ok(state)
}

/// Takes rows in, and gives the refunds of payments that are not among them.
fn take_in(state: &mut State, rows: Vec<PgRow>) -> Result<Vec<(PaymentId, RefundId)>, sqlx::Error> {
    let mut strays = Vec::new();
    let (mut payments, mut refunds, mut reports) = (BTreeMap::new(), Vec::new(), Vec::new());
    for row in rows {
        match row.try_get("what")? {
            "payment" => payments.extend([payment(&row)?]),
            "refund" => refunds.push(refund(&row)?),
            _report => reports.push(report(&row)?),
        }
    }
    for (payment_id, kept) in reports {
        if let Some(payment) = payments.get_mut(&payment_id) {
            payment.reports.insert(kept.report.provider_event_id.clone(), kept);
        }
    }
    for (payment_id, refund_id, refund) in refunds {
        if let Some(payment) = payments.get_mut(&payment_id) {
            payment.refunds.insert(refund_id, refund);
        } else {
            strays.push((payment_id, refund_id));
        }
    }
    for (payment_id, payment) in payments {
        state.payments.load(payment_id, payment);
    }
    Ok(strays)
}

fn payment(row: &PgRow) -> Result<(PaymentId, Payment), sqlx::Error> {
    let payment_id = PaymentId(row.try_get("payment_id")?);
    let word: &str = row.try_get("status")?;
    let status = Status::parse(word).ok_or_else(|| unknown_word(&format!("payment {payment_id}"), word))?;
    let order_id: Option<Uuid> = row.try_get("order_id")?;
    let attempt: Option<i32> = row.try_get("attempt")?;
    let payment = Payment {
        key: order_id.zip(attempt).map(|(order_id, attempt)| HoldKey { order_id: OrderId(order_id), attempt }),
        status,
        terms: terms(row)?,
        page: page(row)?,
        authorisations: authorisations(row)?,
        disputes: disputes::read(row)?,
        charge: charge(row)?,
        captured_minor: row.try_get("captured_minor")?,
        refunded_minor: row.try_get("refunded_minor")?,
        refunding_minor: row.try_get("refunding_minor")?,
        refunds: BTreeMap::new(),
        reports: BTreeMap::new(),
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((payment_id, payment))
}

fn page(row: &PgRow) -> Result<Option<Page>, sqlx::Error> {
    let Some(word) = row.try_get::<Option<&str>, _>("page")? else { return Ok(None) };
    let status = PageStatus::parse(word).ok_or_else(|| unknown_word("a payment's page", word))?;
    // There was one at most before they were counted.
    let number: Option<i32> = row.try_get("page_number")?;
    let (number, ends_at, look_at) = (number.unwrap_or(1), time(row, "page_ends_at")?, time(row, "page_look_at")?);
    Ok(Some(Page { number, status, ends_at, url: row.try_get("page_url")?, look_at }))
}

fn authorisations(row: &PgRow) -> Result<BTreeMap<String, Authorisation>, sqlx::Error> {
    let Some(Json(rows)) = row.try_get::<Option<Json<BTreeMap<String, AuthorisationRow>>>, _>("authorisations")? else {
        return Ok(BTreeMap::new());
    };
    let of = |(reference, row): (String, AuthorisationRow)| {
        let status = AuthorisationStatus::parse(&row.status)
            .ok_or_else(|| unknown_word(&format!("authorisation {reference}"), &row.status))?;
        Ok((reference, Authorisation { status, minor_units: row.amount_minor }))
    };
    rows.into_iter().map(of).collect()
}

fn authorisation_rows(payment: &Payment) -> Option<Json<BTreeMap<&str, AuthorisationRow>>> {
    let row = |held: &Authorisation| AuthorisationRow {
        status: held.status.as_str().to_owned(),
        amount_minor: held.minor_units,
    };
    let rows = payment.authorisations.iter().map(|(reference, held)| (reference.as_str(), row(held)));
    (!payment.authorisations.is_empty()).then(|| Json(rows.collect()))
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

fn report(row: &PgRow) -> Result<(PaymentId, Kept), sqlx::Error> {
    let unknown = |what: &str, word: &str| unknown_word(&format!("a report's {what}"), word);
    let (kind, standing): (&str, &str) = (row.try_get("kind")?, row.try_get("status")?);
    let mismatch: Option<&str> = row.try_get("mismatch")?;
    let mismatch = mismatch.map(|word| Mismatch::parse(word).ok_or_else(|| unknown("mismatch", word))).transpose()?;
    let amount: Option<i64> = row.try_get("amount_minor")?;
    let currency: Option<String> = row.try_get("currency")?;
    let report = Report {
        kind: Kind::parse(kind).ok_or_else(|| unknown("kind", kind))?,
        provider_event_id: row.try_get("provider_event_id")?,
        provider_reference: row.try_get("provider_reference")?,
        refund_id: row.try_get("reported_refund_id")?,
        amount: amount.zip(currency).map(|(minor_units, currency)| ReportedMoney { minor_units, currency }),
        reason: row.try_get("reason")?,
        occurred_at: time(row, "occurred_at")?,
        dispute: disputes::read_reported(row)?,
        charge_reference: row.try_get("charge_reference")?,
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
        order_reference: row.try_get("order_reference")?,
        expires_at: expires_at.into(),
    }))
}

fn refund(row: &PgRow) -> Result<(PaymentId, RefundId, Refund), sqlx::Error> {
    let refund_id = RefundId(row.try_get("refund_id")?);
    let word: &str = row.try_get("status")?;
    let status = refund::Status::parse(word).ok_or_else(|| unknown_word(&format!("refund {refund_id}"), word))?;
    let refund = Refund {
        status,
        amount: money(row)?,
        send_count: row.try_get("send_count")?,
        key: row.try_get("key")?,
        refunded_once: row.try_get("refunded_once")?,
        call_open: row.try_get("call_open")?,
        provider_reference: row.try_get("provider_reference")?,
        old_references: row.try_get("old_references")?,
        said_at: time(row, "said_at")?,
        reason: row.try_get("reason")?,
        deadline: time(row, "deadline")?,
        second_charge: row.try_get("second_charge")?,
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

/// Saves what is new and what changed, with the refunds and reports of both. What was asked stays as it is, once it was asked, unless
/// the provider is called for a page.
pub(crate) fn save(statement: &mut Statement, state: &State) {
    // Rarely, an order turns up for a payment of which only reports were known.
    let may_change_in_full = |payment: &Payment| {
        let has_come_later = !payment.reports.is_empty() && payment.key.is_some();
        let is_disputed = !payment.disputes.is_empty();
        has_come_later || payment.page.is_some() || !payment.authorisations.is_empty() || is_disputed
    };
    let (in_full, changed): (Vec<Changed<'_>>, Vec<Changed<'_>>) =
        state.payments.changed().partition(|(_, payment, _)| may_change_in_full(payment));
    if !changed.is_empty() {
        bind_changed(&mut statement.counted("payments_changed", changed.len(), CHANGE), &changed);
    }
    if !in_full.is_empty() {
        bind_in_full(&mut statement.counted("payments_changed_in_full", in_full.len(), CHANGE_ALL), &in_full);
    }
    let created: Vec<(&PaymentId, &Payment)> = state.payments.created().collect();
    if !created.is_empty() {
        bind(&mut statement.counted("payments_created", created.len(), CREATE), &created);
    }
    let changed = || changed.iter().chain(&in_full).map(|(payment_id, payment, _)| (*payment_id, *payment));
    let saved: Vec<(&PaymentId, &Payment)> = created.into_iter().chain(changed()).collect();
    save_charges(statement, &saved);
    save_refunds(statement, &saved);
    save_reports(statement, &saved);
    coupons::save(statement, state);
    wallets::save(statement, state);
}

/// A payment that changed, and its revision before.
type Changed<'a> = (&'a PaymentId, &'a Payment, StreamVersion);

fn bind(values: &mut Values<'_>, rows: &[(&PaymentId, &Payment)]) {
    let terms: Vec<Option<&PaymentTerms>> = column(rows, |(_, payment)| payment.terms.as_ref());
    let pages: Vec<Option<&Page>> = column(rows, |(_, payment)| payment.page.as_ref());
    values
        .bind(column(rows, |(payment_id, _)| payment_id.0))
        .bind(column(rows, |(_, payment)| payment.key.map(|key| key.order_id.0)))
        .bind(column(rows, |(_, payment)| payment.key.map(|key| key.attempt)))
        .bind(column(&terms, |terms| terms.map(|terms| terms.amount.minor_units)))
        .bind(column(&terms, |terms| terms.map(|terms| terms.amount.currency.to_string())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.provider.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.reference.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| terms.payment_method.as_str())))
        .bind(column(&terms, |terms| terms.map(|terms| OffsetDateTime::from(terms.expires_at))));
    bind_what_changes(values, rows);
    values
        .bind(column(&pages, |page| page.map(|page| page.status.as_str())))
        .bind(column(&pages, |page| page.map(|page| page.url.as_str())))
        .bind(column(rows, |(_, payment)| authorisation_rows(payment)))
        .bind(column(rows, |(_, payment)| disputes::rows(payment)))
        .bind(column(rows, |(_, payment)| payment.charged_back_minor()))
        .bind(column(&pages, |page| page.map(|page| page.number)))
        .bind(column(&pages, |page| page.and_then(|page| page.ends_at).map(OffsetDateTime::from)))
        .bind(column(&pages, |page| page.and_then(|page| page.look_at).map(OffsetDateTime::from)))
        .bind(column(&terms, |terms| terms.and_then(|terms| terms.order_reference.as_deref())));
}

fn bind_changed(values: &mut Values<'_>, changed: &[Changed<'_>]) {
    let rows: Vec<(&PaymentId, &Payment)> = column(changed, |(payment_id, payment, _)| (payment_id, payment));
    values.bind(column(&rows, |(payment_id, _)| payment_id.0));
    bind_what_changes(values, &rows);
    values.bind(column(changed, |(_, _, before)| before.get()));
}

fn bind_in_full(values: &mut Values<'_>, in_full: &[Changed<'_>]) {
    bind(values, &column(in_full, |(payment_id, payment, _)| (payment_id, payment)));
    values.bind(column(in_full, |(_, _, before)| before.get()));
}

fn bind_what_changes(values: &mut Values<'_>, rows: &[(&PaymentId, &Payment)]) {
    let charges: Vec<Option<&Charge>> = column(rows, |(_, payment)| payment.charge.as_ref());
    values
        .bind(column(rows, |(_, payment)| payment.status.as_str()))
        .bind(column(&charges, |charge| charge.map(|charge| charge.provider_event_id.as_str())))
        .bind(column(&charges, |charge| charge.map(|charge| charge.reference.as_str())))
        .bind(column(&charges, |charge| charge.and_then(|charge| charge.occurred_at).map(OffsetDateTime::from)))
        .bind(column(rows, |(_, payment)| payment.captured_minor))
        .bind(column(rows, |(_, payment)| payment.refunded_minor))
        .bind(column(rows, |(_, payment)| payment.refunding_minor))
        .bind(column(rows, |(_, payment)| i32::try_from(payment.reports.len()).unwrap_or(i32::MAX)))
        .bind(column(rows, |(_, payment)| payment.version.get()));
}

const CREATE: &str = "insert into payments.payments (payment_id, order_id, attempt, amount_minor, currency, provider,
        provider_reference, payment_method, expires_at, status, charge_event_id, charge_reference, charged_at,
        captured_minor, refunded_minor, refunding_minor, reports, version, page, page_url, authorisations, disputes,
        charged_back_minor, page_number, page_ends_at, page_look_at, order_reference)
    select * from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::int8[], $15::int8[],
        $16::int8[], $17::int4[], $18::int8[], $19::text[], $20::text[], $21::jsonb[], $22::jsonb[], $23::int8[],
        $24::int4[], $25::timestamptz[], $26::timestamptz[], $27::text[])
    returning 1";

/// With what was asked: of payments that had no order it becomes known, of others it is what it was.
const CHANGE_ALL: &str = "update payments.payments set order_id = new.order_id, attempt = new.attempt,
        amount_minor = new.amount_minor, currency = new.currency, provider = new.provider,
        provider_reference = new.provider_reference, payment_method = new.payment_method, expires_at = new.expires_at,
        status = new.status, charge_event_id = new.charge_event_id, charge_reference = new.charge_reference,
        charged_at = new.charged_at, captured_minor = new.captured_minor, refunded_minor = new.refunded_minor,
        refunding_minor = new.refunding_minor, reports = new.reports, version = new.version, page = new.page,
        page_url = new.page_url, authorisations = new.authorisations, disputes = new.disputes,
        charged_back_minor = new.charged_back_minor, page_number = new.page_number, page_ends_at = new.page_ends_at,
        page_look_at = new.page_look_at, order_reference = new.order_reference
    from unnest($1::uuid[], $2::uuid[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::int8[], $15::int8[],
            $16::int8[], $17::int4[], $18::int8[], $19::text[], $20::text[], $21::jsonb[], $22::jsonb[], $23::int8[],
            $24::int4[], $25::timestamptz[], $26::timestamptz[], $27::text[], $28::int8[])
        as new (payment_id, order_id, attempt, amount_minor, currency, provider, provider_reference, payment_method,
            expires_at, status, charge_event_id, charge_reference, charged_at, captured_minor, refunded_minor,
            refunding_minor, reports, version, page, page_url, authorisations, disputes,
            charged_back_minor, page_number, page_ends_at, page_look_at, order_reference, before)
    where payments.payment_id = new.payment_id and payments.version = new.before
    returning 1";

const CHANGE: &str = "update payments.payments set status = new.status, charge_event_id = new.charge_event_id,
        charge_reference = new.charge_reference, charged_at = new.charged_at, captured_minor = new.captured_minor,
        refunded_minor = new.refunded_minor, refunding_minor = new.refunding_minor, reports = new.reports,
        version = new.version
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::int8[], $7::int8[], $8::int8[],
            $9::int4[], $10::int8[], $11::int8[])
        as new (payment_id, status, charge_event_id, charge_reference, charged_at, captured_minor, refunded_minor,
            refunding_minor, reports, version, before)
    where payments.payment_id = new.payment_id and payments.version = new.before
    returning 1";

/// What providers that are called know charges by, once and for all: also those of money that fitted nothing, which may be given back in the
/// provider's dashboard, or disputed, like any other.
fn save_charges(statement: &mut Statement, saved: &[(&PaymentId, &Payment)]) {
    let rows: Vec<(&str, &str, Uuid)> = saved
        .iter()
        .filter_map(|(payment_id, payment)| {
            payment.page.as_ref()?;
            Some((payment_id, payment, payment.terms.as_ref()?))
        })
        .flat_map(|(payment_id, payment, terms)| {
            charges(payment).map(|reference| (terms.provider.as_str(), reference, payment_id.0))
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    statement
        .part("charges_saved", SAVE_CHARGES)
        .bind(column(&rows, |(provider, _, _)| provider))
        .bind(column(&rows, |(_, reference, _)| reference))
        .bind(column(&rows, |(_, _, payment_id)| payment_id));
}

/// The references of all charges that were reported of a payment.
fn charges(payment: &Payment) -> impl Iterator<Item = &str> {
    let reported = payment.reports.values().map(|kept| &kept.report);
    let unmatched =
        reported.filter(|report| report.kind == Kind::PaymentSucceeded).map(|report| &report.provider_reference);
    let own = payment.charge.as_ref().map(|charge| &charge.reference);
    own.into_iter().chain(unmatched).map(String::as_str).filter(|reference| !reference.is_empty())
}

const SAVE_CHARGES: &str = "insert into payments.charges (provider, reference, payment_id)
    select * from unnest($1::text[], $2::text[], $3::uuid[]) on conflict do nothing";

fn save_refunds(statement: &mut Statement, saved: &[(&PaymentId, &Payment)]) {
    let rows: Vec<(PaymentId, RefundId, &Refund)> = saved
        .iter()
        .flat_map(|(payment_id, payment)| payment.refunds.iter().map(|(id, refund)| (**payment_id, *id, refund)))
        .collect();
    if rows.is_empty() {
        return;
    }
    let rows = rows.as_slice();
    statement
        .part("refunds_saved", SAVE_REFUNDS)
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
        .bind(column(rows, |(_, _, refund)| refund.second_charge.as_deref()));
}

const SAVE_REFUNDS: &str = "insert into payments.refunds (payment_id, refund_id, status, amount_minor, currency, send_count,
        key, refunded_once, call_open, provider_reference, old_references, said_at, reason, deadline, second_charge)
    select payment_id, refund_id, status, amount_minor, currency, send_count, key, refunded_once, call_open,
        provider_reference, coalesce(string_to_array(nullif(old_references, ''), E'\\n'), '{}'), said_at, reason, deadline,
        second_charge
    from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int8[], $5::text[], $6::int4[], $7::text[], $8::bool[], $9::bool[],
            $10::text[], $11::text[], $12::timestamptz[], $13::text[], $14::timestamptz[], $15::text[])
        as new (payment_id, refund_id, status, amount_minor, currency, send_count, key, refunded_once, call_open,
            provider_reference, old_references, said_at, reason, deadline, second_charge)
    on conflict (payment_id, refund_id) do update set status = excluded.status, send_count = excluded.send_count,
        key = excluded.key, refunded_once = excluded.refunded_once, call_open = excluded.call_open,
        provider_reference = excluded.provider_reference, old_references = excluded.old_references,
        said_at = excluded.said_at, reason = excluded.reason, deadline = excluded.deadline";

fn save_reports(statement: &mut Statement, saved: &[(&PaymentId, &Payment)]) {
    let rows: Vec<(PaymentId, &Kept)> = saved
        .iter()
        .flat_map(|(payment_id, payment)| payment.reports.values().map(|kept| (**payment_id, kept)))
        .collect();
    if rows.is_empty() {
        return;
    }
    let rows = rows.as_slice();
    let amounts = column(rows, |(_, kept)| kept.report.amount.as_ref());
    statement
        .part("reports_saved", SAVE_REPORTS)
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
        .bind(column(rows, |(_, kept)| kept.report.dispute.as_deref().map(Json)))
        .bind(column(rows, |(_, kept)| kept.report.charge_reference.as_str()));
}

const SAVE_REPORTS: &str =
    "insert into payments.reports (payment_id, provider_event_id, kind, mismatch, standing, settled_by,
        amount_minor, currency, provider_reference, refund_id, reason, occurred_at, dispute, charge_reference)
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::text[],
        $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::jsonb[], $14::text[])
    on conflict (payment_id, provider_event_id) do update set mismatch = excluded.mismatch,
        standing = excluded.standing, settled_by = excluded.settled_by";
