//! Postings: what each event adds to each figure of each row. Up to any position the sum of a row's postings is its figure, in any program
//! that can add.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, bail};
use domain::{GlobalPosition, Timestamp, written};
use serde::Serialize;

use super::{
    blocks::{Blocks, Extent, Form, Line, Listed},
    columnar::{Cell, Column, Holds},
};
use crate::replay::{
    Kind, Movement, Movements, Question,
    fold::{Fold, LogEvent},
    kinds::{CouponRows, OrderRows, PaymentRows, ShareRows, StockRows, WalletRows},
    prefix::Reader,
};

/// What an event adds to one figure.
#[derive(Debug, Serialize)]
pub(super) struct Posting<'a> {
    position: GlobalPosition,
    recorded_at: Timestamp,
    event_id: &'a str,
    /// Of which kind the row is.
    kind: &'a str,
    /// Which row.
    key: &'a str,
    /// Which of its figures.
    account: &'a str,
    amount: i64,
    /// Of what is money in minor units.
    currency: Option<&'a str>,
}

/// The columns of a posting where a line has no names.
pub(super) const COLUMNS: [&str; 9] =
    ["position", "recorded_on", "recorded_at", "event_id", "kind", "key", "account", "amount", "currency"];

impl Line for Posting<'_> {
    const COLUMNS: &'static [Column] = &[
        Column::new("position", Holds::Integer),
        Column::new("recorded_at", Holds::Time),
        Column::new("event_id", Holds::Text),
        Column::new("kind", Holds::Text),
        Column::new("key", Holds::Text),
        Column::new("account", Holds::Text),
        Column::new("amount", Holds::Integer),
        Column::new("currency", Holds::MaybeText),
    ];

    fn position(&self) -> GlobalPosition {
        self.position
    }

    fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    fn values(&self) -> Vec<String> {
        let recorded_at = self.recorded_at.to_string();
        vec![
            self.position.to_string(),
            // The day in UTC.
            recorded_at.chars().take(10).collect(),
            recorded_at,
            self.event_id.to_owned(),
            self.kind.to_owned(),
            self.key.to_owned(),
            self.account.to_owned(),
            decimal(self.amount, self.currency),
            self.currency.unwrap_or_default().to_owned(),
        ]
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            Cell::Integer(self.position.get()),
            Cell::Time(self.recorded_at),
            self.event_id.into(),
            self.kind.into(),
            self.key.into(),
            self.account.into(),
            Cell::Integer(self.amount),
            self.currency.map_or(Cell::Nothing, Cell::from),
        ]
    }
}

/// A row of Parquet as text, by which it is compared with what follows from the events.
pub(super) fn text(row: &[Cell<'_>]) -> Result<Vec<u8>> {
    let [
        Cell::Integer(position),
        Cell::Time(recorded_at),
        Cell::Text(event_id),
        Cell::Text(kind),
        Cell::Text(key),
        Cell::Text(account),
        Cell::Integer(amount),
        currency,
    ] = row
    else {
        bail!("it is no posting")
    };
    let currency = if let Cell::Text(currency) = currency { Some(currency.as_ref()) } else { None };
    let (position, recorded_at, amount) = (GlobalPosition::new(*position), *recorded_at, *amount);
    Posting { position, recorded_at, event_id, kind, key, account, amount, currency }.text(Form::Parquet)
}

/// A figure with a decimal comma: money in major units, all else as it is.
fn decimal(amount: i64, currency: Option<&str>) -> String {
    let Some(written) = currency.map(|currency| written(amount, currency)) else { return amount.to_string() };
    let digits = written.split(' ').next().unwrap_or_default();
    digits.replace(',', "").replace('.', ",")
}

/// Folds events of every kind, and writes what they move.
pub(super) struct Postings {
    stock: Fold<StockRows, Sink>,
    shares: Fold<ShareRows, Sink>,
    orders: Fold<OrderRows, Sink>,
    payments: Fold<PaymentRows, Sink>,
    coupons: Fold<CouponRows, Sink>,
    wallets: Fold<WalletRows, Sink>,
    blocks: Arc<Mutex<Blocks>>,
}

/// Who takes the movements of one kind.
struct Sink {
    kind: Kind,
    blocks: Arc<Mutex<Blocks>>,
}

impl Movements for Sink {
    fn take(&mut self, movement: Movement) -> Result<()> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let event_id = movement.event_id.to_string();
        for (account, figure) in movement.figures.iter().filter(|(_, figure)| figure.delta != 0) {
            let posting = Posting {
                position: movement.position,
                recorded_at: movement.recorded_at,
                event_id: &event_id,
                kind: self.kind.as_str(),
                key: &movement.key,
                account,
                amount: figure.delta,
                currency: movement.currency.as_deref(),
            };
            blocks.line(&posting)?;
        }
        Ok(())
    }
}

impl Postings {
    pub(super) fn new(extent: Extent, dir: Option<&Path>) -> Result<Self> {
        let blocks = Arc::new(Mutex::new(Blocks::new("postings", extent, dir)));
        let sink = |kind| Sink { kind, blocks: Arc::clone(&blocks) };
        let all = |kind| Question {
            kind,
            at: None,
            keys: Vec::new(),
            movements: true,
            choice: None,
            shard: None,
            max_rate: None,
        };
        Ok(Self {
            stock: Fold::new(&all(Kind::Stock), sink(Kind::Stock))?,
            shares: Fold::new(&all(Kind::Shares), sink(Kind::Shares))?,
            orders: Fold::new(&all(Kind::Orders), sink(Kind::Orders))?,
            payments: Fold::new(&all(Kind::Payments), sink(Kind::Payments))?,
            coupons: Fold::new(&all(Kind::Coupons), sink(Kind::Coupons))?,
            wallets: Fold::new(&all(Kind::Wallets), sink(Kind::Wallets))?,
            blocks,
        })
    }

    /// Takes the next event in, in order of position: all from the beginning of the log.
    pub(super) fn take(&mut self, event: &LogEvent<'_>) -> Result<()> {
        self.stock.take(event)?;
        self.shares.take(event)?;
        self.orders.take(event)?;
        self.payments.take(event)?;
        self.coupons.take(event)?;
        self.wallets.take(event)
    }

    pub(super) fn end(self) -> Result<Vec<Listed>> {
        let Self { stock, shares, orders, payments, coupons, wallets, blocks } = self;
        drop((stock, shares, orders, payments, coupons, wallets));
        Arc::into_inner(blocks)
            .map_or_else(|| Ok(Vec::new()), |blocks| blocks.into_inner().unwrap_or_else(PoisonError::into_inner).end())
    }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn a_figure_has_a_decimal_comma_where_it_is_money() {
        for (amount, currency, text) in [
            (1_250, Some("EUR"), "12,50"),
            (-123_456_789, Some("EUR"), "-1234567,89"),
            (1_250, Some("JPY"), "1250"),
            (7, None, "7"),
        ] {
            assert_eq!(decimal(amount, currency), text);
        }
    }
}
