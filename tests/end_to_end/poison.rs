//! A poisonous message inside a batch of 500: it alone is set aside.

use holdfast_tests::{TestFleet, code, is_accepted};
use proto::inventory::v1::{ReceiveStock, RegisterProduct};

#[tokio::test]
async fn one_poisonous_message_in_a_batch_of_500_is_set_aside_and_the_rest_proceeds() {
    let fleet = TestFleet::start().await.unwrap();
    for sku in ["MUG", "POISON"] {
        let register = RegisterProduct { sku: sku.to_owned(), name: sku.to_owned(), actor: String::new() };
        assert!(is_accepted(&fleet.send(sku, &register).await.unwrap()));
    }
    // What the deciders let through and the database does not: a defect, made on purpose.
    let mut database = fleet.database().await.unwrap();
    sqlx::query("alter table inventory.stock add constraint planted check (sku <> 'POISON' or received = 0)")
        .execute(&mut database)
        .await
        .unwrap();
    // Stopped while the commands arrive, so that they come as one batch.
    fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
    let commands: Vec<(String, ReceiveStock)> = (0..500)
        .map(|number| {
            let sku = if number == 321 { "POISON" } else { "MUG" };
            (
                number.to_string(),
                ReceiveStock { sku: sku.to_owned(), quantity: 1, reference: String::new(), actor: String::new() },
            )
        })
        .collect();
    {
        let jetstream = async_nats::jetstream::new(fleet.client.client().clone());
        let client = &fleet;
        let sending = futures::future::join_all(commands.iter().map(|(name, command)| client.send(name, command)));
        let stored = holdfast_tests::eventually("all commands are stored", || async {
            Ok(jetstream.get_stream("COMMANDS_INVENTORY").await?.cached_info().state.messages >= 500)
        });
        tokio::pin!(sending, stored);
        tokio::select! {
            _ = &mut sending => panic!("somebody answers although the worker is stopped"),
            stored = &mut stored => stored.unwrap(),
        }
    }
    fleet.processes().await.start_worker("inventory", 0).unwrap();
    let replies = futures::future::join_all(commands.iter().map(|(name, command)| fleet.send(name, command))).await;
    let refused: Vec<usize> = (0..500).filter(|number| !is_accepted(replies[*number].as_ref().unwrap())).collect();
    assert_eq!(refused, [321]);
    assert_eq!(code(replies[321].as_ref().unwrap()), "NOT_HANDLED");
    assert_eq!(fleet.number("select received from inventory.stock where sku = 'MUG'").await.unwrap(), 499);
    assert_eq!(fleet.number("select received from inventory.stock where sku = 'POISON'").await.unwrap(), 0);
    let dead = fleet.number("select count(*) from inventory.dead_letters where code = 'NOT_HANDLED'").await.unwrap();
    // Sent again, it gets the same answer.
    assert_eq!(dead, 1);
    fleet.settle_and_verify().await.unwrap();
}
