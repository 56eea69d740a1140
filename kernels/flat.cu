// The optimizer's kernels on a GPU. flat.h has formulas and layouts. Compiled behind stages.cuh. A block owns FLAT_PIECE numbers.

namespace {

// The sum of a number of each thread of the block. T is double or an integer.
template <class T>
inline T sum_of_threads(T x, T *room) {
  room[threadIdx.x] = x;
  __syncthreads();
  for (unsigned step = FLAT_THREADS / 2; step > 0; step /= 2) {
    if (threadIdx.x < step) room[threadIdx.x] += room[threadIdx.x + step];
    __syncthreads();
  }
  return room[0];
}

inline bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

}  // namespace

extern "C" __global__ void __launch_bounds__(FLAT_THREADS) flat_sums(const FlatSums p) {
  __shared__ double double_room[FLAT_THREADS];
  __shared__ unsigned long long digest_room[FLAT_THREADS], count_room[FLAT_THREADS];
  double squares = 0;
  unsigned long long digest = 0, not_finite = 0;
  const Index first = Index(blockIdx.x) * FLAT_PIECE;
  for (int i = 2 * threadIdx.x; i < FLAT_PIECE; i += 2 * FLAT_THREADS) {
    const Index at = first + i;
    if (at >= p.n) break;
    const float x = p.numbers[at], y = p.numbers[at + 1];
    squares += double(x) * x + double(y) * y;
    const unsigned long long high = __float_as_uint(y);
    digest += flat_digest(high << 32 | __float_as_uint(x), at / 2);
    not_finite += !is_finite(x);
    not_finite += !is_finite(y);
  }
  if (p.squares) {
    const double sum = sum_of_threads(squares, double_room);
    if (threadIdx.x == 0) p.squares[blockIdx.x] = sum;
  }
  if (p.digests) {
    const Index n_part = (p.n + FLAT_PIECE - 1) / FLAT_PIECE;
    const unsigned long long sum = sum_of_threads(digest, digest_room);
    const unsigned long long count = sum_of_threads(not_finite, count_room);
    if (threadIdx.x == 0) {
      p.digests[blockIdx.x] = (long long)sum;
      p.digests[n_part + blockIdx.x] = (long long)count;
    }
  }
}

extern "C" __global__ void __launch_bounds__(FLAT_THREADS) flat_adam(const FlatAdam p) {
  const Index first = Index(blockIdx.x) * FLAT_PIECE;
  for (int i = threadIdx.x; i < FLAT_PIECE; i += FLAT_THREADS) {
    const Index at = first + i;
    if (at >= p.n) break;
    const float g = p.gradients[at];
    const float m = p.m[at] * p.beta1 + g * p.rest1;
    const float v = p.v[at] * p.beta2 + g * g * p.rest2;
    p.m[at] = m;
    p.v[at] = v;
    p.values[at] = p.values[at] * p.decay - m * p.rate / (sqrtf(v / p.bias2) + p.eps);
  }
}

extern "C" __global__ void __launch_bounds__(FLAT_THREADS)
    flat_add(const __grid_constant__ FlatAdd p) {
  int tensor = 0;
  while (tensor + 1 < p.n_tensor && p.first_block[tensor + 1] <= blockIdx.x) tensor++;
  const Index first = (Index(blockIdx.x) - p.first_block[tensor]) * FLAT_PIECE;
  const Operand *from = operands(p.from[tensor]);
  float *to = p.sums + p.to[tensor];
  for (int i = threadIdx.x; i < FLAT_PIECE; i += FLAT_THREADS) {
    const Index at = first + i;
    if (at >= p.len[tensor]) break;
    to[at] += widen(from[at]);
  }
}
