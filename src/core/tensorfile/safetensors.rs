//! `.safetensors` (or `.st`): a JSON header of names, dtypes, shapes and byte ranges, then the elements.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::{fs, io};

use safetensors::tensor::Metadata;
use safetensors::{SafeTensorError, View};

use super::atomic::{temporary_folder, write_atomically};
use super::dtype::Dtype;
use super::error::{Problem, WeightsError, quoted};
use super::tensor::{NewTensor, Storage, TensorInfo};
use crate::diagnostic::msg;

/// The bytes before the header: its length, little-endian.
const LENGTH_LEN: usize = 8;
/// The longest valid header; the limit of the format's own library.
const MAX_HEADER_LEN: u64 = 100_000_000;

/// Whether `file` begins like a safetensors file.
pub(super) fn sniff(file: &[u8]) -> bool {
    header_len(file).is_some_and(|len| len <= MAX_HEADER_LEN) && file.get(LENGTH_LEN) == Some(&b'{')
}

fn header_len(file: &[u8]) -> Option<u64> {
    file.first_chunk().map(|&bytes| u64::from_le_bytes(bytes))
}

/// The tensors of a safetensors file, in the order of their data, and its `__metadata__`.
pub(super) fn read(file: &[u8]) -> Result<(Vec<TensorInfo>, HashMap<String, String>), Problem> {
    let header_len = header_len(file).and_then(|len| usize::try_from(len).ok());
    let data_start = header_len.and_then(|len| len.checked_add(LENGTH_LEN));
    let header = data_start
        .and_then(|stop| file.get(LENGTH_LEN..stop))
        .ok_or_else(|| Problem::Corrupted(msg!(ENDS_IN_HEADER)))?;
    // Not `SafeTensors::deserialize`, which sums the claimed lengths without a check for overflow.
    let metadata: Metadata = serde_json::from_slice(header).map_err(|error| {
        Problem::Corrupted(msg!(HEADER_PROBLEM, problem = quoted(&error.to_string())))
    })?;
    let data_start = LENGTH_LEN + header.len();
    let data_len = file.len() - data_start;
    if metadata.data_len() != data_len {
        return Err(Problem::Corrupted(msg!(
            TENSOR_BYTES,
            data_len,
            promised = metadata.data_len()
        )));
    }

    // By name for equal byte ranges, as of empty tensors.
    let mut infos: Vec<_> = metadata.tensors().into_iter().collect();
    infos.sort_by(|(a, a_info), (b, b_info)| {
        (a_info.data_offsets, a).cmp(&(b_info.data_offsets, b))
    });
    let mut tensors = Vec::new();
    for (name, info) in infos {
        let dtype = Dtype::ALL.into_iter().find(|dtype| dtype.safetensors() == info.dtype);
        let dtype = dtype.ok_or_else(|| Problem::NotACheckpoint {
            found: msg!(
                TENSOR_OF_DTYPE,
                name = quoted(&name),
                dtype = format_args!("{:?}", info.dtype)
            ),
            hint: None,
        })?;
        let (start, stop) = info.data_offsets;
        let len = (stop - start) / dtype.size();
        let storage = Storage { dtype, start: data_start + start, len };
        tensors.push(TensorInfo::contiguous(&name, storage, info.shape.clone())?);
    }
    Ok((tensors, metadata.metadata().clone().unwrap_or_default()))
}

/// Writes a safetensors file with `metadata` as its `__metadata__`; programs for RWKV expect `("format", "pt")` in it.
///
/// The tensors are sorted by dtype and name, and all are in memory until the file is written. The file appears
/// complete, or an existing one stays.
///
/// # Errors
/// `Write`, with `InvalidInput` inside when two tensors share a name or the bytes of one do not
/// match its dtype and shape.
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = NewTensor<'a>>,
    metadata: &[(&str, &str)],
) -> Result<(), WeightsError> {
    let checked = || {
        let mut names = HashSet::new();
        let mut views = Vec::new();
        for tensor in tensors {
            tensor.check(&mut names)?;
            views.push((tensor.name.clone(), tensor));
        }
        Ok(views)
    };
    write(path, checked, metadata)
}

/// A tensor to write, whose bytes are made on demand.
pub struct LazyTensor<'a> {
    /// The name in the file.
    pub name: String,
    /// The type of the elements.
    pub dtype: Dtype,
    /// The size of each axis.
    pub shape: Vec<usize>,
    /// Makes the elements in row-major order, little-endian: as many bytes as `dtype` and `shape` need.
    pub bytes: Box<dyn Fn() -> Cow<'a, [u8]> + 'a>,
}

/// Like [`write_safetensors`], with one tensor in memory at a time. Names must be unique.
///
/// # Errors
/// `Write`.
pub fn write_lazily(
    path: &Path,
    tensors: Vec<LazyTensor<'_>>,
    metadata: &[(&str, &str)],
) -> Result<(), WeightsError> {
    let views = || Ok(tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect());
    write(path, views, metadata)
}

fn write<V: View>(
    path: &Path,
    views: impl FnOnce() -> io::Result<Vec<(String, V)>>,
    metadata: &[(&str, &str)],
) -> Result<(), WeightsError> {
    let metadata =
        metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    write_atomically(path, |file| {
        let folder = temporary_folder(file.path().parent().unwrap_or(Path::new(".")))?;
        let whole = folder.path().join("tensors");
        safetensors::serialize_to_file(views()?, Some(metadata), &whole).map_err(|error| {
            match error {
                SafeTensorError::IoError(error) => error,
                other => io::Error::other(other),
            }
        })?;
        fs::set_permissions(&whole, file.as_file().metadata()?.permissions())?;
        fs::rename(&whole, file.path())
    })
    .map_err(|source| WeightsError::Write { path: path.to_owned(), source })
}

impl View for LazyTensor<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype.safetensors()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (self.bytes)()
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

impl View for NewTensor<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype.safetensors()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::TensorFile;
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn problem(file: &[u8]) -> String {
        read(file).expect_err("to be refused").to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state.st");
        let state = |i: usize, bytes: Vec<u8>| NewTensor {
            name: format!("blocks.{i}.att.time_state"),
            dtype: Dtype::F16,
            shape: vec![1, 2, 2],
            bytes: bytes.into(),
        };
        let tensors = [state(1, (8..16).collect()), state(0, (0..8).collect())];
        write_safetensors(&path, tensors, &[("format", "pt")]).expect("written");

        // As readable as any new file, and alone.
        let mode = |path: &Path| fs::metadata(path).expect("a file").permissions();
        let other = tempfile::tempdir().expect("a temporary folder").path().join("other");
        fs::create_dir_all(other.parent().expect("a folder")).expect("a folder");
        fs::write(&other, "").expect("written");
        assert_eq!(mode(&path), mode(&other));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);

        let file = TensorFile::open(&path).expect("a sound file");
        assert_eq!(file.metadata()["format"], "pt");
        let names: Vec<_> = file.names().collect();
        assert_eq!(names, ["blocks.0.att.time_state", "blocks.1.att.time_state"]);
        let second = file.get(names[1]).expect("a name of the file");
        assert_eq!((second.dtype(), second.shape()), (Dtype::F16, [1, 2, 2].as_slice()));
        assert!(matches!(second.bytes(), Cow::Borrowed([8, 9, 10, 11, 12, 13, 14, 15])));
        let bytes = std::fs::read(&path).expect("written");
        let header_len = header_len(&bytes).expect("a header");
        assert!(header_len.is_multiple_of(8), "{header_len}");

        let twice = write_safetensors(&path, [state(0, vec![0; 8]), state(0, vec![0; 8])], &[]);
        let source = std::error::Error::source(&twice.expect_err("two of a name"))
            .expect("the reason")
            .to_string();
        assert_eq!(source, "two tensors are named `blocks.0.att.time_state`");
    }

    #[test]
    fn damage_is_an_error() {
        let good = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        let good = file(good, &[0; 8]);
        assert!(read(&good).is_ok());
        for len in 0..good.len() {
            assert!(read(&good[..len]).is_err(), "cut at {len}");
        }
        let cut =
            "the file is corrupted: the file has 7 bytes of tensors, but its header describes 8";
        assert_eq!(problem(&good[..good.len() - 1]), cut);

        // Eight tensors, together so long that the file's length would not fit 64 bits.
        let len = (1_u64 << 61) - 1;
        let tensors = (0..8).map(|i| {
            let (start, stop) = (i * len, (i + 1) * len);
            format!(r#""{i}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{start},{stop}]}}"#)
        });
        let huge = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
        let promise = format!("its header describes {}", 8 * len);
        assert!(problem(&file(&huge, &[0; 8])).ends_with(&promise));
        assert!(problem(&file("{", &[])).contains("in the header: "));
        assert_eq!(
            problem(&file(
                r#"{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#,
                &[0; 8]
            )),
            "found tensor `a` of dtype F8_E4M3, expected tensors by name, in a .pth or \
             .safetensors file"
        );
    }
}
