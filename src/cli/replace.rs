//! Files that a command is told to write: which existing ones are replaced.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::RunDir;
use statetune_core::tensorfile::{is_standard_output, is_written_through, write_atomically};
use statetune_engine::exports::{BaseWeights, ExportKind, Passport};

use super::{Color, say, show, tell};

/// Replaces the text of a file atomically. Symbolic links and permissions stay.
pub(super) fn rewrite(file: &Path, text: &str) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let permissions = fs::metadata(&file)?.permissions();
    write_atomically(&file, |new| {
        new.as_file().set_permissions(permissions)?;
        new.write_all(text.as_bytes())
    })
}

/// Whether a command replaces files that it did not make.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct ReplaceArgs {
    /// Replace an existing file, whatever it holds. Files that the command reads are never replaced.
    #[arg(long)]
    force: bool,
}

impl ReplaceArgs {
    /// Refuses to write `files` where one exists, unless `is_own` recognises it as written by the same command, and
    /// always where one is among `inputs`. Devices, pipes and new names pass. Shows the error.
    pub(super) fn check(
        self,
        files: &[PathBuf],
        inputs: &[PathBuf],
        is_own: impl Fn(&Path) -> bool,
        color: Color,
    ) -> Result<(), ExitCode> {
        match self.fault(files, inputs, is_own) {
            None => Ok(()),
            Some(fault) => {
                show(&fault, color);
                Err(ExitCode::Invalid)
            }
        }
    }

    /// The error of [`ReplaceArgs::check`].
    pub(super) fn fault(
        self,
        files: &[PathBuf],
        inputs: &[PathBuf],
        is_own: impl Fn(&Path) -> bool,
    ) -> Option<Diagnostic> {
        files.iter().find_map(|file| {
            if let Some(fault) = dash(file) {
                return Some(fault);
            }
            if is_written_through(file) || !file.is_file() {
                return None;
            }
            if inputs.iter().any(|input| is_same_file(input, file)) {
                let message = Diagnostic::error(msg!(WOULD_OVERWRITE_INPUT, out = file));
                return Some(message.help(msg!(NAME_ANOTHER_OUT)));
            }
            let is_kept = !self.force && !is_own(file);
            is_kept.then(|| {
                Diagnostic::error(msg!(FILE_IS_THERE, file)).help(msg!(CHOOSE_OUT_OR_FORCE))
            })
        })
    }
}

/// Says what was written to `out`: on standard error where that is standard output, which has the content.
pub(super) fn say_written(out: &Path, line: impl Display) {
    match is_standard_output(out) {
        true => tell(line),
        false => say(line),
    }
}

/// The error for `-`, which means standard output elsewhere and would be the name of a file here.
pub(super) fn dash(file: &Path) -> Option<Diagnostic> {
    let message = || Diagnostic::error(msg!(DASH_IS_A_NAME)).help(msg!(STDOUT_IS_A_FILE));
    (file == Path::new("-")).then(message)
}

/// Whether both paths lead to one existing file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Whether `file` is an exported file of this kind, or the passport beside an exported file.
pub(super) fn is_export(file: &Path, kind: ExportKind) -> bool {
    if file.extension().is_some_and(|ending| ending == "json") {
        return Passport::read(file).is_ok();
    }
    let is_of_kind = |passport: Option<Passport>| passport.is_some_and(|one| one.kind == kind);
    Passport::of(file).is_ok_and(is_of_kind)
}

/// Whether `file` is in the folder of the files that a run exported.
pub(super) fn is_of_run(file: &Path) -> bool {
    let Ok(file) = file.canonicalize() else { return false };
    let folder = file.parent().filter(|folder| folder.ends_with(RunDir::EXPORT));
    folder.and_then(Path::parent).is_some_and(|run| run.join(RunDir::SETTINGS).is_file())
}

/// Whether `file` holds the weights that `passport` names as the base model.
pub(super) fn is_base_of(file: &Path, passport: &Passport) -> bool {
    let Some(base) = &passport.base else { return false };
    file.file_name().is_some_and(|name| name.to_string_lossy() == base.file)
        && BaseWeights::of(file).is_ok_and(|found| found.fingerprint == base.fingerprint)
}

/// `file` and the passport that is written beside a `.pth`.
pub(super) fn with_passport(file: &Path) -> Vec<PathBuf> {
    let has_file = file.extension().is_some_and(|ending| ending == "pth");
    let beside = has_file.then(|| Passport::beside(file));
    [file.to_path_buf()].into_iter().chain(beside).collect()
}
