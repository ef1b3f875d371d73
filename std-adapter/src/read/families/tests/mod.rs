//! Folders written by hand with the names of published checkpoints.

mod mdlm;
mod moe;
mod qwen;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorView};
use demask::image::{Architecture, TensorRole};
use serde_json::{Value, json};

use crate::mmap::Access;
use crate::read::folder::{FolderError, HfFolder};
use crate::read::hf_config::{ConfigError, HfConfig};

/// Shapes by name.
type Shapes = BTreeMap<String, Vec<usize>>;

/// The names with their shapes, `LAYER` standing for each of two layers.
fn shapes(names: &[(&str, &[usize])]) -> Shapes {
    let mut all = Shapes::new();
    for (name, shape) in names {
        for layer in ["0", "1"] {
            all.insert(name.replace("LAYER", layer), shape.to_vec());
        }
    }
    all
}

/// The configuration with other fields.
fn with(config: &Value, changes: Value) -> Value {
    let mut config = config.clone();
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    config
}

/// Numbers of a stored tensor: they tell its name, and are the same in half precision.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut state =
        name.bytes().fold(17u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 24) as f32 - 128.0) / 64.0
    };
    (0..count).map(next).collect()
}

fn open(config: &Value, shapes: &Shapes) -> Result<HfFolder, FolderError> {
    open_with(config, None, shapes)
}

fn open_with(
    config: &Value,
    generation: Option<Value>,
    shapes: &Shapes,
) -> Result<HfFolder, FolderError> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    fs::write(path("config.json"), config.to_string()).unwrap();
    if let Some(generation) = generation {
        fs::write(path("generation_config.json"), generation.to_string()).unwrap();
    }
    let data: Vec<(&String, &Vec<usize>, Vec<u8>)> = shapes
        .iter()
        .map(|(name, shape)| {
            let numbers = numbers(name, shape.iter().product());
            (name, shape, numbers.iter().flat_map(|v| v.to_le_bytes()).collect())
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    fs::write(path("model.safetensors"), ::safetensors::serialize(views, None).unwrap()).unwrap();
    HfFolder::open(folder.path())
}

/// All numbers of a tensor, read in one piece and, to be sure, row by row.
fn read(folder: &HfFolder, role: TensorRole) -> Vec<f32> {
    let (rows, cols) = role.shape(&folder.config().model);
    let mut whole = vec![0.0; rows * cols];
    folder.read_rows(role, 0..rows, &mut whole).unwrap();
    let mut pieces = vec![0.0; rows * cols];
    for (row, out) in pieces.chunks_exact_mut(cols).enumerate() {
        folder.read_rows(role, row..row + 1, out).unwrap();
    }
    assert_eq!(whole, pieces, "{role:?}");
    whole
}

/// The role's numbers are those of the stored tensor.
fn is_stored_as(folder: &HfFolder, role: TensorRole, name: &str) {
    let found = read(folder, role);
    assert_eq!(found, numbers(name, found.len()), "{role:?} is not {name}");
}

/// The option's value is refused by name.
fn refuses(config: &Value, field: &str, value: Value) {
    let error = open(&with(config, json!({ field: value })), &Shapes::new()).unwrap_err();
    let FolderError::Config { source, .. } = &error else { panic!("{field}: {error}") };
    let named = match source {
        ConfigError::Unsupported { field: f, .. } | ConfigError::Missing(f) => *f == field,
        other => other.to_string().contains(field),
    };
    assert!(named, "{field}: {error}");
}

/// Every folder of `tests/fixtures` can be read whole, in both ways, with the same numbers.
#[test]
fn reads_the_fixtures_of_every_family() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for family in Architecture::ALL {
        let path = fixtures.join(family.name());
        let open = |access| HfFolder::open_as(&path, access).unwrap_or_else(|e| panic!("{e}"));
        let (mapped, copied) = (open(Access::Mapped), open(Access::Copied));
        let model = &mapped.config().model;
        assert_eq!(model.architecture, family);
        for role in TensorRole::all(model) {
            let numbers = read(&mapped, role);
            assert_eq!(numbers, read(&copied, role), "{role:?} of {}", family.name());
        }
    }
}

/// Whatever stands in a field: it is refused, or the model is one that the engine takes.
#[test]
fn hostile_fields_are_refused_or_harmless() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let hostile = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1),
        json!(7),
        json!(4_294_967_295u32),
        json!(u64::MAX),
        json!(1e300),
        json!(0.5),
        json!(true),
        json!("x".repeat(100_000)),
        json!([]),
        json!([1, -1]),
        json!({"rope_type": "default", "rope_theta": -1}),
    ];
    for family in Architecture::ALL {
        let text = fs::read(fixtures.join(family.name()).join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&text).unwrap();
        for field in config.as_object().unwrap().keys() {
            for value in &hostile {
                let changed = with(&config, json!({ field: value }));
                match HfConfig::parse(changed.to_string().as_bytes(), Default::default()) {
                    Ok(config) => assert_eq!(config.model.validate(), Ok(())),
                    Err(error) => assert!(error.to_string().len() < 500, "{error}"),
                }
            }
        }
    }
}
