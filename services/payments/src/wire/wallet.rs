//! Commands and events of wallets, in both directions.

use domain::{Money, PaymentId, RefundId, Rejection, WalletId, decode, text};
use proto::{Message, Name, common::v1 as common, payments::v1 as wire};

use super::money;
use crate::{
    command::{Command, Movement, WalletCommand},
    event::{Event, WalletEvent, WalletOf},
};

/// Reads a command of this kind. `None`: it is of another.
pub(super) fn decode_command(command: &str, data: &[u8]) -> Result<Option<Command>, Rejection> {
    Ok(Some(Command::Wallet(match command {
        wire::TopUpWallet::NAME => {
            let wire::TopUpWallet { customer_id, amount, actor, note } = decode(data)?;
            WalletCommand::TopUp(movement(&customer_id, amount.as_ref(), &actor, text("note", &note, 0, 512)?)?)
        }
        wire::WithdrawFromWallet::NAME => {
            let wire::WithdrawFromWallet { customer_id, amount, actor, note } = decode(data)?;
            WalletCommand::Withdraw(movement(&customer_id, amount.as_ref(), &actor, text("note", &note, 1, 512)?)?)
        }
        wire::HoldFunds::NAME => {
            let wire::HoldFunds { payment_id, customer_id, amount } = decode(data)?;
            WalletCommand::Hold {
                payment_id: PaymentId::parse(&payment_id)?,
                customer_id: text("customer_id", &customer_id, 1, 128)?,
                amount: some(amount.as_ref())?,
            }
        }
        wire::CommitFunds::NAME => {
            let wire::CommitFunds { payment_id } = decode(data)?;
            WalletCommand::Commit { payment_id: PaymentId::parse(&payment_id)? }
        }
        wire::ReleaseFunds::NAME => {
            let wire::ReleaseFunds { payment_id } = decode(data)?;
            WalletCommand::Release { payment_id: PaymentId::parse(&payment_id)? }
        }
        wire::CreditWallet::NAME => {
            let wire::CreditWallet { payment_id, refund_id, amount } = decode(data)?;
            WalletCommand::Credit {
                payment_id: PaymentId::parse(&payment_id)?,
                refund_id: RefundId::parse(&refund_id)?,
                // It may be of a currency that was in use when the payment was paid; and of nothing, if goods came back that cost nothing.
                amount: Money::from_wire("amount", amount.as_ref())?,
            }
        }
        _ => return Ok(None),
    })))
}

fn movement(
    customer_id: &str,
    amount: Option<&common::Money>,
    actor: &str,
    note: String,
) -> Result<Movement, Rejection> {
    let (customer_id, actor) = (text("customer_id", customer_id, 1, 128)?, text("actor", actor, 1, 128)?);
    Ok(Movement { customer_id, amount: some(amount)?, actor, note })
}

/// An amount that is not nothing.
fn some(amount: Option<&common::Money>) -> Result<Money, Rejection> {
    let amount = Money::asked("amount", amount)?;
    if amount.minor_units < 1 {
        let reason = format!("amount must be at least {}, not {amount}", Money { minor_units: 1, ..amount });
        return Err(Rejection::new("INVALID_AMOUNT", reason));
    }
    Ok(amount)
}

fn of_to_wire(of: WalletOf) -> (String, String, Option<common::Money>) {
    (of.wallet_id.to_string(), of.customer_id, Some(of.amount.to_wire()))
}

/// An event's full type name and bytes.
pub(super) fn encode(event: WalletEvent) -> (&'static str, Vec<u8>) {
    match event {
        WalletEvent::ToppedUp { of, actor, note } => {
            let (wallet_id, customer_id, amount) = of_to_wire(of);
            let message = wire::WalletToppedUp { wallet_id, customer_id, amount, actor, note };
            ("holdfast.payments.v1.WalletToppedUp", message.encode_to_vec())
        }
        WalletEvent::WithdrawnFrom { of, actor, note } => {
            let (wallet_id, customer_id, amount) = of_to_wire(of);
            let message = wire::WalletWithdrawnFrom { wallet_id, customer_id, amount, actor, note };
            ("holdfast.payments.v1.WalletWithdrawnFrom", message.encode_to_vec())
        }
        WalletEvent::Held { payment_id, of } => {
            let (payment_id, (wallet_id, customer_id, amount)) = (payment_id.to_string(), of_to_wire(of));
            let message = wire::FundsHeld { payment_id, wallet_id, customer_id, amount };
            ("holdfast.payments.v1.FundsHeld", message.encode_to_vec())
        }
        WalletEvent::Rejected { payment_id, of, rejection } => {
            let (payment_id, (wallet_id, customer_id, amount)) = (payment_id.to_string(), of_to_wire(of));
            let rejection = Some(rejection.to_wire());
            let message = wire::FundsRejected { payment_id, wallet_id, customer_id, amount, rejection };
            ("holdfast.payments.v1.FundsRejected", message.encode_to_vec())
        }
        WalletEvent::Committed { payment_id, of } => {
            let (payment_id, (wallet_id, customer_id, amount)) = (payment_id.to_string(), of_to_wire(of));
            let message = wire::FundsCommitted { payment_id, wallet_id, customer_id, amount };
            ("holdfast.payments.v1.FundsCommitted", message.encode_to_vec())
        }
        WalletEvent::Released { payment_id, of } => {
            let (wallet_id, customer_id, amount) = of.map(of_to_wire).unwrap_or_default();
            let payment_id = payment_id.to_string();
            let message = wire::FundsReleased { payment_id, wallet_id, customer_id, amount };
            ("holdfast.payments.v1.FundsReleased", message.encode_to_vec())
        }
        WalletEvent::Credited { payment_id, refund_id, of } => {
            let (payment_id, refund_id) = (payment_id.to_string(), refund_id.to_string());
            let (wallet_id, customer_id, amount) = of_to_wire(of);
            let message = wire::WalletCredited { payment_id, wallet_id, customer_id, refund_id, amount };
            ("holdfast.payments.v1.WalletCredited", message.encode_to_vec())
        }
    }
}

fn of(wallet_id: &str, customer_id: String, amount: Option<common::Money>) -> Result<WalletOf, Rejection> {
    Ok(WalletOf { wallet_id: WalletId::parse(wallet_id)?, customer_id, amount: money(amount)? })
}

/// Reads an event of this kind. `None`: it is of another.
pub(super) fn decode_event(event: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    Ok(Some(Event::Wallet(match event {
        wire::WalletToppedUp::NAME => {
            let wire::WalletToppedUp { wallet_id, customer_id, amount, actor, note } = decode(data)?;
            WalletEvent::ToppedUp { of: of(&wallet_id, customer_id, amount)?, actor, note }
        }
        wire::WalletWithdrawnFrom::NAME => {
            let wire::WalletWithdrawnFrom { wallet_id, customer_id, amount, actor, note } = decode(data)?;
            WalletEvent::WithdrawnFrom { of: of(&wallet_id, customer_id, amount)?, actor, note }
        }
        wire::FundsHeld::NAME => {
            let wire::FundsHeld { payment_id, wallet_id, customer_id, amount } = decode(data)?;
            let payment_id = PaymentId::parse(&payment_id)?;
            WalletEvent::Held { payment_id, of: of(&wallet_id, customer_id, amount)? }
        }
        wire::FundsRejected::NAME => {
            let wire::FundsRejected { payment_id, wallet_id, customer_id, amount, rejection } = decode(data)?;
            let (payment_id, rejection) = (PaymentId::parse(&payment_id)?, Rejection::from_wire(rejection));
            WalletEvent::Rejected { payment_id, of: of(&wallet_id, customer_id, amount)?, rejection }
        }
        wire::FundsCommitted::NAME => {
            let wire::FundsCommitted { payment_id, wallet_id, customer_id, amount } = decode(data)?;
            let payment_id = PaymentId::parse(&payment_id)?;
            WalletEvent::Committed { payment_id, of: of(&wallet_id, customer_id, amount)? }
        }
        wire::FundsReleased::NAME => {
            let wire::FundsReleased { payment_id, wallet_id, customer_id, amount } = decode(data)?;
            let was_held = !wallet_id.is_empty();
            let of = was_held.then(|| of(&wallet_id, customer_id, amount)).transpose()?;
            WalletEvent::Released { payment_id: PaymentId::parse(&payment_id)?, of }
        }
        wire::WalletCredited::NAME => {
            let wire::WalletCredited { payment_id, wallet_id, customer_id, refund_id, amount } = decode(data)?;
            let (payment_id, refund_id) = (PaymentId::parse(&payment_id)?, RefundId::parse(&refund_id)?);
            WalletEvent::Credited { payment_id, refund_id, of: of(&wallet_id, customer_id, amount)? }
        }
        _ => return Ok(None),
    })))
}

#[cfg(test)]
mod tests;
