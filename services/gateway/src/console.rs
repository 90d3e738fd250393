//! The console: pages for people over what the API answers to programs.
//!
//! A page shows the same structs, and an act is a request of the API, by the token that its visitor has signed in with: nobody sees or does
//! more here than there. Pages need no script; with one they change while one looks. All links are relative, so that the console stands
//! behind any path prefix.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::{Gateway, commands::insert, guard, problem::Problem};

mod acts;
pub(crate) mod assets;
mod decide;
mod diagnosis;
mod fleet;
mod frame;
mod letters;
mod live;
mod log;
mod order;
mod orders;
mod overview;
mod rounds;
mod search;
mod session;
mod sheets;
mod stock;
mod words;

pub(crate) use session::SessionKey;

/// Where it stands below the gateway's own address.
const PREFIX: &str = "/console";

/// What a page may do: show and run what comes from here, and send its forms here. Nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// What came from here is shown as it is.
#[derive(Debug, Clone)]
struct Shown;

/// Whether a path is of the console.
pub(crate) fn has(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What was refused before it came to a page, as a page.
pub(crate) fn in_one_form(gateway: &Gateway, response: Response, path: &str) -> Response {
    if response.extensions().get::<Shown>().is_some() {
        return response;
    }
    let problem = response.extensions().get::<Problem>().cloned().or_else(|| guard::refused(response.status()));
    let Some(problem) = problem else { return response };
    dressed(frame::refused(gateway, None, &frame::root_of(path), &problem))
}

/// All pages.
pub(crate) fn pages(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    let inside = Router::new()
        .route("/console/", get(overview::page))
        .route("/console/orders", get(orders::page))
        .route("/console/orders.csv", get(sheets::orders))
        .route("/console/orders/{order_id}", get(order::page))
        .route("/console/orders/{order_id}/live", get(live::of_order))
        .route("/console/orders/{order_id}/refunds/{refund_id}", get(decide::refund))
        .route("/console/decide", get(decide::page))
        .route("/console/stock", get(stock::list))
        .route("/console/stock.csv", get(sheets::stock))
        .route("/console/stock/{sku}", get(stock::page))
        .route("/console/rounds", get(rounds::list))
        .route("/console/rounds/{round_id}", get(rounds::page))
        .route("/console/letters", get(letters::page))
        .route("/console/letters/{letter}", get(letters::letter))
        .route("/console/diagnosis", get(diagnosis::page))
        .route("/console/fleet", get(fleet::page))
        .route("/console/log", get(log::page))
        .route("/console/search", get(search::page))
        .route("/console/act/{verb}", get(acts::ask).post(acts::act))
        .route("/console/renew", get(session::renew))
        .route_layer(from_fn_with_state(Arc::clone(gateway), session::let_in));
    Router::new()
        .route(PREFIX, get(async || see_other("console/")))
        .route("/console/sign-in", get(session::form).post(session::sign_in))
        .route("/console/sign-out", post(session::sign_out))
        .route("/console/assets/{name}", get(assets::asset))
        .merge(inside)
        .route_layer(from_fn_with_state(Arc::clone(gateway), dress))
}

/// Gives every answer what a browser has to know, and makes a page of whatever was refused.
async fn dress(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let root = frame::root_of(request.uri().path());
    let path = frame::within(request.uri().path(), request.uri().query());
    let is_read = request.method().is_safe();
    let mut response = next.run(request).await;
    let refused = match response.headers().contains_key(header::CONTENT_TYPE) {
        true => None,
        false => guard::refused(response.status()),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>().or(refused) {
        let visitor = response.extensions().get::<Arc<session::Visitor>>().cloned();
        response = match problem.status {
            StatusCode::UNAUTHORIZED => session::ask_who(&root, if is_read { &path } else { "" }),
            _ => frame::refused(&gateway, visitor.as_deref(), &root, &problem),
        };
    }
    dressed(response)
}

/// With what a browser has to know of every answer.
fn dressed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_SECURITY_POLICY, POLICY);
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(headers, header::REFERRER_POLICY, "same-origin");
    insert(headers, HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(Shown);
    response
}

/// Has a browser go on at another page.
fn see_other(place: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    insert(response.headers_mut(), header::LOCATION, place);
    response
}
