//! Random GGUF files against the independent numpy forward pass of a development checkout.
//!
//! Seeds, sizes, counts of heads and vocabularies are none of those that anything here was tuned
//! with. Needs `../shared/oracle` and a python3 with numpy and gguf; says so loudly without them.

use demask::decode::Needs;
use demask_quant::WeightSource;
use demask_std::detect::Choice;
use demask_std::load::LoadedModel;
use demask_std::reference::ReferenceModel;
use demask_std::runtime::{Memory, Runtime, Settings};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of `make_gguf.py`. Rows of quantized matrices are whole blocks of 32.
const MODELS: [&str; 4] = [
    "--arch llada --seed 7 --layers 2 --d 96 --heads 3 --kv 3 --ffn 160 --vocab 300",
    "--arch llada --seed 71 --layers 3 --d 128 --heads 8 --kv 4 --ffn 224 --vocab 411 --tied",
    "--arch dream --seed 5 --layers 2 --d 160 --heads 5 --kv 1 --ffn 192 --vocab 277",
    "--arch dream --seed 23 --layers 1 --d 64 --heads 4 --kv 2 --ffn 96 --vocab 333 --tied \
     --theta 10000 --eps 1e-5",
];
const TYPES: [&str; 4] = ["f32", "f16", "q8_0", "q4_0"];
/// Token ids that all of these vocabularies have; 256 to 276 are pairs of letters.
const IDS: [u32; 19] =
    [3, 141, 59, 26, 53, 58, 97, 93, 238, 46, 264, 33, 83, 27, 95, 275, 28, 84, 19];

/// Makes the files `<model>-<type>.gguf`, and beside each two kinds of logits, computed in double
/// precision from the dequantized weights: `.f32`, and `.q8` with the inputs of matrix products
/// rounded to 8 bits as llama.cpp does it.
const MAKE: &str = r"
import sys
oracle, folder, types, ids, *models = sys.argv[1:]
sys.path.insert(0, oracle)
import numpy, make_gguf, numpy_forward
for i, model in enumerate(models):
    for kind in types.split():
        path = f'{folder}/{i}-{kind}'
        sys.argv = ['make_gguf.py', *model.split(), '--type', kind, '-o', path + '.gguf']
        make_gguf.main()
        for end, act in [('.f32', 'f32'), ('.q8', 'q8_0')]:
            model_of_file = numpy_forward.Model(path + '.gguf', numpy.float64, act)
            logits = model_of_file.forward([*map(int, ids.split())])
            logits.astype('<f4').tofile(path + end)
";

/// The folder with files and logits, or `None`, loudly.
fn make() -> Option<PathBuf> {
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle");
    if !oracle.join("numpy_forward.py").exists() {
        eprintln!("SKIPPED: {} does not exist", oracle.display());
        return None;
    }
    let python = || Command::new("python3");
    let imports = python().args(["-c", "import numpy, gguf"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no python3 with numpy and gguf");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    std::fs::create_dir_all(&folder).unwrap();
    let ids = IDS.map(|id| id.to_string()).join(" ");
    let made = python()
        .args(["-c", MAKE])
        .args([&oracle, &folder])
        .args([&TYPES.join(" "), &ids])
        .args(MODELS)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(folder)
}

/// What the float reference makes of the file's weights.
fn reference_logits(model: &LoadedModel) -> Vec<f32> {
    let weights = model.weights();
    let read = |role, rows: Range<usize>, out: &mut [f32]| weights.read_rows(role, rows.start, out);
    let reference = ReferenceModel::from_rows(*model.config(), read).unwrap();
    reference.logits(&IDS, &(0..IDS.len()).collect::<Vec<_>>()).unwrap()
}

/// What a user gets.
fn runtime_logits(model: &LoadedModel) -> Vec<f32> {
    let runtime = Runtime::new(model).unwrap();
    let mut memory = Memory::default();
    let settings =
        Settings { canvas: IDS.len(), threads: 2, kernels: Choice::Auto, needs: Needs::NONE };
    runtime.network(&settings, &mut memory).unwrap().logits(&IDS).unwrap()
}

/// Largest and mean absolute difference, and rows with the same most probable token.
fn compare(found: &[f32], expected: &[f32]) -> (f32, f32, usize) {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let largest = differences.clone().fold(0.0, f32::max);
    let mean = differences.sum::<f32>() / found.len() as f32;
    let vocab = found.len() / IDS.len();
    let rows = found.chunks(vocab).zip(expected.chunks(vocab));
    (largest, mean, rows.filter(|(a, b)| argmax(a) == argmax(b)).count())
}

fn read_logits(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}

#[test]
fn gguf_files_compute_what_numpy_does() {
    let Some(folder) = make() else { return };
    for (i, options) in MODELS.into_iter().enumerate() {
        for kind in TYPES {
            let path = folder.join(format!("{i}-{kind}.gguf"));
            let expected = read_logits(&path.with_extension("f32"));
            let model = LoadedModel::open(&path, true).unwrap();
            let (largest, ..) = compare(&reference_logits(&model), &expected);
            println!("{options} {kind}: as floats: largest {largest:.1e}");
            assert!(largest <= 1e-4, "{options} {kind}: {largest}");

            let (largest, mean, same) = compare(&runtime_logits(&model), &expected);
            println!("  as it runs: largest {largest:.1e}, mean {mean:.1e}, argmax {same}/19");
            let (_, theirs, _) = compare(&read_logits(&path.with_extension("q8")), &expected);
            println!("  llama.cpp's rounding of activations: mean {theirs:.1e}");
            // The engine rounds activations as well, and keys and values besides.
            let close = match kind {
                "f32" | "f16" => largest <= 1e-4,
                _ => mean <= 0.05 || mean <= 1.25 * theirs,
            };
            assert!(close && same + 2 >= IDS.len(), "{options} {kind}: {largest} {mean} {same}");
        }
    }
}
