// What the CUDA kernels of all WKV recurrences share: how a tile of the state lies in the registers
// of a thread, and how the backward pass walks through time. Put in front of wkv6.cu and wkv7.cu,
// behind cuda_types.cuh and wkv_cuda.h; like them it includes nothing.
//
// Set by whoever compiles: WKV_OPERAND, the operand type (float, Bf16 or Half), and WKV_KEYS (64,
// 128 or 256), the head size N rounded up. Keys from N on are zeros in shared memory and in
// registers, and rows from N on belong to threads that load zeros and store nothing.

constexpr int KEYS = WKV_KEYS;
constexpr int CHUNK_LEN = WKV_CUDA_CHUNK_LEN;
constexpr unsigned FULL_WARP = 0xffffffffu;

typedef WKV_OPERAND Operand;

// ---- decay ----------------------------------------------------------------------------------

inline float decay_of(float w) { return expf(-expf(w)); }
// d decay / d w = -exp(w) exp(-exp(w)), as one exponential, so that no infinity meets a zero.
inline float decay_slope(float w) { return -expf(w - expf(w)); }

// ---- where a head lies ----------------------------------------------------------------------

// One head of one batch row; a block works on one. `token(t)` is the index of channel 0 of token t
// in a (B,T,H,N) array, `state()` that of the head in a (B,H,N,N) array, `saved(chunk)` that of the
// state before a chunk.
struct Head {
  const WkvCudaForward &p;
  const int batch, head, n;

  explicit Head(const WkvCudaForward &p_)
      : p(p_), batch(int(blockIdx.x / p_.n_head)), head(int(blockIdx.x % p_.n_head)),
        n(int(p_.head_size)) {}
  Index token(Index t) const { return ((batch * p.n_token + t) * p.n_head + head) * n; }
  Index item() const { return batch * p.n_head + head; }
  Index state() const { return item() * (n * n); }
  Index n_chunk() const { return (p.n_token + CHUNK_LEN - 1) / CHUNK_LEN; }
  Index saved(Index chunk) const { return (item() * n_chunk() + chunk) * (n * n); }
  bool begins(Index t) const { return p.restarts && p.restarts[batch * p.n_token + t]; }
};

// Calls `body(token, column, index)` once for every octet of a stretch of `len` tokens, spread over
// the threads of the block: channels [first, first + WIDTH) of the head, `index` that of the
// octet's first element in a (B,T,H,N) array, `column` counted from `first`. Past the head's end
// `index` is -1. Which thread has which place in shared memory does not depend on the stretch, so a
// thread may write results out and put the next operands into the same places without a barrier.
template <int THREADS, int WIDTH, class Body>
inline void each_octet(const Head &at, Index start, int len, int first, Body body) {
  constexpr int PER_TOKEN = WIDTH / OCTET;
  for (int i = threadIdx.x; i < len * PER_TOKEN; i += THREADS) {
    const int token = i / PER_TOKEN, column = i % PER_TOKEN * OCTET;
    const int channel = first + column;
    body(token, column, channel < at.n ? at.token(start + token) + channel : -1);
  }
}

// Widens an octet of an operand into shared memory; zeros past the head's end.
inline void stage_octet(float *to, const void *from, Index index) {
  Octet<Operand> x = {};
  if (index >= 0) x = load_octet(static_cast<const Operand *>(from) + index);
#pragma unroll
  for (int i = 0; i < OCTET; i++) to[i] = widen(x.at[i]);
}

inline void stage_decay(float *to, const void *w, Index index) {
  stage_octet(to, w, index);
#pragma unroll
  for (int i = 0; i < OCTET; i++) to[i] = decay_of(to[i]);
}

// Multiplies eight sums of dL/d decay by d decay / d w.
inline void scale_by_decay_slope(float *x, const void *w, Index index) {
  if (index < 0) return;
  const Octet<Operand> w_ = load_octet(static_cast<const Operand *>(w) + index);
#pragma unroll
  for (int i = 0; i < OCTET; i++) x[i] *= decay_slope(widen(w_.at[i]));
}

// Rounds eight numbers of shared memory to an array of dtype T; nothing past the head's end.
template <class T>
inline void write_octet(void *to, Index index, const float *from) {
  if (index < 0) return;
  Octet<T> x;
#pragma unroll
  for (int i = 0; i < OCTET; i++) narrow(from[i], x.at[i]);
  store_octet(static_cast<T *>(to) + index, x);
}

// ---- tiles ----------------------------------------------------------------------------------

// How the threads of a block hold rows of a state: LANES neighbouring threads share R neighbouring
// rows, and each of them holds K keys of every one.
template <int LANES_, int K_, int R_>
struct Tile {
  static constexpr int LANES = LANES_, K = K_, R = R_;
  static constexpr int WIDTH = K < 4 ? K : 4;  // keys that lie side by side
  static_assert(LANES * K == KEYS, "the lanes of a row cover its keys");

  // Threads of a row side by side read side by side: 8 or 16 bytes each.
  struct alignas(4 * WIDTH) Piece {
    float at[WIDTH];
  };

  static int lane() { return threadIdx.x % LANES; }
  // The first of this thread's rows, counted from the first row of the block.
  static int row() { return threadIdx.x / LANES * R; }
  static int key(int piece) { return (piece * LANES + lane()) * WIDTH; }

  static void clear(float (&s)[R][K]) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int j = 0; j < K; j++) s[i][j] = 0;
  }

  // This thread's keys of a row of KEYS numbers in shared memory.
  static void load(float (&x)[K], const float *row_of_keys) {
#pragma unroll
    for (int p = 0; p < K / WIDTH; p++) {
      const Piece piece = *reinterpret_cast<const Piece *>(row_of_keys + key(p));
#pragma unroll
      for (int j = 0; j < WIDTH; j++) x[p * WIDTH + j] = piece.at[j];
    }
  }
  static void store(float *row_of_keys, const float (&x)[K]) {
#pragma unroll
    for (int p = 0; p < K / WIDTH; p++) {
      Piece piece;
#pragma unroll
      for (int j = 0; j < WIDTH; j++) piece.at[j] = x[p * WIDTH + j];
      *reinterpret_cast<Piece *>(row_of_keys + key(p)) = piece;
    }
  }

  // This thread's entries of an (N,N) state in global memory; `first` is the block's first row.
  static void load_state(float (&s)[R][K], const float *state, int n, int first) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int p = 0; p < K / WIDTH; p++) {
        Piece piece = {};
        const int value = first + row() + i;
        if (value < n && key(p) < n)
          piece = *reinterpret_cast<const Piece *>(state + (value * n + key(p)));
#pragma unroll
        for (int j = 0; j < WIDTH; j++) s[i][p * WIDTH + j] = piece.at[j];
      }
  }
  static void store_state(float *state, const float (&s)[R][K], int n, int first) {
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
      for (int p = 0; p < K / WIDTH; p++) {
        const int value = first + row() + i;
        if (value >= n || key(p) >= n) continue;
        Piece piece;
#pragma unroll
        for (int j = 0; j < WIDTH; j++) piece.at[j] = s[i][p * WIDTH + j];
        *reinterpret_cast<Piece *>(state + (value * n + key(p))) = piece;
      }
  }

  // This thread's share of s x for its rows; x is a row of KEYS numbers in shared memory.
  static void multiply(float (&out)[R], const float (&s)[R][K], const float *x) {
    float own[K];
    load(own, x);
#pragma unroll
    for (int i = 0; i < R; i++) {
      float part[WIDTH] = {};  // independent sums hide the latency of an addition
#pragma unroll
      for (int j = 0; j < K; j++) part[j % WIDTH] += s[i][j] * own[j];
      out[i] = part[0];
#pragma unroll
      for (int j = 1; j < WIDTH; j++) out[i] += part[j];
    }
  }

  // The sum of x over the lanes of a row, in all of them.
  static float sum_lanes(float x) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(FULL_WARP, x, step);
    return x;
  }

  // Sums x over the lanes of a row, for each of this thread's rows, into `rows`, which counts from
  // the first row of the block. About R exchanges instead of R log2(LANES): at each step a lane
  // gives away the half that its partner keeps. Visible to the warp after __syncwarp().
  static void sum_rows(float *rows, const float (&x)[R]) {
    const float sum = sum_halves<R, LANES / 2>(x);
    constexpr int SAME = LANES / R;  // lanes that end up with the same sum
    if (lane() % SAME == 0) rows[row() + lane() / SAME] = sum;
  }

  // Numbers of this thread's rows.
  static void load_rows(float (&x)[R], const float *rows) {
#pragma unroll
    for (int i = 0; i < R; i++) x[i] = rows[row() + i];
  }

 private:
  template <int COUNT, int STEP>
  static float sum_halves(const float (&x)[COUNT]) {
    if constexpr (COUNT == 1) {
      float sum = x[0];
#pragma unroll
      for (int step = STEP; step > 0; step /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, step);
      return sum;
    } else {
      const bool upper = lane() & STEP;
      float half[COUNT / 2];
#pragma unroll
      for (int i = 0; i < COUNT / 2; i++) {
        const float give = upper ? x[i] : x[i + COUNT / 2];
        const float keep = upper ? x[i + COUNT / 2] : x[i];
        half[i] = keep + __shfl_xor_sync(FULL_WARP, give, STEP);
      }
      return sum_halves<COUNT / 2, STEP / 2>(half);
    }
  }
};

// Forward: 16 keys of two rows a thread, so that few lanes share a row.
typedef Tile<KEYS / 16, 16, 2> ForwardTile;
// Backward: a warp shares its rows, so that sums over keys stay in the warp and those over a warp's
// rows in the thread; 16 entries a thread.
typedef Tile<32, KEYS / 32, 512 / KEYS> BackwardTile;

constexpr int FORWARD_THREADS = WKV_CUDA_FORWARD_THREADS;
constexpr int FORWARD_ROWS = wkv_cuda_forward_rows(KEYS);
constexpr int BACKWARD_THREADS = wkv_cuda_backward_threads(KEYS);
constexpr int BACKWARD_WARPS = BACKWARD_THREADS / 32;
constexpr int BACKWARD_ROWS = BACKWARD_WARPS * BackwardTile::R;
static_assert(FORWARD_ROWS == FORWARD_THREADS / ForwardTile::LANES * ForwardTile::R, "rows");

// Tokens whose operands lie in shared memory at once.
constexpr int FORWARD_STAGE = KEYS == 256 ? 8 : 16;
// Tokens whose states the backward pass keeps in registers at once.
constexpr int GROUP_LEN = 4;
constexpr int BACKWARD_STAGE = KEYS == 64 ? CHUNK_LEN : GROUP_LEN;
static_assert(CHUNK_LEN % GROUP_LEN == 0, "groups fill a chunk");

// Dtype of the gradients that are sums over rows.
template <bool FLOAT>
struct GradientOf {
  typedef Operand Type;
};
template <>
struct GradientOf<true> {
  typedef float Type;
};
typedef GradientOf<wkv_cuda_float_gradients(KEYS)>::Type Gradient;

// Writes an octet of such a gradient, or adds it to what the groups of rows before have written.
inline void write_gradient(void *to, Index index, float *x, bool add) {
  if (index < 0) return;
  if (add) {
    const Octet<Gradient> sum = load_octet(static_cast<const Gradient *>(to) + index);
#pragma unroll
    for (int i = 0; i < OCTET; i++) x[i] += widen(sum.at[i]);
  }
  write_octet<Gradient>(to, index, x);
}

// ---- sums over rows -------------------------------------------------------------------------

// Calls `body(which, key, sum)` with the sum over the warps of every part[warp][which][key], spread
// over the threads of the block. The block is synchronised before and after, so `body` may write
// what the block has read before, and `part` may be written again.
template <int COUNT, class Body>
inline void sum_warps(const float (&part)[BACKWARD_WARPS][COUNT][KEYS], Body body) {
  __syncthreads();
  for (int i = threadIdx.x; i < COUNT * KEYS; i += BACKWARD_THREADS) {
    const int which = i / KEYS, key = i % KEYS;
    float sum = part[0][which][key];
#pragma unroll
    for (int warp = 1; warp < BACKWARD_WARPS; warp++) sum += part[warp][which][key];
    body(which, key, sum);
  }
  __syncthreads();
}

// ---- the walk back through time -------------------------------------------------------------

// What a thread of a backward kernel holds while its block works on one group of rows, and the
// order of its work. `Step` derives from this and has what differs between the recurrences, for
// tokens of the current chunk that `stage` has put into shared memory, token t of the chunk in slot
// t % BACKWARD_STAGE:
//
//   stage(start, len)       widens the operands of tokens into shared memory
//   replay(t, first_time)   s becomes S_t
//   step_back(s_before, t)  d becomes dL/dS_{t-1}, the gradients of the token go to shared memory
//   write(start, len)       gradients go to global memory
template <class Step>
struct Walk {
  typedef BackwardTile T;
  const WkvCudaBackward &q;
  const Head &at;
  const int first;                      // row of the group
  float s[T::R][T::K];                  // the state that is replayed
  float d[T::R][T::K];                  // dL/dS
  float before[GROUP_LEN][T::R][T::K];  // S_{t-1} of a group of tokens

  Walk(const WkvCudaBackward &q_, const Head &at_, int first_) : q(q_), at(at_), first(first_) {}

  void run() {
    T::clear(d);
    T::store_state(q.ds0 + at.state(), d, at.n, first);
    if (q.ds_last) T::load_state(d, q.ds_last + at.state(), at.n, first);
    for (Index chunk = at.n_chunk() - 1; chunk >= 0; chunk--) {
      const Index start = chunk * CHUNK_LEN;
      const int len = q.fwd.n_token - start < CHUNK_LEN ? int(q.fwd.n_token - start) : CHUNK_LEN;
      if (BACKWARD_STAGE == CHUNK_LEN) step().stage(start, len);
      for (int group = (len - 1) / GROUP_LEN; group >= 0; group--) go_back(chunk, len, group);
      if (BACKWARD_STAGE == CHUNK_LEN) step().write(start, len);
    }
    end_document();
  }

 private:
  Step &step() { return static_cast<Step &>(*this); }

  // Replays a chunk of `len` tokens up to the end of a group and goes back through that group.
  void go_back(Index chunk, int len, int group) {
    const Index start = chunk * CHUNK_LEN;
    const int group_start = group * GROUP_LEN;
    const int group_len = len - group_start < GROUP_LEN ? len - group_start : GROUP_LEN;
    const bool first_time = group_start + GROUP_LEN >= len;
    constexpr bool STAGE_GROUPS = BACKWARD_STAGE < CHUNK_LEN;
    T::load_state(s, q.fwd.saved + at.saved(chunk), at.n, first);
    for (int t = 0; t < group_start; t++) {
      if (STAGE_GROUPS && t % GROUP_LEN == 0) step().stage(start + t, GROUP_LEN);
      begin(start + t);
      step().replay(t, first_time);
    }
    if (STAGE_GROUPS) step().stage(start + group_start, group_len);
#pragma unroll
    for (int i = 0; i < GROUP_LEN; i++)
      if (i < group_len) {
        begin(start + group_start + i);
#pragma unroll
        for (int row = 0; row < T::R; row++)
#pragma unroll
          for (int j = 0; j < T::K; j++) before[i][row][j] = s[row][j];
        step().replay(group_start + i, first_time);
      }
#pragma unroll
    for (int i = GROUP_LEN - 1; i >= 0; i--)
      if (i < group_len) {
        step().step_back(before[i], group_start + i);
        if (at.begins(start + group_start + i)) end_document();
      }
    if (STAGE_GROUPS) step().write(start + group_start, group_len);
  }

  // The state before a token is s0 where a document begins.
  void begin(Index token) {
    if (at.begins(token)) T::load_state(s, q.fwd.s0 + at.state(), at.n, first);
  }

  // Adds dL/dS to ds0, whose entries no other thread touches, and starts again from zero.
  void end_document() {
    T::load_state(s, q.ds0 + at.state(), at.n, first);
#pragma unroll
    for (int i = 0; i < T::R; i++)
#pragma unroll
      for (int j = 0; j < T::K; j++) s[i][j] += d[i][j];
    T::store_state(q.ds0 + at.state(), s, at.n, first);
    T::clear(d);
  }
};
