//! Each fault of an image has its own error, and the errors say what to do.

use crate::common::{
    Aligned, SMALLEST, image, image_with, reseal, section_at, sections, small_image, tensor_at,
    tensor_entry_at, with_engine, with_q4k,
};
use demask::decode::Needs;
use demask::image::{
    ImageError as E, ModelConfig, ModelImage, SectionKind, TensorRole, kind_code, peek_config,
};
use demask::kernels::integer::Integer;
use demask::packed::{Format, Layout};
use demask::text::TokenizerError;
use demask::{Engine, EngineError, Limits, Plan, Serial};
use demask_quant::Quantization;

/// Offset of entry `index` of the section table.
fn entry(index: usize) -> usize {
    64 + index * 64
}

/// The error of a small image after a change, its digests made right again.
fn refusal_in(format: Format, change: impl FnOnce(&mut [u8])) -> E {
    let mut image = small_image(format);
    change(&mut image);
    reseal(&mut image);
    ModelImage::parse(&image).map(|_| ()).expect_err("the change should be refused")
}

fn refusal(change: impl FnOnce(&mut [u8])) -> E {
    refusal_in(Format::Q8, change)
}

/// The error after the word at `at` was overwritten.
fn refused_word(at: usize, word: u32) -> E {
    refusal(|image| image[at..at + 4].copy_from_slice(&word.to_le_bytes()))
}

/// The error after the double word at `at` was overwritten.
fn refused_long(at: usize, long: u64) -> E {
    refusal(|image| image[at..at + 8].copy_from_slice(&long.to_le_bytes()))
}

fn start_of(kind: SectionKind) -> usize {
    section_at(&small_image(Format::Q8), kind).0
}

#[test]
fn the_header() {
    assert_eq!(refused_word(0, 0), E::NotAnImage);
    assert_eq!(refused_word(8, 2), E::Version { major: 2, minor: 0 });
    assert_eq!(refused_word(8, 0x0003_0000), E::Version { major: 0, minor: 3 });
    assert_eq!(refused_word(12, 1), E::Header("flags"));
    for count in [0, 65, u32::MAX] {
        assert_eq!(refused_word(28, count), E::Header("section count"));
    }
    let length = small_image(Format::Q8).len() as u64;
    assert_eq!(refused_long(16, u64::MAX), E::Truncated { needed: u64::MAX });
    assert_eq!(refused_long(16, length + 1), E::Truncated { needed: length + 1 });
    assert_eq!(refused_long(16, length - 64), E::TrailingBytes { expected: length - 64 });
    assert_eq!(refused_long(16, 0), E::TrailingBytes { expected: 0 });

    let image = small_image(Format::Q8);
    let longer = Aligned::copy_of(&[&image[..], &[0]].concat());
    assert_eq!(ModelImage::parse(&longer).unwrap_err(), E::TrailingBytes { expected: length });
    let mut moved = Aligned::zeroed(image.len() + 64);
    for shift in [1, 4, 16, 32, 63] {
        moved[shift..shift + image.len()].copy_from_slice(&image);
        let shifted = &moved[shift..shift + image.len()];
        assert_eq!(ModelImage::parse(shifted).unwrap_err(), E::Misaligned);
    }
}

#[test]
fn the_section_table() {
    let wrong = |index, problem| E::Section { index, problem };
    assert_eq!(refused_word(entry(4), 6), wrong(4, "unknown kind"));
    assert_eq!(refused_word(entry(4), 255), wrong(4, "unknown kind"));
    assert_eq!(refused_word(entry(0), 0), wrong(0, "kind out of order"));
    assert_eq!(refused_word(entry(2), 2), wrong(2, "kind out of order"), "a section twice");
    assert_eq!(refused_word(entry(1) + 4, 1), wrong(1, "reserved field not zero"));
    assert_eq!(refused_long(entry(1) + 24, 1 << 40), wrong(1, "reserved field not zero"));
    assert_eq!(refused_long(entry(1) + 8, u64::MAX), wrong(1, "offset"));
    assert_eq!(refused_long(entry(1) + 16, u64::MAX), wrong(1, "length"));
    assert_eq!(refused_long(entry(1) + 16, u64::MAX - 4096), wrong(1, "length"));
    assert_eq!(refused_word(28, 64), wrong(0, "offset"), "more entries than there are");
    let sections = small_image(Format::Q8).len() as u64;
    let weights = start_of(SectionKind::Weights) as u64;
    let cut = refused_long(entry(4) + 16, sections - weights - 64);
    assert_eq!(cut, E::TrailingBytes { expected: sections - 64 });
}

#[test]
fn missing_and_optional_sections() {
    let kinds = |kinds: [u32; 3]| {
        let mut image = image(SMALLEST, Format::Q4, 1);
        for (index, kind) in kinds.into_iter().enumerate() {
            image[entry(index)..entry(index) + 4].copy_from_slice(&kind.to_le_bytes());
        }
        reseal(&mut image);
        ModelImage::parse(&image).map(|_| ())
    };
    assert_eq!(kinds([1, 4, 5]), Ok(()));
    assert_eq!(kinds([2, 4, 5]), Err(E::MissingSection(SectionKind::Config)));
    assert_eq!(kinds([1, 256, 257]), Err(E::MissingSection(SectionKind::Tensors)));
    assert_eq!(kinds([1, 4, 256]), Err(E::MissingSection(SectionKind::Weights)));
    assert_eq!(peek_config(&[0; 200]), Err(E::MissingSection(SectionKind::Config)));
    assert_eq!(peek_config(&small_image(Format::Q4)), Ok(SMALLEST));
    assert_eq!(peek_config(&small_image(Format::Q4)[..384]).map(|_| ()), Err(missing_config()));
}

fn missing_config() -> E {
    E::MissingSection(SectionKind::Config)
}

#[test]
fn absurd_sizes_name_their_field() {
    let config = start_of(SectionKind::Config);
    let fields = [
        "vocab_size",
        "model_dim",
        "layers",
        "heads",
        "kv_heads",
        "head_dim",
        "ffn_dim",
        "context",
    ];
    for (index, field) in fields.into_iter().enumerate() {
        for absurd in [0, u32::MAX, 1 << 31] {
            assert_eq!(refused_word(config + 4 + 4 * index, absurd), E::Config(field));
        }
    }
    let word = |index: usize, value| refused_word(config + 4 * index, value);
    for unknown in [0, 12] {
        let problem = "architecture (not one that this version knows)";
        assert_eq!(word(0, unknown), E::Config(problem));
    }
    assert_eq!(word(6, 5), E::Config("head_dim (must be even)"));
    assert_eq!(word(5, 3), E::Config("kv_heads (must divide heads)"));
    assert_eq!(word(9, 11), E::Config("mask_id (must be below vocab_size)"));
    for eos in [1, 11] {
        assert_eq!(word(10, eos), E::Config("eos_id (below vocab_size, and not the mask)"));
    }
    for theta in [f32::NAN, f32::INFINITY, 0.5, -1.0] {
        assert_eq!(word(11, theta.to_bits()), E::Config("rope_theta"));
    }
    for eps in [f32::NAN, f32::INFINITY, 0.0, -1e-5] {
        assert_eq!(word(12, eps.to_bits()), E::Config("norm_eps"));
    }
    assert_eq!(word(13, 1 << 11), E::Config("flags"));
    assert_eq!(word(13, 1 << 8), E::Config("experts (details without a count)"));
    assert_eq!(word(14, 1 << 20), E::Config("attention (length of a block)"));
    assert_eq!(word(15, 1), E::Config("rope_dim (even, in a head)"));
    // The heads fit one by one and not together.
    let both = refusal(|image| {
        image[config + 16..config + 20].copy_from_slice(&1024u32.to_le_bytes());
        image[config + 24..config + 28].copy_from_slice(&1024u32.to_le_bytes());
    });
    assert_eq!(both, E::Config("heads * head_dim"));
    // A plausible shape with other tensors than the file has.
    let more = |role| E::Tensor { role, problem: "shape differs from the configuration" };
    assert_eq!(word(2, 9), more(TensorRole::Embedding));
    assert_eq!(word(7, 13), more(TensorRole::Gate(0)));
    let another = "expected here, another one found";
    let role = TensorRole::AttentionNorm(1);
    assert_eq!(word(3, 2), E::Tensor { role, problem: another });
    // Untied: the head is missing.
    let (role, problem) = (TensorRole::Head, "missing from the table");
    assert_eq!(word(13, 0), E::Tensor { role, problem });
}

/// A feature that the configuration has and the tensors do not, and the other way round.
#[test]
fn features_and_tensors_that_do_not_belong_together() {
    use TensorRole as Role;
    let refused = |experts: bool, word: usize, value: &dyn Fn(u32) -> u32| {
        let mut image = match experts {
            true => crate::common::small_image_with_experts(Format::Q8),
            false => small_image(Format::Q8),
        };
        let at = section_at(&image, SectionKind::Config).0 + 4 * word;
        let old = u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        image[at..at + 4].copy_from_slice(&value(old).to_le_bytes());
        reseal(&mut image);
        ModelImage::parse(&image).map(|_| ()).expect_err("the change should be refused")
    };
    let another = |role| E::Tensor { role, problem: "expected here, another one found" };
    let missing = |role| E::Tensor { role, problem: "missing from the table" };
    let shape = |role| E::Tensor { role, problem: "shape differs from the configuration" };
    // Biases, norms of heads, LayerNorm, GELU, bias of the head: announced, and not there.
    for (bit, error) in [
        (3, another(Role::QueryBias(0))),
        (4, another(Role::QueryNorm(0))),
        (5, another(Role::AttentionNormBias(0))),
        (6, another(Role::Up(0))),
        (7, missing(Role::HeadBias)),
    ] {
        assert_eq!(refused(false, 13, &|flags| flags ^ 1 << bit), error, "bit {bit}");
    }
    // There, and not announced.
    for (bit, error) in [
        (3, another(Role::Key(0))),
        (4, another(Role::AttentionOutput(0))),
        (5, another(Role::Query(0))),
        (6, E::Config("experts (not with GELU)")),
        (7, E::SurplusTensors),
        (9, another(Role::ExpertGates(1))),
    ] {
        assert_eq!(refused(true, 13, &|flags| flags ^ 1 << bit), error, "bit {bit}");
    }
    // Numbers of the experts: count, chosen, width, shared width, dense layers, groups, chosen groups.
    let counts = "experts (at most 1024, of which a row takes 1 to 16)";
    for (word, value, error) in [
        (16, 0, E::Config("experts (details without a count)")),
        (16, 9, shape(Role::Router(1))),
        (17, 7, E::Config(counts)),
        (18, 24, E::Config("experts (widths must be multiples of 16)")),
        (18, 32, shape(Role::ExpertGates(1))),
        (19, 0, another(Role::OutputNorm)),
        (19, 11, shape(Role::Gate(1))),
        (20, 0, another(Role::Router(0))),
        (20, 3, E::Config(counts)),
        (21, 4, E::Config("experts (groups or scale)")),
        (22, 4, E::Config("experts (groups or scale)")),
        (23, f32::NAN.to_bits(), E::Config("experts (groups or scale)")),
        (24, 1, E::Config("reserved words")),
    ] {
        assert_eq!(refused(true, word, &|_| value), error, "word {word}");
    }
}

#[test]
fn the_tensor_table() {
    let bytes = small_image(Format::Q8);
    let at = |index| tensor_entry_at(&bytes, index);
    let wrong = |role, problem| E::Tensor { role, problem };
    let swapped = refusal(|image| {
        let (key, value) = (at(3), at(4));
        (0..32).for_each(|i| image.swap(key + i, value + i));
    });
    assert_eq!(swapped, wrong(TensorRole::Key(0), "expected here, another one found"));
    let q8 = kind_code(Format::Q8, Layout::Rows16);
    let norm = wrong(TensorRole::AttentionNorm(0), "norms, biases and routers must be f32");
    assert_eq!(refused_word(at(1) + 4, q8), norm);
    let order = "packed in an order that this version does not know";
    for (code, problem) in [
        (0, "unknown format"),
        (6, order),
        (7, "unknown format"),
        (5, order),
        (5 | 1 << 8, "q4k needs a multiple of 256 columns; store it as q4 or q8"),
        (0xff, "unknown format"),
        (q8 | 1 << 16, "unknown flags"),
        (1 << 8 | 1, order),
        (3, order),
        (3 | 99 << 8, order),
    ] {
        assert_eq!(refused_word(at(2) + 4, code), wrong(TensorRole::Query(0), problem));
    }
    // Each tensor could be read, but no kernels read both.
    let mixed = "packed in another order than the tensors before it";
    let dsp = kind_code(Format::Q8, Layout::Dsp);
    assert_eq!(refused_word(at(2) + 4, dsp), wrong(TensorRole::Query(0), mixed));
    let shape = wrong(TensorRole::Query(0), "shape differs from the configuration");
    for size in [0, 7, u32::MAX] {
        assert_eq!(refused_word(at(2) + 8, size), shape);
        assert_eq!(refused_word(at(2) + 12, size), shape);
    }
    let place = wrong(TensorRole::Query(0), "offset or length");
    for long in [0, 1, u64::MAX, u64::MAX - 63] {
        assert_eq!(refused_long(at(2) + 16, long), place);
        assert_eq!(refused_long(at(2) + 24, long), place);
    }
    // The other packed format would read other bytes.
    assert_eq!(refused_word(at(2) + 4, kind_code(Format::Q4, Layout::Rows16)), place);
    let layer = wrong(TensorRole::Query(0), "expected here, another one found");
    assert_eq!(refused_word(at(2), 3 | 1 << 16), layer);
    // One entry more than the model has tensors: two sections share the bytes otherwise.
    let surplus = refusal(|image| {
        let length = section_at(image, SectionKind::Tensors).1 as u64 + 32;
        image[entry(3) + 16..entry(3) + 24].copy_from_slice(&length.to_le_bytes());
    });
    assert_eq!(surplus, E::SurplusTensors);
}

#[test]
fn numbers_that_are_none() {
    let problem = "a weight or scale is not finite or out of range";
    let wrong = |role| E::Tensor { role, problem };
    // The scales come after a matrix's integers: one cell of 512 bytes, or 256, then 16 halves.
    for bits in [0x7e00u16, 0x7c00, 0xfc00, 0x7c01, 0xffff] {
        for (format, integers) in [(Format::Q8, 512), (Format::Q4, 256)] {
            let role = TensorRole::Down(0);
            let error = refusal_in(format, |image| {
                let at = tensor_at(image, role) + integers + 2 * 5;
                image[at..at + 2].copy_from_slice(&bits.to_le_bytes());
            });
            assert_eq!(error, wrong(role), "scale {bits:#x}");
        }
        let role = TensorRole::Embedding;
        let error = refusal_in(Format::F16, |image| {
            let at = tensor_at(image, role) + 2 * 7;
            image[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        });
        assert_eq!(error, wrong(role), "weight {bits:#x}");
    }
    // Eight groups of Q4K: eight times 256 bytes, 16 halves, 16 halves, 256 bytes of any value.
    let config = ModelConfig { model_dim: 256, ..SMALLEST };
    let role = TensorRole::Value(0);
    let valid = with_q4k(&image(config, Format::Q8, 1), Layout::Rows16, 1, |r| r == role);
    for (at, bits) in [(0, 0x7c00u16), (31, 0xffff), (32, 0xffff), (159, 0xffff)] {
        let mut image = valid.clone();
        let place = tensor_at(&image, role) + 8 * 256 + 2 * at;
        image[place..place + 2].copy_from_slice(&bits.to_le_bytes());
        reseal(&mut image);
        let result = ModelImage::parse(&image);
        assert_eq!(result.err(), (at < 32).then_some(wrong(role)), "half {at} of a super-block");
    }
    let error = refusal(|image| image[tensor_at(image, role) + 9] = 0x80);
    assert_eq!(error, wrong(role), "-128 in Q8");
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (format, role) in
            [(Format::Q4, TensorRole::FfnNorm(0)), (Format::F32, TensorRole::Up(0))]
        {
            let error = refusal_in(format, |image| {
                let at = tensor_at(image, role) + 4;
                image[at..at + 4].copy_from_slice(&number.to_le_bytes());
            });
            assert_eq!(error, wrong(role), "{number}");
        }
    }
}

#[test]
fn prompt_and_tokenizer() {
    let prompt = start_of(SectionKind::Prompt);
    let wrong = E::Prompt;
    assert_eq!(refused_word(prompt + 16, 11), wrong("an id is not in the vocabulary"));
    assert_eq!(refused_word(prompt + 24, u32::MAX), wrong("an id is not in the vocabulary"));
    assert_eq!(refused_word(prompt, 2), wrong("length"));
    assert_eq!(refused_word(prompt, 65), wrong("more than 64 ids"));
    assert_eq!(refused_word(prompt + 4, u32::MAX), wrong("more than 64 ids"));
    assert_eq!(refused_word(prompt + 8, 4), wrong("unknown flags"));
    assert_eq!(refused_word(prompt + 12, 1), wrong("unknown flags"));
    for (length, problem) in [(1, "too short"), (15, "too short"), (16, "length"), (29, "length")] {
        assert_eq!(refused_long(entry(2) + 16, length), wrong(problem));
    }
    let tokenizer = start_of(SectionKind::Tokenizer);
    assert_eq!(refused_word(tokenizer, 9), E::Tokenizer(TokenizerError::Kind(9)));
}

#[test]
fn digests() {
    let kinds = [
        SectionKind::Config,
        SectionKind::Tokenizer,
        SectionKind::Prompt,
        SectionKind::Tensors,
        SectionKind::Weights,
    ];
    let original = small_image(Format::Q4);
    for (index, kind) in (0..).zip(kinds) {
        let mut image = original.clone();
        image[entry(index as usize) + 40] ^= 1;
        assert_eq!(ModelImage::parse(&image).unwrap_err(), E::ManifestDigest);
        let mut resealed = image.clone();
        reseal(&mut resealed);
        assert_eq!(resealed[..], original[..]);
        // A right manifest over a wrong digest.
        let manifest = demask::image::manifest_digest(&image, entry(kinds.len()));
        image[32..64].copy_from_slice(&manifest);
        let kind = Some(kind);
        assert_eq!(ModelImage::parse(&image).unwrap_err(), E::Digest { index, kind });
        assert!(ModelImage::parse_unverified(&image).is_ok());
    }
}

#[test]
fn an_engine_wants_quantized_weights_and_its_own_memory() {
    let bytes = image(SMALLEST, Format::F16, 1);
    let parsed = ModelImage::parse(&bytes).unwrap();
    assert_eq!(with_engine(&parsed, 4, |_| ()), Err(EngineError::NotQuantized));
}

#[test]
fn kernels_that_do_not_read_q4k_refuse_it() {
    let config = ModelConfig { model_dim: 256, ..SMALLEST };
    let quantization = Quantization { layout: Layout::Words, ..Quantization::uniform(Format::Q4) };
    let plain = image_with(&sections(config), quantization, 1);
    let bytes = with_q4k(&plain, Layout::Words, 1, |role| role == TensorRole::Embedding);
    let limits =
        Limits { canvas: 4, tile: 4, layout: Layout::Words, workers: 1, needs: Needs::NONE };
    let plan = Plan::new(&config, &limits).unwrap();
    for (bytes, expected) in [(plain, None), (bytes, Some(EngineError::Format(Format::Q4K)))] {
        let image = ModelImage::parse(&bytes).unwrap();
        let mut memory = Aligned::zeroed(plan.bytes());
        let (memory, _) = plan.carve(&mut memory).unwrap();
        let engine = Engine::new(&image, memory, Integer::new(), Serial);
        assert_eq!(engine.err(), expected);
    }
    assert!(EngineError::Format(Format::Q4K).to_string().contains("demask quantize --type q4"));
}

#[test]
fn kernels_that_do_not_read_q5_refuse_it() {
    let quantization = Quantization { layout: Layout::Words, ..Quantization::uniform(Format::Q5) };
    let bytes = image_with(&sections(SMALLEST), quantization, 1);
    let image = ModelImage::parse(&bytes).unwrap();
    let limits =
        Limits { canvas: 4, tile: 4, layout: Layout::Words, workers: 1, needs: Needs::NONE };
    let plan = Plan::new(&SMALLEST, &limits).unwrap();
    let mut memory = Aligned::zeroed(plan.bytes());
    let (memory, _) = plan.carve(&mut memory).unwrap();
    let error = Engine::new(&image, memory, Integer::new(), Serial).err().unwrap();
    assert_eq!(error, EngineError::Format(Format::Q5));
    assert!(error.to_string().contains("demask quantize --type q8"));
}

#[test]
fn messages_say_what_to_do() {
    let not_an_image = refused_word(0, 0).to_string();
    assert!(not_an_image.contains("demask quantize"), "{not_an_image}");
    let cut = E::Truncated { needed: 4096 }.to_string();
    assert_eq!(cut, "the image is cut off: it needs 4096 bytes; copy it again");
    let role = TensorRole::Key(3);
    let tensor = E::Tensor { role, problem: "offset or length" }.to_string();
    assert_eq!(tensor, "tensor key of layer 3: offset or length");
    let digest = E::Digest { index: 4, kind: Some(SectionKind::Weights) }.to_string();
    assert!(digest.starts_with("section 4 (WEIGHTS) does not match its digest"), "{digest}");
}
