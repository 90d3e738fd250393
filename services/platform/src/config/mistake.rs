//! What is wrong with settings: every mistake at once, so that nobody has to start a process once for each.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A file could not be read.
    #[error("cannot read the settings file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A file is not TOML of the right layout.
    #[error("settings in {origin}: {reason}")]
    Layout {
        /// The file.
        origin: String,
        /// Where and why.
        reason: String,
    },
    /// A variable of the environment names no setting, or has a value of the wrong kind.
    #[error("environment variable {name}: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// What to write instead.
        reason: String,
    },
    /// A value is outside its limits.
    #[error("setting {setting}: {reason}")]
    Limit {
        /// `section.key`.
        setting: String,
        /// The limits.
        reason: String,
    },
}

/// All that is wrong with the settings of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Mistake>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [mistake] = self.0.as_slice() {
            return write!(f, "{mistake}");
        }
        write!(f, "{} mistakes in the settings:", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
