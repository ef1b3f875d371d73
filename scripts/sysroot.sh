#!/bin/sh
# Builds Rust's `core` and `alloc` for another target, for a machine whose Rust has no such
# target installed. With rustup this is not needed: `rustup target add TARGET` does the same.
#
#   ./sysroot.sh TARGET        prints the folder to pass to rustc as --sysroot
#
# Needs a rustc with its library sources (Debian: rustc-web and rust-web-src). Only the library is
# compiled with RUSTC_BOOTSTRAP; the crates that use the folder are compiled as on any stable
# toolchain, so an unstable feature in them is still an error.
#
# RUSTC   the compiler to use (default /usr/bin/rustc)
set -eu

[ $# -eq 1 ] || { echo "usage: $0 TARGET" >&2; exit 2; }
target=$1
here=$(cd "$(dirname "$0")" && pwd)
rustc=${RUSTC:-/usr/bin/rustc}

version=$("$rustc" --version | cut -d' ' -f2)
library=$("$rustc" --print sysroot)/lib/rustlib/src/rust/library
[ -d "$library/core" ] || {
    echo "sysroot.sh: no library sources at $library (Debian: apt install rust-web-src)" >&2
    exit 1
}

# The compiler's version is part of the name: another compiler gets another folder, and cargo then
# sees other flags and rebuilds what it must.
dir=$here/target/sysroot/$target-$version
lib=$dir/lib/rustlib/$target/lib
if [ ! -e "$dir/complete" ]; then
    rm -rf "$dir"
    mkdir -p "$dir/build/src" "$lib"
    cat >"$dir/build/Cargo.toml" <<EOF
[workspace]
[package]
name = "sysroot"
version = "0.0.0"
edition = "2024"
[profile.release]
panic = "abort"
EOF
    echo '#![no_std]' >"$dir/build/src/lib.rs"
    # embed-bitcode: the libraries must serve both fat LTO (bitcode) and debug builds (objects).
    (
        cd "$dir/build"
        RUSTC=$rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS='-C embed-bitcode=yes' CARGO_TARGET_DIR=$dir/build/target \
            cargo build --quiet --release -Zbuild-std=core,alloc --target "$target"
    ) >&2
    for crate in core alloc compiler_builtins; do
        cp "$dir/build/target/$target/release/deps/lib$crate-"*.rlib "$lib/"
    done
    rm -rf "$dir/build"
    touch "$dir/complete"
fi
echo "$dir"
