//! The metrics of a worker: their names, and where each is counted.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use domain::{GlobalPosition, Rejection, Timestamp};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::PrometheusHandle;
use platform::clock;

use crate::batch::timers::Due;

/// Inputs in one transaction.
pub(crate) const BATCH_INPUTS: &str = "holdfast_batch_inputs";
/// From taking a batch up to its commit, in seconds.
pub(crate) const BATCH_SECONDS: &str = "holdfast_batch_seconds";
/// Events appended to the log.
pub(crate) const EVENTS_APPENDED_TOTAL: &str = "holdfast_events_appended_total";
/// Batches that lost a race against another replica and were tried again.
pub(crate) const CONFLICTS_TOTAL: &str = "holdfast_conflicts_total";
/// Times that the broker was told of a message that it is still being worked on.
pub(crate) const PROGRESS_TOLD_TOTAL: &str = "holdfast_progress_told_total";
/// Messages that were refused and not kept, by code: slips of senders who were told.
pub(crate) const SLIPS_TOTAL: &str = "holdfast_slips_total";
/// What waits for a person, by service and kind.
pub(crate) const WAITING: &str = "holdfast_waiting_for_people";
/// Outside calls that wait until a person has seen to whoever refuses how they are asked, by service and by whom.
pub(crate) const CALLS_STOPPED: &str = "holdfast_calls_stopped";
/// How long the oldest message has been at the broker that a consumer has not acknowledged; 0 if there is none. By service and consumer.
pub(crate) const LAG_SECONDS: &str = "holdfast_lag_seconds";
/// How many messages a consumer has not acknowledged, by service and consumer.
pub(crate) const LAG_MESSAGES: &str = "holdfast_lag_messages";
/// Messages kept as dead letters.
pub(crate) const DEAD_LETTERS_TOTAL: &str = "holdfast_dead_letters_total";
/// From a timer's due time to its claim, in seconds.
pub(crate) const TIMER_LATENESS_SECONDS: &str = "holdfast_timer_lateness_seconds";
/// Outside calls, by how they ended.
pub(crate) const EFFECTS_TOTAL: &str = "holdfast_effects_total";
/// Events that the relay published because no worker had.
pub(crate) const RELAY_SWEPT_TOTAL: &str = "holdfast_relay_swept_total";
/// Whether this process is the relay: 1 or 0.
pub(crate) const RELAY_ACTIVE: &str = "holdfast_relay_active";
/// Every position up to this is published.
pub(crate) const RELAY_POSITION: &str = "holdfast_relay_position";
/// How long the relay has been waiting at a gap, in seconds.
pub(crate) const RELAY_GAP_SECONDS: &str = "holdfast_relay_gap_seconds";
/// Times that the broker was found to have lost events.
pub(crate) const RELAY_LOSSES_TOTAL: &str = "holdfast_relay_losses_total";

const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const INPUTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float; counts stay below 2^53")]
pub(crate) fn waiting(service: &'static str, what: &'static str, count: i64) {
    gauge!(WAITING, "service" => service, "what" => what).set(count as f64);
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float; counts stay below 2^53")]
pub(crate) fn calls_stopped(service: &'static str, by: &str, calls: i64) {
    gauge!(CALLS_STOPPED, "service" => service, "by" => by.to_owned()).set(calls as f64);
}

/// Starts collecting metrics. `None` when this process collects them already.
pub(crate) fn start_metrics() -> Option<PrometheusHandle> {
    platform::telemetry::start_metrics(&[
        (BATCH_SECONDS, &SECONDS),
        (TIMER_LATENESS_SECONDS, &SECONDS),
        (BATCH_INPUTS, &INPUTS),
    ])
}

pub(crate) fn batch(inputs: usize, events: usize, took: Duration) {
    histogram!(BATCH_INPUTS).record(u32::try_from(inputs).unwrap_or(u32::MAX));
    histogram!(BATCH_SECONDS).record(took);
    counter!(EVENTS_APPENDED_TOTAL).increment(u64::try_from(events).unwrap_or(0));
}

pub(crate) fn conflict() {
    counter!(CONFLICTS_TOTAL).increment(1);
}

pub(crate) fn progress_told(messages: u64) {
    counter!(PROGRESS_TOLD_TOTAL).increment(messages);
}

/// Counts a slip, and logs one a second: a sender that errs does so all the time.
pub(crate) fn slip(service: &'static str, rejection: &Rejection) {
    static LOGGED_AT: AtomicI64 = AtomicI64::new(i64::MIN);
    counter!(SLIPS_TOTAL, "service" => service, "code" => rejection.code.clone().into_owned()).increment(1);
    let second = clock::now().as_micros() / 1_000_000;
    if LOGGED_AT.swap(second, Ordering::Relaxed) != second {
        tracing::info!(service, %rejection, "refused a message and kept nothing of it; its sender was told");
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float; counts stay below 2^53")]
pub(crate) fn lag(service: &'static str, consumer: &str, messages: u64, age: Duration) {
    gauge!(LAG_SECONDS, "service" => service, "consumer" => consumer.to_owned()).set(age.as_secs_f64());
    gauge!(LAG_MESSAGES, "service" => service, "consumer" => consumer.to_owned()).set(messages as f64);
}

pub(crate) fn dead_letter(service: &'static str) {
    counter!(DEAD_LETTERS_TOTAL, "service" => service).increment(1);
}

pub(crate) fn timers_claimed(service: &'static str, due: &[Due], at: Timestamp) {
    for timer in due {
        histogram!(TIMER_LATENESS_SECONDS, "service" => service).record(at.since(timer.due_at));
    }
}

pub(crate) fn effect(ending: &'static str) {
    counter!(EFFECTS_TOTAL, "ending" => ending).increment(1);
}

pub(crate) fn relay_active(active: bool) {
    gauge!(RELAY_ACTIVE).set(u8::from(active));
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float; positions stay below 2^53")]
pub(crate) fn relay_published(position: GlobalPosition) {
    gauge!(RELAY_POSITION).set(position.get() as f64);
}

pub(crate) fn relay_gap(waiting: Duration) {
    gauge!(RELAY_GAP_SECONDS).set(waiting.as_secs_f64());
}

pub(crate) fn relay_swept(events: usize) {
    counter!(RELAY_SWEPT_TOTAL).increment(u64::try_from(events).unwrap_or(0));
}

pub(crate) fn relay_loss() {
    counter!(RELAY_LOSSES_TOTAL).increment(1);
}
