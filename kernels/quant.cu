// Makes a packed matrix dense on a GPU. Formula and layouts: quant.h. Compiled behind cuda_types.cuh
// and quant.h, with QUANT_OUTPUT, the output type (float, Bf16 or Half).
//
// A thread makes QUANT_CUDA_NUMBERS numbers of one group: it reads their codes as one word and
// writes them as 16 bytes (two times 16 for float). The levels lie in shared memory, 1 KiB. Global
// memory traffic a number: its code, and its own bytes.

namespace {

typedef QUANT_OUTPUT Output;
constexpr int NUMBERS = QUANT_CUDA_NUMBERS;
static_assert(NUMBERS == OCTET, "a thread writes an octet");

// The codes of a thread's numbers, CODE_BITS each: as many bytes, in one word.
template <int CODE_BITS>
struct alignas(CODE_BITS) Codes {
  unsigned char bytes[CODE_BITS * NUMBERS / 8];
};

inline int code(const Codes<4> &x, int i) {
  return i % 2 ? x.bytes[i / 2] & 15 : x.bytes[i / 2] >> 4;
}
inline int code(const Codes<8> &x, int i) { return x.bytes[i]; }

template <int CODE_BITS>
inline void dequantise_octet(const QuantArrays &p, const float *levels, Index first) {
  const auto codes = *reinterpret_cast<const Codes<CODE_BITS> *>(p.codes + first * CODE_BITS / 8);
  const float scale = p.scales[first / p.group_len];
  Octet<Output> out;
#pragma unroll
  for (int i = 0; i < NUMBERS; i++) narrow(levels[code(codes, i)] * scale, out.at[i]);
  store_octet(static_cast<Output *>(p.out) + first, out);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(QUANT_CUDA_THREADS) dequantise(const QuantArrays p) {
  __shared__ float levels[256];
  const int n_level = 1 << p.code_bits;
  for (int i = threadIdx.x; i < n_level; i += QUANT_CUDA_THREADS) levels[i] = p.levels[i];
  __syncthreads();
  const Index first = (Index(blockIdx.x) * QUANT_CUDA_THREADS + threadIdx.x) * NUMBERS;
  if (first >= p.n) return;
  if (p.code_bits == 4)
    dequantise_octet<4>(p, levels, first);
  else
    dequantise_octet<8>(p, levels, first);
}
