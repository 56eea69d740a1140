// Matrix products of 16-bit floating-point tensors on CPUs without instructions for them.
//
// libtorch's own products of bfloat16 and float16 are several times slower than those of float32 there. These
// take the place of `mm` and `bmm` on the CPU: operands are widened to float32, the large one tile by tile, so
// that a matrix of weights never exists twice; float32 products multiply the tiles; each sum is rounded once, where
// tiles allow it while their part of the result is in the caches.
//
//   out[m, n] = round(sum over k of a[m, k] * b[k, n]),  a (M, K), b (K, N), any strides
#include <ATen/ATen.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/bmm_cpu_dispatch.h>
#include <ATen/ops/mm_cpu_dispatch.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <algorithm>
#include <utility>

#include "product_blocks.h"
#include "threads.h"

namespace {

using at::Tensor;

// Numbers of a widened tile, about: 4 MiB, so that a tile along 3072 numbers still has hundreds of columns.
constexpr int64_t TILE = 1 << 20;
// What the sizes of tiles are multiples of.
constexpr int64_t VECTOR = 16;

// Dtypes whose products are widened, added up.
enum Widened { BFLOAT16 = 1, FLOAT16 = 2 };
int widened = 0;
// What a thread takes in place of it; negative: nothing.
thread_local int widened_here = -1;

bool is_widened(const Tensor &x) {
  const int dtypes = widened_here < 0 ? widened : widened_here;
  switch (x.scalar_type()) {
    case at::kBFloat16:
      return dtypes & BFLOAT16;
    case at::kHalf:
      return dtypes & FLOAT16;
    default:
      return false;
  }
}

Tensor wide(const Tensor &x) { return x.to(at::kFloat); }

// `x` widened into the front of `room`, with its layout: (rows, columns) along rows or along columns.
Tensor wide_tile(const Tensor &x, const Tensor &room) {
  const bool along_columns = x.stride(0) == 1 && x.stride(1) != 1;
  const Tensor flat = room.narrow(0, 0, x.numel());
  const Tensor tile =
      along_columns ? flat.view({x.size(1), x.size(0)}).t() : flat.view({x.size(0), x.size(1)});
  tile.copy_(x);
  return tile;
}

// The tiles of an operand: some of its `count` rows or columns, of `length` numbers each. All have the same
// size, in whole vectors, but for the last.
struct Tiles {
  int64_t count, step;
  Tensor room;

  Tiles(int64_t count, int64_t length, const at::TensorOptions &options) : count(count) {
    const int64_t most = std::max<int64_t>(TILE / std::max<int64_t>(length, 1), 1);
    const int64_t tiles = std::max<int64_t>((count + most - 1) / most, 1);
    const int64_t even = (count + tiles - 1) / tiles;
    step = std::min((even + VECTOR - 1) / VECTOR * VECTOR, count);
    room = at::empty({step * length}, options);
  }

  template <class Work>
  void each(const Work &work) const {
    for (int64_t first = 0; first < count; first += step)
      work(first, std::min(step, count - first));
  }
};

// The product where tiles of the rows of `a` or, if `right`, of the columns of `b` lie together in memory. Each
// makes a part of the result, which is rounded while it is in the caches.
Tensor product_of_parts(const Tensor &a, const Tensor &b, bool right) {
  const int dim = right ? 1 : 0;
  const auto options = a.options().dtype(at::kFloat);
  const Tensor other = wide(right ? a : b), &tiled = right ? b : a;
  const Tiles tiles(tiled.size(dim), tiled.size(1 - dim), options);
  const Tensor room = at::empty({tiles.step * other.size(1 - dim)}, options);
  const Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  tiles.each([&](int64_t first, int64_t count) {
    const Tensor tile = wide_tile(tiled.narrow(dim, first, count), tiles.room);
    const Tensor rounded = out.narrow(dim, first, count);
    const Tensor part = room.narrow(0, 0, rounded.numel()).view(rounded.sizes());
    multiply_in_blocks(right ? other : tile, right ? tile : other, part);
    rounded.copy_(part);
  });
  return out;
}

// The product where tiles along the sums lie together in memory, in `b` if `right`. Each adds to the result.
Tensor product_of_sums(const Tensor &a, const Tensor &b, bool right) {
  const int64_t m = a.size(0), k = a.size(1), n = b.size(1);
  const auto options = a.options().dtype(at::kFloat);
  const Tiles tiles(k, right ? n : m, options);
  const Tensor sum = at::empty({m, n}, options);
  tiles.each([&](int64_t first, int64_t count) {
    const Tensor columns = a.narrow(1, first, count), rows = b.narrow(0, first, count);
    const Tensor x = right ? wide(columns) : wide_tile(columns, tiles.room);
    const Tensor y = right ? wide_tile(rows, tiles.room) : wide(rows);
    multiply_in_blocks(x, y, sum, first > 0);
  });
  return sum.to(a.scalar_type());
}

// The product, (M, N). The larger operand is the one in tiles.
Tensor product(const Tensor &a, const Tensor &b) {
  if (a.size(1) == 0) return at::zeros({a.size(0), b.size(1)}, a.options());
  const bool right = a.numel() <= b.numel();
  const bool has_parts = right ? b.stride(0) == 1 : a.stride(1) == 1;
  return has_parts ? product_of_parts(a, b, right) : product_of_sums(a, b, right);
}

bool both_widened(const Tensor &a, const Tensor &b) {
  return is_widened(a) && a.scalar_type() == b.scalar_type();
}

// Whether a product of operands of `dim` axes is one that is computed here; libtorch refuses the others.
bool fits(const Tensor &a, const Tensor &b, int64_t dim) {
  return a.is_floating_point() && a.scalar_type() == b.scalar_type() && a.dim() == dim &&
         b.dim() == dim && a.size(dim - 1) == b.size(dim - 2) && (dim == 2 || a.size(0) == b.size(0));
}

Tensor matrix_product(const Tensor &a, const Tensor &b) {
  follow_allowed_threads();
  if (!fits(a, b, 2)) return at::cpu::mm(a, b);
  if (both_widened(a, b)) return product(a, b);
  const Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  multiply_in_blocks(a, b, out);
  return out;
}

Tensor &matrix_product_out(const Tensor &a, const Tensor &b, Tensor &out) {
  follow_allowed_threads();
  if (!fits(a, b, 2) || out.scalar_type() != a.scalar_type()) return at::cpu::mm_out(out, a, b);
  const Tensor result = matrix_product(a, b);
  at::native::resize_output(out, result.sizes());
  return out.copy_(result);
}

Tensor batched_product(const Tensor &a, const Tensor &b) {
  follow_allowed_threads();
  if (!fits(a, b, 3)) return at::cpu::bmm(a, b);
  const bool widened = both_widened(a, b);
  const Tensor left = widened ? wide(a) : a, right = widened ? wide(b) : b;
  const Tensor out = at::empty({a.size(0), a.size(1), b.size(2)}, left.options());
  multiply_batches_in_blocks(left, right, out);
  return out.to(a.scalar_type());
}

Tensor &batched_product_out(const Tensor &a, const Tensor &b, Tensor &out) {
  follow_allowed_threads();
  if (!fits(a, b, 3) || out.scalar_type() != a.scalar_type()) return at::cpu::bmm_out(out, a, b);
  const Tensor result = batched_product(a, b);
  at::native::resize_output(out, result.sizes());
  return out.copy_(result);
}

bool has_bfloat16_products() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") || __builtin_cpu_supports("amx-bf16");
}

// libtorch warns of kernels that are replaced.
class Silence final : public c10::WarningHandler {
 public:
  void process(const c10::Warning &) override {}
};

}  // namespace

// Whether this CPU multiplies bfloat16 matrices itself.
extern "C" int statetune_has_bfloat16_products() { return has_bfloat16_products(); }

// Sets the dtypes that are widened in products of this thread, negative for those of the machine, and returns the setting
// before.
extern "C" int statetune_widen_products(int dtypes) { return std::exchange(widened_here, dtypes); }

// Replaces the products. Has to be called before other threads use tensors; later calls do nothing.
extern "C" void statetune_replace_products() {
  static const torch::Library library = [] {
    // float16 always: no CPU before AVX512-FP16 has products of it, and those sum in float16.
    widened = FLOAT16 | (has_bfloat16_products() ? 0 : BFLOAT16);
    Silence silence;
    const c10::WarningUtils::WarningHandlerGuard guard(&silence);
    torch::Library library(torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__);
    library.impl("mm", matrix_product);
    library.impl("mm.out", matrix_product_out);
    library.impl("bmm", batched_product);
    library.impl("bmm.out", batched_product_out);
    return library;
  }();
}
