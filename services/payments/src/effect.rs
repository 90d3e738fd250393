//! The outside calls of payments: opening, looking at and closing a payment's page, taking money that is set aside or letting it go, sending a refund, and
//! hearing how each ended.

use std::{future::Future, time::Duration};

use domain::{Effect, PaymentId, RefundId, Rejection, Timestamp, unknown_type};
use providers::{
    AuthorisationRef, CheckoutRef, CheckoutRequest, EndedAuthorisation, Provider, ProviderError, RefundRequest,
    Registry, idempotency_key,
};
use runtime::service::{EffectOutcome, LeasedEffect};
use tokio::time::{Instant, timeout_at};

use crate::{
    checkout_protocol::{self, ended_authorisation},
    command::{Command, Outcome},
    event::{AuthorisationCall, AuthorisationEvent, CheckoutEvent, CheckoutStep, Event, RefundOf},
    payment::{
        State, Status,
        authorisation::{self, AuthorisationStatus},
        checkout::{Answer, Page, PageStatus},
    },
    refund_protocol::{Attempt, Reply, Sending, Step, next_step},
    wire,
};

/// Providers, each of which has slots for calls of its own: one that hangs stops no other.
pub(crate) const CALLEES: [&str; 3] = [providers::sandbox::NAME, providers::stripe::NAME, providers::wallet::NAME];

/// The call that an event asks for: the event itself says all that is needed.
pub(crate) fn of(event: &Event) -> Option<Effect> {
    let Asked { key, deadline, provider, .. } = asked(event, 1)?;
    let (message_type, data) = wire::encode(event);
    // One that nobody knows is found out to be so by whoever makes the call.
    let callee = CALLEES.into_iter().find(|callee| *callee == provider).unwrap_or_default();
    Some(Effect { key, message_type, data, deadline, callee })
}

/// What an event asks of a provider.
struct Asked<'a> {
    /// What the call is known by here.
    key: String,
    deadline: Timestamp,
    provider: &'a str,
    call: Call,
}

enum Call {
    Open(CheckoutRequest),
    Close(CheckoutRef),
    Look(CheckoutRef),
    Capture(AuthorisationRef),
    Void(AuthorisationRef),
    Refund(RefundOf, RefundRequest),
}

/// What an event asks of a provider, at this try.
fn asked(event: &Event, attempt: u32) -> Option<Asked<'_>> {
    match event {
        Event::RefundSubmitted {
            of,
            amount,
            idempotency_key,
            deadline,
            provider,
            payment_reference,
            charge_reference,
        } => {
            let request = RefundRequest {
                key: idempotency_key.clone(),
                payment_id: of.payment_id,
                payment_reference: payment_reference.clone(),
                charge_reference: charge_reference.clone(),
                refund_id: of.refund_id,
                amount: *amount,
            };
            let call = Call::Refund(*of, request);
            Some(Asked { key: idempotency_key.clone(), deadline: *deadline, provider, call })
        }
        Event::PaymentRequested {
            payment_id,
            key,
            amount,
            checkout,
            payment_method,
            order_reference,
            expires_at,
            checkout_ends_at: Some(ends_at),
        } => {
            let request = CheckoutRequest {
                key: page_call(*payment_id, "open", 1),
                payment_id: *payment_id,
                order_id: key.order_id,
                order_reference: order_reference.clone(),
                amount: *amount,
                payment_method: payment_method.clone(),
                ends_at: *ends_at,
            };
            Some(asked_to_open(request, &checkout.provider, *expires_at, attempt))
        }
        Event::Checkout(event) => asked_of_page(event, attempt),
        Event::Authorisation(event) => asked_of_authorisation(event, attempt),
        Event::PaymentRequested { checkout_ends_at: None, .. }
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
        | Event::RefundResolved { .. }
        | Event::Dispute(_)
        | Event::Coupon(_)
        | Event::Wallet(_) => None,
    }
}

/// What an event of a payment's page asks of a provider.
fn asked_of_page(event: &CheckoutEvent, attempt: u32) -> Option<Asked<'_>> {
    let CheckoutEvent { payment_id, key, step } = event;
    match step {
        CheckoutStep::Requested { page, amount, provider, payment_method, order_reference, expires_at, ends_at } => {
            let request = CheckoutRequest {
                key: page_call(*payment_id, "open", *page),
                payment_id: *payment_id,
                order_id: key.order_id,
                order_reference: order_reference.clone(),
                amount: *amount,
                payment_method: payment_method.clone(),
                ends_at: *ends_at,
            };
            Some(asked_to_open(request, provider, *expires_at, attempt))
        }
        CheckoutStep::Abandoned { provider, reference, deadline, page, .. } => {
            let call = Call::Close(CheckoutRef { payment_id: *payment_id, reference: reference.clone() });
            Some(Asked { key: page_call(*payment_id, "close", *page), deadline: *deadline, provider, call })
        }
        CheckoutStep::LookSubmitted { provider, reference, deadline, page, look_at } => {
            let call = Call::Look(CheckoutRef { payment_id: *payment_id, reference: reference.clone() });
            let verb = if look_at.is_some() { LOOK } else { LAST_LOOK };
            Some(Asked { key: page_call(*payment_id, verb, *page), deadline: *deadline, provider, call })
        }
        CheckoutStep::Opened { .. } | CheckoutStep::Failed(_) | CheckoutStep::Closed(_) => None,
    }
}

/// A look that another follows, and the one that none does: each page has one of each at most.
const LOOK: &str = "look";
const LAST_LOOK: &str = "last-look";

/// A page, whose request has the key of the call: each try has one of its own.
fn asked_to_open(request: CheckoutRequest, provider: &str, deadline: Timestamp, attempt: u32) -> Asked<'_> {
    let key = request.key.clone();
    let request = CheckoutRequest { key: format!("{key}.{attempt}"), ..request };
    Asked { key, deadline, provider, call: Call::Open(request) }
}

/// What a call about a payment's page is known by. The first page is the only one of nearly all payments, and needs no number.
fn page_call(payment_id: PaymentId, verb: &str, page: i32) -> String {
    if page == 1 { format!("{payment_id}.{verb}") } else { format!("{payment_id}.{verb}-{page}") }
}

/// What an event of money that is set aside asks of a provider.
fn asked_of_authorisation(event: &AuthorisationEvent, attempt: u32) -> Option<Asked<'_>> {
    let (verb, call, to_do): (_, _, fn(AuthorisationRef) -> Call) = match event {
        AuthorisationEvent::CaptureSubmitted(call) => ("capture", call, Call::Capture),
        AuthorisationEvent::VoidSubmitted(call) => ("void", call, Call::Void),
        AuthorisationEvent::Authorised { .. } | AuthorisationEvent::Voided { .. } => return None,
    };
    Some(Asked {
        key: format!("{}.{verb}.{}", call.of.payment_id, call.of.reference),
        deadline: call.deadline,
        provider: &call.provider,
        call: to_do(authorisation(call, verb, attempt)),
    })
}

/// Of each try with a key of its own, as for a page: what can be done with an authorisation can be done once.
fn authorisation(call: &AuthorisationCall, verb: &str, attempt: u32) -> AuthorisationRef {
    AuthorisationRef {
        key: format!("{}.{verb}.{attempt}", call.of.payment_id),
        payment_id: call.of.payment_id,
        payment_reference: call.payment_reference.clone(),
        reference: call.of.reference.clone(),
        amount: call.amount,
    }
}

/// Whether nobody knows yet how the call with this key ended.
pub(crate) fn is_open(state: &State, key: &str) -> bool {
    let Some((payment_id, call)) = key.split_once('.') else { return false };
    let Ok(payment_id) = PaymentId::parse(payment_id) else { return false };
    let Some(payment) = state.payments.get(&payment_id) else { return false };
    let page = |verb: &str, statuses: &[PageStatus]| {
        let is_of = |page: &&Page| page_call(payment_id, verb, page.number) == key && statuses.contains(&page.status);
        payment.page.as_ref().filter(is_of).is_some()
    };
    let is_asked = payment.status == Status::Requested;
    let authorisation =
        |reference, status| payment.authorisations.get(reference).is_some_and(|held| held.status == status);
    match call.split_once('.').unwrap_or((call, "")) {
        (open, "") if open.starts_with("open") => page("open", &[PageStatus::Opening]),
        (look, "") if look.starts_with(LOOK) => is_asked && page(LOOK, &[PageStatus::Open]),
        (look, "") if look.starts_with(LAST_LOOK) => is_asked && page(LAST_LOOK, &[PageStatus::Open]),
        (close, "") if close.starts_with("close") => page("close", &[PageStatus::Closing, PageStatus::Replacing]),
        ("capture", reference) => authorisation(reference, AuthorisationStatus::Capturing),
        ("void", reference) => authorisation(reference, AuthorisationStatus::Voiding),
        (refund, _number) => {
            let refund_id = RefundId::parse(refund).ok();
            let refund = refund_id.and_then(|refund_id| payment.refunds.get(&refund_id));
            refund.is_some_and(|refund| refund.call_open && refund.key == key)
        }
    }
}

/// How long one try at this call may take, if its provider says so.
pub(crate) fn time_max<P: Provider>(providers: &Registry<P>, claimed: &LeasedEffect) -> Option<Duration> {
    read(providers, claimed).ok()?.0.try_time_max()
}

/// Makes one try at a call, with the provider that the event names: for a refund, the one that took the money. All its requests together
/// take no longer than the provider says, or else than `time_max`. A provider that this worker does not have makes the call a dead letter, for no try would find it.
pub(crate) async fn perform<P: Provider>(
    providers: &Registry<P>,
    time_max: Duration,
    claimed: LeasedEffect,
) -> EffectOutcome<Command> {
    let read = read(providers, &claimed);
    let own_time_max = read.as_ref().ok().and_then(|(provider, _)| provider.try_time_max());
    let until = Instant::now() + own_time_max.unwrap_or(time_max);
    match read {
        Ok((provider, Call::Open(request))) => {
            let outcome = open(provider, until, &claimed, &request).await;
            outcome.map(|answer| Command::RecordCheckout { payment_id: request.payment_id, answer })
        }
        Ok((provider, Call::Close(checkout))) => {
            let answer = bounded(until, provider.close_checkout(&checkout)).await;
            let outcome = checkout_protocol::closed(provider.name(), answer);
            outcome.map(|answer| Command::RecordCheckout { payment_id: checkout.payment_id, answer })
        }
        Ok((provider, Call::Look(checkout))) => {
            let seen = bounded(until, provider.look_at_checkout(&checkout)).await;
            let outcome = checkout_protocol::seen(provider.name(), seen, claimed.now, claimed.deadline);
            outcome.map(|answer| Command::RecordCheckout { payment_id: checkout.payment_id, answer })
        }
        Ok((provider, Call::Capture(request))) => {
            let answer = capture(provider, until, &claimed, &request).await;
            ended_authorisation(provider.name(), answer).map(|answer| record_authorisation(request, answer))
        }
        Ok((provider, Call::Void(request))) => {
            let answer = bounded(until, provider.void(&request)).await;
            ended_authorisation(provider.name(), answer).map(|answer| record_authorisation(request, answer))
        }
        Ok((provider, Call::Refund(of, request))) => refund(provider, until, claimed, (of, request)).await,
        Err(rejection) => EffectOutcome::Unreadable(rejection),
    }
}

/// Opens a page. Of a provider that sets money aside with it, whatever an earlier try may have set aside unheard is let go before it fails.
async fn open<P: Provider>(
    provider: &P,
    until: Instant,
    claimed: &LeasedEffect,
    request: &CheckoutRequest,
) -> EffectOutcome<Answer> {
    let answer = bounded(until, provider.open_checkout(request)).await;
    let outcome = checkout_protocol::opened(provider.name(), answer, claimed.now, claimed.deadline);
    if !provider.opens_with_money() || !checkout_protocol::must_be_let_go(&outcome) {
        return outcome;
    }
    let checkout = CheckoutRef { payment_id: request.payment_id, reference: String::new() };
    checkout_protocol::failed(provider.name(), outcome, bounded(until, provider.close_checkout(&checkout)).await)
}

/// Takes money that is set aside, or lets it go if its bank does not give it.
async fn capture<P: Provider>(
    provider: &P,
    until: Instant,
    claimed: &LeasedEffect,
    request: &AuthorisationRef,
) -> Result<EndedAuthorisation, ProviderError> {
    let answer = bounded(until, provider.capture(request)).await;
    if !checkout_protocol::must_be_given_up(&answer, claimed.now, claimed.begun_at) {
        return answer;
    }
    let let_go = AuthorisationRef { key: format!("{}.void", request.key), ..request.clone() };
    checkout_protocol::given_up(answer, bounded(until, provider.void(&let_go)).await)
}

async fn refund<P: Provider>(
    provider: &P,
    until: Instant,
    claimed: LeasedEffect,
    (of, request): (RefundOf, RefundRequest),
) -> EffectOutcome<Command> {
    let LeasedEffect { attempt: number, now, begun_at, last_error, in_flight, accepted, key_spent, .. } = claimed;
    let is_first = request.key == idempotency_key(of.payment_id, of.refund_id, 1);
    let sending = if is_first { Sending::First } else { Sending::Again };
    let this = Attempt {
        provider: provider.name().as_str(),
        number,
        sending,
        now,
        begun_at,
        last_error,
        in_flight,
        accepted,
        key_spent,
    };
    let mut reply = Reply::Nothing;
    loop {
        match next_step(&this, &reply) {
            Step::LookUp => reply = Reply::Found(bounded(until, provider.find_refund(&request)).await),
            Step::Send => reply = Reply::Answered(bounded(until, provider.refund(&request)).await),
            Step::End(outcome) => return outcome.map(|outcome| record(of, request.key, outcome)),
        }
    }
}

fn read<'a, P: Provider>(providers: &'a Registry<P>, claimed: &LeasedEffect) -> Result<(&'a P, Call), Rejection> {
    let event = wire::decode_event(&claimed.message_type, &claimed.data)?;
    let unknown = || unknown_type("payments' provider", &claimed.message_type);
    let Asked { provider, call, .. } = asked(&event, claimed.attempt).ok_or_else(unknown)?;
    Ok((providers.find(provider)?, call))
}

fn record_authorisation(request: AuthorisationRef, answer: authorisation::Answer) -> Command {
    Command::RecordAuthorisation { payment_id: request.payment_id, reference: request.reference, answer }
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

    use providers::{
        AuthorisationRef, Checkout, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenCheckout,
        OpenedCheckout, Provider, ProviderError, ProviderName, RefundRequest, RefundState, Registry, idempotency_key,
    };
    use runtime::service::{EffectOutcome, LeasedEffect};

    use super::{perform, record};
    use crate::{
        command::{Command, Outcome},
        event::{CheckoutEnd, CheckoutStep, Event},
        payment::{
            State,
            checkout::Answer,
            evolve,
            spec::{KEY, NOW, eur, of as refund, requested},
        },
        wire,
    };

    fn key(number: i32) -> String {
        idempotency_key(refund().payment_id, refund().refund_id, number)
    }

    /// Pays out whatever it is asked for.
    struct Generous;

    impl Provider for Generous {
        fn name(&self) -> ProviderName {
            ProviderName::Sandbox
        }

        async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
            let order = request.order_reference.as_deref().unwrap_or("without a number");
            let url = format!("https://pay.test/{order}/{}", request.amount);
            Ok(OpenedCheckout::unpaid(OpenCheckout { reference: request.key.clone(), url }))
        }

        async fn close_checkout(&self, _checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
            Ok(ClosedCheckout::Unpaid)
        }

        async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
            Ok(EndedAuthorisation::Voided { reason: format!("{} is gone", authorisation.key) })
        }

        async fn void(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
            Ok(EndedAuthorisation::Voided { reason: authorisation.key.clone() })
        }

        async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
            Ok(RefundState::Refunded { reference: format!("re of {}", request.payment_reference) })
        }

        /// It has paid out whatever was sent before.
        async fn find_refund(&self, _request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
            Ok(Some(RefundState::Refunded { reference: "re of before".to_owned() }))
        }
    }

    /// The first try at a refund of a payment that was requested with this provider, sent for so many times.
    async fn tried(provider: &str, number: i32) -> EffectOutcome<Command> {
        let submitted = Event::RefundSubmitted {
            of: refund(),
            amount: eur(500),
            idempotency_key: key(number),
            deadline: NOW,
            provider: provider.to_owned(),
            payment_reference: "pay_1".to_owned(),
            charge_reference: String::new(),
        };
        let (message_type, data) = wire::encode(&submitted);
        let effect = LeasedEffect {
            key: key(number),
            message_type: message_type.to_owned(),
            data,
            attempt: 1,
            deadline: NOW,
            begun_at: NOW,
            now: NOW,
            last_error: None,
            in_flight: false,
            accepted: false,
            key_spent: None,
        };
        perform(&Registry::new(vec![Generous]), Duration::from_secs(1), effect).await
    }

    /// A try at the call that this event asks for.
    async fn tried_of(event: &Event, attempt: u32) -> EffectOutcome<Command> {
        let super::Effect { key, message_type, data, deadline, .. } = super::of(event).unwrap();
        let message_type = message_type.to_owned();
        let (begun_at, now, last_error, in_flight, accepted, key_spent) = (NOW, NOW, None, false, false, None);
        let effect = LeasedEffect {
            key,
            message_type,
            data,
            attempt,
            deadline,
            begun_at,
            now,
            last_error,
            in_flight,
            accepted,
            key_spent,
        };
        perform(&Registry::new(vec![Generous]), Duration::from_secs(1), effect).await
    }

    #[tokio::test]
    async fn a_page_is_called_for_under_another_key_at_each_try() {
        let Event::PaymentRequested { payment_id, key, amount, payment_method, .. } = requested() else {
            panic!("it is a request")
        };
        let checkout = Checkout { provider: "sandbox".to_owned(), reference: String::new(), url: String::new() };
        let (order_reference, expires_at, checkout_ends_at) = (Some("R-1001".to_owned()), NOW, Some(NOW));
        let asked = Event::PaymentRequested {
            payment_id,
            key,
            amount,
            checkout,
            payment_method,
            order_reference,
            expires_at,
            checkout_ends_at,
        };
        for attempt in [1, 2] {
            let EffectOutcome::Done(Command::RecordCheckout { answer: Answer::Opened { page: opened, .. }, .. }) =
                tried_of(&asked, attempt).await
            else {
                panic!("it is opened")
            };
            assert_eq!(opened.reference, format!("{payment_id}.open.{attempt}"));
            assert_eq!(opened.url, "https://pay.test/R-1001/12.00 EUR");
        }
        assert!(super::of(&requested()).is_none(), "a link needs no call");
    }

    #[tokio::test]
    async fn each_page_of_a_payment_is_opened_and_closed_by_calls_of_its_own() {
        let Event::PaymentRequested { payment_id, key, amount, payment_method, expires_at, .. } = requested() else {
            panic!("it is a request")
        };
        let (page, provider, ends_at) = (2, "sandbox".to_owned(), NOW);
        let requested_again = CheckoutStep::Requested {
            page,
            amount,
            provider: provider.clone(),
            payment_method,
            order_reference: Some("R-1002".to_owned()),
            expires_at,
            ends_at,
        };
        let another = Event::checkout(payment_id, key, requested_again);
        let (reference, deadline) = ("cs_2".to_owned(), NOW);
        let abandoned =
            CheckoutStep::Abandoned { provider, reference, deadline, page, is_replaced: true, actor: String::new() };
        let abandoned = Event::checkout(payment_id, key, abandoned);
        let key = |event: &Event| super::of(event).unwrap().key;
        let (opening, closing) = (format!("{payment_id}.open-2"), format!("{payment_id}.close-2"));
        assert_eq!((key(&another), key(&abandoned)), (opening.clone(), closing.clone()));
        let EffectOutcome::Done(Command::RecordCheckout { answer: Answer::Opened { page: opened, .. }, .. }) =
            tried_of(&another, 3).await
        else {
            panic!("it is opened")
        };
        assert_eq!(opened.reference, format!("{opening}.3"));
        assert_eq!(opened.url, "https://pay.test/R-1002/12.00 EUR");
        let mut state = State::default();
        let is_open = |state: &State| {
            let names = [format!("{payment_id}.open"), opening.clone(), format!("{payment_id}.close"), closing.clone()];
            names.map(|name| super::is_open(state, &name))
        };
        let mut first = requested();
        let Event::PaymentRequested { checkout_ends_at, .. } = &mut first else { panic!("it is a request") };
        *checkout_ends_at = Some(NOW);
        evolve(&mut state, &first);
        assert_eq!(is_open(&state), [true, false, false, false]);
        evolve(&mut state, &another);
        assert_eq!(is_open(&state), [false, true, false, false]);
        evolve(&mut state, &abandoned);
        assert_eq!(is_open(&state), [false, false, false, true]);
    }

    #[tokio::test]
    async fn a_page_that_is_of_no_use_any_more_is_closed() {
        let (provider, reference, deadline) = ("sandbox".to_owned(), "cs_1".to_owned(), NOW);
        let abandoned = CheckoutStep::Abandoned {
            provider,
            reference,
            deadline,
            page: 1,
            is_replaced: false,
            actor: String::new(),
        };
        let abandoned = Event::checkout(refund().payment_id, KEY, abandoned);
        let answer = Answer::Closed { end: CheckoutEnd::Unpaid, report: None };
        let closed = Command::RecordCheckout { payment_id: refund().payment_id, answer };
        assert_eq!(tried_of(&abandoned, 3).await, EffectOutcome::Done(closed));
    }

    #[tokio::test]
    async fn a_refund_is_asked_of_the_provider_that_took_the_money() {
        let outcome = Outcome::Refunded { provider_reference: "re of pay_1".to_owned() };
        assert_eq!(tried("sandbox", 1).await, EffectOutcome::Done(record(refund(), key(1), outcome)));
    }

    #[tokio::test]
    async fn what_an_operator_has_sent_again_is_looked_up_before_it_is_sent() {
        let outcome = Outcome::Refunded { provider_reference: "re of before".to_owned() };
        assert_eq!(tried("sandbox", 2).await, EffectOutcome::Done(record(refund(), key(2), outcome)));
    }

    #[tokio::test]
    async fn a_refund_of_a_provider_that_this_worker_does_not_have_is_asked_of_no_other_and_never_tried_again() {
        let outcome = tried("card", 1).await;
        let EffectOutcome::Unreadable(rejection) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(rejection.code, "UNKNOWN_PROVIDER");
        assert!(rejection.reason.contains("card"), "{rejection}");
    }
}
