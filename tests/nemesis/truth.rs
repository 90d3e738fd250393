//! Compares what callers were told with what is true: nothing acknowledged is missing, nothing is done twice, nothing waits for a person
//! who has decided, and the money that was reported is in the books.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use audit::{audit, quiescence::until_settled};
use holdfast_tests::code;
use proto::{
    Message,
    common::v1::{CommandReply, command_reply::Outcome},
    payments::v1::ReportResolution,
};
use sqlx::{Connection, PgConnection};
use testbed::servers::wait_until;
use uuid::Uuid;

use crate::{
    shop::{Shop, Told},
    world::{Note, OWED},
};

/// How long the fleet may take to come to rest once nothing goes wrong any more and nobody orders.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// Commands of each round that are sent a second time.
const ASKED_AGAIN: usize = 100;

/// A protobuf field that no command has: with it, a command has another body.
const UNKNOWN_FIELD: [u8; 3] = [0xf8, 0x7f, 0x01];

/// Violations that are told of one kind.
const SHOWN_MAX: usize = 5;

/// A command as one service knows it: another may have been sent one with the same id.
type Known = (String, Uuid);

/// How many answers were compared, and of how many payments the money, and what is wrong, once the fleet has come to rest.
///
/// After a recovery, of a command that caused no event nobody knows that it was answered, and of others nobody knows the body.
pub(crate) async fn violations(shop: &Shop, was_recovered: bool) -> Result<(u64, u64, Vec<String>)> {
    let database_url = shop.database_url();
    let settled = until_decided(shop).await;
    let mut found = shop.take_complaints();
    if let Err(error) = settled {
        found.push(format!("{error:#}"));
    }
    let report = audit(database_url).await?;
    found.extend(report.findings.iter().map(|finding| format!("the audit found: {finding:?}")));
    let mut told = shop.take_told();
    if was_recovered {
        told.retain(
            |told| !matches!(&told.reply.outcome, Some(Outcome::Accepted(accepted)) if accepted.events.is_empty()),
        );
    }
    let notes = std::mem::take(&mut *shop.notes());
    let mut connection = PgConnection::connect(database_url).await?;
    found.extend(untrue(&told, &events_of(&mut connection, &told).await?, &answers_of(&mut connection, &told).await?));
    found.extend(closed_early(&mut connection, shop.take_patient()).await?);
    found.extend(wrong_money(&notes, &books_of(&mut connection, &notes).await?));
    found.extend(told_otherwise(shop, &told, was_recovered).await?);
    Ok((u64::try_from(told.len())?, u64::try_from(notes.len())?, found))
}

/// Waits until the fleet has settled and nothing is left for the operator to decide.
async fn until_decided(shop: &Shop) -> Result<()> {
    loop {
        let decided = wait_until(SETTLES_WITHIN, || async {
            let mut connection = PgConnection::connect(shop.database_url()).await?;
            Ok((undecided(shop, &mut connection).await? == 0).then_some(()))
        });
        if decided.await?.is_none() {
            let mut connection = PgConnection::connect(shop.database_url()).await?;
            bail!("{} reports and refunds wait for a person who has decided", undecided(shop, &mut connection).await?);
        }
        until_settled(shop.database_url(), SETTLES_WITHIN).await?;
        // What has been decided has been answered and noted.
        let _idle = shop.desk().lock().await;
        let mut connection = PgConnection::connect(shop.database_url()).await?;
        if undecided(shop, &mut connection).await? == 0 {
            return Ok(());
        }
    }
}

/// What waits for a person, and payouts that the sandbox has yet to take back, or has and not reported.
async fn undecided(shop: &Shop, connection: &mut PgConnection) -> Result<i64> {
    let payments: Vec<Uuid> = shop.notes().keys().copied().collect();
    let owed: Vec<Uuid> = sqlx::query_scalar(OWED).bind(payments).fetch_all(&mut *connection).await?;
    let query = "select (select count(*) from payments.reports where standing = 'open')
        + (select count(*) from payments.refunds where status in ('deferred', 'unknown', 'reversed'))
        + greatest(0,
            (select count(*) from payments.sandbox_refunds
             where status = 'failed' or status = 'refunded' and fails_after_ms is not null)
            - (select count(*) from log.events where type = 'holdfast.payments.v1.RefundReversed'))";
    let others: i64 = sqlx::query_scalar(query).fetch_one(connection).await?;
    Ok(others + i64::try_from(owed.len())?)
}

/// By command, the types of the events that it caused, in order.
async fn events_of(connection: &mut PgConnection, told: &[Told]) -> Result<BTreeMap<Known, Vec<String>>> {
    let ids: Vec<Uuid> = told.iter().map(|told| told.id).collect();
    let rows: Vec<(String, Uuid, String)> = sqlx::query_as(
        "select service, causation_id, type from log.events where causation_id = any($1) order by position",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    let mut events = BTreeMap::<Known, Vec<String>>::new();
    for (service, command, event) in rows {
        events.entry((service, command)).or_default().push(event);
    }
    Ok(events)
}

/// By command, the answer that is on record.
async fn answers_of(connection: &mut PgConnection, told: &[Told]) -> Result<BTreeMap<Known, CommandReply>> {
    let ids: Vec<Uuid> = told.iter().map(|told| told.id).collect();
    let rows: Vec<(String, Uuid, Vec<u8>)> = sqlx::query_as(
        "select 'orders', command_id, reply from orders.inbox where command_id = any($1)
         union all select 'inventory', command_id, reply from inventory.inbox where command_id = any($1)
         union all select 'rounds', command_id, reply from rounds.inbox where command_id = any($1)
         union all select 'payments', command_id, reply from payments.inbox where command_id = any($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|(service, id, reply)| Ok(((service, id), CommandReply::decode(reply.as_slice())?))).collect()
}

fn untrue(
    told: &[Told],
    events: &BTreeMap<Known, Vec<String>>,
    answers: &BTreeMap<Known, CommandReply>,
) -> Vec<String> {
    let mut found = Vec::new();
    for told in told {
        let Told { id, message_type, reply, .. } = told;
        let known = (proto::owner(message_type).unwrap_or_default().to_owned(), *id);
        let on_record = answers.get(&known);
        if on_record != Some(reply) {
            found.push(format!("{message_type} {id} was answered {reply:?}; on record is {on_record:?}"));
        }
        let true_events = events.get(&known).map_or(&[][..], Vec::as_slice);
        let is_true = match &reply.outcome {
            Some(Outcome::Accepted(accepted)) => accepted.events == true_events,
            // A refusal is kept, once.
            Some(Outcome::Rejected(_)) => matches!(true_events, [event] if event.ends_with(".CommandRejected")),
            None => false,
        };
        if !is_true {
            found.push(format!("{message_type} {id} was answered {reply:?}; it caused {true_events:?}"));
        }
    }
    found.truncate(SHOWN_MAX);
    found
}

/// Orders that were paid in time, and were expired by then.
async fn closed_early(connection: &mut PgConnection, patient: Vec<Uuid>) -> Result<Vec<String>> {
    let query = "select order_id::text, status from orders.orders
        where order_id = any($1) and status <> 'rejected' and (captured_minor = 0 or refunded_minor > 0) order by 1";
    let closed: Vec<(String, String)> = sqlx::query_as(query).bind(patient).fetch_all(connection).await?;
    let wrong = |(order, status)| {
        format!("order {order} is {status}, although its buyer had two minutes and paid within seconds")
    };
    Ok(closed.into_iter().map(wrong).take(SHOWN_MAX).collect())
}

/// A payment's money as the rows have it, and as the sandbox has it, in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Books {
    captured: i64,
    refunded: i64,
    refunding: i64,
    /// Charges beside the payment's own that an operator accepted.
    kept: i64,
    /// Money that left otherwise, and that an operator accepted.
    gone: i64,
    /// What the sandbox has paid out, and not taken back.
    paid_out: i64,
}

/// The books of all payments that there are notes of.
async fn books_of(connection: &mut PgConnection, notes: &BTreeMap<Uuid, Note>) -> Result<BTreeMap<Uuid, Books>> {
    let ids: Vec<Uuid> = notes.keys().copied().collect();
    // A second charge that goes back is beside them, and has a refund of its own.
    let query = "select payment_id, captured_minor + second.gone, refunded_minor + second.gone, refunding_minor,
            coalesce((select sum(amount_minor) from payments.reports where payment_id = payment.payment_id
                and standing = 'accepted' and kind = 'payment_succeeded'), 0)::bigint,
            coalesce((select sum(amount_minor) from payments.reports where payment_id = payment.payment_id
                and standing = 'accepted' and kind in ('payment_failed', 'refund_succeeded')), 0)::bigint,
            coalesce((select sum(amount_minor) from payments.sandbox_refunds where payment_id = payment.payment_id
                and status = 'refunded'), 0)::bigint
        from payments.payments as payment
            cross join lateral (select coalesce(sum(amount_minor), 0)::bigint as gone from payments.refunds
                where payment_id = payment.payment_id and second_charge is not null and status = 'refunded') as second
        where payment_id = any($1)";
    let rows: Vec<(Uuid, i64, i64, i64, i64, i64, i64)> = sqlx::query_as(query).bind(ids).fetch_all(connection).await?;
    let books = rows.into_iter().map(|(id, captured, refunded, refunding, kept, gone, paid_out)| {
        (id, Books { captured, refunded, refunding, kept, gone, paid_out })
    });
    Ok(books.collect())
}

fn wrong_money(notes: &BTreeMap<Uuid, Note>, books: &BTreeMap<Uuid, Books>) -> Vec<String> {
    let mut found = Vec::new();
    for (payment, note) in notes {
        match books.get(payment) {
            Some(books) if is_right(note, books) => {}
            books => found.push(format!("payment {payment}: of {note:?} the books have {books:?}")),
        }
    }
    found.truncate(SHOWN_MAX);
    found
}

/// What came, went and is gone by the notes is what the books say.
fn is_right(note: &Note, books: &Books) -> bool {
    let sum = |money: &BTreeMap<String, i64>, counts: fn(Option<&ReportResolution>) -> bool| -> i64 {
        money.iter().filter(|(id, _)| counts(note.decided.get(*id))).map(|(_, cents)| cents).sum()
    };
    // A charge that was undone was given back at the provider; money that was taken back and undone has come again.
    let came = sum(&note.came, |decided| decided != Some(&ReportResolution::Undone));
    let gone = sum(&note.taken_back, |decided| decided == Some(&ReportResolution::Accepted));
    let went = sum(&note.elsewhere, |_any| true) + note.by_hand + books.paid_out;
    came == books.captured + books.kept
        && gone == books.gone
        && went == books.refunded
        && books.refunding == 0
        && (!note.is_all_to_go_back || books.refunded == books.captured)
}

/// Asks some of the commands again, and others with the same id but another body.
async fn told_otherwise(shop: &Shop, told: &[Told], was_recovered: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for told in told.iter().step_by((told.len() / ASKED_AGAIN).max(1)) {
        let Told { id, message_type, data, reply } = told;
        let again = shop.send(*id, message_type, data.clone()).await?;
        if again != *reply {
            found.push(format!("{message_type} {id} was answered {reply:?}, and later {again:?}"));
        }
        let mut other = data.clone();
        other.extend(UNKNOWN_FIELD);
        let again = shop.send(*id, message_type, other).await?;
        if code(&again) != "COMMAND_ID_REUSED" && !(was_recovered && again == *reply) {
            found.push(format!("{message_type} {id} came again with another body, and was answered {again:?}"));
        }
    }
    found.truncate(SHOWN_MAX);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::common::v1::{Accepted, CommandReply, Rejection, command_reply::Outcome};
    use uuid::Uuid;

    use super::{Books, Note, ReportResolution, Told, is_right, untrue};

    const PLACED: &str = "holdfast.orders.v1.OrderPlaced";
    const REJECTED: &str = "holdfast.common.v1.CommandRejected";

    fn told(outcome: Outcome) -> Told {
        let reply = CommandReply { command_id: Uuid::nil().to_string(), outcome: Some(outcome) };
        Told { id: Uuid::nil(), message_type: "holdfast.orders.v1.PlaceOrder".to_owned(), data: Vec::new(), reply }
    }

    fn accepted() -> Told {
        told(Outcome::Accepted(Accepted { events: vec![PLACED.to_owned()], ..Accepted::default() }))
    }

    fn found(told: &Told, events: &[&str], on_record: Option<CommandReply>) -> usize {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        let known = ("orders".to_owned(), told.id);
        let answers = on_record.into_iter().map(|reply| (known.clone(), reply)).collect();
        untrue(std::slice::from_ref(told), &BTreeMap::from([(known.clone(), events)]), &answers).len()
    }

    #[test]
    fn what_was_told_and_is_so_is_no_violation() {
        let accepted = accepted();
        assert_eq!(found(&accepted, &[PLACED], Some(accepted.reply.clone())), 0);
        let rejected = told(Outcome::Rejected(Rejection::default()));
        assert_eq!(found(&rejected, &[REJECTED], Some(rejected.reply.clone())), 0);
    }

    #[test]
    fn whatever_is_missing_doubled_or_otherwise_is_found() {
        let accepted = accepted();
        let on_record = Some(accepted.reply.clone());
        assert_eq!(found(&accepted, &[], on_record.clone()), 1, "acknowledged, and missing");
        assert_eq!(found(&accepted, &[PLACED, PLACED], on_record), 1, "done twice");
        assert_eq!(found(&accepted, &[PLACED], None), 1, "nobody remembers the answer");
        let rejected = told(Outcome::Rejected(Rejection::default()));
        assert_eq!(found(&rejected, &[PLACED], Some(rejected.reply.clone())), 1, "refused, and done");
        assert_eq!(found(&rejected, &[], Some(rejected.reply.clone())), 1, "refused, and forgotten");
        assert_eq!(found(&rejected, &[REJECTED, REJECTED], Some(rejected.reply.clone())), 1, "refused twice");
        assert_eq!(found(&accepted, &[PLACED], Some(rejected.reply)), 1, "answered otherwise");
    }

    #[test]
    fn money_is_right_if_all_that_was_reported_is_counted_once() {
        let money = |id: &str, cents| BTreeMap::from([(id.to_owned(), cents)]);
        let note = Note {
            came: BTreeMap::from([("a".to_owned(), 1_000), ("b".to_owned(), 700)]),
            taken_back: money("c", 1_000),
            elsewhere: money("d", 300),
            decided: BTreeMap::from([
                ("b".to_owned(), ReportResolution::Accepted),
                ("c".to_owned(), ReportResolution::Undone),
            ]),
            is_all_to_go_back: true,
            ..Note::default()
        };
        let books = Books { captured: 1_000, refunded: 1_000, kept: 700, paid_out: 700, ..Books::default() };
        assert!(is_right(&note, &books));
        assert!(!is_right(&note, &Books { kept: 0, ..books.clone() }), "a charge is lost");
        assert!(!is_right(&note, &Books { refunded: 700, ..books.clone() }), "a refund is lost");
        assert!(!is_right(&note, &Books { gone: 1_000, ..books.clone() }), "gone, and it was undone");
        assert!(!is_right(&note, &Books { refunding: 1, ..books.clone() }), "a refund waits for ever");
        let less = Books { refunded: 900, paid_out: 600, ..books };
        assert!(!is_right(&note, &less), "not all has gone back");
        assert!(is_right(&Note { is_all_to_go_back: false, ..note }, &less));
    }
}
