//! What a message would do now, for whoever asks before it is done.

use anyhow::Context;
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use rounds::Rounds;
use runtime::foresee::{self, Foreseen};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

/// What it would do.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Would {
    /// Events that would be written.
    write: Vec<Write>,
    /// Why it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub be_refused: Option<String>,
}

/// An event that would be written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Write {
    /// Its name.
    event: String,
    stream: String,
    /// Its number in the stream.
    version: i64,
    /// What it would say.
    said: Value,
}

impl From<Foreseen> for Would {
    fn from(Foreseen { events, refused, .. }: Foreseen) -> Self {
        let write = events.into_iter().map(|event| Write {
            event: proto::short_name(event.message_type).to_owned(),
            version: event.version.get(),
            said: proto::to_json(event.message_type, &event.data).unwrap_or_default(),
            stream: event.stream,
        });
        let be_refused = refused.map(|refused| format!("{}: {}", refused.code, refused.reason));
        Self { write: write.collect(), be_refused }
    }
}

impl Would {
    /// The same in words.
    #[must_use]
    pub fn words(&self) -> String {
        match (&self.be_refused, self.write.as_slice()) {
            (Some(refused), _) => format!("be refused: {refused}"),
            (None, []) => "find everything as it should be, and write nothing".to_owned(),
            (None, events) => {
                let event = |event: &Write| format!("{} v{} of {}", event.event, event.version, event.stream);
                format!("write {}", events.iter().map(event).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Of a command of any service. What the settings of its workers would make of it is not known here.
///
/// # Errors
/// Postgres failed.
pub async fn command(connection: &mut PgConnection, command: (Uuid, &str, &[u8])) -> anyhow::Result<Would> {
    let foreseen = match proto::owner(command.1) {
        Some("orders") => foresee::command::<Orders>(connection, command).await,
        Some("inventory") => foresee::command::<Inventory>(connection, command).await,
        Some("rounds") => foresee::command::<Rounds>(connection, command).await,
        _ => foresee::command::<Payments>(connection, command).await,
    };
    Ok(foreseen.context("reading the rows that it is about")?.into())
}
