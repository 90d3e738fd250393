//! What is said of each letter that is to be handled again.

use std::{borrow::Cow, fmt::Write};

use proto::common::v1::command_reply;
use runtime::{
    foresee::Foreseen,
    letters::{Letter, Way},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::proto_names;
use crate::{Outcome, letters::Later, would::Would};

/// What became of the letters.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LettersRedriven)]
pub struct Report {
    /// Whether nothing was done.
    dry_run: bool,
    count: usize,
    redriven: usize,
    refused: usize,
    failed: usize,
    letters: Vec<Redriven>,
}

/// What became of one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LetterRedriven)]
pub(super) struct Redriven {
    letter: String,
    code: String,
    subject: String,
    /// When it was given up.
    received_at: String,
    /// Why it could not be handled.
    reason: String,
    /// The stream that it is about.
    key: Option<String>,
    would: WouldBe,
    /// Events of that stream since then: how many, and the first of them.
    later: i64,
    later_events: Vec<Later>,
    /// due (in a dry run), redriven, refused or failed.
    outcome: Outcome,
    /// What its worker answered, or why nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
}

/// What becomes of a letter.
pub(super) enum Became {
    /// It would be handled again.
    Due,
    /// It is handled again, with this answer if there is one already.
    Redriven(Option<command_reply::Outcome>),
    /// Nothing was done, and why.
    Refused(String),
    /// It was tried in vain.
    Failed(String),
}

/// What a letter would do now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct WouldBe {
    /// command, event, timer, call, or nothing.
    be: Cow<'static, str>,
    #[serde(flatten)]
    would: Option<Would>,
}

impl WouldBe {
    pub(super) fn of(way: Option<&Way>, foreseen: Option<Foreseen>) -> Self {
        let be = match way {
            None => "nothing",
            Some(Way::Command { .. }) => "command",
            Some(Way::Event { .. }) => "event",
            Some(Way::Timer { .. }) => "timer",
            Some(Way::Call { .. }) => "call",
        };
        Self { be: be.into(), would: foreseen.map(Would::from) }
    }

    fn words(&self) -> String {
        match (&self.would, self.be.as_ref()) {
            (Some(would), _) => would.words(),
            (None, "call") => "be made again; how it ends its callee says".to_owned(),
            (None, _) => "never be handled".to_owned(),
        }
    }
}

impl Redriven {
    pub(super) fn new(
        letter: &Letter,
        key: Option<String>,
        (later, later_events): (i64, Vec<Later>),
        would: WouldBe,
        became: Became,
    ) -> Self {
        let (outcome, says) = match became {
            Became::Due => (Outcome::Due, None),
            Became::Refused(why) => (Outcome::Refused, Some(why)),
            Became::Failed(why) => (Outcome::Failed, Some(why)),
            Became::Redriven(None) => (Outcome::Redriven, None),
            Became::Redriven(Some(command_reply::Outcome::Accepted(accepted))) => {
                (Outcome::Redriven, Some(proto_names(&accepted.events)))
            }
            // It is another letter now.
            Became::Redriven(Some(command_reply::Outcome::Rejected(refused))) if refused.code == letter.code => {
                (Outcome::Failed, Some(format!("{}: {}", refused.code, refused.reason)))
            }
            Became::Redriven(Some(command_reply::Outcome::Rejected(refused))) => {
                (Outcome::Redriven, Some(format!("refused: {}: {}", refused.code, refused.reason)))
            }
        };
        Self {
            letter: letter.name(),
            code: letter.code.clone(),
            subject: letter.subject.clone(),
            received_at: letter.received_at.to_string(),
            reason: letter.reason.clone(),
            key,
            would,
            later,
            later_events,
            outcome,
            says,
        }
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { letter, code, subject, received_at, reason, key, would, later, later_events, outcome, says } = self;
        let about = key.as_ref().map(|key| format!(", about {key}")).unwrap_or_default();
        writeln!(text, "{letter}  {code}  {subject}{about}, since {received_at}")?;
        writeln!(text, "  failed   {reason}")?;
        writeln!(text, "  would    {}", would.words())?;
        if *later > 0 {
            let named = later_events.iter().map(|event| format!("{} v{}", event.event, event.version));
            let named = named.collect::<Vec<_>>().join(", ");
            let more = if i64::try_from(later_events.len()).is_ok_and(|shown| shown < *later) { ", …" } else { "" };
            writeln!(text, "  since    {later} later events of {}: {named}{more}", key.as_deref().unwrap_or_default())?;
        }
        let says = says.as_ref().map(|says| format!(": {says}")).unwrap_or_default();
        if *outcome != Outcome::Due {
            writeln!(text, "  {}{says}", outcome.word())?;
        }
        Ok(())
    }
}

impl Report {
    pub(super) fn new(dry_run: bool, letters: Vec<Redriven>) -> Self {
        let count = |outcome: Outcome| letters.iter().filter(|letter| letter.outcome == outcome).count();
        let (redriven, refused, failed) = (count(Outcome::Redriven), count(Outcome::Refused), count(Outcome::Failed));
        Self { dry_run, count: letters.len(), redriven, refused, failed, letters }
    }

    /// Whether nothing was refused and nothing failed.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        self.refused == 0 && self.failed == 0
    }

    /// The same in words.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for letter in &self.letters {
            // Writing to a string never fails.
            letter.write(&mut text).unwrap_or_default();
        }
        let Self { dry_run, count, redriven, refused, failed, .. } = self;
        text + &match dry_run {
            true => format!("{count} letters, {refused} of them refused; nothing was done\n"),
            false => format!("{redriven} redriven, {refused} refused, {failed} failed\n"),
        }
    }
}
