//! What operators do that is no command: dead letters, consumers, sessions. It is done by a login of the database that may, if the gateway
//! was given one; its own login writes nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{RawPathParams, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use operate::{
    Failure, Request, Why,
    letters::{self, Selection},
    pause, redrive, set_aside, unblock,
};
use platform::{
    config,
    database::{answered, with_password},
    error::Error,
};
use proto::SERVICES;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::{Mutex, MutexGuard};
use utoipa::ToSchema;

use crate::{
    Gateway,
    caller::{Caller, Scope, authorize},
    commands::{self, REPLAYED, command_id, insert, json_response},
    hex,
    problem::Problem,
    read::param,
    request,
};

pub(crate) const REDRIVE: &str = "/v1/admin/letters/redrive";
pub(crate) const SET_ASIDE: &str = "/v1/admin/letters/set-aside";
pub(crate) const PAUSE: &str = "/v1/admin/consumers/{consumer}/pause";
pub(crate) const RESUME: &str = "/v1/admin/consumers/{consumer}/resume";
pub(crate) const UNBLOCK: &str = "/v1/admin/sessions/{session}/unblock";

/// The most letters of one request, and how many unless it says so.
const LETTERS_MAX: u16 = 1_000;
const LETTERS: u16 = 100;

/// Characters of the longest reason.
const REASON_MAX: usize = 512;

/// How long a worker may take for a letter.
const WITHIN: Duration = Duration::from_secs(10);

/// The login by which operators act, for one at a time.
#[derive(Debug)]
pub(crate) struct Operators {
    /// `None`: nobody acts through this gateway.
    login: Option<PgConnectOptions>,
    /// The file of its password. Empty: the address has it, or there is none.
    password: String,
    turn: Mutex<()>,
}

impl Operators {
    /// Of the settings `gateway.operator_url` and `gateway.operator_password`.
    ///
    /// # Errors
    /// The first is no address of Postgres.
    pub(crate) fn read(settings: &config::Gateway) -> Result<Self, Error> {
        let (url, password) = (&settings.operator_url, settings.operator_password.clone());
        let login = if url.is_empty() { None } else { Some(url.parse::<PgConnectOptions>()) };
        let login = login
            .transpose()
            .map_err(|error| Error::Permanent { what: "reading gateway.operator_url", source: error.into() })?;
        let login = login.map(|login| login.application_name("holdfast gateway"));
        Ok(Self { login, password, turn: Mutex::default() })
    }

    pub(crate) async fn connect(&self) -> Result<PgConnection, Problem> {
        let Some(login) = &self.login else {
            let detail = "this gateway has no login of the database for what operators do (setting gateway.operator_url): use \
                          another one, or `holdfast` with such a login";
            return Err(Problem::own("NO_OPERATOR_LOGIN", detail));
        };
        let login = with_password(login.clone(), &self.password).map_err(|error| {
            let error = error.chain();
            tracing::error!(
                error,
                "the login for what operators do cannot be used (setting gateway.operator_password)"
            );
            Problem::own(
                "DATABASE_UNAVAILABLE",
                "the gateway cannot read the password of its login for what operators do",
            )
        })?;
        let connect = async { PgConnection::connect_with(&login).await };
        Ok(answered::<_, sqlx::Error>(connect).await?)
    }
}

/// Which letters, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActOnLetters {
    /// These, each by its name: inventory-41. None: those that are open and that the rest names.
    #[serde(default)]
    #[schema(max_items = 1000)]
    letters: Vec<String>,
    /// Open letters of this service: orders, inventory, rounds or payments.
    #[serde(default)]
    service: Option<String>,
    /// Open letters with this code: why they could not be handled.
    #[serde(default)]
    code: Option<String>,
    /// Open letters about this event stream: product-MUG-01.
    #[serde(default)]
    key: Option<String>,
    /// How many at most, the oldest first: 1 to 1,000, and 100 unless it is said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// Do nothing unless it is exactly so many: as many as a dry run has told.
    #[serde(default)]
    count: Option<u16>,
    /// Why, in words: needed unless it is a dry run.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Only says what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// For how long, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PauseConsumer {
    /// For how long: it goes on by itself then. 15 unless it is said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1440)]
    minutes: Option<u16>,
    /// Why, in words: needed unless it is a dry run.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Only says what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    /// Why, in words: needed unless it is a dry run.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 512)]
    reason: Option<String>,
    /// Only says what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// What every request says.
trait Asked: DeserializeOwned {
    fn why(&self) -> (Option<&str>, bool);
}

impl Asked for ActOnLetters {
    fn why(&self) -> (Option<&str>, bool) {
        (self.reason.as_deref(), self.dry_run)
    }
}

impl Asked for PauseConsumer {
    fn why(&self) -> (Option<&str>, bool) {
        (self.reason.as_deref(), self.dry_run)
    }
}

impl Asked for Act {
    fn why(&self) -> (Option<&str>, bool) {
        (self.reason.as_deref(), self.dry_run)
    }
}

impl ActOnLetters {
    fn selection(&self) -> Result<Selection, Problem> {
        let wrong = |field: &'static str, detail: String| Problem::own("INVALID_BODY", detail).of(field);
        let names = self.letters.iter().map(|name| letters::name(name).map_err(|why| wrong("letters", why)));
        let named: Vec<(&'static str, i64)> = names.collect::<Result<_, _>>()?;
        let is_filtered = self.service.is_some() || self.code.is_some() || self.key.is_some();
        if named.is_empty() != is_filtered {
            let detail = "name either letters, or at least one of service, code and key".to_owned();
            return Err(wrong("letters", detail));
        }
        if named.len() > usize::from(LETTERS_MAX) {
            return Err(wrong("letters", format!("{} letters are too many: {LETTERS_MAX} is the most", named.len())));
        }
        if let Some(service) = self.service.as_deref().filter(|service| !SERVICES.contains(service)) {
            return Err(wrong(
                "service",
                format!("there is no service {service:?}: there are {}", SERVICES.join(", ")),
            ));
        }
        let limit = self.limit.unwrap_or(LETTERS);
        if !(1..=LETTERS_MAX).contains(&limit) {
            return Err(wrong("limit", format!("limit must be 1 to {LETTERS_MAX}, not {limit}")));
        }
        let (code, key) = (text("code", self.code.as_deref())?, text("key", self.key.as_deref())?);
        Ok(Selection {
            letters: named,
            service: self.service.clone(),
            code,
            key,
            limit,
            count: self.count.map(usize::from),
        })
    }
}

/// A text that was given, if it can be one.
fn text(field: &'static str, given: Option<&str>) -> Result<Option<String>, Problem> {
    if let Some(given) = given
        && let Err(rejection) = domain::text(field, given, 1, REASON_MAX)
    {
        return Err(Problem::own("INVALID_BODY", rejection.reason).of(field));
    }
    Ok(given.map(str::to_owned))
}

/// Whoever acts, with the login that may.
struct Begun<'a, A> {
    asked: A,
    why: Why,
    connection: PgConnection,
    is_replayed: bool,
    _turn: MutexGuard<'a, ()>,
    _under_way: commands::Begun<'a>,
}

/// Reads what somebody asks for by a path who may, and connects for him.
async fn begin<'a, A: Asked>(
    (gateway, caller): (&'a Gateway, Arc<Caller>),
    (route, params): (&str, &[(&str, &str)]),
    headers: &HeaderMap,
    body: Body,
) -> Result<Begun<'a, A>, Problem> {
    let key = request::idempotency_key(headers)?;
    let body = request::body(headers, body, &gateway.settings).await?;
    let asked: A = serde_json::from_slice(&body).map_err(|error| Problem::own("INVALID_BODY", error.to_string()))?;
    let (reason, is_dry) = asked.why();
    let reason = text("reason", reason)?.filter(|reason| !reason.trim().is_empty());
    if reason.is_none() && !is_dry {
        return Err(Problem::own("INVALID_BODY", "reason is missing: say why, in words").of("reason"));
    }
    let id = command_id(&caller.owner_of_keys(), route, params, key);
    let under_way = gateway.under_way.begin(id)?;
    let turn = gateway.operators.turn.lock().await;
    let mut connection = gateway.operators.connect().await?;
    let request = Request { id, asked: hex::digits(&Sha256::digest(&body)) };
    let before = request.asked_before(&mut connection).await.map_err(problem)?;
    if before.as_ref().is_some_and(|before| *before != request.asked) {
        return Err(Problem::rejected("COMMAND_ID_REUSED", ""));
    }
    let why =
        Why { reason: reason.filter(|_| !is_dry), actor: Some(caller.actor()), request: (!is_dry).then_some(request) };
    let is_replayed = before.is_some() && !is_dry;
    Ok(Begun { asked, why, connection, is_replayed, _turn: turn, _under_way: under_way })
}

impl<A> Begun<'_, A> {
    fn answer(&self, report: &impl Serialize) -> Response {
        let mut response = json_response(StatusCode::OK, report);
        if self.is_replayed {
            insert(response.headers_mut(), REPLAYED, "true");
        }
        response
    }
}

/// Why nothing was done.
fn problem(failure: Failure) -> Problem {
    if let Failure::Wrong(words) = failure {
        return Problem::own("INVALID_BODY", words);
    }
    tracing::warn!(error = %failure, "what an operator asked for was not done");
    if failure.is_forbidden() {
        let detail = "the login of gateway.operator_url may not do this: grant it holdfast_operator, and to end sessions \
                      pg_read_all_stats and pg_signal_backend; those of a superuser only another may end";
        return Problem::own("NO_OPERATOR_LOGIN", detail);
    }
    Problem::own("DATABASE_UNAVAILABLE", format!("it could not be done: {failure}"))
}

/// `POST /v1/admin/letters/redrive`
pub(crate) async fn redrive_letters(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = authorize(&gateway, &headers, Scope::Operate)?;
    let mut begun: Begun<'_, ActOnLetters> = begin((&gateway, caller), (REDRIVE, &[]), &headers, body).await?;
    let selection = begun.asked.selection()?;
    let mut broker = &gateway.client;
    let done = redrive::redrive(&mut begun.connection, &mut broker, &selection, (&begun.why, WITHIN)).await;
    Ok(begun.answer(&done.map_err(problem)?))
}

/// `POST /v1/admin/letters/set-aside`
pub(crate) async fn set_letters_aside(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = authorize(&gateway, &headers, Scope::Operate)?;
    let mut begun: Begun<'_, ActOnLetters> = begin((&gateway, caller), (SET_ASIDE, &[]), &headers, body).await?;
    let selection = begun.asked.selection()?;
    let done = set_aside::set_aside(&mut begun.connection, &selection, &begun.why).await;
    Ok(begun.answer(&done.map_err(problem)?))
}

/// `POST /v1/admin/consumers/{consumer}/pause`
pub(crate) async fn pause_consumer(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = authorize(&gateway, &headers, Scope::Operate)?;
    let consumer = consumer(&params)?;
    let mut begun: Begun<'_, PauseConsumer> =
        begin((&gateway, caller), (PAUSE, &[("consumer", &consumer)]), &headers, body).await?;
    let minutes = begun.asked.minutes.unwrap_or(pause::MINUTES);
    if !(1..=pause::MINUTES_MAX).contains(&minutes) {
        let detail = format!("minutes must be 1 to {}, not {minutes}", pause::MINUTES_MAX);
        return Err(Problem::own("INVALID_BODY", detail).of("minutes"));
    }
    let done = pause::pause(&mut begun.connection, &consumer, minutes, &begun.why).await;
    Ok(begun.answer(&done.map_err(problem)?))
}

/// `POST /v1/admin/consumers/{consumer}/resume`
pub(crate) async fn resume_consumer(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = authorize(&gateway, &headers, Scope::Operate)?;
    let consumer = consumer(&params)?;
    let mut begun: Begun<'_, Act> =
        begin((&gateway, caller), (RESUME, &[("consumer", &consumer)]), &headers, body).await?;
    let done = pause::resume(&mut begun.connection, &consumer, &begun.why).await;
    Ok(begun.answer(&done.map_err(problem)?))
}

fn consumer(params: &RawPathParams) -> Result<String, Problem> {
    pause::consumer(param(params, "consumer")).map_err(|why| Problem::own("INVALID_PARAMETER", why).of("consumer"))
}

/// `POST /v1/admin/sessions/{session}/unblock`
pub(crate) async fn unblock_session(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = authorize(&gateway, &headers, Scope::Operate)?;
    let given = param(&params, "session");
    let session: i32 = given.parse().ok().filter(|session| *session > 0).ok_or_else(|| {
        Problem::own("INVALID_PARAMETER", format!("{given:?} is no process id of a session")).of("session")
    })?;
    let mut begun: Begun<'_, Act> =
        begin((&gateway, caller), (UNBLOCK, &[("session", &session.to_string())]), &headers, body).await?;
    let done = unblock::unblock(&mut begun.connection, session, &begun.why).await;
    Ok(begun.answer(&done.map_err(problem)?))
}
