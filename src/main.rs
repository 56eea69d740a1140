//! The command `statetune`: arguments -> one command -> exit code. It does not load libtorch; commands
//! that need tensors run in `statetune-tensors`, the program next to this one.

use std::process::ExitCode;

fn main() -> ExitCode {
    statetune_cli::main(option_env!("STATETUNE_COMMIT")).into()
}
