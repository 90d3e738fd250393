//! Where the keys are: a file that is read again when it changes, or a page that is asked again when a token names a key that is not known.

use std::time::Duration;

use platform::web::Web;

use super::keys::BYTES_MAX;

/// How long the page may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) enum Source {
    File(String),
    Page { url: String, web: Web },
}

impl Source {
    /// A file by its path, or a page by its URL.
    ///
    /// # Errors
    /// There can be no TLS.
    pub(super) fn of(setting: &str) -> Result<Self, String> {
        if !["https://", "http://"].iter().any(|scheme| setting.starts_with(scheme)) {
            return Ok(Self::File(setting.to_owned()));
        }
        Ok(Self::Page { url: setting.to_owned(), web: Web::new(ANSWER_WITHIN, BYTES_MAX)? })
    }

    /// What it says now.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn text(&self) -> Result<String, String> {
        let bytes = match self {
            Self::File(path) => std::fs::read(path).map_err(|error| format!("{path}: {error}"))?,
            Self::Page { url, web } => web.get(url).await?,
        };
        if bytes.len() > BYTES_MAX {
            return Err(format!("it has {} bytes; {BYTES_MAX} is the most", bytes.len()));
        }
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }
}
