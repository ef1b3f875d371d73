//! Models as users have them: what is packed is what the file says, however it gets there.

use crate::gguf_models::{file, model, name_of};
use demask::ModelImage;
use demask::decode::Needs;
use demask::image::TensorRole;
use demask::packed::{Format, Layout};
use demask_quant::ggml::GgmlType;
use demask_quant::{Quantization, Sections, WeightSource, pack_image, write_image};
use demask_std::load::{LoadOptions, LoadedModel};
use demask_std::mmap::Access;
use demask_std::runtime::{Held, Memory, Runtime, Settings};
use std::io::Cursor;

fn sections(model: &LoadedModel) -> Sections {
    Sections {
        config: *model.config(),
        tokenizer: None,
        prompt: None,
        filter: None,
        security_counter: 0,
    }
}

/// Types, and what holds them.
const TYPES: [(GgmlType, Format, bool); 8] = [
    (GgmlType::Q4_0, Format::Q4, true),
    (GgmlType::Q8_0, Format::Q8, true),
    (GgmlType::Q5_0, Format::Q5, true),
    (GgmlType::Q4_K, Format::Q4K, true),
    (GgmlType::MXFP4, Format::Q8, true),
    (GgmlType::Q4_1, Format::Q8, false),
    (GgmlType::Q6_K, Format::Q8, false),
    (GgmlType::F16, Format::Q8, false),
];

#[test]
fn packed_weights_are_those_of_ggml_bit_for_bit() {
    for (stored_as, format, exact) in TYPES {
        let given = model("llada", stored_as);
        let path = file(&format!("exact-{stored_as}.gguf"), &given);
        let opened = LoadedModel::open(&path, true).unwrap();
        let keep = Quantization::keep(Layout::Rows16);
        let image = pack_image(&sections(&opened), keep, &opened.weights(), 2, &|_, _| ()).unwrap();
        let image = ModelImage::parse_unverified(image.bytes()).unwrap();
        for tensor in image.tensors().filter(|t| !t.role.stays_f32()) {
            assert_eq!(tensor.format, format, "{stored_as}");
            let values = given.values(&name_of(tensor.role));
            let mut blocks = vec![0; stored_as.bytes_of(values.len()).unwrap()];
            stored_as.quantize(values, &mut blocks).unwrap();
            let mut expected = vec![0.0; values.len()];
            stored_as.dequantize(&blocks, &mut expected).unwrap();
            let (mut row, matrix) = (vec![0.0; tensor.cols], tensor.packed().unwrap());
            let mut worst = 0.0f32;
            for (index, expected) in expected.chunks(tensor.cols).enumerate() {
                assert!(matrix.dequantize_row(index, &mut row));
                let differences = row.iter().zip(expected).map(|(a, b)| (a - b).abs());
                worst = differences.fold(worst, f32::max);
            }
            assert_eq!(worst == 0.0, exact, "{stored_as} {:?}: {worst}", tensor.role);
            // Half the covering scale, or up to twice that where steps of the source decide.
            let bound = if stored_as == GgmlType::F16 { 0.005 } else { 0.01 };
            assert!(worst < bound, "{stored_as} {:?}: {worst}", tensor.role);
        }
    }
}

#[test]
fn threads_and_places_do_not_change_a_byte() {
    for (stored_as, ..) in TYPES {
        let path = file(&format!("bytes-{stored_as}.gguf"), &model("llada", stored_as));
        let opened = LoadedModel::open(&path, true).unwrap();
        let (sections, weights) = (sections(&opened), opened.weights());
        for layout in [Layout::Rows16, Layout::Dsp] {
            let keep = Quantization::keep(layout);
            let written = |threads| {
                let mut out = Cursor::new(Vec::new());
                let nothing = &mut |_: &demask_quant::TensorReport| ();
                write_image(&sections, keep, &weights, &mut out, threads, nothing).unwrap();
                out.into_inner()
            };
            let file = written(1);
            assert!(file == written(3), "{stored_as}");
            for threads in [1, 3] {
                let memory = pack_image(&sections, keep, &weights, threads, &|_, _| ()).unwrap();
                let memory = ModelImage::parse_unverified(memory.bytes()).unwrap();
                // All but the digests.
                let tail = memory.tensors().map(|t| t.bytes.len()).sum::<usize>();
                assert!(memory.as_bytes()[file.len() - tail..] == file[file.len() - tail..]);
            }
        }
    }
}

/// All logits of a canvas.
fn logits(model: &LoadedModel, held: Held) -> Vec<f32> {
    let runtime = Runtime::held(model, held, Box::new(|_, _| ())).unwrap();
    let mut memory = Memory::default();
    let settings =
        Settings { canvas: 16, threads: 2, kernels: Default::default(), needs: Needs::NONE };
    let mut network = runtime.network(&settings, &mut memory).unwrap();
    network.logits(&[3, 40, 96, 7, 96, 96, 12, 95]).unwrap()
}

#[test]
fn files_that_are_read_give_what_files_that_are_mapped_give() {
    for stored_as in [GgmlType::Q4_0, GgmlType::Q4_K, GgmlType::F32] {
        let path = file(&format!("access-{stored_as}.gguf"), &model("llada", stored_as));
        let open = |access| {
            let options = LoadOptions { access, ..LoadOptions::default() };
            LoadedModel::open_as(&path, &options).unwrap()
        };
        let (mapped, copied) = (open(Access::Mapped), open(Access::Copied));
        assert_eq!(mapped.is_quantized(), stored_as != GgmlType::F32);
        assert!(logits(&mapped, Held::AsStored) == logits(&copied, Held::AsStored));
        let rounded = Held::Rounded(Format::Q8);
        assert!(logits(&mapped, rounded) == logits(&copied, rounded));
        let difference = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
        };
        let (exact, near) = (logits(&mapped, Held::AsStored), logits(&mapped, rounded));
        let scale = difference(&exact, &vec![0.0; exact.len()]);
        assert!(difference(&exact, &near) < 0.2 * scale, "{stored_as}");
    }
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    for access in [Access::Mapped, Access::Copied] {
        let path = file(&format!("shrinks-{access:?}.gguf"), &model("llada", GgmlType::Q8_0));
        let options = LoadOptions { access, ..LoadOptions::default() };
        let opened = LoadedModel::open_as(&path, &options).unwrap();
        let handle = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        handle.set_len(4000).unwrap();
        let mut row = vec![0.0; 256];
        let error = opened.weights().read_rows(TensorRole::Head, 90, &mut row).unwrap_err();
        assert!(error.to_string().contains("shrank"), "{error}");
        let keep = Quantization::keep(Layout::Rows16);
        let packed = pack_image(&sections(&opened), keep, &opened.weights(), 2, &|_, _| ());
        assert!(packed.unwrap_err().to_string().contains("shrank"));
    }
}

/// Models that answer a question as it stands say so by their special tokens.
#[test]
fn a_vocabulary_tells_what_stands_around_a_prompt() {
    let whole = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/intents");
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(whole.join(name), folder.path().join(name)).unwrap();
    }
    let tokenizer = std::fs::read_to_string(whole.join("tokenizer.json")).unwrap();
    let prompt_of = |tokenizer: &str| {
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
        let model = LoadedModel::open(folder.path(), true).unwrap();
        let ids = ["<|user|>", "<|json|>", "<|answer|>"]
            .map(|name| model.tokenizer().unwrap().special(name));
        (model.prompt().clone(), ids)
    };
    let (frames, [user, json, _]) = prompt_of(&tokenizer);
    assert_eq!((&frames.prefix, &frames.suffix), (&vec![user.unwrap()], &vec![json.unwrap()]));
    assert!(frames.normal_form && frames.leading_space);
    let (lists, [user, _, answer]) = prompt_of(&tokenizer.replace("<|json|>", "<|answer|>"));
    assert_eq!((&lists.prefix, &lists.suffix), (&vec![user.unwrap()], &vec![answer.unwrap()]));
    assert!(!lists.normal_form && !lists.leading_space);
    let (other, _) = prompt_of(&tokenizer.replace("<|json|>", "<|other|>"));
    assert!(other.suffix.is_empty() && !other.normal_form);
}
