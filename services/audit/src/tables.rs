//! What the tables say, against the ledger and against each other: a fault in a service's own rules makes its fold and its
//! rows agree on what is wrong, and shows here.

use anyhow::{Context, Result};
use domain::{Decider, GlobalPosition, HoldKey, OrderId, PaymentId, RoundId, Sku, StreamVersion, written};
use futures::{TryStreamExt, future};
use runtime::log::event_store::StoredEvent;
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    causes::answers::{Answer, Answered, Answers},
    fold::Folds,
    ledger::{Ledger, money::payment_name, orders::Phase, shares_name, stock_name, use_name},
    report::{Check, Findings},
};

pub(super) mod provider;
mod wallets;

/// The rows that the ledger is compared with: those that events have made, of orders in memory. Of those that were let go the ledger has agreed
/// with the fold, and the fold with the tables.
#[derive(Debug)]
pub(super) struct Asked {
    orders: Vec<Uuid>,
    stock: Vec<HoldKey>,
    shares: Vec<HoldKey>,
    uses: Vec<HoldKey>,
    payments: Vec<Uuid>,
    funds: Vec<Uuid>,
}

impl Asked {
    pub(super) fn of(folds: &Folds) -> Self {
        let Folds { orders, inventory, rounds, payments } = folds;
        Self {
            orders: orders.state.orders.iter().map(|(id, _)| id.0).collect(),
            stock: inventory.state.holds.iter().map(|(key, _)| *key).collect(),
            shares: rounds.state.holds.iter().map(|(key, _)| *key).collect(),
            uses: payments.state.uses.iter().map(|(key, _)| *key).collect(),
            payments: payments.state.payments.iter().map(|(id, _)| id.0).collect(),
            funds: payments.state.funds.iter().map(|(id, _)| id.0).collect(),
        }
    }
}

/// Compares every table whose figures the ledger knows.
pub(super) async fn check(
    connection: &mut PgConnection,
    ledger: &Ledger,
    asked: Asked,
    findings: &mut Findings,
) -> Result<()> {
    let Asked { orders: order_ids, stock: stock_keys, shares, uses, payments: payment_ids, funds } = asked;
    stock(connection, ledger, findings).await.context("reading inventory.stock")?;
    stock_holds(connection, ledger, stock_keys, findings).await.context("reading inventory.holds")?;
    rounds(connection, ledger, findings).await.context("reading rounds.rounds")?;
    share_holds(connection, ledger, shares, findings).await.context("reading rounds.holds")?;
    coupons(connection, ledger, findings).await.context("reading payments.coupons")?;
    coupon_uses(connection, ledger, uses, findings).await.context("reading payments.coupon_uses")?;
    wallets::wallets(connection, ledger, findings).await.context("reading payments.wallets")?;
    wallets::funds(connection, ledger, funds, findings).await.context("reading payments.funds")?;
    payments(connection, ledger, payment_ids, findings).await.context("reading payments.payments")?;
    orders(connection, ledger, order_ids, findings).await.context("reading orders.orders")?;
    timers(connection, findings).await.context("reading the timers")
}

/// Figures by name: as a table has them, and as the ledger does.
struct Figures {
    check: Check,
    subject: String,
    /// The currency of what is money.
    told: Vec<(&'static str, i128, i128, Option<String>)>,
}

impl Figures {
    const fn new(check: Check, subject: String) -> Self {
        Self { check, subject, told: Vec::new() }
    }

    fn figure(mut self, name: &'static str, row: i64, ledger: i128) -> Self {
        self.told.push((name, i128::from(row), ledger, None));
        self
    }

    /// A figure that is money, in minor units.
    fn money(mut self, name: &'static str, currency: &str, row: i64, ledger: i128) -> Self {
        self.told.push((name, i128::from(row), ledger, Some(currency.to_owned())));
        self
    }

    fn tell(self, findings: &mut Findings) {
        for (name, row, ledger, currency) in self.told {
            if row != ledger {
                let text = |figure: i128| match &currency {
                    Some(currency) => written(figure, currency),
                    None => figure.to_string(),
                };
                let (row, ledger) = (text(row), text(ledger));
                let what = format!("{name} is {row} in the table and {ledger} by the events themselves");
                findings.add(self.check, &self.subject, what, None);
            }
        }
    }
}

/// Gives each row to `look`, one at a time: tables may be large.
async fn each(
    connection: &mut PgConnection,
    query: &'static str,
    mut look: impl FnMut(PgRow) -> Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    sqlx::query(query).fetch(connection).try_for_each(|row| future::ready(look(row))).await
}

/// Rows that are asked for at once.
const KEYS_MAX: usize = 5_000;

/// Gives the rows of these holds to `look`, one at a time.
async fn each_hold(
    connection: &mut PgConnection,
    query: &'static str,
    keys: Vec<HoldKey>,
    mut look: impl FnMut(HoldKey, &str),
) -> Result<(), sqlx::Error> {
    for keys in keys.chunks(KEYS_MAX) {
        let (orders, attempts): (Vec<Uuid>, Vec<i32>) = keys.iter().map(|key| (key.order_id.0, key.attempt)).unzip();
        let mut rows = sqlx::query(query).bind(orders).bind(attempts).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            look(key(&row)?, row.try_get("status")?);
        }
    }
    Ok(())
}

/// Gives the rows with these ids to `look`, one at a time.
async fn each_of(
    connection: &mut PgConnection,
    query: &'static str,
    ids: Vec<Uuid>,
    mut look: impl FnMut(PgRow) -> Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    for ids in ids.chunks(KEYS_MAX) {
        let mut rows = sqlx::query(query).bind(ids).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            look(row)?;
        }
    }
    Ok(())
}

/// The status of holds by their keys: one probe after the other, for of its own accord the planner may read the table through.
macro_rules! holds {
    ($table:literal) => {
        concat!(
            "select found.* from unnest($1::uuid[], $2::int4[]) as k (order_id, attempt) cross join lateral (
                 select order_id, attempt, status from ",
            $table,
            " as h where h.order_id = k.order_id and h.attempt = k.attempt) as found"
        )
    };
}

async fn stock(connection: &mut PgConnection, ledger: &Ledger, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let query = "select s.sku, s.received, s.adjusted, s.committed, s.returned, s.on_hand, s.held,
            coalesce(h.held, 0)::int8 as held_by_holds
        from inventory.stock s left join (
            select line.key as sku, sum(line.value::int8) as held
            from inventory.holds, jsonb_each_text(lines) as line where status = 'held' group by line.key
        ) h on h.sku = s.sku";
    each(connection, query, |row| {
        let sku: String = row.try_get("sku")?;
        // Without one, the fold has told of it already.
        let book = Sku::parse(&sku).ok().and_then(|sku| ledger.stock.products.get(&sku)).copied().unwrap_or_default();
        let held: i64 = row.try_get("held")?;
        Figures::new(Check::Stock, format!("product-{sku}"))
            .figure("received", row.try_get("received")?, book.received)
            .figure("adjusted", row.try_get("adjusted")?, book.adjusted)
            .figure("committed", row.try_get("committed")?, book.committed)
            .figure("returned", row.try_get("returned")?, book.returned)
            .figure("on hand", row.try_get("on_hand")?, book.on_hand())
            .figure("held", held, book.held)
            .figure("held by all open holds", row.try_get("held_by_holds")?, book.held)
            .tell(findings);
        Ok(())
    })
    .await
}

fn key(row: &PgRow) -> Result<HoldKey, sqlx::Error> {
    Ok(HoldKey { order_id: OrderId(row.try_get("order_id")?), attempt: row.try_get("attempt")? })
}

/// A hold's status as its table has it, against the ledger's.
fn hold_status(subject: String, row: &str, ledger: Option<domain::hold::Status>, findings: &mut Findings) {
    let ledger = ledger.map_or("unknown", domain::hold::Status::as_str);
    if row != ledger {
        let what = format!("it is {row} in the table and {ledger} by the events themselves");
        findings.add(Check::Holds, subject, what, None);
    }
}

async fn stock_holds(
    connection: &mut PgConnection,
    ledger: &Ledger,
    keys: Vec<HoldKey>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    each_hold(connection, holds!("inventory.holds"), keys, |key, status| {
        hold_status(stock_name(key), status, ledger.stock.standing(key), findings);
    })
    .await
}

async fn rounds(connection: &mut PgConnection, ledger: &Ledger, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let query = "select r.round_id, r.status, r.total_shares, r.sold, r.held, r.refunding,
            coalesce(sum(h.count) filter (where h.status = 'held'), 0)::int8 as held_by_holds,
            coalesce(sum(h.count) filter (where h.status = 'committed' and h.returned_by is null), 0)::int8 as sold_by_holds
        from rounds.rounds r left join rounds.holds h using (round_id) group by r.round_id";
    each(connection, query, |row| {
        let round_id = RoundId(row.try_get("round_id")?);
        let book = ledger.shares.rounds.get(&round_id).copied().unwrap_or_default();
        let (subject, status, told) =
            (format!("round-{round_id}"), row.try_get::<String, _>("status")?, book.standing.as_str());
        if status != told {
            let what = format!("it is {status} in the table and {told} by the events themselves");
            findings.add(Check::Shares, &subject, what, None);
        }
        Figures::new(Check::Shares, subject)
            .figure("the total", row.try_get("total_shares")?, book.total)
            .figure("sold", row.try_get("sold")?, book.sold)
            .figure("sold by all holds", row.try_get("sold_by_holds")?, book.sold)
            .figure("held", row.try_get("held")?, book.held)
            .figure("held by all open holds", row.try_get("held_by_holds")?, book.held)
            .figure("named to be refunded", row.try_get("refunding")?, book.named)
            .tell(findings);
        Ok(())
    })
    .await
}

async fn share_holds(
    connection: &mut PgConnection,
    ledger: &Ledger,
    keys: Vec<HoldKey>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    each_hold(connection, holds!("rounds.holds"), keys, |key, status| {
        hold_status(shares_name(key), status, ledger.shares.standing(key), findings);
    })
    .await
}

async fn coupons(connection: &mut PgConnection, ledger: &Ledger, findings: &mut Findings) -> Result<(), sqlx::Error> {
    let query = "select c.code, c.status, c.held, c.redeemed,
            (select count(*) from payments.coupon_uses u where u.code = c.code and u.status = 'held') as held_by_uses,
            (select count(*) from payments.coupon_uses u where u.code = c.code and u.status = 'committed')
                as redeemed_by_uses,
            (select coalesce(sum(k.held), 0)::int8 from payments.coupon_customers k where k.code = c.code)
                as held_by_customers,
            (select coalesce(sum(k.redeemed), 0)::int8 from payments.coupon_customers k where k.code = c.code)
                as redeemed_by_customers
        from payments.coupons c";
    each(connection, query, |row| {
        let code: String = row.try_get("code")?;
        let book = ledger.coupons.coupons.get(&code).cloned().unwrap_or_default();
        let (status, told) = (row.try_get::<String, _>("status")?, if book.is_closed { "closed" } else { "open" });
        if status != told {
            let what = format!("it is {status} in the table and {told} by the events themselves");
            findings.add(Check::Coupons, format!("coupon-{code}"), what, None);
        }
        Figures::new(Check::Coupons, format!("coupon-{code}"))
            .figure("held", row.try_get("held")?, book.uses.held)
            .figure("held by all open uses", row.try_get("held_by_uses")?, book.uses.held)
            .figure("held by all customers", row.try_get("held_by_customers")?, book.uses.held)
            .figure("redeemed", row.try_get("redeemed")?, book.uses.redeemed)
            .figure("redeemed by all uses", row.try_get("redeemed_by_uses")?, book.uses.redeemed)
            .figure("redeemed by all customers", row.try_get("redeemed_by_customers")?, book.uses.redeemed)
            .tell(findings);
        Ok(())
    })
    .await
}

async fn coupon_uses(
    connection: &mut PgConnection,
    ledger: &Ledger,
    keys: Vec<HoldKey>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    each_hold(connection, holds!("payments.coupon_uses"), keys, |key, status| {
        hold_status(use_name(key), status, ledger.coupons.standing(key), findings);
    })
    .await
}

async fn payments(
    connection: &mut PgConnection,
    ledger: &Ledger,
    ids: Vec<Uuid>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let query = "select payment_id, captured_minor, refunding_minor, refunded_minor, charged_back_minor, coalesce(currency, '') as currency
        from payments.payments where payment_id = any($1)";
    each_of(connection, query, ids, |row| {
        let currency: &str = row.try_get("currency")?;
        let payment_id = PaymentId(row.try_get("payment_id")?);
        let book = ledger.payments.payments.get(&payment_id);
        let figure = |of: Option<i128>| of.unwrap_or(0);
        Figures::new(Check::Money, payment_name(payment_id))
            .money("captured", currency, row.try_get("captured_minor")?, figure(book.map(|book| book.captured_minor())))
            .money(
                "promised to refunds",
                currency,
                row.try_get("refunding_minor")?,
                figure(book.map(|book| book.promised)),
            )
            .money("refunded", currency, row.try_get("refunded_minor")?, figure(book.map(|book| book.refunded)))
            .money(
                "charged back",
                currency,
                row.try_get("charged_back_minor")?,
                ledger.payments.disputes.charged_back(payment_id),
            )
            .tell(findings);
        Ok(())
    })
    .await
}

async fn orders(
    connection: &mut PgConnection,
    ledger: &Ledger,
    ids: Vec<Uuid>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let query = "select order_id, attempt, status, released, captured_minor, refunded_minor, currency
        from orders.orders where order_id = any($1)";
    each_of(connection, query, ids, |row| {
        let order_id = OrderId(row.try_get("order_id")?);
        let Some(book) = ledger.orders.orders.get(&order_id) else { return Ok(()) };
        let (subject, status) = (format!("order-{order_id}"), row.try_get::<String, _>("status")?);
        if !book.phase.fits(&status)
            || row.try_get::<bool, _>("released")? != (book.released && book.phase == Phase::Closed)
        {
            let what = format!("it is {status} in the table, and {:?} by the events themselves", book.phase);
            findings.add(Check::Orders, &subject, what, Some(book.since.position));
        }
        let payment = book.paid_by.and_then(|payment_id| ledger.payments.payments.get(&payment_id));
        let (captured, refunded) = payment.map_or((0, 0), |payment| (payment.captured_minor(), payment.given_back));
        let currency: &str = row.try_get("currency")?;
        Figures::new(Check::Orders, subject)
            .figure("the attempt", i64::from(row.try_get::<i32, _>("attempt")?), book.attempt.into())
            .money("captured", currency, row.try_get("captured_minor")?, captured)
            .money("refunded", currency, row.try_get("refunded_minor")?, refunded)
            .tell(findings);
        Ok(())
    })
    .await
}

/// Of whatever is not over it is known what ends it: an order or a round has a timer, a refund that was sent has its call, and a page of which nothing
/// is heard is looked at by a timer. Of one whose payment's time is over, or whose money is set aside, nothing is asked any more.
async fn timers(connection: &mut PgConnection, findings: &mut Findings) -> Result<(), sqlx::Error> {
    // A timer that failed is put off.
    let query = "select 'order-' || o.order_id as stream, 'timer' as wants,
            exists (select from orders.timers t where t.stream = 'order-' || o.order_id and t.due_at >= o.expires_at) as has
        from orders.orders o
        where o.status in ('pending', 'reserved') and o.expires_at is not null
        union all
        select 'round-' || r.round_id, 'timer', exists (select from rounds.timers t where t.stream = 'round-' || r.round_id)
        from rounds.rounds r
        where r.status = 'open' or r.status in ('closed', 'cancelled') and r.sold > r.refunding
        union all
        select 'refund-' || r.refund_id, 'outside call', exists (select from payments.effects e where e.key = r.key)
        from payments.refunds r
        where r.status = 'refunding'
        union all
        select 'payment-' || p.payment_id, 'outside call', exists (select from payments.effects e
            where e.key = p.payment_id || case p.page when 'opening' then '.open' else '.close' end)
        from payments.payments p
        where p.page in ('opening', 'closing')
        union all
        select 'payment-' || p.payment_id, 'timer', exists (select from payments.timers t
            where t.stream = 'payment-' || p.payment_id and t.due_at >= p.page_look_at)
        from payments.payments p
        where p.page = 'open' and p.page_look_at is not null and p.status = 'requested'
            and p.expires_at > now() + interval '10 seconds' and p.authorisations is null";
    let mut checked = 0;
    each(connection, query, |row| {
        checked += 1;
        if !row.try_get::<bool, _>("has")? {
            let what = format!("it has no {}, so it would never end by itself", row.try_get::<String, _>("wants")?);
            findings.add(Check::Timers, row.try_get::<String, _>("stream")?, what, None);
        }
        Ok(())
    })
    .await?;
    findings.checked(Check::Timers, checked);
    Ok(())
}

/// How many messages no service could handle: those that wait for an operator, and those that are settled, redriven or set aside.
pub(super) async fn dead_letters(connection: &mut PgConnection) -> Result<(u64, u64)> {
    let query = "select count(*) filter (where settled_at is null), count(settled_at)
        from (select settled_at from orders.dead_letters union all select settled_at from inventory.dead_letters
            union all select settled_at from rounds.dead_letters union all select settled_at from payments.dead_letters) as letters";
    let counted = sqlx::query_as(query).fetch_one(connection).await;
    let (open, settled): (i64, i64) = counted.context("counting the dead letters")?;
    Ok((open.unsigned_abs(), settled.unsigned_abs()))
}

/// What is read of an answer.
macro_rules! answers {
    ($schema:literal, $of:literal) => {
        concat!("select command_id, body_hash, reply, handled_at from ", $schema, ".inbox", $of)
    };
}

/// Those to what caused events behind a position.
macro_rules! since {
    ($schema:literal) => {
        answers!(
            $schema,
            " where command_id in
                (select causation_id from log.events where position > $1 union all select unnest($2::uuid[]))"
        )
    };
}

fn answer(row: &PgRow) -> Result<Answer, sqlx::Error> {
    let at: OffsetDateTime = row.try_get(3)?;
    Ok(Answer::read(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, at.into()))
}

/// The commands that each service has answered.
pub(super) async fn answered(connection: &mut PgConnection) -> Result<Answered> {
    let mut answered = Answered::new();
    for (service, query) in [
        (orders::Orders::NAME, answers!("orders", "")),
        (inventory::Inventory::NAME, answers!("inventory", "")),
        (rounds::Rounds::NAME, answers!("rounds", "")),
        (<payments::Payments>::NAME, answers!("payments", "")),
    ] {
        let mut answers = Vec::new();
        let keep = |row: PgRow| {
            answers.push(answer(&row)?);
            Ok(())
        };
        each(connection, query, keep).await.with_context(|| format!("reading the inbox of {service}"))?;
        answered.insert(service, Answers::of(answers));
    }
    Ok(answered)
}

/// Those of the commands that may have caused what stands behind a position, and what came late before it.
pub(super) async fn answered_since(
    connection: &mut PgConnection,
    after: GlobalPosition,
    late: &[StoredEvent],
) -> Result<Answered> {
    let mut answered = Answered::new();
    let late: Vec<Uuid> = late.iter().map(|event| event.causation_id).collect();
    for (service, query) in [
        (orders::Orders::NAME, since!("orders")),
        (inventory::Inventory::NAME, since!("inventory")),
        (rounds::Rounds::NAME, since!("rounds")),
        (<payments::Payments>::NAME, since!("payments")),
    ] {
        let rows = sqlx::query(query).bind(after.get()).bind(&late).fetch_all(&mut *connection).await;
        let answers = rows.and_then(|rows| rows.iter().map(answer).collect());
        answered.insert(service, Answers::of(answers.with_context(|| format!("reading the inbox of {service}"))?));
    }
    Ok(answered)
}

/// Names the events at these positions.
pub(super) async fn events_at(
    connection: &mut PgConnection,
    positions: Vec<GlobalPosition>,
) -> Result<Vec<super::report::EventName>> {
    let query = "select position, stream, version, type, event_id from log.events where position = any($1)";
    let positions: Vec<i64> = positions.into_iter().map(GlobalPosition::get).collect();
    let rows: Vec<(i64, String, i64, String, Uuid)> =
        sqlx::query_as(query).bind(positions).fetch_all(connection).await.context("naming events")?;
    let name = |(position, stream, version, message_type, event_id)| super::report::EventName {
        position: GlobalPosition::new(position),
        stream,
        version: StreamVersion::new(version),
        message_type,
        event_id,
    };
    Ok(rows.into_iter().map(name).collect())
}
