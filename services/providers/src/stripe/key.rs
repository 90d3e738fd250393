//! The secret key: looked at before it is used, and never repeated.

use std::sync::Arc;

use hyper::header::HeaderValue;
use platform::secret_file::SecretFile;

use super::{Mode, StripeSetupError};

/// What stands in a text in the place of the key.
const HIDDEN: &str = "(the key)";

/// A key.
pub(super) struct Key {
    text: String,
    /// As a call has it.
    pub(super) authorization: HeaderValue,
}

impl Key {
    /// Looks at a key, of which it is known whether it may move real money.
    ///
    /// # Errors
    /// It is none, or of the other mode.
    pub(super) fn parse(text: &str, allow_live: bool) -> Result<Self, StripeSetupError> {
        match (mode_of(text).ok_or(StripeSetupError::Key)?, allow_live) {
            (Mode::Live, false) => return Err(StripeSetupError::LiveKey),
            (Mode::Test, true) => return Err(StripeSetupError::TestKey),
            (Mode::Live, true) | (Mode::Test, false) => {}
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {text}")).ok().ok_or(StripeSetupError::Key)?;
        authorization.set_sensitive(true);
        Ok(Self { text: text.to_owned(), authorization })
    }

    /// Whoever is taken for Stripe may repeat what it was sent.
    pub(super) fn hide(&self, text: &str) -> String {
        text.replace(&self.text, HIDDEN)
    }
}

fn mode_of(key: &str) -> Option<Mode> {
    let kinds =
        [("sk_test_", Mode::Test), ("rk_test_", Mode::Test), ("sk_live_", Mode::Live), ("rk_live_", Mode::Live)];
    let (secret, mode) = kinds.into_iter().find_map(|(begin, mode)| Some((key.strip_prefix(begin)?, mode)))?;
    let is_key = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_key.then_some(mode)
}

/// Where the key is from.
pub(super) enum Source {
    Given(Arc<Key>),
    File(SecretFile<Key>),
}

impl Source {
    /// The key that is good now.
    pub(super) fn current(&self) -> Arc<Key> {
        match self {
            Self::Given(key) => Arc::clone(key),
            Self::File(file) => file.current(),
        }
    }
}
