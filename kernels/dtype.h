// The dtypes of the CPU kernels. Includes nothing, because NVRTC compiles it too.
#ifndef STATETUNE_DTYPE_H
#define STATETUNE_DTYPE_H

enum class WkvDtype { f32, f64, bf16 };

#endif
