//! The rules of money that goes back, one test each.

use domain::{Currency, DecideError, HoldKey, Money, RefundId, RoundId, derived, spec::Spec as _};
use uuid::Uuid;

use crate::{
    command::{Command, RefundRequest},
    event::Event,
    order::{
        ATTEMPTS_MAX, Extent, OrderTerms, REFUNDS_MAX, RefundItems, RefundReason,
        Resource::{Shares, Stock},
        State, late_refund_id, round_refund_id,
        spec::{
            EXPIRE, ORDER, all_back, both, bought_both, bought_goods, euros, given, goods, holds, key, line,
            money_back, pay, pieces, pieces_back, place, refund, refund_fails, refund_goes, refused_by_bank, reinstate,
            rejected_by_owner, releases, round, round_fails, shares_back, then, want_back,
        },
    },
};

fn claim(minor_units: i64, lines: &[(&str, i64)], return_shares: bool) -> RefundItems {
    RefundItems {
        attempt: 1,
        amount: euros(minor_units),
        reason: RefundReason::Requested,
        lines: pieces(lines),
        return_shares,
    }
}

fn asked(id: u128, extent: Extent, claim: RefundItems) -> Result<Vec<Event>, DecideError> {
    Ok(vec![Event::RefundRequested {
        order_id: ORDER,
        refund_id: refund(id),
        payment_id: key(1).payment_id(),
        claim,
        extent: Some(extent),
        actor: "ann".to_owned(),
        note: "broken".to_owned(),
    }])
}

#[test]
fn a_request_for_nothing_in_particular_gives_everything_back() {
    let everything = claim(2_500, &[("mug", 2), ("cup", 1)], true);
    assert_eq!(given(&bought_both()).when(&all_back(1)), asked(1, Extent::Everything, everything));
}

#[test]
fn a_request_for_nothing_in_particular_gives_back_what_is_left() {
    let state =
        given(&then(bought_both(), [pieces_back(1, &[("mug", 2)]), money_back(2, 50), refund_goes(refund(2), 50)]));
    assert_eq!(state.when(&all_back(3)), asked(3, Extent::Everything, claim(1_550, &[("cup", 1)], true)));
}

#[test]
fn pieces_come_back_for_their_price() {
    let state = given(&bought_both());
    assert_eq!(
        state.when(&pieces_back(1, &[("mug", 1), ("cup", 1)])),
        asked(1, Extent::Price, claim(550, &[("mug", 1), ("cup", 1)], false))
    );
    assert_eq!(state.when(&shares_back(1)), asked(1, Extent::Price, claim(1_500, &[], true)));
    let all = RefundRequest { lines: pieces(&[("mug", 2)]), return_shares: true, ..want_back(1) };
    assert_eq!(state.when(&Command::RequestRefund(all)), asked(1, Extent::Price, claim(2_400, &[("mug", 2)], true)));
}

#[test]
fn pieces_come_back_for_another_amount_if_one_is_named() {
    let request = RefundRequest { lines: pieces(&[("mug", 2)]), amount: Some(euros(800)), ..want_back(1) };
    assert_eq!(
        given(&bought_goods()).when(&Command::RequestRefund(request)),
        asked(1, Extent::Amount, claim(800, &[("mug", 2)], false))
    );
    assert_eq!(given(&bought_goods()).when(&money_back(1, 30)), asked(1, Extent::Amount, claim(30, &[], false)));
}

/// Mugs at 450, 450 and 500, and a fourth for nothing.
fn assorted() -> Vec<Command> {
    let lines = vec![line("mug", 2, 450), line("mug", 1, 500), line("mug", 1, 0)];
    vec![place(OrderTerms { lines, total: euros(1_400), ..goods() }), holds(1, Stock), pay(1, 1_400)]
}

#[test]
fn the_dearest_pieces_of_a_product_come_back_first() {
    let price = |state: &State, id, count| match state.when(&pieces_back(id, &[("mug", count)])).as_deref() {
        Ok([Event::RefundRequested { claim, .. }]) => claim.amount.minor_units,
        other => panic!("{other:?}"),
    };
    let state = given(&assorted());
    assert_eq!([price(&state, 1, 1), price(&state, 1, 2), price(&state, 1, 3)], [500, 950, 1_400]);
    let state = given(&then(assorted(), [pieces_back(1, &[("mug", 1)])]));
    assert_eq!([price(&state, 2, 1), price(&state, 2, 2)], [450, 900]);
    let state = given(&then(assorted(), [pieces_back(1, &[("mug", 2)]), refund_goes(refund(1), 950)]));
    assert_eq!([price(&state, 2, 1), price(&state, 2, 2)], [450, 450]);
}

#[test]
fn a_piece_whose_refund_failed_comes_back_for_what_was_paid_for_it() {
    // Two mugs, at 1,000 and at 500: the refund of the dear one fails, that of the cheap one does not.
    let terms = OrderTerms { lines: vec![line("mug", 1, 1_000), line("mug", 1, 500)], total: euros(1_500), ..goods() };
    let one = |id| pieces_back(id, &[("mug", 1)]);
    let bought = vec![place(terms), holds(1, Stock), pay(1, 1_500)];
    let past = then(bought, [one(1), one(2), refund_fails(refund(1)), refund_goes(refund(2), 500)]);
    assert_eq!(given(&past).when(&one(3)), asked(3, Extent::Price, claim(1_000, &[("mug", 1)], false)));
    let all = given(&then(past, [one(3), refund_goes(refund(3), 1_000)]));
    assert_eq!(all.statuses(), ["refunded", "refunded", "returned"]);
}

#[test]
fn a_refund_is_repeated_by_what_was_asked_for_whatever_it_would_come_to_now() {
    let one = |id| pieces_back(id, &[("mug", 1)]);
    // The first one ended meanwhile, one way or the other.
    for end in [refund_fails(refund(1)), refund_goes(refund(1), 500)] {
        let past = then(assorted(), [one(1), one(2), end]);
        assert_eq!(given(&past).when(&one(1)), Ok(vec![]));
        assert_eq!(given(&past).when(&one(2)), Ok(vec![]));
    }
    let past = then(bought_both(), [money_back(1, 300), all_back(2), refund_fails(refund(1))]);
    assert_eq!(given(&past).when(&all_back(2)), Ok(vec![]));
    assert_eq!(given(&past).refuses(&money_back(2, 2_200), &["22.00 EUR"]), "REFUND_EXISTS");
}

#[test]
fn goods_come_back_without_money_once() {
    // A gift, and goods whose money went back before.
    let gift = then(assorted(), [pieces_back(1, &[("mug", 3)]), refund_goes(refund(1), 1_400)]);
    let no_money = || asked(2, Extent::Price, claim(0, &[("mug", 1)], false));
    assert_eq!(given(&gift).when(&pieces_back(2, &[("mug", 1)])), no_money());
    let first = then(bought_goods(), [money_back(1, 1_000), refund_goes(refund(1), 1_000)]);
    assert_eq!(given(&first).statuses(), ["refunded", "refunded", "ready"]);
    let later = pieces_back(2, &[("mug", 2), ("cup", 1)]);
    assert_eq!(given(&first).when(&later), asked(2, Extent::Price, claim(0, &[("mug", 2), ("cup", 1)], false)));
    let nothing = RefundRequest { lines: pieces(&[("cup", 1)]), amount: Some(euros(0)), ..want_back(2) };
    assert_eq!(
        given(&first).when(&Command::RequestRefund(nothing)),
        asked(2, Extent::Amount, claim(0, &[("cup", 1)], false))
    );
    let done = then(first, [later, refund_goes(refund(2), 0)]);
    assert_eq!(given(&done).statuses(), ["refunded", "refunded", "returned"]);
    assert_eq!(given(&done).refuses(&pieces_back(3, &[("mug", 1)]), &["0 are left"]), "REFUND_EXCEEDS_LINES");
    // A part of the money went first: the goods bring the rest.
    let part = then(bought_goods(), [money_back(1, 300), refund_goes(refund(1), 300)]);
    let all = pieces_back(2, &[("mug", 2), ("cup", 1)]);
    assert_eq!(given(&part).when(&all), asked(2, Extent::Price, claim(700, &[("mug", 2), ("cup", 1)], false)));
    // While it is under way it may still fail, and is waited for.
    let under_way = then(bought_goods(), [money_back(1, 300)]);
    assert_eq!(given(&under_way).refuses(&all, &["7.00 EUR"]), "REFUND_EXCEEDS_PAYMENT");
}

#[test]
fn a_refund_that_comes_to_nothing_is_refused() {
    let all = then(bought_goods(), [all_back(1)]);
    assert_eq!(given(&all).refuses(&all_back(2), &["nothing"]), "NOTHING_TO_REFUND");
}

#[test]
fn refuses_to_refund_an_order_that_is_not_paid() {
    let rejected = vec![place(both()), holds(1, Stock), rejected_by_owner(1, Shares)];
    for (commands, status) in [
        (vec![place(goods())], "pending"),
        (vec![place(goods()), holds(1, Stock)], "reserved"),
        (vec![place(goods()), EXPIRE], "expired"),
        (rejected, "rejected"),
    ] {
        assert_eq!(given(&commands).refuses(&all_back(1), &[status]), "ORDER_NOT_PAID");
    }
}

#[test]
fn refuses_another_currency_than_the_orders() {
    let dollars = Money { minor_units: 1, currency: Currency::parse("USD").unwrap() };
    let request = Command::RequestRefund(RefundRequest { amount: Some(dollars), ..want_back(1) });
    assert_eq!(given(&bought_goods()).refuses(&request, &["EUR", "USD"]), "WRONG_CURRENCY");
}

#[test]
fn refuses_more_than_is_left_of_the_payment_counting_what_is_on_its_way() {
    assert_eq!(
        given(&bought_goods()).refuses(&money_back(1, 1_001), &["10.01 EUR", "10.00 EUR"]),
        "REFUND_EXCEEDS_PAYMENT"
    );
    let under_way = then(bought_goods(), [money_back(1, 600)]);
    assert_eq!(given(&under_way).refuses(&money_back(2, 401), &["4.00 EUR"]), "REFUND_EXCEEDS_PAYMENT");
    assert!(given(&under_way).when(&money_back(2, 400)).is_ok());
    let gone = then(under_way.clone(), [refund_goes(refund(1), 600)]);
    assert_eq!(given(&gone).refuses(&money_back(2, 401), &["4.00 EUR"]), "REFUND_EXCEEDS_PAYMENT");
    let given_up = then(under_way, [refund_fails(refund(1))]);
    assert!(given(&given_up).when(&money_back(2, 1_000)).is_ok());
}

#[test]
fn refuses_more_pieces_than_are_left() {
    let strange = pieces_back(1, &[("pot", 1)]);
    assert_eq!(given(&bought_goods()).refuses(&strange, &["pot", "0 are left"]), "REFUND_EXCEEDS_LINES");
    let state = given(&then(bought_goods(), [pieces_back(1, &[("mug", 1)])]));
    assert_eq!(
        state.refuses(&pieces_back(2, &[("mug", 2)]), &["2 of product mug", "1 are left"]),
        "REFUND_EXCEEDS_LINES"
    );
}

#[test]
fn refuses_shares_that_are_not_left() {
    let request = shares_back(2);
    assert_eq!(given(&bought_goods()).refuses(&request, &["no shares"]), "REFUND_EXCEEDS_SHARES");
    assert_eq!(
        given(&then(bought_both(), [shares_back(1)])).refuses(&request, &["no shares"]),
        "REFUND_EXCEEDS_SHARES"
    );
}

#[test]
fn the_same_refund_asked_again_changes_nothing() {
    for request in [all_back(1), money_back(1, 300), pieces_back(1, &[("mug", 1)]), shares_back(1)] {
        let under_way = then(bought_both(), [request.clone()]);
        assert_eq!(given(&under_way).when(&request), Ok(vec![]));
        let given_up = then(under_way, [refund_fails(refund(1))]);
        assert_eq!(given(&given_up).when(&request), Ok(vec![]));
    }
    let gone = then(bought_goods(), [all_back(1), refund_goes(refund(1), 1_000)]);
    assert_eq!(given(&gone).when(&all_back(1)), Ok(vec![]));
}

#[test]
fn refuses_other_content_under_the_name_of_a_refund() {
    let state = given(&then(bought_both(), [money_back(1, 300)]));
    for request in [all_back(1), money_back(1, 301), pieces_back(1, &[("mug", 1)]), shares_back(1)] {
        assert_eq!(state.refuses(&request, &["3.00 EUR", "requested"]), "REFUND_EXISTS");
    }
}

#[test]
fn refuses_an_id_by_which_late_money_or_a_failed_round_is_known() {
    let late = |attempt| late_refund_id(key(attempt).payment_id());
    for refund_id in [round_refund_id(ORDER), late(1), late(2), late(ATTEMPTS_MAX)] {
        let request = Command::RequestRefund(RefundRequest { refund_id, ..want_back(1) });
        assert_eq!(given(&bought_both()).refuses(&request, &[&refund_id.to_string()]), "RESERVED_REFUND_ID");
    }
}

#[test]
fn refuses_refunds_without_end() {
    let mut commands = bought_goods();
    for id in 1..=u128::try_from(REFUNDS_MAX).unwrap() {
        commands.extend([money_back(id, 1), refund_fails(refund(id))]);
    }
    assert_eq!(given(&commands).refuses(&money_back(9_999, 1), &["1000 refunds"]), "TOO_MANY_REFUNDS");
}

#[test]
fn all_money_given_back_refunds_the_order() {
    let all = claim(1_000, &[("mug", 2), ("cup", 1)], false);
    let state = given(&then(bought_goods(), [all_back(1)]));
    assert_eq!(state.statuses(), ["refunding", "refunding", "ready"]);
    let refunded = Event::OrderRefunded { order_id: ORDER, refund_id: refund(1), claim: all };
    assert_eq!(state.when(&refund_goes(refund(1), 1_000)), Ok(vec![refunded]));
    let state = given(&then(bought_goods(), [all_back(1), refund_goes(refund(1), 1_000)]));
    assert_eq!(state.statuses(), ["refunded", "refunded", "returned"]);
    assert_eq!(state.order().refunded_minor, 1_000);
    assert_eq!(state.when(&refund_goes(refund(1), 1_000)), Ok(vec![]));
}

#[test]
fn a_part_of_the_money_given_back_refunds_the_order_in_part() {
    let part = claim(450, &[("mug", 1)], false);
    let state = given(&then(bought_goods(), [pieces_back(1, &[("mug", 1)])]));
    let refunded = Event::OrderPartiallyRefunded { order_id: ORDER, refund_id: refund(1), claim: part };
    assert_eq!(state.when(&refund_goes(refund(1), 450)), Ok(vec![refunded]));
    let state = given(&then(bought_goods(), [pieces_back(1, &[("mug", 1)]), refund_goes(refund(1), 450)]));
    assert_eq!(state.statuses(), ["partially_refunded", "partially_refunded", "ready"]);
}

#[test]
fn the_last_of_several_refunds_refunds_the_order() {
    let two = then(bought_goods(), [money_back(1, 400), money_back(2, 600), refund_goes(refund(1), 400)]);
    assert_eq!(given(&two).statuses(), ["refunding", "refunding", "ready"]);
    assert!(matches!(given(&two).when(&refund_goes(refund(2), 600)).as_deref(), Ok([Event::OrderRefunded { .. }])));
    // The goods stay with the customer.
    assert_eq!(given(&then(two, [refund_goes(refund(2), 600)])).statuses(), ["refunded", "refunded", "ready"]);
}

#[test]
fn a_refund_given_up_leaves_everything_as_it_was() {
    let key = HoldKey { order_id: ORDER, attempt: 1 };
    let state = given(&then(bought_goods(), [all_back(1)]));
    let abandoned = Event::RefundAbandoned { key, refund_id: refund(1), rejection: refused_by_bank() };
    assert_eq!(state.when(&refund_fails(refund(1))), Ok(vec![abandoned]));
    let state = given(&then(bought_goods(), [all_back(1), refund_fails(refund(1))]));
    assert_eq!(state.statuses(), ["paid", "paid", "ready"]);
    assert_eq!(state.when(&refund_fails(refund(1))), Ok(vec![]));
    let part =
        then(bought_goods(), [money_back(1, 1), refund_goes(refund(1), 1), all_back(2), refund_fails(refund(2))]);
    assert_eq!(given(&part).statuses(), ["partially_refunded", "partially_refunded", "ready"]);
}

#[test]
fn money_that_went_back_counts_even_if_the_refund_was_given_up() {
    let given_up = then(bought_goods(), [all_back(1), refund_fails(refund(1))]);
    assert!(matches!(
        given(&given_up).when(&refund_goes(refund(1), 1_000)).as_deref(),
        Ok([Event::OrderRefunded { .. }])
    ));
    let gone = given(&then(given_up, [refund_goes(refund(1), 1_000)]));
    assert_eq!(gone.statuses(), ["refunded", "refunded", "returned"]);
    assert_eq!(gone.when(&refund_fails(refund(1))), Ok(vec![]));
}

#[test]
fn more_money_back_than_came_is_broken() {
    let twice =
        then(bought_goods(), [all_back(1), refund_fails(refund(1)), money_back(2, 1), refund_goes(refund(2), 1)]);
    given(&twice).breaks(&refund_goes(refund(1), 1_000), &["more than came"]);
}

#[test]
fn goods_of_a_refund_that_was_given_up_come_back_if_no_other_brought_them_since() {
    let one = |id| pieces_back(id, &[("cup", 1)]);
    let past = then(bought_goods(), [one(1), refund_fails(refund(1)), one(2), refund_goes(refund(2), 100)]);
    let bare = Event::OrderPartiallyRefunded { order_id: ORDER, refund_id: refund(1), claim: claim(100, &[], false) };
    assert_eq!(given(&past).when(&refund_goes(refund(1), 100)), Ok(vec![bare]));
    let state = given(&then(past, [refund_goes(refund(1), 100)]));
    assert_eq!(state.order().left(key(1).payment_id(), None).lines(), pieces(&[("mug", 2)]));
}

/// Of the payment of the first attempt, 300 went back at the provider.
fn elsewhere() -> Command {
    Command::RecordRefundElsewhere {
        key: key(1),
        payment_id: key(1).payment_id(),
        refund_id: refund(77),
        amount: euros(300),
        note: "made in the dashboard".to_owned(),
    }
}

#[test]
fn a_refund_made_elsewhere_is_one_of_the_orders() {
    let events = given(&bought_goods()).when(&elsewhere()).unwrap();
    let [Event::RefundRequested { claim: wanted, .. }, Event::OrderPartiallyRefunded { claim: back, .. }] = &*events
    else {
        panic!("{events:?}")
    };
    assert_eq!((wanted, wanted.reason, wanted.amount), (back, RefundReason::Elsewhere, euros(300)));
    let state = given(&then(bought_goods(), [elsewhere()]));
    assert_eq!(state.statuses(), ["partially_refunded", "partially_refunded", "ready"]);
    assert_eq!(state.when(&elsewhere()), Ok(vec![]), "once");
    assert_eq!(state.when(&all_back(1)), asked(1, Extent::Everything, claim(700, &[("mug", 2), ("cup", 1)], false)));
}

#[test]
fn a_refund_made_elsewhere_may_be_heard_of_before_the_payment() {
    let held = vec![place(goods()), holds(1, Stock)];
    let first = given(&then(held.clone(), [elsewhere(), pay(1, 1_000)]));
    let second = given(&then(held, [pay(1, 1_000), elsewhere()]));
    assert_eq!(first.statuses(), second.statuses());
    assert_eq!(first.order().refunded_minor, 300);
    assert_eq!(first.order().left(key(1).payment_id(), None), second.order().left(key(1).payment_id(), None));
}

#[test]
fn what_became_of_a_refund_made_elsewhere_may_be_heard_of_before_it() {
    // Found by the simulation: reversed, and paid out all the same, it was a refund that nobody had asked for.
    let refund_id = RefundId(derived(key(1).payment_id().0, "elsewhere re_1"));
    let Command::RecordRefundElsewhere { key, payment_id, amount, note, .. } = elsewhere() else { unreachable!() };
    let made = Command::RecordRefundElsewhere { key, payment_id, refund_id, amount, note };
    for end in [refund_goes(refund_id, 300), refund_fails(refund_id)] {
        assert_eq!(given(&bought_goods()).when(&end), Ok(vec![]));
        let booked = given(&then(bought_goods(), [made.clone()]));
        assert_eq!((booked.when(&end), booked.order().refunded_minor), (Ok(vec![]), 300));
    }
    given(&bought_goods()).breaks(&refund_goes(refund(77), 300), &["never asked for"]);
    let own = round_refund_id(ORDER);
    given(&bought_goods()).breaks(&refund_goes(own, 300), &["never asked for"]);
}

#[test]
fn everything_is_also_what_a_refund_leaves_that_fails_later() {
    let past = then(bought_goods(), [money_back(1, 300), all_back(2)]);
    let events = given(&past).when(&refund_fails(refund(1))).unwrap();
    let [Event::RefundAbandoned { .. }, Event::RefundRequested { claim: rest, extent, .. }] = &*events else {
        panic!("{events:?}")
    };
    assert_eq!((rest, *extent), (&claim(300, &[], false), Some(Extent::Everything)));
    // The refund of everything itself is not asked for again: it would be refused again.
    let alone = then(past, [refund_fails(refund(2))]);
    assert_eq!(given(&alone).order().everything, None);
    let events = given(&alone).when(&refund_fails(refund(1))).unwrap();
    assert!(matches!(&*events, [Event::RefundAbandoned { .. }]));
}

#[test]
fn what_is_asked_for_again_and_fails_ends_no_wish_for_everything() {
    // Found by the simulation: what failed after that was not asked for any more.
    let past = then(bought_goods(), [money_back(1, 300), money_back(3, 100), all_back(2), refund_fails(refund(1))]);
    let again = given(&past)
        .order()
        .refunds
        .iter()
        .find(|(_, refund)| refund.extent == Some(Extent::Everything) && refund.claim.amount == euros(300))
        .map(|(id, _)| *id)
        .unwrap();
    let past = then(past, [refund_fails(again)]);
    let events = given(&past).when(&refund_fails(refund(3))).unwrap();
    let [Event::RefundAbandoned { .. }, Event::RefundRequested { claim: rest, .. }] = &*events else {
        panic!("{events:?}")
    };
    // With what of it had failed before.
    assert_eq!(rest, &claim(400, &[], false));
}

#[test]
fn an_answer_to_a_refund_that_was_never_asked_for_is_broken() {
    for answer in [refund_goes(refund(1), 1), refund_fails(refund(1))] {
        given(&bought_goods()).breaks(&answer, &["never asked for"]);
    }
}

#[test]
fn another_amount_than_was_asked_for_is_broken() {
    let state = given(&then(bought_goods(), [money_back(1, 300)]));
    state.breaks(&refund_goes(refund(1), 299), &["was of 3.00 EUR"]);
}

fn of_the_round(minor_units: i64) -> Result<Vec<Event>, DecideError> {
    Ok(vec![Event::RefundRequested {
        order_id: ORDER,
        refund_id: round_refund_id(ORDER),
        payment_id: key(1).payment_id(),
        claim: RefundItems { reason: RefundReason::RoundFailed, ..claim(minor_units, &[], true) },
        extent: Some(Extent::Amount),
        actor: "rounds".to_owned(),
        note: "called off".to_owned(),
    }])
}

#[test]
fn a_failed_round_refunds_the_shares_and_nothing_else() {
    assert_eq!(given(&bought_both()).when(&round_fails()), of_the_round(1_500));
}

#[test]
fn a_failed_round_refunds_the_shares_once() {
    let mut commands = then(bought_both(), [round_fails()]);
    assert_eq!(given(&commands).when(&round_fails()), Ok(vec![]));
    commands.push(refund_fails(round_refund_id(ORDER)));
    assert_eq!(given(&commands).when(&round_fails()), Ok(vec![]));
    commands.push(shares_back(2));
    assert_eq!(given(&commands).when(&round_fails()), Ok(vec![]));
}

#[test]
fn a_failed_round_refunds_no_shares_that_came_back() {
    let shares = vec![shares_back(1), refund_goes(refund(1), 1_500)];
    let everything = vec![all_back(1), refund_goes(refund(1), 2_500)];
    for commands in [shares, everything] {
        assert_eq!(given(&[bought_both(), commands].concat()).when(&round_fails()), Ok(vec![]));
    }
}

#[test]
fn a_failed_round_refunds_no_more_than_is_left() {
    let given_back =
        |minor_units| then(bought_both(), [money_back(1, minor_units), refund_goes(refund(1), minor_units)]);
    assert_eq!(given(&given_back(1_600)).when(&round_fails()), of_the_round(900));
    assert_eq!(given(&given_back(2_500)).when(&round_fails()), Ok(vec![]));
}

#[test]
fn a_failed_round_waits_for_a_refund_that_leaves_too_little_or_returns_the_shares() {
    let deferred = Event::ShareRefundDeferred { key: key(1), round_id: round(), note: "called off".to_owned() };
    for under_way in [all_back(1), shares_back(1), money_back(1, 1_001)] {
        let state = given(&then(bought_both(), [under_way.clone()]));
        assert_eq!(state.when(&round_fails()), Ok(vec![deferred.clone()]));
        assert_eq!(given(&then(bought_both(), [under_way, round_fails()])).when(&round_fails()), Ok(vec![]));
    }
    assert_eq!(given(&then(bought_both(), [money_back(1, 1_000)])).when(&round_fails()), of_the_round(1_500));
}

/// What follows the end of the refund that was waited for.
fn next(state: &State, end: &Command) -> Option<Event> {
    match &*state.when(end).unwrap() {
        [_] => None,
        [_, next] => Some(next.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failed_round_refunds_the_shares_when_the_refund_it_waited_for_is_given_up() {
    for under_way in [all_back(1), shares_back(1), money_back(1, 1_001)] {
        let waiting = given(&then(bought_both(), [under_way, round_fails()]));
        assert_eq!(Ok(next(&waiting, &refund_fails(refund(1))).into_iter().collect()), of_the_round(1_500));
    }
    let settled = given(&then(bought_both(), [all_back(1), round_fails(), refund_fails(refund(1))]));
    assert_eq!(settled.order().deferred_share_refund, None);
}

#[test]
fn a_failed_round_refunds_what_is_left_when_the_refund_it_waited_for_is_given_back() {
    let waiting = given(&then(bought_both(), [money_back(1, 2_000), round_fails()]));
    assert_eq!(Ok(next(&waiting, &refund_goes(refund(1), 2_000)).into_iter().collect()), of_the_round(500));
    let waiting = given(&then(bought_both(), [shares_back(1), round_fails()]));
    assert_eq!(next(&waiting, &refund_goes(refund(1), 1_500)), None);
}

#[test]
fn a_failed_round_waits_for_every_refund_under_way() {
    let two = then(bought_both(), [money_back(1, 1_000), money_back(2, 1_000), round_fails()]);
    assert_eq!(next(&given(&two), &refund_goes(refund(1), 1_000)), None);
    let waiting = given(&then(two, [refund_goes(refund(1), 1_000)]));
    assert_eq!(Ok(next(&waiting, &refund_fails(refund(2))).into_iter().collect()), of_the_round(1_500));
}

#[test]
fn a_failed_round_names_only_those_who_bought() {
    for commands in [bought_goods(), vec![place(both())], vec![place(both()), EXPIRE]] {
        given(&commands).breaks(&round_fails(), &["it is none"]);
    }
    let other = Command::RefundShares { key: key(1), round_id: RoundId(Uuid::from_u128(21)), note: String::new() };
    given(&bought_both()).breaks(&other, &["it is none"]);
}

#[test]
fn a_failed_round_that_names_an_older_attempt_changes_nothing() {
    let reopened = [place(both()), EXPIRE, releases(1, Stock), releases(1, Shares), reinstate()];
    assert_eq!(given(&reopened).when(&round_fails()), Ok(vec![]));
}
