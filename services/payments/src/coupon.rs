//! Coupons: what they are good for, how often they were used and by whom, and what every event of theirs makes of the rows.
//!
//! `held` counts uses that are kept for orders which are not paid yet, `redeemed` those of paid orders: always `held + redeemed <= uses_max`,
//! and the same for each customer. What was held stays good until its order ends: nothing but the hold looks at the clock, the limits or
//! whether the coupon is open. A code names one coupon for ever, so the same order always gets the same discount by it.
//!
//! | a coupon that is | is to be opened | is to be closed | is asked for a use |
//! |---|---|---|---|
//! | unknown | is open | refuses | refuses |
//! | open | stays, or refuses another offer | is closed | holds it, or refuses |
//! | closed | stays, or refuses another offer | stays | refuses |
//!
//! Why it is so: services/payments/README.md#a-use-of-a-coupon-is-a-hold

use std::fmt;

use domain::{
    CouponCode, Currency, DecideError, HoldKey, Money, Rejection, Revised, Sku, StreamVersion, Timestamp, hold::Status,
    words,
};
use serde::{Deserialize, Serialize};

use crate::{
    command::CouponCommand,
    event::{CouponEvent, Event, UseOf},
    payment::State,
};

pub(crate) mod discount;
mod hold;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod spec;

pub use hold::{Item, Purchase, Use};

/// A coupon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coupon {
    /// What it is good for.
    pub offer: Offer,
    /// Whether it can be used.
    pub status: CouponStatus,
    /// Uses kept for orders that are not paid yet: the sum of all open holds.
    pub held: i64,
    /// Uses of paid orders.
    pub redeemed: i64,
    /// Events of its stream. Those of holds change it too, but are counted with the hold.
    pub version: StreamVersion,
}

/// What a coupon is good for. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it takes off.
    pub off: Off,
    /// Of orders in this currency.
    pub currency: Currency,
    /// The most that it takes off an order, in minor units.
    pub discount_max: Option<i64>,
    /// What it is for must cost so much at least, in minor units.
    pub spend_min: Option<i64>,
    /// From when on it can be used.
    pub valid_from: Option<Timestamp>,
    /// Until when.
    pub valid_until: Option<Timestamp>,
    /// Uses in all.
    pub uses_max: Option<i64>,
    /// Uses of one customer.
    pub uses_per_customer_max: Option<i64>,
    /// The products that it is for, each once, in order. None: it is for everything, shares too.
    pub skus: Vec<Sku>,
}

/// What a coupon takes off a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Off {
    /// So many hundredths of a percent, 1 to 10,000.
    BasisPoints(i32),
    /// So many minor units, at least 1.
    Fixed(i64),
}

words!(
    /// Whether a coupon can be used.
    CouponStatus {
        /// It can, within its limits.
        Open = "open",
        /// Not any more.
        Closed = "closed",
    }
);

/// What of a coupon one customer has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// As of [`Coupon::held`].
    pub held: i64,
    /// As of [`Coupon::redeemed`].
    pub redeemed: i64,
}

/// What names what a customer has used of a coupon.
pub type CustomerKey = (CouponCode, String);

/// The state of a coupon's uses. A hold and its release make it what it was, and so change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CouponRevision {
    /// Of its stream.
    pub version: StreamVersion,
    /// What was used of it.
    pub uses: Customer,
}

impl Revised for Coupon {
    type Revision = CouponRevision;

    fn revision(&self) -> CouponRevision {
        CouponRevision { version: self.version, uses: Customer { held: self.held, redeemed: self.redeemed } }
    }

    fn weight(&self) -> usize {
        1 + self.offer.skus.len()
    }
}

impl Revised for Customer {
    type Revision = Self;

    fn revision(&self) -> Self {
        *self
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { off, currency, .. } = self;
        match off {
            Off::BasisPoints(points) => write!(f, "{}.{:02} % off orders in {currency}", points / 100, points % 100)?,
            Off::Fixed(minor_units) => {
                write!(f, "{} off", Money { minor_units: *minor_units, currency: *currency })?;
            }
        }
        if let Some(most) = self.uses_max {
            write!(f, ", {most} uses")?;
        }
        Ok(())
    }
}

/// What a command about coupons causes at this time.
///
/// # Errors
/// Business says no, or an invariant is broken.
pub(crate) fn decide(state: &State, command: &CouponCommand, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    let events = match command {
        CouponCommand::Open { code, offer, actor } => open(state, code, offer, actor, at)?,
        CouponCommand::Close { code, actor, note } => {
            let (actor, note) = (actor.clone(), note.clone());
            match known(state, code)?.status {
                CouponStatus::Open => vec![CouponEvent::Closed { code: code.clone(), actor, note, closed_at: at }],
                CouponStatus::Closed => vec![],
            }
        }
        CouponCommand::Hold { key, purchase } => hold::hold(state, *key, purchase, at)?,
        CouponCommand::Redeem { key } => hold::redeem(state, *key)?,
        CouponCommand::Release { key } => hold::release(state, *key)?,
    };
    Ok(events.into_iter().map(Event::Coupon).collect())
}

fn open(
    state: &State,
    code: &CouponCode,
    offer: &Offer,
    actor: &str,
    at: Timestamp,
) -> Result<Vec<CouponEvent>, Rejection> {
    match state.coupons.get(code) {
        None => {}
        // Before the check of time: a repeated command is right even after the coupon's time is over.
        Some(coupon) if coupon.offer == *offer => return Ok(vec![]),
        Some(coupon) => {
            let reason = format!(
                "coupon {code} is good for other things ({}, {}): give the new coupon another code",
                coupon.offer,
                coupon.status.as_str()
            );
            return Err(Rejection::new("COUPON_EXISTS", reason));
        }
    }
    let until = offer.valid_until.filter(|until| *until <= at || offer.valid_from.is_some_and(|from| from >= *until));
    if let Some(until) = until {
        let reason = format!("valid_until must be in the future and after valid_from: it is {until}, and now is {at}");
        return Err(Rejection::new("INVALID_TIME", reason));
    }
    Ok(vec![CouponEvent::Opened { code: code.clone(), offer: offer.clone(), actor: actor.to_owned() }])
}

pub(crate) fn known<'a>(state: &'a State, code: &CouponCode) -> Result<&'a Coupon, Rejection> {
    let unknown = || {
        format!("no coupon {code} is known here: check the code; if it was opened a moment ago, wait for the answer")
    };
    state.coupons.get(code).ok_or_else(|| Rejection::new("UNKNOWN_COUPON", unknown()))
}

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub(crate) fn evolve(state: &mut State, event: &CouponEvent) {
    match event {
        CouponEvent::Opened { code, offer, .. } => {
            let (offer, status, version) = (offer.clone(), CouponStatus::Open, StreamVersion::FIRST);
            state.coupons.create(code.clone(), Coupon { offer, status, held: 0, redeemed: 0, version });
        }
        CouponEvent::Closed { code, .. } => {
            if let Some(coupon) = state.coupons.change(code) {
                coupon.status = CouponStatus::Closed;
                coupon.version = coupon.version.next();
            }
        }
        CouponEvent::Held { key, of, .. } => {
            state.uses.create(*key, Use::new(Status::Held, Some(of.code.clone()), of.customer_id.clone()));
            count(state, of, |uses| uses.held += 1);
        }
        CouponEvent::Rejected { key, code, .. } => {
            state.uses.create(*key, Use::new(Status::Rejected, Some(code.clone()), String::new()));
        }
        CouponEvent::Redeemed { key, of } => {
            become_closed(state, *key, Status::Committed);
            count(state, of, |uses| {
                uses.held -= 1;
                uses.redeemed += 1;
            });
        }
        CouponEvent::Released { key, of: Some(of) } => {
            become_closed(state, *key, Status::Released);
            count(state, of, |uses| uses.held -= 1);
        }
        CouponEvent::Released { key, of: None } => {
            state.uses.create(*key, Use::new(Status::Released, None, String::new()));
        }
    }
}

/// Counts a use with its coupon and with its customer.
fn count(state: &mut State, of: &UseOf, count: impl Fn(&mut Customer)) {
    if let Some(coupon) = state.coupons.change(&of.code) {
        let mut uses = Customer { held: coupon.held, redeemed: coupon.redeemed };
        count(&mut uses);
        (coupon.held, coupon.redeemed) = (uses.held, uses.redeemed);
    }
    let customer = (of.code.clone(), of.customer_id.clone());
    if state.customers.get(&customer).is_none() {
        state.customers.create(customer.clone(), Customer::default());
    }
    if let Some(uses) = state.customers.change(&customer) {
        count(uses);
    }
}

fn become_closed(state: &mut State, key: HoldKey, status: Status) {
    if let Some(held) = state.uses.change(&key) {
        held.status = status;
        held.version = held.version.next();
    }
}
