//! Settings: one documented file compiled in, an optional file over it, the environment over both; checked before use.

use std::{collections::BTreeMap, ffi::OsString, fs, time::Duration};

use serde::Deserialize;
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

use crate::broker::IN_FLIGHT_MAX;

const PROVIDERS: &str = "payments.providers";

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../holdfast.toml");

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read the settings file {path}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not TOML of the right layout.
    #[error("settings in {origin}: {reason}")]
    Layout {
        /// The file.
        origin: String,
        /// Where and why.
        reason: String,
    },
    /// A variable of the environment names no setting, or has a value of the wrong kind.
    #[error("environment variable {name}: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// What to write instead.
        reason: String,
    },
    /// A value is outside its limits.
    #[error("setting {setting}: {reason}")]
    Limit {
        /// `section.key`.
        setting: &'static str,
        /// The limits.
        reason: String,
    },
}

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
        payments: Payments, stripe: Stripe, http: Http, gateway: Gateway, mail: Mail, log: Log, process: Process,
    }
    /// Postgres.
    Database { url: String, connections_max: u32, installation: String }
    /// NATS.
    Broker {
        url: String, credentials: String, inbox_prefix: String, replicas: usize, events_age_max_hours: u64, events_bytes_max: i64,
        events_json: bool, commands_bytes_max: i64, publish_timeout_ms: u64,
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
    /// The provider Stripe.
    Stripe {
        secret_key: String, webhook_secrets: String, allow_live: bool, url: String, success_url: String, cancel_url: String,
        call_ms: u64, missed_ms: u64, capture: String,
    }
    /// Probes and metrics.
    Http { address: String }
    /// The HTTP API.
    Gateway {
        address: String, tokens: String, jwks: String, jwt_issuer: String, jwt_audience: String, link_secret: String, connections_max: usize,
        requests_max: usize, listeners_max: usize, body_bytes_max: usize, read_ms: u64, write_ms: u64, request_ms: u64, wait_ms: u64,
        wait_max_ms: u64,
    }
    /// Mail to buyers.
    Mail {
        server: String, port: u16, tls: String, user: String, password: String, from: String, reply_to: String, bounces: String,
        templates: String, zone: String, unknown: String, late_payments: bool, elsewhere: bool, connections_max: usize, begin_ms: u64,
        answer_ms: u64, backoff_ms: u64, backoff_max_ms: u64, give_up_ms: u64, once_more_ms: u64, poll_ms: u64,
    }
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
    /// A file or variable that does not fit, named with what to write instead.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value));
        // A variable of ours that is no text is refused below, when it does not fit; those of others do not matter.
        let variables = std::env::vars_os()
            .filter_map(text)
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        Self::read(&variables)
    }

    /// Reads the settings, given the environment.
    ///
    /// # Errors
    /// A file or variable that does not fit, named with what to write instead.
    pub fn read(variables: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut settings = parse("holdfast.toml (compiled in)", DEFAULTS)?;
        if let Some(path) = variables.get("HOLDFAST_CONFIG") {
            let text = fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.clone(), source })?;
            overlay_file(&mut settings, path, parse(path, &text)?)?;
        }
        overlay_variables(&mut settings, variables)?;
        let config: Self =
            settings.try_into().map_err(|error: toml::de::Error| layout("the settings", &error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        within("database.connections_max", self.database.connections_max, 4, 100)?;
        within("broker.replicas", size(self.broker.replicas), 1, 5)?;
        if self.broker.replicas.is_multiple_of(2) {
            let reason = format!("must be 1, 3 or 5, not {}", self.broker.replicas);
            return Err(ConfigError::Limit { setting: "broker.replicas", reason });
        }
        check_file("broker.credentials", &self.broker.credentials)?;
        self.broker.check_inbox_prefix()?;
        within("consumer.batch_max", size(self.consumer.batch_max), 1, 5_000)?;
        within("consumer.prefetch_max", size(self.consumer.prefetch_max), 1, 20_000)?;
        within("consumer.prefetch_bytes_max", size(self.consumer.prefetch_bytes_max), 65_536, 1_073_741_824)?;
        within("consumer.conflict_tries_max", self.consumer.conflict_tries_max, 2, 1_000)?;
        within("consumer.ack_wait_ms", self.consumer.ack_wait_ms, 1_000, 600_000)?;
        within("consumer.ack_pending_max", self.consumer.ack_pending_max, 1, 1_000_000)?;
        within("consumer.message_bytes_max", size(self.consumer.message_bytes_max), 1_024, 8_388_608)?;
        within("relay.page_max", self.relay.page_max, 1, IN_FLIGHT_MAX)?;
        within("relay.tick_ms", self.relay.tick_ms, 1, 60_000)?;
        within("relay.sweep_after_ms", self.relay.sweep_after_ms, 1, 3_600_000)?;
        within("relay.compare_ms", self.relay.compare_ms, 10, 10_000)?;
        within("timers.claim_max", self.timers.claim_max, 1, 5_000)?;
        within("timers.poll_ms", self.timers.poll_ms, 1, 60_000)?;
        within("effects.concurrency_max", size(self.effects.concurrency_max), 1, 10_000)?;
        within("effects.lease_ms", self.effects.lease_ms, 1_010, 3_600_000)?;
        within("effects.call_ms", self.effects.call_ms, 10, self.effects.lease_ms.saturating_sub(1_000))?;
        within("effects.backoff_max_ms", self.effects.backoff_max_ms, 1, 3_600_000)?;
        within("effects.backoff_ms", self.effects.backoff_ms, 1, self.effects.backoff_max_ms)?;
        within("effects.poll_ms", self.effects.poll_ms, 1, 60_000)?;
        // A century.
        within("broker.events_age_max_hours", self.broker.events_age_max_hours, 0, 876_600)?;
        within("broker.events_bytes_max", self.broker.events_bytes_max, 1_048_576, u64::MAX)?;
        within("broker.commands_bytes_max", self.broker.commands_bytes_max, 1_048_576, u64::MAX)?;
        within("broker.publish_timeout_ms", self.broker.publish_timeout_ms, 10, 600_000)?;
        self.payments.check()?;
        within("stripe.call_ms", self.stripe.call_ms, 10, 600_000)?;
        if self.stripe.missed_ms != 0 {
            within("stripe.missed_ms", self.stripe.missed_ms, 100, 86_400_000)?;
        }
        one_of("stripe.capture", &self.stripe.capture, &["at_once", "on_paid"])?;
        check_file("stripe.secret_key", &self.stripe.secret_key)?;
        check_file("stripe.webhook_secrets", &self.stripe.webhook_secrets)?;
        self.gateway.check_files()?;
        within("gateway.connections_max", size(self.gateway.connections_max), 1, 100_000)?;
        within("gateway.requests_max", size(self.gateway.requests_max), 1, 100_000)?;
        within("gateway.listeners_max", size(self.gateway.listeners_max), 1, 100_000)?;
        within("gateway.body_bytes_max", size(self.gateway.body_bytes_max), 1_024, 8_388_608)?;
        within("gateway.read_ms", self.gateway.read_ms, 10, 600_000)?;
        within("gateway.write_ms", self.gateway.write_ms, 10, 600_000)?;
        within("gateway.request_ms", self.gateway.request_ms, 10, 3_600_000)?;
        within("gateway.wait_max_ms", self.gateway.wait_max_ms, 1, 600_000)?;
        within("gateway.wait_ms", self.gateway.wait_ms, 1, self.gateway.wait_max_ms)?;
        self.mail.check()?;
        within("process.threads", size(self.process.threads), 1, 64)?;
        within("process.drain_ms", self.process.drain_ms, 1, 600_000)?;
        one_of("log.format", &self.log.format, &["json", "text"])?;
        let filter = EnvFilter::try_new(&self.log.filter);
        filter.map(drop).map_err(|error| ConfigError::Limit { setting: "log.filter", reason: error.to_string() })
    }
}

impl Broker {
    /// The client panics at one that is no subject.
    fn check_inbox_prefix(&self) -> Result<(), ConfigError> {
        let is_plain = |token: &str| {
            !token.is_empty()
                && token.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
        };
        if self.inbox_prefix.split('.').all(is_plain) {
            return Ok(());
        }
        let reason =
            format!("must be words of letters, digits, _ and - with dots between, not {:?}", self.inbox_prefix);
        Err(ConfigError::Limit { setting: "broker.inbox_prefix", reason })
    }
}

impl Payments {
    /// One name that is misspelt would leave a provider out, or let another be the default.
    fn check(&self) -> Result<(), ConfigError> {
        let names: Vec<&str> = self.providers.split(',').map(str::trim).collect();
        if names == [""] {
            return Ok(());
        }
        for (place, name) in names.iter().enumerate() {
            one_of(PROVIDERS, name, &["sandbox", "stripe", "wallet"])?;
            if names.iter().take(place).any(|before| before == name) {
                return Err(ConfigError::Limit { setting: PROVIDERS, reason: format!("has {name} twice") });
            }
        }
        Ok(())
    }
}

impl Gateway {
    fn check_files(&self) -> Result<(), ConfigError> {
        check_file("gateway.tokens", &self.tokens)?;
        check_file("gateway.link_secret", &self.link_secret)?;
        if self.jwks.is_empty() {
            return Ok(());
        }
        // Whoever signs for others too must not be believed when he does.
        for (setting, value) in [("gateway.jwt_issuer", &self.jwt_issuer), ("gateway.jwt_audience", &self.jwt_audience)]
        {
            if value.trim().is_empty() {
                let reason =
                    "must be said where gateway.jwks is: tokens of others are signed by the same keys".to_owned();
                return Err(ConfigError::Limit { setting, reason });
            }
        }
        if ["https://", "http://"].iter().any(|scheme| self.jwks.starts_with(scheme)) {
            return Ok(());
        }
        check_file("gateway.jwks", &self.jwks)
    }
}

impl Mail {
    fn check(&self) -> Result<(), ConfigError> {
        one_of("mail.tls", &self.tls, &["starttls", "implicit", "none"])?;
        one_of("mail.unknown", &self.unknown, &["once_more", "leave"])?;
        check_file("mail.password", &self.password)?;
        within("mail.port", self.port, 1, 65_535)?;
        within("mail.connections_max", size(self.connections_max), 1, 1_000)?;
        within("mail.begin_ms", self.begin_ms, 10, 3_600_000)?;
        within("mail.answer_ms", self.answer_ms, 10, 3_600_000)?;
        within("mail.backoff_max_ms", self.backoff_max_ms, 1, 86_400_000)?;
        within("mail.backoff_ms", self.backoff_ms, 1, self.backoff_max_ms)?;
        within("mail.give_up_ms", self.give_up_ms, 1, 2_592_000_000_u64)?;
        within("mail.once_more_ms", self.once_more_ms, 1, 86_400_000)?;
        within("mail.poll_ms", self.poll_ms, 1, 60_000)?;
        if self.server.is_empty() {
            return Ok(());
        }
        for (setting, value) in [("mail.from", &self.from), ("mail.zone", &self.zone)] {
            if value.trim().is_empty() {
                return Err(ConfigError::Limit { setting, reason: "must be said where mail.server is".to_owned() });
            }
        }
        Ok(())
    }
}

fn size(number: usize) -> i128 {
    i128::try_from(number).unwrap_or(i128::MAX)
}

fn one_of(setting: &'static str, value: &str, known: &[&str]) -> Result<(), ConfigError> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Limit { setting, reason: format!("must be one of {}, not {value:?}", known.join(", ")) })
}

/// Of a setting that names a file unless it is empty: a file that is not there does not come by waiting.
fn check_file(setting: &'static str, path: &str) -> Result<(), ConfigError> {
    let reason = match fs::metadata(path) {
        _ if path.is_empty() => return Ok(()),
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => format!("{path} is no file"),
        Err(error) => format!("cannot find the file {path}: {error}"),
    };
    Err(ConfigError::Limit { setting, reason })
}

fn within(
    setting: &'static str,
    value: impl Into<i128>,
    least: i128,
    most: impl Into<i128>,
) -> Result<(), ConfigError> {
    let (value, most) = (value.into(), most.into());
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Limit { setting, reason: format!("must be {least} to {most}, not {value}") })
}

fn layout(origin: &str, reason: &str) -> ConfigError {
    ConfigError::Layout { origin: origin.to_owned(), reason: reason.to_owned() }
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| layout(origin, &error.to_string()))
}

fn overlay_file(settings: &mut Table, path: &str, file: Table) -> Result<(), ConfigError> {
    for (section, keys) in file {
        let known = settings.get_mut(&section).and_then(Value::as_table_mut);
        let (Some(known), Some(keys)) = (known, keys.as_table()) else {
            return Err(layout(path, &format!("there is no section [{section}]")));
        };
        for (key, value) in keys {
            match known.get_mut(key) {
                Some(setting) => *setting = value.clone(),
                None => return Err(layout(path, &format!("there is no setting {section}.{key}"))),
            }
        }
    }
    Ok(())
}

fn overlay_variables(settings: &mut Table, variables: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (section, keys) in settings.iter_mut() {
        let prefix = format!("HOLDFAST_{}_", section.to_uppercase());
        let Some(keys) = keys.as_table_mut() else { continue };
        for (name, text) in variables.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)) {
            let refuse = |reason: String| ConfigError::Variable { name: name.clone(), reason };
            let key = name.strip_prefix(&prefix).unwrap_or(name).to_lowercase();
            let known = keys.keys().cloned().collect::<Vec<_>>().join(", ");
            let setting = keys
                .get_mut(&key)
                .ok_or_else(|| refuse(format!("section {section} has no setting {key}; it has {known}")))?;
            *setting = if setting.is_integer() {
                let number: i64 =
                    text.parse().map_err(|_not_a_number| refuse(format!("must be a whole number, not {text:?}")))?;
                Value::Integer(number)
            } else if setting.is_bool() {
                let reason = |_neither| refuse(format!("must be true or false, not {text:?}"));
                Value::Boolean(text.parse().map_err(reason)?)
            } else {
                Value::String(text.clone())
            };
        }
    }
    Ok(())
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
