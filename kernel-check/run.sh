#!/usr/bin/env bash
# Runs the kernel tests on emulated processors, and counts the instructions that each operation takes
# there. Counts are of executed instructions under QEMU, not of cycles.
#
#   ./run.sh [machine...|all] [--counts FILE] [--compare FILE]
#
# --counts FILE   writes the counts to FILE; its lines about other machines stay
# --compare FILE  fails if a count is larger than in FILE
#
# DEMASK_COUNT_TOLERANCE=N  how much larger, in percent (default 1)
# DEMASK_CHECK_SKIP=1       a missing emulator or Rust target is reported and is no failure
# DEMASK_CHECK_SECONDS=N    the time limit of one run (default 600)
# DEMASK_CHECK_JOBS=N       how many machines run at a time (default: one for each processor)
set -euo pipefail
start_folder=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=../scripts/cross.sh
. ../scripts/cross.sh
# These would replace the flags below.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR

readonly program=demask-kernel-check
readonly time_limit=${DEMASK_CHECK_SECONDS:-600} tolerance=${DEMASK_COUNT_TOLERANCE:-1}
readonly at_once=${DEMASK_CHECK_JOBS:-$(nproc)}
readonly out=target/check
readonly counter=$PWD/target/insncount.so
mkdir -p "$out"

# Machine, the name that build.rs knows it by, target, processor (or features) to compile for, cargo
# feature (- for none), emulator with options, and the kernels that must have run. None may be left out silently.
machines_table() {
    cat <<'END'
m0        | m0        | thumbv6m-none-eabi           | -Ctarget-cpu=cortex-m0plus   | -      | qemu-system-arm -M mps2-an385 | scalar integer
m3        | m3        | thumbv7m-none-eabi           | -Ctarget-cpu=cortex-m3       | -      | qemu-system-arm -M mps2-an385 | scalar integer
m4f       | m4f       | thumbv7em-none-eabihf        | -Ctarget-cpu=cortex-m4       | -      | qemu-system-arm -M mps2-an386 | scalar dsp
m7        | m7        | thumbv7em-none-eabihf        | -Ctarget-cpu=cortex-m7       | -      | qemu-system-arm -M mps2-an500 | scalar dsp
m33       | m33       | thumbv8m.main-none-eabihf    | -Ctarget-cpu=cortex-m33      | dsp    | qemu-system-arm -M mps2-an505 | scalar dsp
m55       | m55       | thumbv8m.main-none-eabihf    | -Ctarget-cpu=cortex-m55      | helium | qemu-system-arm -M mps3-an547 | scalar helium
rv32      | rv32      | riscv32imac-unknown-none-elf | -Ctarget-cpu=generic-rv32    | -      | qemu-system-riscv32 -M virt   | scalar integer
rv32v     | rv32v     | riscv32imafc-unknown-none-elf | -Ctarget-cpu=generic-rv32   | rvv    | qemu-system-riscv32 -M virt -cpu rv32,v=true,vlen=128,vext_spec=v1.0 | scalar rvv
a64-max   | a64       | aarch64-unknown-none         | -Ctarget-feature=-strict-align | -      | qemu-aarch64 -cpu max         | scalar neon dotprod i8mm
a64-a76   | a64       | aarch64-unknown-none         | -Ctarget-feature=-strict-align | -      | qemu-aarch64 -cpu cortex-a76  | scalar neon dotprod
a64-a53   | a64       | aarch64-unknown-none         | -Ctarget-feature=-strict-align | -      | qemu-aarch64 -cpu cortex-a53  | scalar neon
wasm      | wasm      | wasm32-unknown-unknown       | -Ctarget-cpu=generic         | -      | node                          | scalar
wasm-simd | wasm-simd | wasm32-unknown-unknown       | -Ctarget-feature=+simd128    | -      | node                          | scalar simd128
END
}

fail() { echo "run.sh: $*" >&2; exit 1; }

# Something that this computer lacks: a failure, unless skipping was asked for.
lacking() {
    echo "run.sh: $machine: $*" >&2
    [ "${DEMASK_CHECK_SKIP:-0}" = 1 ] || exit 1
    echo "skip $machine"
}

# Reads the line of machine $1 from the table into variables. `required` is a list of kernels.
find_machine() {
    local line
    line=$(machines_table | awk -F' *[|] *' -v name="$1" '$1 == name') || true
    [ -n "$line" ] || fail "no machine named $1; there are: $(machines_table | awk '{ printf "%s ", $1 }')"
    IFS='|' read -r machine name target flag feature emulator required < <(sed 's/ *| */|/g; s/ *$//' <<<"$line")
    read -r -a emulator <<<"$emulator"
}

# Calls a function while no other machine is at it: they share libraries and folders of builds.
alone() {
    local status=0
    exec 9>"$out/lock"
    flock 9
    "$@" || status=$?
    exec 9>&-
    return "$status"
}

# Builds the program for the machine and copies it to $1; the rest are options for cargo.
build() {
    local to=$1 built status=0; shift
    DEMASK_MACHINE=$name "${cargo[@]}" --config "target.$target.rustflags=['$flag']" \
        build --quiet --release --locked --target "$target" --features "${feature#-}" "$@" 2>"$to.log" || status=$?
    # Bare-metal AArch64 code avoids unaligned access, since it may run before the memory management
    # unit does. This program runs under Linux. The compiler warns of the flag that says so.
    sed '/feature specified for .*strict-align/,/^$/d' "$to.log" >&2
    [ "$status" = 0 ] || fail "$machine: the program does not build"
    built=target/$target/release/$program
    [ ! -e "$built.wasm" ] || built=$built.wasm
    cp "$built" "$to"
}

# Sets `command` to the command that runs program $1 and, where `count` is 1, counts into file $2.
compose_command() {
    local plugin=()
    [ "$count" = 0 ] || plugin=(-plugin "$counter,out=$2")
    case ${emulator[0]} in
    node) command=(node run.mjs "$1") ;;
    qemu-aarch64) command=("${emulator[@]}" "${plugin[@]}" "$1") ;;
    qemu-system-arm)
        command=("${emulator[@]}" "${plugin[@]}" -display none -monitor none -serial none
            -chardev stdio,id=host -semihosting-config enable=on,target=native,chardev=host
            -kernel "$1")
        ;;
    *)
        command=("${emulator[@]}" "${plugin[@]}" -display none -monitor none -bios none
            -serial stdio -kernel "$1")
        ;;
    esac
}

# Prints the kernels of list $2 that output $1 does not report as tested.
untested() {
    local kernel
    for kernel in $2; do grep -q "^ok $kernel [1-9][0-9]* cases$" "$1" || echo "$kernel"; done
}

# Turns output $1 and what the plugin wrote ($2) into lines "machine kernel operation shape
# instructions units" in $3.
join_counts() {
    ! grep -q unpaired "$2" || fail "$machine: a region is marked once only"
    local labels=$3.labels regions=$3.regions
    grep '^region ' "$1" >"$labels"
    grep '^region ' "$2" >"$regions" || fail "$machine: the emulator saw no region"
    [ "$(wc -l <"$labels")" = "$(wc -l <"$regions")" ] ||
        fail "$machine: the program reports other regions than the emulator saw"
    paste -d' ' "$labels" "$regions" |
        awk -v machine="$machine" '{ print machine, $2, $3, $4, $7, $5 }' >"$3"
    # An empty region takes next to nothing (the compiler may put a few of the next instructions
    # into it): else more is counted than the region.
    awk '$3 == "nothing" { empty++; if ($5 > 8) exit 1 } END { exit !empty }' "$3" ||
        fail "$machine: an empty region counts"
    grep -v ' nothing ' "$3" >"$regions"
    mv "$regions" "$3"
}

# Runs one machine. What it counts goes to a file of its own, with a line that says how it was built.
check() {
    local machine name target flag feature emulator required count=1 command=() cargo=() cross_rustc
    local elf raw text missing seconds status=0
    rm -f "$out/$1.counts"
    find_machine "$1"
    command -v "${emulator[0]}" >/dev/null ||
        { lacking "no ${emulator[0]} (Debian: qemu-system-arm, qemu-system-misc, qemu-user, nodejs)"; return; }
    alone choose_toolchain "$target" ||
        { lacking "no Rust for $target: rustup target add $target (Debian: apt install rustc-web rust-web-src lld)"; return; }
    elf=$out/$machine.elf raw=$out/$machine.raw text=$out/$machine.out
    if [ "${emulator[0]}" = node ]; then
        count=0
    elif ! "${emulator[0]}" -plugin "$counter,out=/dev/null" --version >/dev/null 2>&1 ||
        [ ! -e "$counter" ]; then
        # Only asking for counts makes them necessary.
        [ -z "$counts$compare" ] || { lacking "${emulator[0]} does not take the counting plugin"; return; }
        count=0
    fi

    alone build "$elf"
    [ "$machine" != "${machines[0]}" ] || prove_that_it_can_fail
    compose_command "$elf" "$raw"
    seconds=$SECONDS
    timeout "$time_limit" "${command[@]}" </dev/null >"$text" || status=$?
    seconds=$((SECONDS - seconds))
    [ "$status" = 0 ] || { cat "$text"; fail "$machine: exit status $status (124: out of time)"; }
    grep -qx done "$text" || { cat "$text"; fail "$machine: the program did not come to its end"; }
    missing=$(untested "$text" "$required")
    [ -z "$missing" ] || { cat "$text"; fail "$machine did not test: $missing"; }
    grep -E '^(ok|skip) ' "$text" | sed -E "s/^(ok|skip) /\1 $machine /; s/\$/ ($seconds s in all)/"
    if [ "$count" = 1 ]; then
        join_counts "$text" "$raw" "$out/$machine.counts"
        echo "# $machine: rustc $("$cross_rustc" --version | cut -d' ' -f2), $target $flag" >>"$out/$machine.counts"
    fi
}

# Runs all machines, several at a time, and prints what each one says when it has ended. After a failure
# no other one starts.
check_all() {
    local waiting=("${machines[@]}") pid failed=0
    local -A running=()
    while true; do
        while [ ${#waiting[@]} -gt 0 ] && [ ${#running[@]} -lt "$at_once" ] && [ "$failed" = 0 ]; do
            (check "${waiting[0]}") >"$out/${waiting[0]}.log" 2>&1 &
            running[$!]=${waiting[0]} waiting=("${waiting[@]:1}")
        done
        [ ${#running[@]} -gt 0 ] || break
        wait -n -p pid "${!running[@]}" || failed=1
        cat "$out/${running[$pid]}.log"
        unset "running[$pid]"
    done
    return "$failed"
}

# A kernel that is wrong in one bit must not pass, nor a kernel that did not run: else the rest
# proves nothing. Once is enough, on whichever machine comes first.
prove_that_it_can_fail() {
    local log=$out/wrong.log count=0 command=() status=0
    alone build "$out/wrong.elf" --features prove-check-can-fail
    compose_command "$out/wrong.elf" -
    timeout "$time_limit" "${command[@]}" </dev/null >"$log" 2>&1 || status=$?
    [ "$status" = 101 ] && grep -q 'wrong-on-purpose Q[48] ' "$log" ||
        { cat "$log"; fail "$machine: a wrong kernel ends with status $status, not with a panic (101)"; }
    [ "$(untested "$log" wrong-on-purpose)" = wrong-on-purpose ] || fail "a failed kernel counts as tested"
    echo "ok $machine: a kernel that is wrong in one bit is found"
}

# Formats lines of `join_counts` (standard input) as the table that is committed.
table() {
    awk '{ printf "%-9s %-10s %-10s %-11s %12d %10.3f\n", $1, $2, $3, $4, $5, $5 / $6 }'
}

# Lines of table $1 that are about the machines in file $2 or, with $3 = others, about all others.
lines_of() {
    awk -v others="${3:-}" '
        { key = $1 == "#" ? $2 : $1; sub(":$", "", key) }
        NR == FNR { if ($1 == "#") ran[key] = 1; next }
        $1 == "#" && $2 !~ /:$/ { next }
        (key in ran) == (others == "")' "$2" "$1"
}

write_counts() {
    local file=$1 kept=
    [ ! -e "$file" ] || kept=$(lines_of "$file" "$out/new" others)
    {
        echo "# Executed instructions under QEMU (kernel-check/run.sh --counts), not cycles. Columns: machine,"
        echo "# kernel, operation, shape, instructions, instructions per multiply-accumulate or element."
        echo "# Commit: $(git describe --always --dirty 2>/dev/null || echo unknown), $(qemu-system-arm --version | head -n 1)"
        { grep . <<<"$kept" | grep '^#' || true; grep '^#' "$out/new"; } | LC_ALL=C sort
        { grep . <<<"$kept" | grep -v '^#' || true; cat "$out/table"; } | LC_ALL=C sort -V
    } >"$out/written"
    cp "$out/written" "$file"
    echo "counts of $(grep -c '^#' "$out/new") machine(s) written to $file"
}

compare_counts() {
    local file=$1 status=0
    [ -e "$file" ] || fail "no counts to compare with at $file; --counts $file makes them"
    lines_of "$file" "$out/new" >"$out/old"
    { grep '^#' "$out/new"; cat "$out/table"; } |
        awk -v tolerance="$tolerance" -v file="$file" '
        { key = $1 == "#" ? $2 : $1 " " $2 " " $3 " " $4 }
        NR == FNR { if ($1 == "#") built[key] = $0; else old[key] = $5; next }
        $1 == "#" {
            if (!(key in built)) { print "new  " substr(key, 1, length(key) - 1) " is not in " file; bad = 1 }
            else if (built[key] != $0) { print "note built differently: then " built[key] ", now " $0 }
            next
        }
        !(key in old) { print "new  " key ": " $5; next }
        {
            seen[key] = 1; change = 100 * ($5 / old[key] - 1)
            if (change > tolerance) { printf "MORE %s: %d, was %d (%+.2f %%)\n", key, $5, old[key], change; bad = 1 }
            else if (change < -tolerance) { printf "less %s: %d, was %d (%+.2f %%)\n", key, $5, old[key], change; fewer = 1 }
        }
        END {
            for (key in old) if (!(key in seen)) { print "GONE " key; bad = 1 }
            if (fewer) print "hint: counts became smaller; keep that with --counts " file
            exit bad
        }' "$out/old" - || status=$?
    [ "$status" = 0 ] ||
        fail "counts grew by more than $tolerance %, or have nothing to compare with; if that is right: kernel-check/run.sh ${machines[*]} --counts $file"
    echo "ok no count is more than $tolerance % above $file"
}

machines=() counts= compare=
while [ $# -gt 0 ]; do
    case $1 in
    --counts | --compare)
        [ $# -ge 2 ] || fail "$1 needs a file"
        # From where the script was started.
        file=$(cd "$start_folder" && realpath -m "$2")
        if [ "$1" = --counts ]; then counts=$file; else compare=$file; fi
        shift
        ;;
    all) mapfile -t -O "${#machines[@]}" machines < <(machines_table | awk '{ print $1 }') ;;
    -*) sed -n '2,12s/^# \{0,1\}//p' "$(basename "$0")" >&2; exit 2 ;;
    *) (find_machine "$1"); machines+=("$1") ;;
    esac
    shift
done
[ ${#machines[@]} -gt 0 ] || mapfile -t machines < <(machines_table | awk '{ print $1 }')

build_counter "$counter" || rm -f "$counter"
check_all
for machine in "${machines[@]}"; do cat "$out/$machine.counts" 2>/dev/null || true; done >"$out/new"
if [ -s "$out/new" ]; then
    grep -v '^#' "$out/new" | table >"$out/table"
    [ -n "$counts$compare" ] || cat "$out/table"
    # First the comparison, so that both options may name one file.
    [ -z "$compare" ] || compare_counts "$compare"
    [ -z "$counts" ] || write_counts "$counts"
elif [ -n "$counts$compare" ]; then
    lacking "no machine was counted"
fi
