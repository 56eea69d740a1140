// Which of the compilations of the CPU kernels runs.
#pragma once

// From the least to the most demanding. The numbers are those of the Rust side.
enum InstructionSet { BASELINE, AVX2, AVX512 };

// What the calls of this thread use: the best one of the machine, or what a test asked for. Kernels
// are chosen on the thread that calls an operation, or that goes back through the graph, and not on
// those that share the work.
InstructionSet instruction_set();

// The function of this name among the compilations of the kernels.
#define FOR_INSTRUCTION_SET(KERNELS)                                           \
  (instruction_set() == AVX512 ? wkv_avx512::KERNELS                           \
                               : instruction_set() == AVX2 ? wkv_avx2::KERNELS \
                                                           : wkv_baseline::KERNELS)
