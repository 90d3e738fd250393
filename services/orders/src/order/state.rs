//! What is known of an order, and what can be read off it.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Attempt, ContactEmail, CouponCode, Discount, HoldKey, Lines, Money, OrderId, PaymentId, RefundId, Revised, RoundId,
    Sku, StreamVersion, Table, Timestamp,
};

use serde::{Serialize, Serializer};

use super::{
    disputes::Disputed,
    payment::late_refund_id,
    status::{
        Extent, FulfillmentStatus, HoldStatus, LatePaymentPolicy, PaymentStatus, Phase, RefundReason, RefundStatus,
        Resource, Status,
    },
};

/// The rows of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Orders.
    pub orders: Table<OrderId, Order>,
    /// Whose references are, of orders that have one. The order's own row keeps it, so nothing of this is saved.
    pub references: Table<String, Referenced>,
    /// Where buyers of orders that are placed just now are reached: only written, beside the rows, and no part of what is folded.
    pub contacts: BTreeMap<OrderId, ContactEmail>,
}

domain::rows!(State { orders, references });

/// The order that a reference names, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Referenced(pub OrderId);

impl Revised for Referenced {
    type Revision = OrderId;

    fn revision(&self) -> OrderId {
        self.0
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The product.
    pub sku: Sku,
    /// Pieces, at least 1.
    pub quantity: i64,
    /// Price of one piece; 0 for a gift.
    pub unit_price: Money,
}

/// Shares of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shares {
    /// The round.
    pub round_id: RoundId,
    /// How many, at least 1.
    pub count: i64,
    /// Price of one, at least 1.
    pub unit_price: Money,
}

/// What was agreed when the order was placed; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderTerms {
    /// The sender's own name for the customer.
    pub customer_id: String,
    /// As the sender wrote them, the same product perhaps on several lines. All prices are in the total's currency.
    pub lines: Vec<Line>,
    /// The share purchase.
    pub shares: Option<Shares>,
    /// The price of everything, at least 1, before any discount.
    pub total: Money,
    /// How long the buyer has.
    pub time_to_pay: Duration,
    /// What to do with late money.
    pub late_payment_policy: LatePaymentPolicy,
    /// Passed on to the provider.
    pub payment_method: String,
    /// The shop's own number of the order, which no other order of the fleet has.
    pub reference: Option<String>,
    /// The coupon that the buyer names.
    pub coupon: Option<CouponCode>,
}

/// What comes back with a refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefundItems {
    /// The attempt whose payment it is taken from, or, of a late payment, the attempt it was paid into.
    pub attempt: Attempt,
    /// Money; 0 when only goods come back.
    pub amount: Money,
    /// What for.
    pub reason: RefundReason,
    /// Pieces.
    pub lines: Lines,
    /// Whether all of the order's shares come back.
    pub return_shares: bool,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refund {
    /// What it is taken from.
    pub payment_id: PaymentId,
    /// What comes back.
    pub claim: RefundItems,
    /// How much was asked for. `None`: nobody knows any more.
    pub extent: Option<Extent>,
    /// The pieces that come back, by what was paid for one: others are left.
    #[serde(serialize_with = "by_price")]
    pub taken: Pieces,
    /// Where it stands.
    pub status: RefundStatus,
}

/// Pieces by product and by what was paid for one, in minor units.
pub type Pieces = BTreeMap<(Sku, i64), i64>;

fn by_price<S: Serializer>(pieces: &Pieces, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pieces.iter().map(|((sku, price), quantity)| (format!("{sku} at {price}"), quantity)))
}

/// Everything that is left is to go back, whatever becomes of other refunds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Everything {
    /// The refund that asked for it.
    pub refund_id: RefundId,
    /// What for.
    pub reason: RefundReason,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub note: String,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Its name.
    pub order_id: OrderId,
    /// What was agreed.
    pub terms: OrderTerms,
    /// Where it stands.
    pub status: Status,
    /// Where its payment stands.
    pub payment_status: PaymentStatus,
    /// Where what was bought stands.
    pub fulfillment_status: FulfillmentStatus,
    /// 1, and one more at each reinstatement.
    pub attempt: Attempt,
    /// What the attempt asked for, and what is known of it.
    pub holds: BTreeMap<Resource, HoldStatus>,
    /// What the coupon took off when it was held last: of the same order always the same.
    pub discount: Option<Discount>,
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
    /// Whether, and since which refund, all that is left is to go back.
    pub everything: Option<Everything>,
    /// Late money that waits for the receipt, and then holds everything again.
    pub waiting_payment: Option<(PaymentId, Money)>,
    /// Disputes of its payments, by the provider's own id of each; in nearly all cases none.
    pub disputes: BTreeMap<String, Disputed>,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When the attempt expires unless it is paid. `None`: it is paid with late money, and waits for its holds only.
    pub expires_at: Option<Timestamp>,
    /// What happened last, for people.
    pub note: String,
    /// Events of its stream.
    pub version: StreamVersion,
}

impl Revised for Order {
    type Revision = StreamVersion;

    fn revision(&self) -> StreamVersion {
        self.version
    }

    fn weight(&self) -> usize {
        1 + self.terms.lines.len()
            + self.disputes.len()
            + self.refunds.values().map(|refund| 1 + refund.taken.len()).sum::<usize>()
    }
}

/// What can still be given back of one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refundable {
    /// Money that is neither given back nor about to be.
    pub minor: i64,
    /// Pieces, likewise; those of which none is left are not named.
    pub pieces: Pieces,
    /// Whether the order's shares are left.
    pub shares: bool,
}

impl Refundable {
    /// How many pieces of a product.
    #[must_use]
    pub fn count(&self, sku: &Sku) -> i64 {
        self.pieces.iter().filter(|((of, _), _)| of == sku).map(|(_, count)| count).sum()
    }

    /// All pieces, by product.
    #[must_use]
    pub fn lines(&self) -> Lines {
        let mut lines = Lines::new();
        for ((sku, _), count) in &self.pieces {
            *lines.entry(sku.clone()).or_insert(0) += count;
        }
        lines
    }

    /// These pieces, the dearest of each product first: so all of them together cost what was paid for them, in however many refunds
    /// they come back, and whichever of those fail.
    #[must_use]
    pub fn take(&self, lines: &Lines) -> Pieces {
        let mut taken = Pieces::new();
        for (sku, wanted) in lines {
            let mut rest = *wanted;
            // Sorted by product and then by price.
            for ((of, price), count) in self.pieces.iter().rev().filter(|((of, _), _)| of == sku) {
                let now = rest.min(*count);
                if now > 0 {
                    taken.insert((of.clone(), *price), now);
                    rest -= now;
                }
            }
        }
        taken
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.minor < 1 && self.pieces.is_empty() && !self.shares
    }
}

/// What was paid for these pieces, in minor units.
#[must_use]
pub(super) fn price(pieces: &Pieces) -> i64 {
    pieces.iter().map(|((_, price), count)| price * count).sum()
}

impl Shares {
    /// The price of all of them.
    #[must_use]
    pub const fn price(&self) -> i64 {
        self.unit_price.minor_units * self.count
    }
}

impl OrderTerms {
    /// What an order with these terms has to hold.
    pub fn resources(&self) -> impl Iterator<Item = Resource> + use<> {
        let stock = (!self.lines.is_empty()).then_some(Resource::Stock);
        let shares = self.shares.map(|_| Resource::Shares);
        let coupon = self.coupon.as_ref().map(|_| Resource::Coupon);
        stock.into_iter().chain(shares).chain(coupon)
    }

    /// All pieces, by product and by what is paid for one: of a line with a discount, some pieces may cost one minor unit more than
    /// others, so that all of them together cost what was paid.
    #[must_use]
    pub fn pieces(&self, discount: Option<&Discount>) -> Pieces {
        let mut pieces = Pieces::new();
        let off = discount.into_iter().flat_map(|discount| discount.lines.iter().copied()).chain(std::iter::repeat(0));
        for (line, off) in self.lines.iter().zip(off) {
            let paid = line.unit_price.minor_units * line.quantity - off;
            let (each, dearer) = (paid.div_euclid(line.quantity.max(1)), paid.rem_euclid(line.quantity.max(1)));
            for (price, count) in [(each, line.quantity - dearer), (each + 1, dearer)] {
                if count > 0 {
                    *pieces.entry((line.sku.clone(), price)).or_insert(0) += count;
                }
            }
        }
        pieces
    }
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
    pub(super) fn placed(order_id: OrderId, terms: OrderTerms, placed_at: Timestamp) -> Self {
        Self {
            order_id,
            status: Status::Pending,
            payment_status: PaymentStatus::Pending,
            fulfillment_status: FulfillmentStatus::Pending,
            attempt: 1,
            holds: terms.resources().map(|resource| (resource, HoldStatus::Asked)).collect(),
            discount: None,
            released: false,
            payment_id: None,
            captured_minor: 0,
            refunded_minor: 0,
            refunds: BTreeMap::new(),
            deferred_share_refund: None,
            everything: None,
            waiting_payment: None,
            disputes: BTreeMap::new(),
            placed_at,
            expires_at: Some(placed_at + terms.time_to_pay),
            note: String::new(),
            version: StreamVersion::FIRST,
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
    pub fn requested(&self) -> Vec<Resource> {
        self.holds.keys().copied().collect()
    }

    /// Whether something but `settled` is still held or may be.
    #[must_use]
    pub fn has_open_holds_except(&self, settled: Option<Resource>) -> bool {
        self.holds.iter().any(|(resource, hold)| hold.is_open() && Some(*resource) != settled)
    }

    /// What there is to pay: the total without the discount.
    #[must_use]
    pub fn to_pay(&self) -> Money {
        let off = self.discount.as_ref().map_or(0, |discount| discount.amount.minor_units);
        Money { minor_units: self.terms.total.minor_units - off, ..self.terms.total }
    }

    /// Whether it is known what there is to pay: the coupon that the buyer names has been held once.
    #[must_use]
    pub fn is_price_known(&self) -> bool {
        self.terms.coupon.is_none() || self.discount.is_some()
    }

    /// What is paid for all of its shares, in minor units.
    #[must_use]
    pub fn share_price(&self, shares: &Shares) -> i64 {
        shares.price() - self.discount.as_ref().map_or(0, |discount| discount.shares)
    }

    /// Whether it was paid, and with this payment.
    #[must_use]
    pub fn is_paid_by(&self, payment_id: PaymentId) -> bool {
        self.status.phase() == Phase::Paid && self.payment_id == Some(payment_id)
    }

    /// Whether it was paid with nothing, for its coupon left nothing to pay.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.status.phase() == Phase::Paid && self.captured_minor == 0
    }

    /// Whether money of this payment has been heard of before.
    #[must_use]
    pub fn has_seen(&self, payment_id: PaymentId) -> bool {
        self.payment_id == Some(payment_id)
            || self.refunds.contains_key(&late_refund_id(payment_id))
            || self.waiting_payment.is_some_and(|(waiting, _)| waiting == payment_id)
    }

    /// Whether this payment's money is set aside, and is not being taken yet.
    #[must_use]
    pub fn waits_with(&self, payment_id: PaymentId) -> bool {
        let waiting = self.waiting_payment.map(|(waiting, _)| waiting);
        self.payment_status == PaymentStatus::Authorised && self.payment_id.or(waiting) == Some(payment_id)
    }

    /// Whether money of this payment waited, and was let go: it is there no more, whenever its authorisation is heard of again.
    #[must_use]
    pub fn has_let_go(&self, payment_id: PaymentId) -> bool {
        self.payment_status == PaymentStatus::Voided && payment_id == self.key().payment_id()
    }

    /// Whether this payment's money is being taken, for the order to be paid with it.
    #[must_use]
    pub fn is_capturing(&self, payment_id: PaymentId) -> bool {
        self.payment_status == PaymentStatus::Capturing && self.payment_id == Some(payment_id)
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
    pub fn left(&self, payment_id: PaymentId, aside: Option<RefundId>) -> Refundable {
        let bought = self.is_paid_by(payment_id);
        let mut left = Refundable {
            minor: self.received(payment_id),
            pieces: if bought { self.terms.pieces(self.discount.as_ref()) } else { Pieces::new() },
            shares: bought && self.terms.shares.is_some(),
        };
        for (refund_id, refund) in &self.refunds {
            if refund.payment_id != payment_id || !refund.is_live() || Some(*refund_id) == aside {
                continue;
            }
            left.minor -= refund.claim.amount.minor_units;
            left.shares &= !refund.claim.return_shares;
            for (piece, count) in &refund.taken {
                if let Some(pieces) = left.pieces.get_mut(piece) {
                    *pieces -= count;
                }
            }
        }
        left.pieces.retain(|_, pieces| *pieces != 0);
        left
    }

    /// Money that was to go back, does not, and is on no way: of a cancelled order, and of late payments. Somebody must see to it.
    #[must_use]
    pub fn owed_minor(&self) -> i64 {
        let cancelled = self.everything.as_ref().filter(|all| all.reason == RefundReason::OrderCancelled);
        let of_order = cancelled.and(self.payment_id).filter(|_| self.status.phase() == Phase::Paid);
        let late = self.refunds.values().filter(|refund| refund.claim.reason == RefundReason::LatePayment);
        let late: std::collections::BTreeSet<PaymentId> =
            late.map(|refund| refund.payment_id).filter(|payment_id| !self.is_paid_by(*payment_id)).collect();
        // What a dispute has taken, the buyer has.
        let kept = |payment_id| self.left(payment_id, None).minor - self.charged_back_minor(payment_id).max(0);
        late.into_iter().chain(of_order).map(|payment_id| kept(payment_id).max(0)).sum()
    }

    /// Whether all that was bought came back, and all money went back.
    #[must_use]
    pub fn is_all_gone_back(&self) -> bool {
        let all_money =
            self.payment_id.is_some_and(|payment_id| self.refunded(payment_id) >= self.received(payment_id));
        all_money && self.is_all_back()
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
