//! What a process measures: every metric by name, kind, labels and meaning, in one table a room. From these tables come buckets, help texts and
//! the operators' page, and a counter is there at 0 before anything is counted.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// One metric. Its name ends in its unit, and a counter's in `_total`.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As Prometheus has it.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What tells its series apart.
    pub labels: &'static [Label],
    /// What it says, in half a sentence.
    pub what: &'static str,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only rises, from 0 at the start of the process.
    Counter,
    /// What it is now.
    Gauge,
    /// How many were at most so large: the upper limits of its buckets.
    Histogram(&'static [f64]),
}

/// A label, and what it can say; nothing where that is not known beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// As Prometheus has it.
    pub name: &'static str,
    /// What it can say.
    pub values: &'static [&'static str],
}

impl Label {
    /// One whose values are not known beforehand.
    #[must_use]
    pub const fn open(name: &'static str) -> Self {
        Self { name, values: &[] }
    }
}

impl Metric {
    /// One that only rises.
    #[must_use]
    pub const fn counter(name: &'static str, labels: &'static [Label], what: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, what }
    }

    /// One that says what is now.
    #[must_use]
    pub const fn gauge(name: &'static str, labels: &'static [Label], what: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, what }
    }

    /// One that says how many were how large.
    #[must_use]
    pub const fn histogram(
        name: &'static str,
        limits: &'static [f64],
        labels: &'static [Label],
        what: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram(limits), labels, what }
    }

    /// Begins to count at 0 whatever can be counted, with these values of labels that are known only now.
    pub fn begin(&self, known: &[(&'static str, &'static str)]) {
        if self.kind != Kind::Counter {
            return;
        }
        for labels in self.combinations(known) {
            counter!(self.name, labels.as_slice()).increment(0);
        }
    }

    /// All that its labels can say together; none if one of them is open.
    fn combinations(&self, known: &[(&'static str, &'static str)]) -> Vec<Vec<(&'static str, &'static str)>> {
        let mut all = vec![Vec::new()];
        for label in self.labels {
            let given = known.iter().filter(|(name, _)| *name == label.name).map(|(_, value)| *value);
            let values: Vec<_> = given.chain(label.values.iter().copied()).collect();
            let with = |before: &Vec<_>| {
                let with = |value| [before.clone(), vec![(label.name, value)]].concat();
                values.iter().copied().map(with).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(with).collect();
        }
        all
    }

    /// Says what it means, to whoever reads it.
    pub fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.what),
            Kind::Gauge => describe_gauge!(self.name, self.what),
            Kind::Histogram(_) => describe_histogram!(self.name, self.what),
        }
    }
}

/// Starts collecting metrics: these. `None` when this process collects them already.
#[must_use]
pub fn start(metrics: &[&[Metric]]) -> Option<PrometheusHandle> {
    let metrics = || metrics.iter().copied().flatten();
    let mut builder = PrometheusBuilder::new();
    for metric in metrics() {
        if let Kind::Histogram(limits) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), limits).ok()?;
        }
    }
    let handle = builder.install_recorder().ok()?;
    for metric in metrics() {
        metric.describe();
        metric.begin(&[]);
    }
    Some(handle)
}

/// These metrics as rows of a table in Markdown.
#[must_use]
pub fn rows(metrics: &[Metric]) -> String {
    let row = |metric: &Metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let label = |label: &Label| match label.values {
            [] => format!("`{}`", label.name),
            values => format!("`{}`: {}", label.name, values.join(", ")),
        };
        let labels = metric.labels.iter().map(label).collect::<Vec<_>>().join("; ");
        format!("| `{}` | {kind} | {labels} | {} |\n", metric.name, metric.what)
    };
    metrics.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{Label, Metric, rows};

    const ENDED: Metric = Metric::counter(
        "calls_total",
        &[Label::open("service"), Label { name: "ending", values: &["done", "retry"] }],
        "calls",
    );

    #[test]
    fn a_counter_begins_with_all_that_its_labels_can_say_and_not_before_that_is_known() {
        assert!(ENDED.combinations(&[]).is_empty());
        let orders = ENDED.combinations(&[("service", "orders")]);
        let with = |ending| vec![("service", "orders"), ("ending", ending)];
        assert_eq!(orders, [with("done"), with("retry")]);
        assert_eq!(Metric::counter("a_total", &[], "all").combinations(&[]), [vec![]]);
    }

    #[test]
    fn a_row_says_name_kind_labels_and_meaning() {
        assert_eq!(rows(&[ENDED]), "| `calls_total` | counter | `service`; `ending`: done, retry | calls |\n");
    }
}
