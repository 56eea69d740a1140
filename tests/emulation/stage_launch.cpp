// The GPU of the shims of the fused stages and of the optimizer in tests: runs the kernel of a launch request in the
// emulation. Compiled after cuda_emulation.h, the text of a build and guarded.h, for one dtype, into a library that a test
// loads.

namespace {

constexpr size_t OPERAND = sizeof(Operand), FLOAT = sizeof(float);

void guard(Arrays &arrays, NormMixArrays &p, bool backward) {
  const size_t c = p.n_channel, rows = p.n_row * c * OPERAND, tokens = rows * p.n_token;
  arrays.input("x", p.x, tokens);
  arrays.input("before", p.before, rows);
  arrays.input("restarts", p.restarts, p.n_row * p.n_token);
  arrays.input("params", p.params, (2 + p.n_mix) * c * FLOAT);
  arrays.input("shares", p.shares, p.n_mix * tokens);
  for (int64_t i = 0; i < p.n_mix; i++) {
    if (backward)
      arrays.input("d_out", p.d_out[i], tokens);
    else
      arrays.output("out", p.out[i], tokens);
  }
  if (!backward) return arrays.output("last", p.last, rows);
  arrays.input("d_last", p.d_last, rows);
  arrays.input("d_x", p.d_x, tokens);
  arrays.output("dx", p.dx, tokens);
  arrays.output("d_shares", p.d_shares, p.n_mix * tokens);
  arrays.output("d_before", p.d_before, rows);
}

void guard(Arrays &arrays, Wkv7InputsArrays &p, bool backward) {
  const size_t c = p.n_head * p.head_size, tokens = p.n_token * c * OPERAND;
  for (const void **array : {&p.k, &p.v, &p.w_low, &p.a_low, &p.v_low, &p.v_first})
    arrays.input("an input", *array, tokens);
  arrays.input("params", p.params, WKV7_PARAMS * c * FLOAT);
  if (!backward) {
    for (void **array : {&p.w, &p.k2, &p.a, &p.b}) arrays.output("an operand", *array, tokens);
    if (p.v_low) arrays.output("v2", p.v2, tokens);
    return;
  }
  for (void **array : {&p.dr, &p.dw, &p.dk, &p.dv, &p.da, &p.db})
    arrays.in_place("a gradient", *array, tokens);
  arrays.output("dv_first", p.dv_first, tokens);
  for (const void **array : {&p.r, &p.g, &p.d_out}) arrays.input("an input", *array, tokens);
  for (const void **array : {&p.bonus, &p.d_bonus})
    arrays.input("a bonus", *array, p.n_token * p.n_head * FLOAT);
}

void guard(Arrays &arrays, HeadGateArrays &p, bool backward) {
  const size_t c = p.n_head * p.head_size, tokens = p.n_token * c * OPERAND;
  for (const void **array : {&p.y, &p.g, &p.r, &p.k, &p.v}) arrays.input("an input", *array, tokens);
  for (const void **array : {&p.r_k, &p.weight, &p.bias}) arrays.input("a parameter", *array, c * FLOAT);
  if (!backward) return arrays.output("out", p.out, tokens);
  arrays.input("d_out", p.d_out, tokens);
  arrays.output("dy", p.dy, tokens);
  arrays.output("dg", p.dg, tokens);
  for (void **array : {&p.bonus, &p.d_bonus})
    arrays.output("a bonus", *array, p.n_token * p.n_head * FLOAT);
}

void guard(Arrays &arrays, NumbersArrays &p, bool backward) {
  arrays.input("x", p.x, p.n * OPERAND);
  arrays.input("y", p.y, p.n * OPERAND);
  if (!backward) return arrays.output("out", p.out, p.n * OPERAND);
  arrays.input("d_out", p.d_out, p.n * OPERAND);
  arrays.output("dx", p.dx, p.n * OPERAND);
  arrays.output("dy", p.dy, p.n * OPERAND);
}

void guard(Arrays &arrays, FlatAdam &p, bool) {
  arrays.input("gradients", p.gradients, p.n * FLOAT);
  for (float **array : {&p.values, &p.m, &p.v}) arrays.in_place("an array", *array, p.n * FLOAT);
}

void guard(Arrays &arrays, FlatAdd &p, bool) {
  int64_t n = 0;
  for (int64_t i = 0; i < p.n_tensor; i++) {
    arrays.input("a tensor", p.from[i], p.len[i] * OPERAND);
    n = std::max(n, int64_t(p.to[i] + p.len[i]));
  }
  arrays.in_place("sums", p.sums, n * FLOAT);
}

// The blocks of a launch whose arrays are found by their type.
template <class Args>
void run_kernel(const StageLaunch &launch, bool backward, void (*kernel)(Args)) {
  auto p = *static_cast<const std::remove_const_t<Args> *>(launch.args);
  Arrays arrays;
  guard(arrays, p, backward);
  run_blocks({launch.blocks, 1}, launch.threads, p, kernel);
  arrays.finish();
}

void run_head_loss(const StageLaunch &launch) {
  HeadLossArrays p = *static_cast<const HeadLossArrays *>(launch.args);
  const size_t n = launch.blocks;
  Arrays arrays;
  arrays.in_place("logits", p.logits, n * p.n_vocab * OPERAND);
  arrays.input("targets", p.targets, n * sizeof *p.targets);
  arrays.input("weights", p.weights, n * sizeof *p.weights);
  arrays.output("losses", p.losses, n * sizeof *p.losses);
  run_blocks({launch.blocks, 1}, launch.threads, p, head_loss);
  arrays.finish();
}

void run_flat_sums(const StageLaunch &launch) {
  FlatSums p = *static_cast<const FlatSums *>(launch.args);
  Arrays arrays;
  arrays.input("numbers", p.numbers, p.n * FLOAT);
  arrays.output("squares", p.squares, launch.blocks * sizeof *p.squares);
  arrays.output("digests", p.digests, 2 * launch.blocks * sizeof *p.digests);
  run_blocks({launch.blocks, 1}, launch.threads, p, flat_sums);
  arrays.finish();
}

void run(const StageLaunch &launch) {
  const std::string kernel = launch.kernel;
#define KERNEL(NAME, BACKWARD) \
  if (kernel == #NAME) return run_kernel(launch, BACKWARD, NAME)
  KERNEL(norm_mix_forward, false);
  KERNEL(norm_mix_backward, true);
  KERNEL(wkv7_inputs_forward, false);
  KERNEL(wkv7_inputs_backward, true);
  KERNEL(head_gate_forward, false);
  KERNEL(head_gate_backward, true);
  KERNEL(relu_square_forward, false);
  KERNEL(relu_square_backward, true);
  KERNEL(sigmoid_mul_forward, false);
  KERNEL(sigmoid_mul_backward, true);
  KERNEL(flat_adam, true);
  KERNEL(flat_add, true);
#undef KERNEL
  if (kernel == "head_loss") return run_head_loss(launch);
  if (kernel == "flat_sums") return run_flat_sums(launch);
  throw std::runtime_error("there is no kernel " + kernel);
}

}  // namespace

extern "C" int emulated_launch(const StageLaunch *launch, char *message, size_t message_len) {
  return caught(message, message_len, [&] { run(*launch); });
}
