//! Words for the specs of this crate: an order of two mugs and a cup, with or without three shares, and what befalls it.

use std::time::Duration;

use domain::{
    CouponCode, Currency, Discount, HoldKey, Lines, Money, OrderId, RefundId, Rejection, RoundId, Sku, Timestamp,
    spec::Spec,
};
use uuid::Uuid;

use super::{
    LatePaymentPolicy, Line, Order, OrderTerms,
    Resource::{self, Shares as SHARES, Stock as STOCK},
    Shares, State, evolve,
};
use crate::{
    Orders,
    command::{Command, RefundRequest},
    event::stream,
};

pub(crate) const ORDER: OrderId = OrderId(Uuid::from_u128(7));

/// When everything happens, but for what timers do.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

pub(crate) const TIME_TO_PAY: Duration = Duration::from_mins(30);

/// A state in which these commands were obeyed, and did something.
pub(crate) fn given(commands: &[Command]) -> State {
    let mut state = State::default();
    for command in commands {
        let events = state.when(command).unwrap();
        assert_ne!(events, vec![], "{command:?} changes nothing");
        events.iter().for_each(|event| evolve(&mut state, event));
    }
    state
}

impl Spec for State {
    type Rules = Orders;

    /// A timer comes when the latest attempt is due, everything else comes now.
    fn time_of(&self, command: &Command) -> Timestamp {
        let due = self.orders.get(&ORDER).and_then(|order| order.expires_at).unwrap_or(NOW);
        if matches!(command, Command::Expire { .. }) { due } else { NOW }
    }

    fn stream() -> String {
        stream(ORDER)
    }
}

impl State {
    pub(crate) fn order(&self) -> &Order {
        self.orders.get(&ORDER).unwrap()
    }

    /// Status, payment status, fulfilment status.
    pub(crate) fn statuses(&self) -> [&'static str; 3] {
        let order = self.order();
        [order.status.as_str(), order.payment_status.as_str(), order.fulfillment_status.as_str()]
    }
}

pub(crate) fn key(attempt: i32) -> HoldKey {
    HoldKey { order_id: ORDER, attempt }
}

pub(crate) fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

pub(crate) fn pieces(pieces: &[(&str, i64)]) -> Lines {
    pieces.iter().map(|(text, quantity)| (sku(text), *quantity)).collect()
}

pub(crate) fn euros(minor_units: i64) -> Money {
    Money { minor_units, currency: Currency::parse("EUR").unwrap() }
}

pub(crate) fn line(text: &str, quantity: i64, price: i64) -> Line {
    Line { sku: sku(text), quantity, unit_price: euros(price) }
}

pub(crate) fn round() -> RoundId {
    RoundId(Uuid::from_u128(20))
}

pub(crate) fn refund(id: u128) -> RefundId {
    RefundId(Uuid::from_u128(id))
}

/// Two mugs at 450 and a cup at 100.
pub(crate) fn goods() -> OrderTerms {
    OrderTerms {
        customer_id: "customer-1".to_owned(),
        lines: vec![line("mug", 2, 450), line("cup", 1, 100)],
        shares: None,
        total: euros(1_000),
        time_to_pay: TIME_TO_PAY,
        late_payment_policy: LatePaymentPolicy::Refund,
        payment_method: "card".to_owned(),
        reference: None,
        coupon: None,
    }
}

/// The goods, and three shares at 500.
pub(crate) fn both() -> OrderTerms {
    let shares = Some(Shares { round_id: round(), count: 3, unit_price: euros(500) });
    OrderTerms { shares, total: euros(2_500), ..goods() }
}

/// The goods, to be held again if the money comes late.
pub(crate) fn rehold_terms() -> OrderTerms {
    OrderTerms { late_payment_policy: LatePaymentPolicy::Rehold, ..goods() }
}

/// The goods, under a number of the shop's own.
pub(crate) fn referenced(reference: &str) -> OrderTerms {
    OrderTerms { reference: Some(reference.to_owned()), ..goods() }
}

pub(crate) fn place(terms: OrderTerms) -> Command {
    Command::PlaceOrder { order_id: ORDER, terms, contact: None, actor: "ann".to_owned() }
}

pub(crate) fn holds(attempt: i32, resource: Resource) -> Command {
    Command::ConfirmHolds { key: key(attempt), resources: vec![resource], discount: None }
}

pub(crate) fn coupon(code: &str) -> CouponCode {
    CouponCode::parse(code).unwrap()
}

/// What a coupon takes off each line, and off the shares.
pub(crate) fn takes_off(lines: &[i64], shares: i64) -> Discount {
    Discount { amount: euros(lines.iter().sum::<i64>() + shares), lines: lines.to_vec(), shares }
}

/// What the coupon of these terms takes off: `FREE` all, every other a third of each part.
pub(crate) fn discount_of(terms: &OrderTerms) -> Option<Discount> {
    let divisor = if terms.coupon.as_ref()?.as_str() == "FREE" { 1 } else { 3 };
    let lines: Vec<i64> =
        terms.lines.iter().map(|line| line.quantity * line.unit_price.minor_units / divisor).collect();
    Some(takes_off(&lines, terms.shares.map_or(0, |shares| shares.price() / divisor)))
}

/// Payments holds a use of the coupon.
pub(crate) fn coupon_holds(attempt: i32, discount: Discount) -> Command {
    Command::ConfirmHolds { key: key(attempt), resources: vec![Resource::Coupon], discount: Some(discount) }
}

pub(crate) fn none_left() -> Rejection {
    Rejection::new("OUT_OF_STOCK", "none left")
}

pub(crate) fn rejected_by_owner(attempt: i32, resource: Resource) -> Command {
    Command::RefuseHold { key: key(attempt), resource, rejection: none_left() }
}

pub(crate) fn releases(attempt: i32, resource: Resource) -> Command {
    Command::ConfirmReleases { key: key(attempt), resources: vec![resource] }
}

pub(crate) fn pay(attempt: i32, minor_units: i64) -> Command {
    let key = key(attempt);
    Command::RecordPayment { key, payment_id: key.payment_id(), amount: euros(minor_units) }
}

pub(crate) fn authorises(attempt: i32, minor_units: i64) -> Command {
    let key = key(attempt);
    Command::RecordAuthorisation { key, payment_id: key.payment_id(), amount: euros(minor_units) }
}

pub(crate) fn is_voided(attempt: i32) -> Command {
    let key = key(attempt);
    Command::RecordVoid { key, payment_id: key.payment_id(), reason: "it has lapsed".to_owned() }
}

pub(crate) fn payment_fails(attempt: i32) -> Command {
    Command::RecordPaymentFailure { key: key(attempt), reason: "card declined".to_owned() }
}

pub(crate) const EXPIRE: Command = Command::Expire { order_id: ORDER };

pub(crate) fn cancel(id: u128) -> Command {
    Command::CancelOrder {
        order_id: ORDER,
        refund_id: refund(id),
        actor: "ann".to_owned(),
        note: "changed her mind".to_owned(),
    }
}

pub(crate) fn reinstate() -> Command {
    Command::ReinstateOrder {
        order_id: ORDER,
        time_to_pay: 2 * TIME_TO_PAY,
        actor: "bob".to_owned(),
        note: "she called".to_owned(),
    }
}

/// Asks for everything that is left.
pub(crate) fn want_back(id: u128) -> RefundRequest {
    RefundRequest {
        order_id: ORDER,
        refund_id: refund(id),
        lines: Lines::new(),
        return_shares: false,
        amount: None,
        actor: "ann".to_owned(),
        note: "broken".to_owned(),
    }
}

pub(crate) fn all_back(id: u128) -> Command {
    Command::RequestRefund(want_back(id))
}

pub(crate) fn money_back(id: u128, minor_units: i64) -> Command {
    Command::RequestRefund(RefundRequest { amount: Some(euros(minor_units)), ..want_back(id) })
}

pub(crate) fn pieces_back(id: u128, lines: &[(&str, i64)]) -> Command {
    Command::RequestRefund(RefundRequest { lines: pieces(lines), ..want_back(id) })
}

pub(crate) fn shares_back(id: u128) -> Command {
    Command::RequestRefund(RefundRequest { return_shares: true, ..want_back(id) })
}

pub(crate) fn refund_goes(refund_id: RefundId, minor_units: i64) -> Command {
    Command::RecordRefund { order_id: ORDER, refund_id, amount: euros(minor_units) }
}

pub(crate) fn refused_by_bank() -> Rejection {
    Rejection::new("CARD_CLOSED", "no such card")
}

pub(crate) fn refund_fails(refund_id: RefundId) -> Command {
    Command::AbandonRefund { order_id: ORDER, refund_id, rejection: refused_by_bank() }
}

pub(crate) fn round_fails() -> Command {
    Command::RefundShares { key: key(1), round_id: round(), note: "called off".to_owned() }
}

/// Placed, held and paid.
pub(crate) fn bought_goods() -> Vec<Command> {
    vec![place(goods()), holds(1, STOCK), pay(1, 1_000)]
}

/// Placed, held and paid, with shares.
pub(crate) fn bought_both() -> Vec<Command> {
    vec![place(both()), holds(1, STOCK), holds(1, SHARES), pay(1, 2_500)]
}

/// Placed, expired and released.
pub(crate) fn expired_and_released(terms: OrderTerms) -> Vec<Command> {
    vec![place(terms), EXPIRE, releases(1, STOCK)]
}

/// These commands, after those.
pub(crate) fn then<const N: usize>(mut before: Vec<Command>, after: [Command; N]) -> Vec<Command> {
    before.extend(after);
    before
}
