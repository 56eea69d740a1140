// The digest of trainable parameters on a CPU. flat.h has its definition.
#include "flat_cpu.h"

#include <cstring>

#include "flat.h"

namespace WKV_ISA {

FlatDigest flat_digest_of(const float *numbers, int64_t first, int64_t end) {
  uint64_t digest = 0, not_finite = 0;
  for (int64_t i = first; i < end; i++) {
    uint64_t word;
    std::memcpy(&word, numbers + 2 * i, sizeof word);
    digest += flat_digest(word, uint64_t(i));
    // All bits of an exponent are set.
    const uint64_t exponents = word & 0x7f8000007f800000ull;
    not_finite += uint64_t((exponents & 0xffffffffull) == 0x7f800000ull) +
                  uint64_t(exponents >> 32 == 0x7f800000ull);
  }
  return {digest, not_finite};
}

}  // namespace WKV_ISA
