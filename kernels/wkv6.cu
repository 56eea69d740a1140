// The WKV-6 recurrence on a GPU, forward and backward, and WKV-5, which is the same with a decay
// that does not change. Compiled behind wkv_cuda.h and wkv_common.cuh, with WKV_VERSION 5 or 6.
//
//   d_t = exp(-exp(w_t)); WKV-5: d = exp(-exp(w))
//   y_t = (S_{t-1} + v_t (u * k_t)^T) r_t          S_t = S_{t-1} diag(d_t) + v_t k_t^T
//
// With D = dL/dS_t, walking back in time:
//
//   dr_t = S_{t-1}^T dy_t + (dy_t . v_t) u * k_t        du += (dy_t . v_t) r_t * k_t
//   dk_t = D^T v_t + (dy_t . v_t) u * r_t               dv_t = D k_t + (r_t . (u * k_t)) dy_t
//   dw_t = -exp(w_t) d_t sum_v D S_{t-1}                D <- D diag(d_t) + dy_t r_t^T
//
// S_{t-1} is s0 where a document begins; there D goes into ds0 and starts again from zero.
//
// Layouts, what blocks and threads own, what is saved, precision: as in wkv7.cu. u and du are (H,N)
// and (B,H,N), w and dw of WKV-5 as well. The sums du, and dw of WKV-5, run over tokens in
// registers, two to eight a thread, and over the rows at the end. The scalar r . (u * k), the same
// for all rows, is computed once a token by one warp, after the operands are staged.
//
// Where KEYS = 64: forward 20,800 bytes of shared memory and at most 128 registers a thread;
// backward 31,040 bytes (WKV-5: 28,992) and 191 to 208 registers. Global memory traffic a channel
// and token with bf16: forward 10 bytes and 16 of saved states, backward 18, 16 and 2 for a second
// look at w.

namespace {

constexpr bool STATIC_DECAY = WKV_VERSION == 5;

struct ForwardShared {
  alignas(16) float r[FORWARD_STAGE][KEYS], decay[FORWARD_STAGE][KEYS], k[FORWARD_STAGE][KEYS];
  alignas(16) float v[FORWARD_STAGE][FORWARD_ROWS], y[FORWARD_STAGE][FORWARD_ROWS];
  alignas(16) float u[KEYS];
  float bonus[FORWARD_STAGE];  // r . (u * k)
};

// Sums over rows that a token's gradients need, in the order of `BackwardShared::part`. WKV-5 has
// no DW a token.
enum Sum { DR, DK, DW };
constexpr int N_SUM = STATIC_DECAY ? 2 : 3;
// Sums over rows and tokens, in the same place at the end.
enum HeadSum { DU, STATIC_DW };

struct BackwardShared {
  // Of each staged token: operands until it is done, then dr, sum_v D S_{t-1}, dk.
  alignas(16) float r[BACKWARD_STAGE][KEYS], decay[BACKWARD_STAGE][KEYS], k[BACKWARD_STAGE][KEYS];
  alignas(16) float v[BACKWARD_STAGE][BACKWARD_ROWS], dy[BACKWARD_STAGE][BACKWARD_ROWS],
      dv[BACKWARD_STAGE][BACKWARD_ROWS];
  alignas(16) float u[KEYS];
  float bonus[BACKWARD_STAGE];  // r . (u * k)
  alignas(16) float part[BACKWARD_WARPS][N_SUM][KEYS];
};

// Where an operand of shape (H,N) has the octet that token `t` of a (B,T,H,N) operand has at
// `index`.
inline Index in_head(const Head &at, Index index, int column) {
  return index < 0 ? index : Index(at.head) * at.n + column;
}

template <class Shared>
inline void stage_keys(Shared &m, const WkvCudaForward &p, const Head &at, int slot, int column,
                       Index index) {
  stage_octet(&m.r[slot][column], p.r, index);
  stage_decay(&m.decay[slot][column], p.w, STATIC_DECAY ? in_head(at, index, column) : index);
  stage_octet(&m.k[slot][column], p.k, index);
}

template <int THREADS>
inline void stage_bonus_weights(float *u, const WkvCudaForward &p, const Head &at) {
  each_octet<THREADS, KEYS>(at, 0, 1, 0, [&](int, int column, Index index) {
    stage_octet(u + column, p.u, in_head(at, index, column));
  });
}

// r . (u * k) of the staged tokens, a warp each. It is used when the tokens' results are written,
// behind other barriers.
template <int THREADS, class Shared>
inline void stage_bonus(Shared &m, int len) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int slot = warp; slot < len; slot += THREADS / 32) {
    float sum = 0;
#pragma unroll
    for (int key = 0; key < KEYS; key += 32)
      sum += m.r[slot][key + lane] * m.u[key + lane] * m.k[slot][key + lane];
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, step);
    if (lane == 0) m.bonus[slot] = sum;
  }
}

// s = s diag(decay) + v k^T for the rows and keys of a tile.
template <class Tile>
inline void advance(float (&s)[Tile::R][Tile::K], const float *decay, const float *v,
                    const float *k) {
  float decay_[Tile::K], k_[Tile::K];
  Tile::load(decay_, decay);
  Tile::load(k_, k);
#pragma unroll
  for (int i = 0; i < Tile::R; i++) {
    const float v_i = v[Tile::row() + i];
#pragma unroll
    for (int j = 0; j < Tile::K; j++) s[i][j] = s[i][j] * decay_[j] + v_i * k_[j];
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(FORWARD_THREADS, 4)
    wkv_forward(const WkvCudaForward p) {
  using T = ForwardTile;
  __shared__ ForwardShared m;
  const Head at(p);
  const int first = blockIdx.y * FORWARD_ROWS;
  float s[T::R][T::K];
  T::load_state(s, p.s0 + at.state(), at.n, first);
  stage_bonus_weights<FORWARD_THREADS>(m.u, p, at);

  for (Index start = 0; start < p.n_token; start += FORWARD_STAGE) {
    const int len = p.n_token - start < FORWARD_STAGE ? int(p.n_token - start) : FORWARD_STAGE;
    each_octet<FORWARD_THREADS, KEYS>(at, start, len, 0, [&](int t, int column, Index index) {
      stage_keys(m, p, at, t, column, index);
    });
    each_octet<FORWARD_THREADS, FORWARD_ROWS>(
        at, start, len, first,
        [&](int t, int column, Index index) { stage_octet(&m.v[t][column], p.v, index); });
    __syncthreads();
    stage_bonus<FORWARD_THREADS>(m, len);

    for (int t = 0; t < len; t++) {
      const Index token = start + t;
      if (at.begins(token)) T::load_state(s, p.s0 + at.state(), at.n, first);
      if (p.saved && token % CHUNK_LEN == 0)
        T::store_state(p.saved + at.saved(token / CHUNK_LEN), s, at.n, first);
      float y[T::R];
      T::multiply(y, s, m.r[t]);
      T::sum_rows(m.y[t], y);
      advance<T>(s, m.decay[t], m.v[t], m.k[t]);
    }
    __syncthreads();
    each_octet<FORWARD_THREADS, FORWARD_ROWS>(
        at, start, len, first, [&](int t, int column, Index index) {
#pragma unroll
          for (int i = 0; i < OCTET; i++) m.y[t][column + i] += m.bonus[t] * m.v[t][column + i];
          write_octet<Operand>(p.y, index, &m.y[t][column]);
        });
  }
  T::store_state(p.s_last + at.state(), s, at.n, first);
}

namespace {

// Sums over all tokens and over a thread's rows, of all groups of rows.
struct HeadSums {
  float du[BackwardTile::K] = {};
  float dw[BackwardTile::K] = {};  // WKV-5 only: of D S_{t-1}
};

struct Wkv6Back : Walk<Wkv6Back> {
  BackwardShared &m;
  HeadSums &sums;

  Wkv6Back(const WkvCudaBackward &q_, const Head &at_, int first_, BackwardShared &m_,
           HeadSums &sums_)
      : Walk(q_, at_, first_), m(m_), sums(sums_) {}

  void stage(Index start, int len) {
    __syncthreads();  // the tokens that lie there have been replayed
    each_octet<BACKWARD_THREADS, KEYS>(at, start, len, 0, [&](int slot, int column, Index index) {
      stage_keys(m, q.fwd, at, slot, column, index);
    });
    each_octet<BACKWARD_THREADS, BACKWARD_ROWS>(
        at, start, len, first, [&](int slot, int column, Index index) {
          stage_octet(&m.v[slot][column], q.fwd.v, index);
          stage_octet(&m.dy[slot][column], q.dy, index);
        });
    __syncthreads();
    stage_bonus<BACKWARD_THREADS>(m, len);
  }

  void replay(int t, bool) {
    const int slot = t % BACKWARD_STAGE;
    advance<T>(s, m.decay[slot], m.v[slot], m.k[slot]);
  }

  void step_back(const float (&s_before)[T::R][T::K], int t) {
    const int slot = t % BACKWARD_STAGE, warp = threadIdx.x / 32;
    float r[T::K], decay[T::K], k[T::K], u[T::K];
    T::load(r, m.r[slot]);
    T::load(decay, m.decay[slot]);
    T::load(k, m.k[slot]);
    T::load(u, m.u);

    float sum[T::R] = {}, dr[T::K] = {}, dw[T::K] = {}, dk[T::K] = {};
    float dy_v = 0;  // of this thread's rows
#pragma unroll
    for (int i = 0; i < T::R; i++) {
      const int row = T::row() + i;
      const float v = m.v[slot][row], dy = m.dy[slot][row];
      dy_v += dy * v;
#pragma unroll
      for (int j = 0; j < T::K; j++) {
        sum[i] += d[i][j] * k[j];
        dr[j] += s_before[i][j] * dy;
        dw[j] += d[i][j] * s_before[i][j];
        dk[j] += d[i][j] * v;
        d[i][j] = d[i][j] * decay[j] + dy * r[j];
      }
    }
    T::sum_rows(m.dv[slot], sum);
#pragma unroll
    for (int j = 0; j < T::K; j++) {
      dr[j] += dy_v * u[j] * k[j];
      dk[j] += dy_v * u[j] * r[j];
      sums.du[j] += dy_v * r[j] * k[j];
      if (STATIC_DECAY) sums.dw[j] += dw[j];
    }

    T::store(m.part[warp][DR], dr);
    T::store(m.part[warp][DK], dk);
    if constexpr (!STATIC_DECAY) T::store(m.part[warp][DW], dw);
    sum_warps(m.part, [&](int which, int key, float sum) {
      float(*const to)[KEYS] = which == DR ? m.r : which == DK ? m.k : m.decay;
      to[slot][key] = sum;  // the operand's place: every thread has read it
    });
  }

  void write(Index start, int len) {
    const bool add = first > 0;
    each_octet<BACKWARD_THREADS, KEYS>(at, start, len, 0, [&](int slot, int column, Index index) {
      write_gradient(q.dr, index, &m.r[slot][column], add);
      write_gradient(q.dk, index, &m.k[slot][column], add);
      if (STATIC_DECAY) return;
      scale_by_decay_slope(&m.decay[slot][column], q.fwd.w, index);
      write_gradient(q.dw, index, &m.decay[slot][column], add);
    });
    each_octet<BACKWARD_THREADS, BACKWARD_ROWS>(
        at, start, len, first, [&](int slot, int column, Index index) {
#pragma unroll
          for (int i = 0; i < OCTET; i++)
            m.dv[slot][column + i] += m.bonus[slot] * m.dy[slot][column + i];
          write_octet<Operand>(q.dv, index, &m.dv[slot][column]);
        });
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(BACKWARD_THREADS, 1)
    wkv_backward(const WkvCudaBackward q) {
  __shared__ BackwardShared m;
  const Head at(q.fwd);
  HeadSums sums;
  stage_bonus_weights<BACKWARD_THREADS>(m.u, q.fwd, at);
  for (int first = 0; first < at.n; first += BACKWARD_ROWS)
    Wkv6Back(q, at, first, m, sums).run();

  const int warp = threadIdx.x / 32;
  BackwardTile::store(m.part[warp][DU], sums.du);
  if (STATIC_DECAY) BackwardTile::store(m.part[warp][STATIC_DW], sums.dw);
  sum_warps(m.part, [&](int which, int key, float sum) {
    if (key >= at.n) return;
    const Index index = at.item() * at.n + key;
    if (which == DU) q.du[index] = sum;
    if (STATIC_DECAY && which == STATIC_DW)
      static_cast<float *>(q.dw)[index] =
          sum * decay_slope(widen(static_cast<const Operand *>(q.fwd.w)[at.head * at.n + key]));
  });
}
