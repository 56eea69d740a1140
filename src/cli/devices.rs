//! Several devices: processes that a launcher has started, or that this program starts on this machine.
//!
//! Device 0 is the process that a person sees. The others print nothing but their own failures.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::forecast::PROGRAM_BYTES;
use statetune_core::plan::Plan;
use statetune_core::words::{gib, grouped, size};
use statetune_engine::RunError;
use statetune_engine::kernels::{
    NoGpu, available_bytes, cores_of_machine, find_gpu, limit_threads, most_threads, use_device,
};
use statetune_engine::run::{end, follow};
use statetune_engine::train::{DevicesError, Group, Launcher, Place, Processes, exchange_time};

use tch::Device;

use super::begin::fail;
use super::{Color, stop, working};

/// What a launcher says about this process; `None` where this process is on its own.
///
/// # Errors
/// Variables of a launcher that are incomplete. Shows the error.
pub(super) fn launched(color: Color) -> Result<Option<Place>, ExitCode> {
    let place = Place::of_environment(|name| env::var(name).ok());
    place.map_err(|error| fail(&error.into(), color))
}

/// Whether another process shows and writes everything.
pub(super) fn is_follower(launched: Option<&Place>) -> bool {
    launched.is_some_and(|place| place.rank > 0)
}

/// The place of this process in the run of a plan, `None` for a run on one device; the plan takes the GPU of the process.
///
/// # Errors
/// Another number of processes than the experiment asks for, or no GPU for each of them. Shows the error.
pub(super) fn placed(
    plan: &mut Plan,
    launched: Option<Place>,
    color: Color,
) -> Result<Option<Place>, ExitCode> {
    let place = place(plan, launched).and_then(|place| {
        if let Some(place) = place.as_ref().filter(|_| plan.train.device.is_gpu()) {
            let found = find_gpu().unwrap_or(0); // found when the plan was made
            plan.take_gpu(place.gpu(plan.train.devices.gpus.as_deref(), found)?);
        }
        Ok(place)
    });
    place.map_err(|error| fail(&error.into(), color))
}

fn place(plan: &Plan, launched: Option<Place>) -> Result<Option<Place>, DevicesError> {
    let devices = &plan.train.devices;
    let asked = devices.count();
    match launched {
        Some(place) if asked > 1 && asked != place.count as u64 => {
            Err(DevicesError::Count { started: place.count, asked })
        }
        None if devices.num_nodes > 1 => {
            Err(DevicesError::NoLauncher { num_nodes: devices.num_nodes })
        }
        None => Ok((asked > 1).then(|| Place::first_of(devices.per_machine as usize))),
        launched => Ok(launched),
    }
}

/// Looks for GPUs; returns the number of those that the processes of a run on this machine see together.
///
/// # Errors
/// What is missing for any GPU.
pub(super) fn find_gpus() -> Result<Option<usize>, NoGpu> {
    let found = find_gpu()?;
    // A command that is not a run may be started with any variables.
    let place = Place::of_environment(|name| env::var(name).ok()).ok().flatten();
    Ok(Some(place.map_or(found, |place| place.gpus_of_machine(found))))
}

/// Meets the other devices of the run, after starting them where no launcher did; `None` for a run on one device.
///
/// # Errors
/// Devices that do not come, or processes that do not fit into memory even with no model, unless `allow_oom`.
pub(super) fn meet(
    plan: &Plan,
    place: Option<Place>,
    allow_oom: bool,
) -> Result<Option<Group>, RunError> {
    let Some(place) = place else { return Ok(None) };
    if place.launcher == Launcher::Own && !allow_oom {
        check_memory(place.count as u64)?;
    }
    Ok(Some(meet_at(place, plan.train.devices.timeout)?))
}

/// Meets the other devices within `timeout`, after starting them where no launcher did.
///
/// # Errors
/// Devices that do not come.
fn meet_at(place: Place, timeout: Duration) -> Result<Group, DevicesError> {
    share_threads(&place);
    let starts = place.launcher == Launcher::Own && place.rank == 0;
    let (mut group, port) = Group::meet(place, timeout, stop::asked())?;
    let connected = || -> Result<(), DevicesError> {
        if starts {
            let started = start(group.place(), port);
            group.watch(started.map_err(|error| DevicesError::Start(error.to_string()))?);
        }
        group.connect()
    };
    let connected = connected();
    if let Err(error) = &connected {
        group.fail(error.exit_code());
    }
    connected.map(|()| group)
}

/// Times the exchange of gradients between devices, for each of these counts of numbers: those of a launcher, or else `count` on this machine. The
/// gradients lie on GPUs if there is one for each process of this machine. `None` in the processes of devices other than the first.
///
/// # Errors
/// Devices that do not come, or are lost.
pub(super) fn exchange_times(
    count: usize,
    launched: Option<Place>,
    numbers: &[i64],
) -> Result<Option<(Device, Vec<Duration>)>, DevicesError> {
    const TIMEOUT: Duration = Duration::from_secs(60);
    let place = launched.unwrap_or_else(|| Place::first_of(count));
    let is_ours = place.launcher == Launcher::Own && place.rank > 0;
    if is_ours && !ends_with_parent() {
        return Ok(None);
    }
    let gpu = find_gpu().ok().and_then(|found| place.gpu(None, found).ok());
    let device = gpu.map_or(Device::Cpu, Device::Cuda);
    use_device(device);
    let group = meet_at(place, TIMEOUT)?;
    let times = numbers.iter().map(|&numbers| exchange_time(&group, numbers, device)).collect();
    let times: Result<Vec<Duration>, DevicesError> = times;
    let is_first = group.place().rank == 0;
    if times.is_ok() && is_first {
        group.end();
    }
    times.map(|times| is_first.then_some((device, times)))
}

/// Refuses a number of processes whose programs alone take more memory than is free.
fn check_memory(processes: u64) -> Result<(), RunError> {
    let needed = processes.saturating_mul(PROGRAM_BYTES);
    let Some(available) = available_bytes(Device::Cpu).filter(|free| needed > *free) else {
        return Ok(());
    };
    let (count, each) = (grouped(processes), size(PROGRAM_BYTES));
    let (needed, device, free) = (gib(needed), msg!(THIS_MACHINE), gib(available));
    let refusal = Diagnostic::error(msg!(RUN_NEEDS_MEMORY, needed, device, free))
        .note(msg!(DEVICES_ARE_PROCESSES, count, each))
        .help(msg!(LOWER_DEVICES))
        .help(msg!(ALLOW_OOM_TRIES));
    Err(RunError::WontFit(Box::new(refusal)))
}

/// Starts this command once more for each of the other devices.
fn start(place: &Place, port: u16) -> io::Result<Processes> {
    let program = env::current_exe()?;
    Processes::start(place.count, |rank| {
        let mut command = Command::new(&program);
        command.arg0("statetune").args(env::args_os().skip(1)).envs(place.variables(rank, port));
        // Ctrl-C reaches device 0 alone, which stops the others.
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        command
    })
}

/// Ends the work of the other devices after that of this one.
pub(super) fn part(group: Option<Group>, result: Result<ExitCode, ExitCode>) -> ExitCode {
    let code = result.unwrap_or_else(|code| code);
    let Some(mut group) = group else { return code };
    match result {
        // A device that is gone by now has nothing to do.
        Ok(code) if end(&group, code).is_ok() => group.end(),
        _ => group.fail(code),
    }
    code
}

/// Trains along with device 0.
pub(super) fn run_along(plan: &Plan, place: Option<Place>, grace: u64, color: Color) -> ExitCode {
    let place = place.expect("a follower has a place");
    if place.launcher == Launcher::Own {
        working::is_shown_elsewhere();
    }
    if place.launcher == Launcher::Own && !ends_with_parent() {
        return ExitCode::Device;
    }
    share_threads(&place);
    let mut group = match Group::meet(place, plan.train.devices.timeout, stop::asked()) {
        Ok((group, _)) => group,
        Err(error) => return fail(&error.into(), color),
    };
    let begun = || stop::saves_along(Duration::from_secs(grace));
    let connected = group.connect().map_err(RunError::from);
    working::is_shown_elsewhere(); // device 0 shows it
    let result = connected.and_then(|()| follow(plan, &group, &begun));
    match result {
        Ok(code) => code,
        Err(error) => {
            // The message first: this process ends with device 0, which ends when it hears of the failure.
            let is_of_devices = error.is_of_devices();
            let code = match is_of_devices && error.is_told_by_first_device() {
                true => error.exit_code(),
                false => fail(&error, color),
            };
            match is_of_devices {
                true => group.leave(),
                false => group.fail(code),
            }
            code
        }
    }
}

/// Lets this process end with the one that started it. Returns whether that one still runs.
fn ends_with_parent() -> bool {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let parent = env::var(Place::PARENT).ok().and_then(|pid| pid.parse().ok());
    parent.and_then(Pid::from_raw) == getppid()
}

/// Shares the cores of this machine fairly among its devices.
fn share_threads(place: &Place) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let is_set = env::var("OMP_NUM_THREADS").is_ok();
    let set = is_set.then(most_threads);
    limit_threads(place.threads(set, cores, cores_of_machine() as usize));
}
