//! What follows from the rest of a payment, or from all of them: columns that are written for others to read and never read back, columns that
//! mean nothing without another one, and the table of charges, by which the gateway finds the payment of a report.

use domain::PaymentId;
use runtime::service::{self, Derived, Differing};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::payment::State;

/// Beside the figures: how many columns are filled that say more about a page, a charge or a request that there is none of.
const LOAD: &str = "select payment_id, charged_back_minor, reports::int8,
        case when page is null then num_nonnulls(page_number, page_ends_at, page_look_at) else 0 end::int8 as of_no_page,
        case when charge_event_id is null then num_nonnulls(charge_reference, charged_at) else 0 end::int8 as of_no_charge,
        case when amount_minor is null then num_nonnulls(order_reference) else 0 end::int8 as of_no_request
    from payments.payments where payment_id = any($1)";

/// Where columns do not follow from these payments.
pub(crate) async fn differing(connection: &mut PgConnection, state: &State) -> Result<Differing, sqlx::Error> {
    let ids: Vec<Uuid> = state.payments.iter().map(|(payment_id, _)| payment_id.0).collect();
    if ids.is_empty() {
        return Ok(Differing::new());
    }
    let mut found = Differing::new();
    for row in sqlx::query(LOAD).bind(ids).fetch_all(connection).await? {
        let payment_id = PaymentId(row.try_get("payment_id")?);
        let Some(payment) = state.payments.get(&payment_id) else { continue };
        let there = |column| row.try_get::<i64, _>(column);
        let reports = i64::try_from(payment.reports.len()).unwrap_or(i64::MAX);
        let columns: [Derived; 5] = [
            ("charged_back_minor", there("charged_back_minor")?, payment.charged_back_minor()),
            ("reports", there("reports")?, reports),
            ("columns about a page that there is not", there("of_no_page")?, 0),
            ("columns about a charge that there is not", there("of_no_charge")?, 0),
            ("columns about a request that there is not", there("of_no_request")?, 0),
        ];
        if let Some(what) = service::differing(&columns) {
            found.insert(format!("payment-{payment_id}"), what);
        }
    }
    Ok(found)
}

/// Charges that were reported and are not in their table, and those in it that nobody has reported of that payment. Of two payments of which the same
/// charge was reported it is the first's.
const CHARGES: &str = "with reported as materialized (
        select provider, charge_reference as reference, payment_id from payments.payments
        where page is not null and provider is not null and charge_reference <> ''
        union
        select provider, r.provider_reference, payment_id
        from payments.reports r join payments.payments p using (payment_id)
        where r.kind = 'payment_succeeded' and r.provider_reference <> '' and p.page is not null and p.provider is not null
    )
    select r.payment_id, r.provider, r.reference, true as lacks
    from (select provider, reference, min(payment_id::text)::uuid as payment_id, array_agg(payment_id) as payments
          from reported group by provider, reference) r
        left join payments.charges c using (provider, reference)
    where c.payment_id is null or c.payment_id <> all (r.payments)
    union all
    select c.payment_id, c.provider, c.reference, false
    from payments.charges c left join reported r using (provider, reference, payment_id)
    where r.payment_id is null
    order by 1, 2, 3, 4";

/// Where the table of charges does not follow from the payments and the reports.
pub(crate) async fn charges(connection: &mut PgConnection) -> Result<Differing, sqlx::Error> {
    let mut found = Differing::new();
    for row in sqlx::query(CHARGES).fetch_all(connection).await? {
        let payment_id = PaymentId(row.try_get("payment_id")?);
        let (provider, reference): (&str, &str) = (row.try_get("provider")?, row.try_get("reference")?);
        let what = match row.try_get("lacks")? {
            true => format!("payments.charges lacks the charge {reference} of {provider}, which was reported of it"),
            false => format!("payments.charges has the charge {reference} of {provider}, which nobody reported of it"),
        };
        found
            .entry(format!("payment-{payment_id}"))
            .and_modify(|told: &mut String| *told = format!("{told}; {what}"))
            .or_insert(what);
    }
    Ok(found)
}
