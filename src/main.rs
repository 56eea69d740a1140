//! The command `statetune`: arguments -> one command -> exit code. It starts without libtorch; what computes
//! with tensors goes on in `statetune-tensors`, which lies beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    statetune_cli::main().into()
}
