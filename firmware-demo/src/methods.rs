//! One prompt by one decoder of each kind: with the feature `methods` the program shows that all of
//! them decide on a microcontroller as they do on a computer.
//!
//! Each is a [`Method`] of its own type, so the program holds one decoding loop for each of them. A
//! product names one, as in `prompts.rs`, and holds that one only.

use crate::{Board, Problem, answer, write_prompt};
use demask::cache::{CachePlan, DkvCache, DualCache, PrefixCache, SuffixWindow};
use demask::decode::{
    CREDITS, CommitPolicy, Credit, CreditPair, Dream, DreamGrid, EntropyBound, EosPolicy, EosRamp,
    Filter, Klass, LocalLeap, LogitBias, Needs, Prophet, Rank, Remdm, Saber, Schedule, SlowFast,
    StopAtEos, TopQ, Wino,
};
use demask::image::ModelImage;
use demask::kernels::{NATIVE, Native};
use demask::text::Tokenizer;
use demask::{Engine, Kernels, Limits, Method, Options, Plan, Serial, Session};

/// Tokens of prompt and answer at most: what policies and cache plans remember something of.
const TEXT: usize = 48;
/// Shadows behind the text, one for each position of a block.
const SHADOWS: usize = 16;

/// What all methods together ask of the engine. Each gets a plan of its own within these limits.
pub const LIMITS: Limits = Limits {
    canvas: TEXT + SHADOWS,
    tile: 8,
    layout: Native::LAYOUT,
    workers: 1,
    needs: Needs::DIVERGENCE.and(Needs::FILTER),
};

const PROMPT: &str = " play the latest album by weezer";

/// Tokens to generate, the end tokens after the answer included.
const GENERATED: usize = 32;

/// One block, one step for each token.
const WHOLE: Options = Options::one_block(GENERATED);
/// One block, two tokens in each step of a policy that counts.
const PAIRS: Options = Options { steps: 16, ..WHOLE };
/// Blocks of half the answer.
const HALVES: Options = Options { block_length: 16, ..WHOLE };
/// Blocks of a quarter of it.
const QUARTERS: Options = Options { block_length: 8, ..WHOLE };
/// Drawn from the most probable tokens.
const DRAWN: Options =
    Options { temperature: 1.0, filter: Filter { tempered: false, top_k: 0, top_p: 0.9 }, ..WHOLE };

/// Decodes with every method. Each stands behind the options with which `demask run` does the same;
/// these leave nothing to defaults.
pub(crate) fn decode_all<B: Board>(
    board: &mut B,
    image: &ModelImage<'_>,
    _: &Plan,
    memory: &mut [u8],
) -> Result<(), Problem> {
    let tokenizer = image.tokenizer().ok_or(Problem("the image has no tokenizer"))?;
    let mut demo = Demo { board, image, tokenizer, memory };

    demo.decode(
        "--block-length 32 --steps 16 --policy entropy --schedule dream --cache none --eos stop",
        Method::with_policy(Dream::new(Rank::Entropy)).with_schedule(DreamGrid::default()),
        PAIRS,
    )?;
    demo.decode(
        "--block-length 16 --policy local-leap --schedule even --cache dual --eos stop",
        Method::with_policy(LocalLeap::default()).with_cache(DualCache::default()),
        HALVES,
    )?;
    demo.decode(
        "--block-length 32 --steps 16 --policy prophet+low-confidence --schedule even --cache none --eos stop",
        Method::with_policy(Prophet::new(TopQ)),
        PAIRS,
    )?;
    demo.decode(
        "--block-length 32 --steps 16 --policy low-confidence --schedule even --cache none --eos eoser+stop",
        Method::with_policy(TopQ).with_eos(EosRamp::linear().then(StopAtEos)),
        PAIRS,
    )?;
    demo.decode(
        "--block-length 16 --policy wino --schedule even --cache none --eos stop",
        Method::with_policy(Wino::default()),
        HALVES,
    )?;
    demo.decode(
        "--block-length 32 --policy saber --schedule even --cache none --eos stop",
        Method::with_policy(Saber::llada(&mut [[0.0; 2]; TEXT])),
        WHOLE,
    )?;
    demo.decode(
        "--block-length 32 --steps 32 --temperature 1 --top-p 0.9 --policy remdm-conf --schedule even --cache none --eos stop",
        Method::with_policy(Remdm::by_confidence(&mut [0.0; TEXT])),
        DRAWN,
    )?;
    demo.decode(
        "--block-length 32 --steps 16 --policy klass --schedule even --cache none --eos stop",
        Method::with_policy(Klass::new(&mut [0; TEXT])),
        PAIRS,
    )?;
    demo.credit()?;
    demo.decode(
        "--block-length 32 --policy entropy-bound --schedule even --cache dkv-decode:refresh=4 --eos stop",
        Method::with_policy(EntropyBound::default())
            .with_cache(DkvCache::decode(&mut [0; TEXT.div_ceil(8)]).refreshed_every(4)),
        WHOLE,
    )?;
    demo.decode(
        "--block-length 8 --policy slow-fast --schedule even --cache suffix-window:window=8+prefix --eos stop",
        Method::with_policy(SlowFast::default())
            .with_cache(SuffixWindow::whole(PrefixCache::default(), &mut [0; TEXT], 8)),
        QUARTERS,
    )
}

/// What all methods share.
struct Demo<'a, B> {
    board: &'a mut B,
    image: &'a ModelImage<'a>,
    tokenizer: &'a Tokenizer<'a>,
    memory: &'a mut [u8],
}

impl<B: Board> Demo<'_, B> {
    /// By itself, since its memory of 7.5 KiB is not to lie on the stack of the others.
    #[inline(never)]
    fn credit(&mut self) -> Result<(), Problem> {
        let mut pairs = [[CreditPair { id: 0, credit: 0.0 }; CREDITS]; TEXT];
        let mut bias = [LogitBias { position: 0, id: 0, nats: 0.0 }; TEXT * CREDITS];
        self.decode(
            "--block-length 32 --policy credit --schedule even --cache none --eos stop",
            Method::with_policy(Credit::new(0.9, &mut pairs, &mut bias)),
            WHOLE,
        )
    }

    /// Decodes the prompt once. `name` is the method and its options as `demask run` takes them.
    #[inline(never)]
    fn decode<P, S, X, C>(
        &mut self,
        name: &str,
        method: Method<P, S, X, C>,
        options: Options,
    ) -> Result<(), Problem>
    where
        P: CommitPolicy,
        S: Schedule,
        X: EosPolicy,
        C: CachePlan,
    {
        // What is not planned for takes no time: divergences do in every pass.
        let mut needs = method.policy.needs().and(method.cache.needs());
        if options.filter.is_some() {
            needs = needs.and(Needs::FILTER);
        }
        let plan = Plan::new(self.image.config(), &Limits { needs, ..LIMITS })?;
        let (for_engine, for_session) = plan.carve(self.memory)?;
        let engine = Engine::new(self.image, for_engine, NATIVE, Serial)?;
        let mut session = Session::new(engine, for_session, method);
        let mut canvas = [0; TEXT];
        let canvas = write_prompt(self.image.prompt(), self.tokenizer, PROMPT, &mut canvas)?;
        session.begin(canvas, GENERATED, options)?;
        self.board.text("\nprompt:");
        self.board.text(PROMPT);
        self.board.text("\nmethod: --gen-length 32 ");
        self.board.text(name);
        self.board.text("\n");
        answer(self.board, &mut session, self.image, self.tokenizer)
    }
}
