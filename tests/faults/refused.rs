//! Refusals that meet, in the log or in a batch: each is its own, is final, and holds nobody up.

use futures::future::join_all;
use holdfast_tests::{Order, TestFleet, code, is_accepted, reason, remedy};
use proto::{common::v1::Remedy, inventory::v1::ReceiveStock};
use sqlx::Executor;
use uuid::Uuid;

use crate::limits::counted;

fn receive(sku: &str) -> ReceiveStock {
    ReceiveStock { sku: sku.to_owned(), quantity: 1, reference: String::new(), actor: String::new() }
}

fn id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// All that any service has kept as dead letters.
pub(crate) const DEAD_LETTERS: &str =
    "select (select count(*) from orders.dead_letters) + (select count(*) from inventory.dead_letters)
    + (select count(*) from rounds.dead_letters) + (select count(*) from payments.dead_letters)";

async fn conflicts(fleet: &TestFleet, service: &str) -> u64 {
    counted(fleet, service, "holdfast_conflicts_total").await.unwrap_or(0)
}

/// A client that keeps a command's id and sends it along to another service: ReceiveStock of an unknown product, and PlaceOrder of
/// no piece, under one id. Both refused it in one stream of the log, so the second took for a race what no retry could win.
#[tokio::test]
async fn one_id_refused_by_two_services_is_judged_by_each_of_them() {
    let fleet = TestFleet::start().await.unwrap();
    let none = Order::new(1).line("MUG", 0).place;
    for (name, stock_first) in [("stock first", true), ("order first", false), ("stock first", false)] {
        let unknown = || async { fleet.client.send(id(name), &receive("NOPE")).await.unwrap() };
        let empty = || async { fleet.client.send(id(name), &none).await.unwrap() };
        let (stock, order) = match stock_first {
            true => {
                let stock = unknown().await;
                (stock, empty().await)
            }
            false => {
                let order = empty().await;
                (unknown().await, order)
            }
        };
        assert_eq!((code(&stock), code(&order)), ("UNKNOWN_PRODUCT", "INVALID_QUANTITY"), "{name}");
        // Within one service an id has one body. Its sender hears so; operators need not.
        let other = fleet.client.send(id(name), &receive("OTHER")).await.unwrap();
        assert_eq!(code(&other), "COMMAND_ID_REUSED", "{name}");
    }
    let refused = "select count(distinct stream) from log.events where type like '%.CommandRejected'";
    assert_eq!(fleet.number(refused).await.unwrap(), 4);
    assert_eq!(fleet.number(DEAD_LETTERS).await.unwrap(), 0);
    assert_eq!(conflicts(&fleet, "orders").await + conflicts(&fleet, "inventory").await, 0);
    fleet.settle_and_verify().await.unwrap();
}

/// Five such commands among 200 good orders stopped all orders for eleven minutes.
#[tokio::test]
async fn ids_that_another_service_refused_before_hold_up_no_good_order() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let shared: Vec<Uuid> = (0..5).map(|number| id(&format!("shared {number}"))).collect();
    for command_id in &shared {
        assert_eq!(code(&fleet.client.send(*command_id, &receive("NOPE")).await.unwrap()), "UNKNOWN_PRODUCT");
    }
    let good: Vec<Order> = (0..200).map(|number| Order::new(number).line("MUG", 1)).collect();
    let none = Order::new(1_000).line("MUG", 0).place;
    let bad = join_all(shared.iter().map(|command_id| fleet.client.send(*command_id, &none)));
    let (placed, bad) = tokio::join!(fleet.place_all(&good), bad);
    placed.unwrap();
    for reply in bad {
        assert_eq!(code(&reply.unwrap()), "INVALID_QUANTITY");
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 200);
    assert_eq!(fleet.number(DEAD_LETTERS).await.unwrap(), 0);
    assert_eq!(conflicts(&fleet, "orders").await, 0);
}

/// A place in the log that is taken for good: a defect, made on purpose.
async fn take_next_place(fleet: &TestFleet, stream: &str) {
    let taken = "insert into log.events (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
        select stream, version + 1, gen_random_uuid(), 'inventory', type, data, correlation_id, causation_id, now()
        from log.events where stream = $1 order by version desc limit 1";
    let mut operator = fleet.database().await.unwrap();
    operator.execute(sqlx::query(taken).bind(stream)).await.unwrap();
}

#[tokio::test]
async fn a_place_in_the_log_that_is_taken_for_good_costs_its_own_command_only() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    fleet.stock("BAD", 1).await.unwrap();
    take_next_place(&fleet, "product-BAD").await;
    let names: Vec<String> = (0..200).map(|number| format!("command {number}")).collect();
    let client = &fleet.client;
    let sending = names.iter().enumerate().map(|(number, name)| {
        let sku = if number == 77 { "BAD" } else { "MUG" };
        async move { client.send(id(name), &receive(sku)).await }
    });
    let replies = join_all(sending).await;
    let refused: Vec<usize> = (0..200).filter(|number| !is_accepted(replies[*number].as_ref().unwrap())).collect();
    assert_eq!(refused, [77]);
    // The batch lost it three times, and the culprit alone once more.
    let conflicts = conflicts(&fleet, "inventory").await;
    assert!(conflicts <= 5, "{conflicts} conflicts");
    assert_eq!(fleet.number(DEAD_LETTERS).await.unwrap(), 1);

    // The database's words are for operators.
    let reply = replies[77].as_ref().unwrap();
    assert_eq!((code(reply), remedy(reply)), ("NOT_HANDLED", Remedy::NewId));
    assert!(!reason(reply).contains("constraint") && reason(reply).contains("needs a new one"), "{reply:?}");
    let told = "select count(*) from inventory.dead_letters where reason like '%events_stream_version_key%'";
    assert_eq!(fleet.number(told).await.unwrap(), 1);

    // Mended, the refusal stays what it is; another id is another command.
    let mut operator = fleet.database().await.unwrap();
    operator.execute("update inventory.stock set version = version + 1 where sku = 'BAD'").await.unwrap();
    assert_eq!(&fleet.client.send(id("command 77"), &receive("BAD")).await.unwrap(), reply);
    assert_eq!(fleet.number("select received from inventory.stock where sku = 'BAD'").await.unwrap(), 1);
    assert_eq!(fleet.number(DEAD_LETTERS).await.unwrap(), 1);
    assert!(is_accepted(&fleet.client.send(id("another"), &receive("BAD")).await.unwrap()));
}
