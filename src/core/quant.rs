//! Formats of packed frozen weights and their sizes.

use std::fmt;

use crate::arch::Shape;

/// Numbers of a group of the formats of 4 bits, counted along the rows without regard to their ends.
pub const GROUP_LEN: i64 = 64;

/// Numbers of a packed matrix that are dense at a time on a CPU, about.
pub const TILE: u64 = 1 << 19;

/// The part of quantised scales that is added to all of them.
const OFFSET: &str = "offset";

/// How the numbers of a matrix are written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Whole numbers of 8 bits, a scale for each row.
    Int8,
    /// Quantiles of a normal distribution in 4 bits, a scale for 64 numbers.
    Nf4 {
        /// Whether scales are quantised as well.
        double: bool,
    },
    /// Floating-point numbers of 4 bits, a scale for 64 numbers.
    Fp4 {
        /// Whether scales are quantised as well.
        double: bool,
    },
    /// Floating-point numbers of 8 bits (e4m3fn), a scale for each row.
    Fp8,
}

impl Format {
    /// Bytes of a matrix (rows, columns): codes and scales, without the table of levels, which is a
    /// kilobyte at most.
    pub fn bytes(self, [rows, columns]: [i64; 2]) -> u64 {
        let parts = self.parts([rows, columns]).into_iter();
        parts.filter(|(name, _)| *name != OFFSET).map(|(_, bytes)| bytes).sum()
    }

    /// What a packed matrix (rows, columns) consists of: the name of each part and its bytes, without the tables of levels.
    /// Scales are float32; quantised scales have codes, scales of their own, and an offset.
    pub fn parts(self, [rows, columns]: [i64; 2]) -> Vec<(&'static str, u64)> {
        let (rows, n) = (rows.unsigned_abs(), (rows * columns).unsigned_abs());
        let groups = n.div_ceil(GROUP_LEN as u64);
        match self {
            Format::Int8 | Format::Fp8 => vec![("codes", n), ("scales", 4 * rows)],
            Format::Nf4 { double: false } | Format::Fp4 { double: false } => {
                vec![("codes", n.div_ceil(2)), ("scales", 4 * groups)]
            }
            Format::Nf4 { double: true } | Format::Fp4 { double: true } => vec![
                ("codes", n.div_ceil(2)),
                ("scale codes", groups),
                ("scales", 4 * groups.div_ceil(256)),
                (OFFSET, 4),
            ],
        }
    }

    /// Whether scales are quantised as well.
    pub fn is_double(self) -> bool {
        matches!(self, Format::Nf4 { double: true } | Format::Fp4 { double: true })
    }

    /// As `quant.type` names it: `nf4`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Int8 => "int8",
            Format::Nf4 { .. } => "nf4",
            Format::Fp4 { .. } => "fp4",
            Format::Fp8 => "fp8",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let double = if self.is_double() { " with double quantisation" } else { "" };
        write!(formatter, "{}{double}", self.name())
    }
}

/// Bytes of the weights of a model whose numbers take `elt_size` bytes: with the linear layers of its blocks in a
/// format, or dense.
pub fn bytes(shape: &Shape, elt_size: u64, format: Option<Format>) -> u64 {
    let dense = |numbers: i64| numbers.unsigned_abs() * elt_size;
    let linears = shape.linears();
    let numbers: i64 = linears.iter().map(|(_, size)| size.iter().product::<i64>()).sum();
    let of_linears = match format {
        Some(format) => linears
            .iter()
            .map(|(_, size)| format.bytes(size[..].try_into().expect("a matrix has two axes")))
            .sum(),
        None => dense(numbers),
    };
    dense(shape.parameters() - numbers) + of_linears
}
