//! Orders that are paid through Stripe while everything goes wrong on the way; then the books of both sides, side by side.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use fake_stripe::Faults;
use futures::{StreamExt, stream};
use holdfast_tests::stripe::{StripeShop, session};
use platform::clock;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::Instant;

mod books;
mod judge;
mod operator;

/// Orders that are paid through a fake of Stripe, while calls and webhooks go wrong and workers are killed. At the end it prints the
/// books of both sides. Exit code 1: they differ.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Orders to place.
    #[arg(long, default_value_t = 2_000)]
    orders: u32,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Orders under way at once.
    #[arg(long, default_value_t = 24)]
    at_once: usize,
    /// Seconds between two kills, of a worker of payments or of the gateway.
    #[arg(long, default_value_t = 4)]
    kill_every: u64,
    /// When the buyers' money is taken: at_once, or on_paid, and until then it is only set aside.
    #[arg(long, default_value = "at_once")]
    capture: String,
    /// How many seconds everything may take to come to rest at the end.
    #[arg(long, default_value_t = 600)]
    patience: u64,
    /// What judges all that was sent to Stripe (tests/fake_stripe/judge.py), after a call of every kind.
    #[arg(long)]
    judge: Option<PathBuf>,
}

/// What one buyer and his shop do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Pays,
    /// Another card, after the first was declined.
    PaysWithSecondCard,
    /// And the shop cancels at that moment.
    PaysAsItIsCancelled,
    Leaves,
}

/// What becomes of an order that was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Refund,
    RefundInDashboard,
    Dispute,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let address = free_address()?;
    let settings = [
        ("HOLDFAST_GATEWAY_ADDRESS", address.as_str()),
        ("HOLDFAST_LOG_FILTER", "warn,gateway=info"),
        ("HOLDFAST_STRIPE_MISSED_MS", "1000"),
        ("HOLDFAST_STRIPE_CAPTURE", args.capture.as_str()),
    ];
    let shop = StripeShop::open(2, args.orders.saturating_mul(2), &settings).await?;
    // Of a hundred calls ten lose their answer and ten meet an error; of a hundred webhooks ten come twice, ten out of
    // order, and five never.
    shop.stripe.set_faults(Faults {
        lost_answer: 10,
        error_before: 5,
        error_after: 5,
        event_twice: 5,
        event_copied: 5,
        event_overtaken: 10,
        event_lost: 5,
        ..Faults::default()
    });
    let begun = Instant::now();
    let is_over = AtomicBool::new(false);
    let customers = async {
        let customers = stream::iter(0..args.orders).map(|number| customer(&shop, &args, number));
        let served: Vec<Result<()>> = customers.buffer_unordered(args.at_once).collect().await;
        is_over.store(true, Ordering::Relaxed);
        served.into_iter().collect::<Result<Vec<()>>>()
    };
    let (kills, served) = tokio::join!(kill(&shop, &args, &is_over), customers);
    served?;
    println!("{} orders in {} s, {} processes killed", args.orders, begun.elapsed().as_secs(), kills?);
    let decided = operator::until_settled(&shop, Duration::from_secs(args.patience)).await?;
    println!("settled after {} s; a person decided {decided} times", begun.elapsed().as_secs());
    if args.judge.is_some() {
        judge::tour(&shop).await?;
    }
    shop.fleet.settle_and_verify().await?;
    if let Some(script) = &args.judge {
        judge::judge(&shop, script).await?;
    }
    let found = books::compare(&shop).await?;
    for one in &found {
        println!("differs: {one}");
    }
    println!("{}", if found.is_empty() { "both books say the same" } else { "NOT WELL" });
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn free_address() -> Result<String> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(socket.local_addr()?.to_string())
}

/// Kills one after the other and starts it again, until the customers are served.
async fn kill(shop: &StripeShop, args: &Args, is_over: &AtomicBool) -> Result<u32> {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let mut kills = 0;
    while !is_over.load(Ordering::Relaxed) {
        clock::sleep(Duration::from_secs(args.kill_every)).await;
        match rng.random_range(0..3) {
            2 => drop(shop.gateway.kill_and_start(&shop.fleet).await?),
            replica => {
                let mut processes = shop.fleet.processes().await;
                processes.kill_worker("payments", replica).await?;
                processes.start_worker("payments", replica)?;
            }
        }
        kills += 1;
    }
    Ok(kills)
}

fn plans(args: &Args, number: u32) -> (Plan, After) {
    let mut rng = StdRng::seed_from_u64(args.seed.wrapping_mul(1_000_003).wrapping_add(number.into()));
    let plan = match rng.random_range(0..20) {
        0 => Plan::PaysWithSecondCard,
        1 => Plan::PaysAsItIsCancelled,
        2 => Plan::Leaves,
        _ => Plan::Pays,
    };
    let after = match rng.random_range(0..100) {
        0 => After::Dispute,
        1 => After::RefundInDashboard,
        2..14 => After::Refund,
        _ => After::Nothing,
    };
    (plan, after)
}

/// One order, from placing to whatever comes after it is paid.
async fn customer(shop: &StripeShop, args: &Args, number: u32) -> Result<()> {
    let (plan, after) = plans(args, number);
    let mut order = StripeShop::order(1 + number % 2);
    if plan == Plan::Leaves {
        order.as_object_mut().context("an order is an object")?.insert("time_to_pay".to_owned(), json!("20s"));
    }
    let placed = insist(shop, "/v1/orders", &format!("order {number}"), &order).await?;
    let path = format!("/v1/orders/{}", text(&placed, "order_id"));
    if plan == Plan::Leaves {
        return Ok(());
    }
    let page = read_until(shop, &path, |order| !session(order).is_empty()).await?;
    let session = session(&page).to_owned();
    let (cancelling, nothing) = (format!("{path}/cancel"), json!({}));
    let cancel = || insist(shop, &cancelling, "cancel", &nothing);
    match plan {
        Plan::PaysWithSecondCard => drop(shop.stripe.decline(&session)?),
        Plan::PaysAsItIsCancelled => {
            if number.is_multiple_of(2) {
                cancel().await?;
            }
            // The page may be closed already.
            let paid = shop.stripe.pay(&session);
            cancel().await?;
            return paid.map(drop).or(Ok(()));
        }
        Plan::Pays | Plan::Leaves => {}
    }
    let intent = shop.stripe.pay(&session)?.context("there was something to pay")?;
    // What is set aside first is being taken for a while.
    let is_paid = |order: &Value| !["", "pending", "capturing"].contains(&text(order, "payment_status"));
    let order = read_until(shop, &path, is_paid).await?;
    if text(&order, "status") != "paid" {
        bail!("{path} was paid and is {order}");
    }
    match after {
        After::Nothing => {}
        After::Refund => drop(insist(shop, &format!("{path}/refunds"), "refund", &json!({})).await?),
        After::RefundInDashboard => drop(shop.stripe.refund_in_dashboard(&intent, 500)?),
        After::Dispute => dispute(shop, &intent, number)?,
    }
    Ok(())
}

/// A bank takes less than was paid, as much, or more, once or twice; the shop wins, loses, or waits for the end.
fn dispute(shop: &StripeShop, intent: &str, number: u32) -> Result<()> {
    let amounts: &[i64] = match number.rem_euclid(3) {
        0 => &[500, 700],
        1 => &[1_250],
        _ => &[3_000],
    };
    for amount in amounts {
        let dispute = shop.stripe.dispute(intent, *amount)?;
        if !number.is_multiple_of(4) {
            shop.stripe.close_dispute(&dispute, number.is_multiple_of(2))?;
        }
    }
    Ok(())
}

/// A field that is a text; empty: there is none.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Posts until there is an answer, for the gateway is killed now and then.
async fn insist(shop: &StripeShop, path: &str, key: &str, body: &Value) -> Result<Value> {
    loop {
        let key = format!("{key} {path}");
        match shop.gateway.post(path, &key, body).await {
            Ok(answer) if answer.status < 300 && answer.status != 202 => return Ok(answer.json),
            Ok(answer) if matches!(answer.status, 202 | 409 | 500..) => {}
            Ok(answer) => bail!("{path} was refused: {}", answer.text),
            Err(_gone) => {}
        }
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads until it is so.
async fn read_until(shop: &StripeShop, path: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let read = shop.gateway.get(path).await.map(|answer| answer.json).unwrap_or_default();
        if is_so(&read) {
            return Ok(read);
        }
        if Instant::now() > deadline {
            bail!("{path} does not come on: {read}");
        }
        clock::sleep(Duration::from_millis(50)).await;
    }
}

/// Of one payment, in minor units: what came, what went back, and what banks took back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    captured: i64,
    refunded: i64,
    charged_back: i64,
}

type Books = BTreeMap<String, Sums>;
