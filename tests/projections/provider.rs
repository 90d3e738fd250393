//! The sandbox against the suite that every provider must pass, with its ledger in Postgres.

use domain::{Currency, Money, PaymentId, RefundId};
use providers::{
    RefundRequest,
    provider_suite::{Scenario, check},
    sandbox::{Sandbox, payment_reference},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database;

fn request(name: &str, script: &str) -> RefundRequest {
    let id = |kind: &str| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind} {name}").as_bytes());
    let payment_id = PaymentId(id("payment"));
    RefundRequest {
        key: format!("key-{name}"),
        payment_id,
        payment_reference: payment_reference(payment_id, script),
        refund_id: RefundId(id("refund")),
        amount: Money { minor_units: 1_250, currency: Currency::parse("EUR").unwrap() },
    }
}

#[tokio::test]
async fn the_sandbox_keeps_what_every_provider_promises() {
    let (_dir, _postgres, url) = database().await;
    let sandbox = Sandbox::new(&PgPool::connect(&url).await.unwrap());
    let scenario = Scenario {
        plain: request("plain", "sandbox:succeed"),
        lost_answer: request("lost", "sandbox:succeed,refund=lose_response"),
        declined: request("declined", "sandbox:succeed,refund=decline"),
        never_sent: request("never", "sandbox:succeed"),
    };
    check(&sandbox, &scenario).await.unwrap();
}
