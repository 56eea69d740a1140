//! A temporary folder with a small model, documents and experiment files, and the program run in it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use regex::Regex;
use serde_json::{Value, json};
use statetune_core::tensorfile::Dtype;
use statetune_engine::exports::{ExportKind, ExportOptions, ModelSizes, Passport, save_state};
use statetune_engine::model::{Shape, TimeState, Version, Weights};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// State tuning of `base.pth` on `data.jsonl`: four steps in two mini-epochs.
pub const STATE: &str = "state.toml";
/// A new model of the same size, on the same documents.
pub const FULL: &str = "full.toml";

/// Blocks, channels and token ids of the small model.
pub const SIZES: (i64, i64, i64) = (2, 64, 4096);

/// What sets the language of the program, whatever that of the machine is.
pub const IN_ENGLISH: (&str, &str) = ("STATETUNE_LANG", "en");

/// The program, as every test starts it.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statetune"));
    command.env(IN_ENGLISH.0, IN_ENGLISH.1).env("OMP_NUM_THREADS", "1"); // several tests run at once
    command
}

/// A folder of its own, in which the program is run.
pub struct Case {
    folder: TempDir,
}

/// What the program left behind. The folder, the date and the letters of run directories, losses and
/// speeds are replaced by fixed texts.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// `stderr` without the lines that tell of work of more than ten seconds: a busy machine has more of it.
fn without_progress(stderr: &str) -> String {
    let line = r"(?m)^[a-z][a-z ]+ ([\d,]+/[\d,]+|\d+ %)(  ETA [\d:]+)?\n";
    Regex::new(line).expect("a valid expression").replace_all(stderr, "").into_owned()
}

impl Case {
    pub fn new() -> Case {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let case = Case { folder };
        case.write(STATE, include_str!("../data/cli/state.toml"));
        case.write(FULL, include_str!("../data/cli/full.toml"));
        case.write("data.jsonl", include_str!("../data/cli/data.jsonl"));
        case.write("vocab.txt", include_str!("../../models/tiny-vocab.txt"));
        case.write("base.pth", base_model());
        case
    }

    /// The case after `old` was replaced in one of its files.
    #[must_use]
    pub fn with(self, file: &str, old: &str, new: &str) -> Case {
        let text = self.read(file);
        assert_eq!(text.matches(old).count(), 1, "{old:?} stands once in {file}");
        self.write(file, text.replacen(old, new, 1));
        self
    }

    /// The case with another file.
    #[must_use]
    pub fn having(self, file: &str, content: impl AsRef<[u8]>) -> Case {
        self.write(file, content);
        self
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a path in the folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    pub fn read(&self, name: impl AsRef<Path>) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The lines of a JSONL file.
    pub fn lines(&self, name: impl AsRef<Path>) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The lines of a JSONL file whose last line may be cut off.
    pub fn lines_that_are_whole(&self, name: impl AsRef<Path>) -> Vec<Value> {
        let text = self.read(name);
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// A JSON file.
    pub fn json(&self, name: impl AsRef<Path>) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }

    /// The lines of `metrics.jsonl` of a run, each of which has its times in `times.jsonl`.
    pub fn metrics(&self, run: &Path) -> Vec<Value> {
        let lines = self.lines(run.join("metrics.jsonl"));
        let steps = |lines: &[Value]| -> Vec<Value> {
            lines.iter().map(|line| line["step"].clone()).collect()
        };
        assert_eq!(steps(&self.lines(run.join("times.jsonl"))), steps(&lines));
        lines
    }

    /// The names in a folder, sorted; none when it does not exist.
    pub fn list(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }

    /// The folders of prepared data in the cache, which has records of other things too.
    pub fn prepared(&self) -> Vec<String> {
        let names = self.list("runs/.cache").into_iter();
        names.filter(|name| name.starts_with("data-")).collect()
    }

    /// The run directories, without the folder of prepared data and what is half-made.
    pub fn runs(&self) -> Vec<PathBuf> {
        let names = self.list("runs").into_iter().filter(|name| !name.starts_with('.'));
        names.map(|name| Path::new("runs").join(name)).collect()
    }

    /// The only run directory.
    pub fn only_run(&self) -> PathBuf {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    pub fn statetune(&self, arguments: &[&str]) -> Output {
        self.statetune_with(arguments, &[])
    }

    /// Writes a state of a model of this shape as `NAME.pth` (float32) and `NAME.st`, its base
    /// unknown.
    pub fn write_state(&self, name: &str, state: &TimeState, shape: &Shape) {
        let method = json!({ "type": "state" });
        let passport = Passport::new(ExportKind::State, ModelSizes::from(shape), method);
        let export = ExportOptions { dtype: Dtype::F32, passport: &passport };
        save_state(state, &self.path(name), &export).expect("written");
    }

    /// Runs the program in the folder, with environment variables.
    pub fn statetune_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        self.statetune_in("", arguments, environment)
    }

    /// Runs the program in a folder of the folder.
    pub fn statetune_in(
        &self,
        folder: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Output {
        let mut command = program();
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("STATETUNE__")) {
            command.env_remove(name);
        }
        let output = command
            .current_dir(self.path(folder))
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .expect("the program starts");
        self.output(output)
    }

    /// Runs the program in the folder with `input` as standard input.
    pub fn statetune_reading(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = program()
            .current_dir(self.path(""))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let _ = stdin.write_all(input.as_bytes()); // a program that refuses may end before it reads
        drop(stdin);
        self.output(child.wait_with_output().expect("the program ends"))
    }

    fn output(&self, output: std::process::Output) -> Output {
        let text = |bytes| self.scrub(&String::from_utf8(bytes).expect("UTF-8"));
        Output {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: without_progress(&text(output.stderr)),
        }
    }

    /// Replaces what differs from run to run.
    pub fn scrub(&self, text: &str) -> String {
        let folder = self.folder.path().to_string_lossy();
        let mut text = text.replace(&*folder, "CASE");
        for (changing, fixed) in [
            (r"\d{4}-\d\d-\d\d-([a-z-]+)-[0-9a-z]{4}\b", "DATE-$1-ID"),
            (r"trained for \d+ s", "trained for N s"),
            (r"(\d+\.\d [kM]|\d+)/s\b", "N/s"),
            (r"\d+ MiB  ETA \d+:\d\d", "N MiB  ETA M:SS"),
            (r"val \d\.\d{4}( \(best[^)]*\))?", "val #.####"),
            (r"loss \d\.\d{4}", "loss #.####"),
            (r"(margin|chosen|rejected) -?\d\.\d{4}", "$1 #.####"),
            (r"┆ -      ┆ \d\.\d{4} │", "┆ -      ┆ #.#### │"),
            (r"┆ \d\.\d{4} ┆ \d\.\d{4} │", "┆ #.#### ┆ #.#### │"),
        ] {
            let changing = Regex::new(changing).expect("a valid expression");
            text = changing.replace_all(&text, fixed).into_owned();
        }
        text
    }

    /// What the plan of `file`, with samples of 64 tokens and nothing held out, says of coverage under more arguments.
    #[track_caller]
    pub fn coverage(&self, file: &str, more: &[&str]) -> String {
        let settings = ["train.ctx_len=64", "data.val_split=0", "sample.held_out=0"];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = ["plan", file, "--prepare"]
            .into_iter()
            .chain(settings)
            .chain(more.iter().copied())
            .collect();
        let output = self.statetune(&arguments);
        let lines = &output.is_done_with_warnings().stdout;
        lines.lines().find(|line| line.contains("coverage")).expect("a line").to_owned()
    }

    /// Runs `state.toml` and expects this message and exit code, and that nothing was begun. `check` refuses the same
    /// files with the same message.
    #[track_caller]
    pub fn refuses(&self, code: i32, message: &str) {
        self.refuses_to(&["run", STATE], code, message);
        let is_missing =
            ["ST3005", "ST3010", "ST4001", "ST5003"].iter().any(|one| message.contains(one));
        if !is_missing {
            self.refuses_to(&["check", STATE], code, message);
        }
    }

    /// Like [`Self::refuses`], with other arguments.
    #[track_caller]
    pub fn refuses_to(&self, arguments: &[&str], code: i32, message: &str) {
        let output = self.statetune(arguments);
        assert_eq!(output.stderr.trim_end(), message.trim_end());
        assert_eq!((output.code, &*output.stdout), (Some(code), ""));
        assert_eq!(self.runs(), Vec::<PathBuf>::new());
    }
}

impl Output {
    /// The program did what it was asked to; whole standard output and error.
    #[track_caller]
    pub fn succeeds(&self, stdout: &str, stderr: &str) {
        assert_eq!(self.stderr.trim_end(), stderr.trim_end());
        assert_eq!(self.stdout.trim_end(), stdout.trim_end());
        assert_eq!(self.code, Some(0));
    }

    /// The program did what it was asked to, whatever it said about it.
    #[track_caller]
    pub fn is_done(&self) -> &Output {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert!(!self.stderr.contains("error"), "{self:?}");
        self
    }
}

impl Output {
    /// As [`Output::is_done`], whatever it was warned of.
    #[track_caller]
    pub fn is_done_with_warnings(&self) -> &Output {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert!(!self.stderr.contains("error["), "{self:?}");
        self
    }
}

/// The checkpoint that all cases start from, of [`SIZES`] in bfloat16.
pub fn base_model() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let (n_layer, n_embd, vocab_size) = SIZES;
        checkpoint(Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size))
    })
}

/// Random weights of this shape as the bytes of a checkpoint. In a new model the time mix says nothing,
/// as its output starts at zero; here it does, so that the state matters.
pub fn checkpoint(shape: Shape) -> Vec<u8> {
    tampered(shape, |_, tensor| tensor)
}

/// A [`checkpoint`] of which every tensor is what `change` makes of it.
pub fn tampered(shape: Shape, change: impl Fn(&str, Tensor) -> Tensor) -> Vec<u8> {
    // libtorch has one generator, and tests run side by side.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.pth");
    let new = Weights::scratch(shape, 1);
    let weights = Weights::from_fn(shape, |name, size| {
        let tensor = match name.ends_with("att.output.weight") {
            true => Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.1,
            false => new.get(name, Kind::Float),
        };
        change(name, tensor)
    });
    weights.save_pth(&path).expect("a checkpoint");
    fs::read(path).expect("the checkpoint")
}
