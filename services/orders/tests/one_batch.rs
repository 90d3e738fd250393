//! What happens to one order within one batch: of several words about its timer the last one counts, and answers about both its holds are one.

use std::time::Duration;

use domain::Timestamp;
use orders::Orders;
use proto::{
    Message, Name,
    common::v1::{Money, ProductQuantity},
    inventory::v1::{StockHeld, StockReleased},
    orders::v1::{CancelOrder, OrderLine, PlaceOrder, ReinstateOrder, SharePurchase},
    rounds::v1::SharesHeld,
    well_known,
};
use runtime::{
    log::event_store::StoredEvent,
    simulation::{Inbox, TestInput, batch},
};
use uuid::Uuid;

fn minutes(minutes: i64) -> Option<well_known::Duration> {
    Some(well_known::Duration { seconds: minutes * 60, nanos: 0 })
}

/// An order of a mug, and of a share if so said.
fn place(order_id: &str, has_share: bool) -> PlaceOrder {
    let price = || Some(Money { minor_units: 100, currency: "EUR".to_owned() });
    let share = SharePurchase { round_id: Uuid::from_u128(8).to_string(), count: 1, unit_price: price() };
    PlaceOrder {
        order_id: order_id.to_owned(),
        customer_id: "customer-1".to_owned(),
        lines: vec![OrderLine { sku: "MUG".to_owned(), quantity: 1, unit_price: price() }],
        shares: has_share.then_some(share),
        payment_method: "sandbox:succeed".to_owned(),
        time_to_pay: minutes(5),
        ..PlaceOrder::default()
    }
}

#[test]
fn holds_that_are_confirmed_together_are_one_event_and_of_two_answers_the_wrong_one_is_found() {
    let now = Timestamp::from_micros(1_000_000_000_000_000);
    let order_id = Uuid::from_u128(7).to_string();
    let stock = StockHeld { order_id: order_id.clone(), attempt: 1, ..StockHeld::default() }.encode_to_vec();
    let shares = SharesHeld { order_id: order_id.clone(), attempt: 1, ..SharesHeld::default() }.encode_to_vec();
    let types = [PlaceOrder::full_name(), StockHeld::full_name(), SharesHeld::full_name()];
    let [place_type, stock_type, shares_type] = &types;
    let id = Uuid::from_u128;
    let done = |has_share, shares_first| {
        let command = place(&order_id, has_share).encode_to_vec();
        let mut inputs = vec![
            TestInput::Event { id: id(2), correlation_id: id(7), message_type: stock_type, data: &stock },
            TestInput::Event { id: id(3), correlation_id: id(7), message_type: shares_type, data: &shares },
        ];
        if shares_first {
            inputs.reverse();
        }
        inputs.insert(0, TestInput::Command { id: id(1), message_type: place_type, data: &command });
        let (mut state, mut inbox) = (orders::order::State::default(), Inbox::default());
        let done = batch::<Orders>(&mut state, &mut inbox, inputs, now).map_err(|(culprit, _)| culprit)?;
        let name = |event: &StoredEvent| (proto::short_name(&event.message_type).to_owned(), event.causation_id);
        Ok::<_, usize>(done.events.iter().map(name).collect::<Vec<_>>())
    };
    let reserved = |cause| Ok(vec![("OrderPlaced".to_owned(), id(1)), ("OrderReserved".to_owned(), id(cause))]);
    assert_eq!(done(true, false), reserved(3));
    assert_eq!(done(true, true), reserved(2));
    // It never asked for shares.
    assert_eq!(done(false, false), Err(2));
    assert_eq!(done(false, true), Err(1));
}

#[test]
fn an_order_that_is_cancelled_and_reinstated_in_one_batch_expires_when_its_second_time_to_pay_is_over() {
    let now = Timestamp::from_micros(1_000_000_000_000_000);
    let order_id = Uuid::from_u128(7).to_string();
    let place = place(&order_id, false);
    let (actor, note) = ("someone".to_owned(), "a slip".to_owned());
    let cancel =
        CancelOrder { order_id: order_id.clone(), actor: actor.clone(), note: note.clone(), expected_version: 0 };
    let lines = vec![ProductQuantity { sku: "MUG".to_owned(), quantity: 1 }];
    let released = StockReleased { order_id: order_id.clone(), attempt: 1, lines };
    let reinstate =
        ReinstateOrder { order_id: order_id.clone(), actor, note, time_to_pay: minutes(60), expected_version: 0 };

    let [place_type, cancel_type, released_type, reinstate_type] =
        [PlaceOrder::full_name(), CancelOrder::full_name(), StockReleased::full_name(), ReinstateOrder::full_name()];
    let [place, cancel, released, reinstate] =
        [place.encode_to_vec(), cancel.encode_to_vec(), released.encode_to_vec(), reinstate.encode_to_vec()];
    let id = Uuid::from_u128;
    let inputs = vec![
        TestInput::Command { id: id(1), message_type: &place_type, data: &place },
        TestInput::Command { id: id(2), message_type: &cancel_type, data: &cancel },
        TestInput::Event { id: id(3), correlation_id: id(7), message_type: &released_type, data: &released },
        TestInput::Command { id: id(4), message_type: &reinstate_type, data: &reinstate },
    ];
    let (mut state, mut inbox) = (orders::order::State::default(), Inbox::default());
    let done = batch::<Orders>(&mut state, &mut inbox, inputs, now).unwrap();
    let events: Vec<&str> = done.events.iter().map(|event| proto::short_name(&event.message_type)).collect();
    assert_eq!(events, ["OrderPlaced", "OrderCancelled", "OrderReleased", "OrderReinstated"]);
    let timer = done.timers[&format!("order-{order_id}")];
    assert_eq!(timer.due_at(), Some(now + Duration::from_mins(60)));
}
