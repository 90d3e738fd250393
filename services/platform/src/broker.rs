//! The broker: connecting, checking its version, and the one description of our consumers; `streams` has that of our streams.

mod credentials;
pub mod permissions;
mod queued;
mod streams;

use std::{collections::HashMap, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event,
    connection::State,
    jetstream::{
        AckKind, Context, Message,
        consumer::{self, AckPolicy, DeliverPolicy, PullConsumer, pull},
        context::ContextBuilder,
        stream::Stream,
    },
};
use tokio::sync::watch;

use crate::{
    config::{self, ms},
    error::Error,
    retry,
};

/// Messages on their way to the broker at once, over all batches of a worker. A stream that has 10,000 waiting drops more.
pub const IN_FLIGHT_MAX: u32 = 4_096;

pub use queued::Queued;
pub use streams::{check_installation, is_not_there};

/// JetStream stream of events: a window; the log in Postgres has them all.
pub const EVENTS: &str = "EVENTS";

/// JetStream stream of the events once more, in proto3 JSON, for systems that read no protobuf.
pub const EVENTS_JSON: &str = "EVENTS_JSON";

/// Core NATS subject on which a worker tells the relay what it has published.
pub const PUBLISHED: &str = "holdfast.log.published";

/// Consumers with this mark in their metadata are owed every event, even one that the broker lost.
const REQUIRED: (&str, &str) = ("holdfast", "owed-every-event");

/// What a consumer's service asked for when it made the consumer, in its metadata: the subjects, with a space between.
const ASKED_FOR: &str = "holdfast-subjects";

/// The release that asked, beside it.
const RELEASE: &str = "holdfast-release";

const THIS_RELEASE: &str = env!("CARGO_PKG_VERSION");

/// A connection to the broker.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Core NATS.
    pub client: Client,
    /// JetStream.
    pub jetstream: Context,
    settings: config::Broker,
    connections: watch::Receiver<u64>,
}

/// Connects, and refuses a server that would silently ignore what Holdfast needs.
///
/// # Errors
/// No server, no JetStream, or one that is too old.
pub async fn connect(settings: &config::Broker, name: &str) -> Result<Broker, Error> {
    begin(settings, name, options(settings)?).await
}

/// How every connection is made: to whom, as whom, and where answers come to.
///
/// # Errors
/// The credentials cannot be read.
pub fn options(settings: &config::Broker) -> Result<ConnectOptions, Error> {
    let options = credentials::options(&settings.credentials)?;
    let options = options.custom_inbox_prefix(&settings.inbox_prefix);
    if settings.root_certificates.is_empty() {
        return Ok(options);
    }
    Ok(options.add_root_certificates(settings.root_certificates.clone().into()))
}

/// Connects, for taking messages in, until the connection is lost: it is never made again.
///
/// An acknowledgement names a message by its number in the stream. One that waits in the client while a broker comes back without
/// its disk would acknowledge whatever has that number there, which nobody has handled.
///
/// # Errors
/// As for [`connect`].
pub async fn connect_without_reconnect(settings: &config::Broker, name: &str) -> Result<Broker, Error> {
    let options = options(settings)?.ignore_discovered_servers().max_reconnects(servers(&settings.url).len());
    let broker = begin(settings, name, options).await?;
    broker
        .client
        .set_server_pool(UNREACHABLE)
        .await
        .map_err(|error| Error::transient("connecting to NATS, never to connect again", error))?;
    Ok(broker)
}

/// The servers of a cluster, as a setting lists them.
#[must_use]
pub fn servers(urls: &str) -> Vec<&str> {
    urls.split(',').map(str::trim).collect()
}

/// Where no server can be. The client has no setting for connections that are not to be made again.
const UNREACHABLE: &str = "nats://127.0.0.1:0";

async fn begin(settings: &config::Broker, name: &str, options: ConnectOptions) -> Result<Broker, Error> {
    let (counter, connections) = watch::channel(0_u64);
    // The client calls back from a task of its own.
    let span = tracing::Span::current();
    let options = options
        .name(format!("holdfast-{name}"))
        .client_capacity(65_536)
        .subscription_capacity(65_536)
        .ping_interval(ms(10_000))
        .reconnect_delay_callback(|attempts| ms(u64::try_from(attempts).unwrap_or(20).saturating_mul(50).min(1_000)))
        .event_callback(move |event| {
            let _whose = span.enter();
            match &event {
                // The first connection is no news to anybody.
                Event::Connected => {
                    counter.send_if_modified(|connections| {
                        *connections += 1;
                        *connections > 1
                    });
                }
                Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
                    tracing::warn!(%event, "broker connection");
                }
                Event::Disconnected | Event::LameDuckMode | Event::Draining | Event::Closed => {
                    tracing::info!(%event, "broker connection");
                }
            }
            async {}
        });
    let client = options
        .connect(servers(&settings.url))
        .await
        .map_err(|error| Error::transient("connecting to NATS (setting broker.url)", error))?;
    check_version(&client.server_info().version)?;
    let jetstream = ContextBuilder::new().timeout(ms(settings.publish_timeout_ms)).build(client.clone());
    Ok(Broker { client, jetstream, settings: settings.clone(), connections })
}

/// The oldest nats-server that works.
const VERSION_MIN: (u32, u32) = (2, 14);

fn check_version(version: &str) -> Result<(), Error> {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= VERSION_MIN {
        return Ok(());
    }
    let reason = format!(
        "it is {version}; {}.{} or newer is needed, because older ones silently ignore filters and limits that Holdfast \
         relies on",
        VERSION_MIN.0, VERSION_MIN.1
    );
    Err(Error::Permanent { what: "checking the version of nats-server", source: reason.into() })
}

fn filters(config: &consumer::Config) -> Vec<String> {
    if config.filter_subjects.is_empty() { vec![config.filter_subject.clone()] } else { config.filter_subjects.clone() }
}

/// Why a consumer passes over messages of these subjects, if so: somebody has changed it, or an older worker of a deployment under way has,
/// which reacts to less.
fn passes_over(config: &consumer::Config, subjects: &[String]) -> Option<String> {
    let filters = filters(config);
    let is_all = filters.iter().any(|filter| filter.is_empty() || filter == ">");
    let missing: Vec<&str> =
        subjects.iter().filter(|subject| !is_all && !filters.contains(subject)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Some(format!("its filter has no {}", missing.join(", ")));
    }
    if config.max_deliver > 0 {
        return Some(format!("it gives up after {} deliveries", config.max_deliver));
    }
    if config.deliver_policy != DeliverPolicy::All {
        return Some("it was made to begin later than its stream".to_owned());
    }
    (config.ack_policy != AckPolicy::Explicit)
        .then(|| "it does not wait for each message to be acknowledged".to_owned())
}

/// What a consumer is for, and by which release: what the newest one that has made it asked for. Workers of older ones beside it are handed
/// what they do not know, and leave it to the newer ones.
fn wanted(config: &consumer::Config, subjects: Vec<String>) -> (String, Vec<String>) {
    let numbers = |release: &str| release.split('.').map(|number| number.parse().unwrap_or(0)).collect::<Vec<u64>>();
    let made_by = config.metadata.get(RELEASE).filter(|made_by| numbers(made_by) > numbers(THIS_RELEASE));
    match made_by.zip(asked_for(config)) {
        Some((made_by, asked_for)) => (made_by.clone(), asked_for),
        None => (THIS_RELEASE.to_owned(), subjects),
    }
}

/// What its service asked for when it made a consumer.
fn asked_for(config: &consumer::Config) -> Option<Vec<String>> {
    config.metadata.get(ASKED_FOR).map(|subjects| subjects.split(' ').map(str::to_owned).collect())
}

/// Deletes a consumer that passes over messages of these subjects. Its owner makes it again.
pub async fn remake_if_it_passes_over<I>(
    stream: &Stream<I>,
    info: &consumer::Info,
    subjects: &[String],
) -> Result<(), Error> {
    let (_, subjects) = wanted(&info.config, subjects.to_vec());
    let Some(reason) = passes_over(&info.config, &subjects) else { return Ok(()) };
    tracing::warn!(consumer = info.name, reason, "a consumer was changed, and passes over messages; it is made anew");
    let deleted = stream.delete_consumer(&info.name).await;
    deleted.map_err(|error| Error::transient("removing a consumer that passes over messages", error))?;
    Ok(())
}

/// Has a message handed out again later, and later each time.
pub async fn put_off(message: &Message) {
    let times = message.info().map_or(1, |info| u32::try_from(info.delivered).unwrap_or(1));
    let after = retry::delay(ms(1_000), ms(30_000), times);
    if let Err(error) = message.ack_with(AckKind::Nak(Some(after))).await {
        tracing::debug!(%error, "could not put a message off; it comes again all the same");
    }
}

/// What an event may have beside what its command had: times, sums, headers.
const EVENT_BESIDE: usize = 65_536;

impl Broker {
    /// Whether every event of a command that is taken in can be published. One that never can would hold up all behind it.
    ///
    /// # Errors
    /// nats-server lets no message through that is as large.
    pub fn check_payload(&self, message_bytes_max: usize) -> Result<(), Error> {
        // In JSON each text is as long, or twice if all of it has to be escaped, and each of up to 1,000 lines has names.
        let times = if self.publishes_json() { 2 } else { 1 };
        let needed = message_bytes_max.saturating_mul(times).saturating_add(EVENT_BESIDE.saturating_mul(times));
        let allowed = self.client.server_info().max_payload;
        if allowed >= needed {
            return Ok(());
        }
        let why = format!(
            "nats-server's max_payload is {allowed} bytes, and an event may need {needed}: raise max_payload, or lower \
             consumer.message_bytes_max, which is {message_bytes_max}"
        );
        Err(Error::transient("comparing how large messages may be", why))
    }

    /// The server that it is connected to, or was last: a name that it keeps until it ends.
    #[must_use]
    pub fn server(&self) -> String {
        self.client.server_info().server_id
    }

    /// The same, if it has the streams itself and no other server has a part of them.
    #[must_use]
    pub fn server_alone(&self) -> Option<String> {
        let server = self.client.server_info();
        (server.jetstream && server.cluster.is_none()).then_some(server.server_id)
    }

    /// Counts connections: it changes after each reconnect.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }

    /// Whether this is the same connection, and not another one to the same broker.
    #[must_use]
    pub fn is_same_connection(&self, other: &Self) -> bool {
        self.connections.same_channel(&other.connections)
    }

    /// Whether it is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        !self.is_lost() && self.client.connection_state() == State::Connected
    }

    /// Whether it will never be connected again: it was to connect only once, or a malformed message has broken the task behind it.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.connections.has_changed().is_err()
    }

    /// Waits until it will never be connected again.
    pub async fn lost(&self) {
        let mut connections = self.connections();
        while connections.changed().await.is_ok() {}
    }

    /// How long to wait until the broker has stored what it was sent.
    pub const fn publish_timeout(&self) -> Duration {
        ms(self.settings.publish_timeout_ms)
    }

    /// Whether events are published in JSON as well.
    pub const fn publishes_json(&self) -> bool {
        self.settings.events_json
    }

    /// Makes a durable pull consumer unless it is there. All replicas of a service share it. One that passed over messages is made anew: what
    /// it passed over comes then, with all that its stream has. One that a newer release has made for more messages stays as it is.
    ///
    /// # Errors
    /// The broker is away, or made something else than it was asked for.
    pub async fn ensure_consumer(
        &self,
        stream: &str,
        durable: &str,
        subjects: Vec<String>,
        settings: &config::Consumer,
    ) -> Result<PullConsumer, Error> {
        let there = self.jetstream.get_stream_no_info(stream).await;
        let there = there.map_err(|error| Error::transient("asking the broker for a stream", error))?;
        let (release, subjects) = match there.consumer_info(durable).await {
            Ok(info) => {
                remake_if_it_passes_over(&there, &info, &subjects).await?;
                wanted(&info.config, subjects)
            }
            Err(_none) => (THIS_RELEASE.to_owned(), subjects),
        };
        let config = pull::Config {
            durable_name: Some(durable.to_owned()),
            filter_subjects: subjects.clone(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ms(settings.ack_wait_ms),
            max_ack_pending: settings.ack_pending_max,
            max_waiting: 512,
            // As many copies as its stream has.
            num_replicas: 0,
            metadata: HashMap::from([
                (REQUIRED.0.to_owned(), REQUIRED.1.to_owned()),
                (ASKED_FOR.to_owned(), subjects.join(" ")),
                (RELEASE.to_owned(), release),
            ]),
            ..Default::default()
        };
        let consumer = self
            .jetstream
            .create_consumer_on_stream(config, stream)
            .await
            .map_err(|error| Error::transient("making a JetStream consumer", error))?;
        let filters = filters(&consumer.cached_info().config);
        if filters != subjects {
            return Err(Error::transient(
                "making a JetStream consumer",
                format!("{durable} filters {filters:?} although {subjects:?} was asked for"),
            ));
        }
        Ok(consumer)
    }

    /// How long the broker is to keep events that all have handled; zero for as long as there is room.
    pub const fn events_age_max(&self) -> Duration {
        Duration::from_secs(self.settings.events_age_max_hours.saturating_mul(3_600))
    }

    /// The stream of events, without asking how it is.
    pub async fn events_stream_unasked(&self) -> Result<Stream<()>, Error> {
        self.jetstream
            .get_stream_no_info(EVENTS)
            .await
            .map_err(|error| Error::transient("asking the broker for the stream of events", error))
    }

    /// The stream of events, as it is now.
    pub async fn events_stream(&self) -> Result<Stream, Error> {
        self.jetstream
            .get_stream(EVENTS)
            .await
            .map_err(|error| Error::transient("asking the broker for the stream of events", error))
    }
}

/// JetStream stream of the commands for a service, kept until one of its replicas has handled them. Each has its own: a flood of
/// orders must not keep payments from being reported.
#[must_use]
pub fn commands_stream(service: &str) -> String {
    format!("COMMANDS_{}", service.to_uppercase())
}

/// All JetStream streams that the fleet needs.
#[must_use]
pub fn streams() -> Vec<String> {
    proto::SERVICES.map(commands_stream).into_iter().chain([EVENTS.to_owned()]).collect()
}

/// Subjects of all events that a service wrote.
fn events_subjects(service: &str) -> [String; 2] {
    [format!("evt.{service}.*"), format!("evt.{service}.*.handled")]
}

/// Subject of the copies in JSON of all events that a service wrote.
fn json_subjects(service: &str) -> String {
    format!("json.{service}.*")
}

/// Subject of all commands for a service.
#[must_use]
pub fn commands_subject(service: &str) -> String {
    format!("cmd.{service}.*")
}

/// Durable consumer of a service for its commands.
#[must_use]
pub fn commands_consumer(service: &str) -> String {
    format!("{service}-commands")
}

/// Durable consumer of a service for those of its commands that do not wait behind others.
#[must_use]
pub fn urgent_consumer(service: &str) -> String {
    format!("{service}-urgent")
}

/// Durable consumer of a service for the events it reacts to.
pub fn events_consumer(service: &str) -> String {
    format!("{service}-events")
}

/// Whether a consumer is owed every event of the log.
pub fn is_required(metadata: &HashMap<String, String>) -> bool {
    metadata.get(REQUIRED.0).is_some_and(|mark| mark == REQUIRED.1)
}

/// Whether a consumer is handed all that its service asked for, until it is acknowledged. Of one that somebody changed, nobody can say
/// what is handled.
pub fn is_as_asked(config: &consumer::Config) -> bool {
    asked_for(config).is_some_and(|subjects| passes_over(config, &subjects).is_none())
}

/// Subject of a command: `cmd.orders.PlaceOrder` for `holdfast.orders.v1.PlaceOrder`.
#[must_use]
pub fn command_subject(message_type: &str) -> String {
    format!("cmd.{}.{}", proto::owner(message_type).unwrap_or("unknown"), proto::short_name(message_type))
}

/// Subject, in its stream, of a command that does not wait behind others: `cmd.SERVICE.urgent.NAME`. It is sent on that of any command.
#[must_use]
pub fn urgent_subject(message_type: &str) -> String {
    let service = proto::owner(message_type).unwrap_or("unknown");
    format!("cmd.{service}.urgent.{}", proto::short_name(message_type))
}

/// The subject on which a command was sent that has this one in its stream.
#[must_use]
pub fn sent_subject(subject: &str) -> String {
    subject.replacen(".urgent.", ".", 1)
}

/// Subject of an event that a service wrote: `evt.orders.OrderPlaced`.
#[must_use]
pub fn event_subject(service: &str, message_type: &str) -> String {
    format!("evt.{service}.{}", proto::short_name(message_type))
}

/// Subject of an event when all that follows from it in the fleet was done with it: `evt.orders.OrderPlaced.handled`. No service asks for it.
pub fn handled_subject(service: &str, message_type: &str) -> String {
    format!("{}.handled", event_subject(service, message_type))
}

/// Both subjects of an event: for whoever is to hear of all.
pub fn subjects_of(service: &str, message_type: &str) -> [String; 2] {
    [event_subject(service, message_type), handled_subject(service, message_type)]
}

/// Subject of an event's copy in JSON: `json.orders.OrderPlaced`.
pub fn json_subject(service: &str, message_type: &str) -> String {
    format!("json.{service}.{}", proto::short_name(message_type))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy};

    use super::{
        ASKED_FOR, RELEASE, THIS_RELEASE, check_version, command_subject, event_subject, is_as_asked, passes_over,
        sent_subject, urgent_subject, wanted,
    };

    #[test]
    fn refuses_a_server_that_ignores_what_is_needed() {
        assert!(check_version("2.9.10").is_err());
        assert!(check_version("2.13.99").is_err());
        assert!(check_version("2.14.0").is_ok());
        assert!(check_version("3.0.0-beta").is_ok());
    }

    #[test]
    fn subjects_name_the_service_and_the_message() {
        assert_eq!(command_subject("holdfast.orders.v1.PlaceOrder"), "cmd.orders.PlaceOrder");
        for message_type in proto::URGENT {
            assert_eq!(sent_subject(&urgent_subject(message_type)), command_subject(message_type));
        }
        assert_eq!(event_subject("rounds", "holdfast.common.v1.CommandRejected"), "evt.rounds.CommandRejected");
    }

    #[test]
    fn a_consumer_passes_over_what_its_filter_lacks_and_what_it_gives_up() {
        let explicit = Config { ack_policy: AckPolicy::Explicit, max_deliver: -1, ..Config::default() };
        let both = ["evt.a.B".to_owned(), "evt.a.C".to_owned()];
        let with =
            |filter_subjects: &[String]| Config { filter_subjects: filter_subjects.to_vec(), ..explicit.clone() };
        assert_eq!(passes_over(&with(&both), &both), None);
        assert_eq!(passes_over(&with(&both), &both[..1]), None, "a newer worker reacts to more");
        assert_eq!(passes_over(&explicit, &both), None, "no filter");
        assert!(passes_over(&with(&both[..1]), &both).is_some_and(|why| why.contains("evt.a.C")));
        assert!(passes_over(&Config { max_deliver: 3, ..with(&both) }, &both).is_some());
        assert!(passes_over(&Config { ack_policy: AckPolicy::All, ..with(&both) }, &both).is_some());
        assert!(passes_over(&Config { deliver_policy: DeliverPolicy::New, ..with(&both) }, &both).is_some());
    }
    #[test]
    fn of_a_consumer_that_nobody_knows_or_somebody_changed_nothing_is_said() {
        let filter_subjects = vec!["evt.a.B".to_owned()];
        let asking_for = |subjects: &str| Config {
            ack_policy: AckPolicy::Explicit,
            filter_subjects: filter_subjects.clone(),
            metadata: HashMap::from([(ASKED_FOR.to_owned(), subjects.to_owned())]),
            ..Config::default()
        };
        assert!(is_as_asked(&asking_for("evt.a.B")));
        assert!(!is_as_asked(&asking_for("evt.a.B evt.a.C")));
        assert!(!is_as_asked(&Config { metadata: HashMap::new(), ..asking_for("evt.a.B") }));
    }

    #[test]
    fn a_consumer_is_for_what_the_newest_release_asked_for_that_has_made_it() {
        let of = |release: &str| {
            let metadata = [(ASKED_FOR, "evt.a.C evt.a.D"), (RELEASE, release)];
            let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Config { metadata: HashMap::from(metadata), ..Config::default() }
        };
        let ours = || vec!["evt.a.B".to_owned()];
        for older in ["", "0.0.9", THIS_RELEASE] {
            assert_eq!(wanted(&of(older), ours()), (THIS_RELEASE.to_owned(), ours()), "{older}");
        }
        let newer = format!("{THIS_RELEASE}.1");
        for newer in [newer.as_str(), "10.0.0"] {
            let theirs = vec!["evt.a.C".to_owned(), "evt.a.D".to_owned()];
            assert_eq!(wanted(&of(newer), ours()), (newer.to_owned(), theirs));
        }
        assert_eq!(wanted(&Config::default(), ours()).1, ours());
    }
}
