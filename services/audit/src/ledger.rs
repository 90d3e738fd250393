//! The ledger: pieces, shares, coupons, wallets, money and orders once more, straight from the events' bytes and by none of the services' own
//! rules, so that a fault in those shows.
//!
//! It is stricter than a fold: it also says what must not happen, at the event where it happens. What must follow from what
//! is in [`promises`], and whether the tables agree in [`super::tables`].

use domain::{GlobalPosition, HoldKey, Rejection, Timestamp};
use runtime::{log::event_store::StoredEvent, service::is_rejection};

use super::report::{Check, Findings};

pub(super) mod authorisations;
pub(super) mod coupons;
pub(super) mod disputes;
pub(super) mod money;
pub(super) mod orders;
pub(super) mod promises;
pub(super) mod refunds;
mod second_charges;
pub(super) mod shares;
pub(super) mod stock;
pub(super) mod wallets;

#[cfg(test)]
mod tests;

use authorisations::Authorisations;
use coupons::Coupons;
use disputes::Disputes;
use money::Payments;
use orders::Orders;
use refunds::Refunds;
use shares::Shares;
use stock::Stock;
use wallets::Wallets;

/// When something happened: its place in the log, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moment {
    pub(super) position: GlobalPosition,
    pub(super) at: Timestamp,
}

/// All books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) orders: Orders,
    pub(super) stock: Stock,
    pub(super) shares: Shares,
    pub(super) coupons: Coupons,
    pub(super) payments: Payments,
    pub(super) authorisations: Authorisations,
    pub(super) refunds: Refunds,
    pub(super) wallets: Wallets,
}

impl Ledger {
    /// Books an event. The one place that tells of a type which some book has no opinion on; what does not decode is left to the fold,
    /// which says so.
    pub(super) fn take(&mut self, event: &StoredEvent, findings: &mut Findings) {
        for booked in self.book(event, findings) {
            match booked {
                Ok(()) | Err(Unbooked::Unread) => {}
                Err(Unbooked::Unknown { book }) => {
                    let what = format!("the book of {book} has no opinion on {}", event.message_type);
                    findings.add(Check::Log, &event.stream, what, Some(event.position));
                }
            }
        }
    }

    /// What came of it in each book that hears of this service's events.
    fn book(&mut self, event: &StoredEvent, findings: &mut Findings) -> [Result<(), Unbooked>; 3] {
        let at = Moment { position: event.position, at: event.recorded_at };
        let (name, data) = (proto::short_name(&event.message_type), event.data.as_slice());
        match proto::owner(&event.message_type) {
            Some("orders") => {
                let held = |key| Held {
                    stock: self.stock.standing(key),
                    shares: self.shares.standing(key),
                    coupon: self.coupons.standing(key),
                    discount: self.coupons.discount(key),
                };
                [
                    self.orders.take(name, data, at, &held, &self.payments, findings),
                    self.refunds.take_order(name, data, at, &mut self.payments, findings),
                    self.authorisations
                        .take_order(name, data)
                        .and(self.payments.disputes.take_order(name, data, at, findings)),
                ]
            }
            Some("inventory") => [
                self.stock.take(name, data, at, &self.orders, findings),
                self.refunds.take_return(name, data, at, findings),
                Ok(()),
            ],
            Some("rounds") => [
                self.shares.take(name, data, at, &self.orders, findings),
                self.refunds.take_return(name, data, at, findings),
                Ok(()),
            ],
            Some("payments") if Coupons::takes(name) => {
                [self.coupons.take(name, data, at, &self.orders, findings), Ok(()), Ok(())]
            }
            Some("payments") if Wallets::takes(name) => {
                [self.wallets.take(name, data, at, &self.payments, findings), Ok(()), Ok(())]
            }
            Some("payments") if Authorisations::takes(name) => {
                [self.authorisations.take(name, data, at, &mut self.payments, findings), Ok(()), Ok(())]
            }
            Some("payments") if Disputes::takes(name) => {
                [self.payments.take_dispute(name, data, at, findings), Ok(()), Ok(())]
            }
            Some("payments") => [
                self.payments.take(name, data, at, &mut self.authorisations, findings),
                self.refunds.take_payment(name, data, at, &mut self.payments, findings),
                Ok(()),
            ],
            // What was refused has moved nothing.
            Some(_) if is_rejection(&event.message_type) => [Ok(()), Ok(()), Ok(())],
            Some(_) | None => [Err(Unbooked::Unknown { book: "any service" }), Ok(()), Ok(())],
        }
    }
}

/// Why an event is not booked. A book that passes over a type of event on purpose has it in its list of those that are of no concern to
/// it, so a new one is in neither place.
#[derive(Debug)]
pub(super) enum Unbooked {
    /// It does not decode: the fold says why.
    Unread,
    /// This book has no opinion on its type.
    Unknown { book: &'static str },
}

impl From<Rejection> for Unbooked {
    fn from(_why: Rejection) -> Self {
        Self::Unread
    }
}

/// Where the holds of one attempt of an order stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) stock: Option<domain::hold::Status>,
    pub(super) shares: Option<domain::hold::Status>,
    pub(super) coupon: Option<domain::hold::Status>,
    /// What the coupon takes off, in minor units.
    pub(super) discount: i64,
}

/// Name of the stream of a hold of stock.
pub(super) fn stock_name(key: HoldKey) -> String {
    format!("stock-{key}")
}

/// Name of the stream of a hold of shares.
pub(super) fn shares_name(key: HoldKey) -> String {
    format!("shares-{key}")
}

/// Name of the stream of a use of a coupon.
pub(super) fn use_name(key: HoldKey) -> String {
    format!("use-{key}")
}
