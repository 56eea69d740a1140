//! `statetune doctor`: checks what this machine offers to a run.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use statetune_core::arch::Preset;
use statetune_core::config::schema_text;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::forecast::WIDENED_PRODUCTS;
use statetune_core::words::size;
use statetune_engine::kernels::{
    KernelCheck, KernelError, NoGpu, Op, Recurrence, check_kernel, cuda, device_name, find_gpu,
    has_bfloat16_products, most_threads, recorded_device,
};
use tch::Device;

use super::begin::fail;
use super::table::table;
use super::{Color, Format, devices, say, show, threads};

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Folder whose disk and schema are checked.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Instead of that, measure how fast devices exchange gradients: those of a launcher such as torchrun, or else this many
    /// processes on this machine.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "2", conflicts_with = "dir")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=1024))]
    devices: Option<u16>,
}

/// One line of the result.
struct Finding {
    what: &'static str,
    found: String,
    value: Value,
    /// The problem, if there is one.
    fault: Option<Diagnostic>,
}

impl Finding {
    fn new(what: &'static str, found: impl Into<String>, value: Value) -> Finding {
        Finding { what, found: found.into(), value, fault: None }
    }
}

pub(super) fn doctor(args: &DoctorArgs, color: Color) -> ExitCode {
    if let Some(count) = args.devices {
        return exchanges(count, args.format, color);
    }
    let gpu = find_gpu();
    let gpus = (0..gpu.as_ref().map_or(0, |count| *count)).map(|i| (Device::Cuda(i), Op::Cuda));
    let devices = [(Device::Cpu, Op::Cpu)].into_iter().chain(gpus);
    let mut findings = vec![libtorch(), graphics(&gpu)];
    for (device, op) in devices {
        findings.push(Finding::new("device", device_name(device), json!(recorded_device(device))));
        if device == Device::Cpu {
            findings.extend([products(), computing_threads(), waiting()]);
        }
        let checks = Recurrence::ALL.map(|one| (one, check_kernel(one, op, device)));
        findings.extend(checks.into_iter().map(|(one, check)| kernel(op, one, check)));
    }
    findings.extend([memory(), disk(&args.dir), schema(&args.dir)]);
    report(&findings, args.format);
    for fault in findings.iter().filter_map(|finding| finding.fault.as_ref()) {
        show(fault, color);
    }
    exit_code(&findings)
}

/// The published models of which the exchange is measured.
const MEASURED: [&str; 3] = ["rwkv7-0.1b", "rwkv7-1.5b", "rwkv7-7b"];
/// The share of its speed that a device should keep, of what devices without an exchange have.
const EFFICIENCY: f64 = 0.95;

/// Measures the exchange of the gradients of all initial states, and says what several devices bring.
fn exchanges(count: u16, format: Format, color: Color) -> ExitCode {
    let launched = match devices::launched(color) {
        Ok(launched) => launched,
        Err(code) => return code,
    };
    let count = launched.as_ref().map_or(count.into(), |place| place.count);
    let models = Preset::all().filter(|preset| MEASURED.contains(&preset.name));
    let models: Vec<_> = models.map(|preset| (preset.name, preset.state_parameters())).collect();
    let numbers: Vec<i64> = models.iter().map(|(_, numbers)| *numbers).collect();
    let (device, times) = match devices::exchange_times(count, launched, &numbers) {
        Ok(Some(times)) => times,
        Ok(None) => return ExitCode::Ok,
        Err(error) => return fail(&error.into(), color),
    };
    let mut rows = table(&["model", "states", "exchange", "worth it for passes of"]);
    let mut findings = Vec::new();
    for ((name, numbers), time) in models.iter().zip(times) {
        let (bytes, secs) = (numbers.unsigned_abs() * 4, time.as_secs_f64());
        // With a pass of p seconds, a device keeps p / (p + exchange) of its speed.
        let worth = secs * EFFICIENCY / (1.0 - EFFICIENCY);
        rows.add_row([
            *name,
            &size(bytes),
            &seconds(secs),
            &format!("{} or longer", seconds(worth)),
        ]);
        findings.push(json!({
            "model": name,
            "devices": count,
            "on_gpus": device.is_cuda(),
            "bytes": bytes,
            "secs": secs,
            "pass_secs_of_95_percent": worth,
        }));
    }
    match format {
        Format::Human => {
            say(rows);
            let speed = EFFICIENCY * count as f64;
            if device.is_cuda() {
                say(format_args!("Measured between {count} GPUs, through the memory of the host."));
            }
            say(format_args!(
                "With such passes {count} devices are at least {speed:.2} times as fast as one."
            ));
        }
        Format::Json => say(json!({ "schema": "statetune.exchange/1", "exchanges": findings })),
    }
    ExitCode::Ok
}

/// A short time with its unit.
fn seconds(secs: f64) -> String {
    if secs < 1.0 { format!("{:.1} ms", secs * 1e3) } else { format!("{secs:.1} s") }
}

fn report(findings: &[Finding], format: Format) {
    match format {
        Format::Human => {
            let mut table = table(&["what", "found"]);
            for Finding { what, found, .. } in findings {
                table.add_row([*what, found]);
            }
            say(table);
        }
        Format::Json => {
            let one = |one: &Finding| {
                let fault = one.fault.as_ref().map(|fault| fault.message.to_string());
                json!({ "what": one.what, "found": one.value, "fault": fault })
            };
            let findings: Vec<Value> = findings.iter().map(one).collect();
            say(json!({ "schema": "statetune.doctor/1", "findings": findings }));
        }
    }
}

/// A problem is always one of a kernel or its device.
fn exit_code(findings: &[Finding]) -> ExitCode {
    let is_sound = findings.iter().all(|finding| finding.fault.is_none());
    if is_sound { ExitCode::Ok } else { ExitCode::Device }
}

fn libtorch() -> Finding {
    let version = statetune_engine::LIBTORCH_VERSION;
    let folder = cuda::libtorch_folder();
    let place = folder.as_ref().map_or("an unknown folder".into(), |one| one.display().to_string());
    let value = json!({ "version": version, "folder": folder });
    Finding::new("libtorch", format!("{version} in {place}"), value)
}

fn graphics(gpu: &Result<usize, NoGpu>) -> Finding {
    match gpu {
        Ok(_) => Finding::new("GPU", "usable", json!({ "usable": true })),
        Err(missing) => {
            let value = json!({ "usable": false, "reason": missing.reason.to_string() });
            Finding::new("GPU", missing.reason.to_string(), value)
        }
    }
}

fn kernel(op: Op, recurrence: Recurrence, check: Result<KernelCheck, KernelError>) -> Finding {
    let name = recurrence.name();
    let place = if op == Op::Cuda { "gpu" } else { "cpu" };
    let fault = |message| Diagnostic::error(message).help(msg!(TRAIN_WITH_CHUNK));
    match check {
        Err(error) => Finding {
            fault: Some(fault(msg!(KERNEL_DOES_NOT_RUN, name)).note(error.text())),
            ..Finding::new("kernel", format!("{name} {place}: {error}"), json!({ "name": name }))
        },
        Ok(check) => {
            let KernelCheck { error, tolerance, tokens_per_sec, .. } = check;
            let verdict = if check.is_correct() { "ok" } else { "WRONG" };
            let found = format!(
                "{name} {place}: {verdict}, error {error:.1e} (tolerance {tolerance:.0e}), {:.2} million tokens/s",
                tokens_per_sec / 1e6
            );
            let value = json!({
                "name": name,
                "device": place,
                "right": check.is_correct(),
                "error": error,
                "tolerance": tolerance,
                "tokens_per_sec": tokens_per_sec,
            });
            let wrong = msg!(KERNEL_IS_WRONG, name, error = format_args!("{error:.1e}"));
            Finding {
                fault: (!check.is_correct()).then(|| fault(wrong)),
                ..Finding::new("kernel", found, value)
            }
        }
    }
}

/// How this CPU multiplies matrices of bf16.
fn products() -> Finding {
    let (dtype, found) = match has_bfloat16_products() {
        true => ("bfloat16", "of bf16 by instructions of the CPU, of fp16 in float32"),
        false => ("float32", WIDENED_PRODUCTS),
    };
    Finding::new("products", found, json!({ "bfloat16": dtype }))
}

/// How many threads compute.
fn computing_threads() -> Finding {
    let most = most_threads();
    let found = match most {
        1 => "1".to_owned(),
        _ => format!("at most {most}, fewer while other programs use the cores"),
    };
    Finding::new("threads", found, json!({ "most": most }))
}

/// How long threads without work stay awake.
fn waiting() -> Finding {
    let found = threads::waiting();
    Finding::new("waiting", found.clone(), json!(found))
}

/// Total and available memory of the machine, from `/proc/meminfo`.
fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let (total, free) = (kib("MemTotal"), kib("MemAvailable"));
    let bytes = |kib: Option<u64>| kib.map(|kib| kib * 1024);
    let shown = |kib| bytes(kib).map_or("?".into(), size);
    let found = format!("{} of {} free", shown(free), shown(total));
    let value = json!({ "free_bytes": bytes(free), "total_bytes": bytes(total) });
    Finding::new("memory", found, value)
}

fn disk(dir: &Path) -> Finding {
    match rustix::fs::statvfs(dir) {
        Ok(disk) => {
            let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
            let found = format!("{} of {} free", size(free), size(total));
            Finding::new("disk", found, json!({ "free_bytes": free, "total_bytes": total }))
        }
        Err(error) => Finding::new("disk", error.to_string(), json!(null)),
    }
}

/// Whether the schema written by `init` matches this version.
fn schema(dir: &Path) -> Finding {
    let file = dir.join(super::init::SCHEMA);
    let (found, word) = match fs::read_to_string(&file) {
        Ok(text) if text == schema_text() => ("current".to_owned(), "current"),
        Ok(_) => {
            let help = msg!(SCHEMA_IS_OLD, file);
            (help.to_string(), "old")
        }
        Err(_) => ("none in this folder".to_owned(), "none"),
    };
    Finding::new("schema", found, json!(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: f64) -> KernelCheck {
        let recurrence = Recurrence::Wkv7;
        KernelCheck { recurrence, error, tolerance: 1e-5, tokens_per_sec: 1e6 }
    }

    #[test]
    fn a_wrong_kernel_ends_with_the_code_of_devices() {
        let findings =
            |error| vec![libtorch(), kernel(Op::Cpu, Recurrence::Wkv7, Ok(check(error)))];
        assert_eq!(exit_code(&findings(1e-6)), ExitCode::Ok);
        for error in [1e-3, f64::NAN] {
            assert_eq!(exit_code(&findings(error)), ExitCode::Device);
        }
        let shown = findings(1e-3)[1].fault.as_ref().expect("a fault").render(false);
        let expected = "\
error[ST0130]: the kernel wkv7 computes wrong values on this machine: error 1.0e-3
  |
  = help: train with `op = \"chunk\"` and report this message";
        assert_eq!(shown, expected);
    }
}
