//! Any bytes as a GGUF model: refused, or every view of it works and every weight can be read.
#![no_main]

use demask::image::{Architecture, TensorRole};
use demask::packed::{GROUP, Group, GroupScale};
use demask_std::read::gguf::{GgufFile, GgufModel, GgufOptions};
use libfuzzer_sys::fuzz_target;

/// Values that are read at a time.
const MOST: usize = 1 << 12;

fn read_container(file: &GgufFile) {
    for (_, value) in file.entries() {
        assert!(!value.to_string().is_empty());
    }
    let mut out = [0.0; MOST];
    for tensor in file.tensors() {
        let (rows, cols) = tensor.shape();
        let block = tensor.stored_as().block_values();
        let count = (rows * cols).min(MOST) / block * block;
        assert!(tensor.read(0, &mut out[..count]).expect("it is in memory"));
        assert!(tensor.read(rows * cols - count, &mut out[..count]).expect("it is in memory"));
    }
}

fn read_model(model: &GgufModel) {
    let vocab = model.vocab().expect("opening has looked at it");
    assert!(vocab.is_none_or(|v| v.tokens.len() <= model.config().vocab_size as usize));
    let empty: Group = ([0; GROUP], GroupScale::Plain(Default::default()));
    for role in TensorRole::all(model.config()) {
        let (rows, cols) = role.shape(model.config());
        if cols > MOST {
            continue;
        }
        let (mut out, mut groups) = ([0.0; MOST], [empty; MOST / GROUP]);
        let mut steps = [[0.0; 2]; MOST / GROUP];
        for row in [0, rows - 1] {
            // Errors are fine: a weight may be NaN, a block may not be exact.
            let _ = model.read_rows(role, row..row + 1, &mut out[..cols]);
            let _ = model.read_groups(role, row..row + 1, &mut groups[..cols / GROUP]);
            let _ = model.read_steps(role, row..row + 1, &mut steps[..cols / GROUP]);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let Ok(file) = GgufFile::from_bytes(data.to_vec()) else { return };
    read_container(&file);
    let family = Architecture::ALL.get(usize::from(choice & 15)).copied();
    let block_length = Some(u32::from(choice >> 4)).filter(|block| *block > 0);
    if let Ok(model) = GgufModel::from_file(file, &GgufOptions { family, block_length }) {
        read_model(&model);
    }
});
