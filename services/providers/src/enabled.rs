//! Which providers take new payments: a setting of the shop. What was agreed before it changed is no matter of this: only who took the
//! money can give it back, so the adapters stay.

use domain::Rejection;
use platform::config::Config;

use crate::{ProviderName, sandbox, stripe, wallet};

/// The most characters of a payment method that a refusal repeats.
const SHOWN_MAX: usize = 40;

/// The providers that take new payments. The first takes those of buyers who say nothing of how they pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enabled {
    default: ProviderName,
    others: Vec<ProviderName>,
}

impl Enabled {
    /// These, of which the first is the default.
    #[must_use]
    pub const fn new(default: ProviderName, others: Vec<ProviderName>) -> Self {
        Self { default, others }
    }

    /// Those of the setting `payments.providers`. If it is empty: Stripe and wallets where there is a key for Stripe, for there money is
    /// real; and else the sandbox and wallets.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut providers = config.payments.providers.split(',').filter_map(|name| named(name.trim()));
        let has_key = !config.stripe.secret_key.is_empty();
        let usual = if has_key { ProviderName::Stripe } else { ProviderName::Sandbox };
        match providers.next() {
            Some(default) => Self::new(default, providers.collect()),
            None => Self::new(usual, vec![ProviderName::Wallet]),
        }
    }

    /// Whether this one takes new payments.
    #[must_use]
    pub fn has(&self, provider: ProviderName) -> bool {
        self.default == provider || self.others.contains(&provider)
    }

    /// How the buyer pays who has said this: as they said, or with the first of these providers if they said nothing.
    ///
    /// # Errors
    /// `PAYMENT_METHOD_NOT_TAKEN`: it is of none of these providers.
    pub fn payment_method<'a>(&self, said: &'a str) -> Result<&'a str, Rejection> {
        if said.is_empty() {
            return Ok(match self.default {
                // Of all orders that were ever placed without a word the sandbox is asked.
                ProviderName::Sandbox => said,
                ProviderName::Stripe => stripe::NAME,
                ProviderName::Wallet => wallet::NAME,
            });
        }
        let provider = said.split_once(':').map_or(said, |(provider, _)| provider);
        match named(provider).filter(|provider| self.has(*provider)) {
            Some(_) => Ok(said),
            None => Err(Rejection::new(
                "PAYMENT_METHOD_NOT_TAKEN",
                format!(
                    "payment_method {:?} is of no provider that takes payments here: send one of {}; the setting payments.providers says which",
                    said.chars().take(SHOWN_MAX).collect::<String>(),
                    self.names().join(", ")
                ),
            )),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        std::iter::once(&self.default).chain(&self.others).map(|provider| provider.as_str()).collect()
    }
}

fn named(name: &str) -> Option<ProviderName> {
    match name {
        sandbox::NAME => Some(ProviderName::Sandbox),
        stripe::NAME => Some(ProviderName::Stripe),
        wallet::NAME => Some(ProviderName::Wallet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use platform::config::Config;

    use super::{Enabled, ProviderName};

    fn enabled(providers: &str, has_key: bool) -> Enabled {
        let mut config = Config::read(&BTreeMap::new()).unwrap();
        providers.clone_into(&mut config.payments.providers);
        if has_key {
            "key".clone_into(&mut config.stripe.secret_key);
        }
        Enabled::of(&config)
    }

    fn taken(enabled: &Enabled, said: &str) -> Result<String, String> {
        enabled
            .payment_method(said)
            .map(str::to_owned)
            .map_err(|refused| format!("{}: {}", refused.code, refused.reason))
    }

    #[test]
    fn without_a_setting_there_is_no_sandbox_where_there_is_a_key_for_stripe() {
        assert_eq!(enabled("", false).names(), ["sandbox", "wallet"]);
        assert_eq!(enabled("", true).names(), ["stripe", "wallet"]);
        assert!(!enabled("", true).has(ProviderName::Sandbox));
    }

    #[test]
    fn a_setting_says_all_and_the_first_is_the_default() {
        assert_eq!(enabled("wallet", true).names(), ["wallet"]);
        assert_eq!(enabled("stripe, sandbox", true).names(), ["stripe", "sandbox"]);
        for (providers, method) in [("sandbox,stripe", ""), ("stripe,sandbox", "stripe"), ("wallet,stripe", "wallet")] {
            assert_eq!(taken(&enabled(providers, false), ""), Ok(method.to_owned()), "{providers}");
        }
    }

    #[test]
    fn what_is_of_no_enabled_provider_is_refused_with_those_that_there_are() {
        let real = enabled("", true);
        for said in ["stripe", "stripe:", "stripe:card", "wallet", "wallet:ada"] {
            assert_eq!(taken(&real, said), Ok(said.to_owned()));
        }
        for said in ["sandbox:succeed", "sandbox", "card", "Stripe", " stripe", ":stripe", ":", "stripes", "\u{202e}"] {
            let refused = taken(&real, said).unwrap_err();
            assert!(
                refused.starts_with("PAYMENT_METHOD_NOT_TAKEN: ") && refused.contains("stripe, wallet"),
                "{refused}"
            );
        }
        let toy = enabled("", false);
        assert_eq!(taken(&toy, "sandbox:suceed"), Ok("sandbox:suceed".to_owned()), "what it cannot read it closes");
        assert!(taken(&toy, "stripe").is_err() && taken(&toy, "card").is_err());
    }

    #[test]
    fn a_refusal_is_short() {
        assert!(taken(&enabled("", false), &"\u{1}".repeat(256)).unwrap_err().len() < 512);
    }
}
