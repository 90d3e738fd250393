//! Parquet as others read it: the commands of the guide, DuckDB's sums against a replay's, and what happened to a file on its way.

use std::{fs, path::Path};

use holdfast_tests::{TestFleet, holdfast, python, repo_root};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::{
    export::{Figures, check, copy, export, manifest, replayed, well},
    replay::{Said, command, shop},
};

/// What DuckDB answers.
async fn duckdb(query: &str) -> Value {
    let program = "import duckdb, json, sys; duckdb.sql(\"set timezone = 'UTC'\"); print(json.dumps(duckdb.sql(sys.argv[1]).fetchall()))";
    let output = Command::new(python()).args(["-c", program, query]).output().await.unwrap();
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names of columns, and what DuckDB takes them for.
async fn columns(table: &str) -> Vec<(String, String)> {
    let told = duckdb(&format!("select column_name, column_type from (describe from '{table}')")).await;
    serde_json::from_value(told).unwrap()
}

#[tokio::test]
async fn another_program_reads_the_tables_and_comes_to_what_a_replay_says() {
    let (fleet, _, time) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let (lake, answer) = (dir.path().join("lake"), dir.path().join("stock.parquet"));
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## For programs that read tables\n").unwrap();
    let (commands, rest) = rest.split_once("```sh\n").unwrap().1.split_once("```").unwrap();
    for line in commands.lines() {
        let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let words = words.replace("$DIR", lake.to_str().unwrap()).replace("$FILE", answer.to_str().unwrap());
        let words = words.replace("$TIME", &time);
        let (name, args) = words.split_once(' ').unwrap();
        well(&command(name, Some(&fleet), &args.split_whitespace().collect::<Vec<_>>()).await);
    }
    assert_eq!(commands.lines().count(), 4);

    let query = rest.split_once("```sql\n").unwrap().1.split_once("```").unwrap().0;
    let told = duckdb(&query.replace("$DIR", lake.to_str().unwrap())).await;
    let told: Vec<(String, String, i64)> = serde_json::from_value(told).unwrap();
    let told: Figures = told.into_iter().map(|(key, account, sum)| ((key, account), sum)).collect();
    assert_eq!(told, replayed(&fleet, "stock", &[]).await);
    let rows = duckdb(&format!("select sku, on_hand from '{}'", answer.display())).await;
    assert_eq!(rows, serde_json::json!([["MUG-01", 100]]));

    // The same as jsonl, value by value.
    let lines = dir.path().join("lines");
    well(&export(&fleet, &lines, &[]).await);
    let (at, text, number) = ("TIMESTAMP WITH TIME ZONE", "VARCHAR", "BIGINT");
    for (table, types) in [
        ("events", &[number, text, number, text, text, text, text, text, text, at, "JSON", "BLOB"][..]),
        ("postings", &[number, at, text, text, text, text, number, text]),
    ] {
        let parquet = format!("{}/{table}-*.parquet", lake.display());
        let columns = columns(&parquet).await;
        assert_eq!(columns.iter().map(|(_, of)| of.as_str()).collect::<Vec<_>>(), types);
        let of_json: Vec<String> = columns.iter().map(|(name, of)| format!("{name}: '{of}'")).collect();
        let of_json = of_json.join(", ").replace("'BLOB'", "'VARCHAR'");
        let bytes = if table == "events" { "* replace (base64(data) as data, event::varchar as event)" } else { "*" };
        let texts = if table == "events" { "* replace (event::varchar as event)" } else { "*" };
        let query = format!(
            "with p as (select {bytes} from '{parquet}'),
                j as (select {texts} from read_json('{}/{table}-*.jsonl', columns = {{{of_json}}}))
            select (select count(*) from (from p except from j)), (select count(*) from (from j except from p)),
                (select count(*) from p) = (select count(*) from j)",
            lines.display()
        );
        assert_eq!(duckdb(&query).await, serde_json::json!([[0, 0, true]]), "{table}");
    }
    let [of_lines, of_lake] = [&lines, &lake].map(|dir| manifest(dir));
    for field in ["first", "last", "min_time", "max_time", "lines"] {
        assert_eq!(of_lines["events"][0][field], of_lake["events"][0][field], "{field}");
    }
}

/// As a forger would: the manifest says what the file is now.
fn hash_again(dir: &Path, table: &str, lines: Option<&Value>) {
    let mut manifest = manifest(dir);
    let listed = manifest.get_mut(table).unwrap().get_mut(0).unwrap();
    let bytes = fs::read(dir.join(listed["file"].as_str().unwrap())).unwrap();
    listed["sha256"] = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    if let Some(lines) = lines {
        listed["lines"] = lines.clone();
    }
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
}

#[tokio::test]
async fn what_is_damaged_or_of_another_export_is_found() {
    let (fleet, position, _) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let (whole, part) = (dir.path().join("whole"), dir.path().join("part"));
    well(&export(&fleet, &whole, &["--format", "parquet"]).await);
    well(&export(&fleet, &part, &["--format", "parquet", "--to", &(position + 9).to_string()]).await);
    let said = check(&whole).await;
    assert!(said.out.contains("each posting follows from the events"), "{}", said.out);
    let wrong = async |dir: &Path, words: &str| {
        let said = check(dir).await;
        assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{words}: {}", said.out);
        assert!(said.out.contains(words) && said.out.contains("check: NOT ok"), "{words}: {}", said.out);
    };
    for table in ["events", "postings"] {
        let name = manifest(&whole)[table][0]["file"].as_str().unwrap().to_owned();
        let bytes = fs::read(whole.join(&name)).unwrap();
        let half = bytes.len() / 2;
        let mut flipped = bytes.clone();
        flipped[half] ^= 1;
        for (damage, damaged) in [("flipped", &flipped[..]), ("truncated", &bytes[..half]), ("empty", &[])] {
            let copied = copy(&whole, dir.path().join(format!("{table}-{damage}")));
            fs::write(copied.join(&name), damaged).unwrap();
            wrong(&copied, &format!("{name}: its SHA-256 is not the one in the manifest: it was changed")).await;
            if damage != "flipped" {
                hash_again(&copied, table, None);
                wrong(&copied, &format!("{name}: it cannot be read as Parquet")).await;
            }
        }
        // A table of an earlier day in the place of this one.
        let copied = copy(&whole, dir.path().join(format!("{table}-earlier")));
        fs::copy(part.join(&name), copied.join(&name)).unwrap();
        hash_again(&copied, table, Some(&manifest(&part)[table][0]["lines"]));
        wrong(&copied, if table == "events" { "of other times than the manifest says" } else { "do not follow" }).await;
        // And one of the other kind.
        let other = if table == "events" { "postings" } else { "events" };
        let other = manifest(&whole)[other][0]["file"].as_str().unwrap().to_owned();
        let copied = copy(&whole, dir.path().join(format!("{table}-other")));
        fs::copy(whole.join(&other), copied.join(&name)).unwrap();
        hash_again(&copied, table, None);
        wrong(&copied, &format!("{name}: its columns are not those that it should have")).await;
        fs::remove_file(copied.join(&name)).unwrap();
        let said = check(&copied).await;
        assert_eq!((said.code, said.err.contains(&name)), (Some(3), true), "{}", said.err);
    }
}

/// Its bytes, into a file.
async fn replay_to(fleet: &TestFleet, file: &Path, args: &[&str]) -> Said {
    let url = fleet.address.database_url.as_str();
    let output =
        Command::new(holdfast()).arg("replay").args(args).args(["--database-url", url]).output().await.unwrap();
    fs::write(file, &output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Said { code: output.status.code(), out: String::new(), err }
}

#[tokio::test]
async fn every_answer_is_a_table_that_says_the_same_as_csv_and_shows_whether_it_was_changed() {
    let (fleet, _, _) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let (table, csv) = (dir.path().join("answer.parquet"), dir.path().join("answer.csv"));
    let differs = format!(
        "import csv, duckdb, sys; duckdb.sql(\"set timezone = 'UTC'\"); table = duckdb.sql(\"select columns(*)::varchar from '{}'\"); \
         types = duckdb.sql(\"from '{}'\").types; times = [str(of) == 'TIMESTAMP WITH TIME ZONE' for of in types]; \
         lines = list(csv.reader(line for line in open('{}', newline='') if not line.startswith('# '))); names = lines.pop(0); \
         places = [table.columns.index(name) for name in names]; rows = [[row[place] or '' for place in places] for row in table.fetchall()]; \
         time = lambda text: text.replace('T', ' ').replace('Z', '+00'); \
         wanted = [[time(value) if times[place] else value for place, value in zip(places, line)] for line in lines]; \
         assert rows == wanted and rows, (names, rows, wanted); \
         assert all(str(types[place]) == 'BIGINT' for place, name in zip(places, names) if name.endswith(('_minor', '_delta', 'held', 'position'))), types",
        table.display(),
        table.display(),
        csv.display()
    );
    for kind in ["stock", "shares", "orders", "payments", "coupons", "wallets"] {
        for more in [&[][..], &["--movements"]] {
            let args = [&[kind], more].concat();
            well(&replay_to(&fleet, &csv, &[&args[..], &["--format", "csv"]].concat()).await);
            well(&replay_to(&fleet, &table, &[&args[..], &["--format", "parquet"]].concat()).await);
            let output = Command::new(python()).args(["-c", &differs]).output().await.unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            let said = check(&table).await;
            well(&said);
            assert!(said.out.contains(&format!("is said again by: holdfast replay {kind}")), "{}", said.out);
        }
    }
    // As the guide says it can be done without this program.
    let bytes = fs::read(&table).unwrap();
    let name = b"answer_sha256";
    let at = bytes.windows(name.len()).rposition(|part| part == name).unwrap() + name.len() + 2;
    let zeros = [&bytes[..at], &[b'0'; 64], &bytes[at + 64..]].concat();
    let sha256: String = Sha256::digest(&zeros).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bytes[at..at + 64], *sha256.as_bytes());
    for place in [bytes.len() / 3, at, bytes.len() - 12] {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        fs::write(&table, changed).unwrap();
        let said = check(&table).await;
        assert_ne!(said.code, Some(0), "{place}: {}", said.out);
    }
    fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
    let said = check(&table).await;
    assert_eq!((said.code, said.err.contains("does not end as a Parquet file does")), (Some(3), true), "{}", said.err);
}

#[tokio::test]
async fn a_table_goes_to_a_file_that_is_not_there_yet_and_never_to_a_terminal() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stock.csv");
    let to_file = ["stock", "--format", "csv", "--out", file.to_str().unwrap()];
    let said = command("replay", Some(&fleet), &to_file).await;
    well(&said);
    assert_eq!((said.out.as_str(), fs::read_dir(dir.path()).unwrap().count()), ("", 1));
    well(&check(&file).await);
    let said = command("replay", Some(&fleet), &to_file).await;
    assert_eq!((said.code, said.err.contains("is there already")), (Some(3), true), "{}", said.err);
    let nowhere = dir.path().join("no/such/place");
    let said = command("replay", Some(&fleet), &["stock", "--out", nowhere.to_str().unwrap()]).await;
    assert_eq!((said.code, said.err.contains("no/such")), (Some(3), true), "{}", said.err);

    let terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let args = ["replay", "stock", "--format", "parquet", "--database-url", &fleet.address.database_url];
    let output = Command::new(python()).args(["-c", terminal, holdfast().to_str().unwrap()]).args(args).output().await;
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!((output.status.code(), said.contains("Parquet is no text for a terminal")), (Some(2), true), "{said}");
}
