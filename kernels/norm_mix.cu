// Layer norm, token shift and mixes on a GPU, forward and backward. block.h has formula and layouts, norm_mix_cpu.cpp the
// formula of the way back. Compiled behind stages.cuh.
//
// A block owns a token; a thread owns an octet of channels of every 2048. A block computes the norm of the token before again,
// and on the way back the gradients that the token after leaves to it.

namespace {

constexpr float LAYER_EPS = 1e-5f;
constexpr int ROW_STEPS = STAGE_ROW_CHANNELS / (STAGE_ROW_THREADS * OCTET);
constexpr int ROW_WARPS = STAGE_ROW_THREADS / WARP_LEN;

// Calls `body(step, j)` for each octet of this thread, whose first channel is j.
template <class Body>
inline void each_row_octet(Index n_channel, Body body) {
#pragma unroll
  for (int step = 0; step < ROW_STEPS; step++) {
    const int j = (step * STAGE_ROW_THREADS + threadIdx.x) * OCTET;
    if (j < n_channel) body(step, j);
  }
}

// (x - mean) * scale has mean 0 and variance 1.
struct RowMoments {
  float mean, scale;
};

// The moments of the rows `x` of `c` channels each; null: not asked for.
inline void row_moments(const Operand *const (&x)[2], Index c, RowMoments (&out)[2],
                        float (&room)[2][ROW_WARPS]) {
  float sums[2] = {};
  each_row_octet(c, [&](int, int j) {
#pragma unroll
    for (int which = 0; which < 2; which++) {
      if (!x[which]) continue;
      const Eight row = load_eight(x[which] + j);
#pragma unroll
      for (int i = 0; i < OCTET; i++) sums[which] += row.at[i];
    }
  });
  sum_block<STAGE_ROW_THREADS>(sums, room);
  float squares[2] = {};
#pragma unroll
  for (int which = 0; which < 2; which++) out[which].mean = sums[which] / float(c);
  each_row_octet(c, [&](int, int j) {
#pragma unroll
    for (int which = 0; which < 2; which++) {
      if (!x[which]) continue;
      const Eight row = load_eight(x[which] + j);
#pragma unroll
      for (int i = 0; i < OCTET; i++) {
        const float off = row.at[i] - out[which].mean;
        squares[which] += off * off;
      }
    }
  });
  sum_block<STAGE_ROW_THREADS>(squares, room);
#pragma unroll
  for (int which = 0; which < 2; which++)
    out[which].scale = 1.0f / sqrtf(squares[which] / float(c) + LAYER_EPS);
}

// The token of a block.
struct MixToken {
  const NormMixArrays &p;
  const Index c, row, token;
  const float *weight, *bias, *mixes;

  explicit MixToken(const NormMixArrays &p_)
      : p(p_), c(p_.n_channel), row(blockIdx.x / p_.n_token), token(blockIdx.x % p_.n_token),
        weight(floats(p_.params)), bias(weight + c), mixes(bias + c) {}

  Index at(Index t) const { return (row * p.n_token + t) * c; }
  const Operand *x(Index t) const { return operands(p.x) + at(t); }
  bool restarts(Index t) const { return p.restarts && p.restarts[row * p.n_token + t]; }
  // Whether the token before is in `x`.
  bool follows(Index t) const { return t > 0 && !restarts(t); }

  Eight normed(Index t, const RowMoments &moments, int j) const {
    const Eight w = load_eight(weight + j), b = load_eight(bias + j);
    Eight out = load_eight(x(t) + j);
#pragma unroll
    for (int i = 0; i < OCTET; i++)
      out.at[i] = (out.at[i] - moments.mean) * moments.scale * w.at[i] + b.at[i];
    return out;
  }

  // What stands before the token.
  Eight before(const RowMoments &moments, int j) const {
    if (follows(token)) return normed(token - 1, moments, j);
    return load_eight(operands(p.before) + row * c + j);
  }

  // The share of the token before in mixture i.
  Eight share(int i, Index t, int j) const {
    Eight out = load_eight(mixes + i * c + j);
    if (!p.shares) return out;
    const Eight moving =
        load_eight(operands(p.shares) + i * (p.n_row * p.n_token * c) + at(t) + j);
#pragma unroll
    for (int k = 0; k < OCTET; k++) out.at[k] += moving.at[k];
    return out;
  }

  // The sums over the mixtures of d_i and of d_i * m_i at a token.
  void gradients(Index t, int j, Eight &all, Eight &older) const {
    all = Eight{};
    older = Eight{};
#pragma unroll
    for (int i = 0; i < MAX_MIX; i++) {
      if (i >= p.n_mix || !p.d_out[i]) continue;
      const Eight d = load_eight(operands(p.d_out[i]) + at(t) + j), m = share(i, t, j);
#pragma unroll
      for (int k = 0; k < OCTET; k++) {
        all.at[k] += d.at[k];
        older.at[k] += d.at[k] * m.at[k];
      }
    }
  }

  // What the token after leaves to this one.
  Eight later(int j) const {
    if (token + 1 == p.n_token)
      return p.d_last ? load_eight(operands(p.d_last) + row * c + j) : Eight{};
    if (restarts(token + 1)) return Eight{};
    Eight all, older;
    gradients(token + 1, j, all, older);
    return older;
  }

  void step_back(const RowMoments &moments, float (&room)[2][ROW_WARPS]) const {
    Eight g[ROW_STEPS];
    float sums[2] = {};  // of g, and of g * h
    each_row_octet(c, [&](int step, int j) {
      Eight all, older;
      gradients(token, j, all, older);
      const Eight after = later(j), w = load_eight(weight + j), own = load_eight(x(token) + j);
#pragma unroll
      for (int i = 0; i < OCTET; i++) {
        const float e = all.at[i] - older.at[i] + after.at[i];
        g[step].at[i] = e * w.at[i];
        sums[0] += g[step].at[i];
        sums[1] += g[step].at[i] * (own.at[i] - moments.mean) * moments.scale;
      }
    });
    sum_block<STAGE_ROW_THREADS>(sums, room);
    const float mean_g = sums[0] / float(c), mean_gh = sums[1] / float(c);
    each_row_octet(c, [&](int step, int j) {
      const Eight own = load_eight(x(token) + j);
      Eight d = p.d_x ? load_eight(operands(p.d_x) + at(token) + j) : Eight{};
#pragma unroll
      for (int i = 0; i < OCTET; i++) {
        const float h = (own.at[i] - moments.mean) * moments.scale;
        d.at[i] += (g[step].at[i] - mean_g - h * mean_gh) * moments.scale;
      }
      store_eight(operands(p.dx) + at(token) + j, d);
    });
  }

  // The gradient of what stands before the first token and before each at which a document begins.
  void before_back() const {
    const Index end = p.restarts ? p.n_token : 1;
    each_row_octet(c, [&](int, int j) {
      Eight sum{};
      for (Index t = 0; t < end; t++) {
        if (follows(t)) continue;
        Eight all, older;
        gradients(t, j, all, older);
#pragma unroll
        for (int k = 0; k < OCTET; k++) sum.at[k] += older.at[k];
      }
      store_eight(operands(p.d_before) + row * c + j, sum);
    });
  }

  void shares_back(const RowMoments (&moments)[2]) const {
    each_row_octet(c, [&](int, int j) {
      const Eight own = normed(token, moments[0], j), older = before(moments[1], j);
#pragma unroll
      for (int i = 0; i < MAX_MIX; i++) {
        if (i >= p.n_mix) continue;
        Eight d{};
        if (p.d_out[i]) d = load_eight(operands(p.d_out[i]) + at(token) + j);
#pragma unroll
        for (int k = 0; k < OCTET; k++) d.at[k] *= older.at[k] - own.at[k];
        store_eight(operands(p.d_shares) + i * (p.n_row * p.n_token * c) + at(token) + j, d);
      }
    });
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(STAGE_ROW_THREADS)
    norm_mix_forward(const __grid_constant__ NormMixArrays p) {
  __shared__ float room[2][ROW_WARPS];
  const MixToken t(p);
  RowMoments moments[2];
  row_moments({t.x(t.token), t.follows(t.token) ? t.x(t.token - 1) : nullptr}, t.c, moments, room);
  each_row_octet(t.c, [&](int, int j) {
    const Eight own = t.normed(t.token, moments[0], j), older = t.before(moments[1], j);
#pragma unroll
    for (int i = 0; i < MAX_MIX; i++) {
      if (i >= p.n_mix) continue;
      Eight out = t.share(i, t.token, j);
#pragma unroll
      for (int k = 0; k < OCTET; k++)
        out.at[k] = own.at[k] + (older.at[k] - own.at[k]) * out.at[k];
      store_eight(operands(p.out[i]) + t.at(t.token) + j, out);
    }
    if (t.token + 1 == p.n_token) store_eight(operands(p.last) + t.row * t.c + j, own);
  });
}

extern "C" __global__ void __launch_bounds__(STAGE_ROW_THREADS)
    norm_mix_backward(const __grid_constant__ NormMixArrays p) {
  __shared__ float room[2][ROW_WARPS];
  const MixToken t(p);
  if (p.d_before && t.token == 0) t.before_back();
  if (!p.dx && !p.d_shares) return;
  RowMoments moments[2];
  const bool needs_before = p.d_shares && t.follows(t.token);
  row_moments({t.x(t.token), needs_before ? t.x(t.token - 1) : nullptr}, t.c, moments, room);
  if (p.dx) t.step_back(moments[0], room);
  if (p.d_shares) t.shares_back(moments);
}
