//! The outside call of payments: sending a refund to the provider, and hearing how it ended.

use std::{future::Future, time::Duration};

use domain::{Effect, PaymentId, RefundId, Rejection, unknown_type};
use runtime::service::{EffectOutcome, LeasedEffect};
use tokio::time::{Instant, timeout_at};

use crate::{
    command::{Command, Outcome},
    event::{Event, RefundOf},
    payment::State,
    provider::{Provider, ProviderError, RefundRequest},
    refund_protocol::{Attempt, Reply, Step, next_step},
    wire,
};

/// The call that an event asks for: the event itself says all that is needed.
pub(crate) fn of(event: &Event) -> Option<Effect> {
    match event {
        Event::RefundSubmitted { idempotency_key, deadline, .. } => {
            let (message_type, data) = wire::encode(event);
            Some(Effect { key: idempotency_key.clone(), message_type, data, deadline: *deadline })
        }
        Event::PaymentRequested { .. }
        | Event::PaymentSucceeded { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentCancelled { .. }
        | Event::ProviderReportUnmatched { .. }
        | Event::ProviderReportResolved { .. }
        | Event::RefundDeferred { .. }
        | Event::PaymentRefunded { .. }
        | Event::PaymentRefundedElsewhere { .. }
        | Event::RefundAnswered { .. }
        | Event::RefundRejected { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundReversed { .. }
        | Event::RefundResolved { .. } => None,
    }
}

/// Whether nobody knows yet how the call with this key ended.
pub(crate) fn is_open(state: &State, key: &str) -> bool {
    let ids = key.split_once('.').map(|(payment, rest)| (payment, rest.split('.').next().unwrap_or_default()));
    let refund = ids.and_then(|(payment_id, refund_id)| {
        let payment = state.payments.get(&PaymentId::parse(payment_id).ok()?)?;
        payment.refunds.get(&RefundId::parse(refund_id).ok()?)
    });
    refund.is_some_and(|refund| refund.call_open && refund.key == key)
}

/// Makes one try at a refund. All its calls together take no longer than `time_max`.
pub(crate) async fn perform<P: Provider>(
    provider: &P,
    time_max: Duration,
    claimed: LeasedEffect,
) -> EffectOutcome<Command> {
    let (of, request) = match read(&claimed) {
        Ok(read) => read,
        Err(rejection) => return EffectOutcome::Unreadable(rejection),
    };
    let until = Instant::now() + time_max;
    let LeasedEffect { attempt: number, now, deadline, last_error, in_flight, .. } = claimed;
    let this = Attempt { number, now, deadline, last_error, in_flight };
    let mut reply = Reply::Nothing;
    loop {
        match next_step(&this, &reply) {
            Step::LookUp => reply = Reply::Found(bounded(until, provider.find_refund(&request)).await),
            Step::Send => reply = Reply::Answered(bounded(until, provider.refund(&request)).await),
            Step::End(outcome) => return outcome.map(|outcome| record(of, request.key, outcome)),
        }
    }
}

fn read(claimed: &LeasedEffect) -> Result<(RefundOf, RefundRequest), Rejection> {
    let event = wire::decode_event(&claimed.message_type, &claimed.data)?;
    let Event::RefundSubmitted { of, amount, idempotency_key: key, payment_reference, .. } = event else {
        return Err(unknown_type("payments' provider", &claimed.message_type));
    };
    let RefundOf { payment_id, refund_id, .. } = of;
    Ok((of, RefundRequest { key, payment_id, payment_reference, refund_id, amount }))
}

fn record(of: RefundOf, key: String, outcome: Outcome) -> Command {
    Command::RecordRefundOutcome { payment_id: of.payment_id, refund_id: of.refund_id, key, outcome }
}

async fn bounded<T>(until: Instant, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    match timeout_at(until, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(ProviderError::OutcomeUnknown("the time for one try was over".to_owned())),
    }
}
