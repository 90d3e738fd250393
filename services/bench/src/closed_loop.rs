//! A closed loop: so many orders under way at once, measured between two moments in the middle.

use std::time::{Duration, Instant};

use anyhow::Result;
use domain::Timestamp;
use platform::clock;
use tokio::sync::watch;

use super::{
    bench_fleet::{BenchFleet, Counts, LOOK_EVERY, progress},
    numbers::{Thousandths, per_second},
    pipelined_client::{Outgoing, Progress, Sent},
    usage::Usage,
};

/// How long the fleet runs before it is measured: connections, plans, caches and queues are then as they will be.
pub(super) const WARM_UP: Duration = Duration::from_secs(6);

/// What happened between two moments.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// How many came to their end.
    pub(super) done: u64,
    /// How long it took.
    pub(super) time: Duration,
    /// What it cost.
    pub(super) usage: Usage,
    /// When it began, by the clock.
    pub(super) from: Timestamp,
    /// When it ended, by the clock.
    pub(super) to: Timestamp,
    /// How many sessions of Postgres waited for another to let go of a row, on average, if anybody looked.
    pub(super) waiting_for_locks: Option<Thousandths>,
}

impl Window {
    /// How many came to their end each second.
    pub(super) fn per_second(&self) -> u64 {
        per_second(self.done, self.time)
    }
}

/// The beginning of a span.
pub(super) struct WindowStart {
    at: Instant,
    from: Timestamp,
    done: u64,
    usage: Usage,
}

impl WindowStart {
    /// Begins with so many done before.
    pub(super) fn now(bench_fleet: &BenchFleet, done: u64) -> Self {
        Self { at: Instant::now(), from: clock::now(), done, usage: bench_fleet.usage() }
    }

    /// Ends with so many done in all.
    pub(super) fn end(self, bench_fleet: &BenchFleet, done: u64) -> Window {
        Window {
            done: done.saturating_sub(self.done),
            time: self.at.elapsed(),
            usage: bench_fleet.usage().since(&self.usage),
            from: self.from,
            to: clock::now(),
            waiting_for_locks: None,
        }
    }
}

/// Which part is measured.
#[derive(Debug, Clone, Copy)]
pub(super) enum MeasuredPart {
    /// So long, after a warm-up; then no more is sent.
    Time(Duration),
    /// Of so many commands all but the first and the last tenth.
    Of(u64),
}

impl MeasuredPart {
    fn has_begun(self, time: Duration, done: u64) -> bool {
        match self {
            Self::Time(_) => time >= WARM_UP,
            Self::Of(all) => done >= all / 10,
        }
    }

    fn has_ended(self, time: Duration, done: u64) -> bool {
        match self {
            Self::Time(measured) => time >= WARM_UP + measured,
            Self::Of(all) => done >= all - all / 10,
        }
    }
}

/// Sends what `next` makes, `in_flight` at once, and measures how fast it is done. Returns once all that was sent is done.
pub(super) async fn run(
    bench_fleet: &BenchFleet,
    middle: MeasuredPart,
    in_flight: u64,
    next: impl FnMut() -> Option<Outgoing>,
    done: impl Fn(&Counts) -> u64,
) -> Result<(Window, Vec<Sent>)> {
    let client = bench_fleet.client().await?;
    run_with(bench_fleet, middle, done, |told| client.run(next, in_flight, told)).await
}

/// The same with a sender of one's own, which is told how far the fleet is.
pub(super) async fn run_with<F: Future<Output = Result<Vec<Sent>>>>(
    bench_fleet: &BenchFleet,
    middle: MeasuredPart,
    done: impl Fn(&Counts) -> u64,
    send: impl FnOnce(watch::Receiver<Progress>) -> F,
) -> Result<(Window, Vec<Sent>)> {
    let before = done(&bench_fleet.counter.counts().await?);
    let done = |counts: &Counts| done(counts).saturating_sub(before);
    let (tell, told) = progress();
    let watch = async {
        let span = watch(bench_fleet, middle, &done, &tell).await?;
        if matches!(middle, MeasuredPart::Of(_)) {
            // The last ones may go out at once.
            tell.send_replace(Progress { done: u64::MAX / 2, stop: false });
        }
        Ok(span)
    };
    let (sent, span) = tokio::try_join!(send(told), watch)?;
    bench_fleet.counter.until(u64::try_from(sent.len())?, done).await?;
    Ok((span, sent))
}

/// Tells the sender how far the fleet is, and stops it after the measured time.
async fn watch(
    bench_fleet: &BenchFleet,
    middle: MeasuredPart,
    done: &impl Fn(&Counts) -> u64,
    tell: &watch::Sender<Progress>,
) -> Result<Window> {
    let begun = Instant::now();
    let mut beginning = None;
    let (mut looks, mut waiting) = (0, 0);
    loop {
        let now = done(&bench_fleet.counter.counts().await?);
        if middle.has_ended(begun.elapsed(), now) {
            let beginning = beginning.unwrap_or_else(|| WindowStart::now(bench_fleet, now));
            tell.send_replace(Progress { done: now, stop: matches!(middle, MeasuredPart::Time(_)) });
            let waiting_for_locks = Some(Thousandths::ratio(waiting, looks));
            return Ok(Window { waiting_for_locks, ..beginning.end(bench_fleet, now) });
        }
        looks += 1;
        waiting += bench_fleet.waiting_for_locks().await?;
        if beginning.is_none() && middle.has_begun(begun.elapsed(), now) {
            beginning = Some(WindowStart::now(bench_fleet, now));
        }
        tell.send_replace(Progress { done: now, stop: false });
        clock::sleep(LOOK_EVERY).await;
    }
}
