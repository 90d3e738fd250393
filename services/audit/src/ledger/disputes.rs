//! The book of disputes: what each took and gave back, once, and whether its order knows of it.

use std::collections::BTreeMap;

use domain::{HoldKey, PaymentId, Rejection, decode};
use proto::{
    Name,
    common::v1::{Dispute, DisputeStanding, Money},
    orders::v1 as orders,
    payments::v1 as payments,
};

use super::{
    Moment, Unbooked,
    keys::{Keys, move_parts},
    money::payment_name,
};
use crate::report::{Check, Findings};

/// What this book hears of, and what of that moves money.
const OF_PAYMENTS: [(&str, Moves); 4] = [
    (payments::PaymentDisputed::NAME, Moves::Nothing),
    (payments::DisputeFundsWithdrawn::NAME, Moves::FromTheShop),
    (payments::DisputeFundsReinstated::NAME, Moves::ToTheShop),
    (payments::DisputeClosed::NAME, Moves::Nothing),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moves {
    Nothing,
    FromTheShop,
    ToTheShop,
}

/// The book, by payment and by the provider's own id of the dispute.
#[derive(Debug, Default)]
pub(crate) struct Disputes {
    told: BTreeMap<(PaymentId, String), Standing>,
    /// What orders knows.
    known: BTreeMap<(PaymentId, String), Standing>,
}

/// A dispute, as far as it was told.
#[derive(Debug, Clone, Default)]
struct Standing {
    revision: i32,
    stops_refunds: bool,
    /// What it takes is none of the payment's money then.
    of_second_charge: bool,
    withdrawn: Option<Money>,
    reinstated: Option<Money>,
    since: Moment,
}

impl Standing {
    fn of(dispute: &Dispute, at: Moment) -> Self {
        let is_over = matches!(dispute.standing(), DisputeStanding::Won | DisputeStanding::Ended);
        Self {
            revision: dispute.revision,
            stops_refunds: !is_over && !dispute.refundable && !dispute.of_second_charge,
            of_second_charge: dispute.of_second_charge,
            withdrawn: dispute.withdrawn.clone(),
            reinstated: dispute.reinstated.clone(),
            since: at,
        }
    }

    fn charged_back(&self) -> i128 {
        let minor = |moved: &Option<Money>| moved.as_ref().map_or(0, |moved| i128::from(moved.minor_units));
        minor(&self.withdrawn) - minor(&self.reinstated)
    }
}

/// An event of a dispute.
pub(super) struct Told {
    pub(super) payment_id: PaymentId,
    pub(super) provider_event_id: String,
    dispute: Dispute,
    moves: Moves,
    amount: Option<Money>,
}

impl Told {
    pub(super) fn read(name: &str, data: &[u8]) -> Result<Self, Unbooked> {
        let moves = OF_PAYMENTS.into_iter().find(|(known, _)| *known == name).map(|(_, moves)| moves);
        let Some(moves) = moves else { return Err(Unbooked::Unknown { book: "disputes" }) };
        // All four have the same fields, but for the amount.
        let event: payments::DisputeFundsWithdrawn = decode(data)?;
        let nothing = || Rejection::new("INVALID_ID", "the event names no dispute");
        Ok(Self {
            payment_id: PaymentId::parse(&event.payment_id)?,
            provider_event_id: event.provider_event_id,
            dispute: event.dispute.ok_or_else(nothing)?,
            moves,
            amount: event.amount,
        })
    }
}

impl Disputes {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_parts(&mut self.told, &mut other.told, keys);
        move_parts(&mut self.known, &mut other.known, keys);
    }

    /// Whether an event of payments is booked here and nowhere else.
    pub(super) fn takes(name: &str) -> bool {
        OF_PAYMENTS.iter().any(|(known, _)| *known == name)
    }

    /// What payments tells of a dispute. `currency`: of its payment.
    pub(super) fn take(&mut self, told: Told, currency: Option<&str>, at: Moment, findings: &mut Findings) {
        let Told { payment_id, dispute, moves, amount, .. } = told;
        let mut wrong = |what: &str| wrong(payment_id, &dispute.dispute_id, what, at, findings);
        let after = Standing::of(&dispute, at);
        let before = self.told.insert((payment_id, dispute.dispute_id.clone()), after.clone()).unwrap_or_default();
        if after.revision != before.revision + 1 {
            wrong("its events are not counted one by one");
        }
        if before.of_second_charge && !after.of_second_charge {
            wrong("it is of another charge than before");
        }
        let has_moved = (before.withdrawn != after.withdrawn, before.reinstated != after.reinstated);
        if has_moved != (moves == Moves::FromTheShop, moves == Moves::ToTheShop) {
            wrong("money moves by another event than says so");
        }
        let (moved_before, moved) = match moves {
            Moves::Nothing => return,
            Moves::FromTheShop => (before.withdrawn, after.withdrawn),
            Moves::ToTheShop => (before.reinstated, after.reinstated),
        };
        if moved_before.is_some() {
            wrong("it moves money twice");
        }
        let is_money = |moved: &Money| moved.minor_units > 0 && Some(moved.currency.as_str()) == currency;
        if moved != amount || !moved.as_ref().is_some_and(is_money) {
            wrong("it moves another amount than it says, or none of its payment's");
        }
    }

    /// What an order hears of a dispute.
    pub(super) fn take_order(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        if name != orders::OrderDisputed::NAME {
            return Ok(());
        }
        let event: orders::OrderDisputed = decode(data)?;
        let (payment_id, key) = (PaymentId::parse(&event.payment_id)?, HoldKey::parse(&event.order_id, event.attempt)?);
        let dispute = event.dispute.unwrap_or_default();
        let of = (payment_id, dispute.dispute_id.clone());
        let told = self.told.get(&of).map_or(0, |told| told.revision);
        let known = self.known.get(&of).map_or(0, |known| known.revision);
        let mut wrong = |what: &str| wrong(payment_id, &dispute.dispute_id, what, at, findings);
        if key.payment_id() != payment_id {
            wrong("another order than its own knows of it");
        }
        if dispute.revision > told {
            wrong("its order knows more of it than payments told");
        }
        if dispute.revision <= known {
            wrong("its order knows less of it than before");
        }
        self.known.insert(of, Standing::of(&dispute, at));
        Ok(())
    }

    /// Whether nothing of a payment can be refunded.
    pub(super) fn stop_refunds(&self, payment_id: PaymentId) -> bool {
        of(&self.told, payment_id).any(|(_, standing)| standing.stops_refunds)
    }

    /// Whether its order knows that.
    pub(super) fn is_known_to_stop_refunds(&self, payment_id: PaymentId) -> bool {
        of(&self.known, payment_id).any(|(_, standing)| standing.stops_refunds)
    }

    /// What disputes of its own charge have taken of a payment and not given back, in minor units.
    pub(crate) fn charged_back(&self, payment_id: PaymentId) -> i128 {
        let own = of(&self.told, payment_id).filter(|(_, standing)| !standing.of_second_charge);
        own.map(|(_, standing)| standing.charged_back()).sum()
    }

    /// Disputes of which their orders do not know the last word, and since when it is told.
    pub(super) fn unheard(&self) -> impl Iterator<Item = (PaymentId, Moment)> {
        let is_unheard = |key: &(PaymentId, String), told: &Standing| {
            self.known.get(key).is_none_or(|known| known.revision < told.revision)
        };
        let unheard = self.told.iter().filter(move |(key, told)| is_unheard(key, told));
        unheard.map(|((payment_id, _), told)| (*payment_id, told.since))
    }
}

fn of(
    all: &BTreeMap<(PaymentId, String), Standing>,
    payment_id: PaymentId,
) -> impl Iterator<Item = (&(PaymentId, String), &Standing)> {
    all.range((payment_id, String::new())..).take_while(move |((of, _), _)| *of == payment_id)
}

fn wrong(payment_id: PaymentId, dispute_id: &str, what: &str, at: Moment, findings: &mut Findings) {
    findings.add(Check::Money, payment_name(payment_id), format!("dispute {dispute_id}: {what}"), Some(at.position));
}
