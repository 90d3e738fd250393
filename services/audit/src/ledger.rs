//! The ledger: pieces, shares, money and orders once more, straight from the events' bytes and by none of the services' own
//! rules, so that a fault in those shows.
//!
//! It is stricter than a fold: it also says what must not happen, at the event where it happens. What must follow from what
//! is in [`promises`], and whether the tables agree in [`super::tables`].

use domain::{HoldKey, Rejection, Timestamp};
use runtime::log::event_store::StoredEvent;

use super::report::Findings;

pub(super) mod money;
pub(super) mod orders;
pub(super) mod promises;
pub(super) mod refunds;
pub(super) mod shares;
pub(super) mod stock;

#[cfg(test)]
mod tests;

use money::Payments;
use orders::Orders;
use refunds::Refunds;
use shares::Shares;
use stock::Stock;

/// When something happened: its place in the log, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moment {
    pub(super) position: i64,
    pub(super) at: Timestamp,
}

/// All books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) orders: Orders,
    pub(super) stock: Stock,
    pub(super) shares: Shares,
    pub(super) payments: Payments,
    pub(super) refunds: Refunds,
}

impl Ledger {
    /// Books an event. What does not decode is left to the fold, which says so.
    pub(super) fn take(&mut self, event: &StoredEvent, findings: &mut Findings) {
        let _left_to_the_fold = self.book(event, findings);
    }

    fn book(&mut self, event: &StoredEvent, findings: &mut Findings) -> Result<(), Rejection> {
        let at = Moment { position: event.position, at: event.recorded_at };
        let mut parts = event.message_type.rsplitn(3, '.');
        let (name, _version, package) = (parts.next(), parts.next(), parts.next());
        let (name, data) = (name.unwrap_or_default(), event.data.as_slice());
        match package {
            Some("holdfast.orders") => {
                let held = |key| Held { stock: self.stock.standing(key), shares: self.shares.standing(key) };
                self.orders.take(name, data, at, &held, &self.payments, findings)?;
                self.refunds.take_order(name, data, at, &mut self.payments, findings)
            }
            Some("holdfast.inventory") => {
                self.stock.take(name, data, at, &self.orders, findings)?;
                self.refunds.take_return(name, data, at, findings)
            }
            Some("holdfast.rounds") => {
                self.shares.take(name, data, at, &self.orders, findings)?;
                self.refunds.take_return(name, data, at, findings)
            }
            Some("holdfast.payments") => {
                self.payments.take(name, data, at, findings)?;
                self.refunds.take_payment(name, data, at, &mut self.payments, findings)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Where the holds of one attempt of an order stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) stock: Option<domain::hold::Status>,
    pub(super) shares: Option<domain::hold::Status>,
}

/// Name of the stream of a hold of stock.
pub(super) fn stock_name(key: HoldKey) -> String {
    format!("stock-{key}")
}

/// Name of the stream of a hold of shares.
pub(super) fn shares_name(key: HoldKey) -> String {
    format!("shares-{key}")
}
