//! `holdfast export` and `holdfast check` as an auditor uses them: the commands of the guide, sums in a program that is not ours, and what is
//! changed in a file.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use holdfast_tests::{TestFleet, python, repo_root};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::replay::{Said, command, shop};

/// Figures of rows, by key and name.
pub(crate) type Figures = BTreeMap<(String, String), i64>;

pub(crate) async fn export(fleet: &TestFleet, dir: &Path, args: &[&str]) -> Said {
    let args = [&[dir.to_str().unwrap()], args].concat();
    command("export", Some(fleet), &args).await
}

pub(crate) async fn check(path: &Path) -> Said {
    command("check", None, &[path.to_str().unwrap()]).await
}

pub(crate) fn well(said: &Said) {
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
}

pub(crate) fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap()
}

/// The lines of a table, from all its files in order.
fn lines(dir: &Path, table: &str) -> Vec<Value> {
    let files = manifest(dir).get(table).unwrap().as_array().unwrap().clone();
    let text = files.iter().map(|listed| fs::read_to_string(dir.join(listed["file"].as_str().unwrap())).unwrap());
    text.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect()
}

/// What the postings of a kind add up to; what adds up to nothing is not named.
fn sums(postings: &[Value], kind: &str) -> Figures {
    let mut sums = Figures::new();
    for posting in postings.iter().filter(|posting| posting["kind"] == kind) {
        let name = |field: &str| posting[field].as_str().unwrap().to_owned();
        *sums.entry((name("key"), name("account"))).or_default() += posting["amount"].as_i64().unwrap();
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// What a replay says of the same figures.
pub(crate) async fn replayed(fleet: &TestFleet, kind: &str, args: &[&str]) -> Figures {
    let args = [&[kind, "--movements", "--json"], args].concat();
    let said = command("replay", Some(fleet), &args).await;
    let said: Value = serde_json::from_str(&said.out).unwrap();
    let mut figures = Figures::new();
    for movement in said.get("movements").unwrap().as_array().unwrap() {
        for (name, figure) in movement["figures"].as_object().unwrap() {
            let key = (movement["key"].as_str().unwrap().to_owned(), name.clone());
            figures.insert(key, figure["balance"].as_i64().unwrap());
        }
    }
    figures.retain(|_, balance| *balance != 0);
    figures
}

#[tokio::test]
async fn every_command_of_the_guide_works_and_postings_add_up_to_what_a_replay_says() {
    let (fleet, position, time) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## Take it with you\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let (commands, rest) = rest.split_once("```").unwrap();
    let mut ran = 0;
    for (number, line) in commands.lines().enumerate() {
        let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let (name, args) = words.split_once(' ').unwrap();
        let to = dir.path().join(if number == 0 { "whole" } else { "part" });
        let args = args.replace("$DIR", to.to_str().unwrap()).replace("$TIME", &time);
        let args = args.replace("$POSITION", &position.to_string());
        well(&command(name, Some(&fleet), &args.split_whitespace().collect::<Vec<_>>()).await);
        ran += 1;
    }
    assert_eq!(ran, 3, "{commands}");

    let whole = dir.path().join("whole");
    let (events, postings) = (lines(&whole, "events"), lines(&whole, "postings"));
    assert_eq!(i64::try_from(events.len()).unwrap(), fleet.number("select count(*) from log.events").await.unwrap());
    let mut kinds = 0;
    for kind in ["stock", "shares", "orders", "payments", "coupons", "wallets"] {
        let figures = sums(&postings, kind);
        assert_eq!(figures, replayed(&fleet, kind, &[]).await, "{kind}");
        kinds += usize::from(!figures.is_empty());
        // At any position, not only the last.
        let then = postings.iter().filter(|posting| posting["position"].as_i64().unwrap() <= position);
        let then: Vec<Value> = then.cloned().collect();
        let said = replayed(&fleet, kind, &["--at", &position.to_string()]).await;
        assert_eq!(sums(&then, kind), said, "{kind}");
    }
    assert_eq!(kinds, 6, "something of every kind has moved");

    // The query of the guide, by a program that is not ours.
    let (_, rest) = rest.split_once("```sql\n").unwrap();
    let query = rest.split_once("```").unwrap().0.replace("$DIR", whole.to_str().unwrap());
    let program = "import duckdb, json, sys; print(json.dumps(duckdb.sql(sys.argv[1]).fetchall()))";
    let output = Command::new(python()).args(["-c", program, &query]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Vec<(String, String, i64)> = serde_json::from_slice(&output.stdout).unwrap();
    let told: Figures = told.into_iter().map(|(key, account, sum)| ((key, account), sum)).collect();
    assert_eq!(told, sums(&postings, "stock"));
}

/// What a replay says without what is of its own run: where it was read from, and when.
fn rows(said: &Said) -> Value {
    well(said);
    let mut answer: Value = serde_json::from_str(&said.out).unwrap();
    for field in ["answer_sha256", "evidence"] {
        answer.as_object_mut().unwrap().remove(field);
    }
    answer
}

/// Whoever trusts nobody folds the log from files alone.
#[tokio::test]
async fn an_export_is_replayed_without_a_database_as_the_log_is() {
    let (fleet, position, time) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let position = position.to_string();
    for format in ["jsonl", "parquet"] {
        let dir = dir.path().join(format);
        well(&export(&fleet, &dir, &["--format", format, "--block", "50"]).await);
        let dir = dir.to_str().unwrap();
        let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
        let (_, commands) = page.split_once("## From files alone\n").unwrap();
        let commands = commands.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
        assert_eq!(commands.lines().count(), 3, "{commands}");
        for line in commands.lines() {
            let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast replay ").unwrap();
            let args = words.replace("$POSITION", &position).replace("$TIME", &time);
            let from_files = args.replace("$DIR", dir);
            let from_files: Vec<&str> = from_files.split_whitespace().chain(["--json"]).collect();
            let from_log = args.replace("--from-export $DIR", "");
            let from_log: Vec<&str> = from_log.split_whitespace().chain(["--json"]).collect();
            let by_files = rows(&command("replay", None, &from_files).await);
            assert_eq!(by_files, rows(&command("replay", Some(&fleet), &from_log).await), "{line}");
        }
        for kind in ["shares", "payments", "coupons", "wallets"] {
            let args = [kind, "--movements", "--json"];
            let by_files = rows(&command("replay", None, &[&args[..], &["--from-export", dir]].concat()).await);
            assert_eq!(by_files, rows(&command("replay", Some(&fleet), &args).await), "{kind}");
        }
        for (at, words) in [
            ("1000000", "is beyond the export"),
            ("2999-01-01T00:00:00Z", "is beyond the export"),
            ("2001-01-01T00:00:00Z", "before the first event"),
        ] {
            let said = command("replay", None, &["stock", "--from-export", dir, "--at", at]).await;
            assert!(said.code == Some(3) && said.err.contains(words), "{at}: {}", said.err);
        }
    }
    let part = dir.path().join("part");
    well(&export(&fleet, &part, &["--from", &position]).await);
    let said = command("replay", None, &["stock", "--from-export", part.to_str().unwrap()]).await;
    assert!(said.code == Some(3) && said.err.contains("begins with the log"), "{}", said.err);
    let forged = dir.path().join("jsonl");
    forge(&forged, "events", |lines| {
        lines.remove(1);
    });
    let said = command("replay", None, &["stock", "--from-export", forged.to_str().unwrap()]).await;
    assert!(said.code == Some(3) && said.err.contains("is not what was exported"), "{}", said.err);
}

#[tokio::test]
async fn a_part_of_the_log_is_exported_as_it_is_in_the_whole() {
    let (fleet, position, _) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let (whole, part) = (dir.path().join("whole"), dir.path().join("part"));
    well(&export(&fleet, &whole, &["--block", "7"]).await);
    let to = (position + 9).to_string();
    well(&export(&fleet, &part, &["--from", &position.to_string(), "--to", &to]).await);
    let is_in = |line: &Value| (position..=position + 9).contains(&line["position"].as_i64().unwrap());
    for table in ["events", "postings"] {
        let wanted: Vec<Value> = lines(&whole, table).into_iter().filter(is_in).collect();
        assert!(!wanted.is_empty());
        assert_eq!(lines(&part, table), wanted, "{table}");
    }
    let said = check(&whole).await;
    well(&said);
    assert!(said.out.starts_with("check: ok: ") && said.out.contains("each posting follows"), "{}", said.out);
    let said = check(&part.join("manifest.json")).await;
    well(&said);
    assert!(said.out.contains("were not computed again"), "{}", said.out);
    let files = manifest(&whole)["events"].as_array().unwrap().clone();
    assert!(files.len() > 2, "{files:?}");
    assert_eq!(files[0]["file"], "events-000000000001-000000000007.jsonl");
}

/// Writes other text into the first file of a table, and, as a forger would, its hash into the manifest.
fn forge(dir: &Path, table: &str, change: impl FnOnce(&mut Vec<Value>)) {
    let mut manifest = manifest(dir);
    let listed = manifest.get_mut(table).unwrap().get_mut(0).unwrap();
    let path = dir.join(listed["file"].as_str().unwrap());
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    change(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    listed["lines"] = lines.len().into();
    listed["bytes"] = text.len().into();
    listed["sha256"] = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    fs::write(path, text).unwrap();
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
}

pub(crate) fn copy(from: &Path, to: PathBuf) -> PathBuf {
    fs::create_dir(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    to
}

#[tokio::test]
async fn what_is_changed_in_an_export_is_found_also_where_its_hash_is_changed_with_it() {
    let (fleet, _, _) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    well(&export(&fleet, &whole, &[]).await);
    let first = manifest(&whole)["events"][0]["file"].as_str().unwrap().to_owned();
    let changed = copy(&whole, dir.path().join("changed"));
    fs::write(changed.join(&first), fs::read_to_string(changed.join(&first)).unwrap().replacen("MUG-01", "JUG-01", 1))
        .unwrap();
    let said = check(&changed).await;
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("its SHA-256 is not the one in the manifest"), "{}", said.out);

    type Forgery = fn(&mut Vec<Value>);
    let forgeries: [(&str, &str, Forgery, &str); 8] = [
        ("says", "events", |lines| lines[1]["event"]["quantity"] = json!("7"), "is not what its bytes say"),
        (
            "cause",
            "events",
            |lines| lines[1]["causation_id"] = lines[0]["causation_id"].clone(),
            "its cause and its place give",
        ),
        ("gone", "events", |lines| drop(lines.remove(0)), "comes after version 0: events of it are missing"),
        ("order", "events", |lines| lines.swap(0, 1), "comes after position"),
        ("bytes", "events", |lines| lines[0]["data"] = json!("!"), "its data is no base64"),
        (
            "type",
            "events",
            |lines| lines[0]["type"] = json!("holdfast.inventory.v1.Stolen"),
            "cannot be read: use the release",
        ),
        ("posting", "postings", |lines| lines[0]["amount"] = json!(99), "its postings do not follow from the events"),
        ("none", "postings", Vec::clear, "its postings do not follow from the events"),
    ];
    for (name, table, forgery, words) in forgeries {
        let forged = copy(&whole, dir.path().join(name));
        forge(&forged, table, forgery);
        let said = check(&forged).await;
        assert_eq!(said.code, Some(1), "{name}: {}", said.out);
        assert!(said.out.contains(words) && said.out.contains("check: NOT ok"), "{name}: {}", said.out);
    }
    fs::remove_file(whole.join(&first)).unwrap();
    let said = check(&whole).await;
    assert_eq!(said.code, Some(3), "{}", said.out);
    assert!(said.err.contains(&first), "{}", said.err);
}

#[tokio::test]
async fn what_cannot_be_exported_leaves_nothing_that_looks_like_an_export() {
    let fleet = TestFleet::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let refused = |said: &Said, code: i32, words: &str| {
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{words}: {}", said.err);
        assert!(said.err.contains(words), "{words}: {}", said.err);
        assert!(!to.join("manifest.json").exists());
    };
    refused(&export(&fleet, &to, &[]).await, 3, "the log is empty");
    fleet.stock("MUG", 1).await.unwrap();
    refused(
        &export(&fleet, &to, &["--from", "1000000"]).await,
        3,
        "there is nothing to export from position 1000000 on",
    );
    refused(&export(&fleet, &to, &["--to", "1000000"]).await, 3, "is beyond the log");
    refused(&export(&fleet, &to, &["--from", "0"]).await, 2, "--from");
    refused(&export(&fleet, &to, &["--block", "0"]).await, 2, "--block");
    refused(&check(&to).await, 3, "without a manifest there is no export");
    refused(&export(&fleet, dir.path(), &[]).await, 3, "has files");
    well(&export(&fleet, &to, &[]).await);
}

/// The programs of the guide that are not ours.
async fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().await.unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands of a section of the guide.
fn guide(section: &str, file: &Path, time: &str) -> Vec<String> {
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once(&format!("## {section}\n")).unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let lines = rest.split_once("```").unwrap().0.lines();
    let bare =
        |line: &str| line.split(" #").next().unwrap().replace("$TIME", time).replace("$FILE", file.to_str().unwrap());
    lines.map(|line| bare(line).trim().to_owned()).collect()
}

/// Reads a tax export by its description alone: sums of the stock's figures, by key and account.
const READS_BY_DESCRIPTION: &str = r#"
import csv, io, json, sys, zipfile, xml.etree.ElementTree as tree
from collections import Counter
from decimal import Decimal
files, sums, lines = zipfile.ZipFile(sys.argv[1]), Counter(), Counter()
for table in tree.fromstring(files.read("index.xml")).iter("Table"):
    form = table.find("VariableLength")
    columns = [column.findtext("Name") for column in form if column.tag in ("VariablePrimaryKey", "VariableColumn")]
    text = files.read(table.findtext("URL")).decode("utf-8")
    assert text.endswith(form.findtext("RecordDelimiter")) and table.find("UTF8") is not None
    form = dict(delimiter=form.findtext("ColumnDelimiter"), quotechar=form.findtext("TextEncapsulator"))
    for values in csv.reader(io.StringIO(text, newline=""), **form):
        assert len(values) == len(columns), (columns, values)
        row = dict(zip(columns, values))
        lines["kind" in row] += 1
        if row.get("kind") in ("stock", "payments"):
            amount = Decimal(row["amount"].replace(",", "."))
            sums[row["key"] if row["kind"] == "stock" else "money", row["account"]] += amount
print(json.dumps([lines[False], lines[True], [[*key, str(sum)] for key, sum in sorted(sums.items()) if sum]]))
"#;

#[tokio::test]
async fn a_tax_export_is_read_by_its_description_alone_and_proves_itself() {
    let (fleet, position, time) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("year.zip");
    let commands = guide("For the tax auditor", &file, &time);
    for line in &commands {
        let (name, args) = line.strip_prefix("./justw holdfast ").unwrap().split_once(' ').unwrap();
        well(&command(name, Some(&fleet), &args.split_whitespace().collect::<Vec<_>>()).await);
    }
    assert_eq!(commands.len(), 2);
    // From that time on is from the event of that very time on.
    let read = async |file: &Path| {
        let output =
            Command::new(python()).args(["-c", READS_BY_DESCRIPTION, file.to_str().unwrap()]).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<(i64, i64, Vec<(String, String, String)>)>(&output.stdout).unwrap()
    };
    let events = fleet.number("select count(*) from log.events").await.unwrap();
    let before = fleet.number("select count(*) from log.events where type like '%.ProductRegistered'").await.unwrap();
    assert_eq!((read(&file).await.0, before), (events - before, position - 1));

    let whole = dir.path().join("whole.zip");
    well(&export(&fleet, &whole, &["--format", "gdpdu", "--block", "9"]).await);
    let said = check(&whole).await;
    well(&said);
    assert!(said.out.contains("each posting follows from the events"), "{}", said.out);
    let (lines, _, sums) = read(&whole).await;
    assert_eq!(lines, events);
    let stock: BTreeMap<(String, String), i64> = sums
        .iter()
        .filter(|(key, ..)| key != "money")
        .map(|(key, account, sum)| ((key.clone(), account.clone()), sum.parse().unwrap()))
        .collect();
    assert_eq!(stock, replayed(&fleet, "stock", &[]).await);
    let money: Vec<&str> = sums.iter().filter(|(key, ..)| key == "money").map(|(_, _, sum)| sum.as_str()).collect();
    assert!(money.contains(&"22.50"), "{money:?}");
    let said = export(&fleet, &whole, &["--format", "gdpdu"]).await;
    assert_eq!((said.code, said.err.contains("is there already")), (Some(3), true), "{}", said.err);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside them");

    // Who changes a line, and its hash with it.
    let forge = "import hashlib, json, sys, zipfile; old = zipfile.ZipFile(sys.argv[1]); new = zipfile.ZipFile(sys.argv[2], 'w'); \
        files = {name: old.read(name) for name in old.namelist()}; manifest = json.loads(files['manifest.json']); \
        listed = manifest.get(sys.argv[3], [dict(file='index.xml')])[0]; \
        text = files[listed['file']].replace(*[word.encode() for word in sys.argv[4:6]], 1); files[listed['file']] = text; \
        listed['sha256'] = hashlib.sha256(text).hexdigest(); files['manifest.json'] = json.dumps(manifest).encode(); \
        [new.writestr(name, data) for name, data in files.items()]; new.close()";
    for (table, from, to, words) in [
        ("events", "Product MUG-01", "Product JUG-01", "is not what its bytes say"),
        ("events", "inventory", "orders", "its postings do not follow"),
        ("postings", "\"100\"", "\"101\"", "its postings do not follow from the events"),
        ("description", "place in the log", "number", "index.xml: its SHA-256 is not the one in the manifest"),
    ] {
        let forged = dir.path().join(format!("{table}-{to}.zip").replace('"', ""));
        let args = [whole.to_str().unwrap(), forged.to_str().unwrap(), table, from, to];
        let output = Command::new(python()).args(["-c", forge]).args(args).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = check(&forged).await;
        assert_eq!(said.code, Some(1), "{table}, {to}: {} {}", said.out, said.err);
        assert!(said.out.contains(words) || to == "orders", "{table}, {to}: {}", said.out);
    }
}

#[tokio::test]
async fn an_answer_shows_whether_it_is_as_it_was_printed() {
    let (fleet, _, time) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stock.csv");
    let [asks, checks, without] = guide("Is that file as it was printed?", &file, &time).try_into().unwrap();
    let args = asks.strip_prefix("./justw holdfast replay ").unwrap().split_once(" > ").unwrap().0.to_owned();
    let said = command("replay", Some(&fleet), &args.split_whitespace().collect::<Vec<_>>()).await;
    fs::write(&file, &said.out).unwrap();
    let (name, path) = checks.strip_prefix("./justw holdfast ").unwrap().split_once(' ').unwrap();
    let said = command(name, None, &[path]).await;
    well(&said);
    let sha256 = shell(&without).await.split(' ').next().unwrap().to_owned();
    assert!(said.out.contains(&sha256) && said.out.contains("holdfast replay stock --at "), "{sha256}: {}", said.out);

    let order = fleet.number("select min(position) from log.events where type like '%.OrderPlaced'").await.unwrap();
    let at = order.to_string();
    for (name, args) in [
        ("replay", &["wallets", "--movements"][..]),
        ("replay", &["stock", "--movements", "--format", "csv"]),
        ("replay", &["orders", "--movements", "--json"]),
        ("replay", &["payments", "--format", "jsonl"]),
        ("actions", &["--format", "jsonl"]),
        ("cutoff", &["--at", &at, "--json"]),
        ("timeline", &["product", "MUG-01"]),
        ("timeline", &["product", "MUG-01", "--html", file.to_str().unwrap()]),
    ] {
        let said = command(name, Some(&fleet), args).await;
        well(&said);
        let text = if args.contains(&"--html") { fs::read_to_string(&file).unwrap() } else { said.out };
        fs::write(&file, &text).unwrap();
        well(&check(&file).await);
        if text.starts_with('{') {
            let line = format!(r#"sed '1s/,"answer_sha256":"[0-9a-f]*"//' {} | sha256sum"#, file.display());
            assert!(text.contains(shell(&line).await.split(' ').next().unwrap()), "{args:?}");
        }
        fs::write(&file, text.replacen("MUG", "JUG", 1).replacen("2026", "2025", 1)).unwrap();
        let said = check(&file).await;
        assert_eq!((said.code, said.out.contains("check: NOT ok")), (Some(1), true), "{args:?}: {}", said.out);
    }
    fs::write(&file, "sku,on_hand\nMUG-01,98\n").unwrap();
    let said = check(&file).await;
    assert_eq!((said.code, said.err.contains("no evidence with a SHA-256")), (Some(3), true), "{}", said.err);
}
