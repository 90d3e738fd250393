//! What waits for a person: reports that fit nothing, refunds that need a decision, disputes that are not over, money that was to go back
//! and did not, calls about money that do not come to their end, and draws that are late.

use std::collections::BTreeMap;

use domain::Timestamp;
use serde::{Serialize, Serializer};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

/// Of each kind, so many are named; the others are only counted.
const NAMED_MAX: i64 = 20;

/// What waits for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// All of it.
    pub total: i64,
    /// How many of each kind there are, if any.
    pub counts: BTreeMap<Kind, i64>,
    /// The first of each kind.
    pub items: Vec<Item>,
}

/// Kinds of what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A report that fits nothing.
    Report,
    /// A refund of which nobody knows how it ended.
    RefundUnknown,
    /// A refund that waits for something else to be settled, or was reversed.
    RefundUndecided,
    /// A dispute that is not over.
    Dispute,
    /// Money of a closed order that was to go back, and did not.
    Owed,
    /// A call about money that does not come to its end.
    Call,
    /// A draw whose winner is late.
    Draw,
}

/// One thing that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its kind.
    pub kind: Kind,
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
    /// Since when it waits, if that is known: a report by the provider's clock, a refund and a call since they should have been over.
    #[serde(serialize_with = "in_words")]
    pub since: Option<Timestamp>,
}

fn in_words<S: Serializer>(since: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match since {
        Some(since) => serializer.collect_str(since),
        None => serializer.serialize_none(),
    }
}

/// `count` in every row is that of all.
const REPORTS: &str = "select count(*) over () as count, 'report ' || coalesce(mismatch, '') as what,
        'payment-' || payment_id as subject, provider_event_id as id, amount_minor, coalesce(currency, '') as currency, reason,
        occurred_at as since
    from payments.reports where standing = 'open' order by payment_id, provider_event_id limit $1";

const REFUNDS_UNKNOWN: &str =
    "select count(*) over () as count, 'refund ' || status as what, 'payment-' || payment_id as subject,
        refund_id::text as id, amount_minor, currency, reason, deadline as since
    from payments.refunds where status = 'unknown' order by payment_id, refund_id limit $1";

const REFUNDS_UNDECIDED: &str =
    "select count(*) over () as count, 'refund ' || status as what, 'payment-' || payment_id as subject,
        refund_id::text as id, amount_minor, currency, reason, null::timestamptz as since
    from payments.refunds where status in ('deferred', 'reversed') order by payment_id, refund_id limit $1";

/// The one that must be answered first comes first.
const DISPUTES: &str =
    "select count(*) over () as count, 'dispute ' || (d.value ->> 'status') as what, 'payment-' || p.payment_id as subject,
        d.key as id, (d.value #>> '{amount,minor_units}')::bigint as amount_minor,
        coalesce(d.value #>> '{amount,currency}', '') as currency,
        (d.value ->> 'reason') || coalesce(', to be answered by ' || (d.value ->> 'due_by'), '') as reason,
        null::timestamptz as since
    from payments.payments p, jsonb_each(p.disputes) d
    where p.disputes is not null and d.value ->> 'standing' = 'open'
    order by d.value ->> 'due_by' nulls last, p.payment_id, d.key limit $1";

const ORDERS: &str = "select count(*) over () as count, 'money of an order that is ' || fulfillment_status as what,
        'order-' || order_id as subject, '' as id, owed_minor as amount_minor, currency, note as reason,
        null::timestamptz as since
    from orders.orders where owed_minor > 0 order by order_id limit $1";

/// A page that is to be closed, or money that is to be taken or let go: it is tried for ever, so nobody else says that it is late. A call for
/// a page fails by itself then, and a refund is known to be under way, or becomes unknown.
const CALLS: &str = "select count(*) over () as count, 'call ' || split_part(type, '.', 4) as what,
        'payment-' || split_part(key, '.', 1) as subject, key as id, null::bigint as amount_minor, '' as currency,
        'tried ' || attempts || ' times: ' || coalesce(last_error, 'no try came to its end') as reason,
        deadline as since
    from payments.effects where deadline < now() and type in ('holdfast.payments.v1.CheckoutAbandoned',
        'holdfast.payments.v1.CaptureSubmitted', 'holdfast.payments.v1.VoidSubmitted')
    order by deadline, key limit $1";

/// What refuses to go on is told by itself.
const DRAWS: &str =
    "select count(*) over () as count, 'draw of a round' as what, 'round-' || split_part(key, 'draw-', 2) as subject,
        key as id, null::bigint as amount_minor, '' as currency,
        'tried ' || attempts || ' times: ' || coalesce(last_error, 'no try came to its end') as reason,
        deadline as since
    from rounds.effects where deadline < now() and stopped_by is null order by deadline, key limit $1";

const KINDS: [(Kind, &str); 7] = [
    (Kind::Report, REPORTS),
    (Kind::RefundUnknown, REFUNDS_UNKNOWN),
    (Kind::RefundUndecided, REFUNDS_UNDECIDED),
    (Kind::Dispute, DISPUTES),
    (Kind::Owed, ORDERS),
    (Kind::Call, CALLS),
    (Kind::Draw, DRAWS),
];

/// Asks the database, in the caller's transaction if there is one.
///
/// # Errors
/// The database is away.
pub async fn look(connection: &mut PgConnection) -> Result<Waiting, sqlx::Error> {
    let mut waiting = Waiting::default();
    for (kind, query) in KINDS {
        let rows = sqlx::query(query).bind(NAMED_MAX).fetch_all(&mut *connection).await?;
        if let Some(first) = rows.first() {
            let count = first.try_get("count")?;
            waiting.total += count;
            waiting.counts.insert(kind, count);
        }
        for row in &rows {
            waiting.items.push(item(kind, row)?);
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

fn item(kind: Kind, row: &PgRow) -> Result<Item, sqlx::Error> {
    let since: Option<OffsetDateTime> = row.try_get("since")?;
    Ok(Item {
        kind,
        what: row.try_get("what")?,
        subject: row.try_get("subject")?,
        reference: None,
        id: row.try_get("id")?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        reason: row.try_get("reason")?,
        since: since.map(Timestamp::from),
    })
}
