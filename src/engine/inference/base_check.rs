//! Checks that an exported file fits a set of weights.

use std::path::Path;

use statetune_core::diagnostic::{Diagnostic, Severity};

use crate::RunError;
use crate::exports::{ModelSizes, Passport};
use crate::model::{Version, Weights, fingerprint};

const ON_OTHERS: &str = "on other weights than its own it makes answers worse";

/// Compares the base weights in a file's passport with `weights`: `None` when they match, an error when they differ, a
/// warning without a passport. A file for another shape passes: reading its tensors fails later.
///
/// # Errors
/// A file that cannot be read, or one for another version of RWKV.
pub fn check_base(product: &Path, weights: &Path) -> Result<Option<Diagnostic>, RunError> {
    let Some(passport) = Passport::of(product)? else {
        let beside = Passport::beside(product);
        let note = format!("there is no passport `{}`", beside.display());
        return Ok(Some(unknown(product).note(note).note(ON_OTHERS)));
    };
    let found = ModelSizes::from(Weights::load(weights)?.shape());
    let other_version = passport.model.as_ref().filter(|model| model.version != found.version);
    if let Some(model) = other_version {
        let message = format!("`{}` is for another version of RWKV", product.display());
        return Err(RunError::Foreign(Box::new(
            Diagnostic::error("ST8004", message)
                .note(format!("tuned on  {}", words(model)))
                .note(format!("found     {} in {}", words(&found), weights.display())),
        )));
    }
    let (Some(base), Some(model)) = (&passport.base, &passport.model) else {
        return Ok(Some(unknown(product).note("its passport names no weights").note(ON_OTHERS)));
    };
    let shape = |sizes: &ModelSizes| (sizes.n_layer, sizes.n_head, sizes.head_size);
    if shape(model) != shape(&found) {
        return Ok(None); // reading its tensors fails with a better message
    }
    let fingerprint = fingerprint(weights)?;
    if fingerprint == base.fingerprint {
        return Ok(None);
    }
    let line = |sizes: &ModelSizes, file: &str, fingerprint: &str| {
        format!("{}  {file}  fingerprint {}", words(sizes), short(fingerprint))
    };
    let file = weights.file_name().unwrap_or_default().to_string_lossy();
    let message = format!("`{}` was tuned on other weights", product.display());
    let refusal = Diagnostic::error("ST8002", message)
        .note(format!("tuned on  {}", line(model, &base.file, &base.fingerprint)))
        .note(format!("found     {}", line(&found, &file, &fingerprint)))
        .note(format!(
            "same shape ({} x {} x {} x {}), so other programs would load it and answer badly",
            found.n_layer, found.n_head, found.head_size, found.head_size
        ));
    Ok(Some(refusal.help(format!(
        "use it with the weights that it was tuned on, or measure the damage first:\n\
         statetune eval {} --model {} FILE",
        product.display(),
        weights.display()
    ))))
}

fn unknown(product: &Path) -> Diagnostic {
    let message = format!("nothing says which weights `{}` was tuned on", product.display());
    Diagnostic::warning("ST8003", message)
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
