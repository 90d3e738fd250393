//! What is refused at the door, and that every event reads back as it was written.

use std::time::Duration;

use domain::{AMOUNT_MAX, Decider, Dispute, DisputeStanding, HoldKey, PaymentId, RefundId, Rejection, Timestamp};
use proto::{Message, Name, common::v1::Money, payments::v1 as wire, well_known};
use providers::{
    Checkout, OpenCheckout,
    sandbox::report::{of_failing_refund, of_payment},
};
use uuid::Uuid;

use super::{decode_command, decode_event, encode};
use crate::{
    Payments,
    command::Command,
    event::{
        AuthorisationCall, AuthorisationEvent, AuthorisationOf, CheckoutEnd, CheckoutStep, DisputeEvent, DisputeStep,
        Event, ReportResolution, Reported, Resolution,
    },
    payment::spec::{KEY, at, cancelled, eur, named, of, report, requested, succeeded, unmatched},
    report::{Kind, Mismatch, Report, ReportedDispute},
};

const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(5));
const REFUND: RefundId = RefundId(Uuid::from_u128(6));

fn read<M: Message + Name>(message: &M) -> Result<Command, String> {
    decode_command(&M::full_name(), &message.encode_to_vec(), COMMAND).map_err(|rejection| rejection.code.into_owned())
}

const COMMAND: Uuid = Uuid::from_u128(77);

fn money() -> Option<Money> {
    Some(Money { minor_units: 500, currency: "EUR".to_owned() })
}

fn about_payment(kind: wire::ProviderEventKind) -> wire::RecordProviderEvent {
    wire::RecordProviderEvent {
        kind: kind.into(),
        payment_id: PAYMENT.to_string(),
        refund_id: String::new(),
        amount: money(),
        provider_event_id: "evt_1".to_owned(),
        provider_reference: "pi_1".to_owned(),
        reason: "because".to_owned(),
        occurred_at: Some(Timestamp::from_micros(7).to_wire()),
        dispute: None,
        charge_reference: String::new(),
    }
}

fn about_refund(kind: wire::ProviderEventKind) -> wire::RecordProviderEvent {
    wire::RecordProviderEvent {
        refund_id: REFUND.to_string(),
        provider_reference: "re_1".to_owned(),
        charge_reference: "pi_1".to_owned(),
        ..about_payment(kind)
    }
}

fn resolution() -> wire::ResolveRefund {
    wire::ResolveRefund {
        payment_id: PAYMENT.to_string(),
        refund_id: REFUND.to_string(),
        resolution: wire::RefundResolution::Retry.into(),
        actor: "ann".to_owned(),
        note: "called them".to_owned(),
    }
}

fn code(code: &str) -> Result<Command, String> {
    Err(code.to_owned())
}

/// What is recorded of a report.
fn recorded(message: &wire::RecordProviderEvent) -> Report {
    match read(message) {
        Ok(Command::RecordProviderEvent { payment_id: PAYMENT, report }) => report,
        other => panic!("not recorded: {other:?}"),
    }
}

#[test]
fn reads_every_kind_of_report() {
    use wire::ProviderEventKind as Wire;
    let kinds = [
        (Wire::PaymentSucceeded, Kind::PaymentSucceeded),
        (Wire::PaymentFailed, Kind::PaymentFailed),
        (Wire::PaymentClosed, Kind::PaymentClosed),
        (Wire::PaymentAuthorised, Kind::PaymentAuthorised),
        (Wire::PaymentVoided, Kind::PaymentVoided),
        (Wire::RefundSucceeded, Kind::RefundSucceeded),
        (Wire::RefundFailed, Kind::RefundFailed),
        (Wire::PaymentDisputed, Kind::PaymentDisputed),
        (Wire::DisputeFundsWithdrawn, Kind::DisputeFundsWithdrawn),
        (Wire::DisputeFundsReinstated, Kind::DisputeFundsReinstated),
        (Wire::DisputeClosed, Kind::DisputeClosed),
    ];
    assert_eq!(kinds.len(), Kind::ALL.len());
    for (wire, kind) in kinds {
        let whole = Report {
            kind,
            provider_event_id: "evt_1".to_owned(),
            provider_reference: "re_1".to_owned(),
            refund_id: REFUND.to_string(),
            amount: Some(named(500, "EUR")),
            reason: "because".to_owned(),
            occurred_at: Some(Timestamp::from_micros(7)),
            // A report about a dispute that does not name it stands for it itself.
            dispute: kind.is_of_dispute().then(|| {
                Box::new(ReportedDispute {
                    dispute_id: "evt_1".to_owned(),
                    status: String::new(),
                    standing: DisputeStanding::Open,
                    reason: String::new(),
                    amount: None,
                    due_by: None,
                    is_refundable: false,
                })
            }),
            // Only a refund is of a charge: all else has it for a name.
            charge_reference: if kind.is_of_refund() { "pi_1".to_owned() } else { String::new() },
        };
        assert_eq!(recorded(&about_refund(wire)), whole);
    }
}

#[test]
fn whoever_wants_another_page_need_not_say_who_he_is_and_tells_no_story() {
    let asked = |actor: &str| {
        read(&wire::RequestCheckout { payment_id: PAYMENT.to_string(), anew: true, actor: actor.to_owned() })
    };
    for taken in ["", "ann", &"a".repeat(128)] {
        let actor = taken.to_owned();
        assert_eq!(asked(taken), Ok(Command::RequestCheckout { payment_id: PAYMENT, is_anew: true, actor }));
    }
    for wrong in ["a\nb", &"a".repeat(129)] {
        assert_eq!(asked(wrong), code("INVALID_TEXT"));
    }
}

#[test]
fn what_only_decorates_a_report_is_no_reason_to_refuse_it() {
    let message = || about_refund(wire::ProviderEventKind::RefundFailed);
    let with_reason = |reason: &str| recorded(&wire::RecordProviderEvent { reason: reason.to_owned(), ..message() });
    assert_eq!(with_reason(&"x".repeat(600)).reason.chars().count(), 512);
    assert_eq!(with_reason("no\nmoney\tleft\r\n").reason, "no\\u{a}money\\u{9}left");
    assert_eq!(with_reason("a\0b\u{7f}\u{202e}").reason, "a\\u{0}b\\u{7f}\\u{202e}");
    for refund_id in ["", "R-unknown", "not a uuid\0"] {
        let report = recorded(&wire::RecordProviderEvent { refund_id: refund_id.to_owned(), ..message() });
        assert_eq!(report.refund(), None);
    }
    let lost = recorded(&wire::RecordProviderEvent {
        occurred_at: Some(well_known::Timestamp { seconds: -1, nanos: 0 }),
        ..message()
    });
    assert_eq!(lost.occurred_at, None);
}

#[test]
fn whatever_the_sandbox_reports_is_taken_in() {
    let payment = |payment_method: &str| wire::PaymentRequested {
        payment_id: PAYMENT.to_string(),
        amount: money(),
        provider: providers::sandbox::NAME.to_owned(),
        payment_method: payment_method.to_owned(),
        expires_at: Some(at(9).to_wire()),
        ..Default::default()
    };
    for script in ["", "sandbox:succeed,after=3s", "sandbox:late,after=3s", "sandbox:decline", "sandbox:suceed", "card"]
    {
        recorded(&of_payment(&payment(script), at(1)).unwrap().command);
    }
    let refund = wire::PaymentRefunded {
        payment_id: PAYMENT.to_string(),
        refund_id: REFUND.to_string(),
        amount: money(),
        provider_reference: "sandbox-1".to_owned(),
        ..Default::default()
    };
    recorded(&of_failing_refund(&refund, at(1), Duration::from_secs(2)).command);
}

#[test]
fn ids_of_the_provider_that_differ_stay_different_however_long_they_are() {
    let named = |id: String| {
        let message = about_payment(wire::ProviderEventKind::PaymentFailed);
        recorded(&wire::RecordProviderEvent { provider_event_id: id.clone(), provider_reference: id, ..message })
    };
    let (one, other) = (named("x".repeat(300)), named(format!("{}y", "x".repeat(299))));
    assert_ne!(one.provider_event_id, other.provider_event_id);
    assert_ne!(one.provider_reference, other.provider_reference);
    assert!(one.provider_event_id.chars().count() <= 256);
    assert_eq!(named("a\nb".to_owned()).provider_event_id, "a\\u{a}b");
    assert_eq!(named(String::new()).provider_event_id, format!("command {COMMAND}"));
}

#[test]
fn a_report_is_decided_about_by_its_id_as_the_provider_writes_it_or_as_it_is_kept() {
    let message = about_payment(wire::ProviderEventKind::PaymentSucceeded);
    for id in ["x".repeat(300), "a\nb".to_owned(), " evt_1".to_owned()] {
        let kept = recorded(&wire::RecordProviderEvent { provider_event_id: id.clone(), ..message.clone() });
        for given in [&id, &kept.provider_event_id] {
            let decided = read(&wire::ResolveProviderReport {
                payment_id: PAYMENT.to_string(),
                provider_event_id: given.clone(),
                resolution: wire::ReportResolution::Undone.into(),
                actor: "ops".to_owned(),
                note: "the bank says so".to_owned(),
            });
            assert_eq!(
                decided,
                Ok(Command::ResolveReport {
                    payment_id: PAYMENT,
                    provider_event_id: kept.provider_event_id.clone(),
                    resolution: ReportResolution::Undone,
                    actor: "ops".to_owned(),
                    note: "the bank says so".to_owned(),
                })
            );
        }
    }
}

#[test]
fn money_of_a_report_is_kept_whatever_it_is() {
    use wire::ProviderEventKind::PaymentSucceeded;
    let of = |minor_units, currency: &str| Some(Money { minor_units, currency: currency.to_owned() });
    for (given, money) in [
        (of(500, "eur"), Some(eur(500))),
        (of(500, " EUR"), Some(eur(500))),
        (of(-1, "EUR"), None),
        (of(AMOUNT_MAX + 1, "EUR"), None),
        (of(i64::MIN, "EUR"), None),
        (of(1, ""), None),
        (None, None),
    ] {
        let message = wire::RecordProviderEvent { amount: given.clone(), ..about_payment(PaymentSucceeded) };
        let report = recorded(&message);
        assert_eq!(report.money(), money, "{given:?}");
        assert_eq!(report.amount.map(|amount| amount.minor_units), given.map(|given| given.minor_units));
    }
}

#[test]
fn reads_every_resolution() {
    for (word, known) in [
        (wire::RefundResolution::Retry, Resolution::Retry),
        (wire::RefundResolution::Refunded, Resolution::Refunded),
        (wire::RefundResolution::Abandon, Resolution::Abandon),
    ] {
        let Ok(Command::ResolveRefund { resolution, .. }) =
            read(&wire::ResolveRefund { resolution: word.into(), ..resolution() })
        else {
            panic!("{word:?} is refused")
        };
        assert_eq!(resolution, known);
        assert!(word.as_str_name().ends_with(known.as_str()));
    }
}

#[test]
fn refuses_a_malformed_id() {
    use wire::ProviderEventKind as Kind;
    for bad in ["", "5", "00000000-0000-0000-0000-000000000000", "not a uuid\0"] {
        let bad = || bad.to_owned();
        let report = about_payment(Kind::PaymentSucceeded);
        assert_eq!(read(&wire::RecordProviderEvent { payment_id: bad(), ..report }), code("INVALID_ID"));
        assert_eq!(read(&wire::ResolveRefund { payment_id: bad(), ..resolution() }), code("INVALID_ID"));
        assert_eq!(read(&wire::ResolveRefund { refund_id: bad(), ..resolution() }), code("INVALID_ID"));
    }
}

#[test]
fn refuses_a_kind_or_resolution_that_names_nothing() {
    for bad in [0, -1, 99] {
        let report = about_refund(wire::ProviderEventKind::RefundFailed);
        assert_eq!(read(&wire::RecordProviderEvent { kind: bad, ..report }), code("INVALID_KIND"));
        assert_eq!(read(&wire::ResolveRefund { resolution: bad, ..resolution() }), code("INVALID_RESOLUTION"));
        assert_eq!(read(&wire::ResolveProviderReport { resolution: bad, ..decision() }), code("INVALID_RESOLUTION"));
    }
}

fn decision() -> wire::ResolveProviderReport {
    wire::ResolveProviderReport {
        payment_id: PAYMENT.to_string(),
        provider_event_id: "evt_1".to_owned(),
        resolution: wire::ReportResolution::Undone.into(),
        actor: "ann".to_owned(),
        note: "called them".to_owned(),
    }
}

#[test]
fn refuses_a_decision_without_a_name_or_a_reason() {
    for bad in ["", "a\nb", &"x".repeat(513)] {
        let bad = || bad.to_owned();
        assert_eq!(read(&wire::ResolveRefund { actor: bad(), ..resolution() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ResolveRefund { note: bad(), ..resolution() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ResolveProviderReport { actor: bad(), ..decision() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ResolveProviderReport { note: bad(), ..decision() }), code("INVALID_TEXT"));
    }
    assert!(read(&decision()).is_ok());
}

#[test]
fn refuses_bytes_that_are_no_message() {
    for message_type in <Payments>::COMMANDS {
        assert_eq!(
            decode_command(message_type, b"\x12\xffmug", COMMAND).unwrap_err().code,
            "UNDECODABLE",
            "{message_type}"
        );
    }
}

#[test]
fn refuses_a_type_that_it_does_not_know() {
    for other in ["", "ResolveRefund", "holdfast.orders.v1.PlaceOrder", "holdfast.payments.v1.PaymentFailed"] {
        assert_eq!(decode_command(other, b"", COMMAND).unwrap_err().code, "UNKNOWN_TYPE", "{other}");
    }
    assert_eq!(decode_event("holdfast.payments.v1.ResolveRefund", b"").unwrap_err().code, "UNKNOWN_TYPE");
}

fn of_pages() -> Vec<Event> {
    let text = str::to_owned;
    let steps = [
        CheckoutStep::Opened {
            page: OpenCheckout { reference: text("cs_1"), url: text("https://pay.test/1") },
            look_at: Some(at(6)),
        },
        CheckoutStep::LookSubmitted {
            provider: text("p"),
            reference: text("cs_1"),
            deadline: at(8),
            page: 2,
            look_at: Some(at(7)),
        },
        CheckoutStep::Failed(Rejection::new("DECLINED", "no")),
        CheckoutStep::Abandoned {
            provider: text("p"),
            reference: text("cs_1"),
            deadline: at(8),
            page: 2,
            is_replaced: true,
            actor: text("ann"),
        },
        CheckoutStep::Closed(CheckoutEnd::Unpaid),
        CheckoutStep::Closed(CheckoutEnd::Paid),
        CheckoutStep::Closed(CheckoutEnd::Authorised),
        CheckoutStep::Closed(CheckoutEnd::UnderWay),
        CheckoutStep::Requested {
            page: 3,
            amount: eur(1_200),
            provider: text("p"),
            payment_method: text("p:m"),
            order_reference: Some(text("R-1001")),
            expires_at: at(8),
            ends_at: at(7),
        },
        CheckoutStep::Requested {
            page: 4,
            amount: eur(1_200),
            provider: text("p"),
            payment_method: text("p:m"),
            order_reference: None,
            expires_at: at(8),
            ends_at: at(7),
        },
    ];
    steps.map(|step| Event::checkout(PAYMENT, HoldKey { attempt: 3, ..KEY }, step)).into()
}

fn of_holds() -> Vec<Event> {
    let of =
        || AuthorisationOf { payment_id: PAYMENT, key: HoldKey { attempt: 3, ..KEY }, reference: "pi_1".to_owned() };
    let call = || AuthorisationCall {
        of: of(),
        amount: eur(7),
        provider: "p".to_owned(),
        payment_reference: "cs_1".to_owned(),
        deadline: at(8),
    };
    let authorised = |occurred_at| AuthorisationEvent::Authorised {
        of: of(),
        amount: eur(7),
        provider_event_id: "evt".to_owned(),
        occurred_at,
    };
    let voided = AuthorisationEvent::Voided {
        of: of(),
        provider_event_id: String::new(),
        reason: "gone".to_owned(),
        is_awaited: true,
    };
    let (capture, void) = (AuthorisationEvent::CaptureSubmitted(call()), AuthorisationEvent::VoidSubmitted(call()));
    [authorised(None), authorised(Some(at(9))), capture, void, voided].map(Event::Authorisation).to_vec()
}

fn events() -> Vec<Event> {
    let key = HoldKey { attempt: 3, ..KEY };
    let (reference, reason) = (|| "re_1".to_owned(), "because".to_owned());
    let reported = |occurred_at| Some(Reported { provider_event_id: "evt".to_owned(), occurred_at });
    let checkout = Checkout { provider: "p".to_owned(), reference: "r".to_owned(), url: "u".to_owned() };
    let (amount, payment_method, expires_at) = (eur(AMOUNT_MAX), "card".to_owned(), Timestamp::from_micros(1_234_567));
    vec![
        requested(),
        Event::PaymentRequested {
            payment_id: PAYMENT,
            key,
            amount,
            checkout,
            payment_method,
            order_reference: Some("R-1001".to_owned()),
            expires_at,
            checkout_ends_at: Some(at(7)),
        },
        succeeded(),
        Event::PaymentFailed { payment_id: PAYMENT, key, reason: reason.clone(), provider_event_id: String::new() },
        cancelled(),
        Event::RefundSubmitted {
            of: of(),
            amount,
            idempotency_key: "key".to_owned(),
            deadline: expires_at,
            provider: "p".to_owned(),
            payment_reference: "r".to_owned(),
            charge_reference: "ch".to_owned(),
        },
        Event::PaymentRefunded { of: of(), amount: eur(0), provider_reference: reference(), reported: reported(None) },
        Event::PaymentRefunded { of: of(), amount, provider_reference: reference(), reported: None },
        Event::PaymentRefundedElsewhere {
            key,
            of: of(),
            amount,
            provider_reference: reference(),
            charge_reference: "ch".to_owned(),
            reported: Reported { provider_event_id: "evt".to_owned(), occurred_at: Some(at(5)) },
        },
        Event::RefundDeferred { of: of(), amount, reason: reason.clone() },
        Event::RefundAnswered {
            of: of(),
            idempotency_key: "key".to_owned(),
            answer: reason.clone(),
            provider_reference: reference(),
        },
        Event::RefundRejected {
            of: of(),
            amount,
            rejection: Rejection::new("DECLINED", "too old"),
            provider_reference: reference(),
            reported: reported(Some(at(5))),
        },
        Event::RefundOutcomeUnknown { of: of(), evidence: reason.clone() },
        Event::RefundReversed {
            of: of(),
            amount,
            reason: reason.clone(),
            provider_reference: String::new(),
            reported: None,
        },
        Event::RefundResolved { of: of(), resolution: Resolution::Abandon, actor: "ann".to_owned(), note: reason },
    ]
}

/// Events about reports.
fn reports() -> Vec<Event> {
    let key = HoldKey { attempt: 3, ..KEY };
    vec![
        Event::PaymentDeclined { payment_id: PAYMENT, key, report: report(Kind::PaymentFailed, "evt_1") },
        unmatched(report(Kind::PaymentSucceeded, "evt_1"), Mismatch::SecondCharge),
        Event::ProviderReportUnmatched {
            payment_id: PAYMENT,
            key: None,
            report: Report { amount: None, occurred_at: None, ..report(Kind::PaymentClosed, "evt_1") },
            mismatch: Mismatch::NotAsked,
        },
        Event::ProviderReportResolved {
            payment_id: PAYMENT,
            provider_event_id: "evt_1".to_owned(),
            resolution: ReportResolution::Accepted,
            actor: "ann".to_owned(),
            note: "because".to_owned(),
            settled_by: "evt_2".to_owned(),
        },
    ]
}

/// A dispute of which all is known, or nothing but what it takes to be one.
fn of_disputes() -> Vec<Event> {
    let key = HoldKey { attempt: 3, ..KEY };
    let whole = Dispute {
        revision: 4,
        status: "needs_response".to_owned(),
        standing: DisputeStanding::Open,
        reason: "fraudulent".to_owned(),
        amount: Some(eur(1_300)),
        due_by: Some(at(900)),
        refundable: true,
        withdrawn: Some(eur(1_300)),
        reinstated: Some(eur(1_200)),
        as_of: Some(at(200)),
        of_second_charge: true,
    };
    let bare = Dispute {
        standing: DisputeStanding::Won,
        amount: None,
        due_by: None,
        refundable: false,
        withdrawn: None,
        reinstated: None,
        as_of: None,
        of_second_charge: false,
        ..whole.clone()
    };
    let event = |step, dispute: &Dispute| {
        Event::Dispute(DisputeEvent {
            payment_id: PAYMENT,
            key,
            dispute_id: "du_1".to_owned(),
            step,
            dispute: dispute.clone(),
            reported: Reported { provider_event_id: "du_1 won".to_owned(), occurred_at: dispute.as_of },
        })
    };
    let steps = [DisputeStep::Disputed, DisputeStep::FundsWithdrawn, DisputeStep::FundsReinstated, DisputeStep::Closed];
    let mut events: Vec<Event> = steps.iter().map(|step| event(*step, &whole)).collect();
    events.extend(steps.iter().map(|step| event(*step, &bare)));
    let report = Report {
        dispute: Some(Box::new(ReportedDispute {
            dispute_id: "du_1".to_owned(),
            status: "lost".to_owned(),
            standing: DisputeStanding::Lost,
            reason: "fraudulent".to_owned(),
            amount: Some(named(-7, "points")),
            due_by: Some(at(900)),
            is_refundable: true,
        })),
        ..report(Kind::DisputeClosed, "du_1 lost")
    };
    events.push(unmatched(report, Mismatch::NotAsked));
    events
}

fn all() -> Vec<Event> {
    [events(), of_pages(), of_holds(), reports(), of_disputes()].concat()
}

#[test]
fn every_event_reads_back_as_it_was_written() {
    for fact in all() {
        let (message_type, data) = encode(&fact);
        assert!(proto::message_types().iter().any(|known| known == message_type), "{message_type}");
        assert_eq!(decode_event(message_type, &data), Ok(fact));
    }
}

#[test]
fn every_way_to_fit_nothing_reads_back() {
    for mismatch in Mismatch::ALL {
        let fact = unmatched(report(Kind::RefundSucceeded, "evt_1"), *mismatch);
        let (message_type, data) = encode(&fact);
        assert_eq!(decode_event(message_type, &data), Ok(fact));
    }
}

#[test]
fn an_event_of_looser_times_still_reads() {
    let old = wire::PaymentFailed {
        payment_id: PAYMENT.to_string(),
        order_id: KEY.order_id.to_string(),
        attempt: 1,
        reason: "\n".repeat(1_000),
        provider_event_id: String::new(),
    };
    assert!(decode_event(&wire::PaymentFailed::full_name(), &old.encode_to_vec()).is_ok());
}

#[test]
fn an_event_without_its_id_is_refused() {
    for fact in all() {
        assert_eq!(decode_event(encode(&fact).0, b"").unwrap_err().code, "INVALID_ID");
    }
}
