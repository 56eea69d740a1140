// The stages around the WKV recurrence on a GPU, forward and backward: the operands of WKV-7, and the norm of the heads with
// bonus and gate. block.h has formulas and layouts, time_mix_cpu.cpp the formulas of the way back. Compiled behind
// stages.cuh.
//
// A warp owns a head of a token; a lane owns two neighbouring channels of every 64.

namespace {

constexpr float HEAD_EPS = 64e-5f;  // of the group norm of the WKV output
constexpr float NORM_FLOOR = 1e-12f;
constexpr int HEAD_STEPS = STAGE_HEAD_SIZE / (2 * WARP_LEN);

// Two neighbouring channels.
struct Two {
  float a, b;
};
inline Two operator+(Two x, Two y) { return {x.a + y.a, x.b + y.b}; }
inline Two operator-(Two x, Two y) { return {x.a - y.a, x.b - y.b}; }
inline Two operator*(Two x, Two y) { return {x.a * y.a, x.b * y.b}; }
inline Two operator+(Two x, float y) { return {x.a + y, x.b + y}; }
inline Two operator-(Two x, float y) { return {x.a - y, x.b - y}; }
inline Two operator*(Two x, float y) { return {x.a * y, x.b * y}; }
inline Two operator-(float x, Two y) { return {x - y.a, x - y.b}; }
inline Two operator-(Two x) { return {-x.a, -x.b}; }
inline Two sigmoid_of(Two x) { return {::sigmoid_of(x.a), ::sigmoid_of(x.b)}; }
inline Two log_sigmoid_of(Two x) { return {::log_sigmoid_of(x.a), ::log_sigmoid_of(x.b)}; }
inline float sum_of(Two x) { return x.a + x.b; }

template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T a, b;
};

// The head of a token that a warp owns: `at` is the index of its first number in an array (tokens,C), `channel` its first
// channel.
struct HeadOfToken {
  const Index item, at, channel;
  const int n, lane;

  HeadOfToken(Index n_head, Index head_size)
      : item((Index(blockIdx.x) * STAGE_HEAD_THREADS + threadIdx.x) / WARP_LEN),
        at(item * head_size), channel(item % n_head * head_size), n(int(head_size)),
        lane(threadIdx.x % WARP_LEN) {}

  // Calls `body(step, i)` for each pair of this lane; i counts from the head's first channel.
  template <class Body>
  void each_pair(Body body) const {
#pragma unroll
    for (int step = 0; step < HEAD_STEPS; step++) {
      const int i = 2 * (step * WARP_LEN + lane);
      if (i < n) body(step, i);
    }
  }

  Two in(const void *array, int i) const {
    const auto x = *reinterpret_cast<const Pair<Operand> *>(operands(array) + at + i);
    return {widen(x.a), widen(x.b)};
  }
  void out(void *array, int i, Two x) const {
    Pair<Operand> to;
    narrow(x.a, to.a);
    narrow(x.b, to.b);
    *reinterpret_cast<Pair<Operand> *>(operands(array) + at + i) = to;
  }
  // Of a row of parameters.
  Two param(const void *row, int i) const {
    const auto x = *reinterpret_cast<const Pair<float> *>(floats(row) + channel + i);
    return {x.a, x.b};
  }
};

// ---- operands of WKV-7 ----------------------------------------------------------------------

struct Wkv7Operands {
  const Wkv7InputsArrays &p;
  const HeadOfToken h;

  explicit Wkv7Operands(const Wkv7InputsArrays &p_) : p(p_), h(p_.n_head, p_.head_size) {}
  bool is_there() const { return h.item < p.n_token * p.n_head; }

  Two param(Wkv7Param row, int i) const {
    return h.param(floats(p.params) + row * (p.n_head * p.head_size), i);
  }
  Two before_decay(int i) const { return h.in(p.w_low, i) + param(W0, i); }
  Two iclr(int i) const { return sigmoid_of(h.in(p.a_low, i) + param(A0, i)); }
  Two share(int i) const { return sigmoid_of(h.in(p.v_low, i) + param(V0, i)); }
  // The factor of k in k2.
  Two factor(Two iclr, int i) const { return (iclr - 1.0f) * param(K_A, i) + 1.0f; }

  float length() const {
    float squares = 0;
    h.each_pair([&](int, int i) {
      const Two x = h.in(p.k, i) * param(K_K, i);
      squares += sum_of(x * x);
    });
    return sqrtf(sum_warp(squares));
  }

  void forward() const {
    const float scale = 1.0f / fmaxf(length(), NORM_FLOOR);
    h.each_pair([&](int, int i) {
      const Two k = h.in(p.k, i), rate = iclr(i), kk = k * param(K_K, i) * scale;
      h.out(p.w, i, log_sigmoid_of(before_decay(i)) - 0.5f);
      h.out(p.k2, i, k * factor(rate, i));
      h.out(p.a, i, -kk);
      h.out(p.b, i, kk * rate);
      if (p.v_low) {
        const Two v = h.in(p.v, i);
        h.out(p.v2, i, v + (h.in(p.v_first, i) - v) * share(i));
      }
    });
  }

  void backward() const {
    const float bonus = floats(p.bonus)[h.item], d_bonus = floats(p.d_bonus)[h.item];
    const float len = length(), scale = 1.0f / fmaxf(len, NORM_FLOOR);
    Two rate[HEAD_STEPS], d_k2[HEAD_STEPS], d_kk[HEAD_STEPS];
    float dots = 0;
    h.each_pair([&](int step, int i) {
      const Two k = h.in(p.k, i), x = iclr(i), kk = k * param(K_K, i) * scale;
      const Two r_k = param(R_K, i);
      h.out(p.dr, i, h.in(p.dr, i) + k * factor(x, i) * r_k * d_bonus);
      rate[step] = x;
      d_k2[step] = h.in(p.dk, i) + h.in(p.r, i) * r_k * d_bonus;
      d_kk[step] = h.in(p.db, i) * x - h.in(p.da, i);
      dots += sum_of(kk * d_kk[step]);
    });
    const float sum = sum_warp(dots), dot = len < NORM_FLOOR ? 0.0f : sum;
    h.each_pair([&](int step, int i) {
      const Two k = h.in(p.k, i), k_k = param(K_K, i), kk = k * k_k * scale;
      const Two x = rate[step], dk2 = d_k2[step];
      const Two d_rate = h.in(p.db, i) * kk + dk2 * k * param(K_A, i);
      const Two d_scaled = (d_kk[step] - kk * dot) * scale;
      h.out(p.dk, i, dk2 * factor(x, i) + d_scaled * k_k);
      h.out(p.da, i, d_rate * x * (1.0f - x));
      h.out(p.dw, i, h.in(p.dw, i) * sigmoid_of(-before_decay(i)));
      const Two dv2 = h.in(p.dv, i) + h.in(p.d_out, i) * h.in(p.g, i) * bonus;
      if (!p.v_low) return h.out(p.dv, i, dv2);
      const Two s = share(i), of_first = dv2 * s;
      h.out(p.dv, i, dv2 - of_first);
      h.out(p.dv_first, i, of_first);
      h.out(p.db, i, of_first * (1.0f - s) * (h.in(p.v_first, i) - h.in(p.v, i)));
    });
  }
};

// ---- norm of the heads, bonus, gate ---------------------------------------------------------

struct GatedHead {
  const HeadGateArrays &p;
  const HeadOfToken h;

  explicit GatedHead(const HeadGateArrays &p_) : p(p_), h(p_.n_head, p_.head_size) {}
  bool is_there() const { return h.item < p.n_token * p.n_head; }

  float bonus() const {
    if (!p.r) return 0;
    float sums = 0;
    h.each_pair([&](int, int i) { sums += sum_of(h.in(p.r, i) * h.in(p.k, i) * h.param(p.r_k, i)); });
    return sum_warp(sums);
  }

  void moments(float &mean, float &scale) const {
    float sums = 0, squares = 0;
    h.each_pair([&](int, int i) { sums += sum_of(h.in(p.y, i)); });
    mean = sum_warp(sums) / float(h.n);
    h.each_pair([&](int, int i) {
      const Two off = h.in(p.y, i) - mean;
      squares += sum_of(off * off);
    });
    scale = 1.0f / sqrtf(sum_warp(squares) / float(h.n) + HEAD_EPS);
  }

  // What the gate multiplies, from the norm of y.
  Two gated(Two normed, float bonus, int i) const {
    const Two z = normed * h.param(p.weight, i) + h.param(p.bias, i);
    return p.r ? z + h.in(p.v, i) * bonus : z;
  }

  void forward() const {
    float mean, scale;
    moments(mean, scale);
    const float s = bonus();
    h.each_pair([&](int, int i) {
      Two g = h.in(p.g, i);
      if (p.silu) g = g * sigmoid_of(g);
      h.out(p.out, i, gated((h.in(p.y, i) - mean) * scale, s, i) * g);
    });
  }

  void backward() const {
    float mean, scale;
    moments(mean, scale);
    const float s = bonus();
    Two e[HEAD_STEPS];
    float sum_e = 0, sum_eh = 0, sum_ds = 0;
    h.each_pair([&](int step, int i) {
      const Two g = h.in(p.g, i), d = h.in(p.d_out, i);
      Two gate = g, slope = {1.0f, 1.0f};
      if (p.silu) {
        const Two x = sigmoid_of(g);
        gate = g * x;
        slope = x + gate * (1.0f - x);
      }
      const Two normed = (h.in(p.y, i) - mean) * scale, z = gated(normed, s, i), dz = d * gate;
      if (p.dg) h.out(p.dg, i, d * z * slope);
      if (p.r) sum_ds += sum_of(dz * h.in(p.v, i));
      e[step] = dz * h.param(p.weight, i);
      sum_e += sum_of(e[step]);
      sum_eh += sum_of(e[step] * normed);
    });
    const float mean_e = sum_warp(sum_e) / float(h.n), mean_eh = sum_warp(sum_eh) / float(h.n);
    h.each_pair([&](int step, int i) {
      const Two normed = (h.in(p.y, i) - mean) * scale;
      h.out(p.dy, i, (e[step] - mean_e - normed * mean_eh) * scale);
    });
    if (!p.r) return;
    const float ds = sum_warp(sum_ds);
    if (h.lane > 0) return;
    floats(p.bonus)[h.item] = s;
    floats(p.d_bonus)[h.item] = ds;
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(STAGE_HEAD_THREADS)
    wkv7_inputs_forward(const __grid_constant__ Wkv7InputsArrays p) {
  const Wkv7Operands x(p);
  if (x.is_there()) x.forward();
}

extern "C" __global__ void __launch_bounds__(STAGE_HEAD_THREADS)
    wkv7_inputs_backward(const __grid_constant__ Wkv7InputsArrays p) {
  const Wkv7Operands x(p);
  if (x.is_there()) x.backward();
}

extern "C" __global__ void __launch_bounds__(STAGE_HEAD_THREADS)
    head_gate_forward(const __grid_constant__ HeadGateArrays p) {
  const GatedHead x(p);
  if (x.is_there()) x.forward();
}

extern "C" __global__ void __launch_bounds__(STAGE_HEAD_THREADS)
    head_gate_backward(const __grid_constant__ HeadGateArrays p) {
  const GatedHead x(p);
  if (x.is_there()) x.backward();
}
