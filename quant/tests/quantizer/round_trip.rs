//! What is written is what the engine's own reader reads, in every format.

use crate::common::{
    Aligned, RandomWeights, SMALLEST, image_with, sections, sections_of_every_kind, tokenizer,
};
use demask::image::{Features, ModelConfig, ModelImage, TensorRole};
use demask::packed::Format;
use demask_quant::round::Steps;
use demask_quant::{BoxError, Quantization, Report, TensorReport, WeightSource, write_image};
use half::f16;
use std::io::Cursor;

const FORMATS: [Format; 5] = [Format::F32, Format::F16, Format::Q8, Format::Q5, Format::Q4];

/// Sizes that are multiples of nothing.
fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 37,
        model_dim: 45,
        layers: 2,
        heads: 3,
        kv_heads: 1,
        head_dim: 6,
        ffn_dim: 70,
        tied_head: false,
        features: Features::PLAIN,
        ..SMALLEST
    }
}

/// Writes an image and returns it with its report and what progress was told.
fn write(quantization: Quantization) -> (Aligned, Report, Vec<TensorReport>) {
    let source = RandomWeights { seed: 3, config: config() };
    let (mut out, mut told) = (Cursor::new(Vec::new()), Vec::new());
    let report = write_image(&sections(config()), quantization, &source, &mut out, 2, &mut |t| {
        told.push(*t);
    })
    .unwrap();
    (Aligned::copy_of(out.get_ref()), report, told)
}

/// The source's weights of one tensor.
fn source_weights(role: TensorRole) -> Vec<f32> {
    let source = RandomWeights { seed: 3, config: config() };
    let (rows, cols) = role.shape(&config());
    (0..rows * cols).map(|i| source.weight(role, i / cols, i % cols)).collect()
}

/// The stored weights of one tensor, as `f32`.
fn stored_weights(image: &ModelImage<'_>, role: TensorRole) -> Vec<f32> {
    let tensor = image.tensor(role).unwrap();
    if let Some(matrix) = tensor.packed() {
        let mut all = vec![0.0; tensor.rows * tensor.cols];
        for (row, out) in all.chunks_mut(tensor.cols).enumerate() {
            assert!(matrix.dequantize_row(row, out));
        }
        return all;
    }
    match tensor.as_f16_bits() {
        Some(bits) => bits.iter().map(|b| f16::from_bits(*b).to_f32()).collect(),
        None => tensor.as_f32().unwrap().to_vec(),
    }
}

/// Mixed formats too: every pair of layers' and embedding's.
fn quantizations() -> impl Iterator<Item = Quantization> {
    let pair = |layers| {
        FORMATS.map(|embedding| Quantization { embedding, ..Quantization::uniform(layers) })
    };
    FORMATS.into_iter().flat_map(pair)
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for quantization in quantizations() {
        let ((first, report, _), (second, again, _)) = (write(quantization), write(quantization));
        assert_eq!(first[..], second[..], "{quantization:?}");
        assert_eq!(report, again);
    }
    let quantization = Quantization::uniform(Format::Q4);
    let image = |seed| image_with(&sections(SMALLEST), quantization, seed);
    assert_ne!(image(1)[..], image(2)[..]);
}

#[test]
fn every_tensor_reads_back_within_its_format() {
    for quantization in quantizations() {
        let (bytes, report, _) = write(quantization);
        let image = ModelImage::parse(&bytes).unwrap();
        assert_eq!((report.image_bytes, *image.config()), (bytes.len() as u64, config()));
        for tensor in image.tensors() {
            let format = match tensor.role {
                role if role.stays_f32() => Format::F32,
                TensorRole::Embedding | TensorRole::Head => quantization.embedding,
                _ => quantization.layers,
            };
            assert_eq!(tensor.format, format);
            let (source, stored) =
                (source_weights(tensor.role), stored_weights(&image, tensor.role));
            for (row, (w, s)) in
                source.chunks(tensor.cols).zip(stored.chunks(tensor.cols)).enumerate()
            {
                for (w, s) in w.chunks(32).zip(s.chunks(32)) {
                    let largest = w.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                    let bound = largest * relative_bound(format);
                    for (w, s) in w.iter().zip(s) {
                        assert!((w - s).abs() <= bound, "{:?} row {row}: {w} {s}", tensor.role);
                    }
                }
            }
        }
    }
}

/// Largest error of a weight, as a fraction of the largest weight of its group.
fn relative_bound(format: Format) -> f32 {
    match format {
        Format::F32 => 0.0,
        // Half a unit in the last of 11 bits.
        Format::F16 => 1.0 / 2048.0,
        // Half a step of 127, and the rounding of the scale.
        Format::Q8 => 0.5 / 127.0 + 1.0 / 1024.0,
        // The search may clip the largest weights to serve the others.
        Format::Q4 => 0.4,
        // Half a step of 16, or a whole one at the other end, and the rounding of the scale.
        Format::Q5 => 1.0 / 16.0 + 1.0 / 1024.0,
        Format::Q4K => unreachable!("not rounded to"),
    }
}

#[test]
fn the_report_says_what_a_reader_finds() {
    for quantization in quantizations() {
        let (bytes, report, told) = write(quantization);
        let image = ModelImage::parse(&bytes).unwrap();
        assert_eq!(report.tensors, told, "progress is told each tensor once, in order");
        let roles: Vec<_> = TensorRole::all(&config()).collect();
        assert_eq!(report.tensors.iter().map(|t| t.role).collect::<Vec<_>>(), roles);
        for reported in &report.tensors {
            let tensor = image.tensor(reported.role).unwrap();
            assert_eq!((reported.rows, reported.cols), (tensor.rows, tensor.cols));
            assert_eq!(
                (reported.format, reported.bytes),
                (tensor.format, tensor.bytes.len() as u64)
            );
            let (mut squares, mut squared_errors, mut max) = (0.0f64, 0.0f64, 0.0f64);
            let source = source_weights(reported.role);
            for (w, s) in source.iter().zip(stored_weights(&image, reported.role)) {
                let error = f64::from(*w) - f64::from(s);
                squares += f64::from(*w) * f64::from(*w);
                squared_errors += error * error;
                max = max.max(error.abs());
            }
            let n = source.len() as f64;
            let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.max(1e-3);
            assert!(near(reported.rms, (squares / n).sqrt()), "{reported:?}");
            assert!(near(reported.rms_error, (squared_errors / n).sqrt()), "{reported:?}");
            assert!(near(reported.max_error, max), "{reported:?}");
            let expected = (squared_errors / squares).sqrt();
            assert!(near(reported.relative_error(), expected));
            match reported.format {
                Format::F32 => assert_eq!(reported.max_error, 0.0),
                Format::F16 => assert!(reported.relative_error() < 0.0005),
                Format::Q8 => assert!(reported.relative_error() < 0.008),
                Format::Q4 => assert!((0.02..0.12).contains(&reported.relative_error())),
                Format::Q5 => assert!((0.01..0.06).contains(&reported.relative_error())),
                Format::Q4K => unreachable!("not rounded to"),
            }
        }
    }
}

#[test]
fn the_other_sections_read_back() {
    for format in FORMATS {
        let given = sections_of_every_kind();
        let bytes = image_with(&given, Quantization::uniform(format), 1);
        let image = ModelImage::parse(&bytes).unwrap();
        assert_eq!(image.header().security_counter, given.security_counter);
        let prompt = given.prompt.unwrap();
        assert_eq!(image.prompt().prefix().collect::<Vec<_>>(), prompt.prefix);
        assert_eq!(image.prompt().suffix().collect::<Vec<_>>(), prompt.suffix);
        assert_eq!(image.prompt().leading_space, prompt.leading_space);
        assert_eq!(image.prompt().normal_form, prompt.normal_form);
        let read = image.tokenizer().unwrap();
        for (id, piece) in (0..).zip(&tokenizer().pieces) {
            assert_eq!(read.piece(id), Some(piece.as_slice()));
        }
        let plain = image_with(&sections(SMALLEST), Quantization::uniform(format), 1);
        assert!(ModelImage::parse(&plain).unwrap().tokenizer().is_none());
    }
}

/// Multiples of a step that is another one in every row; `tells` whether it says so.
struct Stepped {
    tells: bool,
}

impl Stepped {
    fn step(row: usize) -> f32 {
        0.001 + 0.000_1 * (row % 7) as f32
    }
}

impl WeightSource for Stepped {
    fn read_rows(&self, role: TensorRole, first: usize, out: &mut [f32]) -> Result<(), BoxError> {
        RandomWeights { seed: 3, config: config() }.read_rows(role, first, out)?;
        let rows = (first..).zip(out.chunks_exact_mut(role.shape(&config()).1));
        for (row, values) in rows.filter(|_| !role.stays_f32()) {
            for (col, value) in values.iter_mut().enumerate() {
                *value =
                    Self::step(row) * ((row * 31 + col * 17) % 64) as f32 - Self::step(row) * 31.0;
            }
        }
        Ok(())
    }

    fn read_steps(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Steps],
    ) -> Result<bool, BoxError> {
        let per_row = role.shape(&config()).1.div_ceil(32);
        for (index, steps) in out.iter_mut().enumerate() {
            *steps = [Self::step(first_row + index / per_row); 2];
        }
        Ok(self.tells)
    }
}

#[test]
fn steps_of_the_source_reach_the_rounding() {
    let report = |tells| {
        let mut out = Cursor::new(Vec::new());
        let (sections, quantization) = (sections(config()), Quantization::uniform(Format::Q8));
        write_image(&sections, quantization, &Stepped { tells }, &mut out, 2, &mut |_| ()).unwrap()
    };
    for (with, without) in report(true).tensors.iter().zip(report(false).tensors) {
        if !with.role.stays_f32() {
            // What is left is the scale's own rounding to f16.
            assert!(with.relative_error() < 0.0005, "{with:?}");
            assert!(without.relative_error() > 0.003, "{without:?}");
        }
    }
}
