// Copies of all trainable parameters in the dtype of a model, in one launch on a GPU, and back: the gradients of the copies are
// added to those of the parameters in one launch for FLAT_TENSORS tensors. No exception leaves it: failures come back as
// text.
#include <torch/torch.h>

#include "autograd_shim.h"
#include "flat.h"
#include "stage_launch.h"

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Adds to `sums` (n) float32 some tensors of one dtype, from the index that stands beside each.
void add_all(StageStart start, const Tensor &sums, const variable_list &tensors, const std::vector<int64_t> &places) {
  for (size_t first = 0; first < tensors.size(); first += FLAT_TENSORS) {
    FlatAdd p = {};
    p.sums = sums.data_ptr<float>();
    int64_t n_block = 0;
    for (size_t i = first; i < tensors.size() && p.n_tensor < FLAT_TENSORS; i++, p.n_tensor++) {
      p.from[p.n_tensor] = tensors[i].data_ptr();
      p.to[p.n_tensor] = places[i];
      p.len[p.n_tensor] = tensors[i].numel();
      p.first_block[p.n_tensor] = n_block;
      n_block += (tensors[i].numel() + FLAT_PIECE - 1) / FLAT_PIECE;
    }
    start_stage(start, "flat_add", tensors[first], n_block, FLAT_THREADS, p);
  }
}

// The gradients do not go through the leaves, which would add each by itself.
class Copies : public torch::autograd::Function<Copies> {
 public:
  static variable_list forward(AutogradContext *ctx, at::TensorList leaves, const Tensor &values,
                               const Tensor &gradients, int64_t dtype, int64_t start) {
    const Tensor copies = values.to(static_cast<at::ScalarType>(dtype));
    std::vector<int64_t> places;
    variable_list out;
    for (const Tensor &leaf : leaves) {
      TORCH_CHECK(leaf.is_alias_of(values) && leaf.is_contiguous(), "a parameter outside of the piece");
      places.push_back(leaf.storage_offset() - values.storage_offset());
      Tensor copy = at::empty({0}, copies.options());
      out.push_back(copy.set_(copies.storage(), places.back(), leaf.sizes(), leaf.strides()));
    }
    ctx->set_materialize_grads(false);
    ctx->saved_data["gradients"] = gradients;
    ctx->saved_data["places"] = places;
    ctx->saved_data["start"] = start;
    return out;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const std::vector<int64_t> places = ctx->saved_data["places"].toIntVector();
    std::vector<int64_t> to;
    variable_list given;
    for (size_t i = 0; i < grads.size(); i++) {
      if (!grads[i].defined() || grads[i].numel() == 0) continue;
      given.push_back(grads[i].contiguous());
      to.push_back(places[i]);
    }
    const auto start = start_of<StageStart>(ctx->saved_data["start"].toInt());
    add_all(start, ctx->saved_data["gradients"].toTensor(), given, to);
    return variable_list(grads.size() + 4);
  }
};

}  // namespace

// `copies` receives a copy in `dtype`, a number of libtorch, of each of the `n` leaves, which lie in the piece `values`.
// Gradients of the copies are added to the piece `gradients` by kernels that `start` starts. Returns 0, or 1 after writing
// the reason into `message`.
extern "C" int statetune_copies(StageStart start, const Tensor *const *leaves, size_t n, const Tensor *values,
                                const Tensor *gradients, int dtype, Tensor **copies, char *message,
                                size_t message_len) {
  return caught(message, message_len, [&] {
    variable_list list;
    for (size_t i = 0; i < n; i++) list.push_back(*leaves[i]);
    const variable_list all = Copies::apply(at::TensorList(list), *values, *gradients, int64_t(dtype),
                                            number_of(start));
    for (size_t i = 0; i < n; i++) copies[i] = new Tensor(all[i]);
  });
}
