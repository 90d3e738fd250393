//! Progress bars: on a terminal only, and never where JSON is asked for.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for so many things. It is drawn on standard error, and not at all if that is no terminal.
#[must_use]
pub(super) fn bar(what: &'static str, of: u64, json: bool) -> ProgressBar {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(of), target);
    let style = ProgressStyle::with_template("{msg:>28} [{bar:40}] {human_pos}/{human_len} {per_sec} {elapsed}");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    bar
}

/// A spinner for what has no end that is known.
#[must_use]
pub(super) fn spinner(what: &'static str, json: bool) -> ProgressBar {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let spinner = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{prefix:>28} {spinner} {msg} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.set_prefix(what);
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}
