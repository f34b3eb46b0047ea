//! Desktop entries: the text of a `.desktop` file, and the command in one.
//!
//! After the Desktop Entry Specification. Promises: whatever a name or a path has in it (quotes,
//! `$`, `%`, backslashes, line breaks, any script) arrives at the program, and can add no key.
//! [`command`] reads what [`text`] wrote, and what people write by hand.

use std::fmt::Write as _;
use std::path::Path;

use super::Link;

/// Runs a program whose path cannot stand first in `Exec`: an `=` is forbidden there, and some
/// desktops look for a `%` as it is written, doubled.
const BY_SHELL: [&str; 3] = ["/bin/sh", "-c", "exec \"$0\" \"$@\""];

/// The text of a desktop entry; `None` for a path that is no Unicode, which none can hold.
pub(super) fn text(link: &Link) -> Option<String> {
    let target = link.target.to_str()?;
    let arguments = link.arguments.iter().map(|argument| argument.to_str());
    let mut words: Vec<&str> = Vec::new();
    if target.contains(['%', '=']) {
        words.extend(BY_SHELL);
    }
    words.push(target);
    words.extend(arguments.collect::<Option<Vec<_>>>()?);
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    let mut text = String::from("[Desktop Entry]\nType=Application\nVersion=1.0\n");
    let mut key = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}={}", escaped(value));
    };
    key("Name", &link.name);
    key("Exec", &words.join(" "));
    key("TryExec", target);
    key("Path", link.folder.to_str()?);
    if let Some(icon) = link.icon.as_deref().and_then(Path::to_str) {
        key("Icon", icon);
    }
    // With a sign of life, since a start may wait for the server. Most toolkits end it.
    text.push_str("Terminal=false\nStartupNotify=true\nCategories=Utility;\n");
    Some(text)
}

/// The program and its arguments that a desktop entry starts, if its `Exec` can be understood.
pub(super) fn command(text: &str) -> Option<Vec<String>> {
    let exec = text
        .lines()
        .skip_while(|line| line.trim_end() != "[Desktop Entry]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim_end() == "Exec").then(|| value.trim())
        })?;
    let words = words(&unescaped(exec))?;
    Some(
        match words.strip_prefix(BY_SHELL.map(String::from).as_slice()) {
            Some(rest) => rest.to_vec(),
            None => words,
        },
    )
}

/// A value as a line holds it: the rule for every string.
fn escaped(value: &str) -> String {
    let mut line = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        match c {
            '\\' => line.push_str(r"\\"),
            '\n' => line.push_str(r"\n"),
            '\r' => line.push_str(r"\r"),
            '\t' => line.push_str(r"\t"),
            // Spaces after the equals sign do not count.
            ' ' if at == 0 => line.push_str(r"\s"),
            c => line.push(c),
        }
    }
    line
}

fn unescaped(line: &str) -> String {
    let mut value = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        value.push(match c {
            '\\' => match chars.next() {
                Some('s') => ' ',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    value
}

/// A word of `Exec`: in quotes where it must be, and without field codes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@,%".contains(c);
    let quotes = word.is_empty() || !word.chars().all(plain);
    let mut text = String::with_capacity(word.len() + 2);
    if quotes {
        text.push('"');
    }
    for c in word.chars() {
        match c {
            '"' | '`' | '$' | '\\' => text.extend(['\\', c]),
            '%' => text.push_str("%%"),
            c => text.push(c),
        }
    }
    if quotes {
        text.push('"');
    }
    text
}

/// The words of an `Exec` value that is unescaped already; `None` when a quote does not end.
fn words(exec: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = exec.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            '\\' if quoted => word.get_or_insert_default().push(chars.next()?),
            '%' if chars.next_if_eq(&'%').is_some() => word.get_or_insert_default().push('%'),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// What may be in a name or a path.
    const NASTY: &[&str] = &[
        "/opt/App/MyApp",
        "/opt/My Apps/My App",
        "/home/\u{5c0f}\u{660e}/\u{6211}\u{7684}\u{5e94}\u{7528}",
        "/a/\"quoted\"/it's",
        "/a/$HOME/`id`/$(id)",
        "/a/back\\slash\\n/\\\\two\\",
        "/a/100%/%U/%%",
        "/a/x=y/MyApp",
        "/a/line\nExec=evil",
        "/a/~/#;&|<>*?()[]{}!",
        "/ leading and trailing ",
    ];

    fn link(target: &str) -> Link {
        Link {
            name: "Test App".into(),
            target: target.into(),
            arguments: Vec::new(),
            folder: Path::new(target).parent().unwrap().into(),
            icon: None,
        }
    }

    #[test]
    fn a_plain_entry() {
        let mut link = link("/opt/App/MyApp");
        link.icon = Some("/opt/App/client/app.png".into());
        let expected = "[Desktop Entry]\nType=Application\nVersion=1.0\nName=Test App\n\
            Exec=/opt/App/MyApp\nTryExec=/opt/App/MyApp\nPath=/opt/App\n\
            Icon=/opt/App/client/app.png\nTerminal=false\nStartupNotify=true\nCategories=Utility;\n";
        assert_eq!(text(&link).unwrap(), expected);
    }

    #[test]
    fn quotes_and_escapes_are_those_of_the_specification() {
        let exec = |target| {
            let text = text(&link(target)).unwrap();
            let line = text.lines().find(|line| line.starts_with("Exec=")).unwrap();
            line["Exec=".len()..].to_owned()
        };
        assert_eq!(exec("/a b/c"), r#""/a b/c""#);
        assert_eq!(exec("/a\\b"), r#""/a\\\\b""#);
        assert_eq!(exec("/a$b"), r#""/a\\$b""#);
        assert_eq!(
            exec("/100%"),
            r#"/bin/sh -c "exec \\"\\$0\\" \\"\\$@\\"" /100%%"#
        );
    }

    #[test]
    fn whatever_is_written_is_read_again() {
        for nasty in NASTY {
            let mut link = link(nasty);
            link.arguments = NASTY.iter().map(Into::into).collect();
            link.name = (*nasty).to_owned();
            let text = text(&link).unwrap();
            let expected: Vec<_> = std::iter::once(nasty).chain(NASTY).copied().collect();
            assert_eq!(command(&text).unwrap(), expected, "{text}");
            assert_eq!(text.lines().count(), 10, "{text}");
        }
        assert_eq!(command("[Desktop Entry]\nName=x\n"), None);
        assert_eq!(command("[Other]\nExec=x\n"), None);
        assert_eq!(command("[Desktop Entry]\nExec=\"x\n"), None);
    }

    /// A shell reads an unescaped `Exec` as a desktop does, but for `%`.
    #[cfg(unix)]
    #[test]
    fn a_shell_understands_the_same_words() {
        for nasty in NASTY {
            let line = quoted(nasty).replace("%%", "%");
            let output = Command::new("sh")
                .args(["-c", &format!("printf %s {line}")])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), *nasty);
        }
    }

    #[test]
    fn desktop_file_validate_finds_nothing_wrong() {
        let folder = tempfile::tempdir().unwrap();
        for (number, nasty) in NASTY.iter().enumerate() {
            let mut link = link(nasty);
            link.name = (*nasty).to_owned();
            link.arguments = vec![nasty.into()];
            link.icon = Some("/opt/App/client/app.svg".into());
            let path = folder.path().join(format!("{number}.desktop"));
            fs::write(&path, text(&link).unwrap()).unwrap();
            let Ok(output) = Command::new("desktop-file-validate").arg(&path).output() else {
                // Not every machine has it.
                return;
            };
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                output.status.success() && output.stdout.is_empty(),
                "{text}{output:?}"
            );
        }
    }
}
