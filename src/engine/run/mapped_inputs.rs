//! Files that a run reads while it trains: weights and token files, which are mapped into memory. A change of their
//! content would change the run without a trace, so that it ends the run before anything is saved.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use statetune_core::data::DataError;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::digest::sha256_of_file;
use statetune_core::packed::{PackedFile, PackedWeights};
use statetune_core::plan::{ModelSource, Plan};
use statetune_core::recorded_paths::absolute;
use statetune_core::records::Lock;

use crate::RunError;

/// Size and time of a file, by which a change is noticed.
type Stamp = (u64, Option<SystemTime>);

/// The mapped files of a run, as they were when it began.
#[derive(Debug)]
pub(super) struct MappedInputs(Vec<Input>);

#[derive(Debug)]
struct Input {
    path: PathBuf,
    /// Keeps the file that was mapped in sight, even when another one takes its name.
    file: File,
    stamp: Cell<Stamp>,
    kind: Kind,
}

/// What a mapped file is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Weights,
    PackedWeights(&'static PackedFile),
    Tokens,
}

impl MappedInputs {
    /// The mapped files of a plan, before the first is read. Files that cannot be opened are left to their reader.
    pub(super) fn of_plan(plan: &Plan) -> MappedInputs {
        let weights = match &plan.model.source {
            ModelSource::Load(path) => Some((path.clone(), Kind::Weights)),
            ModelSource::Scratch { .. } => None,
        };
        let tokens = plan.data.pair.iter().flat_map(|pair| {
            [".bin", ".idx"].map(|ending| {
                let mut path = pair.clone().into_os_string();
                path.push(ending);
                (PathBuf::from(path), Kind::Tokens)
            })
        });
        let inputs = weights.into_iter().chain(tokens);
        MappedInputs(inputs.filter_map(|(path, kind)| Input::new(path, kind)).collect())
    }

    /// The same files with that of the packed weights, which was just checked.
    pub(super) fn with_packed(mut self, packed: Option<&PackedWeights>) -> MappedInputs {
        if let Some(file) = packed.and_then(PackedWeights::file) {
            self.0.extend(Input::new(file.path().to_path_buf(), Kind::PackedWeights(file)));
        }
        self
    }

    /// Refuses files that changed since the run began, unless their content is that of `lock`, as after `touch`.
    ///
    /// # Errors
    /// Exit code 21 for weights, 20 for token files.
    pub(super) fn check(&self, lock: Option<&Lock>) -> Result<(), RunError> {
        let changed = |input: &&Input| !input.is_unchanged() && !input.has_content_of(lock);
        self.0.iter().find(changed).map_or(Ok(()), |input| Err(input.refusal()))
    }
}

impl Input {
    fn new(path: PathBuf, kind: Kind) -> Option<Input> {
        let file = File::open(&path).ok()?;
        let stamp = Cell::new(stamp(&file.metadata().ok()?));
        Some(Input { path, file, stamp, kind })
    }

    fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|found| stamp(&found) == self.stamp.get())
    }

    /// Whether the file that has the path now is the mapped one, and its digest that of `lock`; packed weights have theirs
    /// with them.
    fn has_content_of(&self, lock: Option<&Lock>) -> bool {
        if let Kind::PackedWeights(file) = self.kind {
            let is_sound = file.is_sound();
            if let (true, Ok(found)) = (is_sound, self.file.metadata()) {
                self.stamp.set(stamp(&found));
            }
            return is_sound;
        }
        let Some(lock) = lock else { return false };
        let digest = || -> io::Result<String> {
            let found = self.file.metadata()?;
            if !is_same_file(&found, &self.path.metadata()?) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let digest = sha256_of_file(&self.path)?;
            self.stamp.set(stamp(&found));
            Ok(digest)
        };
        let path = absolute(&self.path);
        let files = lock.weights.iter().chain(&lock.data);
        let mut known = files.filter(|file| file.path == path).map(|file| &file.sha256);
        digest().is_ok_and(|found| known.any(|known| *known == found))
    }

    fn refusal(&self) -> RunError {
        let help = match self.kind {
            Kind::Tokens => {
                return RunError::Data(DataError::ChangedMeanwhile { file: self.path.clone() });
            }
            Kind::Weights => msg!(BRING_BACK_WEIGHTS),
            Kind::PackedWeights(_) => msg!(RESUME_PACKS_AGAIN),
        };
        let message = msg!(WEIGHTS_CHANGED_MEANWHILE, path = self.path);
        let fault = Diagnostic::error(message).note(msg!(NOTHING_SAVED_WITH_CHANGE)).help(help);
        RunError::Contradiction(Box::new(fault))
    }
}

fn stamp(found: &Metadata) -> Stamp {
    (found.len(), found.modified().ok())
}

fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
