//! Money that came twice, and goes back by itself.

use domain::PaymentId;
use proto::{
    common::v1::{Dispute, DisputeStanding, Rejection},
    orders::v1 as orders,
    payments::v1 as payments,
};

use super::{Ledger, LogBuilder, eur, order, payment, refund};
use crate::report::{Check, Findings};

impl LogBuilder {
    fn charged_again(self, minor_units: i64) -> Self {
        let report = payments::ProviderReport {
            kind: payments::ProviderEventKind::PaymentSucceeded.into(),
            provider_event_id: "evt_2".to_owned(),
            provider_reference: "ch_2".to_owned(),
            amount: eur(minor_units),
            ..Default::default()
        };
        self.then(&payments::ProviderReportUnmatched {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            report: Some(report),
            mismatch: payments::ReportMismatch::SecondCharge.into(),
        })
    }

    fn sent_back(self, minor_units: i64) -> Self {
        self.then(&payments::RefundSubmitted {
            payment_id: payment(1),
            order_id: order(),
            refund_id: refund(),
            amount: eur(minor_units),
            charge_reference: "ch_2".to_owned(),
            of_second_charge: true,
            ..Default::default()
        })
    }

    fn was_declined(self, minor_units: i64) -> Self {
        self.then(&declined(minor_units))
    }
}

fn declined(minor_units: i64) -> payments::RefundRejected {
    payments::RefundRejected {
        payment_id: payment(1),
        order_id: order(),
        refund_id: refund(),
        amount: eur(minor_units),
        rejection: Some(Rejection::default()),
        of_second_charge: true,
        ..Default::default()
    }
}

impl LogBuilder {
    fn given_back_elsewhere(self, charge: &str, minor_units: i64) -> Self {
        self.then(&payments::PaymentRefundedElsewhere {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            refund_id: refund(),
            amount: eur(minor_units),
            provider_event_id: "evt_9".to_owned(),
            of_second_charge: true,
            charge_reference: charge.to_owned(),
            ..Default::default()
        })
    }

    fn told_of_dispute(self, of_second_charge: bool) -> Self {
        let dispute = Dispute {
            dispute_id: "du_1".to_owned(),
            revision: 1,
            standing: DisputeStanding::Open.into(),
            withdrawn: eur(350),
            of_second_charge,
            ..Default::default()
        };
        self.then(&payments::DisputeFundsWithdrawn {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            dispute: Some(dispute.clone()),
            amount: eur(350),
            ..Default::default()
        })
        .then(&orders::OrderDisputed {
            order_id: order(),
            attempt: 1,
            payment_id: payment(1),
            dispute: Some(dispute),
        })
    }
}

fn charged_twice() -> LogBuilder {
    LogBuilder::placed().all_held().paid().charged_again(350)
}

fn books(story: &LogBuilder) -> Ledger {
    let (mut ledger, mut findings) = (Ledger::default(), Findings::default());
    for event in &story.events {
        ledger.take(event, &mut findings);
    }
    ledger
}

#[test]
fn a_second_charge_goes_back_beside_the_money_of_its_payment_and_no_order_has_to_count_it() {
    let story = || charged_twice().sent_back(350);
    let ledger = books(&story());
    let booked = &ledger.payments.payments[&PaymentId::parse(&payment(1)).unwrap()];
    assert_eq!((booked.captured_minor(), booked.refunded, booked.promised), (350, 0, 0));
    assert!(ledger.payments.open_reports.is_empty(), "nobody is asked about it");
    assert_eq!(story().found_after(3_600), []);
    assert_eq!(story().went_back(350).found_after(3_600), []);
    // It is with a person again, and is sent once more.
    let declined = || story().was_declined(350);
    assert_eq!(books(&declined()).payments.open_reports.len(), 1);
    assert_eq!(declined().sent_back(350).went_back(350).found_after(3_600), []);
}

#[test]
fn finds_a_second_charge_that_never_came_or_is_of_another_amount_or_goes_back_twice() {
    let paid = || LogBuilder::placed().all_held().paid();
    paid().sent_back(350).finds(Check::Money, "refund-", "a second charge that never came");
    charged_twice().sent_back(349).finds(Check::Money, "refund-", "a second charge that never came");
    paid().charged_again(300).sent_back(350).finds(Check::Money, "payment-", "more of a second charge went back");
    charged_twice().sent_back(350).sent_back(350).finds(Check::Money, "refund-", "although it is");
}

#[test]
fn what_others_give_back_of_a_second_charge_is_of_that_charge() {
    let story = || charged_twice().given_back_elsewhere("ch_2", 150);
    let ledger = books(&story());
    let booked = &ledger.payments.payments[&PaymentId::parse(&payment(1)).unwrap()];
    assert_eq!((booked.captured_minor(), booked.refunded, booked.promised), (350, 0, 0));
    assert_eq!(ledger.payments.open_reports.len(), 1, "the rest is with a person");
    assert_eq!(story().found_after(3_600), [], "and no order has to count it");
    assert!(books(&charged_twice().given_back_elsewhere("ch_2", 350)).payments.open_reports.is_empty());
    charged_twice().given_back_elsewhere("ch_2", 351).finds(
        Check::Money,
        "payment-",
        "more of a second charge went back",
    );
    LogBuilder::placed().all_held().paid().given_back_elsewhere("ch_2", 1).finds(
        Check::Money,
        "payment-",
        "more of a second charge went back",
    );
}

#[test]
fn what_of_a_second_charge_went_back_in_vain_may_be_given_up_and_no_refund_of_an_order_may() {
    let reversed = |of_second_charge| payments::RefundReversed {
        payment_id: payment(1),
        order_id: order(),
        refund_id: refund(),
        amount: eur(150),
        of_second_charge,
        ..Default::default()
    };
    let story = charged_twice().given_back_elsewhere("ch_2", 150).then(&reversed(true)).was_declined(150);
    assert_eq!(books(&story).payments.open_reports.len(), 1, "all of the charge is with a person");
    assert_eq!(story.found_after(3_600), []);
    let own = payments::RefundRejected { of_second_charge: false, ..declined(350) };
    let story = LogBuilder::placed().all_held().paid().refunded();
    let story = story.then(&payments::RefundReversed { amount: eur(350), ..reversed(false) }).then(&own);
    story.finds(Check::Money, "refund-", "it is Rejected although it is Reversed");
}

#[test]
fn a_dispute_of_a_second_charge_is_of_that_charge() {
    let paid = || LogBuilder::placed().all_held().paid();
    let of_payment = PaymentId::parse(&payment(1)).unwrap();
    let (own, other) = (books(&paid().told_of_dispute(false)), books(&charged_twice().told_of_dispute(true)));
    assert_eq!(
        (own.payments.disputes.charged_back(of_payment), other.payments.disputes.charged_back(of_payment)),
        (350, 0)
    );
    assert_eq!(charged_twice().told_of_dispute(true).found_after(3_600), []);
}
