//! What a test does to the fake over HTTP: the same as by the library.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::State as Extracted,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    account::{ChargeStatus, DisputeStatus, RefundStatus},
    dashboard,
    events::Webhook,
    faults::Faults,
    ledger::Ledger,
    problem::Refused,
    server::text,
    state::{Foreign, Shared, State},
};

#[derive(Deserialize)]
struct OfSession {
    session: String,
}

#[derive(Deserialize)]
struct Offered {
    debit: bool,
}

#[derive(Deserialize)]
struct Arrived {
    session: String,
    succeeded: bool,
}

#[derive(Deserialize)]
struct OfIntent {
    payment_intent: String,
    amount: i64,
}

#[derive(Deserialize)]
struct Settled {
    refund: String,
    status: RefundStatus,
}

#[derive(Deserialize)]
struct Begin {
    status: RefundStatus,
}

#[derive(Deserialize)]
struct Closed {
    dispute: String,
    won: bool,
}

#[derive(Deserialize)]
struct Advance {
    seconds: u64,
}

#[derive(Deserialize)]
struct Resent {
    event: String,
}

#[derive(Deserialize)]
struct Sent {
    kind: Foreign,
}

type Holder = Extracted<Arc<Shared>>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_fake/ledger", get(ledger))
        .route("/_fake/journal", get(journal))
        .route("/_fake/faults", get(faults).post(set_faults))
        .route("/_fake/{act}", post(act))
}

async fn ledger(Extracted(shared): Holder) -> Response {
    let ledger = shared.with(|state| Ledger::of(&state.account));
    text(StatusCode::OK, "application/json", serde_json::to_string(&ledger).unwrap_or_default())
}

/// One exchange on each line.
async fn journal(Extracted(shared): Holder) -> Response {
    let mut lines = String::new();
    for exchange in shared.with(|state| state.journal.all()) {
        lines.push_str(&serde_json::to_string(&exchange).unwrap_or_default());
        lines.push('\n');
    }
    text(StatusCode::OK, "application/jsonl", lines)
}

async fn faults(Extracted(shared): Holder) -> Response {
    let faults = shared.with(|state| state.faults.clone());
    text(StatusCode::OK, "application/json", serde_json::to_string(&faults).unwrap_or_default())
}

async fn set_faults(Extracted(shared): Holder, body: Bytes) -> Response {
    answer(read::<Faults>(&body).map(|faults| {
        shared.with(|state| state.faults = faults);
        Value::Null
    }))
}

async fn act(
    Extracted(shared): Holder,
    axum::extract::Path(act): axum::extract::Path<String>,
    body: Bytes,
) -> Response {
    answer(shared.with(|state| perform(state, &act, &body)))
}

fn perform(state: &mut State, act: &str, body: &[u8]) -> Result<Value, Refused> {
    match act {
        "webhook" => {
            state.events.webhook = Some(read::<Webhook>(body)?);
            Ok(Value::Null)
        }
        "advance" => {
            state.clock.advance(Duration::from_secs(read::<Advance>(body)?.seconds));
            Ok(json!({ "now": state.clock.now() }))
        }
        "refunds_begin" => {
            dashboard::refunds_begin(state, read::<Begin>(body)?.status);
            Ok(Value::Null)
        }
        "pay" => {
            let OfSession { session } = read(body)?;
            Ok(json!({ "payment_intent": state.act(|account, cause| account.pay(cause, &session))? }))
        }
        "decline" => {
            let OfSession { session } = read(body)?;
            Ok(json!({ "payment_intent": state.act(|account, cause| account.decline(cause, &session))? }))
        }
        "offer" => {
            state.account.offers_debit = read::<Offered>(body)?.debit;
            Ok(Value::Null)
        }
        "pay_delayed" => {
            let OfSession { session } = read(body)?;
            Ok(json!({ "payment_intent": state.act(|account, cause| account.pay_delayed(cause, &session))? }))
        }
        "settle_payment" => {
            let Arrived { session, succeeded } = read(body)?;
            let status = if succeeded { ChargeStatus::Succeeded } else { ChargeStatus::Failed };
            state.act(|account, cause| account.settle_payment(cause, &session, status))?;
            Ok(Value::Null)
        }
        "refund" => {
            let OfIntent { payment_intent, amount } = read(body)?;
            Ok(json!({ "refund": dashboard::refund(state, &payment_intent, amount)? }))
        }
        "settle_refund" => {
            let Settled { refund, status } = read(body)?;
            state.act(|account, cause| account.settle_refund(cause, &refund, status))?;
            Ok(Value::Null)
        }
        "dispute" => {
            let OfIntent { payment_intent, amount } = read(body)?;
            let dispute = state.act(|account, cause| account.dispute(cause, &payment_intent, amount))?;
            Ok(json!({ "dispute": dispute }))
        }
        "close_dispute" => {
            let Closed { dispute, won } = read(body)?;
            let status = if won { DisputeStatus::Won } else { DisputeStatus::Lost };
            state.act(|account, cause| account.close_dispute(cause, &dispute, status))?;
            Ok(Value::Null)
        }
        "resend" => Ok(json!({ "found": state.events.resend(&read::<Resent>(body)?.event) })),
        "foreign" => Ok(json!({ "event": state.send_foreign(read::<Sent>(body)?.kind) })),
        _other => Err(Refused { status: 404, code: None, message: format!("The fake has no control '{act}'.") }),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused { status: 400, code: None, message: error.to_string() })
}

fn answer(done: Result<Value, Refused>) -> Response {
    let (status, body) = match done {
        Ok(body) => (StatusCode::OK, body),
        Err(refused) => {
            let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, json!({ "error": refused.message, "code": refused.code }))
        }
    };
    text(status, "application/json", body.to_string())
}
