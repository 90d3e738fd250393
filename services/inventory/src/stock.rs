//! The stock of products: what changes it, and what every event of inventory makes of it.

use domain::{
    DecideError, Lines, QUANTITY_MAX, Rejection, Revised, Sku, StreamVersion, Table,
    hold::{Request, Status},
};

use serde::{Deserialize, Serialize};

use crate::{
    command::Command,
    event::{Event, StreamId},
    hold::{self, Hold},
};

/// The most pieces that any total of a product may reach, so that no sum comes near the end of an `i64`.
pub const TOTAL_MAX: i64 = 1_000 * QUANTITY_MAX;

/// The rows of a batch.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Products and their stock.
    pub stock: Table<Sku, Stock>,
    /// What orders hold.
    pub holds: Table<domain::HoldKey, Hold>,
}

domain::rows!(State { stock, holds });

/// A product and its stock: totals over its life, in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// For people.
    pub name: String,
    /// Arrived.
    pub received: i64,
    /// Corrections, up and down.
    pub adjusted: i64,
    /// Sold.
    pub committed: i64,
    /// Sold and come back.
    pub returned: i64,
    /// Kept for orders that are not paid yet: the sum of all open holds.
    pub held: i64,
    /// Events of its stream. Those of holds change the stock too, but are counted with the hold.
    pub version: StreamVersion,
}

/// The state of a product's stock. A hold and its release make it what it was, and so change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockRevision {
    /// Of its stream.
    pub version: StreamVersion,
    /// What holds have sold, brought back and keep.
    pub committed: i64,
    /// As of [`Stock::returned`].
    pub returned: i64,
    /// As of [`Stock::held`].
    pub held: i64,
}

impl Revised for Stock {
    type Revision = StockRevision;

    fn revision(&self) -> StockRevision {
        let Self { committed, returned, held, version, .. } = *self;
        StockRevision { version, committed, returned, held }
    }
}

impl Stock {
    /// Pieces in the house.
    #[must_use]
    pub const fn on_hand(&self) -> i64 {
        self.received + self.adjusted - self.committed + self.returned
    }

    /// Pieces that nobody holds.
    #[must_use]
    pub const fn available(&self) -> i64 {
        self.on_hand() - self.held
    }
}

impl State {
    /// How many events the owner's stream has. 0 without its row, which the log refuses.
    #[must_use]
    pub fn version(&self, owner: StreamId<'_>) -> StreamVersion {
        match owner {
            StreamId::Product(sku) => self.stock.get(sku).map(|stock| stock.version).unwrap_or_default(),
            StreamId::Hold(key) => self.holds.get(&key).map(|hold| hold.version).unwrap_or_default(),
        }
    }
}

/// What a command causes.
///
/// # Errors
/// Business says no, or an invariant is broken.
pub fn decide(state: &State, command: &Command) -> Result<Vec<Event>, DecideError> {
    match command {
        Command::RegisterProduct { sku, name, actor } => register(state, sku, name, actor),
        Command::ReceiveStock { sku, quantity, reference, actor } => {
            let stock = known(state, sku)?;
            within_total(sku, "received", stock.received + quantity)?;
            let (sku, reference, actor) = (sku.clone(), reference.clone(), actor.clone());
            Ok(vec![Event::StockReceived { sku, quantity: *quantity, reference, actor }])
        }
        Command::AdjustStock { sku, delta, actor, reason } => {
            adjust(sku, known(state, sku)?, *delta)?;
            let (actor, reason) = (actor.clone(), reason.clone());
            Ok(vec![Event::StockAdjusted { sku: sku.clone(), delta: *delta, actor, reason }])
        }
        Command::Hold { key, lines } => hold::decide(state, *key, Request::Hold, lines),
        Command::Commit { key } => hold::decide(state, *key, Request::Commit, &Lines::new()),
        Command::Release { key } => hold::decide(state, *key, Request::Release, &Lines::new()),
        Command::Return { key, refund_id, lines } => hold::give_back(state, *key, *refund_id, lines),
    }
}

fn register(state: &State, sku: &Sku, name: &str, actor: &str) -> Result<Vec<Event>, DecideError> {
    match state.stock.get(sku) {
        None => {
            let (sku, name, actor) = (sku.clone(), name.to_owned(), actor.to_owned());
            Ok(vec![Event::ProductRegistered { sku, name, actor }])
        }
        Some(stock) if stock.name == name => Ok(vec![]),
        Some(stock) => Err(Rejection::new(
            "PRODUCT_EXISTS",
            format!("product {sku} is registered as {:?}: register {name:?} under another sku", stock.name),
        ))?,
    }
}

fn adjust(sku: &Sku, stock: &Stock, delta: i64) -> Result<(), Rejection> {
    let (on_hand, held) = (stock.on_hand(), stock.held);
    if on_hand + delta < held {
        return Err(Rejection::new(
            "WOULD_BREAK_HOLDS",
            format!(
                "adjusting product {sku} by {delta} leaves less than the {held} pieces that orders hold of the \
                 {on_hand} on hand: adjust by {} at the lowest, or cancel orders first",
                held - on_hand
            ),
        ));
    }
    within_total(sku, "adjusted", stock.adjusted + delta)
}

pub(crate) fn known<'a>(state: &'a State, sku: &Sku) -> Result<&'a Stock, Rejection> {
    state.stock.get(sku).ok_or_else(|| {
        Rejection::new("UNKNOWN_PRODUCT", format!("no product {sku} is known here: check the sku; if it was registered a moment ago, wait for the answer to that"))
    })
}

pub(crate) fn within_total(sku: &Sku, what: &str, total: i64) -> Result<(), Rejection> {
    if total.abs() > TOTAL_MAX {
        return Err(Rejection::new(
            "TOTAL_TOO_LARGE",
            format!(
                "product {sku} would reach {total} pieces {what} over its life, and {TOTAL_MAX} is the most: go on \
                 under another sku"
            ),
        ));
    }
    Ok(())
}

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::ProductRegistered { sku, name, .. } => {
            let (name, version) = (name.clone(), StreamVersion::FIRST);
            let nothing = Stock { name, received: 0, adjusted: 0, committed: 0, returned: 0, held: 0, version };
            state.stock.create(sku.clone(), nothing);
        }
        Event::StockReceived { sku, quantity, .. } => {
            if let Some(stock) = state.stock.change(sku) {
                stock.received += quantity;
                stock.version = stock.version.next();
            }
        }
        Event::StockAdjusted { sku, delta, .. } => {
            if let Some(stock) = state.stock.change(sku) {
                stock.adjusted += delta;
                stock.version = stock.version.next();
            }
        }
        Event::StockHeld { key, lines } => {
            each(state, lines, |stock, quantity| stock.held += quantity);
            state.holds.create(*key, Hold::new(Status::Held, lines.clone()));
        }
        Event::StockRejected { key, .. } => state.holds.create(*key, Hold::new(Status::Rejected, Lines::new())),
        Event::StockCommitted { key, lines } => {
            each(state, lines, |stock, quantity| {
                stock.held -= quantity;
                stock.committed += quantity;
            });
            if let Some(hold) = state.holds.change(key) {
                hold.status = Status::Committed;
                hold.version = hold.version.next();
            }
        }
        Event::StockReleased { key, lines } => {
            each(state, lines, |stock, quantity| stock.held -= quantity);
            match state.holds.change(key) {
                Some(hold) => {
                    hold.status = Status::Released;
                    hold.version = hold.version.next();
                }
                None => state.holds.create(*key, Hold::new(Status::Released, Lines::new())),
            }
        }
        Event::StockReturned { key, refund_id, lines } => {
            each(state, lines, |stock, quantity| stock.returned += quantity);
            if let Some(hold) = state.holds.change(key) {
                hold.returns.insert(*refund_id, lines.clone());
                hold.version = hold.version.next();
            }
        }
    }
}

fn each(state: &mut State, lines: &Lines, change: impl Fn(&mut Stock, i64)) {
    for (sku, quantity) in lines {
        if let Some(stock) = state.stock.change(sku) {
            change(stock, *quantity);
        }
    }
}

/// Words for the specs of this crate.
#[cfg(test)]
pub(crate) mod spec {
    use domain::{HoldKey, Lines, OrderId, RefundId, Sku, Timestamp, spec::Spec};
    use uuid::Uuid;

    use super::State;
    use crate::{Inventory, command::Command, event::Event};

    impl Spec for State {
        type Rules = Inventory;

        fn time_of(&self, _command: &Command) -> Timestamp {
            Timestamp::default()
        }
    }

    pub(crate) fn given(events: &[Event]) -> State {
        State::given(events)
    }

    pub(crate) fn sku(text: &str) -> Sku {
        Sku::parse(text).unwrap()
    }

    pub(crate) fn lines(lines: &[(&str, i64)]) -> Lines {
        lines.iter().map(|(text, quantity)| (sku(text), *quantity)).collect()
    }

    pub(crate) fn order(attempt: i32) -> HoldKey {
        HoldKey { order_id: OrderId(Uuid::from_u128(7)), attempt }
    }

    pub(crate) fn refund(id: u128) -> RefundId {
        RefundId(Uuid::from_u128(id))
    }

    pub(crate) fn registered(text: &str) -> Event {
        Event::ProductRegistered { sku: sku(text), name: text.to_uppercase(), actor: "ann".to_owned() }
    }

    pub(crate) fn received(text: &str, quantity: i64) -> Event {
        Event::StockReceived { sku: sku(text), quantity, reference: "note 1".to_owned(), actor: "ann".to_owned() }
    }

    pub(crate) fn held(pieces: &[(&str, i64)]) -> Event {
        Event::StockHeld { key: order(1), lines: lines(pieces) }
    }
}

#[cfg(test)]
mod tests {
    use domain::{QUANTITY_MAX, spec::Spec as _};

    use super::{
        TOTAL_MAX,
        spec::{given, held, received, registered, sku},
    };
    use crate::{command::Command, event::Event};

    fn register(name: &str) -> Command {
        Command::RegisterProduct { sku: sku("mug"), name: name.to_owned(), actor: "ann".to_owned() }
    }

    fn receive(quantity: i64) -> Command {
        Command::ReceiveStock { sku: sku("mug"), quantity, reference: "note 1".to_owned(), actor: "ann".to_owned() }
    }

    fn adjust(delta: i64) -> Command {
        Command::AdjustStock { sku: sku("mug"), delta, actor: "ann".to_owned(), reason: "count".to_owned() }
    }

    fn adjusted(delta: i64) -> Event {
        Event::StockAdjusted { sku: sku("mug"), delta, actor: "ann".to_owned(), reason: "count".to_owned() }
    }

    #[test]
    fn registers_a_new_product() {
        assert_eq!(given(&[]).when(&register("MUG")), Ok(vec![registered("mug")]));
    }

    #[test]
    fn registering_again_with_the_same_name_changes_nothing() {
        assert_eq!(given(&[registered("mug")]).when(&register("MUG")), Ok(vec![]));
    }

    #[test]
    fn refuses_another_name_for_a_product() {
        assert_eq!(given(&[registered("mug")]).refuses(&register("cup"), &["mug", "MUG", "cup"]), "PRODUCT_EXISTS");
    }

    #[test]
    fn adds_what_arrives() {
        let state = given(&[registered("mug"), received("mug", 2), received("mug", 3)]);
        assert_eq!(state.stock.get(&sku("mug")).unwrap().on_hand(), 5);
        assert_eq!(state.when(&receive(4)), Ok(vec![received("mug", 4)]));
    }

    #[test]
    fn refuses_to_receive_an_unknown_product() {
        assert_eq!(given(&[]).refuses(&receive(1), &["mug"]), "UNKNOWN_PRODUCT");
    }

    #[test]
    fn refuses_to_receive_beyond_the_largest_total() {
        let mut events = vec![registered("mug")];
        events.extend((0..TOTAL_MAX / QUANTITY_MAX).map(|_| received("mug", QUANTITY_MAX)));
        assert_eq!(given(&events).refuses(&receive(1), &["mug", "1000000000001", "received"]), "TOTAL_TOO_LARGE");
    }

    #[test]
    fn corrects_up_and_down_to_what_is_held() {
        let state = given(&[registered("mug"), received("mug", 10), held(&[("mug", 4)])]);
        assert_eq!(state.when(&adjust(5)), Ok(vec![adjusted(5)]));
        assert_eq!(state.when(&adjust(-6)), Ok(vec![adjusted(-6)]));
        let after = given(&[registered("mug"), received("mug", 10), held(&[("mug", 4)]), adjusted(-6)]);
        assert_eq!(after.stock.get(&sku("mug")).unwrap().available(), 0);
    }

    #[test]
    fn refuses_to_take_away_what_orders_hold() {
        let state = given(&[registered("mug"), received("mug", 10), held(&[("mug", 4)])]);
        assert_eq!(state.refuses(&adjust(-7), &["mug", "-7", "4 pieces", "10 on hand", "-6"]), "WOULD_BREAK_HOLDS");
    }

    #[test]
    fn refuses_to_take_away_what_is_not_there() {
        assert_eq!(given(&[registered("mug")]).refuses(&adjust(-1), &["mug"]), "WOULD_BREAK_HOLDS");
    }

    #[test]
    fn refuses_to_adjust_an_unknown_product() {
        assert_eq!(given(&[]).refuses(&adjust(1), &["mug"]), "UNKNOWN_PRODUCT");
    }

    #[test]
    fn refuses_to_adjust_beyond_the_largest_total() {
        let mut events = vec![registered("mug")];
        events.extend((0..TOTAL_MAX / QUANTITY_MAX).map(|_| adjusted(QUANTITY_MAX)));
        assert_eq!(given(&events).refuses(&adjust(1), &["mug", "adjusted"]), "TOTAL_TOO_LARGE");
    }

    #[test]
    fn an_adjustment_counts_in_the_stream_of_its_product_and_a_hold_does_not() {
        let state = given(&[registered("mug"), received("mug", 10), held(&[("mug", 4)]), adjusted(1)]);
        assert_eq!(state.stock.get(&sku("mug")).unwrap().version.get(), 3);
    }
}
