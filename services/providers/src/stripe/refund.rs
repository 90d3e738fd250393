//! Refunds. Stripe forgets a key after a day, so key and refund are in the metadata too, and these are looked for before one is sent again.

use super::{
    amount::to_stripe,
    form,
    http::{Api, Call},
    limit::Queue,
    object::{List, Refund, RefundStanding, field},
};
use crate::{ProviderError, RefundRequest, RefundState};

const REFUNDS: &str = "/v1/refunds";

/// Pages of the refunds of one charge that are looked through.
const PAGES_MAX: usize = 100;

/// Sends a refund.
pub(super) async fn send(api: &Api, fleet: &str, request: &RefundRequest) -> Result<RefundState, ProviderError> {
    if request.charge_reference.is_empty() {
        let words = format!("payment {} has no charge that Stripe could give back", request.payment_id);
        return Err(ProviderError::Declined(words));
    }
    let units = to_stripe(request.amount).map_err(|refused| ProviderError::Declined(refused.to_string()))?;
    let call = Call {
        queue: Queue::CreateRefund,
        path: REFUNDS,
        form: Some(form::refund(request, units, fleet)),
        key: Some(&request.key),
    };
    Ok(state(&api.send(call).await?.read()?))
}

/// Looks for a refund. Stripe has no search for them, but lists those of a charge, and the list is never behind.
pub(super) async fn find(api: &Api, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
    // Then none was sent either.
    if request.charge_reference.is_empty() {
        return Ok(None);
    }
    let mut found: Option<Refund> = None;
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let path = format!("{REFUNDS}?{}", form::refunds_of(&request.charge_reference, after.as_deref()));
        let call = Call { queue: Queue::ListRefunds, path: &path, form: None, key: None };
        let List { data, has_more } = api.send(call).await?.read::<List<Refund>>()?;
        after = data.last().map(|refund| refund.id.clone());
        let ours = data.into_iter().filter(|refund| is_found(refund, request));
        // Of several, which cannot be, the one that says most about where the money is.
        found = found.into_iter().chain(ours).max_by_key(Refund::standing);
        if !has_more || after.is_none() {
            return Ok(found.as_ref().map(state));
        }
    }
    Err(ProviderError::OutcomeUnknown(format!(
        "charge {} has more refunds than can be looked through",
        request.charge_reference
    )))
}

/// Whether it was asked for under this key, or was sent before under another one and has not failed.
fn is_found(refund: &Refund, request: &RefundRequest) -> bool {
    let is_of_refund = || field(&refund.metadata, form::REFUND) == request.refund_id.to_string();
    field(&refund.metadata, form::KEY) == request.key || is_of_refund() && refund.standing() != RefundStanding::Failed
}

fn state(refund: &Refund) -> RefundState {
    match refund.standing() {
        RefundStanding::Succeeded => RefundState::Refunded { reference: refund.id.clone() },
        RefundStanding::UnderWay => RefundState::Pending { reference: refund.id.clone() },
        RefundStanding::Failed => RefundState::Failed { reason: refund.failure() },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        Provider, ProviderError, RefundRequest, RefundState,
        stripe::stage::{self, Reply, Stage},
    };

    fn refund(id: &str, status: &str, key: &str) -> Value {
        json!({
            "id": id, "object": "refund", "status": status, "amount": 500, "currency": "eur", "payment_intent": "pi_1",
            "metadata": { "key": key, "holdfast_fleet": "fleet-1" },
        })
    }

    fn list(data: &[Value], has_more: bool) -> Reply {
        Reply::json(200, &json!({ "object": "list", "data": data, "has_more": has_more }).to_string())
    }

    fn refunded(id: &str) -> RefundState {
        RefundState::Refunded { reference: id.to_owned() }
    }

    async fn sent(reply: Reply) -> Result<RefundState, ProviderError> {
        let stage = Stage::set(vec![reply]).await;
        let answer = stage.stripe().refund(&stage::refund()).await;
        let heard = stage.heard().remove(0);
        assert!(heard.starts_with("POST /v1/refunds HTTP/1.1") && heard.contains("idempotency-key: key-1"), "{heard}");
        assert!(heard.contains("payment_intent=pi_1&amount=500&metadata"), "{heard}");
        answer
    }

    async fn found(replies: Vec<Reply>) -> (Result<Option<RefundState>, ProviderError>, Vec<String>) {
        let stage = Stage::set(replies).await;
        (stage.stripe().find_refund(&stage::refund()).await, stage.lines())
    }

    #[tokio::test]
    async fn a_refund_is_what_stripe_says_it_is() {
        let pending = || RefundState::Pending { reference: "re_1".to_owned() };
        for (status, state) in [
            ("succeeded", refunded("re_1")),
            ("pending", pending()),
            ("requires_action", pending()),
            ("a new word", pending()),
            ("failed", RefundState::Failed { reason: "Stripe's refund re_1 is failed".to_owned() }),
            ("canceled", RefundState::Failed { reason: "Stripe's refund re_1 is canceled".to_owned() }),
        ] {
            assert_eq!(sent(Reply::json(200, &refund("re_1", status, "key-1").to_string())).await, Ok(state));
        }
        let mut failed = refund("re_1", "failed", "key-1");
        failed["failure_reason"] = json!("lost_or_stolen_card");
        let state = sent(Reply::json(200, &failed.to_string())).await;
        assert!(
            matches!(&state, Ok(RefundState::Failed { reason }) if reason.ends_with("lost_or_stolen_card")),
            "{state:?}"
        );
    }

    #[tokio::test]
    async fn what_stripe_will_never_do_is_declined() {
        for error in [
            json!({ "code": "charge_already_refunded", "message": "Charge ch_1 has already been refunded." }),
            json!({ "param": "amount", "message": "Refund amount (500) is greater than unrefunded amount on charge (300)" }),
            json!({ "code": "charge_disputed" }),
        ] {
            let answer = sent(Reply::json(400, &json!({ "error": error }).to_string())).await;
            assert!(matches!(answer, Err(ProviderError::Declined(_))), "{error}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_key_that_was_used_for_something_else_refuses_no_refund() {
        let error =
            json!({ "type": "idempotency_error", "message": "Keys can only be used with the same parameters." });
        let answer = sent(Reply::json(400, &json!({ "error": error }).to_string())).await;
        assert!(matches!(answer, Err(ProviderError::Stuck(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn without_a_charge_nothing_is_sent_and_nothing_is_found() {
        let stage = Stage::set(vec![]).await;
        let request = RefundRequest { charge_reference: String::new(), ..stage::refund() };
        assert!(matches!(stage.stripe().refund(&request).await, Err(ProviderError::Declined(_))));
        assert_eq!(stage.stripe().find_refund(&request).await, Ok(None));
        assert_eq!(stage.lines(), [""; 0]);
    }

    #[tokio::test]
    async fn a_refund_is_looked_for_to_the_end_of_the_list() {
        let (answer, lines) = found(vec![
            list(&[refund("re_9", "succeeded", "key-9"), refund("re_8", "succeeded", "key-1.2")], true),
            list(&[json!({ "id": "re_7", "status": "succeeded", "metadata": null })], true),
            list(&[refund("re_1", "succeeded", "key-1")], false),
        ])
        .await;
        assert_eq!(answer, Ok(Some(refunded("re_1"))));
        assert_eq!(
            lines,
            [
                "GET /v1/refunds?payment_intent=pi_1&limit=100",
                "GET /v1/refunds?payment_intent=pi_1&limit=100&starting_after=re_8",
                "GET /v1/refunds?payment_intent=pi_1&limit=100&starting_after=re_7",
            ]
        );
    }

    #[tokio::test]
    async fn what_is_not_in_the_list_was_never_sent() {
        assert_eq!(found(vec![list(&[], false)]).await.0, Ok(None));
        assert_eq!(found(vec![list(&[], true)]).await.0, Ok(None));
        assert_eq!(found(vec![list(&[refund("re_1", "succeeded", "key-2")], false)]).await.0, Ok(None));
    }

    #[tokio::test]
    async fn what_went_out_under_an_earlier_key_is_found_unless_it_has_failed() {
        let earlier = |id: &str, status: &str| {
            let mut refund = refund(id, status, "key-0");
            refund["metadata"]["refund_id"] = json!(stage::refund().refund_id.to_string());
            refund
        };
        let pending = RefundState::Pending { reference: "re_1".to_owned() };
        for (status, state) in
            [("succeeded", Some(refunded("re_1"))), ("pending", Some(pending)), ("failed", None), ("canceled", None)]
        {
            assert_eq!(found(vec![list(&[earlier("re_1", status)], false)]).await.0, Ok(state), "{status}");
        }
        let failed_twice = [earlier("re_1", "failed"), refund("re_2", "failed", "key-1")];
        let Ok(Some(RefundState::Failed { reason })) = found(vec![list(&failed_twice, false)]).await.0 else {
            panic!("the one under this key has failed")
        };
        assert!(reason.contains("re_2"), "{reason}");
    }

    #[tokio::test]
    async fn of_several_the_one_counts_that_moved_money() {
        for statuses in [["failed", "succeeded"], ["succeeded", "failed"], ["succeeded", "pending"]] {
            let data = statuses.map(|status| refund(&format!("re_{status}"), status, "key-1"));
            assert_eq!(found(vec![list(&data, false)]).await.0, Ok(Some(refunded("re_succeeded"))));
        }
    }

    #[tokio::test]
    async fn a_list_that_breaks_off_says_nothing() {
        let first = list(&[refund("re_1", "succeeded", "key-1")], true);
        let (answer, _) = found(vec![first, Reply::json(500, "{}")]).await;
        assert!(matches!(answer, Err(ProviderError::OutcomeUnknown(_))), "{answer:?}");
    }
}
