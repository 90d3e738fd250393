//! Commands and events in protobuf, through every service: what is taken is plain, says the same when it is written again, and
//! leads to events that all who hear of them can read.

use std::fmt::Debug;

use domain::{Decider, PaymentId, Timestamp};
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use proto::{
    Message, Name,
    payments::v1::{ProviderEventKind, RecordProviderEvent},
};
use rounds::Rounds;
use runtime::{
    service::Service,
    simulation::{Inbox, TestInput, batch},
};
use uuid::Uuid;

use super::{
    Checked, Shape, Target, ensure, headed, refused, same,
    samples::{TOKENS, commands, events, types},
};
use crate::attempt::{about, outline};

pub(super) const TARGET: Target =
    Target { name: "messages", shape: Shape::Fields, heads, tokens: TOKENS, seeds, check };

const ID: Uuid = Uuid::from_u128(0x0199_0c3e_5b7a_7000_8000_0000_0000_0001);

/// The first of January 2026.
const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn heads() -> &'static [String] {
    types()
}

fn seeds() -> Vec<Vec<u8>> {
    let all = commands().chain(events());
    all.map(|(message_type, bytes)| [message_type.as_bytes(), b"\n", &bytes].concat()).collect()
}

fn check(input: &[u8]) -> Checked {
    let (message_type, data) = headed(input);
    if message_type == RecordProviderEvent::full_name() {
        reported(data)?;
    }
    let heard = [
        heard::<Orders>(&message_type, data)?,
        heard::<Inventory>(&message_type, data)?,
        heard::<Rounds>(&message_type, data)?,
        heard::<Payments>(&message_type, data)?,
    ];
    Ok(format!("{} {}", proto::short_name(&message_type), heard.join("; ")))
}

/// A report is a fact: if it can be read, it is refused only for a payment that is no id, or for a kind that is none.
fn reported(data: &[u8]) -> Result<(), String> {
    let Ok(report) = RecordProviderEvent::decode(data) else { return Ok(()) };
    let is_kind = ProviderEventKind::try_from(report.kind).is_ok_and(|kind| kind != ProviderEventKind::Unspecified);
    let wanted = match PaymentId::parse(&report.payment_id) {
        Err(_none) => Some("INVALID_ID"),
        Ok(_) if !is_kind => Some("INVALID_KIND"),
        Ok(_) => None,
    };
    let refused =
        <Payments>::decode_command(&RecordProviderEvent::full_name(), data, ID).err().map(|rejection| rejection.code);
    ensure(refused.as_deref() == wanted, || format!("a report is refused: {refused:?}, not {wanted:?}"))
}

/// All that a service can be told by such a message.
fn heard<S: Service>(message_type: &str, data: &[u8]) -> Checked {
    let asked = match S::decode_command(message_type, data, ID) {
        Ok(command) => taken::<S>(message_type, data, &command)?,
        Err(rejection) => {
            let is_known = S::COMMANDS.contains(&message_type);
            ensure(is_known != (rejection.code == "UNKNOWN_TYPE"), || format!("{}: {rejection}", S::NAME))?;
            known(is_known, refused(&rejection)?)
        }
    };
    let recorded = match S::decode_event(message_type, data) {
        Ok(event) => read_back::<S>(message_type, &event)?,
        Err(rejection) => known(rejection.code != "UNKNOWN_TYPE", refused(&rejection)?),
    };
    let reacted = match S::react(message_type, data) {
        Ok(commands) => {
            ensure(commands.len() <= data.len(), || format!("{} commands of {} bytes", commands.len(), data.len()))?;
            about(commands.len()).to_string()
        }
        Err(rejection) => {
            let is_known = S::REACTS_TO.contains(&message_type);
            ensure(is_known != (rejection.code == "UNKNOWN_TYPE"), || format!("{}: {rejection}", S::NAME))?;
            known(is_known, refused(&rejection)?)
        }
    };
    Ok(format!("{asked} {recorded} {reacted}"))
}

/// That a service does not know a type is no news.
fn known(is_known: bool, words: String) -> String {
    if is_known { words } else { String::new() }
}

/// A command that is taken: plain, the same in JSON, done once, and its events can be read by all who hear of them.
fn taken<S: Service>(message_type: &str, data: &[u8], command: &S::Command) -> Checked {
    let words = format!("{command:?}");
    ensure(is_plain(&words), || format!("{} took control characters: «{words:.500}»", S::NAME))?;
    match proto::to_json(message_type, data) {
        Ok(json) => {
            let bytes = proto::from_json(message_type, json.to_string().as_bytes())
                .map_err(|error| format!("taken, but not from its own JSON: {error}"))?;
            same("through JSON", &debug(&S::decode_command(message_type, &bytes, ID)), &format!("Ok({words})"))?;
        }
        // A report is a fact also at a time that is none.
        Err(_) if message_type == RecordProviderEvent::full_name() => {}
        Err(error) => return Err(format!("taken, but not in JSON: {error}")),
    }
    let (mut state, mut inbox) = (S::State::default(), Inbox::default());
    let mut decide = || {
        let inputs = vec![TestInput::Command { id: ID, message_type, data }];
        batch::<S>(&mut state, &mut inbox, inputs, NOW).map_err(|(_, rejection)| format!("decided: {rejection}"))
    };
    let done = decide()?;
    ensure(!done.events.is_empty(), || "a command caused nothing, not even a refusal".to_owned())?;
    ensure(decide()?.events.is_empty(), || "a command that came again was done again".to_owned())?;
    let mut names = Vec::new();
    for event in done.events {
        names.push(proto::short_name(&event.message_type).to_owned());
        proto::to_json(&event.message_type, &event.data)
            .map_err(|error| format!("written, but not in JSON: {error}"))?;
        let heard = [
            understood::<Orders>(&event.message_type, &event.data),
            understood::<Inventory>(&event.message_type, &event.data),
            understood::<Rounds>(&event.message_type, &event.data),
            understood::<Payments>(&event.message_type, &event.data),
        ];
        heard.into_iter().collect::<Result<(), String>>()?;
    }
    Ok(format!("taken of {} bytes: {}", about(data.len()), names.join(" ")))
}

/// What one service writes, all who react to it can read.
fn understood<S: Service>(message_type: &str, data: &[u8]) -> Result<(), String> {
    let is_own = proto::owner(message_type) == Some(S::NAME);
    let read_back = if is_own { S::decode_event(message_type, data).map(drop) } else { Ok(()) };
    let reacted = if S::REACTS_TO.contains(&message_type) { S::react(message_type, data).map(drop) } else { Ok(()) };
    read_back.and(reacted).map_err(|rejection| format!("{} cannot read what was decided: {rejection}", S::NAME))
}

/// An event that is read is written as the same, also in JSON, and what it leads to does not break.
fn read_back<S: Service>(message_type: &str, event: &S::Event) -> Checked {
    let mut state = S::State::default();
    let record = S::encode(&state, event);
    same("its type", record.message_type, message_type)?;
    let again = S::decode_event(message_type, &record.data);
    same("read back", &debug(&again), &format!("Ok({event:?})"))?;
    let twice = again.map(|again| S::encode(&state, &again).data).map_err(|rejection| rejection.to_string())?;
    ensure(twice == record.data, || "written twice, the bytes differ".to_owned())?;
    let json = proto::to_json(message_type, &record.data).map_err(|error| format!("not in JSON: {error}"))?;
    let bytes = proto::from_json(message_type, json.to_string().as_bytes())
        .map_err(|error| format!("not from its own JSON: {error}"))?;
    same("bytes through JSON", &debug(&bytes), &debug(&record.data))?;
    ensure(!record.stream.is_empty() && !S::rows_of(event).is_empty(), || "an event of nothing".to_owned())?;
    if let Some(effect) = S::effect(event) {
        same(
            "its outside call",
            &debug(&S::decode_event(effect.message_type, &effect.data)),
            &format!("Ok({event:?})"),
        )?;
    }
    let timer = S::timer(event).is_some();
    S::evolve(&mut state, event);
    let rows = S::rows(&state).len();
    let words = outline(&format!("{event:?}"));
    Ok(format!("recorded: {rows} rows, timer {timer}, {} bytes, {words:.60}", about(record.data.len())))
}

fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// Whether no text in these words, which escape them, has control characters: tables refuse some of them.
fn is_plain(words: &str) -> bool {
    let mut letters = words.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            continue;
        }
        match letters.next() {
            Some('\\' | '"' | '\'') => {}
            Some('u') => {
                let digits: String = letters.by_ref().skip(1).take_while(|letter| *letter != '}').collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                if code.and_then(char::from_u32).is_none_or(char::is_control) {
                    return false;
                }
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{check, is_plain};
    use crate::targets::samples::hostile;

    #[test]
    fn no_value_of_any_field_does_harm_however_long_it_is() {
        let mut long = 0;
        for (message_type, bytes) in hostile() {
            long += usize::from(bytes.len() > 100_000);
            if let Err(what) = check(&[message_type.as_bytes(), b"\n", &bytes].concat()) {
                panic!("{message_type}: {what:.1000}\n\"{}\"", bytes[..bytes.len().min(400)].escape_ascii());
            }
        }
        assert!(long > 20, "{long} are long");
    }

    #[test]
    fn control_characters_are_seen_in_escaped_words() {
        for plain in ["mug", "a \"mug\" \\0 \\n", "\u{202e}\u{fffff}", "it's"] {
            assert!(is_plain(&format!("{plain:?}")), "{plain}");
        }
        for bad in ["\0", "a\n", "\\\u{7f}", "\u{85}"] {
            assert!(!is_plain(&format!("{bad:?}")), "{bad:?}");
        }
    }
}
