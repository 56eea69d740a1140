//! Checks that an exported file fits a set of weights.

use std::path::Path;

use statetune_core::diagnostic::{Diagnostic, Severity, Text, msg};

use crate::RunError;
use crate::exports::{ExportKind, ModelSizes, Passport};
use crate::model::{Version, Weights, fingerprint, fingerprint_without_states, has_states};

const ON_OTHERS: Text = msg!(OTHER_WEIGHTS_WORSE);

/// Compares the base weights in a file's passport with `weights`: `None` when they match, an error when they differ, a
/// warning without a passport. A file for another shape passes: reading its tensors fails later.
///
/// # Errors
/// A file that cannot be read, or one for another version of RWKV.
pub fn check_base(exported: &Path, weights: &Path) -> Result<Option<Diagnostic>, RunError> {
    let Some(passport) = Passport::of(exported)? else {
        let beside = Passport::beside(exported);
        let note = msg!(PASSPORT_MISSING, file = beside);
        return Ok(Some(unknown(exported).note(note).note(ON_OTHERS)));
    };
    let found = ModelSizes::from(Weights::load(weights)?.shape());
    let other_version = passport.model.as_ref().filter(|model| model.version != found.version);
    if let Some(model) = other_version {
        let message = msg!(FOR_ANOTHER_VERSION, exported);
        return Err(RunError::Foreign(Box::new(
            Diagnostic::error(message).note(msg!(TUNED_ON, weights = words(model))).note(msg!(
                FOUND_WEIGHTS_IN,
                weights = words(&found),
                file = weights
            )),
        )));
    }
    let (Some(base), Some(model)) = (&passport.base, &passport.model) else {
        return Ok(Some(unknown(exported).note(msg!(PASSPORT_WITHOUT_WEIGHTS)).note(ON_OTHERS)));
    };
    let shape = |sizes: &ModelSizes| (sizes.n_layer, sizes.n_head, sizes.head_size);
    if shape(model) != shape(&found) {
        return Ok(None); // reading its tensors fails with a better message
    }
    let fingerprint = fingerprint(weights)?;
    // A state file replaces the initial states that the weights file may hold.
    let is_base = fingerprint == base.fingerprint
        || passport.kind == ExportKind::State
            && has_states(weights)?
            && fingerprint_without_states(weights)? == base.fingerprint;
    if is_base {
        return Ok(None);
    }
    let line = |sizes: &ModelSizes, file: &str, fingerprint: &str| {
        format!("{}  {file}  fingerprint {}", words(sizes), short(fingerprint))
    };
    let file = weights.file_name().unwrap_or_default().to_string_lossy();
    let message = msg!(TUNED_ON_OTHER_WEIGHTS, exported);
    let refusal = Diagnostic::error(message)
        .note(msg!(TUNED_ON, weights = line(model, &base.file, &base.fingerprint)))
        .note(msg!(FOUND_WEIGHTS, weights = line(&found, &file, &fingerprint)))
        .note(msg!(
            SAME_SHAPE,
            n_layer = found.n_layer,
            n_head = found.n_head,
            head_size = found.head_size,
            size = found.head_size
        ));
    Ok(Some(refusal.help(msg!(USE_OWN_WEIGHTS, exported, weights))))
}

fn unknown(exported: &Path) -> Diagnostic {
    let message = msg!(UNKNOWN_BASE, exported);
    Diagnostic::warning(message)
}

/// The same message as a warning, for commands that continue.
pub fn as_warning(message: Diagnostic) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, ..message }
}

/// `RWKV-7 (x070) 24 x 2048`.
fn words(sizes: &ModelSizes) -> String {
    let version = Version::ALL.into_iter().find(|version| version.code() == sizes.version);
    let version = version.map_or(sizes.version.clone(), |version| version.to_string());
    format!("{version} {} x {}", sizes.n_layer, sizes.n_embd)
}

/// The first digits of a fingerprint.
fn short(fingerprint: &str) -> String {
    match (fingerprint.get(..4), fingerprint.get(4..8)) {
        (Some(first), Some(second)) => format!("{first} {second}"),
        _ => fingerprint.to_string(),
    }
}
