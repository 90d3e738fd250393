//! The synthetic mix: which products, rounds and orders there are, and what each order's story is. Pure: all of it follows
//! from the seed, each order from the seed and its number alone, so nothing has to be kept in memory.

use std::time::Duration;

use domain::Timestamp;
use proto::{
    common::v1::{Money, ProductQuantity},
    inventory::v1::{ReceiveStock, RegisterProduct},
    orders::v1::{CancelOrder, LatePaymentPolicy, OrderLine, PlaceOrder, RequestRefund, SharePurchase},
    rounds::v1::{CancelRound, OpenRound},
    well_known,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::scenario::{Scenario, Visit};

/// The currency of everything.
pub const CURRENCY: &str = "EUR";

/// Time to pay of those who will not pay in time: the shortest there is.
const SHORT_TIME_TO_PAY_S: i64 = 5;

/// Rounds close at the end of the day so many days ahead: longer than any run, and the same for all runs of a day.
const ROUNDS_LAST_DAYS: i64 = 30;

const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Every so manyth product is scarce: about half of those who want it get it.
const SCARCE_EVERY: u64 = 50;

/// Every so manyth round is popular: everybody who wants shares of it pays, and half of them get none, for it sells out.
const POPULAR_EVERY: u64 = 10;

/// A command and its id.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent<M> {
    /// The command's id: the same seed gives the same, so sending it again is harmless.
    pub id: Uuid,
    /// The command.
    pub body: M,
}

/// One order, and what its buyer does.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The order.
    pub order_id: Uuid,
    /// What its buyer does.
    pub story: Scenario,
    /// Whether it buys shares of the round that is called off.
    pub in_called_off_round: bool,
    /// How it begins.
    pub place: Sent<PlaceOrder>,
    /// What its buyer does on the page of the provider, once there is one. `None`: nothing, or the provider plays him.
    pub visit: Option<Visit>,
    /// How it goes on.
    pub then: FollowUp,
}

/// What follows the placing.
#[derive(Debug, Clone, PartialEq)]
pub enum FollowUp {
    /// Nothing from us: the buyer pays, or does not.
    Nothing,
    /// So much later the order is cancelled.
    Cancel(Duration, Sent<CancelOrder>),
    /// Once it is paid, money is asked back.
    Refund(Sent<RequestRefund>),
}

/// Who takes the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaidBy {
    /// The sandbox, which plays the buyers as well.
    Sandbox,
    /// Stripe, or a fake of it, on whose pages somebody has to act as the buyers.
    Stripe,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    seed: u64,
    space: Uuid,
    paid_by: PaidBy,
    /// How many orders.
    pub orders: u64,
    /// How many products.
    pub products: u64,
    /// How many rounds.
    pub rounds: u64,
}

impl Workload {
    /// The mix that this seed gives. There is at least one product.
    #[must_use]
    pub fn new(seed: u64, orders: u64, products: u64, rounds: u64) -> Self {
        let space = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("holdfast load {seed}").as_bytes());
        Self { seed, space, paid_by: PaidBy::Sandbox, orders, products: products.max(1), rounds }
    }

    /// The same orders, paid elsewhere.
    #[must_use]
    pub const fn paid_by(self, paid_by: PaidBy) -> Self {
        Self { paid_by, ..self }
    }

    fn id(&self, name: &str, number: u64) -> Uuid {
        Uuid::new_v5(&self.space, format!("{name} {number}").as_bytes())
    }

    /// Chance for one thing: the same for the same seed.
    fn chance(&self, name: u64, number: u64) -> StdRng {
        // Spread, so that neighbours in either number have nothing in common.
        let spread = number.wrapping_mul(4).wrapping_add(name).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        StdRng::seed_from_u64(self.seed.rotate_left(32) ^ spread)
    }

    fn sku(&self, product: u64) -> String {
        format!("load-{}-{product:03}", self.seed)
    }

    fn price(&self, product: u64) -> i64 {
        self.chance(0, product).random_range(99..=9_999)
    }

    fn share_price(&self, round: u64) -> i64 {
        self.chance(1, round).random_range(1..=20) * 50
    }

    fn round_id(&self, round: u64) -> Uuid {
        self.id("round", round)
    }

    /// The round that is called off when three quarters of the orders are placed, if there are enough to spare one.
    #[must_use]
    pub const fn called_off(&self) -> Option<u64> {
        if self.rounds < 3 { None } else { Some(1) }
    }

    /// How a product becomes known and its stock arrives. Scarce ones are not enough for everybody.
    #[must_use]
    pub fn product(&self, product: u64) -> (Sent<RegisterProduct>, Sent<ReceiveStock>) {
        // An order asks for about four pieces, of any product.
        let demand = self.orders.saturating_mul(4) / self.products;
        let plenty = demand.saturating_mul(20) + 1_000;
        let quantity = if product.is_multiple_of(SCARCE_EVERY) { demand / 2 + 1 } else { plenty };
        let sku = self.sku(product);
        let name = format!("Product {product} of load {}", self.seed);
        let receive = ReceiveStock {
            sku: sku.clone(),
            quantity: i64::try_from(quantity).unwrap_or(i64::MAX).min(domain::QUANTITY_MAX),
            reference: format!("load {}", self.seed),
            actor: String::new(),
        };
        (
            Sent { id: self.id("register", product), body: RegisterProduct { sku, name, actor: String::new() } },
            Sent { id: self.id("receive", product), body: receive },
        )
    }

    /// How a round is opened at this time.
    #[must_use]
    pub fn round(&self, round: u64, now: Timestamp) -> Sent<OpenRound> {
        // Three orders of ten buy two shares, of any round.
        let demand = self.orders.saturating_mul(6) / 10 / self.rounds.max(1);
        let shares = if is_popular(round) { demand * 3 / 10 + 1 } else { demand * 20 + 1_000 };
        let closes_on = now.as_micros() / DAY_MICROS + ROUNDS_LAST_DAYS;
        let open = OpenRound {
            round_id: self.round_id(round).to_string(),
            prize: format!("Prize {round} of load {}", self.seed),
            total_shares: i64::try_from(shares).unwrap_or(i64::MAX).min(1_000_000),
            share_price: Some(money(self.share_price(round))),
            closes_at: Some(Timestamp::from_micros((closes_on + 1) * DAY_MICROS).to_wire()),
            actor: String::new(),
        };
        // Asked for again on another day, it is another command, and refused for what it is.
        Sent { id: self.id(&format!("open until {closes_on}"), round), body: open }
    }

    /// How a round is called off.
    #[must_use]
    pub fn call_off(&self, round: u64) -> Sent<CancelRound> {
        let body = CancelRound {
            round_id: self.round_id(round).to_string(),
            actor: "load".to_owned(),
            note: "called off with the sale under way".to_owned(),
        };
        Sent { id: self.id("call off", round), body }
    }

    /// The order of this number, from 0.
    #[must_use]
    pub fn order(&self, number: u64) -> Plan {
        let mut chance = self.chance(2, number);
        let story = Scenario::of(chance.random_range(0..1_000));
        let order_id = self.id("order", number);
        let wants_lines = self.rounds == 0 || story.only_lines() || chance.random_range(0..10) < 9;
        let round = if wants_lines && (self.rounds == 0 || story.only_lines() || chance.random_range(0..10) < 8) {
            None
        } else {
            let round = chance.random_range(0..self.rounds);
            Some(if story != Scenario::Buys && is_popular(round) { (round + 1) % self.rounds } else { round })
        };
        let lines = if wants_lines { self.lines(&mut chance) } else { Vec::new() };
        let shares = round.map(|round| SharePurchase {
            round_id: self.round_id(round).to_string(),
            count: chance.random_range(1..=3),
            unit_price: Some(money(self.share_price(round))),
        });
        let then = self.then(&mut chance, story, order_id, number, lines.first());
        let (payment_method, visit) = match self.paid_by {
            PaidBy::Sandbox => (story.script(&mut chance), None),
            PaidBy::Stripe => ("stripe".to_owned(), story.visit(&mut chance)),
        };
        let place = PlaceOrder {
            order_id: order_id.to_string(),
            customer_id: format!("load-{}-{}", self.seed, number % 1_000),
            lines,
            shares,
            time_to_pay: story
                .pays_too_late()
                .then_some(well_known::Duration { seconds: SHORT_TIME_TO_PAY_S, nanos: 0 }),
            late_payment_policy: if story == Scenario::PaysLateAndIsHeldAgain {
                LatePaymentPolicy::Rehold.into()
            } else {
                LatePaymentPolicy::Unspecified.into()
            },
            payment_method,
            reference: String::new(),
            coupon_code: String::new(),
            contact_email: String::new(),
            actor: String::new(),
        };
        let in_called_off_round = round.is_some() && round == self.called_off();
        let place = Sent { id: self.id("place", number), body: place };
        Plan { order_id, story, in_called_off_round, place, visit, then }
    }

    /// One to five lines, small ones more often; a line may be a gift, but never the first.
    fn lines(&self, chance: &mut StdRng) -> Vec<OrderLine> {
        let count = chance.random_range(1..=5).min(chance.random_range(1..=5));
        let line = |index: u32| {
            // Some products are in fashion.
            let fashionable = chance.random_range(0..5) == 0;
            let product = chance.random_range(0..if fashionable { self.products.div_ceil(20) } else { self.products });
            let gift = index > 0 && chance.random_range(0..50) == 0;
            OrderLine {
                sku: self.sku(product),
                quantity: chance.random_range(1..=3),
                unit_price: Some(money(if gift { 0 } else { self.price(product) })),
            }
        };
        (0..count).map(line).collect()
    }

    fn then(
        &self,
        chance: &mut StdRng,
        story: Scenario,
        order_id: Uuid,
        number: u64,
        first: Option<&OrderLine>,
    ) -> FollowUp {
        let (order_id, actor) = (order_id.to_string(), "load".to_owned());
        match story {
            Scenario::Buys | Scenario::WalksAway | Scenario::PaysLate | Scenario::PaysLateAndIsHeldAgain => {
                FollowUp::Nothing
            }
            // At Stripe a declined card is no end: he may have another, and here he has none.
            Scenario::HasNoMoney if self.paid_by == PaidBy::Stripe => {
                let body =
                    CancelOrder { order_id, actor, note: "my card was declined".to_owned(), expected_version: 0 };
                FollowUp::Cancel(Duration::ZERO, Sent { id: self.id("cancel", number), body })
            }
            Scenario::HasNoMoney => FollowUp::Nothing,
            // Stripe accepts refunds.
            Scenario::IsRefusedARefund if self.paid_by == PaidBy::Stripe => FollowUp::Nothing,
            Scenario::ChangesMind => {
                let after = Duration::from_millis(chance.random_range(0..400));
                let body = CancelOrder { order_id, actor, note: "changed my mind".to_owned(), expected_version: 0 };
                FollowUp::Cancel(after, Sent { id: self.id("cancel", number), body })
            }
            Scenario::ReturnsAll
            | Scenario::ReturnsSome
            | Scenario::ReturnsAllAtABadTime
            | Scenario::IsRefusedARefund => {
                let mut body = RequestRefund { order_id, actor, note: "sent back".to_owned(), ..Default::default() };
                match first {
                    Some(line) if story == Scenario::ReturnsSome && chance.random_range(0..4) > 0 => {
                        body.lines = vec![ProductQuantity { sku: line.sku.clone(), quantity: 1 }];
                    }
                    // As a favour, with nothing sent back.
                    Some(_) | None if story == Scenario::ReturnsSome => body.amount = Some(money(49)),
                    Some(_) | None => {}
                }
                let id = self.id("refund", number);
                body.refund_id = id.to_string();
                FollowUp::Refund(Sent { id, body })
            }
        }
    }
}

const fn is_popular(round: u64) -> bool {
    round.is_multiple_of(POPULAR_EVERY)
}

fn money(minor_units: i64) -> Money {
    Money { minor_units, currency: CURRENCY.to_owned() }
}

#[cfg(test)]
mod tests;
