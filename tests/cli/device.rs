//! Where a run computes: what is refused, before anything is written, and what is chosen.

use statetune_engine::kernels::find_gpu;

use crate::case::{Case, STATE};

/// What is missing for a GPU; none, with a printed reason, where there is one.
fn missing() -> Option<String> {
    match find_gpu() {
        Ok(()) => {
            eprintln!("skipped: there is a GPU");
            None
        }
        Err(missing) => Some(missing.reason.to_string()),
    }
}

#[test]
fn a_gpu_that_is_not_there() {
    let Some(missing) = missing() else { return };
    Case::new().with(STATE, "accelerator = \"cpu\"", "accelerator = \"gpu\"").refuses(
        25,
        &format!(
            "\
error[ST5003]: `accelerator = \"gpu\"` requires a usable GPU
  --> state.toml:32:15
   |
32 | accelerator = \"gpu\"
   |               ^^^^^
   |
   = note: {missing}
   = help: use `accelerator = \"auto\"` to use a GPU if there is one, and the CPU otherwise"
        ),
    );
}

#[test]
fn cuda_kernels_without_a_gpu() {
    let Some(missing) = missing() else { return };
    let case = Case::new().with(STATE, "\n[hardware]\naccelerator = \"cpu\"\n", "").with(
        STATE,
        "precision = \"fp32\"",
        "op = \"cuda\"",
    );
    let message = format!(
        "\
error[ST5003]: `op = \"cuda\"` requires a usable GPU
  --> state.toml:21:6
   |
21 | op = \"cuda\"
   |      ^^^^^^
   |
   = note: {missing}
   = help: use `op = \"auto\"` to use the kernels of the device"
    );
    case.refuses(25, &message);
    // The file is valid on a machine with a GPU.
    let checked = case.statetune(&["check", STATE]);
    assert_eq!((checked.code, &*checked.stdout), (Some(0), "state.toml: valid\n"));
    let expected = message.replacen("error", "warning", 1).replace(
        "   = help",
        "   = note: not an error of the experiment file: a run needs this on its machine\n   = help",
    );
    assert_eq!(checked.stderr.trim_end(), expected);
}

#[test]
fn a_device_and_kernels_for_another_one() {
    for (accelerator, op) in [("cpu", "cuda"), ("gpu", "cpu")] {
        Case::new()
            .with(STATE, "accelerator = \"cpu\"", &format!("accelerator = \"{accelerator}\""))
            .with(STATE, "precision = \"fp32\"", &format!("op = \"{op}\""))
            .refuses(
                2,
                &format!(
                    "\
error[ST2116]: `op = \"{op}\"` does not work with `accelerator = \"{accelerator}\"`
  --> state.toml:21:6
   |
21 | op = \"{op}\"
   |      {}
   |
   = note: the CUDA kernels only run on GPUs, and the CPU kernels only on CPUs
   = help: use `op = \"auto\"`, which works on every device",
                    "^".repeat(op.len() + 2)
                ),
            );
    }
}

#[test]
fn several_devices() {
    Case::new().with(STATE, "accelerator = \"cpu\"", "devices = 2").refuses(
        2,
        "\
error[ST2117]: a run uses one device, but `hardware.devices = 2`
  --> state.toml:32:11
   |
32 | devices = 2
   |           ^
   |
   = help: to get the same number of samples in a step, raise `accumulate_grad_batches` or `micro_bsz`",
    );
}

#[test]
fn auto_computes_on_the_cpu_without_a_gpu() {
    let Some(_) = missing() else { return };
    let case = Case::new().with(STATE, "accelerator = \"cpu\"", "accelerator = \"auto\"");
    case.statetune(&["run", STATE]).is_done();
    let lock = case.read(case.only_run().join("lock.toml"));
    assert!(lock.contains("device = \"processor ("), "{lock}");
    let resolved = case.read(case.only_run().join("resolved.toml"));
    assert!(resolved.contains("accelerator = \"auto\"  # file line 32"), "{resolved}");
}

#[test]
fn score_names_the_options_of_the_command_line() {
    let Some(missing) = missing() else { return };
    let case = Case::new().having("tokens.json", "[1, 2]");
    let arguments = |more: &[&'static str]| {
        [&["score", "--model", "base.pth", "--tokens", "tokens.json"], more].concat()
    };
    for (more, asked, help) in [
        (
            ["--device", "gpu"],
            "--device gpu",
            "use `--device auto` to use a GPU if there is one, and the CPU otherwise",
        ),
        (["--op", "cuda"], "--op cuda", "use `--op auto` to use the kernels of the device"),
    ] {
        let message = format!(
            "\
error[ST5003]: `{asked}` requires a usable GPU
  |
  = note: {missing}
  = help: {help}"
        );
        case.refuses_to(&arguments(&more), 25, &message);
    }
    case.refuses_to(
        &arguments(&["--op", "cuda", "--device", "cpu"]),
        2,
        "\
error[ST2116]: `--op cuda` does not work with `--device cpu`
  |
  = note: the CUDA kernels only run on GPUs, and the CPU kernels only on CPUs
  = help: use `--op auto`, which works on every device",
    );
}
