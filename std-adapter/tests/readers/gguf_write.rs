//! Writing GGUF files: what is written reads back, and a new file type changes what it should.

use std::path::Path;

use crate::gguf_files::{DIM, FFN, Model};
use demask_quant::ggml::GgmlType;
use demask_std::read::gguf::value::{Number, ScalarType, Value};
use demask_std::read::gguf::{Access, GgufFile, GgufModel, GgufOptions};
use demask_std::write::requantize::{FileType, RequantizeError, requantize};

fn write(model: &Model, path: &Path) -> GgufFile {
    std::fs::write(path, model.bytes()).unwrap();
    GgufFile::open(path, Access::Mapped).unwrap()
}

fn decoded(file: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    let (rows, cols) = tensor.shape();
    let mut values = vec![f32::NAN; rows * cols];
    assert!(tensor.read(0, &mut values).unwrap());
    values
}

#[test]
fn every_kind_of_value_reads_back() {
    let mut model = Model::new("llada", GgmlType::BF16);
    model.set("a.u8", 200u8);
    model.set("a.u16", 60_000u16);
    model.set("a.u64", u64::MAX);
    model.set("a.i32", -5i32);
    model.set("a.flag", true);
    model.set("a.text", "naïve");
    model.set("a.floats", &[0.5f32, -1.5][..]);
    let file = GgufFile::from_bytes(model.bytes()).unwrap();
    let stored: Vec<(String, Value)> =
        file.entries().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    let mut expected = model.metadata.clone();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(stored, expected);
    assert_eq!(file.metadata("a.u64").unwrap().number(), Some(Number::Whole(u64::MAX.into())));
    assert_eq!(file.numbers("a.floats").unwrap().unwrap().kind(), ScalarType::F32);
    assert_eq!(file.u32("a.u8").unwrap(), Some(200));
    assert_eq!(file.flag("a.flag").unwrap(), Some(true));
    let wrong = [file.u32("a.u64").map(|_| ()), file.text("a.u8").map(|_| ())];
    for (wrong, name) in wrong.into_iter().zip(["a.u64", "a.u8"]) {
        assert!(wrong.unwrap_err().to_string().contains(&format!("key {name} is a whole number")));
    }
    for (tensor, values) in &model.tensors {
        assert_eq!(file.tensor(&tensor.name).unwrap().stored_as(), tensor.stored_as);
        let mut bytes = vec![0; tensor.stored_as.bytes_of(values.len()).unwrap()];
        tensor.stored_as.quantize(values, &mut bytes).unwrap();
        let mut rounded = vec![0.0; values.len()];
        tensor.stored_as.dequantize(&bytes, &mut rounded).unwrap();
        assert_eq!(decoded(&file, &tensor.name), rounded, "{}", tensor.name);
    }
}

#[test]
fn a_mix_keeps_metadata_and_chooses_types_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new("llada", GgmlType::F16);
    model.set("general.file_type", 1u32);
    model.set("split.count", 1u16);
    model.add("blk.16.attn_v.weight", &[256, 3], GgmlType::F32);
    model.add("blk.2.ffn_down_exps.weight", &[256, 2, 4], GgmlType::F32);
    model.add("blk.3.ffn_down.weight", &[256, 2], GgmlType::F32);
    model.add("blk.3.ffn_gate_inp.weight", &[256, 8], GgmlType::F32);
    model.add("blk.3.attn_q_norm.weight", &[256, 2], GgmlType::F32);
    model.add("blk.9.odd.weight", &[48, 2], GgmlType::F32);
    model.add("blk.9.copied.weight", &[256, 2], GgmlType::Q4_K);
    model.remove("output.weight");
    model.add("output.weight", &[256, 5], GgmlType::F32);
    let source = write(&model, &folder.path().join("a.gguf"));
    let path = folder.path().join("b.gguf");
    let mut done = 0;
    let q4_k_m = "Q4_K_M".parse().unwrap();
    let written = requantize(&source, &path, q4_k_m, &mut |values| done += values).unwrap();
    assert_eq!(done, model.tensors.iter().map(|(_, values)| values.len() as u64).sum::<u64>());
    let target = GgufFile::open(&path, Access::Copied).unwrap();
    assert_eq!(written.len(), source.tensors().count());
    // Of 17 layers those are 0 and 1, 14 to 16, and 4, 7, 10, 13 in between.
    for (name, stored_as) in [
        ("output.weight", GgmlType::Q6_K),
        ("blk.16.attn_v.weight", GgmlType::Q6_K),
        ("blk.2.ffn_down_exps.weight", GgmlType::Q4_K),
        ("blk.3.ffn_down.weight", GgmlType::Q4_K),
        ("blk.3.ffn_gate_inp.weight", GgmlType::F32),
        ("blk.3.attn_q_norm.weight", GgmlType::F32),
        ("blk.9.copied.weight", GgmlType::Q4_K),
        ("blk.9.odd.weight", GgmlType::F16),
        ("blk.0.attn_norm.weight", GgmlType::F32),
        ("blk.0.attn_q.weight", GgmlType::Q5_0),
        ("blk.0.attn_v.weight", GgmlType::Q8_0),
    ] {
        assert_eq!(target.tensor(name).unwrap().stored_as(), stored_as, "{name}");
    }
    for tensor in target.tensors() {
        let values = decoded(&source, tensor.name());
        let mut blocks = vec![0; tensor.length() as usize];
        tensor.stored_as().quantize(&values, &mut blocks).unwrap();
        if tensor.name() == "blk.9.copied.weight" {
            let stored = source.tensor(tensor.name()).unwrap();
            blocks = stored.with_blocks(0..values.len(), <[u8]>::to_vec).unwrap().unwrap();
        }
        let stored = tensor.with_blocks(0..values.len(), <[u8]>::to_vec).unwrap().unwrap();
        assert_eq!(stored, blocks, "{}", tensor.name());
    }
    assert_eq!(target.u32("general.file_type").unwrap(), Some(15));
    assert_eq!(target.u32("general.quantization_version").unwrap(), Some(2));
    assert_eq!(target.metadata("split.count"), None);
    for (key, value) in source.entries().filter(|(key, _)| !key.starts_with("general.file_type")) {
        if key != "split.count" {
            assert_eq!(target.metadata(key), Some(value), "{key}");
        }
    }
}

/// The head is what follows the last layer, whatever it is called; `pure` leaves it like the others.
#[test]
fn heads_and_small_mixes() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::new("llada", GgmlType::F32);
    for layer in [0, 3, 4, 15] {
        model.add(&format!("blk.{layer}.attn_v_wide.weight"), &[256, 2], GgmlType::F32);
        model.remove(&format!("blk.{layer}.attn_v.weight"));
        model.add(&format!("blk.{layer}.attn_v.weight"), &[256, 2], GgmlType::F32);
        model.remove(&format!("blk.{layer}.ffn_down.weight"));
        model.add(&format!("blk.{layer}.ffn_down.weight"), &[256, 2], GgmlType::F32);
    }
    for tied in [false, true] {
        if tied {
            model.remove("output.weight");
        }
        let source = write(&model, &folder.path().join("a.gguf"));
        let types = |file_type: FileType| {
            let path = folder.path().join("b.gguf");
            requantize(&source, &path, file_type, &mut |_| ()).unwrap();
            let target = GgufFile::open(&path, Access::Mapped).unwrap();
            move |name: &str| target.tensor(name).unwrap().stored_as()
        };
        let head = if tied { "token_embd.weight" } else { "output.weight" };
        let q4_0: FileType = "q4_0".parse().unwrap();
        // Rows of 64 are no Q6_K blocks.
        assert_eq!(types(q4_0)(head), GgmlType::Q8_0);
        assert_eq!(types(q4_0.pure())(head), GgmlType::Q4_0);
        let small = types("q4_k_s".parse().unwrap());
        for (name, stored_as) in [
            ("blk.3.attn_v.weight", GgmlType::Q5_K),
            ("blk.4.attn_v.weight", GgmlType::Q4_K),
            ("blk.3.attn_v_wide.weight", GgmlType::Q4_K),
            ("blk.0.ffn_down.weight", GgmlType::Q5_K),
            ("blk.3.ffn_down.weight", GgmlType::Q4_K),
        ] {
            assert_eq!(small(name), stored_as, "{name}");
        }
    }
}

#[test]
fn every_file_type_gives_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let source = write(&Model::new("llada", GgmlType::F32), &folder.path().join("a.gguf"));
    for file_type in FileType::ALL {
        assert_eq!(file_type.name().parse(), Ok(file_type));
        let path = folder.path().join(file_type.name());
        requantize(&source, &path, file_type, &mut |_| ()).unwrap();
        let model = GgufModel::open(&path, Access::Mapped, &GgufOptions::default()).unwrap();
        let (was, is) = (decoded(&source, "blk.0.ffn_down.weight"), "blk.0.ffn_down.weight");
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
        let is = decoded(model.file(), is);
        let error = square(&mut was.iter().zip(&is).map(|(a, b)| a - b));
        assert!(error <= 0.05 * square(&mut was.iter().copied()), "{}", file_type.name());
        assert_eq!(was.len() as u64, DIM * FFN);
    }
    assert!("q3_k".parse::<FileType>().unwrap_err().contains("q4_k_m"));
}

#[test]
fn a_file_is_never_written_over_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let model = Model::new("llada", GgmlType::F32);
    let source = write(&model, &path);
    let q8_0 = "q8_0".parse().unwrap();
    let error = requantize(&source, &path, q8_0, &mut |_| ()).unwrap_err();
    assert!(matches!(error, RequantizeError::Same(_)), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), model.bytes());
}
