//! The book of orders: what each asked for, whether it is open, closed or paid, and whether it may be.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Attempt, HoldKey, Lines, OrderId, PaymentId, Rejection, RoundId, Sku, Timestamp, decode, hold::Status};
use proto::{
    Name,
    common::v1::{Discount, Money},
    orders::v1 as wire,
};

use super::{
    Held, Moment, Unbooked,
    coupons::{Basket, Coupon},
    keys::{Keys, move_each, move_set},
    money::Payments,
};
use crate::report::{Check, Findings};

/// One of several holds or releases says nothing yet, and what becomes of refunds is in their own book.
const OF_NO_CONCERN: [&str; 7] = [
    wire::OrderHoldConfirmed::NAME,
    // It changes nothing of the order.
    wire::OrderDisputed::NAME,
    wire::OrderReleaseConfirmed::NAME,
    wire::OrderRefunded::NAME,
    wire::OrderPartiallyRefunded::NAME,
    wire::ShareRefundDeferred::NAME,
    wire::RefundAbandoned::NAME,
];

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) orders: BTreeMap<OrderId, Order>,
    /// Payments whose money orders has heard of: it paid an order, or is going back.
    pub(crate) heard: BTreeSet<PaymentId>,
}

/// An order.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) attempt: Attempt,
    pub(crate) phase: Phase,
    /// When it came into this phase.
    pub(crate) since: Moment,
    pub(crate) lines: Lines,
    pub(crate) shares: Option<(RoundId, i64)>,
    total: Option<Money>,
    /// The coupon that it asks for, if any, and for whom.
    pub(crate) coupon: Option<(String, String)>,
    /// As it was ordered, with prices.
    basket: (Vec<wire::OrderLine>, Option<wire::SharePurchase>),
    /// None: it waits for holds only, paid with late money.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether the closed attempt has its receipt.
    pub(crate) released: bool,
    pub(crate) paid_by: Option<PaymentId>,
    /// When it was cancelled after it had been paid.
    pub(crate) cancelled: Option<Moment>,
    /// Since when late money waits for the receipt.
    pub(crate) waiting: Option<Moment>,
    /// Whether everything was asked back before. What another refund leaves that fails is part of it, and asked for by nobody else.
    wants_everything: bool,
}

/// What an order's status comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It can still be paid.
    Open,
    /// It was closed unpaid.
    Closed,
    /// It was paid.
    Paid,
}

impl Phase {
    /// Whether an order of this status can be in it.
    pub(crate) fn fits(self, status: &str) -> bool {
        match status {
            "pending" | "reserved" => self == Self::Open,
            "expired" | "cancelled" | "rejected" => self == Self::Closed,
            _ => self == Self::Paid,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Paid => "paid",
        }
    }
}

impl Order {
    /// Whether all that it asked for is held.
    fn is_held(&self, held: Held) -> bool {
        (self.lines.is_empty() || held.stock == Some(Status::Held))
            && (self.shares.is_none() || held.shares == Some(Status::Held))
            && (self.coupon.is_none() || held.coupon == Some(Status::Held))
    }

    /// What there is to pay, with what its coupon takes off.
    fn to_pay(&self, held: Held) -> Option<Money> {
        let off = if self.coupon.is_some() { held.discount } else { 0 };
        self.total.clone().map(|total| Money { minor_units: total.minor_units.saturating_sub(off), ..total })
    }

    /// Whether nothing that it asked for is held or can come to be held.
    fn is_let_go(&self, held: Held) -> bool {
        let over = |status| matches!(status, Some(Status::Released | Status::Rejected));
        (self.lines.is_empty() || over(held.stock))
            && (self.shares.is_none() || over(held.shares))
            && (self.coupon.is_none() || over(held.coupon))
    }
}

/// What a message says of an order's attempt.
struct Step<'a> {
    key: HoldKey,
    at: Moment,
    name: &'a str,
}

impl Orders {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_each(&mut self.orders, &mut other.orders, &keys.orders);
        move_set(&mut self.heard, &mut other.heard, &keys.payments);
    }

    /// What is wrong with this hold of stock.
    pub(super) fn contradicts_stock(&self, key: HoldKey, lines: &Lines) -> Option<String> {
        self.contradicts(key, |order| order.lines == *lines)
    }

    /// What is wrong with this hold of shares.
    pub(super) fn contradicts_shares(&self, key: HoldKey, round_id: RoundId, count: i64) -> Option<String> {
        self.contradicts(key, |order| order.shares == Some((round_id, count)))
    }

    /// What is wrong with this use of this coupon.
    pub(super) fn contradicts_coupon(
        &self,
        key: HoldKey,
        (code, customer_id): (&str, &str),
        coupon: Option<&Coupon>,
        discount: Option<&Discount>,
    ) -> Option<String> {
        let asks = |order: &Order| {
            order.coupon.as_ref().is_some_and(|(of, by)| (of.as_str(), by.as_str()) == (code, customer_id))
        };
        let wrong = || {
            let (lines, shares) = &self.orders.get(&key.order_id)?.basket;
            coupon?.contradicts(discount?, &Basket { lines, shares: shares.as_ref() })
        };
        self.contradicts(key, asks).or_else(wrong)
    }

    fn contradicts(&self, key: HoldKey, is_as_ordered: impl FnOnce(&Order) -> bool) -> Option<String> {
        match self.orders.get(&key.order_id) {
            Some(order) if key.attempt > order.attempt => {
                Some(format!("its order has only {} attempts", order.attempt))
            }
            Some(order) if key.attempt < order.attempt || is_as_ordered(order) => None,
            Some(_) => Some("it holds something else than was ordered".to_owned()),
            None => Some("nobody placed its order".to_owned()),
        }
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        held: &dyn Fn(HoldKey) -> Held,
        payments: &Payments,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        let key = |order_id: &str, attempt| HoldKey::parse(order_id, attempt);
        match name {
            wire::OrderPlaced::NAME => self.place(&decode(data)?, at, findings)?,
            wire::OrderReinstated::NAME => self.reinstate(&decode(data)?, at, findings)?,
            wire::OrderReserved::NAME => {
                let wire::OrderReserved { order_id, attempt, amount, .. } = decode(data)?;
                let step = Step { key: key(&order_id, attempt)?, at, name };
                let Some(order) = self.step(&step, &[Phase::Open], findings) else { return Ok(()) };
                if !order.is_held(held(step.key)) {
                    step.wrong("it is reserved, and not all of it is held", findings);
                }
                if order.to_pay(held(step.key)) != amount || amount.is_some_and(|amount| amount.minor_units < 1) {
                    step.wrong("it is reserved for another amount than there is to pay", findings);
                }
            }
            wire::OrderPaid::NAME => self.pay(&decode(data)?, at, held, payments, findings)?,
            wire::OrderRejected::NAME => {
                let wire::OrderRejected { order_id, attempt, .. } = decode(data)?;
                self.close(&Step { key: key(&order_id, attempt)?, at, name }, findings);
            }
            wire::OrderCancelled::NAME => {
                let wire::OrderCancelled { order_id, attempt, .. } = decode(data)?;
                self.close(&Step { key: key(&order_id, attempt)?, at, name }, findings);
            }
            wire::OrderExpired::NAME => {
                let wire::OrderExpired { order_id, attempt, actor, .. } = decode(data)?;
                let step = Step { key: key(&order_id, attempt)?, at, name };
                let due = self.orders.get(&step.key.order_id).map(|order| order.expires_at);
                // An operator may end it before.
                if actor.is_empty() && due.is_some_and(|due| due.is_none_or(|due| due > at.at)) {
                    step.wrong("it expired before its time", findings);
                }
                self.close(&step, findings);
            }
            wire::OrderReleased::NAME => {
                let wire::OrderReleased { order_id, attempt } = decode(data)?;
                let step = Step { key: key(&order_id, attempt)?, at, name };
                let Some(order) = self.step(&step, &[Phase::Closed], findings) else { return Ok(()) };
                if std::mem::replace(&mut order.released, true) {
                    step.wrong("it has its receipt twice", findings);
                }
                if !order.is_let_go(held(step.key)) {
                    step.wrong("it has its receipt, and not all of it is released", findings);
                }
            }
            wire::PaidOrderCancelled::NAME => {
                let wire::PaidOrderCancelled { order_id, attempt, .. } = decode(data)?;
                let step = Step { key: key(&order_id, attempt)?, at, name };
                if let Some(order) = self.step(&step, &[Phase::Paid], findings) {
                    order.cancelled = Some(at);
                }
            }
            wire::LatePaymentDeferred::NAME => self.defer(&decode(data)?, at, findings)?,
            wire::RefundRequested::NAME => self.ask_back(&decode(data)?, at, payments, findings)?,
            name if OF_NO_CONCERN.contains(&name) => {}
            wire::CaptureRequested::NAME => self.capture(&decode(data)?, at, held, findings)?,
            wire::VoidRequested::NAME => self.void(&decode(data)?, at, findings)?,
            _ => self.take_coupon(name, data, at, findings)?,
        }
        Ok(())
    }

    /// Money is to go back: the order has heard of its payment, and asks for nothing of what it knows to be disputed, unless that is
    /// the rest of an older wish.
    fn ask_back(
        &mut self,
        event: &wire::RefundRequested,
        at: Moment,
        payments: &Payments,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let key = HoldKey::parse(&event.order_id, event.attempt)?;
        let payment_id = PaymentId::parse(&event.payment_id)?;
        self.heard.insert(payment_id);
        let asks_for_money = event.amount.as_ref().is_some_and(|amount| amount.minor_units > 0);
        let is_asked = event.reason() == wire::RefundReason::Requested && asks_for_money;
        let mut had_wish = false;
        if let Some(order) = self.orders.get_mut(&key.order_id) {
            if event.extent() == wire::RefundExtent::Everything {
                had_wish = std::mem::replace(&mut order.wants_everything, true);
            }
            if event.reason() == wire::RefundReason::LatePayment {
                order.waiting = None;
            }
        }
        if is_asked && !had_wish && payments.disputes.is_known_to_stop_refunds(payment_id) {
            let step = Step { key, at, name: wire::RefundRequested::NAME };
            step.wrong("a refund is asked for of what it knows to be disputed", findings);
        }
        Ok(())
    }

    /// What an order wants of its coupon.
    fn take_coupon(&mut self, name: &str, data: &[u8], at: Moment, findings: &mut Findings) -> Result<(), Unbooked> {
        let key = |order_id: &str, attempt| HoldKey::parse(order_id, attempt);
        match name {
            wire::CouponRequested::NAME => {
                let event: wire::CouponRequested = decode(data)?;
                let step = Step { key: key(&event.order_id, event.attempt)?, at, name };
                let Some(order) = self.step(&step, &[Phase::Open], findings) else { return Ok(()) };
                let asked = (event.coupon_code, event.customer_id);
                if order.coupon != Some(asked) || order.basket != (event.lines, event.shares) {
                    step.wrong("something else is asked for than was ordered", findings);
                }
            }
            wire::RedemptionRequested::NAME => {
                let wire::RedemptionRequested { order_id, attempt, coupon_code } = decode(data)?;
                let step = Step { key: key(&order_id, attempt)?, at, name };
                let Some(order) = self.step(&step, &[Phase::Paid], findings) else { return Ok(()) };
                if order.coupon.as_ref().is_none_or(|(code, _)| *code != coupon_code) {
                    step.wrong("it asks to redeem another coupon than it has", findings);
                }
            }
            _ => return Err(Unbooked::Unknown { book: "orders" }),
        }
        Ok(())
    }

    /// The order, if it is in this attempt and one of these phases.
    fn step(&mut self, step: &Step<'_>, phases: &[Phase], findings: &mut Findings) -> Option<&mut Order> {
        let Some(order) = self.orders.get_mut(&step.key.order_id) else {
            step.wrong("it was never placed", findings);
            return None;
        };
        if order.attempt == step.key.attempt && phases.contains(&order.phase) {
            return Some(order);
        }
        let (attempt, phase) = (order.attempt, order.phase.as_str());
        step.wrong(&format!("attempt {} steps on, and it is {phase} in attempt {attempt}", step.key.attempt), findings);
        None
    }

    fn place(&mut self, event: &wire::OrderPlaced, at: Moment, findings: &mut Findings) -> Result<(), Rejection> {
        let key = HoldKey::parse(&event.order_id, event.attempt)?;
        let step = Step { key, at, name: wire::OrderPlaced::NAME };
        let order = Order {
            attempt: key.attempt,
            phase: Phase::Open,
            since: at,
            lines: lines(&event.lines)?,
            shares: shares(event.shares.as_ref())?,
            total: event.total.clone(),
            coupon: Some((event.coupon_code.clone(), event.customer_id.clone())).filter(|(code, _)| !code.is_empty()),
            basket: (event.lines.clone(), event.shares.clone()),
            expires_at: Some(Timestamp::from_wire("expires_at", event.expires_at)?),
            released: false,
            paid_by: None,
            cancelled: None,
            waiting: None,
            wants_everything: false,
        };
        if event.total.as_ref().map(|total| i128::from(total.minor_units)) != Some(price(event)) {
            step.wrong("its total is not the price of its lines and shares", findings);
        }
        if self.orders.insert(key.order_id, order).is_some() {
            step.wrong("it was placed twice", findings);
        }
        Ok(())
    }

    fn reinstate(
        &mut self,
        event: &wire::OrderReinstated,
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let key = HoldKey::parse(&event.order_id, event.attempt)?;
        let before = Step { key: HoldKey { attempt: key.attempt - 1, ..key }, at, name: wire::OrderReinstated::NAME };
        if !event.payment_id.is_empty() && !event.authorised {
            self.heard.insert(PaymentId::parse(&event.payment_id)?);
        }
        let expires_at = event.expires_at.map(|time| Timestamp::from_wire("expires_at", Some(time))).transpose()?;
        let Some(order) = self.step(&before, &[Phase::Closed], findings) else { return Ok(()) };
        if !order.released {
            before.wrong("it is opened again before everything was released", findings);
        }
        if order.coupon.as_ref().map_or("", |(code, _)| code.as_str()) != event.coupon_code {
            before.wrong("it is opened again with another coupon", findings);
        }
        order.attempt = key.attempt;
        order.waiting = None;
        order.phase = Phase::Open;
        order.since = at;
        order.expires_at = expires_at;
        order.released = false;
        Ok(())
    }

    fn pay(
        &mut self,
        event: &wire::OrderPaid,
        at: Moment,
        held: &dyn Fn(HoldKey) -> Held,
        payments: &Payments,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let (key, payment_id) = (HoldKey::parse(&event.order_id, event.attempt)?, PaymentId::parse(&event.payment_id)?);
        let step = Step { key, at, name: wire::OrderPaid::NAME };
        self.heard.insert(payment_id);
        let Some(order) = self.step(&step, &[Phase::Open], findings) else { return Ok(()) };
        order.phase = Phase::Paid;
        order.since = at;
        order.paid_by = Some(payment_id);
        if !order.is_held(held(key)) {
            step.wrong("it is paid, and not all of it is held", findings);
        }
        // What costs nothing is paid without a payment.
        let came = payments.captured(payment_id).cloned();
        let to_pay = order.to_pay(held(key));
        let is_free = to_pay.as_ref().is_some_and(|to_pay| to_pay.minor_units == 0);
        if event.amount.is_none() || (came != event.amount && !(is_free && came.is_none())) || to_pay != event.amount {
            step.wrong("it is paid with another amount than there is to pay or than its payment", findings);
        }
        Ok(())
    }

    /// Money that is set aside is to be taken.
    fn capture(
        &mut self,
        event: &wire::CaptureRequested,
        at: Moment,
        held: &dyn Fn(HoldKey) -> Held,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let key = HoldKey::parse(&event.order_id, event.attempt)?;
        let step = Step { key, at, name: wire::CaptureRequested::NAME };
        let Some(order) = self.step(&step, &[Phase::Open], findings) else { return Ok(()) };
        // It waits for that money, and for nothing else.
        order.expires_at = None;
        if !order.is_held(held(key)) {
            step.wrong("its money is to be taken, and not all of it is held", findings);
        }
        if order.to_pay(held(key)) != event.amount {
            step.wrong("another amount is to be taken than there is to pay", findings);
        }
        Ok(())
    }

    /// Money that is set aside is to be let go.
    fn void(&mut self, event: &wire::VoidRequested, at: Moment, findings: &mut Findings) -> Result<(), Rejection> {
        let (key, payment_id) = (HoldKey::parse(&event.order_id, event.attempt)?, PaymentId::parse(&event.payment_id)?);
        let step = Step { key, at, name: wire::VoidRequested::NAME };
        let order = self.step(&step, &[Phase::Open, Phase::Closed, Phase::Paid], findings);
        if let Some(order) = order.filter(|_| key.payment_id() == payment_id) {
            order.waiting = None;
        }
        Ok(())
    }

    /// Late money waits for the receipt; or what waited with it set aside has it now.
    fn defer(
        &mut self,
        event: &wire::LatePaymentDeferred,
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let key = HoldKey::parse(&event.order_id, event.attempt)?;
        let step = Step { key, at, name: wire::LatePaymentDeferred::NAME };
        let phases: &[Phase] = if event.authorised { &[Phase::Closed] } else { &[Phase::Closed, Phase::Open] };
        if !event.authorised {
            self.heard.insert(PaymentId::parse(&event.payment_id)?);
        }
        if let Some(order) = self.step(&step, phases, findings).filter(|order| order.phase == Phase::Closed) {
            order.waiting = Some(at);
            if order.released {
                step.wrong("late money waits for a receipt that is there", findings);
            }
        }
        Ok(())
    }

    fn close(&mut self, step: &Step<'_>, findings: &mut Findings) {
        if let Some(order) = self.step(step, &[Phase::Open], findings) {
            order.phase = Phase::Closed;
            order.since = step.at;
        }
    }
}

impl Step<'_> {
    fn wrong(&self, what: &str, findings: &mut Findings) {
        let what = format!("{}: {what}", self.name);
        findings.add(Check::Orders, format!("order-{}", self.key.order_id), what, Some(self.at.position));
    }
}

/// Pieces by product, the same product summed.
fn lines(lines: &[wire::OrderLine]) -> Result<Lines, Rejection> {
    let mut sums = Lines::new();
    for line in lines {
        let sum = sums.entry(Sku::parse(&line.sku)?).or_insert(0);
        *sum = sum.saturating_add(line.quantity);
    }
    Ok(sums)
}

fn shares(shares: Option<&wire::SharePurchase>) -> Result<Option<(RoundId, i64)>, Rejection> {
    shares.map(|shares| Ok((RoundId::parse(&shares.round_id)?, shares.count))).transpose()
}

fn price(event: &wire::OrderPlaced) -> i128 {
    let of =
        |price: Option<&Money>, count: i64| i128::from(price.map_or(0, |price| price.minor_units)) * i128::from(count);
    let lines: i128 = event.lines.iter().map(|line| of(line.unit_price.as_ref(), line.quantity)).sum();
    lines + event.shares.as_ref().map_or(0, |shares| of(shares.unit_price.as_ref(), shares.count))
}
