//! All that a replay may know of a service: how its events are read and what they make true. Timers, outside calls, providers and whoever
//! publishes are not named here, so no replay can set, make, ask or tell anything.

use std::fmt::{Debug, Display};

use domain::{Currency, Rejection, Revised, StreamVersion, Table};
use serde::Serialize;

/// Rows of one kind as the fold of events. A replay is generic over it, so what is not here no replay can do.
///
/// It makes events true:
///
/// ```
/// use audit::replay::Projection;
///
/// fn serve<S: domain::Decider>() {}
///
/// fn fold<P: Projection>(state: &mut P::State, event: &P::Event) {
///     P::evolve(state, event);
/// }
/// ```
///
/// It has no timers, though the services whose events it folds have them,
///
/// ```compile_fail,E0599
/// use audit::replay::Projection;
///
/// fn fold<P: Projection>(state: &mut P::State, event: &P::Event) {
///     P::timer(event);
/// }
/// ```
///
/// no outside calls, neither to ask for nor to make,
///
/// ```compile_fail,E0599
/// use audit::replay::Projection;
///
/// fn fold<P: Projection>(state: &mut P::State, event: &P::Event) {
///     P::effect(event);
/// }
/// ```
///
/// ```compile_fail,E0599
/// use audit::replay::Projection;
///
/// fn fold<P: Projection>(state: &mut P::State, event: &P::Event) {
///     P::perform(state, event);
/// }
/// ```
///
/// nothing to decide or to write with,
///
/// ```compile_fail,E0599
/// use audit::replay::Projection;
///
/// fn fold<P: Projection>(state: &mut P::State, event: &P::Event) {
///     P::encode(state, event);
/// }
/// ```
///
/// and is no service, which has all of these:
///
/// ```compile_fail,E0277
/// use audit::replay::Projection;
///
/// fn serve<S: domain::Decider>() {}
///
/// fn fold<P: Projection>(state: &mut P::State, event: &P::Event) {
///     serve::<P>();
/// }
/// ```
///
/// Those fail for their call and for nothing else: with the call of the first they are the first.
pub trait Projection: Send + 'static {
    /// Who writes its events.
    const SERVICE: &'static str;

    /// Categories of the streams whose events it is the fold of. No other event touches it.
    const CATEGORIES: &'static [&'static str];

    /// What names a row.
    const KEY: &'static str;

    /// The figures of a row, in the order of [`Self::figures`].
    const FIGURES: &'static [&'static str];

    /// A fact.
    type Event: Debug;

    /// The rows, and what the fold needs beside them.
    type State: Default + Send;

    /// Names a row.
    type Key: Clone + Debug + Display + Ord + Send;

    /// A row.
    type Row: Revised + Serialize;

    /// Reads a key as people write it.
    ///
    /// # Errors
    /// It names no row.
    fn read_key(text: &str) -> Result<Self::Key, Rejection>;

    /// Reads an event, as the service itself does.
    ///
    /// # Errors
    /// It does not decode.
    fn read(message_type: &str, data: &[u8]) -> Result<Self::Event, Rejection>;

    /// Makes an event true, as the service itself does.
    fn evolve(state: &mut Self::State, event: &Self::Event);

    /// Forgets what the event has left beside the rows and no later event needs.
    fn forget(state: &mut Self::State, event: &Self::Event);

    /// The rows.
    fn rows(state: &Self::State) -> &Table<Self::Key, Self::Row>;

    /// The row whose own stream the event belongs to, if that is one of this kind.
    fn owner(event: &Self::Event) -> Option<Self::Key>;

    /// All rows that the event changes, each once.
    fn touches(event: &Self::Event) -> Vec<Self::Key>;

    /// Events of a row's own stream.
    fn version(row: &Self::Row) -> StreamVersion;

    /// Where a row stands, for rows that stand somewhere.
    fn status(row: &Self::Row) -> Option<&'static str>;

    /// A row's figures.
    fn figures(row: &Self::Row) -> Vec<i64>;

    /// The currency of a row's figures, if they are money in minor units.
    fn currency(row: &Self::Row) -> Option<Currency>;

    /// Whom an event is about that has changed this row.
    fn about(event: &Self::Event, row: &Self::Row) -> About;
}

/// Whom an event is about.
#[derive(Debug, Default)]
pub struct About {
    /// This order.
    pub order_id: Option<domain::OrderId>,
    /// This payment.
    pub payment_id: Option<domain::PaymentId>,
}

impl About {
    pub(super) const fn order(order_id: domain::OrderId) -> Self {
        Self { order_id: Some(order_id), payment_id: None }
    }
}
