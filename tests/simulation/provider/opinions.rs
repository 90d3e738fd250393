//! What the provider does and reports of its own accord: in any order, late, twice, and not always true.

use std::time::Duration;

use domain::{Money, PaymentId, Timestamp};
use proto::payments::v1::{ProviderEventKind, RecordProviderEvent};
use providers::{RefundRequest, sandbox::report};
use rand::Rng;

use super::{Books, Key, Move, disputes::is_of_dispute, moved};

use ProviderEventKind::{
    PaymentAuthorised, PaymentClosed, PaymentFailed, PaymentSucceeded, RefundFailed, RefundSucceeded,
};

/// How long a refund is on its way that has been accepted, at most.
const ON_ITS_WAY_SECONDS_MAX: u64 = 6 * 3_600;

pub(super) const SECOND: Duration = Duration::from_secs(1);

const BACK: &str = "back of ";

/// What money is known by that was taken back of this charge.
pub(super) fn back_of(charge: &str) -> String {
    format!("{BACK}{charge}")
}

pub(super) fn is_back(reference: &str) -> bool {
    reference.starts_with(BACK)
}

/// A report of something that happened so much after now, by the provider's clock, if it says so.
pub(super) struct Told<'a> {
    pub(super) kind: ProviderEventKind,
    pub(super) reference: &'a str,
    pub(super) minor: i64,
    pub(super) at: Option<Timestamp>,
}

impl Books {
    /// Whether it has an opinion of its own.
    pub(super) fn thinks(&mut self) -> bool {
        self.opinions > 0 && self.rng.random_ratio(self.opinions, 1_000)
    }

    /// Reports something soon, or late, and now and then twice.
    pub(super) fn tell(&mut self, payment_id: PaymentId, refund_id: &str, told: &Told<'_>) {
        self.tell_of((payment_id, ""), refund_id, told);
    }

    /// The same of a refund, and of the charge that it is of.
    fn tell_of(&mut self, (payment_id, charge): (PaymentId, &str), refund_id: &str, told: &Told<'_>) {
        self.count += 1;
        let report = RecordProviderEvent {
            kind: told.kind.into(),
            payment_id: payment_id.to_string(),
            refund_id: refund_id.to_owned(),
            amount: self.money(payment_id, told.minor),
            provider_event_id: format!("event-{}", self.count),
            provider_reference: told.reference.to_owned(),
            reason: String::new(),
            occurred_at: told.at.map(Timestamp::to_wire),
            dispute: None,
            charge_reference: charge.to_owned(),
        };
        self.send(report, told.at);
    }

    /// Sends a report of something that happened at this time.
    pub(super) fn send(&mut self, report: RecordProviderEvent, at: Option<Timestamp>) {
        for _ in 0..if self.rng.random_ratio(1, 4) { 2 } else { 1 } {
            let late = if self.rng.random_bool(0.6) { 2_000 } else { 40_000 };
            let due = self.now.max(at.unwrap_or(self.now)) + Duration::from_millis(self.rng.random_range(0..late));
            self.reports.push((due, report.clone()));
        }
    }

    /// The buyer pays, or does not.
    pub(super) fn charge(&mut self, report: report::Report) {
        let thinks = self.thinks();
        let report::Report { due, mut command, .. } = report;
        let Ok(payment_id) = PaymentId::parse(&command.payment_id) else { return };
        if let Ok(amount) = Money::from_wire("amount", command.amount.as_ref()) {
            self.heard_of(payment_id, amount);
        }
        if command.kind() == PaymentAuthorised {
            return self.set_aside(payment_id, due, command, thinks);
        }
        if command.kind() != PaymentSucceeded {
            return self.reports.push((due, command));
        }
        let minor = command.amount.as_ref().map_or(0, |amount| amount.minor_units);
        let first = format!("charge-1-{payment_id}");
        // Some providers do not name their charges.
        let mut reference = if self.rng.random_bool(0.3) { String::new() } else { first };
        if thinks {
            match self.rng.random_range(0..6) {
                0 | 1 => self.decline(payment_id, minor, due),
                2 => self.charge_again(payment_id, minor, due),
                3 => {
                    // Less than was asked for, and then perhaps all of it.
                    self.come(payment_id, &reference, minor - 1, due);
                    if self.rng.random_bool(0.5) {
                        return;
                    }
                    reference = format!("charge-2-{payment_id}");
                }
                4 => self.take_back(payment_id, &reference, minor, due),
                // Time and reports are out of joint.
                _ => return self.come(payment_id, &reference, minor, due),
            }
        }
        let stands = true;
        self.note(payment_id, Move { reference: reference.clone(), refund_id: None, minor, stands });
        command.provider_reference = reference;
        let charge = command.provider_reference.clone();
        self.charges.insert(payment_id, (due, command.clone()));
        self.report(payment_id, due, command, thinks);
        self.perhaps_dispute((payment_id, &charge), minor, due);
    }

    pub(super) fn come(&mut self, payment_id: PaymentId, reference: &str, minor: i64, at: Timestamp) {
        self.note(payment_id, Move { reference: reference.to_owned(), refund_id: None, minor, stands: true });
        self.tell(payment_id, "", &Told { kind: PaymentSucceeded, reference, minor, at: Some(at) });
    }

    /// Tries that fail before one succeeds, and perhaps one after it.
    fn decline(&mut self, payment_id: PaymentId, minor: i64, due: Timestamp) {
        for n in 1..=self.rng.random_range(1..=3_u32) {
            let named = format!("try-{n}-{payment_id}");
            let is_after = self.rng.random_ratio(1, 4);
            let reference = if is_after || self.rng.random_bool(0.5) { named.as_str() } else { "" };
            let at = if is_after { due + n * SECOND } else { before(due, n) };
            let kind = if self.rng.random_ratio(1, 10) { PaymentClosed } else { PaymentFailed };
            self.tell(payment_id, "", &Told { kind, reference, minor, at: Some(at) });
        }
    }

    fn charge_again(&mut self, payment_id: PaymentId, minor: i64, due: Timestamp) {
        let other = if self.rng.random_bool(0.5) { minor } else { minor + 100 };
        let reference = format!("charge-2-{payment_id}");
        self.come(payment_id, &reference, other, due + SECOND);
        self.perhaps_dispute((payment_id, &reference), other, due + SECOND);
        if self.rng.random_ratio(1, 4) {
            self.take_back(payment_id, &reference, other, due + SECOND);
        }
    }

    /// Money that came is taken back, and perhaps comes again.
    fn take_back(&mut self, payment_id: PaymentId, reference: &str, minor: i64, due: Timestamp) {
        let at = due + 2 * SECOND;
        let comes_again = !reference.is_empty() && self.rng.random_ratio(1, 3);
        let back = Move { reference: back_of(reference), refund_id: None, minor: -minor, stands: !comes_again };
        self.note(payment_id, back);
        self.tell(payment_id, "", &Told { kind: PaymentFailed, reference, minor, at: Some(at) });
        if comes_again {
            self.tell(payment_id, "", &Told { kind: PaymentSucceeded, reference, minor, at: Some(at + SECOND) });
        }
    }

    /// Somebody gives money back without a word to us: a part of what is there, or all.
    pub(super) fn refund_elsewhere(&mut self, payment_id: PaymentId) {
        // Now and then it says of which charge.
        let charges = self.named_charges(payment_id);
        let charge = if charges.is_empty() || self.rng.random_bool(0.3) {
            String::new()
        } else {
            charges.get(self.rng.random_range(0..charges.len())).cloned().unwrap_or_default()
        };
        let there = self.left(payment_id, &charge);
        if there > 0 {
            let minor = if self.rng.random_bool(0.5) { there } else { self.rng.random_range(1..=there) };
            self.send_elsewhere((payment_id, &charge), minor);
        }
    }

    /// What it knows charges of a payment by, if it names them.
    fn named_charges(&self, payment_id: PaymentId) -> Vec<String> {
        let moves = self.moves.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        let is_charge = |move_: &&Move| move_.minor > 0 && move_.stands && !is_of_dispute(&move_.reference);
        let names = moves.iter().filter(is_charge).map(|move_| move_.reference.clone());
        names.filter(|name| !name.is_empty()).collect()
    }

    /// What it has of one charge, if that is named, or else of the payment; never more than of the payment.
    pub(super) fn left(&self, payment_id: PaymentId, charge: &str) -> i64 {
        let whole = self.balance(payment_id);
        if charge.is_empty() {
            return whole;
        }
        let moves = self.moves.get(&payment_id).map(Vec::as_slice).unwrap_or_default();
        let is_of_it = |move_: &&Move| {
            let reference = &move_.reference;
            let is_payout = self.payouts.get(reference).is_some_and(|of| of == charge);
            move_.stands && (reference == charge || *reference == back_of(charge) || is_payout)
        };
        let left: i64 = moves.iter().filter(is_of_it).map(|move_| move_.minor).sum();
        left.min(whole)
    }

    /// What it is known by.
    pub(super) fn send_elsewhere(&mut self, (payment_id, charge): (PaymentId, &str), minor: i64) -> String {
        self.count += 1;
        let reference = format!("elsewhere-{}", self.count);
        let fails = self.thinks() && self.rng.random_ratio(1, 5);
        let out = Move { reference: reference.clone(), refund_id: None, minor: -minor, stands: !fails };
        self.note(payment_id, out);
        self.payouts.insert(reference.clone(), charge.to_owned());
        let (at, named) = (self.now, format!("re-{}", self.count));
        let refund_id = if self.rng.random_bool(0.5) { named.as_str() } else { "" };
        let told = Told { kind: RefundSucceeded, reference: &reference, minor, at: Some(at) };
        self.tell_of((payment_id, charge), refund_id, &told);
        if fails {
            let failed = Told { kind: RefundFailed, at: Some(at + SECOND), ..told };
            self.tell_of((payment_id, charge), refund_id, &failed);
        }
        reference
    }

    /// A refund is asked for under a new key.
    pub(super) fn consider(&mut self, request: &RefundRequest, declines: bool) {
        let minor = request.amount.minor_units;
        let exceeds = self.is_strict && minor > self.balance(request.payment_id);
        let is_accepted = !declines && !exceeds && !self.is_disputed(request.payment_id, &request.charge_reference);
        let key = Key { amount_minor: minor, is_accepted, is_lost: false, is_stuck: false, on_its_way: None };
        self.keys.insert(request.key.clone(), key);
        let thinks = self.thinks();
        let reference = moved(&request.key);
        if is_accepted {
            self.pay_out(request, &reference, true);
            if self.is_slow && self.opinions > 0 && self.rng.random_ratio(1, 3) {
                self.be_slow(request, &reference);
            } else if thinks {
                self.have_opinion(request, &reference);
            }
        } else if declines && !exceeds && thinks {
            // It pays out after all.
            let late = format!("late-{}", request.key);
            self.pay_out(request, &late, true);
            let told = Told { kind: RefundSucceeded, reference: &late, minor, at: Some(self.now + SECOND) };
            self.tell(request.payment_id, &request.refund_id.to_string(), &told);
        }
    }

    fn pay_out(&mut self, request: &RefundRequest, reference: &str, stands: bool) {
        let (refund_id, minor) = (Some(request.refund_id), -request.amount.minor_units);
        self.note(request.payment_id, Move { reference: reference.to_owned(), refund_id, minor, stands });
        self.payouts.insert(reference.to_owned(), request.charge_reference.clone());
    }

    fn have_opinion(&mut self, request: &RefundRequest, reference: &str) {
        let (payment_id, refund_id) = (request.payment_id, request.refund_id.to_string());
        let (minor, at) = (request.amount.minor_units, self.now);
        let unnamed = self.rng.random_ratio(1, 4);
        let succeeded =
            Told { kind: RefundSucceeded, reference: if unnamed { "" } else { reference }, minor, at: Some(at) };
        let failed = |reference, at| Told { kind: RefundFailed, reference, minor, at: Some(at) };
        match self.rng.random_range(0..5) {
            0 => self.tell(payment_id, &refund_id, &succeeded),
            // It says that it failed, and pays it out all the same; the call is answered when it is made again.
            1 => {
                let other = format!("try-{}", request.key);
                let of = if self.rng.random_bool(0.5) { "" } else { other.as_str() };
                self.tell(payment_id, &refund_id, &failed(of, before(at, 1)));
                if let Some(key) = self.keys.get_mut(&request.key) {
                    key.is_lost = true;
                }
            }
            // It fails after it was paid out.
            2 => {
                let moves = self.moves.entry(payment_id).or_default();
                moves.iter_mut().filter(|move_| move_.reference == reference).for_each(|move_| move_.stands = false);
                if self.rng.random_bool(0.5) {
                    self.tell(payment_id, &refund_id, &succeeded);
                }
                self.tell(payment_id, &refund_id, &failed(reference, at + SECOND));
            }
            // It seems to fail, and succeeds after that.
            3 => {
                self.tell(payment_id, &refund_id, &failed(reference, at));
                let later = Told { kind: RefundSucceeded, reference, minor, at: Some(at + SECOND) };
                self.tell(payment_id, &refund_id, &later);
            }
            _ => self.refund_elsewhere(payment_id),
        }
    }

    fn be_slow(&mut self, request: &RefundRequest, reference: &str) {
        if self.rng.random_bool(0.5) { self.be_stuck(request, reference) } else { self.take_hours(request, reference) }
    }

    /// It answers this key with an error for ever, and has paid out, or has not.
    fn be_stuck(&mut self, request: &RefundRequest, reference: &str) {
        let is_done = self.rng.random_bool(0.5);
        if !is_done {
            let moves = self.moves.entry(request.payment_id).or_default();
            moves.retain(|move_| move_.reference != reference);
        }
        if let Some(key) = self.keys.get_mut(&request.key) {
            (key.is_stuck, key.is_accepted) = (true, is_done);
        }
    }

    /// It has accepted the refund, and pays it out hours later, or fails to. A report tells of it, or nobody does who is not asked.
    fn take_hours(&mut self, request: &RefundRequest, reference: &str) {
        let until = self.now + Duration::from_secs(self.rng.random_range(60..ON_ITS_WAY_SECONDS_MAX));
        if let Some(key) = self.keys.get_mut(&request.key) {
            key.on_its_way = Some((until, request.refund_id));
        }
        let fails = self.rng.random_ratio(1, 3);
        if fails {
            let moves = self.moves.entry(request.payment_id).or_default();
            moves.iter_mut().filter(|move_| move_.reference == reference).for_each(|move_| move_.stands = false);
        }
        if self.rng.random_ratio(1, 3) {
            return;
        }
        let kind = if fails { RefundFailed } else { RefundSucceeded };
        let told = Told { kind, reference, minor: request.amount.minor_units, at: Some(until) };
        self.tell(request.payment_id, &request.refund_id.to_string(), &told);
    }
}

/// So many seconds before.
fn before(at: Timestamp, seconds: u32) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - 1_000_000 * i64::from(seconds))
}
