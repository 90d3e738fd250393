//! `holdfast redrive`: dead letters are handled again, by the way that they came and under their own ids.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use platform::{
    client::{CommandClient, Outgoing, Sent},
    print,
};
use proto::{
    Message,
    common::v1::{CommandReply, command_reply::Outcome},
};
use runtime::{
    foresee::Foreseen,
    letters::{self, Letter, Way},
};
use sqlx::{Connection, PgConnection};

use crate::{
    global_args::GlobalArgs,
    letters::{Amount, Opened, Selection, chosen, foresee, later, note},
    verb::{Why, explained},
};

mod report;

use report::{Outcome as Became, Redriven, Report, WouldBe};

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
    selection: Selection,
    #[command(flatten)]
    amount: Amount,
    #[command(flatten)]
    why: Why,
}

/// Has letters handled again: exit code 0; 1 if one could not be.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    let Some(chosen) = chosen(&mut connection, &args.selection, args.amount).await? else {
        return Ok(ExitCode::from(2));
    };
    let mut redrive = Redrive { connection, client: None, global, why: &args.why };
    let mut done = Vec::new();
    for opened in &chosen {
        done.push(redrive.one(opened).await.map_err(explained)?);
    }
    let report = Report::new(args.why.dry_run, done);
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text())?;
    }
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Redrive<'a> {
    connection: PgConnection,
    /// Once there is a command to send.
    client: Option<CommandClient>,
    global: &'a GlobalArgs,
    why: &'a Why,
}

/// Why a letter is not handled again, or what its command was answered, to be taken back.
type Checked = Result<Option<Vec<u8>>, String>;

impl Redrive<'_> {
    async fn one(&mut self, opened: &Opened) -> Result<Redriven> {
        let (Opened { letter, way, key }, why) = (opened, self.why);
        let foreseen = match way {
            Ok(way) => foresee(&mut self.connection, letter, way).await?,
            Err(_) => None,
        };
        // What the message is about, the events say best.
        let stream = foreseen.as_ref().and_then(|foreseen| foreseen.events.first()).map(|event| event.stream.clone());
        let key = stream.or_else(|| key.clone());
        let later = later(&mut self.connection, key.as_deref(), letter.received_at).await?;
        let checked = self.check(letter, way, foreseen.as_ref()).await?;
        let would = WouldBe::of(way.as_ref().ok(), foreseen);
        let became = match (checked, way, why.reason()) {
            (Ok(answer), Ok(way), Some(reason)) => self.act((letter, key.as_deref()), way, answer, reason).await?,
            (Ok(_), ..) => Became::Due,
            (Err(refused), ..) => Became::Refused(refused),
        };
        Ok(Redriven::new(letter, key, later, would, became))
    }

    /// Whether it may be handled again.
    async fn check(
        &mut self,
        letter: &Letter,
        way: &Result<Way, String>,
        foreseen: Option<&Foreseen>,
    ) -> Result<Checked> {
        if let Some(at) = letter.settled_at {
            return Ok(Err(format!("it was settled at {at}: `holdfast actions` says how")));
        }
        let way = match way {
            Ok(way) => way,
            Err(why) => return Ok(Err(format!("it never can be handled, so it can only be set aside: {why}"))),
        };
        if let Some(refused) =
            foreseen.filter(|foreseen| foreseen.is_given_up).and_then(|given_up| given_up.refused.as_ref())
        {
            return Ok(Err(format!("it would be given up again: {}: {}", refused.code, refused.reason)));
        }
        match way {
            Way::Command { id, .. } => {
                let answer = letters::answer(&mut self.connection, letter.service, *id).await?;
                Ok(match answer {
                    Some(answer) => is_of_the_letter(letter, &answer).map(|()| Some(answer)),
                    None => Ok(None),
                })
            }
            Way::Event { position, id, .. } => {
                let is_there = letters::is_in_log(&mut self.connection, (*position, *id), &letter.payload).await?;
                Ok(if is_there { Ok(None) } else { Err(format!("the log has no such event at position {position}")) })
            }
            Way::Timer { .. } | Way::Call { .. } => Ok(Ok(None)),
        }
    }

    /// Notes who does it and why, in the transaction in which it is done; of a command, before it is sent.
    async fn act(
        &mut self,
        (letter, key): (&Letter, Option<&str>),
        way: &Way,
        answer: Option<Vec<u8>>,
        reason: &str,
    ) -> Result<Became> {
        let mut transaction = self.connection.begin().await?;
        let locked = letters::lock(&mut transaction, letter.service, letter.id).await?;
        if locked.is_none_or(|locked| locked.settled_at.is_some()) {
            return Ok(Became::Refused("somebody else has settled it just now".to_owned()));
        }
        let act_id = note(&mut transaction, "Redrive", (letter, key), (reason, self.why)).await?;
        let is_due = match way {
            Way::Command { id, .. } => {
                if let Some(answer) = answer {
                    letters::take_back_answer(&mut transaction, letter.service, (*id, &answer)).await?;
                }
                transaction.commit().await?;
                return self.send(letter, way).await;
            }
            Way::Event { position, .. } => {
                letters::publish_again(&mut transaction, *position, act_id).await?;
                true
            }
            Way::Timer { stream } => letters::timer_is_due(&mut transaction, letter.service, stream).await?,
            Way::Call { key } => letters::call_is_due(&mut transaction, letter.service, key).await?,
        };
        if !is_due {
            let why = "what was owed is done, or comes again within a minute: look at it, and set the letter aside";
            return Ok(Became::Refused(why.to_owned()));
        }
        letter.is_settled(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Became::Redriven(None))
    }

    /// Sends a command again. Until it is sent its letter is open, and this can be done once more.
    async fn send(&mut self, letter: &Letter, way: &Way) -> Result<Became> {
        let Way::Command { id, message_type, data, correlation_id } = way else { return Ok(Became::Redriven(None)) };
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(CommandClient::connect_as(&self.global.broker()?, ANSWER_WITHIN).await?),
        };
        let command = Outgoing { id: *id, message_type, data: data.clone().into(), correlation_id: *correlation_id };
        let became = match client.send_within(&command, ANSWER_WITHIN).await {
            Sent::Answered(answer) => Became::Redriven(answer.reply.outcome),
            Sent::Unanswered => Became::Redriven(None),
            Sent::Undelivered => return Ok(Became::Failed("the broker has not taken it: try again".to_owned())),
        };
        letter.is_settled(&mut self.connection).await.context("noting that a letter was sent")?;
        Ok(became)
    }
}

/// Whether a command was answered with nothing but what its letter says.
fn is_of_the_letter(letter: &Letter, answer: &[u8]) -> Result<(), String> {
    let reply = CommandReply::decode(answer).map_err(|error| format!("its answer cannot be read: {error}"))?;
    match reply.outcome {
        Some(Outcome::Rejected(rejection)) if rejection.code == letter.code => Ok(()),
        Some(Outcome::Rejected(rejection)) => Err(format!("it was handled since, and refused: {}", rejection.code)),
        Some(Outcome::Accepted(accepted)) => Err(format!("it was handled since: {}", proto_names(&accepted.events))),
        None => Err("its answer says neither yes nor no".to_owned()),
    }
}

fn proto_names(events: &[String]) -> String {
    let names: Vec<&str> = events.iter().map(|full| proto::short_name(full)).collect();
    if names.is_empty() { "there was nothing to do".to_owned() } else { names.join(", ") }
}
