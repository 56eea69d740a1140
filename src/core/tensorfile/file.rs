//! An open checkpoint file of either format.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Problem, WeightsError};
use super::mapped::MappedFile;
use super::tensor::{TensorInfo, TensorRef, View};
use super::{archive, pth, safetensors};
use crate::diagnostic::{Text, msg};

/// The format of a checkpoint file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileFormat {
    /// The ZIP archive of PyTorch.
    Pth,
    /// The safetensors format of Hugging Face.
    Safetensors,
}

/// A checkpoint file mapped into memory, with the places of its tensors.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: MappedFile,
    contents: Contents,
    /// Indices into `contents.tensors`, by name.
    places: HashMap<String, usize>,
}

/// The description that a file's bytes contain.
#[derive(Debug)]
struct Contents {
    format: FileFormat,
    tensors: Vec<TensorInfo>,
    metadata: HashMap<String, String>,
}

impl TensorFile {
    /// Maps the file at `path` and finds its tensors, without reading their data.
    ///
    /// The contents determine the format, not the file's extension. The file must not change while it is open: if
    /// another process truncates it, a signal ends this process.
    ///
    /// # Errors
    /// `Read` when the file cannot be read, `Contents` when it is not a valid checkpoint.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref().to_owned();
        let map = match MappedFile::open(&path) {
            Ok(map) => map,
            Err(source) => return Err(WeightsError::Read { path, source }),
        };
        let contents = match parse(map.bytes()) {
            Ok(contents) => contents,
            Err(problem) => return Err(WeightsError::Contents { path, problem }),
        };
        let places = places(&contents.tensors);
        Ok(Self { path, map, contents, places })
    }

    /// The same file with its tensors under other names and axes: every tensor becomes the views that `views` gives for
    /// its name, in their order. No data is read.
    #[must_use]
    pub fn viewed(mut self, views: impl Fn(&str) -> Vec<View>) -> Self {
        let old = std::mem::take(&mut self.contents.tensors);
        let new = old
            .iter()
            .flat_map(|info| views(&info.name).into_iter().map(move |view| info.view(view)));
        self.contents.tensors = new.collect();
        self.places = places(&self.contents.tensors);
        self
    }

    /// The path given to [`TensorFile::open`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's format.
    #[must_use]
    pub fn format(&self) -> FileFormat {
        self.contents.format
    }

    /// The `__metadata__` of a safetensors file; empty for a `.pth`.
    #[must_use]
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.contents.metadata
    }

    /// The names of the tensors, in file order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.contents.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// The tensors, in file order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorRef<'_>> {
        self.contents.tensors.iter().map(|info| TensorRef { info, file: self.map.bytes() })
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<TensorRef<'_>> {
        let info = &self.contents.tensors[*self.places.get(name)?];
        Some(TensorRef { info, file: self.map.bytes() })
    }

    /// Releases the memory pages of a tensor, where the system supports it. Reading the tensor again loads the pages
    /// from the file.
    pub fn forget_pages(&self, name: &str) {
        if let Some(bytes) = self.place(name) {
            self.map.forget(bytes);
        }
    }

    /// Where the elements of a tensor are in the file; `None` unless they are contiguous.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        let (offset, len) = self.contents.tensors[*self.places.get(name)?].place()?;
        Some(offset..offset + len)
    }

    /// The mapped file.
    #[must_use]
    pub fn mapped(&self) -> &MappedFile {
        &self.map
    }
}

/// The index of each tensor, by name.
fn places(tensors: &[TensorInfo]) -> HashMap<String, usize> {
    let names = tensors.iter().map(|tensor| tensor.name.clone());
    names.enumerate().map(|(place, name)| (name, place)).collect()
}

/// Determines the format of a file by its contents and finds the tensors.
fn parse(file: &[u8]) -> Result<Contents, Problem> {
    if file.starts_with(archive::MAGIC) {
        let tensors = pth::read(file)?;
        return Ok(Contents { format: FileFormat::Pth, tensors, metadata: HashMap::new() });
    }
    if safetensors::sniff(file) {
        let (tensors, metadata) = safetensors::read(file)?;
        return Ok(Contents { format: FileFormat::Safetensors, tensors, metadata });
    }
    let (found, hint) = recognise(file);
    Err(Problem::NotACheckpoint { found, hint })
}

/// Names a file of neither format, and says how to get a checkpoint from it.
fn recognise(file: &[u8]) -> (Text, Option<Text>) {
    /// A pickle of the magic number of PyTorch's format before 1.6.
    const LEGACY_PTH: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let head = &file[..file.len().min(512)];
    let text =
        String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_lowercase();
    if file.is_empty() {
        (msg!(EMPTY_FILE), Some(msg!(COPY_AGAIN)))
    } else if file.starts_with(LEGACY_PTH) {
        (msg!(OLD_PTH_FILE), Some(msg!(SAVE_WITH_NEWER_PYTORCH)))
    } else if text.starts_with("version https://git-lfs.github.com/spec/") {
        (msg!(GIT_LFS_POINTER), Some(msg!(FETCH_WITH_LFS)))
    } else if ["<!doctype", "<html", "<?xml"].iter().any(|start| text.starts_with(start)) {
        (msg!(WEB_PAGE), Some(msg!(USE_FILE_LINK)))
    } else if file.starts_with(b"GGUF") {
        (msg!(GGUF_FILE), Some(msg!(TAKE_ORIGINAL_FORM)))
    } else {
        (msg!(FILE_ANOTHER_KIND), None)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::super::{Dtype, NewTensor, write_pth, write_safetensors};
    use super::*;

    fn write_files(folder: &Path) -> [PathBuf; 2] {
        let tensors = || {
            (0..3_u8).map(|i| NewTensor {
                name: format!("blocks.{i}.att.time_state"),
                dtype: Dtype::BF16,
                shape: vec![1, 4, 4],
                bytes: vec![i; 32].into(),
            })
        };
        // Wrong extensions: only the contents count.
        let paths = [folder.join("pth.st"), folder.join("st")];
        write_pth(&paths[0], tensors()).expect("written");
        write_safetensors(&paths[1], tensors(), &[]).expect("written");
        paths
    }

    #[test]
    fn contents_tell_the_format() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let paths = write_files(folder.path());
        for (path, format) in paths.iter().zip([FileFormat::Pth, FileFormat::Safetensors]) {
            let file = TensorFile::open(path).expect("a sound file");
            assert_eq!((file.path(), file.format()), (path.as_path(), format));
            assert_eq!(file.names().len(), 3);
            assert_eq!(file.tensors().nth(2).expect("three").name(), "blocks.2.att.time_state");
            let tensor = file.get("blocks.1.att.time_state").expect("a name of the file");
            assert_eq!((tensor.shape(), tensor.numel()), ([1, 4, 4].as_slice(), 16));
            assert!(matches!(tensor.bytes(), Cow::Borrowed(bytes) if bytes == [1; 32]));
            assert!(file.get("blocks.3.att.time_state").is_none());
        }
    }

    #[test]
    fn common_wrong_downloads_are_named() {
        let found = |file: &[u8]| match parse(file) {
            Err(Problem::NotACheckpoint { found, .. }) => found,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(b""), "an empty file");
        assert_eq!(found(b"\n <!DOCTYPE html><title>rwkv"), "a web page");
        assert_eq!(found(b"\xef\xbb\xbf<html lang=en>"), "a web page");
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
        assert_eq!(found(pointer), "a Git LFS pointer instead of the file");
        assert_eq!(found(b"GGUF\x03\0\0\0"), "a GGUF file");
        assert_eq!(found(b"Invalid username or password."), "a file of another kind");
        assert_eq!(found(&[0xff; 1000]), "a file of another kind");
        let legacy =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/pth/refused_legacy.pth");
        let legacy = std::fs::read(legacy).expect("a file of this repository");
        assert_eq!(found(&legacy), "a .pth file in PyTorch's format from before version 1.6");
    }

    #[test]
    fn unreadable_paths_are_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for path in [folder.path().to_owned(), folder.path().join("absent.pth")] {
            let error = TensorFile::open(&path).expect_err("no file");
            assert_eq!(error.code(), "ST4010");
            let expected = format!("cannot read the weights file `{}`", path.display());
            assert_eq!(error.to_string(), expected);
        }
    }

    /// Parses hostile bytes; each tensor found must be readable and no larger than the file.
    fn survives(file: &[u8]) {
        let Ok(contents) = parse(file) else { return };
        for info in &contents.tensors {
            let tensor = TensorRef { info, file };
            let len = tensor.numel() * tensor.dtype().size();
            assert!(len <= file.len());
            assert_eq!(tensor.bytes().len(), len);
        }
    }

    /// Valid files of both formats: written here, and by `tests/data/make_pth.py`.
    static SOUND: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/pth");
        let fixtures =
            ["views.pth", "module.pth", "protocol_4.pth"].map(|name| fixtures.join(name));
        let paths = write_files(folder.path()).into_iter().chain(fixtures);
        paths.map(|path| std::fs::read(path).expect("a readable file")).collect()
    });

    #[test]
    fn truncated_files_are_refused() {
        for file in SOUND.iter() {
            for len in 0..file.len() {
                assert!(parse(&file[..len]).is_err(), "cut at {len} of {}", file.len());
            }
        }
    }

    #[test]
    fn any_single_byte_may_be_wrong() {
        for mut file in SOUND.clone() {
            for at in 0..file.len() {
                let sound = file[at];
                for wrong in [0, 0x7f, 0xff, sound ^ 1, sound.wrapping_add(1), b'(', b'u', b'R'] {
                    file[at] = wrong;
                    survives(&file);
                }
                file[at] = sound;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn many_bytes_may_be_wrong(
            which in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut file = which.get(&SOUND).clone();
            for (at, value) in changes {
                let at = at.index(file.len());
                file[at] = value;
            }
            if let Some(cut) = cut {
                file.truncate(cut.index(file.len()));
            }
            survives(&file);
        }
    }
}
