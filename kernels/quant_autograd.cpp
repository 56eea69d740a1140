// The autograd shim of quantised weights: a linear layer that keeps the packed matrix alone, in the
// forward pass and in the backward pass. A few rows are multiplied by the packed matrix itself (few_rows.h);
// for many, tiles of the matrix become dense one after the other and libtorch multiplies by them. No
// exception leaves it: failures come back as text.
#include <ATen/DeviceGuard.h>
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <limits>

#include "autograd_shim.h"
#include "few_rows_product.h"
#include "instruction_set.h"
#include "quant_cpu.h"
#include "stage_launch.h"

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Scales that share a scale of their own, where scales are quantised.
constexpr int64_t SCALE_GROUP = 256;
// Numbers that are worth a thread.
constexpr int64_t GRAIN = 1 << 15;
// Numbers of a tile, about: with its inputs and results it stays in the second or third cache.
constexpr int64_t TILE = 1 << 19;
// Rows and columns of a tile are multiples of this, if there are several: groups stay whole.
constexpr int64_t TILE_STEP = 64;

// Starts the kernel of a request on its stream. Returns 0, or 1 after writing the reason into
// `message`.
using Launch = int (*)(const QuantCudaLaunch *request, char *message, size_t message_len);

}  // namespace

// A packed matrix as Rust describes it. Tensors are contiguous and on one device.
struct QuantWeight {
  int64_t rows, columns, group_len;
  const Tensor *codes;         // uint8, (n) or, where there are 16 levels, (n / 2) rounded up
  const Tensor *levels;        // float32, (16) or (256)
  const Tensor *scales;        // float32: one a group, or one for SCALE_GROUP groups
  const Tensor *scale_codes;   // uint8, one a group; null: scales are not quantised
  const Tensor *scale_levels;  // float32, (256), or null
  double scale_offset;
  Launch launch;  // starts the CUDA kernel; null: the CPU kernels compute
};

namespace {

// How many of `lines` lines of `width` numbers a tile has, so that tiles are about alike.
int64_t tile_lines(int64_t lines, int64_t width) {
  const int64_t tiles = std::max<int64_t>((lines * width + TILE - 1) / TILE, 1);
  const int64_t even = (lines + tiles - 1) / tiles;
  return std::min(lines, (even + TILE_STEP - 1) / TILE_STEP * TILE_STEP);
}

// Calls `kernel(arguments, first, end)` for ranges of all groups, on all threads.
template <class Kernel, class Arguments>
void over_groups(Kernel kernel, const Arguments &p) {
  const int64_t n_group = (p.n + p.group_len - 1) / p.group_len;
  at::parallel_for(0, n_group, std::max<int64_t>(GRAIN / p.group_len, 1),
                   [&](int64_t first, int64_t end) { kernel(p, first, end); });
}

// Room for a matrix on the CPU that is used up before this thread asks for the next one. It is kept,
// as large as the largest matrix so far: if it were allocated for each product, small tensors would
// settle in the hole that it leaves, and the next one would need fresh memory.
Tensor scratch(at::IntArrayRef size, at::ScalarType type) {
  thread_local Tensor room;
  const int64_t bytes = c10::multiply_integers(size) * int64_t(at::elementSize(type));
  if (!room.defined() || room.numel() < bytes) {
    room = Tensor();
    room = at::empty({bytes}, at::kByte);
  }
  return room.narrow(0, 0, bytes).view(type).view(size);
}

// A packed matrix that holds its tensors.
struct Packed {
  Tensor codes, levels, scales, scale_codes, scale_levels;
  int64_t rows, columns, group_len;
  double scale_offset;
  Launch launch;

  explicit Packed(const QuantWeight &w)
      : codes(*w.codes), levels(*w.levels), scales(*w.scales),
        scale_codes(w.scale_codes ? *w.scale_codes : Tensor()),
        scale_levels(w.scale_levels ? *w.scale_levels : Tensor()), rows(w.rows),
        columns(w.columns), group_len(w.group_len), scale_offset(w.scale_offset),
        launch(w.launch) {}

  // What autograd keeps: these tensors, which the model holds anyway.
  explicit Packed(AutogradContext *ctx) {
    const variable_list kept = ctx->get_saved_variables();
    codes = kept[0], levels = kept[1], scales = kept[2];
    scale_codes = kept[3], scale_levels = kept[4];
    auto &data = ctx->saved_data;
    rows = data["rows"].toInt(), columns = data["columns"].toInt();
    group_len = data["group_len"].toInt();
    scale_offset = data["scale_offset"].toDouble();
    launch = start_of<Launch>(data["launch"].toInt());
  }
  void save(AutogradContext *ctx) const {
    ctx->save_for_backward({codes, levels, scales, scale_codes, scale_levels});
    auto &data = ctx->saved_data;
    data["rows"] = rows, data["columns"] = columns;
    data["group_len"] = group_len;
    data["scale_offset"] = scale_offset;
    data["launch"] = number_of(launch);
  }

  // The scale of every group.
  Tensor all_scales() const {
    if (!scale_codes.defined()) return scales;
    const Tensor level = scale_levels.index_select(0, scale_codes.to(at::kInt));
    const Tensor scale = scales.repeat_interleave(SCALE_GROUP).narrow(0, 0, level.size(0));
    return level * scale + scale_offset;
  }

  // The matrix (rows, columns) in a dtype, as a tensor of its own.
  Tensor dequantise(at::ScalarType type) const {
    return dequantise_into(at::empty({rows, columns}, codes.options().dtype(type)));
  }

  // x W^T.
  Tensor times(const Tensor &x) const {
    if (!is_in_rows(x.scalar_type())) return at::linear(x, dequantise_for_now(x.scalar_type()));
    if (has_few_rows(x, columns, FEW_ROWS)) {
      const auto scales = [this](int64_t first, int64_t end, std::vector<float> &room) {
        return scales_of(first, end, room);
      };
      return few_rows_product(x, parts(), rows, columns, scales);
    }
    const int64_t step = tile_lines(rows, columns);
    if (step == rows) return at::linear(x, tile(x.scalar_type(), {0, rows, 0, columns}));
    const Tensor in = x.reshape({-1, columns}), y = at::empty({in.size(0), rows}, x.options());
    for (int64_t first = 0; first < rows; first += step) {
      const int64_t end = std::min(first + step, rows);
      Tensor part = y.narrow(1, first, end - first);
      at::mm_out(part, in, tile(x.scalar_type(), {first, end, 0, columns}).t());
    }
    return y.view(with_last(x.sizes(), rows));
  }

  // dy W.
  Tensor transposed_times(const Tensor &dy) const {
    const at::ScalarType type = dy.scalar_type();
    if (!is_in_rows(type)) return at::matmul(dy, dequantise_for_now(type));
    const int64_t step = tile_lines(columns, rows);
    if (step == columns) return at::matmul(dy, tile(type, {0, rows, 0, columns}));
    const Tensor in = dy.reshape({-1, rows}), dx = at::empty({in.size(0), columns}, dy.options());
    for (int64_t first = 0; first < columns; first += step) {
      const int64_t count = std::min(step, columns - first);
      Tensor part = dx.narrow(1, first, count);
      at::mm_out(part, in, tile(type, {0, rows, first, count}));
    }
    return dx.view(with_last(dy.sizes(), columns));
  }

 private:
  static at::DimVector with_last(at::IntArrayRef size, int64_t last) {
    at::DimVector out(size);
    out.back() = last;
    return out;
  }

  int code_bits() const { return levels.numel() == 16 ? 4 : 8; }

  // Whether the kernels of rows and tiles take the matrix, in a dtype.
  bool is_in_rows(at::ScalarType type) const {
    return codes.is_cpu() && !launch && few_rows_take(code_bits(), columns, group_len) &&
           (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf);
  }

  FewRows parts() const {
    FewRows p = {};
    p.columns = columns;
    p.rows = rows;
    p.code_bits = code_bits();
    p.group_len = group_len;
    p.w = codes.data_ptr();
    p.levels = static_cast<const float *>(levels.data_ptr());
    return p;
  }

  // The scales of the rows from `first` to `end`.
  const float *scales_of(int64_t first, int64_t end, std::vector<float> &room) const {
    const int64_t per_row = columns / group_len;
    const float *plain = static_cast<const float *>(scales.data_ptr());
    if (!scale_codes.defined()) return plain + first * per_row;
    const uint8_t *code = static_cast<const uint8_t *>(scale_codes.data_ptr());
    const float *level = static_cast<const float *>(scale_levels.data_ptr());
    room.resize(size_t((end - first) * per_row));
    for (int64_t i = first * per_row; i < end * per_row; i++)
      room[size_t(i - first * per_row)] = level[code[i]] * plain[i / SCALE_GROUP] + float(scale_offset);
    return room.data();
  }

  // A part of the matrix as a tensor that is used up before this thread asks for the next one.
  Tensor tile(at::ScalarType type, const Tile &part) const {
    const int64_t count = part.end - part.first;
    const Tensor out = scratch({count, part.columns}, type);
    FewRows p = parts();
    p.dtype = QuantDtype(type);
    const auto unpack = FOR_INSTRUCTION_SET(few_rows_kernels)().unpack;
    at::parallel_for(0, count, std::max<int64_t>(GRAIN / part.columns, 1),
                     [&](int64_t first, int64_t end) {
                       std::vector<float> room;
                       FewRows own = p;
                       own.scales = scales_of(part.first + first, part.first + end, room);
                       own.y = static_cast<char *>(out.data_ptr()) +
                               first * part.columns * int64_t(out.element_size());
                       unpack(own, {part.first + first, part.first + end, part.column, part.columns});
                     });
    return out;
  }

  // The matrix for a product that follows at once.
  Tensor dequantise_for_now(at::ScalarType type) const {
    return codes.is_cpu() ? dequantise_into(scratch({rows, columns}, type)) : dequantise(type);
  }

  Tensor dequantise_into(const Tensor &out) const {
    const at::ScalarType type = out.scalar_type();
    TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kHalf ||
                    type == at::kDouble,
                "weights are dequantised to float32, float64, bfloat16 or float16, not ", type);
    const at::OptionalDeviceGuard guard(codes.device());
    const Tensor scale = all_scales();
    QuantArrays p;
    p.n = rows * columns;
    p.group_len = group_len;
    p.code_bits = code_bits();
    p.dtype = QuantDtype(type);
    p.codes = static_cast<const unsigned char *>(codes.data_ptr());
    p.levels = static_cast<const float *>(levels.data_ptr());
    p.scales = static_cast<const float *>(scale.data_ptr());
    p.out = out.data_ptr();
    if (launch)
      start(p);
    else
      over_groups(FOR_INSTRUCTION_SET(quant_kernels)().dequantise, p);
    return out;
  }

  // Asks for the CUDA kernel on the current stream of the matrix's device, which is the current
  // device. On CPU tensors the stream is null; tests use that to emulate the launch.
  void start(const QuantArrays &p) const {
    constexpr int64_t PER_BLOCK = int64_t(QUANT_CUDA_THREADS) * QUANT_CUDA_NUMBERS;
    TORCH_CHECK(p.n % QUANT_CUDA_NUMBERS == 0 && p.group_len % QUANT_CUDA_NUMBERS == 0,
                "the CUDA kernel dequantises rows of a multiple of ", QUANT_CUDA_NUMBERS);
    TORCH_CHECK(p.dtype != QUANT_F64, "the CUDA kernel does not dequantise to float64");
    const int64_t blocks = (p.n + PER_BLOCK - 1) / PER_BLOCK;
    TORCH_CHECK(blocks <= std::numeric_limits<int32_t>::max(), "the matrix is too large");
    QuantCudaLaunch request;
    request.dtype = p.dtype;
    request.device = device_index(codes);
    request.threads = QUANT_CUDA_THREADS;
    request.blocks = unsigned(blocks);
    request.stream = current_stream(codes);
    request.args = &p;
    char message[4096] = "";
    TORCH_CHECK(launch(&request, message, sizeof message) == 0, message);
  }
};

class QuantLinear : public torch::autograd::Function<QuantLinear> {
 public:
  static Tensor forward(AutogradContext *ctx, const Tensor &x, const Packed &weight) {
    weight.save(ctx);
    return weight.times(x);
  }

  static variable_list backward(AutogradContext *ctx, const variable_list &grads) {
    const Tensor &dy = grads[0];
    if (!dy.defined() || !ctx->needs_input_grad(0)) return {Tensor(), Tensor()};
    const Packed weight(ctx);
    return {weight.transposed_times(dy), Tensor()};
  }
};

}  // namespace

// The matrix (rows, columns) of a packed weight in a dtype, one of QuantDtype: a new tensor that the
// caller owns. Returns 0, or 1 after writing the reason into `message`.
extern "C" int statetune_quant_dequantise(const QuantWeight *weight, int dtype, Tensor **out,
                                          char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    const at::NoGradGuard no_grad;
    *out = new Tensor(Packed(*weight).dequantise(at::ScalarType(dtype)));
  });
}

// x W^T for x (.., columns) on the device of the weight: (.., rows), differentiable in x.
extern "C" int statetune_quant_linear(const QuantWeight *weight, const Tensor *x, Tensor **y,
                                      char *message, size_t message_len) {
  return caught(message, message_len,
                [&] { *y = new Tensor(QuantLinear::apply(*x, Packed(*weight))); });
}

// Packs `numbers` (any floating-point dtype, on the CPU) into codes of 4 bits in groups of an even
// `group_len`. `bounds` (15) float32 and `order` (16) uint8 are those of QuantPack; `codes` and
// `scales` receive new tensors that the caller owns.
extern "C" int statetune_quant_pack(const Tensor *numbers, int64_t group_len, const Tensor *bounds,
                                    const Tensor *order, Tensor **codes, Tensor **scales,
                                    char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    const at::NoGradGuard no_grad;
    const int64_t n = numbers->numel();
    const Tensor packed = at::empty({(n + 1) / 2}, at::kByte);
    const Tensor scale = at::empty({(n + group_len - 1) / group_len}, at::kFloat);
    const bool as_is = numbers->scalar_type() == at::kFloat && numbers->is_contiguous();
    const Tensor widened = as_is ? *numbers : scratch(numbers->sizes(), at::kFloat);
    if (!as_is) widened.copy_(*numbers);
    QuantPack p;
    p.n = n;
    p.group_len = group_len;
    p.numbers = static_cast<const float *>(widened.data_ptr());
    p.bounds = static_cast<const float *>(bounds->data_ptr());
    p.order = static_cast<const uint8_t *>(order->data_ptr());
    p.codes = static_cast<uint8_t *>(packed.data_ptr());
    p.scales = static_cast<float *>(scale.data_ptr());
    over_groups(FOR_INSTRUCTION_SET(quant_kernels)().pack, p);
    *codes = new Tensor(packed);
    *scales = new Tensor(scale);
  });
}
