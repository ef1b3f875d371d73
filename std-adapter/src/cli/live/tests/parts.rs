//! Colours, confidence and the choice of style.

use super::{LIVE, PLAIN};
use crate::cli::live::frame::{FRESH, SETTLED, shade};
use crate::cli::live::{ColorChoice, Style, status};
use demask::decode::{Commit, Score};

#[test]
fn colours_follow_confidence() {
    for scale in [&FRESH[..], &SETTLED] {
        let shades: Vec<u8> = (0..=100).map(|c| shade(scale, c as f32 / 100.0)).collect();
        let places: Vec<_> =
            shades.iter().map(|shade| scale.iter().position(|s| s == shade).unwrap()).collect();
        assert!(places.is_sorted());
        assert_eq!((places[0], places[100]), (0, scale.len() - 1));
        // From red to green: red never rises, green never falls, in units of the colour cube.
        let hues: Vec<i32> = scale.iter().map(|s| hue(*s)).collect();
        assert!(hues.is_sorted_by(|a, b| a < b), "{hues:?}");
        for odd in [f32::NAN, -1.0, f32::NEG_INFINITY] {
            assert_eq!(shade(scale, odd), scale[0]);
        }
        assert_eq!(shade(scale, 7.0), scale[scale.len() - 1]);
    }
}

/// Green over red in a colour without blue, in thousandths.
fn hue(color: u8) -> i32 {
    let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * i32::from(step) };
    let cube = color - 16;
    assert_eq!(cube % 6, 0, "blue");
    let (red, green) = (level(cube / 36), level(cube / 6 % 6));
    if green <= red { 1000 * green / red } else { 2000 - 1000 * red / green }
}

#[test]
fn confidence_is_the_probability_of_the_token() {
    let commit = Commit { position: 4, token: 7, confidence: -3.0 };
    let score = |position, proposal| Score { position, proposal, ..Score::default() };
    let scores = [score(2, 7), score(4, 7)];
    assert_eq!(status::confidence(&commit, &scores), scores[1].confidence());
    assert_eq!(status::confidence(&commit, &[score(4, 9)]), 0.0, "another token");
    assert_eq!(status::confidence(&commit, &[]), 0.0);
}

#[test]
fn styles() {
    let choose = |plain, json, color, terminal, variables: &[(&str, &str)]| {
        let variable = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        Style::from_environment(plain, json, color, terminal, variable)
    };
    use ColorChoice::{Always, Auto, Never};
    let base = [("TERM", "xterm"), ("LANG", "en_US.UTF-8")];
    assert_eq!(choose(false, false, Auto, true, &base), LIVE);
    assert_eq!(choose(true, false, Always, true, &base), PLAIN);
    assert_eq!(choose(false, false, Always, false, &base), PLAIN);
    assert_eq!(choose(false, true, Always, true, &base), Style::Silent);
    assert_eq!(choose(true, true, Auto, false, &base), Style::Silent);
    let mono = Style::Live { color: false, unicode: true };
    let no_color = [base[0], base[1], ("NO_COLOR", "0")];
    assert_eq!(choose(false, false, Auto, true, &no_color), mono);
    assert_eq!(choose(false, false, Always, true, &no_color), LIVE);
    assert_eq!(choose(false, false, Never, true, &base), mono);
    assert_eq!(choose(false, false, Auto, true, &[base[0], base[1], ("NO_COLOR", "")]), LIVE);
    assert_eq!(choose(false, false, Auto, true, &[("TERM", "dumb"), base[1]]), PLAIN);
    let c_locale = [base[0], base[1], ("LC_ALL", "C")];
    let ascii = Style::Live { color: true, unicode: false };
    assert_eq!(choose(false, false, Auto, true, &c_locale), ascii);
    assert_eq!(choose(false, false, Auto, false, &c_locale), PLAIN);
    assert_eq!(choose(true, false, Auto, true, &c_locale), Style::Plain { unicode: false });
}
