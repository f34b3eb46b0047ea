//! Release notes in Markdown, as lines for a terminal.
//!
//! Promises: the text of the notes is there, in its order, without what would steer a terminal; marks
//! that only a browser needs are gone, and so are the titles of links and the names of languages. Does
//! not promise more than notes are made of: headings, lists, quotations, code, emphasis, links. What
//! else there is stays as it was written. Nor are notes without end shown
//! (`MOST_LINES`, `LONGEST_LINE`).

use super::messages::sanitise_notes;

/// More lines than this of one release are no notes.
const MOST_LINES: usize = 500;

/// A paragraph is one line in many notes, and a page has some 3,000 characters. What is longer is no
/// paragraph, and its middle is left out.
const LONGEST_LINE: usize = 10_000;

/// Renders notes, each line after `indent`; headings and what is strong in bold where the terminal shows
/// `styles`.
pub fn render(notes: &str, indent: &str, styles: bool) -> String {
    let mut text = String::new();
    // The fence that the code began with.
    let mut code: Option<&str> = None;
    let mut empty = true;
    let lines = sanitise_notes(notes, MOST_LINES, LONGEST_LINE);
    for line in &lines {
        match (code, fence(line)) {
            (None, Some((mark, _))) => {
                code = Some(mark);
                continue;
            }
            (Some(open), Some((mark, ""))) if mark.starts_with(open) => {
                code = None;
                continue;
            }
            _ => {}
        }
        let line = line.replace('\t', "    ");
        let line = if code.is_some() {
            format!("    {line}")
        } else {
            block(&line, styles)
        };
        // One empty line at most, and none before the first.
        if line.trim().is_empty() {
            if !empty {
                text.push('\n');
            }
            empty = true;
            continue;
        }
        empty = false;
        text.push_str(indent);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The fence of code that a line is, and the name of a language after it. (Backticks with more of them
/// behind are code within a line.)
fn fence(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let mark = line.chars().next().filter(|mark| "`~".contains(*mark))?;
    let (marks, rest) = line.split_at(line.len() - line.trim_start_matches(mark).len());
    let rest = rest.trim();
    (marks.len() >= 3 && !(mark == '`' && rest.contains('`'))).then_some((marks, rest))
}

/// One line outside of code.
fn block(line: &str, styles: bool) -> String {
    let inner = line.trim_start();
    let space = &line[..line.len() - inner.len()];
    let level = inner.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&level) && inner[level..].starts_with([' ', '\t']) {
        let heading = inline(inner[level..].trim().trim_end_matches('#').trim(), false);
        return bold(&heading, styles);
    }
    let rule = |mark: char| {
        let marks = inner.chars().filter(|c| *c == mark).count();
        marks >= 3 && inner.chars().all(|c| c == mark || c.is_whitespace())
    };
    if rule('-') || rule('*') || rule('_') {
        return "────────".to_owned();
    }
    for mark in ["- ", "* ", "+ "] {
        if let Some(item) = inner.strip_prefix(mark) {
            let item = item.trim_start();
            let (done, item) = match item.as_bytes() {
                [b'[', b'x' | b'X', b']', b' ', ..] => ("[x] ", &item[4..]),
                [b'[', b' ', b']', b' ', ..] => ("[ ] ", &item[4..]),
                _ => ("", item),
            };
            return format!("{space}• {done}{}", inline(item, styles));
        }
    }
    if let Some(quoted) = inner.strip_prefix('>') {
        return format!("│ {}", inline(quoted.trim_start(), styles));
    }
    format!("{space}{}", inline(inner, styles))
}

fn bold(text: &str, styles: bool) -> String {
    if styles && !text.is_empty() {
        format!("\u{1b}[1m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// What stands in a line: emphasis, code, links, images, addresses in angle brackets.
fn inline(line: &str, styles: bool) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let before = text.chars().next_back();
        let taken = match c {
            '\\' => escaped(rest),
            '`' => {
                let marks = &rest[..rest.len() - rest.trim_start_matches('`').len()];
                between(rest, marks).map(|(code, rest)| (code.trim().to_owned(), rest))
            }
            '*' | '_' => emphasis(rest, before, styles),
            '!' if rest.starts_with("![") => link(&rest[1..], styles),
            '[' => link(rest, styles),
            '<' => address(rest),
            _ => None,
        };
        if let Some((shown, after)) = taken {
            text.push_str(&shown);
            rest = after;
        } else {
            text.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    text
}

fn escaped(rest: &str) -> Option<(String, &str)> {
    let c = rest[1..]
        .chars()
        .next()
        .filter(char::is_ascii_punctuation)?;
    Some((c.to_string(), &rest[2..]))
}

/// What lies between a mark and its next one, and what follows.
fn between<'a>(rest: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let inner = rest.strip_prefix(mark)?;
    let end = inner.find(mark).filter(|end| *end > 0)?;
    Some((&inner[..end], &inner[end + mark.len()..]))
}

fn emphasis(rest: &str, before: Option<char>, styles: bool) -> Option<(String, &str)> {
    // `snake_case` and `2 * 3` have no emphasis in them.
    let in_word = rest.starts_with('_') && before.is_some_and(char::is_alphanumeric);
    for mark in ["**", "__", "*", "_"] {
        let found = between(rest, mark).filter(|(inner, _)| {
            !in_word
                && !inner.starts_with(char::is_whitespace)
                && !inner.ends_with(char::is_whitespace)
        });
        if let Some((inner, after)) = found {
            if mark.starts_with('_') && after.starts_with(char::is_alphanumeric) {
                continue;
            }
            let shown = inline(inner, false);
            let strong = mark.len() == 2;
            return Some((bold(&shown, styles && strong), after));
        }
    }
    None
}

/// `[text](address)`, shown as both, unless they are the same.
fn link(rest: &str, styles: bool) -> Option<(String, &str)> {
    let (label, after) = rest.strip_prefix('[')?.split_once(']')?;
    let (target, after) = after.strip_prefix('(')?.split_once(')')?;
    let address = target.split_whitespace().next().unwrap_or_default();
    let shown = inline(label, styles);
    let shown = match (shown.is_empty(), address.is_empty()) {
        (true, _) => address.to_owned(),
        (_, true) => shown,
        _ if shown == address => shown,
        _ => format!("{shown} ({address})"),
    };
    Some((shown, after))
}

/// `<https://…>`, and HTML's line break.
fn address(rest: &str) -> Option<(String, &str)> {
    let (inner, after) = rest.strip_prefix('<')?.split_once('>')?;
    if inner.starts_with("https://") || inner.starts_with("http://") {
        return Some((inner.to_owned(), after));
    }
    matches!(inner.trim_end_matches(['/', ' ']), "br").then(|| (" ".to_owned(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_shown_without_the_marks_of_markdown() {
        let notes = "\n# What's **new** #\n\n\n* faster, see [the guide](https://a.example/g \"t\")\n  \
                     - [x] done\n+ `--flag_a` and snake_case_name\n\n> quoted *much*\n\n```sh\n# no heading\n\
                     *a*\n```\n---\n1. **bold** and __strong__ and _leaning_\n<https://a.example/> \\*kept\\*<br/>\n\
                     ![logo](https://a.example/l.png) 2 * 3 * 4\n";
        let shown = "\
What's new

• faster, see the guide (https://a.example/g)
  • [x] done
• --flag_a and snake_case_name

│ quoted much

    # no heading
    *a*
────────
1. bold and strong and leaning
https://a.example/ *kept*
logo (https://a.example/l.png) 2 * 3 * 4
";
        assert_eq!(render(notes, "", false), shown);
        assert!(render("# a", "  ", true).starts_with("  \u{1b}[1ma\u{1b}[0m"));
        assert_eq!(render("", "  ", true), "");
    }

    #[test]
    fn code_ends_with_the_fence_that_it_began_with() {
        let notes = "```x``` is new\n````md\n```\n~~~\n*a*\n````\n*b*\n~~~\n*c*";
        let shown = "x is new\n    ```\n    ~~~\n    *a*\nb\n    *c*\n";
        assert_eq!(render(notes, "", false), shown);
        // A paragraph is whole.
        let long = "word ".repeat(1000);
        assert_eq!(render(&long, "", false), format!("{}\n", long.trim_end()));
    }

    #[test]
    fn notes_cannot_steer_the_terminal_and_nothing_in_them_is_too_odd() {
        let shown = render(
            "\u{1b}[31mred\u{7}\n**\n[]()\n[a](\n`\n\\\n<\n***\n*_*_\n中文**粗**体",
            "",
            false,
        );
        assert!(
            !shown.contains('\u{1b}') && shown.contains("red"),
            "{shown:?}"
        );
        assert!(shown.ends_with("中文粗体\n"), "{shown:?}");
        let deep = "[".repeat(100_000) + &"*".repeat(100_000);
        assert!(render(&deep, "", false).starts_with("[["));
    }
}
