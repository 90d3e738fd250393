//! Wallets and what is set aside of them, as the tables have them.

use domain::{PaymentId, WalletId};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{Figures, each, each_of, hold_status};
use crate::{
    ledger::{
        Ledger,
        wallets::{Funds, funds_name, wallet_name},
    },
    report::{Check, Findings},
};

pub(super) async fn wallets(
    connection: &mut PgConnection,
    ledger: &Ledger,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let query = "select w.wallet_id, w.currency, w.available_minor, w.held_minor,
            coalesce(f.held, 0)::int8 as held_by_funds
        from payments.wallets w left join (
            select wallet_id, sum(amount_minor) as held from payments.funds where status = 'held' group by wallet_id
        ) f using (wallet_id)";
    each(connection, query, |row| {
        let wallet_id = WalletId(row.try_get("wallet_id")?);
        let book = ledger.wallets.wallets.get(&wallet_id).cloned().unwrap_or_default();
        let currency: &str = row.try_get("currency")?;
        Figures::new(Check::Wallets, wallet_name(wallet_id))
            .money("available", currency, row.try_get("available_minor")?, book.available())
            .money("held", currency, row.try_get("held_minor")?, book.held)
            .money("held for all payments", currency, row.try_get("held_by_funds")?, book.held)
            .tell(findings);
        Ok(())
    })
    .await
}

pub(super) async fn funds(
    connection: &mut PgConnection,
    ledger: &Ledger,
    ids: Vec<Uuid>,
    findings: &mut Findings,
) -> Result<(), sqlx::Error> {
    let query = "select payment_id, status, coalesce(currency, '') as currency,
            (select coalesce(sum(value::int8), 0)::int8 from jsonb_each_text(credits)) as credited
        from payments.funds where payment_id = any($1)";
    each_of(connection, query, ids, |row| {
        let payment_id = PaymentId(row.try_get("payment_id")?);
        let book = ledger.wallets.funds.get(&payment_id);
        hold_status(funds_name(payment_id), row.try_get("status")?, book.map(|funds| funds.status), findings);
        Figures::new(Check::Wallets, funds_name(payment_id))
            .money("given back", row.try_get("currency")?, row.try_get("credited")?, book.map_or(0, Funds::credited))
            .tell(findings);
        Ok(())
    })
    .await
}
