//! `.pth`: a state dict as `torch.save` writes it since PyTorch 1.6.
//!
//! A ZIP archive without compression: `<root>/data.pkl`, a pickle that describes the tensors; `<root>/data/<key>`, the
//! elements of one storage each; `<root>/byteorder` and `<root>/version`. The root is any name. Tensors may share a
//! storage, begin anywhere in it and have any strides.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::archive;
use super::atomic::write_atomically;
use super::dtype::Dtype;
use super::error::{Problem, WeightsError, quoted};
use super::pickle::{self, op};
use super::tensor::{NewTensor, Storage, TensorInfo, row_major};
use crate::diagnostic::{Text, msg};

/// The root of written archives, independent of the file's name.
const ROOT: &str = "archive";
/// PyTorch's alignment of storages in bytes, so that they can be mapped.
const ALIGNMENT: u16 = 64;

/// The tensors of a `.pth` file, in the order of its state dict.
pub(super) fn read(file: &[u8]) -> Result<Vec<TensorInfo>, Problem> {
    let entries = archive::entries(file)?;
    let root = entries.keys().filter_map(|name| name.strip_suffix("/data.pkl")).min();
    let root = root.ok_or_else(|| not_a_state_dict(msg!(ZIP_WITHOUT_PICKLE), None))?;
    let entry = |name: &str| entries.get(format!("{root}/{name}").as_str());
    if entry("constants.pkl").is_some() {
        return Err(not_a_state_dict(
            msg!(TORCHSCRIPT_PROGRAM),
            Some(msg!(SAVE_MODULE_STATE_DICT)),
        ));
    }
    if let Some(byteorder) = entry("byteorder")
        && file[byteorder.range()?] != *b"little"
    {
        return Err(not_a_state_dict(msg!(BIG_ENDIAN), Some(msg!(SAVE_LITTLE_ENDIAN))));
    }

    let data_pkl = entry("data.pkl").expect("the root was found by this entry");
    let mut tensors = Vec::new();
    for (name, tensor) in pickle::state_dict(&file[data_pkl.range()?])? {
        let pickle::PickledStorage { dtype, key, len } = tensor.storage;
        let (key, name_quoted) = (format!("data/{key}"), quoted(name));
        let data = entry(&key).ok_or_else(|| {
            let key = quoted(&key);
            Problem::Corrupted(msg!(STORAGE_MISSING, key, name_quoted))
        })?;
        let data = data.range()?;
        if len.checked_mul(dtype.size()).is_none_or(|size| size > data.len()) {
            return Err(Problem::Corrupted(msg!(
                STORAGE_SIZE,
                key = quoted(&key),
                name_quoted,
                bytes = data.len(),
                len,
                dtype = dtype.to_string()
            )));
        }
        let storage = Storage { dtype, start: data.start, len };
        let (shape, strides) = (tensor.shape, tensor.strides);
        tensors.push(TensorInfo::strided(name, storage, tensor.offset, shape, strides)?);
    }
    Ok(tensors)
}

fn not_a_state_dict(found: Text, hint: Option<Text>) -> Problem {
    Problem::NotACheckpoint { found, hint }
}

/// Writes a `.pth` state dict that Python's `torch.load(..., weights_only=True)` reads.
///
/// The tensors keep their order; each has its own storage. The top level is an `OrderedDict` with a `_metadata`
/// attribute, like the state dict of a module: converters of other programs require it. Each tensor is dropped before
/// the next is taken from `tensors`. The file appears complete, or an existing one stays.
///
/// # Errors
/// `Write`, with `InvalidInput` inside when two tensors share a name or the bytes of one do not
/// match its dtype and shape.
pub fn write_pth<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = NewTensor<'a>>,
) -> Result<(), WeightsError> {
    write_atomically(path, |file| write_archive(file.as_file_mut(), tensors))
        .map_err(|source| WeightsError::Write { path: path.to_owned(), source })
}

fn write_archive<'a>(
    file: &mut File,
    tensors: impl IntoIterator<Item = NewTensor<'a>>,
) -> io::Result<()> {
    let mut archive = ZipWriter::new(Quiet::new(BufWriter::new(file)));
    let mut put = |name: &str, contents: &[u8]| {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(u32::try_from(contents.len()).is_err());
        archive.start_file(format!("{ROOT}/{name}"), options)?;
        archive.write_all(contents)
    };
    let mut names = HashSet::new();
    let mut written = Vec::new();
    for (key, tensor) in tensors.into_iter().enumerate() {
        tensor.check(&mut names)?;
        put(&format!("data/{key}"), &tensor.bytes)?;
        let NewTensor { name, dtype, shape, .. } = tensor;
        written.push(Written { name, dtype, shape });
    }
    put("data.pkl", &pickle(&written))?;
    put("byteorder", b"little")?;
    put("version", b"3\n")?;
    archive.finish()?.flush()
}

/// A writer that returns the first error of `inner`, and afterwards only counts, as if all were written.
///
/// A [`ZipWriter`] that is dropped after an error still writes its end, and prints to standard error when that fails.
#[derive(Debug)]
struct Quiet<W> {
    inner: W,
    /// The position in the file.
    at: u64,
    has_failed: bool,
}

impl<W> Quiet<W> {
    fn new(inner: W) -> Quiet<W> {
        Quiet { inner, at: 0, has_failed: false }
    }

    /// The result of `act`, or `counted` after an error.
    fn attempt<T>(
        &mut self,
        counted: T,
        act: impl FnOnce(&mut W) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.has_failed {
            return Ok(counted);
        }
        let result = act(&mut self.inner);
        self.has_failed = result.is_err();
        result
    }
}

impl<W: Write> Write for Quiet<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.attempt(bytes.len(), |inner| inner.write(bytes))?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), W::flush)
    }
}

impl<W: Seek> Seek for Quiet<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let counted = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(_) => self.at,
        };
        self.at = self.attempt(counted, |inner| inner.seek(to))?;
        Ok(self.at)
    }
}

/// The description of a tensor whose elements are in the archive.
struct Written {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

/// The state dict whose tensor number `i` is all of storage `i`, in pickle protocol 2.
fn pickle(tensors: &[Written]) -> Vec<u8> {
    let mut pickle = Pickle(vec![op::PROTO, 2]);
    pickle.ordered_dict();
    pickle.0.push(op::MARK);
    for (key, Written { name, dtype, shape }) in tensors.iter().enumerate() {
        let numel = shape.iter().product();
        pickle.text(name);
        pickle.global("torch._utils", "_rebuild_tensor_v2");
        pickle.0.push(op::MARK);

        pickle.0.push(op::MARK);
        pickle.text("storage");
        pickle.global("torch", dtype.storage_class());
        pickle.text(&key.to_string());
        pickle.text("cpu");
        pickle.number(numel);
        pickle.0.extend([op::TUPLE, op::BINPERSID]);

        pickle.number(0); // offset
        pickle.numbers(shape);
        pickle.numbers(&row_major(shape));
        pickle.0.push(op::NEWFALSE); // needs no gradient
        pickle.ordered_dict(); // has no hooks
        pickle.0.extend([op::TUPLE, op::REDUCE]);
    }
    pickle.0.push(op::SETITEMS);

    pickle.0.push(op::EMPTY_DICT);
    pickle.text("_metadata");
    pickle.ordered_dict();
    pickle.0.extend([op::SETITEM, op::BUILD, op::STOP]);
    pickle.0
}

/// A pickle in the making.
struct Pickle(Vec<u8>);

impl Pickle {
    fn global(&mut self, module: &str, name: &str) {
        self.0.push(op::GLOBAL);
        self.0.extend(format!("{module}\n{name}\n").bytes());
    }

    /// An empty `OrderedDict`.
    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.0.extend([op::EMPTY_TUPLE, op::REDUCE]);
    }

    fn text(&mut self, text: &str) {
        let len = u32::try_from(text.len()).expect("no name has 4 GB");
        self.0.push(op::BINUNICODE);
        self.0.extend(len.to_le_bytes());
        self.0.extend(text.bytes());
    }

    /// The shortest instruction for `value`, as Python chooses it.
    fn number(&mut self, value: usize) {
        if let Ok(value) = u8::try_from(value) {
            self.0.extend([op::BININT1, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.0.push(op::BININT2);
            self.0.extend(value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.0.push(op::BININT);
            self.0.extend(value.to_le_bytes());
        } else {
            self.0.extend([op::LONG1, 8]);
            self.0.extend((value as u64).to_le_bytes());
        }
    }

    fn numbers(&mut self, values: &[usize]) {
        self.0.push(op::MARK);
        for &value in values {
            self.number(value);
        }
        self.0.push(op::TUPLE);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::path::PathBuf;

    use super::super::tensor::TensorRef;
    use super::*;

    /// Files made by `tests/data/make_pth.py` with torch 2.11.0, seed 7.
    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/pth").join(name)
    }

    fn read_fixture(name: &str) -> Vec<u8> {
        std::fs::read(fixture(name)).expect("a file of this repository")
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn files_of_torch_are_read() {
        let expected: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&read_fixture("expected.json")).expect("JSON");
        assert_eq!(expected.len(), 10);
        for (name, expected) in expected {
            let file = read_fixture(&name);
            let tensors = read(&file).unwrap_or_else(|problem| panic!("{name}: {problem}"));
            let found: Vec<_> = tensors
                .iter()
                .map(|info| {
                    let tensor = TensorRef { info, file: &file };
                    serde_json::json!({
                        "name": tensor.name(),
                        "dtype": tensor.dtype().name(),
                        "shape": tensor.shape(),
                        "hex": hex(&tensor.bytes()),
                    })
                })
                .collect();
            assert_eq!(serde_json::Value::from(found), expected, "{name}");
        }
    }

    #[test]
    fn other_files_of_torch_are_refused() {
        let expected = "expected tensors by name, in a .pth or .safetensors file";
        for (name, message) in [
            ("code", "refused to load the file: it calls `posix.system`"),
            ("nested", &format!("found a dict in the place `state_dict`, {expected}")),
            ("epoch", &format!("found a number in the place `epoch`, {expected}")),
            ("list", &format!("found a list, {expected}")),
            ("complex", "refused to load the file: it calls `torch.ComplexFloatStorage`"),
            ("torchscript", &format!("found a TorchScript program, {expected}")),
            (
                "expanded",
                &format!(
                    "found tensor `emb.weight` that repeats elements of its storage, {expected}"
                ),
            ),
        ] {
            let problem = read(&read_fixture(&format!("refused_{name}.pth")));
            assert_eq!(problem.expect_err(name).to_string(), message, "{name}");
        }
    }

    fn tensors() -> Vec<NewTensor<'static>> {
        let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
            let len = shape.iter().product::<usize>() * dtype.size();
            let bytes = (0..len).map(|byte| byte as u8).collect();
            NewTensor { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
        };
        let mut tensors = vec![
            tensor("blocks.1.att.time_state", Dtype::BF16, &[2, 64, 64]),
            tensor("blocks.0.att.time_state", Dtype::F32, &[2, 3, 5]),
            tensor("scalar", Dtype::F64, &[]),
            tensor("empty", Dtype::F16, &[4, 0]),
            tensor("long", Dtype::U8, &[70_000]),
        ];
        tensors.extend(Dtype::ALL.map(|dtype| tensor(dtype.name(), dtype, &[3])));
        tensors
    }

    fn written(tensors: Vec<NewTensor<'_>>) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile()?;
        write_archive(&mut file, tensors)?;
        io::Seek::rewind(&mut file)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let file = written(tensors()).expect("written");
        let infos = read(&file).expect("a sound file");
        assert_eq!(infos.len(), tensors().len());
        for (info, expected) in infos.iter().zip(tensors()) {
            let tensor = TensorRef { info, file: &file };
            let NewTensor { name, dtype, shape, bytes } = expected;
            assert_eq!((tensor.name(), tensor.dtype()), (name.as_str(), dtype));
            assert_eq!(tensor.shape(), shape);
            assert!(matches!(tensor.bytes(), Cow::Borrowed(found) if bytes == found), "{name}");
            let start = tensor.bytes().as_ptr().addr() - file.as_ptr().addr();
            assert!(start.is_multiple_of(ALIGNMENT.into()), "{name} at {start}");
        }
        assert_eq!(file, written(tensors()).expect("written"), "the same bytes each time");
    }

    #[test]
    fn impossible_tensors_are_refused() {
        let mut short = tensors();
        short[1].bytes = vec![0; 7].into();
        assert_eq!(
            written(short).expect_err("too short").to_string(),
            "tensor `blocks.0.att.time_state`: 7 bytes do not match float32 [2, 3, 5]"
        );
        let mut twice = tensors();
        twice[1].name = twice[0].name.clone();
        assert_eq!(
            written(twice).expect_err("two of a name").to_string(),
            "two tensors are named `blocks.1.att.time_state`"
        );
    }

    #[test]
    fn storages_are_checked() {
        let good = written(tensors()).expect("written");
        let replaced = |from: &[u8], to: &[u8]| {
            let at =
                good.windows(from.len()).rposition(|window| window == from).expect("it occurs");
            let file = [&good[..at], to, &good[at + from.len()..]].concat();
            read(&file).expect_err("damaged").to_string()
        };
        let bool_key = b"BoolStorage\nX\x02\0\0\x0014";
        assert_eq!(
            replaced(bool_key, b"BoolStorage\nX\x02\0\0\x0099"),
            "the file is corrupted: `data/99` with tensor `bool` is missing"
        );
        assert_eq!(
            replaced(b"LongStorage\nX\x01\0\0\x009", b"LongStorage\nX\x01\0\0\x003"),
            "the file is corrupted: `data/3` with tensor `int64` has 0 bytes for 3 elements of int64"
        );
        assert!(replaced(b"little", b"bigend").contains("big-endian"));
    }
}
