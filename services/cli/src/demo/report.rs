//! What a demo has shown, for people and for programs.

use serde_json::{Value, json};
use testbed::load::{
    books::Books,
    figures::{grouped, lasting, seconds},
    kill_worker::Killed,
    synthetic::Run,
};

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// What everything followed from.
    pub(super) seed: u64,
    /// What became of the orders.
    pub(super) run: Run,
    /// The worker that was killed. `None`: it was over too soon.
    pub(super) killed: Option<Killed>,
    /// What was checked.
    pub(super) checks: Checks,
    /// Rounds by status.
    pub(super) rounds: Vec<(String, i64)>,
}

/// What was checked.
#[derive(Debug, Clone)]
pub(super) struct Checks {
    /// Every order ended as its buyer's story says.
    pub(super) as_told: bool,
    /// Workers that ended though nobody killed them.
    pub(super) ended: Vec<String>,
    /// Messages that were set aside.
    pub(super) dead_letters: Vec<String>,
    /// What Stripe says of the money beside what the fleet says, if there is a Stripe.
    pub(super) books: Option<Books>,
    /// What `verify` says.
    pub(super) verdict: Verdict,
}

/// What `verify` says.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    /// Events that were folded again.
    pub(super) events: u64,
    /// What is wrong, in words.
    pub(super) findings: Vec<String>,
}

impl Checks {
    /// Whether nothing is wrong.
    #[must_use]
    pub(super) fn all_hold(&self) -> bool {
        let books_differ = self.books.is_some_and(|books| !books.differences().is_empty());
        self.as_told
            && self.ended.is_empty()
            && self.dead_letters.is_empty()
            && !books_differ
            && self.verdict.findings.is_empty()
    }
}

/// What to do next. A test does it.
const NEXT: &str = r#"To try it yourself, start a fleet with ./justw up, and in another terminal run the line that it prints after HTTP, then:

  curl -sS "$HOLDFAST/v1/products" -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -H "Idempotency-Key: first" -d '{"sku": "MUG-01", "name": "Mug"}'

services/gateway/README.md goes on from there: stock, an order, its payment, a refund."#;

impl Report {
    /// For people.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let run = &self.run;
        let mut lines = vec![format!(
            "\n{} orders were placed in {}; after {} nothing was left to do.",
            grouped(run.outcomes.orders),
            lasting(run.placing),
            lasting(run.settled)
        )];
        let count = |status: &str| self.rounds.iter().find(|(known, _)| known == status).map_or(0, |(_, count)| *count);
        let (sold_out, called_off) = (count("sold_out"), count("cancelled"));
        if called_off > 0 {
            lines.push(format!(
                "Of the rounds, {sold_out} sold out, and {called_off} was called off: who had bought its shares has the money back.",
            ));
        }
        lines.push(format!("\n{}\n\nChecks", run.text()));
        let checks = &self.checks;
        lines.push(check("every order ended as its buyer's story says", &run.outcomes.examples));
        lines.push(check("no message was set aside (dead letters)", &checks.dead_letters));
        lines.push(check("no worker ended but the one that was killed", &checks.ended));
        lines.extend(checks.books.map(|books| {
            check(&format!("Stripe's books and Holdfast's say the same: {}", books.text()), &books.differences())
        }));
        let folded = grouped(checks.verdict.events);
        let verified = format!("verify: {folded} events folded again give every row; stock, shares and money add up");
        lines.push(check(&verified, &checks.verdict.findings));
        lines.push(format!("\n{NEXT}\n"));
        lines.join("\n")
    }

    /// For programs.
    #[must_use]
    pub(super) fn json(&self) -> Value {
        let killed = self.killed.as_ref().map(|killed| {
            json!({
                "worker": killed.worker,
                "after_orders": killed.after_orders,
                "away_seconds": seconds(killed.away),
                "working_after_seconds": killed.working_after.map(seconds),
            })
        });
        let Checks { ended, dead_letters, books, verdict, as_told: _ } = &self.checks;
        let findings = &verdict.findings;
        let fields = [
            ("seed", self.seed.into()),
            ("killed", json!(killed)),
            ("rounds", self.rounds.iter().map(|(status, count)| (status.clone(), json!(count))).collect()),
            ("dead_letters", json!(dead_letters)),
            ("ended_workers", json!(ended)),
            ("unexpected_examples", json!(self.run.outcomes.examples)),
            ("books", books.as_ref().map_or(Value::Null, Books::json)),
            ("events", verdict.events.into()),
            ("verify", if findings.is_empty() { "ok".into() } else { json!(findings) }),
        ];
        let mut report = self.run.json();
        report.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(report)
    }
}

fn check(what: &str, against: &[String]) -> String {
    if against.is_empty() {
        return format!("  ok      {what}");
    }
    let found: Vec<String> = against.iter().map(|found| format!("\n          {found}")).collect();
    format!("  FAILED  {what}{}", found.concat())
}
