//! What is sold in a measurement, and the orders for it: all of it follows from a seed.

use std::time::Duration;

use domain::Timestamp;
use proto::{
    common::v1::Money,
    inventory::v1::{ReceiveStock, RegisterProduct},
    orders::v1::{LatePaymentPolicy, OrderLine, PlaceOrder, SharePurchase},
    rounds::v1::OpenRound,
    well_known,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use uuid::{Builder, Uuid};

/// Pieces of each product: more than any run sells.
const PIECES: i64 = 1_000_000_000;

/// Shares of each round: as many as a round may have.
const SHARES: i64 = 1_000_000;

/// How long after opening rounds close: longer than any run.
const ROUNDS_LAST: Duration = Duration::from_hours(30 * 24);

/// When the buyers of seed 0 come, in milliseconds since 1970, and how much later those of the next seed do.
const FIRST_MILLIS: u64 = 1_700_000_000_000;
const SEED_MILLIS: u64 = 30 * 24 * 60 * 60 * 1_000;

const PIECE_PRICE: i64 = 1_250;

const SHARE_PRICE: i64 = 500;

/// Products and rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Catalog {
    /// At least one.
    pub(super) products: u32,
    /// At least one.
    pub(super) rounds: u32,
}

impl Catalog {
    /// What orders are for, unless a scenario says otherwise.
    pub(super) const MANY: Self = Self { products: 1_000, rounds: 100 };

    /// One product that everybody wants.
    pub(super) const HOT: Self = Self { products: 1, rounds: 100 };

    /// Makes the products known and receives their stock.
    pub(super) fn stock(self) -> impl Iterator<Item = (RegisterProduct, ReceiveStock)> {
        (0..self.products).map(|number| {
            let register =
                RegisterProduct { sku: sku(number), name: format!("Product {number}"), actor: String::new() };
            let receive = ReceiveStock {
                sku: sku(number),
                quantity: PIECES,
                reference: "bench".to_owned(),
                actor: String::new(),
            };
            (register, receive)
        })
    }

    /// Opens the rounds.
    pub(super) fn openings(self, now: Timestamp) -> impl Iterator<Item = OpenRound> {
        (0..self.rounds).map(move |number| OpenRound {
            round_id: round_id(number).to_string(),
            prize: format!("Prize {number}"),
            total_shares: SHARES,
            share_price: Some(money(SHARE_PRICE)),
            closes_at: Some((now + ROUNDS_LAST).to_wire()),
            actor: String::new(),
        })
    }

    /// In words.
    pub(super) fn words(self) -> String {
        match self.products {
            1 => format!("1 line of one product, 1 share of {} rounds", self.rounds),
            products => format!("1 line of {products} products, 1 share of {} rounds", self.rounds),
        }
    }
}

/// The product's name in commands.
pub(super) fn sku(number: u32) -> String {
    format!("bench-{number:04}")
}

/// The round's name in commands.
pub(super) fn round_id(number: u32) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("bench round {number}").as_bytes())
}

/// Buyers, one order each.
#[derive(Debug)]
pub(super) struct OrderGenerator {
    catalog: Catalog,
    chance: StdRng,
    /// When the first of them comes, in milliseconds since 1970.
    millis: u64,
    ids: u64,
    /// How they pay: the sandbox's script.
    payment_method: &'static str,
}

impl OrderGenerator {
    /// Buyers who pay so. Other seeds give other orders, of other months.
    pub(super) fn new(catalog: Catalog, seed: u64, payment_method: &'static str) -> Self {
        Self {
            catalog,
            chance: StdRng::seed_from_u64(seed),
            millis: FIRST_MILLIS + seed * SEED_MILLIS,
            ids: 0,
            payment_method,
        }
    }

    /// A time-ordered id (version 7): three a millisecond.
    pub(super) fn id(&mut self) -> Uuid {
        self.ids += 1;
        Builder::from_unix_timestamp_millis(self.millis + self.ids / 3, &self.chance.random()).into_uuid()
    }

    /// The next order, and what it is for: the numbers of a product and a round.
    pub(super) fn choice(&mut self) -> (Uuid, u32, u32) {
        let id = self.id();
        (id, self.chance.random_range(0..self.catalog.products), self.chance.random_range(0..self.catalog.rounds))
    }

    /// The next order. It has half an hour to pay unless told otherwise.
    pub(super) fn order(&mut self, time_to_pay: Option<Duration>) -> (Uuid, PlaceOrder) {
        let (id, product, round) = self.choice();
        let time = |time: Duration| well_known::Duration {
            seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
        };
        let order = PlaceOrder {
            order_id: id.to_string(),
            customer_id: format!("customer-{product}"),
            lines: vec![OrderLine { sku: sku(product), quantity: 1, unit_price: Some(money(PIECE_PRICE)) }],
            shares: Some(SharePurchase {
                round_id: round_id(round).to_string(),
                count: 1,
                unit_price: Some(money(SHARE_PRICE)),
            }),
            time_to_pay: time_to_pay.map(time),
            late_payment_policy: LatePaymentPolicy::Unspecified.into(),
            payment_method: self.payment_method.to_owned(),
            reference: String::new(),
            coupon_code: String::new(),
            contact_email: String::new(),
            actor: String::new(),
        };
        (id, order)
    }
}

fn money(minor_units: i64) -> Money {
    Money { minor_units, currency: "EUR".to_owned() }
}
