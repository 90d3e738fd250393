//! What a mail is about: which events cause one, by what it is known, and what of the order its words may name. Pure.

use domain::{OrderId, RefundId, Rejection, Timestamp, decode, unknown_type, written};
use proto::{
    Name,
    common::v1::Money,
    orders::v1::{OrderPaid, OrderPartiallyRefunded, OrderPlaced, OrderRefunded, RefundReason},
};
use serde::Serialize;
use uuid::Uuid;

/// The events that may cause a mail, and no others: a page, a webhook and a change of status all end in one of them.
pub(crate) const CAUSES: [&str; 3] =
    ["holdfast.orders.v1.OrderPaid", "holdfast.orders.v1.OrderRefunded", "holdfast.orders.v1.OrderPartiallyRefunded"];

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The order is paid.
    Paid,
    /// A refund is over.
    Refunded,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Paid, Self::Refunded];

    /// The word for it in tables, templates and ids.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Refunded => "refunded",
        }
    }

    /// Reads the word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One mail: an order has one of each kind, and one for each refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct About {
    /// The order.
    pub(crate) order_id: Uuid,
    /// What is told.
    pub(crate) kind: Kind,
    /// Of which refund, if of one.
    pub(crate) refund_id: Option<Uuid>,
}

impl About {
    /// What stands before the `@` of its Message-ID: the same thing is always told under the same name.
    pub(crate) fn name(&self) -> String {
        let refund = self.refund_id.map(|refund_id| format!(".{refund_id}")).unwrap_or_default();
        format!("{}.{}{refund}", self.kind.as_str(), self.order_id)
    }

    /// Its key.
    pub(crate) fn mail_id(&self) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("mail {}", self.name()).as_bytes())
    }
}

/// What is told besides, if the shop wants it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Money that came too late, and went back.
    pub(crate) late_payments: bool,
    /// Money that went back elsewhere: in the provider's dashboard.
    pub(crate) elsewhere: bool,
}

/// The mail that an event causes, if it causes one.
pub(crate) fn caused_by(message_type: &str, data: &[u8], wanted: Wanted) -> Result<Option<About>, Rejection> {
    let is = |name: String| message_type == name;
    if is(OrderPaid::full_name()) {
        let OrderPaid { order_id, .. } = decode(data)?;
        let order_id = OrderId::parse(&order_id)?.0;
        return Ok(Some(About { order_id, kind: Kind::Paid, refund_id: None }));
    }
    let Some(Refunded { order_id, refund_id, amount, reason, .. }) = Refunded::read(message_type, data)? else {
        return Err(unknown_type("mail", message_type));
    };
    let is_wanted = match reason {
        RefundReason::LatePayment => wanted.late_payments,
        RefundReason::Elsewhere => wanted.elsewhere,
        RefundReason::Unspecified
        | RefundReason::Requested
        | RefundReason::OrderCancelled
        | RefundReason::RoundFailed => true,
    };
    // Goods that come back without money are no news for a buyer's account.
    let has_money = amount.is_some_and(|amount| amount.minor_units > 0);
    let (order_id, refund_id) = (OrderId::parse(&order_id)?.0, RefundId::parse(&refund_id)?.0);
    Ok((is_wanted && has_money).then_some(About { order_id, kind: Kind::Refunded, refund_id: Some(refund_id) }))
}

/// A refund that is over, of all of the order's money or of a part.
struct Refunded {
    order_id: String,
    refund_id: String,
    amount: Option<Money>,
    reason: RefundReason,
    lines: Vec<ReturnedLine>,
    return_shares: bool,
    is_whole: bool,
}

impl Refunded {
    /// `None`: it is no such event.
    fn read(message_type: &str, data: &[u8]) -> Result<Option<Self>, Rejection> {
        let is_whole = message_type == OrderRefunded::full_name();
        if !is_whole && message_type != OrderPartiallyRefunded::full_name() {
            return Ok(None);
        }
        // Both have the same fields.
        let OrderRefunded { order_id, attempt: _, refund_id, amount, reason, lines, return_shares } = decode(data)?;
        let reason = RefundReason::try_from(reason).unwrap_or(RefundReason::Unspecified);
        let lines = lines.into_iter().map(|line| ReturnedLine { sku: line.sku, quantity: line.quantity }).collect();
        Ok(Some(Self { order_id, refund_id, amount, reason, lines, return_shares, is_whole }))
    }
}

/// What the words of a mail may name.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Story {
    /// The order as it was placed.
    pub(crate) order: Order,
    /// What was paid, of a mail about that.
    pub(crate) paid: Option<String>,
    /// The refund, of a mail about one.
    pub(crate) refund: Option<Refund>,
    /// When it happened, in microseconds since 1970: for the filter `date`.
    pub(crate) at: i64,
}

/// An order.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Order {
    id: String,
    /// The shop's own number, or else the id.
    number: String,
    reference: Option<String>,
    lines: Vec<Line>,
    shares: Option<Shares>,
    /// Before any discount.
    total: String,
    coupon: Option<String>,
    discount: Option<String>,
    placed_at: i64,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Line {
    sku: String,
    quantity: i64,
    unit_price: String,
    price: String,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Shares {
    round_id: String,
    count: i64,
    unit_price: String,
    price: String,
}

/// A refund.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(crate) struct Refund {
    id: String,
    amount: String,
    is_whole: bool,
    lines: Vec<ReturnedLine>,
    shares: bool,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct ReturnedLine {
    sku: String,
    quantity: i64,
}

/// Tells a story from the event that placed the order and the one that causes the mail: of the same events always the same.
pub(crate) fn story(placed: &[u8], message_type: &str, data: &[u8], at: Timestamp) -> Result<Story, Rejection> {
    let mut order = order(decode(placed)?)?;
    let refund = Refunded::read(message_type, data)?.map(|refunded| Refund {
        id: refunded.refund_id,
        amount: money(refunded.amount.as_ref()),
        is_whole: refunded.is_whole,
        lines: refunded.lines,
        shares: refunded.return_shares,
    });
    let mut paid = None;
    if refund.is_none() {
        let event: OrderPaid = decode(data)?;
        paid = Some(money(event.amount.as_ref()));
        order.discount = event.discount.and_then(|discount| discount.amount).map(|amount| money(Some(&amount)));
    }
    Ok(Story { order, paid, refund, at: at.as_micros() })
}

fn order(placed: OrderPlaced) -> Result<Order, Rejection> {
    let price = |count: i64, unit_price: Option<&Money>| {
        let (minor, currency) = unit_price.map_or((0, ""), |price| (price.minor_units, price.currency.as_str()));
        (written(minor, currency), written(minor.saturating_mul(count), currency))
    };
    let lines = placed.lines.into_iter().map(|line| {
        let (unit_price, price) = price(line.quantity, line.unit_price.as_ref());
        Line { sku: line.sku, quantity: line.quantity, unit_price, price }
    });
    let shares = placed.shares.map(|shares| {
        let (unit_price, price) = price(shares.count, shares.unit_price.as_ref());
        Shares { round_id: shares.round_id, count: shares.count, unit_price, price }
    });
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let reference = some(placed.reference);
    Ok(Order {
        number: reference.clone().unwrap_or_else(|| placed.order_id.clone()),
        id: placed.order_id,
        reference,
        lines: lines.collect(),
        shares,
        total: money(placed.total.as_ref()),
        coupon: some(placed.coupon_code),
        discount: None,
        placed_at: Timestamp::from_wire("placed_at", placed.placed_at)?.as_micros(),
    })
}

fn money(amount: Option<&Money>) -> String {
    amount.map_or_else(String::new, |amount| written(amount.minor_units, &amount.currency))
}

/// A story in which everything is there, for trying templates before there is an order.
pub(crate) fn sample(kind: Kind) -> Story {
    let amount = || written(2_500, "EUR");
    let line = Line { sku: "MUG-01".to_owned(), quantity: 2, unit_price: written(1_250, "EUR"), price: amount() };
    let returned = ReturnedLine { sku: "MUG-01".to_owned(), quantity: 2 };
    let shares = Shares { round_id: Uuid::nil().to_string(), count: 1, unit_price: amount(), price: amount() };
    let refund =
        Refund { id: Uuid::nil().to_string(), amount: amount(), is_whole: true, lines: vec![returned], shares: true };
    let order = Order {
        id: Uuid::nil().to_string(),
        number: "R-1".to_owned(),
        reference: Some("R-1".to_owned()),
        lines: vec![line],
        shares: Some(shares),
        total: amount(),
        coupon: Some("SPRING".to_owned()),
        discount: Some(amount()),
        placed_at: 0,
    };
    match kind {
        Kind::Paid => Story { order, paid: Some(amount()), refund: None, at: 0 },
        Kind::Refunded => Story { order, paid: None, refund: Some(refund), at: 0 },
    }
}

#[cfg(test)]
mod tests;
