//! A commit policy of your own, on the bundled model:
//!
//!     cargo run --release -p demask --example custom_policy

use demask::decode::{Commit, CommitPolicy, Edit, StepView};
use demask::{Engine, Limits, Method, ModelImage, Options, Plan, Scalar, Serial, Session};
use demask::{StepEvent, text};
use std::error::Error;

/// Commits every position whose best token is this many nats ahead of the second best.
struct Margin {
    nats: f32,
}

impl CommitPolicy for Margin {
    fn select(&mut self, view: &StepView<'_>, edit: &mut Edit<'_>) {
        for score in view.candidates() {
            let margin = score.top_logit - score.runner_up_logit;
            if margin >= self.nats {
                let (position, token) = (score.position, score.proposal);
                // Ranked by margin; no limit to how many are kept.
                edit.offer(Commit { position, token, confidence: margin }, usize::MAX);
            }
        }
        // Nothing offered: the session commits the most probable proposal, so that it gets on.
    }
}

#[repr(align(64))]
struct Aligned<T: ?Sized>(T);
static IMAGE: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/intents-q4.dmk"));

#[repr(align(16))]
struct Memory([u8; 192 * 1024]);

fn main() -> Result<(), Box<dyn Error>> {
    let image = ModelImage::parse(&IMAGE.0)?;
    let tokenizer = image.tokenizer().ok_or("the image has no tokenizer")?;
    let mut prompt: Vec<u32> = image.prompt().prefix().collect();
    let mut ids = [0; 64];
    let count = tokenizer.encode(" play the latest album by weezer", &mut ids)?;
    prompt.extend(&ids[..count]);
    prompt.extend(image.prompt().suffix());

    let plan = Plan::new(
        image.config(),
        &Limits { canvas: 96, tile: 8, layout: image.layout(), workers: 1 },
    )?;
    let mut memory = Box::new(Memory([0; 192 * 1024]));
    let (for_engine, for_session) = plan.carve(&mut memory.0)?;
    let engine = Engine::new(&image, for_engine, Scalar, Serial)?;
    let mut session = Session::new(engine, for_session, Method::with_policy(Margin { nats: 4.0 }));

    session.begin(&prompt, 56, Options::one_block(56))?;
    session.run(&mut |event: &StepEvent<'_>| {
        println!("pass {}: {} committed", event.forward, event.commits.len());
    })?;

    let (mut stream, mut answer) = (text::Utf8Stream::new(), String::new());
    let skip = text::Specials::Skip;
    tokenizer.decode(session.answer(), skip, &mut stream, |part| answer.push_str(part))?;
    println!("{answer}\nchecksum {}", session.checksum());
    Ok(())
}
