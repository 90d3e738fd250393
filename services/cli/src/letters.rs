//! Dead letters that a command is about: named one by one, or all that are open with a code or of a key. Which they are is settled before the
//! first is touched.

use anyhow::{Context, Result};
use domain::Timestamp;
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use proto::SERVICES;
use rounds::Rounds;
use runtime::{
    foresee::Foreseen,
    letters::{self, Letter, Way},
    log::acts::Act,
};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{
    send::commands,
    verb::{Why, explained},
};

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

/// Which letters.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Selection {
    /// These letters.
    #[arg(value_name = "LETTER", value_parser = name, num_args = 0..=1_000, conflicts_with_all = ["service", "code", "key"])]
    letters: Vec<(&'static str, i64)>,
    /// Open letters of this service.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(SERVICES))]
    service: Option<String>,
    /// Open letters with this code: why they could not be handled.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Open letters about this stream: product-MUG-01, order-UUID.
    #[arg(long, value_name = "STREAM")]
    key: Option<String>,
}

/// How many of them.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Amount {
    /// How many at most, the oldest first.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// Do nothing unless it is exactly so many: as many as a dry run has shown.
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
}

/// Reads the name of a letter: `inventory-41`.
fn name(text: &str) -> Result<(&'static str, i64), String> {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Later {
    pub(crate) position: i64,
    pub(crate) version: i64,
    pub(crate) event: String,
    pub(crate) recorded_at: String,
}

/// The letters that are meant, in order. `None`: they cannot be told, and it is said why.
pub(crate) async fn chosen(
    connection: &mut PgConnection,
    selection: &Selection,
    amount: Amount,
) -> Result<Option<Vec<Opened>>> {
    let chosen = select(connection, selection, amount).await.map_err(explained)?;
    Ok(chosen.inspect_err(|mistake| eprintln!("holdfast: {mistake}")).ok())
}

/// Notes who does what about a letter, and why.
pub(crate) async fn note(
    connection: &mut PgConnection,
    verb: &str,
    (letter, key): (&Letter, Option<&str>),
    (reason, why): (&str, &Why),
) -> Result<i64> {
    let act = Act {
        verb,
        target: &format!("letter {}", letter.name()),
        stream: key,
        reason,
        actor: why.actor.as_deref(),
        said: json!({ "letter": letter.name(), "subject": letter.subject, "code": letter.code }),
    };
    let act_id = act.note(connection).await?;
    letter.is_acted_on(connection, act_id).await?;
    Ok(act_id)
}

/// An error of the second kind is the caller's.
async fn select(
    connection: &mut PgConnection,
    selection: &Selection,
    amount: Amount,
) -> Result<Result<Vec<Opened>, String>> {
    let mut found = Vec::new();
    for (service, id) in &selection.letters {
        match letters::find(connection, service, *id).await? {
            Some(letter) => found.push(open(letter)),
            None => return Ok(Err(format!("there is no letter {service}-{id}"))),
        }
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
        found.truncate(amount.limit.into());
    }
    match amount.count {
        Some(count) if count != found.len() => {
            Ok(Err(format!("it is {} letters now, and not {count}: look at them again with --dry-run", found.len())))
        }
        _ => Ok(Ok(found)),
    }
}

fn open(letter: Letter) -> Opened {
    let way = letter.way(&commands());
    let key = key(&letter, way.as_ref().ok());
    Opened { letter, way, key }
}

/// The stream that a letter is about, if it says so.
fn key(letter: &Letter, way: Option<&Way>) -> Option<String> {
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
    foreseen.with_context(|| format!("looking what {} would do", letter.name()))
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
