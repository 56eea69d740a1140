//! The GGUF format of llama.cpp, version 3: writes models, one tensor in memory at a time.
//!
//! A file is a header, metadata as keys with typed values, the descriptions of all tensors, and their data, each
//! aligned to 32 bytes. All numbers are little-endian. Sizes of axes stand with the fastest axis first.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use half::{bf16, f16};

use super::atomic::write_atomically;
use super::dtype::Dtype;
use super::error::WeightsError;
use crate::diagnostic::msg;
use crate::input_file::regular_file;

/// The first bytes of a file, and the version of the format.
const MAGIC: (&[u8; 4], u32) = (b"GGUF", 3);
/// Where tensors begin: at multiples of it, after the descriptions.
const ALIGNMENT: usize = 32;
/// Values that share a scale in [`GgufDtype::Q8_0`].
const BLOCK: usize = 32;
/// The number of the type of a text among metadata.
const TEXT: u32 = 8;
/// The longest text that is read back.
const MAX_TEXT: u64 = 1 << 24;

/// The type of the elements of a tensor in a GGUF file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GgufDtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a float32.
    BF16,
    /// Blocks of 32 values of a row: a float16 scale, then 8-bit integers.
    Q8_0,
}

/// A value among the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// An unsigned number.
    U32(u32),
    /// A number.
    F32(f32),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of numbers.
    I32s(Vec<i32>),
}

/// A tensor to write, whose values are made on demand.
pub struct GgufTensor<'a> {
    /// The name in the file.
    pub name: String,
    /// The type of the elements in the file.
    pub dtype: GgufDtype,
    /// The size of each axis, the fastest one last. With [`GgufDtype::Q8_0`] the last is a multiple of 32.
    pub shape: Vec<usize>,
    /// Makes the values in row-major order.
    pub values: Box<dyn Fn() -> Vec<f32> + 'a>,
}

impl GgufDtype {
    /// The number of the type in files.
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
            Self::BF16 => 30,
        }
    }

    /// Whether rows of this length can have the type.
    #[must_use]
    pub fn fits(self, row: usize) -> bool {
        self != Self::Q8_0 || row.is_multiple_of(BLOCK)
    }

    /// Bytes of this many values.
    fn bytes(self, values: usize) -> usize {
        match self {
            Self::F32 => values * 4,
            Self::F16 | Self::BF16 => values * 2,
            Self::Q8_0 => values / BLOCK * (2 + BLOCK),
        }
    }

    /// The bytes of the values in a file.
    fn pack(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Self::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            Self::Q8_0 => values.chunks(BLOCK).flat_map(packed_block).collect(),
        }
    }
}

/// The scale of 32 values, `max |x| / 127`, and each value as the nearest multiple of it.
fn packed_block(values: &[f32]) -> Vec<u8> {
    let scale = values.iter().fold(0.0_f32, |max, x| max.max(x.abs())) / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let multiples = values.iter().map(|x| ((x * inverse).round() as i8).cast_unsigned());
    f16::from_f32(scale).to_le_bytes().into_iter().chain(multiples).collect()
}

impl GgufValue {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::U32(value) => {
                write_number(out, 4)?;
                write_number(out, *value)
            }
            Self::F32(value) => {
                write_number(out, 6)?;
                out.write_all(&value.to_le_bytes())
            }
            Self::Bool(value) => {
                write_number(out, 7)?;
                out.write_all(&[u8::from(*value)])
            }
            Self::Text(text) => {
                write_number(out, TEXT)?;
                write_text(out, text)
            }
            Self::Texts(texts) => {
                write_number(out, 9)?;
                write_number(out, TEXT)?;
                out.write_all(&(texts.len() as u64).to_le_bytes())?;
                texts.iter().try_for_each(|text| write_text(out, text))
            }
            Self::I32s(values) => {
                write_number(out, 9)?;
                write_number(out, 5)?;
                out.write_all(&(values.len() as u64).to_le_bytes())?;
                values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
            }
        }
    }
}

fn write_number(out: &mut impl Write, number: u32) -> io::Result<()> {
    out.write_all(&number.to_le_bytes())
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(&(text.len() as u64).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

/// Writes a GGUF file with this metadata, in this order. The file appears complete, or an existing one stays.
///
/// # Errors
/// `Write`, with `InvalidInput` inside when the values of a tensor do not match its shape.
pub fn write_gguf(
    path: &Path,
    metadata: &[(&str, GgufValue)],
    tensors: &[GgufTensor<'_>],
) -> Result<(), WeightsError> {
    write_atomically(path, |file| {
        let mut out = BufWriter::new(file.as_file_mut());
        let mut header = Vec::new();
        write_header(&mut header, metadata, tensors)?;
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        out.write_all(&header)?;
        for tensor in tensors {
            let values = (tensor.values)();
            if values.len() != tensor.shape.iter().product::<usize>() {
                let GgufTensor { name, shape, .. } = tensor;
                let found = size_of_val(&*values);
                let message = msg!(
                    TENSOR_BYTES_DIFFER,
                    name,
                    found,
                    dtype = Dtype::F32.to_string(),
                    shape = format_args!("{shape:?}")
                );
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            let mut bytes = tensor.dtype.pack(&values);
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            out.write_all(&bytes)?;
        }
        out.flush()
    })
    .map_err(|source| WeightsError::Write { path: path.to_owned(), source })
}

fn write_header(
    out: &mut impl Write,
    metadata: &[(&str, GgufValue)],
    tensors: &[GgufTensor<'_>],
) -> io::Result<()> {
    out.write_all(MAGIC.0)?;
    out.write_all(&MAGIC.1.to_le_bytes())?;
    out.write_all(&(tensors.len() as u64).to_le_bytes())?;
    out.write_all(&(metadata.len() as u64).to_le_bytes())?;
    for (key, value) in metadata {
        write_text(out, key)?;
        value.write(out)?;
    }
    let mut offset = 0;
    for tensor in tensors {
        write_text(out, &tensor.name)?;
        out.write_all(&(tensor.shape.len() as u32).to_le_bytes())?;
        for &size in tensor.shape.iter().rev() {
            out.write_all(&(size as u64).to_le_bytes())?;
        }
        out.write_all(&tensor.dtype.number().to_le_bytes())?;
        out.write_all(&(offset as u64).to_le_bytes())?;
        let bytes = tensor.dtype.bytes(tensor.shape.iter().product());
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    Ok(())
}

/// The first entry of the metadata of a GGUF file, where it is a text: a program's mark on the files that it writes.
#[must_use]
pub fn first_gguf_text(path: &Path) -> Option<(String, String)> {
    let mut file = BufReader::new(regular_file(path).ok()?);
    let mut start = [0; 24];
    file.read_exact(&mut start).ok()?;
    start.starts_with(MAGIC.0).then_some(())?;
    let key = read_text(&mut file)?;
    let mut kind = [0; 4];
    file.read_exact(&mut kind).ok()?;
    (u32::from_le_bytes(kind) == TEXT).then_some(())?;
    Some((key, read_text(&mut file)?))
}

fn read_text(file: &mut impl Read) -> Option<String> {
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    let mut text = Vec::new();
    file.take(length.min(MAX_TEXT)).read_to_end(&mut text).ok()?;
    String::from_utf8(text).ok().filter(|text| text.len() as u64 == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_file_are_where_the_header_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.gguf");
        let metadata =
            [("mark", GgufValue::Text("one".into())), ("general.number", GgufValue::U32(7))];
        let tensor = |name: &str, dtype, values: Vec<f32>| GgufTensor {
            name: name.into(),
            dtype,
            shape: vec![1, values.len()],
            values: Box::new(move || values.clone()),
        };
        let tensors = [
            tensor("a", GgufDtype::F32, vec![1.0, -2.0, 3.0]),
            tensor("b", GgufDtype::BF16, vec![0.5; 2]),
        ];
        write_gguf(&path, &metadata, &tensors).expect("written");
        let bytes = std::fs::read(&path).expect("a file");
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let data = &bytes[bytes.len() - 2 * ALIGNMENT..];
        assert_eq!(data[4..8], (-2.0_f32).to_le_bytes());
        assert_eq!(data[ALIGNMENT..ALIGNMENT + 2], [0x00, 0x3f]);
        assert_eq!(first_gguf_text(&path), Some(("mark".into(), "one".into())));
        std::fs::write(&path, &bytes[..40]).expect("a file");
        assert_eq!(first_gguf_text(&path), None);
    }

    #[test]
    fn a_block_of_eight_bits_has_the_scale_of_its_largest_value() {
        let mut values = vec![0.0; 32];
        values[..4].copy_from_slice(&[127.0, -127.0, 0.5, -0.4]);
        let packed = GgufDtype::Q8_0.pack(&values);
        assert_eq!(packed.len(), GgufDtype::Q8_0.bytes(32));
        assert_eq!(packed[..6], [0x00, 0x3c, 127, 129, 1, 0]);
        assert!(GgufDtype::Q8_0.fits(64) && !GgufDtype::Q8_0.fits(48));
    }

    #[test]
    fn values_that_do_not_fill_the_shape_leave_no_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.gguf");
        let tensors = [GgufTensor {
            name: "a".into(),
            dtype: GgufDtype::F32,
            shape: vec![2],
            values: Box::new(|| vec![1.0]),
        }];
        assert!(write_gguf(&path, &[], &tensors).is_err());
        assert!(!path.exists());
    }
}
