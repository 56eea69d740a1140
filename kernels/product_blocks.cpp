// Matrix products of the CPU, cut into blocks that are computed by one thread each.
//
// libtorch cuts a product by the number of threads, and on some CPUs along the sums too, so that they round
// otherwise with another number. Here the blocks follow from the sizes of the operands and the cores of the machine, and
// threads take them one after another: results do not depend on the number of threads, which may change at any time.
#include "product_blocks.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm_cpu_dispatch.h>
#include <ATen/ops/bmm_cpu_dispatch.h>
#include <ATen/ops/mm_cpu_dispatch.h>
#include <omp.h>

#include <algorithm>
#include <atomic>

#include "threads.h"

namespace {

using at::Tensor;

// Multiply-adds below which a block is not worth a thread.
constexpr int64_t BLOCK_WORK = 1 << 23;
// Multiply-adds in the time of reading a number of b from memory.
constexpr int64_t READING = 50;
// Narrower and lower blocks cost more than more threads bring.
constexpr int64_t NARROW = 96, LOW = 512;
// Blocks of a product that has columns for them: as many as the machine has cores, within these bounds.
constexpr int64_t FEWEST = 2, MOST = 16;
constexpr int64_t COLUMN_STEP = 16;

// The largest power of two that is at most `x`; 1 for less.
int64_t power_of_two(int64_t x) {
  int64_t power = 1;
  while (2 * power <= x) power *= 2;
  return power;
}

int64_t divide_up(int64_t x, int64_t by) { return (x + by - 1) / by; }

// The blocks that a large product is cut into, the same for all processes of a machine.
int64_t wanted() { return power_of_two(std::clamp<int64_t>(cores_of_machine(), FEWEST, MOST)); }

// libtorch computes with one thread while this lives.
class OneThread {
 public:
  OneThread() : before_(at::get_num_threads()) {
    if (before_ > 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ > 1) omp_set_num_threads(before_);
  }

 private:
  int before_;
};

// Calls `work(i)` for all i below `count`, each once and on one thread; a thread that is done takes the next one.
// Within `work` libtorch uses that thread alone, and autograd sees nothing.
template <class Work>
void share_out(int64_t count, Work work) {
  std::atomic<int64_t> next{0};
  const auto some = [&](int64_t, int64_t) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (int64_t i; (i = next++) < count;) work(i);
  };
  if (count > 1 && at::get_num_threads() > 1 && !at::in_parallel_region()) {
    at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), count), 1, some);
  } else {
    const OneThread alone;
    some(0, 1);
  }
}

// How a product (m, n) is cut: into blocks of rows and columns.
struct Blocks {
  int64_t rows, columns;  // of a block; those at the end have what is left
  int64_t n_row_block, n_column_block;

  // For a (m, k) and b (k, n), all at least 1.
  Blocks(int64_t m, int64_t k, int64_t n) {
    const int64_t worth = power_of_two((m + READING) * k * n / BLOCK_WORK);
    n_column_block = std::min({power_of_two(n / NARROW), worth, wanted()});
    // A narrow matrix has no columns for all threads.
    const int64_t low = n_column_block == 1 ? LOW / 2 : LOW;
    n_row_block = std::min(power_of_two(m / low), worth / n_column_block);
    columns = divide_up(divide_up(n, n_column_block), COLUMN_STEP) * COLUMN_STEP;
    rows = divide_up(m, n_row_block);
    n_column_block = divide_up(n, columns);
    n_row_block = divide_up(m, rows);
  }
};

}  // namespace

void multiply_in_blocks(const Tensor &a, const Tensor &b, const Tensor &out, bool add) {
  const int64_t m = a.size(0), k = a.size(1), n = b.size(1);
  if (m == 0 || n == 0 || k == 0) {
    if (!add) out.zero_();
    return;
  }
  const Blocks blocks(m, k, n);
  share_out(blocks.n_row_block * blocks.n_column_block, [&](int64_t i) {
    const int64_t row = i % blocks.n_row_block * blocks.rows;
    const int64_t column = i / blocks.n_row_block * blocks.columns;
    const int64_t rows = std::min(blocks.rows, m - row);
    const int64_t columns = std::min(blocks.columns, n - column);
    Tensor part = out.narrow(0, row, rows).narrow(1, column, columns);
    const Tensor x = a.narrow(0, row, rows), y = b.narrow(1, column, columns);
    if (add)
      at::cpu::addmm_out(part, part, x, y);
    else
      at::cpu::mm_out(part, x, y);
  });
}

void multiply_batches_in_blocks(const Tensor &a, const Tensor &b, const Tensor &out) {
  const int64_t batch = a.size(0), work = a.size(1) * a.size(2) * b.size(2);
  if (work >= BLOCK_WORK) {
    for (int64_t i = 0; i < batch; i++)
      multiply_in_blocks(a.select(0, i), b.select(0, i), out.select(0, i));
    return;
  }
  const int64_t step = std::max({batch / MOST, BLOCK_WORK / std::max<int64_t>(work, 1), int64_t(1)});
  share_out(divide_up(batch, step), [&](int64_t i) {
    const int64_t first = i * step, count = std::min(step, batch - first);
    Tensor part = out.narrow(0, first, count);
    at::cpu::bmm_out(part, a.narrow(0, first, count), b.narrow(0, first, count));
  });
}
