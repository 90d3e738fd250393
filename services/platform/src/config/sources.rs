//! Where settings come from: the file that is compiled in, a file of the operator's, the environment. What names nothing is a mistake, for
//! whoever wrote it believes that it counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use toml::{Table, Value};

use super::{DEFAULTS, mistake::Mistake, nearest::nearest, secret};

/// Names the operator's file.
const FILE: &str = "HOLDFAST_CONFIG";

/// With which the name of every variable of ours begins.
const OURS: &str = "HOLDFAST_";

/// Variables of ours that are no settings: of the command holdfast, of compose.yaml, of ./justw and of the tests.
pub const OTHERS: [&str; 32] = [
    FILE,
    "HOLDFAST_ADMIN_DATABASE_URL",
    "HOLDFAST_ADVISORIES",
    "HOLDFAST_ALERTMANAGER_IMAGE",
    "HOLDFAST_AUDIT",
    "HOLDFAST_BLESS",
    "HOLDFAST_BUF",
    "HOLDFAST_CHROMIUM",
    "HOLDFAST_COLLECTOR_IMAGE",
    "HOLDFAST_CONTEXT",
    "HOLDFAST_DENY",
    "HOLDFAST_GRAFANA_IMAGE",
    "HOLDFAST_HADOLINT",
    "HOLDFAST_KUBECTL",
    "HOLDFAST_NATS_IMAGE",
    "HOLDFAST_NATS_SERVER",
    "HOLDFAST_NODE",
    "HOLDFAST_PAGER",
    "HOLDFAST_POSTGRES_BIN",
    "HOLDFAST_POSTGRES_IMAGE",
    "HOLDFAST_PROFILE",
    "HOLDFAST_PROMETHEUS",
    "HOLDFAST_PROMETHEUS_IMAGE",
    "HOLDFAST_PROMTOOL",
    "HOLDFAST_PYTHON",
    "HOLDFAST_SECRETS",
    "HOLDFAST_SYFT",
    "HOLDFAST_TESTS_ALL_IN_ONE",
    "HOLDFAST_TEST_PID_FILE",
    "HOLDFAST_TOOLS",
    "HOLDFAST_TRIVY",
    "HOLDFAST_USER",
];

/// Settings as they were given, before their values are checked.
#[derive(Debug)]
pub(super) struct Given {
    /// Sections of keys.
    pub(super) settings: Table,
    /// Where a setting's value is from, if it is no default.
    pub(super) origins: BTreeMap<String, String>,
    pub(super) mistakes: Vec<Mistake>,
}

pub(super) fn given(variables: &BTreeMap<String, String>) -> Given {
    let mut given = Given { settings: Table::new(), origins: BTreeMap::new(), mistakes: Vec::new() };
    given.settings = given.parse("holdfast.toml (compiled in)", DEFAULTS);
    if let Some(path) = variables.get(FILE) {
        match fs::read_to_string(path) {
            Ok(text) => {
                let file = given.parse(path, &text);
                given.overlay_file(path, file);
            }
            Err(error) => given.mistakes.push(Mistake::File { path: path.clone(), reason: error.to_string() }),
        }
    }
    for (name, text) in variables.range(OURS.to_owned()..).take_while(|(name, _)| name.starts_with(OURS)) {
        if let Err(reason) = given.overlay_variable(name, text) {
            given.mistakes.push(Mistake::Variable { name: name.clone(), reason });
        }
    }
    given
}

/// The variable of a setting.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!("{OURS}{}_{}", section.to_uppercase(), key.to_uppercase())
}

impl Given {
    /// What is no TOML is said without the line that it stands in, which may have a secret.
    fn parse(&mut self, origin: &str, text: &str) -> Table {
        text.parse().unwrap_or_else(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let reason = format!("line {line}: {}", error.message());
            self.mistakes.push(Mistake::Layout { origin: origin.to_owned(), reason });
            Table::new()
        })
    }

    fn overlay_file(&mut self, path: &str, file: Table) {
        for (section, keys) in file {
            let Value::Table(keys) = keys else {
                self.complain(path, format!("{section} is no section: write [{section}] above its settings"));
                continue;
            };
            for (key, value) in keys {
                if let Err(reason) = self.overlay_key(path, &section, &key, value) {
                    self.complain(path, reason);
                }
            }
        }
    }

    fn complain(&mut self, path: &str, reason: String) {
        self.mistakes.push(Mistake::Layout { origin: path.to_owned(), reason });
    }

    fn overlay_key(&mut self, path: &str, section: &str, key: &str, value: Value) -> Result<(), String> {
        let known = self.settings.get_mut(section).and_then(Value::as_table_mut).and_then(|keys| keys.get_mut(key));
        let Some(setting) = known else { return Err(self.unknown(section, key)) };
        if setting.type_str() != value.type_str() {
            return Err(format!("{section}.{key} must be {}, and it is {}", kind(setting), kind(&value)));
        }
        *setting = value;
        self.origins.insert(format!("{section}.{key}"), path.to_owned());
        Ok(())
    }

    fn overlay_variable(&mut self, name: &str, text: &str) -> Result<(), String> {
        if OTHERS.contains(&name) {
            return Ok(());
        }
        let rest = name.strip_prefix(OURS).unwrap_or(name);
        let place = self.settings.iter().find_map(|(section, _)| {
            let key = rest.strip_prefix(&section.to_uppercase())?.strip_prefix('_')?;
            Some((section.clone(), key.to_lowercase()))
        });
        let Some((section, key)) = place else {
            // What all begin with makes none of them nearer.
            let names = self.variables();
            let meant = nearest(rest, names.iter().filter_map(|name| name.strip_prefix(OURS)));
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {OURS}{meant}?"));
            return Err(format!("it names no setting{meant}"));
        };
        let known = self.settings.get_mut(&section).and_then(Value::as_table_mut).and_then(|keys| keys.get_mut(&key));
        let Some(setting) = known else { return Err(self.unknown(&section, &key)) };
        *setting = if setting.is_integer() {
            let number = text.parse().map_err(|_no_number| format!("must be a whole number, not {text:?}"))?;
            Value::Integer(number)
        } else if setting.is_bool() {
            Value::Boolean(text.parse().map_err(|_neither| format!("must be true or false, not {text:?}"))?)
        } else {
            Value::String(text.to_owned())
        };
        self.origins.insert(format!("{section}.{key}"), name.to_owned());
        Ok(())
    }

    fn variables(&self) -> BTreeSet<String> {
        let of = |(section, keys): (&String, &Value)| {
            let keys = keys.as_table().into_iter().flatten();
            keys.map(|(key, _)| variable(section, key)).collect::<Vec<_>>()
        };
        self.settings.iter().flat_map(of).collect()
    }

    /// What to say of a setting that there is not.
    fn unknown(&self, section: &str, key: &str) -> String {
        let Some(keys) = self.settings.get(section).and_then(Value::as_table) else {
            let names: Vec<&str> = self.settings.keys().map(String::as_str).collect();
            let meant = nearest(section, names.iter().copied());
            let meant = meant.map_or_else(String::new, |meant| format!("did you mean [{meant}]? "));
            return format!("there is no section [{section}]; {meant}There are {}", names.join(", "));
        };
        let names: Vec<&str> = keys.keys().map(String::as_str).collect();
        let meant = nearest(key, names.iter().copied());
        let meant = meant.map_or_else(String::new, |meant| format!("did you mean {meant}? "));
        format!("section {section} has no setting {key}; {meant}It has {}", names.join(", "))
    }

    /// All settings as TOML, with where those are from that are no defaults. No secret is in it.
    pub(super) fn shown(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.settings {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in keys.as_table().into_iter().flatten() {
                let setting = format!("{section}.{key}");
                let origin = self.origins.get(&setting).map_or("", String::as_str);
                let value = match value.as_str() {
                    Some(text) => Value::String(secret::shown(&setting, text)),
                    None => value.clone(),
                };
                let comment = if origin.is_empty() { String::new() } else { format!("  # {origin}") };
                text.push_str(&format!("{key} = {value}{comment}\n"));
            }
            text.push('\n');
        }
        text
    }
}

/// The kind of a value, in words. Not the value: what stands there by mistake may be a secret.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        Value::Float(_) => "a number with a point",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}
