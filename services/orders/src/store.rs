//! Orders' rows in Postgres: the only SQL.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    CouponCode, Currency, Discount, Lines, Memory, Money, OrderId, PaymentId, RefundId, Rejection, RoundId, Sku,
    StreamVersion,
};
use platform::{
    database::column,
    statement::{Statement, Values},
};
use runtime::service::{Locks, RowTable};
use serde::{Deserialize, Serialize};
use sqlx::{
    PgConnection, Row,
    postgres::{PgRow, types::PgInterval},
    types::Json,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    command::Command,
    order::{
        Disputed, Everything, Extent, FulfillmentStatus, HoldStatus, LatePaymentPolicy, Line, Order, OrderTerms,
        PaymentStatus, Pieces, Referenced, Refund, RefundItems, RefundReason, RefundStatus, Resource, Shares, State,
        Status,
    },
};

mod contacts;
pub(crate) mod derived;

/// A line as the table shows it.
#[derive(Debug, Serialize, Deserialize)]
struct LineRow {
    sku: String,
    quantity: i64,
    unit_price_minor: i64,
}

/// A refund as the table shows it.
#[derive(Debug, Serialize, Deserialize)]
struct RefundRow {
    payment_id: Uuid,
    attempt: i32,
    amount_minor: i64,
    reason: String,
    status: String,
    lines: BTreeMap<String, i64>,
    return_shares: bool,
    #[serde(default)]
    extent: Option<String>,
    #[serde(default)]
    taken: Vec<LineRow>,
}

/// Everything that is left is to go back, as the table shows it.
#[derive(Debug, Serialize, Deserialize)]
struct EverythingRow {
    refund_id: Uuid,
    reason: String,
    actor: String,
    note: String,
}

/// What a coupon takes off, as the table shows it.
#[derive(Debug, Serialize, Deserialize)]
struct DiscountRow {
    lines: Vec<i64>,
    shares: i64,
}

pub(crate) const TABLES: [RowTable; 1] =
    [RowTable { name: "orders.orders", category: "order", key: &[("order_id", "uuid")], part_of: None }];

/// Loads the orders that these commands touch.
pub(crate) async fn load(
    connection: &mut PgConnection,
    commands: &[&Command],
    locks: Locks,
) -> Result<State, sqlx::Error> {
    let mut ids: Vec<Uuid> = commands.iter().map(|command| command.order_id().0).collect();
    ids.sort_unstable();
    ids.dedup();
    let query = match locks {
        Locks::None => "select * from orders.orders where order_id = any($1)",
        Locks::Rows => "select * from orders.orders where order_id = any($1) order by order_id for update",
    };
    let mut state = state(sqlx::query(query).bind(ids).try_map(order).fetch_all(&mut *connection).await?);
    let references: Vec<&str> = references(commands).map(String::as_str).collect();
    if !references.is_empty() {
        let named = sqlx::query("select reference, order_id from orders.orders where reference = any($1)");
        for row in named.bind(references).fetch_all(connection).await? {
            state.references.load(row.try_get("reference")?, Referenced(OrderId(row.try_get("order_id")?)));
        }
    }
    Ok(state)
}

/// The references that these commands give. Whether one is free is looked up and, if two ask at once, settled by the table's key.
fn references<'a>(commands: &[&'a Command]) -> impl Iterator<Item = &'a String> {
    commands.iter().filter_map(|command| match command {
        Command::PlaceOrder { terms, .. } => terms.reference.as_ref(),
        Command::CancelOrder { .. }
        | Command::ExpireOrder { .. }
        | Command::RequestRefund(_)
        | Command::ReinstateOrder { .. }
        | Command::AtVersion { .. }
        | Command::Expire { .. }
        | Command::ConfirmHolds { .. }
        | Command::RefuseHold { .. }
        | Command::ConfirmReleases { .. }
        | Command::RecordPayment { .. }
        | Command::RecordAuthorisation { .. }
        | Command::RecordVoid { .. }
        | Command::RecordPaymentFailure { .. }
        | Command::RecordRefund { .. }
        | Command::RecordRefundElsewhere { .. }
        | Command::RecordDispute { .. }
        | Command::AbandonRefund { .. }
        | Command::RefundShares { .. } => None,
    })
}

/// Moves what these commands touch from what is remembered to a state of its own. False: some of it may be there and is not remembered.
pub(crate) fn recall(memory: &mut Memory<State>, commands: &[&Command], state: &mut State) -> bool {
    let keys = commands.iter().map(|command| (command.order_id(), matches!(command, Command::PlaceOrder { .. })));
    let references = references(commands).map(|reference| (reference.clone(), true));
    memory.move_all_to(state, keys, |rows| &mut rows.orders)
        && memory.move_all_to(state, references, |rows| &mut rows.references)
}

/// How many orders keep money that was to go back and is on no way.
pub(crate) async fn owing(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from orders.orders where owed_minor > 0").fetch_one(connection).await
}

/// Loads every order, without locks.
pub(crate) async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
    Ok(state(sqlx::query("select * from orders.orders").try_map(order).fetch_all(connection).await?))
}

/// Loads the orders of these names, without locks.
pub(crate) async fn load_rows(connection: &mut PgConnection, names: &[String]) -> Result<State, sqlx::Error> {
    let ids = names.iter().filter_map(|name| OrderId::parse(name.strip_prefix("order-")?).ok());
    let ids: Vec<Uuid> = ids.map(|id| id.0).collect();
    let query = sqlx::query("select * from orders.orders where order_id = any($1)").bind(ids);
    Ok(state(query.try_map(order).fetch_all(connection).await?))
}

fn state(orders: Vec<Order>) -> State {
    let mut state = State::default();
    for order in orders {
        state.orders.load(order.order_id, order);
    }
    state
}

fn order(row: PgRow) -> Result<Order, sqlx::Error> {
    let currency = Currency::parse(row.try_get("currency")?).map_err(malformed)?;
    let terms = terms(&row, currency)?;
    let waiting: Option<Uuid> = row.try_get("waiting_payment_id")?;
    let mut order = Order {
        order_id: OrderId(row.try_get("order_id")?),
        status: parse_column(&row, "status", Status::parse)?,
        payment_status: parse_column(&row, "payment_status", PaymentStatus::parse)?,
        fulfillment_status: parse_column(&row, "fulfillment_status", FulfillmentStatus::parse)?,
        attempt: row.try_get("attempt")?,
        holds: holds(&row)?,
        released: row.try_get("released")?,
        payment_id: row.try_get::<Option<Uuid>, _>("payment_id")?.map(PaymentId),
        captured_minor: row.try_get("captured_minor")?,
        refunded_minor: row.try_get("refunded_minor")?,
        refunds: refunds(&row, currency)?,
        deferred_share_refund: row.try_get("deferred_share_refund")?,
        everything: everything(&row)?,
        waiting_payment: None,
        disputes: disputes(&row)?,
        placed_at: row.try_get::<OffsetDateTime, _>("placed_at")?.into(),
        expires_at: row.try_get::<Option<OffsetDateTime>, _>("expires_at")?.map(Into::into),
        note: row.try_get("note")?,
        version: StreamVersion::new(row.try_get("version")?),
        discount: discount(&row, currency)?,
        terms,
    };
    order.waiting_payment = waiting.map(|payment_id| (PaymentId(payment_id), order.to_pay()));
    Ok(order)
}

fn disputes(row: &PgRow) -> Result<BTreeMap<String, Disputed>, sqlx::Error> {
    let rows: Option<Json<BTreeMap<String, Disputed>>> = row.try_get("disputes")?;
    Ok(rows.map(|Json(rows)| rows).unwrap_or_default())
}

fn discount(row: &PgRow, currency: Currency) -> Result<Option<Discount>, sqlx::Error> {
    let Some(Json(DiscountRow { lines, shares })) = row.try_get("discount")? else { return Ok(None) };
    let amount = Money { minor_units: row.try_get("discount_minor")?, currency };
    Ok(Some(Discount { amount, lines, shares }))
}

fn terms(row: &PgRow, currency: Currency) -> Result<OrderTerms, sqlx::Error> {
    let money = |minor_units| Money { minor_units, currency };
    let Json(lines): Json<Vec<LineRow>> = row.try_get("lines")?;
    let line = |line: LineRow| {
        let sku = Sku::parse(&line.sku).map_err(malformed)?;
        Ok(Line { sku, quantity: line.quantity, unit_price: money(line.unit_price_minor) })
    };
    let shares = match row.try_get::<Option<Uuid>, _>("round_id")? {
        Some(round_id) => Some(Shares {
            round_id: RoundId(round_id),
            count: row.try_get("share_count")?,
            unit_price: money(row.try_get("share_price_minor")?),
        }),
        None => None,
    };
    let time_to_pay: PgInterval = row.try_get("time_to_pay")?;
    Ok(OrderTerms {
        customer_id: row.try_get("customer_id")?,
        lines: lines.into_iter().map(line).collect::<Result<_, sqlx::Error>>()?,
        shares,
        total: money(row.try_get("total_minor")?),
        time_to_pay: duration(&time_to_pay),
        late_payment_policy: parse_column(row, "late_payment_policy", LatePaymentPolicy::parse)?,
        payment_method: row.try_get("payment_method")?,
        reference: row.try_get("reference")?,
        coupon: row.try_get::<Option<&str>, _>("coupon_code")?.map(CouponCode::parse).transpose().map_err(malformed)?,
    })
}

/// As long as Postgres takes it for. Workers write no days and no months; whoever has changed it by hand may have.
fn duration(interval: &PgInterval) -> Duration {
    const DAY_MICROS: i64 = 86_400_000_000;
    let days = i64::from(interval.months) * 30 + i64::from(interval.days);
    let micros = interval.microseconds.saturating_add(days.saturating_mul(DAY_MICROS));
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn holds(row: &PgRow) -> Result<BTreeMap<Resource, HoldStatus>, sqlx::Error> {
    let mut holds = BTreeMap::new();
    for resource in Resource::ALL {
        let column = hold_column(*resource);
        if row.try_get::<Option<&str>, _>(column)?.is_some() {
            holds.insert(*resource, parse_column(row, column, HoldStatus::parse)?);
        }
    }
    Ok(holds)
}

const fn hold_column(resource: Resource) -> &'static str {
    match resource {
        Resource::Stock => "stock_hold",
        Resource::Shares => "shares_hold",
        Resource::Coupon => "coupon_hold",
    }
}

fn refunds(row: &PgRow, currency: Currency) -> Result<BTreeMap<RefundId, Refund>, sqlx::Error> {
    let Json(rows): Json<BTreeMap<Uuid, RefundRow>> = row.try_get("refunds")?;
    let piece = |(sku, quantity): (String, i64)| Ok((Sku::parse(&sku).map_err(malformed)?, quantity));
    let refund = |(refund_id, row): (Uuid, RefundRow)| {
        let claim = RefundItems {
            attempt: row.attempt,
            amount: Money { minor_units: row.amount_minor, currency },
            reason: parse("refund's reason", &row.reason, RefundReason::parse)?,
            lines: row.lines.into_iter().map(piece).collect::<Result<Lines, sqlx::Error>>()?,
            return_shares: row.return_shares,
        };
        let status = parse("refund's status", &row.status, RefundStatus::parse)?;
        let extent =
            row.extent.map(|parse_column| parse("refund's extent", &parse_column, Extent::parse)).transpose()?;
        let piece =
            |piece: LineRow| Ok(((Sku::parse(&piece.sku).map_err(malformed)?, piece.unit_price_minor), piece.quantity));
        let taken = row.taken.into_iter().map(piece).collect::<Result<Pieces, sqlx::Error>>()?;
        Ok((RefundId(refund_id), Refund { payment_id: PaymentId(row.payment_id), claim, extent, taken, status }))
    };
    rows.into_iter().map(refund).collect()
}

fn everything(row: &PgRow) -> Result<Option<Everything>, sqlx::Error> {
    let Some(Json(EverythingRow { refund_id, reason, actor, note })) = row.try_get("everything")? else {
        return Ok(None);
    };
    let reason = parse("reason for everything to go back", &reason, RefundReason::parse)?;
    Ok(Some(Everything { refund_id: RefundId(refund_id), reason, actor, note }))
}

fn parse_column<T>(row: &PgRow, column: &str, reads: impl Fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    parse(column, row.try_get(column)?, reads)
}

fn parse<T>(what: &str, parse_column: &str, reads: impl Fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    reads(parse_column)
        .ok_or_else(|| malformed(Rejection::new("UNKNOWN_WORD", format!("an order's {what} is {parse_column:?}"))))
}

fn malformed(rejection: Rejection) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(rejection))
}

/// Saves what is new and what changed. What was agreed never changes, so it stays as it is. Orders without a coupon, most of them, are saved
/// without its columns.
pub(crate) fn save(statement: &mut Statement, state: &State) {
    let changed = state.orders.changed().map(|(_, order, before)| (order, before));
    // Nearly none are disputed.
    let (disputed, changed): (Vec<Changed<'_>>, Vec<Changed<'_>>) =
        changed.partition(|(order, _)| !order.disputes.is_empty());
    let (with_coupon, changed): (Vec<Changed<'_>>, Vec<Changed<'_>>) =
        changed.into_iter().partition(|(order, _)| order.terms.coupon.is_some());
    if !changed.is_empty() {
        bind_changed(&mut statement.counted("orders_changed", changed.len(), CHANGE), &changed);
    }
    if !with_coupon.is_empty() {
        let mut values = statement.counted("orders_with_coupon_changed", with_coupon.len(), CHANGE_WITH_COUPON);
        bind_changed(&mut values, &with_coupon);
        bind_coupon(&mut values, &column(&with_coupon, |(order, _)| order));
    }
    if !disputed.is_empty() {
        let mut values = statement.counted("orders_disputed_changed", disputed.len(), CHANGE_DISPUTED);
        bind_changed(&mut values, &disputed);
        bind_coupon(&mut values, &column(&disputed, |(order, _)| order));
        values.bind(column(&disputed, |(order, _)| Json(&order.disputes)));
    }
    let mut created: Vec<&Order> = state.orders.created().map(|(_, order)| order).collect();
    // Two replicas that want the same references want them in the same order, and so do not wait for each other.
    created.sort_by_key(|order| order.terms.reference.as_deref());
    let (with_coupon, created): (Vec<&Order>, Vec<&Order>) =
        created.into_iter().partition(|order| order.terms.coupon.is_some());
    if !created.is_empty() {
        bind_created(&mut statement.counted("orders_created", created.len(), CREATE), &created);
    }
    if !with_coupon.is_empty() {
        let mut values = statement.counted("orders_with_coupon_created", with_coupon.len(), CREATE_WITH_COUPON);
        bind_created(&mut values, &with_coupon);
        bind_coupon(&mut values, &with_coupon);
        values.bind(column(&with_coupon, |order| order.terms.coupon.as_ref().map(CouponCode::as_str)));
    }
    contacts::save(statement, state);
}

/// An order that changed, and its revision before.
type Changed<'a> = (&'a Order, StreamVersion);

fn bind_coupon(values: &mut Values<'_>, rows: &[&Order]) {
    values
        .bind(column(rows, |order| hold_word(order, Resource::Coupon)))
        .bind(column(rows, discount_row))
        .bind(column(rows, |order| order.discount.as_ref().map_or(0, |discount| discount.amount.minor_units)));
}

fn bind_created(values: &mut Values<'_>, rows: &[&Order]) {
    values
        .bind(column(rows, |order| order.order_id.0))
        .bind(column(rows, |order| order.terms.customer_id.as_str()))
        .bind(column(rows, |order| order.status.as_str()))
        .bind(column(rows, |order| order.payment_status.as_str()))
        .bind(column(rows, |order| order.fulfillment_status.as_str()))
        .bind(column(rows, |order| order.attempt))
        .bind(column(rows, |order| hold_word(order, Resource::Stock)))
        .bind(column(rows, |order| hold_word(order, Resource::Shares)))
        .bind(column(rows, |order| order.released))
        .bind(column(rows, |order| order.terms.total.currency.as_str()))
        .bind(column(rows, |order| order.terms.total.minor_units))
        .bind(column(rows, |order| order.captured_minor))
        .bind(column(rows, refunding_minor))
        .bind(column(rows, |order| order.refunded_minor))
        .bind(column(rows, |order| Json(line_rows(order))))
        .bind(column(rows, |order| order.terms.shares.map(|shares| shares.round_id.0)))
        .bind(column(rows, |order| order.terms.shares.map(|shares| shares.count)))
        .bind(column(rows, |order| order.terms.shares.map(|shares| shares.unit_price.minor_units)))
        .bind(column(rows, |order| order.payment_id.map(|payment_id| payment_id.0)))
        .bind(column(rows, |order| order.terms.payment_method.as_str()))
        .bind(column(rows, |order| order.terms.late_payment_policy.as_str()))
        .bind(column(rows, |order| OffsetDateTime::from(order.placed_at)))
        .bind(column(rows, |order| order.terms.time_to_pay))
        .bind(column(rows, |order| order.expires_at.map(OffsetDateTime::from)))
        .bind(column(rows, |order| Json(refund_rows(order))))
        .bind(column(rows, |order| order.deferred_share_refund.as_deref()))
        .bind(column(rows, |order| order.everything.as_ref().map(everything_row)))
        .bind(column(rows, |order| order.waiting_payment.map(|(payment_id, _)| payment_id.0)))
        .bind(column(rows, |order| order.owed_minor()))
        .bind(column(rows, |order| order.note.as_str()))
        .bind(column(rows, |order| order.version.get()))
        .bind(column(rows, |order| order.terms.reference.as_deref()));
}

fn bind_changed(values: &mut Values<'_>, changed: &[(&Order, StreamVersion)]) {
    let rows: Vec<&Order> = column(changed, |(order, _)| order);
    let rows = rows.as_slice();
    values
        .bind(column(rows, |order| order.order_id.0))
        .bind(column(rows, |order| order.status.as_str()))
        .bind(column(rows, |order| order.payment_status.as_str()))
        .bind(column(rows, |order| order.fulfillment_status.as_str()))
        .bind(column(rows, |order| order.attempt))
        .bind(column(rows, |order| hold_word(order, Resource::Stock)))
        .bind(column(rows, |order| hold_word(order, Resource::Shares)))
        .bind(column(rows, |order| order.released))
        .bind(column(rows, |order| order.captured_minor))
        .bind(column(rows, refunding_minor))
        .bind(column(rows, |order| order.refunded_minor))
        .bind(column(rows, |order| order.payment_id.map(|payment_id| payment_id.0)))
        .bind(column(rows, |order| order.expires_at.map(OffsetDateTime::from)))
        .bind(column(rows, |order| Json(refund_rows(order))))
        .bind(column(rows, |order| order.deferred_share_refund.as_deref()))
        .bind(column(rows, |order| order.everything.as_ref().map(everything_row)))
        .bind(column(rows, |order| order.waiting_payment.map(|(payment_id, _)| payment_id.0)))
        .bind(column(rows, |order| order.owed_minor()))
        .bind(column(rows, |order| order.note.as_str()))
        .bind(column(rows, |order| order.version.get()))
        .bind(column(changed, |(_, before)| before.get()));
}

fn discount_row(order: &Order) -> Option<Json<DiscountRow>> {
    let Discount { lines, shares, .. } = order.discount.as_ref()?;
    Some(Json(DiscountRow { lines: lines.clone(), shares: *shares }))
}

/// Of orders with a coupon, with the names and the types of its columns.
macro_rules! create {
    ($columns:literal, $types:literal) => {
        concat!(
            "insert into orders.orders (order_id, customer_id, status, payment_status, fulfillment_status,
        attempt, stock_hold, shares_hold, released, currency, total_minor, captured_minor, refunding_minor,
        refunded_minor, lines, round_id, share_count, share_price_minor, payment_id, payment_method,
        late_payment_policy, placed_at, time_to_pay, expires_at, refunds, deferred_share_refund, everything,
        waiting_payment_id, owed_minor, note, version, reference",
            $columns,
            ")
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int4[], $7::text[], $8::text[],
        $9::bool[], $10::text[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::jsonb[], $16::uuid[],
        $17::int8[], $18::int8[], $19::uuid[], $20::text[], $21::text[], $22::timestamptz[], $23::interval[],
        $24::timestamptz[], $25::jsonb[], $26::text[], $27::jsonb[], $28::uuid[], $29::int8[], $30::text[], $31::int8[],
        $32::text[]",
            $types,
            ")
    returning 1"
        )
    };
}

const CREATE: &str = create!("", "");
const CREATE_WITH_COUPON: &str = create!(
    ", coupon_hold, discount, discount_minor, coupon_code",
    ", $33::text[], $34::jsonb[], $35::int8[], $36::text[]"
);

/// Of orders with a coupon, with what sets its columns, their types and their names.
macro_rules! change {
    ($set:literal, $types:literal, $columns:literal) => {
        concat!(
            "update orders.orders set status = new.status, payment_status = new.payment_status,
        fulfillment_status = new.fulfillment_status, attempt = new.attempt, stock_hold = new.stock_hold,
        shares_hold = new.shares_hold, released = new.released, captured_minor = new.captured_minor,
        refunding_minor = new.refunding_minor, refunded_minor = new.refunded_minor, payment_id = new.payment_id,
        expires_at = new.expires_at, refunds = new.refunds, deferred_share_refund = new.deferred_share_refund,
        everything = new.everything, waiting_payment_id = new.waiting_payment_id, owed_minor = new.owed_minor,
        note = new.note, version = new.version",
            $set,
            "
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::int4[], $6::text[], $7::text[], $8::bool[],
        $9::int8[], $10::int8[], $11::int8[], $12::uuid[], $13::timestamptz[], $14::jsonb[], $15::text[], $16::jsonb[],
        $17::uuid[], $18::int8[], $19::text[], $20::int8[], $21::int8[]",
            $types,
            ")
        as new (order_id, status, payment_status, fulfillment_status, attempt, stock_hold, shares_hold, released,
            captured_minor, refunding_minor, refunded_minor, payment_id, expires_at, refunds, deferred_share_refund,
            everything, waiting_payment_id, owed_minor, note, version, before",
            $columns,
            ")
    where orders.order_id = new.order_id and orders.version = new.before
    returning 1"
        )
    };
}

const CHANGE: &str = change!("", "", "");
const CHANGE_WITH_COUPON: &str = change!(
    ", coupon_hold = new.coupon_hold, discount = new.discount, discount_minor = new.discount_minor",
    ", $22::text[], $23::jsonb[], $24::int8[]",
    ", coupon_hold, discount, discount_minor"
);

const CHANGE_DISPUTED: &str = change!(
    ", coupon_hold = new.coupon_hold, discount = new.discount, discount_minor = new.discount_minor, disputes = new.disputes",
    ", $22::text[], $23::jsonb[], $24::int8[], $25::jsonb[]",
    ", coupon_hold, discount, discount_minor, disputes"
);

fn hold_word(order: &Order, resource: Resource) -> Option<&'static str> {
    order.holds.get(&resource).map(|hold| hold.as_str())
}

/// A derived column, for the table to check and for people: it follows from the refunds.
fn refunding_minor(order: &Order) -> i64 {
    let payment_id = order.payment_id.filter(|payment_id| order.is_paid_by(*payment_id));
    payment_id.map_or(0, |payment_id| order.in_flight(payment_id))
}

fn line_rows(order: &Order) -> Vec<LineRow> {
    let row = |line: &Line| LineRow {
        sku: line.sku.as_str().to_owned(),
        quantity: line.quantity,
        unit_price_minor: line.unit_price.minor_units,
    };
    order.terms.lines.iter().map(row).collect()
}

fn refund_rows(order: &Order) -> BTreeMap<Uuid, RefundRow> {
    let row = |(refund_id, refund): (&RefundId, &Refund)| {
        let lines = refund.claim.lines.iter().map(|(sku, quantity)| (sku.as_str().to_owned(), *quantity));
        let row = RefundRow {
            payment_id: refund.payment_id.0,
            attempt: refund.claim.attempt,
            amount_minor: refund.claim.amount.minor_units,
            reason: refund.claim.reason.as_str().to_owned(),
            status: refund.status.as_str().to_owned(),
            lines: lines.collect(),
            return_shares: refund.claim.return_shares,
            extent: refund.extent.map(|extent| extent.as_str().to_owned()),
            taken: piece_rows(&refund.taken),
        };
        (refund_id.0, row)
    };
    order.refunds.iter().map(row).collect()
}

fn piece_rows(pieces: &Pieces) -> Vec<LineRow> {
    let row = |((sku, unit_price_minor), quantity): (&(Sku, i64), &i64)| LineRow {
        sku: sku.as_str().to_owned(),
        quantity: *quantity,
        unit_price_minor: *unit_price_minor,
    };
    pieces.iter().map(row).collect()
}

fn everything_row(all: &Everything) -> Json<EverythingRow> {
    Json(EverythingRow {
        refund_id: all.refund_id.0,
        reason: all.reason.as_str().to_owned(),
        actor: all.actor.clone(),
        note: all.note.clone(),
    })
}
