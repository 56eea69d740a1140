// The GPU of the autograd shim in tests: runs the kernel of a launch request in the emulation.
// Compiled after cuda_emulation.h, the text of a build and guarded.h, for one operand
// dtype and head size, into a library that a test loads.

namespace {

struct Sizes {
  size_t tokens, states, saved, restarts, channels;  // elements

  Sizes(const WkvCudaForward &p, size_t n_item) {
    const size_t n = p.head_size, n_batch = n_item / p.n_head;
    tokens = n_item * p.n_token * n;
    states = n_item * n * n;
    saved = states * ((p.n_token + CHUNK_LEN - 1) / CHUNK_LEN);
    restarts = n_batch * p.n_token;
    channels = p.n_head * n;
  }
};

void guard_inputs(Arrays &arrays, WkvCudaForward &p, const Sizes &size, bool static_decay) {
  const size_t operand = sizeof(Operand);
  arrays.input("r", p.r, size.tokens * operand);
  arrays.input("w", p.w, (static_decay ? size.channels : size.tokens) * operand);
  arrays.input("k", p.k, size.tokens * operand);
  arrays.input("v", p.v, size.tokens * operand);
  arrays.input("a", p.a, size.tokens * operand);
  arrays.input("b", p.b, size.tokens * operand);
  arrays.input("u", p.u, size.channels * operand);
  arrays.input("s0", p.s0, size.states * sizeof(float));
  arrays.input("restarts", p.restarts, size.restarts);
}

void run(const WkvCudaLaunch &launch) {
  Arrays arrays;
  const bool static_decay = launch.version == 5;
  const size_t n_item = launch.grid[0], operand = sizeof(Operand);
  if (launch.keys != KEYS) throw std::runtime_error("the library is for another head size");
  if (!launch.backward) {
    WkvCudaForward p = *static_cast<const WkvCudaForward *>(launch.args);
    const Sizes size(p, n_item);
    guard_inputs(arrays, p, size, static_decay);
    arrays.output("y", p.y, size.tokens * operand);
    arrays.output("s_last", p.s_last, size.states * sizeof(float));
    arrays.output("saved", p.saved, size.saved * sizeof(float));
    run_blocks(launch.grid, launch.threads, p, wkv_forward);
  } else {
    WkvCudaBackward q = *static_cast<const WkvCudaBackward *>(launch.args);
    const Sizes size(q.fwd, n_item);
    const size_t gradient = sizeof(Gradient), n = q.fwd.head_size;
    guard_inputs(arrays, q.fwd, size, static_decay);
    arrays.input("saved", q.fwd.saved, size.saved * sizeof(float));
    arrays.input("dy", q.dy, size.tokens * operand);
    arrays.input("ds_last", q.ds_last, size.states * sizeof(float));
    arrays.output("dr", q.dr, size.tokens * gradient);
    arrays.output("dw", q.dw, static_decay ? n_item * n * sizeof(float) : size.tokens * gradient);
    arrays.output("dk", q.dk, size.tokens * gradient);
    arrays.output("da", q.da, size.tokens * gradient);
    arrays.output("db", q.db, size.tokens * gradient);
    arrays.output("dv", q.dv, size.tokens * operand);
    arrays.output("du", q.du, n_item * n * sizeof(float));
    arrays.output("ds0", q.ds0, size.states * sizeof(float));
    run_blocks(launch.grid, launch.threads, q, wkv_backward);
  }
  arrays.finish();
}

}  // namespace

extern "C" int emulated_launch(const WkvCudaLaunch *launch, char *message, size_t message_len) {
  return caught(message, message_len, [&] { run(*launch); });
}
