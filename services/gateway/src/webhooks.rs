//! Webhooks: what a provider reports becomes the command that takes it in, and is confirmed once that is committed.
//!
//! A report is named by what it says of which object, not by the provider's event. One that comes again is the same command and is answered
//! again; two events of one fact are two commands, of which payments takes in one.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use domain::Timestamp;
use metrics::counter;
use platform::{
    client::Outgoing,
    clock, config,
    database::Pool,
    error::Error,
    metric::{Label, Metric},
    secret_file::SecretFile,
};
use proto::{Message, Name, payments::v1::RecordProviderEvent};
use providers::{
    ProviderName, Told,
    stripe::webhook::{self, Reading, Secrets},
};
use uuid::Uuid;

use crate::{Gateway, guard::RequestId, outcome::hear, problem::Problem, request};

/// The most bytes of a webhook.
const BODY_BYTES_MAX: usize = 524_288;

/// How long a report may take to be committed. Stripe's own page waits ten seconds for the answer before it sends the buyer on.
const COMMITTED_WITHIN: Duration = Duration::from_secs(8);

/// How long Stripe may take to say whose a charge is.
const ASKED_WITHIN: Duration = Duration::from_secs(4);

/// A report about a charge that nobody knows may be quicker than our own commit, for so long. After that it is another shop's where Stripe cannot
/// be asked; and somebody has to look where it is ours.
const UNKNOWN_WITHIN: Duration = Duration::from_hours(1);

const WEBHOOKS: &str = "holdfast_gateway_webhooks_total";

pub(crate) const TAKEN: Metric = Metric::counter(
    WEBHOOKS,
    &[
        Label { name: "provider", values: &["stripe"] },
        Label { name: "outcome", values: &["recorded", "foreign charge", "unknown charge"] },
    ],
    "reports of a provider, by what became of them: these, why they say nothing to us, or the code of the problem that it was told",
);

const SIGNATURE: &str = "stripe-signature";

/// What is needed to believe Stripe's webhooks.
#[derive(Debug)]
pub(crate) struct Stripe {
    secrets: SecretFile<Secrets>,
    /// Whose payments are ours: the installation of the log, as payments names it to Stripe.
    fleet: Uuid,
    live: bool,
    /// Where it can be asked whose a charge is. `None`: this process has no key.
    api: Option<providers::stripe::Stripe>,
}

impl Stripe {
    /// Reads the secrets. `None`: there are none, and webhooks are refused.
    ///
    /// # Errors
    /// The file cannot be read, or a secret is none; or the database cannot be.
    pub(crate) async fn read(settings: &config::Stripe, pool: &Pool) -> Result<Option<Self>, Error> {
        if settings.webhook_secrets.is_empty() {
            return Ok(None);
        }
        let parse = |text: &str| Secrets::parse(text).map_err(|error| error.to_string());
        let secrets = SecretFile::read("stripe.webhook_secrets", &settings.webhook_secrets, parse);
        let secrets = secrets.map_err(|reason| Error::Permanent {
            what: "reading the secrets of webhooks (setting stripe.webhook_secrets)",
            source: reason.into(),
        })?;
        let fleet = sqlx::query_scalar("select id from log.installation").fetch_one(pool).await;
        let fleet = fleet.map_err(|error| Error::database("reading which installation this is", error))?;
        let api = providers::stripe::Stripe::set_up(settings, fleet, ASKED_WITHIN).unwrap_or_else(|error| {
            tracing::warn!(error = error.chain(), "Stripe cannot be asked whose an unknown charge is");
            None
        });
        Ok(Some(Self { secrets, fleet, live: settings.allow_live, api }))
    }

    /// Whose a charge is that no payment is known to have.
    async fn owner(&self, reference: &str, report: &RecordProviderEvent) -> Owner {
        let Some(api) = &self.api else { return Owner::Unasked };
        match api.is_ours(reference).await {
            Ok(true) => {
                if is_old(report) {
                    let report = report.provider_event_id.as_str();
                    tracing::error!(
                        reference,
                        report,
                        "Stripe tells of a charge that is ours, and no payment is known to have it"
                    );
                }
                Owner::Us
            }
            Ok(false) => Owner::Others,
            Err(error) => {
                tracing::warn!(reference, %error, "cannot ask Stripe whose a charge is");
                Owner::Unasked
            }
        }
    }
}

/// Whose a charge is, on an account that may be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Us,
    Others,
    /// Stripe could not be asked.
    Unasked,
}

/// `POST /webhooks/stripe`
pub(crate) async fn stripe(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let outcome = take(&gateway, request_id, &headers, body).await;
    let word = match &outcome {
        Ok(word) => word,
        Err(problem) => problem.code.as_str(),
    };
    counter!(WEBHOOKS, "provider" => "stripe", "outcome" => word.to_owned()).increment(1);
    outcome.map(|word| (StatusCode::OK, word).into_response())
}

/// What was done about it, in a word that is counted.
async fn take(
    gateway: &Gateway,
    request_id: RequestId,
    headers: &HeaderMap,
    body: Body,
) -> Result<&'static str, Problem> {
    let stripe = gateway.stripe.as_ref().ok_or_else(|| {
        Problem::own(
            "NOT_FOUND",
            "this gateway takes no webhooks of Stripe: the setting stripe.webhook_secrets is empty",
        )
    })?;
    let body = request::bytes(body, BODY_BYTES_MAX, gateway.settings.read_ms).await?;
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    webhook::verify(&stripe.secrets.current(), signature, &body, clock::now())
        .map_err(|error| Problem::own("SIGNATURE_INVALID", error.to_string()).of("Stripe-Signature"))?;
    let reading = webhook::read(&body, &stripe.fleet.to_string(), stripe.live)
        .map_err(|error| Problem::own("INVALID_BODY", error.to_string()))?;
    let report = match reading {
        Reading::Note(word) => return Ok(word),
        Reading::Told(Told::OfPayment(report)) => *report,
        Reading::Told(Told::OfCharge { reference, report }) => match payment_of(gateway, &reference).await? {
            Some(payment_id) => RecordProviderEvent { payment_id: payment_id.to_string(), ..*report },
            None => return unknown(&reference, stripe.owner(&reference, &report).await, is_old(&report)),
        },
    };
    record(gateway, request_id, &report).await
}

/// What is done about a report of a charge that no payment is known to have. One that is ours has to come again, however long it takes: it was
/// quicker than the charge's own report, or that is lost and payments asks for it.
fn unknown(reference: &str, owner: Owner, is_old: bool) -> Result<&'static str, Problem> {
    match (owner, is_old) {
        (Owner::Others, _) => Ok("foreign charge"),
        (Owner::Unasked, true) => Ok("unknown charge"),
        (Owner::Us, _) | (Owner::Unasked, false) => {
            let detail = format!("no payment is known yet whose charge is {reference}: send it again");
            Err(Problem::own("UNKNOWN_CHARGE", detail))
        }
    }
}

/// Which payment a charge brought money for.
async fn payment_of(gateway: &Gateway, reference: &str) -> Result<Option<Uuid>, Problem> {
    let query = "select payment_id from payments.charges where provider = 'stripe' and reference = $1";
    Ok(sqlx::query_scalar(query).bind(reference).fetch_optional(&gateway.pool).await?)
}

fn is_old(report: &RecordProviderEvent) -> bool {
    let occurred_at = report.occurred_at.and_then(|at| Timestamp::from_wire("occurred_at", Some(at)).ok());
    occurred_at.is_some_and(|occurred_at| clock::now().since(occurred_at) > UNKNOWN_WITHIN)
}

/// Has payments take it in.
async fn record(
    gateway: &Gateway,
    request_id: RequestId,
    report: &RecordProviderEvent,
) -> Result<&'static str, Problem> {
    let command = Outgoing {
        id: providers::report_command_id(ProviderName::Stripe, report),
        message_type: &RecordProviderEvent::full_name(),
        data: report.encode_to_vec().into(),
        correlation_id: Some(request_id.0),
        traceparent: None,
    };
    let Err(rejection) = hear(gateway, &command, COMMITTED_WITHIN).await? else { return Ok("recorded") };
    let payment_id = report.payment_id.as_str();
    tracing::error!(
        payment_id,
        code = rejection.code,
        reason = rejection.reason,
        "payments refused a report of Stripe"
    );
    Err(Problem::own("REPORT_REFUSED", rejection.reason))
}

#[cfg(test)]
mod tests {
    use super::{Owner, unknown};

    #[test]
    fn what_is_another_shops_is_confirmed_at_once_and_what_is_ours_never_before_it_is_known() {
        let word = |owner, is_old| unknown("pi_1", owner, is_old).map_err(|problem| problem.code);
        let again = || Err("UNKNOWN_CHARGE".to_owned());
        for is_old in [false, true] {
            assert_eq!(word(Owner::Others, is_old), Ok("foreign charge"));
            assert_eq!(word(Owner::Us, is_old), again());
        }
        assert_eq!((word(Owner::Unasked, false), word(Owner::Unasked, true)), (again(), Ok("unknown charge")));
    }
}
