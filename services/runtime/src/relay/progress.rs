//! How far the log is published: what the relay knows, believes, and takes back. Without its surroundings, so that a simulation
//! with a log, a stream and a clock of its own lives through the same.

use std::{collections::VecDeque, time::Duration};

use domain::Timestamp;

use crate::{
    event_store::Recorded,
    marks::Marks,
    publish::{Publication, Witness},
    ranges::Ranges,
};

/// Where the relay stands, as its row in `log.relay` says: what the next relay begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Every position up to here is published or will never come.
    pub published: i64,
    /// The broker stream it was published to, by when it was made.
    pub stream_created: Option<Timestamp>,
    /// One of that stream's last messages; sequence number 0: none.
    pub witness: Witness,
}

/// How far the log is published.
#[derive(Debug, Default)]
pub struct Progress {
    standing: Standing,
    /// What workers say they have published, to be checked.
    reported: Vec<Publication>,
    /// What is published beyond the checkpoint.
    confirmed: Ranges,
    /// Witnesses before that of the standing, each of which was there when the next one was not yet in the stream.
    witnesses: Vec<Witness>,
    /// Whether something that was in the stream is no longer there.
    has_lost: bool,
    /// Until when no worker is believed.
    deaf_until: Duration,
    /// Where the log ended, and when.
    heads: VecDeque<(Duration, i64)>,
    /// What is not published up to here, nobody else will publish.
    overdue: i64,
    /// The checkpoint at some moments, and the stream's last sequence number after it.
    marks: Marks,
}

impl Progress {
    /// Goes on from where the last relay stood.
    #[must_use]
    pub fn from(standing: Standing) -> Self {
        Self { standing, ..Self::default() }
    }

    /// What the next relay has to know.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Every position up to here is published or will never come.
    #[must_use]
    pub const fn published(&self) -> i64 {
        self.standing.published
    }

    /// Hears what a worker has published.
    pub fn hear(&mut self, publication: Publication) {
        self.reported.push(publication);
    }

    /// What was heard since the last call. Each of them has to be looked for by a witness of its own: a later one on the same
    /// connection vouches for nothing, for the broker may have lost the earlier one and gone on.
    pub fn take_reported(&mut self) -> Vec<Publication> {
        std::mem::take(&mut self.reported)
    }

    /// What has to be in the stream still: to be looked for before anything is believed that came after it, or its place may
    /// have been given to another by then, and the loss goes unseen.
    pub fn take_witnesses(&mut self) -> Vec<Witness> {
        let witnesses = std::mem::take(&mut self.witnesses).into_iter().chain([self.standing.witness]);
        witnesses.filter(|witness| witness.sequence > 0).collect()
    }

    /// Hears whether the witnesses are there.
    pub fn check_witnesses(&mut self, are_there: bool) {
        self.has_lost |= !are_there;
    }

    /// Believes what was published if its last message was found in the stream. If not, the broker has lost it, and perhaps more.
    pub fn check(&mut self, now: Duration, reported: impl IntoIterator<Item = (Publication, bool)>) {
        if self.is_deaf(now) {
            return;
        }
        let mut last = None;
        for (Publication { witness, ranges }, is_there) in reported {
            self.has_lost |= !is_there;
            if is_there {
                last = last.max(Some(witness));
                ranges.into_iter().for_each(|(first, end)| self.confirmed.insert(first, end));
            }
        }
        self.witness(last);
        self.advance(self.standing.published);
    }

    /// Whether the broker is known to have lost events: then it is time to go back, before anything else is noted.
    #[must_use]
    pub const fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// Notes where the log ends now, by a clock that only goes on. What ended it `patience` ago is overdue: up to which position.
    pub fn overdue(&mut self, now: Duration, head: i64, patience: Duration) -> i64 {
        self.heads.push_back((now, head));
        while let Some((_, head)) = self.heads.front().filter(|(seen, _)| now.saturating_sub(*seen) >= patience) {
            self.overdue = *head;
            self.heads.pop_front();
        }
        self.overdue
    }

    /// Those of a page of the log, read from the checkpoint on, that are not known to be published.
    #[must_use]
    pub fn missing(&self, page: Vec<Recorded>) -> Vec<Recorded> {
        page.into_iter().filter(|event| !self.confirmed.contains(event.position)).collect()
    }

    /// Notes that all up to a position is published now, and the last message of it.
    pub fn swept(&mut self, position: i64, witness: Option<Witness>) {
        self.witness(witness);
        self.advance(position);
    }

    /// Goes back to the position up to which all is handled, for the broker lost events. What is in the log by now is overdue.
    ///
    /// A consumer passes over what took the places of events that it had, so nothing is believed whose publication may have begun
    /// before now: nothing that is heard within `deaf_for`.
    pub fn go_back(&mut self, now: Duration, handled: i64, deaf_for: Duration) {
        let overdue = self.heads.back().map_or(self.overdue, |(_, head)| *head);
        let standing = Standing { published: handled, witness: Witness::default(), ..self.standing };
        *self = Self { overdue, deaf_until: now + deaf_for, ..Self::from(standing) };
    }

    /// Whether no worker is believed now. Where it stands is not to be saved then: another relay must find the loss too.
    #[must_use]
    pub fn is_deaf(&self, now: Duration) -> bool {
        now < self.deaf_until
    }

    /// Goes on with this stream. Its last message, read before the witnesses were looked for, proves from now on that it is whole.
    pub fn go_on(&mut self, stream_created: Timestamp, last: Option<Witness>) {
        if let Some(last) = last {
            self.witnesses.push(std::mem::replace(&mut self.standing.witness, last));
        }
        self.standing.stream_created = Some(stream_created);
    }

    /// The position up to which all is handled, if that is news. The stream's last sequence number was read after all up to the
    /// checkpoint was in the stream; every consumer that is owed events has come to `floor`.
    pub fn handled(&mut self, last_sequence: u64, floor: u64) -> Option<i64> {
        self.marks.note(self.standing.published, last_sequence);
        self.marks.handled(floor)
    }

    fn advance(&mut self, position: i64) {
        self.standing.published = self.confirmed.absorb(position);
    }

    fn witness(&mut self, witness: Option<Witness>) {
        if let Some(witness) = witness {
            let last = self.standing.witness.max(witness);
            self.witnesses.push(std::mem::replace(&mut self.standing.witness, last));
        }
    }
}
