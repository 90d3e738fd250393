//! What holds of coupons whatever comes, in whatever order, how often so ever.

use std::collections::BTreeMap;

use domain::{DecideError, Decider, HoldKey, StreamVersion, hold::Status};
use proptest::prelude::*;

use super::{
    Offer,
    spec::{code, key, opened, purchase, ten_percent},
};
use crate::{
    Payments,
    command::{Command, CouponCommand},
    event::{CouponEvent, Event},
    payment::{
        State,
        spec::{NOW, given},
    },
};

const CUSTOMERS: [&str; 3] = ["ada", "bob", "cy"];

fn any_command() -> impl Strategy<Value = CouponCommand> {
    let key = || (1..9_u128).prop_map(key);
    prop_oneof![
        4 => (key(), prop::sample::select(&CUSTOMERS[..]), 0..2_000_i64, 0..500_i64).prop_map(|(key, customer, price, shares)| {
            CouponCommand::Hold { key, purchase: purchase(customer, &[("mug", price), ("cup", 7)], shares) }
        }),
        2 => key().prop_map(|key| CouponCommand::Redeem { key }),
        2 => key().prop_map(|key| CouponCommand::Release { key }),
        1 => Just(CouponCommand::Close { code: code(), actor: "ann".to_owned(), note: "enough".to_owned() }),
    ]
}

/// Uses by customer, counted from the holds alone.
fn counted(state: &State, status: Status) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for (_, held) in state.uses.iter().filter(|(_, held)| held.status == status) {
        *counts.entry(held.customer_id.clone()).or_insert(0) += 1;
    }
    counts
}

fn check(state: &State, offer: &Offer) {
    let coupon = state.coupons.get(&code()).unwrap();
    let (held, redeemed) = (counted(state, Status::Held), counted(state, Status::Committed));
    assert_eq!((coupon.held, coupon.redeemed), (held.values().sum(), redeemed.values().sum()));
    assert!(offer.uses_max.is_none_or(|most| coupon.held + coupon.redeemed <= most));
    for ((_, customer), uses) in state.customers.iter() {
        let count = |counts: &BTreeMap<String, i64>| counts.get(customer).copied().unwrap_or(0);
        assert_eq!((uses.held, uses.redeemed), (count(&held), count(&redeemed)));
        assert!(offer.uses_per_customer_max.is_none_or(|most| uses.held + uses.redeemed <= most));
    }
}

proptest! {
    #[test]
    fn uses_are_never_more_than_the_limits_and_every_event_folds_to_the_rows(
        commands in prop::collection::vec(any_command(), 1..60),
        uses_max in prop::option::of(1..5_i64),
        uses_per_customer_max in prop::option::of(1..3_i64),
    ) {
        let offer = Offer { uses_max, uses_per_customer_max, ..ten_percent() };
        let mut events = vec![opened(offer.clone())];
        let mut state = given(&events);
        let mut ended: BTreeMap<HoldKey, &'static str> = BTreeMap::new();
        for command in commands {
            let advanced = match <Payments>::advance(&mut state, &Command::Coupon(command.clone()), NOW) {
                Ok(advanced) => advanced,
                // Orders never pays what is not held, nor releases what it paid.
                Err(DecideError::Broken { .. }) => continue,
                Err(refused) => panic!("{command:?}: {refused}"),
            };
            for (event, encoded) in advanced {
                prop_assert!(encoded.version > StreamVersion::new(0));
                prop_assert_eq!(<Payments>::decode_event(encoded.message_type, &encoded.data), Ok(event.clone()));
                prop_assert!(<Payments>::rows_of(&event).iter().all(|name| <Payments>::row(&state, name).is_some()));
                if let Event::Coupon(CouponEvent::Redeemed { key, .. } | CouponEvent::Released { key, .. }) = &event {
                    prop_assert_eq!(ended.insert(*key, encoded.message_type), None);
                }
                events.push(event);
            }
            check(&state, &offer);
        }
        prop_assert_eq!(<Payments>::rows(&given(&events)), <Payments>::rows(&state));
    }
}
