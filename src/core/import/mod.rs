//! Experiments of other trainers as experiment files, and the way back: shell scripts of RWKV-PEFT and RWKV-LM, and YAML
//! files of infctx-trainer. Every option of the original has an [`ImportedOption`].

mod imported;
mod infctx;
mod script;
mod shell;

pub use imported::{ImportError, Imported, ImportedOption, Outcome};
pub use script::{FileFacts, ScriptSetting, to_script};

/// Reads a shell script.
///
/// # Errors
/// No command of the script trains a model.
pub fn from_script(text: &str, name: &str) -> Result<Imported, ImportError> {
    script::import(text, name)
}

/// Reads a YAML file of infctx-trainer.
///
/// # Errors
/// The text is not such a file.
pub fn from_infctx(text: &str, name: &str) -> Result<Imported, ImportError> {
    infctx::import(text, name)
}
