//! Parts of the log that are in files instead of its table: which these are, and each step by which a partition leaves the table and comes
//! back. A step is one transaction with its note in `log.archives`, but for the detaching, which Postgres does in two: one that was broken
//! off in between is ended by the next try.
//!
//! Why it is so: services/runtime/README.md#a-part-of-the-log-leaves-by-steps

use domain::{GlobalPosition, Timestamp};
use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;

use crate::log::event_store::{StoredEvent, columns, recorded};

/// A partition of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: i32,
    /// Its first position,
    pub first: GlobalPosition,
    /// and its last.
    pub last: GlobalPosition,
}

/// A partition that the log's table has no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Which one.
    pub part: Part,
    /// Where its files were put and when, as noted.
    pub copy: Option<Copied>,
}

/// The files of a part, as noted when they were compared with the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// When that was.
    pub at: Timestamp,
    /// Where they were put.
    pub directory: String,
    /// SHA-256 of their manifest, in hexadecimal.
    pub manifest_sha256: String,
}

/// Where the table of a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the log.
    Log,
    /// On its way out: somebody detaches it, or has broken off.
    Detaching,
    /// Out of the log, and not noted yet.
    Beside,
    /// In the schema `archived`.
    Aside,
    /// Nowhere: it was dropped.
    Gone,
}

impl Part {
    /// Its name, of its table and of the directory of its files.
    #[must_use]
    pub fn name(&self) -> String {
        format!("events_{}", self.number)
    }

    fn in_log(&self) -> String {
        format!("log.{}", self.name())
    }

    fn aside(&self) -> String {
        format!("archived.{}", self.name())
    }

    /// The table with its events, if there is one.
    #[must_use]
    pub fn table(&self, place: Place) -> Option<String> {
        match place {
            Place::Log | Place::Detaching | Place::Beside => Some(self.in_log()),
            Place::Aside => Some(self.aside()),
            Place::Gone => None,
        }
    }
}

/// What is noted of a step.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// The part.
    pub part: Part,
    /// How many events it has.
    pub events: u64,
    /// SHA-256 of the manifest of its files.
    pub manifest_sha256: &'a str,
    /// Where they are.
    pub directory: &'a str,
    /// Why, for whoever reads it later.
    pub reason: &'a str,
}

impl Note<'_> {
    async fn write(&self, step: &str, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Self { part, events, manifest_sha256, directory, reason } = self;
        let note = "insert into log.archives (step, partition, first, last, events, manifest_sha256, directory, reason)
            values ($1, $2, $3, $4, $5, $6, $7, $8)";
        sqlx::query(note)
            .bind(step)
            .bind(part.number)
            .bind(part.first.get())
            .bind(part.last.get())
            .bind(i64::try_from(*events).unwrap_or(i64::MAX))
            .bind(manifest_sha256)
            .bind(directory)
            .bind(reason)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The parts that the log's table has no more, in order: as this transaction sees the table, and none of the others leaves it before the
/// transaction ends.
///
/// # Errors
/// Postgres failed.
pub async fn archived(connection: &mut PgConnection) -> Result<Vec<Archived>, sqlx::Error> {
    type Row = (i32, i64, i64, Option<OffsetDateTime>, Option<String>, Option<String>);
    let query = "select partition, first, last, archived_at, directory, manifest_sha256 from log.archived_parts()";
    let rows: Vec<Row> = sqlx::query_as(query).fetch_all(connection).await?;
    let archived = rows.into_iter().map(|(number, first, last, at, directory, manifest_sha256)| {
        let part = Part { number, first: GlobalPosition::new(first), last: GlobalPosition::new(last) };
        let copy = at.zip(directory).zip(manifest_sha256);
        let copy = copy.map(|((at, directory), manifest_sha256)| Copied { at: at.into(), directory, manifest_sha256 });
        Archived { part, copy }
    });
    Ok(archived.collect())
}

/// All partitions, in order, and where their tables are.
///
/// # Errors
/// Postgres failed.
pub async fn parts(connection: &mut PgConnection) -> Result<Vec<(Part, Place)>, sqlx::Error> {
    let query = "select number, first, last,
            case when inhdetachpending then 'detaching' when inhrelid is not null then 'log'
                when in_log is not null then 'beside' when aside is not null then 'aside' else 'gone' end
        from (select number, first, last, to_regclass('log.events_' || number) as in_log,
                to_regclass('archived.events_' || number) as aside from log.partitions) as parts
            left join pg_inherits on inhrelid = in_log
        order by number";
    let rows: Vec<(i32, i64, i64, String)> = sqlx::query_as(query).fetch_all(connection).await?;
    let parts = rows.into_iter().map(|(number, first, last, place)| {
        let place = match place.as_str() {
            "log" => Place::Log,
            "detaching" => Place::Detaching,
            "beside" => Place::Beside,
            "aside" => Place::Aside,
            _ => Place::Gone,
        };
        (Part { number, first: GlobalPosition::new(first), last: GlobalPosition::new(last) }, place)
    });
    Ok(parts.collect())
}

/// Where the table of a partition is now.
///
/// # Errors
/// Postgres failed.
pub async fn place(connection: &mut PgConnection, part: Part) -> Result<Place, sqlx::Error> {
    let found = parts(connection).await?.into_iter().find(|(one, _)| one.number == part.number);
    Ok(found.map_or(Place::Gone, |(_, place)| place))
}

/// Keeps all others from archiving until this session ends. False: somebody else does.
///
/// # Errors
/// Postgres failed.
pub async fn begin_alone(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('holdfast archive', 0))")
        .fetch_one(connection)
        .await
}

/// The next events of the table of a partition, in order.
///
/// # Errors
/// Postgres failed.
pub async fn read(
    connection: &mut PgConnection,
    table: &str,
    after: GlobalPosition,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = format!("select {} from {table} where position > $1 order by position limit $2", columns!());
    let rows = sqlx::query(AssertSqlSafe(query)).bind(after.get()).bind(limit).fetch_all(connection).await?;
    rows.iter().map(recorded).collect()
}

/// Notes that files have all that the table of a part has.
///
/// # Errors
/// Postgres failed.
pub async fn note_copied(connection: &mut PgConnection, note: &Note<'_>) -> Result<(), sqlx::Error> {
    note.write("copied", connection).await
}

/// Takes a partition out of the log and sets its table aside. Nobody who writes waits for it; it waits for whoever reads the log in a
/// transaction that has begun before. What was broken off before is ended.
///
/// # Errors
/// Postgres failed. Called again, it goes on.
pub async fn detach(connection: &mut PgConnection, note: &Note<'_>) -> Result<(), sqlx::Error> {
    let name = note.part.in_log();
    let how = match place(connection, note.part).await? {
        Place::Log => Some("concurrently"),
        Place::Detaching => Some("finalize"),
        Place::Beside => None,
        Place::Aside | Place::Gone => return Ok(()),
    };
    if let Some(how) = how {
        let detach = format!("alter table log.events detach partition {name} {how}");
        sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *connection).await?;
    }
    sqlx::raw_sql("begin").execute(&mut *connection).await?;
    let aside = format!("alter table {name} set schema archived");
    sqlx::raw_sql(AssertSqlSafe(aside)).execute(&mut *connection).await?;
    note.write("detached", connection).await?;
    sqlx::raw_sql("commit").execute(connection).await?;
    Ok(())
}

/// Drops the table of a part that was set aside.
///
/// # Errors
/// Postgres failed: then it is there.
pub async fn drop_table(connection: &mut PgConnection, note: &Note<'_>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("begin").execute(&mut *connection).await?;
    let drop = format!("drop table {}", note.part.aside());
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await?;
    note.write("dropped", connection).await?;
    sqlx::raw_sql("commit").execute(connection).await?;
    Ok(())
}

/// Begins a transaction in which the table of a part that was dropped is made anew, as every partition of the log is. [`fill`] it, and
/// commit.
///
/// # Errors
/// Postgres failed.
pub async fn make_table(connection: &mut PgConnection, part: Part) -> Result<(), sqlx::Error> {
    let (table, name) = (part.aside(), part.name());
    let make = format!(
        "begin;
         create table {table} (like log.events including constraints including indexes);
         alter table {table} add constraint {name}_stream_version_key unique (stream, version),
             add constraint {name}_positions check (position between {} and {});
         create trigger append_only before update or delete or truncate on {table}
             for each statement execute function log.refuse_change();
         grant select on {table} to holdfast_worker;",
        part.first, part.last
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(connection).await?;
    Ok(())
}

/// Puts events into the table of a part that was set aside, at the positions that they had.
///
/// # Errors
/// Postgres failed, or one of them does not belong there.
pub async fn fill(connection: &mut PgConnection, part: Part, events: &[StoredEvent]) -> Result<(), sqlx::Error> {
    let events: Vec<&StoredEvent> = events.iter().collect();
    crate::log::recovery::insert(connection, &part.aside(), &events).await
}

/// Brings the table of a part that was set aside back into the log.
///
/// # Errors
/// Postgres failed: then it is where it was.
pub async fn attach(connection: &mut PgConnection, note: &Note<'_>) -> Result<(), sqlx::Error> {
    let Part { first, last, .. } = note.part;
    let (aside, name) = (note.part.aside(), note.part.in_log());
    let attach = format!(
        "begin;
         alter table {aside} set schema log;
         alter table log.events attach partition {name} for values from ({first}) to ({});",
        last.next()
    );
    sqlx::raw_sql(AssertSqlSafe(attach)).execute(&mut *connection).await?;
    note.write("restored", connection).await?;
    sqlx::raw_sql("commit").execute(connection).await?;
    Ok(())
}
