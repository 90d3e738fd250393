//! What the log says of money, counted once more and by none of the rules of services and ledger: what came, what went back and by
//! whom, what fits nothing, and what somebody still waits for.

use std::collections::{BTreeMap, BTreeSet};

use domain::{PaymentId, RefundId, Timestamp};
use proto::{
    Message, Name,
    orders::v1 as orders,
    payments::v1::{self as payments, ProviderEventKind, ProviderReport, ReportMismatch, ReportResolution},
};
use runtime::{log::event_store::StoredEvent, service::is_rejection};

use super::disputes::Disputes;
use crate::provider::Sums;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Money {
    pub(super) payments: BTreeMap<PaymentId, Payment>,
    orders: BTreeMap<String, Order>,
    /// References of all that the provider reported, and whether it is a payout, by its own id of the report.
    pub(super) references: BTreeMap<String, (String, bool)>,
    /// Late money that waits for a receipt, by payment.
    waiting: BTreeMap<String, String>,
    /// Payments whose late money has its order hold everything again.
    held_again: BTreeSet<String>,
    count: u64,
}

/// A page that the provider is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Opening,
    Open,
    Closing,
    /// Another is to be opened, if nobody has paid on it.
    Replacing,
    /// Nobody has, and it is closed.
    Unpaid,
    Closed,
}

/// A payment.
#[derive(Debug, Default)]
pub(super) struct Payment {
    /// What all its money is in.
    currency: Option<String>,
    captured: i64,
    page: Option<Page>,
    is_cancelled: bool,
    /// Money that is set aside, and that orders has decided about, if it has.
    set_aside: BTreeMap<String, SetAside>,
    decision: Option<Decision>,
    /// Whether orders has ever said so since money was set aside. What it says later may come too late for who has begun to take it.
    may_be_taken: bool,
    pub(super) refunds: BTreeMap<RefundId, Refund>,
    pub(super) kept: BTreeMap<String, Kept>,
    pub(super) disputes: Disputes,
}

/// How far money is that is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetAside {
    Waits,
    ToBeTaken,
    ToBeLetGo,
    Taken,
    LetGo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Take,
    LetGo,
}

#[derive(Debug)]
pub(super) struct Refund {
    pub(super) minor: i64,
    pub(super) standing: Standing,
    pub(super) call_open: bool,
    pub(super) is_elsewhere: bool,
    /// The second charge that it gives back.
    second_charge: Option<String>,
    pub(super) since: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Waits,
    UnderWay,
    Refunded,
    Rejected,
    Unknown,
    Reversed,
}

/// A report that fits nothing.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) report: ProviderReport,
    pub(super) way: Way,
    pub(super) fate: Fate,
    settled_by: String,
    pub(super) since: Timestamp,
    /// What the payout is known by with which an operator gave its money back.
    pub(super) given_back: Option<String>,
    /// Another payout than that one settled it.
    pub(super) is_settled_beside: bool,
}

/// Which way its money went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
    /// It came, and does not count any more.
    TakenBack,
    /// To the shop again, which it had left.
    Back,
    Nowhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    Accepted,
    /// It came, and goes back by itself, or has gone: that is in its refund.
    Returning,
    Undone,
    /// A report of another movement settled it: both happened, and neither counts.
    Balanced,
}

#[derive(Debug, Default)]
struct Order {
    paid_by: String,
    captured: i64,
    wishes: BTreeMap<String, Wish>,
    /// When it was cancelled after it had been paid.
    cancelled: Option<u64>,
}

#[derive(Debug)]
struct Wish {
    payment_id: String,
    minor: i64,
    asked: u64,
    is_everything: bool,
    was_given_up: bool,
    answer: Answer,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    None,
    Back,
    GivenUp,
}

pub(super) fn read<M: Message + Name + Default>(event: &StoredEvent) -> Result<M, String> {
    M::decode(event.data.as_slice()).map_err(|error| error.to_string())
}

pub(super) fn payment(id: &str) -> Result<PaymentId, String> {
    PaymentId::parse(id).map_err(|rejection| rejection.to_string())
}

fn refund(id: &str) -> Result<RefundId, String> {
    RefundId::parse(id).map_err(|rejection| rejection.to_string())
}

pub(super) fn minor(amount: Option<&proto::common::v1::Money>) -> i64 {
    amount.map_or(0, |amount| amount.minor_units)
}

/// Events of payments that move no money.
const OF_NO_CONCERN: [&str; 14] = [
    payments::RefundResolved::NAME,
    payments::CouponOpened::NAME,
    payments::CouponClosed::NAME,
    payments::CouponHeld::NAME,
    payments::CouponRejected::NAME,
    payments::CouponRedeemed::NAME,
    payments::CouponReleased::NAME,
    // What moves there moves in a book of its own.
    payments::WalletToppedUp::NAME,
    payments::WalletWithdrawnFrom::NAME,
    payments::FundsHeld::NAME,
    payments::FundsRejected::NAME,
    payments::FundsCommitted::NAME,
    payments::FundsReleased::NAME,
    payments::WalletCredited::NAME,
];

/// Passing over what is new would be to agree with whatever it says.
fn unknown(event: &StoredEvent) -> Result<(), String> {
    Err(format!("the simulation's book of money has no opinion on {}", event.message_type))
}

impl Money {
    pub(super) fn take(&mut self, event: &StoredEvent) -> Result<(), String> {
        self.count += 1;
        let name = proto::short_name(&event.message_type);
        match event.service.as_str() {
            _ if is_rejection(&event.message_type) => Ok(()),
            "orders" => self.take_order(name, event),
            "payments" => self.take_payment(name, event),
            _ => Ok(()),
        }
    }

    pub(super) fn of(&mut self, id: &str) -> Result<&mut Payment, String> {
        Ok(self.payments.entry(payment(id)?).or_default())
    }

    /// Who is asked, and on which page. False: the event is about something else.
    fn take_page(&mut self, name: &str, event: &StoredEvent) -> Result<bool, String> {
        match name {
            payments::PaymentRequested::NAME => {
                let payments::PaymentRequested { payment_id, checkout_ends_at, amount, .. } = read(event)?;
                let payment = self.of(&payment_id)?;
                payment.is_in_currency(amount.as_ref())?;
                payment.page = checkout_ends_at.map(|_| Page::Opening);
            }
            payments::PaymentCancelled::NAME => {
                let payments::PaymentCancelled { payment_id, .. } = read(event)?;
                self.of(&payment_id)?.is_cancelled = true;
            }
            payments::CheckoutOpened::NAME => {
                let payments::CheckoutOpened { payment_id, checkout_url, .. } = read(event)?;
                // Without a link there is no page: the money is set aside already.
                let after = if checkout_url.is_empty() { Page::Closed } else { Page::Open };
                self.of(&payment_id)?.turn_page(&[(Page::Opening, after)])?;
            }
            payments::CheckoutLookSubmitted::NAME => {
                let payments::CheckoutLookSubmitted { payment_id, .. } = read(event)?;
                let payment = self.of(&payment_id)?;
                payment.turn_page(&[(Page::Open, Page::Open)])?;
                if payment.is_cancelled || payment.captured > 0 {
                    return Err(format!("the page of payment {payment_id} is looked at, which nobody is to pay"));
                }
            }
            payments::CheckoutFailed::NAME => {
                let payments::CheckoutFailed { payment_id, .. } = read(event)?;
                self.of(&payment_id)?.turn_page(&[(Page::Opening, Page::Closed)])?;
            }
            payments::CheckoutAbandoned::NAME => {
                let payments::CheckoutAbandoned { payment_id, is_replaced, .. } = read(event)?;
                let after = if is_replaced { Page::Replacing } else { Page::Closing };
                self.of(&payment_id)?.turn_page(&[(Page::Open, after)])?;
            }
            payments::CheckoutClosed::NAME => {
                let event: payments::CheckoutClosed = read(event)?;
                let is_unpaid = event.end() == payments::CheckoutEnd::Unpaid;
                let after = if is_unpaid { Page::Unpaid } else { Page::Closed };
                self.of(&event.payment_id)?.turn_page(&[(Page::Closing, Page::Closed), (Page::Replacing, after)])?;
            }
            payments::CheckoutRequested::NAME => {
                let payments::CheckoutRequested { payment_id, .. } = read(event)?;
                let payment = self.of(&payment_id)?;
                payment.turn_page(&[(Page::Unpaid, Page::Opening)])?;
                if payment.is_cancelled || payment.captured > 0 {
                    return Err(format!("a page is opened for payment {payment_id}, which nobody is to pay"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Money that is set aside. False: the event is about something else.
    fn take_authorisation(&mut self, name: &str, event: &StoredEvent) -> Result<bool, String> {
        match name {
            payments::PaymentAuthorised::NAME => {
                let payments::PaymentAuthorised { payment_id, provider_reference, amount, .. } = read(event)?;
                let payment = self.of(&payment_id)?;
                payment.is_in_currency(amount.as_ref())?;
                payment.set_aside.insert(provider_reference, SetAside::Waits);
                // It may be another than the one that orders has decided about, and that has ended since.
                (payment.decision, payment.may_be_taken) = (None, false);
            }
            payments::CaptureSubmitted::NAME => {
                let payments::CaptureSubmitted { payment_id, provider_reference, .. } = read(event)?;
                let payment = self.of(&payment_id)?;
                let before = payment.set_aside.insert(provider_reference, SetAside::ToBeTaken);
                if before != Some(SetAside::Waits) || !payment.may_be_taken {
                    return Err(format!("money of payment {payment_id} is to be taken that was {before:?}"));
                }
            }
            payments::VoidSubmitted::NAME => {
                let payments::VoidSubmitted { payment_id, provider_reference, .. } = read(event)?;
                let before = self.of(&payment_id)?.set_aside.insert(provider_reference, SetAside::ToBeLetGo);
                if !matches!(before, None | Some(SetAside::Waits)) {
                    return Err(format!("money of payment {payment_id} is to be let go that was {before:?}"));
                }
            }
            payments::PaymentVoided::NAME => {
                let payments::PaymentVoided { payment_id, provider_reference, .. } = read(event)?;
                self.of(&payment_id)?.set_aside.insert(provider_reference, SetAside::LetGo);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_payment(&mut self, name: &str, event: &StoredEvent) -> Result<(), String> {
        if self.take_page(name, event)? || self.take_authorisation(name, event)? || self.take_dispute(name, event)? {
            return Ok(());
        }
        match name {
            payments::PaymentSucceeded::NAME => {
                let succeeded: payments::PaymentSucceeded = read(event)?;
                self.of(&succeeded.payment_id)?.is_in_currency(succeeded.amount.as_ref())?;
                self.of(&succeeded.payment_id)?.come(&succeeded);
            }
            payments::PaymentDeclined::NAME => {
                let declined: payments::PaymentDeclined = read(event)?;
                self.of(&declined.payment_id)?.fits(&declined.report.unwrap_or_default().provider_event_id);
            }
            payments::PaymentFailed::NAME => {
                let failed: payments::PaymentFailed = read(event)?;
                self.of(&failed.payment_id)?.fits(&failed.provider_event_id);
            }
            payments::ProviderReportUnmatched::NAME => {
                let unmatched: payments::ProviderReportUnmatched = read(event)?;
                self.of(&unmatched.payment_id)?.keep(unmatched, event.recorded_at);
            }
            payments::ProviderReportResolved::NAME => self.resolve(read(event)?)?,
            payments::RefundDeferred::NAME => {
                let payments::RefundDeferred { payment_id, refund_id, amount, .. } = read(event)?;
                let of = (payment_id.as_str(), refund_id.as_str());
                self.stand(of, amount.as_ref(), Standing::Waits, "", event)?;
            }
            payments::RefundSubmitted::NAME => self.take_submitted(event)?,
            payments::PaymentRefunded::NAME => {
                let payments::PaymentRefunded { payment_id, refund_id, amount, provider_event_id, .. } = read(event)?;
                let of = (payment_id.as_str(), refund_id.as_str());
                self.stand(of, amount.as_ref(), Standing::Refunded, &provider_event_id, event)?;
            }
            payments::PaymentRefundedElsewhere::NAME => {
                let refunded: payments::PaymentRefundedElsewhere = read(event)?;
                let of = (refunded.payment_id.as_str(), refunded.refund_id.as_str());
                let amount = refunded.amount.as_ref();
                let made = self.stand(of, amount, Standing::Refunded, &refunded.provider_event_id, event)?;
                made.is_elsewhere = true;
                made.second_charge = refunded.of_second_charge.then_some(refunded.charge_reference);
                self.of(&refunded.payment_id)?.goes_back();
                self.of(&refunded.payment_id)?.has_room_for_refunds(&refunded.payment_id)?;
            }
            payments::RefundRejected::NAME => {
                let payments::RefundRejected { payment_id, refund_id, amount, provider_event_id, .. } = read(event)?;
                let of = (payment_id.as_str(), refund_id.as_str());
                self.stand(of, amount.as_ref(), Standing::Rejected, &provider_event_id, event)?;
            }
            payments::RefundOutcomeUnknown::NAME => {
                let payments::RefundOutcomeUnknown { payment_id, refund_id, .. } = read(event)?;
                self.stand((&payment_id, &refund_id), None, Standing::Unknown, "", event)?;
            }
            payments::RefundReversed::NAME => {
                let payments::RefundReversed { payment_id, refund_id, amount, provider_event_id, .. } = read(event)?;
                let of = (payment_id.as_str(), refund_id.as_str());
                self.stand(of, amount.as_ref(), Standing::Reversed, &provider_event_id, event)?;
            }
            payments::RefundAnswered::NAME => {
                let answered: payments::RefundAnswered = read(event)?;
                let refunds = &mut self.of(&answered.payment_id)?.refunds;
                if let Some(refund) = refunds.get_mut(&refund(&answered.refund_id)?) {
                    refund.call_open = false;
                }
            }
            name if OF_NO_CONCERN.contains(&name) => {}
            _ => return unknown(event),
        }
        Ok(())
    }

    /// A refund is sent: of the payment's money, or of a second charge.
    fn take_submitted(&mut self, event: &StoredEvent) -> Result<(), String> {
        let sent: payments::RefundSubmitted = read(event)?;
        if sent.of_second_charge {
            self.of(&sent.payment_id)?.may_give_back(&sent)?;
        } else {
            self.may_send(&sent.payment_id, &sent.refund_id)?;
        }
        let of = (sent.payment_id.as_str(), sent.refund_id.as_str());
        let refund = self.stand(of, sent.amount.as_ref(), Standing::UnderWay, "call", event)?;
        refund.call_open = true;
        refund.second_charge = sent.of_second_charge.then_some(sent.charge_reference);
        self.of(&sent.payment_id)?.goes_back();
        Ok(())
    }

    fn may_send(&mut self, payment_id: &str, refund_id: &str) -> Result<(), String> {
        let is_stopped = self.of(payment_id)?.disputes.stop();
        let what = || format!("refund {refund_id} is sent while payment {payment_id} is disputed");
        if is_stopped { Err(what()) } else { Ok(()) }
    }

    /// Somebody says where a refund stands: a report, or, without one, whoever answered the call or decided.
    fn stand(
        &mut self,
        (payment_id, refund_id): (&str, &str),
        amount: Option<&proto::common::v1::Money>,
        standing: Standing,
        reported: &str,
        event: &StoredEvent,
    ) -> Result<&mut Refund, String> {
        let payment = self.of(payment_id)?;
        payment.is_in_currency(amount)?;
        payment.fits(reported);
        let since = event.recorded_at;
        let new = Refund { minor: 0, standing, call_open: false, is_elsewhere: false, second_charge: None, since };
        let id = refund(refund_id)?;
        let refund = payment.refunds.entry(id).or_insert(new);
        refund.call_open &= !reported.is_empty();
        (refund.standing, refund.since) = (standing, since);
        refund.minor = amount.map_or(refund.minor, |amount| amount.minor_units);
        payment.goes_back();
        payment.refunds.get_mut(&id).ok_or_else(|| "a refund is gone".to_owned())
    }

    fn resolve(&mut self, resolved: payments::ProviderReportResolved) -> Result<(), String> {
        let resolution = resolved.resolution();
        let payments::ProviderReportResolved { payment_id, provider_event_id, settled_by, .. } = resolved;
        // Settled by another report of the same charge, it counts there or has not come; by a payout, it came and went.
        let payout = self.references.get(&settled_by).filter(|(_, is_payout)| *is_payout);
        let payout = payout.map(|(reference, _)| reference.clone());
        let of = self.of(&payment_id)?;
        let given_back = of.given_back(&provider_event_id);
        if let Some(kept) = of.kept.get_mut(&provider_event_id) {
            kept.settled_by.clone_from(&settled_by);
            kept.given_back = kept.given_back.take().or(given_back);
            let by_other = payout.is_some() && settled_by != provider_event_id;
            kept.is_settled_beside = by_other && payout != kept.given_back;
            let by_hand = settled_by.is_empty() && kept.given_back.is_some();
            let is_other = by_other || by_hand;
            kept.fate = match resolution {
                ReportResolution::Accepted => Fate::Accepted,
                _ if is_other && kept.way == Way::In => Fate::Balanced,
                ReportResolution::Unspecified | ReportResolution::Undone => Fate::Undone,
            };
        }
        Ok(())
    }

    fn take_order(&mut self, name: &str, event: &StoredEvent) -> Result<(), String> {
        match name {
            orders::OrderPaid::NAME => {
                let orders::OrderPaid { order_id, payment_id, amount, .. } = read(event)?;
                let order = self.orders.entry(order_id).or_default();
                (order.paid_by, order.captured) = (payment_id, minor(amount.as_ref()));
            }
            orders::PaidOrderCancelled::NAME => {
                let cancelled: orders::PaidOrderCancelled = read(event)?;
                self.orders.entry(cancelled.order_id).or_default().cancelled = Some(self.count);
            }
            orders::LatePaymentDeferred::NAME => {
                let late: orders::LatePaymentDeferred = read(event)?;
                // It is there now, and was set aside before.
                if !self.held_again.contains(&late.payment_id) {
                    self.waiting.insert(late.payment_id, late.order_id);
                }
            }
            orders::CaptureRequested::NAME => {
                let orders::CaptureRequested { payment_id, .. } = read(event)?;
                self.of(&payment_id)?.decide(Decision::Take)?;
            }
            orders::VoidRequested::NAME => {
                let orders::VoidRequested { payment_id, .. } = read(event)?;
                self.waiting.remove(&payment_id);
                self.of(&payment_id)?.decide(Decision::LetGo)?;
            }
            orders::OrderReinstated::NAME => {
                let reinstated: orders::OrderReinstated = read(event)?;
                self.waiting.remove(&reinstated.payment_id);
                self.held_again.insert(reinstated.payment_id);
            }
            orders::RefundRequested::NAME => {
                let asked: orders::RefundRequested = read(event)?;
                self.waiting.remove(&asked.payment_id);
                let wish = Wish {
                    minor: minor(asked.amount.as_ref()),
                    asked: self.count,
                    is_everything: asked.extent() == orders::RefundExtent::Everything,
                    was_given_up: false,
                    answer: Answer::None,
                    payment_id: asked.payment_id,
                };
                self.orders.entry(asked.order_id).or_default().wishes.insert(asked.refund_id, wish);
            }
            orders::OrderRefunded::NAME => {
                let orders::OrderRefunded { order_id, refund_id, .. } = read(event)?;
                self.answer(&order_id, &refund_id, Answer::Back);
            }
            orders::OrderPartiallyRefunded::NAME => {
                let orders::OrderPartiallyRefunded { order_id, refund_id, .. } = read(event)?;
                self.answer(&order_id, &refund_id, Answer::Back);
            }
            orders::RefundAbandoned::NAME => {
                let orders::RefundAbandoned { order_id, refund_id, .. } = read(event)?;
                self.answer(&order_id, &refund_id, Answer::GivenUp);
            }
            orders::OrderDisputed::NAME => self.order_hears_of_dispute(event)?,
            orders::OrderPlaced::NAME
            | orders::CouponRequested::NAME
            | orders::RedemptionRequested::NAME
            | orders::OrderHoldConfirmed::NAME
            | orders::OrderReserved::NAME
            | orders::OrderRejected::NAME
            | orders::OrderExpired::NAME
            | orders::OrderCancelled::NAME
            | orders::OrderReleaseConfirmed::NAME
            | orders::OrderReleased::NAME
            | orders::ShareRefundDeferred::NAME => {}
            _ => return unknown(event),
        }
        Ok(())
    }

    fn answer(&mut self, order_id: &str, refund_id: &str, answer: Answer) {
        let order = self.orders.get_mut(order_id);
        if let Some(wish) = order.and_then(|order| order.wishes.get_mut(refund_id)) {
            wish.was_given_up |= answer == Answer::GivenUp;
            wish.answer = answer;
        }
    }

    /// Whether nobody has to decide anything.
    pub(super) fn is_decided(&self) -> bool {
        self.payments.values().all(|payment| {
            payment.kept.values().all(|kept| kept.fate != Fate::Open)
                && payment.refunds.values().all(|refund| !refund.is_undecided())
        })
    }

    /// What is wrong, once everything has come to rest, if so much came in and went out at the provider, and so much was charged
    /// back.
    pub(super) fn check(&self, moved: &Sums) -> Result<(), String> {
        for (payment_id, (came, went, _)) in moved {
            if !self.payments.contains_key(payment_id) && (*came, *went) != (0, 0) {
                return Err(format!(
                    "{came} came with payment {payment_id} and {went} went, and the log knows nothing"
                ));
            }
        }
        for (payment_id, payment) in &self.payments {
            let (came, went, charged_back) = moved.get(payment_id).copied().unwrap_or_default();
            payment.check_disputes(*payment_id, charged_back)?;
            let counted = payment.counted(&self.references);
            if counted != (came, went) {
                return Err(format!(
                    "of payment {payment_id} {came} came and {went} went at the provider, and the log counts {counted:?}"
                ));
            }
            let is_over = |money: &SetAside| matches!(money, SetAside::Taken | SetAside::LetGo);
            if !payment.set_aside.values().all(is_over) {
                return Err(format!("money of payment {payment_id} stays set aside: {:?}", payment.set_aside));
            }
            if !payment.has_its_page() {
                return Err(format!("the page of payment {payment_id} stays {:?}", payment.page));
            }
            let waits = |refund: &&Refund| !matches!(refund.standing, Standing::Refunded | Standing::Rejected);
            if let Some((refund_id, refund)) = payment.refunds.iter().find(|(_, refund)| waits(refund)) {
                return Err(format!(
                    "refund {refund_id} of payment {payment_id} waits for ever, as {:?}",
                    refund.standing
                ));
            }
        }
        if let Some((payment_id, order_id)) = self.waiting.first_key_value() {
            return Err(format!("late payment {payment_id} of order {order_id} waits for ever"));
        }
        self.orders.iter().find_map(|(order_id, order)| order.forgotten(order_id)).map_or(Ok(()), Err)
    }
}

impl Payment {
    /// All that is counted of a payment is in one currency.
    fn is_in_currency(&mut self, amount: Option<&proto::common::v1::Money>) -> Result<(), String> {
        let Some(amount) = amount else { return Ok(()) };
        let currency = self.currency.get_or_insert_with(|| amount.currency.clone());
        if *currency == amount.currency {
            Ok(())
        } else {
            Err(format!("{amount:?} counts for a payment in {currency}"))
        }
    }

    /// Its money came; what was set aside before was taken.
    fn come(&mut self, succeeded: &payments::PaymentSucceeded) {
        self.captured += minor(succeeded.amount.as_ref());
        if let Some(money) = self.set_aside.get_mut(&succeeded.provider_reference) {
            *money = SetAside::Taken;
        }
        self.fits(&succeeded.provider_event_id);
    }

    /// A page takes a step.
    fn turn_page(&mut self, steps: &[(Page, Page)]) -> Result<(), String> {
        let step = steps.iter().find(|(before, _)| self.page == Some(*before));
        let (_, after) = step.ok_or_else(|| format!("a page that is {:?} takes one of {steps:?}", self.page))?;
        self.page = Some(*after);
        Ok(())
    }

    /// Orders decides about its money, once; of an order that was closed while its money was taken it may hear once more, after a restore.
    fn decide(&mut self, decision: Decision) -> Result<(), String> {
        self.may_be_taken |= decision == Decision::Take;
        match self.decision.replace(decision) {
            None => Ok(()),
            Some(before) if before == decision || before == Decision::Take => Ok(()),
            Some(before) => Err(format!("orders says {before:?} of a payment's money, and then {decision:?}")),
        }
    }

    /// Whether its page is as it should be at last: not half-way, and not open of a payment that nobody is to pay.
    fn has_its_page(&self) -> bool {
        match self.page {
            None | Some(Page::Closed | Page::Unpaid) => true,
            Some(Page::Open) => !self.is_cancelled || self.captured > 0,
            Some(Page::Opening | Page::Closing | Page::Replacing) => false,
        }
    }

    /// A report that had fitted nothing does fit.
    pub(super) fn fits(&mut self, provider_event_id: &str) {
        self.kept.remove(provider_event_id);
    }

    fn keep(&mut self, unmatched: payments::ProviderReportUnmatched, since: Timestamp) {
        let mismatch = unmatched.mismatch();
        let Some(report) = unmatched.report else { return };
        let way = match (report.kind(), mismatch) {
            (ProviderEventKind::PaymentSucceeded, _) => Way::In,
            (ProviderEventKind::RefundSucceeded, _) => Way::Out,
            (_, ReportMismatch::TakenBack) => Way::TakenBack,
            (ProviderEventKind::RefundFailed, _) => Way::Back,
            _ => Way::Nowhere,
        };
        let id = report.provider_event_id.clone();
        // What an operator has done about it is done, whatever else it fits by now.
        let given_back = self.kept.get(&id).and_then(|kept| kept.given_back.clone());
        let (fate, settled_by) = (Fate::Open, String::new());
        let is_settled_beside = false;
        self.kept.insert(id, Kept { report, way, fate, settled_by, since, given_back, is_settled_beside });
        self.goes_back();
    }

    /// Refunds that give back this second charge: how much of it is gone or on its way.
    fn back_of(&self, charge: &str) -> i64 {
        let of_it = self.refunds.values().filter(|refund| refund.second_charge.as_deref() == Some(charge));
        of_it.filter(|refund| refund.standing != Standing::Rejected).map(|refund| refund.minor).sum()
    }

    /// How much of it is gone.
    fn gone_of(&self, charge: &str) -> i64 {
        let of_it = self.refunds.values().filter(|refund| refund.second_charge.as_deref() == Some(charge));
        of_it.filter(|refund| refund.standing == Standing::Refunded).map(|refund| refund.minor).sum()
    }

    /// Of a second charge no more goes back than came, and none of it is money of the payment.
    fn has_room_for_refunds(&self, payment_id: &str) -> Result<(), String> {
        for charge in self.refunds.values().filter_map(|refund| refund.second_charge.as_deref()) {
            let is_it = |kept: &&Kept| kept.way == Way::In && kept.report.provider_reference == charge;
            let came = self.kept.values().filter(is_it).map(|kept| minor(kept.report.amount.as_ref())).max();
            if self.gone_of(charge) > came.unwrap_or_default() {
                return Err(format!("of charge {charge} of payment {payment_id} {came:?} came, and more went back"));
            }
        }
        let own = self.refunds.values().filter(|refund| refund.second_charge.is_none());
        let own: i64 = own.filter(|refund| refund.standing == Standing::Refunded).map(|refund| refund.minor).sum();
        if own > self.captured {
            return Err(format!("of payment {payment_id} {} came, and {own} went back", self.captured));
        }
        Ok(())
    }

    /// A second charge goes back by itself once, and whole, and only while nobody has said what becomes of it.
    fn may_give_back(&self, sent: &payments::RefundSubmitted) -> Result<(), String> {
        let charge = sent.charge_reference.as_str();
        let is_it = |kept: &&Kept| kept.way == Way::In && kept.report.provider_reference == charge;
        // A part of it that others gave back, and that the shop has again, may be sent once more.
        let known = refund(&sent.refund_id).ok().and_then(|refund_id| self.refunds.get(&refund_id));
        let is_part = known.is_some_and(|known| known.is_elsewhere && known.minor == minor(sent.amount.as_ref()));
        let came = self.kept.values().filter(is_it).find(|kept| is_part || kept.report.amount == sent.amount);
        if charge.is_empty() || came.is_none() {
            return Err(format!("refund {} gives back charge {charge:?}, which never came", sent.refund_id));
        }
        let is_another = |(refund_id, refund): (&RefundId, &Refund)| {
            let is_of_it = refund.second_charge.as_deref() == Some(charge) && !refund.is_elsewhere;
            is_of_it && refund_id.to_string() != sent.refund_id && !is_part
        };
        if self.refunds.iter().any(is_another) {
            return Err(format!("refund {} gives back charge {charge:?} a second time", sent.refund_id));
        }
        Ok(())
    }

    /// What is reported of second charges stands as their refunds do.
    fn goes_back(&mut self) {
        let charges: BTreeSet<String> =
            self.refunds.values().filter_map(|refund| refund.second_charge.clone()).collect();
        for charge in charges {
            let (back, gone) = (self.back_of(&charge), self.gone_of(&charge));
            let fate_of = |kept: &Kept| {
                let is_all_gone = gone > 0 && gone >= minor(kept.report.amount.as_ref());
                if back > gone || is_all_gone { Fate::Returning } else { Fate::Open }
            };
            let is_theirs = |kept: &&mut Kept| {
                kept.way == Way::In
                    && kept.report.provider_reference == charge
                    && matches!(kept.fate, Fate::Open | Fate::Returning)
            };
            self.kept.values_mut().filter(is_theirs).for_each(|kept| kept.fate = fate_of(kept));
        }
    }

    /// What the payout is known by that gave this charge back, whichever report of it was at hand.
    fn given_back(&self, provider_event_id: &str) -> Option<String> {
        let charge = &self.kept.get(provider_event_id)?.report.provider_reference;
        let same = self.kept.values().filter(|kept| !charge.is_empty() && kept.report.provider_reference == *charge);
        same.filter(|kept| kept.way == Way::In).find_map(|kept| kept.given_back.clone())
    }

    /// What the payout is known by with which an operator gave back the whole second charge that this refund is of, and that he called undone
    /// beside it: only one of the two was to count.
    pub(super) fn payout_beside(&self, refund: &Refund) -> Option<&str> {
        let charge = refund.second_charge.as_deref().filter(|charge| !charge.is_empty())?;
        let is_it = |kept: &&Kept| {
            kept.way == Way::In && kept.fate == Fate::Returning && kept.report.provider_reference == charge
        };
        let mut payouts = self.kept.values().filter(is_it).filter_map(|kept| kept.given_back.as_deref());
        payouts.find(|payout| {
            let mut same = self.kept.values().filter(|kept| kept.report.provider_reference == *payout);
            same.any(|kept| kept.way == Way::Out && kept.fate == Fate::Undone)
        })
    }

    /// What came and what went, as the log has it.
    fn counted(&self, references: &BTreeMap<String, (String, bool)>) -> (i64, i64) {
        let sum = |way, fates: &[Fate]| -> i64 {
            let kept = self.kept.values().filter(|kept| kept.way == way && fates.contains(&kept.fate));
            kept.map(|kept| minor(kept.report.amount.as_ref())).sum()
        };
        let refunded = self.refunds.values().filter(|refund| refund.standing == Standing::Refunded);
        let refunded: i64 = refunded.map(|refund| refund.minor).sum();
        let counts = [Fate::Open, Fate::Accepted];
        // One charge may be reported more than once, and one payout be the way back of each report.
        let (mut came, mut gone) = (BTreeMap::new(), BTreeMap::new());
        for (id, kept) in self.kept.iter().filter(|(_, kept)| kept.way == Way::In && kept.fate != Fate::Undone) {
            let minor = minor(kept.report.amount.as_ref());
            let charge = kept.report.provider_reference.as_str();
            came.insert(if charge.is_empty() { id } else { charge }, minor);
            if kept.fate == Fate::Balanced {
                let by_report = references.get(&kept.settled_by).map(|(reference, _)| reference.as_str());
                gone.insert(by_report.or(kept.given_back.as_deref()).unwrap_or_default(), minor);
            }
        }
        // What had settled another report has failed since.
        let back = self.kept.values().filter(|kept| {
            kept.way == Way::Back
                && kept.fate == Fate::Accepted
                && gone.contains_key(kept.report.provider_reference.as_str())
        });
        let back: i64 = back.map(|kept| minor(kept.report.amount.as_ref())).sum();
        (
            self.captured + came.values().sum::<i64>() - sum(Way::TakenBack, &counts),
            refunded + sum(Way::Out, &counts) + gone.values().sum::<i64>() - back,
        )
    }
}

impl Refund {
    /// Whether an operator has to decide.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.standing, Standing::Unknown | Standing::Reversed)
    }
}

impl Order {
    /// Money that was to go back with all the rest, does not, and that nobody has asked for since. What was asked for after that and
    /// was given up is known to whoever asked.
    fn forgotten(&self, order_id: &str) -> Option<String> {
        let wishes = || self.wishes.values().filter(|wish| wish.payment_id == self.paid_by);
        let all = wishes().filter(|wish| wish.is_everything && wish.answer == Answer::Back && !wish.was_given_up);
        let since = all.map(|wish| wish.asked).chain(self.cancelled).min()?;
        let sum = |answer, since| -> i64 {
            let of_it = wishes().filter(|wish| wish.answer == answer && (wish.asked >= since || wish.is_everything));
            of_it.map(|wish| wish.minor).sum()
        };
        let left = self.captured - sum(Answer::Back, 0);
        let given_up = sum(Answer::GivenUp, since);
        (left > given_up).then(|| {
            format!(
                "order {order_id} was to give all back, keeps {left}, and only {given_up} was asked for and given up"
            )
        })
    }
}
