//! One tensor in a file: where its bytes are, and how to get them in order.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;

use super::dtype::Dtype;
use super::error::{Problem, quoted};
use crate::diagnostic::{Text, msg};

/// A tensor of an opened file, checked to lie within it.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub(super) name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// In elements; 0 for an axis of size 1, where it does not matter.
    strides: Vec<usize>,
    /// Byte position of the first element in the file.
    start: usize,
}

/// A run of elements in the file from which tensors are cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// Byte position in the file. The caller has checked that all elements lie in the file.
    pub(super) start: usize,
    /// How many elements.
    pub(super) len: usize,
}

impl TensorInfo {
    /// The tensor of `shape` whose element `[i, j, ..]` is the storage's element
    /// `offset + i * strides[0] + j * strides[1] + ..`.
    ///
    /// # Errors
    /// `Corrupted` when an element lies outside the storage. `NotACheckpoint` when the tensor has
    /// more elements than the storage: with a stride of 0 it could claim any size.
    pub(super) fn strided(
        name: &str,
        storage: Storage,
        offset: usize,
        shape: Vec<usize>,
        mut strides: Vec<usize>,
    ) -> Result<Self, Problem> {
        let corrupted = |what: Text| {
            Problem::Corrupted(msg!(
                TENSOR_OF_SHAPE,
                name = quoted(name),
                shape = format_args!("{shape:?}"),
                what
            ))
        };
        if strides.len() != shape.len() {
            return Err(corrupted(msg!(HAS_STRIDES, count = strides.len())));
        }
        let mut last = offset;
        for (stride, &dim) in strides.iter_mut().zip(&shape) {
            if dim <= 1 {
                *stride = 0;
            }
            last = stride
                .checked_mul(dim.saturating_sub(1))
                .and_then(|reach| last.checked_add(reach))
                .ok_or_else(|| corrupted(msg!(HAS_ABSURD_STRIDES)))?;
        }
        let empty = shape.contains(&0);
        if !empty && last >= storage.len {
            return Err(corrupted(msg!(REACHES_BEYOND_STORAGE, last, count = storage.len)));
        }
        let numel = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        if numel.is_none_or(|numel| numel > storage.len) {
            return Err(Problem::NotACheckpoint {
                found: msg!(TENSOR_REPEATS, name = quoted(name)),
                hint: Some(msg!(MAKE_CONTIGUOUS)),
            });
        }
        let first = if empty { 0 } else { offset };
        let start = storage.start + first * storage.dtype.size();
        Ok(Self { name: name.to_owned(), dtype: storage.dtype, shape, strides, start })
    }

    /// The tensor whose elements are all of `storage` in row-major order.
    pub(super) fn contiguous(
        name: &str,
        storage: Storage,
        shape: Vec<usize>,
    ) -> Result<Self, Problem> {
        let strides = row_major(&shape);
        Self::strided(name, storage, 0, shape, strides)
    }

    /// Its first byte in the file and how many it has, where they lie there in order.
    pub(super) fn place(&self) -> Option<(usize, usize)> {
        let numel: usize = self.shape.iter().product();
        self.is_contiguous().then(|| (self.start, numel * self.dtype.size()))
    }

    fn is_contiguous(&self) -> bool {
        let expected = row_major(&self.shape);
        self.shape.contains(&0)
            || self
                .strides
                .iter()
                .zip(&expected)
                .zip(&self.shape)
                .all(|((stride, expected), &dim)| dim == 1 || stride == expected)
    }
}

/// Strides of a contiguous tensor. Saturates on shapes that `TensorInfo` then refuses.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// A tensor in a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    pub(super) info: &'a TensorInfo,
    /// The whole file.
    pub(super) file: &'a [u8],
}

impl<'a> TensorRef<'a> {
    /// Its name, verbatim.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// The type of its elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.info.dtype
    }

    /// Its size along each axis; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        &self.info.shape
    }

    /// How many elements it has.
    #[must_use]
    pub fn numel(&self) -> usize {
        self.info.shape.iter().product()
    }

    /// Its elements in row-major order, little-endian.
    ///
    /// Borrowed from the mapped file when they lie there in that order, gathered otherwise. They
    /// may start at any address: do not cast the slice to wider elements.
    #[must_use]
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        let rest = &self.file[self.info.start..];
        if self.info.is_contiguous() {
            Cow::Borrowed(&rest[..self.numel() * self.dtype().size()])
        } else {
            Cow::Owned(self.gather(rest))
        }
    }

    /// Copies the elements one by one; `rest` begins with element `[0, 0, ..]`.
    fn gather(&self, rest: &[u8]) -> Vec<u8> {
        let TensorInfo { dtype, shape, strides, .. } = self.info;
        let size = dtype.size();
        let mut bytes = Vec::with_capacity(self.numel() * size);
        let mut index = vec![0; shape.len()];
        let mut at = 0;
        for _ in 0..self.numel() {
            bytes.extend_from_slice(&rest[at * size..][..size]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                at += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                at -= index[axis] * strides[axis];
                index[axis] = 0;
            }
        }
        bytes
    }
}

/// A tensor on its way into a file.
#[derive(Clone, Debug)]
pub struct NewTensor<'a> {
    /// The name under which the file will hold it.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its size along each axis.
    pub shape: Vec<usize>,
    /// Its elements in row-major order, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl NewTensor<'_> {
    /// Checks that `bytes` is as long as `dtype` and `shape` say, and that no tensor in `names` has
    /// its name, which is added.
    pub(super) fn check(&self, names: &mut HashSet<String>) -> io::Result<()> {
        let invalid = |message: Text| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        if !names.insert(self.name.clone()) {
            return invalid(msg!(TENSOR_NAMED_TWICE, name = self.name));
        }
        let numel = self.shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        let expected = numel.and_then(|numel| numel.checked_mul(self.dtype.size()));
        if expected == Some(self.bytes.len()) {
            return Ok(());
        }
        let Self { name, dtype, shape, bytes } = self;
        let found = bytes.len();
        invalid(msg!(
            TENSOR_BYTES_DIFFER,
            name,
            found,
            dtype = dtype.to_string(),
            shape = format_args!("{shape:?}")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORAGE: Storage = Storage { dtype: Dtype::U8, start: 2, len: 12 };
    const FILE: [u8; 14] = [98, 99, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> Result<Vec<u8>, String> {
        let info = TensorInfo::strided("t", STORAGE, offset, shape.into(), strides.into())
            .map_err(|problem| problem.to_string())?;
        Ok(TensorRef { info: &info, file: &FILE }.bytes().into_owned())
    }

    #[test]
    fn strides_and_offsets_are_followed() {
        assert_eq!(view(3, &[2, 3], &[3, 1]), Ok(vec![3, 4, 5, 6, 7, 8]));
        assert_eq!(view(0, &[3, 2], &[1, 3]), Ok(vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(view(1, &[2, 1, 2], &[6, 999, 2]), Ok(vec![1, 3, 7, 9]));
        assert_eq!(view(11, &[], &[]), Ok(vec![11]));
        assert_eq!(view(500, &[3, 0], &[1, 1]), Ok(vec![]));
    }

    #[test]
    fn only_what_is_out_of_order_is_copied() {
        let is_borrowed = |shape: &[usize], strides: &[usize]| {
            let info = TensorInfo::strided("t", STORAGE, 0, shape.into(), strides.into())
                .expect("within the storage");
            matches!(TensorRef { info: &info, file: &FILE }.bytes(), Cow::Borrowed(_))
        };
        assert!(is_borrowed(&[3, 4], &[4, 1]));
        assert!(is_borrowed(&[1, 4], &[7, 1]));
        assert!(!is_borrowed(&[4, 3], &[1, 4]));
        assert!(!is_borrowed(&[3, 2], &[4, 1]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refusal = |offset, shape: &[usize], strides: &[usize]| {
            view(offset, shape, strides).expect_err("outside the storage")
        };
        let corrupted = "the file is corrupted: tensor `t` of shape";
        assert_eq!(
            refusal(1, &[3, 4], &[4, 1]),
            format!("{corrupted} [3, 4] needs element 12 of a storage of 12 elements")
        );
        let repeats = "found tensor `t` that repeats elements of its storage";
        assert!(refusal(0, &[13], &[0]).starts_with(repeats));
        assert!(refusal(0, &[usize::MAX, 2], &[0, 1]).starts_with(repeats));
        assert_eq!(refusal(0, &[2], &[]), format!("{corrupted} [2] has 0 strides"));
        assert_eq!(
            refusal(0, &[2], &[usize::MAX]),
            format!("{corrupted} [2] needs element {} of a storage of 12 elements", usize::MAX)
        );
        assert_eq!(
            refusal(2, &[2], &[usize::MAX]),
            format!("{corrupted} [2] has strides out of range")
        );
    }
}
