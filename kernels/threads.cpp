// How many threads compute: libtorch, the kernels and the products alike, which all ask OpenMP.
//
// `at::set_num_threads` is avoided: it also fixes a number within MKL, after which products of bfloat16 take a quarter longer
// and MKL no longer computes with one thread where OpenMP has one.
#include "threads.h"

#include <ATen/Parallel.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace {

// 0: nothing was allowed, and the number stays as it is.
std::atomic<int> allowed{0};

}  // namespace

void follow_allowed_threads() {
  const int n = allowed.load(std::memory_order_relaxed);
  if (n > 0 && n != omp_get_max_threads()) omp_set_num_threads(n);
}

int cores_of_machine() {
  static const int cores = std::max(1, int(sysconf(_SC_NPROCESSORS_ONLN)));
  return cores;
}

extern "C" int statetune_cores() { return cores_of_machine(); }

// The number of threads with which the calling thread computes.
extern "C" int statetune_threads() {
  follow_allowed_threads();
  return at::get_num_threads();  // the first call takes the number from the environment
}

// From the next product on, whichever thread computes it, `n` threads compute.
extern "C" void statetune_allow_threads(int n) { allowed.store(n, std::memory_order_relaxed); }
