//! What every verb of an operator is told: why, and who says so.

use clap::builder::NonEmptyStringValueParser;

/// Options of a verb that somebody answers for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Why {
    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Who says so. Of what is noted in the database, so is its role.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) actor: Option<String>,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Why {
    /// Why. `None`: nothing is to be done.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.dry_run)
    }
}

/// What the command of a verb says of it.
pub(crate) struct Said {
    pub(crate) actor: String,
    pub(crate) note: String,
}

impl Why {
    /// What a command is to say. `None`: it is to be sent, and nobody is named who answers for it.
    pub(crate) fn said(&self) -> Option<Said> {
        let actor = match (&self.actor, self.dry_run) {
            (Some(actor), _) => actor.clone(),
            (None, true) => "nobody yet".to_owned(),
            (None, false) => {
                eprintln!("holdfast: who says so? The command bears a name: --actor NAME");
                return None;
            }
        };
        Some(Said { actor, note: self.reason.clone().unwrap_or_else(|| "not said yet".to_owned()) })
    }
}

/// The same, with what to do about a role that may not.
pub(crate) fn explained(error: anyhow::Error) -> anyhow::Error {
    let database = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    let code = database.and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
    match code.map(|code| code.into_owned()).as_deref() {
        Some("42501") => error.context(
            "this role may not act: use the owner of the database, or a login that was granted holdfast_operator",
        ),
        _ => error,
    }
}
