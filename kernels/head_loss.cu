// The cross-entropy of a position and its gradient on a GPU. block.h has formula and layouts. Compiled behind stages.cuh.
//
// A block owns a position: one pass for the largest logit, one for the sum of exponentials, one for the gradient. A row of
// 65,536 logits in 16 bits is 128 KiB, which the second cache holds for the passes after the first.

namespace {

constexpr int LOSS_WARPS = STAGE_LOSS_THREADS / WARP_LEN;

// Calls `body(first, count)` for the stretches of this thread: octets where rows are whole octets, else single numbers.
template <class Body>
inline void each_logit(Index n_vocab, Body body) {
  if (n_vocab % OCTET == 0) {
    for (Index i = threadIdx.x * OCTET; i < n_vocab; i += STAGE_LOSS_THREADS * OCTET) body(i, OCTET);
  } else {
    for (Index i = threadIdx.x; i < n_vocab; i += STAGE_LOSS_THREADS) body(i, 1);
  }
}

inline Eight load_logits(const Operand *z, int count) {
  if (count == OCTET) return load_eight(z);
  Eight x{};
  x.at[0] = widen(z[0]);
  return x;
}

inline void store_logits(Operand *z, const Eight &x, int count) {
  if (count == OCTET)
    store_eight(z, x);
  else
    narrow(x.at[0], z[0]);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(STAGE_LOSS_THREADS)
    head_loss(const __grid_constant__ HeadLossArrays p) {
  __shared__ float room[1][LOSS_WARPS], largest[LOSS_WARPS];
  __shared__ int first_at[LOSS_WARPS];
  Operand *z = operands(p.logits) + Index(blockIdx.x) * p.n_vocab;
  const Index target = p.targets[blockIdx.x];
  const float of_target = widen(z[target]);

  // A NaN is passed over, and makes the sum of exponentials NaN.
  float most = __uint_as_float(0xff800000u);  // -infinity
  each_logit(p.n_vocab, [&](Index i, int count) {
    const Eight x = load_logits(z + i, count);
#pragma unroll
    for (int k = 0; k < OCTET; k++)
      if (k < count) most = fmaxf(most, x.at[k]);
  });
  most = max_warp(most);
  if (threadIdx.x % WARP_LEN == 0) largest[threadIdx.x / WARP_LEN] = most;
  __syncthreads();
  for (int warp = 0; warp < LOSS_WARPS; warp++) most = fmaxf(most, largest[warp]);

  float sums[1] = {};
  int most_at = 0x7fffffff;
  each_logit(p.n_vocab, [&](Index i, int count) {
    const Eight x = load_logits(z + i, count);
#pragma unroll
    for (int k = 0; k < OCTET; k++) {
      if (k >= count) continue;
      sums[0] += expf(x.at[k] - most);
      if (x.at[k] == most && int(i) + k < most_at) most_at = int(i) + k;
    }
  });
#pragma unroll
  for (int step = WARP_LEN / 2; step > 0; step /= 2) {
    const float bits = __shfl_xor_sync(WHOLE_WARP, __uint_as_float(unsigned(most_at)), step);
    const int other = int(__float_as_uint(bits));
    if (other < most_at) most_at = other;
  }
  if (threadIdx.x % WARP_LEN == 0) first_at[threadIdx.x / WARP_LEN] = most_at;
  sum_block<STAGE_LOSS_THREADS>(sums, room);  // has barriers
  for (int warp = 0; warp < LOSS_WARPS; warp++)
    if (first_at[warp] < most_at) most_at = first_at[warp];
  const double sum = sums[0], weight = p.weights ? p.weights[blockIdx.x] : 1.0f;
  if (threadIdx.x == 0) p.losses[blockIdx.x] = weight * (log(sum) + most - of_target);
  if (!p.gradient) return;

  // Every thread has read the logit of the target.
  const double factor = p.scale * weight;
  const float scale = float(factor / sum);
  const float own = float(factor * (exp(double(of_target) - most) / sum - 1.0));
  const double at_most = factor * (1.0 / sum - (most_at == target ? 1.0 : 0.0));
  const float pulled = float(at_most + p.l2wrap * p.scale * most);
  each_logit(p.n_vocab, [&](Index i, int count) {
    Eight x = load_logits(z + i, count);
#pragma unroll
    for (int k = 0; k < OCTET; k++) {
      x.at[k] = expf(x.at[k] - most) * scale;
      if (i + k == target) x.at[k] = own;
      if (p.l2wrap > 0 && i + k == most_at) x.at[k] = pulled;
    }
    store_logits(z + i, x, count);
  });
}
