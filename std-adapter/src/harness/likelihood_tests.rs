//! Against a model whose likelihoods can all be written down: a table of the probability of every text.

use super::*;
use crate::harness::masks::{every, stratified};

const MASK: u32 = 3;

/// Probabilities of all texts of `length` tokens out of three, and what they imply for masked tokens.
pub(in crate::harness) struct Table {
    texts: Vec<(Vec<u32>, f64)>,
}

impl Table {
    pub(in crate::harness) fn new(length: usize) -> Self {
        let count = 3u32.pow(length as u32);
        let text = |code: u32| (0..length as u32).map(|at| code / 3u32.pow(at) % 3).collect();
        // Anything uneven.
        let weight = |code: u32| {
            1.0 + f64::from(code * 7919 % 31) + 40.0 * f64::from(u8::from(code.is_multiple_of(5)))
        };
        let total: f64 = (0..count).map(weight).sum();
        Self { texts: (0..count).map(|code| (text(code), weight(code) / total)).collect() }
    }

    pub(in crate::harness) fn text(&self, at: usize) -> Vec<u32> {
        self.texts[at].0.clone()
    }

    /// Probability of a token at a masked place given everything that is not masked.
    fn conditional(&self, canvas: &[u32], place: usize, token: u32) -> f64 {
        let fits = |text: &[u32]| canvas.iter().zip(text).all(|(c, t)| *c == MASK || c == t);
        let of = |token: Option<u32>| -> f64 {
            let texts = self.texts.iter().filter(|(text, _)| fits(text));
            texts.filter(|(text, _)| token.is_none_or(|t| text[place] == t)).map(|(_, p)| p).sum()
        };
        of(Some(token)) / of(None)
    }

    /// Logits of one place as a network would give them: shifted by a constant, the mask the largest.
    pub(in crate::harness) fn logits(&self, canvas: &[u32], place: usize) -> Vec<f32> {
        let mut row: Vec<f32> =
            (0..3).map(|token| self.conditional(canvas, place, token).ln() as f32 + 2.5).collect();
        row.push(9.0);
        row
    }

    /// The bound by its definition as an any-order autoregressive model: the mean over all orders of the sum
    /// of the nats of each token given those before it in the order.
    fn by_orders(&self, text: &[u32]) -> f64 {
        fn go(table: &Table, text: &[u32], canvas: &mut Vec<u32>) -> f64 {
            let left: Vec<usize> = (0..text.len()).filter(|at| canvas[*at] == MASK).collect();
            let mut sum = 0.0;
            for &place in &left {
                sum -= table.conditional(canvas, place, text[place]).ln();
                canvas[place] = text[place];
                sum += go(table, text, canvas);
                canvas[place] = MASK;
            }
            if left.is_empty() { 0.0 } else { sum / left.len() as f64 }
        }
        go(self, text, &mut vec![MASK; text.len()])
    }
}

fn measured(table: &Table, text: &[u32], count: usize, key: Key) -> PieceNats {
    let piece = Piece { canvas: text.to_vec(), hidden: (0..text.len()).collect() };
    let found = bound(&piece, count, key, MASK, |canvas, places| {
        let log = |place: &usize| {
            log_probabilities(&table.logits(canvas, *place), MASK)[text[*place] as usize]
        };
        Ok::<_, ()>(places.iter().map(log).collect())
    });
    found.unwrap()
}

#[test]
fn all_masks_give_the_exact_bound() {
    for length in 1..=5 {
        let table = Table::new(length);
        for at in [0, 1, 3usize.pow(length as u32) - 1] {
            let text = table.text(at);
            let found = measured(&table, &text, 1 << length, Key { seed: 0, piece: 0 });
            let expected = table.by_orders(&text);
            assert!((found.nats - expected).abs() < 1e-5, "{found:?} {expected}");
            assert_eq!((found.error, found.tokens), (0.0, length as f64));
            // A bound on what the table says outright.
            assert!(found.nats >= -table.texts[at].1.ln() - 1e-5);
        }
    }
}

#[test]
fn drawn_masks_give_it_within_the_error() {
    let table = Table::new(6);
    let text = table.text(77);
    let expected = table.by_orders(&text);
    let (mut sum, mut misses) = (0.0, 0);
    for piece in 0..60 {
        let found = measured(&table, &text, 24, Key { seed: 9, piece });
        assert!(found.error > 0.0);
        misses += u32::from((found.nats - expected).abs() > 2.0 * found.error);
        sum += found.nats / 60.0;
    }
    // One in twenty, if errors are right; fewer, since draws are spread.
    assert!(misses <= 6, "{misses}");
    assert!((sum - expected).abs() < 0.03 * expected, "{sum} {expected}");
}

#[test]
fn spread_counts_vary_less_than_chance() {
    let table = Table::new(6);
    let text = table.text(500);
    let spread = |seeds: std::ops::Range<u64>| {
        let list: Vec<f64> =
            seeds.map(|seed| measured(&table, &text, 6, Key { seed, piece: 0 }).nats).collect();
        mean(&list).error
    };
    let single = |seeds: std::ops::Range<u64>| {
        let one = |seed| measured(&table, &text, 1, Key { seed, piece: 0 }).nats;
        let list: Vec<f64> =
            seeds.step_by(6).map(|s| (s..s + 6).map(one).sum::<f64>() / 6.0).collect();
        mean(&list).error
    };
    assert!(spread(0..60) < single(0..360));
}

#[test]
fn deciles_are_those_of_the_ratio() {
    assert_eq!((decile(1, 10), decile(1, 100), decile(11, 100), decile(10, 10)), (0, 0, 1, 9));
    assert_eq!((decile(1, 1), decile(3, 10), decile(0, 0)), (9, 2, 0));
    for draw in every(6).iter().chain(&stratified(60, 40, Key { seed: 0, piece: 0 })) {
        let length = if draw.hidden.len() > 6 { 60 } else { 6 };
        let (above, up_to) = decile_range(decile(draw.hidden.len(), length));
        let ratio = draw.hidden.len() as f64 / length as f64;
        assert!(ratio > above - 1e-12 && ratio <= up_to + 1e-12);
    }
}

#[test]
fn masks_have_no_probability() {
    let row = log_probabilities(&[1.0, 1.0, 50.0], 2);
    assert!((row[0] - 0.5f64.ln()).abs() < 1e-12 && row[2] == f64::NEG_INFINITY);
    // Large and small logits.
    let row = log_probabilities(&[1e30, -1e30, 0.0], 9);
    assert_eq!(row[0], 0.0);
}

#[test]
fn a_bound_counts_each_unit() {
    let piece = |nats, tokens, chars, bytes| PieceNats {
        nats,
        tokens,
        chars,
        bytes,
        ..PieceNats::default()
    };
    let found = Bound::of(&[piece(6.0, 2.0, 3.0, 4.0), piece(2.0, 2.0, 5.0, 6.0)]);
    assert_eq!(
        (found.per_token.value, found.per_character.value, found.per_byte.value),
        (2.0, 1.0, 0.8)
    );
    assert!(found.per_token.error > 0.0);
    assert_eq!((found.tokens, found.pieces, found.deciles[0].nats), (4.0, 2, None));
    let one = PieceNats { error: 1.0, ..piece(6.0, 2.0, 0.0, 4.0) };
    let found = Bound::of(&[one]);
    assert_eq!((found.per_token.error, found.per_character.value), (0.5, 0.0));
}
