//! A kernel that is wrong in one bit. If the tests let it pass, they test nothing.

use demask::kernels::scalar::NotFinite;
use demask::kernels::{Activations, ActivationsMut};
use demask::packed::{Layout, PackedMatrix};
use demask::{Kernels, Scalar};

#[derive(Clone, Copy)]
pub(crate) struct Wrong;

impl Kernels for Wrong {
    const NAME: &'static str = "wrong-on-purpose";
    const LAYOUT: Layout = Scalar::LAYOUT;

    fn quantize_row(
        self,
        x: &[f32],
        row: usize,
        into: &mut ActivationsMut<'_>,
    ) -> Result<(), NotFinite> {
        Scalar.quantize_row(x, row, into)
    }

    fn matmul(self, weights: &PackedMatrix<'_>, activations: &Activations<'_>, out: &mut [f32]) {
        Scalar.matmul(weights, activations, out);
        if let Some(last) = out.last_mut() {
            *last = f32::from_bits(last.to_bits() ^ 1);
        }
    }
}
