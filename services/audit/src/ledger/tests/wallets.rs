//! Wallets: what the ledger finds, and that it finds nothing where all is right.

use domain::{Currency, WalletId};
use proto::{orders::v1 as orders, payments::v1 as payments};

use super::{LogBuilder, eur, order, payment, refund};
use crate::report::Check;

fn wallet() -> String {
    WalletId::of("ada", Currency::parse("EUR").unwrap()).to_string()
}

fn topped_up(cents: i64) -> payments::WalletToppedUp {
    let (wallet_id, customer_id, amount) = (wallet(), "ada".to_owned(), eur(cents));
    payments::WalletToppedUp { wallet_id, customer_id, amount, ..Default::default() }
}

fn withdrawn(cents: i64) -> payments::WalletWithdrawnFrom {
    let (wallet_id, customer_id, amount) = (wallet(), "ada".to_owned(), eur(cents));
    payments::WalletWithdrawnFrom { wallet_id, customer_id, amount, ..Default::default() }
}

fn held(cents: i64) -> payments::FundsHeld {
    let (payment_id, customer_id) = (payment(1), "ada".to_owned());
    payments::FundsHeld { payment_id, wallet_id: wallet(), customer_id, amount: eur(cents) }
}

fn rejected(cents: i64) -> payments::FundsRejected {
    let (payment_id, customer_id) = (payment(1), "ada".to_owned());
    payments::FundsRejected { payment_id, wallet_id: wallet(), customer_id, amount: eur(cents), rejection: None }
}

fn committed(cents: i64) -> payments::FundsCommitted {
    let (payment_id, customer_id) = (payment(1), "ada".to_owned());
    payments::FundsCommitted { payment_id, wallet_id: wallet(), customer_id, amount: eur(cents) }
}

fn released(cents: i64) -> payments::FundsReleased {
    let (payment_id, customer_id) = (payment(1), "ada".to_owned());
    payments::FundsReleased { payment_id, wallet_id: wallet(), customer_id, amount: eur(cents) }
}

fn credited(cents: i64) -> payments::WalletCredited {
    let (payment_id, customer_id, refund_id) = (payment(1), "ada".to_owned(), refund());
    payments::WalletCredited { payment_id, wallet_id: wallet(), customer_id, refund_id, amount: eur(cents) }
}

fn asked(cents: i64) -> payments::PaymentRequested {
    payments::PaymentRequested {
        payment_id: payment(1),
        order_id: order(),
        attempt: 1,
        amount: eur(cents),
        provider: "wallet".to_owned(),
        ..Default::default()
    }
}

fn authorised(cents: i64) -> payments::PaymentAuthorised {
    payments::PaymentAuthorised {
        payment_id: payment(1),
        order_id: order(),
        attempt: 1,
        amount: eur(cents),
        provider_reference: format!("funds-{}", payment(1)),
        ..Default::default()
    }
}

fn voided() -> payments::PaymentVoided {
    payments::PaymentVoided {
        payment_id: payment(1),
        order_id: order(),
        attempt: 1,
        provider_reference: format!("funds-{}", payment(1)),
        awaited: true,
        ..Default::default()
    }
}

fn came(cents: i64) -> payments::PaymentSucceeded {
    payments::PaymentSucceeded {
        payment_id: payment(1),
        order_id: order(),
        attempt: 1,
        amount: eur(cents),
        provider_reference: format!("funds-{}", payment(1)),
        ..Default::default()
    }
}

/// 5.00 in a wallet, and somebody is asked to pay 3.50 from it.
fn begun() -> LogBuilder {
    LogBuilder::placed().then(&topped_up(500)).then(&asked(350))
}

/// What is wrong with wallets, long after.
fn found(story: LogBuilder) -> Vec<String> {
    let late = story.found_after(3_600);
    late.into_iter().filter(|(check, ..)| *check == Check::Wallets).map(|(_, _, what, _)| what).collect()
}

#[test]
fn nothing_is_wrong_with_money_that_is_taken_let_go_or_refused() {
    let taken = || begun().then(&held(350)).then(&authorised(350)).then(&committed(350)).then(&came(350));
    assert_eq!(found(taken()), [""; 0]);
    assert_eq!(found(taken().then(&withdrawn(150))), [""; 0]);
    let let_go = begun().then(&held(350)).then(&authorised(350)).then(&released(350)).then(&voided());
    assert_eq!(found(let_go.then(&withdrawn(500))), [""; 0]);
    let refused = begun().then(&withdrawn(200)).then(&rejected(350));
    assert_eq!(found(refused), [""; 0]);
    // The money came while it was refused.
    assert_eq!(found(begun().then(&rejected(350))), [""; 0]);
}

#[test]
fn finds_money_that_is_spent_twice() {
    let story = begun().then(&held(350)).then(&withdrawn(151));
    assert_eq!(found(story)[0], "-0.01 EUR can be spent and 3.50 EUR are set aside");
    let of_nobody = LogBuilder::shop().then(&withdrawn(1));
    assert_eq!(found(of_nobody), ["its money moved before there was any"]);
}

#[test]
fn finds_steps_that_money_cannot_take() {
    let twice = begun().then(&held(350)).then(&committed(350)).then(&released(350)).then(&came(350));
    assert_eq!(found(twice), ["it is released although it is committed, or other money"]);
    let other = begun().then(&held(350)).then(&committed(340));
    assert!(found(other)[0].starts_with("it is committed although it is held, or other money"));
    let never = begun().then(&released(350));
    assert_eq!(found(never), ["it is released although nothing was set aside"]);
    let again = begun().then(&held(350)).then(&held(350)).then(&committed(350)).then(&came(350));
    assert_eq!(found(again), ["it is held although it is held already"]);
}

#[test]
fn finds_a_refusal_of_what_was_there_and_money_that_nobody_asked_for() {
    let other = begun().then(&held(340)).then(&released(340));
    assert_eq!(found(other), ["it is set aside for a payment that nobody was asked to pay so from a wallet"]);
}

#[test]
fn finds_a_payment_that_says_otherwise_of_its_money_than_the_wallet() {
    let unpaid = begun().then(&held(350)).then(&authorised(350)).then(&committed(350));
    assert_eq!(found(unpaid), ["its money was taken from a wallet, and it does not count as paid"]);
    let invented = begun().then(&came(350));
    assert_eq!(found(invented), ["it counts as paid from a wallet, and no such money was taken there"]);
    let forgotten = begun().then(&held(350));
    assert_eq!(found(forgotten), ["its money is set aside in a wallet, and neither taken nor let go"]);
    let kept = begun().then(&held(350)).then(&authorised(350)).then(&voided());
    assert!(found(kept).contains(&"its money counts as let go, and is not in its wallet again".to_owned()));
}

#[test]
fn finds_refunds_that_the_wallet_does_not_have_and_money_that_nobody_gave_back() {
    let taken = || begun().then(&held(350)).then(&authorised(350)).then(&committed(350)).then(&came(350));
    let asked = orders::RefundRequested {
        order_id: order(),
        attempt: 1,
        refund_id: refund(),
        payment_id: payment(1),
        amount: eur(100),
        ..Default::default()
    };
    let sent = payments::RefundSubmitted {
        payment_id: payment(1),
        order_id: order(),
        refund_id: refund(),
        amount: eur(100),
        provider: "wallet".to_owned(),
        ..Default::default()
    };
    let back = payments::PaymentRefunded {
        payment_id: payment(1),
        order_id: order(),
        refund_id: refund(),
        amount: eur(100),
        ..Default::default()
    };
    let under_way = || taken().then(&asked).then(&sent);
    assert_eq!(found(under_way().then(&credited(100)).then(&back)), [""; 0]);
    let lost = "it counts as paid out, and its money is not in the wallet again";
    assert_eq!(found(under_way().then(&back)), [lost]);
    assert_eq!(found(under_way().then(&credited(99)).then(&back)), [lost]);
    let unheard = "its money is in the wallet again, and it does not count as paid out";
    assert_eq!(found(under_way().then(&credited(100))), [unheard]);
    let twice = under_way().then(&credited(100)).then(&credited(100)).then(&back);
    assert!(found(twice)[0].contains("went back by refund"));
    let more = under_way().then(&credited(351)).then(&back);
    assert!(found(more)[0].contains("went back by refund"));
}
