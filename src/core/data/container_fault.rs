//! What can be wrong with a file of records as a whole.

use crate::diagnostic::{Diagnostic, Join, Text, msg};

/// What is wrong with a file of records, as the predicate of a sentence about that file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub enum ContainerFault {
    /// The file is of another format than the setting says.
    Contradiction {
        /// The setting.
        asked: &'static str,
        /// The setting for what the file is.
        found: &'static str,
    },
    /// The file holds no records that can be read.
    Foreign(ForeignFile),
    /// The text has an encoding that is not recognized without being told.
    Encoding {
        /// The encoding.
        name: &'static str,
    },
    /// The file is damaged, incomplete, or uses something that is not supported.
    Broken {
        /// The format.
        container: &'static str,
        /// The reader's reason.
        problem: Text,
    },
    /// The file is encrypted.
    Encrypted {
        /// The format.
        container: &'static str,
    },
    /// A record is too long to be held.
    TooLong {
        /// The line on which it begins.
        line: u64,
        /// The most bytes of a record.
        limit: usize,
    },
    /// A plain text is longer than its file, and too long to be held.
    TextTooLong {
        /// The most bytes of such a text.
        limit: u64,
    },
    /// The file ends within a list.
    ListNotClosed {
        /// Its last line.
        line: u64,
    },
    /// An object holds several lists, each of which may be the records.
    SeveralLists {
        /// Their keys.
        keys: Vec<String>,
    },
    /// The first row of a table does not name the columns.
    Header {
        /// What is wrong with it.
        problem: Text,
    },
    /// The file ends within a quoted cell.
    QuoteNotClosed {
        /// The line on which its row begins.
        line: u64,
    },
}

/// A kind of file that holds no records, or holds them in a way that is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ForeignFile {
    /// A ZIP archive, such as an Excel workbook.
    Zip,
    /// A compression that is not read.
    Compressed(&'static str),
    /// A table that is compressed as a whole.
    CompressedTable(&'static str),
    /// A tar archive.
    Tar,
    /// The first version of Feather.
    Feather1,
    /// Weights of a model.
    Weights,
    /// An array of NumPy.
    Numpy,
    /// A Jupyter notebook.
    Notebook,
    /// Another format, by name.
    Named(&'static str),
    /// What Git stores in place of a large file.
    LfsPointer,
    /// A web page.
    WebPage,
}

/// The first bytes of files that hold no records.
const MAGICS: [(&[u8], ForeignFile); 20] = [
    (b"PK\x03\x04", ForeignFile::Zip),
    (b"\xfd7zXZ\0", ForeignFile::Compressed("xz")),
    (b"BZh", ForeignFile::Compressed("bzip2")),
    (b"\x04\x22\x4d\x18", ForeignFile::Compressed("lz4")),
    (b"7z\xbc\xaf\x27\x1c", ForeignFile::Compressed("7z")),
    (b"Rar!", ForeignFile::Compressed("rar")),
    (b"PAR1", ForeignFile::CompressedTable("Parquet")),
    (b"ARROW1", ForeignFile::CompressedTable("Arrow")),
    (b"FEA1", ForeignFile::Feather1),
    (b"SQLite format 3", ForeignFile::Named("SQLite database")),
    (b"\x89HDF", ForeignFile::Named("HDF5 file")),
    (b"Obj\x01", ForeignFile::Named("Avro file")),
    (b"%PDF-", ForeignFile::Named("PDF document")),
    (b"\xd0\xcf\x11\xe0", ForeignFile::Named("document of Microsoft Office")),
    (b"\x89PNG", ForeignFile::Named("picture")),
    (b"\xff\xd8\xff", ForeignFile::Named("picture")),
    (b"GGUF\x03\0\0\0", ForeignFile::Weights),
    (b"\x80\x02\x8a\n", ForeignFile::Weights), // as `torch.save` wrote them before 1.6
    (b"\x93NUMPY", ForeignFile::Numpy),
    (b"version https://git-lfs", ForeignFile::LfsPointer),
];

/// Whether a ZIP archive is one of `torch.save`: its first file is the pickle or the data of a tensor.
fn is_torch_archive(head: &[u8]) -> bool {
    let length = head.get(26..28).map_or(0, |two| usize::from(two[0]) + 256 * usize::from(two[1]));
    let name = head.get(30..30 + length).unwrap_or_default();
    let is_of_torch = |part: &[u8]| name.windows(part.len()).any(|one| one == part);
    head.starts_with(b"PK\x03\x04") && (is_of_torch(b"/data.pkl") || is_of_torch(b"/data/"))
}

/// Whether the length of a JSON header comes first, and then the header.
fn is_safetensors(head: &[u8]) -> bool {
    head.get(5..8) == Some(&[0; 3]) && head.get(8..10) == Some(b"{\"")
}

/// Whether the first key of a JSON object is that of a notebook's cells.
fn is_notebook(head: &[u8]) -> bool {
    let object = head.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    let start = &head[..head.len().min(1000)];
    object.is_some_and(|object| object.starts_with(b"\"cells\""))
        && start.windows(11).any(|key| key == b"\"cell_type\"")
}

impl ForeignFile {
    /// The kind of file that begins with `head`; `None` for what may hold records.
    pub(crate) fn recognize(head: &[u8]) -> Option<Self> {
        if is_torch_archive(head) || is_safetensors(head) {
            return Some(Self::Weights);
        }
        if let Some((_, kind)) = MAGICS.into_iter().find(|(magic, _)| head.starts_with(magic)) {
            return Some(kind);
        }
        if is_notebook(head) {
            return Some(Self::Notebook);
        }
        if head.get(257..262) == Some(b"ustar") {
            return Some(Self::Tar);
        }
        let start = head.trim_ascii_start();
        let start = start[..start.len().min(14)].to_ascii_lowercase();
        let is_page = start.starts_with(b"<!doctype html") || start.starts_with(b"<html");
        is_page.then_some(Self::WebPage)
    }

    fn text(self) -> Text {
        match self {
            Self::Zip => msg!(IS_A_ZIP_ARCHIVE),
            Self::Compressed(name) => msg!(IS_COMPRESSED_WITH, name),
            Self::CompressedTable(name) => msg!(IS_A_COMPRESSED_TABLE, name),
            Self::Tar => msg!(IS_A_TAR_ARCHIVE),
            Self::Feather1 => msg!(IS_FEATHER_1),
            Self::Weights => msg!(HOLDS_WEIGHTS),
            Self::Numpy => msg!(IS_A_NUMPY_ARRAY),
            Self::Notebook => msg!(IS_A_NOTEBOOK),
            Self::Named(name) => msg!(IS_A_FOREIGN_FILE, name),
            Self::LfsPointer => msg!(IS_A_LFS_POINTER),
            Self::WebPage => msg!(IS_A_WEB_PAGE),
        }
    }

    fn help(self) -> Text {
        match self {
            Self::Zip | Self::Tar => msg!(UNPACK_OR_SAVE_AS_CSV),
            Self::Compressed(_) | Self::CompressedTable(_) => msg!(DECOMPRESS_FIRST),
            Self::Weights => msg!(NAME_WEIGHTS_AS_MODEL),
            Self::Numpy => msg!(SET_TYPE_NUMPY),
            Self::Notebook => msg!(WRITE_CELLS),
            Self::Feather1 | Self::Named(_) => msg!(CONVERT_TO_JSONL),
            Self::LfsPointer => msg!(RUN_GIT_LFS_PULL),
            Self::WebPage => msg!(DOWNLOAD_THE_FILE),
        }
    }
}

impl ContainerFault {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Contradiction { asked, found } => msg!(DATA_TYPE_CONTRADICTED, asked, found),
            Self::Foreign(what) => what.text(),
            Self::Encoding { name } => msg!(ENCODED_WITHOUT_MARK, name),
            Self::Broken { container, .. } => msg!(CONTAINER_BROKEN, container),
            Self::Encrypted { container } => msg!(CONTAINER_ENCRYPTED, container),
            Self::TooLong { line, .. } => msg!(RECORD_TOO_LONG, line),
            Self::TextTooLong { limit } => msg!(TEXT_TOO_LONG, gib = limit >> 30),
            Self::ListNotClosed { line } => msg!(LIST_NOT_CLOSED, line),
            Self::SeveralLists { .. } => msg!(SEVERAL_LISTS),
            Self::Header { .. } => msg!(HEADER_MISSING),
            Self::QuoteNotClosed { line } => msg!(QUOTE_NOT_CLOSED, line),
        }
    }

    /// Adds notes and helps to the message.
    pub(crate) fn explain(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self {
            Self::Contradiction { found, .. } => diagnostic.help(msg!(SET_DATA_TYPE, found)),
            Self::Foreign(what) => diagnostic.help(what.help()),
            Self::Encoding { .. } => diagnostic, // the help names the file
            Self::Broken { problem, .. } => {
                diagnostic.note(problem.clone()).help(msg!(FETCH_OR_WRITE_AGAIN))
            }
            Self::Encrypted { .. } => diagnostic.help(msg!(WRITE_WITHOUT_ENCRYPTION)),
            Self::TextTooLong { .. } => diagnostic.help(msg!(SPLIT_TEXT)),
            Self::TooLong { limit, .. } => diagnostic.note(msg!(RECORD_LIMIT, mib = limit >> 20)),
            Self::ListNotClosed { .. } | Self::QuoteNotClosed { .. } => {
                diagnostic.help(msg!(FETCH_OR_WRITE_AGAIN))
            }
            Self::SeveralLists { keys } => diagnostic
                .note(msg!(LISTS_FOUND, keys = Text::quoted(Join::Comma, keys)))
                .help(msg!(NAME_LIST_TRAIN)),
            Self::Header { problem } => diagnostic.note(problem.clone()).help(msg!(ADD_HEADER)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_recognized() {
        let recognized = |head: &[u8]| ForeignFile::recognize(head);
        assert_eq!(recognized(b"PK\x03\x04..."), Some(ForeignFile::Zip));
        assert_eq!(recognized(b" <!DOCTYPE HTML>"), Some(ForeignFile::WebPage));
        for name in ["model/data.pkl", "archive/data/0"] {
            let mut file = b"PK\x03\x04".to_vec();
            file.resize(30, 0);
            file[26] = name.len() as u8;
            file.extend(name.as_bytes());
            assert_eq!(recognized(&file), Some(ForeignFile::Weights));
        }
        assert_eq!(recognized(b"\x40\0\0\0\0\0\0\0{\"emb.weight"), Some(ForeignFile::Weights));
        let cells = b"{\n \"cells\": [\n  {\n   \"cell_type\": \"code\",";
        assert_eq!(recognized(cells), Some(ForeignFile::Notebook));
        assert_eq!(recognized(b"{\"cells\": [\"a\"]}"), None);
        let tar = [&[b'a'; 257][..], b"ustar\0"].concat();
        assert_eq!(recognized(&tar), Some(ForeignFile::Tar));
        for text in ["{\"text\": \"a\"}", "[", "", "User: hi", "<html"] {
            assert_eq!(recognized(text.as_bytes()).is_some(), text == "<html", "{text}");
        }
    }
}
