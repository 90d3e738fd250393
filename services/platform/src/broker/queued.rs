//! Commands that wait at the broker, by their ids: whoever asks for an answer that is not there yet can be told that it will come.
//!
//! The broker finds messages by their numbers and not by our ids, so those that wait are read once each, and remembered while they may wait.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{
    Client, Message, StatusCode,
    header::NATS_SEQUENCE,
    jetstream::{self, Context, stream::Info},
};
use futures::StreamExt;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{commands_stream, is_not_there};
use crate::{error::Error, message::header};

/// The most commands of one queue that are read. In a longer one nobody can say in time which wait.
const WAITING_MAX: usize = 200_000;

/// Messages of one answer of the broker.
const AT_ONCE: usize = 1_000;

/// How long the broker may take for the next of them.
const NEXT_WITHIN: Duration = Duration::from_secs(1);

const READING: &str = "reading which commands wait at the broker";

/// The end of an answer, and the answer where there is nothing.
const END: u16 = 204;
const NOTHING: u16 = 404;

/// The queues of all services.
#[derive(Debug)]
pub struct Queued {
    client: Client,
    jetstream: Context,
    /// Read by one at a time: whoever comes meanwhile has less to read.
    queues: Mutex<Vec<Queue>>,
}

/// What is known of one queue.
#[derive(Debug)]
struct Queue {
    stream: String,
    /// When the broker made it. One that is made anew counts anew.
    made_at: Option<OffsetDateTime>,
    /// The number behind the last that was read.
    next: u64,
    /// By their numbers, the commands that wait, or did when they were read.
    seen: BTreeMap<u64, Uuid>,
}

impl Queued {
    /// Reads over a connection that is there.
    #[must_use]
    pub fn over(client: Client) -> Self {
        let queue = |service| Queue { stream: commands_stream(service), made_at: None, next: 0, seen: BTreeMap::new() };
        let queues = proto::SERVICES.map(queue).into_iter().collect();
        Self { jetstream: jetstream::new(client.clone()), client, queues: Mutex::new(queues) }
    }

    /// Whether a command waits, or did so lately.
    ///
    /// # Errors
    /// The broker is away, or more wait than can be read.
    pub async fn has(&self, id: Uuid) -> Result<bool, Error> {
        for queue in &mut *self.queues.lock().await {
            queue.catch_up(&self.client, &self.jetstream).await?;
            if queue.seen.values().any(|seen| *seen == id) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Queue {
    /// Reads what has come since.
    async fn catch_up(&mut self, client: &Client, jetstream: &Context) -> Result<(), Error> {
        let Some(info) = info(jetstream, &self.stream).await? else { return Ok(()) };
        let state = &info.state;
        if state.messages > u64::try_from(WAITING_MAX).unwrap_or(u64::MAX) {
            let why =
                format!("{} wait in {}, and {WAITING_MAX} is the most that are looked at", state.messages, self.stream);
            return Err(Error::transient(READING, why));
        }
        self.forget(info.created, state.first_sequence);
        let mut from = self.next.max(state.first_sequence);
        while from <= state.last_sequence {
            let read = read(client, &self.stream, from).await?;
            let Some((last, _)) = read.last() else { break };
            from = last.saturating_add(1);
            self.seen.extend(read.iter().filter_map(|(number, id)| Some((*number, (*id)?))));
            // Not further: a copy of the stream that lags has the rest later.
            self.next = from;
        }
        Ok(())
    }

    /// Forgets what waits no more: what is before the first, or of a stream that is no more. One stuck command must not make it grow for ever.
    fn forget(&mut self, made_at: OffsetDateTime, first: u64) {
        self.seen = self.seen.split_off(&first);
        if self.made_at != Some(made_at) || self.seen.len() > WAITING_MAX.saturating_mul(2) {
            self.made_at = Some(made_at);
            self.next = 0;
            self.seen.clear();
        }
    }
}

/// `None`: there is no such stream, for no worker ever ran.
async fn info(jetstream: &Context, stream: &str) -> Result<Option<Info>, Error> {
    match jetstream.get_stream(stream).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) if is_not_there(&error.kind()) => Ok(None),
        Err(error) => Err(Error::transient(READING, error)),
    }
}

/// Messages from this number on, and which commands they are; those that name none are no commands. The client knows no such request.
async fn read(client: &Client, stream: &str, from: u64) -> Result<Vec<(u64, Option<Uuid>)>, Error> {
    let failed = |why: String| Error::transient(READING, format!("{stream}: {why}"));
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(error.to_string()))?;
    let request = json!({ "seq": from, "next_by_subj": ">", "batch": AT_ONCE }).to_string();
    let asked = client.publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, request.into()).await;
    asked.map_err(|error| failed(error.to_string()))?;
    let mut read = Vec::new();
    loop {
        let answer = tokio::time::timeout(NEXT_WITHIN, answers.next()).await;
        let Ok(Some(answer)) = answer else { return Err(failed("no answer".to_owned())) };
        match answer.status.as_ref().map(StatusCode::as_u16) {
            None => read.extend(numbered(&answer)),
            Some(END | NOTHING) => return Ok(read),
            Some(status) => return Err(failed(format!("status {status}"))),
        }
    }
}

/// The number of a message, and the command that it is.
fn numbered(message: &Message) -> Option<(u64, Option<Uuid>)> {
    let headers = message.headers.as_ref()?;
    let number = headers.get(NATS_SEQUENCE)?.as_str().parse().ok()?;
    let named = headers.iter().find(|(name, _)| AsRef::<str>::as_ref(*name).eq_ignore_ascii_case(header::ID));
    let id = named.and_then(|(_, values)| values.first()).and_then(|id| Uuid::try_parse(id.as_str().trim()).ok());
    Some((number, id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::Queue;

    #[test]
    fn what_waits_no_more_is_forgotten_and_a_stream_that_is_made_anew_is_read_anew() {
        let made_at = OffsetDateTime::UNIX_EPOCH;
        let seen = (1..=9).map(|number| (number, Uuid::from_u128(number.into()))).collect::<BTreeMap<u64, Uuid>>();
        let mut queue = Queue { stream: "COMMANDS_ORDERS".to_owned(), made_at: Some(made_at), next: 10, seen };
        queue.forget(made_at, 8);
        assert_eq!((queue.next, queue.seen.keys().copied().collect::<Vec<_>>()), (10, vec![8, 9]));
        queue.forget(made_at + time::Duration::SECOND, 1);
        assert_eq!((queue.next, queue.seen.len()), (0, 0));
    }
}
