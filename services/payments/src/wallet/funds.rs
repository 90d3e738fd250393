//! Money of a wallet that is set aside for one payment: held, then taken or let go, once; what was taken may go back, refund by refund.
//!
//! | asked   | nothing yet         | held      | committed             | released  | rejected  |
//! |---------|---------------------|-----------|-----------------------|-----------|-----------|
//! | hold    | held, or rejected   | -         | -                     | refuses   | refuses   |
//! | commit  | refuses             | committed | -                     | refuses   | refuses   |
//! | release | released            | released  | refuses               | -         | -         |
//! | credit  | refuses             | refuses   | credited, or refuses  | refuses   | refuses   |
//!
//! `-`: it is so already. It is the machine of every hold ([`domain::hold`]). Only what is no step of it is refused in words instead of
//! reported as a defect: whoever asks is the adapter, a client as any other, and learns by the refusal what was done before. That a refused
//! hold stays refused, also after a top-up, makes a command harmless that the broker has kept for long.

use std::collections::BTreeMap;

use domain::{
    DecideError, Money, PaymentId, RefundId, Rejection, Revised, StreamVersion, WalletId,
    hold::{Request, Status, Step, step},
};
use serde::Serialize;

use super::check_enough;
use crate::{
    event::{StreamId, WalletEvent, WalletOf},
    payment::State,
};

/// What is set aside for a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Funds {
    /// Where it stands.
    pub status: Status,
    /// Of which wallet. `None`: it was released before it was asked for, so nobody has said.
    pub wallet_id: Option<WalletId>,
    /// Whose that is; empty if nobody has said.
    pub customer_id: String,
    /// How much.
    pub amount: Option<Money>,
    /// What of it went back, in minor units, by refund.
    pub credits: BTreeMap<RefundId, i64>,
    /// Events of its stream.
    pub version: StreamVersion,
}

impl Revised for Funds {
    type Revision = StreamVersion;

    fn revision(&self) -> StreamVersion {
        self.version
    }

    fn weight(&self) -> usize {
        1 + self.credits.len()
    }
}

impl Funds {
    pub(super) fn new(status: Status, of: Option<WalletOf>) -> Self {
        Self {
            status,
            wallet_id: of.as_ref().map(|of| of.wallet_id),
            amount: of.as_ref().map(|of| of.amount),
            customer_id: of.map(|of| of.customer_id).unwrap_or_default(),
            credits: BTreeMap::new(),
            version: StreamVersion::FIRST,
        }
    }

    /// What an event changes that is not the first of its stream.
    pub(super) fn apply(&mut self, event: &WalletEvent) {
        self.version = self.version.next();
        match event {
            WalletEvent::Committed { .. } => self.status = Status::Committed,
            WalletEvent::Released { .. } => self.status = Status::Released,
            WalletEvent::Credited { refund_id, of, .. } => {
                self.credits.insert(*refund_id, of.amount.minor_units);
            }
            WalletEvent::ToppedUp { .. }
            | WalletEvent::WithdrawnFrom { .. }
            | WalletEvent::Held { .. }
            | WalletEvent::Rejected { .. } => {}
        }
    }

    /// What is set aside, of a wallet that is known.
    fn of(&self) -> Option<WalletOf> {
        let (wallet_id, amount) = self.wallet_id.zip(self.amount)?;
        Some(WalletOf { wallet_id, customer_id: self.customer_id.clone(), amount })
    }
}

/// Sets money aside if there is enough.
pub(super) fn hold(
    state: &State,
    payment_id: PaymentId,
    customer_id: &str,
    amount: Money,
) -> Result<Vec<WalletEvent>, DecideError> {
    let wallet_id = WalletId::of(customer_id, amount.currency);
    let of = WalletOf { wallet_id, customer_id: customer_id.to_owned(), amount };
    match (step(status(state, payment_id), Request::Hold), status(state, payment_id)) {
        (Step::Try, _) => Ok(vec![match check_enough(state, &of) {
            Ok(()) => WalletEvent::Held { payment_id, of },
            Err(rejection) => WalletEvent::Rejected { payment_id, of, rejection },
        }]),
        (Step::Nothing, Some(Status::Held | Status::Committed)) => {
            let known = known(state, payment_id)?;
            if known == of {
                return Ok(vec![]);
            }
            let WalletOf { customer_id, amount, .. } = known;
            let reason =
                format!("for payment {payment_id} {amount} of {customer_id:?} are set aside, not {}", of.amount);
            Err(Rejection::new("WRONG_STATE", reason).into())
        }
        (Step::Nothing | Step::Become(_) | Step::Broken, _) => Err(refused(state, payment_id, "set aside")),
    }
}

/// Takes what is set aside.
pub(super) fn commit(state: &State, payment_id: PaymentId) -> Result<Vec<WalletEvent>, DecideError> {
    match step(status(state, payment_id), Request::Commit) {
        Step::Become(Status::Committed) => {
            Ok(vec![WalletEvent::Committed { payment_id, of: known(state, payment_id)? }])
        }
        Step::Nothing => Ok(vec![]),
        Step::Try | Step::Become(Status::Held | Status::Released | Status::Rejected) | Step::Broken => {
            Err(refused(state, payment_id, "taken"))
        }
    }
}

/// Lets go what is set aside.
pub(super) fn release(state: &State, payment_id: PaymentId) -> Result<Vec<WalletEvent>, DecideError> {
    match (step(status(state, payment_id), Request::Release), status(state, payment_id)) {
        (Step::Become(Status::Released), None) => Ok(vec![WalletEvent::Released { payment_id, of: None }]),
        (Step::Become(Status::Released), Some(_)) => {
            Ok(vec![WalletEvent::Released { payment_id, of: Some(known(state, payment_id)?) }])
        }
        (Step::Nothing, _) => Ok(vec![]),
        (Step::Try | Step::Become(Status::Held | Status::Committed | Status::Rejected) | Step::Broken, _) => {
            Err(refused(state, payment_id, "let go"))
        }
    }
}

/// Gives back what was taken, at most all of it, and of each refund once.
pub(super) fn credit(
    state: &State,
    payment_id: PaymentId,
    refund_id: RefundId,
    amount: Money,
) -> Result<Vec<WalletEvent>, DecideError> {
    let taken = state.funds.get(&payment_id).filter(|funds| funds.status == Status::Committed);
    let Some(funds) = taken else {
        let reason = format!("no money was taken for payment {payment_id}, so none of it can go back");
        return Err(Rejection::new("NOT_PAID", reason).into());
    };
    let of = known(state, payment_id)?;
    if of.amount.currency != amount.currency {
        let reason = format!("{} were taken for payment {payment_id}, and {amount} are to go back", of.amount);
        return Err(Rejection::new("WRONG_CURRENCY", reason).into());
    }
    match funds.credits.get(&refund_id) {
        Some(credited) if *credited == amount.minor_units => return Ok(vec![]),
        Some(credited) => {
            let credited = Money { minor_units: *credited, ..amount };
            let reason = format!("{credited} have gone back by refund {refund_id}, not {amount}");
            return Err(Rejection::new("REFUND_EXISTS", reason).into());
        }
        None => {}
    }
    let left = of.amount.minor_units - funds.credits.values().sum::<i64>();
    if amount.minor_units > left {
        let left = Money { minor_units: left, ..amount };
        let reason = format!("of the {} of payment {payment_id} {left} are left, less than {amount}", of.amount);
        return Err(Rejection::new("REFUND_EXCEEDS_PAYMENT", reason).into());
    }
    Ok(vec![WalletEvent::Credited { payment_id, refund_id, of: WalletOf { amount, ..of } }])
}

fn status(state: &State, payment_id: PaymentId) -> Option<Status> {
    state.funds.get(&payment_id).map(|funds| funds.status)
}

/// What is set aside or was taken, of a wallet that is there.
fn known(state: &State, payment_id: PaymentId) -> Result<WalletOf, DecideError> {
    let of = state.funds.get(&payment_id).and_then(Funds::of);
    of.filter(|of| state.wallets.get(&of.wallet_id).is_some()).ok_or_else(|| DecideError::Broken {
        stream: StreamId::Funds(payment_id).to_string(),
        what: "money is set aside without its wallet".to_owned(),
    })
}

fn refused(state: &State, payment_id: PaymentId, what: &str) -> DecideError {
    let reason = match status(state, payment_id) {
        None => format!("no money is set aside for payment {payment_id}, so none can be {what}"),
        Some(status) => {
            format!("the money for payment {payment_id} is {} already, and cannot be {what}", status.as_str())
        }
    };
    Rejection::new("WRONG_STATE", reason).into()
}
