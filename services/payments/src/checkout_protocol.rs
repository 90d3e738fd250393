//! How a payment's page is opened, looked at and closed, and how money that is set aside is taken or let go, try by try: the decisions alone.
//!
//! | what was heard                     | opening, in time   | opening, too late | closing                         |
//! |------------------------------------|--------------------|-------------------|---------------------------------|
//! | it is done                         | opened             | opened            | closed, with what was paid      |
//! | declined                           | failed             | failed            | tried again, for ever           |
//! | busy                               | wait               | failed            | wait, for ever                  |
//! | asked in a wrong way               | stopped            | failed            | stopped, for ever               |
//! | not available, stuck, or no answer | tried again        | failed            | tried again, for ever           |
//!
//! Looking is tried as opening is, and what cannot be seen in time is not: the page is closed then, and that says the same.
//!
//! Taking money that is set aside is tried as closing is, but for a bank that says no: if it says so five minutes after the first try, the money
//! is let go, so that orders hears of it and gives back what it holds.
//!
//! Too late: the order's time is over, so nobody is to pay any more. Each try at opening has a key of its own: only who has the link of a
//! page can pay on it, so one that was opened without our hearing of it does no harm, and a provider may answer a key for ever as it
//! answered it once.

use std::time::Duration;

use domain::{Rejection, Timestamp};
use providers::{Charge, ClosedCheckout, EndedAuthorisation, OpenedCheckout, ProviderError, ProviderName};
use runtime::service::EffectOutcome;

use crate::{
    event::CheckoutEnd,
    payment::{
        authorisation::{self, ENDED_WITHIN},
        checkout::Answer,
    },
    report::{Kind, Report, ReportedMoney},
};

/// How long a provider is left alone that is busy, or that refuses how it is asked.
pub const LEAVE_ALONE: Duration = Duration::from_secs(5);

/// What the answer to a try at opening means.
#[must_use]
pub fn opened(
    provider: ProviderName,
    answer: Result<OpenedCheckout, ProviderError>,
    now: Timestamp,
    deadline: Timestamp,
) -> EffectOutcome<Answer> {
    let error = match answer {
        Ok(OpenedCheckout { page, authorised }) => {
            let authorised = authorised.map(|charge| report_of(Kind::PaymentAuthorised, charge));
            return EffectOutcome::Done(Answer::Opened { page, authorised });
        }
        Err(ProviderError::Declined(reason)) => {
            return EffectOutcome::Done(Answer::Failed(Rejection::new("DECLINED", reason)));
        }
        Err(error) => error,
    };
    if now > deadline {
        let reason = format!("no page was opened before the order's time was over; at last: {error}");
        return EffectOutcome::Done(Answer::Failed(Rejection::new("CHECKOUT_TIMED_OUT", reason)));
    }
    again(provider, &error)
}

/// Whether what may have been set aside by opening must be let go before this answer is the end: it came too late, or was none, and the
/// money that an earlier try may have set aside would stay so for ever.
#[must_use]
pub const fn must_be_let_go(outcome: &EffectOutcome<Answer>) -> bool {
    matches!(outcome, EffectOutcome::Done(Answer::Failed(_)))
}

/// What a failure to open means, given the answer to letting go what may have been set aside: it is a failure only once that is done.
#[must_use]
pub fn failed(
    provider: ProviderName,
    failure: EffectOutcome<Answer>,
    let_go: Result<ClosedCheckout, ProviderError>,
) -> EffectOutcome<Answer> {
    match let_go {
        Ok(ClosedCheckout::Unpaid) => failure,
        // Only what was heard of is taken, so this is a defect that somebody must look at.
        Ok(taken) => again(provider, &ProviderError::Stuck(format!("its money is not let go: {taken:?}"))),
        Err(error) => again(provider, &error),
    }
}

/// What the answer to a try at closing means.
#[must_use]
pub fn closed(provider: ProviderName, answer: Result<ClosedCheckout, ProviderError>) -> EffectOutcome<Answer> {
    match answer {
        Ok(ClosedCheckout::Unpaid) => ended(CheckoutEnd::Unpaid, None),
        Ok(ClosedCheckout::UnderWay) => ended(CheckoutEnd::UnderWay, None),
        Ok(ClosedCheckout::Paid(charge)) => ended(CheckoutEnd::Paid, Some(report_of(Kind::PaymentSucceeded, charge))),
        Ok(ClosedCheckout::Authorised(charge)) => {
            ended(CheckoutEnd::Authorised, Some(report_of(Kind::PaymentAuthorised, charge)))
        }
        Err(error) => again(provider, &error),
    }
}

/// What the answer to a try at looking means. Of what is open, over, or under way a provider reports nothing either.
#[must_use]
pub fn seen(
    provider: ProviderName,
    answer: Result<Option<ClosedCheckout>, ProviderError>,
    now: Timestamp,
    deadline: Timestamp,
) -> EffectOutcome<Answer> {
    let report = match answer {
        Ok(Some(ClosedCheckout::Paid(charge))) => Some(report_of(Kind::PaymentSucceeded, charge)),
        Ok(Some(ClosedCheckout::Authorised(charge))) => Some(report_of(Kind::PaymentAuthorised, charge)),
        Ok(None | Some(ClosedCheckout::Unpaid | ClosedCheckout::UnderWay)) => None,
        Err(error) if now <= deadline => return again(provider, &error),
        Err(_) => None,
    };
    EffectOutcome::Done(Answer::Seen { report })
}

/// What the answer to a try at taking money that is set aside means, or at letting it go. It is tried until it is known which of the two was
/// done: at the latest when the authorisation lapses, which the provider then says.
#[must_use]
pub fn ended_authorisation(
    provider: ProviderName,
    answer: Result<EndedAuthorisation, ProviderError>,
) -> EffectOutcome<authorisation::Answer> {
    match answer {
        Ok(EndedAuthorisation::Captured(charge)) => {
            let report = report_of(Kind::PaymentSucceeded, charge);
            EffectOutcome::Done(authorisation::Answer::Captured(report))
        }
        Ok(EndedAuthorisation::Voided { reason }) => EffectOutcome::Done(authorisation::Answer::Voided { reason }),
        Err(error) => again(provider, &error),
    }
}

/// Whether money that is to be taken is let go instead: the bank says no, and it is long since it was asked first. What it never gives would keep its order's
/// stock until the authorisation lapses, which is days.
#[must_use]
pub fn must_be_given_up(
    answer: &Result<EndedAuthorisation, ProviderError>,
    now: Timestamp,
    begun_at: Timestamp,
) -> bool {
    now > begun_at + ENDED_WITHIN && matches!(answer, Err(ProviderError::Declined(_)))
}

/// What the answer to letting go means after a no to taking it.
///
/// # Errors
/// It may still be set aside.
pub fn given_up(
    no: Result<EndedAuthorisation, ProviderError>,
    let_go: Result<EndedAuthorisation, ProviderError>,
) -> Result<EndedAuthorisation, ProviderError> {
    match (no, let_go) {
        (Err(no), Ok(EndedAuthorisation::Voided { reason })) => {
            Ok(EndedAuthorisation::Voided { reason: format!("{no}; {reason}") })
        }
        (_, let_go) => let_go,
    }
}

const fn ended(end: CheckoutEnd, report: Option<Report>) -> EffectOutcome<Answer> {
    EffectOutcome::Done(Answer::Closed { end, report })
}

fn again<T>(provider: ProviderName, error: &ProviderError) -> EffectOutcome<T> {
    match error {
        ProviderError::Busy(_) => {
            EffectOutcome::Wait { after: LEAVE_ALONE, error: error.to_string(), in_flight: false }
        }
        ProviderError::Misconfigured(_) => EffectOutcome::Stopped {
            by: provider.as_str(),
            after: LEAVE_ALONE,
            error: error.to_string(),
            in_flight: false,
        },
        ProviderError::Declined(_) | ProviderError::Unavailable(_) => {
            EffectOutcome::Retry { error: error.to_string(), in_flight: false }
        }
        ProviderError::Stuck(_) | ProviderError::OutcomeUnknown(_) => {
            EffectOutcome::Retry { error: error.to_string(), in_flight: true }
        }
    }
}

/// The money that came or was set aside, as the report that the provider sends of it.
fn report_of(kind: Kind, charge: Charge) -> Report {
    let Charge { event_id, reference, minor_units, currency, occurred_at } = charge;
    Report {
        kind,
        provider_event_id: event_id,
        provider_reference: reference,
        refund_id: String::new(),
        amount: Some(ReportedMoney { minor_units, currency }),
        reason: String::new(),
        occurred_at,
        dispute: None,
        charge_reference: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::Timestamp;
    use providers::{
        Charge, ClosedCheckout, EndedAuthorisation, OpenCheckout, OpenedCheckout, ProviderError, ProviderName,
    };
    use runtime::service::EffectOutcome;

    use super::{ENDED_WITHIN, LEAVE_ALONE, given_up, must_be_given_up, must_be_let_go};
    use crate::{
        event::CheckoutEnd,
        payment::{authorisation, checkout::Answer},
        report::Kind,
    };

    const DEADLINE: Timestamp = Timestamp::from_micros(1_000);

    const BANK: ProviderName = ProviderName::Stripe;

    fn opened(
        answer: Result<OpenedCheckout, ProviderError>,
        now: Timestamp,
        deadline: Timestamp,
    ) -> EffectOutcome<Answer> {
        super::opened(BANK, answer, now, deadline)
    }

    fn failed(failure: EffectOutcome<Answer>, let_go: Result<ClosedCheckout, ProviderError>) -> EffectOutcome<Answer> {
        super::failed(BANK, failure, let_go)
    }

    fn closed(answer: Result<ClosedCheckout, ProviderError>) -> EffectOutcome<Answer> {
        super::closed(BANK, answer)
    }

    fn ended_authorisation(answer: Result<EndedAuthorisation, ProviderError>) -> EffectOutcome<authorisation::Answer> {
        super::ended_authorisation(BANK, answer)
    }

    fn in_time(answer: Result<OpenedCheckout, ProviderError>) -> EffectOutcome<Answer> {
        opened(answer, DEADLINE, DEADLINE)
    }

    fn late(answer: Result<OpenedCheckout, ProviderError>) -> EffectOutcome<Answer> {
        opened(answer, Timestamp::from_micros(1_001), DEADLINE)
    }

    fn words() -> String {
        "why".to_owned()
    }

    #[test]
    fn what_is_opened_is_opened_however_late() {
        let page = OpenCheckout { reference: "cs_1".to_owned(), url: "https://pay.example/cs_1".to_owned() };
        let done = EffectOutcome::Done(Answer::Opened { page: page.clone(), authorised: None });
        assert_eq!(in_time(Ok(OpenedCheckout::unpaid(page.clone()))), done);
        assert_eq!(late(Ok(OpenedCheckout::unpaid(page))), done);
    }

    #[test]
    fn money_that_is_set_aside_by_opening_is_reported_with_it() {
        let page = OpenCheckout { reference: "funds-1".to_owned(), url: String::new() };
        let charge = Charge {
            event_id: "funds-1 held".to_owned(),
            reference: "funds-1".to_owned(),
            minor_units: 1_200,
            currency: "EUR".to_owned(),
            occurred_at: None,
        };
        let outcome = in_time(Ok(OpenedCheckout { page, authorised: Some(charge) }));
        let EffectOutcome::Done(Answer::Opened { authorised: Some(report), .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((report.kind, report.provider_event_id.as_str()), (Kind::PaymentAuthorised, "funds-1 held"));
    }

    #[test]
    fn what_may_be_set_aside_unheard_is_let_go_before_it_has_failed() {
        let declined = || in_time(Err(ProviderError::Declined(words())));
        let timed_out = late(Err(ProviderError::OutcomeUnknown(words())));
        assert!(must_be_let_go(&declined()) && must_be_let_go(&timed_out));
        assert!(!must_be_let_go(&in_time(Err(ProviderError::OutcomeUnknown(words())))), "it is tried again");
        assert_eq!(failed(declined(), Ok(ClosedCheckout::Unpaid)), declined());
        for let_go in [Err(ProviderError::OutcomeUnknown(words())), Ok(ClosedCheckout::UnderWay)] {
            let outcome = failed(declined(), let_go);
            assert!(matches!(outcome, EffectOutcome::Retry { in_flight: true, .. }), "{outcome:?}");
        }
    }

    #[test]
    fn what_is_declined_has_failed_at_once() {
        let EffectOutcome::Done(Answer::Failed(rejection)) = in_time(Err(ProviderError::Declined(words()))) else {
            panic!("a decline is the end")
        };
        assert_eq!((rejection.code.as_ref(), rejection.reason.as_str()), ("DECLINED", "why"));
    }

    #[test]
    fn a_provider_that_is_busy_or_asked_in_a_wrong_way_is_left_alone_for_a_while() {
        for outcome in [in_time(Err(ProviderError::Busy(words()))), closed(Err(ProviderError::Busy(words())))] {
            let EffectOutcome::Wait { after, in_flight: false, error } = outcome else { panic!("{outcome:?}") };
            assert!(after == LEAVE_ALONE && error.contains("why"), "{error}");
        }
        let wrong = || ProviderError::Misconfigured(words());
        for outcome in [in_time(Err(wrong())), closed(Err(wrong())), failed(late(Err(wrong())), Err(wrong()))] {
            let EffectOutcome::Stopped { by: "stripe", after, in_flight: false, error } = outcome else {
                panic!("somebody must mend it: {outcome:?}")
            };
            assert!(after == LEAVE_ALONE && error.contains("why"), "{error}");
        }
        let taking = ended_authorisation(Err(wrong()));
        assert!(matches!(taking, EffectOutcome::Stopped { by: "stripe", .. }), "{taking:?}");
    }

    #[test]
    fn what_was_not_heard_is_tried_again_until_the_orders_time_is_over() {
        for error in [ProviderError::Unavailable(words()), ProviderError::OutcomeUnknown(words())] {
            let is_unknown = matches!(error, ProviderError::OutcomeUnknown(_));
            let again = in_time(Err(error.clone()));
            assert!(matches!(again, EffectOutcome::Retry { in_flight, .. } if in_flight == is_unknown), "{again:?}");
            let EffectOutcome::Done(Answer::Failed(rejection)) = late(Err(error)) else { panic!("too late") };
            assert_eq!(rejection.code, "CHECKOUT_TIMED_OUT");
            assert!(rejection.reason.contains("why"), "{rejection}");
        }
    }

    #[test]
    fn a_page_is_tried_to_close_until_it_is_closed() {
        for error in [
            ProviderError::Declined(words()),
            ProviderError::Unavailable(words()),
            ProviderError::OutcomeUnknown(words()),
        ] {
            let again = closed(Err(error));
            assert!(matches!(again, EffectOutcome::Retry { .. }), "{again:?}");
        }
        let unpaid = EffectOutcome::Done(Answer::Closed { end: CheckoutEnd::Unpaid, report: None });
        assert_eq!(closed(Ok(ClosedCheckout::Unpaid)), unpaid);
    }

    #[test]
    fn what_is_seen_is_a_report_and_what_is_not_seen_in_time_is_left_to_the_close() {
        let charge = || Charge {
            event_id: "pi_1 succeeded".to_owned(),
            reference: "pi_1".to_owned(),
            minor_units: 1_200,
            currency: "EUR".to_owned(),
            occurred_at: None,
        };
        let seen = |answer, now| super::seen(BANK, answer, now, DEADLINE);
        let (paid, held) = (ClosedCheckout::Paid(charge()), ClosedCheckout::Authorised(charge()));
        for (end, kind) in [(paid, Kind::PaymentSucceeded), (held, Kind::PaymentAuthorised)] {
            let EffectOutcome::Done(Answer::Seen { report: Some(report) }) = seen(Ok(Some(end)), DEADLINE) else {
                panic!("it says that there is money")
            };
            assert_eq!((report.kind, report.provider_event_id.as_str()), (kind, "pi_1 succeeded"));
        }
        let nothing = EffectOutcome::Done(Answer::Seen { report: None });
        for end in [None, Some(ClosedCheckout::Unpaid), Some(ClosedCheckout::UnderWay)] {
            assert_eq!(seen(Ok(end), DEADLINE), nothing);
        }
        let no_answer = || Err(ProviderError::OutcomeUnknown(words()));
        assert!(matches!(seen(no_answer(), DEADLINE), EffectOutcome::Retry { .. }));
        assert_eq!(seen(no_answer(), Timestamp::from_micros(1_001)), nothing);
    }

    #[test]
    fn money_that_is_set_aside_is_called_for_until_it_is_known_what_became_of_it() {
        let charge = Charge {
            event_id: "pi_1 succeeded".to_owned(),
            reference: "pi_1".to_owned(),
            minor_units: 1_200,
            currency: "EUR".to_owned(),
            occurred_at: None,
        };
        let outcome = ended_authorisation(Ok(EndedAuthorisation::Captured(charge)));
        let EffectOutcome::Done(authorisation::Answer::Captured(report)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((report.kind, report.provider_reference.as_str()), (Kind::PaymentSucceeded, "pi_1"));
        let voided = ended_authorisation(Ok(EndedAuthorisation::Voided { reason: words() }));
        assert_eq!(voided, EffectOutcome::Done(authorisation::Answer::Voided { reason: words() }));
        for error in [ProviderError::Declined(words()), ProviderError::OutcomeUnknown(words())] {
            assert!(matches!(ended_authorisation(Err(error)), EffectOutcome::Retry { .. }));
        }
        let busy = ended_authorisation(Err(ProviderError::Busy(words())));
        assert!(matches!(busy, EffectOutcome::Wait { after: LEAVE_ALONE, .. }));
    }

    #[test]
    fn money_that_a_bank_does_not_give_is_let_go_after_a_while_and_not_before() {
        let (begun, while_ago) = (DEADLINE, DEADLINE + ENDED_WITHIN);
        let late = while_ago + Duration::from_micros(1);
        let no = || Err(ProviderError::Declined(words()));
        assert!(must_be_given_up(&no(), late, begun) && !must_be_given_up(&no(), while_ago, begun));
        for other in [
            Err(ProviderError::OutcomeUnknown(words())),
            Err(ProviderError::Unavailable(words())),
            Err(ProviderError::Misconfigured(words())),
            Ok(EndedAuthorisation::Voided { reason: words() }),
        ] {
            assert!(!must_be_given_up(&other, late, begun), "{other:?}");
        }
        let let_go = given_up(no(), Ok(EndedAuthorisation::Voided { reason: "it is canceled".to_owned() }));
        let Ok(EndedAuthorisation::Voided { reason }) = let_go else { panic!("{let_go:?}") };
        assert!(reason.contains("why") && reason.contains("it is canceled"), "{reason}");
        let unheard = Err(ProviderError::OutcomeUnknown("no answer".to_owned()));
        assert_eq!(given_up(no(), unheard.clone()), unheard);
    }

    #[test]
    fn money_that_was_quicker_than_the_closing_is_reported() {
        let charge = Charge {
            event_id: "pi_1 succeeded".to_owned(),
            reference: "pi_1".to_owned(),
            minor_units: 1_200,
            currency: "EUR".to_owned(),
            occurred_at: None,
        };
        let outcome = closed(Ok(ClosedCheckout::Paid(charge)));
        let EffectOutcome::Done(Answer::Closed { end: CheckoutEnd::Paid, report: Some(report) }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((report.kind, report.provider_event_id.as_str()), (Kind::PaymentSucceeded, "pi_1 succeeded"));
        assert_eq!(report.money().map(|money| money.minor_units), Some(1_200));
    }
}
