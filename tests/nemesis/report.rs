//! What came of a run: a table for the terminal, and a page with the curve of paid orders and the faults drawn on it.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::{harm::Kind, shop::Second};

/// One fault.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    /// Since the run began.
    pub(crate) begun: Duration,
    pub(crate) undone: Duration,
    /// From then until every order that was sent before then, and is to be paid at once, had come to its end.
    pub(crate) recovery: Option<Duration>,
}

/// All that is known of a run.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) seed: u64,
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) lasted: Duration,
    pub(crate) rounds: u64,
    pub(crate) orders: u64,
    pub(crate) turned_away: u64,
    pub(crate) commands_compared: u64,
    pub(crate) payments_compared: u64,
    pub(crate) events: i64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) impossible: Vec<Kind>,
    pub(crate) violations: Vec<String>,
    pub(crate) curve: Vec<Second>,
}

/// How long recoveries took.
struct Recoveries {
    count: usize,
    half: Duration,
    nine_of_ten: Duration,
    longest: Duration,
}

impl Recoveries {
    fn of<'a>(faults: impl Iterator<Item = &'a Fault>) -> Option<Self> {
        let mut times: Vec<Duration> = faults.filter_map(|fault| fault.recovery).collect();
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
        Some(Self { count: times.len(), half: at(50)?, nine_of_ten: at(90)?, longest: *times.last()? })
    }

    fn cells(&self) -> [String; 4] {
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        [self.count.to_string(), seconds(self.half), seconds(self.nine_of_ten), seconds(self.longest)]
    }
}

const COLUMNS: [&str; 5] = ["fault", "times", "recovery, half", "nine of ten", "longest"];

impl Report {
    fn rows(&self) -> Vec<[String; 5]> {
        let mut by_kind = BTreeMap::<Kind, Vec<&Fault>>::new();
        for fault in &self.faults {
            by_kind.entry(fault.kind).or_default().push(fault);
        }
        let row = |name: &str, recoveries: Recoveries| {
            let [count, half, nine, longest] = recoveries.cells();
            [name.to_owned(), count, half, nine, longest]
        };
        let kinds =
            by_kind.iter().filter_map(|(kind, faults)| Some(row(kind.name(), Recoveries::of(faults.iter().copied())?)));
        let all = Recoveries::of(self.faults.iter()).map(|all| row("all", all));
        kinds.chain(all).collect()
    }

    fn kinds(&self) -> usize {
        let mut kinds: Vec<Kind> = self.faults.iter().map(|fault| fault.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.len()
    }

    fn summary(&self) -> String {
        let mut text = format!(
            "{} faults of {} kinds in {} rounds and {:.0} s; {} orders, {} events; {} answers, and the money of {} payments, \
             compared with the truth; {} violations.",
            self.faults.len(),
            self.kinds(),
            self.rounds,
            self.lasted.as_secs_f64(),
            self.orders,
            self.events,
            self.commands_compared,
            self.payments_compared,
            self.violations.len(),
        );
        if self.turned_away > 0 {
            write!(text, " {} buyers were turned away, for too many waited.", self.turned_away).ok();
        }
        if !self.impossible.is_empty() {
            let names: Vec<&str> = self.impossible.iter().map(|kind| kind.name()).collect();
            write!(text, " Not possible here, for it takes root: {}.", names.join("; ")).ok();
        }
        text
    }

    /// For the terminal.
    pub(crate) fn text(&self) -> String {
        let line = |[name, count, half, nine, longest]: [&str; 5]| {
            format!("{name:<44}{count:>6}{half:>16}{nine:>14}{longest:>10}\n")
        };
        let mut text = line(COLUMNS);
        text.extend(self.rows().iter().map(|row| line([&row[0], &row[1], &row[2], &row[3], &row[4]])));
        text.push('\n');
        text.push_str(&self.summary());
        for violation in &self.violations {
            text.push_str("\nviolation: ");
            text.push_str(violation);
        }
        text
    }

    /// A page that needs nothing else.
    pub(crate) fn html(&self) -> String {
        let cells = |cells: &[String], tag: &str| -> String {
            cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect()
        };
        let head = cells(&COLUMNS.map(str::to_owned), "th");
        let rows: String = self.rows().iter().map(|row| format!("<tr>{}</tr>\n", cells(row, "td"))).collect();
        let faults: String = self
            .faults
            .iter()
            .map(|fault| {
                let recovery = fault.recovery.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
                let second = |time: Duration| format!("{:.1}", time.as_secs_f64());
                let what = [
                    second(fault.begun),
                    second(fault.undone),
                    fault.kind.name().to_owned(),
                    fault.what.clone(),
                    recovery,
                ];
                format!("<tr>{}</tr>\n", cells(&what, "td"))
            })
            .collect();
        let violations: String =
            self.violations.iter().map(|violation| format!("<p class=bad>{}</p>\n", escaped(violation))).collect();
        format!(
            "<!doctype html>
<html lang=en><meta charset=utf-8><title>Holdfast: faults, seed {seed}</title>
<style>{STYLE}</style>
<h1>Faults on a real fleet</h1>
<p>{summary}</p>
<p>{date}; {machine}. Again: <code>{command}</code></p>
{violations}{curve}
<p>Orders paid (dark) and commands answered (light) in each second. Bands are faults, from their beginning until they are undone; point at
one to read which. Gaps without orders are between rounds: everything settles, the log is folded and compared with every row, and every answer
with what is on record.</p>
<h2>Recovery</h2>
<p>From the moment a fault is undone until every order sent before it, and to be paid at once, has come to its end.</p>
<table><tr>{head}</tr>
{rows}</table>
<h2>Every fault</h2>
<table><tr><th>begun, s</th><th>undone, s</th><th>fault</th><th>what</th><th>recovery</th></tr>
{faults}</table>
</html>
",
            seed = self.seed,
            summary = escaped(&self.summary()),
            date = self.date,
            machine = escaped(&self.machine),
            command = escaped(&self.command),
            curve = self.drawing(),
        )
    }

    /// The curve, in lines of five minutes.
    fn drawing(&self) -> String {
        let highest = self.curve.iter().map(|second| second.paid.max(second.answered)).max().unwrap_or(1).max(1);
        self.curve.chunks(LINE_SECONDS).enumerate().map(|(line, seconds)| self.line(line, seconds, highest)).collect()
    }

    fn line(&self, line: usize, seconds: &[Second], highest: u64) -> String {
        let begin = (line * LINE_SECONDS) as f64;
        let mut bands = String::new();
        for fault in &self.faults {
            let from = (fault.begun.as_secs_f64() - begin).max(0.0) * SECOND_WIDTH;
            let to = (fault.undone.as_secs_f64() - begin).min(LINE_SECONDS as f64) * SECOND_WIDTH;
            if to > from {
                let what = escaped(&format!("{} {}", fault.kind.name(), fault.what));
                write!(
                    bands,
                    "<rect x={from:.1} y=0 width={:.1} height={LINE_HEIGHT}><title>{what}</title></rect>",
                    (to - from).max(1.0)
                )
                .ok();
            }
        }
        let curve = |count: fn(&Second) -> u64| -> String {
            let at = |(second, seen): (usize, &Second)| {
                let height = LINE_HEIGHT - count(seen) as f64 / highest as f64 * (LINE_HEIGHT - 10.0);
                format!("{:.0},{height:.1} ", second as f64 * SECOND_WIDTH)
            };
            seconds.iter().enumerate().map(at).collect()
        };
        format!(
            "<svg viewBox=\"0 0 {} {LINE_HEIGHT}\"><g class=fault>{bands}</g><polyline class=answered points=\"{}\"/>\
             <polyline class=paid points=\"{}\"/><text x=4 y=14>{highest}/s, from {:.0} s on</text></svg>\n",
            LINE_SECONDS as f64 * SECOND_WIDTH,
            curve(|second| second.answered),
            curve(|second| second.paid),
            begin,
        )
    }
}

const LINE_SECONDS: usize = 300;
const SECOND_WIDTH: f64 = 4.0;
const LINE_HEIGHT: f64 = 140.0;

const STYLE: &str = "body{font:15px/1.5 system-ui;max-width:1240px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:left;border-bottom:1px solid #ddd}\
svg{width:100%;background:#fafafa;margin:.4em 0;border:1px solid #ddd}polyline{fill:none;stroke-width:1.2}\
.paid{stroke:#123}.answered{stroke:#9bd}.fault rect{fill:#d33;fill-opacity:.25}.bad{color:#b00;font-weight:bold}\
text{font-size:12px;fill:#555}@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}svg{background:#222}\
.paid{stroke:#eee}.answered{stroke:#579}text{fill:#aaa}}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Fault, Kind, Recoveries};

    fn fault(recovery: Option<u64>) -> Fault {
        let recovery = recovery.map(Duration::from_secs);
        let (begun, undone) = (Duration::ZERO, Duration::from_secs(1));
        Fault { kind: Kind::KillWorker, what: String::new(), begun, undone, recovery }
    }

    #[test]
    fn recoveries_are_told_by_their_half_their_ninth_tenth_and_their_longest() {
        let faults: Vec<Fault> = (1..=10).rev().map(|seconds| fault(Some(seconds))).collect();
        let told = Recoveries::of(faults.iter()).map(|recoveries| recoveries.cells());
        assert_eq!(told, Some(["10", "6.0 s", "10.0 s", "10.0 s"].map(str::to_owned)));
        assert!(Recoveries::of([fault(None)].iter()).is_none());
    }
}
