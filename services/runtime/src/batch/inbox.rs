//! The inbox: the answer to every command that was ever answered, by the command's id.

use std::collections::BTreeMap;

use domain::Timestamp;
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    batch::draft::Answered,
    inbound::input::{Input, InputKind},
};

/// What was answered to these commands before.
pub(crate) async fn answered<C>(
    connection: &mut PgConnection,
    inputs: &[Input<C>],
) -> Result<BTreeMap<Uuid, Answered>, sqlx::Error> {
    let ids: Vec<Uuid> = inputs
        .iter()
        .filter(|input| matches!(input.work, InputKind::Command { .. }))
        .map(|input| input.cause.id)
        .collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query("select body_hash, reply, command_id from inbox where command_id = any($1)")
        .bind(ids)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(2)?, read(row)?))).collect()
}

/// Keeps an answer, unless the command was answered meanwhile: then that is returned, and stays.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    command_id: Uuid,
    answer: &Answered,
    at: Timestamp,
) -> Result<Option<Answered>, sqlx::Error> {
    let kept = sqlx::query(
        "insert into inbox (command_id, body_hash, reply, handled_at) values ($1, $2, $3, $4) on conflict do nothing",
    )
    .bind(command_id)
    .bind(answer.body_hash.as_slice())
    .bind(answer.reply.as_slice())
    .bind(OffsetDateTime::from(at))
    .execute(&mut *connection)
    .await?;
    if kept.rows_affected() > 0 {
        return Ok(None);
    }
    let before = sqlx::query("select body_hash, reply from inbox where command_id = $1")
        .bind(command_id)
        .fetch_one(connection)
        .await?;
    read(&before).map(Some)
}

fn read(row: &PgRow) -> Result<Answered, sqlx::Error> {
    Ok(Answered { body_hash: row.try_get(0)?, reply: row.try_get(1)? })
}
