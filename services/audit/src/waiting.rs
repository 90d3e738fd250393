//! What waits for a person: reports that fit nothing, refunds that need a decision, disputes that are not over, money that was to go back
//! and did not, and calls about money that do not come to their end.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

/// Of each kind, so many are named; the others are only counted.
const NAMED_MAX: i64 = 20;

/// What waits for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// All of it.
    pub total: i64,
    /// The first of each kind.
    pub items: Vec<Item>,
}

/// One thing that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// `report second_charge`, `refund unknown`, `dispute needs_response`, `money of a closed order`, `call CaptureSubmitted`.
    pub what: String,
    /// `payment-<uuid>` or `order-<uuid>`.
    pub subject: String,
    /// The shop's own number of the order that it is about, if it has one.
    pub reference: Option<String>,
    /// The report, refund or dispute by which it is decided, or the key of the call; empty for an order.
    pub id: String,
    /// The money, in minor units, if it is known.
    pub amount_minor: Option<i64>,
    /// Its currency, as it was said.
    pub currency: String,
    /// What was said about it.
    pub reason: String,
}

/// `count` in every row is that of all.
const REPORTS: &str = "select count(*) over () as count, 'report ' || coalesce(mismatch, '') as what,
        'payment-' || payment_id as subject, provider_event_id as id, amount_minor, coalesce(currency, '') as currency, reason
    from payments.reports where standing = 'open' order by payment_id, provider_event_id limit $1";

const REFUNDS: &str =
    "select count(*) over () as count, 'refund ' || status as what, 'payment-' || payment_id as subject,
        refund_id::text as id, amount_minor, currency, reason
    from payments.refunds where status in ('deferred', 'unknown', 'reversed') order by payment_id, refund_id limit $1";

/// The one that must be answered first comes first.
const DISPUTES: &str =
    "select count(*) over () as count, 'dispute ' || (d.value ->> 'status') as what, 'payment-' || p.payment_id as subject,
        d.key as id, (d.value #>> '{amount,minor_units}')::bigint as amount_minor,
        coalesce(d.value #>> '{amount,currency}', '') as currency,
        (d.value ->> 'reason') || coalesce(', to be answered by ' || (d.value ->> 'due_by'), '') as reason
    from payments.payments p, jsonb_each(p.disputes) d
    where p.disputes is not null and d.value ->> 'standing' = 'open'
    order by d.value ->> 'due_by' nulls last, p.payment_id, d.key limit $1";

const ORDERS: &str = "select count(*) over () as count, 'money of an order that is ' || fulfillment_status as what,
        'order-' || order_id as subject, '' as id, owed_minor as amount_minor, currency, note as reason
    from orders.orders where owed_minor > 0 order by order_id limit $1";

/// A page that is to be closed, or money that is to be taken or let go: it is tried for ever, so nobody else says that it is late. A call for
/// a page fails by itself then, and a refund is known to be under way, or becomes unknown.
const CALLS: &str = "select count(*) over () as count, 'call ' || split_part(type, '.', 4) as what,
        'payment-' || split_part(key, '.', 1) as subject, key as id, null::bigint as amount_minor, '' as currency,
        'tried ' || attempts || ' times: ' || coalesce(last_error, 'no try came to its end') as reason
    from payments.effects where deadline < now() and type in ('holdfast.payments.v1.CheckoutAbandoned',
        'holdfast.payments.v1.CaptureSubmitted', 'holdfast.payments.v1.VoidSubmitted')
    order by deadline, key limit $1";

/// Asks the database, in the caller's transaction.
///
/// # Errors
/// The database is away.
pub async fn look(connection: &mut PgConnection) -> Result<Waiting, sqlx::Error> {
    let mut waiting = Waiting::default();
    for query in [REPORTS, REFUNDS, DISPUTES, ORDERS, CALLS] {
        let rows = sqlx::query(query).bind(NAMED_MAX).fetch_all(&mut *connection).await?;
        if let Some(first) = rows.first() {
            waiting.total += first.try_get::<i64, _>("count")?;
        }
        for row in &rows {
            waiting.items.push(item(row)?);
        }
    }
    refer(connection, &mut waiting.items).await?;
    Ok(waiting)
}

/// Of all that has an order with a number of the shop's own, that number.
const REFERENCES: &str = "select 'order-' || order_id, reference from orders.orders
        where reference is not null and order_id = any($1)
    union all select 'payment-' || p.payment_id, o.reference from payments.payments p join orders.orders o using (order_id)
        where o.reference is not null and p.payment_id = any($1)";

async fn refer(connection: &mut PgConnection, items: &mut [Item]) -> Result<(), sqlx::Error> {
    let id = |item: &Item| item.subject.split_once('-').and_then(|(_, id)| Uuid::try_parse(id).ok());
    let ids: Vec<Uuid> = items.iter().filter_map(id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let rows: Vec<(String, String)> = sqlx::query_as(REFERENCES).bind(ids).fetch_all(connection).await?;
    let references: BTreeMap<String, String> = rows.into_iter().collect();
    for item in items {
        item.reference = references.get(&item.subject).cloned();
    }
    Ok(())
}

fn item(row: &PgRow) -> Result<Item, sqlx::Error> {
    Ok(Item {
        what: row.try_get("what")?,
        subject: row.try_get("subject")?,
        reference: None,
        id: row.try_get("id")?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        reason: row.try_get("reason")?,
    })
}
