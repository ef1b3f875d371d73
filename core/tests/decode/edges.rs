//! The corner cases of decoding: where blocks, ends of text, masks and steps meet.

use crate::fake_model::{EOS, MASK, Table, with_memory};
use demask::Pass;
use demask::cache::NoCache;
use demask::decode::{
    Commit, CommitPolicy, Edit, EosPolicy, Even, FillAll, Sampling, Score, StepView, StopAtEos,
    Threshold, TopQ,
};
use demask::{
    ForwardError, Method, Model, Options, Progress, Session, SessionError, StepEvent, Trace,
    Vocabulary,
};

/// A model that is sure of one token per position.
struct Certain {
    tokens: Vec<u32>,
    logit: f32,
}

impl Model for Certain {
    fn vocabulary(&self) -> Vocabulary {
        Vocabulary { size: 13, mask_id: MASK, eos_id: EOS }
    }

    fn max_canvas(&self) -> usize {
        self.tokens.len()
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        sampling: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        for (score, &position) in scores.iter_mut().zip(pass.wanted) {
            let mut logits = [0.0; 13];
            logits[self.tokens[usize::from(position)] as usize] = self.logit;
            *score = Score::from_logits(position.into(), &logits, MASK, sampling).unwrap();
        }
        Ok(())
    }
}

/// What a run did: commits per step, and the final canvas.
#[derive(Debug, Default, PartialEq)]
struct Run {
    commits: Vec<Vec<u32>>,
    canvas: Vec<u32>,
}

impl Trace for Run {
    fn step(&mut self, event: &StepEvent<'_>) {
        self.commits.push(event.commits.iter().map(|c| c.position).collect());
        self.canvas = event.canvas.to_vec();
    }
}

fn run<M: Model, P: CommitPolicy, X: EosPolicy>(
    model: M,
    (policy, eos): (P, X),
    (prompt, length): (&[u32], usize),
    options: Options,
) -> Run {
    with_memory(64, |memory| {
        let mut session =
            Session::new(model, memory, Method { policy, schedule: Even, eos, cache: NoCache });
        session.begin(prompt, length, options).unwrap();
        let mut run = Run { canvas: session.canvas().to_vec(), ..Run::default() };
        session.run(&mut run).unwrap();
        assert_eq!(session.canvas(), run.canvas);
        assert_eq!(session.forwards() as usize, run.commits.len());
        run
    })
}

fn certain(tokens: &[u32]) -> Certain {
    Certain { tokens: tokens.to_vec(), logit: 60.0 }
}

fn blocks(block_length: usize, steps: usize) -> Options {
    Options { block_length, steps, temperature: 0.0, seed: 0, pinned: 0, ..Options::one_block(1) }
}

#[test]
fn nothing_above_the_threshold_commits_exactly_one() {
    let run = run(Table::new(4), (Threshold(1.5), FillAll), (&[5], 8), blocks(8, 1));
    assert!(run.commits.iter().all(|step| step.len() == 1));
    assert_eq!(run.commits.len(), 8);
}

#[test]
fn a_block_that_is_full_already_costs_no_forward_pass() {
    with_memory(64, |memory| {
        let mut session = Session::new(Table::new(1), memory, Method::with_policy(Threshold(0.0)));
        // The first and the third block of four are complete.
        let canvas = [2, 3, 4, 5, 6, MASK, MASK, 7, 8, 9, 10, 11, MASK, 12, 2, 3];
        session.begin_infill(&canvas, blocks(4, 4)).unwrap();
        let mut run = Run::default();
        session.run(&mut run).unwrap();
        assert_eq!(run.commits.len(), 2);
        assert_eq!(session.into_model().forwards, 2);
        // No mask at all: finished at once, and again.
        let mut run = Run::default();
        with_memory(64, |memory| {
            let method = Method::with_policy(TopQ);
            let mut session = Session::new(Table::new(1), memory, method);
            session.begin_infill(&canvas[..4], blocks(4, 4)).unwrap();
            for _ in 0..2 {
                assert_eq!(session.step(&mut run), Ok(Progress::Finished));
            }
            assert_eq!((session.forwards(), session.canvas()), (0, &canvas[..4]));
        });
        assert!(run.commits.is_empty());
    });
}

#[test]
fn more_steps_than_masks_never_waste_a_forward_pass() {
    let run = run(Table::new(1), (TopQ, FillAll), (&[5], 3), blocks(3, 8));
    assert_eq!(run.commits.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    let run = self::run(Table::new(1), (TopQ, FillAll), (&[5], 32), blocks(32, 5));
    assert_eq!(run.commits.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7, 6, 6, 6]);
}

#[test]
fn more_steps_than_anyone_can_count_do_not_stall() {
    // The second block has a mask less than the schedule expects, the prompt one more.
    let run = run(Table::new(1), (TopQ, FillAll), (&[5, MASK], 4), blocks(2, usize::MAX - 1));
    assert_eq!(run.commits.iter().map(Vec::len).collect::<Vec<_>>(), [1; 5]);
}

#[test]
fn steps_that_do_not_divide_are_refused() {
    with_memory(64, |memory| {
        let mut session = Session::new(Table::new(1), memory, Method::with_policy(TopQ));
        let steps = |steps, blocks| Err(SessionError::Steps { steps, blocks });
        assert_eq!(session.begin(&[2], 12, blocks(4, 4)), steps(4, 3));
        assert_eq!(session.begin(&[2], 12, blocks(4, 0)), steps(0, 3));
        assert_eq!(session.begin(&[2], 12, blocks(4, 2)), steps(2, 3));
        let block = |block| Err(SessionError::BlockLength { region: 12, block });
        assert_eq!(session.begin(&[2], 12, blocks(5, 12)), block(5));
        assert_eq!(session.begin(&[2], 12, blocks(0, 12)), block(0));
        assert_eq!(session.begin(&[2], 12, blocks(24, 12)), block(24));
    });
}

#[test]
fn an_end_token_ends_the_text_only_without_masks_before_it() {
    // The end token comes in the middle of the first block.
    let model = || certain(&[9, 5, 6, EOS, 7, 8, 9, 10, 11]);
    let stop = run(model(), (Threshold(0.9), StopAtEos), (&[9], 8), blocks(4, 8));
    assert_eq!(stop.commits.len(), 1, "the second block is not decoded");
    assert_eq!(stop.canvas, [9, 5, 6, EOS, 7, EOS, EOS, EOS, EOS]);
    let fill = run(model(), (Threshold(0.9), FillAll), (&[9], 8), blocks(4, 8));
    assert_eq!(fill.canvas, [9, 5, 6, EOS, 7, 8, 9, 10, 11]);

    // One token per step, the sure end token first: the masks before it are still decoded.
    let model = Certain { tokens: vec![2, 3, 4, EOS], logit: 2.0 };
    struct LastFirst;
    impl CommitPolicy for LastFirst {
        fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
            let last = view.scores.last().unwrap();
            let commit = Commit { position: last.position, token: last.proposal, confidence: 1.0 };
            edit.offer(commit, 1);
        }
    }
    let run = run(model, (LastFirst, StopAtEos), (&[], 4), blocks(4, 4));
    assert_eq!(run.commits, [[3], [2], [1], [0]]);
    assert_eq!(run.canvas, [2, 3, 4, EOS]);
}

#[test]
fn an_end_token_in_the_prompt_is_just_a_token() {
    let model = certain(&[EOS, EOS, 5, 6, 7, 8]);
    let run = run(model, (TopQ, StopAtEos), (&[EOS, EOS], 4), blocks(2, 4));
    assert_eq!(run.canvas, [EOS, EOS, 5, 6, 7, 8]);
}

#[test]
fn the_answer_ends_before_the_first_end_token() {
    with_memory(8, |memory| {
        let model = certain(&[9, 5, 6, EOS, 7, 8, 9, 10]);
        let mut session = Session::new(model, memory, Method::with_policy(Threshold(0.9)));
        session.begin(&[9], 6, Options::one_block(6)).unwrap();
        session.run(&mut ()).unwrap();
        assert_eq!(session.answer(), [5, 6]);
        assert_eq!(session.generated(), [5, 6, EOS, 7, 8, 9]);
        assert_eq!(session.canvas(), [9, 5, 6, EOS, 7, 8, 9]);
    });
}

#[test]
fn masks_in_the_prompt_are_decoded_with_the_first_block() {
    let model = certain(&[9, 5, 6, 7, 8, 10]);
    let run = run(model, (Threshold(0.9), FillAll), (&[9, MASK, 6, MASK], 2), blocks(1, 2));
    assert_eq!(run.commits, [vec![1, 3, 4], vec![5]]);
    assert_eq!(run.canvas, [9, 5, 6, 7, 8, 10]);
    // Blocks start after the prompt, whether or not its length is a multiple of theirs.
    for prompt in [vec![9; 3], vec![9; 4], vec![9; 8]] {
        let start = prompt.len() as u32;
        let run = self::run(Table::new(3), (TopQ, FillAll), (&prompt, 8), blocks(4, 8));
        let (first, second) = halves(&run.commits);
        assert_eq!(
            (first, second),
            ((start..start + 4).collect(), (start + 4..start + 8).collect())
        );
    }
}

/// The positions of the first four commits and of the others, sorted.
fn halves(commits: &[Vec<u32>]) -> (Vec<u32>, Vec<u32>) {
    let all = commits.concat();
    let (mut first, mut second) = (all[..4].to_vec(), all[4..].to_vec());
    first.sort_unstable();
    second.sort_unstable();
    (first, second)
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn many_masks_in_the_prompt_do_not_trip_the_step_cap() {
    // 30 masks before a block of two: one per step, as if they were the block's own.
    let run = run(Table::new(3), (TopQ, FillAll), (&[MASK; 30], 2), blocks(2, 2));
    assert!(run.commits.iter().all(|step| step.len() == 1), "{:?}", run.commits);
    assert_eq!(run.commits.len(), 32);
}

#[test]
fn equal_confidences_go_to_the_lower_positions() {
    let run = run(certain(&[5; 8]), (TopQ, FillAll), (&[], 8), blocks(8, 3));
    assert_eq!(run.commits, [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
}

/// Asks for what it must not: nothing, a token that is there already, a mask, an id that does not
/// exist, a position outside the canvas.
#[derive(Clone, Copy)]
struct Stubborn(Commit);

impl CommitPolicy for Stubborn {
    fn select(&mut self, _: &StepView<'_>, edit: &mut Edit<'_>) {
        edit.offer(self.0, 1);
    }
}

#[test]
fn a_policy_that_asks_for_the_forbidden_is_overruled() {
    let masks = 6;
    for (position, token) in [(0, 5), (2, MASK), (3, 13), (3, u32::MAX), (99, 5), (u32::MAX, 5)] {
        let policy = Stubborn(Commit { position, token, confidence: 1.0 });
        let run = run(Table::new(5), (policy, FillAll), (&[9, 9], masks), blocks(masks, masks));
        assert_eq!(run.commits.len(), masks, "position {position}, token {token}");
        assert_eq!(run.canvas[..2], [9, 9]);
        assert!(run.canvas.iter().all(|&id| id != MASK && id < 13));
    }
    struct Idle;
    impl CommitPolicy for Idle {
        fn select(&mut self, _: &StepView<'_>, _: &mut Edit<'_>) {}
    }
    let run = run(Table::new(5), (Idle, FillAll), (&[9], masks), blocks(masks, masks));
    assert!(run.commits.iter().all(|step| step.len() == 1), "the best one, each time");
    assert_eq!(run.commits.len(), masks);
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn temperature_changes_proposals_and_never_the_confidence_of_a_token() {
    let (mut differ, mut seeds) = (0, 0);
    for seed in 0..20 {
        let options = |temperature| Options { temperature, seed, ..Options::one_block(8) };
        let greedy = run(Table::new(seed), (TopQ, FillAll), (&[5], 8), options(0.0));
        let warm = run(Table::new(seed), (TopQ, FillAll), (&[5], 8), options(1.0));
        let again = run(Table::new(seed), (TopQ, FillAll), (&[5], 8), options(1.0));
        assert_eq!(warm, again);
        differ += usize::from(greedy.canvas != warm.canvas);
        let other = Options { seed: seed + 99, ..options(0.0) };
        let cold = run(Table::new(seed), (TopQ, FillAll), (&[5], 8), other);
        assert_eq!(greedy, cold, "at temperature 0 the seed means nothing");
        let other = Options { seed: seed + 99, ..options(1.0) };
        seeds += usize::from(
            run(Table::new(seed), (TopQ, FillAll), (&[5], 8), other).canvas != warm.canvas,
        );
    }
    assert!(differ > 15 && seeds > 15, "{differ} {seeds}");
}

#[test]
fn nothing_to_generate_and_nothing_to_start_from() {
    // No prompt.
    let run = run(Table::new(2), (TopQ, FillAll), (&[], 6), blocks(3, 6));
    assert_eq!(run.commits.len(), 6);
    // No answer: whatever the options say about blocks that do not exist.
    let empty = self::run(Table::new(2), (TopQ, FillAll), (&[4, 5], 0), blocks(0, 0));
    assert_eq!(empty, Run { commits: vec![], canvas: vec![4, 5] });
    // Neither.
    let empty = self::run(Table::new(2), (TopQ, FillAll), (&[], 0), blocks(1, 1));
    assert_eq!(empty, Run::default());
}

#[test]
fn a_full_canvas_works_and_one_token_more_is_refused() {
    for (planned, known) in [(16, 64), (64, 16), (16, 16)] {
        with_memory(planned, |memory| {
            let model = Table { max_canvas: known, ..Table::new(1) };
            let mut session = Session::new(model, memory, Method::with_policy(TopQ));
            session.begin(&[5; 8], 8, blocks(4, 4)).unwrap();
            session.run(&mut ()).unwrap();
            let before = session.canvas().to_vec();
            let error = Err(SessionError::CanvasTooLong { len: 17, max: 16 });
            assert_eq!(session.begin(&[5; 9], 8, blocks(4, 4)), error);
            assert_eq!(session.begin(&[5; 17], 0, blocks(4, 4)), error);
            assert_eq!(session.begin_infill(&[5; 17], blocks(17, 17)), error);
            let error = Err(SessionError::CanvasTooLong { len: usize::MAX, max: 16 });
            assert_eq!(session.begin(&[5; 9], usize::MAX, blocks(4, 4)), error);
            assert_eq!(session.canvas(), before, "unchanged");
        });
    }
}

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn the_longest_canvas_there_is() {
    const LONGEST: usize = 65_535;
    with_memory(LONGEST, |memory| {
        let tokens = vec![5; LONGEST];
        let model = Certain { tokens: tokens.clone(), logit: 60.0 };
        let mut session = Session::new(model, memory, Method::with_policy(Threshold(0.9)));
        session.begin(&tokens[..LONGEST - 3], 3, Options::one_block(3)).unwrap();
        session.run(&mut ()).unwrap();
        assert_eq!(session.canvas(), tokens);
    });
}

#[test]
fn a_session_can_be_used_again_and_again() {
    with_memory(16, |memory| {
        let mut session = Session::new(Table::new(1), memory, Method::with_policy(TopQ));
        let mut first = None;
        for round in 0..3 {
            session.begin(&[5, 6], 8, blocks(4, 8)).unwrap();
            if round == 1 {
                // Left half-way.
                session.step(&mut ()).unwrap();
                session.begin(&[7], 3, Options::one_block(3)).unwrap();
                continue;
            }
            session.run(&mut ()).unwrap();
            let result = (session.canvas().to_vec(), session.checksum(), session.forwards());
            assert_eq!(*first.get_or_insert(result.clone()), result);
        }
    });
}

/// A model that breaks its word and proposes the mask.
struct Broken;

impl Model for Broken {
    fn vocabulary(&self) -> Vocabulary {
        Vocabulary { size: 13, mask_id: MASK, eos_id: EOS }
    }

    fn max_canvas(&self) -> usize {
        16
    }

    fn score(
        &mut self,
        pass: &Pass<'_>,
        _: &Sampling,
        scores: &mut [Score],
    ) -> Result<(), ForwardError> {
        for (score, &position) in scores.iter_mut().zip(pass.wanted) {
            *score = Score { position: position.into(), proposal: MASK, ..Score::default() };
        }
        Ok(())
    }
}

#[test]
fn a_model_that_proposes_masks_is_an_error_and_not_a_hang() {
    with_memory(16, |memory| {
        let mut session = Session::new(Broken, memory, <Method>::default());
        session.begin(&[5], 4, Options::one_block(4)).unwrap();
        assert_eq!(session.run(&mut ()), Err(SessionError::NoProgress));
        assert_eq!(session.canvas(), [5, MASK, MASK, MASK, MASK]);
    });
}

#[test]
fn a_length_of_zero_still_fills_the_masks_of_the_prompt() {
    with_memory(16, |memory| {
        let method = Method { policy: TopQ, schedule: Even, eos: FillAll, cache: NoCache };
        let mut session = Session::new(Table::new(4), memory, method);
        session
            .begin(&[5, MASK, 7], 0, Options { block_length: 3, ..Options::one_block(1) })
            .unwrap();
        session.run(&mut ()).unwrap();
        let canvas = session.canvas();
        assert!(canvas[0] == 5 && canvas[1] != MASK && canvas[2] == 7, "{canvas:?}");
    });
}
