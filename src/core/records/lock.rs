//! `lock.toml`: inputs and environment, on which a run's numbers depend beside the experiment file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::earlier::run_of_settings;
use super::error::ReadRunError;
use crate::diagnostic::Text;
use crate::digest::sha256_hex;
use crate::recorded_paths::{absolute, path_of_record, recorded_path};

/// The git commit that this process was built from.
static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Inputs and environment of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Lock {
    /// Version of this program.
    pub statetune: String,
    /// The git commit that this program was built from; absent for builds outside git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Version of libtorch.
    pub libtorch: String,
    /// sha256 of the kernels' source.
    pub kernels: String,
    /// The most threads that computed. Numbers do not depend on it.
    pub threads: i32,
    /// Devices that trained together; absent for one. Numbers do not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<u32>,
    /// How they shared a step, as `hardware.strategy` names it; absent for one. Numbers do not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Cores of the machine, by which matrix products are cut; absent in older runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Model of the GPU or CPU.
    pub device: String,
    /// `float32` where matrices of 16 bits are widened before they are multiplied; absent where libtorch multiplies them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub products: Option<String>,
    /// The WKV implementation, as `train.op` names it.
    pub op: String,
    /// Fingerprint of the base model's tensors, independent of the file format; absent when the model is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Key of the prepared data; absent when a binidx pair was used as is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<String>,
    /// Data files.
    pub data: Vec<LockedFile>,
    /// Vocabulary of the tokenizer.
    pub tokenizer: LockedFile,
    /// The base model; absent when the model is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<LockedFile>,
    /// The file of the initial state; absent without `peft.init_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<LockedFile>,
    /// The files of the teacher of a distillation (prompt, state or adapter, weights), and general text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teacher: Vec<LockedFile>,
    /// Trained parameters of another run (`--from`) that this run started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<LockedFile>,
    /// The suites of `eval.suites`; absent without. Parameters do not depend on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suites: Vec<LockedFile>,
    /// Quantization of the base model; absent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant: Option<LockedQuant>,
}

/// Quantization of the base model.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LockedQuant {
    /// As in `quant.type`: `nf4`.
    pub format: String,
    /// Whether the scales are quantized too.
    pub double: bool,
    /// Bytes of the quantized model.
    pub bytes: u64,
}

/// Differences between two locks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LockDifferences {
    /// Names in [`Lock::INPUTS`] of the inputs whose content differs; paths are not compared.
    pub inputs: Vec<&'static str>,
    /// Differing lines of the environment, as `NAME OLD -> NEW`.
    pub machine: Vec<String>,
}

impl LockDifferences {
    /// Whether anything differs.
    pub fn is_any(&self) -> bool {
        !self.inputs.is_empty() || !self.machine.is_empty()
    }
}

/// Path and content digest of a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LockedFile {
    /// Absolute path, relative to the run directory in the file where both are in one project; `world` for the built-in
    /// vocabulary.
    pub path: PathBuf,
    /// sha256 of the content.
    pub sha256: String,
}

impl LockedFile {
    /// The file at `path`, with the sha256 of its content.
    pub fn new(path: &Path, sha256: String) -> LockedFile {
        LockedFile { path: absolute(path), sha256 }
    }
}

impl Lock {
    /// Name of the file.
    pub const FILE: &str = "lock.toml";
    /// Input name of the base model.
    pub const WEIGHTS: &str = "weights";
    /// Input name of the vocabulary.
    pub const TOKENIZER: &str = "tokenizer";
    /// Input name of the initial state.
    pub const INIT: &str = "init";
    /// Input name of the files of a teacher.
    pub const TEACHER: &str = "teacher";
    /// All input names, as [`Lock::input`] takes them.
    pub const INPUTS: [&str; 6] =
        ["data", Lock::TOKENIZER, Lock::WEIGHTS, Lock::INIT, Lock::TEACHER, "values"];

    /// The lock in `folder`, a run directory or one of its past settings; `None` when the file is missing or cannot be read.
    pub fn load(folder: &Path) -> Option<Lock> {
        Lock::read(folder).ok().flatten()
    }

    /// The lock in `folder`, a run directory or one of its past settings; `None` without one.
    ///
    /// # Errors
    /// A file that cannot be read, or is not a lock.
    pub fn read(folder: &Path) -> Result<Option<Lock>, ReadRunError> {
        let path = folder.join(Lock::FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ReadRunError::Read { path, source }),
        };
        let mut lock: Lock = toml::from_str(&text).map_err(|error| {
            let problem = Text::library(error.message());
            ReadRunError::Damaged { path, problem }
        })?;
        let run = run_of_settings(folder);
        for file in lock.files_mut().filter(|file| file.path.starts_with("..")) {
            file.path = absolute(&path_of_record(&file.path, run));
        }
        Ok(Some(lock))
    }

    /// Every file that is named.
    fn files_mut(&mut self) -> impl Iterator<Item = &mut LockedFile> {
        let Lock { data, tokenizer, weights, init, values, .. } = self;
        data.iter_mut().chain([tokenizer]).chain(weights).chain(init).chain(values)
    }

    /// Identifier of the documents: the key of the prepared data, or the sha256 of the binidx pair.
    pub fn data_id(&self) -> Option<&String> {
        self.prepared.as_ref().or(self.data.first().map(|file| &file.sha256))
    }

    /// The files of an input: `data`, `tokenizer`, `weights`, `init`, `teacher` or `values`.
    pub fn input(&self, name: &str) -> Vec<&LockedFile> {
        match name {
            "data" => self.data.iter().collect(),
            Lock::TOKENIZER => vec![&self.tokenizer],
            Lock::INIT => self.init.iter().collect(),
            Lock::TEACHER => self.teacher.iter().collect(),
            "values" => self.values.iter().collect(),
            _ => self.weights.iter().collect(),
        }
    }

    /// sha256 of everything that the run's numbers depend on: `settings` and this lock, without file paths. Runs with
    /// equal identities compute equal numbers.
    pub fn identity(&self, settings: &str) -> String {
        let mut text = settings.to_string();
        let quant = self.quant.as_ref().map(|quant| format!("{} {}", quant.format, quant.double));
        for (what, value) in [
            ("statetune", &self.statetune),
            ("libtorch", &self.libtorch),
            ("kernels", &self.kernels),
            ("cores", &self.cores.unwrap_or_default().to_string()),
            ("device", &self.device),
            ("op", &self.op),
            ("quant", &quant.unwrap_or_default()),
        ] {
            text += &format!("{what} {value}\n");
        }
        if let Some(products) = &self.products {
            text += &format!("products {products}\n");
        }
        for input in Lock::INPUTS {
            for file in self.input(input) {
                text += &format!("{input} {}\n", file.sha256);
            }
        }
        for file in &self.suites {
            text += &format!("suite {}\n", file.sha256);
        }
        sha256_hex(text)
    }

    /// Compares this lock with a newer one.
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

    /// Sets the git commit that this process was built from, which only its main file knows: no library is built again for
    /// a new commit.
    pub fn built_from(commit: &'static str) {
        let _ = COMMIT.set(commit);
    }

    /// The git commit that this process was built from; `None` for builds outside git.
    pub fn commit_of_program() -> Option<&'static str> {
        COMMIT.get().copied()
    }

    /// Version and commit of this program: `0.1.0 (1a2b3c4d5e6f)`.
    pub fn program(&self) -> String {
        match &self.commit {
            Some(commit) => format!("{} ({commit})", self.statetune),
            None => self.statetune.clone(),
        }
    }

    /// Programs, device and their settings: name and displayed value.
    pub fn machine(&self) -> [(&'static str, String); 7] {
        [
            ("statetune", self.statetune.clone()),
            ("libtorch", self.libtorch.clone()),
            ("kernels", short(&self.kernels)),
            ("device", self.device.clone()),
            ("op", self.op.clone()),
            ("cores", self.cores.map_or_else(|| "?".to_string(), |cores| cores.to_string())),
            ("products", self.products.clone().unwrap_or_else(|| "libtorch".to_string())),
        ]
    }

    /// Base model, tokenizer and initial state: name and shortened digest. The digest of the base model is its fingerprint,
    /// so that another file with the same tensors counts as the same input.
    pub fn inputs(&self) -> Vec<(&'static str, String)> {
        let weights = self.fingerprint.as_ref().or(self.weights.as_ref().map(|file| &file.sha256));
        let weights = weights.map(|digest| (Lock::WEIGHTS, short(digest)));
        let init = self.init.as_ref().map(|file| (Lock::INIT, short(&file.sha256)));
        let tokenizer = (Lock::TOKENIZER, short(&self.tokenizer.sha256));
        weights.into_iter().chain([tokenizer]).chain(init).collect()
    }

    /// The text of the file of the run at `run`.
    ///
    /// # Panics
    /// Never: a lock is plain data.
    pub fn to_toml(&self, run: &Path) -> String {
        let mut lock = self.clone();
        for file in lock.files_mut().filter(|file| file.path.is_absolute()) {
            file.path = recorded_path(&file.path, run);
        }
        toml::to_string(&lock).expect("a lock is plain data")
    }

    /// sha256 of the kernels' source compiled into this program.
    pub fn kernels_sha256() -> String {
        let sources = [
            include_str!("../../../kernels/autograd_shim.h"),
            include_str!("../../../kernels/backward.cpp"),
            include_str!("../../../kernels/block.h"),
            include_str!("../../../kernels/block_autograd.cpp"),
            include_str!("../../../kernels/block_cpu.h"),
            include_str!("../../../kernels/channel_mix.cu"),
            include_str!("../../../kernels/channel_mix_cpu.cpp"),
            include_str!("../../../kernels/copies.cpp"),
            include_str!("../../../kernels/cpu_vectors.h"),
            include_str!("../../../kernels/cuda_types.cuh"),
            include_str!("../../../kernels/dtype.h"),
            include_str!("../../../kernels/few_rows.cpp"),
            include_str!("../../../kernels/few_rows.h"),
            include_str!("../../../kernels/few_rows_cpu.cpp"),
            include_str!("../../../kernels/few_rows_product.h"),
            include_str!("../../../kernels/flat.cpp"),
            include_str!("../../../kernels/flat.cu"),
            include_str!("../../../kernels/flat.h"),
            include_str!("../../../kernels/flat_cpu.cpp"),
            include_str!("../../../kernels/flat_cpu.h"),
            include_str!("../../../kernels/head_loss.cu"),
            include_str!("../../../kernels/head_loss_cpu.cpp"),
            include_str!("../../../kernels/instruction_set.cpp"),
            include_str!("../../../kernels/instruction_set.h"),
            include_str!("../../../kernels/low_rank.cpp"),
            include_str!("../../../kernels/norm_mix.cu"),
            include_str!("../../../kernels/norm_mix_cpu.cpp"),
            include_str!("../../../kernels/product_blocks.cpp"),
            include_str!("../../../kernels/product_blocks.h"),
            include_str!("../../../kernels/products.cpp"),
            include_str!("../../../kernels/quant.cu"),
            include_str!("../../../kernels/quant.h"),
            include_str!("../../../kernels/quant_autograd.cpp"),
            include_str!("../../../kernels/quant_cpu.cpp"),
            include_str!("../../../kernels/quant_cpu.h"),
            include_str!("../../../kernels/settings.cpp"),
            include_str!("../../../kernels/stage_cuda.h"),
            include_str!("../../../kernels/stage_launch.h"),
            include_str!("../../../kernels/stages.cuh"),
            include_str!("../../../kernels/threads.cpp"),
            include_str!("../../../kernels/threads.h"),
            include_str!("../../../kernels/time_mix.cu"),
            include_str!("../../../kernels/time_mix7_call.h"),
            include_str!("../../../kernels/time_mix_cpu.cpp"),
            include_str!("../../../kernels/time_mix_cuda_autograd.cpp"),
            include_str!("../../../kernels/wkv.h"),
            include_str!("../../../kernels/wkv6.cu"),
            include_str!("../../../kernels/wkv6_cpu.cpp"),
            include_str!("../../../kernels/wkv7.cu"),
            include_str!("../../../kernels/wkv7_cpu.cpp"),
            include_str!("../../../kernels/wkv_autograd.cpp"),
            include_str!("../../../kernels/wkv_common.cuh"),
            include_str!("../../../kernels/wkv_cpu.h"),
            include_str!("../../../kernels/wkv_cuda.h"),
            include_str!("../../../kernels/wkv_cuda_autograd.cpp"),
            include_str!("../../../kernels/wkv_launch.h"),
        ];
        sha256_hex(sources.concat())
    }
}

/// The first eight characters of a digest.
fn short(digest: &str) -> String {
    digest.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    /// Files of `kernels/` whose text changes no number of a run.
    const WITHOUT_NUMBERS: [&str; 5] =
        ["build.rs", "cuda_emulation.h", "devices.cpp", "terminate.cpp", "weight_copies.cpp"];

    #[test]
    fn the_digest_has_every_kernel_file() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels");
        for entry in fs::read_dir(folder).expect("the kernels") {
            let entry = entry.expect("a file");
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() || WITHOUT_NUMBERS.contains(&&*name) {
                continue;
            }
            let line = format!("include_str!(\"../../../kernels/{name}\")");
            assert!(include_str!("lock.rs").contains(&line), "kernels_sha256 lacks {name}");
        }
    }
}
