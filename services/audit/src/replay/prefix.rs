//! The prefix of the log that a replay folds: where it ends, and reading up to there, a page at a time over a connection of its own.
//!
//! Positions are drawn before they are committed, so below the last event that can be seen one may still come. Whoever draws a position has
//! a transaction id by then. So once all transactions are over that were open when the end was seen, nothing comes below it any more, and
//! it can be read page by page with no transaction that lasts. What the relay has passed is settled in the same way already.

use std::{
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use domain::{GlobalPosition, StreamVersion, Timestamp};
use futures::{StreamExt, TryStreamExt};
use platform::clock;
use runtime::log::event_store::StoredEvent;
use sqlx::{Connection, PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

use super::{At, Cut, Database, Progress, Skew, fold::LogEvent};
use crate::{
    archive::{Archive, LogAt},
    pace::Pace,
    snapshot::connect,
};

/// Events of one page, read by one statement.
const PAGE: u32 = 20_000;

/// Rows that go from one thread to the other at once.
const CHUNK: usize = 500;

/// Chunks that are read ahead, at most.
const CHUNKS_AHEAD: usize = 4;

/// Events that are looked at at once, when none of them leaves the database.
pub(crate) const LOOK: u32 = 50_000;

/// Events behind the cut that are looked at for what clocks disagree about.
const BEHIND_MAX: u32 = 100_000;

/// How long transactions may take to end that were open when the end of the log was seen.
const SETTLE_MAX: Duration = Duration::from_secs(10);

const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(20);

/// Who reads the log.
pub(crate) trait Reader: Send + 'static {
    /// Takes the next event in, in order of position.
    ///
    /// # Errors
    /// It cannot be read: no more of them are.
    fn take(&mut self, event: &LogEvent<'_>) -> Result<()>;
}

/// The log, over a connection of its own, and what was archived of it.
pub(crate) struct Log {
    connection: PgConnection,
    archive: Arc<Archive>,
    pace: Pace,
}

/// Where a replay ends.
#[derive(Debug)]
pub(crate) struct End {
    /// The last event that is folded,
    pub(crate) up_to: GlobalPosition,
    /// and when it was recorded.
    pub(crate) recorded_at: Timestamp,
    /// What events before and behind it are compared with: the time that was asked for; without one, when the last event was recorded.
    pub(crate) time: Timestamp,
    /// Where the log ended.
    pub(crate) log_ended: GlobalPosition,
}

impl End {
    pub(crate) const fn cut(&self) -> Cut {
        Cut { position: self.up_to, recorded_at: self.recorded_at, log_ended: self.log_ended }
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) events: u64,
    /// Events that are recorded later than the time of the end.
    later: u64,
    first_later: Option<GlobalPosition>,
}

impl Read {
    /// Adds what was read behind it.
    fn add(&mut self, behind: Self) {
        self.events += behind.events;
        self.later += behind.later;
        self.first_later = self.first_later.or(behind.first_later);
    }

    fn take(&mut self, event: &LogEvent<'_>, time: Timestamp) {
        self.events += 1;
        if event.recorded_at > time {
            self.later += 1;
            self.first_later.get_or_insert(event.position);
        }
    }
}

impl Log {
    /// Connects to the database.
    pub(crate) async fn open(at: impl Into<LogAt<'_>>, max_rate: Option<NonZeroU32>) -> Result<Self> {
        let LogAt { database_url, archive } = at.into();
        let mut connection = connect(database_url).await?;
        let archive = Archive::open(&mut connection, archive).await?;
        Ok(Self { connection, archive, pace: Pace::of(max_rate) })
    }

    /// Closes it, once all is read: nothing of that has left the table meanwhile.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.archive.unchanged(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }

    pub(crate) const fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Events of these types behind one position and up to another, in order. Those between stay in the database, and no statement lasts.
    pub(crate) async fn of_types(
        &mut self,
        types: &[String],
        (after, up_to): (GlobalPosition, GlobalPosition),
    ) -> Result<Vec<StoredEvent>> {
        let query = "select position, stream, version, event_id, service, type, recorded_at, data, correlation_id,
                causation_id, traceparent
            from log.events where position > $1 and position <= $2 and type = any($3) order by position";
        let wanted = types.to_vec();
        let mut found = self.archive.some((after, up_to), move |event| wanted.contains(&event.message_type)).await?;
        let (mut after, up_to) = (after.max(self.archive.ends()).get(), up_to.get());
        while after < up_to {
            let until = up_to.min(after.saturating_add(i64::from(LOOK)));
            let rows = sqlx::query(query).bind(after).bind(until).bind(types).fetch_all(&mut self.connection).await;
            for row in &rows.context("reading the log")? {
                found.push(event(row).context("reading the log")?.stored());
            }
            after = until;
        }
        Ok(found)
    }

    /// All events of these streams up to a position, in order.
    pub(crate) async fn of_streams(&mut self, streams: &[String], up_to: GlobalPosition) -> Result<Vec<StoredEvent>> {
        let query = "select position, stream, version, event_id, service, type, recorded_at, data, correlation_id,
                causation_id, traceparent
            from log.events where stream = any($1) and position <= $2 order by position";
        let rows = sqlx::query(query).bind(streams).bind(up_to.get()).fetch_all(&mut self.connection).await;
        let rows = rows.context("reading the log")?;
        let in_table: Vec<StoredEvent> = rows
            .iter()
            .map(|row| Ok(event(row)?.stored()))
            .collect::<Result<_, sqlx::Error>>()
            .context("reading the log")?;
        // All streams that begin behind the archive are in the table alone.
        let begin = |stream: &String| in_table.iter().find(|event| event.stream == *stream).map(|event| event.version);
        let begun: Vec<StreamVersion> = streams.iter().filter_map(begin).collect();
        if !begun.is_empty() && begun.iter().all(|version| *version == StreamVersion::default().next()) {
            return Ok(in_table);
        }
        let mut events = self.archive.of_streams(streams, up_to).await?;
        events.extend(in_table);
        Ok(events)
    }

    /// What is archived of it.
    pub(crate) const fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// Which database this is.
    pub(crate) async fn database(&mut self) -> Result<Database> {
        let query = "select id, name, current_database()::text, system_identifier::text,
                (select max(epoch) from log.epochs), session_user::text, clock_timestamp()
            from log.installation, pg_control_system()";
        let row = sqlx::query(query).fetch_one(&mut self.connection).await;
        let row = row.context("reading which log this is; are its migrations applied?")?;
        Ok(Database {
            installation: row.try_get(0)?,
            name: row.try_get(1)?,
            database: row.try_get(2)?,
            system_identifier: row.try_get(3)?,
            epoch: row.try_get(4)?,
            role: row.try_get(5)?,
            at: row.try_get::<OffsetDateTime, _>(6)?.into(),
        })
    }

    /// Where a replay ends that goes up to this moment.
    pub(crate) async fn end(&mut self, at: Option<&At>, progress: &impl Fn(Progress)) -> Result<End> {
        let query =
            "select (select max(position) from log.events), (select published from log.relay), clock_timestamp()";
        let (log_ended, published, now): (Option<i64>, i64, OffsetDateTime) =
            sqlx::query_as(query).fetch_one(&mut self.connection).await.context("reading where the log ends")?;
        let log_ended = GlobalPosition::new(log_ended.context("the log is empty: there is nothing to replay")?);
        let published = GlobalPosition::new(published);
        let up_to = match at {
            Some(At::Position(up_to)) if *up_to > log_ended => {
                bail!("position {up_to} is beyond the log, which ends at position {log_ended} now")
            }
            Some(At::Time(time)) if *time > Timestamp::from(now) => {
                bail!("{time} is not over yet: it is {} by the clock of Postgres", Timestamp::from(now))
            }
            Some(At::Position(up_to)) => *up_to,
            Some(At::Time(_)) | None => log_ended,
        };
        if up_to > published {
            self.settle(log_ended, published).await?;
        }
        let up_to = match at {
            Some(At::Time(time)) => self.last_at(*time, log_ended, progress).await?,
            Some(At::Position(_)) | None => Some(up_to),
        };
        if let Some(up_to) = up_to
            && let Some(last) = self.archived_up_to(up_to).await?
        {
            return Ok(Self::end_at(at, (last.position, last.recorded_at), log_ended));
        }
        let query = "select position, recorded_at from (
                (select 1 as place, position, recorded_at from log.events where position <= $1 order by position desc limit 1)
                union all (select 2, position, recorded_at from log.events order by position limit 1)
            ) as ends order by place";
        let ends: Vec<(i64, OffsetDateTime)> = sqlx::query_as(query)
            .bind(up_to.map_or(0, GlobalPosition::get))
            .fetch_all(&mut self.connection)
            .await
            .context("reading the ends of the log")?;
        match ends.as_slice() {
            [(last, recorded_at), _first] => {
                Ok(Self::end_at(at, (GlobalPosition::new(*last), Timestamp::from(*recorded_at)), log_ended))
            }
            ends => {
                let first =
                    ends.first().map(|(position, at)| format!("{position}, recorded at {}", Timestamp::from(*at)));
                bail!("that is before the first event, which is at position {}", first.unwrap_or_default())
            }
        }
    }

    fn end_at(at: Option<&At>, (up_to, recorded_at): (GlobalPosition, Timestamp), log_ended: GlobalPosition) -> End {
        let time = if let Some(At::Time(time)) = at { *time } else { recorded_at };
        End { up_to, recorded_at, time, log_ended }
    }

    /// The last event up to a position, if that is archived.
    async fn archived_up_to(&mut self, up_to: GlobalPosition) -> Result<Option<StoredEvent>> {
        let query = "select exists (select from log.events where position <= $1)";
        let is_in_table: bool = sqlx::query_scalar(query)
            .bind(up_to.get())
            .fetch_one(&mut self.connection)
            .await
            .context("reading the log")?;
        if is_in_table || self.archive.ends() == GlobalPosition::default() {
            return Ok(None);
        }
        self.archive.last_up_to(up_to).await
    }

    /// Waits until nothing can come any more below where the log was seen to end.
    async fn settle(&mut self, log_ended: GlobalPosition, published: GlobalPosition) -> Result<()> {
        let failed = "waiting for the end of the log to settle";
        let begun = Instant::now();
        let bound: i64 = sqlx::query_scalar("select pg_current_xact_id()::text::bigint")
            .fetch_one(&mut self.connection)
            .await
            .context(failed)?;
        loop {
            let oldest: i64 = sqlx::query_scalar("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
                .fetch_one(&mut self.connection)
                .await
                .context(failed)?;
            if oldest >= bound {
                return Ok(());
            }
            if begun.elapsed() > SETTLE_MAX {
                return Err(self.unsettled(log_ended, published).await);
            }
            clock::sleep(SETTLE_LOOK_EVERY).await;
        }
    }

    /// Why the end of the log does not settle.
    async fn unsettled(&mut self, log_ended: GlobalPosition, published: GlobalPosition) -> anyhow::Error {
        let query = "select pid, application_name, usename::text, xact_start from pg_stat_activity
            where backend_xid is not null order by age(backend_xid) desc limit 1";
        let holder = sqlx::query_as(query).fetch_optional(&mut self.connection).await.ok().flatten();
        let holder = holder.map_or_else(
            || "a transaction that is prepared, or of another database,".to_owned(),
            |(pid, program, role, since): (i32, Option<String>, Option<String>, Option<OffsetDateTime>)| {
                let since = since.map(|since| Timestamp::from(since).to_string()).unwrap_or_default();
                let (program, role) = (program.unwrap_or_default(), role.unwrap_or_default());
                format!("session {pid} (program {program:?}, role {role:?}) is in a transaction since {since} and")
            },
        );
        let before = if published > GlobalPosition::default() {
            format!(", or replay with --at {published} or before, which is settled")
        } else {
            String::new()
        };
        anyhow!("{holder} may still write below position {log_ended}, where the log ends: end it{before}")
    }

    /// The last event that is recorded at this time or before, looked for from the end on: clocks differ, so any event may be it.
    async fn last_at(
        &mut self,
        time: Timestamp,
        log_ended: GlobalPosition,
        progress: &impl Fn(Progress),
    ) -> Result<Option<GlobalPosition>> {
        let query = "select min(position), max(position) filter (where recorded_at <= $2), count(*)
            from (select position, recorded_at from log.events where position <= $1 order by position desc limit $3) as part";
        let mut up_to = log_ended;
        loop {
            let (first, found, looked_at): (Option<i64>, Option<i64>, i64) = sqlx::query_as(query)
                .bind(up_to.get())
                .bind(OffsetDateTime::from(time))
                .bind(i64::from(self.pace.page(LOOK)))
                .fetch_one(&mut self.connection)
                .await
                .context("looking for where a time cuts the log")?;
            if let Some(found) = found {
                return Ok(Some(GlobalPosition::new(found)));
            }
            let Some(first) = first else { return self.archive.last_at(time, up_to).await };
            up_to = GlobalPosition::new(first).previous();
            progress(Progress::Looking(up_to));
            self.pace.wait(u64::try_from(looked_at).unwrap_or(0), &mut self.connection).await?;
        }
    }

    /// Reads all events up to the end, while another thread takes them. Those in streams of no such category are only looked at, and none of
    /// them leaves the database.
    pub(crate) async fn read<R: Reader>(
        &mut self,
        categories: Option<&[&str]>,
        end: &End,
        reader: R,
        progress: &impl Fn(Progress),
    ) -> Result<(R, Read)> {
        let (chunks, mut read) = mpsc::channel::<Vec<PgRow>>(CHUNKS_AHEAD);
        let are_all = categories.is_none();
        let time = end.time;
        let (mut reader, mut seen) = self.read_archive(end, reader, progress).await?;
        let seen_before = seen.events;
        let taking = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = read.blocking_recv() {
                for row in &chunk {
                    let event = event(row).context("reading the log")?;
                    if are_all {
                        seen.take(&event, time);
                    }
                    reader.take(&event)?;
                }
            }
            Ok::<_, anyhow::Error>((reader, seen))
        });
        let looked_at = self.read_pages(categories, (end, seen_before), chunks, progress).await?;
        let (reader, mut seen) = taking.await.context("taking events in")??;
        seen.add(looked_at);
        Ok((reader, seen))
    }

    /// Has what is archived of it taken in first.
    async fn read_archive<R: Reader>(
        &self,
        end: &End,
        mut reader: R,
        progress: &impl Fn(Progress),
    ) -> Result<(R, Read)> {
        let (archive, up_to, time) = (Arc::clone(&self.archive), end.up_to, end.time);
        let (told, mut heard) = watch::channel((0, GlobalPosition::default()));
        let taking = tokio::task::spawn_blocking(move || {
            let mut seen = Read::default();
            archive.each((GlobalPosition::default(), up_to), |event| {
                let event = LogEvent::of(&event);
                seen.take(&event, time);
                if seen.events % u64::from(PAGE) == 0 {
                    told.send_replace((seen.events, event.position));
                }
                reader.take(&event)
            })?;
            Ok((reader, seen))
        });
        // It ends when all is taken in.
        while heard.changed().await.is_ok() {
            let (events, position) = *heard.borrow_and_update();
            progress(Progress::Folding { events, position, up_to });
        }
        taking.await.context("taking events in from the archive")?
    }

    /// Reads page by page, and sends on what is wanted. What was looked at in the database.
    async fn read_pages(
        &mut self,
        categories: Option<&[&str]>,
        (end, mut events): (&End, u64),
        chunks: mpsc::Sender<Vec<PgRow>>,
        progress: &impl Fn(Progress),
    ) -> Result<Read> {
        let query = "select position, stream, version, event_id, service, type, recorded_at, data, correlation_id, causation_id, traceparent
            from log.events where position > $1 and position <= $2 and ($3::text[] is null or stream ^@ any($3))
            order by position limit $4";
        let prefixes: Option<Vec<String>> =
            categories.map(|categories| categories.iter().map(|category| format!("{category}-")).collect());
        let mut looked_at = Read::default();
        let mut after = self.archive.ends();
        loop {
            let limit = self.pace.page(PAGE);
            // Where only some are wanted, all of the page are looked at first.
            let (seen, until) = if prefixes.is_some() {
                self.look_at((after, end.up_to), limit, end.time).await?
            } else {
                (Read::default(), end.up_to)
            };
            let rows = sqlx::query(query).bind(after.get()).bind(until.get()).bind(&prefixes).bind(i64::from(limit));
            let mut sent = 0;
            {
                let mut rows = pin!(rows.fetch(&mut self.connection).try_chunks(CHUNK));
                while let Some(chunk) = rows.next().await {
                    let chunk = chunk.map_err(|error| error.1).context("reading the log")?;
                    if let Some(last) = chunk.last() {
                        after = GlobalPosition::new(last.try_get(0).context("reading the log")?);
                    }
                    sent += u64::try_from(chunk.len()).unwrap_or(0);
                    // Who no longer takes them in has failed, which is heard of there.
                    if chunks.send(chunk).await.is_err() {
                        return Ok(looked_at);
                    }
                }
            }
            let page = if prefixes.is_some() {
                after = until;
                seen.events
            } else {
                sent
            };
            looked_at.add(seen);
            events += page;
            progress(Progress::Folding { events, position: after, up_to: end.up_to });
            if page < u64::from(limit) {
                return Ok(looked_at);
            }
            self.pace.wait(page, &mut self.connection).await?;
        }
    }

    /// Looks at the next events, at most so many, none of which leaves the database; and where they end.
    async fn look_at(
        &mut self,
        (after, up_to): (GlobalPosition, GlobalPosition),
        limit: u32,
        time: Timestamp,
    ) -> Result<(Read, GlobalPosition)> {
        let query =
            "select count(*), count(*) filter (where recorded_at > $3), min(position) filter (where recorded_at > $3),
                max(position)
            from (select position, recorded_at from log.events where position > $1 and position <= $2
                order by position limit $4) as page";
        let (events, later, first_later, last): (i64, i64, Option<i64>, Option<i64>) = sqlx::query_as(query)
            .bind(after.get())
            .bind(up_to.get())
            .bind(OffsetDateTime::from(time))
            .bind(i64::from(limit))
            .fetch_one(&mut self.connection)
            .await
            .context("reading the log")?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let first_later = first_later.map(GlobalPosition::new);
        let last = last.map_or(up_to, GlobalPosition::new);
        Ok((Read { events: count(events), later: count(later), first_later }, last))
    }

    /// What clocks disagree about at the cut.
    pub(crate) async fn skew(&mut self, end: &End, read: &Read) -> Result<Skew> {
        let query = "select count(*) filter (where recorded_at <= $3), count(*)
            from (select recorded_at from log.events where position > $1 and position <= $2 order by position limit $4) as part";
        let archived = self.archive.behind((end.up_to, end.log_ended), end.time, BEHIND_MAX).await?;
        let (earlier, looked_at): (i64, i64) = sqlx::query_as(query)
            .bind(end.up_to.get())
            .bind(end.log_ended.get())
            .bind(OffsetDateTime::from(end.time))
            .bind(i64::from(BEHIND_MAX.saturating_sub(archived.1)))
            .fetch_one(&mut self.connection)
            .await
            .context("looking behind the cut")?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Skew {
            time: end.time,
            later_before_the_cut: read.later,
            first_later: read.first_later,
            earlier_behind_the_cut: count(earlier) + u64::from(archived.0),
            looked_at_behind: count(looked_at) + u64::from(archived.1),
        })
    }
}

/// An event, from the columns that [`Log::read`] asks for.
pub(crate) fn event(row: &PgRow) -> Result<LogEvent<'_>, sqlx::Error> {
    Ok(LogEvent {
        position: GlobalPosition::new(row.try_get(0)?),
        stream: row.try_get(1)?,
        version: StreamVersion::new(row.try_get(2)?),
        event_id: row.try_get(3)?,
        service: row.try_get(4)?,
        message_type: row.try_get(5)?,
        recorded_at: row.try_get::<OffsetDateTime, _>(6)?.into(),
        data: row.try_get(7)?,
        correlation_id: row.try_get(8)?,
        causation_id: row.try_get(9)?,
        traceparent: row.try_get(10)?,
    })
}
