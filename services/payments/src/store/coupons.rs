//! The rows of coupons, and of what orders hold of them.

use std::collections::BTreeSet;

use domain::{CouponCode, Currency, HoldKey, Memory, OrderId, Rejection, Sku, StreamVersion, Timestamp, hold::Status};
use platform::{
    database::column,
    statement::{Statement, Values},
};
use runtime::service::Locks;
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{malformed, time, unknown_word};
use crate::{
    command::{Command, CouponCommand},
    coupon::{Coupon, CouponRevision, CouponStatus, Customer, CustomerKey, Off, Offer, Use},
    payment::State,
};

/// Loads what these commands touch: their holds, the coupons of all, and what their customers have used. Locks them in this order, each
/// table in key order. Commands that are not about coupons cost nothing.
pub(super) async fn load(
    connection: &mut PgConnection,
    commands: &[&Command],
    locks: Locks,
    state: &mut State,
) -> Result<(), sqlx::Error> {
    let (mut keys, mut codes, mut customers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for command in commands {
        let Command::Coupon(command) = command else { continue };
        match command {
            CouponCommand::Open { code, .. } | CouponCommand::Close { code, .. } => {
                codes.insert(code.as_str());
            }
            CouponCommand::Hold { key, purchase } => {
                keys.insert(*key);
                codes.insert(purchase.code.as_str());
                customers.insert((purchase.code.as_str(), purchase.customer_id.as_str()));
            }
            CouponCommand::Redeem { key } | CouponCommand::Release { key } => {
                keys.insert(*key);
            }
        }
    }
    if keys.is_empty() && codes.is_empty() {
        return Ok(());
    }
    let load = match locks {
        Locks::None => LOAD,
        Locks::Rows => LOAD_LOCKED,
    };
    load_by(connection, load, (keys, codes, customers), state).await
}

/// Loads the rows of these names, without locks.
pub(super) async fn load_rows(
    connection: &mut PgConnection,
    names: &[String],
    state: &mut State,
) -> Result<(), sqlx::Error> {
    let keys: BTreeSet<HoldKey> =
        names.iter().filter_map(|name| HoldKey::from_text(name.strip_prefix("use-")?)).collect();
    let codes: BTreeSet<&str> = names.iter().filter_map(|name| name.strip_prefix("coupon-")).collect();
    let customers: BTreeSet<(&str, &str)> =
        names.iter().filter_map(|name| name.strip_prefix("customer-")?.split_once('.')).collect();
    if keys.is_empty() && codes.is_empty() && customers.is_empty() {
        return Ok(());
    }
    load_by(connection, LOAD, (keys, codes, customers), state).await
}

async fn load_by(
    connection: &mut PgConnection,
    load: &'static str,
    (keys, codes, customers): (BTreeSet<HoldKey>, BTreeSet<&str>, BTreeSet<(&str, &str)>),
    state: &mut State,
) -> Result<(), sqlx::Error> {
    let (orders, attempts): (Vec<Uuid>, Vec<i32>) = keys.iter().map(|key| (key.order_id.0, key.attempt)).unzip();
    let codes: Vec<&str> = codes.into_iter().collect();
    let (of_codes, of_customers): (Vec<&str>, Vec<&str>) = customers.into_iter().unzip();
    let query = sqlx::query(load).bind(&orders).bind(&attempts).bind(&codes).bind(&of_codes).bind(&of_customers);
    take_in(state, query.fetch_all(connection).await?)
}

/// Loads every row, without locks.
pub(super) async fn load_all(connection: &mut PgConnection, state: &mut State) -> Result<(), sqlx::Error> {
    take_in(state, sqlx::query(LOAD_ALL).fetch_all(connection).await?)
}

/// Moves what a command touches from what is remembered to a state of its own. False: some of it may be there and is not remembered.
pub(super) fn recall(
    memory: &mut Memory<State>,
    command: &CouponCommand,
    asked: &mut BTreeSet<HoldKey>,
    state: &mut State,
) -> bool {
    match command {
        CouponCommand::Open { .. } | CouponCommand::Close { .. } => false,
        CouponCommand::Hold { key, purchase } => {
            asked.insert(*key);
            memory.move_to(state, key, |rows| &mut rows.uses);
            recall_used(memory, &purchase.code, &purchase.customer_id, state) && recall_held(memory, key, state)
        }
        CouponCommand::Redeem { key } | CouponCommand::Release { key } => {
            let is_known = memory.move_to(state, key, |rows| &mut rows.uses) || asked.contains(key);
            is_known && recall_held(memory, key, state)
        }
    }
}

fn recall_held(memory: &mut Memory<State>, key: &HoldKey, state: &mut State) -> bool {
    let held = state.uses.get(key).filter(|held| matches!(held.status, Status::Held | Status::Committed));
    let of = held.and_then(|held| Some((held.code.clone()?, held.customer_id.clone())));
    of.is_none_or(|(code, customer_id)| recall_used(memory, &code, &customer_id, state))
}

fn recall_used(memory: &mut Memory<State>, code: &CouponCode, customer_id: &str, state: &mut State) -> bool {
    let customer = (code.clone(), customer_id.to_owned());
    memory.move_to(state, code, |rows| &mut rows.coupons)
        && memory.move_to(state, &customer, |rows| &mut rows.customers)
}

/// The columns of a use, of a coupon and of a customer: each under the names that are its own, all others null.
macro_rules! uses {
    ($from:literal) => {
        concat!(
            "select 'use' as what, order_id, attempt, code, customer_id, status, null::int8 as held, null::int8 as redeemed,
                 version, null::int4 as basis_points, null::int8 as fixed_minor, null::text as currency,
                 null::int8 as discount_max_minor, null::int8 as spend_min_minor, null::timestamptz as valid_from,
                 null::timestamptz as valid_until, null::int8 as uses_max, null::int8 as uses_per_customer_max,
                 null::jsonb as skus
             from ",
            $from
        )
    };
}

macro_rules! coupons {
    ($from:literal, $locked:literal) => {
        concat!(
            " union all select 'coupon', null, null, coupon.code, null, coupon.status, coupon.held, coupon.redeemed,
                 coupon.version, coupon.basis_points, coupon.fixed_minor, coupon.currency, coupon.discount_max_minor,
                 coupon.spend_min_minor, coupon.valid_from, coupon.valid_until, coupon.uses_max,
                 coupon.uses_per_customer_max, coupon.skus
             from ",
            $from,
            $locked
        )
    };
}

macro_rules! customers {
    ($from:literal) => {
        concat!(
            " union all select 'customer', null, null, customer.code, customer.customer_id, null, customer.held,
                 customer.redeemed, null, null, null, null, null, null, null, null, null, null, null
             from ",
            $from
        )
    };
}

const LOAD_ALL: &str = concat!(
    uses!("payments.coupon_uses"),
    coupons!("payments.coupons as coupon", ""),
    customers!("payments.coupon_customers as customer")
);

/// One probe of a primary key after the other, in key order.
macro_rules! load {
    ($locked:literal, $coupons_locked:literal) => {
        concat!(
            "with u as materialized (
                 select found.* from unnest($1::uuid[], $2::int4[]) as k (order_id, attempt) cross join lateral (
                     select * from payments.coupon_uses
                     where coupon_uses.order_id = k.order_id and coupon_uses.attempt = k.attempt",
            $locked,
            ") as found
             ),
             named as materialized (
                 select code, customer_id from unnest($4::text[], $5::text[]) as k (code, customer_id)
                 union select code, customer_id from u where status in ('held', 'committed')
             ),
             wanted as materialized (
                 select array(select unnest($3::text[]) union select code from named) as codes
             ) ",
            uses!("u"),
            coupons!(
                "wanted cross join lateral (
                     select * from payments.coupons where code = any(wanted.codes)",
                $coupons_locked
            ),
            ") as coupon",
            customers!(
                "(select code, customer_id from named order by code collate \"C\", customer_id collate \"C\") as k
                 cross join lateral (
                     select * from payments.coupon_customers as used
                     where used.code = k.code and used.customer_id = k.customer_id"
            ),
            $locked,
            ") as customer"
        )
    };
}

const LOAD: &str = load!("", "");
const LOAD_LOCKED: &str = load!(" for update", " order by code for update");

fn take_in(state: &mut State, rows: Vec<PgRow>) -> Result<(), sqlx::Error> {
    for row in rows {
        match row.try_get("what")? {
            "use" => {
                let (key, held) = held(&row)?;
                state.uses.load(key, held);
            }
            "coupon" => {
                let (code, coupon) = coupon(&row)?;
                state.coupons.load(code, coupon);
            }
            _customer => {
                let uses = Customer { held: row.try_get("held")?, redeemed: row.try_get("redeemed")? };
                state.customers.load((code(&row)?, row.try_get("customer_id")?), uses);
            }
        }
    }
    Ok(())
}

fn code(row: &PgRow) -> Result<CouponCode, sqlx::Error> {
    CouponCode::parse(row.try_get("code")?).map_err(malformed)
}

fn held(row: &PgRow) -> Result<(HoldKey, Use), sqlx::Error> {
    let key = HoldKey { order_id: OrderId(row.try_get("order_id")?), attempt: row.try_get("attempt")? };
    let word: &str = row.try_get("status")?;
    let is_of_a_coupon = row.try_get::<Option<&str>, _>("code")?.is_some();
    let held = Use {
        status: Status::parse(word).ok_or_else(|| unknown_word(&format!("use {key}"), word))?,
        code: is_of_a_coupon.then(|| code(row)).transpose()?,
        customer_id: row.try_get("customer_id")?,
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((key, held))
}

fn coupon(row: &PgRow) -> Result<(CouponCode, Coupon), sqlx::Error> {
    let word: &str = row.try_get("status")?;
    let Json(skus): Json<Vec<String>> = row.try_get("skus")?;
    let fixed: Option<i64> = row.try_get("fixed_minor")?;
    let points: Option<i32> = row.try_get("basis_points")?;
    let offer = Offer {
        off: fixed.map_or_else(|| Off::BasisPoints(points.unwrap_or_default()), Off::Fixed),
        currency: Currency::parse(row.try_get("currency")?).map_err(malformed)?,
        discount_max: row.try_get("discount_max_minor")?,
        spend_min: row.try_get("spend_min_minor")?,
        valid_from: time(row, "valid_from")?,
        valid_until: time(row, "valid_until")?,
        uses_max: row.try_get("uses_max")?,
        uses_per_customer_max: row.try_get("uses_per_customer_max")?,
        skus: skus.iter().map(|sku| Sku::parse(sku)).collect::<Result<_, Rejection>>().map_err(malformed)?,
    };
    let coupon = Coupon {
        offer,
        status: CouponStatus::parse(word).ok_or_else(|| unknown_word("a coupon", word))?,
        held: row.try_get("held")?,
        redeemed: row.try_get("redeemed")?,
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((code(row)?, coupon))
}

/// Saves what is new and what changed. A coupon's offer never changes, and a hold's coupon and customer never do.
pub(super) fn save(statement: &mut Statement, state: &State) {
    let uses: Vec<(&HoldKey, &Use, StreamVersion)> = state.uses.changed().collect();
    if !uses.is_empty() {
        bind_changed_uses(&mut statement.counted("uses_changed", uses.len(), CHANGE_USES), &uses);
    }
    let coupons: Vec<(&CouponCode, &Coupon, CouponRevision)> = state.coupons.changed().collect();
    if !coupons.is_empty() {
        bind_changed_coupons(&mut statement.counted("coupons_changed", coupons.len(), CHANGE_COUPONS), &coupons);
    }
    let customers: Vec<(&CustomerKey, &Customer, Customer)> = state.customers.changed().collect();
    if !customers.is_empty() {
        let values = &mut statement.counted("customers_changed", customers.len(), CHANGE_CUSTOMERS);
        bind_changed_customers(values, &customers);
    }
    let uses: Vec<(&HoldKey, &Use)> = state.uses.created().collect();
    if !uses.is_empty() {
        bind_new_uses(&mut statement.counted("uses_created", uses.len(), CREATE_USES), &uses);
    }
    let coupons: Vec<(&CouponCode, &Coupon)> = state.coupons.created().collect();
    if !coupons.is_empty() {
        bind_new_coupons(&mut statement.counted("coupons_created", coupons.len(), CREATE_COUPONS), &coupons);
    }
    let customers: Vec<(&CustomerKey, &Customer)> = state.customers.created().collect();
    if !customers.is_empty() {
        let values = &mut statement.counted("customers_created", customers.len(), CREATE_CUSTOMERS);
        bind_new_customers(values, &customers);
    }
}

fn bind_changed_uses(values: &mut Values<'_>, rows: &[(&HoldKey, &Use, StreamVersion)]) {
    values
        .bind(column(rows, |(key, _, _)| key.order_id.0))
        .bind(column(rows, |(key, _, _)| key.attempt))
        .bind(column(rows, |(_, held, _)| held.status.as_str()))
        .bind(column(rows, |(_, held, _)| held.version.get()))
        .bind(column(rows, |(_, _, before)| before.get()));
}

const CHANGE_USES: &str = "update payments.coupon_uses set status = new.status, version = new.version
    from unnest($1::uuid[], $2::int4[], $3::text[], $4::int8[], $5::int8[])
        as new (order_id, attempt, status, version, before)
    where coupon_uses.order_id = new.order_id and coupon_uses.attempt = new.attempt and coupon_uses.version = new.before
    returning 1";

fn bind_changed_coupons(values: &mut Values<'_>, rows: &[(&CouponCode, &Coupon, CouponRevision)]) {
    values
        .bind(column(rows, |(code, _, _)| code.as_str()))
        .bind(column(rows, |(_, coupon, _)| coupon.status.as_str()))
        .bind(column(rows, |(_, coupon, _)| coupon.held))
        .bind(column(rows, |(_, coupon, _)| coupon.redeemed))
        .bind(column(rows, |(_, coupon, _)| coupon.version.get()))
        .bind(column(rows, |(_, _, before)| before.version.get()))
        .bind(column(rows, |(_, _, before)| before.uses.held))
        .bind(column(rows, |(_, _, before)| before.uses.redeemed));
}

const CHANGE_COUPONS: &str =
    "update payments.coupons set status = new.status, held = new.held, redeemed = new.redeemed,
        version = new.version
    from unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[])
        as new (code, status, held, redeemed, version, version_before, held_before, redeemed_before)
    where coupons.code = new.code and coupons.version = new.version_before and coupons.held = new.held_before
        and coupons.redeemed = new.redeemed_before
    returning 1";

fn bind_changed_customers(values: &mut Values<'_>, rows: &[(&CustomerKey, &Customer, Customer)]) {
    values
        .bind(column(rows, |((code, _), _, _)| code.as_str()))
        .bind(column(rows, |((_, customer_id), _, _)| customer_id.as_str()))
        .bind(column(rows, |(_, uses, _)| uses.held))
        .bind(column(rows, |(_, uses, _)| uses.redeemed))
        .bind(column(rows, |(_, _, before)| before.held))
        .bind(column(rows, |(_, _, before)| before.redeemed));
}

const CHANGE_CUSTOMERS: &str = "update payments.coupon_customers set held = new.held, redeemed = new.redeemed
    from unnest($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[], $6::int8[])
        as new (code, customer_id, held, redeemed, held_before, redeemed_before)
    where coupon_customers.code = new.code and coupon_customers.customer_id = new.customer_id
        and coupon_customers.held = new.held_before and coupon_customers.redeemed = new.redeemed_before
    returning 1";

fn bind_new_uses(values: &mut Values<'_>, rows: &[(&HoldKey, &Use)]) {
    values
        .bind(column(rows, |(key, _)| key.order_id.0))
        .bind(column(rows, |(key, _)| key.attempt))
        .bind(column(rows, |(_, held)| held.code.as_ref().map(CouponCode::as_str)))
        .bind(column(rows, |(_, held)| held.customer_id.as_str()))
        .bind(column(rows, |(_, held)| held.status.as_str()))
        .bind(column(rows, |(_, held)| held.version.get()));
}

const CREATE_USES: &str = "insert into payments.coupon_uses (order_id, attempt, code, customer_id, status, version)
    select * from unnest($1::uuid[], $2::int4[], $3::text[], $4::text[], $5::text[], $6::int8[])
    returning 1";

fn bind_new_coupons(values: &mut Values<'_>, rows: &[(&CouponCode, &Coupon)]) {
    let points = |coupon: &Coupon| match coupon.offer.off {
        Off::BasisPoints(points) => Some(points),
        Off::Fixed(_) => None,
    };
    let fixed = |coupon: &Coupon| match coupon.offer.off {
        Off::BasisPoints(_) => None,
        Off::Fixed(minor_units) => Some(minor_units),
    };
    let skus = |coupon: &Coupon| coupon.offer.skus.iter().map(|sku| sku.as_str().to_owned()).collect::<Vec<_>>();
    let time = |time: Option<Timestamp>| time.map(OffsetDateTime::from);
    values
        .bind(column(rows, |(code, _)| code.as_str()))
        .bind(column(rows, |(_, coupon)| points(coupon)))
        .bind(column(rows, |(_, coupon)| fixed(coupon)))
        .bind(column(rows, |(_, coupon)| coupon.offer.currency.to_string()))
        .bind(column(rows, |(_, coupon)| coupon.offer.discount_max))
        .bind(column(rows, |(_, coupon)| coupon.offer.spend_min))
        .bind(column(rows, |(_, coupon)| time(coupon.offer.valid_from)))
        .bind(column(rows, |(_, coupon)| time(coupon.offer.valid_until)))
        .bind(column(rows, |(_, coupon)| coupon.offer.uses_max))
        .bind(column(rows, |(_, coupon)| coupon.offer.uses_per_customer_max))
        .bind(column(rows, |(_, coupon)| Json(skus(coupon))))
        .bind(column(rows, |(_, coupon)| coupon.status.as_str()))
        .bind(column(rows, |(_, coupon)| coupon.held))
        .bind(column(rows, |(_, coupon)| coupon.redeemed))
        .bind(column(rows, |(_, coupon)| coupon.version.get()));
}

const CREATE_COUPONS: &str = "insert into payments.coupons (code, basis_points, fixed_minor, currency, discount_max_minor,
        spend_min_minor, valid_from, valid_until, uses_max, uses_per_customer_max, skus, status, held, redeemed, version)
    select * from unnest($1::text[], $2::int4[], $3::int8[], $4::text[], $5::int8[], $6::int8[], $7::timestamptz[],
        $8::timestamptz[], $9::int8[], $10::int8[], $11::jsonb[], $12::text[], $13::int8[], $14::int8[], $15::int8[])
    returning 1";

fn bind_new_customers(values: &mut Values<'_>, rows: &[(&CustomerKey, &Customer)]) {
    values
        .bind(column(rows, |((code, _), _)| code.as_str()))
        .bind(column(rows, |((_, customer_id), _)| customer_id.as_str()))
        .bind(column(rows, |(_, uses)| uses.held))
        .bind(column(rows, |(_, uses)| uses.redeemed));
}

const CREATE_CUSTOMERS: &str = "insert into payments.coupon_customers (code, customer_id, held, redeemed)
    select * from unnest($1::text[], $2::text[], $3::int8[], $4::int8[])
    returning 1";
