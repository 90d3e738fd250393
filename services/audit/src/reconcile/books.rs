//! What the log says of money at Stripe: what came, what went back, what disputes took, each by the provider's own reference.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use domain::{Currency, GlobalPosition, Timestamp};
use proto::{Name, payments::v1 as wire};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::report::{Amount, Line};
use crate::{
    questions::text,
    replay::{
        Progress,
        fold::LogEvent,
        prefix::{End, LOOK, Log},
    },
};

/// The provider's name in events.
const STRIPE: &str = "stripe";

/// What a movement of money is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Charge,
    ChargeFailure,
    Refund,
    RefundFailure,
    Dispute,
    DisputeReversal,
}

impl Kind {
    /// By Stripe's word for a line. `None`: nothing that the log has.
    pub(super) fn of(category: &str) -> Option<Self> {
        match category {
            "charge" => Some(Self::Charge),
            "charge_failure" => Some(Self::ChargeFailure),
            "refund" => Some(Self::Refund),
            "refund_failure" => Some(Self::RefundFailure),
            "dispute" => Some(Self::Dispute),
            "dispute_reversal" => Some(Self::DisputeReversal),
            _ => None,
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::ChargeFailure => "charge_failure",
            Self::Refund => "refund",
            Self::RefundFailure => "refund_failure",
            Self::Dispute => "dispute",
            Self::DisputeReversal => "dispute_reversal",
        }
    }

    /// Whether it brings money or takes it.
    const fn sign(self) -> i64 {
        match self {
            Self::Charge | Self::RefundFailure | Self::DisputeReversal => 1,
            Self::ChargeFailure | Self::Refund | Self::Dispute => -1,
        }
    }

    /// What names it in a line: charges are known by their intent, which the log has.
    pub(super) fn reference(self, line: &Line) -> &str {
        match self {
            Self::Charge | Self::ChargeFailure => &line.intent,
            Self::Refund | Self::RefundFailure | Self::Dispute | Self::DisputeReversal => &line.source,
        }
    }
}

/// Money that moved, as an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) kind: Kind,
    pub(super) reference: String,
    pub(super) amount: Amount,
    pub(super) payment_id: Option<String>,
    pub(super) refund_id: Option<String>,
    pub(super) order_id: Option<String>,
    pub(super) position: GlobalPosition,
    pub(super) at: Timestamp,
    /// Whether there need be a line of it.
    pub(super) is_sure: bool,
}

/// What the log says, by what it is and the provider's reference.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) moved: BTreeMap<(Kind, String), Moved>,
    /// Refunds that were sent and of which nothing was heard: by the intent and the amount.
    pub(super) under_way: Vec<(String, Moved)>,
    /// Payments that are asked for at Stripe.
    payments: BTreeSet<Uuid>,
}

/// Reads it: what lines name, and what was between the first and the last of them.
pub(super) async fn read(
    log: &mut Log,
    end: &End,
    lines: &[Line],
    span: (Timestamp, Timestamp),
    progress: &impl Fn(Progress),
) -> Result<Books> {
    let types = [
        wire::PaymentRequested::full_name(),
        wire::PaymentSucceeded::full_name(),
        wire::ProviderReportUnmatched::full_name(),
        wire::RefundSubmitted::full_name(),
        wire::PaymentRefunded::full_name(),
        wire::PaymentRefundedElsewhere::full_name(),
        wire::RefundRejected::full_name(),
        wire::RefundReversed::full_name(),
        wire::DisputeFundsWithdrawn::full_name(),
        wire::DisputeFundsReinstated::full_name(),
    ];
    let named: BTreeSet<&str> = lines
        .iter()
        .flat_map(|line| [line.source.as_str(), line.intent.as_str()])
        .filter(|name| !name.is_empty())
        .collect();
    let mut books = Books::default();
    let (mut after, up_to) = (0, end.up_to.get());
    while after < up_to {
        let until = up_to.min(i64::from(LOOK).saturating_add(after));
        let rows = log.of_types(&types, (GlobalPosition::new(after), GlobalPosition::new(until))).await?;
        for row in &rows {
            books.take(&LogEvent::of(row))?;
        }
        books.forget(&named, span);
        after = until;
        let position = GlobalPosition::new(after);
        progress(Progress::Folding { events: u64::try_from(after).unwrap_or(0), position, up_to: end.up_to });
    }
    Ok(books)
}

impl Books {
    /// Takes the next event in.
    pub(super) fn take(&mut self, event: &LogEvent<'_>) -> Result<()> {
        let said = event.said()?;
        let payment = text(&said, "paymentId").and_then(|id| Uuid::try_parse(&id).ok());
        let name = proto::short_name(event.message_type);
        if name == "PaymentRequested" {
            if text(&said, "provider").as_deref() == Some(STRIPE) {
                self.payments.extend(payment);
            }
            return Ok(());
        }
        let reported = said.get("report").filter(|_| name == "ProviderReportUnmatched");
        let of = reported.unwrap_or(&said);
        let Some(amount) = amount(of) else { return Ok(()) };
        let reference = text(of, "providerReference").unwrap_or_default();
        if !payment.is_some_and(|payment| self.payments.contains(&payment)) && !is_stripes(&reference) {
            return Ok(());
        }
        let moved = |kind: Kind, reference: &str, is_sure| Moved {
            kind,
            reference: reference.to_owned(),
            amount: Amount { minor: kind.sign() * amount.minor, ..amount },
            payment_id: text(&said, "paymentId"),
            refund_id: text(of, "refundId"),
            order_id: text(&said, "orderId"),
            position: event.position,
            at: text(of, "occurredAt").and_then(|at| time(&at)).unwrap_or(event.recorded_at),
            is_sure,
        };
        match (name, reported) {
            ("PaymentSucceeded", _) => self.add(moved(Kind::Charge, &reference, true)),
            (_, Some(report)) => {
                if let Some(kind) = reported_kind(report) {
                    self.add(moved(kind, &reference, true));
                }
            }
            ("PaymentRefunded" | "PaymentRefundedElsewhere", _) => {
                self.over(&said);
                self.add(moved(Kind::Refund, &reference, true));
            }
            ("RefundSubmitted", _) => {
                let intent = text(&said, "chargeReference").unwrap_or_default();
                self.under_way.push((intent, moved(Kind::Refund, "", false)));
            }
            // Stripe may have booked it before it failed, and back: both lines, or none.
            ("RefundRejected", _) => {
                self.over(&said);
                if !reference.is_empty() {
                    self.add(moved(Kind::Refund, &reference, false));
                    self.add(moved(Kind::RefundFailure, &reference, false));
                }
            }
            ("RefundReversed", _) => self.add(moved(Kind::RefundFailure, &reference, true)),
            ("DisputeFundsWithdrawn", _) => self.add(moved(Kind::Dispute, &dispute(&said), true)),
            ("DisputeFundsReinstated", _) => self.add(moved(Kind::DisputeReversal, &dispute(&said), true)),
            _ => {}
        }
        Ok(())
    }

    /// What is told again is the same money: the later word counts.
    fn add(&mut self, moved: Moved) {
        // Without a reference it is an operator's word.
        let reference = if moved.reference.is_empty() {
            format!("refund {}", moved.refund_id.as_deref().unwrap_or_default())
        } else {
            moved.reference.clone()
        };
        self.moved.insert((moved.kind, reference), moved);
    }

    /// The outcome of a refund is known.
    fn over(&mut self, said: &Value) {
        let refund_id = text(said, "refundId");
        self.under_way.retain(|(_, refund)| refund.refund_id != refund_id);
    }

    /// Keeps what lines name, and what was between the first and the last of them.
    fn forget(&mut self, named: &BTreeSet<&str>, (from, to): (Timestamp, Timestamp)) {
        self.moved
            .retain(|(_, reference), moved| named.contains(reference.as_str()) || (from..=to).contains(&moved.at));
    }
}

/// What a report that fitted nothing says of money.
fn reported_kind(report: &Value) -> Option<Kind> {
    match text(report, "kind")?.as_str() {
        "PROVIDER_EVENT_KIND_PAYMENT_SUCCEEDED" => Some(Kind::Charge),
        "PROVIDER_EVENT_KIND_PAYMENT_FAILED" => Some(Kind::ChargeFailure),
        "PROVIDER_EVENT_KIND_REFUND_SUCCEEDED" => Some(Kind::Refund),
        "PROVIDER_EVENT_KIND_DISPUTE_FUNDS_WITHDRAWN" => Some(Kind::Dispute),
        "PROVIDER_EVENT_KIND_DISPUTE_FUNDS_REINSTATED" => Some(Kind::DisputeReversal),
        _ => None,
    }
}

fn dispute(said: &Value) -> String {
    said.get("dispute").and_then(|dispute| text(dispute, "disputeId")).unwrap_or_default()
}

/// Whether a reference is of Stripe's form: of money for which nobody was asked, the log knows no provider.
fn is_stripes(reference: &str) -> bool {
    ["pi_", "re_", "pyr_"].iter().any(|form| reference.starts_with(form))
}

fn amount(said: &Value) -> Option<Amount> {
    let amount = said.get("amount")?;
    let minor = match amount.get("minorUnits") {
        None => 0,
        Some(minor) => minor.as_str()?.parse().ok()?,
    };
    Some(Amount { minor, currency: Currency::parse(&text(amount, "currency")?.to_uppercase()).ok()? })
}

fn time(text: &str) -> Option<Timestamp> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Timestamp::from)
}
