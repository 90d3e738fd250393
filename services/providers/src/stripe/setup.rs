//! Stripe as a process's settings have it, with the key that a file says.

use std::time::Duration;

use platform::{
    config::{self, ms},
    error::Error,
    secret_file::SecretFile,
};
use uuid::Uuid;

use super::{
    Capture, Settings, Stripe,
    key::{Key, Source},
};

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
        let allow_live = settings.allow_live;
        let parse = move |text: &str| Key::parse(text.trim(), allow_live).map_err(|error| error.to_string());
        let key = SecretFile::read("stripe.secret_key", &settings.secret_key, parse);
        let key = Source::File(key.map_err(|reason| refuse(reason.into()))?);
        let settings = Settings {
            url: settings.url.clone(),
            timeout,
            success_url: settings.success_url.clone(),
            cancel_url: settings.cancel_url.clone(),
            fleet: fleet.to_string(),
            allow_live,
            capture: if settings.capture == "on_paid" { Capture::OnPaid } else { Capture::AtOnce },
            missed_every: (settings.missed_ms > 0).then(|| ms(settings.missed_ms)),
        };
        Self::with(settings, key).map(Some).map_err(|error| refuse(error.into()))
    }
}
