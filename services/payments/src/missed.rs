//! Reports that nobody brought: the provider is asked for them, so that a buyer who has paid does not wait for a message that is lost. Where all
//! that were due have to be asked for, that is a finding.

use std::{collections::BTreeSet, time::Duration};

use domain::Timestamp;
use futures::future::join_all;
use metrics::counter;
use platform::{
    client::{CommandClient, Outgoing, Sent},
    clock,
    database::Pool,
    error::Error,
    metric::{Label, Metric},
};
use proto::{Message, Name, common::v1::command_reply::Outcome, payments::v1::RecordProviderEvent};
use providers::{Provider, Registry, Told, report_command_id};
use runtime::{
    Context,
    notices::{self, Notice, Topic},
};
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
    let pool = &context.pool;
    let mut search = Search { provider, pool, client, known: BTreeSet::new(), heard: Heard::Unknown, every };
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

/// When the provider told it, by its own clock.
fn told_at(report: &RecordProviderEvent) -> Option<Timestamp> {
    Timestamp::from_wire("occurred_at", report.occurred_at).ok()
}

/// One provider's reports, and those of them that are known to be taken in.
struct Search<'a, P> {
    provider: &'a P,
    pool: &'a Pool,
    client: CommandClient,
    known: BTreeSet<Uuid>,
    heard: Heard,
    every: Duration,
}

/// Whether a provider brings its reports, as it was noted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Nothing was noted yet.
    Unknown,
    /// It does, or none was due.
    Well,
    /// None of these was brought, and none since.
    Silent(Silence),
}

/// Reports that a provider did not bring, and it has brought none since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    /// When the first of them was told,
    first: Timestamp,
    /// and the last.
    last: Timestamp,
    /// How many at least.
    reports: usize,
}

impl Silence {
    /// What it is now: after what is known of it, with these reports that nobody has brought and the latest that somebody has.
    fn after(known: Option<Self>, missed: &[Timestamp], brought: Option<Timestamp>) -> Option<Self> {
        let is_since = |at: Timestamp| brought.is_none_or(|brought| at > brought);
        let known = known.filter(|known| is_since(known.last));
        let missed: Vec<Timestamp> = missed.iter().copied().filter(|at| is_since(*at)).collect();
        let ends = known.into_iter().flat_map(|known| [known.first, known.last]);
        let all = || missed.iter().copied().chain(ends.clone());
        let reports = missed.len().max(known.map_or(0, |known| known.reports));
        Some(Self { first: all().min()?, last: all().max()?, reports })
    }

    fn words(self) -> String {
        let Self { first, last, reports } = self;
        format!(
            "{reports} had to be asked for, the first told at {first} and the last at {last}, and none was brought since"
        )
    }
}

impl<P: Provider> Search<'_, P> {
    /// Asks once, and has payments take in what is new. In words why not all of it is.
    async fn look(&mut self, since: Timestamp) -> Result<(), String> {
        let told = self.provider.missed(since).await.map_err(|error| error.to_string())?;
        let (mut ids, mut still_missed) = (BTreeSet::new(), Vec::new());
        for told in told {
            let Some(report) = self.of_payment(told).await.map_err(|error| error.to_string())? else { continue };
            let id = report_command_id(self.provider.name(), &report);
            if !self.known.contains(&id) {
                self.record(id, &report).await?;
            } else if let Some(at) = told_at(&report) {
                // One that is only on its way is brought by now.
                still_missed.push(at);
            }
            ids.insert(id);
        }
        // What another process has noted holds until it is known whether these were only on their way.
        let is_known = self.heard != Heard::Unknown || ids.is_empty() || !still_missed.is_empty();
        self.known = ids;
        if is_known {
            self.listen(&still_missed).await?;
        }
        Ok(())
    }

    /// Notes whether the provider brings anything, with these that it does not.
    async fn listen(&mut self, missed: &[Timestamp]) -> Result<(), String> {
        let known = match self.heard {
            Heard::Silent(silence) => Some(silence),
            Heard::Unknown | Heard::Well => None,
        };
        let since = missed.iter().copied().chain(known.map(|known| known.first)).min();
        let brought = match since {
            Some(since) => self.last_brought(since).await?,
            None => None,
        };
        let now = Silence::after(known, missed, brought).map_or(Heard::Well, Heard::Silent);
        self.note(now).await.map_err(|error| error.chain())?;
        self.heard = now;
        Ok(())
    }

    /// When the last report was told that was brought.
    async fn last_brought(&self, since: Timestamp) -> Result<Option<Timestamp>, String> {
        for told in self.provider.brought(since).await.map_err(|error| error.to_string())? {
            if let Some(report) = self.of_payment(told).await.map_err(|error| error.to_string())? {
                return Ok(told_at(&report));
            }
        }
        Ok(None)
    }

    /// For whoever diagnoses the fleet; again each time, for what is not said again is over.
    async fn note(&self, heard: Heard) -> Result<(), Error> {
        if heard == Heard::Well && self.heard == Heard::Well {
            return Ok(());
        }
        let said_by = self.provider.name().as_str();
        let noted = async {
            let mut session = self.pool.session().await?;
            let Heard::Silent(silence) = heard else {
                return notices::is_over(&mut session, Topic::Webhooks, said_by).await;
            };
            let (says, lasted) = (silence.words(), clock::now().since(silence.first));
            let counts_for = self.every * 3 + COMMITTED_WITHIN;
            Notice { topic: Topic::Webhooks, said_by, says: &says, lasted, counts_for }.note(&mut session).await
        };
        self.pool.answered(noted).await
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
            traceparent: None,
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

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::Silence;

    const fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn silence(first: i64, last: i64, reports: usize) -> Option<Silence> {
        Some(Silence { first: at(first), last: at(last), reports })
    }

    #[test]
    fn a_provider_is_silent_from_the_first_report_that_had_to_be_asked_for_behind_the_last_that_it_brought() {
        assert_eq!(Silence::after(None, &[], None), None);
        assert_eq!(Silence::after(None, &[at(5), at(3)], None), silence(3, 5, 2));
        assert_eq!(Silence::after(None, &[at(3), at(5)], Some(at(4))), silence(5, 5, 1));
        assert_eq!(Silence::after(None, &[at(3), at(5)], Some(at(5))), None, "as late as the last of them");
    }

    #[test]
    fn it_stays_silent_until_it_brings_one() {
        let known = silence(3, 5, 2);
        assert_eq!(Silence::after(known, &[], None), known, "nothing was due since");
        assert_eq!(Silence::after(known, &[at(9)], None), silence(3, 9, 2));
        assert_eq!(Silence::after(known, &[at(9)], Some(at(7))), silence(9, 9, 1));
        assert_eq!(Silence::after(known, &[], Some(at(7))), None);
    }
}
