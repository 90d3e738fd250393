//! Rebuilding rows: what the tables have of them is taken out, what their events say is put in, and both are noted, in one transaction while
//! nobody else writes to these tables. Workers that remember such a row hear of it from the number of the last rebuild, which whatever they
//! write asks for.
//!
//! Why it is so: services/runtime/README.md#a-row-that-was-rebuilt-is-in-nobodys-memory

use std::collections::{BTreeMap, BTreeSet};

use domain::{GlobalPosition, Rows as _};
use platform::error::Error;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    log::append::save_rows,
    service::{RowTable, Service},
};

/// The number of the last rebuild of any row: 0 if there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRebuild(i64);

impl LastRebuild {
    /// Of a process that has not asked yet.
    pub(crate) const UNKNOWN: Self = Self(-1);

    pub(crate) const fn new(id: i64) -> Self {
        Self(id)
    }

    pub(crate) const fn get(self) -> i64 {
        self.0
    }
}

/// The last rebuild that is committed.
pub(crate) async fn last(connection: &mut PgConnection) -> Result<LastRebuild, Error> {
    let id = sqlx::query_scalar("select coalesce(max(id), 0) from log.rebuilds").fetch_one(connection).await;
    Ok(LastRebuild(id.map_err(|error| Error::database("asking for the last rebuild", error))?))
}

/// What the tables have of rows, by the rows' names: of each table its rows as JSON.
pub type Contents = BTreeMap<String, Map<String, Value>>;

/// Keeps all others from rebuilding until this session ends. False: somebody else does.
///
/// # Errors
/// Postgres failed.
pub async fn begin_alone(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('holdfast rebuild', 0))")
        .fetch_one(connection)
        .await
}

/// Who rebuilds now: session, program and role, and since when.
///
/// # Errors
/// Postgres failed.
pub async fn who_rebuilds(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let query = "select format('session %s, role %s, since %s', pid, usename, to_char(backend_start, 'HH24:MI:SS'))
        from pg_locks join pg_stat_activity using (pid)
        where locktype = 'advisory' and granted and objsubid = 1
            and (classid::bigint << 32) + objid::bigint = hashtextextended('holdfast rebuild', 0)";
    sqlx::query_scalar(query).fetch_optional(connection).await
}

/// Lets nobody else write to these tables until the transaction ends: once all who do have ended theirs, within this time.
///
/// # Errors
/// Somebody took longer, or Postgres failed.
pub async fn lock(connection: &mut PgConnection, tables: &[RowTable]) -> Result<(), sqlx::Error> {
    // Longer than Postgres takes to find that two wait for each other.
    sqlx::raw_sql("set local lock_timeout = '2s'").execute(&mut *connection).await?;
    let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
    let lock = format!("lock table {} in exclusive mode", names.join(", "));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(connection).await?;
    Ok(())
}

/// Names of rows of which these tables have parts, and not the row itself.
///
/// # Errors
/// Postgres failed.
pub async fn strays(connection: &mut PgConnection, tables: &[RowTable]) -> Result<Vec<String>, sqlx::Error> {
    let mut found = Vec::new();
    for table in tables {
        let (Some(whole), [(key, _)]) = (table.part_of, table.key) else { continue };
        let (RowTable { name, category, .. }, key) = (table, key);
        let query = format!(
            "select distinct '{category}-' || part.{key} from {name} as part
             where not exists (select from {whole} as whole where whole.{key} = part.{key})"
        );
        let names: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut *connection).await?;
        found.extend(names);
    }
    Ok(found)
}

/// Removes rows, and gives what the tables had of them.
///
/// # Errors
/// Postgres failed.
pub async fn take_out(
    connection: &mut PgConnection,
    tables: &[RowTable],
    names: &BTreeSet<String>,
) -> Result<Contents, sqlx::Error> {
    each(connection, tables, names, |table, keys| {
        format!("delete from {table} as it using {keys} returning wanted.name, to_jsonb(it)")
    })
    .await
}

/// What the tables have of rows.
///
/// # Errors
/// Postgres failed.
pub async fn contents(
    connection: &mut PgConnection,
    tables: &[RowTable],
    names: &BTreeSet<String>,
) -> Result<Contents, sqlx::Error> {
    each(connection, tables, names, |table, keys| {
        format!("select wanted.name, to_jsonb(it) from {table} as it, {keys}")
    })
    .await
}

async fn each(
    connection: &mut PgConnection,
    tables: &[RowTable],
    names: &BTreeSet<String>,
    statement: impl Fn(&str, &str) -> String,
) -> Result<Contents, sqlx::Error> {
    let mut contents = Contents::new();
    for table in tables {
        let (mut wanted, mut firsts, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let key = name.strip_prefix(table.category).and_then(|rest| rest.strip_prefix('-'));
            let Some(key) = key else { continue };
            let parts = if table.key.len() > 1 { key.split_once('.') } else { None };
            let (first, second) = parts.unwrap_or((key, ""));
            wanted.push(name.as_str());
            firsts.push(first);
            seconds.push(second);
        }
        if wanted.is_empty() {
            continue;
        }
        let parts = table.key.iter().zip(["first", "second"]);
        let parts = parts.map(|((column, kind), part)| format!("it.{column} = wanted.{part}::{kind}"));
        let keys = "unnest($1::text[], $2::text[], $3::text[]) as wanted (name, first, second) where ".to_owned();
        let keys = keys + &parts.collect::<Vec<_>>().join(" and ");
        let query = sqlx::query_as(AssertSqlSafe(statement(table.name, &keys))).bind(wanted).bind(firsts).bind(seconds);
        let rows: Vec<(String, Value)> = query.fetch_all(&mut *connection).await?;
        for (name, row) in rows {
            let of_table =
                contents.entry(name).or_default().entry(table.name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(rows) = of_table {
                rows.push(row);
            }
        }
    }
    Ok(contents)
}

/// Puts in these rows, which nobody has put in yet, as the state has them. Of names that it lacks, none.
///
/// What is saved as new has all that never changes, and what is saved as changed all else.
///
/// # Errors
/// Postgres failed.
pub async fn put_in<S: Service>(
    connection: &mut PgConnection,
    state: &S::State,
    names: &BTreeSet<String>,
) -> Result<(), sqlx::Error> {
    let mut rows = S::State::default();
    put_all::<S>(&mut rows, state, names);
    save_rows::<S>(&mut *connection, &rows).await?;
    let mut saved = S::State::default();
    saved.absorb(rows);
    put_all::<S>(&mut saved, state, names);
    save_rows::<S>(connection, &saved).await
}

fn put_all<S: Service>(rows: &mut S::State, state: &S::State, names: &BTreeSet<String>) {
    for name in names {
        // A name of no row has none in the state either.
        S::row(state, name).and_then(|row| S::put(rows, name, row)).unwrap_or_default();
    }
}

/// What was rebuilt.
#[derive(Debug, Clone, Copy)]
pub struct Rebuilt<'a> {
    /// As the command has it.
    pub kind: &'a str,
    /// The last event that was folded.
    pub position: GlobalPosition,
    /// Why, for whoever reads it later.
    pub reason: &'a str,
    /// What the tables had,
    pub before: &'a Contents,
    /// and what they have since.
    pub after: &'a Contents,
}

impl Rebuilt<'_> {
    /// The names of all rows.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.before.keys().chain(self.after.keys()).map(String::as_str).collect()
    }

    /// Notes it, and gives the number of the rebuild.
    ///
    /// # Errors
    /// Postgres failed.
    pub async fn note(&self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        let id: i64 =
            sqlx::query_scalar("insert into log.rebuilds (kind, position, reason) values ($1, $2, $3) returning id")
                .bind(self.kind)
                .bind(self.position.get())
                .bind(self.reason)
                .fetch_one(&mut *connection)
                .await?;
        let names: Vec<&str> = self.names().into_iter().collect();
        let of = |contents: &Contents| -> Vec<Option<Value>> {
            names.iter().map(|name| contents.get(*name).cloned().map(Value::Object)).collect()
        };
        sqlx::query(
            "insert into log.rebuilt_rows (rebuild_id, name, before, after)
             select $1, * from unnest($2::text[], $3::jsonb[], $4::jsonb[])",
        )
        .bind(id)
        .bind(&names)
        .bind(of(self.before))
        .bind(of(self.after))
        .execute(connection)
        .await?;
        Ok(id)
    }
}
