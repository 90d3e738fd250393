//! The other services as small models, and a broker that loses nothing, but shuffles and repeats: everything settles.

use std::collections::{BTreeMap, BTreeSet};

use domain::Decider;
use domain::{
    Dispute, DisputeStanding, HoldKey, Money, OrderId, PaymentId, RefundId, RoundId,
    hold::{self, Request, Step},
};
use proptest::prelude::*;
use proto::{
    Message, Name, common::v1 as common, inventory::v1 as inventory, payments::v1 as payments, rounds::v1 as rounds,
};

use super::{Fleet, any_request, any_terms, order_id};
use crate::{
    Orders,
    command::{Command, RefundRequest},
    event::Event,
    order::{
        Extent, FulfillmentStatus, HoldStatus, OrderTerms, Phase, RefundReason, RefundStatus, Resource, Status,
        late_refund_id, round_refund_id, spec,
    },
};

/// Who hears of an event of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Neighbour {
    Inventory,
    Rounds,
    Payments,
}

/// A message under way.
#[derive(Debug, Clone)]
enum Letter {
    To(Neighbour, Box<Event>),
    ToOrders(String, Vec<u8>),
}

/// A payment as payments knows it.
#[derive(Debug, Default)]
struct Payment {
    key: Option<HoldKey>,
    amount: Option<Money>,
    cancelled: bool,
    /// Money that came in, or the failure.
    outcome: Option<bool>,
    /// Whether money that was set aside is so still.
    hold: Option<bool>,
    refunds: BTreeMap<RefundId, bool>,
    refunded_minor: i64,
    /// What was said of its dispute, so many times.
    dispute: i32,
}

/// Four services and a broker.
struct Town {
    fleet: Fleet,
    letters: Vec<Letter>,
    holds: BTreeMap<(HoldKey, Resource), hold::Status>,
    /// Refunds that brought pieces or shares back.
    returns: BTreeSet<(OrderId, RefundId, Resource)>,
    payments: BTreeMap<PaymentId, Payment>,
    failed: bool,
    named: BTreeSet<HoldKey>,
    /// Luck, used up bit by bit.
    luck: u64,
}

fn ids(key: HoldKey) -> (String, i32) {
    (key.order_id.to_string(), key.attempt)
}

fn no() -> Option<common::Rejection> {
    Some(spec::none_left().to_wire())
}

impl Town {
    fn new(luck: u64) -> Self {
        Self {
            fleet: Fleet::new(),
            letters: vec![],
            holds: BTreeMap::new(),
            returns: BTreeSet::new(),
            payments: BTreeMap::new(),
            failed: false,
            named: BTreeSet::new(),
            luck,
        }
    }

    fn lucky(&mut self) -> bool {
        self.luck = self.luck.rotate_left(1);
        // Three times out of four.
        self.luck & 3 != 0
    }

    fn tell<M: Message + Name>(&mut self, event: &M) {
        self.letters.push(Letter::ToOrders(M::full_name(), event.encode_to_vec()));
    }

    fn publish(&mut self, events: Vec<Event>) {
        for event in events {
            if let Event::OrderReleased { key } = event {
                self.audit_receipt(key);
            }
            for neighbour in [Neighbour::Inventory, Neighbour::Rounds, Neighbour::Payments] {
                self.letters.push(Letter::To(neighbour, Box::new(event.clone())));
            }
        }
    }

    /// When the receipt is written, nothing is held, and nothing will be: every owner has its word, or its tombstone.
    fn audit_receipt(&self, key: HoldKey) {
        for resource in self.fleet.state.orders.get(&key.order_id).unwrap().requested() {
            let hold = self.holds.get(&(key, resource));
            assert!(
                matches!(hold, Some(hold::Status::Released | hold::Status::Rejected)),
                "{key} {resource:?} {hold:?}"
            );
        }
    }

    /// From outside: what business refuses is refused, but nothing is broken.
    fn command(&mut self, command: &Command) {
        match self.fleet.handle(command) {
            Ok(events) => self.publish(events),
            Err(refusal) => assert!(matches!(refusal, domain::DecideError::Rejected(_)), "{refusal}"),
        }
    }

    fn ring(&mut self, order_id: OrderId) {
        let events = self.fleet.ring(order_id);
        self.publish(events);
    }

    fn deliver(&mut self, index: usize, repeat: bool) {
        if self.letters.is_empty() {
            return;
        }
        let index = index % self.letters.len();
        let letter = if repeat { self.letters[index].clone() } else { self.letters.swap_remove(index) };
        match letter {
            Letter::ToOrders(message_type, data) => {
                for command in Orders::react(&message_type, &data).unwrap() {
                    // Nothing that is true is ever refused.
                    let events = self.fleet.handle(&command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
                    self.publish(events);
                }
            }
            Letter::To(Neighbour::Payments, event) => {
                self.coupons_hear(&event);
                self.payments_hear(&event);
            }
            Letter::To(Neighbour::Inventory, event) => self.holder_hears(&event, Resource::Stock),
            Letter::To(Neighbour::Rounds, event) => self.holder_hears(&event, Resource::Shares),
        }
    }

    fn holder_hears(&mut self, event: &Event, resource: Resource) {
        match event {
            Event::OrderPlaced { order_id, terms, .. } if terms.resources().any(|asked| asked == resource) => {
                self.hold(HoldKey { order_id: *order_id, attempt: 1 }, resource, Request::Hold);
            }
            Event::OrderReinstated(fact) => {
                let asked = if resource == Resource::Stock { !fact.lines.is_empty() } else { fact.shares.is_some() };
                if asked {
                    self.hold(fact.key, resource, Request::Hold);
                }
            }
            Event::OrderPaid { key, holds, .. } if holds.contains(&resource) => {
                self.hold(*key, resource, Request::Commit);
            }
            Event::OrderExpired { key, holds, .. }
            | Event::OrderCancelled { key, holds, .. }
            | Event::OrderRejected { key, holds, .. }
                if holds.contains(&resource) =>
            {
                self.hold(*key, resource, Request::Release);
            }
            Event::OrderRefunded { order_id, refund_id, claim }
            | Event::OrderPartiallyRefunded { order_id, refund_id, claim } => {
                let back = if resource == Resource::Stock { !claim.lines.is_empty() } else { claim.return_shares };
                if back {
                    // The refund proves that the order is paid: if it overtook that message, the commit comes first.
                    self.hold(HoldKey { order_id: *order_id, attempt: claim.attempt }, resource, Request::Commit);
                    self.returns.insert((*order_id, *refund_id, resource));
                }
            }
            Event::OrderPlaced { .. }
            | Event::CouponRequested { .. }
            | Event::RedemptionRequested { .. }
            | Event::CaptureRequested { .. }
            | Event::VoidRequested { .. }
            | Event::OrderHoldConfirmed { .. }
            | Event::OrderReserved { .. }
            | Event::OrderRejected { .. }
            | Event::OrderPaid { .. }
            | Event::OrderExpired { .. }
            | Event::OrderCancelled { .. }
            | Event::OrderReleaseConfirmed { .. }
            | Event::OrderReleased { .. }
            | Event::PaidOrderCancelled { .. }
            | Event::LatePaymentDeferred { .. }
            | Event::RefundRequested { .. }
            | Event::ShareRefundDeferred { .. }
            | Event::OrderDisputed { .. }
            | Event::RefundAbandoned { .. } => {}
        }
    }

    /// Payments again: what it does about coupons.
    fn coupons_hear(&mut self, event: &Event) {
        if let Event::CouponRequested { key, .. } = event {
            self.hold(*key, Resource::Coupon, Request::Hold);
        } else if let Event::RedemptionRequested { key, .. } = event {
            self.hold(*key, Resource::Coupon, Request::Commit);
        } else if let Event::OrderExpired { key, holds, .. }
        | Event::OrderCancelled { key, holds, .. }
        | Event::OrderRejected { key, holds, .. } = event
            && holds.contains(&Resource::Coupon)
        {
            self.hold(*key, Resource::Coupon, Request::Release);
        }
    }

    fn hold(&mut self, key: HoldKey, resource: Resource, request: Request) {
        let next = match hold::step(self.holds.get(&(key, resource)).copied(), request) {
            Step::Try if resource == Resource::Shares && self.failed => hold::Status::Rejected,
            Step::Try if self.lucky() => hold::Status::Held,
            Step::Try => hold::Status::Rejected,
            Step::Become(status) => status,
            Step::Nothing => return,
            Step::Broken => panic!("{request:?} of {key} {resource:?}, {:?}", self.holds.get(&(key, resource))),
        };
        self.holds.insert((key, resource), next);
        self.answer(key, resource, next);
    }

    fn answer(&mut self, key: HoldKey, resource: Resource, status: hold::Status) {
        let (order_id, attempt) = ids(key);
        match (resource, status) {
            (Resource::Stock, hold::Status::Held) => {
                self.tell(&inventory::StockHeld { order_id, attempt, lines: vec![] });
            }
            (Resource::Stock, hold::Status::Rejected) => {
                self.tell(&inventory::StockRejected { order_id, attempt, rejection: no() });
            }
            (Resource::Stock, hold::Status::Released) => {
                self.tell(&inventory::StockReleased { order_id, attempt, lines: vec![] });
            }
            (Resource::Stock, hold::Status::Committed) => {}
            (Resource::Shares, hold::Status::Held) => {
                self.tell(&rounds::SharesHeld { order_id, attempt, ..Default::default() });
            }
            (Resource::Shares, hold::Status::Rejected) => {
                self.tell(&rounds::SharesRejected { order_id, attempt, rejection: no(), ..Default::default() });
            }
            (Resource::Shares, hold::Status::Released) => {
                self.tell(&rounds::SharesReleased { order_id, attempt, ..Default::default() });
            }
            (Resource::Shares, hold::Status::Committed) if self.failed => self.name_participants(),
            (Resource::Shares, hold::Status::Committed) => {}
            (Resource::Coupon, hold::Status::Held) => {
                let terms = &self.fleet.state.orders.get(&key.order_id).unwrap().terms;
                let discount = spec::discount_of(terms).map(|discount| discount.to_wire());
                self.tell(&payments::CouponHeld { order_id, attempt, discount, ..Default::default() });
            }
            (Resource::Coupon, hold::Status::Rejected) => {
                self.tell(&payments::CouponRejected { order_id, attempt, rejection: no(), ..Default::default() });
            }
            (Resource::Coupon, hold::Status::Released) => {
                self.tell(&payments::CouponReleased { order_id, attempt, ..Default::default() });
            }
            (Resource::Coupon, hold::Status::Committed) => {}
        }
    }

    /// The round failed, or somebody bought of it after it had.
    fn name_participants(&mut self) {
        self.failed = true;
        let sold = |(key, status): (&(HoldKey, Resource), &hold::Status)| {
            (key.1 == Resource::Shares && *status == hold::Status::Committed).then_some(key.0)
        };
        let keys: Vec<_> = self.holds.iter().filter_map(sold).filter(|key| !self.named.contains(key)).collect();
        self.named.extend(&keys);
        let RoundId(round_id) = spec::round();
        let participants = keys.into_iter().map(|key| {
            let (order_id, attempt) = ids(key);
            rounds::RoundParticipant { order_id, attempt }
        });
        let participants = participants.collect();
        self.tell(&rounds::RoundRefundsRequested {
            round_id: round_id.to_string(),
            participants,
            ..Default::default()
        });
    }

    fn payments_hear(&mut self, event: &Event) {
        match event {
            Event::OrderReserved { key, amount, .. } => {
                let payment = self.payments.entry(key.payment_id()).or_default();
                (payment.key, payment.amount) = (Some(*key), Some(*amount));
            }
            Event::OrderExpired { key, .. } | Event::OrderCancelled { key, .. } | Event::OrderRejected { key, .. } => {
                self.payments.entry(key.payment_id()).or_default().cancelled = true;
            }
            Event::CaptureRequested { payment_id, .. } => {
                let takes = self.lucky();
                self.end_hold(*payment_id, takes, true);
            }
            Event::VoidRequested { payment_id, .. } => self.end_hold(*payment_id, false, false),
            // Of an order that was paid with nothing.
            Event::RefundRequested { payment_id, claim, .. }
                if claim.amount.minor_units == 0 && !self.payments.contains_key(payment_id) => {}
            Event::RefundRequested { order_id, refund_id, payment_id, claim, .. } => {
                let lucky = self.lucky();
                let payment = self.payments.entry(*payment_id).or_default();
                assert_eq!(payment.outcome, Some(true), "a refund of a payment that nobody made");
                let paid = payment.amount.map_or(0, |amount| amount.minor_units);
                let minor_units = claim.amount.minor_units;
                // What went back elsewhere meanwhile is not there any more.
                let goes = minor_units == 0 || (lucky && payment.refunded_minor + minor_units <= paid);
                let outcome = *payment.refunds.entry(*refund_id).or_insert_with(|| {
                    payment.refunded_minor += if goes { minor_units } else { 0 };
                    goes
                });
                assert!(payment.refunded_minor <= paid, "more is given back than was paid");
                let (payment_id, order_id) = (payment_id.to_string(), order_id.to_string());
                let (refund_id, amount) = (refund_id.to_string(), Some(claim.amount.to_wire()));
                if outcome {
                    self.tell(&payments::PaymentRefunded {
                        payment_id,
                        order_id,
                        refund_id,
                        amount,
                        ..Default::default()
                    });
                } else {
                    self.tell(&payments::RefundRejected {
                        payment_id,
                        order_id,
                        refund_id,
                        rejection: no(),
                        ..Default::default()
                    });
                }
            }
            Event::OrderPlaced { .. }
            | Event::CouponRequested { .. }
            | Event::RedemptionRequested { .. }
            | Event::OrderHoldConfirmed { .. }
            | Event::OrderPaid { .. }
            | Event::OrderReleaseConfirmed { .. }
            | Event::OrderReleased { .. }
            | Event::OrderReinstated(_)
            | Event::PaidOrderCancelled { .. }
            | Event::LatePaymentDeferred { .. }
            | Event::OrderRefunded { .. }
            | Event::OrderPartiallyRefunded { .. }
            | Event::ShareRefundDeferred { .. }
            | Event::OrderDisputed { .. }
            | Event::RefundAbandoned { .. } => {}
        }
    }

    /// A buyer's bank disputes what was paid, or says something more of it, which changes nothing but that a refund may be refused.
    fn dispute(&mut self, index: usize) {
        let paid = self.payments.iter().filter(|(_, payment)| payment.outcome == Some(true));
        let paid: Vec<PaymentId> = paid.map(|(payment_id, _)| *payment_id).collect();
        let Some(payment_id) = paid.get(index % paid.len().max(1)) else { return };
        let Some(payment) = self.payments.get_mut(payment_id) else { return };
        let Some(key) = payment.key else { return };
        payment.dispute += 1;
        let is_over = payment.dispute.rem_euclid(2) == 0;
        let dispute = Dispute {
            revision: payment.dispute,
            status: format!("word {}", payment.dispute),
            standing: if is_over { DisputeStanding::Won } else { DisputeStanding::Open },
            reason: String::new(),
            amount: None,
            due_by: None,
            refundable: false,
            withdrawn: None,
            reinstated: None,
            as_of: None,
            of_second_charge: false,
        };
        let ((order_id, attempt), payment_id) = (ids(key), payment_id.to_string());
        let dispute = Some(dispute.to_wire(&format!("du_{payment_id}")));
        if is_over {
            self.tell(&payments::DisputeClosed { payment_id, order_id, attempt, dispute, ..Default::default() });
        } else {
            self.tell(&payments::PaymentDisputed { payment_id, order_id, attempt, dispute, ..Default::default() });
        }
    }

    /// Money that is set aside is taken, or has ended: it has lapsed, or orders wants no more of it. Who asks for money that has ended is told
    /// so, for it may have heard of that before it heard that there was any.
    fn end_hold(&mut self, payment_id: PaymentId, takes: bool, is_asked_for: bool) {
        let payment = self.payments.get_mut(&payment_id).unwrap();
        let is_held = payment.hold.unwrap();
        if payment.outcome == Some(true) || !(is_held || is_asked_for) {
            return;
        }
        payment.hold = Some(false);
        let (key, amount) = (payment.key.unwrap(), payment.amount.unwrap());
        let ((order_id, attempt), payment_id, amount) = (ids(key), payment_id.to_string(), Some(amount.to_wire()));
        if takes && is_held {
            payment.outcome = Some(true);
            self.tell(&payments::PaymentSucceeded { payment_id, order_id, attempt, amount, ..Default::default() });
        } else {
            let awaited = true;
            self.tell(&payments::PaymentVoided { payment_id, order_id, attempt, awaited, ..Default::default() });
        }
    }

    /// A buyer who was asked pays, perhaps when nobody waits for it any more; or the payment fails.
    fn pay(&mut self, index: usize, succeeds: bool) {
        let open =
            self.payments.iter().filter(|(_, payment)| payment.amount.is_some() && payment.outcome != Some(true));
        let open: Vec<PaymentId> = open.map(|(payment_id, _)| *payment_id).collect();
        let Some(payment_id) = open.get(index % open.len().max(1)) else { return };
        let Some(payment) = self.payments.get_mut(payment_id) else { return };
        let (Some(key), Some(amount)) = (payment.key, payment.amount) else { return };
        let (order_id, attempt) = ids(key);
        let (of, payment_id) = (*payment_id, payment_id.to_string());
        if succeeds && payment.hold.is_none() && payment.outcome.is_none() && index.is_multiple_of(3) {
            payment.hold = Some(true);
            let amount = Some(amount.to_wire());
            self.tell(&payments::PaymentAuthorised { payment_id, order_id, attempt, amount, ..Default::default() });
        } else if !succeeds && payment.hold == Some(true) {
            // It lapses.
            self.end_hold(of, false, false);
        } else if succeeds {
            payment.outcome = Some(true);
            let amount = Some(amount.to_wire());
            self.tell(&payments::PaymentSucceeded { payment_id, order_id, attempt, amount, ..Default::default() });
        } else if payment.outcome.is_none() && payment.hold.is_none() && !payment.cancelled {
            payment.outcome = Some(false);
            self.tell(&payments::PaymentFailed { payment_id, order_id, attempt, ..Default::default() });
        }
    }

    /// Somebody gives money back in the provider's dashboard.
    fn refund_elsewhere(&mut self, index: usize) {
        let paid = self.payments.iter().filter(|(_, payment)| payment.outcome == Some(true));
        let paid: Vec<PaymentId> = paid.map(|(payment_id, _)| *payment_id).collect();
        let Some(payment_id) = paid.get(index % paid.len().max(1)) else { return };
        let Some(payment) = self.payments.get_mut(payment_id) else { return };
        let (Some(key), Some(amount)) = (payment.key, payment.amount) else { return };
        let refund_id = RefundId(domain::derived(payment_id.0, &format!("elsewhere {}", payment.refunds.len())));
        if payment.refunded_minor + 100 > amount.minor_units || payment.refunds.insert(refund_id, true).is_some() {
            return;
        }
        payment.refunded_minor += 100;
        let (order_id, attempt) = ids(key);
        self.tell(&payments::PaymentRefundedElsewhere {
            payment_id: payment_id.to_string(),
            order_id,
            attempt,
            refund_id: refund_id.to_string(),
            amount: Some(spec::euros(100).to_wire()),
            ..Default::default()
        });
    }

    /// Everything is delivered and every timer rings, until nothing is left to do.
    fn settle(&mut self) {
        loop {
            while !self.letters.is_empty() {
                self.deliver(0, false);
            }
            let Some(order_id) = self.fleet.timers.keys().next().copied() else { break };
            self.ring(order_id);
        }
    }

    fn audit_end(&self) {
        self.fleet.audit();
        for (_, order) in self.fleet.state.orders.iter() {
            let phase = order.status.phase();
            assert_ne!(phase, Phase::Open, "nobody will ever close {order:?}");
            assert!(phase != Phase::Closed || order.released, "{order:?}");
            assert_ne!(order.status, Status::Refunding, "{order:?}");
            assert!(order.refunds.values().all(|refund| refund.status != RefundStatus::Requested), "{order:?}");
            for ((key, resource), status) in self.holds.iter().filter(|((key, _), _)| key.order_id == order.order_id) {
                let sold = phase == Phase::Paid && key.attempt == order.attempt;
                let closed = matches!(status, hold::Status::Released | hold::Status::Rejected);
                assert_eq!(sold, *status == hold::Status::Committed, "{key} {resource:?} {order:?}");
                assert!(sold || closed, "{key} {resource:?} is {status:?} and the order {order:?}");
            }
            let known =
                |hold: &HoldStatus| if phase == Phase::Paid { *hold == HoldStatus::Held } else { !hold.is_open() };
            assert!(order.holds.values().all(known), "{order:?}");
            for (refund_id, refund) in &order.refunds {
                let back = refund.status == RefundStatus::Refunded;
                let returned = |resource| self.returns.contains(&(order.order_id, *refund_id, resource));
                assert_eq!(returned(Resource::Stock), back && !refund.claim.lines.is_empty());
                assert_eq!(returned(Resource::Shares), back && refund.claim.return_shares);
            }
            assert_eq!(order.waiting_payment, None, "late money waits for ever: {order:?}");
            let cancelled = order.everything.as_ref().filter(|all| all.reason == RefundReason::OrderCancelled);
            if let (Some(_), Some(payment_id)) = (cancelled, order.payment_id) {
                let left = order.left(payment_id, None);
                let declined = order.refunds.values().any(|refund| {
                    refund.extent == Some(Extent::Everything) && refund.status == RefundStatus::Abandoned
                });
                assert!(declined || left.is_nothing(), "it was cancelled, and keeps {left:?}: {order:?}");
                // Late payments may be owed as well.
                assert!(order.owed_minor() >= left.minor, "{order:?}");
            }
            let all_back = order.fulfillment_status == FulfillmentStatus::Returned;
            assert_eq!(all_back, phase == Phase::Paid && order.is_all_back(), "{order:?}");
        }
        self.audit_payments();
        for key in &self.named {
            let order = self.fleet.state.orders.get(&key.order_id).unwrap();
            let left = order.left(order.payment_id.unwrap(), None);
            // Given up by the provider, it is in an operator's hands.
            let tried = order.refunds.contains_key(&round_refund_id(key.order_id));
            assert!(tried || !left.shares || left.minor == 0, "the round failed and nobody refunds {order:?}");
        }
    }

    fn audit_payments(&self) {
        for (payment_id, payment) in self.payments.iter().filter(|(_, payment)| payment.outcome == Some(true)) {
            let order = self.fleet.state.orders.get(&payment.key.unwrap().order_id).unwrap();
            let paid = payment.amount.unwrap().minor_units;
            assert_eq!(order.received(*payment_id), paid, "money that orders know nothing of: {order:?}");
            assert_eq!(order.refunded(*payment_id), payment.refunded_minor, "{order:?}");
            let heard = order.disputes.get(&format!("du_{payment_id}")).map_or(0, |known| known.dispute.revision);
            assert_eq!(heard, payment.dispute, "orders did not hear the last word of a dispute: {order:?}");
            assert_ne!(order.is_paid_by(*payment_id), order.refunds.contains_key(&late_refund_id(*payment_id)));
        }
    }
}

fn step(town: &mut Town, (what, which, how): (u8, usize, u8), request: &RefundRequest, terms: &[OrderTerms]) {
    let id = u8::try_from(which % terms.len()).unwrap_or(0);
    let (order_id, actor, note) = (order_id(id), "ann".to_owned(), "why".to_owned());
    match what {
        0..=13 => town.deliver(which, how < 60),
        14 | 15 => town.pay(which, how < 220),
        16 if how < 40 => town.refund_elsewhere(which),
        16 if how < 80 => town.dispute(which),
        16 => town.ring(order_id),
        17 if how < 64 => {
            let refund_id = spec::refund(100 + u128::from(how));
            town.command(&Command::CancelOrder { order_id, refund_id, actor, note });
        }
        17..=19 => town.command(&Command::RequestRefund(RefundRequest { order_id, ..request.clone() })),
        20 => town.command(&Command::ReinstateOrder { order_id, time_to_pay: spec::TIME_TO_PAY, actor, note }),
        _ if how < 64 => town.name_participants(),
        _ => town.command(&Command::PlaceOrder {
            order_id,
            terms: terms[usize::from(id)].clone(),
            contact: None,
            actor: String::new(),
        }),
    }
}

proptest! {
    /// However messages are shuffled and repeated, nothing true is refused, and in the end nothing is held or owed.
    #[test]
    fn whatever_is_shuffled_and_repeated_everything_settles(
        luck in any::<u64>(),
        terms in proptest::collection::vec(any_terms(), 1..4),
        steps in proptest::collection::vec(((0..22_u8, any::<prop::sample::Index>(), any::<u8>()), any_request()), 0..300),
    ) {
        let mut town = Town::new(luck);
        for (id, terms) in (0..).zip(&terms) {
            town.command(&Command::PlaceOrder { order_id: order_id(id), terms: terms.clone(), contact: None, actor: String::new() });
        }
        for ((what, which, how), request) in steps {
            step(&mut town, (what, which.index(1 << 16), how), &request, &terms);
        }
        town.settle();
        town.audit_end();
    }
}
