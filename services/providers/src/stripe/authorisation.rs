//! Money that is set aside: taken, or let go. Stripe does one of the two once, and tells at any time which, so a call whose answer is lost is
//! made again, under another key, for under its own a failure would be repeated for ever.

use super::{
    amount::from_stripe,
    http::{Api, Call},
    limit::Queue,
    object::{Intent, authorised, paid},
};
use crate::{AuthorisationRef, Charge, EndedAuthorisation, ProviderError};

const INTENTS: &str = "/v1/payment_intents";

/// The status that Stripe answers if it has done one of the two before, among others.
const BAD_REQUEST: u16 = 400;

/// The status that it answers if the buyer's bank says no.
const PAYMENT_REQUIRED: u16 = 402;

/// Takes the money.
pub(super) async fn capture(api: &Api, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
    end(api, authorisation, Queue::Capture, "capture").await
}

/// Lets it go.
pub(super) async fn void(api: &Api, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
    end(api, authorisation, Queue::Void, "cancel").await
}

async fn end(
    api: &Api,
    authorisation: &AuthorisationRef,
    queue: Queue,
    verb: &str,
) -> Result<EndedAuthorisation, ProviderError> {
    let path = format!("{}/{verb}", path(&authorisation.reference)?);
    let call = Call { queue, path: &path, form: Some(String::new()), key: Some(&authorisation.key) };
    let answer = api.send(call).await?;
    let status = answer.status.as_u16();
    if ![BAD_REQUEST, PAYMENT_REQUIRED].contains(&status) {
        return ended(&answer.read()?);
    }
    let intent = read(api, &authorisation.reference).await?;
    match ended(&intent) {
        // The bank has said no, and the money is still set aside.
        Err(ProviderError::OutcomeUnknown(_)) if status == PAYMENT_REQUIRED && set_aside(&intent).is_some() => {
            ended(&answer.read()?)
        }
        end => end,
    }
}

/// Looks at an intent.
pub(super) async fn read(api: &Api, reference: &str) -> Result<Intent, ProviderError> {
    let path = path(reference)?;
    api.send(Call { queue: Queue::ReadIntent, path: &path, form: None, key: None }).await?.read()
}

fn path(reference: &str) -> Result<String, ProviderError> {
    super::checked(reference, "charge").map(|reference| format!("{INTENTS}/{reference}"))
}

/// What has become of an intent whose money was set aside.
fn ended(intent: &Intent) -> Result<EndedAuthorisation, ProviderError> {
    match intent.status.as_deref() {
        Some("succeeded") => charge(intent, intent.amount_received, paid(&intent.id)).map(EndedAuthorisation::Captured),
        Some("canceled") => Ok(EndedAuthorisation::Voided { reason: intent.cancellation() }),
        // Nothing is set aside any more, and the page on which another card could be tried is over.
        Some("requires_payment_method") => Ok(EndedAuthorisation::Voided { reason: intent.refusal() }),
        Some(_) | None => {
            let status = intent.status.as_deref().unwrap_or("not said");
            let words = format!("{} was neither taken nor let go, and its status is {status}", intent.id);
            Err(ProviderError::OutcomeUnknown(words))
        }
    }
}

/// The money that an intent has set aside. `None`: none.
pub(super) fn set_aside(intent: &Intent) -> Option<Result<Charge, ProviderError>> {
    let is_held = intent.status.as_deref() == Some("requires_capture");
    is_held.then(|| charge(intent, intent.amount_capturable, authorised(&intent.id)))
}

fn charge(intent: &Intent, units: i64, event_id: String) -> Result<Charge, ProviderError> {
    let amount = from_stripe(units, &intent.currency).map_err(|refused| {
        ProviderError::Misconfigured(format!("{} is over what cannot be read: {refused}", intent.id))
    })?;
    Ok(Charge {
        event_id,
        reference: intent.id.clone(),
        minor_units: amount.minor_units,
        currency: amount.currency.to_string(),
        occurred_at: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        AuthorisationRef, Charge, EndedAuthorisation, Provider, ProviderError,
        stripe::stage::{self, Reply, Stage},
    };

    fn intent(status: &str) -> Value {
        json!({
            "id": "pi_1", "object": "payment_intent", "status": status, "amount": 1_250, "currency": "eur",
            "amount_received": if status == "succeeded" { 1_250 } else { 0 },
            "amount_capturable": if status == "requires_capture" { 1_250 } else { 0 },
            "cancellation_reason": null, "latest_charge": "ch_1",
        })
    }

    fn shown(status: &str) -> Reply {
        Reply::json(200, &intent(status).to_string())
    }

    fn unexpected_state() -> Reply {
        let error =
            json!({ "type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": "no" });
        Reply::json(400, &json!({ "error": error }).to_string())
    }

    fn captured() -> EndedAuthorisation {
        EndedAuthorisation::Captured(Charge {
            event_id: "pi_1 succeeded".to_owned(),
            reference: "pi_1".to_owned(),
            minor_units: 1_250,
            currency: "EUR".to_owned(),
            occurred_at: None,
        })
    }

    fn voided() -> EndedAuthorisation {
        EndedAuthorisation::Voided { reason: "Stripe's pi_1 is canceled: not said why".to_owned() }
    }

    #[tokio::test]
    async fn money_is_taken_and_let_go_under_the_key_of_the_try() {
        let stage = Stage::set(vec![shown("succeeded"), shown("canceled")]).await;
        assert_eq!(stage.stripe().capture(&stage::authorisation()).await, Ok(captured()));
        assert_eq!(stage.stripe().void(&stage::authorisation()).await, Ok(voided()));
        assert_eq!(stage.lines(), ["POST /v1/payment_intents/pi_1/capture", "POST /v1/payment_intents/pi_1/cancel"]);
        assert!(stage.heard().iter().all(|heard| heard.contains("idempotency-key: key-1")));
    }

    #[tokio::test]
    async fn what_was_done_before_is_looked_up() {
        for (status, end) in [("succeeded", captured()), ("canceled", voided())] {
            let stage = Stage::set(vec![unexpected_state(), shown(status), unexpected_state(), shown(status)]).await;
            assert_eq!(stage.stripe().capture(&stage::authorisation()).await, Ok(end.clone()));
            assert_eq!(stage.stripe().void(&stage::authorisation()).await, Ok(end));
            assert_eq!(stage.lines()[1], "GET /v1/payment_intents/pi_1");
        }
    }

    fn declined() -> Reply {
        let error = json!({ "type": "card_error", "code": "card_declined", "message": "Your card was declined." });
        Reply::json(402, &json!({ "error": error }).to_string())
    }

    #[tokio::test]
    async fn what_became_of_money_that_a_bank_does_not_give_is_looked_up() {
        for (status, end) in [("succeeded", captured()), ("canceled", voided())] {
            let stage = Stage::set(vec![declined(), shown(status)]).await;
            assert_eq!(stage.stripe().capture(&stage::authorisation()).await, Ok(end), "{status}");
            assert_eq!(stage.lines()[1], "GET /v1/payment_intents/pi_1");
        }
        let mut failed = intent("requires_payment_method");
        failed["last_payment_error"] = json!({ "code": "card_declined", "message": "Your card was declined." });
        let stage = Stage::set(vec![declined(), Reply::json(200, &failed.to_string())]).await;
        let answer = stage.stripe().capture(&stage::authorisation()).await;
        let Ok(EndedAuthorisation::Voided { reason }) = answer else { panic!("nothing is set aside: {answer:?}") };
        assert!(reason.contains("pi_1") && reason.contains("card_declined"), "{reason}");
    }

    #[tokio::test]
    async fn a_bank_that_says_no_to_money_that_is_set_aside_declines() {
        let stage = Stage::set(vec![declined(), shown("requires_capture")]).await;
        let answer = stage.stripe().capture(&stage::authorisation()).await;
        assert!(
            matches!(&answer, Err(ProviderError::Declined(words)) if words.contains("card_declined")),
            "{answer:?}"
        );
        let stage = Stage::set(vec![declined(), shown("processing")]).await;
        let answer = stage.stripe().capture(&stage::authorisation()).await;
        assert!(matches!(answer, Err(ProviderError::OutcomeUnknown(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn what_is_still_set_aside_is_tried_again() {
        for status in ["requires_capture", "processing", "a new word"] {
            let stage = Stage::set(vec![unexpected_state(), shown(status)]).await;
            let answer = stage.stripe().capture(&stage::authorisation()).await;
            assert!(matches!(answer, Err(ProviderError::OutcomeUnknown(_))), "{status}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_reference_is_no_part_of_an_address() {
        let stage = Stage::set(vec![]).await;
        for reference in ["", "pi_1/../x", "pi 1", "pi_1?a=b"] {
            let authorisation = AuthorisationRef { reference: reference.to_owned(), ..stage::authorisation() };
            let answer = stage.stripe().void(&authorisation).await;
            assert!(matches!(answer, Err(ProviderError::Misconfigured(_))), "{answer:?}");
        }
    }
}
