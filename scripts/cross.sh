# For sourcing: what the scripts that build for other processors and run in QEMU share.

cross_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Prints the linker that comes with rustup's Rust, or the system's lld. $1 is the target.
find_linker() {
    local lld
    for lld in "$(rustc --print sysroot)"/lib/rustlib/*/bin/rust-lld; do
        [ -x "$lld" ] && { echo "$lld"; return; }
    done
    case $1 in
    wasm32-*) command -v wasm-ld ;;
    *) command -v ld.lld ;;
    esac
}

# Sets `cargo` to the command that builds for target $1, and `cross_rustc` to its compiler: plain
# cargo where the Rust on the path has the target, else Debian's rustc-web with a library built from
# its sources.
choose_toolchain() {
    cargo=(cargo) cross_rustc=rustc
    local rustc=/usr/bin/rustc linker sysroot
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]; then return; fi
    [ -d "$("$rustc" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/core" ] || return 1
    linker=$(find_linker "$1") || return 1
    sysroot=$(RUSTC=$rustc "$cross_folder/sysroot.sh" "$1") || return 1
    cross_rustc=$rustc
    cargo=(env "RUSTC=$rustc" cargo --config "target.$1.linker='$linker'"
        --config "target.$1.rustflags=['--sysroot','$sysroot']")
}

# Builds the plugin that counts instructions into file $1. Fails without a C compiler.
build_counter() {
    command -v cc >/dev/null &&
        cc -O2 -shared -fPIC -o "$1" "$cross_folder/insncount.c" 2>/dev/null
}
