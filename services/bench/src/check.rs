//! The guard of the hot path: short measurements, compared with the ratios that were recorded. Ratios to limits of the same run
//! only, for absolute figures say more about the machine than about the code.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, Result};
use platform::print::{self, Cell, Look, Paint, Table};
use serde::{Deserialize, Serialize};

use super::{Args, Report, Scenario, measure_one};

/// What was recorded: thousandths of each limit, by scenario and limit.
const RECORDED: &str = include_str!("recorded.json");

/// A ratio may fall so far, in percent of the recorded one.
const AT_LEAST_PERCENT: u64 = 80;

/// A busy machine spoils single runs, and always for the worse: the best of so many counts.
const TRIES: usize = 3;

/// Scenarios that are quick, and tell of all that is hot; each with its orders.
const SCENARIOS: [(Scenario, Option<u64>); 5] = [
    (Scenario::Lifecycle, None),
    (Scenario::Hot, None),
    (Scenario::Expiry, Some(20_000)),
    (Scenario::Refund, Some(15_000)),
    (Scenario::Replay, None),
];

const SECONDS: u64 = 10;

/// Thousandths of each limit that were reached, by scenario and limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Ratios(BTreeMap<String, BTreeMap<String, u64>>);

/// Measures all and compares. With --json the ratios are printed as they can be recorded.
pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let recorded: Ratios = serde_json::from_str(RECORDED).context("reading recorded.json")?;
    let (mut best, mut verified) = (Ratios::default(), true);
    for (scenario, orders) in SCENARIOS {
        for _try in 0..TRIES {
            eprintln!("Measuring {}.", scenario.as_str());
            let report = measure_one(&Args { scenario, orders, seconds: SECONDS, ..args.clone() }).await?;
            verified &= report.is_well();
            best.take(&report);
            if best.fallen(&recorded, scenario.as_str()).is_empty() {
                break;
            }
        }
    }
    let fallen: Vec<_> = SCENARIOS.iter().flat_map(|(scenario, _)| best.fallen(&recorded, scenario.as_str())).collect();
    if args.json {
        print::json(&best)?;
    } else {
        print::out(&best.text(&recorded))?;
    }
    for what in &fallen {
        eprintln!("bench: {what}");
    }
    if !verified {
        eprintln!("holdfast: an audit found something; run the scenarios one by one");
    }
    Ok(if verified && fallen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Ratios {
    /// Keeps the better of what there is and what was measured now.
    fn take(&mut self, report: &Report) {
        let of = self.0.entry(report.scenario.to_owned()).or_default();
        for limit in &report.limits {
            let best = of.entry(limit.limit.clone()).or_default();
            *best = limit.ratio.0.max(*best);
        }
    }

    /// What fell too far under what was recorded, in words.
    fn fallen(&self, recorded: &Self, scenario: &str) -> Vec<String> {
        let mut fallen = Vec::new();
        for (limit, before) in recorded.0.get(scenario).into_iter().flatten() {
            let now = self.of(scenario, limit);
            if now * 100 < before * AT_LEAST_PERCENT {
                fallen.push(format!("{scenario} fell from {before} to {now} thousandths of its limit ({limit})"));
            }
        }
        fallen
    }

    fn of(&self, scenario: &str, limit: &str) -> u64 {
        self.0.get(scenario).and_then(|of| of.get(limit)).copied().unwrap_or(0)
    }

    fn text(&self, recorded: &Self) -> String {
        let paint = Paint::for_stdout();
        let mut table = Table::default();
        let title = |text: &str| Cell::new(text, Look::Dim);
        table.row([title("scenario"), title("now"), title("recorded"), title("thousandths of")]);
        for (scenario, of) in &self.0 {
            for (limit, now) in of {
                let before = recorded.of(scenario, limit);
                table.row([scenario.into(), now.into(), before.into(), limit.into()]);
            }
        }
        table.text(paint)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{RECORDED, Ratios, SCENARIOS};

    fn ratios(scenario: &str, limit: &str, ratio: u64) -> Ratios {
        Ratios(BTreeMap::from([(scenario.to_owned(), BTreeMap::from([(limit.to_owned(), ratio)]))]))
    }

    #[test]
    fn what_was_recorded_can_be_read_and_is_measured() {
        let recorded: Ratios = serde_json::from_str(RECORDED).unwrap();
        assert!(recorded.0.keys().all(|name| SCENARIOS.iter().any(|(scenario, _)| scenario.as_str() == name)));
    }

    #[test]
    fn a_fifth_less_is_too_little() {
        let recorded = ratios("hot", "append", 500);
        assert!(ratios("hot", "append", 400).fallen(&recorded, "hot").is_empty());
        assert_eq!(ratios("hot", "append", 399).fallen(&recorded, "hot").len(), 1);
        assert_eq!(Ratios::default().fallen(&recorded, "hot").len(), 1);
    }
}
