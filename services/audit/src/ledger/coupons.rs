//! The book of coupons: every coupon's limits and uses, and what every attempt of an order holds of them.

use std::collections::BTreeMap;

use domain::{HoldKey, decode, hold::Status, written};
use proto::{
    Name,
    common::v1::Discount,
    orders::v1::{OrderLine, SharePurchase},
    payments::v1 as wire,
};
use serde::{Deserialize, Serialize};

use super::{
    Moment, Unbooked,
    keys::{Keys, move_each},
    orders::Orders,
    use_name,
};
use crate::report::{Check, Findings};

/// Events of payments that are about coupons.
const OF_COUPONS: [&str; 6] = [
    wire::CouponOpened::NAME,
    wire::CouponClosed::NAME,
    wire::CouponHeld::NAME,
    wire::CouponRejected::NAME,
    wire::CouponRedeemed::NAME,
    wire::CouponReleased::NAME,
];

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Coupons {
    pub(crate) coupons: BTreeMap<String, Coupon>,
    pub(crate) holds: BTreeMap<HoldKey, Hold>,
}

/// A coupon and its uses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Coupon {
    #[serde(with = "offer")]
    offer: wire::CouponOffer,
    pub(crate) is_closed: bool,
    pub(crate) uses: Uses,
    customers: BTreeMap<String, Uses>,
    /// Whether a breach was told already.
    breached: bool,
}

/// An offer as its message's bytes.
mod offer {
    use proto::{Message, payments::v1::CouponOffer};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(offer: &CouponOffer, serializer: S) -> Result<S::Ok, S::Error> {
        offer.encode_to_vec().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CouponOffer, D::Error> {
        CouponOffer::decode(Vec::<u8>::deserialize(deserializer)?.as_slice()).map_err(D::Error::custom)
    }
}

/// How often something was used.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Uses {
    pub(crate) held: i128,
    pub(crate) redeemed: i128,
}

/// What one attempt holds.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) status: Status,
    code: String,
    customer_id: String,
    pub(crate) discount: Option<Discount>,
    /// When it came to stand so.
    pub(crate) since: Moment,
}

/// What an order asks a discount on.
pub(crate) struct Basket<'a> {
    pub(crate) lines: &'a [OrderLine],
    pub(crate) shares: Option<&'a SharePurchase>,
}

impl Uses {
    fn breach(self, most: i64) -> Option<String> {
        let Self { held, redeemed } = self;
        let is_within = held >= 0 && redeemed >= 0 && (most == 0 || held + redeemed <= i128::from(most));
        (!is_within).then(|| format!("{held} are held and {redeemed} redeemed of {most} uses"))
    }
}

impl Coupon {
    /// What it takes off a basket, by its offer: all of it, and the price of each part that it is for, the shares last.
    fn takes_off(&self, basket: &Basket<'_>) -> (i128, Vec<i128>) {
        let offer = &self.offer;
        let price = |money: Option<&proto::common::v1::Money>, count: i64| {
            i128::from(money.map_or(0, |money| money.minor_units)) * i128::from(count)
        };
        let is_for = |line: &OrderLine| offer.skus.is_empty() || offer.skus.contains(&line.sku);
        let of_line = |line: &OrderLine| if is_for(line) { price(line.unit_price.as_ref(), line.quantity) } else { 0 };
        let of_shares = basket.shares.filter(|_| offer.skus.is_empty());
        let of_shares = of_shares.map_or(0, |shares| price(shares.unit_price.as_ref(), shares.count));
        let prices: Vec<i128> = basket.lines.iter().map(of_line).chain([of_shares]).collect();
        let all: i128 = prices.iter().sum();
        let off = match &offer.fixed {
            Some(fixed) => i128::from(fixed.minor_units),
            None => all * i128::from(offer.basis_points) / 10_000,
        };
        let most = offer.discount_max.as_ref().map_or(i128::MAX, |most| i128::from(most.minor_units));
        (off.min(most).min(all), prices)
    }

    /// What is wrong with this discount on this basket.
    pub(crate) fn contradicts(&self, discount: &Discount, basket: &Basket<'_>) -> Option<String> {
        let (off, prices) = self.takes_off(basket);
        let told = i128::from(discount.amount.as_ref().map_or(0, |amount| amount.minor_units));
        let parts: Vec<i128> =
            discount.lines_minor.iter().chain([&discount.shares_minor]).map(|part| i128::from(*part)).collect();
        let money = |minor_units: i128| written(minor_units, &self.offer.currency);
        if told != off || off < 1 {
            return Some(format!("it takes {} off, and its coupon takes {} off", money(told), money(off)));
        }
        let sum = parts.iter().sum::<i128>();
        if sum != off {
            return Some(format!("its parts add up to {} and not to {}", money(sum), money(off)));
        }
        let all: i128 = prices.iter().sum::<i128>().max(1);
        let is_due = |(part, price): (&i128, &i128)| (off * price / all..=off * price / all + 1).contains(part);
        let is_shared =
            parts.len() == prices.len() && parts.iter().zip(&prices).all(|pair| is_due(pair) && pair.0 <= pair.1);
        let listed = |amounts: &[i128]| amounts.iter().map(|amount| money(*amount)).collect::<Vec<_>>().join(" and ");
        (!is_shared).then(|| format!("its parts are {}, of prices {}", listed(&parts), listed(&prices)))
    }
}

impl Coupons {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_each(&mut self.holds, &mut other.holds, &keys.holds);
    }

    /// Whether this book is where an event of payments belongs.
    pub(super) fn takes(name: &str) -> bool {
        OF_COUPONS.contains(&name)
    }

    pub(crate) fn standing(&self, key: HoldKey) -> Option<Status> {
        self.holds.get(&key).map(|hold| hold.status)
    }

    /// What is taken off the price of an attempt that holds a use, in minor units.
    pub(super) fn discount(&self, key: HoldKey) -> i64 {
        let held = self.holds.get(&key).filter(|hold| matches!(hold.status, Status::Held | Status::Committed));
        let amount = held.and_then(|hold| hold.discount.as_ref()?.amount.as_ref());
        amount.map_or(0, |amount| amount.minor_units)
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        orders: &Orders,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            wire::CouponOpened::NAME => {
                let wire::CouponOpened { coupon_code, offer, .. } = decode(data)?;
                let coupon = Coupon { offer: offer.unwrap_or_default(), ..Coupon::default() };
                if self.coupons.insert(coupon_code.clone(), coupon).is_some() {
                    wrong(&coupon_code, "it was opened twice".to_owned(), at, findings);
                }
            }
            wire::CouponClosed::NAME => {
                let wire::CouponClosed { coupon_code, .. } = decode(data)?;
                match self.coupons.get_mut(&coupon_code).filter(|coupon| !coupon.is_closed) {
                    Some(coupon) => coupon.is_closed = true,
                    None => wrong(&coupon_code, "it was closed, and was not open".to_owned(), at, findings),
                }
            }
            wire::CouponHeld::NAME => self.hold(decode(data)?, at, orders, findings)?,
            wire::CouponRejected::NAME => {
                let wire::CouponRejected { order_id, attempt, coupon_code, .. } = decode(data)?;
                let hold = Hold::new(Status::Rejected, coupon_code, String::new(), at);
                self.begin(HoldKey::parse(&order_id, attempt)?, hold, findings);
            }
            wire::CouponRedeemed::NAME => {
                let wire::CouponRedeemed { order_id, attempt, coupon_code, customer_id } = decode(data)?;
                let next = Hold::new(Status::Committed, coupon_code, customer_id, at);
                self.end(HoldKey::parse(&order_id, attempt)?, next, findings);
            }
            wire::CouponReleased::NAME => {
                let wire::CouponReleased { order_id, attempt, coupon_code, customer_id } = decode(data)?;
                let next = Hold::new(Status::Released, coupon_code, customer_id, at);
                self.end(HoldKey::parse(&order_id, attempt)?, next, findings);
            }
            _ => return Err(Unbooked::Unknown { book: "coupons" }),
        }
        Ok(())
    }

    fn hold(
        &mut self,
        event: wire::CouponHeld,
        at: Moment,
        orders: &Orders,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        let wire::CouponHeld { order_id, attempt, coupon_code, discount, customer_id } = event;
        let key = HoldKey::parse(&order_id, attempt)?;
        let coupon = self.coupons.get(&coupon_code);
        let mut say = |what: String| findings.add(Check::Coupons, use_name(key), what, Some(at.position));
        if let Some(what) = orders.contradicts_coupon(key, (&coupon_code, &customer_id), coupon, discount.as_ref()) {
            say(what);
        }
        if coupon.is_none_or(|coupon| coupon.is_closed) {
            say(format!("it is held of coupon {coupon_code}, which is not open"));
        }
        self.begin(key, Hold { discount, ..Hold::new(Status::Held, coupon_code, customer_id, at) }, findings);
        Ok(())
    }

    fn begin(&mut self, key: HoldKey, hold: Hold, findings: &mut Findings) {
        if let Some(known) = self.holds.get(&key) {
            let what = format!("it is {} although it is {} already", hold.status.as_str(), known.status.as_str());
            return findings.add(Check::Coupons, use_name(key), what, Some(hold.since.position));
        }
        if hold.status == Status::Held {
            self.change(&hold, findings, |uses| uses.held += 1);
        }
        self.holds.insert(key, hold);
    }

    fn end(&mut self, key: HoldKey, next: Hold, findings: &mut Findings) {
        let mut say = |what: String| findings.add(Check::Coupons, use_name(key), what, Some(next.since.position));
        let is_of = |hold: &Hold| (&hold.code, &hold.customer_id) == (&next.code, &next.customer_id);
        match self.holds.get_mut(&key) {
            Some(hold) if hold.status == Status::Held && is_of(hold) => {
                (hold.status, hold.since) = (next.status, next.since);
            }
            Some(hold) if hold.status == Status::Held => {
                return say(format!("it ends as a use of {} and was one of {}", next.code, hold.code));
            }
            Some(hold) => {
                return say(format!("it is {} although it is {}", next.status.as_str(), hold.status.as_str()));
            }
            // Released before it came: from now on it holds nothing.
            None if next.status == Status::Released && next.code.is_empty() => {
                self.holds.insert(key, next);
                return;
            }
            None => return say(format!("it is {} although nothing was held", next.status.as_str())),
        }
        self.change(&next, findings, |uses| {
            uses.held -= 1;
            if next.status == Status::Committed {
                uses.redeemed += 1;
            }
        });
    }

    /// Counts a use with its coupon and with its customer.
    fn change(&mut self, hold: &Hold, findings: &mut Findings, change: impl Fn(&mut Uses)) {
        let at = hold.since;
        let Some(coupon) = self.coupons.get_mut(&hold.code) else {
            return wrong(&hold.code, "its uses changed before it was opened".to_owned(), at, findings);
        };
        change(&mut coupon.uses);
        let customer = coupon.customers.entry(hold.customer_id.clone()).or_default();
        change(customer);
        let of_customer = customer
            .breach(coupon.offer.uses_per_customer_max)
            .map(|what| format!("of customer {:?} {what}", hold.customer_id));
        let breach = coupon.uses.breach(coupon.offer.uses_max).or(of_customer);
        if let Some(what) = breach.filter(|_| !coupon.breached) {
            coupon.breached = true;
            wrong(&hold.code, what, at, findings);
        }
    }
}

impl Hold {
    const fn new(status: Status, code: String, customer_id: String, since: Moment) -> Self {
        Self { status, code, customer_id, discount: None, since }
    }
}

fn wrong(code: &str, what: String, at: Moment, findings: &mut Findings) {
    findings.add(Check::Coupons, format!("coupon-{code}"), what, Some(at.position));
}
