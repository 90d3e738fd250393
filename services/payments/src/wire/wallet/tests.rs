//! What is refused of a wallet at the door, and that every event of wallets reads back as it was written.

use domain::{Currency, Money, PaymentId, RefundId, Rejection, WalletId};
use proto::{Message, Name, common::v1 as common, payments::v1 as wire};
use uuid::Uuid;

use super::{Command, Movement, WalletCommand, WalletEvent, WalletOf};
use crate::{
    event::Event,
    wire::{decode_command, decode_event, encode},
};

fn amount(minor_units: i64, currency: &str) -> Option<common::Money> {
    Some(common::Money { minor_units, currency: currency.to_owned() })
}

fn euros(minor_units: i64) -> Money {
    Money { minor_units, currency: Currency::parse("EUR").unwrap() }
}

fn read<M: Message + Name>(message: &M) -> Result<Command, String> {
    decode_command(&M::full_name(), &message.encode_to_vec(), Uuid::nil())
        .map_err(|rejection| rejection.code.into_owned())
}

fn top_up() -> wire::TopUpWallet {
    let (customer_id, actor) = ("ada".to_owned(), "till".to_owned());
    wire::TopUpWallet { customer_id, amount: amount(500, "EUR"), actor, note: String::new() }
}

fn withdrawal() -> wire::WithdrawFromWallet {
    let (customer_id, actor, note) = ("ada".to_owned(), "till".to_owned(), "she asked".to_owned());
    wire::WithdrawFromWallet { customer_id, amount: amount(500, "EUR"), actor, note }
}

fn hold() -> wire::HoldFunds {
    let payment_id = Uuid::from_u128(1).to_string();
    wire::HoldFunds { payment_id, customer_id: "ada".to_owned(), amount: amount(500, "EUR") }
}

#[test]
fn a_top_up_names_the_wallet_by_customer_and_currency() {
    let Ok(Command::Wallet(WalletCommand::TopUp(movement))) = read(&top_up()) else { panic!("it is read") };
    let (customer_id, actor) = ("ada".to_owned(), "till".to_owned());
    assert_eq!(movement, Movement { customer_id, amount: euros(500), actor, note: String::new() });
    let dollars = Currency::parse("USD").unwrap();
    let ids = [movement.wallet_id(), WalletId::of("ada", dollars), WalletId::of("bob", dollars)];
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    assert_eq!(ids[1], WalletId::of("ada", dollars));
}

#[test]
fn refuses_nothing_less_than_nothing_and_what_is_no_money() {
    let amounts = [
        (amount(0, "EUR"), "INVALID_AMOUNT"),
        (amount(-1, "EUR"), "INVALID_AMOUNT"),
        (amount(domain::AMOUNT_MAX + 1, "EUR"), "INVALID_AMOUNT"),
        (amount(5, "eur"), "INVALID_CURRENCY"),
        (amount(5, "XXX"), "INVALID_CURRENCY"),
        (None, "INVALID_AMOUNT"),
    ];
    for (amount, refusal) in amounts {
        let refused = [
            read(&wire::TopUpWallet { amount: amount.clone(), ..top_up() }),
            read(&wire::WithdrawFromWallet { amount: amount.clone(), ..withdrawal() }),
            read(&wire::HoldFunds { amount: amount.clone(), ..hold() }),
        ];
        assert!(refused.iter().all(|read| read.as_ref() == Err(&refusal.to_owned())), "{amount:?}: {refused:?}");
    }
    assert!(read(&wire::TopUpWallet { amount: amount(domain::AMOUNT_MAX, "EUR"), ..top_up() }).is_ok());
}

#[test]
fn whose_wallet_who_asks_and_why_money_is_taken_out_must_be_said() {
    let nobody = [
        read(&wire::TopUpWallet { customer_id: String::new(), ..top_up() }),
        read(&wire::TopUpWallet { actor: String::new(), ..top_up() }),
        read(&wire::WithdrawFromWallet { note: String::new(), ..withdrawal() }),
        read(&wire::HoldFunds { customer_id: "a".repeat(129), ..hold() }),
    ];
    assert!(nobody.iter().all(|read| read.as_ref() == Err(&"INVALID_TEXT".to_owned())), "{nobody:?}");
    let refused = read(&wire::HoldFunds { payment_id: "7".to_owned(), ..hold() });
    assert_eq!(refused, Err("INVALID_ID".to_owned()));
}

#[test]
fn a_credit_may_be_of_nothing_and_of_a_currency_that_was_in_use() {
    let credit = |amount| wire::CreditWallet {
        payment_id: Uuid::from_u128(1).to_string(),
        refund_id: Uuid::from_u128(2).to_string(),
        amount,
    };
    assert!(read(&credit(amount(0, "EUR"))).is_ok() && read(&credit(amount(5, "HRK"))).is_ok());
    assert_eq!(read(&credit(None)), Err("INVALID_AMOUNT".to_owned()));
}

#[test]
fn every_event_of_wallets_reads_back_as_it_was_written() {
    let payment_id = PaymentId(Uuid::from_u128(1));
    let of = WalletOf {
        wallet_id: WalletId::of("ada", euros(0).currency),
        customer_id: "ada".to_owned(),
        amount: euros(500),
    };
    let (actor, note) = ("till".to_owned(), "cash".to_owned());
    let events = [
        WalletEvent::ToppedUp { of: of.clone(), actor: actor.clone(), note: note.clone() },
        WalletEvent::WithdrawnFrom { of: of.clone(), actor, note },
        WalletEvent::Held { payment_id, of: of.clone() },
        WalletEvent::Rejected {
            payment_id,
            of: of.clone(),
            rejection: Rejection::new("INSUFFICIENT_FUNDS", "too little"),
        },
        WalletEvent::Committed { payment_id, of: of.clone() },
        WalletEvent::Released { payment_id, of: Some(of.clone()) },
        WalletEvent::Released { payment_id, of: None },
        WalletEvent::Credited { payment_id, refund_id: RefundId(Uuid::from_u128(2)), of },
    ];
    for event in events.map(Event::Wallet) {
        let (message_type, data) = encode(&event);
        assert_eq!(decode_event(message_type, &data), Ok(event));
    }
}
