//! Every event reads back as it was written, and one that was written by looser times too.

use domain::{Dispute, DisputeStanding, Money, Timestamp};
use proto::{Message, Name, common::v1 as common, orders::v1 as wire};

use super::{decode_event, encode};
use crate::{
    event::{Event, Reinstated},
    order::{
        CancelReason, Extent, OrderTerms, RefundItems, RefundReason, ReinstateReason,
        Resource::{Coupon, Shares, Stock},
        spec::{
            NOW, ORDER, both, coupon, euros, goods, key, none_left, pieces, referenced, refund, rehold_terms, round,
            takes_off,
        },
    },
};

fn claim(reason: RefundReason) -> RefundItems {
    let lines = pieces(&[("cup", 1), ("mug", 2)]);
    RefundItems { attempt: 3, amount: euros(12), reason, lines, return_shares: true }
}

fn opening() -> Vec<Event> {
    let payment_id = key(1).payment_id();
    let by_request = Reinstated {
        key: key(2),
        lines: both().lines,
        shares: both().shares,
        coupon: None,
        expires_at: Some(NOW),
        reason: ReinstateReason::Requested,
        actor: "bob".to_owned(),
        note: "she called".to_owned(),
        payment_id: None,
        is_authorised: false,
    };
    let by_late_money = Reinstated {
        shares: None,
        expires_at: None,
        reason: ReinstateReason::LatePayment,
        payment_id: Some(payment_id),
        ..by_request.clone()
    };
    let shares_only = crate::order::OrderTerms { lines: vec![], ..both() };
    let placed = [goods(), both(), rehold_terms(), shares_only, referenced("R-1")];
    let placed = placed.map(|terms| Event::OrderPlaced {
        order_id: ORDER,
        terms,
        placed_at: Timestamp::from_micros(1),
        has_contact: true,
        actor: "ann".to_owned(),
    });
    let mut events = placed.to_vec();
    events.extend([
        Event::OrderHoldConfirmed { key: key(1), resource: Stock, discount: None },
        Event::OrderReserved {
            key: key(1),
            amount: euros(1),
            expires_at: Some(NOW),
            payment_method: "card".to_owned(),
            discount: None,
            reference: Some("R-1".to_owned()),
        },
        Event::OrderReserved {
            key: key(1),
            amount: euros(1),
            expires_at: None,
            payment_method: String::new(),
            discount: Some(takes_off(&[1, 0], 2)),
            reference: None,
        },
        Event::OrderPaid { key: key(2), payment_id, amount: euros(1_000), holds: vec![Stock, Shares], discount: None },
        Event::OrderReinstated(by_request),
        Event::OrderReinstated(by_late_money),
    ]);
    events.extend(with_coupon());
    events
}

fn with_coupon() -> Vec<Event> {
    let (terms, discount) = (OrderTerms { coupon: Some(coupon("SPRING")), ..both() }, takes_off(&[900, 100], 0));
    let OrderTerms { customer_id, lines, shares, payment_method, .. } = terms.clone();
    let (key, payment_id, coupon) = (key(1), key(1).payment_id(), coupon("SPRING"));
    vec![
        Event::OrderPlaced {
            order_id: ORDER,
            terms,
            placed_at: Timestamp::from_micros(1),
            has_contact: true,
            actor: String::new(),
        },
        Event::CouponRequested { key, coupon: coupon.clone(), customer_id, lines, shares, payment_method },
        Event::OrderHoldConfirmed { key, resource: Coupon, discount: Some(discount.clone()) },
        Event::OrderPaid { key, payment_id, amount: euros(0), holds: vec![Stock, Coupon], discount: Some(discount) },
        Event::RedemptionRequested { key, coupon },
    ]
}

fn closing() -> Vec<Event> {
    let (key, words) = (key(3), || "why".to_owned());
    let cancelled = |reason| Event::OrderCancelled { key, reason, actor: words(), note: words(), holds: vec![Stock] };
    vec![
        Event::OrderRejected { key, resource: Shares, rejection: none_left(), holds: vec![Stock, Shares] },
        Event::OrderExpired { key, due_at: NOW, note: words(), holds: vec![Shares], actor: words() },
        cancelled(CancelReason::Requested),
        cancelled(CancelReason::PaymentFailed),
        Event::OrderReleaseConfirmed { key, resource: Shares },
        Event::OrderReleased { key },
    ]
}

fn refunds() -> Vec<Event> {
    let (order_id, refund_id, payment_id) = (ORDER, refund(9), key(1).payment_id());
    let requested = |reason, extent| {
        let (actor, note) = ("ann".to_owned(), String::new());
        Event::RefundRequested { order_id, refund_id, payment_id, claim: claim(reason), extent, actor, note }
    };
    let mut events: Vec<_> = RefundReason::ALL.iter().map(|reason| requested(*reason, None)).collect();
    events.extend(Extent::ALL.iter().map(|extent| requested(RefundReason::Requested, Some(*extent))));
    let nothing_but_money =
        RefundItems { lines: pieces(&[]), return_shares: false, ..claim(RefundReason::LatePayment) };
    events.extend([
        Event::OrderRefunded { order_id, refund_id, claim: claim(RefundReason::Requested) },
        Event::OrderRefunded { order_id, refund_id, claim: nothing_but_money.clone() },
        Event::OrderPartiallyRefunded { order_id, refund_id, claim: nothing_but_money },
        Event::PaidOrderCancelled { key: key(1), refund_id, actor: "ann".to_owned(), note: "why".to_owned() },
        Event::LatePaymentDeferred { key: key(1), payment_id, amount: euros(1_000), is_authorised: false },
        Event::LatePaymentDeferred { key: key(1), payment_id, amount: euros(1_000), is_authorised: true },
        Event::CaptureRequested { key: key(2), payment_id, amount: euros(1_000) },
        Event::VoidRequested { key: key(2), payment_id, note: "late".to_owned() },
        Event::ShareRefundDeferred { key: key(1), round_id: round(), note: "called off".to_owned() },
        Event::RefundAbandoned { key: key(1), refund_id, rejection: none_left() },
        Event::OrderDisputed { key: key(1), payment_id, dispute_id: "du_1".to_owned(), dispute: disputed() },
    ]);
    events
}

fn disputed() -> Dispute {
    Dispute {
        revision: 2,
        status: "needs_response".to_owned(),
        standing: DisputeStanding::Open,
        reason: "fraudulent".to_owned(),
        amount: Some(euros(1_000)),
        due_by: Some(NOW),
        refundable: true,
        withdrawn: Some(euros(1_000)),
        reinstated: None,
        as_of: None,
        of_second_charge: false,
    }
}

fn events() -> Vec<Event> {
    [opening(), closing(), refunds()].concat()
}

#[test]
fn every_event_reads_back_as_it_was_written() {
    for fact in events() {
        let (message_type, data) = encode(&fact);
        assert!(proto::message_types().iter().any(|known| known == message_type), "{message_type}");
        assert_eq!(decode_event(message_type, &data), Ok(fact));
    }
}

#[test]
fn every_event_of_the_contract_is_written_by_somebody() {
    let written: Vec<_> = events().iter().map(|fact| encode(fact).0).collect();
    let parts = ["OrderLine", "SharePurchase"];
    for message_type in proto::message_types() {
        if let Some(name) = message_type.strip_prefix("holdfast.orders.v1.")
            && !parts.contains(&name)
        {
            let is_command = <crate::Orders as domain::Decider>::COMMANDS.contains(&&*message_type);
            assert_ne!(is_command, written.contains(&&*message_type), "{message_type}");
        }
    }
}

#[test]
fn an_event_without_its_ids_is_refused() {
    for fact in events() {
        let refusal = decode_event(encode(&fact).0, b"").unwrap_err().code;
        assert!(matches!(&*refusal, "INVALID_ATTEMPT" | "INVALID_ID" | "INVALID_TIME"), "{fact:?}: {refusal}");
    }
}

#[test]
fn an_event_of_looser_times_still_reads() {
    let price = Some(common::Money { minor_units: 0, currency: "EUR".to_owned() });
    let old = wire::OrderPlaced {
        order_id: ORDER.to_string(),
        lines: vec![wire::OrderLine { sku: "mug".to_owned(), quantity: i64::MAX, unit_price: price.clone() }],
        total: price,
        placed_at: Some(NOW.to_wire()),
        expires_at: Some(NOW.to_wire()),
        late_payment_policy: 99,
        customer_id: "a\nb".to_owned(),
        ..Default::default()
    };
    assert!(decode_event(&wire::OrderPlaced::full_name(), &old.encode_to_vec()).is_ok());
    let unknown_reason =
        wire::OrderCancelled { order_id: ORDER.to_string(), attempt: 1, reason: 99, ..Default::default() };
    assert!(decode_event(&wire::OrderCancelled::full_name(), &unknown_reason.encode_to_vec()).is_ok());
}

#[test]
fn an_event_of_a_resource_that_orders_do_not_hold_is_refused() {
    for resource in [0, 4, 99] {
        let strange = wire::OrderHoldConfirmed { order_id: ORDER.to_string(), attempt: 1, resource, discount: None };
        let refusal = decode_event(&wire::OrderHoldConfirmed::full_name(), &strange.encode_to_vec()).unwrap_err();
        assert_eq!(refusal.code, "UNKNOWN_RESOURCE");
    }
}

#[test]
fn refuses_a_type_that_is_no_event_of_orders() {
    for other in ["", "OrderPlaced", "holdfast.inventory.v1.StockHeld", "holdfast.orders.v1.PlaceOrder"] {
        assert_eq!(decode_event(other, b"").unwrap_err().code, "UNKNOWN_TYPE", "{other}");
    }
    assert_eq!(decode_event("holdfast.orders.v1.OrderPlaced", b"\x0a\xff").unwrap_err().code, "UNDECODABLE");
}

#[test]
fn the_largest_order_reads_back() {
    let line = |id: usize| crate::order::spec::line(&format!("sku-{id}"), 1_000_000, 1_000);
    let total = Money { minor_units: 1_000_000_000_000, ..euros(0) };
    let terms = crate::order::OrderTerms { lines: (0..1_000).map(line).collect(), total, ..goods() };
    let placed =
        Event::OrderPlaced { order_id: ORDER, terms, placed_at: NOW, has_contact: false, actor: String::new() };
    let (message_type, data) = encode(&placed);
    assert_eq!(decode_event(message_type, &data), Ok(placed));
}
