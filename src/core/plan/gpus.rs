//! The rules of `hardware.devices` on GPUs.

use super::{Compute, Device, DeviceFault, Faults, Setting, choose};
use crate::arch::{NoGpu, Op};
use crate::config::{Accelerator, DeviceSet};
use crate::diagnostic::{Diagnostic, Text, msg};

const DEVICES: &str = "hardware.devices";

impl Faults<'_> {
    /// As [`choose`], and for a list of GPUs the first of them; `Err` with the key at which the fault is shown.
    pub(super) fn choose_device(
        &self,
        op: Option<Op>,
        find_gpu: impl FnOnce() -> Result<Option<usize>, NoGpu>,
        spelt: impl Fn(Setting, &str) -> String,
    ) -> Result<Compute, Box<(&'static str, Diagnostic)>> {
        let hardware = &self.config().hardware;
        let devices = &hardware.devices;
        let asks = devices.gpus().is_some() && hardware.accelerator == Accelerator::Auto;
        let accelerator = match asks && op != Some(Op::Cpu) {
            true => Accelerator::Gpu,
            false => hardware.accelerator,
        };
        let mut compute = choose(accelerator, op, find_gpu).map_err(|fault| match fault {
            DeviceFault::NoGpu { missing, .. } if asks => {
                let message = msg!(SETTING_NEEDS_GPU, asked_for = spelt_devices(devices));
                let fault = Diagnostic::error(message).note(missing.reason);
                Box::new((DEVICES, fault.help(msg!(COUNT_DEVICES, count = devices.count()))))
            }
            fault => {
                let key = match fault.setting() {
                    Setting::Accelerator => "hardware.accelerator",
                    Setting::Op => "train.op",
                };
                Box::new((key, fault.diagnostic(spelt)))
            }
        })?;
        if let (Device::Gpu(gpu), Some([first, ..])) = (&mut compute.device, devices.gpus()) {
            *gpu = *first as usize;
        }
        Ok(compute)
    }

    /// Refuses a list of GPUs for the CPU, a GPU that is named twice or does not exist, and more devices than there are GPUs.
    pub(super) fn check_gpus(&mut self, compute: &Compute) {
        let devices = self.config().hardware.devices.clone();
        let count = devices.count();
        let fault = match (devices.gpus(), compute.device.is_gpu()) {
            (Some(_), false) => {
                let asked_for = spelt_devices(&devices);
                let fault = Diagnostic::error(msg!(GPUS_ON_CPU, asked_for))
                    .help(msg!(COUNT_DEVICES, count));
                match self.config().hardware.accelerator {
                    Accelerator::Cpu => fault.help(msg!(COMPUTE_ON_GPUS)),
                    _ => fault, // because of `train.op`
                }
            }
            (Some(gpus), true) => match fault_of_list(gpus, compute.gpus) {
                Some(fault) => fault,
                None => return,
            },
            (None, true) if compute.gpus.is_some_and(|found| (count as usize) > found) => {
                let found = compute.gpus.unwrap_or_default();
                Diagnostic::error(msg!(TOO_FEW_GPUS, count, found))
                    .note(msg!(ONE_PROCESS_A_GPU))
                    .help(msg!(LOWER_TO_GPUS, found))
                    .help(msg!(SEVERAL_CPU_DEVICES))
            }
            (None, _) => return,
        };
        self.add(DEVICES, fault);
    }
}

/// The setting as the user writes it.
fn spelt_devices(devices: &DeviceSet) -> String {
    format!("devices = {devices}")
}

/// What is wrong with a list of GPUs of which a process sees `found`, if their number is known.
fn fault_of_list(gpus: &[u32], found: Option<usize>) -> Option<Diagnostic> {
    let twice = gpus.iter().enumerate().find(|(i, gpu)| gpus[..*i].contains(gpu));
    if let Some((_, gpu)) = twice {
        let fault = Diagnostic::error(msg!(GPU_NAMED_TWICE, gpu));
        return Some(fault.note(msg!(ONE_PROCESS_A_GPU)).help(msg!(NAME_GPU_ONCE)));
    }
    let found = found?;
    let gpu = gpus.iter().find(|gpu| **gpu as usize >= found)?;
    let exist: Text = match found {
        1 => msg!(ONLY_GPU_IS_0),
        found => msg!(GPUS_EXIST, last = found - 1),
    };
    Some(Diagnostic::error(msg!(GPU_DOES_NOT_EXIST, gpu)).note(exist).help(msg!(NAME_OTHER_GPUS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};
    use crate::plan::tests::faults_of;

    /// What is found with these lines in `[hardware]`, on a machine with `gpus` GPUs.
    fn found(hardware: &str, gpus: usize) -> Vec<String> {
        let text = format!(
            "name = \"gpus\"\ndata = {{ data_file = \"x.jsonl\" }}\npeft = {{ type = \"state\" }}\n\
             schedule = {{ lr_init = 1.0, lr_final = 0.01 }}\n[hardware]\n{hardware}\n"
        );
        let loaded = parse("gpus.toml".as_ref(), text, &Overrides::default()).expect("valid");
        let find_gpu = || match gpus {
            0 => Err(NoGpu { reason: Text::verbatim("no driver"), has_driver: false }),
            gpus => Ok(Some(gpus)),
        };
        faults_of(&loaded, |faults| drop(faults.compute(find_gpu)))
    }

    #[test]
    fn gpus_that_are_there_are_taken() {
        for hardware in [
            "devices = 2",
            "devices = [0, 1]",
            "devices = [1]",
            "accelerator = \"gpu\"\ndevices = [1, 0]",
            "accelerator = \"cpu\"\ndevices = 8",
        ] {
            assert_eq!(found(hardware, 2), Vec::<String>::new(), "{hardware}");
        }
        assert_eq!(found("devices = 8", 0), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (hardware, gpus, expected) in [
            (
                "devices = 3",
                2,
                "\
error[ST5003]: `devices = 3` requires 3 GPUs, but this machine has 2
 --> gpus.toml:6:11
  |
6 | devices = 3
  |           ^
  |
  = note: each process takes a GPU of its own
  = help: set `devices = 2`: results are the same for any number of equal devices
  = help: or train on CPUs: `accelerator = \"cpu\"`",
            ),
            (
                "devices = [0, 2]",
                2,
                "\
error[ST5003]: GPU 2 does not exist
 --> gpus.toml:6:11
  |
6 | devices = [0, 2]
  |           ^^^^^^
  |
  = note: this machine has the GPUs 0 to 1
  = help: name other GPUs, or set `devices` to a number",
            ),
            (
                "devices = [1]",
                1,
                "\
error[ST5003]: GPU 1 does not exist
 --> gpus.toml:6:11
  |
6 | devices = [1]
  |           ^^^
  |
  = note: this machine has one GPU, which is GPU 0
  = help: name other GPUs, or set `devices` to a number",
            ),
            (
                "devices = [1, 0, 1]",
                2,
                "\
error[ST2117]: `devices` names GPU 1 twice
 --> gpus.toml:6:11
  |
6 | devices = [1, 0, 1]
  |           ^^^^^^^^^
  |
  = note: each process takes a GPU of its own
  = help: name each GPU once",
            ),
            (
                "devices = [0, 2]",
                0,
                "\
error[ST5003]: `devices = [0, 2]` requires a usable GPU
 --> gpus.toml:6:11
  |
6 | devices = [0, 2]
  |           ^^^^^^
  |
  = note: no driver
  = help: set `devices = 2`, which fits GPUs and CPUs",
            ),
            (
                "accelerator = \"cpu\"\ndevices = [0, 2]",
                4,
                "\
error[ST2117]: `devices = [0, 2]` names GPUs, but the run computes on the CPU
 --> gpus.toml:7:11
  |
7 | devices = [0, 2]
  |           ^^^^^^
  |
  = help: set `devices = 2`, which fits GPUs and CPUs
  = help: or set `accelerator = \"gpu\"`",
            ),
        ] {
            assert_eq!(found(hardware, gpus), [expected], "{hardware}");
        }
    }
}
