//! Which device a model computes on, and by which implementation of the recurrence.

use crate::arch::{NoGpu, Op};
use crate::config::Accelerator;
use crate::diagnostic::{Diagnostic, msg};

/// Where tensors lie and are computed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// A GPU, by its number.
    Gpu(usize),
}

impl Device {
    /// Whether it is a GPU.
    pub fn is_gpu(self) -> bool {
        matches!(self, Device::Gpu(_))
    }
}

/// The first GPU, the one that a process takes where nothing names another.
const GPU: Device = Device::Gpu(0);

/// Where and how a model computes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compute {
    /// Where the weights lie and everything is computed.
    pub device: Device,
    /// The implementation of the recurrence.
    pub op: Op,
    /// The GPUs that this process sees, where a GPU computes and their number is known.
    pub gpus: Option<usize>,
    /// Why the GPU of this machine is not used, where the experiment does not ask for the CPU.
    pub unused_gpu: Option<NoGpu>,
}

/// The settings that decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setting {
    /// The device.
    Accelerator,
    /// The implementation of the recurrence.
    Op,
}

/// Why there is no device for the settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeviceFault {
    /// A setting asks for a GPU, and none can be used.
    NoGpu {
        /// Which one.
        asked: Setting,
        /// What is missing.
        missing: NoGpu,
    },
    /// The implementation does not run on the device.
    Apart {
        /// The word for the implementation.
        op: &'static str,
        /// The word for the device.
        accelerator: &'static str,
    },
}

/// Decides where and how to compute. `op` is `None` for the fastest one on the device, and `find_gpu`
/// is asked only where a GPU is wanted; it returns how many this process sees, if their number is known.
///
/// # Errors
/// A GPU is asked for and not there, or the settings contradict each other.
pub fn choose(
    accelerator: Accelerator,
    op: Option<Op>,
    find_gpu: impl FnOnce() -> Result<Option<usize>, NoGpu>,
) -> Result<Compute, DeviceFault> {
    let op_on_cpu = op.unwrap_or(Op::Cpu);
    let on_cpu = || Compute { device: Device::Cpu, op: op_on_cpu, gpus: None, unused_gpu: None };
    let on_gpu = |gpus| Compute { gpus, ..Compute::on_gpu(op) };
    let needed = |asked| move |missing| DeviceFault::NoGpu { asked, missing };
    match (accelerator, op) {
        (Accelerator::Cpu, Some(Op::Cuda)) => {
            Err(DeviceFault::Apart { op: "cuda", accelerator: "cpu" })
        }
        (Accelerator::Gpu, Some(Op::Cpu)) => {
            Err(DeviceFault::Apart { op: "cpu", accelerator: "gpu" })
        }
        (Accelerator::Cpu, _) | (Accelerator::Auto, Some(Op::Cpu)) => Ok(on_cpu()),
        (Accelerator::Gpu, _) => find_gpu().map_err(needed(Setting::Accelerator)).map(on_gpu),
        (Accelerator::Auto, Some(Op::Cuda)) => find_gpu().map_err(needed(Setting::Op)).map(on_gpu),
        (Accelerator::Auto, _) => Ok(match find_gpu() {
            Ok(gpus) => on_gpu(gpus),
            Err(missing) => {
                Compute { unused_gpu: missing.has_driver.then_some(missing), ..on_cpu() }
            }
        }),
    }
}

impl Compute {
    /// The first GPU; `op` is `None` for its kernels.
    pub fn on_gpu(op: Option<Op>) -> Compute {
        Compute { device: GPU, op: op.unwrap_or(Op::Cuda), gpus: None, unused_gpu: None }
    }

    /// A warning where the machine's GPU is left out. `spelt` is a setting with a value, as the user
    /// writes it.
    pub fn warning(&self, spelt: impl Fn(Setting, &str) -> String) -> Option<Diagnostic> {
        let missing = self.unused_gpu.as_ref()?;
        let without = spelt(Setting::Accelerator, "cpu");
        let warning = Diagnostic::warning(msg!(COMPUTES_ON_CPU))
            .note(missing.reason.clone())
            .help(msg!(SILENT_SETTING, without));
        Some(warning)
    }
}

impl DeviceFault {
    /// The setting at which the fault is shown.
    pub fn setting(&self) -> Setting {
        match self {
            Self::NoGpu { asked, .. } => *asked,
            Self::Apart { .. } => Setting::Op,
        }
    }

    /// The message, without its place. `spelt` is a setting with a value, as the user writes it.
    pub fn diagnostic(&self, spelt: impl Fn(Setting, &str) -> String) -> Diagnostic {
        let automatic = |setting| spelt(setting, "auto");
        match self {
            Self::NoGpu { asked, missing } => {
                let setting = automatic(*asked);
                let (value, instead) = match asked {
                    Setting::Accelerator => ("gpu", msg!(TAKES_GPU_OR_CPU, setting)),
                    Setting::Op => ("cuda", msg!(TAKES_DEVICE_KERNELS, setting)),
                };
                let asked_for = spelt(*asked, value);
                Diagnostic::error(msg!(SETTING_NEEDS_GPU, asked_for))
                    .note(missing.reason.clone())
                    .help(instead)
            }
            Self::Apart { op, accelerator } => {
                let (op, accelerator) =
                    (spelt(Setting::Op, op), spelt(Setting::Accelerator, accelerator));
                Diagnostic::error(msg!(OP_CONTRADICTS, op, accelerator))
                    .note(msg!(KERNELS_OF_DEVICES))
                    .help(msg!(OP_FITS_EVERY_DEVICE, op = automatic(Setting::Op)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Text;

    fn missing(has_driver: bool) -> NoGpu {
        NoGpu { reason: Text::verbatim("it is missing"), has_driver }
    }

    fn on(device: Device, op: Op) -> Result<Compute, DeviceFault> {
        let gpus = device.is_gpu().then_some(2);
        Ok(Compute { device, op, gpus, unused_gpu: None })
    }

    #[test]
    fn a_gpu_is_taken_where_there_is_one() {
        use Accelerator::{Auto, Cpu, Gpu};
        for (accelerator, op, device, by) in [
            (Auto, None, GPU, Op::Cuda),
            (Auto, Some(Op::Cuda), GPU, Op::Cuda),
            (Auto, Some(Op::Chunk), GPU, Op::Chunk),
            (Auto, Some(Op::Cpu), Device::Cpu, Op::Cpu),
            (Gpu, None, GPU, Op::Cuda),
            (Gpu, Some(Op::Reference), GPU, Op::Reference),
            (Cpu, None, Device::Cpu, Op::Cpu),
            (Cpu, Some(Op::Chunk), Device::Cpu, Op::Chunk),
        ] {
            assert_eq!(
                choose(accelerator, op, || Ok(Some(2))),
                on(device, by),
                "{accelerator:?} {op:?}"
            );
        }
    }

    #[test]
    fn without_a_gpu_only_auto_computes() {
        let none = || Err(missing(false));
        assert_eq!(choose(Accelerator::Auto, None, none), on(Device::Cpu, Op::Cpu));
        for (accelerator, op, asked) in [
            (Accelerator::Gpu, None, Setting::Accelerator),
            (Accelerator::Gpu, Some(Op::Cuda), Setting::Accelerator),
            (Accelerator::Auto, Some(Op::Cuda), Setting::Op),
        ] {
            let fault = DeviceFault::NoGpu { asked, missing: missing(false) };
            assert_eq!(choose(accelerator, op, none), Err(fault));
        }
    }

    #[test]
    fn what_contradicts_is_refused_before_a_gpu_is_looked_for() {
        let never = || unreachable!("nothing needs a GPU");
        let apart = |op, accelerator| Err(DeviceFault::Apart { op, accelerator });
        assert_eq!(choose(Accelerator::Cpu, Some(Op::Cuda), never), apart("cuda", "cpu"));
        assert_eq!(choose(Accelerator::Gpu, Some(Op::Cpu), never), apart("cpu", "gpu"));
    }

    #[test]
    fn a_gpu_that_cannot_be_used_is_mentioned() {
        let spelt = |_: Setting, value: &str| format!("--device {value}");
        let found = choose(Accelerator::Auto, None, || Err(missing(true))).expect("a device");
        assert_eq!(found.device, Device::Cpu);
        let expected = "\
warning[ST5004]: training runs on the CPU, not on the GPU
  |
  = note: it is missing
  = help: use `--device cpu` to silence this warning";
        assert_eq!(found.warning(spelt).expect("a warning").render(false), expected);
        let found = choose(Accelerator::Auto, None, || Err(missing(false))).expect("a device");
        assert_eq!(found.warning(spelt), None);
    }
}
