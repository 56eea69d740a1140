// The WKV-7 recurrence on a GPU, forward and backward. Compiled behind wkv_cuda.h and
// wkv_common.cuh.
//
//   d_t = exp(-exp(w_t))
//   S_t = S_{t-1} diag(d_t) + (S_{t-1} a_t) b_t^T + v_t k_t^T          y_t = S_t r_t
//
// With D = dL/dS_t, walking back in time, d_t as above:
//
//   D += dy_t r_t^T       dr_t = S_t^T dy_t      dk_t = D^T v_t      dv_t = D k_t
//   db_t = D^T (S_{t-1} a_t)                     da_t = S_{t-1}^T (D b_t)
//   dw_t = -exp(w_t) d_t sum_v D S_{t-1}         D <- D diag(d_t) + (D b_t) a_t^T
//
// S_{t-1} is s0 where a document begins; there D goes into ds0 and starts again from zero.
//
// Layouts, last index fastest: r,w,k,v,a,b,y and their gradients: (B,T,H,N); states: (B,H,N,N)
// indexed [value, key]; saved: (B,H,ceil(T/16),N,N), the state before tokens 0, 16, 32, ... Any B,
// T >= 1, N a multiple of 8 up to 256. Below, KEYS is N rounded up to 64, 128 or 256.
//
// Forward. A row (value) of S never meets another row, so blocks (batch * head, group of rows) are
// independent. A block of 128 threads owns 4096/KEYS rows; a thread owns 16 keys of two rows in 32
// registers, KEYS/16 threads share a row and add up S a and S r by shuffles. 16 tokens (8 where
// KEYS = 256) of the operands are widened into shared memory with 16-byte loads, y leaves the same
// way: 28,672 bytes of shared memory (KEYS = 64), and at most 128 registers a thread, which leaves
// room for four blocks on a multiprocessor.
//
// Backward. A block owns a head, and goes through its groups of rows one after another: one group
// of 64 rows where N <= 64, groups of 32 or 8 beyond, where dr, dw, dk, da, db are summed over the
// groups in float32 in global memory (the slower variant). A warp owns 8 (4, 2) rows, a thread
// KEYS/32 keys of each: 16 entries of S, of D and of each of the four states that it keeps. So the
// sums over keys (dv, D b, S a) stay in a warp, and those over rows are a thread's own, then one
// addition over 8 (8, 4) warps through shared memory. A chunk of 16 tokens is replayed from its
// saved state, four tokens at a time from the last to the first: 2.5 replays on average, without S
// a after the first, in exchange for no state in shared or local memory. Nothing is divided by the
// decay, so w is not restricted. 47,360 bytes of shared memory (KEYS = 64), less than the 48 KiB
// that need no permission; 181 to 197 registers a thread, so one block of 256 threads on a
// multiprocessor; at two blocks the four states would spill.
//
// Saved for backward: 4 N^2 / 16 bytes a token and head, 16 bytes a channel where N = 64. Global
// memory traffic a channel and token with bf16, N = 64: forward 14 bytes and 16 of saved states;
// backward 26, 16 of saved states for the last group of a chunk (the other groups find them in the
// L2 cache) and 2 for a second look at w. The gradients stand in shared memory where the operands
// were, until the chunk is done.
//
// Precision: states and sums in float32, operands rounded on store only. The order of every sum is
// fixed: results do not depend on the launch.

namespace {

struct ForwardShared {
  alignas(16) float r[FORWARD_STAGE][KEYS], decay[FORWARD_STAGE][KEYS], k[FORWARD_STAGE][KEYS],
      a[FORWARD_STAGE][KEYS], b[FORWARD_STAGE][KEYS];
  alignas(16) float v[FORWARD_STAGE][FORWARD_ROWS], y[FORWARD_STAGE][FORWARD_ROWS];
};

// Sums over rows that a token's gradients need, in the order of `BackwardShared::part`.
enum Sum { DR, DW, DK, DA, DB, N_SUM };

struct BackwardShared {
  // Of each staged token: operands until it is done, then dr, sum_v D S_{t-1}, dk, da, db.
  alignas(16) float r[BACKWARD_STAGE][KEYS], decay[BACKWARD_STAGE][KEYS], k[BACKWARD_STAGE][KEYS],
      a[BACKWARD_STAGE][KEYS], b[BACKWARD_STAGE][KEYS];
  alignas(16) float v[BACKWARD_STAGE][BACKWARD_ROWS], dy[BACKWARD_STAGE][BACKWARD_ROWS],
      dv[BACKWARD_STAGE][BACKWARD_ROWS];
  alignas(16) float sa[CHUNK_LEN][BACKWARD_ROWS];  // S_{t-1} a_t of the whole chunk
  alignas(16) float dsa[BACKWARD_ROWS];            // D b_t of the current token
  alignas(16) float part[BACKWARD_WARPS][N_SUM][KEYS];
};

// s = s diag(decay) + sa b^T + v k^T for the rows and keys of a tile.
template <class Tile>
inline void advance(float (&s)[Tile::R][Tile::K], const float (&sa)[Tile::R],
                               const float *decay, const float *b, const float *v, const float *k) {
  float decay_[Tile::K], b_[Tile::K], k_[Tile::K];
  Tile::load(decay_, decay);
  Tile::load(b_, b);
  Tile::load(k_, k);
#pragma unroll
  for (int i = 0; i < Tile::R; i++) {
    const float v_i = v[Tile::row() + i];
#pragma unroll
    for (int j = 0; j < Tile::K; j++) {
      s[i][j] = s[i][j] * decay_[j] + sa[i] * b_[j];
      s[i][j] += v_i * k_[j];
    }
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

  for (Index start = 0; start < p.n_token; start += FORWARD_STAGE) {
    const int len = p.n_token - start < FORWARD_STAGE ? int(p.n_token - start) : FORWARD_STAGE;
    each_octet<FORWARD_THREADS, KEYS>(at, start, len, 0, [&](int t, int column, Index index) {
      stage_octet(&m.r[t][column], p.r, index);
      stage_decay(&m.decay[t][column], p.w, index);
      stage_octet(&m.k[t][column], p.k, index);
      stage_octet(&m.a[t][column], p.a, index);
      stage_octet(&m.b[t][column], p.b, index);
    });
    each_octet<FORWARD_THREADS, FORWARD_ROWS>(
        at, start, len, first,
        [&](int t, int column, Index index) { stage_octet(&m.v[t][column], p.v, index); });
    __syncthreads();

    for (int t = 0; t < len; t++) {
      const Index token = start + t;
      if (at.begins(token)) T::load_state(s, p.s0 + at.state(), at.n, first);
      if (p.saved && token % CHUNK_LEN == 0)
        T::store_state(p.saved + at.saved(token / CHUNK_LEN), s, at.n, first);
      float sa[T::R], y[T::R];
      T::multiply(sa, s, m.a[t]);
#pragma unroll
      for (int i = 0; i < T::R; i++) sa[i] = T::sum_lanes(sa[i]);
      advance<T>(s, sa, m.decay[t], m.b[t], m.v[t], m.k[t]);
      T::multiply(y, s, m.r[t]);
      T::sum_rows(m.y[t], y);
    }
    __syncthreads();
    each_octet<FORWARD_THREADS, FORWARD_ROWS>(at, start, len, first,
                                              [&](int t, int column, Index index) {
                                                write_octet<Operand>(p.y, index, &m.y[t][column]);
                                              });
  }
  T::store_state(p.s_last + at.state(), s, at.n, first);
}

namespace {

struct Wkv7Back : Walk<Wkv7Back> {
  BackwardShared &m;

  Wkv7Back(const WkvCudaBackward &q_, const Head &at_, int first_, BackwardShared &m_)
      : Walk(q_, at_, first_), m(m_) {}

  void stage(Index start, int len) {
    __syncthreads();  // the tokens that lie there have been replayed
    each_octet<BACKWARD_THREADS, KEYS>(at, start, len, 0, [&](int slot, int column, Index index) {
      stage_octet(&m.r[slot][column], q.fwd.r, index);
      stage_decay(&m.decay[slot][column], q.fwd.w, index);
      stage_octet(&m.k[slot][column], q.fwd.k, index);
      stage_octet(&m.a[slot][column], q.fwd.a, index);
      stage_octet(&m.b[slot][column], q.fwd.b, index);
    });
    each_octet<BACKWARD_THREADS, BACKWARD_ROWS>(
        at, start, len, first, [&](int slot, int column, Index index) {
          stage_octet(&m.v[slot][column], q.fwd.v, index);
          stage_octet(&m.dy[slot][column], q.dy, index);
        });
    __syncthreads();
  }

  void replay(int t, bool first_time) {
    const int slot = t % BACKWARD_STAGE;
    if (first_time) {
      float sum[T::R];
      T::multiply(sum, s, m.a[slot]);
      T::sum_rows(m.sa[t], sum);
      __syncwarp();
    }
    float sa[T::R];
    T::load_rows(sa, m.sa[t]);
    advance<T>(s, sa, m.decay[slot], m.b[slot], m.v[slot], m.k[slot]);
  }

  void step_back(const float (&s_before)[T::R][T::K], int t) {
    const int slot = t % BACKWARD_STAGE, warp = threadIdx.x / 32;
    float r[T::K], decay[T::K], k[T::K], a[T::K], b[T::K];
    T::load(r, m.r[slot]);
    T::load(decay, m.decay[slot]);
    T::load(k, m.k[slot]);
    T::load(a, m.a[slot]);
    T::load(b, m.b[slot]);

    // d becomes dL/dS_t, and D b goes through shared memory to all lanes of a row.
    float sum[T::R] = {};
#pragma unroll
    for (int i = 0; i < T::R; i++) {
      const float dy = m.dy[slot][T::row() + i];
#pragma unroll
      for (int j = 0; j < T::K; j++) {
        d[i][j] += dy * r[j];
        sum[i] += d[i][j] * b[j];
      }
    }
    T::sum_rows(m.dsa, sum);
    __syncwarp();

    float dr[T::K] = {}, dw[T::K] = {}, dk[T::K] = {}, da[T::K] = {}, db[T::K] = {};
    float dy_sa = 0, dy_v = 0;
#pragma unroll
    for (int i = 0; i < T::R; i++) {
      const int row = T::row() + i;
      const float dy = m.dy[slot][row], v = m.v[slot][row];
      const float sa = m.sa[t][row], dsa = m.dsa[row];
      dy_sa += dy * sa;
      dy_v += dy * v;
      sum[i] = 0;
#pragma unroll
      for (int j = 0; j < T::K; j++) {
        sum[i] += d[i][j] * k[j];
        dr[j] += s_before[i][j] * dy;
        dw[j] += d[i][j] * s_before[i][j];
        dk[j] += d[i][j] * v;
        da[j] += s_before[i][j] * dsa;
        db[j] += d[i][j] * sa;
        d[i][j] = d[i][j] * decay[j] + dsa * a[j];
      }
    }
    T::sum_rows(m.dv[slot], sum);
    // dr_t = S_t^T dy_t, and S_t = S_{t-1} diag(d_t) + sa b^T + v k^T.
#pragma unroll
    for (int j = 0; j < T::K; j++) dr[j] = dr[j] * decay[j] + dy_sa * b[j] + dy_v * k[j];

    T::store(m.part[warp][DR], dr);
    T::store(m.part[warp][DW], dw);
    T::store(m.part[warp][DK], dk);
    T::store(m.part[warp][DA], da);
    T::store(m.part[warp][DB], db);
    sum_warps(m.part, [&](int which, int key, float sum) {
      float(*const to)[KEYS] = which == DR   ? m.r
                               : which == DW ? m.decay
                               : which == DK ? m.k
                               : which == DA ? m.a
                                             : m.b;
      to[slot][key] = sum;  // the operand's place: every thread has read it
    });
  }

  void write(Index start, int len) {
    const bool add = first > 0;
    each_octet<BACKWARD_THREADS, KEYS>(at, start, len, 0, [&](int slot, int column, Index index) {
      scale_by_decay_slope(&m.decay[slot][column], q.fwd.w, index);
      write_gradient(q.dr, index, &m.r[slot][column], add);
      write_gradient(q.dw, index, &m.decay[slot][column], add);
      write_gradient(q.dk, index, &m.k[slot][column], add);
      write_gradient(q.da, index, &m.a[slot][column], add);
      write_gradient(q.db, index, &m.b[slot][column], add);
    });
    each_octet<BACKWARD_THREADS, BACKWARD_ROWS>(
        at, start, len, first, [&](int slot, int column, Index index) {
          write_octet<Operand>(q.dv, index, &m.dv[slot][column]);
        });
  }
};

}  // namespace

extern "C" __global__ void __launch_bounds__(BACKWARD_THREADS, 1)
    wkv_backward(const WkvCudaBackward q) {
  __shared__ BackwardShared m;
  const Head at(q.fwd);
  for (int first = 0; first < at.n; first += BACKWARD_ROWS) {
    Wkv7Back(q, at, first, m).run();
  }
}
