//! The element types of checkpoints.

use std::fmt;

/// The type of a tensor's elements, little-endian in files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dtype {
    /// The upper half of a float32: 8 bits of exponent, 7 of mantissa.
    BF16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl Dtype {
    /// Every dtype.
    pub const ALL: [Self; 10] = [
        Self::BF16,
        Self::F16,
        Self::F32,
        Self::F64,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U8,
        Self::Bool,
    ];

    /// Bytes of one element.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::BF16 | Self::F16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The largest finite value.
    #[must_use]
    pub fn max(self) -> f64 {
        match self {
            Self::BF16 => f64::from(half::bf16::MAX),
            Self::F16 => f64::from(half::f16::MAX),
            Self::F32 => f64::from(f32::MAX),
            Self::F64 => f64::MAX,
            Self::I64 => i64::MAX as f64,
            Self::I32 => f64::from(i32::MAX),
            Self::I16 => f64::from(i16::MAX),
            Self::I8 => f64::from(i8::MAX),
            Self::U8 => f64::from(u8::MAX),
            Self::Bool => 1.0,
        }
    }

    /// The name in messages and in PyTorch: `bfloat16`, `int64`, ...
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BF16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        }
    }

    /// The class of Python's module `torch` that a `.pth` names for a storage of this dtype.
    pub(super) fn storage_class(self) -> &'static str {
        match self {
            Self::BF16 => "BFloat16Storage",
            Self::F16 => "HalfStorage",
            Self::F32 => "FloatStorage",
            Self::F64 => "DoubleStorage",
            Self::I64 => "LongStorage",
            Self::I32 => "IntStorage",
            Self::I16 => "ShortStorage",
            Self::I8 => "CharStorage",
            Self::U8 => "ByteStorage",
            Self::Bool => "BoolStorage",
        }
    }

    /// The dtype of the safetensors crate.
    pub(super) fn safetensors(self) -> safetensors::Dtype {
        match self {
            Self::BF16 => safetensors::Dtype::BF16,
            Self::F16 => safetensors::Dtype::F16,
            Self::F32 => safetensors::Dtype::F32,
            Self::F64 => safetensors::Dtype::F64,
            Self::I64 => safetensors::Dtype::I64,
            Self::I32 => safetensors::Dtype::I32,
            Self::I16 => safetensors::Dtype::I16,
            Self::I8 => safetensors::Dtype::I8,
            Self::U8 => safetensors::Dtype::U8,
            Self::Bool => safetensors::Dtype::BOOL,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
