//! One tensor of a file: the place of its bytes, and its elements in order.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;

use super::dtype::Dtype;
use super::error::{Problem, quoted};
use crate::diagnostic::{Text, msg};

/// A tensor of an open file, checked to be within the file.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub(super) name: String,
    /// The name in the file.
    stored_name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// In elements; 0 for an axis of size 1.
    strides: Vec<usize>,
    /// The byte position of the first element in the file.
    start: usize,
}

/// Consecutive elements in the file, of which tensors are views.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub(super) dtype: Dtype,
    /// The byte position in the file. The caller has checked that the file contains all elements.
    pub(super) start: usize,
    /// The number of elements.
    pub(super) len: usize,
}

impl TensorInfo {
    /// The tensor of `shape` whose element `[i, j, ..]` is the storage's element
    /// `offset + i * strides[0] + j * strides[1] + ..`.
    ///
    /// # Errors
    /// `Corrupted` when an element is outside the storage. `NotACheckpoint` when the tensor has more elements than the
    /// storage: with a stride of 0 it could have any size.
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
        let (name, stored_name) = (name.to_owned(), name.to_owned());
        Ok(Self { name, stored_name, dtype: storage.dtype, shape, strides, start })
    }

    /// The tensor of all elements of `storage` in row-major order.
    pub(super) fn contiguous(
        name: &str,
        storage: Storage,
        shape: Vec<usize>,
    ) -> Result<Self, Problem> {
        let strides = row_major(&shape);
        Self::strided(name, storage, 0, shape, strides)
    }

    /// The tensor as `view` describes it. Axes that the tensor does not have stay as they are.
    pub(super) fn view(&self, view: View) -> Self {
        let mut info = Self { name: view.name, ..self.clone() };
        match view.axes {
            Axes::Same => {}
            Axes::Swapped => {
                if let ([_, _], [_, _]) = (&info.shape[..], &info.strides[..]) {
                    info.shape.reverse();
                    info.strides.reverse();
                }
            }
            Axes::Vector => info.flatten(),
            Axes::Row(row) => {
                if info.shape.first().is_some_and(|&rows| row < rows) {
                    info.start += row * info.strides[0] * info.dtype.size();
                    info.shape.remove(0);
                    info.strides.remove(0);
                    info.flatten();
                }
            }
        }
        info
    }

    /// Makes a contiguous tensor one of shape (1, 1, n).
    fn flatten(&mut self) {
        if self.is_contiguous() {
            let n = self.shape.iter().product();
            self.shape = vec![1, 1, n];
            self.strides = vec![0, 0, usize::from(n > 1)];
        }
    }

    /// The first byte in the file and the number of bytes; `None` unless the tensor is contiguous.
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

/// How a tensor of a file appears.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its axes.
    pub axes: Axes,
}

/// The axes of a view.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Axes {
    /// As in the file.
    Same,
    /// Of a matrix, rows for columns.
    Swapped,
    /// All elements, as (1, 1, n).
    Vector,
    /// One index of the first axis, as (1, 1, n).
    Row(usize),
}

/// The strides of a contiguous tensor, saturated for shapes that `TensorInfo` refuses.
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
    /// The name: that in the file, unless the file was [viewed](super::TensorFile::viewed) under others.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// The name in the file.
    #[must_use]
    pub fn stored_name(&self) -> &'a str {
        &self.info.stored_name
    }

    /// The type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.info.dtype
    }

    /// The size of each axis; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &'a [usize] {
        &self.info.shape
    }

    /// The number of elements.
    #[must_use]
    pub fn numel(&self) -> usize {
        self.info.shape.iter().product()
    }

    /// The elements in row-major order, little-endian: borrowed from the mapped file when contiguous, copied
    /// otherwise. They may start at any address: do not cast the slice to wider elements.
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

/// A tensor to write.
#[derive(Clone, Debug)]
pub struct NewTensor<'a> {
    /// The name in the file.
    pub name: String,
    /// The type of the elements.
    pub dtype: Dtype,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// The elements in row-major order, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl NewTensor<'_> {
    /// Checks that the length of `bytes` matches `dtype` and `shape`, and adds the name to `names`, which must not have
    /// it yet.
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
    fn only_non_contiguous_tensors_are_copied() {
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
    fn views_take_rows_and_swap_axes() {
        let of = |shape: &[usize], strides: &[usize], axes| {
            let info = TensorInfo::strided("t", STORAGE, 0, shape.into(), strides.into());
            let view = View { name: "v".to_string(), axes };
            let info = info.expect("within the storage").view(view);
            let tensor = TensorRef { info: &info, file: &FILE };
            assert_eq!((tensor.name(), tensor.stored_name()), ("v", "t"));
            (tensor.shape().to_vec(), tensor.bytes().into_owned())
        };
        assert_eq!(of(&[2, 3], &[3, 1], Axes::Same), (vec![2, 3], vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(of(&[2, 3], &[3, 1], Axes::Swapped), (vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(of(&[3], &[1], Axes::Vector), (vec![1, 1, 3], vec![0, 1, 2]));
        assert_eq!(of(&[2, 1, 1, 3], &[3, 3, 3, 1], Axes::Row(1)), (vec![1, 1, 3], vec![3, 4, 5]));
        // What does not fit stays as it is, for the check of shapes to name.
        assert_eq!(of(&[2], &[1], Axes::Swapped).0, [2]);
        assert_eq!(of(&[2, 3], &[3, 1], Axes::Row(2)).0, [2, 3]);
        assert_eq!(of(&[], &[], Axes::Row(0)).0, [0usize; 0]);
    }

    #[test]
    fn tensors_outside_the_storage_are_refused() {
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
