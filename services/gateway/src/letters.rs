//! Dead letters: what could not be handled, why, and what it says. They are read by the login that acts on them: what they say is none of the
//! gateway's own business.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use operate::letters::{commands, key, name};
use platform::database::answered;
use proto::SERVICES;
use runtime::letters::{self, Letter, Way};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    problem::Problem,
    read::param,
    request::Query,
};

pub(crate) const PATH: &str = "/v1/admin/letters";
pub(crate) const ONE: &str = "/v1/admin/letters/{letter}";

/// The parameters of the list.
pub(crate) const PARAMETERS: [&str; 3] = ["service", "code", "limit"];

const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 1_000;

/// Letters that are open, the oldest of each service first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterList {
    pub(crate) data: Vec<DeadLetter>,
    /// Whether a service has more than are told.
    pub(crate) has_more: bool,
}

/// A message that could not be handled.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetter {
    /// Its name: inventory-41.
    pub(crate) letter: String,
    /// Why it could not be handled: a word for programs,
    pub(crate) code: String,
    /// and a sentence for people.
    pub(crate) reason: String,
    /// What it came on at the broker, or `timer.…`, `effect.…`.
    pub(crate) subject: String,
    /// The event stream that it is about, if it says so.
    pub(crate) key: Option<String>,
    /// command, event, timer, call, or never: it can never be handled.
    pub(crate) kind: &'static str,
    /// The full name of its type, if it is a message of the contract.
    pub(crate) message_type: Option<String>,
    /// What it says, as the contract has it; of what cannot be read, why not.
    pub(crate) data: Value,
    pub(crate) headers: Value,
    /// When it was given up.
    pub(crate) received_at: String,
    /// When it was over: handled again, or set aside. Null: it is open.
    pub(crate) settled_at: Option<String>,
}

impl DeadLetter {
    fn of(letter: &Letter) -> Self {
        let way = letter.way(&commands());
        let key = key(letter, way.as_ref().ok());
        let (kind, message_type, data) = match way {
            Ok(Way::Command { message_type, data, .. }) => {
                ("command", Some(message_type.to_owned()), said(message_type, &data))
            }
            Ok(Way::Event { message_type, .. }) => {
                let data = said(&message_type, &letter.payload);
                ("event", Some(message_type), data)
            }
            Ok(Way::Timer { stream }) => ("timer", None, stream.into()),
            Ok(Way::Call { key }) => ("call", None, key.into()),
            Err(why) => ("never", None, why.into()),
        };
        Self {
            letter: letter.name(),
            code: letter.code.clone(),
            reason: letter.reason.clone(),
            subject: letter.subject.clone(),
            key,
            kind,
            message_type,
            data,
            headers: letter.headers.clone(),
            received_at: letter.received_at.to_string(),
            settled_at: letter.settled_at.map(|at| at.to_string()),
        }
    }
}

/// What a message says, as far as it can be read.
fn said(message_type: &str, data: &[u8]) -> Value {
    proto::to_json_as_spelled(message_type, data).unwrap_or_else(|error| error.to_string().into())
}

/// The open letters that are asked for.
///
/// # Errors
/// They are asked for in a way that cannot be.
pub(crate) async fn list(gateway: &Gateway, query: &Query) -> Result<DeadLetterList, Problem> {
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let (asked, code) = (query.get("service"), query.get("code"));
    if let Some(asked) = asked.filter(|asked| !SERVICES.contains(asked)) {
        let detail = format!("there is no service {asked:?}: there are {}", SERVICES.join(", "));
        return Err(Problem::own("INVALID_PARAMETER", detail).of("service"));
    }
    let mut connection = gateway.operators.connect().await?;
    let read = answered(async {
        let mut all = Vec::new();
        for service in SERVICES.into_iter().filter(|service| asked.is_none_or(|asked| asked == *service)) {
            all.push(letters::open(&mut connection, service, code, limit + 1).await?);
        }
        Ok::<_, sqlx::Error>(all)
    });
    let (all, most) = (read.await?, usize::try_from(limit).unwrap_or_default());
    Ok(DeadLetterList {
        has_more: all.iter().any(|letters| letters.len() > most),
        data: all.iter().flat_map(|letters| letters.iter().take(most)).map(DeadLetter::of).collect(),
    })
}

/// A letter by its name, be it open or not.
///
/// # Errors
/// It is none, or there is none.
pub(crate) async fn of_name(gateway: &Gateway, called: &str) -> Result<DeadLetter, Problem> {
    let (service, number) = name(called).map_err(|why| Problem::own("INVALID_PARAMETER", why).of("letter"))?;
    let mut connection = gateway.operators.connect().await?;
    let read = answered(async { letters::find(&mut connection, service, number).await });
    let missing = || Problem::own("NOT_FOUND", format!("there is no letter {called}"));
    Ok(DeadLetter::of(&read.await?.ok_or_else(missing)?))
}

/// `GET /v1/admin/letters`
pub(crate) async fn letters(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::Operate)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), &PARAMETERS)?;
    Ok(json_response(StatusCode::OK, &list(&gateway, &query).await?))
}

/// `GET /v1/admin/letters/{letter}`
pub(crate) async fn letter(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::Operate)?;
    Ok(json_response(StatusCode::OK, &of_name(&gateway, param(&params, "letter")).await?))
}
