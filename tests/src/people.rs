//! What people do about an order, by chance.

use proto::{
    Message, Name,
    common::v1::{Money, ProductQuantity},
    orders::v1::{CancelOrder, PlaceOrder, ReinstateOrder, RequestRefund},
    well_known,
};
use rand::{Rng, rngs::StdRng};

/// What a buyer or an operator does about an order later on: a command's full type name, and its bytes.
pub fn second_thought(rng: &mut StdRng, order: &PlaceOrder) -> (String, Vec<u8>) {
    let order_id = order.order_id.clone();
    let (actor, note) = ("buyer".to_owned(), "changed my mind".to_owned());
    let refund =
        RequestRefund { order_id: order_id.clone(), actor: actor.clone(), note: note.clone(), ..Default::default() };
    match rng.random_range(0..6) {
        0 => command(&CancelOrder { order_id, actor, note, expected_version: 0 }),
        1 => {
            let time_to_pay = Some(well_known::Duration { seconds: rng.random_range(5..60), nanos: 0 });
            command(&ReinstateOrder { order_id, actor, note, time_to_pay, expected_version: 0 })
        }
        2 => command(&refund),
        3 => {
            let amount = Money { minor_units: rng.random_range(1..900), currency: currency(order) };
            command(&RequestRefund { amount: Some(amount), ..refund })
        }
        4 => command(&RequestRefund { return_shares: true, ..refund }),
        _ => {
            let lines = order.lines.first().map(|line| ProductQuantity { sku: line.sku.clone(), quantity: 1 });
            command(&RequestRefund { lines: lines.into_iter().collect(), ..refund })
        }
    }
}

/// What the order is in.
fn currency(order: &PlaceOrder) -> String {
    let of_lines = order.lines.first().and_then(|line| line.unit_price.as_ref());
    let of_shares = order.shares.as_ref().and_then(|shares| shares.unit_price.as_ref());
    of_lines.or(of_shares).map(|price| price.currency.clone()).unwrap_or_default()
}

fn command<M: Message + Name>(command: &M) -> (String, Vec<u8>) {
    (M::full_name(), command.encode_to_vec())
}
