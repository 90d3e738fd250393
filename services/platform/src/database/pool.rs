//! Sessions that are let go once Postgres has not answered them for long.
//!
//! A Postgres that stands still, or is behind a way that swallows what is sent, never answers, and nobody says so: the kernel of a machine that
//! is frozen may still acknowledge, and that of one that is gone is asked again for a quarter of an hour. Limits that Postgres keeps are no
//! help, for it does not keep them then. Whoever let such a session go finds the Postgres that leads by now.

use std::{
    fmt,
    future::Future,
    mem,
    ops::{Deref, DerefMut},
    pin::pin,
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Connection as _, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tracing::Instrument as _;

use super::{PLANNED_AS_USUAL, sessions_that_write};
use crate::{clock, error::Error, secret_file::LOOK_EVERY};

/// How long a piece of work over a session may take. What takes as long is given to other replicas by then, and a process whose loop has not
/// turned for twice as long is ended.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// How long a session that comes back to its pool may take to say that it is well.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no answer of Postgres.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// None came in time.
    #[error("Postgres has not answered for {} s: it stands still, or the way to it does; this session is let go", .0.as_secs())]
    Late(Duration),
    /// There was no session to ask over.
    #[error(transparent)]
    Session(sqlx::Error),
}

impl From<Unanswered> for Error {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Late(_) => Self::transient("waiting for Postgres", why),
            Unanswered::Session(error) => Self::database("connecting", error),
        }
    }
}

impl From<Unanswered> for sqlx::Error {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Late(_) => Self::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why)),
            Unanswered::Session(error) => error,
        }
    }
}

/// Work over a session, unless it takes so long that Postgres will not answer it any more. The session is to be let go then.
///
/// # Errors
/// It failed, or took too long.
pub async fn answered<T, E: From<Unanswered>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    within(ANSWERED_WITHIN, work).await
}

/// A step that takes longer than a second, for this process was not let go on, is no time in which Postgres was silent.
async fn within<T, E: From<Unanswered>>(limit: Duration, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let mut work = pin!(work);
    for _second in 0..limit.as_secs() {
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), work.as_mut()).await {
            return done;
        }
    }
    Err(Unanswered::Late(limit).into())
}

/// Sessions to Postgres that several share. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    pub(super) sessions: PgPool,
    answered_within: Duration,
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sessions.fmt(formatter)
    }
}

impl Pool {
    /// One whose sessions do work that may take as long as that of a worker.
    #[must_use]
    pub fn new(sessions: PgPool) -> Self {
        Self { sessions, answered_within: ANSWERED_WITHIN }
    }

    /// The same, with another limit.
    #[must_use]
    pub fn answered_within(self, limit: Duration) -> Self {
        Self { answered_within: limit, ..self }
    }

    /// Work over a session of this pool, unless it takes too long, as [`answered`] has it.
    ///
    /// # Errors
    /// It failed, or took too long.
    pub async fn answered<T, E: From<Unanswered>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        within(self.answered_within, work).await
    }

    /// A session, for work that is [answered](Self::answered).
    ///
    /// # Errors
    /// There is none, or Postgres takes no more.
    pub async fn session(&self) -> Result<Session, Unanswered> {
        let connection = self.sessions.acquire().await.map_err(Unanswered::Session)?;
        Ok(Session { connection, comes_back: true })
    }

    /// For a session beside those of this pool: of the same role, by the password that Postgres took last. Its statements are planned as usual.
    #[must_use]
    pub fn beside(&self, name: &str) -> PgConnectOptions {
        let options = self.sessions.connect_options().as_ref().clone().application_name(name);
        options.options(PLANNED_AS_USUAL)
    }

    /// For so many sessions of the same role, which are those of another program.
    #[must_use]
    pub fn of_another(&self, name: &'static str, connections_max: u32) -> Self {
        let of = self.sessions.clone();
        let options = move || of.connect_options().as_ref().clone().application_name(name);
        let sessions = sessions_that_write(connections_max).connect_lazy_with(options());
        let follows = sessions.clone();
        // Of the same role, they have the same password.
        let follow = async move {
            while !follows.is_closed() {
                follows.set_connect_options(options());
                clock::sleep(LOOK_EVERY).await;
            }
        };
        tokio::spawn(follow.in_current_span());
        Self { sessions, answered_within: self.answered_within }
    }

    /// Waits for all sessions to come back, and ends them.
    pub async fn close(&self) {
        self.sessions.close().await;
    }
}

/// A session of a pool. One that does not answer, for its work was left, does not come back.
#[derive(Debug)]
pub struct Session {
    connection: PoolConnection<Postgres>,
    comes_back: bool,
}

impl Session {
    /// It is not to come back to its pool.
    pub fn close_on_drop(&mut self) {
        self.comes_back = false;
    }

    /// Begins a transaction. If that is left before it is answered, nobody would know that the session is in one.
    ///
    /// # Errors
    /// Postgres does not begin it.
    pub async fn begin(&mut self) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
        let comes_back = mem::replace(&mut self.comes_back, false);
        let transaction = self.connection.begin().await?;
        self.comes_back = comes_back;
        Ok(transaction)
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.comes_back {
            // By itself it would wait without end for the answer to work that was left, and keep its place in the pool as long.
            tokio::spawn(tokio::time::timeout(BACK_WITHIN, self.connection.return_to_pool()));
        } else {
            self.connection.close_on_drop();
        }
    }
}

/// One statement over one session. Its rows are there all at once.
impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let fetched = async move {
            let all = async { pool.session().await?.fetch_many(query).try_collect::<Vec<_>>().await };
            Ok(stream::iter(pool.answered(all).await?.into_iter().map(Ok)))
        };
        fetched.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let row = async move { pool.answered(async { pool.session().await?.fetch_optional(query).await }).await };
        row.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        let prepare =
            async move { pool.answered(async { pool.session().await?.prepare_with(sql, parameters).await }).await };
        prepare.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        async move { pool.answered(async { pool.session().await?.describe(sql).await }).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use super::{ANSWERED_WITHIN, answered};
    use crate::error::Error;

    #[tokio::test(start_paused = true)]
    async fn who_is_not_answered_in_time_is_told_so_and_may_try_again() {
        let begun = tokio::time::Instant::now();
        let never: Result<(), Error> = answered(future::pending()).await;
        let error = never.unwrap_err();
        assert_eq!(begun.elapsed(), ANSWERED_WITHIN);
        assert!(matches!(error, Error::Transient { .. }));
        assert!(error.chain().contains("has not answered for 30 s"), "{}", error.chain());
        let slow = async {
            crate::clock::sleep(ANSWERED_WITHIN - Duration::from_millis(1)).await;
            Ok::<_, Error>(7)
        };
        assert_eq!(answered(slow).await.unwrap(), 7);
    }
}
