//! What decoders ask of the engine beyond the scores of masks: hidden slots, shadows, biases, filters,
//! divergences. All of it has the bits of the numerics contract, whatever it runs on.

#![cfg(feature = "decoders")]

use crate::common::{Aligned, Random, SMALLEST, image, image_with, random_config, sections};
use crate::naive::Hidden;
use demask::cache::NoCache;
use demask::decode::{
    CommitPolicy, Edit, Even, FillAll, Filter, LogitBias, LogitRow, Needs, Sampling, Score,
    StepView,
};
use demask::image::{Attention, Features, ModelConfig, ModelImage};
use demask::packed::{Format, Layout};
use demask::{
    Engine, Limits, Method, Model, Options, Pass, Plan, Scalar, Serial, Session, SessionError,
    SessionMemory, Visible,
};
use demask_quant::Quantization;

const EVERYTHING: Needs = Needs::DIVERGENCE.and(Needs::FILTER);

/// An engine planned for `needs`, on memory full of NaNs.
fn with_engine<R>(
    image: &ModelImage<'_>,
    (canvas, tile, needs): (usize, usize, Needs),
    work: impl FnOnce(&mut Engine<'_, Scalar, Serial>) -> R,
) -> R {
    let limits = Limits { canvas, tile, layout: Layout::Rows16, workers: 1, needs };
    let plan = Plan::new(image.config(), &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    memory.fill(0xff);
    let (memory, _) = plan.carve(&mut memory).unwrap();
    work(&mut Engine::new(image, memory, Scalar, Serial).unwrap())
}

/// Every bit of the scores.
fn bits(scores: &[Score]) -> Vec<[u32; 10]> {
    scores.iter().map(|score| bytemuck::cast(*score)).collect()
}

fn scores_of(engine: &mut impl Model, pass: &Pass<'_>, sampling: &Sampling) -> Vec<Score> {
    let mut scores = vec![Score::default(); pass.wanted.len()];
    engine.score(pass, sampling, &mut scores).unwrap();
    scores
}

/// One random model with a random canvas.
struct Case {
    bytes: Aligned,
    canvas: Vec<u32>,
    hidden: Hidden,
    bias: Vec<LogitBias>,
    sampling: Sampling,
    wanted: Vec<u16>,
    tile: usize,
}

fn random_case(random: &mut Random, number: u64) -> Case {
    let attention = match random.below(3) {
        0 => Attention::CAUSAL,
        1 => Attention::BlockCausal(2 + random.below(4) as u32),
        _ => Attention::Bidirectional,
    };
    let config = random_config(random, attention);
    let bytes = image_with(&sections(config), Quantization::uniform(Format::Q8), number);
    let real = 2 + random.below(10);
    let vocab = config.vocab_size as usize;
    let mut canvas: Vec<u32> = (0..real).map(|_| random.below(vocab) as u32).collect();
    let mut hidden = Hidden::default();
    if random.below(2) == 0 {
        hidden.prefix = random.below(real + 1);
    }
    if random.below(2) == 0 {
        hidden.end = Some(random.below(real + 2));
    }
    if random.below(2) == 0 {
        let chance = 1 + random.below(4);
        hidden.slots = (0..real as u16).filter(|_| random.below(4) < chance).collect();
    }
    if random.below(2) == 0 && !config.features.shifted_logits && config.mask_id < config.vocab_size
    {
        let start = random.below(real);
        hidden.shadowed = start..start + 1 + random.below(real - start);
        canvas.extend(hidden.shadowed.clone().map(|_| config.mask_id));
    }
    let mut bias = Vec::new();
    for position in 0..canvas.len() as u32 {
        for _ in 0..random.below(4) {
            let nats = random.below(2000) as f32 / 100.0 - 10.0;
            bias.push(LogitBias { position, id: random.below(vocab) as u32, nats });
        }
    }
    let filter = Filter {
        tempered: random.below(2) == 0,
        top_k: [0, 0, 1, 3, 50][random.below(5)],
        top_p: [1.0, 1.0, 0.9, 0.3, 0.0][random.below(5)],
    };
    let sampling = Sampling {
        temperature: [0.0, 0.3, 1.7][random.below(3)],
        seed: random.next(),
        step: random.below(9) as u32,
        filter,
        forbidden: (random.below(3) == 0).then(|| random.below(vocab) as u32),
    };
    let wanted = (0..canvas.len() as u16).filter(|_| random.below(3) > 0).collect();
    Case { bytes, canvas, hidden, bias, sampling, wanted, tile: 1 + random.below(6) }
}

fn visible(hidden: &Hidden) -> Visible<'_> {
    Visible {
        prefix: hidden.prefix,
        end: hidden.end.unwrap_or(usize::MAX),
        hidden: &hidden.slots,
        shadowed: (hidden.shadowed.start, hidden.shadowed.end),
    }
}

impl Case {
    fn pass(&self) -> Pass<'_> {
        Pass {
            visible: visible(&self.hidden),
            bias: &self.bias,
            ..Pass::whole(&self.canvas, &self.wanted)
        }
    }

    /// What the contract says of these logits of all slots, and of those of the pass before.
    fn scores(
        &self,
        config: &ModelConfig,
        logits: &[Vec<f32>],
        previous: Option<&[Vec<f32>]>,
    ) -> Vec<Score> {
        let back = usize::from(config.features.shifted_logits);
        let row = |slot: &u16| usize::from(*slot).saturating_sub(back);
        let score = |slot: &u16| {
            let (position, _) = self.hidden.place(usize::from(*slot), self.canvas.len());
            let score = LogitRow {
                current: self.canvas[position],
                bias: &self.bias,
                previous: previous.map(|previous| previous[row(slot)].as_slice()),
                ..LogitRow::new((*slot).into(), &logits[row(slot)], config.mask_id)
            };
            score.score(&self.sampling).unwrap()
        };
        self.wanted.iter().map(score).collect()
    }
}

/// Everything at once, in any combination, of any family.
#[test]
fn passes_are_those_of_the_contract() {
    let mut random = Random(11);
    for number in 0..if cfg!(miri) { 3 } else { 150 } {
        let case = random_case(&mut random, number);
        let image = ModelImage::parse(&case.bytes).unwrap();
        let config = *image.config();
        let naive = crate::naive::logits_hiding(&image, &case.canvas, &case.hidden);
        let expected = case.scores(&config, &naive, None);
        let room = case.canvas.len() + random.below(3);
        let got = with_engine(&image, (room, case.tile, Needs::FILTER), |engine| {
            scores_of(engine, &case.pass(), &case.sampling)
        });
        let Case { hidden, sampling, .. } = &case;
        assert!(bits(&got) == bits(&expected), "{number}: {hidden:?} {sampling:?} {config:?}");
        // The same with divergences: none at first, from the pass before thereafter, and again none
        // when a new canvas begins.
        let mut other = case.canvas.clone();
        other[0] = (other[0] + 1) % config.vocab_size;
        let before = crate::naive::logits_hiding(&image, &other, &case.hidden);
        with_engine(&image, (room, case.tile, EVERYTHING), |engine| {
            let endless = |scores: &[Score]| {
                let none = |score: &Score| Score { divergence: f32::INFINITY, ..*score };
                scores.iter().map(none).collect::<Vec<_>>()
            };
            for _ in 0..2 {
                let first = scores_of(engine, &Pass { canvas: &other, ..case.pass() }, sampling);
                assert!(first.iter().all(|score| score.divergence == f32::INFINITY));
                let got = scores_of(engine, &case.pass(), sampling);
                let expected = case.scores(&config, &naive, Some(&before));
                assert!(bits(&got) == bits(&expected), "{number}: {hidden:?} {config:?}");
                engine.begin();
            }
            let got = scores_of(engine, &case.pass(), sampling);
            assert!(bits(&got) == bits(&endless(&expected)), "{number}: a new canvas");
        });
    }
}

/// Slots that no row sees might as well not be there.
#[test]
fn what_is_cut_off_does_not_exist() {
    let mut random = Random(12);
    for number in 0..if cfg!(miri) { 2 } else { 40 } {
        let config = random_config(&mut random, Attention::Bidirectional);
        let bytes = image_with(&sections(config), Quantization::uniform(Format::Q4), number);
        let image = ModelImage::parse(&bytes).unwrap();
        let canvas: Vec<u32> =
            (0..12).map(|_| random.below(config.vocab_size as usize) as u32).collect();
        let cut = 2 + random.below(9);
        let wanted: Vec<u16> = (0..cut as u16).collect();
        let sampling = Sampling { temperature: 0.5, seed: number, ..Sampling::GREEDY };
        with_engine(&image, (12, 5, Needs::NONE), |engine| {
            let expected = scores_of(engine, &Pass::whole(&canvas[..cut], &wanted), &sampling);
            let end = Visible { end: cut, ..Visible::ALL };
            let prefix = Visible { prefix: cut, ..Visible::ALL };
            for visible in [end, prefix] {
                let pass = Pass { visible, ..Pass::whole(&canvas, &wanted) };
                let got = scores_of(engine, &pass, &sampling);
                assert!(bits(&got) == bits(&expected), "{number}: {visible:?} {config:?}");
            }
        });
    }
}

/// What hidden slots hold does not matter, not even if nobody has ever computed it.
#[test]
fn hidden_slots_need_no_rows() {
    let mut random = Random(13);
    let bytes = image(ModelConfig { layers: 2, ..SMALLEST }, Format::Q8, 3);
    let image = ModelImage::parse(&bytes).unwrap();
    for _ in 0..20 {
        let canvas: Vec<u32> = (0..12).map(|_| random.below(11) as u32).collect();
        let rows: Vec<u16> = (0..12).filter(|_| random.below(2) == 0).collect();
        let slots: Vec<u16> = (0..12).filter(|slot| !rows.contains(slot)).collect();
        let visible = Visible { hidden: &slots, ..Visible::ALL };
        let pass = Pass { visible, ..Pass::whole(&canvas, &rows) };
        let whole = with_engine(&image, (12, 4, Needs::NONE), |engine| {
            scores_of(engine, &pass, &Sampling::GREEDY)
        });
        let some = with_engine(&image, (12, 4, Needs::NONE), |engine| {
            scores_of(engine, &Pass { rows: Some(&rows), ..pass }, &Sampling::GREEDY)
        });
        assert_eq!(bits(&some), bits(&whole));
    }
}

/// A shadow is what the real row would be if a mask stood there, as far as that can be seen: in the only
/// layer, with a mask there, they are the same; and real rows are as they are without shadows.
#[test]
fn shadows_of_masks_in_one_layer_are_the_real_rows() {
    let bytes = image(SMALLEST, Format::Q8, 4);
    let image = ModelImage::parse(&bytes).unwrap();
    let mask = SMALLEST.mask_id;
    let real = [5, mask, 7, mask, 9, 3];
    let canvas = [5, mask, 7, mask, 9, 3, mask];
    with_engine(&image, (9, 4, Needs::NONE), |engine| {
        let without =
            scores_of(engine, &Pass::whole(&real, &[0, 1, 2, 3, 4, 5]), &Sampling::GREEDY);
        for at in [1, 3] {
            let visible = Visible { shadowed: (at, at + 1), ..Visible::ALL };
            let wanted = [0, 1, 2, 3, 4, 5, 6];
            let pass = Pass { visible, ..Pass::whole(&canvas, &wanted) };
            let with = scores_of(engine, &pass, &Sampling::GREEDY);
            assert_eq!(bits(&with[..6]), bits(&without));
            let [shadow, twin] = [6, at].map(|slot| with[slot]);
            assert_eq!(shadow.top, twin.top);
            // The values are added up in another order.
            assert!((shadow.top_logit - twin.top_logit).abs() < 1e-4);
            assert!((shadow.entropy - twin.entropy).abs() < 1e-4);
        }
        let visible = Visible { shadowed: (4, 5), ..Visible::ALL };
        let scores = scores_of(
            engine,
            &Pass { visible, ..Pass::whole(&canvas, &[4, 6]) },
            &Sampling::GREEDY,
        );
        let of_real_token = |score: &Score| score.current_logit > f32::MIN;
        assert!(scores.iter().all(of_real_token), "the shadow of a token says how likely it is");
        assert_ne!(scores[0].current_logit, scores[1].current_logit);
    });
}

/// Rows of the last pass stay with their tokens when a canvas moves.
#[test]
fn divergences_follow_the_window() {
    let features = Features { attention: Attention::BlockCausal(4), ..Features::PLAIN };
    let bytes = image(ModelConfig { features, ..SMALLEST }, Format::Q8, 5);
    let image = ModelImage::parse(&bytes).unwrap();
    let canvas = [2, 3, 4, 5, 6, 7, 8, 9, 10, 2, 1, 1];
    with_engine(&image, (12, 4, Needs::DIVERGENCE), |engine| {
        // What will leave is hidden before it does, so that it is not missed.
        let (rows, wanted): (Vec<u16>, Vec<u16>) = ((4..12).collect(), (4..12).collect());
        let visible = Visible { hidden: &[0, 1, 2, 3], ..Visible::ALL };
        let pass = Pass { visible, ..Pass::whole(&canvas, &wanted) };
        scores_of(engine, &pass, &Sampling::GREEDY);
        assert!(engine.slide(0, 4));
        let moved = [6, 7, 8, 9, 10, 2, 1, 1, 3, 1, 1, 1];
        let pass = Pass { rows: Some(&rows), ..Pass::whole(&moved, &wanted) };
        let scores = scores_of(engine, &pass, &Sampling::GREEDY);
        let divergences: Vec<f32> = scores.iter().map(|score| score.divergence).collect();
        // Sums over other slots are added up in another order.
        assert!(divergences[..4].iter().all(|d| *d < 1e-5), "{divergences:?}");
        assert!(divergences[4..].iter().all(|d| *d == f32::INFINITY), "positions that are new");
    });
}

#[test]
fn an_engine_gives_what_was_planned() {
    let always = Needs::VISIBILITY.and(Needs::BIAS);
    for shifted_logits in [false, true] {
        let features = Features { shifted_logits, ..Features::PLAIN };
        let bytes = image(ModelConfig { features, ..SMALLEST }, Format::Q8, 6);
        let image = ModelImage::parse(&bytes).unwrap();
        let shadows = if shifted_logits { Needs::NONE } else { Needs::SHADOWS };
        for planned in [Needs::NONE, Needs::FILTER, Needs::DIVERGENCE, EVERYTHING] {
            let asked = planned.and(Needs::REVISIONS);
            let given = with_engine(&image, (8, 4, asked), |engine| engine.gives());
            assert_eq!(given, always.and(shadows).and(planned));
        }
    }
}

/// Looks at what a session brings it from the engine, and commits one token per pass.
struct Inspector {
    filtered: bool,
    shadows_seen: usize,
}

impl CommitPolicy for Inspector {
    fn needs(&self) -> Needs {
        Needs::SHADOWS.and(Needs::BLOCK_ROWS)
    }

    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        assert_eq!(view.shadows.len(), view.block.len(), "one for each position");
        for (position, shadow) in view.block.clone().zip(view.shadows) {
            let real = view.score(position as u32).expect("rows of the whole block");
            let decided = !view.is_mask(position as u32);
            for score in [real, shadow] {
                // A filter may leave out what stands there.
                let known = score.current_logit > f32::MIN;
                assert!(known == decided || self.filtered && decided);
            }
            self.shadows_seen += usize::from(decided);
        }
        edit.offer(view.proposed(view.candidates().next().unwrap()), 1);
    }
}

#[test]
fn a_session_brings_shadows_and_refuses_what_is_not_planned() {
    let bytes = image(SMALLEST, Format::Q8, 8);
    let image = ModelImage::parse(&bytes).unwrap();
    let mut memory = Aligned::zeroed(SessionMemory::bytes(16).unwrap());
    let mut begin = |needs, options: Options| {
        with_engine(&image, (16, 4, needs), |engine| {
            let memory = SessionMemory::carve(&mut memory, 16).unwrap();
            let filtered = options.filter != Filter::NONE;
            let mut inspector = Inspector { filtered, shadows_seen: 0 };
            let method =
                Method { policy: &mut inspector, schedule: Even, eos: FillAll, cache: NoCache };
            let mut session = Session::new(engine, memory, method);
            session.begin(&[5, 7, 9], 6, options)?;
            session.run(&mut ()).map(|()| inspector.shadows_seen)
        })
    };
    let options = Options { block_length: 3, ..Options::one_block(6) };
    assert_eq!(begin(Needs::NONE, options), Ok(2 * (1 + 2)));
    let filter = Filter { top_p: 0.9, ..Filter::NONE };
    let options = Options { filter, temperature: 0.7, ..options };
    assert!(matches!(begin(Needs::NONE, options), Err(SessionError::Unsupported { .. })));
    assert!(begin(Needs::FILTER, options).is_ok());
}

/// What is promised of these lists does not hold here: results mean nothing, and nothing worse happens.
#[test]
fn careless_callers_do_not_crash_it() {
    let bytes = image(SMALLEST, Format::Q8, 7);
    let image = ModelImage::parse(&bytes).unwrap();
    let canvas = [2, 3, 1, 1, 4, 1];
    let hidden: [&[u16]; 4] = [&[], &[5, 2, 2], &[u16::MAX], &[0, 1, 2, 3, 4, 5, 6, 7]];
    let shadowed =
        [(0, 0), (3, 1), (0, 6), (0, 7), (4, usize::MAX), (usize::MAX, 0), (5, 11), (100, 102)];
    let bias = |position, id| LogitBias { position, id, nats: 1.0 };
    let biases = [vec![], vec![bias(9, 2), bias(1, 2)], vec![bias(3, u32::MAX)]];
    with_engine(&image, (8, 2, EVERYTHING), |engine| {
        for visible in [0, 3, 8, usize::MAX].into_iter().flat_map(|prefix| {
            [0, 6, usize::MAX].into_iter().flat_map(move |end| {
                hidden.into_iter().flat_map(move |hidden| {
                    shadowed.map(|shadowed| Visible { prefix, end, hidden, shadowed })
                })
            })
        }) {
            for bias in &biases {
                let pass = Pass { visible, bias, ..Pass::whole(&canvas, &[2, 3, 5]) };
                let mut scores = [Score::default(); 3];
                let sampling = Sampling { temperature: 1.0, ..Sampling::GREEDY };
                let _ = engine.score(&pass, &sampling, &mut scores);
            }
        }
    });
}
