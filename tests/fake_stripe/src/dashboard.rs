//! What somebody does at Stripe's dashboard.

use crate::{
    account::{RefundOrigin, RefundStatus},
    problem::Refused,
    requests::NewRefund,
    state::State,
};

/// A refund of which the shop knows nothing: no metadata. Its id.
pub(crate) fn refund(state: &mut State, payment_intent: &str, amount: i64) -> Result<String, Refused> {
    let course = state.refund_course();
    let new = NewRefund {
        payment_intent: Some(payment_intent.to_owned()),
        amount: Some(amount),
        reason: Some("requested_by_customer"),
        ..NewRefund::default()
    };
    let made = state.act(|account, cause| account.create_refund(cause, new, RefundOrigin::Dashboard, course))?;
    Ok(made.get("id").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
}

/// The status that new refunds have at first; only what is not over yet may be one.
pub(crate) fn refunds_begin(state: &mut State, status: RefundStatus) {
    state.refunds_begin = if status.holds() { status } else { RefundStatus::Pending };
}
