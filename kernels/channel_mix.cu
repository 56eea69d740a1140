// The element-wise stages of a channel mix on a GPU, forward and backward. block.h has formulas and layouts. Compiled behind
// stages.cuh. A thread owns STAGE_NUMBERS numbers.

namespace {

static_assert(STAGE_NUMBERS == OCTET, "a thread owns an octet");

// Calls `body(first)` with the first number of this thread, if it has one. Sizes are multiples of an octet.
template <class Body>
inline void own_octet(Index n, Body body) {
  const Index first = (Index(blockIdx.x) * STAGE_NUMBER_THREADS + threadIdx.x) * OCTET;
  if (first < n) body(first);
}

// The numbers that `f` makes of those of x and y.
template <class F>
inline Eight eight_of(const Eight &x, const Eight &y, F f) {
  Eight out;
#pragma unroll
  for (int i = 0; i < OCTET; i++) out.at[i] = f(x.at[i], y.at[i]);
  return out;
}

// A NaN stays one.
inline float relu_of(float x) { return x < 0.0f ? 0.0f : x; }

}  // namespace

extern "C" __global__ void __launch_bounds__(STAGE_NUMBER_THREADS)
    relu_square_forward(const __grid_constant__ NumbersArrays p) {
  own_octet(p.n, [&](Index at) {
    const Eight x = load_eight(operands(p.x) + at);
    store_eight(operands(p.out) + at,
                eight_of(x, x, [](float a, float) { return relu_of(a) * relu_of(a); }));
  });
}

extern "C" __global__ void __launch_bounds__(STAGE_NUMBER_THREADS)
    relu_square_backward(const __grid_constant__ NumbersArrays p) {
  own_octet(p.n, [&](Index at) {
    const Eight x = load_eight(operands(p.x) + at), d = load_eight(operands(p.d_out) + at);
    store_eight(operands(p.dx) + at,
                eight_of(x, d, [](float a, float b) { return 2.0f * relu_of(a) * b; }));
  });
}

extern "C" __global__ void __launch_bounds__(STAGE_NUMBER_THREADS)
    sigmoid_mul_forward(const __grid_constant__ NumbersArrays p) {
  own_octet(p.n, [&](Index at) {
    const Eight x = load_eight(operands(p.x) + at), y = load_eight(operands(p.y) + at);
    store_eight(operands(p.out) + at,
                eight_of(x, y, [](float a, float b) { return sigmoid_of(a) * b; }));
  });
}

extern "C" __global__ void __launch_bounds__(STAGE_NUMBER_THREADS)
    sigmoid_mul_backward(const __grid_constant__ NumbersArrays p) {
  own_octet(p.n, [&](Index at) {
    const Eight x = load_eight(operands(p.x) + at), y = load_eight(operands(p.y) + at);
    const Eight s = eight_of(x, x, [](float a, float) { return sigmoid_of(a); });
    const Eight dy = eight_of(load_eight(operands(p.d_out) + at), s, [](float a, float b) { return a * b; });
    const Eight slope = eight_of(s, y, [](float a, float b) { return (1.0f - a) * b; });
    store_eight(operands(p.dx) + at, eight_of(dy, slope, [](float a, float b) { return a * b; }));
    store_eight(operands(p.dy) + at, dy);
  });
}
