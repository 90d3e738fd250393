//! What every verb of an operator is told: why, and who says so.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::NonEmptyStringValueParser;
use platform::print;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    gateway::{
        Gateway,
        failure::{Failure, USAGE},
    },
    global_args::GlobalArgs,
    send::new_id,
};

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
                eprintln!("holdfast: {LEAVE_OUT}");
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

/// How a verb that is noted in the database goes.
pub(crate) enum Verb {
    /// Through the gateway, as whom the token says.
    Through(Box<Gateway>),
    /// By a login of the database.
    Directly(operate::Why),
}

impl Verb {
    /// `None`: it is not to go, and it is said why.
    pub(crate) fn of(why: &Why, (what, meant): (&str, Meant), global: &GlobalArgs) -> Result<Option<Self>> {
        let Some(gateway) = Gateway::if_in_use(global)? else {
            let (reason, actor) = (why.reason().map(str::to_owned), why.actor.clone());
            return Ok(Some(Self::Directly(operate::Why { reason, actor, request: None })));
        };
        if why.actor.is_some() {
            eprintln!("holdfast: {LEAVE_OUT}");
            return Ok(None);
        }
        if !why.dry_run && !gateway.is_meant(what, meant.yes)? {
            return Ok(None);
        }
        Ok(Some(Self::Through(gateway.into())))
    }
}

/// What is said to whoever says who he is, although his token does.
const LEAVE_OUT: &str = "through the gateway you are who your token says: leave --actor out";

impl Gateway {
    /// Has it do what an operator does, and says what came of it.
    pub(crate) async fn act<T: DeserializeOwned>(&self, path: &str, mut asked: Value, why: &Why) -> Result<T> {
        if let Some(asked) = asked.as_object_mut() {
            asked.retain(|_, value| !value.is_null());
            asked.insert("dry_run".to_owned(), why.dry_run.into());
            asked.extend(why.reason.as_ref().map(|reason| ("reason".to_owned(), reason.as_str().into())));
        }
        let answer = self.post(path, new_id(), &asked).await?;
        match answer.status {
            200 => serde_json::from_value(answer.json).context("reading what became of it"),
            status => Err(self.refused(status, &answer.json, path)),
        }
    }
}

/// Says what came of a verb: exit code 0; 1 if it was refused, or a part of it.
pub(crate) fn told(global: &GlobalArgs, report: &impl Serialize, is_well: bool, text: &str) -> Result<ExitCode> {
    if global.json {
        print::json(report)?;
    } else {
        print::out(text)?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why nothing was done, with what to do about a role that may not; what is asked for and cannot be is wrong usage.
pub(crate) fn explained(failure: operate::Failure) -> anyhow::Error {
    let is_forbidden = failure.is_forbidden();
    match failure {
        operate::Failure::Wrong(words) => Failure::error(USAGE, words),
        operate::Failure::Failed(error) if is_forbidden => error.context(
            "this role may not act: use the owner of the database, or a login that was granted holdfast_operator",
        ),
        operate::Failure::Failed(error) => error,
    }
}
