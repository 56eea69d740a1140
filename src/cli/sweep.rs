//! `statetune sweep`: runs each member in a process of this program.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, io, thread};

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use serde::Serialize;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use statetune_core::config::{ConfigError, Loaded, load};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::lang::Lang;
use statetune_core::plan::{Member, Purpose, as_text, members, resolve};

use super::run::NOT_NEEDED;
use super::runs::{Row, validation};
use super::stop::SIGNALLED;
use super::{Color, ExperimentArgs, Format, devices, refuse, runs_dir, say, show, stop, tell};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.sweep/1";

#[derive(Args, Debug)]
pub(super) struct SweepArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Vary this setting, in addition to the axes of the file or instead of the axis of the same key; repeatable.
    #[arg(long = "axis", value_name = "KEY=A,B,C", value_parser = parse_axis)]
    axes: Vec<(String, Vec<String>)>,
    /// Number of parallel runs, which share threads and device memory.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Resume interrupted or killed members instead of starting them again. Finished members are never run again.
    #[arg(long)]
    resume: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

fn parse_axis(text: &str) -> Result<(String, Vec<String>), String> {
    let form = "must be `KEY=A,B,C`";
    let (key, values) = text.split_once('=').ok_or(form)?;
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_string()).collect();
    if key.is_empty() || values.iter().any(String::is_empty) {
        return Err(form.to_string());
    }
    Ok((key.to_string(), values))
}

/// The result of a member.
#[derive(Clone, Debug, Default, Serialize)]
struct Outcome {
    /// Exit code of its process; `None` if the member was not started.
    exit_code: Option<i32>,
    /// Its run, if one exists.
    run: Option<Row>,
}

pub(super) fn sweep(args: &SweepArgs, color: Color) -> ExitCode {
    match args.members(color).and_then(|members| args.execute(&members, color)) {
        Ok(code) | Err(code) => code,
    }
}

impl SweepArgs {
    /// The members; each is checked to be a valid experiment before the first one runs.
    fn members(&self, color: Color) -> Result<Vec<Member>, ExitCode> {
        let mut sweep = self.load(&[], color)?.config.sweep;
        for (key, values) in &self.axes {
            // Values stay text here; loading the experiment parses them.
            let values = values.iter().map(|value| json!(value)).collect();
            sweep.axes.insert(key.clone(), values);
        }
        let members = members(&sweep).map_err(|problem| {
            let refusal = Diagnostic::error(msg!(NOT_A_SWEEP, problem))
                .help(msg!(NAME_AXIS_VALUES))
                .help(msg!(NAME_AXES_IN_FILE));
            show(&refusal, color);
            ExitCode::Invalid
        })?;
        for member in &members {
            let loaded = self.load(member, color)?;
            let dir = runs_dir(self.experiment.runs_dir.as_deref(), &self.file);
            resolve(loaded, Purpose::Run, dir, devices::find_gpus)
                .map_err(|faults| refuse(&faults, &self.file, color))?;
        }
        Ok(members)
    }

    fn load(&self, member: &[(String, Value)], color: Color) -> Result<Loaded, ExitCode> {
        let mut experiment = self.experiment.clone();
        experiment.set.extend(member.iter().map(set));
        load(&self.file, &experiment.overrides())
            .map_err(|ConfigError { file, diagnostics }| refuse(&diagnostics, &file, color))
    }

    /// Runs the members, at most `jobs` in parallel, and prints the results.
    fn execute(&self, members: &[Member], color: Color) -> Result<ExitCode, ExitCode> {
        let failed = |error: io::Error| {
            let message = Diagnostic::error(msg!(CANNOT_START_MEMBERS));
            let code = match error.kind() {
                // A limit on processes is told as one on memory.
                io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => ExitCode::OutOfMemory,
                _ => ExitCode::Disk,
            };
            show(&message.note(Text::library(error)), color);
            code
        };
        let children = Children::on_signals().map_err(failed)?;
        let notes = tempfile::tempdir().map_err(failed)?;
        let outcomes: Vec<Mutex<Outcome>> = members.iter().map(|_| Mutex::default()).collect();
        let (next, broken) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= members.len() || children.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let note = notes.path().join(i.to_string());
                let label = format!("member {} of {}: {}", i + 1, members.len(), sets(&members[i]));
                match self.run(&members[i], &label, &note, &children) {
                    Ok(outcome) => *unpoisoned(&outcomes[i]) = outcome,
                    Err(error) => *unpoisoned(&broken) = Some(error),
                }
            }
        };
        thread::scope(|scope| (0..self.jobs).for_each(|_| drop(scope.spawn(work))));
        if let Some(error) = unpoisoned(&broken).take() {
            return Err(failed(error));
        }
        let mut outcomes: Vec<Outcome> =
            outcomes.iter().map(|one| unpoisoned(one).clone()).collect();
        validation::mark(outcomes.iter_mut().filter_map(|one| one.run.as_mut()));
        self.print(members, &outcomes);
        if children.stopped.load(Ordering::Relaxed) {
            tell("the sweep was stopped; run the same command with `--resume` to continue");
            return Ok(ExitCode::Interrupted);
        }
        let codes = outcomes.iter().filter_map(|outcome| outcome.exit_code);
        // A member that a signal ended, of the system for example where memory ran out, can be resumed.
        let code_of = |code: i32| match code > SIGNALLED {
            true => ExitCode::Interrupted,
            false => ExitCode::of_number(code),
        };
        let mut failures = codes.map(code_of).filter(|code| *code != ExitCode::Ok);
        Ok(failures.next().unwrap_or(ExitCode::Ok))
    }

    /// Runs one member until it ends.
    fn run(
        &self,
        member: &[(String, Value)],
        label: &str,
        note: &Path,
        children: &Children,
    ) -> io::Result<Outcome> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("run").arg(&self.file).arg("--needed").args(["--lang", Lang::spoken().name()]);
        if self.resume {
            command.args(["--resume", "auto"]);
        }
        let ExperimentArgs {
            profiles,
            set: sets,
            set_json,
            unset,
            runs_dir,
            moved: _,
            is_follower: _,
        } = &self.experiment;
        let sets = sets.iter().cloned().chain(member.iter().map(set)).collect();
        for (flag, values) in [
            ("--profile", profiles),
            ("--unset", unset),
            ("--set", &sets),
            ("--set-json", set_json),
        ] {
            command.args(values.iter().flat_map(|value| [flag, value]));
        }
        if let Some(dir) = runs_dir {
            command.arg("--runs-dir").arg(dir);
        }
        command.arg("--run-file").arg(note).args(["--progress", "plain"]);
        // Output of parallel members would mix; the output of a failed member is shown afterwards.
        let shows = self.jobs == 1;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(if shows { Stdio::inherit() } else { Stdio::piped() });
        tell(label);
        let output = children.run(command)?;
        let answer = String::from_utf8_lossy(&output.stdout);
        if let Some(line) = answer.lines().find(|line| line.starts_with(NOT_NEEDED)) {
            tell(format_args!("{label}: {line}"));
        }
        if !output.status.success() && !shows {
            tell(format_args!("{label}:\n{}", String::from_utf8_lossy(&output.stderr).trim_end()));
        }
        let run = std::fs::read_to_string(note).ok();
        let run = run.and_then(|path| Row::read(Path::new(path.trim_end())).ok());
        let signalled = SIGNALLED + output.status.signal().unwrap_or(0);
        Ok(Outcome { exit_code: Some(output.status.code().unwrap_or(signalled)), run })
    }

    fn print(&self, members: &[Member], outcomes: &[Outcome]) {
        if self.format == Format::Json {
            let rows = members.iter().zip(outcomes).map(|(member, outcome)| {
                let settings: serde_json::Map<_, _> = member.iter().cloned().collect();
                json!({ "settings": settings, "exit_code": outcome.exit_code, "run": outcome.run })
            });
            say(json!({ "schema": SCHEMA, "members": rows.collect::<Vec<_>>() }));
            return;
        }
        let mut table = Table::new();
        let axes = members.iter().flatten().map(|(key, _)| key.clone());
        let header = axes.take(members[0].len());
        let columns = ["STATUS", "VAL", "BEST@", "PROBE"].map(str::to_string);
        table
            .load_style(NOTHING)
            .set_header(["ID".to_string()].into_iter().chain(header).chain(columns));
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
        for (member, Outcome { exit_code, run }) in members.iter().zip(outcomes) {
            let status = match (run, exit_code) {
                (Some(run), _) => run.state.to_string(),
                (None, Some(code)) => format!("refused, exit code {code}"),
                (None, None) => "not started".to_string(),
            };
            let of_run =
                |value: &dyn Fn(&Row) -> Option<String>| or_dash(run.as_ref().and_then(value));
            let id = of_run(&|run| Some(run.id.clone()));
            let values = member.iter().map(|(_, value)| as_text(value));
            let results = [
                status,
                of_run(&Row::val_loss_shown),
                of_run(&|run| run.record.best.map(|best| best.steps.to_string())),
                of_run(&|run| run.probe().map(|rate| format!("{rate:.2}"))),
            ];
            table.add_row([id].into_iter().chain(values).chain(results));
        }
        say(table);
        let mut runs = outcomes.iter().filter_map(|outcome| outcome.run.as_ref());
        if runs.any(|run| run.validation.is_some()) {
            say(format_args!("\n{}", validation::NOTE));
        }
    }
}

fn set((key, value): &(String, Value)) -> String {
    format!("{key}={}", as_text(value))
}

fn sets(member: &[(String, Value)]) -> String {
    member.iter().map(set).collect::<Vec<_>>().join(", ")
}

/// Locks a mutex; data stays valid after a panic in another thread.
fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processes of running members. A signal to this process is passed on as SIGINT: the members save and end; the
/// second signal ends them at once.
struct Children {
    pids: Arc<Mutex<Vec<Pid>>>,
    stopped: Arc<AtomicBool>,
}

impl Children {
    fn on_signals() -> io::Result<Children> {
        let children = Children { pids: Arc::default(), stopped: Arc::default() };
        let (pids, stopped) = (Arc::clone(&children.pids), Arc::clone(&children.stopped));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        stop::handles_signals_itself();
        thread::spawn(move || {
            for _ in signals.forever() {
                let pids = unpoisoned(&pids);
                stopped.store(true, Ordering::Relaxed);
                for pid in pids.iter() {
                    let _ = kill_process(*pid, Signal::INT); // it may have ended
                }
            }
        });
        Ok(children)
    }

    /// Runs a process until it ends. Ctrl-C of the terminal reaches it only through this process, and therefore once; when
    /// this process is killed, it saves and ends.
    fn run(&self, mut command: Command) -> io::Result<std::process::Output> {
        command.process_group(0);
        // SAFETY: the closure makes one system call and allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::INT))?));
        }
        let child: Child;
        let pid;
        {
            let mut pids = unpoisoned(&self.pids);
            child = command.spawn()?;
            pid = Pid::from_child(&child);
            pids.push(pid);
            if self.stopped.load(Ordering::Relaxed) {
                let _ = kill_process(pid, Signal::INT);
            }
        }
        let output = child.wait_with_output();
        unpoisoned(&self.pids).retain(|one| *one != pid);
        output
    }
}
