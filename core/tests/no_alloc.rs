//! From bytes to text without the heap: a counting allocator sees nothing.

mod common;

use common::{Aligned, small_image, small_image_with_experts};
use demask::decode::Threshold;
use demask::image::ModelImage;
use demask::packed::Format;
use demask::text::{Specials, Utf8Stream};
use demask::{Engine, Limits, Method, Options, Plan, Scalar, Serial, Session, StepEvent};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread since it last looked.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

fn note() {
    // A thread that is going away has no counter, and nobody who would look at it.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note();
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and deallocations while `work` runs.
fn count<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let before = COUNT.get();
    let result = work();
    (COUNT.get() - before, result)
}

/// A whole answer, in memory that was there before.
fn answer(image: &[u8], memory: &mut [u8], text: &mut [u8]) -> (usize, u64, u32) {
    let image = ModelImage::parse(image).unwrap();
    let plan = Plan::new(
        image.config(),
        &Limits { canvas: 16, tile: 4, layout: demask::packed::Layout::Rows16, workers: 1 },
    )
    .unwrap();
    let (for_engine, for_session) = plan.carve(memory).unwrap();
    let engine = Engine::new(&image, for_engine, Scalar, Serial).unwrap();

    let tokenizer = image.tokenizer().unwrap();
    let mut ids = [0; 16];
    let prompt = tokenizer.encode_with_specials("abc<end>dab", &mut ids).unwrap();
    let mut session = Session::new(engine, for_session, Method::with_policy(Threshold(0.5)));
    let options = Options {
        block_length: 4,
        steps: 8,
        temperature: 0.8,
        seed: 3,
        pinned: 0,
        ..Options::one_block(1)
    };
    session.begin(&ids[..prompt], 8, options).unwrap();
    let mut decisions = 0;
    let mut trace = |event: &StepEvent<'_>| decisions += event.commits.len() as u32;
    session.run(&mut trace).unwrap();

    let (mut stream, mut used) = (Utf8Stream::new(), 0);
    let mut sink = |part: &str| {
        text[used..used + part.len()].copy_from_slice(part.as_bytes());
        used += part.len();
    };
    tokenizer.decode(session.generated(), Specials::Render, &mut stream, &mut sink).unwrap();
    stream.finish(&mut sink);
    (used, session.checksum().value(), decisions)
}

#[test]
fn nothing_is_allocated_from_image_to_text() {
    for format in [Format::Q4, Format::Q8] {
        for image in [small_image(format), small_image_with_experts(format)] {
            let mut memory = Aligned::zeroed(64 * 1024);
            let mut text = [0; 256];
            let (allocations, (used, checksum, decisions)) =
                count(|| answer(&image, &mut memory, &mut text));
            assert_eq!(allocations, 0);
            assert!(used > 0 && checksum != 0 && decisions > 0);
            assert!(std::str::from_utf8(&text[..used]).is_ok());
        }
    }
}

#[test]
fn errors_do_not_allocate_either() {
    let image = small_image(Format::Q4);
    let mut damaged = image.clone();
    damaged[image.len() - 100] ^= 1;
    let mut memory = Aligned::zeroed(64 * 1024);
    let (allocations, ()) = count(|| {
        assert!(ModelImage::parse(&damaged).is_err());
        let image = ModelImage::parse(&image).unwrap();
        let limits =
            Limits { canvas: 16, tile: 4, layout: demask::packed::Layout::Rows16, workers: 1 };
        let plan = Plan::new(image.config(), &limits).unwrap();
        assert!(plan.carve(&mut memory[..100]).is_err());
        let (for_engine, for_session) = plan.carve(&mut memory).unwrap();
        let engine = Engine::new(&image, for_engine, Scalar, Serial).unwrap();
        let mut session = Session::new(engine, for_session, <Method>::default());
        assert!(session.begin(&[99], 4, Options::one_block(4)).is_err());
        assert!(session.begin(&[5], 99, Options::one_block(99)).is_err());
        assert!(image.tokenizer().unwrap().encode("abc", &mut []).is_err());
    });
    assert_eq!(allocations, 0);
}

#[test]
fn the_counter_counts() {
    let (allocations, boxed) = count(|| Box::new(5));
    assert_eq!((allocations, *boxed), (1, 5));
}
