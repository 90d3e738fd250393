//! `holdfast replay --shard` and `holdfast merge`: parts are what one pass says, and what is no set of parts is refused by name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdfast_tests::{Order, TestFleet, is_accepted, money, repo_root};
use proto::payments::v1::{CouponOffer, TopUpWallet};
use serde_json::Value;

use crate::{
    export::well,
    replay::{Said, command, shop},
};

async fn merge(args: &[&str]) -> Said {
    command("merge", None, args).await
}

/// The parts of an answer, each in its file.
async fn parts(fleet: &TestFleet, dir: &Path, of: u32, args: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for index in 0..of {
        let file = dir.join(format!("{}-{index}-{of}.jsonl", args.concat()));
        let (shard, path) = (format!("{index}/{of}"), file.to_str().unwrap());
        well(&command("replay", Some(fleet), &[args, &["--shard", &shard, "--out", path]].concat()).await);
        files.push(file);
    }
    files
}

fn texts(files: &[PathBuf]) -> Vec<&str> {
    files.iter().map(|file| file.to_str().unwrap()).collect()
}

/// An answer without what no two of them have in common: when it was given, and its hash.
fn said(text: &str) -> Vec<Value> {
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let evidence = lines.first_mut().unwrap().get_mut("evidence").unwrap().as_object_mut().unwrap();
    evidence.remove("answer_sha256").unwrap();
    evidence.get_mut("database").unwrap().as_object_mut().unwrap().remove("at").unwrap();
    lines
}

/// A shop with several of everything.
async fn busy_shop() -> TestFleet {
    let (fleet, _, _) = shop().await;
    for number in 2..=9 {
        let (sku, code, customer) = (format!("MUG-{number:02}"), format!("TEN-{number}"), format!("ada-{number}"));
        fleet.stock(&sku, 50).await.unwrap();
        let round = fleet.round(&code, 10).await.unwrap();
        fleet.coupon(&code, CouponOffer { basis_points: 1_000, ..CouponOffer::default() }).await.unwrap();
        let amount = Some(money(5_000));
        let top_up =
            TopUpWallet { customer_id: customer.clone(), amount, actor: "till".to_owned(), note: String::new() };
        assert!(is_accepted(&fleet.send(&customer, &top_up).await.unwrap()));
        let order = Order::new(number).line("MUG-01", 1).line(&sku, 2).shares(round, 1);
        let order = order.by(&customer).pays("wallet").coupon(&code);
        assert!(is_accepted(&fleet.place(&order).await.unwrap()));
        fleet.until_status(&order, "paid").await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    fleet
}

#[tokio::test]
async fn sixteen_parts_are_one_part_and_that_is_what_one_pass_says_of_every_kind() {
    let fleet = busy_shop().await;
    let dir = tempfile::tempdir().unwrap();
    let at = fleet.number("select max(position) from log.events").await.unwrap().to_string();
    for kind in ["stock", "shares", "orders", "payments", "coupons", "wallets"] {
        let args = [kind, "--at", &at, "--movements"];
        let whole = command("replay", Some(&fleet), &[&args[..], &["--format", "jsonl"]].concat()).await;
        well(&whole);
        for of in [1, 16] {
            let files = parts(&fleet, dir.path(), of, &args).await;
            let mut files = texts(&files);
            files.reverse();
            let merged = merge(&[&files[..], &["--format", "jsonl"]].concat()).await;
            well(&merged);
            assert_eq!(said(&merged.out), said(&whole.out), "{kind} of {of}");
            let table = merge(&files).await;
            well(&table);
            let lines =
                |text: &str| text.lines().filter(|line| !line.starts_with("# ")).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(lines(&table.out), lines(&command("replay", Some(&fleet), &args).await.out), "{kind} of {of}");
        }
    }
    // And that is what stands in the tables: there are as many rows, and the log proves them.
    for (kind, count) in [
        ("stock", "select count(*) from inventory.stock"),
        ("orders", "select count(*) from orders.orders"),
        ("payments", "select count(*) from payments.payments"),
    ] {
        let files = parts(&fleet, dir.path(), 3, &[kind, "--at", &at]).await;
        let merged = merge(&[&texts(&files)[..], &["--json"]].concat()).await;
        let rows = fleet.number(count).await.unwrap();
        assert!(rows > 8 && said(&merged.out)[0]["evidence"]["rows"] == rows, "{kind}: {rows}");
    }
    fleet.settle_and_verify().await.unwrap();
}

/// Changes a text of an answer, and its hash with it, as a forger would.
fn forge(file: &Path, to: PathBuf, (old, new): (&str, &str)) -> PathBuf {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(old), "{old} is not in {text}");
    let text = text.replacen(old, new, 1);
    let (before, rest) = text.split_once(",\"answer_sha256\":\"").unwrap();
    let (_, behind) = rest.split_once('"').unwrap();
    let mut seal = audit::seal::Seal::default();
    seal.update(before);
    seal.update(behind);
    fs::write(&to, format!("{before}{}{behind}", seal.member())).unwrap();
    to
}

#[tokio::test]
async fn what_is_no_set_of_parts_is_refused_and_named() {
    let (fleet, position, _) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let (at, earlier) = (position.to_string(), (position - 1).to_string());
    let stock = parts(&fleet, dir.path(), 2, &["stock", "--at", &at]).await;
    let [first, second] = [0, 1].map(|index| stock[index].to_str().unwrap());
    let before = parts(&fleet, dir.path(), 2, &["stock", "--at", &earlier]).await;
    let orders = parts(&fleet, dir.path(), 2, &["orders", "--at", &at]).await;
    let thirds = parts(&fleet, dir.path(), 3, &["stock", "--at", &at]).await;
    let moved = parts(&fleet, dir.path(), 2, &["stock", "--at", &at, "--movements"]).await;
    let path = |name: &str| dir.path().join(name);
    let whole = path("whole.jsonl");
    let args = ["stock", "--format", "jsonl", "--out", whole.to_str().unwrap()];
    well(&command("replay", Some(&fleet), &args).await);
    let text = fs::read_to_string(second).unwrap();
    let (changed, cut_off, rubbish) = (path("changed"), path("cut-off"), path("rubbish"));
    fs::write(&changed, text.replacen("\"rows\":", "\"rows\":1", 1)).unwrap();
    fs::write(&cut_off, &text[..text.len() / 2]).unwrap();
    fs::write(&rubbish, "sku,on_hand\n").unwrap();
    let evidence: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let installation = evidence["evidence"]["database"]["installation"].as_str().unwrap();
    let other = forge(&stock[1], path("other"), (installation, "00000000-0000-4000-8000-000000000000"));
    let later = forge(&stock[1], path("later"), ("\"program\":\"holdfast ", "\"program\":\"holdfast 9"));
    let empty = path("empty");
    fs::create_dir(&empty).unwrap();
    for (files, words) in [
        (vec![first], "shard 1/2 is missing: name the files of all 2"),
        (vec![first, first, second], "shard 0/2 is there twice"),
        (
            vec![first, before[1].to_str().unwrap()],
            &format!("is of another cut than {first}: position {earlier}, and not"),
        ),
        (vec![first, orders[1].to_str().unwrap()], "is of another kind than"),
        (vec![first, moved[1].to_str().unwrap()], "is of another answer than"),
        (vec![first, thirds[1].to_str().unwrap()], "is of another number of shards than"),
        (vec![thirds[2].to_str().unwrap()], "shard 0/3 is missing, and 1 more"),
        (vec![first, other.to_str().unwrap()], "is of another installation than"),
        (vec![first, later.to_str().unwrap()], "another release may fold otherwise"),
        (vec![first, whole.to_str().unwrap()], "is no answer of a shard, but of all rows"),
        (vec![first, changed.to_str().unwrap()], "is not as it was printed"),
        (vec![first, cut_off.to_str().unwrap()], "cut-off"),
        (vec![first, rubbish.to_str().unwrap()], "is no answer of a shard: make it with"),
        (vec![first, "/no/such/file"], "reading /no/such/file"),
        (vec![empty.to_str().unwrap()], "it has no file that ends in .jsonl"),
    ] {
        let said = merge(&files).await;
        assert_eq!((said.code, said.out.as_str()), (Some(3), ""), "{words}: {}", said.err);
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert_eq!(merge(&[]).await.code, Some(2));
    for (args, words) in [
        (&["--shard", "2/2", "--at", "1"][..], "of 2 shards the last is 1/2"),
        (&["--shard", "0/2"], "--at"),
        (&["--shard", "0/2", "--at", "1", "--key", "MUG"], "--key"),
        (&["--shard", "0/2", "--at", "1", "--status", "paid"], "--status"),
        (&["--shard", "0/2", "--at", "1", "--format", "csv"], "a shard is written as jsonl"),
        (&["--shard", "0/2", "--at", "1", "--json"], "a shard is written as jsonl"),
    ] {
        let said = command("replay", None, &[&["stock"], args].concat()).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
}

#[tokio::test]
async fn every_command_of_the_guide_makes_a_part_or_one_of_all() {
    let (fleet, position, _) = shop().await;
    let dir = tempfile::tempdir().unwrap();
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## In parts, on many machines\n").unwrap();
    let (commands, _) = rest.split_once("```sh\n").unwrap().1.split_once("```").unwrap();
    for line in commands.lines() {
        let words = line.strip_prefix("./justw holdfast ").unwrap().replace("$DIR", dir.path().to_str().unwrap());
        let words = words.replace("$POSITION", &position.to_string());
        let (name, args) = words.split_once(' ').unwrap();
        well(&command(name, Some(&fleet), &args.split_whitespace().collect::<Vec<_>>()).await);
    }
    assert_eq!(commands.lines().count(), 4);
    assert!(dir.path().join("orders.parquet").exists());
}

/// What a cluster runs is a command: it fails for want of a volume, and not for its words.
#[tokio::test]
async fn the_jobs_for_kubernetes_say_what_the_command_understands() {
    for (job, place) in [("shards", "making a file in /answer"), ("merge", "/answer")] {
        let file = repo_root().join(format!("deploy/k8s/replay/{job}/job.yaml"));
        let text = fs::read_to_string(file).unwrap().replace("$(JOB_COMPLETION_INDEX)", "15");
        let (_, args) = text.split_once("args:").unwrap();
        let (args, _) = args.split_once("          env:").or_else(|| args.split_once("          resources:")).unwrap();
        let words = args.split(['\n', ',', '[', ']']).map(|word| word.trim().trim_start_matches("- "));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let ["holdfast", name, args @ ..] = &words[..] else { panic!("{words:?}") };
        let said = command(name, None, args).await;
        assert_eq!(said.code, Some(3), "{words:?}: {}", said.err);
        assert!(said.err.contains(place), "{words:?}: {}", said.err);
    }
}
