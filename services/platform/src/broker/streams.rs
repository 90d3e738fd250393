//! Our JetStream streams: the one description of them, making those that are missing, and changing those that are there.
//!
//! Any worker makes what is missing. What is there only the relay changes, and who wants to change something becomes the relay last of
//! all: so one worker with another setting does not change the streams of a fleet, and a whole fleet with another setting does.

use std::collections::HashMap;

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, Stream, SubjectTransform},
};
use futures::TryStreamExt;
use uuid::Uuid;

use super::{
    Broker, EVENTS, EVENTS_JSON, command_subject, commands_stream, commands_subject, events_subjects, is_required,
    json_subjects, urgent_subject,
};
use crate::error::Error;

/// The field of a stream's metadata that names the installation whose it is.
const INSTALLATION: &str = "holdfast-installation";

/// What errors of this file were about.
const MAKING: &str = "making a JetStream stream";
const CHANGING: &str = "changing a JetStream stream";
const ASKING: &str = "asking the broker for a stream";

/// Whether a stream is this installation's, or nobody's yet.
///
/// # Errors
/// It is another's.
pub fn check_installation(stream: &Config, installation: Uuid) -> Result<(), Error> {
    let ours = installation.to_string();
    let Some(theirs) = stream.metadata.get(INSTALLATION).filter(|theirs| **theirs != ours) else { return Ok(()) };
    let name = &stream.name;
    let why = format!(
        "WRONG_BROKER: its stream {name} is of the installation {theirs}, and this database is of {ours}. Two databases on one broker would each \
         take half of what is the other's: give this one a broker of its own (setting broker.url), or, if the other is gone for good, delete \
         the streams"
    );
    Err(Error::transient("comparing the broker's installation with the database's", why))
}

fn is_of_events(stream: &str) -> bool {
    stream == EVENTS || stream == EVENTS_JSON
}

/// The setting that says how large a stream may be.
fn size_setting(stream: &str) -> &'static str {
    if is_of_events(stream) { "broker.events_bytes_max" } else { "broker.commands_bytes_max" }
}

/// What an operator can do about a stream that cannot be made or changed.
fn way_out(config: &Config, error: &CreateStreamError) -> String {
    let CreateStreamErrorKind::JetStream(said) = error.kind() else { return String::new() };
    match said.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED => format!(
            "; nats-server sets room aside for all that a stream may take: lower {}, or raise its max_file_store",
            size_setting(&config.name)
        ),
        ErrorCode::CLUSTER_NO_PEERS => {
            let copies = config.num_replicas;
            format!("; broker.replicas is {copies}, and that needs as many nats-servers in the cluster")
        }
        _ => String::new(),
    }
}

fn failed(what: &'static str, config: &Config, error: &CreateStreamError) -> Error {
    Error::transient(what, format!("{}: {error}{}", config.name, way_out(config, error)))
}

fn lacks_a_subject(there: &Config, wanted: &Config) -> bool {
    wanted.subjects.iter().any(|subject| !there.subjects.contains(subject))
}

/// As it is there, with what a newer worker publishes as well.
fn with_subjects(there: &Config, wanted: &Config) -> Config {
    let mut subjects = there.subjects.clone();
    subjects.extend(wanted.subjects.iter().filter(|subject| !there.subjects.contains(subject)).cloned());
    Config { subjects, ..there.clone() }
}

/// As it is wanted, but for what cannot be changed, and for what a newer worker publishes as well.
fn changed(there: &Config, wanted: &Config) -> Config {
    let Config { subjects, .. } = with_subjects(there, wanted);
    Config { subjects, persist_mode: there.persist_mode, ..wanted.clone() }
}

/// Whether a stream is as it is wanted: what an administrator may have changed is. A change costs the broker a write to its disk, and
/// where that is full, one that changes nothing fails as well.
fn is_so(there: &Config, wanted: &Config) -> bool {
    let limits = |config: &Config| {
        // Some say that there is none as 0, others as −1.
        let counts = [config.max_messages, config.max_messages_per_subject, i64::from(config.max_message_size)];
        (counts.map(|count| count.max(0)), config.max_bytes, config.max_age, config.num_replicas)
    };
    let kind = |config: &Config| (config.discard, config.sealed, config.allow_direct, config.allow_batch_publish);
    let owner = |config: &Config| config.metadata.get(INSTALLATION).cloned();
    there.subjects == wanted.subjects
        && there.subject_transform == wanted.subject_transform
        && (limits(there), kind(there), owner(there)) == (limits(wanted), kind(wanted), owner(wanted))
}

/// Whether a stream has to be made anew to be kept in as many copies as is wanted: nats-server has several of none that it writes to
/// disk a little later, and changes that of no stream.
fn must_be_remade(there: &Config, wanted: &Config) -> bool {
    wanted.num_replicas > 1 && there.persist_mode == Some(PersistenceMode::Async)
}

/// Where a stream is not as this worker's settings would have it.
fn difference(there: &Config, wanted: &Config) -> Option<String> {
    let name = &wanted.name;
    if there.num_replicas != wanted.num_replicas {
        let (copies, wanted) = (there.num_replicas, wanted.num_replicas);
        return Some(format!("broker.replicas is {wanted}, and the stream {name} has {copies}"));
    }
    (there.max_bytes != wanted.max_bytes).then(|| {
        let (setting, wanted, bytes) = (size_setting(name), wanted.max_bytes, there.max_bytes);
        format!("{setting} is {wanted}, and the stream {name} may have {bytes} bytes")
    })
}

impl Broker {
    /// Makes the JetStream streams of this installation unless they are there. Those that are stay as they are, but for subjects that
    /// they lack.
    ///
    /// # Errors
    /// The broker is away, has those of another installation, or has no room for one.
    pub async fn ensure_streams(&self, installation: Uuid) -> Result<(), Error> {
        for wanted in self.needed() {
            self.ensure_stream(wanted, installation).await?;
        }
        // Nobody of the fleet reads it, so nobody waits for it: the relay sees to it, and says why it is not there.
        if self.publishes_json()
            && let Err(error) = self.ensure_stream(self.events_json(), installation).await
        {
            tracing::debug!(error = error.chain(), "no stream for copies in JSON yet");
        }
        Ok(())
    }

    async fn ensure_stream(&self, wanted: Config, installation: Uuid) -> Result<(), Error> {
        match self.there(&wanted.name).await? {
            None => self.make(wanted, installation).await,
            Some(stream) => {
                let there = &stream.cached_info().config;
                check_installation(there, installation)?;
                if lacks_a_subject(there, &wanted) {
                    self.change(there, with_subjects(there, &wanted)).await?;
                }
                Ok(())
            }
        }
    }

    /// Makes the streams of this installation as the settings say: those that are missing, and those that are there. What cannot be
    /// changed stays as it is: why.
    ///
    /// # Errors
    /// The broker is away, has those of another installation, or has no room for one that is missing.
    pub async fn settle_streams(&self, installation: Uuid) -> Result<Vec<String>, Error> {
        let mut refused = Vec::new();
        for wanted in self.needed() {
            let Some(stream) = self.there(&wanted.name).await? else {
                self.make(wanted, installation).await?;
                continue;
            };
            let there = &stream.cached_info().config;
            check_installation(there, installation)?;
            if let Some(difference) = difference(there, &wanted) {
                tracing::warn!(difference, "changing a stream as this worker's settings say");
            }
            let settled = if !must_be_remade(there, &wanted) {
                self.change(there, changed(there, &owned(wanted, installation))).await
            } else if refused.is_empty() {
                self.remake(&stream, owned(wanted, installation)).await
            } else {
                // Where others could not be given as many copies, this one cannot either, and would be gone.
                continue;
            };
            refused.extend(settled.err().map(|error| error.chain()));
        }
        refused.extend(self.copies_that_stay().await?);
        Ok(refused)
    }

    /// Makes the stream of copies in JSON as the settings say, as far as it can be.
    ///
    /// # Errors
    /// It cannot be made or changed.
    pub async fn settle_copies(&self, installation: Uuid) -> Result<(), Error> {
        let wanted = self.events_json();
        let Some(stream) = self.there(EVENTS_JSON).await? else { return self.make(wanted, installation).await };
        let there = &stream.cached_info().config;
        check_installation(there, installation)?;
        let mut settled = changed(there, &owned(wanted, installation));
        if must_be_remade(there, &settled) {
            // Whoever reads it is not known here, and may not have read all.
            settled.num_replicas = there.num_replicas;
        }
        self.change(there, settled).await
    }

    /// Whether the stream of copies in JSON stays as it is where more of it are wanted: why.
    async fn copies_that_stay(&self) -> Result<Option<String>, Error> {
        let stream = if self.publishes_json() { self.there(EVENTS_JSON).await? } else { None };
        let stays = stream.is_some_and(|stream| must_be_remade(&stream.cached_info().config, &self.events_json()));
        Ok(stays.then(|| {
            format!(
                "the stream {EVENTS_JSON} keeps its one copy, for nats-server would have to make it anew: delete it once all that is in it \
                 was read, and it is made with as many as broker.replicas says"
            )
        }))
    }

    /// Where streams are not as this worker's settings would have them.
    ///
    /// # Errors
    /// The broker is away.
    pub async fn differences(&self) -> Result<Vec<String>, Error> {
        let mut differences = Vec::new();
        for wanted in self.needed() {
            if let Some(stream) = self.there(&wanted.name).await? {
                differences.extend(difference(&stream.cached_info().config, &wanted));
            }
        }
        Ok(differences)
    }

    async fn there(&self, name: &str) -> Result<Option<Stream>, Error> {
        match self.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if is_not_there(&error.kind()) => Ok(None),
            Err(error) => Err(Error::transient(ASKING, format!("{name}: {error}"))),
        }
    }

    async fn make(&self, wanted: Config, installation: Uuid) -> Result<(), Error> {
        let wanted = owned(wanted, installation);
        let made =
            self.jetstream.create_stream(wanted.clone()).await.map_err(|error| failed(MAKING, &wanted, &error))?;
        takes(&made.cached_info().config, &wanted)
    }

    async fn change(&self, there: &Config, wanted: Config) -> Result<(), Error> {
        if is_so(there, &wanted) {
            return Ok(());
        }
        let changed = self.jetstream.update_stream(&wanted).await.map_err(|error| failed(CHANGING, &wanted, &error))?;
        takes(&changed.config, &wanted)
    }

    /// Deletes the stream of events and makes it again. Whoever calls this publishes again what some service has not handled.
    async fn remake(&self, stream: &Stream, wanted: Config) -> Result<(), Error> {
        let (name, there) = (&wanted.name, &stream.cached_info().config);
        let consumers: Vec<_> =
            stream.consumers().try_collect().await.map_err(|error| Error::transient(ASKING, error))?;
        let of_others = consumers.into_iter().filter(|consumer| !is_required(&consumer.config.metadata));
        let of_others: Vec<String> = of_others.map(|consumer| consumer.name).collect();
        if !of_others.is_empty() {
            let why = format!(
                "{name} keeps its one copy: nats-server would have to make it anew, and others than this fleet read it ({}). Delete {name} \
                 while the workers run, once those have read what they need: it is made with as many copies as broker.replicas says, and \
                 what some service has not handled is published again",
                of_others.join(", ")
            );
            return Err(Error::transient(CHANGING, why));
        }
        tracing::warn!(
            copies = wanted.num_replicas,
            "making the stream {name} anew, for nats-server keeps no other copies of the one that is there; what some service has not \
             handled is published again"
        );
        let removed = self.jetstream.delete_stream(name).await;
        removed.map_err(|error| Error::transient(CHANGING, format!("{name}: {error}")))?;
        let Err(error) = self.jetstream.create_stream(wanted.clone()).await else { return Ok(()) };
        let error = failed(CHANGING, &wanted, &error);
        // Better as it was than not at all.
        let before = Config { num_replicas: there.num_replicas, persist_mode: there.persist_mode, ..wanted };
        self.jetstream.create_stream(before.clone()).await.map_err(|error| failed(MAKING, &before, &error))?;
        Err(error)
    }

    /// Without these no worker does anything.
    fn needed(&self) -> Vec<Config> {
        // The events first, which need most room: commands that are taken in and cannot be done would wait for nothing.
        let commands = proto::SERVICES.map(|service| self.commands(service));
        std::iter::once(self.events()).chain(commands).collect()
    }

    fn commands(&self, service: &str) -> Config {
        let urgent = proto::URGENT.into_iter().find(|message_type| proto::owner(message_type) == Some(service));
        Config {
            name: commands_stream(service),
            description: Some(format!("Commands for {service}, until they are handled")),
            subjects: vec![commands_subject(service)],
            // A consumer can ask for some subjects, and not for all but one.
            subject_transform: urgent.map(|message_type| SubjectTransform {
                source: command_subject(message_type),
                destination: urgent_subject(message_type),
            }),
            retention: RetentionPolicy::WorkQueue,
            // A full queue refuses the publisher, who then knows; it never drops what another was promised.
            discard: DiscardPolicy::New,
            max_bytes: self.settings.commands_bytes_max,
            num_replicas: self.settings.replicas,
            allow_direct: true,
            ..Default::default()
        }
    }

    fn events(&self) -> Config {
        Config {
            name: EVENTS.to_owned(),
            description: Some("Events, in the order of the log; the log itself is in Postgres".to_owned()),
            subjects: proto::SERVICES.iter().flat_map(|service| events_subjects(service)).collect(),
            retention: RetentionPolicy::Limits,
            // The relay takes away what all have handled. What is full takes in nothing new, rather than lose what is owed.
            discard: DiscardPolicy::New,
            max_bytes: self.settings.events_bytes_max,
            num_replicas: self.settings.replicas,
            allow_direct: true,
            // Written to disk a little later: what a broker that dies has not written the relay publishes again from the log.
            persist_mode: (self.settings.replicas == 1).then_some(PersistenceMode::Async),
            // One answer for all events of a commit.
            allow_batch_publish: true,
            ..Default::default()
        }
    }

    fn events_json(&self) -> Config {
        Config {
            name: EVENTS_JSON.to_owned(),
            description: Some("Events in JSON, for other systems".to_owned()),
            subjects: proto::SERVICES.map(json_subjects).to_vec(),
            // Whoever reads them is not known here, so nobody's slowness holds up the rest.
            discard: DiscardPolicy::Old,
            max_age: self.events_age_max(),
            ..self.events()
        }
    }
}

/// Whether there is no such stream.
pub fn is_not_there(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn owned(config: Config, installation: Uuid) -> Config {
    Config { metadata: HashMap::from([(INSTALLATION.to_owned(), installation.to_string())]), ..config }
}

/// Whether a stream takes what it was asked to take.
fn takes(made: &Config, wanted: &Config) -> Result<(), Error> {
    if !lacks_a_subject(made, wanted) {
        return Ok(());
    }
    let (name, subjects) = (&made.name, &made.subjects);
    Err(Error::transient(MAKING, format!("{name} takes {subjects:?} although {:?} was asked for", wanted.subjects)))
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode};

    use super::{changed, difference, is_so, must_be_remade, with_subjects};

    fn stream(copies: usize, persist_mode: Option<PersistenceMode>) -> Config {
        Config { name: "EVENTS".to_owned(), num_replicas: copies, persist_mode, max_bytes: 10, ..Config::default() }
    }

    #[test]
    fn a_stream_keeps_what_counts_only_when_it_is_made() {
        let (one, three) = (stream(1, Some(PersistenceMode::Async)), stream(3, None));
        assert_eq!(changed(&three, &one), stream(1, None));
        assert!(must_be_remade(&one, &three), "nats-server has no three copies of such a stream");
        assert!(!must_be_remade(&three, &one) && !must_be_remade(&stream(1, None), &three));
    }

    #[test]
    fn a_stream_takes_what_newer_workers_publish_although_an_older_one_is_the_relay() {
        let of = |subjects: &[&str]| Config {
            subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
            ..Config::default()
        };
        assert_eq!(changed(&of(&["evt.a.*", "evt.b.*"]), &of(&["evt.a.*"])).subjects, ["evt.a.*", "evt.b.*"]);
        assert_eq!(with_subjects(&of(&["evt.a.*"]), &of(&["evt.b.*", "evt.a.*"])).subjects, ["evt.a.*", "evt.b.*"]);
    }

    #[test]
    fn what_an_administrator_has_changed_is_put_back_and_nothing_else_is_touched() {
        let (wanted, mut there) = (stream(3, None), stream(3, None));
        (there.max_messages, there.duplicate_window) = (-1, std::time::Duration::from_secs(120));
        assert!(is_so(&there, &wanted));
        assert!(!is_so(&Config { max_message_size: 700, ..there.clone() }, &wanted));
        assert!(!is_so(&Config { discard: DiscardPolicy::New, ..there.clone() }, &wanted));
        assert!(!is_so(&Config { sealed: true, ..there }, &wanted));
    }

    #[test]
    fn a_difference_names_the_setting_and_the_stream() {
        let said = difference(&stream(1, None), &stream(3, None)).unwrap();
        assert_eq!(said, "broker.replicas is 3, and the stream EVENTS has 1");
        let larger = Config { max_bytes: 20, ..stream(1, None) };
        assert!(difference(&stream(1, None), &larger).unwrap().contains("broker.events_bytes_max is 20"));
        assert_eq!(difference(&stream(1, None), &stream(1, Some(PersistenceMode::Async))), None);
    }
}
