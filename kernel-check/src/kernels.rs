//! Which kernels each machine runs. To add one, add a line to [`visit`], and its name to the
//! machines that must have run it in `run.sh`.

use demask::Kernels;

/// Does something with every kernel that is built in.
pub(crate) trait Visitor {
    /// `None`: the kernel is built in, but the processor lacks what it needs.
    fn visit<K: Kernels>(&mut self, kernels: Option<K>);
}

/// Shows the kernels of this machine to `visitor`.
#[cfg(not(feature = "prove-check-can-fail"))]
pub(crate) fn visit(visitor: &mut impl Visitor) {
    visitor.visit(Some(demask::Scalar));
    #[cfg(machine = "rv32v")]
    visitor.visit(Some(demask::kernels::riscv_vector::Rvv::new()));
    #[cfg(machine = "wasm-simd")]
    visitor.visit(Some(demask::kernels::wasm::Simd128::new()));
}

/// Shows a kernel that must fail.
#[cfg(feature = "prove-check-can-fail")]
pub(crate) fn visit(visitor: &mut impl Visitor) {
    visitor.visit(Some(crate::wrong::Wrong));
}
