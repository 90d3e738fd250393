//! How many orders stand where, while it happens; how rounds stand, and what was set aside.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use crate::load::{
    figures::{grouped, lasting},
    progress::ProgressBars,
};
use anyhow::{Context, Result};
use platform::clock;
use sqlx::PgPool;
use tokio::time::Instant;

/// How often to look, with a terminal and without.
const DRAW_EVERY: Duration = Duration::from_millis(500);
const PRINT_EVERY: Duration = Duration::from_secs(5);

/// Where orders stand, in the words of the table and in ours.
const STATUSES: [(&[&str], &str); 7] = [
    (&["pending"], "new"),
    (&["reserved"], "held"),
    (&["paid"], "paid"),
    (&["refunding", "partially_refunded", "refunded"], "refunded"),
    (&["expired"], "expired"),
    (&["cancelled"], "cancelled"),
    (&["rejected"], "rejected"),
];

/// Shows for ever how many orders stand where.
pub async fn watch(pool: &PgPool, progress: &ProgressBars) -> Infallible {
    let (begun, line) = (Instant::now(), progress.line(""));
    let every = if progress.are_drawn() { DRAW_EVERY } else { PRINT_EVERY };
    loop {
        clock::sleep(every).await;
        let counted: Result<Vec<(String, i64)>, sqlx::Error> =
            sqlx::query_as("select status, count(*) from orders.orders group by status").fetch_all(pool).await;
        // Nothing to show for a moment is no harm.
        let Ok(counted) = counted else { continue };
        let text = text(&counted.into_iter().collect());
        if progress.are_drawn() {
            line.set_message(text);
        } else {
            progress.say(&format!("{:>7}  {text}", lasting(begun.elapsed())));
        }
    }
}

fn text(counts: &BTreeMap<String, i64>) -> String {
    let count = |words: &[&str]| words.iter().filter_map(|word| counts.get(*word)).sum::<i64>();
    let parts: Vec<String> = STATUSES.iter().map(|(words, name)| format!("{} {name}", grouped(count(words)))).collect();
    parts.join(", ")
}

/// Messages that were set aside, in words: how many of which kind.
pub async fn dead_letters(pool: &PgPool) -> Result<Vec<String>> {
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(
        "select service, subject, code, count(*) from (
             select 'orders' as service, subject, code from orders.dead_letters
             union all select 'inventory', subject, code from inventory.dead_letters
             union all select 'rounds', subject, code from rounds.dead_letters
             union all select 'payments', subject, code from payments.dead_letters) as letters
         group by service, subject, code order by service, subject, code",
    )
    .fetch_all(pool)
    .await
    .context("looking for dead letters")?;
    Ok(rows
        .into_iter()
        .map(|(service, subject, code, count)| format!("{count} of {subject} at {service}: {code}"))
        .collect())
}

/// How many rounds stand how.
pub async fn rounds(pool: &PgPool) -> Result<Vec<(String, i64)>> {
    sqlx::query_as("select status, count(*) from rounds.rounds group by status order by status")
        .fetch_all(pool)
        .await
        .context("reading how the rounds stand")
}

#[cfg(test)]
mod tests {
    use orders::order::Status;

    use super::{STATUSES, text};

    #[test]
    fn every_status_is_watched_once() {
        let mut watched: Vec<&str> = STATUSES.iter().flat_map(|(words, _)| *words).copied().collect();
        let mut all: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        watched.sort_unstable();
        all.sort_unstable();
        assert_eq!(watched, all);
    }

    #[test]
    fn counts_read_as_a_sentence() {
        let counts = [("paid", 1_200), ("refunding", 2), ("refunded", 5)].map(|(word, count)| (word.to_owned(), count));
        let words = "0 new, 0 held, 1,200 paid, 7 refunded, 0 expired, 0 cancelled, 0 rejected";
        assert_eq!(text(&counts.into()), words);
    }
}
