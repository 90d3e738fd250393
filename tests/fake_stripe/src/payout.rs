//! The payout reconciliation report: every balance transaction in a line, as the dashboard lets it be downloaded.

use time::OffsetDateTime;

use crate::{
    account::{Account, Move},
    money,
    render::category,
};

/// Those of its columns that a shop has something of.
const HEADING: &str = "automatic_payout_id,automatic_payout_effective_at,balance_transaction_id,created_utc,created,available_on_utc,\
    available_on,currency,gross,fee,net,reporting_category,source_id,description,customer_facing_amount,customer_facing_currency,charge_id,\
    payment_intent_id";

/// The report of a payout of everything there is.
pub(crate) fn report(account: &mut Account) -> String {
    let payout = account.new_id("po_");
    let mut moves: Vec<&Move> = account.moves.values().collect();
    moves.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let lines = moves.into_iter().map(|entry| line(account, entry, &payout));
    std::iter::once(HEADING.to_owned()).chain(lines).map(|line| line + "\n").collect()
}

fn line(account: &Account, entry: &Move, payout: &str) -> String {
    let at = at(entry.created);
    let amount = |minor: i64| money::major(&entry.currency, minor);
    let (charge, intent) = charge_of(account, &entry.source);
    let (gross, fee, net) = (amount(entry.amount), amount(entry.fee), amount(entry.amount.saturating_sub(entry.fee)));
    let seen = amount(entry.amount.saturating_abs());
    [
        payout,
        &at,
        &entry.id,
        &at,
        &at,
        &at,
        &at,
        &entry.currency,
        &gross,
        &fee,
        &net,
        category(entry),
        &entry.source,
        "",
        &seen,
        &entry.currency,
        charge,
        intent,
    ]
    .join(",")
}

/// The charge and the intent that a charge, a refund or a dispute is of.
fn charge_of<'a>(account: &'a Account, source: &'a str) -> (&'a str, &'a str) {
    let refund = account.refunds.get(source).map(|refund| (refund.charge.as_str(), refund.intent.as_str()));
    let dispute = account.disputes.get(source).map(|dispute| (dispute.charge.as_str(), dispute.intent.as_str()));
    let charge = account.charges.get(source).map(|charge| (charge.id.as_str(), charge.intent.as_str()));
    refund.or(dispute).or(charge).unwrap_or_default()
}

/// Seconds since 1970 as the report writes them, in UTC: `2026-11-29 12:00:00`.
fn at(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second) = at.time().as_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}", at.date())
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, text) in [(0, "1970-01-01 00:00:00"), (1_798_761_599, "2026-12-31 23:59:59")] {
            assert_eq!(at(seconds), text);
        }
    }
}
