//! The service with the providers that its settings name.

use platform::{config::ms, error::Error};
use providers::{
    Adapter, Enabled, ProviderName, Registry,
    sandbox::Sandbox,
    stripe::Stripe,
    wallet::{OverBroker, Wallet},
};
use runtime::Context;

use crate::Payments;

fn no_key() -> Error {
    Error::Permanent {
        what: "making ready for Stripe, which the setting payments.providers names",
        source: "stripe.secret_key names no file".into(),
    }
}

/// The sandbox, which gives back what it took even where it takes nothing any more.
fn sandbox(context: &Context, enabled: &Enabled) -> Sandbox {
    let sandbox = Sandbox::new(&context.pool);
    if !enabled.has(ProviderName::Sandbox) {
        return sandbox.disabled();
    }
    if !context.config.stripe.secret_key.is_empty() {
        tracing::warn!("the sandbox is enabled beside Stripe: orders that name it are paid and no money comes");
    }
    sandbox
}

/// The service, with every provider that is configured.
///
/// # Errors
/// A provider's settings cannot be used.
pub fn with_providers(context: &Context) -> Result<Payments, Error> {
    // Less than the runtime allows, so that payments decides what a silence means.
    let try_time_max = ms(context.config.effects.call_ms / 2);
    let enabled = Enabled::of(&context.config);
    let mut adapters = vec![Adapter::Sandbox(sandbox(context, &enabled))];
    // Less than a try may take, so that a silence is told of as one.
    let wallets = OverBroker::new(context.broker.client.clone(), context.pool.clone(), try_time_max / 2);
    adapters.push(Adapter::Wallet(Wallet::new(wallets)));
    match Stripe::set_up(&context.config.stripe, context.lineage.installation, ms(context.config.stripe.call_ms))? {
        Some(stripe) => adapters.push(Adapter::Stripe(stripe)),
        None if enabled.has(ProviderName::Stripe) => return Err(no_key()),
        None => {}
    }
    Ok(Payments::new(Registry::new(adapters), try_time_max))
}
