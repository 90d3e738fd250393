//! What the provider, the buyers and the operators make of what happens.

use std::time::Duration;

use domain::{PaymentId, RefundId};
use payments::sandbox::report;
use proto::{
    Message as _, Name,
    payments::v1::{PaymentRequested, RefundOutcomeUnknown},
    rounds::v1::{RoundReopened, RoundSoldOut, SharesSold},
};
use runtime::event_store::Recorded;

use super::Engine;
use crate::workload::{Intent, buys_again, gives_back, resolve};

impl Engine {
    pub(super) fn hear(&mut self, event: &Recorded) {
        if event.message_type == PaymentRequested::full_name()
            && let Ok(payment) = PaymentRequested::decode(event.data.as_slice())
            && let Some(report) = report::of_payment(&payment, self.now)
        {
            self.intend(Intent::new(report.due, report.id, &report.command));
        }
        if event.message_type == RefundOutcomeUnknown::full_name()
            && let Ok(refund) = RefundOutcomeUnknown::decode(event.data.as_slice())
            && let (Ok(payment_id), Ok(refund_id)) =
                (PaymentId::parse(&refund.payment_id), RefundId::parse(&refund.refund_id))
        {
            let has_moved = self.bank.has_moved(payment_id, refund_id);
            let intent = resolve(&mut self.rng, self.now + Duration::from_secs(60), refund, has_moved);
            self.intend(intent);
        }
        if event.message_type == RoundSoldOut::full_name()
            && let Ok(round) = RoundSoldOut::decode(event.data.as_slice())
        {
            let buyers = self.buyers(&round.round_id);
            gives_back(&mut self.rng, self.now, buyers).into_iter().for_each(|intent| self.intend(intent));
        }
        if event.message_type == RoundReopened::full_name()
            && let Ok(round) = RoundReopened::decode(event.data.as_slice())
        {
            buys_again(&mut self.rng, self.now, &round.round_id).into_iter().for_each(|intent| self.intend(intent));
        }
    }

    /// Orders that have bought shares of a round.
    fn buyers(&self, round_id: &str) -> Vec<String> {
        let sales = self.log.values().filter(|event| event.message_type == SharesSold::full_name());
        let sales = sales.filter_map(|event| SharesSold::decode(event.data.as_slice()).ok());
        sales.filter(|sold| sold.round_id == round_id).map(|sold| sold.order_id).collect()
    }
}
