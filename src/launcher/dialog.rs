//! The window in which a person reads why nothing starts, where there is no terminal to read it in.
//!
//! A double-click that ends in nothing is the worst answer of all. So the error after which no app
//! is started is shown in a dialog when nobody can read stderr:
//!
//! - on Windows: there is neither a console nor a handle for it. The system's own message box;
//! - elsewhere: neither stderr nor stdin is a terminal, stderr is neither a pipe nor a socket (either
//!   has a reader, such as the system's journal), and there is a graphical session. The desktop's
//!   dialog program, the first that is in PATH.
//!
//! Promised: nothing is shown unless the program has [allowed](allow) it, which only a start of
//! the app does; `dialogs = false` says no; a service, which nobody sees, is not kept waiting. The
//! text is an argument of the dialog program, and never passes a shell or a reader of markup.
//!
//! Not promised: that every desktop has such a program, or that xmessage, which comes last, knows
//! Chinese characters. The log has it all in any case.

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(unix)]
use crate::entry;
use crate::record;

static ALLOWED: AtomicBool = AtomicBool::new(false);

/// This process may show dialogs: it was started by a person, or as if by one.
pub fn allow() {
    ALLOWED.store(true, Ordering::Relaxed);
}

/// No dialog is shown from now on: the configuration says so.
pub(super) fn forbid() {
    ALLOWED.store(false, Ordering::Relaxed);
}

/// Shows an error if that is allowed and nobody can read stderr; returns when the person has closed
/// it.
pub(super) fn error(title: &str, text: &str) {
    if !ALLOWED.load(Ordering::Relaxed) || !system::is_needed() {
        return;
    }
    // Whoever ends this process while the person reads means it, and no app that has gone.
    #[cfg(unix)]
    entry::obey_signals();
    if !system::show(title, text) {
        record::warn!("there is neither a terminal nor a dialog to show the error in");
    }
}

#[cfg(windows)]
mod system {
    use std::io;
    use std::os::windows::io::AsRawHandle;

    /// Without a console, `castoff_windows::console::attach` has left no handle.
    pub(super) fn is_needed() -> bool {
        io::stderr().as_raw_handle().is_null()
    }

    pub(super) fn show(title: &str, text: &str) -> bool {
        castoff_windows::dialog::error(title, text)
    }
}

#[cfg(unix)]
mod system {
    use std::env;
    use std::ffi::OsStr;
    use std::io::{self, IsTerminal};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use rustix::fs::{Access, FileType, access, fstat};

    use crate::record;

    pub(super) fn is_needed() -> bool {
        let stderr = fstat(io::stderr()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let said = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        !io::stderr().is_terminal()
            && !io::stdin().is_terminal()
            && !matches!(stderr, Ok(FileType::Fifo | FileType::Socket))
            && (said("DISPLAY") || said("WAYLAND_DISPLAY"))
    }

    pub(super) fn show(title: &str, text: &str) -> bool {
        let path = env::var_os("PATH").unwrap_or_default();
        PROGRAMS.iter().any(|program| {
            let Some(found) = find(program.name, &path) else {
                return false;
            };
            let shown = Command::new(found)
                .args((program.arguments)(title, text))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if let Err(error) = &shown {
                record::debug!("{}: {error}", program.name);
            }
            // How it ends says how it was closed, differently for each of them.
            shown.is_ok()
        })
    }

    /// A program that shows dialogs.
    pub(super) struct Program {
        pub(super) name: &'static str,
        pub(super) arguments: fn(title: &str, text: &str) -> Vec<String>,
    }

    /// The programs of the desktops; those that know old fonts only come last.
    pub(super) const PROGRAMS: &[Program] = &[
        Program {
            name: "zenity",
            arguments: |title, text| {
                vec![
                    "--error".into(),
                    "--no-markup".into(),
                    "--width=520".into(),
                    format!("--title={title}"),
                    format!("--text={}", unescaped(text)),
                ]
            },
        },
        Program {
            name: "kdialog",
            arguments: |title, text| {
                // What looks like HTML is taken for it, and `\n` for a line's end.
                let text = text.replace('<', "\u{2039}").replace("\\n", "\\\u{200b}n");
                vec!["--title".into(), title.into(), "--error".into(), text]
            },
        },
        Program {
            name: "yad",
            arguments: |title, text| {
                vec![
                    "--image=dialog-error".into(),
                    "--no-markup".into(),
                    "--button=OK:0".into(),
                    "--center".into(),
                    "--width=520".into(),
                    format!("--title={title}"),
                    format!("--text={}", unescaped(text)),
                ]
            },
        },
        Program {
            name: "gxmessage",
            arguments: message,
        },
        Program {
            name: "xmessage",
            arguments: |title, text| {
                // By itself it cuts long lines off.
                let looks = ["wrap: word", "width: 600", "height: 220"];
                let looks = looks.map(|look| ["-xrm".into(), format!("*message.{look}")]);
                looks
                    .into_iter()
                    .flatten()
                    .chain(message(title, text))
                    .collect()
            },
        },
    ];

    /// For what reads backslashes as C does.
    fn unescaped(text: &str) -> String {
        text.replace('\\', "\\\\")
    }

    /// What the two programs that are called after messages understand. The text follows a line's
    /// end, so that it is no option, whatever it begins with.
    fn message(title: &str, text: &str) -> Vec<String> {
        vec![
            "-center".into(),
            "-title".into(),
            title.into(),
            format!("\n{text}\n"),
        ]
    }

    /// Looks for a program in the absolute folders of PATH: what lies in the working directory is
    /// not started.
    fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
        env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::system::PROGRAMS;

    #[test]
    fn every_program_gets_the_text_as_one_argument_that_means_nothing_to_it() {
        let text = "--help <b>\\n\n\n$(id) \u{7a0b}\u{5e8f} C:\\new";
        for program in PROGRAMS {
            let arguments = (program.arguments)("Test App", text);
            let with_text: Vec<_> = arguments.iter().filter(|a| a.contains("$(id)")).collect();
            assert_eq!(with_text.len(), 1, "{}: {arguments:?}", program.name);
            let given = with_text[0];
            match program.name {
                "zenity" | "yad" => {
                    assert!(arguments.contains(&"--no-markup".to_owned()));
                    assert_eq!(given, &format!("--text={}", text.replace('\\', "\\\\")));
                }
                "kdialog" => {
                    assert_eq!(arguments[2], "--error", "the option takes what follows");
                    assert!(!given.contains('<') && !given.contains("\\n"), "{given}");
                }
                _ => assert_eq!(given.trim(), text),
            }
            let title = arguments.iter().filter(|a| a.ends_with("Test App")).count();
            assert_eq!(title, 1, "{}", program.name);
        }
    }
}
