//! What must have followed by now: once the grace after an event is over, what it promised must have happened.

use std::{collections::BTreeMap, time::Duration};

use domain::{HoldKey, OrderId, Timestamp, hold::Status, written};

use super::{
    Ledger, Moment,
    money::payment_name,
    orders::{Order, Phase},
    refunds::{Answer, Refund, Standing, refund_name},
    shares::{Round, Standing as RoundStanding},
    shares_name, stock_name, use_name,
};
use crate::report::{Check, Findings};

/// The time by which things must have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grace {
    pub(crate) now: Timestamp,
    pub(crate) grace: Duration,
}

impl Grace {
    /// All time is over: whatever may ever be late, is.
    pub(crate) const NONE: Self = Self { now: Timestamp::from_micros(i64::MAX), grace: Duration::ZERO };

    /// Whether what had to follow from this moment is late.
    pub(crate) fn is_over(self, since: Moment) -> bool {
        self.is_past(since.at)
    }

    fn is_past(self, time: Timestamp) -> bool {
        self.now.since(time) > self.grace
    }

    fn ago(self, time: Timestamp) -> String {
        platform::print::short(self.now.since(time))
    }
}

impl Ledger {
    /// Looks for what is late.
    pub(crate) fn check_promises(&self, grace: Grace, findings: &mut Findings) {
        findings.checked(Check::Orders, self.orders.orders.len() + self.gone.orders);
        for (order_id, order) in &self.orders.orders {
            order.check(*order_id, grace, findings);
            let key = HoldKey { order_id: *order_id, attempt: order.attempt };
            if !order.lines.is_empty() {
                let hold = self.stock.holds.get(&key).map(|hold| (hold.status, hold.since));
                order.check_hold(&stock_name(key), hold, grace, findings);
            }
            if order.shares.is_some() {
                let hold = self.shares.holds.get(&key).map(|hold| (hold.status, hold.since));
                order.check_hold(&shares_name(key), hold, grace, findings);
            }
            if order.coupon.is_some() {
                let hold = self.coupons.holds.get(&key).map(|hold| (hold.status, hold.since));
                order.check_hold(&use_name(key), hold, grace, findings);
            }
        }
        findings.checked(Check::Holds, self.holds() + self.gone.holds);
        let stock = self.stock.holds.iter().map(|(key, hold)| (*key, stock_name(*key), hold.status, hold.since));
        let shares = self.shares.holds.iter().map(|(key, hold)| (*key, shares_name(*key), hold.status, hold.since));
        let uses = self.coupons.holds.iter().map(|(key, hold)| (*key, use_name(*key), hold.status, hold.since));
        for (key, name, status, since) in stock.chain(shares).chain(uses) {
            let order = self.orders.orders.get(&key.order_id);
            if status == Status::Held && order.is_none_or(|order| order.attempt != key.attempt) {
                let what = "it is held for an attempt of an order that is not the latest, or for none".to_owned();
                findings.add(Check::Holds, name, what, Some(since.position));
            }
        }
        findings.checked(Check::Stock, self.stock.products.len());
        findings.checked(Check::Shares, self.shares.rounds.len());
        findings.checked(Check::Coupons, self.coupons.coupons.len());
        findings.checked(Check::Money, self.payments.payments.len() + self.gone.payments);
        self.check_rounds(grace, findings);
        self.check_buyers(grace, findings);
        self.check_cancelled(grace, findings);
        self.check_payments(grace, findings);
        self.check_funds(grace, findings);
        for (payment_id, since) in self.authorisations.open().filter(|(_, since)| grace.is_over(*since)) {
            let what = format!("money is set aside since {} ago, and neither taken nor let go", grace.ago(since.at));
            findings.add(Check::Money, payment_name(payment_id), what, Some(since.position));
        }
        for (payment_id, since) in self.payments.disputes.unheard().filter(|(_, since)| grace.is_over(*since)) {
            let what = format!("its dispute was told {} ago, and its order does not know", grace.ago(since.at));
            findings.add(Check::Money, payment_name(payment_id), what, Some(since.position));
        }
        for (refund_id, refund) in &self.refunds.refunds {
            for what in refund.late(grace) {
                findings.add(Check::Money, refund_name(*refund_id), what.to_owned(), Some(refund.since.position));
            }
        }
    }

    /// A round is sold out while every share is sold, and closes unless its closing time finds it so.
    fn check_rounds(&self, grace: Grace, findings: &mut Findings) {
        for (round_id, round) in &self.shares.rounds {
            let Round { total, sold, closes_at, standing, changed, to_reopen, .. } = *round;
            let mut late = |what: String, at| findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at));
            if let Some(came_back) = to_reopen.filter(|came_back| grace.is_over(*came_back)) {
                let what = format!(
                    "shares came back before its closing time, and it counts as sold out: {sold} of {total} are sold"
                );
                late(what, came_back.position);
            }
            match (standing, closes_at) {
                (RoundStanding::Open, _) if sold == total && grace.is_over(changed) => {
                    late("every share is sold, and it does not count as sold out".to_owned(), changed.position);
                }
                (RoundStanding::Open, Some(due)) if grace.is_past(due) => {
                    let what = format!("it is still open, and was to close {} ago, at {due}", grace.ago(due));
                    late(what, round.since.position);
                }
                (
                    RoundStanding::Open | RoundStanding::SoldOut | RoundStanding::Closed | RoundStanding::Cancelled,
                    _,
                ) => {}
            }
        }
    }

    /// All who bought shares of a failed round are named to be refunded, and then are.
    fn check_buyers(&self, grace: Grace, findings: &mut Findings) {
        let mut refunds: BTreeMap<OrderId, Vec<&Refund>> = BTreeMap::new();
        for refund in self.refunds.refunds.values().filter(|refund| refund.second_charge.is_none()) {
            refunds.entry(refund.order_id).or_default().push(refund);
        }
        // Of those who were let go, nothing had to follow.
        let named = self.shares.named.iter().filter(|(key, _)| self.shares.holds.contains_key(key));
        for (key, named) in named.filter(|(_, named)| grace.is_over(**named)) {
            let of_order = refunds.get(&key.order_id).map(Vec::as_slice).unwrap_or_default();
            if !of_order.iter().any(|refund| self.settles_shares(refund, *named)) {
                let what = "its order was named to be refunded, and never was".to_owned();
                findings.add(Check::Shares, shares_name(*key), what, Some(named.position));
            }
        }
        // Whoever bought is not in memory any more, so they are told by their number.
        for (round_id, round) in &self.shares.rounds {
            let Some(failed) = round.failed().filter(|failed| grace.is_over(*failed)) else { continue };
            let forgotten = round.sold - round.named;
            if forgotten != 0 && grace.is_over(round.last_sold) {
                let what =
                    format!("it failed, and the buyers of {forgotten} sold shares were never named to be refunded");
                findings.add(Check::Shares, format!("round-{round_id}"), what, Some(failed.position));
            }
        }
    }

    /// A paid order that was cancelled keeps no money that nobody asked for: what is not back is under way, or was refused since.
    fn check_cancelled(&self, grace: Grace, findings: &mut Findings) {
        for (order_id, order) in &self.orders.orders {
            let Some((cancelled, payment_id)) = order.cancelled.zip(order.paid_by) else { continue };
            let is_of_it = |refund: &&Refund| refund.payment_id == payment_id && refund.second_charge.is_none();
            let of_it = || self.refunds.refunds.values().filter(is_of_it);
            let waits = of_it().any(|refund| refund.answer == Answer::Open || !grace.is_over(refund.since));
            let refused =
                of_it().any(|refund| refund.answer == Answer::Abandoned && refund.since.position > cancelled.position);
            let left = self
                .payments
                .payments
                .get(&payment_id)
                .map_or(0, |payment| payment.captured_minor() - payment.given_back);
            if grace.is_over(cancelled) && left > 0 && !waits && !refused {
                let captured = self.payments.captured(payment_id);
                let currency = captured.map_or("", |captured| captured.currency.as_str());
                let left = written(left, currency);
                let what = format!("it was cancelled when it was paid, and {left} were never asked for");
                findings.add(Check::Orders, format!("order-{order_id}"), what, Some(cancelled.position));
            }
        }
    }

    /// Whether this refund is why nothing more is owed for an order's shares: it returns them, also if it was refused since;
    /// it is still under way, and the refund of the shares waits for it; or it is part of all the money going back.
    fn settles_shares(&self, refund: &Refund, named: Moment) -> bool {
        let payment = self.payments.payments.get(&refund.payment_id);
        match refund.answer {
            Answer::Open => true,
            Answer::Abandoned => refund.return_shares && refund.since.position > named.position,
            Answer::Refunded => {
                refund.return_shares || payment.is_some_and(|payment| payment.given_back == payment.captured_minor())
            }
        }
    }

    /// No money is forgotten, and nobody is asked to pay for a closed order.
    fn check_payments(&self, grace: Grace, findings: &mut Findings) {
        for (payment_id, payment) in &self.payments.payments {
            let mut late = |what: &str| {
                findings.add(Check::Money, payment_name(*payment_id), what.to_owned(), Some(payment.since.position));
            };
            if payment.captured.is_some() && grace.is_over(payment.since) && !self.orders.heard.contains(payment_id) {
                late("its money came, and neither paid an order nor is going back");
            }
            let closed = self.orders.orders.get(&payment.key.order_id).filter(|order| {
                (order.attempt > payment.key.attempt || order.phase == Phase::Closed) && grace.is_over(order.since)
            });
            if payment.is_asking && closed.is_some() && grace.is_over(payment.since) {
                late("the buyer is still asked to pay for what is closed");
            }
        }
    }
}

impl Order {
    fn check(&self, order_id: OrderId, grace: Grace, findings: &mut Findings) {
        let mut late = |what: String| {
            findings.add(Check::Orders, format!("order-{order_id}"), what, Some(self.since.position));
        };
        match (self.phase, self.expires_at) {
            (Phase::Open, Some(due)) if grace.is_past(due) => {
                late(format!("it is still open, and was to expire {} ago, at {due}", grace.ago(due)));
            }
            (Phase::Closed, _) if self.released && self.waiting.is_some_and(|waiting| grace.is_over(waiting)) => {
                late("late money waits for its receipt, which it has".to_owned());
            }
            (Phase::Closed, _) if !self.released && grace.is_over(self.since) => {
                late(format!("it was closed {} ago, and not all that it held is given back", grace.ago(self.since.at)));
            }
            (Phase::Open | Phase::Closed | Phase::Paid, _) => {}
        }
    }

    /// A hold of the latest attempt, where it stands and since when.
    fn check_hold(&self, name: &str, hold: Option<(Status, Moment)>, grace: Grace, findings: &mut Findings) {
        let over = grace.is_over(self.since);
        let wrong = match (self.phase, hold) {
            (Phase::Closed, Some((Status::Held, since))) if over && grace.is_over(since) => {
                format!("it is still held, and its order was closed {} ago", grace.ago(self.since.at))
            }
            (Phase::Paid, Some((Status::Held, _))) if over => {
                format!("it is still only held, and its order was paid {} ago", grace.ago(self.since.at))
            }
            (Phase::Closed, Some((Status::Committed, _))) => "it is sold, and its order was closed unpaid".to_owned(),
            (Phase::Paid, None | Some((Status::Released | Status::Rejected, _))) => {
                "it is not held, and its order is paid".to_owned()
            }
            (Phase::Open | Phase::Closed | Phase::Paid, _) => return,
        };
        findings.add(Check::Holds, name, wrong, Some(self.since.position));
    }
}

impl Refund {
    /// What should have followed by now.
    fn late(&self, grace: Grace) -> Vec<&'static str> {
        // No order asked for one of a second charge, and none counts it.
        if !grace.is_over(self.since) || self.second_charge.is_some() {
            return vec![];
        }
        let mut late = Vec::new();
        match (self.standing, self.answer) {
            (Standing::Asked, Answer::Open) => late.push("its order asked for it, and payments did nothing"),
            (Standing::Refunded | Standing::Reversed, Answer::Open | Answer::Abandoned) => {
                late.push("its money went back, and its order does not count it");
            }
            (Standing::Rejected, Answer::Open) => late.push("it was refused, and its order still waits for it"),
            (Standing::Deferred | Standing::UnderWay | Standing::Unknown, Answer::Open)
            | (_, Answer::Refunded)
            | (
                Standing::Asked | Standing::Deferred | Standing::Rejected | Standing::UnderWay | Standing::Unknown,
                Answer::Abandoned,
            ) => {}
        }
        if self.answer == Answer::Refunded && !self.lines.is_empty() && !self.stock_returned {
            late.push("its pieces were given back, and did not come back to stock");
        }
        if self.answer == Answer::Refunded && self.return_shares && !self.shares_returned {
            late.push("its shares were given back, and did not come back to the round");
        }
        late
    }
}
