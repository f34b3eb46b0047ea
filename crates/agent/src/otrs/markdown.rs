//! Release notes as HTML.
//!
//! Promises: nothing that runs or loads comes of them, whatever they say: no HTML of theirs is passed on,
//! an image is its description, and a link leads to http or https or is its text.

use castoff::fetch;
use maud::{Markup, PreEscaped, Render as _};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// The notes, with headings that fit below those of the page.
pub(super) fn render(notes: &str) -> Markup {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    // Links do not contain links.
    let mut is_link = false;
    let events = Parser::new_ext(notes, options).filter_map(|event| safe(event, &mut is_link));
    let mut text = String::new();
    html::push_html(&mut text, events);
    PreEscaped(text)
}

/// What becomes of an event; `is_link`: the link that it is in is one here.
fn safe<'a>(event: Event<'a>, is_link: &mut bool) -> Option<Event<'a>> {
    Some(match event {
        Event::End(TagEnd::Link) if *is_link => own("</a>".to_owned()),
        Event::Html(_)
        | Event::InlineHtml(_)
        | Event::Start(Tag::HtmlBlock | Tag::Image { .. })
        | Event::End(TagEnd::HtmlBlock | TagEnd::Image | TagEnd::Link) => return None,
        // As forges show notes.
        Event::SoftBreak => Event::HardBreak,
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: lower(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lower(level))),
        Event::Start(Tag::Link { dest_url, .. }) => {
            let address = fetch::resolve(&dest_url, &dest_url).ok();
            *is_link = address.is_some();
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
            "# New\n\n- **fast**\n- `code` & [more](https://a.example/x?a=1&b=2)\n\n|a|b|\n|-|-|\n|1|2|",
        );
        for part in [
            "<h4>New</h4>",
            "<strong>fast</strong>",
            "<code>code</code> &amp;",
            "href=\"https://a.example/x?a=1&amp;b=2\" rel=\"noopener",
            "<td>1</td>",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
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
