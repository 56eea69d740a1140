//! Messages of kernels, quantisation, tuning methods and training steps.

use crate::diagnostic::entry::catalogue;

catalogue! {
    LIBTORCH_CUDA_BROKEN:
        "a CUDA driver is there, but libtorch's CUDA part does not load ({error}); remove .libtorch and run `make libtorch` to fetch it with its CUDA packages",
        "有 CUDA 驱动，但 libtorch 的 CUDA 部分无法加载（{error}）；删除 .libtorch 并运行 `make libtorch` 可连同 CUDA 包一起下载";
    NO_CUDA_KERNEL: "there is no CUDA kernel for {request}", "没有用于 {request} 的 CUDA 内核";
    NO_USABLE_GPU:
        "there is a CUDA driver, but no GPU that libtorch can use",
        "有 CUDA 驱动，但没有 libtorch 能用的 GPU";
    NO_CUDA_DRIVER:
        "there is no CUDA driver (libcuda.so.1)",
        "没有 CUDA 驱动 (libcuda.so.1)";
    CUDA_DRIVER_UNUSABLE: "the CUDA driver cannot be used", "无法使用 CUDA 驱动";
    START_WKV_KERNEL: "start a WKV kernel", "启动 WKV 内核";
    START_PACKED_KERNEL: "start the kernel of packed weights", "启动量化权重的内核";
    USE_DEVICE: "use the device", "使用该设备";
    LOAD_KERNEL: "load a compiled kernel", "加载编译好的内核";
    FIND_KERNEL: "find a compiled kernel", "找到编译好的内核";
    CUDA_DRIVER_CANNOT:
        "the CUDA driver cannot {what}: {error}",
        "CUDA 驱动无法{what}：{error}";
    NVRTC_MISSING:
        "the CUDA kernels need NVRTC (libnvrtc.so.13), which is neither in {folders}nor where the system finds libraries; it belongs to the CUDA packages that `make libtorch` fetches on a machine with a driver",
        "CUDA 内核需要 NVRTC (libnvrtc.so.13)，但在 {folders} 和系统库路径中都没有；它属于有驱动的机器上 `make libtorch` 下载的 CUDA 包";
    NVRTC_FAILED:
        "NVRTC cannot compile {program} for {architecture}: {what}",
        "NVRTC 无法为 {architecture} 编译 {program}：{what}";
    MACHINE_LACKS: "this machine has no {set}", "本机没有 {set}";
    KERNEL_OPERAND[ST5002]:
        "{recurrence}: operand {name} is {found}, expected {expected}",
        "{recurrence}：操作数 {name} 是 {found}，应为 {expected}";
    WKV_KERNEL_FAILED[ST5002]: "a WKV kernel failed: {problem}", "WKV 内核出错：{problem}";
    TENSOR_OF_HEADS: "a tensor of shape (B, T, H, N)", "形状为 (B, T, H, N) 的张量";
    AT_LEAST_ONE_TOKEN: "at least one token", "至少一个 token";
    A_CPU_TENSOR: "a CPU tensor", "CPU 张量";
    A_CUDA_TENSOR: "a CUDA tensor", "CUDA 张量";
    HEAD_SIZE_OF_KERNEL: "a head size that 8 divides, up to 256", "能被 8 整除且不超过 256 的头大小";
    FLOAT_DOUBLE_BFLOAT16: "Float, Double or BFloat16", "Float、Double 或 BFloat16";
    FLOAT_BFLOAT16_HALF: "Float, BFloat16 or Half", "Float、BFloat16 或 Half";
    PACKED_MATRIX_CANNOT_BECOME:
        "a packed matrix cannot become {kind}",
        "量化矩阵无法变为 {kind}";
    PACKED_PARTS_MISMATCH: "the parts of a packed matrix do not fit", "量化矩阵的各部分不相配";
    MATRIX_INPUTS:
        "a matrix of {out} x {width} has {width} inputs",
        "{out} x {width} 的矩阵有 {width} 个输入";
    MATRIX_BLOCKS:
        "a matrix of {out} x {width} does not fall into blocks of {r} x {r}",
        "{out} x {width} 的矩阵无法分成 {r} x {r} 的块";
    MATRIX_RANK:
        "a matrix of {out} x {width} has no more than rank {rank}",
        "{out} x {width} 的矩阵秩不超过 {rank}";
    NO_SUCH_LAYER[ST4007]: "the model has no layer `{target}`", "模型没有层 `{target}`";
    RANK_DOES_NOT_FIT[ST4007]: "the rank does not fit `{matrix}`", "秩不适合 `{matrix}`";
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
        "tensor `{value}` holds numbers that are not finite, so no part of it can be taken out",
        "张量 `{value}` 含有非有限的数，无法从中取出一部分";
    HOLDS_NOT_FINITE: "it holds numbers that are not finite", "其中有非有限数";
    GRADIENTS_OVERFLOW[ST7002]:
        "gradients overflow float16 at step {step}, even without a loss scale",
        "第 {step} 步梯度超出 float16 范围，即使没有损失缩放";
    THE_GRADIENT_NORM: "gradient norm", "梯度范数";
    THE_PARAMETERS: "what learns", "可学习参数";
    CANNOT_PACK_TENSOR:
        "tensor `{name}` cannot be packed as {format}: {source}",
        "张量 `{name}` 无法量化为 {format}：{source}";
    THE_LOSS: "loss", "损失";
}
