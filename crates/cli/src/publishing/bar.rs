//! A bar of progress on standard error, where somebody sees it.

use std::io::{self, IsTerminal as _};

use castoff::launcher::messages::{Lang, Text};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(super) fn new() -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    ProgressBar::with_draw_target(None, target)
}

pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Shows how much of something is done, in bytes.
pub(super) fn show(bar: &ProgressBar, what: &str, done: u64, total: u64) {
    if bar.length().is_none() {
        bar.set_length(total);
        bar.set_style(style(Text::ProgressBar.template(Lang::En)));
        bar.set_message(what.to_owned());
    }
    bar.set_position(done);
}
