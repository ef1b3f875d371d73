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
    // What firmware gets.
    #[cfg(any(board = "cortex_m", board = "riscv"))]
    visitor.visit(Some(demask::kernels::NATIVE));
    #[cfg(target_arch = "aarch64")]
    {
        use crate::board;
        use demask::kernels::aarch64::{DotProd, I8mm, Neon};
        visitor.visit(Some(Neon::new()));
        let dot_product = board::has_dot_product();
        // SAFETY: the operating system says that the processor has the instructions.
        visitor.visit(dot_product.then(|| unsafe { DotProd::new_unchecked() }));
        let i8mm = board::has_i8mm() && dot_product;
        // SAFETY: as above.
        visitor.visit(i8mm.then(|| unsafe { I8mm::new_unchecked() }));
    }
    #[cfg(machine = "wasm-simd")]
    visitor.visit(Some(demask::kernels::NATIVE));
}

/// Shows a kernel that must fail.
#[cfg(feature = "prove-check-can-fail")]
pub(crate) fn visit(visitor: &mut impl Visitor) {
    visitor.visit(Some(crate::wrong::Wrong));
}
