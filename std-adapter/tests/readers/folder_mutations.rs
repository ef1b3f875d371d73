//! Damaged folders: random changes of every kind, from a fixed seed, to configurations and weights of
//! every family. Each is an error with advice, or a model that can be read.
//!
//! `DEMASK_MUTATIONS` sets the number of folders; every `cargo test` tries a hundred of each
//! family.

use demask::image::{Architecture, TensorRole};
use demask_std::mmap::Access;
use demask_std::read::folder::HfFolder;
use std::fs;
use std::path::Path;

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Texts that JSON readers stumble over.
const PIECES: [&str; 16] = [
    "null",
    "-1",
    "0",
    "1e999",
    "18446744073709551615",
    "4294967296",
    "0.5",
    "true",
    "\"\"",
    "[]",
    "[1024,1024]",
    "{}",
    "\"F64\"",
    "\\u0000",
    "[[[[[[[[",
    "../",
];

/// One change somewhere in `bytes[..end]`.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, end: usize) {
    let at = random.below(end.min(bytes.len()));
    let Some(byte) = bytes.get_mut(at) else { return };
    match random.below(7) {
        0 => *byte ^= 1 << random.below(8),
        1 => *byte = random.next() as u8,
        // Numbers that stay numbers get further than anything else.
        2 | 3 => {
            let digits: Vec<usize> =
                (0..end.min(bytes.len())).filter(|&i| bytes[i].is_ascii_digit()).collect();
            if let Some(&digit) = digits.get(random.below(digits.len())) {
                bytes[digit] = b'0' + random.below(10) as u8;
            }
        }
        4 => {
            let piece = PIECES[random.below(PIECES.len())].bytes();
            let old = at..bytes.len().min(at + random.below(8));
            bytes.splice(old, piece);
        }
        5 => drop(bytes.drain(at..bytes.len().min(at + 1 + random.below(40)))),
        _ => {
            let copy = bytes[at..bytes.len().min(at + 1 + random.below(80))].to_vec();
            let to = random.below(end.min(bytes.len()));
            bytes.splice(to..to, copy);
        }
    }
}

/// Bytes of the header of a safetensors file, its length included.
fn header_end(weights: &[u8]) -> usize {
    let length = weights.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    8usize.saturating_add(usize::try_from(length).unwrap_or(0)).min(weights.len())
}

fn damage_weights(random: &mut Random, weights: &mut Vec<u8>) {
    let (end, before) = (header_end(weights), weights.len());
    match random.below(8) {
        0 => weights.truncate(random.below(before)),
        1 => damage(random, weights, before),
        2 => damage(random, weights, 8),
        _ => {
            // Behind the length, which is made right again.
            let mut header = weights[8..end].to_vec();
            damage(random, &mut header, end - 8);
            let length = (header.len() as u64).to_le_bytes();
            weights.splice(..end, length.into_iter().chain(header));
        }
    }
}

/// Opens a folder and, if that succeeds, reads every number of it.
fn read_whole(folder: &Path, access: Access) -> bool {
    let opened = match HfFolder::open_as(folder, access) {
        Ok(opened) => opened,
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() > 20 && text.len() < 2000, "{text}");
            return false;
        }
    };
    let model = opened.config().model;
    assert_eq!(model.validate(), Ok(()));
    for role in TensorRole::all(&model) {
        let (rows, cols) = role.shape(&model);
        let mut numbers = vec![0.0; rows * cols];
        if opened.read_rows(role, 0..rows, &mut numbers).is_ok() {
            assert!(numbers.iter().all(|x| x.is_finite()), "{role:?}");
            opened.stored_type(role).unwrap();
        }
    }
    true
}

#[test]
fn damaged_folders_do_no_harm() {
    let count = std::env::var("DEMASK_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(1100);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let originals = Architecture::ALL.map(|family| {
        let file = |name| fs::read(fixtures.join(family.name()).join(name)).unwrap();
        (file("config.json"), file("model.safetensors"))
    });
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    let mut readable = 0;
    for turn in 0..count {
        let (mut config, mut weights) = originals[turn % originals.len()].clone();
        for _ in 0..=random.below(3) {
            let end = config.len();
            match random.below(2) {
                0 => damage(&mut random, &mut config, end),
                _ => damage_weights(&mut random, &mut weights),
            }
        }
        fs::write(folder.path().join("config.json"), &config).unwrap();
        fs::write(folder.path().join("model.safetensors"), &weights).unwrap();
        let access = [Access::Mapped, Access::Copied][random.below(2)];
        readable += usize::from(read_whole(folder.path(), access));
    }
    // Changes of unused fields, of constants and of weights leave a model.
    assert!(readable > count / 50 && readable < count, "{readable} of {count}");
}
