//! Search: what a text is that somebody has copied from somewhere, as far as primary keys and indexes can tell.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    problem::Problem,
    request::Query,
};

pub(crate) const PATH: &str = "/v1/search";

/// Hits of one kind.
const HITS_MAX: i64 = 20;

/// The fewest digits of an id that say anything: ids of one time begin alike.
const DIGITS_MIN: usize = 8;

const DIGITS: usize = 32;

/// Letters of the longest name of a customer.
const CHARS_MAX: usize = 128;

/// Where it is looked, for whoever finds nothing.
const LOOKED_AT: [&str; 8] = [
    "ids of orders, from 8 digits on",
    "ids of rounds, from 8 digits on",
    "ids of payments, from 8 digits on",
    "ids of commands, in full",
    "the shop's own numbers of orders, in full",
    "names of customers, in full",
    "how SKUs begin",
    "how codes of coupons begin",
];

/// What a text may be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Found {
    pub(crate) hits: Vec<Hit>,
    /// Whether there are more of a kind than are told.
    pub(crate) has_more: bool,
    /// All that was looked at. What is not there cannot be searched: refunds, notes, amounts, what a provider calls a payment.
    pub(crate) looked_at: Vec<&'static str>,
}

/// Something that it may be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hit {
    /// order, round, payment, command, product, coupon or wallet. More may come.
    pub(crate) kind: &'static str,
    /// What it is read by: of an order its id, of a product its SKU, of a wallet its customer.
    pub(crate) id: String,
    /// What the text is of it: id, reference, customer, sku or code. More may come.
    pub(crate) by: &'static str,
    /// The order that it is, or belongs to.
    pub(crate) order_id: Option<Uuid>,
    /// What else is known at a glance, for people.
    pub(crate) says: String,
}

/// `GET /v1/search`
pub(crate) async fn search(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), &["text"])?;
    Ok(json_response(StatusCode::OK, &find(&gateway, query.get("text").unwrap_or_default()).await?))
}

/// What a text may be.
///
/// # Errors
/// It is none that can be looked for.
pub(crate) async fn find(gateway: &Gateway, text: &str) -> Result<Found, Problem> {
    let text = text.trim();
    if let Err(rejection) = domain::text("text", text, 1, CHARS_MAX) {
        return Err(Problem::own("INVALID_PARAMETER", rejection.reason).of("text"));
    }
    let mut looks = Looks { gateway, found: Found { hits: vec![], has_more: false, looked_at: LOOKED_AT.into() } };
    if let Some(ids) = Ids::begin_with(text) {
        looks.ids(&ids).await?;
    }
    looks.names(text).await?;
    Ok(looks.found)
}

/// All ids that begin with the same digits.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    first: Uuid,
    last: Uuid,
}

impl Ids {
    /// `None`: these are not the first digits of an id, or too few.
    fn begin_with(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|letter| *letter != '-').collect();
        let is_one =
            (DIGITS_MIN..=DIGITS).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let filled = |with: &str| Uuid::try_parse(&format!("{digits}{}", with.repeat(DIGITS - digits.len()))).ok();
        if is_one { Some(Self { first: filled("0")?, last: filled("f")? }) } else { None }
    }

    fn is_one(&self) -> bool {
        self.first == self.last
    }
}

/// An order, as a hit needs it: its id, the shop's own number of it, its customer, its state, and when it was placed.
type OrderRow = (Uuid, Option<String>, String, String, String);

macro_rules! orders {
    ($which:literal) => {
        concat!(
            "select order_id, reference, customer_id, status, to_jsonb(placed_at) #>> '{}' from orders.orders where ",
            $which
        )
    };
}

const ORDERS: &str = orders!("order_id between $1 and $2 order by order_id limit $3");
const BY_REFERENCE: &str = orders!("reference = $1 limit $2");
const OF_CUSTOMER: &str = orders!("customer_id = $1 order by placed_at desc, order_id desc limit $2");

const ROUNDS: &str =
    "select round_id, prize, status from rounds.rounds where round_id between $1 and $2 order by round_id limit $3";

const PAYMENTS: &str = "select payment_id, order_id, status from payments.payments where payment_id between $1 and $2
    order by payment_id limit $3";

const COMMAND: &str = "select 'orders' from orders.inbox where command_id = $1
    union all select 'inventory' from inventory.inbox where command_id = $1
    union all select 'rounds' from rounds.inbox where command_id = $1
    union all select 'payments' from payments.inbox where command_id = $1 limit 1";

const PRODUCTS: &str = "select sku, name from inventory.stock where sku between $1 and $2 order by sku limit $3";

const COUPONS: &str = "select code, status from payments.coupons where code between $1 and $2 order by code limit $3";

const WALLET: &str = "select customer_id from payments.wallets where customer_id = $1 limit 1";

struct Looks<'a> {
    gateway: &'a Gateway,
    found: Found,
}

impl Looks<'_> {
    /// One more than is told says whether there are more.
    const LIMIT: i64 = HITS_MAX + 1;

    fn add(&mut self, hits: impl Iterator<Item = Hit>) {
        let mut hits = hits.peekable();
        self.found.hits.extend(hits.by_ref().take(usize::try_from(HITS_MAX).unwrap_or_default()));
        self.found.has_more |= hits.peek().is_some();
    }

    /// What has such an id.
    async fn ids(&mut self, ids: &Ids) -> Result<(), Problem> {
        let pool = &self.gateway.pool;
        let orders: Vec<OrderRow> =
            sqlx::query_as(ORDERS).bind(ids.first).bind(ids.last).bind(Self::LIMIT).fetch_all(pool).await?;
        let rounds: Vec<(Uuid, String, String)> =
            sqlx::query_as(ROUNDS).bind(ids.first).bind(ids.last).bind(Self::LIMIT).fetch_all(pool).await?;
        let payments: Vec<(Uuid, Uuid, String)> =
            sqlx::query_as(PAYMENTS).bind(ids.first).bind(ids.last).bind(Self::LIMIT).fetch_all(pool).await?;
        let command: Option<String> = match ids.is_one() {
            true => sqlx::query_scalar(COMMAND).bind(ids.first).fetch_optional(pool).await?,
            false => None,
        };
        self.add(orders.into_iter().map(|row| order(row, "id")));
        self.add(rounds.into_iter().map(|(id, prize, status)| hit("round", (id, "id"), format!("{status}, {prize}"))));
        self.add(payments.into_iter().map(|(id, order_id, status)| Hit {
            order_id: Some(order_id),
            ..hit("payment", (id, "id"), format!("{status}, of order {order_id}"))
        }));
        self.add(
            command.into_iter().map(|service| hit("command", (ids.first, "id"), format!("answered by {service}"))),
        );
        Ok(())
    }

    /// What is called so, or begins so.
    async fn names(&mut self, text: &str) -> Result<(), Problem> {
        let pool = &self.gateway.pool;
        let referred: Vec<OrderRow> = sqlx::query_as(BY_REFERENCE).bind(text).bind(Self::LIMIT).fetch_all(pool).await?;
        let bought: Vec<OrderRow> = sqlx::query_as(OF_CUSTOMER).bind(text).bind(Self::LIMIT).fetch_all(pool).await?;
        let wallet: Option<String> = sqlx::query_scalar(WALLET).bind(text).fetch_optional(pool).await?;
        let products: Vec<(String, String)> =
            sqlx::query_as(PRODUCTS).bind(text).bind(end_of(text)).bind(Self::LIMIT).fetch_all(pool).await?;
        // Codes are in capital letters, however they are typed.
        let code = text.to_uppercase();
        let coupons: Vec<(String, String)> =
            sqlx::query_as(COUPONS).bind(&code).bind(end_of(&code)).bind(Self::LIMIT).fetch_all(pool).await?;
        self.add(referred.into_iter().map(|row| order(row, "reference")));
        self.add(bought.into_iter().map(|row| order(row, "customer")));
        self.add(wallet.into_iter().map(|customer| hit("wallet", (customer, "customer"), String::new())));
        self.add(products.into_iter().map(|(sku, name)| hit("product", (sku, "sku"), name)));
        self.add(coupons.into_iter().map(|(code, status)| hit("coupon", (code, "code"), status)));
        Ok(())
    }
}

/// What stands behind all that begins with a text, in the order of its bytes.
fn end_of(text: &str) -> String {
    format!("{text}{}", char::MAX)
}

fn hit(kind: &'static str, (id, by): (impl ToString, &'static str), says: String) -> Hit {
    Hit { kind, id: id.to_string(), by, order_id: None, says }
}

fn order((order_id, reference, customer_id, status, placed_at): OrderRow, by: &'static str) -> Hit {
    let reference = reference.map(|reference| format!("{reference}, ")).unwrap_or_default();
    let says = format!("{reference}{status}, of {customer_id}, placed {placed_at}");
    Hit { order_id: Some(order_id), ..hit("order", (order_id, by), says) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Ids;

    #[test]
    fn from_eight_digits_on_a_text_may_be_the_beginning_of_an_id() {
        let ids = Ids::begin_with("0199a1c2").unwrap();
        assert_eq!(ids.first.to_string(), "0199a1c2-0000-0000-0000-000000000000");
        assert_eq!(ids.last.to_string(), "0199a1c2-ffff-ffff-ffff-ffffffffffff");
        assert_eq!(Ids::begin_with("0199A1C2-"), Some(ids));
        let whole = Ids::begin_with("0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f").unwrap();
        assert!(whole.is_one() && whole.first == Uuid::from_u128(0x0199_a1c2_7b1e_7c3d_9e4f_5a6b_7c8d_9e0f));
        for other in ["0199a1c", "0199a1cx", "customer-42", "", &"0".repeat(33), "００００００００"] {
            assert_eq!(Ids::begin_with(other), None, "{other}");
        }
    }
}
