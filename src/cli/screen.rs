//! Progress of a run: a redrawn line on a terminal, plain lines elsewhere, JSON for programs.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle as BarStyle};
use statetune_core::records::{
    Event, Fact, ProbeCount, Request, RequestSource, SentRequest, send_request, suite_values,
};
use statetune_core::words::without_controls;
use statetune_core::work::{Observer, Progress};
use statetune_engine::kernels::peak_gpu_bytes;
use statetune_engine::train::THIS_STEP;
use tch::Device;

use super::keys::Keyboard;
use super::progress_line::{ProgressLine, epoch, eta, resident_bytes};
use super::run_options::{ProgressStyle, RunFormat};
use super::watch::Watched;
use super::working::NowAndThen;
use super::{events, say, stop, tell};

/// The hint about keys, with and without a keyboard.
const KEYS: &str = "Ctrl-C: save and stop   s: save   g: sample   ?: keys";
const NO_KEYS: &str = "Ctrl-C: save and stop";
/// The help for `?`.
const HELP: &str = "\
s        write a checkpoint after this step or evaluation
g        answer the questions in [sample] after this step or evaluation
Ctrl-C   save everything after this step and exit with code 75; press again to exit at once
From any terminal: `statetune watch`, `statetune ctl latest save|sample|eval|stop|extend STEPS`";

/// Shows the events of a run.
pub(super) struct Screen {
    style: ProgressStyle,
    /// Whether standard output gets every event.
    events_to_stdout: bool,
    device: Device,
    keyboard: Keyboard,
    bar: Option<ProgressBar>,
    keys: &'static str,
    progress: ProgressLine,
    epoch_steps: u64,
    /// When this process started to train.
    began: Option<Instant>,
    /// Steps done before this process.
    resumed: u64,
    counted: Vec<ProbeCount>,
    /// Long work besides the steps.
    working: Option<Progress>,
    now_and_then: NowAndThen,
    /// Whether it is said how long the step takes after which the run stops.
    has_said_when: bool,
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
            working: None,
            now_and_then: NowAndThen::default(),
            has_said_when: false,
        }
    }

    pub(super) fn show(&mut self, event: &Event) {
        if let Event::Start { epoch_steps, .. } = event {
            self.epoch_steps = *epoch_steps;
        }
        let objects = || events::of(event, self.epoch_steps);
        if self.events_to_stdout {
            objects().into_iter().for_each(say);
        }
        match self.style {
            ProgressStyle::None => {}
            ProgressStyle::Json => objects().into_iter().for_each(tell),
            _ => self.show_to_people(event),
        }
    }

    fn show_to_people(&mut self, event: &Event) {
        match event {
            Event::Warning(warning) => self.line(&format!("{}\n", warning.render(false))),
            Event::Start { run, facts, steps, after, .. } => {
                self.progress.steps = Some(*steps);
                self.line(&format!("run     {}", run.display()));
                for Fact { label, text } in facts {
                    self.line(&format!("{label:7} {text}"));
                }
                if *after > 0 {
                    self.resume(*after);
                    self.recall(run);
                }
                self.progress.step = self.resumed;
                self.open(run);
            }
            Event::Rollback { steps, .. } => self.resume(*steps),
            Event::FirstStep => self.began = Some(Instant::now()),
            Event::Step { record, .. } => self.step(record.step + 1, record.loss, record.lr),
            Event::Interval(metrics) => {
                self.progress.speed = Some(metrics.positions_per_s);
                self.progress.memory = self.memory();
                match &self.bar {
                    Some(_) => self.draw(),
                    None => {
                        let mut progress = self.progress;
                        (progress.loss, progress.step_loss) = (Some(metrics.loss), None);
                        self.line(&progress.to_string());
                    }
                }
            }
            Event::Eval { steps, epochs, val_loss, rewards, suites, counts, .. } => {
                self.counted.clone_from(counts);
                let when = match epochs {
                    _ if !steps.is_multiple_of(self.epoch_steps) => format!("after step {steps}"),
                    0 => "before training".to_string(),
                    1 => "after 1 mini-epoch".to_string(),
                    n => format!("after {n} mini-epochs"),
                };
                if let Some(val_loss) = val_loss {
                    self.progress.val.add(*val_loss);
                    self.line(&format!("validation loss {val_loss:.4} {when}"));
                }
                if let Some(rewards) = rewards {
                    self.line(&format!("{rewards} {when}"));
                }
                for (name, value) in suite_values(suites) {
                    self.line(&format!("{name} {value:.3} {when}"));
                }
                for probe in counts {
                    // Before training the rate is that of the base model.
                    let probe = if *steps == 0 {
                        ProbeCount { base: None, ..probe.clone() }
                    } else {
                        probe.clone()
                    };
                    self.line(&format!("{probe} {when}"));
                }
            }
            Event::Forgetting { steps, kl } => {
                self.line(&format!(
                    "distance from the base on general text {kl:.4} after step {steps}"
                ));
            }
            Event::Sampling { moment } => {
                let model = match moment.strip_prefix("step-").and_then(|n| n.parse::<u64>().ok()) {
                    Some(step) => format!("the model after step {step}"),
                    None => format!("the {moment} model"),
                };
                self.line(&format!("generating answers with {model}"));
            }
            Event::Control { request, steps, total_steps, result, .. } => {
                self.progress.steps = Some(*total_steps);
                self.line(&format!("{request} after step {steps}: {result}"));
            }
            _ => {}
        }
    }

    fn resume(&mut self, steps: u64) {
        self.resumed = steps;
        self.line(&format!("resuming after step {steps}"));
    }

    /// Takes the newest evaluation of an earlier process from the records of the run.
    fn recall(&mut self, run: &Path) {
        let mut recorded = Watched::new(run);
        recorded.look();
        self.progress.val = recorded.progress().val;
        self.counted = recorded.counted();
    }

    /// Starts the progress line and reads keys.
    fn open(&mut self, run: &Path) {
        if self.style != ProgressStyle::Bar {
            return;
        }
        let bar = ProgressBar::no_length();
        bar.set_style(BarStyle::with_template("{msg}").expect("a valid template"));
        let (line, run) = (bar.clone(), run.to_path_buf());
        let has_keys = self.keyboard.open(move |key| on_key(key, &run, &line));
        self.keys = if has_keys { KEYS } else { NO_KEYS };
        self.bar = Some(bar);
        self.draw();
    }

    /// Shows long work besides the steps: on the progress line, or now and then on a line of its own.
    fn work(&mut self, progress: &Progress) {
        if self.progress.steps.is_none() {
            return; // as for any other command until the run has its directory
        }
        let is_shown = matches!(self.style, ProgressStyle::Bar | ProgressStyle::Plain);
        let is_last_step = progress.what == THIS_STEP && stop::is_asked();
        if is_shown && is_last_step && !self.has_said_when {
            self.has_said_when = true;
            self.line(&format!("stopping after {progress}"));
        }
        match self.style {
            ProgressStyle::Bar => {
                self.working = Some(*progress);
                self.draw();
            }
            ProgressStyle::Plain if self.now_and_then.is_due(progress) => tell(progress),
            _ => {}
        }
    }

    fn step(&mut self, done: u64, loss: f64, lr: f64) {
        let progress = &mut self.progress;
        progress.step = done;
        progress.step_loss = Some(loss);
        progress.lr = Some(lr);
        let steps = progress.steps.unwrap_or(done);
        progress.epoch = Some(epoch(done, self.epoch_steps, steps));
        let elapsed = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        progress.eta = eta(elapsed, done - self.resumed, steps.saturating_sub(done));
        self.draw();
    }

    /// Draws the line, the probes and the keys.
    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        let mut lines = vec![self.progress.to_string()];
        if !self.counted.is_empty() {
            let counted: Vec<String> = self.counted.iter().map(ProbeCount::to_string).collect();
            lines.push(format!("  {}", counted.join("   ")));
        }
        lines.extend(self.working.map(|work| format!("  {work}")));
        lines.push(format!("  {}", self.keys));
        bar.set_message(lines.join("\n"));
    }

    /// Bytes in use on the device.
    fn memory(&self) -> Option<u64> {
        peak_gpu_bytes(self.device).map(|peak| peak.reserved).or_else(|| resident_bytes("self"))
    }

    /// Ends the progress line; later output goes below it.
    pub(super) fn close(&mut self) {
        self.keyboard.close();
        if let Some(bar) = self.bar.take() {
            bar.set_message(self.progress.to_string());
            bar.abandon();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(without_controls(text)),
            None => tell(text),
        }
    }
}

/// Shows long work on the screen of a run.
pub(super) struct WorkOnScreen(pub(super) Rc<RefCell<Screen>>);

impl Observer for WorkOnScreen {
    fn progress(&self, progress: &Progress) {
        self.0.borrow_mut().work(progress);
    }

    fn ended(&self) {
        let mut screen = self.0.borrow_mut();
        screen.now_and_then = NowAndThen::default();
        if screen.working.take().is_some() {
            screen.draw();
        }
    }
}

impl Drop for Screen {
    /// Restores the terminal, even after a panic.
    fn drop(&mut self) {
        self.close();
    }
}

/// Handles a key.
fn on_key(key: u8, run: &Path, bar: &ProgressBar) {
    let request = match key {
        b's' => Request::Save,
        b'g' => Request::Sample,
        b'?' => return bar.println(HELP),
        _ => return,
    };
    if let Err(error) = send_request(run, SentRequest { request, from: RequestSource::Key }) {
        bar.println(format!("cannot send `{request}` to the run: {error}"));
    }
}
