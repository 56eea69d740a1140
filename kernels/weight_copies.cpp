// Copies of weights from the memory of the host to a GPU, ahead of the blocks that need them: on a stream of their own, into one of
// two places. Nothing here needs CUDA headers or libraries: streams and events are reached through libtorch's device-independent
// guards. No exception leaves it: a function returns 0, or another number after writing its reason into `message`.
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "autograd_shim.h"

namespace {

constexpr int PLACES = 2;

struct WeightCopies {
  c10::Stream stream;
  c10::Event before;          // what was started before a copy: the last use of its place
  c10::Event ready[PLACES];  // the copy into a place
};

c10::Stream current(const WeightCopies &copies) {
  return c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(copies.stream.device());
}

}  // namespace

// Opens the copies to a GPU.
extern "C" int statetune_weight_copies_open(int device, WeightCopies **opened, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    const c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
    const auto stream = cuda.getStreamFromGlobalPool({c10::kCUDA, c10::DeviceIndex(device)}, false);
    *opened = new WeightCopies{stream, c10::Event(c10::kCUDA), {c10::Event(c10::kCUDA), c10::Event(c10::kCUDA)}};
  });
}

extern "C" void statetune_weight_copies_close(WeightCopies *copies) { delete copies; }

// Lets the memory of a tensor of the GPU be reused only after the copies into it.
extern "C" int statetune_weight_copies_into(const WeightCopies *copies, const at::Tensor *x, char *message,
                                            size_t message_len) {
  return caught(message, message_len, [&] {
    c10::impl::VirtualGuardImpl(c10::kCUDA).recordDataPtrOnStream(x->storage().data_ptr(), copies->stream);
  });
}

// Begins to copy `n` tensors into `place`, after all that was started on the GPU before.
extern "C" int statetune_weight_copies_begin(WeightCopies *copies, int place, at::Tensor *const *to,
                                             const at::Tensor *const *from, size_t n, char *message,
                                             size_t message_len) {
  return caught(message, message_len, [&] {
    const at::NoGradGuard no_grad;
    copies->before.record(current(*copies));
    copies->before.block(copies->stream);
    const c10::StreamGuard guard(copies->stream);
    for (size_t i = 0; i < n; i++) to[i]->copy_(*from[i], /*non_blocking=*/true);
    copies->ready[place].record(copies->stream);
  });
}

// Lets what is started on the GPU from now on wait for the copy into `place`.
extern "C" int statetune_weight_copies_await(WeightCopies *copies, int place, char *message, size_t message_len) {
  return caught(message, message_len, [&] { copies->ready[place].block(current(*copies)); });
}
