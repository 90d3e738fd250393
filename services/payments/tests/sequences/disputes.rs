//! Disputes among any sequence of messages: none takes money twice, no refund is sent meanwhile, and no order of telling makes a difference.

use std::collections::BTreeMap;

use domain::{Dispute, DisputeStanding, PaymentId, Timestamp};
use payments::event::{DisputeEvent, DisputeStep};
use proptest::{prelude::*, sample::select};
use proto::{common::v1::DisputeStanding as Standing, orders::v1 as orders, payments::v1 as wire};

use super::{Input, ORDER, Shell, attempt, foreign, key, money, outside};

/// What must be true of disputes, from the log alone.
#[derive(Default)]
pub(super) struct Disputes(BTreeMap<(PaymentId, String), Dispute>);

impl Disputes {
    pub(super) fn hear(&mut self, event: DisputeEvent) {
        let DisputeEvent { payment_id, dispute_id, step, dispute, .. } = event;
        let before = self.0.insert((payment_id, dispute_id), dispute.clone());
        let (revision, withdrawn, reinstated) =
            before.map_or((0, None, None), |before| (before.revision, before.withdrawn, before.reinstated));
        assert_eq!(dispute.revision, revision + 1, "its events are not counted one by one");
        let moved = (dispute.withdrawn != withdrawn, dispute.reinstated != reinstated);
        let expected = (step == DisputeStep::FundsWithdrawn, step == DisputeStep::FundsReinstated);
        assert_eq!(moved, expected, "money moves by another event than says so");
        assert!(withdrawn.is_none() || !moved.0, "it takes money twice");
        assert!(reinstated.is_none() || !moved.1, "it gives money back twice");
    }

    /// Whether no refund of a payment may be sent now.
    pub(super) fn stop(&self, payment_id: PaymentId) -> bool {
        let of_it = self.0.iter().filter(|((of, _), _)| *of == payment_id);
        let stops = |dispute: &Dispute| {
            let is_over = matches!(dispute.standing, DisputeStanding::Won | DisputeStanding::Ended);
            !is_over && !dispute.refundable && !dispute.of_second_charge
        };
        of_it.into_iter().any(|(_, dispute)| stops(dispute))
    }
}

/// A report about one of two disputes, which takes and gives back always the same.
pub(super) fn report() -> impl Strategy<Value = Input> {
    let standings = select(vec![
        ("needs_response", Standing::Open),
        ("under_review", Standing::Open),
        ("won", Standing::Won),
        ("lost", Standing::Lost),
    ]);
    let charges = select(vec!["", "re_1", "re_2"]);
    (attempt(), 8..12_i32, 1..3_i64, standings, 1..4_i64, any::<bool>(), charges).prop_map(
        |(attempt, kind, dispute, (status, standing), seconds, refundable, charge)| {
            let occurred_at = Some(Timestamp::from_micros(seconds * 1_000_000).to_wire());
            outside(&wire::RecordProviderEvent {
                kind,
                payment_id: key(attempt).payment_id().to_string(),
                amount: money(600 * dispute),
                provider_event_id: format!("du_{dispute} {kind} {status}"),
                provider_reference: charge.to_owned(),
                occurred_at,
                dispute: Some(wire::ReportedDispute {
                    dispute_id: format!("du_{dispute}"),
                    status: status.to_owned(),
                    standing: standing.into(),
                    amount: money(600 * dispute),
                    refundable,
                    ..Default::default()
                }),
                ..Default::default()
            })
        },
    )
}

fn asked() -> Input {
    foreign(&orders::OrderReserved {
        order_id: ORDER.to_string(),
        attempt: 1,
        amount: money(1_000),
        expires_at: Some(Timestamp::from_micros(9).to_wire()),
        ..Default::default()
    })
}

/// What the disputes of the first attempt's payment come to, told in this order.
fn told(reports: &[Input]) -> BTreeMap<String, Dispute> {
    let mut shell = Shell::default();
    for input in std::iter::once(&asked()).chain(reports) {
        shell.handle(input).unwrap();
    }
    let payment = shell.state.payments.get(&key(1).payment_id()).unwrap();
    let without_count = |dispute: &Dispute| Dispute { revision: 0, ..dispute.clone() };
    payment.disputes.iter().map(|(id, dispute)| (id.clone(), without_count(dispute))).collect()
}

fn shuffled() -> impl Strategy<Value = (Vec<Input>, Vec<Input>)> {
    proptest::collection::vec(report(), 0..12).prop_flat_map(|reports| {
        let twice: Vec<Input> = reports.iter().chain(&reports).cloned().collect();
        (Just(reports), Just(twice).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn disputes_come_to_the_same_in_any_order_and_however_often_they_are_told((reports, shuffled) in shuffled()) {
        prop_assert_eq!(told(&reports), told(&shuffled));
    }
}
