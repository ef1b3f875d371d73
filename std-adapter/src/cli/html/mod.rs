//! What pages for people have in common: one HTML file that needs nothing from elsewhere, light or dark as
//! the reader likes it.

pub(super) mod axis;
pub(super) mod chart;
pub(super) mod dots;

const STYLE: &str = include_str!("page.css");

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A page up to its headline.
pub(super) fn start(tool: &str, title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{tool}: {title}</title>\n<style>\n{STYLE}</style>\n<h1>{title}</h1>\n"
    )
}

/// Appends a line.
pub(super) fn push(page: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = std::fmt::Write::write_fmt(page, part);
    page.push('\n');
}
