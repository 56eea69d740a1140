//! The program on the null GPU, and what it asked of that GPU.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::case::{Case, Output, STATE};
use crate::null_gpu::{environment, folder};

/// The file of the counts.
const REPORT: &str = "null-gpu.json";

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

    /// Runs the program with these variables, on the first GPU.
    pub fn statetune(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Output, Counts) {
        let output = self.output(arguments, variables);
        (output, self.counts(0))
    }

    /// What a process asked of the GPU that it used.
    pub fn counts(&self, gpu: usize) -> Counts {
        let file = |gpu| if gpu == 0 { REPORT.to_owned() } else { format!("{REPORT}.{gpu}") };
        Counts(self.case.json(file(gpu)))
    }

    /// The variables with which a program finds the null GPU.
    pub fn variables(&self) -> Vec<(String, String)> {
        let path = |name| self.case.path(name).display().to_string();
        let more = [("NULL_GPU_REPORT", path(REPORT)), ("XDG_CACHE_HOME", path("cache"))];
        let more = more.map(|(name, value)| (name.to_owned(), value));
        environment(&self.folder).into_iter().chain(more).collect()
    }

    /// Runs the program with these variables.
    pub fn output(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let ours = self.variables();
        let ours = ours.iter().map(|(name, value)| (&**name, &**value));
        let all: Vec<(&str, &str)> = ours.chain(variables.iter().copied()).collect();
        self.case.statetune_with(arguments, &all)
    }

    /// Trains with these variables and `--set` arguments.
    pub fn run(&self, settings: &[&str], variables: &[(&str, &str)]) -> (Output, Counts) {
        let output = self.run_on_any(settings, variables);
        (output, self.counts(0))
    }

    /// [`NullGpu::run`] on other GPUs than the first.
    pub fn run_on_any(&self, settings: &[&str], variables: &[(&str, &str)]) -> Output {
        let gpu = ["hardware.accelerator=gpu"];
        let settings = gpu.iter().chain(settings).flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["run", STATE].into_iter().chain(settings).collect();
        self.output(&arguments, variables)
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
