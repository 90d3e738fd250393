//! What agrees with what, and what differs.

use domain::{Currency, GlobalPosition, Timestamp};

use super::{
    super::{
        Outcome,
        books::{Books, Kind, Moved},
        report::{Amount, Line},
    },
    Row, compare, totals,
};

const SPAN: (Timestamp, Timestamp) = (Timestamp::from_micros(0), Timestamp::from_micros(100));

fn amount(minor: i64, currency: &str) -> Amount {
    Amount { minor, currency: Currency::parse(currency).unwrap() }
}

/// A line in EUR whose fee is 30 where money comes.
fn line(id: &str, category: &str, reference: &str, gross: i64) -> Line {
    let fee = if gross > 0 { 30 } else { 0 };
    Line {
        place: format!("payout.csv:{id}"),
        id: format!("txn_{id}"),
        at: Timestamp::from_micros(50),
        category: category.to_owned(),
        source: reference.to_owned(),
        intent: reference.to_owned(),
        payout: "po_1".to_owned(),
        gross: amount(gross, "EUR"),
        fee,
        net: gross - fee,
        seen_by_buyer: None,
    }
}

fn moved(kind: Kind, reference: &str, minor: i64, at: i64) -> Moved {
    Moved {
        kind,
        reference: reference.to_owned(),
        amount: amount(minor, "EUR"),
        payment_id: Some("p".to_owned()),
        refund_id: None,
        order_id: None,
        position: GlobalPosition::new(1),
        at: Timestamp::from_micros(at),
        is_sure: true,
    }
}

fn books(all: &[Moved]) -> Books {
    let mut books = Books::default();
    books.moved.extend(all.iter().map(|moved| ((moved.kind, moved.reference.clone()), moved.clone())));
    books
}

/// What came of each, by what names it.
fn outcomes(rows: &[Row]) -> Vec<(&str, &str)> {
    let mut told: Vec<_> = rows.iter().map(|row| (row.reference.as_str(), row.outcome.as_str())).collect();
    told.sort_unstable();
    told
}

#[test]
fn what_both_say_agrees_and_every_difference_has_its_word() {
    let charge = |reference, minor, at| moved(Kind::Charge, reference, minor, at);
    let ours = [
        charge("pi_same", 1_250, 10),
        charge("pi_less", 1_250, 10),
        charge("pi_net", 1_250, 10),
        charge("pi_gone", 1_250, 100),
        charge("pi_later", 1_250, 101),
        moved(Kind::Refund, "re_1", -500, 20),
        moved(Kind::Dispute, "du_1", -1_250, 20),
    ];
    let lines = [
        line("1", "charge", "pi_same", 1_250),
        line("2", "charge", "pi_less", 1_249),
        Line { net: 1_221, ..line("3", "charge", "pi_net", 1_250) },
        line("4", "charge", "pi_none", 999),
        line("5", "refund", "re_1", -500),
        line("6", "dispute", "du_1", -1_250),
        line("7", "fee", "", -77),
        line("1", "charge", "pi_same", 1_250),
    ];
    let compared = compare(&lines, books(&ours), SPAN);
    assert_eq!((compared.asked, compared.known), (6, 5));
    let wanted = [
        ("du_1", "matched"),
        ("pi_gone", "only_here"),
        ("pi_less", "amount_differs"),
        ("pi_net", "matched"),
        ("pi_net", "net_differs"),
        ("pi_none", "only_there"),
        ("pi_same", "matched"),
        ("pi_same", "twice"),
        ("re_1", "matched"),
    ];
    assert_eq!(outcomes(&compared.rows), wanted);
}

#[test]
fn a_refund_that_failed_need_have_no_line_and_may_have_two() {
    let unsure = |kind, minor| Moved { is_sure: false, ..moved(kind, "re_1", minor, 10) };
    let ours = [unsure(Kind::Refund, -500), unsure(Kind::RefundFailure, 500)];
    assert_eq!(outcomes(&compare(&[], books(&ours), SPAN).rows), []);
    let lines = [line("1", "refund", "re_1", -500), line("2", "refund_failure", "re_1", 500)];
    let compared = compare(&lines, books(&ours), SPAN);
    assert_eq!(outcomes(&compared.rows), [("re_1", "matched"), ("re_1", "matched")]);
}

#[test]
fn a_refund_of_which_nothing_was_heard_is_known_by_its_charge_and_amount() {
    let sent = |minor| {
        let mut books = Books::default();
        let refund = Moved { is_sure: false, ..moved(Kind::Refund, "", minor, 10) };
        books.under_way.push(("pi_1".to_owned(), refund));
        books
    };
    let lines = [Line { intent: "pi_1".to_owned(), ..line("1", "refund", "re_9", -500) }];
    let compared = compare(&lines, sent(-500), SPAN);
    assert_eq!((outcomes(&compared.rows), compared.rows[0].note.is_some()), (vec![("re_9", "matched")], true));
    assert_eq!(outcomes(&compare(&lines, sent(-499), SPAN).rows), [("re_9", "only_there")]);
}

#[test]
fn what_was_authorised_and_not_taken_is_no_money() {
    let lines = [line("1", "charge", "pi_1", 2_000), line("2", "partial_capture_reversal", "pi_1", -750)];
    let compared = compare(&lines, books(&[moved(Kind::Charge, "pi_1", 1_250, 10)]), SPAN);
    assert_eq!(outcomes(&compared.rows), [("pi_1", "matched")]);
}

#[test]
fn what_is_settled_in_another_currency_is_compared_as_the_buyer_has_seen_it() {
    let ours = books(&[moved(Kind::Refund, "re_1", -500, 10)]);
    let settled = Line { gross: amount(-540, "USD"), net: -540, ..line("1", "refund", "re_1", -500) };
    let seen = Line { seen_by_buyer: Some(amount(500, "EUR")), ..settled.clone() };
    let compared = compare(&[seen], ours, SPAN);
    assert_eq!((compared.rows[0].outcome, compared.rows[0].theirs_minor), (Outcome::Matched, Some(-500)));
    let ours = books(&[moved(Kind::Refund, "re_1", -500, 10)]);
    let compared = compare(&[settled], ours, SPAN);
    assert_eq!((compared.rows[0].outcome, compared.rows[0].currency.as_str()), (Outcome::AmountDiffers, "USD"));
}

#[test]
fn a_payout_is_what_its_lines_come_to() {
    let payout = |gross| Line { net: gross, fee: 0, ..line("9", "payout", "po_1", gross) };
    let lines = |gross| [line("1", "charge", "pi_1", 1_250), line("2", "refund", "re_1", -500), payout(gross)];
    let ours = || books(&[moved(Kind::Charge, "pi_1", 1_250, 10), moved(Kind::Refund, "re_1", -500, 10)]);
    let wrong = |gross| outcomes(&compare(&lines(gross), ours(), SPAN).rows).contains(&("po_1", "payout_differs"));
    assert!(!wrong(-720) && wrong(-719));
    let (totals, payouts) = totals(&lines(-720));
    let told: Vec<_> =
        totals.iter().map(|total| (total.category.as_str(), total.gross_minor, total.fee_minor)).collect();
    assert_eq!(told, [("charge", 1_250, 30), ("payout", -720, 0), ("refund", -500, 0)]);
    assert_eq!((payouts[0].payout_id.as_str(), payouts[0].lines, payouts[0].net_minor), ("po_1", 2, 720));
}
