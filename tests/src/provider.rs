//! What the provider reports, and what operators decide about it, as tests send it.

use platform::clock;
use proto::{
    payments::v1::{
        ProviderEventKind, RecordProviderEvent, RefundResolution, ReportResolution, ResolveProviderReport,
        ResolveRefund,
    },
    well_known,
};

use crate::{Order, money};

/// Settings with which a call that nobody answers is given up, and tried again, several times a second.
pub const QUICK_CALLS: [(&str, &str); 3] = [
    ("HOLDFAST_EFFECTS_CALL_MS", "200"),
    ("HOLDFAST_EFFECTS_BACKOFF_MS", "20"),
    ("HOLDFAST_EFFECTS_BACKOFF_MAX_MS", "100"),
];

/// A report about the payment of an order's first attempt: under this id of the provider, of so many euro cents, and of now.
#[must_use]
pub fn report(kind: ProviderEventKind, order: &Order, provider_event_id: &str, cents: i64) -> RecordProviderEvent {
    RecordProviderEvent {
        kind: kind.into(),
        payment_id: order.payment_id().to_string(),
        amount: Some(money(cents)),
        provider_event_id: provider_event_id.to_owned(),
        occurred_at: at(0),
        ..RecordProviderEvent::default()
    }
}

/// So many seconds from now, by the provider's clock.
#[must_use]
pub fn at(seconds: i64) -> Option<well_known::Timestamp> {
    let now = clock::now().to_wire();
    Some(well_known::Timestamp { seconds: now.seconds + seconds, ..now })
}

/// What an operator decides about a refund that has this name.
#[must_use]
pub fn resolution(order: &Order, name: &str, resolution: RefundResolution) -> ResolveRefund {
    ResolveRefund {
        payment_id: order.payment_id().to_string(),
        refund_id: order.refund_id(name).to_string(),
        resolution: resolution.into(),
        actor: "ops".to_owned(),
        note: "the bank says so".to_owned(),
    }
}

/// What an operator decides about a report.
#[must_use]
pub fn report_resolution(
    order: &Order,
    provider_event_id: &str,
    resolution: ReportResolution,
) -> ResolveProviderReport {
    ResolveProviderReport {
        payment_id: order.payment_id().to_string(),
        provider_event_id: provider_event_id.to_owned(),
        resolution: resolution.into(),
        actor: "ops".to_owned(),
        note: "the bank says so".to_owned(),
    }
}
