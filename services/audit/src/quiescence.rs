//! When a fleet has settled: every order is in a final state, nothing is owed to anybody, nothing is due, and every event was
//! handled by whoever it concerns. All of it is read from Postgres, for the broker may lose what it knows.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail};
use platform::clock;
use sqlx::{Connection, PgConnection, Row};
use tokio::time::Instant;

/// How often to look. More seldom where looking takes long.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is not over yet, by kind. Open sales of rounds count as settled: they end when they end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Orders that are neither paid nor closed, or are being refunded.
    pub orders: i64,
    /// Closed orders that have no receipt for what they held.
    pub releases: i64,
    /// Refunds under way.
    pub refunds: i64,
    /// Payments about which the sandbox will still report: a late payment, for example.
    pub reports: i64,
    /// Shares of failed rounds whose buyers are not named for a refund yet.
    pub round_shares: i64,
    /// Timers that are due.
    pub timers: i64,
    /// Outside calls to be made.
    pub effects: i64,
    /// Positions of the log that are not published.
    pub unpublished: i64,
    /// Positions of the log that some service may not have handled.
    pub unhandled: i64,
}

impl Unsettled {
    fn kinds(&self) -> [(i64, &'static str); 9] {
        [
            (self.orders, "orders under way"),
            (self.releases, "releases owed"),
            (self.refunds, "refunds under way"),
            (self.reports, "payments to be reported"),
            (self.round_shares, "shares of failed rounds to be refunded"),
            (self.timers, "timers overdue"),
            (self.effects, "outside calls to be made"),
            (self.unpublished, "log positions unpublished"),
            (self.unhandled, "log positions unhandled"),
        ]
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.kinds().iter().all(|(count, _)| *count == 0)
    }
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.kinds().into_iter().filter(|(count, _)| *count != 0);
        let words: Vec<String> = left.map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(if words.is_empty() { "nothing" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

/// Looks once, in one statement and so in one snapshot.
///
/// A report of the sandbox is awaited as long as its script will still change something: late money is taken in even for a
/// cancelled payment. A tombstone has no script: nobody was asked to pay.
pub async fn settled(connection: &mut PgConnection) -> Result<Unsettled> {
    let row = sqlx::query(
        "select
             (select count(*) from orders.orders where status in ('pending', 'reserved', 'refunding')) as orders,
             (select count(*) from orders.orders where status in ('expired', 'cancelled', 'rejected') and not released)
                 as releases,
             (select count(*) from payments.refunds where status = 'refunding')
                 + (select count(*) from orders.orders where refunding_minor > 0 or payment_status = 'refunding')
                 as refunds,
             (select count(*) from payments.payments
              where provider = 'sandbox'
                  and (status = 'requested' and payment_method not like 'sandbox:never%'
                       or status = 'cancelled' and authorisations is null
                           and payment_method similar to '(sandbox:(late|succeed)%)?'))
                 as reports,
             (select coalesce(sum(sold - refunding), 0)::bigint from rounds.rounds where status in ('closed', 'cancelled'))
                 as round_shares,
             (select count(*) from orders.timers where due_at <= now())
                 + (select count(*) from inventory.timers where due_at <= now())
                 + (select count(*) from rounds.timers where due_at <= now())
                 + (select count(*) from payments.timers where due_at <= now()) as timers,
             (select count(*) from orders.effects) + (select count(*) from inventory.effects)
                 + (select count(*) from rounds.effects) + (select count(*) from payments.effects) as effects,
             (select coalesce(max(position), 0) from log.events) - published as unpublished,
             (select coalesce(max(position), 0) from log.events) - handled as unhandled
         from log.relay",
    )
    .fetch_one(connection)
    .await
    .context("asking whether the fleet has settled")?;
    Ok(Unsettled {
        orders: row.try_get("orders")?,
        releases: row.try_get("releases")?,
        refunds: row.try_get("refunds")?,
        reports: row.try_get("reports")?,
        round_shares: row.try_get("round_shares")?,
        timers: row.try_get("timers")?,
        effects: row.try_get("effects")?,
        unpublished: row.try_get("unpublished")?,
        unhandled: row.try_get("unhandled")?,
    })
}

/// Waits until the fleet has settled, and says how long that took. Postgres may go away meanwhile.
///
/// Fails when `limit` is over, naming what is left.
pub async fn until_settled(database_url: &str, limit: Duration) -> Result<Duration> {
    until_settled_watched(database_url, limit, |_| ()).await
}

/// Like [`until_settled`], telling what is left each time it looks.
pub async fn until_settled_watched(database_url: &str, limit: Duration, tell: impl Fn(&Unsettled)) -> Result<Duration> {
    let begun = Instant::now();
    let mut connection = None;
    loop {
        let looked = Instant::now();
        let left = look(&mut connection, database_url).await;
        if let Ok(left) = &left {
            tell(left);
            if left.is_settled() {
                return Ok(begun.elapsed());
            }
        }
        if begun.elapsed() >= limit || left.as_ref().is_err_and(|error| !is_passing(error)) {
            let left = left?;
            bail!("the fleet has not settled within {} s: {left} (holdfast status)", limit.as_secs());
        }
        clock::sleep(LOOK_EVERY.max(looked.elapsed() * 3)).await;
    }
}

/// Whether Postgres may only be away for a moment: it cannot be reached, or says that it stops, starts or is full.
#[must_use]
pub fn is_passing(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| ["08", "53", "57"].iter().any(|class| code.starts_with(class)))
        }
        Some(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_)) => true,
        Some(_) | None => false,
    }
}

async fn look(connection: &mut Option<PgConnection>, database_url: &str) -> Result<Unsettled> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => PgConnection::connect(database_url).await.with_context(|| format!("connecting to {database_url}"))?,
    };
    let left = settled(&mut open).await?;
    *connection = Some(open);
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::Unsettled;

    #[test]
    fn says_what_is_left() {
        let left = Unsettled { orders: 3, effects: 1, ..Default::default() };
        assert!(!left.is_settled());
        assert_eq!(left.to_string(), "3 orders under way, 1 outside calls to be made");
        assert_eq!(Unsettled::default().to_string(), "nothing");
        assert!(Unsettled::default().is_settled());
    }
}
