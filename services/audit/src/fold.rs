//! Every service's events, folded by the services' own rules.

use std::collections::BTreeMap;

use domain::{CouponCode, Decider, HoldKey, RoundId, Sku, WalletId};
use runtime::{log::event_store::StoredEvent, service::is_rejection};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    causes::Asks,
    report::{Check, Findings},
};

pub(super) type Orders = orders::Orders;
pub(super) type Inventory = inventory::Inventory;
pub(super) type Rounds = rounds::Rounds;
pub(super) type Payments = payments::Payments;

/// Rows of one service, by their names.
pub(super) type RowsOf<S> = Vec<(String, <S as Decider>::Row)>;

/// Rows of all services.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) orders: RowsOf<Orders>,
    pub(super) inventory: RowsOf<Inventory>,
    pub(super) rounds: RowsOf<Rounds>,
    pub(super) payments: RowsOf<Payments>,
}

/// One service's events, folded.
pub(super) struct Fold<S: Decider> {
    pub(super) state: S::State,
    /// How many rows were let go, by the category of their names.
    gone: BTreeMap<String, u64>,
}

/// What stands before the first dash of a name.
pub(super) fn category(name: &str) -> &str {
    name.split_once('-').map_or(name, |(category, _)| category)
}

impl<S: Decider> Fold<S> {
    pub(super) fn new() -> Self {
        Self { state: S::State::default(), gone: BTreeMap::new() }
    }

    /// Makes the event true. What it asks for, and what is wrong with it.
    fn take(&mut self, event: &StoredEvent) -> (Asks, Option<String>) {
        let read = match S::decode_event(&event.message_type, &event.data) {
            Ok(read) => read,
            Err(rejection) => return (Asks::default(), Some(format!("it cannot be read: {rejection}"))),
        };
        S::evolve(&mut self.state, &read);
        let (stream, version) = S::place(&self.state, &read);
        let is_elsewhere = stream != event.stream || version != event.version;
        let wrong = is_elsewhere.then(|| {
            format!("it stands as version {} of {}, and folds as {version} of {stream}", event.version, event.stream)
        });
        (Asks::of::<S>(&read), wrong)
    }

    /// Takes these rows out, of those that are there.
    fn take_out(&mut self, names: &[String]) -> RowsOf<S> {
        names.iter().filter_map(|name| Some((name.clone(), S::take_out(&mut self.state, name)?))).collect()
    }

    /// Puts rows in, or in again.
    fn put(&mut self, rows: RowsOf<S>) {
        for (name, row) in rows {
            // They have their names from here.
            S::put(&mut self.state, &name, row).unwrap_or_default();
        }
    }

    fn let_go(&mut self, rows: &RowsOf<S>) {
        for (name, _) in rows {
            *self.gone.entry(category(name).to_owned()).or_insert(0) += 1;
        }
    }

    fn take_back(&mut self, rows: RowsOf<S>) {
        for (name, _) in &rows {
            if let Some(gone) = self.gone.get_mut(category(name)) {
                *gone = gone.saturating_sub(1);
            }
        }
        self.put(rows);
    }

    /// The rows that are in memory, and how many there are of each category with those that are not.
    pub(super) fn end(&self) -> (RowsOf<S>, BTreeMap<String, u64>) {
        let (rows, mut counts) = (S::rows(&self.state), self.gone.clone());
        for name in rows.keys() {
            *counts.entry(category(name).to_owned()).or_insert(0) += 1;
        }
        (rows.into_iter().collect(), counts)
    }
}

/// Rows that orders touch and are none of theirs, and how many there are of all others: what is kept from one audit to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    stock: Vec<(Sku, inventory::stock::Stock)>,
    rounds: Vec<(RoundId, rounds::round::Round)>,
    coupons: Vec<(CouponCode, payments::coupon::Coupon)>,
    customers: Vec<(payments::coupon::CustomerKey, payments::coupon::Customer)>,
    wallets: Vec<(WalletId, payments::wallet::Wallet)>,
    gone: [BTreeMap<String, u64>; 4],
}

/// A row as a report shows it.
pub(super) fn json<R: Serialize>(row: &R) -> Value {
    serde_json::to_value(row).unwrap_or_else(|error| Value::String(error.to_string()))
}

/// Every service's events, folded.
pub(super) struct Folds {
    pub(super) orders: Fold<Orders>,
    pub(super) inventory: Fold<Inventory>,
    pub(super) rounds: Fold<Rounds>,
    pub(super) payments: Fold<Payments>,
}

impl Folds {
    pub(super) fn new() -> Self {
        Self { orders: Fold::new(), inventory: Fold::new(), rounds: Fold::new(), payments: Fold::new() }
    }

    /// What the next audit needs of them, once all orders are let go.
    pub(super) fn keep(self) -> Kept {
        let Self { orders, inventory, rounds, payments } = self;
        let of = &payments.state;
        Kept {
            stock: inventory.state.stock.iter().map(|(sku, stock)| (sku.clone(), stock.clone())).collect(),
            rounds: rounds.state.rounds.iter().map(|(id, round)| (*id, round.clone())).collect(),
            coupons: of.coupons.iter().map(|(code, coupon)| (code.clone(), coupon.clone())).collect(),
            customers: of.customers.iter().map(|(key, uses)| (key.clone(), *uses)).collect(),
            wallets: of.wallets.iter().map(|(id, wallet)| (*id, wallet.clone())).collect(),
            gone: [orders.gone, inventory.gone, rounds.gone, payments.gone],
        }
    }

    /// As an earlier audit has left them.
    pub(super) fn restored(kept: Kept) -> Self {
        let Kept { stock, rounds, coupons, customers, wallets, gone } = kept;
        let mut folds = Self::new();
        let of = &mut folds.payments.state;
        stock.into_iter().for_each(|(sku, stock)| folds.inventory.state.stock.load(sku, stock));
        rounds.into_iter().for_each(|(id, round)| folds.rounds.state.rounds.load(id, round));
        coupons.into_iter().for_each(|(code, coupon)| of.coupons.load(code, coupon));
        customers.into_iter().for_each(|(key, uses)| of.customers.load(key, uses));
        wallets.into_iter().for_each(|(id, wallet)| of.wallets.load(id, wallet));
        [folds.orders.gone, folds.inventory.gone, folds.rounds.gone, folds.payments.gone] = gone;
        folds
    }

    /// Gives an event to the service that wrote it. What it asks for.
    pub(super) fn take(&mut self, event: &StoredEvent, findings: &mut Findings) -> Asks {
        let (asks, wrong) = match event.service.as_str() {
            _ if is_rejection(&event.message_type) => (Asks::default(), None),
            Orders::NAME => self.orders.take(event),
            Inventory::NAME => self.inventory.take(event),
            Rounds::NAME => self.rounds.take(event),
            Payments::NAME => self.payments.take(event),
            other => (Asks::default(), Some(format!("no service is called {other:?}"))),
        };
        if let Some(what) = wrong {
            findings.add(Check::Log, &event.stream, what, Some(event.position));
        }
        asks
    }

    /// Takes the rows of these names out.
    pub(super) fn take_out(&mut self, names: &[String]) -> Rows {
        Rows {
            orders: self.orders.take_out(names),
            inventory: self.inventory.take_out(names),
            rounds: self.rounds.take_out(names),
            payments: self.payments.take_out(names),
        }
    }

    /// These rows, which were taken out, are let go.
    pub(super) fn let_go(&mut self, rows: &Rows) {
        self.orders.let_go(&rows.orders);
        self.inventory.let_go(&rows.inventory);
        self.rounds.let_go(&rows.rounds);
        self.payments.let_go(&rows.payments);
    }

    /// The order of a hold that was taken back was named to be refunded, which only its round's events tell.
    pub(super) fn was_named(&mut self, key: &HoldKey) {
        if let Some(hold) = self.rounds.state.holds.change(key) {
            hold.refund_requested = true;
        }
    }

    /// Takes rows back that were let go.
    pub(super) fn take_back(&mut self, rows: Rows) {
        self.orders.take_back(rows.orders);
        self.inventory.take_back(rows.inventory);
        self.rounds.take_back(rows.rounds);
        self.payments.take_back(rows.payments);
    }
}

#[cfg(test)]
mod tests {
    use domain::{GlobalPosition, StreamVersion, Timestamp};
    use proto::{Message, Name, inventory::v1::ProductRegistered};
    use runtime::log::event_store::StoredEvent;
    use uuid::Uuid;

    use super::{Findings, Folds};

    fn registered() -> StoredEvent {
        let registered = ProductRegistered { sku: "mug".to_owned(), name: "Mug".to_owned(), actor: String::new() };
        StoredEvent {
            position: GlobalPosition::new(3),
            stream: "product-mug".to_owned(),
            version: StreamVersion::new(1),
            event_id: Uuid::from_u128(1),
            service: "inventory".to_owned(),
            message_type: ProductRegistered::full_name(),
            data: registered.encode_to_vec(),
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(2),
            traceparent: None,
            recorded_at: Timestamp::default(),
            is_handled: false,
        }
    }

    #[test]
    fn an_event_in_the_wrong_stream_or_of_no_known_type_is_found() {
        let found = |event: &StoredEvent| {
            let (mut folds, mut findings) = (Folds::new(), Findings::default());
            folds.take(event, &mut findings);
            findings.kept().first().map(|found| found.what.clone()).unwrap_or_default()
        };
        let good = registered();
        assert_eq!(found(&good), "");
        assert!(found(&StoredEvent { stream: "product-cup".to_owned(), ..good.clone() }).contains("product-mug"));
        assert!(
            found(&StoredEvent { message_type: "holdfast.inventory.v1.Gone".to_owned(), ..good.clone() })
                .contains("Gone")
        );
        assert!(found(&StoredEvent { service: "shipping".to_owned(), ..good }).contains("shipping"));
    }
}
