//! Stripe: pages to pay on that Stripe hosts, and refunds, over its HTTP API; what it reports comes by [`webhook`].
//!
//! What is sent is pure (`form`), as are how amounts are written ([`amount`]), what an answer means (`answer`) and whose turn it is
//! (`limit`); only `http` talks to Stripe. What is sent has no part of chance and none of the clock: the same request again is the same in
//! every byte, which Stripe insists on under a used key.

use std::{fmt, sync::Arc, time::Duration};

use domain::Timestamp;
use hyper::Uri;

use crate::{
    AuthorisationRef, Checkout, CheckoutRef, CheckoutRequest, ClosedCheckout, EndedAuthorisation, OpenedCheckout,
    Provider, ProviderError, ProviderName, RefundRequest, RefundState, Told,
};

pub mod amount;
mod answer;
mod authorisation;
mod checkout;
mod form;
mod http;
mod key;
mod limit;
mod missed;
mod object;
mod refund;
mod setup;
#[cfg(test)]
mod stage;
pub mod webhook;

use http::Api;
use key::{Key, Source};

/// Its name in events.
pub const NAME: &str = "stripe";

/// Where Stripe is.
pub const URL: &str = "https://api.stripe.com";

/// How long a call may take, unless it is said otherwise: Stripe is rarely slow, but a call that is given up early is an outcome that
/// nobody knows.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The most requests of one try: a page that is closed, looked at, and its charge looked at. A list of refunds that has more than one page is
/// rarer than a provider that takes all its time.
const REQUESTS_MAX: u32 = 3;

/// The version of the API that all calls and webhooks are written in.
pub const API_VERSION: &str = "2026-10-28.endive";

/// How Stripe is reached, and what it is told of this shop.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is, see [`URL`].
    pub url: String,
    /// How long a call may take once it is its turn, see [`TIMEOUT`]. It waits for that no longer than three quarters of this.
    pub timeout: Duration,
    /// The shop's page for buyers who have paid.
    pub success_url: String,
    /// The shop's page for buyers who have turned back.
    pub cancel_url: String,
    /// Whose payments these are: an account may be shared, and a copied shop has the same payments.
    pub fleet: String,
    /// Whether the key is to be one that moves real money.
    pub allow_live: bool,
    /// How often to ask for events that no webhook has brought. `None`: never.
    pub missed_every: Option<Duration>,
    /// When a buyer's money is taken.
    pub capture: Capture,
}

/// When a buyer's money is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// When the buyer pays.
    AtOnce,
    /// When the order can be paid with it. Until then it is set aside, and what is of no use is let go: nothing is charged, so nothing has to
    /// be given back.
    OnPaid,
}

/// Why there is no Stripe with these settings. No text of it has the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StripeSetupError {
    /// The key is none.
    #[error("the secret key is none of Stripe's: one begins with sk_test_, rk_test_, sk_live_ or rk_live_")]
    Key,
    /// The key moves real money.
    #[error("the secret key moves real money, which the setting allow_live does not allow")]
    LiveKey,
    /// The key moves no real money, and webhooks that tell of real money are expected.
    #[error("the secret key is one of the test mode, and the setting allow_live is for a key that moves real money")]
    TestKey,
    /// Where Stripe is cannot be read.
    #[error("{0:?} is not where Stripe is: give an address such as https://api.stripe.com")]
    Url(String),
    /// The key would go over a network in clear text.
    #[error("{0:?} is on a network, where the secret key must not go in clear text: give an https address")]
    PlainText(String),
    /// A page of the shop is none.
    #[error("the setting {0} is no address of a page: one begins with https:// or http://")]
    Page(&'static str),
    /// There is no time for a call.
    #[error("a call must have some time")]
    Timeout,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Which of Stripe's two worlds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Test,
    Live,
}

/// The provider Stripe.
#[derive(Clone)]
pub struct Stripe {
    api: Arc<Api>,
    settings: Arc<Settings>,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Stripe {
    /// Makes ready for calls, with the secret or restricted key: `sk_…` or `rk_…`. Makes none.
    ///
    /// # Errors
    /// The key or the settings would not do, see [`StripeSetupError`].
    pub fn new(settings: Settings, key: &str) -> Result<Self, StripeSetupError> {
        let key = Key::parse(key, settings.allow_live)?;
        Self::with(settings, Source::Given(Arc::new(key)))
    }

    fn with(settings: Settings, key: Source) -> Result<Self, StripeSetupError> {
        check_url(&settings.url)?;
        for (name, page) in [("success_url", &settings.success_url), ("cancel_url", &settings.cancel_url)] {
            if !["https://", "http://"].iter().any(|scheme| page.starts_with(scheme)) {
                return Err(StripeSetupError::Page(name));
            }
        }
        if settings.timeout.is_zero() {
            return Err(StripeSetupError::Timeout);
        }
        Ok(Self { api: Arc::new(Api::new(&settings, key)?), settings: Arc::new(settings) })
    }

    /// Whether a charge is of this fleet, on an account that may be shared. What we have said about it when we made its page tells.
    ///
    /// # Errors
    /// It could not be asked, or Stripe does not know the charge under this key.
    pub async fn is_ours(&self, reference: &str) -> Result<bool, ProviderError> {
        let intent = authorisation::read(&self.api, reference).await?;
        Ok(object::fleet(&intent.metadata) == self.settings.fleet)
    }
}

fn check_url(url: &str) -> Result<(), StripeSetupError> {
    let wrong = || StripeSetupError::Url(url.to_owned());
    let address = url.parse::<Uri>().ok().ok_or_else(wrong)?;
    let host = address.host().ok_or_else(wrong)?;
    let is_more = address.query().is_some() || !matches!(address.path(), "" | "/");
    match address.scheme_str() {
        Some("https" | "http") if is_more => Err(wrong()),
        Some("https") => Ok(()),
        Some("http") if is_loopback(host) => Ok(()),
        Some("http") => Err(StripeSetupError::PlainText(url.to_owned())),
        Some(_) | None => Err(wrong()),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What Stripe knows something by, if it can be a part of an address.
fn checked<'a>(reference: &'a str, what: &str) -> Result<&'a str, ProviderError> {
    if reference.is_empty() || !reference.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let words = format!("{:?} is no {what} of Stripe's", domain::legible(reference, 64));
        return Err(ProviderError::Misconfigured(words));
    }
    Ok(reference)
}

/// Where it has a payment paid: it must be called for that.
pub(crate) fn page() -> Checkout {
    Checkout { provider: NAME.to_owned(), reference: String::new(), url: String::new() }
}

impl Provider for Stripe {
    fn name(&self) -> ProviderName {
        ProviderName::Stripe
    }

    /// No try needs more than three requests, each of which may wait for its turn, too.
    fn try_time_max(&self) -> Option<Duration> {
        Some(REQUESTS_MAX * (self.settings.timeout + http::turn_max(self.settings.timeout)))
    }

    async fn open_checkout(&self, request: &CheckoutRequest) -> Result<OpenedCheckout, ProviderError> {
        checkout::open(&self.api, &self.settings, request).await.map(OpenedCheckout::unpaid)
    }

    async fn close_checkout(&self, checkout: &CheckoutRef) -> Result<ClosedCheckout, ProviderError> {
        checkout::close(&self.api, &checkout.reference).await
    }

    async fn look_at_checkout(&self, checkout: &CheckoutRef) -> Result<Option<ClosedCheckout>, ProviderError> {
        checkout::look(&self.api, &checkout.reference).await
    }

    async fn capture(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        authorisation::capture(&self.api, authorisation).await
    }

    async fn void(&self, authorisation: &AuthorisationRef) -> Result<EndedAuthorisation, ProviderError> {
        authorisation::void(&self.api, authorisation).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundState, ProviderError> {
        refund::send(&self.api, &self.settings.fleet, request).await
    }

    async fn find_refund(&self, request: &RefundRequest) -> Result<Option<RefundState>, ProviderError> {
        refund::find(&self.api, request).await
    }

    fn missed_every(&self) -> Option<Duration> {
        self.settings.missed_every
    }

    async fn missed(&self, since: Timestamp) -> Result<Vec<Told>, ProviderError> {
        missed::list(&self.api, &self.settings, since).await
    }

    async fn brought(&self, since: Timestamp) -> Result<Vec<Told>, ProviderError> {
        missed::brought(&self.api, &self.settings, since).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Settings, Stripe, StripeSetupError, key::Key, stage};

    fn settings() -> Settings {
        stage::settings("https://api.stripe.com")
    }

    fn refused(change: impl FnOnce(&mut Settings)) -> Option<StripeSetupError> {
        let mut settings = settings();
        change(&mut settings);
        Stripe::new(settings, stage::KEY).err()
    }

    fn refused_key(key: &str, allow_live: bool) -> Option<StripeSetupError> {
        Key::parse(key, allow_live).err()
    }

    #[test]
    fn nothing_that_is_printed_has_the_key() {
        let stripe = Stripe::new(settings(), stage::KEY).unwrap();
        for text in [format!("{stripe:?}"), format!("{stripe:#?}")] {
            assert!(!text.contains(stage::KEY) && !text.contains("sk_test"), "{text}");
            assert!(text.contains("api.stripe.com"), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_repeating_it() {
        for key in [
            "",
            " ",
            "sk_test_",
            "pk_test_1234",
            "whsec_1234",
            "sk_test_12 34",
            "sk_test_12\n",
            "SK_TEST_12",
            "rk_live_é",
        ] {
            let error = refused_key(key, false).unwrap();
            assert_eq!(error, StripeSetupError::Key, "{key:?}");
            assert!(key.trim().len() < 9 || !error.to_string().contains(key.trim()), "{error}");
        }
    }

    #[test]
    fn real_money_needs_a_word_and_the_word_needs_real_money() {
        for key in ["sk_live_1234", "rk_live_1234"] {
            assert_eq!(refused_key(key, false), Some(StripeSetupError::LiveKey));
            assert_eq!(refused_key(key, true), None);
        }
        assert_eq!(refused_key(stage::KEY, true), Some(StripeSetupError::TestKey));
        assert_eq!(refused_key("rk_test_1234", false), None);
        assert_eq!(refused(|settings| settings.allow_live = true), Some(StripeSetupError::TestKey));
    }

    #[test]
    fn the_key_goes_over_no_network_in_clear_text() {
        let with = |url: &str| refused(|settings| url.clone_into(&mut settings.url));
        for url in [
            "http://127.0.0.1:4242",
            "http://localhost:1/",
            "http://[::1]:80",
            "https://stripe.example",
            "http://127.8.8.8",
        ] {
            assert_eq!(with(url), None, "{url}");
        }
        for url in ["http://api.stripe.com", "http://10.0.0.1", "http://localhost.evil.example", "http://0.0.0.0:1"] {
            assert_eq!(with(url), Some(StripeSetupError::PlainText(url.to_owned())));
        }
        for url in ["", "api.stripe.com", "ftp://127.0.0.1", "/v1", "https://api.stripe.com/v1", "https://a.example/?b"]
        {
            assert_eq!(with(url), Some(StripeSetupError::Url(url.to_owned())), "{url}");
        }
    }

    #[test]
    fn pages_and_time_must_be_given() {
        assert_eq!(refused(|settings| settings.success_url.clear()), Some(StripeSetupError::Page("success_url")));
        let no_page = refused(|settings| "shop.example".clone_into(&mut settings.cancel_url));
        assert_eq!(no_page, Some(StripeSetupError::Page("cancel_url")));
        assert_eq!(refused(|settings| settings.timeout = std::time::Duration::ZERO), Some(StripeSetupError::Timeout));
        let with_id = "https://shop.example/thanks?id={CHECKOUT_SESSION_ID}";
        assert_eq!(refused(|settings| with_id.clone_into(&mut settings.success_url)), None);
    }
}
