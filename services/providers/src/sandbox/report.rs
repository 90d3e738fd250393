//! What the sandbox reports of a payment or refund, and when. Pure: asked again, it names the same report with the same
//! id, so reporting twice is harmless.

use std::time::Duration;

use domain::Timestamp;
use proto::payments::v1::{PaymentRefunded, PaymentRequested, ProviderEventKind, RecordProviderEvent};
use uuid::Uuid;

use crate::{AuthorisationRef, Charge};

use super::{
    NAME,
    script::{Page, Pay, Script},
};

/// Why a refund that was paid out has failed later.
pub(super) const FAILED_LATER: &str = "the sandbox's script says that this refund fails later";

/// Why a payment is not taken where the sandbox is not enabled.
const NOT_TAKEN: &str = "the sandbox takes no payments here: the setting payments.providers says who does";

/// A report, as the command that brings it in.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Id of the command, derived from what it is about.
    pub id: Uuid,
    /// When the provider knows it.
    pub due: Timestamp,
    /// The report.
    pub command: RecordProviderEvent,
}

/// What is reported of a payment that was requested at this time. `None`: nothing ever, or it is another provider's.
#[must_use]
pub fn of_payment(payment: &PaymentRequested, requested_at: Timestamp) -> Option<Report> {
    use ProviderEventKind::{PaymentAuthorised, PaymentClosed, PaymentSucceeded};
    if payment.provider != NAME {
        return None;
    }
    let script = Script::parse(&payment.payment_method);
    let is_held = script.as_ref().is_ok_and(|script| script.hold.is_some());
    let paid = if is_held { PaymentAuthorised } else { PaymentSucceeded };
    let (kind, due, reason) = match script {
        // Nobody can pay on a page that is not opened.
        Ok(Script { checkout: Page::Refuse, .. }) => return None,
        Ok(Script { pay: Pay::Succeed, after, .. }) => (paid, requested_at + after, String::new()),
        Ok(Script { pay: Pay::Late, after, .. }) => {
            let expires_at = Timestamp::from_wire("expires_at", payment.expires_at).unwrap_or(requested_at);
            (paid, expires_at + after, String::new())
        }
        Ok(Script { pay: Pay::Decline, after, .. }) => {
            (PaymentClosed, requested_at + after, "the sandbox's script says decline".to_owned())
        }
        Ok(Script { pay: Pay::Never, .. }) => return None,
        Err(rejection) => (PaymentClosed, requested_at, rejection.reason),
    };
    Some(of(payment, kind, due, reason))
}

/// The same where the sandbox is not enabled: whatever its script says, it is not paid.
#[must_use]
pub fn of_payment_not_taken(payment: &PaymentRequested, requested_at: Timestamp) -> Option<Report> {
    let is_ours = payment.provider == NAME;
    is_ours.then(|| of(payment, ProviderEventKind::PaymentClosed, requested_at, NOT_TAKEN.to_owned()))
}

fn of(payment: &PaymentRequested, kind: ProviderEventKind, due: Timestamp, reason: String) -> Report {
    let id = derived(&payment.payment_id, kind, "");
    // What is set aside is known by a name of its own, which it keeps when it is taken.
    let reference =
        if kind == ProviderEventKind::PaymentAuthorised { authorisation(&payment.payment_id) } else { String::new() };
    let command = RecordProviderEvent {
        kind: kind.into(),
        payment_id: payment.payment_id.clone(),
        refund_id: String::new(),
        amount: payment.amount.clone(),
        provider_event_id: format!("sandbox-{id}"),
        provider_reference: reference,
        reason,
        occurred_at: Some(due.to_wire()),
        dispute: None,
        charge_reference: String::new(),
    };
    Report { id, due, command }
}

/// What is reported of a refund that was paid out at this time and fails so much later.
#[must_use]
pub fn of_failing_refund(refund: &PaymentRefunded, refunded_at: Timestamp, after: Duration) -> Report {
    let kind = ProviderEventKind::RefundFailed;
    let id = derived(&refund.payment_id, kind, &refund.provider_reference);
    let due = refunded_at + after;
    let command = RecordProviderEvent {
        kind: kind.into(),
        payment_id: refund.payment_id.clone(),
        refund_id: refund.refund_id.clone(),
        amount: refund.amount.clone(),
        provider_event_id: format!("sandbox-{id}"),
        provider_reference: refund.provider_reference.clone(),
        reason: FAILED_LATER.to_owned(),
        occurred_at: Some(due.to_wire()),
        dispute: None,
        charge_reference: String::new(),
    };
    Report { id, due, command }
}

/// What the sandbox knows the money by that it has set aside for a payment.
#[must_use]
pub fn authorisation(payment_id: &str) -> String {
    format!("sandbox-hold-{payment_id}")
}

/// What is said of money that was set aside and then taken, which is told once however often it is asked for.
#[must_use]
pub fn captured(authorisation: &AuthorisationRef) -> Charge {
    Charge {
        event_id: format!("{} captured", authorisation.reference),
        reference: authorisation.reference.clone(),
        minor_units: authorisation.amount.minor_units,
        currency: authorisation.amount.currency.to_string(),
        occurred_at: None,
    }
}

fn derived(payment_id: &str, kind: ProviderEventKind, refund: &str) -> Uuid {
    let payment_id = Uuid::try_parse(payment_id).unwrap_or_default();
    domain::derived(payment_id, &format!("sandbox.{}.{refund}", kind.as_str_name()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::Timestamp;
    use proto::common::v1::Money;

    use super::{
        PaymentRefunded, PaymentRequested, ProviderEventKind, of_failing_refund, of_payment, of_payment_not_taken,
    };
    use crate::sandbox::payment_reference;

    const REQUESTED_AT: Timestamp = Timestamp::from_micros(1_000_000);
    const EXPIRES_AT: Timestamp = Timestamp::from_micros(9_000_000);

    fn asked(payment_method: &str) -> PaymentRequested {
        let payment_id = domain::PaymentId::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8").unwrap();
        PaymentRequested {
            payment_id: payment_id.to_string(),
            amount: Some(Money { minor_units: 1_200, currency: "EUR".to_owned() }),
            provider: "sandbox".to_owned(),
            provider_reference: payment_reference(payment_id, payment_method),
            payment_method: payment_method.to_owned(),
            expires_at: Some(EXPIRES_AT.to_wire()),
            ..Default::default()
        }
    }

    fn told(payment_method: &str) -> Option<(ProviderEventKind, Duration, String)> {
        let report = of_payment(&asked(payment_method), REQUESTED_AT)?;
        Some((report.command.kind(), report.due.since(REQUESTED_AT), report.command.reason))
    }

    #[test]
    fn a_payment_ends_as_its_script_says() {
        let seconds = Duration::from_secs;
        let paid = |after| Some((ProviderEventKind::PaymentSucceeded, after, String::new()));
        assert_eq!(told("sandbox:succeed,after=3s"), paid(seconds(3)));
        assert_eq!(told("sandbox:late,after=3s"), paid(seconds(8 + 3)));
        assert_eq!(told("sandbox:never"), None);
        let (kind, after, _) = told("sandbox:decline,after=2s").unwrap();
        assert_eq!((kind, after), (ProviderEventKind::PaymentClosed, seconds(2)));
    }

    #[test]
    fn a_script_that_cannot_be_read_declines_the_payment_and_says_why() {
        let (kind, after, reason) = told("sandbox:suceed,after=3s").unwrap();
        assert_eq!((kind, after), (ProviderEventKind::PaymentClosed, Duration::ZERO));
        assert!(reason.contains("suceed"), "{reason}");
    }

    #[test]
    fn where_it_is_not_enabled_nobody_pays() {
        for payment_method in ["", "sandbox:succeed", "sandbox:late,after=3s", "sandbox:never,hold=capture", "card"] {
            let report = of_payment_not_taken(&asked(payment_method), REQUESTED_AT).unwrap();
            assert_eq!((report.command.kind(), report.due), (ProviderEventKind::PaymentClosed, REQUESTED_AT));
            assert!(report.command.reason.contains("payments.providers"), "{report:?}");
        }
        let other = PaymentRequested { provider: "stripe".to_owned(), ..asked("") };
        assert_eq!(of_payment_not_taken(&other, REQUESTED_AT), None);
    }

    #[test]
    fn a_payment_of_another_provider_is_none_of_its_business() {
        assert_eq!(of_payment(&PaymentRequested { provider: "card".to_owned(), ..asked("") }, REQUESTED_AT), None);
    }

    #[test]
    fn asked_again_it_reports_the_same() {
        assert_eq!(of_payment(&asked(""), REQUESTED_AT), of_payment(&asked(""), REQUESTED_AT));
        let (succeeds, declines) = (asked(""), asked("sandbox:decline"));
        assert_ne!(of_payment(&succeeds, REQUESTED_AT).unwrap().id, of_payment(&declines, REQUESTED_AT).unwrap().id);
    }

    #[test]
    fn a_refund_that_fails_later_is_reported_under_its_own_reference() {
        let refund = PaymentRefunded {
            payment_id: asked("").payment_id,
            refund_id: "6ba7b811-9dad-11d1-80b4-00c04fd430c8".to_owned(),
            amount: asked("").amount,
            provider_reference: "sandbox-1".to_owned(),
            ..Default::default()
        };
        let report = of_failing_refund(&refund, REQUESTED_AT, Duration::from_secs(2));
        assert_eq!(report.command.kind(), ProviderEventKind::RefundFailed);
        assert_eq!(report.due.since(REQUESTED_AT), Duration::from_secs(2));
        let other = PaymentRefunded { provider_reference: "sandbox-1.2".to_owned(), ..refund };
        assert_ne!(of_failing_refund(&other, REQUESTED_AT, Duration::from_secs(2)).id, report.id);
    }
}
