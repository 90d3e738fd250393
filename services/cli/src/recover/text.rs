//! What `holdfast recover` says.

use std::fmt::Write;

use domain::written;
use platform::print::{Look, Paint};

use super::{Done, Report};

/// How many of those that cannot be taken back are named.
const NAMED: usize = 10;

impl Report {
    /// The report in words.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        self.write(&mut text, paint).unwrap_or_default();
        text
    }

    fn write(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        let Some(span) = &self.span else {
            let whole = paint.text("The log lacks nothing that the broker has.", Look::Good);
            return writeln!(text, "{whole} It ends at position {}.", self.log_ends);
        };
        writeln!(text, "The log ended at position {}.", self.log_ends)?;
        let lacks = format!("The broker has {} events that it lacks", self.lost);
        writeln!(
            text,
            "{}, positions {} to {}, of {} to {}:",
            paint.text(&lacks, Look::Bold),
            span.first_position,
            span.last_position,
            span.from,
            span.to
        )?;
        for (message_type, count) in &self.types {
            writeln!(text, "  {count:>8} {message_type}")?;
        }
        writeln!(text, "They are of {} orders.", self.orders)?;
        for moved in &self.money {
            writeln!(
                text,
                "Money that moved: {} paid in {} payments, {} paid back in {} refunds.",
                written(moved.paid_minor, &moved.currency),
                moved.payments,
                written(moved.refunded_minor, &moved.currency),
                moved.refunds
            )?;
        }
        self.write_left_out(text, paint)?;
        self.write_done(text, paint)
    }

    fn write_left_out(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        if self.left_out.is_empty() {
            return Ok(());
        }
        let some = format!("{} of them cannot be taken back:", self.left_out.len());
        writeln!(text, "{}", paint.text(&some, Look::Bad))?;
        for left in self.left_out.iter().take(NAMED) {
            writeln!(text, "  #{} {} of {}: {}", left.position, left.message_type, left.stream, left.why)?;
        }
        let more = self.left_out.len().saturating_sub(NAMED);
        if more > 0 {
            writeln!(text, "  and {more} more")?;
        }
        Ok(())
    }

    fn write_done(&self, text: &mut String, paint: Paint) -> std::fmt::Result {
        match self.done {
            Done::Nothing => writeln!(
                text,
                "Nothing was changed. `holdfast recover --adopt` takes {} of them back as they were; `--give-up --reason TEXT` leaves all of them \
                 out for good, and what callers were told of them is no longer so. Until then the workers do nothing.",
                self.adoptable
            ),
            Done::Adopted => {
                let adopted = format!("{} were taken back.", self.adoptable);
                writeln!(
                    text,
                    "{} The workers go on by themselves; `holdfast verify` proves it.",
                    paint.text(&adopted, Look::Good)
                )?;
                self.write_epoch(text)
            }
            Done::GivenUp => {
                writeln!(text, "{}", paint.text("They were given up.", Look::Good))?;
                self.write_epoch(text)?;
                writeln!(
                    text,
                    "The workers go on by themselves. Ask the payment provider for what was paid and paid back in that time."
                )
            }
        }
    }

    fn write_epoch(&self, text: &mut String) -> std::fmt::Result {
        match &self.file {
            None => Ok(()),
            Some(file) => {
                writeln!(text, "What was given up is in {}. The log is in epoch {} now.", file.display(), self.epoch)
            }
        }
    }
}
