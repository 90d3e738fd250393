//! Wallets: money that is kept here pays orders exactly, comes back, and is never spent twice.

use std::{
    cell::Cell,
    sync::Mutex,
    time::{Duration, Instant},
};

use domain::{AMOUNT_MAX, HoldKey, Money, OrderId, PaymentId, RefundId, Timestamp};
use holdfast_tests::{
    Order, TestFleet, code, eventually,
    gateway::{Gateway, READER},
    is_accepted, money,
};
use platform::database::Pool;
use proto::payments::v1::{TopUpWallet, WithdrawFromWallet};
use providers::{
    AuthorisationRef, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenedCheckout, Provider,
    ProviderError, ProviderName, RefundRequest, RefundState,
    provider_suite::{Harm, Holds, Scenario, Struck, check, check_fault},
    wallet::{OverBroker, Wallet},
};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

const AVAILABLE: &str = "select sum(available_minor)::bigint from payments.wallets";
const HELD: &str = "select sum(held_minor)::bigint from payments.wallets";
const PAID: &str = "select count(*) from orders.orders where status = 'paid'";
const CLOSED: &str = "select count(*) from orders.orders where status in ('paid', 'cancelled')";
const MUGS_HELD: &str = "select held from inventory.stock";

fn top_up(customer_id: &str, cents: i64) -> TopUpWallet {
    let (customer_id, actor) = (customer_id.to_owned(), "till".to_owned());
    TopUpWallet { customer_id, amount: Some(money(cents)), actor, note: "cash".to_owned() }
}

fn withdraw(customer_id: &str, cents: i64) -> WithdrawFromWallet {
    let (customer_id, actor) = (customer_id.to_owned(), "till".to_owned());
    WithdrawFromWallet { customer_id, amount: Some(money(cents)), actor, note: "asked for it".to_owned() }
}

/// A shop that sells mugs at 10.00 EUR, and Ada, who has so much.
async fn shop(replicas: usize, cents: i64) -> TestFleet {
    let fleet = TestFleet::with(replicas, &[]).await.unwrap();
    fleet.stock("mug", 1_000).await.unwrap();
    assert!(is_accepted(&fleet.send("first", &top_up("ada", cents)).await.unwrap()));
    fleet
}

/// A mug for Ada, from her wallet.
fn mug(number: u64) -> Order {
    Order::new(number).line("mug", 1).by("ada").pays("wallet")
}

async fn has(fleet: &TestFleet) -> (i64, i64) {
    (fleet.number(AVAILABLE).await.unwrap(), fleet.number(HELD).await.unwrap())
}

fn funds(order: &Order) -> String {
    format!("funds-{}", HoldKey { order_id: OrderId(order.id), attempt: 1 }.payment_id())
}

#[tokio::test]
async fn an_order_is_paid_from_the_wallet_of_its_customer_and_the_money_comes_back() {
    let fleet = shop(1, 5_000).await;
    let order = mug(1);
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(has(&fleet).await, (4_000, 0));
    assert_eq!(fleet.stream(&funds(&order)).await.unwrap(), ["FundsHeld", "FundsCommitted"]);
    let payment = HoldKey { order_id: OrderId(order.id), attempt: 1 }.payment_id();
    let story = fleet.stream(&format!("payment-{payment}")).await.unwrap();
    let told = ["PaymentRequested", "CheckoutOpened", "PaymentAuthorised", "CaptureSubmitted", "PaymentSucceeded"];
    assert_eq!(story, told);
    // A part of it, and then the rest.
    let part = proto::orders::v1::RequestRefund { amount: Some(money(300)), ..order.refund_as("part") };
    assert!(is_accepted(&fleet.send("part", &part).await.unwrap()));
    fleet.until(AVAILABLE, 4_300).await.unwrap();
    fleet.until_status(&order, "partially_refunded").await.unwrap();
    assert!(is_accepted(&fleet.send("rest", &order.refund_as("rest")).await.unwrap()));
    fleet.until_status(&order, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(has(&fleet).await, (5_000, 0));
}

#[tokio::test]
async fn an_order_that_costs_more_than_the_wallet_has_is_cancelled_and_holds_nothing() {
    let fleet = shop(1, 999).await;
    let (poor, none) = (mug(1), Order::new(2).line("mug", 1).by("bob").pays("wallet:bob"));
    fleet.place_all(&[poor.clone(), none.clone()]).await.unwrap();
    for order in [&poor, &none] {
        fleet.until_status(order, "cancelled").await.unwrap();
    }
    fleet.until(MUGS_HELD, 0).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(has(&fleet).await, (999, 0));
    // What was refused once stays so, also after a top-up.
    assert_eq!(fleet.stream(&funds(&poor)).await.unwrap(), ["FundsRejected"]);
    let why = "select count(*) from orders.orders where note like '%INSUFFICIENT_FUNDS%'";
    assert_eq!(fleet.number(why).await.unwrap(), 2);
}

#[tokio::test]
async fn nobody_pays_from_the_wallet_of_another() {
    let fleet = shop(1, 5_000).await;
    let thief = Order::new(1).line("mug", 1).by("bob").pays("wallet:ada");
    assert_eq!(code(&fleet.place(&thief).await.unwrap()), "WRONG_WALLET");
    assert!(is_accepted(&fleet.place(&mug(2).pays("wallet:ada")).await.unwrap()), "her own she may name");
    fleet.until(PAID, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(has(&fleet).await, (4_000, 0));
}

#[tokio::test]
async fn what_is_put_in_and_taken_out_has_its_limits_and_is_done_once() {
    let fleet = shop(1, 5_000).await;
    assert!(is_accepted(&fleet.send("first", &top_up("ada", 5_000)).await.unwrap()), "it is answered again");
    assert_eq!(has(&fleet).await, (5_000, 0));
    assert_eq!(code(&fleet.send("most", &top_up("ada", AMOUNT_MAX)).await.unwrap()), "WALLET_LIMIT");
    assert_eq!(code(&fleet.send("nothing", &top_up("ada", 0)).await.unwrap()), "INVALID_AMOUNT");
    assert_eq!(code(&fleet.send("much", &withdraw("ada", 5_001)).await.unwrap()), "INSUFFICIENT_FUNDS");
    assert_eq!(code(&fleet.send("nobody", &withdraw("bob", 1)).await.unwrap()), "UNKNOWN_WALLET");
    assert!(is_accepted(&fleet.send("all", &withdraw("ada", 5_000)).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(has(&fleet).await, (0, 0));
}

#[tokio::test]
async fn fifty_orders_on_money_for_twenty_spend_it_twenty_times() {
    let fleet = shop(2, 20_500).await;
    let orders: Vec<Order> = (0..50).map(mug).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.until(CLOSED, 50).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!((fleet.number(PAID).await.unwrap(), has(&fleet).await), (20, (500, 0)));
}

#[tokio::test]
async fn twenty_orders_on_money_for_seven_are_paid_seven_times_whenever_payments_dies() {
    let fleet = shop(1, 7_000).await;
    let orders: Vec<Order> = (0..20).map(mug).collect();
    fleet.place_all(&orders).await.unwrap();
    let pace = Duration::from_millis(700);
    let last = Cell::new(Instant::now());
    let closed = async || {
        if last.get().elapsed() >= pace {
            let mut processes = fleet.processes().await;
            processes.kill_worker("payments", 0).await?;
            processes.start_worker("payments", 0)?;
            last.set(Instant::now());
        }
        Ok(fleet.number(CLOSED).await? == 20)
    };
    eventually("all orders are closed", closed).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!((fleet.number(PAID).await.unwrap(), has(&fleet).await), (7, (0, 0)));
}

#[tokio::test]
async fn money_that_is_set_aside_for_an_order_that_has_ended_is_in_the_wallet_again() {
    let fleet = shop(1, 5_000).await;
    fleet.processes().await.kill_worker("payments", 0).await.unwrap();
    let order = mug(1).expires_after(Duration::from_secs(5));
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "expired").await.unwrap();
    fleet.processes().await.start_worker("payments", 0).unwrap();
    let cancelled = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentCancelled'";
    fleet.until(cancelled, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(has(&fleet).await, (5_000, 0));
    assert_eq!(fleet.number("select sum(captured_minor)::bigint from payments.payments").await.unwrap(), 0);
}

#[tokio::test]
async fn wallets_over_http() {
    let fleet = shop(1, 100).await;
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let euros = |minor: &str| json!({ "minor_units": minor, "currency": "EUR" });
    let cash = json!({ "amount": euros("4900"), "note": "cash" });
    for replayed in ["", "true"] {
        let answer = gateway.post("/v1/wallets/ada/top-up", "cash", &cash).await.unwrap();
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (200, replayed), "{answer:?}");
        assert_eq!(answer.header("content-location"), "/v1/wallets/ada");
    }
    let other = gateway.post("/v1/wallets/ada/top-up", "cash", &json!({ "amount": euros("1"), "note": "cash" })).await;
    assert_eq!(other.unwrap().json["code"], "IDEMPOTENCY_KEY_REUSED");
    let place = json!({
        "customer_id": "ada",
        "lines": [{ "sku": "mug", "quantity": 1, "unit_price": { "minor_units": 1_250, "currency": "EUR" } }],
        "payment_method": "wallet",
    });
    let placed = gateway.post("/v1/orders", "order", &place).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let path = placed.header("location").to_owned();
    let paid = gateway.until(&path, "it is paid", |order| order["status"] == "paid").await.unwrap();
    assert_eq!((&paid["payments"][0]["provider"], &paid["money"]["captured"]), (&json!("wallet"), &euros("1250")));
    let events = gateway.get(&format!("{path}/events")).await.unwrap().text;
    assert!(events.contains("FundsHeld") && events.contains("FundsCommitted"), "{events}");
    let out = json!({ "amount": euros("750"), "note": "asked for it" });
    assert_eq!(gateway.post("/v1/wallets/ada/withdraw", "out", &out).await.unwrap().status, 200);
    let wallet = json!({ "currency": "EUR", "available": euros("3000"), "held": euros("0"), "version": "3" });
    let shown = gateway.get("/v1/wallets/ada").await.unwrap();
    assert_eq!(shown.json, json!({ "customer_id": "ada", "wallets": [wallet] }), "{shown:?}");
    refused_over_http(&gateway).await;
    fleet.settle_and_verify().await.unwrap();
}

async fn refused_over_http(gateway: &Gateway) {
    let euros = |minor: &str| json!({ "minor_units": minor, "currency": "EUR" });
    let refused = [
        ("/v1/wallets/ada/withdraw", json!({ "amount": euros("3001"), "note": "all" }), 409, "INSUFFICIENT_FUNDS"),
        ("/v1/wallets/bob/withdraw", json!({ "amount": euros("1"), "note": "all" }), 404, "UNKNOWN_WALLET"),
        ("/v1/wallets/ada/top-up", json!({ "amount": euros("1000000000000"), "note": "won" }), 409, "WALLET_LIMIT"),
        ("/v1/wallets/ada/top-up", json!({ "amount": euros("1") }), 400, "INVALID_BODY"),
        ("/v1/wallets/ada/top-up", json!({ "amount": euros("1"), "note": "x", "actor": "root" }), 400, "INVALID_BODY"),
    ];
    for (path, body, status, code) in refused {
        let answer = gateway.post(path, &format!("{path} {code}"), &body).await.unwrap();
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
    }
    let unknown = gateway.get("/v1/wallets/bob").await.unwrap();
    assert_eq!((unknown.status, unknown.code()), (404, "UNKNOWN_WALLET"));
    let strange = gateway.get("/v1/wallets/a%00b").await.unwrap();
    assert_eq!(strange.status, 400, "{strange:?}");
    let reader = format!("Bearer {READER}");
    let headers = [("authorization", reader.as_str()), ("idempotency-key", "k"), ("content-type", "application/json")];
    let body = json!({ "amount": euros("1"), "note": "for me" }).to_string();
    let forbidden = gateway.request("POST", "/v1/wallets/ada/top-up", &headers, &body).await.unwrap();
    assert_eq!((forbidden.status, forbidden.code()), (403, "FORBIDDEN"));
    let read = gateway.request("GET", "/v1/wallets/ada", &headers[..1], "").await.unwrap();
    assert_eq!(read.status, 200, "{read:?}");
}

/// What gets lost between the adapter and whoever calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    Request,
    Answer,
}

/// The adapter, with a way to it on which something gets lost.
struct Lossy {
    wallet: Wallet,
    loses: Mutex<Lost>,
}

impl Lossy {
    fn lose(&self, lost: Lost) {
        *self.loses.lock().unwrap() = lost;
    }

    async fn pass<T: std::fmt::Debug>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let lost = *self.loses.lock().unwrap();
        match lost {
            Lost::Nothing => call.await,
            Lost::Request => Err(ProviderError::OutcomeUnknown("the request is lost".to_owned())),
            Lost::Answer => Err(ProviderError::OutcomeUnknown(format!("lost: {:?}", call.await))),
        }
    }
}

impl Provider for Lossy {
    fn name(&self) -> ProviderName {
        self.wallet.name()
    }

    async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
        self.pass(self.wallet.open_checkout(request)).await
    }

    fn opens_with_money(&self) -> bool {
        self.wallet.opens_with_money()
    }

    async fn close_checkout(&self, checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
        self.pass(self.wallet.close_checkout(checkout)).await
    }

    async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        self.pass(self.wallet.capture(authorisation)).await
    }

    async fn void(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        self.pass(self.wallet.void(authorisation)).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        self.pass(self.wallet.refund(request)).await
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        self.wallet.find_refund(request).await
    }
}

fn id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

fn cents(minor_units: i64) -> Money {
    Money::from_wire("amount", Some(&money(minor_units))).unwrap()
}

fn page(name: &str) -> CheckoutRequest {
    CheckoutRequest {
        key: format!("page-{name}"),
        payment_id: PaymentId(id(name)),
        order_id: OrderId(id("order")),
        order_reference: None,
        amount: cents(1_250),
        payment_method: "wallet:ada".to_owned(),
        ends_at: Timestamp::default(),
    }
}

/// Money that is set aside.
async fn set_aside(provider: &impl Provider, name: &str) -> AuthorisationRef {
    let opened = provider.open_checkout(&page(name)).await.unwrap();
    AuthorisationRef {
        key: format!("end-{name}"),
        payment_id: PaymentId(id(name)),
        payment_reference: opened.page.reference,
        reference: opened.authorised.unwrap().reference,
        amount: cents(1_250),
    }
}

/// A refund of all that was paid.
async fn paid(provider: &impl Provider, name: &str) -> RefundRequest {
    let held = set_aside(provider, name).await;
    assert!(matches!(provider.capture(&held).await, Ok(EndedAuthorisation::Captured(_))));
    RefundRequest {
        key: format!("back-{name}"),
        payment_id: held.payment_id,
        payment_reference: held.payment_reference,
        charge_reference: held.reference,
        refund_id: RefundId(id(&format!("refund {name}"))),
        amount: cents(1_250),
    }
}

#[tokio::test]
async fn the_wallet_keeps_what_every_provider_promises() {
    let fleet = shop(1, 100_000).await;
    let pool = Pool::new(PgPool::connect(&fleet.address.database_url).await.unwrap());
    let wallet = Wallet::new(OverBroker::new(fleet.client.client().clone(), pool, Duration::from_secs(30)));
    let wallet = Lossy { wallet, loses: Mutex::new(Lost::Nothing) };
    let declined = paid(&wallet, "declined").await;
    let scenario = Scenario {
        plain: RefundRequest { amount: cents(1_000), ..paid(&wallet, "plain").await },
        lost_answer: paid(&wallet, "lost").await,
        // More than was taken.
        declined: RefundRequest { amount: cents(1_251), ..declined },
        never_sent: paid(&wallet, "never").await,
        page: page("page"),
        holds: Some(Holds { taken: set_aside(&wallet, "taken").await, let_go: set_aside(&wallet, "let go").await }),
    };
    check(&wallet, &scenario, |is_lost| wallet.lose(if is_lost { Lost::Answer } else { Lost::Nothing })).await.unwrap();
    let too_much = CheckoutRequest { amount: cents(AMOUNT_MAX), ..page("too much") };
    for _ in 0..2 {
        let answer = wallet.open_checkout(&too_much).await;
        assert!(
            matches!(&answer, Err(ProviderError::Declined(why)) if why.contains("INSUFFICIENT_FUNDS")),
            "{answer:?}"
        );
    }
    // Five were taken, of which two went back, one of them but for 2.50; one was let go, and so was the page.
    assert_eq!(has(&fleet).await, (100_000 - 5 * 1_250 + 1_250 + 1_000, 0));
}

/// A call of each kind, on money that is there for it.
async fn struck(provider: &impl Provider, name: &str) -> Struck {
    Struck {
        page: page(&format!("{name} page")),
        refund: paid(provider, &format!("{name} paid")).await,
        holds: Some(Holds {
            taken: set_aside(provider, &format!("{name} taken")).await,
            let_go: set_aside(provider, &format!("{name} let go")).await,
        }),
    }
}

#[tokio::test]
async fn under_every_fault_of_a_call_the_wallet_does_what_it_was_asked_for_once() {
    let fleet = shop(1, 100_000).await;
    let pool = Pool::new(PgPool::connect(&fleet.address.database_url).await.unwrap());
    let wallet = |within_ms| {
        let within = Duration::from_millis(within_ms);
        Wallet::new(OverBroker::new(fleet.client.client().clone(), pool.clone(), within))
    };
    let lossy = Lossy { wallet: wallet(30_000), loses: Mutex::new(Lost::Nothing) };
    for (name, lost) in [("answer", Lost::Answer), ("request", Lost::Request)] {
        let struck = struck(&lossy, name).await;
        let strike = async |is_struck| lossy.lose(if is_struck { lost } else { Lost::Nothing });
        check_fault(&lossy, &struck, Harm::Unknown, strike).await.unwrap_or_else(|broken| panic!("{name}: {broken}"));
    }
    // Its worker is away for longer than is waited for it, and then does what it was asked.
    let hasty = wallet(500);
    let struck = struck(&lossy, "away").await;
    let strike = async |is_struck| {
        let mut processes = fleet.processes().await;
        if is_struck {
            processes.stop_worker("payments", 0).await.unwrap();
        } else {
            processes.start_worker("payments", 0).unwrap();
        }
    };
    check_fault(&hasty, &struck, Harm::Unknown, strike).await.unwrap();
    // Of each of three: one was paid and went back, one was taken, one was let go, and a page keeps money aside.
    // No order has asked for any of it, which an audit would find.
    fleet.settle().await.unwrap();
    assert_eq!(has(&fleet).await, (100_000 - 3 * 2 * 1_250, 3 * 1_250));
}
