//! Who may do what at the broker: a user for each process, for the operator, and for each kind of other system. Made from the same
//! names as the streams and consumers, so that what a worker needs and what it may are one list.
//!
//! Workers must answer whoever asks, and make their own consumers, so they may write to every inbox; nobody reads another's.

use std::fmt::Write as _;

use super::{
    EVENTS, EVENTS_JSON, PUBLISHED, commands_consumer, commands_stream, commands_subject, events_consumer,
    events_subjects, json_subjects, streams, urgent_consumer,
};

/// The service whose workers are the relay. It publishes for all, so its user may.
const RELAY: &str = "orders";

/// The worker that is all services.
const ALL_IN_ONE: &str = "all-in-one";

/// The consumer of the sandbox, which stands in for a provider in the workers of payments.
const SANDBOX: (&str, &str) = ("payments", "payments-sandbox");

/// Another system that both sends and reads.
const SHOP: &str = "shop";

/// A user of the broker. What is on neither list it may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name, by which its key is named too.
    pub name: String,
    /// What it is for.
    pub is_for: String,
    /// Subjects that it may publish to.
    pub publish: Vec<String>,
    /// Subjects that it may listen to.
    pub subscribe: Vec<String>,
}

/// Where answers to a user come to (setting broker.inbox_prefix). Nobody else may listen there.
#[must_use]
pub fn inbox_prefix(user: &str) -> String {
    format!("_INBOX.{user}")
}

/// Whether the worker of this name may be the relay (setting relay.runs).
#[must_use]
pub fn may_be_the_relay(worker: &str) -> bool {
    worker == RELAY || worker == ALL_IN_ONE
}

impl User {
    /// The variable of its public key, in the settings of nats-server.
    fn key(&self) -> String {
        format!("KEY_{}", self.name.to_uppercase().replace('-', "_"))
    }

    fn new(name: &str, is_for: &str, publish: Vec<String>) -> Self {
        let subscribe = vec![format!("{}.>", inbox_prefix(name))];
        Self { name: name.to_owned(), is_for: is_for.to_owned(), publish, subscribe }
    }

    fn hears(mut self, subjects: impl IntoIterator<Item = String>) -> Self {
        self.subscribe.extend(subjects);
        self
    }
}

fn api(request: &str, stream: &str) -> String {
    format!("$JS.API.{request}.{stream}")
}

/// All streams, with the one that nobody of the fleet reads.
fn all_streams() -> Vec<String> {
    streams().into_iter().chain([EVENTS_JSON.to_owned()]).collect()
}

/// Both forms in which nats-server names a message that is acknowledged: that of today, and that of its setting `js_ack_fc_v2`.
fn acknowledgements(stream: &str, consumer: &str) -> [String; 2] {
    [format!("$JS.ACK.{stream}.{consumer}.>"), format!("$JS.ACK.*.*.{stream}.{consumer}.>")]
}

/// To make a durable consumer and to read from it.
fn consumer(stream: &str, name: &str) -> Vec<String> {
    let requests = ["INFO", "CREATE", "DELETE", "PAUSE", "MSG.NEXT"];
    let requests = requests.map(|request| format!("$JS.API.CONSUMER.{request}.{stream}.{name}"));
    requests.into_iter().chain(acknowledgements(stream, name)).collect()
}

/// What the worker of a service does when it is not the relay.
fn work(service: &str) -> Vec<String> {
    let commands = commands_stream(service);
    let mut subjects = events_subjects(service).to_vec();
    subjects.extend([json_subjects(service), PUBLISHED.to_owned(), "_INBOX.>".to_owned()]);
    for stream in all_streams() {
        // To make what is missing. What is there it does not change.
        subjects.extend([api("STREAM.INFO", &stream), api("STREAM.CREATE", &stream)]);
    }
    // To compare the broker with the log, and to take out what no client can read.
    for stream in [EVENTS, &commands] {
        subjects.extend([api("STREAM.MSG.GET", stream), api("STREAM.MSG.DELETE", stream)]);
    }
    subjects.extend(consumer(&commands, &commands_consumer(service)));
    if proto::URGENT.iter().any(|urgent| proto::owner(urgent) == Some(service)) {
        subjects.extend(consumer(&commands, &urgent_consumer(service)));
    }
    subjects.extend(consumer(EVENTS, &events_consumer(service)));
    if service == SANDBOX.0 {
        subjects.extend(consumer(EVENTS, SANDBOX.1));
        // What a provider reports is a command to the service itself.
        subjects.push(commands_subject(service));
    }
    subjects
}

/// What the relay does besides: it publishes for all, and sees to the streams.
fn relay() -> Vec<String> {
    let mut subjects: Vec<String> = proto::SERVICES
        .iter()
        .flat_map(|service| events_subjects(service).into_iter().chain([json_subjects(service)]))
        .collect();
    for stream in all_streams() {
        subjects.extend([api("STREAM.UPDATE", &stream), api("CONSUMER.LIST", &stream)]);
    }
    for stream in [EVENTS, EVENTS_JSON] {
        subjects.push(api("STREAM.DELETE", stream));
    }
    subjects.extend([api("STREAM.PURGE", EVENTS), format!("$JS.API.CONSUMER.DELETE.{EVENTS}.*")]);
    subjects
}

fn worker(service: &str) -> User {
    let is_for = format!("the workers of {service}");
    if service != RELAY {
        return User::new(service, &is_for, work(service));
    }
    let subjects = work(service).into_iter().chain(relay()).collect();
    User::new(service, &format!("{is_for}, which are the relay"), subjects).hears([PUBLISHED.to_owned()])
}

fn all_in_one() -> User {
    let subjects = proto::SERVICES.iter().flat_map(|service| work(service)).chain(relay()).collect();
    User::new(ALL_IN_ONE, "a worker that is all services", subjects).hears([PUBLISHED.to_owned()])
}

/// Sends every command, looks which of them wait, and says what is wrong with the fleet.
fn gateway() -> User {
    let mut subjects = proto::SERVICES.map(commands_subject).to_vec();
    subjects.extend(proto::SERVICES.map(|service| api("DIRECT.GET", &commands_stream(service))));
    subjects.extend(looks());
    User::new("gateway", "the gateway", subjects)
}

/// What shows how the fleet is: all streams and consumers, and how old the oldest message is that waits for one.
fn looks() -> Vec<String> {
    let asked =
        |stream: String| ["STREAM.INFO", "CONSUMER.LIST", "STREAM.MSG.GET"].map(|request| api(request, &stream));
    all_streams().into_iter().flat_map(asked).collect()
}

fn mail() -> User {
    let mut subjects = vec![api("STREAM.INFO", EVENTS), api("STREAM.MSG.GET", EVENTS)];
    subjects.extend(consumer(EVENTS, &events_consumer("mail")));
    User::new("mail", "what sends mail", subjects)
}

/// `holdfast send`, `expire`, `status`, `recover`.
fn operator() -> User {
    let mut subjects = proto::SERVICES.map(commands_subject).to_vec();
    subjects.extend(looks());
    // To take lost events back it reads the stream by a consumer that the broker names.
    subjects.push(api("CONSUMER.CREATE", EVENTS));
    subjects.extend(["INFO", "MSG.NEXT"].map(|request| format!("$JS.API.CONSUMER.{request}.{EVENTS}.*")));
    User::new("operator", "the command holdfast", subjects)
}

/// Another system that sends commands to one service.
fn publisher(service: &str) -> User {
    let is_for = format!("another system that sends commands to {service}");
    User::new(&format!("{service}-publisher"), &is_for, vec![commands_subject(service)])
}

/// Another system that reads events: as they come, or by a consumer that has the user's name.
fn subscriber(name: &str, is_for: &str, stream: &str, subjects: Vec<String>) -> User {
    let mut publish = vec![api("STREAM.INFO", stream)];
    publish.extend(consumer(stream, name));
    // Clients name the subject that they ask for after the consumer.
    publish.extend(subjects.iter().map(|subject| format!("$JS.API.CONSUMER.CREATE.{stream}.{name}.{subject}")));
    User::new(name, is_for, publish).hears(subjects)
}

/// Another system that sends commands to orders and reads, in JSON, what becomes of them: with one key, and by a consumer that has the
/// user's name. It may make that consumer for these subjects only, for nats-server compares them with the subject that asks.
fn shop() -> User {
    let (orders, bare) = (json_subjects("orders"), format!("$JS.API.CONSUMER.CREATE.{EVENTS_JSON}.{SHOP}"));
    let mut publish = consumer(EVENTS_JSON, SHOP);
    publish.retain(|subject| *subject != bare);
    publish.extend([commands_subject("orders"), format!("{bare}.{orders}")]);
    User::new(SHOP, "another system that sends commands to orders and reads what becomes of them", publish)
        .hears([orders])
}

/// All users.
#[must_use]
pub fn users() -> Vec<User> {
    let mut users: Vec<User> = proto::SERVICES.map(worker).into();
    users.extend([all_in_one(), gateway(), mail(), operator()]);
    users.extend(proto::SERVICES.map(publisher));
    users.push(shop());
    let events = proto::SERVICES.iter().flat_map(|service| events_subjects(service)).collect();
    let copies = proto::SERVICES.map(json_subjects).into();
    users.push(subscriber("subscriber", "another system that reads events", EVENTS, events));
    users.push(subscriber("json-subscriber", "another system that reads events in JSON", EVENTS_JSON, copies));
    for user in &mut users {
        for list in [&mut user.publish, &mut user.subscribe] {
            list.sort_unstable();
            list.dedup();
        }
    }
    users
}

/// The part of nats-server's settings that says who may do what. Each user's public key is a variable.
#[must_use]
pub fn accounts() -> String {
    let mut text =
        "# Made from services/platform/src/broker/permissions.rs; a test compares. What is not listed is refused.\n\
                    include 'keys.conf'\naccounts {\n  HOLDFAST {\n    jetstream: enabled\n    users: [\n"
            .to_owned();
    for user in users() {
        let list = |subjects: &[String]| {
            subjects.iter().fold(String::new(), |mut lines, subject| {
                // Writing to a string cannot fail.
                let _infallible = writeln!(lines, "            \"{subject}\"");
                lines
            })
        };
        let _infallible = write!(
            text,
            "      # {}\n      {{\n        nkey: ${}\n        permissions {{\n          publish {{ allow: [\n{}          ] }}\n          \
             subscribe {{ allow: [\n{}          ] }}\n        }}\n      }}\n",
            user.is_for,
            user.key(),
            list(&user.publish),
            list(&user.subscribe),
        );
    }
    text.push_str("    ]\n  }\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::{inbox_prefix, users};

    fn may_publish(name: &str, subject: &str) -> bool {
        users().iter().any(|user| user.name == name && user.publish.iter().any(|allowed| allowed == subject))
    }

    #[test]
    fn only_the_relay_may_publish_what_another_service_wrote() {
        assert!(may_publish("orders", "evt.inventory.*") && may_publish("inventory", "evt.inventory.*"));
        assert!(!may_publish("inventory", "evt.orders.*") && !may_publish("payments", "json.orders.*"));
    }

    #[test]
    fn a_shop_reads_nothing_but_what_becomes_of_orders() {
        let shop = users().into_iter().find(|user| user.name == "shop").unwrap();
        let others = |subject: &&String| {
            ["EVENTS.", "inventory", "rounds", "payments", "evt."].iter().any(|part| subject.contains(part))
        };
        let wrong: Vec<_> = shop.publish.iter().chain(&shop.subscribe).filter(others).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        // Without the subjects behind its name, it would be a consumer of all events.
        assert!(!may_publish("shop", "$JS.API.CONSUMER.CREATE.EVENTS_JSON.shop"));
        assert!(may_publish("shop", "$JS.API.CONSUMER.CREATE.EVENTS_JSON.shop.json.orders.*"));
    }

    #[test]
    fn nobody_listens_to_the_inbox_of_another() {
        for user in users() {
            let inboxes: Vec<_> = user.subscribe.iter().filter(|subject| subject.starts_with("_INBOX")).collect();
            assert_eq!(inboxes, [&format!("{}.>", inbox_prefix(&user.name))]);
        }
    }

    #[test]
    fn no_user_may_do_all_that_the_broker_does() {
        for user in users() {
            for subject in user.publish.iter().chain(&user.subscribe) {
                assert!(
                    !["$JS.API.>", "$JS.>", "cmd.>", "evt.>", ">"].contains(&subject.as_str()),
                    "{}: {subject}",
                    user.name
                );
            }
        }
    }
}
