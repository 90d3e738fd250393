//! `holdfast diagnose`: what is wrong with the fleet, the worst first, each with its cause, what shows it again, and what to do.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use audit::diagnosis::{self, LATE, Severity};
use domain::legible;
use platform::{
    clock,
    config::Broker,
    print::{self, Look, Paint, short},
};
use serde_json::Value;

use crate::{
    gateway::{
        Gateway,
        failure::{Failure, USAGE},
    },
    global_args::GlobalArgs,
};

const EXAMPLES: &str = "\
Examples:
  holdfast diagnose
  holdfast diagnose --json | jq '.findings[].code'
  holdfast diagnose --watch --json >> findings.jsonl
  holdfast diagnose --context shop
  holdfast explain HORIZON_HELD

Exit codes: 0 nothing is wrong; 1 there are findings; 2 wrong usage; 3 some or all of it could not be looked at; 4 the token of a context is
not good for it.";

/// Options of `holdfast diagnose`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What is late by less goes on by itself: 30 unless it is said. The gateway always says 30.
    #[arg(long, value_name = "SECONDS")]
    late_seconds: Option<u64>,
    /// Look again every few seconds until Ctrl-C: on a terminal it is painted anew, and with --json each look is a line.
    #[arg(long)]
    watch: bool,
}

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Clears the screen from its first line on: ANSI for "home" and "erase below".
const REPAINT: &str = "\x1b[H\x1b[J";

/// By whom it is looked.
enum Eyes {
    /// The gateway.
    Gateway(Box<Gateway>),
    /// This process, at the fleet's own servers.
    Own { database_url: String, broker: Box<Broker>, late: Duration },
}

impl Eyes {
    fn of(args: &Args, global: &GlobalArgs) -> Result<Self> {
        match (Gateway::if_in_use(global)?, args.late_seconds) {
            (Some(_), Some(_)) => Err(Failure::error(USAGE, "--late-seconds needs --database-url and --broker-url")),
            (Some(gateway), None) => Ok(Self::Gateway(gateway.into())),
            (None, late) => {
                let (database_url, broker) = (global.database_url()?, Box::new(global.broker()?));
                Ok(Self::Own { database_url, broker, late: late.map_or(LATE, Duration::from_secs) })
            }
        }
    }

    /// What they see, as JSON.
    async fn look(&self) -> Result<Value> {
        match self {
            Self::Gateway(gateway) => gateway.get("/v1/admin/diagnosis").await,
            Self::Own { database_url, broker, late } => {
                let diagnosis = diagnosis::look(database_url, broker, *late).await;
                serde_json::to_value(diagnosis).context("writing what was found")
            }
        }
    }
}

/// Looks at the fleet: exit code 0; 1 with findings; 3 if something could not be looked at.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let eyes = Eyes::of(&args, global)?;
    if args.watch {
        return watch(&eyes, global).await;
    }
    let diagnosis = eyes.look().await?;
    if global.json {
        print::json(&diagnosis)?;
    } else {
        print::out(&text(&diagnosis, Paint::for_stdout()))?;
    }
    Ok(match (list(&diagnosis, "unknown").is_empty(), list(&diagnosis, "findings").is_empty()) {
        (false, _) => ExitCode::from(3),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    })
}

/// Looks until Ctrl-C. What is away comes back.
async fn watch(eyes: &Eyes, global: &GlobalArgs) -> Result<ExitCode> {
    let repaint = if io::stdout().is_terminal() { REPAINT } else { "" };
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        match eyes.look().await {
            Ok(diagnosis) if global.json => print::json(&diagnosis)?,
            Ok(diagnosis) => print::out(&format!("{repaint}{}\n", text(&diagnosis, Paint::for_stdout())))?,
            Err(error) => eprintln!("holdfast: {error:#}"),
        }
        tokio::select! {
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
            () = clock::sleep(LOOK_EVERY) => {}
        }
    }
}

/// A list of what was found.
fn list<'a>(diagnosis: &'a Value, name: &str) -> &'a [Value] {
    diagnosis.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Letters of the longest text of a finding that are shown.
const SHOWN_MAX: usize = 4_000;

/// A text of it, as a terminal may show it.
fn said(of: &Value, name: &str) -> String {
    of.get(name).and_then(Value::as_str).map(|text| legible(text, SHOWN_MAX)).unwrap_or_default()
}

/// All of it, for people.
fn text(diagnosis: &Value, paint: Paint) -> String {
    let (findings, unknown) = (list(diagnosis, "findings"), list(diagnosis, "unknown"));
    let position = diagnosis.get("position").and_then(Value::as_i64);
    let position = position.map_or_else(String::new, |position| format!(", position {position}"));
    let at = said(diagnosis, "at");
    let mut text = format!("{}\n", paint.text(&format!("Holdfast at {at}{position}"), Look::Dim));
    for finding in findings {
        text.push_str(&of_finding(finding, paint));
    }
    for of in unknown {
        let codes: Vec<&str> = list(of, "codes").iter().filter_map(Value::as_str).collect();
        let codes = legible(&codes.join(" "), SHOWN_MAX);
        text.push_str(&format!("\n{}  {}\n  {codes}\n", paint.text("unknown", Look::Bad), said(of, "why")));
    }
    if findings.is_empty() && unknown.is_empty() {
        text.push_str("nothing is wrong\n");
    }
    text
}

fn of_finding(finding: &Value, paint: Paint) -> String {
    let severity = said(finding, "severity");
    let look = if severity == Severity::Nothing.word() { Look::Bold } else { Look::Bad };
    let since = finding.get("for_ms").and_then(Value::as_u64);
    let since = since.map_or_else(String::new, |ms| format!("  for {}", short(Duration::from_millis(ms))));
    let (code, subject) = (paint.text(&said(finding, "code"), look), said(finding, "subject"));
    let mut text = format!("\n{code}  {severity}  {subject}{since}\n");
    for (title, name) in
        [("cause", "cause"), ("at stake", "at_stake"), ("evidence", "evidence"), ("do", "do"), ("clears", "clears")]
    {
        text.push_str(&format!("  {title:<8}  {}\n", said(finding, name)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use audit::diagnosis::{Code, Diagnosis, Finding, Severity, Unknown};
    use platform::print::Paint;

    fn text(diagnosis: &Diagnosis) -> String {
        super::text(&serde_json::to_value(diagnosis).unwrap(), Paint::Off)
    }

    fn diagnosis() -> Diagnosis {
        Diagnosis { at: "2026-01-02T03:04:06Z".to_owned(), position: Some(90), findings: vec![], unknown: vec![] }
    }

    #[test]
    fn a_finding_is_told_with_all_that_it_has() {
        let finding = Finding {
            code: Code::HorizonHeld,
            severity: Severity::Delay,
            subject: "session 812".to_owned(),
            since: None,
            for_ms: Some(840_000),
            cause: "why".to_owned(),
            numbers: BTreeMap::new(),
            at_stake: "what".to_owned(),
            evidence: "select".to_owned(),
            act: "command".to_owned(),
            clears: "when".to_owned(),
            items: vec![],
        };
        let told = text(&Diagnosis { findings: vec![finding], ..diagnosis() });
        let expected = "Holdfast at 2026-01-02T03:04:06Z, position 90\n\nHORIZON_HELD  delay  session 812  for 14 min\n  cause     why\n  \
            at stake  what\n  evidence  select\n  do        command\n  clears    when\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn nothing_is_wrong_only_if_all_was_looked_at() {
        assert!(text(&diagnosis()).contains("nothing is wrong"));
        let unknown = vec![Unknown { codes: vec![Code::ConsumerLags], why: "no broker".to_owned() }];
        let told = text(&Diagnosis { unknown, position: None, ..diagnosis() });
        assert!(told.contains("unknown  no broker\n  CONSUMER_LAGS\n") && !told.contains("nothing is wrong"), "{told}");
    }
}
