//! Kernels for instructions that this processor may lack, on the processor or in software.

use super::{check, emulated};
use demask::Kernels;
use demask::kernels::check::{Effort, all, if_available};
use demask::kernels::x86_64::{Amx, AvxVnni};
use demask_std::detect;
use std::arch::asm;
use std::arch::x86_64::*;

/// Checks the kernels on the processor if it has them, and else in software, which `others` says is
/// possible: the emulator executes some instructions, not all that the kernels use.
fn check_or_emulate<K: Kernels>(
    native: Option<K>,
    others: bool,
    effort: Effort,
    token: impl Fn() -> K,
) {
    let required = std::env::var("DEMASK_REQUIRE_FEATURES").unwrap_or_default();
    if native.is_some() || required.split(',').any(|name| name.trim() == K::NAME) {
        if_available(native, check);
    } else if !others {
        eprintln!(
            "*** SKIPPED: {} needs more than can be emulated, NOTHING was tested ***",
            K::NAME
        );
    } else if !emulated::install() {
        eprintln!("*** SKIPPED: no SIGILL for {} arrives here, NOTHING was tested ***", K::NAME);
    } else {
        let before = emulated::executed();
        let cases = all(token(), effort);
        let executed = emulated::executed() - before;
        assert!(executed > 0, "nothing was emulated");
        println!("{}: {cases} cases, {executed} instructions emulated", K::NAME);
    }
}

#[test]
fn avx_vnni() {
    let others = detect::avx2().is_ok();
    // SAFETY: what the processor lacks is emulated; the rest is there.
    let token = || unsafe { AvxVnni::new_unchecked() };
    // Every instruction of the inner loop traps: the thorough check would take minutes.
    check_or_emulate(detect::avx_vnni().ok(), others, Effort::Quick, token);
}

#[test]
fn amx() {
    let others = detect::avx512_vnni().is_ok() && is_x86_feature_detected!("gfni");
    // SAFETY: what the processor lacks is emulated; the rest is there.
    let token = || unsafe { Amx::new_unchecked() };
    check_or_emulate(detect::amx().ok(), others, Effort::Thorough, token);
}

/// Bytes with all kinds of signs and sizes.
fn noise(seed: u32) -> impl FnMut() -> u8 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }
}

/// The emulator, or the processor, against plain arithmetic.
#[test]
fn vpdpbusd_is_what_the_manual_says() {
    #[target_feature(enable = "avx2,avxvnni")]
    fn product(sums: &mut [i32; 8], unsigned: &[u8; 32], signed: &[i8; 32]) {
        // SAFETY: reads and writes exactly the borrowed bytes.
        unsafe {
            let sum = _mm256_loadu_si256(sums.as_ptr().cast());
            let unsigned = _mm256_loadu_si256(unsigned.as_ptr().cast());
            let signed = _mm256_loadu_si256(signed.as_ptr().cast());
            let sum = _mm256_dpbusd_avx_epi32(sum, unsigned, signed);
            _mm256_storeu_si256(sums.as_mut_ptr().cast(), sum);
        }
    }
    let can = detect::avx_vnni().is_ok() || (detect::avx2().is_ok() && emulated::install());
    if !can {
        eprintln!("*** SKIPPED: no vpdpbusd, NOTHING was tested ***");
        return;
    }
    let mut byte = noise(1);
    for _ in 0..100 {
        let (unsigned, signed) = ([(); 32].map(|()| byte()), [(); 32].map(|()| byte() as i8));
        let before = [(); 8].map(|()| i32::from_le_bytes([byte(), byte(), byte(), byte()]));
        let mut sums = before;
        // SAFETY: the processor has the instruction, or it is emulated.
        unsafe { product(&mut sums, &unsigned, &signed) };
        for (lane, sum) in sums.into_iter().enumerate() {
            let products =
                (4 * lane..4 * lane + 4).map(|i| i32::from(unsigned[i]) * i32::from(signed[i]));
            assert_eq!(sum, before[lane].wrapping_add(products.sum()));
        }
    }
}

/// The emulator, or the processor, against plain arithmetic.
#[test]
fn tdpbssd_is_what_the_manual_says() {
    if detect::amx().is_err() && !emulated::install() {
        eprintln!("*** SKIPPED: no tiles, NOTHING was tested ***");
        return;
    }
    let mut byte = noise(2);
    for (rows, columns, quads) in [(16, 16, 8), (16, 16, 16), (3, 5, 7), (1, 1, 1), (9, 16, 8)] {
        let (a, b) = ([(); 16 * 64].map(|()| byte() as i8), [(); 16 * 64].map(|()| byte() as i8));
        let before = [(); 16 * 16].map(|()| i32::from(byte()) * 77);
        let mut c = before;
        let mut configuration = [0u8; 64];
        configuration[0] = 1;
        for (tile, (rows, width)) in
            [(rows, 4 * columns), (rows, 4 * quads), (quads, 4 * columns)].into_iter().enumerate()
        {
            configuration[16 + 2 * tile] = width as u8;
            configuration[48 + tile] = rows as u8;
        }
        // SAFETY: the tiles are smaller than the arrays, whose rows are 64 bytes apart.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                "tileloadd tmm0, [{c} + {stride}]",
                "tileloadd tmm1, [{a} + {stride} + 0]",
                "tileloadd tmm2, [{b} + {stride}]",
                "tdpbssd tmm0, tmm1, tmm2",
                "tilestored [{c} + {stride}], tmm0",
                "tilerelease",
                configuration = in(reg) &configuration,
                a = in(reg) &a,
                b = in(reg) &b,
                c = in(reg) &mut c,
                stride = in(reg) 64usize,
                options(nostack, preserves_flags),
            );
        }
        for (i, (&got, &before)) in c.iter().zip(&before).enumerate() {
            let (row, column) = (i / 16, i % 16);
            let product = |k: usize| {
                i32::from(a[64 * row + k]) * i32::from(b[64 * (k / 4) + 4 * column + k % 4])
            };
            let inside = row < rows && column < columns;
            let sum: i32 = if inside { (0..4 * quads).map(product).sum() } else { 0 };
            assert_eq!(got, before + sum, "{rows}x{columns}x{quads}: {row}, {column}");
        }
    }
}
