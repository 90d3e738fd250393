//! What `holdfast archive` says in words.

use super::{Done, Report};

impl Report {
    /// A line for each partition, and what stays.
    pub(super) fn text(&self) -> String {
        let Self { what, dry_run, directory, parts, stays } = self;
        let directory = directory.display();
        let said = match (*what, *dry_run) {
            ("drop", true) => "would be dropped; its files are what was noted".to_owned(),
            ("drop", false) => "was dropped".to_owned(),
            ("restore", _) => format!("is in the log's table again, from {directory}"),
            (_, true) => format!("would go to {directory}"),
            (_, false) => format!("went to {directory}"),
        };
        let mut text: String = parts.iter().map(|part| part.line(&said)).collect();
        if let Some(stays) = stays {
            text.push_str(&format!("positions {} to {} stay: {}\n", stays.first, stays.last, stays.why));
        } else if parts.is_empty() {
            text.push_str("no table was set aside: there is nothing to drop\n");
        }
        text
    }
}

impl Done {
    fn line(&self, said: &str) -> String {
        let Self { partition, first, last, events, manifest_sha256 } = self;
        let events = events.map(|events| format!(", {events} events")).unwrap_or_default();
        let sha256 = manifest_sha256.as_ref().map(|sha256| format!("; SHA-256 of its manifest {sha256}"));
        format!("block {partition}, positions {first} to {last}{events}: {said}{}\n", sha256.unwrap_or_default())
    }
}
