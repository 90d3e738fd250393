//! Settings: one documented file compiled in, an optional file over it, the environment over both; checked before use, all at once.

mod checks;
mod mistake;
mod nearest;
#[cfg(test)]
mod reference;
mod secret;
mod sources;

use std::{collections::BTreeMap, ffi::OsString, time::Duration};

use serde::Deserialize;
use toml::Table;
use tracing_subscriber::EnvFilter;

use crate::broker::IN_FLIGHT_MAX;
use checks::Checks;
pub use mistake::{ConfigError, Mistake};
pub use sources::OTHERS;

const PROVIDERS: &str = "payments.providers";

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../holdfast.toml");

macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "each setting is documented where its default is: holdfast.toml")]
        pub struct $name { $(pub $field: $kind),* }
    )* };
}

sections! {
    /// All settings of a worker.
    Config {
        database: Database, broker: Broker, consumer: Consumer, relay: Relay, timers: Timers, effects: Effects,
        payments: Payments, rounds: Rounds, stripe: Stripe, http: Http, gateway: Gateway, mail: Mail, traces: Traces, log: Log, process: Process,
    }
    /// Postgres.
    Database { url: String, password: String, connections_max: u32, installation: String }
    /// NATS.
    Broker {
        url: String, root_certificates: String, credentials: String, inbox_prefix: String, replicas: usize, events_age_max_hours: u64,
        events_bytes_max: i64, events_json: bool, commands_bytes_max: i64, publish_timeout_ms: u64,
    }
    /// Taking messages in.
    Consumer {
        batch_max: usize, prefetch_max: usize, prefetch_bytes_max: usize, ack_wait_ms: u64, ack_pending_max: i64, message_bytes_max: usize,
        conflict_tries_max: u32,
    }
    /// Publishing the log.
    Relay { runs: bool, page_max: i64, tick_ms: u64, sweep_after_ms: u64, compare_ms: u64 }
    /// Due work.
    Timers { claim_max: i64, poll_ms: u64 }
    /// Outside calls.
    Effects { calls: bool, concurrency_max: usize, lease_ms: u64, call_ms: u64, backoff_ms: u64, backoff_max_ms: u64, poll_ms: u64 }
    /// Taking payments.
    Payments { providers: String }
    /// Drawing winners.
    Rounds { draw_secrets: String, draw_beacon: String, draw_beacon_url: String, draw_delay_ms: u64 }
    /// The provider Stripe.
    Stripe {
        secret_key: String, webhook_secrets: String, allow_live: bool, url: String, success_url: String, cancel_url: String,
        call_ms: u64, missed_ms: u64, capture: String,
    }
    /// Probes and metrics.
    Http { address: String }
    /// The HTTP API.
    Gateway {
        address: String, tokens: String, jwks: String, jwt_issuer: String, jwt_audience: String, link_secret: String,
        console_secret: String, console_environment: String, public_rounds: bool, operator_url: String, operator_password: String, connections_max: usize, requests_max: usize, listeners_max: usize,
        body_bytes_max: usize, read_ms: u64, write_ms: u64, request_ms: u64, wait_ms: u64, wait_max_ms: u64,
    }
    /// Mail to buyers.
    Mail {
        server: String, port: u16, tls: String, user: String, password: String, from: String, reply_to: String, bounces: String,
        templates: String, zone: String, unknown: String, late_payments: bool, elsewhere: bool, connections_max: usize, begin_ms: u64,
        answer_ms: u64, backoff_ms: u64, backoff_max_ms: u64, give_up_ms: u64, once_more_ms: u64, poll_ms: u64,
    }
    /// Traces.
    Traces { url: String, token: String, one_in: u64, slow_ms: u64, poll_ms: u64 }
    /// Logging.
    Log { filter: String, format: String }
    /// The process.
    Process { threads: usize, drain_ms: u64 }
}

/// Milliseconds of a setting as a duration.
#[must_use]
pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Config {
    /// Reads the settings of this process.
    ///
    /// # Errors
    /// Files and variables that do not fit, all of them, named with what to write instead.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::read(&environment())
    }

    /// Reads the settings, given the environment.
    ///
    /// # Errors
    /// Files and variables that do not fit, all of them, named with what to write instead.
    pub fn read(variables: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let sources::Given { settings, mut mistakes, .. } = sources::given(variables);
        let fitting = fitting(settings);
        let config = fitting.map_err(|mistake| ConfigError(vec![mistake]))?;
        mistakes.extend(config.mistakes);
        if mistakes.is_empty() { Ok(config.config) } else { Err(ConfigError(mistakes)) }
    }

    /// What every setting may be, and what of these is not so.
    fn checks(&self) -> Checks {
        let mut checks = Checks::default();
        self.database.check(&mut checks);
        self.broker.check(&mut checks);
        self.consumer.check(&mut checks);
        self.relay.check(&mut checks);
        checks.within("timers.claim_max", self.timers.claim_max, 1, 5_000);
        checks.within("timers.poll_ms", self.timers.poll_ms, 1, 60_000);
        self.effects.check(&mut checks);
        self.payments.check(&mut checks);
        self.rounds.check(&mut checks);
        self.stripe.check(&mut checks);
        self.gateway.check(&mut checks);
        self.mail.check(&mut checks);
        self.traces.check(&mut checks);
        checks.within("process.threads", size(self.process.threads), 1, 64);
        checks.within("process.drain_ms", self.process.drain_ms, 1, 600_000);
        checks.one_of("log.format", &self.log.format, &["json", "text"]);
        let filter = EnvFilter::try_new(&self.log.filter).map(drop).map_err(|error| error.to_string());
        checks.must("log.filter", "a filter of EnvFilter", filter);
        checks
    }
}

/// The settings of this process, as it was given them, for people: all of them, with where each is from, and without secrets; and what is wrong.
#[must_use]
pub fn shown() -> (String, Vec<Mistake>) {
    let variables = environment();
    let mistakes = Config::read(&variables).err().map_or_else(Vec::new, |ConfigError(mistakes)| mistakes);
    (sources::given(&variables).shown(), mistakes)
}

fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
    // A variable of ours that is no text is refused when it does not fit; those of others do not matter.
    let variables = std::env::vars_os().filter_map(text);
    variables.map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect()
}

/// Settings that can be used, but for what is wrong with them.
struct Fitting {
    config: Config,
    mistakes: Vec<Mistake>,
}

/// Makes settings of what was given. In the place of a number that its setting cannot be at all is the default, so that the rest can be looked
/// at as well.
fn fitting(mut settings: Table) -> Result<Fitting, Mistake> {
    let layout = |error: toml::de::Error| Mistake::Layout {
        origin: "the settings".to_owned(),
        reason: error.message().to_owned(),
    };
    let defaults: Table = DEFAULTS.parse().map_err(layout)?;
    let limits = defaults.clone().try_into::<Config>().map_err(layout)?.checks().limits;
    let mut mistakes = Vec::new();
    for (section, keys) in &defaults {
        for (key, default) in keys.as_table().into_iter().flatten().filter(|(_, default)| default.is_integer()) {
            let Some(given) = settings.get_mut(section).and_then(|keys| keys.get_mut(key)) else { continue };
            let mut alone = defaults.clone();
            if let Some(place) = alone.get_mut(section).and_then(|keys| keys.get_mut(key)) {
                place.clone_from(given);
            }
            if given != default && alone.try_into::<Config>().is_err() {
                let setting = format!("{section}.{key}");
                let limits = limits.get(setting.as_str()).map_or("a number", String::as_str);
                let reason = format!("must be {limits}, not {given}");
                mistakes.push(Mistake::Limit { setting, reason });
                *given = default.clone();
            }
        }
    }
    let config: Config = settings.try_into().map_err(layout)?;
    mistakes.extend(config.checks().mistakes);
    Ok(Fitting { config, mistakes })
}

impl Database {
    fn check(&self, checks: &mut Checks) {
        checks.file("database.password", &self.password);
        checks.within("database.connections_max", self.connections_max, 4, 100);
    }
}

impl Broker {
    fn check(&self, checks: &mut Checks) {
        let copies = match self.replicas {
            1 | 3 | 5 => Ok(()),
            other => Err(format!("must be 1, 3 or 5, not {other}")),
        };
        checks.must("broker.replicas", "1, 3 or 5", copies);
        checks.file("broker.root_certificates", &self.root_certificates);
        checks.file("broker.credentials", &self.credentials);
        checks.must("broker.inbox_prefix", "words with dots between", self.inbox_prefix());
        // A century.
        checks.within("broker.events_age_max_hours", self.events_age_max_hours, 0, 876_600);
        checks.at_least("broker.events_bytes_max", self.events_bytes_max, 1_048_576);
        checks.at_least("broker.commands_bytes_max", self.commands_bytes_max, 1_048_576);
        checks.within("broker.publish_timeout_ms", self.publish_timeout_ms, 10, 600_000);
    }

    /// The client panics at one that is no subject.
    fn inbox_prefix(&self) -> Result<(), String> {
        let is_plain = |token: &str| {
            !token.is_empty()
                && token.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
        };
        if self.inbox_prefix.split('.').all(is_plain) {
            return Ok(());
        }
        Err(format!("must be words of letters, digits, _ and - with dots between, not {:?}", self.inbox_prefix))
    }
}

impl Consumer {
    fn check(&self, checks: &mut Checks) {
        checks.within("consumer.batch_max", size(self.batch_max), 1, 5_000);
        checks.within("consumer.prefetch_max", size(self.prefetch_max), 1, 20_000);
        checks.within("consumer.prefetch_bytes_max", size(self.prefetch_bytes_max), 65_536, 1_073_741_824);
        checks.within("consumer.conflict_tries_max", self.conflict_tries_max, 2, 1_000);
        checks.within("consumer.ack_wait_ms", self.ack_wait_ms, 1_000, 600_000);
        checks.within("consumer.ack_pending_max", self.ack_pending_max, 1, 1_000_000);
        checks.within("consumer.message_bytes_max", size(self.message_bytes_max), 1_024, 8_388_608);
    }
}

impl Relay {
    fn check(&self, checks: &mut Checks) {
        checks.within("relay.page_max", self.page_max, 1, IN_FLIGHT_MAX);
        checks.within("relay.tick_ms", self.tick_ms, 1, 60_000);
        checks.within("relay.sweep_after_ms", self.sweep_after_ms, 1, 3_600_000);
        checks.within("relay.compare_ms", self.compare_ms, 10, 10_000);
    }
}

impl Effects {
    fn check(&self, checks: &mut Checks) {
        checks.within("effects.concurrency_max", size(self.concurrency_max), 1, 10_000);
        checks.within("effects.lease_ms", self.lease_ms, 1_010, 3_600_000);
        let (most, words) = (self.lease_ms.saturating_sub(1_000), "effects.lease_ms less 1000");
        checks.within_another("effects.call_ms", self.call_ms, 10, most, words);
        checks.within("effects.backoff_max_ms", self.backoff_max_ms, 1, 3_600_000);
        let words = "effects.backoff_max_ms";
        checks.within_another("effects.backoff_ms", self.backoff_ms, 1, self.backoff_max_ms, words);
        checks.within("effects.poll_ms", self.poll_ms, 1, 60_000);
    }
}

impl Payments {
    fn check(&self, checks: &mut Checks) {
        checks.must(PROVIDERS, "sandbox, stripe, wallet", self.fault().map_or(Ok(()), Err));
    }

    /// One name that is misspelt would leave a provider out, or let another be the default.
    fn fault(&self) -> Option<String> {
        let names: Vec<&str> = self.providers.split(',').map(str::trim).collect();
        if names == [""] {
            return None;
        }
        let known = ["sandbox", "stripe", "wallet"];
        names.iter().enumerate().find_map(|(place, name)| {
            if !known.contains(name) {
                return Some(format!("must be one of {}, not {name:?}", known.join(", ")));
            }
            names.iter().take(place).any(|before| before == name).then(|| format!("has {name} twice"))
        })
    }
}

impl Stripe {
    fn check(&self, checks: &mut Checks) {
        checks.within("stripe.call_ms", self.call_ms, 10, 600_000);
        let missed = match self.missed_ms {
            0 | 100..=86_400_000 => Ok(()),
            other => Err(format!("must be 100 to 86400000, or 0 for never, not {other}")),
        };
        checks.must("stripe.missed_ms", "100 to 86400000, or 0", missed);
        checks.one_of("stripe.capture", &self.capture, &["at_once", "on_paid"]);
        checks.file("stripe.secret_key", &self.secret_key);
        checks.file("stripe.webhook_secrets", &self.webhook_secrets);
    }
}

impl Rounds {
    fn check(&self, checks: &mut Checks) {
        checks.file("rounds.draw_secrets", &self.draw_secrets);
        checks.one_of("rounds.draw_beacon", &self.draw_beacon, &["drand-quicknet", "sandbox"]);
        // The sandbox has no value that nobody knows, so there is nothing to wait for.
        let least = if self.draw_beacon == "sandbox" { 1_000 } else { 30_000 };
        checks.within("rounds.draw_delay_ms", self.draw_delay_ms, least, 86_400_000);
    }
}

impl Gateway {
    fn check(&self, checks: &mut Checks) {
        self.check_files(checks);
        checks.within("gateway.connections_max", size(self.connections_max), 1, 100_000);
        checks.within("gateway.requests_max", size(self.requests_max), 1, 100_000);
        checks.within("gateway.listeners_max", size(self.listeners_max), 1, 100_000);
        checks.within("gateway.body_bytes_max", size(self.body_bytes_max), 1_024, 8_388_608);
        checks.within("gateway.read_ms", self.read_ms, 10, 600_000);
        checks.within("gateway.write_ms", self.write_ms, 10, 600_000);
        checks.within("gateway.request_ms", self.request_ms, 10, 3_600_000);
        checks.within("gateway.wait_max_ms", self.wait_max_ms, 1, 600_000);
        checks.within_another("gateway.wait_ms", self.wait_ms, 1, self.wait_max_ms, "gateway.wait_max_ms");
    }

    fn check_files(&self, checks: &mut Checks) {
        checks.file("gateway.tokens", &self.tokens);
        checks.file("gateway.link_secret", &self.link_secret);
        checks.file("gateway.console_secret", &self.console_secret);
        checks.file("gateway.operator_password", &self.operator_password);
        // Whoever signs for others too must not be believed when he does.
        for (setting, value) in [("gateway.jwt_issuer", &self.jwt_issuer), ("gateway.jwt_audience", &self.jwt_audience)]
        {
            let is_missing = !self.jwks.is_empty() && value.trim().is_empty();
            let why = "must be said where gateway.jwks is: tokens of others are signed by the same keys";
            checks.must(
                setting,
                "not empty where gateway.jwks is",
                if is_missing { Err(why.to_owned()) } else { Ok(()) },
            );
        }
        let is_address = ["https://", "http://"].iter().any(|scheme| self.jwks.starts_with(scheme));
        checks.file("gateway.jwks", if is_address { "" } else { &self.jwks });
    }
}

impl Traces {
    fn check(&self, checks: &mut Checks) {
        let is_address = ["https://", "http://"].iter().any(|scheme| self.url.starts_with(scheme));
        let why = || format!("must begin with https:// or http://, or be empty, not {:?}", self.url);
        checks.must(
            "traces.url",
            "an address, or empty",
            if is_address || self.url.is_empty() { Ok(()) } else { Err(why()) },
        );
        checks.file("traces.token", &self.token);
        checks.within("traces.one_in", self.one_in, 1, 1_000_000_000);
        checks.within("traces.slow_ms", self.slow_ms, 1, 86_400_000);
        checks.within("traces.poll_ms", self.poll_ms, 10, 60_000);
    }
}

impl Mail {
    fn check(&self, checks: &mut Checks) {
        checks.one_of("mail.tls", &self.tls, &["starttls", "implicit", "none"]);
        checks.one_of("mail.unknown", &self.unknown, &["once_more", "leave"]);
        checks.file("mail.password", &self.password);
        checks.within("mail.port", self.port, 1, 65_535);
        checks.within("mail.connections_max", size(self.connections_max), 1, 1_000);
        checks.within("mail.begin_ms", self.begin_ms, 10, 3_600_000);
        checks.within("mail.answer_ms", self.answer_ms, 10, 3_600_000);
        checks.within("mail.backoff_max_ms", self.backoff_max_ms, 1, 86_400_000);
        checks.within_another("mail.backoff_ms", self.backoff_ms, 1, self.backoff_max_ms, "mail.backoff_max_ms");
        checks.within("mail.give_up_ms", self.give_up_ms, 1, 2_592_000_000_u64);
        checks.within("mail.once_more_ms", self.once_more_ms, 1, 86_400_000);
        checks.within("mail.poll_ms", self.poll_ms, 1, 60_000);
        for (setting, value) in [("mail.from", &self.from), ("mail.zone", &self.zone)] {
            let is_missing = !self.server.is_empty() && value.trim().is_empty();
            let why = "must be said where mail.server is".to_owned();
            checks.must(setting, "not empty where mail.server is", if is_missing { Err(why) } else { Ok(()) });
        }
    }
}

fn size(number: usize) -> i128 {
    i128::try_from(number).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use toml::{Table, Value};

    use super::{Config, DEFAULTS};

    fn read(name: &str, value: &str) -> Result<Config, String> {
        Config::read(&BTreeMap::from([(name.to_owned(), value.to_owned())])).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(read("OTHER", "").unwrap().consumer.batch_max, 500);
    }

    #[test]
    fn the_environment_overrides_a_default() {
        assert_eq!(read("HOLDFAST_CONSUMER_BATCH_MAX", "7").unwrap().consumer.batch_max, 7);
        assert!(read("HOLDFAST_BROKER_EVENTS_JSON", "true").unwrap().broker.events_json);
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_what_there_is() {
        let error = read("HOLDFAST_CONSUMER_BATCHMAX", "7").unwrap_err();
        assert!(error.contains("batch_max"), "{error}");
        assert!(
            read("HOLDFAST_LOG_HOLDFAST_LOG_FORMAT", "text").unwrap_err().contains("no setting holdfast_log_format")
        );
    }

    #[test]
    fn a_variable_that_names_no_setting_is_refused_with_the_nearest() {
        let error = read("HOLDFAST_PROCES_DRAIN_MS", "7").unwrap_err();
        assert_eq!(
            error,
            "environment variable HOLDFAST_PROCES_DRAIN_MS: it names no setting; did you mean HOLDFAST_PROCESS_DRAIN_MS?"
        );
        assert!(read("HOLDFAST_DB_URL", "x").unwrap_err().contains("it names no setting"));
        assert!(read("HOLDFAST_CONSUMER_BATCHMAX", "7").unwrap_err().contains("did you mean batch_max?"));
        // Those of ./justw and the tests are none of a worker's business.
        assert!(read("HOLDFAST_TOOLS", "/tools").is_ok() && read("OTHER_PROCES_DRAIN_MS", "7").is_ok());
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[relay]\ntick_ms = \"often\"\nsweep_ms = 1\n[proces]\nthreads = 2\n[mail]\nport = 70000\n";
        std::fs::write(&file, text).unwrap();
        let variables = [
            ("HOLDFAST_CONFIG", file.path().to_str().unwrap()),
            ("HOLDFAST_CONSUMER_BATCH_MAX", "0"),
            ("HOLDFAST_EFFECTS_CALL_MS", "20000"),
            ("HOLDFAST_LOG_FORMAT", "xml"),
            ("HOLDFAST_TIMERS_POLL_MS", "soon"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let error = Config::read(&BTreeMap::from(variables)).unwrap_err().to_string();
        for words in [
            "8 mistakes in the settings:",
            "relay.tick_ms must be a whole number, and it is a text in quotes",
            "section relay has no setting sweep_ms",
            "there is no section [proces]; did you mean [process]?",
            "setting mail.port: must be 1 to 65535, not 70000",
            "setting consumer.batch_max: must be 1 to 5000, not 0",
            "setting effects.call_ms: must be 10 to 19000, not 20000",
            "setting log.format: must be one of json, text, not \"xml\"",
            "environment variable HOLDFAST_TIMERS_POLL_MS: must be a whole number, not \"soon\"",
        ] {
            assert!(error.contains(words), "{words} is not in {error}");
        }
    }

    #[test]
    fn no_mistake_shows_a_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let path = file.path().to_str().unwrap().to_owned();
            Config::read(&BTreeMap::from([("HOLDFAST_CONFIG".to_owned(), path)])).unwrap_err().to_string()
        };
        let broken = read("[database]\nurl = \"postgres://orders:hush-hush@db/x\n");
        assert!(broken.contains("line 2") && !broken.contains("hush"), "{broken}");
        let misplaced = read("[stripe]\nsecret_key = \"hush-hush\"\n[mail]\npassword = [\"hush-hush\"]\n");
        assert!(misplaced.contains("stripe.secret_key") && misplaced.contains("mail.password"), "{misplaced}");
        assert!(!misplaced.contains("hush"), "{misplaced}");
        // What is surely the name of a file is told: its directory may not be mounted.
        let missing = read("[broker]\ncredentials = \"/nowhere/nats.creds\"\n");
        assert!(missing.contains("setting broker.credentials: cannot find the file /nowhere/nats.creds"), "{missing}");
    }

    #[test]
    fn a_value_outside_its_limits_is_refused() {
        assert!(read("HOLDFAST_CONSUMER_BATCH_MAX", "0").unwrap_err().contains("1 to 5000"));
        assert!(read("HOLDFAST_CONSUMER_BATCH_MAX", "many").unwrap_err().contains("whole number"));
        assert!(read("HOLDFAST_BROKER_EVENTS_JSON", "1").unwrap_err().contains("true or false"));
        for prefix in ["", "_INBOX.", "_INBOX.>", "a b"] {
            assert!(
                read("HOLDFAST_BROKER_INBOX_PREFIX", prefix).unwrap_err().contains("with dots between"),
                "{prefix}"
            );
        }
        assert_eq!(read("HOLDFAST_BROKER_INBOX_PREFIX", "_INBOX.orders").unwrap().broker.inbox_prefix, "_INBOX.orders");
        // More than the client has under way at once: the relay would wait for ever.
        assert!(read("HOLDFAST_RELAY_PAGE_MAX", "5000").unwrap_err().contains("1 to 4096"));
        // A batch that may not lose a single race would end as dead letters.
        assert!(read("HOLDFAST_CONSUMER_CONFLICT_TRIES_MAX", "0").is_err());
        // A loop that never rests.
        assert!(read("HOLDFAST_TIMERS_POLL_MS", "0").is_err() && read("HOLDFAST_RELAY_TICK_MS", "0").is_err());
        assert!(read("HOLDFAST_LOG_FORMAT", "xml").is_err() && read("HOLDFAST_LOG_FILTER", "a=b=c").is_err());
    }

    #[test]
    fn only_known_providers_are_enabled_and_each_once() {
        for names in ["", "stripe", "wallet, stripe", "stripe,wallet,sandbox"] {
            assert_eq!(read("HOLDFAST_PAYMENTS_PROVIDERS", names).unwrap().payments.providers, names);
        }
        for names in ["Stripe", "stripe,", ",", "stripe;wallet", "card"] {
            let error = read("HOLDFAST_PAYMENTS_PROVIDERS", names).unwrap_err();
            assert!(error.contains("one of sandbox, stripe, wallet"), "{error}");
        }
        assert!(read("HOLDFAST_PAYMENTS_PROVIDERS", "stripe,wallet,stripe").unwrap_err().contains("stripe twice"));
    }

    #[test]
    fn every_number_has_limits() {
        let settings: Table = DEFAULTS.parse().unwrap();
        for (section, keys) in &settings {
            for (key, _) in keys.as_table().unwrap().iter().filter(|(_, value)| matches!(value, Value::Integer(_))) {
                let name = format!("HOLDFAST_{}_{}", section.to_uppercase(), key.to_uppercase());
                let error = read(&name, "-1").unwrap_err();
                assert!(error.contains("-1"), "{name}: {error}");
                // A broker may have a disk of any size.
                let is_disk = ["broker.events_bytes_max", "broker.commands_bytes_max"];
                if !is_disk.contains(&format!("{section}.{key}").as_str()) {
                    assert!(read(&name, &i64::MAX.to_string()).is_err(), "{name}");
                }
            }
        }
    }
}
