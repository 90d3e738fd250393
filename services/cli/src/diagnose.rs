//! `holdfast diagnose`: what is wrong with the fleet, the worst first, each with its cause, what shows it again, and what to do.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use audit::diagnosis::{self, Diagnosis, Finding, LATE, Severity, Unknown};
use platform::{
    clock,
    print::{self, Look, Paint, short},
};

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast diagnose
  holdfast diagnose --json | jq '.findings[].code'
  holdfast diagnose --watch --json >> findings.jsonl
  holdfast explain HORIZON_HELD

Exit codes: 0 nothing is wrong; 1 there are findings; 2 wrong usage; 3 some or all of it could not be looked at.";

/// Options of `holdfast diagnose`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What is late by less goes on by itself.
    #[arg(long, value_name = "SECONDS", default_value_t = LATE.as_secs())]
    late_seconds: u64,
    /// Look again every few seconds until Ctrl-C: on a terminal it is painted anew, and with --json each look is a line.
    #[arg(long)]
    watch: bool,
}

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Clears the screen from its first line on: ANSI for "home" and "erase below".
const REPAINT: &str = "\x1b[H\x1b[J";

/// Looks at the fleet: exit code 0; 1 with findings; 3 if something could not be looked at.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let late = Duration::from_secs(args.late_seconds);
    if args.watch {
        return watch(late, global).await;
    }
    let diagnosis = diagnosis::look(&global.database_url()?, &global.broker()?, late).await;
    if global.json {
        print::json(&diagnosis)?;
    } else {
        print::out(&text(&diagnosis, Paint::for_stdout()))?;
    }
    Ok(match (diagnosis.unknown.is_empty(), diagnosis.findings.is_empty()) {
        (false, _) => ExitCode::from(3),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    })
}

/// Looks until Ctrl-C. What is away comes back.
async fn watch(late: Duration, global: &GlobalArgs) -> Result<ExitCode> {
    let (database_url, broker) = (global.database_url()?, global.broker()?);
    let repaint = if io::stdout().is_terminal() { REPAINT } else { "" };
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let diagnosis = diagnosis::look(&database_url, &broker, late).await;
        if global.json {
            print::json(&diagnosis)?;
        } else {
            print::out(&format!("{repaint}{}\n", text(&diagnosis, Paint::for_stdout())))?;
        }
        tokio::select! {
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
            () = clock::sleep(LOOK_EVERY) => {}
        }
    }
}

/// All of it, for people.
fn text(diagnosis: &Diagnosis, paint: Paint) -> String {
    let Diagnosis { at, position, findings, unknown } = diagnosis;
    let position = position.map_or_else(String::new, |position| format!(", position {position}"));
    let mut text = format!("{}\n", paint.text(&format!("Holdfast at {at}{position}"), Look::Dim));
    for finding in findings {
        text.push_str(&of_finding(finding, paint));
    }
    for Unknown { codes, why } in unknown {
        let codes: Vec<&str> = codes.iter().map(|code| code.page().word).collect();
        text.push_str(&format!("\n{}  {why}\n  {}\n", paint.text("unknown", Look::Bad), codes.join(" ")));
    }
    if findings.is_empty() && unknown.is_empty() {
        text.push_str("nothing is wrong\n");
    }
    text
}

fn of_finding(finding: &Finding, paint: Paint) -> String {
    let Finding { code, severity, subject, for_ms, cause, at_stake, evidence, act, clears, .. } = finding;
    let look = if *severity == Severity::Nothing { Look::Bold } else { Look::Bad };
    let since = for_ms.map_or_else(String::new, |ms| format!("  for {}", short(Duration::from_millis(ms))));
    let mut text = format!("\n{}  {}  {subject}{since}\n", paint.text(code.page().word, look), severity.word());
    for (name, words) in
        [("cause", cause), ("at stake", at_stake), ("evidence", evidence), ("do", act), ("clears", clears)]
    {
        text.push_str(&format!("  {name:<8}  {words}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use audit::diagnosis::{Code, Diagnosis, Finding, Severity, Unknown};
    use platform::print::Paint;

    use super::text;

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
        let told = text(&Diagnosis { findings: vec![finding], ..diagnosis() }, Paint::Off);
        let expected = "Holdfast at 2026-01-02T03:04:06Z, position 90\n\nHORIZON_HELD  delay  session 812  for 14 min\n  cause     why\n  \
            at stake  what\n  evidence  select\n  do        command\n  clears    when\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn nothing_is_wrong_only_if_all_was_looked_at() {
        assert!(text(&diagnosis(), Paint::Off).contains("nothing is wrong"));
        let unknown = vec![Unknown { codes: vec![Code::ConsumerLags], why: "no broker".to_owned() }];
        let told = text(&Diagnosis { unknown, position: None, ..diagnosis() }, Paint::Off);
        assert!(told.contains("unknown  no broker\n  CONSUMER_LAGS\n") && !told.contains("nothing is wrong"), "{told}");
    }
}
