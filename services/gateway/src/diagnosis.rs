//! What is wrong with the fleet, as `holdfast diagnose` says it: on request, in the metrics, and for whoever asks `/readyz`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use audit::diagnosis::{self, Code, Diagnosis, Finding, Fleet, LATE};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use metrics::gauge;
use platform::{
    clock, config, database,
    health::Health,
    metric::{Label, Metric},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tracing::Instrument as _;
use utoipa::ToSchema;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    problem::Problem,
};

pub(crate) const PATH: &str = "/v1/admin/diagnosis";

const FINDINGS: &str = "holdfast_findings";
const UNKNOWN: &str = "holdfast_findings_unknown";

pub(crate) const FOUND: Metric = Metric::gauge(
    FINDINGS,
    &[Label::open("code"), Label::open("severity")],
    "findings of `holdfast diagnose`, by code and by the promise that is at stake; 0: there is none",
);
pub(crate) const NOT_KNOWN: Metric =
    Metric::gauge(UNKNOWN, &[], "codes of which nobody can say whether they are there");

/// How often to look, if nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Who asks again so soon hears the same: a look costs a connection to Postgres and one to the broker.
const SAME_WITHIN: Duration = Duration::from_secs(1);

/// What one look at the fleet has found.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) diagnosis: Diagnosis,
    pub(crate) fleet: Fleet,
}

/// Looks at the fleet, for one who asks at a time.
#[derive(Debug)]
pub(crate) struct Looks {
    database: config::Database,
    broker: config::Broker,
    turn: Arc<AsyncMutex<()>>,
    last: Mutex<Option<(Instant, Arc<Look>)>>,
}

impl Looks {
    pub(crate) fn new(database: &config::Database, broker: &config::Broker) -> Self {
        let (database, broker) = (database.clone(), broker.clone());
        Self { database, broker, turn: Arc::default(), last: Mutex::default() }
    }

    /// What was found last. `None`: nobody has looked yet.
    pub(crate) fn known(&self) -> Option<Arc<Look>> {
        self.last().as_ref().map(|(_, known)| Arc::clone(known))
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Arc<Look>)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found within the last second.
    fn recent(&self) -> Option<Arc<Look>> {
        let last = self.last();
        last.as_ref().filter(|(at, _)| at.elapsed() < SAME_WITHIN).map(|(_, known)| Arc::clone(known))
    }

    pub(crate) async fn look(&self) -> Arc<Look> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        match self.recent() {
            Some(known) => known,
            None => self.look_in(turn).await,
        }
    }

    async fn look_in(&self, _turn: OwnedMutexGuard<()>) -> Arc<Look> {
        // Of a password that cannot be read, the look itself says that nobody is let in.
        let address = database::address(&self.database).unwrap_or_else(|_unread| self.database.url.clone());
        let (diagnosis, fleet) = diagnosis::look_at_all(&address, &self.broker, LATE).await;
        let found = Arc::new(Look { diagnosis, fleet });
        *self.last() = Some((Instant::now(), Arc::clone(&found)));
        found
    }
}

/// What was found last, for a page that is not to wait: it is looked anew meanwhile, for whoever asks next.
pub(crate) async fn last_look(gateway: &Arc<Gateway>) -> Arc<Look> {
    let Some(known) = gateway.looks.known() else { return gateway.looks.look().await };
    if gateway.looks.recent().is_none()
        && let Ok(turn) = Arc::clone(&gateway.looks.turn).try_lock_owned()
    {
        let gateway = Arc::clone(gateway);
        tokio::spawn(async move { gateway.looks.look_in(turn).await }.in_current_span());
    }
    known
}

/// `GET /v1/admin/diagnosis`
pub(crate) async fn get(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::Operate)?;
    Ok(json_response(StatusCode::OK, &gateway.looks.look().await.diagnosis))
}

/// Looks now and then, and says what is found.
pub(crate) async fn watch(gateway: Arc<Gateway>, health: Health) {
    loop {
        let found = gateway.looks.look().await;
        measure(&found.diagnosis);
        health.says(found.diagnosis.findings.iter().map(line).collect());
        clock::sleep(LOOK_EVERY).await;
    }
}

fn line(finding: &Finding) -> String {
    format!("{} {} {}", finding.code.page().word, finding.severity.word(), finding.subject)
}

/// Every code has its figure from the start.
fn measure(found: &Diagnosis) {
    for code in Code::ALL {
        let page = code.page();
        let count = found.findings.iter().filter(|finding| finding.code == *code).count();
        gauge!(FINDINGS, "code" => page.word, "severity" => page.severity.word()).set(figure(count));
    }
    gauge!(UNKNOWN).set(figure(found.unknown.iter().map(|unknown| unknown.codes.len()).sum()));
}

fn figure(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What is wrong with the fleet.
#[derive(ToSchema)]
#[schema(as = Diagnosis)]
#[expect(dead_code, reason = "what the audit writes, in words that the OpenAPI document understands: a test compares")]
pub(crate) struct DiagnosisShape {
    /// When it was looked.
    at: String,
    /// Where the log ended then; null if that is not known.
    position: Option<i64>,
    /// What was found, the worst first.
    findings: Vec<FindingShape>,
    /// What could not be looked at.
    unknown: Vec<UnknownShape>,
}

/// Something that is wrong.
#[derive(ToSchema)]
#[schema(as = Finding)]
#[expect(dead_code, reason = "as above")]
struct FindingShape {
    /// What it is called: `holdfast explain CODE` has its page.
    code: String,
    /// The promise that is at stake: money, stock, delay, or nothing.
    severity: String,
    /// Whose it is: a service, a consumer, a session, a payment.
    subject: String,
    /// Since when, if that is known.
    since: Option<String>,
    /// How long that is.
    for_ms: Option<u64>,
    /// Why it is so.
    cause: String,
    /// The numbers by themselves.
    numbers: BTreeMap<String, i64>,
    /// What happens if nobody does anything, with the money that is in it.
    at_stake: String,
    /// The query or the command that shows it again.
    evidence: String,
    /// The command that does something about it, or shows what it would do.
    #[schema(rename = "do")]
    act: String,
    /// When it is over.
    clears: String,
    /// The first of what it is about, where that are several things.
    #[schema(required = false, value_type = Vec<Object>)]
    items: Vec<()>,
}

/// Findings of which nobody can say whether they are there.
#[derive(ToSchema)]
#[schema(as = UnknownFindings)]
#[expect(dead_code, reason = "as above")]
struct UnknownShape {
    /// Their codes.
    codes: Vec<String>,
    /// Why not.
    why: String,
}
