//! Properties of any sequence of messages, duplicated and shuffled: money is conserved, and the log folds to the rows.
//! The auditor reads the bytes of the log on its own; it shares no arithmetic with what it checks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use domain::{
    DecideError, Decider, EncodedEvent, HoldKey, OrderId, PaymentId, RefundId, Rejection, StreamVersion, Timestamp,
};
use payments::{
    Payments,
    command::{Command, Outcome},
    event::{AuthorisationEvent, CheckoutEnd, CheckoutStep, Event, ReportResolution, Reported, Resolution, StreamId},
    payment::{
        State, Status,
        authorisation::{self, AuthorisationStatus},
        checkout::{Answer, PageStatus},
    },
    report::{Kind, Mismatch, Report},
};
use proptest::{collection::vec, prelude::*, sample::select};
use proto::{Message, Name, common::v1::Money, orders::v1 as orders, payments::v1 as wire};
use providers::{OpenCheckout, idempotency_key};
use uuid::Uuid;

#[path = "sequences/disputes.rs"]
mod disputes;

use disputes::Disputes;

type Sut = Payments;

/// What comes in: a message from outside, an event of orders, or the end of a call to the provider.
#[derive(Clone)]
enum Input {
    Outside(String, Vec<u8>),
    Foreign(String, Vec<u8>),
    Ended(Command),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(message_type, data) | Self::Foreign(message_type, data) => {
                write!(f, "{} {}", proto::short_name(message_type), proto::to_json(message_type, data).unwrap())
            }
            Self::Ended(command) => command.fmt(f),
        }
    }
}

fn outside<M: Message + Name>(message: &M) -> Input {
    Input::Outside(M::full_name(), message.encode_to_vec())
}

fn foreign<M: Message + Name>(message: &M) -> Input {
    Input::Foreign(M::full_name(), message.encode_to_vec())
}

/// The service without its shell.
#[derive(Default)]
struct Shell {
    state: State,
    log: Vec<EncodedEvent>,
}

impl Shell {
    /// Handles a message and says how many events it caused.
    fn handle(&mut self, input: &Input) -> Result<usize, DecideError> {
        let commands = match input {
            Input::Outside(message_type, data) => vec![Sut::decode_command(message_type, data, Uuid::nil())?],
            Input::Foreign(message_type, data) => Sut::react(message_type, data)?,
            Input::Ended(command) => vec![command.clone()],
        };
        let before = self.log.len();
        for command in &commands {
            let caused = Sut::advance(&mut self.state, command, Timestamp::from_micros(1))?;
            self.log.extend(caused.into_iter().map(|(_, record)| record));
        }
        Ok(self.log.len() - before)
    }
}

/// What must be true of one refund, from the log alone.
#[derive(Default)]
struct RefundAudit {
    minor: i64,
    key: String,
    in_flight: bool,
    paid_out: bool,
    ever_paid_out: bool,
    given_up: bool,
    may_send: bool,
    call_open: bool,
    /// The second charge that it gives back.
    second_charge: Option<String>,
    is_elsewhere: bool,
}

impl RefundAudit {
    fn may_yet_succeed(&self) -> bool {
        self.call_open && self.given_up && self.second_charge.is_none()
    }
}

/// What must be true, from the log alone.
#[derive(Default)]
struct Auditor {
    versions: BTreeMap<String, StreamVersion>,
    asked: BTreeMap<PaymentId, i64>,
    never_asked: BTreeSet<PaymentId>,
    captured: BTreeMap<PaymentId, i64>,
    refunds: BTreeMap<(PaymentId, RefundId), RefundAudit>,
    keys: BTreeSet<String>,
    /// Reports that fit nothing and wait for somebody.
    open: BTreeSet<(PaymentId, String)>,
    /// The charge that brought each payment's money, and those that reports are of which fitted nothing, as far as they are named.
    own_charges: BTreeMap<PaymentId, String>,
    charges: BTreeMap<(PaymentId, String), String>,
    /// Those of which an operator has said that they are so.
    accepted: BTreeSet<(PaymentId, String)>,
    /// How much each report of money that fits nothing names.
    amounts: BTreeMap<(PaymentId, String), i64>,
    /// Pages that a provider was called for: none takes a step twice, and none stays open of a payment that is cancelled.
    pages: BTreeMap<PaymentId, PageStatus>,
    /// The one whose page was closed just now, without anybody having paid on it, to be followed by another.
    unpaid: Option<PaymentId>,
    /// Money that is set aside: none is taken or let go that orders has not decided about, and none stays half-way.
    set_aside: BTreeMap<(PaymentId, String), AuthorisationStatus>,
    disputes: Disputes,
    /// Amounts of second charges that are named, as each is reported, and the reports of it that nothing else has settled.
    second_charges: BTreeMap<(PaymentId, String), (BTreeSet<i64>, BTreeSet<String>)>,
    /// Those of them that are more than was asked for.
    returnable: BTreeSet<(PaymentId, String)>,
}

/// The charge whose money a report says came, went or is disputed, if it names one.
fn charge_of(report: &Report) -> String {
    match report.kind {
        Kind::RefundSucceeded | Kind::RefundFailed => report.charge_reference.clone(),
        Kind::PaymentFailed | Kind::PaymentClosed | Kind::PaymentAuthorised | Kind::PaymentVoided => String::new(),
        Kind::PaymentSucceeded
        | Kind::PaymentDisputed
        | Kind::DisputeFundsWithdrawn
        | Kind::DisputeFundsReinstated
        | Kind::DisputeClosed => report.provider_reference.clone(),
    }
}

fn payment_of(event: &Event) -> PaymentId {
    let StreamId::Payment(payment_id) = event.owner() else { unreachable!("nobody has a coupon or a wallet here") };
    payment_id
}

impl Auditor {
    fn hear_resolution(&mut self, key: (PaymentId, String), resolution: ReportResolution, is_by_another: bool) {
        let of_payment = self.second_charges.iter_mut().filter(|((of, _), _)| *of == key.0);
        let was_returning =
            of_payment.fold(false, |was, (_, (_, reports))| reports.remove(&key.1) || was) && is_by_another;
        let was_open = self.open.remove(&key) || was_returning;
        // A later report settles also what an operator had accepted.
        let was_accepted = self.accepted.remove(&key) && is_by_another;
        assert!(was_open || was_accepted, "what was not open is settled");
        if resolution == ReportResolution::Accepted {
            self.accepted.insert(key);
        }
        assert!(!is_by_another || resolution == ReportResolution::Undone);
    }

    fn hear(&mut self, record: &EncodedEvent) {
        let version = self.versions.entry(record.stream.clone()).or_default();
        *version = version.next();
        assert_eq!(record.version, *version, "{} has a hole or a double", record.stream);
        let event = Sut::decode_event(record.message_type, &record.data).unwrap();
        let payment_id = payment_of(&event);
        match event {
            Event::Coupon(_) | Event::Wallet(_) => unreachable!("nobody has a coupon or a wallet here"),
            Event::Authorisation(event) => self.hear_authorisation(&event),
            Event::Dispute(event) => {
                self.fits(payment_id, &event.reported.provider_event_id);
                self.disputes.hear(event);
            }
            Event::PaymentRequested { amount, checkout_ends_at, .. } => {
                self.pages.extend(checkout_ends_at.map(|_| (payment_id, PageStatus::Opening)));
                assert!(!self.never_asked.contains(&payment_id), "asked after the order was closed");
                assert_eq!(self.asked.insert(payment_id, amount.minor_units), None, "asked twice");
            }
            Event::Checkout(event) => self.hear_page(payment_id, &event.step),
            // It moves nothing.
            Event::PaymentDeclined { ref report, .. } => self.fits(payment_id, &report.provider_event_id),
            Event::ProviderReportUnmatched { ref report, mismatch, .. } => {
                let key = (payment_id, report.provider_event_id.clone());
                self.accepted.remove(&key);
                self.charges.insert(key.clone(), charge_of(report));
                self.open.insert(key);
                if report.kind == Kind::PaymentSucceeded {
                    self.second_charge(payment_id, report, mismatch);
                }
            }
            Event::ProviderReportResolved { ref provider_event_id, resolution, ref settled_by, .. } => {
                self.hear_resolution((payment_id, provider_event_id.clone()), resolution, !settled_by.is_empty());
            }
            Event::PaymentCancelled { .. } => {
                assert!(!self.captured.contains_key(&payment_id), "cancelled after it was paid");
                if !self.asked.contains_key(&payment_id) {
                    self.never_asked.insert(payment_id);
                }
            }
            Event::PaymentSucceeded { amount, ref provider_event_id, ref provider_reference, .. } => {
                if let Some(status) = self.set_aside.get_mut(&(payment_id, provider_reference.clone())) {
                    *status = AuthorisationStatus::Captured;
                }
                assert_eq!(self.asked.get(&payment_id), Some(&amount.minor_units), "not what was asked for");
                assert_eq!(self.captured.insert(payment_id, amount.minor_units), None, "captured twice");
                self.own_charges.insert(payment_id, provider_reference.clone());
                self.fits(payment_id, provider_event_id);
            }
            Event::PaymentFailed { ref provider_event_id, .. } => {
                assert!(!self.captured.contains_key(&payment_id), "failed after it was paid");
                self.fits(payment_id, provider_event_id);
            }
            event @ (Event::RefundDeferred { .. }
            | Event::RefundSubmitted { .. }
            | Event::PaymentRefunded { .. }
            | Event::PaymentRefundedElsewhere { .. }
            | Event::RefundAnswered { .. }
            | Event::RefundRejected { .. }
            | Event::RefundOutcomeUnknown { .. }
            | Event::RefundReversed { .. }
            | Event::RefundResolved { .. }) => {
                self.hear_refund(event);
                self.settle_second_charges();
            }
        }
        self.audit_money(payment_id);
    }

    fn hear_authorisation(&mut self, event: &AuthorisationEvent) {
        use AuthorisationStatus::{Capturing, Held, Lapsed, Voided, Voiding};
        let of = event.of();
        let (status, may_be) = match event {
            AuthorisationEvent::Authorised { amount, provider_event_id, .. } => {
                assert_eq!(self.asked.get(&of.payment_id), Some(&amount.minor_units), "not what was asked for");
                self.fits(of.payment_id, provider_event_id);
                (Held, vec![None])
            }
            AuthorisationEvent::CaptureSubmitted(_) => (Capturing, vec![Some(Held)]),
            AuthorisationEvent::VoidSubmitted(_) => (Voiding, vec![None, Some(Held)]),
            AuthorisationEvent::Voided { provider_event_id, .. } => {
                self.fits(of.payment_id, provider_event_id);
                let before = self.set_aside.get(&(of.payment_id, of.reference.clone()));
                let status = if before == Some(&Held) { Lapsed } else { Voided };
                (status, vec![Some(Held), Some(Capturing), Some(Voiding), Some(Lapsed)])
            }
        };
        let before = self.set_aside.insert((of.payment_id, of.reference.clone()), status);
        assert!(may_be.contains(&before), "money that is set aside was {before:?} and is {status:?}");
    }

    fn hear_submitted(&mut self, payment_id: PaymentId, refund_id: RefundId, minor: i64, idempotency_key: String) {
        let own = self.own_charges.get(&payment_id).cloned().unwrap_or_default();
        let is_of_another = |key: &(PaymentId, String)| {
            let charge = self.charges.get(key).cloned().unwrap_or_default();
            !own.is_empty() && !charge.is_empty() && charge != own
        };
        let doubt = self.open.iter().any(|key| key.0 == payment_id && !is_of_another(key))
            || self.refunds.iter().any(|((of, _), refund)| *of == payment_id && refund.may_yet_succeed());
        assert!(!doubt, "sent while something is in doubt");
        assert!(!self.disputes.stop(payment_id), "sent while the charge is disputed");
        self.send(payment_id, refund_id, minor, idempotency_key);
    }

    /// More came than was asked for.
    fn second_charge(&mut self, payment_id: PaymentId, report: &Report, mismatch: Mismatch) {
        if !report.provider_reference.is_empty() {
            let (amounts, reports) =
                self.second_charges.entry((payment_id, report.provider_reference.clone())).or_default();
            amounts.insert(report.amount.as_ref().unwrap().minor_units);
            if mismatch == Mismatch::SecondCharge {
                self.returnable.insert((payment_id, report.provider_reference.clone()));
            }
            reports.insert(report.provider_event_id.clone());
            let key = (payment_id, report.provider_event_id.clone());
            self.amounts.insert(key, report.amount.as_ref().unwrap().minor_units);
        }
        self.settle_second_charges();
    }

    /// It goes back by itself, once and whole.
    fn hear_second_charge(&mut self, payment_id: PaymentId, refund_id: RefundId, minor: i64, charge: String) {
        let (came, _) = self.second_charges.get(&(payment_id, charge.clone())).unwrap();
        let known = self.refunds.get(&(payment_id, refund_id));
        let is_first = known.is_none();
        let is_part = known.is_some_and(|refund| refund.is_elsewhere);
        assert!(is_part || self.returnable.contains(&(payment_id, charge.clone())), "nobody paid twice");
        assert!(is_part || came.contains(&minor), "not what came");
        assert!(!is_first || came.len() == 1, "nobody knows how much came");
        let is_it =
            |refund: &RefundAudit| refund.second_charge.as_ref() == Some(&charge) && !is_part && !refund.is_elsewhere;
        let mut others = self.refunds.iter().filter(|((of, _), refund)| *of == payment_id && is_it(refund));
        assert!(others.all(|((_, id), _)| *id == refund_id), "a second charge goes back twice");
        let new = RefundAudit { minor, may_send: true, second_charge: Some(charge), ..RefundAudit::default() };
        let refund = self.refunds.entry((payment_id, refund_id)).or_insert(new);
        // An operator may have one sent again that was refused: nobody else can ask for it.
        refund.given_up &= !refund.may_send;
    }

    /// While its money is on its way, or gone, nobody is asked about a second charge.
    fn settle_second_charges(&mut self) {
        for ((payment_id, charge), (amounts, reports)) in &self.second_charges {
            let is_it = |refund: &RefundAudit| refund.second_charge.as_ref() == Some(charge);
            let refunds = self.refunds.iter().filter(|((of, _), refund)| of == payment_id && is_it(refund));
            let refunds: Vec<&RefundAudit> = refunds.map(|(_, refund)| refund).collect();
            let sum = |fits: fn(&RefundAudit) -> bool| -> i64 {
                refunds.iter().filter(|refund| fits(refund)).map(|refund| refund.minor).sum()
            };
            let (gone, promised) = (sum(|refund| refund.paid_out), sum(|refund| refund.in_flight));
            let came = amounts.iter().copied().max().unwrap_or(0);
            assert!(gone + promised <= came, "of charge {charge} {came} came, and {gone} and {promised} go back");
            if refunds.is_empty() {
                continue;
            }
            for report in reports {
                let key = (*payment_id, report.clone());
                let minor = self.amounts.get(&key).copied().unwrap_or(0);
                if promised > 0 || gone >= minor {
                    self.open.remove(&key);
                } else if !self.accepted.contains(&key) {
                    self.open.insert(key);
                }
            }
        }
    }

    fn send(&mut self, payment_id: PaymentId, refund_id: RefundId, minor: i64, idempotency_key: String) {
        assert!(self.keys.insert(idempotency_key.clone()), "a key is used twice");
        let new = RefundAudit { minor, may_send: true, ..RefundAudit::default() };
        let refund = self.refunds.entry((payment_id, refund_id)).or_insert(new);
        assert_eq!(refund.minor, minor, "a refund changes its amount");
        assert!(refund.may_send && !refund.paid_out && !refund.given_up, "sent without anybody's word");
        (refund.in_flight, refund.may_send, refund.key) = (true, false, idempotency_key);
        refund.call_open = true;
    }

    fn hear_unknown(&mut self, payment_id: PaymentId, refund_id: RefundId) {
        let refund = self.refunds.get_mut(&(payment_id, refund_id)).unwrap();
        assert!(refund.in_flight, "what is over is not unknown");
        refund.call_open = false;
    }

    fn hear_reversed(&mut self, payment_id: PaymentId, refund_id: RefundId) {
        let refund = self.refunds.get_mut(&(payment_id, refund_id)).unwrap();
        assert!(refund.ever_paid_out && (refund.paid_out || refund.in_flight), "nothing to take back");
        (refund.paid_out, refund.in_flight) = (false, true);
    }

    fn hear_refund(&mut self, event: Event) {
        let payment_id = payment_of(&event);
        match event {
            Event::RefundAnswered { of, .. } => {
                self.refunds.get_mut(&(payment_id, of.refund_id)).unwrap().call_open = false;
            }
            Event::RefundDeferred { of, amount, .. } => {
                let refund = self.refunds.entry((payment_id, of.refund_id)).or_default();
                assert!(!refund.in_flight && refund.minor == 0, "deferred after it was begun");
                (refund.minor, refund.in_flight, refund.may_send) = (amount.minor_units, true, true);
            }
            Event::PaymentRefundedElsewhere { of, amount, ref reported, charge_reference, .. } => {
                self.said(payment_id, Some(reported));
                let own = self.own_charges.get(&payment_id).cloned().unwrap_or_default();
                let is_of_another = ![own.as_str(), charge_reference.as_str()].contains(&"") && own != charge_reference;
                assert_eq!(of.is_of_second_charge, is_of_another, "it is booked on the wrong charge");
                let refund = self.refunds.entry((payment_id, of.refund_id)).or_default();
                assert!(!refund.ever_paid_out, "booked twice");
                (refund.minor, refund.paid_out, refund.ever_paid_out) = (amount.minor_units, true, true);
                refund.is_elsewhere = true;
                refund.second_charge = of.is_of_second_charge.then_some(charge_reference);
            }
            Event::RefundSubmitted { of, amount, idempotency_key, charge_reference, .. } if of.is_of_second_charge => {
                self.hear_second_charge(payment_id, of.refund_id, amount.minor_units, charge_reference);
                self.send(payment_id, of.refund_id, amount.minor_units, idempotency_key);
            }
            Event::RefundSubmitted { of, amount, idempotency_key, .. } => {
                self.hear_submitted(payment_id, of.refund_id, amount.minor_units, idempotency_key);
            }
            Event::PaymentRefunded { of, amount, ref reported, .. } => {
                self.said(payment_id, reported.as_ref());
                let refund = self.refunds.entry((payment_id, of.refund_id)).or_default();
                assert!(amount.minor_units == 0 || refund.minor == amount.minor_units, "a refund changes its amount");
                assert!(!refund.paid_out, "paid out twice");
                (refund.paid_out, refund.ever_paid_out, refund.in_flight) = (true, true, false);
                (refund.given_up, refund.call_open) = (false, refund.call_open && reported.is_some());
            }
            Event::RefundRejected { of, amount, ref reported, .. } => {
                self.said(payment_id, reported.as_ref());
                let refund = self.refunds.entry((payment_id, of.refund_id)).or_default();
                // A report may say when it failed that is given up already.
                let is_dated = reported.as_ref().is_some_and(|reported| reported.occurred_at.is_some());
                assert!(!refund.ever_paid_out, "the order counts it as refunded");
                assert!(!refund.given_up || is_dated, "the order counts it as given up");
                (refund.given_up, refund.in_flight, refund.minor) = (true, false, amount.minor_units);
                refund.call_open &= reported.is_some();
            }
            Event::RefundOutcomeUnknown { of, .. } => self.hear_unknown(payment_id, of.refund_id),
            Event::RefundReversed { of, ref reported, .. } => {
                self.said(payment_id, reported.as_ref());
                self.hear_reversed(payment_id, of.refund_id);
            }
            Event::RefundResolved { of, resolution, .. } => {
                self.refunds.get_mut(&(payment_id, of.refund_id)).unwrap().may_send = resolution == Resolution::Retry;
            }
            Event::Coupon(_)
            | Event::Wallet(_)
            | Event::Authorisation(_)
            | Event::Dispute(_)
            | Event::PaymentRequested { .. }
            | Event::PaymentSucceeded { .. }
            | Event::PaymentDeclined { .. }
            | Event::PaymentFailed { .. }
            | Event::PaymentCancelled { .. }
            | Event::Checkout(_)
            | Event::ProviderReportUnmatched { .. }
            | Event::ProviderReportResolved { .. } => {}
        }
    }

    fn hear_page(&mut self, payment_id: PaymentId, step: &CheckoutStep) {
        match step {
            // Without a link there is no page: the money is set aside already.
            CheckoutStep::Opened { page, .. } => {
                let after = if page.url.is_empty() { PageStatus::Closed } else { PageStatus::Open };
                self.turn_page(payment_id, PageStatus::Opening, after);
            }
            CheckoutStep::LookSubmitted { .. } => self.turn_page(payment_id, PageStatus::Open, PageStatus::Open),
            CheckoutStep::Failed(_) => self.turn_page(payment_id, PageStatus::Opening, PageStatus::Failed),
            CheckoutStep::Abandoned { is_replaced, .. } => {
                let after = if *is_replaced { PageStatus::Replacing } else { PageStatus::Closing };
                self.turn_page(payment_id, PageStatus::Open, after);
            }
            CheckoutStep::Closed(end) => {
                let page = self.pages.insert(payment_id, PageStatus::Closed);
                assert!(matches!(page, Some(PageStatus::Closing | PageStatus::Replacing)), "{page:?} is closed");
                let may_have_another = page == Some(PageStatus::Replacing) && *end == CheckoutEnd::Unpaid;
                self.unpaid = may_have_another.then_some(payment_id);
            }
            CheckoutStep::Requested { amount, .. } => {
                assert_eq!(self.unpaid.take(), Some(payment_id), "a second page while there is one to pay on");
                assert_eq!(self.asked.get(&payment_id), Some(&amount.minor_units));
                self.turn_page(payment_id, PageStatus::Closed, PageStatus::Opening);
            }
        }
    }

    fn turn_page(&mut self, payment_id: PaymentId, before: PageStatus, after: PageStatus) {
        assert_eq!(self.pages.insert(payment_id, after), Some(before), "a page takes a step that it cannot take");
    }

    /// Pages on which somebody could pay for what is cancelled, and which nobody closes.
    fn audit_pages(&self, state: &State) {
        for (payment_id, page) in &self.pages {
            let status = state.payments.get(payment_id).map(|payment| payment.status);
            let is_left = *page == PageStatus::Open && status == Some(Status::Cancelled);
            assert!(!is_left, "the page of {payment_id} stays open");
        }
    }

    /// A report that may have fitted nothing does fit.
    fn fits(&mut self, payment_id: PaymentId, provider_event_id: &str) {
        let key = (payment_id, provider_event_id.to_owned());
        self.open.remove(&key);
        self.accepted.remove(&key);
        for ((of, _), (_, reports)) in &mut self.second_charges {
            if *of == payment_id {
                reports.remove(provider_event_id);
            }
        }
    }

    fn said(&mut self, payment_id: PaymentId, reported: Option<&Reported>) {
        if let Some(reported) = reported {
            self.fits(payment_id, &reported.provider_event_id);
        }
    }

    /// Whether this is the end of a call that nobody waits for any more.
    fn is_outdated(&self, input: &Input) -> bool {
        match input {
            Input::Ended(Command::RecordRefundOutcome { payment_id, refund_id, key, .. }) => {
                self.refunds.get(&(*payment_id, *refund_id)).is_none_or(|refund| refund.key != *key)
            }
            Input::Ended(_) | Input::Outside(..) | Input::Foreign(..) => false,
        }
    }

    fn audit_money(&self, payment_id: PaymentId) {
        // What second charges brought is beside the payment's own money.
        let is_own = |refund: &RefundAudit| refund.second_charge.is_none();
        let refunds = self.refunds.iter().filter(|((payment, _), refund)| *payment == payment_id && is_own(refund));
        let away: i64 =
            refunds.filter(|(_, refund)| refund.paid_out || refund.in_flight).map(|(_, refund)| refund.minor).sum();
        let captured = self.captured.get(&payment_id).copied().unwrap_or(0);
        assert!(away <= captured, "{away} went back or are promised of {captured}");
    }
}

const ORDER: Uuid = Uuid::from_u128(7);

fn key(attempt: i32) -> HoldKey {
    HoldKey { order_id: OrderId(ORDER), attempt }
}

fn money(minor_units: i64) -> Option<Money> {
    Some(Money { minor_units, currency: "EUR".to_owned() })
}

/// Few of each, so that sequences go deep: a refund that is reversed, sent again and then declined takes six messages.
fn attempt() -> impl Strategy<Value = i32> {
    select(vec![1, 1, 1, 2])
}

fn refund_id() -> impl Strategy<Value = RefundId> {
    select(vec![1_u128, 1, 2]).prop_map(|id| RefundId(Uuid::from_u128(id)))
}

/// The refund of a second charge of this number, if it is one of the two that are named.
fn of_second_charge(payment_id: PaymentId, charge: u8) -> Option<RefundId> {
    matches!(charge, 1 | 2).then(|| RefundId(domain::derived(payment_id.0, &format!("second charge re_{charge}"))))
}

fn by_orders() -> impl Strategy<Value = Input> {
    let order_id = || ORDER.to_string();
    // Of one attempt the page must be called for, of the other it is a link.
    let payment_method = |attempt| if attempt == 2 { "sandbox:succeed,checkout=call" } else { "" };
    (attempt(), 0..7, refund_id(), select(vec![0_i64, 400, 400, 600, 1_001])).prop_map(
        move |(attempt, kind, refund_id, minor)| match kind {
            0 | 1 => foreign(&orders::OrderReserved {
                order_id: order_id(),
                attempt,
                amount: money(1_000),
                expires_at: Some(Timestamp::from_micros(9).to_wire()),
                payment_method: payment_method(attempt).to_owned(),
                discount: None,
                reference: if attempt == 2 { "R-1001".to_owned() } else { String::new() },
            }),
            2 => foreign(&orders::OrderExpired { order_id: order_id(), attempt, ..Default::default() }),
            3 => foreign(&orders::CaptureRequested {
                order_id: order_id(),
                attempt,
                payment_id: key(attempt).payment_id().to_string(),
                amount: money(1_000),
            }),
            4 => foreign(&orders::VoidRequested {
                order_id: order_id(),
                attempt,
                payment_id: key(attempt).payment_id().to_string(),
                note: "late".to_owned(),
            }),
            _ => foreign(&orders::RefundRequested {
                order_id: order_id(),
                attempt,
                refund_id: refund_id.to_string(),
                payment_id: key(attempt).payment_id().to_string(),
                amount: money(minor),
                ..Default::default()
            }),
        },
    )
}

fn by_provider() -> impl Strategy<Value = Input> {
    let amounts = select(vec![1_000_i64, 1_000, 1_000, 999]);
    let refunds = select(vec![400_i64, 400, 600]);
    // Without a time, at one, or at another: the provider's reports contradict each other in every order.
    let times = select(vec![None, None, Some(1_u64), Some(2)]);
    let charges = select(vec!["", "", "re_1", "re_2"]);
    // Named as one of ours, or made elsewhere.
    let is_named = any::<bool>();
    (attempt(), 1..8_i32, refund_id(), amounts, refunds, 0..3_u8, times, charges, is_named).prop_map(
        |(attempt, kind, refund_id, amount, refund, reference, time, charge, is_named)| {
            let is_refund = kind == 3 || kind == 4;
            let charge = if is_refund { charge } else { "" };
            let names = is_refund && is_named;
            outside(&wire::RecordProviderEvent {
                kind,
                payment_id: key(attempt).payment_id().to_string(),
                refund_id: if names { refund_id.to_string() } else { String::new() },
                amount: money(if is_refund { refund } else { amount }),
                provider_event_id: format!(
                    "evt {kind} {refund_id} {amount} {refund} {reference} {time:?} {charge} {names}"
                ),
                provider_reference: if reference == 0 { String::new() } else { format!("re_{reference}") },
                reason: "because".to_owned(),
                occurred_at: time.map(|time| Timestamp::from_micros(i64::try_from(time).unwrap()).to_wire()),
                dispute: None,
                charge_reference: charge.to_owned(),
            })
        },
    )
}

fn by_operator() -> impl Strategy<Value = Input> {
    (attempt(), refund_id(), 1..4_i32, 0..10_u8).prop_map(|(attempt, refund_id, resolution, charge)| {
        let refund_id = of_second_charge(key(attempt).payment_id(), charge).unwrap_or(refund_id);
        outside(&wire::ResolveRefund {
            payment_id: key(attempt).payment_id().to_string(),
            refund_id: refund_id.to_string(),
            resolution,
            actor: "ann".to_owned(),
            note: "called them".to_owned(),
        })
    })
}

fn by_whoever_settles() -> impl Strategy<Value = Input> {
    (by_provider(), 1..3_i32).prop_map(|(report, resolution)| {
        let data = if let Input::Outside(_, data) = report { data } else { Vec::new() };
        let report = wire::RecordProviderEvent::decode(data.as_slice()).unwrap();
        outside(&wire::ResolveProviderReport {
            payment_id: report.payment_id,
            provider_event_id: report.provider_event_id,
            resolution,
            actor: "ann".to_owned(),
            note: "asked the bank".to_owned(),
        })
    })
}

fn by_effect() -> impl Strategy<Value = Input> {
    (attempt(), refund_id(), 1..4_i32, 0..3, 0..10_u8).prop_map(|(attempt, refund_id, send, outcome, charge)| {
        let payment_id = key(attempt).payment_id();
        let refund_id = of_second_charge(payment_id, charge).unwrap_or(refund_id);
        let outcome = match outcome {
            0 => Outcome::Refunded { provider_reference: format!("re_{send}") },
            1 => Outcome::Rejected(Rejection::new("DECLINED", "too old")),
            _ => Outcome::Unknown { evidence: "no answer".to_owned() },
        };
        let key = idempotency_key(payment_id, refund_id, send);
        Input::Ended(Command::RecordRefundOutcome { payment_id, refund_id, key, outcome })
    })
}

fn by_hold() -> impl Strategy<Value = Input> {
    (attempt(), 1..3_u8, by_provider(), any::<bool>()).prop_map(|(attempt, reference, report, is_taken)| {
        let reference = format!("re_{reference}");
        let report = told(&report).filter(|_| is_taken).map(|report| Report {
            kind: Kind::PaymentSucceeded,
            provider_reference: reference.clone(),
            ..report
        });
        let answer = match report {
            Some(report) => authorisation::Answer::Captured(report),
            None => authorisation::Answer::Voided { reason: "gone".to_owned() },
        };
        Input::Ended(Command::RecordAuthorisation { payment_id: key(attempt).payment_id(), reference, answer })
    })
}

fn by_page() -> impl Strategy<Value = Input> {
    (0..7, by_provider()).prop_map(|(kind, report)| {
        if kind == 6 {
            return Input::Ended(Command::LookAtPage { payment_id: key(2).payment_id() });
        }
        let page = |url: &str| OpenCheckout { reference: "cs_1".to_owned(), url: url.to_owned() };
        let answer = match kind {
            0 => Answer::Opened { page: page("https://pay.test/1"), authorised: None },
            // Whatever it says of the money that it has set aside with it.
            4 => Answer::Opened {
                page: page(""),
                authorised: told(&report).map(|report| Report { kind: Kind::PaymentAuthorised, ..report }),
            },
            1 => Answer::Failed(Rejection::new("DECLINED", "no")),
            2 => Answer::Closed { end: CheckoutEnd::Unpaid, report: None },
            5 => Answer::Seen { report: told(&report) },
            _ => Answer::Closed { end: CheckoutEnd::Paid, report: told(&report) },
        };
        Input::Ended(Command::RecordCheckout { payment_id: key(2).payment_id(), answer })
    })
}

fn by_buyer() -> impl Strategy<Value = Input> {
    (attempt(), any::<bool>()).prop_map(|(attempt, anew)| {
        let (payment_id, actor) = (key(attempt).payment_id().to_string(), String::new());
        outside(&wire::RequestCheckout { payment_id, anew, actor })
    })
}

/// What a provider reports, as the closing of a page finds it.
fn told(report: &Input) -> Option<Report> {
    let Input::Outside(message_type, data) = report else { return None };
    match Sut::decode_command(message_type, data, Uuid::nil()) {
        Ok(Command::RecordProviderEvent { report, .. }) => Some(report),
        Ok(_) | Err(_) => None,
    }
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    vec(
        prop_oneof![3 => by_orders(), 3 => by_provider(), 2 => by_operator(), 1 => by_whoever_settles(), 3 => by_effect(), 2 => by_page(), 1 => by_buyer(), 1 => by_hold(), 1 => disputes::report()],
        0..200,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_conserves_money_and_folds_to_the_rows(inputs in inputs()) {
        let (mut shell, mut auditor) = (Shell::default(), Auditor::default());
        for input in &inputs {
            let heard = shell.log.len();
            // A refusal is an answer too; what counts is that it changes nothing.
            if shell.handle(input).is_err() {
                prop_assert_eq!(shell.log.len(), heard);
            }
            prop_assert!(!auditor.is_outdated(input) || shell.log.len() == heard, "{:?} is out of date", input);
            prop_assert_eq!(shell.handle(input).unwrap_or(0), 0, "{:?} again caused more", input);
            shell.log.iter().skip(heard).for_each(|record| auditor.hear(record));
            auditor.audit_pages(&shell.state);
        }
        let mut folded = State::default();
        for record in &shell.log {
            Sut::evolve(&mut folded, &Sut::decode_event(record.message_type, &record.data).unwrap());
        }
        prop_assert_eq!(Sut::rows(&folded), Sut::rows(&shell.state));
        prop_assert_eq!(folded, shell.state);
    }
}

/// The sequences would prove nothing if they never came far.
#[test]
fn the_sequences_reach_every_kind_of_event() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let (mut runner, mut seen) = (TestRunner::deterministic(), BTreeSet::new());
    for _ in 0..800 {
        let mut shell = Shell::default();
        for input in inputs().new_tree(&mut runner).unwrap().current() {
            let _refused = shell.handle(&input);
        }
        seen.extend(shell.log.iter().map(|record| record.message_type));
    }
    assert_eq!(seen.len(), 29, "{seen:?}");
}
