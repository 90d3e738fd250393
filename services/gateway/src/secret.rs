//! Secrets of the gateway's own, that somebody has made for it: each in a file, and too long to be guessed.

use platform::{error::Error, secret_file::SecretFile};

/// The fewest characters of a secret.
const CHARS_MIN: usize = 32;

/// Reads the file that a setting names, and makes of it what it is for. `None`: the setting is empty.
///
/// # Errors
/// The file cannot be read, or nothing can be made of it.
pub(crate) fn read<T: 'static>(
    (setting, what): (&'static str, &'static str),
    path: &str,
    of: fn(&str) -> Result<T, String>,
) -> Result<Option<SecretFile<T>>, Error> {
    if path.is_empty() {
        return Ok(None);
    }
    let file = SecretFile::read(setting, path, move |text| of(text.trim()));
    file.map(Some).map_err(|reason| Error::Permanent { what, source: reason.into() })
}

/// That nobody guesses it.
///
/// # Errors
/// It is too short.
pub(crate) fn is_long_enough(secret: &str) -> Result<(), String> {
    let count = secret.chars().count();
    if count < CHARS_MIN {
        return Err(format!("the secret has {count} characters; {CHARS_MIN} is the least: openssl rand -hex 32"));
    }
    Ok(())
}
