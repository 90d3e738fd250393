//! What holds of wallets whatever comes, in whatever order, how often so ever.

use std::collections::BTreeMap;

use domain::{DecideError, Decider, Money, StreamVersion, WalletId, hold::Status};
use proptest::prelude::*;

use super::spec::{commit, credit, hold, release, top_up, withdraw};
use crate::{
    Payments,
    command::Command,
    event::{Event, WalletEvent},
    payment::{
        State,
        spec::{NOW, eur, given, usd},
    },
};

const CUSTOMERS: [&str; 2] = ["ada", "bob"];

fn any_command() -> impl Strategy<Value = Command> {
    let payment = || 1..7_u128;
    let customer = || prop::sample::select(&CUSTOMERS[..]);
    let amount = |most: i64| {
        (1..most, prop::bool::weighted(0.1)).prop_map(|(cents, is_other)| match is_other {
            true => usd(cents),
            false => eur(cents),
        })
    };
    prop_oneof![
        2 => (customer(), amount(800)).prop_map(|(customer, amount)| top_up(customer, amount)),
        1 => (customer(), amount(800)).prop_map(|(customer, amount)| withdraw(customer, amount)),
        4 => (payment(), customer(), amount(500)).prop_map(|(payment, customer, amount)| hold(payment, customer, amount)),
        2 => payment().prop_map(commit),
        2 => payment().prop_map(release),
        2 => (payment(), 1..3_u128, amount(300)).prop_map(|(payment, refund, amount)| credit(payment, refund, amount)),
    ]
}

/// What the events alone say that each wallet has: what came less what went, and what is set aside.
fn counted(events: &[Event]) -> BTreeMap<WalletId, (i64, i64)> {
    let mut books: BTreeMap<WalletId, (i64, i64)> = BTreeMap::new();
    let mut add = |wallet: WalletId, total: i64, held: i64| {
        let book = books.entry(wallet).or_default();
        (book.0, book.1) = (book.0 + total, book.1 + held);
    };
    for event in events {
        let Event::Wallet(event) = event else { continue };
        match event {
            WalletEvent::ToppedUp { of, .. } | WalletEvent::Credited { of, .. } => {
                add(of.wallet_id, of.amount.minor_units, 0);
            }
            WalletEvent::WithdrawnFrom { of, .. } => add(of.wallet_id, -of.amount.minor_units, 0),
            WalletEvent::Held { of, .. } => add(of.wallet_id, 0, of.amount.minor_units),
            WalletEvent::Committed { of, .. } => add(of.wallet_id, -of.amount.minor_units, -of.amount.minor_units),
            WalletEvent::Released { of, .. } => {
                if let Some(of) = of {
                    add(of.wallet_id, 0, -of.amount.minor_units);
                }
            }
            WalletEvent::Rejected { .. } => {}
        }
    }
    books
}

fn check(state: &State, events: &[Event]) {
    let books = counted(events);
    for (wallet_id, wallet) in state.wallets.iter() {
        assert!(wallet.available >= 0 && wallet.held >= 0, "{wallet:?}");
        assert_eq!((wallet.available + wallet.held, wallet.held), books[wallet_id]);
        let open = state
            .funds
            .iter()
            .filter(|(_, funds)| funds.status == Status::Held && funds.wallet_id.as_ref() == Some(wallet_id));
        let open: i64 = open.filter_map(|(_, funds)| funds.amount).map(|amount| amount.minor_units).sum();
        assert_eq!(wallet.held, open);
    }
    for (_, funds) in state.funds.iter() {
        let credited: i64 = funds.credits.values().sum();
        let taken = funds.amount.filter(|_| funds.status == Status::Committed);
        assert!(credited <= taken.map_or(0, |Money { minor_units, .. }| minor_units), "{funds:?}");
    }
}

proptest! {
    #[test]
    fn money_is_neither_made_nor_lost_and_every_event_folds_to_the_rows(
        commands in prop::collection::vec(any_command(), 1..60),
    ) {
        let (mut events, mut state) = (Vec::new(), State::default());
        for command in commands {
            let advanced = match <Payments>::advance(&mut state, &command, NOW) {
                Ok(advanced) => advanced,
                Err(DecideError::Rejected(_)) => continue,
                Err(broken @ DecideError::Broken { .. }) => panic!("{command:?}: {broken}"),
            };
            for (event, encoded) in advanced {
                prop_assert!(encoded.version > StreamVersion::new(0));
                prop_assert_eq!(<Payments>::decode_event(encoded.message_type, &encoded.data), Ok(event.clone()));
                let is_rejected = matches!(&event, Event::Wallet(WalletEvent::Rejected { .. }));
                let mut rows = <Payments>::rows_of(&event).into_iter();
                prop_assert!(rows.all(|name| is_rejected || <Payments>::row(&state, &name).is_some()));
                events.push(event);
            }
            check(&state, &events);
            // Whatever it did, doing it again does nothing more; but for money that is put in or taken out, of which each time is another.
            if let Ok(again) = <Payments>::decide(&state, &command, NOW)
                && !matches!(&command, Command::Wallet(crate::command::WalletCommand::TopUp(_) | crate::command::WalletCommand::Withdraw(_)))
            {
                prop_assert_eq!(again, vec![]);
            }
        }
        prop_assert_eq!(<Payments>::rows(&given(&events)), <Payments>::rows(&state));
    }
}
