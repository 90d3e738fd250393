//! Disputes as the tables show them: of a payment, and of a report about one that is kept.

use std::collections::BTreeMap;

use domain::Dispute;
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};

use crate::{payment::Payment, report::ReportedDispute};

/// How many payments have a dispute that is not over.
pub(crate) async fn open(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let query = "select count(*) from payments.payments
        where disputes is not null and jsonb_path_exists(disputes, '$.*.standing ? (@ == \"open\")')";
    sqlx::query_scalar(query).fetch_one(connection).await
}

pub(super) fn rows(payment: &Payment) -> Option<Json<&BTreeMap<String, Dispute>>> {
    (!payment.disputes.is_empty()).then_some(Json(&payment.disputes))
}

pub(super) fn read(row: &PgRow) -> Result<BTreeMap<String, Dispute>, sqlx::Error> {
    let rows: Option<Json<BTreeMap<String, Dispute>>> = row.try_get("disputes")?;
    Ok(rows.map(|Json(rows)| rows).unwrap_or_default())
}

pub(super) fn read_reported(row: &PgRow) -> Result<Option<Box<ReportedDispute>>, sqlx::Error> {
    let row: Option<Json<ReportedDispute>> = row.try_get("dispute")?;
    Ok(row.map(|Json(dispute)| Box::new(dispute)))
}
