//! The rows of wallets, and of what is set aside of them.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Currency, Memory, Money, PaymentId, RefundId, StreamVersion, WalletId, hold::Status};
use platform::{
    database::column,
    statement::{Statement, Values},
};
use runtime::service::Locks;
use sqlx::{PgConnection, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{malformed, money, unknown_word};
use crate::{
    command::{Command, WalletCommand},
    payment::State,
    wallet::{Funds, Wallet, WalletRevision},
};

/// Loads what these commands touch: what is set aside, and the wallets of all. Locks them in this order, each table in key order. Commands
/// that are not about wallets cost nothing.
pub(super) async fn load(
    connection: &mut PgConnection,
    commands: &[&Command],
    locks: Locks,
    state: &mut State,
) -> Result<(), sqlx::Error> {
    let (mut payments, mut wallets) = (BTreeSet::new(), BTreeSet::new());
    for command in commands {
        let Command::Wallet(command) = command else { continue };
        let (payment, wallet) = touched(command);
        payments.extend(payment);
        wallets.extend(wallet);
    }
    if payments.is_empty() && wallets.is_empty() {
        return Ok(());
    }
    let payments: Vec<Uuid> = payments.into_iter().map(|id| id.0).collect();
    let wallets: Vec<Uuid> = wallets.into_iter().map(|id| id.0).collect();
    let load = match locks {
        Locks::None => LOAD,
        Locks::Rows => LOAD_LOCKED,
    };
    take_in(state, sqlx::query(load).bind(&payments).bind(&wallets).fetch_all(connection).await?)
}

/// The payment whose money a command is about, and the wallet that it names.
fn touched(command: &WalletCommand) -> (Option<PaymentId>, Option<WalletId>) {
    match command {
        WalletCommand::TopUp(movement) | WalletCommand::Withdraw(movement) => (None, Some(movement.wallet_id())),
        WalletCommand::Hold { payment_id, customer_id, amount } => {
            (Some(*payment_id), Some(WalletId::of(customer_id, amount.currency)))
        }
        WalletCommand::Commit { payment_id }
        | WalletCommand::Release { payment_id }
        | WalletCommand::Credit { payment_id, .. } => (Some(*payment_id), None),
    }
}

/// Loads the rows of these names, without locks.
pub(super) async fn load_rows(
    connection: &mut PgConnection,
    names: &[String],
    state: &mut State,
) -> Result<(), sqlx::Error> {
    let payments = names.iter().filter_map(|name| PaymentId::parse(name.strip_prefix("funds-")?).ok());
    let payments: Vec<Uuid> = payments.map(|id| id.0).collect();
    let wallets = names.iter().filter_map(|name| WalletId::parse(name.strip_prefix("wallet-")?).ok());
    let wallets: Vec<Uuid> = wallets.map(|id| id.0).collect();
    if payments.is_empty() && wallets.is_empty() {
        return Ok(());
    }
    take_in(state, sqlx::query(LOAD).bind(&payments).bind(&wallets).fetch_all(connection).await?)
}

/// Loads every row, without locks.
pub(super) async fn load_all(connection: &mut PgConnection, state: &mut State) -> Result<(), sqlx::Error> {
    take_in(state, sqlx::query(LOAD_ALL).fetch_all(connection).await?)
}

/// Moves what a command touches from what is remembered to a state of its own. False: some of it may be there and is not remembered. A
/// payment's money is asked for in one command nearly always, so that of a hold is taken for new, as orders' coupons are: should it be there
/// after all, saving it fails, and the batch is done again with what is read.
pub(super) fn recall(
    memory: &mut Memory<State>,
    command: &WalletCommand,
    asked: &mut BTreeSet<PaymentId>,
    state: &mut State,
) -> bool {
    let (payment, wallet) = touched(command);
    let is_payment_known = payment.is_none_or(|payment_id| {
        if matches!(command, WalletCommand::Hold { .. }) {
            asked.insert(payment_id);
        }
        memory.move_to(state, &payment_id, |rows| &mut rows.funds) || asked.contains(&payment_id)
    });
    let of_funds = payment.and_then(|payment_id| state.funds.get(&payment_id)?.wallet_id);
    is_payment_known
        && [wallet, of_funds]
            .into_iter()
            .flatten()
            .all(|wallet_id| memory.move_to(state, &wallet_id, |rows| &mut rows.wallets))
}

/// The columns of what is set aside, and of a wallet: each under the names that are its own, all others null.
macro_rules! funds {
    ($from:literal) => {
        concat!(
            "select 'funds' as what, payment_id, wallet_id, customer_id, currency, amount_minor, status, credits,
                 null::int8 as available_minor, null::int8 as held_minor, version
             from ",
            $from
        )
    };
}

macro_rules! wallets {
    ($($from:literal),+) => {
        concat!(
            " union all select 'wallet', null, wallet.wallet_id, wallet.customer_id, wallet.currency, null, null, null,
                 wallet.available_minor, wallet.held_minor, wallet.version
             from ",
            $($from,)+
            " as wallet"
        )
    };
}

const LOAD_ALL: &str = concat!(funds!("payments.funds"), wallets!("payments.wallets"));

/// What a wallet's money is set aside for names it, so it is read first.
macro_rules! load {
    ($funds_locked:literal, $wallets_locked:literal) => {
        concat!(
            "with f as materialized (
                 select * from payments.funds where payment_id = any($1)",
            $funds_locked,
            "),
             wanted as materialized (
                 select array(select unnest($2::uuid[]) union select wallet_id from f where wallet_id is not null) as ids
             ) ",
            funds!("f"),
            wallets!(
                "wanted cross join lateral (
                     select * from payments.wallets where wallet_id = any(wanted.ids)",
                $wallets_locked,
                ")"
            )
        )
    };
}

const LOAD: &str = load!("", "");
const LOAD_LOCKED: &str = load!(" order by payment_id for update", " order by wallet_id for update");

fn take_in(state: &mut State, rows: Vec<PgRow>) -> Result<(), sqlx::Error> {
    for row in rows {
        match row.try_get("what")? {
            "funds" => {
                let (payment_id, funds) = funds(&row)?;
                state.funds.load(payment_id, funds);
            }
            _wallet => {
                let wallet = Wallet {
                    customer_id: row.try_get("customer_id")?,
                    currency: Currency::parse(row.try_get("currency")?).map_err(malformed)?,
                    available: row.try_get("available_minor")?,
                    held: row.try_get("held_minor")?,
                    version: StreamVersion::new(row.try_get("version")?),
                };
                state.wallets.load(WalletId(row.try_get("wallet_id")?), wallet);
            }
        }
    }
    Ok(())
}

fn funds(row: &PgRow) -> Result<(PaymentId, Funds), sqlx::Error> {
    let payment_id = PaymentId(row.try_get("payment_id")?);
    let word: &str = row.try_get("status")?;
    let is_known = row.try_get::<Option<i64>, _>("amount_minor")?.is_some();
    let Json(credits): Json<BTreeMap<Uuid, i64>> = row.try_get("credits")?;
    let funds = Funds {
        status: Status::parse(word).ok_or_else(|| unknown_word(&format!("funds {payment_id}"), word))?,
        wallet_id: row.try_get::<Option<Uuid>, _>("wallet_id")?.map(WalletId),
        customer_id: row.try_get("customer_id")?,
        amount: is_known.then(|| money(row)).transpose()?,
        credits: credits.into_iter().map(|(id, minor_units)| (RefundId(id), minor_units)).collect(),
        version: StreamVersion::new(row.try_get("version")?),
    };
    Ok((payment_id, funds))
}

/// Saves what is new and what changed. Customer and currency of a wallet never change, nor does what was set aside and of which wallet.
pub(super) fn save(statement: &mut Statement, state: &State) {
    let funds: Vec<(&PaymentId, &Funds, StreamVersion)> = state.funds.changed().collect();
    if !funds.is_empty() {
        bind_changed_funds(&mut statement.counted("funds_changed", funds.len(), CHANGE_FUNDS), &funds);
    }
    let wallets: Vec<(&WalletId, &Wallet, WalletRevision)> = state.wallets.changed().collect();
    if !wallets.is_empty() {
        bind_changed_wallets(&mut statement.counted("wallets_changed", wallets.len(), CHANGE_WALLETS), &wallets);
    }
    let funds: Vec<(&PaymentId, &Funds)> = state.funds.created().collect();
    if !funds.is_empty() {
        bind_new_funds(&mut statement.counted("funds_created", funds.len(), CREATE_FUNDS), &funds);
    }
    let wallets: Vec<(&WalletId, &Wallet)> = state.wallets.created().collect();
    if !wallets.is_empty() {
        bind_new_wallets(&mut statement.counted("wallets_created", wallets.len(), CREATE_WALLETS), &wallets);
    }
}

fn credits(funds: &Funds) -> Json<BTreeMap<Uuid, i64>> {
    Json(funds.credits.iter().map(|(id, minor_units)| (id.0, *minor_units)).collect())
}

fn bind_changed_funds(values: &mut Values<'_>, rows: &[(&PaymentId, &Funds, StreamVersion)]) {
    values
        .bind(column(rows, |(payment_id, _, _)| payment_id.0))
        .bind(column(rows, |(_, funds, _)| funds.status.as_str()))
        .bind(column(rows, |(_, funds, _)| credits(funds)))
        .bind(column(rows, |(_, funds, _)| funds.version.get()))
        .bind(column(rows, |(_, _, before)| before.get()));
}

const CHANGE_FUNDS: &str = "update payments.funds set status = new.status, credits = new.credits, version = new.version
    from unnest($1::uuid[], $2::text[], $3::jsonb[], $4::int8[], $5::int8[])
        as new (payment_id, status, credits, version, before)
    where funds.payment_id = new.payment_id and funds.version = new.before
    returning 1";

fn bind_changed_wallets(values: &mut Values<'_>, rows: &[(&WalletId, &Wallet, WalletRevision)]) {
    values
        .bind(column(rows, |(wallet_id, _, _)| wallet_id.0))
        .bind(column(rows, |(_, wallet, _)| wallet.available))
        .bind(column(rows, |(_, wallet, _)| wallet.held))
        .bind(column(rows, |(_, wallet, _)| wallet.version.get()))
        .bind(column(rows, |(_, _, before)| before.version.get()))
        .bind(column(rows, |(_, _, before)| before.available))
        .bind(column(rows, |(_, _, before)| before.held));
}

const CHANGE_WALLETS: &str = "update payments.wallets set available_minor = new.available_minor,
        held_minor = new.held_minor, version = new.version
    from unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[])
        as new (wallet_id, available_minor, held_minor, version, version_before, available_before, held_before)
    where wallets.wallet_id = new.wallet_id and wallets.version = new.version_before
        and wallets.available_minor = new.available_before and wallets.held_minor = new.held_before
    returning 1";

fn bind_new_funds(values: &mut Values<'_>, rows: &[(&PaymentId, &Funds)]) {
    let amounts: Vec<Option<Money>> = column(rows, |(_, funds)| funds.amount);
    values
        .bind(column(rows, |(payment_id, _)| payment_id.0))
        .bind(column(rows, |(_, funds)| funds.wallet_id.map(|id| id.0)))
        .bind(column(rows, |(_, funds)| funds.customer_id.as_str()))
        .bind(column(&amounts, |amount| amount.map(|amount| amount.minor_units)))
        .bind(column(&amounts, |amount| amount.map(|amount| amount.currency.to_string())))
        .bind(column(rows, |(_, funds)| funds.status.as_str()))
        .bind(column(rows, |(_, funds)| credits(funds)))
        .bind(column(rows, |(_, funds)| funds.version.get()));
}

const CREATE_FUNDS: &str = "insert into payments.funds (payment_id, wallet_id, customer_id, amount_minor, currency, status,
        credits, version)
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int8[], $5::text[], $6::text[], $7::jsonb[], $8::int8[])
    returning 1";

fn bind_new_wallets(values: &mut Values<'_>, rows: &[(&WalletId, &Wallet)]) {
    values
        .bind(column(rows, |(wallet_id, _)| wallet_id.0))
        .bind(column(rows, |(_, wallet)| wallet.customer_id.as_str()))
        .bind(column(rows, |(_, wallet)| wallet.currency.to_string()))
        .bind(column(rows, |(_, wallet)| wallet.available))
        .bind(column(rows, |(_, wallet)| wallet.held))
        .bind(column(rows, |(_, wallet)| wallet.version.get()));
}

const CREATE_WALLETS: &str =
    "insert into payments.wallets (wallet_id, customer_id, currency, available_minor, held_minor, version)
    select * from unnest($1::uuid[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::int8[])
    returning 1";
