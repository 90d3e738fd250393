//! What a measurement says: one JSON object for programs, one table for people.

use std::{cmp::Reverse, collections::BTreeMap};

use platform::print::{Look, Paint};
use serde::Serialize;
use serde_json::{Map, Value, json};
use testbed::load::figures::grouped;

use super::{
    Scenario,
    baseline::plain_app,
    bench_fleet::BenchFleet,
    closed_loop::Window,
    numbers::{Thousandths, Times},
    usage::{self, Usage},
};

/// A raw limit of the same machine, measured in the same run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Baseline {
    /// What it is.
    pub limit: String,
    /// How many a second it does.
    pub per_second: u64,
    /// How much of it was reached.
    pub ratio: Thousandths,
}

impl Baseline {
    /// A limit that was reached so far.
    #[must_use]
    pub(crate) fn new(limit: impl Into<String>, per_second: u64, reached: u64) -> Self {
        Self { limit: limit.into(), per_second, ratio: Thousandths::ratio(reached, per_second) }
    }
}

/// What orders at a steady rate took and cost, and those of a plain app on the same machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AtRate {
    /// Orders a second.
    pub rate: u64,
    /// Half of the orders took no longer.
    pub p50_ms: Option<Thousandths>,
    /// 99 of 100 took no longer.
    pub p99_ms: Option<Thousandths>,
    /// CPU time of the whole machine for one order, that of whoever sends it among it.
    pub cpu_ms_per_order: Thousandths,
    /// The same of the plain app.
    pub plain_app_p50_ms: Option<Thousandths>,
    /// The same of the plain app.
    pub plain_app_p99_ms: Option<Thousandths>,
    /// The same of the plain app.
    pub plain_app_cpu_ms_per_order: Thousandths,
}

impl AtRate {
    /// Both at one rate.
    pub(super) fn new(rate: u64, times: &Times, window: &Window, plain: &plain_app::Done) -> Self {
        Self {
            rate,
            p50_ms: times.p50(),
            p99_ms: times.p99(),
            cpu_ms_per_order: Thousandths::ms_each(window.usage.machine, window.done),
            plain_app_p50_ms: plain.times.p50(),
            plain_app_p99_ms: plain.times.p99(),
            plain_app_cpu_ms_per_order: Thousandths::ms_each(plain.machine_us, plain.orders),
        }
    }

    fn text(&self) -> String {
        let words = |p50: Option<Thousandths>, p99: Option<Thousandths>, cpu| {
            let (p50, p99) = (p50.unwrap_or_default(), p99.unwrap_or_default());
            format!("half within {p50} ms, 99 % {p99} ms, {cpu} ms of CPU an order")
        };
        let ours = words(self.p50_ms, self.p99_ms, self.cpu_ms_per_order);
        let plain = words(self.plain_app_p50_ms, self.plain_app_p99_ms, self.plain_app_cpu_ms_per_order);
        format!("{ours}; a plain app of six transactions an order: {plain}")
    }
}

/// What so many replicas of each worker do, beside what the first number of them does.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WithReplicas {
    /// Of each worker.
    pub replicas: usize,
    /// Orders a second.
    pub per_second: u64,
    /// How much that is of the first number's.
    pub ratio: Thousandths,
    /// What an order cost.
    pub cpu_ms_per_order: Cpu,
}

impl WithReplicas {
    fn text(&self) -> String {
        let Cpu { worker, postgres, nats, .. } = &self.cpu_ms_per_order;
        let (rate, ratio) = (grouped(self.per_second), self.ratio);
        format!(
            "{rate} each second; ratio {ratio}; CPU ms an order: workers {worker}, Postgres {postgres}, NATS {nats}"
        )
    }
}

/// CPU time of one order, in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Cpu {
    /// All workers.
    pub worker: Thousandths,
    /// Postgres with all its backends.
    pub postgres: Thousandths,
    /// nats-server.
    pub nats: Thousandths,
    /// This process, which makes the load.
    pub bench: Thousandths,
}

/// The machine, and how busy it was with other things.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Processors.
    pub cores: usize,
    /// Percent of all processors that other processes used meanwhile: what makes a figure too low.
    pub others_percent: u64,
    /// The load average at the end.
    pub load_average: String,
}

/// What a measurement says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// What was measured.
    pub scenario: &'static str,
    /// How many orders were counted.
    pub orders: u64,
    /// How long that took.
    pub seconds: Thousandths,
    /// How many a second.
    pub per_second: u64,
    /// Half of the orders took no longer.
    pub p50_ms: Option<Thousandths>,
    /// 99 of 100 took no longer.
    pub p99_ms: Option<Thousandths>,
    /// 999 of 1,000 took no longer.
    pub p999_ms: Option<Thousandths>,
    /// What they are of: from what to what.
    pub times: &'static str,
    /// The first of the limits.
    pub limit_per_second: u64,
    /// What that is.
    pub limit: String,
    /// How much of it was reached.
    pub ratio: Thousandths,
    /// What an order cost.
    pub cpu_ms_per_order: Cpu,
    /// The most memory that any worker had.
    pub rss_mib: u64,
    /// "ok", or what the audit found.
    pub verify: String,
    /// All limits.
    pub limits: Vec<Baseline>,
    /// CPU time of one order by worker.
    pub cpu_ms_per_order_of: BTreeMap<String, Thousandths>,
    /// The most memory of each worker.
    pub rss_mib_of: BTreeMap<String, u64>,
    /// From starting the workers to their taking messages in.
    pub ready_ms: Thousandths,
    /// Replicas of each worker.
    pub replicas: usize,
    /// The machine.
    pub machine: Machine,
    /// At steady rates, if that was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<AtRate>,
    /// The same with other numbers of replicas, if that was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with_replicas: Vec<WithReplicas>,
    /// What only this scenario has to say.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Report {
    /// What was measured of a fleet in a span. Limits, times and the audit are still to come.
    pub(super) fn of(scenario: Scenario, bench_fleet: &BenchFleet, span: &Window) -> Self {
        let each = |micros| Thousandths::ms_each(micros, span.done);
        let Usage { workers, postgres, nats, bench, .. } = &span.usage;
        let cores = usage::cores();
        let available = u128::try_from(cores).unwrap_or(1) * span.time.as_micros();
        let others = (u128::from(span.usage.others()) * 100).checked_div(available).unwrap_or(0);
        let rss_mib_of = bench_fleet.resident_max_mib();
        Self {
            scenario: scenario.as_str(),
            orders: span.done,
            seconds: Thousandths::seconds(span.time),
            per_second: span.per_second(),
            p50_ms: None,
            p99_ms: None,
            p999_ms: None,
            times: "",
            limit_per_second: 0,
            limit: String::new(),
            ratio: Thousandths::default(),
            cpu_ms_per_order: Cpu {
                worker: each(span.usage.worker()),
                postgres: each(*postgres),
                nats: each(*nats),
                bench: each(*bench),
            },
            rss_mib: rss_mib_of.values().copied().max().unwrap_or(0),
            verify: String::new(),
            limits: Vec::new(),
            cpu_ms_per_order_of: workers.iter().map(|(service, used)| (service.clone(), each(*used))).collect(),
            rss_mib_of,
            ready_ms: Thousandths::ms(bench_fleet.ready_after),
            replicas: bench_fleet.replicas,
            machine: Machine {
                cores,
                others_percent: u64::try_from(others).unwrap_or(0),
                load_average: usage::load_average(),
            },
            rates: Vec::new(),
            with_replicas: Vec::new(),
            more: span
                .waiting_for_locks
                .map(|waiting| ("sessions_waiting_for_locks".to_owned(), waiting.into()))
                .into_iter()
                .collect(),
        }
    }

    /// Adds how long orders took.
    pub(super) fn with_times(mut self, what: &'static str, times: &Times) -> Self {
        (self.times, self.p50_ms, self.p99_ms, self.p999_ms) = (what, times.p50(), times.p99(), times.p999());
        self
    }

    /// Adds the limits. The first is the one that the scenario is compared with.
    pub(super) fn with_limits(mut self, limits: Vec<Baseline>) -> Self {
        if let Some(first) = limits.first() {
            (self.limit_per_second, self.limit, self.ratio) = (first.per_second, first.limit.clone(), first.ratio);
        }
        self.limits = limits;
        self
    }

    /// Adds what was measured at steady rates.
    pub(super) fn with_rates(mut self, rates: Vec<AtRate>) -> Self {
        self.rates = rates;
        self
    }

    /// Adds what was measured with another number of replicas, and what the audit said of that.
    pub(super) fn beside(mut self, other: Self) -> Self {
        self.with_replicas.push(WithReplicas {
            replicas: other.replicas,
            per_second: other.per_second,
            ratio: Thousandths::ratio(other.per_second, self.per_second),
            cpu_ms_per_order: other.cpu_ms_per_order,
        });
        if self.is_well() {
            self.verify = other.verify;
        }
        self
    }

    /// Adds what the audit said.
    pub(super) fn with_verify(mut self, verify: String) -> Self {
        self.verify = verify;
        self
    }

    /// The middle one of several runs of a scenario, with what all of them came to.
    pub(super) fn middle_of(mut runs: Vec<Self>) -> Option<Self> {
        // Where the rate is given, half the orders' time tells the better from the worse.
        runs.sort_by_key(|run| (run.per_second, Reverse(run.p50_ms)));
        let word = |run: &Self| json!({ "per_second": run.per_second, "ratio": run.ratio, "p50_ms": run.p50_ms });
        let all: Vec<Value> = runs.iter().map(word).collect();
        let verify: Vec<&str> = runs.iter().map(|run| run.verify.as_str()).filter(|verify| *verify != "ok").collect();
        let verify = if verify.is_empty() { "ok".to_owned() } else { verify.join("; ") };
        let middle = runs.len().checked_sub(1)? / 2;
        let report = runs.into_iter().nth(middle)?.with_verify(verify);
        Some(if all.len() > 1 { report.with("runs", all) } else { report })
    }

    /// Adds something that only this scenario has to say.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Whether the audit found nothing.
    #[must_use]
    pub(crate) fn is_well(&self) -> bool {
        self.verify == "ok"
    }

    /// For people.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let paint = Paint::for_stdout();
        let verify = paint.text(&self.verify, if self.is_well() { Look::Good } else { Look::Bad });
        let lines = self.lines().into_iter().chain([("verify".to_owned(), verify)]);
        let lines: String = lines.map(|(name, value)| format!("  {name:<25}{value}\n")).collect();
        format!("{}\n{lines}", paint.text(self.scenario, Look::Bold))
    }

    fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        let mut line = |name: &str, value: String| lines.push((name.to_owned(), value));
        line("orders", format!("{} in {} s", grouped(self.orders), self.seconds));
        line("each second", grouped(self.per_second));
        for Baseline { limit, per_second, ratio } in &self.limits {
            line("limit", format!("{} each second: {limit}; ratio {ratio}", grouped(*per_second)));
        }
        if let (Some(p50), Some(p99), Some(p999)) = (self.p50_ms, self.p99_ms, self.p999_ms) {
            line("time", format!("half within {p50} ms, 99 % {p99} ms, 99.9 % {p999} ms: {}", self.times));
        }
        for at_rate in &self.rates {
            line(&format!("at {} each second", grouped(at_rate.rate)), at_rate.text());
        }
        for with in &self.with_replicas {
            line(&format!("with {} replicas", with.replicas), with.text());
        }
        let Cpu { worker, postgres, nats, bench } = &self.cpu_ms_per_order;
        let all = format!("workers {worker}, Postgres {postgres}, NATS {nats}; the load itself {bench}");
        line("CPU ms an order", all);
        let of = self.cpu_ms_per_order_of.iter().map(|(service, used)| format!("{service} {used}"));
        line("of workers", of.collect::<Vec<_>>().join(", "));
        let of = self.rss_mib_of.iter().map(|(service, most)| format!("{service} {most}"));
        line("MiB at most", of.collect::<Vec<_>>().join(", "));
        line("ready after", format!("{} ms", self.ready_ms));
        let Machine { cores, others_percent, load_average } = &self.machine;
        line("machine", format!("{cores} cores, {others_percent} % used by others, load average {load_average}"));
        for (name, value) in &self.more {
            line(&name.replace('_', " "), value.to_string().replace('"', ""));
        }
        lines
    }
}
