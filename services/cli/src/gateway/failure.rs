//! What went wrong on the way through the gateway, and the exit code that says so to a script.

use std::fmt::{self, Display, Formatter};

use anyhow::Error;

/// A sentence for people, and an exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// 1 to 5.
    pub code: u8,
    words: String,
}

/// There is no such thing.
pub(crate) const UNKNOWN: u8 = 1;
/// It was asked for in a way that cannot be.
pub(crate) const USAGE: u8 = 2;
/// The gateway is away, or something behind it.
pub(crate) const AWAY: u8 = 3;
/// The token is not known, or not good for this.
pub(crate) const FORBIDDEN: u8 = 4;
/// What is asked for does not go with how things stand.
pub(crate) const CONFLICT: u8 = 5;

impl Failure {
    /// As an error that says its exit code.
    pub(crate) fn error(code: u8, words: impl Into<String>) -> Error {
        Self { code, words: words.into() }.into()
    }

    /// The exit code of a status that is no success.
    pub(crate) const fn code_of(status: u16) -> u8 {
        match status {
            404 | 410 => UNKNOWN,
            401 | 403 => FORBIDDEN,
            409 | 412 | 422 => CONFLICT,
            400 | 405 | 406 | 411 | 413 | 414 | 415 => USAGE,
            _ => AWAY,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Failure {}
