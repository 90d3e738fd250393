//! Money that goes back by another way than ours.

use domain::PaymentId;
use proto::{orders::v1 as orders, payments::v1 as payments};

use super::{Ledger, LogBuilder, eur, order, payment, refund};
use crate::report::{Check, Findings};

impl LogBuilder {
    fn made_elsewhere(self, minor_units: i64) -> Self {
        self.then(&payments::PaymentRefundedElsewhere {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            refund_id: refund(),
            amount: eur(minor_units),
            provider_event_id: "evt_1".to_owned(),
            ..Default::default()
        })
    }

    fn booked(self, minor_units: i64) -> Self {
        let requested = orders::RefundRequested {
            order_id: order(),
            attempt: 1,
            refund_id: refund(),
            payment_id: payment(1),
            amount: eur(minor_units),
            reason: orders::RefundReason::Elsewhere.into(),
            ..Default::default()
        };
        self.then(&requested).then(&orders::OrderPartiallyRefunded {
            order_id: order(),
            attempt: 1,
            refund_id: refund(),
            amount: eur(minor_units),
            reason: orders::RefundReason::Elsewhere.into(),
            ..Default::default()
        })
    }
}

#[test]
fn what_was_refunded_elsewhere_is_back_and_was_never_promised() {
    let story = || LogBuilder::placed().all_held().paid().made_elsewhere(100);
    let (mut ledger, mut findings) = (Ledger::default(), Findings::default());
    for event in &story().events {
        ledger.take(event, &mut findings);
    }
    let payment = &ledger.payments.payments[&PaymentId::parse(&payment(1)).unwrap()];
    assert_eq!((payment.refunded, payment.promised), (100, 0));
    assert_eq!(story().booked(100).found_after(3_600), []);
}

#[test]
fn finds_money_that_went_back_elsewhere_and_that_its_order_does_not_count() {
    let paid = || LogBuilder::placed().all_held().paid();
    paid().made_elsewhere(100).finds_after(60, Check::Money, "refund-", "does not count it");
    paid().made_elsewhere(351).finds(Check::Money, "payment-", "3.51 EUR went back");
    paid().booked(100).finds(Check::Money, "refund-", "payments knows nothing of it");
}
