//! Dead letters are handled again, by the way that they came and under their own ids.

use std::time::Duration;

use anyhow::Context;
use platform::client::{Outgoing, Sent};
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
    Broker, Result, Why,
    letters::{Opened, Selection, chosen, foresee, later, note, target},
};

mod report;

pub use report::Report;
use report::{Became, Redriven, WouldBe};

/// What is noted of it.
const VERB: &str = "Redrive";

/// Has letters handled again; a command waits so long for its worker.
///
/// # Errors
/// They cannot be told, or Postgres or the broker failed: those before are handled again.
pub async fn redrive(
    connection: &mut PgConnection,
    broker: &mut impl Broker,
    selection: &Selection,
    (why, within): (&Why, Duration),
) -> Result<Report> {
    let chosen = chosen(connection, selection, why).await?;
    let mut redrive = Redrive { connection, broker, why, within };
    let mut done = Vec::new();
    for opened in &chosen {
        done.push(redrive.one(opened).await?);
    }
    Ok(Report::new(why.reason.is_none(), done))
}

struct Redrive<'a, B> {
    connection: &'a mut PgConnection,
    broker: &'a mut B,
    why: &'a Why,
    within: Duration,
}

/// Why a letter is not handled again, or what its command was answered, to be taken back.
type Checked = Result<Option<Vec<u8>>, String>;

impl<B: Broker> Redrive<'_, B> {
    async fn one(&mut self, opened: &Opened) -> Result<Redriven> {
        let (Opened { letter, way, key }, why) = (opened, self.why);
        let foreseen = match way {
            Ok(way) => foresee(self.connection, letter, way).await?,
            Err(_) => None,
        };
        // What the message is about, the events say best.
        let stream = foreseen.as_ref().and_then(|foreseen| foreseen.events.first()).map(|event| event.stream.clone());
        let key = stream.or_else(|| key.clone());
        let later = later(self.connection, key.as_deref(), letter.received_at).await?;
        let checked = self.check(letter, way, foreseen.as_ref()).await?;
        let would = WouldBe::of(way.as_ref().ok(), foreseen);
        let became = match (checked, way, &why.reason) {
            (Err(_), ..) if letter.settled_at.is_some() && self.has_done(letter).await? => Became::Redriven(None),
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
                let answer = letters::answer(self.connection, letter.service, *id).await?;
                Ok(match answer {
                    Some(answer) => is_of_the_letter(letter, &answer).map(|()| Some(answer)),
                    None => Ok(None),
                })
            }
            Way::Event { position, id, .. } => {
                let is_there = letters::is_in_log(self.connection, (*position, *id), &letter.payload).await?;
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
        let act_id = note(&mut transaction, VERB, (letter, key), (reason, self.why)).await?;
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

    /// Whether this very request has had it handled again.
    async fn has_done(&mut self, letter: &Letter) -> Result<bool> {
        self.why.has_done(self.connection, VERB, &target(letter)).await
    }

    /// Sends a command again. Until it is sent its letter is open, and this can be done once more.
    async fn send(&mut self, letter: &Letter, way: &Way) -> Result<Became> {
        let Way::Command { id, message_type, data, correlation_id } = way else { return Ok(Became::Redriven(None)) };
        let client = self.broker.client().await?;
        let command = Outgoing {
            id: *id,
            message_type,
            data: data.clone().into(),
            correlation_id: *correlation_id,
            traceparent: None,
        };
        let became = match client.send_within(&command, self.within).await {
            Sent::Answered(answer) => Became::Redriven(answer.reply.outcome),
            Sent::Unanswered => Became::Redriven(None),
            Sent::Undelivered => return Ok(Became::Failed("the broker has not taken it: try again".to_owned())),
        };
        letter.is_settled(self.connection).await.context("noting that a letter was sent")?;
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
