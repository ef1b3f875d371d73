//! ggml's block formats against ggml itself: the bytes of its reference quantizers and the values
//! that its Python package decodes, as digests in `ggml/golden.txt`.

use demask_quant::ggml::GgmlType;
use sha2::{Digest, Sha256};
use std::path::Path;

const GOLDEN: &str = include_str!("golden.txt");

/// xorshift32, as the golden vectors were made with.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// More small numbers than large ones, between -1 and 1.
    fn weight(&mut self) -> f32 {
        let u = (self.next() >> 8) as f32 / 8_388_608.0 - 1.0;
        u * u * u
    }
}

fn pattern(name: &str) -> Vec<f32> {
    let random = |seed| {
        let mut random = Random(seed);
        std::iter::repeat_with(move || random.weight())
    };
    let made: Box<dyn Iterator<Item = f32>> = match name {
        "rand1" => Box::new(random(1)),
        "rand2" => Box::new(random(0xdead_beef).map(|x| x * 3.0)),
        "zeros" => Box::new(std::iter::repeat(0.0)),
        "ramp" => Box::new((0..512u16).map(|i| (f32::from(i) - 255.5) / 128.0)),
        "pos" => Box::new(random(7).map(|x| x.abs() + 0.25)),
        "tiny" => Box::new(random(9).map(|x| x * 1e-6)),
        other => panic!("unknown pattern {other}"),
    };
    made.take(512).collect()
}

fn named(name: &str) -> GgmlType {
    GgmlType::ALL.into_iter().find(|t| t.name() == name).expect("a known type")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn sha256_of_values(values: &[f32]) -> String {
    sha256(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

/// The words of each line with this many of them.
fn lines(words: usize) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect::<Vec<_>>()).filter(move |line| line.len() == words)
}

#[test]
fn quantizers_write_what_ggml_writes_and_it_reads_back_alike() {
    let first = pattern("rand1");
    assert_eq!(first[..3], [-0.999_622_4, -0.908_459_96, 0.012_618_110_5]);
    let mut checked = 0;
    for line in lines(4) {
        let (stored_as, values) = (named(line[0]), pattern(line[1]));
        let mut blocks = vec![0xff; stored_as.bytes_of(512).unwrap()];
        stored_as.quantize(&values, &mut blocks).unwrap();
        assert_eq!(sha256(&blocks), line[2], "blocks of {} {}", line[0], line[1]);
        let mut decoded = vec![f32::NAN; 512];
        stored_as.dequantize(&blocks, &mut decoded).unwrap();
        assert_eq!(sha256_of_values(&decoded), line[3], "values of {} {}", line[0], line[1]);
        checked += 1;
    }
    assert_eq!(checked, 9 * 6);
}

/// What no quantizer writes is decoded alike, too.
#[test]
fn blocks_of_arbitrary_bytes_decode_as_in_ggml() {
    let mut checked = 0;
    for line in lines(3) {
        let stored_as = named(line[0]);
        let count: usize = line[1].parse().unwrap();
        let mut random = Random(1);
        let mut blocks = vec![0; count * stored_as.block_bytes()];
        blocks.fill_with(|| (random.next() >> 8) as u8);
        // The upper bytes of the scales, so that these are finite.
        let scales: &[usize] = match stored_as {
            GgmlType::MXFP4 => &[0],
            GgmlType::Q6_K => &[209],
            GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4_K | GgmlType::Q5_K => &[1, 3],
            _ => &[1],
        };
        for block in blocks.chunks_mut(stored_as.block_bytes()) {
            scales.iter().for_each(|at| block[*at] &= 0xbf);
        }
        let mut decoded = vec![f32::NAN; count * stored_as.block_values()];
        stored_as.dequantize(&blocks, &mut decoded).unwrap();
        assert_eq!(sha256_of_values(&decoded), line[2], "{stored_as}");
        checked += 1;
    }
    assert_eq!(checked, 11);
}

#[test]
fn plain_types_read_back() {
    let values = pattern("rand2");
    for (stored_as, bound) in [(GgmlType::F32, 0.0), (GgmlType::F16, 5e-4), (GgmlType::BF16, 4e-3)]
    {
        let mut bytes = vec![0; stored_as.bytes_of(512).unwrap()];
        let mut decoded = vec![f32::NAN; 512];
        stored_as.quantize(&values, &mut bytes).unwrap();
        stored_as.dequantize(&bytes, &mut decoded).unwrap();
        for (x, y) in values.iter().zip(decoded) {
            assert!((x - y).abs() <= bound * (x.abs() + 1e-4), "{stored_as}: {x} {y}");
        }
    }
}

#[test]
fn lengths_are_checked() {
    for stored_as in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(stored_as.id()), Some(stored_as));
        let mut block = vec![0; stored_as.block_bytes()];
        let mut values = vec![0.0; stored_as.block_values() + 1];
        assert!(stored_as.dequantize(&block, &mut values).is_err());
        assert!(stored_as.quantize(&values, &mut block).is_err());
    }
    assert_eq!(GgmlType::from_id(9), None);
}

/// Nothing a model file can hold makes a quantizer panic.
#[test]
fn quantizers_take_any_number() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX, 1e-45, -0.0, 1.0];
    let mut random = Random(5);
    for _ in 0..200 {
        let values: Vec<f32> = (0..256).map(|_| odd[random.next() as usize >> 4 & 7]).collect();
        for stored_as in GgmlType::ALL {
            let mut blocks = vec![0; stored_as.bytes_of(256).unwrap()];
            stored_as.quantize(&values, &mut blocks).unwrap();
        }
    }
}

#[test]
fn the_digests_are_those_of_the_full_vectors() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle/ggml_golden/golden.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: {} is not there", path.display());
        return;
    };
    for line in lines(4) {
        assert!(text.contains(line[2]), "{} {}", line[0], line[1]);
    }
}
