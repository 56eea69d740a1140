//! A model's checkpoint without its tensors: its sizes, and why a file is not one.

use std::error::Error as _;
use std::path::{Path, PathBuf};

use super::{FileKind, NotAModel, Shape, Shapes, check, detect, is_of_state, open_model};
use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::tensorfile::{TensorFile, WeightsError};

/// A checkpoint that is not an RWKV model that this program can use.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ModelError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// The file is a sound checkpoint of something else.
    Architecture {
        /// The checkpoint.
        path: PathBuf,
        /// What it is, and what was expected.
        problem: Text,
        /// What it can be used for.
        kind: FileKind,
    },
    /// Tensors are missing, superfluous or of the wrong shape.
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// Which ones, by name.
        problem: Text,
    },
}

impl ModelError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::File(error) => error.text(),
            Self::Architecture { path, problem, .. } => msg!(NOT_A_MODEL, path, problem),
            Self::Tensors { path, problem } => msg!(TENSORS_DO_NOT_FIT, path, problem),
        }
    }
}

impl ModelError {
    /// The code of the message, as `explain` lists them.
    pub fn code(&self) -> &'static str {
        self.text().code().unwrap_or_default()
    }

    /// The message for the user.
    pub fn diagnostic(&self) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(self.text());
        if let Some(cause) = self.source() {
            diagnostic = diagnostic.note(Text::cause(cause));
        }
        self.hint().into_iter().fold(diagnostic, Diagnostic::help)
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<Text> {
        match self {
            ModelError::File(error) => error.hint(),
            ModelError::Architecture { path, kind, .. } => match kind {
                FileKind::State => Some(msg!(USE_STATE_WITH_BASE, path)),
                FileKind::Adapter => Some(msg!(USE_ADAPTER_WITH_BASE)),
                FileKind::OtherNaming => Some(msg!(USE_ORIGINAL_NAMING)),
                FileKind::Other => None,
            },
            ModelError::Tensors { .. } => None,
        }
    }
}

/// The sizes of the model in a checkpoint, whose tensors stay unread.
///
/// # Errors
/// A file that cannot be read, and the errors of [`shape_of`].
pub fn shape_in(path: &Path) -> Result<Shape, ModelError> {
    shape_of_file(path, &open_model(path)?)
}

/// Whether the checkpoint holds initial states beside the weights.
///
/// # Errors
/// A file that cannot be read.
pub fn has_states(path: &Path) -> Result<bool, ModelError> {
    Ok(open_model(path)?.names().any(is_of_state))
}

/// The sizes of the model in an open checkpoint.
///
/// # Errors
/// Those of [`shape_of`].
pub fn shape_of_file(path: &Path, file: &TensorFile) -> Result<Shape, ModelError> {
    let mut shapes = Shapes::new();
    for tensor in file.tensors() {
        let size = tensor.shape().iter().map(|&size| size as i64).collect();
        if shapes.insert(tensor.name(), size).is_some() {
            let problem = twice(file, tensor.name());
            return Err(ModelError::Tensors { path: path.to_path_buf(), problem });
        }
    }
    shape_of(path, shapes.into_iter())
}

/// The message about several tensors of the file that stand for the same one.
fn twice(file: &TensorFile, name: &str) -> Text {
    let same = file.tensors().filter(|tensor| tensor.name() == name);
    let stored = Text::quoted(Join::And, same.map(|tensor| tensor.stored_name()));
    msg!(TENSOR_TWICE, name, stored)
}

/// The sizes of a model with these tensors, which `path` holds. Initial states may stand beside the weights.
///
/// # Errors
/// Another architecture, and tensors that are missing, superfluous or of the wrong shape.
pub fn shape_of<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, Vec<i64>)>,
) -> Result<Shape, ModelError> {
    let shapes: Shapes<'_> = tensors.collect();
    let path = || path.to_path_buf();
    let shape = detect(&shapes).map_err(|NotAModel { problem, kind }| {
        ModelError::Architecture { path: path(), problem, kind }
    })?;
    let mut expected = shape.tensors();
    if shapes.keys().any(|name| is_of_state(name)) {
        expected.extend(shape.state_tensors());
    }
    check(&expected, msg!(AN_RWKV_MODEL, version = shape.version().to_string()), &shapes)
        .map_err(|problem| ModelError::Tensors { path: path(), problem })?;
    Ok(shape)
}
