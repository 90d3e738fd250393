//! What each event makes of an order: total, and without a second thought.

use domain::{Discount, Money, PaymentId, RefundId};

use super::{
    payment::late_refund_id,
    state::{Everything, Order, Referenced, Refund, RefundItems, State},
    status::{
        CancelReason, Extent, FulfillmentStatus, HoldStatus, PaymentStatus, Phase, RefundReason, RefundStatus,
        Resource, Status,
    },
};
use crate::event::{Event, Reinstated};

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub fn evolve(state: &mut State, event: &Event) {
    if let Event::OrderPlaced { order_id, terms, placed_at, .. } = event {
        if let Some(reference) = &terms.reference {
            state.references.create(reference.clone(), Referenced(*order_id));
        }
        state.orders.create(*order_id, Order::placed(*order_id, terms.clone(), *placed_at));
    } else if let Some(order) = state.orders.change(&event.order_id()) {
        order.version = order.version.next();
        order.apply(event);
    }
}

impl Order {
    /// What an event changes, but for the count of events.
    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            // It made the row.
            Event::OrderPlaced { .. } => {}
            // Payments is to do something about these.
            Event::CouponRequested { .. } | Event::RedemptionRequested { .. } => {}
            Event::OrderHoldConfirmed { resource, discount, .. } => {
                self.set(*resource, HoldStatus::Held);
                self.take_off(discount.as_ref());
            }
            Event::OrderReserved { discount, .. } => {
                self.take_off(discount.as_ref());
                self.set_all(HoldStatus::Held);
                self.status = Status::Reserved;
            }
            Event::OrderPaid { payment_id, amount, discount, .. } => {
                self.take_off(discount.as_ref());
                self.set_all(HoldStatus::Held);
                self.payment_id = Some(*payment_id);
                self.captured_minor = amount.minor_units;
                self.set_statuses(Status::Paid, PaymentStatus::Paid, FulfillmentStatus::Ready);
                // What was refunded elsewhere may be known before the payment is.
                self.refunded_minor = self.refunded(*payment_id);
                self.set_statuses_from_refunds(*payment_id, self.attempt);
            }
            Event::CaptureRequested { payment_id, .. } => self.capture(*payment_id),
            Event::VoidRequested { payment_id, .. } => self.let_go(*payment_id),
            Event::OrderRejected { resource, rejection, .. } => {
                self.set(*resource, HoldStatus::Rejected);
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
            Event::OrderReleaseConfirmed { resource, .. } => self.set(*resource, HoldStatus::Released),
            Event::OrderReleased { .. } => {
                self.set_all(HoldStatus::Released);
                self.released = true;
            }
            Event::OrderReinstated(reinstated) => self.reopen(reinstated),
            Event::PaidOrderCancelled { refund_id, actor, note, .. } => self.cancel(*refund_id, actor, note),
            Event::LatePaymentDeferred { payment_id, amount, is_authorised, .. } => {
                self.defer((*payment_id, *amount), *is_authorised);
            }
            Event::RefundRequested { refund_id, payment_id, claim, extent, actor, note, .. } => {
                self.request(*refund_id, *payment_id, claim, *extent);
                // Who asks first has asked for all that follows from it: what of it fails ends no wish.
                if *extent == Some(Extent::Everything) && self.everything.is_none() {
                    let (refund_id, reason) = (*refund_id, claim.reason);
                    self.everything = Some(Everything { refund_id, reason, actor: actor.clone(), note: note.clone() });
                }
                // On a closed order the note goes on saying why it was closed.
                if self.status.phase() == Phase::Paid {
                    note.clone_into(&mut self.note);
                }
            }
            Event::OrderRefunded { refund_id, claim, .. } | Event::OrderPartiallyRefunded { refund_id, claim, .. } => {
                self.give_back(*refund_id, claim);
            }
            Event::OrderDisputed { payment_id, dispute_id, dispute, .. } => {
                self.dispute(*payment_id, dispute_id, dispute);
            }
            Event::ShareRefundDeferred { note, .. } => self.deferred_share_refund = Some(note.clone()),
            Event::RefundAbandoned { refund_id, rejection, .. } => {
                self.give_up(*refund_id);
                self.note = format!("refund {refund_id} was given up: {rejection}");
            }
        }
    }

    fn take_off(&mut self, discount: Option<&Discount>) {
        if let Some(discount) = discount {
            self.discount = Some(discount.clone());
        }
    }

    fn set_statuses(&mut self, status: Status, payment_status: PaymentStatus, fulfillment_status: FulfillmentStatus) {
        self.status = status;
        self.payment_status = payment_status;
        self.fulfillment_status = fulfillment_status;
    }

    fn set(&mut self, resource: Resource, hold: HoldStatus) {
        self.holds.insert(resource, hold);
    }

    /// The last of several holds needs no word of its own. A rejected one stays rejected.
    fn set_all(&mut self, next: HoldStatus) {
        for hold in self.holds.values_mut().filter(|hold| hold.is_open()) {
            *hold = next;
        }
    }

    fn close(&mut self, status: Status, payment_status: PaymentStatus, note: &str) {
        self.set_statuses(status, payment_status, FulfillmentStatus::Cancelled);
        // Late money that waited for the holds goes back with the next event.
        self.payment_id = None;
        note.clone_into(&mut self.note);
    }

    /// Everything is held, and it waits for its money and for no time.
    fn capture(&mut self, payment_id: PaymentId) {
        self.set_all(HoldStatus::Held);
        self.payment_id = Some(payment_id);
        self.status = Status::Reserved;
        self.payment_status = PaymentStatus::Capturing;
        self.expires_at = None;
    }

    /// Late money waits for the receipt; in an order that is open again, for the holds.
    fn defer(&mut self, late: (PaymentId, Money), is_authorised: bool) {
        if self.status.phase() == Phase::Closed {
            self.waiting_payment = Some(late);
        }
        self.payment_status = if is_authorised { PaymentStatus::Authorised } else { PaymentStatus::Paid };
    }

    /// Of an older attempt's money, or of what the closed order did not wait for, nothing is known here.
    fn let_go(&mut self, payment_id: PaymentId) {
        if self.waiting_payment.is_some_and(|(waiting, _)| waiting == payment_id) {
            self.waiting_payment = None;
            self.payment_status = PaymentStatus::Voided;
        }
    }

    fn reopen(&mut self, reinstated: &Reinstated) {
        let late = if reinstated.is_authorised { PaymentStatus::Authorised } else { PaymentStatus::Paid };
        let paid = reinstated.payment_id.map_or(PaymentStatus::Pending, |_| late);
        self.set_statuses(Status::Pending, paid, FulfillmentStatus::Pending);
        self.attempt = reinstated.key.attempt;
        self.released = false;
        self.payment_id = reinstated.payment_id;
        self.waiting_payment = None;
        self.expires_at = reinstated.expires_at;
        for hold in self.holds.values_mut() {
            *hold = HoldStatus::Asked;
        }
        self.note.clone_from(&reinstated.note);
    }

    /// It was paid, and stays so until its money is back; what was bought is not handed over.
    fn cancel(&mut self, refund_id: RefundId, actor: &str, note: &str) {
        let reason = RefundReason::OrderCancelled;
        self.everything = Some(Everything { refund_id, reason, actor: actor.to_owned(), note: note.to_owned() });
        if self.fulfillment_status != FulfillmentStatus::Returned {
            self.fulfillment_status = FulfillmentStatus::Cancelled;
        }
        note.clone_into(&mut self.note);
    }

    fn request(&mut self, refund_id: RefundId, payment_id: PaymentId, claim: &RefundItems, extent: Option<Extent>) {
        if claim.reason == RefundReason::RoundFailed {
            self.deferred_share_refund = None;
        }
        if refund_id == late_refund_id(payment_id) {
            self.waiting_payment = self.waiting_payment.filter(|(waiting, _)| *waiting != payment_id);
        }
        let taken = self.left(payment_id, None).take(&claim.lines);
        let refund = Refund { payment_id, claim: claim.clone(), extent, taken, status: RefundStatus::Requested };
        self.refunds.insert(refund_id, refund);
        self.set_statuses_from_refunds(payment_id, claim.attempt);
    }

    /// `claim`: what comes back, which is less than was asked for if its pieces have come back otherwise since.
    fn give_back(&mut self, refund_id: RefundId, claim: &RefundItems) {
        let Some(before) = self.refunds.get(&refund_id) else { return };
        // Of one that was given up, others may have taken the pieces since.
        let given_up = !before.is_live();
        let taken = given_up.then(|| self.left(before.payment_id, None).take(&claim.lines));
        let Some(refund) = self.refunds.get_mut(&refund_id) else { return };
        if let Some(taken) = taken {
            refund.taken = taken;
        }
        refund.claim = claim.clone();
        refund.status = RefundStatus::Refunded;
        let payment_id = refund.payment_id;
        if self.is_paid_by(payment_id) {
            self.refunded_minor += claim.amount.minor_units;
            if self.is_all_back() {
                self.fulfillment_status = FulfillmentStatus::Returned;
            }
        }
        self.set_statuses_from_refunds(payment_id, claim.attempt);
    }

    fn give_up(&mut self, refund_id: RefundId) {
        let Some(refund) = self.refunds.get_mut(&refund_id) else { return };
        refund.status = RefundStatus::Abandoned;
        let (payment_id, attempt) = (refund.payment_id, refund.claim.attempt);
        // What somebody asked for and was refused leaves all as it was, unless some of it goes back; a cancelled order stays cancelled.
        let goes_on = |refund: &Refund| refund.extent == Some(Extent::Everything) && refund.is_live();
        let is_cancelled = |all: &Everything| all.reason == RefundReason::OrderCancelled;
        if !self.everything.as_ref().is_some_and(is_cancelled) && !self.refunds.values().any(goes_on) {
            self.everything = None;
        }
        self.set_statuses_from_refunds(payment_id, attempt);
    }

    /// After a step of a refund of this payment, which was asked for in this attempt: where payment and order stand. Late money moves
    /// the payment's status only, and that of an older attempt moves nothing, for the latest one has a payment of its own.
    fn set_statuses_from_refunds(&mut self, payment_id: PaymentId, attempt: domain::Attempt) {
        let refunded = self.refunded(payment_id);
        // Of what was paid with nothing, goods are all that can come back.
        let (some, all) = match self.is_free() {
            true => (self.refunds.values().any(|refund| refund.status == RefundStatus::Refunded), self.is_all_back()),
            false => (refunded > 0, refunded > 0 && refunded == self.received(payment_id)),
        };
        let (status, payment_status) = if self.in_flight(payment_id) > 0 {
            (Status::Refunding, PaymentStatus::Refunding)
        } else if some && all {
            (Status::Refunded, PaymentStatus::Refunded)
        } else if some {
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
