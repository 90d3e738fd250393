//! The metrics of a worker, and where each is counted.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use domain::{GlobalPosition, Rejection, Timestamp};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::PrometheusHandle;
use platform::{
    clock,
    metric::{self, Label, Metric},
};

use crate::{batch::timers::Due, log::event_store::StoredEvent};

const BATCH_INPUTS: &str = "holdfast_batch_inputs";
const BATCH_SECONDS: &str = "holdfast_batch_seconds";
const EVENTS_APPENDED_TOTAL: &str = "holdfast_events_appended_total";
const CONFLICTS_TOTAL: &str = "holdfast_conflicts_total";
const PROGRESS_TOLD_TOTAL: &str = "holdfast_progress_told_total";
const SLIPS_TOTAL: &str = "holdfast_slips_total";
const WAITING: &str = "holdfast_waiting_for_people";
const CALLS_STOPPED: &str = "holdfast_calls_stopped";
const LAG_SECONDS: &str = "holdfast_lag_seconds";
const LAG_MESSAGES: &str = "holdfast_lag_messages";
const DEAD_LETTERS_TOTAL: &str = "holdfast_dead_letters_total";
const TIMER_LATENESS_SECONDS: &str = "holdfast_timer_lateness_seconds";
const EFFECTS_TOTAL: &str = "holdfast_effects_total";
const RELAY_SWEPT_TOTAL: &str = "holdfast_relay_swept_total";
const RELAY_ACTIVE: &str = "holdfast_relay_active";
const RELAY_POSITION: &str = "holdfast_relay_position";
const RELAY_GAP_SECONDS: &str = "holdfast_relay_gap_seconds";
const RELAY_LOSSES_TOTAL: &str = "holdfast_relay_losses_total";

const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const INPUTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

const SERVICE: Label = Label::open("service");

/// What a worker measures.
pub const METRICS: &[Metric] = &[
    Metric::histogram(BATCH_INPUTS, &INPUTS, &[], "messages, outcomes of calls and timers in one commit"),
    Metric::histogram(BATCH_SECONDS, &SECONDS, &[], "from taking up a batch to its commit"),
    Metric::counter(EVENTS_APPENDED_TOTAL, &[Label::open("event")], "events that this process appended to the log"),
    Metric::counter(CONFLICTS_TOTAL, &[], "batches that were done again, for another process had changed their rows"),
    Metric::counter(
        PROGRESS_TOLD_TOTAL,
        &[],
        "times that the broker was told of a message that it is still being worked on",
    ),
    Metric::counter(
        SLIPS_TOTAL,
        &[SERVICE, Label::open("code")],
        "commands that were refused for a slip of their sender, who was told; nothing is kept of them",
    ),
    Metric::counter(DEAD_LETTERS_TOTAL, &[SERVICE], "messages that were kept as dead letters"),
    Metric::gauge(WAITING, &[SERVICE, Label::open("what")], "what only a person can decide, by kind"),
    Metric::gauge(
        CALLS_STOPPED,
        &[SERVICE, Label::open("by")],
        "outside calls that wait until a person has seen to whoever refuses how they are asked",
    ),
    Metric::gauge(
        LAG_SECONDS,
        &[SERVICE, Label::open("consumer")],
        "age of the oldest message that a consumer has not acknowledged; 0: there is none",
    ),
    Metric::gauge(LAG_MESSAGES, &[SERVICE, Label::open("consumer")], "messages that a consumer has not acknowledged"),
    Metric::histogram(TIMER_LATENESS_SECONDS, &SECONDS, &[SERVICE], "from when a timer is due to when it is claimed"),
    Metric::counter(
        EFFECTS_TOTAL,
        &[Label { name: "ending", values: &[DONE, RETRY] }],
        "outside calls that ended, or are tried again",
    ),
    Metric::counter(RELAY_SWEPT_TOTAL, &[], "events that the relay published because no worker had"),
    Metric::gauge(RELAY_ACTIVE, &[], "1 if this process is the relay, and 0 if another is"),
    Metric::gauge(RELAY_POSITION, &[], "every event up to this position of the log is published"),
    Metric::gauge(
        RELAY_GAP_SECONDS,
        &[],
        "how long the relay has waited for an open transaction that has drawn positions",
    ),
    Metric::counter(RELAY_LOSSES_TOTAL, &[], "times that the broker was found to have lost events"),
];

/// How an outside call ended.
pub(crate) const DONE: &str = "done";
pub(crate) const RETRY: &str = "retry";

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
    metric::start(&[platform::telemetry::METRICS, METRICS])
}

/// Begins to measure a service of this process: what it counts is there at 0.
pub(crate) fn begin(service: &'static str, own: &[Metric]) {
    own.iter().for_each(Metric::describe);
    METRICS.iter().chain(own).for_each(|metric| metric.begin(&[(SERVICE.name, service)]));
}

pub(crate) fn batch(inputs: usize, events: &[StoredEvent], took: Duration) {
    histogram!(BATCH_INPUTS).record(u32::try_from(inputs).unwrap_or(u32::MAX));
    histogram!(BATCH_SECONDS).record(took);
    let mut counts = BTreeMap::<&str, u64>::new();
    for event in events {
        let (_package, name) = event.message_type.rsplit_once('.').unwrap_or_default();
        *counts.entry(name).or_default() += 1;
    }
    for (name, count) in counts {
        counter!(EVENTS_APPENDED_TOTAL, "event" => name.to_owned()).increment(count);
    }
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
