//! From the words of the plan to those of libtorch.

use statetune_core::plan;
use statetune_core::tensorfile::Dtype;
use tch::{Device, Kind};

/// The kind of tensors of this dtype.
pub fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F16 => Kind::Half,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
    }
}

/// The device of libtorch.
pub fn device(device: plan::Device) -> Device {
    match device {
        plan::Device::Cpu => Device::Cpu,
        plan::Device::Gpu(index) => Device::Cuda(index),
    }
}
