//! The rows that commands touch, as each service locks them before it decides: whoever wants one of them too waits.

use domain::{CouponCode, HoldKey, OrderId, PaymentId, RoundId, Sku, WalletId};
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use providers::Provider;
use rounds::Rounds;
use runtime::service::Service;

/// A row, by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Order(OrderId),
    Product(Sku),
    Round(RoundId),
    Hold(HoldKey),
    Payment(PaymentId),
    /// With what its customers have used of it.
    Coupon(CouponCode),
    Wallet(WalletId),
    /// What is set aside for a payment.
    Funds(PaymentId),
}

/// A service that locks rows.
pub(crate) trait Locks: Service<State: Clone, Command: Clone> {
    /// What a command touches in this world. A row may be one that is not there yet: two who make it meet at its key.
    fn touches(state: &Self::State, command: &Self::Command) -> Vec<Row>;
}

impl Locks for Orders {
    fn touches(_state: &Self::State, command: &Self::Command) -> Vec<Row> {
        vec![Row::Order(command.order_id())]
    }
}

impl Locks for Inventory {
    fn touches(state: &Self::State, command: &Self::Command) -> Vec<Row> {
        use inventory::command::Command;
        let (key, lines) = match command {
            Command::RegisterProduct { sku, .. }
            | Command::ReceiveStock { sku, .. }
            | Command::AdjustStock { sku, .. } => return vec![Row::Product(sku.clone())],
            Command::Hold { key, lines } => (key, Some(lines)),
            Command::Commit { key } | Command::Release { key } | Command::Return { key, .. } => (key, None),
        };
        let held = state.holds.get(key).map(|hold| &hold.lines);
        let products = lines.into_iter().chain(held).flat_map(|lines| lines.keys().cloned().map(Row::Product));
        products.chain([Row::Hold(*key)]).collect()
    }
}

impl Locks for Rounds {
    fn touches(state: &Self::State, command: &Self::Command) -> Vec<Row> {
        use rounds::command::Command;
        let (key, round_id) = match command {
            // The buyers that are next are only taken where nobody has them: whoever has one has its round.
            Command::OpenRound { round_id, .. }
            | Command::CloseRound { round_id, .. }
            | Command::CancelRound { round_id, .. }
            | Command::Advance { round_id }
            | Command::Draw { round_id, .. } => return vec![Row::Round(*round_id)],
            Command::Hold { key, purchase } => (key, Some(purchase.round_id)),
            Command::Commit { key } | Command::Release { key } | Command::Return { key, .. } => (key, None),
        };
        let held = state.holds.get(key).and_then(|hold| hold.round_id);
        round_id.into_iter().chain(held).map(Row::Round).chain([Row::Hold(*key)]).collect()
    }
}

impl<P: Provider> Locks for Payments<P> {
    fn touches(state: &Self::State, command: &Self::Command) -> Vec<Row> {
        use payments::command::{Command, CouponCommand};
        if let Command::Wallet(command) = command {
            return of_wallet(state, command);
        }
        let Command::Coupon(command) = command else {
            return command.payment_id().map(Row::Payment).into_iter().collect();
        };
        let (key, code) = match command {
            CouponCommand::Open { code, .. } | CouponCommand::Close { code, .. } => {
                return vec![Row::Coupon(code.clone())];
            }
            CouponCommand::Hold { key, purchase } => (key, Some(purchase.code.clone())),
            CouponCommand::Redeem { key } | CouponCommand::Release { key } => (key, None),
        };
        let held = state.uses.get(key).and_then(|held| held.code.clone());
        code.into_iter().chain(held).map(Row::Coupon).chain([Row::Hold(*key)]).collect()
    }
}

fn of_wallet(state: &payments::payment::State, command: &payments::command::WalletCommand) -> Vec<Row> {
    use payments::command::WalletCommand;
    let (payment_id, wallet_id) = match command {
        WalletCommand::TopUp(movement) | WalletCommand::Withdraw(movement) => {
            return vec![Row::Wallet(movement.wallet_id())];
        }
        WalletCommand::Hold { payment_id, customer_id, amount } => {
            (payment_id, Some(WalletId::of(customer_id, amount.currency)))
        }
        WalletCommand::Commit { payment_id }
        | WalletCommand::Release { payment_id }
        | WalletCommand::Credit { payment_id, .. } => (payment_id, None),
    };
    let known = state.funds.get(payment_id).and_then(|funds| funds.wallet_id);
    wallet_id.into_iter().chain(known).map(Row::Wallet).chain([Row::Funds(*payment_id)]).collect()
}
