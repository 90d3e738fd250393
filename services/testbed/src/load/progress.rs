//! Progress on standard error: bars and a line of figures on a terminal, and nothing where JSON is asked for.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// All that is drawn at the same time.
#[derive(Debug, Clone)]
pub struct ProgressBars {
    all: MultiProgress,
    json: bool,
}

impl ProgressBars {
    /// Draws on a terminal, unless `json` is asked for.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self { all: MultiProgress::with_draw_target(target), json }
    }

    /// A bar for so many things.
    #[must_use]
    pub fn bar(&self, what: &'static str, of: u64) -> ProgressBar {
        let bar = self.all.add(ProgressBar::new(of));
        if let Ok(style) = ProgressStyle::with_template("{msg:>16} [{bar:40}] {human_pos} of {human_len}, {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        bar
    }

    /// A line of words that change.
    #[must_use]
    pub fn line(&self, what: &'static str) -> ProgressBar {
        let line = self.all.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{prefix}{wide_msg}") {
            line.set_style(style);
        }
        line.set_prefix(what);
        line.enable_steady_tick(Duration::from_millis(200));
        line
    }

    /// Whether anybody sees them.
    #[must_use]
    pub fn are_drawn(&self) -> bool {
        !self.all.is_hidden()
    }

    /// Prints a line to standard output, past the bars; nothing where JSON is asked for.
    pub fn say(&self, text: &str) {
        if !self.json {
            self.all.suspend(|| println!("{text}"));
        }
    }
}
