//! Orders as they stand: one query gives an order, what it holds, and its money by kind.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{RawPathParams, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use domain::{HoldKey, OrderId};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

pub(crate) mod list;
pub(crate) mod shape;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    events, hex,
    problem::Problem,
    read::{self, id},
};
use shape::{Dispute, Holds, Line, Money, Order, OrderCoupon, Payment, Refund, RefundCall, RefundStory, Shares, Sums};

/// Payments of so many attempts are looked up at once; few orders have more, and for those it is asked again.
const ATTEMPTS_LOOKED_UP: i32 = 4;

/// What the query gives.
#[derive(Debug, FromRow)]
struct Found {
    version: i64,
    order: Json<OrderRow>,
    payments: Json<Vec<PaymentRow>>,
}

/// A row of `orders.orders`, with how its holds stand at their owners.
#[derive(Debug, Deserialize)]
struct OrderRow {
    order_id: Uuid,
    reference: Option<String>,
    customer_id: String,
    status: String,
    payment_status: String,
    fulfillment_status: String,
    attempt: i32,
    released: bool,
    placed_at: String,
    expires_at: Option<String>,
    note: String,
    payment_method: String,
    late_payment_policy: String,
    currency: String,
    total_minor: i64,
    owed_minor: i64,
    lines: Vec<LineRow>,
    round_id: Option<Uuid>,
    share_count: Option<i64>,
    share_price_minor: Option<i64>,
    stock_hold: Option<String>,
    shares_hold: Option<String>,
    coupon_code: Option<String>,
    coupon_hold: Option<String>,
    /// Only whether there is one: how much it is stands beside it.
    discount: Option<serde_json::Value>,
    discount_minor: i64,
    refunds: BTreeMap<Uuid, RefundRow>,
}

#[derive(Debug, Deserialize)]
struct LineRow {
    sku: String,
    quantity: i64,
    unit_price_minor: i64,
}

/// What orders knows of a refund.
#[derive(Debug, Deserialize)]
struct RefundRow {
    payment_id: Uuid,
    amount_minor: i64,
    reason: String,
    status: String,
}

/// A row of `payments.payments`, with its refunds.
#[derive(Debug, Deserialize)]
struct PaymentRow {
    payment_id: Uuid,
    attempt: i32,
    status: String,
    amount_minor: Option<i64>,
    currency: Option<String>,
    provider: Option<String>,
    provider_reference: Option<String>,
    page_url: Option<String>,
    page_ends_at: Option<String>,
    /// Whether the buyer can pay on it now.
    page_is_open: Option<bool>,
    captured_minor: i64,
    refunding_minor: i64,
    refunded_minor: i64,
    charged_back_minor: i64,
    /// By the provider's own id of each. Null: none ever was.
    disputes: Option<BTreeMap<String, DisputeRow>>,
    /// By what the provider knows each by. Null: none ever was.
    authorisations: Option<BTreeMap<String, AuthorisationRow>>,
    refunds: BTreeMap<Uuid, PayoutRow>,
}

/// A dispute of a payment's charge.
#[derive(Debug, Deserialize)]
struct DisputeRow {
    status: String,
    standing: String,
    reason: String,
    amount: Option<MoneyRow>,
    due_by: Option<String>,
    refundable: bool,
    withdrawn: Option<MoneyRow>,
    reinstated: Option<MoneyRow>,
}

#[derive(Debug, Deserialize)]
struct MoneyRow {
    minor_units: i64,
    currency: String,
}

/// Money that a provider has set aside.
#[derive(Debug, Deserialize)]
struct AuthorisationRow {
    status: String,
    amount_minor: i64,
}

impl PaymentRow {
    /// What is set aside, and neither taken nor let go.
    fn authorised_minor(&self) -> i64 {
        let all = self.authorisations.iter().flat_map(BTreeMap::values);
        let open = all.filter(|held| matches!(held.status.as_str(), "held" | "capturing" | "voiding"));
        open.map(|held| held.amount_minor).sum()
    }

    /// Whether its buyer is to pay.
    fn is_asking(&self) -> bool {
        self.status == "requested" && self.authorised_minor() == 0
    }
}

/// What payments knows of a refund.
#[derive(Debug, Deserialize)]
struct PayoutRow {
    status: String,
    amount_minor: i64,
    currency: String,
    /// What the provider knows the second charge by that it gives back. Null: it gives back money of the payment's own.
    second_charge: Option<String>,
    send_count: i32,
    key: String,
    deadline: Option<String>,
    provider_reference: String,
    reason: String,
    /// While somebody is to be called for it.
    call: Option<RefundCall>,
}

const ORDER: &str = "
    select o.version,
        to_jsonb(o) || jsonb_build_object(
            'stock_hold', coalesce((select h.status from inventory.holds h
                where h.order_id = o.order_id and h.attempt = o.attempt), o.stock_hold),
            'shares_hold', coalesce((select h.status from rounds.holds h
                where h.order_id = o.order_id and h.attempt = o.attempt), o.shares_hold),
            'coupon_hold', coalesce((select u.status from payments.coupon_uses u
                where u.order_id = o.order_id and u.attempt = o.attempt), o.coupon_hold)) as \"order\",
        coalesce((
            select jsonb_agg(to_jsonb(p) || jsonb_build_object(
                'page_is_open', p.page = 'open' and coalesce(p.page_ends_at > now(), true), 'refunds', coalesce((
                    select jsonb_object_agg(r.refund_id, to_jsonb(r) || jsonb_build_object('call', (
                        select jsonb_build_object('tries', e.attempts, 'next_try_at', e.due_at, 'last_heard', e.last_error,
                            'stopped_by', e.stopped_by, 'stopped_since', e.stopped_since)
                        from payments.effects e where e.key = r.key)))
                    from payments.refunds r where r.payment_id = p.payment_id), '{}')) order by p.attempt)
            from payments.payments p where p.payment_id = any($2)), '[]') as payments
    from orders.orders o where o.order_id = $1";

/// `GET /v1/orders/{order_id}`
pub(crate) async fn order(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let order = of_id(&gateway, id(&params, "order_id")?).await?;
    Ok(read::tagged(&headers, &order, &format!("{}-{}", order.version, fingerprint(&order))))
}

/// An order as it stands.
///
/// # Errors
/// It is not known.
pub(crate) async fn of_id(gateway: &Gateway, order_id: Uuid) -> Result<Order, Problem> {
    let found = find(gateway, order_id).await?;
    Ok(shown(&found.ok_or_else(|| unknown(order_id))?))
}

/// What payments, inventory and rounds say of an order changes without an event of its own stream. Its tag changes with that too.
fn fingerprint(order: &Order) -> String {
    let hash = Sha256::digest(serde_json::to_vec(order).unwrap_or_default());
    hex::digits(&hash).chars().take(16).collect()
}

/// `GET /v1/orders/{order_id}/refunds/{refund_id}`
pub(crate) async fn refund(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let (order_id, refund_id) = (id(&params, "order_id")?, id(&params, "refund_id")?);
    let refund = refund_of(&gateway, order_id, refund_id).await?;
    let events = events::of_refund(&gateway.pool, order_id, refund_id).await?;
    Ok(json_response(StatusCode::OK, &RefundStory { refund, events }))
}

/// A refund as it stands.
///
/// # Errors
/// It, or its order, is not known.
pub(crate) async fn refund_of(gateway: &Gateway, order_id: Uuid, refund_id: Uuid) -> Result<Refund, Problem> {
    let found = find(gateway, order_id).await?;
    let found = found.ok_or_else(|| unknown(order_id))?;
    let refund = refunds(&found).into_iter().find(|refund| refund.refund_id == refund_id);
    let missing = || Problem::rejected("UNKNOWN_REFUND", &format!("order {order_id} has no refund {refund_id}"));
    refund.ok_or_else(missing)
}

pub(crate) fn unknown(order_id: Uuid) -> Problem {
    Problem::rejected("UNKNOWN_ORDER", &format!("no order {order_id} is known; was its placing answered?"))
}

async fn find(gateway: &Gateway, order_id: Uuid) -> Result<Option<Found>, sqlx::Error> {
    let mut attempts = ATTEMPTS_LOOKED_UP;
    loop {
        let payments: Vec<Uuid> =
            (1..=attempts).map(|attempt| HoldKey { order_id: OrderId(order_id), attempt }.payment_id().0).collect();
        let found: Option<Found> =
            sqlx::query_as(ORDER).bind(order_id).bind(payments).fetch_optional(&gateway.pool).await?;
        match found {
            Some(found) if found.order.attempt > attempts => attempts = found.order.attempt,
            found => return Ok(found),
        }
    }
}

fn money(minor_units: i64, currency: &str) -> Money {
    Money { minor_units: minor_units.to_string(), currency: currency.to_owned() }
}

/// An order as it is shown.
fn shown(found: &Found) -> Order {
    let order = &found.order.0;
    let price = |minor_units| money(minor_units, &order.currency);
    let line = |line: &LineRow| Line {
        sku: line.sku.clone(),
        quantity: line.quantity.to_string(),
        unit_price: price(line.unit_price_minor),
    };
    let shares = match (order.round_id, order.share_count, order.share_price_minor) {
        (Some(round_id), Some(count), Some(unit_price)) => {
            Some(Shares { round_id, count: count.to_string(), unit_price: price(unit_price) })
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => None,
    };
    Order {
        order_id: order.order_id,
        reference: order.reference.clone(),
        customer_id: order.customer_id.clone(),
        status: order.status.clone(),
        payment_status: order.payment_status.clone(),
        fulfillment_status: order.fulfillment_status.clone(),
        attempt: order.attempt,
        placed_at: order.placed_at.clone(),
        expires_at: order.expires_at.clone(),
        note: order.note.clone(),
        payment_method: order.payment_method.clone(),
        late_payment_policy: format!("LATE_PAYMENT_POLICY_{}", order.late_payment_policy.to_uppercase()),
        total: price(order.total_minor),
        lines: order.lines.iter().map(line).collect(),
        shares,
        coupon: order.coupon_code.clone().map(|coupon_code| OrderCoupon {
            coupon_code,
            discount: order.discount.as_ref().map(|_| price(order.discount_minor)),
        }),
        holds: Holds {
            stock: order.stock_hold.clone(),
            shares: order.shares_hold.clone(),
            coupon: order.coupon_hold.clone(),
            released: order.released,
        },
        disputed: disputes(found).iter().any(|dispute| dispute.standing == "open"),
        money: sums(found),
        payments: found.payments.iter().map(payment).collect(),
        refunds: refunds(found),
        disputes: disputes(found),
        version: found.version.to_string(),
    }
}

/// The money of all attempts. Only the latest asks for any.
fn sums(found: &Found) -> Sums {
    let order = &found.order.0;
    let is_asking = |payment: &&PaymentRow| payment.attempt == order.attempt && payment.is_asking();
    let asked = found.payments.iter().find(is_asking).and_then(|payment| payment.amount_minor);
    let sum = |of: fn(&PaymentRow) -> i64| money(found.payments.iter().map(of).sum(), &order.currency);
    Sums {
        asked: asked.map(|asked| money(asked, &order.currency)),
        authorised: sum(PaymentRow::authorised_minor),
        captured: sum(|payment| payment.captured_minor),
        going_back: sum(|payment| payment.refunding_minor),
        gone_back: sum(|payment| payment.refunded_minor),
        charged_back: sum(|payment| payment.charged_back_minor),
        owed: money(order.owed_minor, &order.currency),
    }
}

fn payment(payment: &PaymentRow) -> Payment {
    let can_be_paid = payment.is_asking() && payment.page_is_open == Some(true);
    let asked = payment.amount_minor.zip(payment.currency.as_ref());
    Payment {
        payment_id: payment.payment_id,
        attempt: payment.attempt,
        status: payment.status.clone(),
        amount: asked.map(|(amount, currency)| money(amount, currency)),
        provider: payment.provider.clone(),
        provider_reference: payment.provider_reference.clone(),
        checkout_url: payment.page_url.clone().filter(|_| can_be_paid),
        checkout_ends_at: payment.page_ends_at.clone().filter(|_| can_be_paid),
    }
}

/// The refunds of an order: what it knows of each, and how far payments is with it.
fn refunds(found: &Found) -> Vec<Refund> {
    let order = &found.order.0;
    let refund = |(refund_id, refund): (&Uuid, &RefundRow)| {
        let payment = found.payments.iter().find(|payment| payment.payment_id == refund.payment_id);
        let payout = payment.and_then(|payment| payment.refunds.get(refund_id));
        Refund {
            refund_id: *refund_id,
            order_id: order.order_id,
            reference: order.reference.clone(),
            payment_id: refund.payment_id,
            amount: money(refund.amount_minor, &order.currency),
            reason: format!("REFUND_REASON_{}", refund.reason.to_uppercase()),
            status: refund.status.clone(),
            step: payout.map(|payout| payout.status.clone()),
            times_sent: payout.map(|payout| payout.send_count),
            idempotency_key: payout.map(|payout| payout.key.clone()).filter(|key| !key.is_empty()),
            call: payout.and_then(|payout| payout.call.clone()),
            deadline: payout.and_then(|payout| payout.deadline.clone()),
            provider_reference: payout.map(|payout| payout.provider_reference.clone()),
            last_word: payout.map(|payout| payout.reason.clone()),
        }
    };
    let of_second_charges = found.payments.iter().flat_map(|payment| {
        let payouts = payment.refunds.iter().filter(|(_, payout)| payout.second_charge.is_some());
        payouts.map(|(refund_id, payout)| of_second_charge(order, payment.payment_id, *refund_id, payout))
    });
    order.refunds.iter().map(refund).chain(of_second_charges).collect()
}

/// The refund of a second charge, of which the order knows nothing: it is paid once, whatever becomes of the other charge.
fn of_second_charge(order: &OrderRow, payment_id: Uuid, refund_id: Uuid, payout: &PayoutRow) -> Refund {
    let status = if payout.status == "refunded" { "refunded" } else { "requested" };
    Refund {
        refund_id,
        order_id: order.order_id,
        reference: order.reference.clone(),
        payment_id,
        amount: money(payout.amount_minor, &payout.currency),
        reason: "REFUND_REASON_SECOND_CHARGE".to_owned(),
        status: status.to_owned(),
        step: Some(payout.status.clone()),
        times_sent: Some(payout.send_count),
        idempotency_key: Some(payout.key.clone()).filter(|key| !key.is_empty()),
        call: payout.call.clone(),
        deadline: payout.deadline.clone(),
        provider_reference: Some(payout.provider_reference.clone()),
        last_word: Some(payout.reason.clone()),
    }
}

/// Disputes of all payments of an order.
fn disputes(found: &Found) -> Vec<Dispute> {
    let money = |amount: &Option<MoneyRow>| amount.as_ref().map(|amount| money(amount.minor_units, &amount.currency));
    let of = |payment_id: Uuid, (dispute_id, dispute): (&String, &DisputeRow)| Dispute {
        dispute_id: dispute_id.clone(),
        payment_id,
        status: dispute.status.clone(),
        standing: dispute.standing.clone(),
        reason: dispute.reason.clone(),
        amount: money(&dispute.amount),
        due_by: dispute.due_by.clone(),
        refundable: dispute.refundable,
        withdrawn: money(&dispute.withdrawn),
        reinstated: money(&dispute.reinstated),
    };
    let all = found
        .payments
        .iter()
        .flat_map(|payment| payment.disputes.iter().flatten().map(move |dispute| of(payment.payment_id, dispute)));
    all.collect()
}
