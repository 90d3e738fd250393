//! The targets: each reads bytes as the product does, and checks more than that it does not panic.

use domain::Rejection;

use crate::attempt::outline;

mod config;
mod frames;
mod headers;
mod json;
mod messages;
mod reports;
mod samples;
mod script;
mod trace;

/// How an input ended: well, with a signature, which is new if no other input ended so; or what is wrong.
pub(crate) type Checked = Result<String, String>;

/// What reads bytes.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// What the first line of an input may be, if it says how the rest is to be read.
    pub(crate) heads: fn() -> &'static [String],
    /// Words that mean something.
    pub(crate) tokens: &'static [&'static str],
    /// Inputs to begin with, besides those of the corpus.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    pub(crate) check: fn(&[u8]) -> Checked,
}

/// What inputs look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Text, more or less.
    Text,
    /// Protobuf.
    Fields,
}

pub(crate) const TARGETS: [&Target; 8] = [
    &frames::TARGET,
    &headers::TARGET,
    &messages::TARGET,
    &json::TARGET,
    &reports::TARGET,
    &trace::TARGET,
    &config::TARGET,
    &script::TARGET,
];

/// The longest reason of a refusal, in characters: it may name a subject, which has 4,096 at most.
const REASON_CHARS_MAX: usize = 8_192;

const fn headless() -> &'static [String] {
    &[]
}

/// An input's first line, and what comes after it.
fn headed(input: &[u8]) -> (String, &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (String::from_utf8_lossy(&input[..end]).into_owned(), input.get(end + 1..).unwrap_or_default())
}

/// A refusal must say why, by a word for programs and in words for people, and not at any length.
fn refused(rejection: &Rejection) -> Checked {
    let Rejection { code, reason } = rejection;
    let is_word = |letter: u8| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == b'_';
    ensure(!code.is_empty() && code.bytes().all(is_word), || format!("a refusal has the code {code:?}"))?;
    because(reason)?;
    let chars = reason.chars().count();
    ensure(chars <= REASON_CHARS_MAX, || format!("a reason has {chars} characters"))?;
    // The last words of a reason may repeat what was sent.
    let outline = outline(reason.split(", not ").next().unwrap_or_default());
    // What cannot be decoded cannot in many ways; of other reasons the first words tell which field they are about.
    let is_told = code == "UNDECODABLE" || code == "INVALID_JSON";
    let words = outline.split(' ').take(if is_told { usize::MAX } else { 2 });
    Ok(format!("{code} {}", words.collect::<Vec<_>>().join(" ")))
}

/// A reason must be one.
fn because(reason: &str) -> Result<(), String> {
    ensure(!reason.trim().is_empty(), || "a refusal gives no reason".to_owned())
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Both must say the same.
fn same(what: &str, one: &str, other: &str) -> Result<(), String> {
    ensure(one == other, || format!("{what}: «{one:.2000}» is not «{other:.2000}»"))
}
