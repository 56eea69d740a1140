//! A packed matrix.

use std::rc::Rc;

use statetune_core::diagnostic::{Text, msg};
use tch::{Device, Kind, Tensor};

use super::formats::{FP4, GroupFormat, NF4, RowFormat, double_quantised, fp8, int8, scale_levels};
use super::{Format, GROUP_LEN};
use crate::kernels::KernelError;
use crate::kernels::quant::{Codes, Scales, pack_in_4_bits};
use crate::model::{Matrix, blob};

/// Why a matrix cannot be packed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum PackError {
    /// It holds a NaN or an infinity, for which no format has a code.
    NotFinite,
    /// A kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl PackError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NotFinite => msg!(HOLDS_NOT_FINITE),
            Self::Kernel(error) => error.text(),
        }
    }
}

/// A matrix W (out, in) in one of the formats.
#[derive(Debug)]
pub struct Packed(Codes);

impl Packed {
    /// Packs a matrix of any floating-point dtype, on the CPU.
    ///
    /// # Errors
    /// [`PackError::NotFinite`]; and [`PackError::Kernel`] where memory runs out.
    ///
    /// # Panics
    /// If `matrix` does not have two axes.
    pub fn pack(matrix: &Tensor, format: Format) -> Result<Packed, PackError> {
        let _guard = tch::no_grad_guard();
        let (rows, columns) = matrix.size2().expect("a matrix has two axes");
        let shape = [rows, columns];
        let codes = match format {
            Format::Int8 => by_rows(matrix, shape, &int8())?,
            Format::Fp8 => by_rows(matrix, shape, &fp8())?,
            Format::Nf4 { double } => in_groups(matrix, shape, &NF4, double)?,
            Format::Fp4 { double } => in_groups(matrix, shape, &FP4, double)?,
        };
        Ok(Packed(codes))
    }

    /// The matrix (rows, columns) of these parts, which are those of [`Format::parts`], aligned for float32. The bytes stay where
    /// they are.
    ///
    /// # Panics
    /// On other parts.
    pub fn of_parts(shape: [i64; 2], format: Format, parts: &[&'static [u8]]) -> Packed {
        let codes = |bytes: &'static [u8]| blob(bytes, &[bytes.len() as i64], Kind::Uint8);
        let floats = |bytes: &'static [u8]| blob(bytes, &[bytes.len() as i64 / 4], Kind::Float);
        let scales = match parts[1..] {
            [scales] => Scales::Plain(floats(scales)),
            [of_scales, scales, offset] => Scales::Quantised {
                codes: codes(of_scales),
                levels: scale_levels(),
                scales: floats(scales),
                offset: f32::from_le_bytes(offset.try_into().expect("a float32")),
            },
            _ => unreachable!("a format has two or four parts"),
        };
        let (levels, group_len) = match format {
            Format::Int8 => (Tensor::from_slice(&int8().levels), shape[1].max(1)),
            Format::Fp8 => (Tensor::from_slice(&fp8().levels), shape[1].max(1)),
            Format::Nf4 { .. } => (Tensor::from_slice(&NF4.levels), GROUP_LEN),
            Format::Fp4 { .. } => (Tensor::from_slice(&FP4.levels), GROUP_LEN),
        };
        Packed(Codes { shape, group_len, codes: codes(parts[0]), levels, scales })
    }

    /// The parts of the matrix for [`Packed::of_parts`].
    pub fn parts(&self) -> Vec<Vec<u8>> {
        let bytes = |x: &Tensor| {
            let x = x.to_device(Device::Cpu);
            let mut bytes = vec![0; x.numel() * x.kind().elt_size_in_bytes()];
            x.copy_data_u8(&mut bytes, x.numel());
            bytes
        };
        let Codes { codes, scales, .. } = &self.0;
        match scales {
            Scales::Plain(scales) => vec![bytes(codes), bytes(scales)],
            Scales::Quantised { codes: of_scales, scales, offset, .. } => {
                vec![bytes(codes), bytes(of_scales), bytes(scales), offset.to_le_bytes().to_vec()]
            }
        }
    }

    /// The same matrix on `device`.
    #[must_use]
    pub fn on(self, device: Device) -> Packed {
        Packed(self.0.to_device(device))
    }

    /// Rows and columns: (out, in).
    pub fn shape(&self) -> [i64; 2] {
        self.0.shape
    }

    /// Codes, levels and scales.
    pub fn codes(&self) -> &Codes {
        &self.0
    }

    /// Bytes of codes and scales; [`Format::bytes`] predicts the same number.
    pub fn bytes(&self) -> u64 {
        let of = |x: &Tensor| (x.numel() * x.kind().elt_size_in_bytes()) as u64;
        of(&self.0.codes)
            + match &self.0.scales {
                Scales::Plain(scales) => of(scales),
                Scales::Quantised { codes, scales, .. } => of(codes) + of(scales),
            }
    }
}

impl Matrix for Packed {
    fn linear(&self, x: &Tensor) -> Tensor {
        self.0.linear(x).expect("a packed matrix multiplies what the dense one would")
    }

    fn dense(&self, kind: Kind) -> Tensor {
        self.0.dequantise(kind).expect("a model computes in a floating-point dtype")
    }

    fn tensors(&self) -> Vec<Tensor> {
        let Codes { codes, scales, .. } = &self.0;
        let tensors = match scales {
            Scales::Plain(scales) => vec![codes, scales],
            Scales::Quantised { codes: of_scales, scales, .. } => vec![codes, of_scales, scales],
        };
        tensors.into_iter().map(Tensor::shallow_clone).collect()
    }

    fn of_tensors(&self, tensors: Vec<Tensor>) -> Rc<dyn Matrix> {
        let Codes { shape, group_len, levels, scales, .. } = &self.0;
        let device = tensors[0].device();
        let mut tensors = tensors.into_iter();
        let mut next = || tensors.next().expect("as many tensors");
        let codes = next();
        let scales = match scales {
            Scales::Plain(_) => Scales::Plain(next()),
            Scales::Quantised { levels, offset, .. } => Scales::Quantised {
                codes: next(),
                levels: levels.to_device(device),
                scales: next(),
                offset: *offset,
            },
        };
        let (shape, group_len, levels) = (*shape, *group_len, levels.to_device(device));
        Rc::new(Packed(Codes { shape, group_len, codes, levels, scales }))
    }
}

/// Rows quantized per batch, which bounds the intermediate tensors.
const SLAB: i64 = 64;

/// A scale for each row, codes of 8 bits.
fn by_rows(matrix: &Tensor, shape: [i64; 2], format: &RowFormat) -> Result<Codes, PackError> {
    let codes = Tensor::empty(shape, (Kind::Uint8, Device::Cpu));
    let scales = Tensor::empty([shape[0], 1], (Kind::Float, Device::Cpu));
    for (i, rows) in (0..).zip(matrix.split(SLAB, 0)) {
        let part = |whole: &Tensor| whole.narrow(0, i * SLAB, rows.size()[0]);
        let absmax = rows.abs().amax([1], true).to_kind(Kind::Float); // (rows, 1)
        check_finite(&absmax)?;
        // The reciprocal of a smaller number is infinite.
        let absmax = absmax.clamp_min(1e-35);
        part(&codes).copy_(&(format.codes)(&rows, &absmax));
        part(&scales).copy_(&absmax);
    }
    Ok(Codes {
        shape,
        group_len: shape[1].max(1),
        codes: codes.view(-1),
        levels: Tensor::from_slice(&format.levels),
        scales: Scales::Plain(scales.view(-1)),
    })
}

/// A scale for [`GROUP_LEN`] numbers, codes of 4 bits.
fn in_groups(
    matrix: &Tensor,
    shape: [i64; 2],
    format: &GroupFormat,
    double: bool,
) -> Result<Codes, PackError> {
    let GroupFormat { levels, order } = format;
    let level = |rank: usize| levels[usize::from(order[rank])];
    let bounds: [f32; 15] = std::array::from_fn(|rank| (level(rank) + level(rank + 1)) / 2.0);
    let (codes, scales) = pack_in_4_bits(matrix, GROUP_LEN, &bounds, order)?;
    check_finite(&scales)?;
    let scales = if double { double_quantised(&scales) } else { Scales::Plain(scales) };
    Ok(Codes { shape, group_len: GROUP_LEN, codes, levels: Tensor::from_slice(levels), scales })
}

fn check_finite(absmax: &Tensor) -> Result<(), PackError> {
    match absmax.isfinite().all().int64_value(&[]) {
        0 => Err(PackError::NotFinite),
        _ => Ok(()),
    }
}
