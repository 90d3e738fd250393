//! The picture of a timeline: lanes, marks, waits and what led to what, in pixels. It knows nothing of SVG but where things are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Entry, readable::time};

/// Marks of one picture. What are more are folded, and counted.
const MARKS_MAX: usize = 60;

/// A stretch is idle if it is longer than so many times the median, and then it is folded.
const IDLE_TIMES: u64 = 8;

/// The lane of what comes from outside.
const OUTSIDE: &str = "buyer, provider, people";

/// Lanes from above, as far as anything is in them.
const LANES: [&str; 5] = ["orders", "inventory", "rounds", "payments", OUTSIDE];

const LEFT: i64 = 190;
const LANE_HEIGHT: i64 = 64;
const WAIT_HEIGHT: i64 = 18;

/// Letters of a name that somebody outside has chosen.
const NAME_MAX: usize = 24;

/// Everything that is drawn.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// Of the whole.
    pub width: i64,
    /// Of the whole.
    pub height: i64,
    /// From above.
    pub lanes: Vec<Lane>,
    /// What led to what.
    pub links: Vec<Link>,
    /// What was waited for.
    pub waits: Vec<Bar>,
    /// Events, and who has brought them about.
    pub marks: Vec<Mark>,
    /// Idle stretches.
    pub folds: Vec<Fold>,
}

/// A service, or the world outside.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// What it is called.
    pub name: String,
    /// Where its line is.
    pub y: i64,
}

/// One event, or several that are folded.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Where its middle is.
    pub x: i64,
    /// Where its middle is.
    pub y: i64,
    /// Its name. Empty: there is no room for it.
    pub label: String,
    /// Where that stands.
    pub label_y: i64,
    /// What is told of it where the pointer rests.
    pub title: String,
    /// Whether it is of the world outside.
    pub is_outside: bool,
    /// So many events, if they are several.
    pub folded: usize,
}

/// From a cause to what it led to.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The cause.
    pub from: (i64, i64),
    /// What it led to.
    pub to: (i64, i64),
}

/// A wait.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// Where it begins.
    pub x: i64,
    /// Its upper edge.
    pub y: i64,
    /// How long it is drawn.
    pub width: i64,
    /// For whom, and how long.
    pub label: String,
}

/// An idle stretch that is not drawn as long as it was.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fold {
    /// Where it is.
    pub x: i64,
    /// How long it was.
    pub label: String,
}

/// Events that have one mark: from the first to the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    first: usize,
    last: usize,
}

impl Group {
    const fn count(self) -> usize {
        self.last - self.first + 1
    }
}

/// Which events have a mark of their own. Confirmations are folded first, into what they follow; then whatever is in the middle.
fn grouped(entries: &[Entry]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let is_confirmation = ["OrderHoldConfirmed", "OrderReleaseConfirmed"].contains(&entry.name());
        match groups.last_mut() {
            Some(before) if entries.len() > MARKS_MAX && is_confirmation => before.last = index,
            Some(_) | None => groups.push(Group { first: index, last: index }),
        }
    }
    if groups.len() > MARKS_MAX {
        let behind = groups.split_off(groups.len() - MARKS_MAX / 2);
        let middle = groups.split_off(MARKS_MAX / 2 - 1);
        let ends = middle.first().zip(middle.last()).map(|(first, last)| Group { first: first.first, last: last.last });
        groups.extend(ends.into_iter().chain(behind));
    }
    groups
}

/// How far the marks stand from the left, and which stretches between them are folded.
fn spread(groups: &[Group], entries: &[Entry]) -> (Vec<i64>, Vec<Fold>) {
    let ms = |index: usize| entries.get(index).map_or(0, |entry| entry.ms);
    let gaps: Vec<u64> = groups
        .windows(2)
        .filter_map(|pair| pair.first().zip(pair.last()))
        .map(|(a, b)| ms(b.first).saturating_sub(ms(a.last)))
        .collect();
    let mut sorted: Vec<u64> = gaps.iter().copied().filter(|gap| *gap > 0).collect();
    sorted.sort_unstable();
    let longest = sorted.get(sorted.len() / 2).copied().unwrap_or(1).saturating_mul(IDLE_TIMES);
    let (mut x, mut places, mut folds) = (LEFT + 20, Vec::new(), Vec::new());
    for gap in std::iter::once(&0).chain(&gaps) {
        let is_idle = *gap > longest;
        let step = 34 + i64::try_from((*gap).min(longest).saturating_mul(120) / longest).unwrap_or(0);
        let step = if places.is_empty() { 0 } else { step + if is_idle { 60 } else { 0 } };
        if is_idle {
            folds.push(Fold { x: x + step / 2, label: time(*gap) });
        }
        x += step;
        places.push(x);
    }
    (places, folds)
}

/// Who or what outside has brought an event about, if it says so.
fn outside(entry: &Entry) -> Option<String> {
    let said = |name: &str| entry.data.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let report = || entry.data.get("report")?.get("providerEventId")?.as_str().filter(|id| !id.is_empty());
    if said("providerEventId").or_else(report).is_some() {
        return Some("provider".to_owned());
    }
    let actor = said("actor")?;
    // A service says so where it acts by itself.
    (!["timer", "payments"].contains(&actor)).then(|| shortened(actor))
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= NAME_MAX {
        text.to_owned()
    } else {
        text.chars().take(NAME_MAX - 1).chain(['…']).collect()
    }
}

/// Keeps labels and bars from lying on each other: rows of a lane, each with where it ends.
#[derive(Default)]
struct Rows(Vec<i64>);

impl Rows {
    /// The first row that is free from `x` on, of so many; it is taken until `end`.
    fn take(&mut self, x: i64, end: i64, most: usize) -> Option<usize> {
        let free = self.0.iter().position(|taken| *taken <= x);
        let row = free.or_else(|| (self.0.len() < most).then_some(self.0.len()))?;
        match self.0.get_mut(row) {
            Some(taken) => *taken = end,
            None => self.0.push(end),
        }
        Some(row)
    }
}

fn text_width(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(0).saturating_mul(7) + 10
}

/// A picture that is being drawn.
struct Drawing<'a> {
    entries: &'a [Entry],
    groups: Vec<Group>,
    places: Vec<i64>,
    /// Of each event, the mark that it is in.
    marks_of: Vec<usize>,
    right: i64,
}

/// Draws the events of a timeline.
#[must_use]
pub fn draw(entries: &[Entry]) -> Picture {
    let groups = grouped(entries);
    let (places, folds) = spread(&groups, entries);
    let marks_of = groups.iter().enumerate().flat_map(|(mark, group)| vec![mark; group.count()]).collect();
    let right = places.last().copied().unwrap_or(LEFT) + 180;
    let drawing = Drawing { entries, groups, places, marks_of, right };
    let bars = drawing.bars();
    let lanes = drawing.lanes(&bars);
    let y_of = |name: &str| lanes.iter().find(|lane| lane.name == name).map_or(0, |lane| lane.y);
    let height = lanes.last().map_or(0, |lane| lane.y) + LANE_HEIGHT + WAIT_HEIGHT;
    let waits =
        bars.into_iter().map(|(lane, row, bar)| Bar { y: y_of(&lane) + 26 + row * WAIT_HEIGHT, ..bar }).collect();
    Picture { width: right, height, links: drawing.links(y_of), marks: drawing.marks(y_of), waits, folds, lanes }
}

impl Drawing<'_> {
    fn heads(&self) -> impl Iterator<Item = (&Group, i64, &Entry)> {
        let at = self.groups.iter().zip(&self.places);
        at.filter_map(|(group, x)| Some((group, *x, self.entries.get(group.first)?)))
    }

    /// The mark of an event, if it is one by itself or the first of several.
    fn x_of(&self, index: usize) -> i64 {
        self.marks_of.get(index).and_then(|mark| self.places.get(*mark)).copied().unwrap_or(LEFT)
    }

    /// Waits with their lanes and rows.
    fn bars(&self) -> Vec<(String, i64, Bar)> {
        let index_of: BTreeMap<_, _> =
            self.entries.iter().enumerate().map(|(index, entry)| (entry.position, index)).collect();
        let mut found = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            for wait in &entry.waited {
                let Some(since) = index_of.get(&wait.since) else { continue };
                found.push((*since, self.x_of(index), format!("{} {}", wait.on, time(wait.ms))));
            }
            if let Some(on) = entry.waits_for {
                found.push((index, self.right - 10, format!("{on}, still")));
            }
        }
        found.sort();
        let mut rows: BTreeMap<&str, Rows> = BTreeMap::new();
        let bars = found.into_iter().filter_map(|(since, to, label)| {
            let (lane, x) = (self.entries.get(since)?.service.as_str(), self.x_of(since));
            if to <= x {
                return None;
            }
            let row = rows.entry(lane).or_default().take(x, to.max(x + text_width(&label)), usize::MAX)?;
            let bar = Bar { x, y: 0, width: to - x, label };
            Some((lane.to_owned(), i64::try_from(row).unwrap_or(0), bar))
        });
        bars.collect()
    }

    fn lanes(&self, bars: &[(String, i64, Bar)]) -> Vec<Lane> {
        let is_used = |name: &str| match name {
            OUTSIDE => self.heads().any(|(_, _, entry)| outside(entry).is_some()),
            service => self.entries.iter().any(|entry| entry.service == service),
        };
        let services: BTreeSet<&str> = self.entries.iter().map(|entry| entry.service.as_str()).collect();
        let others = services.into_iter().filter(|service| !LANES.contains(service));
        let names: Vec<&str> = LANES.into_iter().filter(|name| is_used(name)).chain(others).collect();
        let mut y = 50;
        let lane = |name: &str| {
            let here = y;
            let rows = bars.iter().filter(|(lane, _, _)| lane == name).map(|(_, row, _)| row + 1).max().unwrap_or(0);
            y += LANE_HEIGHT + rows * WAIT_HEIGHT;
            Lane { name: name.to_owned(), y: here }
        };
        names.into_iter().map(lane).collect()
    }

    fn links(&self, y_of: impl Fn(&str) -> i64) -> Vec<Link> {
        let place: BTreeMap<Uuid, (i64, i64)> = self
            .entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (entry.event_id, (self.x_of(index), y_of(&entry.service))))
            .collect();
        let link = |(_, x, entry): (&Group, i64, &Entry)| {
            let (from, to) = (*place.get(&entry.causation_id)?, (x, y_of(&entry.service)));
            (from.0 < to.0).then_some(Link { from, to })
        };
        self.heads().filter_map(link).collect()
    }

    fn marks(&self, y_of: impl Fn(&str) -> i64) -> Vec<Mark> {
        let mut rows: BTreeMap<&str, Rows> = BTreeMap::new();
        let mut marks = Vec::new();
        for (group, x, entry) in self.heads() {
            let count = group.count();
            let name = match count {
                1 => entry.name().to_owned(),
                count => format!("{} + {} more", entry.name(), count - 1),
            };
            let title = format!("{name}, {}, position {}, +{}", entry.recorded_at, entry.position, time(entry.ms));
            let folded = if count > 1 { count } else { 0 };
            let by = outside(entry);
            let here = [(entry.service.as_str(), Some(name), folded), (OUTSIDE, by, 0)];
            for (lane, label, folded) in here {
                let Some(label) = label else { continue };
                let (y, is_outside) = (y_of(lane), lane == OUTSIDE);
                let row = rows.entry(lane).or_default().take(x - 8, x - 8 + text_width(&label), 2);
                let label_y = if row == Some(0) { y - 11 } else { y + 20 };
                let label = row.map(|_| label).unwrap_or_default();
                marks.push(Mark { x, y, label, label_y, title: title.clone(), is_outside, folded });
            }
        }
        marks
    }
}

#[cfg(test)]
mod tests;
