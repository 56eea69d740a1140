// What a time mix does around its recurrence on a CPU, forward and backward, for some tokens a call: the operands of
// WKV-7, and the norm of the heads with bonus and gate. block.h has formulas and layouts.
#include "block_cpu.h"

namespace WKV_ISA {
namespace {

// Channels of a head, at most.
constexpr int64_t MAX_HEAD = 256;

// Calls `work(token, head, channel, at)` for each head of the tokens of an item: its first channel, and the index of
// its first number in an array (tokens,C).
template <class Work>
inline void each_head(int64_t item, int64_t n_token, int64_t n_head, int64_t head_size, Work work) {
  const TokenRange tokens(item, n_token);
  for (int64_t token = tokens.first; token < tokens.end; token++)
    for (int64_t head = 0; head < n_head; head++)
      work(token, head, head * head_size, (token * n_head + head) * head_size);
}

// Numbers of one head.
template <class F>
struct HeadRow {
  alignas(64) F at[MAX_HEAD + WKV_VECTOR_BYTES / sizeof(F)];
  VecOf<F> vec(int64_t i) const { return read(at + i); }
  void set(int64_t i, VecOf<F> x) { write(at + i, x); }
};

// ---- operands of WKV-7 ----------------------------------------------------------------------
//
// Back, with ' for the gradient, R = r_k, and what comes through the bonus (d bonus, dz = d_out * g) added first:
//
//   r' += bonus' k2 R     k2' += bonus' r R     v2' += bonus dz
//   iclr' = b' * kk + k2' * k * k_a             kk' = -a' + b' * iclr
//   (k k_k)' = (kk' - kk (kk . kk')) / length,  without the second term where the length is the floor
//   k' = k2' (1 + (iclr - 1) k_a) + (k k_k)' k_k
//   w_low' = w' (1 - sigmoid)    a_low' = iclr' iclr (1 - iclr)
//   v' = v2' (1 - share)    v_first' = v2' share    v_low' = v2' (v_first - v) share (1 - share)

template <class T>
struct Wkv7Inputs {
  using F = typename ComputedIn<T>::F;
  using Vec = VecOf<F>;
  static constexpr F FLOOR = F(1e-12);

  const Wkv7InputsArrays &p;
  int64_t channel, at;  // of the first number of a head

  Vec in(const void *array, int64_t i, int64_t n) const {
    return read<F>(static_cast<const T *>(array) + at + i, n);
  }
  void out(void *array, int64_t i, int64_t n, Vec x) const {
    write<F>(static_cast<T *>(array) + at + i, x, n);
  }
  Vec param(Wkv7Param row, int64_t i, int64_t n) const {
    const int64_t c = p.n_head * p.head_size;
    return read<F>(static_cast<const F *>(p.params) + row * c + channel + i, n);
  }

  Vec before_decay(int64_t i, int64_t n) const { return in(p.w_low, i, n) + param(W0, i, n); }
  Vec iclr(int64_t i, int64_t n) const {
    return sigmoid_of(in(p.a_low, i, n) + param(A0, i, n));
  }
  Vec share(int64_t i, int64_t n) const { return sigmoid_of(in(p.v_low, i, n) + param(V0, i, n)); }
  // The factor of k in k2.
  Vec factor(Vec iclr, int64_t i, int64_t n) const { return (iclr - F(1)) * param(K_A, i, n) + F(1); }

  F length() const {
    Vec squares{};
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      const Vec x = in(p.k, i, n) * param(K_K, i, n);
      squares += x * x;
    });
    return std::sqrt(sum_of<F>(squares));
  }

  void head_forward() const {
    const F scale = 1 / std::max(length(), FLOOR);
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      const Vec k = in(p.k, i, n), rate = iclr(i, n), kk = k * param(K_K, i, n) * scale;
      out(p.w, i, n, log_sigmoid_of<F>(before_decay(i, n)) - F(0.5));
      out(p.k2, i, n, k * factor(rate, i, n));
      out(p.a, i, n, -kk);
      out(p.b, i, n, kk * rate);
      if (p.v_low) {
        const Vec v = in(p.v, i, n);
        out(p.v2, i, n, v + (in(p.v_first, i, n) - v) * share(i, n));
      }
    });
  }

  void head_backward(F bonus, F d_bonus) const {
    const F len = length(), scale = 1 / std::max(len, FLOOR);
    HeadRow<F> rate, d_k2, d_kk;
    Vec dots{};
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      const Vec k = in(p.k, i, n), x = iclr(i, n), kk = k * param(K_K, i, n) * scale;
      const Vec r = in(p.r, i, n), r_k = param(R_K, i, n), f = factor(x, i, n);
      out(p.dr, i, n, in(p.dr, i, n) + d_bonus * (k * f * r_k));
      rate.set(i, x);
      d_k2.set(i, in(p.dk, i, n) + d_bonus * (r * r_k));
      d_kk.set(i, in(p.db, i, n) * x - in(p.da, i, n));
      dots += kk * d_kk.vec(i);
    });
    const F dot = len < FLOOR ? F(0) : sum_of<F>(dots);
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      const Vec k = in(p.k, i, n), k_k = param(K_K, i, n), kk = k * k_k * scale;
      const Vec x = rate.vec(i), dk2 = d_k2.vec(i);
      const Vec d_rate = in(p.db, i, n) * kk + dk2 * k * param(K_A, i, n);
      const Vec d_scaled = (d_kk.vec(i) - kk * dot) * scale;
      out(p.dk, i, n, dk2 * factor(x, i, n) + d_scaled * k_k);
      out(p.da, i, n, d_rate * x * (F(1) - x));
      out(p.dw, i, n, in(p.dw, i, n) * sigmoid_of(-before_decay(i, n)));
      const Vec dv2 = in(p.dv, i, n) + bonus * (in(p.d_out, i, n) * in(p.g, i, n));
      if (!p.v_low) return out(p.dv, i, n, dv2);
      const Vec s = share(i, n), of_first = dv2 * s;
      out(p.dv, i, n, dv2 - of_first);
      out(p.dv_first, i, n, of_first);
      out(p.db, i, n, of_first * (F(1) - s) * (in(p.v_first, i, n) - in(p.v, i, n)));
    });
  }

  static void forward(const Wkv7InputsArrays &p, int64_t item) {
    each_head(item, p.n_token, p.n_head, p.head_size, [&](int64_t, int64_t, int64_t c, int64_t at) {
      Wkv7Inputs{p, c, at}.head_forward();
    });
  }

  static void backward(const Wkv7InputsArrays &p, int64_t item) {
    const F *bonus = static_cast<const F *>(p.bonus), *d_bonus = static_cast<const F *>(p.d_bonus);
    each_head(item, p.n_token, p.n_head, p.head_size,
              [&](int64_t token, int64_t head, int64_t c, int64_t at) {
                const int64_t index = token * p.n_head + head;
                Wkv7Inputs{p, c, at}.head_backward(bonus[index], d_bonus[index]);
              });
  }

  static Wkv7InputsKernels kernels() { return {forward, backward}; }
};

// ---- norm of the heads, bonus, gate ---------------------------------------------------------
//
// Back, with z = norm(y) * weight + bias + bonus * v, h = norm(y), and dz = d_out * gate:
//
//   gate' = d_out * z     bonus' = sum of dz * v     e = dz * weight
//   y' = scale * (e - mean of e - h * mean of (e * h))

template <class T>
struct HeadGate {
  using F = typename ComputedIn<T>::F;
  using Vec = VecOf<F>;
  // Of the group norm of the WKV output.
  static constexpr F EPS = F(64e-5);

  const HeadGateArrays &p;
  int64_t channel, at;

  Vec in(const void *array, int64_t i, int64_t n) const {
    return read<F>(static_cast<const T *>(array) + at + i, n);
  }
  void out(void *array, int64_t i, int64_t n, Vec x) const {
    write<F>(static_cast<T *>(array) + at + i, x, n);
  }
  Vec param(const void *row, int64_t i, int64_t n) const {
    return read<F>(static_cast<const F *>(row) + channel + i, n);
  }

  F bonus() const {
    if (!p.r) return 0;
    Vec sums{};
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      sums += in(p.r, i, n) * in(p.k, i, n) * param(p.r_k, i, n);
    });
    return sum_of<F>(sums);
  }

  // z and the norm h at vector i of the head.
  Vec normed(const Moments<F> &moments, F bonus, int64_t i, int64_t n, Vec &h) const {
    h = (in(p.y, i, n) - moments.mean) * moments.scale;
    const Vec z = h * param(p.weight, i, n) + param(p.bias, i, n);
    return p.r ? z + bonus * in(p.v, i, n) : z;
  }

  Moments<F> moments() const {
    return moments_of<F>(static_cast<const T *>(p.y) + at, p.head_size, EPS);
  }

  void head_forward() const {
    const Moments<F> m = moments();
    const F s = bonus();
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      Vec h, g = in(p.g, i, n);
      if (p.silu) g *= sigmoid_of(g);
      out(p.out, i, n, normed(m, s, i, n, h) * g);
    });
  }

  void head_backward(F &s, F &ds) const {
    const Moments<F> m = moments();
    s = bonus();
    HeadRow<F> e;
    Vec sum_e{}, sum_eh{}, sum_ds{};
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      const Vec g = in(p.g, i, n), d = in(p.d_out, i, n);
      Vec h, gate = g, slope = splat(F(1));
      if (p.silu) {
        const Vec x = sigmoid_of(g);
        gate = g * x;
        slope = x + gate * (F(1) - x);
      }
      const Vec z = normed(m, s, i, n, h), dz = d * gate;
      if (p.dg) out(p.dg, i, n, d * z * slope);
      if (p.r) sum_ds += dz * in(p.v, i, n);
      const Vec e_i = dz * param(p.weight, i, n);
      sum_e += e_i;
      sum_eh += e_i * h;
      e.set(i, e_i);
    });
    ds = sum_of<F>(sum_ds);
    const F len = F(p.head_size), mean_e = sum_of<F>(sum_e) / len, mean_eh = sum_of<F>(sum_eh) / len;
    each_vector<F>(p.head_size, [&](int64_t i, auto n) {
      const Vec h = (in(p.y, i, n) - m.mean) * m.scale;
      out(p.dy, i, n, (e.vec(i) - mean_e - h * mean_eh) * m.scale);
    });
  }

  static void forward(const HeadGateArrays &p, int64_t item) {
    each_head(item, p.n_token, p.n_head, p.head_size, [&](int64_t, int64_t, int64_t c, int64_t at) {
      HeadGate{p, c, at}.head_forward();
    });
  }

  static void backward(const HeadGateArrays &p, int64_t item) {
    F *bonus = static_cast<F *>(p.bonus), *d_bonus = static_cast<F *>(p.d_bonus);
    each_head(item, p.n_token, p.n_head, p.head_size,
              [&](int64_t token, int64_t head, int64_t c, int64_t at) {
                F s, ds;
                HeadGate{p, c, at}.head_backward(s, ds);
                if (!p.r) return;
                bonus[token * p.n_head + head] = s;
                d_bonus[token * p.n_head + head] = ds;
              });
  }

  static HeadGateKernels kernels() { return {forward, backward}; }
};

}  // namespace

Wkv7InputsKernels wkv7_inputs_kernels(WkvDtype dtype) {
  return kernels_of_dtype<Wkv7Inputs, Wkv7InputsKernels>(dtype);
}

HeadGateKernels head_gate_kernels(WkvDtype dtype) {
  return kernels_of_dtype<HeadGate, HeadGateKernels>(dtype);
}

}  // namespace WKV_ISA
