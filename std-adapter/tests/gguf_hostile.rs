//! GGUF files that are broken or made to do harm: an error for each, little memory for all.

mod gguf_files;
mod peak_memory;

use demask::image::TensorRole;
use demask_quant::ggml::GgmlType;
use demask_std::read::gguf::{GgufError, GgufFile, GgufModel, GgufOptions};
use gguf_files::Model;

/// Opens bytes as a model and reads every tensor in pieces.
fn use_all(bytes: Vec<u8>) -> Result<(), GgufError> {
    let model = GgufModel::from_file(GgufFile::from_bytes(bytes)?, &GgufOptions::default())?;
    model.vocab()?;
    for role in TensorRole::all(model.config()) {
        let (rows, cols) = role.shape(model.config());
        let mut out = vec![0.0; cols];
        for row in [0, rows - 1] {
            model.read_rows(role, row..row + 1, &mut out)?;
        }
    }
    Ok(())
}

fn error(bytes: Vec<u8>) -> String {
    use_all(bytes).unwrap_err().to_string()
}

/// The file with the bytes behind the first occurrence of `mark` replaced.
fn with(bytes: &[u8], mark: &str, behind: usize, new: &[u8]) -> Vec<u8> {
    let found = bytes.windows(mark.len()).position(|w| w == mark.as_bytes()).unwrap();
    let mut changed = bytes.to_vec();
    changed[found + mark.len() + behind..][..new.len()].copy_from_slice(new);
    changed
}

const HUGE: [u8; 8] = (u64::MAX / 2).to_le_bytes();

/// One after the other in one test: memory is counted for the whole process.
#[test]
fn hostile_files_are_refused_with_little_memory() {
    let mut model = Model::new("llada", GgmlType::Q8_0);
    model.set("general.alignment", 32u32);
    let file = model.bytes();
    use_all(file.clone()).unwrap();
    the_known_traps(&file);
    mutations(&file);
}

fn the_known_traps(file: &[u8]) {
    let at = |at: usize, new: &[u8]| {
        let mut changed = file.to_vec();
        changed[at..][..new.len()].copy_from_slice(new);
        changed
    };
    // Behind a tensor's name: 4 bytes for the number of dimensions, 8 each, 4 for the type, 8 for
    // the offset.
    let tensor = |behind, new: &[u8]| with(file, "token_embd.weight", behind, new);
    let traps: [(Vec<u8>, &str); 24] = [
        (b"GG".to_vec(), "it ends within its first bytes"),
        (at(0, b"GGML"), "does not start with \"GGUF\""),
        (at(4, &[0, 0, 0, 3]), "big-endian"),
        (at(4, &[1]), "version 1 of the GGUF format; versions 2 and 3"),
        (at(8, &HUGE), "claims 9223372036854775807 tensors"),
        (at(16, &HUGE), "claims 9223372036854775807 metadata entries"),
        (at(24, &HUGE), "it ends within a metadata key"),
        (with(file, "general.architecture", 4, &HUGE), "within the value of general.architecture"),
        (
            with(file, "general.architecture", 12, &[0xff]),
            "general.architecture is not valid UTF-8",
        ),
        (
            with(file, "general.architecture", 0, &[77]),
            "general.architecture has the unknown type 77",
        ),
        (with(file, "tokenizer.ggml.tokens", 8, &HUGE), "items of tokenizer.ggml.tokens"),
        (with(file, "tokenizer.ggml.tokens", 4, &[9]), "tokens has the unknown type 9"),
        (with(file, "general.alignment", 4, &[0]), "its alignment is 0"),
        (with(file, "general.alignment", 4, &[48]), "its alignment is 48"),
        (tensor(0, &[0]), "impossible shape: 0 dimensions"),
        (tensor(0, &[5]), "impossible shape: 5 dimensions"),
        (tensor(4, &HUGE), "more values than any file could hold"),
        (tensor(4, &[0]), "a dimension of 0"),
        (tensor(20, &[23]), "token_embd.weight is stored as IQ4_XS; supported are F32, F16, Q4_0"),
        (tensor(24, &[1]), "starts at byte 1 of the data, not at a multiple of 32"),
        (tensor(24, &[32]), "overlap"),
        (tensor(24, &(u64::MAX - 31).to_le_bytes()), "the download is incomplete"),
        (file[..file.len() - 40].to_vec(), "the download is incomplete"),
        (tensor(4, &[63]), "rows of 63, where Q8_0 needs a multiple of 32"),
    ];
    for (bytes, expected) in traps {
        let error = error(bytes);
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
    let mut double = Model::new("llada", GgmlType::F32);
    double.add("token_embd.weight", &[4], GgmlType::F32);
    assert!(error(double.bytes()).contains("the tensor token_embd.weight occurs twice"));
    double.metadata.push(("general.architecture".into(), "dream".into()));
    assert!(error(double.bytes()).contains("the metadata key general.architecture occurs twice"));
}

/// Flips, replacements and cuts everywhere in the head of the file and some behind it.
fn mutations(file: &[u8]) {
    let head = file.windows(6).rposition(|w| w == b"output").unwrap() + 64;
    let mut state = 1u32;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize % below
    };
    let mut mutate = |round: usize| {
        let mut bytes = file.to_vec();
        match round % 4 {
            0 => bytes[random(head)] ^= 1 << random(8),
            1 => bytes[random(head)] = [0, 1, 0x7f, 0x80, 0xff][random(5)],
            2 => {
                let at = random(head - 8);
                let numbers = [0, 1, u64::MAX, u64::MAX / 2, 1 << 32, file.len() as u64];
                bytes[at..at + 8].copy_from_slice(&numbers[random(6)].to_le_bytes());
            }
            _ => bytes.truncate(random(file.len())),
        }
        bytes
    };
    let all = || (0..30_000).filter(|round| use_all(mutate(*round)).is_err()).count();
    let (refused, peak) = peak_memory::peak_of(all);
    assert!(refused > 10_000, "only {refused} refused");
    assert!(peak < 4 * file.len() + (1 << 20), "{peak} bytes for a file of {}", file.len());
}
