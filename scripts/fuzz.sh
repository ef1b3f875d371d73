#!/usr/bin/env bash
# Builds all fuzz targets with the address sanitizer and runs each for a while, several at a time, from
# their seeds and what earlier runs found.
#
#   scripts/fuzz.sh [SECONDS]     for each target (default 30)
#
# For more of one target use cargo-fuzz, see core/fuzz/README.md and std-adapter/fuzz/README.md. This
# needs no more than a compiler: it passes the flags that cargo-fuzz passes, but optimizes less, since
# here most of the time goes into building.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly seconds=${1:-30} at_once=$(nproc) host=$(rustc -vV | sed -n 's/^host: //p')
# One folder for both workspaces: they have most crates in common.
export CARGO_TARGET_DIR=$PWD/target/fuzz
readonly programs=$CARGO_TARGET_DIR/$host/release logs=$CARGO_TARGET_DIR/logs

# Folder, target and longest input.
targets_table() {
    cat <<'END'
std-adapter gguf 65536
core image 16384
core session 4096
core tokenizer 4096
std-adapter json 4096
END
}

# With the flags that make coverage visible to libFuzzer. Unstable ones, hence the variable.
build() {
    local flags="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module"
    flags+=" -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares"
    flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    flags+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-stack-depth"
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags CARGO_PROFILE_RELEASE_OPT_LEVEL=2 \
        cargo build --quiet --release --locked --target "$host" --manifest-path "$1/fuzz/Cargo.toml"
}

# Runs target $2 of folder $1 on inputs of up to $3 bytes. A finding is kept where cargo-fuzz has them.
fuzz() {
    local folder=$1/fuzz target=$2
    mkdir -p "$folder/corpus/$target" "$folder/artifacts/$target"
    ASAN_OPTIONS=detect_odr_violation=0 "$programs/$target" "$folder/corpus/$target" \
        -artifact_prefix="$folder/artifacts/$target/" -max_total_time="$seconds" -max_len="$3"
}

build core
build std-adapter
mkdir -p "$logs"
failed=0
declare -A running=()
report() {
    local pid lines=2
    # All of it after a finding.
    wait -n -p pid "${!running[@]}" || failed=1 lines=+1
    echo "---- ${running[$pid]}"
    tail -n "$lines" "$logs/${running[$pid]}"
    unset "running[$pid]"
}
while read -r folder target longest; do
    [ ${#running[@]} -lt "$at_once" ] || report
    fuzz "$folder" "$target" "$longest" >"$logs/$target" 2>&1 </dev/null &
    running[$!]=$target
done < <(targets_table)
while [ ${#running[@]} -gt 0 ]; do report; done
exit "$failed"
