//! The compilations of the kernels: a file of `kernels/` for one recurrence, operand dtype and head size, or the file
//! of packed weights for one output dtype.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::fmt::Debug;

use statetune_core::diagnostic::msg;

use super::KernelError;

/// A launch that the autograd shim asks for: `WkvCudaLaunch` of `kernels/wkv_cuda.h`.
#[derive(Debug)]
#[repr(C)]
pub struct LaunchRequest {
    /// Of the recurrence: 5, 6 or 7.
    pub version: c_int,
    /// 0 for the forward kernel, 1 for the backward one.
    pub backward: c_int,
    /// Dtype of the operands: 0 float32, 1 bfloat16, 2 float16.
    pub dtype: c_int,
    /// Head size, rounded up to 64, 128 or 256.
    pub keys: c_int,
    /// Index of the CUDA device.
    pub device: c_int,
    /// Threads of a block.
    pub threads: c_int,
    /// Blocks: one for each batch and head, and for each group of rows.
    pub grid: [c_uint; 2],
    /// The `cudaStream_t` to run on.
    pub stream: *mut c_void,
    /// The kernel's only parameter: a `WkvCudaForward` or a `WkvCudaBackward`.
    pub args: *const c_void,
}

const _: () = assert!(size_of::<LaunchRequest>() == 48, "as WkvCudaLaunch in kernels/wkv_cuda.h");

/// A launch that the shim of packed weights asks for: `QuantCudaLaunch` of `kernels/quant.h`.
#[derive(Debug)]
#[repr(C)]
pub struct QuantLaunchRequest {
    /// Dtype of the output, in libtorch's numbers: 5 float16, 6 float32, 15 bfloat16.
    pub dtype: c_int,
    /// Index of the CUDA device.
    pub device: c_int,
    /// Threads of a block.
    pub threads: c_int,
    /// Blocks.
    pub blocks: c_uint,
    /// The `cudaStream_t` to run on.
    pub stream: *mut c_void,
    /// The kernel's only parameter: a `QuantArrays`.
    pub args: *const c_void,
}

const _: () =
    assert!(size_of::<QuantLaunchRequest>() == 32, "as QuantCudaLaunch in kernels/quant.h");

/// A launch that the shims of the fused stages and of the optimizer ask for: `StageLaunch` of `kernels/stage_cuda.h`.
#[derive(Debug)]
#[repr(C)]
pub struct StageLaunchRequest {
    /// The name of the kernel.
    pub kernel: *const c_char,
    /// Dtype of the operands: 0 float32, 1 bfloat16, 2 float16.
    pub dtype: c_int,
    /// Index of the CUDA device.
    pub device: c_int,
    /// Threads of a block.
    pub threads: c_int,
    /// Blocks.
    pub blocks: c_uint,
    /// The `cudaStream_t` to run on.
    pub stream: *mut c_void,
    /// The kernel's only parameter.
    pub args: *const c_void,
}

const _: () =
    assert!(size_of::<StageLaunchRequest>() == 40, "as StageLaunch in kernels/stage_cuda.h");

/// Text before every kernel file.
const TYPES: &str = include_str!("../../../../kernels/cuda_types.cuh");
/// Text before the recurrences, after the types.
const COMMON: [&str; 2] = [
    include_str!("../../../../kernels/wkv_cuda.h"),
    include_str!("../../../../kernels/wkv_common.cuh"),
];
const QUANT: [&str; 2] =
    [include_str!("../../../../kernels/quant.h"), include_str!("../../../../kernels/quant.cu")];
/// The kernels of the fused stages and of the optimizer.
const STAGES: [&str; 10] = [
    include_str!("../../../../kernels/dtype.h"),
    include_str!("../../../../kernels/block.h"),
    include_str!("../../../../kernels/flat.h"),
    include_str!("../../../../kernels/stage_cuda.h"),
    include_str!("../../../../kernels/stages.cuh"),
    include_str!("../../../../kernels/norm_mix.cu"),
    include_str!("../../../../kernels/time_mix.cu"),
    include_str!("../../../../kernels/channel_mix.cu"),
    include_str!("../../../../kernels/head_loss.cu"),
    include_str!("../../../../kernels/flat.cu"),
];
const WKV6: &str = include_str!("../../../../kernels/wkv6.cu");
const WKV7: &str = include_str!("../../../../kernels/wkv7.cu");

/// One compilation of a kernel file.
pub trait Program: Debug {
    /// The whole text; it includes no file.
    fn source(&self) -> String;

    /// The macros of the text, as compiler options.
    fn defines(&self) -> Vec<String>;
}

/// A recurrence.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Recurrence {
    /// WKV-5, by the kernels of WKV-6 with a decay that does not change.
    Wkv5,
    /// WKV-6.
    Wkv6,
    /// WKV-7.
    Wkv7,
}

/// Dtype of the operands; states are float32.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum OperandType {
    /// float32.
    Float32,
    /// bfloat16.
    Bf16,
    /// float16.
    Float16,
}

impl OperandType {
    /// All of them.
    pub const ALL: [OperandType; 3] =
        [OperandType::Float32, OperandType::Bf16, OperandType::Float16];

    /// The type with this number in `WkvCudaDtype` and `StageDtype`.
    fn of_number(number: c_int) -> Option<OperandType> {
        match number {
            0 => Some(OperandType::Float32),
            1 => Some(OperandType::Bf16),
            2 => Some(OperandType::Float16),
            _ => None,
        }
    }

    /// Its name in `kernels/cuda_types.cuh`.
    fn name(self) -> &'static str {
        match self {
            OperandType::Float32 => "float",
            OperandType::Bf16 => "Bf16",
            OperandType::Float16 => "Half",
        }
    }
}

/// One compilation of a recurrence, with the kernels `wkv_forward` and `wkv_backward`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Build {
    /// The recurrence.
    pub recurrence: Recurrence,
    /// Dtype of the operands.
    pub operand: OperandType,
    /// Largest head size of the kernels: 64, 128 or 256.
    pub keys: u32,
}

impl Build {
    /// All compilations.
    pub fn all() -> impl Iterator<Item = Build> {
        let recurrences = [Recurrence::Wkv5, Recurrence::Wkv6, Recurrence::Wkv7];
        recurrences.into_iter().flat_map(move |recurrence| {
            OperandType::ALL.into_iter().flat_map(move |operand| {
                [64, 128, 256].into_iter().map(move |keys| Build { recurrence, operand, keys })
            })
        })
    }

    /// The kernels that the autograd shim asks for.
    ///
    /// # Errors
    /// [`KernelError::Native`] if a number of the request is not in `wkv_cuda.h`.
    pub fn of(request: &LaunchRequest) -> Result<Build, KernelError> {
        let recurrence = match request.version {
            5 => Some(Recurrence::Wkv5),
            6 => Some(Recurrence::Wkv6),
            7 => Some(Recurrence::Wkv7),
            _ => None,
        };
        let operand = OperandType::of_number(request.dtype);
        let keys = u32::try_from(request.keys).ok();
        match (recurrence, operand, keys) {
            (Some(recurrence), Some(operand), Some(keys)) => {
                Ok(Build { recurrence, operand, keys })
            }
            _ => Err(KernelError::Native(msg!(
                NO_CUDA_KERNEL,
                request = format_args!("{request:?}")
            ))),
        }
    }
}

impl Program for Build {
    fn source(&self) -> String {
        let file = match self.recurrence {
            Recurrence::Wkv5 | Recurrence::Wkv6 => WKV6,
            Recurrence::Wkv7 => WKV7,
        };
        [TYPES, COMMON[0], COMMON[1], file].join("\n")
    }

    fn defines(&self) -> Vec<String> {
        let version = match self.recurrence {
            Recurrence::Wkv5 => 5,
            Recurrence::Wkv6 => 6,
            Recurrence::Wkv7 => 7,
        };
        vec![
            format!("-DWKV_VERSION={version}"),
            format!("-DWKV_OPERAND={}", self.operand.name()),
            format!("-DWKV_KEYS={}", self.keys),
        ]
    }
}

/// One compilation of the kernel of packed weights, `dequantise`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct QuantBuild {
    /// Dtype of the output.
    pub output: OperandType,
}

impl QuantBuild {
    /// The kernel that the shim asks for.
    ///
    /// # Errors
    /// [`KernelError::Native`] if the dtype is not in `quant.h`.
    pub fn of(request: &QuantLaunchRequest) -> Result<QuantBuild, KernelError> {
        let output = match request.dtype {
            5 => OperandType::Float16,
            6 => OperandType::Float32,
            15 => OperandType::Bf16,
            _ => {
                let problem = msg!(NO_CUDA_KERNEL, request = format_args!("{request:?}"));
                return Err(KernelError::Native(problem));
            }
        };
        Ok(QuantBuild { output })
    }
}

impl Program for QuantBuild {
    fn source(&self) -> String {
        [TYPES, QUANT[0], QUANT[1]].join("\n")
    }

    fn defines(&self) -> Vec<String> {
        vec![format!("-DQUANT_OUTPUT={}", self.output.name())]
    }
}

/// One compilation of the kernels of the fused stages and of the optimizer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StageBuild {
    /// Dtype of activations.
    pub operand: OperandType,
}

impl StageBuild {
    /// The kernels that a shim asks for.
    ///
    /// # Errors
    /// [`KernelError::Native`] if the dtype is not in `stage_cuda.h`.
    pub fn of(request: &StageLaunchRequest) -> Result<StageBuild, KernelError> {
        let operand = OperandType::of_number(request.dtype).ok_or_else(|| {
            KernelError::Native(msg!(NO_CUDA_KERNEL, request = format_args!("{request:?}")))
        })?;
        Ok(StageBuild { operand })
    }
}

impl Program for StageBuild {
    fn source(&self) -> String {
        [&[TYPES], &STAGES[..]].concat().join("\n")
    }

    fn defines(&self) -> Vec<String> {
        vec![format!("-DSTAGE_OPERAND={}", self.operand.name())]
    }
}
