//! The providers of this program, by name: which of them a payment goes to, and which adapter a name stands for. A new provider is a
//! variant of [`ProviderName`] and one of [`Adapter`]; the compiler names each `match` that must know it.

use domain::{PaymentId, Rejection};
use futures::future::join_all;

use crate::{
    Checkout, Provider, ProviderContext, ProviderError, RefundRequest, RefundState,
    sandbox::{self, Sandbox},
};

/// The name of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderName {
    /// [`Sandbox`].
    Sandbox,
}

impl ProviderName {
    /// The name, as events have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => sandbox::NAME,
        }
    }
}

/// Which provider a payment goes to, given how the buyer pays. The sandbox takes whatever is no other's: what it cannot read it closes
/// unpaid, and says why, so that no order waits for a provider that does not exist.
#[must_use]
pub const fn provider_of(_payment_method: &str) -> ProviderName {
    ProviderName::Sandbox
}

/// Where a payment is paid, given how. Pure, for it becomes part of an event: the same payment always gets the same answer.
#[must_use]
pub fn checkout(payment_id: PaymentId, payment_method: &str) -> Checkout {
    match provider_of(payment_method) {
        ProviderName::Sandbox => sandbox::checkout(payment_id, payment_method),
    }
}

/// An adapter to one of the providers. An enum, for the futures of [`Provider`] do not allow `dyn`.
#[derive(Debug, Clone)]
pub enum Adapter {
    /// To the sandbox.
    Sandbox(Sandbox),
}

impl Provider for Adapter {
    fn name(&self) -> ProviderName {
        match self {
            Self::Sandbox(sandbox) => sandbox.name(),
        }
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund(request).await,
        }
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.find_refund(request).await,
        }
    }

    async fn background(&self, context: ProviderContext) {
        match self {
            Self::Sandbox(sandbox) => sandbox.background(context).await,
        }
    }
}

/// The adapters that a worker has. Generic, so that a test can put another provider in the place of one.
#[derive(Debug, Clone)]
pub struct Registry<P = Adapter> {
    adapters: Vec<P>,
}

impl<P: Provider> Registry<P> {
    /// A registry of these, of each name one.
    #[must_use]
    pub const fn new(adapters: Vec<P>) -> Self {
        Self { adapters }
    }

    /// The adapter to the provider of this name.
    ///
    /// # Errors
    /// `UNKNOWN_PROVIDER`: there is none. No other will do, for only who took the money can give it back.
    pub fn find(&self, name: &str) -> Result<&P, Rejection> {
        self.adapters.iter().find(|adapter| adapter.name().as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = self.adapters.iter().map(|adapter| adapter.name().as_str()).collect();
            Rejection::new(
                "UNKNOWN_PROVIDER",
                format!("there is no provider {name:?} in this worker, only {}: run one that has it", known.join(", ")),
            )
        })
    }

    /// Whatever must run beside the worker for any of the providers, until the context's shutdown is pulled.
    pub async fn background(&self, context: ProviderContext) {
        join_all(self.adapters.iter().map(|adapter| adapter.background(context.clone()))).await;
    }
}

#[cfg(test)]
mod tests {
    use domain::PaymentId;
    use uuid::Uuid;

    use super::{Provider, ProviderError, ProviderName, RefundRequest, RefundState, Registry, checkout, provider_of};

    struct Silent;

    impl Provider for Silent {
        fn name(&self) -> ProviderName {
            ProviderName::Sandbox
        }

        async fn refund(&self, _request: &RefundRequest) -> Result<RefundState, ProviderError> {
            std::future::pending().await
        }

        async fn find_refund(&self, _request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
            std::future::pending().await
        }
    }

    #[test]
    fn a_payment_is_paid_with_the_provider_that_its_method_belongs_to() {
        let payment_id = PaymentId(Uuid::from_u128(1));
        for payment_method in ["", "sandbox:late", "card", "sandbox:suceed"] {
            let checkout = checkout(payment_id, payment_method);
            assert_eq!(checkout.provider, provider_of(payment_method).as_str());
            assert_eq!(checkout.provider, "sandbox", "what is no other's is the sandbox's, readable or not");
        }
    }

    #[test]
    fn a_provider_is_found_by_the_name_that_a_payment_was_requested_with() {
        let registry = Registry::new(vec![Silent]);
        let checkout = checkout(PaymentId(Uuid::from_u128(1)), "");
        assert_eq!(registry.find(&checkout.provider).map(Provider::name), Ok(ProviderName::Sandbox));
    }

    #[test]
    fn a_name_that_no_adapter_has_is_refused_with_the_names_that_there_are() {
        for name in ["card", "Sandbox", "sandbox ", ""] {
            let refused = Registry::new(vec![Silent]).find(name).map(Provider::name).unwrap_err();
            assert_eq!(refused.code, "UNKNOWN_PROVIDER");
            assert!(refused.reason.contains(&format!("{name:?}")) && refused.reason.contains("sandbox"), "{refused}");
        }
    }
}
