//! Commands and events of coupons, in both directions.

use domain::{CouponCode, Currency, Discount, HoldKey, Money, QUANTITY_MAX, Rejection, Sku, Timestamp, decode, text};
use proto::{Message, Name, common::v1 as common, payments::v1 as wire, well_known};

use crate::{
    command::{Command, CouponCommand},
    coupon::{Off, Offer},
    event::{CouponEvent, Event, UseOf},
};

/// The most products that a coupon may be for.
const SKUS_MAX: usize = 100;

/// All of a price, in hundredths of a percent.
const BASIS_POINTS_MAX: i32 = 10_000;

pub(super) fn open(message: wire::OpenCoupon) -> Result<Command, Rejection> {
    let offer = message.offer.unwrap_or_default();
    let currency = Currency::in_use(&offer.currency)?;
    let amounts = [("fixed", &offer.fixed), ("discount_max", &offer.discount_max), ("spend_min", &offer.spend_min)];
    for (field, amount) in amounts {
        check_amount(field, amount.as_ref(), currency)?;
    }
    match (offer.basis_points, &offer.fixed) {
        (1..=BASIS_POINTS_MAX, None) | (0, Some(_)) => {}
        (points, fixed) => {
            let both = if points != 0 && fixed.is_some() { ", and not both" } else { "" };
            let reason =
                format!("give basis_points, 1 to {BASIS_POINTS_MAX}, or fixed{both}: basis_points is {points}");
            return Err(Rejection::new("INVALID_DISCOUNT", reason));
        }
    }
    for (field, uses) in [("uses_max", offer.uses_max), ("uses_per_customer_max", offer.uses_per_customer_max)] {
        if !(0..=QUANTITY_MAX).contains(&uses) {
            let reason = format!("{field} must be 1 to {QUANTITY_MAX}, or 0 for no limit, not {uses}");
            return Err(Rejection::new("INVALID_QUANTITY", reason));
        }
    }
    if offer.skus.len() > SKUS_MAX {
        let reason = format!("{} products are too many for a coupon: {SKUS_MAX} is the most", offer.skus.len());
        return Err(Rejection::new("TOO_MANY_LINES", reason));
    }
    let code = CouponCode::parse(&message.coupon_code)?;
    let actor = text("actor", &message.actor, 0, 128)?;
    Ok(Command::Coupon(CouponCommand::Open { code, offer: read_offer(&offer)?, actor }))
}

fn check_amount(field: &str, amount: Option<&common::Money>, currency: Currency) -> Result<(), Rejection> {
    if amount.is_none() {
        return Ok(());
    }
    let amount = Money::asked(field, amount)?;
    if amount.currency != currency {
        let reason = format!("{field} is {amount}, and the coupon is in {currency}");
        return Err(Rejection::new("WRONG_CURRENCY", reason));
    }
    if amount.minor_units < 1 {
        let reason = format!("{field} must be at least {}, or left out", Money { minor_units: 1, ..amount });
        return Err(Rejection::new("INVALID_AMOUNT", reason));
    }
    Ok(())
}

pub(super) fn close(message: &wire::CloseCoupon) -> Result<Command, Rejection> {
    Ok(Command::Coupon(CouponCommand::Close {
        code: CouponCode::parse(&message.coupon_code)?,
        actor: text("actor", &message.actor, 1, 128)?,
        note: text("note", &message.note, 1, 512)?,
    }))
}

/// Reads an offer without a look at its limits.
fn read_offer(offer: &wire::CouponOffer) -> Result<Offer, Rejection> {
    let minor = |amount: &Option<common::Money>| amount.as_ref().map(|amount| amount.minor_units);
    let time = |field: &str, time: Option<well_known::Timestamp>| {
        time.map(|time| Timestamp::from_wire(field, Some(time))).transpose()
    };
    let mut skus = offer.skus.iter().map(|sku| Sku::parse(sku)).collect::<Result<Vec<Sku>, Rejection>>()?;
    skus.sort_unstable();
    skus.dedup();
    Ok(Offer {
        off: minor(&offer.fixed).map_or(Off::BasisPoints(offer.basis_points), Off::Fixed),
        currency: Currency::parse(&offer.currency)?,
        discount_max: minor(&offer.discount_max),
        spend_min: minor(&offer.spend_min),
        valid_from: time("valid_from", offer.valid_from)?,
        valid_until: time("valid_until", offer.valid_until)?,
        uses_max: Some(offer.uses_max).filter(|most| *most > 0),
        uses_per_customer_max: Some(offer.uses_per_customer_max).filter(|most| *most > 0),
        skus,
    })
}

fn offer_to_wire(offer: &Offer) -> wire::CouponOffer {
    let money = |minor_units: i64| Money { minor_units, currency: offer.currency }.to_wire();
    let (basis_points, fixed) = match offer.off {
        Off::BasisPoints(points) => (points, None),
        Off::Fixed(minor_units) => (0, Some(money(minor_units))),
    };
    wire::CouponOffer {
        basis_points,
        fixed,
        currency: offer.currency.to_string(),
        discount_max: offer.discount_max.map(money),
        spend_min: offer.spend_min.map(money),
        valid_from: offer.valid_from.map(Timestamp::to_wire),
        valid_until: offer.valid_until.map(Timestamp::to_wire),
        uses_max: offer.uses_max.unwrap_or_default(),
        uses_per_customer_max: offer.uses_per_customer_max.unwrap_or_default(),
        skus: offer.skus.iter().map(|sku| sku.as_str().to_owned()).collect(),
    }
}

/// An event's full type name and bytes.
pub(super) fn encode(event: CouponEvent) -> (&'static str, Vec<u8>) {
    match event {
        CouponEvent::Opened { code, offer, actor } => {
            let (coupon_code, offer) = (code.to_string(), Some(offer_to_wire(&offer)));
            let message = wire::CouponOpened { coupon_code, offer, actor };
            ("holdfast.payments.v1.CouponOpened", message.encode_to_vec())
        }
        CouponEvent::Closed { code, actor, note, closed_at } => {
            let (coupon_code, closed_at) = (code.to_string(), Some(closed_at.to_wire()));
            let message = wire::CouponClosed { coupon_code, actor, note, closed_at };
            ("holdfast.payments.v1.CouponClosed", message.encode_to_vec())
        }
        CouponEvent::Held { key, of, discount } => {
            let ((order_id, attempt), coupon_code) = (key_to_wire(key), of.code.to_string());
            let (discount, customer_id) = (Some(discount.to_wire()), of.customer_id);
            let message = wire::CouponHeld { order_id, attempt, coupon_code, discount, customer_id };
            ("holdfast.payments.v1.CouponHeld", message.encode_to_vec())
        }
        CouponEvent::Rejected { key, code, rejection } => {
            let ((order_id, attempt), coupon_code) = (key_to_wire(key), code.to_string());
            let rejection = Some(rejection.to_wire());
            let message = wire::CouponRejected { order_id, attempt, coupon_code, rejection };
            ("holdfast.payments.v1.CouponRejected", message.encode_to_vec())
        }
        CouponEvent::Redeemed { key, of: UseOf { code, customer_id } } => {
            let ((order_id, attempt), coupon_code) = (key_to_wire(key), code.to_string());
            let message = wire::CouponRedeemed { order_id, attempt, coupon_code, customer_id };
            ("holdfast.payments.v1.CouponRedeemed", message.encode_to_vec())
        }
        CouponEvent::Released { key, of } => {
            let (order_id, attempt) = key_to_wire(key);
            let (coupon_code, customer_id) = of.map(|of| (of.code.to_string(), of.customer_id)).unwrap_or_default();
            let message = wire::CouponReleased { order_id, attempt, coupon_code, customer_id };
            ("holdfast.payments.v1.CouponReleased", message.encode_to_vec())
        }
    }
}

fn key_to_wire(key: HoldKey) -> (String, i32) {
    (key.order_id.to_string(), key.attempt)
}

/// Reads an event of this kind. `None`: it is of another.
pub(super) fn decode_event(event: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    Ok(Some(Event::Coupon(match event {
        wire::CouponOpened::NAME => {
            let wire::CouponOpened { coupon_code, offer, actor } = decode(data)?;
            let (code, offer) = (CouponCode::parse(&coupon_code)?, read_offer(&offer.unwrap_or_default())?);
            CouponEvent::Opened { code, offer, actor }
        }
        wire::CouponClosed::NAME => {
            let wire::CouponClosed { coupon_code, actor, note, closed_at } = decode(data)?;
            let closed_at = Timestamp::from_wire("closed_at", closed_at)?;
            CouponEvent::Closed { code: CouponCode::parse(&coupon_code)?, actor, note, closed_at }
        }
        wire::CouponHeld::NAME => {
            let wire::CouponHeld { order_id, attempt, coupon_code, discount, customer_id } = decode(data)?;
            let (key, code) = (HoldKey::parse(&order_id, attempt)?, CouponCode::parse(&coupon_code)?);
            let discount = Discount::from_wire(discount)?;
            CouponEvent::Held { key, of: UseOf { code, customer_id }, discount }
        }
        wire::CouponRejected::NAME => {
            let wire::CouponRejected { order_id, attempt, coupon_code, rejection } = decode(data)?;
            let (key, code) = (HoldKey::parse(&order_id, attempt)?, CouponCode::parse(&coupon_code)?);
            CouponEvent::Rejected { key, code, rejection: Rejection::from_wire(rejection) }
        }
        wire::CouponRedeemed::NAME => {
            let wire::CouponRedeemed { order_id, attempt, coupon_code, customer_id } = decode(data)?;
            let (key, code) = (HoldKey::parse(&order_id, attempt)?, CouponCode::parse(&coupon_code)?);
            CouponEvent::Redeemed { key, of: UseOf { code, customer_id } }
        }
        wire::CouponReleased::NAME => {
            let wire::CouponReleased { order_id, attempt, coupon_code, customer_id } = decode(data)?;
            let code = CouponCode::parse_optional(&coupon_code)?;
            let of = code.map(|code| UseOf { code, customer_id });
            CouponEvent::Released { key: HoldKey::parse(&order_id, attempt)?, of }
        }
        _ => return Ok(None),
    })))
}

#[cfg(test)]
mod tests;
