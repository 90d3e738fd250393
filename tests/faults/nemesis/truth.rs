//! Compares what callers were told with what is true: nothing acknowledged is missing, nothing is done twice.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use cli::{load::until_settled, verify::audit};
use holdfast_tests::code;
use proto::{
    Message,
    common::v1::{CommandReply, command_reply::Outcome},
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::shop::{Shop, Told};

/// How long the fleet may take to come to rest once nothing goes wrong any more and nobody orders.
const SETTLES_WITHIN: Duration = Duration::from_secs(120);

/// Commands of each round that are sent a second time.
const ASKED_AGAIN: usize = 100;

/// A protobuf field that no command has: with it, a command has another body.
const UNKNOWN_FIELD: [u8; 3] = [0xf8, 0x7f, 0x01];

/// Violations that are told of one kind.
const SHOWN_MAX: usize = 5;

/// How many answers were compared, and what is wrong, once the fleet has come to rest.
pub(crate) async fn violations(shop: &Shop, database_url: &str) -> Result<(u64, Vec<String>)> {
    let mut found = shop.take_unanswered();
    if let Err(error) = until_settled(database_url, SETTLES_WITHIN).await {
        found.push(format!("{error:#}"));
    }
    let report = audit(database_url).await?;
    found.extend(report.findings.iter().map(|finding| format!("the audit found: {finding:?}")));
    let told = shop.take_told();
    let mut connection = PgConnection::connect(database_url).await?;
    found.extend(untrue(&told, &events_of(&mut connection, &told).await?, &answers_of(&mut connection, &told).await?));
    found.extend(told_otherwise(shop, &told).await?);
    Ok((u64::try_from(told.len())?, found))
}

/// By command, the types of the events that it caused, in order.
async fn events_of(connection: &mut PgConnection, told: &[Told]) -> Result<BTreeMap<Uuid, Vec<String>>> {
    let ids: Vec<Uuid> = told.iter().map(|told| told.id).collect();
    let rows: Vec<(Uuid, String)> =
        sqlx::query_as("select causation_id, type from log.events where causation_id = any($1) order by position")
            .bind(ids)
            .fetch_all(connection)
            .await?;
    let mut events = BTreeMap::<Uuid, Vec<String>>::new();
    for (command, event) in rows {
        events.entry(command).or_default().push(event);
    }
    Ok(events)
}

/// By command, the answer that is on record.
async fn answers_of(connection: &mut PgConnection, told: &[Told]) -> Result<BTreeMap<Uuid, CommandReply>> {
    let ids: Vec<Uuid> = told.iter().map(|told| told.id).collect();
    let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "select command_id, reply from orders.inbox where command_id = any($1)
         union all select command_id, reply from inventory.inbox where command_id = any($1)
         union all select command_id, reply from rounds.inbox where command_id = any($1)
         union all select command_id, reply from payments.inbox where command_id = any($1)",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|(id, reply)| Ok((id, CommandReply::decode(reply.as_slice())?))).collect()
}

fn untrue(told: &[Told], events: &BTreeMap<Uuid, Vec<String>>, answers: &BTreeMap<Uuid, CommandReply>) -> Vec<String> {
    let mut found = Vec::new();
    for told in told {
        let Told { id, message_type, reply, .. } = told;
        if answers.get(id) != Some(reply) {
            found.push(format!("{message_type} {id} was answered {reply:?}; on record is {:?}", answers.get(id)));
        }
        let true_events = events.get(id).map_or(&[][..], Vec::as_slice);
        let is_true = match &reply.outcome {
            Some(Outcome::Accepted(accepted)) => accepted.events == true_events,
            Some(Outcome::Rejected(_)) => true_events.iter().all(|event| event.ends_with(".CommandRejected")),
            None => false,
        };
        if !is_true {
            found.push(format!("{message_type} {id} was answered {reply:?}; it caused {true_events:?}"));
        }
    }
    found.truncate(SHOWN_MAX);
    found
}

/// Asks some of the commands again, and others with the same id but another body.
async fn told_otherwise(shop: &Shop, told: &[Told]) -> Result<Vec<String>> {
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
        if code(&again) != "COMMAND_ID_REUSED" {
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

    use super::{Told, untrue};

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
        let answers = on_record.into_iter().map(|reply| (told.id, reply)).collect();
        untrue(std::slice::from_ref(told), &BTreeMap::from([(told.id, events)]), &answers).len()
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
        assert_eq!(found(&accepted, &[PLACED], Some(rejected.reply)), 1, "answered otherwise");
    }
}
