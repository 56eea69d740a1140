//! The program on the null GPU, and what it asked of that GPU.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::case::{Case, Output, STATE};
use crate::null_gpu::{environment, folder};

/// A case whose experiment runs on the null GPU.
pub struct NullGpu {
    pub case: Case,
    /// The libraries.
    folder: PathBuf,
}

/// What the program asked of the GPU.
#[derive(Debug)]
pub struct Counts(pub Value);

impl Counts {
    pub fn of(&self, what: &str) -> i64 {
        self.0[what].as_i64().unwrap_or_else(|| panic!("a count of {what}"))
    }

    /// Kernels, matrix products and kernels of this project.
    pub fn launches(&self) -> i64 {
        ["kernels", "products", "own"].map(|what| self.of(what)).iter().sum()
    }

    /// Copies between the host and the device.
    pub fn copies(&self) -> i64 {
        self.of("uploads") + self.of("downloads")
    }
}

impl NullGpu {
    pub fn new(case: Case) -> NullGpu {
        NullGpu { case, folder: folder().to_path_buf() }
    }

    /// The same with other libraries in the place of the null GPU's.
    pub fn with_libraries(self, folder: &Path) -> NullGpu {
        NullGpu { folder: folder.to_path_buf(), ..self }
    }

    /// Runs the program with these variables.
    pub fn statetune(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Output, Counts) {
        let report = self.case.path("null-gpu.json").display().to_string();
        let cache = self.case.path("cache").display().to_string();
        let ours = environment(&self.folder);
        let ours = ours.iter().map(|(name, value)| (&**name, &**value));
        let more = [("NULL_GPU_REPORT", &*report), ("XDG_CACHE_HOME", &*cache)];
        let all: Vec<(&str, &str)> = ours.chain(more).chain(variables.iter().copied()).collect();
        let output = self.case.statetune_with(arguments, &all);
        (output, Counts(self.case.json("null-gpu.json")))
    }

    /// Trains with these variables and `--set` arguments.
    pub fn run(&self, settings: &[&str], variables: &[(&str, &str)]) -> (Output, Counts) {
        let gpu = ["hardware.accelerator=gpu"];
        let settings = gpu.iter().chain(settings).flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["run", STATE].into_iter().chain(settings).collect();
        self.statetune(&arguments, variables)
    }
}

impl Output {
    /// The program did what it was asked to and standard error has nothing of libtorch.
    #[track_caller]
    pub fn is_done_quietly(&self) {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        for word in ["[W", "Warning", "panicked", "error"] {
            assert!(!self.stderr.contains(word), "{}", self.stderr);
        }
    }
}
