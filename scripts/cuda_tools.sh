#!/bin/sh
# Provides NVRTC, the compiler of the CUDA kernels, under .libtorch-cuda-tools/ for tests: it needs no
# GPU. A machine with an NVIDIA driver has it in libtorch's own CUDA packages already (220 MB on disk).
set -eu

version=13.0.88
cd "$(dirname "$0")/.."

target=.libtorch-cuda-tools
[ -d "$target/nvidia_cuda_nvrtc-$version.dist-info" ] && exit 0

command -v python3 >/dev/null || { echo "error: python3 is needed to fetch NVRTC" >&2; exit 1; }
# Settings of the user for other installs: neither goes with --target.
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0
echo "fetching NVRTC $version into $target/ (once)" >&2
rm -rf "$target.partial" "$target"
python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps \
    --target "$target.partial" "nvidia-cuda-nvrtc==$version"
mv "$target.partial" "$target"
