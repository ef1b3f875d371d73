//! Two prompts by one method: what a product would do, and all that its program holds.

use crate::{Board, Problem, answer, write_prompt};
use demask::decode::{Needs, Threshold};
use demask::image::{ModelConfig, ModelImage};
use demask::kernels::{NATIVE, Native};
use demask::{Engine, Kernels, Limits, Method, Options, Plan, Serial, Session};

/// Tokens of prompt and answer at most.
const CANVAS: usize = 96;

/// What the demo asks of the engine, for whatever model: that much text, on one core.
#[must_use]
pub const fn limits(_: &ModelConfig) -> Limits {
    Limits { canvas: CANVAS, tile: 8, layout: Native::LAYOUT, workers: 1, needs: Needs::NONE }
}

/// In the form the model was trained on: lower case, no punctuation. The leading space is dropped
/// if the model does not ask for it.
const PROMPTS: [&str; 2] =
    [" play the latest album by weezer", " book a table for two at a sushi bar in boston"];

/// Tokens to generate, the end tokens after the answer included.
const GENERATED: usize = 56;

/// Proposals at least this probable are committed at once; one at a time would take as many steps
/// as there are tokens.
const POLICY: Threshold = Threshold(0.9);

/// The same as options of `demask run`.
const METHOD: &str = "--gen-length 56 --threshold 0.9";

pub(crate) fn decode_all<B: Board>(
    board: &mut B,
    image: &ModelImage<'_>,
    plan: &Plan,
    memory: &mut [u8],
) -> Result<(), Problem> {
    let tokenizer = image.tokenizer().ok_or(Problem("the image has no tokenizer"))?;
    let (for_engine, for_session) = plan.carve(memory)?;
    let engine = Engine::new(image, for_engine, NATIVE, Serial)?;
    let mut session = Session::new(engine, for_session, Method::with_policy(POLICY));
    for prompt in PROMPTS {
        let mut canvas = [0; CANVAS];
        let canvas = write_prompt(image.prompt(), tokenizer, prompt, &mut canvas)?;
        session.begin(canvas, GENERATED, Options::one_block(GENERATED))?;
        board.text("\nprompt:");
        board.text(prompt);
        board.text("\nmethod: ");
        board.text(METHOD);
        board.text("\n");
        answer(board, &mut session, image, tokenizer)?;
    }
    Ok(())
}
