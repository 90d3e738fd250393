//! What a provider reports about a few payments, in any order and however strange, between what orders and operators do: payments
//! decides, and after each step its books must be right.
//!
//! A step is a line: a word, the number of a payment, and what the word needs, `-` where it is not given. `paid 1 evt-1 ch-1 1000EUR 5`
//! is a report of kind, payment, id, reference, money, time and, if it is about one, refund and the charge that it is of.
//! `took 1 evt-2 du-1 1000EUR 5 needs_response` is one of kind, payment, id, dispute, money, time, status and, if it is another, the money
//! that is disputed, and the charge.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Decider, HoldKey, OrderId, PaymentId, RefundId, Rejection, Timestamp};
use payments::{
    Payments,
    command::{Command, Outcome},
    event::Event,
    payment::{Charge, Payment, State, decide, evolve},
    report::{Kept, Kind, Report},
};
use proto::{
    Message, Name,
    common::v1::{CommandRejected, DisputeStanding, Money},
    orders::v1::{OrderExpired, OrderReserved, RefundRequested},
    payments::v1 as wire,
    well_known,
};
use runtime::simulation::{Inbox, TestInput, batch};
use uuid::Uuid;

use super::{Checked, Shape, Target, ensure, headless};
use crate::attempt::outline;

pub(super) const TARGET: Target = Target {
    name: "reports",
    shape: Shape::Text,
    heads: headless,
    tokens: &[
        "ask 1\n",
        "stop 1\n",
        "refund 1 r1\n",
        "refund 1 r2\n",
        "refund 1 r3\n",
        "back 1 r1 re-1\n",
        "back 1 r1 re-2\n",
        "lost 1 r1\n",
        "no 1 r1\n",
        "accept 1 e1\n",
        "undo 1 e1\n",
        "accept 1 e2\n",
        "undo 1 e2\n",
        "retry 1 r1\n",
        "gave 1 r1\n",
        "abandon 1 r1\n",
        "paid 1 e1 ch-1 1000EUR 5\n",
        "paid 1 e2 ch-2 1000EUR 6\n",
        "failed 1 e3 ch-1 1000EUR 7\n",
        "closed 1 e4 - - 4\n",
        "held 1 e9 ch-1 1000EUR 4\n",
        "let_go 1 e10 ch-1 - 5\n",
        "refunded 1 e5 re-1 1000EUR 8 r1\n",
        "unrefunded 1 e6 re-1 1000EUR 9 r1\n",
        "refunded 1 e7 re-9 400EUR 8\n",
        "refunded 1 e11 re-8 400EUR 8 - ch-2\n",
        "unrefunded 1 e12 re-8 400EUR 9 - ch-2\n",
        "disputed 1 d6 du-2 1000EUR 7 needs_response - ch-2\n",
        "unrefunded 1 e8 re-9 400EUR 9\n",
        "disputed 1 d1 du-1 1000EUR 7 needs_response\n",
        "took 1 d2 du-1 1000EUR 7 needs_response\n",
        "gave_back 1 d3 du-1 1000EUR 9 won\n",
        "ended 1 d4 du-1 1000EUR 9 lost\n",
        "du-2",
        "won",
        "lost",
        "e1",
        "e2",
        "e3",
        "ch-1",
        "ch-2",
        "re-1",
        "re-2",
        "r1",
        "r2",
        "r3",
        "-",
        "1000EUR",
        "600EUR",
        "400EUR",
        "1000eur",
        "1000USD",
        "-1EUR",
        "0EUR",
        "9223372036854775807EUR",
        "-9223372036854775808EUR",
        "1000\u{202e}",
        "253402300800",
        "-62135596801",
    ],
    seeds,
    check,
};

/// Payments, each of an order of its own.
const PAYMENTS: u128 = 3;

/// Refunds that orders may ask for, in minor units: of one id it is always the same money.
const REFUNDS: [i64; 4] = [1_000, 400, 600, 0];

/// What every payment is asked over, in minor units.
const ASKED: i64 = 1_000;

/// Steps of one input: fewer than the notes that a payment keeps.
const STEPS_MAX: usize = 60;

/// The first of January 2026.
const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn seeds() -> Vec<Vec<u8>> {
    let stories = [
        "ask 1\nfailed 1 e0 ch-0 1000EUR 4\npaid 1 e1 ch-1 1000EUR 5\nrefund 1 r1\nback 1 r1 re-1\nrefunded 1 e5 re-1 1000EUR 8 r1",
        "paid 1 e1 ch-1 1000EUR 5\nask 1\npaid 1 e2 ch-2 1000EUR 6\nrefund 1 r2\nundo 1 e2\nlost 1 r2\ngave 1 r2",
        "ask 1\npaid 1 e1 ch-1 1000EUR 5\nfailed 1 e3 ch-1 1000EUR 7\nrefund 1 r3\naccept 1 e3\nask 2\nstop 2",
        "ask 1\npaid 1 e1 ch-1 1000EUR 5\nrefunded 1 e7 re-9 400EUR 8\nrefund 1 r3\nback 1 r3 re-3\nunrefunded 1 e8 re-9 400EUR 9\nretry 1 r9",
        "ask 1\npaid 1 e1 - 1000EUR -\nrefund 1 r1\nunrefunded 1 e6 - 1000EUR - r1\nrefund 1 r2\nback 1 r1 re-1",
        "ask 1\npaid 1 e1 ch-1 1000EUR 5\nfailed 1 e3 ch-1 9223372036854775807EUR 7\nfailed 1 e4 ch-1 9223372036854775807EUR 8\naccept 1 e3\naccept 1 e4\nrefund 1 r1",
        "ask 1\npaid 1 e1 ch-1 1000EUR 5\npaid 1 e2 ch-2 600EUR 6\nrefunded 1 e11 re-8 400EUR 8 - ch-2\ndisputed 1 d6 du-2 600EUR 7 needs_response - ch-2\nrefund 1 r1\nunrefunded 1 e12 re-8 400EUR 9 - ch-2",
        "stop 1\nask 1\nclosed 1 e4\npaid 1 e1 ch-1 999EUR\nrefunded 1 e5 re-5 999EUR\npaid 1 e2 ch-2 -1EUR 253402300800 x",
        "ended 1 d4 du-1 - 9 lost\nask 1\npaid 1 e1 ch-1 1000EUR 5\nrefund 1 r2\ntook 1 d2 du-1 1300EUR 7 needs_response\nrefund 1 r3\ndisputed 1 d5 du-1 - 10 appeal\nended 1 d6 du-1 - 11 won\ngave_back 1 d3 du-1 1300EUR 11 won\nback 1 r2 re-2",
    ];
    stories.map(|story| story.as_bytes().to_vec()).to_vec()
}

fn check(input: &[u8]) -> Checked {
    let text = String::from_utf8_lossy(input);
    let mut books = Books::default();
    for line in text.lines().take(STEPS_MAX) {
        books.step(line).map_err(|what| format!("{what} (after «{line:.200}»)"))?;
    }
    books.heard_again()?;
    Ok(books.seen.into_iter().collect::<Vec<_>>().join(" "))
}

/// A service in memory, the fold of what it recorded, and what was reported.
#[derive(Default)]
struct Books {
    state: State,
    folded: State,
    inbox: Inbox,
    /// The first under each id, and whether it caused anything.
    reports: BTreeMap<(PaymentId, String), (Report, Caused)>,
    steps: u128,
    seen: BTreeSet<String>,
}

/// What a message caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caused {
    Nothing,
    Something,
}

/// A step's words, and `-` for those that are missing.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        self.0.next().unwrap_or("-")
    }

    fn text(&mut self) -> String {
        let word = self.next();
        if word == "-" { String::new() } else { word.to_owned() }
    }

    fn payment(&mut self) -> HoldKey {
        let number = self.next().parse().unwrap_or(0_u128) % PAYMENTS;
        HoldKey { order_id: OrderId(Uuid::from_u128(number + 1)), attempt: 1 }
    }

    /// One of ours, by its number; otherwise whatever is written there.
    fn refund(&mut self) -> (Option<(RefundId, i64)>, String) {
        let word = self.text();
        let number = word.strip_prefix('r').and_then(|number| number.parse::<usize>().ok());
        let known = number.and_then(|number| {
            let id = RefundId(Uuid::from_u128(0xbac0 + u128::try_from(number).ok()?));
            Some((id, *REFUNDS.get(number.checked_sub(1)?)?))
        });
        (known, known.map_or(word, |(id, _)| id.to_string()))
    }

    fn money(&mut self) -> Option<Money> {
        let word = self.next();
        let digits = word.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(word.len());
        let (minor_units, currency) = word.split_at(digits);
        Some(Money { minor_units: minor_units.parse().ok()?, currency: currency.to_owned() })
    }

    fn time(&mut self) -> Option<well_known::Timestamp> {
        Some(well_known::Timestamp { seconds: self.next().parse().ok()?, nanos: 0 })
    }
}

fn euros(minor_units: i64) -> Option<Money> {
    Some(Money { minor_units, currency: "EUR".to_owned() })
}

impl Books {
    fn step(&mut self, line: &str) -> Result<(), String> {
        let mut words = Words(line.split_whitespace());
        let (word, key) = (words.next(), words.payment());
        self.steps += 1;
        match word {
            "ask" | "stop" | "refund" => self.orders(word, key, &mut words),
            "paid" | "failed" | "closed" | "held" | "let_go" | "refunded" | "unrefunded" => {
                self.provider(word, key, &mut words)
            }
            "disputed" | "took" | "gave_back" | "ended" => self.bank(word, key, &mut words),
            "back" | "lost" | "no" => self.answer(word, key, &mut words),
            "accept" | "undo" | "retry" | "gave" | "abandon" => self.operator(word, key, &mut words),
            _ => Ok(()),
        }
    }

    /// Somebody decides about a report or a refund.
    fn operator(&mut self, word: &str, key: HoldKey, words: &mut Words<'_>) -> Result<(), String> {
        let (payment_id, actor, note) = (key.payment_id().to_string(), "ops".to_owned(), "seen".to_owned());
        let of_report = match word {
            "accept" => Some(wire::ReportResolution::Accepted),
            "undo" => Some(wire::ReportResolution::Undone),
            _ => None,
        };
        let of_refund = match word {
            "retry" => wire::RefundResolution::Retry,
            "gave" => wire::RefundResolution::Refunded,
            _ => wire::RefundResolution::Abandon,
        };
        if let Some(resolution) = of_report {
            let (provider_event_id, resolution) = (words.text(), resolution.into());
            let decided = wire::ResolveProviderReport { payment_id, provider_event_id, resolution, actor, note };
            return self.command(key, &decided).map(drop);
        }
        let (refund_id, resolution) = (words.refund().1, of_refund.into());
        let decided = wire::ResolveRefund { payment_id, refund_id, resolution, actor, note };
        self.command(key, &decided).map(drop)
    }

    /// What orders does. It asks only for money back that came.
    fn orders(&mut self, word: &str, key: HoldKey, words: &mut Words<'_>) -> Result<(), String> {
        let (order_id, attempt) = (key.order_id.to_string(), key.attempt);
        let (amount, payment_method) = (euros(ASKED), "card".to_owned());
        match word {
            "ask" => {
                let (expires_at, discount, reference) = (Some(NOW.to_wire()), None, String::new());
                self.event(
                    key,
                    &OrderReserved { order_id, attempt, amount, expires_at, payment_method, discount, reference },
                )
            }
            "stop" => self.event(key, &OrderExpired { order_id, attempt, ..OrderExpired::default() }),
            _ => {
                let has_come = self.payment(key).is_some_and(|payment| payment.charge.is_some());
                let Some((refund_id, minor)) = words.refund().0.filter(|_| has_come) else { return Ok(()) };
                let (payment_id, refund_id) = (key.payment_id().to_string(), refund_id.to_string());
                let amount = euros(minor);
                self.event(key, &RefundRequested { order_id, refund_id, payment_id, amount, ..Default::default() })
            }
        }
        .map(drop)
    }

    /// A report. It is taken in, whatever it says, and once.
    fn provider(&mut self, word: &str, key: HoldKey, words: &mut Words<'_>) -> Result<(), String> {
        let kind = match word {
            "paid" => wire::ProviderEventKind::PaymentSucceeded,
            "failed" => wire::ProviderEventKind::PaymentFailed,
            "closed" => wire::ProviderEventKind::PaymentClosed,
            "held" => wire::ProviderEventKind::PaymentAuthorised,
            "let_go" => wire::ProviderEventKind::PaymentVoided,
            "refunded" => wire::ProviderEventKind::RefundSucceeded,
            _ => wire::ProviderEventKind::RefundFailed,
        };
        let report = wire::RecordProviderEvent {
            kind: kind.into(),
            payment_id: key.payment_id().to_string(),
            provider_event_id: words.text(),
            provider_reference: words.text(),
            amount: words.money(),
            occurred_at: words.time(),
            refund_id: words.refund().1,
            charge_reference: words.text(),
            reason: words.text(),
            dispute: None,
        };
        self.reported(key, &report)
    }

    /// A report about a dispute.
    fn bank(&mut self, word: &str, key: HoldKey, words: &mut Words<'_>) -> Result<(), String> {
        let kind = match word {
            "disputed" => wire::ProviderEventKind::PaymentDisputed,
            "took" => wire::ProviderEventKind::DisputeFundsWithdrawn,
            "gave_back" => wire::ProviderEventKind::DisputeFundsReinstated,
            _ => wire::ProviderEventKind::DisputeClosed,
        };
        let (provider_event_id, dispute_id, amount, occurred_at) =
            (words.text(), words.text(), words.money(), words.time());
        let status = words.text();
        let standing = match status.as_str() {
            "won" => DisputeStanding::Won,
            "lost" => DisputeStanding::Lost,
            _ => DisputeStanding::Open,
        };
        let disputed = words.money();
        // Of a payment without a charge nobody can say which one a dispute is of.
        let has_charge = self.payment(key).is_some_and(|payment| payment.charge.is_some());
        let provider_reference = if has_charge { words.text() } else { String::new() };
        let dispute = wire::ReportedDispute {
            dispute_id,
            status,
            standing: standing.into(),
            amount: disputed.or_else(|| amount.clone()),
            ..Default::default()
        };
        let report = wire::RecordProviderEvent {
            kind: kind.into(),
            payment_id: key.payment_id().to_string(),
            provider_event_id,
            provider_reference,
            amount,
            occurred_at,
            dispute: Some(dispute),
            ..Default::default()
        };
        self.reported(key, &report)
    }

    /// What is reported is taken in, and once.
    fn reported(&mut self, key: HoldKey, report: &wire::RecordProviderEvent) -> Result<(), String> {
        let payment_id = key.payment_id();
        let message_type = wire::RecordProviderEvent::full_name();
        let command = <Payments>::decode_command(&message_type, &report.encode_to_vec(), self.id())
            .map_err(|rejection| format!("a report is refused: {rejection}"))?;
        let caused = self.command(key, report)?;
        let again = decide(&self.state, &command, NOW);
        ensure(again == Ok(vec![]), || format!("a report that comes twice does this the second time: {again:?}"))?;
        if let Command::RecordProviderEvent { report, .. } = command {
            self.reports.entry((payment_id, report.provider_event_id.clone())).or_insert((report, caused));
        }
        self.no_charge_is_lost(payment_id)
    }

    /// The call for a refund comes to an end.
    fn answer(&mut self, word: &str, key: HoldKey, words: &mut Words<'_>) -> Result<(), String> {
        let payment_id = key.payment_id();
        let Some((refund_id, _)) = words.refund().0 else { return Ok(()) };
        let Some(refund) = self.payment(key).and_then(|payment| payment.refunds.get(&refund_id)) else { return Ok(()) };
        if !refund.call_open {
            return Ok(());
        }
        let outcome = match word {
            "back" => Outcome::Refunded { provider_reference: words.text() },
            "no" => Outcome::Rejected(Rejection::new("REFUND_DECLINED", "no")),
            _ => Outcome::Unknown { evidence: "silence".to_owned() },
        };
        let effect = refund.key.clone();
        let command = Command::RecordRefundOutcome { payment_id, refund_id, key: effect.clone(), outcome };
        let input = TestInput::Outcome { key: effect, attempt: 1, correlation_id: self.id(), command };
        self.take(key, input).map(drop)
    }

    fn id(&self) -> Uuid {
        Uuid::from_u128(0x0199_0c3e_5b7a_7000_8000_0000_0000_0000 + self.steps)
    }

    fn command<M: Message + Name>(&mut self, key: HoldKey, command: &M) -> Result<Caused, String> {
        let (message_type, data) = (M::full_name(), command.encode_to_vec());
        self.take(key, TestInput::Command { id: self.id(), message_type: &message_type, data: &data })
    }

    fn event<M: Message + Name>(&mut self, key: HoldKey, event: &M) -> Result<Caused, String> {
        let (message_type, data) = (M::full_name(), event.encode_to_vec());
        let id = self.id();
        self.take(key, TestInput::Event { id, correlation_id: id, message_type: &message_type, data: &data })
    }

    fn payment(&self, key: HoldKey) -> Option<&Payment> {
        self.state.payments.get(&key.payment_id())
    }

    fn take(&mut self, key: HoldKey, input: TestInput<'_, Command>) -> Result<Caused, String> {
        let is_report =
            matches!(&input, TestInput::Command { message_type, .. } if message_type.ends_with(".RecordProviderEvent"));
        let done = batch::<Payments>(&mut self.state, &mut self.inbox, vec![input], NOW)
            .map_err(|(_, rejection)| format!("it breaks: {rejection}"))?;
        ensure(done.dead_letters.is_empty(), || format!("nobody can read it: {:?}", done.dead_letters))?;
        let caused = if done.events.is_empty() { Caused::Nothing } else { Caused::Something };
        let mut is_sent = false;
        for event in done.events {
            self.seen.insert(proto::short_name(&event.message_type).to_owned());
            if event.message_type == CommandRejected::full_name() {
                ensure(!is_report, || "a report is refused".to_owned())?;
                continue;
            }
            let event = <Payments>::decode_event(&event.message_type, &event.data)
                .map_err(|rejection| format!("recorded, and not read back: {rejection}"))?;
            is_sent |= matches!(event, Event::RefundSubmitted { of, .. } if !of.is_of_second_charge);
            evolve(&mut self.folded, &event);
        }
        let (rows, folded) = (self.payment(key), self.folded.payments.get(&key.payment_id()));
        ensure(rows == folded, || format!("the row is {rows:?}, and its events fold to {folded:?}"))?;
        let Some(payment) = rows else { return Ok(caused) };
        right(payment)?;
        let is_doubt = |kept: &Kept| kept.is_open() && !is_of_second_charge(payment, &kept.report);
        let doubt = payment.reports.iter().find(|(_, kept)| is_doubt(kept)).filter(|_| is_sent);
        ensure(doubt.is_none(), || format!("a refund is sent while a report waits: {doubt:?}"))?;
        let dispute = payment.disputes.iter().find(|(_, dispute)| dispute.stops_refunds()).filter(|_| is_sent);
        ensure(dispute.is_none(), || format!("a refund is sent while its charge is disputed: {dispute:?}"))?;
        let seen: Vec<String> = payment
            .refunds
            .values()
            .map(|refund| refund.status.as_str().to_owned())
            .chain(payment.reports.values().map(|kept| outline(&format!("{:?} {:?}", kept.mismatch, kept.standing))))
            .collect();
        self.seen.extend(seen);
        Ok(caused)
    }

    /// Every report that did something says nothing new when it comes again.
    fn heard_again(&self) -> Result<(), String> {
        for ((payment_id, _), (report, caused)) in &self.reports {
            if *caused == Caused::Nothing {
                continue;
            }
            let command = Command::RecordProviderEvent { payment_id: *payment_id, report: report.clone() };
            let again = decide(&self.state, &command, NOW);
            ensure(again == Ok(vec![]), || {
                format!("a report that comes again later, {report:?}, does this: {again:?}")
            })?;
        }
        Ok(())
    }

    /// Every charge that was reported is the payment's own, or kept beside it.
    fn no_charge_is_lost(&self, payment_id: PaymentId) -> Result<(), String> {
        let payment = self.state.payments.get(&payment_id);
        let is_known = |report: &Report| {
            payment.is_some_and(|payment| {
                let id = &report.provider_event_id;
                let is_own = |charge: &Charge| charge.provider_event_id == *id || report.is_of(&charge.reference);
                payment.reports.contains_key(id) || payment.charge.as_ref().is_some_and(is_own)
            })
        };
        let of_it = self.reports.iter().filter(|((of, _), _)| *of == payment_id).map(|(_, (report, _))| report);
        let lost = of_it.filter(|report| report.kind == Kind::PaymentSucceeded).find(|report| !is_known(report));
        ensure(lost.is_none(), || format!("a charge is in no book: {lost:?}"))
    }
}

/// Whether a report is for sure of another charge than the payment's own.
fn is_of_second_charge(payment: &Payment, report: &Report) -> bool {
    let own = payment.charge.as_ref().map_or("", |charge| charge.reference.as_str());
    let charge = match report.kind {
        Kind::RefundSucceeded | Kind::RefundFailed => &report.charge_reference,
        Kind::PaymentFailed | Kind::PaymentClosed | Kind::PaymentAuthorised | Kind::PaymentVoided => return false,
        Kind::PaymentSucceeded
        | Kind::PaymentDisputed
        | Kind::DisputeFundsWithdrawn
        | Kind::DisputeFundsReinstated
        | Kind::DisputeClosed => &report.provider_reference,
    };
    ![own, charge.as_str()].contains(&"") && charge != own
}

/// What always holds of a payment.
fn right(payment: &Payment) -> Result<(), String> {
    let Payment { captured_minor: captured, refunded_minor: refunded, refunding_minor: refunding, .. } = payment;
    let (refunded, refunding, captured) = (*refunded, *refunding, *captured);
    ensure(captured == 0 || captured == ASKED, || format!("{captured} are captured of {ASKED}"))?;
    ensure(refunded >= 0 && refunding >= 0, || format!("{refunded} refunded, {refunding} promised"))?;
    ensure(refunded + refunding <= captured, || {
        format!("of {captured} captured {refunded} are refunded and {refunding} promised")
    })?;
    // What gives a second charge back moves none of the payment's own money.
    let own = payment.refunds.values().filter(|refund| refund.second_charge.is_none());
    let sums = own.map(|refund| refund.money()).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    ensure(sums == (refunded, refunding), || format!("refunds come to {sums:?}, not {:?}", (refunded, refunding)))?;
    for charge in payment.refunds.values().filter_map(|refund| refund.second_charge.as_deref()) {
        let is_it = |kept: &&Kept| kept.report.kind == Kind::PaymentSucceeded && kept.report.is_of(charge);
        let came = payment.reports.values().filter(is_it).filter_map(|kept| kept.report.money());
        let came = came.map(|came| came.minor_units).max().unwrap_or_default();
        let of_it = payment.refunds.values().filter(|refund| refund.second_charge.as_deref() == Some(charge));
        let back: i64 = of_it.map(|refund| refund.money()).map(|(gone, promised)| gone + promised).sum();
        ensure(back <= came, || format!("of second charge {charge} {came} came, and {back} go back"))?;
    }
    let (gone, left) = (payment.gone_minor(), payment.left_minor());
    ensure(gone >= 0 && left <= captured, || format!("{gone} are gone of {captured}, and {left} left"))
}
