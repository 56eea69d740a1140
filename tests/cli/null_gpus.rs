//! Several processes, each with a null GPU of its own: which GPU each takes, what it asks of the GPU, and what ends the run.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::case::{Case, Output, STATE, program};
use crate::devices::{ended, text};
use crate::launchers::{device_of_launcher, free_port};
use crate::null_gpu_case::NullGpu;

const TWO: (&str, &str) = ("NULL_GPU_COUNT", "2");

fn null_gpu() -> NullGpu {
    NullGpu::new(Case::new())
}

/// The counts of a process, which has used this GPU and no other.
#[track_caller]
fn launches_on(gpu: &NullGpu, ordinal: usize) -> i64 {
    let counts = gpu.counts(ordinal);
    assert_eq!(counts.of("used_devices"), 1 << ordinal, "GPU {ordinal} alone");
    assert!(counts.launches() > 100, "{}", counts.launches());
    counts.launches()
}

// ---- runs -----------------------------------------------------------------------------------

/// Launches of a step of each of two processes, or of one process alone.
fn of_a_step(gpu: &NullGpu, settings: &[&str], devices: usize) -> Vec<i64> {
    let count = format!("hardware.devices={devices}");
    // Each process has one pass in a step.
    let passes = format!("train.accumulate_grad_batches={devices}");
    let of = |steps: &str| -> Vec<i64> {
        let steps = format!("train.epoch_steps={steps}");
        let few = ["train.epoch_count=1", "sample.held_out=0", "data.val_split=0"];
        let settings = [settings, &[&*count, &*passes, &*steps], &few].concat();
        gpu.run_on_any(&settings, &[TWO]).is_done_quietly();
        (0..devices).map(|ordinal| launches_on(gpu, ordinal)).collect()
    };
    let (two, three) = (of("2"), of("3"));
    three.iter().zip(two).map(|(three, two)| three - two).collect()
}

/// Each of two processes starts as many kernels in a step as a process alone with one pass: the exchange starts none, but where
/// gradients come back in slices. `context` shares the pass itself.
#[test]
fn two_processes_train_with_the_launches_of_one() {
    let lora = ["peft.type=lora", "peft.rank=4"];
    for (settings, more) in [
        (vec![], 0),
        (lora.to_vec(), 0),
        (vec!["train.grad_cp=true", "train.precision=bf16"], 0),
        ([&lora[..], &["hardware.strategy=zero1"]].concat(), 12),
        ([&lora[..], &["hardware.strategy=zero2", "train.precision=bf16"]].concat(), 12),
    ] {
        let gpu = null_gpu();
        let alone = of_a_step(&gpu, &settings, 1)[0];
        let two = of_a_step(&gpu, &settings, 2);
        println!("{settings:?}: {alone} launches alone, {two:?} on two GPUs");
        for launches in &two {
            assert!((alone..=alone + more).contains(launches), "{settings:?}: {alone}, {two:?}");
        }
    }
}

#[test]
fn chunks_go_from_gpu_to_gpu() {
    let gpu = null_gpu();
    let settings = [
        "hardware.devices=2",
        "hardware.strategy=context",
        "train.chunk_ctx=16",
        "train.grad_cp=true",
    ];
    gpu.run_on_any(&settings, &[TWO]).is_done_quietly();
    let lock = gpu.case.read(gpu.case.only_run().join("lock.toml"));
    assert!(lock.contains("\ndevices = 2\nstrategy = \"context\"\n"), "{lock}");
    assert!(lock.contains("\ndevice = \"Null GPU\"\n"), "{lock}");
    for ordinal in [0, 1] {
        launches_on(&gpu, ordinal);
    }
}

#[test]
fn a_list_says_which_gpus_compute() {
    let gpu = null_gpu();
    let output = gpu.run_on_any(&["hardware.devices=[1]"], &[TWO]);
    output.is_done_quietly();
    assert!(output.stderr.contains("Null GPU (GPU 1), op cuda"), "{}", output.stderr);
    launches_on(&gpu, 1);
    let four = ("NULL_GPU_COUNT", "4");
    let passes = "train.accumulate_grad_batches=2";
    gpu.run_on_any(&["hardware.devices=[3, 2]", passes], &[four]).is_done_quietly();
    for ordinal in [2, 3] {
        launches_on(&gpu, ordinal);
    }
    // The same run on the first GPU.
    let resumed =
        ["resume", "latest", "--set", "train.epoch_count=3", "--unset", "hardware.devices"];
    gpu.statetune(&resumed, &[]).0.is_done_quietly();
}

#[test]
fn a_launcher_gives_each_process_its_gpu() {
    let gpu = null_gpu();
    let port = free_port();
    let devices: Vec<Child> = (0..2)
        .map(|rank| {
            let passes = "train.accumulate_grad_batches=2";
            let more = ["--set", "hardware.accelerator=gpu", "--set", passes];
            let mut command = device_of_launcher(&gpu.case, (rank, 2), port, &more);
            command.envs(gpu.variables()).env(TWO.0, TWO.1).spawn().expect("the program starts")
        })
        .collect();
    let [first, other] = devices.try_into().expect("two processes");
    let (first, other) = (ended(first), ended(other));
    for output in [&first, &other] {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert!(text(&first.stderr).contains("Null GPU (GPU 0), op cuda"), "{first:?}");
    assert_eq!((text(&other.stdout), text(&other.stderr)), (String::new(), String::new()));
    for ordinal in [0, 1] {
        launches_on(&gpu, ordinal);
    }
}

// ---- refusals -------------------------------------------------------------------------------

/// What the program says of a run that it does not begin.
#[track_caller]
fn refused(settings: &[&str], code: i32, expected: &str) {
    let gpu = null_gpu();
    let output = gpu.run_on_any(settings, &[TWO]);
    assert_eq!(output.code, Some(code), "{}", output.stderr);
    assert_eq!(output.stderr.trim_end(), expected);
    assert!(gpu.case.runs().is_empty());
}

#[test]
fn gpus_that_are_not_there_are_refused() {
    refused(
        &["hardware.devices=3"],
        25,
        "\
error[ST5003]: `devices = 3` requires 3 GPUs, but this machine has 2
 --> command line
  |
  | --set hardware.devices=3
  |                        ^
  |
  = note: each process takes a GPU of its own
  = help: set `devices = 2`: results are the same for any number of equal devices
  = help: or train on CPUs: `accelerator = \"cpu\"`",
    );
    refused(
        &["hardware.devices=[0, 2]"],
        25,
        "\
error[ST5003]: GPU 2 does not exist
 --> command line
  |
  | --set hardware.devices=[0, 2]
  |                        ^^^^^^
  |
  = note: this machine has the GPUs 0 to 1
  = help: name other GPUs, or set `devices` to a number",
    );
    refused(
        &["hardware.devices=[1, 1]"],
        2,
        "\
error[ST2117]: `devices` names GPU 1 twice
 --> command line
  |
  | --set hardware.devices=[1, 1]
  |                        ^^^^^^
  |
  = note: each process takes a GPU of its own
  = help: name each GPU once",
    );
    refused(
        &["hardware.accelerator=cpu", "hardware.devices=[0, 1]"],
        2,
        "\
error[ST2117]: `devices = [0, 1]` names GPUs, but the run computes on the CPU
 --> command line
  |
  | --set hardware.devices=[0, 1]
  |                        ^^^^^^
  |
  = help: set `devices = 2`, which fits GPUs and CPUs
  = help: or set `accelerator = \"gpu\"`",
    );
}

/// The outputs of two processes of a launcher on a machine with `gpus` GPUs; `of_rank` are the variables of a process.
fn launched(
    gpus: &str,
    settings: &[&str],
    of_rank: fn(usize) -> Vec<(&'static str, String)>,
) -> Vec<Output> {
    let gpu = null_gpu();
    let port = free_port().to_string();
    let devices: Vec<Child> = (0..2)
        .map(|rank| {
            let mut command = program();
            command.current_dir(gpu.case.path("")).args(["run", STATE]);
            for setting in
                ["hardware.accelerator=gpu", "hardware.rdzv_timeout_secs=60"].iter().chain(settings)
            {
                command.args(["--set", setting]);
            }
            command.envs(gpu.variables()).envs(of_rank(rank));
            command.envs([("NULL_GPU_COUNT", gpus), ("MASTER_PORT", &port)]);
            command.env("MASTER_ADDR", "127.0.0.1");
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the program starts")
        })
        .collect();
    let outputs = devices.into_iter().map(|device| {
        let output = ended(device);
        Output {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    });
    let outputs = outputs.collect();
    assert!(gpu.case.runs().is_empty());
    outputs
}

#[test]
fn processes_of_a_launcher_without_a_gpu_of_their_own_are_refused() {
    let torchrun = |rank: usize| {
        let number = rank.to_string();
        vec![("RANK", number.clone()), ("LOCAL_RANK", number), ("WORLD_SIZE", "2".to_owned())]
    };
    let outputs = launched("2", &["hardware.devices=[1]"], torchrun);
    for output in outputs {
        let expected = "\
error[ST5021]: `hardware.devices` names 1 GPUs, but the launcher started 2 processes on this machine
  |
  = help: name one GPU for each process, or delete `hardware.devices`: each process then takes the GPU of its number
";
        assert_eq!((output.code, &*output.stderr), (Some(2), expected));
    }
    for output in launched("1", &[], torchrun) {
        let expected = "\
error[ST5021]: 2 processes of this machine need 2 GPUs, but it has 1
  |
  = note: each process takes a GPU of its own
  = help: start no more processes than GPUs: results are the same for any number of equal devices
  = help: or train on CPUs: `accelerator = \"cpu\"`
";
        assert_eq!((output.code, &*output.stderr), (Some(25), expected));
    }
    let slurm = |rank: usize| {
        let number = rank.to_string();
        vec![
            ("SLURM_PROCID", number.clone()),
            ("SLURM_LOCALID", number),
            ("SLURM_STEP_ID", "0".to_owned()),
            ("SLURM_STEP_NUM_TASKS", "2".to_owned()),
        ]
    };
    // Both see one GPU: Slurm has not given each its own.
    let [first, other] = launched("1", &[], slurm).try_into().expect("two processes");
    let expected = "\
error[ST5021]: devices 0 and 1 have the same GPU
  |
  = note: each process takes a GPU of its own
  = help: let the launcher give each process a GPU of its own, for example with `srun --gpus-per-task=1`
";
    assert_eq!((first.code, &*first.stderr), (Some(25), expected));
    assert_eq!((other.code, &*other.stderr), (Some(25), ""));
}

// ---- failures -------------------------------------------------------------------------------

/// A GPU that is full halfway, or fails, ends the run on two GPUs within seconds, but for the work until then.
#[test]
fn a_gpu_that_is_full_or_fails_ends_the_run_with_its_message() {
    // libtorch asks for each tensor's memory by itself.
    let by_tensor = ("PYTORCH_NO_CUDA_MEMORY_CACHING", "1");
    let gpu = null_gpu();
    let settings = ["hardware.devices=2", "train.accumulate_grad_batches=2", "train.epoch_count=2"];
    let started = Instant::now();
    gpu.run_on_any(&settings, &[TWO, by_tensor]).is_done_quietly();
    let whole = started.elapsed();
    for of in [0, 1] {
        let counts = gpu.counts(of);
        let half = |count: i64| (count / 2).to_string();
        let full = ("NULL_GPU_ALLOCATIONS", half(counts.of("allocations")), 23);
        let faulty = ("NULL_GPU_FAULT", format!("719,{}", half(counts.launches())), 25);
        for (variable, value, code) in [full, faulty] {
            let case = null_gpu();
            let only = of.to_string();
            let started = Instant::now();
            let variables = [TWO, ("NULL_GPU_ONLY", &*only), (variable, &*value), by_tensor];
            let count = if code == 23 { 4 } else { 3 };
            let output = case.run_on_any(&settings, &variables[..count]);
            assert!(started.elapsed() < whole + Duration::from_secs(30), "{:?}", started.elapsed());
            assert_eq!(output.code, Some(code), "{of}: {}", output.stderr);
            let message = match code {
                23 => "error[ST5005]: out of memory: ",
                _ => "error[ST5006]: the GPU failed: ",
            };
            assert!(output.stderr.contains(message), "{of}: {}", output.stderr);
            for word in ["panicked", "ST9000", "[W", "frame #"] {
                assert!(!output.stderr.contains(word), "{of}: {}", output.stderr);
            }
            let told = "error[ST5024]: device 1 failed, which ends the run\n";
            assert_eq!(output.stderr.contains(told), of == 1, "{}", output.stderr);
        }
    }
}

// ---- memory, models, doctor -----------------------------------------------------------------

#[test]
fn memory_is_that_of_one_gpu_and_the_smallest_decides() {
    let gpu = null_gpu();
    let memory = |bytes: u64, more: &[(&str, &str)]| {
        let bytes = bytes.to_string();
        let variables = [&[TWO, ("NULL_GPU_MEMORY", &bytes)], more].concat();
        gpu.run_on_any(&["hardware.devices=2"], &variables)
    };
    // Enough for the forecast of a process, which is half a gigabyte for the most part, but not of two.
    memory(700_000_000, &[]).is_done_quietly();
    let output = memory(300_000_000, &[("NULL_GPU_ONLY", "1")]);
    assert_eq!(output.code, Some(22), "{}", output.stderr);
    assert!(output.stderr.contains("but the GPU has 0.28 GiB free"), "{}", output.stderr);
    assert_eq!(gpu.case.runs().len(), 1);
}

#[test]
fn gpus_of_other_models_are_recorded_and_told_apart_by_diff() {
    let gpu = null_gpu();
    let settings = ["hardware.devices=2", "train.accumulate_grad_batches=2"];
    gpu.run_on_any(&settings, &[TWO]).is_done_quietly();
    let equal = gpu.case.only_run();
    gpu.run_on_any(&settings, &[TWO, ("NULL_GPU_OTHER", "Other GPU")]).is_done_quietly();
    let runs = gpu.case.runs();
    let other = runs.iter().find(|run| **run != equal).expect("a second run");
    let lock = gpu.case.read(other.join("lock.toml"));
    let models = "Null GPU (device 0); Other GPU (device 1)";
    assert!(lock.contains(&format!("\ndevice = \"{models}\"\n")), "{lock}");
    let [one, two] = [&equal, other].map(|run| run.display().to_string());
    let diff = gpu.output(&["diff", &one, &two], &[]);
    assert!(diff.stdout.contains("Null GPU") && diff.stdout.contains(models), "{}", diff.stdout);
}

#[test]
fn doctor_measures_the_exchange_between_gpus() {
    let gpu = null_gpu();
    let output = gpu.output(&["doctor", "--devices", "2"], &[TWO]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let told = "Measured between 2 GPUs, through the memory of the host.\n";
    assert!(output.stdout.contains(told), "{}", output.stdout);
    let output = gpu.output(&["doctor", "--devices", "2"], &[("NULL_GPU_COUNT", "1")]);
    assert!(output.code == Some(0) && !output.stdout.contains("GPUs"), "{}", output.stdout);
}
