//! What a mix promises: the same seed, the same orders, in the shares that it says.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Decider, Timestamp};
use proto::{Message, Name};

use super::{FollowUp, Workload};
use crate::load::scenario::Scenario;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

#[test]
fn the_same_seed_gives_the_same_and_another_seed_another() {
    let (workload, again, other) =
        (Workload::new(7, 50, 20, 5), Workload::new(7, 50, 20, 5), Workload::new(8, 50, 20, 5));
    for number in 0..50 {
        assert_eq!(workload.order(number), again.order(number));
        assert_ne!(workload.order(number).order_id, other.order(number).order_id);
    }
    assert_eq!(workload.product(3), again.product(3));
    assert_eq!(workload.round(3, NOW), again.round(3, NOW));
}

#[test]
fn every_command_has_an_id_of_its_own() {
    let workload = Workload::new(1, 300, 40, 6);
    let mut ids = BTreeSet::new();
    let mut count = 0;
    let mut see = |id| {
        ids.insert(id);
        count += 1;
    };
    for product in 0..workload.products {
        let (register, receive) = workload.product(product);
        see(register.id);
        see(receive.id);
    }
    (0..workload.rounds).for_each(|round| see(workload.round(round, NOW).id));
    see(workload.call_off(1).id);
    for number in 0..workload.orders {
        let plan = workload.order(number);
        see(plan.place.id);
        match plan.then {
            FollowUp::Nothing => {}
            FollowUp::Cancel(_, cancel) => see(cancel.id),
            FollowUp::Refund(refund) => see(refund.id),
        }
    }
    assert_eq!(ids.len(), count);
}

#[test]
fn services_can_read_every_command() {
    fn readable<S: Decider, M: Message + Name>(id: uuid::Uuid, command: &M) {
        if let Err(rejection) = S::decode_command(&M::full_name(), &command.encode_to_vec(), id) {
            panic!("{rejection}");
        }
    }
    for workload in [Workload::new(1, 2_000, 200, 20), Workload::new(2, 500, 1, 0), Workload::new(3, 1_000_000, 1, 1)] {
        for product in 0..workload.products {
            let (register, receive) = workload.product(product);
            readable::<inventory::Inventory, _>(register.id, &register.body);
            readable::<inventory::Inventory, _>(receive.id, &receive.body);
        }
        for round in 0..workload.rounds {
            let open = workload.round(round, NOW);
            readable::<rounds::Rounds, _>(open.id, &open.body);
            let call_off = workload.call_off(round);
            readable::<rounds::Rounds, _>(call_off.id, &call_off.body);
        }
        for number in 0..workload.orders.min(2_000) {
            let plan = workload.order(number);
            readable::<orders::Orders, _>(plan.place.id, &plan.place.body);
            match plan.then {
                FollowUp::Nothing => {}
                FollowUp::Cancel(_, cancel) => readable::<orders::Orders, _>(cancel.id, &cancel.body),
                FollowUp::Refund(refund) => readable::<orders::Orders, _>(refund.id, &refund.body),
            }
        }
    }
}

#[test]
fn the_mix_is_the_one_that_is_promised() {
    let workload = Workload::new(1, 20_000, 200, 20);
    let mut stories: BTreeMap<Scenario, u64> = BTreeMap::new();
    let (mut pieces, mut shares, mut both, mut most_lines) = (0, 0, 0, 0);
    for number in 0..workload.orders {
        let plan = workload.order(number);
        *stories.entry(plan.story).or_insert(0) += 1;
        let place = plan.place.body;
        pieces += place.lines.iter().map(|line| line.quantity).sum::<i64>();
        shares += place.shares.as_ref().map_or(0, |shares| shares.count);
        both += u32::from(!place.lines.is_empty() && place.shares.is_some());
        most_lines = most_lines.max(place.lines.len());
    }
    let percent = |story| stories.get(&story).copied().unwrap_or(0) * 100 / workload.orders;
    assert!((60..=62).contains(&percent(Scenario::Buys)), "{stories:?}");
    assert!((12..=14).contains(&percent(Scenario::WalksAway)), "{stories:?}");
    assert_eq!(stories.len(), 10);
    assert_eq!(most_lines, 5);
    // What the stocks and rounds are made for: scarce ones hold about half of what is wanted.
    assert!((3..=5).contains(&(pieces / 20_000)), "{pieces} pieces");
    assert!((8_000..=16_000).contains(&shares), "{shares} shares");
    assert!(both > 1_000, "{both} orders with lines and shares");
}
