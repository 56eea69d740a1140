//! Whether a product belongs to a set of weights.

use std::path::Path;

use super::RunError;
use crate::model::{Version, Weights, fingerprint};
use crate::output::{Passport, Sizes};
use statetune_core::diagnostic::{Diagnostic, Severity};

const ON_OTHERS: &str = "on other weights than its own it makes answers worse";

/// What there is to say about a state or an adapter that is going to be used with `weights`: nothing when it
/// was tuned on them, an error when it was tuned on others, a warning when nobody knows. One of another shape
/// cannot be used at all, which whoever reads its tensors finds.
///
/// # Errors
/// A file that cannot be read, and a product for another version of RWKV, which no use can excuse.
pub fn check_base(product: &Path, weights: &Path) -> Result<Option<Diagnostic>, RunError> {
    let Some(passport) = Passport::of(product)? else {
        let beside = Passport::beside(product);
        let note = format!("there is no passport `{}`", beside.display());
        return Ok(Some(unknown(product).note(note).note(ON_OTHERS)));
    };
    let found = Sizes::from(Weights::load(weights)?.shape());
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
    let shape = |sizes: &Sizes| (sizes.n_layer, sizes.n_head, sizes.head_size);
    if shape(model) != shape(&found) {
        return Ok(None); // whoever reads its tensors says so
    }
    let fingerprint = fingerprint(weights)?;
    if fingerprint == base.fingerprint {
        return Ok(None);
    }
    let line = |sizes: &Sizes, file: &str, fingerprint: &str| {
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

/// The same message where the command goes on.
pub fn as_warning(message: Diagnostic) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, ..message }
}

/// `RWKV-7 (x070) 24 x 2048`.
fn words(sizes: &Sizes) -> String {
    let version = Version::ALL.into_iter().find(|version| version.code() == sizes.version);
    let version = version.map_or(sizes.version.clone(), |version| version.to_string());
    format!("{version} {} x {}", sizes.n_layer, sizes.n_embd)
}

/// The beginning of a fingerprint, for people to compare.
fn short(fingerprint: &str) -> String {
    match (fingerprint.get(..4), fingerprint.get(4..8)) {
        (Some(first), Some(second)) => format!("{first} {second}"),
        _ => fingerprint.to_string(),
    }
}
