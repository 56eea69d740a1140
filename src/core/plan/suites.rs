//! The files of the suites.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Faults, Purpose};
use crate::diagnostic::{Diagnostic, msg};
use crate::suite::find_suites;

/// The files that `eval.suites` names, which have names of their own. Faults are added for what is wrong with them.
pub(super) fn resolve(faults: &mut Faults<'_>, purpose: Purpose) -> Vec<PathBuf> {
    if matches!(purpose, Purpose::Generate | Purpose::Data) {
        return Vec::new();
    }
    let mut files = Vec::new();
    let mut names = BTreeSet::new();
    for (i, path) in faults.config().eval.suites.iter().enumerate() {
        let key = format!("eval.suites[{i}]");
        let found = match find_suites(path) {
            Ok(found) => found,
            Err(error) => {
                let fault = faults.with_path_helps(&key, path, error.diagnostic());
                faults.add(&key, fault);
                continue;
            }
        };
        for file in found {
            match file.exists() {
                true => files.push((key.clone(), file)),
                false => faults.add_missing(&key, &file, msg!(SUITE_DOES_NOT_EXIST, file)),
            }
        }
    }
    for (key, file) in &files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !names.insert(name.clone()) {
            let fault = Diagnostic::error(msg!(SUITE_NAME_TWICE, name));
            faults.add(key, fault.note(msg!(SUITE_NAME_OF_FILE)).help(msg!(SUITE_RENAME)));
        }
    }
    files.into_iter().map(|(_, file)| file).collect()
}
