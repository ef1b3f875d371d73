//! Weights that a source holds as integers are taken over, not rounded; pieces, threads and places
//! change nothing.

use crate::common::{Aligned, RandomWeights, SMALLEST, mix, sections};
use demask::image::{ModelConfig, ModelImage, TensorRole};
use demask::packed::{Format, Group, GroupScale, Layout, WeightFormat};
use demask_quant::{
    BoxError, Quantization, Report, WeightSource, WriteError, pack_image, write_image,
};
use half::f16;
use std::io::Cursor;

/// Embedding and head longer than one piece of work; rows that end within a group.
const CONFIG: ModelConfig =
    ModelConfig { vocab_size: 4_099, model_dim: 72, layers: 2, tied_head: false, ..SMALLEST };

/// Integers and scales that are a function of the place; no search for a scale would find them.
#[derive(Clone, Copy)]
struct Integers {
    /// Integers of one tensor's row that the format has no room for.
    odd: Option<(TensorRole, usize, i8)>,
    tells: bool,
    scale: f16,
}

const SOUND: Integers = Integers { odd: None, tells: true, scale: f16::from_f32_const(0.01) };

impl Integers {
    fn format(role: TensorRole) -> Option<WeightFormat> {
        match role {
            TensorRole::Query(_) | TensorRole::Embedding => Some(WeightFormat::Q4),
            TensorRole::Gate(_) | TensorRole::Head => Some(WeightFormat::Q8),
            TensorRole::Up(_) => Some(WeightFormat::Q5),
            _ => None,
        }
    }

    fn group(&self, role: TensorRole, row: usize, group: usize) -> Group {
        let (min, max) = Self::format(role).unwrap().range();
        // Far from the ends of the range, so that rounding would choose another scale.
        let (min, max) = (i64::from(min / 2), i64::from(max / 2));
        let seed = mix((row as u64) << 20 | group as u64);
        let mut values = std::array::from_fn(|i| {
            (min + (mix(seed + i as u64) >> 33) as i64 % (max - min + 1)) as i8
        });
        if let Some((odd, at, value)) = self.odd
            && (odd, at) == (role, row)
        {
            values[3] = value;
        }
        let cols = role.shape(&CONFIG).1;
        values.iter_mut().skip(cols - 32 * group).for_each(|padding| *padding = 0);
        (values, GroupScale::Plain(self.scale))
    }
}

impl WeightSource for Integers {
    fn read_rows(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), BoxError> {
        if Self::format(role).is_none() {
            return RandomWeights { seed: 1, config: CONFIG }.read_rows(role, first_row, out);
        }
        let cols = role.shape(&CONFIG).1;
        for (row, out) in (first_row..).zip(out.chunks_exact_mut(cols)) {
            for (index, out) in out.chunks_mut(32).enumerate() {
                let (values, _) = self.group(role, row, index);
                out.iter_mut()
                    .zip(values)
                    .for_each(|(w, q)| *w = self.scale.to_f32() * f32::from(q));
            }
        }
        Ok(())
    }

    fn exact_format(&self, role: TensorRole) -> Option<WeightFormat> {
        Self::format(role)
    }

    fn read_groups(
        &self,
        role: TensorRole,
        first_row: usize,
        out: &mut [Group],
    ) -> Result<bool, BoxError> {
        let per_row = role.shape(&CONFIG).1.div_ceil(32);
        for (index, group) in out.iter_mut().enumerate() {
            *group = self.group(role, first_row + index / per_row, index % per_row);
        }
        // Sources may find out themselves what does not fit, or leave it to the packer.
        let odd = self.odd.filter(|_| self.tells);
        let asked = first_row..first_row + out.len() / per_row;
        Ok(!odd.is_some_and(|(odd, row, _)| odd == role && asked.contains(&row)))
    }
}

fn write(
    source: &Integers,
    quantization: Quantization,
    threads: usize,
) -> Result<(Aligned, Report), WriteError> {
    let mut out = Cursor::new(Vec::new());
    let sections = sections(CONFIG);
    let report = write_image(&sections, quantization, source, &mut out, threads, &mut |_| ())?;
    Ok((Aligned::copy_of(out.get_ref()), report))
}

/// Rows of a tensor as the engine reads them.
fn stored(image: &[u8], role: TensorRole) -> Vec<f32> {
    let image = ModelImage::parse_unverified(image).unwrap();
    let matrix = image.tensor(role).unwrap().packed().unwrap();
    let mut all = vec![0.0; matrix.rows() * matrix.cols()];
    for (row, out) in all.chunks_mut(matrix.cols()).enumerate() {
        assert!(matrix.dequantize_row(row, out));
    }
    all
}

fn given(source: &Integers, role: TensorRole) -> Vec<f32> {
    let (rows, cols) = role.shape(&CONFIG);
    let mut all = vec![0.0; rows * cols];
    source.read_rows(role, 0, &mut all).unwrap();
    all
}

#[test]
fn kept_tensors_are_bit_equal() {
    for layout in Layout::ALL {
        let (image, report) = write(&SOUND, Quantization::keep(layout), 2).unwrap();
        ModelImage::parse(&image).unwrap();
        for tensor in &report.tensors {
            let expected = Integers::format(tensor.role);
            assert_eq!(tensor.is_exact(), expected.is_some() || tensor.role.stays_f32());
            if let Some(format) = expected {
                // Only processors with this layout read Q5; the others have the same weights in Q8.
                let wider = format == WeightFormat::Q5 && layout != Layout::Rows16;
                let format = if wider { Format::Q8 } else { Format::of(format) };
                assert_eq!(tensor.format, format);
                assert!(stored(&image, tensor.role) == given(&SOUND, tensor.role));
            } else if !tensor.role.stays_f32() {
                assert_eq!(tensor.format, Format::Q8);
            }
        }
    }
}

#[test]
fn a_type_of_the_same_integers_is_not_rounded_either() {
    // Q8 holds what Q4 held; the other way round there is something to lose.
    let (image, report) = write(&SOUND, Quantization::uniform(Format::Q8), 1).unwrap();
    assert!(stored(&image, TensorRole::Query(1)) == given(&SOUND, TensorRole::Query(1)));
    let exact = |report: &Report, role: TensorRole| {
        report.tensors.iter().find(|t| t.role == role).unwrap().is_exact()
    };
    assert!(exact(&report, TensorRole::Embedding) && exact(&report, TensorRole::Gate(0)));
    let (_, report) = write(&SOUND, Quantization::uniform(Format::Q4), 1).unwrap();
    assert!(exact(&report, TensorRole::Embedding) && !exact(&report, TensorRole::Gate(0)));
}

#[test]
fn threads_and_the_place_do_not_change_a_byte() {
    for quantization in [Quantization::keep(Layout::Rows4), Quantization::uniform(Format::Q4)] {
        let (one, report) = write(&SOUND, quantization, 1).unwrap();
        let (three, again) = write(&SOUND, quantization, 3).unwrap();
        assert!(one[..] == three[..] && report == again);
        for threads in [1, 3] {
            let total = std::sync::Mutex::new((0, 0));
            let progress = |done, all| {
                let mut total = total.lock().unwrap();
                *total = (total.0.max(done), all);
            };
            let sections = sections(CONFIG);
            let image = pack_image(&sections, quantization, &SOUND, threads, &progress).unwrap();
            assert_eq!(image.bytes().len(), one.len());
            let (memory, file) = (
                ModelImage::parse_unverified(image.bytes()).unwrap(),
                ModelImage::parse(&one).unwrap(),
            );
            assert_eq!(memory.config(), file.config());
            for (a, b) in memory.tensors().zip(file.tensors()) {
                assert_eq!((a.role, a.format, a.layout), (b.role, b.format, b.layout));
                assert!(a.bytes == b.bytes, "{:?}", a.role);
            }
            let total = total.into_inner().unwrap();
            assert!(total.0 > 0 && total.0 == total.1 && total.1 < one.len() as u64);
        }
    }
}

#[test]
fn integers_out_of_range_are_rounded_and_reported() {
    let role = TensorRole::Gate(1);
    let source = Integers { odd: Some((role, 7, -128)), ..SOUND };
    let (image, report) = write(&source, Quantization::keep(Layout::Rows16), 2).unwrap();
    let silent = Integers { tells: false, ..source };
    assert!(write(&silent, Quantization::keep(Layout::Rows16), 1).unwrap().0[..] == image[..]);
    ModelImage::parse(&image).expect("-128 must not be stored");
    assert!(!report.tensors.iter().find(|t| t.role == role).unwrap().is_exact());
    let (stored, given) = (stored(&image, role), given(&source, role));
    let (worst, at) = stored
        .iter()
        .zip(&given)
        .enumerate()
        .map(|(at, (a, b))| ((a - b).abs(), at / 72))
        .fold((0.0, 0), |worst, this| if this.0 > worst.0 { this } else { worst });
    assert!(worst < 0.011 && at == 7, "{worst} in row {at}");
}

#[test]
fn scales_that_are_no_numbers_are_named() {
    for scale in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
        let source = Integers { scale, ..SOUND };
        let error = write(&source, Quantization::keep(Layout::Rows16), 2).map(|_| ()).unwrap_err();
        assert!(
            matches!(error, WriteError::Weight { role: TensorRole::Embedding, row: 0, .. }),
            "{error:?}"
        );
    }
}
