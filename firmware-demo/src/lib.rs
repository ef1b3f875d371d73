//! The demo itself, the same on every machine: two built-in prompts are decoded with the built-in
//! model, and what came out is printed line by line. A machine adds a [`Board`]: a console and a
//! counter. `main.rs` picks it.
//!
//! The lines `prompt`, `tokens`, `text`, `steps` and `checksum` depend on the image only: every
//! machine prints the same ones, and `check.sh` compares them.

#![cfg_attr(not(test), no_std)]

pub mod arena;
pub mod print;
mod problem;
pub mod stack;

pub use print::Console;

use demask::decode::{Needs, Threshold};
use demask::image::{ModelImage, PromptFormat};
use demask::kernels::{NATIVE, Native};
use demask::text::{Specials, Tokenizer, Utf8Stream};
use demask::{Engine, Kernels, Limits, Method, Model, Options, Plan, Progress, Serial, Session};
use problem::Problem;

/// What the demo asks of the engine: prompt and answer of up to 96 tokens, on one core.
pub const LIMITS: Limits =
    Limits { canvas: 96, tile: 8, layout: Native::LAYOUT, workers: 1, needs: Needs::NONE };

/// In the form the model was trained on: lower case, no punctuation. The leading space is dropped
/// if the model does not ask for it.
const PROMPTS: [&str; 2] =
    [" play the latest album by weezer", " book a table for two at a sushi bar in boston"];

/// Tokens to generate, the end tokens after the answer included.
const GENERATED: usize = 56;

/// Proposals at least this probable are committed at once; one at a time would take as many steps
/// as there are tokens.
const POLICY: Threshold = Threshold(0.9);

/// What a machine can count while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Executed instructions since some moment before the demo.
    Instructions(u64),
    /// Processor cycles since some moment before the demo.
    Cycles(u64),
    /// No counter, or one that stands still.
    Unavailable,
}

/// What the demo needs from a machine.
pub trait Board: Console {
    /// The name printed in the first lines.
    const NAME: &'static str;

    /// Reads the counter. Called before the first step of each prompt and after every step, so a
    /// 32-bit counter can be extended.
    fn count(&mut self) -> Count;
}

/// How the demo ended; the number is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything was decoded.
    Done = 0,
    /// The image or the memory did not serve; the last line says why.
    Refused = 1,
    /// The stack was too small.
    StackOverflow = 2,
}

/// Decodes the built-in prompts in `memory`, which is as large as `plan` says, and prints the
/// result.
pub fn run<B: Board>(board: &mut B, image: &[u8], plan: &Plan, memory: &mut [u8]) -> Status {
    board.text("demask firmware demo\nmachine: ");
    board.text(B::NAME);
    board.text("\n");
    board.field("image bytes", image.len() as u64);
    board.field("plan bytes", plan.bytes() as u64);
    board.field("arena bytes", memory.len() as u64);
    #[cfg(feature = "prove-panic-check")]
    board.number(u64::from(image[core::hint::black_box(memory.len())]));
    match decode_all(board, image, plan, memory) {
        Ok(()) => Status::Done,
        Err(Problem(text)) => {
            board.text("error: ");
            board.text(text);
            board.text("\n");
            Status::Refused
        }
    }
}

fn decode_all<B: Board>(
    board: &mut B,
    image: &[u8],
    plan: &Plan,
    memory: &mut [u8],
) -> Result<(), Problem> {
    let image = ModelImage::parse(image)?;
    let tokenizer = image.tokenizer().ok_or(Problem("the image has no tokenizer"))?;
    let (for_engine, for_session) = plan.carve(memory)?;
    let engine = Engine::new(&image, for_engine, NATIVE, Serial)?;
    let mut session = Session::new(engine, for_session, Method::with_policy(POLICY));
    for prompt in PROMPTS {
        let mut canvas = [0; LIMITS.canvas];
        let canvas = write_prompt(image.prompt(), tokenizer, prompt, &mut canvas)?;
        session.begin(canvas, GENERATED, Options::one_block(GENERATED))?;

        board.text("\nprompt:");
        board.text(prompt);
        board.text("\n");
        let start = board.count();
        let mut end = start;
        let mut progress = Progress::Running;
        while progress == Progress::Running {
            progress = session.step(&mut ())?;
            end = board.count();
        }
        print_answer(board, &session, tokenizer)?;
        print_work(board, start, end);
    }
    Ok(())
}

/// Writes the start of a canvas, everything before the masks, and returns it.
fn write_prompt<'c>(
    format: &PromptFormat<'_>,
    tokenizer: &Tokenizer<'_>,
    text: &str,
    canvas: &'c mut [u32],
) -> Result<&'c [u32], Problem> {
    const FULL: Problem = Problem("the prompt does not fit the canvas");
    let text = if format.leading_space { text } else { text.trim_start() };
    let mut used = 0;
    for id in format.prefix() {
        *canvas.get_mut(used).ok_or(FULL)? = id;
        used += 1;
    }
    used += tokenizer.encode(text, canvas.get_mut(used..).unwrap_or_default())?;
    for id in format.suffix() {
        *canvas.get_mut(used).ok_or(FULL)? = id;
        used += 1;
    }
    canvas.get(..used).ok_or(FULL)
}

fn print_answer<B: Board, M: Model>(
    board: &mut B,
    session: &Session<'_, M, Threshold>,
    tokenizer: &Tokenizer<'_>,
) -> Result<(), Problem> {
    let mut before = "tokens: ";
    for &id in session.generated() {
        board.text(before);
        board.number(u64::from(id));
        before = ",";
    }
    board.text("\ntext: ");
    let mut stream = Utf8Stream::new();
    let print = |part: &str| board.text(part);
    tokenizer.decode(session.answer(), Specials::Skip, &mut stream, print)?;
    stream.finish(|part| board.text(part));
    board.text("\n");
    board.field("steps", u64::from(session.forwards()));
    board.text("checksum: ");
    board.hex(session.checksum().value());
    board.text("\n");
    Ok(())
}

/// Prints how much the counter went on from `start` to `end`.
fn print_work<B: Board>(board: &mut B, start: Count, end: Count) {
    match (start, end) {
        (Count::Instructions(start), Count::Instructions(end)) => {
            board.field("instructions", end.wrapping_sub(start));
        }
        (Count::Cycles(start), Count::Cycles(end)) => {
            board.field("cycles", end.wrapping_sub(start));
        }
        _ => board.text("instructions: unavailable\n"),
    }
}

/// Prints the RAM lines that only the machine knows, the statics and the stack, and changes a good
/// status if the stack was used to its end: more may have been used than there is.
pub fn report_ram(
    console: &mut impl Console,
    statics: usize,
    stack: &stack::Stack,
    status: Status,
) -> Status {
    let used = stack.high_water();
    console.text("\n");
    console.field("ram statics", statics as u64);
    console.field("ram stack size", stack.size() as u64);
    console.field("ram stack high-water", used as u64);
    console.field("ram total", statics.wrapping_add(used) as u64);
    if used == stack.size() {
        console.text("the stack overflowed\n");
        return Status::StackOverflow;
    }
    status
}
