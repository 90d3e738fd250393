//! What every verb of an operator is told: why, and who says so.

use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;

use crate::{gateway::Gateway, global_args::GlobalArgs};

/// Options of a verb that somebody answers for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Why {
    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Who says so: needed where the command goes to the fleet's own servers. Of what is noted in the database, so is its role.
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

/// How the command of a verb goes.
pub(crate) enum Way {
    /// To the fleet's own servers.
    Servers,
    /// Through the gateway, as whom the token says.
    Gateway(Box<Gateway>),
}

/// Options of a verb that may go through the gateway.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Meant {
    /// Do not ask first, where a context is production.
    #[arg(long)]
    pub(crate) yes: bool,
}

impl Way {
    /// Through the gateway if a context is in use and no servers are named.
    pub(crate) fn of(global: &GlobalArgs) -> Result<Self> {
        Ok(Gateway::if_in_use(global)?.map_or(Self::Servers, |gateway| Self::Gateway(gateway.into())))
    }
}

impl Why {
    /// What a command is to say that goes this way. `None`: it is not to go, and it is said why.
    pub(crate) fn said(&self, way: &Way, what: &str, meant: Meant) -> Result<Option<Said>> {
        let note = self.reason.clone().unwrap_or_else(|| "not said yet".to_owned());
        let actor = match (way, &self.actor) {
            (Way::Gateway(_), Some(_)) => {
                eprintln!("holdfast: through the gateway you are who your token says: leave --actor out");
                return Ok(None);
            }
            (Way::Gateway(_), None) if self.dry_run => {
                eprintln!("holdfast: the gateway cannot say what it would do: --dry-run needs --database-url");
                return Ok(None);
            }
            (Way::Gateway(gateway), None) => {
                if !gateway.is_meant(what, meant.yes)? {
                    return Ok(None);
                }
                String::new()
            }
            (Way::Servers, Some(actor)) => actor.clone(),
            (Way::Servers, None) if self.dry_run => "nobody yet".to_owned(),
            (Way::Servers, None) => {
                eprintln!("holdfast: who says so? The command bears a name: --actor NAME");
                return Ok(None);
            }
        };
        Ok(Some(Said { actor, note }))
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
