//! Settings: what a file says and what the environment says is read alike, is within limits, and no variable of ours is passed over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::LazyLock,
};

use platform::config::{Config, DEFAULTS, OTHERS};
use tempfile::TempDir;
use toml::{Table, Value};

use super::{Checked, Shape, Target, because, ensure, headless, same};
use crate::attempt::{about, outline};

pub(super) const TARGET: Target = Target {
    name: "config",
    shape: Shape::Text,
    heads: headless,
    tokens: &[
        "---\n",
        "\n",
        "=",
        "[consumer]\n",
        "[log]\n",
        "[effects]\n",
        "[[relay]]\n",
        "batch_max = 1\n",
        "lease_ms = 9223372036854775807\n",
        "call_ms = 9223372036854775000\n",
        "backoff_max_ms = 9223372036854775807\n",
        "events_age_max_hours = 9223372036854775807\n",
        "log = { format = \"text\" }\n",
        "log.filter = \"info\"\n",
        "HOLDFAST_",
        "HOLDFAST_LOG_",
        "HOLDFAST_LOG_FORMAT=text\n",
        "HOLDFAST_LOG_FILTER=",
        "HOLDFAST_CONSUMER_BATCH_MAX=",
        "HOLDFAST_BROKER_EVENTS_JSON=true\n",
        "HOLDFAST_DATABASE_URL=postgres://\n",
        "[a{b=~.*}]=trace",
        "[{x=\"(((((((((\"}]=5",
        "(?:a{1000}){1000}",
        "0x10",
        "1_000",
        "true",
        "nan",
        "2026-01-01",
        "\"\"\"",
        "'''",
        "\\U0010ffff",
        "[[[[[[[[",
        "{a={a={a=",
        "a.a.a.a.a.a.",
        "\0",
    ],
    seeds,
    check,
};

fn seeds() -> Vec<Vec<u8>> {
    let some = "HOLDFAST_CONSUMER_BATCH_MAX=7\nHOLDFAST_LOG_FORMAT=text\nOTHER=x\n---\n\
                [effects]\ncall_ms = 500\nlease_ms = 2_000\n[log]\nfilter = \"info,async_nats=warn\"\n";
    let files = [some.to_owned(), format!("---\n{DEFAULTS}"), "HOLDFAST_TIMERS_POLL_MS=0\n---\n".to_owned()];
    files.map(String::into_bytes).to_vec()
}

fn check(input: &[u8]) -> Checked {
    let (mut variables, file) = split(input);
    FILE.with(|(_, path)| {
        fs::write(path, file).unwrap();
        variables.insert("HOLDFAST_CONFIG".to_owned(), path.to_string_lossy().into_owned());
        let read = Config::read(&variables);
        let config = match read {
            Ok(config) => config,
            Err(error) => {
                let error = error.to_string().replace(&*path.to_string_lossy(), "FILE");
                because(&error)?;
                return Ok(kind(&error));
            }
        };
        let named = named(&variables)?;
        fit(&config)?;
        let file: Table = std::str::from_utf8(file).unwrap_or_default().parse().unwrap();
        let variables = moved(file, &variables);
        let again =
            Config::read(&variables).map_err(|error| format!("from a file, but not from variables: {error}"))?;
        same("from variables", &format!("{again:?}"), &format!("{config:?}"))?;
        Ok(format!("{named} of {} variables, {}", about(variables.len()), config.log.format))
    })
}

/// A complaint without the lines of the file that it shows, and without names that nobody knows.
fn kind(error: &str) -> String {
    let told: String = error.lines().filter(|line| !line.contains('|')).collect();
    let told = match told.split_once(": ") {
        Some((before, after)) if before.starts_with("environment variable") => after,
        Some(_) | None => &told,
    };
    outline(told.split(" no ").next().unwrap_or_default())
}

thread_local! {
    static FILE: (TempDir, PathBuf) = {
        let dir = TempDir::with_prefix("holdfast-fuzz-").unwrap();
        let path = dir.path().join("holdfast.toml");
        (dir, path)
    };
}

/// Lines of an environment, three dashes, and a file.
fn split(input: &[u8]) -> (BTreeMap<String, String>, &[u8]) {
    let end = input.windows(4).position(|line| line == b"---\n").unwrap_or(input.len());
    let lines = String::from_utf8_lossy(&input[..end]);
    let variables = lines.lines().filter_map(|line| line.split_once('='));
    // A file that the input names would be any of this machine.
    let variables = variables.filter(|(name, _)| *name != "HOLDFAST_CONFIG");
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    (variables, input.get(end + 4..).unwrap_or_default())
}

static SECTIONS: LazyLock<Table> = LazyLock::new(|| DEFAULTS.parse().unwrap());

/// A variable that begins as ours do names a setting, or is known to be none; how many do name one.
fn named(variables: &BTreeMap<String, String>) -> Result<usize, String> {
    let mut named = 0;
    for name in variables.keys().filter(|name| name.starts_with("HOLDFAST_") && !OTHERS.contains(&name.as_str())) {
        let is_known = SECTIONS.iter().any(|(section, keys)| {
            let key = name.strip_prefix(&format!("HOLDFAST_{}_", section.to_uppercase()));
            key.is_some_and(|key| keys.as_table().unwrap().contains_key(&key.to_lowercase()))
        });
        ensure(is_known, || format!("{name} is passed over: there is no such setting"))?;
        named += 1;
    }
    Ok(named)
}

/// The file's settings as variables; those that were variables before go before them.
fn moved(file: Table, before: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut moved = BTreeMap::new();
    for (section, keys) in file {
        let prefix = format!("HOLDFAST_{}_", section.to_uppercase());
        // Of a variable of ours the setting alone may be spelt in small letters.
        let spelt = before.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_lowercase);
        let spelt: BTreeSet<String> = spelt.collect();
        for (key, value) in keys.as_table().unwrap().iter().filter(|(key, _)| !spelt.contains(*key)) {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Boolean(is_so) => is_so.to_string(),
                Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => value.to_string(),
            };
            moved.insert(format!("{prefix}{}", key.to_uppercase()), text);
        }
    }
    moved.extend(before.clone());
    moved.remove("HOLDFAST_CONFIG");
    moved
}

/// What is accepted does not break what is made of it later: loops that rest, times that can be added to any other.
fn fit(config: &Config) -> Result<(), String> {
    const YEAR_MS: u64 = 366 * 24 * 3_600_000;
    let within = |name: &str, value: u64, least: u64, most: u64| {
        ensure((least..=most).contains(&value), || format!("{name} is {value}"))
    };
    within("relay.tick_ms", config.relay.tick_ms, 1, YEAR_MS)?;
    within("relay.compare_ms", config.relay.compare_ms, 1, YEAR_MS)?;
    within("relay.sweep_after_ms", config.relay.sweep_after_ms, 1, YEAR_MS)?;
    within("timers.poll_ms", config.timers.poll_ms, 1, YEAR_MS)?;
    within("effects.poll_ms", config.effects.poll_ms, 1, YEAR_MS)?;
    within("effects.call_ms", config.effects.call_ms, 1, YEAR_MS)?;
    within("stripe.call_ms", config.stripe.call_ms, 1, YEAR_MS)?;
    within("effects.lease_ms", config.effects.lease_ms, config.effects.call_ms, YEAR_MS)?;
    within("effects.backoff_ms", config.effects.backoff_ms, 1, config.effects.backoff_max_ms)?;
    within("effects.backoff_max_ms", config.effects.backoff_max_ms, 1, YEAR_MS)?;
    within("consumer.ack_wait_ms", config.consumer.ack_wait_ms, 1, YEAR_MS)?;
    within("broker.publish_timeout_ms", config.broker.publish_timeout_ms, 1, YEAR_MS)?;
    within("broker.events_age_max_hours", config.broker.events_age_max_hours, 0, 100 * 366 * 24)?;
    within("process.drain_ms", config.process.drain_ms, 1, YEAR_MS)
}
