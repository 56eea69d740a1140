#!/bin/sh
# Provides libtorch 2.11.0 under .libtorch/ of the project, unless LIBTORCH names one.
#
# It comes from the PyPI wheel of torch, whose folder `torch/` has the headers and libraries that a
# build needs. Without an NVIDIA driver only the two small libraries are added that the CPU part needs to
# load (10 s, 1.2 GB on disk); with one, everything (4.7 GB). STATETUNE_CUDA=1 fetches everything and
# STATETUNE_CUDA=0 the small set, whatever this machine has.
set -eu

version=2.11.0
cd "$(dirname "$0")/.."

# The release that a libtorch folder holds, such as 2.11.0; nothing when it is none.
release_of() {
    header="$1/include/torch/headeronly/version.h"
    [ -r "$header" ] || return 0
    awk '/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) /{ v = v sep $3; sep = "." } END { print v }' "$header"
}

# Whether this machine has an NVIDIA driver: its library, in WSL2 too, or its tool, or its kernel module.
has_driver() {
    case "${STATETUNE_CUDA:-}" in
        1) return 0 ;;
        0) return 1 ;;
        '') ;;
        *)
            echo "error: STATETUNE_CUDA=$STATETUNE_CUDA is not a valid choice: set it to 1 or 0, or unset it" >&2
            exit 1
            ;;
    esac
    for library in $(echo "${LD_LIBRARY_PATH:-}" | tr : ' ') /usr/lib/wsl/lib; do
        [ ! -e "$library/libcuda.so.1" ] || return 0
    done
    [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null ||
        { PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null || true; } | grep -q 'libcuda\.so\.1'
}

if [ -n "${LIBTORCH:-}" ]; then
    found=$(release_of "$LIBTORCH")
    [ "$found" = "$version" ] && exit 0
    echo "error: LIBTORCH=$LIBTORCH is ${found:-no libtorch}, but libtorch $version is needed;" >&2
    echo "       unset LIBTORCH and it is fetched" >&2
    exit 1
fi

target=.libtorch
# The CUDA packages are there if one of them is.
blas=$target/nvidia/cu13/lib/libcublas.so.13
if [ "$(release_of "$target/torch")" = "$version" ]; then
    has_driver && [ ! -e "$blas" ] || exit 0
    echo "libtorch in $target/ has no CUDA packages, but this machine has an NVIDIA driver" >&2
fi

if has_driver; then
    set -- "torch==$version"
else
    set -- --no-deps "torch==$version" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85
fi
echo "fetching libtorch $version into $target/ (once)" >&2
rm -rf "$target.partial"
scripts/pip.sh "$target.partial" "$@"
rm -rf "$target"
mv "$target.partial" "$target"
