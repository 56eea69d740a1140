// The C interface between the shim of products with few rows and its CPU kernels.
//
//   y[m, n] = round(sum over k of x[m, k] * w[n, k]),  x (M, K), w (N, K)
//
// or, where W is transposed, of x[m, k] * w[k, n] with w (K, N), which is dense.
// W is dense, or packed: then w[n, k] is the number that quant.h defines, rounded to the dtype of y. Products
// and sums are in float32, and each sum is rounded once. The order of a sum depends on K, on the form of W and on
// the instruction set: not on M and not on the threads.
#pragma once

#include <cstdint>

#include "quant.h"

// Rows of x, at most.
constexpr int64_t FEW_ROWS = 8;

struct FewRows {
  int64_t m, columns;   // M, K
  QuantDtype dtype;     // of x, of y and of the numbers of W; not float64
  int code_bits;        // 0: W is dense; 4 or 8: it is packed
  int64_t group_len;    // of packed numbers, which share a scale
  bool transposed;      // W is (K, N)
  const void *w;        // numbers or codes
  const float *levels;  // (2^code_bits)
  const float *scales;  // those of the first of the rows in hand, and so on
  float *x;             // (few_rows_held(M), K) as `arrange` writes it
  int64_t x_stride;     // from a row of x to the next
  void *y;              // (M, N)
  int64_t rows;         // N
};

// A part of a packed matrix: rows from `first` to `end`, and columns from `column` on, where a group of 64 begins.
struct Tile {
  int64_t first, end, column, columns;
};

struct FewRowsKernels {
  // Numbers that a row of `FewRows::x` has at most, for K columns.
  int64_t (*stride)(int64_t columns);
  // Widens the rows of x (M, K), which are contiguous, into `p.x`.
  void (*arrange)(const FewRows &p, const void *x);
  // The columns of y from `first` to `end`; the first one is a multiple of 64 where W is transposed.
  void (*multiply)(const FewRows &p, int64_t first, int64_t end);
  // The numbers of a tile of a packed W into `p.y`, row by row.
  void (*unpack)(const FewRows &p, const Tile &tile);
};

// The rows that `FewRows::x` has for M.
inline int64_t few_rows_held(int64_t m) { return m > 1 ? (m + 3) / 4 * 4 : m; }

// Whether the kernels take a packed matrix of these sizes: every row has scales of its own, and whole groups.
inline bool few_rows_take(int code_bits, int64_t columns, int64_t group_len) {
  if (columns <= 0) return false;
  return code_bits == 8 ? group_len == columns : group_len == 64 && columns % 64 == 0;
}

// The same source compiled for three instruction sets; the shim picks one at run time.
namespace wkv_baseline {
FewRowsKernels few_rows_kernels();
}
namespace wkv_avx2 {
FewRowsKernels few_rows_kernels();
}
namespace wkv_avx512 {
FewRowsKernels few_rows_kernels();
}
