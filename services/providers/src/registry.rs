//! The providers of this program, by name: which of them a payment goes to, and which adapter a name stands for. A new provider is a
//! variant of [`ProviderName`] and one of [`Adapter`]; the compiler names each `match` that must know it.

use std::time::Duration;

use domain::{Money, PaymentId, Rejection, Timestamp};
use futures::future::join_all;

use crate::{
    AuthorisationRef, Checkout, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenedCheckout,
    Provider, ProviderContext, ProviderError, RefundRequest, RefundState, Told,
    sandbox::{self, Sandbox},
    stripe::{self, Stripe},
    wallet::{self, Wallet},
};

/// How long a page of Stripe's stays open at least, from when its payment was requested. Stripe opens none for less than 30 minutes, and the
/// call for it may have to wait as long.
const STRIPE_PAGE_MIN: Duration = Duration::from_mins(60);

/// And at most: Stripe opens none for more than a day.
const STRIPE_PAGE_MAX: Duration = Duration::from_mins(23 * 60 + 59);

/// The name of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderName {
    /// [`Sandbox`].
    Sandbox,
    /// [`Stripe`].
    Stripe,
    /// [`Wallet`].
    Wallet,
}

impl ProviderName {
    /// The name, as events have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => sandbox::NAME,
            Self::Stripe => stripe::NAME,
            Self::Wallet => wallet::NAME,
        }
    }
}

/// Which provider a payment goes to, given how the buyer pays. The sandbox takes whatever is no other's: what it cannot read it closes
/// unpaid, and says why, so that no order waits for a provider that does not exist.
#[must_use]
pub fn provider_of(payment_method: &str) -> ProviderName {
    match payment_method.split_once(':').map_or(payment_method, |(provider, _)| provider) {
        stripe::NAME => ProviderName::Stripe,
        wallet::NAME => ProviderName::Wallet,
        _ => ProviderName::Sandbox,
    }
}

/// Whether so much can be paid so. Asked before anything is held for an order that could not be paid.
///
/// # Errors
/// The provider takes no such amount, see [`stripe::amount::accepts`]. The sandbox takes any, and so does a wallet, which may have it.
pub fn accepts(payment_method: &str, amount: Money) -> Result<(), Rejection> {
    match provider_of(payment_method) {
        ProviderName::Sandbox | ProviderName::Wallet => Ok(()),
        ProviderName::Stripe => stripe::amount::accepts(amount),
    }
}

/// Where a payment is paid, given how. Pure, for it becomes part of an event: the same payment always gets the same answer.
#[must_use]
pub fn checkout(payment_id: PaymentId, payment_method: &str) -> Checkout {
    match provider_of(payment_method) {
        ProviderName::Sandbox => sandbox::checkout(payment_id, payment_method),
        ProviderName::Stripe => stripe::page(),
        ProviderName::Wallet => wallet::page(),
    }
}

/// Until when a page can be paid on whose payment was requested at `at`, and must be paid by `expires_at`: providers have limits of their
/// own. A page that outlives its order is closed by a call. Pure, for it becomes part of an event.
#[must_use]
pub fn checkout_ends(provider: ProviderName, at: Timestamp, expires_at: Timestamp) -> Timestamp {
    match provider {
        ProviderName::Sandbox | ProviderName::Wallet => expires_at,
        ProviderName::Stripe => expires_at.max(at + STRIPE_PAGE_MIN).min(at + STRIPE_PAGE_MAX),
    }
}

/// Whether what this provider reports may be lost for ever, so that a page of which nothing was heard is looked at before it is closed. Pure, for
/// when that is becomes part of an event.
#[must_use]
pub const fn is_looked_at(provider: ProviderName) -> bool {
    match provider {
        // The sandbox reports as long as it is not heard, and what a wallet has set aside is known by the call that opens its page.
        ProviderName::Sandbox | ProviderName::Wallet => false,
        ProviderName::Stripe => true,
    }
}

/// An adapter to one of the providers. An enum, for the futures of [`Provider`] do not allow `dyn`.
#[derive(Debug, Clone)]
pub enum Adapter {
    /// To the sandbox.
    Sandbox(Sandbox),
    /// To Stripe.
    Stripe(Stripe),
    /// To the wallets that are kept here.
    Wallet(Wallet),
}

impl Provider for Adapter {
    fn name(&self) -> ProviderName {
        match self {
            Self::Sandbox(sandbox) => sandbox.name(),
            Self::Stripe(stripe) => stripe.name(),
            Self::Wallet(wallet) => wallet.name(),
        }
    }

    fn try_time_max(&self) -> Option<Duration> {
        match self {
            Self::Sandbox(sandbox) => sandbox.try_time_max(),
            Self::Stripe(stripe) => stripe.try_time_max(),
            Self::Wallet(wallet) => wallet.try_time_max(),
        }
    }

    async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.open_checkout(request).await,
            Self::Stripe(stripe) => stripe.open_checkout(request).await,
            Self::Wallet(wallet) => wallet.open_checkout(request).await,
        }
    }

    fn opens_with_money(&self) -> bool {
        match self {
            Self::Sandbox(sandbox) => sandbox.opens_with_money(),
            Self::Stripe(stripe) => stripe.opens_with_money(),
            Self::Wallet(wallet) => wallet.opens_with_money(),
        }
    }

    async fn close_checkout(&self, checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.close_checkout(checkout).await,
            Self::Stripe(stripe) => stripe.close_checkout(checkout).await,
            Self::Wallet(wallet) => wallet.close_checkout(checkout).await,
        }
    }

    async fn look_at_checkout(&self, checkout: &CheckoutRef) -> Result<Option<ClosedCheckout>, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.look_at_checkout(checkout).await,
            Self::Stripe(stripe) => stripe.look_at_checkout(checkout).await,
            Self::Wallet(wallet) => wallet.look_at_checkout(checkout).await,
        }
    }

    async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.capture(authorisation).await,
            Self::Stripe(stripe) => stripe.capture(authorisation).await,
            Self::Wallet(wallet) => wallet.capture(authorisation).await,
        }
    }

    async fn void(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.void(authorisation).await,
            Self::Stripe(stripe) => stripe.void(authorisation).await,
            Self::Wallet(wallet) => wallet.void(authorisation).await,
        }
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.refund(request).await,
            Self::Stripe(stripe) => stripe.refund(request).await,
            Self::Wallet(wallet) => wallet.refund(request).await,
        }
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.find_refund(request).await,
            Self::Stripe(stripe) => stripe.find_refund(request).await,
            Self::Wallet(wallet) => wallet.find_refund(request).await,
        }
    }

    fn missed_every(&self) -> Option<Duration> {
        match self {
            Self::Sandbox(sandbox) => sandbox.missed_every(),
            Self::Stripe(stripe) => stripe.missed_every(),
            Self::Wallet(wallet) => wallet.missed_every(),
        }
    }

    async fn missed(&self, since: Timestamp) -> Result<Vec<Told>, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.missed(since).await,
            Self::Stripe(stripe) => stripe.missed(since).await,
            Self::Wallet(wallet) => wallet.missed(since).await,
        }
    }

    async fn brought(&self, since: Timestamp) -> Result<Vec<Told>, ProviderError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.brought(since).await,
            Self::Stripe(stripe) => stripe.brought(since).await,
            Self::Wallet(wallet) => wallet.brought(since).await,
        }
    }

    async fn background(&self, context: ProviderContext) {
        match self {
            Self::Sandbox(sandbox) => sandbox.background(context).await,
            Self::Stripe(stripe) => stripe.background(context).await,
            Self::Wallet(wallet) => wallet.background(context).await,
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

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, P> {
        self.adapters.iter()
    }

    /// Whatever must run beside the worker for any of the providers, until the context's shutdown is pulled.
    pub async fn background(&self, context: ProviderContext) {
        join_all(self.adapters.iter().map(|adapter| adapter.background(context.clone()))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::{Currency, Money, PaymentId, Timestamp};
    use uuid::Uuid;

    use super::{
        AuthorisationRef, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenedCheckout, Provider,
        ProviderError, ProviderName, RefundRequest, RefundState, Registry, accepts, checkout, checkout_ends,
        provider_of,
    };

    struct Silent;

    impl Provider for Silent {
        fn name(&self) -> ProviderName {
            ProviderName::Sandbox
        }

        async fn open_checkout(&self, _request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
            std::future::pending().await
        }

        async fn close_checkout(&self, _checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
            std::future::pending().await
        }

        async fn capture(&self, _authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
            std::future::pending().await
        }

        async fn void(&self, _authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
            std::future::pending().await
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
        for payment_method in
            ["", "sandbox:late", "card", "sandbox:suceed", "Stripe", "stripes", " stripe", ":stripe", "Wallet"]
        {
            let checkout = checkout(payment_id, payment_method);
            assert_eq!(checkout.provider, provider_of(payment_method).as_str());
            assert_eq!(checkout.provider, "sandbox", "what is no other's is the sandbox's, readable or not");
            assert!(!checkout.needs_call(), "{payment_method}");
        }
        for payment_method in ["stripe", "stripe:", "stripe:card", "stripe:a:b"] {
            let checkout = checkout(payment_id, payment_method);
            assert_eq!(checkout.provider, provider_of(payment_method).as_str());
            assert!(checkout.provider == "stripe" && checkout.needs_call(), "{checkout:?}");
        }
        for payment_method in ["wallet", "wallet:", "wallet:ada", "wallet:a:b"] {
            let checkout = checkout(payment_id, payment_method);
            assert_eq!(checkout.provider, provider_of(payment_method).as_str());
            assert!(checkout.provider == "wallet" && checkout.needs_call(), "{checkout:?}");
        }
    }

    #[test]
    fn an_amount_that_the_provider_does_not_take_is_refused() {
        let cent = Money { minor_units: 1, currency: Currency::parse("EUR").unwrap() };
        assert_eq!(accepts("sandbox:succeed", cent), Ok(()));
        assert_eq!(accepts("stripe", cent).unwrap_err().code, "AMOUNT_TOO_SMALL");
        assert_eq!(accepts("stripe:card", Money { minor_units: 50, ..cent }), Ok(()));
    }

    #[test]
    fn a_page_lives_as_long_as_its_order_within_the_providers_limits() {
        let at = Timestamp::from_micros(1_790_000_000_123_456);
        let ends =
            |provider, minutes| checkout_ends(provider, at, at + Duration::from_mins(minutes)).since(at).as_secs() / 60;
        let week = 7 * 24 * 60;
        for (expires, sandbox, stripe) in
            [(0, 0, 60), (30, 30, 60), (61, 61, 61), (1_439, 1_439, 1_439), (week, week, 1_439)]
        {
            assert_eq!((ends(ProviderName::Sandbox, expires), ends(ProviderName::Stripe, expires)), (sandbox, stripe));
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
