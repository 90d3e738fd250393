//! Rounds owns rounds, each a fixed number of shares of one prize, and the shares that orders hold.
//!
//! In: `OrderPlaced` and `OrderReinstated` ask for a hold, `OrderPaid` commits it, `OrderExpired`, `OrderCancelled` and
//! `OrderRejected` release it, `OrderRefunded` and `OrderPartiallyRefunded` return what it had bought. Out:
//! `RoundOpened`, then `RoundSoldOut`, which `RoundReopened` withdraws when a share comes back before the closing time,
//! and `RoundTicketsListed` and `RoundDrawn` of one that has a draw; or `RoundClosed` or `RoundCancelled` and `RoundRefundsRequested` in batches, of a round; `SharesHeld` or
//! `SharesRejected`, then `SharesSold` or `SharesReleased`, then `SharesReturned` of a hold. Always:
//! `sold + held <= total_shares`; `held` is the sum of all open holds, `sold` of all that were committed and not
//! returned; a hold closes once and returns once; a round is sold out while every share is sold, and stays so only if
//! its closing time finds it so; every order that bought shares of a failed round is named once to be refunded.

use std::collections::BTreeMap;

use domain::{DecideError, Decider, Effect, HoldKey, Memory, Rejection, RoundId, StreamVersion, Timer, Timestamp};
use platform::{
    config::{Config, ms},
    error::Error,
    statement::Statement,
};
use runtime::{
    Context,
    service::{EffectOutcome, LeasedEffect, Locks, RowTable, Service},
};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

pub mod command;
pub mod draw;
mod effect;
pub mod event;
pub mod hold;
pub mod policy;
pub mod round;
pub mod store;
pub mod wire;

use command::Command;
pub use effect::Draws;
use event::{Event, StreamId};
use hold::Hold;
use round::{Round, State};

/// The service, with what draws winners.
#[derive(Debug, Default)]
pub struct Rounds {
    draws: Option<Draws>,
}

impl Rounds {
    /// By the settings of a process.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn set_up(context: &Context) -> Result<Self, Error> {
        let Config { rounds, effects, .. } = &context.config;
        Ok(Self { draws: Draws::set_up(rounds, ms(effects.call_ms))? })
    }
}

/// A row of one of its tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// A round.
    Round(Box<Round>),
    /// What one attempt of an order holds.
    Hold(Hold),
}

impl Decider for Rounds {
    const NAME: &'static str = "rounds";

    const STREAMS: &'static [&'static str] = &["round", "shares"];

    const COMMANDS: &'static [&'static str] =
        &["holdfast.rounds.v1.OpenRound", "holdfast.rounds.v1.CloseRound", "holdfast.rounds.v1.CancelRound"];

    const REACTS_TO: &'static [&'static str] = &[
        "holdfast.orders.v1.OrderPlaced",
        "holdfast.orders.v1.OrderReinstated",
        "holdfast.orders.v1.OrderPaid",
        "holdfast.orders.v1.OrderExpired",
        "holdfast.orders.v1.OrderCancelled",
        "holdfast.orders.v1.OrderRejected",
        "holdfast.orders.v1.OrderRefunded",
        "holdfast.orders.v1.OrderPartiallyRefunded",
    ];

    type Command = Command;
    type Event = Event;
    type State = State;
    type Row = Row;

    fn decode_command(message_type: &str, data: &[u8], _id: Uuid) -> Result<Command, Rejection> {
        wire::decode_command(message_type, data)
    }

    fn react(message_type: &str, data: &[u8]) -> Result<Vec<Command>, Rejection> {
        policy::react(message_type, data)
    }

    fn on_timer(stream: &str) -> Option<Command> {
        let round_id = RoundId::parse(stream.strip_prefix("round-")?).ok()?;
        Some(Command::Advance { round_id })
    }

    fn decide(state: &State, command: &Command, at: Timestamp) -> Result<Vec<Event>, DecideError> {
        round::decide(state, command, at)
    }

    fn evolve(state: &mut State, event: &Event) {
        round::evolve(state, event);
    }

    fn place(state: &State, event: &Event) -> (String, StreamVersion) {
        (event.owner().to_string(), state.version(event.owner()))
    }

    fn encode_event(event: &Event) -> (&'static str, Vec<u8>) {
        wire::encode(event)
    }

    fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
        wire::decode_event(message_type, data)
    }

    fn timer(event: &Event) -> Option<Timer> {
        event.timer()
    }

    fn effect(event: &Event) -> Option<Effect> {
        effect::of(event)
    }

    fn rows(state: &State) -> BTreeMap<String, Row> {
        let rounds = state
            .rounds
            .iter()
            .map(|(id, round)| (StreamId::Round(*id).to_string(), Row::Round(Box::new(round.clone()))));
        let holds = state.holds.iter().map(|(key, hold)| (StreamId::Hold(*key).to_string(), Row::Hold(*hold)));
        rounds.chain(holds).collect()
    }

    fn row(state: &State, name: &str) -> Option<Row> {
        if let Some(round_id) = name.strip_prefix("round-") {
            return state.rounds.get(&RoundId::parse(round_id).ok()?).cloned().map(Box::new).map(Row::Round);
        }
        state.holds.get(&HoldKey::from_text(name.strip_prefix("shares-")?)?).copied().map(Row::Hold)
    }

    fn put(state: &mut State, name: &str, row: Row) -> Option<()> {
        match row {
            Row::Round(round) => state.rounds.create(RoundId::parse(name.strip_prefix("round-")?).ok()?, *round),
            Row::Hold(hold) => state.holds.create(HoldKey::from_text(name.strip_prefix("shares-")?)?, hold),
        }
        Some(())
    }

    fn take_out(state: &mut State, name: &str) -> Option<Row> {
        if let Some(round_id) = name.strip_prefix("round-") {
            return state.rounds.take(&RoundId::parse(round_id).ok()?).map(Box::new).map(Row::Round);
        }
        state.holds.take(&HoldKey::from_text(name.strip_prefix("shares-")?)?).map(Row::Hold)
    }

    fn rows_of(event: &Event) -> Vec<String> {
        event.touches().iter().map(StreamId::to_string).collect()
    }
}

impl Service for Rounds {
    const CALLEES: &'static [&'static str] = &effect::CALLEES;

    const TABLES: &'static [RowTable] = &store::TABLES;

    fn admit(&self, command: Command) -> Result<Command, Rejection> {
        Ok(match (command, &self.draws) {
            (Command::OpenRound { round_id, offer, actor, .. }, Some(draws)) => {
                let draw = draws.terms(round_id);
                Command::OpenRound { round_id, offer, actor, draw }
            }
            (command, _) => command,
        })
    }

    async fn perform(&self, effect: LeasedEffect) -> EffectOutcome<Command> {
        effect::perform(self.draws.as_ref(), effect).await
    }

    fn can_wait(_memory: &Memory<State>, command: &Command) -> bool {
        policy::can_wait(command)
    }

    fn recall(memory: &mut Memory<State>, commands: &[&Command], state: &mut State) -> bool {
        store::recall(memory, commands, state)
    }

    async fn load(connection: &mut PgConnection, commands: &[&Command], locks: Locks) -> Result<State, sqlx::Error> {
        store::load(connection, commands, locks).await
    }

    fn save(statement: &mut Statement, state: &State) {
        store::save(statement, state);
    }

    async fn load_all(connection: &mut PgConnection) -> Result<State, sqlx::Error> {
        store::load_all(connection).await
    }

    async fn load_rows(connection: &mut PgConnection, names: &[String]) -> Result<State, sqlx::Error> {
        store::load_rows(connection, names).await
    }
}
