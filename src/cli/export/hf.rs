//! `statetune export --to hf`.

use std::path::PathBuf;

use statetune_engine::RunError;
use statetune_engine::exports::{ExportKind, HF_WEIGHTS, hf_files, save_hf};

use super::args::{DtypeName, ExportArgs};
use super::shared::{card, check, check_folder, failed, out, states_left_out, tuned};
use crate::replace::is_export;
use crate::subject::Found;
use crate::{Color, show};

/// Writes the tuned model into a folder; returns the folder.
pub(super) fn export(
    args: &ExportArgs,
    found: &Found,
    color: Color,
) -> Result<Vec<PathBuf>, RunError> {
    let out = out(args, found, "-hf");
    check_folder(&out)?;
    check(args, found, &hf_files(&out), |_| is_export(&out.join(HF_WEIGHTS), ExportKind::Model))?;
    let tuned = tuned(args, found, color)?;
    let card = card(found, &tuned.weights)?;
    let dtype = args.dtype.and_then(DtypeName::dtype);
    save_hf(&tuned.weights, &out, dtype, &card).map_err(failed)?;
    if tuned.states.is_some() && !args.without_states {
        show(&states_left_out(found), color);
    }
    Ok(vec![out])
}
