//! Containers of records: each gives its rows as JSON objects.
//!
//! To add a container, add a file with a type that implements [`RowReader`], and its value of [`Container`] with its
//! name, its ending or first bytes, and its arm in [`open`].

mod arrow;
mod columns;
mod csv;
mod decode;
mod guarded;
mod json;
mod lines;
mod outline;
mod parquet;
mod row;
mod scan;
mod table;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

pub(crate) use row::{At, RowPlace, RowReader};

use self::csv::Csv;
use self::json::Json;
use self::lines::Lines;
use self::outline::Outline;
use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;

/// How a file holds records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Container {
    /// A JSON object on each line.
    Lines,
    /// JSON of any other arrangement.
    Json,
    /// Text with a delimiter between cells.
    Csv,
    /// Text with a tab between cells.
    Tsv,
    Parquet,
    /// An Arrow file or stream.
    Arrow,
}

impl Container {
    /// The name as a setting.
    fn name(self) -> &'static str {
        match self {
            Self::Lines => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// The binary container that begins with these bytes.
    fn of_magic(start: &[u8]) -> Option<Self> {
        if start.starts_with(b"PAR1") || start.starts_with(b"PARE") {
            Some(Self::Parquet)
        } else if start.starts_with(arrow::FILE_MAGIC)
            || (start.starts_with(&[0xff; 4]) && start.get(4).is_some_and(|byte| *byte != 0xff))
        {
            Some(Self::Arrow)
        } else {
            None
        }
    }

    /// The container that a file's name tells and its text cannot.
    pub(crate) fn of_name(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match Path::new(name).extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            _ => None,
        }
    }
}

/// Opens a file of records. Its content tells the container, or its name, or else `asked`.
///
/// # Errors
/// [`DataError::Read`]; [`DataError::Container`] for a file that is not of the container `asked` or of none.
pub(crate) fn open(
    file: &Path,
    asked: Option<Container>,
) -> Result<Box<dyn RowReader>, DataError> {
    let start = start(file).map_err(|source| DataError::Read { file: file.into(), source })?;
    let agree = |found: Container| match asked {
        Some(asked) if asked != found => {
            let fault = ContainerFault::Contradiction { asked: asked.name(), found: found.name() };
            Err(DataError::Container { file: file.into(), fault })
        }
        _ => Ok(()),
    };
    match Container::of_magic(&start) {
        Some(container @ Container::Parquet) => {
            agree(container)?;
            return Ok(Box::new(parquet::open(file)?));
        }
        Some(container) => {
            agree(container)?;
            return Ok(Box::new(arrow::open(file)?));
        }
        None => {}
    }
    let text = decode::open(file)?;
    let outline = Outline::of(file, &text)?;
    let is_object = text.head.trim_ascii_start().starts_with(b"{");
    let found = match (&outline, asked) {
        (Outline::Lines, Some(Container::Json | Container::Lines) | None) if is_object => {
            Container::Lines
        }
        (Outline::Lines, Some(table @ (Container::Csv | Container::Tsv))) if !is_object => table,
        (Outline::Lines, None) => Container::of_name(file).unwrap_or(Container::Lines),
        (Outline::Lines, Some(Container::Json)) => Container::Json,
        (Outline::Lines, _) => Container::Lines,
        _ => Container::Json,
    };
    let is_any_json = asked == Some(Container::Json) && found == Container::Lines && is_object;
    if !is_any_json {
        agree(found)?;
    }
    Ok(match found {
        Container::Csv | Container::Tsv => {
            let delimiter = (found == Container::Tsv).then_some(b'\t');
            let head = text.head.clone();
            Box::new(Csv::new(file, &head, text.input(), delimiter)?)
        }
        Container::Json => Box::new(Json::new(file, text.input(), outline)),
        _ => Box::new(Lines::new(file, text.input())),
    })
}

/// The first bytes of a file.
fn start(file: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(file)?.take(8).read_to_end(&mut start)?;
    Ok(start)
}
