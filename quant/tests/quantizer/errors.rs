//! Weights that cannot be stored, sources that fail, disks that are full.

use crate::common::{RandomWeights, SMALLEST, sections, sections_of_every_kind};
use demask::image::{ImageError, ModelConfig, ModelImage, TensorRole};
use demask::packed::Format;
use demask_quant::{
    BoxError, PromptData, Quantization, Sections, WeightSource, WriteError, write_image,
};
use std::io::{self, Cursor, Seek, SeekFrom, Write};

/// Random weights with one replaced.
struct OneBad {
    weights: RandomWeights,
    place: (TensorRole, usize, usize),
    value: f32,
}

impl WeightSource for OneBad {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        self.weights.read_rows(role, first_row, out)?;
        let (bad_role, row, col) = self.place;
        let cols = role.shape(&self.weights.config).1;
        if role == bad_role && (first_row..first_row + out.len() / cols).contains(&row) {
            out[(row - first_row) * cols + col] = self.value;
        }
        Ok(())
    }
}

const CONFIG: ModelConfig = ModelConfig { ffn_dim: 40, ..SMALLEST };

/// Writes [`CONFIG`] with one weight of `gate`, row 33, replaced.
fn write_one(format: Format, value: f32) -> Result<(), WriteError> {
    let weights = RandomWeights { seed: 1, config: CONFIG };
    let source = OneBad { weights, place: (TensorRole::Gate(0), 33, 5), value };
    let mut out = Cursor::new(Vec::new());
    let quantization = Quantization::uniform(format);
    write_image(&sections(CONFIG), quantization, &source, &mut out, 2, &mut |_| ())?;
    // What was accepted must be readable, by the strictest reader.
    let bytes = crate::common::Aligned::copy_of(out.get_ref());
    ModelImage::parse(&bytes).expect("a weight was accepted that makes no valid image");
    Ok(())
}

#[test]
fn a_weight_that_no_format_can_hold_is_named() {
    for format in [Format::F32, Format::F16, Format::Q8, Format::Q4] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            match write_one(format, bad) {
                Err(WriteError::Weight { role, row, value }) => {
                    assert_eq!((role, row), (TensorRole::Gate(0), 33));
                    assert_eq!(value.to_bits(), bad.to_bits());
                }
                other => panic!("{format:?}, {bad}: {other:?}"),
            }
        }
    }
    let message = write_one(Format::Q8, f32::NAN).unwrap_err().to_string();
    assert_eq!(message, "tensor gate, row 33: a weight of NaN cannot be stored in this format");
}

#[test]
fn the_largest_weights_are_stored_or_refused_never_broken() {
    let halves_max = 65_504.0f32;
    let limits = [
        (Format::F32, f32::MAX),
        (Format::F16, halves_max),
        (Format::Q8, halves_max * 127.0),
        (Format::Q4, halves_max * 7.0),
    ];
    for (format, limit) in limits {
        for sign in [1.0, -1.0] {
            write_one(format, sign * limit).unwrap();
            write_one(format, sign * limit * 0.999).unwrap();
            if limit < f32::MAX {
                let above = sign * f32::from_bits(limit.to_bits() + 1);
                let refused = write_one(format, above);
                assert!(matches!(refused, Err(WriteError::Weight { .. })), "{format:?} {above}");
            }
        }
        for tiny in [1e-45, 1e-38, 1e-20, 1e-9, -1e-7, -0.0] {
            write_one(format, tiny).unwrap();
        }
    }
}

/// Fails at the tensor of this role.
struct Broken(TensorRole, RandomWeights);

impl WeightSource for Broken {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        if role == self.0 {
            return Err("the file ends here".into());
        }
        self.1.read_rows(role, first_row, out)
    }
}

#[test]
fn an_error_of_the_source_comes_with_its_tensor() {
    for broken in TensorRole::all(&CONFIG) {
        let source = Broken(broken, RandomWeights { seed: 1, config: CONFIG });
        let mut finished = 0;
        let quantization = Quantization::uniform(Format::Q8);
        let mut out = Cursor::new(Vec::new());
        let result =
            write_image(&sections(CONFIG), quantization, &source, &mut out, 2, &mut |_| {
                finished += 1;
            });
        match result.unwrap_err() {
            WriteError::Source(role, error) => {
                assert_eq!((role, error.to_string().as_str()), (broken, "the file ends here"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(finished, broken.index(&CONFIG));
    }
}

#[test]
fn what_the_format_cannot_say_is_refused_before_anything_is_written() {
    let refused = |sections: Sections| {
        let source = RandomWeights { seed: 1, config: SMALLEST };
        let mut out = Cursor::new(Vec::new());
        let quantization = Quantization::uniform(Format::Q4);
        let error = write_image(&sections, quantization, &source, &mut out, 2, &mut |_| ())
            .expect_err("the sections should be refused");
        assert!(out.get_ref().is_empty(), "something was written");
        match error {
            WriteError::Config(error) => error,
            other => panic!("{other:?}"),
        }
    };
    let config = ModelConfig { layers: 0, ..SMALLEST };
    assert_eq!(refused(sections(config)), ImageError::Config("layers"));
    let config = ModelConfig { norm_eps: f32::NAN, ..SMALLEST };
    assert_eq!(refused(sections(config)), ImageError::Config("norm_eps"));
    let prompt = |prefix| {
        let prompt = Some(PromptData { prefix, ..PromptData::default() });
        Sections { prompt, ..sections_of_every_kind() }
    };
    let error = ImageError::Prompt("an id is not in the vocabulary");
    assert_eq!(refused(prompt(vec![11])), error);
    assert_eq!(refused(prompt(vec![2; 65])), ImageError::Prompt("more than 64 ids"));
    let broken = Sections { tokenizer: Some(vec![0; 40]), ..sections_of_every_kind() };
    assert!(matches!(refused(broken), ImageError::Tokenizer(_)));
}

/// A disk with room for so many bytes, and perhaps no way back to its start.
struct Disk {
    file: Cursor<Vec<u8>>,
    room: usize,
    seekable: bool,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room);
        if n == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= n;
        self.file.write(&bytes[..n])
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.room {
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self.seekable {
            true => self.file.seek(to),
            false => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}

#[test]
fn a_full_disk_is_an_error_wherever_it_fills_up() {
    let write = |room, seekable| {
        let source = RandomWeights { seed: 1, config: SMALLEST };
        let mut disk = Disk { file: Cursor::new(Vec::new()), room, seekable };
        let sections = sections_of_every_kind();
        let quantization = Quantization::uniform(Format::Q4);
        let result = write_image(&sections, quantization, &source, &mut disk, 2, &mut |_| ());
        (result, disk.file.into_inner())
    };
    let (report, image) = write(usize::MAX, true);
    assert_eq!(report.unwrap().image_bytes, image.len() as u64);
    // The manifest is written twice; flushing is the last thing that can fail.
    let manifest = 64 + 5 * 64;
    let needed = image.len() + manifest;
    for room in 0..=needed {
        let (result, partial) = write(room, true);
        match result {
            Err(WriteError::Output(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
            other => panic!("room for {room} bytes: {other:?}"),
        }
        // What is on the disk then must never pass for an image.
        if room < needed {
            let partial = crate::common::Aligned::copy_of(&partial);
            assert!(ModelImage::parse(&partial).is_err(), "room for {room} bytes");
        }
    }
    assert!(write(needed + 1, true).0.is_ok());
    let (result, _) = write(usize::MAX, false);
    match result {
        Err(WriteError::Output(error)) => assert_eq!(error.kind(), io::ErrorKind::NotSeekable),
        other => panic!("{other:?}"),
    }
}
