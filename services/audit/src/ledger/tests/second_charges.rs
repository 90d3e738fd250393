//! Money that came twice, and goes back by itself.

use domain::PaymentId;
use proto::{common::v1::Rejection, payments::v1 as payments};

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
        self.then(&payments::RefundRejected {
            payment_id: payment(1),
            order_id: order(),
            refund_id: refund(),
            amount: eur(minor_units),
            rejection: Some(Rejection::default()),
            of_second_charge: true,
            ..Default::default()
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
