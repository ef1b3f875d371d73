//! The demo itself, the same on every machine: two built-in prompts are decoded with the built-in
//! model, and what came out is printed line by line. With the feature `methods` it is one prompt,
//! by one decoder of each kind. A machine adds a [`Board`]: a console and a counter. `main.rs`
//! picks it.
//!
//! The lines `prompt`, `method`, `tokens`, `text`, `steps` and `checksum` depend on the image only:
//! every machine prints the same ones, and `demask device-check` compares them with what it decodes
//! itself. `method` holds the options with which `demask run` decodes the same way. The feature `trace`
//! adds a line for each step. `docs/porting.md` has the format of all of them.

#![cfg_attr(not(test), no_std)]

pub mod arena;
#[cfg(feature = "methods")]
mod methods;
pub mod print;
mod problem;
#[cfg(not(feature = "methods"))]
mod prompts;
pub mod stack;
pub mod step_line;

#[cfg(feature = "methods")]
use methods as program;
#[cfg(not(feature = "methods"))]
use prompts as program;

pub use print::Console;
pub use program::limits;

use demask::cache::CachePlan;
use demask::decode::{CommitPolicy, EosPolicy, Schedule};
use demask::image::{ModelImage, PromptFormat};
use demask::text::{Specials, Tokenizer, Utf8Stream};
use demask::{Model, Plan, Progress, Session, SessionError, StepEvent};
use problem::Problem;

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

/// Decodes what is built in, in `memory`, which is as large as `plan` says, and prints the
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
    match decode(board, image, plan, memory) {
        Ok(()) => Status::Done,
        Err(Problem(text)) => {
            board.text("error: ");
            board.text(text);
            board.text("\n");
            Status::Refused
        }
    }
}

/// Checks the image, says which one it is, and decodes what is built in.
fn decode<B: Board>(
    board: &mut B,
    image: &[u8],
    plan: &Plan,
    memory: &mut [u8],
) -> Result<(), Problem> {
    let image = ModelImage::parse(image)?;
    board.text("image: ");
    board.text(image.layout().name());
    board.text(" ");
    let digest = image.header().manifest_digest.first_chunk().copied();
    board.hex(u64::from_be_bytes(digest.unwrap_or_default()));
    board.text("\n");
    program::decode_all(board, &image, plan, memory)
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

/// Steps until the canvas is complete, and prints what came out and what it took.
fn answer<B, M, P, S, X, C>(
    board: &mut B,
    session: &mut Session<'_, M, P, S, X, C>,
    image: &ModelImage<'_>,
    tokenizer: &Tokenizer<'_>,
) -> Result<(), Problem>
where
    B: Board,
    M: Model,
    P: CommitPolicy,
    S: Schedule,
    X: EosPolicy,
    C: CachePlan,
{
    let start = board.count();
    let mut end = start;
    let mut progress = Progress::Running;
    while progress == Progress::Running {
        progress = step(board, session, image.config().mask_id)?;
        end = board.count();
    }
    let mut before = "tokens: ";
    for &id in session.generated() {
        board.text(before);
        board.number(u64::from(id));
        before = ",";
    }
    board.text("\ntext: ");
    let mut stream = Utf8Stream::new();
    let print = |part: &str| board.one_line(part);
    tokenizer.decode(session.answer(), Specials::Skip, &mut stream, print)?;
    stream.finish(|part| board.one_line(part));
    board.text("\n");
    board.field("steps", u64::from(session.forwards()));
    board.text("checksum: ");
    board.hex(session.checksum().value());
    board.text("\n");
    print_work(board, start, end);
    Ok(())
}

/// Makes one step. With the feature `trace` it is printed.
fn step<B, M, P, S, X, C>(
    board: &mut B,
    session: &mut Session<'_, M, P, S, X, C>,
    mask_id: u32,
) -> Result<Progress, SessionError>
where
    B: Board,
    M: Model,
    P: CommitPolicy,
    S: Schedule,
    X: EosPolicy,
    C: CachePlan,
{
    if !cfg!(feature = "trace") {
        return session.step(&mut ());
    }
    let before = session.forwards();
    let mut print = |event: &StepEvent<'_>| step_line::decisions(board, event, mask_id);
    let progress = session.step(&mut print)?;
    // A canvas without masks is finished without a forward pass.
    if session.forwards() != before {
        step_line::checksum(board, session.checksum());
    }
    Ok(progress)
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
