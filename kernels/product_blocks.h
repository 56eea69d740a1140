// Matrix products on the CPU whose sums do not depend on the number of threads.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>

// How a product a b is cut: into blocks of its rows and columns.
struct ProductBlocks {
  int64_t rows, columns;  // of a block; those at the end have what is left
  int64_t n_row_block, n_column_block;

  // For a (m, k) and b (k, n), all at least 1.
  ProductBlocks(int64_t m, int64_t k, int64_t n);
};

// Takes a block: rows from `row` to before `end_row`, and columns.
using Block =
    std::function<void(int64_t row, int64_t end_row, int64_t column, int64_t end_column)>;

// Calls `block` for all blocks of a product (m, n), each once and on one thread; a thread that is done takes the next
// block. Within it libtorch uses that thread alone, and autograd sees nothing.
void for_each_block(const ProductBlocks &blocks, int64_t m, int64_t n, const Block &block);

// out = a b, or out += a b if `add`, for a (M, K), b (K, N), out (M, N) of one dtype that libtorch multiplies on the CPU.
void multiply_in_blocks(const at::Tensor &a, const at::Tensor &b, const at::Tensor &out,
                        bool add = false);

// The same for each of B products: a (B, M, K), b (B, K, N), out (B, M, N).
void multiply_batches_in_blocks(const at::Tensor &a, const at::Tensor &b, const at::Tensor &out);
