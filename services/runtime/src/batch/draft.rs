//! The draft of a transaction: what a batch of inputs decides, in memory, before anything is written.

use std::collections::BTreeMap;

use domain::{DecideError, Effect, EncodedEvent, Memory, Rejection, StreamVersion, Timer, Timestamp};
use proto::{Message, common::v1 as wire};
use uuid::Uuid;

use crate::{
    inbound::input::{Cause, Input, InputKind, Origin, RawInput},
    log::{event_store::NewEvent, identity::event_id},
    service::{Service, refusal_stream},
};

/// A command that was answered before.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) body_hash: Vec<u8>,
    pub(crate) reply: Vec<u8>,
}

/// What the sender of a command hears.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    /// Whether the command was answered so before.
    pub(crate) is_repeated: bool,
}

impl Reply {
    pub(crate) const fn first(bytes: Vec<u8>) -> Self {
        Self { bytes, is_repeated: false }
    }
}

/// A message that cannot be handled, with the reason.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    pub(crate) letter: RawInput,
    pub(crate) rejection: Rejection,
}

/// All that one transaction is to write, and what its senders will hear.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) events: Vec<NewEvent>,
    pub(crate) answered: BTreeMap<Uuid, Answered>,
    pub(crate) timers: BTreeMap<String, Timer>,
    pub(crate) effects: Vec<(Effect, Cause)>,
    pub(crate) effects_done: Vec<String>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Slips of senders who were told, and for whom nothing is kept.
    pub(crate) slips: Vec<Rejection>,
    /// One per input: what its sender hears.
    pub(crate) replies: Vec<Option<Reply>>,
}

/// A input that broke after some of its events were already taken in: the rest must be decided anew without it.
#[derive(Debug)]
pub(crate) struct Poison {
    pub(crate) input: usize,
    pub(crate) rejection: Rejection,
}

/// Decides every input, in order, in this state.
pub(crate) fn draft<S: Service>(
    state: &mut S::State,
    inputs: &[Input<S::Command>],
    known: &BTreeMap<Uuid, Answered>,
    at: Timestamp,
) -> Result<Draft, Poison> {
    let mut draft = Draft::default();
    let mut parts = joined::<S>(inputs);
    for (index, input) in inputs.iter().enumerate() {
        let reply = match &input.work {
            InputKind::Command { message_type, body_hash, command } => {
                let id = input.cause.id;
                let before = draft.answered.get(&id).or_else(|| known.get(&id));
                match before.map(|answered| answered.repeat(id, body_hash)) {
                    Some(Ok(reply)) => Some(reply),
                    Some(Err(rejection)) => Some(Reply::first(draft.slip(&id.to_string(), rejection))),
                    None => Some(Reply::first(draft.command::<S>(
                        state,
                        index,
                        input,
                        (message_type, body_hash, command),
                        at,
                    )?)),
                }
            }
            InputKind::Reaction { commands } => {
                match parts.remove(&index) {
                    None => draft.reaction::<S>(state, index, input, commands, at)?,
                    Some(Part::Later) => {}
                    Some(Part::Both { first, both }) => {
                        draft.both::<S>(state, inputs, (first, index), &both, at)?;
                    }
                }
                None
            }
            InputKind::Outcome { key, command } => {
                draft.effects_done.push(key.clone());
                draft.reaction::<S>(state, index, input, std::slice::from_ref(command), at)?;
                None
            }
            // A timer that a newer release has set: it is owed all the same.
            InputKind::Unreadable { rejection } if matches!(input.origin, Origin::Local(_)) => {
                return Err(Poison { input: index, rejection: rejection.clone() });
            }
            InputKind::Unreadable { rejection } => draft.unreadable(input, rejection).map(Reply::first),
        };
        draft.replies.push(reply);
    }
    Ok(draft)
}

/// What becomes of a reaction that is done as one with another.
enum Part<C> {
    /// It is done with the later one.
    Later,
    /// It is done with the one at this place, both in this way.
    Both { first: usize, both: C },
}

/// The reactions, by their places, that are done as one with others.
fn joined<S: Service>(inputs: &[Input<S::Command>]) -> BTreeMap<usize, Part<S::Command>> {
    let (mut parts, mut alone) = (BTreeMap::new(), BTreeMap::new());
    for (index, input) in inputs.iter().enumerate() {
        let InputKind::Reaction { commands } = &input.work else { continue };
        let [command] = commands.as_slice() else { continue };
        let Some(about) = S::joined_by(command) else { continue };
        let Some((first, earlier)) = alone.insert(about, (index, command)) else { continue };
        if let Some(both) = S::join(earlier, command) {
            parts.insert(first, Part::Later);
            parts.insert(index, Part::Both { first, both });
            alone.remove(&about);
        }
    }
    parts
}

/// Whether nobody is kept waiting if all of these are done a moment later, together with what comes until then.
pub(crate) fn can_wait<S: Service>(memory: &Memory<S::State>, inputs: &[Input<S::Command>]) -> bool {
    let mut parts = joined::<S>(inputs);
    inputs.iter().enumerate().all(|(index, input)| {
        let InputKind::Reaction { commands } = &input.work else { return false };
        match parts.remove(&index) {
            None => commands.iter().all(|command| S::can_wait(memory, command)),
            Some(Part::Later) => true,
            Some(Part::Both { both, .. }) => S::can_wait(memory, &both),
        }
    })
}

impl Answered {
    /// The same answer again, or a refusal if the id names another command.
    pub(crate) fn repeated(self, id: Uuid, body_hash: &[u8]) -> Reply {
        self.repeat(id, body_hash).unwrap_or_else(|rejection| Reply::first(refused_once(&id.to_string(), &rejection)))
    }

    fn repeat(&self, id: Uuid, body_hash: &[u8]) -> Result<Reply, Rejection> {
        // Without one it was taken back from events: all that is known is its id.
        if self.body_hash.is_empty() || self.body_hash == body_hash {
            return Ok(Reply { bytes: self.reply.clone(), is_repeated: true });
        }
        let reason = format!("command {id} was answered already, with another body; give every command its own ce-id");
        Err(Rejection::new("COMMAND_ID_REUSED", reason))
    }
}

impl Draft {
    /// Refuses without keeping anything: the sender hears of it, and nobody else can do anything about it.
    fn slip(&mut self, command_id: &str, rejection: Rejection) -> Vec<u8> {
        let reply = refused_once(command_id, &rejection);
        self.slips.push(rejection);
        reply
    }

    /// What nobody can be told of is kept for operators, and what is our own defect.
    fn unreadable<C>(&mut self, input: &Input<C>, rejection: &Rejection) -> Option<Vec<u8>> {
        let told = input.reply_to.as_ref().filter(|_| rejection.code != NOT_HANDLED);
        if let Some(to) = told {
            return Some(self.slip(&to.command_id, rejection.clone()));
        }
        self.dead_letters.push(DeadLetter { letter: input.raw(), rejection: rejection.clone() });
        input.reply_to.as_ref().map(|to| refused_once(&to.command_id, &kept_for_operators(NOT_HANDLED)))
    }

    fn command<S: Service>(
        &mut self,
        state: &mut S::State,
        index: usize,
        input: &Input<S::Command>,
        (message_type, body_hash, command): (&str, &[u8], &Result<S::Command, Rejection>),
        at: Timestamp,
    ) -> Result<Vec<u8>, Poison> {
        let id = input.cause.id;
        let first = self.events.len();
        let refusal = match command {
            Ok(command) => self.decide::<S>(state, input, command, at).err(),
            Err(rejection) if rejection.code == NOT_HANDLED => {
                let answer = kept_for_operators(NOT_HANDLED);
                let reply = rejected(&id.to_string(), &answer);
                self.dead_letters.push(DeadLetter { letter: input.raw(), rejection: rejection.clone() });
                self.answered.insert(id, Answered { body_hash: body_hash.to_vec(), reply: reply.clone() });
                return Ok(reply);
            }
            Err(rejection) => Some(DecideError::Rejected(rejection.clone())),
        };
        let reply = match refusal {
            None => accepted(id, self.events.get(first..).unwrap_or_default().iter().map(NewEvent::place)),
            Some(DecideError::Rejected(rejection)) => {
                self.reject::<S>(input, message_type, &rejection);
                rejected(&id.to_string(), &rejection)
            }
            Some(broken @ DecideError::Broken { .. }) => {
                return Err(Poison { input: index, rejection: Rejection::new("BROKEN_INVARIANT", broken.to_string()) });
            }
        };
        self.answered.insert(id, Answered { body_hash: body_hash.to_vec(), reply: reply.clone() });
        Ok(reply)
    }

    fn reaction<S: Service>(
        &mut self,
        state: &mut S::State,
        index: usize,
        input: &Input<S::Command>,
        commands: &[S::Command],
        at: Timestamp,
    ) -> Result<(), Poison> {
        for command in commands {
            if let Err(refusal) = self.decide::<S>(state, input, command, at) {
                let rejection = match refusal {
                    DecideError::Rejected(rejection) => rejection,
                    broken @ DecideError::Broken { .. } => Rejection::new("BROKEN_INVARIANT", broken.to_string()),
                };
                return Err(Poison { input: index, rejection });
            }
        }
        Ok(())
    }

    /// Two reactions as one.
    fn both<S: Service>(
        &mut self,
        state: &mut S::State,
        inputs: &[Input<S::Command>],
        (first, then): (usize, usize),
        both: &S::Command,
        at: Timestamp,
    ) -> Result<(), Poison> {
        let Some(input) = inputs.get(then) else { return Ok(()) };
        if self.decide::<S>(state, input, both, at).is_ok() {
            return Ok(());
        }
        // Which of them is wrong, each alone shows.
        for (index, input) in inputs.iter().enumerate().filter(|(index, _)| [first, then].contains(index)) {
            self.reaction::<S>(state, index, input, input.commands(), at)?;
        }
        Ok(())
    }

    fn decide<S: Service>(
        &mut self,
        state: &mut S::State,
        input: &Input<S::Command>,
        command: &S::Command,
        at: Timestamp,
    ) -> Result<(), DecideError> {
        for (event, record) in S::advance(state, command, at)? {
            check_owner(S::NAME, S::STREAMS, &record.stream)?;
            if let Some(timer) = S::timer(&event) {
                self.timers.insert(record.stream.clone(), timer);
            }
            if let Some(effect) = S::effect(&event) {
                self.effects.push((effect, input.cause.clone()));
            }
            self.write::<S>(&input.cause, record);
        }
        Ok(())
    }

    fn reject<S: Service>(&mut self, input: &Input<S::Command>, message_type: &str, rejection: &Rejection) {
        let event = wire::CommandRejected {
            command_id: input.cause.id.to_string(),
            command_type: message_type.to_owned(),
            rejection: Some(rejection.final_answer()),
        };
        let record = EncodedEvent {
            stream: refusal_stream(S::NAME, &input.cause.id.to_string()),
            version: StreamVersion::FIRST,
            message_type: "holdfast.common.v1.CommandRejected",
            data: event.encode_to_vec(),
        };
        self.write::<S>(&input.cause, record);
    }

    fn write<S: Service>(&mut self, cause: &Cause, record: EncodedEvent) {
        self.events.push(NewEvent {
            service: S::NAME,
            event_id: event_id(cause.id, &record.stream, record.version),
            correlation_id: cause.correlation_id,
            causation_id: cause.id,
            traceparent: cause.traceparent.clone(),
            record,
            is_handled: false,
        });
    }

    /// Whether there is nothing to write, not even that something was handled.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.answered.is_empty()
            && self.effects_done.is_empty()
            && self.dead_letters.is_empty()
    }
}

/// A stream has one writer. Two would take each other's places in it for ever.
fn check_owner(service: &str, categories: &[&str], stream: &str) -> Result<(), DecideError> {
    let category = stream.split('-').next().unwrap_or_default();
    if categories.contains(&category) {
        return Ok(());
    }
    let what = format!("{service} writes streams of {} only", categories.join(", "));
    Err(DecideError::Broken { stream: stream.to_owned(), what })
}

/// The code of what fails for reasons that are not its sender's.
pub(crate) const NOT_HANDLED: &str = "NOT_HANDLED";

/// What a sender hears of a command that operators have to look at. The cause is theirs: it is in the dead letter and in the log.
pub(crate) fn kept_for_operators(code: &str) -> Rejection {
    let reason = "this command met a defect on our side and changed nothing; it is kept for the operators: ask them, and wait \
                  until it is mended";
    Rejection { code: code.to_owned().into(), reason: reason.to_owned() }
}

/// What the sender of a command hears that caused these events: stream, version, type.
pub(crate) fn accepted<'a>(
    id: Uuid,
    events: impl DoubleEndedIterator<Item = (&'a str, StreamVersion, &'a str)> + Clone,
) -> Vec<u8> {
    let last = events.clone().next().map(|(about, first, _)| {
        // The stream that the command is about, as its last event of this command left it.
        let of_stream = events.clone().rev().find(|(stream, _, _)| *stream == about);
        (about.to_owned(), of_stream.map_or(first, |(_, version, _)| version))
    });
    let (stream, version) = last.unwrap_or_default();
    let accepted = wire::Accepted {
        events: events.map(|(_, _, message_type)| message_type.to_owned()).collect(),
        stream,
        version: version.get(),
    };
    reply(&id.to_string(), wire::command_reply::Outcome::Accepted(accepted))
}

/// What the sender of a command heard that this event says was refused.
pub(crate) fn rejected_before(data: &[u8]) -> Option<Vec<u8>> {
    let wire::CommandRejected { command_id, rejection, .. } = wire::CommandRejected::decode(data).ok()?;
    Some(reply(&command_id, wire::command_reply::Outcome::Rejected(rejection?)))
}

/// A refusal that is kept, and so is the answer to this command for ever.
pub(crate) fn rejected(command_id: &str, rejection: &Rejection) -> Vec<u8> {
    reply(command_id, wire::command_reply::Outcome::Rejected(rejection.final_answer()))
}

/// A refusal of this message. A `command_id` that is empty was not sent.
pub(crate) fn refused_once(command_id: &str, rejection: &Rejection) -> Vec<u8> {
    reply(command_id, wire::command_reply::Outcome::Rejected(rejection.answer()))
}

fn reply(command_id: &str, outcome: wire::command_reply::Outcome) -> Vec<u8> {
    wire::CommandReply { command_id: command_id.to_owned(), outcome: Some(outcome) }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::check_owner;

    #[test]
    fn a_service_writes_its_own_streams_only() {
        let is_own = |stream| check_owner("library", &["book", "loan"], stream).is_ok();
        assert!(is_own("book-a-b") && is_own("loan-7.1"));
        assert!(!is_own("reader-7") && !is_own("books-7") && !is_own("library-command-7") && !is_own(""));
    }
}
