//! Connections to Postgres, and what Postgres is to do with them when their worker is gone.
//!
//! Why it is so: services/runtime/README.md#one-plan-for-every-batch

mod pool;

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use time::OffsetDateTime;
use tracing::Instrument as _;

pub use pool::{Pool, Session, Unanswered, answered};

use crate::{
    clock, config,
    error::Error,
    secret_file::{self, LOOK_EVERY, SecretFile},
};

/// With the password that a file says now, if one is named.
///
/// # Errors
/// The file cannot be read, or says none.
pub fn with_password(options: PgConnectOptions, file: &str) -> Result<PgConnectOptions, Error> {
    if file.is_empty() { Ok(options) } else { Ok(options.password(&password(file)?)) }
}

/// The setting database.url with the password that is good now.
///
/// # Errors
/// The file of the password cannot be read, or says none.
pub fn address(settings: &config::Database) -> Result<String, Error> {
    let config::Database { url, password: file, .. } = settings;
    if file.is_empty() {
        return Ok(url.clone());
    }
    // What stands behind the address is stronger than what stands in it.
    let mut address = format!("{url}{}password=", if url.contains('?') { '&' } else { '?' });
    for byte in password(file)?.bytes() {
        // Writing to a string cannot fail.
        write!(address, "%{byte:02X}").unwrap_or_default();
    }
    Ok(address)
}

fn password(file: &str) -> Result<String, Error> {
    secret_file::text(file).and_then(|text| secret_file::password(&text)).map_err(unread)
}

fn unread(why: String) -> Error {
    Error::transient("reading the password of the database", why)
}

/// A session that Postgres ends soon after its worker has gone without a word or stands still: what it has locked, rows or its
/// place as the relay, would else hold up all others for as long.
///
/// # Errors
/// The URL cannot be read, or the file of the password cannot.
pub fn session(settings: &config::Database, name: &str) -> Result<PgConnectOptions, Error> {
    let options: PgConnectOptions = settings.url.parse().map_err(|error: sqlx::Error| Error::Permanent {
        what: "reading the setting database.url",
        source: error.into(),
    })?;
    Ok(with_password(options, &settings.password)?.application_name(name).options([
        ("idle_in_transaction_session_timeout", "10s"),
        ("tcp_keepalives_idle", "5s"),
        ("tcp_keepalives_interval", "2s"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "10s"),
        // What is asked for is not done any more, and waits for no lock, once whoever asked has let the session go.
        ("client_connection_check_interval", "10s"),
    ]))
}

/// How long a session may take to begin.
const BEGUN_WITHIN: Duration = Duration::from_secs(5);

/// The oldest Postgres that works.
const VERSION_MIN: u32 = 15;

/// Connects to Postgres as a service: its own schema first, and one plan for arrays of all lengths.
///
/// # Errors
/// No database there, it refuses the role, or it is too old.
pub async fn connect(settings: &config::Database, service: &str) -> Result<Pool, Error> {
    let failed = |error| Error::database("connecting to Postgres (setting database.url)", error);
    let options = session(settings, &format!("holdfast-{service}"))?;
    let options = options.options([("search_path", service)]).options(PLANNED_BY_KEY);
    let sessions = sessions_that_write(settings.connections_max).acquire_timeout(BEGUN_WITHIN).connect_with(options);
    let pool = Pool::new(sessions.await.map_err(failed)?);
    let asked = Instant::now();
    let (version, now): (String, OffsetDateTime) =
        sqlx::query_as("select current_setting('server_version_num'), clock_timestamp()")
            .fetch_one(&pool)
            .await
            .map_err(failed)?;
    check_version(&version)?;
    check_session(&pool, service).await?;
    follow_password(&pool.sessions, settings)?;
    clock::set(asked, now.into());
    Ok(pool)
}

/// Whether the session is one's own, with the settings that were asked for. Behind a pooler it may be anybody's, statement by statement: then
/// what one worker has prepared, another runs, and the relay's lock is nobody's.
async fn check_session(pool: &Pool, service: &str) -> Result<(), Error> {
    let asked = "select current_setting('search_path'), current_setting('plan_cache_mode')";
    let found: (String, String) = sqlx::query_as(asked)
        .fetch_one(pool)
        .await
        .map_err(|error| Error::database("asking the session for its settings", error))?;
    if found.0 == service && found.1 == PLANS {
        return Ok(());
    }
    let why = format!(
        "its search_path is {:?} and its plan_cache_mode {:?}, where {service:?} and {PLANS:?} were asked for. A pooler between \
         must pool sessions, not transactions, and hand on the options that a session starts with; or connect without it",
        found.0, found.1
    );
    Err(Error::transient("checking that the session to Postgres is one's own", why))
}

/// Has a pool's new sessions log in with the password that its file says by then, until the pool is closed. Those that stand go on. One that
/// Postgres does not take yet is not used before it does: whoever writes the file first, and then tells Postgres, keeps no session waiting.
///
/// # Errors
/// The file cannot be read.
pub fn follow_password(pool: &PgPool, settings: &config::Database) -> Result<(), Error> {
    if settings.password.is_empty() {
        return Ok(());
    }
    let file = SecretFile::read("database.password", &settings.password, secret_file::password).map_err(unread)?;
    let pool = pool.clone();
    let follow = async move {
        // The pool may have begun with an earlier one than the file's first.
        let mut password = None;
        while !pool.is_closed() {
            let now = file.current();
            if password.as_ref() != Some(&now) {
                let options = pool.connect_options().as_ref().clone().password(&now);
                let session = tokio::time::timeout(BEGUN_WITHIN, PgConnection::connect_with(&options)).await;
                if let Ok(Ok(session)) = session {
                    // It has shown what it had to, whether or not it is closed in good order.
                    drop(session);
                    pool.set_connect_options(options);
                    password = Some(now);
                }
            }
            clock::sleep(LOOK_EVERY).await;
        }
    };
    tokio::spawn(follow.in_current_span());
    Ok(())
}

/// One plan for arrays of all lengths.
const PLANS: &str = "force_generic_plan";

/// A batch touches some rows by their keys, few or hundreds. Left to itself, the planner would rather read a table of thousands through, and
/// hash it; held to the keys, its plan is good for all batches, so it is made once.
const PLANNED_BY_KEY: [(&str, &str); 5] = [
    ("plan_cache_mode", PLANS),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// As Postgres does by itself.
const PLANNED_AS_USUAL: [(&str, &str); 5] = [
    ("plan_cache_mode", "auto"),
    ("enable_seqscan", "on"),
    ("enable_hashjoin", "on"),
    ("enable_mergejoin", "on"),
    ("jit", "on"),
];

/// A pool of so many sessions, none of which outlives what made it one that only reads.
#[must_use]
pub fn sessions_that_write(connections_max: u32) -> PgPoolOptions {
    // In place of the pool's own test, which costs as much.
    PgPoolOptions::new()
        .max_connections(connections_max)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(async move { Ok(!is_read_only(connection).await.unwrap_or(true)) }))
}

async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select current_setting('transaction_read_only') = 'on'").fetch_one(connection).await
}

/// What to say of a session that only reads.
pub fn read_only(what: &'static str) -> Error {
    let why = "the database takes nothing in: this session only reads, for Postgres there is a standby, or default_transaction_read_only is on";
    Error::transient(what, why)
}

/// `160004` is 16.4.
fn check_version(number: &str) -> Result<(), Error> {
    let found = number.parse::<u32>().unwrap_or(0) / 10_000;
    if found >= VERSION_MIN {
        return Ok(());
    }
    let reason = format!("it is {found}; {VERSION_MIN} or newer is needed, 18 is the newest that is tested");
    Err(Error::Permanent { what: "checking the version of Postgres", source: reason.into() })
}

/// A statement that takes columns of rows.
pub type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// One column of many rows, as a set-based statement takes it.
pub fn column<R: Copy, T>(rows: &[R], value: impl Fn(R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(*row)).collect()
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgConnectOptions;

    use super::{address, check_version};
    use crate::config::Database;

    #[test]
    fn an_address_has_the_password_that_a_file_says_whatever_is_in_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "a&b=c% #\n").unwrap();
        let of = |url: &str| {
            let password = file.path().to_str().unwrap().to_owned();
            address(&Database { url: url.to_owned(), password, connections_max: 4, installation: String::new() })
                .unwrap()
        };
        for url in ["postgres://orders@db/holdfast", "postgres://orders:old@db/holdfast?sslrootcert=/etc/ca.crt"] {
            let read: PgConnectOptions = of(url).parse().unwrap();
            let wanted: PgConnectOptions = url.parse().unwrap();
            assert_eq!(format!("{read:?}"), format!("{:?}", wanted.password("a&b=c% #")), "{url}");
        }
    }

    #[test]
    fn refuses_a_postgres_that_is_too_old() {
        assert!(check_version("140012").is_err());
        assert!(check_version("150000").is_ok());
        assert!(check_version("180001").is_ok());
    }
}
