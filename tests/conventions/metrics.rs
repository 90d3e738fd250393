//! What is measured, and that the operators' page says so.

use std::{collections::BTreeSet, fs};

use holdfast_tests::repo_root;
use platform::metric::{self, Kind, Metric};
use runtime::service::Service as _;

type Payments = payments::Payments;

/// Who measures what, as the page has it.
fn all() -> [(&'static str, &'static [Metric]); 6] {
    [
        ("A worker", runtime::METRICS),
        ("Payments, also", Payments::METRICS),
        ("The gateway", gateway::METRICS),
        ("Mail", mail::METRICS),
        ("Traces", traces::METRICS),
        ("Each of them", platform::telemetry::METRICS),
    ]
}

#[test]
fn the_operators_page_has_every_metric() {
    let table = |(who, metrics): (_, &[Metric])| {
        format!("{who}:\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n{}", metric::rows(metrics))
    };
    let made = all().map(table).join("\n");
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    assert!(page.contains(&made), "deploy/README.md#what-is-measured should have:\n\n{made}");
}

#[test]
fn a_metric_is_named_by_the_usual_rules() {
    let mut names = BTreeSet::new();
    for metric in all().into_iter().flat_map(|(_, metrics)| metrics) {
        let Metric { name, kind, .. } = metric;
        assert!(name.starts_with("holdfast_") && names.insert(name), "{name}");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        if let Kind::Histogram(limits) = kind {
            assert!(limits.is_sorted_by(|below, above| below < above), "{name}: {limits:?}");
        }
    }
}

/// Every metric that a rule of an alert or of scaling asks for is one of ours.
#[test]
fn what_is_asked_for_is_measured() {
    let known: BTreeSet<&str> = all().into_iter().flat_map(|(_, metrics)| metrics).map(|metric| metric.name).collect();
    let mut asked = 0;
    for file in ["monitoring/rules.yaml", "autoscaling/orders.yaml", "autoscaling/payments.yaml"] {
        let text = fs::read_to_string(repo_root().join("deploy/k8s/components").join(file)).unwrap();
        for (at, _) in text.match_indices("holdfast_") {
            let name: String = text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
            assert!(known.contains(base), "{file} asks for {name}");
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
}
