//! The parts that messages are made of, in both directions.

use domain::{CouponCode, Discount, Dispute, HoldKey, Money, PaymentId, Rejection, RoundId, Sku, legible};
use proto::{common::v1 as common, orders::v1 as wire};

use crate::order::{CancelReason, Extent, LatePaymentPolicy, Line, RefundReason, ReinstateReason, Resource, Shares};

/// How a price is read: as asked for, or as on record.
type ReadMoney = fn(&str, Option<&common::Money>) -> Result<Money, Rejection>;

pub(super) fn lines_to_wire(lines: &[Line]) -> Vec<wire::OrderLine> {
    let line = |line: &Line| wire::OrderLine {
        sku: line.sku.as_str().to_owned(),
        quantity: line.quantity,
        unit_price: Some(line.unit_price.to_wire()),
    };
    lines.iter().map(line).collect()
}

pub(super) fn lines(lines: &[wire::OrderLine], money: ReadMoney) -> Result<Vec<Line>, Rejection> {
    let line = |line: &wire::OrderLine| {
        let price = || format!("unit_price of {}", line.sku.escape_debug().take(64).collect::<String>());
        Ok(Line {
            sku: Sku::parse(&line.sku)?,
            quantity: line.quantity,
            unit_price: money(&price(), line.unit_price.as_ref())?,
        })
    };
    lines.iter().map(line).collect()
}

pub(super) fn shares_to_wire(shares: &Shares) -> wire::SharePurchase {
    wire::SharePurchase {
        round_id: shares.round_id.to_string(),
        count: shares.count,
        unit_price: Some(shares.unit_price.to_wire()),
    }
}

pub(super) fn shares(shares: &wire::SharePurchase, money: ReadMoney) -> Result<Shares, Rejection> {
    Ok(Shares {
        round_id: RoundId::parse(&shares.round_id)?,
        count: shares.count,
        unit_price: money("unit_price of a share", shares.unit_price.as_ref())?,
    })
}

/// An order without a reference has an empty one in messages.
pub(super) fn reference(reference: &str) -> Option<String> {
    Some(reference.to_owned()).filter(|reference| !reference.is_empty())
}

/// A coupon's code; empty without one.
pub(super) fn coupon_to_wire(coupon: Option<&CouponCode>) -> String {
    coupon.map(CouponCode::to_string).unwrap_or_default()
}

pub(super) fn discount(discount: Option<common::Discount>) -> Result<Option<Discount>, Rejection> {
    discount.map(|discount| Discount::from_wire(Some(discount))).transpose()
}

const fn resource_to_wire(resource: Resource) -> common::Resource {
    match resource {
        Resource::Stock => common::Resource::Stock,
        Resource::Shares => common::Resource::Shares,
        Resource::Coupon => common::Resource::Coupon,
    }
}

pub(super) fn resource_number(resource: Resource) -> i32 {
    i32::from(resource_to_wire(resource))
}

pub(super) fn resource(number: i32) -> Result<Resource, Rejection> {
    match common::Resource::try_from(number) {
        Ok(common::Resource::Stock) => Ok(Resource::Stock),
        Ok(common::Resource::Shares) => Ok(Resource::Shares),
        Ok(common::Resource::Coupon) => Ok(Resource::Coupon),
        Ok(common::Resource::Unspecified) | Err(_) => {
            Err(Rejection::new("UNKNOWN_RESOURCE", format!("orders hold no resource of number {number}")))
        }
    }
}

pub(super) fn resource_numbers(resources: &[Resource]) -> Vec<i32> {
    resources.iter().copied().map(resource_number).collect()
}

pub(super) fn resources(numbers: &[i32]) -> Result<Vec<Resource>, Rejection> {
    numbers.iter().copied().map(resource).collect()
}

pub(super) fn policy_number(policy: LatePaymentPolicy) -> i32 {
    i32::from(match policy {
        LatePaymentPolicy::Refund => wire::LatePaymentPolicy::Refund,
        LatePaymentPolicy::Rehold => wire::LatePaymentPolicy::Rehold,
    })
}

/// `None`: a number that this version does not know.
pub(super) fn policy(number: i32) -> Option<LatePaymentPolicy> {
    match wire::LatePaymentPolicy::try_from(number) {
        Ok(wire::LatePaymentPolicy::Unspecified | wire::LatePaymentPolicy::Refund) => Some(LatePaymentPolicy::Refund),
        Ok(wire::LatePaymentPolicy::Rehold) => Some(LatePaymentPolicy::Rehold),
        Err(_) => None,
    }
}

pub(super) fn cancel_reason_number(reason: CancelReason) -> i32 {
    i32::from(match reason {
        CancelReason::Requested => wire::CancelReason::Requested,
        CancelReason::PaymentFailed => wire::CancelReason::PaymentFailed,
    })
}

pub(super) fn cancel_reason(number: i32) -> CancelReason {
    match wire::CancelReason::try_from(number) {
        Ok(wire::CancelReason::PaymentFailed) => CancelReason::PaymentFailed,
        Ok(wire::CancelReason::Unspecified | wire::CancelReason::Requested) | Err(_) => CancelReason::Requested,
    }
}

pub(super) fn refund_reason_number(reason: RefundReason) -> i32 {
    i32::from(match reason {
        RefundReason::Requested => wire::RefundReason::Requested,
        RefundReason::OrderCancelled => wire::RefundReason::OrderCancelled,
        RefundReason::LatePayment => wire::RefundReason::LatePayment,
        RefundReason::RoundFailed => wire::RefundReason::RoundFailed,
        RefundReason::Elsewhere => wire::RefundReason::Elsewhere,
    })
}

pub(super) fn refund_reason(number: i32) -> RefundReason {
    match wire::RefundReason::try_from(number) {
        Ok(wire::RefundReason::OrderCancelled) => RefundReason::OrderCancelled,
        Ok(wire::RefundReason::LatePayment) => RefundReason::LatePayment,
        Ok(wire::RefundReason::RoundFailed) => RefundReason::RoundFailed,
        Ok(wire::RefundReason::Elsewhere) => RefundReason::Elsewhere,
        Ok(wire::RefundReason::Unspecified | wire::RefundReason::Requested) | Err(_) => RefundReason::Requested,
    }
}

pub(super) fn extent_number(extent: Option<Extent>) -> i32 {
    i32::from(match extent {
        None => wire::RefundExtent::Unspecified,
        Some(Extent::Everything) => wire::RefundExtent::Everything,
        Some(Extent::Price) => wire::RefundExtent::Price,
        Some(Extent::Amount) => wire::RefundExtent::Amount,
    })
}

pub(super) fn extent(number: i32) -> Option<Extent> {
    match wire::RefundExtent::try_from(number) {
        Ok(wire::RefundExtent::Everything) => Some(Extent::Everything),
        Ok(wire::RefundExtent::Price) => Some(Extent::Price),
        Ok(wire::RefundExtent::Amount) => Some(Extent::Amount),
        Ok(wire::RefundExtent::Unspecified) | Err(_) => None,
    }
}

pub(super) fn reinstate_reason_number(reason: ReinstateReason) -> i32 {
    i32::from(match reason {
        ReinstateReason::Requested => wire::ReinstateReason::Requested,
        ReinstateReason::LatePayment => wire::ReinstateReason::LatePayment,
    })
}

pub(super) fn reinstate_reason(number: i32) -> ReinstateReason {
    match wire::ReinstateReason::try_from(number) {
        Ok(wire::ReinstateReason::LatePayment) => ReinstateReason::LatePayment,
        Ok(wire::ReinstateReason::Unspecified | wire::ReinstateReason::Requested) | Err(_) => {
            ReinstateReason::Requested
        }
    }
}

/// The words of another service, such as a provider's: legible, and not too long for a table.
pub(crate) fn words(text: &str) -> String {
    legible(text, 512)
}

pub(super) fn disputed(
    key: HoldKey,
    payment_id: PaymentId,
    dispute_id: &str,
    dispute: &Dispute,
) -> wire::OrderDisputed {
    wire::OrderDisputed {
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        payment_id: payment_id.to_string(),
        dispute: Some(dispute.to_wire(dispute_id)),
    }
}

pub(super) fn read_disputed(message: wire::OrderDisputed) -> Result<(HoldKey, PaymentId, String, Dispute), Rejection> {
    let wire::OrderDisputed { order_id, attempt, payment_id, dispute } = message;
    let (dispute_id, dispute) = Dispute::from_wire(dispute)?;
    Ok((HoldKey::parse(&order_id, attempt)?, PaymentId::parse(&payment_id)?, dispute_id, dispute))
}
