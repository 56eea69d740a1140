//! Where a run computes: what is refused, before anything is written, and what is chosen.

use statetune_engine::kernels::{find_gpu, has_bfloat16_products};

use crate::case::{Case, STATE};

/// What is missing for a GPU; none, with a printed reason, where there is one.
fn missing() -> Option<String> {
    match find_gpu() {
        Ok(_) => {
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

/// What `doctor` finds about a subject.
fn found_by_doctor(what: &str, environment: &[(&str, &str)]) -> serde_json::Value {
    let output = Case::new().statetune_with(&["doctor", "--format", "json"], environment);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    findings.iter().find(|one| one["what"] == what).expect("the subject")["found"].clone()
}

/// The program sets how threads wait, unless the user has.
#[test]
fn threads_without_work_sleep_soon() {
    let waiting = |environment: &[_]| found_by_doctor("waiting", environment);
    assert_eq!(waiting(&[]), "threads without work sleep after some tens of microseconds");
    assert_eq!(waiting(&[("GOMP_SPINCOUNT", "7")]), "as GOMP_SPINCOUNT says: 7");
    assert_eq!(waiting(&[("OMP_WAIT_POLICY", "passive")]), "as OMP_WAIT_POLICY says: passive");
}

#[test]
fn the_number_of_threads_follows_the_load_up_to_a_limit() {
    let threads = |limit| found_by_doctor("threads", &[("OMP_NUM_THREADS", limit)]);
    assert_eq!(threads("1")["most"], 1);
    let told = Case::new().statetune_with(&["doctor"], &[("OMP_NUM_THREADS", "2")]);
    let lines = ["threads", "at most 2, fewer while other programs use the cores"];
    assert!(
        told.stdout.lines().any(|line| lines.iter().all(|part| line.contains(part))),
        "{told:?}"
    );
}

#[test]
fn the_number_of_threads_is_a_setting() {
    let case = Case::new().with(STATE, "accelerator = \"cpu\"", "threads = 3");
    let plan = case.statetune(&["plan", STATE]);
    assert_eq!(plan.code, Some(0), "{}", plan.stderr);
    assert!(plan.stdout.contains("processor, 3 threads, op cpu"), "{}", plan.stdout);
    let refused = case.with(STATE, "threads = 3", "threads = 0").statetune(&["check", STATE]);
    assert_eq!(refused.code, Some(2));
    let message = "`hardware.threads` must be at least 1 and at most 1024, found 0";
    assert!(refused.stderr.contains(message), "{}", refused.stderr);
}

/// What a plan, a lock and `doctor` say of 16-bit products is what the CPU can.
#[test]
fn products_of_16_bits_are_named() {
    let native = if has_bfloat16_products() { "bfloat16" } else { "float32" };
    assert_eq!(found_by_doctor("products", &[])["bfloat16"], native);
    for (precision, widened) in [
        ("fp32", false),
        ("fp16", true),
        ("bf16", native == "float32"),
        ("auto", native == "float32"),
    ] {
        let precision = format!("precision = \"{precision}\"");
        let case = Case::new().with(STATE, "precision = \"fp32\"", &precision);
        let plan = case.statetune(&["plan", STATE]);
        assert_eq!(plan.code, Some(0), "{}", plan.stderr);
        let line = "products  in float32, because the CPU has no instructions for products of 16-bit numbers";
        assert_eq!(plan.stdout.contains(line), widened, "{precision}: {}", plan.stdout);
    }
}
