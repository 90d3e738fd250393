//! Objects as Stripe's API shows them, with every field that is always there.

use serde_json::{Map, Value, json};

mod money;
mod session;

pub(crate) use money::{balance_transaction, category, charge, dispute, intent, refund};
pub(crate) use session::{line, session};

use crate::{
    account::{Account, Coupon},
    problem::Problem,
    requests::Off,
};

/// All objects' fields in one.
fn merged<const N: usize>(parts: [Value; N]) -> Value {
    let mut fields = Map::new();
    for part in parts {
        if let Value::Object(part) = part {
            fields.extend(part);
        }
    }
    Value::Object(fields)
}

/// Fields that are nothing here.
fn nulls(names: &[&str]) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect())
}

pub(crate) fn coupon(account: &Account, coupon: &Coupon, now: i64) -> Value {
    let (amount_off, currency, percent_off) = match &coupon.off {
        Off::Amount { minor, currency } => (json!(minor), json!(currency), Value::Null),
        Off::Percent { written, .. } => {
            (Value::Null, Value::Null, serde_json::from_str(written).unwrap_or(Value::Null))
        }
    };
    json!({
        "id": coupon.id,
        "object": "coupon",
        "amount_off": amount_off,
        "created": coupon.created,
        "currency": currency,
        "duration": "once",
        "duration_in_months": null,
        "livemode": account.is_live,
        "max_redemptions": coupon.max_redemptions,
        "metadata": coupon.metadata,
        "name": coupon.name,
        "percent_off": percent_off,
        "redeem_by": coupon.redeem_by,
        "times_redeemed": coupon.times_redeemed,
        "valid": coupon.is_valid(now),
    })
}

/// What may be shown in full instead of by its id, for each kind of object.
const EXPANDABLE: [(&str, &[&str]); 5] = [
    ("checkout", &["line_items", "payment_intent", "payment_intent.latest_charge"]),
    ("payment_intents", &["latest_charge", "latest_charge.balance_transaction"]),
    ("refunds", &["balance_transaction", "charge", "payment_intent"]),
    ("charges", &["balance_transaction", "payment_intent"]),
    ("disputes", &["charge", "payment_intent"]),
];

/// Refuses what cannot be shown in full, before anything is done.
pub(crate) fn check_expand(kind: &str, paths: &[String]) -> Result<(), Problem> {
    let allowed = EXPANDABLE.iter().find(|(known, _)| *known == kind).map_or([].as_slice(), |(_, paths)| *paths);
    match paths.iter().find(|path| !allowed.contains(&path.strip_prefix("data.").unwrap_or(path))) {
        None => Ok(()),
        Some(path) => {
            let text = format!("This property cannot be expanded ({path}).");
            Err(Problem::invalid(text).param("expand"))
        }
    }
}

/// Puts objects where their ids are: `latest_charge.balance_transaction`, or `data.charge` in a list.
pub(crate) fn expand(account: &Account, mut object: Value, paths: &[String]) -> Value {
    for path in paths {
        let steps: Vec<&str> = path.split('.').collect();
        put(account, &mut object, &steps);
    }
    object
}

fn put(account: &Account, object: &mut Value, steps: &[&str]) {
    let Some((step, rest)) = steps.split_first() else { return };
    if *step == "line_items" {
        let lines = object.get("id").and_then(Value::as_str).and_then(|id| account.session_lines(id).ok());
        if let (Some(lines), Some(fields)) = (lines, object.as_object_mut()) {
            fields.insert("line_items".to_owned(), lines);
        }
        return;
    }
    match object.get_mut(*step) {
        Some(Value::Array(elements)) => elements.iter_mut().for_each(|element| put(account, element, rest)),
        Some(field) => {
            if let Some(inner) = field.as_str().and_then(|id| account.show(id)) {
                *field = inner;
            }
            put(account, field, rest);
        }
        None => {}
    }
}
