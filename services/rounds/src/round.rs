//! Rounds: the rules of opening, closing and refunding them, and what every event of this service makes of the rows.
//!
//! `sold` counts shares that are paid for and not returned, `held` those kept for orders that are not paid yet, and
//! `refunding` those of the sold whose buyers were named to be refunded. So in a failed round `sold - refunding` is still
//! to be named: one locked row says whether there is more to do, however many buyers there are.
//!
//! | a round that is | sells its last share | gets a share back | has its timer due | is to be closed | is to be called off |
//! |---|---|---|---|---|---|
//! | open | is sold out | stays open | is closed | is closed | is cancelled |
//! | sold out | cannot | is open again; after its closing time, or once its tickets are listed, stays sold out | lists its tickets, if it has a draw | refuses | is cancelled |
//! | closed | names its buyer | stays closed | names the next buyers | stays closed | refuses |
//! | cancelled | names its buyer | stays cancelled | names the next buyers | refuses | stays cancelled |
//!
//! So before its closing time a round is sold out if and only if every share is sold; from then on, if every share was. In a round with a draw
//! the list of tickets, which comes moments after the last share is sold, is such a closing time.
//!
//! Why it is so: services/rounds/README.md#sold-out-is-what-the-shares-say-until-the-closing-time

#[cfg(test)]
mod draws;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod spec;
#[cfg(test)]
mod tests;

use std::time::Duration;

use domain::{
    DecideError, HoldKey, RefundId, Rejection, Revised, RoundId, StreamVersion, Table, Timestamp, hold::Status,
};

use serde::{Deserialize, Serialize};

use crate::{
    command::Command,
    draw::{Draw, Drawn, Proof, Terms, Tickets, winning_ticket},
    event::{BATCH_PAUSE, Event, Failure, Offer, Shares, StreamId},
    hold::{self, Hold},
};

/// The most participants named at once: bounds the event, and the work that it causes.
pub const BATCH_MAX: usize = 100;

/// How far the clock of a replica may be behind that of the one which has found a timer due.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(5);

/// The longest that a round may be open.
pub const OPEN_DAYS_MAX: u64 = 366;

/// The rows of a batch.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Rounds.
    pub rounds: Table<RoundId, Round>,
    /// What orders hold.
    pub holds: Table<HoldKey, Hold>,
}

domain::rows!(State { rounds, holds });

/// A round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// What is for sale.
    pub offer: Offer,
    /// Where it stands.
    pub status: RoundStatus,
    /// Shares sold and not returned.
    pub sold: i64,
    /// Shares kept for orders that are not paid yet: the sum of all open holds.
    pub held: i64,
    /// Sold shares whose buyers were named to be refunded.
    pub refunding: i64,
    /// How far its draw has come, if it has one.
    pub draw: Option<Draw>,
    /// Events of its stream. Those of holds change the round too, but are counted with the hold.
    pub version: StreamVersion,
}

/// Where a round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoundStatus {
    /// For sale.
    Open,
    /// Every share is sold, or was at its closing time.
    SoldOut,
    /// Its participants get their money back.
    Failed(Failure),
}

impl RoundStatus {
    /// The word for it in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::SoldOut => "sold_out",
            Self::Failed(Failure::NotSoldOut) => "closed",
            Self::Failed(Failure::Cancelled) => "cancelled",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::SoldOut, Self::Failed(Failure::NotSoldOut), Self::Failed(Failure::Cancelled)]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// The state of a round's shares. A hold and its release make it what it was, and so change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundRevision {
    /// Of its stream.
    pub version: StreamVersion,
    /// As of [`Round::sold`].
    pub sold: i64,
    /// As of [`Round::held`].
    pub held: i64,
    /// As of [`Round::refunding`].
    pub refunding: i64,
}

impl Revised for Round {
    type Revision = RoundRevision;

    fn revision(&self) -> RoundRevision {
        let Self { sold, held, refunding, version, .. } = *self;
        RoundRevision { version, sold, held, refunding }
    }
}

impl Round {
    /// Where it stands by its counts, which its status follows: but a worker of before [`Event::RoundReopened`] has left rounds
    /// sold out that got a share back.
    pub(crate) fn standing(&self, at: Timestamp) -> RoundStatus {
        match self.status {
            RoundStatus::SoldOut if self.sold < self.offer.total_shares && self.may_reopen(at) => RoundStatus::Open,
            status @ (RoundStatus::Open | RoundStatus::SoldOut | RoundStatus::Failed(_)) => status,
        }
    }

    /// Whether a share that comes back now opens it again.
    pub(crate) fn may_reopen(&self, at: Timestamp) -> bool {
        at < self.offer.closes_at && !self.is_listed()
    }

    /// Whether its tickets are listed.
    pub(crate) fn is_listed(&self) -> bool {
        self.draw.as_ref().is_some_and(|draw| draw.listed.is_some())
    }

    /// What makes its status follow its counts, if it does not.
    pub(crate) fn reopening(&self, round_id: RoundId, at: Timestamp) -> Option<Event> {
        let closes_at = self.offer.closes_at;
        (self.standing(at) != self.status).then_some(Event::RoundReopened { round_id, closes_at })
    }
}

impl State {
    /// How many events the owner's stream has. 0 without its row, which the log refuses.
    #[must_use]
    pub fn version(&self, owner: StreamId) -> StreamVersion {
        match owner {
            StreamId::Round(round_id) => self.rounds.get(&round_id).map(|round| round.version).unwrap_or_default(),
            StreamId::Hold(key) => self.holds.get(&key).map(|hold| hold.version).unwrap_or_default(),
        }
    }
}

/// What a command causes at this time.
///
/// # Errors
/// Business says no, or an invariant is broken.
pub fn decide(state: &State, command: &Command, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    match command {
        Command::OpenRound { round_id, offer, actor, draw } => open(state, *round_id, offer, (actor, *draw), at),
        Command::CloseRound { round_id, actor, note } => {
            let (actor, note) = (actor.clone(), note.clone());
            close(state, *round_id, Event::RoundClosed { round_id: *round_id, actor, note, closed_at: at }, at)
        }
        Command::CancelRound { round_id, actor, note } => {
            let (actor, note) = (actor.clone(), note.clone());
            cancel(state, *round_id, Event::RoundCancelled { round_id: *round_id, actor, note, cancelled_at: at })
        }
        Command::Advance { round_id } => advance(state, *round_id, at),
        Command::Hold { key, purchase } => hold::hold(state, *key, purchase, at),
        Command::Draw { round_id, proof } => draw(state, *round_id, proof),
        Command::Commit { key } => hold::commit(state, *key, at),
        Command::Release { key } => hold::release(state, *key),
        Command::Return { key, refund_id } => hold::give_back(state, *key, *refund_id, at),
    }
}

fn open(
    state: &State,
    round_id: RoundId,
    offer: &Offer,
    (actor, draw): (&str, Option<Terms>),
    at: Timestamp,
) -> Result<Vec<Event>, DecideError> {
    match state.rounds.get(&round_id) {
        None => {}
        // Before the check of time: a repeated command is right even after the round has closed.
        Some(round) if round.offer == *offer => return Ok(vec![]),
        Some(round) => Err(Rejection::new(
            "ROUND_EXISTS",
            format!("round {round_id} offers {}, not {offer}: open this one under another round_id", round.offer),
        ))?,
    }
    let closes_at = offer.closes_at;
    if closes_at <= at || closes_at > at + Duration::from_hours(24 * OPEN_DAYS_MAX) {
        Err(Rejection::new(
            "INVALID_TIME",
            format!(
                "closes_at must be in the future and at most {OPEN_DAYS_MAX} days ahead: it is {closes_at}, and now is {at}"
            ),
        ))?;
    }
    Ok(vec![Event::RoundOpened { round_id, offer: offer.clone(), actor: actor.to_owned(), draw }])
}

fn close(state: &State, round_id: RoundId, closed: Event, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    let round = known(state, round_id)?;
    match round.standing(at) {
        RoundStatus::Open => Ok(round.reopening(round_id, at).into_iter().chain([closed]).collect()),
        RoundStatus::Failed(Failure::NotSoldOut) => Ok(vec![]),
        RoundStatus::SoldOut => {
            Err(not_open(round_id, round, "it cannot be closed; cancel it if its participants are to be refunded"))?
        }
        RoundStatus::Failed(Failure::Cancelled) => {
            Err(not_open(round_id, round, "its participants are refunded already, there is nothing to close"))?
        }
    }
}

fn cancel(state: &State, round_id: RoundId, cancelled: Event) -> Result<Vec<Event>, DecideError> {
    let round = known(state, round_id)?;
    match round.status {
        RoundStatus::Open | RoundStatus::SoldOut => Ok(vec![cancelled]),
        RoundStatus::Failed(Failure::Cancelled) => Ok(vec![]),
        RoundStatus::Failed(Failure::NotSoldOut) => {
            Err(not_open(round_id, round, "its participants are refunded already, there is nothing to cancel"))?
        }
    }
}

pub(crate) fn known(state: &State, round_id: RoundId) -> Result<&Round, Rejection> {
    let unknown = || {
        format!(
            "no round {round_id} is known here: check the id; if it was opened a moment ago, wait for the answer to that"
        )
    };
    state.rounds.get(&round_id).ok_or_else(|| Rejection::new("UNKNOWN_ROUND", unknown()))
}

pub(crate) fn not_open(round_id: RoundId, round: &Round, so: &str) -> Rejection {
    let status = match round.status {
        RoundStatus::Open => "is past its closing time",
        RoundStatus::SoldOut if round.is_listed() => "is sold out and its tickets are listed",
        RoundStatus::SoldOut if round.sold < round.offer.total_shares => {
            "was sold out at its closing time, and what came back since is not for sale"
        }
        RoundStatus::SoldOut => "is sold out",
        RoundStatus::Failed(Failure::NotSoldOut) => "is closed",
        RoundStatus::Failed(Failure::Cancelled) => "is cancelled",
    };
    Rejection::new("ROUND_NOT_OPEN", format!("round {round_id} {status}: {so}"))
}

/// The timer of a round is due. An open round has only the timer of its closing time, so that time has come even if this
/// replica's clock is a little behind the one that says so. To wait for it would be to lose the timer. But the timer that was to list
/// the tickets of a round may have been claimed just before a share came back and opened it again: then there is nothing to do.
fn advance(state: &State, round_id: RoundId, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    let Some(round) = state.rounds.get(&round_id) else {
        return Err(broken(round_id, "its timer is due, but there is no such round".to_owned()));
    };
    match round.status {
        RoundStatus::Open if round.draw.is_some() && at + CLOCK_BEHIND_MAX < round.offer.closes_at => Ok(vec![]),
        RoundStatus::Open => {
            let Offer { total_shares, closes_at, .. } = round.offer;
            let note = format!("closing time {closes_at} came with {} of {total_shares} shares sold", round.sold);
            Ok(vec![Event::RoundClosed { round_id, actor: "timer".to_owned(), note, closed_at: at.max(closes_at) }])
        }
        RoundStatus::SoldOut => list(state, round_id, round, at),
        RoundStatus::Failed(failure) => Ok(next_batch(state, round_id, failure, round.sold - round.refunding, at)),
    }
}

/// The tickets that take part: of shares that are sold, and of those that came back once they were listed.
fn tickets(state: &State, round_id: RoundId) -> Tickets {
    let takes_part = |hold: &Hold| hold.round_id == Some(round_id) && hold.has_ticket();
    let holders = state.holds.iter().filter(|(_, hold)| takes_part(hold));
    Tickets::of(round_id, holders.map(|(key, hold)| (*key, hold.count)))
}

/// Lists the tickets of a round that is sold out. After its closing time there may be fewer than shares; with none, there is nothing to draw.
fn list(state: &State, round_id: RoundId, round: &Round, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    let Some(Draw { terms, listed: None, .. }) = round.draw else { return Ok(vec![]) };
    let tickets = tickets(state, round_id);
    if tickets.count() != round.sold {
        return Err(broken(
            round_id,
            format!("{} shares are sold, and it has {} tickets", round.sold, tickets.count()),
        ));
    }
    if round.sold == 0 {
        return Ok(vec![]);
    }
    Ok(vec![Event::RoundTicketsListed { round_id, listed: terms.list(&tickets, at), terms }])
}

/// Draws the winner, unless the round was called off meanwhile or has one.
fn draw(state: &State, round_id: RoundId, proof: &Proof) -> Result<Vec<Event>, DecideError> {
    let round = state.rounds.get(&round_id).ok_or_else(|| broken(round_id, "a draw of no round".to_owned()))?;
    let Some(Draw { terms, listed: Some(listed), drawn: None }) = &round.draw else { return Ok(vec![]) };
    if round.status != RoundStatus::SoldOut {
        return Ok(vec![]);
    }
    let tickets = tickets(state, round_id);
    if tickets.digest() != listed.digest {
        return Err(broken(round_id, format!("its tickets are others than were listed: {}", tickets.digest())));
    }
    if proof.seed.commitment() != terms.commitment {
        return Err(broken(round_id, "the seed is not the one that was chosen when it was opened".to_owned()));
    }
    let ticket = winning_ticket(proof, &listed.digest, listed.tickets);
    let order = tickets.holder(ticket).ok_or_else(|| broken(round_id, format!("nobody has its ticket {ticket}")))?;
    Ok(vec![Event::RoundDrawn { round_id, drawn: Drawn { proof: proof.clone(), ticket, order } }])
}

fn broken(round_id: RoundId, what: String) -> DecideError {
    DecideError::Broken { stream: StreamId::Round(round_id).to_string(), what }
}

/// Names the next buyers. Their rows are a sample that leaves out what other batches work on just now, so it may even be
/// empty; `unnamed`, from the round's own row, says for sure whether another batch must follow.
fn next_batch(state: &State, round_id: RoundId, failure: Failure, unnamed: i64, at: Timestamp) -> Vec<Event> {
    if unnamed == 0 {
        return vec![];
    }
    let buyers = state.holds.iter().filter(|(_, hold)| hold.round_id == Some(round_id) && hold.is_refundable());
    let (participants, shares): (Vec<HoldKey>, Vec<i64>) =
        buyers.take(BATCH_MAX).map(|(key, hold)| (*key, hold.count)).unzip();
    let next_batch_at = (shares.iter().sum::<i64>() < unnamed).then_some(at + BATCH_PAUSE);
    vec![Event::RoundRefundsRequested { round_id, failure, participants, next_batch_at }]
}

/// Makes an event true. An event whose row is not there changes nothing, and the fold then parts from the rows.
pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::RoundOpened { round_id, offer, draw, .. } => {
            let (offer, status, version) = (offer.clone(), RoundStatus::Open, StreamVersion::FIRST);
            let draw = draw.map(Draw::new);
            state.rounds.create(*round_id, Round { offer, status, sold: 0, held: 0, refunding: 0, draw, version });
        }
        Event::RoundTicketsListed { round_id, listed, .. } => {
            go_on(state, *round_id, |draw| draw.listed = Some(*listed));
        }
        Event::RoundDrawn { round_id, drawn } => go_on(state, *round_id, |draw| draw.drawn = Some(drawn.clone())),
        Event::RoundSoldOut { round_id, .. } => become_status(state, *round_id, RoundStatus::SoldOut),
        Event::RoundReopened { round_id, .. } => become_status(state, *round_id, RoundStatus::Open),
        Event::RoundClosed { round_id, .. } => {
            become_status(state, *round_id, RoundStatus::Failed(Failure::NotSoldOut))
        }
        Event::RoundCancelled { round_id, .. } => {
            become_status(state, *round_id, RoundStatus::Failed(Failure::Cancelled));
        }
        Event::RoundRefundsRequested { round_id, participants, .. } => name_all(state, *round_id, participants),
        Event::SharesHeld { key, shares } => {
            state.holds.create(*key, Hold::new(Status::Held, Some(shares.round_id), shares.count));
            change(state, shares.round_id, |round| round.held += shares.count);
        }
        Event::SharesRejected { key, round_id, .. } => {
            state.holds.create(*key, Hold::new(Status::Rejected, Some(*round_id), 0));
        }
        Event::SharesSold { key, shares } => {
            become_closed(state, *key, Status::Committed);
            change(state, shares.round_id, |round| {
                round.held -= shares.count;
                round.sold += shares.count;
            });
        }
        Event::SharesReleased { key, shares: Some(shares) } => {
            become_closed(state, *key, Status::Released);
            change(state, shares.round_id, |round| round.held -= shares.count);
        }
        Event::SharesReleased { key, shares: None } => state.holds.create(*key, Hold::new(Status::Released, None, 0)),
        Event::SharesReturned { key, shares, refund_id } => take_back(state, *key, *shares, *refund_id),
    }
}

fn change(state: &mut State, round_id: RoundId, change: impl FnOnce(&mut Round)) {
    if let Some(round) = state.rounds.change(&round_id) {
        change(round);
    }
}

fn become_status(state: &mut State, round_id: RoundId, status: RoundStatus) {
    change(state, round_id, |round| {
        round.status = status;
        round.version = round.version.next();
    });
}

fn go_on(state: &mut State, round_id: RoundId, step: impl FnOnce(&mut Draw)) {
    change(state, round_id, |round| {
        if let Some(draw) = &mut round.draw {
            step(draw);
        }
        round.version = round.version.next();
    });
}

fn become_closed(state: &mut State, key: HoldKey, status: Status) {
    if let Some(hold) = state.holds.change(&key) {
        hold.status = status;
        hold.version = hold.version.next();
    }
}

fn name_all(state: &mut State, round_id: RoundId, participants: &[HoldKey]) {
    let mut refunding = 0;
    for key in participants {
        if let Some(hold) = state.holds.change(key) {
            hold.refund_requested = true;
            refunding += hold.count;
        }
    }
    change(state, round_id, |round| {
        round.refunding += refunding;
        round.version = round.version.next();
    });
}

fn take_back(state: &mut State, key: HoldKey, shares: Shares, refund_id: RefundId) {
    let mut refunding = 0;
    let is_listed = state.rounds.get(&shares.round_id).is_some_and(Round::is_listed);
    if let Some(hold) = state.holds.change(&key) {
        hold.returned_by = Some(refund_id);
        hold.keeps_ticket = is_listed;
        hold.version = hold.version.next();
        refunding = if hold.refund_requested { shares.count } else { 0 };
    }
    change(state, shares.round_id, |round| {
        round.sold -= shares.count;
        round.refunding -= refunding;
    });
}
