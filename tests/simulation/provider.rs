//! A payment provider in memory that does whatever the contract of adapters allows, and remembers what it did.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Currency, Money, PaymentId, RefundId, Timestamp};
use proto::payments::v1::{PaymentRequested, ProviderEventKind, ProviderReport, RecordProviderEvent};
use providers::{
    AuthorisationRef, Charge, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenCheckout,
    OpenedCheckout, Provider, ProviderError, ProviderName, RefundRequest, RefundState,
    sandbox::{
        payment_reference, report,
        script::{Page, Script},
    },
    wallet::Wallet,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

mod authorisations;
mod disputes;
mod opinions;
mod wallets;

pub(crate) use wallets::SimulatedWallets;

/// Of each payment what came, what went and what was charged back.
pub(crate) type Sums = BTreeMap<PaymentId, (i64, i64, i64)>;

/// The providers of the simulated fleet.
#[derive(Debug, Clone)]
pub(crate) enum SimulatedProvider {
    Bank(FakeProvider),
    /// The same, where payments has to look at pages, for on some days nothing is ever heard of what is paid on them.
    Stripe(FakeProvider),
    Wallet(Wallet<SimulatedWallets>),
}

/// The provider, shared with whoever audits it.
#[derive(Debug, Clone)]
pub(crate) struct FakeProvider(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    rng: StdRng,
    /// Of 1,000 calls, how many go wrong.
    wrong: u32,
    /// Of 1,000 payments and refunds, about how many it has an opinion of its own.
    opinions: u32,
    /// Whether it gives back no more than came.
    is_strict: bool,
    /// Whether nobody hears what it reports of money that is paid, or set aside, through Stripe.
    is_unheard: bool,
    /// Whether some refunds are on their way for hours, and some keys are answered with an error for ever.
    is_slow: bool,
    /// Payments through Stripe, which nobody can pay before a page is open.
    by_stripe: BTreeMap<PaymentId, PaymentRequested>,
    /// Those of which a page was opened.
    opened: BTreeSet<PaymentId>,
    now: Timestamp,
    keys: BTreeMap<String, Key>,
    /// Payments that it was asked for.
    asked: BTreeSet<String>,
    /// What it is going to say of each charge that is as it should be, or of money that is set aside.
    charges: BTreeMap<PaymentId, (Timestamp, RecordProviderEvent)>,
    /// What each payment is in.
    currencies: BTreeMap<PaymentId, Currency>,
    /// What it was asked for in another currency than that.
    wrong_currency: Option<String>,
    /// Money that is set aside, by what it is known by.
    holds: BTreeMap<String, authorisations::Hold>,
    moves: BTreeMap<PaymentId, Vec<Move>>,
    /// The charge that a payout is of, by what the payout is known by; empty: it is not named.
    payouts: BTreeMap<String, String>,
    /// When nothing of a payment is given back, for a bank disputes it.
    disputes: BTreeMap<PaymentId, Vec<disputes::Stopped>>,
    /// What it is going to report, and when.
    reports: Vec<(Timestamp, RecordProviderEvent)>,
    count: u64,
}

#[derive(Debug)]
struct Key {
    amount_minor: i64,
    is_accepted: bool,
    /// Whether the answer to the call is lost.
    is_lost: bool,
    /// Whether it is answered with an error for ever, whatever was done.
    is_stuck: bool,
    /// Until when what it was asked for is on its way, and of which refund.
    on_its_way: Option<(Timestamp, RefundId)>,
}

/// Money that moved.
#[derive(Debug, Clone)]
struct Move {
    /// What it is known by, also where its reports do not say so.
    reference: String,
    refund_id: Option<RefundId>,
    /// To the shop; negative: from it.
    minor: i64,
    /// Not if it has come back since.
    stands: bool,
}

impl FakeProvider {
    pub(crate) fn new(seed: u64, wrong: u32, opinions: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let books = Books {
            is_strict: rng.random_bool(0.5),
            is_unheard: seed.is_multiple_of(3),
            is_slow: seed % 5 == 4,
            by_stripe: BTreeMap::new(),
            opened: BTreeSet::new(),
            rng,
            wrong,
            opinions,
            now: Timestamp::default(),
            keys: BTreeMap::new(),
            asked: BTreeSet::new(),
            charges: BTreeMap::new(),
            currencies: BTreeMap::new(),
            wrong_currency: None,
            holds: BTreeMap::new(),
            moves: BTreeMap::new(),
            payouts: BTreeMap::new(),
            disputes: BTreeMap::new(),
            reports: Vec::new(),
            count: 0,
        };
        Self(Arc::new(Mutex::new(books)))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its clock.
    pub(crate) fn set_clock(&self, now: Timestamp) {
        self.books().now = now;
    }

    /// From now on nothing goes wrong, and it has no opinions.
    pub(crate) fn heal(&self) {
        let mut books = self.books();
        (books.wrong, books.opinions) = (0, 0);
    }

    /// A buyer is asked for a payment, and perhaps pays it.
    pub(crate) fn asked(&self, payment: &PaymentRequested) {
        let mut books = self.books();
        if payment.provider == providers::stripe::NAME {
            let as_scripted = PaymentRequested {
                provider: providers::sandbox::NAME.to_owned(),
                payment_method: scripted(&payment.payment_method),
                ..payment.clone()
            };
            let payment_id = PaymentId::parse(&payment.payment_id);
            return books.by_stripe.extend(payment_id.map(|payment_id| (payment_id, as_scripted)));
        }
        books.perhaps_pay(payment);
    }

    /// A buyer has the link of a page.
    pub(crate) fn opened(&self, payment_id: &str) {
        let mut books = self.books();
        let Ok(payment_id) = PaymentId::parse(payment_id) else { return };
        if let Some(payment) = books.by_stripe.get(&payment_id).cloned() {
            books.opened.insert(payment_id);
            books.perhaps_pay(&payment);
        }
    }

    /// Whether it charges this one before it is asked.
    pub(crate) fn is_early(&self) -> bool {
        self.books().thinks()
    }

    /// Somebody gives money back by hand, now and then, in its dashboard.
    pub(crate) fn visit_dashboard(&self, payment_id: PaymentId) {
        let mut books = self.books();
        if books.thinks() {
            books.refund_elsewhere(payment_id);
        }
    }

    /// An operator gives so much back in its dashboard: what that is known by. None: there is not as much.
    pub(crate) fn give_back(&self, payment_id: PaymentId, charge: &str, minor: i64) -> Option<String> {
        let mut books = self.books();
        (books.left(payment_id, charge) >= minor).then(|| books.send_elsewhere((payment_id, charge), minor))
    }

    /// Whether money that is known by this reference has moved, and not come back.
    pub(crate) fn stands(&self, payment_id: PaymentId, reference: &str) -> bool {
        self.books().stands(payment_id, reference)
    }

    /// The buyer gets the money of a refund from the shop's own hands, unless the provider has moved it.
    pub(crate) fn pay_by_hand(&self, payment_id: PaymentId, refund_id: RefundId, minor: i64) {
        let mut books = self.books();
        if !books.has_moved(payment_id, refund_id) {
            let reference = format!("hand-{refund_id}");
            books.note(payment_id, Move { reference, refund_id: Some(refund_id), minor: -minor, stands: true });
        }
    }

    /// What it is going to report from now on.
    pub(crate) fn take_reports(&self) -> Vec<(Timestamp, RecordProviderEvent)> {
        std::mem::take(&mut self.books().reports)
    }

    /// Whether any money of this refund has moved: what an operator finds who asks.
    pub(crate) fn has_moved(&self, payment_id: PaymentId, refund_id: RefundId) -> bool {
        self.books().has_moved(payment_id, refund_id)
    }

    /// Whether it has moved money of this refund, and finds it if it is asked for it again.
    pub(crate) fn finds(&self, payment_id: PaymentId, refund_id: RefundId) -> bool {
        self.books().sent(payment_id, refund_id).is_some()
    }

    /// Whether what it reported is so: what an operator finds who asks.
    pub(crate) fn is_so(&self, payment_id: PaymentId, report: &ProviderReport) -> bool {
        // What it tells of disputes is always so.
        if report.dispute.is_some() {
            return true;
        }
        let is_out = report.kind() != ProviderEventKind::PaymentSucceeded;
        let has_failed = report.kind() == ProviderEventKind::RefundFailed;
        let of_charge = matches!(report.kind(), ProviderEventKind::PaymentFailed | ProviderEventKind::PaymentClosed);
        let reference =
            if of_charge { opinions::back_of(&report.provider_reference) } else { report.provider_reference.clone() };
        let books = self.books();
        let refund_id = RefundId::parse(&report.refund_id).ok();
        let is_it = |move_: &Move| match (reference.as_str(), refund_id) {
            ("", Some(_)) => move_.refund_id == refund_id,
            (reference, _) => move_.reference == reference,
        };
        let moves = books.moves.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        if !is_out && books.stands(payment_id, &opinions::back_of(&report.provider_reference)) {
            return false;
        }
        moves.iter().any(|move_| move_.stands != has_failed && (move_.minor < 0) == is_out && is_it(move_))
    }

    /// Payments whose money is set aside still.
    pub(crate) fn set_aside(&self) -> Vec<PaymentId> {
        let books = self.books();
        books.holds.values().filter(|hold| hold.is_open(books.now)).map(|hold| hold.payment_id).collect()
    }

    /// What it was asked for in another currency than the buyer was.
    pub(crate) fn wrong_currency(&self) -> Option<String> {
        self.books().wrong_currency.clone()
    }

    /// Refunds whose money moved more than once, and what moved of each payment.
    pub(crate) fn audit(&self) -> (Vec<RefundId>, Sums) {
        let (mut times, mut sums) = (BTreeMap::new(), BTreeMap::new());
        for (payment_id, moves) in &self.books().moves {
            let sum = sums.entry(*payment_id).or_insert((0, 0, 0));
            for move_ in moves.iter().filter(|move_| move_.stands) {
                // What was taken back has not come.
                let is_charge = move_.minor > 0 || opinions::is_back(&move_.reference);
                if disputes::is_of_dispute(&move_.reference) {
                    sum.2 -= move_.minor;
                } else if is_charge {
                    sum.0 += move_.minor;
                } else {
                    sum.1 -= move_.minor;
                }
                if let Some(refund_id) = move_.refund_id {
                    *times.entry((*payment_id, refund_id)).or_insert(0_u32) += 1;
                }
            }
        }
        (times.into_iter().filter(|(_, times)| *times > 1).map(|((_, refund_id), _)| refund_id).collect(), sums)
    }
}

impl Books {
    /// It is asked for so much of a payment.
    fn heard_of(&mut self, payment_id: PaymentId, amount: Money) {
        let currency = *self.currencies.entry(payment_id).or_insert(amount.currency);
        if currency != amount.currency && self.wrong_currency.is_none() {
            self.wrong_currency = Some(format!("{amount} of payment {payment_id}, which is in {currency}"));
        }
    }

    /// So much of a payment, as it tells of it.
    fn money(&self, payment_id: PaymentId, minor_units: i64) -> Option<proto::common::v1::Money> {
        let currency = self.currencies.get(&payment_id).map_or("EUR".to_owned(), Currency::to_string);
        Some(proto::common::v1::Money { minor_units, currency })
    }

    /// What was paid on a page until now.
    fn paid(&self, checkout: &CheckoutRef) -> Option<ClosedCheckout> {
        let (_, report) = self.charges.get(&checkout.payment_id).filter(|(due, _)| *due <= self.now)?;
        let is_held = report.kind() == ProviderEventKind::PaymentAuthorised;
        let charge = charge_of(report);
        Some(if is_held { ClosedCheckout::Authorised(charge) } else { ClosedCheckout::Paid(charge) })
    }

    fn perhaps_pay(&mut self, payment: &PaymentRequested) {
        if self.asked.insert(payment.payment_id.clone())
            && let Some(report) = report::of_payment(payment, self.now)
        {
            self.charge(report);
        }
    }

    /// Reports money of a payment, of which on some days nobody hears. What is out of the ordinary is always heard: a page does not tell of it.
    fn report(&mut self, payment_id: PaymentId, due: Timestamp, report: RecordProviderEvent, thinks: bool) {
        if thinks || !self.is_unheard || !self.opened.contains(&payment_id) {
            self.reports.push((due, report));
        }
    }

    /// Whatever may go wrong with a call about a page.
    fn fail(&mut self) -> Result<(), ProviderError> {
        let wrong = self.wrong;
        if !self.rng.random_ratio(wrong, 1_000) {
            return Ok(());
        }
        Err(match self.rng.random_range(0..4) {
            0 => ProviderError::Unavailable("busy".to_owned()),
            1 => ProviderError::Busy("too many at once".to_owned()),
            2 => ProviderError::Misconfigured("the key has run out".to_owned()),
            _ => ProviderError::OutcomeUnknown("the answer was lost".to_owned()),
        })
    }

    /// A buyer who was not going to pay has asked for another page, and pays on that one; or not.
    fn come_back(&mut self, request: &CheckoutRequest) {
        let has_paid = |id| self.charges.contains_key(id) || self.moves.contains_key(id);
        let is_unheard = self.is_unheard && self.opened.contains(&request.payment_id);
        if !request.key.contains("open-") || is_unheard || has_paid(&request.payment_id) || self.rng.random_bool(0.5) {
            return;
        }
        let payment = PaymentRequested {
            payment_id: request.payment_id.to_string(),
            amount: Some(request.amount.to_wire()),
            provider: providers::sandbox::NAME.to_owned(),
            payment_method: "sandbox:succeed,after=5s".to_owned(),
            ..Default::default()
        };
        if let Some(report) = report::of_payment(&payment, self.now) {
            self.charge(report);
        }
    }

    fn note(&mut self, payment_id: PaymentId, move_: Move) {
        self.moves.entry(payment_id).or_default().push(move_);
    }

    fn has_moved(&self, payment_id: PaymentId, refund_id: RefundId) -> bool {
        let moves = self.moves.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        moves.iter().any(|move_| move_.stands && move_.refund_id == Some(refund_id))
    }

    /// What money of this refund is known by that it was asked for, under whatever key, and that has not come back.
    fn sent(&self, payment_id: PaymentId, refund_id: RefundId) -> Option<String> {
        let moves = self.moves.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        let is_sent =
            |move_: &&Move| move_.stands && move_.refund_id == Some(refund_id) && move_.reference.starts_with(MOVED);
        moves.iter().find(is_sent).map(|move_| move_.reference.clone())
    }

    /// Whether it has accepted this refund, under whatever key, and the money is neither there nor back yet.
    fn is_on_its_way(&self, request: &RefundRequest) -> bool {
        let is_it = |key: &Key| key.on_its_way.is_some_and(|(until, of)| of == request.refund_id && self.now < until);
        self.keys.values().any(is_it)
    }

    /// What it has of a payment.
    fn balance(&self, payment_id: PaymentId) -> i64 {
        let moves = self.moves.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        moves.iter().filter(|move_| move_.stands).map(|move_| move_.minor).sum()
    }

    fn stands(&self, payment_id: PaymentId, reference: &str) -> bool {
        let moves = self.moves.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        moves.iter().any(|move_| move_.stands && move_.reference == reference)
    }
}

/// A buyer pays through Stripe as they would in the sandbox.
fn scripted(payment_method: &str) -> String {
    match payment_method.strip_prefix(providers::stripe::NAME) {
        Some(script) => format!("{}{script}", providers::sandbox::NAME),
        None => payment_method.to_owned(),
    }
}

const MOVED: &str = "moved-";

/// What it knows a refund by that it was asked for under this key.
fn moved(key: &str) -> String {
    format!("{MOVED}{key}")
}

impl Provider for FakeProvider {
    /// It stands in the sandbox's place.
    fn name(&self) -> ProviderName {
        ProviderName::Sandbox
    }

    async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
        let mut books = self.books();
        books.heard_of(request.payment_id, request.amount);
        books.fail()?;
        if Script::parse(&scripted(&request.payment_method)).is_ok_and(|script| script.checkout == Page::Refuse) {
            return Err(ProviderError::Declined("no".to_owned()));
        }
        books.come_back(request);
        let reference = payment_reference(request.payment_id, &request.payment_method);
        let url = format!("https://pay.invalid/{reference}");
        Ok(OpenedCheckout::unpaid(OpenCheckout { reference, url }))
    }

    async fn close_checkout(&self, checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
        let mut books = self.books();
        books.fail()?;
        if let Some(paid) = books.paid(checkout) {
            return Ok(paid);
        }
        let Some((due, report)) = books.charges.get(&checkout.payment_id).cloned() else {
            return Ok(ClosedCheckout::Unpaid);
        };
        // What is under way is told of when it has come.
        if books.opened.contains(&checkout.payment_id) {
            books.reports.push((due, report));
        }
        Ok(ClosedCheckout::UnderWay)
    }

    async fn look_at_checkout(&self, checkout: &CheckoutRef) -> Result<Option<ClosedCheckout>, ProviderError> {
        let mut books = self.books();
        books.fail()?;
        Ok(books.paid(checkout))
    }

    async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        self.books().end(authorisation, true)
    }

    async fn void(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        self.books().end(authorisation, false)
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        let mut books = self.books();
        books.heard_of(request.payment_id, request.amount);
        let wrong = books.wrong;
        let fate = if books.rng.random_ratio(wrong, 1_000) { books.rng.random_range(0..4) } else { 4 };
        if fate == 0 {
            return Err(ProviderError::Unavailable("busy".to_owned()));
        }
        if fate == 1 {
            return Err(ProviderError::OutcomeUnknown("it never arrived".to_owned()));
        }
        if !books.keys.contains_key(&request.key) {
            books.consider(request, fate == 2);
        }
        let reference = moved(&request.key);
        let stands = books.stands(request.payment_id, &reference);
        let Some(key) = books.keys.get_mut(&request.key) else { return Err(ProviderError::Declined("no".to_owned())) };
        if key.amount_minor != request.amount.minor_units {
            return Err(ProviderError::Declined("the key was used for another amount".to_owned()));
        }
        if !key.is_accepted && !key.is_stuck {
            return Err(ProviderError::Declined("no".to_owned()));
        }
        if std::mem::take(&mut key.is_lost) || fate == 3 {
            return Err(ProviderError::OutcomeUnknown("the answer was lost".to_owned()));
        }
        if key.is_stuck {
            return Err(ProviderError::Stuck("it has met an error of its own".to_owned()));
        }
        if books.is_on_its_way(request) {
            return Ok(RefundState::Pending { reference });
        }
        Ok(if stands { RefundState::Refunded { reference } } else { failed_since() })
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        let mut books = self.books();
        let wrong = books.wrong;
        if books.rng.random_ratio(wrong, 1_000) {
            return Err(ProviderError::Unavailable("busy".to_owned()));
        }
        if books.is_on_its_way(request) {
            return Ok(Some(RefundState::Pending { reference: moved(&request.key) }));
        }
        if let Some(reference) = books.sent(request.payment_id, request.refund_id) {
            return Ok(Some(RefundState::Refunded { reference }));
        }
        let reference = moved(&request.key);
        let stands = books.stands(request.payment_id, &reference);
        let found = books.keys.get(&request.key).filter(|key| key.is_accepted);
        Ok(found.map(|_key| if stands { RefundState::Refunded { reference } } else { failed_since() }))
    }
}

/// What it says of a charge, asked for it.
fn charge_of(report: &RecordProviderEvent) -> Charge {
    let amount = report.amount.clone().unwrap_or_default();
    Charge {
        event_id: report.provider_event_id.clone(),
        reference: report.provider_reference.clone(),
        minor_units: amount.minor_units,
        currency: amount.currency,
        occurred_at: report.occurred_at.and_then(|at| Timestamp::from_wire("occurred_at", Some(at)).ok()),
    }
}

fn failed_since() -> RefundState {
    RefundState::Failed { reason: "the account is closed".to_owned() }
}

impl Provider for SimulatedProvider {
    fn name(&self) -> ProviderName {
        match self {
            Self::Bank(bank) => bank.name(),
            Self::Stripe(_) => ProviderName::Stripe,
            Self::Wallet(wallet) => wallet.name(),
        }
    }

    async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.open_checkout(request).await,
            Self::Wallet(wallet) => wallet.open_checkout(request).await,
        }
    }

    fn opens_with_money(&self) -> bool {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.opens_with_money(),
            Self::Wallet(wallet) => wallet.opens_with_money(),
        }
    }

    async fn close_checkout(&self, checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.close_checkout(checkout).await,
            Self::Wallet(wallet) => wallet.close_checkout(checkout).await,
        }
    }

    async fn look_at_checkout(&self, checkout: &CheckoutRef) -> Result<Option<ClosedCheckout>, ProviderError> {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.look_at_checkout(checkout).await,
            Self::Wallet(wallet) => wallet.look_at_checkout(checkout).await,
        }
    }

    async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.capture(authorisation).await,
            Self::Wallet(wallet) => wallet.capture(authorisation).await,
        }
    }

    async fn void(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.void(authorisation).await,
            Self::Wallet(wallet) => wallet.void(authorisation).await,
        }
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.refund(request).await,
            Self::Wallet(wallet) => wallet.refund(request).await,
        }
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        match self {
            Self::Bank(bank) | Self::Stripe(bank) => bank.find_refund(request).await,
            Self::Wallet(wallet) => wallet.find_refund(request).await,
        }
    }
}
