// Layer norm, token shift and mixes on a CPU, forward and backward, for some tokens a call.
//
//   n_t = (x_t - mean) * scale * weight + bias      out_i,t = n_t + (n_{t-1} - n_t) * m_i,t,   m_i,t = mix_i + share_i,t
//
// Back, with d_i,t the gradient of out_i,t, o_t the sum over i of d_i,t * m_i,t, and e_t = sum of d_i,t - o_t + o_{t+1}
// the gradient of n_t (o_{t+1} only if no document begins at t + 1):
//
//   g = e_t * weight    dx_t = scale * (g - mean of g - h * mean of (g * h)),   h = (x_t - mean) * scale
//   d share_i,t = d_i,t * (n_{t-1} - n_t)      d before = o_0 + sum of o_t over the later t at which a document begins
//
// At those t, and at 0, `before` stands for n_{t-1}.
//
// To dx is added what reaches x from elsewhere: x is also what the block adds its results to.
//
// block.h has the layouts. A token's neighbour is computed again where it belongs to another call.
#include "block_cpu.h"

namespace WKV_ISA {
namespace {

template <class T>
struct NormMix {
  using F = typename ComputedIn<T>::F;
  using Vec = VecOf<F>;
  static constexpr F EPS = F(1e-5);

  const NormMixArrays &p;
  const int64_t row, c;
  const F *weight, *bias, *mixes;
  // Two normed tokens, and two rows of the way back.
  std::unique_ptr<F[]> room;
  F *now, *before, *later, *g;

  NormMix(const NormMixArrays &p, int64_t row)
      : p(p), row(row), c(p.n_channel), room(new F[4 * p.n_channel]) {
    weight = static_cast<const F *>(p.params);
    bias = weight + c;
    mixes = bias + c;
    now = room.get();
    before = now + c;
    later = before + c;
    g = later + c;
  }

  int64_t at(int64_t token) const { return (row * p.n_token + token) * c; }
  const T *x(int64_t token) const { return static_cast<const T *>(p.x) + at(token); }
  bool restarts(int64_t token) const {
    return p.restarts && p.restarts[row * p.n_token + token];
  }
  // Whether the token before is in `x`.
  bool follows(int64_t token) const { return token > 0 && !restarts(token); }

  void norm(int64_t token, F *out) const {
    const Moments<F> moments = moments_of<F>(x(token), c, EPS);
    each_vector<F>(c, [&](int64_t j, auto n) {
      const Vec h = (read<F>(x(token) + j, n) - moments.mean) * moments.scale;
      write<F>(out + j, h * read<F>(weight + j, n) + read<F>(bias + j, n), n);
    });
  }

  // What stands before `token`.
  void norm_before(int64_t token, F *out) const {
    if (follows(token)) return norm(token - 1, out);
    const T *given = static_cast<const T *>(p.before) + row * c;
    each_vector<F>(c, [&](int64_t j, auto n) { write<F>(out + j, read<F>(given + j, n), n); });
  }

  // The share of the token before in mixture i.
  Vec share(int64_t i, int64_t token, int64_t j, int64_t n) const {
    const Vec mix = read<F>(mixes + i * c + j, n);
    if (!p.shares) return mix;
    const T *shares = static_cast<const T *>(p.shares) + i * p.n_row * p.n_token * c;
    return mix + read<F>(shares + at(token) + j, n);
  }

  static void forward(const NormMixArrays &p, int64_t item) {
    const TokenRange tokens(item, p.n_token);
    NormMix s(p, tokens.row);
    s.norm_before(tokens.first, s.before);
    for (int64_t token = tokens.first; token < tokens.end; token++) {
      if (s.restarts(token)) s.norm_before(token, s.before);
      s.norm(token, s.now);
      const int64_t at = s.at(token);
      each_vector<F>(s.c, [&](int64_t j, auto n) {
        const Vec own = read<F>(s.now + j, n), step = read<F>(s.before + j, n) - own;
        for (int64_t i = 0; i < p.n_mix; i++)
          write<F>(static_cast<T *>(p.out[i]) + at + j, own + step * s.share(i, token, j, n), n);
      });
      std::swap(s.now, s.before);
    }
    if (tokens.end == p.n_token) {
      T *last = static_cast<T *>(p.last) + tokens.row * s.c;
      each_vector<F>(s.c, [&](int64_t j, auto n) {
        write<F>(last + j, read<F>(s.before + j, n), n);
      });
    }
  }

  // The sums over the mixtures of d_i and of d_i * m_i at vector j of a token.
  void gradients(int64_t token, int64_t j, int64_t n, Vec &all, Vec &older) const {
    all = Vec{};
    older = Vec{};
    for (int64_t i = 0; i < p.n_mix; i++) {
      if (!p.d_out[i]) continue;
      const Vec d = read<F>(static_cast<const T *>(p.d_out[i]) + at(token) + j, n);
      all += d;
      older += d * share(i, token, j, n);
    }
  }

  // `later` becomes what the token after `token` leaves to it.
  void start_later(int64_t token) {
    std::fill(later, later + c, F(0));
    const int64_t next = token + 1;
    if (next == p.n_token) {
      if (!p.d_last) return;
      const T *d_last = static_cast<const T *>(p.d_last) + row * c;
      each_vector<F>(c, [&](int64_t j, auto n) { write<F>(later + j, read<F>(d_last + j, n), n); });
    } else if (!restarts(next)) {
      each_vector<F>(c, [&](int64_t j, auto n) {
        Vec all, older;
        gradients(next, j, n, all, older);
        write<F>(later + j, older, n);
      });
    }
  }

  void step_back(int64_t token) {
    const Moments<F> moments = moments_of<F>(x(token), c, EPS);
    const bool ends = restarts(token);
    Vec sum_g{}, sum_gh{};
    each_vector<F>(c, [&](int64_t j, auto n) {
      Vec all, older;
      gradients(token, j, n, all, older);
      const Vec e = all - older + read<F>(later + j, n);
      write<F>(later + j, ends ? Vec{} : older, n);
      const Vec g_j = e * read<F>(weight + j, n);
      const Vec h = (read<F>(x(token) + j, n) - moments.mean) * moments.scale;
      sum_g += g_j;
      sum_gh += g_j * h;
      write<F>(g + j, g_j, n);
    });
    const F mean_g = sum_of<F>(sum_g) / F(c), mean_gh = sum_of<F>(sum_gh) / F(c);
    T *dx = static_cast<T *>(p.dx) + at(token);
    const T *d_x = p.d_x ? static_cast<const T *>(p.d_x) + at(token) : nullptr;
    each_vector<F>(c, [&](int64_t j, auto n) {
      const Vec h = (read<F>(x(token) + j, n) - moments.mean) * moments.scale;
      const Vec d = (read<F>(g + j, n) - mean_g - h * mean_gh) * moments.scale;
      write<F>(dx + j, d_x ? d + read<F>(d_x + j, n) : d, n);
    });
  }

  void shares_back(int64_t token) {
    norm(token, now);
    norm_before(token, before);
    for (int64_t i = 0; i < p.n_mix; i++) {
      const int64_t from = i * p.n_row * p.n_token * c + at(token);
      T *out = static_cast<T *>(p.d_shares) + from;
      const T *d = static_cast<const T *>(p.d_out[i]) + at(token);
      each_vector<F>(c, [&](int64_t j, auto n) {
        const Vec step = read<F>(before + j, n) - read<F>(now + j, n);
        write<F>(out + j, p.d_out[i] ? read<F>(d + j, n) * step : Vec{}, n);
      });
    }
  }

  void before_back() {
    T *out = static_cast<T *>(p.d_before) + row * c;
    std::fill(later, later + c, F(0));
    const int64_t end = p.restarts ? p.n_token : 1;
    for (int64_t token = 0; token < end; token++) {
      if (follows(token)) continue;
      each_vector<F>(c, [&](int64_t j, auto n) {
        Vec all, older;
        gradients(token, j, n, all, older);
        write<F>(later + j, read<F>(later + j, n) + older, n);
      });
    }
    each_vector<F>(c, [&](int64_t j, auto n) { write<F>(out + j, read<F>(later + j, n), n); });
  }

  static void backward(const NormMixArrays &p, int64_t item) {
    const TokenRange tokens(item, p.n_token);
    NormMix s(p, tokens.row);
    if (p.d_before && tokens.first == 0) s.before_back();
    if (!p.dx && !p.d_shares) return;
    s.start_later(tokens.end - 1);
    for (int64_t token = tokens.end - 1; token >= tokens.first; token--) {
      if (p.dx) s.step_back(token);
      if (p.d_shares) s.shares_back(token);
    }
  }

  static NormMixKernels kernels() { return {forward, backward}; }
};

}  // namespace

NormMixKernels norm_mix_kernels(WkvDtype dtype) {
  return kernels_of_dtype<NormMix, NormMixKernels>(dtype);
}

}  // namespace WKV_ISA
