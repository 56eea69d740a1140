// Backpropagation from values whose gradients are known, which libtorch's Rust bindings do not offer.
// No exception leaves it: failures come back as text.
#include <torch/torch.h>

#include <cstdio>
#include <exception>

using torch::Tensor;

// Adds to the gradient of every leaf below the `n` `values`, whose gradients are `gradients`, of the
// same shapes and dtypes. Returns 0, or 1 after writing the reason into `message`.
extern "C" int statetune_backward(const Tensor *const *values, const Tensor *const *gradients,
                                  size_t n, char *message, size_t message_len) {
  try {
    torch::autograd::variable_list roots, known;
    for (size_t i = 0; i < n; i++) {
      roots.push_back(*values[i]);
      known.push_back(*gradients[i]);
    }
    torch::autograd::backward(roots, known);
    return 0;
  } catch (const std::exception &e) {
    std::snprintf(message, message_len, "%s", e.what());
    return 1;
  }
}
