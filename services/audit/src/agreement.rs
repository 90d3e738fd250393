//! Whether the ledger and the fold say the same of an order: what the tables are compared with at the end, where both are still there.

use domain::{HoldKey, OrderId};

use super::{
    fold::Folds,
    ledger::{
        Ledger,
        keys::Keys,
        money::Payment,
        orders::{Order, Phase},
        wallets::Funds,
    },
};

/// Orders of which the one says something else than the other.
pub(super) fn disagreeing(ledger: &Ledger, folds: &Folds, keys: &Keys) -> Vec<OrderId> {
    let orders =
        ledger.orders.orders.iter().filter(|(order_id, order)| !is_order_agreed(ledger, folds, **order_id, order));
    let orders = orders.map(|(order_id, _)| *order_id);
    let (stock, shares, payments) = (&folds.inventory.state, &folds.rounds.state, &folds.payments.state);
    let holds = keys.holds.iter().filter(|key| {
        let payment_id = key.payment_id();
        let funds = payments.funds.get(&payment_id);
        let known = ledger.wallets.funds.get(&payment_id);
        let credited: Option<i128> = funds.map(|funds| funds.credits.values().map(|minor| i128::from(*minor)).sum());
        stock.holds.get(key).map(|hold| hold.status) != ledger.stock.standing(**key)
            || shares.holds.get(key).map(|hold| hold.status) != ledger.shares.standing(**key)
            || payments.uses.get(key).map(|held| held.status) != ledger.coupons.standing(**key)
            || funds.map(|funds| funds.status) != known.map(|funds| funds.status)
            || credited != known.map(Funds::credited)
            || !is_payment_agreed(ledger, folds, **key)
    });
    orders.chain(holds.map(|key| key.order_id)).collect()
}

fn is_order_agreed(ledger: &Ledger, folds: &Folds, order_id: OrderId, book: &Order) -> bool {
    let Some(order) = folds.orders.state.orders.get(&order_id) else { return false };
    let payment = book.paid_by.and_then(|payment_id| ledger.payments.payments.get(&payment_id));
    let (captured, refunded) = payment.map_or((0, 0), |payment| (payment.captured_minor(), payment.given_back));
    book.phase.fits(order.status.as_str())
        && order.released == (book.released && book.phase == Phase::Closed)
        && order.attempt == book.attempt
        && i128::from(order.captured_minor) == captured
        && i128::from(order.refunded_minor) == refunded
}

fn is_payment_agreed(ledger: &Ledger, folds: &Folds, key: HoldKey) -> bool {
    let payment_id = key.payment_id();
    let (payment, book) = (folds.payments.state.payments.get(&payment_id), ledger.payments.payments.get(&payment_id));
    let Some(payment) = payment else { return book.is_none() };
    let figures =
        [payment.captured_minor, payment.refunding_minor, payment.refunded_minor, payment.charged_back_minor()];
    let booked = [
        book.map_or(0, Payment::captured_minor),
        book.map_or(0, |book| book.promised),
        book.map_or(0, |book| book.refunded),
        ledger.payments.disputes.charged_back(payment_id),
    ];
    figures.map(i128::from) == booked
}
