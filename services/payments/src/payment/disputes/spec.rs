//! Specs of disputes, one for each rule: what they move, what they stop, and that it makes no difference in which order they are told.

use domain::{Dispute, DisputeStanding, RefundId, Rejection, spec::Spec as _};
use uuid::Uuid;

use crate::{
    command::{Command, Outcome},
    event::{DisputeEvent, DisputeStep, Event, RefundOf, ReportResolution, Resolution},
    payment::{
        State,
        refund::Status,
        spec::{
            at, begin, cancelled, ended, eur, given, named, of, payment_id, refund_id, report, request, requested,
            succeeded, told, unmatched,
        },
    },
    report::{Kind, Mismatch, Report, ReportedDispute, Standing},
};

use DisputeStanding::{Ended, Lost, Open, Won};
use Kind::{DisputeClosed, DisputeFundsReinstated, DisputeFundsWithdrawn, PaymentDisputed};

/// Money came, and these commands after that.
fn after(commands: &[Command]) -> State {
    of_past(vec![requested(), succeeded()], commands)
}

fn of_past(mut past: Vec<Event>, commands: &[Command]) -> State {
    for command in commands {
        let events = given(&past).when(command).unwrap();
        past.extend(events);
    }
    given(&past)
}

/// A report about a dispute, so many seconds after 1970, as the provider stands to it.
fn news(kind: Kind, dispute_id: &str, (status, standing): (&str, DisputeStanding), seconds: i64) -> Report {
    let dispute = ReportedDispute {
        dispute_id: dispute_id.to_owned(),
        status: status.to_owned(),
        standing,
        reason: "fraudulent".to_owned(),
        amount: Some(named(1_200, "EUR")),
        due_by: Some(at(900)),
        is_refundable: false,
    };
    Report {
        dispute: Some(Box::new(dispute)),
        occurred_at: Some(at(seconds)),
        reason: String::new(),
        ..report(kind, &format!("{dispute_id} {} {status}", kind.as_str()))
    }
}

const ANSWER: (&str, DisputeStanding) = ("needs_response", Open);
const WON: (&str, DisputeStanding) = ("won", Won);
const LOST: (&str, DisputeStanding) = ("lost", Lost);

fn opened(dispute_id: &str, seconds: i64) -> Command {
    told(news(PaymentDisputed, dispute_id, ANSWER, seconds))
}

fn takes(dispute_id: &str, minor_units: i64, seconds: i64) -> Command {
    told(Report { amount: Some(named(minor_units, "EUR")), ..news(DisputeFundsWithdrawn, dispute_id, ANSWER, seconds) })
}

fn gives(dispute_id: &str, minor_units: i64, seconds: i64) -> Command {
    told(Report { amount: Some(named(minor_units, "EUR")), ..news(DisputeFundsReinstated, dispute_id, WON, seconds) })
}

fn closed(dispute_id: &str, how: (&str, DisputeStanding), seconds: i64) -> Command {
    told(news(DisputeClosed, dispute_id, how, seconds))
}

/// What disputes come to, without how many events it took.
fn whole(state: &State) -> (Vec<(String, Dispute)>, i64) {
    let disputes = state.payment().disputes.iter();
    let disputes = disputes.map(|(id, dispute)| (id.clone(), Dispute { revision: 0, ..dispute.clone() }));
    (disputes.collect(), state.payment().charged_back_minor())
}

fn steps(events: &[Event]) -> Vec<DisputeStep> {
    let step = |event: &Event| if let Event::Dispute(DisputeEvent { step, .. }) = event { Some(*step) } else { None };
    events.iter().filter_map(step).collect()
}

#[test]
fn a_dispute_that_takes_money_is_told_whole_at_once() {
    let events = after(&[]).when(&takes("du_1", 1_200, 200)).unwrap();
    assert_eq!(steps(&events), [DisputeStep::Disputed, DisputeStep::FundsWithdrawn]);
    let state = after(&[takes("du_1", 1_200, 200)]);
    let dispute = &state.payment().disputes["du_1"];
    assert_eq!((dispute.revision, dispute.status.as_str(), dispute.standing), (2, "needs_response", Open));
    assert_eq!((dispute.withdrawn, dispute.reinstated, dispute.amount), (Some(eur(1_200)), None, Some(eur(1_200))));
    assert_eq!((dispute.due_by, dispute.reason.as_str(), dispute.refundable), (Some(at(900)), "fraudulent", false));
}

#[test]
fn what_a_dispute_takes_is_beside_what_came_and_what_went_back() {
    for minor_units in [500, 1_200, 1_500] {
        let state = after(&[takes("du_1", minor_units, 200)]);
        let payment = state.payment();
        assert_eq!(payment.charged_back_minor(), minor_units);
        assert_eq!((payment.captured_minor, payment.refunded_minor, payment.left_minor()), (1_200, 0, 1_200));
        assert!(payment.reports.values().all(|kept| kept.standing != Standing::Open), "nobody has to decide");
    }
}

#[test]
fn several_disputes_of_one_charge_are_several() {
    let state =
        after(&[takes("du_1", 500, 200), takes("du_2", 700, 201), closed("du_2", WON, 300), gives("du_2", 700, 300)]);
    assert_eq!(state.payment().charged_back_minor(), 500);
    assert_eq!(state.payment().disputes["du_2"].standing, Won);
    assert!(state.payment().is_blocked().unwrap().contains("du_1"));
}

#[test]
fn a_dispute_that_is_won_leaves_nothing_charged_back() {
    let state = after(&[takes("du_1", 1_200, 200), gives("du_1", 1_200, 300), closed("du_1", WON, 300)]);
    assert_eq!((state.payment().charged_back_minor(), state.payment().is_blocked()), (0, None));
}

#[test]
fn it_makes_no_difference_in_which_order_a_dispute_is_told_nor_how_often() {
    for (end, back) in [(WON, Some(1_100)), (LOST, None)] {
        let mut life = vec![
            opened("du_1", 200),
            takes("du_1", 1_300, 200),
            told(news(PaymentDisputed, "du_1", ("under_review", Open), 250)),
            closed("du_1", end, 300),
        ];
        life.extend(back.map(|back| gives("du_1", back, 300)));
        let expected = whole(&after(&life));
        assert_eq!(expected.1, 1_300 - back.unwrap_or(0));
        for turn in 0..life.len() {
            life.rotate_left(1);
            let mut backwards = life.clone();
            backwards.reverse();
            for order in [&life, &backwards] {
                assert_eq!(whole(&after(order)), expected, "{turn}");
                let twice: Vec<Command> = order.iter().chain(order).cloned().collect();
                assert_eq!(whole(&after(&twice)), expected, "{turn}, each twice");
            }
        }
    }
}

/// A report of no time.
fn sometime(command: Command) -> Command {
    let Command::RecordProviderEvent { report, .. } = command else { panic!("{command:?}") };
    told(Report { occurred_at: None, ..report })
}

/// In every order.
fn orders_of(commands: &[Command]) -> Vec<Vec<Command>> {
    let Some((first, rest)) = commands.split_first() else { return vec![vec![]] };
    let place = |order: Vec<Command>| {
        (0..=order.len()).map(move |at| [&order[..at], std::slice::from_ref(first), &order[at..]].concat())
    };
    orders_of(rest).into_iter().flat_map(place).collect()
}

#[test]
fn what_is_told_of_no_time_is_earlier_than_all_else_in_whatever_order_it_comes() {
    let reviewed = |seconds| told(news(PaymentDisputed, "du_1", ("under_review", Open), seconds));
    let lives = [
        (vec![sometime(takes("du_1", 1_200, 0)), sometime(closed("du_1", LOST, 0)), opened("du_1", 200)], Open),
        (vec![sometime(reviewed(0)), takes("du_1", 1_200, 200), closed("du_1", WON, 300), reviewed(250)], Won),
        (vec![sometime(opened("du_1", 0)), sometime(closed("du_1", LOST, 0)), sometime(reviewed(0))], Lost),
    ];
    for (life, standing) in lives {
        let expected = whole(&after(&life));
        for order in orders_of(&life) {
            let state = after(&order);
            assert_eq!(whole(&state), expected, "{order:?}");
            assert_eq!(state.payment().disputes["du_1"].standing, standing);
            for again in &life {
                assert_eq!(state.when(again), Ok(vec![]), "{again:?} after {order:?}");
            }
        }
    }
}

#[test]
fn what_is_told_again_changes_nothing() {
    let told_once = [takes("du_1", 1_200, 200), closed("du_1", LOST, 300)];
    let state = after(&told_once);
    for again in &told_once {
        assert_eq!(state.when(again), Ok(vec![]));
    }
    // Of the same second and of an earlier one.
    assert_eq!(state.when(&opened("du_1", 300)), Ok(vec![]));
    assert_eq!(state.when(&opened("du_1", 299)), Ok(vec![]));
}

#[test]
fn an_appeal_opens_a_dispute_again_and_ends_it_again() {
    let appeal = |seconds| told(news(PaymentDisputed, "du_1", ("appeal_under_review", Open), seconds));
    let lost = |seconds| closed("du_1", LOST, seconds);
    let state = after(&[takes("du_1", 1_200, 200), lost(300), appeal(400)]);
    assert_eq!(state.payment().disputes["du_1"].standing, Open);
    for commands in [[lost(300), appeal(400), lost(500)], [lost(300), lost(500), appeal(400)]] {
        assert_eq!(after(&commands).payment().disputes["du_1"].standing, Lost, "it is lost for good");
    }
}

#[test]
fn a_word_that_nobody_knows_is_no_end() {
    let state = after(&[told(news(PaymentDisputed, "du_1", ("a_word_of_next_year", Open), 200))]);
    assert_eq!(state.payment().disputes["du_1"].standing, Open);
    assert!(state.payment().is_blocked().unwrap().contains("a_word_of_next_year"));
}

#[test]
fn what_cannot_be_counted_waits_for_an_operator() {
    for amount in [None, Some(named(1_200, "USD")), Some(named(-1, "EUR")), Some(named(0, "EUR"))] {
        let report = Report { amount, ..news(DisputeFundsWithdrawn, "du_1", ANSWER, 200) };
        let events = after(&[]).when(&told(report.clone())).unwrap();
        assert_eq!(steps(&events), [DisputeStep::Disputed]);
        assert_eq!(events.last(), Some(&unmatched(report, Mismatch::OtherAmount)));
    }
    // A dispute takes money once.
    let other = Report { amount: Some(named(700, "EUR")), ..news(DisputeFundsWithdrawn, "du_1", ANSWER, 200) };
    let other = Report { provider_event_id: "evt_other".to_owned(), ..other };
    let state = after(&[takes("du_1", 1_200, 200)]);
    assert_eq!(state.when(&told(other.clone())), Ok(vec![unmatched(other.clone(), Mismatch::OtherAmount)]));
    let state = after(&[takes("du_1", 1_200, 200), told(other.clone())]);
    assert_eq!(state.when(&told(other.clone())), Ok(vec![]), "once");
    // What it says of the dispute is later, though it waits: what is told of a time between does not hold any more.
    let later = told(Report { occurred_at: Some(at(400)), ..other });
    let between = told(news(PaymentDisputed, "du_1", ("under_review", Open), 300));
    for order in orders_of(&[later.clone(), between]) {
        let state = after(&[&[takes("du_1", 1_200, 200)], &*order].concat());
        assert_eq!(state.payment().disputes["du_1"].status, "needs_response");
        assert_eq!(state.payment().reports["evt_other"].standing, Standing::Open);
        assert_eq!(state.when(&later), Ok(vec![]), "once");
    }
    assert_eq!((state.payment().charged_back_minor(), state.payment().gone_minor()), (1_200, 0));
}

#[test]
fn a_dispute_that_is_told_before_anybody_was_asked_is_counted_when_somebody_is() {
    let paid = told(report(Kind::PaymentSucceeded, "evt_1"));
    let state = of_past(vec![], &[takes("du_1", 1_200, 200), closed("du_1", LOST, 300), paid, request(eur(1_200))]);
    assert_eq!((state.payment().charged_back_minor(), state.payment().captured_minor), (1_200, 1_200));
    assert_eq!(state.payment().disputes["du_1"].standing, Lost);
    assert!(state.payment().reports.values().all(|kept| kept.standing != Standing::Open));
    // Nobody was asked, and nobody will be.
    let report = news(DisputeFundsWithdrawn, "du_1", ANSWER, 200);
    assert_eq!(given(&[cancelled()]).when(&told(report.clone())), Ok(vec![unmatched(report, Mismatch::NotAsked)]));
}

#[test]
fn a_refund_waits_for_the_end_of_an_open_dispute_and_goes_out_if_it_is_won() {
    let events = after(&[opened("du_1", 200)]).when(&begin(eur(1_200))).unwrap();
    assert!(matches!(&*events, [Event::RefundDeferred { reason, .. }] if reason.contains("du_1")), "{events:?}");
    let state = after(&[opened("du_1", 200), begin(eur(1_200))]);
    let events = state.when(&closed("du_1", WON, 300)).unwrap();
    assert!(matches!(&*events, [Event::Dispute(_), Event::RefundSubmitted { .. }]), "{events:?}");
    // An inquiry that came to nothing is no dispute any more.
    let events = state.when(&closed("du_1", ("warning_closed", Ended), 300)).unwrap();
    assert!(matches!(&*events, [Event::Dispute(_), Event::RefundSubmitted { .. }]), "{events:?}");
}

#[test]
fn a_refund_that_waits_for_a_dispute_is_refused_if_that_is_lost() {
    let state = after(&[takes("du_1", 1_200, 200), begin(eur(1_200))]);
    let events = state.when(&closed("du_1", LOST, 300)).unwrap();
    let [Event::Dispute(_), Event::RefundRejected { of: refused, rejection, .. }] = &*events else {
        panic!("{events:?}")
    };
    assert_eq!((*refused, rejection.code.as_ref()), (of(), "PAYMENT_DISPUTED"));
    let state = after(&[takes("du_1", 1_200, 200), begin(eur(1_200)), closed("du_1", LOST, 300)]);
    assert_eq!((state.payment().refunds[&refund_id()].status, state.payment().refunding_minor), (Status::Rejected, 0));
    // Asked for after that, it is refused at once.
    let later = Command::BeginRefund {
        payment_id: payment_id(),
        order_id: of().order_id,
        refund_id: RefundId(Uuid::from_u128(10)),
        amount: eur(1),
    };
    let events = state.when(&later).unwrap();
    assert!(matches!(&*events, [Event::RefundRejected { .. }]), "{events:?}");
}

#[test]
fn a_charge_that_the_provider_gives_back_all_the_same_is_refunded() {
    for how in [("warning_needs_response", Open), LOST] {
        let mut report = news(PaymentDisputed, "du_1", how, 200);
        report.dispute = report.dispute.map(|dispute| Box::new(ReportedDispute { is_refundable: true, ..*dispute }));
        let events = after(&[told(report)]).when(&begin(eur(1_200))).unwrap();
        assert!(matches!(&*events, [Event::RefundSubmitted { .. }]), "{events:?}");
    }
}

#[test]
fn goods_come_back_without_money_whatever_the_bank_does() {
    for how in [ANSWER, LOST] {
        let events = after(&[told(news(PaymentDisputed, "du_1", how, 200))]).when(&begin(eur(0))).unwrap();
        assert!(matches!(&*events, [Event::PaymentRefunded { .. }]), "{events:?}");
    }
}

#[test]
fn a_refund_under_way_that_fails_for_a_dispute_is_rejected_as_any_other() {
    let state = after(&[begin(eur(1_200)), opened("du_1", 200)]);
    let declined = Rejection::new("DECLINED", "charge_for_pending_refund_disputed");
    let events = state.when(&ended(1, Outcome::Rejected(declined.clone()))).unwrap();
    assert!(matches!(&*events, [Event::RefundRejected { rejection, .. }] if *rejection == declined), "{events:?}");
}

#[test]
fn an_operator_sends_nothing_again_while_the_payment_is_disputed() {
    let unknown = Outcome::Unknown { evidence: "nobody knows".to_owned() };
    let retry = |of: RefundOf| Command::ResolveRefund {
        payment_id: payment_id(),
        refund_id: of.refund_id,
        resolution: Resolution::Retry,
        actor: "ann".to_owned(),
        note: "called them".to_owned(),
    };
    let in_doubt = |dispute| after(&[begin(eur(1_200)), ended(1, unknown.clone()), dispute]);
    assert_eq!(in_doubt(opened("du_1", 200)).refuses(&retry(of()), &["du_1"]), "PAYMENT_IN_DOUBT");
    assert_eq!(in_doubt(closed("du_1", LOST, 200)).refuses(&retry(of()), &["du_1", "lost"]), "PAYMENT_DISPUTED");
}

/// As Stripe's withdrawals were told before disputes were facts of their own.
fn told_otherwise() -> Command {
    told(Report { occurred_at: Some(at(150)), ..report(Kind::PaymentFailed, "du_1 funds_withdrawn") })
}

#[test]
fn what_a_dispute_took_before_it_was_a_fact_of_its_own_is_counted_once_it_is() {
    let accept = Command::ResolveReport {
        payment_id: payment_id(),
        provider_event_id: "du_1 funds_withdrawn".to_owned(),
        resolution: ReportResolution::Accepted,
        actor: "ann".to_owned(),
        note: "called them".to_owned(),
    };
    for mut commands in [vec![told_otherwise()], vec![told_otherwise(), accept]] {
        commands.push(closed("du_1", WON, 300));
        let state = after(&commands);
        let payment = state.payment();
        assert_eq!(payment.reports["du_1 funds_withdrawn"].standing, Standing::Undone);
        assert_eq!((payment.charged_back_minor(), payment.gone_minor()), (1_200, 0));
        commands.push(gives("du_1", 1_200, 300));
        let state = after(&commands);
        assert_eq!((state.payment().charged_back_minor(), state.payment().left_minor()), (0, 1_200), "it is won");
    }
    // An older gateway tells it once more, in its way.
    let state = after(&[takes("du_1", 1_200, 150), told_otherwise(), closed("du_1", LOST, 300)]);
    assert_eq!(state.payment().reports["du_1 funds_withdrawn"].standing, Standing::Undone);
    assert_eq!((state.payment().charged_back_minor(), state.payment().gone_minor()), (1_200, 0), "once");
    // It is told again, as what it is: it is known already.
    let again = Report { amount: Some(named(1_200, "EUR")), ..news(DisputeFundsWithdrawn, "du_1", ANSWER, 150) };
    let again = told(Report { provider_event_id: "du_1 funds_withdrawn".to_owned(), ..again });
    assert_eq!(after(&[told_otherwise()]).when(&again), Ok(vec![]));
}

/// The same report of another charge than the payment's own.
fn of_second_charge(report: Report) -> Command {
    told(Report { provider_reference: "ch_2".to_owned(), ..report })
}

#[test]
fn a_dispute_of_a_second_charge_stops_nothing_of_the_payment_and_takes_nothing_of_it() {
    let taken = Report { amount: Some(named(1_200, "EUR")), ..news(DisputeFundsWithdrawn, "du_2", ANSWER, 200) };
    let state = after(&[of_second_charge(taken.clone())]);
    let dispute = &state.payment().disputes["du_2"];
    assert_eq!((dispute.of_second_charge, dispute.stops_refunds()), (true, false));
    assert_eq!((dispute.withdrawn, dispute.charged_back_minor()), (Some(eur(1_200)), 1_200), "it is told whole");
    assert_eq!((state.payment().charged_back_minor(), state.payment().is_blocked()), (0, None));
    assert!(matches!(&state.when(&begin(eur(500))).unwrap()[..], [Event::RefundSubmitted { .. }]));
    // Nor if it is lost.
    let state = after(&[of_second_charge(taken), of_second_charge(news(DisputeClosed, "du_2", LOST, 300))]);
    assert!(matches!(&state.when(&begin(eur(500))).unwrap()[..], [Event::RefundSubmitted { .. }]));
}

#[test]
fn a_dispute_that_was_heard_of_before_its_charge_was_looked_at_is_known_by_its_next_word() {
    // As an older release has it.
    let before = after(&[takes("du_2", 1_200, 200), begin(eur(500))]);
    assert_eq!(
        (before.payment().refunds[&refund_id()].status, before.payment().charged_back_minor()),
        (Status::Deferred, 1_200)
    );
    for word in [ANSWER, ("under_review", Open)] {
        let told = of_second_charge(news(PaymentDisputed, "du_2", word, 200));
        let events = before.when(&told).unwrap();
        assert!(matches!(events.last(), Some(Event::RefundSubmitted { .. })), "{events:?}");
        let state = after(&[takes("du_2", 1_200, 200), begin(eur(500)), told.clone()]);
        assert_eq!((state.payment().charged_back_minor(), state.payment().is_blocked()), (0, None));
        assert_eq!(state.when(&told), Ok(vec![]), "once");
    }
    // What does not name a charge says nothing of it.
    let unnamed =
        Report { provider_reference: String::new(), ..news(PaymentDisputed, "du_2", ("under_review", Open), 300) };
    let state = after(&[of_second_charge(news(PaymentDisputed, "du_2", ANSWER, 200)), told(unnamed)]);
    assert!(state.payment().disputes["du_2"].of_second_charge);
}
