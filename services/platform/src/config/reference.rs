//! The reference of all settings, made of the file of defaults and of the checks.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::{Config, DEFAULTS, sources::variable};

/// Settings of which a running process takes more than it began with. All others are read once, when it starts.
const TAKEN_ANEW: [(&str, &str); 13] = [
    ("broker.credentials", "the file, for every new connection"),
    ("broker.root_certificates", "the file, for every new connection"),
    ("database.password", "the file, for every new session"),
    ("gateway.console_secret", "the file, when it changes: whoever has signed in signs in again"),
    ("gateway.jwks", "the keys: of a file when it changes, of an address when one is not known"),
    ("gateway.link_secret", "the file, when it changes: links that were made before are good no more"),
    ("gateway.operator_password", "the file, for every new session"),
    ("gateway.tokens", "the file, when it changes"),
    ("mail.password", "the file, when it changes"),
    ("rounds.draw_secrets", "the file, when it changes"),
    ("stripe.secret_key", "the file, when it changes"),
    ("stripe.webhook_secrets", "the file, when it changes"),
    ("traces.token", "the file, when it changes"),
];

const ABOUT: &str = "\
# Settings

Made from [holdfast.toml](holdfast.toml), which is compiled in, and from the checks of [config.rs](src/config.rs); a test compares. The file that
`HOLDFAST_CONFIG` names is read over the defaults, and the environment over both. A process with a mistake in its settings does not start: it
says all of them at once, and ends with exit code 2. What names no setting is a mistake too.

```sh
./justw holdfast config check    # all mistakes, or none; nothing is connected to
./justw holdfast config show     # all settings with where each is from, without secrets
```

Settings are read when a process starts, but for what is *taken anew*. `broker.replicas`, the sizes of streams, `broker.events_json` and
`payments.providers` must be the same for all workers.
";

/// The unit of a number, as the end of its name says.
fn unit(key: &str) -> &'static str {
    match key.rsplit('_').find(|word| *word != "max") {
        Some("ms") => "ms",
        Some("bytes") => "bytes",
        Some("hours") => "hours",
        Some(_) | None => "",
    }
}

/// What the file of defaults says of each setting, in its order: section, key, words.
fn told() -> Vec<(String, String, String)> {
    let (mut section, mut words, mut is_open) = (String::new(), String::new(), false);
    let mut all = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            is_open = false;
        } else if let Some(comment) = line.strip_prefix("# ") {
            // What stands above several settings is said of all of them.
            if !is_open {
                words.clear();
            }
            words.push_str(if words.is_empty() { "" } else { " " });
            words.push_str(comment);
            is_open = true;
        } else if let Some((key, _)) = line.split_once(" = ") {
            all.push((section.clone(), key.to_owned(), words.clone()));
            is_open = false;
        }
    }
    all
}

/// The page.
fn page() -> Option<String> {
    let defaults: Table = DEFAULTS.parse().ok()?;
    let limits = defaults.clone().try_into::<Config>().ok()?.checks().limits;
    let mut page = ABOUT.to_owned();
    let mut before = String::new();
    for (section, key, words) in told() {
        if section != before {
            let head = "| variable | default | unit | may be | meaning |\n|---|---|---|---|---|";
            write!(page, "\n## [{section}]\n\n{head}\n").ok()?;
            before.clone_from(&section);
        }
        let default = defaults.get(&section)?.get(&key)?;
        let setting = format!("{section}.{key}");
        let may_be = match (limits.get(setting.as_str()), default) {
            (Some(limits), _) => limits.clone(),
            (None, Value::Boolean(_)) => "true, false".to_owned(),
            (None, _) => String::new(),
        };
        let anew = TAKEN_ANEW.iter().find(|(name, _)| *name == setting);
        let anew = anew.map_or_else(String::new, |(_, what)| format!(" *Taken anew: {what}.*"));
        let words = words.replace('|', "\\|").replace('<', "&lt;");
        let (name, unit) = (variable(&section, &key), unit(&key));
        writeln!(page, "| `{name}` | `{default}` | {unit} | {may_be} | {words}{anew} |").ok()?;
    }
    Some(page)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{Config, DEFAULTS, TAKEN_ANEW, page, told};

    #[test]
    fn the_page_of_settings_is_what_the_code_makes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let made = page().unwrap();
        if std::env::var_os("HOLDFAST_BLESS").is_some() {
            fs::write(&path, &made).unwrap();
        }
        assert!(
            fs::read_to_string(&path).unwrap() == made,
            "make it again: HOLDFAST_BLESS=1 cargo test -p platform the_page"
        );
    }

    #[test]
    fn every_setting_is_told_of_and_every_limit_is_of_a_setting() {
        let defaults: toml::Table = DEFAULTS.parse().unwrap();
        let count: usize = defaults.values().map(|keys| keys.as_table().unwrap().len()).sum();
        let told: Vec<String> = told().iter().map(|(section, key, _)| format!("{section}.{key}")).collect();
        assert_eq!(told.len(), count);
        let limits = defaults.try_into::<Config>().unwrap().checks().limits;
        let named = limits.keys().copied().chain(TAKEN_ANEW.map(|(setting, _)| setting));
        for setting in named {
            assert!(told.contains(&setting.to_owned()), "{setting}");
        }
    }

    #[test]
    fn no_setting_is_without_words() {
        let silent: Vec<_> = told().into_iter().filter(|(_, _, words)| words.len() < 10).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }
}
