#!/bin/sh
# Checks and times the GPU part of statetune on a machine with an NVIDIA GPU.
#
#   scripts/gpu.sh            builds here, checks and times
#   scripts/gpu.sh pack DIR   builds here, and copies what a machine without cargo needs into DIR
#   scripts/gpu.sh run DIR    checks and times with the programs of DIR (this script is among them)
#
# The GPU machine needs an NVIDIA driver and libtorch 2.11.0 with its CUDA packages: the folder `torch` that
# LIBTORCH names, or .libtorch/torch, or that of python3's torch package. Nothing is fetched. Prints what
# the checks say and one table, in Markdown.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

# The program that cargo builds for a target: its kind and its name.
built() {
    cargo "$1" --profile release "--$1" "$2" --no-run --message-format=json 2>/dev/null |
        sed -n "s/.*\"name\":\"$2\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -n 1
}

pack() {
    mkdir -p "$1"
    cd "$here/.."
    cargo build --release
    cp "$(built test golden)" "$1/golden"
    cp "$(built bench step)" "$1/step"
    cp "$(built bench wkv)" "$1/wkv"
    cp "${CARGO_TARGET_DIR:-target}/release/statetune" "${CARGO_TARGET_DIR:-target}/release/statetune-tensors" \
        "$here/gpu.sh" "$1/"
}

libtorch() {
    for folder in "${LIBTORCH:-}" "$here/../.libtorch/torch" "$(python3 -c '
import importlib.util as u
print(u.find_spec("torch").submodule_search_locations[0])' 2>/dev/null || true)"; do
        if [ -e "$folder/lib/libtorch_cuda.so" ]; then
            echo "$folder"
            return
        fi
    done
    echo "error: no libtorch with CUDA: set LIBTORCH to the folder torch of a 2.11.0" >&2
    return 1
}

# One line of the table.
row() { printf '| %s | %s |\n' "$1" "$2"; }

# Lines `NAME<tab>TIME` from Criterion's output, the median of each.
medians() {
    awk '/^[a-z0-9]+\/[a-z_]+\/[a-z0-9_]+/ { name = $1 }
        /time:/ { sub(/.*\[/, ""); print name "\t" $3 " " $4 }'
}

run() {
    torch=$(libtorch)
    # What wants a GPU and gets none fails.
    export STATETUNE_REQUIRE_GPU=1
    export LD_LIBRARY_PATH="$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    failed=
    echo "## checks"
    "$1/golden" --nocapture --test-threads 1 cuda::gpu devices:: >"$work/checks" 2>&1 || failed=yes
    cat "$work/checks"
    "$1/step" >"$work/step" 2>&1 || failed=yes
    (cd "$work" && "$1/wkv" --bench --noplot '/cuda_') >"$work/wkv" 2>&1 || failed=yes

    echo "## results"
    row what figure
    row --- ---
    row GPU "$(sed -n 's/^gpu: //p' "$work/step")"
    row CPU "$(sed -n 's/^cpu: //p' "$work/step")"
    row checks "$(sed -n 's/^test result: //p' "$work/checks")"
    medians <"$work/wkv" | while IFS="$(printf '\t')" read -r name time; do row "$name" "$time"; done
    # The name of a case is the first 24 characters.
    sed -n 's/^\(gpu [bf].\{20\}\) *\([0-9.]*\) *\([0-9.]*\) *\([0-9]*\) *\([0-9.]*\) *\([0-9]*%\) *\([0-9.]*\)$/\1	\2 s, \4 tokens\/s, matrix products \6 of it, peak memory \7 x weights/p' \
        "$work/step" | while IFS="$(printf '\t')" read -r name text; do row "step, $name" "$text"; done
    if [ -n "$failed" ]; then
        echo "## what failed"
        grep -h -A 3 'panicked at\|^error' "$work/step" "$work/wkv" || true
        return 1
    fi
}

case "${1:-}" in
    pack) pack "$2" ;;
    run) run "$(cd "$2" && pwd)" ;;
    "")
        folder=$(mktemp -d)
        pack "$folder"
        run "$folder"
        ;;
    *)
        sed -n 's/^#   //p' "$0" >&2
        exit 2
        ;;
esac
