//! Which kernels there are: a file of `kernels/` for one recurrence, operand dtype and head size.

use super::{KernelError, LaunchRequest};

/// What stands in front of every kernel file.
const COMMON: [&str; 2] =
    [include_str!("../../../kernels/wkv_cuda.h"), include_str!("../../../kernels/wkv_common.cuh")];
const WKV6: &str = include_str!("../../../kernels/wkv6.cu");
const WKV7: &str = include_str!("../../../kernels/wkv7.cu");

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

/// One compilation of a kernel file. It has two kernels, `wkv_forward` and `wkv_backward`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Build {
    /// The recurrence.
    pub recurrence: Recurrence,
    /// Dtype of the operands.
    pub operand: OperandType,
    /// Head size up to which the kernels serve: 64, 128 or 256.
    pub keys: u32,
}

impl Build {
    /// All compilations that a program can ask for.
    pub fn all() -> impl Iterator<Item = Build> {
        let recurrences = [Recurrence::Wkv5, Recurrence::Wkv6, Recurrence::Wkv7];
        let operands = [OperandType::Float32, OperandType::Bf16, OperandType::Float16];
        recurrences.into_iter().flat_map(move |recurrence| {
            operands.into_iter().flat_map(move |operand| {
                [64, 128, 256].into_iter().map(move |keys| Build { recurrence, operand, keys })
            })
        })
    }

    /// The kernels that the autograd shim asks for.
    ///
    /// # Errors
    /// [`KernelError::Native`] if the numbers of the request are none of those in `wkv_cuda.h`.
    pub fn of(request: &LaunchRequest) -> Result<Build, KernelError> {
        let recurrence = match request.version {
            5 => Some(Recurrence::Wkv5),
            6 => Some(Recurrence::Wkv6),
            7 => Some(Recurrence::Wkv7),
            _ => None,
        };
        let operand = match request.dtype {
            0 => Some(OperandType::Float32),
            1 => Some(OperandType::Bf16),
            2 => Some(OperandType::Float16),
            _ => None,
        };
        let keys = u32::try_from(request.keys).ok();
        match (recurrence, operand, keys) {
            (Some(recurrence), Some(operand), Some(keys)) => {
                Ok(Build { recurrence, operand, keys })
            }
            _ => Err(KernelError::Native(format!("there is no CUDA kernel for {request:?}"))),
        }
    }

    /// The whole text, which includes no other.
    pub fn source(&self) -> String {
        let file = match self.recurrence {
            Recurrence::Wkv5 | Recurrence::Wkv6 => WKV6,
            Recurrence::Wkv7 => WKV7,
        };
        [COMMON[0], COMMON[1], file].join("\n")
    }

    /// The macros that the text expects, as compiler options.
    pub fn defines(&self) -> [String; 3] {
        let version = match self.recurrence {
            Recurrence::Wkv5 => 5,
            Recurrence::Wkv6 => 6,
            Recurrence::Wkv7 => 7,
        };
        let operand = match self.operand {
            OperandType::Float32 => "float",
            OperandType::Bf16 => "Bf16",
            OperandType::Float16 => "Half",
        };
        [
            format!("-DWKV_VERSION={version}"),
            format!("-DWKV_OPERAND={operand}"),
            format!("-DWKV_KEYS={}", self.keys),
        ]
    }
}
