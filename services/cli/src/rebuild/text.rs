//! What `holdfast rebuild` says.

use std::fmt::Write;

use audit::rebuild::Drift;
use platform::print::{Look, Paint, Table};

use super::{Done, Report};

/// How many rows are told of.
const NAMED: usize = 50;

impl Report {
    /// The report in words.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        self.write(&mut text, paint).unwrap_or_default();
        text
    }

    fn write(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        let Self { kind, position, database, events_folded, rows_compared, differences, rebuilt } = self;
        let (installation, epoch, role) = (database.installation, database.epoch, &database.role);
        writeln!(
            text,
            "{kind}: {rows_compared} rows compared with {events_folded} events, up to position {position} (installation {installation}, \
             epoch {epoch}, as role {role})"
        )?;
        if differences.is_empty() {
            return writeln!(text, "{}", paint.text("Every row is what its events say.", Look::Good));
        }
        let mut table = Table::default();
        for difference in differences.iter().take(NAMED) {
            let drift = match difference.drift {
                Drift::Differs => "differs",
                Drift::Missing => "missing",
                Drift::Orphan => "orphan",
            };
            table.row([difference.name.as_str().into(), drift.into(), difference.what.as_str().into()]);
        }
        text.push_str(&table.text(paint));
        let count = differences.len();
        if count > NAMED {
            writeln!(text, "  and {} more: --json has all", count - NAMED)?;
        }
        let rows = |count: usize| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        match rebuilt {
            None => {
                let some = format!(
                    "{} not what the events say.",
                    if count == 1 { "1 row is".to_owned() } else { format!("{count} rows are") }
                );
                let some = paint.text(&some, Look::Bad);
                writeln!(text, "{some} None was changed: `holdfast rebuild {kind} --reason TEXT` puts them right.")
            }
            Some(Done { rebuild_id, rows: put_right, reason }) => {
                let done = format!("{} put right, as rebuild {rebuild_id}.", rows(*put_right));
                let done = paint.text(&done, Look::Good);
                writeln!(text, "{done} log.rebuilt_rows has them as they were and as they are; the reason: {reason}")
            }
        }
    }
}
