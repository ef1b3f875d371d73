use super::*;

const PLAIN: Experts = Experts::plain(6, 2, 16);

fn route(settings: Experts, scores: [f32; 6], bias: Option<[f32; 6]>) -> Vec<(usize, f32)> {
    let none = || Matrix::read((0, 1), |_, _| Ok::<_, ()>(())).unwrap();
    let choice_bias = bias.map(|bias| bias.to_vec());
    let (router, gates, ups, downs) = (none(), none(), none(), none());
    let mixture = Mixture { settings, router, choice_bias, gates, ups, downs };
    mixture.route(&mut scores.map(|score| score))
}

fn assert_close(found: &[(usize, f32)], expected: &[(usize, f32)]) {
    let experts = |routed: &[(usize, f32)]| routed.iter().map(|(e, _)| *e).collect::<Vec<_>>();
    assert_eq!(experts(found), experts(expected));
    for ((_, a), (_, b)) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6, "{found:?} {expected:?}");
    }
}

#[test]
fn softmax_weights_are_over_all_experts_unless_normalized() {
    // Logarithms of 1, 2, 3, 4, 5, 5: twentieths.
    let scores = [1f32, 2.0, 3.0, 4.0, 5.0, 5.0].map(f32::ln);
    assert_close(&route(PLAIN, scores, None), &[(4, 0.25), (5, 0.25)]);
    let normalize = Experts { normalize: true, per_token: 3, scale: 7.0, ..PLAIN };
    assert_close(&route(normalize, scores, None), &[(4, 2.5), (5, 2.5), (3, 2.0)]);
}

#[test]
fn the_choice_bias_chooses_and_does_not_weigh() {
    let settings = Experts { sigmoid: true, choice_bias: true, normalize: true, ..PLAIN };
    // Sigmoids 0.5, 0.75, 0.8, 0.2, 0.25, 0.5.
    let scores = [1f32, 3.0, 4.0, 0.25, 1.0 / 3.0, 1.0].map(f32::ln);
    let bias = [0.0, 0.0, 0.0, 0.7, 0.0, 0.0];
    assert_close(&route(settings, scores, Some(bias)), &[(3, 0.2), (2, 0.8)]);
}

#[test]
fn a_group_is_worth_its_best_two() {
    // Groups (0.5, 0.75), (0.8, 0.2), (0.25, 0.5): the first has the larger sum.
    let settings = Experts { sigmoid: true, groups: 3, groups_per_token: 1, scale: 2.0, ..PLAIN };
    let scores = [1f32, 3.0, 4.0, 0.25, 1.0 / 3.0, 1.0].map(f32::ln);
    assert_close(&route(settings, scores, None), &[(1, 1.5), (0, 1.0)]);
    let two = Experts { groups_per_token: 2, ..settings };
    assert_close(&route(two, scores, None), &[(2, 1.6), (1, 1.5)]);
}

#[test]
fn gelu_is_the_tanh_form() {
    // Values of the closed form in double precision.
    let expected = [-0.158_808_01, 0.0, 0.345_714, 2.996_362_7];
    let found = gelu(vec![-1.0, 0.0, 0.5, 3.0]);
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}
