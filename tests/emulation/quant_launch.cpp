// The GPU of the shim of packed weights in tests: runs the kernel of a launch request in the emulation.
// Compiled after cuda_emulation.h, the text of a build and guarded.h, for one output dtype, into a
// library that a test loads.

namespace {

void run(const QuantCudaLaunch &launch) {
  QuantArrays p = *static_cast<const QuantArrays *>(launch.args);
  Arrays arrays;
  arrays.input("codes", p.codes, p.n * p.code_bits / 8);
  arrays.input("levels", p.levels, (1 << p.code_bits) * sizeof(float));
  arrays.input("scales", p.scales, (p.n + p.group_len - 1) / p.group_len * sizeof(float));
  arrays.output("out", p.out, p.n * sizeof(Output));
  const unsigned grid[2] = {launch.blocks, 1};
  run_blocks(grid, launch.threads, p, dequantise);
  arrays.finish();
}

}  // namespace

extern "C" int emulated_launch(const QuantCudaLaunch *launch, char *message, size_t message_len) {
  return caught(message, message_len, [&] { run(*launch); });
}
