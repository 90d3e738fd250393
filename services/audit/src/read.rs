//! Reading the log into the books: all of it, or what came since an earlier audit.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result};
use domain::GlobalPosition;
use runtime::log::event_store::{StoredEvent, read_between};
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
    past::{Past, read_all_after},
    snapshot::Snapshot,
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
    /// How many events there are to be read.
    ahead: u64,
    /// What of the log is not in its table.
    pub(super) archive: Arc<Archive>,
}

impl Start {
    pub(super) async fn of(
        snapshot: &mut Snapshot,
        shelf: Option<&Shelf>,
        settings: &Settings,
    ) -> Result<(Self, Option<Of>)> {
        let connection = &mut snapshot.connection;
        let archive = Archive::open(connection, &settings.archive).await?;
        // What is open may have begun in it.
        archive.needed_behind(GlobalPosition::default())?;
        let (begin, of) = match shelf {
            None => (Begin::Anew(""), None),
            Some(shelf) => {
                let of = Of::read(connection).await?;
                let begin = shelf.begin(&of, connection).await?;
                (if settings.whole { Begin::Anew("it was asked to") } else { begin }, Some(of))
            }
        };
        let after = if let Begin::With(kept) = &begin { kept.position() } else { GlobalPosition::default() };
        let ahead: i64 = sqlx::query_scalar("select count(*) from log.events where position > $1")
            .bind(after.get())
            .fetch_one(&mut *connection)
            .await
            .context("reading the log; are its migrations applied?")?;
        let ahead = u64::try_from(ahead).unwrap_or(0) + archive.count_behind(after);
        let start = match begin {
            Begin::Anew(why) => {
                let causes = Causes::of_answered(tables::answered(connection).await?);
                let anew = Some(why).filter(|why| !why.is_empty());
                let books = Books::new(causes, settings.lately);
                Self { books, since: None, anew, again: None, late: Vec::new(), ahead, archive }
            }
            Begin::With(kept) => {
                let late = read_between(connection, &kept.books.log.gaps).await.context("reading what came late")?;
                let answered = if archive.needed_behind(after)? {
                    tables::answered(connection).await?
                } else {
                    tables::answered_since(connection, after, &late).await?
                };
                let causes = Causes::of_answered(answered);
                let gaps = kept.gaps_left(&late, connection).await?;
                let (mut books, again) = Books::restored(kept.books, causes, settings.lately);
                books.log.still_open(gaps);
                Self { books, since: Some(after), anew: None, again: Some(again), late, ahead, archive }
            }
        };
        Ok((start, of))
    }

    fn after(&self) -> GlobalPosition {
        self.since.unwrap_or_default()
    }
}

/// Reads the log into the books over one connection, brings back over a second what is not in memory and is touched again, and compares over
/// a third what is let go.
pub(super) async fn read(
    database_url: &str,
    mut snapshot: Snapshot,
    start: Start,
    lately: u64,
    progress: &impl Fn(Progress),
) -> Result<(Snapshot, Books, Comparison)> {
    let archive = Arc::clone(&start.archive);
    let mut past = Past::of(snapshot.another(database_url).await?, Arc::clone(&archive));
    let mut tables = snapshot.another(database_url).await?;
    let (pages, mut coming) = mpsc::channel(PAGES_AHEAD);
    let after = start.after();
    let comparison = Comparison::with(Arc::clone(&archive));
    let reading = tokio::spawn(async move {
        let read = read_all_after(&archive, &mut snapshot.connection, after, pages).await;
        read.map(|()| snapshot)
    });
    let (rows, mut going) = mpsc::channel(ROWS_BEHIND);
    let comparing = tokio::spawn(async move {
        let mut comparison = comparison;
        while let Some(rows) = going.recv().await {
            comparison.take(&mut tables.connection, rows).await?;
        }
        tables.close().await.map(|()| comparison)
    });
    let ahead = start.ahead;
    let mut books = resume(start, &mut past).await?;
    let before = books.log.events;
    let step = usize::try_from(lately).unwrap_or(usize::MAX).clamp(1, STEP_MAX);
    let mut since_look = 0;
    while let Some(page) = coming.recv().await {
        for events in page.chunks(step) {
            if let Some(first) = events.first() {
                let wanted = books.cases.wanted(events);
                bring_back(&mut books, wanted, first.position, &BTreeSet::new(), &mut past).await?;
            }
            events.iter().for_each(|event| books.take(event));
            since_look += events.len();
            if since_look >= step {
                since_look = 0;
                // Who takes no more of them has failed, which is heard below.
                rows.send(books.let_go()).await.unwrap_or_default();
            }
        }
        progress(Progress::Folding(books.log.events - before, ahead));
    }
    drop((coming, rows));
    let comparison: Comparison = comparing.await.context("comparing rows")??;
    // What differs is looked at with all that belongs to it.
    let wanted = books.cases.wanted_by_name(comparison.differing());
    bring_back(&mut books, wanted, GlobalPosition::MAX, &BTreeSet::new(), &mut past).await?;
    past.close().await?;
    let snapshot = reading.await.context("reading the log")??;
    Ok((snapshot, books, comparison))
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
