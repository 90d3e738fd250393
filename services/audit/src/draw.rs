//! Checking a draw: from what everybody may have of it, and from the log.
//!
//! Why it is so: services/rounds/README.md#the-draw

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use domain::{Currency, Decider, GlobalPosition, HoldKey, Money, OrderId, RoundId, Timestamp};
pub use rounds::draw::Draw;
use rounds::{
    Rounds,
    draw::{Beacon, Bytes32, Drawn, Listed, Proof, Terms, Tickets, from_hex, ticket_code, winning_ticket},
    event::Event,
};
use runtime::log::event_store::{StoredEvent, read_streams};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

#[cfg(test)]
mod tests;

/// How many streams are read at a time.
const STREAMS: usize = 1_000;

/// What everybody may have of a draw. What is not fixed yet is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The round.
    pub round_id: RoundId,
    /// What was fixed when it was opened.
    #[serde(flatten)]
    pub terms: Terms,
    /// What was fixed when its tickets were listed.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub list: Option<List>,
    /// What it was drawn by, and what won.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Winner>,
}

/// The list of tickets, and the value of the beacon that was named with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// How many tickets there are.
    pub tickets: i64,
    /// SHA-256 of the list.
    pub tickets_sha256: Bytes32,
    /// Which value of the beacon.
    pub beacon_round: i64,
    /// When that is published.
    pub draws_at: Timestamp,
}

/// What won, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Winner {
    /// What it was drawn by.
    #[serde(flatten)]
    pub proof: Proof,
    /// The ticket.
    pub winning_ticket: i64,
    /// What the list has for its holder.
    pub winning_code: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What has to be so.
    pub claim: &'static str,
    /// Whether it is.
    pub is_so: bool,
    /// What it is instead, or why it is so.
    pub because: String,
}

fn step(claim: &'static str, is_so: bool, because: impl Into<String>) -> Step {
    Step { claim, is_so, because: because.into() }
}

/// That two are the same.
fn same<T: PartialEq + ToString>(claim: &'static str, told: &T, found: &T) -> Step {
    let because = if told == found {
        found.to_string()
    } else {
        format!("{} was told, it is {}", told.to_string(), found.to_string())
    };
    step(claim, told == found, because)
}

impl Record {
    fn of(round_id: RoundId, draw: &Draw) -> Self {
        let list = |listed: &Listed| List {
            tickets: listed.tickets,
            tickets_sha256: listed.digest,
            beacon_round: listed.beacon_round,
            draws_at: listed.draws_at,
        };
        let winner = |drawn: &Drawn| Winner {
            proof: drawn.proof.clone(),
            winning_ticket: drawn.ticket,
            winning_code: ticket_code(round_id, drawn.order),
        };
        Self {
            round_id,
            terms: draw.terms,
            list: draw.listed.as_ref().map(list),
            winner: draw.drawn.as_ref().map(winner),
        }
    }

    /// Checks it against the list of tickets, with nothing else at hand.
    #[must_use]
    pub fn check(&self, tickets: &str) -> Vec<Step> {
        let Some(list) = &self.list else { return Vec::new() };
        let mut steps = vec![
            same("the list is the one that was told of", &list.tickets_sha256, &Bytes32::hash(&[tickets.as_bytes()])),
            numbered(tickets, list.tickets),
            same(
                "the time is the one at which the beacon publishes the value that was named",
                &list.draws_at,
                &self.terms.beacon.published_at(list.beacon_round),
            ),
        ];
        if let Some(winner) = &self.winner {
            steps.extend(self.check_winner(list, winner, tickets));
        }
        steps
    }

    fn check_winner(&self, list: &List, winner: &Winner, tickets: &str) -> [Step; 5] {
        let Winner { proof, winning_ticket: ticket, winning_code } = winner;
        let commitment = proof.seed.commitment();
        let code = line_of(tickets, *ticket).map(|(_, _, code)| code).unwrap_or_default();
        [
            same("the seed is the one that was chosen when the round was opened", &self.terms.commitment, &commitment),
            self.check_value(list, proof),
            step(
                "the signature is the beacon's own, for the value that was named",
                self.terms.beacon.has_signed(list.beacon_round, &proof.beacon_signature),
                match self.terms.beacon {
                    Beacon::DrandQuicknet => "by its public key",
                    Beacon::Sandbox => "the sandbox signs nothing: anybody can foretell its values",
                },
            ),
            same(
                "the ticket follows from the seed, the value and the list",
                ticket,
                &winning_ticket(proof, &list.tickets_sha256, list.tickets),
            ),
            same("the code is the one that the list has for the ticket", &winning_code.as_str(), &code),
        ]
    }

    fn check_value(&self, list: &List, proof: &Proof) -> Step {
        let found = match self.terms.beacon {
            Beacon::Sandbox => Beacon::sandbox_value(list.beacon_round),
            Beacon::DrandQuicknet => Bytes32::hash(&[&from_hex(&proof.beacon_signature).unwrap_or_default()]),
        };
        same("the value is what the beacon's signature makes it", &proof.beacon_value, &found)
    }
}

/// A line of the list: first number, how many, code.
fn line(text: &str) -> Option<(i64, i64, &str)> {
    let mut words = text.split(' ');
    let parsed = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    words.next().is_none().then_some(parsed)
}

fn line_of(tickets: &str, ticket: i64) -> Option<(i64, i64, &str)> {
    tickets.lines().filter_map(line).find(|(first, count, _)| (*first..first.saturating_add(*count)).contains(&ticket))
}

/// That every ticket has one number.
fn numbered(tickets: &str, count: i64) -> Step {
    let claim = "every ticket has one number, from 1 on, without a gap";
    let mut next: i64 = 1;
    for text in tickets.lines() {
        match line(text) {
            Some((first, count, _)) if first == next && count > 0 => next = next.saturating_add(count),
            Some(_) | None => return step(claim, false, format!("where number {next} should begin, it says {text:?}")),
        }
    }
    let found = next - 1;
    let because =
        if found == count { format!("{found} tickets") } else { format!("{count} were told, there are {found}") };
    step(claim, found == count, because)
}

/// A round as everybody may see it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What there is to win.
    pub prize: String,
    /// Shares for sale.
    pub total_shares: i64,
    /// Shares that are sold and not returned.
    pub sold: i64,
    /// What one costs.
    pub price: Money,
    /// Where it stands.
    pub status: String,
    /// When it closes unless it is sold out then.
    pub closes_at: Timestamp,
    /// Its draw, if it has one.
    pub record: Option<Record>,
}

/// Reads a draw as the row of a round has it.
///
/// # Errors
/// It cannot be read.
pub fn of_row(text: Option<&str>) -> Result<Option<Draw>, sqlx::Error> {
    text.map(serde_json::from_str).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A round as everybody may see it, as its row has it.
///
/// # Errors
/// The row cannot be read.
pub async fn seen(connection: &mut PgConnection, round_id: RoundId) -> Result<Option<Seen>, sqlx::Error> {
    type Row = (String, i64, i64, i64, String, String, time::OffsetDateTime, Option<String>);
    let query = "select prize, total_shares, sold, share_price_minor, currency, status, closes_at, draw::text
        from rounds.rounds where round_id = $1";
    let row: Option<Row> = sqlx::query_as(query).bind(round_id.0).fetch_optional(connection).await?;
    let Some((prize, total_shares, sold, price, currency, status, closes_at, draw)) = row else { return Ok(None) };
    let record = of_row(draw.as_deref())?.map(|draw| Record::of(round_id, &draw));
    let currency = Currency::parse(&currency).map_err(|rejection| sqlx::Error::Decode(Box::new(rejection)))?;
    let (price, closes_at) = (Money { minor_units: price, currency }, closes_at.into());
    Ok(Some(Seen { prize, total_shares, sold, price, status, closes_at, record }))
}

/// The tickets of a round, as its rows have them.
///
/// # Errors
/// They cannot be read.
pub async fn tickets(connection: &mut PgConnection, round_id: RoundId) -> Result<Tickets, sqlx::Error> {
    let query = "select order_id, attempt, count from rounds.holds
        where round_id = $1 and status = 'committed' and not refund_requested and returned_by is null
        union all
        select order_id, attempt, count from rounds.holds
        where round_id = $1 and (refund_requested or keeps_ticket) and (returned_by is null or keeps_ticket)";
    let rows: Vec<(Uuid, i32, i64)> = sqlx::query_as(query).bind(round_id.0).fetch_all(connection).await?;
    let key = |(order_id, attempt, count)| (HoldKey { order_id: OrderId(order_id), attempt }, count);
    Ok(Tickets::of(round_id, rows.into_iter().map(key)))
}

/// A draw that was checked against the log.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// What everybody may have of it.
    #[serde(flatten)]
    pub record: Record,
    /// The order that won.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<HoldKey>,
    /// What was looked at.
    pub steps: Vec<Step>,
}

/// Checks the draw of a round against the log. `None`: the log has no such round, or it was opened without a draw.
///
/// # Errors
/// The log cannot be read.
pub async fn check(connection: &mut PgConnection, round_id: RoundId) -> Result<Option<Checked>> {
    let own = read_streams(connection, &[format!("round-{round_id}")]).await?;
    let told = Told::of(&own)?;
    let Some((opened, terms)) = told.opened else { return Ok(None) };
    let holders = holders(connection, round_id).await?;
    let tickets = Tickets::of(round_id, taking_part(&holders, told.listed.map(|(at, ..)| at.position)));
    let first_held = holders.values().map(|holder| holder.held).min();
    let draw = Draw {
        terms,
        listed: told.listed.map(|(_, listed, _)| listed),
        drawn: told.drawn.as_ref().map(|(_, drawn)| drawn.clone()),
    };
    let record = Record::of(round_id, &draw);
    let is_first = first_held.is_none_or(|held| opened.position < held);
    let mut steps = vec![step(
        "the seed was chosen before the first share was held",
        is_first,
        format!("its SHA-256 is in the event at position {}", opened.position),
    )];
    if let Some((at, listed, again)) = told.listed {
        steps.push(step(
            "the list says of the draw what was fixed before",
            again == terms,
            "commitment, beacon, delay",
        ));
        let (recorded, draws_at) = (at.recorded_at, listed.draws_at);
        let because = format!("it was named at {recorded}, and published at {draws_at}");
        steps.push(step("the value was named before anybody could know it", recorded < draws_at, because));
        steps.push(same("the list is of the shares that the log says are sold", &listed.digest, &tickets.digest()));
        steps.extend(record.check(&tickets.text()));
    }
    if let Some((at, drawn)) = &told.drawn {
        let holder = tickets.holder(drawn.ticket).map(|order| order.to_string()).unwrap_or_default();
        steps.push(same("the order that won has the ticket", &drawn.order.to_string(), &holder));
        let due = told.listed.is_some_and(|(_, listed, _)| listed.draws_at <= at.recorded_at);
        steps.push(step("it was drawn once the value was published", due, format!("at {}", at.recorded_at)));
    }
    Ok(Some(Checked { record, order: draw.drawn.map(|drawn| drawn.order), steps }))
}

/// Where an event is, and when it was written.
#[derive(Debug, Clone, Copy)]
struct Moment {
    position: GlobalPosition,
    recorded_at: Timestamp,
}

/// What a round's own events say of its draw.
#[derive(Debug, Default)]
struct Told {
    opened: Option<(Moment, Terms)>,
    listed: Option<(Moment, Listed, Terms)>,
    drawn: Option<(Moment, Drawn)>,
}

impl Told {
    fn of(events: &[StoredEvent]) -> Result<Self> {
        let mut told = Self::default();
        for event in events {
            let at = Moment { position: event.position, recorded_at: event.recorded_at };
            let read = Rounds::decode_event(&event.message_type, &event.data);
            match read.with_context(|| format!("reading the event at position {}", event.position))? {
                Event::RoundOpened { draw: Some(terms), .. } => told.opened = Some((at, terms)),
                Event::RoundTicketsListed { listed, terms, .. } => told.listed = Some((at, listed, terms)),
                Event::RoundDrawn { drawn, .. } => told.drawn = Some((at, drawn)),
                Event::RoundOpened { draw: None, .. }
                | Event::RoundSoldOut { .. }
                | Event::RoundReopened { .. }
                | Event::RoundClosed { .. }
                | Event::RoundCancelled { .. }
                | Event::RoundRefundsRequested { .. }
                | Event::SharesHeld { .. }
                | Event::SharesRejected { .. }
                | Event::SharesSold { .. }
                | Event::SharesReleased { .. }
                | Event::SharesReturned { .. } => {}
            }
        }
        Ok(told)
    }
}

/// What the log says of the shares of one order.
#[derive(Debug)]
struct Holder {
    count: i64,
    held: GlobalPosition,
    sold: Option<GlobalPosition>,
    returned: Option<GlobalPosition>,
}

/// Everybody who ever held shares of a round. Rows say who that is, and the log what they held: whoever a row leaves out is missed by the list.
async fn holders(connection: &mut PgConnection, round_id: RoundId) -> Result<BTreeMap<HoldKey, Holder>> {
    let query = "select order_id, attempt from rounds.holds where round_id = $1";
    let rows: Vec<(Uuid, i32)> = sqlx::query_as(query).bind(round_id.0).fetch_all(&mut *connection).await?;
    let key = |(order_id, attempt)| HoldKey { order_id: OrderId(order_id), attempt };
    let streams: Vec<String> = rows.into_iter().map(key).map(|key| format!("shares-{key}")).collect();
    let mut holders = BTreeMap::new();
    for some in streams.chunks(STREAMS) {
        for event in read_streams(connection, some).await? {
            take(&mut holders, round_id, &event)?;
        }
    }
    Ok(holders)
}

fn take(holders: &mut BTreeMap<HoldKey, Holder>, round_id: RoundId, event: &StoredEvent) -> Result<()> {
    let at = event.position;
    let mut change = |key: &HoldKey, change: &dyn Fn(&mut Holder)| match holders.get_mut(key) {
        Some(holder) => {
            change(holder);
            Ok(())
        }
        None => bail!("position {at} is about shares that nobody held"),
    };
    match Rounds::decode_event(&event.message_type, &event.data)? {
        Event::SharesHeld { key, shares } if shares.round_id == round_id => {
            holders.insert(key, Holder { count: shares.count, held: at, sold: None, returned: None });
        }
        Event::SharesSold { key, .. } => change(&key, &|holder| holder.sold = Some(at))?,
        Event::SharesReturned { key, .. } => change(&key, &|holder| holder.returned = Some(at))?,
        Event::SharesHeld { .. }
        | Event::SharesRejected { .. }
        | Event::SharesReleased { .. }
        | Event::RoundOpened { .. }
        | Event::RoundSoldOut { .. }
        | Event::RoundTicketsListed { .. }
        | Event::RoundDrawn { .. }
        | Event::RoundReopened { .. }
        | Event::RoundClosed { .. }
        | Event::RoundCancelled { .. }
        | Event::RoundRefundsRequested { .. } => {}
    }
    Ok(())
}

/// Whose shares were sold and had not come back when the tickets were listed.
fn taking_part(
    holders: &BTreeMap<HoldKey, Holder>,
    listed: Option<GlobalPosition>,
) -> impl Iterator<Item = (HoldKey, i64)> {
    let is_before = move |at: Option<GlobalPosition>| at.is_some_and(|at| listed.is_none_or(|listed| at < listed));
    let takes_part = move |holder: &Holder| is_before(holder.sold) && !is_before(holder.returned);
    holders.iter().filter(move |(_, holder)| takes_part(holder)).map(|(key, holder)| (*key, holder.count))
}
