//! `statetune run`.

use statetune_engine::tensors::device;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::keys::Keyboard;
use super::report::report_into;
use super::resume::{fail, start};
use super::screen::Screen;
use super::stop::stop_on_signals;
use super::table::table;
use super::{Color, ExperimentArgs, detach, events, say, show};
use statetune_core::data::{Role, Template};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Plan, Purpose};
use statetune_core::runs::{Best, StoredRun, find_run};
use statetune_engine::pipeline::{self, Outcome, Progress, Start, Summary};

/// Questions that the closing table shows.
const SAMPLES_SHOWN: usize = 4;
/// Characters of an answer in the closing table.
const ANSWER_CHARS: usize = 120;

/// How the line begins that says that nothing was run.
pub(super) const NOT_NEEDED: &str = "not needed";

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The experiment file.
    #[arg(value_name = "FILE", required_unless_present = "like")]
    file: Option<PathBuf>,
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// Take the settings of this run, instead of an experiment file.
    #[arg(long, value_name = "RUN", conflicts_with = "file")]
    like: Option<String>,
    /// Run nothing where a finished run has the same settings and inputs; with `--resume auto` an unfinished
    /// one of them goes on.
    #[arg(long, conflicts_with = "from")]
    needed: bool,
    /// Go on with this run of the experiment, in its directory; `auto`: with the newest one that is not
    /// done, or begin a new one.
    #[arg(long, value_name = "RUN", conflicts_with = "from")]
    resume: Option<String>,
    /// Begin a new run with what this one has learned (`RUN@best`: at its lowest held-out loss).
    #[arg(long, value_name = "RUN")]
    from: Option<String>,
    #[command(flatten)]
    options: RunOptions,
}

/// How a run behaves towards its terminal and whoever stops it.
#[derive(Args, Debug)]
pub(super) struct RunOptions {
    /// Seconds that a step may still take after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
    /// Try to run what is predicted not to fit into memory.
    #[arg(long)]
    allow_oom: bool,
    /// Write the path of the run directory into this file, as soon as it is known.
    #[arg(long, value_name = "FILE")]
    run_file: Option<PathBuf>,
    /// How to show progress.
    #[arg(long, value_enum, default_value_t = ProgressStyle::Auto, value_name = "STYLE")]
    progress: ProgressStyle,
    /// Form of the answer on standard output.
    #[arg(long, value_enum, default_value_t = RunFormat::Human)]
    format: RunFormat,
    /// Leave the terminal once the run has its directory, and say how to follow it: the run goes on when the terminal
    /// is closed, and what it prints goes into its `output.txt`.
    #[arg(long)]
    detach: bool,
    /// Where the process that `--detach` starts names its run.
    #[arg(long, value_name = "FILE", hide = true)]
    detached: Option<PathBuf>,
}

/// Form of what a run answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum RunFormat {
    /// For people.
    Human,
    /// One JSON object at the end.
    Json,
    /// A JSON object an event, and the one at the end.
    Jsonl,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ProgressStyle {
    /// `bar` on a terminal, `plain` elsewhere.
    Auto,
    /// A line that is drawn anew, and keys: `?` lists them.
    Bar,
    /// A line an interval.
    Plain,
    /// A JSON object an event.
    Json,
    /// Nothing.
    None,
}

pub(super) fn run(args: &RunArgs, color: Color) -> ExitCode {
    if args.options.detaches() {
        return args.options.start_detached(color);
    }
    let plan = match args.plan(color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match start(&plan, args.resume.as_deref(), args.from.as_deref(), args.needed) {
        Ok(start) => execute(&plan, start, &args.options, color),
        Err(error) => fail(&error, color),
    }
}

impl RunArgs {
    /// Plans the experiment file, or the settings of the run that this one is to be like.
    fn plan(&self, color: Color) -> Result<Plan, ExitCode> {
        let Some(name) = &self.like else {
            let file = self.file.as_deref().expect("clap wants a file or `--like`");
            return self.experiment.plan(file, Purpose::Run, color);
        };
        let runs_dir = self.experiment.runs_dir.as_deref().unwrap_or(Path::new("runs"));
        let run = find_run(runs_dir, name).map_err(|refusal| {
            show(&refusal, color);
            ExitCode::Invalid
        })?;
        let beside = || run.parent().map(Path::to_path_buf);
        let runs_dir = self.experiment.runs_dir.clone().or_else(beside);
        let experiment = ExperimentArgs { runs_dir, ..self.experiment.clone() };
        experiment.plan(&run.join(StoredRun::SETTINGS), Purpose::Run, color)
    }
}

impl RunOptions {
    /// Whether the run is to leave the terminal.
    pub(super) fn detaches(&self) -> bool {
        self.detach
    }

    /// Has another process do the same apart from the terminal.
    pub(super) fn start_detached(&self, color: Color) -> ExitCode {
        detach::start(self.format, color)
    }

    /// Leaves the terminal, where that is asked for. That it cannot is told, and no reason to stop the run.
    fn leave_terminal(&self, run: &Path, color: Color) {
        let Some(told) = &self.detached else { return };
        if let Err(error) = detach::leave_terminal(run, told) {
            let message = msg!(RUN_CANNOT_LEAVE_TERMINAL);
            show(&Diagnostic::warning(message).note(Text::library(error)), color);
        }
    }

    /// How progress is shown: no line is drawn anew where nobody looks.
    fn style(&self) -> ProgressStyle {
        match self.progress {
            ProgressStyle::Auto | ProgressStyle::Bar if self.detached.is_some() => {
                ProgressStyle::Plain
            }
            style => style,
        }
    }

    /// Writes the path of the run where it is asked for. That it cannot be written is told, and no reason to
    /// stop the run.
    fn note_run(&self, run: &Path, color: Color) {
        let Some(file) = &self.run_file else { return };
        if let Err(error) = std::fs::write(file, format!("{}\n", run.display())) {
            let message = msg!(CANNOT_WRITE_EVENTS, file);
            show(&Diagnostic::warning(message).note(Text::library(error)), color);
        }
    }
}

/// Executes a plan and shows what comes of it.
pub(super) fn execute(plan: &Plan, start: Start, options: &RunOptions, color: Color) -> ExitCode {
    let keyboard = Keyboard::default();
    let at_exit = keyboard.clone();
    let grace = Duration::from_secs(options.grace);
    let stop = match stop_on_signals(grace, options.detached.is_some(), move || at_exit.close()) {
        Ok(stop) => stop,
        Err(error) => {
            let message = msg!(NO_SIGNALS);
            show(&Diagnostic::error(message).note(Text::library(error)), color);
            return ExitCode::Bug;
        }
    };
    let mut screen =
        Screen::new(options.style(), options.format, device(plan.train.device), keyboard);
    let watch = &mut |progress: Progress<'_>| {
        if let Progress::Started { run, .. } = progress {
            options.leave_terminal(run, color);
            options.note_run(run, color);
        }
        screen.show(progress);
    };
    let result = pipeline::run(plan, start, options.allow_oom, &stop, watch);
    screen.close();
    let for_people = options.format == RunFormat::Human;
    if !for_people {
        say(events::of_end(&result));
    }
    match result {
        Ok(Outcome::Needless { run }) => {
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
            say(format_args!("next     statetune resume {}", run.display()));
            ExitCode::Interrupted
        }
        Err(error) => fail(&error, color),
    }
}

/// What came of the run: losses, rates, examples, files, and what to type next.
fn print_summary(summary: &Summary, template: &Template) {
    let mut results = table(&["", "base", "tuned"]);
    if let Some((before, after)) = summary.val_loss {
        results.add_row([
            "held-out loss".to_string(),
            format!("{before:.4}"),
            format!("{after:.4}"),
        ]);
    }
    let percent =
        |rate: Option<f64>| rate.map_or("-".to_string(), |rate| format!("{:.0} %", rate * 100.0));
    for (name, before, after) in &summary.probes {
        results.add_row([format!("answers with {name}"), percent(*before), percent(*after)]);
    }
    if results.row_count() > 0 {
        say(results);
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
        say(format_args!("ended after step {step}: {why}"));
    }
    if let Some(Best { val_loss, probe, steps, .. }) = summary.best {
        let loss = val_loss.map(|loss| format!("held-out loss {loss:.4}"));
        let probe = probe.map(|rate| format!("{} of the answers", percent(Some(rate))));
        let found: Vec<String> = loss.into_iter().chain(probe).collect();
        say(format_args!("best     {} after step {steps}", found.join(", ")));
    }
    say(format_args!("trained for {:.0} s", summary.train_secs));
    if let Some(bytes) = summary.peak_gpu_bytes {
        say(format_args!("GPU memory at most {} MiB", bytes >> 20));
    }
    say(format_args!("run      {}", summary.run.display()));
    for product in &summary.products {
        say(format_args!("product  {}", product.display()));
    }
    let run = summary.run.display();
    say(format_args!("next     statetune generate {run} --prompt \"How was your weekend?\""));
}

/// What the user asks last in a prompt, on one line.
fn question(template: &Template, prompt: &str) -> String {
    let mut turns = template.turns(prompt.as_bytes()).into_iter();
    let asked = turns.rfind(|turn| turn.role == Role::User);
    short(asked.map_or(prompt, |turn| &prompt[turn.said]).trim())
}

fn short(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(ANSWER_CHARS) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}
