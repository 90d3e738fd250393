//! The sandbox: a provider inside the payments worker, for demonstrations and tests. No money moves. Never use it in a
//! shop. Where it is not enabled, see [`crate::Enabled`], it closes all that it is asked for unpaid, and still gives back what it took.
//!
//! How it behaves is written into each payment's method, see [`script`]. It stands for two outside systems: the one
//! where buyers pay, which sends reports like a webhook ([`report`], [`delivery`]), and the one that pays refunds out,
//! whose ledger survives the worker that called it ([`ledger`]).

use domain::PaymentId;
use platform::{clock, database::Pool};

use crate::{
    AuthorisationRef, Checkout, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenCheckout,
    OpenedCheckout, Provider, ProviderContext, ProviderError, ProviderName, RefundRequest, RefundState,
};

pub mod delivery;
pub mod ledger;
pub mod memory;
pub mod report;
pub mod script;

use ledger::{Ledger, Reply, fails_later};
use script::{Hold, Page, RefundPlan, Script};

/// Its name in events.
pub const NAME: &str = "sandbox";

const CONNECTIONS_MAX: u32 = 4;

/// The sandbox provider.
#[derive(Debug, Clone)]
pub struct Sandbox {
    ledger: Ledger,
    is_enabled: bool,
}

impl Sandbox {
    /// A sandbox that keeps its ledger in this database, table `payments.sandbox_refunds`, over connections of its own:
    /// an outside system does not share those of the worker that calls it.
    #[must_use]
    pub fn new(database: &Pool) -> Self {
        let pool = database.of_another("holdfast-sandbox", CONNECTIONS_MAX);
        Self { ledger: Ledger::new(pool), is_enabled: true }
    }

    /// The same, but nobody pays any more: orders may have been placed before the setting changed, or by a worker with another setting.
    #[must_use]
    pub fn disabled(self) -> Self {
        Self { is_enabled: false, ..self }
    }
}

/// Where it has a payment paid: on a page that needs no call, unless its script says that it does.
pub(crate) fn checkout(payment_id: PaymentId, payment_method: &str) -> Checkout {
    let OpenCheckout { reference, url } = match Script::parse(payment_method).map(|script| script.checkout) {
        Ok(Page::Link) | Err(_) => page(payment_id, payment_method),
        Ok(Page::Call | Page::Refuse) => OpenCheckout { reference: String::new(), url: String::new() },
    };
    Checkout { provider: NAME.to_owned(), reference, url }
}

fn page(payment_id: PaymentId, payment_method: &str) -> OpenCheckout {
    OpenCheckout {
        reference: payment_reference(payment_id, payment_method),
        url: format!("https://sandbox.invalid/pay/{payment_id}"),
    }
}

/// What the sandbox knows a payment by: its script and its id, so that it needs no memory of payments.
#[must_use]
pub fn payment_reference(payment_id: PaymentId, payment_method: &str) -> String {
    format!("{payment_method}#{payment_id}")
}

/// The script in a payment's reference.
fn script_of(payment_reference: &str) -> Result<Script, ProviderError> {
    let payment_method = payment_reference.rsplit_once('#').map_or(payment_reference, |(script, _)| script);
    Script::parse(payment_method).map_err(|rejection| ProviderError::Declined(rejection.reason))
}

const REFUND: &str = "sandbox-";

const REFUND_THAT_FAILS_LATER: &str = "sandbox-fails-";

/// What the sandbox knows a refund by. An operator's RETRY has another key and so another reference.
fn refund_reference(request: &RefundRequest, script: &Script) -> String {
    let kind = if fails_later(request, script) { REFUND_THAT_FAILS_LATER } else { REFUND };
    format!("{kind}{}", request.key)
}

/// The key in the reference of a refund that fails later. `None`: it does not, or it is not the sandbox's.
fn failing_refund_key(refund_reference: &str) -> Option<&str> {
    refund_reference.strip_prefix(REFUND_THAT_FAILS_LATER)
}

impl Provider for Sandbox {
    fn name(&self) -> ProviderName {
        ProviderName::Sandbox
    }

    async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
        match Script::parse(&request.payment_method).map(|script| script.checkout) {
            Ok(Page::Refuse) => Err(ProviderError::Declined("its script says that no page is opened".to_owned())),
            Ok(Page::Link | Page::Call) | Err(_) => {
                Ok(OpenedCheckout::unpaid(page(request.payment_id, &request.payment_method)))
            }
        }
    }

    /// Nobody pays on its pages: whether and when a payment is paid its script says.
    async fn close_checkout(&self, _checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
        Ok(ClosedCheckout::Unpaid)
    }

    /// Whether the money is still there its script says, so it needs no memory of what was asked before.
    async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        Ok(match script_of(&authorisation.payment_reference)?.hold {
            Some(Hold::Capture) => EndedAuthorisation::Captured(report::captured(authorisation)),
            Some(Hold::Lapse) | None => {
                EndedAuthorisation::Voided { reason: "its script says that it has lapsed".to_owned() }
            }
        })
    }

    async fn void(&self, _authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        Ok(EndedAuthorisation::Voided { reason: "it was let go".to_owned() })
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        let script = script_of(&request.payment_reference)?;
        let reply = self
            .ledger
            .call(request, &script)
            .await
            .map_err(|error| ProviderError::OutcomeUnknown(format!("its ledger failed: {error}")))?;
        // After the ledger's commit: a worker that is killed in this pause leaves a refund that nobody heard of.
        if script.refund != RefundPlan::FailLater {
            clock::sleep(script.refund_after).await;
        }
        match reply {
            Reply::Refunded => Ok(RefundState::Refunded { reference: refund_reference(request, &script) }),
            Reply::Failed => Ok(RefundState::Failed { reason: report::FAILED_LATER.to_owned() }),
            Reply::Declined(reason) => Err(ProviderError::Declined(reason)),
            Reply::Unavailable => Err(ProviderError::Unavailable("its script says that it is busy".to_owned())),
            Reply::Lost => Err(ProviderError::OutcomeUnknown("its script says that the answer is lost".to_owned())),
            Reply::Silence => std::future::pending().await,
        }
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        let found = self
            .ledger
            .find(request)
            .await
            .map_err(|error| ProviderError::Unavailable(format!("its ledger failed: {error}")))?;
        let script = script_of(&request.payment_reference)?;
        Ok(match found {
            Some((key, ledger::Status::Refunded)) => {
                let sent = RefundRequest { key, ..request.clone() };
                Some(RefundState::Refunded { reference: refund_reference(&sent, &script) })
            }
            Some((_, ledger::Status::Failed)) => Some(RefundState::Failed { reason: report::FAILED_LATER.to_owned() }),
            // Neither moved money, and both may be sent again.
            Some((_, ledger::Status::Open | ledger::Status::Declined)) | None => None,
        })
    }

    async fn background(&self, context: ProviderContext) {
        delivery::deliver(context, self.clone()).await;
    }
}

#[cfg(test)]
mod tests {
    use domain::{Currency, Money, OrderId, PaymentId, Timestamp};
    use platform::database::Pool;
    use sqlx::postgres::PgPoolOptions;
    use uuid::Uuid;

    use super::{Sandbox, checkout};
    use crate::{CheckoutRef, CheckoutRequest, ClosedCheckout, OpenCheckout, Provider, ProviderError};

    const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(1));

    async fn opened(payment_method: &str) -> Result<OpenCheckout, ProviderError> {
        // No page needs the database.
        let sandbox =
            Sandbox::new(&Pool::new(PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/nobody").unwrap()));
        let request = CheckoutRequest {
            key: "key-1".to_owned(),
            payment_id: PAYMENT,
            order_id: OrderId(Uuid::from_u128(2)),
            order_reference: None,
            amount: Money { minor_units: 1, currency: Currency::parse("EUR").unwrap() },
            payment_method: payment_method.to_owned(),
            ends_at: Timestamp::default(),
        };
        let page = CheckoutRef { payment_id: PAYMENT, reference: String::new() };
        assert_eq!(sandbox.close_checkout(&page).await, Ok(ClosedCheckout::Unpaid));
        sandbox.open_checkout(&request).await.map(|opened| opened.page)
    }

    #[tokio::test]
    async fn a_page_is_the_same_whether_it_needs_a_call_or_not() {
        for payment_method in ["", "sandbox:late", "sandbox:suceed"] {
            let link = checkout(PAYMENT, payment_method);
            assert!(!link.needs_call());
            assert_eq!(opened(payment_method).await, Ok(OpenCheckout { reference: link.reference, url: link.url }));
        }
        let link = checkout(PAYMENT, "sandbox:succeed,checkout=call");
        assert!(link.needs_call() && link.url.is_empty());
        let page = opened("sandbox:succeed,checkout=call").await.unwrap();
        assert!(page.reference.starts_with("sandbox:succeed,checkout=call#") && !page.url.is_empty(), "{page:?}");
    }

    #[tokio::test]
    async fn a_page_that_is_refused_is_called_for_first() {
        assert!(checkout(PAYMENT, "sandbox:succeed,checkout=refuse").needs_call());
        let answer = opened("sandbox:succeed,checkout=refuse").await;
        assert!(matches!(answer, Err(ProviderError::Declined(_))), "{answer:?}");
    }
}
