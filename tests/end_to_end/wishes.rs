//! What people want of an order, also beside money that fails to move: it is remembered, and comes to the right sum.

use std::time::Duration;

use holdfast_tests::{Order, QUICK_CALLS, TestFleet, at, events, money, pieces, report};
use proto::{
    orders::v1::RequestRefund,
    payments::v1::{ProviderEventKind as Kind, RecordProviderEvent},
};
use testbed::servers::Signal;

const TIME_OUT: &str = "sandbox:succeed,refund=time_out";

async fn start() -> TestFleet {
    let fleet = TestFleet::with(1, &QUICK_CALLS).await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    fleet
}

/// Two mugs for 20.00 EUR.
fn two_mugs(number: u64, script: &str) -> Order {
    Order::new(number).line("MUG", 2).pays(script)
}

fn of_amount(order: &Order, name: &str, cents: i64) -> RequestRefund {
    RequestRefund { amount: Some(money(cents)), ..order.refund_as(name) }
}

fn of_mugs(order: &Order, name: &str, quantity: i64) -> RequestRefund {
    RequestRefund { lines: pieces("MUG", quantity), ..order.refund_as(name) }
}

/// Asks for a refund, and waits until it is sent.
async fn send(fleet: &TestFleet, order: &Order, refund: &RequestRefund, cents: i64) -> String {
    assert_eq!(fleet.accepts(refund).await.unwrap(), ["RefundRequested"]);
    fleet.sent_refund(order, cents).await.unwrap()
}

/// The provider reports how a refund has ended that it never answered.
async fn ends(fleet: &TestFleet, kind: Kind, order: &Order, refund_id: &str, cents: i64) {
    let event_id = format!("evt_{refund_id}");
    let ended = RecordProviderEvent { refund_id: refund_id.to_owned(), ..report(kind, order, &event_id, cents) };
    let wanted = if kind == Kind::RefundFailed { "RefundRejected" } else { "PaymentRefunded" };
    assert_eq!(fleet.accepts(&ended).await.unwrap(), [wanted]);
}

/// What was asked for because of a failure waits until the call of what failed is over, is sent then, and goes back.
async fn the_rest_goes_back(fleet: &TestFleet, order: &Order, cents: i64) {
    let waiting = "select count(*) from payments.refunds where payment_id = $1 and status = 'deferred'";
    fleet.until_of(waiting, order.payment_id(), 1).await.unwrap();
    fleet.end_calls(order).await.unwrap();
    let rest = fleet.sent_refund(order, cents).await.unwrap();
    ends(fleet, Kind::RefundSucceeded, order, &rest, cents).await;
}

async fn on_hand(fleet: &TestFleet) -> i64 {
    fleet.number("select on_hand from inventory.stock where sku = 'MUG'").await.unwrap()
}

/// Equal goods at two prices: when the dearer refund failed, the next one for the same goods came to the cheaper price.
#[tokio::test]
async fn equal_goods_at_two_prices_come_back_for_what_was_paid_for_them_also_when_a_refund_failed() {
    let fleet = start().await;
    let order = Order::new(1).line_at("MUG", 1, 1_000).line_at("MUG", 1, 500).pays(TIME_OUT);
    let order = fleet.paid(order).await.unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|name| of_mugs(&order, name, 1));
    let dear = send(&fleet, &order, &first, 1_000).await;
    let cheap = send(&fleet, &order, &second, 500).await;
    ends(&fleet, Kind::RefundFailed, &order, &dear, 1_000).await;
    ends(&fleet, Kind::RefundSucceeded, &order, &cheap, 500).await;
    fleet.until_stands(&order, "partially_refunded, ready, 500 back").await.unwrap();
    assert_eq!(fleet.accepts(&third).await.unwrap(), ["RefundRequested"]);
    the_rest_goes_back(&fleet, &order, 1_000).await;
    fleet.until_stands(&order, "refunded, returned, 1500 back").await.unwrap();
    // All of them again, whatever they came to and however they ended.
    for refund in [&first, &second, &third] {
        assert_eq!(fleet.accepts(refund).await.unwrap(), [""; 0]);
    }
    fleet.end_calls(&order).await.unwrap();
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 100);
}

/// A repeat was compared with what it would come to today, and refused as "other content": who followed that paid twice.
#[tokio::test]
async fn a_repeated_refund_is_compared_with_what_was_asked_for() {
    let fleet = start().await;
    let priced = |number, script: &str| Order::new(number).line_at("MUG", 1, 1_000).line_at("MUG", 1, 500).pays(script);
    let order = fleet.paid(priced(1, "sandbox:succeed")).await.unwrap();
    let [first, second] = ["first", "second"].map(|name| of_mugs(&order, name, 1));
    fleet.accepts(&first).await.unwrap();
    fleet.until_stands(&order, "partially_refunded, ready, 1000 back").await.unwrap();
    fleet.accepts(&second).await.unwrap();
    assert_eq!(fleet.accepts(&first).await.unwrap(), [""; 0]);
    let other = of_mugs(&order, "first", 2);
    assert_eq!(fleet.refuses(&other).await.unwrap(), "REFUND_EXISTS");
    fleet.until_stands(&order, "refunded, returned, 1500 back").await.unwrap();

    // Everything, asked for beside a part that then fails: the repeat is known, and what the part leaves goes back too.
    let order = fleet.paid(two_mugs(2, TIME_OUT)).await.unwrap();
    let part = send(&fleet, &order, &of_amount(&order, "part", 300), 300).await;
    let all = order.refund_as("all");
    let everything = send(&fleet, &order, &all, 1_700).await;
    ends(&fleet, Kind::RefundFailed, &order, &part, 300).await;
    assert_eq!(fleet.accepts(&all).await.unwrap(), [""; 0]);
    ends(&fleet, Kind::RefundSucceeded, &order, &everything, 1_700).await;
    the_rest_goes_back(&fleet, &order, 300).await;
    fleet.until_stands(&order, "refunded, returned, 2000 back").await.unwrap();
    for refund in [&all, &of_amount(&order, "part", 300)] {
        assert_eq!(fleet.accepts(refund).await.unwrap(), [""; 0]);
    }
    fleet.end_calls(&order).await.unwrap();
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 100);
}

/// A paid order is cancelled beside a refund that then fails: the shop kept the money, or the order was shipped all the same.
#[tokio::test]
async fn a_cancelled_order_gives_everything_back_also_what_another_refund_failed_to() {
    let fleet = start().await;
    // A part is under way, and fails after the cancellation's own refund went back.
    let beside_part = async {
        let order = fleet.paid(two_mugs(1, TIME_OUT)).await.unwrap();
        let part = send(&fleet, &order, &of_amount(&order, "part", 500), 500).await;
        assert_eq!(fleet.accepts(&order.cancel()).await.unwrap(), ["PaidOrderCancelled", "RefundRequested"]);
        let cancelled = fleet.sent_refund(&order, 1_500).await.unwrap();
        ends(&fleet, Kind::RefundSucceeded, &order, &cancelled, 1_500).await;
        ends(&fleet, Kind::RefundFailed, &order, &part, 500).await;
        the_rest_goes_back(&fleet, &order, 500).await;
        order
    };
    // Everything is under way, and fails.
    let beside_everything = async {
        let order = fleet.paid(two_mugs(2, TIME_OUT)).await.unwrap();
        let all = send(&fleet, &order, &order.refund_as("all"), 2_000).await;
        assert_eq!(fleet.accepts(&order.cancel()).await.unwrap(), ["PaidOrderCancelled"]);
        assert_eq!(fleet.accepts(&order.cancel()).await.unwrap(), [""; 0]);
        assert_eq!(fleet.stands(&order).await.unwrap(), "refunding, cancelled, 0 back");
        ends(&fleet, Kind::RefundFailed, &order, &all, 2_000).await;
        the_rest_goes_back(&fleet, &order, 2_000).await;
        order
    };
    // All the money went back before, and the goods are still out.
    let after_money = async {
        let order = fleet.paid(two_mugs(3, "sandbox:succeed")).await.unwrap();
        fleet.accepts(&of_amount(&order, "money", 2_000)).await.unwrap();
        fleet.until_stands(&order, "refunded, ready, 2000 back").await.unwrap();
        assert_eq!(fleet.accepts(&order.cancel()).await.unwrap(), ["PaidOrderCancelled", "RefundRequested"]);
        order
    };
    // Two cancellations at once.
    let twice = async {
        let order = fleet.paid(two_mugs(4, "sandbox:succeed")).await.unwrap();
        let cancel = order.cancel();
        let (first, second) = tokio::try_join!(fleet.send("once", &cancel), fleet.send("twice", &cancel)).unwrap();
        assert_eq!(events(&first).len() + events(&second).len(), 2, "{first:?} {second:?}");
        order
    };
    let (a, b, c, d) = tokio::join!(beside_part, beside_everything, after_money, twice);
    for order in [&a, &b, &c, &d] {
        fleet.until_stands(order, "refunded, returned, 2000 back").await.unwrap();
        fleet.end_calls(order).await.unwrap();
        assert_eq!(fleet.accepts(&order.cancel()).await.unwrap(), [""; 0]);
    }
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 100);
    assert_eq!(fleet.paid_out(&d).await.unwrap(), 2_000);
}

/// A cancellation whose refunds the provider declines, and late money that it will not give back: who must see to it can find them.
#[tokio::test]
async fn money_that_was_to_go_back_and_does_not_is_owed_for_all_to_see() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    let late = Order::new(1).line("MUG", 1).pays("sandbox:late,after=1s,refund=decline");
    let late = late.expires_after(Duration::from_secs(5));
    fleet.place(&late).await.unwrap();
    let cancelled = fleet.paid(two_mugs(2, "sandbox:succeed,refund=decline")).await.unwrap();
    assert_eq!(fleet.accepts(&cancelled.cancel()).await.unwrap(), ["PaidOrderCancelled", "RefundRequested"]);
    fleet.until_stands(&cancelled, "paid, cancelled, 0 back, 2000 owed").await.unwrap();
    // Both are under way at once, and both are declined.
    let both = fleet.paid(two_mugs(3, "sandbox:succeed,refund=decline,refund_after=1s")).await.unwrap();
    fleet.accepts(&of_amount(&both, "part", 500)).await.unwrap();
    fleet.accepts(&both.cancel()).await.unwrap();
    fleet.until_stands(&both, "paid, cancelled, 0 back, 2000 owed").await.unwrap();
    fleet.until_stands(&late, "expired, cancelled, 0 back, 1000 owed").await.unwrap();
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 96);
    // Asked again, the provider is asked again.
    assert_eq!(fleet.accepts(&cancelled.cancel()).await.unwrap(), ["RefundRequested"]);
    assert_eq!(fleet.accepts(&late.refund_as("late")).await.unwrap(), ["RefundRequested"]);
    fleet.ends_well().await.unwrap();
    let owed = fleet.number("select sum(owed_minor)::bigint from orders.orders").await.unwrap();
    assert_eq!(owed, 2_000 + 2_000 + 1_000);
}

/// Money first, goods later: it could not be done, and a free gift could not come back at all.
#[tokio::test]
async fn goods_come_back_after_their_money_once_and_gifts_without_any() {
    let fleet = start().await;
    let round = fleet.round("bicycle", 10).await.unwrap();
    let paid = |order| fleet.paid(order);
    let (by_price, by_zero, in_parts, gift, shares) = tokio::try_join!(
        paid(two_mugs(1, "")),
        paid(two_mugs(2, "")),
        paid(two_mugs(3, "")),
        paid(two_mugs(4, "").line_at("MUG", 1, 0)),
        paid(Order::new(5).shares(round, 4)),
    )
    .unwrap();
    for order in [&by_price, &by_zero, &shares] {
        fleet.accepts(&of_amount(order, "money", 2_000)).await.unwrap();
        fleet.until_stands(order, "refunded, ready, 2000 back").await.unwrap();
    }
    fleet.accepts(&of_amount(&in_parts, "money", 500)).await.unwrap();
    fleet.until_stands(&in_parts, "partially_refunded, ready, 500 back").await.unwrap();

    let of_shares = RequestRefund { return_shares: true, ..shares.refund_as("goods") };
    let no_money = RequestRefund { amount: Some(money(0)), ..of_mugs(&by_zero, "goods", 2) };
    let wishes = [of_mugs(&by_price, "goods", 2), no_money, of_mugs(&in_parts, "goods", 2), of_shares];
    for (wish, order) in wishes.iter().zip([&by_price, &by_zero, &in_parts, &shares]) {
        assert_eq!(fleet.accepts(wish).await.unwrap(), ["RefundRequested"]);
        assert_eq!(fleet.accepts(wish).await.unwrap(), [""; 0]);
        fleet.until_stands(order, "refunded, returned, 2000 back").await.unwrap();
    }
    assert_eq!(fleet.refuses(&of_mugs(&by_price, "goods again", 1)).await.unwrap(), "REFUND_EXCEEDS_LINES");
    let again = RequestRefund { return_shares: true, ..shares.refund_as("goods again") };
    assert_eq!(fleet.refuses(&again).await.unwrap(), "REFUND_EXCEEDS_SHARES");

    // The gift alone, and then the rest.
    let free = RequestRefund { amount: Some(money(0)), ..of_mugs(&gift, "gift", 1) };
    assert_eq!(fleet.accepts(&free).await.unwrap(), ["RefundRequested"]);
    fleet.until("select on_hand from inventory.stock where sku = 'MUG'", 98).await.unwrap();
    assert_eq!(fleet.paid_out(&gift).await.unwrap(), 0);
    fleet.accepts(&gift.refund_as("rest")).await.unwrap();
    fleet.until_stands(&gift, "refunded, returned, 2000 back").await.unwrap();
    fleet.ends_well().await.unwrap();
    assert_eq!(on_hand(&fleet).await, 100);
    assert_eq!(fleet.number("select sold from rounds.rounds").await.unwrap(), 0);
    for order in [&by_price, &by_zero, &in_parts, &gift, &shares] {
        assert_eq!(fleet.paid_out(order).await.unwrap(), 2_000);
    }
}

/// The first card is declined, the second pays: the order was cancelled with the first, or not, by the order of arrival.
#[tokio::test]
async fn a_declined_card_is_one_try_whether_it_is_heard_of_before_or_after_the_card_that_pays() {
    let fleet = start().await;
    let order = |number| Order::new(number).line("MUG", 1).pays("sandbox:never");
    for (number, order) in [order(0), order(1), order(2).reholds(), order(3).reholds()].into_iter().enumerate() {
        let order = fleet.asked(order).await.unwrap();
        let declined = |event_id: &str| RecordProviderEvent {
            occurred_at: at(-5),
            reason: "card_declined".to_owned(),
            ..report(Kind::PaymentFailed, &order, event_id, 1_000)
        };
        let paid = report(Kind::PaymentSucceeded, &order, "evt_paid", 1_000);
        if number % 2 == 0 {
            assert_eq!(fleet.accepts(&declined("evt_declined")).await.unwrap(), ["PaymentDeclined"]);
            assert_eq!(fleet.status(&order).await.unwrap(), "reserved");
            assert_eq!(fleet.accepts(&paid).await.unwrap(), ["PaymentSucceeded"]);
        } else {
            assert_eq!(fleet.accepts(&paid).await.unwrap(), ["PaymentSucceeded"]);
            assert_eq!(fleet.accepts(&declined("evt_declined")).await.unwrap(), ["PaymentDeclined"]);
        }
        fleet.until_stands(&order, "paid, ready, 0 back").await.unwrap();
        assert_eq!(fleet.accepts(&declined("evt_declined")).await.unwrap(), [""; 0]);
        assert_eq!(fleet.accepts(&declined("evt_again")).await.unwrap(), ["PaymentDeclined"]);
        assert_eq!(fleet.open_reports(&order).await.unwrap(), [""; 0]);
        assert_eq!(fleet.stands(&order).await.unwrap(), "paid, ready, 0 back");
    }
    // What the provider closes is over, and money that comes all the same goes back.
    let closed = fleet.asked(Order::new(9).line("MUG", 1).pays("sandbox:never")).await.unwrap();
    let over = report(Kind::PaymentClosed, &closed, "evt_closed", 1_000);
    assert_eq!(fleet.accepts(&over).await.unwrap(), ["PaymentFailed"]);
    fleet.until_stands(&closed, "cancelled, cancelled, 0 back").await.unwrap();
    let late = report(Kind::PaymentSucceeded, &closed, "evt_late", 1_000);
    assert_eq!(fleet.accepts(&late).await.unwrap(), ["PaymentSucceeded"]);
    fleet.ends_well().await.unwrap();
    assert_eq!(fleet.paid_out(&closed).await.unwrap(), 1_000);
    assert_eq!(on_hand(&fleet).await, 96);
}

/// Money that came between expiry and receipt lost the order of a buyer who was to have it, by a few milliseconds.
#[tokio::test]
async fn money_that_comes_as_the_order_expires_waits_for_the_receipt_and_holds_again() {
    let fleet = start().await;
    let late = |number| {
        let order = Order::new(number).line("MUG", 1).pays("sandbox:late,after=0ms");
        order.expires_after(Duration::from_secs(5))
    };
    let (reholds, refunds) = (late(1).reholds(), late(2));
    fleet.place_all(&[reholds.clone(), refunds.clone()]).await.unwrap();
    for order in [&reholds, &refunds] {
        fleet.until_status(order, "reserved").await.unwrap();
    }
    fleet.processes().await.worker("inventory", 0).unwrap().signal(Signal::STOP).unwrap();
    let waits = "select count(*) from orders.orders where order_id = $1 and status = 'expired' and not released
        and waiting_payment_id is not null";
    fleet.until_of(waits, reholds.id, 1).await.unwrap();
    fleet.processes().await.worker("inventory", 0).unwrap().signal(Signal::CONT).unwrap();
    fleet.until_stands(&reholds, "paid, ready, 0 back").await.unwrap();
    fleet.ends_well().await.unwrap();
    let story = fleet.stream(&format!("order-{}", reholds.id)).await.unwrap();
    for once in ["LatePaymentDeferred", "OrderReleased", "OrderReinstated", "OrderPaid"] {
        assert_eq!(story.iter().filter(|name| *name == once).count(), 1, "{once}: {story:?}");
    }
    assert_eq!(fleet.stands(&refunds).await.unwrap(), "expired, cancelled, 0 back");
    assert_eq!(fleet.paid_out(&refunds).await.unwrap(), 1_000);
    assert_eq!(fleet.paid_out(&reholds).await.unwrap(), 0);
    assert_eq!(on_hand(&fleet).await, 99);
}
