//! What the log says of one order, and what would have become of it.

use std::collections::BTreeMap;

use anyhow::Result;
use domain::{GlobalPosition, Timestamp};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{End, Policy, Question};
use crate::{questions::text, replay::fold::LogEvent};

/// What the log says, so far.
#[derive(Debug, Default)]
pub(super) struct Shop {
    /// Orders of the period, by id.
    pub(super) stories: BTreeMap<String, Story>,
    /// Pieces that could be held, by product: by none of the rules of inventory, but by what its events say.
    free: BTreeMap<String, i64>,
    period: (GlobalPosition, GlobalPosition),
}

/// One order, its first attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) position: GlobalPosition,
    pub(super) placed_at: Timestamp,
    /// When its time ended, or would have.
    due: Timestamp,
    /// Pieces by product.
    pub(super) lines: BTreeMap<String, i64>,
    /// Whether it asks for what is not looked at here: shares, a coupon.
    has_more: bool,
    is_rehold: bool,
    /// When its money came, and whether all its pieces were free then.
    money: Option<(Timestamp, bool)>,
    /// How it was closed, and when.
    closed: Option<(End, Timestamp)>,
    /// What became of late money.
    late: Option<End>,
    is_paid: bool,
}

impl Shop {
    /// Of orders that were placed behind one position and up to another.
    pub(super) fn new(period: (GlobalPosition, GlobalPosition)) -> Self {
        Self { period, ..Self::default() }
    }

    /// Takes the next event in.
    pub(super) fn take(&mut self, event: &LogEvent<'_>) -> Result<()> {
        let said = event.said()?;
        let name = proto::short_name(event.message_type);
        self.move_stock(name, &said);
        let Some(order_id) = text(&said, "orderId") else { return Ok(()) };
        if name == "OrderPlaced" {
            let (after, up_to) = self.period;
            if after < event.position && event.position <= up_to {
                self.stories.insert(order_id, Story::placed(event, &said));
            }
            return Ok(());
        }
        let free = &self.free;
        let Some(story) = self.stories.get_mut(&order_id) else { return Ok(()) };
        let is_first = said.get("attempt").and_then(Value::as_i64) == Some(1);
        let is_late = text(&said, "reason").is_some_and(|reason| reason.ends_with("_LATE_PAYMENT"));
        match name {
            "PaymentSucceeded" | "PaymentAuthorised" if is_first && story.money.is_none() => {
                let is_free = |(sku, quantity): (&String, &i64)| free.get(sku).is_some_and(|free| free >= quantity);
                story.money = Some((event.recorded_at, story.lines.iter().all(is_free)));
            }
            "OrderPaid" if is_first => story.is_paid = true,
            "OrderExpired" if is_first => story.closed = Some((End::Expired, event.recorded_at)),
            "OrderCancelled" if is_first => story.closed = Some((End::Cancelled, event.recorded_at)),
            "OrderRejected" if is_first => story.closed = Some((End::Rejected, event.recorded_at)),
            "OrderReinstated" if is_late => story.late = Some(End::HeldAgain),
            "RefundRequested" if is_late && story.late.is_none() => story.late = Some(End::GivenBack),
            "VoidRequested" if story.late.is_none() => story.late = Some(End::GivenBack),
            _ => {}
        }
        Ok(())
    }

    fn move_stock(&mut self, name: &str, said: &Value) {
        let sign = match name {
            "StockHeld" => -1,
            "StockReleased" | "StockReturned" => 1,
            "StockReceived" | "StockAdjusted" => {
                let by = number(said, "quantity") + number(said, "delta");
                *self.free.entry(text(said, "sku").unwrap_or_default()).or_default() += by;
                return;
            }
            _ => return,
        };
        for (sku, quantity) in lines(said) {
            *self.free.entry(sku).or_default() += sign * quantity;
        }
    }
}

impl Story {
    fn placed(event: &LogEvent<'_>, said: &Value) -> Self {
        let time = |field: &str| {
            let at = OffsetDateTime::parse(&text(said, field)?, &Rfc3339).ok()?;
            Some(Timestamp::from(at))
        };
        let placed_at = time("placedAt").unwrap_or(event.recorded_at);
        Self {
            position: event.position,
            placed_at,
            due: time("expiresAt").unwrap_or(placed_at),
            lines: lines(said),
            has_more: said.get("shares").is_some() || text(said, "couponCode").is_some(),
            is_rehold: text(said, "latePaymentPolicy").as_deref() == Some("LATE_PAYMENT_POLICY_REHOLD"),
            ..Self::default()
        }
    }

    /// How it ended.
    pub(super) fn recorded(&self) -> End {
        match (self.late, self.is_paid, self.closed) {
            (Some(late), _, _) => late,
            (None, true, _) => End::Paid,
            (None, false, Some((closed, _))) => closed,
            (None, false, None) => End::Open,
        }
    }

    /// How it would have ended, and why.
    pub(super) fn would_be(&self, question: &Question, now: Timestamp) -> (End, String) {
        let due = question.time_to_pay.map_or(self.due, |time| self.placed_at + time);
        let recorded = self.recorded();
        let is_as_it_was = match self.closed {
            Some((End::Rejected, _)) => true,
            // Money that comes after that goes back, whatever the policy.
            Some((End::Cancelled, at)) => at <= due,
            Some(_) | None => recorded == End::Paid && due >= self.due,
        };
        if is_as_it_was {
            return (recorded, String::new());
        }
        // Somebody may have ended it by hand.
        let due = match self.closed {
            Some((End::Expired, at)) if at < self.due => due.min(at),
            Some(_) | None => due,
        };
        match self.money {
            None => self.without_money(due, now),
            Some((came, _)) if came <= due => {
                (End::Paid, format!("its money came at {came}, and its time would have ended at {due}"))
            }
            Some((came, is_free)) => self.with_late_money((due, came, is_free), question.late_payment),
        }
    }

    fn with_late_money(
        &self,
        (due, came, is_free): (Timestamp, Timestamp, bool),
        policy: Option<Policy>,
    ) -> (End, String) {
        let late = format!("its money came at {came}, and its time would have been over since {due}");
        let is_rehold = policy.map_or(self.is_rehold, |policy| policy == Policy::Rehold);
        if !is_rehold {
            return (End::GivenBack, late);
        }
        // What it held itself would have been free again.
        if self.recorded() == End::Paid {
            return (End::HeldAgain, format!("{late}; what it held would have been free again"));
        }
        if self.has_more {
            return (End::Unknown, format!("{late}; whether its shares or its coupon were free is not looked at"));
        }
        if is_free {
            return (End::HeldAgain, format!("{late}; all of it was free"));
        }
        (End::GivenBack, format!("{late}; not all of it was free"))
    }

    fn without_money(&self, due: Timestamp, now: Timestamp) -> (End, String) {
        match self.closed {
            Some((End::Expired, _)) if due > self.due => {
                let why =
                    format!("nobody had paid when its time ended at {}; until {due} somebody might have", self.due);
                (End::Unknown, why)
            }
            Some((closed, _)) if closed == End::Expired || due < self.due => {
                (End::Expired, format!("nobody had paid when its time would have ended at {due}"))
            }
            Some((closed, _)) => (closed, String::new()),
            None if due < now && due != self.due => {
                (End::Expired, format!("nobody had paid when its time would have ended at {due}"))
            }
            None => (End::Open, String::new()),
        }
    }
}

/// Pieces by product.
fn lines(said: &Value) -> BTreeMap<String, i64> {
    let mut pieces = BTreeMap::new();
    for line in said.get("lines").and_then(Value::as_array).into_iter().flatten() {
        *pieces.entry(text(line, "sku").unwrap_or_default()).or_default() += number(line, "quantity");
    }
    pieces
}

/// A number of 64 bits, which JSON has as a text. Nothing at all is left out.
fn number(said: &Value, field: &str) -> i64 {
    text(said, field).and_then(|number| number.parse().ok()).unwrap_or(0)
}
