//! Events that no webhook has brought. Stripe keeps events for 30 days and knows of each whether everybody to whom it was sent has taken it;
//! one that is on its way still counts as not taken.

use domain::Timestamp;
use serde_json::Value;

use super::{
    Settings, form,
    http::{Api, Call},
    limit::Queue,
    object::List,
    webhook::{KINDS, Reading, read_event},
};
use crate::{ProviderError, Told};

const EVENTS: &str = "/v1/events";

/// Pages of events that are looked through at one time: a hundred thousand events.
const PAGES_MAX: usize = 1_000;

/// Lists what was told since then and not taken, the oldest first.
pub(super) async fn list(api: &Api, settings: &Settings, since: Timestamp) -> Result<Vec<Told>, ProviderError> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let path = format!("{EVENTS}?{}", form::events_not_taken(&KINDS, since, after.as_deref()));
        let call = Call { queue: Queue::ListEvents, path: &path, form: None, key: None };
        let List { data, has_more } = api.send(call).await?.read::<List<Value>>()?;
        after = data.last().and_then(|event| Some(event.get("id")?.as_str()?.to_owned()));
        all.extend(data.into_iter().filter_map(|event| told(event, settings)));
        if !has_more || after.is_none() {
            // Stripe lists the newest first.
            all.reverse();
            return Ok(all);
        }
    }
    let words = format!("there are more than {PAGES_MAX} pages of events that no webhook has brought");
    Err(ProviderError::OutcomeUnknown(words))
}

/// What an event tells. What cannot be read is said, and never in the way of the others.
fn told(event: Value, settings: &Settings) -> Option<Told> {
    let id = event.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    match read_event(event, &settings.fleet, settings.allow_live) {
        Ok(Reading::Told(told)) => Some(told),
        Ok(Reading::Note(_)) => None,
        Err(error) => {
            tracing::error!(id, %error, "an event of Stripe that no webhook has brought cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use serde_json::{Value, json};

    use super::list;
    use crate::{
        ProviderError, Told,
        stripe::{
            Mode, Settings,
            http::Api,
            stage::{self, Reply, Stage},
        },
    };

    const PAYMENT: &str = "00000000-0000-0000-0000-000000000007";

    /// A page that was paid on, of the fleet of these settings.
    fn paid(number: u32, fleet: &str) -> Value {
        json!({
            "id": format!("evt_{number}"), "object": "event", "type": "checkout.session.completed", "livemode": false, "created": 1_700,
            "data": { "object": {
                "id": "cs_1", "payment_status": "paid", "amount_total": 1250, "currency": "eur",
                "payment_intent": format!("pi_{number}"), "metadata": { "holdfast_fleet": fleet, "payment_id": PAYMENT },
            } },
        })
    }

    async fn listed(replies: Vec<Reply>) -> (Result<Vec<Told>, ProviderError>, Vec<String>) {
        let stage = Stage::set(replies).await;
        let settings = stage::settings(&stage.url);
        let found = list(&api(&settings), &settings, Timestamp::from_micros(1_600_500_000)).await;
        (found, stage.lines())
    }

    fn api(settings: &Settings) -> Api {
        Api::new(settings, Mode::Test).unwrap()
    }

    fn page(events: &[Value], has_more: bool) -> Reply {
        Reply::json(200, &json!({ "object": "list", "data": events, "has_more": has_more }).to_string())
    }

    #[tokio::test]
    async fn what_nobody_took_is_listed_page_by_page_and_told_in_the_order_in_which_it_happened() {
        let fleet = stage::settings("https://api.stripe.com").fleet;
        let note = json!({ "id": "evt_3", "object": "event", "type": "customer.created", "livemode": false, "created": 1_700,
            "data": { "object": {} } });
        let broken = json!({ "id": "evt_4", "object": "event", "type": "refund.updated", "livemode": false, "created": 1_700,
            "data": { "object": 1 } });
        let first = page(&[broken, paid(2, &fleet), note], true);
        let (found, heard) = listed(vec![first, page(&[paid(9, "another"), paid(1, &fleet)], false)]).await;
        let charges: Vec<String> = found
            .unwrap()
            .into_iter()
            .map(|told| match told {
                Told::OfPayment(report) => report.provider_reference,
                Told::OfCharge { reference, .. } => reference,
            })
            .collect();
        assert_eq!(charges, ["pi_1", "pi_2"]);
        let lines = heard;
        assert!(lines[0].starts_with("GET /v1/events?") && lines[0].contains("delivery_success=false"), "{lines:?}");
        assert!(lines[0].contains("created%5Bgte%5D=1600") && !lines[0].contains("starting_after"), "{lines:?}");
        assert!(lines[1].contains("starting_after=evt_3"), "{lines:?}");
    }

    #[tokio::test]
    async fn a_key_that_may_not_read_events_is_an_error_that_says_so() {
        let refused =
            json!({ "error": { "type": "invalid_request_error", "message": "this key has no right to read events" } });
        let (found, _) = listed(vec![Reply::json(403, &refused.to_string())]).await;
        assert!(matches!(&found, Err(ProviderError::Misconfigured(words)) if words.contains("no right")), "{found:?}");
    }
}
