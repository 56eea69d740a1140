// Matrix products of 16-bit floating-point tensors on CPUs without instructions for them.
//
// libtorch's own products of bfloat16 and float16 are several times slower than those of float32 there. These
// take the place of `mm` and `bmm` on the CPU: operands are widened to float32, the large one tile by tile, so
// that a matrix of weights never exists twice; float32 products multiply the tiles; each sum is rounded once.
//
//   out[m, n] = round(sum over k of a[m, k] * b[k, n]),  a (M, K), b (K, N), any strides
#include <ATen/ATen.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/addmm_cpu_dispatch.h>
#include <ATen/ops/bmm_cpu_dispatch.h>
#include <ATen/ops/mm_cpu_dispatch.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <algorithm>

namespace {

using at::Tensor;

// Numbers of a widened tile: 2 MiB, which stay in the second cache of the cores that share them.
constexpr int64_t TILE = 1 << 19;

// Dtypes whose products are widened, added up.
enum Widened { BFLOAT16 = 1, FLOAT16 = 2 };
int widened = 0;

bool is_widened(const Tensor &x) {
  switch (x.scalar_type()) {
    case at::kBFloat16:
      return widened & BFLOAT16;
    case at::kHalf:
      return widened & FLOAT16;
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

// The product in float32 of two operands of which `b` is the larger one.
Tensor wide_product(const Tensor &a, const Tensor &b) {
  const int64_t m = a.size(0), k = b.size(0), n = b.size(1);
  const auto options = a.options().dtype(at::kFloat);
  const Tensor room = at::empty({std::min(TILE + std::max(k, n), k * n)}, options);
  // Tiles are whole rows or columns, as b lies in memory.
  if (b.stride(0) == 1) {
    const Tensor left = wide(a);
    Tensor out = at::empty({m, n}, options);
    const int64_t step = std::max<int64_t>(TILE / std::max<int64_t>(k, 1), 1);
    for (int64_t first = 0; first < n; first += step) {
      const int64_t count = std::min(step, n - first);
      Tensor part = out.narrow(1, first, count);
      at::cpu::mm_out(part, left, wide_tile(b.narrow(1, first, count), room));
    }
    return out;
  }
  Tensor out = at::zeros({m, n}, options);
  const int64_t step = std::max<int64_t>(TILE / std::max<int64_t>(n, 1), 1);
  for (int64_t first = 0; first < k; first += step) {
    const int64_t count = std::min(step, k - first);
    const Tensor tile = wide_tile(b.narrow(0, first, count), room);
    at::cpu::addmm_out(out, out, wide(a.narrow(1, first, count)), tile);
  }
  return out;
}

// The product in float32, (M, N).
Tensor product(const Tensor &a, const Tensor &b) {
  if (a.numel() <= b.numel()) return wide_product(a, b);
  return wide_product(b.t(), a.t()).t();
}

bool both_widened(const Tensor &a, const Tensor &b) {
  return is_widened(a) && a.scalar_type() == b.scalar_type();
}

Tensor matrix_product(const Tensor &a, const Tensor &b) {
  const bool fits = both_widened(a, b) && a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0);
  if (!fits) return at::cpu::mm(a, b);  // with libtorch's own errors
  return product(a, b).to(a.scalar_type(), false, false, at::MemoryFormat::Contiguous);
}

Tensor &matrix_product_out(const Tensor &a, const Tensor &b, Tensor &out) {
  if (!both_widened(a, b)) return at::cpu::mm_out(out, a, b);
  const Tensor result = matrix_product(a, b);
  at::native::resize_output(out, result.sizes());
  return out.copy_(result);
}

Tensor batched_product(const Tensor &a, const Tensor &b) {
  if (!both_widened(a, b)) return at::cpu::bmm(a, b);
  return at::cpu::bmm(wide(a), wide(b)).to(a.scalar_type());
}

Tensor &batched_product_out(const Tensor &a, const Tensor &b, Tensor &out) {
  if (!both_widened(a, b)) return at::cpu::bmm_out(out, a, b);
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

// Sets the dtypes that are widened from now on, and returns those of before. For the whole process.
extern "C" int statetune_widen_products(int dtypes) {
  const int before = widened;
  widened = dtypes;
  return before;
}

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
