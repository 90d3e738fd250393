//! The ids that follow from what they name: an event's from its cause and its place, and a cause's where no message brings one. Who does a
//! thing again gives it the same id, and who audits the log gets the same by computing it once more.

use domain::{StreamVersion, Timestamp};
use uuid::Uuid;

/// The id of an event, from its cause and its place in its stream.
#[must_use]
pub fn event_id(cause: Uuid, stream: &str, version: StreamVersion) -> Uuid {
    Uuid::new_v5(&cause, format!("{stream} {version}").as_bytes())
}

/// What causes the events of a due timer: the timer of this stream of this service that was due then.
#[must_use]
pub fn timer_id(service: &str, stream: &str, due_at: Timestamp) -> Uuid {
    derived(service, format!("{stream} {}", due_at.as_micros()).as_bytes())
}

/// The story of a timer. It has lost the one that it belongs to, but for the id in the name of its stream; without that, it begins one.
#[must_use]
pub fn timer_story(stream: &str, timer_id: Uuid) -> Uuid {
    stream.split_once('-').and_then(|(_, id)| Uuid::try_parse(id).ok()).unwrap_or(timer_id)
}

/// What causes the events of an outside call: the try, from 1, with which the call of this key ended.
#[must_use]
pub fn call_id(key: &str, attempt: u32) -> Uuid {
    derived("effect", format!("{key} {attempt}").as_bytes())
}

/// What a message is known by that names itself by no id.
pub(crate) fn message_id(subject: &str, payload: &[u8]) -> Uuid {
    derived(subject, payload)
}

fn derived(kind: &str, name: &[u8]) -> Uuid {
    Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_OID, kind.as_bytes()), name)
}

#[cfg(test)]
mod tests {
    use domain::{StreamVersion, Timestamp};
    use uuid::Uuid;

    use super::{call_id, event_id, timer_id, timer_story};

    /// An id that is computed otherwise is another one: what is done again is then done twice, and every log looks forged.
    #[test]
    fn ids_are_what_they_have_always_been() {
        let due_at = Timestamp::from_micros(5_000_000);
        let event_id = event_id(Uuid::from_u128(7), "book-1", StreamVersion::new(3));
        assert_eq!(event_id.to_string(), "ec9d3bd9-2f80-5e2b-a88a-310ec6581979");
        assert_eq!(timer_id("library", "book-1", due_at).to_string(), "9f45ed7a-9014-5389-92ea-5df66814a9d6");
        assert_eq!(call_id("key", 2).to_string(), "a0302b6f-7010-5211-be8d-2c88ba33ffba");
    }

    #[test]
    fn a_timer_is_of_the_story_that_its_stream_is_named_by() {
        let (timer, story) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(timer_story(&format!("book-{story}"), timer), story);
        assert_eq!(timer_story("book-1", timer), timer);
        assert_eq!(timer_story("book", timer), timer);
    }
}
