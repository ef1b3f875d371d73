use super::*;

use std::fs;

use crate::mmap::MapError;

/// A safetensors file: header text, then data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn f32_tensor(name: &str, values: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let header = format!(
        r#"{{"{name}":{{"dtype":"F32","shape":[{},2],"data_offsets":[0,{}]}}}}"#,
        values.len() / 2,
        data.len(),
    );
    file(&header, &data)
}

fn open_bytes(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(SINGLE), bytes).unwrap();
    Weights::open(folder.path(), Access::Mapped)
}

#[test]
fn reads_rows_of_each_type() {
    let header = r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
        "b":{"dtype":"F16","shape":[2],"data_offsets":[16,20]},
        "c":{"dtype":"BF16","shape":[1,2],"data_offsets":[20,24]},
        "d":{"dtype":"I32","shape":[1,1],"data_offsets":[24,28]},
        "e":{"dtype":"F32","shape":[1,1,1],"data_offsets":[28,32]}}"#;
    let mut data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    data.extend([1.5, -2.0].iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()));
    data.extend([0.25, 8.0].iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()));
    data.extend([0; 8]);
    let weights = open_bytes(&file(header, &data)).unwrap();
    let mut pair = [0.0; 2];
    for (tensor, row, expected) in
        [("a", 0, [1.0, 2.0]), ("a", 1, [3.0, 4.0]), ("b", 0, [1.5, -2.0]), ("c", 0, [0.25, 8.0])]
    {
        weights.read_rows(tensor, row..row + 1, &mut pair).unwrap();
        assert_eq!(pair, expected, "{tensor}");
    }
    assert_eq!(weights.shape("a").unwrap(), (2, 2));
    assert_eq!(weights.shape("b").unwrap(), (1, 2));
    assert!(matches!(weights.shape("d"), Err(WeightsError::Type { .. })));
    assert!(matches!(weights.shape("e"), Err(WeightsError::Dimensions { .. })));
    assert!(matches!(weights.shape("f"), Err(WeightsError::NoTensor(_))));
    for rows in [2..3, 1..3, 0..2, Range { start: 2, end: 1 }, 0..usize::MAX] {
        let refused = weights.read_rows("a", rows, &mut pair);
        assert!(matches!(refused, Err(WeightsError::Rows(RowsError::Request { .. }))));
    }
    assert!(weights.read_rows("a", 2..2, &mut []).is_ok());
}

#[test]
fn names_the_place_of_a_number_that_is_none() {
    let weights = open_bytes(&f32_tensor("w", &[0.0, 1.0, 2.0, f32::NEG_INFINITY])).unwrap();
    let error = weights.read_rows("w", 0..2, &mut [0.0; 4]).unwrap_err();
    assert!(error.to_string().contains("w holds -inf in row 1, column 1"), "{error}");
}

#[test]
fn reads_shards_and_says_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let index = |map: &str| {
        fs::write(path(INDEX), format!(r#"{{"metadata":{{}},"weight_map":{{{map}}}}}"#)).unwrap();
        Weights::open(folder.path(), Access::Mapped)
    };
    assert!(matches!(
        Weights::open(folder.path(), Access::Mapped),
        Err(WeightsError::NoWeights(_))
    ));
    fs::write(path("1.safetensors"), f32_tensor("a", &[1.0, 2.0])).unwrap();
    fs::write(path("2.safetensors"), f32_tensor("b", &[3.0, 4.0])).unwrap();
    fs::write(path("3.safetensors"), f32_tensor("a", &[3.0, 4.0])).unwrap();
    let weights = index(r#""a":"1.safetensors","b":"2.safetensors""#).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    let mut pair = [0.0; 2];
    weights.read_rows("b", 0..1, &mut pair).unwrap();
    assert_eq!(pair, [3.0, 4.0]);
    let missing = index(r#""a":"1.safetensors","b":"4.safetensors""#);
    assert!(matches!(missing, Err(WeightsError::MissingShard(p)) if p == path("4.safetensors")));
    let not_there = index(r#""c":"1.safetensors""#);
    assert!(matches!(not_there, Err(WeightsError::NotInShard { tensor, .. }) if tensor == "c"));
    let twice = index(r#""a":"1.safetensors","b":"3.safetensors""#);
    assert!(matches!(twice, Err(WeightsError::Duplicate { tensor, .. }) if tensor == "a"));
    for name in ["../1.safetensors", "/etc/passwd", "..", "", "a/b", "a\\\\b"] {
        let outside = index(&format!(r#""a":"{name}""#));
        assert!(matches!(outside, Err(WeightsError::Index { .. })), "{name}: {outside:?}");
    }
    fs::write(path(INDEX), "{").unwrap();
    assert!(matches!(
        Weights::open(folder.path(), Access::Mapped),
        Err(WeightsError::Index { .. })
    ));
}

#[test]
fn hostile_headers_are_errors() {
    let good = f32_tensor("w", &[1.0, 2.0]);
    for cut in 0..good.len() {
        assert!(matches!(open_bytes(&good[..cut]), Err(WeightsError::Header { .. })), "{cut}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(matches!(open_bytes(&longer), Err(WeightsError::Header { .. })));
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(open_bytes(&huge), Err(WeightsError::Header { .. })));
    for tensor in [
        r#""dtype":"F32","shape":[2,2],"data_offsets":[0,8]"#,
        r#""dtype":"F32","shape":[1,2],"data_offsets":[8,0]"#,
        r#""dtype":"F32","shape":[1,2],"data_offsets":[4,12]"#,
        r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]"#,
        r#""dtype":"F32","shape":[1,2],"data_offsets":[18446744073709551608,0]"#,
        r#""dtype":"F99","shape":[1,2],"data_offsets":[0,8]"#,
        r#""dtype":"F32","shape":[-1,2],"data_offsets":[0,8]"#,
    ] {
        let bytes = file(&format!("{{\"w\":{{{tensor}}}}}"), &[0; 8]);
        assert!(matches!(open_bytes(&bytes), Err(WeightsError::Header { .. })), "{tensor}");
    }
    assert!(matches!(
        open_bytes(&file(&"[".repeat(1 << 20), b"")),
        Err(WeightsError::Header { .. })
    ));
}

/// Eight tensors whose lengths add up to almost 2^64: the sum with the header's length overflows.
#[test]
fn lengths_that_overflow_are_an_error() {
    let part = (1u64 << 61) - 1;
    let tensors: Vec<String> = (0..8)
        .map(|i| {
            let (start, end) = (i * part, (i + 1) * part);
            format!(r#""t{i}":{{"dtype":"U8","shape":[{part}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let bytes = file(&format!("{{{}}}", tensors.join(",")), &[]);
    assert!(matches!(open_bytes(&bytes), Err(WeightsError::Header { .. })));
}

#[test]
fn a_file_that_shrinks_is_an_error() {
    for access in [Access::Mapped, Access::Copied] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SINGLE);
        fs::write(&path, f32_tensor("w", &[1.0, 2.0, 3.0, 4.0])).unwrap();
        let weights = Weights::open(folder.path(), access).unwrap();
        let mut row = [0.0; 2];
        weights.read_rows("w", 1..2, &mut row).unwrap();
        assert_eq!(row, [3.0, 4.0]);
        weights.read_rows("w", 0..1, &mut row).unwrap();
        assert_eq!(row, [1.0, 2.0]);
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(16).unwrap();
        let error = weights.read_rows("w", 0..1, &mut row).unwrap_err();
        assert!(matches!(error, WeightsError::Map(MapError::Shrank { .. })), "{error}");
    }
}
