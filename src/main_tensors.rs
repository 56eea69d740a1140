//! The command `statetune-tensors`: every command of `statetune`, in a program that loads libtorch.

use std::process::ExitCode;

fn main() -> ExitCode {
    statetune_cli::main_with_tensors(option_env!("STATETUNE_COMMIT")).into()
}
