//! What is known of an order, and what can be read off it.

use std::{collections::BTreeMap, time::Duration};

use domain::{Attempt, HoldKey, Lines, Money, OrderId, PaymentId, RefundId, RoundId, Sku, Timestamp};
use runtime::rows::Rows;

use super::{
    payment::late_refund_id,
    status::{FulfillmentStatus, Hold, LatePaymentPolicy, PaymentStatus, RefundReason, RefundStatus, Resource, Status},
};

/// The rows of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// Orders.
    pub orders: Rows<OrderId, Order>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub sku: Sku,
    /// Pieces, at least 1.
    pub quantity: i64,
    /// Price of one piece; 0 for a gift.
    pub unit_price: Money,
}

/// Shares of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// The round.
    pub round_id: RoundId,
    /// How many, at least 1.
    pub count: i64,
    /// Price of one, at least 1.
    pub unit_price: Money,
}

/// What was agreed when the order was placed; it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The sender's own name for the customer.
    pub customer_id: String,
    /// As the sender wrote them, the same product perhaps on several lines. All prices are in the total's currency.
    pub lines: Vec<Line>,
    /// The share purchase.
    pub shares: Option<Shares>,
    /// The price of everything, at least 1.
    pub total: Money,
    /// How long the buyer has.
    pub time_to_pay: Duration,
    /// What to do with late money.
    pub late_payment_policy: LatePaymentPolicy,
    /// Passed on to the provider.
    pub payment_method: String,
}

/// What comes back with a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The attempt whose payment it is taken from, or, of a late payment, the attempt it was paid into.
    pub attempt: Attempt,
    /// Money, at least 1.
    pub amount: Money,
    /// What for.
    pub reason: RefundReason,
    /// Pieces.
    pub lines: Lines,
    /// Whether all of the order's shares come back.
    pub return_shares: bool,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// What it is taken from.
    pub payment_id: PaymentId,
    /// What comes back.
    pub claim: Claim,
    /// Where it stands.
    pub status: RefundStatus,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub order_id: OrderId,
    /// What was agreed.
    pub terms: Terms,
    /// Where it stands.
    pub status: Status,
    /// Where its payment stands.
    pub payment_status: PaymentStatus,
    /// Where what was bought stands.
    pub fulfillment_status: FulfillmentStatus,
    /// 1, and one more at each reinstatement.
    pub attempt: Attempt,
    /// What the attempt asked for, and what is known of it.
    pub holds: BTreeMap<Resource, Hold>,
    /// Whether the closed attempt's receipt is written: nothing is owed any more.
    pub released: bool,
    /// The payment that paid it; of a pending order, the late one that will.
    pub payment_id: Option<PaymentId>,
    /// What was paid.
    pub captured_minor: i64,
    /// What of that was given back.
    pub refunded_minor: i64,
    /// All refunds, those of late payments too.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// How the round failed, if the refund of the shares waits until no other one is under way.
    pub deferred_share_refund: Option<String>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When the attempt expires unless it is paid. `None`: it is paid with late money, and waits for its holds only.
    pub expires_at: Option<Timestamp>,
    /// What happened last, for people.
    pub note: String,
    /// Events of its stream.
    pub version: i64,
}

/// What can still be given back of one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Money that is neither given back nor about to be.
    pub minor: i64,
    /// Pieces, likewise; those of which none is left are not named.
    pub pieces: Lines,
    /// Whether the order's shares are left.
    pub shares: bool,
}

impl Shares {
    /// The price of all of them.
    #[must_use]
    pub const fn price(&self) -> i64 {
        self.unit_price.minor_units * self.count
    }
}

impl Terms {
    /// What an order with these terms has to hold.
    pub fn resources(&self) -> impl Iterator<Item = Resource> + use<> {
        let stock = (!self.lines.is_empty()).then_some(Resource::Stock);
        let shares = self.shares.map(|_| Resource::Shares);
        stock.into_iter().chain(shares)
    }

    /// All pieces, by product.
    #[must_use]
    pub fn pieces(&self) -> Lines {
        let mut pieces = Lines::new();
        for line in &self.lines {
            *pieces.entry(line.sku.clone()).or_insert(0) += line.quantity;
        }
        pieces
    }

    /// What `lines` cost when `left` is what is still left of each product: the dearest pieces of a product come back
    /// first, so that all its pieces together cost what was paid for them, in however many refunds they come.
    #[must_use]
    pub fn price(&self, lines: &Lines, left: &Lines) -> i64 {
        let mut by_price: BTreeMap<&Sku, Vec<(i64, i64)>> = BTreeMap::new();
        for line in &self.lines {
            by_price.entry(&line.sku).or_default().push((line.unit_price.minor_units, line.quantity));
        }
        let mut price = 0;
        for (sku, wanted) in lines {
            let mut steps = by_price.remove(sku).unwrap_or_default();
            // Cheapest first: what is left of a product are its cheapest pieces, and the dearest of those come back now.
            steps.sort_unstable();
            let left = left.get(sku).copied().unwrap_or(0);
            price += cheapest(&steps, left) - cheapest(&steps, left.saturating_sub(*wanted));
        }
        price
    }
}

/// What the `count` cheapest pieces cost; `steps` are (price of one, pieces), the cheapest first.
fn cheapest(steps: &[(i64, i64)], count: i64) -> i64 {
    let (mut rest, mut price) = (count.max(0), 0);
    for (unit_price, quantity) in steps {
        let taken = rest.min(*quantity);
        price += unit_price * taken;
        rest -= taken;
    }
    price
}

impl Refund {
    /// Whether its money is given back, or may be at any moment.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        match self.status {
            RefundStatus::Requested | RefundStatus::Refunded => true,
            RefundStatus::Abandoned => false,
        }
    }
}

impl Order {
    /// The order as its first event makes it.
    pub(super) fn placed(order_id: OrderId, terms: Terms, placed_at: Timestamp) -> Self {
        Self {
            order_id,
            status: Status::Pending,
            payment_status: PaymentStatus::Pending,
            fulfillment_status: FulfillmentStatus::Pending,
            attempt: 1,
            holds: terms.resources().map(|resource| (resource, Hold::Asked)).collect(),
            released: false,
            payment_id: None,
            captured_minor: 0,
            refunded_minor: 0,
            refunds: BTreeMap::new(),
            deferred_share_refund: None,
            placed_at,
            expires_at: Some(placed_at + terms.time_to_pay),
            note: String::new(),
            version: 1,
            terms,
        }
    }

    /// Names the latest attempt.
    #[must_use]
    pub const fn key(&self) -> HoldKey {
        HoldKey { order_id: self.order_id, attempt: self.attempt }
    }

    /// What the latest attempt asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<Resource> {
        self.holds.keys().copied().collect()
    }

    /// Whether something but `settled` is still held or may be.
    #[must_use]
    pub fn owes_beside(&self, settled: Option<Resource>) -> bool {
        self.holds.iter().any(|(resource, hold)| hold.is_owed() && Some(*resource) != settled)
    }

    /// Whether it was paid, and with this payment.
    #[must_use]
    pub fn is_paid_by(&self, payment_id: PaymentId) -> bool {
        self.captured_minor > 0 && self.payment_id == Some(payment_id)
    }

    /// Whether money of this payment has been heard of before.
    #[must_use]
    pub fn knows(&self, payment_id: PaymentId) -> bool {
        self.payment_id == Some(payment_id) || self.refunds.contains_key(&late_refund_id(payment_id))
    }

    /// What came in with a payment: what paid the order, or what was too late and sent back whole.
    #[must_use]
    pub fn received(&self, payment_id: PaymentId) -> i64 {
        if self.is_paid_by(payment_id) {
            return self.captured_minor;
        }
        self.refunds.get(&late_refund_id(payment_id)).map_or(0, |refund| refund.claim.amount.minor_units)
    }

    /// What of a payment is with the customer again.
    #[must_use]
    pub fn refunded(&self, payment_id: PaymentId) -> i64 {
        self.sum(payment_id, |status| status == RefundStatus::Refunded)
    }

    /// What of a payment is on its way back.
    #[must_use]
    pub fn in_flight(&self, payment_id: PaymentId) -> i64 {
        self.sum(payment_id, |status| status == RefundStatus::Requested)
    }

    fn sum(&self, payment_id: PaymentId, counts: impl Fn(RefundStatus) -> bool) -> i64 {
        let of_it = self.refunds.values().filter(|refund| refund.payment_id == payment_id && counts(refund.status));
        of_it.map(|refund| refund.claim.amount.minor_units).sum()
    }

    /// What can still be given back of a payment, if `aside` had never been asked for. Late money bought nothing.
    #[must_use]
    pub fn left(&self, payment_id: PaymentId, aside: Option<RefundId>) -> Left {
        let bought = self.is_paid_by(payment_id);
        let mut left = Left {
            minor: self.received(payment_id),
            pieces: if bought { self.terms.pieces() } else { Lines::new() },
            shares: bought && self.terms.shares.is_some(),
        };
        for (refund_id, refund) in &self.refunds {
            if refund.payment_id != payment_id || !refund.is_live() || Some(*refund_id) == aside {
                continue;
            }
            left.minor -= refund.claim.amount.minor_units;
            left.shares &= !refund.claim.return_shares;
            for (sku, quantity) in &refund.claim.lines {
                if let Some(pieces) = left.pieces.get_mut(sku) {
                    *pieces -= quantity;
                }
            }
        }
        left.pieces.retain(|_, pieces| *pieces != 0);
        left
    }

    /// Whether all that was bought came back.
    #[must_use]
    pub fn is_all_back(&self) -> bool {
        let Some(payment_id) = self.payment_id else { return false };
        let left = self.left(payment_id, None);
        let under_way = |refund: &Refund| {
            refund.payment_id == payment_id
                && refund.status == RefundStatus::Requested
                && (refund.claim.return_shares || !refund.claim.lines.is_empty())
        };
        left.pieces.is_empty() && !left.shares && !self.refunds.values().any(under_way)
    }
}
