//! Rounds' commands and events as messages of the contract, and back.

use domain::{Attempt, HoldKey, Money, RefundId, Rejection, RoundId, Timestamp, decode, text, unknown_type};
use proto::{Message, Name, rounds::v1 as wire};

use crate::{
    command::Command,
    draw::{Beacon, Bytes32, Drawn, Listed, Proof, Terms},
    event::{Event, Failure, Offer, Shares},
};

/// The most shares that a round, and so an order, may have.
pub const SHARES_MAX: i64 = 1_000_000;

const PACKAGE: &str = "holdfast.rounds.v1.";

/// Reads a command from outside.
///
/// # Errors
/// What the sender did wrong.
pub fn decode_command(message_type: &str, data: &[u8]) -> Result<Command, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::OpenRound::NAME) => open_round(decode(data)?),
        Some(wire::CloseRound::NAME) => {
            let wire::CloseRound { round_id, actor, note } = decode(data)?;
            let (actor, note) = who_and_why(&actor, &note)?;
            Ok(Command::CloseRound { round_id: RoundId::parse(&round_id)?, actor, note })
        }
        Some(wire::CancelRound::NAME) => {
            let wire::CancelRound { round_id, actor, note } = decode(data)?;
            let (actor, note) = who_and_why(&actor, &note)?;
            Ok(Command::CancelRound { round_id: RoundId::parse(&round_id)?, actor, note })
        }
        Some(_) | None => Err(unknown_type("rounds", message_type)),
    }
}

fn open_round(message: wire::OpenRound) -> Result<Command, Rejection> {
    let wire::OpenRound { round_id, prize, total_shares, share_price, closes_at, actor } = message;
    let share_price = Money::asked("share_price", share_price.as_ref())?;
    if share_price.minor_units < 1 {
        let least = Money { minor_units: 1, ..share_price };
        let reason = format!("share_price must be at least {least}: what is free cannot be refunded");
        return Err(Rejection::new("INVALID_AMOUNT", reason));
    }
    let offer = Offer {
        prize: text("prize", &prize, 1, 256)?,
        total_shares: share_count("total_shares", total_shares)?,
        share_price,
        closes_at: Timestamp::from_wire("closes_at", closes_at)?,
    };
    let actor = text("actor", &actor, 0, 128)?;
    Ok(Command::OpenRound { round_id: RoundId::parse(&round_id)?, offer, actor, draw: None })
}

fn who_and_why(actor: &str, note: &str) -> Result<(String, String), Rejection> {
    Ok((text("actor", actor, 1, 128)?, text("note", note, 1, 512)?))
}

/// Checks a number of shares.
pub(crate) fn share_count(field: &str, count: i64) -> Result<i64, Rejection> {
    if (1..=SHARES_MAX).contains(&count) {
        return Ok(count);
    }
    Err(Rejection::new("INVALID_QUANTITY", format!("{field} must be 1 to {SHARES_MAX}, not {count}")))
}

/// An event's full type name and bytes.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, Vec<u8>) {
    (message_type(event), bytes(event.clone()))
}

const fn message_type(event: &Event) -> &'static str {
    match event {
        Event::RoundOpened { .. } => "holdfast.rounds.v1.RoundOpened",
        Event::RoundSoldOut { .. } => "holdfast.rounds.v1.RoundSoldOut",
        Event::RoundTicketsListed { .. } => "holdfast.rounds.v1.RoundTicketsListed",
        Event::RoundDrawn { .. } => "holdfast.rounds.v1.RoundDrawn",
        Event::RoundReopened { .. } => "holdfast.rounds.v1.RoundReopened",
        Event::RoundClosed { .. } => "holdfast.rounds.v1.RoundClosed",
        Event::RoundCancelled { .. } => "holdfast.rounds.v1.RoundCancelled",
        Event::RoundRefundsRequested { .. } => "holdfast.rounds.v1.RoundRefundsRequested",
        Event::SharesHeld { .. } => "holdfast.rounds.v1.SharesHeld",
        Event::SharesRejected { .. } => "holdfast.rounds.v1.SharesRejected",
        Event::SharesSold { .. } => "holdfast.rounds.v1.SharesSold",
        Event::SharesReleased { .. } => "holdfast.rounds.v1.SharesReleased",
        Event::SharesReturned { .. } => "holdfast.rounds.v1.SharesReturned",
    }
}

fn bytes(event: Event) -> Vec<u8> {
    match event {
        Event::RoundOpened { round_id, offer: Offer { prize, total_shares, share_price, closes_at }, actor, draw } => {
            let (round_id, share_price, closes_at) =
                (round_id.to_string(), Some(share_price.to_wire()), Some(closes_at.to_wire()));
            let draw = draw.as_ref().map(terms_to_wire);
            wire::RoundOpened { round_id, prize, total_shares, share_price, closes_at, actor, draw }.encode_to_vec()
        }
        Event::RoundSoldOut { round_id, total_shares, lists_at } => {
            let (round_id, lists_at) = (round_id.to_string(), lists_at.map(Timestamp::to_wire));
            wire::RoundSoldOut { round_id, total_shares, lists_at }.encode_to_vec()
        }
        Event::RoundTicketsListed { round_id, listed, terms } => {
            listed_to_wire(round_id, listed, &terms).encode_to_vec()
        }
        Event::RoundDrawn { round_id, drawn } => drawn_to_wire(round_id, &drawn).encode_to_vec(),
        Event::RoundReopened { round_id, closes_at } => {
            let (round_id, closes_at) = (round_id.to_string(), Some(closes_at.to_wire()));
            wire::RoundReopened { round_id, closes_at }.encode_to_vec()
        }
        Event::RoundClosed { round_id, actor, note, closed_at } => {
            let (round_id, closed_at) = (round_id.to_string(), Some(closed_at.to_wire()));
            wire::RoundClosed { round_id, actor, note, closed_at }.encode_to_vec()
        }
        Event::RoundCancelled { round_id, actor, note, cancelled_at } => {
            let (round_id, cancelled_at) = (round_id.to_string(), Some(cancelled_at.to_wire()));
            wire::RoundCancelled { round_id, actor, note, cancelled_at }.encode_to_vec()
        }
        Event::RoundRefundsRequested { round_id, failure, participants, next_batch_at } => {
            let (round_id, failure) = (round_id.to_string(), failure_to_wire(failure).into());
            let participants = participants.into_iter().map(participant_to_wire).collect();
            let next_batch_at = next_batch_at.map(Timestamp::to_wire);
            wire::RoundRefundsRequested { round_id, failure, participants, next_batch_at }.encode_to_vec()
        }
        Event::SharesHeld { key, shares } => {
            let (order_id, attempt, round_id, count) = to_wire(key, shares);
            wire::SharesHeld { order_id, attempt, round_id, count }.encode_to_vec()
        }
        Event::SharesRejected { key: HoldKey { order_id, attempt }, round_id, rejection } => {
            let (order_id, round_id) = (order_id.to_string(), round_id.to_string());
            let rejection = Some(rejection.to_wire());
            wire::SharesRejected { order_id, attempt, round_id, rejection }.encode_to_vec()
        }
        Event::SharesSold { key, shares } => {
            let (order_id, attempt, round_id, count) = to_wire(key, shares);
            wire::SharesSold { order_id, attempt, round_id, count }.encode_to_vec()
        }
        Event::SharesReleased { key, shares: Some(shares) } => {
            let (order_id, attempt, round_id, count) = to_wire(key, shares);
            wire::SharesReleased { order_id, attempt, round_id, count }.encode_to_vec()
        }
        Event::SharesReleased { key: HoldKey { order_id, attempt }, shares: None } => {
            let (order_id, round_id) = (order_id.to_string(), String::new());
            wire::SharesReleased { order_id, attempt, round_id, count: 0 }.encode_to_vec()
        }
        Event::SharesReturned { key, shares, refund_id } => {
            let (order_id, attempt, round_id, count) = to_wire(key, shares);
            let refund_id = refund_id.to_string();
            wire::SharesReturned { order_id, attempt, round_id, count, refund_id }.encode_to_vec()
        }
    }
}

fn terms_to_wire(Terms { commitment, beacon, delay_ms }: &Terms) -> wire::DrawTerms {
    let (commitment, beacon) = (commitment.to_string(), beacon.as_str().to_owned());
    wire::DrawTerms { commitment, beacon, delay_ms: *delay_ms }
}

fn listed_to_wire(round_id: RoundId, listed: Listed, terms: &Terms) -> wire::RoundTicketsListed {
    let Listed { tickets, digest, beacon_round, draws_at } = listed;
    wire::RoundTicketsListed {
        round_id: round_id.to_string(),
        tickets,
        digest: digest.to_string(),
        beacon_round,
        draws_at: Some(draws_at.to_wire()),
        draw: Some(terms_to_wire(terms)),
    }
}

fn drawn_to_wire(round_id: RoundId, Drawn { proof, ticket, order }: &Drawn) -> wire::RoundDrawn {
    wire::RoundDrawn {
        round_id: round_id.to_string(),
        seed: proof.seed.to_string(),
        beacon_value: proof.beacon_value.to_string(),
        beacon_signature: proof.beacon_signature.clone(),
        ticket: *ticket,
        order_id: order.order_id.to_string(),
        attempt: order.attempt,
    }
}

fn terms_from_wire(terms: wire::DrawTerms) -> Result<Terms, Rejection> {
    let wire::DrawTerms { commitment, beacon, delay_ms } = terms;
    Ok(Terms {
        commitment: Bytes32::from_wire("draw.commitment", &commitment)?,
        beacon: Beacon::parse(&beacon)?,
        delay_ms,
    })
}

fn listed_from_wire(message: wire::RoundTicketsListed) -> Result<Event, Rejection> {
    let wire::RoundTicketsListed { round_id, tickets, digest, beacon_round, draws_at, draw } = message;
    let round_id = RoundId::parse(&round_id)?;
    let listed = Listed {
        tickets,
        digest: Bytes32::from_wire("digest", &digest)?,
        beacon_round,
        draws_at: Timestamp::from_wire("draws_at", draws_at)?,
    };
    let terms = terms_from_wire(draw.unwrap_or_default())?;
    Ok(Event::RoundTicketsListed { round_id, listed, terms })
}

fn drawn_from_wire(message: wire::RoundDrawn) -> Result<Event, Rejection> {
    let wire::RoundDrawn { round_id, seed, beacon_value, beacon_signature, ticket, order_id, attempt } = message;
    let round_id = RoundId::parse(&round_id)?;
    let proof = Proof {
        seed: Bytes32::from_wire("seed", &seed)?,
        beacon_value: Bytes32::from_wire("beacon_value", &beacon_value)?,
        beacon_signature,
    };
    let drawn = Drawn { proof, ticket, order: HoldKey::parse(&order_id, attempt)? };
    Ok(Event::RoundDrawn { round_id, drawn })
}

fn to_wire(key: HoldKey, shares: Shares) -> (String, Attempt, String, i64) {
    (key.order_id.to_string(), key.attempt, shares.round_id.to_string(), shares.count)
}

fn participant_to_wire(HoldKey { order_id, attempt }: HoldKey) -> wire::RoundParticipant {
    wire::RoundParticipant { order_id: order_id.to_string(), attempt }
}

const fn failure_to_wire(failure: Failure) -> wire::RoundFailure {
    match failure {
        Failure::Cancelled => wire::RoundFailure::Cancelled,
        Failure::NotSoldOut => wire::RoundFailure::NotSoldOut,
    }
}

/// Reads an event back from the log. Checks ids only: what was once a fact stays one, whatever is refused today.
///
/// # Errors
/// An unknown type, bytes that do not decode, or a malformed id, price or time.
pub fn decode_event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::RoundOpened::NAME) => {
            let wire::RoundOpened { round_id, prize, total_shares, share_price, closes_at, actor, draw } =
                decode(data)?;
            let round_id = RoundId::parse(&round_id)?;
            let share_price = Money::from_wire("share_price", share_price.as_ref())?;
            let closes_at = Timestamp::from_wire("closes_at", closes_at)?;
            let offer = Offer { prize, total_shares, share_price, closes_at };
            let draw = draw.map(terms_from_wire).transpose()?;
            Ok(Event::RoundOpened { round_id, offer, actor, draw })
        }
        Some(wire::RoundSoldOut::NAME) => {
            let wire::RoundSoldOut { round_id, total_shares, lists_at } = decode(data)?;
            let lists_at = lists_at.map(|at| Timestamp::from_wire("lists_at", Some(at))).transpose()?;
            Ok(Event::RoundSoldOut { round_id: RoundId::parse(&round_id)?, total_shares, lists_at })
        }
        Some(wire::RoundTicketsListed::NAME) => listed_from_wire(decode(data)?),
        Some(wire::RoundDrawn::NAME) => drawn_from_wire(decode(data)?),
        Some(wire::RoundReopened::NAME) => {
            let wire::RoundReopened { round_id, closes_at } = decode(data)?;
            let (round_id, closes_at) = (RoundId::parse(&round_id)?, Timestamp::from_wire("closes_at", closes_at)?);
            Ok(Event::RoundReopened { round_id, closes_at })
        }
        Some(wire::RoundClosed::NAME) => {
            let wire::RoundClosed { round_id, actor, note, closed_at } = decode(data)?;
            let (round_id, closed_at) = (RoundId::parse(&round_id)?, Timestamp::from_wire("closed_at", closed_at)?);
            Ok(Event::RoundClosed { round_id, actor, note, closed_at })
        }
        Some(wire::RoundCancelled::NAME) => {
            let wire::RoundCancelled { round_id, actor, note, cancelled_at } = decode(data)?;
            let round_id = RoundId::parse(&round_id)?;
            let cancelled_at = Timestamp::from_wire("cancelled_at", cancelled_at)?;
            Ok(Event::RoundCancelled { round_id, actor, note, cancelled_at })
        }
        Some(wire::RoundRefundsRequested::NAME) => refunds_requested(decode(data)?),
        Some(wire::SharesHeld::NAME) => {
            let wire::SharesHeld { order_id, attempt, round_id, count } = decode(data)?;
            let (key, round_id) = (HoldKey::parse(&order_id, attempt)?, RoundId::parse(&round_id)?);
            Ok(Event::SharesHeld { key, shares: Shares { round_id, count } })
        }
        Some(wire::SharesRejected::NAME) => {
            let wire::SharesRejected { order_id, attempt, round_id, rejection } = decode(data)?;
            let (key, round_id) = (HoldKey::parse(&order_id, attempt)?, RoundId::parse(&round_id)?);
            Ok(Event::SharesRejected { key, round_id, rejection: Rejection::from_wire(rejection) })
        }
        Some(wire::SharesSold::NAME) => {
            let wire::SharesSold { order_id, attempt, round_id, count } = decode(data)?;
            let (key, round_id) = (HoldKey::parse(&order_id, attempt)?, RoundId::parse(&round_id)?);
            Ok(Event::SharesSold { key, shares: Shares { round_id, count } })
        }
        Some(wire::SharesReleased::NAME) => released(decode(data)?),
        Some(wire::SharesReturned::NAME) => {
            let wire::SharesReturned { order_id, attempt, round_id, count, refund_id } = decode(data)?;
            let (key, round_id) = (HoldKey::parse(&order_id, attempt)?, RoundId::parse(&round_id)?);
            let (shares, refund_id) = (Shares { round_id, count }, RefundId::parse(&refund_id)?);
            Ok(Event::SharesReturned { key, shares, refund_id })
        }
        Some(_) | None => Err(unknown_type("rounds", message_type)),
    }
}

fn refunds_requested(message: wire::RoundRefundsRequested) -> Result<Event, Rejection> {
    let failure = match message.failure() {
        wire::RoundFailure::Cancelled => Failure::Cancelled,
        wire::RoundFailure::NotSoldOut | wire::RoundFailure::Unspecified => Failure::NotSoldOut,
    };
    let participants = message.participants.iter().map(|named| HoldKey::parse(&named.order_id, named.attempt));
    Ok(Event::RoundRefundsRequested {
        round_id: RoundId::parse(&message.round_id)?,
        failure,
        participants: participants.collect::<Result<_, _>>()?,
        next_batch_at: message.next_batch_at.map(|at| Timestamp::from_wire("next_batch_at", Some(at))).transpose()?,
    })
}

fn released(message: wire::SharesReleased) -> Result<Event, Rejection> {
    let wire::SharesReleased { order_id, attempt, round_id, count } = message;
    let key = HoldKey::parse(&order_id, attempt)?;
    let shares = match round_id.as_str() {
        "" => None,
        _ => Some(Shares { round_id: RoundId::parse(&round_id)?, count }),
    };
    Ok(Event::SharesReleased { key, shares })
}

#[cfg(test)]
mod tests;
