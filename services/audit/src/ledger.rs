//! The ledger: pieces, shares, coupons, wallets, money and orders once more, straight from the events' bytes and by none of the services' own
//! rules, so that a fault in those shows.
//!
//! It is stricter than a fold: it also says what must not happen, at the event where it happens. What must follow from what
//! is in [`promises`], and whether the tables agree in [`super::tables`].

use std::collections::BTreeSet;

use domain::{GlobalPosition, HoldKey, OrderId, PaymentId, RefundId, Rejection, RoundId, Sku, Timestamp, WalletId};
use runtime::{log::event_store::StoredEvent, service::is_rejection};
use serde::{Deserialize, Serialize};

use super::report::{Check, Findings};

pub(super) mod authorisations;
pub(super) mod coupons;
pub(super) mod disputes;
pub(super) mod keys;
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
use keys::Keys;
use money::Payments;
use orders::Orders;
use promises::Grace;
use refunds::Refunds;
use shares::Shares;
use stock::Stock;
use wallets::Wallets;

/// When something happened: its place in the log, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// What was let go.
    gone: Gone,
}

/// What of it is kept from one audit to the next: all that is no order's, and what outlives orders.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    products: Vec<(Sku, stock::Product)>,
    rounds: Vec<(RoundId, shares::Round)>,
    named: Vec<(HoldKey, Moment)>,
    coupons: Vec<(String, coupons::Coupon)>,
    wallets: Vec<(WalletId, wallets::Wallet)>,
    sent: Vec<(RefundId, refunds::Sent)>,
    gone: Gone,
}

/// How much was let go.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Gone {
    orders: usize,
    holds: usize,
    payments: usize,
}

impl Ledger {
    /// Moves all that belongs to these orders.
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        self.orders.move_to(&mut other.orders, keys);
        self.stock.move_to(&mut other.stock, keys);
        self.shares.move_to(&mut other.shares, keys);
        self.coupons.move_to(&mut other.coupons, keys);
        self.payments.move_to(&mut other.payments, keys);
        self.authorisations.move_to(&mut other.authorisations, keys);
        self.refunds.move_to(&mut other.refunds, keys);
        self.wallets.move_to(&mut other.wallets, keys);
    }

    /// Lets go of orders of which nothing has to follow, but for what outlives them.
    pub(super) fn let_go(&mut self, gone: Self) {
        self.refunds.let_go(&gone.refunds);
        self.gone.orders += gone.orders.orders.len();
        self.gone.holds += gone.holds();
        self.gone.payments += gone.payments.payments.len();
        self.shares.let_go(gone.shares);
    }

    /// Takes orders back that were let go.
    pub(super) fn take_back(&mut self, mut back: Self, keys: &Keys) {
        let holds = self.holds();
        self.gone.orders = self.gone.orders.saturating_sub(back.orders.orders.len());
        self.gone.payments = self.gone.payments.saturating_sub(back.payments.payments.len());
        back.move_to(self, keys);
        self.gone.holds = self.gone.holds.saturating_sub(self.holds().saturating_sub(holds));
    }

    /// What the next audit needs of it, once all orders are let go.
    pub(super) fn keep(self) -> Kept {
        Kept {
            products: self.stock.products.into_iter().collect(),
            rounds: self.shares.rounds.into_iter().collect(),
            named: self.shares.named.into_iter().collect(),
            coupons: self.coupons.coupons.into_iter().collect(),
            wallets: self.wallets.wallets.into_iter().collect(),
            sent: self.refunds.keep(),
            gone: self.gone,
        }
    }

    /// As an earlier audit has left it.
    pub(super) fn restored(kept: Kept) -> Self {
        let mut ledger = Self { gone: kept.gone, ..Self::default() };
        ledger.stock.products.extend(kept.products);
        ledger.shares.rounds.extend(kept.rounds);
        ledger.shares.named.extend(kept.named);
        ledger.coupons.coupons.extend(kept.coupons);
        ledger.wallets.wallets.extend(kept.wallets);
        ledger.refunds.restore(kept.sent);
        ledger
    }

    fn holds(&self) -> usize {
        self.stock.holds.len() + self.shares.holds.len() + self.coupons.holds.len()
    }

    /// Of a ledger that has these orders and nothing else: those of which something may yet have to follow, or that are not as all others, so
    /// that their streams alone would not tell all of them.
    pub(super) fn open(&self, keys: &Keys, order_of: &dyn Fn(&str) -> Option<OrderId>) -> BTreeSet<OrderId> {
        let mut findings = Findings::keeping_all();
        self.check_promises(Grace::NONE, &mut findings);
        let subjects = findings.kept().iter().map(|found| found.subject.as_str());
        let of_refund = |subject: &str| {
            let refund_id = RefundId::parse(subject.strip_prefix("refund-")?).ok()?;
            self.refunds.refunds.get(&refund_id).map(|refund| refund.order_id)
        };
        let late = subjects.filter_map(|subject| order_of(subject).or_else(|| of_refund(subject)));
        late.chain(self.odd(keys)).collect()
    }

    /// Orders whose own streams do not tell all of them.
    fn odd(&self, keys: &Keys) -> Vec<OrderId> {
        let of_another = |payment_id: &PaymentId| !keys.payments.contains(payment_id);
        let unknown = keys.orders.iter().copied().filter(|order_id| {
            let attempt = self.orders.orders.get(order_id).map_or(0, |order| order.attempt);
            let last = HoldKey { order_id: *order_id, attempt };
            let after = HoldKey { attempt: attempt.saturating_add(1), ..last };
            !keys.holds.contains(&last) || keys.holds.contains(&after)
        });
        let paid = self.orders.orders.iter();
        let paid = paid.filter(|(_, order)| order.paid_by.as_ref().is_some_and(of_another)).map(|(id, _)| *id);
        let payments = self.payments.payments.iter();
        let payments = payments.filter(|(payment_id, payment)| payment.key.payment_id() != **payment_id);
        let refunds = self.refunds.refunds.values().filter(|refund| of_another(&refund.payment_id));
        unknown
            .chain(paid)
            .chain(payments.map(|(_, payment)| payment.key.order_id))
            .chain(refunds.map(|refund| refund.order_id))
            .collect()
    }

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
