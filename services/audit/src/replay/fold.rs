//! Events made true, one after the other, and what each moved.

use std::{collections::BTreeSet, fmt::Display};

use anyhow::{Context, Result, anyhow, bail};
use domain::{GlobalPosition, StreamVersion, Timestamp};
use runtime::{log::event_store::StoredEvent, service::is_rejection};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Question, Rows,
    movement::{Figure, Movement, Movements},
    prefix::Reader,
    projection::Projection,
    sample::{Choice, Chosen, Population},
    shard::Shard,
};

/// An event of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogEvent<'row> {
    pub(crate) position: GlobalPosition,
    pub(crate) stream: &'row str,
    pub(crate) version: StreamVersion,
    pub(crate) event_id: Uuid,
    pub(crate) service: &'row str,
    pub(crate) message_type: &'row str,
    pub(crate) recorded_at: Timestamp,
    /// Protobuf bytes. Nothing: it is of another service than the one that was asked for.
    pub(crate) data: &'row [u8],
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Uuid,
    pub(crate) traceparent: Option<&'row str>,
}

impl<'row> LogEvent<'row> {
    /// It, as it was read from the log.
    pub(crate) fn of(event: &'row StoredEvent) -> Self {
        Self {
            position: event.position,
            stream: &event.stream,
            version: event.version,
            event_id: event.event_id,
            service: &event.service,
            message_type: &event.message_type,
            recorded_at: event.recorded_at,
            data: &event.data,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            traceparent: event.traceparent.as_deref(),
        }
    }
}

impl LogEvent<'_> {
    /// It, to be kept.
    pub(crate) fn stored(&self) -> StoredEvent {
        StoredEvent {
            position: self.position,
            stream: self.stream.to_owned(),
            version: self.version,
            event_id: self.event_id,
            service: self.service.to_owned(),
            message_type: self.message_type.to_owned(),
            data: self.data.to_vec(),
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent.map(str::to_owned),
            recorded_at: self.recorded_at,
            is_handled: false,
        }
    }

    /// The category of its stream: what stands before the first dash.
    pub(crate) fn category(&self) -> &str {
        self.stream.split_once('-').map_or(self.stream, |(category, _)| category)
    }

    /// What its bytes say.
    pub(crate) fn said(&self) -> Result<Value> {
        proto::to_json(self.message_type, self.data).with_context(|| {
            format!(
                "the event at position {} cannot be read: use the release that wrote it, or a later one",
                self.position
            )
        })
    }
}

/// The rows of one kind, so far.
pub(crate) struct Fold<P: Projection, M> {
    state: P::State,
    wanted: Wanted<P::Key>,
    /// Who takes what is moved, and whether anybody wants to know.
    movements: M,
    tells: bool,
    folded: u64,
}

/// Whose rows are folded.
#[derive(Debug, Clone)]
enum Wanted<K> {
    All,
    Keys(BTreeSet<K>),
    Shard(Shard),
}

impl<K: Display + Ord> Wanted<K> {
    fn has(&self, key: &K) -> bool {
        match self {
            Self::All => true,
            Self::Keys(keys) => keys.contains(key),
            Self::Shard(shard) => shard.has(key),
        }
    }

    const fn are_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// A row before an event.
struct Before<K> {
    key: K,
    figures: Vec<i64>,
    status: Option<&'static str>,
}

impl<P: Projection, M: Movements> Reader for Fold<P, M> {
    /// Makes the next event true.
    fn take(&mut self, event: &LogEvent<'_>) -> Result<()> {
        if !P::CATEGORIES.contains(&event.category()) || is_rejection(event.message_type) {
            return Ok(());
        }
        self.fold(event).with_context(|| {
            let LogEvent { position, stream, version, message_type, .. } = event;
            format!(
                "the replay stopped at position {position}, at the event {message_type}, version {version} of {stream}; nothing of what was \
                 folded up to there is told"
            )
        })
    }
}

impl<P: Projection, M: Movements> Fold<P, M> {
    pub(crate) fn new(question: &Question, movements: M) -> Result<Self> {
        let keys = question.keys.iter().map(|key| P::read_key(key));
        let keys = keys.collect::<Result<BTreeSet<_>, _>>()?;
        let wanted = match question.shard {
            Some(shard) if keys.is_empty() => Wanted::Shard(shard),
            Some(_) => bail!("a shard has its own keys: ask for some of them in all of the log"),
            None if keys.is_empty() => Wanted::All,
            None => Wanted::Keys(keys),
        };
        Ok(Self { state: P::State::default(), wanted, movements, tells: question.movements, folded: 0 })
    }

    fn fold(&mut self, event: &LogEvent<'_>) -> Result<()> {
        if event.service != P::SERVICE {
            bail!("{:?} has written it, and only {:?} writes to such streams", event.service, P::SERVICE);
        }
        let read = P::read(event.message_type, event.data).map_err(|rejection| match rejection.code.as_ref() {
            "UNKNOWN_TYPE" => anyhow!(
                "this holdfast does not know events of this type: use the release that wrote it, or a later one"
            ),
            _ => anyhow!("it cannot be read: {rejection}"),
        })?;
        self.folded += 1;
        let are_all = self.wanted.are_all();
        let touched = if !are_all || self.tells { self.touched(&read) } else { Vec::new() };
        if !are_all && touched.is_empty() {
            return Ok(());
        }
        let before = if self.tells { self.before(touched) } else { Vec::new() };
        P::evolve(&mut self.state, &read);
        P::forget(&mut self.state, &read);
        self.check_version(event, &read)?;
        before.into_iter().try_for_each(|before| self.tell(event, &read, before))
    }

    /// In the order of their keys, as a merge puts them together.
    fn touched(&self, event: &P::Event) -> Vec<P::Key> {
        let mut touched = P::touches(event);
        touched.retain(|key| self.wanted.has(key));
        touched.sort();
        touched
    }

    fn before(&self, touched: Vec<P::Key>) -> Vec<Before<P::Key>> {
        let rows = P::rows(&self.state);
        let before = touched.into_iter().map(|key| {
            let row = rows.get(&key);
            let figures = row.map_or_else(|| vec![0; P::FIGURES.len()], P::figures);
            Before { figures, status: row.and_then(P::status), key }
        });
        before.collect()
    }

    /// A log that lacks an event of a stream folds to what never was.
    fn check_version(&self, event: &LogEvent<'_>, read: &P::Event) -> Result<()> {
        let Some(owner) = P::owner(read).filter(|owner| self.wanted.has(owner)) else { return Ok(()) };
        let folded = P::rows(&self.state).get(&owner).map(P::version).unwrap_or_default();
        if folded != event.version {
            bail!("it folds as version {folded} of its stream: the log lacks an event of it, or has one twice");
        }
        Ok(())
    }

    fn tell(&mut self, event: &LogEvent<'_>, read: &P::Event, before: Before<P::Key>) -> Result<()> {
        let Some(row) = P::rows(&self.state).get(&before.key) else {
            bail!("{} {} has no row: the log lacks the event that made it", P::KEY, before.key);
        };
        let (about, status) = (P::about(read, row), P::status(row));
        let figures = P::FIGURES.iter().zip(P::figures(row)).zip(&before.figures);
        let figures = figures.map(|((name, balance), before)| {
            ((*name).to_owned(), Figure { delta: balance.saturating_sub(*before), balance })
        });
        let movement = Movement {
            position: event.position,
            recorded_at: event.recorded_at,
            key: before.key.to_string(),
            event: event.message_type.to_owned(),
            event_id: event.event_id,
            stream: event.stream.to_owned(),
            version: event.version,
            order_id: about.order_id.map(|id| id.to_string()),
            payment_id: about.payment_id.map(|id| id.to_string()),
            status: status.map(str::to_owned),
            status_changed: status != before.status,
            currency: P::currency(row).map(|currency| currency.to_string()),
            figures: figures.collect(),
        };
        self.movements.take(movement)
    }

    /// The rows, or those of them that are chosen, the keys that have none, who took what was moved, and how many events were folded.
    pub(super) fn end(self, choice: Option<&Choice>) -> Folding<M> {
        let Self { state, wanted, movements, tells: _, folded } = self;
        let mut rows = Folded::<P> { state, wanted, chosen: None };
        let unknown = if let Wanted::Keys(keys) = &rows.wanted {
            keys.iter().filter(|key| P::rows(&rows.state).get(key).is_none()).map(ToString::to_string).collect()
        } else {
            Vec::new()
        };
        let chosen = choice.map(|choice| rows.choose(choice));
        Folding { rows: Box::new(rows), unknown, movements, folded, chosen }
    }
}

/// What a fold has come to.
pub(super) struct Folding<M> {
    pub(super) rows: Box<dyn Rows>,
    pub(super) unknown: Vec<String>,
    pub(super) movements: M,
    pub(super) folded: u64,
    pub(super) chosen: Option<Chosen>,
}

/// The rows of one kind.
struct Folded<P: Projection> {
    state: P::State,
    wanted: Wanted<P::Key>,
    /// The keys of those that are told. `None`: all are.
    chosen: Option<BTreeSet<P::Key>>,
}

impl<P: Projection> Folded<P> {
    fn iter(&self) -> impl Iterator<Item = (&P::Key, &P::Row)> {
        let is_chosen = |key: &P::Key| self.chosen.as_ref().is_none_or(|chosen| chosen.contains(key));
        P::rows(&self.state).iter().filter(move |(key, _)| is_chosen(key) && self.wanted.has(key))
    }

    fn choose(&mut self, choice: &Choice) -> Chosen {
        let mut population = Population::new(choice);
        for (key, row) in P::rows(&self.state).iter() {
            population.add(key, (P::status(row), P::currency(row)), P::FIGURES.iter().copied().zip(P::figures(row)));
        }
        let (keys, chosen) = population.end();
        self.chosen = Some(keys);
        chosen
    }
}

impl<P: Projection> Rows for Folded<P> {
    fn count(&self) -> u64 {
        u64::try_from(self.iter().count()).unwrap_or(u64::MAX)
    }

    fn each(&self, take: &mut dyn FnMut(Map<String, Value>) -> Result<()>) -> Result<()> {
        for (key, row) in self.iter() {
            let Value::Object(fields) = serde_json::to_value(row).context("writing a row as JSON")? else {
                bail!("the row of {key} is no JSON object");
            };
            let mut told = Map::from_iter([(P::KEY.to_owned(), Value::String(key.to_string()))]);
            told.extend(fields);
            let figures = P::FIGURES.iter().zip(P::figures(row));
            told.extend(figures.map(|(name, figure)| ((*name).to_owned(), Value::from(figure))));
            if let Some(status) = P::status(row) {
                told.insert("status".to_owned(), Value::from(status));
            }
            take(told)?;
        }
        Ok(())
    }
}
