//! `lock.toml`: everything outside the experiment file that a run's numbers depend on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::absolute;

/// What the numbers of a run depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Lock {
    /// Version of this program.
    pub statetune: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// sha256 of the kernels' source.
    pub kernels: String,
    /// Threads that libtorch and the kernels use.
    pub threads: i32,
    /// Fingerprint of the checkpoint's weights, whatever file holds them; absent when the model is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The documents.
    pub data: LockedFile,
    /// The tokenizer's vocabulary.
    pub tokenizer: LockedFile,
    /// The checkpoint; absent when the model is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<LockedFile>,
    /// How the weights were packed; absent when they were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quant: Option<LockedQuant>,
}

/// A form of packed weights.
#[derive(Clone, Debug, Serialize)]
pub struct LockedQuant {
    /// As in the experiment file: `nf4`.
    pub format: &'static str,
    /// Whether scales are packed too.
    pub double: bool,
    /// Bytes of all weights of the model in this form.
    pub bytes: u64,
}

/// A file by name and content.
#[derive(Clone, Debug, Serialize)]
pub struct LockedFile {
    /// Where it was read from, absolute; `world` for the built-in vocabulary.
    pub path: PathBuf,
    /// sha256 of its content.
    pub sha256: String,
}

impl LockedFile {
    /// The file at `path`, whose content has this sha256.
    pub fn new(path: &Path, sha256: String) -> LockedFile {
        LockedFile { path: absolute(path), sha256 }
    }
}

impl Lock {
    /// The file's text.
    ///
    /// # Panics
    /// Never: a lock is plain data.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a lock is plain data")
    }

    /// sha256 of the kernels' source, which is compiled into this program.
    pub fn kernels_sha256() -> String {
        let sources = [
            include_str!("../../kernels/cpu_vectors.h"),
            include_str!("../../kernels/instruction_set.cpp"),
            include_str!("../../kernels/quant.h"),
            include_str!("../../kernels/quant_cpu.h"),
            include_str!("../../kernels/quant_cpu.cpp"),
            include_str!("../../kernels/quant_autograd.cpp"),
            include_str!("../../kernels/wkv.h"),
            include_str!("../../kernels/wkv_cpu.h"),
            include_str!("../../kernels/wkv6_cpu.cpp"),
            include_str!("../../kernels/wkv7_cpu.cpp"),
            include_str!("../../kernels/wkv_autograd.cpp"),
            include_str!("../../kernels/settings.cpp"),
        ];
        hex(Sha256::digest(sources.concat()).as_slice())
    }
}

/// sha256 of a file's content, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex(hasher.finalize().as_slice()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
