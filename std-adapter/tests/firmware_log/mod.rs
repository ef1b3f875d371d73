//! What firmware prints, made on this computer: by the engine alone, as firmware uses it, and by the
//! demo's own functions.

use crate::print::Console;
use crate::step_line;
use demask::decode::{CommitPolicy, Dream, Rank, Threshold, Wino};
use demask::image::ModelImage;
use demask::kernels::Scalar;
use demask::text::{Specials, Utf8Stream};
use demask::{
    Engine, Kernels, Limits, Method, Options, Plan, Progress, Serial, Session, StepEvent,
};
use demask_quant::{ImageBuffer, repack};
use demask_std::device::{HostAnswer, Step};
use std::path::{Path, PathBuf};

/// One decode: the log and what is in it.
pub(crate) struct Decoded {
    pub(crate) log: String,
    pub(crate) answer: HostAnswer,
}

/// The bundled image as a file.
pub(crate) fn model_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/intents-q4.dmk")
}

/// The bundled image, as the kernels that are used here read it.
pub(crate) struct Device {
    image: ImageBuffer,
}

const PROMPT: &str = " put what color is your sky by alana davis on the stereo";
const GENERATED: usize = 32;
const CANVAS: usize = 96;

impl Device {
    pub(crate) fn new() -> Self {
        let bytes = std::fs::read(model_path()).unwrap();
        let mut image = ImageBuffer::copy_of(&bytes).unwrap();
        repack(image.bytes_mut(), Scalar::LAYOUT).unwrap();
        Self { image }
    }

    /// The first lines.
    pub(crate) fn boot(&self) -> String {
        let image = ModelImage::parse(self.image.bytes()).unwrap();
        let mut log = b"demask firmware demo\nmachine: test\nimage bytes: ".to_vec();
        log.number(self.image.bytes().len() as u64);
        log.text("\nimage: ");
        log.text(image.layout().name());
        log.text(" ");
        let digest = image.header().manifest_digest.first_chunk().unwrap();
        log.hex(u64::from_be_bytes(*digest));
        log.text("\n");
        String::from_utf8(log).unwrap()
    }

    /// Two tokens in each step.
    pub(crate) fn pairs(&self) -> Decoded {
        let method = Method::with_policy(Dream::new(Rank::Entropy));
        let options = Options { steps: 16, ..Options::one_block(GENERATED) };
        self.decode("--gen-length 32 --steps 16 --policy entropy", method, options)
    }

    /// As many as are probable enough.
    pub(crate) fn threshold(&self) -> Decoded {
        let options = Options::one_block(GENERATED);
        let method = Method::with_policy(Threshold(0.9));
        self.decode("--gen-length 32 --threshold 0.9", method, options)
    }

    /// With tokens that are taken back.
    pub(crate) fn wino(&self) -> Decoded {
        let options = Options { block_length: 16, ..Options::one_block(GENERATED) };
        let name = "--gen-length 32 --block-length 16 --policy wino --cache none";
        self.decode(name, Method::with_policy(Wino::default()), options)
    }

    fn decode<P: CommitPolicy>(&self, name: &str, method: Method<P>, options: Options) -> Decoded {
        let image = ModelImage::parse(self.image.bytes()).unwrap();
        let needs = method.policy.needs();
        let limits = Limits { canvas: CANVAS, tile: 8, layout: Scalar::LAYOUT, workers: 1, needs };
        let plan = Plan::new(image.config(), &limits).unwrap();
        let mut memory = ImageBuffer::zeroed(plan.bytes()).unwrap();
        let (for_engine, for_session) = plan.carve(memory.bytes_mut()).unwrap();
        let engine = Engine::new(&image, for_engine, Scalar, Serial).unwrap();
        let mut session = Session::new(engine, for_session, method);
        let (mut canvas, tokenizer) = ([0; CANVAS], image.tokenizer().unwrap());
        let prefix: Vec<u32> = image.prompt().prefix().collect();
        let suffix: Vec<u32> = image.prompt().suffix().collect();
        let used = tokenizer.encode(PROMPT, &mut canvas).unwrap();
        let prompt = [&prefix[..], &canvas[..used], &suffix].concat();
        session.begin(&prompt, GENERATED, options).unwrap();

        let mut log = format!("\nprompt:{PROMPT}\nmethod: {name}\n").into_bytes();
        let mask_id = image.config().mask_id;
        let (mut steps, mut progress) = (Vec::<Step>::new(), Progress::Running);
        while progress == Progress::Running {
            let mut print = |event: &StepEvent<'_>| {
                step_line::decisions(&mut log, event, mask_id);
                steps.push(Step::of(event, mask_id));
            };
            progress = session.step(&mut print).unwrap();
            step_line::checksum(&mut log, session.checksum());
            steps.last_mut().unwrap().checksum = session.checksum().value();
        }
        let mut text = String::new();
        let mut stream = Utf8Stream::new();
        let take = |part: &str| text.push_str(part);
        tokenizer.decode(session.answer(), Specials::Skip, &mut stream, take).unwrap();
        let ids: Vec<String> = session.generated().iter().map(u32::to_string).collect();
        log.text(&format!("tokens: {}\ntext: ", ids.join(",")));
        log.one_line(&text);
        log.text("\n");
        log.field("steps", u64::from(session.forwards()));
        log.text("checksum: ");
        log.hex(session.checksum().value());
        log.text("\ninstructions: unavailable\n");
        let answer = HostAnswer {
            prompt: prompt.len(),
            steps,
            tokens: session.generated().to_vec(),
            text,
            checksum: session.checksum().value(),
        };
        Decoded { log: String::from_utf8(log).unwrap(), answer }
    }
}
