//! Release notes as HTML.
//!
//! Promises: nothing that runs or loads comes of them, whatever they say: no HTML of theirs is passed on,
//! an image is its description, and a link leads to http or https or is its text.

use castoff::fetch;
use maud::{Markup, PreEscaped, Render as _};
use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html,
};

/// How much of notes is shown, in bytes. Real ones have some kilobytes.
const LONGEST: usize = 64 << 10;

/// The notes, with headings that fit below those of the page.
pub(super) fn render(notes: &str) -> Markup {
    let notes = &notes[..notes.floor_char_boundary(LONGEST)];
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut links = Vec::new();
    let events = Parser::new_ext(notes, options).filter_map(|event| safe(event, &mut links));
    let mut text = String::new();
    html::push_html(&mut text, events);
    PreEscaped(text)
}

/// What becomes of an event; `links`: those that it is in, the innermost last, and whether each is one here.
/// A link may lie in another's image.
fn safe<'a>(event: Event<'a>, links: &mut Vec<bool>) -> Option<Event<'a>> {
    Some(match event {
        Event::End(TagEnd::Link) => match links.pop() {
            Some(true) => own("</a>".to_owned()),
            _ => return None,
        },
        // Mostly no HTML was meant: `Vec<T>`.
        Event::InlineHtml(text) => Event::Text(text),
        Event::Html(_)
        | Event::Start(Tag::HtmlBlock | Tag::Image { .. })
        | Event::End(TagEnd::HtmlBlock | TagEnd::Image) => return None,
        // As forges show notes.
        Event::SoftBreak => Event::HardBreak,
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: lower(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lower(level))),
        // Styles and classes are the page's own.
        Event::Start(Tag::Table(_)) => Event::Start(Tag::Table(Vec::new())),
        Event::Start(Tag::CodeBlock(_)) => Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)),
        Event::Start(Tag::Link { dest_url, .. }) => {
            let address = fetch::resolve(&dest_url, &dest_url).ok();
            let address = address.filter(|_| !links.contains(&true));
            links.push(address.is_some());
            let address = address?.render().into_string();
            own(format!(
                "<a href=\"{address}\" rel=\"noopener noreferrer nofollow\" target=\"_blank\">"
            ))
        }
        other => other,
    })
}

/// HTML of ours.
fn own(html: String) -> Event<'static> {
    Event::InlineHtml(CowStr::from(html))
}

/// The page has three levels above.
fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H4,
        HeadingLevel::H2 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(notes: &str) -> String {
        render(notes).into_string()
    }

    #[test]
    fn what_is_written_is_shown() {
        let text = html(
            "# New\n\n- **fast**\n- `code` & [more](https://a.example/x?a=1&b=2)\n\n|a|b|\n|-:|-|\n|1|2|\n\na Vec<T>",
        );
        for part in [
            "<h4>New</h4>",
            "<strong>fast</strong>",
            "<code>code</code> &amp;",
            "href=\"https://a.example/x?a=1&amp;b=2\" rel=\"noopener",
            "<td>1</td>",
            "a Vec&lt;T&gt;",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn every_link_is_closed_and_none_lies_in_another() {
        for inner in ["https://b.example", "javascript:b"] {
            let text = html(&format!(
                "[![a [b]({inner}) c](x.png)](https://a.example) after"
            ));
            assert_eq!(
                text.matches("<a ").count(),
                text.matches("</a>").count(),
                "{text}"
            );
            let nested = text
                .split("</a>")
                .any(|part| part.matches("<a ").count() > 1);
            assert!(!nested && text.contains("after"), "{text}");
        }
        assert!(html(&"é".repeat(100_000)).len() < 70_000);
    }

    #[test]
    fn nothing_in_it_runs_or_loads() {
        for notes in [
            "<script>alert(1)</script>",
            "text <script>alert(1)</script> text",
            "<img src=x onerror=alert(1)>",
            "![x](https://evil.example/x.png \"onerror=1\")",
            "<iframe src='https://evil.example'></iframe>",
            "<svg/onload=alert(1)>",
            "[a](javascript:alert(1))",
            "[a](JaVaScRiPt:alert(1))",
            "[a](data:text/html;base64,PHNjcmlwdD4=)",
            "[a](vbscript:x)",
            "<javascript:alert(1)>",
            "[a](https://evil.example/\"onmouseover=\"alert(1))",
            "[a](<https://evil.example/\" onmouseover=\"alert(1)>)",
            "[a]: javascript:alert(1)\n\n[a]",
            "```\"><script>alert(1)</script>\n<script>\n```",
            "# x {onclick=alert(1) #id}",
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "`<script>`",
            "<style>body{display:none}</style>",
            "<!-- --><b onclick=x>b</b>",
            "| <script> |\n|-|\n| <script>x</script> |",
        ] {
            let text = html(notes);
            let lower = text.to_ascii_lowercase();
            for bad in [
                "<script", "<img", "<svg", "<iframe", "<style", "<b ", "<!--",
            ] {
                assert!(!lower.contains(bad), "{notes}: {text}");
            }
            // Every tag has the attributes that we give, and no other.
            for tag in lower.split('<').skip(1) {
                let tag = tag.split('>').next().unwrap();
                let href = tag.split("href=\"").nth(1);
                assert!(href.is_none_or(|it| it.starts_with("https://")), "{text}");
                let plain = tag.replace("&quot;", "");
                let outside: String = plain.split('"').step_by(2).collect();
                assert!(!outside.contains("on"), "{notes}: {text}");
            }
        }
    }
}
