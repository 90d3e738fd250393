//! What orders hold: shares of one round, closed once, returned once.

use domain::{
    DecideError, HoldKey, RefundId, Rejection, Revised, RoundId, StreamVersion, Timestamp,
    hold::{Request, Status, Step, step},
};

use serde::Serialize;

use crate::{
    command::Purchase,
    event::{BATCH_PAUSE, Event, Shares, StreamId},
    round::{Round, RoundStatus, State, known, not_open},
};

/// What one attempt of an order holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Where it stands.
    pub status: Status,
    /// Of this round. None: it was released before it was asked for, so nobody has said which.
    pub round_id: Option<RoundId>,
    /// Shares that it holds or held. 0 if it never held any.
    pub count: i64,
    /// Whether its order was named to be refunded, for its round failed.
    pub refund_requested: bool,
    /// The refund that its shares came back with.
    pub returned_by: Option<RefundId>,
    /// Whether they came back once the tickets of its round were listed, and so take part in its draw all the same.
    pub keeps_ticket: bool,
    /// Events of its stream.
    pub version: StreamVersion,
}

impl Revised for Hold {
    /// Events of its stream, and whether one of its round has named it.
    type Revision = (StreamVersion, bool);

    fn revision(&self) -> (StreamVersion, bool) {
        (self.version, self.refund_requested)
    }
}

impl Hold {
    pub(crate) const fn new(status: Status, round_id: Option<RoundId>, count: i64) -> Self {
        let version = StreamVersion::FIRST;
        Self { status, round_id, count, refund_requested: false, returned_by: None, keeps_ticket: false, version }
    }

    /// Whether its shares have tickets in the draw of its round.
    pub(crate) fn has_ticket(&self) -> bool {
        self.status == Status::Committed && (self.returned_by.is_none() || self.keeps_ticket)
    }

    /// Whether its order is to be refunded if its round fails, and was not named yet.
    #[must_use]
    pub fn is_refundable(&self) -> bool {
        self.status == Status::Committed && !self.refund_requested && self.returned_by.is_none()
    }
}

/// Holds shares if they are free, or refuses them.
pub(crate) fn hold(state: &State, key: HoldKey, wanted: &Purchase, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    let Purchase { round_id, count, .. } = *wanted;
    match step(status(state, key), Request::Hold) {
        Step::Try => Ok(match check(state, wanted, at) {
            Ok(round) => {
                let held = Event::SharesHeld { key, shares: Shares { round_id, count } };
                round.reopening(round_id, at).into_iter().chain([held]).collect()
            }
            Err(rejection) => vec![Event::SharesRejected { key, round_id, rejection }],
        }),
        Step::Nothing => Ok(vec![]),
        Step::Become(_) | Step::Broken => Err(out_of_step(state, key, Request::Hold)),
    }
}

/// The decisive check, on locked rows.
fn check<'a>(state: &'a State, wanted: &Purchase, at: Timestamp) -> Result<&'a Round, Rejection> {
    let Purchase { round_id, count, unit_price } = *wanted;
    let round = known(state, round_id)?;
    let Round { offer, sold, held, .. } = round;
    if round.standing(at) != RoundStatus::Open || at >= offer.closes_at {
        return Err(not_open(round_id, round, "buy shares of another one"));
    }
    let (price, total) = (offer.share_price, offer.total_shares);
    if unit_price.currency != price.currency {
        let reason = format!("a share of round {round_id} costs {price}, not {unit_price}: pay in {}", price.currency);
        return Err(Rejection::new("WRONG_CURRENCY", reason));
    }
    if unit_price != price {
        let reason = format!("a share of round {round_id} costs {price}, not {unit_price}: order at its price");
        return Err(Rejection::new("WRONG_PRICE", reason));
    }
    if sold + held + count > total {
        let reason = format!(
            "{count} shares of round {round_id} were asked for and {} of {total} are left ({sold} sold, {held} held): order fewer",
            total - sold - held
        );
        return Err(Rejection::new("OUT_OF_SHARES", reason));
    }
    Ok(round)
}

/// Sells what is held. The last share of a round sells it out; a share of a failed round is refunded at once, because the
/// batches of its refunds may be over.
pub(crate) fn commit(state: &State, key: HoldKey, at: Timestamp) -> Result<Vec<Event>, DecideError> {
    match step(status(state, key), Request::Commit) {
        Step::Become(Status::Committed) => {}
        Step::Nothing => return Ok(vec![]),
        Step::Try | Step::Become(Status::Held | Status::Released | Status::Rejected) | Step::Broken => {
            return Err(out_of_step(state, key, Request::Commit));
        }
    }
    let (_, shares, round) = held(state, key)?;
    let (round_id, total_shares) = (shares.round_id, round.offer.total_shares);
    let sold = Event::SharesSold { key, shares };
    Ok(match round.status {
        RoundStatus::Open if round.sold + shares.count >= total_shares => {
            let lists_at = round.draw.as_ref().map(|_draw| at + BATCH_PAUSE);
            vec![sold, Event::RoundSoldOut { round_id, total_shares, lists_at }]
        }
        RoundStatus::Open | RoundStatus::SoldOut => vec![sold],
        RoundStatus::Failed(failure) => {
            let participants = vec![key];
            vec![sold, Event::RoundRefundsRequested { round_id, failure, participants, next_batch_at: None }]
        }
    })
}

/// Frees what is held.
pub(crate) fn release(state: &State, key: HoldKey) -> Result<Vec<Event>, DecideError> {
    match (step(status(state, key), Request::Release), status(state, key)) {
        (Step::Become(Status::Released), None) => Ok(vec![Event::SharesReleased { key, shares: None }]),
        (Step::Become(Status::Released), Some(_)) => {
            Ok(vec![Event::SharesReleased { key, shares: Some(held(state, key)?.1) }])
        }
        (Step::Nothing, _) => Ok(vec![]),
        (Step::Try | Step::Become(Status::Held | Status::Committed | Status::Rejected) | Step::Broken, _) => {
            Err(out_of_step(state, key, Request::Release))
        }
    }
}

/// Takes sold shares back. A refund proves that the order was paid: if it overtook that message, the commit comes first. A
/// round that was sold out is so no longer, unless its closing time has found it so, or its tickets are listed.
pub(crate) fn give_back(
    state: &State,
    key: HoldKey,
    refund_id: RefundId,
    at: Timestamp,
) -> Result<Vec<Event>, DecideError> {
    let mut events = commit(state, key, at)?;
    let (hold, shares, round) = held(state, key)?;
    let is_sold_out = match round.status {
        RoundStatus::SoldOut => round.may_reopen(at),
        // Even late: what is sold and given back at once was never all sold.
        RoundStatus::Open => events.iter().any(|event| matches!(event, Event::RoundSoldOut { .. })),
        RoundStatus::Failed(_) => false,
    };
    match hold.returned_by {
        None => events.push(Event::SharesReturned { key, shares, refund_id }),
        Some(before) if before == refund_id => return Ok(events),
        Some(before) => return Err(broken(key, format!("refund {refund_id} returns what refund {before} returned"))),
    }
    if is_sold_out {
        events.push(Event::RoundReopened { round_id: shares.round_id, closes_at: round.offer.closes_at });
    }
    Ok(events)
}

fn status(state: &State, key: HoldKey) -> Option<Status> {
    state.holds.get(&key).map(|hold| hold.status)
}

fn held(state: &State, key: HoldKey) -> Result<(&Hold, Shares, &Round), DecideError> {
    let found = state.holds.get(&key).and_then(|hold| {
        let round_id = hold.round_id?;
        Some((hold, Shares { round_id, count: hold.count }, state.rounds.get(&round_id)?))
    });
    found.ok_or_else(|| broken(key, "a hold without its round".to_owned()))
}

fn out_of_step(state: &State, key: HoldKey, request: Request) -> DecideError {
    let status = status(state, key).map_or("unknown", Status::as_str);
    broken(key, format!("{request:?} was asked of a hold that is {status}"))
}

fn broken(key: HoldKey, what: String) -> DecideError {
    DecideError::Broken { stream: StreamId::Hold(key).to_string(), what }
}

#[cfg(test)]
mod tests;
