//! What an audit found, for a person.

use std::time::Duration;

use audit::{CheckReport, EventName, Finding, Report};
use platform::print::{Cell, Look, Paint, Table, short};

use crate::waiting;

/// Findings that the text shows.
const SHOWN_MAX: usize = 20;

/// The report for a person: a line a check, the first findings, and the verdict as the last line.
pub(super) fn text(report: &Report, paint: Paint) -> String {
    let took = short(Duration::from_millis(report.duration_ms));
    let mut text = format!(
        "{} events in {} streams up to position {}, as of {}, read in {took}\n",
        report.events, report.streams, report.position, report.at
    );
    if let Some(since) = report.since {
        text.push_str(&format!("{} of them came since position {since}; the books have the rest\n", report.read));
    }
    if let Some(why) = report.anew {
        text.push_str(&format!("the books begin anew: {why}\n"));
    }
    let mut table = Table::default();
    for CheckReport { check, checked, findings } in &report.checks {
        let (name, what) = check.words();
        let verdict = match findings {
            0 => Cell::new("ok", Look::Good),
            1 => Cell::new("1 finding", Look::Bad),
            many => Cell::new(format!("{many} findings"), Look::Bad),
        };
        table.row([name.into(), verdict, (*checked).into(), Cell::new(what, Look::Dim)]);
    }
    text.push_str(&table.text(paint));
    for finding in report.findings.iter().take(SHOWN_MAX) {
        text.push_str(&finding_text(finding, paint));
    }
    if report.findings_total > u64::try_from(SHOWN_MAX).unwrap_or(0) {
        text.push_str(&format!("... the first {SHOWN_MAX} of {}; --json has more\n", report.findings_total));
    }
    if let Some((letters, look)) = letters(report) {
        text.push_str(&paint.text(&letters, look));
    }
    if report.waiting.total > 0 {
        text.push_str(&paint.text("waiting for a person\n", Look::Bad));
        text.push_str(&waiting::text(&report.waiting, paint));
    }
    let verdict = match report.findings_total {
        0 => paint.text("verify: ok", Look::Good),
        1 => paint.text("verify: 1 finding", Look::Bad),
        many => paint.text(&format!("verify: {many} findings"), Look::Bad),
    };
    text + &verdict + "\n"
}

/// What is told of dead letters. Those that are settled are nobody's work.
fn letters(report: &Report) -> Option<(String, Look)> {
    let settled = match report.dead_letters_settled {
        0 => None,
        1 => Some("1 is settled".to_owned()),
        many => Some(format!("{many} are settled")),
    };
    let open = match report.dead_letters {
        0 => return settled.map(|settled| (format!("no dead letter waits for an operator; {settled}\n"), Look::Dim)),
        1 => "1 dead letter waits for an operator (holdfast diagnose)".to_owned(),
        many => format!("{many} dead letters wait for an operator (holdfast diagnose)"),
    };
    let settled = settled.map_or_else(String::new, |settled| format!("; {settled}"));
    Some((format!("{open}{settled}\n"), Look::Bad))
}

/// The report as one line, and one more for each of the first findings.
pub(super) fn line(report: &Report, paint: Paint) -> String {
    let took = short(Duration::from_millis(report.duration_ms));
    let verdict = match report.findings_total {
        0 => paint.text("ok", Look::Good),
        1 => paint.text("1 finding", Look::Bad),
        many => paint.text(&format!("{many} findings"), Look::Bad),
    };
    let Report { at, position, read, .. } = report;
    let line = format!("{at}  position {position}, {read} events read in {took}: {verdict}\n");
    let findings = report.findings.iter().take(SHOWN_MAX).map(|finding| finding_text(finding, paint));
    std::iter::once(line).chain(findings).collect()
}

fn finding_text(finding: &Finding, paint: Paint) -> String {
    let Finding { check, subject, what, event } = finding;
    let mut text = format!("{} {}: {what}\n", paint.text(check.words().0, Look::Bad), paint.text(subject, Look::Bold));
    if let Some(EventName { position, stream, version, message_type, event_id }) = event {
        let short_name = proto::short_name(message_type);
        text.push_str(&format!("    at position {position}: {short_name} {event_id}, version {version} of {stream}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use audit::{Check, CheckReport, EventName, Finding, Report, waiting::Waiting};
    use domain::{GlobalPosition, StreamVersion};
    use platform::print::Paint;

    use super::text;

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            ok: findings.is_empty(),
            at: "now".to_owned(),
            position: GlobalPosition::new(9),
            since: None,
            anew: None,
            events: 8,
            read: 8,
            streams: 2,
            rows: 3,
            dead_letters: 0,
            dead_letters_settled: 0,
            waiting: Waiting::default(),
            duration_ms: 12,
            checks: Check::ALL.map(|check| CheckReport { check, checked: 0, findings: 0 }).into(),
            findings_total: u64::try_from(findings.len()).unwrap(),
            findings,
        }
    }

    fn finding(sku: &str) -> Finding {
        let event = EventName {
            position: GlobalPosition::new(7),
            stream: format!("product-{sku}"),
            version: StreamVersion::new(2),
            message_type: "holdfast.inventory.v1.StockReceived".to_owned(),
            event_id: Uuid::from_u128(1),
        };
        let what = "received: the row says 5, its events say 0".to_owned();
        Finding { check: Check::Rows, subject: format!("product-{sku}"), what, event: Some(event) }
    }

    #[test]
    fn ends_with_the_verdict() {
        assert_eq!(text(&report(vec![]), Paint::Off).lines().last(), Some("verify: ok"));
        assert_eq!(text(&report(vec![finding("a")]), Paint::Off).lines().last(), Some("verify: 1 finding"));
        assert_eq!(
            text(&report(vec![finding("a"), finding("b")]), Paint::Off).lines().last(),
            Some("verify: 2 findings")
        );
    }

    #[test]
    fn letters_that_are_settled_are_told_apart_from_those_that_wait() {
        let told = |dead_letters, dead_letters_settled| {
            let text = text(&Report { dead_letters, dead_letters_settled, ..report(vec![]) }, Paint::Off);
            text.lines().find(|line| line.contains("dead letter")).map(str::to_owned)
        };
        assert_eq!(told(0, 0), None);
        assert_eq!(told(0, 2).as_deref(), Some("no dead letter waits for an operator; 2 are settled"));
        assert_eq!(told(1, 0).as_deref(), Some("1 dead letter waits for an operator (holdfast diagnose)"));
        let both = "3 dead letters wait for an operator (holdfast diagnose); 1 is settled";
        assert_eq!(told(3, 1).as_deref(), Some(both));
    }

    #[test]
    fn a_finding_names_its_subject_and_its_event() {
        let text = text(&report(vec![finding("mug")]), Paint::Off);
        assert!(text.contains("rows product-mug: received: the row says 5, its events say 0"), "{text}");
        assert!(text.contains("at position 7: StockReceived"), "{text}");
    }

    #[test]
    fn shows_some_and_counts_all() {
        let text = text(&report(vec![finding("mug"); 30]), Paint::Off);
        assert_eq!(text.matches("rows product-mug").count(), 20);
        assert!(text.contains("the first 20 of 30"), "{text}");
    }

    #[test]
    fn the_json_says_ok_and_names_the_event() {
        let json = serde_json::to_value(report(vec![finding("mug")])).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"][0]["check"], "rows");
        assert_eq!(json["findings"][0]["event"]["type"], "holdfast.inventory.v1.StockReceived");
    }
}
