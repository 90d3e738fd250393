//! Replay: stock, shares, orders, payments, coupons or wallets as they were, folded from the beginning of the log up to a position.
//!
//! Read it in this order: [`replay`] is the whole of it; `at` is the moment that was asked for, `prefix` finds where it cuts the log and
//! reads up to there, `projection` is all that a replay may know of a service, `kinds` are the six of them, `fold` makes events true and
//! notes what each moves, `from_export` reads files instead of the log, `sample` chooses some of the rows, `evidence` is what stands above every output. `shard` is a part of all rows,
//! and [`merge()`] makes one answer of those of all parts.
//!
//! Why it is so: services/audit/README.md#a-time-is-a-prefix-by-position

use std::num::NonZeroU32;

use anyhow::Result;
use domain::{GlobalPosition, Rejection, words};
use serde_json::{Map, Value};

mod at;
mod evidence;
pub(crate) mod fold;
mod from_export;
pub(crate) mod kinds;
mod merge;
mod movement;
pub(crate) mod prefix;
mod projection;
mod sample;
mod shard;

pub use at::At;
pub use evidence::{Asked, Cut, Database, Evidence, Skew};
pub(crate) use evidence::{PROGRAM, quoted};
pub use from_export::replay_export;
pub use merge::merge;
pub use movement::{Figure, Movement, Movements};
pub use projection::{About, Projection};
pub use sample::{Choice, Chosen, Sample};
pub use shard::Shard;
pub(crate) use shard::leading;

use crate::archive::LogAt;
use fold::{Fold, Folding};
use kinds::{CouponRows, OrderRows, PaymentRows, ShareRows, StockRows, WalletRows};
use prefix::Log;

words!(
    /// What can be replayed.
    Kind {
        /// Products and their pieces.
        Stock = "stock",
        /// Rounds and their shares.
        Shares = "shares",
        /// Orders.
        Orders = "orders",
        /// Payments and their refunds.
        Payments = "payments",
        /// Coupons and their uses.
        Coupons = "coupons",
        /// Wallets and their money.
        Wallets = "wallets",
    }
);

impl Kind {
    /// What names one of its rows.
    #[must_use]
    pub const fn key_name(self) -> &'static str {
        match self {
            Self::Stock => StockRows::KEY,
            Self::Shares => ShareRows::KEY,
            Self::Orders => OrderRows::KEY,
            Self::Payments => PaymentRows::KEY,
            Self::Coupons => CouponRows::KEY,
            Self::Wallets => WalletRows::KEY,
        }
    }

    /// Categories of the streams whose events make its rows.
    pub(crate) const fn streams(self) -> &'static [&'static str] {
        match self {
            Self::Stock => StockRows::CATEGORIES,
            Self::Shares => ShareRows::CATEGORIES,
            Self::Orders => OrderRows::CATEGORIES,
            Self::Payments => PaymentRows::CATEGORIES,
            Self::Coupons => CouponRows::CATEGORIES,
            Self::Wallets => WalletRows::CATEGORIES,
        }
    }

    /// The figures of one of its rows: what a movement has a delta and a balance of.
    #[must_use]
    pub const fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Stock => StockRows::FIGURES,
            Self::Shares => ShareRows::FIGURES,
            Self::Orders => OrderRows::FIGURES,
            Self::Payments => PaymentRows::FIGURES,
            Self::Coupons => CouponRows::FIGURES,
            Self::Wallets => WalletRows::FIGURES,
        }
    }

    /// Reads a key as its rows have it.
    ///
    /// # Errors
    /// It cannot be the key of any row.
    pub fn read_key(self, text: &str) -> Result<String, Rejection> {
        match self {
            Self::Stock => StockRows::read_key(text).map(|key| key.to_string()),
            Self::Shares => ShareRows::read_key(text).map(|key| key.to_string()),
            Self::Orders => OrderRows::read_key(text).map(|key| key.to_string()),
            Self::Payments => PaymentRows::read_key(text).map(|key| key.to_string()),
            Self::Coupons => CouponRows::read_key(text).map(|key| key.to_string()),
            Self::Wallets => WalletRows::read_key(text).map(|key| key.to_string()),
        }
    }
}

/// What is to be replayed.
#[derive(Debug, Clone)]
pub struct Question {
    /// Rows of this kind.
    pub kind: Kind,
    /// As they were then. `None`: at the end of the log.
    pub at: Option<At>,
    /// Of these keys only. None: of all.
    pub keys: Vec<String>,
    /// Whether every change is told as well.
    pub movements: bool,
    /// Not all of the rows, but these of them.
    pub choice: Option<Choice>,
    /// A part of them. `None`: all.
    pub shard: Option<Shard>,
    /// The most events to read in a second.
    pub max_rate: Option<NonZeroU32>,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Where a time cuts the log is looked for, from its end on: all behind this position is looked at.
    Looking(GlobalPosition),
    /// So many events are read, up to this position.
    Folding {
        /// Events.
        events: u64,
        /// The last of them.
        position: GlobalPosition,
        /// Where it ends.
        up_to: GlobalPosition,
    },
}

/// What a replay found.
pub struct Answer<M> {
    /// What stands above every output of it.
    pub evidence: Evidence,
    /// The rows as they were.
    pub rows: Box<dyn Rows>,
    /// Keys that were asked for, and have no row then.
    pub unknown: Vec<String>,
    /// Who took every change.
    pub movements: M,
}

/// Rows of one kind, in the order of their keys.
pub trait Rows {
    /// How many.
    fn count(&self) -> u64;

    /// Gives each to somebody: a JSON object with all that the row has, its key under [`Kind::key_name`] and its figures among it.
    ///
    /// # Errors
    /// Of whom it is given to.
    fn each(&self, take: &mut dyn FnMut(Map<String, Value>) -> Result<()>) -> Result<()>;
}

/// Folds the log up to a moment. Traffic may run: pages of the log are read one after the other over a connection of its own, none of them
/// in a transaction that lasts.
///
/// # Errors
/// The database is away, the moment is beyond the log or before it, or an event cannot be read: all name what it is. Nothing is answered
/// then.
pub async fn replay<M: Movements>(
    log: impl Into<LogAt<'_>>,
    question: &Question,
    movements: M,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Answer<M>> {
    let log = log.into();
    match question.kind {
        Kind::Stock => of::<StockRows, M>(log, question, movements, progress).await,
        Kind::Shares => of::<ShareRows, M>(log, question, movements, progress).await,
        Kind::Orders => of::<OrderRows, M>(log, question, movements, progress).await,
        Kind::Payments => of::<PaymentRows, M>(log, question, movements, progress).await,
        Kind::Coupons => of::<CouponRows, M>(log, question, movements, progress).await,
        Kind::Wallets => of::<WalletRows, M>(log, question, movements, progress).await,
    }
}

async fn of<P: Projection, M: Movements>(
    log: LogAt<'_>,
    question: &Question,
    movements: M,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Answer<M>> {
    let fold = Fold::<P, M>::new(question, movements)?;
    let mut log = Log::open(log, question.max_rate).await?;
    let database = log.database().await?;
    let end = log.end(question.at.as_ref(), &progress).await?;
    let (fold, read) = log.read(Some(P::CATEGORIES), &end, fold, &progress).await?;
    let skew = log.skew(&end, &read).await?;
    log.close().await?;
    let Folding { rows, unknown, movements, folded, chosen } = fold.end(question.choice.as_ref());
    let evidence = Evidence {
        asked: Asked::of(question),
        program: PROGRAM,
        database,
        cut: end.cut(),
        skew,
        events_read: read.events,
        events_folded: folded,
        chosen,
        shard: question.shard,
        rows: rows.count(),
    };
    Ok(Answer { evidence, rows, unknown, movements })
}
