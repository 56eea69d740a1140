//! Two signals at random moments of every command that works for long, sent in the ways in which people and systems send
//! them: documented exit codes, no text of a library, no part of a file, and runs that end the same after a resume.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statetune_engine::model::{Shape, Version};

use crate::case::{Case, STATE, checkpoint, program};
use crate::resume::same_numbers;

/// Steps with evaluations and answers between, and a checkpoint after each.
const SETTINGS: [&str; 7] = [
    "--set=train.epoch_steps=1",
    "--set=train.epoch_count=8",
    "--set=checkpoint.keep_last=1",
    "--set=sample.held_out=2",
    "--set=sample.max_tokens=4",
    "--set=data.overlong=truncate",
    "--set=eval.limit=4",
];
/// The checkpoint of the last step.
const LAST: &str = "epoch-0007";
/// Commands after a run `RUN` that exported `EXPORT`, and the file that a command writes.
const COMMANDS: [(&str, &str); 10] = [
    ("run state.toml SETTINGS", ""),
    ("run state.toml SETTINGS --resume auto", ""),
    ("run state.toml SETTINGS --resume auto --grace 0", ""),
    ("eval RUN", ""),
    ("data prepare state.toml --runs-dir prepared", ""),
    ("export EXPORT --to st --out made.st --force", "made.st"),
    ("merge RUN --out made.pth --force", "made.pth"),
    ("generate RUN --prompt Hello --max-tokens 60", ""),
    ("chat RUN --max-tokens 60", ""),
    ("sweep state.toml SETTINGS --axis schedule.lr_init=1.0,0.5 --runs-dir swept --resume", ""),
];
/// Signals by name, with the exit code of a process that one of them ends at once.
const SIGNALS: [(&str, i32); 3] = [("INT", 130), ("TERM", 143), ("HUP", 129)];

/// How the signals come.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// To the process, within a second.
    Together,
    /// To the process, as two requests.
    Apart,
    /// To the process and its group, as a batch system sends them.
    Group,
    /// By `timeout`.
    Timeout,
    /// By the end of its terminal.
    Terminal,
}
const WAYS: [Way; 5] = [Way::Together, Way::Apart, Way::Group, Way::Timeout, Way::Terminal];

/// The exit code and standard error.
type Ended = (i32, String);

/// A case with a finished run.
struct Signals {
    case: Case,
    whole: PathBuf,
    rng: ChaCha8Rng,
}

impl Signals {
    fn new(case: Case) -> Signals {
        let arguments = [&["run", STATE][..], &SETTINGS].concat();
        case.statetune(&arguments).is_done_with_warnings();
        let whole = case.only_run();
        Signals { case, whole, rng: ChaCha8Rng::seed_from_u64(15) }
    }

    fn arguments(&self, command: &str) -> Vec<String> {
        let run = self.whole.to_string_lossy();
        let export = format!("{run}/export/rwkv-7.pth");
        let command = command.replace("SETTINGS", &SETTINGS.join(" "));
        let command = command.replace("RUN", &run).replace("EXPORT", &export);
        command.split(' ').map(str::to_owned).collect()
    }

    /// The command with standard input, output and error from and to files.
    fn command(&self, first: &[&str], arguments: &[String], number: usize) -> Command {
        self.case.write("input.txt", "Hello.\nWhat is your name?\n".repeat(20));
        let mut command = program();
        if let [starter, options @ ..] = first {
            let program = command.get_program().to_owned();
            let variables: Vec<_> = command
                .get_envs()
                .map(|(key, value)| (key.to_owned(), value.map(ToOwned::to_owned)))
                .collect();
            command = Command::new(starter);
            command.args(options).arg(program);
            command.envs(variables.into_iter().filter_map(|(key, value)| Some((key, value?))));
        }
        let file = |name: &str| fs::File::create(self.case.path(name)).expect("a file");
        command.current_dir(self.case.path("")).args(arguments).process_group(0);
        command.stdin(fs::File::open(self.case.path("input.txt")).expect("a file"));
        command.stdout(Stdio::null()).stderr(file(&format!("stderr-{number}.txt")));
        command
    }

    fn ended(&self, status: std::process::ExitStatus, number: usize) -> Ended {
        let code = status.code().unwrap_or_else(|| 128 + status.signal().expect("a signal"));
        (code, self.case.read(format!("stderr-{number}.txt")))
    }

    /// Ends a command in this way after `wait`. Returns the end of each process, with the codes that it may have.
    fn round(&mut self, arguments: &[String], way: Way, wait: Duration) -> Vec<(Ended, Vec<i32>)> {
        let (first, first_code) = SIGNALS[self.rng.random_range(0..SIGNALS.len())];
        let (second, second_code) = SIGNALS[self.rng.random_range(0..SIGNALS.len())];
        let mut codes = vec![0, 75, first_code, second_code];
        match way {
            Way::Timeout => {
                let seconds = format!("{:.3}", wait.as_secs_f64());
                let starter = ["timeout", "--preserve-status", "--signal", first, &seconds];
                let status = self.command(&starter, arguments, 0).status().expect("it starts");
                vec![(self.ended(status, 0), codes)]
            }
            Way::Terminal => {
                let Some(ended) = self.closed_terminal(arguments, wait) else { return Vec::new() };
                // The last output may have nowhere to go.
                vec![(ended, vec![0, 29, 75, 129])]
            }
            _ => {
                // Every other time a second process does the same.
                let count = 1 + self.rng.random_range(0..2);
                if count == 2 {
                    codes.push(26);
                }
                let start = |number| self.command(&[], arguments, number).spawn().expect("starts");
                let children: Vec<_> = (0..count).map(start).collect();
                sleep(wait);
                let between = match way {
                    Way::Apart => 1100,
                    _ => self.rng.random_range(0..150),
                };
                for (at, name) in [first, second].into_iter().enumerate() {
                    sleep(Duration::from_millis(at as u64 * between));
                    for child in &children {
                        let group = if matches!(way, Way::Group) { "-" } else { "" };
                        let target = format!("{group}{}", child.id());
                        let mut kill = Command::new("kill");
                        kill.args(["-s", name, "--", &target]).stderr(Stdio::null());
                        kill.status().expect("kill is there"); // the process may have ended
                    }
                }
                let ends = children.into_iter().enumerate().map(|(number, mut child)| {
                    (self.ended(child.wait().expect("it ends"), number), codes.clone())
                });
                ends.collect()
            }
        }
    }

    /// Runs a command in a terminal that goes after `wait`; `None` without `script`.
    fn closed_terminal(&self, arguments: &[String], wait: Duration) -> Option<Ended> {
        let program = env!("CARGO_BIN_EXE_statetune");
        // The shell outlives its terminal and keeps the code.
        let inner = format!(
            "trap : HUP; {program} {} 2> stderr-0.txt; echo $? > code.new; mv code.new code.txt",
            arguments.join(" ")
        );
        let _ = fs::remove_file(self.case.path("code.txt"));
        let _ = fs::remove_file(self.case.path("stderr-0.txt"));
        let mut script = Command::new("script");
        script.args(["-qefc", &inner, "/dev/null"]).current_dir(self.case.path(""));
        script.env("OMP_NUM_THREADS", "1").env("STATETUNE_LANG", "en");
        script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut script = script.spawn().ok()?;
        sleep(wait);
        script.kill().expect("killed");
        script.wait().expect("it ends");
        let began = Instant::now();
        while !self.case.path("code.txt").exists() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{arguments:?} outlives its terminal"
            );
            sleep(Duration::from_millis(10));
        }
        let code = self.case.read("code.txt").trim().parse().expect("a number");
        Some((code, self.case.read("stderr-0.txt")))
    }

    /// The file that a command made, without one.
    fn made(&self, file: &str) -> Option<Vec<u8>> {
        (!file.is_empty()).then(|| fs::read(self.case.path(file)).ok()).flatten()
    }

    /// Ends commands `rounds` times in all, and compares what is left with what an unbroken command leaves.
    fn survive(mut self, rounds: usize) {
        let mut ends = 0;
        for (number, (command, file)) in COMMANDS.into_iter().enumerate() {
            let arguments = self.arguments(command);
            let began = Instant::now();
            let status = self.command(&[], &arguments, 0).status().expect("it starts");
            let millis = began.elapsed().as_millis() as u64;
            assert!(status.success(), "{command}: {}", self.case.read("stderr-0.txt"));
            let whole = self.made(file);
            for round in 0..rounds / COMMANDS.len() {
                if command.contains("--runs-dir prepared") {
                    let _ = fs::remove_dir_all(self.case.path("prepared"));
                }
                let way = WAYS[(number + round) % WAYS.len()];
                let wait = Duration::from_millis(self.rng.random_range(0..millis));
                for ((code, stderr), codes) in self.round(&arguments, way, wait) {
                    let what = format!("{command}, {way:?} after {wait:?}: {code} {stderr}");
                    assert!(codes.contains(&code), "{what}");
                    for foreign in ["panicked", "terminate called", "ASSERT", "PyTorch", "ST9"] {
                        assert!(!stderr.contains(foreign), "{what}");
                    }
                    // A signal may come after the message that another process has the run.
                    let is_busy = codes.contains(&26) && stderr.contains("error[ST6007]");
                    assert!(!stderr.contains("error[") || is_busy || code == 29, "{what}");
                    assert!(stderr.is_empty() || stderr.ends_with('\n'), "{what}");
                    ends += 1;
                }
                let made = self.made(file);
                assert!(made.is_none() || made == whole, "{command}: half of {file}");
            }
        }
        println!("{ends} processes were ended");
        self.resumed();
    }

    /// Every run ends as the unbroken one.
    fn resumed(&self) {
        for run in self.case.runs().into_iter().filter(|run| *run != self.whole) {
            if self.case.json(run.join("status.json"))["status"] != "done" {
                let name = run.to_string_lossy();
                self.case.statetune(&["resume", &name]).is_done_with_warnings();
            }
            same_numbers(&self.case, &self.whole, &run, LAST);
        }
        let (sweep, _) = COMMANDS[COMMANDS.len() - 1];
        let status = self.command(&[], &self.arguments(sweep), 0).status().expect("it starts");
        assert!(status.success(), "{}", self.case.read("stderr-0.txt"));
        let swept = self.case.list("swept").into_iter().filter(|name| !name.starts_with('.'));
        for run in swept.map(|name| Path::new("swept").join(name)) {
            assert_eq!(self.case.json(run.join("status.json"))["status"], "done");
        }
    }
}

/// The shipped model.
#[test]
#[ignore = "takes ten minutes"]
fn two_signals_at_two_hundred_moments_of_every_command() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny-chat.pth");
    let case = Case::new().having("base.pth", fs::read(model).expect("the shipped model"));
    Signals::new(case).survive(200);
}

/// The shape of World 0.1B: loading the weights, a step and an evaluation take seconds each.
#[test]
#[ignore = "takes half an hour"]
fn two_signals_at_two_hundred_moments_of_every_command_with_a_large_model() {
    let shape = Shape::for_scratch(Version::V7, 12, 768, 65536);
    let case = Case::new().having("base.pth", checkpoint(shape)).with(
        STATE,
        "tokenizer = \"vocab.txt\"",
        "tokenizer = \"world\"",
    );
    Signals::new(case).survive(200);
}
