//! `statetune runs pack` and `unpack`.

use std::path::{Path, PathBuf};

use clap::Args;
use statetune_core::exit::ExitCode;
use statetune_core::store::{PACK_EXTENSION, pack_run, unpack_run};
use statetune_core::words::size;

use super::{Answer, not_changed, open};
use crate::replace::{dash, say_written};
use crate::{Color, say, show};

#[derive(Args, Debug)]
pub(super) struct PackArgs {
    /// The run.
    run: String,
    /// File to write [default: the run's name with `.run.tar.zst`, in the current folder].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Omit checkpoints: the run can be shown and used, but not resumed.
    #[arg(long)]
    no_checkpoints: bool,
}

#[derive(Args, Debug)]
pub(super) struct UnpackArgs {
    /// A file written by `runs pack`.
    file: PathBuf,
}

pub(super) fn pack(args: &PackArgs, runs_dir: &Path, color: Color) -> Answer {
    let run = open(runs_dir, &args.run, color)?;
    let named = || PathBuf::from(format!("{}.{PACK_EXTENSION}", run.directory()));
    let out = args.out.clone().unwrap_or_else(named);
    if let Some(fault) = dash(&out) {
        show(&fault, color);
        return Err(ExitCode::Invalid);
    }
    let manifest = pack_run(run.path(), &out, !args.no_checkpoints)
        .map_err(|error| not_changed(&error, color))?;
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    let (name, files) = (out.display(), manifest.files.len());
    let line = match std::fs::metadata(&out) {
        Ok(written) if written.is_file() => {
            format!("{name}: {files} files, {} packed into {}", size(bytes), size(written.len()))
        }
        _ => format!("{name}: {files} files, {} packed", size(bytes)),
    };
    say_written(&out, line);
    Ok(())
}

pub(super) fn unpack(args: &UnpackArgs, runs_dir: &Path, color: Color) -> Answer {
    let (run, manifest) =
        unpack_run(&args.file, runs_dir).map_err(|error| not_changed(&error, color))?;
    let without = if manifest.checkpoints { "" } else { ", without checkpoints" };
    say(format_args!("{}: {} files{without}", run.display(), manifest.files.len()));
    Ok(())
}
