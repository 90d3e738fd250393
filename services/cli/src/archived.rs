//! Where that part of the log is that was archived: an option of all who read the log from its beginning.

use std::path::PathBuf;

use audit::archive::LogAt;

/// The option.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Archived {
    /// Where the beginning of the log was archived to; may be said again. Needed once any of it was.
    #[arg(long = "archive", value_name = "DIR")]
    pub(crate) directories: Vec<PathBuf>,
}

impl Archived {
    /// The log in this database, with what was archived of it.
    pub(crate) fn with<'a>(&'a self, database_url: &'a str) -> LogAt<'a> {
        LogAt { database_url, archive: &self.directories }
    }
}
