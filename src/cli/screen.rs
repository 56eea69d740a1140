//! Progress on standard error: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressState, ProgressStyle as BarStyle};

use super::run::ProgressStyle;
use super::tell;
use crate::pipeline::Progress;

const BAR: &str = "{bar:24} step {pos}/{len}  {msg}  {speed}  ETA {eta}";

/// Shows what a run tells.
pub(super) struct Screen {
    style: ProgressStyle,
    bar: Option<ProgressBar>,
    steps: u64,
    /// Steps that an earlier process has done.
    resumed: u64,
    val_loss: Option<f64>,
}

impl Screen {
    pub(super) fn new(style: ProgressStyle) -> Screen {
        let style = match style {
            ProgressStyle::Auto if std::io::stderr().is_terminal() => ProgressStyle::Bar,
            ProgressStyle::Auto => ProgressStyle::Plain,
            chosen => chosen,
        };
        Screen { style, bar: None, steps: 0, resumed: 0, val_loss: None }
    }

    pub(super) fn show(&mut self, progress: Progress<'_>) {
        if self.style == ProgressStyle::None {
            return;
        }
        match progress {
            Progress::Warning(warning) => self.line(&format!("{}\n", warning.render(false))),
            Progress::Started { run, facts, steps } => {
                self.steps = steps;
                self.line(&format!("run     {}", run.display()));
                for (label, text) in facts {
                    self.line(&format!("{label:7} {text}"));
                }
            }
            Progress::Step { done, loss, lr } if self.style == ProgressStyle::Bar => {
                let bar = self.bar.get_or_insert_with(|| {
                    // What was done before says nothing about the time that is left.
                    let bar = ProgressBar::new(self.steps).with_position(self.resumed);
                    bar.reset_eta();
                    let style = BarStyle::with_template(BAR).expect("a valid template");
                    bar.set_style(style.with_key("speed", speed));
                    bar
                });
                let val = self.val_loss.map_or(String::new(), |loss| format!("  val {loss:.4}"));
                bar.set_message(format!("loss {loss:.4}{val}  lr {}", rate(lr)));
                bar.set_position(done);
            }
            Progress::Interval(metrics) if self.style == ProgressStyle::Plain => {
                self.line(&format!(
                    "epoch {}  step {}/{}  loss {:.4}  lr {}  {:.0} positions/s",
                    metrics.epoch,
                    metrics.step,
                    self.steps,
                    metrics.loss,
                    rate(metrics.lr),
                    metrics.positions_per_s
                ))
            }
            Progress::Step { .. } | Progress::Interval(_) => {}
            Progress::Resumed { steps } => {
                self.resumed = steps;
                self.line(&format!("goes on after step {steps}"));
            }
            Progress::Extended { steps } => {
                self.steps = steps;
                if let Some(bar) = &self.bar {
                    bar.set_length(steps);
                }
            }
            Progress::Controlled { asked, steps, result } => {
                self.line(&format!("{} after step {steps}: {result}", asked.request));
            }
            Progress::Evaluated { steps, epochs, val_loss, probes } => {
                self.val_loss = val_loss;
                let when = match epochs {
                    Some(0) => "before training".to_string(),
                    Some(1) => "after 1 mini-epoch".to_string(),
                    Some(n) => format!("after {n} mini-epochs"),
                    None => format!("after step {steps}"),
                };
                if let Some(val_loss) = val_loss {
                    self.line(&format!("held-out loss {val_loss:.4} {when}"));
                }
                for probe in probes {
                    self.line(&format!("{probe} {when}"));
                }
            }
            Progress::Sampling { moment } => {
                self.line(&format!("answering questions with the {moment} model"))
            }
        }
    }

    /// Ends the bar, so that what follows stands below it.
    pub(super) fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }
}

/// What the bar says about speed.
fn speed(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // A bar that cannot be written is no reason to stop a run.
    let _ = write!(out, "{:.1} steps/s", state.per_sec());
}

/// A learning rate with digits that say something, however small it is.
fn rate(lr: f64) -> String {
    if lr == 0.0 || (1e-3..1e3).contains(&lr) { format!("{lr:.4}") } else { format!("{lr:.2e}") }
}
