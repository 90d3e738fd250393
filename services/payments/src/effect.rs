//! The outside call of payments: sending a refund to the provider, and hearing how it ended.

use std::{future::Future, time::Duration};

use domain::{Effect, PaymentId, RefundId, Rejection, unknown_type};
use providers::{Provider, ProviderError, RefundRequest, Registry};
use runtime::service::{EffectOutcome, LeasedEffect};
use tokio::time::{Instant, timeout_at};

use crate::{
    command::{Command, Outcome},
    event::{Event, RefundOf},
    payment::State,
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

/// Makes one try at a refund, with the provider that the event names: the one that took the money. All its calls together take no
/// longer than `time_max`. A provider that this worker does not have makes the call a dead letter, for no try would find it.
pub(crate) async fn perform<P: Provider>(
    providers: &Registry<P>,
    time_max: Duration,
    claimed: LeasedEffect,
) -> EffectOutcome<Command> {
    let (provider, of, request) = match read(providers, &claimed) {
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

fn read<'a, P: Provider>(
    providers: &'a Registry<P>,
    claimed: &LeasedEffect,
) -> Result<(&'a P, RefundOf, RefundRequest), Rejection> {
    let event = wire::decode_event(&claimed.message_type, &claimed.data)?;
    let Event::RefundSubmitted { of, amount, idempotency_key: key, provider, payment_reference, .. } = event else {
        return Err(unknown_type("payments' provider", &claimed.message_type));
    };
    let RefundOf { payment_id, refund_id, .. } = of;
    Ok((providers.find(&provider)?, of, RefundRequest { key, payment_id, payment_reference, refund_id, amount }))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use providers::{Provider, ProviderError, ProviderName, RefundRequest, RefundState, Registry};
    use runtime::service::{EffectOutcome, LeasedEffect};

    use super::{perform, record};
    use crate::{
        command::{Command, Outcome},
        event::Event,
        payment::spec::{NOW, eur, of as refund},
        wire,
    };

    /// Pays out whatever it is asked for.
    struct Generous;

    impl Provider for Generous {
        fn name(&self) -> ProviderName {
            ProviderName::Sandbox
        }

        async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
            Ok(RefundState::Refunded { reference: format!("re of {}", request.payment_reference) })
        }

        async fn find_refund(&self, _request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
            Ok(None)
        }
    }

    /// The first try at a refund of a payment that was requested with this provider.
    async fn tried(provider: &str) -> EffectOutcome<Command> {
        let submitted = Event::RefundSubmitted {
            of: refund(),
            amount: eur(500),
            idempotency_key: "key".to_owned(),
            deadline: NOW,
            provider: provider.to_owned(),
            payment_reference: "pay_1".to_owned(),
        };
        let (message_type, data) = wire::encode(&submitted);
        let effect = LeasedEffect {
            key: "key".to_owned(),
            message_type: message_type.to_owned(),
            data,
            attempt: 1,
            deadline: NOW,
            now: NOW,
            last_error: None,
            in_flight: false,
        };
        perform(&Registry::new(vec![Generous]), Duration::from_secs(1), effect).await
    }

    #[tokio::test]
    async fn a_refund_is_asked_of_the_provider_that_took_the_money() {
        let outcome = Outcome::Refunded { provider_reference: "re of pay_1".to_owned() };
        assert_eq!(tried("sandbox").await, EffectOutcome::Done(record(refund(), "key".to_owned(), outcome)));
    }

    #[tokio::test]
    async fn a_refund_of_a_provider_that_this_worker_does_not_have_is_asked_of_no_other_and_never_tried_again() {
        let outcome = tried("card").await;
        let EffectOutcome::Unreadable(rejection) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(rejection.code, "UNKNOWN_PROVIDER");
        assert!(rejection.reason.contains("card"), "{rejection}");
    }
}
