//! Pages to pay on: Checkout sessions of one line over the whole total, for Stripe must neither count nor round for us.

use domain::Rejection;

use super::{
    Settings,
    amount::{accepts, from_stripe, to_stripe},
    authorisation, form,
    http::{Api, Call},
    limit::Queue,
    object::{Session, paid},
};
use crate::{Charge, CheckoutRequest, ClosedCheckout, OpenCheckout, ProviderError};

const SESSIONS: &str = "/v1/checkout/sessions";

/// The status that Stripe answers if a page cannot be closed, among others.
const BAD_REQUEST: u16 = 400;

/// Opens a page.
pub(super) async fn open(
    api: &Api,
    settings: &Settings,
    request: &CheckoutRequest,
) -> Result<OpenCheckout, ProviderError> {
    let declined = |rejection: Rejection| ProviderError::Declined(rejection.reason);
    accepts(request.amount).map_err(declined)?;
    let units = to_stripe(request.amount).map_err(|refused| declined(refused.into()))?;
    let call = Call {
        queue: Queue::OpenSession,
        path: SESSIONS,
        form: Some(form::session(request, units, settings)),
        key: Some(&request.key),
    };
    let session: Session = api.send(call).await?.read()?;
    let is_ours = session.amount_total == Some(units)
        && session
            .currency
            .as_deref()
            .is_some_and(|currency| currency.eq_ignore_ascii_case(request.amount.currency.as_str()));
    if !is_ours {
        return Err(ProviderError::Misconfigured(misjudged(api, request, units, &session).await));
    }
    match session.url {
        Some(url) if !url.is_empty() => Ok(OpenCheckout { reference: session.id, url }),
        Some(_) | None => Err(ProviderError::OutcomeUnknown(format!("page {} has no address", session.id))),
    }
}

/// Closes a page on which another amount would be paid, and says what is wrong.
async fn misjudged(api: &Api, request: &CheckoutRequest, units: i64, session: &Session) -> String {
    let end = match close(api, &session.id).await {
        Ok(ClosedCheckout::Unpaid) => "it is closed again".to_owned(),
        Ok(ClosedCheckout::Paid(_) | ClosedCheckout::Authorised(_) | ClosedCheckout::UnderWay) => {
            "it was paid on".to_owned()
        }
        Err(error) => format!("it cannot be closed: {error}"),
    };
    let found = (session.amount_total, session.currency.as_deref().map(str::to_uppercase));
    let asked = (Some(units), Some(request.amount.currency.to_string()));
    format!("page {} is over {found:?} in Stripe's units, and not over {asked:?}; {end}", session.id)
}

/// Sees to it that a page cannot be paid on. Stripe closes none that is paid, so its answer decides who was first. Without a key, for a page
/// that is closed stays closed; and a failure would be repeated for ever under one.
pub(super) async fn close(api: &Api, reference: &str) -> Result<ClosedCheckout, ProviderError> {
    let reference = super::checked(reference, "page")?;
    let path = format!("{SESSIONS}/{reference}/expire");
    let call = Call { queue: Queue::ExpireSession, path: &path, form: Some(String::new()), key: None };
    let answer = api.send(call).await?;
    if answer.status.as_u16() != BAD_REQUEST {
        answer.read::<Session>()?;
        return Ok(ClosedCheckout::Unpaid);
    }
    // Perhaps it could not be closed for another reason, or for a moment only.
    let is_open = || ProviderError::OutcomeUnknown(format!("page {reference} was not closed, and its status is open"));
    look(api, reference).await?.ok_or_else(is_open)
}

/// Looks at a page. `None`: it is open.
pub(super) async fn look(api: &Api, reference: &str) -> Result<Option<ClosedCheckout>, ProviderError> {
    let reference = super::checked(reference, "page")?;
    let path = format!("{SESSIONS}/{reference}");
    let session: Session =
        api.send(Call { queue: Queue::ReadSession, path: &path, form: None, key: None }).await?.read()?;
    match session.status.as_deref() {
        Some("open") => Ok(None),
        Some("expired") => Ok(Some(ClosedCheckout::Unpaid)),
        Some("complete") if session.is_paid() => charge(&session).map(ClosedCheckout::Paid).map(Some),
        Some("complete") => under_way(api, &session).await.map(Some),
        Some(_) | None => {
            let status = session.status.as_deref().unwrap_or("not said");
            let words = format!("the status of page {reference} is {status}, which says nothing");
            Err(ProviderError::OutcomeUnknown(words))
        }
    }
}

/// What has become of a page on which the buyer has done their part, and which is not paid: its charge says.
async fn under_way(api: &Api, session: &Session) -> Result<ClosedCheckout, ProviderError> {
    let Some(intent) = &session.payment_intent else { return Ok(ClosedCheckout::UnderWay) };
    match authorisation::set_aside(&authorisation::read(api, intent).await?) {
        Some(charge) => charge.map(ClosedCheckout::Authorised),
        None => Ok(ClosedCheckout::UnderWay),
    }
}

/// The money of a page. When it came only Stripe's report says: the page is older.
fn charge(session: &Session) -> Result<Charge, ProviderError> {
    let reference = session.charge().to_owned();
    let unreadable = |what: String| ProviderError::Misconfigured(format!("page {} was paid, and {what}", session.id));
    let (Some(units), Some(currency)) = (session.amount_total, &session.currency) else {
        return Err(unreadable("does not say how much".to_owned()));
    };
    let amount = from_stripe(units, currency).map_err(|refused| unreadable(refused.to_string()))?;
    Ok(Charge {
        event_id: paid(&reference),
        reference,
        minor_units: amount.minor_units,
        currency: amount.currency.to_string(),
        occurred_at: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        Charge, CheckoutRef, CheckoutRequest, ClosedCheckout, OpenCheckout, Provider, ProviderError,
        stripe::stage::{self, Reply, Stage, eur},
    };

    fn session(change: &Value) -> Reply {
        let mut session = json!({
            "id": "cs_test_1", "object": "checkout.session", "url": "https://checkout.stripe.com/c/pay/cs_test_1",
            "status": "open", "payment_status": "unpaid", "amount_total": 1_250, "currency": "eur", "payment_intent": null,
        });
        for (name, value) in change.as_object().unwrap() {
            session[name] = value.clone();
        }
        Reply::json(200, &session.to_string())
    }

    fn not_open() -> Reply {
        let message = "Only Checkout Sessions with a status in [\"open\"] can be expired.";
        Reply::json(400, &json!({ "error": { "type": "invalid_request_error", "message": message } }).to_string())
    }

    async fn opened(
        replies: Vec<Reply>,
        request: &CheckoutRequest,
    ) -> (Result<OpenCheckout, ProviderError>, Vec<String>) {
        let stage = Stage::set(replies).await;
        (stage.stripe().open_checkout(request).await.map(|opened| opened.page), stage.lines())
    }

    async fn closed(replies: Vec<Reply>) -> (Result<ClosedCheckout, ProviderError>, Vec<String>) {
        let stage = Stage::set(replies).await;
        let payment_id = stage::checkout().payment_id;
        let page = CheckoutRef { payment_id, reference: "cs_test_1".to_owned() };
        (stage.stripe().close_checkout(&page).await, stage.lines())
    }

    #[tokio::test]
    async fn a_page_is_opened_under_its_key() {
        let stage = Stage::set(vec![session(&json!({}))]).await;
        let page = stage.stripe().open_checkout(&stage::checkout()).await.unwrap().page;
        let url = "https://checkout.stripe.com/c/pay/cs_test_1".to_owned();
        assert_eq!(page, OpenCheckout { reference: "cs_test_1".to_owned(), url });
        let heard = stage.heard().remove(0);
        assert!(
            heard.starts_with("POST /v1/checkout/sessions HTTP/1.1") && heard.contains("idempotency-key: key-1"),
            "{heard}"
        );
        assert!(heard.ends_with("&allowed_payment_method_types%5B1%5D=link"), "{heard}");
    }

    #[tokio::test]
    async fn a_page_over_another_amount_is_closed_again() {
        for change in [
            json!({ "amount_total": 1_251 }),
            json!({ "amount_total": null }),
            json!({ "currency": "usd" }),
            json!({ "currency": null }),
        ] {
            let (answer, lines) = opened(vec![session(&change), session(&json!({}))], &stage::checkout()).await;
            let Err(ProviderError::Misconfigured(words)) = answer else { panic!("{change}: {answer:?}") };
            assert!(words.contains("(Some(1250), Some(\"EUR\"))") && words.contains("closed again"), "{words}");
            assert_eq!(lines, ["POST /v1/checkout/sessions", "POST /v1/checkout/sessions/cs_test_1/expire"]);
        }
    }

    #[tokio::test]
    async fn an_amount_that_cannot_be_charged_is_declined_without_a_call() {
        let request = CheckoutRequest { amount: eur(49), ..stage::checkout() };
        let (answer, lines) = opened(vec![], &request).await;
        assert!(matches!(&answer, Err(ProviderError::Declined(words)) if words.contains("0.50 EUR")), "{answer:?}");
        assert_eq!(lines, [""; 0]);
    }

    #[tokio::test]
    async fn a_page_without_an_address_is_none() {
        let (answer, _) = opened(vec![session(&json!({ "url": null }))], &stage::checkout()).await;
        assert!(matches!(answer, Err(ProviderError::OutcomeUnknown(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn an_open_page_is_closed_without_a_key() {
        let stage = Stage::set(vec![session(&json!({ "status": "expired" }))]).await;
        let payment_id = stage::checkout().payment_id;
        let page = CheckoutRef { payment_id, reference: "cs_test_1".to_owned() };
        assert_eq!(stage.stripe().close_checkout(&page).await, Ok(ClosedCheckout::Unpaid));
        let heard = stage.heard().remove(0);
        assert!(heard.starts_with("POST /v1/checkout/sessions/cs_test_1/expire HTTP/1.1"), "{heard}");
        assert!(!heard.contains("idempotency-key"), "{heard}");
    }

    #[tokio::test]
    async fn a_page_is_looked_at_without_touching_it() {
        let paid = json!({ "status": "complete", "payment_status": "paid", "payment_intent": "pi_1" });
        let charge = Charge {
            event_id: "pi_1 succeeded".to_owned(),
            reference: "pi_1".to_owned(),
            minor_units: 1_250,
            currency: "EUR".to_owned(),
            occurred_at: None,
        };
        for (change, end) in [
            (json!({}), None),
            (json!({ "status": "expired" }), Some(ClosedCheckout::Unpaid)),
            (json!({ "status": "complete" }), Some(ClosedCheckout::UnderWay)),
            (paid, Some(ClosedCheckout::Paid(charge))),
        ] {
            let stage = Stage::set(vec![session(&change)]).await;
            let payment_id = stage::checkout().payment_id;
            let page = CheckoutRef { payment_id, reference: "cs_test_1".to_owned() };
            assert_eq!(stage.stripe().look_at_checkout(&page).await, Ok(end), "{change}");
            assert_eq!(stage.lines(), ["GET /v1/checkout/sessions/cs_test_1"]);
        }
    }

    #[tokio::test]
    async fn what_became_of_a_page_that_is_not_open_is_looked_up() {
        let charge = |reference: &str| Charge {
            event_id: format!("{reference} succeeded"),
            reference: reference.to_owned(),
            minor_units: 1_250,
            currency: "EUR".to_owned(),
            occurred_at: None,
        };
        let looks = ["POST /v1/checkout/sessions/cs_test_1/expire", "GET /v1/checkout/sessions/cs_test_1"];
        for (change, end) in [
            (json!({ "status": "expired" }), ClosedCheckout::Unpaid),
            (
                json!({ "status": "complete", "payment_status": "paid", "payment_intent": "pi_1" }),
                ClosedCheckout::Paid(charge("pi_1")),
            ),
            (
                json!({ "status": "complete", "payment_status": "no_payment_required" }),
                ClosedCheckout::Paid(charge("cs_test_1")),
            ),
            (json!({ "status": "complete" }), ClosedCheckout::UnderWay),
            (json!({ "status": "complete", "payment_status": "a new word" }), ClosedCheckout::UnderWay),
        ] {
            let (answer, lines) = closed(vec![not_open(), session(&change)]).await;
            assert_eq!((answer, lines), (Ok(end), looks.map(str::to_owned).to_vec()), "{change}");
        }
    }

    #[tokio::test]
    async fn money_that_was_set_aside_before_the_page_was_closed_is_told() {
        let complete = json!({ "status": "complete", "payment_intent": "pi_1" });
        let intent = |status: &str| {
            let intent = json!({ "id": "pi_1", "status": status, "amount_capturable": 1_250, "currency": "eur" });
            Reply::json(200, &intent.to_string())
        };
        let (answer, lines) = closed(vec![not_open(), session(&complete), intent("requires_capture")]).await;
        let Ok(ClosedCheckout::Authorised(charge)) = answer else { panic!("{answer:?}") };
        assert_eq!((charge.event_id.as_str(), charge.reference.as_str()), ("pi_1 authorised", "pi_1"));
        assert_eq!((charge.minor_units, charge.currency.as_str()), (1_250, "EUR"));
        assert_eq!(lines[2], "GET /v1/payment_intents/pi_1");
        let (answer, _) = closed(vec![not_open(), session(&complete), intent("processing")]).await;
        assert_eq!(answer, Ok(ClosedCheckout::UnderWay));
    }

    #[tokio::test]
    async fn money_is_told_in_our_digits() {
        let change = json!({
            "status": "complete", "payment_status": "paid", "payment_intent": "pi_1", "amount_total": 500, "currency": "isk",
        });
        let (answer, _) = closed(vec![not_open(), session(&change)]).await;
        let Ok(ClosedCheckout::Paid(Charge { minor_units: 5, currency, .. })) = answer else { panic!("{answer:?}") };
        assert_eq!(currency, "ISK");
    }

    #[tokio::test]
    async fn a_page_that_is_still_open_is_tried_again() {
        for change in [json!({ "status": "open" }), json!({ "status": "a new word" }), json!({ "status": null })] {
            let (answer, _) = closed(vec![not_open(), session(&change)]).await;
            assert!(matches!(answer, Err(ProviderError::OutcomeUnknown(_))), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_page_that_stripe_does_not_know_is_looked_at_by_a_person() {
        let missing = json!({ "error": { "code": "resource_missing", "message": "No such checkout.session" } });
        let (answer, lines) = closed(vec![Reply::json(404, &missing.to_string())]).await;
        assert!(matches!(answer, Err(ProviderError::Misconfigured(_))), "{answer:?}");
        assert_eq!(lines.len(), 1);
    }

    #[tokio::test]
    async fn what_is_no_reference_is_no_part_of_an_address() {
        let stage = Stage::set(vec![]).await;
        for reference in ["", "cs_1/../x", "cs 1", "cs_1?a=b", "sandbox:never#1"] {
            let payment_id = stage::checkout().payment_id;
            let page = CheckoutRef { payment_id, reference: reference.to_owned() };
            let answer = stage.stripe().close_checkout(&page).await;
            assert!(matches!(answer, Err(ProviderError::Misconfigured(_))), "{answer:?}");
        }
    }
}
