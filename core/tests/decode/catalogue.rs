//! The catalogue of corner cases, and where each is tested.
//!
//! | | case | every policy and plan, here | alone |
//! |---|---|---|---|
//! | 1 | nothing above the threshold | flat rows: every pass gets on | `decode::edges::nothing_above_the_threshold_commits_exactly_one` |
//! | 2 | all proposals are masks | | `decode::edges::a_model_that_proposes_masks_is_an_error_and_not_a_hang` |
//! | 3 | a block is full at entry | a gap of a whole block | `decode::edges::a_block_that_is_full_already_costs_no_forward_pass`, `cache::edges::full_blocks_take_no_pass` |
//! | 4 | steps that do not divide, more steps than masks | both | `decode::edges::more_steps_than_masks_never_waste_a_forward_pass`, `steps_that_do_not_divide_are_refused` |
//! | 5 | end tokens in the prompt, inside a block, before masks | all three | `decode::edges::an_end_token_*`, `the_answer_ends_before_the_first_end_token` |
//! | 6 | masks in the prompt; a prompt of whole blocks | both | `decode::edges::masks_in_the_prompt_are_decoded_with_the_first_block` |
//! | 7 | no prompt | with and without shifted logits | `decode::edges::nothing_to_generate_and_nothing_to_start_from`, `cache::exact::impossible_pairs_are_refused` |
//! | 8 | a short last block | prompts across the blocks of the attention | `cache::edges::last_blocks_may_be_short_and_prompts_whole_blocks` |
//! | 9 | as many tokens taken back as committed | progress, in every pass | `decode::rules::no_more_is_taken_back_than_given` |
//! | 10 | the text is cut while slots behind are trusted | end tokens, cut off | `cache::edges::a_text_that_was_cut_leaves_nothing_behind` |
//! | 11 | ties at a probability of 1 | saturated rows | `decode::edges::equal_confidences_go_to_the_lower_positions` |
//! | 12 | the cap on passes | never more, in every decode | `decode::rules::a_policy_that_bounds_itself_and_does_not_ends_at_the_cap` |
//! | 13 | a plan leaves out a candidate's row | the model refuses such a pass | `cache::edges::candidates_that_a_plan_leaves_out` |
//! | 14 | temperature 0 and above, the same seed | both | `decode::edges::temperature_changes_proposals_and_never_the_confidence_of_a_token` |
//! | 15 | nothing to generate; only gaps to fill | both | `decode::edges::a_length_of_zero_still_fills_the_masks_of_the_prompt` |
//! | 16 | an edit of an earlier block | by the policies that do so | `decode::rules::edits_of_an_earlier_block`, `cache::edges::an_edit_of_an_earlier_block_is_computed_in_the_next_pass` |

use crate::common::Random;
use crate::every_method::{Parts, Trying, decode, plans, policies};
use crate::fake_model::{EOS, MASK};
use crate::kv_model::KvModel;
use demask::decode::{EosPolicy, Even, FillAll, TruncateAtEos};
use demask::image::Attention;
use demask::{Options, SessionError};

const OWN: usize = 4;

/// A corner: what is given, how many tokens follow in blocks of four, and steps per block.
struct Corner {
    what: &'static str,
    given: &'static [u32],
    length: usize,
    steps: usize,
    /// Of the logits: 0 for flat rows, large for rows with a probability of 1.
    scale: f32,
}

const fn corner(
    what: &'static str,
    given: &'static [u32],
    (length, steps): (usize, usize),
    scale: f32,
) -> Corner {
    Corner { what, given, length, steps, scale }
}

const M: u32 = MASK;
const CORNERS: [Corner; 16] = [
    corner("nothing above the threshold", &[5, 6], (8, 4), 0.0),
    corner("a full block between", &[M, 3, M, 4, 5, 6, 7, 8, 9, M, M, M], (0, 4), 4.0),
    corner("a full block first", &[2, 3, 4, 5, M, M, 6, M], (0, 2), 4.0),
    corner("more steps than masks", &[5, M, 6, 7, M, 8, 9, 2], (0, 9), 4.0),
    corner("steps that do not divide", &[5], (8, 3), 4.0),
    corner("an end token in the prompt", &[EOS, 5, EOS], (8, 4), 4.0),
    corner("end tokens before masks", &[M, EOS, M, M, EOS, M, M, M], (0, 4), 4.0),
    corner("masks in the prompt", &[5, M, 6, M, M], (8, 4), 4.0),
    corner("a prompt of whole blocks", &[5, 6, 7, 8], (8, 4), 4.0),
    corner("no prompt", &[], (8, 4), 4.0),
    corner("blocks across those of the attention", &[5, 6, 7, 8, 9, 2], (4, 4), 4.0),
    corner("ties at a probability of 1", &[5, 6], (8, 2), 4000.0),
    corner("nothing to generate", &[5, EOS, 6, 7], (0, 4), 4.0),
    corner("nothing at all", &[], (0, 4), 4.0),
    corner("one gap", &[5, 6, M, 7], (0, 4), 4.0),
    corner("all gaps", &[M; 8], (0, 1), 4.0),
];

#[test]
#[cfg_attr(miri, ignore = "too slow")]
fn every_policy_and_plan_in_every_corner() {
    let mut random = Random(70);
    let (mut runs, mut refused) = (0, 0);
    for attention in [Attention::Bidirectional, Attention::BlockCausal(OWN as u32)] {
        let (mut policies, mut plans) = (policies(&mut random), plans(&mut random));
        for (corner, shifted) in CORNERS.iter().flat_map(|corner| [(corner, false), (corner, true)])
        {
            let Corner { given, length, steps, .. } = *corner;
            let region =
                if length == 0 { 0..given.len() } else { given.len()..given.len() + length };
            let blocks = region.end.div_ceil(OWN) - region.start / OWN;
            let blocks = match attention {
                Attention::Bidirectional => region.len() / OWN,
                Attention::BlockCausal(_) => blocks,
            };
            let mut model = KvModel::new(random.next(), attention, shifted);
            (model.scale, model.extras) = (corner.scale, true);
            let ends: [&dyn EosPolicy; 2] = [&FillAll, &TruncateAtEos];
            let ways = ends.into_iter().flat_map(|eos| [(eos, 0.0), (eos, 1.0)]);
            for (policy_type, policy) in &mut policies {
                for (plan_type, plan) in &mut plans {
                    let what = format!("{}: {policy_type} {plan_type}", corner.what);
                    let _trying = Trying(what.clone());
                    for (eos, temperature) in ways.clone() {
                        let options = Options {
                            block_length: OWN,
                            steps: steps * blocks,
                            temperature,
                            seed: 3,
                            ..Options::one_block(1)
                        };
                        let mut once = || {
                            let (policy, cache) = (&mut **policy, &mut **plan);
                            let parts = Parts { policy, schedule: &Even, eos, cache };
                            decode(&model, parts, (given, length), options)
                        };
                        let first = once();
                        assert_eq!(first, once(), "{what}");
                        match first {
                            Ok(outcome) => {
                                runs += 1;
                                let masks = length > 0 || given.contains(&MASK);
                                assert_eq!(outcome.forwards > 0, masks, "{what}");
                                let all = given.len() + length;
                                let whole = outcome.canvas.len() >= all || eos.truncates();
                                let cuts = ["CutAtEos", "Learn2pd"];
                                let cuts = cuts.iter().any(|name| policy_type.contains(name));
                                assert!(whole || cuts, "{what}");
                            }
                            Err(SessionError::Clash { .. } | SessionError::Cache { .. }) => {
                                refused += 1;
                            }
                            Err(error) => panic!("{error}: {what}"),
                        }
                    }
                }
            }
        }
    }
    println!("{runs} decodes, {refused} refused");
    assert!(runs > 60_000 && refused > 5_000, "{runs} {refused}");
}
