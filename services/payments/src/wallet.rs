//! Wallets: what customers keep here, one for each customer and currency, and what every event makes of the rows.
//!
//! `available` can be spent, `held` is set aside for payments: neither is ever below 0, and nothing is clamped. Money goes in by top-ups and
//! by credits, which are refunds; it goes out by withdrawals, and when what is set aside is taken. What becomes of money that is set aside
//! is in `wallet/funds.rs`.
//!
//! Why it is so: services/payments/README.md#a-wallet-is-a-provider

use domain::{AMOUNT_MAX, Currency, DecideError, Money, Rejection, Revised, StreamVersion, WalletId, hold::Status};
use serde::{Deserialize, Serialize};

use crate::{
    command::{Movement, WalletCommand},
    event::{Event, Moved, WalletEvent, WalletOf},
    payment::State,
};

mod funds;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod spec;

pub use funds::Funds;

/// The most that a wallet may have by top-ups, in minor units, counting what is set aside. A refund is never refused for it.
pub const BALANCE_MAX: i64 = AMOUNT_MAX;

/// A wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet {
    /// The sender's own name for the customer whose it is.
    pub customer_id: String,
    /// All of its money is in this currency.
    pub currency: Currency,
    /// What can be spent, in minor units.
    pub available: i64,
    /// What is set aside for payments: the sum of all open holds.
    pub held: i64,
    /// Events of its stream. Those of money that is set aside change it too, but are counted with that.
    pub version: StreamVersion,
}

/// The state of a wallet's money. A hold and its release make it what it was, and so change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalletRevision {
    /// Of its stream.
    pub version: StreamVersion,
    /// As of [`Wallet::available`].
    pub available: i64,
    /// As of [`Wallet::held`].
    pub held: i64,
}

impl Revised for Wallet {
    type Revision = WalletRevision;

    fn revision(&self) -> WalletRevision {
        WalletRevision { version: self.version, available: self.available, held: self.held }
    }
}

/// What a command about wallets causes.
///
/// # Errors
/// Business says no, or an invariant is broken.
pub(crate) fn decide(state: &State, command: &WalletCommand) -> Result<Vec<Event>, DecideError> {
    let events = match command {
        WalletCommand::TopUp(movement) => vec![top_up(state, movement)?],
        WalletCommand::Withdraw(movement) => vec![withdraw(state, movement)?],
        WalletCommand::Hold { payment_id, customer_id, amount } => {
            funds::hold(state, *payment_id, customer_id, *amount)?
        }
        WalletCommand::Commit { payment_id } => funds::commit(state, *payment_id)?,
        WalletCommand::Release { payment_id } => funds::release(state, *payment_id)?,
        WalletCommand::Credit { payment_id, refund_id, amount } => {
            funds::credit(state, *payment_id, *refund_id, *amount)?
        }
    };
    Ok(events.into_iter().map(Event::Wallet).collect())
}

fn top_up(state: &State, movement: &Movement) -> Result<WalletEvent, Rejection> {
    let Movement { customer_id, amount, actor, note } = movement.clone();
    let of = WalletOf { wallet_id: movement.wallet_id(), customer_id, amount };
    let has = state.wallets.get(&of.wallet_id).map_or(0, |wallet| wallet.available.saturating_add(wallet.held));
    if has.saturating_add(amount.minor_units) > BALANCE_MAX {
        let (has, most) = (Money { minor_units: has, ..amount }, Money { minor_units: BALANCE_MAX, ..amount });
        let reason =
            format!("the wallet of {:?} has {has} and may have {most}: {amount} more are too much", of.customer_id);
        return Err(Rejection::new("WALLET_LIMIT", reason));
    }
    Ok(WalletEvent::ToppedUp { of, actor, note })
}

fn withdraw(state: &State, movement: &Movement) -> Result<WalletEvent, Rejection> {
    let Movement { customer_id, amount, actor, note } = movement.clone();
    let of = WalletOf { wallet_id: movement.wallet_id(), customer_id, amount };
    if state.wallets.get(&of.wallet_id).is_none() {
        let reason = format!(
            "{:?} has no wallet in {}: check customer and currency; if it was topped up a moment ago, wait for the answer",
            of.customer_id, amount.currency
        );
        return Err(Rejection::new("UNKNOWN_WALLET", reason));
    }
    check_enough(state, &of)?;
    Ok(WalletEvent::WithdrawnFrom { of, actor, note })
}

/// The decisive check, on a locked row: whether so much can be spent.
fn check_enough(state: &State, of: &WalletOf) -> Result<(), Rejection> {
    let WalletOf { wallet_id, customer_id, amount } = of;
    let reason = match state.wallets.get(wallet_id) {
        Some(wallet) if wallet.available >= amount.minor_units => return Ok(()),
        Some(wallet) => {
            let has = Money { minor_units: wallet.available, ..*amount };
            let held = Money { minor_units: wallet.held, ..*amount };
            format!(
                "the wallet of {customer_id:?} has {has}, besides {held} set aside for payments: less than {amount}"
            )
        }
        None => format!("{customer_id:?} has no wallet in {}, so there is no {amount} in it", amount.currency),
    };
    Err(Rejection::new("INSUFFICIENT_FUNDS", reason))
}

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub(crate) fn evolve(state: &mut State, event: &WalletEvent) {
    match event {
        WalletEvent::ToppedUp { of, .. } => {
            if state.wallets.get(&of.wallet_id).is_none() {
                state.wallets.create(of.wallet_id, Wallet::new(of.customer_id.clone(), of.amount.currency));
            }
            count_event(state, of.wallet_id);
        }
        WalletEvent::WithdrawnFrom { of, .. } => count_event(state, of.wallet_id),
        WalletEvent::Held { payment_id, of } => {
            state.funds.create(*payment_id, Funds::new(Status::Held, Some(of.clone())));
        }
        WalletEvent::Rejected { payment_id, of, .. } => {
            state.funds.create(*payment_id, Funds::new(Status::Rejected, Some(of.clone())));
        }
        WalletEvent::Released { payment_id, of: None } => {
            state.funds.create(*payment_id, Funds::new(Status::Released, None));
        }
        WalletEvent::Committed { payment_id, .. }
        | WalletEvent::Released { payment_id, of: Some(_) }
        | WalletEvent::Credited { payment_id, .. } => {
            if let Some(funds) = state.funds.change(payment_id) {
                funds.apply(event);
            }
        }
    }
    if let Some((of, moved)) = event.moves() {
        move_money(state, of.wallet_id, moved);
    }
}

impl Wallet {
    const fn new(customer_id: String, currency: Currency) -> Self {
        Self { customer_id, currency, available: 0, held: 0, version: StreamVersion::new(0) }
    }
}

fn count_event(state: &mut State, wallet_id: WalletId) {
    if let Some(wallet) = state.wallets.change(&wallet_id) {
        wallet.version = wallet.version.next();
    }
}

/// Credits have no limit, so a sum that cannot be counted is the largest that can: the fold then parts from the books.
fn move_money(state: &mut State, wallet_id: WalletId, moved: Moved) {
    if let Some(wallet) = state.wallets.change(&wallet_id) {
        wallet.available = wallet.available.saturating_add(moved.available);
        wallet.held = wallet.held.saturating_add(moved.held);
    }
}
