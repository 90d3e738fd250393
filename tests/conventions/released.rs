//! What was released binds all releases after it: others read its events, and its workers run beside newer ones.

use std::{collections::BTreeMap, fs, path::PathBuf};

use holdfast_tests::repo_root;
use sha2::{Digest, Sha256};

/// Files of releases that never change, by their hashes.
fn frozen() -> BTreeMap<PathBuf, String> {
    let releases = fs::read_dir(repo_root().join("proto/released")).unwrap().map(|entry| entry.unwrap().path());
    let lists = releases.filter(|path| path.is_dir()).map(|dir| fs::read_to_string(dir.join("frozen.sha256")).unwrap());
    let mut frozen = BTreeMap::new();
    for list in lists {
        for line in list.lines() {
            let (hash, file) = line.split_once("  ").unwrap();
            frozen.insert(file.into(), hash.to_owned());
        }
    }
    frozen
}

#[test]
fn what_was_released_stays_as_it_was() {
    let frozen = frozen();
    assert!(frozen.len() > 100, "{}", frozen.len());
    for (file, hash) in frozen {
        let there = fs::read(repo_root().join(&file)).unwrap();
        assert_eq!(format!("{:x}", Sha256::digest(there)), hash, "{} was released, and may not change", file.display());
    }
}

/// What a statement takes from workers of the release before, which run beside the new ones meanwhile.
fn takes(statement: &str) -> Option<&'static str> {
    let has = |words: &str| statement.contains(words);
    let adds_strictly = has("add column") && has("not null") && !has("default") && !has("generated");
    [
        (has("drop column"), "a column that they may read"),
        (has("drop table") || has("drop schema") || has("drop view"), "a table that they may read"),
        (has("rename to") || has("rename column"), "a name that they know"),
        (has("alter column") && has(" type "), "a type that they know"),
        (has("alter column") && has("set not null"), "a column that they may leave empty"),
        (adds_strictly, "rows: they know nothing of the new column"),
        (has("revoke"), "what they may do"),
    ]
    .into_iter()
    .find_map(|(is_so, what)| is_so.then_some(what))
}

fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join(" ").to_lowercase();
    code.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The line by which a migration says why no worker of the release before misses what it takes away.
const REASON: &str = "-- contract: ";

#[test]
fn a_migration_leaves_workers_of_the_release_before_what_they_need() {
    let frozen = frozen();
    for entry in fs::read_dir(repo_root().join("migrations")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(repo_root()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        if frozen.contains_key(name) || path.extension().is_none_or(|ending| ending != "sql") || text.contains(REASON) {
            continue;
        }
        let taken: Vec<&str> = statements(&text).iter().filter_map(|statement| takes(statement)).collect();
        assert!(taken.is_empty(), "{} takes {taken:?}: see migrations/README.md", name.display());
    }
}

#[test]
fn what_takes_something_away_is_seen() {
    for sql in [
        "alter table orders.orders drop column total",
        "ALTER TABLE orders.orders\n  RENAME COLUMN total TO sum",
        "alter table a alter column b type bigint",
        "alter table a alter column b set not null",
        "alter table a add column b text not null",
        "drop table a",
        "revoke select on a from holdfast_orders",
    ] {
        assert!(statements(sql).iter().any(|statement| takes(statement).is_some()), "{sql}");
    }
    for sql in [
        "alter table a add column b text not null default ''; create table c (d text not null)",
        "-- drop table a\nalter table a add column b text",
        "alter table a drop constraint b, add constraint b check (c in (1, 2))",
    ] {
        assert!(statements(sql).iter().all(|statement| takes(statement).is_none()), "{sql}");
    }
}
