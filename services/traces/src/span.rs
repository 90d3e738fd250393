//! Spans: one for each event of the log, from the moment of its cause to its own. All of it follows from the log, so whoever tells it twice tells
//! the same.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use domain::{GlobalPosition, Timestamp};
use proto::short_name;
use uuid::Uuid;

/// What the log says of an event beside what the event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) position: GlobalPosition,
    pub(crate) stream: Arc<str>,
    pub(crate) event_id: Uuid,
    pub(crate) service: String,
    pub(crate) message_type: String,
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Uuid,
    /// Of whoever sent the command that began it.
    pub(crate) traceparent: Option<String>,
    pub(crate) recorded_at: Timestamp,
}

/// Which trace, and which span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SpanContext {
    pub(crate) trace: u128,
    pub(crate) span: u64,
}

/// Why a trace is told of, whether or not it is one of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notable {
    /// Something was refused, or failed.
    Failed,
    /// Nobody knows what came of a call.
    Unknown,
    /// A hop took longer than the setting says.
    Slow,
}

impl Notable {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Slow => "slow",
        }
    }

    /// By its type: what is a failure for whoever asked for it.
    fn of(message_type: &str) -> Option<Self> {
        match short_name(message_type) {
            "CommandRejected"
            | "OrderRejected"
            | "PaymentFailed"
            | "CheckoutFailed"
            | "RefundRejected"
            | "RefundReversed"
            | "ProviderReportUnmatched" => Some(Self::Failed),
            "RefundOutcomeUnknown" => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// One span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) context: SpanContext,
    /// The span of what caused it: an event, or whoever sent the command.
    pub(crate) parent: Option<u64>,
    /// The event before it of its stream, if that is of another trace.
    pub(crate) link: Option<SpanContext>,
    pub(crate) begun: Timestamp,
    pub(crate) notable: Option<Notable>,
    /// The event that it ends with. What is told of it is made when it is told, which few are.
    pub(crate) event: Event,
}

/// What is known of an event that may be a cause.
#[derive(Debug, Clone, Copy)]
struct Known {
    context: SpanContext,
    at: Timestamp,
}

/// Events that are remembered, for what they may cause; and spans that are held back, for what may yet happen in their trace.
const REMEMBERED: usize = 200_000;

/// Which traces are told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// One of so many traces.
    pub(crate) one_in: u64,
    /// And all in which a hop takes longer, in milliseconds.
    pub(crate) slow_ms: i64,
}

/// Makes spans of events, in the order of the log.
#[derive(Debug)]
pub(crate) struct Spans {
    choice: Choice,
    events: Remembered<Uuid, Known>,
    streams: Remembered<Arc<str>, Known>,
    /// Spans of traces that are not told of so far.
    held: HashMap<u128, Vec<Span>>,
    order: VecDeque<u128>,
    told: Remembered<u128, ()>,
}

impl Spans {
    pub(crate) fn new(choice: Choice) -> Self {
        Self {
            choice,
            events: Remembered::new(),
            streams: Remembered::new(),
            held: HashMap::new(),
            order: VecDeque::new(),
            told: Remembered::new(),
        }
    }

    /// The next event. The spans to tell of now: its own, if its trace is told of, and all of its trace so far, if that is from now on.
    pub(crate) fn take(&mut self, event: Event) -> Vec<Span> {
        let span = self.span(event);
        let trace = span.context.trace;
        let is_told = self.is_sampled(trace) || self.told.get(&trace).is_some();
        if is_told {
            return vec![span];
        }
        if span.notable.is_some() {
            self.told.put(trace, ());
            let mut spans = self.held.remove(&trace).unwrap_or_default();
            spans.push(span);
            return spans;
        }
        self.hold(span);
        Vec::new()
    }

    /// By the part of its id that is random in every id of a trace, so that all who see it choose the same.
    fn is_sampled(&self, trace: u128) -> bool {
        const RANDOM: u128 = (1 << 56) - 1;
        (trace & RANDOM).is_multiple_of(u128::from(self.choice.one_in.max(1)))
    }

    fn hold(&mut self, span: Span) {
        self.order.push_back(span.context.trace);
        self.held.entry(span.context.trace).or_default().push(span);
        if self.order.len() <= REMEMBERED {
            return;
        }
        // The oldest span that is still held is the first of its trace.
        let Some(oldest) = self.order.pop_front() else { return };
        if let Some(spans) = self.held.get_mut(&oldest) {
            spans.drain(..1.min(spans.len()));
            if spans.is_empty() {
                self.held.remove(&oldest);
            }
        }
    }

    fn span(&mut self, event: Event) -> Span {
        let (caller_trace, caller) = event.traceparent.as_deref().and_then(caller).unzip();
        let context = SpanContext {
            trace: caller_trace.unwrap_or(event.correlation_id.as_u128()),
            span: first_half(event.event_id),
        };
        let before = self.streams.get(&event.stream).copied();
        let cause = self.events.get(&event.causation_id).copied();
        // The end of a call, or a timer, is no event: what asked for it is the one before it in its stream.
        let of_stream = before.filter(|before| before.context.trace == context.trace);
        let parent = cause.filter(|cause| cause.context.trace == context.trace).or(of_stream);
        let began = cause.or(of_stream).map_or(event.recorded_at, |known| known.at).min(event.recorded_at);
        let took_ms = (event.recorded_at.as_micros() - began.as_micros()) / 1_000;
        // What waits for a person, a provider or a clock is not slow: only from one event to the next is it the fleet that works.
        let is_slow = cause.is_some() && took_ms >= self.choice.slow_ms;
        let known = Known { context, at: event.recorded_at };
        self.events.put(event.event_id, known);
        self.streams.put(Arc::clone(&event.stream), known);
        Span {
            context,
            parent: parent.map(|known| known.context.span).or(caller),
            link: before.map(|before| before.context).filter(|before| before.trace != context.trace),
            begun: began,
            notable: Notable::of(&event.message_type).or(is_slow.then_some(Notable::Slow)),
            event,
        }
    }
}

/// A span's id: ids of events are as good as random.
fn first_half(id: Uuid) -> u64 {
    id.as_u64_pair().0
}

/// Trace and span of whoever sent a command, as W3C Trace Context writes them. A later version may have more behind.
fn caller(traceparent: &str) -> Option<(u128, u64)> {
    let mut parts = traceparent.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(version, 2) || !is_hex(trace, 32) || !is_hex(span, 16) {
        return None;
    }
    let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    (trace != 0 && span != 0).then_some((trace, span))
}

/// What was heard last, so many at most.
#[derive(Debug)]
struct Remembered<K, V> {
    /// Those that were put in since the older ones were full.
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + std::hash::Hash, V> Remembered<K, V> {
    fn new() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= REMEMBERED / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::{GlobalPosition, Timestamp};
    use uuid::Uuid;

    use super::{Choice, Event, Notable, Span, SpanContext, Spans};

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

    fn id(number: u64) -> Uuid {
        Uuid::from_u64_pair(number, number)
    }

    /// Event number so and so, at so many milliseconds.
    fn event(number: u64, name: &str, stream: &str, cause: u64, at_ms: i64) -> Event {
        Event {
            position: GlobalPosition::new(i64::try_from(number).unwrap()),
            stream: stream.into(),
            event_id: id(number),
            service: "orders".to_owned(),
            message_type: format!("holdfast.orders.v1.{name}"),
            correlation_id: id(900),
            causation_id: id(cause),
            traceparent: None,
            recorded_at: Timestamp::from_micros(at_ms * 1_000),
        }
    }

    fn told(events: &[Event], choice: Choice) -> Vec<Span> {
        let mut spans = Spans::new(choice);
        events.iter().flat_map(|event| spans.take(event.clone())).collect()
    }

    const ALL: Choice = Choice { one_in: 1, slow_ms: 1_000 };
    /// No trace of these tests.
    const NONE: Choice = Choice { one_in: u64::MAX, slow_ms: 1_000 };

    #[test]
    fn a_span_lasts_from_its_cause_to_its_event_and_its_parent_is_what_caused_it() {
        let sent = Event { traceparent: Some(CALLER.to_owned()), ..event(1, "OrderPlaced", "order-1", 100, 5) };
        let held = Event { traceparent: Some(CALLER.to_owned()), ..event(2, "StockHeld", "stock-1", 1, 30) };
        let spans = told(&[sent, held], ALL);
        let contexts: Vec<SpanContext> = spans.iter().map(|span| span.context).collect();
        assert_eq!(contexts, [SpanContext { trace: TRACE, span: 1 }, SpanContext { trace: TRACE, span: 2 }]);
        assert_eq!([spans[0].parent, spans[1].parent], [Some(0xb7ad_6b71_6920_3331), Some(1)]);
        let times = |span: &Span| (span.begun.as_micros(), span.event.recorded_at.as_micros());
        assert_eq!([times(&spans[0]), times(&spans[1])], [(5_000, 5_000), (5_000, 30_000)]);
    }

    #[test]
    fn without_a_caller_a_trace_is_the_story_and_its_first_event_the_root() {
        let spans = told(&[event(1, "OrderPlaced", "order-1", 100, 0)], ALL);
        assert_eq!((spans[0].context.trace, spans[0].parent), (id(900).as_u128(), None));
        for broken in ["", "00-0-1-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            let sent = Event { traceparent: Some(broken.to_owned()), ..event(1, "OrderPlaced", "order-1", 1, 0) };
            assert_eq!(told(&[sent], ALL)[0].context.trace, id(900).as_u128(), "{broken}");
        }
    }

    #[test]
    fn the_end_of_a_call_follows_what_asked_for_it_and_takes_as_long_as_it_took() {
        let spans = told(
            &[
                event(1, "RefundSubmitted", "payment-1", 100, 0),
                event(2, "Other", "payment-2", 1, 1),
                event(3, "PaymentRefunded", "payment-1", 101, 9_000),
            ],
            ALL,
        );
        assert_eq!((spans[2].parent, spans[2].begun.as_micros(), spans[2].notable), (Some(1), 0, None));
    }

    #[test]
    fn another_story_of_the_same_stream_is_another_trace_that_names_the_first() {
        let later = Event { correlation_id: id(901), ..event(2, "OrderExpired", "order-1", 101, 60_000) };
        let spans = told(&[event(1, "OrderPlaced", "order-1", 100, 0), later], ALL);
        let first = SpanContext { trace: id(900).as_u128(), span: 1 };
        assert_eq!((spans[1].parent, spans[1].link), (None, Some(first)));
        assert_eq!(spans[1].begun, spans[1].event.recorded_at);
    }

    #[test]
    fn a_trace_that_is_not_of_the_sample_is_told_whole_once_something_went_wrong_in_it() {
        let quick = [event(1, "OrderPlaced", "order-1", 100, 0), event(2, "OrderPaid", "order-1", 1, 10)];
        assert_eq!(told(&quick, NONE), []);
        for (name, at, why) in [
            ("RefundOutcomeUnknown", 20, Notable::Unknown),
            ("OrderRejected", 20, Notable::Failed),
            ("OrderReleased", 1_010, Notable::Slow),
        ] {
            let mut events = quick.to_vec();
            events.push(event(3, name, "order-1", 2, at));
            events.push(event(4, "Last", "order-1", 3, at));
            let spans = told(&events, NONE);
            let names: Vec<&str> = spans.iter().map(|span| proto::short_name(&span.event.message_type)).collect();
            assert_eq!(names, ["OrderPlaced", "OrderPaid", name, "Last"]);
            assert_eq!(spans[2].notable, Some(why));
        }
    }

    #[test]
    fn one_trace_of_so_many_is_told_of() {
        let orders: Vec<Event> = (1..=2_000)
            .map(|number| Event {
                correlation_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_string().into_bytes()),
                ..event(number, "OrderPlaced", "order", number + 5_000, 0)
            })
            .collect();
        let traces: BTreeSet<u128> =
            told(&orders, Choice { one_in: 10, ..ALL }).iter().map(|span| span.context.trace).collect();
        assert!((150..250).contains(&traces.len()), "{}", traces.len());
    }

    /// A name that no event has would be looked for in vain.
    #[test]
    fn what_is_notable_are_types_of_events() {
        let names = ["CommandRejected", "OrderRejected", "PaymentFailed", "CheckoutFailed", "RefundRejected"];
        let names = names.into_iter().chain(["RefundReversed", "ProviderReportUnmatched", "RefundOutcomeUnknown"]);
        let all = proto::message_types();
        for name in names {
            assert!(all.iter().any(|known| proto::short_name(known) == name), "{name}");
            assert!(Notable::of(&format!("holdfast.x.v1.{name}")).is_some(), "{name}");
        }
    }
}
