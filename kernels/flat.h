// The trainable parameters in one piece: what the optimizer's shim and its kernels for CPUs and GPUs agree on. Includes
// nothing, because NVRTC compiles it too.
//
// The piece has `n` floats, an even number; gradients and running means lie alike in pieces of their own.
#ifndef STATETUNE_FLAT_H
#define STATETUNE_FLAT_H

// Adam with decoupled weight decay, for each number:
//   m += (1 - beta1) (g - m)     v += (1 - beta2) (g^2 - v)
//   p = decay p - rate m / (sqrt(v / bias2) + eps)
struct FlatAdam {
  long long n;
  float *values, *m, *v;
  const float *gradients;
  float beta1, rest1, beta2, rest2;  // rest = 1 - beta
  float bias2, eps, rate, decay;     // rate = lr / bias1
};

// Sums over the numbers of a piece, by parts of FLAT_PIECE numbers.
struct FlatSums {
  long long n;
  const float *numbers;
  double *squares;     // (parts): sums of squares; null: not asked for
  long long *digests;  // (2, parts): digests, and how many numbers are NaN or infinite; null: not asked for
};

// Tensors that a launch adds at most.
constexpr int FLAT_TENSORS = 64;

// Adds tensors, of the operands' dtype, to stretches of a piece. A block adds FLAT_PIECE numbers of one tensor at most.
struct FlatAdd {
  long long n_tensor;  // FLAT_TENSORS at most
  float *sums;
  const void *from[FLAT_TENSORS];
  long long to[FLAT_TENSORS];           // index in `sums` of a tensor's first number
  long long len[FLAT_TENSORS];          // its numbers
  long long first_block[FLAT_TENSORS];  // of a tensor
};

// The share of two neighbouring numbers in the digest: `word` has the bits of the first in its low half. The digest of a piece is
// the sum of the shares modulo 2^64, so no order of them changes it. Built as XXH3 mixes: the product of both
// halves, and the word itself, for when a half is zero; the index tells places apart.
inline unsigned long long flat_digest(unsigned long long word, unsigned long long index) {
  const unsigned long long x = word ^ ((index + 1) * 0x9E3779B97F4A7C15ull);
  return (x & 0xffffffffull) * (x >> 32) + (x << 32 | x >> 32);
}

#endif
