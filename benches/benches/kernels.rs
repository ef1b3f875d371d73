//! Matrix products, quantization of the rows included. Throughput is in multiply-accumulates.
#![allow(missing_docs)] // of what the macros make

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use demask::Kernels;
use demask::packed::WeightFormat;
use demask_benches::Product;
use demask_std::detect::{WithKernels, available, with_kernels};
use std::hint::black_box;
use std::time::Duration;

/// Rows, outputs, inputs: layers of the bundled model for one row, a microcontroller's tile and a
/// whole answer; its head; then a layer of a larger model, for one row and for a tile.
const SIZES: [(usize, usize, usize); 6] = [
    (1, 384, 128),
    (8, 384, 128),
    (64, 384, 128),
    (64, 1024, 128),
    (1, 2048, 2048),
    (32, 2048, 2048),
];

struct Multiply<'b, 'c> {
    group: &'b mut BenchmarkGroup<'c, WallTime>,
    product: &'b mut Product,
    size: &'b str,
}

impl WithKernels for Multiply<'_, '_> {
    type Output = ();

    fn run<K: Kernels + 'static>(self, kernels: K) {
        self.group.bench_function(BenchmarkId::new(self.size, K::NAME), |bencher| {
            bencher.iter(|| {
                black_box(&mut *self.product).multiply(kernels);
            });
        });
    }
}

fn matmul(criterion: &mut Criterion) {
    let formats = [(WeightFormat::Q4, "q4"), (WeightFormat::Q8, "q8"), (WeightFormat::Q4K, "q4k")];
    for (format, name) in formats {
        let mut group = criterion.benchmark_group(name);
        let fits = |(_, _, inputs): &(usize, usize, usize)| inputs % format.column_unit() == 0;
        for (rows, outputs, inputs) in SIZES.into_iter().filter(fits) {
            let mut product = Product::new(format, rows, outputs, inputs);
            let size = format!("{rows}x{outputs}x{inputs}");
            group.throughput(Throughput::Elements(product.macs()));
            for choice in available() {
                let code = Multiply { group: &mut group, product: &mut product, size: &size };
                with_kernels(choice, code).expect("the choice is available");
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = matmul
}
criterion_main!(benches);
