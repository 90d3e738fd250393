//! What each service has answered: which commands, when, and with how many events, each of which the log must have.

use std::collections::BTreeMap;

use domain::Timestamp;
use proto::{
    Message,
    common::v1::{CommandReply, command_reply::Outcome},
};
use uuid::Uuid;

/// A command that met a defect is answered, and no event says so: it is a dead letter.
const NOT_HANDLED: &str = "NOT_HANDLED";

/// By service: the commands that it has answered.
pub(crate) type Answered = BTreeMap<&'static str, Answers>;

/// Answers of one service, in little room.
#[derive(Debug, Default)]
pub(crate) struct Answers(Vec<Answer>);

/// An answer to a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    command_id: Uuid,
    at: Timestamp,
    /// How many of its events were not seen yet.
    left: Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Events(u16),
    /// It was made from the log, after the database had gone back: it proves nothing.
    Unknown,
    /// The answer is none.
    Unread,
}

impl Answer {
    /// As the inbox has it. One without the hash of its command was made from the log.
    pub(crate) fn read(command_id: Uuid, body_hash: &[u8], reply: &[u8], at: Timestamp) -> Self {
        let left = if body_hash.is_empty() { Left::Unknown } else { left(reply) };
        Self { command_id, at, left }
    }

    /// What an event contradicts that this command has caused.
    pub(super) fn contradicts(&mut self, recorded_at: Timestamp) -> Option<String> {
        let Left::Events(left) = &mut self.left else { return None };
        let is_one_more = *left == 0;
        *left = left.saturating_sub(1);
        if is_one_more {
            Some(format!("its command {} was answered with fewer events", self.command_id))
        } else if self.at != recorded_at {
            Some(format!(
                "it is recorded at {recorded_at}, and its command {} was answered in the same transaction at {}",
                self.command_id, self.at
            ))
        } else {
            None
        }
    }

    /// What the log lacks of it.
    fn lacks(&self) -> Option<String> {
        match self.left {
            Left::Events(0) | Left::Unknown => None,
            Left::Events(left) => Some(format!("it was answered with {left} more events than the log has")),
            Left::Unread => Some("its answer cannot be read".to_owned()),
        }
    }
}

fn left(reply: &[u8]) -> Left {
    match CommandReply::decode(reply).ok().and_then(|reply| reply.outcome) {
        Some(Outcome::Accepted(accepted)) => Left::Events(u16::try_from(accepted.events.len()).unwrap_or(u16::MAX)),
        Some(Outcome::Rejected(rejection)) => Left::Events(u16::from(rejection.code != NOT_HANDLED)),
        None => Left::Unread,
    }
}

impl Answers {
    pub(crate) fn of(mut answers: Vec<Answer>) -> Self {
        answers.sort_unstable_by_key(|answer| answer.command_id);
        answers.shrink_to_fit();
        Self(answers)
    }

    /// Adds those of other commands.
    pub(super) fn add(&mut self, more: Self) {
        let is_new = |answer: &Answer| self.place(answer.command_id).is_none();
        let more: Vec<Answer> = more.0.into_iter().filter(is_new).collect();
        if !more.is_empty() {
            self.0.reserve_exact(more.len());
            self.0.extend(more);
            self.0.sort_by_key(|answer| answer.command_id);
        }
    }

    fn place(&self, command_id: Uuid) -> Option<usize> {
        self.0.binary_search_by_key(&command_id, |answer| answer.command_id).ok()
    }

    /// The answer to this command.
    pub(super) fn get_mut(&mut self, command_id: Uuid) -> Option<&mut Answer> {
        let place = self.place(command_id)?;
        self.0.get_mut(place)
    }

    /// What the log lacks, each with its command.
    pub(super) fn lacking(&self) -> impl Iterator<Item = (Uuid, String)> {
        self.0.iter().filter_map(|answer| Some((answer.command_id, answer.lacks()?)))
    }
}
