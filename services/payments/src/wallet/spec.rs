//! Specs of wallets: what goes in and out, and what becomes of money that is set aside for a payment.

use domain::{Currency, DecideError, Money, PaymentId, RefundId, Rejection, WalletId, hold::Status, spec::Spec};
use uuid::Uuid;

use super::BALANCE_MAX;
use crate::{
    command::{Command, Movement, WalletCommand},
    event::{Event, WalletEvent, WalletOf},
    payment::{
        State,
        spec::{eur, given, usd},
    },
};

pub(crate) fn payment(number: u128) -> PaymentId {
    PaymentId(Uuid::from_u128(number))
}

fn refund(number: u128) -> RefundId {
    RefundId(Uuid::from_u128(number))
}

pub(crate) fn of(customer: &str, amount: Money) -> WalletOf {
    WalletOf { wallet_id: WalletId::of(customer, amount.currency), customer_id: customer.to_owned(), amount }
}

fn movement(customer: &str, amount: Money) -> Movement {
    let (actor, note) = ("till".to_owned(), "cash".to_owned());
    Movement { customer_id: customer.to_owned(), amount, actor, note }
}

pub(crate) fn top_up(customer: &str, amount: Money) -> Command {
    Command::Wallet(WalletCommand::TopUp(movement(customer, amount)))
}

pub(crate) fn withdraw(customer: &str, amount: Money) -> Command {
    Command::Wallet(WalletCommand::Withdraw(movement(customer, amount)))
}

pub(crate) fn hold(number: u128, customer: &str, amount: Money) -> Command {
    Command::Wallet(WalletCommand::Hold { payment_id: payment(number), customer_id: customer.to_owned(), amount })
}

pub(crate) fn commit(number: u128) -> Command {
    Command::Wallet(WalletCommand::Commit { payment_id: payment(number) })
}

pub(crate) fn release(number: u128) -> Command {
    Command::Wallet(WalletCommand::Release { payment_id: payment(number) })
}

pub(crate) fn credit(number: u128, of_refund: u128, amount: Money) -> Command {
    let (payment_id, refund_id) = (payment(number), refund(of_refund));
    Command::Wallet(WalletCommand::Credit { payment_id, refund_id, amount })
}

fn topped_up(customer: &str, amount: Money) -> Event {
    let (actor, note) = ("till".to_owned(), "cash".to_owned());
    Event::Wallet(WalletEvent::ToppedUp { of: of(customer, amount), actor, note })
}

fn withdrawn(customer: &str, amount: Money) -> Event {
    let (actor, note) = ("till".to_owned(), "cash".to_owned());
    Event::Wallet(WalletEvent::WithdrawnFrom { of: of(customer, amount), actor, note })
}

fn held(number: u128, amount: Money) -> Event {
    Event::Wallet(WalletEvent::Held { payment_id: payment(number), of: of("ada", amount) })
}

fn committed(number: u128, amount: Money) -> Event {
    Event::Wallet(WalletEvent::Committed { payment_id: payment(number), of: of("ada", amount) })
}

fn released(number: u128, amount: Option<Money>) -> Event {
    let of = amount.map(|amount| of("ada", amount));
    Event::Wallet(WalletEvent::Released { payment_id: payment(number), of })
}

fn credited(number: u128, of_refund: u128, amount: Money) -> Event {
    let (payment_id, refund_id) = (payment(number), refund(of_refund));
    Event::Wallet(WalletEvent::Credited { payment_id, refund_id, of: of("ada", amount) })
}

/// What Ada has in euros: what she can spend, and what is set aside.
fn has(state: &State) -> (i64, i64) {
    let wallet = state.wallets.get(&of("ada", eur(0)).wallet_id).unwrap();
    (wallet.available, wallet.held)
}

/// Why so much cannot be set aside.
fn rejected(state: &State, customer: &str, amount: Money) -> Rejection {
    match &state.when(&hold(9, customer, amount)).unwrap()[..] {
        [Event::Wallet(WalletEvent::Rejected { rejection, of: rejected, .. })] => {
            assert_eq!(*rejected, of(customer, amount));
            rejection.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_top_up_makes_the_wallet() {
    assert_eq!(given(&[]).when(&top_up("ada", eur(500))), Ok(vec![topped_up("ada", eur(500))]));
    let state = given(&[topped_up("ada", eur(500)), topped_up("ada", eur(1)), topped_up("ada", usd(7))]);
    assert_eq!(has(&state), (501, 0));
    assert_eq!(state.wallets.len(), 2, "one of each currency");
    let wallet = state.wallets.get(&of("ada", usd(0)).wallet_id).unwrap();
    assert_eq!((wallet.customer_id.as_str(), wallet.currency), ("ada", Currency::parse("USD").unwrap()));
}

#[test]
fn refuses_a_top_up_above_what_a_wallet_may_have_counting_what_is_set_aside() {
    let state = given(&[topped_up("ada", eur(BALANCE_MAX)), held(1, eur(400))]);
    assert_eq!(state.refuses(&top_up("ada", eur(1)), &["ada", "10,000,000,000.00 EUR", "0.01 EUR"]), "WALLET_LIMIT");
    let taken = given(&[topped_up("ada", eur(BALANCE_MAX)), held(1, eur(400)), committed(1, eur(400))]);
    assert!(taken.when(&top_up("ada", eur(400))).is_ok());
    assert_eq!(taken.refuses(&top_up("ada", eur(401)), &[]), "WALLET_LIMIT");
}

#[test]
fn what_can_be_spent_can_be_withdrawn() {
    let state = given(&[topped_up("ada", eur(500)), held(1, eur(200))]);
    assert_eq!(state.when(&withdraw("ada", eur(300))), Ok(vec![withdrawn("ada", eur(300))]));
    assert_eq!(has(&given(&[topped_up("ada", eur(500)), held(1, eur(200)), withdrawn("ada", eur(300))])), (0, 200));
    let refused = state.refuses(&withdraw("ada", eur(301)), &["\"ada\"", "3.00 EUR", "2.00 EUR set aside", "3.01"]);
    assert_eq!(refused, "INSUFFICIENT_FUNDS");
}

#[test]
fn refuses_to_withdraw_from_a_wallet_that_is_none() {
    let state = given(&[topped_up("ada", eur(500))]);
    assert_eq!(state.refuses(&withdraw("ada", usd(1)), &["ada", "USD"]), "UNKNOWN_WALLET");
    assert_eq!(state.refuses(&withdraw("bob", eur(1)), &["bob", "EUR"]), "UNKNOWN_WALLET");
}

#[test]
fn money_is_set_aside_for_a_payment_up_to_all_of_it() {
    let state = given(&[topped_up("ada", eur(500))]);
    assert_eq!(state.when(&hold(1, "ada", eur(500))), Ok(vec![held(1, eur(500))]));
    assert_eq!(has(&given(&[topped_up("ada", eur(500)), held(1, eur(500))])), (0, 500));
}

#[test]
fn rejects_what_is_more_than_can_be_spent() {
    let state = given(&[topped_up("ada", eur(500)), held(1, eur(200))]);
    let rejection = rejected(&state, "ada", eur(301));
    assert_eq!(rejection.code, "INSUFFICIENT_FUNDS");
    assert!(rejection.reason.contains("3.00 EUR") && rejection.reason.contains("2.00 EUR set aside"), "{rejection}");
    assert_eq!(rejected(&state, "bob", eur(1)).code, "INSUFFICIENT_FUNDS");
    assert_eq!(rejected(&state, "ada", usd(1)).code, "INSUFFICIENT_FUNDS", "another currency is other money");
    assert!(matches!(&state.when(&hold(9, "ada", eur(300))).unwrap()[..], [Event::Wallet(WalletEvent::Held { .. })]));
}

#[test]
fn money_is_set_aside_for_a_payment_once() {
    let state = given(&[topped_up("ada", eur(500)), held(1, eur(200))]);
    assert_eq!(state.when(&hold(1, "ada", eur(200))), Ok(vec![]));
    assert_eq!(state.refuses(&hold(1, "ada", eur(201)), &["2.00 EUR", "2.01 EUR"]), "WRONG_STATE");
    assert_eq!(state.refuses(&hold(1, "bob", eur(200)), &["\"ada\""]), "WRONG_STATE");
    let taken = given(&[topped_up("ada", eur(500)), held(1, eur(200)), committed(1, eur(200))]);
    assert_eq!(taken.when(&hold(1, "ada", eur(200))), Ok(vec![]));
}

#[test]
fn what_was_rejected_once_stays_so_after_a_top_up() {
    let refused = given(&[]).when(&hold(1, "ada", eur(200))).unwrap();
    let state = given(&[&refused[..], &[topped_up("ada", eur(500))]].concat());
    assert_eq!(state.refuses(&hold(1, "ada", eur(200)), &["rejected"]), "WRONG_STATE");
    assert_eq!(state.refuses(&commit(1), &["rejected"]), "WRONG_STATE");
    assert_eq!(state.when(&release(1)), Ok(vec![]), "there is nothing to let go");
    assert_eq!(has(&state), (500, 0));
}

#[test]
fn what_is_set_aside_is_taken_once() {
    let state = given(&[topped_up("ada", eur(500)), held(1, eur(200))]);
    assert_eq!(state.when(&commit(1)), Ok(vec![committed(1, eur(200))]));
    let state = given(&[topped_up("ada", eur(500)), held(1, eur(200)), committed(1, eur(200))]);
    assert_eq!(has(&state), (300, 0));
    assert_eq!(state.when(&commit(1)), Ok(vec![]));
    assert_eq!(state.refuses(&release(1), &["committed"]), "WRONG_STATE");
}

#[test]
fn what_is_let_go_is_in_the_wallet_again_and_cannot_be_taken() {
    let state = given(&[topped_up("ada", eur(500)), held(1, eur(200))]);
    assert_eq!(state.when(&release(1)), Ok(vec![released(1, Some(eur(200)))]));
    let state = given(&[topped_up("ada", eur(500)), held(1, eur(200)), released(1, Some(eur(200)))]);
    assert_eq!(has(&state), (500, 0));
    assert_eq!(state.when(&release(1)), Ok(vec![]));
    assert_eq!(state.refuses(&commit(1), &["released"]), "WRONG_STATE");
}

#[test]
fn a_release_before_the_hold_leaves_a_tombstone() {
    let state = given(&[topped_up("ada", eur(500))]);
    assert_eq!(state.when(&release(1)), Ok(vec![released(1, None)]));
    let state = given(&[topped_up("ada", eur(500)), released(1, None)]);
    assert_eq!(state.refuses(&hold(1, "ada", eur(200)), &["released"]), "WRONG_STATE");
    assert_eq!((has(&state), state.funds.get(&payment(1)).unwrap().status), ((500, 0), Status::Released));
}

#[test]
fn refuses_to_take_what_was_never_set_aside() {
    assert_eq!(given(&[]).refuses(&commit(1), &["no money is set aside"]), "WRONG_STATE");
}

fn paid() -> Vec<Event> {
    vec![topped_up("ada", eur(500)), held(1, eur(200)), committed(1, eur(200))]
}

#[test]
fn what_was_taken_goes_back_refund_by_refund_each_once() {
    assert_eq!(given(&paid()).when(&credit(1, 1, eur(150))), Ok(vec![credited(1, 1, eur(150))]));
    let state = given(&[&paid()[..], &[credited(1, 1, eur(150))]].concat());
    assert_eq!(has(&state), (450, 0));
    assert_eq!(state.when(&credit(1, 1, eur(150))), Ok(vec![]));
    assert_eq!(state.refuses(&credit(1, 1, eur(50)), &["1.50 EUR", "0.50 EUR"]), "REFUND_EXISTS");
    assert_eq!(state.when(&credit(1, 2, eur(50))), Ok(vec![credited(1, 2, eur(50))]));
    assert_eq!(state.refuses(&credit(1, 2, eur(51)), &["0.50 EUR", "0.51 EUR"]), "REFUND_EXCEEDS_PAYMENT");
}

#[test]
fn a_refund_goes_back_whatever_the_wallet_has() {
    let full = given(&[&paid()[..], &[topped_up("ada", eur(BALANCE_MAX - 300))]].concat());
    assert_eq!(full.refuses(&top_up("ada", eur(1)), &[]), "WALLET_LIMIT");
    assert_eq!(full.when(&credit(1, 1, eur(200))), Ok(vec![credited(1, 1, eur(200))]));
}

#[test]
fn refuses_to_give_back_what_was_not_taken_or_in_another_currency() {
    for events in [vec![], vec![topped_up("ada", eur(500)), held(1, eur(200))]] {
        assert_eq!(given(&events).refuses(&credit(1, 1, eur(1)), &[]), "NOT_PAID");
    }
    assert_eq!(given(&paid()).refuses(&credit(1, 1, usd(1)), &["2.00 EUR", "0.01 USD"]), "WRONG_CURRENCY");
}

#[test]
fn money_that_is_set_aside_without_its_wallet_is_a_defect() {
    let state = given(&[held(1, eur(200))]);
    for command in [commit(1), release(1), hold(1, "ada", eur(200))] {
        let Err(DecideError::Broken { stream, .. }) = state.when(&command) else { panic!("not broken") };
        assert_eq!(stream, format!("funds-{}", payment(1)));
    }
}
