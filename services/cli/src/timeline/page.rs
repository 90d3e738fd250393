//! A timeline as one file for a browser: its evidence, its picture, and the same as a table. No script, nothing from elsewhere.

use anyhow::{Context, Result};
use audit::{
    questions::Answer,
    seal::Seal,
    timeline::{Entry, Question, Subject},
};
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde::Serialize;

use super::{
    picture::{Picture, draw},
    readable,
};
use crate::evidence;

/// A name that ends so is what makes all values in it be escaped.
const NAME: &str = "timeline.html";

/// What the page says.
#[derive(Serialize)]
struct Page<'a> {
    title: String,
    /// The picture in words.
    sentence: String,
    evidence: Vec<String>,
    picture: Picture,
    rows: Vec<Row<'a>>,
}

/// An event in the table.
#[derive(Serialize)]
struct Row<'a> {
    position: String,
    recorded_at: &'a str,
    since: String,
    service: &'a str,
    name: &'a str,
    depth: usize,
    waits: String,
    data: String,
}

/// Writes it.
pub(super) fn page(question: &Question, answer: &Answer<Entry>) -> Result<String> {
    let rows = answer.rows.iter().map(|entry| Row {
        position: entry.position.to_string(),
        recorded_at: &entry.recorded_at,
        since: readable::time(entry.ms),
        service: &entry.service,
        name: entry.name(),
        depth: entry.depth,
        waits: readable::waits(entry),
        data: readable::data(&entry.data).to_string(),
    });
    let mut page = Page {
        title: format!("{} {}", named(question.subject), question.key),
        sentence: sentence(&answer.rows),
        evidence: evidence::of_question(&answer.evidence),
        picture: draw(&answer.rows),
        rows: rows.collect(),
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_template(NAME, include_str!("page.html")).context("reading the template of the page")?;
    let template = environment.get_template(NAME).context("reading the template of the page")?;
    let render = |page: &Page<'_>| template.render(Serde(page)).context("writing the page");
    let mut seal = Seal::default();
    seal.update(&render(&page)?);
    page.evidence.push(seal.line());
    render(&page)
}

const fn named(subject: Subject) -> &'static str {
    match subject {
        Subject::Order => "Order",
        Subject::Refund => "Refund",
        Subject::Payment => "Payment",
        Subject::Product => "Product",
        Subject::Round => "Round",
    }
}

/// The story in one sentence, for whoever does not see the picture.
fn sentence(entries: &[Entry]) -> String {
    let Some((first, last)) = entries.first().zip(entries.last()) else { return "No event.".to_owned() };
    let longest = entries.iter().flat_map(|entry| &entry.waited).max_by_key(|wait| wait.ms);
    let waited = longest.map(|wait| format!("; the longest wait was {} for {}", readable::time(wait.ms), wait.on));
    let still = entries.iter().filter_map(|entry| entry.waits_for).next_back();
    let still = still.map(|on| format!("; it still waits for {on}"));
    format!(
        "{} events in {}, from {} to {}{}{}.",
        entries.len(),
        readable::time(last.ms),
        first.name(),
        last.name(),
        waited.unwrap_or_default(),
        still.unwrap_or_default()
    )
}
