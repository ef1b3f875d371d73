use super::super::likelihood::tests::Table;
use super::*;

const MASK: u32 = 3;

/// Compares a table with itself, changed by `change`, which sees canvas and place.
fn compared(change: impl Fn(&[u32], usize, &mut Vec<f32>)) -> Comparison {
    compared_on(12, change)
}

/// The same on this many texts.
fn compared_on(count: usize, change: impl Fn(&[u32], usize, &mut Vec<f32>)) -> Comparison {
    let table = Table::new(6);
    let pieces: Vec<PiecePair> = (0..count)
        .map(|number| {
            let text = table.text(17 + 53 * number);
            let piece = Piece { canvas: text.clone(), hidden: (0..6).collect() };
            let key = Key { seed: 1, piece: number as u64 };
            let pair = PiecePair::measure(&piece, 20, key, MASK, |canvas, places| {
                let distance = |place: &usize| {
                    let a = table.logits(canvas, *place);
                    let mut b = a.clone();
                    change(canvas, *place, &mut b);
                    Distance::of(&a, &b, MASK, text[*place])
                };
                assert!(places.iter().all(|place| canvas[*place] == MASK));
                assert_eq!(places.len(), canvas.iter().filter(|token| **token == MASK).count());
                Ok::<_, ()>(places.iter().map(distance).collect())
            });
            pair.unwrap()
        })
        .collect();
    Comparison::of(&pieces)
}

#[test]
fn a_model_is_itself() {
    let same = compared(|_, _, _| ());
    assert_eq!((same.distances.kl, same.distances.kl_max), (Estimate::default(), 0.0));
    assert_eq!((same.distances.same_top.value, same.distances.delta_p_rms), (100.0, 0.0));
    assert_eq!((same.difference, same.worst_decile()), (Estimate::default(), None));
    assert_eq!(same.a, same.b);
    // Logits may differ by a constant, and in the mask.
    let shifted = compared(|_, _, row| {
        row.iter_mut().for_each(|logit| *logit += 4.0);
        row[3] = -7.0;
    });
    assert!(shifted.distances.kl_max < 1e-12, "{}", shifted.distances.kl_max);
}

#[test]
fn an_error_is_found_where_it_is() {
    let nearly_empty = |canvas: &[u32]| canvas.iter().filter(|t| **t == MASK).count() == 6;
    let found = compared(|canvas, _, row| {
        if nearly_empty(canvas) {
            row[0] += 3.0;
        }
    });
    let worst = found.worst_decile().unwrap();
    assert_eq!((worst.above, worst.up_to), (0.9, 1.0));
    for decile in &found.deciles[..9] {
        assert_eq!(decile.difference.unwrap_or_default(), Estimate::default(), "{decile:?}");
    }
    assert!(found.difference.value > 0.0 && found.distances.kl.value > 0.0);
    for at in &found.ratios {
        // 0.9 of six tokens are five.
        assert_eq!(at.distances.kl_max > 0.0, at.ratio == 1.0, "{at:?}");
    }
}

/// The errors of one text are over its draws, those of the difference too.
#[test]
fn one_text_has_errors() {
    let found = compared_on(1, |canvas, _, row| {
        row[0] += canvas.iter().filter(|token| **token == MASK).count() as f32;
    });
    assert!(found.difference.value != 0.0 && found.difference.error > 0.0, "{found:?}");
    assert!(
        (found.b.per_token.value - found.a.per_token.value - found.difference.value).abs() < 1e-9
    );
    assert_eq!(found.worst_decile(), None);
}

#[test]
fn distances_by_hand() {
    let (a, b) = ([0.6f32, 0.3, 0.1].map(f32::ln), [0.2f32, 0.5, 0.3].map(f32::ln));
    let found = Distance::of(&a, &b, 9, 1);
    let expected = 0.6 * 3f64.ln() + 0.3 * 0.6f64.ln() + 0.1 * (1.0f64 / 3.0).ln();
    assert!((found.kl - expected).abs() < 1e-6, "{found:?}");
    assert!(!found.same_top && (found.delta_p - 0.2).abs() < 1e-6);
    assert!((found.logs.0 - 0.3f64.ln()).abs() < 1e-6);
    // A token that only b rules out is infinitely far.
    let found = Distance::of(&[0.0, 0.0], &[0.0, f32::NEG_INFINITY], 9, 0);
    assert_eq!(found.kl, f64::INFINITY);
    // What is as good as impossible for a counts nothing; a row of no numbers is not close to any.
    let found = Distance::of(&[0.0, -2000.0], &[0.0, f32::NEG_INFINITY], 9, 0);
    assert_eq!(found.kl, 0.0);
    assert!(Distance::of(&[0.0, 0.0], &[0.0, f32::NAN], 9, 0).kl.is_nan());
    let found = Distance::of(&[0.0, f32::NEG_INFINITY], &[0.0, 0.0], 9, 0);
    assert!((found.kl - 2f64.ln()).abs() < 1e-12);
}
