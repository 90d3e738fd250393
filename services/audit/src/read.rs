//! Reading the log into the books: all of it, or what came since an earlier audit.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result};
use domain::GlobalPosition;
use runtime::log::event_store::{StoredEvent, read_between};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::{
    Progress, Settings,
    archive::Archive,
    books::{Again, Books},
    cases::Wanted,
    causes::Causes,
    compare::Comparison,
    kept::{Begin, Of, Shelf},
    log::Gap,
    past::{Past, read_all_after, read_settled},
    snapshot::{Snapshot, connect},
    tables,
};

/// Events after which it is looked for what can be let go.
const STEP_MAX: usize = 16_384;

/// Pages of the log that are read ahead, at most.
const PAGES_AHEAD: usize = 8;

/// Rows that were let go together and are not compared yet, at most.
const ROWS_BEHIND: usize = 2;

/// With what an audit begins to read.
pub(super) struct Start {
    pub(super) books: Books,
    /// Up to where an earlier audit has read. `None`: there is none that this one goes on from,
    pub(super) since: Option<GlobalPosition>,
    /// for this reason, if there might have been one.
    pub(super) anew: Option<&'static str>,
    again: Option<Again>,
    /// What came late, before the end of what was read.
    late: Vec<StoredEvent>,
    /// Up to here nothing comes any more that is not there. `None`: something may yet come late, before the end of what was read.
    settled: Option<GlobalPosition>,
    /// Where the log ends.
    head: GlobalPosition,
    /// What of the log is not in its table.
    archive: Arc<Archive>,
}

impl Start {
    /// As this connection sees the log.
    pub(super) async fn of(
        connection: &mut PgConnection,
        shelf: Option<&Shelf>,
        settings: &Settings,
    ) -> Result<(Self, Option<Of>)> {
        let archive = Archive::open(connection, &settings.archive).await?;
        // What is open may have begun in it.
        archive.needed_behind(GlobalPosition::default())?;
        // Before the answers, so that all are there to what is settled.
        let ends = "select coalesce((select max(position) from log.events), 0), (select published from log.relay)";
        let (head, published): (i64, i64) = sqlx::query_as(ends)
            .fetch_one(&mut *connection)
            .await
            .context("reading the log; are its migrations applied?")?;
        let (head, settled) = (GlobalPosition::new(head), Some(GlobalPosition::new(published.min(head))));
        let (begin, of) = match shelf {
            None => (Begin::Anew(""), None),
            Some(shelf) => {
                let of = Of::read(connection).await?;
                let begin = shelf.begin(&of, connection).await?;
                (if settings.whole { Begin::Anew("it was asked to") } else { begin }, Some(of))
            }
        };
        let start = match begin {
            Begin::Anew(why) => {
                let causes = Causes::of_answered(tables::answered(connection).await?);
                let anew = Some(why).filter(|why| !why.is_empty());
                let books = Books::new(causes, settings.lately);
                Self { books, since: None, anew, again: None, late: Vec::new(), settled, head, archive }
            }
            Begin::With(kept) => {
                let after = kept.position();
                let late = read_between(connection, &kept.books.log.gaps).await.context("reading what came late")?;
                let answered = if archive.needed_behind(after)? {
                    tables::answered(connection).await?
                } else {
                    tables::answered_since(connection, after, &late).await?
                };
                let causes = Causes::of_answered(answered);
                let gaps = kept.gaps_left(&late, connection).await?;
                let settled = settled.filter(|_| gaps.is_empty());
                let (mut books, again) = Books::restored(kept.books, causes, settings.lately);
                books.log.still_open(gaps);
                Self { books, since: Some(after), anew: None, again: Some(again), late, settled, head, archive }
            }
        };
        Ok((start, of))
    }

    /// Whether what it does not know of yet comes behind what is settled.
    pub(super) const fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    fn after(&self) -> GlobalPosition {
        self.since.unwrap_or_default()
    }
}

/// Connections of one part of the reading.
struct Connections {
    /// The log is read over it into the books,
    log: PgConnection,
    /// over this one what is not in memory and is touched again,
    past: Past,
    /// and over this one what is compared that is let go.
    tables: PgConnection,
}

impl Connections {
    /// In no moment.
    async fn open(database_url: &str, archive: &Arc<Archive>) -> Result<Self> {
        let past = Past::of(connect(database_url).await?, Arc::clone(archive));
        Ok(Self { log: connect(database_url).await?, past, tables: connect(database_url).await? })
    }

    /// From now on in the moment of a snapshot.
    async fn see(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        for connection in [&mut self.log, self.past.connection(), &mut self.tables] {
            snapshot.share(connection).await?;
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        self.past.close().await?;
        self.log.close().await?;
        Ok(self.tables.close().await?)
    }
}

/// What was read, and in which moment it ends.
pub(super) struct Done {
    pub(super) snapshot: Snapshot,
    pub(super) books: Books,
    pub(super) comparison: Comparison,
    pub(super) archive: Arc<Archive>,
}

/// Reads what is settled of the log page by page, in no moment and with pauses while the fleet writes: it stays as it is. Rows change
/// meanwhile, but only with events that are read later, and then the rows are compared again. What is left of it, and the rows at the end, are
/// read in one moment, so that this one is short. `snapshot`: the moment in which all is read, where that is not to be.
pub(super) async fn read(
    database_url: &str,
    start: Start,
    snapshot: Option<Snapshot>,
    lately: u64,
    progress: &impl Fn(Progress),
) -> Result<Done> {
    let (archive, after) = (Arc::clone(&start.archive), start.after());
    let step = usize::try_from(lately).unwrap_or(usize::MAX).clamp(1, STEP_MAX);
    let (head, settled) = (start.head, start.settled.unwrap_or(after).max(after));
    let mut reading =
        Reading { comparison: Comparison::with(Arc::clone(&archive)), step, since_look: 0, after, head, progress };
    let mut connections = Connections::open(database_url, &archive).await?;
    let (snapshot, mut books) = if let Some(mut snapshot) = snapshot {
        connections.see(&mut snapshot).await?;
        (snapshot, resume(start, &mut connections.past).await?)
    } else {
        let mut books = resume(start, &mut connections.past).await?;
        connections = reading.part(connections, &mut books, &archive, (after, Some(settled))).await?;
        let mut snapshot = Snapshot::take(database_url).await?;
        archive.unchanged(&mut snapshot.connection).await?;
        books.answered_too(tables::answered_since(&mut snapshot.connection, settled, &[]).await?);
        connections.see(&mut snapshot).await?;
        (snapshot, books)
    };
    connections = reading.part(connections, &mut books, &archive, (settled, None)).await?;
    let comparison = reading.comparison;
    // What differs is looked at with all that belongs to it.
    let wanted = books.cases.wanted_by_name(comparison.differing());
    bring_back(&mut books, wanted, GlobalPosition::MAX, &BTreeSet::new(), &mut connections.past).await?;
    connections.close().await?;
    Ok(Done { snapshot, books, comparison, archive })
}

/// Reading part by part.
struct Reading<'a, F> {
    comparison: Comparison,
    /// Events after which it is looked for what can be let go.
    step: usize,
    since_look: usize,
    /// Where it has begun, and where the log ended then.
    after: GlobalPosition,
    head: GlobalPosition,
    progress: &'a F,
}

impl<F: Fn(Progress)> Reading<'_, F> {
    /// Reads what stands between: up to the end of what the connections see, if to none.
    async fn part(
        &mut self,
        connections: Connections,
        books: &mut Books,
        archive: &Arc<Archive>,
        (after, up_to): (GlobalPosition, Option<GlobalPosition>),
    ) -> Result<Connections> {
        let Connections { mut log, mut past, mut tables } = connections;
        let (pages, mut coming) = mpsc::channel(PAGES_AHEAD);
        let archive = Arc::clone(archive);
        let reading = tokio::spawn(async move {
            match up_to {
                Some(up_to) => read_settled(&archive, &mut log, (after, up_to), pages).await?,
                None => read_all_after(&archive, &mut log, after, pages).await?,
            }
            Ok::<_, anyhow::Error>(log)
        });
        let (rows, mut going) = mpsc::channel(ROWS_BEHIND);
        let mut comparison = std::mem::take(&mut self.comparison);
        let comparing = tokio::spawn(async move {
            while let Some(rows) = going.recv().await {
                comparison.take(&mut tables, rows).await?;
            }
            Ok::<_, anyhow::Error>((tables, comparison))
        });
        while let Some(page) = coming.recv().await {
            for events in page.chunks(self.step) {
                if let Some(first) = events.first() {
                    let wanted = books.cases.wanted(events);
                    bring_back(books, wanted, first.position, &BTreeSet::new(), &mut past).await?;
                }
                events.iter().for_each(|event| books.take(event));
                self.since_look += events.len();
                if self.since_look >= self.step {
                    self.since_look = 0;
                    // Who takes no more of them has failed, which is heard below.
                    rows.send(books.let_go()).await.unwrap_or_default();
                }
            }
            let between = |from: GlobalPosition, to: GlobalPosition| u64::try_from(to.get() - from.get()).unwrap_or(0);
            let read = between(self.after, books.log.position);
            (self.progress)(Progress::Folding(read, between(self.after, self.head).max(read)));
        }
        drop((coming, rows));
        let tables;
        (tables, self.comparison) = comparing.await.context("comparing rows")??;
        let log = reading.await.context("reading the log")??;
        Ok(Connections { log, past, tables })
    }
}

/// Reads again what the books do not keep: what is open, and what may be a cause. Then what came late.
async fn resume(start: Start, past: &mut Past) -> Result<Books> {
    let after = start.after().next();
    let Start { mut books, again, late, .. } = start;
    let Some(Again { open, rounds, loose }) = again else { return Ok(books) };
    let is_late: BTreeSet<GlobalPosition> = late.iter().map(|event| event.position).collect();
    let rounds = read_before(past, &rounds, after, &is_late).await?;
    books.take_causes_back(&rounds);
    let loose = read_before(past, &loose, after, &is_late).await?;
    books.take_loose_back(&loose);
    bring_back(&mut books, open, after, &is_late, past).await?;
    for event in &late {
        let wanted = books.cases.wanted(std::slice::from_ref(event));
        bring_back(&mut books, wanted, after, &is_late, past).await?;
        books.take_late(event);
    }
    Ok(books)
}

/// Events of these streams before a position, in order, but for those that came late.
async fn read_before(
    past: &mut Past,
    streams: &[String],
    before: GlobalPosition,
    is_late: &BTreeSet<GlobalPosition>,
) -> Result<Vec<StoredEvent>> {
    let mut events = past.streams_before(streams, before).await?;
    events.retain(|event| !is_late.contains(&event.position));
    events.sort_by_key(|event| event.position);
    Ok(events)
}

/// Brings back what is not in memory, as it was before this position.
async fn bring_back(
    books: &mut Books,
    mut wanted: Wanted,
    before: GlobalPosition,
    is_late: &BTreeSet<GlobalPosition>,
    past: &mut Past,
) -> Result<()> {
    loop {
        let streams = wanted.streams();
        if streams.is_empty() {
            break;
        }
        wanted.take(read_before(past, &streams, before, is_late).await?);
    }
    books.take_back(wanted);
    Ok(())
}

/// Gaps without the positions that were filled since.
pub(super) fn without(gaps: &[Gap], late: &[StoredEvent]) -> Vec<Gap> {
    let mut left = Vec::new();
    let mut late = late.iter().map(|event| event.position).peekable();
    for (first, last) in gaps {
        let mut first = *first;
        while let Some(filled) = late.next_if(|position| position <= last) {
            if first < filled {
                left.push((first, filled.previous()));
            }
            first = filled.next();
        }
        if first <= *last {
            left.push((first, *last));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use domain::{GlobalPosition, StreamVersion, Timestamp};
    use runtime::log::event_store::StoredEvent;
    use uuid::Uuid;

    use super::without;

    fn late(position: i64) -> StoredEvent {
        StoredEvent {
            position: GlobalPosition::new(position),
            stream: String::new(),
            version: StreamVersion::new(1),
            event_id: Uuid::nil(),
            service: String::new(),
            message_type: String::new(),
            data: vec![],
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            traceparent: None,
            recorded_at: Timestamp::default(),
            is_handled: false,
        }
    }

    #[test]
    fn what_came_late_is_no_gap_any_more() {
        let gap = |first, last| (GlobalPosition::new(first), GlobalPosition::new(last));
        let gaps = [gap(3, 5), gap(8, 8), gap(10, 12)];
        assert_eq!(without(&gaps, &[]), gaps);
        assert_eq!(without(&gaps, &[late(4), late(8), late(12)]), [gap(3, 3), gap(5, 5), gap(10, 11)]);
        assert_eq!(without(&gaps, &[late(3), late(4), late(5)]), [gap(8, 8), gap(10, 12)]);
    }
}
