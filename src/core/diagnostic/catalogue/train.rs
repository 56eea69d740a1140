//! Messages of kernels, quantisation, tuning methods and training steps.

use crate::diagnostic::entry::catalogue;

catalogue! {
    LIBTORCH_CUDA_BROKEN:
        "a CUDA driver is installed, but libtorch cannot load its CUDA libraries ({error}); run `STATETUNE_CUDA=1 make libtorch` to fetch the libraries",
        "装有 CUDA 驱动，但 libtorch 无法加载其 CUDA 库（{error}）；运行 `STATETUNE_CUDA=1 make libtorch` 下载";
    NO_CUDA_KERNEL: "no CUDA kernel for {request}", "没有用于 {request} 的 CUDA 内核";
    NO_USABLE_GPU:
        "a CUDA driver is installed, but there is no usable GPU: {error}",
        "装有 CUDA 驱动，但没有可用的 GPU：{error}";
    LIBTORCH_FINDS_NO_GPU:
        "the CUDA driver has a GPU, but libtorch cannot use the GPU",
        "CUDA 驱动有 GPU，但 libtorch 无法使用它";
    DRIVER_IS_OLD:
        "the CUDA driver supports CUDA {found}, but libtorch needs CUDA {needed}: install driver {driver} or newer",
        "CUDA 驱动支持 CUDA {found}，但 libtorch 需要 CUDA {needed}：请安装 {driver} 或更新的驱动";
    NO_CUDA_DRIVER:
        "the CUDA driver (libcuda.so.1) is not installed",
        "没有安装 CUDA 驱动 (libcuda.so.1)";
    CUDA_DRIVER_UNUSABLE: "the CUDA driver cannot be used", "无法使用 CUDA 驱动";
    START_WKV_KERNEL: "start a WKV kernel", "启动 WKV 内核";
    START_STAGE_KERNEL: "start a kernel of a block or of the optimizer", "启动模块或优化器的内核";
    START_PACKED_KERNEL: "start the kernel of packed weights", "启动量化权重的内核";
    USE_DEVICE: "use the device", "使用该设备";
    LOAD_KERNEL: "load a compiled kernel", "加载编译好的内核";
    FIND_KERNEL: "find a compiled kernel", "找到编译好的内核";
    CUDA_DRIVER_CANNOT:
        "the CUDA driver cannot {what}: {error}",
        "CUDA 驱动无法{what}：{error}";
    NVRTC_MISSING:
        "NVRTC (libnvrtc.so.13), which compiles the CUDA kernels, is neither in {folders}nor in the library path; run `STATETUNE_CUDA=1 make libtorch` to fetch NVRTC",
        "编译 CUDA 内核的 NVRTC (libnvrtc.so.13) 在 {folders} 和系统库路径中都没有；运行 `STATETUNE_CUDA=1 make libtorch` 下载";
    NVRTC_FAILED:
        "NVRTC cannot compile {program} for {architecture}: {what}",
        "NVRTC 无法为 {architecture} 编译 {program}：{what}";
    MACHINE_LACKS: "this CPU does not support {set}", "此 CPU 不支持 {set}";
    KERNEL_OPERAND[ST5002]:
        "{recurrence}: operand {name} is {found}, expected {expected}",
        "{recurrence}：操作数 {name} 是 {found}，应为 {expected}";
    WKV_KERNEL_FAILED[ST5002]: "a WKV kernel failed: {problem}", "WKV 内核出错：{problem}";
    TENSOR_OF_HEADS: "a tensor of shape (B, T, H, N)", "形状为 (B, T, H, N) 的张量";
    AT_LEAST_ONE_TOKEN: "at least one token", "至少一个 token";
    A_CPU_TENSOR: "a CPU tensor", "CPU 张量";
    A_CUDA_TENSOR: "a CUDA tensor", "CUDA 张量";
    HEAD_SIZE_OF_KERNEL: "a head size that is a multiple of 8, up to 256", "8 的倍数且不超过 256 的头大小";
    FLOAT_DOUBLE_BFLOAT16: "Float, Double or BFloat16", "Float、Double 或 BFloat16";
    FLOAT_BFLOAT16_HALF: "Float, BFloat16 or Half", "Float、BFloat16 或 Half";
    PACKED_MATRIX_CANNOT_BECOME:
        "a quantised matrix cannot be converted to {kind}",
        "量化矩阵无法转换为 {kind}";
    PACKED_PARTS_MISMATCH: "the parts of a quantised matrix do not match", "量化矩阵的各部分不匹配";
    MATRIX_INPUTS:
        "a matrix of {out} x {width} has {width} inputs",
        "{out} x {width} 的矩阵有 {width} 个输入";
    MATRIX_BLOCKS:
        "a matrix of {out} x {width} cannot be divided into blocks of {r} x {r}",
        "{out} x {width} 的矩阵无法分成 {r} x {r} 的块";
    MATRIX_RANK:
        "a matrix of {out} x {width} has at most rank {rank}",
        "{out} x {width} 的矩阵秩不超过 {rank}";
    NO_SUCH_LAYER[ST4007]: "the model has no layer `{target}`", "模型没有层 `{target}`";
    RANK_DOES_NOT_FIT[ST4007]: "`peft.rank` does not fit `{matrix}`", "`peft.rank` 不适合 `{matrix}`";
    LAYER_BEYOND_MODEL[ST4007]: "the model has no layer {layer}", "模型没有第 {layer} 层";
    MODEL_HAS_LAYERS: "its layers are 0 to {last}", "它的层是 0 到 {last}";
    NO_PARAMETERS_IN_GROUP[ST4007]:
        "the model has no parameters in the group `{part}`",
        "模型在组 `{part}` 中没有参数";
    LAYERS_ARE:
        "the layers of an {version} model are {layers}",
        "{version} 模型的层有 {layers}";
    GROUPS_ARE:
        "the groups of an {version} model are {groups}",
        "{version} 模型的组有 {groups}";
    TENSOR_NOT_FINITE:
        "tensor `{value}` contains NaN or infinite values, so its largest singular values cannot be computed",
        "张量 `{value}` 含有 NaN 或无穷大，无法计算最大奇异值";
    HOLDS_NOT_FINITE: "it contains NaN or infinite values", "其中含有 NaN 或无穷大";
    GRADIENTS_OVERFLOW[ST7002]:
        "gradients overflow float16 at step {step}, even with a loss scale of 1",
        "第 {step} 步梯度超出 float16 范围，即使损失缩放为 1";
    THE_GRADIENT_NORM: "gradient norm", "梯度范数";
    THE_PARAMETERS: "parameters", "可学习参数";
    CANNOT_PACK_TENSOR:
        "cannot quantise tensor `{name}` as {format}: {source}",
        "无法把张量 `{name}` 量化为 {format}：{source}";
    THE_LOSS: "loss", "损失";
}
