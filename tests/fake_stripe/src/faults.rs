//! What goes wrong on purpose, and how often.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::chance::Chance;

/// Of a hundred calls or events, how many go wrong in which way; each way is drawn for itself. None by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Faults of calls strike only those whose path has this in it. Empty: all.
    pub only: String,
    /// 429 `rate_limit`: nothing has happened.
    pub busy: u8,
    /// More calls than this within a second are answered 429 `rate_limit`; 0 is no limit.
    pub calls_per_s: u32,
    /// 429 `lock_timeout` with `Stripe-Should-Retry: true`: nothing has happened.
    pub lock_timeout: u8,
    /// 403, as if the key lacked a right: nothing has happened.
    pub forbidden: u8,
    /// The connection is closed before anything has happened.
    pub lost_request: u8,
    /// It is done, and the connection closed without an answer.
    pub lost_answer: u8,
    /// 500 and nothing has happened; the answer is kept under the key.
    pub error_before: u8,
    /// It is done, and the answer is 500; it is kept under the key.
    pub error_after: u8,
    /// It is done, and the answer is 502, by somebody before Stripe.
    pub bad_gateway: u8,
    /// It is done, and the answer keeps them waiting for `hang_ms`; the key is in use until then.
    pub hang: u8,
    /// How long a call hangs before its connection is closed.
    pub hang_ms: u64,
    /// It is done, and the answer comes `slow_ms` later; the key is in use until then.
    pub slow: u8,
    /// How late a slow answer comes.
    pub slow_ms: u64,
    /// An event is never delivered.
    pub event_lost: u8,
    /// An event is delivered twice.
    pub event_twice: u8,
    /// An event is delivered again under another id.
    pub event_copied: u8,
    /// An event is overtaken by later ones.
    pub event_overtaken: u8,
    /// An event comes `event_delay_ms` late.
    pub event_late: u8,
    /// How late an event comes.
    pub event_delay_ms: u64,
    /// A refund stays pending until `refund_settles_s` of the fake's time have passed, and succeeds.
    pub refund_pending: u8,
    /// A refund fails when `refund_settles_s` of the fake's time have passed.
    pub refund_fails: u8,
    /// The bank says no to a capture, 402, and keeps the money set aside.
    pub capture_declined: u8,
    /// The bank says no to a capture, 402, and nothing is set aside any more.
    pub capture_fails: u8,
    /// When a refund settles that does so by itself.
    pub refund_settles_s: u32,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallFaults {
    pub(crate) busy: bool,
    pub(crate) lock_timeout: bool,
    pub(crate) forbidden: bool,
    pub(crate) lost_request: bool,
    pub(crate) lost_answer: bool,
    pub(crate) error_before: bool,
    pub(crate) error_after: bool,
    pub(crate) bad_gateway: bool,
    pub(crate) hang: Option<Duration>,
    pub(crate) slow: Option<Duration>,
}

/// Counts the calls of a second.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    calls: u32,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), calls: 0 }
    }

    /// Whether one more call is above the limit.
    pub(crate) fn is_full(&mut self, limit: u32) -> bool {
        if self.began.elapsed() >= Duration::from_secs(1) {
            *self = Self::new();
        }
        self.calls = self.calls.saturating_add(1);
        limit > 0 && self.calls > limit
    }
}

/// What goes wrong with one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventFaults {
    pub(crate) is_lost: bool,
    pub(crate) is_sent_twice: bool,
    pub(crate) is_copied: bool,
    pub(crate) delay: Duration,
}

/// Within which an event that is overtaken still comes.
const OVERTAKEN_MS: u64 = 300;

impl Faults {
    /// Draws for a call of this path, as often as for any other: what was drawn before does not depend on the percentages.
    pub(crate) fn draw_call(&self, path: &str, chance: &mut Chance) -> CallFaults {
        let is_meant = path.contains(&self.only);
        let mut hits = |percent| chance.hits(if is_meant { percent } else { 0 });
        CallFaults {
            busy: hits(self.busy),
            lock_timeout: hits(self.lock_timeout),
            forbidden: hits(self.forbidden),
            lost_request: hits(self.lost_request),
            lost_answer: hits(self.lost_answer),
            error_before: hits(self.error_before),
            error_after: hits(self.error_after),
            bad_gateway: hits(self.bad_gateway),
            hang: hits(self.hang).then(|| Duration::from_millis(self.hang_ms)),
            slow: hits(self.slow).then(|| Duration::from_millis(self.slow_ms)),
        }
    }

    pub(crate) fn draw_event(&self, chance: &mut Chance) -> EventFaults {
        let is_lost = chance.hits(self.event_lost);
        let is_sent_twice = chance.hits(self.event_twice);
        let is_copied = chance.hits(self.event_copied);
        let (is_overtaken, overtaken_by) = (chance.hits(self.event_overtaken), chance.below(OVERTAKEN_MS));
        let is_late = chance.hits(self.event_late);
        let delay_ms = if is_overtaken { overtaken_by } else { 0 } + if is_late { self.event_delay_ms } else { 0 };
        EventFaults { is_lost, is_sent_twice, is_copied, delay: Duration::from_millis(delay_ms) }
    }
}
