//! Reports that nobody brought: the provider is asked for them, so that a buyer who has paid does not wait for a message that is lost.

use std::{collections::BTreeSet, time::Duration};

use domain::Timestamp;
use futures::future::join_all;
use metrics::counter;
use platform::{
    client::{CommandClient, Outgoing, Sent},
    clock,
    metric::{Label, Metric},
};
use proto::{Message, Name, common::v1::command_reply::Outcome, payments::v1::RecordProviderEvent};
use providers::{Provider, Registry, Told, report_command_id};
use runtime::Context;
use sqlx::PgPool;
use uuid::Uuid;

/// How far back a worker asks that has just started: as long as a provider may try to bring a report, and some more.
const FIRST: Duration = Duration::from_hours(7 * 24);

/// How far before the last time it asked a worker asks again. What was told then and not heard was found then; but a charge that nobody
/// knew may be known now.
const AGAIN: Duration = Duration::from_hours(1);

/// How long payments may take to commit a report.
const COMMITTED_WITHIN: Duration = Duration::from_secs(8);

const FOUND: &str = "holdfast_payments_missed_reports_total";

/// What is measured of reports that nobody brought.
pub(crate) const METRICS: &[Metric] = &[Metric::counter(
    FOUND,
    &[Label { name: "provider", values: &["stripe"] }],
    "reports that a provider did not deliver, and that were found by asking it",
)];

/// Asks every provider whose reports can get lost, until the context's shutdown is pulled.
pub(crate) async fn run<P: Provider>(providers: &Registry<P>, context: &Context) {
    // A copy of production makes no calls: its payments are those of another.
    if !context.config.effects.calls {
        return;
    }
    join_all(providers.iter().map(|provider| watch(provider, context))).await;
}

async fn watch<P: Provider>(provider: &P, context: &Context) {
    let Some(every) = provider.missed_every() else { return };
    let broker = context.broker.client.clone();
    let client = match CommandClient::over(broker, "/holdfast/payments", COMMITTED_WITHIN).await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "reports that nobody brought are not asked for: no way to send them");
            return;
        }
    };
    let mut search = Search { provider, pool: &context.pool, client, known: BTreeSet::new() };
    let (mut since, mut shutdown) = (clock::now() - FIRST, context.shutdown.clone());
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = clock::sleep(every) => {}
        }
        let begun = clock::now();
        let looked = tokio::select! {
            () = shutdown.requested() => return,
            looked = search.look(since) => looked,
        };
        match looked {
            Ok(()) => since = begun - AGAIN,
            Err(error) => {
                tracing::warn!(provider = provider.name().as_str(), error, "cannot ask for reports that nobody brought")
            }
        }
    }
}

/// One provider's reports, and those of them that are known to be taken in.
struct Search<'a, P> {
    provider: &'a P,
    pool: &'a PgPool,
    client: CommandClient,
    known: BTreeSet<Uuid>,
}

impl<P: Provider> Search<'_, P> {
    /// Asks once, and has payments take in what is new. In words why not all of it is.
    async fn look(&mut self, since: Timestamp) -> Result<(), String> {
        let told = self.provider.missed(since).await.map_err(|error| error.to_string())?;
        let mut ids = BTreeSet::new();
        for told in told {
            let Some(report) = self.of_payment(told).await.map_err(|error| error.to_string())? else { continue };
            let id = report_command_id(self.provider.name(), &report);
            if !self.known.contains(&id) {
                self.record(id, &report).await?;
            }
            ids.insert(id);
        }
        self.known = ids;
        Ok(())
    }

    /// The report with its payment. `None`: its charge is none that we know, or not yet.
    async fn of_payment(&self, told: Told) -> Result<Option<RecordProviderEvent>, sqlx::Error> {
        let (reference, report) = match told {
            Told::OfPayment(report) => return Ok(Some(*report)),
            Told::OfCharge { reference, report } => (reference, report),
        };
        let query = "select payment_id from payments.charges where provider = $1 and reference = $2";
        let query = sqlx::query_scalar(query).bind(self.provider.name().as_str()).bind(reference);
        let found: Option<Uuid> = query.fetch_optional(self.pool).await?;
        Ok(found.map(|payment_id| RecordProviderEvent { payment_id: payment_id.to_string(), ..*report }))
    }

    async fn record(&self, id: Uuid, report: &RecordProviderEvent) -> Result<(), String> {
        let command = Outgoing {
            id,
            message_type: &RecordProviderEvent::full_name(),
            data: report.encode_to_vec().into(),
            correlation_id: None,
        };
        let (payment_id, report) = (report.payment_id.as_str(), report.provider_event_id.as_str());
        match self.client.send_within(&command, COMMITTED_WITHIN).await {
            Sent::Answered(answer) if answer.is_repeated => Ok(()),
            Sent::Answered(answer) => match answer.reply.outcome {
                Some(Outcome::Rejected(refused)) => {
                    let (code, reason) = (refused.code, refused.reason);
                    tracing::error!(payment_id, report, code, reason, "payments refused a report that nobody brought");
                    Ok(())
                }
                Some(Outcome::Accepted(_)) | None => {
                    counter!(FOUND, "provider" => self.provider.name().as_str()).increment(1);
                    tracing::info!(payment_id, report, "took in a report that nobody brought");
                    Ok(())
                }
            },
            Sent::Unanswered | Sent::Undelivered => {
                Err(format!("report {report} of payment {payment_id} is not committed yet"))
            }
        }
    }
}
