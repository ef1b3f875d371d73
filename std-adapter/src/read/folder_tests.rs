use super::*;

use std::collections::BTreeMap;
use std::fs;

use ::safetensors::tensor::{Dtype, TensorView};
use demask::image::ModelConfig;

const CONFIG: &str = r#"{"architectures":["LLaDAModelLM"],"d_model":8,"n_heads":2,"n_kv_heads":1,
    "n_layers":2,"mlp_hidden_size":6,"vocab_size":10,"embedding_size":12,"mask_token_id":1,
    "eos_token_id":0,"weight_tying":TIED}"#;

/// Shapes that a complete folder stores.
fn shapes(tied: bool) -> BTreeMap<String, Vec<usize>> {
    let mut all = vec![("wte", vec![12, 8]), ("ln_f", vec![8])];
    if !tied {
        all.push(("ff_out", vec![12, 8]));
    }
    let in_blocks = [
        ("attn_norm", vec![8]),
        ("q_proj", vec![8, 8]),
        ("k_proj", vec![4, 8]),
        ("v_proj", vec![4, 8]),
        ("attn_out", vec![8, 8]),
        ("ff_norm", vec![8]),
        ("ff_proj", vec![6, 8]),
        ("up_proj", vec![6, 8]),
        ("ff_out", vec![8, 6]),
    ];
    let whole = all.into_iter().map(|(name, shape)| (name.to_owned(), shape));
    let layered = (0..2).flat_map(|layer| {
        in_blocks.clone().map(|(name, shape)| (format!("blocks.{layer}.{name}"), shape))
    });
    let full = |name| format!("model.transformer.{name}.weight");
    whole.chain(layered).map(|(name, shape)| (full(name), shape)).collect()
}

fn write(folder: &Path, tied: bool, shapes: &BTreeMap<String, Vec<usize>>) {
    fs::write(folder.join("config.json"), CONFIG.replace("TIED", &tied.to_string())).unwrap();
    fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    let data: Vec<u8> = (0..1000).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let view = |shape: &Vec<usize>| {
        let bytes = 4 * shape.iter().product::<usize>();
        TensorView::new(Dtype::F32, shape.clone(), &data[..bytes]).unwrap()
    };
    let tensors = shapes.iter().map(|(name, shape)| (name, view(shape)));
    let bytes = ::safetensors::serialize(tensors, None).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

fn open(tied: bool, shapes: &BTreeMap<String, Vec<usize>>) -> Result<HfFolder, FolderError> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), tied, shapes);
    HfFolder::open(folder.path())
}

#[test]
fn opens_tied_and_untied_models() {
    for tied in [true, false] {
        let folder = open(tied, &shapes(tied)).unwrap();
        let model: ModelConfig = folder.config().model;
        assert_eq!((model.tied_head, model.vocab_size), (tied, 10));
        let mut row = [0.0; 8];
        folder.read_rows(TensorRole::Embedding, 9..10, &mut row).unwrap();
        assert_eq!(row[0], 72.0);
        let padding = folder.read_rows(TensorRole::Embedding, 10..11, &mut row);
        assert!(matches!(padding, Err(WeightsError::Rows(RowsError::Request { have: 10, .. }))));
        assert_eq!(folder.read_rows(TensorRole::Head, 0..1, &mut row).is_err(), tied);
    }
}

#[test]
fn names_missing_surplus_and_misshapen_tensors() {
    let name = "model.transformer.blocks.1.up_proj.weight".to_owned();
    let mut missing = shapes(true);
    missing.remove(&name);
    let error = open(true, &missing).unwrap_err();
    assert!(matches!(&error, FolderError::Missing { tensor, others: 0 } if *tensor == name));

    let mut surplus = shapes(true);
    surplus.insert(name.replace("weight", "bias"), vec![6]);
    let error = open(true, &surplus).unwrap_err();
    assert!(error.to_string().contains("up_proj.bias"), "{error}");

    let error = open(true, &shapes(false)).unwrap_err();
    assert!(error.to_string().contains("weight_tying"), "{error}");

    let mut wrong = shapes(true);
    wrong.insert(name.clone(), vec![8, 6]);
    let error = open(true, &wrong).unwrap_err();
    let found = matches!(&error, FolderError::Shape { tensor, .. } if *tensor == name);
    assert!(found, "{error}");
}

#[test]
fn says_which_file_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(matches!(HfFolder::open(&path.join("no")), Err(FolderError::NotAFolder(_))));
    assert!(matches!(HfFolder::open(path), Err(FolderError::Config { .. })));
    write(path, true, &shapes(true));
    fs::remove_file(path.join("tokenizer.json")).unwrap();
    assert!(HfFolder::open(path).unwrap().tokenizer().is_none());
    fs::remove_file(path.join("model.safetensors")).unwrap();
    assert!(matches!(HfFolder::open(path), Err(FolderError::Weights(WeightsError::NoWeights(_)))));
}
