// Switches of libtorch that its Rust bindings do not offer.
#include <ATen/Context.h>

// Lets matrix products of float32 tensors round their operands to TF32 on GPUs that can (allow = 1), or
// keeps them exact (allow = 0). Concerns the whole process; does nothing without a GPU.
extern "C" void statetune_allow_tf32(int allow) {
  at::globalContext().setAllowTF32CuBLAS(allow != 0);
}
