//! A comparison for people: one page that needs nothing from elsewhere.

use super::super::eval;
use super::super::html::chart::{Chart, Point, Series};
use super::super::html::{dots, escape, push, start};
use super::report::{Decoded, PairedScore, Report, number, signed};
use crate::harness::comparison::{AtRatio, DecilePair, Distances};
use crate::harness::statistics::Estimate;

/// Parts that shares of an answer are counted in.
const SHARES: usize = 10;

/// The page.
pub(super) fn write(report: &Report) -> String {
    let about = &report.about;
    let title = format!("{} against {}", about.b.title(), about.a.title());
    let mut page = start("demask compare", &title);
    let items = if about.items == 1 { "item" } else { "items" };
    push(
        &mut page,
        format_args!(
            "<p class=\"soft\">On {}, {} {items}. Both see the same masks (seed {}, {} draws per piece of text); \
             ± is one standard error, bars are two.</p>",
            escape(&about.task),
            about.items,
            about.seed,
            about.draws
        ),
    );
    page.push_str("<div class=\"verdict\">\n");
    for sentence in report.verdict() {
        push(&mut page, format_args!("<p>{}</p>", escape(&sentence)));
    }
    page.push_str("</div>\n");
    headline(&mut page, report);
    distributions(&mut page, report);
    likelihoods(&mut page, report);
    if let Some(decoded) = &report.decoded {
        decodes(&mut page, report, decoded);
    }
    tables(&mut page, report);
    models(&mut page, report);
    page.push_str("</html>\n");
    page
}

/// The numbers that one looks for first.
fn headline(page: &mut String, report: &Report) {
    let d = &report.texts.distances;
    let mut tiles = vec![
        ("mean KL, nats", number(d.kl.value)),
        ("99th percentile", number(d.kl_p99)),
        ("same first choice", format!("{:.1} %", d.same_top.value)),
        ("nats per token", signed_value(report.texts.difference.value)),
    ];
    if let Some(decoded) = &report.decoded {
        tiles.push(("same answers", format!("{:.1} %", decoded.same_answers.value)));
        let score = decoded.scores.first();
        tiles.extend(score.map(|s| (eval::title(s.name), format!("{:.1} %", s.b.value))));
    }
    page.push_str("<dl class=\"tiles\">\n");
    for (name, value) in tiles {
        push(page, format_args!("<div><dt>{}</dt><dd>{value}</dd></div>", escape(name)));
    }
    page.push_str("</dl>\n");
}

fn signed_value(value: f64) -> String {
    format!("{}{}", if value > 0.0 { "+" } else { "" }, number(value))
}

fn distributions(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Distributions of hidden tokens</h2>\n<p class=\"soft\">At each share of hidden tokens, how far the \
         second model's distribution is from the first's, KL(first ‖ second) in nats; and how often both have \
         the same first choice.</p>\n<div class=\"pair\">\n",
    );
    let ratios = &report.texts.ratios;
    let places: Vec<String> =
        ratios.iter().map(|at| format!("{:.0} %", 100.0 * at.ratio)).collect();
    let series = |name: &str, of: fn(&Distances) -> Estimate| {
        let point = |(at, ratio): (usize, &AtRatio)| {
            let Estimate { value, error } = of(&ratio.distances);
            Point { at, value, error }
        };
        Series { name: name.into(), points: ratios.iter().enumerate().map(point).collect() }
    };
    let kl = Chart {
        title: "KL divergence in nats",
        across: "tokens hidden",
        places: places.clone(),
        series: vec![
            series("mean", |d| d.kl),
            series("median", |d| Estimate { value: d.kl_median, error: 0.0 }),
            series("99th percentile", |d| Estimate { value: d.kl_p99, error: 0.0 }),
        ],
        logarithmic: true,
        with_zero: false,
        bars: false,
    };
    let top = Chart {
        title: "Another first choice, % of tokens",
        series: vec![series("another first choice", |d| Estimate {
            value: 100.0 - d.same_top.value,
            error: d.same_top.error,
        })],
        logarithmic: false,
        with_zero: true,
        bars: true,
        ..kl.clone()
    };
    page.push_str(&kl.draw());
    page.push_str(&top.draw());
    page.push_str("</div>\n");
}

fn likelihoods(page: &mut String, report: &Report) {
    let texts = &report.texts;
    let (a, b) = (&texts.a, &texts.b);
    push(
        page,
        format_args!(
            "<h2>Likelihood of what is right</h2>\n<p class=\"soft\">An upper bound on the negative \
             log-likelihood, from {} pieces of text with {} tokens. Per token {} and {}, per character {} and {}, \
             per byte {} and {} nats.</p>\n<div class=\"pair\">",
            a.pieces,
            a.tokens,
            number(a.per_token.value),
            number(b.per_token.value),
            number(a.per_character.value),
            number(b.per_character.value),
            number(a.per_byte.value),
            number(b.per_byte.value)
        ),
    );
    let places: Vec<String> = texts.deciles.iter().map(decile_name).collect();
    let series = |name: String, of: fn(&DecilePair) -> Option<Estimate>| {
        let point = |(at, decile): (usize, &DecilePair)| {
            let Estimate { value, error } = of(decile)?;
            Some(Point { at, value, error })
        };
        Series { name, points: texts.deciles.iter().enumerate().filter_map(point).collect() }
    };
    let both = Chart {
        title: "Nats per hidden token",
        across: "tokens hidden, %",
        places,
        series: vec![
            series(report.about.a.title(), |d| d.a),
            series(report.about.b.title(), |d| d.b),
        ],
        logarithmic: false,
        with_zero: true,
        bars: false,
    };
    let difference = Chart {
        title: "Second less first, pair by pair",
        series: vec![series("difference".into(), |d| d.difference)],
        bars: true,
        ..both.clone()
    };
    page.push_str(&both.draw());
    page.push_str(&difference.draw());
    page.push_str("</div>\n");
}

fn decile_name(decile: &DecilePair) -> String {
    format!("{:.0}–{:.0}", 100.0 * decile.above, 100.0 * decile.up_to)
}

fn decodes(page: &mut String, report: &Report, decoded: &Decoded) {
    let method = report.about.method.as_deref().unwrap_or_default();
    push(
        page,
        format_args!(
            "<h2>Decoding</h2>\n<p class=\"soft\">Both answer every item ({}). {:.1} forward passes per item and \
             {:.1}. {:.1} % of the items are decoded alike from beginning to end.</p>\n<div class=\"pair\">",
            escape(method),
            decoded.forwards[0].value,
            decoded.forwards[1].value,
            decoded.same_path.value
        ),
    );
    page.push_str(&divergence(decoded).draw());
    page.push_str(&scores(report, decoded));
    page.push_str("</div>\n");
}

/// Where decodes part, as a histogram.
fn divergence(decoded: &Decoded) -> Chart<'static> {
    let mut counts = [0u32; SHARES + 1];
    for share in &decoded.until_divergence {
        let at = if *share >= 1.0 { SHARES } else { (share * SHARES as f64) as usize };
        if let Some(count) = counts.get_mut(at) {
            *count += 1;
        }
    }
    let name = |at: usize| match at {
        SHARES => "never".to_owned(),
        at => format!("{} %", at * 100 / SHARES),
    };
    let point = |(at, count): (usize, &u32)| Point { at, value: f64::from(*count), error: 0.0 };
    Chart {
        title: "Where decodes part, items",
        across: "share of tokens placed alike until then",
        places: (0..=SHARES).map(name).collect(),
        series: vec![Series {
            name: "items".into(),
            points: counts.iter().enumerate().map(point).collect(),
        }],
        logarithmic: false,
        with_zero: true,
        bars: true,
    }
}

/// The first score of every group, or all scores where there are no groups.
fn scores(report: &Report, decoded: &Decoded) -> String {
    let rows = score_rows(decoded);
    let rows: Vec<&(String, PairedScore)> = match decoded.groups.is_empty() {
        true => rows.iter().collect(),
        false => rows.iter().skip(decoded.scores.len()).collect(),
    };
    let series = |name: String, of: fn(&PairedScore) -> Estimate| {
        let point = |(at, row): (usize, &&(String, PairedScore))| {
            let Estimate { value, error } = of(&row.1);
            Point { at, value, error }
        };
        Series { name, points: rows.iter().enumerate().map(point).collect() }
    };
    let names: Vec<String> = rows.iter().map(|row| row.0.clone()).collect();
    let (a, b) = (report.about.a.title(), report.about.b.title());
    dots::draw("Scores in %", &names, &[series(a, |score| score.a), series(b, |score| score.b)])
}

fn score_rows(decoded: &Decoded) -> Vec<(String, PairedScore)> {
    let all = decoded.scores.iter().map(|score| (eval::title(score.name).to_owned(), *score));
    let groups = decoded.groups.iter();
    let groups = groups.filter_map(|(name, scores)| Some(((*name).to_owned(), *scores.first()?)));
    all.chain(groups).collect()
}

fn tables(page: &mut String, report: &Report) {
    if let Some(decoded) = &report.decoded {
        page.push_str(
            "<h2>Scores</h2>\n<div class=\"wide\"><table>\n<tr><th>score<th>items<th>first %<th>second %\
             <th>points\n",
        );
        for (name, score) in score_rows(decoded) {
            let [a, b] = [score.a, score.b]
                .map(|e| format!("{:.1} <small>± {:.1}</small>", e.value, e.error));
            let Estimate { value, error } = score.difference;
            push(
                page,
                format_args!(
                    "<tr><td>{}<td>{}<td>{a}<td>{b}<td>{value:+.2} <small>± {error:.2}</small>",
                    escape(&name),
                    score.items
                ),
            );
        }
        page.push_str("</table></div>\n");
    }
    page.push_str(
        "<h2>All distances</h2>\n<div class=\"wide\"><table>\n<tr><th>hidden<th>tokens<th>KL mean<th>median\
         <th>99 %<th>largest<th>same first %<th>Δp, points<th>rms\n",
    );
    let ratios =
        report.texts.ratios.iter().map(|at| (format!("{:.0} %", 100.0 * at.ratio), &at.distances));
    for (name, d) in ratios.chain([("all".to_owned(), &report.texts.distances)]) {
        let Distances { tokens, kl, kl_median, kl_p99, kl_max, same_top, delta_p, delta_p_rms } = d;
        push(
            page,
            format_args!(
                "<tr><td>{name}<td>{tokens}<td>{} <small>± {}</small><td>{}<td>{}<td>{}<td>{:.1} \
                 <small>± {:.1}</small><td>{:+.2} <small>± {:.2}</small><td>{delta_p_rms:.2}",
                number(kl.value),
                number(kl.error),
                number(*kl_median),
                number(*kl_p99),
                number(*kl_max),
                same_top.value,
                same_top.error,
                delta_p.value,
                delta_p.error
            ),
        );
    }
    page.push_str("</table></div>\n<div class=\"wide\"><table>\n<tr><th>hidden<th>tokens<th>first, nats<th>second\
                   <th>difference\n");
    for decile in &report.texts.deciles {
        let cell = |e: Option<Estimate>| e.map_or("–".into(), |e| number(e.value));
        push(
            page,
            format_args!(
                "<tr><td>{} %<td>{}<td>{}<td>{}<td>{}",
                decile_name(decile),
                decile.tokens,
                cell(decile.a),
                cell(decile.b),
                decile.difference.map_or("–".into(), signed)
            ),
        );
    }
    page.push_str("</table></div>\n");
}

fn models(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Models</h2>\n<div class=\"wide\"><table>\n<tr><th>model<th class=\"text\">family\
         <th class=\"text\">SHA-256 of shape, vocabulary and weights\n",
    );
    for model in [&report.about.a, &report.about.b] {
        push(
            page,
            format_args!(
                "<tr><td>{}<td class=\"text\">{}<td class=\"text\"><code>{}</code>",
                escape(&model.title()),
                escape(model.family),
                model.digest
            ),
        );
    }
    push(
        page,
        format_args!(
            "</table></div>\n<p class=\"soft\">demask {}. What each number is: docs/evaluation.md.</p>",
            env!("CARGO_PKG_VERSION")
        ),
    );
}
