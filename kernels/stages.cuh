// What the CUDA kernels of the fused stages share. Put in front of them, behind cuda_types.cuh, dtype.h, block.h,
// flat.h and stage_cuda.h; like them it includes nothing.
//
// Set by whoever compiles: STAGE_OPERAND, the dtype of activations (float, Bf16 or Half). Parameters, states and sums are float.
// Arrays start where 16-byte loads may; channels and head sizes are multiples of 8.

typedef STAGE_OPERAND Operand;
constexpr int WARP_LEN = 32;
constexpr unsigned WHOLE_WARP = 0xffffffffu;

inline const Operand *operands(const void *array) { return static_cast<const Operand *>(array); }
inline Operand *operands(void *array) { return static_cast<Operand *>(array); }
inline const float *floats(const void *array) { return static_cast<const float *>(array); }
inline float *floats(void *array) { return static_cast<float *>(array); }

inline float sigmoid_of(float x) { return 1.0f / (1.0f + expf(-x)); }
// log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)).
inline float log_sigmoid_of(float x) { return fminf(x, 0.0f) - log1pf(expf(-fabsf(x))); }

// ---- eight numbers --------------------------------------------------------------------------

struct Eight {
  float at[OCTET];
};

template <class T>
inline Eight load_eight(const T *from) {
  const Octet<T> x = load_octet(from);
  Eight out;
#pragma unroll
  for (int i = 0; i < OCTET; i++) out.at[i] = widen(x.at[i]);
  return out;
}

inline void store_eight(Operand *to, const Eight &x) {
  Octet<Operand> out;
#pragma unroll
  for (int i = 0; i < OCTET; i++) narrow(x.at[i], out.at[i]);
  store_octet(to, out);
}

// ---- sums -----------------------------------------------------------------------------------

// The sum over a warp, in all of its lanes.
inline float sum_warp(float x) {
#pragma unroll
  for (int step = WARP_LEN / 2; step > 0; step /= 2) x += __shfl_xor_sync(WHOLE_WARP, x, step);
  return x;
}

inline float max_warp(float x) {
#pragma unroll
  for (int step = WARP_LEN / 2; step > 0; step /= 2)
    x = fmaxf(x, __shfl_xor_sync(WHOLE_WARP, x, step));
  return x;
}

// Each of the COUNT numbers becomes its sum over the THREADS of the block. `room` is shared memory.
template <int THREADS, int COUNT>
inline void sum_block(float (&x)[COUNT], float (&room)[COUNT][THREADS / WARP_LEN]) {
#pragma unroll
  for (int i = 0; i < COUNT; i++) x[i] = sum_warp(x[i]);
  __syncthreads();  // the sums before have been read
#pragma unroll
  for (int i = 0; i < COUNT; i++)
    if (threadIdx.x % WARP_LEN == 0) room[i][threadIdx.x / WARP_LEN] = x[i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    x[i] = 0;
#pragma unroll
    for (int warp = 0; warp < THREADS / WARP_LEN; warp++) x[i] += room[i][warp];
  }
}
