#!/bin/sh
# Builds the null GPU (null_gpu.c) for a libtorch:
#
#   tests/null_gpu/build.sh LIBTORCH OUT
#   LD_LIBRARY_PATH=OUT/torch/lib:OUT/nvidia/cu13/lib PROGRAM ...
#
# LIBTORCH is the folder `torch` of the PyPI wheel 2.11.0, with or without CUDA packages. OUT/torch/lib has links to its
# libraries, which look for CUDA's beside them: OUT/nvidia/cu13/lib has one library under all these names.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
libtorch=$(cd "$1" && pwd)
mkdir -p "$2/torch/lib" "$2/nvidia/cu13/lib" "$2/crt"
cd "$2"
ln -sf "$libtorch"/lib/*.so* torch/lib/

# Each function that libtorch asks of CUDA, with the version of its symbol if it has one.
for library in libtorch_cuda libc10_cuda libtorch_cpu libtorch_cuda_linalg libtorch_nvshmem libcaffe2_nvrtc; do
    nm -D --undefined-only "torch/lib/$library.so"
done | awk '$2 ~ /^(_*cu|nccl|nvrtc|nvshmem)/ && $2 !~ /@GLIBC|^cuserid/ { print $2 }' | sort -u >functions
# Those of null_gpu.c, and weak ones that only succeed; products of matrices are counted.
awk -F @ 'BEGIN { print "int null_gpu_product(void);" }
    /Matmul@|Matmul$|[gG]emm|[gG]emv/ { print "__attribute__((weak)) int " $1 "(void) { return null_gpu_product(); }"; next }
    { print "__attribute__((weak)) int " $1 "(void) { return 0; }" }' functions >functions.c
awk -F @ '$2 { of[$2] = of[$2] " " $1 ";" }
    END { for (version in of) print version " {" of[version] " };"
        print "NULL_GPU { global: cu[A-Z]*; nvrtc*; nccl*; cusparseLt*; null_gpu_*; local: *; };" }' functions >versions
# The header that CUDA keeps in a package of its own: marks that mean nothing to a C compiler.
cat >crt/host_defines.h <<'H'
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __align__(n)
H
cc -O1 -w -shared -fPIC -I. -I"$libtorch/../nvidia/cu13/include" "$here/null_gpu.c" functions.c \
    -Wl,--version-script=versions -o null_gpu.so -lpthread -ldl
for library in torch/lib/lib*.so; do readelf -d "$library"; done |
    sed -n 's/.*NEEDED.*\[\(lib\(cu\|nccl\|nvshmem\|nvrtc\)[^]]*\)\]/\1/p' | sort -u |
    while read -r name; do ln -sf ../../../null_gpu.so "nvidia/cu13/lib/$name"; done
for name in libcuda.so libnvrtc.so.13 libnvrtc-builtins.so.13.0; do ln -sf ../../../null_gpu.so "nvidia/cu13/lib/$name"; done
