//! Reading: sessions that may only read, and what all resources share that are rows.

use std::{sync::Arc, time::Duration};

use audit::draw::{self, Draw};
use axum::{
    extract::{RawPathParams, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform::{
    config::{self, ms},
    database::{Pool, follow_password, session},
    error::Error,
};
use proto::{Message, common::v1::CommandReply};
use serde::Serialize;
use sqlx::{
    FromRow, Row,
    postgres::{PgPoolOptions, PgRow},
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::{accepted_for_later, insert, json_response},
    orders::shape::Money,
    outcome::{CommandOutcome, said},
    problem::Problem,
    request::{has, uuid},
};

/// How long Postgres may take over what is read, a little longer than it gives itself.
const ANSWERED_WITHIN: Duration = Duration::from_secs(7);

/// Connects to Postgres, to read.
///
/// # Errors
/// No database there, or it refuses the role.
pub(crate) async fn connect(settings: &config::Database) -> Result<Pool, Error> {
    let options = session(settings, "holdfast-gateway")?.options([
        ("default_transaction_read_only", "on"),
        ("statement_timeout", "5s"),
        ("TimeZone", "UTC"),
        ("jit", "off"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(settings.connections_max)
        .acquire_timeout(ms(5_000))
        .connect_with(options)
        .await
        .map_err(|error| Error::database("connecting to Postgres (setting database.url)", error))?;
    follow_password(&pool, settings)?;
    Ok(Pool::new(pool).answered_within(ANSWERED_WITHIN))
}

/// The value of a name in the path.
pub(crate) fn param<'a>(params: &'a RawPathParams, name: &str) -> &'a str {
    params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

/// The UUID in the path.
///
/// # Errors
/// It is none.
pub(crate) fn id(params: &RawPathParams, name: &'static str) -> Result<Uuid, Problem> {
    uuid(name, param(params, name))
}

/// A row as an answer, with the version of its stream as the tag; or nothing, if the caller has it.
pub(crate) fn tagged(headers: &HeaderMap, row: &impl Serialize, tag: &str) -> Response {
    let tag = format!("\"{tag}\"");
    let mut response = match has(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => json_response(StatusCode::OK, row),
    };
    insert(response.headers_mut(), header::ETAG, &tag);
    // Whoever keeps it asks again each time.
    insert(response.headers_mut(), header::CACHE_CONTROL, "private, no-cache");
    response
}

/// A product and its stock. Numbers of 64 bits are texts.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(crate) struct Product {
    pub(crate) sku: String,
    pub(crate) name: String,
    /// `received + adjusted − committed + returned`
    pub(crate) on_hand: String,
    /// Kept for orders that are not paid yet.
    pub(crate) held: String,
    /// `on_hand − held`
    pub(crate) available: String,
    pub(crate) received: String,
    pub(crate) adjusted: String,
    pub(crate) committed: String,
    pub(crate) returned: String,
    /// Events of its stream. It is also the ETag.
    pub(crate) version: String,
}

macro_rules! products {
    ($which:literal) => {
        concat!(
            "select sku, name, on_hand::text, held::text, (on_hand - held)::text as available, received::text, adjusted::text,
                 committed::text, returned::text, version::text
             from inventory.stock where ",
            $which
        )
    };
}

const PRODUCT: &str = products!("sku = $1");

/// The next products after a SKU.
pub(crate) const PRODUCTS: &str = products!("sku > $1 order by sku limit $2");

/// `GET /v1/products/{sku}`
pub(crate) async fn product(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let found = product_of(&gateway, param(&params, "sku")).await?;
    Ok(tagged(&headers, &found, &found.version))
}

/// A product as it stands.
///
/// # Errors
/// It is not known.
pub(crate) async fn product_of(gateway: &Gateway, sku: &str) -> Result<Product, Problem> {
    let found: Option<Product> = sqlx::query_as(PRODUCT).bind(sku).fetch_optional(&gateway.pool).await?;
    let missing = || Problem::rejected("UNKNOWN_PRODUCT", &format!("no product {sku:?} is known; was it registered?"));
    found.ok_or_else(missing)
}

/// A round. Numbers of 64 bits are texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Round {
    pub(crate) round_id: Uuid,
    pub(crate) prize: String,
    /// open, sold_out, closed or cancelled. More may come.
    pub(crate) status: String,
    pub(crate) total_shares: String,
    pub(crate) sold: String,
    /// Kept for orders that are not paid yet.
    pub(crate) held: String,
    /// `total_shares − sold − held`
    pub(crate) available: String,
    /// Of the sold shares, those whose buyers get their money back because the round failed.
    pub(crate) refunding: String,
    pub(crate) share_price: Money,
    pub(crate) closes_at: String,
    /// How its winner is drawn. Null: no winner is drawn here.
    pub(crate) draw: Option<RoundDraw>,
    /// Events of its stream. It is also the ETag.
    pub(crate) version: String,
}

/// How far the draw of a round has come, and who has won.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoundDraw {
    /// sealed, listed or drawn.
    pub(crate) status: &'static str,
    /// SHA-256 of the seed.
    pub(crate) commitment: String,
    /// Whose value is mixed in.
    pub(crate) beacon: &'static str,
    /// When that is published. Null: its tickets are not listed yet.
    pub(crate) draws_at: Option<String>,
    /// SHA-256 of the list of tickets.
    pub(crate) tickets_sha256: Option<String>,
    /// The ticket that won.
    pub(crate) winning_ticket: Option<String>,
    /// The order that has it.
    pub(crate) order_id: Option<String>,
}

impl RoundDraw {
    fn of(Draw { terms, listed, drawn }: &Draw) -> Self {
        let status = match (listed, drawn) {
            (_, Some(_)) => "drawn",
            (Some(_), None) => "listed",
            (None, None) => "sealed",
        };
        Self {
            status,
            commitment: terms.commitment.to_string(),
            beacon: terms.beacon.as_str(),
            draws_at: listed.as_ref().map(|listed| listed.draws_at.to_string()),
            tickets_sha256: listed.as_ref().map(|listed| listed.digest.to_string()),
            winning_ticket: drawn.as_ref().map(|drawn| drawn.ticket.to_string()),
            order_id: drawn.as_ref().map(|drawn| drawn.order.order_id.to_string()),
        }
    }
}

macro_rules! rounds {
    ($which:literal) => {
        concat!(
            "select round_id, prize, status, total_shares, sold, held, refunding, share_price_minor, currency,
                 to_jsonb(closes_at) #>> '{}' as closes_at, draw::text, version
             from rounds.rounds where ",
            $which
        )
    };
}

const ROUND: &str = rounds!("round_id = $1");

/// The next rounds after an id.
pub(crate) const ROUNDS: &str = rounds!("round_id > $1 order by round_id limit $2");

/// `GET /v1/rounds/{round_id}`
pub(crate) async fn round(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let found = round_of(&gateway, id(&params, "round_id")?).await?;
    Ok(tagged(&headers, &found, &found.version))
}

/// A round as it stands.
///
/// # Errors
/// It is not known.
pub(crate) async fn round_of(gateway: &Gateway, round_id: Uuid) -> Result<Round, Problem> {
    let found = sqlx::query(ROUND).bind(round_id).fetch_optional(&gateway.pool).await?;
    let missing = || Problem::rejected("UNKNOWN_ROUND", &format!("no round {round_id} is known"));
    Ok(shown_round(&found.ok_or_else(missing)?)?)
}

/// A row as it is shown.
pub(crate) fn shown_round(row: &PgRow) -> Result<Round, sqlx::Error> {
    let number = |name: &str| row.try_get::<i64, _>(name);
    let (total, sold, held) = (number("total_shares")?, number("sold")?, number("held")?);
    Ok(Round {
        round_id: row.try_get("round_id")?,
        prize: row.try_get("prize")?,
        status: row.try_get("status")?,
        total_shares: total.to_string(),
        sold: sold.to_string(),
        held: held.to_string(),
        available: (total - sold - held).to_string(),
        refunding: number("refunding")?.to_string(),
        share_price: Money {
            minor_units: number("share_price_minor")?.to_string(),
            currency: row.try_get("currency")?,
        },
        closes_at: row.try_get("closes_at")?,
        draw: draw::of_row(row.try_get("draw")?)?.as_ref().map(RoundDraw::of),
        version: number("version")?.to_string(),
    })
}

/// How long it may take to find out whether a command waits at the broker.
const FOUND_WITHIN: Duration = Duration::from_secs(3);

/// `GET /v1/commands/{command_id}`: the answer to any command, whoever sent it and in whatever way; or that it is under way.
///
/// A worker's inbox has every command that was ever answered, also one that it could not handle and kept for operators. All others wait at the
/// broker until then, or are on their way to it from here.
pub(crate) async fn command(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let command_id = id(&params, "command_id")?;
    if let Some(answered) = answer(&gateway, command_id).await? {
        return Ok(answered);
    }
    if gateway.under_way.has(command_id) || waits(&gateway, command_id).await? {
        return Ok(accepted_for_later(command_id));
    }
    // It may have been answered since.
    if let Some(answered) = answer(&gateway, command_id).await? {
        return Ok(answered);
    }
    let detail = format!(
        "no command {command_id} was answered, and none waits for its worker: it was never sent, or the broker has lost it; send it \
         again as it was"
    );
    Err(Problem::own("UNKNOWN_ANSWER", detail))
}

async fn waits(gateway: &Gateway, command_id: Uuid) -> Result<bool, Problem> {
    let found = tokio::time::timeout(FOUND_WITHIN, gateway.queued.has(command_id)).await;
    let unsaid = |why: String| {
        tracing::warn!(%command_id, why, "cannot say whether a command is under way");
        Problem::own(
            "QUEUE_UNREADABLE",
            format!("command {command_id} is not answered; whether it waits cannot be said now"),
        )
    };
    found.map_err(|elapsed| unsaid(elapsed.to_string()))?.map_err(|error| unsaid(error.chain()))
}

async fn answer(gateway: &Gateway, command_id: Uuid) -> Result<Option<Response>, Problem> {
    Ok(outcome_of(gateway, command_id).await?.map(|outcome| json_response(StatusCode::OK, &outcome)))
}

/// What a command was answered. `None`: nothing yet.
///
/// # Errors
/// It cannot be read.
pub(crate) async fn outcome_of(gateway: &Gateway, command_id: Uuid) -> Result<Option<CommandOutcome>, Problem> {
    let found = sqlx::query(
        "select reply, to_jsonb(handled_at) #>> '{}' from (
             select reply, handled_at from orders.inbox where command_id = $1
             union all select reply, handled_at from inventory.inbox where command_id = $1
             union all select reply, handled_at from rounds.inbox where command_id = $1
             union all select reply, handled_at from payments.inbox where command_id = $1) as answers
         limit 1",
    )
    .bind(command_id)
    .fetch_optional(&gateway.pool)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let (reply, handled_at): (Vec<u8>, String) = read(&found)?;
    let mut outcome = match said(CommandReply::decode(reply.as_slice()).unwrap_or_default())? {
        Ok(accepted) => CommandOutcome::accepted(command_id, &accepted),
        Err(rejection) => CommandOutcome::rejected(command_id, rejection),
    };
    outcome.handled_at = Some(handled_at);
    Ok(Some(outcome))
}

fn read(row: &PgRow) -> Result<(Vec<u8>, String), sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}
