//! The whole audit on a real Postgres: what was planted is found, what was mended is not.

use anyhow::{Context, Result};
use audit::{Check, Finding, Report, Settings, audit, audit_telling};
use domain::{Currency, HoldKey, OrderId, StreamVersion, Timestamp, WalletId};
use platform::{clock, migrations};
use proto::{
    Message, Name,
    common::v1::{
        Accepted, CommandRejected, CommandReply, Money, ProductQuantity, Rejection, Resource, command_reply::Outcome,
    },
    inventory::v1 as inventory_wire,
    orders::v1 as orders_wire,
    payments::v1 as payments_wire,
    well_known,
};
use runtime::{
    log::{append::save_rows, identity::event_id},
    service::{Service, refusal_stream},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testbed::servers::{Postgres, SUPERUSER, scratch_dir};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

const DATABASE: &str = "holdfast";

/// What one service's batch would do: fold, append, save.
struct Writer<S: Service> {
    state: S::State,
}

impl<S: Service> Writer<S> {
    fn new() -> Self {
        Self { state: S::State::default() }
    }

    /// Writes what a command causes, and that the command is answered. The event's id.
    async fn asked<M: Message + Name>(&mut self, connection: &mut PgConnection, message: &M) -> Result<Uuid> {
        let command_id = Uuid::new_v5(&Uuid::NAMESPACE_URL, &message.encode_to_vec());
        let accepted = Accepted { events: vec![M::full_name()], ..Default::default() };
        let at = clock::now();
        answer::<S>(connection, command_id, Outcome::Accepted(accepted), at).await?;
        self.write_at(connection, command_id, message, at).await
    }

    /// Writes what this causes. The event's id.
    async fn write<M: Message + Name>(
        &mut self,
        connection: &mut PgConnection,
        cause: Uuid,
        message: &M,
    ) -> Result<Uuid> {
        self.write_at(connection, cause, message, clock::now()).await
    }

    async fn write_at<M: Message + Name>(
        &mut self,
        connection: &mut PgConnection,
        cause: Uuid,
        message: &M,
        at: Timestamp,
    ) -> Result<Uuid> {
        let data = message.encode_to_vec();
        let event = S::decode_event(&M::full_name(), &data)?;
        S::evolve(&mut self.state, &event);
        let place = S::place(&self.state, &event);
        append::<S, M>(connection, cause, place, data, at).await
    }

    /// Saves the rows. Each of them is told by name as it is among all.
    async fn save(self, connection: &mut PgConnection) -> Result<()> {
        for (name, row) in S::rows(&self.state) {
            assert!(serde_json::to_value(&row)?.is_object(), "{name}");
            assert_eq!(S::row(&self.state, &name), Some(row), "{name}");
        }
        save_rows::<S>(connection, &self.state).await?;
        Ok(())
    }
}

/// Writes an event at this place. Its id.
async fn append<S: Service, M: Name>(
    connection: &mut PgConnection,
    cause: Uuid,
    (stream, version): (String, StreamVersion),
    data: Vec<u8>,
    at: Timestamp,
) -> Result<Uuid> {
    let id = event_id(cause, &stream, version);
    sqlx::query(
        "insert into log.events
             (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(stream)
    .bind(version.get())
    .bind(id)
    .bind(S::NAME)
    .bind(M::full_name())
    .bind(data)
    .bind(Uuid::NAMESPACE_URL)
    .bind(cause)
    .bind(OffsetDateTime::from(at))
    .execute(connection)
    .await?;
    Ok(id)
}

/// Keeps what a command is answered.
async fn answer<S: Service>(
    connection: &mut PgConnection,
    command_id: Uuid,
    outcome: Outcome,
    at: Timestamp,
) -> Result<()> {
    let reply = CommandReply { command_id: command_id.to_string(), outcome: Some(outcome) };
    let answered = format!("insert into {}.inbox values ($1, 'hash', $2, $3)", S::NAME);
    let answered = sqlx::query(AssertSqlSafe(answered)).bind(command_id).bind(reply.encode_to_vec());
    answered.bind(OffsetDateTime::from(at)).execute(connection).await?;
    Ok(())
}

/// A command is refused.
async fn refuse<S: Service>(connection: &mut PgConnection) -> Result<()> {
    let command_id = Uuid::from_u128(9);
    let rejection = Rejection { code: "ORDER_CLOSED".to_owned(), ..Default::default() };
    let refused = CommandRejected {
        command_id: command_id.to_string(),
        rejection: Some(rejection.clone()),
        ..Default::default()
    };
    let at = clock::now();
    answer::<S>(connection, command_id, Outcome::Rejected(rejection), at).await?;
    let place = (refusal_stream(S::NAME, &refused.command_id), StreamVersion::FIRST);
    append::<S, CommandRejected>(connection, command_id, place, refused.encode_to_vec(), at).await?;
    Ok(())
}

fn eur(minor_units: i64) -> Option<Money> {
    Some(Money { minor_units, currency: "EUR".to_owned() })
}

fn mugs(quantity: i64) -> Vec<ProductQuantity> {
    vec![ProductQuantity { sku: "mug".to_owned(), quantity }]
}

/// An hour from now.
fn later() -> Option<well_known::Timestamp> {
    Some((clock::now() + std::time::Duration::from_secs(3_600)).to_wire())
}

const PAID: Uuid = Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111);
const OPEN: Uuid = Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222);

fn mugs_held(order_id: &str, quantity: i64) -> inventory_wire::StockHeld {
    inventory_wire::StockHeld { order_id: order_id.to_owned(), attempt: 1, lines: mugs(quantity) }
}

async fn stock(connection: &mut PgConnection, inventory: &mut Writer<inventory::Inventory>) -> Result<()> {
    let (sku, name) = ("mug".to_owned(), "Mug, blue".to_owned());
    inventory
        .asked(connection, &inventory_wire::ProductRegistered { sku: sku.clone(), name, actor: String::new() })
        .await?;
    let received =
        inventory_wire::StockReceived { sku, quantity: 10, reference: "first".to_owned(), actor: String::new() };
    inventory.asked(connection, &received).await?;
    Ok(())
}

fn topped_up() -> Result<payments_wire::WalletToppedUp> {
    Ok(payments_wire::WalletToppedUp {
        wallet_id: WalletId::of("ann", Currency::parse("EUR")?).to_string(),
        customer_id: "ann".to_owned(),
        amount: eur(500),
        ..Default::default()
    })
}

fn placed(order_id: &str, quantity: i64) -> orders_wire::OrderPlaced {
    orders_wire::OrderPlaced {
        order_id: order_id.to_owned(),
        customer_id: "ann".to_owned(),
        lines: vec![orders_wire::OrderLine { sku: "mug".to_owned(), quantity, unit_price: eur(100) }],
        total: eur(100 * quantity),
        placed_at: Some(clock::now().to_wire()),
        expires_at: later(),
        attempt: 1,
        ..Default::default()
    }
}

/// Ten mugs; one order has paid for two, another one holds three. A wallet has 5.00.
async fn tell(connection: &mut PgConnection) -> Result<()> {
    let mut orders = Writer::<orders::Orders>::new();
    let mut inventory = Writer::<inventory::Inventory>::new();
    let mut payments = Writer::<payments::Payments>::new();
    stock(connection, &mut inventory).await?;
    for (id, quantity) in [(PAID, 2), (OPEN, 3)] {
        let (order_id, total) = (id.to_string(), eur(100 * quantity));
        let placed = placed(&order_id, quantity);
        let cause = orders.asked(connection, &placed).await?;
        let cause = inventory.write(connection, cause, &mugs_held(&order_id, quantity)).await?;
        let held = orders_wire::OrderReserved {
            order_id: order_id.clone(),
            attempt: 1,
            amount: total.clone(),
            expires_at: placed.expires_at,
            ..Default::default()
        };
        let cause = orders.write(connection, cause, &held).await?;
        let payment_id = HoldKey { order_id: OrderId(id), attempt: 1 }.payment_id().to_string();
        let asked = payments_wire::PaymentRequested {
            payment_id: payment_id.clone(),
            order_id: order_id.clone(),
            attempt: 1,
            amount: total.clone(),
            provider: "sandbox".to_owned(),
            expires_at: placed.expires_at,
            ..Default::default()
        };
        payments.write(connection, cause, &asked).await?;
        if id == OPEN {
            continue;
        }
        let came = payments_wire::PaymentSucceeded {
            payment_id: payment_id.clone(),
            order_id: order_id.clone(),
            attempt: 1,
            amount: total.clone(),
            provider_event_id: "e".to_owned(),
            ..Default::default()
        };
        let cause = payments.asked(connection, &came).await?;
        let holds = vec![Resource::Stock.into()];
        let paid = orders_wire::OrderPaid {
            order_id: order_id.clone(),
            attempt: 1,
            payment_id,
            amount: total,
            holds,
            ..Default::default()
        };
        let cause = orders.write(connection, cause, &paid).await?;
        let sold = inventory_wire::StockCommitted { order_id, attempt: 1, lines: mugs(quantity) };
        inventory.write(connection, cause, &sold).await?;
    }
    payments.asked(connection, &topped_up()?).await?;
    refuse::<orders::Orders>(connection).await?;
    orders.save(connection).await?;
    inventory.save(connection).await?;
    payments.save(connection).await?;
    let timer = "insert into orders.timers select 'order-' || order_id, expires_at from orders.orders where status = 'reserved'";
    sqlx::query(timer).execute(connection).await?;
    Ok(())
}

/// A fault: what it is in words, how it is planted, how it is mended, and what is said of it.
struct Fault {
    what: &'static str,
    plant: &'static str,
    mend: &'static str,
    check: Check,
    subject: &'static str,
    words: &'static str,
    /// Short name of the event that the finding names.
    event: Option<&'static str>,
}

const FAULTS: &[Fault] = &[
    Fault {
        what: "5 pieces added to a product's row by hand",
        plant: "update inventory.stock set received = received + 5 where sku = 'mug'",
        mend: "update inventory.stock set received = received - 5 where sku = 'mug'",
        check: Check::Rows,
        subject: "product-mug",
        words: "received: the row says 15, its events say 10",
        event: Some("StockHeld"),
    },
    Fault {
        what: "the same: what the books say of it",
        plant: "update inventory.stock set received = received + 5 where sku = 'mug'",
        mend: "update inventory.stock set received = received - 5 where sku = 'mug'",
        check: Check::Stock,
        subject: "product-mug",
        words: "on hand is 13 in the table and 8 by the events themselves",
        event: None,
    },
    Fault {
        what: "a hold set back from `committed` to `held`",
        plant: "update inventory.holds set status = 'held', version = 1 where status = 'committed'",
        mend: "update inventory.holds set status = 'committed', version = 2 where version = 1 and order_id::text like '1%'",
        check: Check::Rows,
        subject: "stock-11111111-1111-4111-8111-111111111111.1",
        words: "status: the row says held, its events say committed; version: the row says 1, its events say 2 (it misses",
        event: Some("StockCommitted"),
    },
    Fault {
        what: "a payment's row deleted",
        plant: "create table keep as select * from payments.payments where status = 'requested';
            delete from payments.payments where status = 'requested'",
        mend: "insert into payments.payments select * from keep; drop table keep",
        check: Check::Rows,
        subject: "payment-",
        words: "there is no row",
        event: Some("PaymentRequested"),
    },
    Fault {
        what: "a provider's report of a payment that never was",
        plant: "insert into payments.reports (payment_id, provider_event_id, kind, standing, settled_by, provider_reference, refund_id, reason)
            values (gen_random_uuid(), 'e', 'payment_failed', 'noted', '', '', '', '')",
        mend: "delete from payments.reports",
        check: Check::Rows,
        subject: "payment-",
        words: "its tables have parts of it, and no row, and no event made it",
        event: None,
    },
    Fault {
        what: "a hold of an order that never was",
        plant: "insert into inventory.holds values (gen_random_uuid(), 1, 'released', '{}', '{}', 1)",
        mend: "delete from inventory.holds where lines = '{}'",
        check: Check::Rows,
        subject: "stock-",
        words: "no event made it",
        event: None,
    },
    Fault {
        what: "a timer deleted: the order would never expire",
        plant: "create table keep as select * from orders.timers; delete from orders.timers",
        mend: "insert into orders.timers select * from keep; drop table keep",
        check: Check::Timers,
        subject: "order-22222222-2222-4222-8222-222222222222",
        words: "no timer",
        event: None,
    },
    Fault {
        what: "a refund that is under way without a call to the provider",
        plant: "insert into payments.refunds
                (payment_id, refund_id, status, amount_minor, currency, send_count, key, refunded_once, provider_reference, reason)
            select payment_id, '33333333-3333-4333-8333-333333333333', 'refunding', 1, 'EUR', 1, 'k', false, '', ''
            from payments.payments where status = 'succeeded'",
        mend: "delete from payments.refunds",
        check: Check::Timers,
        subject: "refund-33333333-3333-4333-8333-333333333333",
        words: "no outside call",
        event: None,
    },
    Fault {
        what: "a status that no row may have",
        plant: "alter table inventory.holds drop constraint holds_status_check;
            update inventory.holds set status = 'lost' where status = 'held'",
        mend: "update inventory.holds set status = 'held' where status = 'lost'",
        check: Check::Rows,
        subject: "inventory",
        words: "cannot be read",
        event: None,
    },
    Fault {
        what: "5 cents owed by an order that owes nothing",
        plant: "update orders.orders set owed_minor = 5 where status = 'reserved'",
        mend: "update orders.orders set owed_minor = 0",
        check: Check::Rows,
        subject: "order-22222222-2222-4222-8222-222222222222",
        words: "owed_minor: the row says 5, its events say 0",
        event: Some("OrderReserved"),
    },
    Fault {
        what: "5 cents of an order under way back that nobody asked for",
        plant: "update orders.orders set refunding_minor = 5 where status = 'paid'",
        mend: "update orders.orders set refunding_minor = 0",
        check: Check::Rows,
        subject: "order-11111111-1111-4111-8111-111111111111",
        words: "refunding_minor: the row says 5, its events say 0",
        event: Some("OrderPaid"),
    },
    Fault {
        what: "5 cents of a payment charged back by hand",
        plant: "update payments.payments set charged_back_minor = 5 where status = 'succeeded'",
        mend: "update payments.payments set charged_back_minor = 0",
        check: Check::Rows,
        subject: "payment-",
        words: "charged_back_minor: the row says 5, its events say 0",
        event: Some("PaymentSucceeded"),
    },
    Fault {
        what: "a report of a payment counted that there is not",
        plant: "update payments.payments set reports = 1 where status = 'succeeded'",
        mend: "update payments.payments set reports = 0",
        check: Check::Rows,
        subject: "payment-",
        words: "reports: the row says 1, its events say 0",
        event: Some("PaymentSucceeded"),
    },
    Fault {
        what: "a charge given to a payment of which nobody has reported it",
        plant: "insert into payments.charges select 'stripe', 'pi_1', payment_id from payments.payments where status = 'succeeded'",
        mend: "delete from payments.charges",
        check: Check::Rows,
        subject: "payment-",
        words: "payments.charges has the charge pi_1 of stripe, which nobody reported of it",
        event: Some("PaymentSucceeded"),
    },
    Fault {
        what: "an event's version changed",
        plant: "alter table log.events disable trigger append_only;
            update log.events set version = 9 where type like '%OrderPaid'",
        mend: "update log.events set version = 3 where type like '%OrderPaid'",
        check: Check::Log,
        subject: "order-11111111-1111-4111-8111-111111111111",
        words: "version 9 comes after 2",
        event: Some("OrderPaid"),
    },
    Fault {
        what: "an event deleted",
        plant: "create table keep as select * from log.events where type like '%OrderPaid';
            delete from log.events where type like '%OrderPaid'",
        mend: "insert into log.events overriding system value select * from keep; drop table keep",
        check: Check::Rows,
        subject: "order-11111111-1111-4111-8111-111111111111",
        words: "status: the row says paid, its events say reserved",
        event: Some("OrderReserved"),
    },
    Fault {
        what: "the causes of all events changed",
        plant: "create table keep as select position, causation_id from log.events;
            update log.events set causation_id = correlation_id",
        mend: "update log.events set causation_id = keep.causation_id from keep where keep.position = log.events.position;
            drop table keep",
        check: Check::Log,
        subject: "order-11111111-1111-4111-8111-111111111111",
        words: "does not follow from its cause",
        event: Some("OrderPlaced"),
    },
    Fault {
        what: "the answers to commands deleted",
        plant: "create table keep as select * from payments.inbox; delete from payments.inbox",
        mend: "insert into payments.inbox select * from keep; drop table keep",
        check: Check::Log,
        subject: "payment-",
        words: "no command that its service has answered",
        event: Some("PaymentSucceeded"),
    },
    Fault {
        what: "the event of a command that was refused deleted",
        plant: "create table keep as select * from log.events where stream like 'orders-command-%';
            delete from log.events where stream like 'orders-command-%'",
        mend: "insert into log.events overriding system value select * from keep; drop table keep",
        check: Check::Log,
        subject: "orders-command-",
        words: "it was answered with 1 more events than the log has",
        event: None,
    },
    Fault {
        what: "the time changed of an event that a command has caused",
        plant: "update log.events set recorded_at = recorded_at - interval '1 day' where type like '%StockReceived'",
        mend: "update log.events set recorded_at = recorded_at + interval '1 day' where type like '%StockReceived'",
        check: Check::Log,
        subject: "product-mug",
        words: "was answered in the same transaction at",
        event: Some("StockReceived"),
    },
    Fault {
        what: "an event's type changed to one that there is not",
        plant: "update log.events set type = 'holdfast.inventory.v1.StockAppraised' where type like '%StockReceived'",
        mend: "update log.events set type = 'holdfast.inventory.v1.StockReceived' where type like '%StockAppraised'",
        check: Check::Log,
        subject: "product-mug",
        words: "the book of stock has no opinion on holdfast.inventory.v1.StockAppraised",
        event: Some("StockAppraised"),
    },
    Fault {
        what: "5 cents added to a wallet by hand",
        plant: "update payments.wallets set available_minor = available_minor + 5",
        mend: "update payments.wallets set available_minor = available_minor - 5",
        check: Check::Wallets,
        subject: "wallet-",
        words: "available is 5.05 EUR in the table and 5.00 EUR by the events themselves",
        event: None,
    },
    Fault {
        what: "5 cents of a wallet set aside by hand",
        plant: "update payments.wallets set available_minor = available_minor - 5, held_minor = held_minor + 5",
        mend: "update payments.wallets set available_minor = available_minor + 5, held_minor = held_minor - 5",
        check: Check::Rows,
        subject: "wallet-",
        words: "available: the row says 495, its events say 500; held: the row says 5, its events say 0",
        event: Some("WalletToppedUp"),
    },
    Fault {
        what: "money of no wallet set aside for a payment that never was",
        plant: "insert into payments.funds values (gen_random_uuid(), null, '', null, null, 'released', '{}', 1)",
        mend: "delete from payments.funds",
        check: Check::Rows,
        subject: "funds-",
        words: "no event made it",
        event: None,
    },
    Fault {
        what: "money of a wallet set aside for a payment that never was",
        plant: "insert into payments.funds select gen_random_uuid(), wallet_id, customer_id, 5, 'EUR', 'held', '{}', 1
            from payments.wallets",
        mend: "delete from payments.funds",
        check: Check::Wallets,
        subject: "wallet-",
        words: "held for all payments is 0.05 EUR in the table and 0.00 EUR by the events themselves",
        event: None,
    },
    Fault {
        what: "a refund at the provider that nobody asked for",
        plant: "insert into payments.sandbox_refunds values ('k', gen_random_uuid(), gen_random_uuid(), 5, 'EUR', 'refunded', 1)",
        mend: "delete from payments.sandbox_refunds",
        check: Check::Provider,
        subject: "refund-",
        words: "no order asked for it",
        event: None,
    },
    Fault {
        what: "the answer to a command that was refused deleted",
        plant: "create table keep as select * from orders.inbox where command_id = '00000000-0000-0000-0000-000000000009';
            delete from orders.inbox where command_id = '00000000-0000-0000-0000-000000000009'",
        mend: "insert into orders.inbox select * from keep; drop table keep",
        check: Check::Log,
        subject: "orders-",
        words: "no command that its service has answered",
        event: Some("CommandRejected"),
    },
];

/// What an audit does not see, each with how it is planted and how it is mended. When one does, it belongs above.
const UNSEEN: &[(&str, &str, &str)] = &[(
    "the time changed of an event that another event has caused",
    "update log.events set recorded_at = recorded_at - interval '1 minute' where type like '%StockHeld'",
    "update log.events set recorded_at = recorded_at + interval '1 minute' where type like '%StockHeld'",
)];

/// Audited by one that lets go at once of what is over: it reads it again where it is touched, and compares it as it goes.
async fn forgetful(url: &str) -> Result<Report> {
    audit_telling(url, &Settings { lately: 0, ..Settings::default() }, |_progress| ()).await
}

impl Fault {
    fn is_told_by(&self, finding: &Finding) -> bool {
        let event = finding.event.as_ref().map(|event| proto::short_name(&event.message_type));
        finding.check == self.check
            && finding.subject.starts_with(self.subject)
            && finding.what.contains(self.words)
            && event == self.event
    }

    /// A row of the guide: what was done, and what was printed of it, without ids that are others each time.
    fn row(&self, finding: &Finding) -> String {
        let Finding { check, subject, what, event } = finding;
        let event = event.as_ref().map(|event| format!(", at {}", proto::short_name(&event.message_type)));
        let said = format!("{} {subject}: {what}", check.words().0);
        let said: Vec<&str> = said.split(' ').map(|word| if is_time(word) { "…" } else { word }).collect();
        let mut said = without_ids(&said.join(" "));
        if let Some((end, _)) = said.char_indices().nth(SHOWN_MAX) {
            said.truncate(end);
            said.push('…');
        }
        format!("| {} | `{said}`{} |", self.what, event.unwrap_or_default())
    }
}

/// Letters of a finding that the guide shows.
const SHOWN_MAX: usize = 160;

/// Whether this is a moment in UTC.
fn is_time(word: &str) -> bool {
    OffsetDateTime::parse(word.trim_end_matches(','), &Rfc3339).is_ok()
}

/// A text with each id as `…`.
fn without_ids(text: &str) -> String {
    let mut left = text;
    let mut told = String::new();
    while let Some(letter) = left.chars().next() {
        let id = left.get(..36).filter(|id| Uuid::try_parse(id).is_ok());
        told.push_str(if id.is_some() { "…" } else { left.get(..letter.len_utf8()).unwrap_or_default() });
        left = left.get(id.map_or(letter.len_utf8(), str::len)..).unwrap_or_default();
    }
    told
}

#[tokio::test]
async fn finds_what_was_planted_and_nothing_else() -> Result<()> {
    let dir = scratch_dir("holdfast-verify-")?;
    let postgres = Postgres::start(dir.path()).await?;
    let url = postgres.url(SUPERUSER, DATABASE);
    migrations::migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await?;
    let mut connection = PgConnection::connect(&url).await?;
    assert!(audit(&url).await?.ok, "an empty log is in order");
    tell(&mut connection).await?;

    let report = audit(&url).await?;
    assert_eq!(report.findings, []);
    assert_eq!((report.events, report.streams, report.rows), (15, 9, 8));
    assert!(report.ok);
    let same = forgetful(&url).await?;
    assert_eq!((same.findings, same.streams, same.rows, same.checks), (vec![], 9, 8, report.checks));

    let mut rows = Vec::new();
    for fault in FAULTS {
        sqlx::raw_sql(fault.plant).execute(&mut connection).await?;
        let report = audit(&url).await?;
        assert!(!report.ok);
        let told = report.findings.iter().find(|finding| fault.is_told_by(finding));
        assert!(
            told.is_some(),
            "after {}\nnot {:?} {:?} {:?} {:?} but {:#?}",
            fault.plant,
            fault.check,
            fault.subject,
            fault.words,
            fault.event,
            report.findings
        );
        assert_eq!(forgetful(&url).await?.findings, report.findings, "after {}", fault.plant);
        rows.extend(told.map(|finding| fault.row(finding)));
        sqlx::raw_sql(fault.mend).execute(&mut connection).await?;
        assert_eq!(audit(&url).await?.findings, [], "after {}", fault.mend);
    }
    for (what, plant, mend) in UNSEEN {
        sqlx::raw_sql(*plant).execute(&mut connection).await?;
        assert_eq!(audit(&url).await?.findings, [], "what is found is no longer unseen: {what}");
        sqlx::raw_sql(*mend).execute(&mut connection).await?;
        rows.push(format!("| {what} | nothing |"));
    }
    is_in_the_guide(&rows)
}

/// The table of the guide is what was planted, and what was said of it. With `HOLDFAST_BLESS` in the environment it becomes that.
fn is_in_the_guide(rows: &[String]) -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let page = std::fs::read_to_string(path)?;
    let heading = "| what was done | what `holdfast verify` prints |\n|---|---|\n";
    let (before, rest) = page.split_once(heading).context("the guide has no such table")?;
    let (_, behind) = rest.split_once("\n\n").context("nothing follows the table")?;
    let made = format!("{before}{heading}{}\n\n{behind}", rows.join("\n"));
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(path, &made)?;
    }
    assert!(
        std::fs::read_to_string(path)? == made,
        "make it again: HOLDFAST_BLESS=1 cargo test -p audit --test planted"
    );
    Ok(())
}
