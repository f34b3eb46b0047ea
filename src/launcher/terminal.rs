//! What a person sees while an update runs, and after it: lines and one bar, on stderr.
//!
//! Promised: stdout is never written, it is for data. Without a terminal there are plain lines,
//! without escape codes and bars. When there is nothing new, nothing is printed and nothing is
//! set up, for a double-click should be silent and fast. A stderr that is closed is no error.
//! What comes from outside passes [`messages`].
//!
//! Not promised: a record. What must be found later is for the log, which whoever meets an error
//! writes; nothing here does.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::dialog;
use super::messages::{self, Lang, Text};
use crate::Error;
use crate::progress::{Event, Observer, Phase};
use crate::updater::Outcome;
use crate::version::Version;

/// Lines of the publisher's notes that are shown: they fit on a small terminal with the bar.
const MOST_NOTES: usize = 20;

/// The observer of a person in front of a terminal, or of whoever reads stderr.
pub struct Terminal {
    lang: Lang,
    name: String,
    log: Option<PathBuf>,
    /// Whether bars can be drawn.
    live: bool,
    view: Mutex<View>,
}

/// What changes from event to event.
struct View {
    out: Box<dyn Write + Send>,
    bar: Option<ProgressBar>,
    /// The news of a version, until there is work on it: one that is refused is no news.
    news: Vec<String>,
    /// A phase whose line waits for its size.
    pending: Option<Phase>,
    /// Whether anything was printed, so that the start is worth a line too.
    spoken: bool,
}

/// Whether what goes to a stream may move the cursor and have styles: it is a terminal, and one that
/// can. `NO_COLOR` is for styles alone.
fn is_able(is_terminal: bool) -> bool {
    is_terminal && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether stdout shows styles.
pub fn shows_styles() -> bool {
    let wanted = env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    #[cfg(windows)]
    let can = castoff_windows::console::follow_sequences();
    #[cfg(not(windows))]
    let can = true;
    wanted && is_able(io::stdout().is_terminal()) && can
}

impl Terminal {
    /// For stderr. `name` is the app's, as people know it.
    pub fn new(lang: Lang, name: &str) -> Self {
        let live = is_able(io::stderr().is_terminal());
        Self::to(Box::new(io::stderr()), live, lang, name)
    }

    fn to(out: Box<dyn Write + Send>, live: bool, lang: Lang, name: &str) -> Self {
        Self {
            lang,
            name: name.to_owned(),
            log: None,
            live,
            view: Mutex::new(View {
                out,
                bar: None,
                news: Vec::new(),
                pending: None,
                spoken: false,
            }),
        }
    }

    /// Names the log in every report of an error.
    #[must_use]
    pub fn with_log(mut self, path: Option<PathBuf>) -> Self {
        self.log = path;
        self
    }

    /// The language that is spoken.
    pub fn lang(&self) -> Lang {
        self.lang
    }

    /// A text in the person's language; `{name}` is known already.
    pub fn text(&self, text: Text, values: &[(&str, String)]) -> String {
        let name = [("name", self.name.clone())];
        text.render(self.lang, &[&name[..], values].concat())
    }

    /// Says how an update ended. The bar is gone afterwards.
    pub fn outcome(&self, outcome: &Outcome) {
        let line = self.outcome_text(outcome);
        let mut view = self.view();
        view.clear();
        self.announce(&mut view);
        self.say(&mut view, &[line]);
    }

    /// Prints what waits to be printed and takes the bar away: what follows is told elsewhere.
    pub fn rest(&self) {
        let mut view = self.view();
        view.clear();
        self.finish_line(&mut view, None, 0);
    }

    /// How an update ended, in one line.
    pub fn outcome_text(&self, outcome: &Outcome) -> String {
        let version = |version: &Version| [("version", version.to_string())];
        match outcome {
            Outcome::UpToDate { version: v } => self.text(Text::OutcomeUpToDate, &version(v)),
            Outcome::Installed { version: v } => self.text(Text::OutcomeInstalled, &version(v)),
            Outcome::Pending { version: v } => self.text(Text::OutcomePending, &version(v)),
            Outcome::Updated { from, to } => {
                let text = if to < from {
                    Text::OutcomeWentBack
                } else {
                    Text::OutcomeUpdated
                };
                self.text(text, &[("from", from.to_string()), ("to", to.to_string())])
            }
        }
    }

    /// Reports an error: what happened, what was done about it, what to do now; then its code and
    /// the log. `done` is a text of the group `done`, by way of [`Terminal::text`].
    ///
    /// The bar is gone afterwards.
    pub fn error(&self, error: &Error, done: &str) {
        let mut view = self.view();
        view.clear();
        self.say(&mut view, &self.report(error, done));
        // `done` has said already what is being started.
        view.spoken = false;
    }

    /// Reports, as [`Terminal::error`] does, an error after which nothing more happens: where
    /// nobody can read it, in a [`dialog`], if those are allowed. Returns when the person has closed
    /// that.
    pub fn last_error(&self, error: &Error, done: &str) {
        self.error(error, done);
        let lines = self.report(error, done);
        let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
        dialog::error(&self.name, &lines.join("\n\n"));
    }

    fn report(&self, error: &Error, done: &str) -> Vec<String> {
        let mut what = messages::what(error, self.lang);
        let mut hint = messages::hint(error, self.lang);
        let mut codes = error.code().to_string();
        if let Some(cause) = reason(error) {
            what = self.joined(&what, &messages::what(cause, self.lang));
            codes = format!("{codes}, {}", cause.code());
            // Why nothing could be had says best what would help.
            if matches!(error, Error::NotInstalled { .. }) {
                hint = messages::hint(cause, self.lang);
            }
        }
        if let Error::ConfigInvalid {
            nearest: Some(nearest),
            ..
        } = error
        {
            let question = self.text(Text::ReportNearest, &[("nearest", nearest.clone())]);
            hint = self.joined(&question, &hint);
        }
        let mut last = format!("[{codes}]");
        if let Some(path) = &self.log {
            let log = self.text(Text::ReportLog, &[("path", path.display().to_string())]);
            last = format!("{last} {log}");
        }
        let mut lines = vec![self.first_line(&what)];
        lines.extend(
            [done, &hint, &last]
                .into_iter()
                .filter(|line| !line.is_empty())
                .map(|line| format!("  {line}")),
        );
        lines
    }

    /// Sentences as they follow each other in the person's language.
    fn joined(&self, one: &str, other: &str) -> String {
        match self.lang {
            Lang::En => format!("{one} {other}"),
            Lang::ZhCn => format!("{one}{other}"),
        }
    }

    /// Puts the app's name before a sentence that has passed [`messages`] already.
    fn first_line(&self, what: &str) -> String {
        self.text(Text::ReportFirstLine, &[])
            .replacen("{what}", what, 1)
    }

    /// What happened and its code: for errors that do not end the work.
    fn aside(&self, error: &Error) -> String {
        let what = messages::what(error, self.lang);
        self.first_line(&format!("{what} [{}]", error.code()))
    }

    fn rolled_back(&self, from: &Version, to: Option<&Version>) -> String {
        let from = ("from", from.to_string());
        match to {
            Some(to) => self.text(Text::OutcomeRolledBack, &[from, ("to", to.to_string())]),
            None => self.text(Text::OutcomeRolledBackToNothing, &[from]),
        }
    }

    fn found(
        &self,
        installed: Option<&Version>,
        offered: &Version,
        notes: &str,
        critical: bool,
    ) -> Vec<String> {
        let new = ("offered", offered.to_string());
        let mut news = vec![match installed {
            None => self.text(Text::FoundFirst, &[new]),
            Some(old) => {
                let text = if offered < old {
                    Text::FoundOlder
                } else {
                    Text::FoundNewer
                };
                self.text(text, &[new, ("installed", old.to_string())])
            }
        }];
        if critical {
            news.push(self.text(Text::FoundCritical, &[]));
        }
        let notes = messages::sanitise_notes(notes, MOST_NOTES, messages::LONGEST_LINE);
        if !notes.is_empty() {
            news.push(self.text(Text::FoundNotes, &[]));
            news.extend(
                notes
                    .iter()
                    .map(|line| format!("  {line}").trim_end().to_owned()),
            );
        }
        news
    }

    /// A phase that a person may have to wait for begins.
    fn phase(&self, view: &mut View, phase: Phase) {
        self.announce(view);
        if self.live {
            let bar = view.bar.get_or_insert_with(|| {
                ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
            });
            bar.set_style(style("{msg}"));
            bar.reset();
            bar.set_message(phase_name(phase).template(self.lang));
        } else {
            self.finish_line(view, None, 0);
            view.pending = Some(phase);
        }
    }

    /// How far the present phase has to go is known.
    fn total(&self, view: &mut View, bytes: Option<u64>, done: u64) {
        let Some(bar) = &view.bar else {
            self.finish_line(view, bytes, done);
            return;
        };
        let text = if let Some(bytes) = bytes {
            bar.set_length(bytes);
            Text::ProgressBar
        } else {
            bar.unset_length();
            Text::ProgressBarWithoutTotal
        };
        bar.set_style(style(text.template(self.lang)));
        bar.set_position(done);
        // Bytes that were there before say nothing about the speed.
        bar.reset_eta();
    }

    /// Prints the line of the phase that waits for its size, with what is known of it.
    fn finish_line(&self, view: &mut View, bytes: Option<u64>, done: u64) {
        let Some(phase) = view.pending.take() else {
            return;
        };
        let phase = phase_name(phase).template(self.lang).to_owned();
        let size = ("size", messages::size(bytes.unwrap_or_default()));
        let text = match bytes {
            None => Text::ProgressPhase,
            Some(_) if done == 0 => Text::ProgressPhaseWithSize,
            Some(_) => Text::ProgressPhaseResumed,
        };
        let values = [("phase", phase), size, ("done", messages::size(done))];
        view.print(&[self.text(text, &values)]);
    }

    /// Prints the news, now that it is some.
    fn announce(&self, view: &mut View) {
        let news = std::mem::take(&mut view.news);
        self.say(view, &news);
    }

    /// Prints lines, in their order with the phases.
    fn say(&self, view: &mut View, lines: &[String]) {
        self.finish_line(view, None, 0);
        view.print(lines);
    }

    fn view(&self) -> MutexGuard<'_, View> {
        // A panic elsewhere is no reason to fall silent.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Terminal {
    fn event(&self, event: &Event<'_>) {
        let mut view = self.view();
        let view = &mut *view;
        match *event {
            // These are over in an instant, or end in an event that is worth a line, or are parts of a phase.
            Event::Phase(Phase::Recover | Phase::Check | Phase::Plan | Phase::Launch)
            | Event::Along(_) => {}
            Event::Phase(phase) => {
                self.phase(view, phase);
                if phase == Phase::Wait {
                    // It has no size, and may be long.
                    self.finish_line(view, None, 0);
                }
            }
            Event::Found {
                installed,
                offered,
                notes,
                critical,
            } => view.news = self.found(installed, offered, notes, critical),
            Event::Total { bytes, done } => self.total(view, bytes, done),
            Event::Position(position) => match &view.bar {
                Some(bar) => bar.set_position(position),
                None => self.finish_line(view, None, 0),
            },
            Event::Retry {
                attempt,
                of,
                wait,
                error,
            } => {
                let values = [
                    ("seconds", format!("{:.0}", wait.as_secs_f64().ceil())),
                    ("attempt", attempt.to_string()),
                    ("of", of.to_string()),
                ];
                let retry = self.text(Text::ProgressRetry, &values);
                self.say(
                    view,
                    &[self.joined(&messages::what(error, self.lang), &retry)],
                );
            }
            Event::Recovered { version } => {
                view.clear();
                let values = version.map(|version| ("version", version.to_string()));
                let text = match version {
                    Some(_) => Text::OutcomeRecovered,
                    None => Text::OutcomeRecoveredToNothing,
                };
                self.say(view, &[self.text(text, values.as_slice())]);
            }
            Event::Warning(error) => self.say(view, &[self.aside(error)]),
            Event::RolledBack { from, to, error } => {
                view.clear();
                self.say(view, &[self.aside(error), self.rolled_back(from, to)]);
            }
            Event::Starting { version, .. } => {
                // The terminal is the app's from now on; after `exec` nobody could take it away.
                view.clear();
                let values = version.map(|version| ("version", version.to_string()));
                let text = match version {
                    Some(_) => Text::OutcomeStarting,
                    None => Text::OutcomeStartingUnknown,
                };
                if view.spoken {
                    self.say(view, &[self.text(text, values.as_slice())]);
                }
            }
        }
    }
}

impl View {
    /// Prints lines, above the bar where there is one.
    fn print(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        self.spoken = true;
        let mut text = lines.join("\n");
        text.push('\n');
        let out = &mut self.out;
        // Nobody is there to be told that nobody is listening.
        let mut write = || drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the bar away.
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// What an error says too little without.
fn reason(error: &Error) -> Option<&Error> {
    match error {
        Error::NotInstalled { source, .. } => source.as_deref(),
        Error::RecoveryFailed { source, .. } => Some(source),
        _ => None,
    }
}

fn phase_name(phase: Phase) -> Text {
    match phase {
        Phase::Recover => Text::PhaseRecover,
        Phase::Check => Text::PhaseCheck,
        Phase::Plan => Text::PhasePlan,
        Phase::Wait => Text::PhaseWait,
        Phase::Fetch => Text::PhaseFetch,
        Phase::Verify => Text::PhaseVerify,
        Phase::Stage => Text::PhaseStage,
        Phase::BackUp => Text::PhaseBackUp,
        Phase::Commit => Text::PhaseCommit,
        Phase::Undo => Text::PhaseUndo,
        Phase::Launcher => Text::PhaseLauncher,
        Phase::Launch => Text::PhaseLaunch,
    }
}

/// A bar's looks, in characters that every console has.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::messages::tests::samples;
    use super::super::{EXIT_CANNOT_START, EXIT_CONFIG, exit_code};
    use super::*;
    use crate::Code;

    /// What was printed, for the test to read.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        fn terminal(&self, lang: Lang) -> Terminal {
            Terminal::to(Box::new(self.clone()), false, lang, "Example")
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A stderr that is closed.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn unreachable() -> Error {
        samples().swap_remove(3)
    }

    fn show(terminal: &Terminal, events: &[Event<'_>]) {
        for event in events {
            terminal.event(event);
        }
    }

    /// What a launcher would have done about an error, where something is installed.
    fn done(error: &Error) -> Text {
        match error {
            Error::NotInstalled { .. } => Text::DoneNothingInstalled,
            Error::TrialFailed { .. } => Text::DonePutBack,
            Error::RecoveryFailed { .. } => Text::DoneNotStarted,
            _ => match exit_code(error) {
                EXIT_CANNOT_START | EXIT_CONFIG => Text::DoneNotStarted,
                _ => Text::DoneStarting,
            },
        }
    }

    /// A start at which there is nothing new.
    fn nothing_new(terminal: &Terminal, version: &Version) {
        show(
            terminal,
            &[
                Event::Phase(Phase::Recover),
                Event::Phase(Phase::Check),
                Event::Phase(Phase::Plan),
                Event::Phase(Phase::Launch),
                Event::Starting {
                    entry: Path::new("client/app"),
                    version: Some(version),
                },
            ],
        );
    }

    /// An update as the engine reports it, with a retry and a resumed download.
    fn whole_update(terminal: &Terminal) {
        let (old, new) = (version("1.2.3"), version("1.3.0"));
        let broken = samples().swap_remove(10);
        show(
            terminal,
            &[
                Event::Phase(Phase::Check),
                Event::Found {
                    installed: Some(&old),
                    offered: &new,
                    notes: "- faster\r\n- \u{1b}[31mkinder\n\n",
                    critical: true,
                },
                Event::Phase(Phase::Plan),
                Event::Phase(Phase::Fetch),
                Event::Total {
                    bytes: Some(3_145_728),
                    done: 1_048_576,
                },
                Event::Position(1_572_864),
                Event::Retry {
                    attempt: 2,
                    of: 4,
                    wait: Duration::from_millis(1_500),
                    error: &broken,
                },
                Event::Total {
                    bytes: Some(3_145_728),
                    done: 1_572_864,
                },
                Event::Position(3_145_728),
                Event::Phase(Phase::Verify),
                Event::Total {
                    bytes: Some(3_145_728),
                    done: 0,
                },
                Event::Phase(Phase::Stage),
                Event::Total {
                    bytes: None,
                    done: 0,
                },
                Event::Phase(Phase::BackUp),
                Event::Position(1),
                Event::Phase(Phase::Commit),
            ],
        );
        terminal.outcome(&Outcome::Updated {
            from: old,
            to: new.clone(),
        });
        terminal.event(&Event::Starting {
            entry: Path::new("client/app"),
            version: Some(&new),
        });
    }

    #[test]
    fn errors() {
        for lang in Lang::ALL {
            let paper = Paper::default();
            let terminal = paper
                .terminal(lang)
                .with_log(Some("logs/castoff.log".into()));
            for error in samples() {
                let installed = [("version", "1.2.3".to_owned())];
                terminal.error(&error, &terminal.text(done(&error), &installed));
            }
            insta::assert_snapshot!(format!("errors_{}", lang.tag()), paper.text());
        }
    }

    #[test]
    fn outcomes() {
        let (old, new) = (version("1.2.3"), version("1.3.0"));
        for lang in Lang::ALL {
            let paper = Paper::default();
            let terminal = paper.terminal(lang);
            for outcome in [
                Outcome::UpToDate {
                    version: old.clone(),
                },
                Outcome::Installed {
                    version: new.clone(),
                },
                Outcome::Updated {
                    from: old.clone(),
                    to: new.clone(),
                },
                Outcome::Updated {
                    from: new.clone(),
                    to: old.clone(),
                },
                Outcome::Pending {
                    version: new.clone(),
                },
            ] {
                terminal.outcome(&outcome);
            }
            for installed in [None, Some(&old), Some(&version("2.0.0"))] {
                terminal.event(&Event::Found {
                    installed,
                    offered: &new,
                    notes: "",
                    critical: false,
                });
                terminal.event(&Event::Phase(Phase::Fetch));
            }
            terminal.error(&unreachable(), "");
            insta::assert_snapshot!(format!("outcomes_{}", lang.tag()), paper.text());
        }
    }

    #[test]
    fn updates() {
        for lang in Lang::ALL {
            let paper = Paper::default();
            whole_update(&paper.terminal(lang));
            insta::assert_snapshot!(format!("update_{}", lang.tag()), paper.text());
        }
    }

    #[test]
    fn mishaps() {
        let (old, new) = (version("1.2.3"), version("1.3.0"));
        let mut all = samples().into_iter();
        let died = all.find(|error| error.code() == Code::TrialFailed);
        let died = died.unwrap();
        for lang in Lang::ALL {
            let paper = Paper::default();
            show(
                &paper.terminal(lang),
                &[
                    Event::Recovered {
                        version: Some(&old),
                    },
                    Event::Recovered { version: None },
                    Event::Warning(&unreachable()),
                    Event::Phase(Phase::Undo),
                    Event::RolledBack {
                        from: &new,
                        to: Some(&old),
                        error: &died,
                    },
                    Event::Starting {
                        entry: Path::new("client/app"),
                        version: None,
                    },
                ],
            );
            insta::assert_snapshot!(format!("mishaps_{}", lang.tag()), paper.text());
        }
    }

    #[test]
    fn nothing_new_is_nothing_printed_and_nothing_set_up() {
        let version = version("1.2.3");
        for live in [false, true] {
            let paper = Paper::default();
            let out = Box::new(paper.clone());
            let terminal = Terminal::to(out, live, Lang::En, "Example");
            nothing_new(&terminal, &version);
            assert_eq!(paper.text(), "");
            assert!(terminal.view().bar.is_none());
        }
    }

    #[test]
    fn a_version_that_is_refused_is_no_news() {
        let (old, new) = (version("1.2.3"), version("1.3.0"));
        let paper = Paper::default();
        let terminal = paper.terminal(Lang::En);
        terminal.event(&Event::Found {
            installed: Some(&old),
            offered: &new,
            notes: "much",
            critical: false,
        });
        nothing_new(&terminal, &old);
        assert_eq!(paper.text(), "");
    }

    #[test]
    fn a_live_terminal_leaves_no_bar_behind() {
        let paper = Paper::default();
        let out = Box::new(paper.clone());
        let terminal = Terminal::to(out, true, Lang::En, "Example");
        terminal.event(&Event::Phase(Phase::Fetch));
        terminal.event(&Event::Total {
            bytes: Some(9),
            done: 3,
        });
        let bar = terminal.view().bar.clone().unwrap();
        assert_eq!((bar.position(), bar.length()), (3, Some(9)));
        // Lines are printed above the bar, and change nothing about it.
        terminal.event(&Event::Warning(&unreachable()));
        terminal.event(&Event::Position(7));
        assert_eq!((bar.position(), bar.length()), (7, Some(9)));
        terminal.error(&unreachable(), "");
        assert!(bar.is_finished() && terminal.view().bar.is_none());
        assert!(!paper.text().contains('\u{1b}'));
    }

    #[test]
    fn a_closed_stderr_is_no_error() {
        let terminal = Terminal::to(Box::new(Closed), false, Lang::En, "Example");
        whole_update(&terminal);
        terminal.error(&unreachable(), "");
    }

    #[test]
    fn long_notes_are_cut() {
        let paper = Paper::default();
        let terminal = paper.terminal(Lang::En);
        terminal.event(&Event::Found {
            installed: None,
            offered: &version("1.0.0"),
            notes: &"line\n".repeat(1000),
            critical: false,
        });
        terminal.outcome(&Outcome::Installed {
            version: version("1.0.0"),
        });
        // The news, the heading, the notes, the sign that there are more, and the outcome.
        assert_eq!(paper.text().lines().count(), 2 + MOST_NOTES + 2);
        assert!(paper.text().contains("…\n"));
    }

    #[test]
    fn the_bars_of_every_language_are_templates() {
        for lang in Lang::ALL {
            for text in [Text::ProgressBar, Text::ProgressBarWithoutTotal] {
                assert!(ProgressStyle::with_template(text.template(lang)).is_ok());
            }
        }
    }
}
