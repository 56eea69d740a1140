//! `lock.toml`: everything outside the experiment file that a run's numbers depend on.

use crate::digest::sha256_hex;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::absolute;

/// What the numbers of a run depend on.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Lock {
    /// Version of this program.
    pub statetune: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// sha256 of the kernels' source.
    pub kernels: String,
    /// Threads that libtorch and the kernels use.
    pub threads: i32,
    /// What computed: the model of the GPU or of the processor.
    pub device: String,
    /// The implementation of the recurrence, as `train.op` names it.
    pub op: String,
    /// Fingerprint of the checkpoint's weights, whatever file holds them; absent when the model is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The key of the prepared data; absent when a pair was read as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<String>,
    /// The files of the documents.
    pub data: Vec<LockedFile>,
    /// The tokenizer's vocabulary.
    pub tokenizer: LockedFile,
    /// The checkpoint; absent when the model is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<LockedFile>,
    /// The state to start from; absent when no file holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<LockedFile>,
    /// What another run had learned, when this one began with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<LockedFile>,
    /// How the weights were packed; absent when they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<LockedQuant>,
}

/// A form of packed weights.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LockedQuant {
    /// As in the experiment file: `nf4`.
    pub format: String,
    /// Whether scales are packed too.
    pub double: bool,
    /// Bytes of all weights of the model in this form.
    pub bytes: u64,
}

/// What differs between what two runs depended on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LockDifferences {
    /// Inputs with another content, by their names in [`Lock::INPUTS`]. Their paths do not matter.
    pub inputs: Vec<&'static str>,
    /// Programs and their settings, each with both sides.
    pub machine: Vec<String>,
}

impl LockDifferences {
    /// Whether anything differs.
    pub fn is_any(&self) -> bool {
        !self.inputs.is_empty() || !self.machine.is_empty()
    }
}

/// A file by name and content.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
    /// Name of the file.
    pub const FILE: &str = "lock.toml";
    /// What the checkpoint to start from is called among the inputs.
    pub const WEIGHTS: &str = "weights";
    /// What the vocabulary is called among the inputs.
    pub const TOKENIZER: &str = "tokenizer";
    /// What the file of the first values of a state is called among the inputs.
    pub const INIT: &str = "init";
    /// Names of the inputs, as [`Lock::input`] takes them.
    pub const INPUTS: [&str; 5] = ["data", Lock::TOKENIZER, Lock::WEIGHTS, Lock::INIT, "values"];

    /// The lock of the run at `path`; `None` when it has none that can be read.
    pub fn load(path: &Path) -> Option<Lock> {
        toml::from_str(&fs::read_to_string(path.join(Lock::FILE)).ok()?).ok()
    }

    /// What tells the documents apart from others: the key of the prepared data, or the sha256 of the pair.
    pub fn data_id(&self) -> Option<&String> {
        self.prepared.as_ref().or(self.data.first().map(|file| &file.sha256))
    }

    /// The files of an input: `data`, `tokenizer`, `weights`, `init` or `values`.
    pub fn input(&self, name: &str) -> Vec<&LockedFile> {
        match name {
            "data" => self.data.iter().collect(),
            Lock::TOKENIZER => vec![&self.tokenizer],
            Lock::INIT => self.init.iter().collect(),
            "values" => self.values.iter().collect(),
            _ => self.weights.iter().collect(),
        }
    }

    /// sha256 of everything that the numbers of a run depend on: these settings and the contents of this lock,
    /// wherever its files lie. Runs with the same one compute the same.
    pub fn identity(&self, settings: &str) -> String {
        let mut text = settings.to_string();
        let quant = self.quant.as_ref().map(|quant| format!("{} {}", quant.format, quant.double));
        for (what, value) in [
            ("statetune", &self.statetune),
            ("libtorch", &self.libtorch),
            ("kernels", &self.kernels),
            ("threads", &self.threads.to_string()),
            ("device", &self.device),
            ("op", &self.op),
            ("quant", &quant.unwrap_or_default()),
        ] {
            text += &format!("{what} {value}\n");
        }
        for input in Lock::INPUTS {
            for file in self.input(input) {
                text += &format!("{input} {}\n", file.sha256);
            }
        }
        sha256_hex(text)
    }

    /// The inputs whose content differs, by name, and what else of the machine differs, in words.
    pub fn differences(&self, now: &Lock) -> LockDifferences {
        let content = |lock: &Lock, input| -> Vec<String> {
            lock.input(input).into_iter().map(|file| file.sha256.clone()).collect()
        };
        let inputs =
            Lock::INPUTS.into_iter().filter(|input| content(self, input) != content(now, input));
        let lines = self.machine().into_iter().zip(now.machine());
        let changed = lines.filter(|((_, was), (_, now))| was != now);
        let machine = changed.map(|((name, was), (_, now))| format!("{name} {was} -> {now}"));
        LockDifferences { inputs: inputs.collect(), machine: machine.collect() }
    }

    /// The programs, the device and their settings, each by a name and as it is shown.
    pub fn machine(&self) -> [(&'static str, String); 6] {
        [
            ("statetune", self.statetune.clone()),
            ("libtorch", self.libtorch.clone()),
            ("kernels", short(&self.kernels)),
            ("device", self.device.clone()),
            ("op", self.op.clone()),
            ("threads", self.threads.to_string()),
        ]
    }

    /// Weights, tokenizer and first values, each by a name and the start of its digest. Weights are known by their tensors,
    /// so that another file of the same ones is no other input.
    pub fn inputs(&self) -> Vec<(&'static str, String)> {
        let weights = self.fingerprint.as_ref().or(self.weights.as_ref().map(|file| &file.sha256));
        let weights = weights.map(|digest| (Lock::WEIGHTS, short(digest)));
        let init = self.init.as_ref().map(|file| (Lock::INIT, short(&file.sha256)));
        let tokenizer = (Lock::TOKENIZER, short(&self.tokenizer.sha256));
        weights.into_iter().chain([tokenizer]).chain(init).collect()
    }

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
            include_str!("../../../kernels/wkv_cuda.h"),
            include_str!("../../../kernels/wkv_common.cuh"),
            include_str!("../../../kernels/wkv6.cu"),
            include_str!("../../../kernels/wkv7.cu"),
            include_str!("../../../kernels/wkv_cuda_autograd.cpp"),
            include_str!("../../../kernels/cpu_vectors.h"),
            include_str!("../../../kernels/instruction_set.cpp"),
            include_str!("../../../kernels/quant.h"),
            include_str!("../../../kernels/quant_cpu.h"),
            include_str!("../../../kernels/quant_cpu.cpp"),
            include_str!("../../../kernels/quant_autograd.cpp"),
            include_str!("../../../kernels/wkv.h"),
            include_str!("../../../kernels/wkv_cpu.h"),
            include_str!("../../../kernels/wkv6_cpu.cpp"),
            include_str!("../../../kernels/wkv7_cpu.cpp"),
            include_str!("../../../kernels/wkv_autograd.cpp"),
            include_str!("../../../kernels/settings.cpp"),
        ];
        sha256_hex(sources.concat())
    }
}

/// Enough of a digest to tell it from others.
fn short(digest: &str) -> String {
    digest.chars().take(8).collect()
}
