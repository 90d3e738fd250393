//! The rules of the house that a compiler does not check.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own repository fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use cli::verify::Check;
use domain::code::{CODES, Remedy};
use holdfast_tests::house;
use runtime::service::{Service, refusal_stream};

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    rust_files(&house().join(dir), &mut files);
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Files of a service that may do IO; all others are pure.
fn may_do_io(path: &Path) -> bool {
    let text = path.to_string_lossy();
    ["/store", "/main.rs", "/lib.rs", "/sandbox", "/provider", "/tests/"].iter().any(|part| text.contains(part))
}

/// A mutation whose place is gone proves nothing any more, and is noticed only by who runs them all.
#[test]
fn every_mutation_has_its_place() {
    let mutations: toml::Table =
        fs::read_to_string(house().join("tests/simulation/mutations.toml")).unwrap().parse().unwrap();
    for mutation in mutations["mutation"].as_array().unwrap() {
        let [name, file, before] = ["name", "file", "before"].map(|key| mutation[key].as_str().unwrap());
        let source = fs::read_to_string(house().join(file)).unwrap();
        assert_eq!(source.matches(before).count(), 1, "{name}: its place in {file}");
    }
}

#[test]
fn operators_are_told_of_every_check() {
    let page = fs::read_to_string(house().join("deploy/README.md")).unwrap();
    for check in Check::ALL {
        let name = serde_json::to_value(check).unwrap();
        assert!(page.contains(&format!("\n| {} |", name.as_str().unwrap())), "{check:?}");
    }
}

#[test]
fn pure_files_know_no_io_no_clock_no_chance() {
    let forbidden = [
        "sqlx",
        "tokio",
        "async_nats",
        "async fn",
        "std::fs",
        "std::net",
        "std::env",
        "std::io",
        "std::thread",
        "SystemTime",
        "Instant::now",
        "now_utc",
        "new_v4",
        "now_v7",
        "rand::",
        "tracing",
        "clock::",
    ];
    let mut breaches = Vec::new();
    for service in proto::SERVICES {
        for (path, text) in sources(&format!("services/{service}/src")) {
            if may_do_io(&path) {
                continue;
            }
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                for word in forbidden.iter().filter(|word| line.contains(**word)) {
                    breaches.push(format!("{}: line {}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// What two services can both write, they fight for: neither knows of the other, and none of them can win by trying again.
#[test]
fn no_two_services_write_the_same_stream() {
    let mut categories: Vec<&str> = [
        orders::Orders::STREAMS,
        inventory::Inventory::STREAMS,
        rounds::Rounds::STREAMS,
        <payments::Payments>::STREAMS,
    ]
    .concat();
    // What a service refuses has a stream by its name, so the category is the service's.
    let refusals = proto::SERVICES.map(|service| refusal_stream(service, "7"));
    categories.extend(refusals.iter().map(|stream| stream.split('-').next().unwrap()));
    let number = categories.len();
    categories.sort_unstable();
    categories.dedup();
    assert_eq!(categories.len(), number, "{categories:?}");
    // A category ends where the first dash is.
    assert!(categories.iter().all(|category| !category.is_empty() && !category.contains('-')), "{categories:?}");
}

#[test]
fn no_service_depends_on_another() {
    for service in proto::SERVICES {
        let manifest = fs::read_to_string(house().join("services").join(service).join("Cargo.toml")).unwrap();
        for other in proto::SERVICES.iter().filter(|other| **other != service) {
            assert!(!manifest.contains(&format!("\n{other}.workspace")), "{service} depends on {other}");
        }
    }
}

#[test]
fn the_runtime_knows_no_business_word() {
    let words = ["stock", "sku", "refund", "coupon", "checkout", "customer"];
    let mut breaches = Vec::new();
    for (path, text) in sources("services/runtime/src") {
        for word in words.iter().filter(|word| text.to_lowercase().contains(**word)) {
            breaches.push(format!("{}: {word}", path.display()));
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn every_file_says_what_it_owns() {
    let mut silent = Vec::new();
    for dir in ["proto", "services", "tests"] {
        for (path, text) in sources(dir) {
            if !text.starts_with("//!") && !text.starts_with("#![") {
                silent.push(path);
            }
        }
    }
    assert!(silent.is_empty(), "no //! at the top: {silent:#?}");
}

#[test]
fn the_log_is_changed_by_no_statement() {
    let mut breaches = Vec::new();
    for (path, text) in sources("services") {
        // Tests try it, to see it refused or found out.
        if path.ends_with("tests.rs") {
            continue;
        }
        let text = text.to_lowercase();
        for statement in ["update log.events", "delete from log.events", "truncate log.events"] {
            if text.contains(statement) {
                breaches.push(format!("{}: {statement}", path.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// A file without its tests.
fn without_tests(path: &Path, text: &str) -> String {
    let name = path.to_string_lossy();
    let endings = ["tests.rs", "spec.rs", "specs.rs", "properties.rs"];
    if name.contains("/tests/") || endings.iter().any(|ending| name.ends_with(ending)) {
        return String::new();
    }
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// Words in upper case that are quoted, and what stands before each.
fn quoted_words(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.match_indices('"').filter_map(|(at, _)| {
        let (before, after) = (text.get(..at)?, text.get(at + 1..)?);
        let (word, _) = after.split_once('"')?;
        let is_word = word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        is_word.then_some((before.trim_end(), word))
    });
    quoted.collect()
}

/// A code that the catalogue does not know says nobody what to do about it, and one that nobody uses lies in the documents.
#[test]
fn every_code_of_a_rejection_is_in_the_catalogue_and_every_code_there_is_used() {
    let mut used = BTreeSet::new();
    for dir in ["domain", "runtime", "orders", "inventory", "rounds", "payments"] {
        for (path, text) in sources(&format!("services/{dir}/src")) {
            if path.ends_with("domain/src/code.rs") {
                continue;
            }
            for (before, word) in quoted_words(&without_tests(&path, &text)) {
                let is_said = before.ends_with("Rejection::new(") || before.ends_with("rejected(");
                let is_named = path.ends_with("runtime/src/job.rs") && before.ends_with(": &str =");
                // Only the runtime has other words of this kind: names of settings and of JetStream streams.
                if is_said || is_named || (dir != "runtime" && word.contains('_')) {
                    used.insert(word.to_owned());
                }
            }
        }
    }
    let known: BTreeSet<String> = CODES.iter().map(|code| code.word.to_owned()).collect();
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "not in services/domain/src/code.rs: {unknown:?}");
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(unused.is_empty(), "in services/domain/src/code.rs, and used by nobody: {unused:?}");
}

#[test]
fn the_readme_lists_the_catalogue_of_codes() {
    let readme = fs::read_to_string(house().join("README.md")).unwrap();
    let listed: Vec<&str> =
        readme.lines().skip_while(|line| *line != "## Codes").filter(|line| line.starts_with("| `")).collect();
    let rows = CODES.iter().map(|code| {
        let helps = match code.remedy {
            Remedy::SameId => "the same id",
            Remedy::NewId => "a new id",
            Remedy::None | Remedy::Unspecified => "nothing",
        };
        format!("| `{}` | {helps} | {} |", code.word, code.meaning)
    });
    let rows: Vec<String> = rows.collect();
    let listed: Vec<&str> = listed.into_iter().take(rows.len()).collect();
    assert_eq!(listed, rows, "the table in the README should be:\n{}", rows.join("\n"));
}
