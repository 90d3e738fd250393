//! The routes, and what each of them goes through.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, RawPathParams, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::{
    Gateway, catalog, commands, console, coupons, diagnosis, docs, events, expire, fleet, guard, guard::RequestId,
    letters, link, log, openapi, operators, orders, problem, problem::Problem, public_round, read, search, waiting,
    wallets, webhooks,
};

/// All that the gateway serves.
pub(crate) fn app(gateway: Arc<Gateway>) -> Router {
    let mut app = Router::new()
        .route("/docs", get(docs::docs))
        .route("/openapi.json", get(openapi::openapi))
        .route("/problems/{code}", get(page))
        .route("/v1/commands/{command_id}", get(read::command))
        .route("/v1/orders", get(orders::list::list))
        .route("/v1/orders/{order_id}", get(orders::order))
        .route("/v1/orders/{order_id}/events", get(events::events))
        .route(link::PATH, post(link::link))
        .route("/v1/orders/{order_id}/refunds/{refund_id}", get(orders::refund))
        .route("/v1/products", get(catalog::products))
        .route("/v1/products/{sku}", get(read::product))
        .route("/v1/rounds", get(catalog::rounds))
        .route("/v1/rounds/{round_id}", get(read::round))
        .route("/v1/coupons", get(catalog::coupons))
        .route("/v1/coupons/{coupon_code}", get(coupons::coupon))
        .route("/v1/wallets/{customer_id}", get(wallets::wallets))
        .route(search::PATH, get(search::search))
        .route(waiting::PATH, get(waiting::waiting))
        .route(letters::PATH, get(letters::letters))
        .route(letters::ONE, get(letters::letter))
        .route(log::PATH, get(log::log))
        .route(expire::PATH, post(expire::expire))
        .route(diagnosis::PATH, get(diagnosis::get))
        .route(fleet::PATH, get(fleet::fleet))
        .route(operators::REDRIVE, post(operators::redrive_letters))
        .route(operators::SET_ASIDE, post(operators::set_letters_aside))
        .route(operators::PAUSE, post(operators::pause_consumer))
        .route(operators::RESUME, post(operators::resume_consumer))
        .route(operators::UNBLOCK, post(operators::unblock_session))
        .route("/webhooks/stripe", post(webhooks::stripe));
    for route in &commands::ROUTES {
        let run =
            move |state: State<Arc<Gateway>>,
                  id: Extension<RequestId>,
                  params: RawPathParams,
                  query: RawQuery,
                  headers: HeaderMap,
                  body: Body| { commands::post(state, id, (route, params, query), headers, body) };
        app = app.route(route.path, post(run));
    }
    app = app.merge(console::pages(&gateway));
    if gateway.settings.public_rounds {
        app = app.merge(public_round::pages());
    }
    app.layer(from_fn_with_state(Arc::clone(&gateway), guard::guard)).with_state(gateway)
}

/// `GET /problems/{code}`: what a code means, for whoever follows the `type` of a problem.
async fn page(Path(code): Path<String>) -> Result<Response, Problem> {
    let page = problem::page(&code).ok_or_else(|| Problem::own("NOT_FOUND", "there is no such code"))?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], page).into_response())
}
