//! The book of shares: every round's totals, what every attempt of an order holds of them, and who is named to be refunded.

use std::collections::BTreeMap;

use domain::{HoldKey, RefundId, Rejection, RoundId, decode, hold::Status};
use proto::{Name, rounds::v1 as wire};

use super::{Moment, orders::Orders, shares_name};
use crate::verify::report::{Check, Findings};

/// The book.
#[derive(Debug, Default)]
pub(in crate::verify) struct Shares {
    pub(in crate::verify) rounds: BTreeMap<RoundId, Round>,
    pub(in crate::verify) holds: BTreeMap<HoldKey, Hold>,
}

/// A round's totals. Wide enough that no sum of wrong events overflows.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::verify) struct Round {
    pub(in crate::verify) total: i128,
    pub(in crate::verify) sold: i128,
    pub(in crate::verify) held: i128,
    /// When it was closed or called off.
    pub(in crate::verify) failed: Option<Moment>,
    /// Whether a breach was told already.
    breached: bool,
}

/// What one attempt holds.
#[derive(Debug, Clone)]
pub(in crate::verify) struct Hold {
    pub(in crate::verify) status: Status,
    /// None: it was released before anybody said of which round.
    pub(in crate::verify) round_id: Option<RoundId>,
    count: i64,
    /// When its order was named to be refunded.
    pub(in crate::verify) named: Option<Moment>,
    pub(in crate::verify) returned_by: Option<RefundId>,
    /// When it came to stand so.
    pub(in crate::verify) since: Moment,
}

impl Round {
    /// What is out of balance.
    fn breach(&self) -> Option<String> {
        let Self { total, sold, held, .. } = self;
        (*sold < 0 || *held < 0 || sold + held > *total)
            .then(|| format!("{sold} are sold and {held} held of {total} shares"))
    }
}

impl Shares {
    pub(in crate::verify) fn standing(&self, key: HoldKey) -> Option<Status> {
        self.holds.get(&key).map(|hold| hold.status)
    }

    pub(super) fn take(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        orders: &Orders,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        match name {
            wire::RoundOpened::NAME => {
                let wire::RoundOpened { round_id, total_shares, .. } = decode(data)?;
                let round = Round { total: total_shares.into(), ..Round::default() };
                if self.rounds.insert(RoundId::parse(&round_id)?, round).is_some() {
                    let (subject, what) = (format!("round-{round_id}"), "it was opened twice".to_owned());
                    findings.add(Check::Shares, subject, what, Some(at.position));
                }
                Ok(())
            }
            wire::RoundSoldOut::NAME => {
                let round_id = RoundId::parse(&decode::<wire::RoundSoldOut>(data)?.round_id)?;
                self.sold_out(round_id, at, findings);
                Ok(())
            }
            wire::RoundClosed::NAME => {
                self.fail(RoundId::parse(&decode::<wire::RoundClosed>(data)?.round_id)?, at, findings);
                Ok(())
            }
            wire::RoundCancelled::NAME => {
                self.fail(RoundId::parse(&decode::<wire::RoundCancelled>(data)?.round_id)?, at, findings);
                Ok(())
            }
            wire::RoundRefundsRequested::NAME => self.name_all(&decode(data)?, at, findings),
            _ => self.take_hold(name, data, at, orders, findings),
        }
    }

    fn take_hold(
        &mut self,
        name: &str,
        data: &[u8],
        at: Moment,
        orders: &Orders,
        findings: &mut Findings,
    ) -> Result<(), Rejection> {
        match name {
            wire::SharesReserved::NAME => {
                let wire::SharesReserved { order_id, attempt, round_id, count } = decode(data)?;
                let (key, round_id) = (HoldKey::parse(&order_id, attempt)?, RoundId::parse(&round_id)?);
                if let Some(what) = orders.contradicts_shares(key, round_id, count) {
                    findings.add(Check::Shares, shares_name(key), what, Some(at.position));
                }
                self.begin(key, Hold::new(Status::Held, Some(round_id), count, at), findings);
            }
            wire::SharesRejected::NAME => {
                let wire::SharesRejected { order_id, attempt, .. } = decode(data)?;
                self.begin(HoldKey::parse(&order_id, attempt)?, Hold::new(Status::Refused, None, 0, at), findings);
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
            _ => {}
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
        if let Some(what) = known.breach().filter(|_| !known.breached) {
            known.breached = true;
            findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        }
    }

    fn sold_out(&mut self, round_id: RoundId, at: Moment, findings: &mut Findings) {
        let Some(Round { total, sold, .. }) = self.rounds.get(&round_id) else { return };
        if sold != total {
            let what = format!("it is said to be sold out with {sold} sold of {total}");
            findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        }
    }

    fn fail(&mut self, round_id: RoundId, at: Moment, findings: &mut Findings) {
        if let Some(round) = self.rounds.get_mut(&round_id)
            && round.failed.replace(at).is_some()
        {
            let what = "it failed twice".to_owned();
            findings.add(Check::Shares, format!("round-{round_id}"), what, Some(at.position));
        }
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
            match self.holds.get_mut(&key) {
                Some(hold) if hold.status == Status::Committed => {
                    if hold.named.replace(at).is_some() {
                        wrong("its order was named twice to be refunded");
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
        self.change(round_id, at, findings, |round| round.sold -= i128::from(count));
    }
}

impl Hold {
    const fn new(status: Status, round_id: Option<RoundId>, count: i64, since: Moment) -> Self {
        Self { status, round_id, count, named: None, returned_by: None, since }
    }
}
