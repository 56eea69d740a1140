// Products with few rows, as generation needs them: the rows of W are shared out among threads, and each is read
// once. No exception leaves the C functions.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "autograd_shim.h"
#include "few_rows_product.h"
#include "instruction_set.h"

namespace {

using at::Tensor;

// Bytes of W that are worth a thread: it takes as long to wake one as to read them.
constexpr int64_t BYTES_OF_A_THREAD = 192 << 10;
// Bytes of W that stay in the second cache while more than four rows of x are multiplied.
constexpr int64_t BYTES_AT_A_TIME = 256 << 10;
// Rows of W that kernels read at a time.
constexpr int64_t ROWS_AT_A_TIME = 4;

// Room for `count` numbers that begin where a cache line does, until this thread asks again.
float *room_for(int64_t count) {
  thread_local Tensor room;
  if (!room.defined() || room.numel() < count) room = at::empty({count}, at::kFloat);
  return static_cast<float *>(room.data_ptr());
}

}  // namespace

bool has_few_rows(const Tensor &x, int64_t columns, int64_t most) {
  const at::ScalarType type = x.scalar_type();
  return x.is_cpu() && (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf) &&
         x.dim() > 0 && columns > 0 && x.size(-1) == columns && x.numel() > 0 &&
         x.numel() <= most * columns;
}

Tensor few_rows_product(const Tensor &x, FewRows w, int64_t rows, int64_t columns,
                        const RowScales &scales) {
  const FewRowsKernels by = FOR_INSTRUCTION_SET(few_rows_kernels)();
  const Tensor in = x.contiguous();
  at::DimVector size(x.sizes());
  size.back() = rows;
  const Tensor y = at::empty(size, x.options());
  FewRows p = w;
  p.m = x.numel() / columns;
  p.columns = columns;
  p.rows = rows;
  p.dtype = QuantDtype(x.scalar_type());
  p.x_stride = by.stride(columns);
  p.x = room_for(few_rows_held(p.m) * p.x_stride);
  p.y = y.data_ptr();
  by.arrange(p, in.data_ptr());

  const int64_t bits = w.code_bits ? w.code_bits : 8 * int64_t(x.element_size());
  const int64_t row_bytes = std::max<int64_t>(columns * bits / 8, 1);
  const int64_t step =
      std::max(BYTES_AT_A_TIME / row_bytes / ROWS_AT_A_TIME, int64_t(1)) * ROWS_AT_A_TIME;
  // Threads get whole lines of the cache where W is transposed.
  const int64_t unit = w.transposed ? 64 : 1;
  at::parallel_for(0, (rows + unit - 1) / unit, std::max<int64_t>(BYTES_OF_A_THREAD / (row_bytes * unit), 1),
                   [&](int64_t begin, int64_t end) {
                     std::vector<float> room;
                     FewRows part = p;
                     begin *= unit, end = std::min(end * unit, rows);
                     if (w.transposed) return by.multiply(p, begin, end);
                     for (int64_t first = begin; first < end; first += step) {
                       const int64_t last = std::min(first + step, end);
                       if (scales) part.scales = scales(first, last, room);
                       by.multiply(part, first, last);
                     }
                   });
  return y;
}

// x W^T for x (.., K) and W (N, K), or x W for W (K, N) if it is `transposed`, if no gradients are recorded, x has few rows, and both
// are on the CPU in one dtype of the kernels: a new tensor that the caller owns. Else `y` becomes null. Returns 0, or 1
// after writing the reason into `message`.
extern "C" int statetune_few_rows(const Tensor *x, const Tensor *w, int transposed, Tensor **y,
                                  char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    *y = nullptr;
    if (at::GradMode::is_enabled() || w->dim() != 2 || !w->is_cpu() || !w->is_contiguous() ||
        w->scalar_type() != x->scalar_type())
      return;
    if (!has_few_rows(*x, w->size(transposed ? 0 : 1), FEW_ROWS)) return;
    FewRows p = {};
    p.w = w->data_ptr();
    p.transposed = transposed != 0;
    const int64_t rows = w->size(transposed ? 1 : 0), columns = w->size(transposed ? 0 : 1);
    *y = new Tensor(few_rows_product(*x, p, rows, columns, nullptr));
  });
}
