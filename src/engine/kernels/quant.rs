//! Packed weights: making them dense, and multiplying by them without keeping a dense copy.
//!
//! The formats are in [`crate::quant`]; here a format is a table of levels and the length of a group that shares a
//! scale.

use std::ffi::{c_char, c_int};
use std::ptr::{null, null_mut};

use statetune_core::diagnostic::msg;
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::KernelError;
use super::autograd::call_shim;
use super::cuda::{self, QuantLaunch};

/// Quantised scales that share a scale.
pub const SCALES_PER_GROUP: u64 = 256;

/// A matrix (rows, columns) of codes: number `i`, counted along the rows, is
/// `levels[codes[i]] * scales[i / group_len]`. All tensors are contiguous and on one device.
#[derive(Debug)]
pub struct Codes {
    /// Rows and columns.
    pub shape: [i64; 2],
    /// Numbers that share a scale.
    pub group_len: i64,
    /// uint8: one code a byte, or two with 16 levels, the first in the high half.
    pub codes: Tensor,
    /// float32, (16) or (256).
    pub levels: Tensor,
    /// One for each group.
    pub scales: Scales,
}

/// The scales of groups.
#[derive(Debug)]
pub enum Scales {
    /// float32.
    Plain(Tensor),
    /// Quantised: scale `g` is `levels[codes[g]] * scales[g / 256] + offset`.
    Quantised {
        /// uint8, one for each group.
        codes: Tensor,
        /// float32, (256).
        levels: Tensor,
        /// float32, one for [`SCALES_PER_GROUP`] groups.
        scales: Tensor,
        /// Added to all scales.
        offset: f32,
    },
}

/// `QuantWeight` of `kernels/quant_autograd.cpp`.
#[repr(C)]
struct Weight {
    rows: i64,
    columns: i64,
    group_len: i64,
    codes: *const C_tensor,
    levels: *const C_tensor,
    scales: *const C_tensor,
    scale_codes: *const C_tensor,
    scale_levels: *const C_tensor,
    scale_offset: f64,
    launch: Option<QuantLaunch>,
}

unsafe extern "C" {
    fn statetune_quant_dequantise(
        weight: *const Weight,
        dtype: c_int,
        out: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_quant_linear(
        weight: *const Weight,
        x: *const C_tensor,
        y: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_quant_pack(
        numbers: *const C_tensor,
        group_len: i64,
        bounds: *const C_tensor,
        order: *const C_tensor,
        codes: *mut *mut C_tensor,
        scales: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

impl Codes {
    /// The matrix (rows, columns), each number computed in float32 and rounded to `kind` once: float32,
    /// float64, bfloat16 or float16.
    ///
    /// # Errors
    /// [`KernelError::Native`] for other dtypes, and when memory runs out.
    pub fn dequantise(&self, kind: Kind) -> Result<Tensor, KernelError> {
        // SAFETY: the launch, where there is one, runs the kernels of this crate.
        unsafe { self.dequantise_by(self.launch(), kind) }
    }

    /// [`Codes::dequantise`] by the CUDA kernel that `launch` starts; tests pass a launch that emulates the GPU.
    ///
    /// # Errors
    /// Errors of [`Codes::dequantise`] and `launch`.
    ///
    /// # Safety
    /// `launch` reads a request as [`super::cuda::QuantLaunchRequest`] documents it, writes only where the
    /// kernel writes, and ends a message with a zero byte.
    pub unsafe fn dequantise_by(
        &self,
        launch: Option<QuantLaunch>,
        kind: Kind,
    ) -> Result<Tensor, KernelError> {
        self.check()?;
        // `QuantDtype` of `kernels/quant.h`.
        let dtype = match kind {
            Kind::Half => 5,
            Kind::Float => 6,
            Kind::Double => 7,
            Kind::BFloat16 => 15,
            _ => {
                let problem = msg!(PACKED_MATRIX_CANNOT_BECOME, kind = format_args!("{kind:?}"));
                return Err(KernelError::Native(problem));
            }
        };
        let weight = self.weight(launch);
        let mut out: *mut C_tensor = null_mut();
        call_shim(|message, len| {
            // SAFETY: the tensors live as long as `self`, and were checked to be what the kernels read.
            unsafe { statetune_quant_dequantise(&weight, dtype, &mut out, message, len) }
        })?;
        // SAFETY: on success the pointer is a tensor that the shim allocated for the caller to own.
        Ok(unsafe { Tensor::from_ptr(out) })
    }

    /// The same matrix with everything on `device`.
    #[must_use]
    pub fn to_device(&self, device: Device) -> Codes {
        let scales = match &self.scales {
            Scales::Plain(scales) => Scales::Plain(scales.to_device(device)),
            Scales::Quantised { codes, levels, scales, offset } => Scales::Quantised {
                codes: codes.to_device(device),
                levels: levels.to_device(device),
                scales: scales.to_device(device),
                offset: *offset,
            },
        };
        let (codes, levels) = (self.codes.to_device(device), self.levels.to_device(device));
        Codes { shape: self.shape, group_len: self.group_len, codes, levels, scales }
    }

    /// `x W^T` for `x` (.., columns) on the device of the codes: (.., rows) in the dtype of `x`,
    /// differentiable in `x`. What is multiplied is [`Codes::dequantise`] in that dtype. On the CPU up to eight rows are
    /// multiplied by the codes themselves, with sums in float32 that are rounded once; for more rows, and for the
    /// gradient, W becomes dense tile by tile. On a GPU, and where rows are not whole groups, the whole of W becomes dense.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn linear(&self, x: &Tensor) -> Result<Tensor, KernelError> {
        self.check()?;
        let weight = self.weight(self.launch());
        let mut y: *mut C_tensor = null_mut();
        call_shim(|message, len| {
            // SAFETY: the tensors live through the call and were checked; the shim takes its own references.
            unsafe { statetune_quant_linear(&weight, x.as_ptr(), &mut y, message, len) }
        })?;
        // SAFETY: on success the pointer is a tensor that the shim allocated for the caller to own.
        Ok(unsafe { Tensor::from_ptr(y) })
    }

    /// Refuses parts with which the kernels would read outside their arrays.
    fn check(&self) -> Result<(), KernelError> {
        let [rows, columns] = self.shape;
        let n = rows * columns;
        let groups = n.unsigned_abs().div_ceil(self.group_len.unsigned_abs().max(1));
        let levels = self.levels.numel() as u64;
        let codes = if levels == 16 { n.unsigned_abs().div_ceil(2) } else { n.unsigned_abs() };
        let device = self.codes.device();
        let is = |x: &Tensor, kind: Kind, len: u64| {
            x.kind() == kind && x.numel() as u64 == len && x.is_contiguous() && x.device() == device
        };
        let scales = match &self.scales {
            Scales::Plain(scales) => is(scales, Kind::Float, groups),
            Scales::Quantised { codes, levels, scales, .. } => {
                is(codes, Kind::Uint8, groups)
                    && is(levels, Kind::Float, 256)
                    && is(scales, Kind::Float, groups.div_ceil(SCALES_PER_GROUP))
            }
        };
        let sound = rows >= 0
            && columns >= 0
            && self.group_len > 0
            && (levels == 256 || levels == 16 && self.group_len % 2 == 0)
            && is(&self.levels, Kind::Float, levels)
            && is(&self.codes, Kind::Uint8, codes)
            && scales;
        match sound {
            true => Ok(()),
            false => Err(KernelError::Native(msg!(PACKED_PARTS_MISMATCH))),
        }
    }

    /// The launch for the device of the codes; `None` on the CPU.
    fn launch(&self) -> Option<QuantLaunch> {
        self.codes.device().is_cuda().then_some(cuda::launch_quant as QuantLaunch)
    }

    fn weight(&self, launch: Option<QuantLaunch>) -> Weight {
        let (scales, scale_codes, scale_levels, scale_offset) = match &self.scales {
            Scales::Plain(scales) => (scales, null(), null(), 0.0),
            Scales::Quantised { codes, levels, scales, offset } => {
                (scales, codes.as_ptr(), levels.as_ptr(), f64::from(*offset))
            }
        };
        Weight {
            rows: self.shape[0],
            columns: self.shape[1],
            group_len: self.group_len,
            codes: self.codes.as_ptr(),
            levels: self.levels.as_ptr(),
            scales: scales.as_ptr(),
            scale_codes,
            scale_levels,
            scale_offset,
            launch,
        }
    }
}

/// Codes of 4 bits, two a byte, and float32 scales of floating-point `numbers`, which are widened to float32 and cut
/// into groups of `group_len`. A scale is the largest magnitude of its group, NaN and infinity included.
///
/// `order[r]` is the code of the level of rank r; `bounds` lie halfway between levels whose largest is 1. A number on
/// a bound goes to the lower level.
///
/// # Errors
/// [`KernelError::Native`] when memory runs out.
///
/// # Panics
/// When `group_len` is odd or not positive.
pub fn pack_in_4_bits(
    numbers: &Tensor,
    group_len: i64,
    bounds: &[f32; 15],
    order: &[u8; 16],
) -> Result<(Tensor, Tensor), KernelError> {
    assert!(group_len > 0 && group_len % 2 == 0, "groups are whole bytes");
    let numbers = numbers.to_device(Device::Cpu);
    let (bounds, order) = (Tensor::from_slice(bounds), Tensor::from_slice(order));
    let mut codes: *mut C_tensor = null_mut();
    let mut scales: *mut C_tensor = null_mut();
    call_shim(|message, len| {
        // SAFETY: all tensors are on the CPU, and the last two of the dtypes and sizes that the shim reads.
        unsafe {
            statetune_quant_pack(
                numbers.as_ptr(),
                group_len,
                bounds.as_ptr(),
                order.as_ptr(),
                &mut codes,
                &mut scales,
                message,
                len,
            )
        }
    })?;
    // SAFETY: on success both pointers are tensors that the shim allocated for the caller to own.
    Ok(unsafe { (Tensor::from_ptr(codes), Tensor::from_ptr(scales)) })
}
