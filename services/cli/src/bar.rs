//! How far a reading of the log is.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use audit::replay::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, if that is a terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    begun: Mutex<Option<Instant>>,
}

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} position {human_pos} of {human_len}, {msg}{eta} left")
        {
            bar.set_style(style);
        }
        Self { bar, begun: Mutex::new(None) }
    }

    pub(crate) fn show(&self, progress: Progress) {
        match progress {
            Progress::Looking(position) => {
                self.bar.set_message(format!("looking for the time, now before position {position}, "))
            }
            Progress::Folding { events, position, up_to } => {
                self.bar.set_length(u64::try_from(up_to.get()).unwrap_or(0));
                self.bar.set_position(u64::try_from(position.get()).unwrap_or(0));
                let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
                let micros = begun.get_or_insert_with(Instant::now).elapsed().as_micros().max(1);
                let rate = u128::from(events) * 1_000_000 / micros;
                self.bar.set_message(format!("{rate} events/s, "));
            }
        }
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
