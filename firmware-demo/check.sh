#!/usr/bin/env bash
# Builds the firmware demo, runs it in QEMU and on this computer, and compares what it prints with what
# `demask device-check` decodes. Also checks what only the linked program can show: that no
# panic path is left, that the text fits in 64 KiB without the image, that the image lies in flash, and
# that there are no decoders but those that the program names.
#
# For cortex-m4f the program with the features `methods`, `trace` and `families` is checked too: one decoder
# of each kind, step by step, with a trained filter in the image, and with a block-causal model; and the
# smallest model with 256 KiB of flash for everything and 128 KiB of RAM.
#
#   ./check.sh [cortex-m4f|cortex-m7|rv32|all]
#
# DEMASK_IMAGE=FILE      check with this image only (default: the bundled model with 4-bit and with
#                        8-bit weights)
# DEMASK_CHECK_SKIP=1    a missing emulator or Rust target is reported and is no failure
# DEMASK_CHECK_SECONDS=N the time limit of one run (default 300)
set -euo pipefail
start_folder=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=../scripts/cross.sh
. ../scripts/cross.sh
# These would replace the flags in .cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR

readonly arm=thumbv7em-none-eabihf rv=riscv32imac-unknown-none-elf
readonly program=demask-firmware-demo
readonly model_ram_limit=$((200 * 1024))
readonly time_limit=${DEMASK_CHECK_SECONDS:-300}
readonly out=target/check
mkdir -p "$out"

fail() { echo "check.sh: $*" >&2; exit 1; }

# Something that this computer lacks: a failure, unless skipping was asked for.
lacking() {
    echo "check.sh: $*" >&2
    [ "${DEMASK_CHECK_SKIP:-0}" = 1 ] || exit 1
    echo "skip $machine"
}

# The policies, schedules, end rules and cache plans in program $1, by their modules. Debug information
# names also what was inlined, which symbols do not.
decoders_in() {
    readelf --debug-dump=info "$1" | sed -nE 's/.*DW_AT_(linkage_)?name *: //p' | c++filt |
        grep -oE '(policies|schedules|eos_rules|plans)::\w+' | sort -u
}

# Program $1 holds the decoders $2, one a line, and in the case of `prompts` no others.
check_decoders() {
    local found missing extra
    found=$(decoders_in "$1")
    missing=$(comm -13 <(echo "$found") <(echo "$2"))
    extra=$(comm -23 <(echo "$found") <(echo "$2"))
    # If it did not find what is there, it would not find what should not be there either.
    [ -z "$missing" ] || fail "in $1 these decoders are not to be found: $missing"
    [ -z "$extra" ] || [ "$kind" = methods ] || fail "$1 holds decoders that it does not name: $extra"
}

# Checks the linked program $1 against `text_limit`; `ours` and `others` are names of kernels.
check_elf() {
    local elf=$1 flash=0 name type size flags model=0
    if readelf -sW "$elf" | grep -E 'core9panicking|panic_fmt|rust_begin_unwind|panic_is_reachable'; then
        fail "$elf holds a panic path"
    fi
    # Kernels for other processors, and the portable product that these replace, are not linked.
    nm -C "$elf" >"$out/symbols"
    if grep -E "$others" "$out/symbols"; then fail "$elf holds kernels that it does not use"; fi
    grep -qE "$ours" "$out/symbols" || fail "$elf does not hold the kernels of its processor"
    # Every section that is loaded, but not the image; .data counts, since flash holds its start.
    while read -r name type size flags; do
        case $name,$type,$flags in
        .model,*) model=$((16#$size)) ;;
        *,NOBITS,* | *,*,- ) ;;
        *) flash=$((flash + 16#$size)) ;;
        esac
    done < <(readelf -SW "$elf" | sed -n 's/^ *\[ *[0-9]*\] //p' | awk '{ print $1, $2, $5, ($7 ~ /A/ ? $7 : "-") }')
    [ "$flash" -le "$text_limit" ] || fail "$elf: $flash bytes of text, more than $text_limit"
    [ "$model" -gt 0 ] || fail "$elf has no .model section"
    check_decoders "$elf" "$decoders"
    echo "     text $flash bytes (limit $text_limit), image $model bytes in flash, no panic path, no unused kernels, decoders:" \
        "$(decoders_in "$elf" | sed 's/.*:://' | xargs)"
}

# Runs program $3 in emulator $1 and keeps its output in $2; the rest are options for the emulator.
emulate() {
    local qemu=$1 to=$2 elf=$3 status=0; shift 3
    timeout "$time_limit" "$qemu" "$@" -display none -monitor none -kernel "$elf" \
        </dev/null >"$to" || status=$?
    [ "$status" = 0 ] || { cat "$to"; fail "$machine: exit status $status (124: out of time)"; }
}

# Sets `count` to the options with which emulator $1 counts the instructions of program $2, where it
# takes the plugin.
choose_counter() {
    local plugin=target/insncount.so mark products
    count=()
    build_counter "$plugin" &&
        "$1" -M none -display none -serial none -monitor stdio -plugin "$plugin" \
            <<<quit >/dev/null 2>&1 || return 0
    mark=$(readelf -sW "$2" | awk '$8 == "demask_count" { print $2 }')
    # Matrix products: functions of that name, and inner loops in assembly.
    products=$(readelf -sW "$2" |
        awk '$4 == "FUNC" && $8 ~ /6matmul|^demask_[a-z0-9]+_q[48]_/ { print $2, $3 }' | sort -u |
        while read -r start bytes; do printf ',within=%d+%d' $((16#$start & ~1)) "$bytes"; done)
    # The lowest bit of a Thumb function's address is no part of it.
    count=(-plugin "$plugin,out=$out/count,mark=$((16#$mark & ~1))$products")
}

# Prints instructions per prompt, step and token, and the share of matrix products, from the counts
# in file $1: one before the first step of each prompt, one after every step, the total. $2 is the
# program's output, with the steps.
report_count() {
    awk 'NR == FNR { if ($1 == "tokens:") tokens[prompts + 1] = split($2, ids, ",")
                     if ($1 == "steps:") steps[++prompts] = $2
                     next }
         { mark[++marks] = $1; products[marks] = $2 }
         END {
             for (p = 1; p <= prompts; p++) {
                 start = at + 1; at += steps[p] + 1; used = mark[at] - mark[start]
                 printf "     prompt %d: %.0f instructions, %.0f per step, %.0f per token", p, used, used / steps[p], used / tokens[p]
                 if (products[at]) printf ", %.1f %% in matrix products", 100 * (products[at] - products[start]) / used
                 print ""
             }
             printf "     before the first prompt: %.0f instructions; in all: %.0f\n", mark[1], mark[marks]
         }' "$2" "$1"
}

# Compares the log $2 with what the `demask` command decodes from image $1. The words behind say whose log
# it is.
compare() {
    local image=$1 log=$2; shift 2
    "$demask" device-check "$image" --log "$log" </dev/null | sed 's/^/     /' ||
        { cat "$log"; fail "$* differs from this computer"; }
}

# The same program on this computer, `prompts` or `methods`, with image $2.
check_host() {
    local kind=$1 image=$2
    choose_features "$kind"
    DEMASK_IMAGE=$image cargo run --quiet --release "${features[@]}" >"$out/host.out" ||
        { cat "$out/host.out"; fail "the demo fails on this computer"; }
    echo "---- this computer, $(basename "$image"), $kind"
    compare "$image" "$out/host.out" "the demo on this computer"
    # A comparison that cannot fail proves nothing.
    sed '/^checksum: /{s/0$/1/;t;s/.$/0/}' "$out/host.out" >"$out/damaged.out"
    if "$demask" device-check "$image" --log "$out/damaged.out" >/dev/null 2>&1; then
        fail "a log with other checksums agrees"
    fi
    echo "ok   the demo on this computer answers as the demask command does"
}

# Sets `features` to what builds the program $1, and `decoders` to what it holds.
choose_features() {
    case $1 in
    prompts) features=() decoders=$(printf '%s\n' plans::whole policies::threshold) ;;
    methods)
        features=(--features "methods,trace,families")
        decoders=$(printf '%s\n' eos_rules::EosRamp plans::{block,block_start,dkv,suffix,whole} \
            policies::{credit,daedal,dream,entropy_bound,klass,learn2pd,local_leap,prophet,remdm} \
            policies::{saber,slow_fast,threshold,top,wino} schedules::dream_grid)
        ;;
    esac
}

# One machine with one image and program $3, `prompts` or `methods`.
check() {
    local machine=$1 image=$2 kind=$3 target qemu run=() count=() elf text_limit=$((64 * 1024))
    local portable='<demask::kernels::scalar::Scalar as demask::kernels::Kernels>' ours others
    case $machine in
    cortex-m4f | cortex-m7)
        target=$arm qemu=qemu-system-arm
        ours=demask_dsp_ others="$portable|kernels::integer|helium"
        run=(-M mps2-an386 -serial none -chardev stdio,id=host
            -semihosting-config enable=on,target=native,chardev=host)
        [ "$machine" = cortex-m4f ] || run[1]=mps2-an500
        ;;
    rv32)
        # Routines for f32 and f64 come on top where there is no float unit.
        ours=kernels::integer others="$portable|demask_dsp_|riscv_vector"
        target=$rv qemu=qemu-system-riscv32 text_limit=$((74 * 1024))
        run=(-M virt -bios none -serial stdio -icount shift=0)
        ;;
    *) fail "no machine named $machine" ;;
    esac
    command -v "$qemu" >/dev/null ||
        { lacking "no $qemu: install QEMU (Debian: qemu-system-arm, qemu-system-misc)"; return; }
    choose_toolchain "$target" ||
        { lacking "no Rust for $target: rustup target add $target (Debian: apt install rustc-web rust-web-src lld)"; return; }

    echo "---- $machine, $(basename "$image"), $kind"
    choose_features "$kind"
    # The limit is that of a product, which has one decoder.
    [ "$kind" = prompts ] || text_limit=$((256 * 1024))
    DEMASK_IMAGE=$image "${cargo[@]}" build --quiet --release --target "$target" "${features[@]}"
    elf=target/$target/release/$program
    check_elf "$elf"

    # The RISC-V program reads a counter of its own.
    if [ "$machine" != rv32 ] && [ "$kind" = prompts ]; then choose_counter "$qemu" "$elf"; fi
    local seconds=$SECONDS
    emulate "$qemu" "$out/$machine.out" "$elf" "${run[@]}" "${count[@]}"
    seconds=$((SECONDS - seconds))
    compare "$image" "$out/$machine.out" "$machine"
    case $kind in
    prompts) sed 's/^/     /' "$out/$machine.out" ;;
    methods)
        # The check of a program with one decoder must be able to fail.
        if (kind=prompts && check_decoders "$elf" plans::whole) 2>/dev/null; then
            fail "decoders that a program does not name are not found in it"
        fi
        echo "ok   decoders that a program does not name are found in it"
        ;;
    esac
    [ ${#count[@]} = 0 ] || report_count "$out/count" "$out/$machine.out"

    local plan arena
    plan=$(sed -n 's/^plan bytes: //p' "$out/$machine.out")
    arena=$(sed -n 's/^arena bytes: //p' "$out/$machine.out")
    [ "$plan" = "$arena" ] || fail "the plan says $plan bytes and the arena has $arena"
    [ "$arena" -le "$model_ram_limit" ] || fail "the model takes $arena bytes of RAM"
    echo "ok   $machine answers as the host does ($seconds s in the emulator)"
}

# A panic that was put in on purpose must be found: else the proof above proves nothing.
check_the_check() {
    local machine="panic check" log=$out/panic.log
    choose_toolchain "$1" || { lacking "no Rust for $1"; return; }
    if "${cargo[@]}" build --quiet --release --target "$1" --features prove-panic-check \
        >"$log" 2>&1; then
        fail "a program with a panic in it links"
    fi
    grep -q 'demask_panic_is_reachable' "$log" || { cat "$log"; fail "another error than expected"; }
    echo "ok   a panic path does not link on $1"
}

case ${1:-all} in
all) machines=(cortex-m4f cortex-m7 rv32) ;;
*) machines=("$1") ;;
esac

(cd .. && cargo build --quiet --release)
demask=../target/release/demask
smallest=$(realpath ../models/intents-tiny-q4.dmk)
images=()
if [ -n "${DEMASK_IMAGE:-}" ]; then
    images=("$(cd "$start_folder" && realpath -e "$DEMASK_IMAGE")")
    methods_images=("${images[0]}")
else
    images=("$(realpath ../models/intents-q4.dmk)" "$(realpath -m "$out/intents-q8.dmk")")
    "$demask" quantize ../models/intents "${images[1]}" --type q8 --json >/dev/null
    methods_images=("$(realpath -m "$out/with-filter.dmk")" "$(realpath ../models/bard-q4.dmk)")
    "$demask" train-filter "${images[0]}" --out "${methods_images[0]}" --task ../models/intents/valid.jsonl \
        --limit 30 --gen-length 32 --block-length 32 --epochs 20 --json >/dev/null
fi
unset DEMASK_IMAGE DEMASK_MEMORY

for image in "${images[@]}"; do
    check_host prompts "$image"
    for machine in "${machines[@]}"; do check "$machine" "$image" prompts; done
done
# RV32 without a float unit would take many minutes, and a Cortex-M7 runs the same program.
if [ "${machines[0]}" = cortex-m4f ]; then
    for image in "${methods_images[@]}"; do
        check_host methods "$image"
        check cortex-m4f "$image" methods
    done
    # What does not fit this memory does not link.
    check_host prompts "$smallest"
    DEMASK_MEMORY=memory/small.x check cortex-m4f "$smallest" prompts
    echo "ok   $(basename "$smallest") and its program fit 256 KiB of flash and 128 KiB of RAM"
fi
export DEMASK_IMAGE=${images[0]}
if [ "${machines[0]}" = rv32 ]; then check_the_check "$rv"; else check_the_check "$arm"; fi
