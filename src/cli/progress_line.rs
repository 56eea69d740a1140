//! The progress of a run on one line.
//!
//! ```text
//! epoch 3/5  step 2,440/5,000  48 %  step loss 1.204  val 1.251 (best, -0.018)  lr 0.5300  15.9 k/s  3.0 GiB  ETA 5:30
//! ```

use std::time::Duration;
use std::{fmt, fs};

use statetune_core::words::{clock, grouped, shortened, size};

/// The progress of a run; unknown values are omitted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProgressLine {
    /// Mini-epochs begun, and those of the whole run.
    pub(super) epoch: Option<(u64, u64)>,
    /// Steps done.
    pub(super) step: u64,
    /// Steps of the whole run.
    pub(super) steps: Option<u64>,
    /// The mean training loss of an interval, in nats.
    pub(super) loss: Option<f64>,
    /// The training loss of the newest step, in nats; shown in place of `loss`.
    pub(super) step_loss: Option<f64>,
    pub(super) val: Val,
    pub(super) lr: Option<f64>,
    /// Positions per second, padding included.
    pub(super) speed: Option<f64>,
    /// Bytes in use.
    pub(super) memory: Option<u64>,
    /// Estimated remaining time.
    pub(super) eta: Option<Duration>,
}

/// The newest validation loss and the lowest earlier one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Val {
    now: Option<f64>,
    best_before: Option<f64>,
}

impl Val {
    /// Whether there is a validation loss.
    pub(super) fn is_known(self) -> bool {
        self.now.is_some()
    }

    pub(super) fn add(&mut self, loss: f64) {
        let best = [self.best_before, self.now].into_iter().flatten().reduce(f64::min);
        *self = Val { now: Some(loss), best_before: best };
    }
}

impl fmt::Display for Val {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.now, self.best_before) {
            (None, _) => Ok(()),
            (Some(now), None) => write!(formatter, "val {now:.4}"),
            (Some(now), Some(best)) if now < best => {
                write!(formatter, "val {now:.4} (best, {:+.4})", now - best)
            }
            (Some(now), Some(best)) => write!(formatter, "val {now:.4} (best {best:.4})"),
        }
    }
}

impl ProgressLine {
    /// The fraction of steps done, from 0 to 1.
    pub(super) fn share(&self) -> Option<f64> {
        self.steps.filter(|&steps| steps > 0).map(|steps| self.step as f64 / steps as f64)
    }
}

impl fmt::Display for ProgressLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.epoch.map(|(now, all)| format!("epoch {now}/{all}")));
        parts.push(match self.steps {
            Some(steps) => format!("step {}/{}", grouped(self.step), grouped(steps)),
            None => format!("step {}", grouped(self.step)),
        });
        parts.extend(self.share().map(|share| format!("{:.0} %", (share * 100.0).floor())));
        parts.extend(match (self.step_loss, self.loss) {
            (Some(loss), _) => Some(format!("step loss {loss:.4}")),
            (None, loss) => loss.map(|loss| format!("loss {loss:.4}")),
        });
        parts.extend(self.val.now.map(|_| self.val.to_string()));
        parts.extend(self.lr.map(|lr| format!("lr {}", rate(lr))));
        parts.extend(self.speed.map(|speed| format!("{}/s", shortened(speed))));
        parts.extend(self.memory.map(size));
        parts.extend(self.eta.map(|eta| format!("ETA {}", clock(eta))));
        formatter.write_str(&parts.join("  "))
    }
}

/// The mini-epoch of the last of `done` steps, counted from 1, and the number of mini-epochs.
pub(super) fn epoch(done: u64, epoch_steps: u64, steps: u64) -> (u64, u64) {
    let epoch_steps = epoch_steps.max(1);
    (done.saturating_sub(1) / epoch_steps + 1, steps.div_ceil(epoch_steps))
}

/// The remaining time for `left` steps when `here` steps of this process took `elapsed`; `None` before the first step.
pub(super) fn eta(elapsed: Duration, here: u64, left: u64) -> Option<Duration> {
    (here > 0).then(|| elapsed.mul_f64(left as f64 / here as f64))
}

/// Resident memory of a process in bytes; `None` where `/proc` is missing.
pub(super) fn resident_bytes(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// A learning rate with four decimals, or in scientific notation when very small or large.
fn rate(lr: f64) -> String {
    if lr == 0.0 || (1e-3..1e3).contains(&lr) { format!("{lr:.4}") } else { format!("{lr:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line() {
        let mut val = Val::default();
        val.add(1.269);
        val.add(1.251);
        let progress = ProgressLine {
            epoch: Some((3, 5)),
            step: 2440,
            steps: Some(5000),
            loss: Some(1.204),
            step_loss: None,
            val,
            lr: Some(0.53),
            speed: Some(15_900.0),
            memory: Some(3 << 30),
            eta: Some(Duration::from_secs(330)),
        };
        let line = "epoch 3/5  step 2,440/5,000  48 %  loss 1.2040  val 1.2510 (best, -0.0180)  \
                    lr 0.5300  15.9 k/s  3.0 GiB  ETA 5:30";
        assert_eq!(progress.to_string(), line);
        let of_step = ProgressLine { step_loss: Some(1.3), ..progress };
        assert_eq!(of_step.to_string(), line.replace("loss 1.2040", "step loss 1.3000"));
        val.add(1.3);
        assert_eq!(val.to_string(), "val 1.3000 (best 1.2510)");
        assert_eq!(
            ProgressLine { step: 1_234_567, ..ProgressLine::default() }.to_string(),
            "step 1,234,567"
        );
    }

    #[test]
    fn eta_uses_only_steps_of_this_process() {
        let minute = Duration::from_secs(60);
        assert_eq!(eta(minute, 0, 50), None);
        assert_eq!(eta(minute, 100, 50), Some(Duration::from_secs(30)));
    }
}
