//! The conventions of this repository that a compiler does not check.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own repository fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

mod console;
mod metrics;
mod released;

use audit::{Check, diagnosis};
use domain::Decider;
use domain::code::{CODES, Remedy};
use holdfast_tests::repo_root;
use runtime::service::refusal_stream;

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
    rust_files(&repo_root().join(dir), &mut files);
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Files of a service that may do IO; all others are pure.
fn may_do_io(path: &Path) -> bool {
    let text = path.to_string_lossy();
    ["/store", "/main.rs", "/lib.rs", "/effect.rs", "/configured.rs", "/missed.rs", "/tests/"]
        .iter()
        .any(|part| text.contains(part))
}

/// Files of mail that do IO: what it says, and what follows from how it was handed over, is pure.
fn is_around_mail(path: &Path) -> bool {
    let around = ["inbound.rs", "sender.rs", "smtp.rs", "templates.rs", "templates/tests.rs"];
    around.iter().any(|file| path.ends_with(Path::new("services/mail/src").join(file)))
}

/// A mutation whose place is gone proves nothing any more, and is noticed only by who runs them all.
#[test]
fn every_mutation_has_its_place() {
    let mutations: toml::Table =
        fs::read_to_string(repo_root().join("tests/simulation/mutations.toml")).unwrap().parse().unwrap();
    for mutation in mutations["mutation"].as_array().unwrap() {
        let [name, file, before] = ["name", "file", "before"].map(|key| mutation[key].as_str().unwrap());
        let source = fs::read_to_string(repo_root().join(file)).unwrap();
        assert_eq!(source.matches(before).count(), 1, "{name}: its place in {file}");
        if let Some(test) = mutation.get("test") {
            let (module, test) = test.as_str().unwrap().rsplit_once("::").unwrap();
            let file = format!("{}.rs", module.replace("::", "/"));
            let is_there = ["end_to_end", "faults", "log", "projections"].iter().any(|folder| {
                let text = fs::read_to_string(repo_root().join("tests").join(folder).join(&file)).unwrap_or_default();
                text.contains(&format!("fn {test}("))
            });
            assert!(is_there, "{name}: there is no test {test} in {file}");
        }
    }
}

#[test]
fn operators_are_told_of_every_check() {
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    for check in Check::ALL {
        let name = serde_json::to_value(check).unwrap();
        assert!(page.contains(&format!("\n| {} |", name.as_str().unwrap())), "{check:?}");
    }
}

/// Whoever reads a command there knows whether anybody has tried it.
#[test]
fn operators_are_told_which_commands_of_their_page_are_run() {
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    let (mut heading, mut is_shown, mut shown) = ("", false, BTreeSet::new());
    for line in page.lines() {
        if line.starts_with("```") {
            is_shown = !is_shown;
            shown.insert(heading);
        } else if !is_shown && line.starts_with('#') {
            heading = line.trim_start_matches('#').trim();
        }
    }
    let (_, table) = page.split_once("## Which of these commands are run\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let told: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| [")?.split_once("](#")).map(|row| row.0).collect();
    assert_eq!(told, shown);
}

/// What a program says in one word is explained to people in the same words, and every word of theirs is one that a program may say.
#[test]
fn operators_are_told_of_every_finding() {
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    let (_, page) = page.split_once("## What `diagnose` finds").unwrap();
    let (page, _) = page.split_once("\n## ").unwrap();
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let rows = diagnosis::Code::ALL.iter().map(|code| {
        let diagnosis::Page { word, severity, means, stake, act, clears, .. } = code.page();
        format!("| `{word}` | {} | {means} | {stake} | {act} | {clears} |", severity.word())
    });
    let rows: Vec<String> = rows.collect();
    assert_eq!(listed, rows, "the table in deploy/README.md should be:\n{}", rows.join("\n"));
}

/// A finding that nobody has seen found is a promise, not a check.
#[test]
fn every_finding_is_brought_about_by_a_test() {
    let tests = sources("tests").into_iter().map(|(_, text)| text).filter(|text| text.contains("\"diagnose\""));
    let tests: String = tests.collect();
    let is_seen = |code: &&diagnosis::Code| tests.contains(&format!("\"{}\"", code.page().word));
    let unseen: Vec<_> = diagnosis::Code::ALL.iter().filter(|code| !is_seen(code)).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
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
    for service in proto::SERVICES.into_iter().chain(["mail"]) {
        for (path, text) in sources(&format!("services/{service}/src")) {
            if may_do_io(&path) || is_around_mail(&path) {
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

/// What a replay can do is what its trait has; beside it, the files that fold name nothing that acts, writes or asks.
#[test]
fn nothing_that_acts_is_named_where_a_replay_folds() {
    let forbidden = [
        "Service",
        "Timer",
        "timer(",
        "Effect",
        "effect(",
        "perform",
        "react(",
        "decide(",
        "publish",
        "providers::",
        "async_nats",
        "sqlx",
        "tokio",
        "async fn",
        "std::net",
        "std::process",
        "std::thread",
    ];
    let mut seen = 0;
    for (path, text) in sources("services/audit/src/replay") {
        if !["projection.rs", "kinds.rs", "fold.rs"].iter().any(|name| path.ends_with(format!("replay/{name}"))) {
            continue;
        }
        seen += 1;
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let word = forbidden.iter().find(|word| line.contains(**word));
            assert!(word.is_none(), "{}: {word:?} in {line}", path.display());
        }
    }
    assert_eq!(seen, 3);
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

/// Who may import whom: each room with all that it may name, whether its own tests only or not. Arrows go one way, from the words to
/// the commands; no service knows another, and nothing that decides or keeps the books hangs on what starts servers.
const IMPORTS: [(&str, &[&str]); 23] = [
    ("proto", &[]),
    ("domain", &["proto"]),
    ("platform", &["domain", "proto"]),
    ("runtime", &["domain", "platform", "proto"]),
    ("providers", &["domain", "platform", "proto"]),
    ("orders", &["domain", "platform", "proto", "providers", "runtime"]),
    ("inventory", &["domain", "platform", "proto", "runtime"]),
    ("rounds", &["domain", "platform", "proto", "runtime"]),
    ("payments", &["domain", "platform", "proto", "providers", "runtime"]),
    ("audit", &["domain", "inventory", "orders", "payments", "platform", "proto", "rounds", "runtime"]),
    ("operate", &["audit", "domain", "inventory", "orders", "payments", "platform", "proto", "rounds", "runtime"]),
    ("gateway", &["audit", "domain", "operate", "platform", "proto", "providers", "runtime"]),
    ("mail", &["domain", "platform", "proto", "runtime"]),
    ("traces", &["domain", "platform", "proto", "runtime"]),
    ("testbed", &["audit", "domain", "platform", "proto"]),
    ("all-in-one", &["inventory", "orders", "payments", "providers", "rounds", "runtime"]),
    ("bench", ALL),
    (
        "cli",
        &[
            "audit",
            "domain",
            "inventory",
            "mail",
            "operate",
            "orders",
            "payments",
            "platform",
            "proto",
            "providers",
            "rounds",
            "runtime",
            "testbed",
        ],
    ),
    ("fake-stripe", &[]),
    ("holdfast-tests", ALL),
    (
        "fuzz",
        &[
            "domain",
            "holdfast-tests",
            "inventory",
            "orders",
            "payments",
            "platform",
            "proto",
            "providers",
            "rounds",
            "runtime",
            "testbed",
        ],
    ),
    ("nemesis", &["audit", "holdfast-tests", "platform", "proto", "testbed"]),
    (
        "simulation",
        &[
            "audit",
            "domain",
            "holdfast-tests",
            "inventory",
            "orders",
            "payments",
            "platform",
            "proto",
            "providers",
            "rounds",
            "runtime",
        ],
    ),
];

/// Every library of the product.
const ALL: &[&str] = &[
    "audit",
    "domain",
    "inventory",
    "orders",
    "payments",
    "platform",
    "proto",
    "providers",
    "rounds",
    "runtime",
    "testbed",
];

/// What the tests of the whole name besides: what stands for others, and processes whose metrics a page has.
const IMPORTS_OF_THE_WHOLE: [(&str, &[&str]); 1] = [("holdfast-tests", &["fake-stripe", "gateway", "mail", "traces"])];

/// What the tests of a room may name besides.
const IMPORTS_OF_TESTS: [(&str, &[&str]); 2] =
    [("audit", &["testbed"]), ("testbed", &["inventory", "orders", "providers", "rounds"])];

#[test]
fn every_arrow_between_rooms_is_in_the_table() {
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(repo_root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let (imports, of_tests) = (BTreeMap::from(IMPORTS), BTreeMap::from(IMPORTS_OF_TESTS));
    let of_the_whole = BTreeMap::from(IMPORTS_OF_THE_WHOLE);
    let mut arrows = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let room = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if dependency["path"].is_null() {
                continue;
            }
            let is_in = |table: &BTreeMap<_, &[&str]>| table.get(room).is_some_and(|rooms| rooms.contains(&to));
            let may = is_in(&imports) || is_in(&of_the_whole) || dependency["kind"] == "dev" && is_in(&of_tests);
            assert!(may, "{room} imports {to}, which the table of rooms does not have");
            arrows.insert((room, to));
        }
    }
    let table = imports
        .iter()
        .chain(&of_tests)
        .chain(&of_the_whole)
        .flat_map(|(room, all)| all.iter().map(move |to| (*room, *to)));
    let unused: Vec<_> = table.filter(|arrow| !arrows.contains(arrow)).collect();
    assert!(unused.is_empty(), "arrows in the table that nobody uses: {unused:?}");
}

fn markdown_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !["node_modules", "target"].contains(&name.as_str()) {
            markdown_files(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Words that had another meaning in the field, or none, and have been replaced: each thing has one name.
const REPLACED: [&str; 16] = [
    "World",
    "Recorded",
    "Outbox",
    "Publication",
    "Witness",
    "Leased",
    "Venue",
    "Weather",
    "go_deaf",
    "storable",
    "bury",
    "refund_step",
    "stand_by_refunds",
    "StockReserved",
    "SharesReserved",
    "PaymentRefunding",
];

#[test]
fn no_replaced_word_is_left() {
    let mut pages = Vec::new();
    markdown_files(&repo_root(), &mut pages);
    let pages = pages.into_iter().map(|page| (page.clone(), fs::read_to_string(page).unwrap()));
    let mut left = Vec::new();
    for (path, text) in ["services", "tests"].into_iter().flat_map(sources).chain(pages) {
        if path.ends_with("conventions/main.rs") {
            continue;
        }
        let words: BTreeSet<&str> = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        left.extend(
            REPLACED.iter().filter(|word| words.contains(**word)).map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(left.is_empty(), "{left:#?}");
}

/// The variables that a text names.
fn variables_in(text: &str) -> BTreeSet<String> {
    let is_of_name = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    let ends = |rest: &str| rest.find(|letter| !is_of_name(letter)).unwrap_or(rest.len());
    let names = text.split("HOLDFAST_").skip(1).map(|rest| format!("HOLDFAST_{}", &rest[..ends(rest)]));
    names.filter(|name| !name.ends_with('_')).collect()
}

/// A process refuses a variable that begins as its settings do and is none: those of ./justw, the tests and deploy/ it must know.
#[test]
fn every_variable_that_is_no_setting_is_known_to_be_none() {
    let defaults: toml::Table = platform::config::DEFAULTS.parse().unwrap();
    let settings = defaults.iter().flat_map(|(section, keys)| {
        let name = |key: &String| format!("HOLDFAST_{section}_{key}").to_uppercase();
        keys.as_table().unwrap().keys().map(name).collect::<Vec<_>>()
    });
    let known: BTreeSet<String> = settings.chain(platform::config::OTHERS.map(str::to_owned)).collect();
    let files = ["justw", "justfile", ".ci/run", "deploy/compose.yaml", "deploy/run.py", "deploy/check.py"];
    let files = files.map(|file| fs::read_to_string(repo_root().join(file)).unwrap());
    let sources = ["services", "tests"].into_iter().flat_map(sources);
    // Tests of settings name what there is not.
    let sources = sources.filter(|(path, _)| !path.ends_with("config.rs") && !path.ends_with("conventions/main.rs"));
    let named = files.into_iter().chain(sources.map(|(_, text)| text)).flat_map(|text| variables_in(&text));
    let unknown: BTreeSet<String> = named.filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "settings? Else name them in services/platform/src/config/sources.rs: {unknown:?}");
}

/// A document that points at what has moved sends its reader nowhere.
#[test]
fn every_relative_link_is_alive() {
    let mut pages = Vec::new();
    markdown_files(&repo_root(), &mut pages);
    let (mut links, mut dead) = (0, Vec::new());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_alive = file.exists() && (heading.is_empty() || headings(&file).contains(heading));
            if !is_alive {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(links > 0 && dead.is_empty(), "{dead:#?}");
}

/// A command that selects tests by a name that is none runs nothing, and says that all is well.
#[test]
fn every_test_binary_that_a_document_names_is_there() {
    let manifest: toml::Table = fs::read_to_string(repo_root().join("tests/Cargo.toml")).unwrap().parse().unwrap();
    let binaries: BTreeSet<&str> =
        manifest["test"].as_array().unwrap().iter().map(|test| test["name"].as_str().unwrap()).collect();
    let mut pages = Vec::new();
    markdown_files(&repo_root(), &mut pages);
    let mut named = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for name in text.split("binary(").skip(1).filter_map(|rest| rest.split_once(')')).map(|(name, _)| name) {
            named += 1;
            assert!(binaries.contains(name), "{}: there is no test binary {name}", page.display());
        }
    }
    assert!(named > 0);
}

/// The anchors of a page's headings, as GitHub makes them.
fn headings(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// Code sends its reader to a heading by the page's path from the root: `services/runtime/README.md#no-window-of-ids`.
#[test]
fn every_heading_that_a_comment_names_is_there() {
    let (mut named, mut dead) = (0, Vec::new());
    for dir in ["proto", "services", "tests"] {
        for (path, text) in sources(dir) {
            let comments = text.lines().filter(|line| line.trim_start().starts_with("//"));
            for word in comments.flat_map(str::split_whitespace) {
                let word = word.trim_matches(['`', '(', ')', '.', ',', ';', ':']);
                let Some((page, heading)) = word.split_once(".md#") else { continue };
                named += 1;
                let page = repo_root().join(format!("{page}.md"));
                if !page.exists() || !headings(&page).contains(heading) {
                    dead.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    assert!(named > 0 && dead.is_empty(), "{dead:#?}");
}

/// The first page is for whoever has ten minutes. What is longer belongs beside the code that it is about.
#[test]
fn the_readme_is_at_most_200_lines() {
    let lines = fs::read_to_string(repo_root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 200, "{lines} lines");
}

/// A room that holds more of the code than this is several.
#[test]
fn no_room_is_above_a_quarter_of_the_code() {
    let mut rooms: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for dir in ["proto", "services", "tests"] {
        for (path, text) in sources(dir) {
            let room = path.ancestors().find(|dir| dir.join("Cargo.toml").exists()).unwrap();
            *rooms.entry(room.to_owned()).or_default() += text.lines().count();
        }
    }
    let all: usize = rooms.values().sum();
    let large: Vec<_> = rooms.iter().filter(|(_, lines)| *lines * 4 > all).collect();
    assert!(large.is_empty(), "{large:?} of {all} lines");
}

#[test]
fn runtime_and_platform_know_no_business_word() {
    let words = ["stock", "sku", "refund", "coupon", "checkout", "customer"];
    let mut breaches = Vec::new();
    let shell = [sources("services/runtime/src"), sources("services/platform/src")].concat();
    for (path, text) in shell {
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
        if path.ends_with("tests.rs") || path.ends_with("tests/planted.rs") {
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

/// Whoever takes a session from a pool of sqlx itself waits without end for a Postgres that does not answer. People who wait can see it, and stop.
#[test]
fn no_service_waits_for_postgres_without_end() {
    let mut breaches = Vec::new();
    for service in ["gateway", "inventory", "mail", "orders", "payments", "providers", "rounds", "runtime", "traces"] {
        for (path, text) in sources(&format!("services/{service}")) {
            if without_tests(&path, &text).replace("PgPoolOptions", "").contains("PgPool") {
                breaches.push(path);
            }
        }
    }
    assert!(breaches.is_empty(), "these are to take platform::database::Pool: {breaches:#?}");
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
    for dir in ["domain", "platform", "runtime", "providers", "orders", "inventory", "rounds", "payments"] {
        for (path, text) in sources(&format!("services/{dir}/src")) {
            if path.ends_with("domain/src/code.rs") {
                continue;
            }
            for (before, word) in quoted_words(&without_tests(&path, &text)) {
                let is_said = before.ends_with("Rejection::new(") || before.ends_with("rejected(");
                let is_named = path.ends_with("inbound/input.rs") && before.ends_with(": &str =");
                // Only the shell has other words of this kind: names of settings and of JetStream streams.
                // A variable of the build is no code.
                if before.ends_with("env!(") {
                    continue;
                }
                if is_said || is_named || (!["platform", "runtime"].contains(&dir) && word.contains('_')) {
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
fn the_contract_lists_the_catalogue_of_codes() {
    let page = fs::read_to_string(repo_root().join("proto/README.md")).unwrap();
    let listed: Vec<&str> =
        page.lines().skip_while(|line| *line != "## Codes").filter(|line| line.starts_with("| `")).collect();
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
    assert_eq!(listed, rows, "the table in proto/README.md should be:\n{}", rows.join("\n"));
}
