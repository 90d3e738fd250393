//! What is refused at the door, and that every event reads back as it was written.

use domain::{AMOUNT_MAX, HoldKey, PaymentId, RefundId, Rejection, Timestamp};
use proto::{Message, Name, common::v1::Money, payments::v1 as wire, well_known};
use runtime::service::Service;
use uuid::Uuid;

use super::{command, encode, event};
use crate::{
    Payments,
    command::{Command, RefundReport, Report},
    event::{Checkout, Event, Resolution},
    payment::spec::{KEY, cancelled, eur, of, requested, succeeded},
};

const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(5));
const REFUND: RefundId = RefundId(Uuid::from_u128(6));

fn read<M: Message + Name>(message: &M) -> Result<Command, String> {
    command(&M::full_name(), &message.encode_to_vec()).map_err(|rejection| rejection.code.into_owned())
}

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
    }
}

fn about_refund(kind: wire::ProviderEventKind) -> wire::RecordProviderEvent {
    wire::RecordProviderEvent {
        refund_id: REFUND.to_string(),
        provider_reference: "re_1".to_owned(),
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

#[test]
fn reads_every_kind_of_report() {
    use wire::ProviderEventKind as Kind;
    let recorded = |report| Ok(Command::RecordProviderEvent { payment_id: PAYMENT, report });
    let provider_event_id = || "evt_1".to_owned();
    let succeeded = Report::PaymentSucceeded { amount: eur(500), provider_event_id: provider_event_id() };
    assert_eq!(read(&about_payment(Kind::PaymentSucceeded)), recorded(succeeded));
    let failed = Report::PaymentFailed { reason: "because".to_owned(), provider_event_id: provider_event_id() };
    assert_eq!(read(&about_payment(Kind::PaymentFailed)), recorded(failed));
    let refund = RefundReport {
        refund_id: REFUND,
        amount: eur(500),
        provider_reference: "re_1".to_owned(),
        reason: "because".to_owned(),
    };
    assert_eq!(read(&about_refund(Kind::RefundSucceeded)), recorded(Report::RefundSucceeded(refund.clone())));
    assert_eq!(read(&about_refund(Kind::RefundFailed)), recorded(Report::RefundFailed(refund)));
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
        let report = about_refund(Kind::RefundFailed);
        assert_eq!(read(&wire::RecordProviderEvent { refund_id: bad(), ..report }), code("INVALID_ID"));
        assert_eq!(read(&wire::ResolveRefund { payment_id: bad(), ..resolution() }), code("INVALID_ID"));
        assert_eq!(read(&wire::ResolveRefund { refund_id: bad(), ..resolution() }), code("INVALID_ID"));
    }
}

#[test]
fn refuses_a_refund_in_a_report_about_a_payment() {
    use wire::ProviderEventKind as Kind;
    for kind in [Kind::PaymentSucceeded, Kind::PaymentFailed] {
        assert_eq!(read(&about_refund(kind)), code("INVALID_ID"));
    }
}

#[test]
fn refuses_a_kind_or_resolution_that_names_nothing() {
    for bad in [0, -1, 99] {
        let report = about_refund(wire::ProviderEventKind::RefundFailed);
        assert_eq!(read(&wire::RecordProviderEvent { kind: bad, ..report }), code("INVALID_KIND"));
        assert_eq!(read(&wire::ResolveRefund { resolution: bad, ..resolution() }), code("INVALID_RESOLUTION"));
    }
}

#[test]
fn refuses_money_that_is_missing_or_outside_its_limits() {
    use wire::ProviderEventKind as Kind;
    let of = |minor_units, currency: &str| Some(Money { minor_units, currency: currency.to_owned() });
    for (bad, refusal) in [
        (None, "INVALID_AMOUNT"),
        (of(-1, "EUR"), "INVALID_AMOUNT"),
        (of(AMOUNT_MAX + 1, "EUR"), "INVALID_AMOUNT"),
        (of(i64::MIN, "EUR"), "INVALID_AMOUNT"),
        (of(1, "eur"), "INVALID_CURRENCY"),
        (of(1, ""), "INVALID_CURRENCY"),
    ] {
        for report in [
            about_payment(Kind::PaymentSucceeded),
            about_refund(Kind::RefundSucceeded),
            about_refund(Kind::RefundFailed),
        ] {
            assert_eq!(read(&wire::RecordProviderEvent { amount: bad.clone(), ..report }), code(refusal));
        }
    }
}

#[test]
fn refuses_a_text_that_is_missing_too_long_or_has_control_characters() {
    let report = || about_payment(wire::ProviderEventKind::PaymentFailed);
    for bad in ["", "a\nb", &"x".repeat(257)] {
        let provider_event_id = bad.to_owned();
        assert_eq!(read(&wire::RecordProviderEvent { provider_event_id, ..report() }), code("INVALID_TEXT"));
        let actor = bad.to_owned();
        assert_eq!(read(&wire::ResolveRefund { actor, ..resolution() }), code("INVALID_TEXT"));
    }
    for bad in ["a\0b", &"x".repeat(513)] {
        let bad = || bad.to_owned();
        assert_eq!(read(&wire::RecordProviderEvent { reason: bad(), ..report() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::RecordProviderEvent { provider_reference: bad(), ..report() }), code("INVALID_TEXT"));
        assert_eq!(read(&wire::ResolveRefund { note: bad(), ..resolution() }), code("INVALID_TEXT"));
    }
    assert_eq!(read(&wire::ResolveRefund { note: String::new(), ..resolution() }), code("INVALID_TEXT"));
}

#[test]
fn refuses_a_time_outside_the_calendar() {
    let report = about_payment(wire::ProviderEventKind::PaymentFailed);
    let occurred_at = Some(well_known::Timestamp { seconds: -1, nanos: 0 });
    assert_eq!(read(&wire::RecordProviderEvent { occurred_at, ..report.clone() }), code("INVALID_TIME"));
    assert!(read(&wire::RecordProviderEvent { occurred_at: None, ..report }).is_ok());
}

#[test]
fn refuses_bytes_that_are_no_message() {
    for message_type in <Payments>::COMMANDS {
        assert_eq!(command(message_type, b"\x12\xffmug").unwrap_err().code, "UNDECODABLE", "{message_type}");
    }
}

#[test]
fn refuses_a_type_that_it_does_not_know() {
    for other in ["", "ResolveRefund", "holdfast.orders.v1.PlaceOrder", "holdfast.payments.v1.PaymentFailed"] {
        assert_eq!(command(other, b"").unwrap_err().code, "UNKNOWN_TYPE", "{other}");
    }
    assert_eq!(event("holdfast.payments.v1.ResolveRefund", b"").unwrap_err().code, "UNKNOWN_TYPE");
}

fn events() -> Vec<Event> {
    let key = HoldKey { attempt: 3, ..KEY };
    let (reference, reason) = ("re_1".to_owned(), "because".to_owned());
    let checkout = Checkout { provider: "p".to_owned(), reference: "r".to_owned(), url: "u".to_owned() };
    let (amount, payment_method, expires_at) = (eur(AMOUNT_MAX), "card".to_owned(), Timestamp::from_micros(1_234_567));
    vec![
        requested(),
        Event::PaymentRequested { payment_id: PAYMENT, key, amount, checkout, payment_method, expires_at },
        succeeded(),
        Event::PaymentFailed { payment_id: PAYMENT, key, reason: reason.clone(), provider_event_id: String::new() },
        cancelled(),
        Event::PaymentRefunding {
            of: of(),
            amount,
            idempotency_key: "key".to_owned(),
            deadline: expires_at,
            provider: "p".to_owned(),
            payment_reference: "r".to_owned(),
        },
        Event::PaymentRefunded { of: of(), amount: eur(0), provider_reference: reference },
        Event::RefundRejected { of: of(), amount, rejection: Rejection::new("DECLINED", "too old") },
        Event::RefundOutcomeUnknown { of: of(), evidence: reason.clone() },
        Event::RefundReversed { of: of(), amount, reason: reason.clone() },
        Event::RefundResolved { of: of(), resolution: Resolution::Abandon, actor: "ann".to_owned(), note: reason },
    ]
}

#[test]
fn every_event_reads_back_as_it_was_written() {
    for fact in events() {
        let (message_type, data) = encode(&fact);
        assert!(proto::message_types().iter().any(|known| known == message_type), "{message_type}");
        assert_eq!(event(message_type, &data), Ok(fact));
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
    assert!(event(&wire::PaymentFailed::full_name(), &old.encode_to_vec()).is_ok());
}

#[test]
fn an_event_without_its_id_is_refused() {
    for fact in events() {
        assert_eq!(event(encode(&fact).0, b"").unwrap_err().code, "INVALID_ID");
    }
}
