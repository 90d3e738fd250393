//! The book of refunds: each one as orders asked for it, as payments brought it to its end, and as stock and shares came back.

use std::collections::BTreeMap;

use domain::{HoldKey, Lines, OrderId, PaymentId, RefundId, Rejection, decode, lines_from_wire, written};
use proto::{
    Name, common::v1::Money, inventory::v1 as inventory, orders::v1 as orders, payments::v1 as payments,
    rounds::v1 as rounds,
};
use serde::{Deserialize, Serialize};

use super::{
    Moment, Unbooked,
    keys::Keys,
    money::{Payment, Payments},
};
use crate::report::{Check, Findings};

/// The name by which payments knows the sandbox.
const SANDBOX: &str = "sandbox";

/// An order's life as long as nothing goes back: that is in the book of orders.
const OF_ORDERS_OF_NO_CONCERN: [&str; 18] = [
    orders::OrderDisputed::NAME,
    orders::OrderPlaced::NAME,
    orders::CouponRequested::NAME,
    orders::RedemptionRequested::NAME,
    orders::OrderHoldConfirmed::NAME,
    orders::OrderReserved::NAME,
    orders::OrderRejected::NAME,
    orders::OrderPaid::NAME,
    orders::OrderExpired::NAME,
    orders::OrderCancelled::NAME,
    orders::OrderReleaseConfirmed::NAME,
    orders::OrderReleased::NAME,
    orders::OrderReinstated::NAME,
    orders::PaidOrderCancelled::NAME,
    orders::LatePaymentDeferred::NAME,
    orders::CaptureRequested::NAME,
    orders::VoidRequested::NAME,
    // It is asked for later, or never.
    orders::ShareRefundDeferred::NAME,
];

/// How money comes, and reports that fit nothing: that is in the book of money.
const OF_PAYMENTS_OF_NO_CONCERN: [&str; 13] = [
    payments::PaymentRequested::NAME,
    payments::CheckoutOpened::NAME,
    payments::CheckoutLookSubmitted::NAME,
    payments::CheckoutFailed::NAME,
    payments::CheckoutAbandoned::NAME,
    payments::CheckoutRequested::NAME,
    payments::CheckoutClosed::NAME,
    payments::PaymentSucceeded::NAME,
    payments::PaymentDeclined::NAME,
    payments::PaymentFailed::NAME,
    payments::PaymentCancelled::NAME,
    payments::ProviderReportUnmatched::NAME,
    payments::ProviderReportResolved::NAME,
];

/// What the owners of stock and shares do before anything comes back.
const OF_HOLDS_OF_NO_CONCERN: [&str; 19] = [
    inventory::ProductRegistered::NAME,
    inventory::StockReceived::NAME,
    inventory::StockAdjusted::NAME,
    inventory::StockHeld::NAME,
    inventory::StockRejected::NAME,
    inventory::StockCommitted::NAME,
    inventory::StockReleased::NAME,
    rounds::RoundOpened::NAME,
    rounds::RoundSoldOut::NAME,
    rounds::RoundTicketsListed::NAME,
    rounds::RoundDrawn::NAME,
    rounds::RoundReopened::NAME,
    rounds::RoundClosed::NAME,
    rounds::RoundCancelled::NAME,
    rounds::RoundRefundsRequested::NAME,
    rounds::SharesHeld::NAME,
    rounds::SharesRejected::NAME,
    rounds::SharesSold::NAME,
    rounds::SharesReleased::NAME,
];

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Refunds {
    pub(crate) refunds: BTreeMap<RefundId, Refund>,
    /// Of those whose orders were let go: what the sandbox may know of.
    let_go: BTreeMap<RefundId, Sent>,
}

/// What is left of a refund when its order is let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) minor: i128,
    pub(crate) currency: String,
    pub(crate) standing: Standing,
    pub(crate) by_hand: bool,
    pub(crate) since: Moment,
    pub(crate) by_sandbox: bool,
}

/// A refund.
#[derive(Debug, Clone)]
pub(crate) struct Refund {
    pub(crate) payment_id: PaymentId,
    pub(crate) order_id: OrderId,
    pub(crate) amount: Option<Money>,
    pub(crate) lines: Lines,
    pub(crate) return_shares: bool,
    /// Where payments has it.
    pub(crate) standing: Standing,
    /// Where orders has it.
    pub(crate) answer: Answer,
    /// When one of the two last changed.
    pub(crate) since: Moment,
    /// Whether an operator or a report said that the buyer has the money: the sandbox need not know.
    pub(crate) by_hand: bool,
    /// Whether it went back once, and orders may so have heard, whatever became of it since.
    pub(crate) has_gone: bool,
    /// Whether payments refused it once, and orders may so have heard.
    pub(crate) was_refused: bool,
    /// Whether its order has asked for it: one that was made elsewhere is booked by payments first.
    pub(crate) is_asked: bool,
    pub(crate) reason: orders::RefundReason,
    /// Whether the call for it was not answered yet.
    pub(crate) call_open: bool,
    /// The provider that is to give the money back.
    pub(crate) provider: String,
    pub(crate) stock_returned: bool,
    pub(crate) shares_returned: bool,
    /// The second charge that it gives back: no order asked for it, and none of the payment's own money goes.
    pub(crate) second_charge: Option<String>,
}

/// Where a refund stands in payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Payments has not said anything yet.
    Asked,
    /// It waits before it is sent.
    Deferred,
    /// Sent, or about to be.
    UnderWay,
    /// The buyer has the money.
    Refunded,
    /// Nothing went back.
    Rejected,
    /// Nobody knows.
    Unknown,
    /// It came back after it had gone.
    Reversed,
}

/// Where a refund stands in orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Asked for.
    Open,
    /// Given back.
    Refunded,
    /// Given up.
    Abandoned,
}

impl Standing {
    /// Whether payments may go from here to there.
    const fn leads_to(self, next: Self) -> bool {
        match next {
            Self::Asked => false,
            Self::Deferred => matches!(self, Self::Asked),
            Self::UnderWay => matches!(self, Self::Asked | Self::Deferred | Self::Unknown | Self::Reversed),
            // One that was given up may have gone back all the same.
            Self::Refunded => !matches!(self, Self::Asked | Self::Refunded),
            // Once more if a report says when.
            Self::Rejected => {
                matches!(self, Self::Asked | Self::Deferred | Self::UnderWay | Self::Unknown | Self::Rejected)
            }
            Self::Unknown => matches!(self, Self::UnderWay),
            Self::Reversed => matches!(self, Self::UnderWay | Self::Refunded | Self::Unknown | Self::Reversed),
        }
    }

    /// Of a refund's money: what is with the buyer, and what is promised.
    const fn money(self, amount: i128) -> (i128, i128) {
        match self {
            Self::Refunded => (amount, 0),
            Self::Deferred | Self::UnderWay | Self::Unknown | Self::Reversed => (0, amount),
            Self::Asked | Self::Rejected => (0, 0),
        }
    }
}

impl Refund {
    pub(crate) fn new(payment_id: PaymentId, order_id: OrderId, at: Moment) -> Self {
        Self {
            payment_id,
            order_id,
            amount: None,
            lines: Lines::new(),
            return_shares: false,
            standing: Standing::Asked,
            answer: Answer::Open,
            since: at,
            by_hand: false,
            has_gone: false,
            was_refused: false,
            is_asked: false,
            reason: orders::RefundReason::Unspecified,
            call_open: false,
            provider: String::new(),
            stock_returned: false,
            shares_returned: false,
            second_charge: None,
        }
    }

    pub(crate) fn minor(&self) -> i128 {
        self.amount.as_ref().map_or(0, |amount| amount.minor_units.into())
    }

    pub(crate) fn sent(&self) -> Sent {
        let Self { amount, standing, by_hand, since, provider, .. } = self;
        Sent {
            minor: self.minor(),
            currency: amount.as_ref().map_or_else(String::new, |amount| amount.currency.clone()),
            standing: *standing,
            by_hand: *by_hand,
            since: *since,
            by_sandbox: provider == SANDBOX,
        }
    }
}

/// What a refund's findings are about.
pub(crate) fn refund_name(refund_id: RefundId) -> String {
    format!("refund-{refund_id}")
}

fn wrong(refund_id: RefundId, what: String, at: Moment, findings: &mut Findings) {
    findings.add(Check::Money, refund_name(refund_id), what, Some(at.position));
}

impl Refunds {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        let of_them = self.refunds.extract_if(.., |_, refund| keys.orders.contains(&refund.order_id));
        other.refunds.extend(of_them);
    }

    /// Keeps of refunds whose orders are let go what their provider is asked about, if that is the sandbox: no other is asked.
    pub(super) fn let_go(&mut self, gone: &Self) {
        let asked = |refund: &Refund| refund.provider.is_empty() || refund.provider == SANDBOX;
        let gone = gone.refunds.iter().filter(|(_, refund)| asked(refund));
        self.let_go.extend(gone.map(|(refund_id, refund)| (*refund_id, refund.sent())));
    }

    pub(super) fn keep(self) -> Vec<(RefundId, Sent)> {
        self.let_go.into_iter().collect()
    }

    pub(super) fn restore(&mut self, sent: Vec<(RefundId, Sent)>) {
        self.let_go.extend(sent);
    }

    /// All refunds, as far as the sandbox knows of them.
    pub(crate) fn sent(&self) -> BTreeMap<RefundId, Sent> {
        let live = self.refunds.iter().map(|(refund_id, refund)| (*refund_id, refund.sent()));
        self.let_go.clone().into_iter().chain(live).collect()
    }

    pub(super) fn take_order(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        payments: &mut Payments,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            orders::RefundRequested::NAME => self.ask(decode(data)?, at, findings)?,
            orders::OrderRefunded::NAME => {
                let orders::OrderRefunded { refund_id, amount, lines, return_shares, .. } = decode(data)?;
                let said = Said { amount, lines: lines_from_wire(&lines)?, return_shares };
                self.give_back(RefundId::parse(&refund_id)?, &said, Whole::Yes, at, payments, findings);
            }
            orders::OrderPartiallyRefunded::NAME => {
                let orders::OrderPartiallyRefunded { refund_id, amount, lines, return_shares, .. } = decode(data)?;
                let said = Said { amount, lines: lines_from_wire(&lines)?, return_shares };
                self.give_back(RefundId::parse(&refund_id)?, &said, Whole::No, at, payments, findings);
            }
            orders::RefundAbandoned::NAME => {
                let refund_id = RefundId::parse(&decode::<orders::RefundAbandoned>(data)?.refund_id)?;
                match self.refunds.get_mut(&refund_id) {
                    Some(refund) if refund.answer == Answer::Open && refund.was_refused => {
                        refund.answer = Answer::Abandoned;
                        refund.since = at;
                    }
                    Some(_) | None => {
                        wrong(refund_id, "it was given up although it was not refused".to_owned(), at, findings);
                    }
                }
            }
            name if OF_ORDERS_OF_NO_CONCERN.contains(&name) => {}
            _ => return Err(Unbooked::Unknown { book: "refunds" }),
        }
        Ok(())
    }

    fn ask(&mut self, event: orders::RefundRequested, at: Moment, findings: &mut Findings) -> Result<(), Rejection> {
        let refund_id = RefundId::parse(&event.refund_id)?;
        let order_id = HoldKey::parse(&event.order_id, event.attempt)?.order_id;
        let payment_id = PaymentId::parse(&event.payment_id)?;
        let reason = event.reason();
        let asked = Refund {
            amount: event.amount,
            lines: lines_from_wire(&event.lines)?,
            return_shares: event.return_shares,
            reason,
            is_asked: true,
            ..Refund::new(payment_id, order_id, at)
        };
        match self.refunds.get_mut(&refund_id) {
            None if reason == orders::RefundReason::Elsewhere => {
                wrong(
                    refund_id,
                    "it is said to be made elsewhere, and payments knows nothing of it".to_owned(),
                    at,
                    findings,
                );
            }
            None => drop(self.refunds.insert(refund_id, asked)),
            Some(made) if !made.is_asked && made.payment_id == payment_id && made.amount == asked.amount => {
                *made = Refund {
                    standing: made.standing,
                    by_hand: true,
                    has_gone: made.has_gone,
                    was_refused: made.was_refused,
                    call_open: made.call_open,
                    provider: std::mem::take(&mut made.provider),
                    ..asked
                };
            }
            Some(_) => wrong(refund_id, "it was asked for twice".to_owned(), at, findings),
        }
        Ok(())
    }

    fn give_back(
        &mut self,
        refund_id: RefundId,
        said: &Said,
        whole: Whole,
        at: Moment,
        payments: &mut Payments,
        findings: &mut Findings,
    ) {
        let Some(refund) = self.refunds.get_mut(&refund_id) else {
            return wrong(refund_id, "it was given back although nobody asked for it".to_owned(), at, findings);
        };
        if refund.answer == Answer::Refunded {
            return wrong(refund_id, "its order counts it as given back twice".to_owned(), at, findings);
        }
        // Of an order that was paid with nothing, goods come back without payments.
        let is_free = refund.minor() == 0 && !payments.payments.contains_key(&refund.payment_id);
        if is_free {
            (refund.standing, refund.has_gone) = (Standing::Refunded, true);
        }
        if !refund.has_gone {
            wrong(refund_id, "its order counts it as given back before it was".to_owned(), at, findings);
        }
        // Goods of one that was given up may have come back with another since.
        let is_less = |said: &Said| said.lines.iter().all(|(sku, count)| refund.lines.get(sku) >= Some(count));
        let is_right = match refund.answer {
            Answer::Abandoned => is_less(said) && refund.return_shares >= said.return_shares,
            Answer::Open | Answer::Refunded => refund.lines == said.lines && refund.return_shares == said.return_shares,
        };
        if refund.amount != said.amount || !is_right {
            wrong(refund_id, "something else was given back than was asked for".to_owned(), at, findings);
        }
        refund.lines.clone_from(&said.lines);
        refund.return_shares = said.return_shares;
        // What was made elsewhere may be heard of before the payment is.
        let is_heard_first = refund.reason == orders::RefundReason::Elsewhere;
        refund.answer = Answer::Refunded;
        refund.since = at;
        let (minor, payment_id) = (refund.minor(), refund.payment_id);
        if is_free {
            return;
        }
        payments.change(payment_id, at, findings, |payment| payment.given_back += minor);
        let left =
            payments.payments.get(&payment_id).map_or(0, |payment| payment.captured_minor() - payment.given_back);
        if (left == 0) != (whole == Whole::Yes) && !is_heard_first {
            let left = written(left, said.amount.as_ref().map_or("", |amount| amount.currency.as_str()));
            let what = format!("{left} of its payment is left, which its order tells otherwise");
            wrong(refund_id, what, at, findings);
        }
    }

    pub(super) fn take_payment(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        books: &mut Payments,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            payments::RefundDeferred::NAME => {
                let payments::RefundDeferred { refund_id, amount, .. } = decode(data)?;
                self.step(RefundId::parse(&refund_id)?, amount.as_ref(), Standing::Deferred, at, books, findings);
            }
            payments::PaymentRefundedElsewhere::NAME => self.made_elsewhere(decode(data)?, at, books, findings)?,
            payments::RefundAnswered::NAME => {
                let payments::RefundAnswered { refund_id, .. } = decode(data)?;
                match self.refunds.get_mut(&RefundId::parse(&refund_id)?) {
                    Some(refund) if refund.call_open => refund.call_open = false,
                    Some(_) | None => {
                        wrong(RefundId::parse(&refund_id)?, "an answer came to no call".to_owned(), at, findings);
                    }
                }
            }
            payments::RefundSubmitted::NAME => {
                let event: payments::RefundSubmitted = decode(data)?;
                let refund_id = RefundId::parse(&event.refund_id)?;
                if event.of_second_charge {
                    self.give_back_second_charge(refund_id, &event, at, books, findings)?;
                } else {
                    self.check_doubt(refund_id, PaymentId::parse(&event.payment_id)?, at, books, findings);
                }
                self.step(refund_id, event.amount.as_ref(), Standing::UnderWay, at, books, findings);
                if let Some(refund) = self.refunds.get_mut(&refund_id) {
                    (refund.provider, refund.call_open) = (event.provider, true);
                }
            }
            payments::PaymentRefunded::NAME => {
                let payments::PaymentRefunded { payment_id, refund_id, amount, provider_event_id, .. } = decode(data)?;
                let refund_id = RefundId::parse(&refund_id)?;
                self.step(refund_id, amount.as_ref(), Standing::Refunded, at, books, findings);
                self.hear(refund_id, PaymentId::parse(&payment_id)?, &provider_event_id, books);
            }
            payments::RefundRejected::NAME => {
                let payments::RefundRejected { payment_id, refund_id, amount, provider_event_id, .. } = decode(data)?;
                let refund_id = RefundId::parse(&refund_id)?;
                self.step(refund_id, amount.as_ref(), Standing::Rejected, at, books, findings);
                self.hear(refund_id, PaymentId::parse(&payment_id)?, &provider_event_id, books);
                if let Some(refund) = self.refunds.get_mut(&refund_id) {
                    (refund.was_refused, refund.by_hand) = (true, false);
                }
            }
            payments::RefundOutcomeUnknown::NAME => {
                let payments::RefundOutcomeUnknown { payment_id, refund_id, .. } = decode(data)?;
                let refund_id = RefundId::parse(&refund_id)?;
                self.step(refund_id, None, Standing::Unknown, at, books, findings);
                self.hear(refund_id, PaymentId::parse(&payment_id)?, "", books);
            }
            payments::RefundReversed::NAME => {
                let payments::RefundReversed { payment_id, refund_id, amount, provider_event_id, .. } = decode(data)?;
                let refund_id = RefundId::parse(&refund_id)?;
                self.step(refund_id, amount.as_ref(), Standing::Reversed, at, books, findings);
                self.hear(refund_id, PaymentId::parse(&payment_id)?, &provider_event_id, books);
            }
            payments::RefundResolved::NAME => {
                let event: payments::RefundResolved = decode(data)?;
                let refunded = event.resolution() == payments::RefundResolution::Refunded;
                if let Some(refund) = self.refunds.get_mut(&RefundId::parse(&event.refund_id)?) {
                    refund.by_hand = refunded;
                }
            }
            name if OF_PAYMENTS_OF_NO_CONCERN.contains(&name) => {}
            _ => return Err(Unbooked::Unknown { book: "refunds" }),
        }
        Ok(())
    }

    /// Somebody says where a refund stands: a report, or, without one, whoever answered the call or decided.
    fn hear(&mut self, refund_id: RefundId, payment_id: PaymentId, provider_event_id: &str, books: &mut Payments) {
        books.fits(payment_id, provider_event_id);
        if let Some(refund) = self.refunds.get_mut(&refund_id) {
            refund.call_open &= !provider_event_id.is_empty();
            refund.by_hand |= !provider_event_id.is_empty();
        }
    }

    /// No refund is sent while a report waits for somebody, or another that counts as failed may yet succeed.
    fn check_doubt(
        &self,
        refund_id: RefundId,
        payment_id: PaymentId,
        at: Moment,
        books: &Payments,
        findings: &mut Findings,
    ) {
        let may_yet_succeed = |refund: &Refund| {
            refund.payment_id == payment_id
                && refund.second_charge.is_none()
                && refund.call_open
                && refund.standing == Standing::Rejected
        };
        if books.is_in_doubt(payment_id) || self.refunds.values().any(may_yet_succeed) {
            wrong(refund_id, "it was sent while something of its payment was in doubt".to_owned(), at, findings);
        }
    }

    /// A second charge goes back, without anybody's word: whole, and once, unless the provider has given nothing back of it.
    fn give_back_second_charge(
        &mut self,
        refund_id: RefundId,
        event: &payments::RefundSubmitted,
        at: Moment,
        books: &Payments,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let (payment_id, order_id) = (PaymentId::parse(&event.payment_id)?, OrderId::parse(&event.order_id)?);
        // A part of it that others gave back, and that came back to the shop, may be sent once more.
        let is_known = self.refunds.contains_key(&refund_id);
        if !is_known && !books.has_second_charge(payment_id, &event.charge_reference, event.amount.as_ref()) {
            wrong(refund_id, "it gives back a second charge that never came".to_owned(), at, findings);
        }
        let made = Refund {
            amount: event.amount.clone(),
            second_charge: Some(event.charge_reference.clone()),
            ..Refund::new(payment_id, order_id, at)
        };
        self.refunds.entry(refund_id).or_insert(made);
        Ok(())
    }

    /// A refund that nobody asked for here: payments knows it first, and then its order.
    fn made_elsewhere(
        &mut self,
        event: payments::PaymentRefundedElsewhere,
        at: Moment,
        books: &mut Payments,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let (refund_id, payment_id) = (RefundId::parse(&event.refund_id)?, PaymentId::parse(&event.payment_id)?);
        books.fits(payment_id, &event.provider_event_id);
        let second_charge = event.of_second_charge.then_some(event.charge_reference);
        let made = Refund {
            amount: event.amount,
            by_hand: true,
            second_charge,
            ..Refund::new(payment_id, OrderId::parse(&event.order_id)?, at)
        };
        if self.refunds.insert(refund_id, made).is_some() {
            wrong(refund_id, "it was made elsewhere, and was there already".to_owned(), at, findings);
        }
        self.step(refund_id, None, Standing::Refunded, at, books, findings);
        Ok(())
    }

    /// Brings a refund to another standing, and its money with it. `amount`: as the event says it, if it does.
    fn step(
        &mut self,
        refund_id: RefundId,
        amount: Option<&Money>,
        next: Standing,
        at: Moment,
        books: &mut Payments,
        findings: &mut Findings,
    ) {
        let Some(refund) = self.refunds.get_mut(&refund_id) else {
            return wrong(refund_id, format!("it is {next:?} although no order asked for it"), at, findings);
        };
        // Where no money moves, nothing is sent; and what was made elsewhere was never to be sent.
        let is_at_once = (refund.minor() == 0 || !refund.is_asked)
            && (refund.standing, next) == (Standing::Asked, Standing::Refunded);
        // One of a second charge is sent again that was given up, and is given up that has failed since: no order counts on it.
        let is_another_way = [(Standing::Rejected, Standing::UnderWay), (Standing::Reversed, Standing::Rejected)];
        let is_of_charge = refund.second_charge.is_some() && is_another_way.contains(&(refund.standing, next));
        if !refund.standing.leads_to(next) && !is_at_once && !is_of_charge {
            wrong(refund_id, format!("it is {next:?} although it is {:?}", refund.standing), at, findings);
        }
        if amount.is_some() && amount != refund.amount.as_ref() {
            wrong(refund_id, "it is of another amount than was asked for".to_owned(), at, findings);
        }
        let (before, after) = (refund.standing.money(refund.minor()), next.money(refund.minor()));
        refund.standing = next;
        refund.has_gone |= next == Standing::Refunded;
        refund.since = at;
        let change = |payment: &mut Payment| {
            payment.refunded += after.0 - before.0;
            payment.promised += after.1 - before.1;
        };
        if let Some(charge) = &refund.second_charge {
            let moved = (after.0 - before.0, after.1 - before.1);
            return books.move_second_charge(refund.payment_id, charge, moved, at, findings);
        }
        // Of a payment that there is not, nothing can go back, and refusing that is right.
        if before != after {
            books.change(refund.payment_id, at, findings, change);
        }
    }

    /// Stock or shares came back with a refund.
    pub(super) fn take_return(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        let (refund_id, lines) = match name {
            inventory::StockReturned::NAME => {
                let inventory::StockReturned { refund_id, lines, .. } = decode(data)?;
                (refund_id, Some(lines_from_wire(&lines)?))
            }
            rounds::SharesReturned::NAME => (decode::<rounds::SharesReturned>(data)?.refund_id, None),
            name if OF_HOLDS_OF_NO_CONCERN.contains(&name) => return Ok(()),
            _ => return Err(Unbooked::Unknown { book: "refunds" }),
        };
        let refund_id = RefundId::parse(&refund_id)?;
        match self.refunds.get_mut(&refund_id) {
            Some(refund) if refund.answer == Answer::Refunded => {
                let is_right = match &lines {
                    Some(lines) => *lines == refund.lines && !std::mem::replace(&mut refund.stock_returned, true),
                    None => refund.return_shares && !std::mem::replace(&mut refund.shares_returned, true),
                };
                if !is_right {
                    wrong(refund_id, "something else came back than was refunded, or twice".to_owned(), at, findings);
                }
            }
            Some(_) | None => {
                wrong(refund_id, "something came back with it although it was not given back".to_owned(), at, findings);
            }
        }
        Ok(())
    }
}

/// What its order says was given back.
struct Said {
    amount: Option<Money>,
    lines: Lines,
    return_shares: bool,
}

/// Whether all of the payment is given back with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}
