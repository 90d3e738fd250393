//! What the provider says, however late, often or strangely: each report is a fact, and no money is forgotten or sent twice.

use std::time::Duration;

use holdfast_tests::{Order, QUICK_CALLS, TestFleet, at, events, money, report, report_resolution, resolution};
use proto::{
    common::v1::Money,
    orders::v1::RequestRefund,
    payments::v1::{ProviderEventKind as Kind, RecordProviderEvent, RefundResolution, ReportResolution},
    well_known,
};

async fn start() -> TestFleet {
    let fleet = TestFleet::with(1, &QUICK_CALLS).await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    fleet
}

fn mug(number: u64, script: &str) -> Order {
    Order::new(number).line("MUG", 1).pays(script)
}

/// A report that names a charge or a payout.
fn named(reference: &str, report: RecordProviderEvent) -> RecordProviderEvent {
    RecordProviderEvent { provider_reference: reference.to_owned(), ..report }
}

/// A report about a refund of this name.
fn of_refund(kind: Kind, order: &Order, name: &str, event_id: &str, cents: i64) -> RecordProviderEvent {
    let refund_id = order.refund_id(name).to_string();
    RecordProviderEvent { refund_id, ..report(kind, order, event_id, cents) }
}

async fn on_hand(fleet: &TestFleet) -> i64 {
    fleet.number("select on_hand from inventory.stock where sku = 'MUG'").await.unwrap()
}

/// The buyer paid twice: the second charge was accepted without an event, and was nowhere in the database. Over another amount than was asked for,
/// nobody can tell what it is for.
#[tokio::test]
async fn a_second_charge_over_another_amount_waits_for_somebody_and_no_refund_of_the_payment_does() {
    let fleet = start().await;
    let order = fleet.asked(mug(1, "sandbox:never")).await.unwrap();
    let charge = |number: u64| {
        let cents = if number == 1 { 1_000 } else { 999 };
        named(&format!("ch_{number}"), report(Kind::PaymentSucceeded, &order, &format!("evt_{number}"), cents))
    };
    assert_eq!(fleet.accepts(&charge(1)).await.unwrap(), ["PaymentSucceeded"]);
    fleet.until_stands(&order, "paid, ready, 0 back").await.unwrap();
    assert_eq!(fleet.accepts(&charge(2)).await.unwrap(), ["ProviderReportUnmatched"]);
    for again in [1, 2] {
        assert_eq!(fleet.accepts(&charge(again)).await.unwrap(), [""; 0]);
    }
    assert_eq!(fleet.open_reports(&order).await.unwrap(), ["second_charge 999 EUR"]);

    fleet.accepts(&order.refund_as("all")).await.unwrap();
    fleet.until_stands(&order, "refunded, returned, 1000 back").await.unwrap();
    assert_eq!(fleet.paid_out(&order).await.unwrap(), 1_000);
    assert_eq!(fleet.open_reports(&order).await.unwrap(), ["second_charge 999 EUR"]);
    let elsewhere = named("re_2", report(Kind::RefundSucceeded, &order, "evt_3", 999));
    assert_eq!(fleet.accepts(&elsewhere).await.unwrap(), ["ProviderReportResolved"]);

    // After everything went back, one more charge is not swallowed either.
    assert_eq!(fleet.accepts(&charge(4)).await.unwrap(), ["ProviderReportUnmatched"]);
    let decide = |event_id: &str, resolution| report_resolution(&order, event_id, resolution);
    let unknown = decide("evt_9", ReportResolution::Undone);
    assert_eq!(fleet.refuses(&unknown).await.unwrap(), "UNKNOWN_REPORT");
    let undone = decide("evt_4", ReportResolution::Undone);
    assert_eq!(fleet.accepts(&undone).await.unwrap(), ["ProviderReportResolved"]);
    assert_eq!(fleet.accepts(&undone).await.unwrap(), [""; 0]);
    let accepted = decide("evt_4", ReportResolution::Accepted);
    assert_eq!(fleet.refuses(&accepted).await.unwrap(), "WRONG_STATE");
    assert_eq!(fleet.open_reports(&order).await.unwrap(), [""; 0]);
    assert_eq!(fleet.stands(&order).await.unwrap(), "refunded, returned, 1000 back");
    fleet.ends_well().await.unwrap();
}

/// The same of refunds: one that is reported under two references was paid out twice.
#[tokio::test]
async fn a_refund_that_is_reported_under_a_second_reference_waits_for_somebody_and_so_do_refunds() {
    let fleet = start().await;
    let order = fleet.paid(mug(1, "sandbox:succeed")).await.unwrap();
    fleet.accepts(&RequestRefund { amount: Some(money(300)), ..order.refund_as("part") }).await.unwrap();
    fleet.until_stands(&order, "partially_refunded, ready, 300 back").await.unwrap();
    let paid_out =
        |reference, event_id| named(reference, of_refund(Kind::RefundSucceeded, &order, "part", event_id, 300));
    let key = format!("sandbox-{}.{}", order.payment_id(), order.refund_id("part"));
    assert_eq!(fleet.accepts(&paid_out(&key, "evt_1")).await.unwrap(), [""; 0]);
    assert_eq!(fleet.accepts(&paid_out("re_other", "evt_2")).await.unwrap(), ["ProviderReportUnmatched"]);
    assert_eq!(fleet.open_reports(&order).await.unwrap(), ["refunded_twice 300 EUR"]);
    fleet.accepts(&order.refund_as("rest")).await.unwrap();
    fleet.until_refund(&order, "rest", "deferred").await.unwrap();

    let failed = named("re_other", of_refund(Kind::RefundFailed, &order, "part", "evt_3", 300));
    let settled = ["ProviderReportResolved", "RefundSubmitted"];
    assert_eq!(fleet.accepts(&failed).await.unwrap(), settled);
    fleet.until_stands(&order, "refunded, returned, 1000 back").await.unwrap();
    fleet.ends_well().await.unwrap();
    assert_eq!(fleet.paid_out(&order).await.unwrap(), 1_000);
}

/// Paid too little, too much, or in what is no money of ours: the amount stood in the words of a refusal, if at all.
#[tokio::test]
async fn money_of_another_amount_is_known_until_it_is_settled_also_when_the_order_has_expired() {
    let fleet = start().await;
    let of = |minor_units, currency: &str| Some(Money { minor_units, currency: currency.to_owned() });
    let odd = [
        (of(999, "EUR"), "other_amount 999 EUR"),
        (of(1_001, "EUR"), "other_amount 1001 EUR"),
        (of(0, "EUR"), "other_amount 0 EUR"),
        (of(1_000, "USD"), "other_amount 1000 USD"),
        (of(1_000, ""), "other_amount 1000"),
        (of(-1, "EUR"), "other_amount -1 EUR"),
        (None, "other_amount"),
    ];
    let right = [of(1_000, "eur"), of(1_000, " EUR")];
    let orders: Vec<Order> =
        (0..9).map(|number| mug(number, "sandbox:never").expires_after(Duration::from_secs(5))).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select count(*) from payments.payments where status = 'requested'", 9).await.unwrap();
    let (short, paid) = orders.split_at(odd.len());
    for ((amount, known), order) in odd.iter().zip(short) {
        let paid = RecordProviderEvent { amount: amount.clone(), ..report(Kind::PaymentSucceeded, order, "evt_1", 0) };
        assert_eq!(fleet.accepts(&paid).await.unwrap(), ["ProviderReportUnmatched"], "{known}");
    }
    for (amount, order) in right.iter().zip(paid) {
        let paid = RecordProviderEvent { amount: amount.clone(), ..report(Kind::PaymentSucceeded, order, "evt_1", 0) };
        assert_eq!(fleet.accepts(&paid).await.unwrap(), ["PaymentSucceeded"], "{amount:?}");
        fleet.until_stands(order, "paid, ready, 0 back").await.unwrap();
    }
    for ((_, known), order) in odd.iter().zip(short) {
        fleet.until_stands(order, "expired, cancelled, 0 back").await.unwrap();
        assert_eq!(fleet.open_reports(order).await.unwrap(), [*known]);
    }
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 98);
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 0);

    // Given back at the provider: the provider says so, or somebody does.
    let back = named("re_1", report(Kind::RefundSucceeded, &orders[0], "evt_2", 999));
    assert_eq!(fleet.accepts(&back).await.unwrap(), ["ProviderReportResolved"]);
    for order in &short[1..] {
        let decided = report_resolution(order, "evt_1", ReportResolution::Undone);
        assert_eq!(fleet.accepts(&decided).await.unwrap(), ["ProviderReportResolved"]);
    }
    assert_eq!(fleet.number("select count(*) from payments.reports where standing = 'open'").await.unwrap(), 0);
    fleet.ends_well().await.unwrap();
}

/// The buyer's charge is quicker than the word that asks for it, and somebody gives it back by hand. Reported once more it was taken for
/// the order's money, and went back a second time.
#[tokio::test]
async fn a_charge_that_was_given_back_by_hand_is_no_new_money_when_it_is_reported_again() {
    let fleet = start().await;
    let order = mug(1, "sandbox:never");
    let charge = |reference, event_id| named(reference, report(Kind::PaymentSucceeded, &order, event_id, 1_000));
    let undone = |event_id| report_resolution(&order, event_id, ReportResolution::Undone);
    assert_eq!(fleet.accepts(&charge("ch_1", "evt_1")).await.unwrap(), ["ProviderReportUnmatched"]);
    assert_eq!(fleet.accepts(&undone("evt_1")).await.unwrap(), ["ProviderReportResolved"]);
    let order = fleet.asked(order.clone()).await.unwrap();
    assert_eq!(fleet.accepts(&charge("ch_1", "evt_2")).await.unwrap(), ["ProviderReportUnmatched"]);
    assert_eq!(fleet.open_reports(&order).await.unwrap(), ["given_back 1000 EUR"]);
    assert_eq!(fleet.accepts(&undone("evt_2")).await.unwrap(), ["ProviderReportResolved"]);
    assert_eq!(fleet.accepts(&charge("ch_2", "evt_3")).await.unwrap(), ["PaymentSucceeded"]);
    fleet.until_stands(&order, "paid, ready, 0 back").await.unwrap();
    fleet.ends_well().await.unwrap();
}

/// The same of refunds: 600 are reported of a refund of 1000.
#[tokio::test]
async fn a_refund_of_another_amount_is_known_until_it_is_settled() {
    let fleet = start().await;
    let order = fleet.paid(mug(1, "sandbox:succeed,refund=time_out")).await.unwrap();
    fleet.accepts(&order.refund_as("all")).await.unwrap();
    fleet.until_refund(&order, "all", "refunding").await.unwrap();
    let less = of_refund(Kind::RefundSucceeded, &order, "all", "evt_1", 600);
    assert_eq!(fleet.accepts(&less).await.unwrap(), ["ProviderReportUnmatched"]);
    assert_eq!(fleet.open_reports(&order).await.unwrap(), ["other_amount 600 EUR"]);
    let whole = of_refund(Kind::RefundSucceeded, &order, "all", "evt_2", 1_000);
    assert_eq!(fleet.accepts(&whole).await.unwrap(), ["PaymentRefunded"]);
    let decided = report_resolution(&order, "evt_1", ReportResolution::Undone);
    assert_eq!(fleet.accepts(&decided).await.unwrap(), ["ProviderReportResolved"]);
    fleet.until_stands(&order, "refunded, returned, 1000 back").await.unwrap();
    fleet.end_calls(&order).await.unwrap();
    fleet.ends_well().await.unwrap();
}

/// The bank takes a debit back after the order was paid: it was ignored, and a refund sent the money a second time.
#[tokio::test]
async fn money_that_the_bank_took_back_is_not_refunded_until_somebody_decides() {
    let fleet = start().await;
    let order = |number| fleet.paid(mug(number, "sandbox:succeed"));
    let (gone, back, before, strange) = tokio::try_join!(order(1), order(2), order(3), order(4)).unwrap();
    let returned = |order: &Order, seconds| RecordProviderEvent {
        reason: "debit_returned".to_owned(),
        occurred_at: at(seconds),
        ..report(Kind::PaymentFailed, order, "evt_back", 1_000)
    };
    for order in [&gone, &back] {
        assert_eq!(fleet.accepts(&returned(order, 5)).await.unwrap(), ["ProviderReportUnmatched"]);
        assert_eq!(fleet.open_reports(order).await.unwrap(), ["taken_back 1000 EUR"]);
    }
    let strange_report = RecordProviderEvent {
        amount: Some(Money { minor_units: 500, currency: "USD".to_owned() }),
        occurred_at: Some(well_known::Timestamp { seconds: 32_472_144_000, nanos: 0 }),
        ..returned(&strange, 0)
    };
    assert_eq!(fleet.accepts(&strange_report).await.unwrap(), ["ProviderReportUnmatched"]);
    // One that is older than the success is a try that failed before.
    assert_eq!(fleet.accepts(&returned(&before, -3_600)).await.unwrap(), ["PaymentDeclined"]);

    for order in [&gone, &back, &strange] {
        fleet.accepts(&order.refund_as("all")).await.unwrap();
        fleet.until_refund(order, "all", "deferred").await.unwrap();
        assert_eq!(fleet.stands(order).await.unwrap(), "refunding, ready, 0 back");
        assert_eq!(fleet.paid_out(order).await.unwrap(), 0);
    }
    fleet.accepts(&before.refund_as("all")).await.unwrap();
    fleet.until_stands(&before, "refunded, returned, 1000 back").await.unwrap();

    let accepted = report_resolution(&gone, "evt_back", ReportResolution::Accepted);
    assert_eq!(fleet.accepts(&accepted).await.unwrap(), ["RefundRejected", "ProviderReportResolved"]);
    for order in [&back, &strange] {
        let undone = report_resolution(order, "evt_back", ReportResolution::Undone);
        assert_eq!(fleet.accepts(&undone).await.unwrap(), ["ProviderReportResolved", "RefundSubmitted"]);
        fleet.until_stands(order, "refunded, returned, 1000 back").await.unwrap();
        assert_eq!(fleet.paid_out(order).await.unwrap(), 1_000);
    }
    fleet.until_stands(&gone, "paid, ready, 0 back").await.unwrap();
    fleet.accepts(&gone.refund_as("once more")).await.unwrap();
    fleet.until_refund(&gone, "once more", "rejected").await.unwrap();
    fleet.ends_well().await.unwrap();
    assert_eq!(fleet.stands(&gone).await.unwrap(), "paid, ready, 0 back");
    assert_eq!(fleet.paid_out(&gone).await.unwrap(), 0);
    assert_eq!(on_hand(&fleet).await, 99);
}

/// The report "refund failed" comes before the answer "refunded": 2000 went out of 1000, for the second refund was sent meanwhile.
#[tokio::test]
async fn a_refund_that_was_reported_failed_and_is_paid_out_after_all_goes_out_once() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    let script = "sandbox:succeed,refund=succeed,refund_after=3s";
    let (whole, parts) = tokio::try_join!(fleet.paid(mug(1, script)), fleet.paid(mug(2, script))).unwrap();
    for order in [&whole, &parts] {
        fleet.accepts(&order.refund_as("first")).await.unwrap();
        fleet.until_refund(order, "first", "refunding").await.unwrap();
        let failed = of_refund(Kind::RefundFailed, order, "first", "evt_1", 1_000);
        assert_eq!(fleet.accepts(&failed).await.unwrap(), ["RefundRejected"]);
        fleet.until_stands(order, "paid, ready, 0 back").await.unwrap();
    }
    fleet.accepts(&whole.refund_as("second")).await.unwrap();
    let part = |name: &str, cents| RequestRefund { amount: Some(money(cents)), ..parts.refund_as(name) };
    fleet.accepts(&part("second", 400)).await.unwrap();
    fleet.accepts(&part("third", 600)).await.unwrap();
    for (order, name) in [(&whole, "second"), (&parts, "second"), (&parts, "third")] {
        fleet.until_refund(order, name, "deferred").await.unwrap();
    }
    for order in [&whole, &parts] {
        fleet.until_stands(order, "refunded, returned, 1000 back").await.unwrap();
        assert_eq!(fleet.refuses(&order.refund_as("fourth")).await.unwrap(), "NOTHING_TO_REFUND");
        let retry = resolution(order, "first", RefundResolution::Retry);
        assert_eq!(fleet.refuses(&retry).await.unwrap(), "WRONG_STATE");
    }
    for (order, name) in [(&whole, "second"), (&parts, "second"), (&parts, "third")] {
        fleet.until_refund(order, name, "rejected").await.unwrap();
    }
    fleet.ends_well().await.unwrap();
    for order in [&whole, &parts] {
        assert_eq!(fleet.paid_out(order).await.unwrap(), 1_000);
        assert_eq!(fleet.payment_events(order, "RefundSubmitted").await.unwrap(), 1);
    }
    assert_eq!(on_hand(&fleet).await, 100);
}

/// Reasons, ids and references that fit nowhere: the fact was refused because of its decoration.
#[tokio::test]
async fn a_report_is_taken_in_whatever_its_texts_are() {
    let fleet = start().await;
    let failed = |reason: &str, event_id: &str, reference: &str| RecordProviderEvent {
        reason: reason.to_owned(),
        provider_event_id: event_id.to_owned(),
        provider_reference: reference.to_owned(),
        ..RecordProviderEvent::default()
    };
    let (long, very_long) = ("x".repeat(300), "y".repeat(600));
    let texts = [
        failed(&very_long, "evt_1", "re_1"),
        failed("a\nb\tc", "evt_1", "re_1"),
        failed("a\r\nb", "evt_1", "re_1"),
        failed("a\0b", "evt_1", "re_1"),
        failed("a\u{7f}b", "evt_1", "re_1"),
        failed("a\u{202e}b", "evt_1", "re_1"),
        failed("\u{2028}💥", "evt_1", "re_1"),
        failed("", &long, &long),
        failed("", "", ""),
        failed("", "evt\n\0", "re\n\0"),
    ];
    let order = |number| mug(number, "sandbox:succeed,refund=time_out");
    let orders: Vec<Order> = (0..10).map(order).collect();
    fleet.place_all(&orders).await.unwrap();
    for (order, text) in orders.iter().zip(texts) {
        fleet.until_status(order, "paid").await.unwrap();
        fleet.accepts(&order.refund_as("all")).await.unwrap();
        fleet.until_refund(order, "all", "refunding").await.unwrap();
        let about = of_refund(Kind::RefundFailed, order, "all", "", 1_000);
        let RecordProviderEvent { reason, provider_event_id, provider_reference, .. } = text;
        let report = RecordProviderEvent { reason, provider_event_id, provider_reference, ..about };
        assert_eq!(fleet.accepts(&report).await.unwrap(), ["RefundRejected"], "{report:?}");
        fleet.until_stands(order, "paid, ready, 0 back").await.unwrap();
    }
    let illegible = "select count(*) from payments.refunds
        where concat(reason, provider_reference) ~ '[[:cntrl:]\\u202e\\u2028]' or length(reason) > 540
            or length(provider_reference) > 256";
    assert_eq!(fleet.number(illegible).await.unwrap(), 0);
    let cut = "select count(*) from payments.refunds where reason like '%yyy…'";
    assert_eq!(fleet.number(cut).await.unwrap(), 1);
    for order in &orders {
        fleet.end_calls(order).await.unwrap();
    }
    fleet.ends_well().await.unwrap();
}

/// The same of payments, whose reason is not even used; and names that differ only where they are cut off stay different.
#[tokio::test]
async fn a_payment_is_taken_in_whatever_its_texts_are_and_long_names_stay_apart() {
    let fleet = start().await;
    let order = fleet.asked(mug(1, "sandbox:never")).await.unwrap();
    let long = |last: char| format!("{}{last}", "z".repeat(299));
    let paid = |event_id: String, reference: String| RecordProviderEvent {
        provider_event_id: event_id,
        provider_reference: reference,
        reason: "a\nb".to_owned(),
        ..report(Kind::PaymentSucceeded, &order, "", 1_000)
    };
    // A time that is none does not make the fact less true.
    let no_time = Some(well_known::Timestamp { seconds: 253_402_300_800, nanos: -1 });
    let first = RecordProviderEvent { occurred_at: no_time, ..paid(long('a'), long('a')) };
    assert_eq!(fleet.accepts(&first).await.unwrap(), ["PaymentSucceeded"]);
    assert_eq!(fleet.accepts(&first).await.unwrap(), [""; 0]);
    fleet.until_stands(&order, "paid, ready, 0 back").await.unwrap();
    assert_eq!(fleet.accepts(&paid(long('b'), long('a'))).await.unwrap(), [""; 0]);
    let other = |report: RecordProviderEvent| RecordProviderEvent { amount: Some(money(999)), ..report };
    assert_eq!(fleet.accepts(&other(paid(long('c'), long('c')))).await.unwrap(), ["ProviderReportUnmatched"]);
    let nameless = RecordProviderEvent { provider_event_id: String::new(), ..other(paid(String::new(), long('d'))) };
    for _ in 0..2 {
        // Without the provider's id each command is a report of its own.
        assert_eq!(fleet.accepts(&nameless).await.unwrap(), ["ProviderReportUnmatched"]);
    }
    assert_eq!(fleet.open_reports(&order).await.unwrap(), ["second_charge 999 EUR"; 3]);
    let decided = report_resolution(&order, &long('c'), ReportResolution::Undone);
    assert_eq!(fleet.accepts(&decided).await.unwrap(), ["ProviderReportResolved"]);
    fleet.ends_well().await.unwrap();
}

/// A refund made in the provider's dashboard: it was refused, and everything was sent once more.
#[tokio::test]
async fn a_refund_made_at_the_provider_is_booked_and_only_the_rest_is_sent() {
    let fleet = start().await;
    let order = fleet.paid(Order::new(1).line("MUG", 2)).await.unwrap();
    let elsewhere = named("re_1", of_refund(Kind::RefundSucceeded, &order, "theirs", "evt_1", 800));
    assert_eq!(fleet.accepts(&elsewhere).await.unwrap(), ["PaymentRefundedElsewhere"]);
    fleet.until_stands(&order, "partially_refunded, ready, 800 back").await.unwrap();
    let other_event = RecordProviderEvent { provider_event_id: "evt_2".to_owned(), ..elsewhere.clone() };
    for again in [&elsewhere, &other_event] {
        assert_eq!(fleet.accepts(again).await.unwrap(), [""; 0]);
    }
    fleet.accepts(&order.refund_as("all")).await.unwrap();
    fleet.until_stands(&order, "refunded, returned, 2000 back").await.unwrap();
    assert_eq!(fleet.paid_out(&order).await.unwrap(), 1_200);

    // More than is left cannot be booked, and is not forgotten.
    let too_much = named("re_3", report(Kind::RefundSucceeded, &order, "evt_3", 800));
    assert_eq!(fleet.accepts(&too_much).await.unwrap(), ["ProviderReportUnmatched"]);
    assert_eq!(fleet.open_reports(&order).await.unwrap(), ["refund_not_asked 800 EUR"]);
    let accepted = report_resolution(&order, "evt_3", ReportResolution::Accepted);
    assert_eq!(fleet.accepts(&accepted).await.unwrap(), ["ProviderReportResolved"]);
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 100);
}

/// A declined refund that the buyer got all the same, as the provider reports, or as an operator finds out.
#[tokio::test]
async fn a_declined_refund_that_was_paid_out_all_the_same_is_booked_once_it_is_known() {
    let fleet = start().await;
    let script = "sandbox:succeed,refund=decline";
    let (reported, decided) = tokio::try_join!(fleet.paid(mug(1, script)), fleet.paid(mug(2, script))).unwrap();
    for order in [&reported, &decided] {
        fleet.accepts(&order.refund_as("all")).await.unwrap();
        fleet.until_refund(order, "all", "rejected").await.unwrap();
        fleet.until_stands(order, "paid, ready, 0 back").await.unwrap();
    }
    let failed = of_refund(Kind::RefundFailed, &reported, "all", "evt_0", 1_000);
    assert_eq!(fleet.accepts(&failed).await.unwrap(), ["RefundRejected"], "now it is known when");
    let paid_out = named("re_1", of_refund(Kind::RefundSucceeded, &reported, "all", "evt_1", 1_000));
    assert_eq!(fleet.accepts(&paid_out).await.unwrap(), ["PaymentRefunded"]);
    let refunded = resolution(&decided, "all", RefundResolution::Refunded);
    assert_eq!(fleet.accepts(&refunded).await.unwrap(), ["RefundResolved", "PaymentRefunded"]);
    assert_eq!(fleet.accepts(&refunded).await.unwrap(), [""; 0]);
    for order in [&reported, &decided] {
        fleet.until_stands(order, "refunded, returned, 1000 back").await.unwrap();
    }
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 100);
}

/// The webhook comes before the payment is known: it was refused, and its id was burnt.
#[tokio::test]
async fn a_payment_that_is_reported_before_it_is_asked_for_pays_its_order_once() {
    let fleet = start().await;
    let [early, meanwhile, other] = [1, 2, 3].map(|number| mug(number, "sandbox:never"));
    let paid = |order: &Order, cents| named("ch_1", report(Kind::PaymentSucceeded, order, "evt_1", cents));
    let webhook = paid(&early, 1_000);
    let first = fleet.send("webhook", &webhook).await.unwrap();
    assert_eq!(events(&first), ["ProviderReportUnmatched"]);
    assert_eq!(fleet.open_reports(&early).await.unwrap(), ["not_asked 1000 EUR"]);
    fleet.accepts(&paid(&other, 999)).await.unwrap();
    for order in [&early, &other] {
        fleet.place(order).await.unwrap();
    }
    fleet.until_stands(&early, "paid, ready, 0 back").await.unwrap();
    // Again under its own id, and under another: it is known.
    assert_eq!(fleet.send("webhook", &webhook).await.unwrap(), first);
    assert_eq!(fleet.accepts(&webhook).await.unwrap(), [""; 0]);
    assert_eq!(fleet.open_reports(&early).await.unwrap(), [""; 0]);
    fleet.until_status(&other, "reserved").await.unwrap();
    fleet
        .until_of(
            "select count(*) from payments.reports where payment_id = $1 and mismatch = 'other_amount'",
            other.payment_id(),
            1,
        )
        .await
        .unwrap();

    // While payments is stopped, and before its request is committed.
    fleet.processes().await.stop_worker("payments", 0).await.unwrap();
    fleet.place(&meanwhile).await.unwrap();
    fleet.until_status(&meanwhile, "reserved").await.unwrap();
    let report = paid(&meanwhile, 1_000);
    let restart = async { fleet.processes().await.start_worker("payments", 0) };
    let (said, restarted) = tokio::join!(fleet.accepts(&report), restart);
    restarted.unwrap();
    assert_eq!(said.unwrap().len(), 1);
    fleet.until_stands(&meanwhile, "paid, ready, 0 back").await.unwrap();
    fleet.accepts(&other.cancel()).await.unwrap();
    fleet.ends_well().await.unwrap();
    for order in [&early, &meanwhile] {
        assert_eq!(fleet.payment_events(order, "PaymentSucceeded").await.unwrap(), 1);
    }
    assert_eq!(on_hand(&fleet).await, 98);
}
