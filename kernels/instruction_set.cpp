// The choice of an instruction set for the CPU kernels.
#include "instruction_set.h"

namespace {

bool is_supported(int set) {
  __builtin_cpu_init();
  switch (set) {
    case BASELINE:
      return true;
    case AVX2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case AVX512:
      return is_supported(AVX2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl");
    default:
      return false;
  }
}

InstructionSet best_instruction_set() {
  return is_supported(AVX512) ? AVX512 : is_supported(AVX2) ? AVX2 : BASELINE;
}

thread_local InstructionSet chosen = best_instruction_set();

}  // namespace

InstructionSet instruction_set() { return chosen; }

// Whether this machine runs the kernels of an instruction set: 0 baseline, 1 AVX2, 2 AVX-512.
extern "C" int statetune_cpu_supports(int set) { return is_supported(set); }

// Makes this thread use a supported instruction set, and returns the one it used before.
extern "C" int statetune_cpu_use(int set) {
  const int before = chosen;
  chosen = InstructionSet(set);
  return before;
}
