//! The rules of placing, cancelling, expiring and reinstating, one test each.

use std::time::Duration;

use domain::{DecideError, OrderId, StreamVersion, Timestamp, spec::Spec as _};
use uuid::Uuid;

use crate::{
    command::Command,
    event::{Event, Reinstated},
    order::{
        ATTEMPTS_MAX, CancelReason, Extent, OrderTerms, RefundItems, RefundReason, ReinstateReason,
        Resource::{self, Shares, Stock},
        State, decide, evolve,
        spec::{
            EXPIRE, NOW, ORDER, TIME_TO_PAY, all_back, both, bought_both, bought_goods, cancel, euros,
            expired_and_released, given, goods, holds, key, money_back, pay, payment_fails, pieces, pieces_back, place,
            referenced, refund, refund_fails, refund_goes, reinstate, rejected_by_owner, releases, round_fails, then,
        },
        status::Status,
    },
};

fn due() -> Timestamp {
    NOW + TIME_TO_PAY
}

#[test]
fn places_an_order() {
    let placed = Event::OrderPlaced {
        order_id: ORDER,
        terms: both(),
        placed_at: NOW,
        has_contact: false,
        actor: "ann".to_owned(),
    };
    assert_eq!(State::default().when(&place(both())), Ok(vec![placed]));
    let state = given(&[place(both())]);
    assert_eq!(state.statuses(), ["pending", "pending", "pending"]);
    assert_eq!((state.order().attempt, state.order().version.get()), (1, 1));
    assert_eq!(state.order().requested(), vec![Stock, Shares]);
}

#[test]
fn placing_the_same_order_again_changes_nothing_wherever_it_stands() {
    for commands in [
        vec![place(goods())],
        bought_goods(),
        expired_and_released(goods()),
        then(expired_and_released(goods()), [reinstate()]),
    ] {
        assert_eq!(given(&commands).when(&place(goods())), Ok(vec![]));
    }
}

#[test]
fn refuses_other_content_under_the_name_of_an_order() {
    let changes: [fn(&mut OrderTerms); 5] = [
        |terms| terms.lines[0].unit_price = euros(451),
        |terms| terms.customer_id = "customer-2".to_owned(),
        |terms| terms.time_to_pay += Duration::from_micros(1),
        |terms| terms.lines.reverse(),
        |terms| terms.payment_method = String::new(),
    ];
    for change in changes {
        let mut terms = goods();
        change(&mut terms);
        let words = [&*ORDER.to_string(), "customer-1", "10.00 EUR"];
        assert_eq!(given(&[place(goods())]).refuses(&place(terms), &words), "ORDER_EXISTS");
    }
}

#[test]
fn refuses_the_reference_of_another_order_also_of_one_that_is_closed() {
    let other = OrderId(Uuid::from_u128(99));
    let place_other = |terms| Command::PlaceOrder { order_id: other, terms, contact: None, actor: String::new() };
    for commands in [vec![place(referenced("R-1"))], expired_and_released(referenced("R-1"))] {
        let state = given(&commands);
        let words = ["R-1", &*ORDER.to_string()];
        assert_eq!(state.refuses(&place_other(referenced("R-1")), &words), "REFERENCE_TAKEN");
        for free in [referenced("R-2"), referenced("r-1"), goods()] {
            assert_eq!(state.when(&place_other(free)).unwrap().len(), 1);
        }
        assert_eq!(state.when(&place(referenced("R-1"))), Ok(vec![]));
        // What was agreed is agreed, the reference too.
        assert_eq!(state.refuses(&place(referenced("R-2")), &["customer-1"]), "ORDER_EXISTS");
    }
}

#[test]
fn does_what_somebody_wants_of_an_order_only_as_he_has_seen_it() {
    let at = |version, command| Command::AtVersion { version: StreamVersion::new(version), command: Box::new(command) };
    let state = given(&[place(goods()), holds(1, Stock)]);
    for command in [cancel(1), reinstate()] {
        assert_eq!(state.when(&at(2, command.clone())), state.when(&command));
        for other in [-1, 1, 3, i64::MAX] {
            let words = [&*ORDER.to_string(), "reserved", "version 2", &*other.to_string()];
            assert_eq!(state.refuses(&at(other, command.clone()), &words), "WRONG_VERSION");
        }
    }
    // Also what is as it should be already: he has not seen it so.
    let cancelled = given(&[place(goods()), cancel(1)]);
    assert_eq!(cancelled.refuses(&at(1, cancel(1)), &[&ORDER.to_string()]), "WRONG_VERSION");
    assert_eq!(State::default().refuses(&at(1, cancel(1)), &[&ORDER.to_string()]), "UNKNOWN_ORDER");
}

#[test]
fn any_number_of_orders_have_no_reference() {
    let other = Command::PlaceOrder {
        order_id: OrderId(Uuid::from_u128(99)),
        terms: goods(),
        contact: None,
        actor: String::new(),
    };
    assert_eq!(given(&[place(goods())]).when(&other).unwrap().len(), 1);
}

#[test]
fn refuses_to_do_anything_with_an_unknown_order() {
    for command in [cancel(1), all_back(1), reinstate()] {
        assert_eq!(State::default().refuses(&command, &[&ORDER.to_string()]), "UNKNOWN_ORDER");
    }
}

#[test]
fn others_cannot_speak_of_an_order_that_was_never_placed() {
    let answers = [
        EXPIRE,
        holds(1, Stock),
        rejected_by_owner(1, Stock),
        releases(1, Stock),
        pay(1, 1_000),
        payment_fails(1),
        refund_goes(refund(1), 1),
        refund_fails(refund(1)),
        round_fails(),
    ];
    for command in answers {
        State::default().breaks(&command, &["never placed"]);
    }
}

fn cancelled(holds: &[Resource]) -> Event {
    Event::OrderCancelled {
        key: key(1),
        reason: CancelReason::Requested,
        actor: "ann".to_owned(),
        note: "changed her mind".to_owned(),
        holds: holds.to_vec(),
    }
}

#[test]
fn cancels_an_open_order_and_says_what_is_to_be_released() {
    assert_eq!(given(&[place(goods())]).when(&cancel(1)), Ok(vec![cancelled(&[Stock])]));
    assert_eq!(given(&[place(goods()), holds(1, Stock)]).when(&cancel(1)), Ok(vec![cancelled(&[Stock])]));
    assert_eq!(given(&[place(both()), holds(1, Stock)]).when(&cancel(1)), Ok(vec![cancelled(&[Stock, Shares])]));
    let state = given(&[place(goods()), cancel(1)]);
    assert_eq!(state.statuses(), ["cancelled", "cancelled", "cancelled"]);
    assert_eq!(state.order().note, "changed her mind");
}

#[test]
fn cancelling_a_cancelled_order_changes_nothing() {
    assert_eq!(given(&[place(goods()), cancel(1)]).when(&cancel(2)), Ok(vec![]));
    assert_eq!(given(&[place(goods()), holds(1, Stock), payment_fails(1)]).when(&cancel(2)), Ok(vec![]));
}

#[test]
fn refuses_to_cancel_an_order_that_was_closed_otherwise() {
    assert_eq!(given(&[place(goods()), EXPIRE]).refuses(&cancel(1), &["expired"]), "WRONG_STATE");
    assert_eq!(given(&[place(goods()), rejected_by_owner(1, Stock)]).refuses(&cancel(1), &["rejected"]), "WRONG_STATE");
}

fn refund_of(minor_units: i64, lines: &[(&str, i64)], return_shares: bool) -> Event {
    Event::RefundRequested {
        order_id: ORDER,
        refund_id: refund(9),
        payment_id: key(1).payment_id(),
        claim: RefundItems {
            attempt: 1,
            amount: euros(minor_units),
            reason: RefundReason::OrderCancelled,
            lines: pieces(lines),
            return_shares,
        },
        extent: Some(Extent::Everything),
        actor: "ann".to_owned(),
        note: "changed her mind".to_owned(),
    }
}

fn paid_cancelled() -> Event {
    let (actor, note) = ("ann".to_owned(), "changed her mind".to_owned());
    Event::PaidOrderCancelled { key: key(1), refund_id: refund(9), actor, note }
}

#[test]
fn cancelling_a_paid_order_refunds_everything() {
    let everything = refund_of(2_500, &[("mug", 2), ("cup", 1)], true);
    assert_eq!(given(&bought_both()).when(&cancel(9)), Ok(vec![paid_cancelled(), everything]));
}

#[test]
fn cancelling_a_paid_order_refunds_what_is_left_of_it() {
    let state = given(&then(bought_both(), [pieces_back(1, &[("mug", 1)])]));
    let rest = refund_of(2_050, &[("mug", 1), ("cup", 1)], true);
    assert_eq!(state.when(&cancel(9)), Ok(vec![paid_cancelled(), rest]));
}

#[test]
fn cancelling_a_paid_order_again_changes_nothing() {
    let under_way = given(&then(bought_goods(), [cancel(1)]));
    assert_eq!(under_way.when(&cancel(1)), Ok(vec![]));
    assert_eq!(under_way.when(&cancel(2)), Ok(vec![]));
    let given_back = given(&then(bought_goods(), [cancel(1), refund_goes(refund(1), 1_000)]));
    assert_eq!(given_back.when(&cancel(2)), Ok(vec![]));
}

#[test]
fn a_paid_order_can_be_cancelled_again_after_its_refund_was_given_up() {
    let state = given(&then(bought_goods(), [cancel(1), refund_fails(refund(1))]));
    assert_eq!(state.when(&cancel(1)), Ok(vec![]));
    assert_eq!(state.when(&cancel(9)), Ok(vec![refund_of(1_000, &[("mug", 2), ("cup", 1)], false)]));
}

#[test]
fn a_cancelled_order_stays_cancelled_whatever_becomes_of_its_refund() {
    let state = given(&then(bought_goods(), [cancel(1)]));
    assert_eq!(state.statuses(), ["refunding", "refunding", "cancelled"]);
    let state = given(&then(bought_goods(), [cancel(1), refund_fails(refund(1))]));
    assert_eq!((state.statuses(), state.order().owed_minor()), (["paid", "paid", "cancelled"], 1_000));
    let state = given(&then(bought_goods(), [cancel(1), refund_goes(refund(1), 1_000)]));
    assert_eq!((state.statuses(), state.order().owed_minor()), (["refunded", "refunded", "returned"], 0));
}

#[test]
fn a_cancellation_asks_for_what_an_earlier_refund_leaves_when_it_fails() {
    // 300 are under way, and the cancellation asks for the other 700.
    let past = then(bought_goods(), [money_back(2, 300), cancel(9), refund_goes(refund(9), 700)]);
    let events = given(&past).when(&refund_fails(refund(2))).unwrap();
    let [Event::RefundAbandoned { .. }, Event::RefundRequested { refund_id, claim, .. }] = &*events else {
        panic!("{events:?}")
    };
    assert_eq!((claim.amount, claim.reason), (euros(300), RefundReason::OrderCancelled));
    let rest = then(past, [refund_fails(refund(2))]);
    let done = given(&then(rest.clone(), [refund_goes(*refund_id, 300)]));
    assert_eq!((done.statuses(), done.order().owed_minor()), (["refunded", "refunded", "returned"], 0));
    // If that fails too, it waits for somebody; and whoever cancels again asks for it again.
    let kept = given(&then(rest, [refund_fails(*refund_id)]));
    assert_eq!(kept.order().owed_minor(), 300);
    assert!(matches!(kept.when(&cancel(10)).as_deref(), Ok([Event::RefundRequested { .. }])));
}

#[test]
fn a_cancellation_that_finds_all_money_under_way_is_remembered() {
    let past = then(bought_goods(), [all_back(2), cancel(9)]);
    assert_eq!(given(&then(bought_goods(), [all_back(2)])).when(&cancel(9)), Ok(vec![paid_cancelled()]));
    // The refund of everything failed, so the cancellation asks for everything: it has not asked yet.
    let money = then(bought_goods(), [money_back(2, 1_000), cancel(9)]);
    let events = given(&money).when(&refund_fails(refund(2))).unwrap();
    assert!(
        matches!(&*events, [_, Event::RefundRequested { claim, .. }] if claim.amount == euros(1_000)),
        "{events:?}"
    );
    let events = given(&past).when(&refund_fails(refund(2))).unwrap();
    assert!(
        matches!(&*events, [_, Event::RefundRequested { claim, .. }] if claim.amount == euros(1_000)),
        "{events:?}"
    );
}

#[test]
fn cancelling_after_the_money_went_back_brings_the_goods_back() {
    let past = then(bought_goods(), [money_back(2, 1_000), refund_goes(refund(2), 1_000)]);
    let goods = refund_of(0, &[("mug", 2), ("cup", 1)], false);
    assert_eq!(given(&past).when(&cancel(9)), Ok(vec![paid_cancelled(), goods]));
    let state = given(&then(past, [cancel(9), refund_goes(refund(9), 0)]));
    assert_eq!(state.statuses(), ["refunded", "refunded", "returned"]);
    assert_eq!(state.when(&cancel(10)), Ok(vec![]));
}

#[test]
fn an_order_expires_when_its_time_to_pay_is_over() {
    let note = format!("expired by its timer at {}, due at {}", due(), due());
    for commands in [vec![place(goods())], vec![place(goods()), holds(1, Stock)]] {
        let note = note.clone();
        let actor = String::new();
        let expired = Event::OrderExpired { key: key(1), due_at: due(), note, holds: vec![Stock], actor };
        assert_eq!(given(&commands).when(&EXPIRE), Ok(vec![expired]));
    }
    let state = given(&[place(goods()), EXPIRE]);
    assert_eq!(state.statuses(), ["expired", "cancelled", "cancelled"]);
    assert_eq!(state.order().note, note);
}

#[test]
fn an_operator_expires_an_order_before_its_time() {
    let now = || Command::ExpireOrder { order_id: ORDER, actor: "ann".to_owned(), note: "the sale is over".to_owned() };
    let events = given(&[place(goods())]).when(&now()).unwrap();
    let [Event::OrderExpired { due_at, note, actor, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((*due_at, actor.as_str()), (due(), "ann"));
    assert!(note.contains("ann") && note.contains("the sale is over"), "{note}");
    // His timer, and whoever asks once more, find nothing to do.
    let expired = given(&[place(goods()), now()]);
    assert_eq!(expired.order().status, Status::Expired);
    assert_eq!((expired.when(&EXPIRE), expired.when(&now())), (Ok(vec![]), Ok(vec![])));
    assert_eq!(given(&bought_goods()).refuses(&now(), &["paid"]), "WRONG_STATE");
    assert_eq!(given(&[place(goods()), cancel(1)]).refuses(&now(), &["cancelled"]), "WRONG_STATE");
    assert_eq!(given(&[]).refuses(&now(), &["no order"]), "UNKNOWN_ORDER");
}

#[test]
fn an_order_does_not_expire_before_its_time_to_pay_is_over() {
    let state = given(&[place(goods())]);
    assert_eq!(decide(&state, &EXPIRE, Timestamp::from_micros(due().as_micros() - 1)), Ok(vec![]));
}

#[test]
fn an_order_that_is_paid_or_closed_does_not_expire() {
    for commands in [
        bought_goods(),
        expired_and_released(goods()),
        vec![place(goods()), cancel(1)],
        vec![place(goods()), rejected_by_owner(1, Stock)],
    ] {
        assert_eq!(decide(&given(&commands), &EXPIRE, due() + TIME_TO_PAY), Ok(vec![]));
    }
}

#[test]
fn the_timer_of_an_older_attempt_does_not_expire_the_latest() {
    let state = given(&then(expired_and_released(goods()), [reinstate()]));
    assert_eq!(decide(&state, &EXPIRE, due()), Ok(vec![]));
    assert!(matches!(decide(&state, &EXPIRE, NOW + 2 * TIME_TO_PAY).as_deref(), Ok([Event::OrderExpired { .. }])));
}

#[test]
fn a_reinstated_order_asks_for_its_holds_again() {
    let reinstated = Event::OrderReinstated(Reinstated {
        key: key(2),
        lines: both().lines,
        shares: both().shares,
        coupon: None,
        expires_at: Some(NOW + 2 * TIME_TO_PAY),
        reason: ReinstateReason::Requested,
        actor: "bob".to_owned(),
        note: "she called".to_owned(),
        payment_id: None,
        is_authorised: false,
    });
    let closed = [place(both()), cancel(1), releases(1, Stock), releases(1, Shares)];
    assert_eq!(given(&closed).when(&reinstate()), Ok(vec![reinstated]));
    let state = given(&then(closed.to_vec(), [reinstate()]));
    assert_eq!(state.statuses(), ["pending", "pending", "pending"]);
    assert!(!state.order().released);
    assert!(matches!(state.when(&holds(2, Shares)).as_deref(), Ok([Event::OrderHoldConfirmed { .. }])));
}

#[test]
fn reinstates_only_what_was_released() {
    let state = given(&[place(both()), EXPIRE, releases(1, Stock)]);
    assert_eq!(state.refuses(&reinstate(), &["its shares is not released"]), "ORDER_NOT_RELEASED");
    assert_eq!(given(&[place(both()), cancel(1)]).refuses(&reinstate(), &["stock and shares"]), "ORDER_NOT_RELEASED");
}

#[test]
fn reinstates_only_what_expired_or_was_cancelled() {
    let refunded = then(bought_goods(), [all_back(1), refund_goes(refund(1), 1_000)]);
    for (commands, status) in [
        (vec![place(goods())], "pending"),
        (vec![place(goods()), holds(1, Stock)], "reserved"),
        (bought_goods(), "paid"),
        (vec![place(goods()), rejected_by_owner(1, Stock)], "rejected"),
        (then(bought_goods(), [money_back(1, 1)]), "refunding"),
        (refunded, "refunded"),
    ] {
        assert_eq!(given(&commands).refuses(&reinstate(), &[status]), "WRONG_STATE");
    }
}

#[test]
fn refuses_to_try_for_ever() {
    let mut commands = expired_and_released(goods());
    for attempt in 2..=ATTEMPTS_MAX {
        commands.extend([reinstate(), EXPIRE, releases(attempt, Stock)]);
    }
    assert_eq!(given(&commands).refuses(&reinstate(), &["100 times"]), "TOO_MANY_ATTEMPTS");
}

#[test]
fn an_event_of_an_order_that_is_not_there_makes_none() {
    let mut state = State::default();
    evolve(&mut state, &cancelled(&[Stock]));
    assert!(state.orders.is_empty());
    assert!(matches!(state.when(&cancel(1)), Err(DecideError::Rejected(_))));
}
