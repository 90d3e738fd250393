//! A timeline as one file for a browser: its evidence, its picture, and the same as a table. No script, nothing from elsewhere.

use anyhow::{Context, Result};
use audit::{
    questions::Answer,
    seal::Seal,
    timeline::{
        Entry, Question, Subject,
        picture::{Picture, draw},
        readable,
    },
};
use minijinja::{Environment, UndefinedBehavior, value::Serde};
use serde::Serialize;

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
        sentence: readable::sentence(&answer.rows),
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
