//! `statetune run`.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use statetune_core::data::{Role, Template};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::objective::Rewards;
use statetune_core::plan::{Plan, Purpose};
use statetune_core::records::{Best, Event, ProbeRate, RunDir, dir_name, newest_checkpoint};
use statetune_core::shell::shell_path;
use statetune_core::store::find_run;
use statetune_core::tensorfile::is_written_through;
use statetune_core::words::{count, printable, size};
use statetune_core::work::observe;
use statetune_engine::kernels::GpuBytes;
use statetune_engine::run::{Begin, Outcome, Summary};
use statetune_engine::tensors::device;
use statetune_engine::train::{Devices, Place, Single};

use super::begin::{begin, fail};
use super::config::exists;
use super::eval::{INTERVALS, metrics_table};
use super::keys::Keyboard;
use super::report::report_into;
use super::run_options::{ProgressStyle, RunFormat, RunOptions};
use super::screen::{Screen, WorkOnScreen};
use super::table::table;
use super::{Color, ExperimentArgs, detach, devices, events, say, show, stop, working};

/// Questions that the closing table shows.
const SAMPLES_SHOWN: usize = 4;
/// Characters of an answer in the closing table.
const ANSWER_CHARS: usize = 120;

/// The first words of the line that reports a skipped run.
pub(super) const NOT_NEEDED: &str = "not needed";

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The experiment file.
    #[arg(value_name = "FILE", required_unless_present = "like")]
    file: Option<PathBuf>,
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Use the settings of this run instead of an experiment file.
    #[arg(long, value_name = "RUN", conflicts_with = "file")]
    like: Option<String>,
    /// Skip the run if a finished run has the same settings and inputs; with `--resume auto`, continue an
    /// unfinished one.
    #[arg(long, conflicts_with = "from")]
    needed: bool,
    /// Continue this run of the experiment in its directory; `auto`: continue the newest unfinished run, or
    /// start a new one.
    #[arg(long, value_name = "RUN", conflicts_with = "from")]
    resume: Option<String>,
    /// Start a new run from the trained parameters of this run (`RUN@best`: at its lowest validation loss).
    #[arg(long, value_name = "RUN")]
    from: Option<String>,
    #[command(flatten)]
    options: RunOptions,
}

pub(super) fn run(args: &RunArgs, color: Color) -> ExitCode {
    if let Err(code) = args.options.check_run_file(color) {
        return code;
    }
    if args.options.detaches() {
        return args.options.start_detached(color);
    }
    let launched = match devices::launched(color) {
        Ok(launched) => launched,
        Err(code) => return code,
    };
    let is_follower = devices::is_follower(launched.as_ref());
    let mut plan = match args.plan(is_follower, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let place = match devices::placed(&mut plan, launched, color) {
        Ok(place) => place,
        Err(code) => return code,
    };
    if is_follower {
        return devices::run_along(&plan, place, args.options.grace, color);
    }
    match begin(&mut plan, args.resume.as_deref(), args.from.as_deref(), args.needed) {
        Ok(begin) => execute(&plan, begin, place, &args.options, color),
        Err(error) => fail(&error, color),
    }
}

impl RunArgs {
    /// The plan of the experiment file, or of the settings of the run in `--like`.
    fn plan(&self, is_follower: bool, color: Color) -> Result<Plan, ExitCode> {
        let experiment = ExperimentArgs { is_follower, ..self.experiment.clone() };
        let Some(name) = &self.like else {
            let file = self.file.as_deref().expect("clap requires a file or `--like`");
            return experiment.plan(file, Purpose::Run, color);
        };
        let runs_dir = self.experiment.runs_dir.as_deref().unwrap_or(Path::new("runs"));
        let run = find_run(runs_dir, name).map_err(|refusal| {
            show(&refusal, color);
            ExitCode::Invalid
        })?;
        let beside = || run.parent().map(Path::to_path_buf);
        let runs_dir = self.experiment.runs_dir.clone().or_else(beside);
        let experiment = ExperimentArgs { runs_dir, ..experiment };
        experiment.plan(&run.join(RunDir::SETTINGS), Purpose::Run, color)
    }
}

impl RunOptions {
    /// Whether the run should continue in the background.
    pub(super) fn detaches(&self) -> bool {
        self.detach
    }

    /// Starts the same command in a background process.
    pub(super) fn start_detached(&self, color: Color) -> ExitCode {
        detach::start(self.format, color)
    }

    /// Detaches from the terminal if requested. A failure is a warning; the run continues.
    fn leave_terminal(&self, run: &Path, color: Color) {
        let Some(told) = &self.detached else { return };
        if let Err(error) = detach::leave_terminal(run, told) {
            let message = msg!(RUN_CANNOT_LEAVE_TERMINAL);
            show(&Diagnostic::warning(message).note(Text::library(error)), color);
        }
    }

    /// The progress style; a detached process prints plain lines instead of a redrawn line.
    fn style(&self) -> ProgressStyle {
        match self.progress {
            ProgressStyle::Auto | ProgressStyle::Bar if self.detached.is_some() => {
                ProgressStyle::Plain
            }
            style => style,
        }
    }

    /// Refuses a `--run-file` that exists and holds anything but the path of a run. Shows the error.
    pub(super) fn check_run_file(&self, color: Color) -> Result<(), ExitCode> {
        let is_kept =
            |file: &&PathBuf| !is_written_through(file) && file.is_file() && !names_a_run(file);
        match self.run_file.as_ref().filter(is_kept) {
            None => Ok(()),
            Some(file) => {
                show(&exists(file), color);
                Err(ExitCode::Invalid)
            }
        }
    }

    /// Writes the path of the run to `--run-file`, if given. A failure is a warning; the run continues.
    fn note_run(&self, run: &Path, color: Color) {
        let Some(file) = &self.run_file else { return };
        if let Err(error) = std::fs::write(file, format!("{}\n", run.display())) {
            let message = msg!(CANNOT_WRITE_EVENTS, file);
            show(&Diagnostic::warning(message).note(Text::library(error)), color);
        }
    }
}

/// What is saved of a run that ends at once, and how it continues.
fn last_words(run: &Path) -> String {
    let saved = newest_checkpoint(run).ok().flatten();
    let run = shell_path(run);
    match saved.map(|saved| saved.record.position.steps) {
        Some(steps) => format!(
            "stopped at once; everything up to step {steps} is saved: `statetune resume {run}` continues there"
        ),
        None => {
            format!("stopped at once; no step is saved yet: `statetune resume {run}` starts over")
        }
    }
}

/// Whether a file is empty or has one line, the path of a run directory, which may be gone.
fn names_a_run(file: &Path) -> bool {
    let is_of_date = |byte: u8| byte.is_ascii_digit() || byte == b'-';
    let is_run = |line: &str| {
        dir_name(Path::new(line)).get(..11).is_some_and(|date| date.bytes().all(is_of_date))
    };
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    match text.lines().collect::<Vec<_>>()[..] {
        [] => true,
        [line] => is_run(line),
        _ => false,
    }
}

/// Runs a plan and shows progress and results.
pub(super) fn execute(
    plan: &Plan,
    begin: Begin,
    place: Option<Place>,
    options: &RunOptions,
    color: Color,
) -> ExitCode {
    let group = match devices::meet(plan, place, options.allow_oom) {
        Ok(group) => group,
        Err(error) => return fail(&error, color),
    };
    let devices = group.as_ref().map_or(&Single as &dyn Devices, |group| group);
    let result = execute_on(devices, plan, begin, options, color);
    devices::part(group, result)
}

/// As [`execute`], on devices that have met. An error is the exit code of a run that failed.
fn execute_on(
    devices: &dyn Devices,
    plan: &Plan,
    begin: Begin,
    options: &RunOptions,
    color: Color,
) -> Result<ExitCode, ExitCode> {
    let keyboard = Keyboard::default();
    let at_exit = keyboard.clone();
    stop::before_end(move || at_exit.close());
    if options.detached.is_some() {
        stop::outlives_terminal();
    }
    if matches!(options.style(), ProgressStyle::None | ProgressStyle::Json) {
        working::is_shown_elsewhere();
    }
    let screen = Screen::new(options.style(), options.format, device(plan.train.device), keyboard);
    let screen = Rc::new(RefCell::new(screen));
    let watch = &mut |event: &Event| {
        if let Event::Start { run, .. } = event {
            let path = run.clone();
            stop::saves(Duration::from_secs(options.grace), move || last_words(&path));
            working::is_shown_elsewhere();
            options.leave_terminal(run, color);
            options.note_run(run, color);
        }
        screen.borrow_mut().show(event);
    };
    let observed = observe(Rc::new(WorkOnScreen(screen.clone())));
    let asked = stop::asked();
    let result = statetune_engine::run::run(plan, begin, devices, options.allow_oom, &asked, watch);
    drop(observed);
    screen.borrow_mut().close();
    let for_people = options.format == RunFormat::Human;
    if !for_people {
        say(events::of_end(&result));
    }
    let code = match result {
        Ok(Outcome::NotNeeded { run }) => {
            options.note_run(&run, color);
            let run = run.display();
            say(format_args!("{NOT_NEEDED}: {run} is done and has the same settings and inputs"));
            ExitCode::Ok
        }
        Ok(Outcome::Done(summary)) => {
            if for_people {
                print_summary(&summary, &plan.data.template);
            }
            if plan.records.log.report { report_into(&summary.run, color) } else { ExitCode::Ok }
        }
        Ok(Outcome::Interrupted { .. }) if !for_people => ExitCode::Interrupted,
        Ok(Outcome::Interrupted { run, steps, total_steps }) => {
            say(format_args!("stopped after step {steps} of {total_steps}, everything is saved"));
            say(format_args!("next     statetune resume {}", shell_path(&run)));
            ExitCode::Interrupted
        }
        Err(error) => return Err(fail(&error, color)),
    };
    Ok(code)
}

/// Prints the results of a run: losses, probe rates, examples, files and the next command.
fn print_summary(summary: &Summary, template: &Template) {
    let mut results = table(&["", "base", "tuned"]);
    if let Some((before, after)) = summary.val_loss {
        results.add_row([
            "validation loss".to_string(),
            format!("{before:.4}"),
            format!("{after:.4}"),
        ]);
    }
    let percent =
        |rate: Option<f64>| rate.map_or("-".to_string(), |rate| format!("{:.0} %", rate * 100.0));
    if let Some((base, tuned)) = &summary.rewards {
        let number =
            |reward: Option<f64>| reward.map_or("-".to_string(), |one| format!("{one:.4}"));
        let base = |value: fn(&Rewards) -> Option<f64>| base.as_ref().and_then(value);
        let accuracy = |rewards: &Rewards| rewards.accuracy;
        let margin = |rewards: &Rewards| rewards.margin;
        results.add_row([
            "preference accuracy".to_string(),
            percent(base(accuracy)),
            percent(tuned.accuracy),
        ]);
        results.add_row(["reward margin".to_string(), number(base(margin)), number(tuned.margin)]);
    }
    for ProbeRate { name, base, tuned } in &summary.probes {
        results.add_row([format!("answers with {name}"), percent(*base), percent(*tuned)]);
    }
    if results.row_count() > 0 {
        say(results);
    }
    if !summary.suites.is_empty() {
        let shown: Vec<_> =
            summary.suites.iter().map(|(_, one)| (Some(&*one.suite), one)).collect();
        say(metrics_table(["before", "after"], &shown));
        say(INTERVALS.as_str());
    }
    if !summary.samples.is_empty() {
        let mut samples = table(&["question", "base", "tuned"]);
        for sampled in summary.samples.iter().take(SAMPLES_SHOWN) {
            let base = sampled.base.as_deref().unwrap_or("-");
            samples.add_row([
                question(template, &sampled.prompt),
                short(base),
                short(&sampled.tuned),
            ]);
        }
        say(samples);
    }
    if let Some((step, why)) = &summary.stopped_early {
        say(format_args!("stopped early after step {step}: {why}"));
    }
    if let Some(Best { val_loss, probe, steps, .. }) = summary.best {
        let loss = val_loss.map(|loss| format!("validation loss {loss:.4}"));
        let probe = probe.map(|rate| format!("{} of the answers", percent(Some(rate))));
        let found: Vec<String> = loss.into_iter().chain(probe).collect();
        say(format_args!("best     {} after step {steps}", found.join(", ")));
    }
    if let Some(tokens) = summary.saved_tokens {
        let tokens = count(tokens, "token");
        say(format_args!("saved    a prompt of {tokens} in every request"));
    }
    say(format_args!("trained for {:.0} s", summary.train_secs));
    if let Some(GpuBytes { allocated, reserved }) = summary.peak_gpu {
        let (tensors, reserved) = (size(allocated), size(reserved));
        say(format_args!("peak GPU memory {reserved} reserved, {tensors} in tensors"));
    }
    say(format_args!("run      {}", summary.run.display()));
    for file in &summary.exported {
        say(format_args!("export   {}", file.display()));
    }
    let run = shell_path(&summary.run);
    say(format_args!("next     statetune generate {run} --prompt \"How was your weekend?\""));
}

/// The last question of the user in a prompt, on one line.
fn question(template: &Template, prompt: &str) -> String {
    let mut turns = template.turns(prompt.as_bytes()).into_iter();
    let asked = turns.rfind(|turn| turn.role == Role::User);
    short(asked.map_or(prompt, |turn| &prompt[turn.said]).trim())
}

fn short(text: &str) -> String {
    let line = printable(&text.replace('\n', " "));
    match line.char_indices().nth(ANSWER_CHARS) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}
