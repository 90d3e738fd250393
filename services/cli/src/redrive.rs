//! `holdfast redrive`: dead letters are handled again, by the way that they came and under their own ids.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use operate::{
    Broker,
    redrive::{self, Report},
};
use platform::client::CommandClient;

use crate::{
    global_args::GlobalArgs,
    letters::Letters,
    verb::{Meant, Verb, Why, explained, told},
};

/// How long a worker may take for one.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  holdfast redrive --service inventory --code NOT_HANDLED --dry-run
  holdfast redrive inventory-41 --reason 'mended in 0.9.3'
  holdfast redrive --key product-MUG-01 --count 2 --reason 'mended in 0.9.3'

Exit codes: 0 all of them are on their way or done; 1 some are not; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast redrive`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    letters: Letters,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Has letters handled again: exit code 0; 1 if one could not be.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { letters, why, meant } = args;
    let report: Report = match Verb::of(&why, ("handle dead letters again", meant), global)? {
        None => return Ok(ExitCode::from(2)),
        Some(Verb::Through(gateway)) => gateway.act("/v1/admin/letters/redrive", letters.asked(), &why).await?,
        Some(Verb::Directly(why)) => {
            let mut connection = global.database().await?;
            let mut broker = Lazy { global, client: None };
            let done =
                redrive::redrive(&mut connection, &mut broker, &letters.selection(), (&why, ANSWER_WITHIN)).await;
            done.map_err(explained)?
        }
    };
    told(global, &report, report.is_well(), &report.text())
}

/// Connects once there is a command to send.
struct Lazy<'a> {
    global: &'a GlobalArgs,
    client: Option<CommandClient>,
}

impl Broker for Lazy<'_> {
    async fn client(&mut self) -> Result<&CommandClient> {
        let client = match self.client.take() {
            Some(client) => client,
            None => CommandClient::connect_as(&self.global.broker()?, ANSWER_WITHIN).await?,
        };
        Ok(self.client.insert(client))
    }
}
