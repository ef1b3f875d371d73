//! One prompt by one decoder of each kind: with the feature `methods` the program shows that all of
//! them decide on a microcontroller as they do on a computer.
//!
//! Each is a [`Method`] of its own type, so the program holds one decoding loop for each of them. A
//! product names one, as in `prompts.rs`, and holds that one only.

use crate::{Board, Problem, answer, write_prompt};
use demask::cache::{
    BlockCache, CachePlan, DkvCache, DualCache, PrefixCache, SubBlockCache, SuffixWindow,
};
use demask::decode::{
    CREDITS, CommitFilter, CommitPolicy, Credit, CreditPair, Daedal, Dream, DreamGrid,
    EntropyBound, EosPolicy, EosRamp, Filter, Klass, Learn2pd, LocalLeap, LogitBias, Needs,
    Prophet, Rank, Remdm, Saber, Schedule, SlowFast, StopAtEos, Threshold, TopQ, Wino,
};
use demask::image::{Attention, ModelConfig, ModelImage};
use demask::kernels::{NATIVE, Native};
use demask::text::Tokenizer;
use demask::{Engine, Kernels, Limits, Method, Options, Plan, Serial, Session};

/// Tokens of prompt and answer at most: what policies and cache plans remember something of.
const TEXT: usize = 48;
/// Shadows behind the text, one for each position of a block.
const SHADOWS: usize = 16;

/// What all methods for a model together ask of the engine. Each gets a plan of its own within these
/// limits.
#[must_use]
pub const fn limits(config: &ModelConfig) -> Limits {
    let (canvas, needs) = match config.features.attention {
        Attention::Bidirectional => (TEXT + SHADOWS, Needs::DIVERGENCE.and(Needs::FILTER)),
        Attention::BlockCausal(_) => (TEXT, Needs::NONE),
    };
    Limits { canvas, tile: 8, layout: Native::LAYOUT, workers: 1, needs }
}

const PROMPT: &str = " play the latest album by weezer";

/// For a block-causal model: 16 tokens of `bard`, so the answer begins with a block, and its blocks are
/// as many as [`GENERATED`] and the block length say.
const SCENE: &str = " lord of warwick, what is the news?";

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
/// Half the blocks of a block-causal model whose blocks have 8 tokens.
const EIGHTHS: Options = Options { block_length: 4, ..WHOLE };
/// Drawn from the most probable tokens.
const DRAWN: Options =
    Options { temperature: 1.0, filter: Filter { tempered: false, top_k: 0, top_p: 0.9 }, ..WHOLE };

/// Tokens to generate where the answer finds its own length, up to [`GENERATED`].
const SHORT: usize = 8;

/// Decodes with every method that serves the model's attention. Each stands behind the options with
/// which `demask run` does the same; these leave nothing to defaults.
pub(crate) fn decode_all<B: Board>(
    board: &mut B,
    image: &ModelImage<'_>,
    _: &Plan,
    memory: &mut [u8],
) -> Result<(), Problem> {
    let tokenizer = image.tokenizer().ok_or(Problem("the image has no tokenizer"))?;
    let mut demo = Demo { board, prompt: PROMPT, image, tokenizer, memory };
    if image.config().features.attention != Attention::Bidirectional {
        demo.prompt = SCENE;
        return block_causal(&mut demo);
    }
    bidirectional(&mut demo)?;
    match image.filter()? {
        Some(filter) => learnt(&mut demo, filter),
        None => Ok(()),
    }
}

fn block_causal<B: Board>(demo: &mut Demo<'_, B>) -> Result<(), Problem> {
    demo.decode(
        "--block-length 8 --policy threshold:0.6 --schedule even --cache block --eos stop",
        Method::with_policy(Threshold(0.6)).with_cache(BlockCache::default()),
        GENERATED,
        QUARTERS,
    )?;
    demo.decode(
        "--block-length 4 --policy low-confidence --schedule even --cache sub-block --eos stop",
        Method::with_policy(TopQ).with_cache(SubBlockCache::default()),
        GENERATED,
        EIGHTHS,
    )
}

/// By itself, for its memory. The image brings the network.
#[inline(never)]
fn learnt<B: Board>(demo: &mut Demo<'_, B>, filter: CommitFilter<'_>) -> Result<(), Problem> {
    let mut scratch = [0.0; 2 * GENERATED];
    if Learn2pd::scratch(&filter) > scratch.len() {
        return Err(Problem("the network of the filter is too large for this program"));
    }
    demo.decode(
        "--block-length 32 --policy learn2pd --schedule even --cache none --eos stop",
        Method::with_policy(Learn2pd::new(filter, &mut scratch)),
        GENERATED,
        WHOLE,
    )
}

fn bidirectional<B: Board>(demo: &mut Demo<'_, B>) -> Result<(), Problem> {
    demo.decode(
        "--block-length 32 --steps 16 --policy entropy --schedule dream --cache none --eos stop",
        Method::with_policy(Dream::new(Rank::Entropy)).with_schedule(DreamGrid::default()),
        GENERATED,
        PAIRS,
    )?;
    demo.decode(
        "--block-length 16 --policy local-leap --schedule even --cache dual --eos stop",
        Method::with_policy(LocalLeap::default()).with_cache(DualCache::default()),
        GENERATED,
        HALVES,
    )?;
    demo.decode(
        "--block-length 32 --steps 16 --policy prophet+low-confidence --schedule even --cache none --eos stop",
        Method::with_policy(Prophet::new(TopQ)),
        GENERATED,
        PAIRS,
    )?;
    demo.decode(
        "--block-length 32 --steps 16 --policy low-confidence --schedule even --cache none --eos eoser+stop",
        Method::with_policy(TopQ).with_eos(EosRamp::linear().then(StopAtEos)),
        GENERATED,
        PAIRS,
    )?;
    demo.decode(
        "--block-length 16 --policy wino --schedule even --cache none --eos stop",
        Method::with_policy(Wino::default()),
        GENERATED,
        HALVES,
    )?;
    demo.decode(
        "--block-length 32 --policy saber --schedule even --cache none --eos stop",
        Method::with_policy(Saber::llada(&mut [[0.0; 2]; TEXT])),
        GENERATED,
        WHOLE,
    )?;
    demo.decode(
        "--block-length 32 --steps 32 --temperature 1 --top-p 0.9 --policy remdm-conf --schedule even --cache none --eos stop",
        Method::with_policy(Remdm::by_confidence(&mut [0.0; TEXT])),
        GENERATED,
        DRAWN,
    )?;
    demo.decode(
        "--block-length 32 --steps 16 --policy klass --schedule even --cache none --eos stop",
        Method::with_policy(Klass::new(&mut [0; TEXT])),
        GENERATED,
        PAIRS,
    )?;
    demo.credit()?;
    demo.decode(
        "--block-length 32 --policy entropy-bound --schedule even --cache dkv-decode:refresh=4 --eos stop",
        Method::with_policy(EntropyBound::default())
            .with_cache(DkvCache::decode(&mut [0; TEXT.div_ceil(8)]).refreshed_every(4)),
        GENERATED,
        WHOLE,
    )?;
    demo.decode(
        "--block-length 8 --policy slow-fast --schedule even --cache suffix-window:window=8+prefix --eos stop",
        Method::with_policy(SlowFast::default())
            .with_cache(SuffixWindow::whole(PrefixCache::default(), &mut [0; TEXT], 8)),
        GENERATED,
        QUARTERS,
    )?;
    demo.decode(
        "--block-length 8 --policy daedal:longest=32 --schedule even --cache none --eos stop",
        Method::with_policy(Daedal::new(GENERATED)),
        SHORT,
        Options::one_block(SHORT),
    )
}

/// What all methods share.
struct Demo<'a, B> {
    board: &'a mut B,
    prompt: &'static str,
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
            GENERATED,
            WHOLE,
        )
    }

    /// Decodes `generated` tokens behind the prompt. `name` is the method and its options as `demask run`
    /// takes them.
    #[inline(never)]
    fn decode<P, S, X, C>(
        &mut self,
        name: &str,
        method: Method<P, S, X, C>,
        generated: usize,
        options: Options,
    ) -> Result<(), Problem>
    where
        P: CommitPolicy,
        S: Schedule,
        X: EosPolicy,
        C: CachePlan,
    {
        let config = self.image.config();
        // What is not planned for takes no time: divergences do in every pass.
        let mut needs = method.policy.needs().and(method.cache.needs());
        if options.filter.is_some() {
            needs = needs.and(Needs::FILTER);
        }
        let plan = Plan::new(config, &Limits { needs, ..limits(config) })?;
        let (for_engine, for_session) = plan.carve(self.memory)?;
        let engine = Engine::new(self.image, for_engine, NATIVE, Serial)?;
        let mut session = Session::new(engine, for_session, method);
        let mut canvas = [0; TEXT];
        let canvas = write_prompt(self.image.prompt(), self.tokenizer, self.prompt, &mut canvas)?;
        session.begin(canvas, generated, options)?;
        self.board.text("\nprompt:");
        self.board.text(self.prompt);
        self.board.text("\nmethod: --gen-length ");
        self.board.number(generated as u64);
        self.board.text(" ");
        self.board.text(name);
        self.board.text("\n");
        answer(self.board, &mut session, self.image, self.tokenizer)
    }
}
