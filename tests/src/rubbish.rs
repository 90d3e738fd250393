//! Rubbish thrown at a real fleet by a program of others (`tests/clients/rubbish.py`), good commands beside it, and what came of both.

use std::{collections::BTreeMap, fs, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use audit::{audit, quiescence::until_settled};
use platform::clock;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{TestFleet, python, repo_root};

/// How often to look at the workers' memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the good commands buy.
const SKU: &str = "MUG-01";

/// How long, how much, and of what.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long to throw.
    pub seconds: u64,
    /// Messages of rubbish a second.
    pub rate: u64,
    /// Good commands a second, at each service.
    pub good_rate: u64,
    /// Kinds of rubbish to leave out, as the script names them.
    pub without: Vec<String>,
    /// Where chance begins.
    pub seed: u64,
    /// How long to wait, when all is sent, for the last answers, and then until nothing is under way.
    pub patience: Duration,
}

/// Good commands of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Those that were answered.
    pub answered: u64,
    /// Those that were not, or could not even be sent because what comes before them did not come.
    pub missing: u64,
    /// How long half of the answers took at most, 99 of 100, and all; in milliseconds.
    pub waited_ms: [u64; 3],
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// Messages of rubbish.
    pub sent: u64,
    /// Answers to them.
    pub answered: u64,
    /// Good commands, by service.
    pub good: BTreeMap<String, Service>,
    /// Good commands that were refused; some of them.
    pub refused: Vec<Value>,
    /// The most that each worker had resident, in MiB.
    pub resident_max_mib: BTreeMap<String, u64>,
    /// Messages that nobody can be answered for.
    pub dead_letters: i64,
    /// Nothing was under way any more in time.
    pub settled: Result<Duration, String>,
    /// What `verify` found.
    pub findings: Vec<String>,
}

impl Report {
    /// What was not as it must be, whatever the machine.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (service, good) in &self.good {
            if good.missing > 0 {
                faults.push(format!("{service}: {} good commands were not answered", good.missing));
            }
            if good.answered == 0 {
                faults.push(format!("{service}: no good command was answered"));
            }
        }
        faults.extend(self.refused.iter().map(|answer| format!("a good command was refused: {answer}")));
        faults.extend(self.settled.as_ref().err().cloned());
        faults.extend(self.findings.iter().map(|finding| format!("verify: {finding}")));
        faults
    }

    /// What took more time or memory than these.
    #[must_use]
    pub fn excesses(&self, answer_max: Duration, resident_max_mib: u64) -> Vec<String> {
        let longest = |good: &Service| good.waited_ms.into_iter().max().unwrap_or(0);
        let late = self.good.iter().filter(|(_, good)| Duration::from_millis(longest(good)) > answer_max);
        let late =
            late.map(|(service, good)| format!("{service}: a good command was answered after {} ms", longest(good)));
        let fat = self.resident_max_mib.iter().filter(|(_, mib)| **mib > resident_max_mib);
        let fat = fat.map(|(service, mib)| format!("{service} had {mib} MiB"));
        late.chain(fat).collect()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("rubbish: {} sent, {} answered\n", self.sent, self.answered);
        for (service, Service { answered, missing, waited_ms: [half, most, all] }) in &self.good {
            let mib = self.resident_max_mib.get(service).copied().unwrap_or(0);
            text.push_str(&format!(
                "{service:<10} {answered:>6} good commands answered, {missing} not; after p50 {half} ms, p99 {most} ms, \
                 max {all} ms; {mib} MiB at most\n"
            ));
        }
        let settled = match &self.settled {
            Ok(after) => format!("settled after {:.1} s", after.as_secs_f64()),
            Err(why) => why.clone(),
        };
        let verdict = if self.findings.is_empty() { "ok" } else { "NOT OK" };
        text.push_str(&format!("{settled}; dead letters: {}; verify: {verdict}\n", self.dead_letters));
        text
    }
}

/// Throws rubbish at a fleet.
pub async fn run(fleet: &TestFleet, options: &Options) -> Result<Report> {
    fleet.stock(SKU, 1_000_000).await?;
    let mut script = begin(&fleet.address.broker_url, options)?;
    let mut pids = BTreeMap::new();
    for service in proto::SERVICES {
        pids.insert(service.to_owned(), fleet.processes().await.worker(service, 0).context("no such worker")?.pid());
    }
    let mut resident_max_mib = BTreeMap::new();
    while script.try_wait()?.is_none() {
        for (service, pid) in &pids {
            let most = resident_max_mib.entry(service.clone()).or_insert(0);
            *most = resident_mib(*pid).max(*most);
        }
        clock::sleep(LOOK_EVERY).await;
    }
    let output = script.wait_with_output().await?;
    ensure!(output.status.success(), "rubbish.py failed: {}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).context("reading what rubbish.py counted")?;
    let begun = clock::now();
    let settled = match until_settled(&fleet.address.database_url, options.patience).await {
        Ok(_) => Ok(clock::now().since(begun)),
        Err(error) => Err(format!("not settled: {error:#}")),
    };
    let verdict = audit(&fleet.address.database_url).await?;
    let good = told.get("good").and_then(Value::as_object).context("no figures of good commands")?;
    Ok(Report {
        sent: number(&told, "/rubbish/sent"),
        answered: number(&told, "/rubbish/answered"),
        good: good.iter().map(|(service, told)| (service.clone(), service_of(told))).collect(),
        refused: told.get("refused").and_then(Value::as_array).cloned().unwrap_or_default(),
        resident_max_mib,
        dead_letters: fleet.number(DEAD_LETTERS).await?,
        settled,
        findings: verdict.findings.iter().map(|finding| format!("{finding:?}")).collect(),
    })
}

/// Dead letters of all services.
const DEAD_LETTERS: &str =
    "select (select count(*) from orders.dead_letters) + (select count(*) from inventory.dead_letters)
    + (select count(*) from rounds.dead_letters) + (select count(*) from payments.dead_letters)";

fn begin(broker_url: &str, options: &Options) -> Result<Child> {
    let mut command = Command::new(python());
    command.arg("-B").arg(repo_root().join("tests/clients/rubbish.py")).arg(broker_url);
    let numbers = [
        ("--seconds", options.seconds),
        ("--rate", options.rate),
        ("--good-rate", options.good_rate),
        ("--seed", options.seed),
        ("--patience", options.patience.as_secs()),
    ];
    for (name, value) in numbers {
        command.args([name, &value.to_string()]);
    }
    for kind in &options.without {
        command.args(["--without", kind]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.spawn().context("starting rubbish.py")
}

fn service_of(told: &Value) -> Service {
    Service {
        answered: number(told, "/answered"),
        missing: number(told, "/missing"),
        waited_ms: ["/p50_ms", "/p99_ms", "/max_ms"].map(|name| number(told, name)),
    }
}

fn number(told: &Value, name: &str) -> u64 {
    told.pointer(name).and_then(Value::as_u64).unwrap_or(0)
}

/// What a process has in memory now. 0 if it has ended.
fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
