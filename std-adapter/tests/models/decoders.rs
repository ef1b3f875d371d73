//! What decoders ask of a model, from the float reference and from the engine with 8-bit weights: two
//! implementations that share nothing but the rules for one row of logits.

use demask::Pass;
use demask::Visible;
use demask::decode::{LogitBias, Needs, Sampling, Score};
use demask::image::{Architecture, Attention};
use demask::packed::Format;
use demask_std::load::LoadedModel;
use demask_std::runtime::{Held, Memory, Runtime, Settings};
use std::path::Path;

const POSITIONS: usize = 14;

/// Two passes, the second with what `visible` hides; its scores.
fn scores(
    model: &LoadedModel,
    held: Held,
    (visible, bias): (Visible<'_>, &[LogitBias]),
) -> Vec<Score> {
    let runtime = Runtime::held(model, held, Box::new(|_, _| ())).unwrap();
    let mut memory = Memory::default();
    let settings = Settings {
        canvas: POSITIONS + 4,
        threads: 1,
        kernels: Default::default(),
        needs: Needs::DIVERGENCE,
    };
    let mut network = runtime.network(&settings, &mut memory).unwrap();
    let shadows = visible.shadowed.1 - visible.shadowed.0;
    let vocabulary = network.vocabulary();
    let mut canvas: Vec<u32> =
        (0..POSITIONS as u32).map(|i| (3 + 5 * i) % vocabulary.size).collect();
    canvas.extend((0..shadows).map(|_| vocabulary.mask_id));
    let wanted: Vec<u16> = (1..canvas.len() as u16).collect();
    let mut scores = vec![Score::default(); wanted.len()];
    network.begin();
    let pass = Pass { visible, bias, ..Pass::whole(&canvas, &wanted) };
    network.score(&pass, &Sampling::GREEDY, &mut scores).unwrap();
    assert!(scores.iter().all(|score| score.divergence == f32::INFINITY));
    let mut other = canvas.clone();
    other[3] = (other[3] + 1) % vocabulary.size;
    let pass = Pass { canvas: &other, ..pass };
    network.score(&pass, &Sampling::GREEDY, &mut scores).unwrap();
    scores
}

/// Mean distance of everything that a score says in numbers.
fn distance(a: &[Score], b: &[Score]) -> f32 {
    assert_eq!(a.len(), b.len());
    let numbers = |s: &Score| {
        [s.top_logit, s.runner_up_logit, s.log_sum_exp, s.entropy, s.current_logit, s.divergence]
    };
    let pairs = a.iter().zip(b).flat_map(|(a, b)| numbers(a).into_iter().zip(numbers(b)));
    let distances: Vec<f32> = pairs.map(|(a, b)| (a - b).abs()).collect();
    distances.iter().sum::<f32>() / distances.len() as f32
}

#[test]
fn the_float_reference_and_the_engine_see_the_same() {
    for family in [Architecture::Llada, Architecture::Dream, Architecture::Sdar] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let model = LoadedModel::open(&folder.join(family.name()), true).unwrap();
        let shifted = model.config().features.shifted_logits;
        let bidirectional = model.config().features.attention == Attention::Bidirectional;
        let nats = |position| LogitBias { position, id: position, nats: 3.0 };
        let bias: Vec<LogitBias> = (2..6).map(nats).collect();
        let shadowed = if shifted { (0, 0) } else { (4, 8) };
        let all = [
            Visible::ALL,
            Visible { prefix: 5, ..Visible::ALL },
            Visible { end: 9, ..Visible::ALL },
            Visible { hidden: &[0, 2, 7], ..Visible::ALL },
            Visible { shadowed, ..Visible::ALL },
            Visible { prefix: 4, end: 11, hidden: &[1, 6], shadowed },
        ];
        let mut before: Option<Vec<Score>> = None;
        for visible in all {
            let float = scores(&model, Held::AsStored, (visible, &bias));
            let packed = scores(&model, Held::Rounded(Format::Q8), (visible, &bias));
            let apart = distance(&float, &packed);
            println!("{} {visible:?}: {apart}", family.name());
            assert!(apart < 0.1, "{} {visible:?}: {apart}", family.name());
            // Another view is another result, by more than the weights are rounded.
            if let Some(before) =
                before.filter(|before| before.len() == float.len() && bidirectional)
            {
                let moved = distance(&float, &before);
                assert!(moved > 2.0 * apart, "{} {visible:?}: {moved}, {apart}", family.name());
            }
            before = Some(float);
        }
    }
}
