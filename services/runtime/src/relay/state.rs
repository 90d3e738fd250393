//! How far the log is published: what the relay knows, believes, and takes back. Without its surroundings, so that a simulation
//! with a log, a stream and a clock of its own lives through the same.
//!
//! Why it is so: services/runtime/README.md#what-took-the-place-of-a-lost-event

use std::{collections::VecDeque, time::Duration};

use domain::{BrokerSequence, GlobalPosition, Timestamp};

use crate::{
    log::event_store::StoredEvent,
    outbound::publish::{PublishReport, StreamMarker},
    relay::{position_set::PositionSet, watermarks::Watermarks},
};

/// Where the relay stands, as its row in `log.relay` says: what the next relay begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Every position up to here is published or will never come.
    pub published: GlobalPosition,
    /// The broker stream it was published to, by when it was made.
    pub stream_created: Option<Timestamp>,
    /// One of that stream's last messages; sequence number 0: none.
    pub marker: StreamMarker,
}

/// How far the log is published.
#[derive(Debug, Default)]
pub struct RelayState {
    checkpoint: Checkpoint,
    /// What workers say they have published, to be checked.
    reported: Vec<PublishReport>,
    /// The same, of which nothing is lost if its last message is not.
    vouched: Option<PublishReport>,
    /// What is published beyond the checkpoint.
    confirmed: PositionSet,
    /// Witnesses before that of the standing, to be looked for once more.
    markers: Vec<StreamMarker>,
    /// What comes before this in the stream, the broker has been let forget.
    first_kept: BrokerSequence,
    /// Whether something that was in the stream is no longer there.
    has_lost: bool,
    /// Until when no worker is believed.
    distrusts_until: Duration,
    /// Where the log ended, and when.
    heads: VecDeque<(Duration, GlobalPosition)>,
    /// What is not published up to here, nobody else will publish.
    overdue: GlobalPosition,
    /// The checkpoint at some moments, and the stream's last sequence number after it.
    watermarks: Watermarks,
}

impl RelayState {
    /// Goes on from where the last relay stood.
    #[must_use]
    pub fn from(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, ..Self::default() }
    }

    /// What the next relay has to know.
    #[must_use]
    pub const fn checkpoint(&self) -> Checkpoint {
        self.checkpoint
    }

    /// Every position up to here is published or will never come.
    #[must_use]
    pub const fn published(&self) -> GlobalPosition {
        self.checkpoint.published
    }

    /// Hears what a worker has published; the report came no earlier than `since`. While it distrusts reports it notes the marker only.
    ///
    /// A server that is alone loses nothing and goes on without breaking every connection to it. What was published to it, and is reported on
    /// the same connection of the relay, is there if a later message is: one marker vouches for all. Of a cluster that is not so.
    pub fn on_report(&mut self, since: Duration, publication: PublishReport, is_to_this_server_alone: bool) {
        let ranges = if self.distrusts(since) { Vec::new() } else { publication.ranges };
        let publication = PublishReport { ranges, ..publication };
        match &mut self.vouched {
            _ if !is_to_this_server_alone => self.reported.push(publication),
            Some(vouched) => {
                vouched.marker = vouched.marker.max(publication.marker);
                vouched.ranges.extend(publication.ranges);
            }
            none => *none = Some(publication),
        }
    }

    /// What was heard since the last call. Each of them has to be looked for by its marker.
    pub fn take_reported(&mut self) -> Vec<PublishReport> {
        std::mem::take(&mut self.reported).into_iter().chain(self.vouched.take()).collect()
    }

    /// What has to be in the stream still: to be looked for before anything is believed that came after it, or its place may
    /// have been given to another by then, and the loss goes unseen.
    pub fn take_markers(&mut self) -> Vec<StreamMarker> {
        let markers = std::mem::take(&mut self.markers).into_iter().chain([self.checkpoint.marker]);
        markers.filter(|marker| marker.sequence > BrokerSequence::default()).collect()
    }

    /// The broker has been let forget what comes before this in the stream.
    pub fn let_forget(&mut self, first_kept: BrokerSequence) {
        self.first_kept = first_kept;
    }

    /// Whether a message is no longer there because the broker has been let forget it.
    #[must_use]
    pub fn is_forgotten(&self, marker: StreamMarker) -> bool {
        marker.sequence < self.first_kept
    }

    /// Hears whether the witnesses are there.
    pub fn check_markers(&mut self, are_there: bool) {
        self.has_lost |= !are_there;
    }

    /// Takes what was published for lost, for whoever handled it may have forgotten that.
    pub fn distrust(&mut self) {
        self.has_lost = true;
    }

    /// Believes what was published if its last message was found in the stream. If not, the broker has lost it, and perhaps more.
    pub fn check(&mut self, reported: impl IntoIterator<Item = (PublishReport, bool)>) {
        let mut last = None;
        for (PublishReport { marker, ranges }, is_there) in reported {
            self.has_lost |= !is_there;
            if is_there {
                last = last.max(Some(marker));
                ranges.into_iter().for_each(|(first, end)| self.confirmed.insert(first, end));
            }
        }
        self.marker(last);
        self.advance(self.checkpoint.published);
    }

    /// Whether the broker is known to have lost events: then it is time to go back, before anything else is noted.
    #[must_use]
    pub const fn has_lost(&self) -> bool {
        self.has_lost
    }

    /// Notes where the log ends now, by a clock that only goes on. What ended it `patience` ago is overdue: up to which position.
    pub fn overdue(&mut self, now: Duration, head: GlobalPosition, patience: Duration) -> GlobalPosition {
        self.heads.push_back((now, head));
        while let Some((_, head)) = self.heads.front().filter(|(seen, _)| now.saturating_sub(*seen) >= patience) {
            self.overdue = *head;
            self.heads.pop_front();
        }
        self.overdue
    }

    /// Those of a page of the log, read from the checkpoint on, that are not known to be published.
    #[must_use]
    pub fn missing(&self, page: Vec<StoredEvent>) -> Vec<StoredEvent> {
        page.into_iter().filter(|event| !self.confirmed.contains(event.position)).collect()
    }

    /// Notes that all up to a position is published now, and the last message of it.
    pub fn on_republished(&mut self, position: GlobalPosition, marker: Option<StreamMarker>) {
        self.marker(marker);
        self.advance(position);
    }

    /// Goes back to the position up to which all is handled, for the broker lost events. What is in the log by now is overdue.
    pub fn rewind(&mut self, handled: GlobalPosition) {
        let overdue = self.heads.back().map_or(self.overdue, |(_, head)| *head);
        let checkpoint = Checkpoint { published: handled, marker: StreamMarker::default(), ..self.checkpoint };
        *self = Self { overdue, ..Self::from(checkpoint) };
    }

    /// Believes nobody for a while: longer than it takes from the beginning of a publication to the report of it.
    ///
    /// A consumer passes over what takes the places of lost events that it had. Once those that stand beyond the end of the stream are
    /// gone, none passes over what comes next; but it may have passed over what was published before.
    pub fn distrust_reports(&mut self, now: Duration, distrust_for: Duration) {
        self.distrusts_until = now + distrust_for;
    }

    /// Whether a report that came no earlier than `since` may have come while it believes nobody.
    #[must_use]
    pub fn distrusts(&self, since: Duration) -> bool {
        since < self.distrusts_until
    }

    /// Goes on with this stream. Its last message, read before the witnesses were looked for, proves from now on that it is whole.
    pub fn resume(&mut self, stream_created: Timestamp, last: Option<StreamMarker>) {
        if let Some(last) = last {
            self.replace_marker(last);
        }
        self.checkpoint.stream_created = Some(stream_created);
    }

    /// The position up to which all is handled, if that is news. The stream's last sequence number was read after all up to the
    /// checkpoint was in the stream; every consumer that is owed events has come to `ack_floor`.
    pub fn handled(&mut self, last_sequence: BrokerSequence, ack_floor: BrokerSequence) -> Option<GlobalPosition> {
        self.watermarks.note(self.checkpoint.published, last_sequence);
        self.watermarks.handled(ack_floor)
    }

    fn advance(&mut self, position: GlobalPosition) {
        self.checkpoint.published = self.confirmed.absorb(position);
    }

    fn marker(&mut self, marker: Option<StreamMarker>) {
        if let Some(marker) = marker {
            self.replace_marker(self.checkpoint.marker.max(marker));
        }
    }

    /// The one before it is looked for once more.
    fn replace_marker(&mut self, marker: StreamMarker) {
        self.markers.push(std::mem::replace(&mut self.checkpoint.marker, marker));
    }
}

#[cfg(test)]
mod tests {
    use domain::{BrokerSequence, GlobalPosition, Timestamp};

    use super::{Checkpoint, PublishReport, RelayState, StreamMarker};
    use platform::config::ms;

    const STREAM: Timestamp = Timestamp::from_micros(1);

    const fn position(number: i64) -> GlobalPosition {
        GlobalPosition::new(number)
    }

    const fn at(sequence: u64, number: i64) -> StreamMarker {
        StreamMarker { sequence: BrokerSequence::new(sequence), position: position(number) }
    }

    fn published(first: i64, last: i64, marker: StreamMarker) -> PublishReport {
        PublishReport { ranges: vec![(position(first), position(last))], marker }
    }

    /// A relay that has published ten events to a stream with nothing else in it.
    fn after_ten() -> RelayState {
        RelayState::from(Checkpoint { published: position(10), stream_created: Some(STREAM), marker: at(10, 10) })
    }

    #[test]
    fn what_is_reported_and_there_is_published_as_far_as_nothing_is_missing() {
        let mut progress = after_ten();
        progress.on_report(ms(0), published(13, 14, at(12, 14)), true);
        let reported = progress.take_reported();
        progress.check(reported.into_iter().map(|publication| (publication, true)));
        assert_eq!(progress.published(), position(10));
        progress.check([(published(11, 12, at(14, 12)), true)]);
        assert_eq!((progress.published(), progress.checkpoint().marker), (position(14), at(14, 12)));
        assert!(!progress.has_lost() && progress.take_reported().is_empty());
    }

    #[test]
    fn one_marker_vouches_for_all_that_was_published_to_a_server_alone_and_of_a_cluster_for_its_own() {
        let mut progress = after_ten();
        let mut asked_for = |is_to_this_server_alone| {
            let all = [published(11, 12, at(14, 12)), published(13, 14, at(12, 14)), published(17, 17, at(13, 17))];
            for publication in all {
                progress.on_report(ms(0), publication, is_to_this_server_alone);
            }
            let reported = progress.take_reported().into_iter();
            reported.map(|report| (report.marker, report.ranges.len())).collect::<Vec<_>>()
        };
        assert_eq!(asked_for(true), [(at(14, 12), 3)]);
        assert_eq!(asked_for(false), [(at(14, 12), 1), (at(12, 14), 1), (at(13, 17), 1)]);
    }

    #[test]
    fn what_is_reported_and_not_there_is_lost() {
        let mut progress = after_ten();
        progress.check([(published(11, 12, at(12, 12)), false), (published(13, 13, at(13, 13)), true)]);
        assert!(progress.has_lost());
        assert_eq!(progress.published(), position(10));
    }

    #[test]
    fn a_marker_is_looked_for_until_a_newer_one_was_there_with_it() {
        let mut progress = after_ten();
        progress.check([(published(11, 12, at(12, 12)), true)]);
        // The broker may have lost the first before the second took a place.
        assert_eq!(progress.take_markers(), [at(10, 10), at(12, 12)]);
        assert_eq!(progress.take_markers(), [at(12, 12)]);
        progress.resume(STREAM, Some(at(15, 17)));
        assert_eq!(progress.take_markers(), [at(12, 12), at(15, 17)]);
        progress.check_markers(true);
        assert!(!progress.has_lost());
        progress.check_markers(false);
        assert!(progress.has_lost());
    }

    #[test]
    fn what_the_broker_was_let_forget_is_not_lost_and_a_stream_begun_anew_has_forgotten_nothing() {
        let mut progress = after_ten();
        progress.let_forget(BrokerSequence::new(8));
        assert!(progress.is_forgotten(at(7, 7)) && !progress.is_forgotten(at(8, 8)));
        progress.rewind(position(5));
        assert!(!progress.is_forgotten(at(7, 7)));
    }

    #[test]
    fn a_relay_that_goes_back_publishes_all_from_there_on_itself() {
        let mut progress = after_ten();
        assert_eq!(progress.overdue(ms(100), position(12), ms(500)), position(0));
        progress.check([(published(12, 12, at(12, 12)), true)]);
        progress.rewind(position(7));
        progress.distrust_reports(ms(200), ms(6_000));
        progress.resume(STREAM, Some(at(9, 9)));
        // Overdue at once; and published before it went back, so some consumer may have passed over it.
        assert_eq!(progress.published(), position(7));
        assert_eq!(progress.overdue(ms(201), position(12), ms(500)), position(12));
        let mut heard = |since, publication| {
            progress.on_report(ms(since), publication, false);
            let reported = progress.take_reported();
            progress.check(reported.into_iter().map(|publication| (publication, true)));
            (progress.published(), progress.checkpoint().marker)
        };
        assert_eq!(heard(6_199, published(8, 12, at(14, 12))), (position(7), at(14, 12)));
        assert_eq!(heard(6_200, published(8, 13, at(20, 13))), (position(13), at(20, 13)));
    }

    #[test]
    fn what_is_handled_is_what_was_published_when_the_stream_ended_where_all_have_come() {
        let mut progress = after_ten();
        let handled = |progress: &mut RelayState, last, floor| {
            progress.handled(BrokerSequence::new(last), BrokerSequence::new(floor))
        };
        assert_eq!(handled(&mut progress, 12, 9), None);
        progress.on_republished(position(14), Some(at(16, 14)));
        assert_eq!(handled(&mut progress, 18, 12), Some(position(10)));
        assert_eq!(handled(&mut progress, 18, 18), Some(position(14)));
    }
}
