//! Dead letters that something is done about: named one by one, or all that are open with a code or of a key. Which they are is settled before
//! the first is touched.

use anyhow::Context;
use domain::{Decider, Timestamp};
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use proto::SERVICES;
use rounds::Rounds;
use runtime::{
    foresee::Foreseen,
    letters::{self, Letter, Way},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{Failure, Result, Why};

/// Open letters that are looked through, of one service.
const LOOKED_AT_MAX: i64 = 100_000;

/// Later events of a key that are named.
const LATER_MAX: i64 = 5;

/// Fields of commands that say which stream one is about, and the stream's category: the first that is there.
const KEYS: [(&str, &str); 6] = [
    ("orderId", "order"),
    ("paymentId", "payment"),
    ("sku", "product"),
    ("roundId", "round"),
    ("couponCode", "coupon"),
    ("customerId", "wallet"),
];

/// Which letters, and how many of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These, each by its service and its number. None: all that are open, or those that the rest names.
    pub letters: Vec<(&'static str, i64)>,
    /// Open letters of this service.
    pub service: Option<String>,
    /// Open letters with this code: why they could not be handled.
    pub code: Option<String>,
    /// Open letters about this stream: `product-MUG-01`.
    pub key: Option<String>,
    /// How many at most, the oldest first.
    pub limit: u16,
    /// Do nothing unless it is exactly so many: as many as were shown before.
    pub count: Option<usize>,
}

/// Reads the name of a letter: `inventory-41`.
///
/// # Errors
/// It is none.
pub fn name(text: &str) -> Result<(&'static str, i64), String> {
    let read = text.rsplit_once('-').and_then(|(service, id)| {
        let service = SERVICES.iter().find(|known| **known == service)?;
        Some((*service, id.parse::<i64>().ok().filter(|id| *id > 0)?))
    });
    read.ok_or_else(|| format!("{text:?} is no letter: it is named by its service and its number, {}-41", SERVICES[0]))
}

/// A letter, with what can be said of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) letter: Letter,
    /// How it comes to be handled again, or why it never will.
    pub(crate) way: Result<Way, String>,
    /// The stream that it is about.
    pub(crate) key: Option<String>,
}

/// An event of a letter's key that came after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Later {
    /// Where it is in the log.
    pub position: i64,
    /// And in its stream.
    pub version: i64,
    /// Its name.
    pub event: String,
    /// When it was recorded.
    pub recorded_at: String,
}

/// The letters that are meant, in order. Of a request that comes again, those that it has acted on: others may be open by now.
///
/// # Errors
/// One of them is not there, or it is another number of them.
pub(crate) async fn chosen(connection: &mut PgConnection, selection: &Selection, why: &Why) -> Result<Vec<Opened>> {
    let mut found = Vec::new();
    let acted_on = why.letters_before(connection).await?;
    if !acted_on.is_empty() {
        for (service, id) in acted_on.iter().filter_map(|letter| name(letter).ok()) {
            found.extend(letters::find(connection, service, id).await?.map(open));
        }
        return Ok(found);
    }
    for (service, id) in &selection.letters {
        let letter = letters::find(connection, service, *id).await?;
        found.push(open(letter.ok_or_else(|| Failure::Wrong(format!("there is no letter {service}-{id}")))?));
    }
    if selection.letters.is_empty() {
        let is_asked = |service: &&str| selection.service.as_ref().is_none_or(|asked| asked == *service);
        for service in SERVICES.into_iter().filter(is_asked) {
            let open_ones = letters::open(connection, service, selection.code.as_deref(), LOOKED_AT_MAX)
                .await
                .with_context(|| format!("looking for dead letters of {service}"))?;
            let opened = open_ones.into_iter().map(open);
            found.extend(opened.filter(|letter| selection.key.is_none() || letter.key == selection.key));
        }
        found.sort_by_key(|opened| opened.letter.received_at);
        found.truncate(selection.limit.into());
    }
    match selection.count {
        Some(count) if count != found.len() => {
            let words =
                format!("it is {} letters now, and not {count}: look at them again with a dry run", found.len());
            Err(Failure::Wrong(words))
        }
        _ => Ok(found),
    }
}

/// Notes who does what about a letter, and why.
pub(crate) async fn note(
    connection: &mut PgConnection,
    verb: &str,
    (letter, key): (&Letter, Option<&str>),
    (reason, why): (&str, &Why),
) -> Result<i64> {
    let said = json!({ "letter": letter.name(), "subject": letter.subject, "code": letter.code });
    let act_id = why.note(connection, verb, (&target(letter), key), (reason, said)).await?;
    letter.is_acted_on(connection, act_id).await?;
    Ok(act_id)
}

/// What an act about a letter is done to.
pub(crate) fn target(letter: &Letter) -> String {
    format!("letter {}", letter.name())
}

/// Every command that some service takes.
#[must_use]
pub fn commands() -> Vec<&'static str> {
    [Orders::COMMANDS, Inventory::COMMANDS, Rounds::COMMANDS, <Payments as Decider>::COMMANDS].concat()
}

fn open(letter: Letter) -> Opened {
    let way = letter.way(&commands());
    let key = key(&letter, way.as_ref().ok());
    Opened { letter, way, key }
}

/// The stream that a letter is about, if it says so.
#[must_use]
pub fn key(letter: &Letter, way: Option<&Way>) -> Option<String> {
    let of = |message_type: &str, data: &[u8]| {
        let said = proto::to_json(message_type, data).ok()?;
        let text = |field: &str| said.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        KEYS.iter().find_map(|(field, category)| Some(format!("{category}-{}", text(field)?)))
    };
    match way? {
        Way::Event { .. } => letter.stream(),
        Way::Timer { stream } => Some(stream.clone()),
        Way::Command { message_type, data, .. } => of(message_type, data),
        Way::Call { .. } => of(letter.subject.strip_prefix("effect.")?, &letter.payload),
    }
}

/// What a letter would do now, as far as that can be known here.
pub(crate) async fn foresee(connection: &mut PgConnection, letter: &Letter, way: &Way) -> Result<Option<Foreseen>> {
    let foreseen = match letter.service {
        "orders" => letters::foresee::<Orders>(connection, letter, way).await,
        "inventory" => letters::foresee::<Inventory>(connection, letter, way).await,
        "rounds" => letters::foresee::<Rounds>(connection, letter, way).await,
        _ => letters::foresee::<Payments>(connection, letter, way).await,
    };
    Ok(foreseen.with_context(|| format!("looking what {} would do", letter.name()))?)
}

/// How many events of a stream came after this moment, and the first of them.
pub(crate) async fn later(
    connection: &mut PgConnection,
    stream: Option<&str>,
    after: Timestamp,
) -> Result<(i64, Vec<Later>), sqlx::Error> {
    let Some(stream) = stream else { return Ok((0, Vec::new())) };
    let query = "select count(*) over (), position, version, type, recorded_at from log.events
        where stream = $1 and recorded_at > $2 order by position limit $3";
    let rows: Vec<(i64, i64, i64, String, OffsetDateTime)> = sqlx::query_as(query)
        .bind(stream)
        .bind(OffsetDateTime::from(after))
        .bind(LATER_MAX)
        .fetch_all(connection)
        .await?;
    let count = rows.first().map_or(0, |(count, ..)| *count);
    let later = rows.into_iter().map(|(_, position, version, message_type, at)| Later {
        position,
        version,
        event: proto::short_name(&message_type).to_owned(),
        recorded_at: Timestamp::from(at).to_string(),
    });
    Ok((count, later.collect()))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_letter_is_named_by_its_service_and_its_number() {
        assert_eq!(name("inventory-41"), Ok(("inventory", 41)));
        for wrong in ["inventory", "41", "shop-41", "orders-0", "orders-x", ""] {
            assert!(name(wrong).unwrap_err().contains("is no letter"), "{wrong}");
        }
    }
}
