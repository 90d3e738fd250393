//! What each event makes of an order: total, and without a second thought.

use domain::RefundId;

use super::{
    state::{Order, Refund, World},
    status::{
        CancelReason, FulfillmentStatus, Hold, PaymentStatus, Phase, RefundReason, RefundStatus, Resource, Status,
    },
};
use crate::event::{Event, Reinstated};

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub fn evolve(world: &mut World, event: &Event) {
    if let Event::OrderPlaced { order_id, terms, placed_at } = event {
        world.orders.create(*order_id, Order::placed(*order_id, terms.clone(), *placed_at));
    } else if let Some(order) = world.orders.change(&event.order_id()) {
        order.version += 1;
        order.take(event);
    }
}

impl Order {
    /// What an event changes, but for the count of events.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            // It made the row.
            Event::OrderPlaced { .. } => {}
            Event::OrderHoldConfirmed { resource, .. } => self.set(*resource, Hold::Held),
            Event::OrderReserved { .. } => {
                self.set_all(Hold::Held);
                self.status = Status::Reserved;
            }
            Event::OrderPaid { payment_id, amount, .. } => {
                self.set_all(Hold::Held);
                self.payment_id = Some(*payment_id);
                self.captured_minor = amount.minor_units;
                self.stand(Status::Paid, PaymentStatus::Paid, FulfillmentStatus::Ready);
            }
            Event::OrderRejected { resource, rejection, .. } => {
                self.set(*resource, Hold::Refused);
                self.close(
                    Status::Rejected,
                    PaymentStatus::Cancelled,
                    &format!("no {}: {rejection}", resource.as_str()),
                );
            }
            Event::OrderExpired { note, .. } => self.close(Status::Expired, PaymentStatus::Cancelled, note),
            Event::OrderCancelled { reason: CancelReason::Requested, note, .. } => {
                self.close(Status::Cancelled, PaymentStatus::Cancelled, note);
            }
            Event::OrderCancelled { reason: CancelReason::PaymentFailed, note, .. } => {
                self.close(Status::Cancelled, PaymentStatus::Failed, note);
            }
            Event::OrderReleaseConfirmed { resource, .. } => self.set(*resource, Hold::Released),
            Event::OrderReleased { .. } => {
                self.set_all(Hold::Released);
                self.released = true;
            }
            Event::OrderReinstated(reinstated) => self.reopen(reinstated),
            Event::RefundRequested { refund_id, payment_id, claim, note, .. } => {
                let refund = Refund { payment_id: *payment_id, claim: claim.clone(), status: RefundStatus::Requested };
                if claim.reason == RefundReason::RoundFailed {
                    self.deferred_share_refund = None;
                }
                self.refunds.insert(*refund_id, refund);
                self.stand_by_refunds(*refund_id);
                // On a closed order the note goes on saying why it was closed.
                if self.status.phase() == Phase::Paid {
                    note.clone_into(&mut self.note);
                }
            }
            Event::OrderRefunded { refund_id, .. } | Event::OrderPartiallyRefunded { refund_id, .. } => {
                self.give_back(*refund_id);
            }
            Event::ShareRefundDeferred { note, .. } => self.deferred_share_refund = Some(note.clone()),
            Event::RefundAbandoned { refund_id, rejection, .. } => {
                if let Some(refund) = self.refunds.get_mut(refund_id) {
                    refund.status = RefundStatus::Abandoned;
                }
                self.stand_by_refunds(*refund_id);
                self.note = format!("refund {refund_id} was given up: {rejection}");
            }
        }
    }

    fn stand(&mut self, status: Status, payment_status: PaymentStatus, fulfillment_status: FulfillmentStatus) {
        self.status = status;
        self.payment_status = payment_status;
        self.fulfillment_status = fulfillment_status;
    }

    fn set(&mut self, resource: Resource, hold: Hold) {
        self.holds.insert(resource, hold);
    }

    /// The last of several holds needs no word of its own. A refused one stays refused.
    fn set_all(&mut self, next: Hold) {
        for hold in self.holds.values_mut().filter(|hold| hold.is_owed()) {
            *hold = next;
        }
    }

    fn close(&mut self, status: Status, payment_status: PaymentStatus, note: &str) {
        self.stand(status, payment_status, FulfillmentStatus::Cancelled);
        // Late money that waited for the holds goes back with the next event.
        self.payment_id = None;
        note.clone_into(&mut self.note);
    }

    fn reopen(&mut self, reinstated: &Reinstated) {
        let paid = reinstated.payment_id.map_or(PaymentStatus::Pending, |_| PaymentStatus::Paid);
        self.stand(Status::Pending, paid, FulfillmentStatus::Pending);
        self.attempt = reinstated.key.attempt;
        self.released = false;
        self.payment_id = reinstated.payment_id;
        self.expires_at = reinstated.expires_at;
        for hold in self.holds.values_mut() {
            *hold = Hold::Asked;
        }
        self.note.clone_from(&reinstated.note);
    }

    fn give_back(&mut self, refund_id: RefundId) {
        let Some(refund) = self.refunds.get_mut(&refund_id) else { return };
        refund.status = RefundStatus::Refunded;
        let (payment_id, minor) = (refund.payment_id, refund.claim.amount.minor_units);
        if self.is_paid_by(payment_id) {
            self.refunded_minor += minor;
            if self.is_all_back() {
                self.fulfillment_status = FulfillmentStatus::Returned;
            }
        }
        self.stand_by_refunds(refund_id);
    }

    /// After a step of a refund: where payment and order stand. Late money moves the payment's status only, and that of
    /// an older attempt moves nothing, for the latest one has a payment of its own.
    fn stand_by_refunds(&mut self, refund_id: RefundId) {
        let Some(refund) = self.refunds.get(&refund_id) else { return };
        let (payment_id, attempt) = (refund.payment_id, refund.claim.attempt);
        let refunded = self.refunded(payment_id);
        let (status, payment_status) = if self.in_flight(payment_id) > 0 {
            (Status::Refunding, PaymentStatus::Refunding)
        } else if refunded == self.received(payment_id) {
            (Status::Refunded, PaymentStatus::Refunded)
        } else if refunded > 0 {
            (Status::PartiallyRefunded, PaymentStatus::PartiallyRefunded)
        } else {
            (Status::Paid, PaymentStatus::Paid)
        };
        match self.status.phase() {
            Phase::Paid if self.is_paid_by(payment_id) => {
                self.status = status;
                self.payment_status = payment_status;
            }
            Phase::Closed if attempt == self.attempt => self.payment_status = payment_status,
            Phase::Open | Phase::Closed | Phase::Paid => {}
        }
    }
}
