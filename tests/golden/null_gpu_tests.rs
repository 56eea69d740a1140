//! What this process sees of a GPU, on the null GPU and without any: this program starts itself.

use std::process::{Command, Output};

use statetune_engine::kernels::find_gpu;
use tch::{Cuda, Tensor};

use super::gpu::has_gpu;
use super::null_gpu::{environment, folder};

/// The number of null GPUs: only the processes that this file starts have it.
const COUNT: &str = "NULL_GPU_COUNT";

/// The output of one test of this program, run with these variables.
fn run(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.args(["--exact", test, "--test-threads", "1"]).env(COUNT, "1");
    command.env_remove("STATETUNE_REQUIRE_GPU").envs(environment(folder()));
    command.envs(variables.iter().copied()).output().expect("this program starts")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn libtorch_is_asked_about_cuda_before_any_test() {
    let output = run("null_gpu_tests::finds_a_gpu_after_a_seed_and_a_backward_pass", &[]);
    assert!(output.status.success(), "{}", text(&output));
}

/// Started by the test above.
#[test]
fn finds_a_gpu_after_a_seed_and_a_backward_pass() {
    if std::env::var(COUNT).is_err() {
        return;
    }
    tch::manual_seed(1);
    let x = Tensor::from_slice(&[1f32]).set_requires_grad(true);
    x.square().sum(tch::Kind::Float).backward();
    find_gpu().expect("the null GPU");
    assert!(Cuda::is_available());
}

#[test]
fn a_test_that_wants_a_gpu_says_so_at_the_end_or_fails() {
    let without = |more: &[(&str, &str)]| {
        run("null_gpu_tests::wants_a_gpu", &[&[(COUNT, "0")], more].concat())
    };
    let quiet = without(&[]);
    assert!(quiet.status.success(), "{}", text(&quiet));
    let last = String::from_utf8_lossy(&quiet.stderr).lines().last().map(str::to_string);
    assert_eq!(
        last.as_deref(),
        Some(
            "no GPU for null_gpu_tests::wants_a_gpu: a CUDA driver is installed, but there is no usable GPU: \
             no CUDA-capable device is detected; STATETUNE_REQUIRE_GPU=1 makes that an error"
        )
    );
    let strict = without(&[("STATETUNE_REQUIRE_GPU", "1")]);
    assert!(!strict.status.success(), "{}", text(&strict));
    assert!(text(&strict).contains("STATETUNE_REQUIRE_GPU=1, but a CUDA driver is installed"));
    let with = run("null_gpu_tests::wants_a_gpu", &[("STATETUNE_REQUIRE_GPU", "1")]);
    assert!(with.status.success(), "{}", text(&with));
    assert!(!text(&with).contains("no GPU for"), "{}", text(&with));
}

/// Started by the test above.
#[test]
fn wants_a_gpu() {
    if std::env::var(COUNT).is_ok() {
        let _ = has_gpu();
    }
}
