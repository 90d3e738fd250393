//! Rows on a real Postgres: of two who read the same and change it, the second saves nothing, whatever it was that the first changed; nor
//! does one who remembers it.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use domain::{CouponCode, Currency, HoldKey, Memory, Money, OrderId, RefundId, RoundId, Sku, Timestamp};
use inventory::{Inventory, command::Command as StockCommand};
use orders::{
    Orders,
    command::Command as OrderCommand,
    order::{LatePaymentPolicy, Line, OrderTerms, Resource},
};
use payments::{
    Payments,
    command::{Command as PaymentCommand, CouponCommand},
    coupon,
    report::{Kind, Report, ReportedMoney},
};
use platform::{clock, migrations::migrate};
use providers::Checkout;
use rounds::{
    Rounds,
    command::{Command as RoundCommand, Purchase},
    event::Offer,
};
use runtime::{
    log::append::save_rows,
    service::{Locks, Service},
};
use sqlx::{Connection, PgConnection};
use testbed::{
    fleet::DATABASE,
    servers::{Postgres, SUPERUSER, scratch_dir},
};
use uuid::Uuid;

/// Reads what a command touches, and decides it.
async fn decided<S: Service>(connection: &mut PgConnection, command: &S::Command, locks: Locks) -> S::State
where
    S::Event: Debug,
{
    advanced::<S>(S::load(connection, &[command], locks).await.unwrap(), command)
}

fn advanced<S: Service>(mut state: S::State, command: &S::Command) -> S::State
where
    S::Event: Debug,
{
    let events = S::advance(&mut state, command, clock::now()).unwrap();
    assert!(!events.is_empty(), "{command:?} changes nothing");
    state
}

async fn done<S: Service>(connection: &mut PgConnection, commands: &[S::Command]) {
    for command in commands {
        let state = decided::<S>(connection, command, Locks::Rows).await;
        save_rows::<S>(connection, &state).await.unwrap();
    }
}

/// The last is decided on what is there before the others are done, read or remembered, and saved after them.
async fn loses_to<S: Service>(connection: &mut PgConnection, before: &[S::Command], command: S::Command) {
    let mut memory = Memory::default();
    memory.remember(S::load_all(connection).await.unwrap());
    let mut remembered = S::State::default();
    assert!(S::recall(&mut memory, &[&command], &mut remembered), "{command:?} is not remembered");
    let read = S::load(connection, &[&command], Locks::None).await.unwrap();
    assert_eq!(S::rows(&remembered), S::rows(&read), "{command:?} is remembered otherwise than read");
    save_nothing::<S>(connection, before, command, vec![read, remembered]).await;
}

/// The same of what is not remembered.
async fn loses_to_if_read<S: Service>(connection: &mut PgConnection, before: &[S::Command], command: S::Command) {
    let mut memory = Memory::default();
    memory.remember(S::load_all(connection).await.unwrap());
    assert!(!S::recall(&mut memory, &[&command], &mut S::State::default()), "{command:?} is remembered");
    let read = S::load(connection, &[&command], Locks::None).await.unwrap();
    save_nothing::<S>(connection, before, command, vec![read]).await;
}

/// What is decided on these rows saves nothing after the others.
async fn save_nothing<S: Service>(
    connection: &mut PgConnection,
    before: &[S::Command],
    command: S::Command,
    rows: Vec<S::State>,
) {
    let late: Vec<S::State> = rows.into_iter().map(|rows| advanced::<S>(rows, &command)).collect();
    done::<S>(connection, before).await;
    let there = S::rows(&S::load_all(connection).await.unwrap());
    for late in late {
        let refused = save_rows::<S>(connection, &late).await.unwrap_err();
        let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
        assert!(["40001", "23505"].contains(&code.as_str()), "{command:?} after {before:?}: {refused}");
        let rows = S::rows(&S::load_all(connection).await.unwrap());
        assert_eq!(rows, there, "{command:?} after {before:?} has changed something");
    }
}

fn key(number: u128) -> HoldKey {
    HoldKey { order_id: OrderId(Uuid::from_u128(number)), attempt: 1 }
}

fn eur(minor_units: i64) -> Money {
    Money { minor_units, currency: Currency::parse("EUR").unwrap() }
}

fn later() -> Timestamp {
    clock::now() + Duration::from_secs(3_600)
}

async fn with_database<T>(test: impl AsyncFnOnce(&mut PgConnection) -> T) -> T {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let postgres = Postgres::start(&dir.path().join("pg")).await.unwrap();
    let url = postgres.url(SUPERUSER, DATABASE);
    migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await.unwrap();
    test(&mut PgConnection::connect(&url).await.unwrap()).await
}

#[tokio::test]
async fn whatever_changed_of_a_products_stock_or_of_a_hold_nothing_is_saved_over_it() {
    with_database(async |connection| {
        let sku = || Sku::parse("mug").unwrap();
        let hold = |number| StockCommand::Hold { key: key(number), lines: BTreeMap::from([(sku(), 1)]) };
        let take = |number| StockCommand::Commit { key: key(number) };
        let release = |number| StockCommand::Release { key: key(number) };
        let back = |number, refund| {
            let refund_id = RefundId(Uuid::from_u128(refund));
            StockCommand::Return { key: key(number), refund_id, lines: BTreeMap::from([(sku(), 1)]) }
        };
        let receive =
            || StockCommand::ReceiveStock { sku: sku(), quantity: 10, reference: String::new(), actor: String::new() };
        let register = || StockCommand::RegisterProduct { sku: sku(), name: "Mug".to_owned(), actor: String::new() };

        loses_to_if_read::<Inventory>(connection, &[register()], register()).await;
        done::<Inventory>(connection, &[receive(), hold(1), hold(2), take(2)]).await;
        // What is held; what was sold, with as much held as before; what came back; what arrived.
        loses_to::<Inventory>(connection, &[hold(3)], hold(4)).await;
        loses_to::<Inventory>(connection, &[hold(5), take(5)], hold(4)).await;
        loses_to::<Inventory>(connection, &[back(2, 1)], hold(4)).await;
        loses_to::<Inventory>(connection, &[receive()], hold(4)).await;
        loses_to::<Inventory>(connection, &[take(1)], release(1)).await;
        loses_to::<Inventory>(connection, &[hold(6)], hold(6)).await;
    })
    .await;
}

#[tokio::test]
async fn whatever_changed_of_a_rounds_shares_or_of_a_hold_nothing_is_saved_over_it() {
    with_database(async |connection| {
        let round_id = RoundId(Uuid::from_u128(1));
        let offer = Offer { prize: "Bicycle".to_owned(), total_shares: 10, share_price: eur(100), closes_at: later() };
        let open = || RoundCommand::OpenRound { round_id, offer: offer.clone(), actor: String::new(), draw: None };
        let hold = |number| {
            let purchase = Purchase { round_id, count: 1, unit_price: eur(100) };
            RoundCommand::Hold { key: key(number), purchase }
        };
        let take = |number| RoundCommand::Commit { key: key(number) };
        let release = |number| RoundCommand::Release { key: key(number) };
        let back = |number| RoundCommand::Return { key: key(number), refund_id: RefundId(Uuid::from_u128(number)) };
        let cancel =
            || RoundCommand::CancelRound { round_id, actor: "somebody".to_owned(), note: "no prize".to_owned() };

        loses_to_if_read::<Rounds>(connection, &[open()], open()).await;
        done::<Rounds>(connection, &[hold(1), hold(2), take(2), hold(3), take(3)]).await;
        // What is held; what was sold, with as much held as before; what came back; where the round stands, and who was named.
        loses_to::<Rounds>(connection, &[hold(4)], hold(5)).await;
        loses_to::<Rounds>(connection, &[hold(6), take(6)], hold(5)).await;
        loses_to::<Rounds>(connection, &[back(2)], hold(5)).await;
        loses_to::<Rounds>(connection, &[take(1)], release(1)).await;
        loses_to::<Rounds>(connection, &[cancel()], hold(5)).await;
        loses_to::<Rounds>(connection, &[RoundCommand::Advance { round_id }], back(3)).await;
    })
    .await;
}

#[tokio::test]
async fn whatever_changed_of_an_order_nothing_is_saved_over_it() {
    with_database(async |connection| {
        let order_id = OrderId(Uuid::from_u128(1));
        let terms = || OrderTerms {
            customer_id: "ada".to_owned(),
            lines: vec![Line { sku: Sku::parse("mug").unwrap(), quantity: 1, unit_price: eur(100) }],
            shares: None,
            total: eur(100),
            time_to_pay: Duration::from_secs(900),
            late_payment_policy: LatePaymentPolicy::Refund,
            payment_method: String::new(),
            reference: None,
            coupon: None,
        };
        let place = || OrderCommand::PlaceOrder { order_id, terms: terms(), contact: None, actor: String::new() };
        let cancel = |refund| OrderCommand::CancelOrder {
            order_id,
            refund_id: RefundId(Uuid::from_u128(refund)),
            actor: "ada".to_owned(),
            note: String::new(),
        };
        let held = || OrderCommand::ConfirmHolds { key: key(1), resources: vec![Resource::Stock], discount: None };
        loses_to::<Orders>(connection, &[place()], place()).await;
        loses_to::<Orders>(connection, &[held()], cancel(1)).await;
    })
    .await;
}

#[tokio::test]
async fn whatever_changed_of_a_payment_its_refunds_or_reports_nothing_is_saved_over_it() {
    with_database(async |connection| {
        let checkout = || Checkout {
            provider: "sandbox".to_owned(),
            reference: "pay-1".to_owned(),
            url: "https://pay".to_owned(),
        };
        let request = || PaymentCommand::RequestPayment {
            key: key(1),
            amount: eur(100),
            checkout: checkout(),
            payment_method: String::new(),
            order_reference: Some("R-1001".to_owned()),
            expires_at: later(),
        };
        let payment_id = request().payment_id().unwrap();
        let report = |kind, id: &str| {
            let report = Report {
                kind,
                provider_event_id: id.to_owned(),
                provider_reference: format!("charge-{id}"),
                refund_id: String::new(),
                amount: Some(ReportedMoney { minor_units: 100, currency: "EUR".to_owned() }),
                reason: String::new(),
                occurred_at: None,
                dispute: None,
                charge_reference: String::new(),
            };
            PaymentCommand::RecordProviderEvent { payment_id, report }
        };
        let refund = |number| PaymentCommand::BeginRefund {
            payment_id,
            order_id: key(1).order_id,
            refund_id: RefundId(Uuid::from_u128(number)),
            amount: eur(10),
        };
        // A report of what nobody asked for, and what it is about.
        loses_to::<Payments>(connection, &[report(Kind::PaymentSucceeded, "1")], request()).await;
        // It makes its payment known, which was known by the report alone.
        loses_to::<Payments>(connection, &[report(Kind::PaymentSucceeded, "2")], request()).await;
        done::<Payments>(connection, &[request()]).await;
        loses_to::<Payments>(connection, &[refund(1)], refund(2)).await;
        loses_to::<Payments>(connection, &[report(Kind::PaymentSucceeded, "3")], refund(2)).await;
    })
    .await;
}

#[tokio::test]
async fn whatever_changed_of_a_coupon_or_of_its_customer_nothing_is_saved_over_it() {
    with_database(async |connection| {
        let code = || CouponCode::parse("SPRING").unwrap();
        let offer = || coupon::Offer {
            off: coupon::Off::BasisPoints(1_000),
            currency: Currency::parse("EUR").unwrap(),
            discount_max: None,
            spend_min: None,
            valid_from: None,
            valid_until: Some(later()),
            uses_max: Some(3),
            uses_per_customer_max: Some(2),
            skus: vec![],
        };
        let about = PaymentCommand::Coupon;
        let hold = |number, customer: &str| {
            let purchase = coupon::Purchase {
                code: code(),
                customer_id: customer.to_owned(),
                currency: Currency::parse("EUR").unwrap(),
                lines: vec![coupon::Item { sku: Sku::parse("mug").unwrap(), price: 1_000 }],
                shares: 0,
                payment_method: String::new(),
            };
            about(CouponCommand::Hold { key: key(number), purchase })
        };
        let offer = offer();
        let open = || about(CouponCommand::Open { code: code(), offer: offer.clone(), actor: String::new() });
        let close = || about(CouponCommand::Close { code: code(), actor: "ada".to_owned(), note: "enough".to_owned() });
        let redeem = |number| about(CouponCommand::Redeem { key: key(number) });
        let release = |number| about(CouponCommand::Release { key: key(number) });
        loses_to_if_read::<Payments>(connection, &[open()], open()).await;
        done::<Payments>(connection, &[hold(1, "ada")]).await;
        loses_to::<Payments>(connection, &[hold(2, "ada")], hold(3, "ada")).await;
        loses_to::<Payments>(connection, &[redeem(1)], release(1)).await;
        // What was held and released leaves the coupon as it was, and the hold not.
        loses_to::<Payments>(connection, &[release(2)], redeem(2)).await;
        loses_to_if_read::<Payments>(connection, &[hold(4, "bob")], hold(5, "bob")).await;
        loses_to_if_read::<Payments>(connection, &[hold(6, "bob")], close()).await;
    })
    .await;
}
