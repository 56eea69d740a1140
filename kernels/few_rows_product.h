// The shim of products with few rows, for the other shims.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "few_rows.h"

// Scales of the groups that begin in the rows from `first` to `end` of a packed matrix. They may lie in `room`.
using RowScales =
    std::function<const float *(int64_t first, int64_t end, std::vector<float> &room)>;

// Whether x (.., columns) has at most `most` rows, on the CPU and in a dtype of the kernels.
bool has_few_rows(const at::Tensor &x, int64_t columns, int64_t most);

// x W^T for such an x. `w` says what W is (w, code_bits, group_len, levels); the rest of it is filled in. Without
// autograd.
at::Tensor few_rows_product(const at::Tensor &x, FewRows w, int64_t rows, int64_t columns,
                            const RowScales &scales);
