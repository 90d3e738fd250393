//! The providers against the suite that each must pass: the sandbox with its ledger in Postgres, and Stripe by way of a fake.

use std::time::Duration;

use domain::{Currency, Money, OrderId, PaymentId, RefundId};
use fake_stripe::{FakeStripe, Faults};
use platform::clock;
use providers::{
    AuthorisationRef, CheckoutRequest, Provider, RefundRequest, idempotency_key,
    provider_suite::{Holds, Scenario, check},
    sandbox::{Sandbox, payment_reference},
    stripe::{self, Stripe},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database;

const AMOUNT: i64 = 1_250;

fn id(kind: &str, name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind} {name}").as_bytes())
}

fn euros(minor_units: i64) -> Money {
    Money { minor_units, currency: Currency::parse("EUR").unwrap() }
}

fn refund(name: &str, script: &str) -> RefundRequest {
    let (payment_id, refund_id) = (PaymentId(id("payment", name)), RefundId(id("refund", name)));
    RefundRequest {
        key: idempotency_key(payment_id, refund_id, 1),
        payment_id,
        payment_reference: payment_reference(payment_id, script),
        charge_reference: String::new(),
        refund_id,
        amount: euros(AMOUNT),
    }
}

fn page(name: &str, payment_method: &str) -> CheckoutRequest {
    CheckoutRequest {
        key: format!("page-{name}"),
        payment_id: PaymentId(id("payment", name)),
        order_id: OrderId(id("order", name)),
        amount: euros(AMOUNT),
        payment_method: payment_method.to_owned(),
        ends_at: clock::now() + Duration::from_hours(1),
    }
}

#[tokio::test]
async fn the_sandbox_keeps_what_every_provider_promises() {
    let (_dir, _postgres, url) = database().await;
    let sandbox = Sandbox::new(&PgPool::connect(&url).await.unwrap());
    let scenario = Scenario {
        plain: refund("plain", "sandbox:succeed"),
        lost_answer: refund("lost", "sandbox:succeed,refund=lose_response"),
        declined: refund("declined", "sandbox:succeed,refund=decline"),
        never_sent: refund("never", "sandbox:succeed"),
        page: page("page", "sandbox:succeed,checkout=call"),
        // It has no memory of what was asked before: whether money is taken its script says.
        holds: None,
    };
    check(&sandbox, &scenario, |_is_lost| ()).await.unwrap();
}

/// A refund of 12.50 EUR that a buyer has paid on a page of Stripe's, twice as much if so asked.
async fn paid(stripe: &Stripe, fake: &FakeStripe, name: &str, times: i64) -> RefundRequest {
    let opened =
        stripe.open_checkout(&CheckoutRequest { amount: euros(AMOUNT * times), ..page(name, "stripe") }).await.unwrap();
    let opened = opened.page;
    let charge_reference = fake.pay(&opened.reference).unwrap().unwrap();
    RefundRequest { payment_reference: opened.reference, charge_reference, ..refund(name, "") }
}

/// Money that a buyer has had set aside on a page of Stripe's.
async fn set_aside(stripe: &Stripe, fake: &FakeStripe, name: &str) -> AuthorisationRef {
    let opened = stripe.open_checkout(&page(name, "stripe")).await.unwrap().page;
    AuthorisationRef {
        key: format!("end-{name}"),
        payment_id: PaymentId(id("payment", name)),
        reference: fake.pay(&opened.reference).unwrap().unwrap(),
        payment_reference: opened.reference,
        amount: euros(AMOUNT),
    }
}

fn stripe_that_takes(fake: &FakeStripe, capture: stripe::Capture) -> Stripe {
    Stripe::new(stripe::Settings {
        url: fake.url().to_owned(),
        secret_key: fake.key().to_owned(),
        timeout: Duration::from_secs(5),
        success_url: "https://shop.example/thanks".to_owned(),
        cancel_url: "https://shop.example/cart".to_owned(),
        fleet: "fleet-1".to_owned(),
        allow_live: false,
        missed_every: None,
        capture,
    })
    .unwrap()
}

#[tokio::test]
async fn stripe_keeps_what_every_provider_promises() {
    let fake = FakeStripe::start(fake_stripe::Settings::default()).await.unwrap();
    let stripe = stripe_that_takes(&fake, stripe::Capture::AtOnce);
    let holding = stripe_that_takes(&fake, stripe::Capture::OnPaid);
    let declined = paid(&stripe, &fake, "declined", 1).await;
    let scenario = Scenario {
        plain: paid(&stripe, &fake, "plain", 2).await,
        lost_answer: paid(&stripe, &fake, "lost", 1).await,
        // More than came.
        declined: RefundRequest { amount: euros(AMOUNT + 1), ..declined },
        never_sent: paid(&stripe, &fake, "never", 1).await,
        page: page("page", "stripe"),
        holds: Some(Holds {
            taken: set_aside(&holding, &fake, "taken").await,
            let_go: set_aside(&holding, &fake, "let go").await,
        }),
    };
    let lose = |is_lost| fake.set_faults(Faults { lost_answer: if is_lost { 100 } else { 0 }, ..Faults::default() });
    check(&stripe, &scenario, lose).await.unwrap();
    let refunded = fake.ledger().totals["eur"].refunded;
    assert_eq!(refunded, 2 * AMOUNT, "each once");
}
