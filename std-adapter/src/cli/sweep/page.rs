//! The results of a sweep for people: one page that needs nothing from elsewhere.

use super::super::html::axis::short;
use super::super::html::{escape, push, start};
use super::plot::draw;
use super::report::{Report, Row};
use crate::harness::statistics::Estimate;
use crate::methods::Cost;

/// Colours that there are; the next cache plans have rings of the same ones.
const COLOURS: usize = 8;

/// The page.
pub(super) fn write(report: &Report) -> String {
    let about = &report.about;
    let title = format!("{} on {}", about.model, about.task);
    let mut page = start("demask sweep", &title);
    introduction(&mut page, report);
    plots(&mut page, report);
    published(&mut page, report);
    all_cells(&mut page, report);
    refused(&mut page, report);
    page.push_str("</html>\n");
    page
}

fn introduction(page: &mut String, report: &Report) {
    let (about, clock) = (&report.about, clock(report));
    let base = report.rows.first().map(|row| &row.summary);
    push(
        page,
        format_args!(
            "<p class=\"soft\">Family {}, {} items, {} ways of decoding; {}.</p>",
            escape(&about.family),
            about.items,
            report.rows.len(),
            escape(&about.measure)
        ),
    );
    if let Some(base) = base {
        push(
            page,
            format_args!(
                "<p>One token per step, with every row computed, gets {:.1} % right for {} forward \
                 passes, {} rows and {} s of {clock} per answer. Everything below is measured on the \
                 same items and compared with that; ± is one standard error.</p>",
                base.quality.value,
                short(base.cost[0].value),
                short(base.cost[1].value),
                short(base.cost[2].value)
            ),
        );
    }
}

fn clock(report: &Report) -> &'static str {
    if report.cpu_time { "processor time" } else { "time" }
}

/// Cache plans in order of first appearance: each has a colour.
fn caches(report: &Report) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in &report.rows {
        let name = cache_of(row);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn cache_of(row: &Row) -> String {
    row.cell.choice.cache.names()
}

/// The look of the cache plan with this number.
fn class_of(at: usize) -> String {
    format!("c{}{}", at % COLOURS, if at / COLOURS % 2 == 1 { " ring" } else { "" })
}

fn plots(page: &mut String, report: &Report) {
    let caches = caches(report);
    let colour =
        |row: &Row| class_of(caches.iter().position(|name| *name == cache_of(row)).unwrap_or(0));
    page.push_str("<h2>Quality against cost</h2>\n");
    page.push_str(
        "<p class=\"soft\">Up and to the left is better. What no other way beats is named and joined by \
         the dashed line. Colours are cache plans; touch or point at a dot for its name.</p>\n",
    );
    page.push_str("<ul class=\"key\">\n");
    for (at, name) in caches.iter().enumerate() {
        let class = class_of(at);
        let name = escape(name);
        push(
            page,
            format_args!(
                "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><circle class=\"{class}\" \
                 cx=\"5\" cy=\"5\" r=\"4\"/></svg>{name}</li>"
            ),
        );
    }
    page.push_str("</ul>\n");
    let time = clock(report);
    let seconds = format!("Seconds of {time}");
    let titles =
        [("Forward passes", "per answer"), ("Rows", "per answer"), (&*seconds, "per answer")];
    for (index, (title, unit)) in titles.into_iter().enumerate() {
        let plot = draw(&report.rows, index, (title, unit), colour);
        let caption = escape(title);
        push(
            page,
            format_args!(
                "<figure>\n<figcaption>Right answers in %, against {}</figcaption>\n{plot}</figure>",
                caption.to_lowercase()
            ),
        );
    }
}

fn published(page: &mut String, report: &Report) {
    page.push_str("<h2>Published gains</h2>\n");
    if report.claims.is_empty() {
        page.push_str(
            "<p>No way of decoding with a published gain was measured alone against the baseline.</p>\n",
        );
        return;
    }
    page.push_str(
        "<p class=\"soft\">Methods that differ from the baseline in one part. A gain shows if it is as \
         large as published, within two standard errors, and answers do not get worse by more than half \
         a point and two standard errors.</p>\n<div class=\"wide\"><table>\n<tr><th>method<th>published<th>here<th>points\
         <th class=\"text\">verdict\n",
    );
    for claim in &report.claims {
        let published = claim.published;
        push(
            page,
            format_args!(
                "<tr><td>{}<td>{}× less {}<br><small>{}</small><td>{}<td>{}<td class=\"text\">{}",
                escape(&claim.method),
                published.times,
                published.of.name(),
                escape(published.on),
                times(claim.gain),
                signed(claim.difference),
                escape(&claim.sentence())
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn all_cells(page: &mut String, report: &Report) {
    push(
        page,
        format_args!(
            "<h2>All measurements</h2>\n<div class=\"wide\"><table>\n<tr><th>method<th>right %\
             <th>points<th>passes<th>rows<th>s<th>{}× less<th>{}× less<th>{}× less\
             <th>taken back<th>cache",
            Cost::ALL[0].name(),
            Cost::ALL[1].name(),
            Cost::ALL[2].name()
        ),
    );
    for row in &report.rows {
        let s = &row.summary;
        let [forwards, rows, seconds] = s.cost.map(|cost| short(cost.value));
        let [a, b, c] = s.gain.map(times);
        push(
            page,
            format_args!(
                "<tr><td>{}<td>{:.1} <small>± {:.1}</small><td>{}<td>{forwards}<td>{rows}<td>{seconds}\
                 <td>{a}<td>{b}<td>{c}<td>{}<td>{}",
                escape(&row.label),
                s.quality.value,
                s.quality.error,
                signed(s.difference),
                row.revisions,
                if row.exact { "exact" } else { "approximate" }
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn refused(page: &mut String, report: &Report) {
    if report.refused.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Refused</h2>\n<p class=\"soft\">These parts do not go together, or not with this model; they \
         were not run.</p>\n<div class=\"wide\"><table>\n<tr><th>method<th class=\"text\">reason\n",
    );
    for (cell, reason) in &report.refused {
        let (label, reason) = (escape(&cell.label()), escape(reason));
        push(page, format_args!("<tr><td>{label}<td class=\"text\">{reason}"));
    }
    page.push_str("</table></div>\n");
}

fn times(gain: Estimate) -> String {
    format!("{:.2} <small>± {:.2}</small>", gain.value, gain.error)
}

fn signed(points: Estimate) -> String {
    format!("{:+.1} <small>± {:.1}</small>", points.value, points.error)
}
