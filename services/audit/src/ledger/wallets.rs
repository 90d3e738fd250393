//! The book of wallets: what went in and out of each, what of it is set aside for which payment, and that payments says the same of its money.

use std::collections::BTreeMap;

use domain::{Currency, PaymentId, RefundId, WalletId, decode, hold::Status, written};
use proto::{Name, common::v1::Money, payments::v1 as wire};
use serde::{Deserialize, Serialize};

use super::{
    Ledger, Moment, Unbooked,
    keys::{Keys, move_each},
    money::{Payments, payment_name},
    promises::Grace,
    refunds::{Standing, refund_name},
};
use crate::report::{Check, Findings};

/// The name of the provider that pays from wallets.
const PROVIDER: &str = "wallet";

/// Events of payments that are about wallets.
const OF_WALLETS: [&str; 7] = [
    wire::WalletToppedUp::NAME,
    wire::WalletWithdrawnFrom::NAME,
    wire::FundsHeld::NAME,
    wire::FundsRejected::NAME,
    wire::FundsCommitted::NAME,
    wire::FundsReleased::NAME,
    wire::WalletCredited::NAME,
];

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Wallets {
    pub(crate) wallets: BTreeMap<WalletId, Wallet>,
    pub(crate) funds: BTreeMap<PaymentId, Funds>,
}

/// A wallet's money, in minor units of its currency. Sums are wide enough that no sum of wrong events overflows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Wallet {
    customer_id: String,
    pub(crate) currency: String,
    topped_up: i128,
    credited: i128,
    withdrawn: i128,
    committed: i128,
    pub(crate) held: i128,
    /// Whether a breach was told already.
    breached: bool,
}

/// What is set aside for a payment.
#[derive(Debug, Clone)]
pub(crate) struct Funds {
    pub(crate) status: Status,
    of: Option<Of>,
    /// What went back, and when, by refund.
    credits: BTreeMap<RefundId, (i64, Moment)>,
    /// When it came to stand so.
    since: Moment,
}

/// Money of a wallet.
#[derive(Debug, Clone, PartialEq)]
struct Of {
    wallet_id: WalletId,
    customer_id: String,
    amount: Money,
}

impl Of {
    fn read(wallet_id: &str, customer_id: String, amount: Option<Money>) -> Result<Self, Unbooked> {
        Ok(Self { wallet_id: WalletId::parse(wallet_id)?, customer_id, amount: amount.unwrap_or_default() })
    }

    fn minor_units(&self) -> i128 {
        self.amount.minor_units.into()
    }
}

impl Wallet {
    /// What can be spent: all that came, less all that went and what is set aside.
    pub(crate) const fn available(&self) -> i128 {
        self.topped_up + self.credited - self.withdrawn - self.committed - self.held
    }
}

impl Funds {
    /// What went back, in minor units.
    pub(crate) fn credited(&self) -> i128 {
        self.credits.values().map(|(minor_units, _)| i128::from(*minor_units)).sum()
    }

    /// Whether all of this money was taken.
    fn has_taken(&self, amount: &Money) -> bool {
        self.status == Status::Committed && self.of.as_ref().is_some_and(|of| of.amount == *amount)
    }
}

/// Name of a wallet's stream.
pub(crate) fn wallet_name(wallet_id: WalletId) -> String {
    format!("wallet-{wallet_id}")
}

/// Name of the stream of what is set aside for a payment.
pub(crate) fn funds_name(payment_id: PaymentId) -> String {
    format!("funds-{payment_id}")
}

impl Wallets {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_each(&mut self.funds, &mut other.funds, &keys.payments);
    }

    /// Whether this book is where an event of payments belongs.
    pub(super) fn takes(name: &str) -> bool {
        OF_WALLETS.contains(&name)
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        payments: &Payments,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            wire::WalletToppedUp::NAME => {
                let wire::WalletToppedUp { wallet_id, customer_id, amount, .. } = decode(data)?;
                let of = Of::read(&wallet_id, customer_id, amount)?;
                self.open(&of, at, findings);
                self.change(&of, at, findings, |wallet, amount| wallet.topped_up += amount);
            }
            wire::WalletWithdrawnFrom::NAME => {
                let wire::WalletWithdrawnFrom { wallet_id, customer_id, amount, .. } = decode(data)?;
                let of = Of::read(&wallet_id, customer_id, amount)?;
                self.change(&of, at, findings, |wallet, amount| wallet.withdrawn += amount);
            }
            wire::FundsHeld::NAME => {
                let wire::FundsHeld { payment_id, wallet_id, customer_id, amount } = decode(data)?;
                let (payment_id, of) = (PaymentId::parse(&payment_id)?, Of::read(&wallet_id, customer_id, amount)?);
                self.hold(payment_id, of, at, payments, findings);
            }
            wire::FundsRejected::NAME => {
                let wire::FundsRejected { payment_id, wallet_id, customer_id, amount, .. } = decode(data)?;
                let (payment_id, of) = (PaymentId::parse(&payment_id)?, Of::read(&wallet_id, customer_id, amount)?);
                // Of what the wallet had when it was read: a top-up of that moment may stand before it in the log.
                self.begin(payment_id, Funds::new(Status::Rejected, Some(of), at), findings);
            }
            _ => self.take_end(name, data, at, findings)?,
        }
        Ok(())
    }

    /// What becomes of money that was set aside.
    fn take_end(&mut self, name: &str, data: &[u8], at: Moment, findings: &mut Findings) -> Result<(), Unbooked> {
        match name {
            wire::FundsCommitted::NAME => {
                let wire::FundsCommitted { payment_id, wallet_id, customer_id, amount } = decode(data)?;
                let (payment_id, of) = (PaymentId::parse(&payment_id)?, Of::read(&wallet_id, customer_id, amount)?);
                if self.end(payment_id, &of, Status::Committed, at, findings) {
                    self.change(&of, at, findings, |wallet, amount| {
                        wallet.held -= amount;
                        wallet.committed += amount;
                    });
                }
            }
            wire::FundsReleased::NAME => {
                let wire::FundsReleased { payment_id, wallet_id, customer_id, amount } = decode(data)?;
                let payment_id = PaymentId::parse(&payment_id)?;
                if wallet_id.is_empty() {
                    // Released before it came: from now on it holds nothing.
                    self.begin(payment_id, Funds::new(Status::Released, None, at), findings);
                    return Ok(());
                }
                let of = Of::read(&wallet_id, customer_id, amount)?;
                if self.end(payment_id, &of, Status::Released, at, findings) {
                    self.change(&of, at, findings, |wallet, amount| wallet.held -= amount);
                }
            }
            wire::WalletCredited::NAME => {
                let wire::WalletCredited { payment_id, wallet_id, customer_id, refund_id, amount } = decode(data)?;
                let (payment_id, refund_id) = (PaymentId::parse(&payment_id)?, RefundId::parse(&refund_id)?);
                let of = Of::read(&wallet_id, customer_id, amount)?;
                self.credit(payment_id, refund_id, &of, at, findings);
                self.change(&of, at, findings, |wallet, amount| wallet.credited += amount);
            }
            _ => return Err(Unbooked::Unknown { book: "wallets" }),
        }
        Ok(())
    }

    /// The first money makes the wallet, whose id says whose it is and of which currency.
    fn open(&mut self, of: &Of, at: Moment, findings: &mut Findings) {
        let wallet =
            Wallet { customer_id: of.customer_id.clone(), currency: of.amount.currency.clone(), ..Wallet::default() };
        self.wallets.entry(of.wallet_id).or_insert(wallet);
        let named = Currency::parse(&of.amount.currency).map(|currency| WalletId::of(&of.customer_id, currency));
        if named != Ok(of.wallet_id) {
            let what = format!("it has the id of another wallet than that of {:?}", of.customer_id);
            findings.add(Check::Wallets, wallet_name(of.wallet_id), what, Some(at.position));
        }
    }

    fn hold(&mut self, payment_id: PaymentId, of: Of, at: Moment, payments: &Payments, findings: &mut Findings) {
        if !payments.is_asked_of(PROVIDER, payment_id, &of.amount) {
            let what = "it is set aside for a payment that nobody was asked to pay so from a wallet".to_owned();
            wrong(payment_id, what, at, findings);
        }
        if self.begin(payment_id, Funds::new(Status::Held, Some(of.clone()), at), findings) {
            self.change(&of, at, findings, |wallet, amount| wallet.held += amount);
        }
    }

    fn begin(&mut self, payment_id: PaymentId, funds: Funds, findings: &mut Findings) -> bool {
        if let Some(known) = self.funds.get(&payment_id) {
            let what = format!("it is {} although it is {} already", funds.status.as_str(), known.status.as_str());
            wrong(payment_id, what, funds.since, findings);
            return false;
        }
        self.funds.insert(payment_id, funds);
        true
    }

    fn end(&mut self, payment_id: PaymentId, of: &Of, status: Status, at: Moment, findings: &mut Findings) -> bool {
        match self.funds.get_mut(&payment_id) {
            Some(funds) if funds.status == Status::Held && funds.of.as_ref() == Some(of) => {
                (funds.status, funds.since) = (status, at);
                true
            }
            Some(funds) => {
                let what =
                    format!("it is {} although it is {}, or other money", status.as_str(), funds.status.as_str());
                wrong(payment_id, what, at, findings);
                false
            }
            None => {
                wrong(payment_id, format!("it is {} although nothing was set aside", status.as_str()), at, findings);
                false
            }
        }
    }

    fn credit(&mut self, payment_id: PaymentId, refund_id: RefundId, of: &Of, at: Moment, findings: &mut Findings) {
        let committed = self.funds.get_mut(&payment_id).filter(|funds| funds.status == Status::Committed);
        let Some((taken, funds)) = committed.and_then(|funds| Some((funds.of.clone()?, funds))) else {
            return wrong(payment_id, "money of it goes back, and none was taken".to_owned(), at, findings);
        };
        let is_once = funds.credits.insert(refund_id, (of.amount.minor_units, at)).is_none();
        let is_its_own = taken.wallet_id == of.wallet_id && taken.amount.currency == of.amount.currency;
        if !is_once || !is_its_own || funds.credited() > taken.minor_units() {
            let what = format!(
                "{} went back by refund {refund_id}: of {} twice, to another wallet, or more than there is",
                written(of.amount.minor_units, &of.amount.currency),
                written(taken.amount.minor_units, &taken.amount.currency)
            );
            wrong(payment_id, what, at, findings);
        }
    }

    /// Moves money of a wallet, none of which may ever be less than nothing.
    fn change(&mut self, of: &Of, at: Moment, findings: &mut Findings, change: impl Fn(&mut Wallet, i128)) {
        let mut say = |what: String| findings.add(Check::Wallets, wallet_name(of.wallet_id), what, Some(at.position));
        let Some(wallet) = self.wallets.get_mut(&of.wallet_id) else {
            return say("its money moved before there was any".to_owned());
        };
        if (&wallet.customer_id, &wallet.currency) != (&of.customer_id, &of.amount.currency) {
            say(format!("money of another customer or currency moved in it: {:?}", of.customer_id));
        }
        change(wallet, of.minor_units());
        if (wallet.available() < 0 || wallet.held < 0) && !wallet.breached {
            wallet.breached = true;
            let money = |minor_units: i128| written(minor_units, &wallet.currency);
            say(format!("{} can be spent and {} are set aside", money(wallet.available()), money(wallet.held)));
        }
    }
}

impl Funds {
    const fn new(status: Status, of: Option<Of>, since: Moment) -> Self {
        Self { status, of, credits: BTreeMap::new(), since }
    }
}

impl Ledger {
    /// Each payment from a wallet, and what was done there: taken is captured, let go is voided, given back is refunded.
    pub(super) fn check_funds(&self, grace: Grace, findings: &mut Findings) {
        findings.checked(Check::Wallets, self.wallets.wallets.len());
        for (payment_id, payment) in self.payments.of(PROVIDER) {
            let funds = self.wallets.funds.get(payment_id);
            let mut say = |what: &str, at: Moment| {
                findings.add(Check::Wallets, payment_name(*payment_id), what.to_owned(), Some(at.position));
            };
            if let Some(captured) = &payment.captured
                && funds.is_none_or(|funds| !funds.has_taken(captured))
            {
                say("it counts as paid from a wallet, and no such money was taken there", payment.since);
            }
            let Some(funds) = funds else { continue };
            let is_late = grace.is_over(funds.since);
            if funds.status == Status::Committed && payment.captured.is_none() && is_late {
                say("its money was taken from a wallet, and it does not count as paid", funds.since);
            }
            if funds.status == Status::Held && is_late {
                say("its money is set aside in a wallet, and neither taken nor let go", funds.since);
            }
            let is_let_go = self.authorisations.is_let_go(*payment_id, &funds_name(*payment_id));
            if is_let_go && funds.status != Status::Released {
                say("its money counts as let go, and is not in its wallet again", funds.since);
            }
        }
        self.check_credits(grace, findings);
    }

    /// Each refund to a wallet has its credit, and each credit its refund.
    fn check_credits(&self, grace: Grace, findings: &mut Findings) {
        for (refund_id, refund) in &self.refunds.refunds {
            let is_paid_out = refund.standing == Standing::Refunded && !refund.by_hand;
            if refund.provider != PROVIDER || !is_paid_out {
                continue;
            }
            let credit = self.wallets.funds.get(&refund.payment_id).and_then(|funds| funds.credits.get(refund_id));
            let amount = refund.amount.as_ref().map_or(0, |amount| amount.minor_units);
            if credit.is_none_or(|(credited, _)| *credited != amount) {
                let what = "it counts as paid out, and its money is not in the wallet again".to_owned();
                findings.add(Check::Wallets, refund_name(*refund_id), what, Some(refund.since.position));
            }
        }
        for funds in self.wallets.funds.values() {
            for (refund_id, (_, since)) in funds.credits.iter().filter(|(_, (_, since))| grace.is_over(*since)) {
                let refund = self.refunds.refunds.get(refund_id);
                if refund.is_none_or(|refund| refund.standing != Standing::Refunded) {
                    let what = "its money is in the wallet again, and it does not count as paid out".to_owned();
                    findings.add(Check::Wallets, refund_name(*refund_id), what, Some(since.position));
                }
            }
        }
    }
}

fn wrong(payment_id: PaymentId, what: String, at: Moment, findings: &mut Findings) {
    findings.add(Check::Wallets, funds_name(payment_id), what, Some(at.position));
}
