//! Every column of every row is compared: whatever somebody changes in one by hand, `verify` and `rebuild` name the row. A column that a migration
//! adds and that neither compares fails here, unless it is named with its reason.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use audit::{
    Check, audit,
    rebuild::{Question, look},
    replay::Kind,
};
use domain::{CouponCode, Currency, Discount, HoldKey, Money, OrderId, RefundId, RoundId, Sku, Timestamp};
use inventory::{Inventory, command::Command as StockCommand};
use orders::{
    Orders,
    command::{Command as OrderCommand, RefundRequest},
    order::{LatePaymentPolicy, Line, OrderTerms, Resource, Shares},
};
use payments::{
    Payments,
    command::{Command as PaymentCommand, CouponCommand, Movement, WalletCommand},
    coupon,
    payment::checkout::Answer,
    report::{Kind as Reported, Report, ReportedMoney},
};
use platform::{clock, migrations};
use providers::{Checkout, OpenCheckout};
use rounds::{
    Rounds,
    command::{Command as RoundCommand, Purchase},
    event::Offer,
};
use runtime::{
    log::{append::save_rows, identity::event_id},
    service::{RowTable, Service},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testbed::servers::{Postgres, SUPERUSER, scratch_dir};
use time::OffsetDateTime;
use uuid::Uuid;

const DATABASE: &str = "holdfast";

/// Tables of the services' schemas that are no rows, each with what is done about it.
const NO_ROWS: &[(&str, &str)] = &[
    ("inbox", "answers: the check `log` asks of each for its events"),
    ("timers", "what is due: the check `timers`"),
    ("effects", "what is called: the check `timers`"),
    ("dead_letters", "what could not be handled: in no event"),
    ("orders.contacts", "where buyers are reached: in no event, so that it can be forgotten"),
    ("payments.sandbox_refunds", "the ledger of an outside system: the check `provider`"),
];

/// Columns that cannot be another by themselves, with who sees to it.
const REFUSED: &[(&str, &str)] = &[
    ("inventory.stock.on_hand", "generated"),
    ("orders.orders.captured_minor", "paid_states_are_paid: it is all that is to pay, or nothing, as the status says"),
];

/// What is planted and means the same as what was there, each with its reason.
const SAME: &[(&str, &str, &str)] =
    &[("payments.payments.page_number", "null", "the first page of a payment from before pages were counted")];

/// Changes a column of some row to another value and notes what it was. The row's name, or null where the database refuses it for every row.
const PLANT: &str = "
create table public.planted (place tid, was text);
create function public.plant(whole text, part text, value text, named text) returns text language plpgsql as $$
declare
    it record;
    there tid;
begin
    for it in execute format('select ctid as place, %1$I::text as was, %4$s as name from %2$s where (%3$s) is distinct from %1$I',
        part, whole, value, named)
    loop
        begin
            execute format('update %s set %I = %s where ctid = $1 returning ctid', whole, part, value)
                into there using it.place;
            insert into public.planted values (there, it.was);
            return it.name;
        exception when others then null;
        end;
    end loop;
    return null;
end
$$;
create function public.mend(whole text, part text, kind text) returns void language plpgsql as $$
begin
    execute format('update %s as it set %I = planted.was::%s from public.planted where it.ctid = planted.place', whole, part, kind);
    delete from public.planted;
end
$$";

/// What one service's batch would do: decide, append, save.
struct Writer<'a, S: Service> {
    connection: &'a mut PgConnection,
    state: S::State,
}

impl<'a, S: Service> Writer<'a, S> {
    fn new(connection: &'a mut PgConnection) -> Self {
        Self { connection, state: S::State::default() }
    }

    async fn ask(&mut self, command: S::Command) -> Result<()> {
        let at = clock::now();
        let advanced = S::advance(&mut self.state, &command, at);
        let advanced = advanced.map_err(|error| anyhow::anyhow!("{command:?}: {error:?}"))?;
        ensure!(!advanced.is_empty(), "{command:?} causes nothing");
        for (_, event) in advanced {
            let id = event_id(Uuid::NAMESPACE_URL, &event.stream, event.version);
            let query = "insert into log.events
                    (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
                values ($1, $2, $3, $4, $5, $6, $7, $7, $8)";
            let query = sqlx::query(query).bind(event.stream).bind(event.version.get()).bind(id).bind(S::NAME);
            let query = query.bind(event.message_type).bind(event.data).bind(Uuid::NAMESPACE_URL);
            query.bind(OffsetDateTime::from(at)).execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    async fn save(self) -> Result<()> {
        save_rows::<S>(self.connection, &self.state).await?;
        Ok(())
    }
}

fn key(number: u128) -> HoldKey {
    HoldKey { order_id: OrderId(Uuid::from_u128(number)), attempt: 1 }
}

fn eur(minor_units: i64) -> Result<Money> {
    Ok(Money { minor_units, currency: Currency::parse("EUR")? })
}

fn later() -> Timestamp {
    clock::now() + Duration::from_secs(3_600)
}

async fn stock(connection: &mut PgConnection) -> Result<()> {
    let mut inventory = Writer::<Inventory>::new(connection);
    for sku in ["mug", "jug"] {
        let (sku, text) = (Sku::parse(sku)?, String::new);
        let register = StockCommand::RegisterProduct { sku: sku.clone(), name: sku.as_str().to_owned(), actor: text() };
        inventory.ask(register).await?;
        inventory.ask(StockCommand::ReceiveStock { sku, quantity: 10, reference: text(), actor: text() }).await?;
    }
    let lines = |sku: &str, pieces| Ok::<_, anyhow::Error>([(Sku::parse(sku)?, pieces)].into());
    inventory.ask(StockCommand::Hold { key: key(1), lines: lines("mug", 2)? }).await?;
    inventory.ask(StockCommand::Commit { key: key(1) }).await?;
    let refund_id = RefundId(Uuid::from_u128(7));
    inventory.ask(StockCommand::Return { key: key(1), refund_id, lines: lines("mug", 1)? }).await?;
    inventory.ask(StockCommand::Hold { key: key(2), lines: lines("jug", 3)? }).await?;
    inventory.save().await
}

async fn shares(connection: &mut PgConnection) -> Result<()> {
    let mut rounds = Writer::<Rounds>::new(connection);
    for round in [1, 2] {
        let round_id = RoundId(Uuid::from_u128(round));
        let (prize, share_price) = (format!("boat {round}"), eur(100)?);
        let offer = Offer { prize, total_shares: 10, share_price, closes_at: later() };
        rounds.ask(RoundCommand::OpenRound { round_id, offer, actor: String::new(), draw: None }).await?;
        let purchase = Purchase { round_id, count: 2, unit_price: eur(100)? };
        rounds.ask(RoundCommand::Hold { key: key(round), purchase }).await?;
    }
    rounds.ask(RoundCommand::Commit { key: key(1) }).await?;
    rounds.save().await
}

/// One order has a coupon and is paid, and a part goes back; another one has shares and waits; and one is cancelled.
async fn orders(connection: &mut PgConnection) -> Result<()> {
    let mut orders = Writer::<Orders>::new(connection);
    let terms = |sku: &str, quantity: i64, shares: Option<Shares>, coupon: Option<CouponCode>| {
        let bought = shares.map_or(0, |shares| shares.count * shares.unit_price.minor_units);
        let line = Line { sku: Sku::parse(sku)?, quantity, unit_price: eur(100)? };
        Ok::<_, anyhow::Error>(OrderTerms {
            customer_id: "ada".to_owned(),
            lines: vec![line],
            shares,
            total: eur(quantity * 100 + bought)?,
            time_to_pay: Duration::from_secs(900),
            late_payment_policy: LatePaymentPolicy::Refund,
            payment_method: String::new(),
            reference: Some(format!("R-{sku}-{quantity}")),
            coupon,
        })
    };
    let place = |number, terms| OrderCommand::PlaceOrder {
        order_id: key(number).order_id,
        terms,
        contact: None,
        actor: String::new(),
    };
    orders.ask(place(1, terms("mug", 2, None, Some(CouponCode::parse("SPRING")?))?)).await?;
    let discount = Discount { amount: eur(20)?, lines: vec![20], shares: 0 };
    let resources = vec![Resource::Stock, Resource::Coupon];
    orders.ask(OrderCommand::ConfirmHolds { key: key(1), resources, discount: Some(discount) }).await?;
    let payment_id = key(1).payment_id();
    orders.ask(OrderCommand::RecordPayment { key: key(1), payment_id, amount: eur(180)? }).await?;
    let back = RefundRequest {
        order_id: key(1).order_id,
        refund_id: RefundId(Uuid::from_u128(7)),
        lines: [(Sku::parse("mug")?, 1)].into(),
        return_shares: false,
        amount: None,
        actor: "ada".to_owned(),
        note: String::new(),
    };
    orders.ask(OrderCommand::RequestRefund(back)).await?;
    let shares = Shares { round_id: RoundId(Uuid::from_u128(2)), count: 2, unit_price: eur(100)? };
    orders.ask(place(2, terms("jug", 3, Some(shares), None)?)).await?;
    orders.ask(place(3, terms("mug", 1, None, Some(CouponCode::parse("AUTUMN")?))?)).await?;
    let (order_id, refund_id) = (key(3).order_id, RefundId(Uuid::from_u128(9)));
    let (actor, note) = ("ada".to_owned(), String::new());
    orders.ask(OrderCommand::CancelOrder { order_id, refund_id, actor, note }).await?;
    orders.save().await
}

/// A payment on a page, with a second charge and a refund; one that was requested; and one of which only a report is known.
async fn payments(connection: &mut PgConnection) -> Result<()> {
    let mut payments = Writer::<Payments>::new(connection);
    for (number, provider, reference) in [(1, "stripe", ""), (2, "sandbox", "pay-2")] {
        let checkout =
            Checkout { provider: provider.to_owned(), reference: reference.to_owned(), url: reference.to_owned() };
        let request = PaymentCommand::RequestPayment {
            key: key(number),
            amount: eur(180)?,
            checkout,
            payment_method: String::new(),
            order_reference: Some(format!("R-{number}")),
            expires_at: later(),
        };
        payments.ask(request).await?;
    }
    let payment_id = key(1).payment_id();
    let page = OpenCheckout { reference: "cs_1".to_owned(), url: "https://pay".to_owned() };
    let answer = Answer::Opened { page, authorised: None };
    payments.ask(PaymentCommand::RecordCheckout { payment_id, answer }).await?;
    for (number, charge) in [(1, "pi_1"), (1, "pi_2"), (9, "pi_9")] {
        let report = Report {
            kind: Reported::PaymentSucceeded,
            provider_event_id: format!("evt_{charge}"),
            provider_reference: charge.to_owned(),
            refund_id: String::new(),
            amount: Some(ReportedMoney { minor_units: 180, currency: "EUR".to_owned() }),
            reason: String::new(),
            occurred_at: Some(clock::now()),
            dispute: None,
            charge_reference: String::new(),
        };
        payments.ask(PaymentCommand::RecordProviderEvent { payment_id: key(number).payment_id(), report }).await?;
    }
    let (order_id, refund_id) = (key(1).order_id, RefundId(Uuid::from_u128(7)));
    payments.ask(PaymentCommand::BeginRefund { payment_id, order_id, refund_id, amount: eur(90)? }).await?;
    coupons(&mut payments).await?;
    wallets(&mut payments).await?;
    payments.save().await
}

async fn coupons(payments: &mut Writer<'_, Payments>) -> Result<()> {
    for (number, code, off) in [(1, "SPRING", coupon::Off::BasisPoints(1_000)), (2, "AUTUMN", coupon::Off::Fixed(50))] {
        let (code, currency) = (CouponCode::parse(code)?, Currency::parse("EUR")?);
        let offer = coupon::Offer {
            off,
            currency,
            discount_max: None,
            spend_min: None,
            valid_from: None,
            valid_until: Some(later()),
            uses_max: Some(30),
            uses_per_customer_max: Some(20),
            skus: vec![],
        };
        let open = CouponCommand::Open { code: code.clone(), offer, actor: String::new() };
        payments.ask(PaymentCommand::Coupon(open)).await?;
        let purchase = coupon::Purchase {
            code,
            customer_id: "ada".to_owned(),
            currency,
            lines: vec![coupon::Item { sku: Sku::parse("mug")?, price: 200 }],
            shares: 0,
            payment_method: String::new(),
        };
        payments.ask(PaymentCommand::Coupon(CouponCommand::Hold { key: key(number), purchase })).await?;
    }
    payments.ask(PaymentCommand::Coupon(CouponCommand::Redeem { key: key(1) })).await
}

async fn wallets(payments: &mut Writer<'_, Payments>) -> Result<()> {
    let (customer_id, text) = ("ada".to_owned(), String::new);
    let movement = Movement { customer_id: customer_id.clone(), amount: eur(500)?, actor: text(), note: text() };
    payments.ask(PaymentCommand::Wallet(WalletCommand::TopUp(movement))).await?;
    let payment_id = key(4).payment_id();
    let hold = WalletCommand::Hold { payment_id, customer_id, amount: eur(100)? };
    payments.ask(PaymentCommand::Wallet(hold)).await?;
    payments.ask(PaymentCommand::Wallet(WalletCommand::Commit { payment_id })).await?;
    let credit = WalletCommand::Credit { payment_id, refund_id: RefundId(Uuid::from_u128(8)), amount: eur(10)? };
    payments.ask(PaymentCommand::Wallet(credit)).await
}

/// Words of a status that are planted.
const WORDS_MAX: usize = 3;

/// A column of a table of rows.
#[derive(Debug)]
struct Column {
    table: &'static RowTable,
    name: String,
    kind: String,
    is_nullable: bool,
    /// Words that a constraint of the table names.
    words: Vec<String>,
}

impl Column {
    fn full_name(&self) -> String {
        format!("{}.{}", self.table.name, self.name)
    }

    /// The name of the row, in SQL.
    fn named(&self) -> String {
        let key: Vec<String> = self.table.key.iter().map(|(column, _)| format!("{column}::text")).collect();
        format!("'{}-' || {}", self.table.category, key.join(" || '.' || "))
    }

    /// Other values, in SQL.
    fn values(&self) -> Vec<String> {
        let Self { name, kind, table, .. } = self;
        let mut values: Vec<String> = match kind.as_str() {
            "int8" | "int4" => {
                vec![format!("coalesce({name}, 0) + 1"), format!("(select max({name}) from {})", table.name)]
            }
            "text" => vec![format!("coalesce({name}, '') || 'x'"), "'USD'".to_owned()],
            "uuid" => vec!["gen_random_uuid()".to_owned()],
            "bool" => vec![format!("not {name}")],
            "timestamptz" => vec![format!("coalesce({name}, now()) + interval '1 second'")],
            "interval" => vec![format!("{name} + interval '1 second'"), format!("{name} + interval '1 day'")],
            "_text" => vec![format!("{name} || 'x'::text")],
            // What no release has written.
            _json => vec!["'{\"x\": 1}'::jsonb".to_owned()],
        };
        values.extend(self.words.iter().take(WORDS_MAX).map(|word| format!("'{word}'")));
        if self.is_nullable {
            values.push("null".to_owned());
        }
        if kind == "jsonb" {
            values.push(format!("(select max({name}::text)::jsonb from {})", table.name));
            values.push(format!("case when {name} is not null then '{{}}'::jsonb end"));
        }
        values
    }
}

/// The columns of a service's rows; and its tables that no row is of.
async fn columns<S: Service>(connection: &mut PgConnection) -> Result<(Vec<Column>, BTreeSet<String>)> {
    let query = "select c.table_schema || '.' || c.table_name, c.column_name::text, c.udt_name::text, c.is_nullable = 'YES',
            coalesce(array(select distinct word[1] from pg_constraint k, regexp_matches(pg_get_constraintdef(k.oid), '''([a-z_]+)''::text', 'g') as word
                where k.contype = 'c' and k.conrelid = (c.table_schema || '.' || c.table_name)::regclass
                    and pg_get_constraintdef(k.oid) ~ ('\\m' || c.column_name || ' = ANY')), '{}')
        from information_schema.columns c where c.table_schema = $1 order by 1, c.ordinal_position";
    type Row = (String, String, String, bool, Vec<String>);
    let rows: Vec<Row> = sqlx::query_as(query).bind(S::NAME).fetch_all(connection).await?;
    let (mut columns, mut others) = (Vec::new(), BTreeSet::new());
    for (table, name, kind, is_nullable, words) in rows {
        match S::TABLES.iter().find(|of| of.name == table) {
            Some(table) => columns.push(Column { table, name, kind, is_nullable, words }),
            None => {
                others.insert(table);
            }
        }
    }
    Ok((columns, others))
}

/// Plants every other value of every column, one after the other. What nobody has seen, and the columns that could not be changed.
async fn plant_all<S: Service>(url: &str, kinds: &[Kind]) -> Result<(Vec<String>, Vec<String>)>
where
    S::State: 'static,
{
    let mut connection = PgConnection::connect(url).await?;
    let (columns, others) = columns::<S>(&mut connection).await?;
    for table in others {
        let is_named = NO_ROWS
            .iter()
            .any(|(name, _)| table == *name || table.split_once('.').is_some_and(|(_, own)| own == *name));
        ensure!(is_named, "{table} is no table of rows, and not named among those that are none");
    }
    ensure!(!columns.is_empty(), "{} has no rows", S::NAME);
    let (mut unseen, mut refused) = (Vec::new(), Vec::new());
    for column in &columns {
        let mut planted = 0;
        for value in column.values() {
            let plant = "select public.plant($1, $2, $3, $4)";
            let plant = sqlx::query_scalar(plant).bind(column.table.name).bind(&column.name).bind(&value);
            let name: Option<String> = plant.bind(column.named()).fetch_one(&mut connection).await?;
            let Some(name) = name else { continue };
            planted += 1;
            let full = column.full_name();
            if !SAME.iter().any(|(same, to, _)| *same == full && *to == value) {
                let by = seen::<S>(url, &name, kinds).await.with_context(|| format!("{full} as {value}"))?;
                unseen.extend(by.into_iter().map(|by| format!("{full} as {value}, of {name}: by {by}")));
            }
            let mend = sqlx::query("select public.mend($1, $2, $3)").bind(column.table.name).bind(&column.name);
            mend.bind(&column.kind).execute(&mut connection).await?;
        }
        if planted == 0 {
            refused.push(column.full_name());
        }
    }
    Ok((unseen, refused))
}

/// Who does not name this row, or that the rows of its service cannot be read.
async fn seen<S: Service>(url: &str, name: &str, kinds: &[Kind]) -> Result<Vec<String>>
where
    S::State: 'static,
{
    let mut blind = Vec::new();
    let told = audit(url).await?.findings;
    if !told.iter().any(|found| found.check == Check::Rows && [name, S::NAME].contains(&found.subject.as_str())) {
        blind.push(format!("verify, which says {told:?}"));
    }
    let mut is_named = false;
    for kind in kinds {
        let question = Question { kind: *kind, max_rate: None, stall_max: Duration::from_secs(30) };
        is_named |= match look::<S>(url, question, |_progress| ()).await {
            Ok(found) => found.differences.iter().any(|difference| difference.name == name),
            Err(error) => format!("{error:#}").contains("cannot be read"),
        };
    }
    if !is_named {
        blind.push("rebuild".to_owned());
    }
    Ok(blind)
}

#[tokio::test]
async fn whatever_is_changed_in_a_column_of_a_row_is_seen() -> Result<()> {
    let dir = scratch_dir("holdfast-columns-")?;
    let postgres = Postgres::start(dir.path()).await?;
    let url = postgres.url(SUPERUSER, DATABASE);
    migrations::migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await?;
    let mut connection = PgConnection::connect(&url).await?;
    stock(&mut connection).await?;
    shares(&mut connection).await?;
    orders(&mut connection).await?;
    payments(&mut connection).await?;
    sqlx::raw_sql(AssertSqlSafe(PLANT.to_owned())).execute(&mut connection).await?;
    // Nobody has been asked for any of this, which is told; but the rows are what the events say.
    let told = audit(&url).await?.findings;
    ensure!(!told.iter().any(|found| found.check == Check::Rows), "{told:#?}");

    let mut all = (Vec::new(), Vec::new());
    for (unseen, refused) in [
        plant_all::<Orders>(&url, &[Kind::Orders]).await?,
        plant_all::<Inventory>(&url, &[Kind::Stock]).await?,
        plant_all::<Rounds>(&url, &[Kind::Shares]).await?,
        plant_all::<Payments>(&url, &[Kind::Payments, Kind::Coupons, Kind::Wallets]).await?,
    ] {
        all.0.extend(unseen);
        all.1.extend(refused);
    }
    assert!(all.0.is_empty(), "seen by nobody:\n{}", all.0.join("\n"));
    all.1.sort();
    let known: Vec<&str> = REFUSED.iter().map(|(column, _)| *column).collect();
    assert_eq!(all.1, known, "of these no row could be given another value");
    let told = audit(&url).await?.findings;
    ensure!(!told.iter().any(|found| found.check == Check::Rows), "all is as it was: {told:#?}");
    // A row that is not there is no column: here it is of a table that only follows from others.
    sqlx::raw_sql("delete from payments.charges where reference = 'pi_1'").execute(&mut connection).await?;
    let name = format!("payment-{}", key(1).payment_id());
    assert!(
        seen::<Payments>(&url, &name, &[Kind::Payments]).await?.is_empty(),
        "a charge that lacks is seen by nobody"
    );
    Ok(())
}
