//! The program starts without libtorch, and goes on in the one that has it.

use std::process::Command;

use super::case::{Case, IN_ENGLISH};

/// The libraries that a program loads when it starts.
fn libraries(program: &str) -> String {
    let output = Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1").output();
    String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8")
}

#[test]
fn only_the_second_program_loads_libtorch() {
    let (first, second) =
        (env!("CARGO_BIN_EXE_statetune"), env!("CARGO_BIN_EXE_statetune-tensors"));
    assert!(libraries(second).contains("libtorch_cpu.so"), "{}", libraries(second));
    assert!(!libraries(first).contains("libtorch_cpu.so"), "{}", libraries(first));
}

#[test]
fn a_lone_program_says_what_it_lacks() {
    let case = Case::new();
    let lone = case.path("statetune");
    std::fs::copy(env!("CARGO_BIN_EXE_statetune"), &lone).expect("a copy");
    let output = Command::new(&lone)
        .args(["generate", "latest"])
        .env(IN_ENGLISH.0, IN_ENGLISH.1)
        .output()
        .expect("it starts");
    let expected = "\
error[ST0120]: cannot start `CASE/statetune-tensors`
  |
  = note: No such file or directory (os error 2)
  = help: this command needs `statetune-tensors`; install it in the same folder as `statetune`
";
    assert_eq!(case.scrub(&String::from_utf8_lossy(&output.stderr)), expected);
    assert_eq!(output.status.code(), Some(25));
}
