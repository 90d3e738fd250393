//! The six kinds of rows that can be replayed.

use domain::{
    CouponCode, Currency, Decider, OrderId, PaymentId, Rejection, RoundId, Sku, StreamVersion, Table, WalletId, hold,
};
use inventory::{
    event::{Event as InventoryEvent, StreamId as InventoryStream},
    stock::{State as InventoryState, Stock},
};
use orders::{
    event::Event as OrderEvent,
    order::{Order, State as OrderState},
};
use payments::{
    coupon::Coupon,
    event::{Event as PaymentEvent, StreamId as PaymentStream},
    payment::{Payment, State as PaymentState},
    wallet::Wallet,
};
use rounds::{
    event::{Event as RoundEvent, StreamId as RoundStream},
    round::{Round, State as RoundState},
};

use super::projection::{About, Projection};

type Payments = payments::Payments;

/// Products and their pieces.
pub(crate) struct StockRows;

impl Projection for StockRows {
    const SERVICE: &'static str = inventory::Inventory::NAME;
    const CATEGORIES: &'static [&'static str] = &["product", "stock"];
    const KEY: &'static str = "sku";
    const FIGURES: &'static [&'static str] =
        &["on_hand", "available", "held", "received", "adjusted", "committed", "returned"];

    type Event = InventoryEvent;
    type State = InventoryState;
    type Key = Sku;
    type Row = Stock;

    fn read_key(text: &str) -> Result<Sku, Rejection> {
        Sku::parse(text)
    }

    fn read(message_type: &str, data: &[u8]) -> Result<InventoryEvent, Rejection> {
        inventory::Inventory::decode_event(message_type, data)
    }

    fn evolve(state: &mut InventoryState, event: &InventoryEvent) {
        inventory::Inventory::evolve(state, event);
    }

    /// Every event says what it moves, so no hold is needed.
    fn forget(state: &mut InventoryState, event: &InventoryEvent) {
        if let InventoryStream::Hold(key) = event.owner() {
            state.holds.take(&key);
        }
    }

    fn rows(state: &InventoryState) -> &Table<Sku, Stock> {
        &state.stock
    }

    fn owner(event: &InventoryEvent) -> Option<Sku> {
        if let InventoryStream::Product(sku) = event.owner() { Some(sku.clone()) } else { None }
    }

    fn touches(event: &InventoryEvent) -> Vec<Sku> {
        let moved = event.lines().into_iter().flat_map(|lines| lines.keys()).cloned();
        Self::owner(event).into_iter().chain(moved).collect()
    }

    fn version(row: &Stock) -> StreamVersion {
        row.version
    }

    fn status(_row: &Stock) -> Option<&'static str> {
        None
    }

    fn figures(row: &Stock) -> Vec<i64> {
        vec![row.on_hand(), row.available(), row.held, row.received, row.adjusted, row.committed, row.returned]
    }

    fn currency(_row: &Stock) -> Option<Currency> {
        None
    }

    fn about(event: &InventoryEvent, _row: &Stock) -> About {
        match event.owner() {
            InventoryStream::Hold(key) => About::order(key.order_id),
            InventoryStream::Product(_) => About::default(),
        }
    }
}

/// Rounds and their shares.
pub(crate) struct ShareRows;

impl Projection for ShareRows {
    const SERVICE: &'static str = rounds::Rounds::NAME;
    const CATEGORIES: &'static [&'static str] = &["round", "shares"];
    const KEY: &'static str = "round_id";
    const FIGURES: &'static [&'static str] = &["available", "held", "sold", "refunding"];

    type Event = RoundEvent;
    type State = RoundState;
    type Key = RoundId;
    type Row = Round;

    fn read_key(text: &str) -> Result<RoundId, Rejection> {
        RoundId::parse(text)
    }

    fn read(message_type: &str, data: &[u8]) -> Result<RoundEvent, Rejection> {
        rounds::Rounds::decode_event(message_type, data)
    }

    fn evolve(state: &mut RoundState, event: &RoundEvent) {
        rounds::Rounds::evolve(state, event);
    }

    /// A failed round counts the shares of those whom it names, so holds are needed until they can be named no more.
    fn forget(state: &mut RoundState, event: &RoundEvent) {
        let RoundStream::Hold(key) = event.owner() else { return };
        let is_over = state.holds.get(&key).is_some_and(|held| match held.status {
            hold::Status::Released | hold::Status::Rejected => true,
            hold::Status::Committed => held.returned_by.is_some(),
            hold::Status::Held => false,
        });
        if is_over {
            state.holds.take(&key);
        }
    }

    fn rows(state: &RoundState) -> &Table<RoundId, Round> {
        &state.rounds
    }

    fn owner(event: &RoundEvent) -> Option<RoundId> {
        if let RoundStream::Round(round_id) = event.owner() { Some(round_id) } else { None }
    }

    fn touches(event: &RoundEvent) -> Vec<RoundId> {
        let rounds = event.touches().into_iter().filter_map(|touched| match touched {
            RoundStream::Round(round_id) => Some(round_id),
            RoundStream::Hold(_) => None,
        });
        rounds.collect()
    }

    fn version(row: &Round) -> StreamVersion {
        row.version
    }

    fn status(row: &Round) -> Option<&'static str> {
        Some(row.status.as_str())
    }

    fn figures(row: &Round) -> Vec<i64> {
        vec![row.offer.total_shares - row.sold - row.held, row.held, row.sold, row.refunding]
    }

    fn currency(_row: &Round) -> Option<Currency> {
        None
    }

    fn about(event: &RoundEvent, _row: &Round) -> About {
        match event.owner() {
            RoundStream::Hold(key) => About::order(key.order_id),
            RoundStream::Round(_) => About::default(),
        }
    }
}

/// Orders.
pub(crate) struct OrderRows;

impl Projection for OrderRows {
    const SERVICE: &'static str = orders::Orders::NAME;
    const CATEGORIES: &'static [&'static str] = &["order"];
    const KEY: &'static str = "order_id";
    const FIGURES: &'static [&'static str] = &["captured_minor", "refunded_minor"];

    type Event = OrderEvent;
    type State = OrderState;
    type Key = OrderId;
    type Row = Order;

    fn read_key(text: &str) -> Result<OrderId, Rejection> {
        OrderId::parse(text)
    }

    fn read(message_type: &str, data: &[u8]) -> Result<OrderEvent, Rejection> {
        orders::Orders::decode_event(message_type, data)
    }

    fn evolve(state: &mut OrderState, event: &OrderEvent) {
        orders::Orders::evolve(state, event);
    }

    /// An order's own row keeps its reference.
    fn forget(state: &mut OrderState, event: &OrderEvent) {
        if let OrderEvent::OrderPlaced { terms, .. } = event
            && let Some(reference) = &terms.reference
        {
            state.references.take(reference);
        }
    }

    fn rows(state: &OrderState) -> &Table<OrderId, Order> {
        &state.orders
    }

    fn owner(event: &OrderEvent) -> Option<OrderId> {
        Some(event.order_id())
    }

    fn touches(event: &OrderEvent) -> Vec<OrderId> {
        vec![event.order_id()]
    }

    fn version(row: &Order) -> StreamVersion {
        row.version
    }

    fn status(row: &Order) -> Option<&'static str> {
        Some(row.status.as_str())
    }

    fn figures(row: &Order) -> Vec<i64> {
        vec![row.captured_minor, row.refunded_minor]
    }

    fn currency(row: &Order) -> Option<Currency> {
        Some(row.terms.total.currency)
    }

    fn about(event: &OrderEvent, _row: &Order) -> About {
        About::order(event.order_id())
    }
}

/// Payments and their refunds.
pub(crate) struct PaymentRows;

impl Projection for PaymentRows {
    const SERVICE: &'static str = <Payments>::NAME;
    const CATEGORIES: &'static [&'static str] = &["payment"];
    const KEY: &'static str = "payment_id";
    const FIGURES: &'static [&'static str] = &["captured_minor", "refunded_minor", "refunding_minor"];

    type Event = PaymentEvent;
    type State = PaymentState;
    type Key = PaymentId;
    type Row = Payment;

    fn read_key(text: &str) -> Result<PaymentId, Rejection> {
        PaymentId::parse(text)
    }

    fn read(message_type: &str, data: &[u8]) -> Result<PaymentEvent, Rejection> {
        <Payments>::decode_event(message_type, data)
    }

    fn evolve(state: &mut PaymentState, event: &PaymentEvent) {
        <Payments>::evolve(state, event);
    }

    fn forget(_state: &mut PaymentState, _event: &PaymentEvent) {}

    fn rows(state: &PaymentState) -> &Table<PaymentId, Payment> {
        &state.payments
    }

    fn owner(event: &PaymentEvent) -> Option<PaymentId> {
        if let PaymentStream::Payment(payment_id) = event.owner() { Some(payment_id) } else { None }
    }

    fn touches(event: &PaymentEvent) -> Vec<PaymentId> {
        Self::owner(event).into_iter().collect()
    }

    fn version(row: &Payment) -> StreamVersion {
        row.version
    }

    fn status(row: &Payment) -> Option<&'static str> {
        Some(row.status.as_str())
    }

    fn figures(row: &Payment) -> Vec<i64> {
        vec![row.captured_minor, row.refunded_minor, row.refunding_minor]
    }

    fn currency(row: &Payment) -> Option<Currency> {
        row.terms.as_ref().map(|terms| terms.amount.currency)
    }

    fn about(event: &PaymentEvent, row: &Payment) -> About {
        About { order_id: row.key.map(|key| key.order_id), payment_id: Self::owner(event) }
    }
}

/// Coupons and their uses.
pub(crate) struct CouponRows;

impl Projection for CouponRows {
    const SERVICE: &'static str = <Payments>::NAME;
    const CATEGORIES: &'static [&'static str] = &["coupon", "use"];
    const KEY: &'static str = "coupon_code";
    const FIGURES: &'static [&'static str] = &["held", "redeemed"];

    type Event = PaymentEvent;
    type State = PaymentState;
    type Key = CouponCode;
    type Row = Coupon;

    fn read_key(text: &str) -> Result<CouponCode, Rejection> {
        CouponCode::parse(text)
    }

    fn read(message_type: &str, data: &[u8]) -> Result<PaymentEvent, Rejection> {
        <Payments>::decode_event(message_type, data)
    }

    fn evolve(state: &mut PaymentState, event: &PaymentEvent) {
        <Payments>::evolve(state, event);
    }

    /// Every event says which coupon it counts with, so neither what an order holds nor what a customer has used is needed.
    fn forget(state: &mut PaymentState, event: &PaymentEvent) {
        let PaymentEvent::Coupon(event) = event else { return };
        if let PaymentStream::Use(key) = event.owner() {
            state.uses.take(&key);
        }
        if let Some(of) = event.moves() {
            state.customers.take(&(of.code.clone(), of.customer_id.clone()));
        }
    }

    fn rows(state: &PaymentState) -> &Table<CouponCode, Coupon> {
        &state.coupons
    }

    fn owner(event: &PaymentEvent) -> Option<CouponCode> {
        if let PaymentStream::Coupon(code) = event.owner() { Some(code) } else { None }
    }

    fn touches(event: &PaymentEvent) -> Vec<CouponCode> {
        let moved = if let PaymentEvent::Coupon(event) = event { event.moves() } else { None };
        Self::owner(event).into_iter().chain(moved.map(|of| of.code.clone())).collect()
    }

    fn version(row: &Coupon) -> StreamVersion {
        row.version
    }

    fn status(row: &Coupon) -> Option<&'static str> {
        Some(row.status.as_str())
    }

    fn figures(row: &Coupon) -> Vec<i64> {
        vec![row.held, row.redeemed]
    }

    fn currency(_row: &Coupon) -> Option<Currency> {
        None
    }

    fn about(event: &PaymentEvent, _row: &Coupon) -> About {
        if let PaymentStream::Use(key) = event.owner() { About::order(key.order_id) } else { About::default() }
    }
}

/// Wallets and their money.
pub(crate) struct WalletRows;

impl Projection for WalletRows {
    const SERVICE: &'static str = <Payments>::NAME;
    const CATEGORIES: &'static [&'static str] = &["wallet", "funds"];
    const KEY: &'static str = "wallet_id";
    const FIGURES: &'static [&'static str] = &["available", "held"];

    type Event = PaymentEvent;
    type State = PaymentState;
    type Key = WalletId;
    type Row = Wallet;

    fn read_key(text: &str) -> Result<WalletId, Rejection> {
        WalletId::parse(text)
    }

    fn read(message_type: &str, data: &[u8]) -> Result<PaymentEvent, Rejection> {
        <Payments>::decode_event(message_type, data)
    }

    fn evolve(state: &mut PaymentState, event: &PaymentEvent) {
        <Payments>::evolve(state, event);
    }

    /// Every event says what it moves, so what is set aside for a payment is not needed.
    fn forget(state: &mut PaymentState, event: &PaymentEvent) {
        if let PaymentStream::Funds(payment_id) = event.owner() {
            state.funds.take(&payment_id);
        }
    }

    fn rows(state: &PaymentState) -> &Table<WalletId, Wallet> {
        &state.wallets
    }

    fn owner(event: &PaymentEvent) -> Option<WalletId> {
        if let PaymentStream::Wallet(wallet_id) = event.owner() { Some(wallet_id) } else { None }
    }

    fn touches(event: &PaymentEvent) -> Vec<WalletId> {
        let owner = Self::owner(event);
        let moved = if let PaymentEvent::Wallet(event) = event { event.moves() } else { None };
        let moved = moved.map(|(of, _)| of.wallet_id).filter(|moved| owner != Some(*moved));
        owner.into_iter().chain(moved).collect()
    }

    fn version(row: &Wallet) -> StreamVersion {
        row.version
    }

    fn status(_row: &Wallet) -> Option<&'static str> {
        None
    }

    fn figures(row: &Wallet) -> Vec<i64> {
        vec![row.available, row.held]
    }

    fn currency(row: &Wallet) -> Option<Currency> {
        Some(row.currency)
    }

    fn about(event: &PaymentEvent, _row: &Wallet) -> About {
        let payment_id = if let PaymentStream::Funds(payment_id) = event.owner() { Some(payment_id) } else { None };
        About { order_id: None, payment_id }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Currency, HoldKey, Money, OrderId, RefundId, RoundId, Sku, Timestamp};
    use inventory::event::Event as InventoryEvent;
    use rounds::event::{Event as RoundEvent, Failure, Offer, Shares};
    use uuid::Uuid;

    use super::{Projection, ShareRows, StockRows};

    fn key(number: u128) -> HoldKey {
        HoldKey { order_id: OrderId(Uuid::from_u128(number)), attempt: 1 }
    }

    fn folded<P: Projection>(state: &mut P::State, events: impl IntoIterator<Item = P::Event>) {
        for event in events {
            P::evolve(state, &event);
            P::forget(state, &event);
        }
    }

    #[test]
    fn a_failed_round_counts_the_shares_of_those_whom_it_names_and_then_forgets_them() {
        let round_id = RoundId(Uuid::from_u128(1));
        let share_price = Money { minor_units: 500, currency: Currency::parse("EUR").unwrap() };
        let offer =
            Offer { prize: "bicycle".to_owned(), total_shares: 9, share_price, closes_at: Timestamp::default() };
        let shares = |count| Shares { round_id, count };
        let mut state = rounds::round::State::default();
        let events = [
            RoundEvent::RoundOpened { round_id, offer, actor: String::new(), draw: None },
            RoundEvent::SharesHeld { key: key(1), shares: shares(2) },
            RoundEvent::SharesHeld { key: key(2), shares: shares(3) },
            RoundEvent::SharesSold { key: key(1), shares: shares(2) },
            RoundEvent::SharesReleased { key: key(2), shares: Some(shares(3)) },
            RoundEvent::SharesReleased { key: key(3), shares: None },
        ];
        folded::<ShareRows>(&mut state, events);
        assert_eq!(state.holds.len(), 1, "what is released is never named");
        let (failure, participants, next_batch_at) = (Failure::NotSoldOut, vec![key(1)], None);
        let named = RoundEvent::RoundRefundsRequested { round_id, failure, participants, next_batch_at };
        folded::<ShareRows>(&mut state, [named]);
        assert_eq!(ShareRows::figures(state.rounds.get(&round_id).unwrap()), [7, 0, 2, 2]);
        let refund_id = RefundId(Uuid::from_u128(9));
        folded::<ShareRows>(&mut state, [RoundEvent::SharesReturned { key: key(1), shares: shares(2), refund_id }]);
        assert_eq!(ShareRows::figures(state.rounds.get(&round_id).unwrap()), [9, 0, 0, 0]);
        assert!(state.holds.is_empty());
    }

    #[test]
    fn of_stock_no_hold_is_kept() {
        let sku = Sku::parse("mug").unwrap();
        let lines: domain::Lines = [(sku.clone(), 2)].into();
        let (name, text, refund_id) = (String::new(), String::new, RefundId(Uuid::from_u128(9)));
        let mut state = inventory::stock::State::default();
        let events = [
            InventoryEvent::ProductRegistered { sku: sku.clone(), name, actor: text() },
            InventoryEvent::StockReceived { sku: sku.clone(), quantity: 5, reference: text(), actor: text() },
            InventoryEvent::StockHeld { key: key(1), lines: lines.clone() },
            InventoryEvent::StockCommitted { key: key(1), lines: lines.clone() },
            InventoryEvent::StockReturned { key: key(1), refund_id, lines: lines.clone() },
            InventoryEvent::StockHeld { key: key(2), lines: lines.clone() },
            InventoryEvent::StockReleased { key: key(2), lines },
        ];
        for event in events {
            folded::<StockRows>(&mut state, [event]);
            assert!(state.holds.is_empty());
        }
        assert_eq!(StockRows::figures(state.stock.get(&sku).unwrap()), [5, 5, 0, 5, 0, 2, 2]);
    }
}
