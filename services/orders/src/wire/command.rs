//! Commands from outside: everything that can be checked without knowing the order.

use std::time::Duration;

use domain::{
    AMOUNT_MAX, ContactEmail, CouponCode, Currency, Money, OrderId, RefundId, Rejection, StreamVersion, decode,
    lines_from_wire, text, unknown_type,
};
use proto::{Name, common::v1::ProductQuantity, orders::v1 as wire, well_known};
use providers::{
    Enabled, ProviderName,
    registry::{accepts, provider_of},
    wallet,
};
use uuid::Uuid;

use super::{PACKAGE, parts};
use crate::{
    command::{Command, RefundRequest},
    order::{Line, OrderTerms, Shares},
};

/// The most lines of an order, and of a refund.
const LINES_MAX: usize = 1_000;

/// The most shares of an order.
const SHARES_MAX: i64 = 1_000_000;

/// The longest reference.
const REFERENCE_CHARS_MAX: usize = 64;

const TIME_TO_PAY_DEFAULT: Duration = Duration::from_mins(30);

const TIME_TO_PAY_MIN: Duration = Duration::from_secs(5);

const TIME_TO_PAY_MAX: Duration = Duration::from_hours(7 * 24);

/// Reads a command from outside; `id` is the command's.
///
/// # Errors
/// What the sender did wrong.
pub fn decode_command(message_type: &str, data: &[u8], id: Uuid) -> Result<Command, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::PlaceOrder::NAME) => place_order(decode(data)?),
        Some(wire::CancelOrder::NAME) => {
            let wire::CancelOrder { order_id, actor, note, expected_version } = decode(data)?;
            let command = Command::CancelOrder {
                order_id: OrderId::parse(&order_id)?,
                refund_id: RefundId(Uuid::new_v5(&id, b"cancel")),
                actor: text("actor", &actor, 1, 128)?,
                note: text("note", &note, 0, 512)?,
            };
            Ok(at_version(expected_version, command))
        }
        Some(wire::ExpireOrder::NAME) => {
            let wire::ExpireOrder { order_id, actor, note, expected_version } = decode(data)?;
            let command = Command::ExpireOrder {
                order_id: OrderId::parse(&order_id)?,
                actor: text("actor", &actor, 1, 128)?,
                note: text("note", &note, 1, 512)?,
            };
            Ok(at_version(expected_version, command))
        }
        Some(wire::RequestRefund::NAME) => request_refund(&decode(data)?, id),
        Some(wire::ReinstateOrder::NAME) => {
            let wire::ReinstateOrder { order_id, actor, note, time_to_pay: given, expected_version } = decode(data)?;
            let command = Command::ReinstateOrder {
                order_id: OrderId::parse(&order_id)?,
                time_to_pay: time_to_pay(given)?,
                actor: text("actor", &actor, 1, 128)?,
                note: text("note", &note, 1, 512)?,
            };
            Ok(at_version(expected_version, command))
        }
        Some(_) | None => Err(unknown_type("orders", message_type)),
    }
}

/// A version that no order can have is not the one that it has.
fn at_version(expected_version: i64, command: Command) -> Command {
    match expected_version {
        0 => command,
        version => Command::AtVersion { version: StreamVersion::new(version), command: Box::new(command) },
    }
}

fn place_order(message: wire::PlaceOrder) -> Result<Command, Rejection> {
    let order_id = OrderId::parse(&message.order_id)?;
    let customer_id = text("customer_id", &message.customer_id, 1, 128)?;
    let payment_method = of_customer(&text("payment_method", &message.payment_method, 0, 256)?, &customer_id)?;
    let time_to_pay = time_to_pay(message.time_to_pay)?;
    let late_payment_policy = parts::policy(message.late_payment_policy).ok_or_else(|| {
        let reason =
            format!("late_payment_policy must be REFUND or REHOLD, not number {}", message.late_payment_policy);
        Rejection::new("INVALID_LATE_PAYMENT_POLICY", reason)
    })?;
    if message.lines.is_empty() && message.shares.is_none() {
        let reason = format!("order {order_id} is of nothing: give it lines, or a share purchase");
        return Err(Rejection::new("EMPTY_ORDER", reason));
    }
    within_lines_max(message.lines.len())?;
    let pieces = |line: &wire::OrderLine| ProductQuantity { sku: line.sku.clone(), quantity: line.quantity };
    // Each quantity is checked, and the sum of those of the same product.
    lines_from_wire(&message.lines.iter().map(pieces).collect::<Vec<_>>())?;
    let lines = parts::lines(&message.lines, Money::asked)?;
    let shares = message.shares.as_ref().map(share_purchase).transpose()?;
    let total = total(&lines, shares.as_ref())?;
    let coupon = CouponCode::parse_optional(&message.coupon_code)?;
    // What the provider cannot take would be held for nothing. Of what a coupon leaves, payments says so when it holds the coupon.
    if coupon.is_none() {
        accepts(&payment_method, total)?;
    }
    let reference = parts::reference(&message.reference);
    let reference = reference.map(|reference| text("reference", &reference, 1, REFERENCE_CHARS_MAX)).transpose()?;
    let terms = OrderTerms {
        customer_id,
        lines,
        shares,
        total,
        time_to_pay,
        late_payment_policy,
        payment_method,
        reference,
        coupon,
    };
    let contact = ContactEmail::parse_optional(&message.contact_email)?;
    let actor = text("actor", &message.actor, 0, 128)?;
    Ok(Command::PlaceOrder { order_id, terms, contact, actor })
}

/// The same, unless it places an order: one that says nothing of how it is paid is completed with how it is paid here.
///
/// # Errors
/// No provider that takes payments here takes this one.
pub fn payable(command: Command, enabled: &Enabled) -> Result<Command, Rejection> {
    let Command::PlaceOrder { order_id, mut terms, contact, actor } = command else { return Ok(command) };
    let payment_method = enabled.payment_method(&terms.payment_method)?;
    if payment_method != terms.payment_method {
        terms.payment_method = of_customer(payment_method, &terms.customer_id)?;
        if terms.coupon.is_none() {
            accepts(&terms.payment_method, terms.total)?;
        }
    }
    Ok(Command::PlaceOrder { order_id, terms, contact, actor })
}

/// A wallet is that of whoever orders, and is named with its customer from here on: payments knows no customers.
fn of_customer(payment_method: &str, customer_id: &str) -> Result<String, Rejection> {
    match (provider_of(payment_method), payment_method.split_once(':')) {
        (ProviderName::Wallet, None) => Ok(wallet::payment_method(customer_id)),
        (ProviderName::Wallet, Some((_, named))) if named != customer_id => {
            let reason = format!(
                "an order of {customer_id:?} is paid from the wallet of {customer_id:?}, not of {named:?}: send the payment_method {:?}",
                wallet::NAME
            );
            Err(Rejection::new("WRONG_WALLET", reason))
        }
        (ProviderName::Wallet | ProviderName::Sandbox | ProviderName::Stripe, _) => Ok(payment_method.to_owned()),
    }
}

fn within_lines_max(count: usize) -> Result<(), Rejection> {
    if count > LINES_MAX {
        return Err(Rejection::new("TOO_MANY_LINES", format!("{count} lines are too many: {LINES_MAX} is the most")));
    }
    Ok(())
}

fn share_purchase(message: &wire::SharePurchase) -> Result<Shares, Rejection> {
    let shares = parts::shares(message, Money::asked)?;
    if !(1..=SHARES_MAX).contains(&shares.count) {
        let reason = format!("count of shares must be 1 to {SHARES_MAX}, not {}", shares.count);
        return Err(Rejection::new("INVALID_QUANTITY", reason));
    }
    if shares.unit_price.minor_units < 1 {
        let least = Money { minor_units: 1, ..shares.unit_price };
        let reason = format!("unit_price of a share must be at least {least}: what is free cannot be refunded");
        return Err(Rejection::new("INVALID_AMOUNT", reason));
    }
    Ok(shares)
}

/// The price of everything, in the one currency of everything.
fn total(lines: &[Line], shares: Option<&Shares>) -> Result<Money, Rejection> {
    let prices = lines.iter().map(|line| (line.quantity, line.unit_price));
    let mut prices = prices.chain(shares.map(|shares| (shares.count, shares.unit_price)));
    let mut currency: Option<Currency> = None;
    let sum = prices.try_fold(0_i64, |sum, (count, price)| {
        let first = *currency.get_or_insert(price.currency);
        if price.currency != first {
            let reason =
                format!("an order is paid in one currency, and this one has prices in {first} and {}", price.currency);
            return Err(Rejection::new("MIXED_CURRENCY", reason));
        }
        let sum = price.minor_units.checked_mul(count).and_then(|cost| sum.checked_add(cost));
        sum.filter(|sum| *sum <= AMOUNT_MAX).ok_or_else(|| {
            let most = Money { minor_units: AMOUNT_MAX, ..price };
            let reason = format!("an order costs at most {most}, and this one costs more: split it");
            Rejection::new("AMOUNT_TOO_LARGE", reason)
        })
    })?;
    match currency {
        Some(currency) if sum > 0 => Ok(Money { minor_units: sum, currency }),
        Some(_) | None => {
            Err(Rejection::new("NOTHING_TO_PAY", "the order costs nothing: only what is paid for can be ordered"))
        }
    }
}

fn time_to_pay(given: Option<well_known::Duration>) -> Result<Duration, Rejection> {
    let Some(given) = given else { return Ok(TIME_TO_PAY_DEFAULT) };
    // Cut to microseconds, as all times are.
    let (seconds, micros) = (u64::try_from(given.seconds), u32::try_from(given.nanos).map(|nanos| nanos / 1_000));
    let duration = match (seconds, micros) {
        (Ok(seconds), Ok(micros @ 0..1_000_000)) => Some(Duration::new(seconds, micros * 1_000)),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
    };
    duration.filter(|duration| (TIME_TO_PAY_MIN..=TIME_TO_PAY_MAX).contains(duration)).ok_or_else(|| {
        let (min, max) = (TIME_TO_PAY_MIN.as_secs(), TIME_TO_PAY_MAX.as_secs());
        let reason = format!("time_to_pay must be {min} to {max} seconds, not {} s {} ns", given.seconds, given.nanos);
        Rejection::new("INVALID_TIME_TO_PAY", reason)
    })
}

fn request_refund(message: &wire::RequestRefund, id: Uuid) -> Result<Command, Rejection> {
    within_lines_max(message.lines.len())?;
    // It may be of a currency that was in use when the order was placed.
    let amount = message.amount.as_ref().map(|amount| Money::from_wire("amount", Some(amount))).transpose()?;
    let is_of_goods = !message.lines.is_empty() || message.return_shares;
    if let Some(amount) = amount.filter(|amount| !is_of_goods && amount.minor_units < 1) {
        let least = Money { minor_units: 1, ..amount };
        let reason = format!(
            "amount must be at least {least}, unless lines or shares come back: leave it out to give back their price"
        );
        return Err(Rejection::new("INVALID_AMOUNT", reason));
    }
    let request = RefundRequest {
        order_id: OrderId::parse(&message.order_id)?,
        refund_id: if message.refund_id.is_empty() { RefundId(id) } else { RefundId::parse(&message.refund_id)? },
        lines: lines_from_wire(&message.lines)?,
        return_shares: message.return_shares,
        amount,
        actor: text("actor", &message.actor, 1, 128)?,
        note: text("note", &message.note, 0, 512)?,
    };
    Ok(at_version(message.expected_version, Command::RequestRefund(request)))
}

#[cfg(test)]
mod tests;
