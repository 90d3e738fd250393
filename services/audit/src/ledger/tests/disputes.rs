//! Money that a bank takes from the shop, and perhaps gives back.

use domain::PaymentId;
use proto::{
    common::v1::{Dispute, DisputeStanding},
    orders::v1 as orders,
    payments::v1 as payments,
};

use super::{Ledger, LogBuilder, eur, order, payment, refund};
use crate::report::{Check, Findings};

/// A dispute that stops all refunds, after so many of its events.
fn open(revision: i32, withdrawn: i64) -> Dispute {
    Dispute {
        dispute_id: "du_1".to_owned(),
        revision,
        standing: DisputeStanding::Open.into(),
        withdrawn: (withdrawn > 0).then(|| eur(withdrawn)).flatten(),
        ..Default::default()
    }
}

fn won(revision: i32, withdrawn: i64, reinstated: i64) -> Dispute {
    let reinstated = (reinstated > 0).then(|| eur(reinstated)).flatten();
    Dispute { standing: DisputeStanding::Won.into(), reinstated, ..open(revision, withdrawn) }
}

impl LogBuilder {
    fn disputed(self, dispute: Dispute) -> Self {
        let dispute = Some(dispute);
        self.then(&payments::PaymentDisputed {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            dispute,
            ..Default::default()
        })
    }

    fn withdrawn(self, dispute: Dispute, minor_units: i64) -> Self {
        self.then(&payments::DisputeFundsWithdrawn {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            dispute: Some(dispute),
            amount: eur(minor_units),
            ..Default::default()
        })
    }

    fn reinstated(self, dispute: Dispute, minor_units: i64) -> Self {
        self.then(&payments::DisputeFundsReinstated {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            dispute: Some(dispute),
            amount: eur(minor_units),
            ..Default::default()
        })
    }

    fn heard(self, dispute: Dispute) -> Self {
        let dispute = Some(dispute);
        self.then(&orders::OrderDisputed { order_id: order(), attempt: 1, payment_id: payment(1), dispute })
    }

    fn asks_for_money_back(self) -> Self {
        self.then(&orders::RefundRequested {
            order_id: order(),
            attempt: 1,
            refund_id: refund(),
            payment_id: payment(1),
            amount: eur(100),
            reason: orders::RefundReason::Requested.into(),
            ..Default::default()
        })
    }

    fn sends_money_back(self) -> Self {
        self.then(&payments::RefundSubmitted {
            payment_id: payment(1),
            order_id: order(),
            refund_id: refund(),
            amount: eur(100),
            ..Default::default()
        })
    }
}

fn paid() -> LogBuilder {
    LogBuilder::placed().all_held().paid()
}

#[test]
fn what_disputes_take_is_beside_what_came_and_may_be_more() {
    let story = || {
        let taken = paid().disputed(open(1, 0)).heard(open(1, 0)).withdrawn(open(2, 500), 500).heard(open(2, 500));
        taken.reinstated(won(3, 500, 400), 400).heard(won(3, 500, 400))
    };
    let (mut ledger, mut findings) = (Ledger::default(), Findings::default());
    for event in &story().events {
        ledger.take(event, &mut findings);
    }
    assert_eq!(ledger.payments.disputes.charged_back(PaymentId::parse(&payment(1)).unwrap()), 100);
    assert_eq!(story().found_after(3_600), []);
}

#[test]
fn finds_money_that_a_dispute_moves_twice_or_without_saying_so() {
    let taken = || paid().withdrawn(open(1, 350), 350);
    taken().withdrawn(open(2, 700), 350).finds(Check::Money, "payment-", "moves money twice");
    taken().withdrawn(open(2, 700), 700).finds(Check::Money, "payment-", "moves money twice");
    taken().disputed(open(2, 0)).finds(Check::Money, "payment-", "by another event");
    taken().disputed(open(3, 350)).finds(Check::Money, "payment-", "one by one");
    paid().withdrawn(open(1, 350), 300).finds(Check::Money, "payment-", "another amount than it says");
    LogBuilder::placed().disputed(open(1, 0)).finds(Check::Money, "payment-", "nobody was asked");
}

#[test]
fn finds_a_refund_that_is_asked_for_or_sent_while_its_charge_is_disputed() {
    let disputed = || paid().disputed(open(1, 0));
    disputed().asks_for_money_back().sends_money_back().finds(Check::Money, "refund-", "in doubt");
    let known = || disputed().heard(open(1, 0));
    known().asks_for_money_back().finds(Check::Orders, "order-", "knows to be disputed");
    let over = known().disputed(won(2, 0, 0)).heard(won(2, 0, 0)).asks_for_money_back().sends_money_back();
    assert_eq!(over.found(), []);
}

#[test]
fn finds_an_order_that_does_not_know_of_a_dispute_or_knows_what_nobody_told() {
    paid().disputed(open(1, 0)).finds_after(60, Check::Money, "payment-", "its order does not know");
    paid().heard(open(1, 0)).finds(Check::Money, "payment-", "more of it than payments told");
    let told = || paid().disputed(open(1, 0)).disputed(open(2, 0)).heard(open(2, 0));
    told().heard(open(1, 0)).finds(Check::Money, "payment-", "less of it than before");
}
