//! One payment of one attempt of an order: what was asked, what came, and what went back.
//!
//! | reported or asked  | nothing yet | unasked   | requested | succeeded   | failed    | cancelled             |
//! |--------------------|-------------|-----------|-----------|-------------|-----------|-----------------------|
//! | request            | requested   | requested | -         | -           | -         | -                     |
//! | cancel             | cancelled   | cancelled | cancelled | -           | -         | -                     |
//! | provider succeeded | unmatched   | unmatched | succeeded | unmatched   | succeeded | succeeded / unmatched |
//! | provider failed    | unmatched   | unmatched | declined  | unmatched * | declined  | declined              |
//! | provider closed    | unmatched   | unmatched | failed    | unmatched * | -         | declined              |
//!
//! What becomes of money that is set aside is in [`authorisation`], and what disputes do in `disputes`.
//!
//! `-`: it is as it should be already. Unmatched: the report fits nothing that was asked for, is kept whole, and waits for an operator
//! or a later report; those of an unasked payment are judged again when it is asked for. Declined: noted, and changes nothing. `*`:
//! unless it is earlier than the success by the provider's time, or of another charge; then it is declined. Late money is never lost:
//! whatever the payment was before, it has succeeded. What a report does is in `reports.rs`, what becomes of refunds in [`refund`].

use std::collections::BTreeMap;

use domain::{
    CouponCode, DecideError, Dispute, HoldKey, Money, PaymentId, RefundId, Rejection, Revised, StreamVersion, Table,
    Timestamp, WalletId, words,
};
use providers::{
    Checkout,
    registry::{checkout_ends, provider_of},
};

use serde::Serialize;

use crate::{
    command::Command,
    coupon::{self, Coupon, Customer, CustomerKey, Use},
    event::{Event, StreamId, stream},
    report::{Direction, Kept, Mismatch, Report, Standing},
    wallet::{self, Funds, Wallet},
};

pub mod authorisation;
pub mod checkout;
mod disputes;
mod evolve;
pub mod refund;
mod reports;

#[cfg(test)]
pub(crate) mod spec;

pub use evolve::{NOTES_MAX, evolve};

use authorisation::Authorisation;
use checkout::Page;
use refund::Refund;

/// The rows of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Payments, each with its refunds and reports: who locks the payment has locked them.
    pub payments: Table<PaymentId, Payment>,
    /// Coupons.
    pub coupons: Table<CouponCode, Coupon>,
    /// What orders hold of coupons.
    pub uses: Table<HoldKey, Use>,
    /// What each customer has used of a coupon.
    pub customers: Table<CustomerKey, Customer>,
    /// Wallets.
    pub wallets: Table<WalletId, Wallet>,
    /// What is set aside of them, by payment.
    pub funds: Table<PaymentId, Funds>,
}

domain::rows!(State { payments, coupons, uses, customers, wallets, funds });

/// A payment, its refunds, and the reports about it that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payment {
    /// The attempt that it pays. `None`: only reports are known of it.
    pub key: Option<HoldKey>,
    /// Where it stands.
    pub status: Status,
    /// What the buyer was asked. `None`: nobody was asked.
    pub terms: Option<PaymentTerms>,
    /// The page that the provider was called for. `None`: nobody was asked, or the provider need not be called.
    pub page: Option<Page>,
    /// Money that the provider has set aside, by what the provider knows it by; in nearly all cases one or none.
    pub authorisations: BTreeMap<String, Authorisation>,
    /// Disputes of its charge, by the provider's own id of each; in nearly all cases none.
    pub disputes: BTreeMap<String, Dispute>,
    /// The charge by which the money came.
    pub charge: Option<Charge>,
    /// Money that came, in minor units.
    pub captured_minor: i64,
    /// Money that went back.
    pub refunded_minor: i64,
    /// Money that is promised to refunds which are not over: deferred, under way, unknown or reversed.
    pub refunding_minor: i64,
    /// By id.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// What fitted nothing, and what was only noted, by the provider's own id of the report.
    pub reports: BTreeMap<String, Kept>,
    /// Events of its stream.
    pub version: StreamVersion,
}

impl Revised for Payment {
    type Revision = StreamVersion;

    fn revision(&self) -> StreamVersion {
        self.version
    }

    fn weight(&self) -> usize {
        1 + self.refunds.len() + self.reports.len() + self.authorisations.len() + self.disputes.len()
    }
}

/// What the buyer was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaymentTerms {
    /// How much.
    pub amount: Money,
    /// The provider's name.
    pub provider: String,
    /// What the provider knows the payment by.
    pub reference: String,
    /// How the buyer pays.
    pub payment_method: String,
    /// The shop's own number of the order, for every page that is opened.
    pub order_reference: Option<String>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// The charge by which the money came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Charge {
    /// The provider's own id of the report.
    pub provider_event_id: String,
    /// What the provider knows the charge by; may be empty.
    pub reference: String,
    /// When, by the provider's clock, if it said so.
    pub occurred_at: Option<Timestamp>,
}

words!(
    /// Where a payment stands.
    Status {
        /// Only reports are known of it.
        Unasked = "unasked",
        /// The buyer is asked to pay.
        Requested = "requested",
        /// The money is there.
        Succeeded = "succeeded",
        /// The provider has closed it without getting the money.
        Failed = "failed",
        /// The buyer is not asked any more, or never will be.
        Cancelled = "cancelled",
    }
);

impl State {
    /// How many events a stream has. 0 without its row, which the log refuses.
    #[must_use]
    pub fn version(&self, owner: &StreamId) -> StreamVersion {
        match owner {
            StreamId::Payment(payment_id) => self.payments.get(payment_id).map(|payment| payment.version),
            StreamId::Coupon(code) => self.coupons.get(code).map(|coupon| coupon.version),
            StreamId::Use(key) => self.uses.get(key).map(|held| held.version),
            StreamId::Wallet(wallet_id) => self.wallets.get(wallet_id).map(|wallet| wallet.version),
            StreamId::Funds(payment_id) => self.funds.get(payment_id).map(|funds| funds.version),
        }
        .unwrap_or_default()
    }
}

impl Payment {
    /// Captured money that is neither gone nor promised, in minor units. Negative: the provider moved more than came.
    #[must_use]
    pub fn left_minor(&self) -> i64 {
        self.captured_minor - self.refunded_minor - self.refunding_minor - self.gone_minor()
    }

    /// Money that left by another way than our refunds, and is so for good, in minor units. A provider may name any amount, so a sum
    /// that cannot be counted is the largest that can.
    #[must_use]
    pub fn gone_minor(&self) -> i64 {
        let gone = |kept: &&Kept| {
            let is_accepted = kept.direction() == Direction::Out && kept.standing == Standing::Accepted;
            is_accepted && !self.is_of_second_charge(&kept.report)
        };
        self.reports.values().filter(gone).map(|kept| self.moved_minor(kept)).fold(0, i64::saturating_add)
    }

    /// What a report moved of this payment's money. Money taken back without a word of how much is all of it.
    fn moved_minor(&self, kept: &Kept) -> i64 {
        let currency = self.terms.as_ref().map(|terms| terms.amount.currency);
        match &kept.report.amount {
            Some(amount) if currency.is_some_and(|currency| currency.as_str() == amount.currency) => {
                amount.minor_units.max(0)
            }
            Some(_) | None if kept.mismatch == Some(Mismatch::TakenBack) => self.captured_minor,
            Some(_) | None => 0,
        }
    }

    /// Whether a report is for sure of another charge than the one that brought the money: then it is none of the payment's own story, and
    /// nothing of the payment waits for what becomes of it.
    #[must_use]
    pub fn is_of_second_charge(&self, report: &Report) -> bool {
        let own = self.charge.as_ref().map_or("", |charge| charge.reference.as_str());
        let charge = report.charge();
        !own.is_empty() && !charge.is_empty() && charge != own
    }

    /// Refunds that wait before they are sent.
    fn deferred(&self) -> Vec<(RefundId, Money)> {
        let waiting = self.refunds.iter().filter(|(_, refund)| refund.status == refund::Status::Deferred);
        waiting.map(|(refund_id, refund)| (*refund_id, refund.amount)).collect()
    }

    /// Why no refund of it may be sent now, if so.
    fn is_blocked(&self) -> Option<String> {
        let is_doubt = |kept: &Kept| kept.is_open() && !self.is_of_second_charge(&kept.report);
        if let Some((id, kept)) = self.reports.iter().find(|(_, kept)| is_doubt(kept)) {
            let mismatch = kept.mismatch.map_or("open", Mismatch::as_str);
            return Some(format!("report {id} about the payment is not settled ({mismatch})"));
        }
        let in_doubt =
            self.refunds.iter().find(|(_, refund)| refund.second_charge.is_none() && refund.may_yet_succeed());
        let in_doubt =
            in_doubt.map(|(id, _)| format!("refund {id} counts as failed, and the call for it is still under way"));
        in_doubt.or_else(|| self.waits_for_dispute())
    }
}

/// What a command causes.
///
/// # Errors
/// Business says no, or an invariant is broken.
pub fn decide(state: &State, command: &Command, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    match command {
        Command::Coupon(command) => return coupon::decide(state, command, at),
        Command::Wallet(command) => return wallet::decide(state, command),
        Command::RequestPayment { .. }
        | Command::CancelPayment { .. }
        | Command::RecordProviderEvent { .. }
        | Command::ResolveReport { .. }
        | Command::ResolveRefund { .. }
        | Command::BeginRefund { .. }
        | Command::RequestCheckout { .. }
        | Command::LookAtPage { .. }
        | Command::RecordCheckout { .. }
        | Command::DecideAuthorisation { .. }
        | Command::RecordAuthorisation { .. }
        | Command::RecordRefundOutcome { .. } => {}
    }
    let Some(payment_id) = command.payment_id() else { return Ok(vec![]) };
    decide_payment(state, command, payment_id, at)
}

/// What a command about a payment causes.
fn decide_payment(
    state: &State,
    command: &Command,
    payment_id: PaymentId,
    at: Timestamp,
) -> Result<Vec<Event>, DecideError> {
    let payment = state.payments.get(&payment_id);
    let events = match command {
        Command::Coupon(_) | Command::Wallet(_) => vec![],
        Command::RequestPayment { key, amount, checkout, payment_method, order_reference, expires_at } => {
            let (amount, expires_at) = (*amount, *expires_at);
            request(payment, *key, &Asked { amount, checkout, payment_method, order_reference, expires_at }, at)?
        }
        Command::CancelPayment { key } => cancel(payment, *key, at),
        Command::RequestCheckout { payment_id, is_anew, actor } => {
            checkout::requested(*payment_id, known(payment, *payment_id)?, *is_anew, actor, at)?
        }
        Command::LookAtPage { payment_id } => {
            payment.and_then(|payment| checkout::looked_at(*payment_id, payment, at)).into_iter().collect()
        }
        Command::RecordCheckout { payment_id, answer } => match payment {
            Some(payment) => checkout::answered(*payment_id, payment, answer, at),
            None => {
                return Err(broken(*payment_id, "its page was called for, but there is no such payment".to_owned()));
            }
        },
        Command::DecideAuthorisation { payment_id, decision } => match payment {
            Some(payment) => authorisation::decided(*payment_id, payment, *decision, at),
            None => {
                return Err(broken(*payment_id, "orders decides about it, but there is no such payment".to_owned()));
            }
        },
        Command::RecordAuthorisation { payment_id, reference, answer } => match payment {
            Some(payment) => authorisation::answered(*payment_id, payment, reference, answer),
            None => {
                let what = format!("{reference} of it was called for, but there is no such payment");
                return Err(broken(*payment_id, what));
            }
        },
        Command::RecordProviderEvent { payment_id, report } => reports::take(*payment_id, payment, report),
        Command::ResolveReport { payment_id, provider_event_id, resolution, actor, note } => {
            let decided = reports::Decided { resolution: *resolution, actor, note };
            reports::resolve(*payment_id, known(payment, *payment_id)?, provider_event_id, &decided)?
        }
        Command::BeginRefund { payment_id, order_id, refund_id, amount } => match payment {
            Some(payment) if payment.key.is_some_and(|key| key.order_id == *order_id) => {
                refund::begin(*payment_id, *order_id, payment, *refund_id, *amount, at)?
            }
            // The order was paid with nothing, for its coupon left nothing to pay: no money can go back.
            None if amount.minor_units == 0 => vec![],
            Some(payment) if payment.key.is_none() && amount.minor_units == 0 => vec![],
            Some(_) | None => {
                let what = format!("order {order_id} never had it, but wants refund {refund_id} of it");
                return Err(broken(*payment_id, what));
            }
        },
        Command::RecordRefundOutcome { payment_id, refund_id, key, outcome } => match payment {
            Some(payment) => refund::ended(*payment_id, payment, *refund_id, key, outcome)?,
            None => {
                let what = format!("refund {refund_id} of it was sent, but there is no such payment");
                return Err(broken(*payment_id, what));
            }
        },
        Command::ResolveRefund { payment_id, refund_id, resolution, actor, note } => {
            let decided = refund::Decided { resolution: *resolution, actor, note };
            refund::resolve(*payment_id, known(payment, *payment_id)?, *refund_id, &decided, at)?
        }
    };
    let events = refund::give_back(payment_id, payment, events, at);
    Ok(refund::send_deferred(payment_id, payment, events, at))
}

struct Asked<'a> {
    amount: Money,
    checkout: &'a Checkout,
    payment_method: &'a str,
    order_reference: &'a Option<String>,
    expires_at: Timestamp,
}

fn request(
    payment: Option<&Payment>,
    key: HoldKey,
    asked: &Asked<'_>,
    at: Timestamp,
) -> Result<Vec<Event>, DecideError> {
    let payment_id = key.payment_id();
    let needs_call = asked.checkout.needs_call();
    let requested = || Event::PaymentRequested {
        payment_id,
        key,
        amount: asked.amount,
        checkout: asked.checkout.clone(),
        payment_method: asked.payment_method.to_owned(),
        order_reference: asked.order_reference.clone(),
        expires_at: asked.expires_at,
        checkout_ends_at: needs_call.then(|| checkout_ends(provider_of(asked.payment_method), at, asked.expires_at)),
    };
    match payment.map(|payment| (payment, payment.terms.as_ref())) {
        None => Ok(vec![requested()]),
        // The provider was quicker: what it reported is judged again, now that it is known what it is about.
        Some((payment, None)) if payment.status == Status::Unasked => {
            Ok(reports::judge_again(payment_id, payment, requested()))
        }
        // Cancelled before it came: the buyer is never asked.
        Some((_, None)) => Ok(vec![]),
        Some((_, Some(terms))) if terms.amount == asked.amount => Ok(vec![]),
        Some((_, Some(terms))) => {
            let what = format!("it was requested over {} and is requested again over {}", terms.amount, asked.amount);
            Err(broken(payment_id, what))
        }
    }
}

fn cancel(payment: Option<&Payment>, key: HoldKey, at: Timestamp) -> Vec<Event> {
    let payment_id = key.payment_id();
    match payment.map(|payment| payment.status) {
        None | Some(Status::Requested | Status::Unasked) => {
            let abandoned = payment.and_then(|payment| checkout::cancelled(payment_id, key, payment, at));
            std::iter::once(Event::PaymentCancelled { payment_id, key }).chain(abandoned).collect()
        }
        Some(Status::Succeeded | Status::Failed | Status::Cancelled) => vec![],
    }
}

fn known(payment: Option<&Payment>, payment_id: PaymentId) -> Result<&Payment, Rejection> {
    payment.ok_or_else(|| {
        Rejection::new(
            "UNKNOWN_PAYMENT",
            format!(
                "no payment {payment_id} is known here: give the id from PaymentRequested, once that event has come"
            ),
        )
    })
}

fn broken(payment_id: PaymentId, what: String) -> DecideError {
    DecideError::Broken { stream: stream(payment_id), what }
}
