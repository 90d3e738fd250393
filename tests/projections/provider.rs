//! The providers against the suite that each must pass: the sandbox with its ledger in Postgres, and Stripe by way of a fake.

use std::time::Duration;

use domain::{Currency, Money, OrderId, PaymentId, RefundId};
use fake_stripe::{FakeStripe, Faults, RefundStatus};
use futures::future::join_all;
use platform::{clock, database::Pool};
use providers::{
    AuthorisationRef, CheckoutRequest, Provider, ProviderError, RefundRequest, idempotency_key,
    provider_suite::{
        Harm, Holds, Scenario, Struck, a_refund_that_fails_later_is_known_and_can_be_sent_again,
        a_refund_that_takes_days_is_known, check, check_fault, what_has_lapsed_is_gone,
        what_went_back_elsewhere_is_declined,
    },
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
        order_reference: (!name.is_empty()).then(|| format!("R-{name}")),
        amount: euros(AMOUNT),
        payment_method: payment_method.to_owned(),
        ends_at: clock::now() + Duration::from_hours(1),
    }
}

#[tokio::test]
async fn the_sandbox_keeps_what_every_provider_promises() {
    let (_dir, _postgres, url) = database().await;
    let pool = PgPool::connect(&url).await.unwrap();
    let sandbox = Sandbox::new(&Pool::new(pool.clone()));
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

    let fails = refund("fails", "sandbox:succeed,refund=fail_later,refund_after=1ms");
    // Its time comes by way of the broker, of which there is none here.
    let has_failed = async || {
        let failed = "update payments.sandbox_refunds set status = 'failed' where fails_after_ms is not null";
        sqlx::query(failed).execute(&pool).await.unwrap();
    };
    a_refund_that_fails_later_is_known_and_can_be_sent_again(&sandbox, &fails, has_failed).await.unwrap();
    let lapsed = AuthorisationRef {
        key: "end-lapsed".to_owned(),
        payment_id: PaymentId(id("payment", "lapsed")),
        reference: "hold-lapsed".to_owned(),
        payment_reference: payment_reference(PaymentId(id("payment", "lapsed")), "sandbox:succeed,hold=lapse"),
        amount: euros(AMOUNT),
    };
    what_has_lapsed_is_gone(&sandbox, &lapsed).await.unwrap();
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
    stripe_within(fake, capture, Duration::from_secs(5))
}

fn stripe_within(fake: &FakeStripe, capture: stripe::Capture, timeout: Duration) -> Stripe {
    Stripe::new(stripe_settings(fake, capture, timeout), fake.key()).unwrap()
}

fn stripe_settings(fake: &FakeStripe, capture: stripe::Capture, timeout: Duration) -> stripe::Settings {
    stripe::Settings {
        url: fake.url().to_owned(),
        timeout,
        success_url: "https://shop.example/thanks".to_owned(),
        cancel_url: "https://shop.example/cart".to_owned(),
        fleet: "fleet-1".to_owned(),
        allow_live: false,
        missed_every: None,
        capture,
    }
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

/// Longer than a call may take that a fault keeps waiting.
const LONG_MS: u64 = 900;

/// Every fault of a call, with what Stripe may have done.
fn faults() -> Vec<(&'static str, Harm, Faults)> {
    let none = Faults::default;
    vec![
        ("429", Harm::Undone, Faults { busy: 100, ..none() }),
        ("429, try again", Harm::Undone, Faults { lock_timeout: 100, ..none() }),
        ("403", Harm::Undone, Faults { forbidden: 100, ..none() }),
        ("a lost request", Harm::Unknown, Faults { lost_request: 100, ..none() }),
        ("a lost answer", Harm::Unknown, Faults { lost_answer: 100, ..none() }),
        ("500 before", Harm::Unknown, Faults { error_before: 100, ..none() }),
        ("500 after", Harm::Unknown, Faults { error_after: 100, ..none() }),
        ("502 after", Harm::Unknown, Faults { bad_gateway: 100, ..none() }),
        ("no answer", Harm::Unknown, Faults { hang: 100, hang_ms: LONG_MS, ..none() }),
        ("a late answer", Harm::Unknown, Faults { slow: 100, slow_ms: LONG_MS, ..none() }),
    ]
}

/// Each call of Stripe's under one fault, and then Stripe's own books: each was done once.
async fn under_a_fault(name: &str, harm: Harm, faults: Faults) {
    let fake = FakeStripe::start(fake_stripe::Settings::default()).await.unwrap();
    let patient = stripe_that_takes(&fake, stripe::Capture::AtOnce);
    let holding = stripe_that_takes(&fake, stripe::Capture::OnPaid);
    let struck = Struck {
        page: page("page", "stripe"),
        refund: paid(&patient, &fake, "paid", 1).await,
        holds: Some(Holds {
            taken: set_aside(&holding, &fake, "taken").await,
            let_go: set_aside(&holding, &fake, "let go").await,
        }),
    };
    let stripe = stripe_within(&fake, stripe::Capture::AtOnce, Duration::from_millis(600));
    let strike = async |is_struck| fake.set_faults(if is_struck { faults.clone() } else { Faults::default() });
    check_fault(&stripe, &struck, harm, strike).await.unwrap_or_else(|broken| panic!("{name}: {broken}"));
    let totals = fake.ledger().totals.get("eur").copied().unwrap();
    let moved = (totals.captured, totals.released, totals.refunded, totals.authorised);
    assert_eq!(moved, (2 * AMOUNT, AMOUNT, AMOUNT, 0), "{name}: what was paid and what was taken; each once");
}

#[tokio::test]
async fn under_every_fault_of_a_call_stripe_does_what_it_was_asked_for_once() {
    join_all(faults().into_iter().map(|(name, harm, faults)| under_a_fault(name, harm, faults))).await;
}

#[tokio::test]
async fn stripe_with_a_key_that_it_does_not_know_does_nothing_and_somebody_must_mend_that() {
    let fake = FakeStripe::start(fake_stripe::Settings::default()).await.unwrap();
    let other = FakeStripe::start(fake_stripe::Settings { key: "sk_test_other".to_owned(), ..Default::default() });
    let other = other.await.unwrap();
    let good = stripe_that_takes(&fake, stripe::Capture::AtOnce);
    let holding = stripe_that_takes(&fake, stripe::Capture::OnPaid);
    let refund = paid(&good, &fake, "paid", 1).await;
    let held = set_aside(&holding, &fake, "held").await;
    let before = fake.ledger();
    // The address of one and the key of the other.
    let settings = stripe_settings(&fake, stripe::Capture::AtOnce, Duration::from_secs(5));
    let wrong = Stripe::new(settings, other.key()).unwrap();
    let answers = [
        wrong.open_checkout(&page("page", "stripe")).await.map(drop),
        wrong.refund(&refund).await.map(drop),
        wrong.find_refund(&refund).await.map(drop),
        wrong.capture(&held).await.map(drop),
        wrong.void(&held).await.map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(ProviderError::Misconfigured(_))), "{answer:?}");
    }
    assert_eq!(fake.ledger(), before);
}

#[tokio::test]
async fn what_becomes_of_money_at_stripe_days_later_is_known() {
    let fake = FakeStripe::start(fake_stripe::Settings::default()).await.unwrap();
    let stripe = stripe_that_takes(&fake, stripe::Capture::AtOnce);
    let holding = stripe_that_takes(&fake, stripe::Capture::OnPaid);
    let [slow, fails, gone] = [
        paid(&stripe, &fake, "slow", 1).await,
        paid(&stripe, &fake, "fails", 1).await,
        paid(&stripe, &fake, "gone", 1).await,
    ];
    let settle = |name: &'static str, status| {
        let ledger = fake.ledger();
        let payment = &ledger.payments[&id("payment", name).to_string()];
        fake.settle_refund(&payment.refunds[0].id, status).unwrap();
    };
    fake.set_refunds_begin(RefundStatus::Pending);
    let is_settled = || settle("slow", RefundStatus::Succeeded);
    a_refund_that_takes_days_is_known(&stripe, &slow, is_settled).await.unwrap();
    let has_failed = async || {
        settle("fails", RefundStatus::Failed);
        fake.set_refunds_begin(RefundStatus::Succeeded);
    };
    // Pending when it fails; and another, which was paid out.
    a_refund_that_fails_later_is_known_and_can_be_sent_again(&stripe, &fails, has_failed).await.unwrap();
    let came_back = paid(&stripe, &fake, "came back", 1).await;
    let has_failed = async || settle("came back", RefundStatus::Failed);
    a_refund_that_fails_later_is_known_and_can_be_sent_again(&stripe, &came_back, has_failed).await.unwrap();
    fake.refund_in_dashboard(&gone.charge_reference, AMOUNT).unwrap();
    what_went_back_elsewhere_is_declined(&stripe, &gone).await.unwrap();

    let lapsed = set_aside(&holding, &fake, "lapsed").await;
    fake.advance(Duration::from_hours(8 * 24));
    what_has_lapsed_is_gone(&stripe, &lapsed).await.unwrap();
    let totals = fake.ledger().totals.get("eur").copied().unwrap();
    assert_eq!((totals.captured, totals.refunded, totals.refunding), (4 * AMOUNT, 4 * AMOUNT, 0), "{totals:?}");
}
