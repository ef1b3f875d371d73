#!/usr/bin/env bash
# Counts instructions of fixed pieces of work under callgrind: figures that repeat exactly, on any x86-64
# processor with AVX2, however busy it is.
#
#   benches/counts.sh                         write target/counts-x86_64.txt
#   benches/counts.sh --record                write benches/results/counts-x86_64.txt
#   benches/counts.sh --compare FILE [PERCENT]   count, and fail where a count exceeds FILE's by more than
#                                             PERCENT (default 1)
#
# Needs valgrind. It does not know AVX-512, so those kernels are not counted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
out=$target/counts-x86_64.txt
case ${1-} in
"" | --compare) ;;
--record) out=benches/results/counts-x86_64.txt ;;
*) sed -n '2,/^set/p' "$0" | grep '^#' && exit 2 ;;
esac
[ "${1-}" != --compare ] || [ -r "${2?--compare needs a file}" ] || { echo "cannot read $2" >&2; exit 2; }
command -v valgrind >/dev/null || { echo "needs valgrind (apt-get install valgrind)" >&2; exit 2; }

cargo build --release --quiet --locked -p demask-benches --bin counts
counts=$target/release/counts

# Instructions inside counted_work.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no --demangle=no \
        --toggle-collect='*counted_work*' "$counts" "$@" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

mkdir -p "$(dirname "$out")"
{
    echo "# Instructions of fixed pieces of work: benches/counts.sh --record"
    echo "# machine: x86_64, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(valgrind --version)"
    echo "# compiler: $(rustc --version)"
    echo "# commit: $(git describe --always --dirty 2>/dev/null || echo unknown)"
    echo "# shapes: rows x outputs x inputs; rows x length; rows. per_unit: per multiplication by a weight, or per element"
    printf '# %-8s %-8s %-20s %-12s %12s %s\n' machine kernel operation shape instructions per_unit
    "$counts" list | while read -r operation shape units; do
        for kernel in scalar avx2; do
            n=$(count "$operation" "$shape" "$kernel")
            [ "${n:-0}" -gt 0 ] || { echo "no count of $operation $shape $kernel" >&2; exit 1; }
            per_unit=$(awk -v n="$n" -v units="$units" 'BEGIN { printf "%.4f", n / units }')
            printf '%-10s %-8s %-20s %-12s %12s %s\n' x86_64 "$kernel" "$operation" "$shape" "$n" "$per_unit"
        done
    done
} >"$out.unfinished"
mv "$out.unfinished" "$out"
cat "$out"

if [ "${1-}" = --compare ]; then
    python3 benches/compare_counts.py "$2" "$out" --tolerance "${3:-1}"
fi
