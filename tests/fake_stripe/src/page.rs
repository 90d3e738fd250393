//! The buyer's page: a button that pays, and one that is declined.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, RawQuery, State as Extracted},
    http::StatusCode,
    response::Response,
    routing::get,
};

use crate::{money::written, server::text, state::Shared};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/pay/{session}", get(show).post(pay))
}

async fn show(Extracted(shared): Extracted<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let found = shared.with(|state| {
        let session = state.account.sessions.get(&id)?;
        Some((session.status.word(), written(&session.currency, session.total()), session.lines.len()))
    });
    let Some((status, total, lines)) = found else {
        return page(StatusCode::NOT_FOUND, "There is no such payment.");
    };
    page(
        StatusCode::OK,
        &format!(
            "<h1>{total}</h1><p>{lines} lines, {status}. A fake of Stripe: no money moves.</p>\
             <form method=post action=\"/pay/{id}\"><button>Pay</button></form>\
             <form method=post action=\"/pay/{id}?card=decline\"><button>Pay with a card that is declined</button></form>"
        ),
    )
}

async fn pay(Extracted(shared): Extracted<Arc<Shared>>, Path(id): Path<String>, RawQuery(query): RawQuery) -> Response {
    let says = |pair: &str| query.as_deref().is_some_and(|query| query.split('&').any(|given| given == pair));
    let (is_declined, is_delayed) = (says("card=decline"), says("method=sepa_debit"));
    let done = shared.with(|state| {
        state.act(|account, cause| {
            if is_declined {
                account.decline(cause, &id).map(Some)
            } else if is_delayed {
                account.pay_delayed(cause, &id).map(Some)
            } else {
                account.pay(cause, &id)
            }
        })
    });
    match done {
        Ok(_intent) if is_declined => page(StatusCode::PAYMENT_REQUIRED, "Your card was declined."),
        Ok(_intent) if is_delayed => page(StatusCode::OK, "Your bank has been asked for the money."),
        Ok(_intent) => page(StatusCode::OK, "Paid."),
        Err(refused) if refused.status == 404 => page(StatusCode::NOT_FOUND, "There is no such payment."),
        Err(refused) => page(StatusCode::CONFLICT, &refused.message),
    }
}

fn page(status: StatusCode, content: &str) -> Response {
    text(status, "text/html; charset=utf-8", format!("<!doctype html><title>Fake Stripe</title>{content}\n"))
}
