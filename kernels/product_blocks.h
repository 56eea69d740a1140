// Matrix products on the CPU whose sums do not depend on the number of threads.
#pragma once

#include <ATen/ATen.h>

// out = a b, or out += a b if `add`, for a (M, K), b (K, N), out (M, N) of one dtype that libtorch multiplies on the CPU.
void multiply_in_blocks(const at::Tensor &a, const at::Tensor &b, const at::Tensor &out,
                        bool add = false);

// The same for each of B products: a (B, M, K), b (B, K, N), out (B, M, N).
void multiply_batches_in_blocks(const at::Tensor &a, const at::Tensor &b, const at::Tensor &out);
