//! The book of shares: every round's totals, what every attempt of an order holds of them, and who is named to be refunded.

use std::collections::BTreeMap;

use domain::{HoldKey, RefundId, Rejection, RoundId, Timestamp, decode, hold::Status};
use proto::{Name, rounds::v1 as wire};
use serde::{Deserialize, Serialize};

use super::{
    Moment, Unbooked,
    keys::{Keys, move_each},
    orders::Orders,
    shares_name,
};
use crate::report::{Check, Findings};

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    pub(crate) rounds: BTreeMap<RoundId, Round>,
    pub(crate) holds: BTreeMap<HoldKey, Hold>,
    /// Who was named to be refunded, and when: their rounds have said so, and none of their own streams.
    pub(crate) named: BTreeMap<HoldKey, Moment>,
}

/// A round's totals. Wide enough that no sum of wrong events overflows.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) total: i128,
    pub(crate) sold: i128,
    pub(crate) held: i128,
    /// Of the sold ones, those whose buyers were named to be refunded.
    pub(crate) named: i128,
    pub(crate) closes_at: Option<Timestamp>,
    pub(crate) standing: Standing,
    /// When it came to stand so.
    pub(crate) since: Moment,
    /// When its shares changed last.
    pub(crate) changed: Moment,
    /// When one was sold last.
    pub(crate) last_sold: Moment,
    /// When its tickets were listed: from then on it stays sold out.
    pub(crate) listed: Option<Moment>,
    /// When the beacon publishes the value that it is drawn by.
    draws_at: Option<Timestamp>,
    /// Whether it has a winner.
    is_drawn: bool,
    /// When a share came back that withdraws "sold out", until it is withdrawn.
    pub(crate) to_reopen: Option<Moment>,
    /// Whether a breach was told already.
    breached: bool,
}

/// Where a round stands, as its own events say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Standing {
    #[default]
    Open,
    SoldOut,
    Closed,
    Cancelled,
}

impl Standing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::SoldOut => "sold_out",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What one attempt holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) status: Status,
    /// None: it was released before anybody said of which round.
    pub(crate) round_id: Option<RoundId>,
    count: i64,
    pub(crate) returned_by: Option<RefundId>,
    /// When it came to stand so.
    pub(crate) since: Moment,
}

impl Round {
    /// When it was closed or called off.
    pub(crate) fn failed(&self) -> Option<Moment> {
        matches!(self.standing, Standing::Closed | Standing::Cancelled).then_some(self.since)
    }

    /// What is wrong with it becoming this.
    fn contradicts(&self, next: Standing, at: Moment) -> Option<String> {
        let Self { total, sold, standing, since, closes_at, .. } = self;
        let fits = match next {
            Standing::Open => *standing == Standing::SoldOut,
            Standing::SoldOut | Standing::Closed => *standing == Standing::Open,
            Standing::Cancelled => matches!(standing, Standing::Open | Standing::SoldOut),
        };
        let is_over = closes_at.is_some_and(|closes_at| since.at < closes_at && closes_at <= at.at);
        match next {
            _ if !fits => Some(format!("it is {} although it is {}", next.as_str(), standing.as_str())),
            Standing::SoldOut if sold != total => {
                Some(format!("it is said to be sold out with {sold} sold of {total}"))
            }
            Standing::Open if sold == total => Some("it is open again with every share sold".to_owned()),
            Standing::Open if self.listed.is_some() => Some("it is open again, and its tickets were listed".to_owned()),
            Standing::Open if is_over => Some("it is open again, and was sold out at its closing time".to_owned()),
            Standing::Open | Standing::SoldOut | Standing::Closed | Standing::Cancelled => None,
        }
    }

    /// What is wrong with this list of its tickets.
    fn contradicts_list(&self, listed: &wire::RoundTicketsListed) -> Option<String> {
        let Self { sold, standing, .. } = self;
        match standing {
            _ if self.listed.is_some() => Some("its tickets were listed twice".to_owned()),
            Standing::SoldOut if i128::from(listed.tickets) != *sold => {
                Some(format!("{} tickets are listed, and {sold} shares are sold", listed.tickets))
            }
            Standing::SoldOut => None,
            Standing::Open | Standing::Closed | Standing::Cancelled => {
                Some(format!("its tickets are listed although it is {}", standing.as_str()))
            }
        }
    }

    /// What is wrong with it being drawn now.
    fn contradicts_draw(&self, at: Moment) -> Option<String> {
        match self.draws_at {
            _ if self.is_drawn => Some("it was drawn twice".to_owned()),
            Some(draws_at) if draws_at <= at.at => None,
            Some(draws_at) => Some(format!("it is drawn before {draws_at}, when nobody can know by what")),
            None => Some("it is drawn without a list of its tickets".to_owned()),
        }
    }

    /// What is out of balance.
    fn breach(&self) -> Option<String> {
        let Self { total, sold, held, .. } = self;
        (*sold < 0 || *held < 0 || sold + held > *total)
            .then(|| format!("{sold} are sold and {held} held of {total} shares"))
    }
}

impl Shares {
    pub(super) fn move_to(&mut self, other: &mut Self, keys: &Keys) {
        move_each(&mut self.holds, &mut other.holds, &keys.holds);
        move_each(&mut self.named, &mut other.named, &keys.holds);
    }

    /// What outlives an order here: that it was named.
    pub(super) fn let_go(&mut self, gone: Self) {
        self.named.extend(gone.named);
    }

    pub(crate) fn standing(&self, key: HoldKey) -> Option<Status> {
        self.holds.get(&key).map(|hold| hold.status)
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        orders: &Orders,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            wire::RoundOpened::NAME => {
                let wire::RoundOpened { round_id, total_shares, closes_at, .. } = decode(data)?;
                // Without a time, the fold has told of it already.
                let closes_at = Timestamp::from_wire("closes_at", closes_at).ok();
                let round = Round { total: total_shares.into(), closes_at, since: at, changed: at, ..Round::default() };
                if self.rounds.insert(RoundId::parse(&round_id)?, round).is_some() {
                    let (subject, what) = (format!("round-{round_id}"), "it was opened twice".to_owned());
                    findings.add(Check::Shares, subject, what, Some(at.position));
                }
            }
            wire::RoundSoldOut::NAME => {
                self.become_standing(&decode::<wire::RoundSoldOut>(data)?.round_id, Standing::SoldOut, at, findings)?;
            }
            wire::RoundTicketsListed::NAME => self.list(&decode(data)?, at, findings)?,
            wire::RoundDrawn::NAME => self.draw(&decode::<wire::RoundDrawn>(data)?.round_id, at, findings)?,
            wire::RoundReopened::NAME => {
                self.become_standing(&decode::<wire::RoundReopened>(data)?.round_id, Standing::Open, at, findings)?;
            }
            wire::RoundClosed::NAME => {
                self.become_standing(&decode::<wire::RoundClosed>(data)?.round_id, Standing::Closed, at, findings)?;
            }
            wire::RoundCancelled::NAME => {
                self.become_standing(
                    &decode::<wire::RoundCancelled>(data)?.round_id,
                    Standing::Cancelled,
                    at,
                    findings,
                )?;
            }
            wire::RoundRefundsRequested::NAME => self.name_all(&decode(data)?, at, findings)?,
            _ => self.take_hold(name, data, at, orders, findings)?,
        }
        Ok(())
    }

    fn take_hold(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        orders: &Orders,
        findings: &mut Findings,
    ) -> Result<(), Unbooked> {
        match name {
            wire::SharesHeld::NAME => {
                let wire::SharesHeld { order_id, attempt, round_id, count } = decode(data)?;
                let (key, round_id) = (HoldKey::parse(&order_id, attempt)?, RoundId::parse(&round_id)?);
                if let Some(what) = orders.contradicts_shares(key, round_id, count) {
                    findings.add(Check::Shares, shares_name(key), what, Some(at.position));
                }
                self.begin(key, Hold::new(Status::Held, Some(round_id), count, at), findings);
            }
            wire::SharesRejected::NAME => {
                let wire::SharesRejected { order_id, attempt, .. } = decode(data)?;
                self.begin(HoldKey::parse(&order_id, attempt)?, Hold::new(Status::Rejected, None, 0, at), findings);
            }
            wire::SharesSold::NAME => {
                let wire::SharesSold { order_id, attempt, count, .. } = decode(data)?;
                self.end(HoldKey::parse(&order_id, attempt)?, Status::Committed, count, at, findings);
            }
            wire::SharesReleased::NAME => {
                let wire::SharesReleased { order_id, attempt, count, .. } = decode(data)?;
                self.end(HoldKey::parse(&order_id, attempt)?, Status::Released, count, at, findings);
            }
            wire::SharesReturned::NAME => {
                let wire::SharesReturned { order_id, attempt, count, refund_id, .. } = decode(data)?;
                let (key, refund_id) = (HoldKey::parse(&order_id, attempt)?, RefundId::parse(&refund_id)?);
                self.take_back(key, refund_id, count, at, findings);
            }
            _ => return Err(Unbooked::Unknown { book: "shares" }),
        }
        Ok(())
    }

    fn change(
        &mut self,
        round_id: Option<RoundId>,
        at: Moment,
        findings: &mut Findings,
        change: impl FnOnce(&mut Round),
    ) {
        let Some(round_id) = round_id else { return };
        let Some(known) = self.rounds.get_mut(&round_id) else {
            let what = "its shares changed before it was opened".to_owned();
            return findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        };
        change(known);
        known.changed = at;
        if let Some(what) = known.breach().filter(|_| !known.breached) {
            known.breached = true;
            findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        }
    }

    fn become_standing(
        &mut self,
        round_id: &str,
        next: Standing,
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        let round_id = RoundId::parse(round_id)?;
        let Some(round) = self.rounds.get_mut(&round_id) else { return Ok(()) };
        if let Some(what) = round.contradicts(next, at) {
            findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        }
        *round = Round { standing: next, since: at, to_reopen: None, ..*round };
        Ok(())
    }

    fn list(&mut self, event: &wire::RoundTicketsListed, at: Moment, findings: &mut Findings) -> Result<(), Rejection> {
        let round_id = RoundId::parse(&event.round_id)?;
        let Some(round) = self.rounds.get_mut(&round_id) else { return Ok(()) };
        if let Some(what) = round.contradicts_list(event) {
            findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        }
        let draws_at = event.draws_at.map(|draws_at| Timestamp::from_wire("draws_at", Some(draws_at))).transpose()?;
        *round = Round { listed: Some(at), draws_at, to_reopen: None, ..*round };
        Ok(())
    }

    fn draw(&mut self, round_id: &str, at: Moment, findings: &mut Findings) -> Result<(), Rejection> {
        let round_id = RoundId::parse(round_id)?;
        let Some(round) = self.rounds.get_mut(&round_id) else { return Ok(()) };
        if let Some(what) = round.contradicts_draw(at) {
            findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        }
        round.is_drawn = true;
        Ok(())
    }

    fn name_all(
        &mut self,
        event: &wire::RoundRefundsRequested,
        at: Moment,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        for participant in &event.participants {
            let key = HoldKey::parse(&participant.order_id, participant.attempt)?;
            let mut wrong =
                |what: &str| findings.add(Check::Shares, shares_name(key), what.to_owned(), Some(at.position));
            match self.holds.get(&key) {
                Some(hold) if hold.status == Status::Committed => {
                    let is_first = self.named.insert(key, at).is_none();
                    let round = hold.round_id.and_then(|round_id| self.rounds.get_mut(&round_id));
                    match round.filter(|_| is_first && hold.is_sold()) {
                        Some(round) => round.named += i128::from(hold.count),
                        None if is_first => {}
                        None => wrong("its order was named twice to be refunded"),
                    }
                }
                Some(_) | None => wrong("its order is to be refunded for shares that it did not buy"),
            }
        }
        Ok(())
    }

    fn begin(&mut self, key: HoldKey, hold: Hold, findings: &mut Findings) {
        let at = hold.since;
        if let Some(known) = self.holds.get(&key) {
            let what = format!("it is {} although it is {} already", hold.status.as_str(), known.status.as_str());
            return findings.add(Check::Shares, shares_name(key), what, Some(at.position));
        }
        let standing = hold.round_id.and_then(|round_id| self.rounds.get(&round_id)).map(|round| round.standing);
        if let Some(standing @ (Standing::SoldOut | Standing::Closed | Standing::Cancelled)) = standing {
            let what = format!("it is {} of a round that is {}", hold.status.as_str(), standing.as_str());
            findings.add(Check::Shares, shares_name(key), what, Some(at.position));
        }
        let count = i128::from(hold.count);
        self.change(hold.round_id, at, findings, |round| round.held += count);
        self.holds.insert(key, hold);
    }

    fn end(&mut self, key: HoldKey, status: Status, count: i64, at: Moment, findings: &mut Findings) {
        let mut wrong = |what: String| findings.add(Check::Shares, shares_name(key), what, Some(at.position));
        let round_id = match self.holds.get_mut(&key) {
            Some(hold) if hold.status == Status::Held && hold.count == count => {
                hold.status = status;
                hold.since = at;
                hold.round_id
            }
            Some(hold) if hold.status == Status::Held => {
                return wrong(format!("it ends with {count} shares and held {}", hold.count));
            }
            Some(hold) => return wrong(format!("it is {} although it is {}", status.as_str(), hold.status.as_str())),
            // Released before it came: from now on it holds nothing.
            None if status == Status::Released && count == 0 => {
                self.holds.insert(key, Hold::new(status, None, 0, at));
                return;
            }
            None => return wrong(format!("it is {} although nothing was held", status.as_str())),
        };
        self.change(round_id, at, findings, |round| {
            round.held -= i128::from(count);
            if status == Status::Committed {
                round.sold += i128::from(count);
                round.last_sold = at;
            }
        });
    }

    fn take_back(&mut self, key: HoldKey, refund_id: RefundId, count: i64, at: Moment, findings: &mut Findings) {
        let mut wrong = |what: String| findings.add(Check::Shares, shares_name(key), what, Some(at.position));
        let Some(hold) = self.holds.get_mut(&key).filter(|hold| hold.status == Status::Committed) else {
            return wrong("shares came back that were not sold".to_owned());
        };
        if hold.count != count {
            wrong(format!("{count} shares came back of {} sold", hold.count));
        }
        if hold.returned_by.replace(refund_id).is_some() {
            wrong("its shares came back twice".to_owned());
        }
        let round_id = hold.round_id;
        let named = if self.named.contains_key(&key) { i128::from(count) } else { 0 };
        self.change(round_id, at, findings, |round| {
            round.sold -= i128::from(count);
            round.named -= named;
            let may_reopen = round.listed.is_none() && round.closes_at.is_some_and(|closes_at| at.at < closes_at);
            if round.standing == Standing::SoldOut && may_reopen {
                round.to_reopen = Some(at);
            }
        });
    }
}

impl Hold {
    /// Whether it was sold and did not come back.
    const fn is_sold(&self) -> bool {
        matches!(self.status, Status::Committed) && self.returned_by.is_none()
    }

    const fn new(status: Status, round_id: Option<RoundId>, count: i64, since: Moment) -> Self {
        Self { status, round_id, count, returned_by: None, since }
    }
}
