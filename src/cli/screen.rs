//! Progress of a run: a line that is drawn anew on a terminal, lines elsewhere, JSON for programs.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle as BarStyle};
use tch::Device;

use super::keys::Keyboard;
use super::progress_line::{ProgressLine, epoch, eta, resident_bytes};
use super::run::{ProgressStyle, RunFormat};
use super::{events, say, tell};
use statetune_core::records::{Request, RequestSource, SentRequest, send_request};
use statetune_engine::kernels::peak_gpu_bytes;
use statetune_engine::pipeline::{Counted, Progress};

/// What can be typed, and what cannot without a keyboard.
const KEYS: &str = "Ctrl-C: save and stop   s: save   g: sample   ?: keys";
const NO_KEYS: &str = "Ctrl-C: save and stop";
/// What `?` says.
const HELP: &str = "\
s        write a checkpoint after this step
g        answer the questions of [sample] after this step
Ctrl-C   finish this step, save everything, end with exit code 75; once more: end at once
From any terminal: `statetune watch`, `statetune ctl latest save|sample|eval|stop|extend STEPS`";

/// Shows what a run tells.
pub(super) struct Screen {
    style: ProgressStyle,
    /// Whether every event is a line of the answer.
    events_to_stdout: bool,
    device: Device,
    keyboard: Keyboard,
    bar: Option<ProgressBar>,
    keys: &'static str,
    progress: ProgressLine,
    epoch_steps: u64,
    /// When this process began to train, and the steps that an earlier one had done.
    began: Option<Instant>,
    resumed: u64,
    counted: Vec<Counted>,
    /// The directory of the run, once it is there.
    run: Option<std::path::PathBuf>,
}

impl Screen {
    /// Progress in `style` of a run on `device`.
    pub(super) fn new(
        style: ProgressStyle,
        format: RunFormat,
        device: Device,
        keyboard: Keyboard,
    ) -> Screen {
        let style = match style {
            ProgressStyle::Auto if io::stderr().is_terminal() => ProgressStyle::Bar,
            ProgressStyle::Auto => ProgressStyle::Plain,
            chosen => chosen,
        };
        Screen {
            style,
            events_to_stdout: format == RunFormat::Jsonl,
            device,
            keyboard,
            bar: None,
            keys: NO_KEYS,
            progress: ProgressLine::default(),
            epoch_steps: 1,
            began: None,
            resumed: 0,
            counted: Vec::new(),
            run: None,
        }
    }

    pub(super) fn show(&mut self, progress: Progress<'_>) {
        if self.events_to_stdout {
            events::of(&progress).into_iter().for_each(say);
        }
        match self.style {
            ProgressStyle::None => {}
            ProgressStyle::Json => events::of(&progress).into_iter().for_each(tell),
            _ => self.show_to_people(progress),
        }
    }

    fn show_to_people(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Warning(warning) => self.line(&format!("{}\n", warning.render(false))),
            Progress::Started { run, facts, steps, epoch_steps } => {
                self.run = Some(run.to_path_buf());
                self.progress.steps = Some(steps);
                self.epoch_steps = epoch_steps;
                self.line(&format!("run     {}", run.display()));
                for (label, text) in facts {
                    self.line(&format!("{label:7} {text}"));
                }
            }
            Progress::Resumed { steps } => {
                self.resumed = steps;
                self.line(&format!("goes on after step {steps}"));
            }
            Progress::Extended { steps } => self.progress.steps = Some(steps),
            Progress::Begins => self.begin(),
            Progress::Step { done, loss, lr } => self.step(done, loss, lr),
            Progress::Interval(metrics) => {
                self.progress.speed = Some(metrics.positions_per_s);
                self.progress.memory = self.memory();
                match &self.bar {
                    Some(_) => self.draw(),
                    None => {
                        let mut progress = self.progress;
                        progress.loss = Some(metrics.loss);
                        self.line(&progress.to_string());
                    }
                }
            }
            Progress::Evaluated { steps, epochs, val_loss, probes } => {
                self.counted = probes.to_vec();
                let when = match epochs {
                    Some(0) => "before training".to_string(),
                    Some(1) => "after 1 mini-epoch".to_string(),
                    Some(n) => format!("after {n} mini-epochs"),
                    None => format!("after step {steps}"),
                };
                if let Some(val_loss) = val_loss {
                    self.progress.val.add(val_loss);
                    self.line(&format!("held-out loss {val_loss:.4} {when}"));
                }
                for probe in probes {
                    self.line(&format!("{probe} {when}"));
                }
            }
            Progress::Sampling { moment } => {
                self.line(&format!("answering questions with the {moment} model"))
            }
            Progress::Controlled { asked, steps, result } => {
                self.line(&format!("{} after step {steps}: {result}", asked.request));
            }
        }
    }

    /// The first step is about to be computed: what came before says nothing about the time that is left.
    fn begin(&mut self) {
        self.began = Some(Instant::now());
        self.progress.step = self.resumed;
        if self.style != ProgressStyle::Bar {
            return;
        }
        let bar = ProgressBar::no_length();
        bar.set_style(BarStyle::with_template("{msg}").expect("a valid template"));
        if let Some(run) = self.run.clone() {
            let line = bar.clone();
            let has_keys = self.keyboard.open(move |key| on_key(key, &run, &line));
            self.keys = if has_keys { KEYS } else { NO_KEYS };
        }
        self.bar = Some(bar);
    }

    fn step(&mut self, done: u64, loss: f64, lr: f64) {
        let progress = &mut self.progress;
        progress.step = done;
        progress.loss = Some(loss);
        progress.lr = Some(lr);
        let steps = progress.steps.unwrap_or(done);
        progress.epoch = Some(epoch(done, self.epoch_steps, steps));
        let elapsed = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        progress.eta = eta(elapsed, done - self.resumed, steps.saturating_sub(done));
        self.draw();
    }

    /// Draws the line, the probes under it, and what can be typed.
    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        let mut lines = vec![self.progress.to_string()];
        if !self.counted.is_empty() {
            let counted: Vec<String> = self.counted.iter().map(Counted::to_string).collect();
            lines.push(format!("  {}", counted.join("   ")));
        }
        lines.push(format!("  {}", self.keys));
        bar.set_message(lines.join("\n"));
    }

    /// Bytes in use where the model lies.
    fn memory(&self) -> Option<u64> {
        peak_gpu_bytes(self.device).or_else(|| resident_bytes("self"))
    }

    /// Ends the line, so that what follows stands below it.
    pub(super) fn close(&mut self) {
        self.keyboard.close();
        if let Some(bar) = self.bar.take() {
            bar.set_message(self.progress.to_string());
            bar.abandon();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }
}

impl Drop for Screen {
    /// The terminal is as it was before, also where a run panics.
    fn drop(&mut self) {
        self.close();
    }
}

/// What a key does.
fn on_key(key: u8, run: &Path, bar: &ProgressBar) {
    let request = match key {
        b's' => Request::Save,
        b'g' => Request::Sample,
        b'?' => return bar.println(HELP),
        _ => return,
    };
    if let Err(error) = send_request(run, SentRequest { request, from: RequestSource::Key }) {
        bar.println(format!("cannot ask the run to {request}: {error}"));
    }
}
