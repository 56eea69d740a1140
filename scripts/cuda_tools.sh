#!/bin/sh
# Provides NVRTC, the compiler of the CUDA kernels, under .libtorch-cuda-tools/ for tests: it needs no
# GPU. A machine with an NVIDIA driver has it in libtorch's own CUDA packages already (220 MB on disk).
set -eu

version=13.0.88
cd "$(dirname "$0")/.."

target=.libtorch-cuda-tools
[ -d "$target/nvidia_cuda_nvrtc-$version.dist-info" ] && exit 0

echo "fetching NVRTC $version into $target/ (once)" >&2
rm -rf "$target.partial" "$target"
scripts/pip.sh "$target.partial" --quiet --no-deps "nvidia-cuda-nvrtc==$version"
mv "$target.partial" "$target"
