//! Events that no webhook has brought, and those that one has. Stripe keeps events for 30 days and knows of each whether everybody to whom it was sent has taken it;
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

/// Pages of events that were taken: whether there is one of ours. On a busy account of many shops it may lie behind others'.
const TAKEN_PAGES_MAX: usize = 10;

/// Whether everybody to whom an event was sent has taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Missed,
    Taken,
}

impl Delivery {
    /// As Stripe is asked for it.
    pub(super) const fn taken(self) -> &'static str {
        match self {
            Self::Missed => "false",
            Self::Taken => "true",
        }
    }
}

/// Lists what was told since then and not taken, the oldest first.
pub(super) async fn list(api: &Api, settings: &Settings, since: Timestamp) -> Result<Vec<Told>, ProviderError> {
    let (mut all, is_all) = pages(api, settings, (Delivery::Missed, since), PAGES_MAX).await?;
    if !is_all {
        let words = format!("there are more than {PAGES_MAX} pages of events that no webhook has brought");
        return Err(ProviderError::OutcomeUnknown(words));
    }
    all.reverse();
    Ok(all)
}

/// Lists what was told since then and taken, the latest first, as far as the first page that has something of ours.
pub(super) async fn brought(api: &Api, settings: &Settings, since: Timestamp) -> Result<Vec<Told>, ProviderError> {
    Ok(pages(api, settings, (Delivery::Taken, since), TAKEN_PAGES_MAX).await?.0)
}

/// Events of ours, the latest first, as Stripe lists them, and whether that is all. Of what was taken, a page that has some is enough.
async fn pages(
    api: &Api,
    settings: &Settings,
    (are, since): (Delivery, Timestamp),
    pages_max: usize,
) -> Result<(Vec<Told>, bool), ProviderError> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    for _ in 0..pages_max {
        let path = format!("{EVENTS}?{}", form::events(&KINDS, are, since, after.as_deref()));
        let call = Call { queue: Queue::ListEvents, path: &path, form: None, key: None };
        let List { data, has_more } = api.send(call).await?.read::<List<Value>>()?;
        after = data.last().and_then(|event| Some(event.get("id")?.as_str()?.to_owned()));
        all.extend(data.into_iter().filter_map(|event| told(event, settings)));
        let is_enough = are == Delivery::Taken && !all.is_empty();
        if !has_more || after.is_none() || is_enough {
            return Ok((all, !has_more || after.is_none()));
        }
    }
    Ok((all, false))
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

    use super::{brought, list};
    use crate::{
        ProviderError, Told,
        stripe::{
            Settings,
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
        Api::new(settings, stage::key()).unwrap()
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
    async fn what_was_taken_is_listed_up_to_the_first_page_that_has_something_of_ours() {
        let fleet = stage::settings("https://api.stripe.com").fleet;
        let of_others = page(&[paid(9, "another")], true);
        let stage = Stage::set(vec![of_others, page(&[paid(2, &fleet), paid(1, &fleet)], true)]).await;
        let settings = stage::settings(&stage.url);
        let told = brought(&api(&settings), &settings, Timestamp::from_micros(1_600_500_000)).await.unwrap();
        let told: Vec<&str> = told
            .iter()
            .map(|told| match told {
                Told::OfPayment(report) => report.provider_reference.as_str(),
                Told::OfCharge { reference, .. } => reference.as_str(),
            })
            .collect();
        let lines = stage.lines();
        assert_eq!((told, lines.len()), (vec!["pi_2", "pi_1"], 2), "{lines:?}");
        assert!(lines[0].contains("delivery_success=true") && lines[1].contains("starting_after=evt_9"), "{lines:?}");
    }

    #[tokio::test]
    async fn a_key_that_may_not_read_events_is_an_error_that_says_so() {
        let refused =
            json!({ "error": { "type": "invalid_request_error", "message": "this key has no right to read events" } });
        let (found, _) = listed(vec![Reply::json(403, &refused.to_string())]).await;
        assert!(matches!(&found, Err(ProviderError::Misconfigured(words)) if words.contains("no right")), "{found:?}");
    }
}
