//! Stripe as a process's settings have it: the one place where a file is read for it.

use std::{fs, time::Duration};

use platform::{
    config::{self, ms},
    error::Error,
};
use uuid::Uuid;

use super::{Capture, Settings, Stripe};

impl Stripe {
    /// Stripe, if there is a key for it: for the payments of this fleet, with so much time for a call.
    ///
    /// # Errors
    /// The file of the key cannot be read, or the settings would not do.
    pub fn set_up(settings: &config::Stripe, fleet: Uuid, timeout: Duration) -> Result<Option<Self>, Error> {
        if settings.secret_key.is_empty() {
            return Ok(None);
        }
        let refuse = |source: Box<dyn std::error::Error + Send + Sync>| Error::Permanent {
            what: "making ready for Stripe (settings stripe.*)",
            source,
        };
        let secret_key = fs::read_to_string(&settings.secret_key).map_err(|error| refuse(error.into()))?;
        let stripe = Self::new(Settings {
            url: settings.url.clone(),
            secret_key: secret_key.trim().to_owned(),
            timeout,
            success_url: settings.success_url.clone(),
            cancel_url: settings.cancel_url.clone(),
            fleet: fleet.to_string(),
            allow_live: settings.allow_live,
            capture: if settings.capture == "on_paid" { Capture::OnPaid } else { Capture::AtOnce },
            missed_every: (settings.missed_ms > 0).then(|| ms(settings.missed_ms)),
        });
        stripe.map(Some).map_err(|error| refuse(error.into()))
    }
}
